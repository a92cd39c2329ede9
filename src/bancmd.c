/* The tour, main: `tarry ban`. What is said to the keeper of bans, and what it says, are lines (keeper/bans.c); this end makes them of words, and words or JSON of them. */
#include "bancmd.h"

#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "bans.h"
#include "core/loop.h"
#include "keepercmd.h"
#include "known/known_key.h"

#define FIELDS 7 /* of a line: KEY SINCE UNTIL TIMES HITS WHERE REASON, with tabs between them */
#define BY_HAND "by hand"

static const char usage[] =
	"usage: tarry ban list [--json] [ADDRESS]                       who is banned, or what ban ADDRESS is under\n"
	"       tarry ban add ADDRESS[/LEN] [TIME] [REASON...]          for TIME (90s, 15m, 2h, 7d), or as long as the door itself would\n"
	"       tarry ban drop ADDRESS[/LEN]...                         and as if they had never been\n"
	"       tarry ban export [FILE]                                 all of them, a line each\n"
	"       tarry ban import [FILE]                                 such lines; - or no FILE: standard input, or output\n"
	"each with [-c FILE] [-o name=value]...\n"
	"\n"
	"An IPv6 address is its /64. Asks the door that runs with that configuration file; where none does, the file ban_db is read and written.\n"
	"\n"
	"exit code: 0 done; 1 not banned; 64 wrong usage; 65 it is never banned, or what is to be taken is no such line; 66 a file is not there; 67 there is no such account as user names; 69 nobody is banned (ban_after = 0),\n"
	"           or the file is not to be had; 73 a file cannot be made; 74 it cannot be read or written; 76 what answers is no door; 77 the door is another user's; 78 errors in the configuration\n";

static int arguments(const struct conf *conf, struct keepercmd_args *a)
{
	struct conf_prefixes never;
	int64_t time, time_max;
	if (conf->ban_after == 0 || !conf->ban_db[0]) {
		fprintf(stderr, "tarry: ban: %s\n", conf->ban_after == 0 ? "nobody is banned with this configuration: ban_after = 0; ban_after = 10 and tarry reload change that" : "no door runs with this configuration, and there is no file: ban_db is empty");
		return EX_UNAVAILABLE;
	}
	int e = bans_never(conf, &never);
	a->fd = e < 0 ? e : bans_never_file(&never);
	if (e == 0)
		free(never.at);
	if (a->fd < 0) {
		fprintf(stderr, "tarry: ban: %s\n", strerror(-a->fd));
		return EX_OSERR;
	}
	bans_times(conf, &time, &time_max);
	keepercmd_give(a, "--db", conf->ban_db);
	keepercmd_give_number(a, "--max", conf->ban_max);
	keepercmd_give_number(a, "--ttl", time_max);
	keepercmd_give_number(a, "--prefix", conf->ban_prefix);
	keepercmd_give_number(a, "--ban-time", time);
	keepercmd_give_number(a, "--ban-time-max", time_max);
	keepercmd_give_number(a, "--never", a->fd);
	return EX_OK;
}

static const struct keepercmd cmd = { "ban", CONTROL_BAN, arguments };

/* ---- list ---- */

static bool split(char *line, char *fields[FIELDS])
{
	size_t n = 0;
	line[strcspn(line, "\n")] = '\0';
	for (char *word = line; word && n < FIELDS; n++) {
		fields[n] = word;
		word = n + 1 < FIELDS ? strchr(word, '\t') : NULL;
		if (word)
			*word++ = '\0';
	}
	return n == FIELDS;
}

/* What a keeper sends is printable ASCII. */
static void json_text(const char *before, const char *text)
{
	printf("%s\"", before);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		if (*text >= ' ' && *text <= '~')
			putchar(*text);
	}
	putchar('"');
}

static void put(char *fields[FIELDS], bool json, bool first)
{
	if (!json) {
		printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\n", fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], fields[6]);
		return;
	}
	json_text(first ? "\n  {\"client\": " : ",\n  {\"client\": ", fields[0]);
	json_text(", \"since\": ", fields[1]);
	json_text(", \"until\": ", fields[2]);
	printf(", \"times\": %lld, \"hits\": %lld, \"kernel\": %s", strtoll(fields[3], NULL, 10), strtoll(fields[4], NULL, 10), strcmp(fields[5], "any") == 0 ? "true" : "false");
	json_text(", \"reason\": ", fields[6]);
	putchar('}');
}

/* Whether that network has this one in it, or the address. */
static bool covers(const char *text, const struct known_key *key)
{
	struct known_key other;
	struct prefix of, wanted;
	if (!known_key_parse_network(slice_of(text), &other) || !known_key_prefix(&other, &of) || !known_key_prefix(key, &wanted))
		return false;
	return wanted.bits >= of.bits && addr_is4(&wanted.base) == addr_is4(&of.base) && addr_in_prefix(&wanted.base, &of);
}

static int list(const struct keepercmd_options *o, char **words, int len)
{
	struct known_key key;
	struct keepercmd_peer peer;
	char *at = NULL, *rest = NULL, *fields[FIELDS];
	size_t size = 0, shown = 0;
	long long n = 0;
	if (len > 1 || (len == 1 && !known_key_parse_network(slice_of(words[0]), &key)))
		return keepercmd_wrong(&cmd, words[len - 1], "expected one address or network, or nothing");
	int code = keepercmd_reach(&cmd, o, "list", &peer);
	FILE *all = code == EX_OK ? open_memstream(&at, &size) : NULL;
	if (code == EX_OK)
		code = keepercmd_hear(&peer, all, "", &n);
	if (all)
		fclose(all);
	if (code == EX_OK && o->json)
		printf("{\"banned\": [");
	for (char *line = code == EX_OK ? strtok_r(at, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		if (split(line, fields) && (len == 0 || covers(fields[0], &key)))
			put(fields, o->json, shown++ == 0);
	if (code == EX_OK && o->json)
		puts(shown > 0 ? "\n]}" : "]}");
	free(at);
	if (code == EX_OK && fflush(stdout) != 0) {
		fprintf(stderr, "tarry: ban: cannot write\n");
		return EX_IOERR;
	}
	return code != EX_OK ? code : len == 1 && shown == 0 ? 1 : EX_OK;
}

/* ---- add, drop ---- */

static int send_line(const struct keepercmd_options *o, const char *word, const char *line, long long *n)
{
	struct keepercmd_peer peer;
	int code = keepercmd_reach(&cmd, o, word, &peer);
	if (code == EX_OK && keepercmd_say(&peer, line, strlen(line)))
		keepercmd_say(&peer, "\n", 1);
	return code == EX_OK ? keepercmd_hear(&peer, NULL, "", n) : code;
}

/* ADDRESS [TIME] [REASON...]: what begins with a digit and is a time is one. */
static int add(const struct keepercmd_options *o, char **words, int len)
{
	struct known_key key;
	struct buf line;
	char memory[1024];
	int64_t time = 0;
	int next = 1;
	long long n = 0;
	if (len == 0 || !known_key_parse_network(slice_of(words[0]), &key))
		return keepercmd_wrong(&cmd, len ? words[0] : "", "expected an address or a network (of 8 to 32 bits, or of 16 to 64 of IPv6)");
	if (len > 1 && words[1][0] >= '0' && words[1][0] <= '9') {
		char last = words[1][strlen(words[1]) - 1];
		if (!strchr("smhd", last) || !conf_duration(slice_of(words[1]), &time) || time < LOOP_SECOND)
			return keepercmd_wrong(&cmd, words[1], "expected a time of a second or more, such as 90s, 15m, 2h or 7d");
		next = 2;
	}
	buf_init_fixed(&line, memory, sizeof(memory));
	buf_putf(&line, "%s %lld ", words[0], (long long)(time / LOOP_SECOND));
	buf_put_text(&line, next < len ? "" : BY_HAND);
	for (int i = next; i < len; i++)
		buf_putf(&line, i + 1 < len ? "%s " : "%s", words[i]);
	if (line.full || memchr(line.at, '\n', line.len))
		return keepercmd_wrong(&cmd, words[len - 1], "expected a reason of printable ASCII, of less than 64 characters");
	return send_line(o, "add", buf_text(&line), &n);
}

static int drop(const struct keepercmd_options *o, char **words, int len)
{
	struct known_key key;
	int result = EX_OK;
	for (int i = 0; i < len || len == 0; i++)
		if (len == 0 || !known_key_parse_network(slice_of(words[i]), &key))
			return keepercmd_wrong(&cmd, len ? words[i] : "", "expected addresses or networks, as tarry ban list has them");
	for (int i = 0; i < len; i++) {
		long long n = 0;
		int code = send_line(o, "drop", words[i], &n);
		if (code != EX_OK)
			return code;
		if (n == 0)
			result = 1;
	}
	return result;
}

int bancmd_run(int argc, char **argv)
{
	static const char *const expected = "expected list, add, drop, export or import";
	struct keepercmd_options o;
	int code = keepercmd_options(&cmd, argc, argv, true, &o);
	if (code != EX_OK)
		return code > 0 ? code : fputs(usage, stdout) < 0 ? EX_IOERR : EX_OK;
	if (optind == argc)
		return keepercmd_wrong(&cmd, "", expected);
	const char *name = argv[optind];
	char **words = argv + optind + 1;
	int len = argc - optind - 1;
	if (o.json && strcmp(name, "list") != 0)
		return keepercmd_wrong(&cmd, "--json", "only list has that");
	if (strcmp(name, "list") == 0)
		return list(&o, words, len);
	if (strcmp(name, "add") == 0)
		return add(&o, words, len);
	if (strcmp(name, "drop") == 0)
		return drop(&o, words, len);
	if (strcmp(name, "export") != 0 && strcmp(name, "import") != 0)
		return keepercmd_wrong(&cmd, name, expected);
	if (len > 1)
		return keepercmd_wrong(&cmd, words[1], "expected one file at most");
	return strcmp(name, "export") == 0 ? keepercmd_export(&cmd, &o, words, len) : keepercmd_import(&cmd, &o, words, len);
}
