/* Redis: names, commands, and what a server may answer, from a child that says it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sock.h"
#include "descriptors.h"
#include "lookup/map_redis.h"

#define SECOND INT64_C(1000000000)

static struct map_redis_url url;
static char said[2048];

static bool parse(const char *spec)
{
	struct buf why;
	buf_init_fixed(&why, said, sizeof(said));
	bool ok = map_redis_parse(spec, &url, &why);
	buf_text(&why);
	return ok;
}

static void names(void **context)
{
	(void)context;
	assert_true(parse("redis://127.0.0.1"));
	assert_true(strcmp(url.host, "127.0.0.1") == 0 && url.port == MAP_REDIS_PORT && url.db == 0 && !url.prefix[0] && !url.hash[0]);
	assert_true(parse("redis://[::1]:7000/3?prefix=access:&user=tarry&password_file=/etc/x"));
	assert_true(strcmp(url.host, "::1") == 0 && url.port == 7000 && url.db == 3);
	assert_string_equal(url.prefix, "access:");
	assert_string_equal(url.user, "tarry");
	assert_string_equal(url.password_file, "/etc/x");
	assert_true(parse("redis:unix:/run/re%3fdis.sock?hash=a%26b&db=2"));
	assert_string_equal(url.path, "/run/re?dis.sock");
	assert_string_equal(url.hash, "a&b");
	assert_true(url.db == 2 && url.host[0] == '\0');
}

static void bad_names(void **context)
{
	static const char *const bad[] = { "", "redis:", "redis://", "redis:///0", "redis:unix:", "redis:unix:relative", "redis://h/x", "redis://h/-1", "redis://h:99999/0",
		"redis://h/0?prefix", "redis://h/0?nonsense=1", "redis://h/0?user=x", "redis://h/0?db=x", "redis://u:p@h/0", "redis://h/0?prefix=%0", "rediss://h/0" };
	char large[400] = "redis:unix:/";
	(void)context;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(bad[i]))
			fail_msg("\"%s\" passed", bad[i]);
		assert_true(said[0] != '\0');
	}
	memset(large + 12, 'x', 200);
	assert_false(parse(large));
}

static void commands(void **context)
{
	struct wire_question q = { .searches = 2, .counts = { 1, 1 }, .keys = { { "a\r\nb", 4 }, { "c\0", 2 } } };
	char memory[1024];
	struct buf out;
	(void)context;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(parse("redis://h/4?prefix=p:"));
	assert_int_equal(map_redis_request(&url, "secret", true, &q, &out), 3);
	static const char fresh[] = "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n4\r\n*3\r\n$4\r\nMGET\r\n$6\r\np:a\r\nb\r\n$4\r\np:c\0\r\n";
	assert_int_equal(out.len, sizeof(fresh) - 1);
	assert_memory_equal(out.at, fresh, out.len);
	buf_clear(&out);
	assert_true(parse("redis://h?hash=H&user=u&password_file=/x"));
	assert_int_equal(map_redis_request(&url, "secret", true, &q, &out), 2);
	static const char hashed[] = "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nsecret\r\n*4\r\n$5\r\nHMGET\r\n$1\r\nH\r\n$4\r\na\r\nb\r\n$2\r\nc\0\r\n";
	assert_int_equal(out.len, sizeof(hashed) - 1);
	assert_memory_equal(out.at, hashed, out.len);
	buf_clear(&out);
	assert_int_equal(map_redis_request(&url, "secret", false, &q, &out), 1);
	assert_int_equal(strncmp(buf_text(&out), "*4\r\n$5\r\nHMGET", 13), 0);
	buf_init_fixed(&out, memory, 20);
	assert_int_equal(map_redis_request(&url, "", false, &q, &out), 0);
}

/* A server that accepts `times` connections, one after the other, and on each says the same and closes, or says nothing more. */
static pid_t serve(const char *path, const char *answer, size_t len, unsigned times, bool hang)
{
	unlink(path);
	int fd = sock_listen_unix(path, 5);
	assert_true(fd >= 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct addr from;
		char bytes[4096];
		for (unsigned i = 0; i < times; i++) {
			int c;
			while ((c = sock_accept(fd, &from)) < 0)
				usleep(200);
			while (recv(c, bytes, sizeof(bytes), MSG_DONTWAIT) <= 0)
				usleep(200);
			for (size_t sent = 0; sent < len;) {
				ssize_t n = send(c, answer + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
				if (n < 0 && errno != EAGAIN)
					break;
				sent += n > 0 ? (size_t)n : 0;
			}
			if (hang)
				while (recv(c, bytes, sizeof(bytes), MSG_DONTWAIT) != 0)
					usleep(200);
			close(c);
		}
		_exit(0);
	}
	close(fd);
	return pid;
}

static struct driver_hits hits;

static bool ask(void *map, int64_t wait)
{
	static struct wire_question q = { .searches = 2, .counts = { 2, 1 }, .keys = { { "a", 1 }, { "b", 1 }, { "c", 1 } } };
	struct buf why;
	buf_init_fixed(&why, said, sizeof(said));
	driver_hits_init(&hits, &q);
	bool ok = map_redis.ask(map, &hits, driver_now() + wait, &why);
	buf_text(&why);
	return ok;
}

static void answers(void **context)
{
	static const struct { const char *answer, *why; } all[] = {
		{ "*3\r\n$-1\r\n$3\r\nyes\r\n$-1\r\n", NULL },
		{ "*2\r\n$-1\r\n$-1\r\n", "not what was asked for" },
		{ "*3\r\n:1\r\n$-1\r\n+OK\r\n", NULL }, /* numbers and words are no values */
		{ "-NOAUTH Authentication \x1b required.\r\n", "NOAUTH Authentication \\x1b required" },
		{ "+OK\r\n", "not what was asked for" },
		{ "HTTP/1.1 400 Bad Request\r\n\r\n", "no Redis protocol" },
		{ "*2147483647\r\n", "no Redis protocol" },
		{ "*3\r\n$-1\r\n$3\r\ny", "closed the connection" },
		{ "$99999999999999999999\r\n", "" },
		{ "", "closed the connection" },
	};
	char path[64], spec[96];
	int before = descriptors_open();
	(void)context;
	snprintf(path, sizeof(path), "/tmp/tarry-test-redis-%d", (int)getpid());
	snprintf(spec, sizeof(spec), "redis:unix:%s", path);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct buf why;
		buf_init_fixed(&why, said, sizeof(said));
		void *map = map_redis.open(spec, &why);
		pid_t pid = serve(path, all[i].answer, strlen(all[i].answer), 1, false);
		assert_int_equal(ask(map, 20 * SECOND), all[i].why == NULL);
		if (all[i].why && !strstr(said, all[i].why))
			fail_msg("%zu: %s", i, said);
		assert_int_equal(hits.best[0].there, i == 0);
		assert_false(hits.best[1].there);
		map_redis.close(map);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	unlink(path);
	assert_int_equal(descriptors_open(), before);
}

/* The second question finds the connection closed, and is asked again on another. */
static void an_idle_connection_may_close(void **context)
{
	static const char answer[] = "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n3\r\n";
	char path[64], spec[96];
	struct buf why;
	(void)context;
	snprintf(path, sizeof(path), "/tmp/tarry-test-redis-%d", (int)getpid());
	snprintf(spec, sizeof(spec), "redis:unix:%s", path);
	buf_init_fixed(&why, said, sizeof(said));
	void *map = map_redis.open(spec, &why);
	pid_t pid = serve(path, answer, sizeof(answer) - 1, 2, false);
	assert_true(ask(map, 20 * SECOND));
	assert_true(ask(map, 20 * SECOND));
	assert_true(hits.best[0].there && hits.best[0].key == 0 && hits.best[1].there);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unlink(path);
	assert_false(ask(map, 20 * SECOND));
	assert_non_null(strstr(said, "connect: "));
	map_redis.close(map);
}

/* Half an answer and then nothing: the deadline ends it. */
static void a_server_that_stops(void **context)
{
	static const char half[] = "*3\r\n$1\r\n1\r\n$";
	char path[64], spec[96];
	struct buf why;
	(void)context;
	snprintf(path, sizeof(path), "/tmp/tarry-test-redis-%d", (int)getpid());
	snprintf(spec, sizeof(spec), "redis:unix:%s", path);
	buf_init_fixed(&why, said, sizeof(said));
	void *map = map_redis.open(spec, &why);
	pid_t pid = serve(path, half, sizeof(half) - 1, 1, true);
	int64_t begun = driver_now();
	assert_false(ask(map, SECOND / 20));
	assert_string_equal(said, "no answer in time");
	assert_true(driver_now() - begun < 10 * SECOND);
	map_redis.close(map);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unlink(path);
}

/* More than one answer may hold: it is not read to its end. */
static void a_flood(void **context)
{
	static const char head[] = "*3\r\n$100000000\r\n";
	char path[64], spec[96], *flood = malloc(MAP_REDIS_REPLY_MAX + 100000);
	struct buf why;
	(void)context;
	assert_non_null(flood);
	memset(flood, 'x', MAP_REDIS_REPLY_MAX + 100000);
	memcpy(flood, head, sizeof(head) - 1);
	snprintf(path, sizeof(path), "/tmp/tarry-test-redis-%d", (int)getpid());
	snprintf(spec, sizeof(spec), "redis:unix:%s", path);
	buf_init_fixed(&why, said, sizeof(said));
	void *map = map_redis.open(spec, &why);
	pid_t pid = serve(path, flood, MAP_REDIS_REPLY_MAX + 100000, 1, true);
	assert_false(ask(map, 20 * SECOND));
	assert_non_null(strstr(said, "too long"));
	map_redis.close(map);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unlink(path);
	free(flood);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(bad_names), cmocka_unit_test(commands), cmocka_unit_test(answers),
		cmocka_unit_test(an_idle_connection_may_close), cmocka_unit_test(a_server_that_stops), cmocka_unit_test(a_flood) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
