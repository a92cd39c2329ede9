/* The tour, gate: which clients are studied, which of them wait longer for it, and what they did. */
#include "gate/study.h"

#include <string.h>
#include <time.h>

#include "core/metrics.h"
#include "core/siphash.h"
#include "gate/admit.h"
#include "gate/front.h"
#include "gate/session.h"
#include "gate/turned.h"

#define DAY 86400
#define MILLION 1000000

static struct siphash_key secret;
static bool has_secret;

/* ---- the draw ---- */

int study_init(const uint64_t told[2])
{
	bool is_told = told && (told[0] != 0 || told[1] != 0);
	int e = is_told ? 0 : siphash_key_init(&secret);
	if (is_told)
		secret = (struct siphash_key){ told[0], told[1] };
	has_secret = e == 0;
	return e;
}

void study_secret(uint64_t out[2])
{
	out[0] = secret.a;
	out[1] = secret.b;
}

void study_init_with(uint64_t value)
{
	secret = (struct siphash_key){ value, ~value };
	has_secret = true;
}

bool study_draws(const struct addr *client, int64_t day, int64_t millionths)
{
	const uint64_t draw[2] = { addr_client_key(client), (uint64_t)day };
	return has_secret && (int64_t)(siphash_bytes(&secret, draw, sizeof(draw)) % MILLION) < millionths;
}

/* ---- before the pause ---- */

static bool is_explored(const struct front *front, const struct conn *conn, const struct admit *a)
{
	const struct conf *conf = front->conf;
	if (!a->studied || conf->explore == 0 || conn->observe || conf->explore_pause / LOOP_MS <= a->pause_ms)
		return false;
	return study_draws(&conn->client, (int64_t)time(NULL) / DAY, conf->explore);
}

/* Under stress pauses are short, and those who come then are not like others. */
void study_admit(const struct front *front, const struct conn *conn, struct admit *a)
{
	a->pause_by = a->found ? CONN_PAUSE_RULE : front->stress.on ? CONN_PAUSE_STRESS : CONN_PAUSE_USUAL;
	a->studied = a->pause_by == CONN_PAUSE_USUAL && a->pause_ms > 0 && !a->known && !a->refused && !a->observe && !conn->probe;
	if (is_explored(front, conn, a)) {
		a->pause_by = CONN_PAUSE_EXPLORE;
		a->pause_ms = (uint32_t)(front->conf->explore_pause / LOOP_MS);
	}
}

void study_begin(struct conn *conn, const struct admit *a)
{
	conn->pause_ms = a->pause_ms & 0x1fffffff;
	conn->studied = a->studied;
	conn->pause_by = a->pause_by & 3;
}

/* ---- after it ---- */

/* Who talks or goes after its pause, while its backend is dialled, has waited to its end; one that is told to go has waited until then. */
static void count(const struct session *s, enum histogram how, enum metric explored, int64_t after)
{
	struct conn *conn = s->conn;
	int64_t pause = (int64_t)conn->pause_ms * LOOP_MS;
	bool waited = how == HISTOGRAM_study_waited || after >= pause;
	if (!conn->studied)
		return;
	conn->studied = false;
	metrics_observe(waited ? HISTOGRAM_study_waited : how, after < pause ? after : pause);
	metrics_add(METRIC_explored, conn->pause_by == CONN_PAUSE_EXPLORE);
	if (conn->pause_by == CONN_PAUSE_EXPLORE && (!waited || after >= pause))
		metrics_add(waited ? METRIC_explored_patient : explored, 1);
}

void study_decided(const struct session *s)
{
	int64_t after = s->decided - s->accepted;
	if (s->verdict == CONN_EARLY)
		count(s, HISTOGRAM_study_talk, METRIC_explored_early, turned_talked_after(s, s->decided));
	else if (s->verdict == CONN_GONE)
		count(s, HISTOGRAM_study_gone, METRIC_explored_gone, after);
	else
		count(s, HISTOGRAM_study_waited, METRIC_explored_patient, after);
}

void study_observed(const struct session *s)
{
	if (s->would == CONN_EARLY && s->greeted == 0)
		count(s, HISTOGRAM_study_talk, METRIC_explored_early, turned_talked_after(s, s->would_at));
}
