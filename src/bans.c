/* The tour, main: bans, as the parent has them. First who is never banned; then memory and sockets; then the two programs. */
#include "bans.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "control.h"
#include "core/caps.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/proc.h"
#include "core/sandbox_conf.h"
#include "tool/complain.h"
#include "tool/elsewhere.h"

#define ROOM (1 << 20) /* bytes of messages that may wait for the keeper; the system may allow less */
#define ARGS (40 + SANDBOX_ARGS)

/* ---- who is never banned ---- */

static bool add(struct conf_prefixes *list, size_t *room, const struct prefix *p)
{
	if (list->len == *room) {
		size_t more = *room ? 2 * *room : 64;
		struct prefix *at = realloc(list->at, more * sizeof(*at));
		if (!at)
			return false;
		list->at = at;
		*room = more;
	}
	list->at[list->len++] = *p;
	return true;
}

static bool add_text(struct conf_prefixes *list, size_t *room, const char *text)
{
	struct prefix p;
	return !addr_parse_prefix(slice_of(text), &p) || add(list, room, &p);
}

static bool add_all(struct conf_prefixes *list, size_t *room, const struct conf_prefixes *more)
{
	bool ok = true;
	for (size_t i = 0; i < more->len && ok; i++)
		ok = add(list, room, &more->at[i]);
	return ok;
}

static bool add_own(struct conf_prefixes *list, size_t *room)
{
	struct ifaddrs *all = NULL;
	bool ok = true;
	if (getifaddrs(&all) < 0)
		return true; /* a front looks at its own end of a connection, too */
	for (const struct ifaddrs *i = all; i && ok; i = i->ifa_next) {
		struct prefix p;
		if (!i->ifa_addr || !addr_from_sockaddr(&p.base, i->ifa_addr))
			continue;
		p.base.port = 0;
		p.bits = addr_is4(&p.base) ? 32 : 128;
		ok = add(list, room, &p);
	}
	freeifaddrs(all);
	return ok;
}

int bans_never(const struct conf *conf, struct conf_prefixes *out)
{
	struct conf_prefixes list = { NULL, 0 };
	size_t room = 0;
	bool ok = add_text(&list, &room, "127.0.0.0/8") && add_text(&list, &room, "::1") && add_own(&list, &room);
	for (size_t i = 0; i < conf->ban_never.len; i++)
		ok = ok && add_text(&list, &room, conf->ban_never.at[i]);
	for (size_t i = 0; i < conf->listens_len; i++)
		ok = ok && add_all(&list, &room, &conf->listens[i].trusted) && add_all(&list, &room, &conf->listens[i].probers);
	if (!ok) {
		free(list.at);
		return -ENOMEM;
	}
	*out = list;
	return 0;
}

int bans_never_file(const struct conf_prefixes *never)
{
	struct buf text;
	char address[ADDR_TEXT];
	buf_init(&text, (never->len + 1) * (ADDR_TEXT + 8));
	for (size_t i = 0; i < never->len; i++)
		buf_putf(&text, "%s/%u\n", addr_format(&never->at[i].base, address), never->at[i].bits);
	int fd = text.full ? -1 : memfd_create("tarry-never", MFD_CLOEXEC);
	int e = text.full ? -ENOMEM : fd < 0 ? -errno : 0;
	if (e == 0 && write(fd, text.at, text.len) != (ssize_t)text.len)
		e = -errno;
	buf_fini(&text);
	if (e < 0 && fd >= 0)
		close(fd);
	return e < 0 ? e : fd;
}

void bans_times(const struct conf *conf, int64_t *time, int64_t *time_max)
{
	*time = (conf->ban_time + LOOP_SECOND - 1) / LOOP_SECOND;
	int64_t most = (conf->ban_time_max + LOOP_SECOND - 1) / LOOP_SECOND;
	*time_max = most > *time ? most : *time;
}

/* ---- memory and sockets ---- */

static uint64_t hash(uint64_t so_far, const char *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		so_far = (so_far ^ (unsigned char)at[i]) * UINT64_C(0x100000001b3);
	return so_far;
}

/* FNV-1a over all that keeper and helper are given. Never 0. */
static uint64_t key_of(const struct banning *b)
{
	const struct conf *c = b->conf;
	char memory[8192];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_putf(&text, "%lld %lld %lld %lld %s %s %s %d %d %d", (long long)c->ban_max, (long long)c->ban_prefix, (long long)c->ban_time, (long long)c->ban_time_max, c->ban_db, c->ban_share, c->ban_kernel, b->kernel, c->log,
	         c->log_level);
	buf_putf(&text, " %s %d", c->user, (int)c->sandbox); /* and as whom, and in what */
	for (size_t i = 0; i < c->sandbox_paths.len; i++)
		buf_putf(&text, " %s", c->sandbox_paths.at[i]);
	uint64_t key = hash(UINT64_C(0xcbf29ce484222325), text.at, text.len);
	for (size_t i = 0; i < b->nevers.len; i++) {
		key = hash(key, (const char *)b->nevers.at[i].base.ip, sizeof(b->nevers.at[i].base.ip));
		key = hash(key, (const char *)&b->nevers.at[i].bits, sizeof(b->nevers.at[i].bits));
	}
	return key ? key : 1;
}

/* ---- over a change of the program in this process ---- */

enum { FD_ROWS, FD_COUNTS, FD_MESSAGES, FD_CONTROL = FD_MESSAGES + 2, FDS };

static void put_count(struct takeover *t, const char *kind, unsigned n, int64_t value)
{
	if (t->counts_len == TAKEOVER_COUNTS)
		return;
	struct takeover_count *c = &t->counts[t->counts_len++];
	snprintf(c->name, sizeof(c->name), "%s.%u", kind, n);
	c->value = value;
}

void bans_put(const struct banning *b, struct takeover *t)
{
	if (!b->wanted)
		return;
	t->bans_key = b->key;
	t->bans[FD_ROWS] = b->memory[0];
	t->bans[FD_COUNTS] = b->memory[1];
	t->bans[FD_MESSAGES] = b->messages[0];
	t->bans[FD_MESSAGES + 1] = b->messages[1];
	t->bans[FD_CONTROL] = b->control;
	t->bans_len = FDS;
	for (unsigned i = 0; i < KNOWN_COUNTS; i++)
		put_count(t, "bans", i, b->counted[i]);
	for (unsigned i = 0; i < BAN_COUNTS; i++)
		put_count(t, "kernel", i, b->counted_kernel[i]);
}

/* A gauge begins at 0 again, in the row of the parent too. */
static void take_counted(struct banning *b, const struct takeover *t)
{
	for (unsigned i = 0; i < t->counts_len; i++) {
		unsigned n;
		if (sscanf(t->counts[i].name, "bans.%u", &n) == 1 && n < KNOWN_COUNTS && n != KNOWN_COUNT_ROWS && n != KNOWN_COUNT_BANNED)
			b->counted[n] = t->counts[i].value;
		if (sscanf(t->counts[i].name, "kernel.%u", &n) == 1 && n < BAN_COUNTS && n != BAN_COUNT_KERNEL)
			b->counted_kernel[n] = t->counts[i].value;
	}
}

/* What the fronts that leave say is heard by the new keeper, and `tarry ban` finds it; the table is that of one keeper, as long as it runs. */
static void inherit(struct banning *b, const struct takeover *t)
{
	bool whole = t->bans_key != 0 && t->bans_len == FDS && t->bans[FD_ROWS] >= 0 && t->bans[FD_COUNTS] >= 0 && t->bans[FD_MESSAGES] >= 0 && t->bans[FD_MESSAGES + 1] >= 0;
	b->kept = b->wanted && whole && t->bans_key == b->key && !t->upgrade;
	for (unsigned i = 0; i < t->bans_len; i++) {
		bool wanted = b->wanted && whole && (b->kept || i >= FD_MESSAGES);
		if (!wanted && t->bans[i] >= 0)
			close(t->bans[i]);
	}
	if (!b->wanted || !whole)
		return;
	b->messages[0] = t->bans[FD_MESSAGES];
	b->messages[1] = t->bans[FD_MESSAGES + 1];
	b->control = t->bans[FD_CONTROL];
	if (!b->kept)
		return;
	b->memory[0] = t->bans[FD_ROWS];
	b->memory[1] = t->bans[FD_COUNTS];
	take_counted(b, t);
}

/* ---- its beginning ---- */

/* What is not there yet. 0 or -errno. */
static int make(struct banning *b)
{
	int e = b->kept ? 0 : ban_table_create((uint32_t)b->conf->ban_max, b->memory);
	e = e < 0 ? e : ban_table_open(&b->table, b->memory, (uint32_t)b->conf->ban_max, false);
	b->never = e < 0 ? e : bans_never_file(&b->nevers);
	e = e < 0 ? e : b->never < 0 ? b->never : 0;
	if (e == 0 && b->messages[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, b->messages) < 0)
		e = -errno;
	if (e == 0)
		setsockopt(b->messages[0], SOL_SOCKET, SO_SNDBUF, &(int){ ROOM }, sizeof(int));
	return e;
}

int bans_start(struct banning *b, const struct conf *conf, const char *path, const struct takeover *t, bool rehearses)
{
	*b = (struct banning){ .conf = conf, .wanted = conf->ban_after > 0, .kernel = conf->ban_after > 0 && conf->ban_kernel[0] && conf->mode != CONF_OBSERVE, .memory = { -1, -1 }, .messages = { -1, -1 },
		.control = -1, .never = -1 };
	int e = b->wanted ? bans_never(conf, &b->nevers) : 0;
	b->key = key_of(b);
	if (t)
		inherit(b, t);
	if (!b->wanted)
		return EX_OK;
	int code = elsewhere_check_share(conf, "ban_share", conf->ban_share);
	if (code == EX_OK)
		code = complain_kernel(conf);
	if (code != EX_OK)
		return code;
	e = e < 0 ? e : make(b);
	if (e < 0) {
		fprintf(stderr, "tarry: memory and sockets for bans: %s\n", strerror(-e));
		return EX_OSERR;
	}
	if (b->control >= 0 || rehearses)
		return EX_OK;
	b->control = control_listen(CONTROL_BAN, path);
	if (b->control < 0)
		log_event(LOG_LEVEL_NOTICE, "no_control", "tarry ban will not find this door: %s", b->control == -EADDRINUSE ? "another one runs with the same configuration file" : strerror(-b->control));
	return EX_OK;
}

void bans_close(struct banning *b, bool is_front)
{
	if (!b->wanted)
		return;
	ban_table_close(&b->table);
	if (!is_front) {
		close(b->memory[0]);
		close(b->memory[1]);
		close(b->messages[0]);
	}
	close(b->messages[1]);
	close(b->never);
	if (b->control >= 0)
		close(b->control);
}

struct ban_setup bans_setup(const struct banning *b)
{
	if (!b->wanted)
		return (struct ban_setup){ -1, -1, -1, NULL };
	return (struct ban_setup){ b->memory[0], b->memory[1], b->messages[0], &b->nevers };
}

/* ---- the programs ---- */

struct arguments {
	const char *at[ARGS];
	char numbers[ARGS][24];
	size_t len;
};

static void give(struct arguments *a, const char *option, const char *value)
{
	a->at[a->len++] = option;
	a->at[a->len++] = value;
	a->at[a->len] = NULL;
}

static void give_number(struct arguments *a, const char *option, long long value)
{
	snprintf(a->numbers[a->len], sizeof(a->numbers[0]), "%lld", value);
	give(a, option, a->numbers[a->len]);
}

/* Which it inherits. */
static void give_fd(struct arguments *a, const char *option, int fd)
{
	if (fd < 0)
		return;
	fcntl(fd, F_SETFD, 0);
	give_number(a, option, fd);
}

static int become(struct arguments *a, const struct conf *c, const char *name)
{
	char program[PATH_MAX] = "";
	a->at[0] = program;
	give(a, "--log", conf_words("log")[c->log]);
	give(a, "--log-level", conf_words("log_level")[c->log_level]);
	a->len += sandbox_conf_args(c, a->at + a->len);
	a->at[a->len] = NULL;
	if (proc_program(name, program))
		execv(program, (char *const *)(uintptr_t)a->at);
	log_event(LOG_LEVEL_ERROR, "bans_failed", "%s: %s", program, strerror(errno));
	return EX_OSERR;
}

int bans_run(struct banning *b, int parent)
{
	const struct conf *c = b->conf;
	struct arguments a = { .len = 1 };
	int64_t time, time_max;
	bans_times(c, &time, &time_max);
	give_number(&a, "--ban-time", time);
	give_number(&a, "--ban-time-max", time_max);
	give_number(&a, "--ttl", time_max); /* so long a ban that is over is remembered */
	give_number(&a, "--max", c->ban_max);
	give_number(&a, "--prefix", c->ban_prefix);
	give(&a, "--db", c->ban_db);
	give(&a, "--share", c->ban_share);
	give_fd(&a, "--table", b->memory[0]);
	give_fd(&a, "--counts", b->memory[1]);
	give_fd(&a, "--never", b->never);
	give_fd(&a, "--messages", b->messages[1]);
	give_fd(&a, "--control", b->control);
	give_fd(&a, "--parent", parent);
	return become(&a, c, "tarry-known");
}

int bans_run_kernel(struct banning *b, int parent)
{
	const struct conf *c = b->conf;
	struct arguments a = { .len = 1 };
	give(&a, "--sets", c->ban_kernel);
	give_number(&a, "--max", c->ban_max);
	give_fd(&a, "--table", b->memory[0]);
	give_fd(&a, "--counts", b->memory[1]);
	give_fd(&a, "--parent", parent);
	caps_pass_on(UINT64_C(1) << CAP_NET_ADMIN); /* if it fails tarry-ban says what follows */
	return become(&a, c, "tarry-ban");
}

void bans_count(struct banning *b)
{
	static const struct {
		enum known_count count;
		enum metric metric;
	} rows[] = { { KNOWN_COUNT_BANNED, METRIC_banned_clients }, { KNOWN_COUNT_ADDED, METRIC_bans }, { KNOWN_COUNT_DROPPED, METRIC_bans_dropped }, { KNOWN_COUNT_EVICTED, METRIC_bans_evicted },
		{ KNOWN_COUNT_EXPIRED, METRIC_bans_over }, { KNOWN_COUNT_UNSAVED, METRIC_bans_unsaved }, { KNOWN_COUNT_SHARE_FAILED, METRIC_ban_share_failed }, { KNOWN_COUNT_SHARE_LOST, METRIC_ban_share_lost } };
	static const enum metric kernel[BAN_COUNTS] = { [BAN_COUNT_KERNEL] = METRIC_bans_kernel, [BAN_COUNT_KERNEL_FAILED] = METRIC_bans_kernel_failed };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && b->wanted; i++) {
		int64_t now = (int64_t)known_table_count(&b->table.rows, rows[i].count);
		metrics_add(rows[i].metric, now - b->counted[rows[i].count]);
		b->counted[rows[i].count] = now;
	}
	for (unsigned i = 0; i < BAN_COUNTS && b->wanted; i++) {
		int64_t now = (int64_t)ban_table_count(&b->table, (enum ban_count)i);
		metrics_add(kernel[i], now - b->counted_kernel[i]);
		b->counted_kernel[i] = now;
	}
}
