/* The tour, tools: `tarry check` reads what `tarry serve` would read, through the same functions, and starts nothing. */
#include "tool/tool.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/conf.h"
#include "access/access.h"
#include "tool/complain.h"

#define TEXT_MAX (4 * 1024 * 1024) /* of messages, and of what is shown; an access file can earn many warnings */
#define NS_PER_MS INT64_C(1000000)
#define SHORT_PAUSE (100 * NS_PER_MS) /* below it even a slammer that comes from far off may be late enough */

struct options {
	const char *path; /* NULL: none given */
	struct conf_override overrides[CONF_OVERRIDES];
	size_t overrides_len;
	bool verbose;
	bool strict; /* a warning about the access database is an error */
};

static const char usage[] =
	"usage: tarry check [-c FILE] [-o name=value]... [-v] [--strict]\n"
	"\n"
	"Reads the configuration and the access database, says what is wrong and where, and what the door would do.\n"
	"\n"
	"  -c, --config FILE  the configuration; without it " CONF_DEFAULT_PATH " if there is one, else none\n"
	"  -o name=value      instead of what the file says; may stand more than once\n"
	"  -v, --verbose      every option that is in force, in the syntax of the file\n"
	"  --strict           a warning about the access database, a value that is not what it looks like, is an error\n"
	"  -h, --help         this\n"
	"\n"
	"exit code: 0 all is well, warnings or not; 64 wrong usage; 65 errors in the access database; 66 a file cannot be read;\n"
	"           67 no such account as user names (asked by root); 74 the answer cannot be written; 78 errors in the configuration\n";

/* 0, or the exit code; EX_OK with *done when there is nothing more to do. */
static int parse_arguments(int argc, char **argv, struct options *o, bool *done)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "verbose", no_argument, NULL, 'v' }, { "strict", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	int c;
	optind = 0; /* glibc: begin anew, whoever has used getopt before */
	while ((c = getopt_long(argc, argv, "+:c:o:vh", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->path = optarg;
			break;
		case 'o':
			if (o->overrides_len == CONF_OVERRIDES) {
				fprintf(stderr, "tarry: more than %d times -o; put them in a file\n", CONF_OVERRIDES);
				return EX_USAGE;
			}
			o->overrides[o->overrides_len++].text = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 's':
			o->strict = true;
			break;
		case 'h':
			fputs(usage, stdout);
			*done = true;
			return EX_OK;
		default:
			fprintf(stderr, "tarry: check: %s: %s; see tarry check -h\n", argv[optind - 1], c == ':' ? "needs a value" : "no such option");
			return EX_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "tarry: check: \"%s\": nothing is expected there; see tarry check -h\n", argv[optind]);
		return EX_USAGE;
	}
	return EX_OK;
}

static void show_backend(const struct conf *conf)
{
	static const char *const by[] = { "the client's address does not reach it", "told the client's address by PROXY v1", "told the client's address by PROXY v2" };
	const struct conf_backend *b = &conf->backends[0];
	if (b->kind != CONF_BACKEND_MAIL) {
		char memory[256];
		struct buf name;
		buf_init_fixed(&name, memory, sizeof(memory));
		buf_put_escaped(&name, b->name, strlen(b->name), 50);
		printf("# backend      %s, %s; %s\n", buf_text(&name), b->address, by[b->proxy]);
		return;
	}
	printf("# backend      the mail server inside, for");
	for (size_t i = 0; i < conf->accept_domains.len && i < 10; i++)
		printf("%s %s", i ? "," : "", conf->accept_domains.at[i]);
	if (conf->accept_domains.len > 10)
		printf(" and %zu more", conf->accept_domains.len - 10);
	printf("\n# mail goes to %s\n", conf->maildir);
}

static void show(const struct conf *conf)
{
	char text[ADDR_TEXT], memory[64];
	struct buf pause;
	buf_init_fixed(&pause, memory, sizeof(memory));
	conf_put_duration(&pause, conf->greet_pause);
	printf("# hostname     %s\n", conf->hostname);
	for (size_t i = 0; i < conf->listens_len; i++)
		printf("# listen       %s\n", addr_format_port(&conf->listens[i].at, text));
	printf("# greet_pause  %s%s\n", buf_text(&pause), conf->greet_pause > 0 ? "" : ": clients are greeted at once, unless the access database says otherwise");
	show_backend(conf);
}

/* As `tarry serve` would, when root starts it: it would not start. */
static int check_account(const struct conf *conf)
{
	const struct passwd *account;
	if (geteuid() != 0)
		return EX_OK;
	int code = complain_account(conf, &account);
	if (code == EX_OK)
		complain_maildir(conf, account);
	return code;
}

/* What is allowed, and hardly what was meant. */
static void show_doubts(const struct conf *conf)
{
	if (conf->greet_pause > 0 && conf->greet_pause < SHORT_PAUSE)
		fprintf(stderr, "tarry: warning: %s: greet_pause: %lld ms, which hardly anybody is too early for; a number without a unit is milliseconds\n",
		        conf_where(conf, "greet_pause"), (long long)(conf->greet_pause / NS_PER_MS));
	if (geteuid() != 0)
		complain_maildir(conf, NULL);
}

/* 0, or the exit code. Says what is wrong; *entries counts what would be taken. */
static int check_access(const struct conf *conf, bool strict, size_t *entries)
{
	struct buf errors, warnings;
	int code = EX_OK;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	for (size_t i = 0; i < conf->access_db.len; i++) {
		if (access_is_elsewhere(conf->access_db.at[i])) /* tarry serve asks its program about those, and that needs no tables */
			continue;
		size_t of_map = 0;
		int fd = complain_build(conf, conf->access_db.at[i], &errors, &warnings, &of_map);
		*entries += of_map;
		if (fd >= 0)
			close(fd);
		else
			code = complain_access(conf, conf->access_db.at[i], &errors);
	}
	if (strict && warnings.len > 0 && code == EX_OK)
		code = EX_DATAERR;
	complain_lines(&warnings, strict ? "" : "warning: ");
	buf_fini(&errors);
	buf_fini(&warnings);
	return code;
}

static int check_loaded(const struct conf *conf, const char *path, const struct options *o)
{
	struct buf shown;
	size_t entries = 0;
	int code = check_access(conf, o->strict, &entries);
	int account = check_account(conf);
	if (code != EX_OK || account != EX_OK)
		return code != EX_OK ? code : account;
	show_doubts(conf);
	if (path)
		printf("# file         %s\n", path);
	show(conf);
	for (size_t i = 0; i < conf->access_db.len; i++)
		printf(access_is_elsewhere(conf->access_db.at[i]) ? "# access_db    %s, asked by tarry-lookup\n" : "# access_db    %s\n", conf->access_db.at[i]);
	if (conf->access_db.len > 0)
		printf("#              %zu %s\n", entries, entries == 1 ? "entry" : "entries");
	else
		puts("# access_db    none: every client gets the same pause");
	buf_init(&shown, TEXT_MAX);
	if (o->verbose) {
		conf_show(conf, &shown);
		printf("\n%.*s", (int)shown.len, shown.len ? shown.at : "");
	}
	buf_fini(&shown);
	if (fflush(stdout) == 0)
		return EX_OK;
	fprintf(stderr, "tarry: cannot write: %s\n", strerror(errno));
	return EX_IOERR;
}

int tool_check(int argc, char **argv)
{
	struct options o = { .path = NULL };
	struct conf conf;
	struct buf errors, warnings;
	bool done = false;
	int code = parse_arguments(argc, argv, &o, &done);
	if (code != EX_OK || done)
		return code;
	const char *path = o.path ? o.path : conf_default_path();
	if (path && access(path, R_OK) < 0) {
		fprintf(stderr, "tarry: %s: %s\n", path, strerror(errno));
		return EX_NOINPUT;
	}
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	bool ok = complain_load(&conf, path, o.overrides, o.overrides_len, &errors, &warnings);
	complain_lines(&warnings, "warning: ");
	complain_lines(&errors, "");
	code = ok ? check_loaded(&conf, path, &o) : path && !complain_is_readable(path) ? EX_NOINPUT : EX_CONFIG;
	conf_fini(&conf);
	buf_fini(&errors);
	buf_fini(&warnings);
	return code;
}
