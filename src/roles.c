/* The tour, after serve.c: what a process that the parent has started does first: it closes what is not its own, and then is a front, a mail server, a program of its own. At the end the table of
 * roles, and what the log says when one has come or gone. */
#include "serve_inside.h"

#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/caps.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/pulse.h"
#include "gate/front.h"
#include "mail/mail.h"

/* ---- what each does ---- */

/* What a child has inherited and must not keep: the parent's signals, and the listeners that are not its own (index: which are; none for UINT_MAX). */
static void close_foreign(struct parent *p, unsigned index)
{
	errands_close(p);
	listeners_close_others(&p->listeners, index, p->fronts);
	desks_close(&p->desks);
	for (unsigned f = 0; f < p->fronts && p->queued; f++) {
		if (f != index)
			close(p->queues[f]);
		if (f == index || index == UINT_MAX)
			close(p->to_queues[f]);
	}
}

static int run_lookup(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	close_foreign(p, UINT_MAX);
	spawn_close(&p->spawn, UINT_MAX);
	tlskeys_close(&p->tlskeys, false);
	keepers_close(&p->keepers, UINT_MAX);
	bans_close(&p->bans, false);
	return tables_run_lookup(&p->tables, index, parent);
}

static int run_tls(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	close_foreign(p, UINT_MAX);
	spawn_close(&p->spawn, UINT_MAX);
	keepers_close(&p->keepers, UINT_MAX);
	bans_close(&p->bans, false);
	return tlskeys_run(&p->tlskeys, index, parent);
}

static int run_front(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	static struct front front;
	int mine[FRONT_LISTENERS];
	struct front_listener what[FRONT_LISTENERS];
	close_foreign(p, index);
	unsigned listeners = listeners_of_front(&p->listeners, index, p->fronts, mine, what);
	if (p->mail_listener >= 0)
		close(p->mail_listener);
	int fds[ACCESS_MAPS], questions = p->tables.elsewhere > 0 ? p->tables.questions[0] : -1;
	for (unsigned i = 0; i < p->conf.access_db.len; i++)
		fds[i] = p->tables.maps[i].fd;
	tables_close_channels(&p->tables, index);
	spawn_close(&p->spawn, index);
	tlskeys_close(&p->tlskeys, true);
	keepers_close(&p->keepers, index);
	bans_close(&p->bans, true);
	struct front_setup setup = { .conf = &p->conf, .mail_path = p->mail_path, .index = index, .fronts = p->fronts, .listeners = mine,
		.listeners_len = listeners, .listens = what, .rows = p->rows, .parent = parent, .queue = p->queues[index], .queues = p->queued ? p->to_queues : NULL, .access = fds,
		.access_len = (unsigned)p->conf.access_db.len, .questions = questions, .answers = questions >= 0 ? p->tables.answers[index][0] : -1, .connections = p->connections,
		.passing = p->spawn.programs ? p->spawn.channels[index][0] : -1, .tls = p->tlskeys.orders[0], .tls_ends_here = p->conf.tls_certificate[0] != '\0',
		.known = keepers_setup(&p->keepers, index), .bans = bans_setup(&p->bans) };
	int e = front_init(&front, &setup);
	if (e == 0)
		e = front_confine(&front);
	if (e == 0)
		e = front_run(&front);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "front_failed", "%s", strerror(-e));
	front_fini(&front);
	conf_fini(&p->conf);
	return e < 0 ? EX_OSERR : EX_OK;
}

static int run_mail(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	close_foreign(p, UINT_MAX);
	for (unsigned i = 0; i < p->conf.access_db.len; i++)
		if (p->tables.maps[i].fd >= 0)
			close(p->tables.maps[i].fd);
	tables_close_channels(&p->tables, UINT_MAX);
	spawn_close(&p->spawn, UINT_MAX);
	tlskeys_close(&p->tlskeys, false);
	keepers_close(&p->keepers, UINT_MAX);
	bans_close(&p->bans, false);
	int e = mail_run(&p->conf, index, p->mail_listener, parent);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "mail_failed", "%s", strerror(-e));
	conf_fini(&p->conf);
	return e < 0 ? EX_OSERR : EX_OK;
}

static int run_spawn(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	(void)index;
	close_foreign(p, UINT_MAX);
	if (p->mail_listener >= 0)
		close(p->mail_listener);
	for (unsigned i = 0; i < p->conf.access_db.len; i++)
		if (p->tables.maps[i].fd >= 0)
			close(p->tables.maps[i].fd);
	tables_close_channels(&p->tables, UINT_MAX);
	tlskeys_close(&p->tlskeys, false);
	keepers_close(&p->keepers, UINT_MAX);
	bans_close(&p->bans, false);
	int e = spawn_run(&p->spawn, parent);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "spawn_failed", "%s", strerror(-e));
	spawn_fini(&p->spawn);
	conf_fini(&p->conf);
	return e < 0 ? EX_OSERR : EX_OK;
}

static int run_known(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	(void)index;
	close_foreign(p, UINT_MAX);
	spawn_close(&p->spawn, UINT_MAX);
	tables_close_channels(&p->tables, UINT_MAX);
	tlskeys_close(&p->tlskeys, false);
	bans_close(&p->bans, false);
	return keepers_run(&p->keepers, parent);
}

/* What is not its own closes itself when it becomes another program. */
static int run_desk(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	(void)index;
	return desks_run(&p->desks, &(struct lines_door){ .pid = getppid(), .fronts = p->fronts, .started = p->started, .generation = p->procs.generation }, parent);
}

/* The keeper of bans, and the helper that puts them into the kernel: programs, to which only what is given to them is left. */
static int run_bans(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	(void)index;
	return bans_run(&p->bans, parent);
}

static int run_ban(unsigned index, int parent, void *context)
{
	struct parent *p = context;
	(void)index;
	return bans_run_kernel(&p->bans, parent);
}

/* ---- all of them ---- */

static void child_event(struct proc_set *set, struct proc *proc, enum proc_event event, void *context)
{
	struct log_line l;
	(void)set;
	struct parent *p = context;
	bool died = event == PROC_DIED || event == PROC_ENDED;
	if (strcmp(proc->role->name, "tls") == 0 && event != PROC_FORK_FAILED)
		metrics_add(METRIC_tls_running, died ? -1 : 1); /* by which fronts know that somebody is there */
	if (died && proc_is(proc, "front"))
		backends_clear(p->connections, proc->row);
	if (died && proc->retired)
		loop_set_due(&p->loop, &p->tick, loop_now(&p->loop)); /* in a turn of its own: who is no longer needed may be ended */
	if (!log_begin(&l, event == PROC_DIED || event == PROC_FORK_FAILED ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG))
		return;
	log_text(&l, "event", event == PROC_DIED ? "role_died" : event == PROC_ENDED ? "role_ended" : event == PROC_FORK_FAILED ? "fork_failed" : "role_started");
	log_text(&l, "role", proc->role->name);
	log_int(&l, "index", proc->index);
	if (event == PROC_STARTED)
		log_int(&l, "pid", proc->pid);
	if (died && WIFSIGNALED(proc->status))
		log_text(&l, "signal", strsignal(WTERMSIG(proc->status)));
	if (died && WIFEXITED(proc->status))
		log_int(&l, "status", WEXITSTATUS(proc->status));
	if (proc->generation != p->procs.generation)
		log_int(&l, "generation", (int64_t)proc->generation);
	if (event != PROC_STARTED && !proc->retired)
		log_ms(&l, "restart_in_ms", proc->delay);
	log_end(&l);
	log_flush();
}

static void child_word(struct proc_set *set, struct proc *proc, char word, void *context)
{
	struct parent *p = context;
	(void)set;
	if (word == FRONT_SAYS_READY && !p->ready && !proc->retired)
		generation_look(p);
}

static void other_ended(struct proc_set *set, pid_t pid, int status, void *context)
{
	(void)set;
	change_ended(context, pid, status);
}

/* Those of the fronts, for the fronts. */
static void note_rows(struct parent *p)
{
	unsigned most = 0;
	for (unsigned i = 0; i < p->procs.len; i++) {
		const struct proc *proc = &p->procs.all[i];
		if (!proc_is(proc, "front"))
			continue;
		if (proc->generation == p->procs.generation)
			p->rows[proc->index] = proc->row;
		most = proc->row + 1 > most ? proc->row + 1 : most;
	}
	pulse_set_fronts(most);
}

bool roles_add(struct parent *p)
{
	p->front_role = (struct proc_role){ .name = "front", .run = run_front, .context = p };
	p->mail_role = (struct proc_role){ .name = "mail", .run = run_mail, .context = p };
	p->procs.event = child_event;
	p->procs.word = child_word;
	p->procs.other = other_ended;
	p->procs.event_context = p;
	p->lookup_role = (struct proc_role){ .name = "lookup", .run = run_lookup, .context = p };
	p->tls_role = (struct proc_role){ .name = "tls", .run = run_tls, .context = p };
	p->spawn_role = (struct proc_role){ .name = "spawn", .run = run_spawn, .context = p, .keeps_root = p->spawn.needs_root };
	p->known_role = (struct proc_role){ .name = "known", .run = run_known, .context = p };
	p->desk_role = (struct proc_role){ .name = "desk", .run = run_desk, .context = p };
	p->bans_role = (struct proc_role){ .name = "bans", .run = run_bans, .context = p };
	p->ban_role = (struct proc_role){ .name = "ban", .run = run_ban, .context = p };
	bool ok = proc_add(&p->procs, &p->front_role, p->fronts) && proc_add(&p->procs, &p->mail_role, p->mails)
	          && proc_add(&p->procs, &p->lookup_role, p->tables.elsewhere > 0 ? (unsigned)p->conf.lookup_processes : 0)
	          && proc_add(&p->procs, &p->spawn_role, p->spawn.programs ? 1 : 0) && proc_add(&p->procs, &p->tls_role, p->tlses)
	          && (p->keepers.kept || proc_add(&p->procs, &p->known_role, p->keepers.wanted ? 1 : 0)) && proc_add(&p->procs, &p->desk_role, p->desks.wanted ? 1 : 0)
	          && (p->bans.kept || proc_add(&p->procs, &p->bans_role, p->bans.wanted ? 1 : 0)) && (p->bans.kept || proc_add(&p->procs, &p->ban_role, p->bans.kernel ? 1 : 0));
	generation_keepers(p);
	proc_wait(&p->procs, "mail", 1);
	proc_wait(&p->procs, "known", 0);
	proc_wait(&p->procs, "desk", 0);
	proc_keep(&p->procs, "ban", UINT64_C(1) << CAP_NET_ADMIN);
	note_rows(p);
	p->procs.sandbox = (enum sandbox_mode)p->conf.sandbox;
	proc_keep(&p->procs, "front", conf_transparent(&p->conf) ? caps_transparent() : 0);
	return ok;
}
