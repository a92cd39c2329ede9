/* The tour, main: `tarry known`. What is said to the keeper, and what it says, are lines (keeper/dialogue.h); this end copies them (keepercmd.c). */
#include "knowncmd.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/loop.h"
#include "keepercmd.h"
#include "known/known_key.h"

static const char usage[] =
	"usage: tarry known list [KEY]                 who is known, or whether this one is\n"
	"       tarry known add KEY...                 as if it had passed now\n"
	"       tarry known drop KEY...                it has to wait again\n"
	"       tarry known export [FILE]              all of them, a line each: KEY, since when, when it passed last\n"
	"       tarry known import [FILE]              such lines; - or no FILE: standard input, or output\n"
	"each with [-c FILE] [-o name=value]...\n"
	"\n"
	"KEY is an address, a network such as 192.0.2.0/24 (see known_prefix) or 2001:db8:1:2::/64, or a domain. Asks the door that runs with that configuration file; where none does, the file\n"
	"known_db is read and written.\n"
	"\n"
	"exit code: 0 done; 1 not known; 64 wrong usage; 65 what is to be taken is no such line; 66 a file is not there; 67 there is no such account as user names; 69 nobody is remembered, or the file is not to be had; 73 a file cannot be\n"
	"           made; 74 it cannot be read or written; 76 what answers is no door; 77 the door is another user's; 78 errors in the configuration\n";

static int arguments(const struct conf *conf, struct keepercmd_args *a)
{
	if (conf->known_ttl == 0 || !conf->known_db[0]) {
		fprintf(stderr, "tarry: known: %s\n", conf->known_ttl == 0 ? "nobody is remembered with this configuration: known_ttl = 0" : "no door runs with this configuration, and there is no file: known_db is empty");
		return EX_UNAVAILABLE;
	}
	keepercmd_give(a, "--db", conf->known_db);
	keepercmd_give_number(a, "--max", conf->known_max);
	keepercmd_give_number(a, "--ttl", (conf->known_ttl + LOOP_SECOND - 1) / LOOP_SECOND);
	keepercmd_give_number(a, "--prefix", conf->known_prefix);
	return EX_OK;
}

static const struct keepercmd cmd = { "known", CONTROL_KNOWN, arguments };

/* ---- commands ---- */

static int list(const struct keepercmd_options *o, char **words, int len)
{
	struct known_key key;
	struct buf text;
	char memory[KNOWN_DOMAIN + ADDR_TEXT + 2], *at = NULL;
	size_t size = 0;
	struct keepercmd_peer peer;
	long long n = 0;
	if (len > 1 || (len == 1 && !known_key_parse(slice_of(words[0]), &key))) {
		fprintf(stderr, "tarry: known: list: \"%s\": expected one address, network or domain, or nothing\n", words[len - 1]);
		return EX_USAGE;
	}
	int code = keepercmd_reach(&cmd, o, "list", &peer);
	FILE *all = code == EX_OK && len == 1 ? open_memstream(&at, &size) : NULL;
	if (code == EX_OK)
		code = keepercmd_hear(&peer, len == 1 ? all : stdout, "", &n);
	if (!all)
		return code;
	fclose(all);
	buf_init_fixed(&text, memory, sizeof(memory));
	known_key_put(&text, &key);
	buf_put_char(&text, '\t');
	bool found = false;
	char *rest = NULL;
	for (char *line = code == EX_OK ? strtok_r(at, "\n", &rest) : NULL; line && !found; line = strtok_r(NULL, "\n", &rest)) {
		found = strncmp(line, buf_text(&text), text.len) == 0;
		if (found)
			puts(line);
	}
	free(at);
	return code != EX_OK ? code : found ? EX_OK : 1;
}

static int change(const struct keepercmd_options *o, const char *name, char **words, int len)
{
	struct keepercmd_peer peer;
	long long n = 0;
	struct known_key key;
	bool drops = strcmp(name, "drop") == 0;
	for (int i = 0; i < len || len == 0; i++)
		if (len == 0 || !known_key_parse(slice_of(words[i]), &key)) {
			fprintf(stderr, "tarry: known: %s: \"%s\": expected an address, a network (of an IPv6 client a /64) or a domain\n", name, len ? words[i] : "");
			return EX_USAGE;
		}
	int code = keepercmd_reach(&cmd, o, name, &peer);
	if (code != EX_OK)
		return code;
	for (int i = 0; i < len; i++)
		if (!keepercmd_say(&peer, words[i], strlen(words[i])) || !keepercmd_say(&peer, "\n", 1))
			break;
	code = keepercmd_hear(&peer, NULL, "", &n);
	return code != EX_OK ? code : drops && n == 0 ? 1 : EX_OK;
}

int knowncmd_run(int argc, char **argv)
{
	struct keepercmd_options o;
	int code = keepercmd_options(&cmd, argc, argv, false, &o);
	if (code != EX_OK)
		return code > 0 ? code : fputs(usage, stdout) < 0 ? EX_IOERR : EX_OK;
	if (optind == argc)
		return keepercmd_wrong(&cmd, "", "expected list, add, drop, export or import");
	const char *name = argv[optind];
	char **words = argv + optind + 1;
	int len = argc - optind - 1;
	if (strcmp(name, "list") == 0)
		return list(&o, words, len);
	if (strcmp(name, "add") == 0 || strcmp(name, "drop") == 0)
		return change(&o, name, words, len);
	if (strcmp(name, "export") != 0 && strcmp(name, "import") != 0)
		return keepercmd_wrong(&cmd, name, "expected list, add, drop, export or import");
	if (len > 1)
		return keepercmd_wrong(&cmd, words[1], "expected one file at most");
	return strcmp(name, "export") == 0 ? keepercmd_export(&cmd, &o, words, len) : keepercmd_import(&cmd, &o, words, len);
}
