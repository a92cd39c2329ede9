/* The tour, top: the screen: a head of four lines, one of the panes, and a line with what the keys do. */
#include "top/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/buf.h"
#include "top/chart.h"

#define HEAD_ROWS 4
#define WIDE 110 /* columns from which a client's name has its own */

void view_take_door(struct view_door *door, const struct line *line)
{
	*door = (struct view_door){ .pid = lines_number(line->words[2]), .started = lines_number(line->words[3]), .fronts = lines_number(line->words[4]),
		.pause_ms = line->len > 7 ? lines_number(line->words[7]) : 0 };
	snprintf(door->version, sizeof(door->version), "%s", line->words[1]);
}

/* ---- texts ---- */

static const char *duration_text(int64_t ns, char out[24])
{
	double ms = (double)ns / 1e6;
	snprintf(out, 24, ms >= 9950 ? "%.0f s" : ms >= 995 ? "%.1f s" : ms >= 10 ? "%.0f ms" : "%.1f ms", ms >= 995 ? ms / 1000 : ms);
	return out;
}

static const char *clock_text(int64_t seconds, char out[24])
{
	time_t t = (time_t)seconds;
	struct tm tm;
	if (!localtime_r(&t, &tm) || strftime(out, 24, "%H:%M:%S", &tm) == 0)
		strcpy(out, "--:--:--");
	return out;
}

/* How long something has been so. */
static const char *since_text(int64_t seconds, char out[24])
{
	long long s = seconds < 0 ? 0 : seconds;
	if (s >= 86400)
		snprintf(out, 24, "%lld d %02lld:%02lld", s / 86400, s / 3600 % 24, s / 60 % 60);
	else
		snprintf(out, 24, "%02lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
	return out;
}

static const char *rate_text(double rate, char out[24])
{
	if (rate < 0)
		strcpy(out, "-");
	else
		snprintf(out, 24, rate >= 100 ? "%.0f" : "%.1f", rate);
	return out;
}

/* ---- the head ---- */

static void put_first(struct grid *g, const struct view *v, const struct view_door *d, const struct model *m)
{
	char up[24], now[24], right[64];
	const char *state = !v->there ? "NO DOOR" : v->paused ? "PAUSED" : "live";
	snprintf(right, sizeof(right), "%s  %s ", state, clock_text(m->now, now));
	grid_fill(g, (struct grid_at){ 0, 0, g->cols }, GRID_BAR);
	grid_putf(g, (struct grid_at){ 0, 0, g->cols - (int)strlen(right) - 1 }, GRID_BAR, " tarry %s  pid %lld  up %s  %lld fronts", d->version, d->pid, since_text(m->now - d->started, up), d->fronts);
	grid_put_right(g, (struct grid_at){ 0, 0, g->cols }, GRID_BAR, right);
}

/* Connections by where they stand; those that are always of interest, and others if there are any. */
static void put_states(struct grid *g, const struct model *m)
{
	static const struct {
		enum metric metric;
		bool always;
		const char *name;
	} states[] = { { METRIC_arriving, false, "arriving" }, { METRIC_handshaking, false, "in a TLS handshake" }, { METRIC_asked, false, "asked about" }, { METRIC_held, true, "held" }, { METRIC_dialling, false, "dialling" },
		{ METRIC_relayed, true, "relayed" }, { METRIC_refusing, true, "being refused" }, { METRIC_tarpit, false, "in the tarpit" }, { METRIC_closing, false, "closing" }, { METRIC_handed_open, false, "with programs" } };
	const char *before = ":";
	int col = grid_putf(g, (struct grid_at){ 1, 1, g->cols - 1 }, GRID_TITLE, "%lld open", (long long)m->values[METRIC_open]) + 1;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (!states[i].always && m->values[states[i].metric] <= 0)
			continue;
		col += grid_putf(g, (struct grid_at){ 1, col, g->cols - col }, GRID_PLAIN, "%s %lld %s", before, (long long)m->values[states[i].metric], states[i].name);
		before = ",";
	}
}

static void put_numbers(struct grid *g, const struct model *m)
{
	char text[24], most[24];
	int64_t banned = model_value(m, "banned_clients"); /* -1: the door knows none */
	int col = 1 + grid_putf(g, (struct grid_at){ 2, 1, g->cols - 1 }, GRID_PLAIN, "pause %lld ms", m->pause.pause);
	if (chart_recommended(m) > 0)
		col += grid_putf(g, (struct grid_at){ 2, col, g->cols - col }, m->advice.judgement == ADVISE_KEEP ? GRID_GOOD : GRID_WARN, ", recommended %lld ms (%.0f to %.0f)", (long long)chart_recommended(m), m->advice.low, m->advice.high);
	if (m->greeted_late.count > 0)
		col += grid_putf(g, (struct grid_at){ 2, col, g->cols - col }, GRID_PLAIN, ", greeted late by %s (99 in 100: %s)", duration_text(m->greeted_late.half, text), duration_text(m->greeted_late.most, most));
	col += grid_putf(g, (struct grid_at){ 2, col, g->cols - col }, GRID_PLAIN, ", %lld known", (long long)m->values[METRIC_known_clients]);
	if (banned >= 0)
		grid_putf(g, (struct grid_at){ 2, col, g->cols - col }, GRID_PLAIN, ", %lld banned", (long long)banned);
}

/* The most urgent of all. */
static void put_warning(struct grid *g, const struct view *v, const struct view_door *d, const struct model *m)
{
	struct grid_at at = { 3, 1, g->cols - 1 };
	if (v->notice[0]) {
		grid_put(g, at, v->there ? GRID_WARN : GRID_BAD, v->notice);
		return;
	}
	for (unsigned i = 0; i < m->things_len; i++)
		if (m->things[i].health.state == HEALTH_DOWN) {
			int col = at.col + grid_putf(g, at, GRID_BAD, "%s ", m->things[i].map ? "map" : "backend");
			col += grid_put_bytes(g, (struct grid_at){ 3, col, g->cols - col }, GRID_BAD, m->things[i].name, (unsigned)strlen(m->things[i].name));
			grid_put(g, (struct grid_at){ 3, col, g->cols - col }, GRID_BAD, " is down; see 5");
			return;
		}
	if (m->values[METRIC_serving] < d->fronts)
		grid_putf(g, at, GRID_BAD, "%lld of %lld fronts are at work", (long long)m->values[METRIC_serving], d->fronts);
	else if (m->values[METRIC_stress] > 0)
		grid_put(g, at, GRID_WARN, "under stress: nearly all connections or descriptors are in use, pauses are short");
	else if (m->values[METRIC_blind] > 0)
		grid_put(g, at, GRID_WARN, "nearly all clients come from one private address (event=one_client)");
}

/* ---- verdicts ---- */

static const struct {
	const char *name;
	enum series_what what;
	enum grid_style style;
	bool always;
} verdicts[] = {
	{ "patient", SERIES_patient, GRID_GOOD, true }, { "exempt", SERIES_exempt, GRID_GOOD, true }, { "known", SERIES_known, GRID_GOOD, true }, { "early", SERIES_early, GRID_BAD, true },
	{ "refused", SERIES_refused, GRID_BAD, true }, { "gone", SERIES_gone, GRID_WARN, true }, { "limited", SERIES_limited, GRID_BAD, true }, { "nobackend", SERIES_nobackend, GRID_BAD, true },
	{ "banned", SERIES_banned, GRID_BAD, false }, { "(observed)", SERIES_would, GRID_WARN, false }, /* these are among those that were let in */
};
#define VERDICTS ((int)(sizeof(verdicts) / sizeof(verdicts[0])))

static void put_column(struct grid *g, int row, int col, int width, enum grid_style style, const char *format, unsigned long long n)
{
	char text[24];
	snprintf(text, sizeof(text), format, n);
	grid_put_right(g, (struct grid_at){ row, col, width }, style, text);
}

/* The rows that it took. */
static int draw_verdicts(struct grid *g, struct area a, const struct model *m)
{
	static const char *const heads[] = { "a second", "last minute", "last hour", "so far" };
	static const int cols[] = { 11, 20, 32, 42 }, widths[] = { 9, 12, 10, 10 };
	int row = a.row, spark = 54;
	char rate[24];
	grid_put(g, (struct grid_at){ row, a.col, 10 }, GRID_TITLE, "verdict");
	for (int i = 0; i < 4; i++)
		grid_put_right(g, (struct grid_at){ row, a.col + cols[i], widths[i] }, GRID_DIM, heads[i]);
	grid_putf(g, (struct grid_at){ row, a.col + spark, a.cols - spark }, GRID_DIM, "last %d min", (a.cols - spark) / 6);
	for (int i = 0; i < VERDICTS && row + 1 < a.row + a.rows; i++) {
		enum series_what what = verdicts[i].what;
		int64_t total = m->totals[what];
		if (!verdicts[i].always && total == 0)
			continue;
		row++;
		grid_put(g, (struct grid_at){ row, a.col, 10 }, verdicts[i].style, verdicts[i].name);
		grid_put_right(g, (struct grid_at){ row, a.col + cols[0], widths[0] }, GRID_TITLE, rate_text(model_rate(m, what), rate));
		put_column(g, row, a.col + cols[1], widths[1], GRID_PLAIN, "%llu", model_sum(m, what, 60));
		put_column(g, row, a.col + cols[2], widths[2], GRID_PLAIN, "%llu", model_sum(m, what, 3600));
		put_column(g, row, a.col + cols[3], widths[3], GRID_PLAIN, "%llu", total < 0 ? 0 : (unsigned long long)total);
		chart_spark(g, (struct grid_at){ row, a.col + spark, a.cols - spark }, verdicts[i].style, m, what);
	}
	return row + 1 - a.row;
}

/* ---- when they talk ---- */

static void draw_talk(struct grid *g, struct area a, const struct model *m)
{
	char half[24], nine[24], most[24];
	const struct model_times *t = &m->talked;
	int col = a.col + grid_put(g, (struct grid_at){ a.row, a.col, a.cols }, GRID_TITLE, "When early talkers talk");
	if (t->count == 0)
		grid_put(g, (struct grid_at){ a.row, col, a.col + a.cols - col }, GRID_DIM, ": nobody has so far");
	else
		grid_putf(g, (struct grid_at){ a.row, col, a.col + a.cols - col }, GRID_PLAIN, ": half of %llu within %s, 90 %% %s, 99 %% %s", (unsigned long long)t->count, duration_text(t->half, half),
		          duration_text(t->nine_in_ten, nine), duration_text(t->most, most));
	chart_talk(g, (struct area){ a.row + 1, a.col, a.rows - 1, a.cols }, m);
}

/* A text over several lines, by its words. */
static void put_words(struct grid *g, struct area a, const char *text)
{
	for (int row = 0; row < a.rows && *text; row++) {
		int len = (int)strnlen(text, (size_t)a.cols + 1);
		while (len > a.cols || (len > 0 && text[len] && text[len] != ' '))
			len--;
		if (len == 0) /* a word that is longer than a line */
			len = (int)strnlen(text, (size_t)a.cols);
		grid_put(g, (struct grid_at){ a.row + row, a.col, len }, GRID_PLAIN, text);
		text += len + (text[len] == ' ');
	}
}

#define REASON_ROWS 3

static void draw_talk_pane(struct grid *g, struct area a, const struct model *m)
{
	char half[24], nine[24];
	int reason = m->advised_at > 0 ? REASON_ROWS : 0, end = a.row + a.rows;
	draw_talk(g, (struct area){ a.row, a.col, a.rows - 1 - reason, a.cols }, m);
	if (reason > 0)
		put_words(g, (struct area){ end - reason, a.col, reason, a.cols }, m->advice.reason);
	if (m->gone.count > 0)
		grid_putf(g, (struct grid_at){ end - 1 - reason, a.col, a.cols }, GRID_PLAIN, "Hung up before the greeting: half of %llu within %s, 90 %% %s", (unsigned long long)m->gone.count,
		          duration_text(m->gone.half, half), duration_text(m->gone.nine_in_ten, nine));
}

/* ---- lists ---- */

/* Keeps the list filled, and returns the line that is the first. */
static int clamp_first(struct view *v, int lines, int room)
{
	if (v->first > lines - room)
		v->first = lines - room;
	if (v->first < 0)
		v->first = 0;
	return v->first;
}

static void put_position(struct grid *g, struct area a, int first, int shown, int all)
{
	char text[64];
	if (all <= shown && first == 0)
		return;
	snprintf(text, sizeof(text), "%d to %d of %d", first + 1, first + shown > all ? all : first + shown, all);
	grid_put_right(g, (struct grid_at){ a.row, a.col, a.cols }, GRID_DIM, text);
}

static void draw_networks(struct grid *g, struct area a, struct view *v, const struct model *m)
{
	int all = (int)m->networks_len, room = a.rows - 1, first = v ? clamp_first(v, all, room) : 0;
	int wide = a.cols < 60 ? 24 : 45; /* of the network: all of an IPv6 one, where there is room */
	char most[40];
	grid_put(g, (struct grid_at){ a.row, a.col, a.cols }, GRID_TITLE, "Networks turned away, last day");
	if (all == 0)
		grid_put(g, (struct grid_at){ a.row + 1, a.col, a.cols }, GRID_DIM, "nobody so far");
	for (int i = 0; i < room && first + i < all; i++) {
		const struct networks_top *n = &m->networks[first + i];
		int row = a.row + 1 + i;
		grid_put(g, (struct grid_at){ row, a.col, wide }, GRID_PLAIN, n->text);
		put_column(g, row, a.col + wide, 9, GRID_TITLE, "%llu", n->count - n->over);
		if (n->over == 0)
			continue;
		snprintf(most, sizeof(most), " to %llu", (unsigned long long)n->count);
		grid_put(g, (struct grid_at){ row, a.col + wide + 9, a.cols - wide - 9 }, GRID_DIM, most);
	}
	if (v)
		put_position(g, a, first, room, all);
}

static void draw_server(struct grid *g, struct area a, int row, const struct model_thing *t, int64_t now)
{
	static const enum grid_style styles[] = { [HEALTH_UNKNOWN] = GRID_DIM, [HEALTH_UP] = GRID_GOOD, [HEALTH_DOWN] = GRID_BAD };
	char since[24];
	int name = a.cols / 2, col = a.col + name + 1, end = a.col + a.cols;
	int at = a.col + grid_put(g, (struct grid_at){ row, a.col, name }, GRID_DIM, t->map ? "map " : "");
	if (!t->map) {
		at += grid_put_bytes(g, (struct grid_at){ row, at, a.col + name - at }, GRID_PLAIN, t->name, (unsigned)strlen(t->name));
		at += grid_put(g, (struct grid_at){ row, at, a.col + name - at }, GRID_DIM, ", ");
	}
	grid_put_bytes(g, (struct grid_at){ row, at, a.col + name - at }, GRID_DIM, t->at, (unsigned)strlen(t->at));
	if (t->health.state == HEALTH_UNKNOWN) {
		grid_put(g, (struct grid_at){ row, col, end - col }, GRID_DIM, "not tried yet");
		return;
	}
	col += grid_putf(g, (struct grid_at){ row, col, end - col }, styles[t->health.state], "%s %s", health_state_name(t->health.state), since_text(now - t->health.since, since));
	if (t->health.state == HEALTH_DOWN) {
		col += grid_put(g, (struct grid_at){ row, col, end - col }, GRID_PLAIN, ": ");
		col += grid_put_bytes(g, (struct grid_at){ row, col, end - col }, GRID_BAD, t->health.error, (unsigned)strlen(t->health.error));
	}
	grid_putf(g, (struct grid_at){ row, col, end - col }, GRID_DIM, "; %llu good, %llu bad", (unsigned long long)t->health.good, (unsigned long long)t->health.bad);
}

static void draw_servers(struct grid *g, struct area a, struct view *v, const struct model *m)
{
	int all = (int)m->things_len, room = a.rows - 1, first = v ? clamp_first(v, all, room) : 0;
	int col = a.col + grid_put(g, (struct grid_at){ a.row, a.col, a.cols }, GRID_TITLE, "Backends and maps");
	if (m->things_left > 0)
		grid_putf(g, (struct grid_at){ a.row, col, a.col + a.cols - col }, GRID_DIM, "; %u more: tarry status", m->things_left);
	for (int i = 0; i < room && first + i < all; i++)
		draw_server(g, a, a.row + 1 + i, &m->things[first + i], m->now);
	if (v)
		put_position(g, a, first, room, all);
}

/* ---- those turned away ---- */

struct turned {
	const struct recent *r;
	uint64_t count; /* of who comes over and over: how often it has come */
};

struct newest {
	struct turned all[MEMORY_LATEST + MEMORY_OFTEN];
	int len;
};

static int by_time(const void *a, const void *b)
{
	const struct recent *x = ((const struct turned *)a)->r, *y = ((const struct turned *)b)->r;
	return x->at_ms < y->at_ms ? 1 : x->at_ms > y->at_ms ? -1 : 0;
}

/* Newest first: each front tells of its own. */
static void find_newest(const struct memory *memory, struct newest *out)
{
	const struct memory_often *o;
	const struct recent *r;
	out->len = 0;
	for (uint64_t n = memory_oldest(memory); out->len < MEMORY_LATEST && (r = memory_turned(memory, n)); n++)
		out->all[out->len++] = (struct turned){ r, 1 };
	for (unsigned i = 0; i < MEMORY_OFTEN; i++)
		if ((o = memory_often(memory, i, 0)))
			out->all[out->len++] = (struct turned){ &o->last, o->count };
	qsort(out->all, (size_t)out->len, sizeof(out->all[0]), by_time);
}

/* What somebody is banned for: words of ban_offences, others are kinds of early talk; and how often that was. Nothing else is known of him. */
static void put_reason(struct grid *g, struct grid_at at, const struct recent *r)
{
	static const char *const words[][2] = { { "", "" }, { "later", "talked before a reply" }, { "refused", "refused often" }, { "limited", "often over a limit" }, { "forbidden", "forbidden commands" },
		{ "by hand", "by hand" } };
	const char *why = "talked early";
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(r->kind, words[i][0]) == 0)
			why = words[i][1];
	if (r->times > 1)
		grid_putf(g, at, GRID_DIM, "%s%s%u bans", why, why[0] ? "; " : "", (unsigned)r->times);
	else
		grid_put(g, at, GRID_DIM, why);
}

/* Of one that a ban or a limit has turned away, in place of what it said, for it is not heard. */
static void draw_often(struct grid *g, struct grid_at at, const struct turned *t, int64_t now)
{
	char left[24];
	int col = at.col + (t->count > 1 ? grid_putf(g, at, GRID_PLAIN, t->r->until > 0 ? "%llu times, " : "%llu times", (unsigned long long)t->count) : 0);
	if (t->r->until > 0)
		grid_putf(g, (struct grid_at){ at.row, col, at.col + at.width - col }, GRID_DIM, "ends in %s", since_text((int64_t)t->r->until - now, left));
}

/* "early smtp at helo": the verdict, the kind, and the stage if that was not the greeting. */
static int what_text(const struct recent *r, char out[3 * RECENT_WORD + 8])
{
	bool at_greeting = r->stage[0] == '\0' || strcmp(r->stage, "greet") == 0;
	return snprintf(out, 3 * RECENT_WORD + 8, "%s%s%s%s%s", r->verdict, r->kind[0] && !r->often ? " " : "", r->often ? "" : r->kind, at_greeting ? "" : " at ", at_greeting ? "" : r->stage);
}

/* Columns as wide as what stands in them, so that what was said has the rest. */
struct columns {
	int client, name, what;
};

static int within(int n, int least, int most)
{
	return n < least ? least : n > most ? most : n;
}

/* At most, once what is not printable stands there as \xNN. */
static int width_of(const char *bytes)
{
	int n = 0;
	for (; *bytes; bytes++)
		n += *bytes >= ' ' && *bytes <= '~' && *bytes != '\\' && *bytes != '"' ? 1 : 4;
	return n;
}

/* What a kind and a stage need beyond their usual place they get of what the others leave. */
static struct columns columns_of(const struct turned *t, int len, bool wide)
{
	const int client_most = wide ? 39 : 22, name_most = wide ? 28 : 0;
	struct columns w = { 15, 0, 15 };
	int what = 0;
	for (int i = 0; i < len; i++) {
		char text[ADDR_TEXT], words[3 * RECENT_WORD + 8];
		w.client = within((int)strlen(addr_format(&t[i].r->client, text)), w.client, client_most);
		w.name = within(t[i].r->until > 0 ? name_most : width_of(t[i].r->name), w.name, name_most); /* why it is banned stands there, too */
		what = within(what_text(t[i].r, words), what, 24);
	}
	w.what = within(what, 15, 15 + client_most - w.client + name_most - w.name);
	return w;
}

/* What it was, when, and what it said. */
static void draw_turned_line(struct grid *g, struct grid_at at, const struct columns *w, const struct turned *t, int64_t now)
{
	const struct recent *r = t->r;
	char text[24], client[ADDR_TEXT], what[3 * RECENT_WORD + 8];
	int row = at.row, col = at.col + 9, end = at.col + at.width;
	grid_put(g, (struct grid_at){ row, at.col, 8 }, GRID_DIM, clock_text(r->at_ms / 1000, text));
	grid_put(g, (struct grid_at){ row, col, w->client }, GRID_PLAIN, addr_format(&r->client, client));
	col += w->client + 1;
	if (w->name > 0 && r->until > 0)
		put_reason(g, (struct grid_at){ row, col, w->name }, r);
	else if (w->name > 0)
		grid_put_bytes(g, (struct grid_at){ row, col, w->name }, GRID_DIM, r->name, (unsigned)strlen(r->name));
	col += w->name > 0 ? w->name + 1 : 0;
	grid_put_bytes(g, (struct grid_at){ row, col, w->what }, r->observed ? GRID_WARN : GRID_BAD, what, (unsigned)what_text(r, what));
	col += w->what + 1;
	if (r->often) {
		draw_often(g, (struct grid_at){ row, col, end - col }, t, now);
		return;
	}
	grid_put_right(g, (struct grid_at){ row, col, 7 }, GRID_PLAIN, duration_text((int64_t)r->after_ms * 1000000, text));
	grid_put_bytes(g, (struct grid_at){ row, col + 8, end - col - 8 }, GRID_TITLE, r->bytes, r->bytes_len);
}

/* The rest, where there is no room for it in that line. */
static void draw_turned_more(struct grid *g, struct area a, int row, const struct recent *r)
{
	int col = a.col + 9, end = a.col + a.cols;
	if (r->until > 0) {
		put_reason(g, (struct grid_at){ row, col, end - col }, r);
		return;
	}
	if (r->name[0]) {
		col += grid_put(g, (struct grid_at){ row, col, end - col }, GRID_DIM, "name=");
		col += grid_put_bytes(g, (struct grid_at){ row, col, end - col }, GRID_PLAIN, r->name, (unsigned)strlen(r->name)) + 1;
	}
	if (r->id[0]) {
		col += grid_put(g, (struct grid_at){ row, col, end - col }, GRID_DIM, "id=");
		col += grid_put_bytes(g, (struct grid_at){ row, col, end - col }, GRID_PLAIN, r->id, (unsigned)strlen(r->id)) + 1;
	}
	grid_putf(g, (struct grid_at){ row, col, end - col }, GRID_DIM, "pause=%lums%s", (unsigned long)r->pause_ms, r->observed ? " observed only" : "");
}

/* each: lines for one of them. */
static void draw_turned(struct grid *g, struct area a, struct view *v, const struct model *m, int each)
{
	static struct newest newest;
	find_newest(&m->memory, &newest);
	int all = newest.len, room = (a.rows - 1) / each, first = v ? clamp_first(v, all, room) : 0;
	int col = a.col + grid_put(g, (struct grid_at){ a.row, a.col, a.cols }, GRID_TITLE, "Turned away lately");
	if (all == 0)
		grid_put(g, (struct grid_at){ a.row + 1, a.col, a.cols }, GRID_DIM, "nobody so far");
	if (m->memory.reader.missed > 0)
		grid_putf(g, (struct grid_at){ a.row, col, a.col + a.cols - col }, GRID_DIM, "; %llu came too many at a time to be seen", (unsigned long long)m->memory.reader.missed);
	struct columns columns = columns_of(newest.all + first, within(all - first, 0, room), a.cols >= WIDE);
	for (int i = 0; i < room && first + i < all; i++) {
		draw_turned_line(g, (struct grid_at){ a.row + 1 + i * each, a.col, a.cols }, &columns, &newest.all[first + i], m->now);
		if (each > 1)
			draw_turned_more(g, a, a.row + 2 + i * each, newest.all[first + i].r);
	}
	if (v)
		put_position(g, a, first, room, all);
}

/* ---- panes ---- */

static void draw_all(struct grid *g, struct area a, const struct model *m)
{
	int took = draw_verdicts(g, a, m), left = a.rows - took, row = a.row + took;
	if (left >= 7) {
		int rows = left >= 30 ? 10 : left >= 20 ? 8 : 7;
		draw_talk(g, (struct area){ row, a.col, rows, a.cols }, m);
		row += rows;
		left -= rows;
	}
	if (left >= 9) {
		int rows = left >= 24 ? 10 : left >= 14 ? 6 : 4, half = a.cols / 2;
		draw_networks(g, (struct area){ row + 1, a.col, rows - 1, half - 1 }, NULL, m);
		draw_servers(g, (struct area){ row + 1, a.col + half, rows - 1, a.cols - half }, NULL, m);
		row += rows;
		left -= rows;
	}
	if (left >= 3)
		draw_turned(g, (struct area){ row + 1, a.col, left - 1, a.cols }, NULL, m, 1);
}

static void draw_help(struct grid *g, struct area a)
{
	static const char *const lines[] = {
		"q             ends this",
		"p, space      the screen stands still, and goes on",
		"1 to 5, Tab   the pane; also the arrows to the left and right",
		"up, down      a list, line by line; also Page Up, Page Down, Home, End",
		"^L            draws the screen anew",
		"",
		"Verdicts are those of the log. A block of a line is ten seconds, high in",
		"relation to the highest one; a low line is none, and a blank: nobody looked.",
		"What clients sent is shown as in the log, what is not printable as \\xNN.",
	};
	grid_put(g, (struct grid_at){ a.row, a.col, a.cols }, GRID_TITLE, "Keys");
	for (int i = 0; i < (int)(sizeof(lines) / sizeof(lines[0])) && i + 1 < a.rows; i++)
		grid_put(g, (struct grid_at){ a.row + 1 + i, a.col, a.cols }, GRID_PLAIN, lines[i]);
}

static void draw_keys(struct grid *g, const struct view *v)
{
	static const char *const names[VIEW_PANES] = { "1 all", "2 turned away", "3 networks", "4 early talk", "5 servers" };
	int row = g->rows - 1, col = 0;
	for (int i = 0; i < VIEW_PANES; i++)
		col += grid_putf(g, (struct grid_at){ row, col, g->cols - col }, i == (int)v->pane && !v->help ? GRID_CHOSEN : GRID_DIM, " %s ", names[i]);
	if (g->cols - col >= 15)
		grid_put_right(g, (struct grid_at){ row, col, g->cols - col }, GRID_DIM, "h help  q quit ");
}

static void draw_pane(struct grid *g, struct area a, struct view *v, const struct model *m)
{
	if (v->help)
		draw_help(g, a);
	else if (v->pane == VIEW_TURNED)
		draw_turned(g, a, v, m, a.cols >= WIDE ? 1 : 2);
	else if (v->pane == VIEW_NETWORKS)
		draw_networks(g, a, v, m);
	else if (v->pane == VIEW_TALK)
		draw_talk_pane(g, a, m);
	else if (v->pane == VIEW_SERVERS)
		draw_servers(g, a, v, m);
	else
		draw_all(g, a, m);
}

void view_draw(struct grid *g, int rows, int cols, struct view *v, const struct view_door *d, const struct model *m)
{
	grid_clear(g, rows, cols);
	if (rows < VIEW_LEAST_ROWS || cols < VIEW_LEAST_COLS) {
		grid_putf(g, (struct grid_at){ 0, 0, g->cols }, GRID_PLAIN, "%dx%d is too small;", cols, rows);
		grid_putf(g, (struct grid_at){ 1, 0, g->cols }, GRID_PLAIN, "%dx%d is needed", VIEW_LEAST_COLS, VIEW_LEAST_ROWS);
		return;
	}
	put_first(g, v, d, m);
	put_states(g, m);
	put_numbers(g, m);
	put_warning(g, v, d, m);
	draw_pane(g, (struct area){ HEAD_ROWS, 1, g->rows - HEAD_ROWS - 1, g->cols - 2 }, v, m);
	draw_keys(g, v);
}
