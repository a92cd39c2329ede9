/* The tour, tools: the advice for people, and the same numbers for programs: one JSON object (RFC 8259). */
#include "tool/advice.h"

#include <math.h>
#include <string.h>

#define HOUR (1 / 24.0) /* days: below that nothing is said per day */
#define SPAN_TEXT 48

static const char *const states[] = { [ADVISE_GOOD] = "good", [ADVISE_FEW] = "few", [ADVISE_UNSEEN] = "unseen", [ADVISE_MALFORMED] = "malformed" };
static const char *const judgements[] = { [ADVISE_KEEP] = "keep", [ADVISE_LONGER] = "longer", [ADVISE_SHORTER] = "shorter" };

/* "0.35 s", "4.6 s", "12 min", "3.1 h" */
static const char *span(double ms, char out[SPAN_TEXT])
{
	if (ms < 1000)
		snprintf(out, SPAN_TEXT, "%.3g s", ms / 1000);
	else if (ms < 120e3)
		snprintf(out, SPAN_TEXT, ms < 10e3 ? "%.2f s" : "%.1f s", ms / 1000);
	else if (ms < 7200e3)
		snprintf(out, SPAN_TEXT, "%.0f min", ms / 60e3);
	else
		snprintf(out, SPAN_TEXT, "%.1f h", ms / 3600e3);
	return out;
}

/* Patient clients of whom nothing was known in a day; below 0: not known. */
static double patient_a_day(const struct advice *a)
{
	return a->days >= HOUR ? a->waited / a->days : -1;
}

static void print_counts(FILE *to, const struct advice *a, const struct advise_result *r)
{
	char text[SPAN_TEXT];
	double all = r->talked + r->gone + r->waited;
	fprintf(to, "clients      %.0f had to wait", all);
	if (a->days > 3)
		fprintf(to, ", in %.0f days", a->days);
	else if (a->days > 0)
		fprintf(to, ", in %s", span(a->days * 86400e3, text));
	fprintf(to, ": %.0f talked early, %.0f hung up, %.0f waited; known and exempt ones are not among them\n", r->talked, r->gone, r->waited);
	double clustering = advice_clustering(a);
	if (clustering > 1.05)
		fprintf(to, "             early talkers came %.1f times each, on the whole; each counts once where it is said how sure something is\n", clustering);
	fprintf(to, "explored     %.0f", a->explored);
	if (a->explore_part >= 0)
		fprintf(to, " (explore = %g%%)", 100 * a->explore_part);
	fprintf(to, ": %.0f were watched beyond the pause in force, %.0f up to %s; of them %.0f talked after the pause\n", r->watched_beyond, r->watched_to_end,
	        span(r->ladder_len > 0 ? r->ladder[r->ladder_len - 1].at : 0, text), r->talked_beyond);
}

static void print_row(FILE *to, const struct advice *a, const struct advise_share *s, const char *remark)
{
	char at[SPAN_TEXT], delay[SPAN_TEXT];
	fprintf(to, "  %8s   %6.1f %%   %5.1f to %5.1f %%", span(s->at, at), 100 * s->share, 100 * s->low, 100 * s->high);
	if (patient_a_day(a) >= 0)
		fprintf(to, "   %10s a day", span(patient_a_day(a) * s->at, delay));
	fprintf(to, "%s\n", remark);
}

static void print_ladder(FILE *to, const struct advice *a, const struct advise_result *r)
{
	bool now = false;
	fprintf(to, "\n%10s   %8s   %16s%s\n", "a pause of", "catches", "with 95 % surety", patient_a_day(a) >= 0 ? "   good mail waits" : "");
	for (size_t i = 0; i < r->ladder_len; i++) {
		bool same = fabs(r->ladder[i].at - r->now.at) < 0.5;
		if (!now && !same && r->ladder[i].at > r->now.at)
			print_row(to, a, &r->now, "   in force");
		print_row(to, a, &r->ladder[i], same ? "   in force" : "");
		now = now || r->ladder[i].at >= r->now.at || same;
	}
	fputs("\n", to);
}

static void print_verdict(FILE *to, const struct advice *a, const struct advise_result *r)
{
	char pause[SPAN_TEXT], low[SPAN_TEXT], high[SPAN_TEXT], one[SPAN_TEXT], other[SPAN_TEXT];
	if (r->state != ADVISE_GOOD) {
		fprintf(to, "recommended  nothing yet\nbecause      %s\n", r->reason);
		return;
	}
	fprintf(to, "recommended  greet_pause = %s (%s to %s)\nbecause      %s\n", span(r->pause, pause), span(r->low, low), span(r->high, high), r->reason);
	if (patient_a_day(a) < 0)
		return;
	fprintf(to, "good mail    %.0f patient clients a day wait, known ones not included: %s a day by the pause in force, %s by the recommended one\n", patient_a_day(a),
	        span(patient_a_day(a) * a->pause, one), span(patient_a_day(a) * r->pause, other));
}

void advice_print(FILE *to, const struct advice *a, const struct advise_result *r)
{
	print_counts(to, a, r);
	if (r->talked > 0) /* of nobody no part has been caught */
		print_ladder(to, a, r);
	else
		fputs("\n", to);
	print_verdict(to, a, r);
}

/* ---- for programs ---- */

/* JSON has no infinities. */
static void put_number(FILE *to, const char *key, double n, int decimals)
{
	if (isfinite(n))
		fprintf(to, "\"%s\": %.*f", key, decimals, n);
	else
		fprintf(to, "\"%s\": null", key);
}

struct number {
	const char *key;
	double n;
	int decimals;
};

static void put_numbers(FILE *to, const struct number *numbers, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		fputs(i > 0 ? ", " : "", to);
		put_number(to, numbers[i].key, numbers[i].n, numbers[i].decimals);
	}
}

static void put_share(FILE *to, const struct advise_share *s)
{
	const struct number numbers[] = { { "pause_ms", s->at, 0 }, { "share", s->share, 5 }, { "low", s->low, 5 }, { "high", s->high, 5 } };
	fputs("{", to);
	put_numbers(to, numbers, sizeof(numbers) / sizeof(numbers[0]));
	fputs("}", to);
}

static void put_text(FILE *to, const char *key, const char *text)
{
	fprintf(to, "\"%s\": \"", key);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', to);
		fputc(*text >= ' ' && *text < 0x7f ? *text : '?', to);
	}
	fputs("\"", to);
}

static void put_recommended(FILE *to, const struct advise_result *r)
{
	if (r->state != ADVISE_GOOD) {
		fputs("\"recommended_ms\": null, \"low_ms\": null, \"high_ms\": null, \"judgement\": null, \"method\": null", to);
		return;
	}
	const struct number numbers[] = { { "recommended_ms", r->pause, 0 }, { "low_ms", r->low, 0 }, { "high_ms", r->high, 0 } };
	put_numbers(to, numbers, sizeof(numbers) / sizeof(numbers[0]));
	fputs(", ", to);
	put_text(to, "judgement", judgements[r->judgement]);
	fputs(", ", to);
	put_text(to, "method", r->method);
}

void advice_json(FILE *to, const struct advice *a, const struct advise_result *r)
{
	double day = patient_a_day(a) >= 0 ? patient_a_day(a) : INFINITY;
	const struct number mail[] = { { "patient_clients_a_day", day, 1 }, { "seconds_a_day", day * a->pause / 1000, 1 },
		{ "seconds_a_day_recommended", r->state == ADVISE_GOOD ? day * r->pause / 1000 : INFINITY, 1 } };
	fprintf(to, "{\"state\": \"%s\", ", states[r->state]);
	put_recommended(to, r);
	fputs(", ", to);
	put_text(to, "reason", r->reason);
	fprintf(to, ",\n\"share\": %g, ", a->share);
	const struct number counts[] = { { "pause_ms", a->pause, 0 }, { "explore_pause_ms", r->ladder_len > 0 ? r->ladder[r->ladder_len - 1].at : a->explore, 0 }, { "days", a->days, 4 },
		{ "talked", r->talked, 0 }, { "gone", r->gone, 0 }, { "waited", r->waited, 0 }, { "talk_rate", r->rate, 6 }, { "explored", a->explored, 0 }, { "talked_beyond", r->talked_beyond, 0 },
		{ "watched_beyond", r->watched_beyond, 0 }, { "watched_to_end", r->watched_to_end, 0 }, { "clustering", advice_clustering(a), 3 } };
	put_numbers(to, counts, sizeof(counts) / sizeof(counts[0]));
	fputs(",\n\"in_force\": ", to);
	put_share(to, &r->now);
	fputs(",\n\"ladder\": [", to);
	for (size_t i = 0; i < r->ladder_len; i++) {
		fputs(i > 0 ? ",\n  " : "\n  ", to);
		put_share(to, &r->ladder[i]);
	}
	fputs("],\n\"good_mail\": {", to);
	put_numbers(to, mail, sizeof(mail) / sizeof(mail[0]));
	fputs("}}\n", to);
}
