/* LMDB maps: files as LMDB itself makes them, in every dialect; files that are cut, broken or of another kind; and one that is written to meanwhile. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <lmdb.h>

#include "files.h"

static void pairs_of_others(void **state)
{
	struct files *f = *state;
	static const size_t sizes[] = { 1, 2, 100, 20000 };
	files_name(f, "lmdb:", "x.lmdb");
	for (size_t extra = 0; extra < 2; extra++)
		for (size_t i = 0; i < 4; i++) {
			struct pair *pairs = files_pairs(sizes[i], 0, extra);
			struct map_value v;
			unlink(f->path);
			files_lmdb(f, pairs, sizes[i], 0);
			struct map *map = files_open(f, NULL);
			unlink(f->path);
			assert_false(map_canonical(map));
			assert_int_equal(map_entries(map), sizes[i]);
			for (size_t n = 0; n < sizes[i]; n++) {
				char key[32], value[32];
				snprintf(key, sizeof(key), "key%zu", n);
				snprintf(value, sizeof(value), "value%zu", n);
				files_assert_value(map, key, value, 0);
				snprintf(key, sizeof(key), "kez%zu", n);
				assert_int_equal(files_get(map, key, &v), -1);
			}
			map_close(map);
			free(pairs);
		}
}

/* So many that they are checked in parts: one of them says that something is wrong, or all together. */
static void large_and_broken(void **state)
{
	enum { N = 60000, PAGE = 4096, ENTRIES = 16 + 24 + 48 + 32 };
	struct files *f = *state;
	struct pair *pairs = files_pairs(N, 0, 0);
	size_t size;
	files_name(f, "lmdb:", "x.lmdb");
	files_lmdb(f, pairs, N, 0);
	free(pairs);
	char *bytes = files_read(f, &size);
	size_t newest = bytes[16 + 128] > bytes[PAGE + 16 + 128] ? 0 : PAGE;
	uint64_t entries;
	memcpy(&entries, bytes + newest + ENTRIES, sizeof(entries));
	assert_int_equal(entries, N);
	bytes[newest + ENTRIES]++;
	files_write(f, bytes, size);
	files_assert_refused(f, ": is not a readable LMDB database (it has more or fewer entries than it says)\n");
	bytes[newest + ENTRIES]--;
	for (size_t at = 10 * PAGE; at < size; at += (size / PAGE / 5) * PAGE) {
		char kept = bytes[at + 1];
		bytes[at + 1] = (char)(kept + 1); /* the page's number */
		files_write(f, bytes, size);
		assert_int_equal(files_build(f, NULL), -1);
		assert_non_null(strstr(buf_text(&f->errors), "it has another number"));
		bytes[at + 1] = kept;
	}
	files_write(f, bytes, size);
	map_close(files_open(f, NULL));
	free(bytes);
}

static void empty(void **state)
{
	struct files *f = *state;
	struct map_value v;
	files_name(f, "lmdb:", "x.lmdb");
	files_lmdb(f, NULL, 0, 0);
	struct map *map = files_open(f, NULL);
	assert_int_equal(map_entries(map), 0);
	assert_int_equal(files_get(map, "", &v), -1);
	assert_int_equal(files_get(map, "a", &v), -1);
	files_use(map, 3);
	map_close(map);
}

/* Values on pages of their own. */
static void long_values(void **state)
{
	struct files *f = *state;
	struct map_value v;
	files_name(f, "lmdb:", "x.lmdb");
	struct pair *pairs = files_pairs(50, 65536 - 6, 0);
	files_lmdb(f, pairs, 50, 0);
	struct map *map = files_open(f, NULL);
	assert_non_null(strstr(buf_text(&f->warnings), ": 50 of its values are longer than 1022 bytes (the longest: 65537), the rest of them is not read\n"));
	assert_int_equal(files_get(map, "key7", &v), 0);
	assert_int_equal(v.text.len, MAP_VALUE_MAX);
	assert_memory_equal(v.text.at, pairs[7].value.at, MAP_VALUE_MAX);
	files_use(map, 50);
	map_close(map);
	free(pairs);
}

/* With an entry gone and another changed in transactions of their own: pages that are free, and a newer meta page. */
static void changed_since(void **state)
{
	struct files *f = *state;
	struct map_value v;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	files_name(f, "lmdb:", "x.lmdb");
	struct pair *pairs = files_pairs(3000, 0, 0);
	files_lmdb(f, pairs, 3000, 0);
	free(pairs);
	mdb_env_create(&env);
	/* WRITEMAP: the file is as large as the map may become, and mostly holes. */
	mdb_env_set_mapsize(env, (size_t)3 << 30);
	assert_int_equal(mdb_env_open(env, f->path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_WRITEMAP, 0644), 0);
	for (size_t i = 0; i < 2000; i += 10) {
		char key[32];
		MDB_val k = { (size_t)sprintf(key, "key%zu", i), key }, changed = { 7, (void *)(uintptr_t)"changed" };
		assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
		mdb_dbi_open(txn, NULL, 0, &dbi);
		assert_int_equal(i % 20 ? mdb_del(txn, dbi, &k, NULL) : mdb_put(txn, dbi, &k, &changed, 0), 0);
		assert_int_equal(mdb_txn_commit(txn), 0);
	}
	struct map *map = files_open(f, NULL); /* while it is open elsewhere */
	mdb_env_close(env);
	assert_int_equal(map_entries(map), 2900);
	files_assert_value(map, "key20", "changed", 0);
	files_assert_value(map, "key21", "value21", 0);
	assert_int_equal(files_get(map, "key30", &v), -1);
	assert_true(map_size(map) < (4 << 20));
	map_close(map);
}

static void kinds_that_are_none(void **state)
{
	struct files *f = *state;
	struct pair *pairs = files_pairs(3, 0, 0);
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	files_name(f, "lmdb:", "dup");
	files_lmdb(f, pairs, 3, MDB_DUPSORT | MDB_CREATE);
	files_assert_refused(f, ": is not a readable LMDB database (its keys have an order of their own or several values; expected neither)\n");
	files_name(f, "lmdb:", "reverse");
	files_lmdb(f, pairs, 3, MDB_REVERSEKEY | MDB_CREATE);
	files_assert_refused(f, ": is not a readable LMDB database (its keys have an order of their own or several values; expected neither)\n");
	files_name(f, "lmdb:", "named");
	mdb_env_create(&env);
	mdb_env_set_maxdbs(env, 2);
	assert_int_equal(mdb_env_open(env, f->path, MDB_NOSUBDIR | MDB_NOLOCK, 0644), 0);
	mdb_txn_begin(env, NULL, 0, &txn);
	assert_int_equal(mdb_dbi_open(txn, "inside", MDB_CREATE, &dbi), 0);
	mdb_txn_commit(txn);
	mdb_env_close(env);
	files_assert_refused(f, ": is not a readable LMDB database (it has databases in it; expected entries)\n");
	files_name(f, "lmdb:", "cdb");
	files_cdb(f, pairs, 3);
	files_assert_refused(f, ": is not a readable LMDB database (it does not begin as one of this machine does)\n");
	files_name(f, "lmdb:", "text");
	char *text = malloc(100000);
	memset(text, 'a', 100000);
	files_write(f, text, 100000);
	files_assert_refused(f, ": is not a readable LMDB database (it does not begin as one of this machine does)\n");
	free(text);
	files_write(f, "", 0);
	files_assert_refused(f, ": is not a readable LMDB database (it is too short to be one)\n");
	free(pairs);
}

static void cut(void **state)
{
	struct files *f = *state;
	size_t len;
	files_name(f, "lmdb:", "x.lmdb");
	struct pair *pairs = files_pairs(1000, 0, 0);
	files_lmdb(f, pairs, 1000, 0);
	free(pairs);
	struct map *before = files_open(f, NULL);
	char *bytes = files_read(f, &len);
	for (size_t n = 0; n < len; n += n % 4096 == 0 || n % 4096 == 4095 ? 1 : 4095 - n % 4096) {
		files_write(f, bytes, n);
		assert_int_equal(files_build(f, NULL), -1);
		assert_non_null(strstr(buf_text(&f->errors), n <= 4096 + 152 ? " (it is too short to be one)\n" : " (it is cut short: "));
	}
	files_write(f, bytes, len);
	map_close(files_open(f, NULL));
	files_assert_value(before, "key999", "value999", 0); /* who had it open had it all the time */
	files_use(before, 1000);
	map_close(before);
	free(bytes);
}

/* Refused or not: no crash here, and none in who uses it. */
static void broken_anywhere(void **state)
{
	struct files *f = *state;
	size_t len, refused = 0, taken = 0;
	files_name(f, "lmdb:", "x.lmdb");
	struct pair *pairs = files_pairs(1000, 0, 1);
	pairs[3].value = (struct slice){ "", 0 };
	files_lmdb(f, pairs, 1000, 0);
	free(pairs);
	char *bytes = files_read(f, &len);
	for (int i = 0; i < 400; i++) {
		char kept[8];
		size_t at = files_pick((uint32_t)len - 8);
		if (i % 2) /* where pages and their tables begin */
			at = at / 4096 * 4096 + at % 64;
		memcpy(kept, bytes + at, 8);
		for (uint32_t n = 0; n < 1 + files_pick(8); n++)
			bytes[at + n] = (char)(i % 3 ? files_pick(256) : (uint8_t)bytes[at + n] ^ 1u << files_pick(8));
		files_write(f, bytes, len);
		int fd = files_build(f, NULL);
		refused += fd < 0;
		taken += fd >= 0;
		struct map *map = fd < 0 ? NULL : map_open(fd);
		assert_true((fd < 0) == (map == NULL));
		if (map)
			files_use(map, 1000);
		map_close(map);
		memcpy(bytes + at, kept, 8);
	}
	assert_true(refused > 50 && taken > 50);
	free(bytes);
}

static void write_generations(const char *path)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	mdb_env_create(&env);
	mdb_env_set_mapsize(env, (size_t)64 << 20);
	if (mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0644) != 0)
		_exit(1);
	for (unsigned generation = 0;; generation++) {
		char key[32], value[32];
		mdb_txn_begin(env, NULL, 0, &txn);
		mdb_dbi_open(txn, NULL, 0, &dbi);
		for (int i = 0; i < 2000; i++) {
			MDB_val k = { (size_t)sprintf(key, "key%d", i), key }, v = { (size_t)sprintf(value, "%08u", generation), value };
			mdb_put(txn, dbi, &k, &v, 0);
		}
		if (mdb_txn_commit(txn) != 0)
			_exit(1);
	}
}

static bool all_alike(void *context, struct slice key, const struct map_value *value)
{
	struct slice *first = context;
	(void)key;
	if (first->len == 0)
		*first = value->text;
	return first->len == value->text.len && memcmp(first->at, value->text.at, first->len) == 0;
}

/* Each copy is one state of the database, whole, whatever its writer does at the time. */
static void written_to_meanwhile(void **state)
{
	struct files *f = *state;
	int copies = 0;
	files_name(f, "lmdb:", "x.lmdb");
	files_lmdb(f, NULL, 0, 0);
	pid_t pid = fork();
	if (pid == 0)
		write_generations(f->path);
	for (int i = 0; i < 30; i++) {
		int fd = files_build(f, NULL);
		if (fd < 0) {
			assert_non_null(strstr(buf_text(&f->errors), ": changes all the while it is read; "));
			continue;
		}
		struct map *map = map_open(fd);
		assert_non_null(map);
		struct slice first = { NULL, 0 };
		assert_true(map_each(map, all_alike, &first));
		copies += map_entries(map) == 2000;
		map_close(map);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(copies > 0);
}

/* As a front does: built by root, opened by nobody. */
static void opened_by_another(void **state)
{
	struct files *f = *state;
	int status;
	struct pair *pairs = files_pairs(10, 0, 0);
	files_name(f, "lmdb:", "x");
	files_lmdb(f, pairs, 10, 0);
	free(pairs);
	int fd = files_build(f, NULL);
	assert_true(fd >= 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct map_value v;
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		struct map *map = map_open(fd);
		_exit(map && files_get(map, "key7", &v) == 0 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pairs_of_others, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(large_and_broken, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(empty, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(long_values, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(changed_since, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(kinds_that_are_none, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(cut, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(broken_anywhere, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(written_to_meanwhile, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(opened_by_another, files_setup, files_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
