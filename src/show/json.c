/* The tour, show: the same for programs: one JSON object. */
#include "show/json.h"

#include <string.h>
#include <time.h>

void json_put_bytes(struct buf *out, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	buf_put_char(out, '"');
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '"' || p[i] == '\\')
			buf_put_char(out, '\\');
		/* < and > would be harmless in JSON, but not everybody puts it where it is nothing else. */
		if (p[i] < ' ' || p[i] > '~' || p[i] == '<' || p[i] == '>')
			buf_putf(out, "\\u%04x", p[i]);
		else
			buf_put_char(out, (char)p[i]);
	}
	buf_put_char(out, '"');
}

void json_put_text(struct buf *out, const char *text)
{
	json_put_bytes(out, text, strlen(text));
}

void json_put_pair(struct buf *out, const char *before, const char *name, const char *text)
{
	buf_putf(out, "%s\"%s\": ", before, name);
	json_put_text(out, text);
}

const char *json_time_text(int64_t seconds, char out[JSON_TIME])
{
	time_t t = (time_t)seconds;
	struct tm tm;
	if (!gmtime_r(&t, &tm) || strftime(out, JSON_TIME, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		out[0] = '\0';
	return out;
}

static void put_time(struct buf *out, const char *name, const char *seconds)
{
	char text[JSON_TIME];
	if (lines_number(seconds) == 0)
		buf_putf(out, ", \"%s\": null", name);
	else
		json_put_pair(out, ", ", name, json_time_text(lines_number(seconds), text));
}

/* Backends or maps. */
static void put_things(struct buf *out, const struct lines *lines, const char *kind, const char *names, const char *first, const char *second)
{
	const struct line *l;
	buf_putf(out, "], \"%s\": [", names);
	for (size_t i = 0; (l = lines_find(lines, kind, 7, i)); i++) {
		json_put_pair(out, i == 0 ? "{" : ", {", first, l->words[1]);
		json_put_pair(out, ", ", second, l->words[2]);
		json_put_pair(out, ", ", "state", l->words[3]);
		put_time(out, "since", l->words[4]);
		put_time(out, "tried", l->words[5]);
		json_put_pair(out, ", ", "error", l->words[6]);
		buf_putf(out, ", \"good\": %lld, \"bad\": %lld}", l->len < 9 ? 0 : lines_number(l->words[7]), l->len < 9 ? 0 : lines_number(l->words[8]));
	}
}

/* Microseconds, as milliseconds; null: there was nothing to be measured. */
static void put_ms(struct buf *out, const char *name, bool any, const char *us)
{
	long long n = lines_number(us);
	if (any)
		buf_putf(out, ", \"%s\": %lld.%03lld", name, n / 1000, n < 0 ? 0 : n % 1000);
	else
		buf_putf(out, ", \"%s\": null", name);
}

static void put_quantiles(struct buf *out, const struct lines *lines)
{
	const struct line *l;
	for (size_t i = 0; (l = lines_find(lines, "quantiles", 7, i)); i++) {
		bool any = lines_number(l->words[2]) > 0;
		buf_put_text(out, i == 0 ? "" : ", ");
		json_put_text(out, l->words[1]);
		buf_putf(out, ": {\"count\": %lld", lines_number(l->words[2]));
		put_ms(out, "mean_ms", any, l->words[3]);
		put_ms(out, "p50_ms", any, l->words[4]);
		put_ms(out, "p90_ms", any, l->words[5]);
		put_ms(out, "p99_ms", any, l->words[6]);
		buf_put_char(out, '}');
	}
}

void json_begin_status(struct buf *out, const struct lines *lines, const struct line *door)
{
	const struct line *l;
	json_put_pair(out, "{", "version", door->words[1]);
	buf_putf(out, ", \"pid\": %lld", lines_number(door->words[2]));
	put_time(out, "started", door->words[3]);
	buf_putf(out, ", \"fronts\": %lld, \"fronts_at_work\": %lld, \"generation\": %lld, \"old_processes\": %lld, \"greet_pause_ms\": %lld, \"listen\": [", lines_number(door->words[4]), lines_metric(lines, "serving"),
	         door->len > 6 ? lines_number(door->words[5]) : 0, door->len > 6 && lines_metric(lines, "earlier") == 0 ? lines_number(door->words[6]) : lines_metric(lines, "earlier"),
	         door->len > 7 ? lines_number(door->words[7]) : 0);
	for (size_t i = 0; (l = lines_find(lines, "listen", 3, i)); i++) {
		json_put_pair(out, i == 0 ? "{" : ", {", "at", l->words[1]);
		buf_putf(out, ", \"proxy\": %s}", strcmp(l->words[2], "proxy") == 0 ? "true" : "false");
	}
	put_things(out, lines, "backend", "backends", "name", "address");
	put_things(out, lines, "map", "maps", "kind", "name");
	buf_put_text(out, "], \"counters\": {");
	for (size_t i = 0; (l = lines_find(lines, "metric", 3, i)); i++) {
		buf_put_text(out, i == 0 ? "" : ", ");
		json_put_text(out, l->words[1]);
		buf_putf(out, ": %lld", lines_number(l->words[2]));
	}
	buf_put_text(out, "}, \"times\": {");
	put_quantiles(out, lines);
	buf_put_char(out, '}');
}

void json_put_status(struct buf *out, const struct lines *lines, const struct line *door)
{
	const struct line *l;
	json_begin_status(out, lines, door);
	/* Known to the door alone, and not to tarry-desk: where there is none, what both say is the same. */
	for (size_t i = 0; (l = lines_find(lines, "kept", 4, i)); i++) {
		json_put_pair(out, i == 0 ? ", \"kept\": [{" : "}, {", "option", l->words[1]);
		json_put_pair(out, ", ", "file", l->words[2]);
		put_time(out, "since", l->words[3]);
	}
	buf_put_text(out, lines_find(lines, "kept", 4, 0) ? "}]}" : "}");
}
