/* Fuzz target: a whole front, with a clock moved by hand. The input is a script: its first byte chooses the pause, the mode, the tarpit's delay and the like, then each step is one byte for what
 * happens and one for to whom, when or how much. Clients and the backend are the far ends of socket pairs and of a Unix socket.
 *
 * What must hold at every moment: nobody is at the backend whose pause is not over, or who has said a byte before the greeting went out; nothing but 554
 * and 421 is written before that. Where clients are observed nobody is refused, and talk changes nothing. And at the end, when all have left and time has
 * passed: nothing is open, counted or leaked. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/conf.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "gate/front.h"
#include "gate/session.h"
#include "smtp/proxyhdr.h"
#include "check.h"

#define CLIENTS 12    /* at the same time */
#define BACKENDS 12
#define STEPS 300     /* of a script at most */
#define FIRST_PORT 1000
#define DESCRIPTORS 256 /* those below are counted; no script needs as many */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct client {
	int fd;            /* -1: none */
	int64_t came;
	uint16_t port;     /* finds its connection in the front */
	bool talked;       /* before it was greeted */
	bool heard;        /* the first bytes it was sent have been looked at */
	bool teased;       /* it has read the first line of a greeting (greet_teaser) */
};

struct world {
	struct front front;
	struct client clients[CLIENTS];
	int backends[BACKENDS];
	int listener; /* of the backend; -1: it is down */
	uint16_t port;
	int64_t stress_before; /* times that it has begun */
	const uint8_t *at, *end;
	void (*front_turn_end)(struct loop *loop, void *context);
};

static struct conf conf;
static char backend_path[64];

static void load_once(void)
{
	static const struct conf_override overrides[] = { { "hostname=mail.example.org" }, { "max_connections=8" }, { "max_per_client=4" },
		{ "reserve_descriptors=8" }, { "max_bad_commands=5" } };
	struct buf errors;
	if (conf.hostname)
		return;
	signal(SIGPIPE, SIG_IGN);
	snprintf(backend_path, sizeof(backend_path), "@tarry-fuzz-conn-%d", (int)getpid());
	buf_init(&errors, 4096);
	check(conf_load(&conf, NULL, overrides, sizeof(overrides) / sizeof(overrides[0]), &errors, &errors));
	buf_fini(&errors);
}

/* How many descriptors are open, in one system call: it is asked twice for each input. */
static int descriptors_open(void)
{
	struct pollfd all[DESCRIPTORS];
	int open = 0;
	for (int i = 0; i < DESCRIPTORS; i++)
		all[i] = (struct pollfd){ .fd = i };
	check(poll(all, DESCRIPTORS, 0) >= 0);
	for (int i = 0; i < DESCRIPTORS; i++)
		open += !(all[i].revents & POLLNVAL);
	return open;
}

static bool pause_over(const struct world *w, const struct client *c)
{
	/* Once there has been stress, those who came before may have waited as long as it wants. */
	bool stressed = metrics_sum(METRIC_stress_begun) > w->stress_before && conf.stress_greet_pause < conf.greet_pause;
	return loop_now(&w->front.loop) >= c->came + (stressed ? conf.stress_greet_pause : conf.greet_pause);
}

static struct client *client_of(struct world *w, uint16_t port)
{
	for (int i = 0; i < CLIENTS; i++)
		if (w->clients[i].port == port)
			return &w->clients[i];
	return NULL;
}

static bool is_observed(void)
{
	return conf.mode == CONF_OBSERVE;
}

/* ---- what must hold ---- */

#define TEASER "220-mail.example.org ESMTP\r\n"
#define OWED "220 mail.example.org ESMTP "
#define REFUSED "554 mail.example.org ESMTP "

/* What follows the first line of a greeting is never of another code; and it is its end for who has waited, or says that nothing is taken. */
static void look_behind_teaser(const struct world *w, struct client *c, const char *said, size_t len)
{
	if (len < 4)
		return;
	c->heard = true;
	check(memcmp(said, "220", 3) == 0);
	bool refused = len >= strlen(OWED) && memcmp(said, OWED, strlen(OWED)) == 0;
	check(refused || (pause_over(w, c) && (!c->talked || is_observed())));
}

static void look_at_client(const struct world *w, struct client *c)
{
	char said[200];
	if (c->fd < 0 || c->heard)
		return;
	ssize_t n = sock_peek(c->fd, said, sizeof(said));
	if (n < 4)
		return;
	if (c->teased) {
		look_behind_teaser(w, c, said, (size_t)n);
		return;
	}
	size_t teaser = strlen(TEASER);
	if (conf.greet_teaser && conf.greet_pause > 0 && (size_t)n >= teaser && memcmp(said, TEASER, teaser) == 0) {
		look_behind_teaser(w, c, said + teaser, (size_t)n - teaser);
		return;
	}
	c->heard = true;
	bool refused = memcmp(said, "554 ", 4) == 0 || memcmp(said, "421 ", 4) == 0 || memcmp(said, "521 ", 4) == 0;
	check(refused || (pause_over(w, c) && (!c->talked || conf.greet_pause == 0 || is_observed())));
	check(!is_observed() || (size_t)n < strlen(REFUSED) || memcmp(said, REFUSED, strlen(REFUSED)) != 0);
}

static void look(struct world *w)
{
	unsigned open = 0, held = 0, tarpit = 0;
	for (uint32_t i = 0; i < w->front.conns_used; i++) {
		const struct conn *conn = &w->front.conns[i];
		check(conn->state < CONN_STATES && conn->state != CONN_DONE);
		open += conn->state != CONN_FREE;
		held += conn->state == CONN_HOLD;
		tarpit += conn->state == CONN_TARPIT;
		check(conn->state != CONN_HOLD || !conn->has_session || is_observed());
		check(conn->state != CONN_TARPIT || !conn->has_session);
		check(conn->state != CONN_TARPIT || !is_observed());
		/* But by its backend, when the first line of its greeting is out. */
		check(conn->state != CONN_REFUSE || !is_observed() || (conf.greet_teaser && conn->has_session && conn->session->cause == CONN_DECLINED));
		check((conn->state == CONN_FREE) == (conn->source.fd < 0));
		if (conn->state != CONN_DIAL && conn->state != CONN_RELAY)
			continue;
		const struct client *c = client_of(w, conn->client.port);
		if (!c)
			continue; /* its place has been taken by another one */
		check(pause_over(w, c));
		check(conn->state == CONN_DIAL || !c->talked || conf.greet_pause == 0 || is_observed());
	}
	check(open == w->front.open);
	check((int64_t)held == metrics_sum(METRIC_held));
	check((int64_t)tarpit == metrics_sum(METRIC_tarpit) && tarpit <= conf.refuse_tarpit_max);
	check(w->front.stress.on == (metrics_sum(METRIC_stress) > 0));
	for (int i = 0; i < CLIENTS; i++)
		look_at_client(w, &w->clients[i]);
}

/* At the end of each turn, also of those on the way of a clock that moves far. */
static void turn_end(struct loop *loop, void *context)
{
	struct world *w = context;
	w->front_turn_end(loop, &w->front);
	look(w);
}

static void settle(struct world *w)
{
	for (int i = 0; i < 6; i++)
		check(loop_turn(&w->front.loop, 0) == 0);
}

/* ---- the steps ---- */

static uint8_t take(struct world *w)
{
	return w->at < w->end ? *w->at++ : 0;
}

static void step_connect(struct world *w, uint8_t who)
{
	static const char *const addresses[] = { "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2" };
	struct client *c = &w->clients[who % CLIENTS];
	struct addr from;
	int pair[2];
	if (c->fd >= 0)
		return;
	check(addr_parse(slice_of(addresses[who / CLIENTS % 4]), &from));
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	from.port = w->port++;
	*c = (struct client){ .fd = pair[0], .came = loop_now(&w->front.loop), .port = from.port };
	listen_admit(&w->front, pair[1], &from, CONF_TLS_STARTTLS);
}

static bool is_relayed(struct world *w, const struct client *c)
{
	for (uint32_t i = 0; i < w->front.conns_used; i++)
		if (w->front.conns[i].client.port == c->port)
			return w->front.conns[i].state == CONN_RELAY;
	return false;
}

/* Bytes of the script, or lines that lead somewhere. True: some were taken. */
static bool send_some(struct world *w, int fd, uint8_t how)
{
	static const char *const lines[] = { "HELO x\r\n", "EHLO x\r\nMAIL FROM:<a@b>\r\n", "NOOP\r\n", "QUIT\r\n", "DATA\r\n\r\n.\r\n", "RSET\n", "220 hello\r\n", "220-hello\r\n220 you\r\n", "554 no\r\n", "22",
		"\x16\x03\x01", "GET / HTTP/1.0\r\n", "250 ok\r\n", "221 bye\r\n" };
	static const char flood[20000];
	size_t lines_len = sizeof(lines) / sizeof(lines[0]);
	if (how < 32) {
		size_t n = (size_t)(w->end - w->at) < how ? (size_t)(w->end - w->at) : how;
		const uint8_t *at = w->at;
		w->at += n;
		return send(fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
	}
	if (how > 240)
		return send(fd, flood, sizeof(flood), MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
	const char *line = lines[how % lines_len];
	return send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

static void read_some(int fd)
{
	char bytes[30000];
	(void)!recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
}

static void step_client(struct world *w, unsigned what, uint8_t who)
{
	struct client *c = &w->clients[who % CLIENTS];
	char byte;
	if (c->fd < 0)
		return;
	look_at_client(w, c); /* before it reads what it was sent */
	c->teased = c->teased || (what > 2 && conf.greet_teaser && sock_peek(c->fd, &byte, 1) > 0); /* and has the first line behind it */
	switch (what) {
	case 0:
		if (send_some(w, c->fd, take(w)) && !is_relayed(w, c))
			c->talked = true;
		break;
	case 1:
		shutdown(c->fd, SHUT_WR);
		break;
	case 2:
		close(c->fd);
		c->fd = -1;
		break;
	default:
		read_some(c->fd);
	}
}

/* Who arrives at the backend is somebody who has waited. */
static void step_accept(struct world *w, uint8_t who)
{
	int *place = &w->backends[who % BACKENDS];
	struct addr from;
	char bytes[PROXYHDR_V2_MAX];
	struct proxyhdr h;
	const char *why;
	if (*place >= 0 || w->listener < 0)
		return;
	*place = sock_accept(w->listener, &from);
	if (*place < 0)
		return;
	ssize_t n = recv(*place, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK);
	if (n <= 0)
		return; /* the door has given up already */
	int len = proxyhdr_read_v2((struct slice){ bytes, (size_t)n }, &h, &why);
	check(len > 0);
	check(recv(*place, bytes, (size_t)len, MSG_DONTWAIT) == len);
	const struct client *c = client_of(w, h.client.port);
	if (c)
		check(pause_over(w, c));
}

static void step_backend(struct world *w, unsigned what, uint8_t who)
{
	int *fd = &w->backends[who % BACKENDS];
	if (*fd < 0)
		return;
	switch (what) {
	case 0:
		send_some(w, *fd, take(w));
		break;
	case 1:
		shutdown(*fd, SHUT_WR);
		break;
	case 2:
		close(*fd);
		*fd = -1;
		break;
	default:
		read_some(*fd);
	}
}

static void step_listener(struct world *w)
{
	if (w->listener >= 0) {
		close(w->listener);
		w->listener = -1;
	} else {
		w->listener = sock_listen_unix(backend_path, 2);
		check(w->listener >= 0);
	}
}

static void step(struct world *w)
{
	uint8_t what = take(w), who = take(w);
	switch (what % 16) {
	case 0: case 1:
		step_connect(w, who);
		break;
	case 2: case 3: case 4: case 5:
		step_client(w, what % 16 - 2, who);
		break;
	case 6:
		step_accept(w, who);
		break;
	case 7: case 8: case 9: case 10:
		step_backend(w, what % 16 - 7, who);
		break;
	case 11:
		step_listener(w);
		break;
	case 12: case 13:
		loop_advance(&w->front.loop, who * 10 * LOOP_MS);
		break;
	case 14:
		loop_advance(&w->front.loop, who * LOOP_SECOND);
		break;
	default:
		if (who < 2)
			front_stop_all(&w->front, who == 0 ? CONN_STOP : CONN_LEAVE);
		else
			loop_advance(&w->front.loop, who);
	}
	if (what < 192) /* else the next step happens in the same turn */
		settle(w);
}

/* ---- from nothing to nothing ---- */

static void begin(struct world *w, const uint8_t *data, size_t size)
{
	static const int64_t pauses[] = { 0, LOOP_MS, 300 * LOOP_MS, 5 * LOOP_SECOND };
	*w = (struct world){ .port = FIRST_PORT, .at = data, .end = data + size };
	static const int64_t delays[] = { 0, 700 * LOOP_MS, 20 * LOOP_SECOND, 0 };
	uint8_t how = take(w);
	conf.greet_pause = pauses[how % 4];
	/* Later pauses and reactions, by the upper half. */
	conf.helo_pause = conf.rcpt_pause = how & 16 ? 2 * LOOP_SECOND : 0;
	conf.mail_pause = conf.eom_pause = how & 32 ? LOOP_SECOND : 0;
	conf.early_helo = conf.early_command = how >> 6 < 3 ? how >> 6 : 0;
	conf.mode = how & 64 ? CONF_OBSERVE : CONF_ENFORCE;
	conf.refuse_tarpit = delays[how >> 4 & 3];
	conf.refuse_tarpit_max = how & 8 ? 2 : 100;
	conf.bad_rcpt_throttle = how & 128 ? 1 : 0;
	w->stress_before = metrics_sum(METRIC_stress_begun);
	conf.greet_teaser = how & 4;
	struct front_setup setup = { .conf = &conf, .mail_path = backend_path, .fronts = 1, .parent = -1, .questions = -1, .manual_clock = true };
	for (int i = 0; i < CLIENTS; i++)
		w->clients[i].fd = -1;
	for (int i = 0; i < BACKENDS; i++)
		w->backends[i] = -1;
	w->listener = sock_listen_unix(backend_path, 2);
	check(w->listener >= 0);
	check(front_init(&w->front, &setup) == 0);
	w->front_turn_end = w->front.loop.turn_end;
	w->front.loop.turn_end = turn_end;
	w->front.loop.turn_end_context = w;
}

static void leave(struct world *w)
{
	for (int i = 0; i < CLIENTS; i++)
		if (w->clients[i].fd >= 0)
			close(w->clients[i].fd);
	for (int i = 0; i < BACKENDS; i++)
		if (w->backends[i] >= 0)
			close(w->backends[i]);
	if (w->listener >= 0)
		close(w->listener);
	memset(w->clients, 0xff, sizeof(w->clients)); /* no descriptors, no ports */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	static char log_memory[64 * 1024];
	struct buf log;
	load_once();
	int before = descriptors_open();
	buf_init_fixed(&log, log_memory, sizeof(log_memory));
	log_capture(&log);
	begin(&world, data, size);
	for (int i = 0; i < STEPS && world.at < world.end; i++)
		step(&world);
	bool quick = world.at > data && (world.at[-1] & 1); /* half of the scripts end in the middle of everything */
	leave(&world);
	if (!quick) {
		settle(&world);
		loop_advance(&world.front.loop, conf.greet_pause + conf.backend_timeout + conf.relay_timeout + conf.refuse_lifetime + conf.linger);
		check(world.front.open == 0);
		check(world.front.loop.heap_len == 0);
	}
	front_fini(&world.front);
	check(metrics_sum(METRIC_open) == 0 && metrics_sum(METRIC_held) == 0 && metrics_sum(METRIC_paused) == 0);
	check(descriptors_open() == before);
	for (size_t i = 0; i < log.len; i++)
		check(log.at[i] == '\n' || (log.at[i] >= 0x20 && log.at[i] <= 0x7e));
	log_capture(NULL);
	return 0;
}
