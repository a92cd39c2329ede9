/* The ring of those turned away: whole entries or none, in order, and what was overwritten is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/recent.h"

static struct recent_reader reader;

/* An entry all of whose bytes follow from its number, so that a torn one shows. */
static struct recent entry(unsigned n)
{
	struct recent r = { .at_ms = n, .after_ms = n, .pause_ms = n, .bytes_len = RECENT_BYTES };
	recent_word(r.verdict, sizeof(r.verdict), "early");
	memset(r.bytes, (int)(n % 251), sizeof(r.bytes));
	memset(r.name, 'a' + (int)(n % 26), sizeof(r.name) - 1);
	return r;
}

static bool is_whole(const struct recent *r)
{
	struct recent should = entry(r->after_ms);
	return memcmp(&should, r, sizeof(should)) == 0;
}

static void without_memory(void **context)
{
	struct recent r = entry(1);
	(void)context;
	recent_put(&r);
	recent_begin(&reader);
	assert_false(recent_next(&reader, &r));
}

static void in_order(void **context)
{
	struct recent r;
	(void)context;
	assert_int_equal(metrics_init(), 0);
	assert_int_equal(recent_init(), 0);
	recent_begin(&reader);
	for (unsigned n = 0; n < 10; n++) {
		r = entry(n);
		metrics_row(n < 5 ? 0 : 3);
		recent_put(&r);
	}
	for (unsigned n = 0; n < 10; n++) {
		assert_true(recent_next(&reader, &r));
		assert_int_equal(r.after_ms, n);
		assert_true(is_whole(&r));
	}
	assert_false(recent_next(&reader, &r));
	assert_int_equal(reader.missed, 0);
}

static void the_oldest_go(void **context)
{
	struct recent r;
	(void)context;
	metrics_row(1);
	reader.next[1] = 5000; /* it has read another ring there, of a program before */
	for (unsigned n = 0; n < RECENT_ENTRIES + 7; n++) {
		r = entry(n);
		recent_put(&r);
	}
	assert_true(recent_next(&reader, &r));
	assert_int_equal(r.after_ms, 7);
	assert_int_equal(reader.missed, 7);
	/* Who begins now has missed nothing. */
	recent_begin(&reader);
	unsigned seen = 0;
	while (recent_next(&reader, &r))
		seen++;
	assert_int_equal(seen, 5 + 5 + RECENT_ENTRIES);
	assert_int_equal(reader.missed, 0);
}

static void words_are_cut(void **context)
{
	char to[RECENT_WORD];
	(void)context;
	recent_word(to, sizeof(to), "abcdefghijklmnop");
	assert_string_equal(to, "abcdefghijk");
	recent_word(to, sizeof(to), "x");
	assert_string_equal(to, "x");
	assert_int_equal(to[RECENT_WORD - 1], 0);
}

/* What a writer leaves that has gone mad does no harm to a reader. */
static void a_mad_writer(void **context)
{
	struct recent r;
	(void)context;
	recent_begin(&reader);
	while (recent_next(&reader, &r))
		;
	memset(&r, 0xff, sizeof(r));
	recent_put(&r);
	assert_true(recent_next(&reader, &r));
	assert_int_equal(r.bytes_len, RECENT_BYTES);
	assert_int_equal(strlen(r.verdict), RECENT_WORD - 1);
	assert_int_equal(strlen(r.name), RECENT_NAME - 1);
}

/* A process that writes as fast as it can, one that reads: all that is read is whole, and in order, and what is not read was missed. */
static void two_processes(void **context)
{
	enum { ENTRIES = 300000 };
	(void)context;
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	int fd = dup(recent_fd_readonly());
	pid_t pid = fork();
	if (pid == 0) {
		char go;
		metrics_row(9);
		if (read(ends[0], &go, 1) != 1)
			_exit(1);
		for (unsigned n = 0; n < ENTRIES; n++) {
			struct recent r = entry(n);
			recent_put(&r);
		}
		_exit(0);
	}
	assert_int_equal(recent_attach(fd), 0); /* from now on this process only reads */
	struct recent r;
	recent_begin(&reader);
	while (recent_next(&reader, &r)) /* those of the tests before this one */
		;
	reader.missed = 0;
	assert_int_equal(write(ends[1], "x", 1), 1);
	uint64_t seen = 0, last = 0;
	bool over = false, more = true;
	while (more || !over) {
		over = over || waitpid(pid, NULL, WNOHANG) == pid;
		more = recent_next(&reader, &r);
		if (!more)
			continue;
		assert_true(is_whole(&r));
		assert_true(seen == 0 || r.after_ms > last);
		last = r.after_ms;
		seen++;
	}
	assert_int_equal(last, ENTRIES - 1);
	assert_int_equal(seen + reader.missed, ENTRIES);
	r = entry(1);
	recent_put(&r); /* does nothing */
	assert_false(recent_next(&reader, &r));
	close(ends[0]);
	close(ends[1]);
}

/* Of the same size, but with other things in it. */
static void another_layout(void)
{
	uint64_t *layout = mmap(NULL, sizeof(*layout), PROT_READ | PROT_WRITE, MAP_SHARED, recent_fd(), 0);
	assert_ptr_not_equal(layout, MAP_FAILED);
	*layout ^= UINT64_C(3) << 32; /* 2 becomes 1 */
	assert_int_equal(recent_adopt(dup(recent_fd())), -EPROTO);
	assert_int_equal(recent_attach(dup(recent_fd_readonly())), -EPROTO);
	*layout ^= UINT64_C(3) << 32;
	munmap(layout, sizeof(*layout));
}

/* The program after this one finds what stands there, and writes on. */
static void gone_on_with(void **context)
{
	struct recent entry;
	(void)context;
	memset(&entry, 0, sizeof(entry));
	strcpy(entry.id, "of before");
	metrics_row(9);
	recent_put(&entry);
	assert_int_equal(recent_adopt(memfd_create("another version", MFD_CLOEXEC)), -EPROTO);
	another_layout();
	assert_int_equal(recent_adopt(dup(recent_fd())), 0);
	strcpy(entry.id, "of after");
	recent_put(&entry);
	recent_begin(&reader);
	unsigned found = 0;
	while (recent_next(&reader, &entry))
		found += strcmp(entry.id, "of before") == 0 || strcmp(entry.id, "of after") == 0;
	assert_int_equal(found, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(without_memory), cmocka_unit_test(in_order), cmocka_unit_test(the_oldest_go), cmocka_unit_test(words_are_cut),
		cmocka_unit_test(gone_on_with), cmocka_unit_test(a_mad_writer), cmocka_unit_test(two_processes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
