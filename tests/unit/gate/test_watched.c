/* Sockets on both sides of a watch: nothing is lost, doubled or held without bound, whoever does not read; and who hears what when one of them goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "door.h"
#include "gate/session.h"
#include "gate/watched.h"

#define GREETING "220 b.test\r\n"
#define FLOOD 1000000

static struct door door;
static int client, backend;

static void start(void)
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=0", "relay_timeout=10s", "linger=1s" } };
	door_open(&door, &setup);
	door_access(&door, "From:junk@ DISCARD\nGreetPause: 0\n"); /* exempt, and so it may pipeline as it likes */
	client = door_connect(&door, "192.0.2.1");
}

static void greet(void)
{
	char header[200];
	backend = door_backend_accept(&door);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	door_send(backend, GREETING);
	door_settle(&door);
	door_expect(client, GREETING);
}

static int begin(void **context)
{
	(void)context;
	start();
	greet();
	return 0;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	door_settle(&door);
}

static int end(void **context)
{
	(void)context;
	shut(&client);
	shut(&backend);
	door_close(&door);
	return 0;
}

static void say(const char *text, const char *passed)
{
	door_send(client, text);
	door_settle(&door);
	door_expect(backend, passed);
}

static void reply(const char *text, const char *heard)
{
	door_send(backend, text);
	door_settle(&door);
	door_expect(client, heard);
}

static void both(const char *line, const char *answer)
{
	say(line, line);
	reply(answer, answer);
}

static void begin_text(const char *sender)
{
	char line[100];
	snprintf(line, sizeof(line), "MAIL FROM:<%s>\r\n", sender);
	both(line, "250 ok\r\n");
	if (strncmp(sender, "junk", 4) == 0) {
		say("RCPT TO:<r@ours.example>\r\n", "");
		say("DATA\r\n", "RSET\r\n");
		door_expect(client, "250 2.1.5 <r@ours.example>... Recipient ok\r\n");
		reply("250 reset\r\n", "354 Enter mail, end with \".\" on a line by itself\r\n");
		return;
	}
	both("RCPT TO:<r@ours.example>\r\n", "250 ok\r\n");
	both("DATA\r\n", "354 go\r\n");
}

static struct session *session(void)
{
	assert_int_equal(door_count(&door, CONN_RELAY), 1);
	return door.front.conns[0].session;
}

/* What the two of them hold. */
static void check_bounds(void)
{
	const struct watched *w = session()->watched;
	assert_non_null(w);
	assert_true(w->watch.to_backend.len <= WATCH_HELD && w->watch.to_client.len <= WATCH_HELD);
	assert_true(w->client_in.len <= RELAY_SCRATCH && w->backend_in.len <= RELAY_SCRATCH);
}

/* Sends as much of it as is taken; returns how much. */
static size_t send_some(int fd, const char *bytes, size_t len)
{
	size_t sent = 0;
	ssize_t n;
	while (sent < len && (n = send(fd, bytes + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		sent += (size_t)n;
	door_settle(&door);
	return sent;
}

static size_t take_some(int fd, char *to, size_t most)
{
	ssize_t n = recv(fd, to, most, MSG_DONTWAIT);
	door_settle(&door);
	return n > 0 ? (size_t)n : 0;
}

static const char *last_line(void)
{
	const char *at = strstr(buf_text(&door.log), " verdict=");
	assert_non_null(at);
	return at;
}

/* What the backend had said before its dialogue was read. */
static void greeting_in_pieces(void **context)
{
	char header[200];
	(void)context;
	start();
	backend = door_backend_accept(&door);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	reply("220-b.te", "");
	reply("st\n220 x", "220-b.test\r\n");
	reply("\r\n", "220 x\r\n");
	both("EHLO c\r\n", "250 b.test\r\n");
}

/* Lines come as they like; and a connection at rest holds no buffer. */
static void at_rest(void **context)
{
	(void)context;
	say("EH", "");
	say("LO c\nNO", "EHLO c\r\n");
	reply("250-b", "");
	reply("\r\n250 x\r\n", "250-b\r\n250 x\r\n");
	say("OP\r\n", "NOOP\r\n");
	reply("250 ok\r\n", "250 ok\r\n");
	const struct watched *w = session()->watched;
	assert_int_equal(w->watch.to_backend.cap + w->watch.to_client.cap + w->client_in.cap + w->backend_in.cap, 0);
	assert_false(watched_blocked_on_backend(session()) || watched_blocked_on_client(session()));
}

/* A backend that does not read stops the client, and misses nothing. */
static void backend_does_not_read(void **context)
{
	static char text[FLOOD], got[FLOOD + 10];
	size_t sent = 0, taken = 0;
	(void)context;
	for (size_t i = 0; i < FLOOD; i += 10) { /* lines that all differ */
		char line[32];
		snprintf(line, sizeof(line), "%08zu\r\n", i / 10);
		memcpy(text + i, line, 10);
	}
	begin_text("s@b.example");
	for (size_t n; (n = send_some(client, text + sent, FLOOD - sent)) > 0; sent += n)
		check_bounds();
	assert_true(sent < FLOOD);
	assert_true(watched_blocked_on_backend(session()));
	assert_false(watched_blocked_on_client(session()));
	while (taken < FLOOD) {
		size_t n = take_some(backend, got + taken, 50000);
		taken += n;
		size_t more = send_some(client, text + sent, FLOOD - sent);
		sent += more;
		check_bounds();
		assert_true(n + more > 0);
	}
	assert_memory_equal(got, text, FLOOD);
	say(".\r\n", ".\r\n");
	reply("250 taken\r\n", "250 taken\r\n");
	assert_false(watched_blocked_on_backend(session()));
}

static void client_does_not_read(void **context)
{
	static char text[FLOOD], got[FLOOD + 10];
	size_t sent = 0, taken = 0;
	(void)context;
	for (size_t i = 0; i < FLOOD; i += 1000) {
		memset(text + i, 'x', 1000);
		snprintf(text + i, 20, "214-%06zu", i);
		text[i + 10] = ' ';
		text[i + 998] = '\r';
		text[i + 999] = '\n';
	}
	text[FLOOD - 1000 + 3] = ' ';
	say("HELP\r\n", "HELP\r\n");
	for (size_t n; (n = send_some(backend, text + sent, FLOOD - sent)) > 0; sent += n)
		check_bounds();
	assert_true(sent < FLOOD);
	assert_true(watched_blocked_on_client(session()));
	assert_false(watched_blocked_on_backend(session()));
	while (taken < FLOOD) {
		size_t n = take_some(client, got + taken, 50000);
		taken += n;
		size_t more = send_some(backend, text + sent, FLOOD - sent);
		sent += more;
		check_bounds();
		assert_true(n + more > 0);
	}
	assert_memory_equal(got, text, FLOOD);
	both("NOOP\r\n", "250 ok\r\n");
}

/* The client's end goes to the backend when all before it has gone, and not sooner; replies still come. */
static void client_half_closes(void **context)
{
	static char text[FLOOD], got[FLOOD];
	size_t sent = 0, taken = 0;
	(void)context;
	memset(text, 'y', sizeof(text));
	for (size_t i = 98; i < FLOOD; i += 100)
		memcpy(text + i, "\r\n", 2);
	begin_text("s@b.example");
	for (; !watched_blocked_on_backend(session()); sent += 4000) {
		assert_true(sent < FLOOD - 8000);
		assert_int_equal(send_some(client, text + sent, 4000), 4000);
	}
	memcpy(text + sent, ".\r\nQUIT\r\n", 9);
	assert_int_equal(send_some(client, text + sent, 9), 9);
	sent += 9;
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	door_settle(&door);
	assert_true(session()->watched->watch.client_ended && !session()->relay.in.closed);
	for (size_t n; taken < sent; taken += n) {
		n = take_some(backend, got + taken, 20000);
		assert_true(n > 0);
	}
	assert_int_equal(taken, sent);
	assert_memory_equal(got, text, sent);
	door_expect_end(backend);
	reply("250 taken\r\n", "250 taken\r\n");
	reply("221 bye\r\n", "221 bye\r\n");
	door_expect_end(client);
}

/* A client that takes nothing any more ends it for the backend as well, though that says nothing of it. */
static void client_is_gone(void **context)
{
	(void)context;
	say("NOOP\r\n", "NOOP\r\n");
	shut(&client); /* with nothing unread */
	door_expect_end(backend);
	assert_int_equal(door.front.open, 1);
	door_send(backend, "250 ok\r\n");
	door_settle(&door);
	assert_int_equal(door.front.open, 0);
}

static void client_is_reset(void **context)
{
	(void)context;
	say("NOOP\r\n", "NOOP\r\n");
	door_send(backend, "250 ok\r\n");
	door_settle(&door);
	shut(&client); /* with something unread */
	door_expect_end(backend);
	assert_int_equal(door.front.open, 0);
	assert_non_null(strstr(last_line(), " in=6 out=20 "));
}

/* What it said last is the client's, also where it takes no more. */
static void backend_goes(void **context)
{
	(void)context;
	say("NOOP\r\n", "NOOP\r\n");
	door_send(backend, "250 ok\r\n");
	shut(&backend);
	door_expect(client, "250 ok\r\n");
	door_expect_end(client);
	shut(&client);
	assert_non_null(strstr(last_line(), " in=6 out=20 end=backend "));
}

static void backend_goes_and_is_spoken_to(void **context)
{
	(void)context;
	say("NOOP\r\n", "NOOP\r\n");
	door_send(client, "HELP\r\n");
	door_send(backend, "421 4.3.2 going down\r\n");
	close(backend);
	backend = -1;
	door_settle(&door);
	door_expect(client, "421 4.3.2 going down\r\n");
	door_expect_end(client);
	end(NULL);
	/* Found out by speaking to it, before the loop has told. */
	start();
	greet();
	door_send(client, "HELP\r\n");
	door_send(backend, "421 4.3.2 going down\r\n");
	close(backend);
	backend = -1;
	relay_client_events(&session()->relay, EPOLLIN);
	assert_int_equal(watched_run(&door.front, session()), RELAY_BACKEND_ENDED);
	assert_true(slice_is(buf_slice(&session()->out), "421 4.3.2 going down\r\n"));
}

/* What has been taken of the client goes out before the end that the backend makes of it. */
static void backend_closes_the_dialogue(void **context)
{
	(void)context;
	door_send(client, "HELP\r\n");
	reply("421 4.3.2 going down\r\n", "421 4.3.2 going down\r\n");
	door_expect_end(client);
	door_expect(backend, "HELP\r\n");
	door_expect_end(backend);
}

/* One look at both sides, when both have spoken. */
static enum relay_result look(const char *from_client, const char *from_backend)
{
	struct session *s = session();
	door_send(client, from_client);
	door_send(backend, from_backend);
	relay_client_events(&s->relay, EPOLLIN);
	relay_backend_events(&s->relay, EPOLLIN);
	return watched_run(&door.front, s);
}

/* The client first: what follows its STARTTLS is seen before the backend's 220 is, and what it has said goes out before the backend's end. */
static void both_at_once(void **context)
{
	(void)context;
	start();
	greet();
	say("STARTTLS\r\n", "STARTTLS\r\n");
	assert_int_equal(look("MAIL FROM:<s@b.example>\r\n", "220 go\r\n"), RELAY_BACKEND_ENDED);
	assert_string_equal(session()->broken, "the client speaks between STARTTLS and its reply");
	door_expect(backend, "");
	end(NULL);
	start();
	greet();
	assert_int_equal(look("HELP\r\n", "421 4.3.2 going down\r\n"), RELAY_BACKEND_ENDED);
	assert_true(slice_is(buf_slice(&session()->out), "421 4.3.2 going down\r\n"));
	door_expect(backend, "HELP\r\n");
}

/* In the middle of what it was asked: the client is told why there is no reply. */
static void backend_vanishes(void **context)
{
	(void)context;
	say("NOOP\r\n", "NOOP\r\n");
	shut(&backend);
	door_expect(client, "421 4.3.0 mail.example.org Mail server has gone, closing connection\r\n");
	door_expect_end(client);
}

static void out_of_step(void **context)
{
	(void)context;
	reply("250 nobody asked\r\n", "421 4.3.0 mail.example.org Lost step with the mail server, closing connection\r\n");
	door_expect_end(client);
	door_expect_end(backend);
	shut(&client);
	assert_non_null(strstr(last_line(), " in=0 out=91 end=protocol error=\"the mail server speaks without being asked\" hint=\"does it expect the PROXY header"));
}

/* After STARTTLS bytes go both ways as they are, those that had come before the switch too. */
static void tls(void **context)
{
	(void)context;
	say("STARTTLS\r\n", "STARTTLS\r\n");
	reply("220 go\r\n", "220 go\r\n");
	assert_null(session()->watched);
	say("\x16\x03 hello\nMAIL FROM:<junk@b.example>\n.\n", "\x16\x03 hello\nMAIL FROM:<junk@b.example>\n.\n");
	reply("\x16\x03 999\n", "\x16\x03 999\n");
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	door_settle(&door);
	door_expect_end(backend);
	reply("last", "last");
	shut(&backend);
	door_expect_end(client);
	shut(&client);
	assert_non_null(strstr(last_line(), " in=48 out=31 "));
}

static void injected(void **context)
{
	(void)context;
	say("STARTTLS\r\nMAIL FROM:<s@b.example>\r\n", "STARTTLS\r\n");
	reply("220 go\r\n", "421 4.3.0 mail.example.org Lost step with the mail server, closing connection\r\n");
	door_expect_end(client);
	door_expect_end(backend);
	shut(&client);
	assert_non_null(strstr(last_line(), " error=\"the client speaks between STARTTLS and its reply\""));
}

/* As start(), but the client is not exempt. */
static void start_watched(const char *option)
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=0", "relay_timeout=10s", "linger=1s", option } };
	door_open(&door, &setup);
	client = door_connect(&door, "192.0.2.1");
	greet();
}

/* Bytes of which no event has told yet count as said, if they are there before the reply goes out. */
static void a_last_look(void **context)
{
	(void)context;
	start_watched(NULL);
	say("EHLO c\r\n", "EHLO c\r\n");
	door_send(client, "MAIL FROM:<s@b.example>\r\n");
	door_send(backend, "250 b.test\r\n");
	relay_backend_events(&session()->relay, EPOLLIN);
	assert_int_equal(watched_run(&door.front, session()), RELAY_TALK);
	assert_int_equal(session()->stage, STAGE_HELO);
	assert_int_equal(session()->refuse.in_len, 25);
	assert_int_equal(session()->out.len, 0);
	end(NULL);
	/* And before the backend gets the end of a message. */
	start_watched("eom_pause=1s");
	both("HELO c\r\n", "250 b.test\r\n");
	begin_text("s@b.example");
	say("hello\r\n.\r\n", "hello\r\n.\r");
	assert_true(session()->resume > 0);
	door_send(client, "X");
	door.front.loop.manual_now += LOOP_SECOND; /* without a turn */
	assert_int_equal(watched_run(&door.front, session()), RELAY_TALK);
	assert_int_equal(session()->stage, STAGE_EOM);
	door_expect(backend, "");
}

/* All of what it said early goes to the null server, however much that is, and whatever of it had been read. */
static void refused_with_all_that_it_said(void **context)
{
	static char flood[60000];
	char text[3000];
	(void)context;
	start_watched("max_bad_commands=1000");
	size_t len = (size_t)snprintf(flood, sizeof(flood), "HELO c\r\n");
	for (int i = 0; i < 900; i++)
		len += (size_t)snprintf(flood + len, sizeof(flood) - len, "RCPT TO:<r%d@b.example>\r\n", i);
	len += (size_t)snprintf(flood + len, sizeof(flood) - len, "QUIT\r\n");
	assert_true(len > 20000);
	for (size_t at = 0; at < len; at += send_some(client, flood + at, len - at))
		;
	size_t got = 0, lines = 0;
	for (ssize_t n; (n = recv(client, text, sizeof(text), MSG_DONTWAIT)) > 0; door_settle(&door))
		for (ssize_t i = 0; i < n; i++, got++)
			lines += text[i] == '\n';
	assert_int_equal(lines, 1 + 900 + 1);
	door_expect_end(client);
	assert_int_equal(door_metric(&door, METRIC_refused_commands), 0);
	shut(&client);
	loop_advance(&door.front.loop, 2 * LOOP_SECOND);
	assert_int_equal(door_metric(&door, METRIC_refused_commands), 901);
	assert_non_null(strstr(last_line(), " stage=helo "));
}

/* What is owed from before goes out in front of the refusal, also to a client that is slow to read. */
static void owed_before_the_refusal(void **context)
{
	(void)context;
	start_watched(NULL);
	both("EHLO c\r\n", "250-b.test\r\n250 PIPELINING\r\n");
	say("MAIL FROM:<s@b.example>\r\nRCPT TO:<r@b.example>\r\nDATA\r\nSubject: too soon\r\n", "MAIL FROM:<s@b.example>\r\nRCPT TO:<r@b.example>\r\n");
	reply("250 1\r\n250 2\r\n", "250 1\r\n250 2\r\n554 5.5.0 You sent more before you had the reply to DATA\r\n500 5.5.1 Command unrecognized: \"Subject: too soon\"\r\n");
	door_expect_end(backend);
}

/* At rest a client costs no buffer, wherever it has to wait. */
static void at_rest_at_a_stage(void **context)
{
	(void)context;
	start_watched("rcpt_pause=1s");
	both("HELO c\r\n", "250 b.test\r\n");
	both("MAIL FROM:<s@b.example>\r\n", "250 ok\r\n");
	say("RCPT TO:<r@b.example>\r\n", "RCPT TO:<r@b.example>\r\n");
	const struct watched *w = session()->watched;
	assert_int_equal(w->watch.to_backend.cap + w->watch.to_client.cap + w->client_in.cap + w->backend_in.cap, 0);
	assert_true(sizeof(struct session) + sizeof(struct watched) < 4096);
	assert_int_equal(door_metric(&door, METRIC_paused), 1);
}

/* A message that is thrown away passes nothing on, but who sends it is not idle. */
static void thrown_away_is_not_idle(void **context)
{
	(void)context;
	begin_text("junk@b.example");
	for (int i = 0; i < 5; i++) {
		loop_advance(&door.front.loop, 6 * LOOP_SECOND);
		say("line\r\n", "");
		assert_int_equal(door_count(&door, CONN_RELAY), 1);
	}
	loop_advance(&door.front.loop, 9 * LOOP_SECOND);
	assert_int_equal(door_count(&door, CONN_RELAY), 1);
	loop_advance(&door.front.loop, 2 * LOOP_SECOND);
	assert_int_equal(door_count(&door, CONN_RELAY), 0);
}

/* And who sends much of it takes its turns, but not everybody's. */
static void a_flood_leaves_room_for_others(void **context)
{
	static char text[FLOOD];
	int size = FLOOD, left = 0;
	(void)context;
	begin_text("junk@b.example");
	memset(text, 'z', sizeof(text));
	assert_int_equal(setsockopt(client, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	size_t sent = 0;
	for (ssize_t n; sent < FLOOD && (n = send(client, text + sent, 10000, MSG_DONTWAIT)) > 0; sent += (size_t)n)
		;
	assert_true(sent > 16 * RELAY_SCRATCH);
	relay_client_events(&session()->relay, EPOLLIN);
	assert_int_equal(watched_run(&door.front, session()), RELAY_AGAIN);
	assert_int_equal(ioctl(door.front.conns[0].source.fd, FIONREAD, &left), 0);
	assert_int_equal(left, sent - 16 * RELAY_SCRATCH);
	loop_advance(&door.front.loop, LOOP_MS);
	assert_int_equal(ioctl(door.front.conns[0].source.fd, FIONREAD, &left), 0);
	assert_int_equal(left, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(greeting_in_pieces, end),
		cmocka_unit_test_setup_teardown(at_rest, begin, end),
		cmocka_unit_test_setup_teardown(backend_does_not_read, begin, end),
		cmocka_unit_test_setup_teardown(client_does_not_read, begin, end),
		cmocka_unit_test_setup_teardown(client_half_closes, begin, end),
		cmocka_unit_test_setup_teardown(client_is_gone, begin, end),
		cmocka_unit_test_setup_teardown(client_is_reset, begin, end),
		cmocka_unit_test_setup_teardown(backend_goes, begin, end),
		cmocka_unit_test_setup_teardown(backend_goes_and_is_spoken_to, begin, end),
		cmocka_unit_test_setup_teardown(backend_closes_the_dialogue, begin, end),
		cmocka_unit_test_teardown(both_at_once, end),
		cmocka_unit_test_setup_teardown(backend_vanishes, begin, end),
		cmocka_unit_test_setup_teardown(out_of_step, begin, end),
		cmocka_unit_test_setup_teardown(tls, begin, end),
		cmocka_unit_test_setup_teardown(injected, begin, end),
		cmocka_unit_test_teardown(a_last_look, end), cmocka_unit_test_teardown(refused_with_all_that_it_said, end),
		cmocka_unit_test_teardown(owed_before_the_refusal, end), cmocka_unit_test_teardown(at_rest_at_a_stage, end),
		cmocka_unit_test_setup_teardown(thrown_away_is_not_idle, begin, end),
		cmocka_unit_test_setup_teardown(a_flood_leaves_room_for_others, begin, end),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
