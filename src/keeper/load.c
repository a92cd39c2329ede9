/* The tour, keeper: what the file has, taken into memory when the door starts: all of it, or the newest that there is room for. */
#include <errno.h>
#include <stdlib.h>

#include "core/log.h"
#include "keeper/keeper.h"

struct loading {
	struct keeper *keeper;
	uint32_t now;
	uint32_t *passed; /* of all, where they are more than there is room for; NULL: they are taken */
	uint64_t len;
	uint32_t least, room; /* of those that passed at that second there is room for so many; least 0: for all */
	bool no_memory;
};

static void take_entry(void *context, const struct known_key *key, struct known_times times, struct slice text)
{
	struct loading *l = context;
	struct keeper *k = l->keeper;
	bool last = l->least > 0 && times.passed == l->least;
	if (keeper_is_old(k, times.passed, l->now) || known_table_full(&k->table) || (last && l->room == 0))
		return;
	l->room -= last;
	struct known_id id = known_table_id(&k->table, key);
	if (!k->kind->from_file || k->kind->from_file(k, key, &times))
		l->no_memory = l->no_memory || keeper_add(k, &id, key, times, text) == 0;
}

static void log_file(const struct keeper *k, const struct store_report *report, const char *why)
{
	struct log_line l;
	bool bad = report->aside || report->spoilt > 0;
	if (!log_begin(&l, bad ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE))
		return;
	log_text(&l, "event", bad ? k->kind->rebuilt : k->kind->loaded);
	log_text(&l, "file", k->path);
	log_int(&l, "clients", (int64_t)known_table_count(&k->table, KNOWN_COUNT_ROWS));
	if (report->spoilt > 0)
		log_int(&l, "spoilt", (int64_t)report->spoilt);
	if (report->aside)
		log_text(&l, "why", why);
	if (report->aside)
		log_text(&l, "msg", k->kind->damaged);
	log_end(&l);
}

static void count_entry(void *context, const struct known_key *key, struct known_times times, struct slice text)
{
	struct loading *l = context;
	(void)key;
	(void)text;
	l->passed[l->len++] = times.passed;
}

static int newest_first(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? 1 : x > y ? -1 : 0;
}

/* Those of a file that are more than there is room for now (known_max was more): the newest. 0 or -errno. */
static int load_newest(struct keeper *k, struct loading *l, uint64_t entries, struct buf *why)
{
	struct store_report again;
	l->passed = malloc(entries * sizeof(*l->passed));
	if (!l->passed)
		return -ENOMEM;
	store_read(&k->store, 0, count_entry, l, &again, why);
	qsort(l->passed, l->len, sizeof(*l->passed), newest_first);
	l->least = l->len > k->table.max ? l->passed[k->table.max - 1] : 0;
	for (l->room = 0; l->least > 0 && l->room < k->table.max && l->passed[k->table.max - 1 - l->room] == l->least;)
		l->room++;
	free(l->passed);
	l->passed = NULL;
	if (again.error == 0)
		store_read(&k->store, l->least, take_entry, l, &again, why);
	return again.error;
}

void keeper_forget_texts(struct keeper *k)
{
	for (uint32_t i = 1; i <= k->table.head->used; i++) {
		free(k->texts[i]);
		k->texts[i] = NULL;
	}
}

int keeper_load(struct keeper *k, int table)
{
	struct loading l = { .keeper = k, .now = keeper_wall() };
	struct store_report report;
	char memory[KEEPER_WHY];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	store_read(&k->store, 0, take_entry, &l, &report, &why);
	int e = report.error;
	if (report.aside || report.entries > k->table.max) {
		keeper_forget_texts(k);
		known_table_reset(&k->table, table);
	}
	l.no_memory = l.no_memory && !report.aside && report.entries <= k->table.max;
	if (!report.aside && report.entries > k->table.max)
		e = load_newest(k, &l, report.entries, &why);
	if (e < 0 || l.no_memory)
		return e < 0 ? e : -ENOMEM;
	k->unsorted = true;
	log_file(k, &report, buf_text(&why));
	return 0;
}
