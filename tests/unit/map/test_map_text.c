/* Text maps: what makemap takes and refuses, look-ups, and images that are none. */
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

struct result {
	int fd;
	size_t entries;
	struct buf errors, warnings;
	char errors_memory[8192], warnings_memory[8192];
};

static void start(struct result *r)
{
	r->fd = -1;
	r->entries = 99;
	buf_init_fixed(&r->errors, r->errors_memory, sizeof(r->errors_memory));
	buf_init_fixed(&r->warnings, r->warnings_memory, sizeof(r->warnings_memory));
}

/* Writes text into a memory file and builds from it; "FILE" stands for its name in what is said. */
static void build_bytes(struct result *r, const void *text, size_t len, const struct map_rules *rules)
{
	static const struct map_rules none = { 0 };
	char path[64];
	int file = memfd_create("source", MFD_CLOEXEC);
	assert_true(file >= 0);
	assert_int_equal(write(file, text, len), len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	start(r);
	r->fd = map_text_build(path, rules ? rules : &none, &r->errors, &r->warnings, &r->entries);
	close(file);
}

static void build(struct result *r, const char *text)
{
	build_bytes(r, text, strlen(text), NULL);
}

/* The messages with the file's name taken off the front of each line. */
static const char *without_file(struct buf *b)
{
	static char out[8192];
	char *to = out;
	for (const char *at = buf_text(b); *at;) {
		const char *rest = strchr(at, ':');
		const char *end = strchr(at, '\n');
		assert_non_null(rest);
		assert_non_null(end);
		memcpy(to, rest + 1, (size_t)(end - rest));
		to += end - rest;
		at = end + 1;
	}
	*to = '\0';
	return out;
}

static int get(struct map *map, const char *key, struct map_value *out)
{
	struct slice s = slice_of(key);
	return map_first(map, &s, 1, out);
}

static void assert_value(struct map *map, const char *key, const char *value, uint32_t line)
{
	struct map_value v;
	assert_int_equal(get(map, key, &v), 0);
	assert_int_equal(v.text.len, strlen(value));
	assert_memory_equal(v.text.at, value, v.text.len);
	assert_int_equal(v.line, line);
}

#define LONG10 "0123456789"
#define LONG100 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10
#define LONG1000 LONG100 LONG100 LONG100 LONG100 LONG100 LONG100 LONG100 LONG100 LONG100 LONG100

static void makemap_takes(void **state)
{
	(void)state;
	static const struct {
		const char *text, *key, *value;
		uint32_t line;
	} cases[] = {
		{ "GreetPause:127.0.0.2\t300\n", "greetpause:127.0.0.2", "300", 1 },
		{ "# one\n\nGreetPause:127.0.0.2 300\n", "greetpause:127.0.0.2", "300", 3 },
		{ "GreetPause: 127.0.0.2 300\n", "greetpause:", "127.0.0.2 300", 1 },
		{ "GreetPause:127.0.0.2 300", "greetpause:127.0.0.2", "300", 1 },
		{ "GreetPause:127.0.0.2 300\r\n", "greetpause:127.0.0.2", "300\r", 1 },
		{ "GreetPause:127.0.0.2 300 # five\n", "greetpause:127.0.0.2", "300 # five", 1 },
		{ "\"GreetPause:127.0.0.2\" 300\n", "\"greetpause:127.0.0.2\"", "300", 1 },
		{ "GreetPause:127.0.0.2 \t 300  \t\n", "greetpause:127.0.0.2", "300  \t", 1 },
		{ "GreetPause:\xc3\xa9.example 300\n", "greetpause:\xc3\xa9.example", "300", 1 },
		{ "GreetPause:127.0.0.2 %0\n", "greetpause:127.0.0.2", "%0", 1 },
		{ "GreetPause:127.0.0.2 = 300\n", "greetpause:127.0.0.2", "= 300", 1 },
		{ "a\v1\n", "a", "1", 1 },
		{ "a 1\nA#b 2\n", "a#b", "2", 2 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct result r;
		build(&r, cases[i].text);
		assert_string_equal(buf_text(&r.errors), "");
		struct map *map = map_open(r.fd);
		assert_non_null(map);
		assert_value(map, cases[i].key, cases[i].value, cases[i].line);
		map_close(map);
	}
}

static void makemap_refuses(void **state)
{
	(void)state;
	static const struct {
		const char *text, *errors;
	} cases[] = {
		{ "# c\n\n \nGreetPause:127.0.0.2 300\n", "3: syntax error (leading space)\n" },
		{ "GreetPause:127.0.0.2\n", "1: no RHS for LHS greetpause:127.0.0.2\n" },
		{ "GreetPause:127.0.0.2 \t \n", "1: no RHS for LHS greetpause:127.0.0.2\n" },
		{ "GreetPause:127.0.0.2\r\n", "1: no RHS for LHS greetpause:127.0.0.2\n" },
		{ " GreetPause:127.0.0.2 300\n", "1: syntax error (leading space)\n" },
		{ "\tGreetPause:127.0.0.2 300\n", "1: syntax error (leading space)\n" },
		{ "a 1\r\n\r\n", "2: syntax error (leading space): the line ends in CR LF, so it is not empty\n" },
		{ "GreetPause:127.0.0.2 300\nGreetPause:127.0.0.2 600\n", "2: key greetpause:127.0.0.2: duplicate key\n" },
		{ "GreetPause:127.0.0.2 300\ngreetPAUSE:127.0.0.2 300\n", "2: key greetpause:127.0.0.2: duplicate key\n" },
		{ "GreetPause:127.0.0.2 300\nGreetPause:127.0.0.3\nGreetPause:127.0.0.4 500\n", "2: no RHS for LHS greetpause:127.0.0.3\n" },
		{ "b 1\na " LONG1000 LONG1000 "\nc\n", "2: line too long (1024 bytes max)\n3: no RHS for LHS c\n" },
		{ "# " LONG1000 LONG100 "\n", "1: line too long (1024 bytes max)\n" },
		{ "X\x01\xff\n", "1: no RHS for LHS x\\x01\\xff\n" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct result r;
		build(&r, cases[i].text);
		assert_int_equal(r.fd, -1);
		assert_int_equal(r.entries, 99);
		assert_string_equal(without_file(&r.errors), cases[i].errors);
	}
}

static void nul_is_refused(void **state)
{
	(void)state;
	struct result r;
	build_bytes(&r, "a 1\nb\0 2\n", 9, NULL);
	assert_int_equal(r.fd, -1);
	assert_string_equal(without_file(&r.errors), "2: line too long (1024 bytes max): there is a NUL byte in it\n");
}

/* fgets() with makemap's 1024 bytes: 1022, the line end and a NUL. */
static void longest_line(void **state)
{
	(void)state;
	static const char text[] = "k " LONG1000 LONG10 LONG10 "\n"; /* 1022 */
	struct result r;
	struct map_value v;
	build(&r, text);
	struct map *map = map_open(r.fd);
	assert_non_null(map);
	assert_int_equal(get(map, "k", &v), 0);
	assert_int_equal(v.text.len, 1020);
	map_close(map);
	build(&r, "k 1" LONG1000 LONG10 LONG10 "\n");
	assert_int_equal(r.fd, -1);
}

static void errors_have_a_ceiling(void **state)
{
	(void)state;
	char text[64 * 4];
	for (size_t i = 0; i < sizeof(text); i += 4)
		memcpy(text + i, "abc\n", 4);
	struct result r;
	build_bytes(&r, text, sizeof(text), NULL);
	assert_int_equal(r.fd, -1);
	const char *said = without_file(&r.errors);
	assert_non_null(strstr(said, "20: no RHS for LHS abc\n and 44 more\n"));
	assert_null(strstr(said, "21: "));
}

static void crlf_is_said_once(void **state)
{
	(void)state;
	struct result r;
	build(&r, "# c\r\na 1\r\nb 2\r\n");
	assert_true(r.fd >= 0);
	assert_int_equal(r.entries, 2);
	const char *said = without_file(&r.warnings);
	assert_memory_equal(said, "2: the line ends in CR LF", 25);
	assert_null(strstr(said, "\n3:"));
	close(r.fd);
}

static void files_that_are_none(void **state)
{
	(void)state;
	static const struct map_rules none = { 0 };
	char folder[] = "/tmp/tarry-test-XXXXXX", path[64];
	assert_non_null(mkdtemp(folder));
	struct result r;
	start(&r);
	assert_int_equal(map_text_build(folder, &none, &r.errors, &r.warnings, &r.entries), -1);
	assert_non_null(strstr(buf_text(&r.errors), ": is a directory; expected a text file\n"));
	snprintf(path, sizeof(path), "%s/x", folder);
	start(&r);
	assert_int_equal(map_text_build(path, &none, &r.errors, &r.warnings, &r.entries), -1);
	assert_non_null(strstr(buf_text(&r.errors), "/x: cannot be read: No such file or directory\n"));
	assert_int_equal(mkfifo(path, 0600), 0);
	start(&r);
	assert_int_equal(map_text_build(path, &none, &r.errors, &r.warnings, &r.entries), -1);
	assert_non_null(strstr(buf_text(&r.errors), ": is no regular file; expected a text file\n"));
	unlink(path);
	int fd = open(path, O_CREAT | O_RDWR, 0600);
	assert_int_equal(ftruncate(fd, (off_t)MAP_TEXT_FILE_MAX + 1), 0);
	close(fd);
	start(&r);
	assert_int_equal(map_text_build(path, &none, &r.errors, &r.warnings, &r.entries), -1);
	assert_non_null(strstr(buf_text(&r.errors), ": is larger than 256 MB"));
	unlink(path);
	rmdir(folder);
}

static void empty_file(void **state)
{
	(void)state;
	struct result r;
	struct map_value v;
	build(&r, "");
	assert_int_equal(r.entries, 0);
	struct map *map = map_open(r.fd);
	assert_non_null(map);
	assert_int_equal(get(map, "", &v), -1);
	assert_int_equal(get(map, "a", &v), -1);
	map_close(map);
}

static void many_keys(void **state)
{
	(void)state;
	enum { N = 20000 };
	char *text = malloc(N * 32), key[32], value[32];
	size_t len = 0;
	assert_non_null(text);
	for (int i = 0; i < N; i++)
		len += (size_t)sprintf(text + len, "Key%d %d\n", i, i * 7);
	struct result r;
	build_bytes(&r, text, len, NULL);
	free(text);
	assert_int_equal(r.entries, N);
	struct map *map = map_open(r.fd);
	assert_non_null(map);
	assert_int_equal(map_entries(map), N);
	for (int i = 0; i < N; i++) {
		struct map_value v;
		snprintf(key, sizeof(key), "key%d", i);
		snprintf(value, sizeof(value), "%d", i * 7);
		assert_value(map, key, value, (uint32_t)i + 1);
		snprintf(key, sizeof(key), "kex%d", i);
		assert_int_equal(get(map, key, &v), -1);
	}
	map_close(map);
}

static void first_of_several(void **state)
{
	(void)state;
	struct result r;
	struct map_value v;
	build(&r, "b 2\nd 4\n");
	struct map *map = map_open(r.fd);
	const struct slice keys[] = { slice_of("a"), slice_of("b"), slice_of("c"), slice_of("d") };
	assert_int_equal(map_first(map, keys, 4, &v), 1);
	assert_int_equal(v.line, 1);
	assert_int_equal(map_first(map, keys + 2, 2, &v), 1);
	assert_int_equal(v.line, 2);
	assert_int_equal(map_first(map, keys + 2, 1, &v), -1);
	assert_int_equal(map_first(map, keys, 0, &v), -1);
	map_close(map);
}

/* Rules under which "x…" keys are the same as "y…" keys. */
static void same_xy(void *context, const struct map_line *line, struct buf *own_key, struct map_notes *warnings)
{
	(void)warnings;
	++*(int *)context;
	if (line->key.at[0] != 'x' && line->key.at[0] != 'y')
		return;
	buf_put_char(own_key, '\0');
	buf_put(own_key, line->key.at + 1, line->key.len - 1);
}

static void leave_meta(void *context, uint8_t meta[MAP_META], struct map_notes *warnings)
{
	(void)warnings;
	meta[0] = (uint8_t)*(int *)context;
	meta[MAP_META - 1] = 7;
}

static void rules_make_keys(void **state)
{
	(void)state;
	int calls = 0;
	struct map_rules rules = { .entry = same_xy, .finish = leave_meta, .context = &calls };
	struct result r;
	struct map_value v;
	static const char text[] = "X1 a\nY1 a\nx2 a\ny2 b\nz3 c\n";
	build_bytes(&r, text, sizeof(text) - 1, &rules);
	assert_string_equal(buf_text(&r.errors), "");
	assert_string_equal(without_file(&r.warnings), "4: y2: the same as line 3 in another spelling, ignored; line 3 counts\n");
	assert_int_equal(r.entries, 3);
	struct map *map = map_open(r.fd);
	assert_non_null(map);
	assert_int_equal(map_meta(map)[0], 5);
	assert_int_equal(map_meta(map)[MAP_META - 1], 7);
	const struct slice own = { "\0" "2", 2 };
	assert_int_equal(map_first(map, &own, 1, &v), 0);
	assert_int_equal(v.line, 3);
	assert_memory_equal(v.text.at, "a", 1);
	assert_int_equal(get(map, "x2", &v), -1);
	assert_value(map, "z3", "c", 5);
	map_close(map);

	static const char *const twice[] = { "x1 a\ny1 a\nX1 a\n", "x1 a\ny1 a\nY1 a\n", "x1 a\nx0 a\nx1 a\n" };
	for (size_t i = 0; i < 3; i++) {
		build_bytes(&r, twice[i], strlen(twice[i]), &rules);
		assert_int_equal(r.fd, -1);
		assert_non_null(strstr(without_file(&r.errors), "3: key "));
	}
}

/* What a look-up yields lies within the image. */
static void assert_inside(struct map *map, struct slice s)
{
	const char *start = (const char *)map_meta(map) - offsetof(struct map_text_header, meta);
	assert_true(s.at >= start && s.at + s.len <= start + map_size(map));
}

/* A copy of the table's bytes, one 32-bit word changed, sealed again. */
static int forged(const struct result *r, size_t size, size_t at, uint32_t word, off_t cut, int seals)
{
	char *bytes = malloc(size);
	assert_non_null(bytes);
	assert_int_equal(pread(r->fd, bytes, size, 0), size);
	if (at + 4 <= size)
		memcpy(bytes + at, &word, 4);
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(write(fd, bytes, size), size);
	assert_int_equal(ftruncate(fd, cut), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	free(bytes);
	return fd;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static void forged_images(void **state)
{
	(void)state;
	struct result r;
	struct stat st;
	build(&r, "a 1\nb 2\nc 3\n");
	assert_int_equal(fstat(r.fd, &st), 0);
	assert_int_equal(fcntl(r.fd, F_GET_SEALS), ALL_SEALS);
	assert_int_equal(pwrite(r.fd, "x", 1, 0), -1);
	size_t size = (size_t)st.st_size;
	struct map *map = map_open(forged(&r, size, size, 0, st.st_size, ALL_SEALS));
	assert_non_null(map);
	map_close(map);
	/* unsealed, cut, grown, of another kind */
	assert_null(map_open(forged(&r, size, size, 0, st.st_size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)));
	assert_null(map_open(forged(&r, size, size, 0, st.st_size, F_SEAL_SHRINK | F_SEAL_SEAL)));
	assert_null(map_open(forged(&r, size, size, 0, st.st_size - 4, ALL_SEALS)));
	assert_null(map_open(forged(&r, size, size, 0, st.st_size + 4096, ALL_SEALS)));
	assert_null(map_open(forged(&r, size, size, 0, 0, ALL_SEALS)));
	assert_null(map_open(open("/dev/null", O_RDONLY)));
	assert_null(map_open(-1));
	/* magic, version, slots (0, no power of two, too many), reach, size of the pool */
	assert_null(map_open(forged(&r, size, 0, 0, st.st_size, ALL_SEALS)));
	assert_null(map_open(forged(&r, size, 8, 2, st.st_size, ALL_SEALS)));
	static const uint32_t slots[] = { 0, 15, 8, 32, 0x80000000 };
	for (size_t i = 0; i < 5; i++)
		assert_null(map_open(forged(&r, size, 16, slots[i], st.st_size, ALL_SEALS)));
	assert_null(map_open(forged(&r, size, 20, 16, st.st_size, ALL_SEALS)));
	assert_null(map_open(forged(&r, size, 32, 8, st.st_size, ALL_SEALS)));
	/* every other word: it opens or not, and look-ups stay inside either way */
	size_t found = 0;
	for (size_t at = 12; at + 4 <= size; at += 4) {
		for (uint32_t i = 0; i < 5; i++) {
			static const uint32_t words[] = { 0, 1, 0x7fffffff, 0xffff0001, 0xffffffff };
			map = map_open(forged(&r, size, at, words[i], st.st_size, ALL_SEALS));
			struct map_value v;
			for (const char *key = "abcd"; map && *key; key++) {
				const struct slice s = { key, 1 };
				if (map_first(map, &s, 1, &v) != 0)
					continue;
				assert_inside(map, v.text);
				found++;
			}
			map_close(map);
		}
	}
	assert_true(found > 0);
	close(r.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makemap_takes),
		cmocka_unit_test(makemap_refuses),
		cmocka_unit_test(nul_is_refused),
		cmocka_unit_test(longest_line),
		cmocka_unit_test(errors_have_a_ceiling),
		cmocka_unit_test(crlf_is_said_once),
		cmocka_unit_test(files_that_are_none),
		cmocka_unit_test(empty_file),
		cmocka_unit_test(many_keys),
		cmocka_unit_test(first_of_several),
		cmocka_unit_test(rules_make_keys),
		cmocka_unit_test(forged_images),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
