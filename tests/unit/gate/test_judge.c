/* MAIL and RCPT of a relayed client: who passes, who is answered by the door and how, what stands in the log; and that nothing passes while a map is still asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/access.h"
#include "door.h"
#include "gate/judge.h"
#include "gate/session.h"

#define ADDRESS "192.0.2.1"
#define RECIPIENT_OK(path) "250 2.1.5 " path "... Recipient ok\r\n"

#define EXEMPT "GreetPause: 0\n" /* it may talk when it likes */

static struct door door;
static int client, backend; /* ends of a relayed connection */
static int questions, replies; /* where tarry-lookup would be; -1: no map is elsewhere */

static void start(const char *access, const char *const options[])
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=0", "reject_msg=550 5.7.1 Access denied", "accept_domains=ours.example" } };
	size_t n = 3;
	while (options && *options)
		setup.options[n++] = *options++;
	door_open(&door, &setup);
	char table[2000];
	snprintf(table, sizeof(table), "%s%s", access, EXEMPT);
	door_access(&door, table);
	questions = replies = client = backend = -1;
}

static void part(void)
{
	close(client);
	close(backend);
	door_settle(&door);
	client = backend = -1;
}

static void finish(void)
{
	if (client >= 0)
		part();
	if (questions >= 0) {
		close(questions);
		close(replies);
	}
	door_close(&door);
}

static void reply(const char *text, const char *heard)
{
	door_send(backend, text);
	door_settle(&door);
	door_expect(client, heard);
}

static void say(const char *text, const char *passed, const char *heard)
{
	door_send(client, text);
	door_settle(&door);
	door_expect(backend, passed);
	door_expect(client, heard);
}

/* The backend takes the connection, and greets. */
static void greet(void)
{
	char header[200];
	backend = door_backend_accept(&door);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	reply("220 b.test\r\n", "220 b.test\r\n");
}

static void meet(const char *address)
{
	client = door_connect(&door, address);
	greet();
}

/* What the backend takes. */
static void pass(const char *line)
{
	say(line, line, "");
	reply("250 ok\r\n", "250 ok\r\n");
}

static struct session *session(void)
{
	assert_int_equal(door_count(&door, CONN_RELAY), 1);
	return door.front.conns[0].session;
}

static unsigned logged(const char *event)
{
	char want[64];
	unsigned n = 0;
	snprintf(want, sizeof(want), " event=%s ", event);
	for (const char *at = buf_text(&door.log); (at = strstr(at, want)); at++)
		n++;
	return n;
}

/* The last line of that event from "from=" on. */
static void expect_log(const char *event, const char *want)
{
	char mark[64];
	const char *last = NULL;
	snprintf(mark, sizeof(mark), " event=%s client=" ADDRESS " port=", event);
	for (const char *at = buf_text(&door.log); (at = strstr(at, mark)); at++)
		last = at;
	assert_non_null(last);
	last = strstr(last, " from=");
	assert_non_null(last);
	if (strncmp(last + 1, want, strlen(want)) != 0 || last[1 + strlen(want)] != '\n')
		fail_msg("%.300s, not %s", last + 1, want);
}

/* Who has nothing to be judged by is not even read. */
static void needed_or_not(void **context)
{
	static const struct {
		const char *access;
		bool needed;
	} rows[] = {
		{ "GreetPause:192.0.2 0\nConnect:10 REJECT\nSpam:x@ FRIEND\n", false }, { "From:a@b.example REJECT\n", true }, { "To:b.example REJECT\n", true }, { "evil.example REJECT\n", true },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		start(rows[i].access, NULL);
		meet(ADDRESS);
		assert_int_equal(judge_is_needed(&door.front, session()), rows[i].needed);
		say("mail from:<x>\nrset\n", rows[i].needed ? "mail from:<x>\r\nrset\r\n" : "mail from:<x>\nrset\n", "");
		finish();
	}
	/* A client that is refused at RCPT is, whatever the table. */
	start("Connect:192.0.2 REJECT\n", (const char *const[]){ "delay_checks=on", NULL });
	meet(ADDRESS);
	assert_true(judge_is_needed(&door.front, session()));
	finish();
}

static void senders_and_recipients(void **context)
{
	(void)context;
	start("From:bad@b.example REJECT\nFrom:later@ 450 4.7.1 not now\nTo:gone@ours.example 550 5.1.1 moved\nTo:x@ REJECT\nTo:other.example 421 4.3.2 busy\n", NULL);
	meet(ADDRESS);
	pass("EHLO c\r\n");
	say("MAIL FROM:<bad@b.example>\r\n", "", "550 5.7.1 <bad@b.example>... Access denied\r\n");
	expect_log("rejected", "from=\"<bad@b.example>\" reply=\"550 5.7.1 <bad@b.example>... Access denied\" access_line=1");
	/* Read as it is meant, told as it was written. */
	say("MAIL FROM:<\"b\\ad\"@B.example> SIZE=5\r\n", "", "550 5.7.1 <\"b\\ad\"@B.example>... Access denied\r\n");
	say("MAIL FROM:<later@any.example>\r\n", "", "450 4.7.1 <later@any.example>... not now\r\n");
	say("RCPT TO:<a@b>\r\n", "", "503 5.0.0 Need MAIL before RCPT\r\n");
	pass("MAIL FROM:<good@b.example> SIZE=5\r\n");
	say("RCPT TO:<gone@ours.example>\r\n", "", "550 5.1.1 <gone@ours.example>... moved\r\n");
	expect_log("rejected", "from=\"<good@b.example>\" to=\"<gone@ours.example>\" reply=\"550 5.1.1 <gone@ours.example>... moved\" access_line=3");
	say("RCPT TO:<x@ours.example>\r\n", "", "550 5.7.1 <x@ours.example>... Access denied\r\n");
	say("RCPT TO:<a@sub.other.example>\r\n", "", "421 4.3.2 busy\r\n"); /* such a code names no address */
	pass("RCPT TO:<x@not-ours.example>\r\n");
	pass("RCPT TO:<y@ours.example>\r\n");
	pass("RSET\r\n");
	pass("MAIL FROM:<>\r\n");
	assert_int_equal(door_metric(&door, METRIC_rejected_senders), 3);
	assert_int_equal(door_metric(&door, METRIC_rejected_recipients), 3);
	assert_int_equal(logged("rejected"), 6);
	finish();
}

/* With delay_checks all is told to the recipients, and each is asked whether it wants that. */
static void each_recipient_by_itself(void **context)
{
	static const char table[] = "Connect:192.0.2.1 550 5.7.1 your address\nFrom:bad@b.example 550 5.7.1 your sender\nTo:closed@ours.example 550 5.1.1 closed\n"
		"Spam:friend@ours.example FRIEND\nSpam:closed@ours.example FRIEND\nSpam:hater@ours.example HATER\n";
	(void)context;
	start(table, (const char *const[]){ "delay_checks=friend", NULL });
	meet(ADDRESS);
	pass("MAIL FROM:<good@b.example>\r\n");
	say("RCPT TO:<some@ours.example>\r\n", "", "550 5.7.1 <some@ours.example>... your address\r\n");
	pass("RCPT TO:<friend@ours.example>\r\n");
	say("RCPT TO:<hater@ours.example>\r\n", "", "550 5.7.1 <hater@ours.example>... your address\r\n");
	say("RCPT TO:<closed@ours.example>\r\n", "", "550 5.1.1 <closed@ours.example>... closed\r\n");
	pass("RSET\r\n");
	pass("MAIL FROM:<bad@b.example>\r\n");
	say("RCPT TO:<some@ours.example>\r\n", "", "550 5.7.1 <some@ours.example>... your sender\r\n");
	pass("RCPT TO:<friend@ours.example>\r\n");
	/* The sender before the last does not count any more. */
	pass("RSET\r\n");
	pass("MAIL FROM:<>\r\n");
	say("RCPT TO:<some@ours.example>\r\n", "", "550 5.7.1 <some@ours.example>... your address\r\n");
	finish();
	start(table, (const char *const[]){ "delay_checks=hater", NULL });
	meet(ADDRESS);
	pass("MAIL FROM:<bad@b.example>\r\n");
	pass("RCPT TO:<some@ours.example>\r\n");
	say("RCPT TO:<hater@ours.example>\r\n", "", "550 5.7.1 <hater@ours.example>... your sender\r\n");
	finish();
}

/* Over a limit: told to each recipient; but a client that is refused is told that. */
static void limits(void **context)
{
	static const char *const both[] = { "delay_checks=on", "ratecontrol=on", "conncontrol=terminate", NULL };
	(void)context;
	start("ClientRate: 1\nClientConn: 1\nConnect:192.0.2.3 REJECT\nConnect:192.0.2.4 QUARANTINE:odd\n", both);
	static const struct {
		const char *address, *heard;
	} rows[] = {
		{ "192.0.2.1", "452 4.3.2 Connection rate limit exceeded.\r\n" },
		{ "192.0.2.3", "550 5.7.1 <r@ours.example>... Access denied\r\n" },
		{ "192.0.2.4", "452 4.3.2 Connection rate limit exceeded.\r\n" },
	};
	for (size_t i = 0; i < 3; i++) {
		int first = door_connect(&door, rows[i].address), its = door_backend_accept(&door);
		meet(rows[i].address);
		pass("MAIL FROM:<s@b.example>\r\n");
		say("RCPT TO:<r@ours.example>\r\n", "", rows[i].heard);
		part();
		close(first);
		close(its);
		door_settle(&door);
	}
	finish();
	start("ClientConn: 1\n", both);
	int first = door_connect(&door, ADDRESS), its = door_backend_accept(&door);
	meet(ADDRESS);
	pass("MAIL FROM:<s@b.example>\r\n");
	say("RCPT TO:<r@ours.example>\r\n", "", "421 4.3.2 Too many open connections.\r\n");
	close(first);
	close(its);
	finish();
}

static void expect_discarded(const char *before, const char *id)
{
	char want[300];
	say("DATA\r\n", before, "");
	reply("250 reset\r\n", "354 Enter mail, end with \".\" on a line by itself\r\n");
	snprintf(want, sizeof(want), "250 2.0.0 %s Message accepted for delivery\r\n", id);
	say("secret\r\n.\r\n", "", want);
}

static void discard(void **context)
{
	(void)context;
	start("From:junk@b.example DISCARD\nTo:hole@ours.example DISCARD\nTo:no@ours.example REJECT\n", NULL);
	meet(ADDRESS);
	pass("MAIL FROM:<junk@b.example>\r\n");
	expect_log("discard", "from=\"<junk@b.example>\" access_line=1");
	say("RCPT TO:<a@ours.example>\r\n", "", RECIPIENT_OK("<a@ours.example>"));
	say("RCPT TO:<no@ours.example>\r\n", "", "550 5.7.1 <no@ours.example>... Access denied\r\n");
	say("RCPT TO:<hole@ours.example>\r\n", "", RECIPIENT_OK("<hole@ours.example>"));
	assert_int_equal(logged("discard"), 1);
	expect_discarded("RSET\r\n", session()->id);
	assert_int_equal(door_metric(&door, METRIC_discarded), 1);
	/* The next message is another one, until one of its recipients takes it down. */
	pass("MAIL FROM:<good@b.example>\r\n");
	pass("RCPT TO:<a@ours.example>\r\n");
	say("RCPT TO:<hole@ours.example>\r\n", "", RECIPIENT_OK("<hole@ours.example>"));
	expect_log("discard", "from=\"<good@b.example>\" to=\"<hole@ours.example>\" access_line=2");
	say("RCPT TO:<b@ours.example>\r\n", "", RECIPIENT_OK("<b@ours.example>"));
	expect_discarded("RSET\r\n", session()->id);
	assert_int_equal(door_metric(&door, METRIC_discarded), 2);
	assert_int_equal(logged("discard"), 2);
	pass("MAIL FROM:<good@b.example>\r\n");
	pass("RCPT TO:<a@ours.example>\r\n");
	say("DATA\r\n", "DATA\r\n", "");
	finish();
}

/* What is to be done about a client and is no refusal: without delay_checks from its first message on, and for each. */
static void about_the_client(void **context)
{
	(void)context;
	start("Connect:192.0.2.1 DISCARD\nConnect:192.0.2.2 QUARANTINE:look\nFrom:bad@ REJECT\nFrom:odd@ QUARANTINE:odd one\n", NULL);
	meet(ADDRESS);
	say("MAIL FROM:<bad@b.example>\r\n", "", "550 5.7.1 <bad@b.example>... Access denied\r\n");
	assert_int_equal(logged("discard"), 0);
	for (unsigned n = 1; n <= 2; n++) {
		pass("MAIL FROM:<good@b.example>\r\n");
		assert_int_equal(logged("discard"), n);
		say("RCPT TO:<a@ours.example>\r\n", "", RECIPIENT_OK("<a@ours.example>"));
		expect_discarded("RSET\r\n", session()->id);
	}
	part();
	meet("192.0.2.2");
	pass("MAIL FROM:<good@b.example>\r\n");
	assert_int_equal(logged("quarantine"), 1);
	assert_non_null(strstr(buf_text(&door.log), " from=\"<good@b.example>\" reason=\"look\""));
	pass("RCPT TO:<a@ours.example>\r\n");
	pass("RSET\r\n");
	pass("MAIL FROM:<odd@b.example>\r\n"); /* both are said */
	assert_int_equal(logged("quarantine"), 3);
	assert_non_null(strstr(buf_text(&door.log), " from=\"<odd@b.example>\" reason=\"odd one\" access_line=4\n"));
	finish();
	/* With delay_checks at its recipients. */
	start("Connect:192.0.2.1 DISCARD\nFrom:x@y.example REJECT\n", (const char *const[]){ "delay_checks=on", NULL });
	meet(ADDRESS);
	pass("MAIL FROM:<good@b.example>\r\n");
	assert_int_equal(logged("discard"), 0);
	say("RCPT TO:<a@ours.example>\r\n", "", RECIPIENT_OK("<a@ours.example>"));
	assert_int_equal(logged("discard"), 1);
	expect_discarded("RSET\r\n", session()->id);
	finish();
}

/* Behind TLS nothing could be told any more to whom there is something to tell, nor could its messages be thrown away. */
static void no_tls(void **context)
{
	static const char table[] = "Connect:192.0.2.1 REJECT\nConnect:192.0.2.2 DISCARD\nConnect:192.0.2.3 QUARANTINE:look\nFrom:x@y.example REJECT\n";
	static const char offer[] = "250-b.test\r\n250-STARTTLS\r\n250 HELP\r\n";
	(void)context;
	start(table, (const char *const[]){ "delay_checks=on", NULL });
	for (int n = 1; n <= 4; n++) {
		char address[20];
		bool hidden = n <= 2;
		snprintf(address, sizeof(address), "192.0.2.%d", n);
		meet(address);
		say("EHLO c\r\n", "EHLO c\r\n", "");
		reply(offer, hidden ? "250-b.test\r\n250 HELP\r\n" : offer);
		say("STARTTLS\r\n", hidden ? "" : "STARTTLS\r\n", hidden ? "454 4.7.0 TLS not available due to local policy\r\n" : "");
		part();
	}
	finish();
}

/* Without limit they would fill the log; how many there were stands in the last line. */
static void so_many_lines(void **context)
{
	(void)context;
	start("From:bad@ REJECT\n", NULL);
	meet(ADDRESS);
	for (unsigned i = 0; i < 103; i++)
		say("MAIL FROM:<bad@b.example>\r\n", "", "550 5.7.1 <bad@b.example>... Access denied\r\n");
	assert_int_equal(logged("rejected"), 100);
	part();
	assert_non_null(strstr(buf_text(&door.log), " rejected=103"));
	finish();
}

/* A reply that does not fit with the address is cut, and loses the address; it never becomes none. */
static void long_replies(void **context)
{
	char table[1100], want[200], path[300], line[400], text[990];
	(void)context;
	memset(text, 't', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	snprintf(table, sizeof(table), "To:%s 550 5.7.1 %s\n", "b.example", text);
	start(table, NULL);
	meet(ADDRESS);
	pass("MAIL FROM:<good@b.example>\r\n");
	memset(path, 'u', 64);
	strcpy(path + 64, "@b.example");
	snprintf(line, sizeof(line), "RCPT TO:<%s>\r\n", path);
	snprintf(want, sizeof(want), "550 5.7.1 %.64s\r\n", text);
	say(line, "", want);
	finish();
}

/* ---- maps elsewhere ---- */

/* The one table, and maps elsewhere behind it. */
static void look_elsewhere(const char *access, unsigned maps)
{
	struct front *front = &door.front;
	int q[2], a[2], fds[1 + ACCESS_MAPS];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, q), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, a), 0);
	struct lookup_setup s = { .loop = &front->loop, .questions = q[0], .answers = a[0], .cache_ttl = 60 * LOOP_SECOND, .cache_max = 100 };
	assert_int_equal(lookup_new(&front->lookup, &s), 0);
	questions = q[1];
	replies = a[1];
	front->plan = malloc(sizeof(*front->plan));
	assert_non_null(front->plan);
	fds[0] = door_table(access);
	for (unsigned i = 1; i <= maps; i++)
		fds[i] = -1;
	access_close(front->access);
	front->access = access_open(fds, 1 + maps, &(struct access_rules){ .skip = false });
	assert_non_null(front->access);
}

static struct wire_question asked;

/* What tarry-lookup reads next; false: nothing. */
static bool next_question(void)
{
	static char message[WIRE_QUESTION_MAX];
	ssize_t n = recv(questions, message, sizeof(message), MSG_DONTWAIT);
	return n > 0 && wire_get_question((struct slice){ message, (size_t)n }, &asked);
}

/* The map of the question has this key, with this value; NULL: none of them. */
static void answer(const char *key, const char *value)
{
	static char memory[WIRE_ANSWER_MAX];
	struct wire_answer a = { .id = asked.id, .searches = asked.searches };
	struct buf b;
	size_t i = 0, hits = 0;
	for (unsigned s = 0; s < asked.searches; s++) {
		a.found[s].result = WIRE_NONE;
		for (uint16_t k = 0; k < asked.counts[s]; k++, i++) {
			if (key && slice_is(asked.keys[i], key)) {
				a.found[s] = (struct wire_found){ .result = WIRE_FOUND, .key = k, .text = slice_of(value) };
				hits++;
			}
		}
	}
	assert_int_equal(hits, key != NULL);
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(wire_put_answer(&b, &a));
	assert_int_equal(send(replies, b.at, b.len, MSG_DONTWAIT), b.len);
	door_settle(&door);
}

/* The client is nobody that the maps know. */
static void meet_unknown(unsigned maps)
{
	client = door_connect(&door, ADDRESS);
	while (maps-- > 0) {
		assert_true(next_question());
		answer(NULL, NULL);
	}
	greet();
}

/* Nothing has come of it yet, on either side. */
static void expect_waiting(const char *line)
{
	say(line, "", "");
	assert_true(next_question());
}

static void waits_for_a_map(void **context)
{
	(void)context;
	start("", NULL);
	look_elsewhere("From:here@b.example REJECT\n" EXEMPT, 1);
	meet_unknown(1);
	expect_waiting("MAIL FROM:<s@b.example>\r\nRCPT TO:<r@ours.example>\r\n");
	assert_int_equal(asked.searches, 3);
	assert_true(slice_is(asked.keys[0], "from:s@b.example"));
	assert_false(next_question()); /* RCPT has to wait */
	answer(NULL, NULL);
	door_expect(backend, "MAIL FROM:<s@b.example>\r\n");
	assert_true(next_question());
	answer("to:r@ours.example", "550 5.1.1 not here");
	door_expect(backend, "");
	door_expect(client, "");
	reply("250 ok\r\n", "250 ok\r\n550 5.1.1 <r@ours.example>... not here\r\n");
	/* Known now, and not asked again. */
	say("RCPT TO:<r@ours.example>\r\n", "", "550 5.1.1 <r@ours.example>... not here\r\n");
	assert_false(next_question());
	/* One that is refused by it, one that the table here knows. */
	pass("RSET\r\n");
	expect_waiting("MAIL FROM:<t@b.example>\r\n");
	answer("t@b.example", "REJECT");
	door_expect(client, "550 5.7.1 <t@b.example>... Access denied\r\n");
	expect_waiting("MAIL FROM:<here@b.example>\r\n");
	answer("here@b.example", "OK"); /* without its tag it comes after the table's */
	door_expect(client, "550 5.7.1 <here@b.example>... Access denied\r\n");
	door_expect(backend, "");
	finish();
}

/* Two of them: both have to answer, in whichever order; each answer is its own map's. */
static void waits_for_all_maps(void **context)
{
	(void)context;
	for (int turned = 0; turned <= 1; turned++) {
		start("", NULL);
		look_elsewhere("To:x@ REJECT\n" EXEMPT, 2);
		meet_unknown(2);
		expect_waiting("MAIL FROM:<s@b.example>\r\n");
		struct wire_question first = asked;
		assert_true(next_question());
		assert_int_equal(first.map, 0);
		assert_int_equal(asked.map, 1);
		struct wire_question second = asked;
		/* The keys of both are the same: the first one's bytes are gone. */
		memcpy(first.keys, second.keys, sizeof(first.keys));
		asked = turned ? second : first;
		answer(turned ? "from:s@b.example" : NULL, "REJECT");
		door_expect(client, "");
		door_expect(backend, "");
		asked = turned ? first : second;
		answer(turned ? NULL : "from:s@b.example", "REJECT");
		door_expect(client, "550 5.7.1 <s@b.example>... Access denied\r\n");
		finish();
	}
}

/* With delay_checks the sender is asked about again, with each recipient. */
static void delayed_and_elsewhere(void **context)
{
	(void)context;
	start("", (const char *const[]){ "delay_checks=friend", NULL });
	look_elsewhere("Spam:friend@ours.example FRIEND\n" EXEMPT, 1);
	meet_unknown(1);
	expect_waiting("MAIL FROM:<s@b.example>\r\n");
	answer("from:s@b.example", "REJECT");
	door_expect(backend, "MAIL FROM:<s@b.example>\r\n");
	reply("250 ok\r\n", "250 ok\r\n");
	expect_waiting("RCPT TO:<r@ours.example>\r\n");
	answer("from:s@b.example", "550 5.7.1 your sender");
	door_expect(client, "550 5.7.1 <r@ours.example>... your sender\r\n");
	expect_waiting("RCPT TO:<friend@ours.example>\r\n");
	answer("from:s@b.example", "REJECT");
	door_expect(backend, "RCPT TO:<friend@ours.example>\r\n");
	finish();
}

/* What has been asked for one client is not what has been asked for another since. */
static void two_clients(void **context)
{
	(void)context;
	start("", NULL);
	look_elsewhere("To:x@ REJECT\n" EXEMPT, 1);
	meet_unknown(1);
	int first_client = client, first_backend = backend;
	meet_unknown(0);
	int second_client = client, second_backend = backend;
	client = first_client;
	backend = first_backend;
	expect_waiting("MAIL FROM:<s@b.example>\r\n");
	uint64_t first = asked.id;
	client = second_client;
	backend = second_backend;
	expect_waiting("MAIL FROM:<>\r\n");
	/* The keys of the first one again; those of the second are two. */
	struct wire_answer a = { .id = first, .searches = 3, .found = { { .result = WIRE_FOUND, .key = 6, .text = slice_of("REJECT") }, { .result = WIRE_NONE }, { .result = WIRE_NONE } } };
	char memory[WIRE_ANSWER_MAX];
	struct buf b;
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(wire_put_answer(&b, &a));
	assert_int_equal(send(replies, b.at, b.len, MSG_DONTWAIT), b.len);
	door_settle(&door);
	door_expect(first_client, "550 5.7.1 <s@b.example>... Access denied\r\n");
	door_expect(second_client, "");
	answer(NULL, NULL);
	door_expect(second_backend, "MAIL FROM:<>\r\n");
	close(first_client);
	close(first_backend);
	finish();
}

/* A map that does not answer is a failure for now, never a pass; the client goes on. */
static void no_answer(void **context)
{
	(void)context;
	start("", NULL);
	look_elsewhere("To:x@ REJECT\n" EXEMPT, 1);
	meet_unknown(1);
	expect_waiting("MAIL FROM:<s@b.example>\r\n");
	loop_advance(&door.front.loop, LOOKUP_TIMEOUT + LOOP_SECOND);
	door_settle(&door);
	door_expect(client, "451 4.3.0 Temporary system failure. Please try again later.\r\n");
	door_expect(backend, "");
	answer("from:s@b.example", "OK"); /* too late: means nothing */
	door_expect(client, "");
	expect_waiting("MAIL FROM:<t@b.example>\r\n");
	answer(NULL, NULL);
	door_expect(backend, "MAIL FROM:<t@b.example>\r\n");
	finish();
}

/* A client that goes meanwhile, or a backend, is waited for by nobody. */
static void gone_while_it_waits(void **context)
{
	(void)context;
	for (int which = 0; which <= 1; which++) {
		start("", NULL);
		look_elsewhere("To:x@ REJECT\n" EXEMPT, 2);
		meet_unknown(2);
		expect_waiting("MAIL FROM:<s@b.example>\r\n");
		answer(NULL, NULL);
		assert_true(next_question());
		part();
		assert_int_equal(door.front.open, 0);
		answer("from:s@b.example", which ? "REJECT" : "DISCARD");
		/* The next one in its place is another client. */
		meet_unknown(0); /* what the maps know of it is remembered */
		expect_waiting("MAIL FROM:<u@b.example>\r\n");
		answer(NULL, NULL);
		assert_true(next_question());
		answer(NULL, NULL);
		door_expect(backend, "MAIL FROM:<u@b.example>\r\n");
		door_expect(client, "");
		finish();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(needed_or_not), cmocka_unit_test(senders_and_recipients), cmocka_unit_test(each_recipient_by_itself), cmocka_unit_test(limits),
		cmocka_unit_test(discard), cmocka_unit_test(about_the_client), cmocka_unit_test(no_tls), cmocka_unit_test(so_many_lines), cmocka_unit_test(long_replies),
		cmocka_unit_test(waits_for_a_map), cmocka_unit_test(waits_for_all_maps), cmocka_unit_test(delayed_and_elsewhere), cmocka_unit_test(two_clients),
		cmocka_unit_test(no_answer), cmocka_unit_test(gone_while_it_waits),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
