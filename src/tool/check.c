/* The tour, tools: `tarry check` reads what `tarry serve` would read, through the same functions, and starts nothing. */
#include "tool/tool.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/conf.h"
#include "core/loop.h"
#include "core/confreaction.h"
#include "access/access.h"
#include "access/macros.h"
#include "access/rules.h"
#include "smtp/talk.h"
#include "tool/check_sandbox.h"
#include "tool/complain.h"
#include "tool/complain_desk.h"
#include "tool/complain_tls.h"
#include "tool/elsewhere.h"

#define TEXT_MAX (4 * 1024 * 1024) /* of messages, and of what is shown; an access file can earn many warnings */
#define NS_PER_MS INT64_C(1000000)
#define SHORT_PAUSE (100 * NS_PER_MS) /* below it even a slammer that comes from far off may be late enough */

struct options {
	const char *path; /* NULL: none given */
	struct conf_override overrides[CONF_OVERRIDES];
	size_t overrides_len;
	bool verbose;
	bool sandbox;
	bool strict; /* a warning about the access database is an error */
};

static const char usage[] =
	"usage: tarry check [-c FILE] [-o name=value]... [-v] [--strict] [--sandbox]\n"
	"\n"
	"Reads the configuration and the access database, says what is wrong and where, and what the door would do. Asks redis: and ldap: maps\n"
	"whether they answer, and warns of those that do not.\n"
	"\n"
	"  -c, --config FILE  the configuration; without it " CONF_DEFAULT_PATH " if there is one, else none\n"
	"  -o name=value      instead of what the file says; may stand more than once\n"
	"  -v, --verbose      every option that is in force, in the syntax of the file\n"
	"  --strict           a warning about the access database, a value that is not what it looks like, is an error\n"
	"  --sandbox          how each process of the door would be shut in on this system, and what it could do nevertheless, tried out; as root, or as whoever runs the door\n"
	"  -h, --help         this\n"
	"\n"
	"exit code: 0 all is well, warnings or not; 64 wrong usage; 65 errors in the access database; 66 a file cannot be read;\n"
	"           67 no such account as user names; 69 the program of exec cannot be executed, or there is no tarry-lookup to ask a map, or\n"
	"           with --sandbox something is not in force here; 74 the answer cannot be written; 78 errors in the configuration\n";

/* 0, or the exit code; EX_OK with *done when there is nothing more to do. */
static int parse_arguments(int argc, char **argv, struct options *o, bool *done)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "verbose", no_argument, NULL, 'v' }, { "strict", no_argument, NULL, 's' }, { "sandbox", no_argument, NULL, 'S' },
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
		case 'S':
			o->sandbox = true;
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

/* What is not as it is by default. */
static void show_share(const struct conf_backend *b)
{
	if (b->weight > 1)
		printf("; weight %lld", (long long)b->weight);
	if (b->max > 0)
		printf("; %lld connections at most", (long long)b->max);
	putchar('\n');
}

static void show_exec(const struct conf *conf, const struct conf_backend *b)
{
	char memory[1024];
	struct buf line;
	buf_init_fixed(&line, memory, sizeof(memory));
	buf_put_escaped(&line, b->name, strlen(b->name), 50);
	buf_put_char(&line, ',');
	for (size_t i = 0; i < b->exec.len; i++) {
		buf_put_char(&line, ' ');
		buf_put_escaped(&line, b->exec.at[i], strlen(b->exec.at[i]), 200);
	}
	printf("# backend      %s, as %s; it has the client's own socket", buf_text(&line), b->user && *b->user ? b->user : conf->user);
	show_share(b);
}

static void show_backend(const struct conf *conf, const struct conf_backend *b)
{
	static const char xclient[] = "told the client's name and address by XCLIENT", transparent[] = "connected from the client's address";
	static const char *const by[] = { "the client's address does not reach it", "told the client's address by PROXY v1", "told the client's address by PROXY v2" };
	static const char *const tls[] = { "", ", by STARTTLS", ", TLS at once" };
	if (b->kind == CONF_BACKEND_EXEC) {
		show_exec(conf, b);
		return;
	}
	if (b->kind != CONF_BACKEND_MAIL) {
		char memory[256];
		struct buf name;
		buf_init_fixed(&name, memory, sizeof(memory));
		buf_put_escaped(&name, b->name, strlen(b->name), 50);
		printf("# backend      %s, %s%s; %s", buf_text(&name), b->address, tls[b->tls], b->xclient ? xclient : b->transparent ? transparent : by[b->proxy]);
		show_share(b);
		return;
	}
	printf("# backend      the mail server inside, for");
	for (size_t i = 0; i < conf->accept_domains.len && i < 10; i++)
		printf("%s %s", i ? "," : "", conf->accept_domains.at[i]);
	if (conf->accept_domains.len > 10)
		printf(" and %zu more", conf->accept_domains.len - 10);
	show_share(b);
	printf("# mail goes to %s\n", conf->maildir);
}

static const char *early_option(const struct conf *conf, enum talk_kind kind)
{
	const char *const options[TALK_KINDS] = { [TALK_SMTP] = conf->early_smtp, [TALK_SESSION] = conf->early_session, [TALK_TLS] = conf->early_tls, [TALK_HTTP] = conf->early_http,
		[TALK_PROXY] = conf->early_proxy, [TALK_SSH] = conf->early_ssh, [TALK_TEXT] = conf->early_text, [TALK_BINARY] = conf->early_binary };
	return options[kind];
}

/* What each kind of early talk gets, by what it is. */
static void show_early(const struct conf *conf)
{
	printf("# early talk  ");
	for (unsigned reaction = 0, shown = 0; reaction < CONF_REACTIONS; reaction++)
		for (unsigned kind = 0, named = 0; kind < TALK_KINDS; kind++) {
			struct conf_reaction r;
			const char *why;
			if (!conf_reaction_parse(early_option(conf, (enum talk_kind)kind), &r, &why) || r.kind != (enum conf_reaction_kind)reaction)
				continue;
			if (named == 0)
				printf("%s %s: ", shown++ > 0 ? ";" : "", conf_reaction_name(r.kind));
			printf("%s%s", named++ > 0 ? ", " : "", talk_kind_name((enum talk_kind)kind));
		}
	putchar('\n');
}

static void show(const struct conf *conf)
{
	char text[ADDR_TEXT], memory[64];
	struct buf pause;
	buf_init_fixed(&pause, memory, sizeof(memory));
	conf_put_duration(&pause, conf->greet_pause);
	printf("# hostname     %s\n", conf->hostname);
	for (size_t i = 0; i < conf->listens_len; i++)
		printf("# listen       %s%s%s\n", addr_format_port(&conf->listens[i].at, text), conf->listens[i].proxy ? ", clients as its load balancers name them (PROXY)" : "",
		       !conf->tls_certificate[0] ? "" : conf->listens[i].tls == CONF_TLS_IMPLICIT ? ", TLS at once" : conf->listens[i].tls == CONF_TLS_STARTTLS ? ", STARTTLS" : "");
	printf("# greet_pause  %s%s\n", buf_text(&pause), conf->greet_pause > 0 ? "" : ": clients are greeted at once, unless the access database says otherwise");
	if (conf->greet_teaser)
		printf("# teaser       220-%s %s\n", conf->hostname, conf->greet_teaser_text);
	show_early(conf);
	for (size_t i = 0; i < conf->backends_len; i++)
		show_backend(conf, &conf->backends[i]);
}

/* As `tarry serve` would, when root starts it: it would not start. */
static int check_account(const struct conf *conf)
{
	struct account account;
	if (geteuid() != 0)
		return EX_OK;
	int code = complain_account(conf, &account);
	if (code == EX_OK) {
		complain_maildir(conf, &account);
		complain_kept(conf, &account);
	}
	return code;
}

static bool in_container(void)
{
	const char *container = getenv("container"); /* systemd-nspawn, Podman */
	return (container && *container) || access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0;
}

/* The door says the same when it has seen it happen (event=one_client). */
static void advise_container(const struct conf *conf)
{
	bool outside = false;
	for (size_t i = 0; i < conf->listens_len; i++) {
		if (conf->listens[i].proxy)
			return;
		outside = outside || !addr_is_loopback(&conf->listens[i].at);
	}
	if (outside && in_container())
		fprintf(stderr, "tarry: advice: this is a container: where its network puts the gateway's address in the place of each client's, pause, access database and limits are about the "
		        "gateway; use the host's network, or a load balancer that says who the clients are (listen with proxy = yes)\n");
}

/* What the door does elsewhere, and cannot do to a client whose socket it has given away. */
static void show_exec_doubts(const struct conf *conf)
{
	for (size_t i = 0; i < conf->backends_len; i++) {
		const struct conf_backend *b = &conf->backends[i];
		if (b->kind == CONF_BACKEND_EXEC && geteuid() != 0 && ((b->user && *b->user) || (b->group && *b->group)))
			fprintf(stderr, "tarry: warning: %s: user, group: only root can start a program as another account\n", b->where);
	}
	if (conf->access_db.len > 0)
		fprintf(stderr, "tarry: warning: %s: access_db: with exec nobody hears a client's commands: From:, To: and Spam: keys, and keys of addresses without a tag, have no effect\n",
		        conf_where(conf, "access_db"));
	if (conf->greet_teaser)
		fprintf(stderr, "tarry: warning: %s: greet_teaser: with exec the program says the last line of the greeting: where that is no 220, the client hears two codes in one reply\n",
		        conf_where(conf, "greet_teaser"));
	if (conf->delay_checks != RULES_DELAY_OFF)
		fprintf(stderr, "tarry: warning: %s: delay_checks: with exec a client is refused when it connects, or never: FRIEND and HATER have no effect%s\n",
		        conf_where(conf, "delay_checks"), conf->delay_early ? ", nor has delay_early" : "");
}

/* What the pauses after the greeting cost those who do nothing wrong, and where they cannot be. */
static void show_stage_doubts(const struct conf *conf)
{
	const struct {
		const char *option;
		int64_t ns;
	} pauses[] = { { "helo_pause", conf->helo_pause }, { "mail_pause", conf->mail_pause }, { "rcpt_pause", conf->rcpt_pause }, { "data_pause", conf->data_pause }, { "eom_pause", conf->eom_pause } };
	for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
		if (pauses[i].ns == 0)
			continue;
		if (pauses[i].ns < SHORT_PAUSE)
			fprintf(stderr, "tarry: warning: %s: %s: %lld ms, which hardly anybody is too early for; a number without a unit is milliseconds\n",
			        conf_where(conf, pauses[i].option), pauses[i].option, (long long)(pauses[i].ns / NS_PER_MS));
		if (pauses[i].ns > conf->pause_budget)
			fprintf(stderr, "tarry: warning: %s: %s: more than pause_budget, which cuts it\n", conf_where(conf, pauses[i].option), pauses[i].option);
		if (conf_hands_over(conf))
			fprintf(stderr, "tarry: warning: %s: %s: has no effect with exec: nobody hears what such a client says\n", conf_where(conf, pauses[i].option), pauses[i].option);
	}
}

static void show_macros(const struct conf *conf, const char *option, const char *value)
{
	struct slice text = slice_of(value), macro;
	while (macros_unknown(&text, &macro))
		fprintf(stderr, "tarry: warning: %s: %s: %.*s: no macro that a refusal can have, it becomes nothing; expected $&{client_addr}, $&{client_name}, $&{client_ptr}, "
		        "$&{client_resolve} or $j, or $$ for a $\n", conf_where(conf, option), option, (int)macro.len, macro.at);
}

/* What is allowed, and hardly what was meant. */
static void show_doubts(const struct conf *conf)
{
	show_stage_doubts(conf);
	if (conf->greet_pause > 0 && conf->greet_pause < SHORT_PAUSE)
		fprintf(stderr, "tarry: warning: %s: greet_pause: %lld ms, which hardly anybody is too early for; a number without a unit is milliseconds\n",
		        conf_where(conf, "greet_pause"), (long long)(conf->greet_pause / NS_PER_MS));
	if (conf->mode == CONF_OBSERVE)
		fprintf(stderr, "tarry: warning: %s: mode: observe: no client is refused, early talkers neither; tarry report says what enforcing had done, mode = enforce does it\n",
		        conf_where(conf, "mode"));
	show_macros(conf, "reject_msg", conf->reject_msg);
	for (unsigned kind = 0; kind < TALK_KINDS; kind++) {
		char option[32];
		snprintf(option, sizeof(option), "early_%s", talk_kind_name((enum talk_kind)kind));
		show_macros(conf, option, early_option(conf, (enum talk_kind)kind));
	}
	if (conf->greet_teaser && conf->greet_pause == 0)
		fprintf(stderr, "tarry: warning: %s: greet_teaser: without a pause nobody is teased but those that the access database gives one\n", conf_where(conf, "greet_teaser"));
	if (conf->ban_after == 0 && (conf->ban_kernel[0] || conf->ban_share[0]))
		fprintf(stderr, "tarry: warning: %s: %s: with ban_after = 0 nobody is banned; expected a number of offences, such as 10\n", conf_where(conf, conf->ban_kernel[0] ? "ban_kernel" : "ban_share"),
		        conf->ban_kernel[0] ? "ban_kernel" : "ban_share");
	show_macros(conf, "ban_reply", conf->ban_reply);
	advise_container(conf);
	if (conf_hands_over(conf))
		show_exec_doubts(conf);
	if (geteuid() != 0) {
		complain_maildir(conf, NULL);
		complain_kept(conf, NULL);
	}
	complain_transparent(conf, "warning: ");
}

/* ---- maps elsewhere ---- */

struct listed {
	struct access_review *review;
	size_t entries;
};

static bool take_entry(void *context, const char *entry)
{
	struct listed *l = context;
	const char *tab = strchr(entry, '\t');
	access_review_entry(l->review, (struct slice){ entry, (size_t)(tab - entry) }, slice_of(tab + 1));
	l->entries++;
	return true;
}

static bool ends_with(struct slice text, const char *end)
{
	size_t len = strlen(end);
	return text.len >= len && memcmp(text.at + text.len - len, end, len) == 0;
}

/* "FILE:LINE: access_db = "hash:/etc/mail/access": WHY". */
static void say(const struct conf *conf, unsigned map, const char *kind, struct slice why, const char *then)
{
	fprintf(stderr, "tarry: %s%s: access_db = \"%s\": %.*s%s\n", kind, conf_where(conf, "access_db"), conf->access_db.at[map], (int)why.len, why.at, then);
}

/* A file that is none is an error, unless it need not be one. */
static int judge_file(const struct conf *conf, unsigned map, struct slice why)
{
	char then[200];
	bool missing = ends_with(why, strerror(ENOENT)), ignored = conf->access_missing == CONF_MISSING_IGNORE;
	snprintf(then, sizeof(then), "; until that is mended clients get what access_failure says, %s", rules_failure_word(conf, map));
	if (!ignored)
		say(conf, map, "", why, then);
	else if (!missing)
		say(conf, map, "warning: ", why, "; with access_missing = ignore a file that is no database at all counts as one without keys");
	return ignored ? EX_OK : missing || ends_with(why, strerror(EACCES)) ? EX_NOINPUT : EX_DATAERR;
}

/* It can be listed, and judged as others are. */
static int check_file(const struct conf *conf, unsigned map, struct buf *warnings, size_t *entries)
{
	struct buf why;
	const struct access_rules rules = { conf->access_skip, conf->lookup_dot_domain, conf->stage_pause_keys };
	struct listed l = { access_review_new(conf->access_db.at[map], &rules, warnings), 0 };
	int code = EX_OK;
	buf_init(&why, TEXT_MAX);
	if (!l.review || !elsewhere_dump(conf->access_db.at[map], conf, take_entry, &l, &why))
		code = judge_file(conf, map, l.review ? buf_slice(&why) : slice_of("no memory for its entries"));
	access_review_end(l.review);
	buf_fini(&why);
	*entries += code == EX_OK ? l.entries : 0;
	return code;
}

/* One question, to see whether there is an answer. A server that has none today may have one tomorrow. */
static void check_server(struct elsewhere *e, const struct conf *conf, unsigned map)
{
	static struct wire_question q;
	struct wire_answer answer;
	char memory[256];
	struct buf then;
	q = (struct wire_question){ .searches = 1, .counts = { 1 }, .keys = { slice_of("connect:127.0.0.1") } };
	elsewhere_ask(e, map, &q, &answer);
	if (answer.found[0].result != WIRE_FAILED)
		return;
	buf_init_fixed(&then, memory, sizeof(memory));
	buf_putf(&then, "; it could not be asked now, and until it can clients get what access_failure says, %s", rules_failure_word(conf, map));
	say(conf, map, "warning: ", answer.found[0].text, buf_text(&then));
}

/* 0, or the exit code. */
static int check_elsewhere(const struct conf *conf, struct buf *warnings, size_t *entries)
{
	static struct elsewhere e; /* large */
	int code = elsewhere_start(&e, conf);
	for (unsigned i = 0; code == EX_OK && i < conf->access_db.len && i < ACCESS_MAPS; i++) {
		if (strncmp(conf->access_db.at[i], "hash:", 5) == 0)
			code = check_file(conf, i, warnings, entries);
		else if (access_is_elsewhere(conf->access_db.at[i]))
			check_server(&e, conf, i);
	}
	elsewhere_stop(&e);
	return code;
}

/* 0, or the exit code. Says what is wrong; *entries counts what would be taken. */
static int check_access(const struct conf *conf, bool strict, size_t *entries)
{
	struct buf errors, warnings;
	int code = EX_OK;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	for (size_t i = 0; i < conf->access_db.len; i++) {
		if (access_is_elsewhere(conf->access_db.at[i]))
			continue;
		size_t of_map = 0;
		int fd = complain_build(conf, conf->access_db.at[i], &errors, &warnings, &of_map);
		*entries += of_map;
		if (fd >= 0)
			close(fd);
		else
			code = complain_access(conf, conf->access_db.at[i], &errors);
	}
	int elsewhere = check_elsewhere(conf, &warnings, entries);
	code = code == EX_OK ? elsewhere : code;
	if (strict && warnings.len > 0 && code == EX_OK)
		code = EX_DATAERR;
	complain_lines(&warnings, strict ? "" : "warning: ");
	buf_fini(&errors);
	buf_fini(&warnings);
	return code;
}

static int check_desk(const struct conf *conf)
{
	char token[COMPLAIN_DESK_TOKEN];
	struct addr at;
	int code = complain_desk(conf, &at, token);
	explicit_bzero(token, sizeof(token));
	return code;
}

/* 0, or the exit code. Says what is wrong with the certificate, or soon will be; *about: what it is. */
static int check_tls(const struct conf *conf, struct buf *about)
{
	struct buf said;
	struct complain_tls_files files;
	buf_init(&said, TEXT_MAX);
	int code = complain_tls(conf, &files, about, &said);
	complain_lines(&said, code == EX_OK ? "warning: " : "");
	buf_fini(&said);
	complain_tls_close(&files);
	return code;
}

static int check_loaded(const struct conf *conf, const char *path, const struct options *o)
{
	struct buf shown;
	size_t entries = 0;
	int code = check_access(conf, o->strict, &entries);
	int account = check_account(conf);
	int programs = account == EX_OK ? complain_exec(conf) : EX_OK;
	buf_init(&shown, TEXT_MAX);
	int tls = check_tls(conf, &shown), share = elsewhere_check_shares(conf), desk = check_desk(conf);
	share = share == EX_OK ? complain_kernel(conf) : share;
	if (code != EX_OK || account != EX_OK || programs != EX_OK || tls != EX_OK || share != EX_OK || desk != EX_OK) {
		buf_fini(&shown);
		return code != EX_OK ? code : account != EX_OK ? account : programs != EX_OK ? programs : tls != EX_OK ? tls : share != EX_OK ? share : desk;
	}
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
	if (conf->known_ttl > 0)
		printf("# known        those who have passed are greeted at once; kept in %s\n", conf->known_db[0] ? conf->known_db : "memory alone");
	if (conf->desk[0])
		printf("# desk         http://%s/, %s\n", conf->desk, conf->desk_token_file[0] ? "for whoever has the token" : "for whoever is on this machine");
	if (conf->ban_after > 0)
		printf("# bans         %lld offences (%s) within %lld s; kept in %s%s%s\n", (long long)conf->ban_after, conf->ban_offences, (long long)(conf->ban_window / LOOP_SECOND), conf->ban_db[0] ? conf->ban_db : "memory alone",
		       conf->ban_kernel[0] ? ", and in the kernel: " : "", conf->ban_kernel);
	if (shown.len > 0)
		printf("# tls          %.*s", (int)shown.len, shown.at);
	buf_clear(&shown);
	if (o->verbose) {
		conf_show(conf, &shown);
		printf("\n%.*s", (int)shown.len, shown.len ? shown.at : "");
	}
	buf_fini(&shown);
	int sandbox = o->sandbox ? check_sandbox(conf) : EX_OK;
	if (fflush(stdout) == 0)
		return sandbox;
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
