/* The tour, main: the access database of a running door: built, watched and handed to the fronts; and the program that asks the maps elsewhere, started. */
#include "tables.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/sandbox_conf.h"
#include "gate/front.h"
#include "look.h"
#include "show/lines.h"
#include "tool/complain.h"
#include "tool/elsewhere.h"

#define TABLES_TEXT_MAX (64 * 1024) /* errors and warnings of one table */

static void log_lines(enum log_level level, const char *event, struct buf *text)
{
	struct slice rest = { buf_text(text), text->len };
	while (rest.len > 0) {
		const char *lf = memchr(rest.at, '\n', rest.len);
		size_t n = lf ? (size_t)(lf - rest.at) : rest.len;
		log_event(level, event, "%.*s", (int)n, rest.at);
		n += lf ? 1 : 0;
		rest.at += n;
		rest.len -= n;
	}
}

/* ---- the access tables ---- */

static void log_table(const struct table *map, bool taken, size_t entries, int64_t took)
{
	struct log_line l;
	log_begin(&l, taken ? LOG_LEVEL_NOTICE : LOG_LEVEL_ERROR);
	log_text(&l, "event", taken ? "access_loaded" : "access_kept");
	log_text(&l, "table", map->spec);
	log_int(&l, "entries", (int64_t)(taken ? entries : map->entries));
	log_int(&l, "before", (int64_t)map->entries);
	log_ms(&l, "took_ms", took);
	log_end(&l);
}

/* For `tarry reload`. */
static void report_table(struct buf *report, const struct table *map, bool taken, size_t entries, const struct buf *errors)
{
	buf_put_slice(report, buf_slice(errors));
	if (taken)
		buf_putf(report, "%s: %zu entries, before %zu\n", map->spec, entries, map->entries);
	else
		buf_putf(report, "%s: the table that was there stays, %zu entries\n", map->spec, map->entries);
}

/* At start errors and warnings go to the person who starts it, later to the log. EX_OK, or why the table is refused. */
static int build_access(struct tables *t, struct table *map, bool starting, struct buf *report)
{
	struct buf errors, warnings;
	size_t entries = 0;
	int status = EX_OK;
	buf_init(&errors, TABLES_TEXT_MAX);
	buf_init(&warnings, TABLES_TEXT_MAX);
	int64_t begun = loop_now(t->loop);
	map->taken = map->seen = look_at(access_file(map->spec));
	/* A table that is in use stays, whatever becomes of its file. */
	bool none = t->conf->access_missing == CONF_MISSING_IGNORE && !map->taken.there && map->entries == 0;
	const struct access_rules rules = { t->conf->access_skip, t->conf->lookup_dot_domain, t->conf->stage_pause_keys };
	int fd = none ? access_build_empty(&errors) : access_build_for(map->spec, &rules, &errors, &warnings, &entries);
	if (starting)
		complain_lines(&warnings, "warning: ");
	if (fd < 0)
		status = starting ? complain_access(t->conf, map->spec, &errors) : EX_DATAERR;
	if (report)
		report_table(report, map, fd >= 0, entries, &errors);
	if (!starting) {
		log_lines(LOG_LEVEL_ERROR, "access_error", &errors);
		log_lines(LOG_LEVEL_WARNING, "access_warning", &warnings);
	}
	buf_fini(&errors);
	buf_fini(&warnings);
	metrics_add(fd < 0 ? METRIC_access_failed : METRIC_access_reloads, 1);
	if (fd >= 0 || !starting)
		log_table(map, fd >= 0, entries, loop_now(t->loop) - begun);
	if (fd < 0 && map->kept == 0)
		map->kept = (int64_t)time(NULL);
	if (fd < 0)
		return status;
	if (map->fd >= 0)
		close(map->fd);
	map->fd = fd;
	map->kept = 0;
	map->entries = entries;
	return EX_OK;
}

static int build_all(struct tables *t)
{
	for (unsigned i = 0; i < t->conf->access_db.len; i++) {
		struct table *map = &t->maps[i];
		*map = (struct table){ .spec = t->conf->access_db.at[i], .fd = -1 };
		t->elsewhere += access_is_elsewhere(map->spec);
		int status = access_is_elsewhere(map->spec) ? EX_OK : build_access(t, map, true, NULL);
		if (status != EX_OK)
			return status;
	}
	return EX_OK;
}

static char word_of(const struct tables *t, const struct table *map)
{
	return (char)(FRONT_WORD_ACCESS + (map - t->maps));
}

bool tables_reload(struct tables *t, struct proc_set *procs, struct buf *report)
{
	bool all = true;
	for (unsigned i = 0; i < t->conf->access_db.len; i++) {
		struct table *map = &t->maps[i];
		if (map->fd < 0 && report)
			buf_putf(report, "%s: asked each time\n", map->spec);
		if (map->fd < 0)
			continue;
		if (build_access(t, map, false, report) == EX_OK)
			proc_tell(procs, "front", word_of(t, map), map->fd);
		else
			all = false;
	}
	return all;
}

/* A file that was the same at two looks, and is not the one taken last, has been finished by whoever wrote it. */
static void look_again(struct tables *t, struct proc_set *procs, struct table *map)
{
	struct look now = look_at(access_file(map->spec));
	if (look_same(&now, &map->seen) && !look_same(&now, &map->taken) && build_access(t, map, false, NULL) == EX_OK)
		proc_tell(procs, "front", word_of(t, map), map->fd);
	map->seen = now;
}

void tables_look(struct tables *t, struct proc_set *procs)
{
	bool missed = proc_missed(procs, "front");
	for (unsigned i = 0; i < t->conf->access_db.len; i++) {
		struct table *map = &t->maps[i];
		if (map->fd >= 0 && missed) /* which one it was nobody knows */
			proc_tell(procs, "front", word_of(t, map), map->fd);
		if (map->fd >= 0)
			look_again(t, procs, map);
	}
}

void tables_put_kept(const struct tables *t, struct buf *out)
{
	for (unsigned i = 0; i < t->conf->access_db.len; i++)
		if (t->maps[i].kept > 0)
			lines_put_kept(out, "access_db", t->maps[i].spec, t->maps[i].kept);
}

/* ---- maps elsewhere ---- */

/* The descriptors between the fronts and the processes that ask such maps: one pair for all questions, and one for the answers to each front. The parent keeps all ends, for
 * those that it starts again. */
static int make_channels(struct tables *t)
{
	if (t->elsewhere == 0)
		return EX_OK;
	bool ok = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, t->questions) == 0;
	for (unsigned f = 0; f < t->fronts && ok; f++)
		ok = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, t->answers[f]) == 0;
	t->outages = ok ? memfd_create("tarry-outages", MFD_CLOEXEC) : -1;
	if (ok && t->outages >= 0)
		return EX_OK;
	fprintf(stderr, "tarry: channels to tarry-lookup: %s\n", strerror(errno));
	return EX_OSERR;
}

/* All ends of the channels to tarry-lookup but those of the front with that index; UINT_MAX: all. */
void tables_close_channels(struct tables *t, unsigned index)
{
	if (t->elsewhere == 0)
		return;
	close(t->outages);
	close(t->questions[1]);
	if (index == UINT_MAX)
		close(t->questions[0]);
	for (unsigned f = 0; f < t->fronts; f++) {
		close(t->answers[f][1]);
		if (f != index)
			close(t->answers[f][0]);
	}
}

static void keep_over_exec(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

int tables_run_lookup(struct tables *t, unsigned index, int parent)
{
	char program[PATH_MAX], replies[TABLES_FRONTS * 12] = "", numbers[4][16];
	const char *args[ACCESS_MAPS + SANDBOX_ARGS + 20] = { program, "--index", numbers[0], "--questions", numbers[1], "--replies", replies, "--parent", numbers[2],
		"--shared", numbers[3], "--log", conf_words("log")[t->conf->log], "--log-level", conf_words("log_level")[t->conf->log_level] };
	size_t n = 15;
	const int given[] = { (int)index, t->questions[1], parent, t->outages };
	for (size_t i = 0; i < 4; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "%d", given[i]);
		if (i > 0)
			keep_over_exec(given[i]);
	}
	for (unsigned f = 0; f < t->fronts; f++) {
		keep_over_exec(t->answers[f][1]);
		snprintf(replies + strlen(replies), sizeof(replies) - strlen(replies), f ? ",%d" : "%d", t->answers[f][1]);
	}
	if (t->conf->access_missing == CONF_MISSING_IGNORE)
		args[n++] = "--ignore-missing";
	n += sandbox_conf_args(t->conf, args + n);
	args[n++] = "--";
	for (unsigned i = 0; i < t->conf->access_db.len; i++)
		if (t->maps[i].fd < 0)
			args[n++] = t->maps[i].spec;
	if (elsewhere_program(program))
		execv(program, (char *const *)(uintptr_t)args);
	log_event(LOG_LEVEL_ERROR, "lookup_failed", "%s: %s", program, strerror(errno));
	return EX_OSERR;
}

/* ---- together ---- */

int tables_start(struct tables *t, struct loop *loop, const struct conf *conf, unsigned fronts)
{
	*t = (struct tables){ .loop = loop, .conf = conf, .fronts = fronts };
	int status = build_all(t);
	if (status == EX_OK)
		status = elsewhere_check_names(conf);
	return status == EX_OK ? make_channels(t) : status;
}
