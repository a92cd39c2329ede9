/* The tour, show: the last hour and the last day. */
#include "show/series.h"

#include <string.h>

#include "core/metrics.h"

static const struct {
	const char *name;
	enum metric metric, another;
	bool gauge;
} what[SERIES_COUNT] = {
#define SERIES_COUNTER(name, metric, another) { #name, METRIC_##metric, METRIC_##another, false },
#define SERIES_GAUGE(name, metric, another) { #name, METRIC_##metric, METRIC_##another, true },
	SERIES_ALL(SERIES_COUNTER, SERIES_GAUGE)
};

const char *series_name(enum series_what w)
{
	return what[w].name;
}

int64_t series_value(enum series_what w)
{
	return metrics_sum(what[w].metric) + (what[w].another != what[w].metric ? metrics_sum(what[w].another) : 0);
}

static struct series_point *point_at(struct series_point *points, unsigned len, int64_t step, int64_t now)
{
	struct series_point *p = &points[(uint64_t)(now / step) % len];
	if (p->at != now / step * step) {
		memset(p, 0, sizeof(*p));
		p->at = now / step * step;
	}
	return p;
}

static void put(struct series_point *p, enum series_what w, int64_t n)
{
	uint32_t is = p->of[w];
	if (!what[w].gauge)
		n += is;
	else if (n < is)
		n = is;
	p->of[w] = n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

void series_look(struct series *s, int64_t now)
{
	struct series_point *hour = point_at(s->hour, SERIES_HOUR_POINTS, SERIES_HOUR_STEP, now), *day = point_at(s->day, SERIES_DAY_POINTS, SERIES_DAY_STEP, now);
	for (unsigned i = 0; i < SERIES_COUNT; i++) {
		enum series_what w = (enum series_what)i;
		int64_t value = series_value(w), n = what[i].gauge ? value : s->begun ? value - s->last[i] : 0;
		s->last[i] = value;
		if (!what[i].gauge && n < 0)
			n = 0;
		put(hour, w, n);
		put(day, w, n);
	}
	s->begun = true;
}

size_t series_points(const struct series *s, bool day, int64_t from, int64_t now, struct series_point *out)
{
	const struct series_point *points = day ? s->day : s->hour;
	int64_t step = day ? SERIES_DAY_STEP : SERIES_HOUR_STEP, most = day ? SERIES_DAY_POINTS : SERIES_HOUR_POINTS, end = now / step * step, at = end - (most - 1) * step;
	size_t len = 0;
	if (at < from)
		at = (from + step - 1) / step * step;
	for (; at < end; at += step) {
		const struct series_point *p = &points[(uint64_t)(at / step) % (uint64_t)most];
		if (p->at == at)
			out[len++] = *p;
	}
	return len;
}

/* No value leads out of it; a byte that is no bool would be undefined behaviour. */
void series_tidy(struct series *s)
{
	unsigned char begun;
	memcpy(&begun, &s->begun, 1);
	memset(&s->begun, 0, sizeof(s->begun));
	s->begun = begun == 1;
}
