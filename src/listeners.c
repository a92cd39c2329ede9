/* The tour, main: the listening sockets. */
#include "listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sock.h"

#define BACKLOG 4096        /* connections that wait to be accepted, per front and address; the system may allow less */
#define SYSTEMD_FIRST 3     /* sd_listen_fds(3) */
#define SYSTEMD_MOST 1024   /* looked at, at most */
#define BIND_PATIENCE 1000  /* milliseconds: the processes of a door whose parent was killed end within that */
#define BIND_STEP 20

static struct listeners_group *add_group(struct listeners *l, const struct addr *wanted, const struct addr *at)
{
	if (l->len == sizeof(l->all) / sizeof(l->all[0]))
		return NULL;
	struct listeners_group *g = &l->all[l->len++];
	*g = (struct listeners_group){ .wanted = *wanted, .at = *at };
	return g;
}

static bool same(const struct addr *a, const struct addr *b)
{
	return addr_same_ip(a, b) && a->port == b->port;
}

/* ---- inherited ---- */

/* They come in the order of a group's indexes. Two groups of one wanted address, which there may be where the port is 0, differ by what they got. */
void listeners_inherit(struct listeners *l, const struct takeover *t)
{
	for (unsigned i = 0; i < t->sockets_len; i++) {
		const struct takeover_socket *s = &t->sockets[i];
		struct listeners_group *g = NULL;
		for (unsigned n = 0; n < l->len && !g; n++)
			if (same(&l->all[n].wanted, &s->wanted) && same(&l->all[n].at, &s->at))
				g = &l->all[n];
		if (!g)
			g = add_group(l, &s->wanted, &s->at);
		if (!g || g->len == LISTENERS_FRONTS || s->index != g->len) {
			close(s->fd);
			continue;
		}
		g->shared = s->shared;
		g->fds[g->len++] = s->fd;
	}
}

static int option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

static void take_from_systemd(struct listeners *l, int fd)
{
	struct addr at;
	if (option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1 || !sock_local(fd, &at)) {
		log_event(LOG_LEVEL_WARNING, "socket_unused", "descriptor %d of socket activation is no listening TCP socket", fd);
		close(fd);
		return;
	}
	struct listeners_group *g = add_group(l, &at, &at);
	if (!g) {
		close(fd);
		return;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	sock_nodelay(fd);
	g->origin = "socket activation";
	g->shared = option(fd, SO_REUSEPORT) != 1;
	g->fds[g->len++] = fd;
}

/* sd_listen_fds(3): they are ours if LISTEN_PID is. Which section one belongs to its address says, and not its name. */
void listeners_from_systemd(struct listeners *l)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	long n = pid && fds && strtol(pid, NULL, 10) == (long)getpid() ? strtol(fds, NULL, 10) : 0;
	for (long i = 0; i < n && i < SYSTEMD_MOST; i++) /* what does not fit is closed */
		take_from_systemd(l, SYSTEMD_FIRST + (int)i);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

/* ---- bound ---- */

static int cannot_listen(const struct conf_listen *listen, int error)
{
	char text[ADDR_TEXT];
	addr_format_port(&listen->at, text);
	fprintf(stderr, "tarry: %s: listen \"%s\": %s%s\n", listen->where, text, strerror(-error),
	        error == -EADDRINUSE ? "; another server has this port: see `ss -ltnp`" : error == -EACCES ? "; ports below 1024 need root" : "");
	return error == -EACCES ? EX_NOPERM : EX_OSERR;
}

static bool has_port(const struct listeners *l, uint16_t port)
{
	for (unsigned i = 0; i < l->len; i++)
		if (l->all[i].at.port == port)
			return true;
	return false;
}

/* A first one without SO_REUSEPORT shows whether somebody else listens there: with it, we would share the port silently. */
static int find_port(struct addr *at)
{
	static const struct timespec step = { 0, BIND_STEP * 1000000L };
	int probe = sock_listen(at, 1, false);
	for (int waited = 0; probe == -EADDRINUSE && waited < BIND_PATIENCE; waited += BIND_STEP) {
		nanosleep(&step, NULL);
		probe = sock_listen(at, 1, false);
	}
	if (probe < 0)
		return probe;
	if (at->port == 0)
		sock_local(probe, at);
	close(probe);
	return 0;
}

/* Until it is known how many fronts there are, the first socket gets all: without a rule the kernel would spread them. */
static int grow(struct listeners_group *g, unsigned fronts)
{
	if (g->len == 1 && fronts > 1 && !g->shared) {
		int e = sock_steer_by_client(g->fds[0], 1);
		if (e < 0)
			return e;
	}
	while (g->len < fronts && !g->shared) {
		int fd = sock_listen(&g->at, BACKLOG, true);
		if (fd == -EADDRINUSE && g->origin && g->len == 1) { /* systemd has bound it as somebody else */
			g->shared = true;
			return 0;
		}
		if (fd < 0)
			return fd;
		sock_nodelay(fd); /* inherited by the connections */
		g->fds[g->len++] = fd;
	}
	return 0;
}

static struct listeners_group *find(struct listeners *l, const struct addr *wanted)
{
	for (unsigned i = 0; i < l->len; i++)
		if (!l->all[i].used && (same(&l->all[i].wanted, wanted) || same(&l->all[i].at, wanted)))
			return &l->all[i];
	return NULL;
}

/* An address that overlaps with one of ours, as 127.0.0.1 with 0.0.0.0, is not somebody else's. */
static int bind_section(struct listeners *l, unsigned n, struct conf_listen *listen, unsigned fronts, bool rehearses)
{
	struct listeners_group *g = find(l, &listen->at);
	if (!g) {
		struct addr at = listen->at;
		int e = at.port != 0 && has_port(l, at.port) ? 0 : find_port(&at);
		g = e < 0 ? NULL : add_group(l, &listen->at, &at);
		if (!g)
			return cannot_listen(listen, e < 0 ? e : -ENFILE);
	}
	g->used = true;
	l->of[n] = g;
	int e = rehearses ? 0 : grow(g, fronts);
	if (e < 0)
		return cannot_listen(listen, e);
	listen->at = g->at;
	return EX_OK;
}

int listeners_bind(struct listeners *l, struct conf *conf, unsigned fronts, bool rehearses)
{
	size_t most = 0;
	for (unsigned n = 0; n < conf->listens_len; n++) {
		int status = bind_section(l, n, &conf->listens[n], fronts, rehearses);
		if (status != EX_OK)
			return status;
		most += (l->of[n]->len + fronts - 1) / fronts;
	}
	l->sections = (unsigned)conf->listens_len;
	if (most <= FRONT_LISTENERS)
		return EX_OK;
	fprintf(stderr, "tarry: %s: fronts = %u: each would have to accept from %zu sockets, and it can from %d; restart the door, or have more fronts or fewer addresses\n",
	        conf_where(conf, "fronts"), fronts, most, FRONT_LISTENERS);
	return EX_CONFIG;
}

int listeners_steer(const struct listeners *l, unsigned fronts)
{
	for (unsigned n = 0; n < l->sections; n++) {
		int e = l->of[n]->len > 1 ? sock_steer_by_client(l->of[n]->fds[0], fronts) : 0;
		if (e < 0)
			return e;
	}
	return 0;
}

bool listeners_are_shared(const struct listeners *l)
{
	for (unsigned n = 0; n < l->sections; n++)
		if (l->of[n]->shared)
			return true;
	return false;
}

/* ---- shared out ---- */

static bool is_of(const struct listeners_group *g, unsigned i, unsigned front, unsigned fronts)
{
	return front != UINT_MAX && (g->shared || i % fronts == front);
}

unsigned listeners_of_front(const struct listeners *l, unsigned front, unsigned fronts, int *fds, struct front_listener *what)
{
	unsigned len = 0;
	for (unsigned n = 0; n < l->sections; n++)
		for (unsigned i = 0; i < l->of[n]->len && len < FRONT_LISTENERS; i++)
			if (is_of(l->of[n], i, front, fronts)) {
				fds[len] = l->of[n]->fds[i];
				what[len++] = (struct front_listener){ .listen = n, .shared = l->of[n]->shared && fronts > 1 };
			}
	return len;
}

void listeners_close_others(const struct listeners *l, unsigned front, unsigned fronts)
{
	for (unsigned g = 0; g < l->len; g++)
		for (unsigned i = 0; i < l->all[g].len; i++)
			if (!l->all[g].used || !is_of(&l->all[g], i, front, fronts))
				close(l->all[g].fds[i]);
}

static void close_group(struct listeners_group *g)
{
	for (unsigned i = 0; i < g->len; i++)
		close(g->fds[i]);
	g->len = 0;
}

void listeners_drop_unused(struct listeners *l)
{
	for (unsigned g = 0; g < l->len; g++) {
		char text[ADDR_TEXT];
		if (l->all[g].used || l->all[g].len == 0)
			continue;
		addr_format_port(&l->all[g].at, text);
		if (l->all[g].origin)
			log_event(LOG_LEVEL_WARNING, "socket_unused", "%s comes by socket activation, but no section listen has that address", text);
		else
			log_event(LOG_LEVEL_NOTICE, "not_listening", "%s any more", text);
		close_group(&l->all[g]);
	}
}

void listeners_close(struct listeners *l)
{
	for (unsigned g = 0; g < l->len; g++)
		close_group(&l->all[g]);
}

void listeners_put(const struct listeners *l, struct takeover *t)
{
	for (unsigned g = 0; g < l->len; g++)
		for (unsigned i = 0; i < l->all[g].len && t->sockets_len < TAKEOVER_SOCKETS; i++)
			t->sockets[t->sockets_len++] = (struct takeover_socket){ .wanted = l->all[g].wanted, .at = l->all[g].at, .index = i, .shared = l->all[g].shared, .fd = l->all[g].fds[i] };
}
