/* The tour, desk: /metrics. What metrics.def has, by families.def; what is known of servers; and what the desk knows of itself. */
#include "desk/exposition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/health.h"
#include "core/metrics.h"

#define LABELS (2 * (HEALTH_NAME + HEALTH_AT) + 32) /* bytes of those of a backend or map at most */

struct form {
	struct buf *out;
	bool openmetrics;
};

enum type { COUNTER, GAUGE, HISTOGRAM, INFO };

/* ---- families.def ---- */

enum family {
#define FAMILY(name, label, sentence) FAMILY_##name,
#include "families.def"
	FAMILIES
};

enum times_family {
#define TIMES_FAMILY(name, label, sentence) TIMES_##name,
#include "families.def"
	TIMES_FAMILIES
};

struct about {
	const char *name, *label, *sentence;
};

static const struct about families[FAMILIES] = {
#define FAMILY(name, label, sentence) { #name, #label, sentence },
#include "families.def"
}, times_families[TIMES_FAMILIES] = {
#define TIMES_FAMILY(name, label, sentence) { #name, #label, sentence },
#include "families.def"
};

static const struct member {
	int family;
	const char *value;
	int of; /* enum metric, or enum histogram */
} members[] = {
#define MEMBER(family, value, metric) { FAMILY_##family, #value, METRIC_##metric },
#include "families.def"
}, times_members[] = {
#define TIMES_MEMBER(family, value, histogram) { TIMES_##family, #value, HISTOGRAM_##histogram },
#include "families.def"
};
#define MEMBERS (sizeof(members) / sizeof(members[0]))
#define TIMES_MEMBERS (sizeof(times_members) / sizeof(times_members[0]))

static bool is_member(const struct member *list, size_t len, int of)
{
	for (size_t i = 0; i < len; i++)
		if (list[i].of == of)
			return true;
	return false;
}

/* ---- lines ---- */

/* The text of HELP, or the value of a label: the formats want UTF-8, which a name in a configuration need not be. */
static void put_text(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '"')
			buf_put_char(out, '\\');
		buf_put_char(out, *text >= ' ' && *text <= '~' ? *text : '?');
	}
}

/* In the older format a quote in HELP is nothing special. */
static void put_help(const struct form *f, const char *text)
{
	if (f->openmetrics)
		put_text(f->out, text);
	else
		for (; *text; text++)
			buf_put_char(f->out, *text >= ' ' && *text <= '~' && *text != '\\' ? *text : '?');
}

/* A counter of OpenMetrics has the ending only in its samples. */
static void put_head(const struct form *f, const char *name, const char *ending, enum type type, const char *sentence)
{
	static const char *const types[] = { "counter", "gauge", "histogram", "info" };
	const char *more = type == COUNTER && !f->openmetrics ? "_total" : type == INFO && !f->openmetrics ? "_info" : "";
	buf_putf(f->out, "# TYPE tarry_%s%s%s %s\n", name, ending, more, type == INFO && !f->openmetrics ? "gauge" : types[type]);
	if (f->openmetrics && ending[0])
		buf_putf(f->out, "# UNIT tarry_%s%s%s %s\n", name, ending, more, ending + 1);
	buf_putf(f->out, "# HELP tarry_%s%s%s ", name, ending, more);
	put_help(f, sentence);
	buf_put_char(f->out, '\n');
}

static const char *total(enum type type)
{
	return type == COUNTER ? "_total" : "";
}

static enum type type_of(enum metric m)
{
	return metrics_is_gauge(m) ? GAUGE : COUNTER;
}

static void put_plain(const struct form *f, const char *name, enum type type, const char *sentence, long long value)
{
	put_head(f, name, "", type, sentence);
	buf_putf(f->out, "tarry_%s%s %lld\n", name, total(type), value);
}

static void put_family(const struct form *f, int family)
{
	const struct about *a = &families[family];
	enum type type = GAUGE;
	for (size_t i = 0; i < MEMBERS; i++)
		if (members[i].family == family)
			type = type_of((enum metric)members[i].of);
	put_head(f, a->name, "", type, a->sentence);
	for (size_t i = 0; i < MEMBERS; i++) {
		if (members[i].family != family)
			continue;
		const char *value = members[i].value;
		int64_t sum = metrics_sum((enum metric)members[i].of);
		for (; i + 1 < MEMBERS && members[i + 1].family == family && strcmp(members[i + 1].value, value) == 0; i++)
			sum += metrics_sum((enum metric)members[i + 1].of);
		buf_putf(f->out, "tarry_%s%s{%s=\"%s\"} %lld\n", a->name, total(type), a->label, value, (long long)sum);
	}
}

/* ---- histograms ---- */

/* Bounds at which inner buckets end. */
static const struct {
	int64_t ns;
	const char *text;
} bounds[] = {
	{ 100000, "0.0001" }, { 200000, "0.0002" }, { 500000, "0.0005" }, { 1000000, "0.001" }, { 2000000, "0.002" }, { 5000000, "0.005" }, { 10000000, "0.01" }, { 20000000, "0.02" },
	{ 50000000, "0.05" }, { 100000000, "0.1" }, { 200000000, "0.2" }, { 500000000, "0.5" }, { 1000000000, "1.0" }, { 2000000000, "2.0" }, { 5000000000, "5.0" }, { 10000000000, "10.0" },
	{ 20000000000, "20.0" }, { 50000000000, "50.0" }, { 100000000000, "100.0" }, { 200000000000, "200.0" },
};

static void put_times(const struct form *f, const char *name, const char *label, const char *value, enum histogram h)
{
	static struct metrics_times times;
	char labels[80] = "", alone[80] = "";
	uint64_t sum = 0;
	unsigned b = 0;
	if (label) {
		snprintf(labels, sizeof(labels), "%s=\"%s\",", label, value);
		snprintf(alone, sizeof(alone), "{%s=\"%s\"}", label, value);
	}
	metrics_times(h, &times);
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		for (unsigned end = metrics_bucket(bounds[i].ns); b < end; b++)
			sum += times.buckets[b];
		buf_putf(f->out, "tarry_%s_seconds_bucket{%sle=\"%s\"} %llu\n", name, labels, bounds[i].text, (unsigned long long)sum);
	}
	buf_putf(f->out, "tarry_%s_seconds_bucket{%sle=\"+Inf\"} %llu\n", name, labels, (unsigned long long)times.count);
	buf_putf(f->out, "tarry_%s_seconds_sum%s %lld.%09lld\n", name, alone, (long long)(times.sum / 1000000000), (long long)(times.sum % 1000000000));
	buf_putf(f->out, "tarry_%s_seconds_count%s %llu\n", name, alone, (unsigned long long)times.count);
}

static void put_all_times(const struct form *f)
{
	for (int i = 0; i < TIMES_FAMILIES; i++) {
		put_head(f, times_families[i].name, "_seconds", HISTOGRAM, times_families[i].sentence);
		for (size_t m = 0; m < TIMES_MEMBERS; m++)
			if (times_members[m].family == i)
				put_times(f, times_families[i].name, times_families[i].label, times_members[m].value, (enum histogram)times_members[m].of);
	}
	for (int h = 0; h < HISTOGRAM_COUNT; h++) {
		if (is_member(times_members, TIMES_MEMBERS, h))
			continue;
		put_head(f, metrics_times_name((enum histogram)h), "_seconds", HISTOGRAM, metrics_times_sentence((enum histogram)h));
		put_times(f, metrics_times_name((enum histogram)h), NULL, NULL, (enum histogram)h);
	}
}

/* ---- servers ---- */

static void put_labels(struct buf *out, const char *kind, unsigned thing)
{
	char name[HEALTH_NAME], at[HEALTH_AT];
	health_names(thing, name, at);
	buf_putf(out, "%s=\"", kind);
	/* A map is known by which one it is, a backend by its name. */
	put_text(out, thing < health_backends() ? name : at);
	if (thing < health_backends()) {
		buf_put_text(out, "\",address=\"");
		put_text(out, at);
	}
	buf_put_char(out, '"');
}

/* Others before it that look the same here: a map may be named twice, and of a long name not all is known. A series that is there twice spoils all of them. */
static unsigned alike(const char *kind, unsigned first, unsigned thing)
{
	char memory[2][LABELS];
	struct buf this, other;
	unsigned n = 0;
	buf_init_fixed(&this, memory[0], sizeof(memory[0]));
	put_labels(&this, kind, thing);
	for (unsigned i = first; i < thing; i++) {
		buf_init_fixed(&other, memory[1], sizeof(memory[1]));
		put_labels(&other, kind, i);
		n += other.len == this.len && memcmp(other.at, this.at, this.len) == 0;
	}
	return n;
}

static void put_thing(const struct form *f, const char *kind, const char *ending, unsigned thing)
{
	unsigned twins = alike(kind, thing < health_backends() ? 0 : health_map(0), thing);
	buf_putf(f->out, "tarry_%s_%s{", kind, ending);
	put_labels(f->out, kind, thing);
	if (twins > 0)
		buf_putf(f->out, ",number=\"%u\"", twins + 1);
}

static void put_things(const struct form *f, const char *kind, unsigned first, unsigned len, const char *up, const char *tries)
{
	char name[64];
	bool any = false;
	for (unsigned i = first; i < first + len; i++)
		any = any || health_of(i).state != HEALTH_UNKNOWN;
	if (!any)
		return;
	snprintf(name, sizeof(name), "%s_up", kind);
	put_head(f, name, "", GAUGE, up);
	for (unsigned i = first; i < first + len; i++) {
		struct health h = health_of(i);
		if (h.state == HEALTH_UNKNOWN)
			continue;
		put_thing(f, kind, "up", i);
		buf_putf(f->out, "} %d\n", h.state == HEALTH_UP);
	}
	snprintf(name, sizeof(name), "%s_tries", kind);
	put_head(f, name, "", COUNTER, tries);
	for (unsigned i = first; i < first + len; i++) {
		struct health h = health_of(i);
		if (h.state == HEALTH_UNKNOWN)
			continue;
		put_thing(f, kind, "tries_total", i);
		buf_putf(f->out, ",result=\"good\"} %llu\n", (unsigned long long)h.good);
		put_thing(f, kind, "tries_total", i);
		buf_putf(f->out, ",result=\"bad\"} %llu\n", (unsigned long long)h.bad);
	}
}

/* ---- all ---- */

static void put_about(const struct form *f, const struct exposition *a)
{
	put_head(f, "build", "", INFO, "the version of the door");
	buf_put_text(f->out, "tarry_build_info{version=\"");
	put_text(f->out, a->version);
	buf_put_text(f->out, "\"} 1\n");
	put_head(f, "start_time", "_seconds", GAUGE, "when the door was started, in seconds since 1970");
	buf_putf(f->out, "tarry_start_time_seconds %lld\n", (long long)a->started);
	put_head(f, "greet_pause", "_seconds", GAUGE, "the pause before the greeting of clients for which the access database has nothing else (greet_pause)");
	buf_putf(f->out, "tarry_greet_pause_seconds %lld.%03lld\n", (long long)(a->pause_ms / 1000), (long long)(a->pause_ms % 1000));
	put_plain(f, "fronts", GAUGE, "front processes that there should be", a->fronts);
	put_plain(f, "desk_listeners", GAUGE, "pages of tarry-desk that are open", a->listeners);
	put_plain(f, "desk_requests", COUNTER, "requests to tarry-desk", a->requests);
	put_plain(f, "desk_denied", COUNTER, "of those, requests that were denied: without the token, or with a foreign name for this machine", a->denied);
	put_plain(f, "desk_missed", COUNTER, "clients turned away that tarry-desk has not seen, because too many came at a time; they are counted all the same", (long long)a->missed);
}

void exposition_put(struct buf *out, bool openmetrics, const struct exposition *about)
{
	const struct form f = { out, openmetrics };
	put_about(&f, about);
	for (int i = 0; i < FAMILIES; i++)
		put_family(&f, i);
	for (int m = 0; m < METRIC_COUNT; m++)
		if (!is_member(members, MEMBERS, m))
			put_plain(&f, metrics_name((enum metric)m), type_of((enum metric)m), metrics_sentence((enum metric)m), (long long)metrics_sum((enum metric)m));
	put_things(&f, "backend", 0, health_backends(), "whether a backend was there when it was last tried; those that nobody has tried yet are not shown",
	           "attempts to hand a client to a backend, and health checks, by what became of them");
	put_things(&f, "map", health_map(0), health_maps(), "whether a map that others answer was there when it was last asked; those that nobody has asked yet are not shown",
	           "answers of maps that others answer, good, and failures, bad");
	put_all_times(&f);
	if (openmetrics)
		buf_put_text(out, "# EOF\n");
}

/* ---- Accept (RFC 9110, section 12.5.1) ---- */

/* The weight of one of its elements, 1 where it has none. */
static double weight(struct slice s)
{
	char text[16] = "";
	for (size_t i = 0; i + 2 < s.len; i++) {
		bool begins = s.at[i] == ';' || s.at[i] == ' ' || s.at[i] == '\t';
		if (!begins || (s.at[i + 1] | 0x20) != 'q' || s.at[i + 2] != '=')
			continue;
		size_t len = s.len - i - 3 < sizeof(text) - 1 ? s.len - i - 3 : sizeof(text) - 1;
		memcpy(text, s.at + i + 3, len);
		return strtod(text, NULL);
	}
	return 1;
}

static bool begins_with(struct slice s, const char *type)
{
	size_t len = strlen(type);
	return s.len >= len && slice_is_nocase((struct slice){ s.at, len }, type) && (s.len == len || strchr("; \t", s.at[len]));
}

bool exposition_wants_openmetrics(const char *accept)
{
	double open = 0, text = 0;
	for (const char *p = accept ? accept : ""; *p;) {
		size_t len = strcspn(p, ",");
		struct slice one = slice_trim((struct slice){ p, len });
		if (begins_with(one, "application/openmetrics-text") && weight(one) > open)
			open = weight(one);
		else if ((begins_with(one, "text/plain") || begins_with(one, "text/*") || begins_with(one, "*/*")) && weight(one) > text)
			text = weight(one);
		p += len + (p[len] == ',');
	}
	return open > 0 && open >= text;
}
