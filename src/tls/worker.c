/* The tour, tls: the process. Whoever has nothing else to do takes the next order; when its descriptors are used up, the others have to. */
#include "tls/worker.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sock.h"
#include "core/tlswire.h"

#define BATCH 16 /* orders in one turn: a handshake is the most expensive thing that happens here */

static void close_all(const int *fds, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		close(fds[i]);
}

/* Nobody's clients are taken without a certificate, and no backend's connections that is not known. */
static void take_order(struct worker *w, const struct tlswire_order *order, const int *fds)
{
	bool client = order->backend == 0;
	SSL *ssl = !client ? peers_connect(&w->peers, order->backend - 1) : w->context ? SSL_new(w->context) : NULL;
	if (!ssl) {
		close_all(fds, 2);
		return;
	}
	if (client)
		SSL_set_accept_state(ssl);
	client_new(&w->clients, ssl, fds[0], fds[1], client && order->starttls != 0, client ? w->timeout : order->timeout * LOOP_MS);
}

static bool has_room(const struct worker *w)
{
	return !w->ending && w->clients.len < WORKER_CLIENTS && 2 * w->clients.len + WORKER_SPARE < w->nofile;
}

/* An order that is none can only be a front's mistake, or that of who has taken it over. */
static void orders_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct worker *w = (struct worker *)loop;
	(void)events;
	for (unsigned i = 0; i < BATCH && has_room(w); i++) {
		struct tlswire_order order;
		int fds[SOCK_FDS];
		unsigned got;
		ssize_t n = sock_recv_fds(source->fd, &order, sizeof(order), fds, SOCK_FDS, &got);
		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n <= 0)
			break;
		if (n == (ssize_t)sizeof(order) && order.magic == TLSWIRE_MAGIC && got == 2)
			take_order(w, &order, fds);
		else
			close_all(fds, got);
	}
	if (!has_room(w))
		loop_unwatch(loop, source);
}

static void take_certificate(struct worker *w, int fd)
{
	char memory[1024];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	SSL_CTX *fresh = context_new(fd, &w->files, &why);
	if (!fresh) {
		log_event(LOG_LEVEL_ERROR, "tls_certificate_kept", "%s; the old one stays", buf_text(&why));
		return;
	}
	SSL_CTX_free(w->context); /* connections keep theirs as long as they need it */
	w->context = fresh;
}

static void take_backends(struct worker *w, int fd)
{
	char memory[1024];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!peers_take(&w->peers, fd, &why))
		log_event(LOG_LEVEL_ERROR, "tls_certificate_kept", "%s; the old ones stay", buf_text(&why));
}

static void parent_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct worker *w = (struct worker *)loop;
	char word;
	int fd;
	(void)events;
	ssize_t n = sock_recv_fd(source->fd, &word, 1, &fd);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) {
		w->ending = true;
		loop_close(loop, source);
		loop_unwatch(loop, &w->orders);
		loop_set_due(loop, source, loop_now(loop) + WORKER_END);
		if (!w->clients.first)
			loop_stop(loop);
		return;
	}
	if (fd >= 0 && word == TLSWIRE_WORD_CERTIFICATE)
		take_certificate(w, fd);
	else if (fd >= 0 && word == TLSWIRE_WORD_BACKENDS)
		take_backends(w, fd);
	else if (fd >= 0 && word == TLSWIRE_WORD_TICKETS && !context_take_tickets(fd))
		log_event(LOG_LEVEL_ERROR, "tls_tickets_kept", "the keys for tickets that came are none; the old ones stay");
	if (fd >= 0)
		close(fd);
}

static void parent_due(struct loop *loop, struct source *source)
{
	(void)source;
	loop_stop(loop);
}

/* Only there to have a turn, at the end of which they are tried again. */
static void orders_due(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static const struct source_ops orders_ops = { orders_ready, orders_due };
static const struct source_ops parent_ops = { parent_ready, parent_due };

/* Once in a turn, however many they are. */
static void say_lost(struct worker *w)
{
	struct log_line l;
	if (w->clients.lost > 0 && log_begin(&l, LOG_LEVEL_WARNING)) {
		log_text(&l, "event", "tls_lost");
		log_int(&l, "connections", w->clients.lost);
		log_text(&l, "error", strerror(w->clients.lost_error));
		log_end(&l);
	}
	w->clients.lost = 0;
}

static void turn_end(struct loop *loop, void *context)
{
	struct worker *w = context;
	client_reap(&w->clients);
	say_lost(w);
	if (w->orders.fd < 0 && has_room(w) && loop_watch(loop, &w->orders, w->orders_fd, EPOLLIN) < 0)
		loop_set_due(loop, &w->orders, loop_now(loop) + LOOP_SECOND);
	if (w->ending && !w->clients.first)
		loop_stop(loop);
	log_flush();
}

int worker_init(struct worker *w, SSL_CTX *context, const struct context_files *files, int orders, int parent, int64_t timeout)
{
	*w = (struct worker){ .context = context, .files = *files, .timeout = timeout, .orders_fd = orders, .nofile = sock_raise_nofile() };
	int e = loop_init(&w->loop, 2 * WORKER_CLIENTS + 8);
	if (e < 0)
		return e;
	w->clients.loop = &w->loop;
	w->loop.turn_end = turn_end;
	w->loop.turn_end_context = w;
	source_init(&w->orders, &orders_ops);
	source_init(&w->parent, &parent_ops);
	e = loop_watch(&w->loop, &w->orders, orders, EPOLLIN);
	return e < 0 ? e : loop_watch(&w->loop, &w->parent, parent, EPOLLIN);
}

int worker_run(struct worker *w)
{
	return loop_run(&w->loop);
}

void worker_fini(struct worker *w)
{
	client_end_all(&w->clients);
	loop_close(&w->loop, &w->parent);
	loop_unwatch(&w->loop, &w->orders);
	close(w->orders_fd);
	SSL_CTX_free(w->context);
	peers_fini(&w->peers);
	loop_fini(&w->loop);
}
