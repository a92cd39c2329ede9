/* The tour, keeper: memory first. A message changes the table, and what changed goes into the transaction that is open and to the other doors; a clock ends the one and drops who has not come for too long. */
#include "keeper/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/helper.h"
#include "core/log.h"
#include "core/sandbox.h"
#include "keeper/bans.h"
#include "keeper/dialogue.h"

#define TICK LOOP_SECOND          /* what was learned is on disk after this */
#define FILL 4096                 /* rows of a new file written in one go */
#define FILL_AGAIN LOOP_MS        /* and the rest of them after this: messages come first */
#define RETRY (30 * LOOP_SECOND)  /* a file that could not be written is begun anew after this */
#define EXPIRE 4096               /* rows dropped in one go because they are too old */
#define MESSAGES 256              /* taken in one go */
#define WHY KEEPER_WHY

static struct keeper *of(struct loop *loop)
{
	return (struct keeper *)loop;
}

uint32_t keeper_wall(void)
{
	return (uint32_t)time(NULL);
}

struct slice keeper_text(const struct keeper *k, uint32_t row)
{
	return slice_of(k->texts[row] ? k->texts[row] : "");
}

/* ---- the file ---- */

static void failed(struct keeper *k, const char *why)
{
	k->filling = 0;
	known_table_counted(&k->table, KNOWN_COUNT_UNSAVED, 1);
	if (!k->failing)
		log_event(LOG_LEVEL_ERROR, k->kind->unsaved, "%s: %s; who is %s is kept in memory, and the file tried again", k->path, why, k->kind->word);
	k->failing = true;
	loop_set_due(&k->loop, &k->tick, loop_now(&k->loop) + RETRY);
}

static bool is_writing(const struct keeper *k)
{
	return k->saves && k->store.file;
}

static void begin_file(struct keeper *k)
{
	char memory[WHY];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (store_begin(&k->store, &why))
		k->filling = 1;
	else
		failed(k, buf_text(&why));
}

/* The new file has all that is in memory: from now on it is the file. */
static void end_filling(struct keeper *k)
{
	char memory[WHY];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	k->filling = 0;
	if (!store_replace(&k->store, &why)) {
		failed(k, buf_text(&why));
		return;
	}
	if (k->failing)
		log_event(LOG_LEVEL_NOTICE, k->kind->saved, "%s: it can be written again", k->path);
	k->failing = false;
}

static void fill(struct keeper *k, uint32_t most)
{
	char memory[WHY];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	for (uint32_t n = 0; n < most && k->filling <= k->table.head->used; n++, k->filling++) {
		struct known_key key;
		struct known_times times;
		if (keeper_row(k, k->filling, &key, &times) && !store_put(&k->store, &key, times, keeper_text(k, k->filling), &why)) {
			failed(k, buf_text(&why));
			return;
		}
	}
	if (k->filling > k->table.head->used)
		end_filling(k);
}

static void commit(struct keeper *k)
{
	char memory[WHY];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	k->hurry = false;
	if (is_writing(k) && k->filling == 0 && !store_commit(&k->store, &why))
		failed(k, buf_text(&why));
}

void keeper_save(struct keeper *k, uint32_t row)
{
	char memory[WHY];
	struct buf why;
	struct known_key key;
	struct known_times times;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (is_writing(k) && keeper_row(k, row, &key, &times) && !store_put(&k->store, &key, times, keeper_text(k, row), &why))
		failed(k, buf_text(&why));
}

/* It is no longer known. */
static void unsave(struct keeper *k, const struct known_key *key)
{
	char memory[WHY];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (is_writing(k) && !store_drop(&k->store, key, &why))
		failed(k, buf_text(&why));
}

/* ---- memory ---- */

bool keeper_row(const struct keeper *k, uint32_t row, struct known_key *key, struct known_times *times)
{
	if (!known_table_used(&k->table, row))
		return false;
	*times = known_table_times(&k->table, row);
	if (k->kind->to_file)
		k->kind->to_file(k, times);
	return known_table_key(&k->table, row, key) || known_key_domain(key, keeper_text(k, row));
}

bool keeper_find(const struct keeper *k, const struct known_key *key, struct known_times *times)
{
	struct known_id id = known_table_id(&k->table, key);
	uint32_t row = known_table_row(&k->table, &id);
	if (row)
		*times = known_table_times(&k->table, row);
	return row != 0;
}

void keeper_drop(struct keeper *k, uint32_t row, enum known_count why)
{
	struct known_key key;
	struct known_times times;
	if (keeper_row(k, row, &key, &times))
		unsave(k, &key);
	if (k->kind->dropped)
		k->kind->dropped(k, row, &key);
	free(k->texts[row]);
	k->texts[row] = NULL;
	known_table_drop(&k->table, row);
	known_table_counted(&k->table, why, 1);
}

uint32_t keeper_add(struct keeper *k, const struct known_id *id, const struct known_key *key, struct known_times times, struct slice text)
{
	char *copy = NULL;
	if (key->at[0] == KNOWN_NAME)
		text = (struct slice){ (const char *)key->at + 1, key->len - 1u };
	if (text.len > 0) {
		copy = strndup(text.at, text.len);
		if (!copy)
			return 0;
	}
	if (known_table_full(&k->table))
		keeper_drop(k, k->table.head->oldest, KNOWN_COUNT_EVICTED);
	uint32_t row = known_table_add(&k->table, id, times);
	k->texts[row] = copy;
	if (k->kind->added)
		k->kind->added(k, row, key);
	return row;
}

static bool is_nobodys(const struct keeper *k, const struct known_key *key)
{
	return key->at[0] == KNOWN_NAME && suffixes_has(&k->suffixes, (struct slice){ (const char *)key->at + 1, key->len - 1u });
}

/* A time that has not come yet is that of a clock which is wrong, here or at another door: nobody is known for longer by it. */
static struct known_times until_now(struct known_times times)
{
	uint32_t now = keeper_wall();
	times.passed = times.passed < now ? times.passed : now;
	times.since = times.since < times.passed ? times.since : times.passed;
	return times;
}

const char *keeper_pass(struct keeper *k, const struct known_key *key, struct known_times times, enum keeper_from from)
{
	struct known_id id = known_table_id(&k->table, key);
	uint32_t row = known_table_row(&k->table, &id);
	times = until_now(times);
	if (is_nobodys(k, key))
		return "everybody may have a name below that domain";
	if (row) {
		struct known_times had = until_now(known_table_times(&k->table, row));
		times.since = had.since < times.since ? had.since : times.since;
		times.passed = had.passed > times.passed ? had.passed : times.passed;
		known_table_renew(&k->table, row, times);
	} else {
		row = keeper_add(k, &id, key, times, slice_of(""));
		if (!row)
			return "there is no memory for it";
		known_table_counted(&k->table, KNOWN_COUNT_ADDED, 1);
	}
	keeper_save(k, row);
	if (from == KEEPER_FRONT)
		share_pass(&k->share, key, times);
	return NULL;
}

/* A mail server comes again. Who is known already has shown that. */
static void has_waited(struct keeper *k, const struct known_key *key, struct known_times now)
{
	struct known_id id = known_table_id(&k->table, key);
	if (known_table_row(&k->table, &id) || waited_again(&k->waited, &id, now.passed))
		keeper_pass(k, key, now, KEEPER_FRONT);
}

bool keeper_forfeit(struct keeper *k, const struct known_key *key, enum keeper_from from)
{
	struct known_id id = known_table_id(&k->table, key);
	uint32_t row = known_table_row(&k->table, &id);
	waited_forget(&k->waited, &id);
	if (row) {
		keeper_drop(k, row, KNOWN_COUNT_DROPPED);
		k->hurry = true;
	}
	if (from == KEEPER_FRONT)
		share_forfeit(&k->share, key, row != 0);
	return row != 0;
}

bool keeper_is_old(const struct keeper *k, uint32_t passed, uint32_t now)
{
	return now > passed && now - passed > k->ttl;
}

/* The oldest first; who was put in out of order is found later, and no front takes it for known meanwhile. */
static void expire(struct keeper *k)
{
	uint32_t now = keeper_wall();
	for (unsigned n = 0; n < EXPIRE; n++) {
		uint32_t row = k->table.head->oldest;
		if (row == 0 || !keeper_is_old(k, known_table_times(&k->table, row).passed, now))
			break;
		keeper_drop(k, row, KNOWN_COUNT_EXPIRED);
	}
}

/* ---- fronts ---- */

static void take_said(struct keeper *k, const struct known_message *m)
{
	struct known_times now = { keeper_wall(), keeper_wall(), 0 };
	struct known_key keys[2];
	unsigned len = 1;
	known_key_address(&keys[0], &m->client, k->bits);
	if (m->has_domain && known_key_domain(&keys[1], slice_of(m->domain)))
		len = 2;
	if (m->said == KNOWN_ASK) {
		share_ask(&k->share, m, keys, len);
		return;
	}
	for (unsigned i = 0; i < len; i++) {
		if (m->said == KNOWN_PASSED)
			keeper_pass(k, &keys[i], now, KEEPER_FRONT);
		else if (m->said == KNOWN_WAITED)
			has_waited(k, &keys[i], now);
		else
			keeper_forfeit(k, &keys[i], KEEPER_FRONT);
	}
}

static void take_message(struct keeper *k, const void *bytes, size_t len)
{
	struct known_message m;
	if (len <= offsetof(struct known_message, domain) || len > sizeof(m))
		return;
	memset(&m, 0, sizeof(m));
	memcpy(&m, bytes, len);
	m.domain[sizeof(m.domain) - 1] = '\0';
	if (m.magic == KNOWN_WIRE_MAGIC && m.said <= KNOWN_WAITED && m.front < KEEPER_FRONTS)
		take_said(k, &m);
}

static void messages_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct keeper *k = of(loop);
	char bytes[sizeof(struct known_message)];
	(void)events;
	for (unsigned i = 0; i < MESSAGES; i++) {
		ssize_t n = recv(source->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0)
			loop_unwatch(loop, source);
		if (n <= 0) /* what is an error now need not be one the next time */
			break;
		k->kind->message(k, bytes, (size_t)n);
	}
	if (k->hurry)
		commit(k);
}

/* A front that takes none is one that has gone, or is busy: its client waits for its pause. */
static void other_door_knows(void *context, const struct known_message *question)
{
	const struct keeper *k = context;
	struct known_answer answer = { KNOWN_WIRE_MAGIC, question->conn, question->client };
	if (question->front < k->replies_len)
		(void)!send(k->replies[question->front], &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void learned_pass(void *context, const struct known_key *key, struct known_times times)
{
	struct keeper *k = context;
	if (!keeper_is_old(k, times.passed, keeper_wall()))
		keeper_pass(k, key, times, KEEPER_ELSEWHERE);
}

static void learned_forfeit(void *context, const struct known_key *key)
{
	struct keeper *k = context;
	keeper_forfeit(k, key, KEEPER_ELSEWHERE);
	if (k->hurry)
		commit(k);
}

static bool from_file(struct keeper *k, const struct known_key *key, struct known_times *times)
{
	(void)k;
	(void)key;
	*times = until_now(*times);
	return true;
}

void keeper_counted(void *context, enum share_count which, int64_t n)
{
	static const enum known_count counts[] = { [SHARE_ASKED] = KNOWN_COUNT_SHARE_ASKED, [SHARE_KNOWN] = KNOWN_COUNT_SHARE_KNOWN, [SHARE_FAILED] = KNOWN_COUNT_SHARE_FAILED,
		[SHARE_LOST] = KNOWN_COUNT_SHARE_LOST };
	struct keeper *k = context;
	known_table_counted(&k->table, counts[which], n);
}

/* ---- the clock, the parent, those who ask ---- */

static void tick_due(struct loop *loop, struct source *source)
{
	struct keeper *k = of(loop);
	if (k->unsorted)
		known_table_sort(&k->table); /* fronts need not wait for that */
	k->unsorted = false;
	if (k->saves && !k->store.file)
		begin_file(k);
	else if (k->filling)
		fill(k, FILL);
	k->kind->expire(k);
	commit(k);
	if (source->place == 0)
		loop_set_due(loop, source, loop_now(loop) + (k->filling ? FILL_AGAIN : TICK));
}

static void control_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)events;
	dialogue_accept(of(loop), source->fd);
}

static const struct source_ops messages_ops = { messages_ready, NULL };
static const struct source_ops control_ops = { control_ready, NULL };
static const struct source_ops tick_ops = { NULL, tick_due };

static void turn_end(struct loop *loop, void *context)
{
	struct keeper *k = context;
	dialogue_reap(k);
	helper_turn_end(loop, &k->parent);
}

/* ---- its life ---- */

/* 0, or -errno as of keeper_load(). */
static int open_file(struct keeper *k, int table)
{
	store_init(&k->store, k->path, k->table.max, k->kind->is_key);
	if (!k->path[0])
		return 0;
	int e = store_lock(&k->store);
	if (e == -EWOULDBLOCK)
		log_event(LOG_LEVEL_WARNING, k->kind->unsaved, "%s: another door has it, so that who is %s is kept in memory alone; give each door a %s of its own", k->path, k->kind->word, k->kind->option);
	else if (e < 0) /* as in a first try, without a folder for it */
		log_event(e == -ENOENT ? LOG_LEVEL_NOTICE : LOG_LEVEL_WARNING, k->kind->unsaved, "%s: %s; who is %s is kept in memory alone, until the door ends: make the folder for the account that the door runs as, or set %s = \"\"",
		          k->path, strerror(-e), k->kind->word, k->kind->option);
	k->saves = e == 0;
	e = k->saves ? keeper_load(k, table) : 0;
	k->saves = k->saves && e == 0;
	return e;
}

static int watch(struct keeper *k, struct source *source, const struct source_ops *ops, int fd)
{
	source_init(source, ops);
	return fd >= 0 ? loop_watch(&k->loop, source, fd, EPOLLIN) : 0;
}

const struct keeper_kind keeper_known = { .word = "known", .option = "known_db", .loaded = "known_loaded", .rebuilt = "known_rebuilt", .unsaved = "known_unsaved", .saved = "known_saved",
	.damaged = "the file is no use and is now called so with .damaged behind; who was in it waits once more", .message = take_message, .expire = expire, .is_key = known_key_ok, .from_file = from_file,
	.share = { .answered = other_door_knows, .passed = learned_pass, .forfeited = learned_forfeit, .counted = keeper_counted, .failed = "known_share_failed", .back = "known_share_back" } };

bool keeper_open(struct keeper *k, const struct keeper_setup *setup, struct buf *why)
{
	memset(k, 0, sizeof(*k));
	k->kind = setup->ban ? &bans_kind : &keeper_known;
	if (setup->ban)
		k->ban.rules = *setup->ban;
	k->store.lock = -1;
	k->ttl = setup->ttl;
	k->bits = setup->bits;
	k->path = setup->path;
	k->offline = setup->table < 0;
	for (k->replies_len = 0; k->replies_len < setup->replies_len; k->replies_len++)
		k->replies[k->replies_len] = setup->replies[k->replies_len];
	int e = setup->manual_clock ? loop_init_manual(&k->loop, KEEPER_DIALOGUES + 16) : loop_init(&k->loop, KEEPER_DIALOGUES + 16);
	int table = setup->table >= 0 ? setup->table : known_table_create(setup->max);
	e = e < 0 ? e : table < 0 ? table : known_table_open(&k->table, table, setup->max, true);
	e = e < 0 ? e : known_table_reset(&k->table, table);
	e = e < 0 ? e : waited_init(&k->waited, setup->apart, setup->ttl);
	k->texts = e < 0 ? NULL : calloc((size_t)setup->max + 1, sizeof(*k->texts));
	if (e == 0 && setup->ban)
		e = bans_open(k, setup);
	if (e < 0 || !k->texts) {
		buf_put_text(why, strerror(e < 0 ? -e : ENOMEM));
		return false;
	}
	suffixes_read(&k->suffixes, setup->suffixes);
	if (!share_init(&k->share, &k->loop, setup->share, setup->share_timeout, setup->ttl, &k->kind->share, k, why))
		return false;
	e = open_file(k, table);
	if (e == 0)
		atomic_store(&k->table.head->loaded, 1);
	close(table);
	/* One that somebody cannot reach would be none. */
	e = e < 0 ? e : watch(k, &k->messages, &messages_ops, setup->messages);
	e = e < 0 ? e : watch(k, &k->control, &control_ops, setup->control);
	e = e < 0 ? e : helper_watch(&k->loop, &k->parent, setup->parent);
	if (e < 0) {
		buf_putf(why, "%s%s%s", k->path, k->path[0] ? ": " : "", strerror(-e));
		return false;
	}
	source_init(&k->tick, &tick_ops);
	loop_set_due(&k->loop, &k->tick, loop_now(&k->loop));
	k->loop.turn_end = turn_end;
	k->loop.turn_end_context = k;
	return true;
}

int keeper_run(struct keeper *k)
{
	share_start(&k->share);
	return loop_run(&k->loop);
}

int keeper_answer(struct keeper *k, int fd)
{
	if (!dialogue_start(k, fd))
		return -ENOMEM;
	int e = loop_run(&k->loop); /* its end stops it */
	return e;
}

void keeper_close(struct keeper *k)
{
	dialogue_end_all(k);
	if (k->table.head && k->saves) {
		if (!k->store.file)
			begin_file(k);
		while (k->filling)
			fill(k, UINT32_MAX);
		commit(k);
	}
	share_fini(&k->share);
	store_fini(&k->store);
	suffixes_free(&k->suffixes);
	waited_fini(&k->waited);
	if (k->texts && k->table.head)
		keeper_forget_texts(k);
	free(k->texts);
	if (k->kind == &bans_kind)
		bans_close(k);
	known_table_close(&k->table);
	loop_fini(&k->loop);
}
