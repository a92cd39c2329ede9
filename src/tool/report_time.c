/* The tour, tools: the times of log lines, in the forms that the door, syslog, the journal and containers write; and what somebody types behind --since. */
#include "tool/report.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define DAY 86400
#define YEARS_LEAST 1970
#define YEARS_MOST 9999
#define AGO_MOST (100LL * 366 * DAY)

struct moment {
	int year, month, day, hour, minute, second;
};

/* Days since 1970 of a date of the Gregorian calendar: years begin in March, so that the leap day is the last. */
static int64_t days_of(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = y / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t in_utc(const struct moment *m)
{
	return days_of(m->year, m->month, m->day) * DAY + m->hour * 3600 + m->minute * 60 + m->second;
}

/* Local time changes its distance to UTC at full quarters of an hour only: the last answer serves for the lines around it. */
static int64_t in_local(const struct moment *m)
{
	static int64_t known_quarter = INT64_MIN, known_shift;
	int64_t utc = in_utc(m), quarter = utc / 900;
	if (quarter != known_quarter) {
		struct tm tm = { .tm_year = m->year - 1900, .tm_mon = m->month - 1, .tm_mday = m->day, .tm_hour = m->hour, .tm_min = m->minute, .tm_sec = m->second, .tm_isdst = -1 };
		known_shift = (int64_t)mktime(&tm) - utc;
		known_quarter = quarter;
	}
	return utc + known_shift;
}

static bool fits(const struct moment *m)
{
	static const int longest[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	if (m->year < YEARS_LEAST || m->year > YEARS_MOST || m->month < 1 || m->month > 12 || m->hour > 23 || m->minute > 59 || m->second > 60)
		return false;
	bool leap = m->year % 4 == 0 && (m->year % 100 != 0 || m->year % 400 == 0);
	return m->day >= 1 && m->day <= longest[m->month - 1] - (m->month == 2 && !leap);
}

/* ---- pieces ---- */

/* So many digits. */
static bool digits(struct slice *s, unsigned n, int *out)
{
	int value = 0;
	if (s->len < n)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (s->at[i] < '0' || s->at[i] > '9')
			return false;
		value = value * 10 + (s->at[i] - '0');
	}
	*out = value;
	*s = (struct slice){ s->at + n, s->len - n };
	return true;
}

static bool sign(struct slice *s, char c)
{
	if (s->len == 0 || s->at[0] != c)
		return false;
	*s = (struct slice){ s->at + 1, s->len - 1 };
	return true;
}

/* "21:00", "21:00:07", "21:00:07.123456". */
static bool clock_time(struct slice *s, struct moment *m)
{
	if (!digits(s, 2, &m->hour) || !sign(s, ':') || !digits(s, 2, &m->minute))
		return false;
	m->second = 0;
	if (!sign(s, ':'))
		return true;
	if (!digits(s, 2, &m->second))
		return false;
	if (s->len > 1 && (s->at[0] == '.' || s->at[0] == ',') && isdigit((unsigned char)s->at[1])) {
		size_t n = 1;
		while (n < s->len && isdigit((unsigned char)s->at[n]))
			n++;
		*s = (struct slice){ s->at + n, s->len - n };
	}
	return true;
}

static bool date(struct slice *s, struct moment *m)
{
	return digits(s, 4, &m->year) && sign(s, '-') && digits(s, 2, &m->month) && sign(s, '-') && digits(s, 2, &m->day);
}

/* "Z", " UTC", "+01:00", "+0100", or nothing: local. */
static int64_t in_zone(struct slice *s, const struct moment *m)
{
	int hours, minutes;
	struct slice try = *s;
	bool east = sign(&try, '+');
	if (sign(s, 'Z'))
		return in_utc(m);
	if (s->len >= 4 && memcmp(s->at, " UTC", 4) == 0) {
		*s = (struct slice){ s->at + 4, s->len - 4 };
		return in_utc(m);
	}
	if ((east || sign(&try, '-')) && digits(&try, 2, &hours) && (sign(&try, ':') || true) && digits(&try, 2, &minutes)) {
		*s = try;
		return in_utc(m) - (east ? 1 : -1) * (hours * 3600 + minutes * 60);
	}
	return in_local(m);
}

/* ---- before a line ---- */

static int64_t take_iso(struct slice s)
{
	struct moment m;
	if (!date(&s, &m) || !(sign(&s, 'T') || sign(&s, ' ')) || !clock_time(&s, &m) || !fits(&m))
		return REPORT_NO_TIME;
	return in_zone(&s, &m);
}

static int month_of(struct slice s)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	for (int i = 0; s.len > 4 && i < 12; i++)
		if (memcmp(s.at, names + (size_t)i * 3, 3) == 0 && s.at[3] == ' ')
			return i + 1;
	return 0;
}

/* "Nov 22 21:00:00", "Nov  2 …" (RFC 3164). It has no year: a log is of the past. */
static int64_t take_bsd(struct slice s, int64_t now)
{
	struct moment m = { .month = month_of(s) };
	if (m.month == 0)
		return REPORT_NO_TIME;
	s = (struct slice){ s.at + 4, s.len - 4 };
	bool one = sign(&s, ' ');
	if (!digits(&s, one ? 1 : 2, &m.day) || !sign(&s, ' ') || !clock_time(&s, &m))
		return REPORT_NO_TIME;
	static int64_t known_day = INT64_MIN;
	static int known_year;
	if (now / DAY != known_day) {
		time_t t = (time_t)now;
		struct tm tm;
		known_year = localtime_r(&t, &tm) ? tm.tm_year + 1900 : YEARS_LEAST + 1;
		known_day = now / DAY;
	}
	m.year = known_year;
	if (!fits(&m))
		return REPORT_NO_TIME;
	if (in_utc(&m) > now + 2 * DAY)
		m.year--;
	return in_local(&m);
}

/* "1764500000.123456" (journalctl -o short-unix): ten digits last until 2286. */
static int64_t take_unix(struct slice s)
{
	int high, low;
	if (!digits(&s, 5, &high) || !digits(&s, 5, &low) || s.len == 0 || (s.at[0] != '.' && s.at[0] != ' '))
		return REPORT_NO_TIME;
	return (int64_t)high * 100000 + low;
}

int64_t report_time_of(struct slice before, int64_t now)
{
	int64_t found = REPORT_NO_TIME;
	for (size_t i = 0; i < before.len; i++) {
		struct slice s = { before.at + i, before.len - i };
		int64_t at = REPORT_NO_TIME;
		if (i > 0 && before.at[i - 1] != ' ' && before.at[i - 1] != '|' && before.at[i - 1] != '>')
			continue;
		if (s.at[0] >= '0' && s.at[0] <= '9')
			at = s.len > 4 && s.at[4] == '-' ? take_iso(s) : take_unix(s);
		else if (s.at[0] >= 'A' && s.at[0] <= 'S')
			at = take_bsd(s, now);
		found = at != REPORT_NO_TIME ? at : found;
	}
	return found;
}

/* ---- what is typed ---- */

static int64_t midnight(int64_t now, int days)
{
	time_t t = (time_t)now;
	struct tm tm;
	if (!localtime_r(&t, &tm))
		return now;
	tm.tm_mday += days;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	tm.tm_isdst = -1;
	return (int64_t)mktime(&tm);
}

static int64_t unit_of(struct slice word)
{
	static const struct { const char *words[4]; int64_t s; } units[] = { { { "s", "sec", "second", "seconds" }, 1 }, { { "m", "min", "minute", "minutes" }, 60 },
		{ { "h", "hr", "hour", "hours" }, 3600 }, { { "d", "day", "days", "days" }, DAY }, { { "w", "week", "weeks", "weeks" }, 7 * DAY } };
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		for (size_t w = 0; w < 4; w++)
			if (slice_is(word, units[i].words[w]))
				return units[i].s;
	return 0;
}

/* "1h", "1h30m", "2 days". */
static bool span(struct slice s, int64_t *out)
{
	int64_t sum = 0;
	s = slice_trim(s);
	if (s.len == 0)
		return false;
	while (s.len > 0) {
		int64_t n = 0;
		size_t i = 0, word;
		for (; i < s.len && isdigit((unsigned char)s.at[i]); i++) {
			n = n * 10 + (s.at[i] - '0');
			if (n > AGO_MOST)
				return false;
		}
		if (i == 0)
			return false;
		while (i < s.len && s.at[i] == ' ')
			i++;
		for (word = i; i < s.len && isalpha((unsigned char)s.at[i]); i++)
			;
		int64_t unit = unit_of((struct slice){ s.at + word, i - word });
		if (unit == 0 || n > AGO_MOST / unit || sum + n * unit > AGO_MOST)
			return false;
		sum += n * unit;
		s = slice_trim((struct slice){ s.at + i, s.len - i });
	}
	*out = sum;
	return true;
}

static bool ago(struct slice s, int64_t now, int64_t *out)
{
	int64_t n;
	if (s.len > 4 && memcmp(s.at + s.len - 4, " ago", 4) == 0)
		s.len -= 4;
	else
		sign(&s, '-');
	if (!span(s, &n))
		return false;
	*out = now - n;
	return true;
}

/* "2026-11-30", "2026-11-30 12:00", "2026-11-30T12:00:07Z". */
static bool on_a_day(struct slice s, int64_t *out)
{
	struct moment m = { .hour = 0 };
	if (!date(&s, &m))
		return false;
	if (s.len > 0 && !((sign(&s, 'T') || sign(&s, ' ')) && clock_time(&s, &m)))
		return false;
	if (!fits(&m))
		return false;
	int64_t at = in_zone(&s, &m);
	*out = at;
	return s.len == 0;
}

static bool today_at(struct slice s, int64_t now, int64_t *out)
{
	struct moment m;
	time_t t = (time_t)now;
	struct tm tm;
	if (!clock_time(&s, &m) || s.len > 0 || !localtime_r(&t, &tm))
		return false;
	m.year = tm.tm_year + 1900;
	m.month = tm.tm_mon + 1;
	m.day = tm.tm_mday;
	*out = in_local(&m);
	return fits(&m);
}

bool report_time_parse(const char *text, int64_t now, int64_t *out)
{
	struct slice s = slice_trim(slice_of(text));
	int64_t at;
	if (slice_is(s, "now"))
		at = now;
	else if (slice_is(s, "today"))
		at = midnight(now, 0);
	else if (slice_is(s, "yesterday"))
		at = midnight(now, -1);
	else if (s.len > 1 && s.at[0] == '@' && s.len < 14) {
		at = 0;
		for (size_t i = 1; i < s.len; i++) {
			if (!isdigit((unsigned char)s.at[i]))
				return false;
			at = at * 10 + (s.at[i] - '0');
		}
	} else if (!on_a_day(s, &at) && !today_at(s, now, &at) && !ago(s, now, &at))
		return false;
	*out = at;
	return true;
}

/* ---- a window ---- */

const char *report_window_set(struct report_window *w, bool end, const char *text)
{
	return report_time_parse(text, w->now, end ? &w->until : &w->since) ? NULL
		: "not a time; expected one like \"2026-11-30\", \"2026-11-30 12:00\", today, yesterday, 1h or \"2 days ago\"";
}

bool report_window_is_sound(const struct report_window *w)
{
	return w->since == REPORT_NO_TIME || w->until == REPORT_NO_TIME || w->until > w->since;
}

bool report_window_asks(const struct report_window *w)
{
	return w->since != REPORT_NO_TIME || w->until != REPORT_NO_TIME;
}

bool report_window_takes(const struct report_window *w, struct slice before, int64_t *at, uint64_t *untimed)
{
	*at = report_time_of(before, w->now);
	if (*at == REPORT_NO_TIME && report_window_asks(w)) {
		++*untimed;
		return false;
	}
	return (w->since == REPORT_NO_TIME || *at >= w->since) && (w->until == REPORT_NO_TIME || *at < w->until);
}
