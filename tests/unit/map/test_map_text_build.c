/* Building a text map: makemap's rules for a line, each at its edge; how many messages are shown; and a result that nobody can change. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/map_text.h"
#include "map/map_text_image.h"

#define UNTOUCHED 99 /* *entries of a build that failed */

static char errors_memory[8192], warnings_memory[8192];
static struct buf errors, warnings;
static size_t entries;

/* From a memory file; the messages name it, and without_file() takes that off again. */
static int build_with(const void *text, size_t len, const struct map_rules *rules)
{
	char path[64];
	int source = memfd_create("source", MFD_CLOEXEC);
	assert_true(source >= 0);
	assert_int_equal(write(source, text, len), len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", source);
	buf_init_fixed(&errors, errors_memory, sizeof(errors_memory));
	buf_init_fixed(&warnings, warnings_memory, sizeof(warnings_memory));
	entries = UNTOUCHED;
	int fd = map_text_build(path, rules, &errors, &warnings, &entries);
	close(source);
	return fd;
}

static int build(const void *text, size_t len)
{
	static const struct map_rules none = { 0 };
	return build_with(text, len, &none);
}

static const char *without_file(struct buf *b)
{
	static char out[8192];
	char *to = out;
	for (const char *at = buf_text(b), *end; *at; at = end + 1) {
		const char *rest = strchr(at, ':');
		end = strchr(at, '\n');
		assert_true(rest && end && rest < end);
		memcpy(to, rest + 1, (size_t)(end - rest));
		to += end - rest;
	}
	*to = '\0';
	return out;
}

static void expect_refused(const void *text, size_t len, const char *said)
{
	assert_int_equal(build(text, len), -1);
	assert_int_equal(entries, UNTOUCHED);
	assert_string_equal(without_file(&errors), said);
}

static struct map *open_built(const void *text, size_t len, size_t count)
{
	int fd = build(text, len);
	assert_string_equal(buf_text(&errors), "");
	assert_int_equal(entries, count);
	struct map *map = map_open(fd);
	assert_non_null(map);
	assert_int_equal(map_entries(map), count);
	return map;
}

static bool has(struct map *map, const char *key, struct map_value *out)
{
	struct slice s = slice_of(key);
	return map_first(map, &s, 1, out) == 0;
}

static void assert_value(struct map *map, const char *key, const char *value, uint32_t line)
{
	struct map_value v;
	assert_true(has(map, key, &v));
	assert_int_equal(v.text.len, strlen(value));
	assert_memory_equal(v.text.at, value, v.text.len);
	assert_int_equal(v.line, line);
}

static void comments_and_empty_lines(void **state)
{
	static const char text[] = "#a 1\n\n#\n# c\n##\nb#c #2\n\n\nd 3 # e\n\n";
	struct map_value v;
	(void)state;
	struct map *map = open_built(text, sizeof(text) - 1, 2);
	assert_value(map, "b#c", "#2", 6);
	assert_value(map, "d", "3 # e", 9);
	assert_false(has(map, "#a", &v));
	assert_false(has(map, "#", &v));
	assert_false(has(map, "", &v));
	map_close(map);
	map = open_built("\n\n#\n", 4, 0);
	map_close(map);
	/* A # further right begins no comment. */
	expect_refused(" # c\n", 5, "1: syntax error (leading space)\n");
	expect_refused("a #\nb#\n", 7, "2: no RHS for LHS b#\n");
}

static void leading_space(void **state)
{
	static const char spaces[] = " \t\v\f";
	(void)state;
	for (size_t i = 0; i < sizeof(spaces) - 1; i++) {
		const char text[] = { 'x', ' ', '1', '\n', spaces[i], 'a', ' ', '1', '\n' };
		expect_refused(text, sizeof(text), "2: syntax error (leading space)\n");
		const char blank[] = { spaces[i], '\n' };
		expect_refused(blank, sizeof(blank), "1: syntax error (leading space)\n");
		/* The same characters part key and value, and end no value. */
		const char parted[] = { 'a', spaces[i], ' ', '1', spaces[i], '\n' };
		const char value[] = { '1', spaces[i], '\0' };
		struct map *map = open_built(parted, sizeof(parted), 1);
		assert_value(map, "a", value, 1);
		map_close(map);
	}
}

static void no_value(void **state)
{
	(void)state;
	expect_refused("Ab\n", 3, "1: no RHS for LHS ab\n");
	expect_refused("Ab", 2, "1: no RHS for LHS ab\n");
	expect_refused("Ab \t\v\f\r\n", 8, "1: no RHS for LHS ab\n");
	expect_refused("a 1\nb\nc 1\nd\n", 12, "2: no RHS for LHS b\n4: no RHS for LHS d\n");
}

/* Case is ASCII's. */
static void duplicates(void **state)
{
	static const char text[] = "\xc3\x89 1\n\xc3\xa9 2\n[ 3\n{ 4\na 5\nab 6\n";
	(void)state;
	expect_refused("aZ 1\nb 1\nAz 1\n", 14, "3: key az: duplicate key\n");
	expect_refused("a 1\na 2\nA 3\n", 12, "2: key a: duplicate key\n3: key a: duplicate key\n");
	struct map *map = open_built(text, sizeof(text) - 1, 6);
	assert_value(map, "\xc3\x89", "1", 1);
	assert_value(map, "\xc3\xa9", "2", 2);
	assert_value(map, "[", "3", 3);
	assert_value(map, "{", "4", 4);
	map_close(map);
}

/* A line of len bytes, with a line end or without, in memory of just its size. */
static char *long_line(char first, size_t len, bool ended)
{
	char *text = malloc(len + ended);
	assert_non_null(text);
	memset(text, 'x', len);
	text[0] = first;
	text[1] = ' ';
	if (ended)
		text[len] = '\n';
	return text;
}

static void too_long(void **state)
{
	struct map_value v;
	(void)state;
	for (int ended = 0; ended <= 1; ended++) {
		char *text = long_line('k', MAP_TEXT_LINE_MAX, ended);
		struct map *map = open_built(text, MAP_TEXT_LINE_MAX + (size_t)ended, 1);
		assert_true(has(map, "k", &v));
		assert_int_equal(v.text.len, MAP_TEXT_LINE_MAX - 2);
		map_close(map);
		free(text);
		/* One more is too many, in a comment and after a space as well, and is said before all else. */
		for (const char *first = "k# "; *first; first++) {
			text = long_line(*first, MAP_TEXT_LINE_MAX + 1, ended);
			expect_refused(text, MAP_TEXT_LINE_MAX + 1 + (size_t)ended, "1: line too long (1024 bytes max)\n");
			free(text);
		}
	}
}

static void carriage_returns(void **state)
{
	static const char text[] = "# c\r\na 1\nb 2\r\nc 3\r\nd 4\r5\n";
	(void)state;
	struct map *map = open_built(text, sizeof(text) - 1, 4);
	const char *said = without_file(&warnings);
	assert_memory_equal(said, "3: the line ends in CR LF", 25);
	assert_ptr_equal(strchr(said, '\n') + 1, said + strlen(said)); /* once */
	assert_value(map, "a", "1", 2);
	assert_value(map, "b", "2\r", 3);
	assert_value(map, "c", "3\r", 4);
	assert_value(map, "d", "4\r5", 5);
	map_close(map);
	map = open_built("a 1\nb\r2\nc 3\r4\n", 14, 3);
	assert_string_equal(buf_text(&warnings), "");
	assert_value(map, "b", "2", 2);
	assert_value(map, "c", "3\r4", 3);
	map_close(map);
	expect_refused("\r\n", 2, "1: syntax error (leading space): the line ends in CR LF, so it is not empty\n");
}

static void nuls(void **state)
{
	static const char *const texts[] = { "a 1\n\0 1\n", "a 1\nb\0 2\n", "a 1\nb 2\0\n", "a 1\n#\0\n", "a 1\n \0\n", "a 1\n\0" };
	static const size_t lens[] = { 8, 9, 9, 7, 7, 5 };
	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		expect_refused(texts[i], lens[i], "2: line too long (1024 bytes max): there is a NUL byte in it\n");
}

static void no_line_end(void **state)
{
	(void)state;
	struct map *map = open_built("a 1\nb 2", 7, 2);
	assert_value(map, "a", "1", 1);
	assert_value(map, "b", "2", 2);
	map_close(map);
	map = open_built("a 1\n#", 5, 1);
	map_close(map);
	expect_refused("a 1\nA 2", 7, "2: key a: duplicate key\n");
}

/* As many errors as are shown, and one and more beyond that. */
static void error_ceiling(void **state)
{
	char text[4 * (MAP_NOTES_SHOWN + 9)], last[64];
	(void)state;
	for (size_t i = 0; i < sizeof(text); i += 4)
		memcpy(text + i, "abc\n", 4);
	for (size_t more = 0; more <= 9; more += more ? 8 : 1) {
		assert_int_equal(build(text, 4 * (MAP_NOTES_SHOWN + more)), -1);
		const char *said = without_file(&errors);
		size_t lines = 0;
		for (const char *at = said; (at = strchr(at, '\n')); at++)
			lines++;
		assert_int_equal(lines, MAP_NOTES_SHOWN + (more > 0));
		if (more > 0)
			snprintf(last, sizeof(last), " and %zu more\n", more);
		else
			snprintf(last, sizeof(last), "%d: no RHS for LHS abc\n", MAP_NOTES_SHOWN);
		assert_string_equal(said + strlen(said) - strlen(last), last);
	}
}

static void warn_each(void *context, const struct map_line *line, struct buf *own_key, struct map_notes *notes)
{
	(void)context;
	(void)own_key;
	if (!map_note_begin(notes, line->number))
		return;
	map_note_bytes(notes, line->written);
	map_note_end(notes);
}

/* Warnings have the same ceiling, their own, and stop no table; the bytes shown of a key have one too. */
static void warning_ceiling(void **state)
{
	static const struct map_rules rules = { .entry = warn_each };
	char text[16 * (MAP_NOTES_SHOWN + 5)], line[400], want[400];
	size_t len = 0;
	(void)state;
	for (int i = 1; i <= MAP_NOTES_SHOWN + 5; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "Key%d 1\n", i);
	int fd = build_with(text, len, &rules);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(entries, MAP_NOTES_SHOWN + 5);
	const char *said = without_file(&warnings);
	assert_memory_equal(said, "1: Key1\n2: Key2\n", 16);
	static const char last[] = "\n20: Key20\n and 5 more\n";
	assert_string_equal(said + strlen(said) - (sizeof(last) - 1), last);
	memset(line, 'k', MAP_NOTE_KEY + 1);
	line[MAP_NOTE_KEY + 1] = '\n';
	snprintf(want, sizeof(want), "1: no RHS for LHS %.*s...\n", MAP_NOTE_KEY, line);
	expect_refused(line, MAP_NOTE_KEY + 2, want);
	memmove(want + strlen(want) - 4, "\n", 2);
	expect_refused(line + 1, MAP_NOTE_KEY + 1, want);
}

static void expect_denied(int64_t result)
{
	int e = errno;
	assert_int_equal(result, -1);
	assert_int_equal(e, EPERM);
}

/* By whichever way: the descriptor, the file opened again, memory; nor can the seals be changed. */
static void sealed(void **state)
{
	char path[64], before[4096], after[4096];
	struct stat st;
	(void)state;
	int fd = build("a 1\nb 2\n", 8);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size > 0 && st.st_size <= (off_t)sizeof(before));
	assert_int_equal(pread(fd, before, sizeof(before), 0), st.st_size);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, O_RDWR | O_CLOEXEC);
	assert_true(again >= 0);
	expect_denied(pwrite(again, "x", 1, 0));
	expect_denied(pwrite(again, "x", 1, st.st_size));
	expect_denied(ftruncate(again, st.st_size - 1));
	expect_denied(ftruncate(again, st.st_size + 1));
	expect_denied(fcntl(again, F_ADD_SEALS, F_SEAL_SEAL));
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
	expect_denied(at == MAP_FAILED ? -1 : 0);
	close(again);
	assert_int_equal(pread(fd, after, sizeof(after), 0), st.st_size);
	assert_memory_equal(before, after, (size_t)st.st_size);
	struct map *map = map_open(fd);
	assert_non_null(map);
	assert_value(map, "b", "2", 2);
	map_close(map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comments_and_empty_lines), cmocka_unit_test(leading_space), cmocka_unit_test(no_value), cmocka_unit_test(duplicates),
		cmocka_unit_test(too_long), cmocka_unit_test(carriage_returns), cmocka_unit_test(nuls), cmocka_unit_test(no_line_end),
		cmocka_unit_test(error_ceiling), cmocka_unit_test(warning_ceiling), cmocka_unit_test(sealed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
