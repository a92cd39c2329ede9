/* The tour, spawn: the spawner. A front sends a patient client's socket; the spawner looks once more whether the client is silent, forks, and the child becomes
 * the program. Each session is a slot of a table that outlives the spawner, and two descriptors: one that says whether exec worked, one that says when it is over. */
#include "spawn/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/loop.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "spawn/slot.h"

#define SPAWN_EXEC_WAIT (10 * LOOP_SECOND) /* from fork to exec; a program on a file system that hangs is given up */
#define SPAWN_RETRY (20 * LOOP_MS)         /* a front that takes no report is told again after this */
#define SPAWN_LINES 50                     /* lines of the log a second at most, of what programs write and how they end */
#define SPAWN_LINE 1000                    /* bytes of a line that a program writes; a longer one is cut in two */

struct session {
	struct source exit, status; /* its pidfd; what exec says */
};

struct channel {
	struct source source;
	unsigned front;
};

struct said {
	struct source source;
	const struct program *program;
	size_t len;
	char line[SPAWN_LINE];
};

struct spawner {
	struct loop loop; /* first: callbacks find the spawner by it */
	struct spawn_setup *setup;
	struct session *sessions; /* beside each slot */
	uint32_t *free, free_len; /* a slot that was given back in this turn lies behind the others and is not taken before the next: events of this one may still point to its sources */
	uint32_t given_back;
	unsigned *counts;         /* sessions of each program */
	struct source parent, again;
	struct channel channels[SPAWN_FRONTS];
	struct said *said;
	int64_t second;           /* in which lines are counted */
	unsigned lines, left_out;
};

/* ---- the log ---- */

/* Programs may be many and talkative: the log has room for so many lines a second. */
static bool may_say(struct spawner *s, struct log_line *l, enum log_level level, const char *event, const struct program *program)
{
	int64_t second = loop_now(&s->loop) / LOOP_SECOND;
	if (!log_wants(level))
		return false;
	if (second != s->second) {
		s->second = second;
		s->lines = 0;
	}
	if (s->lines == SPAWN_LINES) {
		s->left_out++;
		return false;
	}
	s->lines++;
	log_begin(l, level);
	log_text(l, "event", event);
	log_text(l, "backend", program->backend->name);
	if (s->left_out > 0)
		log_int(l, "left_out", s->left_out);
	s->left_out = 0;
	return true;
}

static void log_end_of(struct spawner *s, const struct spawn_slot *slot, const siginfo_t *info)
{
	struct log_line l;
	/* Mail servers end with all kinds of codes, Sendmail with 68 after a sender that it has refused. */
	enum log_level level = info->si_code != CLD_EXITED ? LOG_LEVEL_WARNING : info->si_status != 0 ? LOG_LEVEL_NOTICE : LOG_LEVEL_DEBUG;
	if (!may_say(s, &l, level, "exec_ended", &s->setup->programs[slot->backend]))
		return;
	log_addr(&l, "client", &slot->client);
	log_text(&l, "id", slot->id);
	log_int(&l, "pid", slot->pid);
	if (info->si_code == CLD_EXITED)
		log_int(&l, "status", info->si_status);
	else
		log_text(&l, "signal", strsignal(info->si_status));
	log_end(&l);
}

static void log_said(struct spawner *s, struct said *said)
{
	struct log_line l;
	if (said->len > 0 && may_say(s, &l, LOG_LEVEL_NOTICE, "exec_said", said->program)) {
		for (size_t at = 0; at < said->len; at += 100) /* log_bytes() shows as many */
			log_bytes(&l, "data", said->line + at, said->len - at < 100 ? said->len - at : 100);
		log_end(&l);
	}
	said->len = 0;
}

/* What the programs write to their standard error, a line each. Nobody knows which of the sessions it was. */
static void said_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct said *said = (struct said *)source;
	char bytes[4096];
	(void)events;
	ssize_t n = read(source->fd, bytes, sizeof(bytes));
	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] == '\n' || said->len == SPAWN_LINE)
			log_said((struct spawner *)loop, said);
		if (bytes[i] != '\n')
			said->line[said->len++] = bytes[i];
	}
}

/* ---- reports ---- */

static bool tell(const struct spawner *s, unsigned front, const struct passing_report *report)
{
	return sock_send_fd(s->setup->channels[front][1], report, sizeof(*report), -1) == (ssize_t)sizeof(*report);
}

static void forget(struct spawner *s, struct spawn_slot *slot)
{
	s->counts[slot->backend]--;
	metrics_add(METRIC_exec_open, -1);
	memset(slot, 0, sizeof(*slot));
	s->free[s->free_len + s->given_back++] = (uint32_t)(slot - s->setup->slots);
}

/* Tells what its front is still to hear of it; a session that is over, and of which all is told, is forgotten. */
static void settle(struct spawner *s, struct spawn_slot *slot)
{
	static const uint16_t kinds[] = { PASSING_STARTED, PASSING_FAILED, PASSING_KEPT, PASSING_ENDED }; /* in the order of the bits of owes */
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!(slot->owes & 1U << i))
			continue;
		/* A spawner that dies behind its last report leaves it owed: the next one tells it again under the same number, by which the front knows it. */
		if (slot->told != 1U << i || slot->serial != s->setup->serials[slot->front]) {
			slot->told = (uint8_t)(1U << i);
			slot->serial = ++s->setup->serials[slot->front];
		}
		struct passing_report report = { slot->life, slot->token, kinds[i], slot->backend, slot->pid, slot->error, slot->serial, slot->client };
		if (!tell(s, slot->front, &report)) {
			loop_set_due(&s->loop, &s->again, loop_now(&s->loop) + SPAWN_RETRY);
			return;
		}
		slot->owes &= (uint8_t)~(1U << i);
	}
	if (slot->over)
		forget(s, slot);
}

static void again_due(struct loop *loop, struct source *source)
{
	struct spawner *s = (struct spawner *)loop;
	(void)source;
	for (size_t i = 0; i < s->setup->slots_len; i++)
		if (s->setup->slots[i].used && s->setup->slots[i].owes)
			settle(s, &s->setup->slots[i]);
	log_flush();
	if (log_pending())
		loop_set_due(loop, source, loop_now(loop) + LOG_RETRY_MS * LOOP_MS);
}

/* ---- one session ---- */

/* Closing alone is not enough: a child that has not become its program yet has the same descriptors, and epoll would go on to tell of them. */
static void finish(struct loop *loop, struct source *source)
{
	int fd = source->fd;
	loop_unwatch(loop, source);
	source->fd = fd;
	loop_close(loop, source);
}

/* exec has worked: the pipe was closed by it. Or it has not, and the child has written why. */
static void take_status(struct spawner *s, size_t i)
{
	struct spawn_slot *slot = &s->setup->slots[i];
	struct session *session = &s->sessions[i];
	int32_t error = 0;
	ssize_t n = read(session->status.fd, &error, sizeof(error));
	if (n < 0 && errno == EAGAIN)
		return;
	finish(&s->loop, &session->status);
	slot->error = n == (ssize_t)sizeof(error) ? -error : 0;
	slot->started = slot->error == 0;
	slot->owes |= slot->started ? SLOT_OWES_STARTED : SLOT_OWES_FAILED;
	metrics_add(slot->started ? METRIC_exec_started : METRIC_exec_failed, 1);
	settle(s, slot);
}

static void take_exit(struct spawner *s, size_t i)
{
	struct spawn_slot *slot = &s->setup->slots[i];
	struct session *session = &s->sessions[i];
	siginfo_t info = { .si_code = 0 };
	/* One that an earlier spawner has started is nobody's child here: how it ended is not known. */
	bool ours = waitid(P_PIDFD, (id_t)session->exit.fd, &info, WEXITED | WNOHANG) == 0;
	if (ours && info.si_pid == 0)
		return; /* it runs */
	if (session->status.fd >= 0) /* now that it is over: a look before might have come too soon */
		take_status(s, i);
	if (ours && slot->started)
		log_end_of(s, slot, &info);
	finish(&s->loop, &session->exit);
	slot->over = true;
	if (slot->started)
		slot->owes |= SLOT_OWES_ENDED;
	settle(s, slot);
}

static size_t index_of_exit(const struct spawner *s, const struct source *source)
{
	return (size_t)((const struct session *)((const char *)source - offsetof(struct session, exit)) - s->sessions);
}

static size_t index_of_status(const struct spawner *s, const struct source *source)
{
	return (size_t)((const struct session *)((const char *)source - offsetof(struct session, status)) - s->sessions);
}

static void exit_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct spawner *s = (struct spawner *)loop;
	(void)events;
	if (source->fd >= 0)
		take_exit(s, index_of_exit(s, source));
}

static void status_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct spawner *s = (struct spawner *)loop;
	(void)events;
	if (source->fd >= 0)
		take_status(s, index_of_status(s, source));
}

static void status_due(struct loop *loop, struct source *source)
{
	struct spawner *s = (struct spawner *)loop;
	struct spawn_slot *slot = &s->setup->slots[index_of_status(s, source)];
	kill(slot->pid, SIGKILL); /* not reaped yet, so it is still ours */
	finish(loop, source);
	slot->error = ETIMEDOUT;
	slot->owes |= SLOT_OWES_FAILED;
	settle(s, slot);
}

static const struct source_ops exit_ops = { exit_ready, NULL };
static const struct source_ops status_ops = { status_ready, status_due };

_Noreturn static void child(const struct spawner *s, struct spawn_slot *slot, int socket, const struct passing_request *request, int status)
{
	struct program_environment environment;
	slot->pid = getpid(); /* also here: the spawner may be gone before it can write it down */
	program_environment(&environment, request, s->setup->conf->hostname);
	int32_t error = program_become(&s->setup->programs[slot->backend], socket, environment.variables, &s->setup->descriptors);
	ssize_t n = write(status, &error, sizeof(error));
	_exit(n == (ssize_t)sizeof(error) ? 71 : 70);
}

static int watch_session(struct spawner *s, size_t i, pid_t pid)
{
	int fd = pidfd_open(pid, 0);
	if (fd < 0)
		return -errno;
	source_init(&s->sessions[i].exit, &exit_ops);
	int e = loop_watch(&s->loop, &s->sessions[i].exit, fd, EPOLLIN);
	if (e < 0)
		close(fd);
	return e;
}

/* 0 or -errno: it could not even be tried. */
static int start(struct spawner *s, unsigned front, const struct passing_request *request, int socket)
{
	uint32_t i = s->free[--s->free_len];
	memmove(s->free + s->free_len, s->free + s->free_len + 1, s->given_back * sizeof(*s->free));
	struct spawn_slot *slot = &s->setup->slots[i];
	struct session *session = &s->sessions[i];
	int status[2] = { -1, -1 };
	*slot = (struct spawn_slot){ .used = true, .life = request->life, .token = request->token, .front = (uint16_t)front, .backend = request->backend, .client = request->client };
	memcpy(slot->id, request->id, sizeof(slot->id));
	slot->id[sizeof(slot->id) - 1] = '\0';
	slot->forked = slot_clock();
	s->counts[request->backend]++;
	metrics_add(METRIC_exec_open, 1);
	pid_t pid = pipe2(status, O_CLOEXEC) < 0 ? -1 : fork();
	if (pid == 0)
		child(s, slot, socket, request, status[1]);
	int e = pid < 0 ? -errno : 0;
	if (status[1] >= 0)
		close(status[1]);
	if (pid > 0) {
		slot->pid = pid;
		fcntl(status[0], F_SETFL, O_NONBLOCK);
		source_init(&session->status, &status_ops);
		e = watch_session(s, i, pid);
	}
	if (e == 0 && (e = loop_watch(&s->loop, &session->status, status[0], EPOLLIN)) == 0) {
		loop_set_due(&s->loop, &session->status, loop_now(&s->loop) + SPAWN_EXEC_WAIT);
		return 0;
	}
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		finish(&s->loop, &session->exit);
	}
	if (status[0] >= 0)
		close(status[0]);
	forget(s, slot);
	return e;
}

/* ---- what fronts ask for ---- */

/* The last look at the client. A front that did not want to wait any longer has ended its side of the connection: it has no program then. */
static enum passing_report_kind look_at(int socket, const struct passing_request *request)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	char byte;
	if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state != TCP_ESTABLISHED && info.tcpi_state != TCP_CLOSE_WAIT)
		return PASSING_GONE;
	ssize_t n = sock_peek(socket, &byte, 1);
	if (n > 0 && request->look)
		return PASSING_TALK;
	return n > 0 || n == -EAGAIN ? PASSING_STARTED : PASSING_GONE;
}

static void take_client(struct spawner *s, unsigned front, const struct passing_request *request, int socket)
{
	const struct spawn_setup *setup = s->setup;
	struct passing_report report = { .life = request->life, .token = request->token, .kind = PASSING_FAILED, .backend = request->backend, .error = EINVAL, .client = request->client };
	const bool known = request->backend < setup->programs_len && setup->programs[request->backend].arguments;
	if (!known || socket < 0) {
		report.error = known ? EMFILE : EINVAL;
	} else if ((report.kind = look_at(socket, request)) == PASSING_STARTED) {
		report.kind = PASSING_BUSY;
		if (s->counts[request->backend] < setup->programs[request->backend].backend->max && s->free_len > 0) {
			report.kind = PASSING_FAILED;
			report.error = -start(s, front, request, socket);
			if (report.error == 0)
				return; /* told when exec has worked, or not */
		}
	}
	tell(s, front, &report); /* one that does not get through: the front's own deadline answers the client */
}

static void greet_front(struct spawner *s, unsigned front, uint64_t life)
{
	for (size_t i = 0; i < s->setup->slots_len; i++) {
		struct spawn_slot *slot = &s->setup->slots[i];
		if (!slot->used || slot->front != front || slot->life == life)
			continue;
		/* The front that asked for it is gone: what it was to hear does not matter any more. */
		slot->life = life;
		slot->owes = slot->started && !slot->over ? SLOT_OWES_KEPT : 0;
		settle(s, slot);
	}
}

static void channel_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct spawner *s = (struct spawner *)loop;
	unsigned front = ((struct channel *)source)->front;
	struct passing_request request;
	int socket;
	(void)events;
	ssize_t n = sock_recv_fd(source->fd, &request, sizeof(request), &socket);
	if (n == (ssize_t)sizeof(request) && request.kind == PASSING_HELLO)
		greet_front(s, front, request.life);
	else if (n == (ssize_t)sizeof(request) && request.kind == PASSING_CLIENT)
		take_client(s, front, &request, socket);
	if (socket >= 0)
		close(socket);
}

/* ---- beginning and end ---- */

static void parent_ready(struct loop *loop, struct source *source, uint32_t events)
{
	char word;
	int fd;
	(void)events;
	ssize_t n = sock_recv_fd(source->fd, &word, 1, &fd);
	if (fd >= 0)
		close(fd);
	if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR))
		loop_stop(loop);
}

static const struct source_ops channel_ops = { channel_ready, NULL };
static const struct source_ops parent_ops = { parent_ready, NULL };
static const struct source_ops said_ops = { said_ready, NULL };
static const struct source_ops again_ops = { NULL, again_due };

/* Sessions that an earlier spawner has started. One that was being started is not: nobody knows how far it came, unless it runs. */
static void take_over(struct spawner *s)
{
	for (size_t i = s->setup->slots_len; i-- > 0;)
		if (!s->setup->slots[i].used)
			s->free[s->free_len++] = (uint32_t)i;
	for (size_t i = 0; i < s->setup->slots_len; i++) {
		struct spawn_slot *slot = &s->setup->slots[i];
		if (!slot->used)
			continue;
		s->counts[slot->backend]++;
		metrics_add(METRIC_exec_open, 1);
		bool runs = slot->pid > 0 && !slot->over && slot_runs(slot) && watch_session(s, i, slot->pid) == 0;
		if (!slot->started && slot->error == 0) {
			slot->started = runs;
			slot->error = runs ? 0 : EIO;
			slot->owes |= runs ? SLOT_OWES_STARTED : SLOT_OWES_FAILED;
		}
		if (!runs && slot->started && !slot->over)
			slot->owes |= SLOT_OWES_ENDED;
		slot->over = !runs;
		settle(s, slot);
	}
}

static int watch_all(struct spawner *s, int parent)
{
	struct spawn_setup *setup = s->setup;
	int e = loop_watch(&s->loop, &s->parent, parent, EPOLLIN);
	for (unsigned f = 0; f < setup->fronts && e == 0; f++) {
		s->channels[f].front = f;
		source_init(&s->channels[f].source, &channel_ops);
		e = loop_watch(&s->loop, &s->channels[f].source, setup->channels[f][1], EPOLLIN);
	}
	for (size_t i = 0; i < setup->programs_len && e == 0; i++) {
		source_init(&s->said[i].source, &said_ops);
		s->said[i].program = &setup->programs[i];
		if (setup->programs[i].arguments)
			e = loop_watch(&s->loop, &s->said[i].source, setup->programs[i].said[0], EPOLLIN);
	}
	return e;
}

static void turn_end(struct loop *loop, void *context)
{
	struct spawner *s = context;
	(void)loop;
	s->free_len += s->given_back;
	s->given_back = 0;
	log_flush();
	if (log_pending() && s->again.place == 0)
		loop_set_due(&s->loop, &s->again, loop_now(&s->loop) + LOG_RETRY_MS * LOOP_MS);
}

int spawn_run(struct spawn_setup *setup, int parent)
{
	struct spawner s = { .setup = setup };
	for (unsigned f = 0; f < setup->fronts; f++)
		close(setup->channels[f][0]);
	sock_raise_nofile();
	s.sessions = calloc(setup->slots_len, sizeof(*s.sessions));
	s.free = calloc(setup->slots_len, sizeof(*s.free));
	s.counts = calloc(setup->programs_len, sizeof(*s.counts));
	s.said = calloc(setup->programs_len, sizeof(*s.said));
	int e = s.sessions && s.free && s.counts && s.said ? loop_init(&s.loop, setup->slots_len + 8) : -ENOMEM;
	if (e == 0) {
		for (size_t i = 0; i < setup->slots_len; i++)
			s.sessions[i].exit.fd = s.sessions[i].status.fd = -1;
		s.loop.turn_end = turn_end;
		s.loop.turn_end_context = &s;
		source_init(&s.parent, &parent_ops);
		source_init(&s.again, &again_ops);
		take_over(&s);
		e = watch_all(&s, parent);
	}
	if (e == 0)
		e = loop_run(&s.loop);
	for (size_t i = 0; s.sessions && i < setup->slots_len; i++) {
		loop_close(&s.loop, &s.sessions[i].exit);
		loop_close(&s.loop, &s.sessions[i].status);
	}
	loop_fini(&s.loop);
	free(s.sessions);
	free(s.free);
	free(s.counts);
	free(s.said);
	return e;
}
