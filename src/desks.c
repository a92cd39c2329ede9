/* The tour, main: tarry-desk, as the parent has it. */
#include "desks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/deskwire.h"
#include "core/health.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/recent.h"
#include "core/sandbox_conf.h"
#include "core/sock.h"
#include "show/lines.h"

#define BACKLOG 64
#define AGAIN (5 * LOOP_SECOND)  /* until an address that was taken is tried again */

static void try_again(struct loop *loop, struct source *source)
{
	struct desks *d = (struct desks *)source;
	d->listener = sock_listen(&d->at, BACKLOG, false);
	if (d->listener >= 0)
		proc_tell(d->procs, "desk", DESKWIRE_WORD_LISTEN, d->listener);
	else
		loop_set_due(loop, source, loop_now(loop) + AGAIN);
}

static const struct source_ops again_ops = { NULL, try_again };

/* What is not taken is closed. */
static void take_over(struct desks *d, struct takeover *t)
{
	struct addr at;
	if (t->desk >= 0 && d->wanted && sock_local(t->desk, &at) && addr_same_ip(&at, &d->at) && at.port == d->at.port) {
		d->listener = t->desk;
	} else if (t->desk >= 0) {
		close(t->desk);
		t->desk = -1;
	}
	if (t->desk_memory >= 0 && !d->wanted)
		close(t->desk_memory);
	if (t->desk_memory >= 0 && (!d->wanted || shared_adopt(&d->memory, t->desk_memory, DESKWIRE_MEMORY) < 0))
		t->desk_memory = -1;
}

static void make_memory(struct desks *d)
{
	int e = shared_create(&d->memory, "tarry-desk", DESKWIRE_MEMORY);
	if (e < 0)
		log_event(LOG_LEVEL_WARNING, "no_desk", "memory for what the desk remembers: %s; it will remember nothing when it is started again", strerror(-e));
}

static void begin_to_listen(struct desks *d)
{
	d->listener = sock_listen(&d->at, BACKLOG, false);
	if (d->listener >= 0)
		return;
	log_event(LOG_LEVEL_NOTICE, "no_desk", "%s: desk = \"%s\": %s; it is tried again", conf_where(d->conf, "desk"), d->conf->desk, strerror(-d->listener));
	loop_set_due(d->loop, &d->again, loop_now(d->loop) + AGAIN);
}

int desks_start(struct desks *d, struct loop *loop, struct proc_set *procs, const struct conf *conf, struct takeover *t, bool rehearses)
{
	char program[PATH_MAX];
	*d = (struct desks){ .loop = loop, .procs = procs, .conf = conf, .listener = -1, .memory = { .fd = -1, .readonly = -1 } };
	source_init(&d->again, &again_ops);
	int code = complain_desk(conf, &d->at, d->token);
	if (code != EX_OK)
		return code;
	d->wanted = conf->desk[0] && proc_program("tarry-desk", program) && access(program, X_OK) == 0;
	if (conf->desk[0] && !d->wanted)
		log_event(LOG_LEVEL_NOTICE, "no_desk", "%s: %s; there is no page and no /metrics (desk = \"\" says that none is wanted)", program, strerror(errno));
	if (rehearses)
		return EX_OK;
	if (t)
		take_over(d, t);
	if (d->wanted && !d->memory.at)
		make_memory(d);
	if (d->wanted && d->listener < 0)
		begin_to_listen(d);
	return EX_OK;
}

void desks_close(struct desks *d)
{
	explicit_bzero(d->token, sizeof(d->token));
	if (!d->wanted)
		return;
	if (d->listener >= 0)
		close(d->listener);
	d->listener = -1;
	shared_detach(&d->memory);
}

/* Not by the command line, which everybody can read. A descriptor, or -errno. */
static int make_setup(const struct desks *d, const struct lines_door *door)
{
	char at[ADDR_TEXT];
	struct buf text;
	buf_init(&text, DESKWIRE_SETUP);
	lines_put_door(&text, d->conf, door);
	buf_putf(&text, "desk\t%s\n", addr_format_port(&d->at, at));
	for (size_t i = 0; i < d->conf->desk_hosts.len; i++)
		buf_putf(&text, "host\t%s\n", d->conf->desk_hosts.at[i]);
	if (d->token[0])
		buf_putf(&text, "token\t%s\n", d->token);
	int fd = text.full ? -ENOBUFS : memfd_create("tarry-desk-setup", MFD_CLOEXEC);
	if (fd == -1 || (fd >= 0 && write(fd, text.at, text.len) != (ssize_t)text.len))
		fd = -errno;
	buf_fini(&text);
	return fd;
}

int desks_run(struct desks *d, const struct lines_door *door, int parent)
{
	char program[PATH_MAX] = "tarry-desk", numbers[7][16];
	const char *args[6 + 2 * 7 + SANDBOX_ARGS] = { program, "--log", conf_words("log")[d->conf->log], "--log-level", conf_words("log_level")[d->conf->log_level] };
	const struct {
		const char *option;
		int fd; /* below 0: there is none */
	} given[] = { { "--metrics", metrics_fd_readonly() }, { "--recent", recent_fd_readonly() }, { "--health", health_fd_readonly() }, { "--setup", make_setup(d, door) },
		{ "--memory", d->memory.fd }, { "--listen", d->listener }, { "--parent", parent } };
	size_t n = 5;
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		if (given[i].fd < 0)
			continue;
		snprintf(numbers[i], sizeof(numbers[i]), "%d", given[i].fd);
		if (fcntl(given[i].fd, F_SETFD, 0) < 0) { /* it would take whatever has that number for its own */
			log_event(LOG_LEVEL_ERROR, "desk_failed", "%s: %s", given[i].option, strerror(errno));
			return EX_OSERR;
		}
		args[n++] = given[i].option;
		args[n++] = numbers[i];
	}
	n += sandbox_conf_args(d->conf, args + n);
	args[n] = NULL;
	if (proc_program("tarry-desk", program))
		execv(program, (char *const *)(uintptr_t)args);
	log_event(LOG_LEVEL_ERROR, "desk_failed", "%s: %s", program, strerror(errno));
	return EX_OSERR;
}
