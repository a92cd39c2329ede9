/* Who is known and who becomes so. The test is the keeper: it writes the table, and hears what the front says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/passing.h"
#include "core/sock.h"
#include "door.h"
#include "gate/session.h"
#include "known/known_wire.h"

#define REFUSAL "554 mail.example.org ESMTP not accepting messages\r\n"
#define GREETING "220 hi\r\n"

static struct known_table table;
static int memory, keeper, answers;

static void begin(struct door *d, const char *option, const char *file)
{
	int pair[2], back[2] = { -1, -1 };
	bool shared = option && strncmp(option, "known_share", 11) == 0;
	memory = known_table_create(1000000);
	assert_int_equal(known_table_open(&table, memory, 1000000, true), 0);
	assert_int_equal(known_table_reset(&table, memory), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	if (shared)
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, back), 0);
	keeper = pair[1];
	answers = back[1];
	const struct known_setup known = { fcntl(memory, F_DUPFD_CLOEXEC, 3), pair[0], back[0] };
	struct door_setup setup = { .manual = true, .known = &known, .file = file, .spawner = file != NULL, .options = { "greet_pause=1s", "resolve=never", option } };
	door_open(d, &setup);
}

static void end(struct door *d)
{
	door_settle(d);
	loop_advance(&d->front.loop, 60 * LOOP_SECOND);
	assert_int_equal(d->front.open, 0);
	door_close(d);
	known_table_close(&table);
	close(memory);
	close(keeper);
	if (answers >= 0)
		close(answers);
}

static void add(const char *text, int64_t age)
{
	struct known_key key;
	uint32_t then = (uint32_t)(time(NULL) - age);
	assert_true(known_key_parse(slice_of(text), &key));
	struct known_id id = known_table_id(&table, &key);
	known_table_add(&table, &id, (struct known_times){ then, then, 0 });
}

static void hears(enum known_said said, const char *client)
{
	struct known_message m;
	char text[ADDR_TEXT];
	assert_true(recv(keeper, &m, sizeof(m), 0) > 0);
	assert_int_equal(m.magic, KNOWN_WIRE_MAGIC);
	assert_int_equal(m.said, said);
	assert_string_equal(addr_format(&m.client, text), client);
}

static void hears_nothing(void)
{
	char byte;
	assert_int_equal(sock_peek(keeper, &byte, 1), -EAGAIN);
}

/* The backend behind a client that has been let through, its PROXY header read. */
static int backend_of(struct door *d, int client)
{
	char header[600];
	int backend = door_backend_accept(d);
	assert_true(recv(backend, header, sizeof(header), MSG_DONTWAIT) > 0);
	door_send(backend, GREETING);
	door_settle(d);
	door_expect(client, GREETING);
	return backend;
}

static void exchange(struct door *d, int client, int backend, const char *said, const char *reply)
{
	door_send(client, said);
	door_settle(d);
	door_expect(backend, said);
	door_send(backend, reply);
	door_settle(d);
	door_expect(client, reply);
}

static void next_envelope(struct door *d, int client, int backend)
{
	exchange(d, client, backend, "MAIL FROM:<a@b.example>\r\n", "250 ok\r\n");
	exchange(d, client, backend, "RCPT TO:<c@d.example>\r\n", "250 ok\r\n");
}

static void envelope(struct door *d, int client, int backend)
{
	exchange(d, client, backend, "HELO x\r\n", "250 x\r\n");
	next_envelope(d, client, backend);
}

static void gone(struct door *d, int client, int backend)
{
	close(client);
	if (backend >= 0)
		close(backend);
	door_settle(d);
}

static void who_is_known_is_greeted_at_once(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	add("192.0.2.1", 0);
	add("2001:db8::/64", 29 * 86400);
	add("192.0.2.2", 31 * 86400);
	for (int i = 0; i < 2; i++) {
		int client = door_connect(&d, i ? "2001:db8::77" : "192.0.2.1");
		gone(&d, client, backend_of(&d, client));
		assert_true(door_logged(&d, "verdict=known"));
	}
	int old = door_connect(&d, "192.0.2.2"), stranger = door_connect(&d, "192.0.2.3");
	assert_int_equal(door_count(&d, CONN_HOLD), 2);
	gone(&d, old, -1);
	gone(&d, stranger, -1);
	assert_int_equal(door_metric(&d, METRIC_known), 2);
	assert_int_equal(door_metric(&d, METRIC_patient) + door_metric(&d, METRIC_exempt), 0);
	hears_nothing();
	end(&d);
}

/* Its first message, not its patience. Refused mail is none. */
static void who_passes(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	int client = door_connect(&d, "192.0.2.1");
	loop_advance(&d.front.loop, LOOP_SECOND);
	int backend = backend_of(&d, client);
	envelope(&d, client, backend);
	exchange(&d, client, backend, "DATA\r\n", "354 go\r\n");
	exchange(&d, client, backend, "x\r\n.\r\n", "554 no\r\n");
	hears_nothing();
	next_envelope(&d, client, backend);
	exchange(&d, client, backend, "DATA\r\n", "354 go\r\n");
	exchange(&d, client, backend, "x\r\n.\r\n", "250 taken\r\n");
	hears(KNOWN_PASSED, "192.0.2.1");
	next_envelope(&d, client, backend);
	exchange(&d, client, backend, "DATA\r\n", "354 go\r\n");
	exchange(&d, client, backend, "x\r\n.\r\n", "250 taken\r\n");
	hears_nothing();
	gone(&d, client, backend);
	assert_int_equal(door_metric(&d, METRIC_known_passed), 1);
	end(&d);
}

static void by_chunks(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	int client = door_connect(&d, "192.0.2.1");
	loop_advance(&d.front.loop, LOOP_SECOND);
	int backend = backend_of(&d, client);
	exchange(&d, client, backend, "EHLO x\r\n", "250-x\r\n250 CHUNKING\r\n");
	exchange(&d, client, backend, "MAIL FROM:<a@b.example>\r\n", "250 ok\r\n");
	exchange(&d, client, backend, "RCPT TO:<c@d.example>\r\n", "250 ok\r\n");
	exchange(&d, client, backend, "BDAT 3\r\nx\r\n", "250 ok\r\n");
	hears_nothing();
	exchange(&d, client, backend, "BDAT 0 LAST\r\n", "250 taken\r\n");
	hears(KNOWN_PASSED, "192.0.2.1");
	gone(&d, client, backend);
	end(&d);
}

/* Behind STARTTLS nothing is seen any more. */
static void where_nothing_is_seen(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	int client = door_connect(&d, "192.0.2.1");
	loop_advance(&d.front.loop, LOOP_SECOND);
	int backend = backend_of(&d, client);
	exchange(&d, client, backend, "EHLO x\r\n", "250-x\r\n250 STARTTLS\r\n");
	hears_nothing();
	exchange(&d, client, backend, "STARTTLS\r\n", "454 not now\r\n");
	hears_nothing();
	exchange(&d, client, backend, "STARTTLS\r\n", "220 go\r\n");
	hears(KNOWN_WAITED, "192.0.2.1");
	gone(&d, client, backend);
	assert_int_equal(door_metric(&d, METRIC_known_waited), 1);
	assert_int_equal(door_metric(&d, METRIC_known_passed), 0);
	end(&d);
}

static void who_talks_early(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	add("192.0.2.1", 0);
	int client = door_connect(&d, "192.0.2.1");
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	door_send(client, "HELO x\r\n"); /* while the backend has not greeted */
	door_settle(&d);
	hears(KNOWN_FORFEITED, "192.0.2.1");
	gone(&d, client, -1);
	assert_true(door_logged(&d, "verdict=early"));
	/* A look before the greeting is sent finds what no event has told of yet. */
	client = door_connect(&d, "192.0.2.1");
	door_send(client, "x");
	door_settle(&d);
	hears(KNOWN_FORFEITED, "192.0.2.1");
	gone(&d, client, -1);
	int stranger = door_connect(&d, "192.0.2.2");
	door_send(stranger, "HELO x\r\n");
	door_settle(&d);
	hears_nothing(); /* it had nothing to lose */
	gone(&d, stranger, -1);
	assert_int_equal(door_metric(&d, METRIC_known_forfeited), 2);
	assert_int_equal(door_metric(&d, METRIC_early), 3);
	end(&d);
}

/* It is watched to its end, however lately it has passed. */
static void who_talks_later(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	add("192.0.2.1", 0);
	int client = door_connect(&d, "192.0.2.1"), backend = backend_of(&d, client);
	envelope(&d, client, backend);
	exchange(&d, client, backend, "DATA\r\n", "354 go\r\n");
	exchange(&d, client, backend, "x\r\n.\r\n", "250 taken\r\n");
	next_envelope(&d, client, backend);
	hears_nothing();
	door_send(client, "DATA\r\nx\r\n.\r\n");
	door_settle(&d);
	hears(KNOWN_FORFEITED, "192.0.2.1");
	door_expect_end(backend);
	gone(&d, client, backend);
	assert_true(door_logged(&d, "verdict=early"));
	assert_int_equal(door_metric(&d, METRIC_early_data), 1);
	end(&d);
}

static void entries_come_first(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	door_access(&d, "GreetPause:192.0.2.1 5000\nConnect:192.0.2.2 REJECT\nGreetPause:192.0.2.3 0\n");
	add("192.0.2.1", 0);
	add("192.0.2.2", 0);
	int waits = door_connect(&d, "192.0.2.1"), refused = door_connect(&d, "192.0.2.2");
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	assert_int_equal(door_count(&d, CONN_REFUSE), 1);
	gone(&d, refused, -1);
	assert_true(door_logged(&d, "verdict=refused"));
	loop_advance(&d.front.loop, 5 * LOOP_SECOND);
	gone(&d, waits, backend_of(&d, waits));
	assert_true(door_logged(&d, "verdict=patient"));
	int exempt = door_connect(&d, "192.0.2.3"), backend = backend_of(&d, exempt);
	envelope(&d, exempt, backend);
	exchange(&d, exempt, backend, "DATA\r\n", "354 go\r\n");
	exchange(&d, exempt, backend, "x\r\n.\r\n", "250 taken\r\n");
	gone(&d, exempt, backend);
	hears_nothing();
	end(&d);
}

/* With delay_checks it is let through, and told at RCPT: no friend for that. */
static void who_is_not_wanted(void **context)
{
	struct door d;
	(void)context;
	begin(&d, "delay_checks=friend", NULL);
	door_access(&d, "Connect:192.0.2.1 REJECT\nSpam:c@d.example FRIEND\n");
	add("192.0.2.1", 0);
	int client = door_connect(&d, "192.0.2.1");
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	loop_advance(&d.front.loop, LOOP_SECOND);
	int backend = backend_of(&d, client);
	envelope(&d, client, backend);
	exchange(&d, client, backend, "DATA\r\n", "354 go\r\n");
	exchange(&d, client, backend, "x\r\n.\r\n", "250 taken\r\n");
	hears_nothing();
	gone(&d, client, backend);
	end(&d);
}

static void who_speaks_another_protocol(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	add("192.0.2.1", 0);
	int client = door_connect(&d, "192.0.2.1"), backend = backend_of(&d, client);
	door_send(client, "GET / HTTP/1.1\r\n");
	door_settle(&d);
	gone(&d, client, backend);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	hears(KNOWN_FORFEITED, "192.0.2.1");
	end(&d);
}

/* It goes on, as it is observed; but it loses what it had, and wins nothing by the mail that it sends. */
static void who_is_observed(void **context)
{
	struct door d;
	(void)context;
	begin(&d, "mode=observe", NULL);
	add("192.0.2.1", 0);
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "HELO x\r\n");
	door_settle(&d);
	hears(KNOWN_FORFEITED, "192.0.2.1");
	int backend = backend_of(&d, client);
	door_expect(backend, "HELO x\r\n");
	door_send(backend, "250 x\r\n");
	door_settle(&d);
	door_expect(client, "250 x\r\n");
	exchange(&d, client, backend, "MAIL FROM:<a@b.example>\r\n", "250 ok\r\n");
	exchange(&d, client, backend, "RCPT TO:<c@d.example>\r\n", "250 ok\r\n");
	exchange(&d, client, backend, "DATA\r\n", "354 go\r\n");
	exchange(&d, client, backend, "x\r\n.\r\n", "250 taken\r\n");
	hears_nothing();
	gone(&d, client, backend);
	assert_true(door_logged(&d, "would=early"));
	end(&d);
}

static void renewed(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL, NULL);
	add("192.0.2.1", 4000);
	add("192.0.2.2", 3000);
	for (int i = 0; i < 2; i++) {
		int client = door_connect(&d, i ? "192.0.2.2" : "192.0.2.1"), backend = backend_of(&d, client);
		envelope(&d, client, backend);
		exchange(&d, client, backend, "DATA\r\n", "354 go\r\n");
		exchange(&d, client, backend, "x\r\n.\r\n", "250 taken\r\n");
		if (i == 0)
			hears(KNOWN_PASSED, "192.0.2.1");
		hears_nothing();
		gone(&d, client, backend);
	}
	end(&d);
}

static void say_known(struct door *d, uint32_t conn, const struct addr *client)
{
	const struct known_answer answer = { KNOWN_WIRE_MAGIC, conn, *client };
	assert_int_equal(send(answers, &answer, sizeof(answer), 0), sizeof(answer));
	door_settle(d);
}

/* Asked while it waits; an answer that is late, or about somebody else, or nonsense changes nothing. */
static void other_doors(void **context)
{
	struct door d;
	struct known_message m;
	(void)context;
	begin(&d, "known_share=redis://192.0.2.99/", NULL);
	int client = door_connect(&d, "192.0.2.1");
	assert_true(recv(keeper, &m, sizeof(m), 0) > 0);
	assert_int_equal(m.said, KNOWN_ASK);
	struct addr other = m.client;
	other.ip[15]++;
	say_known(&d, m.conn, &other);
	other = m.client;
	other.port++;
	say_known(&d, m.conn, &other);
	say_known(&d, m.conn + 1, &m.client);
	say_known(&d, UINT32_MAX, &m.client);
	assert_int_equal(send(answers, "x", 1, 0), 1);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	loop_advance(&d.front.loop, 10 * LOOP_MS);
	say_known(&d, m.conn, &m.client);
	int backend = backend_of(&d, client);
	say_known(&d, m.conn, &m.client); /* once more, too late */
	gone(&d, client, backend);
	assert_true(door_logged(&d, "pause_ms=0 after_ms=10.000"));
	client = door_connect(&d, "192.0.2.1");
	assert_true(recv(keeper, &m, sizeof(m), 0) > 0);
	door_send(client, "HELO x\r\n");
	say_known(&d, m.conn, &m.client);
	assert_true(recv(keeper, &m, sizeof(m), 0) > 0);
	assert_int_equal(m.said, KNOWN_FORFEITED);
	gone(&d, client, -1);
	assert_true(door_logged(&d, "verdict=early"));
	/* Nobody answers: it waits as if nobody had been asked. A keeper that is gone is no matter either. */
	shutdown(answers, SHUT_RDWR);
	client = door_connect(&d, "192.0.2.1");
	loop_advance(&d.front.loop, 999 * LOOP_MS);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	loop_advance(&d.front.loop, LOOP_MS);
	gone(&d, client, backend_of(&d, client));
	assert_true(door_logged(&d, "verdict=patient"));
	end(&d);
}

static void a_program_takes_it(void **context)
{
	struct door d;
	struct passing_request asked;
	int fd;
	(void)context;
	begin(&d, NULL, "backend prog { exec = '/bin/cat'  max = 2 }\n");
	assert_int_equal(sock_recv_fd(d.spawner, &asked, sizeof(asked), &fd), sizeof(asked));
	int client = door_connect(&d, "192.0.2.1");
	loop_advance(&d.front.loop, LOOP_SECOND);
	assert_int_equal(sock_recv_fd(d.spawner, &asked, sizeof(asked), &fd), sizeof(asked));
	struct passing_report report = { .life = asked.life, .token = asked.token, .kind = PASSING_STARTED, .backend = asked.backend, .pid = 4711, .serial = 1, .client = asked.client };
	hears_nothing();
	assert_int_equal(send(d.spawner, &report, sizeof(report), 0), sizeof(report));
	door_settle(&d);
	hears(KNOWN_WAITED, "192.0.2.1");
	close(fd);
	report.kind = PASSING_ENDED;
	report.serial = 2;
	assert_int_equal(send(d.spawner, &report, sizeof(report), 0), sizeof(report));
	gone(&d, client, -1);
	add("192.0.2.2", 0);
	client = door_connect(&d, "192.0.2.2");
	assert_int_equal(sock_recv_fd(d.spawner, &asked, sizeof(asked), &fd), sizeof(asked));
	assert_true(asked.look); /* known, but not free to talk */
	close(fd);
	gone(&d, client, -1);
	end(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(who_is_known_is_greeted_at_once), cmocka_unit_test(who_passes), cmocka_unit_test(by_chunks), cmocka_unit_test(where_nothing_is_seen),
		cmocka_unit_test(who_talks_early), cmocka_unit_test(who_talks_later), cmocka_unit_test(entries_come_first), cmocka_unit_test(who_is_not_wanted), cmocka_unit_test(who_speaks_another_protocol), cmocka_unit_test(who_is_observed), cmocka_unit_test(renewed), cmocka_unit_test(other_doors),
		cmocka_unit_test(a_program_takes_it) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
