/* The tour, keeper: bans. First what is never banned; then a ban's beginning and its end; then the ways on which they come: from fronts, from other doors, from `tarry ban`, from the file. */
#include "keeper/bans.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "keeper/dialogue.h"
#include "keeper/words.h"

#define SCAN 65536                 /* rows looked at in a second, whether their ban is over */
#define NEVER_MOST (1u << 20)      /* bytes of the list of those that are never banned */
#define TIMES_MOST 255
#define LONGEST INT64_C(315360000) /* seconds: ten years */
#define LINE_MOST SHARE_LINE

enum ban_end { BAN_EVICTED, BAN_EXPIRED, BAN_DROPPED, BAN_DROPPED_ELSEWHERE };

/* What is asked for. */
struct order {
	struct known_key key;
	int64_t seconds;     /* 0: ban_time, and twice as long each time */
	uint32_t since;      /* of the wall clock */
	uint32_t flags;      /* of the note: BAN_DOOR */
	uint32_t times;      /* 0: one more than before */
	uint32_t count;      /* of offences; 0: none were counted here */
	struct slice reason;
	bool again;          /* who is banned already is banned anew */
	const char *from;    /* a literal, for the log */
};

/* Of the monotonic clock. */
static uint32_t now_of(const struct keeper *k)
{
	return (uint32_t)(loop_now(&k->loop) / LOOP_SECOND);
}

/* The second of the wall clock that belongs to one of the monotonic clock. Their seconds do not begin together: the difference is what stays the same. */
static uint32_t wall_of(const struct keeper *k, uint32_t second)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint32_t)(((int64_t)t.tv_sec * LOOP_SECOND + t.tv_nsec - loop_now(&k->loop)) / LOOP_SECOND) + second;
}

/* ---- never ---- */

static bool overlap(const struct prefix *a, const struct prefix *b)
{
	unsigned bits = a->bits < b->bits ? a->bits : b->bits;
	if (addr_is4(&a->base) != addr_is4(&b->base))
		return false;
	struct addr x = addr_mask(&a->base, bits), y = addr_mask(&b->base, bits);
	return addr_same_ip(&x, &y);
}

static bool is_never(const struct keeper *k, const struct known_key *key)
{
	struct prefix p;
	bool found = !known_key_prefix(key, &p);
	for (size_t i = 0; i < k->ban.never_len && !found; i++)
		found = overlap(&p, &k->ban.never[i]);
	return found;
}

static int read_never(struct ban_list *b, int fd)
{
	static char text[NEVER_MOST];
	size_t len = 0;
	ssize_t n;
	while ((n = pread(fd, text + len, sizeof(text) - len, (off_t)len)) > 0)
		len += (size_t)n;
	if (n < 0 || len == sizeof(text))
		return n < 0 ? -errno : -E2BIG;
	b->never = calloc(len / 2 + 1, sizeof(*b->never)); /* a line has two bytes at least */
	if (!b->never)
		return -ENOMEM;
	for (size_t at = 0; at < len;) {
		const char *lf = memchr(text + at, '\n', len - at);
		struct slice line = { text + at, lf ? (size_t)(lf - text) - at : len - at };
		at += line.len + 1;
		b->never_len += addr_parse_prefix(line, &b->never[b->never_len]);
	}
	return 0;
}

/* ---- a ban's beginning, and its end ---- */

static struct known_id id_of(const struct keeper *k, const struct known_key *key)
{
	return known_table_id(&k->table, key);
}

static bool is_active(const struct keeper *k, const struct known_times *t)
{
	return !(t->note & BAN_OVER) && t->passed > now_of(k);
}

static void log_key(struct log_line *l, const struct known_key *key)
{
	char memory[ADDR_TEXT];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	known_key_put(&text, key);
	log_text(l, "client", buf_text(&text));
}

static void log_ban(const struct keeper *k, const struct order *o, const struct known_times *t)
{
	char memory[40];
	struct buf until;
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_NOTICE))
		return;
	buf_init_fixed(&until, memory, sizeof(memory));
	words_put_time(&until, wall_of(k, t->passed));
	log_text(&l, "event", "ban");
	log_key(&l, &o->key);
	log_text(&l, "until", buf_text(&until));
	log_int(&l, "seconds", t->passed - now_of(k));
	log_bytes(&l, "reason", o->reason.at, o->reason.len);
	log_text(&l, "from", o->from);
	if (o->count > 0)
		log_int(&l, "count", o->count);
	log_int(&l, "times", t->note & BAN_TIMES);
	log_end(&l);
}

static void log_unban(const struct keeper *k, uint32_t row, const struct known_key *key, enum ban_end why)
{
	static const char *const words[] = { [BAN_EVICTED] = "evicted", [BAN_EXPIRED] = "over", [BAN_DROPPED] = "dropped", [BAN_DROPPED_ELSEWHERE] = "dropped elsewhere" };
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_NOTICE))
		return;
	log_text(&l, "event", "unban");
	log_key(&l, key);
	log_text(&l, "why", words[why]);
	log_int(&l, "hits", ban_table_hits(&k->ban.table, row));
	log_end(&l);
}

/* It stays, so that it is remembered how often it was banned. */
static void finish(struct keeper *k, uint32_t row, struct known_times t, enum ban_end why)
{
	struct known_key key;
	if (!known_table_key(&k->table, row, &key))
		return;
	log_unban(k, row, &key, why);
	known_table_counted(&k->table, KNOWN_COUNT_BANNED, -1);
	known_table_counted(&k->table, why == BAN_EXPIRED ? KNOWN_COUNT_EXPIRED : KNOWN_COUNT_DROPPED, 1);
	t.note |= BAN_OVER;
	known_table_change(&k->table, row, t);
	keeper_save(k, row);
	ban_table_forget_hits(&k->ban.table, row);
}

static int64_t length_of(const struct keeper *k, const struct order *o, uint32_t times)
{
	int64_t seconds = o->seconds > 0 ? o->seconds : k->ban.rules.time;
	for (uint32_t i = 1; i < times && o->seconds == 0 && seconds < k->ban.rules.time_max; i++)
		seconds *= 2;
	/* What is asked for by hand may be longer than what comes by itself. */
	int64_t most = o->seconds == 0 ? k->ban.rules.time_max : LONGEST;
	return seconds < most ? seconds : most;
}

/* In the row that it had before. */
static bool renew(struct keeper *k, uint32_t row, struct known_times had, struct known_times t, struct slice reason)
{
	char *copy = strndup(reason.at, reason.len);
	if (!copy)
		return false;
	free(k->texts[row]);
	k->texts[row] = copy;
	known_table_renew(&k->table, row, t);
	known_table_counted(&k->table, KNOWN_COUNT_BANNED, had.note & BAN_OVER ? 1 : 0);
	return true;
}

/* False: it is banned already, or there is no memory. */
static bool begin(struct keeper *k, const struct order *o, struct known_times *out)
{
	struct known_id id = id_of(k, &o->key);
	uint32_t row = known_table_row(&k->table, &id);
	struct known_times had = row ? known_table_times(&k->table, row) : (struct known_times){ 0, 0, BAN_OVER };
	bool active = row && is_active(k, &had);
	if (active && !o->again)
		return false;
	if (!active && !(had.note & BAN_OVER)) { /* which nobody has looked at yet */
		finish(k, row, had, BAN_EXPIRED);
		had.note |= BAN_OVER;
	}
	uint32_t times = o->times > 0 ? o->times : (had.note & BAN_TIMES) + !active;
	times = times == 0 ? 1 : times < TIMES_MOST ? times : TIMES_MOST;
	struct known_times t = { o->since, now_of(k) + (uint32_t)length_of(k, o, times), times | o->flags | ban_reason_note(o->reason) };
	if (row && !renew(k, row, had, t, o->reason))
		return false;
	row = row ? row : keeper_add(k, &id, &o->key, t, o->reason);
	if (!row)
		return false;
	known_table_counted(&k->table, KNOWN_COUNT_ADDED, 1);
	keeper_save(k, row);
	k->hurry = true;
	log_ban(k, o, &t);
	*out = t;
	return true;
}

/* True: it was banned. since: of the wall clock, when that was said. Then it is as if it had never been banned; a ban that is older than that is not heard of again. */
static bool lift(struct keeper *k, const struct known_key *key, uint32_t since, enum ban_end why)
{
	struct known_id id = id_of(k, key);
	uint32_t row = known_table_row(&k->table, &id);
	if (!row)
		return false;
	struct known_times t = known_table_times(&k->table, row);
	if (!is_active(k, &t))
		return false;
	finish(k, row, (struct known_times){ since, now_of(k), t.note & ~BAN_TIMES }, why);
	k->hurry = true;
	return true;
}

/* ---- rows come and go ---- */

static void count_row(struct keeper *k, const struct known_key *key, int by)
{
	struct prefix p;
	if (!known_key_prefix(key, &p) || p.bits == 0)
		return;
	unsigned family = addr_is4(&p.base) ? 0 : 1;
	uint64_t bit = UINT64_C(1) << (p.bits - 1);
	_Atomic uint64_t *lengths = &k->table.head->lengths[family];
	uint32_t *uses = &k->ban.uses[family][p.bits - 1];
	*uses += (uint32_t)by;
	uint64_t now = atomic_load_explicit(lengths, memory_order_relaxed);
	atomic_store_explicit(lengths, *uses > 0 ? now | bit : now & ~bit, memory_order_relaxed);
}

static void added(struct keeper *k, uint32_t row, const struct known_key *key)
{
	struct known_times t = known_table_times(&k->table, row);
	uint32_t word = ban_reason_note(keeper_text(k, row));
	if ((t.note & BAN_WORD) != word) { /* from the file */
		t.note |= word;
		known_table_change(&k->table, row, t);
	}
	count_row(k, key, 1);
	ban_table_forget_hits(&k->ban.table, row);
	known_table_counted(&k->table, KNOWN_COUNT_BANNED, t.note & BAN_OVER ? 0 : 1);
}

static void dropped(struct keeper *k, uint32_t row, const struct known_key *key)
{
	struct known_times t = known_table_times(&k->table, row);
	count_row(k, key, -1);
	if (t.note & BAN_OVER)
		return;
	known_table_counted(&k->table, KNOWN_COUNT_BANNED, -1);
	log_unban(k, row, key, BAN_EVICTED);
}

/* Who has been let be for as long as the longest ban is forgotten. */
static void expire(struct keeper *k)
{
	struct ban_list *b = &k->ban;
	uint32_t now = now_of(k), used = k->table.head->used;
	for (uint32_t n = 0; n < SCAN && n < used; n++) {
		b->next = b->next % used + 1;
		if (!known_table_used(&k->table, b->next))
			continue;
		struct known_times t = known_table_times(&k->table, b->next);
		if (t.passed > now)
			continue;
		if (!(t.note & BAN_OVER))
			finish(k, b->next, t, BAN_EXPIRED);
		else if (now - t.passed > b->rules.time_max)
			keeper_drop(k, b->next, KNOWN_COUNT_EVICTED);
	}
}

/* ---- from the file, and to it ---- */

/* A clock that was set back since makes no ban longer than it was, but for the second that wall_of() may have taken off it (else it would lose one each time that it is read); one that was set on ends it. */
static bool from_file(struct keeper *k, const struct known_key *key, struct known_times *t)
{
	uint32_t now = now_of(k), wall = wall_of(k, now);
	uint32_t whole = t->passed > t->since ? t->passed - t->since + 1 : 0, left = t->passed > wall ? t->passed - wall : 0;
	if (is_never(k, key) || key->at[0] == KNOWN_IPV6)
		return false;
	t->note &= BAN_NOTE;
	if (left == 0)
		t->note |= BAN_OVER;
	if (left > 0) {
		left = left < whole ? left : whole;
		t->passed = now + (left < LONGEST ? left : (uint32_t)LONGEST);
	} else {
		uint32_t ago = wall - t->passed;
		t->passed = ago < now ? now - ago : 0;
	}
	return true;
}

static void to_file(const struct keeper *k, struct known_times *t)
{
	t->passed = wall_of(k, t->passed);
	t->note &= BAN_NOTE;
}

/* ---- other doors ---- */

/* KEY SINCE UNTIL NOTE REASON; UNTIL 0: dropped. */
static void tell(struct keeper *k, const struct known_key *key, uint32_t since, uint32_t until, uint32_t note, struct slice reason)
{
	char memory[LINE_MOST];
	struct buf line;
	buf_init_fixed(&line, memory, sizeof(memory));
	known_key_put(&line, key);
	if (buf_putf(&line, " %lu %lu %lu ", (unsigned long)since, (unsigned long)until, (unsigned long)note) && buf_put_slice(&line, reason))
		share_tell(&k->share, buf_slice(&line));
}

static void tell_ban(struct keeper *k, const struct order *o, struct known_times t)
{
	to_file(k, &t);
	tell(k, &o->key, t.since, t.passed, t.note, o->reason);
}

static void hear_ban(struct keeper *k, struct order *o, uint32_t until, uint32_t note)
{
	uint32_t wall = keeper_wall();
	struct known_id id = id_of(k, &o->key);
	uint32_t row = known_table_row(&k->table, &id);
	if (row) {
		struct known_times had = known_table_times(&k->table, row);
		bool active = is_active(k, &had);
		to_file(k, &had);
		if (active ? until <= had.passed + 1 : o->since <= had.since) /* ours, or no longer than ours; or dropped since */
			return;
	}
	if (until <= wall || is_never(k, &o->key))
		return;
	int64_t most = until > o->since ? until - o->since : 0; /* whatever the other door's clock is */
	o->seconds = until - wall < most ? until - wall : most;
	o->flags = note & BAN_DOOR;
	o->times = note & BAN_TIMES;
	o->again = true;
	struct known_times t;
	if (o->seconds > 0)
		begin(k, o, &t);
}

static void heard(void *context, struct slice line)
{
	struct keeper *k = context;
	struct order o = { .from = "elsewhere" };
	uint32_t until, note;
	if (!known_key_parse_network(words_next(&line), &o.key) || !words_number(&line, &o.since) || !words_number(&line, &until) || !words_number(&line, &note))
		return;
	o.reason = slice_trim(line);
	if (!words_is_reason(o.reason))
		return;
	if (until > 0) {
		hear_ban(k, &o, until, note);
		return;
	}
	struct known_id id = id_of(k, &o.key);
	uint32_t row = known_table_row(&k->table, &id);
	if (row && known_table_times(&k->table, row).since <= o.since)
		lift(k, &o.key, o.since, BAN_DROPPED_ELSEWHERE);
}

/* ---- fronts ---- */

static void message(struct keeper *k, const void *bytes, size_t len)
{
	struct ban_message m;
	struct known_times t;
	if (len != sizeof(m))
		return;
	memcpy(&m, bytes, sizeof(m));
	m.reason[sizeof(m.reason) - 1] = '\0';
	struct order o = { .since = keeper_wall(), .flags = m.proxied ? BAN_DOOR : 0, .count = m.count, .reason = slice_of(m.reason), .from = "front" };
	if (m.magic != BAN_WIRE_MAGIC || !words_is_reason(o.reason))
		return;
	known_key_network(&o.key, &m.client, addr_is4(&m.client) ? k->bits : KNOWN_IPV6_BITS);
	if (is_never(k, &o.key) && addr_is4(&m.client)) /* among its neighbours is one who may not be banned */
		known_key_network(&o.key, &m.client, 32);
	if (!is_never(k, &o.key) && begin(k, &o, &t))
		tell_ban(k, &o, t);
}

/* ---- tarry ban ---- */

/* KEY SECONDS REASON, SECONDS 0: as long as the door itself would. */
static const char *add_line(struct keeper *k, struct order *o, struct slice rest)
{
	struct known_times t;
	uint32_t seconds;
	if (!words_number(&rest, &seconds))
		return "expected a number of seconds behind the address";
	o->reason = slice_trim(rest);
	if (!words_is_reason(o->reason))
		return "expected a reason of printable ASCII, of less than 64 characters";
	o->seconds = seconds;
	o->again = true;
	o->from = "hand";
	if (!begin(k, o, &t))
		return "there is no memory for it";
	tell_ban(k, o, t);
	return NULL;
}

/* As put_row() writes it. What is over by now is left out, and so is whom this door has banned for longer. */
static const char *import_line(struct keeper *k, struct order *o, struct slice rest, uint64_t *done)
{
	struct known_times t;
	uint32_t until, hits, wall = keeper_wall();
	if (!words_take_time(words_next(&rest), &o->since) || !words_take_time(words_next(&rest), &until))
		return "expected two times such as 2026-11-30T14:00:00Z behind the address";
	if (!words_number(&rest, &o->times) || !words_number(&rest, &hits))
		return "expected how often it was banned, and how many were turned away, behind the times";
	struct slice where = words_next(&rest);
	if (!slice_is(where, "door") && !slice_is(where, "any"))
		return "expected door or any before the reason";
	o->reason = slice_trim(rest);
	if (!words_is_reason(o->reason))
		return "expected a reason of printable ASCII, of less than 64 characters";
	if (until <= wall)
		return NULL;
	o->since = o->since < wall ? o->since : wall;
	o->seconds = until - wall;
	o->flags = slice_is(where, "door") ? BAN_DOOR : 0;
	o->from = "hand";
	struct known_id id = id_of(k, &o->key);
	uint32_t row = known_table_row(&k->table, &id);
	struct known_times had = row ? known_table_times(&k->table, row) : (struct known_times){ 0, 0, BAN_OVER };
	o->again = !is_active(k, &had) || had.passed - now_of(k) < o->seconds;
	if (begin(k, o, &t)) {
		tell_ban(k, o, t);
		++*done;
	}
	return NULL;
}

static const char *line_of(struct keeper *k, enum keeper_verb verb, struct slice line, uint64_t *done)
{
	struct order o = { .since = keeper_wall() };
	const char *wrong = NULL;
	if (!known_key_parse_network(words_next(&line), &o.key))
		return "expected an address or a network (of 8 to 32 bits, or of 16 to 64 of IPv6)";
	if (verb == KEEPER_DROP) {
		if (lift(k, &o.key, o.since, BAN_DROPPED)) {
			tell(k, &o.key, o.since, 0, 0, slice_of("dropped"));
			++*done;
		}
		return NULL;
	}
	if (is_never(k, &o.key))
		return "it is never banned, or has somebody in it who is not: the loopback, this machine's own addresses, ban_never, and trust and health of listeners";
	if (verb == KEEPER_IMPORT)
		return import_line(k, &o, line, done);
	wrong = add_line(k, &o, line);
	*done += wrong == NULL;
	return wrong;
}

static bool put_row(const struct keeper *k, uint32_t row, struct buf *out)
{
	struct known_key key;
	struct known_times t;
	if (!known_table_used(&k->table, row))
		return false;
	t = known_table_times(&k->table, row);
	if (!is_active(k, &t) || !keeper_row(k, row, &key, &t))
		return false;
	known_key_put(out, &key);
	buf_put_char(out, '\t');
	words_put_time(out, t.since);
	buf_put_char(out, '\t');
	words_put_time(out, t.passed);
	buf_putf(out, "\t%lu\t%lu\t%s\t", (unsigned long)(t.note & BAN_TIMES), (unsigned long)ban_table_hits(&k->ban.table, row), t.note & BAN_DOOR ? "door" : "any");
	buf_put_slice(out, keeper_text(k, row));
	buf_put_char(out, '\n');
	return true;
}

/* ---- its life ---- */

int bans_open(struct keeper *k, const struct keeper_setup *setup)
{
	struct ban_list *b = &k->ban;
	b->table.rows = k->table; /* of which this is the view that has the counts, too */
	int e = setup->ban->counts >= 0 ? ban_table_open_counts(&b->table, setup->ban->counts, setup->max) : 0;
	return e == 0 && setup->ban->never >= 0 ? read_never(b, setup->ban->never) : e;
}

void bans_close(struct keeper *k)
{
	k->ban.table.rows = (struct known_table){ .head = NULL }; /* the keeper's */
	ban_table_close(&k->ban.table);
	free(k->ban.never);
	k->ban.never = NULL;
}

const struct keeper_kind bans_kind = { .word = "banned", .option = "ban_db", .loaded = "bans_loaded", .rebuilt = "bans_rebuilt", .unsaved = "bans_unsaved", .saved = "bans_saved",
	.damaged = "the file is no use and is now called so with .damaged behind; who was in it is banned no more",
	.share = { .counted = keeper_counted, .heard = heard, .failed = "ban_share_failed", .back = "ban_share_back" },
	.message = message, .expire = expire, .is_key = known_key_ok_network, .added = added, .dropped = dropped, .from_file = from_file, .to_file = to_file, .line = line_of, .put_row = put_row };
