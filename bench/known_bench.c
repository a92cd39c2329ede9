/* The table of those who are known, without a door: what a front's look-up costs.
 *
 *   known_bench lookups [ROWS]     processor time of one look-up, of who is known and of others, in a table of so many (1000000) that another mapping writes
 *   known_bench bans [ROWS]        the same of who is banned, where bans have one length of networks, and where they have four
 *   known_bench lines [ROWS]       as many lines for `tarry known import`
 *
 * A look-up is what a front does with a client that comes: its key, the hash of that, the row. The order is random, so that memory is as cold as it is for a door. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "known/ban_table.h"

#define LOOKUPS 2000000

static uint64_t seed = 88172645463325252;

static uint64_t pick(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct addr address(uint32_t ip)
{
	return (struct addr){ .ip = { [10] = 0xff, [11] = 0xff, (uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8), (uint8_t)ip } };
}

static struct known_id id_of(const struct known_table *t, uint32_t ip)
{
	struct addr a = address(ip);
	struct known_key key;
	known_key_address(&key, &a, 32);
	return known_table_id(t, &key);
}

/* Odd addresses are known, scattered over all that there are; even ones are not. */
static uint32_t nth(uint32_t n)
{
	return n * UINT32_C(2654435761) | 1;
}

static double measure(const struct known_table *t, uint32_t rows, bool known)
{
	uint32_t *ips = malloc(LOOKUPS * sizeof(*ips));
	unsigned found = 0;
	if (!ips)
		exit(70);
	for (size_t i = 0; i < LOOKUPS; i++)
		ips[i] = known ? nth((uint32_t)(pick() % rows)) : (uint32_t)pick() & ~1u;
	double begin = seconds();
	for (size_t i = 0; i < LOOKUPS; i++) {
		struct known_times times;
		struct known_id id = id_of(t, ips[i]);
		found += known_table_find(t, &id, &times);
	}
	double used = seconds() - begin;
	free(ips);
	if (found != (known ? LOOKUPS : 0)) {
		fprintf(stderr, "known_bench: %u of %d found\n", found, LOOKUPS);
		exit(70);
	}
	return used / LOOKUPS * 1e9;
}

static int lookups(uint32_t rows)
{
	struct known_table writer, reader;
	int fd = known_table_create(rows);
	if (fd < 0 || known_table_open(&writer, fd, rows, true) < 0 || known_table_open(&reader, fd, rows, false) < 0 || known_table_reset(&writer, fd) < 0)
		return 71;
	uint32_t now = (uint32_t)time(NULL), added = 0;
	double begin = seconds();
	for (uint32_t n = 0; n < rows; n++) {
		struct known_id id = id_of(&writer, nth(n));
		if (known_table_row(&writer, &id) == 0) { /* an odd number has two that lead to it, now and then */
			known_table_add(&writer, &id, (struct known_times){ now, now, 0 });
			added++;
		}
	}
	double filled = seconds() - begin;
	printf("rows=%u fill_ns=%.0f known_ns=%.0f others_ns=%.0f\n", added, filled / added * 1e9, measure(&reader, rows, true), measure(&reader, rows, false));
	return 0;
}

/* Of those who are banned, or of others. */
static double measure_bans(const struct ban_table *t, uint32_t rows, bool banned)
{
	uint32_t *ips = malloc(LOOKUPS * sizeof(*ips));
	unsigned found = 0;
	if (!ips)
		exit(70);
	for (size_t i = 0; i < LOOKUPS; i++)
		ips[i] = banned ? nth((uint32_t)(pick() % rows)) : (uint32_t)pick() & ~1u;
	double begin = seconds();
	for (size_t i = 0; i < LOOKUPS; i++) {
		struct known_times times;
		struct addr a = address(ips[i]);
		found += ban_table_find(t, &a, 1, &times) > 0;
	}
	double used = seconds() - begin;
	free(ips);
	if (found != (banned ? LOOKUPS : 0)) {
		fprintf(stderr, "known_bench: %u of %d found\n", found, LOOKUPS);
		exit(70);
	}
	return used / LOOKUPS * 1e9;
}

static int bans(uint32_t rows)
{
	struct ban_table writer, reader;
	int fds[2];
	if (ban_table_create(rows, fds) < 0 || ban_table_open(&writer, fds, rows, true) < 0 || ban_table_open(&reader, fds, rows, false) < 0 || known_table_reset(&writer.rows, fds[0]) < 0)
		return 71;
	for (uint32_t n = 0; n < rows; n++) {
		struct known_id id = id_of(&writer.rows, nth(n));
		if (known_table_row(&writer.rows, &id) == 0)
			known_table_add(&writer.rows, &id, (struct known_times){ 1, UINT32_MAX, 1 });
	}
	double one[2], four[2];
	for (unsigned i = 0; i < 4; i++) {
		double *to = i < 2 ? one : four;
		atomic_store(&writer.rows.head->lengths[0], i < 2 ? UINT64_C(1) << 31 : UINT64_C(1) << 31 | UINT64_C(1) << 23 | UINT64_C(1) << 15 | UINT64_C(1) << 11);
		to[i % 2] = measure_bans(&reader, rows, i % 2 == 0);
	}
	printf("rows=%u banned_ns=%.0f others_ns=%.0f banned_of_four_ns=%.0f others_of_four_ns=%.0f\n", (unsigned)known_table_count(&writer.rows, KNOWN_COUNT_ROWS), one[0], one[1], four[0], four[1]);
	return 0;
}

static int lines(uint32_t rows)
{
	for (uint32_t n = 0; n < rows; n++) {
		char text[ADDR_TEXT];
		struct addr a = address(n * UINT32_C(2654435761)); /* all of them different, and in no order */
		printf("%s\t2026-11-%02uT00:00:00Z\t2026-11-%02uT%02u:%02u:00Z\n", addr_format(&a, text), 1 + n % 10, 11 + n % 15, n % 24, n % 60);
	}
	return fflush(stdout) == 0 ? 0 : 74;
}

int main(int argc, char **argv)
{
	uint32_t rows = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000000;
	if (argc > 1 && rows > 0 && rows <= KNOWN_TABLE_MOST && strcmp(argv[1], "lookups") == 0)
		return lookups(rows);
	if (argc > 1 && rows > 0 && rows <= KNOWN_TABLE_MOST && strcmp(argv[1], "bans") == 0)
		return bans(rows);
	if (argc > 1 && rows > 0 && strcmp(argv[1], "lines") == 0)
		return lines(rows);
	fprintf(stderr, "usage: known_bench lookups|bans|lines [ROWS]\n");
	return 64;
}
