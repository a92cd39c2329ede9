/* The tour, known: the table of bans. What a row is, and how it is found, is known_table.c's; here a client's networks are tried, the longest first. */
#include "known/ban_table.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t counts_size(uint32_t max)
{
	return sizeof(struct ban_counts) + ((size_t)max + 1) * sizeof(uint32_t);
}

int ban_table_create(uint32_t max, int fds[2])
{
	int rows = known_table_create(max);
	if (rows < 0)
		return rows;
	int counts = memfd_create("tarry-bans", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (counts >= 0 && ftruncate(counts, (off_t)counts_size(max)) == 0 && fcntl(counts, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
		fds[0] = rows;
		fds[1] = counts;
		return 0;
	}
	int e = -errno;
	close(rows);
	if (counts >= 0)
		close(counts);
	return e;
}

int ban_table_open_counts(struct ban_table *t, int fd, uint32_t max)
{
	size_t size = counts_size(max);
	if (lseek(fd, 0, SEEK_END) != (off_t)size)
		return -EINVAL;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	t->counts = at;
	t->size = size;
	return 0;
}

int ban_table_open(struct ban_table *t, const int fds[2], uint32_t max, bool writer)
{
	*t = (struct ban_table){ .counts = NULL };
	int e = known_table_open(&t->rows, fds[0], max, writer);
	if (e == 0 && fds[1] >= 0)
		e = ban_table_open_counts(t, fds[1], max);
	if (e < 0)
		ban_table_close(t);
	return e;
}

void ban_table_close(struct ban_table *t)
{
	known_table_close(&t->rows);
	if (t->counts)
		munmap(t->counts, t->size);
	t->counts = NULL;
}

uint32_t ban_table_find(const struct ban_table *t, const struct addr *client, uint32_t now, struct known_times *out)
{
	uint64_t lengths = atomic_load_explicit(&t->rows.head->lengths[addr_is4(client) ? 0 : 1], memory_order_relaxed);
	while (lengths != 0) {
		unsigned bit = 63u - (unsigned)__builtin_clzll(lengths);
		struct known_key key;
		struct known_times times;
		uint32_t row;
		lengths &= ~(UINT64_C(1) << bit);
		known_key_network(&key, client, bit + 1);
		struct known_id id = known_table_id(&t->rows, &key);
		if (known_table_search(&t->rows, &id, &times, &row) && !(times.note & BAN_OVER) && times.passed > now) {
			*out = times;
			return row;
		}
	}
	return 0;
}

/* What offences are called (gate/ban.h), and who bans by hand without a reason. New ones come at the end: a keeper may be older than the fronts. */
static const char *const reasons[] = { "", "smtp", "session", "tls", "http", "proxy", "ssh", "text", "binary", "early", "later", "refused", "limited", "forbidden", "by hand" };
#define REASONS (sizeof(reasons) / sizeof(reasons[0]))
#define WORD_UNIT (BAN_WORD & ~(BAN_WORD << 1)) /* its lowest bit */

_Static_assert(REASONS <= BAN_WORD / WORD_UNIT + 1, "each has a number");

uint32_t ban_reason_note(struct slice reason)
{
	for (unsigned i = 1; i < REASONS; i++)
		if (slice_is(reason, reasons[i]))
			return i * WORD_UNIT;
	return 0;
}

const char *ban_reason_word(uint32_t note)
{
	uint32_t i = (note & BAN_WORD) / WORD_UNIT;
	return i < REASONS ? reasons[i] : "";
}

static bool has_hits(const struct ban_table *t, uint32_t row)
{
	return t->counts && row >= 1 && row <= t->rows.max;
}

void ban_table_hit(const struct ban_table *t, uint32_t row)
{
	if (has_hits(t, row))
		atomic_fetch_add_explicit(&t->counts->hits[row], 1, memory_order_relaxed);
}

uint32_t ban_table_hits(const struct ban_table *t, uint32_t row)
{
	return has_hits(t, row) ? atomic_load_explicit(&t->counts->hits[row], memory_order_relaxed) : 0;
}

void ban_table_forget_hits(const struct ban_table *t, uint32_t row)
{
	if (has_hits(t, row))
		atomic_store_explicit(&t->counts->hits[row], 0, memory_order_relaxed);
}

uint64_t ban_table_count(const struct ban_table *t, enum ban_count which)
{
	return t->counts ? atomic_load_explicit(&t->counts->counts[which], memory_order_relaxed) : 0;
}

void ban_table_set_count(const struct ban_table *t, enum ban_count which, uint64_t n)
{
	if (t->counts)
		atomic_store_explicit(&t->counts->counts[which], n, memory_order_relaxed);
}

void ban_table_counted(const struct ban_table *t, enum ban_count which, uint64_t n)
{
	if (t->counts)
		atomic_fetch_add_explicit(&t->counts->counts[which], n, memory_order_relaxed);
}
