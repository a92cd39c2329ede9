/* The tour, gate: from a patient client to a program that has its socket. In place of a backend that is connected to there is the spawner: a request with the
 * client's descriptor goes out, a report comes back. The client's bytes are never read here, but peeked at once more. */
#include "gate/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/passing.h"
#include "core/sock.h"
#include "gate/admit.h"
#include "gate/front.h"
#include "gate/judge.h"
#include "gate/known.h"
#include "gate/seal.h"
#include "gate/session.h"

#define HANDOVER_REPORTS 64 /* reports taken before others get their turn */

/* ---- a request ---- */

/* A program cannot be watched: whom the access database blocks is never handed to one. CONN_NOTHING: it may go. */
static enum conn_event refuse_blocked(struct front *front, struct session *s)
{
	static const struct access_reply discarded = { .code = 550, .dsn = "5.7.1", .text = { "Access denied", 13 } };
	struct rules_answer client = judge_about_client(front, s);
	const enum access_action action = client.decision.action;
	if (action != ACCESS_REFUSE && action != ACCESS_TEMPFAIL && action != ACCESS_DISCARD)
		return CONN_NOTHING;
	if (s->conn->observe) {
		session_would_refuse(front, s, &client, "connect");
		return CONN_NOTHING;
	}
	const struct access_reply *reply = action == ACCESS_DISCARD ? &discarded : &client.decision.reply;
	session_deny(front, s, reply, client.hit.value.line);
	return reply->code == 421 ? CONN_DROPPED : CONN_DENIED;
}

/* Whether it shall be silent still: an observed client of whom there is nothing more to write down need not be. */
static bool owes_silence(const struct session *s)
{
	return s->conn->pause_ms > 0 && !s->conn->early && !(s->conn->observe && s->would != CONN_UNDECIDED);
}

static enum conn_event look_at_client(struct front *front, struct session *s)
{
	char byte;
	ssize_t n = sock_peek(s->conn->source.fd, &byte, 1);
	if (n > 0)
		return owes_silence(s) && !conn_note_talk(front, s->conn) ? CONN_TALK : CONN_NOTHING;
	return n == -EAGAIN ? CONN_NOTHING : CONN_HANGUP;
}

static ssize_t send_request(struct front *front, struct session *s)
{
	const struct slice name = ask_confirmed_name(s->ask);
	struct passing_request request = { .life = front->handover.life, .token = s->token, .kind = PASSING_CLIENT, .backend = (uint16_t)backends_index(&front->backends, s->to),
		.look = owes_silence(s), .client = s->conn->client };
	if (!arrive_server(front, s->conn, &request.server))
		request.server = request.client;
	if (name.len < sizeof(request.name))
		memcpy(request.name, name.at, name.len);
	memcpy(request.id, s->id, sizeof(s->id));
	return sock_send_fd(front->handover.source.fd, &request, sizeof(request), s->conn->source.fd);
}

/* Until a report comes, or the client does not wait any longer, it counts as a connection to the backend; then, if the program runs, take_report() counts it. */
static void set_passed(struct front *front, struct session *s, bool passed)
{
	if (passed)
		backends_opened(&front->backends, s->to);
	else if (s->handover == HANDOVER_PASSED)
		backends_closed(&front->backends, s->to);
	s->handover = passed ? HANDOVER_PASSED : HANDOVER_NONE;
}

enum conn_event handover_start(struct front *front, struct session *s)
{
	struct handover *h = &front->handover;
	if (ask_is_pending(s->ask)) {
		s->handover = HANDOVER_ASKING;
		backends_left_alone(&front->backends, s);
		return CONN_NOTHING;
	}
	if (seal_of(front, s->conn)) { /* its socket is not the client's: a server would take it for somebody on this machine */
		s->wrong = "a program cannot have a client whose TLS ends at the door";
		return CONN_FAILED;
	}
	enum conn_event event = refuse_blocked(front, s);
	if (event == CONN_NOTHING)
		event = look_at_client(front, s);
	if (event != CONN_NOTHING)
		return event;
	s->token = (uint64_t)++h->serial << 32 | (uint64_t)(s->conn - front->conns);
	ssize_t n = send_request(front, s);
	if (n == -EAGAIN || n == -ETOOMANYREFS || n == -ENOBUFS || n == -ENOMEM)
		return dial_wait(front, s, "the spawner is busy");
	if (n < 0) {
		s->wrong = strerror((int)-n);
		return CONN_FAILED;
	}
	s->wrong = NULL;
	set_passed(front, s, true);
	return CONN_NOTHING;
}

bool handover_is_passed(const struct session *s)
{
	return s->handover == HANDOVER_PASSED;
}

enum conn_event handover_answered(struct front *front, struct session *s)
{
	if (s->handover != HANDOVER_ASKING)
		return CONN_NOTHING;
	s->handover = HANDOVER_NONE;
	return dial_start(front, s);
}

void handover_leave(struct front *front, struct session *s)
{
	set_passed(front, s, false);
}

/* ---- reports ---- */

/* The connection a report is about, if it still waits for one. */
static struct conn *find(struct front *front, uint64_t token)
{
	uint32_t i = (uint32_t)token;
	struct conn *conn = i < front->conns_used ? &front->conns[i] : NULL;
	if (!conn || conn->state != CONN_DIAL || !conn->has_session || conn->session->token != token || conn->session->handover != HANDOVER_PASSED)
		return NULL;
	return conn;
}

/* The client is ours again; what it did meanwhile was not looked at. */
static void came_back(struct front *front, struct conn *conn, const struct passing_report *report)
{
	struct session *s = conn->session;
	set_passed(front, s, false);
	enum conn_event event = look_at_client(front, s);
	if (event == CONN_NOTHING && report->kind == PASSING_BUSY)
		event = dial_wait(front, s, "all sessions that max allows are open");
	else if (event == CONN_NOTHING && report->kind == PASSING_TALK) /* an observed client's, which is written down */
		event = dial_start(front, s);
	else if (event == CONN_NOTHING)
		event = report->kind == PASSING_GONE ? CONN_HANGUP : dial_next(front, s, strerror(report->error));
	conn_happened(front, conn, event);
}

static void started(struct front *front, struct conn *conn, int32_t pid)
{
	conn->session->handed = pid;
	metrics_add(METRIC_handed, 1);
	dial_handed(front, conn->session);
	known_unseen(front, conn);
	conn_happened(front, conn, CONN_HANDED);
}

/* The counts of a client's connections, and of a backend's, hold also those that no connection here is left of. */
static void count(struct front *front, const struct passing_report *report)
{
	const struct backend *backend = report->backend < front->backends.len ? &front->backends.all[report->backend] : NULL;
	if (report->kind == PASSING_STARTED || report->kind == PASSING_KEPT) {
		admit_handed(front, &report->client);
		metrics_add(METRIC_handed_open, 1);
		if (backend)
			backends_opened(&front->backends, backend);
	} else if (report->kind == PASSING_ENDED) {
		admit_closed(front, &report->client);
		metrics_add(METRIC_handed_open, -1);
		if (backend)
			backends_closed(&front->backends, backend);
		dial_wake(front);
	}
}

static void take_report(struct front *front, const struct passing_report *report)
{
	if (report->life != front->handover.life)
		return; /* of a front that was here before this one */
	if (report->serial > 0 && report->serial <= front->handover.heard)
		return; /* told again */
	front->handover.heard = report->serial > 0 ? report->serial : front->handover.heard;
	count(front, report);
	struct conn *conn = find(front, report->token);
	if (!conn || report->kind == PASSING_KEPT || report->kind == PASSING_ENDED)
		return;
	if (report->kind == PASSING_STARTED)
		started(front, conn, report->pid);
	else
		came_back(front, conn, report);
}

static void channel_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct front *front = (struct front *)((char *)loop - offsetof(struct front, loop));
	struct passing_report report;
	int fd;
	(void)events;
	for (int i = 0; i < HANDOVER_REPORTS; i++) {
		ssize_t n = sock_recv_fd(source->fd, &report, sizeof(report), &fd);
		if (fd >= 0)
			close(fd);
		if (n != (ssize_t)sizeof(report))
			return;
		take_report(front, &report);
	}
}

static const struct source_ops channel_ops = { channel_ready, NULL };

int handover_init(struct front *front, int channel)
{
	struct handover *h = &front->handover;
	source_init(&h->source, &channel_ops);
	if (channel < 0)
		return 0;
	h->life = (uint64_t)loop_now(&front->loop) ^ (uint64_t)getpid() << 40;
	int e = loop_watch(&front->loop, &h->source, channel, EPOLLIN);
	if (e < 0) {
		close(channel);
		return e;
	}
	const struct passing_request hello = { .life = h->life, .kind = PASSING_HELLO };
	sock_send_fd(channel, &hello, sizeof(hello), -1); /* one that a full channel does not take: this front's clients have a few connections more */
	return 0;
}

void handover_fini(struct front *front)
{
	loop_close(&front->loop, &front->handover.source);
}
