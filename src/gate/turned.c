/* The tour, gate: what those who watch the door are told of each client that is turned away. */
#include "gate/turned.h"

#include <string.h>
#include <time.h>

#include "core/metrics.h"
#include "core/recent.h"
#include "gate/front.h"
#include "gate/session.h"
#include "known/ban_table.h"

static int64_t wall_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint32_t to_ms(int64_t ns)
{
	int64_t ms = ns / LOOP_MS;
	return ms < 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* What is known before anybody has said anything. */
static void put_head(struct recent *r, const struct session_head *head)
{
	struct slice name = ask_name(head->ask);
	*r = (struct recent){ .at_ms = wall_ms(), .after_ms = to_ms(head->after), .pause_ms = head->pause_ms, .client = *head->client };
	recent_word(r->verdict, sizeof(r->verdict), conn_verdict_name(head->verdict));
	recent_word(r->id, sizeof(r->id), head->id);
	size_t skip = name.len > RECENT_NAME - 1 ? name.len - (RECENT_NAME - 1) : 0;
	memcpy(r->name, name.at + skip, name.len - skip);
}

void turned_away_at_once(struct front *front, const struct session_head *head)
{
	struct recent r;
	uint32_t more;
	if (!often_tells(front, head->client, &(struct often_case){ .what = OFTEN_LIMITED }, &more))
		return;
	put_head(&r, head);
	r.often = 1;
	r.more = more;
	recent_put(&r);
}

/* Of who is banned nothing was asked, and nothing is in the log. */
void turned_often(const struct addr *client, const struct often_case *is, uint32_t more, int64_t now)
{
	static const enum conn_verdict verdicts[] = { [OFTEN_LIMITED] = CONN_LIMIT, [OFTEN_REFUSED] = CONN_REFUSED, [OFTEN_OBSERVED] = CONN_LIMIT };
	struct recent r = { .at_ms = wall_ms(), .more = more, .client = *client, .often = 1, .observed = is->what == OFTEN_OBSERVED };
	if (is->what == OFTEN_BANNED) {
		r.until = (uint32_t)(r.at_ms / 1000 + (int64_t)is->ends - now / LOOP_SECOND);
		r.times = (uint8_t)(is->note & BAN_TIMES);
		recent_word(r.kind, sizeof(r.kind), ban_reason_word(is->note));
	}
	recent_word(r.verdict, sizeof(r.verdict), is->what == OFTEN_BANNED ? "banned" : conn_verdict_name(verdicts[is->what]));
	recent_put(&r);
}

static void put_talk(struct recent *r, const struct session *s)
{
	recent_word(r->kind, sizeof(r->kind), talk_kind_name(s->kind));
	r->bytes_len = (uint8_t)(s->refuse.in_len < RECENT_BYTES ? s->refuse.in_len : RECENT_BYTES);
	if (r->bytes_len > 0)
		memcpy(r->bytes, s->refuse.in, r->bytes_len);
}

static void put_session(struct recent *r, const struct session *s, enum conn_verdict verdict, int64_t after)
{
	put_head(r, &(struct session_head){ .verdict = verdict, .client = &s->conn->client, .id = s->id, .pause_ms = s->conn->known ? 0 : s->conn->pause_ms, .after = after, .ask = s->ask });
}

int64_t turned_talked_after(const struct session *s, int64_t now)
{
	return (s->ask && s->ask->talked_at > 0 ? s->ask->talked_at : now) - s->accepted;
}

/* False: it has no entry now, for it is over a limit, of which there may be many. Who is over max_connections or max_per_client is turned away although it is only observed. */
static bool is_told(struct front *front, struct recent *r, const struct session *s, enum conn_verdict verdict)
{
	const struct often_case is = { .what = r->observed ? OFTEN_OBSERVED : verdict == CONN_LIMIT ? OFTEN_LIMITED : OFTEN_REFUSED };
	if (verdict != CONN_LIMIT && !(verdict == CONN_REFUSED && (s->conn->over_rate || s->conn->over_conns)))
		return true;
	r->often = 1;
	return often_tells(front, &s->conn->client, &is, &r->more);
}

void turned_away(struct front *front, const struct session *s)
{
	struct recent r;
	bool early = s->verdict == CONN_EARLY, at_greeting = s->stage == STAGE_NONE;
	int64_t after = early && at_greeting ? turned_talked_after(s, s->decided) : s->decided - s->accepted;
	if (early && at_greeting)
		metrics_observe(HISTOGRAM_talk_after, after);
	if (s->verdict == CONN_GONE)
		metrics_observe(HISTOGRAM_gone_after, after);
	if (s->verdict == CONN_GONE || s->verdict == CONN_TEMPFAIL) /* they went, or the door does */
		return;
	put_session(&r, s, s->verdict, after);
	if (!is_told(front, &r, s, s->verdict))
		return;
	if (early)
		recent_word(r.stage, sizeof(r.stage), stage_name(at_greeting ? STAGE_GREET : s->stage));
	if (early)
		put_talk(&r, s);
	recent_put(&r);
}

void turned_observed(struct front *front, const struct session *s)
{
	struct recent r;
	bool early = s->would == CONN_EARLY, at_greeting = early && strcmp(s->would_stage, stage_name(STAGE_GREET)) == 0 && s->greeted == 0;
	int64_t after = at_greeting ? turned_talked_after(s, s->would_at) : s->would_at - s->accepted;
	if (at_greeting)
		metrics_observe(HISTOGRAM_talk_after, after);
	put_session(&r, s, s->would, after);
	r.observed = 1;
	if (!is_told(front, &r, s, s->would))
		return;
	recent_word(r.stage, sizeof(r.stage), s->would_stage);
	if (early)
		put_talk(&r, s);
	recent_put(&r);
}
