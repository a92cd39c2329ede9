/* The tour, probe: `tarry probe HOST[:PORT]`, the article's test as a tool. The command line becomes a plan, the plan is run, what was
 * measured is judged, and the judgement is printed and returned as the exit code. */
#include "tool/probe.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/conf.h"
#include "tool/probe_all.h"
#include "tool/tool.h"

#define REPORT_MAX (1024 * 1024)            /* bytes of a report */
#define TIMEOUT_MAX (24 * 3600 * LOOP_SECOND)

struct options {
	struct probe_plan plan;
	struct probe_all_plan all;
	const char *only_of_all, *not_of_all; /* an option that is for --all only, or for the two sessions only; NULL: none was given */
	int family;
	int64_t threshold;
	bool json, verbose, is_all, lists;
	char host[PROBE_HOST];
	uint16_t port;
	char from[PROBE_ADDRESS + 1], to[PROBE_ADDRESS + 1];
	char helo[PROBE_HELO];
};

static const char usage[] =
	"usage: tarry probe [-46v] [--slammer | --patient] [--json] [--timeout TIME] [--early TIME] [--threshold TIME]\n"
	"                   [--helo NAME] [--deliver FROM TO] HOST[:PORT]\n";
static const char help[] =
	"\n"
	"Tries a mail server's pause, as a client that talks at once and as one that waits, and says what it does.\n"
	"No message can be delivered unless --deliver is given.\n"
	"\n"
	"  -4, -6             only IPv4, only IPv6\n"
	"  --slammer          only the client that talks before it is greeted\n"
	"  --patient          only the client that waits\n"
	"  --deliver FROM TO  both clients send a message; without it they go as far as MAIL FROM:<> and RSET\n"
	"  --helo NAME        what the clients call themselves (default: this machine's full name, else its address)\n"
	"  --timeout TIME     for connecting, for the whole greeting, and for each reply (default 30s)\n"
	"  --early TIME       when the slammer talks (default 0: at once)\n"
	"  --threshold TIME   a greeting that comes sooner than this was not held (default 200ms)\n"
	"  --json             one JSON object; see tarry-probe(1) for its keys\n"
	"  -v, --verbose      also the transcript of both sessions (with --json: to stderr)\n"
	"  -h, --help         this\n"
	"\n"
	"%s"
	"\n"
	"TIME is in milliseconds, or with a unit: 500ms, 1.5s, 5m. PORT is 25 unless given.\n"
	"\n"
	"exit code: 0  holds the greeting and refuses early talk\n"
	"           1  no pause: early talk is accepted, or a waiting client is greeted at once\n"
	"           2  greets at once, yet refuses early talk\n"
	"           3  holds the greeting, but does not refuse early talk\n"
	"          64  wrong usage              68  no such host          69  cannot connect\n"
	"          71  the system's error       74  cannot write\n"
	"          75  cannot tell (too busy, too slow); try again, or with other options\n"
	"          76  does not speak SMTP      77  refuses a client that waits, too\n"
	"with --all: 0  all that no good client does had consequences, and good clients were served\n"
	"            1  something that no good client does had none      2  a good client was punished; the others as above\n";

/* "tarry probe: VALUE: what is wrong"; returns code. */
static int complain_as(int code, const char *value, const char *what)
{
	char memory[1024];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_put_escaped(&text, value, strlen(value), 200);
	fprintf(stderr, "tarry probe: %s: %s%s\n", buf_text(&text), what, code == EX_USAGE ? " (tarry probe --help lists the options)" : "");
	return code;
}

static int complain(const char *what, const char *value)
{
	return complain_as(EX_USAGE, value, what);
}

/* The command line. */

static bool port_of(const char *text, uint16_t *port)
{
	unsigned long n = 0;
	size_t len = strlen(text);
	if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
		return false;
	n = strtoul(text, NULL, 10);
	if (n == 0 || n > 65535)
		return false;
	*port = (uint16_t)n;
	return true;
}

bool probe_target(const char *text, char host[PROBE_HOST], uint16_t *port)
{
	const char *at = text, *colon = strchr(text, ':');
	size_t len = strlen(text);
	uint16_t p = PROBE_PORT;
	if (text[0] == '[') {
		const char *close = strchr(text, ']');
		if (!close || (close[1] != '\0' && (close[1] != ':' || !port_of(close + 2, &p))))
			return false;
		at = text + 1;
		len = (size_t)(close - at);
		if (!memchr(at, ':', len))
			return false; /* brackets are for IPv6 */
	} else if (colon && !strchr(colon + 1, ':')) {
		if (!port_of(colon + 1, &p))
			return false;
		len = (size_t)(colon - text);
	}
	if (len == 0 || len >= PROBE_HOST)
		return false;
	memcpy(host, at, len);
	host[len] = '\0';
	*port = p;
	return true;
}

/* A path for MAIL or RCPT, its angle brackets taken off: nothing in it may end the command or begin another. */
static bool mail_address(const char *text, bool may_be_empty, char out[PROBE_ADDRESS + 1])
{
	size_t len = strlen(text);
	if (len >= 2 && text[0] == '<' && text[len - 1] == '>') {
		text++;
		len -= 2;
	}
	if (len > PROBE_ADDRESS || (len == 0 && !may_be_empty))
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~' || text[i] == '<' || text[i] == '>')
			return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

static int address_option(char out[PROBE_ADDRESS + 1], const char **where, bool sender)
{
	if (!mail_address(optarg, sender, out))
		return complain(sender ? "not a sender's address" : "not a recipient's address", optarg);
	*where = out;
	return 0;
}

static int deliver_option(struct options *o, int argc, char **argv)
{
	if (optind >= argc || argv[optind][0] == '-')
		return complain("expected two addresses, --deliver FROM TO", "--deliver");
	if (!mail_address(optarg, true, o->from))
		return complain("not a sender's address", optarg);
	if (!mail_address(argv[optind], false, o->to))
		return complain("not a recipient's address", argv[optind]);
	optind++; /* getopt knows of one argument only */
	o->plan.from = o->from;
	o->plan.to = o->to;
	return 0;
}

static int helo_option(struct options *o)
{
	size_t len = strlen(optarg);
	if (len == 0 || len >= sizeof(o->helo))
		return complain("not a name for HELO", optarg);
	for (size_t i = 0; i < len; i++)
		if (optarg[i] <= ' ' || optarg[i] > '~')
			return complain("not a name for HELO", optarg);
	memcpy(o->helo, optarg, len + 1);
	o->plan.helo = o->helo;
	return 0;
}

static int time_option(int64_t *out, int64_t least)
{
	int64_t ns;
	if (!conf_duration(slice_of(optarg), &ns))
		return complain("expected a time, such as 500 (milliseconds), 500ms, 1.5s or 5m", optarg);
	if (ns < least || ns > TIMEOUT_MAX)
		return complain("that time is out of bounds; 1ms to 24h (--early and --threshold also 0)", optarg);
	*out = ns;
	return 0;
}

enum { OPT_SLAMMER = 256, OPT_PATIENT, OPT_DELIVER, OPT_HELO, OPT_TIMEOUT, OPT_EARLY, OPT_THRESHOLD, OPT_JSON, OPT_ALL, OPT_LIST, OPT_TO, OPT_FROM, OPT_CLEAR,
       OPT_STARTTLS, OPT_TLS, OPT_PROXY, OPT_PROXY_SOURCE, OPT_SOURCE, OPT_ONLY, OPT_JOBS, OPT_WAIT };

static int complain_if(const char *what)
{
	return what ? complain(what, optarg) : 0;
}

/* One option of --all; 0, or the exit code. */
static int take_of_all(struct options *o, int c, const char *name)
{
	if (c != OPT_ALL && c != OPT_LIST)
		o->only_of_all = name;
	switch (c) {
	case OPT_ALL:
		o->is_all = true;
		return 0;
	case OPT_LIST:
		o->lists = true;
		return 0;
	case OPT_TO:
		return address_option(o->to, &o->all.to, false);
	case OPT_FROM:
		return address_option(o->from, &o->all.from, true);
	case OPT_CLEAR:
	case OPT_STARTTLS:
	case OPT_TLS:
		o->all.ways[c == OPT_CLEAR ? PROBE_WAY_CLEAR : c == OPT_STARTTLS ? PROBE_WAY_STARTTLS : PROBE_WAY_TLS] = true;
		return 0;
	case OPT_PROXY:
		return complain_if(probe_all_proxy(&o->all, optarg));
	case OPT_PROXY_SOURCE:
		return complain_if(probe_all_network(&o->all.proxy_source, optarg));
	case OPT_SOURCE:
		o->all.has_source = true;
		return complain_if(probe_all_network(&o->all.source, optarg));
	case OPT_ONLY:
		return complain_if(probe_all_only(&o->all, optarg));
	case OPT_JOBS:
		return complain_if(probe_all_jobs(&o->all, optarg));
	default:
		return time_option(&o->all.wait, LOOP_MS);
	}
}

/* One option; 0, or the exit code. */
static int take(struct options *o, int c, int argc, char **argv)
{
	static const char *const names[] = { [OPT_SLAMMER - 256] = "--slammer", [OPT_PATIENT - 256] = "--patient", [OPT_DELIVER - 256] = "--deliver", [OPT_THRESHOLD - 256] = "--threshold" };
	if (c >= 256 && (size_t)(c - 256) < sizeof(names) / sizeof(names[0]) && names[c - 256])
		o->not_of_all = names[c - 256];
	switch (c) {
	case '4':
	case '6':
		if (o->family != AF_UNSPEC && o->family != (c == '4' ? AF_INET : AF_INET6))
			return complain("exclude each other", "-4 and -6");
		o->family = c == '4' ? AF_INET : AF_INET6;
		return 0;
	case OPT_SLAMMER:
		o->plan.roles[PROBE_SLAMMER] = true;
		return 0;
	case OPT_PATIENT:
		o->plan.roles[PROBE_PATIENT] = true;
		return 0;
	case OPT_DELIVER:
		return deliver_option(o, argc, argv);
	case OPT_HELO:
		return helo_option(o);
	case OPT_TIMEOUT:
		return time_option(&o->plan.timeout, LOOP_MS);
	case OPT_EARLY:
		return time_option(&o->plan.early, 0);
	case OPT_THRESHOLD:
		return time_option(&o->threshold, 0);
	case OPT_JSON:
		o->json = true;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	case ':':
		return complain("needs a value", argv[optind - 1]);
	default:
		if (c >= OPT_ALL)
			return take_of_all(o, c, argv[optind - (optarg && optarg == argv[optind - 1] ? 2 : 1)]);
		return complain("no such option", argv[optind - 1]);
	}
}

/* Options that do not go together. 0, or the exit code. */
static int agree(struct options *o)
{
	if (o->is_all && o->not_of_all)
		return complain(strcmp(o->not_of_all, "--deliver") == 0 ? "is not for --all, which has --from and --to" : "is not for --all", o->not_of_all);
	if (!o->is_all && o->only_of_all)
		return complain("is for --all only", o->only_of_all);
	const char *wrong = o->is_all ? probe_all_finish(&o->all) : NULL;
	return wrong ? complain(wrong, "--tls") : 0;
}

/* 0, or the exit code; -1: --help. */
static int parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "slammer", no_argument, NULL, OPT_SLAMMER }, { "patient", no_argument, NULL, OPT_PATIENT },
		{ "deliver", required_argument, NULL, OPT_DELIVER }, { "helo", required_argument, NULL, OPT_HELO },
		{ "timeout", required_argument, NULL, OPT_TIMEOUT }, { "early", required_argument, NULL, OPT_EARLY },
		{ "threshold", required_argument, NULL, OPT_THRESHOLD }, { "json", no_argument, NULL, OPT_JSON },
		{ "all", no_argument, NULL, OPT_ALL }, { "list", no_argument, NULL, OPT_LIST }, { "to", required_argument, NULL, OPT_TO },
		{ "from", required_argument, NULL, OPT_FROM }, { "clear", no_argument, NULL, OPT_CLEAR }, { "starttls", no_argument, NULL, OPT_STARTTLS },
		{ "tls", no_argument, NULL, OPT_TLS }, { "proxy", required_argument, NULL, OPT_PROXY }, { "proxy-source", required_argument, NULL, OPT_PROXY_SOURCE },
		{ "source", required_argument, NULL, OPT_SOURCE }, { "only", required_argument, NULL, OPT_ONLY }, { "jobs", required_argument, NULL, OPT_JOBS },
		{ "wait", required_argument, NULL, OPT_WAIT },
		{ "verbose", no_argument, NULL, 'v' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	int c;
	*o = (struct options){ .plan = { .timeout = 30 * LOOP_SECOND }, .family = AF_UNSPEC, .threshold = 200 * LOOP_MS };
	probe_all_init(&o->all);
	optind = 0; /* the caller may have parsed options of its own */
	while ((c = getopt_long(argc, argv, ":46vh", longs, NULL)) != -1) {
		if (c == 'h')
			return -1;
		int e = take(o, c, argc, argv);
		if (e != 0)
			return e;
	}
	if (o->lists)
		return 0;
	if (argc - optind != 1)
		return complain("expected one HOST[:PORT]", optind < argc ? argv[optind + 1] : "nothing to probe");
	if (!probe_target(argv[optind], o->host, &o->port))
		return complain("expected HOST, HOST:PORT or [ADDRESS]:PORT, the port a number from 1 to 65535", argv[optind]);
	if (!o->plan.roles[PROBE_PATIENT] && !o->plan.roles[PROBE_SLAMMER])
		o->plan.roles[PROBE_PATIENT] = o->plan.roles[PROBE_SLAMMER] = true;
	return agree(o);
}

/* This machine's name if it is a full one; servers refuse a bare one. NULL in the plan stands for the address as a literal. */
static void default_helo(struct options *o)
{
	if (o->plan.helo || gethostname(o->helo, sizeof(o->helo) - 1) < 0)
		return;
	o->helo[sizeof(o->helo) - 1] = '\0';
	for (const char *c = o->helo; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~')
			return;
	if (strchr(o->helo, '.'))
		o->plan.helo = o->helo;
}

/* The work. */

/* 0, or the exit code after a complaint. */
static int resolve(const struct options *o, struct addr addrs[PROBE_ADDRS], size_t *len)
{
	struct addrinfo hints = { .ai_family = o->family, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int e = getaddrinfo(o->host, NULL, &hints, &list);
	*len = 0;
	if (e == EAI_SYSTEM)
		return complain_as(EX_OSERR, o->host, strerror(errno));
	if (e != 0)
		return complain_as(e == EAI_MEMORY ? EX_OSERR : e == EAI_AGAIN ? EX_TEMPFAIL : EX_NOHOST, o->host, gai_strerror(e));
	for (struct addrinfo *i = list; i && *len < PROBE_ADDRS; i = i->ai_next) {
		if (!addr_from_sockaddr(&addrs[*len], i->ai_addr))
			continue;
		addrs[*len].port = o->port;
		(*len)++;
	}
	freeaddrinfo(list);
	return *len > 0 ? 0 : complain_as(EX_NOHOST, o->host, "has no IP address");
}

/* 0 or -errno. */
static int run_plan(struct probe_run *run, struct loop *loop, const struct probe_plan *plan)
{
	int e = 0;
	probe_run_init(run, loop, plan);
	while (e == 0 && !probe_run_done(run))
		e = loop_turn(loop, LOOP_NEVER);
	return e;
}

static int print(const struct options *o, const struct probe_run *run)
{
	struct probe_facts facts = {
		.patient = &run->sessions[PROBE_PATIENT].record, .slammer = &run->sessions[PROBE_SLAMMER].record,
		.threshold = o->threshold, .timeout = o->plan.timeout, .deliver = o->plan.to != NULL,
	};
	struct probe_judgement judgement = probe_judge(&facts);
	struct probe_report report = { .host = o->host, .port = o->port, .address = run->address, .facts = &facts, .judgement = &judgement };
	struct buf out;
	buf_init(&out, REPORT_MAX);
	if (o->json)
		probe_report_json(&out, &report);
	else
		probe_report_text(&out, &report);
	bool written = !out.full && fwrite(out.at, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
	buf_fini(&out);
	if (!written) {
		fprintf(stderr, "tarry probe: cannot write the report: %s\n", strerror(errno));
		return EX_IOERR;
	}
	return probe_judge_exit(judgement.verdict);
}

static int probe_all(struct options *o)
{
	o->all.addrs = o->plan.addrs;
	o->all.addrs_len = o->plan.addrs_len;
	o->all.host = o->host;
	o->all.timeout = o->plan.timeout;
	o->all.early = o->plan.early;
	o->all.helo = o->plan.helo;
	o->all.transcript = o->plan.transcript;
	return probe_all_run(&o->all, o->port, o->json);
}

static int probe(struct options *o)
{
	struct addr addrs[PROBE_ADDRS];
	struct loop loop;
	int code = resolve(o, addrs, &o->plan.addrs_len);
	if (code != 0)
		return code;
	o->plan.addrs = addrs;
	if (o->verbose)
		o->plan.transcript = o->json ? stderr : stdout;
	if (o->is_all)
		return probe_all(o);
	int e = loop_init(&loop, PROBE_ROLES);
	if (e == 0) {
		struct probe_run *run = malloc(sizeof(*run));
		e = run ? run_plan(run, &loop, &o->plan) : -ENOMEM;
		if (e == 0)
			code = print(o, run);
		if (run)
			probe_run_fini(run);
		free(run);
		loop_fini(&loop);
	}
	if (e == 0)
		return code;
	fprintf(stderr, "tarry probe: %s\n", strerror(-e));
	return EX_OSERR;
}

/* "::1:2525" is an address, and seldom the one that was meant. */
static void doubt_target(const char *text, int code)
{
	uint16_t port;
	const char *last = strrchr(text, ':');
	if (code == EX_UNAVAILABLE && text[0] != '[' && last && strchr(text, ':') != last && port_of(last + 1, &port))
		fprintf(stderr, "tarry probe: %s was taken for an address; with a port it is written [%.*s]:%u\n", text, (int)(last - text), text, port);
}

int tool_probe(int argc, char **argv)
{
	struct options o;
	int e = parse(&o, argc, argv);
	if (e < 0) {
		fputs(usage, stdout);
		fputs(probe_all_usage, stdout);
		printf(help, probe_all_help);
		return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
	}
	if (e != 0)
		return e;
	if (o.lists)
		return probe_all_list();
	default_helo(&o);
	int code = probe(&o);
	doubt_target(argv[optind], code);
	return code;
}
