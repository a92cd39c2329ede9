/* The tour, main: `tarry status`: the door's answer, and what becomes of it on the other side. */
#include "status.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "control.h"
#include "show/json.h"
#include "show/lines.h"
#include "tool/advice.h"

/* Connections by where they stand; each is a gauge of metrics.def. */
static const char *const states[] = { "arriving", "handshaking", "asked", "held", "dialling", "relayed", "refusing", "closing" };

/* ---- the door ---- */

void status_put(struct buf *out, const struct conf *conf, unsigned fronts, int64_t started, uint64_t generation, unsigned old)
{
	lines_put_door(out, conf, &(struct lines_door){ .pid = getpid(), .fronts = fronts, .started = started, .generation = generation, .old = old });
	lines_put_state(out);
	advice_put_times(out);
}

/* ---- the one who asks ---- */

static const char usage[] =
	"usage: tarry status [-c FILE] [--json]\n"
	"\n"
	"Asks the door that runs with that configuration file how it is: which backends and maps elsewhere answer, as far as a client or a health check has tried them,\n"
	"what is open, when early talkers talk, and what it has done so far.\n"
	"\n"
	"  -c, --config FILE  the one that `tarry serve` was given; without it " CONF_DEFAULT_PATH " if there is one, else none\n"
	"  -j, --json         all of it, with every counter, as one JSON object\n"
	"  -h, --help         this\n"
	"\n"
	"exit code: 0 all is well; 1 a backend or a map elsewhere is down, a front is not at work, or an access table or certificate is not that of its file, which is no\n"
	"           good; 2 all backends are down; 64 wrong usage; 69 no such door runs; 74 the answer cannot be written; 76 what answers is none; 77 it is another user's\n";

/* Seconds as a line has them. */
static const char *time_text(const char *seconds, char out[JSON_TIME])
{
	return json_time_text(lines_number(seconds), out);
}

/* The counters early_WORD that are not 0, if any. */
static void print_early(const struct lines *answer, const char *title, const char *const words[], size_t len)
{
	unsigned shown = 0;
	for (size_t i = 0; i < len; i++) {
		char name[32];
		snprintf(name, sizeof(name), "early_%s", words[i]);
		if (lines_metric(answer, name) > 0)
			printf("%s%lld %s", shown++ == 0 ? title : ", ", lines_metric(answer, name), words[i]);
	}
	if (shown > 0)
		putchar('\n');
}

/* By kind, before the greeting; and by stage, of clients that are among the patient and the known. */
static void print_talk(const struct lines *answer)
{
	static const char *const kinds[] = { "smtp", "session", "tls", "http", "proxy", "ssh", "text", "binary" };
	static const char *const stages[] = { "greeting", "helo", "mail", "rcpt", "data", "eom", "starttls", "command" };
	print_early(answer, "early talk   ", kinds, sizeof(kinds) / sizeof(kinds[0]));
	print_early(answer, "and later    ", stages, sizeof(stages) / sizeof(stages[0]));
}

/* What the door depends on. */
static void print_things(const struct lines *answer, const char *kind)
{
	char since[JSON_TIME], seen[JSON_TIME];
	const struct line *l;
	for (size_t i = 0; (l = lines_find(answer, kind, 7, i)); i++) {
		printf("%-13s%s (%s): ", kind, l->words[1], l->words[2]);
		if (strcmp(l->words[3], "unknown") == 0)
			puts("not tried yet");
		else
			printf("%s since %s, last tried %s%s%s\n", l->words[3], time_text(l->words[4], since), time_text(l->words[5], seen), l->words[6][0] ? ": " : "", l->words[6]);
	}
}

static const struct line *quantiles(const struct lines *answer, const char *name)
{
	const struct line *l;
	for (size_t i = 0; (l = lines_find(answer, "quantiles", 7, i)); i++)
		if (strcmp(l->words[1], name) == 0)
			return lines_number(l->words[2]) > 0 ? l : NULL;
	return NULL;
}

/* Microseconds. */
static const char *ms_text(const char *us, char out[32])
{
	long long n = lines_number(us);
	if (n >= 10000000)
		snprintf(out, 32, "%.1f s", (double)n / 1e6);
	else
		snprintf(out, 32, n >= 100000 ? "%.0f ms" : "%.1f ms", (double)n / 1e3);
	return out;
}

/* How long the pause is, what clients do with it, and how much longer it takes than it should. */
static void print_pause(const struct lines *answer, const struct line *door)
{
	char texts[3][32];
	const struct line *talk = quantiles(answer, "talk_after"), *gone = quantiles(answer, "gone_after"), *late = quantiles(answer, "pause_late"), *greeted = quantiles(answer, "greeting_late");
	if (door->len > 7)
		printf("pause        %lld ms%s", lines_number(door->words[7]), lines_number(door->words[7]) == 0 ? ": clients are greeted at once, unless the access database says otherwise" : "");
	if (door->len > 7 && late)
		printf("; its end was noticed late by %s, by more than %s for one in a hundred", ms_text(late->words[4], texts[0]), ms_text(late->words[6], texts[1]));
	if (door->len > 7 && greeted)
		printf("; greeted late by %s, by more than %s for one in a hundred", ms_text(greeted->words[4], texts[0]), ms_text(greeted->words[6], texts[1]));
	if (door->len > 7)
		putchar('\n');
	if (talk)
		printf("talked       half of %s early talkers within %s of coming, nine in ten within %s, 99 in a hundred within %s\n", talk->words[2], ms_text(talk->words[4], texts[0]),
		       ms_text(talk->words[5], texts[1]), ms_text(talk->words[6], texts[2]));
	if (gone)
		printf("hung up      half of %s clients that did not wait within %s of coming, nine in ten within %s\n", gone->words[2], ms_text(gone->words[4], texts[0]), ms_text(gone->words[5], texts[1]));
}

/* Where they are asked for. */
static void print_names(const struct lines *answer)
{
	long long confirmed = lines_metric(answer, "names_confirmed"), forged = lines_metric(answer, "names_forged"), none = lines_metric(answer, "names_none"), failed = lines_metric(answer, "names_failed"),
	          late = lines_metric(answer, "names_timeout");
	if (confirmed + forged + none + failed + late > 0)
		printf("names        %lld that lead back, %lld that do not, %lld clients without one; of %lld no name server could tell, of %lld none in time\n", confirmed, forged, none, failed, late);
}

static void print_text(const struct lines *answer, const struct line *door)
{
	char since[JSON_TIME];
	const struct line *l;
	printf("door         tarry %s, pid %s, since %s; %lld of %s fronts at work\n", door->words[1], door->words[2], time_text(door->words[3], since), lines_metric(answer, "serving"),
	       door->words[4]);
	if (door->len > 6 && (lines_number(door->words[5]) > 1 || lines_number(door->words[6]) > 0))
		printf("generation   %s (reloaded or upgraded); %s processes of earlier ones finish their clients\n", door->words[5], lines_number(door->words[6]) > 0 ? door->words[6] : "no");
	if (lines_metric(answer, "blind") > 0)
		puts("warning      nearly all clients come from one private address, which the rules are then about; the log says more (event=one_client)");
	if (lines_metric(answer, "stress") > 0)
		printf("warning      under stress: nearly all connections or descriptors are in use, pauses and time-outs are short (%lld of %s fronts; event=stress)\n", lines_metric(answer, "stress"), door->words[4]);
	if (lines_metric(answer, "early_proxy") > 0)
		puts("warning      clients began with a PROXY header where none is expected: is that a load balancer of yours? (kind=proxy in the log)");
	for (size_t i = 0; (l = lines_find(answer, "kept", 4, i)); i++)
		printf("warning      %s %s: the file is no good since %s, and what was in force before stays; tarry check says what is wrong with it\n", l->words[1], l->words[2], time_text(l->words[3], since));
	for (size_t i = 0; (l = lines_find(answer, "listen", 3, i)); i++)
		printf("listen       %s%s\n", l->words[1], strcmp(l->words[2], "proxy") == 0 ? ", clients by PROXY header" : "");
	print_things(answer, "backend");
	print_things(answer, "map");
	print_pause(answer, door);
	printf("connections  %lld open", lines_metric(answer, "open"));
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		printf("%s %lld %s", i == 0 ? ":" : ",", lines_metric(answer, states[i]), states[i]);
	if (lines_metric(answer, "tarpit") > 0)
		printf(", %lld in the tarpit", lines_metric(answer, "tarpit"));
	if (lines_metric(answer, "handed_open") > 0) /* no connections of the door's any more */
		printf("; %lld with programs", lines_metric(answer, "handed_open"));
	printf("\nknown        %lld remembered; so far %lld passed, %lld forfeited", lines_metric(answer, "known_clients"), lines_metric(answer, "known_passed"), lines_metric(answer, "known_forfeited"));
	if (lines_metric(answer, "known_unsaved") > 0)
		printf("; the file could not be written %lld times (event=known_unsaved)", lines_metric(answer, "known_unsaved"));
	if (lines_metric(answer, "messages") + lines_metric(answer, "delivery_failed") > 0)
		printf("\nmail inside  %lld messages stored; %lld times that was not possible (event=delivery_failed, recipient_failed, sender_failed)", lines_metric(answer, "messages"), lines_metric(answer, "delivery_failed"));
	if (lines_metric(answer, "bans") + lines_metric(answer, "banned_clients") > 0)
		printf("\nbanned       %lld now, %lld of them in the kernel; so far %lld bans, %lld clients turned away", lines_metric(answer, "banned_clients"), lines_metric(answer, "bans_kernel"),
		       lines_metric(answer, "bans"), lines_metric(answer, "ban_hits"));
	printf("\nso far       %lld connections: %lld patient, %lld exempt, %lld known, %lld early, %lld refused, %lld gone, %lld limited, %lld without a backend\n", lines_metric(answer, "connections"),
	       lines_metric(answer, "patient"), lines_metric(answer, "exempt"), lines_metric(answer, "known"), lines_metric(answer, "early"), lines_metric(answer, "refused"), lines_metric(answer, "gone"),
	       lines_metric(answer, "limited_total") + lines_metric(answer, "limited_client"), lines_metric(answer, "nobackend"));
	print_talk(answer);
	print_names(answer);
	long long early = lines_metric(answer, "would_early"), refused = lines_metric(answer, "would_refused"), limited = lines_metric(answer, "would_limited"), put_off = lines_metric(answer, "would_tempfail");
	if (early + refused + limited + put_off > 0) /* enforcing had done something with clients that are observed */
		printf("observed     had been %lld early, %lld refused, %lld limited, %lld put off\n", early, refused, limited, put_off);
}

static void print_json(const struct lines *answer, const struct line *door)
{
	struct buf out;
	buf_init(&out, 2 * CONTROL_TEXT);
	json_put_status(&out, answer, door);
	puts(buf_text(&out));
	buf_fini(&out);
}

static int judge(const struct lines *answer, const struct line *door)
{
	const struct line *l;
	size_t all = 0, down = 0;
	for (; (l = lines_find(answer, "backend", 7, all)); all++)
		down += strcmp(l->words[3], "down") == 0;
	if (down > 0 && down == all)
		return 2;
	bool less = lines_find(answer, "kept", 4, 0) != NULL;
	for (size_t i = 0; (l = lines_find(answer, "map", 7, i)); i++)
		less = less || strcmp(l->words[3], "down") == 0;
	return down > 0 || less || lines_metric(answer, "serving") < lines_number(door->words[4]) ? 1 : EX_OK;
}

static int show(char *text, bool json)
{
	struct lines answer;
	if (!lines_parse(text, &answer)) {
		fprintf(stderr, "tarry: status: out of memory\n");
		return EX_OSERR;
	}
	const struct line *door = lines_find(&answer, "door", 5, 0);
	int code = EX_PROTOCOL;
	if (door) {
		(json ? print_json : print_text)(&answer, door);
		code = judge(&answer, door);
	} else {
		fprintf(stderr, "tarry: status: what answers there is no door that knows this question; it may be of an older version\n");
	}
	lines_free(&answer);
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
	int code = control_ask("status", CONTROL_STATUS, path, text);
	return code == EX_OK ? show(text + 1, json) : code;
}
