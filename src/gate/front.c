/* The tour, gate: the front as a role: its memory, its loop, and the words of its parent. */
#include "gate/front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/health.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/pulse.h"
#include "core/sandbox_conf.h"
#include "core/sock.h"
#include "access/access.h"
#include "gate/early.h"
#include "gate/owner.h"
#include "gate/seal.h"
#include "gate/session.h"
#include "gate/states.h"

#define FRONT_STOP_WAIT (500 * LOOP_MS) /* how long the 421s of a stopping door may take to go out, and who is relayed may take to finish that sends no message */
#define FRONT_STOP_LOOK (50 * LOOP_MS)  /* how often it is looked at then who does */
#define FRONT_SERVERS 16                /* name servers that it may ask */
#define FRONT_ANSWERS 65536             /* answers of maps elsewhere that are kept at most */
#define FRONT_OTHER_DEADLINES 128       /* deadlines beside those of connections */

static void turn_end(struct loop *loop, void *context)
{
	struct front *front = context;
	states_reap(front);
	arrive_reap(front);
	if (front->leaving)
		front_may_leave(front);
	if (log_pending() && front->parent.place == 0)
		loop_set_due(loop, &front->parent, loop_now(loop) + LOG_GATHER_MS * LOOP_MS);
}

/* Whether names are of any use with this table and these backends. */
static void look_for_names(struct front *front)
{
	bool wanted = front->access && (access_wants_name(front->access, ACCESS_GREETPAUSE) || access_wants_name(front->access, ACCESS_CONNECT) ||
		access_wants_name(front->access, ACCESS_UNTAGGED));
	for (unsigned tag = ACCESS_HELOPAUSE; tag <= ACCESS_EOMPAUSE; tag++)
		wanted = wanted || (front->access && front->conf->stage_pause_keys && access_wants_name(front->access, (enum access_tag)tag));
	for (size_t i = 0; i < front->conf->local_greet_pause.len; i++) {
		const char *text = front->conf->local_greet_pause.at[i];
		struct slice key = { text, strcspn(text, " \t") };
		struct addr address;
		wanted = wanted || (!slice_is(key, "*") && !addr_parse(key, &address));
	}
	wanted = wanted || (front->access && macros_want_name(slice_of(front->conf->reject_msg))) || early_wants_name(front->conf);
	for (size_t i = 0; i < front->conf->backends_len; i++)
		wanted = wanted || front->conf->backends[i].xclient;
	front->asks_names = wanted || front->conf->resolve == FRONT_RESOLVE_ALWAYS;
}

static void take_access(struct front *front, unsigned map, int fd)
{
	if (!front->access || !access_replace(front->access, map, fd))
		log_event(LOG_LEVEL_ERROR, "access_error", "an access table from the parent could not be opened: the old one stays");
	look_for_names(front);
}

/* Any descriptor will do: it only keeps a place. */
static void take_spare(struct front *front)
{
	front->spare = fcntl(front->parent.fd, F_DUPFD_CLOEXEC, 0);
}

static void give_spare(struct front *front)
{
	if (front->spare >= 0)
		close(front->spare);
	front->spare = -1;
}

/* ---- the numbers of all fronts ---- */

unsigned front_rows(const struct front *front)
{
	unsigned rows = pulse_fronts();
	return rows > 0 ? rows : front->fronts;
}

unsigned front_row(const struct front *front)
{
	return front->rows ? front->rows[front->index] : front->index;
}

/* ---- the end of a front, while others go on ---- */

void front_may_leave(struct front *front)
{
	if (front->open == 0 && arrive_waiting(front) == 0 && !handoff_is_busy(front))
		loop_stop(&front->loop);
}

/* Once is enough: who is told again, because nobody knew whether it had been, has nothing more to do. */
static void leave(struct front *front, int fd, bool empty)
{
	if (fd >= 0 && !front->leaving)
		handoff_begin(front, fd);
	else if (fd >= 0)
		close(fd);
	if (front->leaving)
		return;
	front->leaving = true;
	metrics_add(METRIC_serving, -1); /* nobody passes clients on to it any more */
	metrics_add(METRIC_leaving, 1);
	if (empty)
		listen_empty(front);
	else
		listen_stop(front); /* who waits to be accepted is accepted by the others */
}

static void take_word(struct front *front, char word, int fd)
{
	unsigned map = (unsigned)(word - FRONT_WORD_ACCESS);
	if (word == FRONT_WORD_LEAVE || word == FRONT_WORD_DRAIN)
		leave(front, fd, word == FRONT_WORD_DRAIN);
	else if (word == FRONT_WORD_HEIR && fd >= 0)
		handoff_receive(front, fd);
	else if (map < ACCESS_MAPS && fd < 0)
		log_event(LOG_LEVEL_ERROR, "access_error", "an access table from the parent got lost on its way: the old one stays");
	else if (map < ACCESS_MAPS)
		take_access(front, map, fd);
	else if (fd >= 0)
		close(fd);
}

static void parent_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct front *front = (struct front *)loop;
	char word;
	int fd;
	(void)events;
	/* With all descriptors in use the kernel would drop the one that comes with the word, and the old table would stay for ever. */
	give_spare(front);
	ssize_t n = sock_recv_fd(source->fd, &word, 1, &fd);
	if (n == -EAGAIN || n == -EINTR) {
		take_spare(front);
		return;
	}
	if (n <= 0) {
		front->stopping = true;
		loop_stop(loop);
		loop_unwatch(loop, source);
		return;
	}
	take_word(front, word, fd);
	take_spare(front);
}

/* The lines of the log that have come together. */
static void parent_due(struct loop *loop, struct source *source)
{
	log_flush();
	if (log_pending())
		loop_set_due(loop, source, loop_now(loop) + LOG_RETRY_MS * LOOP_MS);
}

static const struct source_ops parent_ops = { parent_ready, parent_due };

/* Its channel may be full of words at this moment. */
static void say_ready(struct front *front)
{
	front->unheard = send(front->parent.fd, &(char){ FRONT_SAYS_READY }, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1;
}

/* It turns, and says so also when it has nothing to do. */
static void pulse_due(struct loop *loop, struct source *source)
{
	struct front *front = (struct front *)loop;
	int64_t now = loop_now(loop);
	if (front->unheard && front->parent.fd >= 0)
		say_ready(front); /* or a change would wait for it in vain */
	pulse_beat(metrics_my_row(), now);
	loop_set_due(loop, source, now + PULSE_EVERY);
}

static const struct source_ops pulse_ops = { NULL, pulse_due };

/* More connections than descriptors there cannot be. */
static size_t slots_of(const struct front *front)
{
	size_t slots = (size_t)front->conf->max_connections + (size_t)listen_known_reserve(front->conf) + (size_t)front->conf->reserve_descriptors;
	return slots < front->nofile ? slots : front->nofile;
}

/* Connections that are counted at most: those that programs go on with count too. */
static size_t clients_most(const struct front *front)
{
	size_t most = front->conns_len;
	for (size_t i = 0; i < front->conf->backends_len; i++)
		most += front->conf->backends[i].kind == CONF_BACKEND_EXEC ? (size_t)front->conf->backends[i].max : 0;
	return most;
}

static int init_memory(struct front *front, backends_count *connections)
{
	/* Reserved, not used: the kernel gives a page when a slot on it is first taken. */
	front->conns_len = (uint32_t)slots_of(front);
	front->conns = calloc(front->conns_len, sizeof(*front->conns));
	if (!front->conns)
		return -ENOMEM;
	int e = backends_init(&front->backends, front->conf, connections, front_row(front), front->fronts);
	if (e == 0)
		e = clients_init(&front->clients, clients_most(front));
	if (e == 0)
		e = clients_init(&front->addresses, clients_most(front));
	if (e == 0)
		e = rates_init(&front->rates, RATES_CLIENTS, front->conf->connection_rate_window);
	if (e == 0)
		e = arrive_init(front);
	return e < 0 ? e : relay_shared_init(&front->relay);
}

static enum histogram times_of(const char *spec)
{
	return strncmp(spec, "redis", 5) == 0 ? HISTOGRAM_lookup_redis : strncmp(spec, "ldap", 4) == 0 ? HISTOGRAM_lookup_ldap : HISTOGRAM_lookup_hash;
}

static int init_lookup(struct front *front, const struct front_setup *setup)
{
	struct lookup_map maps[ACCESS_MAPS];
	unsigned len = 0;
	for (unsigned map = access_next_elsewhere(front->access, 0); map < ACCESS_MAPS && map < front->conf->access_db.len; map = access_next_elsewhere(front->access, map + 1))
		maps[len++] = (struct lookup_map){ times_of(front->conf->access_db.at[map]), health_map(map) };
	struct lookup_setup lookup = { .loop = &front->loop, .questions = setup->questions, .answers = setup->answers, .front = (uint16_t)front->index,
		.timeout = front->conf->lookup_timeout, .cache_ttl = front->conf->lookup_cache, .cache_max = FRONT_ANSWERS, .maps = maps, .maps_len = len };
	front->plan = malloc(sizeof(*front->plan));
	return front->plan ? lookup_new(&front->lookup, &lookup) : -ENOMEM;
}

/* A front that cannot ask for names serves on without them, but not for as long as it lives only because there was no memory for a moment: rules about names would not hold. */
static int init_names(struct front *front)
{
	struct names_setup setup = { front->conf->resolver, front->conf->resolve_timeout, NULL };
	char memory[300];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	look_for_names(front);
	if (front->conf->resolve == FRONT_RESOLVE_NEVER)
		return 0;
	front->names = names_new(&front->loop, &setup, &why);
	if (!front->names && errno == ENOMEM)
		return -ENOMEM;
	if (!front->names)
		log_event(LOG_LEVEL_ERROR, "no_names", "%s", buf_text(&why));
	return 0;
}

int front_init(struct front *front, const struct front_setup *setup)
{
	memset(front, 0, sizeof(*front));
	front->conf = setup->conf;
	front->mail_path = setup->mail_path;
	front->index = setup->index;
	front->fronts = setup->fronts;
	front->rows = setup->rows;
	front->nofile = sock_raise_nofile();
	front->spare = -1;
	source_init(&front->parent, &parent_ops);
	source_init(&front->pulse, &pulse_ops);
	handoff_init(front);
	stress_init(front);
	size_t deadlines = 3 * slots_of(front) + ARRIVE_MAX + FRONT_OTHER_DEADLINES; /* a connection's, its backend's, its question's */
	int e = setup->manual_clock ? loop_init_manual(&front->loop, deadlines) : loop_init(&front->loop, deadlines);
	if (e == 0)
		e = init_memory(front, setup->connections);
	if (e == 0 && setup->access_len > 0) {
		front->access = access_open(setup->access, setup->access_len, &(struct access_rules){ front->conf->access_skip, front->conf->lookup_dot_domain, front->conf->stage_pause_keys });
		e = front->access ? 0 : -EINVAL;
	}
	if (e == 0 && setup->questions >= 0)
		e = init_lookup(front, setup);
	if (setup->tls > 0) {
		int sealed = front->conns ? seal_init(front, setup->tls, setup->tls_ends_here) : -ENOMEM;
		e = e < 0 ? e : sealed;
	}
	if (e == 0)
		e = init_names(front);
	if (e == 0 && setup->parent >= 0)
		e = loop_watch(&front->loop, &front->parent, setup->parent, EPOLLIN);
	if (e == 0 && setup->parent >= 0)
		take_spare(front);
	int remembers = known_init(front, &setup->known);
	e = e < 0 ? e : remembers;
	int bans = ban_init(front, &setup->bans);
	e = e < 0 ? e : bans;
	e = e < 0 ? e : often_init(front);
	int queue = owner_start(front, setup->queues ? setup->queue : -1, setup->queues);
	e = e < 0 ? e : queue;
	int passing = handover_init(front, e == 0 && setup->passing > 0 ? setup->passing : -1);
	e = e < 0 ? e : passing;
	int started = listen_start(front, setup->listeners, setup->listens, setup->listeners_len); /* also after an error: they are the front's to close */
	e = e < 0 ? e : started;
	front->loop.turn_end = turn_end;
	front->loop.turn_end_context = front;
	if (e == 0 && !setup->manual_clock)
		pulse_due(&front->loop, &front->pulse);
	return e;
}

void front_fini(struct front *front)
{
	give_spare(front);
	listen_stop(front);
	owner_stop(front);
	handoff_fini(front);
	front_stop_all(front, CONN_LEAVE);
	for (uint32_t i = 0; i < front->conns_used; i++) {
		struct conn *conn = &front->conns[i];
		if (conn->has_session && conn->session->limit != CONN_LIMIT_NONE)
			metrics_add(METRIC_limited_open, -1);
		if (conn->has_session)
			session_free(front, conn->session);
		else
			ask_free(conn->ask);
		if (conn->proxied)
			free(front->origins[i].id);
		loop_close(&front->loop, &conn->source);
	}
	stress_fini(front);
	arrive_fini(front);
	metrics_add(METRIC_open, -(int64_t)front->open);
	handover_fini(front);
	known_fini(front);
	ban_fini(front);
	often_fini(front);
	seal_fini(front);
	names_free(front->names);
	lookup_free(front->lookup);
	free(front->plan);
	session_pool_free(front);
	access_close(front->access);
	relay_shared_fini(&front->relay);
	backends_fini(&front->backends);
	clients_fini(&front->clients);
	clients_fini(&front->addresses);
	rates_fini(&front->rates);
	free(front->conns);
	loop_fini(&front->loop);
}

static bool is_there(const struct conn *conn)
{
	return conn->state != CONN_FREE && conn->state != CONN_DONE;
}

void front_stop_all(struct front *front, enum conn_event event)
{
	for (uint32_t i = 0; i < front->conns_used; i++)
		if (is_there(&front->conns[i]))
			conn_happened(front, &front->conns[i], event);
}

/* All that are not in the middle of a message. */
static void leave_idle(struct front *front)
{
	for (uint32_t i = 0; i < front->conns_used; i++) {
		struct conn *conn = &front->conns[i];
		if (is_there(conn) && !(conn->state == CONN_RELAY && states_relay_is_busy(front, conn)))
			conn_happened(front, conn, CONN_LEAVE);
	}
}

/* The clients that wait hear that they should come again; those that are relayed may finish what is under way: a message that is being sent has more time than a dialogue in which nothing
 * would be lost. */
static void say_goodbye(struct front *front)
{
	int64_t begun = loop_now(&front->loop), soon = begun + FRONT_STOP_WAIT, end = soon + front->conf->stop_timeout;
	listen_stop(front);
	owner_take_all(front);
	arrive_stop(front);
	front_stop_all(front, CONN_STOP);
	for (int64_t now = begun; front->open > 0 && (now < soon || now < end); now = loop_now(&front->loop)) {
		if (now >= soon)
			leave_idle(front);
		if (loop_turn(&front->loop, now < soon ? soon - now : FRONT_STOP_LOOK) < 0)
			break;
	}
}

int front_confine(const struct front *front)
{
	struct sandbox_needs needs;
	struct addr servers[FRONT_SERVERS];
	sandbox_needs_init(&needs);
	sandbox_conf_front(&needs, front->conf, front->mail_path);
	int len = front->names ? names_servers(front->names, servers, FRONT_SERVERS) : 0;
	if (len < 0)
		return len;
	for (int i = 0; i < len; i++)
		sandbox_need_addr(&needs, &servers[i]);
	needs.datagrams = len > 0;
	sandbox_confine("front", (enum sandbox_mode)front->conf->sandbox, &needs, front->index == 0);
	return 0;
}

/* Who says that it is there has its walls by then: the fronts of before leave when they hear it. */
int front_run(struct front *front)
{
	if (front->parent.fd >= 0)
		say_ready(front);
	int e = loop_run(&front->loop);
	if (e == 0 && !(front->leaving && front->open == 0))
		say_goodbye(front);
	log_flush();
	return e;
}
