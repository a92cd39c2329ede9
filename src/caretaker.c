/* The tour, main: what a program does that was to take over and does not start, although its rehearsal did: the configuration was changed in between, or memory is used up. The processes of before serve on, so
 * nothing is lost yet; but nobody reads a configuration for them, and who dies is not started again. So it is tried again until it works: each time this program becomes itself once more, with the same
 * description of what there is. Signals are blocked all the while (they were by the program before), and are taken here. */
#include "serve_inside.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"

#define AGAIN_S 2 /* seconds until the next try */

static void tell_asker(struct takeover *t)
{
	struct buf text;
	takeover_prune(t);
	if (t->asker < 0)
		return;
	buf_init(&text, 1024);
	buf_putf(&text, "%cit does not start, although it did when it was tried: see the log; the processes of before go on, and it is tried again every %d s\n", CONTROL_KEPT, AGAIN_S);
	control_answer(t->asker, &text);
	buf_fini(&text);
	t->asker = -1;
}

static void reap(struct takeover *t)
{
	pid_t pid;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (unsigned i = 0; i < t->children_len; i++)
			if (t->children[i].pid == pid) {
				close(t->children[i].fd);
				t->children[i].pid = 0;
			}
	takeover_prune(t);
}

/* The end of their channels tells them; a message that is on its way they may finish. */
static void end_children(struct takeover *t)
{
	for (unsigned i = 0; i < t->children_len; i++)
		shutdown(t->children[i].fd, SHUT_RDWR);
	while (t->children_len > 0 && waitpid(-1, NULL, 0) != -1)
		;
}

/* The signal that has come, 0: none within the time. */
static int wait_for_signal(void)
{
	static const struct timespec patience = { AGAIN_S, 0 };
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int n = sigtimedwait(&set, NULL, &patience);
	return n < 0 ? 0 : n;
}

int caretaker_run(struct parent *p, int status)
{
	struct takeover *t = p->takeover;
	tell_asker(t);
	log_event(LOG_LEVEL_ERROR, "takeover_failed", "this program does not start (code %d, see above); the processes of generation %llu go on, and it is tried again every %d s", status,
	          (unsigned long long)t->generation, AGAIN_S);
	log_flush();
	for (;;) {
		int number = wait_for_signal();
		reap(t);
		if (number != 0 && number != SIGHUP)
			break;
		notify_export(&p->notify);
		int e = takeover_exec(t, p->program, "serve", p->argc, p->argv);
		log_event(LOG_LEVEL_ERROR, "takeover_failed", "%s: %s", p->program, strerror(-e));
		log_flush();
	}
	end_children(t);
	return EX_OK;
}
