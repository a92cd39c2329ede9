/* The tour, gate: those who are known. */
#include "gate/known.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/metrics.h"
#include "gate/ask.h"
#include "gate/front.h"
#include "gate/session.h"
#include "known/known_wire.h"

#define BURST 64 /* answers taken in one go */

struct who {
	struct known_key keys[2]; /* the address, and perhaps a domain */
	unsigned len;
	char domain[KNOWN_DOMAIN];
};

static const struct ask *ask_of(const struct conn *conn)
{
	return conn->has_session ? conn->session->ask : conn->ask;
}

static void identify(const struct front *front, const struct conn *conn, const struct ask *ask, struct who *out)
{
	out->len = 1;
	out->domain[0] = '\0';
	known_key_address(&out->keys[0], &conn->client, (unsigned)front->conf->known_prefix);
	if (known_domain(ask_confirmed_name(ask), &conn->client, out->domain) && known_key_domain(&out->keys[1], slice_of(out->domain)))
		out->len = 2;
}

/* Seconds since it has passed, or -1. */
static int64_t age_of(const struct known *k, const struct known_key *key)
{
	struct known_id id = known_table_id(&k->table, key);
	struct known_times times;
	int64_t now = time(NULL);
	if (!known_table_find(&k->table, &id, &times))
		return -1;
	return now > times.passed ? now - times.passed : 0; /* a clock that was set back makes nobody a stranger */
}

static int64_t ttl_of(const struct front *front)
{
	return (front->conf->known_ttl + LOOP_SECOND - 1) / LOOP_SECOND;
}

/* Behind a gateway that hides the clients nobody can be told from anybody. */
static bool is_hidden(const struct front *front, const struct conn *conn)
{
	return front->guard.blind && addr_same_ip(&conn->client, &front->guard.who);
}

static bool lasts(const struct front *front, const struct known_key *key)
{
	int64_t age = age_of(&front->known, key);
	return age >= 0 && age <= ttl_of(front);
}

bool known_address(const struct front *front, const struct addr *client)
{
	struct known_key key;
	if (!front->known.on)
		return false;
	known_key_address(&key, client, (unsigned)front->conf->known_prefix);
	return lasts(front, &key);
}

bool known_is(const struct front *front, const struct conn *conn, const struct ask *ask)
{
	struct who who;
	if (!front->known.on || is_hidden(front, conn))
		return false;
	identify(front, conn, ask, &who);
	return lasts(front, &who.keys[0]) || (who.len > 1 && lasts(front, &who.keys[1]));
}

static bool send_message(const struct front *front, enum known_said said, const struct conn *conn, const struct who *who)
{
	struct known_message m = { .magic = KNOWN_WIRE_MAGIC, .said = (uint8_t)said, .has_domain = who->len > 1, .front = (uint16_t)front->index,
		.conn = (uint32_t)(conn - front->conns), .client = conn->client };
	memcpy(m.domain, who->domain, strlen(who->domain) + 1);
	return send(front->known.messages, &m, offsetof(struct known_message, domain) + strlen(who->domain) + 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

void known_ask(struct front *front, const struct conn *conn, const struct ask *ask)
{
	struct who who;
	if (!front->known.on || !front->known.shared || is_hidden(front, conn))
		return;
	identify(front, conn, ask, &who);
	if (!send_message(front, KNOWN_ASK, conn, &who))
		metrics_add(METRIC_known_unheard, 1);
}

/* Exempt clients need it not; whom the access database does not want, or who is observed and had been refused, is not made a friend of. */
static bool may_pass(const struct front *front, const struct conn *conn)
{
	const struct ask *ask = ask_of(conn);
	if (conn->has_session && (conn->session->would != CONN_UNDECIDED || conn->session->forbidden))
		return false;
	return front->known.on && !conn->exempt && !conn->early && !conn->probe && !is_hidden(front, conn) && !(ask && ask->kept && rules_blocks(ask->kept));
}

static bool is_due(const struct front *front, const struct who *who)
{
	int64_t lately = ttl_of(front) / 16 < KNOWN_RENEWED ? ttl_of(front) / 16 : KNOWN_RENEWED;
	for (unsigned i = 0; i < who->len; i++) {
		int64_t age = age_of(&front->known, &who->keys[i]);
		if (age < 0 || age > lately)
			return true;
	}
	return false;
}

static void tell(struct front *front, const struct conn *conn, enum known_said said, enum metric counter)
{
	struct who who;
	if (!may_pass(front, conn))
		return;
	identify(front, conn, ask_of(conn), &who);
	if (!is_due(front, &who))
		return;
	metrics_add(send_message(front, said, conn, &who) ? counter : METRIC_known_unheard, 1);
}

void known_passed(struct front *front, const struct conn *conn)
{
	tell(front, conn, KNOWN_PASSED, METRIC_known_passed);
}

void known_unseen(struct front *front, const struct conn *conn)
{
	tell(front, conn, KNOWN_WAITED, METRIC_known_waited);
}

/* Other doors may know it where this one does not. */
void known_forfeit(struct front *front, const struct conn *conn)
{
	struct who who;
	bool any = false;
	if (!front->known.on || conn->probe)
		return;
	identify(front, conn, ask_of(conn), &who);
	for (unsigned i = 0; i < who.len; i++)
		any = any || age_of(&front->known, &who.keys[i]) >= 0;
	if (any)
		metrics_add(METRIC_known_forfeited, 1);
	if ((any || front->known.shared) && !send_message(front, KNOWN_FORFEITED, conn, &who))
		metrics_add(METRIC_known_unheard, 1);
}

/* ---- answers ---- */

/* What is known is the client, not the connection: one that has the same place, address and port by now is known as well. */
static void take_answer(struct front *front, const struct known_answer *a)
{
	struct conn *conn = a->conn < front->conns_used ? &front->conns[a->conn] : NULL;
	if (conn && conn->state == CONN_HOLD && conn->client.port == a->client.port && addr_same_ip(&conn->client, &a->client))
		conn_is_known(front, conn);
}

static void answers_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct front *front = (struct front *)loop;
	struct known_answer answer;
	(void)events;
	for (int i = 0; i < BURST; i++) {
		ssize_t n = recv(source->fd, &answer, sizeof(answer), MSG_DONTWAIT);
		if (n == 0)
			loop_close(loop, source);
		if (n <= 0) /* what is an error now need not be one the next time */
			return;
		if (n == (ssize_t)sizeof(answer) && answer.magic == KNOWN_WIRE_MAGIC)
			take_answer(front, &answer);
	}
}

static const struct source_ops answers_ops = { answers_ready, NULL };

int known_init(struct front *front, const struct known_setup *setup)
{
	struct known *k = &front->known;
	k->messages = -1;
	source_init(&k->answers, &answers_ops);
	if (setup->table <= 0)
		return 0;
	int e = known_table_open(&k->table, setup->table, (uint32_t)front->conf->known_max, false);
	close(setup->table);
	k->messages = setup->messages;
	k->on = e == 0;
	front->knows = k->on ? known_address : NULL;
	k->shared = setup->answers > 0 && front->conf->known_share[0] != '\0';
	if (setup->answers > 0 && e == 0 && k->shared)
		e = loop_watch(&front->loop, &k->answers, setup->answers, EPOLLIN);
	if (setup->answers > 0 && k->answers.fd < 0)
		close(setup->answers);
	return e;
}

void known_fini(struct front *front)
{
	struct known *k = &front->known;
	if (k->answers.fd >= 0)
		loop_close(&front->loop, &k->answers);
	if (k->messages > 0)
		close(k->messages);
	known_table_close(&k->table);
	k->on = false;
	k->messages = -1;
}
