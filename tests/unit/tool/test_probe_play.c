/* tarry probe --all: one act against a listener of our own, with a clock that only the test moves. */
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
#include "smtp/proxyhdr.h"
#include "tool/probe_all.h"

#define TIMEOUT (30 * LOOP_SECOND)

struct stage {
	struct loop loop;
	struct probe_all_plan plan;
	struct probe_round round;
	struct probe_play *play;
	struct addr at;
	int listener, peer;
};

static void turn(struct stage *t)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_turn(&t->loop, 0), 0);
}

/* One act, connected; the patient one is never played, and nothing is tried twice. */
static void begin(struct stage *t, const char *act, enum probe_way way)
{
	struct addr any = { .port = 0 };
	assert_true(addr_parse(slice_of("127.0.0.1"), &any));
	t->listener = sock_listen(&any, 8, false);
	assert_true(t->listener >= 0 && sock_local(t->listener, &t->at));
	int flags = 0;
	assert_int_equal(ioctl(t->listener, FIONBIO, &flags), 0);
	assert_int_equal(loop_init_manual(&t->loop, 4), 0);
	t->plan.addrs = &t->at;
	t->plan.addrs_len = 1;
	t->plan.timeout = TIMEOUT;
	t->plan.wait = PROBE_WAIT;
	t->plan.helo = "probe.test";
	t->round = (struct probe_round){ .loop = &t->loop, .plan = &t->plan, .seal = { .orders = -1, .parent = -1 }, .alone = true };
	source_init(&t->round.pause, NULL);
	t->play = malloc(sizeof(*t->play));
	assert_non_null(t->play);
	probe_play_init(t->play, &t->round, probe_act_find(slice_of(act)), way, 3);
	t->play->again = true;
	t->round.plays[t->round.plays_len++] = t->play;
	t->round.running = 1;
	probe_play_begin(t->play);
	t->peer = accept(t->listener, NULL, NULL);
	assert_true(t->peer >= 0);
	sock_nodelay(t->peer);
	turn(t);
}

static void finish(struct stage *t)
{
	close(t->peer);
	close(t->listener);
	probe_round_fini(&t->round);
	loop_fini(&t->loop);
}

static void says(struct stage *t, const char *text)
{
	assert_int_equal(send(t->peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	turn(t);
}

static void hears(struct stage *t, const char *text)
{
	char got[4096];
	ssize_t n = recv(t->peer, got, sizeof(got) - 1, MSG_DONTWAIT);
	got[n > 0 ? n : 0] = '\0';
	assert_string_equal(got, text);
}

static void is(const struct stage *t, enum probe_word word)
{
	assert_true(probe_play_is_done(t->play));
	assert_string_equal(probe_weigh_word(probe_weigh(t->play, NULL).word), probe_weigh_word(word));
}

static void test_early_bytes(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "early-ssh", PROBE_WAY_CLEAR);
	hears(&t, "SSH-2.0-OpenSSH_9.6\r\n");
	loop_advance(&t.loop, 20 * LOOP_SECOND); /* a long pause */
	says(&t, "220 mx\r\n500 what?\r\n");
	hears(&t, "");
	loop_advance(&t.loop, PROBE_QUIET);
	hears(&t, "EHLO probe.test\r\n");
	says(&t, "250 mx\r\n");
	hears(&t, "MAIL FROM:<>\r\n");
	says(&t, "550 no\r\n");
	hears(&t, "QUIT\r\n");
	says(&t, "221 bye\r\n");
	loop_advance(&t.loop, PROBE_LINGER);
	is(&t, PROBE_WORD_REFUSED);
	assert_int_equal(t.play->record.end, PROBE_END_OPEN);
	finish(&t);
}

static void test_early_at_its_time(void **state)
{
	(void)state;
	struct stage t = { .plan.early = 300 * LOOP_MS };
	begin(&t, "early-verb", PROBE_WAY_CLEAR);
	loop_advance(&t.loop, 299 * LOOP_MS);
	hears(&t, "");
	loop_advance(&t.loop, LOOP_MS);
	hears(&t, "HELO probe.test\r\n");
	assert_int_equal(t.play->record.talk_at, 300 * LOOP_MS);
	says(&t, "554 no\r\n250 mx\r\n");
	hears(&t, "MAIL FROM:<>\r\n");
	finish(&t);
	t = (struct stage){ .plan.early = 300 * LOOP_MS };
	begin(&t, "early-verb", PROBE_WAY_CLEAR);
	says(&t, "220 mx\r\n");
	is(&t, PROBE_WORD_LEFT_OUT);
	hears(&t, "");
	finish(&t);
}

/* Talk between the lines; and no talk where there is nothing between them. */
static void test_teaser(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "teaser", PROBE_WAY_CLEAR);
	hears(&t, "");
	says(&t, "220-mx\r\n");
	hears(&t, "EHLO probe.test\r\n");
	says(&t, "521 too soon\r\n");
	close(t.peer);
	t.peer = -1;
	turn(&t);
	is(&t, PROBE_WORD_REFUSED);
	finish(&t);
	t = (struct stage){ .listener = -1 };
	begin(&t, "teaser", PROBE_WAY_CLEAR);
	says(&t, "220-mx\r\n220 mx\r\n");
	hears(&t, "");
	is(&t, PROBE_WORD_LEFT_OUT);
	finish(&t);
}

/* postscreen: the greeting is never ended, and HELO is answered in its place. */
static void test_broken_off_greeting(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "early-verb", PROBE_WAY_CLEAR);
	hears(&t, "HELO probe.test\r\n");
	says(&t, "220-mx\r\n250 mx\r\n");
	hears(&t, "MAIL FROM:<>\r\n");
	assert_int_equal(t.play->record.replies[0].to, PROBE_STEP_HELO);
	says(&t, "250 ok\r\n");
	hears(&t, "RCPT TO:<postmaster>\r\n");
	says(&t, "550 protocol error\r\n");
	hears(&t, "QUIT\r\n");
	says(&t, "221 bye\r\n");
	loop_advance(&t.loop, PROBE_LINGER);
	is(&t, PROBE_WORD_REFUSED);
	finish(&t);
}

static void test_what_is_thrown_away(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "ehlo-ahead", PROBE_WAY_CLEAR);
	says(&t, "220 mx\r\n");
	hears(&t, "EHLO probe.test\r\nMAIL FROM:<>\r\n");
	says(&t, "250 mx\r\n");
	loop_advance(&t.loop, PROBE_WAIT - LOOP_MS);
	hears(&t, "");
	loop_advance(&t.loop, LOOP_MS);
	hears(&t, "QUIT\r\n");
	says(&t, "221 bye\r\n");
	loop_advance(&t.loop, PROBE_LINGER);
	is(&t, PROBE_WORD_IGNORED);
	assert_int_equal(t.play->unanswered, 1);
	finish(&t);
}

/* A good client may be answered late, and is not given up for it. */
static void test_good_clients_are_patient(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "group", PROBE_WAY_CLEAR);
	says(&t, "220 mx\r\n");
	hears(&t, "EHLO probe.test\r\n");
	says(&t, "250-mx\r\n250-SIZE 1\r\n250 pipelining\r\n");
	hears(&t, "MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\n");
	says(&t, "250 ok\r\n");
	loop_advance(&t.loop, TIMEOUT - LOOP_MS);
	says(&t, "250 ok\r\n");
	hears(&t, "RSET\r\n");
	says(&t, "250 ok\r\n");
	hears(&t, "QUIT\r\n");
	says(&t, "221 bye\r\n");
	loop_advance(&t.loop, PROBE_LINGER);
	is(&t, PROBE_WORD_PASSED);
	finish(&t);
}

static void test_only_where_it_is_offered(void **state)
{
	(void)state;
	static const char *const acts[] = { "group", "starttls-ahead" };
	for (size_t i = 0; i < 2; i++) {
		struct stage t = { .listener = -1 };
		begin(&t, acts[i], PROBE_WAY_CLEAR);
		says(&t, "220 mx PIPELINING STARTTLS\r\n");
		hears(&t, "EHLO probe.test\r\n");
		says(&t, "250-mx STARTTLS\r\n250-PIPELININGX\r\n250 XSTARTTLS\r\n");
		hears(&t, "");
		is(&t, PROBE_WORD_LEFT_OUT);
		finish(&t);
	}
}

/* The end of a message that is none: the true one comes when nothing was said to it. */
static void lead_to_data(struct stage *t)
{
	says(t, "220 mx\r\n");
	hears(t, "EHLO probe.test\r\n");
	says(t, "250 mx\r\n");
	hears(t, "MAIL FROM:<>\r\n");
	says(t, "250 ok\r\n");
	hears(t, "RCPT TO:<victim@example.org>\r\n");
	says(t, "250 ok\r\n");
	hears(t, "DATA\r\n");
}

static size_t hear_message(struct stage *t, const char *end)
{
	char got[4096];
	ssize_t n = recv(t->peer, got, sizeof(got), MSG_DONTWAIT);
	assert_true(n > 100 && memcmp(got, "Date: ", 6) == 0);
	assert_memory_equal(got + n - strlen(end), end, strlen(end));
	return (size_t)n;
}

static void test_false_end(void **state)
{
	(void)state;
	struct stage t = { .plan.to = "victim@example.org" };
	begin(&t, "eod-lf-lf", PROBE_WAY_CLEAR);
	lead_to_data(&t);
	says(&t, "354 go on\r\n");
	hear_message(&t, "thrown away.\n.\n");
	loop_advance(&t.loop, PROBE_WAIT);
	hears(&t, "\r\n.\r\n");
	says(&t, "250 taken\r\n");
	hears(&t, "QUIT\r\n");
	finish(&t);
	t = (struct stage){ .plan.to = "victim@example.org" };
	begin(&t, "eod-lf-lf", PROBE_WAY_CLEAR);
	lead_to_data(&t);
	says(&t, "354 go on\r\n");
	hear_message(&t, "thrown away.\n.\n");
	says(&t, "250 taken\r\n");
	hears(&t, "QUIT\r\n"); /* and not the true end, which would be a command */
	says(&t, "221 bye\r\n");
	loop_advance(&t.loop, PROBE_LINGER);
	is(&t, PROBE_WORD_ACCEPTED);
	finish(&t);
}

/* All refused but DATA: an end would deliver an empty message to nobody, or to somebody. */
static void test_no_end_is_said_by_accident(void **state)
{
	(void)state;
	struct stage t = { .plan.to = "victim@example.org" };
	begin(&t, "group-data", PROBE_WAY_CLEAR);
	says(&t, "220 mx\r\n");
	hears(&t, "EHLO probe.test\r\n");
	says(&t, "250-mx\r\n250 PIPELINING\r\n");
	hears(&t, "MAIL FROM:<>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n");
	says(&t, "250 ok\r\n550 no\r\n354 go on\r\n");
	hear_message(&t, "\r\n.\r\n"); /* RFC 2920 3.1: whoever is told 354 has to go on; with no recipient it is for nobody */
	says(&t, "554 no valid recipients\r\n");
	hears(&t, "QUIT\r\n");
	says(&t, "221 bye\r\n");
	loop_advance(&t.loop, PROBE_LINGER);
	is(&t, PROBE_WORD_REFUSED);
	finish(&t);
	t = (struct stage){ .plan.to = "victim@example.org" };
	begin(&t, "group-data", PROBE_WAY_CLEAR);
	says(&t, "220 mx\r\n");
	hears(&t, "EHLO probe.test\r\n");
	says(&t, "250-mx\r\n250 PIPELINING\r\n");
	hears(&t, "MAIL FROM:<>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n");
	says(&t, "250 ok\r\n354 go on\r\n"); /* one reply is missing, so it is not known what this is */
	loop_advance(&t.loop, TIMEOUT);
	hears(&t, "");
	assert_true(probe_play_is_done(t.play));
	finish(&t);
}

static void test_refused_on_the_way(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "helo-group", PROBE_WAY_CLEAR);
	says(&t, "554 no\r\n");
	hears(&t, "QUIT\r\n");
	says(&t, "221 bye\r\n");
	loop_advance(&t.loop, PROBE_LINGER);
	is(&t, PROBE_WORD_NOT_REACHED);
	finish(&t);
}

static void test_nothing_is_said_after_421(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "early-text", PROBE_WAY_CLEAR);
	hears(&t, "is anybody there?\r\n");
	says(&t, "421 no\r\n");
	loop_advance(&t.loop, PROBE_LINGER);
	hears(&t, "");
	is(&t, PROBE_WORD_TEMPFAIL);
	finish(&t);
}

/* However slowly it is answered, there is an end: each reply a moment before its deadline. */
static void test_four_times_the_timeout(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "http", PROBE_WAY_CLEAR);
	loop_advance(&t.loop, TIMEOUT - LOOP_MS);
	says(&t, "220 mx\r\n");
	for (int i = 0; i < 60 && !probe_play_is_done(t.play); i++) {
		loop_advance(&t.loop, PROBE_QUIET - LOOP_MS);
		if (!probe_play_is_done(t.play))
			says(&t, "500 what\r\n");
	}
	loop_advance(&t.loop, PROBE_PATIENCE * TIMEOUT);
	assert_true(probe_play_is_done(t.play));
	assert_true(t.play->record.end_at <= PROBE_PATIENCE * TIMEOUT);
	finish(&t);
}

/* The header goes first, with the act's own address in it. */
static void test_proxy_header(void **state)
{
	(void)state;
	struct stage t = { .plan.proxy = PROBE_PROXY_V2 };
	assert_true(addr_parse_prefix(slice_of("198.51.100.0/24"), &t.plan.proxy_source));
	begin(&t, "early-verb", PROBE_WAY_CLEAR);
	char got[512], text[ADDR_TEXT];
	ssize_t n = recv(t.peer, got, sizeof(got), MSG_DONTWAIT);
	struct proxyhdr header;
	const char *why = NULL;
	int len = proxyhdr_read_v2((struct slice){ got, n > 0 ? (size_t)n : 0 }, &header, &why);
	assert_true(len > 0 && n > len);
	assert_string_equal(addr_format(&header.client, text), "198.51.100.4");
	assert_string_equal(addr_format(&header.server, text), "127.0.0.1");
	assert_int_equal(header.server.port, t.at.port);
	assert_memory_equal(got + len, "HELO probe.test\r\n", 17);
	finish(&t);
}

/* Without tarry-tls there is no TLS, and nothing goes out in clear instead. */
static void test_no_tls_to_be_had(void **state)
{
	(void)state;
	struct stage t = { .listener = -1 };
	begin(&t, "lf-commands", PROBE_WAY_STARTTLS); /* on the way there its lines end as they should */
	says(&t, "220 mx\r\n");
	hears(&t, "EHLO probe.test\r\n");
	says(&t, "250-mx\r\n250 STARTTLS\r\n");
	hears(&t, "STARTTLS\r\n");
	says(&t, "220 go on\r\n250 in clear\r\n");
	hears(&t, "");
	is(&t, PROBE_WORD_NOT_REACHED);
	assert_int_equal(t.play->record.end, PROBE_END_ERROR);
	finish(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_early_bytes), cmocka_unit_test(test_early_at_its_time), cmocka_unit_test(test_teaser), cmocka_unit_test(test_broken_off_greeting),
		cmocka_unit_test(test_what_is_thrown_away), cmocka_unit_test(test_good_clients_are_patient), cmocka_unit_test(test_only_where_it_is_offered),
		cmocka_unit_test(test_false_end), cmocka_unit_test(test_no_end_is_said_by_accident), cmocka_unit_test(test_refused_on_the_way),
		cmocka_unit_test(test_nothing_is_said_after_421), cmocka_unit_test(test_four_times_the_timeout), cmocka_unit_test(test_proxy_header),
		cmocka_unit_test(test_no_tls_to_be_had),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
