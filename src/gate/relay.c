/* The tour, gate: the relay. pump_run() is one direction and all there is to know: flush what is held, pass on the end, read, repeat. */
#include "gate/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"

#define PUMP_ROUNDS 16             /* reads of one direction before others get their turn */
#define SPLICE_MOST (64 * 1024)    /* what a pipe holds */
#define SPLICE_WORTH (8 * 1024)    /* a wake-up that moves less than this is dialogue again */

int relay_shared_init(struct relay_shared *shared)
{
	*shared = (struct relay_shared){ .scratch = malloc(RELAY_SCRATCH) };
	return shared->scratch ? 0 : -ENOMEM;
}

void relay_shared_fini(struct relay_shared *shared)
{
	while (shared->pipes_len > 0) {
		shared->pipes_len--;
		close(shared->pipes[shared->pipes_len][0]);
		close(shared->pipes[shared->pipes_len][1]);
	}
	free(shared->scratch);
	shared->scratch = NULL;
}

/* Without a descriptor to spare the direction simply goes on being copied. */
static void take_pipe(struct pump *p, struct relay_shared *shared)
{
	if (shared->pipes_len > 0) {
		shared->pipes_len--;
		p->pipe[0] = shared->pipes[shared->pipes_len][0];
		p->pipe[1] = shared->pipes[shared->pipes_len][1];
	} else if (pipe2(p->pipe, O_NONBLOCK | O_CLOEXEC) < 0) {
		p->pipe[0] = p->pipe[1] = -1;
	}
}

/* Only an empty pipe may serve another connection. */
static void give_pipe(struct pump *p, struct relay_shared *shared)
{
	if (p->pipe[0] < 0)
		return;
	if (p->piped == 0 && shared->pipes_len < RELAY_PIPES) {
		shared->pipes[shared->pipes_len][0] = p->pipe[0];
		shared->pipes[shared->pipes_len][1] = p->pipe[1];
		shared->pipes_len++;
	} else {
		close(p->pipe[0]);
		close(p->pipe[1]);
	}
	p->pipe[0] = p->pipe[1] = -1;
	p->piped = 0;
}

static void pump_init(struct pump *p, int from, int to)
{
	*p = (struct pump){ .from = from, .to = to, .pipe = { -1, -1 }, .readable = true, .writable = true };
	buf_init(&p->held, RELAY_HELD);
}

void relay_init(struct relay *r, int client, int backend)
{
	pump_init(&r->in, client, backend);
	pump_init(&r->out, backend, client);
}

void relay_fini(struct relay *r, struct relay_shared *shared)
{
	give_pipe(&r->in, shared);
	give_pipe(&r->out, shared);
	buf_fini(&r->in.held);
	buf_fini(&r->out.held);
}

static void note_events(struct pump *from_here, struct pump *to_here, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		from_here->readable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
		from_here->ending = true;
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		to_here->writable = true;
}

void relay_client_events(struct relay *r, uint32_t events)
{
	note_events(&r->in, &r->out, events);
}

void relay_backend_events(struct relay *r, uint32_t events)
{
	note_events(&r->out, &r->in, events);
}

bool relay_put_out(struct relay *r, const void *bytes, size_t len)
{
	return buf_put(&r->out.held, bytes, len);
}

static bool waiting(const struct pump *p)
{
	return p->held.len > 0 || p->piped > 0;
}

bool relay_blocked_on_client(const struct relay *r)
{
	return waiting(&r->out) && !r->out.writable;
}

bool relay_blocked_on_backend(const struct relay *r)
{
	return waiting(&r->in) && !r->in.writable;
}

/* Sends what waits in the pipe or in the buf. */
static enum sock_result flush(struct pump *p)
{
	size_t before = p->held.len;
	if (before > 0) {
		enum sock_result e = sock_write(p->to, &p->held);
		p->bytes += before - p->held.len;
		if (e == SOCK_ERROR)
			p->error = errno;
		if (e != SOCK_OK)
			return e;
		buf_fini(&p->held); /* a connection at rest holds no buffer */
	}
	while (p->piped > 0) {
		ssize_t n = splice(p->pipe[0], NULL, p->to, NULL, p->piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return SOCK_AGAIN;
		if (n <= 0) {
			p->error = errno;
			return SOCK_ERROR;
		}
		p->piped -= (uint32_t)n;
		p->bytes += (uint64_t)n;
	}
	return SOCK_OK;
}

/* A reset is an end, too: what came before it is passed on. */
static enum sock_result ended(struct pump *p, bool reset)
{
	p->reset = reset;
	return SOCK_EOF;
}

/* One read by splice: SOCK_OK, SOCK_AGAIN or SOCK_EOF. */
static enum sock_result fill_pipe(struct pump *p)
{
	ssize_t n;
	do
		n = splice(p->from, NULL, p->pipe[1], NULL, SPLICE_MOST, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		p->piped += (uint32_t)n;
		return SOCK_OK;
	}
	/* What is no end of the peer's is the pipe's trouble, and copying goes on without one. */
	bool reset = n < 0 && (errno == ECONNRESET || errno == EPIPE || errno == ETIMEDOUT);
	return n < 0 && !reset ? SOCK_AGAIN : ended(p, reset);
}

/* One read by copying; what `to` does not take at once is held. SOCK_ERROR: `to` takes nothing more. */
static enum sock_result copy_once(struct pump *p, struct relay_shared *shared)
{
	struct buf scratch;
	buf_init_fixed(&scratch, shared->scratch, RELAY_SCRATCH);
	enum sock_result e = sock_read(p->from, &scratch, 0);
	if (e != SOCK_OK)
		return e == SOCK_AGAIN ? e : ended(p, e == SOCK_ERROR);
	size_t got = scratch.len;
	if (got == RELAY_SCRATCH && p->full_read && p->pipe[0] < 0)
		take_pipe(p, shared);
	p->full_read = got == RELAY_SCRATCH;
	/* A short read has emptied the socket: no second read is needed to learn that. */
	if (!p->full_read && !p->ending)
		p->readable = false;
	e = sock_write(p->to, &scratch);
	p->bytes += got - scratch.len;
	if (e == SOCK_AGAIN) {
		p->writable = false;
		errno = ENOMEM;
		e = buf_put(&p->held, scratch.at, scratch.len) ? SOCK_OK : SOCK_ERROR;
	}
	if (e == SOCK_ERROR)
		p->error = errno;
	return e;
}

enum pump_result { PUMP_IDLE, PUMP_AGAIN, PUMP_BROKEN };

static enum pump_result pump_run(struct pump *p, struct relay_shared *shared)
{
	uint64_t before = p->bytes;
	for (int round = 0; round < PUMP_ROUNDS; round++) {
		if (waiting(p)) {
			enum sock_result e = p->writable ? flush(p) : SOCK_AGAIN;
			if (e == SOCK_ERROR)
				return PUMP_BROKEN;
			if (e == SOCK_AGAIN) {
				p->writable = false;
				return PUMP_IDLE;
			}
		}
		if (p->eof) {
			if (!p->closed)
				shutdown(p->to, SHUT_WR);
			p->closed = true;
			return PUMP_IDLE;
		}
		if (!p->readable) {
			if (p->pipe[0] >= 0 && p->bytes - before < SPLICE_WORTH)
				give_pipe(p, shared);
			return PUMP_IDLE;
		}
		enum sock_result e = p->pipe[0] >= 0 ? fill_pipe(p) : SOCK_AGAIN;
		/* Also where there is a pipe and nothing for it: before an urgent byte (RFC 6093) splice() sees nothing, and recv() reads on. */
		if (e == SOCK_AGAIN)
			e = copy_once(p, shared);
		if (e == SOCK_ERROR)
			return PUMP_BROKEN;
		if (e == SOCK_AGAIN)
			p->readable = false;
		else if (e == SOCK_EOF)
			p->eof = true;
	}
	return PUMP_AGAIN;
}

enum relay_result relay_run(struct relay *r, struct relay_shared *shared)
{
	enum pump_result in = pump_run(&r->in, shared);
	/* A backend that has gone takes no more, but what it said last is still for the client; the event that tells of it may not have come yet. */
	if (in == PUMP_BROKEN)
		r->out.readable = r->out.ending = true;
	enum pump_result out = pump_run(&r->out, shared);
	if (out == PUMP_BROKEN || r->in.reset || (in == PUMP_BROKEN && !r->out.readable && !waiting(&r->out)))
		return r->out.closed ? RELAY_BACKEND_ENDED : RELAY_BROKEN;
	if (r->out.closed)
		return r->in.closed ? RELAY_ENDED : RELAY_BACKEND_ENDED;
	if (in == PUMP_AGAIN || out == PUMP_AGAIN)
		return RELAY_AGAIN;
	return RELAY_IDLE;
}
