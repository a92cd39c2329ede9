/* The tour, probe: the two sessions. The patient client dials first and finds the address that answers; the slammer then dials the same
 * one, so that both meet the same server. They run side by side, and only measure: what it means is probe_judge.c's business.
 *
 *              slammer: --early has come ─┐
 *   IDLE ▶ DIAL ──connected──▶ HOLD ──────┴─▶ TALK ──QUIT answered, or 421──▶ LINGER ──▶ DONE     (any: end of the connection, time ▶ DONE)
 *              patient: greeting complete ┘
 *
 * Nothing that is said can deliver a message unless the plan names a sender and a recipient: without them there is no RCPT and no DATA. */
#include "tool/probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "core/sock.h"

enum state { IDLE, DIAL, HOLD, TALK, LINGER, DONE };

#define MESSAGE_LINES 6 /* lines that put_message() writes, the dot not counted */

static void ready(struct loop *loop, struct source *source, uint32_t events);
static void due(struct loop *loop, struct source *source);
static const struct source_ops ops = { .ready = ready, .due = due };

static struct probe_session *session_of(struct source *source)
{
	return (struct probe_session *)((char *)source - offsetof(struct probe_session, source));
}

static int64_t now(const struct probe_session *s)
{
	return loop_now(s->run->loop);
}

/* Since the connection stood. */
static int64_t elapsed(const struct probe_session *s)
{
	return now(s) - s->since;
}

static void wait_for(struct probe_session *s, int64_t ns)
{
	loop_set_due(s->run->loop, &s->source, now(s) + ns);
}

/* The only place that changes a state. */
static void enter(struct probe_session *s, enum state state)
{
	const struct probe_plan *plan = s->run->plan;
	s->state = (int)state;
	switch (state) {
	case DIAL:
	case TALK:
		wait_for(s, plan->timeout);
		break;
	case HOLD:
		wait_for(s, s->role == PROBE_SLAMMER ? plan->early : plan->timeout);
		break;
	case LINGER:
		wait_for(s, PROBE_LINGER);
		break;
	case IDLE:
	case DONE:
		probe_ear_stop(&s->ear);
		loop_close(s->run->loop, &s->source);
		break;
	}
}

/* One line of the transcript: time, who, direction, the line without its line end. */
static void transcribe(const struct probe_session *s, const char *direction, struct slice line)
{
	char memory[PROBE_LINE * 4 + 1];
	struct buf text;
	if (!s->run->plan->transcript)
		return;
	int64_t t = elapsed(s);
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_put_escaped(&text, line.at, line.len, PROBE_LINE);
	fprintf(s->run->plan->transcript, "%8lld.%03lld ms  %s %s %s\n", (long long)(t / LOOP_MS), (long long)(t % LOOP_MS / 1000),
	        s->role == PROBE_PATIENT ? "patient" : "slammer", direction, buf_text(&text));
}

static void end(struct probe_session *s, enum probe_end how, int error)
{
	static const char *const said[] = {
		[PROBE_END_NONE] = "", [PROBE_END_CLOSED] = "closed by the server", [PROBE_END_RESET] = "reset by the server",
		[PROBE_END_TIMEOUT] = "no reply in time", [PROBE_END_NOT_SMTP] = "not SMTP", [PROBE_END_TOO_MUCH] = "too much",
		[PROBE_END_OPEN] = "left open by the server", [PROBE_END_ERROR] = "error",
	};
	s->record.end = how;
	s->record.end_at = elapsed(s);
	if (error != 0)
		s->record.error = error;
	transcribe(s, "*", slice_of(said[how]));
	enter(s, DONE);
}

/* What a session says. */

/* Send what is in out. A failed send is not the end: what the server said before it hung up is still to be read, and reading tells how it ended. */
static void push(struct probe_session *s)
{
	if (s->record.talk_at < 0)
		s->record.talk_at = elapsed(s);
	enum sock_result r = sock_write(s->source.fd, &s->out);
	if (r == SOCK_ERROR)
		buf_clear(&s->out);
	loop_rewatch(s->run->loop, &s->source, r == SOCK_AGAIN ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void put_message(struct buf *out, const struct probe_plan *plan, enum probe_role role)
{
	char date[64];
	time_t t = time(NULL);
	struct tm tm;
	gmtime_r(&t, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	buf_putf(out, "Date: %s\r\nFrom: <%s>\r\nTo: <%s>\r\nSubject: testing\r\n\r\n", date, plan->from, plan->to);
	buf_put_text(out, role == PROBE_SLAMMER ? "A test by tarry probe: said before the greeting, as a slammer does.\r\n"
	                                        : "A test by tarry probe: said by a client that waits for each reply.\r\n");
}

static void put_step(struct probe_session *s, enum probe_step step)
{
	const struct probe_plan *plan = s->run->plan;
	switch (step) {
	case PROBE_STEP_EHLO:
		buf_putf(&s->out, "EHLO %s\r\n", s->helo);
		break;
	case PROBE_STEP_HELO:
		buf_putf(&s->out, "HELO %s\r\n", s->helo);
		break;
	case PROBE_STEP_MAIL:
		buf_putf(&s->out, "MAIL FROM:<%s>\r\n", plan->to ? plan->from : "");
		break;
	case PROBE_STEP_RCPT:
		buf_putf(&s->out, "RCPT TO:<%s>\r\n", plan->to);
		break;
	case PROBE_STEP_DATA:
		buf_put_text(&s->out, "DATA\r\n");
		break;
	case PROBE_STEP_EOM:
		put_message(&s->out, plan, s->role);
		buf_put_text(&s->out, ".\r\n");
		break;
	case PROBE_STEP_RSET:
		buf_put_text(&s->out, "RSET\r\n");
		break;
	case PROBE_STEP_NOOP:
		buf_put_text(&s->out, "NOOP\r\n");
		break;
	case PROBE_STEP_QUIT:
		buf_put_text(&s->out, "QUIT\r\n");
		break;
	case PROBE_STEP_GREETING:
	case PROBE_STEP_LINE:
	case PROBE_STEP_STARTTLS:
	case PROBE_STEP_JUNK:
	case PROBE_STEP_FALSE:
	case PROBE_STEP_NONE:
		break;
	}
}

static void transcribe_out(const struct probe_session *s)
{
	for (const char *at = s->out.at, *stop = s->out.at + s->out.len; at < stop;) {
		const char *nl = memchr(at, '\n', (size_t)(stop - at));
		size_t len = nl ? (size_t)(nl - at) : (size_t)(stop - at);
		transcribe(s, ">", (struct slice){ at, len > 0 && nl && at[len - 1] == '\r' ? len - 1 : len });
		at += nl ? len + 1 : len;
	}
}

/* Say one thing and wait for its reply. */
static void say(struct probe_session *s, enum probe_step step)
{
	s->said = step;
	put_step(s, step);
	transcribe_out(s);
	enter(s, TALK);
	push(s);
}

/* The article's session; and the one that cannot deliver anything. */
static const enum probe_step deliver_script[] = { PROBE_STEP_HELO, PROBE_STEP_MAIL, PROBE_STEP_RCPT, PROBE_STEP_DATA, PROBE_STEP_EOM, PROBE_STEP_QUIT };
static const enum probe_step safe_script[] = { PROBE_STEP_HELO, PROBE_STEP_MAIL, PROBE_STEP_RSET, PROBE_STEP_NOOP, PROBE_STEP_QUIT };

static const enum probe_step *script_of(const struct probe_session *s, size_t *len)
{
	bool deliver = s->run->plan->to != NULL;
	*len = deliver ? sizeof(deliver_script) / sizeof(deliver_script[0]) : sizeof(safe_script) / sizeof(safe_script[0]);
	return deliver ? deliver_script : safe_script;
}

static void slam(struct probe_session *s)
{
	size_t len;
	const enum probe_step *script = script_of(s, &len);
	for (size_t i = 0; i < len; i++)
		put_step(s, script[i]);
	transcribe_out(s);
	enter(s, TALK);
	push(s);
}

/* What a session hears. */

/* Which of the slammer's lines a reply answers. step counts its script with the lines of the message in front of the dot: those are answered
 * one by one when DATA was refused, and not at all when it was accepted. */
static enum probe_step slammer_answered(struct probe_session *s, int code)
{
	size_t len;
	const enum probe_step *script = script_of(s, &len);
	if (s->record.replies_len == 1)
		return PROBE_STEP_GREETING;
	if (s->record.late)
		return PROBE_STEP_QUIT;
	size_t i = s->step++;
	for (size_t k = 0; k < len; k++) {
		if (script[k] == PROBE_STEP_EOM) {
			if (i < MESSAGE_LINES)
				return PROBE_STEP_LINE;
			i -= MESSAGE_LINES;
		}
		if (i == 0) {
			if (script[k] == PROBE_STEP_DATA && code == 354)
				s->step += MESSAGE_LINES;
			return script[k];
		}
		i--;
	}
	return PROBE_STEP_NONE;
}

static void slammer_next(struct probe_session *s, const struct probe_reply *reply)
{
	if (s->state == HOLD) {
		s->record.late = true;
		if (reply->code == 421)
			enter(s, LINGER);
		else
			say(s, PROBE_STEP_QUIT);
	} else if (reply->code == 421 || reply->to == PROBE_STEP_QUIT) {
		enter(s, LINGER);
	} else {
		int64_t wait = s->run->plan->timeout;
		wait_for(s, s->record.replies[0].code >= 500 && wait > PROBE_AFTER ? PROBE_AFTER : wait);
	}
}

/* What a patient client says after a reply. RFC 5321 3.1: it says QUIT to a refusing server too. */
static enum probe_step patient_step(struct probe_session *s, const struct probe_reply *reply)
{
	bool deliver = s->run->plan->to != NULL;
	bool good = reply->code < 300;
	switch (reply->to) {
	case PROBE_STEP_GREETING:
		return good ? PROBE_STEP_EHLO : PROBE_STEP_QUIT;
	case PROBE_STEP_EHLO:
		if (reply->code >= 500) {
			s->record.helo_too = true;
			return PROBE_STEP_HELO;
		}
		return good ? PROBE_STEP_MAIL : PROBE_STEP_QUIT;
	case PROBE_STEP_HELO:
		return good ? PROBE_STEP_MAIL : PROBE_STEP_QUIT;
	case PROBE_STEP_MAIL:
		if (!good)
			return PROBE_STEP_QUIT;
		return deliver ? PROBE_STEP_RCPT : PROBE_STEP_RSET;
	case PROBE_STEP_RCPT:
		return good ? PROBE_STEP_DATA : PROBE_STEP_QUIT;
	case PROBE_STEP_DATA:
		return reply->code == 354 ? PROBE_STEP_EOM : PROBE_STEP_QUIT;
	default:
		return PROBE_STEP_QUIT;
	}
}

static void patient_next(struct probe_session *s, const struct probe_reply *reply)
{
	if (reply->code == 421 || reply->to == PROBE_STEP_QUIT)
		enter(s, LINGER);
	else
		say(s, patient_step(s, reply));
}

static void heard(struct probe_session *s, struct probe_reply *reply)
{
	reply->to = s->role == PROBE_SLAMMER ? slammer_answered(s, reply->code) : s->said;
	if (s->state == LINGER)
		return;
	if (s->role == PROBE_SLAMMER)
		slammer_next(s, reply);
	else
		patient_next(s, reply);
}

/* Everything that is there now. */
static void receive(struct probe_session *s)
{
	if (s->state != DONE)
		probe_ear_receive(&s->ear, s->source.fd);
}

static struct probe_session *session_of_ear(struct probe_ear *ear)
{
	return (struct probe_session *)((char *)ear - offsetof(struct probe_session, ear));
}

static int64_t ear_elapsed(struct probe_ear *ear)
{
	return elapsed(session_of_ear(ear));
}

static void ear_line(struct probe_ear *ear, struct slice line)
{
	transcribe(session_of_ear(ear), "<", line);
}

static void ear_end(struct probe_ear *ear, enum probe_end how, int error)
{
	end(session_of_ear(ear), how, error);
}

static void ear_reply(struct probe_ear *ear, struct probe_reply *reply)
{
	heard(session_of_ear(ear), reply);
}

static const struct probe_ear_ops ear_ops = { .elapsed = ear_elapsed, .line = ear_line, .reply = ear_reply, .end = ear_end };

/* Connecting. */

static void dial(struct probe_session *s);

static void dial_failed(struct probe_session *s, int error)
{
	struct probe_run *run = s->run;
	s->record.error = error;
	transcribe(s, "*", slice_of(strerror(-error)));
	loop_close(run->loop, &s->source);
	s->address++;
	/* Only the first session to dial searches; the other one must meet the same server. */
	bool other_connected = run->sessions[s->role == PROBE_PATIENT ? PROBE_SLAMMER : PROBE_PATIENT].record.connected;
	if (!other_connected && s->address < run->plan->addrs_len)
		dial(s);
	else
		enter(s, DONE);
}

static void transcribe_dial(const struct probe_session *s, const struct addr *to)
{
	char address[ADDR_TEXT], memory[ADDR_TEXT + 32];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_putf(&text, "connecting to %s", addr_format_port(to, address));
	transcribe(s, "*", buf_slice(&text));
}

static void dial(struct probe_session *s)
{
	struct probe_run *run = s->run;
	const struct addr *to = &run->plan->addrs[s->address];
	s->record.tried = true;
	s->since = now(s);
	run->address = *to;
	transcribe_dial(s, to);
	int fd = sock_connect(to);
	if (fd < 0) {
		dial_failed(s, fd);
		return;
	}
	int e = loop_watch(run->loop, &s->source, fd, EPOLLOUT);
	if (e < 0) {
		s->source.fd = fd; /* so that it is closed */
		dial_failed(s, e);
		return;
	}
	enter(s, DIAL);
}

int64_t probe_round_trip(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return 0;
	return (int64_t)info.tcpi_rtt * 1000;
}

static void name_myself(struct probe_session *s)
{
	char literal[ADDR_TEXT];
	struct addr local;
	struct buf name;
	buf_init_fixed(&name, s->helo, sizeof(s->helo));
	if (s->run->plan->helo)
		buf_put_text(&name, s->run->plan->helo);
	else if (sock_local(s->source.fd, &local))
		buf_put_text(&name, addr_format_literal(&local, literal));
	else
		buf_put_text(&name, "localhost");
	buf_text(&name);
}

static void connected(struct probe_session *s)
{
	struct probe_run *run = s->run;
	int64_t t = now(s);
	s->record.connected = true;
	s->record.error = 0;
	s->record.connect_ns = t - s->since;
	s->record.rtt_ns = probe_round_trip(s->source.fd);
	s->since = t;
	name_myself(s);
	loop_rewatch(run->loop, &s->source, EPOLLIN);
	enter(s, HOLD);
	if (s->role == PROBE_SLAMMER && run->plan->early == 0)
		slam(s);
	struct probe_session *slammer = &run->sessions[PROBE_SLAMMER];
	if (s != slammer && slammer->state == IDLE) {
		slammer->address = s->address;
		dial(slammer);
	}
}

static void ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct probe_session *s = session_of(source);
	(void)loop;
	if (s->state == DIAL) {
		int e = sock_connect_result(source->fd);
		if (e == 0)
			connected(s);
		else if (e != -EINPROGRESS)
			dial_failed(s, e);
		return;
	}
	if ((events & EPOLLOUT) && s->out.len > 0)
		push(s);
	receive(s);
}

static void due(struct loop *loop, struct source *source)
{
	struct probe_session *s = session_of(source);
	(void)loop;
	if (s->state == DIAL) {
		dial_failed(s, -ETIMEDOUT);
		return;
	}
	receive(s); /* what came in the same moment was in time */
	if (s->state == DONE || source->place != 0)
		return;
	if (s->state == HOLD && s->role == PROBE_SLAMMER)
		slam(s);
	else
		end(s, s->state == LINGER ? PROBE_END_OPEN : PROBE_END_TIMEOUT, 0);
}

/* The run. */

void probe_run_init(struct probe_run *run, struct loop *loop, const struct probe_plan *plan)
{
	memset(run, 0, sizeof(*run));
	run->loop = loop;
	run->plan = plan;
	for (enum probe_role role = PROBE_PATIENT; role < PROBE_ROLES; role++) {
		struct probe_session *s = &run->sessions[role];
		source_init(&s->source, &ops);
		probe_ear_init(&s->ear, &ear_ops, &s->record);
		buf_init(&s->out, PROBE_LINE * 2);
		s->run = run;
		s->role = role;
		s->record.talk_at = -1;
		s->state = plan->roles[role] ? IDLE : DONE;
	}
	/* connected() starts the slammer when both are wanted. */
	dial(&run->sessions[plan->roles[PROBE_PATIENT] ? PROBE_PATIENT : PROBE_SLAMMER]);
}

bool probe_run_done(const struct probe_run *run)
{
	const struct probe_session *patient = &run->sessions[PROBE_PATIENT], *slammer = &run->sessions[PROBE_SLAMMER];
	/* Without a connection the slammer is never started. */
	return patient->state == DONE && (slammer->state == DONE || slammer->state == IDLE);
}

void probe_run_fini(struct probe_run *run)
{
	for (enum probe_role role = PROBE_PATIENT; role < PROBE_ROLES; role++) {
		struct probe_session *s = &run->sessions[role];
		loop_close(run->loop, &s->source);
		probe_ear_fini(&s->ear);
		buf_fini(&s->out);
	}
}
