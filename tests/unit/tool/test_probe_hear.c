/* tarry probe: listening, with its ceilings, on one end of a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "tool/probe.h"

struct listener {
	struct probe_ear ear; /* first */
	struct probe_record record;
	int ends[2];
	unsigned lines, replies, ended;
	enum probe_end how;
	bool stops; /* at the first reply */
};

static struct listener l;

static int64_t elapsed(struct probe_ear *ear)
{
	return (int64_t)((struct listener *)ear)->lines * LOOP_MS;
}

static void line(struct probe_ear *ear, struct slice text)
{
	(void)text;
	((struct listener *)ear)->lines++;
}

static void reply(struct probe_ear *ear, struct probe_reply *r)
{
	struct listener *of = (struct listener *)ear;
	assert_ptr_equal(r, &of->record.replies[of->replies]);
	of->replies++;
	if (of->stops)
		probe_ear_stop(ear);
}

static void end(struct probe_ear *ear, enum probe_end how, int error)
{
	(void)error;
	((struct listener *)ear)->ended++;
	((struct listener *)ear)->how = how;
}

static const struct probe_ear_ops ops = { .elapsed = elapsed, .line = line, .reply = reply, .end = end };

static void begin(void)
{
	memset(&l, 0, sizeof(l));
	probe_ear_init(&l.ear, &ops, &l.record);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, l.ends), 0);
}

static void says(const char *text)
{
	size_t len = strlen(text);
	assert_int_equal(send(l.ends[1], text, len, MSG_NOSIGNAL), (ssize_t)len);
	probe_ear_receive(&l.ear, l.ends[0]);
}

static void finish(void)
{
	probe_ear_fini(&l.ear);
	close(l.ends[0]);
	if (l.ends[1] >= 0)
		close(l.ends[1]);
}

static void hang_up(void)
{
	close(l.ends[1]);
	l.ends[1] = -1;
	probe_ear_receive(&l.ear, l.ends[0]);
}

static void test_in_pieces(void **state)
{
	(void)state;
	begin();
	says("2");
	says("20-a\r");
	says("\n220 b\n250 c\r\n25");
	assert_int_equal(l.replies, 2);
	assert_int_equal(l.record.replies[0].lines, 2);
	assert_int_equal(l.record.replies[0].first_at, LOOP_MS);
	assert_int_equal(l.record.replies[0].at, 2 * LOOP_MS);
	assert_int_equal(l.record.replies[1].code, 250);
	says("0 no line end");
	hang_up();
	assert_int_equal(l.replies, 3);
	assert_int_equal(l.ended, 1);
	assert_int_equal(l.how, PROBE_END_CLOSED);
	finish();
}

static void test_ends(void **state)
{
	(void)state;
	static const struct {
		const char *said;
		enum probe_end how;
	} rows[] = { { "SSH-2.0-x\r\n", PROBE_END_NOT_SMTP }, { "SSH", PROBE_END_NOT_SMTP }, { "22\r\n", PROBE_END_NOT_SMTP }, { "220 a\r\nwhat?\r\n", PROBE_END_NOT_SMTP } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin();
		says(rows[i].said);
		assert_int_equal(l.ended, 1);
		assert_int_equal(l.how, rows[i].how);
		assert_true(l.record.junk_len > 0);
		says("220 b\r\n"); /* nothing is heard any more */
		assert_true(l.ear.over && l.replies <= 1);
		finish();
	}
}

static void repeat(const char *text, unsigned n)
{
	for (unsigned i = 0; i < n && !l.ear.over; i++)
		says(text);
}

static void test_ceilings(void **state)
{
	(void)state;
	char longest[PROBE_LINE + 2];
	begin();
	repeat("220-x\r\n", PROBE_LINES);
	assert_int_equal(l.ended, 0);
	says("220-x\r\n");
	assert_int_equal(l.how, PROBE_END_TOO_MUCH);
	finish();
	begin();
	repeat("220 x\r\n", PROBE_REPLIES);
	assert_int_equal(l.ended, 0);
	says("220 x\r\n");
	assert_int_equal(l.how, PROBE_END_TOO_MUCH);
	assert_int_equal(l.replies, PROBE_REPLIES);
	finish();
	begin();
	memset(longest, '2', sizeof(longest) - 1);
	memcpy(longest, "220 ", 4);
	longest[sizeof(longest) - 1] = '\0';
	says(longest);
	assert_int_equal(l.how, PROBE_END_TOO_MUCH);
	finish();
	begin();
	longest[1998] = '\n';
	longest[1999] = '\0';
	longest[3] = '-';
	repeat(longest, PROBE_BYTES / 1999);
	assert_int_equal(l.ended, 0);
	repeat(longest, 2);
	assert_int_equal(l.how, PROBE_END_TOO_MUCH);
	finish();
}

/* Who has stopped is told nothing more, not even the end. */
static void test_stopped_in_the_middle(void **state)
{
	(void)state;
	begin();
	l.stops = true;
	says("220 a\r\n220 b\r\nwhat?\r\n");
	hang_up();
	assert_int_equal(l.replies, 1);
	assert_int_equal(l.ended, 0);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_pieces), cmocka_unit_test(test_ends), cmocka_unit_test(test_ceilings), cmocka_unit_test(test_stopped_in_the_middle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
