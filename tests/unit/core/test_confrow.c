/* Rows of options.def, one by one: found by name, set within bounds, refused without touching the field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/confrow.h"
#include "core/loop.h"

struct stage {
	struct conf conf;
	struct buf errors, warnings;
	struct confrow_load load;
};

static const struct conf_place place = { "tarry.conf", 7 };

static int begin(void **context)
{
	struct stage *s = calloc(1, sizeof(*s));
	if (!s)
		return -1;
	buf_init(&s->errors, 10000);
	buf_init(&s->warnings, 10000);
	s->load = (struct confrow_load){ .conf = &s->conf, .errors = &s->errors, .warnings = &s->warnings };
	confrow_set_defaults(&s->load, CONFFILE_ROOT);
	*context = s;
	return s->load.wrong > 0;
}

static int finish(void **context)
{
	struct stage *s = *context;
	confrow_fini(&s->conf);
	buf_fini(&s->errors);
	buf_fini(&s->warnings);
	free(s);
	return 0;
}

static bool set(struct stage *s, const char *name, const char *text)
{
	struct conffile_value value = { strdup(text), 7 };
	const struct confrow *row = confrow_find(CONFFILE_ROOT, slice_of(name));
	assert_non_null(row);
	bool ok = confrow_set(&s->load, place, row, &value, 1);
	free(value.text);
	return ok;
}

/* Each row's name is found, and its default is what options.def says. */
static void rows_and_defaults(void **context)
{
	struct stage *s = *context;
#define OPTION(name, type, initial, least, most, sentence) \
	assert_non_null(confrow_find(CONFFILE_ROOT, slice_of(#name))); \
	assert_true(strlen(sentence) > 20);
#include "options.def"
#undef OPTION
	assert_null(confrow_find(CONFFILE_ROOT, slice_of("")));
	assert_null(confrow_find(CONFFILE_ROOT, slice_of("greet_paus")));
	assert_null(confrow_find(CONFFILE_ROOT, slice_of("greet_pause2")));
	assert_true(confrow_is_list(confrow_find(CONFFILE_ROOT, slice_of("accept_domains"))));
	assert_false(confrow_is_list(confrow_find(CONFFILE_ROOT, slice_of("greet_pause"))));
	assert_true(s->conf.greet_pause == LOOP_SECOND);
	assert_int_equal(s->conf.max_connections, 10000);
	assert_true(s->conf.create_maildirs);
	assert_string_equal(s->conf.maildir, "/var/mail/tarry/%d/%u");
}

static void bounds(void **context)
{
	struct stage *s = *context;
	assert_true(set(s, "max_connections", "1"));
	assert_true(set(s, "max_connections", "1000000"));
	assert_int_equal(s->conf.max_connections, 1000000);
	static const char *const wrong[] = { "0", "1000001", "-1", "", "many", "1 2", "99999999999999999999" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		buf_clear(&s->errors);
		assert_false(set(s, "max_connections", wrong[i]));
		assert_int_equal(s->load.wrong, i + 1);
		assert_memory_equal(buf_text(&s->errors), "tarry.conf:7: max_connections = \"", 33);
		assert_int_equal(s->conf.max_connections, 1000000); /* as it was */
	}
	assert_false(set(s, "linger", "61s"));
	assert_true(set(s, "linger", "60s"));
	assert_true(s->conf.linger == 60 * LOOP_SECOND);
	assert_true(set(s, "linger", "1500"));
	assert_true(s->conf.linger == 1500 * LOOP_MS);
	assert_true(set(s, "linger_bytes", "64K"));
	assert_int_equal(s->conf.linger_bytes, 65536);
	assert_false(set(s, "create_maildirs", "maybe"));
	assert_true(set(s, "create_maildirs", "no"));
	assert_false(s->conf.create_maildirs);
	assert_false(set(s, "log", "printer"));
	assert_true(set(s, "log", "syslog"));
}

/* More than 300 s is the one value that is cut, with a warning, as in Sendmail. */
static void longest_pause(void **context)
{
	struct stage *s = *context;
	assert_true(set(s, "greet_pause", "300s"));
	assert_int_equal(s->warnings.len, 0);
	assert_true(set(s, "greet_pause", "301s"));
	assert_true(s->conf.greet_pause == 300 * LOOP_SECOND);
	assert_non_null(strstr(buf_text(&s->warnings), "tarry.conf:7: greet_pause = 301s: cut to 300 s"));
	assert_int_equal(s->load.wrong, 0);
}

/* What people wrote is repeated harmlessly, and a place without a line has none. */
static void messages(void **context)
{
	struct stage *s = *context;
	struct conf_place bare = { "-o greet_pause=x", 0 };
	confrow_wrong(&s->load, bare, "greet_pause", "\x1b[2J", "no");
	assert_string_equal(buf_text(&s->errors), "-o greet_pause=x: greet_pause = \"\\x1b[2J\": no\n");
	buf_clear(&s->errors);
	confrow_wrong_bare(&s->load, place, "no");
	assert_string_equal(buf_text(&s->errors), "tarry.conf:7: no\n");
	assert_int_equal(s->load.wrong, 2);
	char *text = confrow_place_text(place);
	assert_string_equal(text, "tarry.conf:7");
	free(text);
	text = confrow_place_text(bare);
	assert_string_equal(text, "-o greet_pause=x");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(rows_and_defaults, begin, finish),
		cmocka_unit_test_setup_teardown(bounds, begin, finish), cmocka_unit_test_setup_teardown(longest_pause, begin, finish),
		cmocka_unit_test_setup_teardown(messages, begin, finish) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
