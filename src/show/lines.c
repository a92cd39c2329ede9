/* The tour, show: what a door says of itself, written by the door and read by who asked. */
#include "show/lines.h"

#include <stdlib.h>
#include <string.h>

#include "core/health.h"
#include "core/loop.h"
#include "core/metrics.h"
#include "show/times.h"

#define WORD_MOST 200 /* bytes of a word that are shown */
#define NS_PER_MS 1000000

/* ---- written ---- */

void lines_put_word(struct buf *out, const char *text)
{
	buf_put_char(out, '\t');
	buf_put_escaped(out, text, strlen(text), WORD_MOST);
}

void lines_put_door(struct buf *out, const struct conf *conf, const struct lines_door *door)
{
	char at[ADDR_TEXT];
	buf_putf(out, "door\t" TARRY_VERSION "\t%d\t%lld\t%u\t%llu\t%u\t%lld\n", (int)door->pid, (long long)door->started, door->fronts, (unsigned long long)door->generation, door->old,
	         (long long)(conf->greet_pause / LOOP_MS));
	for (size_t i = 0; i < conf->listens_len; i++)
		buf_putf(out, "listen\t%s\t%s\n", addr_format_port(&conf->listens[i].at, at), conf->listens[i].proxy ? "proxy" : "direct");
	buf_putf(out, "pause\t%lld\t%lld\t%lld\t%lld\n", (long long)(conf->greet_pause / NS_PER_MS), (long long)(conf->explore_pause / NS_PER_MS), (long long)conf->explore, (long long)conf->advise_share);
}

bool lines_is_own_file(const char *scheme)
{
	static const char *const own[] = { "text", "lmdb", "cdb" };
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strcmp(scheme, own[i]) == 0)
			return true;
	return false;
}

static void put_thing(struct buf *out, const char *kind, unsigned thing)
{
	char name[HEALTH_NAME], at[HEALTH_AT];
	struct health h = health_of(thing);
	health_names(thing, name, at);
	if (thing >= health_backends() && lines_is_own_file(name))
		return;
	buf_put_text(out, kind);
	lines_put_word(out, name);
	lines_put_word(out, at);
	buf_putf(out, "\t%s\t%lld\t%lld", health_state_name(h.state), (long long)h.since, (long long)h.seen);
	lines_put_word(out, h.state == HEALTH_DOWN ? h.error : "");
	buf_putf(out, "\t%llu\t%llu\n", (unsigned long long)h.good, (unsigned long long)h.bad);
}

static void put_quantiles(struct buf *out, enum histogram h)
{
	static const double quantiles[] = { 0.5, 0.9, 0.99 };
	static struct metrics_times times; /* large */
	metrics_times(h, &times);
	buf_putf(out, "quantiles\t%s\t%llu\t%lld", metrics_times_name(h), (unsigned long long)times.count, times.count > 0 ? (long long)(times.sum / 1000 / (int64_t)times.count) : 0);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
		buf_putf(out, "\t%lld", (long long)(times_quantile(&times, quantiles[i]) / 1000));
	buf_put_char(out, '\n');
}

void lines_put_state(struct buf *out)
{
	for (unsigned i = 0; i < health_backends(); i++)
		put_thing(out, "backend", i);
	for (unsigned i = 0; i < health_maps(); i++)
		put_thing(out, "map", health_map(i));
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		buf_putf(out, "metric\t%s\t%lld\n", metrics_name((enum metric)m), (long long)metrics_sum((enum metric)m));
	for (unsigned h = 0; h < HISTOGRAM_COUNT; h++)
		put_quantiles(out, (enum histogram)h);
}

void lines_put_kept(struct buf *out, const char *option, const char *file, int64_t since)
{
	buf_putf(out, "kept\t%s", option);
	lines_put_word(out, file);
	buf_putf(out, "\t%lld\n", (long long)since);
}

/* ---- read ---- */

bool lines_parse(char *text, struct lines *out)
{
	size_t lines = 1;
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	out->lines = calloc(lines, sizeof(*out->lines));
	out->len = 0;
	for (char *line = text, *next; out->lines && *line; line = next) {
		struct line *l = &out->lines[out->len++];
		next = line + strcspn(line, "\n");
		next += *next ? (*next = '\0', 1) : 0;
		for (char *word = line; word && l->len < LINES_WORDS; l->len++) {
			l->words[l->len] = word;
			word = strchr(word, '\t');
			if (word)
				*word++ = '\0';
		}
	}
	return out->lines != NULL;
}

void lines_free(struct lines *lines)
{
	free(lines->lines);
	*lines = (struct lines){ 0 };
}

const struct line *lines_find(const struct lines *lines, const char *kind, unsigned words, size_t n)
{
	for (size_t i = 0; i < lines->len; i++)
		if (lines->lines[i].len >= words && strcmp(lines->lines[i].words[0], kind) == 0 && n-- == 0)
			return &lines->lines[i];
	return NULL;
}

long long lines_number(const char *word)
{
	return strtoll(word, NULL, 10);
}

long long lines_metric(const struct lines *lines, const char *name)
{
	for (size_t i = 0; i < lines->len; i++)
		if (lines->lines[i].len == 3 && strcmp(lines->lines[i].words[0], "metric") == 0 && strcmp(lines->lines[i].words[1], name) == 0)
			return lines_number(lines->lines[i].words[2]);
	return 0;
}
