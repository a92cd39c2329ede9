/* Names of maps, and notes with their ceiling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "map/map.h"

static void paths(void **context)
{
	static const char *const wrong[] = { "", "text", "text:", "TEXT:/x", "hash:/etc/mail/access", "/etc/mail/access", " text:/x" };
	struct buf why;
	(void)context;
	buf_init(&why, 1000);
	assert_string_equal(map_text_path("text:/etc/mail/access", &why), "/etc/mail/access");
	assert_string_equal(map_text_path("text:relative:odd", NULL), "relative:odd");
	assert_int_equal(why.len, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		buf_clear(&why);
		assert_null(map_text_path(wrong[i], NULL));
		assert_null(map_text_path(wrong[i], &why));
		assert_non_null(strstr(buf_text(&why), wrong[i]));
		assert_non_null(strstr(buf_text(&why), "expected text:/path/to/file\n"));
	}
	buf_clear(&why);
	assert_null(map_text_path("hash:\x1b[2J", &why)); /* what is repeated is made harmless */
	assert_null(memchr(why.at, 0x1b, why.len));
	buf_fini(&why);
}

static void notes(void **context)
{
	struct buf to;
	struct map_notes n;
	char key[MAP_NOTE_KEY + 1], want[64];
	(void)context;
	buf_init(&to, 100000);
	map_notes_init(&n, &to, "access");
	for (uint32_t line = 1; line <= MAP_NOTES_SHOWN + 7; line++) {
		buf_clear(&to);
		bool shown = map_note_begin(&n, line);
		assert_int_equal(shown, line <= MAP_NOTES_SHOWN);
		if (!shown)
			continue;
		map_note_bytes(&n, (struct slice){ "a\0\n", 3 });
		map_note_end(&n);
		snprintf(want, sizeof(want), "access:%u: a\\x00\\n\n", line);
		assert_string_equal(buf_text(&to), want);
	}
	buf_clear(&to);
	map_notes_finish(&n);
	assert_string_equal(buf_text(&to), "access: and 7 more\n");
	buf_clear(&to);
	memset(key, 'k', sizeof(key));
	map_note_bytes(&n, (struct slice){ key, MAP_NOTE_KEY });
	assert_int_equal(to.len, MAP_NOTE_KEY);
	buf_clear(&to);
	map_note_bytes(&n, (struct slice){ key, sizeof(key) });
	assert_int_equal(to.len, MAP_NOTE_KEY + 3); /* "..." */
	buf_clear(&to);
	map_notes_init(&n, &to, "access");
	map_notes_finish(&n);
	assert_int_equal(to.len, 0);
	buf_fini(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(paths), cmocka_unit_test(notes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
