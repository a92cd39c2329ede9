/* The access database at size: how long a table takes to build and to open, what a look-up costs, and whether fronts share one copy.
 *
 *   access_bench [ENTRIES [FRONTS]]        default: 1000000 entries, 8 fronts
 *   access_bench maps FOLDER [ENTRIES]     the same IPv4 addresses as text:, lmdb: and cdb:, what a look-up costs in each; leaves in FOLDER the
 *                                          text (access) and keys to ask others for (listed, others)
 *   access_bench table ENTRIES FROM MS     writes a table for a door under load: its first half are the load's clients from number FROM on, who
 *                                          have a pause of MS; the rest are addresses all over, with a pause or a REJECT
 *
 * A look-up is access_pause() for a client picked at random, all keys of that client included. Beside it stands the floor: one
 * random read in memory of the table's size. All times are processor time of this process, so that neighbours disturb less. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "access/access.h"

#define LOOKUPS 2000000
#define FRONTS_MAX 64

struct load {
	const char *name;
	bool v4;
	unsigned least, most; /* lengths of the keys, spread evenly */
	unsigned step;
};

static const struct load loads[] = {
	{ "IPv4 addresses", true, 32, 32, 1 },
	{ "IPv4 octet prefixes, 8 to 32", true, 8, 32, 8 },
	{ "IPv4 CIDR, 16 to 32 (17 lengths)", true, 16, 32, 1 },
	{ "IPv6 addresses", false, 128, 128, 1 },
	{ "IPv6 CIDR, 32 to 64 (33 lengths)", false, 32, 64, 1 },
	{ "IPv6 CIDR, 20 to 128 (109 lengths)", false, 20, 128, 1 },
};

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

static void die(const char *what)
{
	fprintf(stderr, "access_bench: %s\n", what);
	exit(70);
}

static struct addr random_addr(bool v4)
{
	struct addr a = { .port = 0 };
	uint64_t n[2] = { pick(), pick() };
	memcpy(a.ip, n, 16);
	if (v4) {
		memset(a.ip, 0, 10);
		a.ip[10] = a.ip[11] = 0xff;
	} else {
		a.ip[0] = 0x20;
	}
	return a;
}

/* A key in Sendmail's own form where there is one, else as CIDR. */
static void write_key(FILE *file, const struct addr *a, bool v4, unsigned bits)
{
	char text[ADDR_TEXT];
	struct addr base = addr_mask(a, bits);
	unsigned unit = v4 ? 8 : 16;
	if (bits % unit != 0 || bits == 0) {
		fprintf(file, "GreetPause:%s/%u", addr_format(&base, text), bits);
		return;
	}
	fprintf(file, v4 ? "GreetPause:" : "GreetPause:IPv6:");
	for (unsigned i = 0; i < bits / unit; i++) {
		if (v4)
			fprintf(file, i ? ".%u" : "%u", base.ip[12 + i]);
		else
			fprintf(file, i ? ":%x" : "%x", base.ip[2 * i] << 8 | base.ip[2 * i + 1]);
	}
}

/* Whether the prefix is new; seen is a table of hashes, zero where empty. */
static bool is_new(uint64_t *seen, size_t mask, const struct addr *a, unsigned bits)
{
	struct addr base = addr_mask(a, bits);
	uint64_t n[2];
	memcpy(n, base.ip, 16);
	uint64_t h = (n[0] ^ (n[1] + bits) * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
	h ^= h >> 32;
	h = h * UINT64_C(0xd6e8feb86659fd93) | 1;
	for (size_t at = h >> 20 & mask;; at = (at + 1) & mask) {
		if (seen[at] == h)
			return false;
		if (seen[at] == 0) {
			seen[at] = h;
			return true;
		}
	}
}

/* So many different keys, and for each an address that it holds for. */
static void write_file(FILE *file, const struct load *load, size_t entries, struct addr *clients)
{
	size_t slots = 16;
	while (slots < entries * 2)
		slots *= 2;
	uint64_t *seen = calloc(slots, sizeof(*seen));
	unsigned lengths = (load->most - load->least) / load->step + 1;
	if (!seen)
		die("no memory");
	for (size_t n = 0; n < entries;) {
		struct addr a = random_addr(load->v4);
		unsigned bits = load->least + load->step * ((unsigned)(pick() >> 32) % lengths);
		if (!is_new(seen, slots - 1, &a, bits))
			continue;
		clients[n++] = a;
		write_key(file, &a, load->v4, bits);
		fprintf(file, " %u\n", bits * 10);
	}
	free(seen);
}

static double lookup_ns(const struct access *access, const struct addr *clients, size_t len, double *found)
{
	size_t hits = 0;
	double start = seconds();
	for (size_t i = 0; i < LOOKUPS; i++)
		hits += access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = clients[i % len] }, 0).found;
	double ns = (seconds() - start) / LOOKUPS * 1e9;
	*found = 100.0 * (double)hits / LOOKUPS;
	return ns;
}

static double floor_ns(size_t bytes)
{
	size_t len = 1;
	while (len * 2 * sizeof(uint64_t) <= bytes)
		len *= 2;
	uint64_t *at = malloc(len * sizeof(*at)), sum = 0;
	if (!at)
		die("no memory");
	for (size_t i = 0; i < len; i++)
		at[i] = i;
	double start = seconds();
	for (size_t i = 0; i < LOOKUPS; i++)
		sum += at[(pick() + (sum & 1)) & (len - 1)]; /* each read waits for the one before, as a look-up does */
	double ns = (seconds() - start) / LOOKUPS * 1e9;
	free(at);
	return sum == 1 ? 0 : ns;
}

static int build(const struct load *load, size_t entries, struct addr *clients, double *took)
{
	static char memory[16384];
	char spec[64];
	size_t taken;
	struct buf errors, warnings;
	int source = memfd_create("access", MFD_CLOEXEC);
	FILE *file = source < 0 ? NULL : fdopen(dup(source), "w");
	if (!file)
		die("no file to write");
	write_file(file, load, entries, clients);
	fclose(file);
	buf_init_fixed(&errors, memory, sizeof(memory));
	buf_init(&warnings, sizeof(memory));
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", source);
	double start = seconds();
	int fd = access_build(spec, &errors, &warnings, &taken);
	*took = seconds() - start;
	close(source);
	buf_fini(&warnings);
	if (fd < 0)
		die(buf_text(&errors));
	if (taken != entries)
		die("keys are missing from the table");
	return fd;
}

/* So that they are not asked for in the order of the file. */
static void shuffle(struct addr *clients, size_t len)
{
	for (size_t i = len - 1; i > 0; i--) {
		size_t j = pick() % (i + 1);
		struct addr a = clients[i];
		clients[i] = clients[j];
		clients[j] = a;
	}
}

static void run(const struct load *load, size_t entries)
{
	struct addr *clients = calloc(entries, sizeof(*clients));
	size_t others_len = entries < 200000 ? entries : 200000;
	struct addr *others = calloc(others_len, sizeof(*others));
	double took, found, missed;
	if (!clients || !others)
		die("no memory");
	int fd = build(load, entries, clients, &took);
	off_t size = lseek(fd, 0, SEEK_END);
	double start = seconds();
	struct access *access = access_open(&(int){ fd }, 1, &(struct access_rules){ .skip = false });
	double opened = seconds() - start;
	if (!access)
		die("the table does not open");
	shuffle(clients, entries);
	for (size_t i = 0; i < others_len; i++)
		others[i] = random_addr(load->v4);
	double hit = lookup_ns(access, clients, entries, &found);
	double miss = lookup_ns(access, others, others_len, &missed);
	double least = floor_ns((size_t)size);
	printf("%-36s %8.0f ms %7.1f MB %6.1f ms %6.0f ns %3.0f%% %6.0f ns %3.0f%% %6.0f ns  x%.1f\n", load->name, took * 1e3, (double)size / 1e6, opened * 1e3,
		hit, found, miss, missed, least, hit / least);
	access_close(access);
	free(clients);
	free(others);
}

/* Pss of everything in this process that is mapped from the memory file, in KB. */
static long table_pss(void)
{
	char line[512];
	long kb = 0, n;
	bool in_table = false;
	FILE *file = fopen("/proc/self/smaps", "r");
	if (!file)
		die("/proc/self/smaps cannot be read");
	while (fgets(line, sizeof(line), file)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			in_table = strstr(line, "tarry-map") != NULL;
		else if (in_table && sscanf(line, "Pss: %ld kB", &n) == 1)
			kb += n;
	}
	fclose(file);
	return kb;
}

/* A front: maps the table, asks it, and when all the others do so too, says how much of it it has. */
static void front(int fd, int ready, int go, int result, int end)
{
	struct access *access = access_open(&(int){ fd }, 1, &(struct access_rules){ .skip = false });
	size_t hits = 0;
	char c = access ? 'r' : 'x';
	for (int i = 0; access && i < 10000; i++) {
		struct addr a = random_addr(true);
		hits += access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = a }, 0).found;
	}
	if (write(ready, &c, 1) != 1 || read(go, &c, 1) != 1)
		_exit(1);
	long kb = table_pss();
	if (write(result, &kb, sizeof(kb)) != sizeof(kb) || read(end, &c, 1) != 1)
		_exit(1);
	_exit(hits > 10000);
}

static void share(size_t entries, unsigned fronts)
{
	struct addr *clients = calloc(entries, sizeof(*clients));
	int ready[2], go[2], result[2], end[2];
	double took;
	if (!clients || pipe(ready) < 0 || pipe(go) < 0 || pipe(result) < 0 || pipe(end) < 0)
		die("no memory or no pipe");
	int fd = build(&loads[0], entries, clients, &took);
	off_t size = lseek(fd, 0, SEEK_END);
	fflush(stdout);
	for (unsigned i = 0; i < fronts; i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("no process");
		if (pid == 0)
			front(fd, ready[1], go[0], result[1], end[0]);
	}
	char c;
	long kb, sum = 0;
	for (unsigned i = 0; i < fronts; i++)
		if (read(ready[0], &c, 1) != 1 || c != 'r')
			die("a front could not open the table");
	for (unsigned i = 0; i < fronts; i++)
		if (write(go[1], "g", 1) != 1)
			die("a front is gone");
	for (unsigned i = 0; i < fronts; i++) {
		if (read(result[0], &kb, sizeof(kb)) != sizeof(kb))
			die("a front is gone");
		sum += kb;
	}
	for (unsigned i = 0; i < fronts; i++)
		if (write(end[1], "e", 1) != 1)
			die("a front is gone");
	while (wait(NULL) > 0)
		;
	printf("%u fronts share a table of %.1f MB: PSS of all together %.1f MB\n", fronts, (double)size / 1e6, (double)sum * 1024 / 1e6);
	free(clients);
	close(fd);
}

/* ---- maps ---- */

static FILE *open_in(const char *folder, const char *name)
{
	char path[MAP_PATH_MAX];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "w");
	if (!file)
		die("no file to write");
	return file;
}

static void write_keys(const char *folder, const char *name, const struct addr *clients, size_t len)
{
	FILE *file = open_in(folder, name);
	for (size_t i = 0; i < len; i++) {
		write_key(file, &clients[i], true, 32);
		putc('\n', file);
	}
	fclose(file);
}

/* One kind of map, made of the text unless it is the text itself. */
static void run_map(const char *folder, const char *kind, size_t entries, const struct addr *clients, const struct addr *others)
{
	static char memory[16384];
	char from[MAP_PATH_MAX], spec[MAP_PATH_MAX + 8];
	struct buf errors, warnings;
	double made = 0, found, missed;
	size_t taken;
	bool text = strcmp(kind, "text") == 0;
	buf_init_fixed(&errors, memory, sizeof(memory));
	buf_init(&warnings, sizeof(memory));
	snprintf(from, sizeof(from), "%s/access", folder);
	snprintf(spec, sizeof(spec), "%s:%s/%s", kind, folder, text ? "access" : "tarry");
	double start = seconds();
	if (!text && !access_write(from, spec, &errors, &warnings, &taken))
		die(buf_text(&errors));
	made = seconds() - start;
	start = seconds();
	int fd = access_build(spec, &errors, &warnings, &taken);
	double built = seconds() - start;
	buf_fini(&warnings);
	if (fd < 0)
		die(buf_text(&errors));
	if (taken != entries)
		die("keys are missing from the table");
	off_t size = lseek(fd, 0, SEEK_END);
	struct access *access = access_open(&fd, 1, &(struct access_rules){ .skip = false });
	if (!access)
		die("the table does not open");
	double hit = lookup_ns(access, clients, entries, &found), miss = lookup_ns(access, others, entries, &missed);
	if (found < 100 || missed > 1)
		die("a look-up went wrong");
	printf("%s made_ms=%.0f built_ms=%.0f mb=%.1f listed_ns=%.0f others_ns=%.0f\n", kind, made * 1e3, built * 1e3, (double)size / 1e6, hit, miss);
	access_close(access);
}

static void run_maps(const char *folder, size_t entries)
{
	struct addr *clients = calloc(entries, sizeof(*clients)), *others = calloc(entries, sizeof(*others));
	if (!clients || !others)
		die("no memory");
	FILE *file = open_in(folder, "access");
	write_file(file, &loads[0], entries, clients);
	fclose(file);
	shuffle(clients, entries);
	for (size_t i = 0; i < entries; i++)
		others[i] = random_addr(true);
	write_keys(folder, "listed", clients, entries);
	write_keys(folder, "others", others, entries);
	run_map(folder, "text", entries, clients, others);
	run_map(folder, "lmdb", entries, clients, others);
	run_map(folder, "cdb", entries, clients, others);
	free(clients);
	free(others);
}

/* ---- a table for a door ---- */

static void write_table(size_t entries, uint32_t from, unsigned pause)
{
	const uint32_t first = 0x7f100000; /* 127.16.0.0: the load's client number 0 */
	uint32_t other = 0;
	for (size_t i = 0; i < entries; i++) {
		bool listed = i < entries / 2, pauses = listed || i % 2 == 0;
		uint32_t ip = first + from + (uint32_t)i;
		while (!listed && (ip = ++other * UINT32_C(2654435761)) >> 24 == 127) /* odd: no address comes twice */
			;
		printf("%s:%u.%u.%u.%u ", pauses ? "GreetPause" : "Connect", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
		if (pauses)
			printf("%u\n", pause);
		else
			printf("REJECT\n");
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: access_bench [ENTRIES (1..10000000) [FRONTS (1..%d)]]\n"
		"       access_bench maps FOLDER [ENTRIES]\n"
		"       access_bench table ENTRIES FROM MILLISECONDS\n", FRONTS_MAX);
	return 64;
}

static bool is_size(long entries)
{
	return entries >= 1 && entries <= 10000000;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "maps") == 0) {
		long len = argc > 3 ? atol(argv[3]) : 1000000;
		if (argc < 3 || !is_size(len))
			return usage();
		run_maps(argv[2], (size_t)len);
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "table") == 0) {
		if (argc != 5 || !is_size(atol(argv[2])))
			return usage();
		write_table((size_t)atol(argv[2]), (uint32_t)atol(argv[3]), (unsigned)atol(argv[4]));
		return 0;
	}
	long entries = argc > 1 ? atol(argv[1]) : 1000000;
	long fronts = argc > 2 ? atol(argv[2]) : 8;
	if (!is_size(entries) || fronts < 1 || fronts > FRONTS_MAX)
		return usage();
	printf("%-36s %11s %10s %9s %14s %14s %9s  listed/floor\n", "keys, all of one kind", "build", "table", "open", "listed, found", "others, found", "floor");
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
		run(&loads[i], (size_t)entries);
	share((size_t)entries, (unsigned)fronts);
	return 0;
}
