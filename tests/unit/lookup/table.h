/* table.h: for tests: a Berkeley database with a few entries, written in place as makemap does. */
#ifndef TARRY_TESTS_TABLE_H
#define TARRY_TESTS_TABLE_H

#include <db.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* key, value, key, value, …, NULL. nul: with the NUL behind each, as makemap -N. */
static inline bool table_write(const char *path, DBTYPE type, bool nul, const char *const *pairs)
{
	DB *db;
	if (truncate(path, 0) < 0 && errno != ENOENT) /* what stood there may be garbage, about which libdb would have a word to say */
		return false;
	if (db_create(&db, NULL, 0) != 0 || db->open(db, NULL, path, NULL, type, DB_CREATE | DB_TRUNCATE, 0644) != 0)
		return false;
	bool ok = true;
	for (; ok && pairs[0]; pairs += 2) {
		DBT key = { .data = (void *)(uintptr_t)pairs[0], .size = (u_int32_t)(strlen(pairs[0]) + nul) };
		DBT value = { .data = (void *)(uintptr_t)pairs[1], .size = (u_int32_t)(strlen(pairs[1]) + nul) };
		ok = db->put(db, NULL, &key, &value, 0) == 0;
	}
	return db->close(db, 0) == 0 && ok;
}

#endif
