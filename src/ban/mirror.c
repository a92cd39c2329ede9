/* The tour, ban: the mirror. First a copy of the table that nobody changes; then what the kernel has; then what differs, and the batches in which it is told. */
#include "ban/mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

#define WHY 600
#define COPIES 16       /* attempts to copy the table while it is being changed */
#define LATE 2          /* seconds by which the kernel's end of a ban may differ from the table's */
#define WAIT_MOST 30    /* seconds until a set that failed is tried again */

int mirror_init(struct mirror *m, struct ban_table *table, const char *sets)
{
	struct nft_set parsed[2];
	memset(m, 0, sizeof(*m));
	m->table = table;
	m->sets_len = nft_parse(sets, parsed);
	for (unsigned i = 0; i < m->sets_len; i++)
		m->sets[i].set = parsed[i];
	/* Reserved, not used: a page is there when a row on it is. */
	m->rows = calloc((size_t)table->rows.max + 1, sizeof(*m->rows));
	m->copy = calloc((size_t)table->rows.max + 1, sizeof(*m->copy));
	m->changes = calloc(NFT_BATCH, sizeof(*m->changes));
	if (m->sets_len == 0)
		return -EINVAL;
	return m->rows && m->copy && m->changes ? 0 : -ENOMEM;
}

void mirror_fini(struct mirror *m)
{
	nft_close(&m->nft);
	free(m->rows);
	free(m->copy);
	free(m->changes);
	m->rows = NULL;
	m->copy = NULL;
	m->changes = NULL;
}

/* ---- the table ---- */

static uint32_t sequence_of(const struct mirror *m)
{
	return atomic_load_explicit(&m->table->rows.head->sequence, memory_order_acquire);
}

/* False: it is being changed all the time, or its keeper has died while it changed it, or has just begun and not read its file yet. */
static bool copy_table(struct mirror *m)
{
	const struct known_table *t = &m->table->rows;
	for (unsigned i = 0; i < COPIES; i++) {
		uint32_t before = sequence_of(m), used = t->head->used;
		if (before & 1 || used > t->max || !atomic_load(&t->head->loaded))
			continue;
		for (uint32_t row = 1; row <= used; row++)
			memcpy(&m->copy[row], &t->rows[row], sizeof(m->copy[row]));
		atomic_thread_fence(memory_order_acquire);
		if (sequence_of(m) != before)
			continue;
		m->used = used;
		m->sequence = before;
		m->seen = true;
		return true;
	}
	return false;
}

static struct known_id id_of(const struct mirror *m, uint32_t row)
{
	return (struct known_id){ { m->copy[row].id[0], m->copy[row].id[1] } };
}

static bool same_id(const struct known_id *a, const struct known_id *b)
{
	return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

static bool prefix_of(const struct known_id *id, struct prefix *out)
{
	struct known_key key;
	memcpy(key.at, id->half, sizeof(id->half));
	key.len = key.at[0] == KNOWN_IPV4 ? 6 : 10;
	return (key.at[0] == KNOWN_IPV4 || key.at[0] == KNOWN_NET6) && known_key_prefix(&key, out);
}

static struct mirror_set *set_of(struct mirror *m, const struct prefix *net)
{
	for (unsigned i = 0; i < m->sets_len; i++)
		if (m->sets[i].set.six != addr_is4(&net->base))
			return &m->sets[i];
	return NULL;
}

/* The end of the ban that belongs into the kernel; 0: there is none. */
static uint32_t wanted(const struct mirror *m, uint32_t row, uint32_t now)
{
	const struct known_row *r = &m->copy[row];
	return row <= m->used && r->id[0] != 0 && !(r->note & (BAN_OVER | BAN_DOOR)) && r->passed > now ? r->passed : 0;
}

/* ---- what the kernel is told ---- */

static void failed(struct mirror *m, struct mirror_set *s, const char *why)
{
	ban_table_counted(m->table, BAN_COUNT_KERNEL_FAILED, 1);
	if (!s->said)
		log_event(LOG_LEVEL_ERROR, "ban_kernel_failed", "set %s of table %s: %s; the door itself goes on turning away whom it bans", s->set.name, s->set.table, why);
	s->said = true;
	s->known = false;
	m->reopens = true;
	m->wait = m->tries < 5 ? 1u << m->tries : WAIT_MOST;
	m->tries++;
}

static void put_state(struct mirror *m, struct mirror_row *r, enum mirror_state state)
{
	m->in += (uint64_t)(state == MIRROR_IN) - (uint64_t)(r->state == MIRROR_IN);
	r->state = state;
}

static struct mirror_row *row_of(struct mirror *m, const struct nft_change *c)
{
	return &m->rows[c->row];
}

/* A change that is at fault itself is left out, and what that means is kept; true: then the others may go. */
static bool settle(struct mirror *m)
{
	size_t kept = 0, before = m->changes_len;
	for (size_t i = 0; i < before; i++) {
		struct nft_change *c = &m->changes[i];
		bool gone = c->drop && c->error == ENOENT, taken = !c->drop && c->error == EEXIST;
		if (taken)
			put_state(m, row_of(m, c), MIRROR_TAKEN);
		if (!gone && !taken)
			m->changes[kept++] = *c;
	}
	m->changes_len = kept;
	return kept < before;
}

static void flush(struct mirror *m)
{
	char memory[WHY];
	struct buf why;
	int e = 0;
	while (m->changes_len > 0 && (e = nft_commit(&m->nft, m->changes, m->changes_len)) < 0 && settle(m))
		;
	if (m->changes_len > 0 && e == 0) {
		m->generation++;
		for (size_t i = 0; i < m->changes_len; i++)
			if (!m->changes[i].drop)
				put_state(m, row_of(m, &m->changes[i]), MIRROR_IN);
	} else if (m->changes_len > 0) {
		buf_init_fixed(&why, memory, sizeof(memory));
		buf_put_text(&why, e == -ENFILE || e == -ENOSPC ? "it is full (its size)" : strerror(-e));
		for (unsigned i = 0; i < m->sets_len; i++)
			if (m->sets[i].known)
				failed(m, &m->sets[i], buf_text(&why));
	}
	m->changes_len = 0;
}

static void change(struct mirror *m, struct mirror_set *s, const struct prefix *net, uint32_t row, uint32_t left, bool drop)
{
	m->changes[m->changes_len++] = (struct nft_change){ .set = &s->set, .element = { *net, (int64_t)left * 1000 }, .drop = drop, .row = row };
	if (m->changes_len == NFT_BATCH)
		flush(m);
}

/* What is not as it was goes out first, so that there is room for what comes in. Of what is over the kernel knows itself. */
static void take_out(struct mirror *m, uint32_t row, uint32_t now)
{
	struct mirror_row *r = &m->rows[row];
	struct known_id id = id_of(m, row);
	struct prefix net;
	if (r->state == MIRROR_OUT || (same_id(&r->id, &id) && wanted(m, row, now) == r->until))
		return;
	bool over = r->until + LATE < now, was_in = r->state == MIRROR_IN;
	put_state(m, r, MIRROR_OUT);
	struct mirror_set *s = prefix_of(&r->id, &net) ? set_of(m, &net) : NULL;
	if (was_in && !over && s && s->known)
		change(m, s, &net, row, 0, true);
}

static void put_in(struct mirror *m, uint32_t row, uint32_t now)
{
	struct mirror_row *r = &m->rows[row];
	uint32_t until = wanted(m, row, now);
	struct prefix net;
	if (until == 0 || r->state != MIRROR_OUT)
		return;
	r->id = id_of(m, row);
	r->until = until;
	struct mirror_set *s = prefix_of(&r->id, &net) ? set_of(m, &net) : NULL;
	if (s && s->known)
		change(m, s, &net, row, until - now, false);
}

/* ---- what the kernel has ---- */

struct reading {
	struct mirror *mirror;
	struct mirror_set *set;
	uint32_t now;
};

/* One that is as it should be stays; another one goes. */
static void take_element(void *context, const struct nft_element *e)
{
	struct reading *r = context;
	struct mirror *m = r->mirror;
	struct known_key key;
	known_key_network(&key, &e->net.base, e->net.bits);
	struct known_id id = known_table_id(&m->table->rows, &key);
	uint32_t row = e->net.bits >= 1 && e->net.bits <= KNOWN_IPV6_BITS ? known_table_row(&m->table->rows, &id) : 0;
	uint32_t until = row ? wanted(m, row, r->now) : 0;
	struct known_id now = row ? id_of(m, row) : id;
	int64_t left = until - r->now, late = e->left_ms / 1000 - left;
	if (until > 0 && same_id(&id, &now) && late >= -LATE && late <= LATE) {
		m->rows[row].id = id;
		m->rows[row].until = until;
		put_state(m, &m->rows[row], MIRROR_IN);
	} else {
		change(m, r->set, &e->net, 0, 0, true);
	}
}

static void read_set(struct mirror *m, struct mirror_set *s, uint32_t now)
{
	struct reading reading = { m, s, now };
	char memory[WHY];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	for (uint32_t row = 1; row <= m->most; row++) {
		struct prefix net;
		if (m->rows[row].state != MIRROR_OUT && prefix_of(&m->rows[row].id, &net) && set_of(m, &net) == s)
			put_state(m, &m->rows[row], MIRROR_OUT);
	}
	s->known = nft_check(&m->nft, &s->set, &why);
	if (!s->known || !nft_each(&m->nft, &s->set, take_element, &reading, &why)) {
		failed(m, s, buf_text(&why));
		return;
	}
	flush(m);
	if (s->known && s->said)
		log_event(LOG_LEVEL_NOTICE, "ban_kernel_back", "set %s of table %s takes bans again", s->set.name, s->set.table);
	if (s->known) {
		s->said = false;
		m->tries = 0;
	}
}

/* Whether all sets that are known are as they were when they were last read or written. */
static void look_for_others(struct mirror *m)
{
	uint32_t generation = m->generation;
	bool same = nft_generation(&m->nft, &generation) == 0 && generation == m->generation;
	m->disturbed = m->disturbed || !same;
	if (!same)
		m->generation = generation;
}

/* ---- a turn ---- */

static bool all_known(const struct mirror *m)
{
	bool all = true;
	for (unsigned i = 0; i < m->sets_len; i++)
		all = all && m->sets[i].known;
	return all;
}

static bool open_netlink(struct mirror *m)
{
	char memory[WHY];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (m->nft.socket || nft_open(&m->nft, &why))
		return true;
	failed(m, &m->sets[0], buf_text(&why));
	return false;
}

void mirror_turn(struct mirror *m, uint32_t now)
{
	bool changed = !m->seen || sequence_of(m) != m->sequence;
	m->wait -= m->wait > 0;
	if (m->reopens)
		nft_close(&m->nft);
	m->reopens = false;
	if (!open_netlink(m))
		return;
	look_for_others(m);
	bool reads = (m->disturbed || !all_known(m)) && m->wait == 0;
	if ((!changed && !reads) || (changed && !copy_table(m)))
		return;
	m->most = m->used > m->most ? m->used : m->most;
	bool disturbed = m->disturbed;
	m->disturbed = disturbed && !reads;
	for (unsigned i = 0; i < m->sets_len && reads; i++)
		if (disturbed || !m->sets[i].known)
			read_set(m, &m->sets[i], now);
	for (uint32_t row = 1; row <= m->most; row++)
		take_out(m, row, now);
	flush(m);
	for (uint32_t row = 1; row <= m->used; row++)
		put_in(m, row, now);
	flush(m);
	ban_table_set_count(m->table, BAN_COUNT_KERNEL, m->in);
}
