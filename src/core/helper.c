/* The tour, core: what all programs begin and end with that do one thing for a door. */
#include "core/helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "core/arguments.h"
#include "core/log.h"
#include "core/sandbox.h"

#define ROLE 24

_Static_assert((int)HELPER_OPTION_END <= (int)SANDBOX_OPTION_MODE, "each option has a number of its own");

bool helper_take(struct helper_arguments *a, int option, const char *text)
{
	switch (option) {
	case HELPER_OPTION_PARENT:
		return arguments_int(text, &a->parent);
	case HELPER_OPTION_LOG:
		return arguments_word("log", text, &a->target);
	case HELPER_OPTION_LEVEL:
		return arguments_word("log_level", text, &a->level);
	default:
		return sandbox_take(&a->sandbox, option, text);
	}
}

int helper_begin(const struct helper_arguments *a, const char *program, const char *role, unsigned index)
{
	char name[ROLE];
	int e = log_open((enum log_target)a->target, (enum log_level)a->level);
	if (e < 0)
		fprintf(stderr, "%s: log: %s\n", program, strerror(-e));
	snprintf(name, sizeof(name), "%s/%u", role, index);
	log_role(name);
	signal(SIGPIPE, SIG_IGN);
	return e;
}

static void parent_ready(struct loop *loop, struct source *source, uint32_t events)
{
	char bytes[64];
	(void)events;
	ssize_t n = recv(source->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		loop_stop(loop);
}

/* Only there to have a turn, at the end of which the log is written. */
static void wake(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static const struct source_ops parent_ops = { parent_ready, wake };

int helper_watch(struct loop *loop, struct source *parent, int fd)
{
	source_init(parent, &parent_ops);
	return fd < 0 ? 0 : loop_watch(loop, parent, fd, EPOLLIN | EPOLLRDHUP);
}

void helper_turn_end(struct loop *loop, struct source *parent)
{
	if (sandbox_moved(loop_now(loop)))
		loop_stop(loop);
	log_flush();
	if (log_pending())
		loop_set_due(loop, parent, loop_now(loop) + LOG_RETRY_MS * LOOP_MS);
}
