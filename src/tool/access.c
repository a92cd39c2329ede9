/* The tour, tools: `tarry access` asks the access database as the door would: one key (get), or all that it says of a client, a sender and a recipient, key by
 * key (why). It builds the tables from the files as they are now; a running door takes a changed file by itself. Maps that may block are asked by tarry-lookup
 * (elsewhere.c), as they are for the door. */
#include "tool/tool.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/arguments.h"
#include "core/conf.h"
#include "access/access.h"
#include "access/rules.h"
#include "smtp/command.h"
#include "tool/access_files.h"
#include "tool/complain.h"
#include "tool/elsewhere.h"

#define TEXT_MAX (4 * 1024 * 1024)
#define SHOWN 300 /* bytes of a key or value that are shown */

struct options {
	const char *path;
	struct conf_override overrides[CONF_OVERRIDES];
	size_t overrides_len;
	const char *name, *from, *to; /* why; NULL: not given */
	const char *word;             /* get, why */
	const char *subject;          /* the key, the address, the map (NULL: those of the configuration), or the text file */
	const char *target;           /* build */
};

struct asked {
	struct conf conf;
	struct access *access;
	const char *const *specs; /* of the maps, as access_db has them */
	unsigned specs_len;
	struct elsewhere elsewhere;
	struct access_plan plan;
	struct access_answers answers;    /* of the maps elsewhere, to the question asked last */
	char why[ACCESS_MAPS][WIRE_REASON_MAX + 1]; /* such a map could not be asked */
	bool said[ACCESS_MAPS];           /* and that has been said of this tag */
	struct macros who;                /* why: the client */
};

static const char usage[] =
	"usage: tarry access get [-c FILE] [-o name=value]... TAG:KEY\n"
	"       tarry access why [-c FILE] [-o name=value]... ADDRESS [--name NAME] [--from A] [--to B]\n"
	"       tarry access dump [-c FILE] [-o name=value]... [MAP]\n"
	"       tarry access build SRC DEST\n"
	"\n"
	"Asks the access database that the configuration names; its hash:, redis: and ldap: maps through tarry-lookup, as the door does.\n"
	"\n"
	"  get KEY              the value of a key as it is written in a file, and where it stands\n"
	"  why ADDRESS          which keys are tried for a client, in order, which one answers, and what the client gets\n"
	"      --name NAME      its name, as the DNS says it (else it has none)\n"
	"      --from A         and the sender of its message, an address or <>\n"
	"      --to B           and a recipient\n"
	"  dump [MAP]           all entries of one map, or of those that the configuration names, in the order of their lines; of redis: and ldap: none\n"
	"  build SRC DEST       makes lmdb:PATH or cdb:PATH of a text file, whole or not at all (as makemap does hash:)\n"
	"  -c, --config FILE    the configuration; without it " CONF_DEFAULT_PATH " if there is one, else none\n"
	"  -o name=value        instead of what the file says; may stand more than once\n"
	"  -h, --help           this\n"
	"\n"
	"exit code: 0; get: 1 if no map has the key; 64 wrong usage; 65 errors in the database; 66 a file cannot be read; 69 a map could not be asked;\n"
	"           78 errors in the configuration\n";

static int complain(const char *value, const char *what)
{
	return arguments_misused("access", value, what);
}

static int parse(int argc, char **argv, struct options *o, bool *done)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "name", required_argument, NULL, 'N' }, { "from", required_argument, NULL, 'F' },
		{ "to", required_argument, NULL, 'T' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	int c;
	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:o:h", longs, NULL)) != -1) {
		if (c == 'c')
			o->path = optarg;
		else if (c == 'N' || c == 'F' || c == 'T')
			*(c == 'N' ? &o->name : c == 'F' ? &o->from : &o->to) = optarg;
		else if (c == 'o' && o->overrides_len < CONF_OVERRIDES)
			o->overrides[o->overrides_len++].text = optarg;
		else if (c == 'h') {
			fputs(usage, stdout);
			*done = true;
			return EX_OK;
		} else {
			return complain(argv[optind - 1], c == ':' ? "needs a value" : c == 'o' ? "too many of them" : "no such option");
		}
	}
	if (argc - optind < 1)
		return complain("access", "expected get, why, dump or build");
	o->word = argv[optind];
	int more = argc - optind - 1;
	if (strcmp(o->word, "dump") == 0 || strcmp(o->word, "build") == 0) {
		bool fits = strcmp(o->word, "dump") == 0 ? more <= 1 : more == 2;
		o->subject = more > 0 ? argv[optind + 1] : NULL;
		o->target = more > 1 ? argv[optind + 2] : NULL;
		return fits ? EX_OK : complain(o->word, o->word[0] == 'd' ? "expected one map, such as text:/etc/tarry/access, or none" : "expected a text file and lmdb:PATH or cdb:PATH");
	}
	if (strcmp(o->word, "get") != 0 && strcmp(o->word, "why") != 0)
		return complain(o->word, "expected get, why, dump or build");
	if (argc - optind != 2)
		return complain(argc - optind < 2 ? o->word : argv[optind + 2], strcmp(o->word, "get") == 0 ? "expected one key, such as GreetPause:192.0.2.1" : "expected one address");
	o->subject = argv[optind + 1];
	return EX_OK;
}

/* ---- the tables ---- */

/* -1 in its place stands for a map elsewhere. */
static int open_tables(struct asked *a)
{
	int fds[ACCESS_MAPS];
	size_t len = 0, entries = 0;
	int code = EX_OK;
	struct buf errors, warnings;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	for (; len < a->conf.access_db.len && len < ACCESS_MAPS && code == EX_OK; len++) {
		const char *spec = a->conf.access_db.at[len];
		fds[len] = access_is_elsewhere(spec) ? -1 : complain_build(&a->conf, spec, &errors, &warnings, &entries);
		if (fds[len] < 0 && !access_is_elsewhere(spec))
			code = complain_access(&a->conf, spec, &errors);
	}
	buf_fini(&errors);
	buf_fini(&warnings); /* tarry check says those */
	a->specs = (const char *const *)a->conf.access_db.at;
	a->specs_len = (unsigned)len;
	struct access_rules rules = { a->conf.access_skip, a->conf.lookup_dot_domain, a->conf.stage_pause_keys };
	a->access = access_open(fds, len, &rules);
	if (code == EX_OK && !a->access) {
		fprintf(stderr, "tarry: access: no memory for the tables\n");
		code = EX_OSERR;
	}
	return code;
}

static int load(struct asked *a, const struct options *o)
{
	const char *path = o->path ? o->path : conf_default_path();
	struct buf errors, warnings;
	if (path && access(path, R_OK) < 0) {
		perror(path);
		return EX_NOINPUT;
	}
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	bool ok = complain_load(&a->conf, path, o->overrides, o->overrides_len, &errors, &warnings);
	complain_lines(&errors, "");
	buf_fini(&errors);
	buf_fini(&warnings);
	if (!ok)
		return EX_CONFIG;
	if (a->conf.access_db.len > 0) {
		int code = open_tables(a);
		return code == EX_OK ? elsewhere_start(&a->elsewhere, &a->conf) : code;
	}
	fprintf(stderr, "tarry: access: the configuration names no access database; expected access_db = { \"text:/path\" }, or -o access_db=text:/path\n");
	return EX_CONFIG;
}

/* ---- what is shown ---- */

static void show(struct slice bytes)
{
	char memory[4 * SHOWN + 16];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_put_escaped(&text, bytes.at, bytes.len, SHOWN);
	printf("%s", buf_text(&text));
}

static void show_place(const struct asked *a, unsigned map, uint32_t line)
{
	const char *spec = a->specs[map], *file = access_file(spec);
	printf("%s", file ? file : spec);
	if (line > 0)
		printf(":%u", line);
}

static void show_key(void *context, unsigned map, struct slice key, const struct map_value *value)
{
	const struct asked *a = context;
	char memory[2 * SHOWN];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	access_key_format(key, &text);
	printf("    ");
	show(buf_slice(&text));
	if (!value) {
		printf(a->specs_len > 1 ? "  not in %s\n" : "  no\n", a->specs[map]);
		return;
	}
	printf("  ");
	show(access_key_trim(value->text));
	printf("  (");
	show_place(a, map, value->line);
	printf(")\n");
}

/* Once under each heading. */
static void show_failed(void *context, unsigned map)
{
	struct asked *a = context;
	if (!a->said[map])
		printf("    %s could not be asked: %s\n", a->specs[map], a->why[map]);
	a->said[map] = true;
}

static void head(struct asked *a, const char *text)
{
	memset(a->said, 0, sizeof(a->said));
	printf("%s\n", text);
}

/* Of the maps that failed, the one whose word in access_failure counts. */
static unsigned failed_map(const struct asked *a, unsigned failed)
{
	static const char *const words[] = { "tempfail", "closed", "open" };
	for (unsigned w = 0; w < 3; w++)
		for (unsigned map = 0; map < a->specs_len; map++)
			if (failed >> map & 1 && strcmp(rules_failure_word(&a->conf, map), words[w]) == 0)
				return map;
	return 0;
}

static void show_because(const struct asked *a, const struct access_hit *hit)
{
	if (!hit->found && hit->failed) {
		unsigned map = failed_map(a, hit->failed);
		printf(" because %s could not be asked, and access_failure says %s\n", a->specs[map], rules_failure_word(&a->conf, map));
		return;
	}
	if (!hit->found) {
		printf("\n");
		return;
	}
	printf(" because ");
	show_place(a, hit->map, hit->value.line);
	printf(" says ");
	show(access_key_trim(hit->value.text));
	printf("\n");
}

static const char *word_of(const struct rules_answer *answer)
{
	switch (answer->decision.action) {
	case ACCESS_DISCARD:
		return "accepted and thrown away";
	case ACCESS_OBSERVE:
		return "observed: nothing is refused to it, the log says would= where it had been";
	case ACCESS_QUARANTINE:
		return "accepted, and marked in the log";
	default:
		return "accepted";
	}
}

static void show_answer(const struct asked *a, const char *stage, const struct rules_answer *answer, struct slice address)
{
	char memory[1024];
	struct buf reply;
	buf_init_fixed(&reply, memory, sizeof(memory));
	bool refused = answer->decision.action == ACCESS_REFUSE || answer->decision.action == ACCESS_TEMPFAIL;
	printf("%s  ", stage);
	if (refused && rules_put_reply(&reply, &answer->decision.reply, address, &a->who))
		show(buf_slice(&reply));
	else
		printf("%s", word_of(answer));
	show_because(a, &answer->hit);
}

/* ---- maps elsewhere ---- */

/* The plan, put to all of them. */
static bool ask_elsewhere(struct asked *a)
{
	bool ok = true;
	access_answers_fini(&a->answers);
	for (unsigned map = access_next_elsewhere(a->access, 0); map < ACCESS_MAPS; map = access_next_elsewhere(a->access, map + 1)) {
		struct wire_answer answer;
		elsewhere_ask(&a->elsewhere, map, &a->plan.question, &answer);
		struct slice why = answer.searches > 0 && answer.found[0].result == WIRE_FAILED ? answer.found[0].text : (struct slice){ "", 0 };
		struct buf text;
		buf_init_fixed(&text, a->why[map], sizeof(a->why[map]));
		buf_put_escaped(&text, why.at, why.len, WIRE_REASON_MAX / 4 * 3);
		buf_text(&text);
		ok = access_take_answer(&a->answers, map, &a->plan, &answer) && ok;
	}
	return ok;
}

/* ---- get ---- */

/* What a map elsewhere says. False: it could not be asked. */
static bool get_elsewhere(struct asked *a, unsigned map, bool *found)
{
	struct wire_answer answer;
	elsewhere_ask(&a->elsewhere, map, &a->plan.question, &answer);
	if (answer.found[0].result == WIRE_FAILED) {
		fprintf(stderr, "tarry: access: %s could not be asked: %.*s\n", a->specs[map], (int)answer.found[0].text.len, answer.found[0].text.at);
		return false;
	}
	if (answer.found[0].result == WIRE_FOUND) {
		show(access_key_trim(answer.found[0].text));
		printf("\t%s\n", a->specs[map]);
		*found = true;
	}
	return true;
}

static int get(struct asked *a, const char *key)
{
	bool found = false, asked = true, fits = access_plan_get(&a->plan, slice_of(key));
	for (unsigned i = 0; i < a->specs_len; i++) {
		struct map_value value;
		if (access_is_elsewhere(a->specs[i])) {
			asked = !fits || get_elsewhere(a, i, &found) ? asked : false;
			continue;
		}
		if (!access_get(a->access, i, slice_of(key), &value))
			continue;
		show(access_key_trim(value.text));
		printf("\t");
		show_place(a, i, value.line);
		printf("\n");
		found = true;
	}
	return found ? EX_OK : asked ? 1 : EX_UNAVAILABLE;
}

/* ---- why ---- */

/* An address as a client gives it, its <> left out or not. */
struct user {
	char line[2 * COMMAND_PATH], unquoted[COMMAND_PATH];
	struct slice path, local, domain;
};

/* As the door reads MAIL FROM: and RCPT TO:. False: it would answer what is printed. */
static bool read_user(struct user *u, bool sender, const char *text)
{
	struct command_error error;
	struct command_mail mail;
	struct buf line, local;
	const char *open = *text == '<' ? "" : "<", *close = *text == '<' ? "" : ">";
	buf_init_fixed(&line, u->line, sizeof(u->line));
	buf_init_fixed(&local, u->unquoted, sizeof(u->unquoted));
	bool ok = buf_putf(&line, "%s%s%s%s", sender ? "FROM:" : "TO:", open, text, close);
	error = (struct command_error){ 500, "5.5.2", "Line too long" };
	ok = ok && (sender ? command_parse_mail(buf_slice(&line), &mail, &error) : command_parse_rcpt(buf_slice(&line), &mail.from, &error));
	if (!ok || !command_unquote(mail.from.local, &local)) {
		fprintf(stderr, "tarry: access: %s: a client that says so is answered %d %s %s\n", text, error.code, error.enhanced, error.text);
		return false;
	}
	u->path = mail.from.text;
	u->local = buf_slice(&local);
	u->domain = mail.from.domain;
	return true;
}

/* True: the client is exempt from every pause. */
static bool explain_pause(struct asked *a, const struct access_client *client)
{
	int64_t pause = a->conf.greet_pause / 1000000;
	struct access_hit hit = { .found = false };
	head(a, a->conf.greet_pause_keys ? "GreetPause:" : "GreetPause: is not looked for (greet_pause_keys = no)");
	if (a->conf.greet_pause_keys)
		hit = access_find_client(a->access, ACCESS_GREETPAUSE, client);
	if (hit.found)
		pause = access_key_pause(hit.value.text);
	printf("greet    greeted after %lld ms", (long long)pause);
	printf("%s", hit.found ? "" : ", as greet_pause has it");
	if (!hit.found && hit.failed)
		printf(" (%s could not be asked, and that never shortens a pause)\n", a->specs[failed_map(a, hit.failed)]);
	else
		show_because(a, &hit);
	if (a->conf.local_greet_pause.len > 0)
		printf("         (a pause of local_greet_pause comes before it)\n");
	return hit.found && pause == 0;
}

/* Only those that there are: a stage of which neither the database nor the configuration knows a pause is not mentioned. */
static void explain_stages(struct asked *a, const struct access_client *client, bool exempt)
{
	const struct {
		enum access_tag tag;
		const char *head, *what, *option;
		int64_t ns;
	} stages[] = {
		{ ACCESS_HELOPAUSE, "HeloPause:", "helo     the reply to HELO or EHLO", "helo_pause", a->conf.helo_pause },
		{ ACCESS_MAILPAUSE, "MailPause:", "mail     the reply to MAIL", "mail_pause", a->conf.mail_pause },
		{ ACCESS_RCPTPAUSE, "RcptPause:", "rcpt     the reply to each RCPT", "rcpt_pause", a->conf.rcpt_pause },
		{ ACCESS_DATAPAUSE, "DataPause:", "data     the reply to DATA", "data_pause", a->conf.data_pause },
		{ ACCESS_EOMPAUSE, "EomPause:", "eom      the reply to a message", "eom_pause", a->conf.eom_pause },
	};
	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		struct access_hit hit = { .found = false };
		const struct access_trace *trace = access_get_trace(a->access);
		access_set_trace(a->access, NULL);
		if (a->conf.stage_pause_keys)
			hit = access_find_client(a->access, stages[i].tag, client);
		access_set_trace(a->access, trace);
		if (!hit.found && stages[i].ns == 0)
			continue;
		head(a, a->conf.stage_pause_keys ? stages[i].head : "keys of later pauses are not looked for (stage_pause_keys = no)");
		if (a->conf.stage_pause_keys)
			hit = access_find_client(a->access, stages[i].tag, client);
		printf("%s withheld for %lld ms%s", stages[i].what, exempt ? 0 : (long long)(hit.found ? access_key_pause(hit.value.text) : stages[i].ns / 1000000),
		       exempt ? ": it is exempt by its GreetPause: of 0\n" : "");
		if (!exempt && hit.found)
			show_because(a, &hit);
		else if (!exempt)
			printf(", as %s has it\n", stages[i].option);
	}
}

static int no_memory(void)
{
	fprintf(stderr, "tarry: access: no memory for the answers\n");
	return EX_OSERR;
}

/* The sender, and once more with the recipient: as the door asks. */
static bool ask_users(struct asked *a, const struct rules *rules, const struct user *sender, const struct user *recipient)
{
	struct access_user none = { .local = { "", 0 }, .domain = { "", 0 } }, from = none, to = none;
	if (a->elsewhere.pid == 0)
		return true;
	if (sender && (sender->local.len > 0 || sender->domain.len > 0))
		from = rules_user(rules, sender->local, sender->domain);
	if (recipient)
		to = rules_user(rules, recipient->local, recipient->domain);
	return access_plan_users(a->access, &a->plan, &from, &to) && ask_elsewhere(a);
}

static int why_mail(struct asked *a, const struct rules *rules, const struct options *o, struct user *from, struct rules_answer *sender)
{
	if (!read_user(from, true, o->from))
		return EX_USAGE;
	if (!ask_users(a, rules, from, NULL))
		return no_memory();
	head(a, "From:");
	*sender = rules_sender(rules, from->local, from->domain);
	show_answer(a, "mail   ", sender, from->path);
	return EX_OK;
}

static int why_rcpt(struct asked *a, const struct rules *rules, const char *text, const struct rules_answer *sender, const struct rules_answer *connect)
{
	struct user user;
	if (!read_user(&user, false, text))
		return EX_USAGE;
	if (!ask_users(a, rules, NULL, &user))
		return no_memory();
	head(a, "To: and Spam:");
	struct rules_answer to = rules_recipient(rules, user.local, user.domain, sender, connect);
	show_answer(a, "rcpt   ", &to, user.path);
	return EX_OK;
}

/* Its values stand in the answers of the maps elsewhere, which go when something else is asked. */
static bool keep(struct rules_answer *answer, char memory[2][WIRE_VALUE_MAX])
{
	struct slice *kept[2] = { &answer->decision.reply.text, &answer->hit.value.text };
	for (unsigned i = 0; i < 2; i++) {
		if (kept[i]->len > WIRE_VALUE_MAX)
			return false;
		if (kept[i]->len > 0)
			memcpy(memory[i], kept[i]->at, kept[i]->len);
		kept[i]->at = memory[i];
	}
	return true;
}

static int why(struct asked *a, const struct options *o)
{
	struct access_client client = { .name = o->name ? slice_of(o->name) : (struct slice){ "", 0 }, .answers = &a->answers };
	struct rules rules = { a->access, &a->conf, &a->answers };
	struct rules_answer sender = { .decision = { .action = ACCESS_OK } };
	static char kept[2][2][WIRE_VALUE_MAX];
	struct user from;
	char text[ADDR_TEXT];
	int code = EX_OK;
	if (!addr_parse(slice_of(o->subject), &client.addr))
		return complain(o->subject, "not an address; expected one like 192.0.2.1 or 2001:db8::1");
	a->who = (struct macros){ a->conf.hostname, &client.addr, client.name, o->name ? MACROS_OK : MACROS_FAIL };
	printf("client   %s, %s", addr_format(&client.addr, text), o->name ? "named " : "without a name");
	show(client.name);
	printf("\n");
	if (a->elsewhere.pid > 0 && (!access_plan_client(a->access, &a->plan, &client, client.name) || !ask_elsewhere(a)))
		return no_memory();
	head(a, "Connect:");
	struct rules_answer connect = rules_client(&rules, &client);
	show_answer(a, "connect", &connect, (struct slice){ "", 0 });
	if (a->conf.delay_checks == RULES_DELAY_OFF && (connect.decision.action == ACCESS_REFUSE || connect.decision.action == ACCESS_TEMPFAIL))
		printf(connect.decision.reply.code == 421 ? "greet    told 421 in place of the greeting, at once\n" : "greet    greeted at once, and refused whatever it says: no pause for who is refused\n");
	else
		explain_stages(a, &client, explain_pause(a, &client));
	if (!keep(&connect, kept[0]))
		return no_memory();
	if (o->from)
		code = why_mail(a, &rules, o, &from, &sender);
	if (code == EX_OK && !keep(&sender, kept[1]))
		return no_memory();
	if (code == EX_OK && o->to)
		code = why_rcpt(a, &rules, o->to, &sender, &connect);
	if (code == EX_OK && a->conf.delay_checks != RULES_DELAY_OFF && (rules_blocks(&connect) || rules_blocks(&sender)))
		printf("         (delay_checks: what connect and mail say above is decided at rcpt)\n");
	return code;
}

/* ---- dump ---- */

static int dump(struct asked *a)
{
	int code = EX_OK;
	for (unsigned i = 0; i < a->specs_len && code == EX_OK; i++)
		code = access_is_elsewhere(a->specs[i]) ? access_files_dump_elsewhere(a->specs[i], &a->conf) : access_files_print(a->access, i);
	return code;
}

int tool_access(int argc, char **argv)
{
	struct options o = { .path = NULL };
	static struct asked a; /* large */
	struct access_trace trace = { show_key, show_failed, &a };
	bool done = false;
	int code = parse(argc, argv, &o, &done);
	if (code != EX_OK || done)
		return code;
	if (strcmp(o.word, "build") == 0)
		return access_files_build(o.subject, o.target);
	if (strcmp(o.word, "dump") == 0 && o.subject)
		return access_files_dump(o.subject);
	code = load(&a, &o);
	if (code == EX_OK && strcmp(o.word, "dump") == 0)
		code = dump(&a);
	else if (code == EX_OK && strcmp(o.word, "get") == 0)
		code = get(&a, o.subject);
	else if (code == EX_OK) {
		access_set_trace(a.access, &trace);
		code = why(&a, &o);
	}
	elsewhere_stop(&a.elsewhere);
	access_answers_fini(&a.answers);
	access_close(a.access);
	conf_fini(&a.conf);
	if (fflush(stdout) != 0 && code == EX_OK)
		code = EX_IOERR;
	return code;
}
