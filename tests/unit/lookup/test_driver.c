/* Which driver, which hit, which password. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "descriptors.h"
#include "lookup/driver.h"

static void by_scheme(void **context)
{
	static const char *const none[] = { "", "text:/x", "lmdb:/x", "hash", "hashs", "hashx:/x", "HASH:/x", "ldap", "ldapss://x" };
	char memory[1024];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_ptr_equal(driver_find("hash:/etc/mail/access", &why), &map_hash);
	assert_ptr_equal(driver_find("redis://h", &why), &map_redis);
	assert_ptr_equal(driver_find("redis:unix:/x", &why), &map_redis);
	assert_ptr_equal(driver_find("ldap://h/dc=x", &why), &map_ldap);
	assert_ptr_equal(driver_find("ldaps://h/dc=x", &why), &map_ldap);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		buf_clear(&why);
		assert_null(driver_find(none[i], &why));
		assert_non_null(strstr(buf_text(&why), "hash:/path"));
		assert_non_null(strstr(buf_text(&why), "ldaps:"));
	}
}

static void the_first_key_counts(void **context)
{
	static struct driver_hits hits;
	struct wire_question q = { .id = 7, .searches = 3, .counts = { 3, 1, 2 } };
	struct wire_answer a;
	(void)context;
	driver_hits_init(&hits, &q);
	assert_int_equal(driver_keys(&q), 6);
	for (size_t i = 0; i < 6; i++)
		assert_true(driver_wanted(&hits, i));
	driver_hit(&hits, 2, slice_of("last"));
	driver_hit(&hits, 1, slice_of("middle"));
	driver_hit(&hits, 2, slice_of("last again"));
	driver_hit(&hits, 5, slice_of(""));
	assert_true(driver_wanted(&hits, 0) && !driver_wanted(&hits, 1) && !driver_wanted(&hits, 2));
	assert_true(driver_wanted(&hits, 3) && driver_wanted(&hits, 4) && !driver_wanted(&hits, 5));
	driver_answer(&hits, &a);
	assert_true(a.id == 7 && a.searches == 3);
	assert_true(a.found[0].result == WIRE_FOUND && a.found[0].key == 1 && slice_is(a.found[0].text, "middle"));
	assert_true(a.found[1].result == WIRE_NONE);
	assert_true(a.found[2].result == WIRE_FOUND && a.found[2].key == 1 && a.found[2].text.len == 0);
}

static void long_values(void **context)
{
	static struct driver_hits hits;
	static char value[WIRE_VALUE_MAX + 1];
	struct wire_question q = { .searches = 2, .counts = { 1, 1 } };
	struct wire_answer a;
	(void)context;
	memset(value, 'v', sizeof(value));
	driver_hits_init(&hits, &q);
	driver_hit(&hits, 0, (struct slice){ value, WIRE_VALUE_MAX });
	driver_hit(&hits, 1, (struct slice){ value, WIRE_VALUE_MAX + 1 });
	driver_answer(&hits, &a);
	assert_true(!a.found[0].cut && a.found[0].text.len == WIRE_VALUE_MAX);
	assert_true(a.found[1].cut && a.found[1].text.len == WIRE_VALUE_MAX);
}

static void passwords(void **context)
{
	static const struct { const char *bytes, *password; } good[] = { { "secret", "secret" }, { "secret\n", "secret" }, { "two words \r\nmore\n", "two words " } };
	char path[] = "/tmp/tarry-test-secret-XXXXXX", out[DRIVER_SECRET_MAX], memory[512], large[DRIVER_SECRET_MAX + 1];
	struct buf why;
	int before = descriptors_open(), fd = mkstemp(path);
	(void)context;
	assert_true(fd >= 0);
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_true(driver_secret("", out, &why) && out[0] == '\0');
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, good[i].bytes, strlen(good[i].bytes), 0), strlen(good[i].bytes));
		assert_true(driver_secret(path, out, &why));
		assert_string_equal(out, good[i].password);
	}
	memset(large, 'x', sizeof(large));
	assert_int_equal(pwrite(fd, large, DRIVER_SECRET_MAX, 0), DRIVER_SECRET_MAX);
	assert_false(driver_secret(path, out, &why));
	assert_int_equal(ftruncate(fd, DRIVER_SECRET_MAX - 1), 0);
	assert_true(driver_secret(path, out, &why));
	assert_int_equal(ftruncate(fd, 0), 0);
	buf_clear(&why);
	assert_false(driver_secret(path, out, &why));
	assert_non_null(strstr(buf_text(&why), "empty"));
	assert_false(driver_secret("/nonexistent/file", out, &why));
	unlink(path);
	close(fd);
	assert_int_equal(descriptors_open(), before);
}

static void time_left(void **context)
{
	(void)context;
	assert_int_equal(driver_left_ms(driver_now()), 0);
	assert_int_equal(driver_left_ms(driver_now() - 1000000000), 0);
	assert_in_range(driver_left_ms(driver_now() + INT64_C(100000000000)), 90000, 100000);
	assert_int_equal(driver_left_ms(INT64_MAX), INT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(by_scheme), cmocka_unit_test(the_first_key_counts), cmocka_unit_test(long_values),
		cmocka_unit_test(passwords), cmocka_unit_test(time_left) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
