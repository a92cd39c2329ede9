/* The tour, desk: what the page is told. */
#include "desk/feed.h"

#include <stdlib.h>

#include "core/metrics.h"
#include "show/json.h"
#include "show/times.h"

#define LINES_MAX (256 * 1024)

/* The object that `tarry status --json` says, without its end. False: there is none. */
static bool put_status(struct buf *out, const struct feed *f)
{
	struct buf text;
	struct lines lines = { 0 };
	buf_init(&text, LINES_MAX);
	buf_put_text(&text, f->head);
	lines_put_state(&text);
	buf_text(&text);
	bool read = !text.full && text.at && lines_parse(text.at, &lines);
	const struct line *door = read ? lines_find(&lines, "door", 5, 0) : NULL;
	if (door)
		json_begin_status(out, &lines, door);
	else if (!read)
		out->full = true; /* no memory: nothing is better than a door of which nothing is known */
	lines_free(&lines);
	buf_fini(&text);
	return door != NULL;
}

/* ---- who was turned away ---- */

static void put_turned(struct buf *out, const struct recent *r)
{
	char client[ADDR_TEXT];
	buf_putf(out, "{\"at\":%lld,\"after\":%lu,\"pause\":%lu,\"observed\":%s", (long long)r->at_ms, (unsigned long)r->after_ms, (unsigned long)r->pause_ms, r->observed ? "true" : "false");
	json_put_pair(out, ",", "client", addr_format(&r->client, client));
	json_put_pair(out, ",", "name", r->name);
	json_put_pair(out, ",", "verdict", r->verdict);
	json_put_pair(out, ",", "kind", r->kind);
	json_put_pair(out, ",", "stage", r->stage);
	json_put_pair(out, ",", "id", r->id);
	buf_put_text(out, ",\"bytes\":");
	json_put_bytes(out, r->bytes, r->bytes_len);
	buf_put_char(out, '}');
}

/* Each has its place in the page's list as it has it here. */
static void put_often(struct buf *out, const struct memory *m, uint64_t from)
{
	const struct memory_often *o;
	const char *comma = "";
	char client[ADDR_TEXT];
	buf_put_text(out, ",\"often\":[");
	for (unsigned i = 0; i < MEMORY_OFTEN; i++) {
		if (!(o = memory_often(m, i, from)))
			continue;
		const struct recent *r = &o->last;
		buf_putf(out, "%s{\"place\":%u,\"at\":%lld,\"since\":%lld,\"count\":%llu,\"until\":%lu,\"times\":%u,\"observed\":%s", comma, i, (long long)r->at_ms, (long long)o->since_ms,
		         (unsigned long long)o->count, (unsigned long)r->until, (unsigned)r->times, r->observed ? "true" : "false");
		json_put_pair(out, ",", "client", addr_format(&r->client, client));
		json_put_pair(out, ",", "name", r->name);
		json_put_pair(out, ",", "verdict", r->verdict);
		json_put_pair(out, ",", "reason", r->kind);
		json_put_pair(out, ",", "id", r->id);
		buf_put_char(out, '}');
		comma = ",";
	}
	buf_put_char(out, ']');
}

static void put_all_turned(struct buf *out, const struct memory *m, uint64_t from, uint64_t from_often)
{
	const struct recent *r;
	const char *comma = "";
	buf_put_text(out, ",\"turned\":[");
	for (uint64_t n = from > memory_oldest(m) ? from : memory_oldest(m); (r = memory_turned(m, n)); n++) {
		buf_put_text(out, comma);
		put_turned(out, r);
		comma = ",";
	}
	buf_put_char(out, ']');
	put_often(out, m, from_often);
	buf_putf(out, ",\"missed\":%llu", (unsigned long long)m->reader.missed);
}

/* ---- time ---- */

static void put_points(struct buf *out, const struct feed *f, bool day, int64_t from)
{
	static struct series_point points[SERIES_DAY_POINTS];
	/* One that was not finished then began before; the page may get one twice. */
	int64_t begin = from - (day ? SERIES_DAY_STEP : SERIES_HOUR_STEP);
	size_t len = series_points(&f->memory->series, day, begin > 0 ? begin : 0, f->now, points);
	buf_putf(out, ",\"%s\":[", day ? "day" : "hour");
	for (size_t i = 0; i < len; i++) {
		buf_putf(out, "%s[%lld", i == 0 ? "" : ",", (long long)points[i].at);
		for (unsigned w = 0; w < SERIES_COUNT; w++)
			buf_putf(out, ",%lu", (unsigned long)points[i].of[w]);
		buf_put_char(out, ']');
	}
	buf_put_char(out, ']');
}

static void put_series_names(struct buf *out)
{
	buf_put_text(out, ",\"series\":[");
	for (unsigned w = 0; w < SERIES_COUNT; w++)
		buf_putf(out, "%s\"%s\"", w == 0 ? "" : ",", series_name((enum series_what)w));
	buf_put_char(out, ']');
}

/* ---- histograms ---- */

/* [from, number] of each bar that is not empty; from in milliseconds. */
static void put_bars(struct buf *out, const char *name, enum histogram h)
{
	static struct metrics_times times;
	uint64_t bars[TIMES_BARS];
	const char *comma = "";
	metrics_times(h, &times);
	times_bars(&times, bars);
	buf_putf(out, ",\"%s\":[", name);
	for (unsigned i = 0; i < TIMES_BARS; i++) {
		if (bars[i] == 0)
			continue;
		buf_putf(out, "%s[%.2f,%llu]", comma, (double)times_bar_from(i) / 1e6, (unsigned long long)bars[i]);
		comma = ",";
	}
	buf_put_char(out, ']');
}

/* ---- networks ---- */

static void put_networks(struct buf *out, const struct feed *f)
{
	struct networks_top top[FEED_NETWORKS];
	size_t len = networks_top(&f->memory->networks, f->now, top, FEED_NETWORKS);
	buf_put_text(out, ",\"networks\":[");
	for (size_t i = 0; i < len; i++)
		buf_putf(out, "%s{\"network\":\"%s\",\"count\":%llu,\"over\":%llu}", i == 0 ? "" : ",", top[i].text, (unsigned long long)top[i].count, (unsigned long long)top[i].over);
	buf_put_char(out, ']');
}

/* ---- together ---- */

/* The gauges and counters that move all the time. */
static void put_now(struct buf *out, const struct feed *f)
{
	static const enum metric shown[] = { METRIC_open, METRIC_held, METRIC_asked, METRIC_relayed, METRIC_refusing, METRIC_tarpit, METRIC_connections, METRIC_patient, METRIC_exempt, METRIC_known,
		METRIC_early, METRIC_refused, METRIC_ban_hits, METRIC_banned_clients, METRIC_gone, METRIC_limited_total, METRIC_limited_client, METRIC_nobackend, METRIC_serving };
	buf_putf(out, "{\"now\":%lld,\"pause\":%lld,\"count\":{", (long long)f->now, (long long)f->pause_ms);
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		buf_putf(out, "%s\"%s\":%lld", i == 0 ? "" : ",", metrics_name(shown[i]), (long long)metrics_sum(shown[i]));
	buf_put_char(out, '}');
}

static void put_more(struct buf *out, const struct feed *f, int64_t since)
{
	buf_put_text(out, ",\"door\":");
	buf_put_text(out, put_status(out, f) ? "}" : "null");
	put_bars(out, "talk", HISTOGRAM_talk_after);
	put_bars(out, "gone", HISTOGRAM_gone_after);
	buf_put_text(out, ",\"advice\":");
	counsel_put(out, f->counsel);
	put_networks(out, f);
	put_points(out, f, false, since);
	put_points(out, f, true, since);
}

void feed_put_all(struct buf *out, const struct feed *f)
{
	buf_put_text(out, "retry: 2000\nevent: all\ndata: ");
	put_now(out, f);
	put_series_names(out);
	put_more(out, f, 0);
	put_all_turned(out, f->memory, 0, 0);
	buf_put_text(out, "}\n\n");
}

void feed_put_tick(struct buf *out, const struct feed *f, const struct feed_told *told, bool more)
{
	buf_put_text(out, "event: tick\ndata: ");
	put_now(out, f);
	if (more)
		put_more(out, f, told->points);
	put_all_turned(out, f->memory, told->turned, told->often);
	buf_put_text(out, "}\n\n");
}

void feed_put_status(struct buf *out, const struct feed *f)
{
	if (!put_status(out, f)) {
		buf_put_text(out, "null");
		return;
	}
	put_networks(out, f);
	put_all_turned(out, f->memory, 0, 0);
	buf_put_char(out, '}');
}
