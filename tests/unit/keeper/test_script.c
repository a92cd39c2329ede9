/* What is said to the server of other doors, byte for byte, and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <hiredis/hiredis.h>
#include <string.h>

#include "keeper/script.h"

#define SHA "0123456789012345678901234567890123456789"
#define EVALSHA "$7\r\nEVALSHA\r\n$40\r\n" SHA "\r\n"
#define LOAD "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$"
#define FORFEITS "$11\r\nx:/forfeits\r\n"

static char memory[8192];
static struct buf out;
static struct script script;

static int begin(void **context)
{
	(void)context;
	script = (struct script){ .prefix = "x:", .list = "/forfeits", .ttl = 3600, .sha = SHA, .seen = "0" };
	buf_init_fixed(&out, memory, sizeof(memory));
	return 0;
}

static void wrote(const char *expected)
{
	assert_string_equal(buf_text(&out), expected);
	buf_clear(&out);
}

static struct known_key key_of(const char *text)
{
	struct known_key key;
	assert_true(known_key_parse(slice_of(text), &key));
	return key;
}

/* As it comes from the server. */
static redisReply *reply_of(const char *bytes)
{
	void *reply = NULL;
	redisReader *reader = map_redis_reader();
	assert_non_null(reader);
	assert_int_equal(redisReaderFeed(reader, bytes, strlen(bytes)), REDIS_OK);
	assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
	assert_non_null(reply);
	redisReaderFree(reader);
	return reply;
}

static void login(void **context)
{
	struct map_redis_url url = { .db = 0 };
	(void)context;
	assert_int_equal(script_put_login(&out, &url, ""), 0);
	wrote("");
	assert_int_equal(script_put_login(&out, &url, "secret"), 1);
	wrote("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n");
	strcpy(url.user, "door");
	url.db = 12;
	assert_int_equal(script_put_login(&out, &url, "secret"), 2);
	wrote("*3\r\n$4\r\nAUTH\r\n$4\r\ndoor\r\n$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n");
}

static void commands(void **context)
{
	struct known_key keys[] = { key_of("192.0.2.1"), key_of("example.com") };
	(void)context;
	script_put_ask(&out, &script, keys, 2);
	wrote("*7\r\n" EVALSHA "$1\r\n3\r\n" FORFEITS "$11\r\nx:192.0.2.1\r\n$13\r\nx:example.com\r\n$3\r\nask\r\n");
	script_put_news(&out, &script, &keys[1], (struct known_times){ 5, 6, 0 });
	wrote("*10\r\n" EVALSHA "$1\r\n2\r\n" FORFEITS "$13\r\nx:example.com\r\n$4\r\npass\r\n$4\r\n3600\r\n$1\r\n5\r\n$1\r\n6\r\n$11\r\nexample.com\r\n");
	script_put_news(&out, &script, &keys[0], (struct known_times){ 1, 0, 0 });
	wrote("*9\r\n" EVALSHA "$1\r\n2\r\n" FORFEITS "$11\r\nx:192.0.2.1\r\n$4\r\ndrop\r\n$4\r\n3600\r\n$1\r\n1\r\n$9\r\n192.0.2.1\r\n");
	script_put_line(&out, &script, slice_of("192.0.2.1 5 6 1 x y"));
	wrote("*7\r\n" EVALSHA "$1\r\n1\r\n" FORFEITS "$4\r\nline\r\n$4\r\n3600\r\n$19\r\n192.0.2.1 5 6 1 x y\r\n");
	script_put_feed(&out, &script);
	wrote("*6\r\n" EVALSHA "$1\r\n1\r\n" FORFEITS "$4\r\nfeed\r\n$1\r\n0\r\n");
	script_put_load(&out);
	assert_int_equal(strncmp(buf_text(&out), LOAD, strlen(LOAD)), 0);
}

static void loaded(void **context)
{
	static const char *const none[] = { "$39\r\n012345678901234567890123456789012345678\r\n", ":5\r\n", "$-1\r\n", "*0\r\n" };
	(void)context;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		redisReply *r = reply_of(none[i]);
		assert_false(script_take_load(&script, r));
		assert_string_equal(script.sha, SHA);
		freeReplyObject(r);
	}
	redisReply *r = reply_of("$40\r\nabcdefghijabcdefghijabcdefghijabcdefghij\r\n");
	assert_true(script_take_load(&script, r));
	assert_string_equal(script.sha, "abcdefghijabcdefghijabcdefghijabcdefghij");
	freeReplyObject(r);
}

static void found(void **context)
{
	struct known_times times = { 1, 1, 0 };
	(void)context;
	redisReply *r = reply_of("*5\r\n$-1\r\n$21\r\n1793000000 1793000001\r\n$3\r\n5 x\r\n$5\r\n5 6 7\r\n$12\r\n5 4294967296\r\n");
	assert_false(script_take_ask(r, 0, &times));
	assert_true(times.since == 1 && times.passed == 1);
	assert_true(script_take_ask(r, 1, &times));
	assert_true(times.since == 1793000000 && times.passed == 1793000001);
	for (size_t i = 2; i < 7; i++) /* and behind its end */
		assert_false(script_take_ask(r, i, &times));
	freeReplyObject(r);
	r = reply_of("$3\r\n5 6\r\n");
	assert_false(script_take_ask(r, 0, &times));
	freeReplyObject(r);
}

static void forfeits(void **context)
{
	struct slice line;
	(void)context;
	redisReply *r = reply_of("*9\r\n$9\r\n192.0.2.1\r\n$3\r\n111\r\n$8\r\nno key!!\r\n$5\r\n3.0e3\r\n$9\r\n192.0.2.1\r\n$3\r\n+in\r\n$9\r\n192.0.2.1\r\n:5\r\n$9\r\n192.0.2.1\r\n");
	assert_int_equal(script_forfeits(r), 4);
	assert_int_equal(script_take_line(&script, r, 0, &line), SCRIPT_KEY);
	assert_true(slice_is(line, "192.0.2.1"));
	assert_string_equal(script.seen, "111");
	assert_int_equal(script_take_line(&script, r, 1, &line), SCRIPT_KEY); /* whether it is one is not said here */
	assert_true(slice_is(line, "no key!!"));
	assert_string_equal(script.seen, "3.0e3");
	assert_int_equal(script_take_line(&script, r, 2, &line), SCRIPT_NONSENSE);
	assert_int_equal(script_take_line(&script, r, 3, &line), SCRIPT_NONSENSE);
	assert_string_equal(script.seen, "3.0e3");
	freeReplyObject(r);
	r = reply_of("*2\r\n$9\r\n192.0.2.1\r\n$32\r\n11111111111111111111111111111111\r\n"); /* longer than any score */
	assert_int_equal(script_take_line(&script, r, 0, &line), SCRIPT_NONSENSE);
	freeReplyObject(r);
	r = reply_of(":5\r\n");
	assert_int_equal(script_forfeits(r), 0);
	freeReplyObject(r);
}

static void errors(void **context)
{
	(void)context;
	redisReply *r = reply_of("-NOSCRIPT No matching script.\r\n");
	assert_true(script_is_lost(r) && !script_is_foreign(r));
	freeReplyObject(r);
	r = reply_of("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
	assert_true(script_is_foreign(r) && !script_is_lost(r));
	freeReplyObject(r);
	r = reply_of("$8\r\nNOSCRIPT\r\n"); /* no error */
	assert_false(script_is_lost(r) || script_is_foreign(r));
	freeReplyObject(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup(login, begin), cmocka_unit_test_setup(commands, begin), cmocka_unit_test_setup(loaded, begin), cmocka_unit_test_setup(found, begin),
		cmocka_unit_test_setup(forfeits, begin), cmocka_unit_test_setup(errors, begin) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
