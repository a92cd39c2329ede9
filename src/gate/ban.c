/* The tour, gate: bans. First what counts as an offence, then whose does not, then what is said of it to the keeper; at the end the client that comes although it is banned. */
#include "gate/ban.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/macros.h"
#include "core/confreaction.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "gate/admit.h"
#include "gate/ask.h"
#include "gate/front.h"
#include "gate/known.h"
#include "gate/seal.h"
#include "gate/session.h"
#include "gate/states.h"
#include "gate/turned.h"
#include "known/known_wire.h"
#include "smtp/reply.h"

#define REPLY_LINE 512 /* bytes of a reply line at most, its end included (RFC 5321 4.5.3.1.5) */

/* ---- offences ---- */

const char *ban_offence_name(enum ban_offence what)
{
	static const char *const names[] = { "later", "refused", "limited", "forbidden" };
	return what < BAN_EARLY ? talk_kind_name((enum talk_kind)what) : what == BAN_EARLY ? "early" : names[what - BAN_LATER];
}

bool ban_offence_parse(struct slice word, uint32_t *bits)
{
	uint32_t kinds = (UINT32_C(1) << TALK_KINDS) - 1, later = UINT32_C(1) << BAN_LATER;
	if (slice_is(word, "early")) {
		*bits = kinds | later;
		return true;
	}
	for (unsigned what = 0; what < BAN_OFFENCES; what++)
		if (slice_is(word, ban_offence_name((enum ban_offence)what))) {
			*bits = UINT32_C(1) << what;
			return true;
		}
	return false;
}

static uint32_t offences_of(const struct conf *conf)
{
	uint32_t all = 0, bits;
	for (const char *p = conf->ban_offences; *p;) {
		size_t n = strcspn(p, " \t");
		if (ban_offence_parse((struct slice){ p, n }, &bits))
			all |= bits;
		p += n + strspn(p + n, " \t");
	}
	return all;
}

/* As what its offences are counted: the network that would be banned. */
static uint64_t counted_as(const struct front *front, const struct addr *client)
{
	if (!addr_is4(client))
		return addr_client_key(client);
	struct addr net = addr_mask(client, (unsigned)front->conf->ban_prefix);
	return addr_client_key(&net);
}

/* ---- who does not offend ---- */

static bool is_never(const struct front *front, const struct addr *client)
{
	bool hidden = front->guard.blind && addr_same_ip(client, &front->guard.who); /* behind a gateway that hides the clients nobody can be told from anybody */
	return hidden || addr_is_loopback(client) || (front->bans.never && conf_has(front->bans.never, client));
}

/* By the access database, or because it has no pause: its talk is never early. *observed: nothing is refused to it, and what had been is told. */
static bool is_let_in(struct front *front, const struct access_client *client, struct slice confirmed, bool *observed)
{
	struct admit a = admit_judge(front, client, confirmed);
	enum access_action action = a.answer.decision.action;
	*observed = a.observe || front->conf->mode == CONF_OBSERVE;
	return a.exempt || (a.answer.hit.found && (action == ACCESS_OK || action == ACCESS_RELAY));
}

/* Looked at when it is about to be banned only. */
static bool is_trusted(struct front *front, const struct conn *conn)
{
	const struct ask *ask = conn->has_session ? conn->session->ask : conn->ask;
	struct access_client client = { conn->client, ask_name(ask), ask ? ask->answers : NULL };
	struct addr local;
	bool observed;
	bool own = !conn->proxied && sock_local(conn->source.fd, &local) && addr_same_ip(&local, &conn->client);
	return own || conn->exempt || known_is(front, conn, ask) || is_let_in(front, &client, ask_confirmed_name(ask), &observed);
}

/* ---- the keeper is told ---- */

static void would_ban(const struct addr *client, enum ban_offence what, uint32_t count)
{
	struct log_line l;
	metrics_add(METRIC_would_banned, 1);
	if (!log_begin(&l, LOG_LEVEL_NOTICE))
		return;
	log_text(&l, "event", "ban");
	log_text(&l, "would", "banned");
	log_addr(&l, "client", client);
	log_text(&l, "reason", ban_offence_name(what));
	log_int(&l, "count", count);
	log_end(&l);
}

static void tell(struct front *front, const struct addr *client, bool proxied, enum ban_offence what, uint32_t count)
{
	struct ban_message m = { .magic = BAN_WIRE_MAGIC, .count = count, .client = *client, .proxied = proxied };
	strcpy(m.reason, ban_offence_name(what));
	if (send(front->bans.messages, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		metrics_add(METRIC_bans_unheard, 1);
}

/* Counts it. True: that was one too many. */
static bool count(struct front *front, const struct addr *client, enum ban_offence what, uint32_t *made)
{
	struct bans *b = &front->bans;
	if (!b->on || !(b->counted & UINT32_C(1) << what) || is_never(front, client))
		return false;
	metrics_add(METRIC_offences, 1);
	*made = rates_add(&b->offences, counted_as(front, client), loop_now(&front->loop));
	return *made >= front->conf->ban_after;
}

void ban_offends(struct front *front, const struct conn *conn, enum ban_offence what)
{
	uint32_t made;
	if (what == BAN_EARLY)
		what = (enum ban_offence)conn->session->kind;
	if (conn->probe || !count(front, &conn->client, what, &made) || is_trusted(front, conn))
		return;
	if (conn->observe)
		would_ban(&conn->client, what, made);
	else
		tell(front, &conn->client, conn->proxied, what, made);
	rates_forget(&front->bans.offences, counted_as(front, &conn->client));
}

void ban_refused(struct front *front, const struct conn *conn, const struct rules_answer *answer)
{
	enum conn_verdict as = session_refused_as(answer);
	if (as != CONN_TEMPFAIL && !answer->hit.failed)
		ban_offends(front, conn, as == CONN_LIMIT ? BAN_LIMITED : BAN_REFUSED);
}

void ban_offends_at_door(struct front *front, const struct addr *client, bool proxied, enum ban_offence what)
{
	const struct access_client who = { .addr = *client };
	uint32_t made;
	bool observed;
	if (!count(front, client, what, &made) || known_address(front, client) || is_let_in(front, &who, slice_of(""), &observed))
		return;
	if (observed)
		would_ban(client, what, made);
	else
		tell(front, client, proxied, what, made);
	rates_forget(&front->bans.offences, counted_as(front, client));
}

/* ---- the way in ---- */

/* Where TLS comes first a line in clear would be noise. */
static void answer(struct front *front, int fd, const struct addr *client, enum conf_tls tls)
{
	const struct macros who = { front->conf->hostname, client, slice_of(""), MACROS_FAIL };
	struct conf_reaction r;
	char memory[REPLY_LINE];
	struct buf line;
	const char *why;
	buf_init_fixed(&line, memory, sizeof(memory) - 2); /* a text that is too long is cut */
	if (tls == CONF_TLS_IMPLICIT || !conf_reaction_parse(front->conf->ban_reply, &r, &why) || r.kind == CONF_REACTION_CLOSE) {
		close(fd);
		return;
	}
	buf_putf(&line, "%d ", r.code);
	if (r.dsn.len > 0)
		buf_putf(&line, "%.*s ", (int)r.dsn.len, r.dsn.at);
	if (r.text.len > 0)
		macros_put(&line, r.text, &who);
	else
		buf_putf(&line, "%s You are banned for a while", front->conf->hostname);
	line.cap = line.max = sizeof(memory);
	buf_put_text(&line, "\r\n");
	states_say_and_close(front, fd, &line);
}

/* By its address alone: nothing has been asked about it. */
bool ban_meets(struct front *front, int fd, const struct addr *client, enum conf_tls tls)
{
	const struct access_client who = { .addr = *client };
	struct known_times times;
	uint32_t more;
	bool observed = false;
	if (!front->bans.on || front->conf->mode == CONF_OBSERVE)
		return false;
	uint32_t row = ban_table_find(&front->bans.table, client, (uint32_t)(loop_now(&front->loop) / LOOP_SECOND), &times);
	if (row == 0)
		return false;
	if (is_never(front, client) || known_address(front, client) || is_let_in(front, &who, slice_of(""), &observed) || observed) {
		metrics_add(METRIC_ban_spared, 1);
		return false;
	}
	metrics_add(METRIC_ban_hits, 1);
	ban_table_hit(&front->bans.table, row);
	const struct often_case is = { .what = OFTEN_BANNED, .ends = times.passed, .note = times.note };
	if (often_tells(front, client, &is, &more))
		turned_often(client, &is, more, loop_now(&front->loop));
	answer(front, fd, client, seal_ends_here(front) ? tls : CONF_TLS_NO);
	return true;
}

/* ---- its life ---- */

int ban_init(struct front *front, const struct ban_setup *setup)
{
	struct bans *b = &front->bans;
	const int fds[2] = { setup->table, setup->counts };
	b->messages = -1;
	if (setup->table <= 0)
		return 0;
	int e = ban_table_open(&b->table, fds, (uint32_t)front->conf->ban_max, false);
	close(fds[0]);
	close(fds[1]);
	b->messages = setup->messages;
	b->never = setup->never;
	b->counted = offences_of(front->conf);
	if (e == 0)
		e = rates_init(&b->offences, RATES_CLIENTS, front->conf->ban_window);
	b->on = e == 0;
	return e;
}

void ban_fini(struct front *front)
{
	struct bans *b = &front->bans;
	if (b->messages > 0)
		close(b->messages);
	rates_fini(&b->offences);
	ban_table_close(&b->table);
	b->on = false;
	b->messages = -1;
}
