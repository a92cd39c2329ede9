/* The tour, probe: all acts, a few at a time. First what no good client does, before a server that remembers its clients can know this one for a good one; last the client that
 * waits; then the same inside TLS. An act that met a server with no time for it is played once more, alone. */
#include "tool/probe_all.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/addr.h"

static void more(struct probe_round *round);
static void rest_is_over(struct loop *loop, struct source *source);
static const struct source_ops pause_ops = { .due = rest_is_over };

static bool is_patient(const struct probe_play *play)
{
	return play->act == &probe_acts[PROBE_ACT_PATIENT];
}

const struct probe_play *probe_round_patient(const struct probe_round *round, enum probe_way way)
{
	for (size_t i = 0; i < round->plays_len; i++)
		if (round->plays[i]->way == way && is_patient(round->plays[i]))
			return round->plays[i]->record.tried ? round->plays[i] : NULL;
	return NULL;
}

/* Which comes first: the lower. */
static unsigned rank(const struct probe_play *play)
{
	unsigned way = play->way == PROBE_WAY_STARTTLS ? 4 : 0;
	if (is_patient(play))
		return way + 3;
	if (play->act->how & PROBE_LEGAL)
		return way + 2;
	return way + (play->act->needs & PROBE_NEEDS_GREETING ? 0 : 1);
}

static bool is_waiting(const struct probe_play *play)
{
	return !play->record.tried && !play->left_out;
}

/* Nobody has said anything for a while: the client that waits shows whether that is because of what was said. */
static struct probe_play *scout(struct probe_round *round)
{
	for (size_t i = 0; round->silent >= PROBE_GIVE_UP && i < round->plays_len; i++)
		if (is_patient(round->plays[i]) && is_waiting(round->plays[i]))
			return round->plays[i];
	return NULL;
}

static struct probe_play *choose(struct probe_round *round)
{
	struct probe_play *best = scout(round);
	if (best)
		return round->running == 0 ? best : NULL;
	for (size_t i = 0; i < round->plays_len; i++) {
		struct probe_play *play = round->plays[i];
		if (is_waiting(play) && (!best || rank(play) < rank(best)))
			best = play;
	}
	/* The client that waits is alone, so that its times are its own; and a way ends before the next begins. */
	if (best && round->running > 0 && (is_patient(best) || round->patient_runs || (best->way == PROBE_WAY_STARTTLS && !round->inside)))
		return NULL;
	return best;
}

/* ---- what is left out ---- */

static void leave_out_rest(struct probe_round *round, const char *why)
{
	round->gave_up = why;
	for (size_t i = 0; i < round->plays_len; i++)
		if (is_waiting(round->plays[i]))
			round->plays[i]->left_out = why;
}

/* Neither does TLS begin for others when it has not for so many. */
static void count_tls(struct probe_round *round, const struct probe_play *play)
{
	if (play->way == PROBE_WAY_CLEAR || (!play->tls && !play->tls_words[0]))
		return;
	round->unsealed = play->tls ? 0 : round->unsealed + 1;
	for (size_t i = 0; round->unsealed >= PROBE_GIVE_UP && i < round->plays_len; i++)
		if (round->plays[i]->way == play->way && is_waiting(round->plays[i]))
			round->plays[i]->left_out = "TLS cannot be begun";
}

/* Whoever has seen an EHLO list in clear knows. */
static void look_for_starttls(struct probe_round *round)
{
	bool offered = !round->plan->starttls_if_offered;
	for (size_t i = 0; i < round->plays_len; i++)
		offered |= round->plays[i]->way == PROBE_WAY_CLEAR && (round->plays[i]->offers & PROBE_NEEDS_STARTTLS);
	for (size_t i = 0; i < round->plays_len && !offered; i++)
		if (round->plays[i]->way == PROBE_WAY_STARTTLS)
			round->plays[i]->left_out = "STARTTLS is not offered";
}

/* ---- one after the other ---- */

static void begin(struct probe_round *round, struct probe_play *play)
{
	round->running++;
	round->patient_runs = is_patient(play);
	probe_play_begin(play);
}

/* A server with no time for a client, or none that it wanted to have: too many connections, perhaps. */
static bool was_busy(const struct probe_round *round, const struct probe_play *play)
{
	struct probe_weight w = probe_weigh(play, probe_round_patient(round, play->way));
	const struct probe_record *r = &play->record;
	if (play->again || !r->tried)
		return false;
	if (w.word == PROBE_WORD_NO_CONNECTION)
		return true;
	if (w.word == PROBE_WORD_NOT_REACHED)
		return r->replies_len == 0 ? r->end == PROBE_END_CLOSED || r->end == PROBE_END_RESET : r->replies[r->replies_len - 1].code / 100 == 4;
	return w.word == PROBE_WORD_TEMPFAIL && w.decisive && w.decisive->to == PROBE_STEP_GREETING;
}

/* The last one may be in the middle of its end: they are made anew when the rest is over. */
static void rest_before_playing_again(struct probe_round *round)
{
	bool any = false;
	for (size_t i = 0; i < round->plays_len; i++)
		any |= was_busy(round, round->plays[i]);
	round->alone = true;
	if (any)
		loop_set_due(round->loop, &round->pause, loop_now(round->loop) + PROBE_AGAIN);
}

static void rest_is_over(struct loop *loop, struct source *source)
{
	struct probe_round *round = (struct probe_round *)((char *)source - offsetof(struct probe_round, pause));
	bool busy[PROBE_PLAYS];
	(void)loop;
	for (size_t i = 0; i < round->plays_len; i++)
		busy[i] = was_busy(round, round->plays[i]);
	for (size_t i = 0; i < round->plays_len; i++) {
		struct probe_play *play = round->plays[i];
		if (!busy[i])
			continue;
		probe_play_fini(play);
		probe_play_init(play, round, play->act, play->way, play->number);
		play->again = true;
	}
	more(round);
}

/* As many as may be; only one until it is known that somebody answers. */
static void more(struct probe_round *round)
{
	if (round->starting || round->pause.place != 0)
		return;
	round->starting = true; /* an act may end before it has begun */
	for (;;) {
		unsigned most = round->found && !round->alone ? round->plan->jobs : 1;
		struct probe_play *play = round->running < most ? choose(round) : NULL;
		if (!play)
			break;
		if (play->way == PROBE_WAY_STARTTLS && !round->inside) {
			round->inside = true;
			look_for_starttls(round);
			continue;
		}
		begin(round, play);
	}
	round->starting = false;
	if (round->running == 0 && !round->alone && !round->gave_up)
		rest_before_playing_again(round);
}

void probe_round_ended(struct probe_round *round, struct probe_play *play)
{
	round->running--;
	if (is_patient(play))
		round->patient_runs = false;
	/* A connection on which TLS comes first, and fails, has not been silent. */
	round->silent = play->ear.bytes == 0 && !play->tls_words[0] ? round->silent + 1 : 0;
	count_tls(round, play);
	if (round->unreachable)
		leave_out_rest(round, "no connection");
	else if (is_patient(play) && play->ear.bytes == 0 && round->silent > PROBE_GIVE_UP)
		leave_out_rest(round, "nobody answers");
	else if (is_patient(play) && play->record.end == PROBE_END_NOT_SMTP && play->record.replies_len == 0)
		leave_out_rest(round, "it does not speak SMTP");
	round->aliens += play->record.end == PROBE_END_NOT_SMTP || play->record.end == PROBE_END_TOO_MUCH;
	if (round->aliens == PROBE_GIVE_UP && !round->gave_up)
		leave_out_rest(round, "it does not speak SMTP");
	more(round);
}

static bool is_over(const struct probe_round *round)
{
	if (round->running > 0 || round->pause.place != 0)
		return false;
	for (size_t i = 0; i < round->plays_len; i++)
		if (is_waiting(round->plays[i]))
			return false;
	return true;
}

/* ---- beginning ---- */

static bool belongs(const struct probe_act *act, enum probe_way way)
{
	if (way == PROBE_WAY_STARTTLS && (act->needs & PROBE_NEEDS_GREETING))
		return false;
	return way == PROBE_WAY_CLEAR || !(act->needs & PROBE_NEEDS_STARTTLS);
}

static bool add(struct probe_round *round, const struct probe_act *act, enum probe_way way)
{
	struct probe_play *play = round->plays_len < PROBE_PLAYS ? malloc(sizeof(*play)) : NULL;
	if (!play)
		return false;
	probe_play_init(play, round, act, way, (unsigned)round->plays_len);
	if ((act->needs & PROBE_NEEDS_TO) && !round->plan->to)
		play->left_out = "it would send a message: --to is not given";
	round->plays[round->plays_len++] = play;
	return true;
}

/* In clear only one act comes to TLS, and is left out when there is none to be had. EX_OK, or an exit code. */
static int begin_tls(struct probe_round *round)
{
	const struct probe_all_plan *plan = round->plan;
	struct addr ignored;
	bool wanted = false, inside = plan->ways[PROBE_WAY_STARTTLS] || plan->ways[PROBE_WAY_TLS];
	for (size_t i = 0; i < round->plays_len; i++)
		wanted |= round->plays[i]->way != PROBE_WAY_CLEAR || (round->plays[i]->act->needs & PROBE_NEEDS_STARTTLS);
	int code = wanted ? probe_seal_start(&round->seal, addr_parse(slice_of(plan->host), &ignored) ? "" : plan->host) : EX_OK;
	if (code == EX_OK || inside)
		return code;
	for (size_t i = 0; i < round->plays_len; i++)
		if (round->plays[i]->act->needs & PROBE_NEEDS_STARTTLS)
			round->plays[i]->left_out = "tarry-tls is not to be had";
	return EX_OK;
}

int probe_round_run(struct probe_round *round, struct loop *loop, const struct probe_all_plan *plan)
{
	*round = (struct probe_round){ .loop = loop, .plan = plan, .seal = { .orders = -1, .parent = -1 } };
	source_init(&round->pause, &pause_ops);
	for (enum probe_way way = 0; way < PROBE_WAYS; way++)
		for (size_t i = 0; i < probe_acts_len && plan->ways[way]; i++)
			if (plan->chosen[i] && belongs(&probe_acts[i], way) && !add(round, &probe_acts[i], way))
				return EX_OSERR;
	int e = begin_tls(round);
	if (e != EX_OK)
		return e;
	more(round);
	while (e == 0 && !is_over(round))
		e = loop_turn(loop, LOOP_NEVER);
	return e == 0 ? EX_OK : EX_OSERR;
}

void probe_round_fini(struct probe_round *round)
{
	loop_close(round->loop, &round->pause);
	for (size_t i = 0; i < round->plays_len; i++) {
		probe_play_fini(round->plays[i]);
		free(round->plays[i]);
	}
	probe_seal_stop(&round->seal);
}
