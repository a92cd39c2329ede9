/* The tour, tools: what clients did while they waited, read from a log, where times are exact, or from a running door, where they are in the buckets of its histograms (core/metrics.h). */
#include "tool/advice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "advise/advise_times.h"
#include "core/metrics.h"

#define DAY 86400.0
#define MILLION 1e6
#define COUNT_MOST 1000000000000000 /* of a bucket: all of them together are a number yet */

bool advice_init(struct advice *a, double share)
{
	memset(a, 0, sizeof(*a));
	a->share = share;
	a->explore_part = -1;
	a->first = a->last = REPORT_NO_TIME;
	a->clients = calloc(2 * ADVICE_CLIENTS, sizeof(*a->clients));
	return a->clients && siphash_key_init(&a->key) == 0;
}

void advice_fini(struct advice *a)
{
	free(a->clients);
	a->clients = NULL;
}

/* ---- a log ---- */

/* "1030.123"; below 0: it is none. */
static double ms_of(struct slice s)
{
	double whole = 0, scale = 1;
	bool point = false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] == '.' && !point && i > 0) {
			point = true;
			continue;
		}
		if (s.at[i] < '0' || s.at[i] > '9' || i > 15)
			return -1;
		whole = 10 * whole + (s.at[i] - '0');
		scale *= point ? 10 : 1;
	}
	return s.len > 0 ? whole / scale : -1;
}

/* Beyond the ceiling each is taken for one of its own. */
static void note_talker(struct advice *a, const struct addr *client)
{
	uint64_t hash = siphash_u64(&a->key, addr_client_key(client));
	uint32_t i = (uint32_t)hash & (2 * ADVICE_CLIENTS - 1);
	while (a->clients[i].talked > 0 && a->clients[i].hash != hash)
		i = (i + 1) & (2 * ADVICE_CLIENTS - 1);
	if (a->clients[i].talked == 0 && a->clients_len == ADVICE_CLIENTS) {
		a->talked++;
		a->talked_squares++;
		return;
	}
	a->clients_len += a->clients[i].talked == 0;
	a->clients[i].hash = hash;
	a->talked++;
	a->talked_squares += 2.0 * a->clients[i].talked + 1;
	a->clients[i].talked += a->clients[i].talked < UINT32_MAX;
}

/* What it did and when, if it had to wait and no rule about it said how long. False: it is not one of those. */
static bool deed_of(const struct report_line *l, enum advise_end *end, double *at)
{
	double pause = (double)l->pause_ms, after = ms_of(l->talked_ms.len > 0 ? l->talked_ms : l->after_ms);
	bool early = l->did == REPORT_EARLY && l->stage.len == 0, gone = slice_is(l->verdict, "gone");
	bool passed = slice_is(l->verdict, "patient") || slice_is(l->verdict, "nobackend") || (l->did == REPORT_EARLY && l->stage.len > 0);
	if (l->would == REPORT_EARLY && slice_is(l->stage, "greet")) {
		early = true;
		after = ms_of(l->would_after_ms);
	}
	if (l->pause_ms <= 0 || pause > ADVICE_LONGEST || l->pause_by.len > 0 || !(early || gone || passed) || after < 0)
		return false;
	*end = after >= pause || !(early || gone) ? ADVISE_WAITED : early ? ADVISE_TALKED : ADVISE_GONE;
	*at = *end == ADVISE_WAITED ? pause : after;
	return true;
}

void advice_take_line(struct advice *a, const struct report_line *l, int64_t at)
{
	enum advise_end end;
	double when;
	if (!deed_of(l, &end, &when))
		return;
	if (a->len == 0)
		a->len = advise_bins_init(a->bins, ADVICE_LONGEST);
	advise_bins_add(a->bins, a->len, end, when);
	a->studied++;
	if (slice_is(l->explored, "yes")) {
		a->explored++;
		a->explore = (double)l->pause_ms;
	} else {
		a->pause = (double)l->pause_ms;
	}
	if (end == ADVISE_TALKED)
		note_talker(a, &l->client);
	if (slice_is(l->verdict, "patient") && end == ADVISE_WAITED) {
		a->waited++;
		a->waited_ms += when;
	}
	if (at == REPORT_NO_TIME)
		return;
	a->first = a->first == REPORT_NO_TIME || at < a->first ? at : a->first;
	a->last = a->last == REPORT_NO_TIME || at > a->last ? at : a->last;
	a->days = (double)(a->last - a->first) / DAY;
}

/* ---- a running door: the line "pause" (show/lines.h) and those of "times": NAME and BUCKET:COUNT … ---- */

static const enum histogram studies[] = { HISTOGRAM_study_talk, HISTOGRAM_study_gone, HISTOGRAM_study_waited };
#define STUDIES (sizeof(studies) / sizeof(studies[0]))

void advice_put_times(struct buf *out)
{
	static struct metrics_times times; /* large */
	for (size_t i = 0; i < STUDIES; i++) {
		metrics_times(studies[i], &times);
		buf_putf(out, "times\t%s\t", metrics_times_name(studies[i]));
		for (unsigned b = 0; b < METRICS_BUCKETS; b++)
			if (times.buckets[b] > 0)
				buf_putf(out, "%u:%llu ", b, (unsigned long long)times.buckets[b]);
		buf_put_char(out, '\n');
	}
}

/* "BUCKET:COUNT BUCKET:COUNT …" */
static bool take_counts(struct metrics_times *times, char *text)
{
	memset(times, 0, sizeof(*times));
	for (char *at = text; *at;) {
		char *end;
		unsigned long long bucket = strtoull(at, &end, 10), count;
		if (end == at || *end != ':' || bucket >= METRICS_BUCKETS)
			return false;
		at = end + 1;
		count = strtoull(at, &end, 10);
		if (end == at || count > COUNT_MOST || (*end != ' ' && *end != '\0'))
			return false;
		times->buckets[bucket] = count;
		at = end + strspn(end, " ");
	}
	return true;
}

static bool take_times(struct metrics_times times[STUDIES], char *rest, unsigned *seen)
{
	char *text = strchr(rest, '\t');
	if (!text)
		return false;
	*text++ = '\0';
	for (size_t i = 0; i < STUDIES; i++)
		if (strcmp(rest, metrics_times_name(studies[i])) == 0) {
			*seen |= 1u << i;
			return take_counts(&times[i], text);
		}
	return true; /* of something else */
}

/* The pauses that are in force, and the share that is asked for. */
static bool take_pause(struct advice *a, const char *rest)
{
	long long pause, explore, part, share;
	if (sscanf(rest, "%lld\t%lld\t%lld\t%lld", &pause, &explore, &part, &share) != 4 || pause < 0 || explore <= 0 || part < 0 || share <= 0 || share >= MILLION)
		return false;
	a->pause = fmin((double)pause, ADVICE_LONGEST);
	a->explore = fmin((double)explore, ADVICE_LONGEST);
	a->explore_part = (double)part / MILLION;
	a->share = a->share > 0 ? a->share : (double)share / MILLION;
	return true;
}

static void sum_up(struct advice *a)
{
	for (size_t i = 0; i < a->len; i++) {
		const struct advise_bin *b = &a->bins[i];
		a->waited += b->waited;
		a->waited_ms += b->waited * (b->waited_at > 0 ? b->waited_at : (b->lo + b->hi) / 2);
		a->studied += (uint64_t)(b->talk + b->gone + b->waited);
	}
}

bool advice_take_status(struct advice *a, char *text, int64_t now)
{
	static struct metrics_times times[STUDIES]; /* large */
	unsigned seen = 0;
	bool paused = false, ok = true;
	long long started = 0;
	for (char *line = text, *next; *line && ok; line = next) {
		next = line + strcspn(line, "\n");
		next += *next ? (*next = '\0', 1) : 0;
		char *rest = strchr(line, '\t');
		if (!rest)
			continue;
		*rest++ = '\0';
		if (strcmp(line, "pause") == 0)
			ok = paused = take_pause(a, rest);
		else if (strcmp(line, "times") == 0)
			ok = take_times(times, rest, &seen);
		else if (strcmp(line, "door") == 0)
			ok = sscanf(rest, "%*s\t%*d\t%lld", &started) == 1;
		else if (strcmp(line, "metric") == 0 && strncmp(rest, "explored\t", 9) == 0)
			a->explored = fmax(strtod(rest + 9, NULL), 0);
	}
	if (!ok || !paused || seen != (1u << STUDIES) - 1)
		return false;
	a->len = advise_times_bins(&(struct advise_times){ &times[0], &times[1], &times[2], a->pause, a->explore }, a->bins);
	a->days = started > 0 && now > started ? (double)(now - started) / DAY : 0;
	sum_up(a);
	return true;
}

/* ---- the estimate ---- */

/* As if all connections of one client had been one (Kish, "Survey Sampling", 1965, chapter 5): at its worst, for they need not be alike. */
double advice_clustering(const struct advice *a)
{
	return a->talked > 0 ? a->talked_squares / a->talked : 1;
}

void advice_judge(const struct advice *a, struct advise_work *work, struct advise_result *result)
{
	double explore = a->explore > 0 ? a->explore : ADVICE_EXPLORE;
	const struct advise_data data = { a->bins, a->len, a->pause, fmax(explore, a->pause), a->share, advice_clustering(a) };
	advise(&data, work, result);
}
