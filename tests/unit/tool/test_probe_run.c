/* tarry probe: the two sessions against a listener of our own, with a clock that only the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/sock.h"
#include "tool/probe.h"

struct stage {
	struct loop loop;
	struct probe_plan plan;
	struct probe_run *run;
	struct addr at;
	int listener, peer[PROBE_ROLES];
};

static struct probe_session *session(struct stage *t, enum probe_role role)
{
	return &t->run->sessions[role];
}

static void turn(struct stage *t)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_turn(&t->loop, 0), 0);
}

/* The next connection; the listener blocks until the kernel has it. */
static int accept_one(struct stage *t)
{
	int fd = accept(t->listener, NULL, NULL);
	assert_true(fd >= 0);
	sock_nodelay(fd); /* what is said is there at the next turn */
	turn(t);
	return fd;
}

static void begin(struct stage *t, bool patient, bool slammer)
{
	struct addr any = { .port = 0 };
	assert_true(addr_parse(slice_of("127.0.0.1"), &any));
	t->listener = sock_listen(&any, 8, false);
	assert_true(t->listener >= 0);
	assert_true(sock_local(t->listener, &t->at));
	int flags = 0;
	assert_int_equal(ioctl(t->listener, FIONBIO, &flags), 0);
	assert_int_equal(loop_init_manual(&t->loop, PROBE_ROLES), 0);
	if (!t->plan.addrs) {
		t->plan.addrs = &t->at;
		t->plan.addrs_len = 1;
	}
	t->plan.roles[PROBE_PATIENT] = patient;
	t->plan.roles[PROBE_SLAMMER] = slammer;
	t->run = malloc(sizeof(*t->run));
	assert_non_null(t->run);
	probe_run_init(t->run, &t->loop, &t->plan);
	t->peer[PROBE_PATIENT] = patient ? accept_one(t) : -1;
	t->peer[PROBE_SLAMMER] = slammer ? accept_one(t) : -1;
}

static void finish(struct stage *t)
{
	for (int i = 0; i < PROBE_ROLES; i++)
		if (t->peer[i] >= 0)
			close(t->peer[i]);
	close(t->listener);
	probe_run_fini(t->run);
	free(t->run);
	loop_fini(&t->loop);
}

static void server_says(struct stage *t, enum probe_role role, const char *text)
{
	assert_int_equal(send(t->peer[role], text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	turn(t);
}

static void server_hears(struct stage *t, enum probe_role role, const char *text)
{
	char got[1024];
	ssize_t n = recv(t->peer[role], got, sizeof(got) - 1, MSG_DONTWAIT);
	got[n > 0 ? n : 0] = '\0';
	assert_string_equal(got, text);
}

static void test_patient_waits_for_each_reply(void **state)
{
	(void)state;
	struct stage t = { .plan = { .timeout = 600 * LOOP_SECOND, .helo = "probe.test" } };
	begin(&t, true, false);
	const struct probe_record *r = &session(&t, PROBE_PATIENT)->record;
	loop_advance(&t.loop, 299 * LOOP_SECOND);
	server_says(&t, PROBE_PATIENT, "220-mx\r\n220-more");
	server_hears(&t, PROBE_PATIENT, "");
	loop_advance(&t.loop, LOOP_SECOND);
	server_says(&t, PROBE_PATIENT, "\r\n220 done\r\n");
	server_hears(&t, PROBE_PATIENT, "EHLO probe.test\r\n");
	assert_int_equal(r->replies[0].first_at, 299 * LOOP_SECOND);
	assert_int_equal(r->replies[0].at, 300 * LOOP_SECOND);
	server_says(&t, PROBE_PATIENT, "250-mx\r\n");
	server_hears(&t, PROBE_PATIENT, "");
	server_says(&t, PROBE_PATIENT, "250 HELP\n"); /* LF alone, as some do */
	server_hears(&t, PROBE_PATIENT, "MAIL FROM:<>\r\n");
	server_says(&t, PROBE_PATIENT, "250 ok\r\n");
	server_hears(&t, PROBE_PATIENT, "RSET\r\n");
	server_says(&t, PROBE_PATIENT, "250 ok\r\n");
	server_hears(&t, PROBE_PATIENT, "QUIT\r\n");
	server_says(&t, PROBE_PATIENT, "221 bye\r\n");
	assert_false(probe_run_done(t.run));
	loop_advance(&t.loop, PROBE_LINGER);
	assert_true(probe_run_done(t.run));
	assert_int_equal(r->end, PROBE_END_OPEN);
	assert_int_equal(r->replies_len, 5);
	finish(&t);
}

static void hang_up(struct stage *t, enum probe_role role)
{
	close(t->peer[role]);
	t->peer[role] = -1;
	turn(t);
}

/* After 421 the server is gone: nothing is said to it any more (RFC 5321 3.8). */
static void test_nothing_is_said_after_421(void **state)
{
	(void)state;
	struct stage t = { .plan = { .timeout = 30 * LOOP_SECOND, .helo = "probe.test" } };
	begin(&t, true, false);
	server_says(&t, PROBE_PATIENT, "220 mx\r\n");
	server_hears(&t, PROBE_PATIENT, "EHLO probe.test\r\n");
	server_says(&t, PROBE_PATIENT, "421 going down\r\n");
	server_hears(&t, PROBE_PATIENT, "");
	hang_up(&t, PROBE_PATIENT);
	assert_int_equal(session(&t, PROBE_PATIENT)->record.end, PROBE_END_CLOSED);
	finish(&t);
}

static void test_last_line_without_its_end(void **state)
{
	(void)state;
	struct stage t = { .plan = { .timeout = 30 * LOOP_SECOND } };
	begin(&t, true, false);
	const struct probe_record *r = &session(&t, PROBE_PATIENT)->record;
	server_says(&t, PROBE_PATIENT, "554 no");
	assert_int_equal(r->replies_len, 0);
	hang_up(&t, PROBE_PATIENT);
	assert_true(probe_run_done(t.run));
	assert_int_equal(r->replies_len, 1);
	assert_int_equal(r->replies[0].code, 554);
	assert_int_equal(r->end, PROBE_END_CLOSED);
	finish(&t);
}

/* A reply that comes in the same moment as the deadline was in time. */
static void test_reply_at_the_deadline(void **state)
{
	(void)state;
	struct stage t = { .plan = { .timeout = 30 * LOOP_SECOND, .helo = "probe.test" } };
	begin(&t, true, false);
	struct probe_session *s = session(&t, PROBE_PATIENT);
	assert_int_equal(send(t.peer[PROBE_PATIENT], "220 mx\r\n", 8, MSG_NOSIGNAL), 8);
	loop_set_due(&t.loop, &s->source, LOOP_NEVER); /* as the loop does before it calls */
	s->source.ops->due(&t.loop, &s->source);
	assert_int_equal(s->record.end, PROBE_END_NONE);
	assert_int_equal(s->record.replies_len, 1);
	server_hears(&t, PROBE_PATIENT, "EHLO probe.test\r\n");
	finish(&t);
}

/* The deadline is one for the whole greeting: a line now and then does not put it off. */
static void test_deadlines(void **state)
{
	(void)state;
	struct stage t = { .plan = { .timeout = 400 * LOOP_SECOND } };
	begin(&t, true, true);
	const struct probe_record *patient = &session(&t, PROBE_PATIENT)->record, *slammer = &session(&t, PROBE_SLAMMER)->record;
	loop_advance(&t.loop, 399 * LOOP_SECOND);
	assert_false(probe_run_done(t.run));
	server_says(&t, PROBE_PATIENT, "220-not yet\r\n");
	assert_int_equal(patient->end, PROBE_END_NONE);
	loop_advance(&t.loop, LOOP_SECOND);
	assert_true(probe_run_done(t.run));
	assert_int_equal(patient->end, PROBE_END_TIMEOUT);
	assert_int_equal(patient->end_at, 400 * LOOP_SECOND);
	assert_int_equal(patient->partial.lines, 1);
	assert_int_equal(slammer->end, PROBE_END_TIMEOUT);
	finish(&t);
}

static void test_slammer_talks_when_told_to(void **state)
{
	(void)state;
	struct stage t = { .plan = { .timeout = 30 * LOOP_SECOND, .early = 500 * LOOP_MS, .helo = "probe.test" } };
	begin(&t, false, true);
	const struct probe_record *r = &session(&t, PROBE_SLAMMER)->record;
	server_says(&t, PROBE_SLAMMER, "220-teaser\r\n");
	loop_advance(&t.loop, 499 * LOOP_MS);
	server_hears(&t, PROBE_SLAMMER, "");
	loop_advance(&t.loop, LOOP_MS);
	server_hears(&t, PROBE_SLAMMER, "HELO probe.test\r\nMAIL FROM:<>\r\nRSET\r\nNOOP\r\nQUIT\r\n");
	assert_int_equal(r->talk_at, 500 * LOOP_MS);
	server_says(&t, PROBE_SLAMMER, "521 no\r\n");
	assert_int_equal(r->replies[0].code, 521);
	assert_false(r->late);
	/* Refused: what else may come is waited for less long. */
	loop_advance(&t.loop, PROBE_AFTER);
	assert_true(probe_run_done(t.run));
	assert_int_equal(r->end, PROBE_END_TIMEOUT);
	finish(&t);
}

static void test_slammer_too_late_says_quit_only(void **state)
{
	(void)state;
	struct stage t = { .plan = { .timeout = 30 * LOOP_SECOND, .early = 2 * LOOP_SECOND, .from = "a@b", .to = "c@d" } };
	begin(&t, false, true);
	loop_advance(&t.loop, LOOP_SECOND);
	server_says(&t, PROBE_SLAMMER, "220 mx\r\n");
	server_hears(&t, PROBE_SLAMMER, "QUIT\r\n");
	loop_advance(&t.loop, 10 * LOOP_SECOND);
	server_hears(&t, PROBE_SLAMMER, "");
	assert_true(session(&t, PROBE_SLAMMER)->record.late);
	finish(&t);
}

/* With a message: what each reply answers, when DATA is accepted and when it is refused. */
static void test_steps_of_a_message(void **state)
{
	(void)state;
	static const enum probe_step accepted[] = { PROBE_STEP_GREETING, PROBE_STEP_HELO, PROBE_STEP_MAIL, PROBE_STEP_RCPT, PROBE_STEP_DATA,
		PROBE_STEP_EOM, PROBE_STEP_QUIT };
	struct stage t = { .plan = { .timeout = 30 * LOOP_SECOND, .from = "a@b", .to = "c@d" } };
	begin(&t, false, true);
	const struct probe_record *r = &session(&t, PROBE_SLAMMER)->record;
	char said[1024];
	ssize_t n = recv(t.peer[PROBE_SLAMMER], said, sizeof(said), 0);
	assert_true(n > 0);
	const char *data = memmem(said, (size_t)n, "DATA\r\n", 6);
	assert_non_null(data);
	int lines = -1; /* the dot is none */
	for (const char *at = data + 6; at < said + n - 6; at++)
		lines += *at == '\n';
	server_says(&t, PROBE_SLAMMER, "220 mx\r\n250 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n221 f\r\n");
	assert_int_equal(r->replies_len, 7);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(r->replies[i].to, accepted[i]);
	finish(&t);

	struct stage u = { .plan = t.plan };
	u.plan.addrs = NULL;
	begin(&u, false, true);
	r = &session(&u, PROBE_SLAMMER)->record;
	server_says(&u, PROBE_SLAMMER, "554 mx\r\n250 a\r\n550 b\r\n550 c\r\n550 d\r\n");
	for (int i = 0; i < lines; i++)
		server_says(&u, PROBE_SLAMMER, "500 line\r\n");
	server_says(&u, PROBE_SLAMMER, "500 dot\r\n221 f\r\n421 what?\r\n");
	assert_int_equal(r->replies_len, 5 + (size_t)lines + 3);
	for (int i = 0; i < lines; i++)
		assert_int_equal(r->replies[5 + i].to, PROBE_STEP_LINE);
	assert_int_equal(r->replies[5 + lines].to, PROBE_STEP_EOM);
	assert_int_equal(r->replies[6 + lines].to, PROBE_STEP_QUIT);
	assert_int_equal(r->replies[7 + lines].to, PROBE_STEP_NONE);
	finish(&u);
}

/* The first address refuses; both sessions use the second. */
static void test_addresses_in_turn(void **state)
{
	(void)state;
	struct addr addrs[2], nobody = { .port = 0 };
	struct stage t = { .plan = { .timeout = 30 * LOOP_SECOND } };
	assert_true(addr_parse(slice_of("127.0.0.1"), &nobody));
	t.listener = sock_listen(&nobody, 8, false);
	assert_true(t.listener >= 0 && sock_local(t.listener, &addrs[0]));
	close(t.listener);
	t.plan.addrs = addrs;
	t.plan.addrs_len = 2;
	struct addr any = nobody;
	int listener = sock_listen(&any, 8, false);
	assert_true(listener >= 0 && sock_local(listener, &addrs[1]));
	assert_int_equal(loop_init_manual(&t.loop, PROBE_ROLES), 0);
	t.listener = listener;
	t.plan.roles[PROBE_PATIENT] = t.plan.roles[PROBE_SLAMMER] = true;
	t.run = malloc(sizeof(*t.run));
	assert_non_null(t.run);
	probe_run_init(t.run, &t.loop, &t.plan);
	for (int i = 0; i < 1000 && !session(&t, PROBE_SLAMMER)->record.connected; i++)
		turn(&t);
	assert_true(session(&t, PROBE_PATIENT)->record.connected);
	assert_true(session(&t, PROBE_SLAMMER)->record.connected);
	assert_int_equal(session(&t, PROBE_SLAMMER)->address, 1);
	assert_int_equal(t.run->address.port, addrs[1].port);
	assert_int_equal(session(&t, PROBE_PATIENT)->record.error, 0);
	t.peer[PROBE_PATIENT] = t.peer[PROBE_SLAMMER] = -1;
	finish(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patient_waits_for_each_reply),
		cmocka_unit_test(test_nothing_is_said_after_421),
		cmocka_unit_test(test_last_line_without_its_end),
		cmocka_unit_test(test_reply_at_the_deadline),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_slammer_talks_when_told_to),
		cmocka_unit_test(test_slammer_too_late_says_quit_only),
		cmocka_unit_test(test_steps_of_a_message),
		cmocka_unit_test(test_addresses_in_turn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
