/* The tour, gate: whether the clients that come are the clients that there are. A monitor in the next rack is told from a gateway by what it does: it says HELO and leaves, it does
 * not talk too early, and it sends no mail. */
#include "gate/guard.h"

#include <string.h>

#include "core/log.h"
#include "core/metrics.h"
#include "gate/front.h"
#include "gate/session.h"

static void set_blind(struct guard *guard, bool blind)
{
	metrics_add(METRIC_blind, blind - guard->blind);
	guard->blind = blind;
}

/* Boyer and Moore's vote: whoever has more than half of the connections is the one that is left. */
void guard_came(struct front *front, const struct addr *client)
{
	struct guard *g = &front->guard;
	int64_t now = loop_now(&front->loop);
	if (g->since == 0 || now >= g->since + GUARD_WINDOW) {
		if (g->said > 0 && now >= g->said + GUARD_WINDOW)
			set_blind(g, false);
		g->since = now;
		g->before = metrics_sum_rows(METRIC_connections, front_rows(front)) - 1;
		g->lead = g->seen = g->spoke = 0;
	}
	bool same = g->lead > 0 && addr_same_ip(&g->who, client);
	if (same) {
		g->lead++;
		g->seen++;
	} else if (g->lead > 0) {
		g->lead--;
	} else if (addr_is_private(client)) {
		g->who = *client;
		g->lead = g->seen = 1;
		g->spoke = 0;
	}
}

/* Somebody has seen to it that it says who its clients are. */
static bool is_balancer(const struct front *front, const struct addr *address)
{
	for (size_t i = 0; i < front->conf->listens_len; i++)
		if (front->conf->listens[i].proxy && conf_has(&front->conf->listens[i].trusted, address))
			return true;
	return false;
}

static void say(struct front *front, int64_t all)
{
	char text[ADDR_TEXT], msg[512];
	struct guard *g = &front->guard;
	struct log_line l;
	struct buf b;
	addr_format(&g->who, text);
	buf_init_fixed(&b, msg, sizeof(msg));
	buf_putf(&b, "nearly all clients come from %s: if that is a gateway (a container's network, a NAT, a load balancer), pause, access database and limits are about it and not "
	         "about the clients: let it pass on who they are (listen with proxy = yes and trust = { \"%s\" }), or use a network that keeps their addresses; if it is one host "
	         "that only looks whether the door answers, list it in health", text, text);
	log_begin(&l, LOG_LEVEL_WARNING);
	log_text(&l, "event", "one_client");
	log_addr(&l, "client", &g->who);
	log_int(&l, "connections", g->seen);
	log_int(&l, "of", all);
	log_text(&l, "msg", buf_text(&b));
	log_end(&l);
}

/* What a program was told whose client has been handed to it is not known: it was no exempt one, at least. */
static bool speaks(const struct session *s)
{
	return s && ((s->token > 0 && (s->verdict == CONN_PATIENT || s->verdict == CONN_KNOWN)) || s->verdict == CONN_EARLY || s->would == CONN_EARLY || s->verdict == CONN_REFUSED || s->relay.in.bytes >= GUARD_SPEAKS);
}

void guard_ended(struct front *front, const struct conn *conn)
{
	struct guard *g = &front->guard;
	int64_t now = loop_now(&front->loop);
	if (g->lead == 0 || !addr_same_ip(&conn->client, &g->who))
		return;
	g->spoke += speaks(conn->has_session ? conn->session : NULL);
	if (g->seen < GUARD_LEAST || g->spoke < g->seen / 10 || (g->said > 0 && now < g->said + GUARD_WINDOW) || is_balancer(front, &g->who))
		return;
	int64_t all = metrics_sum_rows(METRIC_connections, front_rows(front)) - g->before;
	if (100 * (int64_t)g->seen < GUARD_PERCENT * all)
		return;
	g->said = now;
	set_blind(g, true);
	say(front, all);
}
