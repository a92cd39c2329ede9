/* The tour, mail: the role's entry. All mail processes wait on one socket; the kernel wakes one of them for each connection (EPOLLEXCLUSIVE), and one
 * that is busy with its disk does not come to take any. */
#include "mail/mail.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/helper.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/sandbox_conf.h"
#include "core/sock.h"
#include "mail/smtpd.h"

#define MAIL_DEADLINES (SMTPD_SESSIONS + 2) /* one each, the listener's rest, and the log's */
#define MAIL_SAY_AGAIN (10 * LOOP_SECOND)   /* what others can bring about without end is written about no more often */
#define MAIL_STOP_WAIT (300 * LOOP_MS)      /* how long the 421s of a server that ends may take to go out: less than a front waits for them */

struct mail {
	struct loop loop; /* first: callbacks find the rest by it */
	const struct conf *conf;
	unsigned index;
	struct smtpd smtpd;
	struct source listener;
	struct source parent;
	int fd; /* the listening socket, also while it is not watched */
	int64_t stranger_said; /* when the log last told of connections by another user, */
	uint64_t strangers;    /* and how many there were since: anybody on this machine can make any number */
};

static struct mail *of(struct loop *loop)
{
	return (struct mail *)loop;
}

static int listen_again(struct mail *m)
{
	return loop_watch(&m->loop, &m->listener, m->fd, EPOLLIN | EPOLLEXCLUSIVE);
}

/* Others of our like may have room; and a client that waits in the backlog is not lost. */
static void pause_listening(struct mail *m)
{
	loop_unwatch(&m->loop, &m->listener);
	loop_set_due(&m->loop, &m->listener, loop_now(&m->loop) + m->conf->accept_backoff);
}

static bool is_ours(int fd)
{
	uid_t uid;
	return sock_peer_uid(fd, &uid) && (uid == geteuid() || uid == 0);
}

static void report_stranger(struct mail *m)
{
	int64_t now = loop_now(&m->loop);
	m->strangers++;
	if (m->stranger_said > 0 && now < m->stranger_said + MAIL_SAY_AGAIN)
		return;
	log_event(LOG_LEVEL_WARNING, "stranger", "connections by another user of this machine were closed: %llu", (unsigned long long)m->strangers);
	m->stranger_said = now;
	m->strangers = 0;
}

/* One at a time: those that follow may find another process idle. */
static void accept_one(struct loop *loop, struct source *source, uint32_t events)
{
	struct mail *m = of(loop);
	struct addr from;
	(void)source;
	(void)events;
	int fd = sock_accept(m->fd, &from);
	if (fd == -EAGAIN || fd == -ECONNABORTED || fd == -EINTR)
		return;
	if (fd < 0) {
		log_event(LOG_LEVEL_WARNING, "accept_backoff", "%s", strerror(-fd));
		pause_listening(m);
		return;
	}
	if (!is_ours(fd)) {
		close(fd);
		report_stranger(m);
		return;
	}
	if (!smtpd_add(&m->smtpd, fd))
		log_event(LOG_LEVEL_WARNING, "no_memory", "for a session");
	if (smtpd_is_full(&m->smtpd))
		pause_listening(m);
}

static void rested(struct loop *loop, struct source *source)
{
	struct mail *m = of(loop);
	(void)source;
	if (smtpd_is_full(&m->smtpd) || listen_again(m) < 0)
		pause_listening(m);
}

static const struct source_ops listener_ops = { .ready = accept_one, .due = rested };

static void end_turn(struct loop *loop, void *context)
{
	struct mail *m = context;
	smtpd_sweep(&m->smtpd);
	helper_turn_end(loop, &m->parent);
}

/* The clients hear that they should come again; whoever is in the middle of a message may finish it. */
static void say_goodbye(struct mail *m)
{
	int64_t now = loop_now(&m->loop), patience = now + m->conf->stop_timeout, end = patience + MAIL_STOP_WAIT;
	loop_unwatch(&m->loop, &m->parent);
	loop_unwatch(&m->loop, &m->listener);
	loop_set_due(&m->loop, &m->listener, LOOP_NEVER);
	while (m->smtpd.sessions > 0 && now < end) {
		smtpd_stop(&m->smtpd, now >= patience);
		if (!smtpd_is_busy(&m->smtpd) && end > now + MAIL_STOP_WAIT)
			end = patience = now + MAIL_STOP_WAIT; /* what goes out now are last words */
		if (loop_turn(&m->loop, (now < patience ? patience : end) - now) < 0)
			break;
		now = loop_now(&m->loop);
	}
}

static void shut_in(const struct mail *m)
{
	static struct sandbox_needs needs; /* large, and looked at later */
	sandbox_needs_init(&needs);
	sandbox_conf_mail(&needs, m->conf);
	sandbox_confine("mail", (enum sandbox_mode)m->conf->sandbox, &needs, m->index == 0);
}

int mail_run(const struct conf *conf, unsigned index, int listener, int parent)
{
	struct mail m = { .conf = conf, .index = index, .fd = listener };
	int e = loop_init(&m.loop, MAIL_DEADLINES);
	if (e < 0)
		return e;
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write(), not our end */
	sock_raise_nofile(); /* a session in the middle of a message has two descriptors */
	smtpd_init(&m.smtpd, &m.loop, conf);
	m.loop.turn_end = end_turn;
	m.loop.turn_end_context = &m;
	source_init(&m.listener, &listener_ops);
	e = helper_watch(&m.loop, &m.parent, parent);
	if (e == 0)
		e = listen_again(&m);
	if (e == 0)
		shut_in(&m);
	if (e == 0)
		e = loop_run(&m.loop);
	if (e == 0)
		say_goodbye(&m);
	loop_unwatch(&m.loop, &m.parent);
	loop_unwatch(&m.loop, &m.listener);
	smtpd_fini(&m.smtpd);
	loop_fini(&m.loop);
	log_flush();
	return e;
}
