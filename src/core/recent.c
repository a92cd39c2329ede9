/* The tour, core: a ring of those turned away for each process, written and read without locks. An entry's mark says whether it is whole, and which one it is. */
#include "core/recent.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "core/shared.h"

struct entry {
	_Atomic uint64_t mark; /* of the n-th (from 0): 2n + 1 while it is written, 2n + 2 when it is whole */
	struct recent is;
};

struct count {
	_Atomic uint64_t written;
} __attribute__((aligned(64))); /* no two processes write to the same cache line */

#define LAYOUT (UINT64_C(3) << 32 | sizeof(struct entry)) /* which version of an entry it is */

struct memory {
	uint64_t layout;
	struct count counts[METRICS_ROWS]; /* apart from the rings: a look at those that nobody uses would cost a page each */
	struct entry rings[METRICS_ROWS][RECENT_ENTRIES];
};

_Static_assert(sizeof(struct entry) == 256, "entries are whole cache lines");

static struct memory *memory; /* NULL: there is none */
static bool reads_only;
static struct shared shared = { .fd = -1, .readonly = -1 };

int recent_init(void)
{
	int e = shared_create(&shared, "tarry-recent", sizeof(struct memory));
	if (e < 0)
		return e;
	memory = shared.at;
	memory->layout = LAYOUT;
	return 0;
}

int recent_fd(void)
{
	return shared.fd;
}

int recent_adopt(int fd)
{
	struct shared other;
	int e = shared_adopt(&other, fd, sizeof(struct memory));
	if (e < 0)
		return e;
	if (((const struct memory *)other.at)->layout != LAYOUT) {
		shared_detach(&other);
		return -EPROTO;
	}
	shared = other;
	memory = shared.at;
	return 0;
}

int recent_fd_readonly(void)
{
	return shared.readonly;
}

int recent_attach(int fd)
{
	struct shared other;
	int e = shared_attach(&other, fd, sizeof(struct memory));
	if (e < 0)
		return e;
	if (((const struct memory *)other.at)->layout != LAYOUT) {
		shared_detach(&other);
		return -EPROTO;
	}
	shared_detach(&shared); /* of a door that is gone */
	shared = other;
	memory = shared.at;
	reads_only = true;
	return 0;
}

void recent_word(char *to, size_t size, const char *text)
{
	size_t len = strlen(text);
	if (len > size - 1)
		len = size - 1;
	memcpy(to, text, len);
	memset(to + len, 0, size - len);
}

void recent_put(const struct recent *r)
{
	if (!memory || reads_only)
		return;
	unsigned row = metrics_my_row();
	uint64_t n = atomic_load_explicit(&memory->counts[row].written, memory_order_relaxed);
	struct entry *e = &memory->rings[row][n % RECENT_ENTRIES];
	atomic_store_explicit(&e->mark, 2 * n + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release); /* the mark is seen before any byte of the new entry is */
	e->is = *r;
	atomic_store_explicit(&e->mark, 2 * n + 2, memory_order_release);
	atomic_store_explicit(&memory->counts[row].written, n + 1, memory_order_release);
}

/* The number of the oldest entry of a ring that can still be read. */
static uint64_t oldest(uint64_t written)
{
	return written > RECENT_ENTRIES ? written - RECENT_ENTRIES : 0;
}

void recent_begin(struct recent_reader *reader)
{
	memset(reader, 0, sizeof(*reader));
	for (unsigned row = 0; memory && row < METRICS_ROWS; row++)
		reader->next[row] = oldest(atomic_load_explicit(&memory->counts[row].written, memory_order_acquire));
}

/* Whoever wrote it has read what strangers send: a reader can rely on it anyhow. */
void recent_tidy(struct recent *r)
{
	r->verdict[sizeof(r->verdict) - 1] = r->kind[sizeof(r->kind) - 1] = r->stage[sizeof(r->stage) - 1] = r->id[sizeof(r->id) - 1] = r->name[sizeof(r->name) - 1] = '\0';
	if (r->bytes_len > RECENT_BYTES)
		r->bytes_len = RECENT_BYTES;
}

/* False: it is not the n-th any more, or was not while it was copied. */
static bool copy(unsigned row, uint64_t n, struct recent *out)
{
	struct entry *e = &memory->rings[row][n % RECENT_ENTRIES];
	if (atomic_load_explicit(&e->mark, memory_order_acquire) != 2 * n + 2)
		return false;
	*out = e->is;
	atomic_thread_fence(memory_order_acquire);
	recent_tidy(out);
	return atomic_load_explicit(&e->mark, memory_order_relaxed) == 2 * n + 2;
}

static bool next_of_row(struct recent_reader *reader, unsigned row, struct recent *out)
{
	uint64_t written = atomic_load_explicit(&memory->counts[row].written, memory_order_acquire), *next = &reader->next[row];
	if (*next > written) /* the ring is another one than the reader has met */
		*next = 0;
	if (*next < oldest(written)) {
		reader->missed += oldest(written) - *next;
		*next = oldest(written);
	}
	while (*next < written) {
		if (copy(row, (*next)++, out))
			return true;
		reader->missed++;
	}
	return false;
}

bool recent_next(struct recent_reader *reader, struct recent *out)
{
	for (unsigned looked = 0; memory && looked < METRICS_ROWS; looked++) {
		if (next_of_row(reader, reader->row, out))
			return true;
		reader->row = (reader->row + 1) % METRICS_ROWS;
	}
	return false;
}
