/* What lmdb and cdb maps share when they are used: dialects, NULs at the end, and images that are none. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "files.h"
#include "map/map_file.h"
#include "map/map_file_image.h"

#define P(key, value) { { key, sizeof(key) - 1 }, { value, sizeof(value) - 1 } }

static void make(struct files *f, bool lmdb, const struct pair *pairs, size_t len)
{
	files_name(f, lmdb ? "lmdb:" : "cdb:", "x");
	unlink(f->path);
	if (lmdb)
		files_lmdb(f, pairs, len, 0);
	else
		files_cdb(f, pairs, len);
}

static bool collect(void *context, struct slice key, const struct map_value *value)
{
	struct buf *to = context;
	buf_put_escaped(to, key.at, key.len, 100);
	buf_put_char(to, '=');
	buf_put_escaped(to, value->text.at, value->text.len, 100);
	buf_putf(to, "@%u ", value->line);
	return true;
}

/* Some keys with a NUL at the end, as postmap writes them, some without. */
static void mixed_nuls(void **state)
{
	static const struct pair pairs[] = { P("a\0", "1\0"), P("b", "2"), P("c\0", "3"), P("d", "4\0"), P("e\0\0", "5\0\0") };
	char memory[500];
	struct buf seen;
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		struct map_value v;
		make(*state, lmdb, pairs, 5);
		struct map *map = files_open(*state, NULL);
		files_assert_value(map, "a", "1", 0);
		files_assert_value(map, "b", "2", 0);
		files_assert_value(map, "c", "3", 0);
		files_assert_value(map, "d", "4", 0);
		assert_int_equal(files_get(map, "e", &v), -1);
		assert_int_equal(files_get(map, "", &v), -1);
		buf_init_fixed(&seen, memory, sizeof(memory));
		assert_true(map_each(map, collect, &seen));
		assert_string_equal(buf_text(&seen), "a=1@0 b=2@0 c=3@0 d=4@0 e\\x00=5\\x00@0 ");
		map_close(map);
	}
}

/* Files of map_write(): own keys may end in a NUL and mean it, values end in their line. */
static void canonical(void **state)
{
	char meta[MAP_META], memory[500];
	struct buf seen;
	memset(meta, 'm', sizeof(meta));
	/* In the order of LMDB. */
	const struct pair pairs[] = { { { MAP_META_KEY, MAP_META_KEY_LEN }, { meta, MAP_META } }, P("\0own", "\0" "5"), P("\0own\0", "300\0" "12"),
		P("a", "1\0" "4294967295"), P("b", "no line"), P("c", "\0"), P("d", "x\0" "1x"), P("e", "x\0" "4294967296"), P("f", "x\0" "y\0" "7"), P("g", "x\0" "12345678901") };
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		make(*state, lmdb, pairs, 10);
		struct map *map = files_open(*state, NULL);
		assert_true(map_canonical(map));
		assert_int_equal(map_entries(map), 9);
		assert_memory_equal(map_meta(map), meta, MAP_META);
		files_assert_value(map, "a", "1", 4294967295);
		struct map_value v;
		const struct slice own[] = { { "\0own\0\0", 6 }, { "\0own\0", 5 } };
		assert_int_equal(map_first(map, own, 2, &v), 1);
		assert_int_equal(v.line, 12);
		assert_int_equal(v.text.len, 3);
		buf_init_fixed(&seen, memory, sizeof(memory));
		assert_true(map_each(map, collect, &seen));
		assert_string_equal(buf_text(&seen),
			"\\x00own=@5 \\x00own\\x00=300@12 a=1@4294967295 b=no line@0 c=\\x00@0 d=x\\x001x@0 e=x@0 f=x\\x00y@7 g=x\\x0012345678901@0 ");
		map_close(map);
	}
}

/* A key by the name of ours whose value is no meta makes nobody's file canonical. */
static void not_canonical(void **state)
{
	static const struct pair pairs[] = { P("\0meta", "m"), P("a", "1\0" "5") };
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		make(*state, lmdb, pairs, 2);
		struct map *map = files_open(*state, NULL);
		assert_false(map_canonical(map));
		assert_int_equal(map_entries(map), 2);
		struct map_value v;
		assert_int_equal(files_get(map, "a", &v), 0);
		assert_int_equal(v.text.len, 3);
		assert_int_equal(map_meta(map)[0], 0);
		map_close(map);
	}
}

/* Keys longer than any that the libraries take, and batches beyond the ceiling. */
static void odd_questions(void **state)
{
	static const struct pair pairs[] = { P("a\0", "1"), P("b", "2") };
	struct slice keys[MAP_BATCH + 1];
	char *key = malloc(100000);
	memset(key, 'a', 100000);
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		struct map_value v;
		make(*state, lmdb, pairs, 2);
		struct map *map = files_open(*state, NULL);
		for (size_t len = 500; len < 100000; len += 499) /* some pass the filter */
			assert_int_equal(map_first(map, &(struct slice){ key, len }, 1, &v), -1);
		for (size_t i = 0; i <= MAP_BATCH; i++)
			keys[i] = slice_of(i == MAP_BATCH ? "b" : "nothing");
		assert_int_equal(map_first(map, keys, MAP_BATCH + 1, &v), -1);
		assert_int_equal(map_first(map, keys + 1, MAP_BATCH, &v), MAP_BATCH - 1);
		map_close(map);
	}
	free(key);
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* A copy of the image, one word of its tail changed, cut or lengthened, sealed again. */
static int forged(int image, size_t size, size_t at, uint64_t word, off_t end, int seals)
{
	char *bytes = malloc(size);
	assert_int_equal(pread(image, bytes, size, 0), size);
	if (at + 8 <= sizeof(struct map_file_tail))
		memcpy(bytes + size - sizeof(struct map_file_tail) + at, &word, 8);
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(write(fd, bytes, size), size);
	assert_int_equal(ftruncate(fd, end), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	free(bytes);
	return fd;
}

static void forged_images(void **state)
{
	static const struct pair pairs[] = { P("a", "1"), P("b", "2") };
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		struct stat st;
		make(*state, lmdb, pairs, 2);
		int fd = files_build(*state, NULL);
		assert_int_equal(fstat(fd, &st), 0);
		size_t size = (size_t)st.st_size, whole = sizeof(struct map_file_tail);
		if (lmdb) {
			/* cdb's library cannot map it through a descriptor that may write, before Linux 6.7 */
			struct map *map = map_open(forged(fd, size, whole, 0, st.st_size, ALL_SEALS));
			assert_non_null(map);
			map_close(map);
		}
		assert_null(map_open(forged(fd, size, whole, 0, st.st_size, ALL_SEALS & ~F_SEAL_WRITE)));
		assert_null(map_open(forged(fd, size, whole, 0, st.st_size - 8, ALL_SEALS)));
		assert_null(map_open(forged(fd, size, whole, 0, st.st_size + 8, ALL_SEALS)));
		assert_null(map_open(forged(fd, size, whole, 0, 0, ALL_SEALS)));
		assert_null(map_open(forged(fd, size, 0, 0, st.st_size, ALL_SEALS)));                                             /* magic */
		assert_null(map_open(forged(fd, size, 8, 0, st.st_size, ALL_SEALS)));                                             /* scheme */
		assert_null(map_open(forged(fd, size, offsetof(struct map_file_tail, size), 1 << 20, st.st_size, ALL_SEALS)));    /* size */
		assert_null(map_open(forged(fd, size, offsetof(struct map_file_tail, size), UINT64_MAX, st.st_size, ALL_SEALS)));
		static const uint32_t slots[] = { 0, 1, 17, 32, 1u << 31 };
		for (size_t i = 0; i < 5; i++)
			assert_null(map_open(forged(fd, size, offsetof(struct map_file_tail, slots), slots[i] | UINT64_C(1) << 40, st.st_size, ALL_SEALS)));
		close(fd);
	}
}

/* The descriptor is closed, and nothing else stays open. */
static void descriptors(void **state)
{
	static const struct pair pairs[] = { P("a", "1") };
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		make(*state, lmdb, pairs, 1);
		int before = dup(0);
		close(before);
		map_close(files_open(*state, NULL));
		files_name(*state, lmdb ? "lmdb:" : "cdb:", "missing");
		assert_int_equal(files_build(*state, NULL), -1);
		int after = dup(0);
		close(after);
		assert_int_equal(before, after);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mixed_nuls, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(canonical, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(not_canonical, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(odd_questions, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(forged_images, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(descriptors, files_setup, files_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
