/* What is asked about a client while it waits, with a clock moved by hand and the test in the place of the lookup processes: answers in time, late, and never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "door.h"
#include "gate/session.h"
#include "gate/watched.h"
#include "map/wire.h"

#define CLIENT "192.0.2.1"

static struct door door;
static int client, backend;

static void open_door(const char *pause, const char *more)
{
	struct door_setup setup = { .manual = true, .elsewhere = true,
		.options = { "resolve=never", "access_db=ldap://127.0.0.1/", "lookup_timeout=5s", "lookup_wait=100ms", pause, more } };
	door_open(&door, &setup);
	client = backend = -1;
}

static void close_door(void)
{
	if (client >= 0)
		close(client);
	if (backend >= 0)
		close(backend);
	door_settle(&door);
	door_close(&door);
}

/* The question about the client, which there must be. */
static uint64_t asked(struct wire_question *q)
{
	static char message[WIRE_QUESTION_MAX];
	ssize_t n = recv(door.questions, message, sizeof(message), MSG_DONTWAIT);
	assert_true(n > 0);
	assert_true(wire_get_question((struct slice){ message, (size_t)n }, q));
	return q->id;
}

/* The map has this key, the first one of those that begin with tag, and nothing else; NULL: nothing at all. */
static void answer(const char *tag, const char *value)
{
	static struct wire_question q;
	char memory[WIRE_ANSWER_MAX];
	struct buf b;
	struct wire_answer a = { .id = asked(&q), .searches = q.searches };
	size_t key = 0;
	for (unsigned s = 0; s < q.searches; key += q.counts[s++]) {
		a.found[s].result = WIRE_NONE;
		if (tag && q.keys[key].len > strlen(tag) && memcmp(q.keys[key].at, tag, strlen(tag)) == 0)
			a.found[s] = (struct wire_found){ .result = WIRE_FOUND, .text = slice_of(value) };
	}
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(wire_put_answer(&b, &a));
	assert_int_equal(send(door.answers, b.at, b.len, 0), b.len);
	door_settle(&door);
}

static void pass(int64_t ms)
{
	loop_advance(&door.front.loop, ms * LOOP_MS);
	door_settle(&door);
}

static void greeted(void)
{
	backend = door_backend_accept(&door);
	door_settle(&door);
	char header[600];
	assert_true(recv(backend, header, sizeof(header), MSG_DONTWAIT) > 16); /* PROXY */
	door_send(backend, "220 inside\r\n");
	door_settle(&door);
	door_expect(client, "220 inside\r\n");
}

static void in_time(void **state)
{
	(void)state;
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	assert_int_equal(door_count(&door, CONN_ASK), 1);
	pass(50);
	answer("greetpause:", "300");
	assert_int_equal(door_count(&door, CONN_HOLD), 1);
	pass(249);
	assert_int_equal(door_count(&door, CONN_HOLD), 1); /* the pause began at accept */
	pass(1);
	assert_int_equal(door_count(&door, CONN_DIAL), 1);
	greeted();
	assert_int_equal(door_metric(&door, METRIC_answers_late), 0);
	close_door();
}

/* Pauses of later stages are asked for with the rest, and are there when the client is relayed. */
static void later_pauses(void **state)
{
	(void)state;
	open_door("greet_pause=1s", "helo_pause=50");
	client = door_connect(&door, CLIENT);
	answer("eompause:", "700");
	pass(1000);
	greeted();
	door_send(client, "EHLO a\r\n");
	door_settle(&door);
	door_expect(backend, "EHLO a\r\n");
	door_send(backend, "250-inside\r\n250 PIPELINING\r\n");
	pass(49);
	door_expect_silence(client);
	pass(1);
	door_expect(client, "250 inside\r\n"); /* struck: the pause at the end of a message is not 0 */
	const struct stages *stages = &door.front.conns[0].session->watched->stages;
	assert_int_equal(stages->pauses[STAGE_EOM], 700);
	assert_int_equal(stages->pauses[STAGE_HELO], 50);
	assert_true(stages->strikes);
	close_door();
	/* One that has answered too late for the pause is in time for these. */
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	pass(1000);
	greeted();
	answer("helopause:", "900");
	door_send(client, "EHLO a\r\n");
	door_settle(&door);
	door_send(backend, "250 inside\r\n");
	pass(899);
	door_expect_silence(client);
	pass(1);
	door_expect(client, "250 inside\r\n");
	close_door();
}

/* What is under way about it does not make talk of what it says when it has its greeting. */
static void no_talk_while_it_is_asked(void **state)
{
	(void)state;
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	pass(1000);
	greeted();
	door_send(client, "EHLO a\r\n");
	door_send(backend, "421 busy\r\n");
	close(backend);
	backend = -1;
	door_settle(&door);
	door_expect(client, "421 busy\r\n");
	assert_int_equal(door_metric(&door, METRIC_early_greeting), 0);
	close_door();
}

static void refused_in_time(void **state)
{
	(void)state;
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	answer("connect:", "REJECT");
	assert_int_equal(door_count(&door, CONN_REFUSE), 1);
	close_door();
}

/* The pause is over before the answer: greeted then, and what the client says waits. */
static void late(void **state)
{
	(void)state;
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	pass(999);
	assert_int_equal(door_count(&door, CONN_ASK), 1);
	pass(1);
	greeted();
	door_send(client, "EHLO a\r\n");
	pass(1000);
	door_expect_silence(backend);
	answer("greetpause:", "3000"); /* too late for that */
	door_expect(backend, "EHLO a\r\n");
	door_send(backend, "250-inside\r\n250 STARTTLS\r\n");
	door_settle(&door);
	door_expect(client, "250-inside\r\n250 STARTTLS\r\n");
	assert_int_equal(door_metric(&door, METRIC_answers_late), 1);
	assert_int_equal(door_metric(&door, METRIC_patient), 1);
	close_door();
}

/* Exempt, by what answers too late for the pause or by what is at hand: it need not wait for its replies. */
static void exempt_late(void **state)
{
	(void)state;
	for (int at_hand = 0; at_hand < 2; at_hand++) {
		open_door("greet_pause=1s", NULL);
		if (at_hand) { /* as read from a file: on a command line a blank parts the elements of a list */
			door.conf.local_greet_pause.at = calloc(1, sizeof(char *));
			door.conf.local_greet_pause.at[0] = strdup(CLIENT " 0");
			door.conf.local_greet_pause.len = 1;
		}
		client = door_connect(&door, CLIENT);
		pass(at_hand ? 100 : 1000); /* lookup_wait */
		greeted();
		door_send(client, "EHLO a\r\nMAIL FROM:<s@b.example>\r\n");
		door_settle(&door);
		answer(at_hand ? NULL : "greetpause:", "0");
		door_expect(backend, "EHLO a\r\n");
		door_send(backend, "250 inside\r\n");
		door_settle(&door);
		door_expect(client, "250 inside\r\n");
		assert_int_equal(door_count(&door, CONN_RELAY), 1);
		assert_int_equal(door_metric(&door, METRIC_early_helo), 0);
		close_door();
	}
}

static void refused_late(void **state)
{
	(void)state;
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	pass(1000);
	greeted();
	door_send(client, "EHLO a\r\n");
	pass(500);
	answer("connect:", "ERROR:5.7.1:550 not you");
	door_expect(backend, "EHLO a\r\n");
	door_send(backend, "250-inside\r\n250 STARTTLS\r\n");
	door_settle(&door);
	door_expect(client, "250 inside\r\n");
	door_send(client, "MAIL FROM:<a@b.example>\r\n");
	door_settle(&door);
	door_expect(client, "550 5.7.1 <a@b.example>... not you\r\n");
	close_door();
}

/* Nobody answers: what the configuration makes of it. */
static void never(void **state)
{
	static const struct { const char *rule, *to_client, *to_backend; } cases[] = {
		{ "access_failure=tempfail", "451 4.3.0 Temporary system failure. Please try again later.\r\n", "" },
		{ "access_failure=closed", "550 5.7.1 <a@b.example>... Access denied\r\n", "" },
		{ "access_failure=open", "", "MAIL FROM:<a@b.example>\r\n" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		open_door("greet_pause=1s", cases[i].rule);
		client = door_connect(&door, CLIENT);
		pass(1000);
		greeted();
		door_send(client, "MAIL FROM:<a@b.example>\r\n");
		pass(3999);
		door_expect_silence(backend);
		door_expect_silence(client);
		pass(1); /* the client's */
		pass(5000); /* the sender's */
		door_expect(client, cases[i].to_client);
		door_expect(backend, cases[i].to_backend);
		close_door();
}
}

/* A pause shorter than lookup_wait: that long the maps have in any case, and no longer. */
static void lookup_wait(void **state)
{
	(void)state;
	open_door("greet_pause=0", NULL);
	client = door_connect(&door, CLIENT);
	pass(99);
	assert_int_equal(door_count(&door, CONN_ASK), 1);
	pass(1);
	greeted();
	close_door();
	open_door("greet_pause=0", "lookup_wait=5s");
	client = door_connect(&door, CLIENT);
	pass(4000);
	assert_int_equal(door_count(&door, CONN_ASK), 1);
	answer("connect:", "REJECT");
	assert_int_equal(door_count(&door, CONN_REFUSE), 1);
	close_door();
}

/* What a client says before its pause is known is early if it has one. */
static void early(void **state)
{
	(void)state;
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	door_send(client, "HELO a\r\n");
	pass(500);
	assert_int_equal(door_count(&door, CONN_ASK), 1);
	pass(500);
	assert_int_equal(door_count(&door, CONN_REFUSE), 1);
	assert_int_equal(door_metric(&door, METRIC_early), 1);
	answer("greetpause:", "0"); /* it has been refused */
	assert_int_equal(door_count(&door, CONN_REFUSE), 1);
	close_door();
}

static void expect_line(const char *text)
{
	close(client);
	close(backend);
	client = backend = -1;
	door_settle(&door);
	if (!strstr(buf_text(&door.log), text))
		fail_msg("%s is not in %s", text, buf_text(&door.log));
}

/* Observed, by the configuration or because the map says so in time: what it says before its pause is known is the backend's, when the pause is over. */
static void observed(void **state)
{
	(void)state;
	for (int by_map = 0; by_map < 2; by_map++) {
		open_door("greet_pause=1s", by_map ? NULL : "mode=observe");
		client = door_connect(&door, CLIENT);
		door_send(client, "HELO a\r\n");
		pass(400);
		assert_int_equal(door_count(&door, CONN_ASK), 1);
		answer(by_map ? "connect:" : NULL, "OBSERVE");
		assert_int_equal(door_count(&door, CONN_HOLD), 1);
		door_send(client, "NOOP\r\n");
		pass(599);
		assert_int_equal(door_count(&door, CONN_HOLD), 1); /* the pause began at accept */
		pass(1);
		greeted();
		door_expect(backend, "HELO a\r\nNOOP\r\n");
		assert_int_equal(door_metric(&door, METRIC_would_early), 1);
		assert_int_equal(door_metric(&door, METRIC_early), 0);
		expect_line("pause_ms=1000 after_ms=1000.000 would=early would_stage=greet would_after_ms=400.000 kind=smtp bytes=8 data=\"HELO a\\r\\n\" backend=mail");
		close_door();
	}
}

/* The map says so when its client has been refused already. */
static void observed_too_late(void **state)
{
	(void)state;
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	pass(1000);
	door_send(client, "HELO a\r\n");
	door_settle(&door);
	assert_int_equal(door_count(&door, CONN_REFUSE), 1);
	answer("connect:", "OBSERVE");
	assert_int_equal(door_count(&door, CONN_REFUSE), 1);
	close_door();
}

/* The pause is over before the answer, with talk and without; what the map refuses then is written down at MAIL, and passes. */
static void observed_late(void **state)
{
	(void)state;
	for (int talks = 0; talks < 2; talks++) {
		open_door("greet_pause=1s", "mode=observe");
		client = door_connect(&door, CLIENT);
		if (talks)
			door_send(client, "EHLO a\r\n");
		pass(1000);
		greeted();
		if (!talks)
			door_send(client, "EHLO a\r\n");
		pass(100);
		door_expect_silence(backend);
		answer("connect:", "REJECT");
		door_expect(backend, "EHLO a\r\n");
		door_send(backend, "250-inside\r\n250 STARTTLS\r\n");
		door_settle(&door);
		door_expect(client, "250-inside\r\n250 STARTTLS\r\n"); /* it is not hidden */
		door_send(client, "MAIL FROM:<a@b.example>\r\n");
		door_settle(&door);
		answer(NULL, NULL);
		door_expect(backend, "MAIL FROM:<a@b.example>\r\n");
		assert_int_equal(door_metric(&door, METRIC_would_early), talks);
		assert_int_equal(door_metric(&door, METRIC_would_refused), 1 - talks); /* the first counts */
		assert_int_equal(door_metric(&door, METRIC_would_reject), 1);
		assert_int_equal(door_metric(&door, METRIC_rejected_senders), 0);
		expect_line(talks ? "would=early would_stage=greet would_after_ms=1000.000" : "would=refused would_stage=mail would_after_ms=1100.000 would_reply=\"550 5.7.1 Access denied\"");
		close_door();
	}
}

/* Clients that go at any time leave nothing behind; an answer that comes for one is no harm. */
static void gone(void **state)
{
	static const int64_t when[] = { 0, 500, 1000, 1500 };
	(void)state;
	for (size_t i = 0; i < sizeof(when) / sizeof(when[0]); i++) {
		open_door("greet_pause=1s", NULL);
		client = door_connect(&door, CLIENT);
		pass(when[i]);
		if (when[i] > 1000)
			greeted();
		close(client);
		client = -1;
		pass(10);
		answer("connect:", "REJECT");
		pass(20000);
		assert_int_equal(door_count(&door, CONN_ASK) + door_count(&door, CONN_HOLD) + door_count(&door, CONN_DIAL), 0);
		assert_null(strstr(buf_text(&door.log), "name=timeout"));
		close_door();
}
}

/* A domain whose keys do not fit into a question is no way past the maps, whatever their failure means. */
static void too_many_labels(void **state)
{
	char command[600] = "MAIL FROM:<a@";
	(void)state;
	open_door("greet_pause=1s", "access_failure=open");
	client = door_connect(&door, CLIENT);
	answer(NULL, NULL);
	pass(1000);
	greeted();
	for (int i = 0; i < 123; i++)
		strcat(command, "a.");
	strcat(command, "example>\r\n");
	door_send(client, command);
	pass(0);
	door_expect(client, "451 4.3.0 Temporary system failure. Please try again later.\r\n");
	door_expect_silence(backend);
	close_door();
}

/* The door stops while its clients' questions are under way. */
static void stopped(void **state)
{
	(void)state;
	open_door("greet_pause=1s", NULL);
	client = door_connect(&door, CLIENT);
	int other = door_connect(&door, "192.0.2.2");
	pass(1000);
	greeted();
	close(other);
	close_door();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_time), cmocka_unit_test(later_pauses), cmocka_unit_test(no_talk_while_it_is_asked), cmocka_unit_test(refused_in_time), cmocka_unit_test(late), cmocka_unit_test(exempt_late), cmocka_unit_test(refused_late), cmocka_unit_test(never),
		cmocka_unit_test(lookup_wait), cmocka_unit_test(early), cmocka_unit_test(observed), cmocka_unit_test(observed_too_late), cmocka_unit_test(observed_late), cmocka_unit_test(gone), cmocka_unit_test(too_many_labels), cmocka_unit_test(stopped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
