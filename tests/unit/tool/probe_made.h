/* probe_made.h: for tests of `tarry probe --all`: plays made of what was heard, written down as
 *
 *   "greeting220 EHLO250 *MAIL250 *RCPT550 +QUIT221 closed"
 *
 * each reply as its step and its code; before it '*' if it answered the deed, '+' if it came after; and how it ended. "?2" in front of the end: so much of the deed had no answer. */
#ifndef TARRY_TESTS_PROBE_MADE_H
#define TARRY_TESTS_PROBE_MADE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/probe_all.h"

struct made {
	struct probe_all_plan plan;
	struct probe_round round;
	struct loop loop;
	struct probe_play *play, *patient;
};

static inline enum probe_step made_step(const char *name, size_t len)
{
	for (enum probe_step step = PROBE_STEP_GREETING; step <= PROBE_STEP_NONE; step++) {
		const char *known = probe_reply_step(step);
		if (known && strlen(known) == len && memcmp(known, name, len) == 0)
			return step;
	}
	fail_msg("no such step: %.*s", (int)len, name);
	return PROBE_STEP_NONE;
}

static inline void made_reply(struct probe_record *r, const char *word, size_t len)
{
	enum probe_phase phase = *word == '*' ? PROBE_PHASE_DEED : *word == '+' ? PROBE_PHASE_AFTER : PROBE_PHASE_LEAD;
	size_t mark = phase != PROBE_PHASE_LEAD;
	struct probe_reply *reply = &r->replies[r->replies_len++];
	*reply = (struct probe_reply){ .phase = phase, .to = made_step(word + mark, len - mark - 3), .lines = 1, .at = (int64_t)r->replies_len * LOOP_MS };
	reply->code = reply->first_code = atoi(word + len - 3);
	reply->first_at = reply->at;
	reply->text_len = (size_t)snprintf(reply->text, sizeof(reply->text), "said");
	if (phase != PROBE_PHASE_LEAD && r->talk_at < 0)
		r->talk_at = reply->at - LOOP_MS;
}

static inline enum probe_end made_end(const char *word)
{
	for (enum probe_end end = PROBE_END_NONE; end <= PROBE_END_ERROR; end++)
		if (strcmp(probe_report_end(end), word) == 0)
			return end;
	fail_msg("no such end: %s", word);
	return PROBE_END_NONE;
}

static inline void made_hear(struct probe_play *play, const char *heard)
{
	struct probe_record *r = &play->record;
	r->tried = r->connected = true;
	for (const char *at = heard; *at;) {
		size_t len = strcspn(at, " ");
		if (*at == '?')
			play->unanswered = (unsigned)atoi(at + 1);
		else if (*at == '!')
			r->talk_at = 0; /* the deed was done, and is not answered */
		else if (at[len] == '\0')
			r->end = made_end(at);
		else
			made_reply(r, at, len);
		at += len + (at[len] != '\0');
	}
}

static inline struct probe_play *made_play(struct made *m, const char *act, enum probe_way way, const char *heard)
{
	const struct probe_act *a = probe_act_find(slice_of(act));
	struct probe_play *play = malloc(sizeof(*play));
	assert_non_null(a);
	assert_non_null(play);
	probe_play_init(play, &m->round, a, way, (unsigned)m->round.plays_len);
	made_hear(play, heard);
	assert_true(m->round.plays_len < PROBE_PLAYS);
	m->round.plays[m->round.plays_len++] = play;
	return play;
}

/* patient NULL: it is not known what a client that waits is told. */
static inline void made_begin(struct made *m, const char *to, enum probe_way way, const char *patient)
{
	memset(m, 0, sizeof(*m));
	m->plan = (struct probe_all_plan){ .to = to, .host = "mail.example.org", .timeout = LOOP_SECOND };
	assert_int_equal(loop_init_manual(&m->loop, 4), 0);
	m->round = (struct probe_round){ .plan = &m->plan, .loop = &m->loop, .seal = { .orders = -1, .parent = -1 } };
	source_init(&m->round.pause, NULL);
	m->patient = patient ? made_play(m, "patient", way, patient) : NULL;
}

static inline void made_end_all(struct made *m)
{
	probe_round_fini(&m->round);
	loop_fini(&m->loop);
}

#endif
