/* The tour, gate: how long a client waits at each stage after the greeting, and what becomes of it if it does not. */
#include "gate/stages.h"

#include <string.h>

#include "access/access.h"
#include "gate/front.h"
#include "gate/session.h"

/* STAGE_HELO to STAGE_EOM: those that have a pause, in the order of their tags. */
static enum access_tag tag_of(enum stage stage)
{
	return (enum access_tag)(ACCESS_HELOPAUSE + (stage - STAGE_HELO));
}

static int64_t option_of(const struct conf *conf, enum stage stage)
{
	const int64_t pauses[STAGES] = { [STAGE_HELO] = conf->helo_pause, [STAGE_MAIL] = conf->mail_pause, [STAGE_RCPT] = conf->rcpt_pause,
		[STAGE_DATA] = conf->data_pause, [STAGE_EOM] = conf->eom_pause };
	return pauses[stage] / LOOP_MS;
}

static void read_pauses(const struct front *front, const struct access_client *client, uint32_t pauses[STAGE_PAUSES])
{
	for (enum stage stage = STAGE_HELO; stage <= STAGE_EOM; stage++) {
		int64_t ms = option_of(front->conf, stage);
		if (front->access && front->conf->stage_pause_keys)
			ms = access_pause(front->access, tag_of(stage), client, ms).pause_ms;
		pauses[stage] = (uint32_t)ms;
	}
}

void stages_remember(const struct front *front, const struct conn *conn, struct ask *ask)
{
	if (!ask || !ask->answers || !front->access)
		return;
	struct access_client client = { conn->client, ask_name(ask), ask->answers };
	read_pauses(front, &client, ask->pauses);
	ask->has_pauses = true;
}

static void set_pauses(struct stages *out, const struct front *front, const struct session *s)
{
	struct access_client client = { s->conn->client, ask_name(s->ask), NULL };
	if (s->ask && s->ask->has_pauses)
		memcpy(out->pauses, s->ask->pauses, sizeof(out->pauses));
	else
		read_pauses(front, &client, out->pauses);
	out->strikes = out->pauses[STAGE_MAIL] || out->pauses[STAGE_RCPT] || out->pauses[STAGE_DATA] || out->pauses[STAGE_EOM];
	out->budget = (uint32_t)(front->conf->pause_budget / LOOP_MS);
}

/* A client of which we know that it is early (delay_early) has its refusal coming. */
bool stages_let(const struct session *s)
{
	return s->conn->exempt || s->conn->early || s->conn->probe;
}

/* Where the greeting may be talked into, its last line may. */
struct stages stages_of(const struct front *front, const struct session *s)
{
	const struct conf *conf = front->conf;
	const int64_t words[STAGES] = { [STAGE_HELO] = conf->early_helo, [STAGE_MAIL] = conf->early_mail, [STAGE_RCPT] = conf->early_rcpt, [STAGE_DATA] = conf->early_data,
		[STAGE_EOM] = conf->early_eom, [STAGE_STARTTLS] = conf->early_starttls, [STAGE_COMMAND] = conf->early_command };
	struct stages out = { .observes = s->conn->observe };
	if (stages_let(s))
		return out;
	for (enum stage stage = STAGE_HELO; stage < STAGES; stage++)
		out.reactions[stage] = s->conn->observe ? STAGE_OBSERVE : (uint8_t)(STAGE_REFUSE + words[stage]);
	if (s->conn->pause_ms > 0 && !s->conn->observe)
		out.reactions[STAGE_GREET] = STAGE_REFUSE;
	if (!s->conn->known)
		set_pauses(&out, front, s);
	return out;
}


enum metric stages_counter(enum stage stage)
{
	static const enum metric counters[STAGES] = { [STAGE_GREET] = METRIC_early_greeting, [STAGE_HELO] = METRIC_early_helo, [STAGE_MAIL] = METRIC_early_mail,
		[STAGE_RCPT] = METRIC_early_rcpt, [STAGE_DATA] = METRIC_early_data, [STAGE_EOM] = METRIC_early_eom, [STAGE_STARTTLS] = METRIC_early_starttls,
		[STAGE_COMMAND] = METRIC_early_command };
	return counters[stage];
}
