/* Runs a fuzz target without libFuzzer: every file of the folders given as arguments, and a fixed series of mutations of them, so
 * that the suite exercises each parser with the same hostile input on every machine. A crash or a sanitizer's report is the failure.
 *
 * TARRY_FUZZ_ROUNDS=N in the environment: so many mutations instead (a few million make a poor man's fuzzer).
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SEEDS_MAX 1024        /* files of all folders */
#define SEED_MAX (256 * 1024) /* bytes of a file, and of a mutation */
#define ROUNDS 4000           /* mutations in a run of the suite */
#define STEPS_MAX 6           /* changes that make one mutation, one upon the other */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seed {
	uint8_t *at;
	size_t len;
};

static struct seed seeds[SEEDS_MAX];
static size_t seeds_len;
static uint64_t state = UINT64_C(0x9e3779b97f4a7c15); /* fixed: a failure must come back on the next run */

static uint32_t pick(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? (uint32_t)((state >> 16) % below) : 0;
}

/* The target gets a copy of exactly this size, so that a sanitizer sees the first byte read beyond it. */
static void run(const uint8_t *data, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);
	if (!exact)
		abort();
	if (len > 0)
		memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

static bool load_file(const char *path)
{
	static uint8_t bytes[SEED_MAX];
	FILE *f = fopen(path, "rb");
	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	size_t len = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	uint8_t *copy = malloc(len ? len : 1);
	if (!copy || seeds_len == SEEDS_MAX) {
		fprintf(stderr, "%s: more than %d seeds, or no memory\n", path, SEEDS_MAX);
		free(copy);
		return false;
	}
	if (len > 0)
		memcpy(copy, bytes, len);
	seeds[seeds_len++] = (struct seed){ copy, len };
	return true;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* In the order of the names, so that each machine makes the same mutations. */
static bool load_folder(const char *folder)
{
	struct dirent **list;
	int n = scandir(folder, &list, visible, alphasort);
	bool ok = n >= 0;
	if (!ok)
		fprintf(stderr, "%s: %s\n", folder, strerror(errno));
	for (int i = 0; i < n; i++) {
		char path[4096];
		struct stat st;
		snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name);
		if (ok && stat(path, &st) == 0 && S_ISREG(st.st_mode))
			ok = load_file(path);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return ok;
}

/* One change in place; returns the new length. */
static size_t change(uint8_t *at, size_t len)
{
	static const char odd[] = "\0\r\n\t \"'\\{}=+$#:.,;<>@()[]-%/*0129AZaz\x7f\x80\xff";
	uint32_t where = pick((uint32_t)len + 1), size = 1 + pick(16);
	const struct seed *other = &seeds[pick((uint32_t)seeds_len)];
	switch (pick(7)) {
	case 0: /* flip a bit */
		if (where < len)
			at[where] ^= (uint8_t)(1u << pick(8));
		return len;
	case 1: /* a byte that parsers care for */
		if (where < len)
			at[where] = (uint8_t)odd[pick(sizeof(odd) - 1)];
		return len;
	case 2: /* the end is missing */
		return where;
	case 3: /* a piece is missing */
		if (where + size > len)
			return len;
		memmove(at + where, at + where + size, len - where - size);
		return len - size;
	case 4: /* odd bytes come in between */
		if (len + size > SEED_MAX)
			return len;
		memmove(at + where + size, at + where, len - where);
		memset(at + where, odd[pick(sizeof(odd) - 1)], size);
		return len + size;
	case 5: /* a piece comes twice */
		if (where + size > len || len + size > SEED_MAX)
			return len;
		memmove(at + where + size, at + where, len - where);
		return len + size;
	default: /* the rest comes from another seed */
		size = pick((uint32_t)other->len + 1);
		if (where + (other->len - size) > SEED_MAX)
			return len;
		memcpy(at + where, other->at + size, other->len - size);
		return where + other->len - size;
	}
}

static void mutate_and_run(void)
{
	static uint8_t work[SEED_MAX];
	const struct seed *seed = &seeds[pick((uint32_t)seeds_len)];
	size_t len = seed->len;
	memcpy(work, seed->at, len);
	for (uint32_t steps = 1 + pick(STEPS_MAX); steps > 0; steps--)
		len = change(work, len);
	run(work, len);
}

int main(int argc, char **argv)
{
	const char *asked = getenv("TARRY_FUZZ_ROUNDS");
	long rounds = asked ? strtol(asked, NULL, 10) : ROUNDS;
	for (int i = 1; i < argc; i++)
		if (!load_folder(argv[i]))
			return 1;
	if (seeds_len == 0) {
		fprintf(stderr, "%s: no seeds: give a folder that has some\n", argv[0]);
		return 1;
	}
	run(NULL, 0);
	for (size_t i = 0; i < seeds_len; i++)
		run(seeds[i].at, seeds[i].len);
	for (long i = 0; i < rounds; i++)
		mutate_and_run();
	printf("%zu seeds, %ld mutations\n", seeds_len, rounds);
	for (size_t i = 0; i < seeds_len; i++)
		free(seeds[i].at);
	return 0;
}
