/* Who may look, and who may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "desk/guard.h"

#define TOKEN "0123456789abcdef._~-XYZ"

static struct guard guard;

static enum guard_answer by_host(const char *host)
{
	return guard_check(&guard, host, NULL, NULL, NULL);
}

static void names(void **context)
{
	static const char *const ours[] = { "localhost", "LOCALHOST:8025", "localhost.", "x.localhost:1", "127.0.0.1", "127.9.9.9:8025", "[::1]", "[::1]:8025", "192.0.2.7:8025", "192.0.2.7", "door.example.org", "Door.Example.Org:443" };
	static const char *const others[] = { "", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.8", "[::2]:8025", "[", "[::1", "door.example.org.evil", "evil.door.example.org", ".localhost", "127.0.0.1 evil", "2130706433", "0x7f.1" };
	(void)context;
	guard = (struct guard){ 0 };
	assert_true(addr_parse_port(slice_of("192.0.2.7:8025"), &guard.listen));
	assert_true(guard_add_host(&guard, "door.example.org"));
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (by_host(ours[i]) != GUARD_WELCOME)
			fail_msg("%s is not ours", ours[i]);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (by_host(others[i]) != GUARD_FOREIGN)
			fail_msg("%s is ours", others[i]);
	assert_int_equal(by_host(NULL), GUARD_FOREIGN);
	/* No token opens what has none. */
	assert_int_equal(guard_check(&guard, "evil.example", "Bearer ", GUARD_COOKIE "=", ""), GUARD_FOREIGN);
}

static enum guard_answer with(const char *authorization, const char *cookie, const char *argument)
{
	return guard_check(&guard, "evil.example", authorization, cookie, argument);
}

static void tokens(void **context)
{
	static const char *const wrong[] = { "", "Bearer", "Bearer ", "Bearer x", "Bearer " TOKEN "x", "Bearer 0123456789abcdef._~-XY", "Basic " TOKEN, TOKEN, "Bearer" TOKEN, "bearer  x " TOKEN };
	static const char *const wrong_cookies[] = { "", GUARD_COOKIE, GUARD_COOKIE "=", GUARD_COOKIE "=x", "x" GUARD_COOKIE "=" TOKEN, GUARD_COOKIE "=" TOKEN "0", (GUARD_COOKIE "=\"" TOKEN "\""), ("a=" TOKEN), ";;;", "=" };
	(void)context;
	guard = (struct guard){ .token = TOKEN };
	assert_int_equal(by_host("localhost"), GUARD_NO_TOKEN);
	assert_int_equal(with("Bearer " TOKEN, NULL, NULL), GUARD_WELCOME);
	assert_int_equal(with("BEARER  " TOKEN " ", NULL, NULL), GUARD_WELCOME);
	assert_int_equal(with(NULL, "a=b; " GUARD_COOKIE "=" TOKEN "; c=d", NULL), GUARD_WELCOME);
	assert_int_equal(with(NULL, GUARD_COOKIE "=old;" GUARD_COOKIE "=" TOKEN, NULL), GUARD_WELCOME);
	assert_int_equal(with(NULL, NULL, TOKEN), GUARD_ENTER);
	assert_int_equal(with(NULL, NULL, "x"), GUARD_NO_TOKEN);
	assert_int_equal(with("Bearer " TOKEN, NULL, "x"), GUARD_WELCOME);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(with(wrong[i], NULL, NULL), GUARD_NO_TOKEN);
	for (size_t i = 0; i < sizeof(wrong_cookies) / sizeof(wrong_cookies[0]); i++)
		assert_int_equal(with(NULL, wrong_cookies[i], NULL), GUARD_NO_TOKEN);
}

/* Longer than any token, and with a NUL where the padding of one is. */
static void long_ones(void **context)
{
	static char text[5000];
	(void)context;
	memset(text, 'a', sizeof(text) - 1);
	guard = (struct guard){ .token = TOKEN };
	assert_int_equal(with(NULL, NULL, text), GUARD_NO_TOKEN);
	assert_false(guard_is_token(text));
	assert_false(guard_add_host(&guard, text));
	text[GUARD_TOKEN_MOST] = '\0';
	assert_true(guard_is_token(text));
	strcpy(guard.token, text);
	assert_int_equal(with(NULL, NULL, text), GUARD_ENTER);
	text[GUARD_TOKEN_MOST - 1] = '\0';
	assert_int_equal(with(NULL, NULL, text), GUARD_NO_TOKEN);
	for (unsigned i = 0; i < GUARD_HOSTS; i++)
		assert_true(guard_add_host(&guard, "h"));
	assert_false(guard_add_host(&guard, "h"));
}

static void words(void **context)
{
	(void)context;
	assert_true(guard_is_token(TOKEN));
	assert_false(guard_is_token("0123456789abcde"));
	assert_false(guard_is_token("0123456789abcdef;"));
	assert_false(guard_is_token("0123456789abcdef "));
	assert_false(guard_is_token(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(tokens), cmocka_unit_test(long_ones), cmocka_unit_test(words) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
