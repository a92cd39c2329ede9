/* The tour, bench: what a visit says and what it expects. The early talker sends the article's whole session with the first packet; the patient
 * client waits and leaves; the parked one only waits; the one in a tarpit talks first and waits then; the sender delivers its messages in lock-step, as RFC 5321 has it without PIPELINING. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static const char session[] =
	"helo localhost.localdomain\r\n"
	"mail from: <sender@example.net>\r\n"
	"rcpt to: <victim@example.org>\r\n"
	"data\r\n"
	"From: sender@example.net\r\n"
	"To: victim@example.org\r\n"
	"Subject: testing\r\n"
	"\r\n"
	"1 2 3\r\n"
	".\r\n"
	"quit\r\n";

/* Every reply the article's session is owed, in the bytes that Sendmail sends. */
static int session_replies(char *out, size_t cap, uint32_t ip)
{
	return snprintf(out, cap,
		"554 %s ESMTP not accepting messages\r\n"
		"250 %s Hello [%u.%u.%u.%u], pleased to meet you\r\n"
		"550 5.0.0 Command rejected\r\n550 5.0.0 Command rejected\r\n550 5.0.0 Command rejected\r\n"
		"500 5.5.1 Command unrecognized: \"From: sender@example.net\"\r\n"
		"500 5.5.1 Command unrecognized: \"To: victim@example.org\"\r\n"
		"500 5.5.1 Command unrecognized: \"Subject: testing\"\r\n"
		"500 5.5.1 Command unrecognized: \"\"\r\n"
		"500 5.5.1 Command unrecognized: \"1 2 3\"\r\n"
		"500 5.5.1 Command unrecognized: \".\"\r\n"
		"221 2.0.0 %s closing connection\r\n",
		options.host, options.host, ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255, options.host);
}

static void refuse_opened(struct visit *visit)
{
	load_say(visit, session, sizeof(session) - 1);
}

static void refuse_heard(struct visit *visit)
{
	if (visit->step++ == 0)
		load_sample(&tally.wait, load_clock() - visit->asked);
}

/* --lenient: a server of another kind refuses in its own words, in a line that begins with 5; and it need not wait for the client's QUIT. */
static bool refused_somehow(struct visit *visit)
{
	bool found = false;
	for (size_t i = 0; i < visit->len; i++)
		found = found || (visit->in[i] == '5' && (i == 0 || visit->in[i - 1] == '\n'));
	return found;
}

static void refuse_ended(struct visit *visit)
{
	char expected[LOAD_IN];
	int len = session_replies(expected, sizeof(expected), visit->ip);
	bool exact = visit->len == (uint32_t)len && memcmp(visit->in, expected, visit->len) == 0;
	if (exact || (options.lenient && refused_somehow(visit))) {
		tally.refused++;
		load_good(visit);
		return;
	}
	load_bad(visit, "refused with %u bytes, %.*s", visit->len, (int)strcspn(visit->len ? visit->in : "\n", "\r\n"), visit->in);
}

const struct script script_refuse = { "refuse", refuse_opened, refuse_heard, refuse_ended, false, false };

/* The code of a complete reply at the front of what was heard, 0: not complete yet; lines with a hyphen have more to follow. */
static int reply(struct visit *visit)
{
	size_t begin = 0;
	for (char *end; (end = memchr(visit->in + begin, '\n', visit->len - begin)); begin = (size_t)(end - visit->in) + 1) {
		if (end - (visit->in + begin) > 3 && visit->in[begin + 3] == '-')
			continue;
		int code = atoi(visit->in + begin);
		load_forget(visit, (size_t)(end - visit->in) + 1);
		return code;
	}
	return 0;
}

static void nothing(struct visit *visit)
{
	(void)visit;
}

/* Early is a greeting that came before the pause was over even when counted from before connect() was called: the server cannot have
 * accepted earlier. Late counts from there too, so it says rather too much than too little. */
static void hold_heard(struct visit *visit)
{
	int code;
	while ((code = reply(visit)) != 0) {
		if (visit->step == 0 && code == 220) {
			int64_t late = (visit->stamp ? visit->stamp : load_clock()) - visit->asked - options.pause;
			tally.greeted++;
			tally.early += late < 0;
			load_sample(&tally.wait, late);
			load_sample(&tally.extra, late - (visit->stood - visit->asked));
			visit->step = 1;
			if (!load_say(visit, "QUIT\r\n", 6))
				return;
		} else if (visit->step == 1 && code == 221) {
			visit->step = 2;
		} else {
			load_bad(visit, "patient client got %d at step %d", code, visit->step);
			return;
		}
	}
}

static void hold_ended(struct visit *visit)
{
	if (visit->step == 2)
		load_good(visit);
	else
		load_bad(visit, "patient client was left at step %d", visit->step);
}

const struct script script_hold = { "hold", nothing, hold_heard, hold_ended, true, false };

static void park_heard(struct visit *visit)
{
	if (visit->step++ == 0)
		tally.unasked++;
	load_forget(visit, visit->len);
}

static void park_ended(struct visit *visit)
{
	if (visit->step == 0)
		tally.unasked++;
	load_bad(visit, "parked client was left");
}

const struct script script_park = { "park", nothing, park_heard, park_ended, false, true };

/* The article's session said at once, too, but its replies come one by one and late, and may take longer than anybody looks. */
static void tarpit_heard(struct visit *visit)
{
	static const int codes[] = { 554, 250, 550, 550, 550, 500, 500, 500, 500, 500, 500, 221 };
	static const int len = sizeof(codes) / sizeof(*codes);
	for (int code; (code = reply(visit)) != 0; visit->step++, tally.replies++)
		if (visit->step == len || code != codes[visit->step]) {
			load_bad(visit, "refused client got %d at step %d", code, visit->step);
			return;
		}
}

static void tarpit_ended(struct visit *visit)
{
	if (visit->step == 12)
		load_good(visit);
	else
		load_bad(visit, "refused client was left at step %d", visit->step);
}

const struct script script_tarpit = { "tarpit", refuse_opened, tarpit_heard, tarpit_ended, false, true };

enum { GREETING, EHLO, MAIL, RCPT, DATA, DOT, QUIT };

static const char *message(size_t *len)
{
	static char *made;
	static size_t made_len;
	static const char head[] = "From: sender@example.net\r\nTo: user@example.org\r\nSubject: two kilobytes\r\n\r\n";
	if (!made) {
		size_t n = sizeof(head) - 1, room = options.size < n ? n : options.size;
		made = malloc(room + 80);
		if (!made)
			abort();
		memcpy(made, head, n);
		while (n < room)
			n += (size_t)sprintf(made + n, "%.*s\r\n", (int)(room - n > 72 ? 70 : room - n < 3 ? 1 : room - n - 2),
				"The quick brown fox jumps over the lazy dog, again and again and again.");
		memcpy(made + n, ".\r\n", 3);
		made_len = n + 3;
	}
	*len = made_len;
	return made;
}

static bool mail_say(struct visit *visit)
{
	char line[512];
	int n = 0;
	size_t len;
	switch (visit->step) {
	case EHLO: n = snprintf(line, sizeof(line), "EHLO client.example.net\r\n"); break;
	case MAIL: n = snprintf(line, sizeof(line), "MAIL FROM:<sender@example.net>\r\n"); break;
	case RCPT: {
		const char *u = strstr(options.recipient, "%u");
		int before = u ? (int)(u - options.recipient) : (int)strlen(options.recipient);
		n = snprintf(line, sizeof(line), u ? "RCPT TO:<%.*s%u%s>\r\n" : "RCPT TO:<%.*s>\r\n", before, options.recipient,
			(visit->number * options.per + (uint32_t)visit->left) % options.users, u ? u + 2 : "");
		break;
	}
	case DATA: n = snprintf(line, sizeof(line), "DATA\r\n"); break;
	case DOT: {
		const char *bytes = message(&len);
		visit->stood = load_clock();
		return load_say_long(visit, bytes, len);
	}
	default: n = snprintf(line, sizeof(line), "QUIT\r\n"); break;
	}
	return n > 0 && (size_t)n < sizeof(line) && load_say(visit, line, (size_t)n);
}

static void mail_heard(struct visit *visit)
{
	static const int owed[] = { [GREETING] = 220, [EHLO] = 250, [MAIL] = 250, [RCPT] = 250, [DATA] = 354, [DOT] = 250, [QUIT] = 221 };
	int code;
	while ((code = reply(visit)) != 0) {
		if (visit->step > QUIT || code != owed[visit->step]) {
			load_bad(visit, "sender got %d at step %d", code, visit->step);
			return;
		}
		if (visit->step == DOT) {
			tally.acked++;
			load_sample(&tally.extra, load_clock() - visit->stood);
			visit->step = (uint32_t)++visit->left < options.per ? MAIL : QUIT;
		} else {
			visit->step++;
		}
		if (visit->step <= QUIT && !mail_say(visit))
			return;
	}
}

static void mail_ended(struct visit *visit)
{
	if (visit->step == QUIT + 1) {
		load_sample(&tally.wait, load_clock() - visit->asked);
		load_good(visit);
	} else {
		load_bad(visit, "sender was left at step %d", visit->step);
	}
}

const struct script script_mail = { "mail", nothing, mail_heard, mail_ended, false, false };
