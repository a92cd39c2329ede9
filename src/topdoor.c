/* The tour, main: the door that `tarry top` looks at. */
#include "topdoor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/recent.h"

#define PATIENCE_S 1
#define AGAIN_MS 10000  /* until a door that is there is asked anew, */
#define LOST_MS 1000    /* and one that is not; without the time that nobody answered */
#define NEWS_MS 10000   /* so long something that is over is shown */
#define NOTICE 160

/* Memory that is attached already is what it was: a file of the kernel's has a number of its own as long as somebody has it. */
static bool is_same(const struct topdoor *d, enum control_fd which, int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && d->files[which].device == st.st_dev && d->files[which].inode == st.st_ino;
}

static int attach_one(struct topdoor *d, enum control_fd which, int fd, int (*attach)(int fd), bool *fresh)
{
	struct stat st;
	*fresh = !is_same(d, which, fd);
	if (!*fresh)
		return close(fd), 0;
	int e = fstat(fd, &st) < 0 ? -errno : 0;
	if (e < 0)
		return close(fd), e;
	e = attach(fd);
	if (e == 0)
		d->files[which] = (struct topdoor_file){ st.st_dev, st.st_ino };
	return e;
}

/* Takes the descriptors. */
static int attach_all(struct topdoor *d, struct model *m, int fds[CONTROL_FDS])
{
	bool counters = false, turned = false, health = false;
	int e = attach_one(d, CONTROL_FD_METRICS, fds[CONTROL_FD_METRICS], metrics_attach, &counters);
	int e2 = attach_one(d, CONTROL_FD_RECENT, fds[CONTROL_FD_RECENT], recent_attach, &turned), e3 = attach_one(d, CONTROL_FD_HEALTH, fds[CONTROL_FD_HEALTH], health_attach, &health);
	e = e < 0 ? e : e2 < 0 ? e2 : e3;
	/* The first time it begins with what the desk remembers. */
	bool copied = fds[CONTROL_FD_DESK] >= 0 && !d->been && e == 0 && memory_copy(&m->memory, fds[CONTROL_FD_DESK]);
	if (fds[CONTROL_FD_DESK] >= 0 && (d->been || e < 0))
		close(fds[CONTROL_FD_DESK]);
	if (e == 0 && !copied && (counters || turned))
		model_anew(m);
	return e;
}

static void close_all(int fds[CONTROL_FDS])
{
	for (unsigned i = 0; i < CONTROL_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* What it says of itself. EX_PROTOCOL: it is no door, or of another version. */
static int take(struct topdoor *d, struct model *m, int fds[CONTROL_FDS], char notice[NOTICE])
{
	struct lines lines = { 0 };
	const struct line *line = lines_parse(d->text + 1, &lines) ? lines_find(&lines, "door", 8, 0) : NULL, *pause = line ? lines_find(&lines, "pause", 5, 0) : NULL;
	struct view_door says = d->says;
	struct model_pause pauses = { 0, 0, 0 };
	if (line) {
		view_take_door(&says, line);
		pauses.pause = says.pause_ms;
	}
	if (pause) {
		pauses.explore = lines_number(pause->words[2]);
		pauses.share = lines_number(pause->words[4]);
	}
	lines_free(&lines);
	if (!line || fds[CONTROL_FD_METRICS] < 0 || fds[CONTROL_FD_RECENT] < 0 || fds[CONTROL_FD_HEALTH] < 0) {
		close_all(fds);
		snprintf(notice, NOTICE, "the door does not hand out what there is to be seen: it is of an older version, or has no /proc");
		return EX_PROTOCOL;
	}
	int e = attach_all(d, m, fds);
	if (e < 0) {
		snprintf(notice, NOTICE, e == -EPROTO ? "the door is of another version: tarry %.24s; its own tarry top can look at it" : "the door's memory, of tarry %.24s, cannot be read", says.version);
		return EX_PROTOCOL;
	}
	d->says = says;
	m->pause = pauses;
	return EX_OK;
}

static void say_lost(struct topdoor *d, int code, char notice[NOTICE])
{
	char since[16] = "";
	time_t t = (time_t)d->lost;
	struct tm tm;
	if (localtime_r(&t, &tm))
		strftime(since, sizeof(since), "%H:%M:%S", &tm);
	snprintf(notice, NOTICE, code == EX_UNAVAILABLE ? "no door since %s: nobody answers to tarry status; it is looked for again and again" : "the door does not answer since %s; it is asked again and again", since);
}

static int64_t clock_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int ask(struct topdoor *d, struct model *m, int64_t at, char notice[NOTICE])
{
	int fds[CONTROL_FDS];
	long long before = d->says.pid, started = (long long)d->says.started;
	int code = control_fetch(CONTROL_STATUS, d->path, PATIENCE_S, d->text, fds);
	if (code == EX_OK)
		code = take(d, m, fds, notice);
	if (code != EX_OK) {
		if (d->there || d->lost == 0)
			d->lost = (int64_t)time(NULL);
		if (code != EX_PROTOCOL)
			say_lost(d, code, notice);
		d->news = 0;
		d->there = false;
		return code;
	}
	bool another = d->been && (before != d->says.pid || started != (long long)d->says.started);
	if (another)
		snprintf(notice, NOTICE, "the door was started again: pid %lld", d->says.pid);
	else if (d->been && !d->there)
		snprintf(notice, NOTICE, "the door is back");
	else if (d->news == 0)
		notice[0] = '\0';
	if (another || (d->been && !d->there))
		d->news = at + NEWS_MS;
	d->there = d->been = true;
	return EX_OK;
}

/* During a reload or an upgrade processes of before finish something: what is attached may be theirs. */
static bool has_changed(struct topdoor *d)
{
	int64_t old = metrics_sum(METRIC_earlier) + metrics_sum(METRIC_leaving);
	bool changed = old != d->old;
	d->old = old;
	return changed;
}

/* As far as that can be seen without asking it: of another user's, or from another namespace of processes, it cannot, and nothing follows. */
static bool has_ended(const struct topdoor *d)
{
	return d->says.pid > 0 && d->says.pid <= INT32_MAX && kill((pid_t)d->says.pid, 0) < 0 && errno == ESRCH;
}

int topdoor_look(struct topdoor *d, struct model *m, int64_t at, char notice[NOTICE])
{
	if (d->news > 0 && at >= d->news) {
		d->news = 0;
		notice[0] = '\0';
	}
	if (d->there && at - d->asked < AGAIN_MS && !has_ended(d) && !has_changed(d))
		return EX_OK;
	if (!d->there && d->asked > 0 && at - d->asked < LOST_MS)
		return d->code;
	d->code = ask(d, m, at, notice);
	d->asked = clock_ms();
	return d->code;
}
