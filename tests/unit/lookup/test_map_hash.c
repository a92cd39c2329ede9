/* access.db: read as makemap wrote it, replaced when it changes, and never the end of us, whatever is in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "descriptors.h"
#include "lookup/driver.h"
#include "lookup/map_hash.h"
#include "table.h"

#define SECOND INT64_C(1000000000)

static char folder[] = "/tmp/tarry-test-hash-XXXXXX", path[128], spec[128], said[2048];
static struct driver_hits hits;
static struct buf logged;
static void *map;

static const char *const usual[] = { "connect:10.1.2", "REJECT", "greetpause:127.0.0.2", "0", "example.com", "OK", NULL };

static int setup(void **context)
{
	struct buf why;
	(void)context;
	snprintf(path, sizeof(path), "%s/access.db", folder);
	snprintf(spec, sizeof(spec), "hash:%s/access", folder);
	unlink(path);
	buf_init(&logged, 65536);
	log_capture(&logged);
	buf_init_fixed(&why, said, sizeof(said));
	map = map_hash.open(spec, &why);
	return map ? 0 : 1;
}

static int teardown(void **context)
{
	(void)context;
	map_hash.close(map);
	log_capture(NULL);
	buf_fini(&logged);
	return 0;
}

/* Two searches: first, second; third. */
static bool ask(const char *first, const char *second, const char *third)
{
	static struct wire_question q;
	struct buf why;
	q = (struct wire_question){ .searches = 2, .counts = { 2, 1 }, .keys = { slice_of(first), slice_of(second), slice_of(third) } };
	buf_init_fixed(&why, said, sizeof(said));
	driver_hits_init(&hits, &q);
	bool ok = map_hash.ask(map, &hits, driver_now() + 60 * SECOND, &why);
	buf_text(&why);
	return ok;
}

static bool found(unsigned s, uint16_t key, const char *value)
{
	return hits.best[s].there && hits.best[s].key == key && hits.best[s].len == strlen(value) && memcmp(hits.best[s].value, value, hits.best[s].len) == 0;
}

/* Two looks at a quiet file, and the child's verdict. */
static void tend(void)
{
	map_hash.tend(map);
	while (map_hash.tend(map) - driver_now() < SECOND / 2)
		usleep(1000); /* a child is at work */
}

static unsigned lines(const char *text)
{
	unsigned n = 0;
	for (const char *p = buf_text(&logged); (p = strstr(p, text)); p++)
		n++;
	return n;
}

static void names(void **context)
{
	static const char *const bad[] = { "hash:", "hash:relative", "btree:/x", "/x", "" };
	char out[MAP_HASH_PATH_MAX] = "old", large[MAP_HASH_PATH_MAX + 10];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, said, sizeof(said));
	assert_true(map_hash_path("hash:/etc/mail/access", out, &why));
	assert_string_equal(out, "/etc/mail/access.db");
	assert_true(map_hash_path("hash:/etc/mail/access.db", out, &why));
	assert_string_equal(out, "/etc/mail/access.db");
	assert_true(map_hash_path("hash:/.db", out, &why));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(map_hash_path(bad[i], out, &why));
	memset(large, 'x', sizeof(large));
	memcpy(large, "hash:/", 6);
	large[sizeof(large) - 1] = '\0';
	assert_false(map_hash_path(large, out, &why));
}

static void each_kind_of_table(void **context)
{
	static const struct { DBTYPE type; bool nul; } kinds[] = { { DB_HASH, false }, { DB_BTREE, false }, { DB_HASH, true }, { DB_BTREE, true } };
	(void)context;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		teardown(NULL);
		setup(NULL);
		assert_true(table_write(path, kinds[i].type, kinds[i].nul, usual));
		assert_true(ask("connect:10.1.2.3", "connect:10.1.2", "greetpause:127.0.0.2"));
		assert_true(found(0, 1, "REJECT"));
		assert_true(found(1, 0, "0"));
		assert_true(ask("nothing", "example.co", "example.comx"));
		assert_false(hits.best[0].there || hits.best[1].there);
		assert_int_equal(lines("event=map_loaded"), 1);
		assert_int_equal(lines("entries=3"), 1);
	}
}

static bool list(void *context, struct slice key, struct slice value)
{
	char *text = context;
	snprintf(text + strlen(text), 200 - strlen(text), "%.*s=%.*s;", (int)key.len, key.at, (int)value.len, value.at);
	return strlen(text) < 61;
}

static void all_entries(void **context)
{
	char text[200] = "";
	struct buf why;
	(void)context;
	buf_init_fixed(&why, said, sizeof(said));
	assert_false(map_hash.each(map, list, text, driver_now() + 60 * SECOND, &why));
	assert_non_null(strstr(buf_text(&why), "access.db: No such file"));
	for (unsigned nul = 0; nul < 2; nul++) {
		teardown(NULL);
		setup(NULL);
		assert_true(table_write(path, DB_BTREE, nul, usual)); /* a btree is in order */
		text[0] = '\0';
		assert_true(map_hash.each(map, list, text, driver_now() + 60 * SECOND, &why));
		assert_string_equal(text, "connect:10.1.2=REJECT;example.com=OK;greetpause:127.0.0.2=0;");
		assert_false(map_hash.each(map, list, text, driver_now() + 60 * SECOND, &why)); /* list() has enough */
	}
}

static void long_values(void **context)
{
	static char large[WIRE_VALUE_MAX + 70000];
	const char *const pairs[] = { "large", large, "fits", large + sizeof(large) - 1 - WIRE_VALUE_MAX, NULL };
	(void)context;
	memset(large, 'v', sizeof(large) - 1);
	assert_true(table_write(path, DB_HASH, false, pairs));
	assert_true(ask("large", "x", "fits"));
	assert_true(hits.best[0].there && hits.best[0].cut && hits.best[0].len == WIRE_VALUE_MAX);
	assert_true(hits.best[1].there && !hits.best[1].cut && hits.best[1].len == WIRE_VALUE_MAX);
}

/* A table of one kind only answers for keys of its bytes, NUL or not. */
static void keys_are_bytes(void **context)
{
	static struct wire_question q = { .searches = 1, .counts = { 1 }, .keys = { { "example.com\0", 12 } } };
	struct buf why;
	(void)context;
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_true(ask("x", "y", "z"));
	buf_init_fixed(&why, said, sizeof(said));
	driver_hits_init(&hits, &q);
	assert_true(map_hash.ask(map, &hits, driver_now() + SECOND, &why));
	assert_false(hits.best[0].there);
}

static void missing_and_then_there(void **context)
{
	(void)context;
	assert_false(ask("example.com", "x", "y"));
	assert_non_null(strstr(said, "No such file"));
	assert_false(ask("example.com", "x", "y"));
	assert_true(table_write(path, DB_HASH, false, usual));
	tend();
	assert_true(ask("example.com", "x", "y"));
	assert_true(found(0, 0, "OK"));
}

static void changed(void **context)
{
	static const char *const other[] = { "example.com", "REJECT", NULL };
	(void)context;
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_true(ask("example.com", "x", "y") && found(0, 0, "OK"));
	assert_true(table_write(path, DB_BTREE, false, other)); /* in place */
	assert_true(map_hash.tend(map) - driver_now() > SECOND / 2); /* whoever writes may not have finished */
	assert_true(ask("example.com", "x", "y") && found(0, 0, "OK"));
	tend();
	assert_true(ask("example.com", "x", "y") && found(0, 0, "REJECT"));
	assert_int_equal(lines("entries=1 before=3"), 1);
	/* Another file under the name. */
	char aside[160];
	snprintf(aside, sizeof(aside), "%s.new", path);
	assert_true(table_write(aside, DB_HASH, false, usual));
	assert_int_equal(rename(aside, path), 0);
	tend();
	assert_true(ask("example.com", "x", "y") && found(0, 0, "OK"));
	tend();
	assert_int_equal(lines("event=map_loaded"), 3); /* not again without a change */
}

static void write_file(const void *at, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, at, len), len);
	close(fd);
}

/* What has been refused leaves the table before in its place, and is said once. */
static void refused_and_kept(void **context)
{
	(void)context;
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_true(ask("example.com", "x", "y"));
	write_file("garbage, and more of it", 23);
	tend();
	tend();
	assert_true(ask("example.com", "x", "y") && found(0, 0, "OK"));
	assert_int_equal(lines("event=map_kept"), 1);
	write_file("", 0);
	tend();
	assert_true(ask("example.com", "x", "y"));
	assert_int_equal(lines("empty"), 1);
	unlink(path);
	tend();
	tend();
	assert_true(ask("example.com", "x", "y"));
	assert_int_equal(lines("No such file"), 1);
	assert_true(table_write(path, DB_HASH, false, usual));
	tend();
	assert_int_equal(lines("event=map_loaded"), 2);
}

/* No descriptors, no memory: nothing is known of the file then, so it is not a missing one, and it is tried again as it is. */
static void short_of(void **context)
{
	struct rlimit many, none;
	(void)context;
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &many), 0);
	none = (struct rlimit){ 0, many.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_false(ask("example.com", "x", "y"));
	assert_non_null(strstr(said, "Too many open files"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	for (int64_t end = driver_now() + 20 * SECOND; lines("event=map_loaded") == 0 && driver_now() < end; usleep(10000))
		map_hash.tend(map);
	assert_true(ask("example.com", "x", "y") && found(0, 0, "OK"));
	/* With one before, that one stays meanwhile. */
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	tend();
	assert_true(ask("example.com", "x", "y") && found(0, 0, "OK"));
	assert_int_equal(lines("event=map_kept"), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	for (int64_t end = driver_now() + 20 * SECOND; lines("event=map_loaded") == 1 && driver_now() < end; usleep(10000))
		map_hash.tend(map);
	assert_int_equal(lines("event=map_loaded"), 2);
}

/* It opens well, and only who reads all of it finds the page that is none. */
static void a_bad_page(void **context)
{
	static char text[2 * 800][24], garbage[600];
	static const DBTYPE types[] = { DB_HASH, DB_BTREE };
	const char *pairs[2 * 800 + 1] = { NULL };
	(void)context;
	for (unsigned i = 0; i < 1600; i++) {
		snprintf(text[i], sizeof(text[i]), "%s%u", i & 1 ? "value " : "connect:10.0.", i);
		pairs[i] = text[i];
	}
	memset(garbage, 0xa5, sizeof(garbage));
	for (unsigned i = 0; i < 2; i++) {
		char why[128];
		struct buf b;
		assert_true(table_write(path, types[i], false, pairs));
		int fd = open(path, O_WRONLY);
		assert_true(fd >= 0 && lseek(fd, 0, SEEK_END) > 4 * 4096);
		assert_int_equal(pwrite(fd, garbage, sizeof(garbage), 3 * 4096), sizeof(garbage));
		close(fd);
		teardown(NULL);
		buf_init(&logged, 65536);
		log_capture(&logged);
		buf_init_fixed(&b, why, sizeof(why));
		map = map_hash.open(spec, &b);
		assert_false(ask("x", "y", "z"));
		assert_int_equal(lines("event=map_loaded"), 0);
	}
}

static void not_a_file(void **context)
{
	(void)context;
	assert_int_equal(mkdir(path, 0755), 0);
	assert_false(ask("x", "y", "z"));
	assert_non_null(strstr(said, "no regular file"));
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(mkfifo(path, 0644), 0);
	teardown(NULL);
	assert_int_equal(access(path, F_OK), 0);
	struct buf why;
	buf_init_fixed(&why, said, sizeof(said));
	buf_init(&logged, 65536);
	log_capture(&logged);
	map = map_hash.open(spec, &why);
	assert_false(ask("x", "y", "z"));
	assert_non_null(strstr(said, "no regular file"));
}

/* A few hundred damaged tables: cut anywhere, bytes changed anywhere. Each is refused or answers; none ends us. */
static void damaged(void **context)
{
	static char pairs_text[2 * 400][24], good[1 << 20], bad[1 << 20];
	const char *pairs[2 * 400 + 1] = { NULL };
	unsigned refused = 0, before = (unsigned)descriptors_open();
	(void)context;
	for (unsigned i = 0; i < 800; i++) {
		snprintf(pairs_text[i], sizeof(pairs_text[i]), "%s%u", i & 1 ? "value " : "connect:10.0.", i);
		pairs[i] = pairs_text[i];
	}
	srand(11);
	for (unsigned round = 0; round < 60; round++) {
		assert_true(table_write(path, round & 1 ? DB_HASH : DB_BTREE, false, pairs));
		int fd = open(path, O_RDONLY);
		ssize_t len = read(fd, good, sizeof(good));
		close(fd);
		assert_in_range(len, 8192, sizeof(good) - 1);
		memcpy(bad, good, (size_t)len);
		if (round % 3 == 0)
			len = rand() % len;
		for (int k = round % 3 == 0 ? 0 : 1 + rand() % 40; k > 0; k--)
			bad[rand() % (round % 3 == 1 ? 512 : len)] = (char)rand();
		write_file(bad, (size_t)len);
		teardown(NULL);
		buf_init(&logged, 65536);
		log_capture(&logged);
		struct buf why;
		buf_init_fixed(&why, said, sizeof(said));
		map = map_hash.open(spec, &why);
		if (!ask("connect:10.0.0", "connect:10.0.398", "connect:10.0.796"))
			refused++;
	}
	assert_in_range(refused, 20, 60);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(descriptors_open(), before);
}

static void nothing_left_open(void **context)
{
	int before = descriptors_open();
	(void)context;
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_true(ask("example.com", "x", "y"));
	for (unsigned i = 0; i < 3; i++) {
		assert_true(table_write(path, DB_HASH, false, usual));
		tend();
	}
	assert_int_equal(descriptors_open(), before + 2); /* the copy, and libdb's own of it */
	/* Closed while a child is at work. */
	assert_true(table_write(path, DB_HASH, false, usual));
	map_hash.tend(map);
	map_hash.tend(map);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(descriptors_open(), before);
}

/* The last: there is no way back. A file that could not be read is not one that is not there. */
static void ignored(void **context)
{
	struct rlimit many;
	(void)context;
	map_hash.ignore_missing();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &many), 0);
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, many.rlim_max }), 0);
	assert_false(ask("example.com", "x", "y"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	teardown(NULL);
	setup(NULL);
	unlink(path);
	assert_true(ask("example.com", "x", "y"));
	assert_false(hits.best[0].there);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { CASE(names), CASE(each_kind_of_table), CASE(all_entries), CASE(long_values), CASE(keys_are_bytes), CASE(missing_and_then_there), CASE(changed),
		CASE(refused_and_kept), CASE(short_of), CASE(a_bad_page), CASE(not_a_file), CASE(damaged), CASE(nothing_left_open), CASE(ignored) };
	if (!mkdtemp(folder))
		return 1;
	int status = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(folder);
	return status;
}
