/* The kinds of maps that a front asks in place, beside each other: text, lmdb and cdb with the same entries, and what their libraries cost alone.
 *
 *   map_bench [ENTRIES]        default: 1000000
 *
 * A look-up is one client: all the keys that could stand for it, the longest first, until one is there. Half of the keys in the map are
 * addresses, half are networks of 24 bits and a few of 16. "Library" asks LMDB or tinycdb for the same keys, one after the other, as programs do
 * that query a map key by key (postmap -q and Postfix's own look-ups among them). Times of look-ups are processor time of this process. */
#include <cdb.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "map/map.h"

#define LOOKUPS 1000000
#define KEYS 8 /* of a client: two forms of address, and each with its last one, two, three octets gone */

struct key {
	char nul, tag, form, bits;
	uint8_t ip[4];
};

static uint64_t seed = 88172645463325252;

static uint64_t pick(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

static double seconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "map_bench: %s\n", what);
	exit(70);
}

static struct key key_of(char form, uint32_t ip, unsigned octets)
{
	struct key k = { .tag = 'g', .form = form, .bits = (char)(octets * 8) };
	ip &= octets == 4 ? UINT32_MAX : ~(UINT32_MAX >> octets * 8);
	for (int i = 0; i < 4; i++)
		k.ip[i] = (uint8_t)(ip >> (24 - 8 * i));
	return k;
}

/* "greetpause:10.1.2" */
static void entry(void *context, const struct map_line *line, struct buf *own_key, struct map_notes *warnings)
{
	unsigned octets = 0;
	uint32_t ip = 0, part = 0;
	(void)context;
	(void)warnings;
	const char *end = line->key.at + line->key.len;
	for (const char *at = line->key.at + strlen("greetpause:"); at <= end; at++) {
		if (at < end && *at != '.') {
			part = part * 10 + (uint32_t)(*at - '0');
			continue;
		}
		ip |= part << (24 - 8 * octets++);
		part = 0;
	}
	struct key k = key_of('p', ip, octets);
	buf_put(own_key, &k, sizeof(k));
}

static const struct map_rules rules = { .entry = entry };

static unsigned octets_of(size_t i)
{
	return i % 2 ? 4 : i % 2000 == 0 ? 2 : 3;
}

/* As many different keys as there are, and a client for each. */
static void write_text(const char *path, size_t entries, uint32_t *clients)
{
	FILE *file = fopen(path, "w");
	uint8_t *nets = calloc(1, (size_t)1 << 22); /* a bit for each network */
	size_t len = 0;
	if (!file || !nets)
		die("no file to write, or no memory");
	for (size_t i = 0; i < entries; i++) {
		unsigned octets = octets_of(i);
		/* Addresses: an odd multiplier makes each of them once. */
		uint32_t ip = octets == 4 ? (uint32_t)i * 2654435761u : (uint32_t)pick();
		uint32_t net = octets == 4 ? 0 : (ip >> (32 - 8 * octets)) + (octets == 3 ? 0 : 1u << 24);
		if (octets < 4 && (nets[net / 8] >> net % 8 & 1))
			continue;
		if (octets < 4)
			nets[net / 8] |= (uint8_t)(1u << net % 8);
		clients[len++] = ip;
		fprintf(file, "GreetPause:%u", ip >> 24);
		for (unsigned n = 1; n < octets; n++)
			fprintf(file, ".%u", ip >> (24 - 8 * n) & 255);
		fprintf(file, "\t%u\n", (unsigned)(i % 3000));
	}
	for (size_t i = len; i < entries; i++)
		clients[i] = clients[i % len];
	free(nets);
	if (fclose(file) != 0)
		die("the text cannot be written");
}

static void client_keys(uint32_t ip, struct key keys[KEYS], struct slice slices[KEYS])
{
	for (unsigned i = 0; i < KEYS; i++) {
		keys[i] = key_of(i < KEYS / 2 ? 'b' : 'p', ip, 4 - i % 4);
		slices[i] = (struct slice){ (const char *)&keys[i], sizeof(keys[i]) };
	}
}

/* Asks for all keys of a client; which was it, or -1. */
typedef int ask(void *map, const struct slice keys[]);

static int ask_map(void *map, const struct slice keys[])
{
	struct map_value value;
	return map_first(map, keys, KEYS, &value);
}

struct lmdb {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
};

static int ask_lmdb(void *map, const struct slice keys[])
{
	struct lmdb *l = map;
	MDB_val v;
	for (int i = 0; i < KEYS; i++)
		if (mdb_get(l->txn, l->dbi, &(MDB_val){ keys[i].len, (void *)(uintptr_t)keys[i].at }, &v) == 0)
			return i;
	return -1;
}

static int ask_cdb(void *map, const struct slice keys[])
{
	for (int i = 0; i < KEYS; i++)
		if (cdb_find(map, keys[i].at, (unsigned)keys[i].len) > 0)
			return i;
	return -1;
}

static double lookup_ns(ask *one, void *map, const uint32_t *clients, size_t len, double *found)
{
	struct key keys[KEYS];
	struct slice slices[KEYS];
	size_t hits = 0;
	double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
	for (size_t i = 0; i < LOOKUPS; i++) {
		client_keys(clients[pick() % len], keys, slices);
		hits += one(map, slices) >= 0;
	}
	double ns = (seconds(CLOCK_PROCESS_CPUTIME_ID) - start) / LOOKUPS * 1e9;
	*found = 100.0 * (double)hits / LOOKUPS;
	return ns;
}

struct clients {
	uint32_t *listed, *others;
	size_t len;
};

static void report(const char *name, ask *one, void *map, const struct clients *c, const char *rest)
{
	double found, found_others;
	lookup_ns(one, map, c->listed, c->len < LOOKUPS ? c->len : LOOKUPS, &found); /* its pages come into memory */
	double listed = lookup_ns(one, map, c->listed, c->len, &found);
	double others = lookup_ns(one, map, c->others, c->len, &found_others);
	printf("%-14s %6.0f ns %3.0f%% %6.0f ns %3.0f%%  %s\n", name, listed, found, others, found_others, rest);
}

static void run_map(const char *scheme, const char *text, const char *path, const struct clients *c)
{
	static char memory[16384], rest[200];
	char spec[200];
	struct buf said;
	struct map_report r = { &said, &said, 0 };
	double start = seconds(CLOCK_MONOTONIC), written = 0;
	buf_init_fixed(&said, memory, sizeof(memory));
	snprintf(spec, sizeof(spec), "%s%s", scheme, path);
	if (strcmp(scheme, "text:") != 0) {
		if (!map_write(text, spec, &rules, &r))
			die(buf_text(&said));
		written = seconds(CLOCK_MONOTONIC) - start;
	}
	start = seconds(CLOCK_MONOTONIC);
	int fd = map_build(spec, &rules, &r);
	double built = seconds(CLOCK_MONOTONIC) - start;
	if (fd < 0)
		die(buf_text(&said));
	start = seconds(CLOCK_MONOTONIC);
	struct map *map = map_open(fd);
	double opened = seconds(CLOCK_MONOTONIC) - start;
	if (!map)
		die("the map does not open");
	snprintf(rest, sizeof(rest), "%7.0f ms %7.0f ms %6.1f ms %6.1f MB  %zu", written * 1e3, built * 1e3, opened * 1e3, (double)map_size(map) / 1e6,
		map_entries(map));
	report(scheme, ask_map, map, c, rest);
	map_close(map);
}

static void run_libraries(const char *path, const struct clients *c)
{
	char file[200];
	struct lmdb l;
	struct cdb cdb;
	snprintf(file, sizeof(file), "%s.lmdb", path);
	if (mdb_env_create(&l.env) != 0 || mdb_env_open(l.env, file, MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK, 0) != 0 ||
		mdb_txn_begin(l.env, NULL, MDB_RDONLY, &l.txn) != 0 || mdb_dbi_open(l.txn, NULL, 0, &l.dbi) != 0)
		die("LMDB does not open its file");
	report("library lmdb", ask_lmdb, &l, c, "");
	mdb_env_close(l.env);
	snprintf(file, sizeof(file), "%s.cdb", path);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || cdb_init(&cdb, fd) != 0)
		die("tinycdb does not open its file");
	report("library cdb", ask_cdb, &cdb, c, "");
	cdb_free(&cdb);
	close(fd);
}

int main(int argc, char **argv)
{
	long entries = argc > 1 ? atol(argv[1]) : 1000000;
	char folder[] = "/tmp/tarry-bench-XXXXXX", path[100], other[120];
	if (entries < 1000 || entries > 10000000) {
		fprintf(stderr, "usage: map_bench [ENTRIES (1000..10000000)]\n");
		return 64;
	}
	struct clients c = { calloc((size_t)entries, sizeof(uint32_t)), calloc((size_t)entries, sizeof(uint32_t)), (size_t)entries };
	if (!c.listed || !c.others || !mkdtemp(folder))
		die("no memory or no folder");
	snprintf(path, sizeof(path), "%s/map", folder);
	write_text(path, (size_t)entries, c.listed);
	for (size_t i = 0; i < c.len; i++)
		c.others[i] = (uint32_t)pick();
	printf("%-14s %14s %14s  %10s %10s %9s %9s  entries\n", "a client", "listed, found", "others, found", "write", "build", "open", "memory");
	run_map("text:", path, path, &c);
	run_map("lmdb:", path, path, &c);
	run_map("cdb:", path, path, &c);
	run_libraries(path, &c);
	static const char *const suffixes[] = { "", ".lmdb", ".cdb" };
	for (size_t i = 0; i < 3; i++) {
		snprintf(other, sizeof(other), "%s%s", path, suffixes[i]);
		unlink(other);
	}
	rmdir(folder);
	free(c.listed);
	free(c.others);
	return 0;
}
