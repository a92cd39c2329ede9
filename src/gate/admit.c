/* The tour, gate: between accept() and the pause: the access database asked about a client, and its limits counted. */
#include "gate/admit.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/loop.h"
#include "gate/ask.h"
#include "gate/front.h"
#include "gate/known.h"
#include "gate/session.h"
#include "gate/stress.h"
#include "gate/study.h"

#define WHOLE_KEY_BITS 64 /* a key of a limit that is longer than this tells apart addresses within one /64 */

static uint64_t whole_key(const struct front *front, const struct addr *client)
{
	uint64_t high, low;
	memcpy(&high, client->ip, 8);
	memcpy(&low, client->ip + 8, 8);
	return siphash_u64(&front->addresses.key, siphash_u64(&front->addresses.key, high) ^ low);
}

static uint64_t counted_as(const struct front *front, const struct addr *client, unsigned bits)
{
	return !addr_is4(client) && bits > WHOLE_KEY_BITS ? whole_key(front, client) : addr_client_key(client);
}

/* Only IPv6 clients are counted twice: an IPv4 client is its address anyhow. The rate counts who comes, whatever becomes of it: also who leaves before its name is known. */
void admit_opened(struct front *front, const struct addr *client)
{
	if (front->conf->ratecontrol != RULES_CONTROL_OFF && front->access) {
		rates_add(&front->rates, addr_client_key(client), loop_now(&front->loop));
		if (!addr_is4(client))
			rates_add(&front->rates, whole_key(front, client), loop_now(&front->loop));
	}
	admit_handed(front, client);
}

void admit_handed(struct front *front, const struct addr *client)
{
	clients_add(&front->clients, addr_client_key(client));
	if (!addr_is4(client) && front->conf->conncontrol != RULES_CONTROL_OFF)
		clients_add(&front->addresses, whole_key(front, client));
}

void admit_closed(struct front *front, const struct addr *client)
{
	clients_drop(&front->clients, addr_client_key(client));
	if (!addr_is4(client) && front->conf->conncontrol != RULES_CONTROL_OFF)
		clients_drop(&front->addresses, whole_key(front, client));
}

static bool over_rate(const struct front *front, const struct access_client *client)
{
	unsigned bits = 0;
	if (front->conf->ratecontrol == RULES_CONTROL_OFF || !front->access)
		return false;
	uint32_t limit = access_limit(front->access, ACCESS_CLIENTRATE, client, &bits);
	return limit > 0 && rates_made(&front->rates, counted_as(front, &client->addr, bits), loop_now(&front->loop)) > limit;
}

static bool over_conns(struct front *front, const struct access_client *client)
{
	unsigned bits = 0;
	if (front->conf->conncontrol == RULES_CONTROL_OFF || !front->access)
		return false;
	uint32_t limit = access_limit(front->access, ACCESS_CLIENTCONN, client, &bits);
	bool whole = !addr_is4(&client->addr) && bits > WHOLE_KEY_BITS;
	return limit > 0 && clients_count(whole ? &front->addresses : &front->clients, counted_as(front, &client->addr, bits)) > limit;
}

struct rules_answer admit_over_rate(const struct front *front)
{
	return rules_over_limit((enum rules_control)front->conf->ratecontrol, "Connection rate limit exceeded.");
}

struct rules_answer admit_over_conns(const struct front *front)
{
	return rules_over_limit((enum rules_control)front->conf->conncontrol, "Too many open connections.");
}

/* What comes before any key: the first that fits. False: none does. */
static bool local_pause(const struct front *front, const struct access_client *client, int64_t *ms)
{
	const struct conf_list *list = &front->conf->local_greet_pause;
	char address[ADDR_TEXT];
	for (size_t i = 0; i < list->len; i++) {
		const char *text = list->at[i];
		struct slice key = { text, strcspn(text, " \t") };
		if (!slice_is(key, "*") && !(client->name.len == key.len && strncasecmp(client->name.at, key.at, key.len) == 0)
		    && !slice_is_nocase(key, addr_format(&client->addr, address)))
			continue;
		int64_t value = strtoll(text + key.len, NULL, 10);
		*ms = value > ACCESS_PAUSE_MAX_MS ? ACCESS_PAUSE_MAX_MS : value;
		return true;
	}
	return false;
}

static bool refuses(const struct rules_answer *answer)
{
	return answer->decision.action == ACCESS_REFUSE || answer->decision.action == ACCESS_TEMPFAIL;
}

struct admit admit_judge(struct front *front, const struct access_client *client, struct slice confirmed_name)
{
	const struct access_client confirmed = { client->addr, confirmed_name, client->answers };
	const struct rules rules = { front->access, front->conf, NULL };
	int64_t pause_ms = front->conf->greet_pause / LOOP_MS;
	struct admit a = { .refused = false };
	bool found = local_pause(front, client, &pause_ms);
	if (!found && front->access && front->conf->greet_pause_keys) {
		struct access_answer answer = access_pause(front->access, ACCESS_GREETPAUSE, client, pause_ms);
		pause_ms = answer.pause_ms;
		found = answer.found;
	}
	a.pause_ms = (uint32_t)pause_ms;
	a.found = found;
	a.exempt = found && pause_ms == 0;
	a.answer = rules_client(&rules, &confirmed);
	a.observe = a.answer.decision.action == ACCESS_OBSERVE;
	a.over_rate = over_rate(front, client);
	a.over_conns = over_conns(front, client);
	/* What a program says to RCPT nobody here hears: it is told at connect, or never. */
	const bool hands_over = conf_hands_over(front->conf);
	if (refuses(&a.answer) && (front->conf->delay_checks == RULES_DELAY_OFF || hands_over)) {
		a.refused = true;
	} else if (a.over_rate && (hands_over || !rules_is_delayed(&rules, (enum rules_control)front->conf->ratecontrol))) {
		a.refused = true;
		a.answer = admit_over_rate(front);
	} else if (a.over_conns && (hands_over || !rules_is_delayed(&rules, (enum rules_control)front->conf->conncontrol))) {
		a.refused = true;
		a.answer = admit_over_conns(front);
	}
	a.may_know = !found && !a.refused && !rules_blocks(&a.answer);
	return a;
}

struct admit admit_client(struct front *front, struct conn *conn)
{
	const struct ask *ask = *session_ask(conn);
	struct access_client client = { conn->client, ask_name(ask), ask ? ask->answers : NULL };
	struct admit a = admit_judge(front, &client, ask_confirmed_name(ask));
	a.known = a.may_know && known_is(front, conn, ask);
	a.pause_ms = stress_pause_ms(front, a.pause_ms);
	study_admit(front, conn, &a);
	return a;
}

int64_t admit_wait(struct admit a)
{
	return a.known ? 0 : (int64_t)a.pause_ms * LOOP_MS;
}
