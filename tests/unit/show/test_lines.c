/* The lines of a door, written and taken apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "core/health.h"
#include "core/loop.h"
#include "core/metrics.h"
#include "show/lines.h"

static void taken_apart(void **context)
{
	char text[] = "a\tb\t\tc\n\nmetric\tx\t12\nmetric\tx\t13\na\t1\t2\t3\t4\t5\t6\t7\t8\t9\t10\t11\nmetric\ty\nlast";
	struct lines lines;
	(void)context;
	assert_true(lines_parse(text, &lines));
	assert_int_equal(lines.len, 7);
	assert_string_equal(lines_find(&lines, "a", 4, 0)->words[2], "");
	assert_string_equal(lines_find(&lines, "a", 4, 0)->words[3], "c");
	assert_int_equal(lines_find(&lines, "a", 4, 1)->len, LINES_WORDS);
	assert_null(lines_find(&lines, "a", 4, 2));
	assert_null(lines_find(&lines, "b", 1, 0));
	assert_int_equal(lines_metric(&lines, "x"), 12);
	assert_int_equal(lines_metric(&lines, "y"), 0);
	assert_string_equal(lines_find(&lines, "last", 1, 0)->words[0], "last");
	lines_free(&lines);
	assert_true(lines_parse(text + strlen(text), &lines)); /* nothing at all */
	assert_int_equal(lines.len, 0);
	lines_free(&lines);
}

static void written(void **context)
{
	struct conf_listen listens[] = { { .proxy = true } };
	struct conf conf = { .listens = listens, .listens_len = 1, .greet_pause = 1500 * LOOP_MS };
	struct lines lines;
	struct buf out;
	(void)context;
	assert_true(addr_parse_port(slice_of("192.0.2.1:25"), &listens[0].at));
	assert_int_equal(health_init(1, 1, 3), 0);
	health_name(0, "tab\there", "smtp:x");
	health_name(health_map(0), "text", "text:/a");
	health_name(health_map(1), "ldap", "ldap://x");
	health_name(health_map(2), "cdb", "cdb:/a");
	health_down(0, 0, "no\nway");
	metrics_add(METRIC_held, 9);
	metrics_observe(HISTOGRAM_talk_after, 20 * LOOP_MS);
	buf_init(&out, 65536);
	lines_put_door(&out, &conf, &(struct lines_door){ .pid = 77, .fronts = 3, .started = 86400, .generation = 5, .old = 6 });
	lines_put_state(&out);
	buf_text(&out);
	assert_true(lines_parse(out.at, &lines));
	assert_string_equal(lines_find(&lines, "door", 5, 0)->words[2], "77");
	assert_string_equal(lines_find(&lines, "door", 7, 0)->words[6], "6");
	assert_string_equal(lines_find(&lines, "listen", 3, 0)->words[2], "proxy");
	assert_string_equal(lines_find(&lines, "door", 8, 0)->words[7], "1500");
	const struct line *l = lines_find(&lines, "quantiles", 7, HISTOGRAM_talk_after);
	assert_string_equal(l->words[1], "talk_after");
	assert_string_equal(l->words[2], "1");
	assert_string_equal(l->words[3], "20000");
	for (unsigned i = 4; i < 7; i++)
		assert_in_range(lines_number(l->words[i]), 19500, 20500);
	assert_string_equal(lines_find(&lines, "quantiles", 7, HISTOGRAM_COUNT - 1)->words[2], "0");
	assert_null(lines_find(&lines, "quantiles", 7, HISTOGRAM_COUNT));
	l = lines_find(&lines, "backend", 9, 0);
	assert_string_equal(l->words[1], "tab\\there");
	assert_string_equal(l->words[3], "down");
	assert_string_equal(l->words[6], "no\\nway");
	assert_string_equal(l->words[8], "1");
	assert_string_equal(lines_find(&lines, "map", 9, 0)->words[1], "ldap"); /* files of its own nobody is asked for */
	assert_null(lines_find(&lines, "map", 9, 1));
	assert_int_equal(lines_metric(&lines, "held"), 9);
	lines_free(&lines);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(taken_apart), cmocka_unit_test(written) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
