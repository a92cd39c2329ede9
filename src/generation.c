/* The tour, main: generations. Each configuration that has been in force, and each version, has processes of its own; those of earlier ones accept nobody any more, hand their held clients to the new fronts, finish
 * the others and end. What else belongs to a generation (its mail servers, its tarry-lookup, …) ends when its last front has. None is started again: that costs its own clients, as it does at any time.
 *
 * How long they may go on is bounded: drain_timeout for each, and GENERATIONS of them at the same time; then the oldest is told to end, which still lets it finish a message that is on its way (stop_timeout). */
#include "serve_inside.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "gate/front.h"

#define GENERATIONS 8               /* earlier ones that have clients, at the same time */
#define SOON (20 * LOOP_MS)         /* when what could not be told is told again */
#define KEEPER_WAIT (5 * LOOP_SECOND) /* how long one that makes room for another may take to write its file */

/* ---- taken over ---- */

static enum metric running_gauge(const struct proc *proc)
{
	return proc_is(proc, "tls") ? METRIC_tls_running : METRIC_COUNT;
}

bool generation_adopt(struct parent *p)
{
	const struct takeover *t = p->takeover;
	p->old_roles = t ? calloc(t->children_len + 1, sizeof(*p->old_roles)) : NULL;
	for (unsigned i = 0; t && p->old_roles && i < t->children_len; i++) {
		const struct takeover_child *c = &t->children[i];
		p->old_roles[i] = (struct proc_role){ .name = c->role };
		struct proc *proc = proc_adopt(&p->procs, &(struct proc){ .role = &p->old_roles[i], .index = c->index, .row = c->row, .pid = c->pid, .channel = c->fd, .generation = c->generation,
			.retired_at = c->retired_at, .ready = c->ready });
		if (!proc)
			return false;
		if (running_gauge(proc) != METRIC_COUNT)
			metrics_add(running_gauge(proc), 1); /* in the row of the parent, which begins anew */
	}
	return !t || p->old_roles;
}

static struct proc *find(struct parent *p, const char *role, bool retired)
{
	for (unsigned i = 0; i < p->procs.len; i++)
		if (proc_is(&p->procs.all[i], role) && p->procs.all[i].retired == retired && (!retired || p->procs.all[i].pid > 0))
			return &p->procs.all[i];
	return NULL;
}

/* Two would not share the file, nor the sets of the kernel. */
static void keep_or_wait(struct parent *p, const struct proc_role *role, bool kept)
{
	struct proc *old = find(p, role->name, true), *added = find(p, role->name, false);
	if (kept && old) {
		proc_promote(old, role);
	} else if (kept) { /* it has died just now */
		proc_add(&p->procs, role, 1);
	} else if (added && old) {
		added->later = true;
	}
}

void generation_keepers(struct parent *p)
{
	keep_or_wait(p, &p->known_role, p->keepers.kept);
	keep_or_wait(p, &p->bans_role, p->bans.kept);
	keep_or_wait(p, &p->ban_role, p->bans.kept && p->bans.kernel);
}

/* It has been told to end; once it has, the new one begins. One that does not is killed. */
static void change_keeper(struct parent *p, const char *role)
{
	struct proc *old = find(p, role, true), *added = find(p, role, false);
	if (!added || !added->later)
		return;
	if (old && !old->told) {
		proc_end_one(old);
		old->started = loop_now(&p->loop);
	}
	if (old && loop_now(&p->loop) - old->started > KEEPER_WAIT)
		kill(old->pid, SIGKILL);
	if (!old)
		proc_start_one(added);
}

/* ---- who leaves ---- */

static struct proc *heir_of(struct parent *p, const struct proc *old)
{
	for (unsigned i = 0; i < p->procs.len; i++) {
		struct proc *proc = &p->procs.all[i];
		if (proc_is(proc, "front") && !proc->retired && proc->pid > 0 && proc->index == old->index % p->fronts)
			return proc;
	}
	return NULL;
}

/* A front leaves, and its held clients go to the one in its place. False: one of the two takes no word at present. */
static bool replace(struct parent *p, struct proc *old)
{
	struct proc *heir = heir_of(p, old);
	int pair[2];
	if (!heir || p->takeover->handoff != HANDOFF_VERSION || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return proc_tell_one(old, FRONT_WORD_LEAVE, -1);
	bool told = proc_tell_one(heir, FRONT_WORD_HEIR, pair[1]) && proc_tell_one(old, FRONT_WORD_LEAVE, pair[0]);
	close(pair[0]);
	close(pair[1]);
	return told;
}

/* True: all fronts of earlier generations have been told to leave. */
static bool replace_all(struct parent *p)
{
	bool all = true;
	for (unsigned i = 0; i < p->procs.len; i++) {
		struct proc *old = &p->procs.all[i];
		if (old->pid == 0 || !old->retired || old->retired_at > 0 || !proc_is(old, "front"))
			continue;
		if (replace(p, old))
			old->retired_at = loop_now(&p->loop);
		else
			all = false;
	}
	return all;
}

static bool is_ready(const struct parent *p)
{
	for (unsigned i = 0; i < p->procs.len; i++) {
		const struct proc *proc = &p->procs.all[i];
		if (proc_is(proc, "front") && !proc->retired && !proc->ready)
			return false;
	}
	return true;
}

/* The new fronts accept. From now on clients are sent to them as many as they are, and the old ones leave. */
static void begin(struct parent *p)
{
	int e = p->takeover ? listeners_steer(&p->listeners, p->fronts) : 0;
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "steer_failed", "clients cannot be shared out among the fronts as they are now: %s", strerror(-e));
	p->ready = true;
	proc_start_rest(&p->procs);
	listeners_drop_unused(&p->listeners);
}

/* ---- how long they may ---- */

static bool has_front(const struct parent *p, uint64_t generation)
{
	for (unsigned i = 0; i < p->procs.len; i++)
		if (p->procs.all[i].pid > 0 && p->procs.all[i].generation == generation && proc_is(&p->procs.all[i], "front"))
			return true;
	return false;
}

/* The oldest one that has a front that was not told to end; 0: none. *len: how many there are. */
static uint64_t oldest(const struct parent *p, unsigned *len)
{
	uint64_t found[PROC_MAX], least = 0;
	*len = 0;
	for (unsigned i = 0; i < p->procs.len; i++) {
		const struct proc *proc = &p->procs.all[i];
		bool counted = proc->pid == 0 || proc->told || !proc->retired || !proc_is(proc, "front");
		for (unsigned n = 0; n < *len && !counted; n++)
			counted = found[n] == proc->generation;
		if (counted)
			continue;
		found[(*len)++] = proc->generation;
		least = least == 0 || proc->generation < least ? proc->generation : least;
	}
	return least;
}

static void end_fronts(struct parent *p, uint64_t generation, const char *why)
{
	log_event(LOG_LEVEL_WARNING, "clients_cut", "clients of generation %llu have not finished: %s", (unsigned long long)generation, why);
	for (unsigned i = 0; i < p->procs.len; i++) {
		struct proc *proc = &p->procs.all[i];
		if (proc->pid > 0 && proc->generation == generation && proc_is(proc, "front") && !proc->told) {
			proc_end_one(proc);
			proc->started = loop_now(&p->loop); /* to end */
		}
	}
}

/* Who was told to end and does not is killed. */
static void end_late(struct parent *p)
{
	int64_t now = loop_now(&p->loop);
	unsigned len;
	for (unsigned i = 0; i < p->procs.len; i++) {
		struct proc *proc = &p->procs.all[i];
		if (proc->pid == 0 || !proc->retired)
			continue;
		if (!proc->told && proc->retired_at > 0 && now - proc->retired_at >= p->conf.drain_timeout && proc_is(proc, "front"))
			end_fronts(p, proc->generation, "drain_timeout");
		else if (proc->told && now - proc->started > p->conf.stop_timeout + PROC_END_WAIT)
			kill(proc->pid, SIGKILL);
	}
	for (uint64_t first = oldest(p, &len); len > GENERATIONS; first = oldest(p, &len))
		end_fronts(p, first, "there are too many generations");
}

/* Those that only serve the fronts of a generation that has none any more. */
static void end_helpers(struct parent *p)
{
	for (unsigned i = 0; i < p->procs.len; i++) {
		struct proc *proc = &p->procs.all[i];
		if (proc->pid == 0 || proc->told || proc->generation == p->procs.generation || proc_is(proc, "front") || has_front(p, proc->generation))
			continue;
		proc_end_one(proc);
		proc->started = loop_now(&p->loop);
	}
}

unsigned generation_old(const struct parent *p)
{
	unsigned old = 0;
	for (unsigned i = 0; i < p->procs.len; i++)
		old += p->procs.all[i].pid > 0 && p->procs.all[i].generation != p->procs.generation;
	return old;
}

/* ---- the end of all ---- */

static void look_at_drain(struct parent *p)
{
	bool any = false, again = false;
	for (unsigned i = 0; i < p->procs.len; i++) {
		struct proc *proc = &p->procs.all[i];
		if (proc->pid == 0 || !proc_is(proc, "front"))
			continue;
		any = true;
		if (proc->retired_at == 0 && proc_tell_one(proc, FRONT_WORD_DRAIN, -1))
			proc->retired_at = loop_now(&p->loop);
		again = again || proc->retired_at == 0;
	}
	if (!any || loop_now(&p->loop) >= p->drain_until)
		loop_stop(&p->loop);
	if (again)
		loop_set_due(&p->loop, &p->tick, loop_now(&p->loop) + SOON);
}

void generation_drain(struct parent *p)
{
	if (p->draining)
		return;
	p->draining = true;
	p->drain_until = loop_now(&p->loop) + p->conf.drain_timeout;
	log_event(LOG_LEVEL_NOTICE, "draining", "nobody is accepted any more");
	notify_send(&p->notify, "STATUS=draining\n"); /* STOPPING=1 would have systemd wait no longer than for any other end */
	listeners_close(&p->listeners);
	for (unsigned i = 0; i < p->procs.len; i++)
		if (proc_is(&p->procs.all[i], "front")) {
			p->procs.all[i].retired = true;
			loop_set_due(&p->loop, &p->procs.all[i].restart, LOOP_NEVER);
		}
	look_at_drain(p);
}

/* ---- together ---- */

/* It has nothing to finish, and its place at the listening socket is the next one's. */
static void end_desks(struct parent *p)
{
	struct proc *old = find(p, "desk", true);
	if (old && !old->told) {
		proc_end_one(old);
		old->started = loop_now(&p->loop);
	}
}

/* For who cannot ask the parent. */
static void count_others(struct parent *p)
{
	metrics_add(METRIC_earlier, (int64_t)generation_old(p) - metrics_row_value(METRIC_earlier, metrics_my_row()));
	keepers_count(&p->keepers);
	bans_count(&p->bans);
}

void generation_look(struct parent *p)
{
	count_others(p);
	end_desks(p);
	change_keeper(p, "known");
	change_keeper(p, "bans");
	change_keeper(p, "ban");
	if (p->draining) {
		look_at_drain(p);
		return;
	}
	bool first = !p->ready && is_ready(p);
	if (first)
		begin(p);
	if (p->ready && !replace_all(p))
		loop_set_due(&p->loop, &p->tick, loop_now(&p->loop) + SOON);
	if (first)
		change_done(p);
	end_late(p);
	if (p->ready)
		end_helpers(p);
}
