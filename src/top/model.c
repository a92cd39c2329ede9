/* The tour, top: what is known of a door at one moment. */
#include "top/model.h"

#include <string.h>

#include "advise/advise_times.h"
#include "show/lines.h"

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	memory_init(&m->memory);
}

void model_anew(struct model *m)
{
	m->samples_len = 0;
	m->advised_at = 0;
	recent_begin(&m->memory.reader);
}

static void look_at_times(enum histogram h, struct model_times *to, uint64_t bars[TIMES_BARS])
{
	static struct metrics_times times; /* large */
	metrics_times(h, &times);
	*to = (struct model_times){ times.count, times_quantile(&times, 0.5), times_quantile(&times, 0.9), times_quantile(&times, 0.99) };
	if (bars)
		times_bars(&times, bars);
}

/* Of maps, those that the door asks others for; its own files need not be asked (show/lines.c). */
static void look_at_things(struct model *m)
{
	unsigned backends = health_backends(), all = backends + health_maps();
	m->things_len = m->things_left = 0;
	for (unsigned i = 0; i < all; i++) {
		struct model_thing t = { .map = i >= backends };
		unsigned thing = t.map ? health_map(i - backends) : i;
		health_names(thing, t.name, t.at);
		if (t.map && lines_is_own_file(t.name))
			continue;
		t.health = health_of(thing);
		if (m->things_len < MODEL_THINGS)
			m->things[m->things_len++] = t;
		else
			m->things_left++;
	}
}

static void ask_for_advice(struct model *m)
{
	bool same = memcmp(&m->advised_for, &m->pause, sizeof(m->pause)) == 0;
	if (m->pause.pause <= 0 || m->pause.share <= 0) {
		m->advised_at = 0;
		return;
	}
	if (m->advised_at > 0 && same && m->now >= m->advised_at && m->now < m->advised_at + MODEL_ADVISE_S)
		return;
	advise_now((double)m->pause.pause, (double)m->pause.explore, (double)m->pause.share / 1e6, &m->advice);
	m->advised_for = m->pause;
	m->advised_at = m->now;
}

static void take_sample(struct model *m, int64_t at)
{
	struct model_sample *s = &m->samples[m->samples_len % MODEL_SAMPLES];
	/* Of looks that follow each other too closely for the room that is here the last one is replaced. */
	if (m->samples_len > 1) {
		struct model_sample *last = &m->samples[(m->samples_len - 1) % MODEL_SAMPLES], *before = &m->samples[(m->samples_len - 2) % MODEL_SAMPLES];
		if (at - before->at < MODEL_RATE_MS / (MODEL_SAMPLES / 2)) {
			s = last;
			m->samples_len--;
		}
	}
	s->at = at;
	memcpy(s->of, m->totals, sizeof(s->of));
	m->samples_len++;
}

void model_look(struct model *m, int64_t now, int64_t at)
{
	m->now = now;
	memory_look(&m->memory, now);
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		m->values[i] = metrics_sum((enum metric)i);
	for (unsigned w = 0; w < SERIES_COUNT; w++)
		m->totals[w] = series_value((enum series_what)w);
	take_sample(m, at);
	look_at_times(HISTOGRAM_talk_after, &m->talked, m->talk);
	look_at_times(HISTOGRAM_gone_after, &m->gone, NULL);
	look_at_times(HISTOGRAM_greeting_late, &m->greeted_late, NULL);
	look_at_things(m);
	ask_for_advice(m);
	m->networks_len = networks_top(&m->memory.networks, now, m->networks, MODEL_NETWORKS);
}

double model_rate(const struct model *m, enum series_what what)
{
	if (m->samples_len < 2)
		return -1;
	const struct model_sample *last = &m->samples[(m->samples_len - 1) % MODEL_SAMPLES], *first = &m->samples[(m->samples_len - 2) % MODEL_SAMPLES];
	for (uint64_t n = 3; n <= m->samples_len && n <= MODEL_SAMPLES; n++) {
		const struct model_sample *s = &m->samples[(m->samples_len - n) % MODEL_SAMPLES];
		if (last->at - s->at > MODEL_RATE_MS)
			break;
		first = s;
	}
	double rose = (double)last->of[what] - (double)first->of[what];
	return last->at > first->at && rose > 0 ? 1000 * rose / (double)(last->at - first->at) : 0;
}

uint64_t model_sum(const struct model *m, enum series_what what, int64_t seconds)
{
	static struct series_point points[SERIES_DAY_POINTS];
	/* The point that is not finished yet counts, too. */
	size_t len = series_points(&m->memory.series, false, m->now - seconds, m->now + SERIES_HOUR_STEP, points);
	uint64_t sum = 0;
	for (size_t i = 0; i < len; i++)
		sum += points[i].of[what];
	return sum;
}

int64_t model_value(const struct model *m, const char *name)
{
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		if (strcmp(metrics_name((enum metric)i), name) == 0)
			return m->values[i];
	return -1;
}
