/* Other doors: what is said to their server, and what becomes of what it says. The test is the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sock.h"
#include "keeper/share.h"

#define SHA "0123456789012345678901234567890123456789"
#define LOADED "$40\r\n" SHA "\r\n"
#define FOUND "*1\r\n$21\r\n1793000000 1793000001\r\n"

static char folder[] = "/tmp/tarry-share-XXXXXX", path[64];
static struct loop loop;
static struct share share;
static struct buf logged, said;
static int listener, server;
static unsigned answered, passed, forfeited;
static int64_t counts[SHARE_LOST + 1];

static void on_answered(void *context, const struct known_message *question)
{
	(void)context;
	assert_int_equal(question->conn, 7);
	answered++;
}

static void on_passed(void *context, const struct known_key *key, struct known_times times)
{
	(void)context;
	(void)key;
	assert_true(times.since == 1793000000 && times.passed == 1793000001);
	passed++;
}

static void on_forfeited(void *context, const struct known_key *key)
{
	(void)context;
	assert_true(known_key_ok(key->at, key->len));
	forfeited++;
}

static void on_counted(void *context, enum share_count which, int64_t n)
{
	(void)context;
	counts[which] += n;
}

static void turns(void)
{
	for (int i = 0; i < 10; i++)
		loop_turn(&loop, 0);
}

/* What has come is in said. */
static void hear(void)
{
	buf_clear(&said);
	turns();
	while (sock_read(server, &said, 0) == SOCK_OK)
		;
}

static bool heard(const char *text)
{
	hear();
	return memmem(said.at, said.len, text, strlen(text)) != NULL;
}

static void reply(const char *text)
{
	(void)!send(server, text, strlen(text), MSG_NOSIGNAL);
	turns();
}

static void take(void)
{
	struct addr from;
	turns();
	server = sock_accept(listener, &from);
	assert_true(server >= 0);
}

static char lines[400]; /* that were heard, each with its end */

static void on_heard(void *context, struct slice line)
{
	(void)context;
	size_t len = strlen(lines);
	snprintf(lines + len, sizeof(lines) - len, "%.*s\n", (int)line.len, line.at);
}

static void begin_as(const char *more, const struct share_ops *ops);

static void begin(const char *more)
{
	static const struct share_ops ops = { .answered = on_answered, .passed = on_passed, .forfeited = on_forfeited, .counted = on_counted, .failed = "known_share_failed", .back = "known_share_back" };
	begin_as(more, &ops);
}

static void begin_as(const char *more, const struct share_ops *ops)
{
	char url[200], memory[300];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	buf_init(&logged, 1 << 20);
	buf_init(&said, 8 << 20);
	log_capture(&logged);
	answered = passed = forfeited = 0;
	lines[0] = '\0';
	memset(counts, 0, sizeof(counts));
	unlink(path);
	listener = sock_listen_unix(path, 8);
	assert_int_equal(loop_init_manual(&loop, 8), 0);
	snprintf(url, sizeof(url), "redis:unix:%s%s", path, more);
	assert_true(share_init(&share, &loop, url, 50 * LOOP_MS, 3600, ops, NULL, &why));
	share_start(&share);
	take();
	assert_true(heard("SCRIPT"));
}

static void end(void)
{
	share_fini(&share);
	loop_fini(&loop);
	close(server);
	close(listener);
	log_capture(NULL);
	buf_fini(&logged);
	buf_fini(&said);
}

static struct known_key key_of(const char *text)
{
	struct known_key key;
	assert_true(known_key_parse(slice_of(text), &key));
	return key;
}

static void ask(const char *text)
{
	struct known_message question = { .conn = 7 };
	struct known_key key = key_of(text);
	share_ask(&share, &question, &key, 1);
}

static bool says(const char *text)
{
	bool found = strstr(buf_text(&logged), text) != NULL;
	buf_clear(&logged);
	return found;
}

static void asked_and_told(void **context)
{
	(void)context;
	begin("?prefix=x:");
	struct known_key one = key_of("192.0.2.1"), two = key_of("example.com");
	share_pass(&share, &one, (struct known_times){ 5, 6, 0 }); /* before it is there: kept */
	ask("192.0.2.9");
	assert_int_equal(counts[SHARE_FAILED], 1);
	reply(LOADED);
	assert_true(heard("pass\r\n$4\r\n3600\r\n$1\r\n5\r\n$1\r\n6\r\n$9\r\n192.0.2.1\r\n"));
	reply(":1\r\n*0\r\n");
	ask("example.com");
	assert_true(heard("EVALSHA\r\n$40\r\n" SHA "\r\n$1\r\n2\r\n$11\r\nx:/forfeits\r\n$13\r\nx:example.com\r\n$3\r\nask\r\n"));
	reply(FOUND);
	assert_int_equal(answered, 1);
	assert_int_equal(passed, 1);
	ask("192.0.2.9");
	reply("*1\r\n$-1\r\n");
	ask("192.0.2.9");
	reply("*1\r\n$7\r\nx1 2 33\r\n");
	assert_int_equal(answered, 1);
	share_forfeit(&share, &two, true);
	assert_true(heard("drop\r\n$4\r\n3600\r\n$1\r\n1\r\n$11\r\nexample.com\r\n"));
	assert_int_equal(counts[SHARE_ASKED], 4);
	assert_int_equal(counts[SHARE_KNOWN], 1);
	end();
}

/* An answer on its way when the client talks early makes nobody known. */
static void asked_and_forfeited(void **context)
{
	(void)context;
	begin("");
	reply(LOADED);
	assert_true(heard("feed"));
	reply("*0\r\n");
	struct known_key key = key_of("192.0.2.1");
	hear();
	ask("192.0.2.1");
	share_forfeit(&share, &key, false);
	assert_true(heard("drop\r\n$4\r\n3600\r\n$1\r\n0\r\n"));
	reply(FOUND ":1\r\n");
	assert_int_equal(answered + passed, 0);
	/* And a flood of strangers is not what is kept for later. */
	close(server);
	turns();
	for (int i = 0; i < 3 * SHARE_QUEUE; i++)
		share_forfeit(&share, &key, false);
	assert_int_equal(counts[SHARE_LOST], 0);
	for (int i = 0; i < SHARE_QUEUE + 10; i++)
		share_forfeit(&share, &key, true);
	assert_int_equal(counts[SHARE_LOST], 10);
	end();
}

static void it_hangs(void **context)
{
	(void)context;
	begin("");
	reply(LOADED);
	assert_true(heard("feed"));
	reply("*0\r\n");
	struct known_key key = key_of("192.0.2.1");
	ask("192.0.2.9");
	share_pass(&share, &key, (struct known_times){ 5, 6, 0 });
	loop_advance(&loop, 60 * LOOP_MS);
	ask("192.0.2.9"); /* it has not caught up */
	assert_int_equal(counts[SHARE_FAILED], 1);
	loop_advance(&loop, LOOP_SECOND);
	assert_true(says("no answer in time"));
	assert_int_equal(counts[SHARE_FAILED], 2);
	close(server);
	loop_advance(&loop, LOOP_SECOND);
	take();
	reply(LOADED);
	assert_true(says("known_share_back"));
	assert_true(heard("192.0.2.1"));
	end();
}

static void it_loses_its_script(void **context)
{
	(void)context;
	begin("");
	reply(LOADED);
	assert_true(heard("feed"));
	reply("*0\r\n");
	hear();
	struct known_key key = key_of("192.0.2.1");
	ask("192.0.2.9");
	share_pass(&share, &key, (struct known_times){ 5, 6, 0 });
	hear();
	reply("-NOSCRIPT No matching script.\r\n-NOSCRIPT No matching script.\r\n");
	hear();
	assert_non_null(memmem(said.at, said.len, "LOAD", 4));
	assert_non_null(memmem(said.at, said.len, "192.0.2.9", 9));
	assert_non_null(memmem(said.at, said.len, "192.0.2.1", 9));
	reply(LOADED FOUND ":1\r\n");
	assert_int_equal(answered, 1);
	assert_false(says("known_share_failed"));
	end();
}

static void forfeits_elsewhere(void **context)
{
	(void)context;
	begin("");
	reply(LOADED);
	assert_true(heard("feed\r\n$1\r\n0\r\n"));
	reply("*6\r\n$9\r\n192.0.2.1\r\n$3\r\n111\r\n$8\r\nno key!!\r\n$3\r\n222\r\n$11\r\nexample.com\r\n$5\r\n3.0e3\r\n");
	assert_int_equal(forfeited, 2);
	loop_advance(&loop, 0);
	assert_true(heard("feed\r\n$5\r\n3.0e3\r\n")); /* on from the last */
	reply("*4\r\n$9\r\n192.0.2.1\r\n$3\r\n+in\r\n$9\r\n192.0.2.1\r\n:5\r\n"); /* scores that are none */
	assert_int_equal(forfeited, 2);
	end();
}

/* Lines of bans: told in their order, again when the server was gone meanwhile, and heard as they are. */
static void lines_of_all(void **context)
{
	static const struct share_ops ops = { .counted = on_counted, .heard = on_heard, .failed = "ban_share_failed", .back = "ban_share_back" };
	char longer[SHARE_LINE + 50];
	(void)context;
	begin_as("", &ops);
	share_tell(&share, slice_of("one 1 2"));
	reply(LOADED);
	assert_true(heard("$9\r\nban:/bans\r\n$4\r\nline\r\n$4\r\n3600\r\n$7\r\none 1 2\r\n"));
	close(server); /* before it has answered */
	turns();
	assert_non_null(strstr(buf_text(&logged), "event=ban_share_failed"));
	share_tell(&share, slice_of("two"));
	loop_advance(&loop, LOOP_SECOND);
	take();
	assert_true(heard("SCRIPT"));
	reply(LOADED);
	hear();
	const char *one = memmem(said.at, said.len, "one 1 2", 7), *two = memmem(said.at, said.len, "two", 3);
	assert_true(one && two && one < two);
	assert_non_null(strstr(buf_text(&logged), "event=ban_share_back"));
	memset(longer, 'x', sizeof(longer));
	share_tell(&share, (struct slice){ longer, sizeof(longer) });
	assert_true(heard("$200\r\nxxx"));
	reply(":1\r\n:1\r\n*4\r\n$7\r\none 1 2\r\n$1\r\n5\r\n$3\r\ntwo\r\n$1\r\n6\r\n:1\r\n");
	assert_string_equal(lines, "one 1 2\ntwo\n");
	end();
}

/* The first of two that are under way is refused: it is told again before the other one, or a ban would come behind its end. */
static void refused_in_order(void **context)
{
	static const struct share_ops ops = { .counted = on_counted, .heard = on_heard, .failed = "ban_share_failed", .back = "ban_share_back" };
	(void)context;
	begin_as("", &ops);
	reply(LOADED);
	hear();
	share_tell(&share, slice_of("banned"));
	share_tell(&share, slice_of("dropped"));
	assert_true(heard("dropped"));
	reply("*0\r\n-OOM command not allowed when used memory > 'maxmemory'.\r\n");
	assert_true(says("OOM"));
	close(server);
	loop_advance(&loop, LOOP_SECOND);
	take();
	reply(LOADED);
	hear();
	const char *banned = memmem(said.at, said.len, "banned", 6), *dropped = memmem(said.at, said.len, "dropped", 7);
	assert_true(banned && dropped && banned < dropped);
	assert_int_equal(counts[SHARE_LOST], 0);
	end();
}

static void nonsense(void **context)
{
	static const char *const answers[] = { "HTTP/1.1 200 OK\r\n", "$39\r\n" SHA "\r\n", "*1000000000\r\n", "$-5\r\n", ":5\r\n", "-NOAUTH Authentication required.\r\n", LOADED LOADED LOADED LOADED, "*-1\r\n" };
	(void)context;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		begin("");
		reply(answers[i]);
		if (!says("known_share_failed"))
			fail_msg("%s", answers[i]);
		share_fini(&share);
		share_fini(&share);
		end();
	}
	/* One that never comes to an end of its answer. */
	begin("");
	static char lots[64 * 1024];
	memset(lots, 'x', sizeof(lots));
	reply(LOADED "$500000000\r\n");
	for (int i = 0; i < 200 && !strstr(buf_text(&logged), "too long"); i++) {
		(void)!send(server, lots, sizeof(lots), MSG_DONTWAIT | MSG_NOSIGNAL);
		turns();
	}
	assert_true(says("too long"));
	end();
}

static void its_name(void **context)
{
	char memory[300];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_true(share_check("redis://127.0.0.1:6380/3?prefix=a:&user=u&password_file=/x", &why));
	assert_false(share_check("redis://127.0.0.1/0?hash=h", &why));
	assert_non_null(strstr(buf_text(&why), "hash="));
	assert_false(share_check("memcached://x/", &why));
}

static int set_up(void **context)
{
	(void)context;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/s", folder);
	return 0;
}

static int tear_down(void **context)
{
	(void)context;
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(asked_and_told), cmocka_unit_test(asked_and_forfeited), cmocka_unit_test(it_hangs), cmocka_unit_test(it_loses_its_script),
		cmocka_unit_test(forfeits_elsewhere), cmocka_unit_test(lines_of_all), cmocka_unit_test(refused_in_order), cmocka_unit_test(nonsense), cmocka_unit_test(its_name) };
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
