/* The tour, main: the keeper of those who are known, as the parent has it. */
#include "keepers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "control.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/proc.h"
#include "core/sandbox_conf.h"
#include "tool/elsewhere.h"

#define ROOM (4 << 20) /* bytes of messages that may wait for a keeper that is writing to disk; the system may allow less */
#define CONTROL_NONE "tarry known will not find this door"

static bool make_pairs(struct keepers *k)
{
	if (k->messages[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, k->messages) < 0)
		return false;
	setsockopt(k->messages[0], SOL_SOCKET, SO_SNDBUF, &(int){ ROOM }, sizeof(int));
	for (unsigned f = 0; f < k->fronts && k->conf->known_share[0]; f++)
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, k->answers[f]) < 0)
			return false;
	return true;
}

/* FNV-1a over all that a keeper is given; the number of fronts only where they have sockets of their own. Never 0. */
static uint64_t key_of(const struct conf *c, unsigned fronts)
{
	char memory[8192];
	struct buf text;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_putf(&text, "%lld %lld %lld %lld %s %s %lld %u %d %d", (long long)c->known_max, (long long)c->known_prefix, (long long)c->known_ttl, (long long)c->known_apart, c->known_db, c->known_share,
	         (long long)c->known_share_timeout, c->known_share[0] ? fronts : 0, c->log, c->log_level);
	buf_putf(&text, " %s %d", c->user, (int)c->sandbox); /* and as whom, and in what */
	for (size_t i = 0; i < c->sandbox_paths.len; i++)
		buf_putf(&text, " %s", c->sandbox_paths.at[i]);
	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.at[i]) * UINT64_C(0x100000001b3);
	return hash ? hash : 1;
}

/* ---- over a change of the program in this process ---- */

enum { FD_MEMORY, FD_MESSAGES, FD_CONTROL = FD_MESSAGES + 2, FD_ANSWERS };

void keepers_put(const struct keepers *k, struct takeover *t)
{
	char name[16];
	if (!k->wanted)
		return;
	t->keeper_key = k->key;
	t->keeper[FD_MEMORY] = k->memory;
	t->keeper[FD_MESSAGES] = k->messages[0];
	t->keeper[FD_MESSAGES + 1] = k->messages[1];
	t->keeper[FD_CONTROL] = k->control;
	t->keeper_len = FD_ANSWERS;
	for (unsigned f = 0; f < k->fronts && k->conf->known_share[0]; f++)
		for (unsigned i = 0; i < 2; i++)
			t->keeper[t->keeper_len++] = k->answers[f][i];
	for (unsigned i = 0; i < KNOWN_COUNTS && t->counts_len < TAKEOVER_COUNTS; i++) {
		struct takeover_count *c = &t->counts[t->counts_len++];
		snprintf(name, sizeof(name), "keeper.%u", i);
		strcpy(c->name, name);
		c->value = k->counted[i];
	}
}

static void take_counted(struct keepers *k, const struct takeover *t)
{
	for (unsigned i = 0; i < t->counts_len; i++) {
		unsigned n;
		/* A gauge begins at 0 again, in the row of the parent too. */
		if (sscanf(t->counts[i].name, "keeper.%u", &n) == 1 && n < KNOWN_COUNTS && n != KNOWN_COUNT_ROWS)
			k->counted[n] = t->counts[i].value;
	}
}

/* What the fronts that leave say is heard by the new keeper, and `tarry known` finds it; the table and the answers are those of one keeper, as long as it runs. */
static void inherit(struct keepers *k, const struct takeover *t)
{
	unsigned answers = k->wanted && k->conf->known_share[0] ? 2 * k->fronts : 0;
	bool whole = t->keeper_key != 0 && t->keeper_len >= FD_ANSWERS && t->keeper[FD_MEMORY] >= 0 && t->keeper[FD_MESSAGES] >= 0 && t->keeper[FD_MESSAGES + 1] >= 0;
	k->kept = k->wanted && whole && t->keeper_key == k->key && !t->upgrade && t->keeper_len == FD_ANSWERS + answers;
	for (unsigned i = 0; i < t->keeper_len; i++) {
		bool wanted = k->kept || (k->wanted && whole && i > FD_MEMORY && i < FD_ANSWERS);
		if (!wanted && t->keeper[i] >= 0)
			close(t->keeper[i]);
	}
	if (!k->wanted || !whole)
		return;
	k->messages[0] = t->keeper[FD_MESSAGES];
	k->messages[1] = t->keeper[FD_MESSAGES + 1];
	k->control = t->keeper[FD_CONTROL];
	if (!k->kept)
		return;
	k->memory = t->keeper[FD_MEMORY];
	for (unsigned i = 0; i < answers; i++)
		k->answers[i / 2][i % 2] = t->keeper[FD_ANSWERS + i];
	take_counted(k, t);
}

int keepers_start(struct keepers *k, const struct conf *conf, unsigned fronts, const char *path, const struct takeover *t, bool rehearses)
{
	*k = (struct keepers){ .conf = conf, .fronts = fronts, .wanted = conf->known_ttl > 0, .control = -1, .memory = -1, .messages = { -1, -1 }, .key = key_of(conf, fronts) };
	if (t)
		inherit(k, t);
	if (!k->wanted)
		return EX_OK;
	int code = elsewhere_check_share(conf, "known_share", conf->known_share);
	if (code != EX_OK)
		return code;
	if (!k->kept)
		k->memory = known_table_create((uint32_t)conf->known_max);
	int e = k->memory < 0 ? k->memory : known_table_open(&k->table, k->memory, (uint32_t)conf->known_max, false);
	if (e < 0 || (!k->kept && !make_pairs(k))) {
		fprintf(stderr, "tarry: memory and sockets for those who are known: %s\n", strerror(e < 0 ? -e : errno));
		return EX_OSERR;
	}
	if (k->control >= 0 || rehearses)
		return EX_OK;
	k->control = control_listen(CONTROL_KNOWN, path);
	if (k->control < 0)
		log_event(LOG_LEVEL_NOTICE, "no_control", "%s: %s", CONTROL_NONE, k->control == -EADDRINUSE ? "another one runs with the same configuration file" : strerror(-k->control));
	return EX_OK;
}

void keepers_close(struct keepers *k, unsigned front)
{
	if (!k->wanted)
		return;
	known_table_close(&k->table);
	if (front == UINT_MAX) {
		close(k->memory);
		close(k->messages[0]);
	}
	close(k->messages[1]);
	if (k->control >= 0)
		close(k->control);
	for (unsigned f = 0; f < k->fronts && k->conf->known_share[0]; f++) {
		close(k->answers[f][1]);
		if (f != front)
			close(k->answers[f][0]);
	}
}

struct known_setup keepers_setup(const struct keepers *k, unsigned front)
{
	if (!k->wanted)
		return (struct known_setup){ -1, -1, -1 };
	return (struct known_setup){ k->memory, k->messages[0], k->conf->known_share[0] ? k->answers[front][0] : -1 };
}

/* "--name" and a number, which may be a descriptor's. */
struct given {
	const char *option;
	long long value; /* -1: there is none */
	bool is_fd;
};

int keepers_run(struct keepers *k, int parent)
{
	const struct conf *c = k->conf;
	char program[PATH_MAX], replies[KEEPERS_FRONTS * 12] = "", numbers[9][24];
	const char *args[40 + SANDBOX_ARGS] = { program, "--log", conf_words("log")[c->log], "--log-level", conf_words("log_level")[c->log_level], "--db", c->known_db, "--share", c->known_share };
	const struct given given[] = { { "--table", k->memory, true }, { "--messages", k->messages[1], true }, { "--control", k->control, true }, { "--parent", parent, true },
		{ "--max", c->known_max, false }, { "--prefix", c->known_prefix, false }, { "--ttl", (c->known_ttl + LOOP_SECOND - 1) / LOOP_SECOND, false },
		{ "--apart", (c->known_apart + LOOP_SECOND - 1) / LOOP_SECOND, false },
		{ "--share-timeout", c->known_share_timeout / LOOP_MS, false } };
	size_t n = 9;
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		if (given[i].value < 0)
			continue;
		snprintf(numbers[i], sizeof(numbers[i]), "%lld", given[i].value);
		if (given[i].is_fd)
			fcntl((int)given[i].value, F_SETFD, 0);
		args[n++] = given[i].option;
		args[n++] = numbers[i];
	}
	for (unsigned f = 0; f < k->fronts && c->known_share[0]; f++) {
		fcntl(k->answers[f][1], F_SETFD, 0);
		snprintf(replies + strlen(replies), sizeof(replies) - strlen(replies), f ? ",%d" : "%d", k->answers[f][1]);
	}
	if (c->known_share[0]) {
		args[n++] = "--replies";
		args[n++] = replies;
	}
	n += sandbox_conf_args(c, args + n);
	args[n] = NULL;
	if (proc_program("tarry-known", program))
		execv(program, (char *const *)(uintptr_t)args);
	log_event(LOG_LEVEL_ERROR, "known_failed", "%s: %s", program, strerror(errno));
	return EX_OSERR;
}

void keepers_count(struct keepers *k)
{
	static const enum metric metrics[KNOWN_COUNT_BANNED] = { [KNOWN_COUNT_ROWS] = METRIC_known_clients, [KNOWN_COUNT_ADDED] = METRIC_known_added, [KNOWN_COUNT_DROPPED] = METRIC_known_dropped,
		[KNOWN_COUNT_EVICTED] = METRIC_known_evicted, [KNOWN_COUNT_EXPIRED] = METRIC_known_expired, [KNOWN_COUNT_UNSAVED] = METRIC_known_unsaved, [KNOWN_COUNT_SHARE_ASKED] = METRIC_known_asked,
		[KNOWN_COUNT_SHARE_KNOWN] = METRIC_known_elsewhere, [KNOWN_COUNT_SHARE_FAILED] = METRIC_known_share_failed, [KNOWN_COUNT_SHARE_LOST] = METRIC_known_share_lost };
	for (unsigned i = 0; i < KNOWN_COUNT_BANNED && k->wanted; i++) {
		int64_t now = (int64_t)known_table_count(&k->table, (enum known_count)i);
		metrics_add(metrics[i], now - k->counted[i]);
		k->counted[i] = now;
	}
}
