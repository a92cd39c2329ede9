/* The tour, main: `tarry status`: the door's answer, and what becomes of it on the other side. */
#include "status.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "core/health.h"
#include "core/metrics.h"

#define WORDS 8     /* of a line at most */
#define TIME_TEXT 32

/* Connections by where they stand; each is a gauge of metrics.def. */
static const char *const states[] = { "arriving", "handshaking", "asked", "held", "dialling", "relayed", "refusing", "closing" };

/* ---- the door ---- */

static void put_word(struct buf *out, const char *text)
{
	buf_put_char(out, '\t');
	buf_put_escaped(out, text, strlen(text), 200);
}

void status_put(struct buf *out, const struct conf *conf, unsigned fronts, int64_t started, uint64_t generation, unsigned old)
{
	char at[ADDR_TEXT];
	buf_putf(out, "door\t" TARRY_VERSION "\t%d\t%lld\t%u\t%llu\t%u\n", (int)getpid(), (long long)started, fronts, (unsigned long long)generation, old);
	for (size_t i = 0; i < conf->listens_len; i++)
		buf_putf(out, "listen\t%s\t%s\n", addr_format_port(&conf->listens[i].at, at), conf->listens[i].proxy ? "proxy" : "direct");
	for (size_t i = 0; i < conf->backends_len; i++) {
		struct health h = health_of((unsigned)i);
		buf_put_text(out, "backend");
		put_word(out, conf->backends[i].name);
		put_word(out, conf_backend_at(&conf->backends[i]));
		buf_putf(out, "\t%s\t%lld\t%lld", health_state_name(h.state), (long long)h.since, (long long)h.seen);
		put_word(out, h.state == HEALTH_DOWN ? h.error : "");
		buf_put_char(out, '\n');
	}
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		buf_putf(out, "metric\t%s\t%lld\n", metrics_name((enum metric)m), (long long)metrics_sum((enum metric)m));
}

/* ---- the one who asks ---- */

static const char usage[] =
	"usage: tarry status [-c FILE] [--json]\n"
	"\n"
	"Asks the door that runs with that configuration file how it is: which backends answer, as far as a client or a health check has tried them, and what is open.\n"
	"\n"
	"  -c, --config FILE  the one that `tarry serve` was given; without it " CONF_DEFAULT_PATH " if there is one, else none\n"
	"  -j, --json         all of it, with every counter, as one JSON object\n"
	"  -h, --help         this\n"
	"\n"
	"exit code: 0 all is well; 1 a backend is down, or a front is not at work; 2 all backends are down; 64 wrong usage; 69 no such door runs; 74 the answer cannot be\n"
	"           written; 76 what answers is none; 77 it is another user's\n";

/* What was answered: words of lines. */
struct line {
	unsigned len;
	const char *words[WORDS];
};

struct answer {
	struct line *lines;
	size_t len;
};

/* Takes the text apart, in place. False: no memory. */
static bool parse(char *text, struct answer *answer)
{
	size_t lines = 1;
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	answer->lines = calloc(lines, sizeof(*answer->lines));
	answer->len = 0;
	for (char *line = text, *next; answer->lines && *line; line = next) {
		struct line *l = &answer->lines[answer->len++];
		next = line + strcspn(line, "\n");
		next += *next ? (*next = '\0', 1) : 0;
		for (char *word = line; word && l->len < WORDS; l->len++) {
			l->words[l->len] = word;
			word = strchr(word, '\t');
			if (word)
				*word++ = '\0';
		}
	}
	return answer->lines != NULL;
}

/* The n-th line of that kind with at least so many words; NULL: there is none. */
static const struct line *find(const struct answer *answer, const char *kind, unsigned words, size_t n)
{
	for (size_t i = 0; i < answer->len; i++)
		if (answer->lines[i].len >= words && strcmp(answer->lines[i].words[0], kind) == 0 && n-- == 0)
			return &answer->lines[i];
	return NULL;
}

static long long number(const char *text)
{
	return strtoll(text, NULL, 10);
}

static long long metric(const struct answer *answer, const char *name)
{
	for (size_t i = 0; i < answer->len; i++)
		if (answer->lines[i].len == 3 && strcmp(answer->lines[i].words[0], "metric") == 0 && strcmp(answer->lines[i].words[1], name) == 0)
			return number(answer->lines[i].words[2]);
	return 0;
}

static const char *time_text(const char *seconds, char out[TIME_TEXT])
{
	time_t t = (time_t)number(seconds);
	struct tm tm;
	strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	return out;
}

/* The counters early_WORD that are not 0, if any. */
static void print_early(const struct answer *answer, const char *title, const char *const words[], size_t len)
{
	unsigned shown = 0;
	for (size_t i = 0; i < len; i++) {
		char name[32];
		snprintf(name, sizeof(name), "early_%s", words[i]);
		if (metric(answer, name) > 0)
			printf("%s%lld %s", shown++ == 0 ? title : ", ", metric(answer, name), words[i]);
	}
	if (shown > 0)
		putchar('\n');
}

/* By kind, before the greeting; and by stage, of clients that are among the patient and the known. */
static void print_talk(const struct answer *answer)
{
	static const char *const kinds[] = { "smtp", "session", "tls", "http", "proxy", "ssh", "text", "binary" };
	static const char *const stages[] = { "greeting", "helo", "mail", "rcpt", "data", "eom", "starttls", "command" };
	print_early(answer, "early talk   ", kinds, sizeof(kinds) / sizeof(kinds[0]));
	print_early(answer, "and later    ", stages, sizeof(stages) / sizeof(stages[0]));
}

static void print_text(const struct answer *answer, const struct line *door)
{
	char since[TIME_TEXT], seen[TIME_TEXT];
	const struct line *l;
	printf("door         tarry %s, pid %s, since %s; %lld of %s fronts at work\n", door->words[1], door->words[2], time_text(door->words[3], since), metric(answer, "serving"),
	       door->words[4]);
	if (door->len > 6 && (number(door->words[5]) > 1 || number(door->words[6]) > 0))
		printf("generation   %s (reloaded or upgraded); %s processes of earlier ones finish their clients\n", door->words[5], number(door->words[6]) > 0 ? door->words[6] : "no");
	if (metric(answer, "blind") > 0)
		puts("warning      nearly all clients come from one private address, which the rules are then about; the log says more (event=one_client)");
	if (metric(answer, "stress") > 0)
		printf("warning      under stress: nearly all connections or descriptors are in use, pauses and time-outs are short (%lld of %s fronts; event=stress)\n", metric(answer, "stress"), door->words[4]);
	if (metric(answer, "early_proxy") > 0)
		puts("warning      clients began with a PROXY header where none is expected: is that a load balancer of yours? (kind=proxy in the log)");
	for (size_t i = 0; (l = find(answer, "listen", 3, i)); i++)
		printf("listen       %s%s\n", l->words[1], strcmp(l->words[2], "proxy") == 0 ? ", clients by PROXY header" : "");
	for (size_t i = 0; (l = find(answer, "backend", 7, i)); i++) {
		printf("backend      %s, %s: ", l->words[1], l->words[2]);
		if (strcmp(l->words[3], "unknown") == 0)
			puts("not tried yet");
		else
			printf("%s since %s, last tried %s%s%s\n", l->words[3], time_text(l->words[4], since), time_text(l->words[5], seen), l->words[6][0] ? ": " : "", l->words[6]);
	}
	printf("connections  %lld open", metric(answer, "open"));
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		printf("%s %lld %s", i == 0 ? ":" : ",", metric(answer, states[i]), states[i]);
	if (metric(answer, "tarpit") > 0)
		printf(", %lld in the tarpit", metric(answer, "tarpit"));
	if (metric(answer, "handed_open") > 0) /* no connections of the door's any more */
		printf("; %lld with programs", metric(answer, "handed_open"));
	printf("\nknown        %lld remembered; so far %lld passed, %lld forfeited", metric(answer, "known_clients"), metric(answer, "known_passed"), metric(answer, "known_forfeited"));
	printf("\nso far       %lld connections: %lld patient, %lld exempt, %lld known, %lld early, %lld refused, %lld gone, %lld limited, %lld without a backend\n", metric(answer, "connections"),
	       metric(answer, "patient"), metric(answer, "exempt"), metric(answer, "known"), metric(answer, "early"), metric(answer, "refused"), metric(answer, "gone"),
	       metric(answer, "limited_total") + metric(answer, "limited_client"), metric(answer, "nobackend"));
	print_talk(answer);
	long long early = metric(answer, "would_early"), refused = metric(answer, "would_refused"), limited = metric(answer, "would_limited"), put_off = metric(answer, "would_tempfail");
	if (early + refused + limited + put_off > 0) /* enforcing had done something with clients that are observed */
		printf("observed     had been %lld early, %lld refused, %lld limited, %lld put off\n", early, refused, limited, put_off);
}

/* Printable ASCII is all that a door sends. */
static void json_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		if ((unsigned char)*text < ' ' || (unsigned char)*text > '~')
			printf("\\u%04x", (unsigned char)*text);
		else
			putchar(*text);
	}
	putchar('"');
}

/* "name": "text" */
static void json_pair(const char *before, const char *name, const char *text)
{
	printf("%s\"%s\": ", before, name);
	json_text(text);
}

static void json_time(const char *name, const char *seconds)
{
	char text[TIME_TEXT];
	if (number(seconds) == 0)
		printf(", \"%s\": null", name);
	else
		json_pair(", ", name, time_text(seconds, text));
}

static void print_json(const struct answer *answer, const struct line *door)
{
	const struct line *l;
	bool first = true;
	json_pair("{", "version", door->words[1]);
	printf(", \"pid\": %lld", number(door->words[2]));
	json_time("started", door->words[3]);
	printf(", \"fronts\": %lld, \"fronts_at_work\": %lld, \"generation\": %lld, \"old_processes\": %lld, \"listen\": [", number(door->words[4]), metric(answer, "serving"),
	       door->len > 6 ? number(door->words[5]) : 0, door->len > 6 ? number(door->words[6]) : 0);
	for (size_t i = 0; (l = find(answer, "listen", 3, i)); i++) {
		json_pair(i == 0 ? "{" : ", {", "at", l->words[1]);
		printf(", \"proxy\": %s}", strcmp(l->words[2], "proxy") == 0 ? "true" : "false");
	}
	printf("], \"backends\": [");
	for (size_t i = 0; (l = find(answer, "backend", 7, i)); i++) {
		json_pair(i == 0 ? "{" : ", {", "name", l->words[1]);
		json_pair(", ", "address", l->words[2]);
		json_pair(", ", "state", l->words[3]);
		json_time("since", l->words[4]);
		json_time("tried", l->words[5]);
		json_pair(", ", "error", l->words[6]);
		putchar('}');
	}
	printf("], \"counters\": {");
	for (size_t i = 0; (l = find(answer, "metric", 3, i)); i++, first = false) {
		printf(first ? "" : ", ");
		json_text(l->words[1]);
		printf(": %lld", number(l->words[2]));
	}
	puts("}}");
}

static int judge(const struct answer *answer, const struct line *door)
{
	const struct line *l;
	size_t all = 0, down = 0;
	for (; (l = find(answer, "backend", 7, all)); all++)
		down += strcmp(l->words[3], "down") == 0;
	if (down > 0 && down == all)
		return 2;
	return down > 0 || metric(answer, "serving") < number(door->words[4]) ? 1 : EX_OK;
}

static int show(char *text, bool json)
{
	struct answer answer;
	if (!parse(text, &answer)) {
		fprintf(stderr, "tarry: status: out of memory\n");
		return EX_OSERR;
	}
	const struct line *door = find(&answer, "door", 5, 0);
	int code = EX_PROTOCOL;
	if (door) {
		(json ? print_json : print_text)(&answer, door);
		code = judge(&answer, door);
	} else {
		fprintf(stderr, "tarry: status: what answers there is no door that knows this question; it may be of an older version\n");
	}
	free(answer.lines);
	if (fflush(stdout) == 0)
		return code;
	fprintf(stderr, "tarry: status: cannot write: %s\n", strerror(errno));
	return EX_IOERR;
}

int status_run(int argc, char **argv)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	static char text[CONTROL_TEXT + 1];
	const char *path = conf_default_path();
	bool json = false;
	int c;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:jh", longs, NULL)) != -1) {
		if (c == 'c')
			path = optarg;
		else if (c == 'j')
			json = true;
		else if (c == 'h')
			return fputs(usage, stdout) < 0 ? EX_IOERR : EX_OK;
		else
			break;
	}
	if (c != -1 || optind < argc) {
		fprintf(stderr, "tarry: status: \"%s\": %s; see tarry status -h\n", c == -1 ? argv[optind] : argv[optind - 1], c == -1 ? "nothing is expected there" :
		        c == ':' ? "needs a value" : "no such option");
		return EX_USAGE;
	}
	int code = control_ask(CONTROL_STATUS, path, text);
	return code == EX_OK ? show(text + 1, json) : code;
}
