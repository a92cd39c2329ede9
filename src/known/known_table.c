/* The tour, known: the table. Chains of rows in buckets, under one sequence number for all: changes are few and short against look-ups. */
#include "known/known_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAD 4096
#define TRIES 64   /* of one look-up while the table is being changed */
#define CHAIN 128  /* rows of a bucket that are looked at: more would be a torn chain */
#define LEAST 1024 /* buckets */

_Static_assert(sizeof(struct known_head) <= HEAD, "the head has a page");
_Static_assert(sizeof(struct known_row) == 40, "a row");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "no locks, or a process that dies would leave one behind");

static uint32_t buckets_for(uint32_t max)
{
	uint32_t n = LEAST;
	while (n < max)
		n *= 2;
	return n;
}

size_t known_table_size(uint32_t max)
{
	return HEAD + (size_t)buckets_for(max) * sizeof(uint32_t) + ((size_t)max + 1) * sizeof(struct known_row);
}

int known_table_create(uint32_t max)
{
	int fd = memfd_create("tarry-known", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)known_table_size(max)) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	int e = -errno;
	close(fd);
	return e;
}

int known_table_open(struct known_table *t, int fd, uint32_t max, bool writer)
{
	size_t size = known_table_size(max);
	if (lseek(fd, 0, SEEK_END) != (off_t)size)
		return -EINVAL;
	void *at = mmap(NULL, size, writer ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*t = (struct known_table){ .head = at, .buckets = (void *)((char *)at + HEAD), .mask = buckets_for(max) - 1, .max = max, .size = size };
	t->rows = (void *)((char *)at + HEAD + (size_t)buckets_for(max) * sizeof(uint32_t));
	return 0;
}

void known_table_close(struct known_table *t)
{
	if (t->head)
		munmap(t->head, t->size);
	*t = (struct known_table){ .head = NULL };
}

struct known_id known_table_id(const struct known_table *t, const struct known_key *key)
{
	uint8_t bytes[16] = { key->at[0] };
	struct known_id id;
	if (key->at[0] == KNOWN_NAME) {
		uint64_t hash[2] = { siphash_bytes(&t->head->keys[1], key->at, key->len), siphash_bytes(&t->head->keys[2], key->at, key->len) };
		memcpy(bytes + 1, hash, sizeof(bytes) - 1);
	} else {
		memcpy(bytes + 1, key->at + 1, key->len - 1u);
	}
	memcpy(id.half, bytes, sizeof(id.half));
	return id;
}

static uint32_t load(const _Atomic uint32_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

static void store(_Atomic uint32_t *at, uint32_t value)
{
	atomic_store_explicit(at, value, memory_order_relaxed);
}

static uint32_t bucket_of(const struct known_table *t, const struct known_id *id)
{
	return (uint32_t)siphash_bytes(&t->head->keys[0], id->half, sizeof(id->half)) & t->mask;
}

static bool is_row(const struct known_row *row, const struct known_id *id)
{
	return atomic_load_explicit(&row->id[0], memory_order_relaxed) == id->half[0] && atomic_load_explicit(&row->id[1], memory_order_relaxed) == id->half[1];
}

uint32_t known_table_row(const struct known_table *t, const struct known_id *id)
{
	uint32_t i = load(&t->buckets[bucket_of(t, id)]);
	for (unsigned n = 0; i != 0 && i <= t->max && n < CHAIN; n++, i = load(&t->rows[i].next))
		if (is_row(&t->rows[i], id))
			return i;
	return 0;
}

struct known_times known_table_times(const struct known_table *t, uint32_t row)
{
	return (struct known_times){ load(&t->rows[row].since), load(&t->rows[row].passed), load(&t->rows[row].note) };
}

bool known_table_search(const struct known_table *t, const struct known_id *id, struct known_times *out, uint32_t *at)
{
	struct known_times times = { 0, 0, 0 };
	if (known_table_count(t, KNOWN_COUNT_ROWS) == 0)
		return false; /* and none of its pages comes into being by being read */
	for (unsigned n = 0; n < TRIES; n++) {
		uint32_t before = atomic_load_explicit(&t->head->sequence, memory_order_acquire);
		if (before & 1)
			continue;
		uint32_t row = known_table_row(t, id);
		if (row)
			times = known_table_times(t, row);
		atomic_thread_fence(memory_order_acquire);
		if (load(&t->head->sequence) != before)
			continue;
		if (row)
			*out = times;
		*at = row;
		return row != 0;
	}
	return false;
}

bool known_table_find(const struct known_table *t, const struct known_id *id, struct known_times *out)
{
	uint32_t row;
	return known_table_search(t, id, out, &row);
}

uint64_t known_table_count(const struct known_table *t, enum known_count which)
{
	return atomic_load_explicit(&t->head->counts[which], memory_order_relaxed);
}

void known_table_counted(struct known_table *t, enum known_count which, int64_t n)
{
	atomic_fetch_add_explicit(&t->head->counts[which], (uint64_t)n, memory_order_relaxed);
}

/* ---- writing ---- */

static void begin(struct known_table *t)
{
	store(&t->head->sequence, load(&t->head->sequence) | 1);
	atomic_thread_fence(memory_order_release);
}

static void end(struct known_table *t)
{
	atomic_store_explicit(&t->head->sequence, load(&t->head->sequence) + 1, memory_order_release);
}

int known_table_reset(struct known_table *t, int fd)
{
	struct siphash_key keys[3];
	for (unsigned i = 0; i < 3; i++) {
		int e = siphash_key_init(&keys[i]);
		if (e < 0)
			return e;
	}
	begin(t);
	/* The pages go back to the system, and come again empty. */
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, HEAD, (off_t)(t->size - HEAD)) < 0)
		memset((char *)t->head + HEAD, 0, t->size - HEAD);
	t->head->used = t->head->free = t->head->oldest = t->head->newest = 0;
	memcpy(t->head->keys, keys, sizeof(keys));
	atomic_store(&t->head->loaded, 0);
	atomic_store(&t->head->lengths[0], 0);
	atomic_store(&t->head->lengths[1], 0);
	atomic_store(&t->head->counts[KNOWN_COUNT_BANNED], 0);
	atomic_store(&t->head->counts[KNOWN_COUNT_ROWS], 0);
	end(t);
	return 0;
}

static void unlink_row(struct known_table *t, uint32_t i)
{
	struct known_row *r = &t->rows[i];
	*(r->older ? &t->rows[r->older].newer : &t->head->oldest) = r->newer;
	*(r->newer ? &t->rows[r->newer].older : &t->head->newest) = r->older;
}

static void link_newest(struct known_table *t, uint32_t i)
{
	struct known_row *r = &t->rows[i];
	r->newer = 0;
	r->older = t->head->newest;
	*(r->older ? &t->rows[r->older].newer : &t->head->oldest) = i;
	t->head->newest = i;
}

bool known_table_full(const struct known_table *t)
{
	return t->head->free == 0 && t->head->used == t->max;
}

uint32_t known_table_add(struct known_table *t, const struct known_id *id, struct known_times times)
{
	uint32_t i = t->head->free;
	if (i)
		t->head->free = t->rows[i].newer;
	else
		i = ++t->head->used;
	struct known_row *r = &t->rows[i];
	_Atomic uint32_t *bucket = &t->buckets[bucket_of(t, id)];
	begin(t);
	atomic_store_explicit(&r->id[0], id->half[0], memory_order_relaxed);
	atomic_store_explicit(&r->id[1], id->half[1], memory_order_relaxed);
	store(&r->since, times.since);
	store(&r->passed, times.passed);
	store(&r->note, times.note);
	store(&r->next, load(bucket));
	store(bucket, i);
	end(t);
	link_newest(t, i);
	known_table_counted(t, KNOWN_COUNT_ROWS, 1);
	return i;
}

void known_table_change(struct known_table *t, uint32_t i, struct known_times times)
{
	begin(t);
	store(&t->rows[i].since, times.since);
	store(&t->rows[i].passed, times.passed);
	store(&t->rows[i].note, times.note);
	end(t);
}

void known_table_renew(struct known_table *t, uint32_t i, struct known_times times)
{
	known_table_change(t, i, times);
	unlink_row(t, i);
	link_newest(t, i);
}

bool known_table_key(const struct known_table *t, uint32_t i, struct known_key *out)
{
	static const uint8_t lengths[] = { [KNOWN_IPV4] = 6, [KNOWN_IPV6] = 9, [KNOWN_NET6] = 10 };
	uint64_t half[2] = { atomic_load_explicit(&t->rows[i].id[0], memory_order_relaxed), atomic_load_explicit(&t->rows[i].id[1], memory_order_relaxed) };
	uint8_t bytes[16];
	memcpy(bytes, half, sizeof(bytes));
	if (bytes[0] >= sizeof(lengths) || lengths[bytes[0]] == 0)
		return false;
	out->len = lengths[bytes[0]];
	memcpy(out->at, bytes, out->len);
	return true;
}

bool known_table_used(const struct known_table *t, uint32_t i)
{
	return i >= 1 && i <= t->head->used && atomic_load_explicit(&t->rows[i].id[0], memory_order_relaxed) != 0;
}

void known_table_drop(struct known_table *t, uint32_t i)
{
	struct known_row *r = &t->rows[i];
	struct known_id id = { { atomic_load(&r->id[0]), atomic_load(&r->id[1]) } };
	_Atomic uint32_t *at = &t->buckets[bucket_of(t, &id)];
	while (load(at) != 0 && load(at) != i)
		at = &t->rows[load(at)].next;
	begin(t);
	if (load(at) == i)
		store(at, load(&r->next));
	atomic_store_explicit(&r->id[0], 0, memory_order_relaxed);
	atomic_store_explicit(&r->id[1], 0, memory_order_relaxed);
	end(t);
	unlink_row(t, i);
	r->newer = t->head->free;
	t->head->free = i;
	known_table_counted(t, KNOWN_COUNT_ROWS, -1);
}

/* By 16 bits at a time, the lower ones first. */
static void sort_by(const struct known_table *t, const uint32_t *from, uint32_t *to, uint32_t len, unsigned shift, uint32_t *starts)
{
	memset(starts, 0, (UINT16_MAX + 2) * sizeof(*starts));
	for (uint32_t i = 0; i < len; i++)
		starts[(load(&t->rows[from[i]].passed) >> shift & UINT16_MAX) + 1]++;
	for (uint32_t i = 1; i <= UINT16_MAX; i++)
		starts[i] += starts[i - 1];
	for (uint32_t i = 0; i < len; i++)
		to[starts[load(&t->rows[from[i]].passed) >> shift & UINT16_MAX]++] = from[i];
}

int known_table_sort(struct known_table *t)
{
	uint32_t len = 0, rows = (uint32_t)known_table_count(t, KNOWN_COUNT_ROWS);
	if (rows == 0)
		return 0;
	uint32_t *order = calloc(rows, sizeof(*order)), *other = calloc(rows, sizeof(*other)), *starts = calloc(UINT16_MAX + 2, sizeof(*starts));
	bool ok = order && other && starts;
	for (uint32_t i = t->head->oldest; ok && i != 0 && len < rows; i = t->rows[i].newer)
		order[len++] = i;
	if (ok) {
		sort_by(t, order, other, len, 0, starts);
		sort_by(t, other, order, len, 16, starts);
		t->head->oldest = t->head->newest = 0;
	}
	for (uint32_t i = 0; i < len && ok; i++)
		link_newest(t, order[i]);
	free(order);
	free(other);
	free(starts);
	return ok ? 0 : -ENOMEM;
}
