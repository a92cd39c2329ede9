/* The file: what was committed is there, whole; what was not is not; what is damaged is found out, at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/store.h"

#define MAX 1000
#define ROWS 300

static char folder[] = "/tmp/tarry-store-XXXXXX", path[64];
static bool there[ROWS];
static uint32_t passed[ROWS];
static unsigned taken;

static struct known_key key_of(unsigned i)
{
	struct known_key key;
	char domain[32];
	struct addr a = { .ip = { [10] = 0xff, [11] = 0xff, 10, 0, (uint8_t)(i >> 8), (uint8_t)i } };
	snprintf(domain, sizeof(domain), "d%u.example", i);
	if (i % 3 == 0)
		assert_true(known_key_domain(&key, slice_of(domain)));
	else
		known_key_address(&key, &a, 32);
	return key;
}

static void take(void *context, const struct known_key *key, struct known_times times, struct slice text)
{
	assert_int_equal(text.len, 0);
	(void)context;
	taken++;
	for (unsigned i = 0; i < ROWS; i++) {
		struct known_key mine = key_of(i);
		if (mine.len == key->len && memcmp(mine.at, key->at, key->len) == 0) {
			assert_false(there[i]);
			there[i] = true;
			passed[i] = times.passed;
			assert_int_equal(times.since, times.passed / 2);
			return;
		}
	}
	fail_msg("somebody who was never there");
}

static struct store_report read_as(store_is_key *is_key, uint32_t least, struct buf *why)
{
	struct store s;
	struct store_report report;
	memset(there, 0, sizeof(there));
	taken = 0;
	store_init(&s, path, MAX, is_key);
	assert_int_equal(store_lock(&s), 0);
	store_read(&s, least, take, NULL, &report, why);
	store_fini(&s);
	return report;
}

static struct store_report read_all(uint32_t least, struct buf *why)
{
	return read_as(known_key_ok, least, why);
}

static void write_all(void)
{
	struct store s;
	char memory[300];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	store_init(&s, path, MAX, known_key_ok);
	assert_int_equal(store_lock(&s), 0);
	assert_true(store_begin(&s, &why));
	for (unsigned i = 0; i < ROWS; i++) {
		struct known_key key = key_of(i);
		assert_true(store_put(&s, &key, (struct known_times){ i / 2, i, 0 }, slice_of(""), &why));
	}
	assert_true(store_replace(&s, &why));
	store_fini(&s);
}

static void what_was_committed(void **context)
{
	struct store s, other;
	char memory[300];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	unlink(path);
	assert_int_equal(read_all(0, &why).entries, 0);
	write_all();
	assert_int_equal(read_all(0, &why).entries, ROWS);
	assert_int_equal(taken, ROWS);
	assert_int_equal(read_all(100, &why).entries, ROWS);
	assert_int_equal(taken, ROWS - 100);
	assert_int_equal(read_as(known_key_ok_network, 0, &why).spoilt, (ROWS + 2) / 3); /* names are nobody that can be banned */
	store_init(&s, path, MAX, known_key_ok);
	assert_int_equal(store_lock(&s), 0);
	store_init(&other, path, MAX, known_key_ok);
	assert_int_equal(store_lock(&other), -EWOULDBLOCK);
	assert_true(store_begin(&s, &why));
	for (unsigned i = 0; i < 10; i++) {
		struct known_key key = key_of(i);
		assert_true(store_put(&s, &key, (struct known_times){ i, 2 * i, 0 }, slice_of(""), &why));
	}
	assert_true(store_replace(&s, &why));
	struct known_key two = key_of(2), three = key_of(3), five = key_of(5), eleven = key_of(11);
	assert_true(store_drop(&s, &two, &why) && store_drop(&s, &eleven, &why)); /* who is not there can be dropped, too */
	assert_true(store_put(&s, &three, (struct known_times){ 50, 100, 0 }, slice_of(""), &why));
	assert_true(store_commit(&s, &why));
	assert_true(store_drop(&s, &five, &why));
	store_fini(&s); /* not committed */
	assert_int_equal(read_all(0, &why).entries, 9);
	assert_true(!there[2] && there[3] && passed[3] == 100 && there[5]);
}

/* Every byte of it once wrong: never a crash, never somebody who was not there, never a word less about it than that. */
static void every_byte(void **context)
{
	char memory[600];
	struct buf why;
	struct stat st;
	(void)context;
	write_all();
	assert_int_equal(stat(path, &st), 0);
	char *whole = malloc((size_t)st.st_size);
	int fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, whole, (size_t)st.st_size), st.st_size);
	close(fd);
	unsigned aside = 0, spoilt = 0, whole_again = 0;
	for (off_t at = 0; at < st.st_size; at += at % 4096 < 160 ? 7 : 331) {
		buf_init_fixed(&why, memory, sizeof(memory));
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		whole[at] = (char)~whole[at];
		assert_int_equal(write(fd, whole, (size_t)st.st_size), st.st_size);
		whole[at] = (char)~whole[at];
		close(fd);
		struct store_report report = read_all(0, &why);
		if (!report.aside)
			assert_int_equal(taken + report.spoilt, report.entries);
		aside += report.aside;
		spoilt += !report.aside && report.spoilt > 0;
		whole_again += !report.aside && taken == ROWS;
		assert_true(report.aside ? why.len > 0 : report.spoilt > 0 || taken == ROWS);
	}
	free(whole);
	assert_true(aside > 5 && spoilt > 2 && whole_again > 2);
	char damaged[80];
	snprintf(damaged, sizeof(damaged), "%s.damaged", path);
	assert_int_equal(unlink(damaged), 0);
}

static void what_is_no_file(void **context)
{
	struct store s;
	char memory[600], other[80];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	snprintf(other, sizeof(other), "%s/nowhere/db", folder);
	store_init(&s, other, MAX, known_key_ok);
	assert_int_equal(store_lock(&s), -ENOENT);
	assert_false(store_begin(&s, &why));
	assert_true(why.len > 0);
	buf_clear(&why);
	assert_false(store_commit(&s, &why));
	store_fini(&s);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_true(read_all(0, &why).aside);
	snprintf(other, sizeof(other), "%s.damaged", path);
	assert_int_equal(rmdir(other), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	buf_clear(&why);
	assert_true(read_all(0, &why).aside); /* no way to have somebody else's file read or replaced */
	assert_int_equal(unlink(other), 0);
}

/* That says nothing of the file, which stays what it is. */
static void no_descriptor(void **context)
{
	char memory[600];
	struct store s;
	struct store_report report;
	struct buf why;
	struct rlimit was, none;
	(void)context;
	write_all();
	buf_init_fixed(&why, memory, sizeof(memory));
	store_init(&s, path, MAX, known_key_ok);
	assert_int_equal(store_lock(&s), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	store_read(&s, 0, take, NULL, &report, &why);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	store_fini(&s);
	assert_int_equal(report.error, -EMFILE);
	assert_false(report.aside);
	assert_true(why.len > 0);
	report = read_all(0, &why);
	assert_true(report.error == 0 && taken == ROWS);
}

/* Nothing more goes onto the disk: what was there stays, and the next new file has all. */
static void a_full_disk(void **context)
{
	struct store s;
	struct rlimit was, few;
	char memory[600];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	unlink(path);
	write_all();
	store_init(&s, path, MAX, known_key_ok);
	assert_int_equal(store_lock(&s), 0);
	assert_true(store_begin(&s, &why));
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &was);
	few = (struct rlimit){ 8192, was.rlim_max };
	setrlimit(RLIMIT_FSIZE, &few);
	bool ok = true;
	for (unsigned i = 0; i < ROWS && ok; i++) {
		struct known_key key = key_of(i);
		ok = store_put(&s, &key, (struct known_times){ i / 2, i, 0 }, slice_of(""), &why);
	}
	ok = ok && store_replace(&s, &why);
	setrlimit(RLIMIT_FSIZE, &was);
	assert_false(ok);
	assert_true(why.len > 0);
	assert_false(store_commit(&s, &why)); /* it is closed */
	store_fini(&s);
	buf_clear(&why);
	assert_int_equal(read_all(0, &why).entries, ROWS);
	assert_int_equal(taken, ROWS);
	write_all();
	assert_int_equal(read_all(0, &why).entries, ROWS);
}

static int set_up(void **context)
{
	(void)context;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/db", folder);
	return 0;
}

static int tear_down(void **context)
{
	static const char *const names[] = { "", "-lock", ".new", ".damaged" };
	char name[80];
	(void)context;
	for (size_t i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s%s", path, names[i]);
		unlink(name);
	}
	return rmdir(folder);
}

static struct known_times noted;
static char text_of[STORE_TEXT + 1];

static void take_noted(void *context, const struct known_key *key, struct known_times times, struct slice text)
{
	(void)context;
	(void)key;
	noted = times;
	snprintf(text_of, sizeof(text_of), "%.*s", (int)text.len, text.at);
}

/* A ban has a note and a reason. */
static void more_to_say(void **context)
{
	static const struct {
		uint32_t note;
		const char *text, *expected;
	} cases[] = { { 0, "", "" }, { 7, "", "" }, { 0, "x", "x" }, { 0x301, "a reason \\ of \"its\" own", "a reason \\ of \"its\" own" },
		{ 1, "0123456789012345678901234567890123456789012345678901234567890123456789", "0123456789012345678901234567890123456789012345678901234567890123" }, { 1, "\x01", NULL /* spoilt */ } };
	char memory[300];
	struct buf why;
	(void)context;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct store s;
		struct store_report report;
		struct known_key key = key_of(1);
		buf_init_fixed(&why, memory, sizeof(memory));
		unlink(path);
		store_init(&s, path, MAX, known_key_ok);
		assert_int_equal(store_lock(&s), 0);
		assert_true(store_begin(&s, &why) && store_put(&s, &key, (struct known_times){ 1, 2, cases[i].note }, slice_of(cases[i].text), &why) && store_replace(&s, &why));
		store_read(&s, 0, take_noted, NULL, &report, &why);
		assert_int_equal(report.spoilt, cases[i].expected == NULL);
		if (cases[i].expected) {
			assert_true(noted.since == 1 && noted.passed == 2 && noted.note == cases[i].note);
			assert_string_equal(text_of, cases[i].expected);
		}
		store_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_was_committed), cmocka_unit_test(a_full_disk), cmocka_unit_test(every_byte), cmocka_unit_test(what_is_no_file), cmocka_unit_test(no_descriptor), cmocka_unit_test(more_to_say) };
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
