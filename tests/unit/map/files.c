/* lmdb and cdb files, made, read and broken. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cdb.h>
#include <lmdb.h>

#include "files.h"

int files_setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));
	snprintf(f->folder, sizeof(f->folder), "/tmp/tarry-test-XXXXXX");
	*state = f;
	return mkdtemp(f->folder) ? 0 : -1;
}

int files_teardown(void **state)
{
	struct files *f = *state;
	char path[400];
	DIR *dir = opendir(f->folder);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		snprintf(path, sizeof(path), "%s/%s", f->folder, entry->d_name);
		if (entry->d_name[0] != '.' && unlink(path) < 0)
			rmdir(path);
	}
	if (dir)
		closedir(dir);
	rmdir(f->folder);
	free(f);
	return 0;
}

size_t files_count(const struct files *f)
{
	size_t count = 0;
	DIR *dir = opendir(f->folder);
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return count;
}

void files_name(struct files *f, const char *scheme, const char *name)
{
	snprintf(f->path, sizeof(f->path), "%s/%s", f->folder, name);
	snprintf(f->spec, sizeof(f->spec), "%s%s", scheme, f->path);
}

char *files_read(const struct files *f, size_t *len)
{
	struct stat st;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	char *bytes = malloc((size_t)st.st_size + 1);
	assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
	close(fd);
	*len = (size_t)st.st_size;
	return bytes;
}

void files_write(const struct files *f, const void *bytes, size_t len)
{
	int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

int files_build(struct files *f, const struct map_rules *rules)
{
	static const struct map_rules none = { .entry = NULL };
	buf_init_fixed(&f->errors, f->errors_memory, sizeof(f->errors_memory));
	buf_init_fixed(&f->warnings, f->warnings_memory, sizeof(f->warnings_memory));
	f->report = (struct map_report){ &f->errors, &f->warnings, 12345 };
	return map_build(f->spec, rules ? rules : &none, &f->report);
}

struct map *files_open(struct files *f, const struct map_rules *rules)
{
	int fd = files_build(f, rules);
	assert_string_equal(buf_text(&f->errors), "");
	struct map *map = map_open(fd);
	assert_non_null(map);
	assert_int_equal(map_entries(map), f->report.entries);
	return map;
}

void files_assert_refused(struct files *f, const char *said)
{
	assert_int_equal(files_build(f, NULL), -1);
	assert_int_equal(f->report.entries, 12345);
	size_t len = strlen(f->path);
	assert_memory_equal(buf_text(&f->errors), f->path, len);
	assert_string_equal(buf_text(&f->errors) + len, said);
}

void files_lmdb(const struct files *f, const struct pair *pairs, size_t len, unsigned flags)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_mapsize(env, (size_t)64 << 20), 0);
	assert_int_equal(mdb_env_open(env, f->path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0644), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, NULL, flags, &dbi), 0);
	for (size_t i = 0; i < len; i++) {
		MDB_val k = { pairs[i].key.len, (void *)(uintptr_t)pairs[i].key.at }, v = { pairs[i].value.len, (void *)(uintptr_t)pairs[i].value.at };
		assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
	}
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

void files_cdb(const struct files *f, const struct pair *pairs, size_t len)
{
	struct cdb_make make;
	int fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(cdb_make_start(&make, fd), 0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(cdb_make_add(&make, pairs[i].key.at, (unsigned)pairs[i].key.len, pairs[i].value.at, (unsigned)pairs[i].value.len), 0);
	assert_int_equal(cdb_make_finish(&make), 0);
	close(fd);
}

struct pair *files_pairs(size_t len, size_t value_more, size_t extra)
{
	size_t each = 64 + value_more;
	struct pair *pairs = malloc(len * (sizeof(*pairs) + each) + 1);
	assert_non_null(pairs);
	char *at = (char *)(pairs + len);
	for (size_t i = 0; i < len; i++, at += each) {
		size_t key = (size_t)sprintf(at, "key%zu", i);
		size_t value = (size_t)sprintf(at + 32, "value%zu", i);
		memset(at + 32 + value, 'v', value_more);
		at[32 + value + value_more] = '\0';
		pairs[i] = (struct pair){ { at, key + extra }, { at + 32, value + value_more + extra } };
	}
	return pairs;
}

int files_get(struct map *map, const char *key, struct map_value *out)
{
	struct slice s = slice_of(key);
	return map_first(map, &s, 1, out);
}

void files_assert_value(struct map *map, const char *key, const char *value, uint32_t line)
{
	struct map_value v;
	assert_int_equal(files_get(map, key, &v), 0);
	assert_int_equal(v.text.len, strlen(value));
	assert_memory_equal(v.text.at, value, v.text.len);
	assert_int_equal(v.line, line);
}

static bool add_up(void *context, struct slice key, const struct map_value *value)
{
	uint32_t *sum = context;
	for (size_t i = 0; i < key.len; i++)
		*sum += (uint8_t)key.at[i];
	for (size_t i = 0; i < value->text.len; i++)
		*sum += (uint8_t)value->text.at[i];
	return true;
}

void files_use(struct map *map, size_t len)
{
	uint32_t sum = 0;
	struct map_value v;
	for (size_t i = 0; i < len; i++) {
		char key[32];
		snprintf(key, sizeof(key), "key%zu", i);
		if (files_get(map, key, &v) == 0)
			add_up(&sum, slice_of(key), &v);
	}
	map_each(map, add_up, &sum);
}

uint32_t files_pick(uint32_t below)
{
	static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 16) % below);
}
