/* The tour, probe: the command line of --all, and the order of work. */
#include "tool/probe_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "smtp/proxyhdr.h"


const char probe_all_usage[] =
	"       tarry probe --all [-46v] [--to ADDRESS] [--from ADDRESS] [--clear] [--starttls] [--tls] [--proxy v1|v2]\n"
	"                   [--proxy-source NETWORK] [--source NETWORK] [--only ACT[,ACT]...] [--jobs N] [--wait TIME]\n"
	"                   [--json] [--timeout TIME] [--early TIME] [--helo NAME] HOST[:PORT]\n"
	"       tarry probe --list\n";
const char probe_all_help[] =
	"with --all: acts as each class of client, and prints what the server did, and when\n"
	"  --to ADDRESS       also acts that send a message, to this address; without it all stop after RCPT\n"
	"  --from ADDRESS     who it is from (default: <>)\n"
	"  --clear            only in clear; --starttls: only inside STARTTLS (default: in clear, and inside STARTTLS if it is offered)\n"
	"  --tls              TLS comes first, as on port 465\n"
	"  --proxy v1|v2      a PROXY header goes first\n"
	"  --proxy-source NETWORK  the clients' addresses in it; the acts take turns (default: 192.0.2.0/24)\n"
	"  --source NETWORK   connect from addresses of this network, which are this machine's; the acts take turns\n"
	"  --only ACT,...     only these; --list says which there are\n"
	"  --jobs N           connections at the same time, 1 to 32 (default 4)\n"
	"  --wait TIME        how long silence lasts that counts as no answer (default 5s)\n";

/* ---- the command line ---- */

void probe_all_init(struct probe_all_plan *plan)
{
	*plan = (struct probe_all_plan){ .wait = PROBE_WAIT, .jobs = PROBE_JOBS };
	addr_parse_prefix(slice_of("192.0.2.0/24"), &plan->proxy_source);
}

const char *probe_all_jobs(struct probe_all_plan *plan, const char *text)
{
	size_t len = strlen(text);
	unsigned long n = len > 0 && len < 4 && strspn(text, "0123456789") == len ? strtoul(text, NULL, 10) : 0;
	if (n == 0 || n > PROBE_JOBS_MOST)
		return "expected a number of connections, 1 to 32";
	plan->jobs = (unsigned)n;
	return NULL;
}

const char *probe_all_proxy(struct probe_all_plan *plan, const char *text)
{
	if (strcmp(text, "v1") != 0 && strcmp(text, "v2") != 0)
		return "expected v1 or v2";
	plan->proxy = text[1] == '1' ? PROBE_PROXY_V1 : PROBE_PROXY_V2;
	return NULL;
}

const char *probe_all_network(struct prefix *network, const char *text)
{
	return addr_parse_prefix(slice_of(text), network) ? NULL : "expected an address or a network, such as 192.0.2.7 or 192.0.2.0/24";
}

const char *probe_all_only(struct probe_all_plan *plan, const char *text)
{
	for (const char *at = text;; at++) {
		size_t len = strcspn(at, ",");
		const struct probe_act *act = probe_act_find((struct slice){ at, len });
		if (!act)
			return "there is no such act; tarry probe --list says which there are";
		plan->chosen[act - probe_acts] = true;
		at += len;
		if (*at == '\0')
			return NULL;
	}
}

const char *probe_all_finish(struct probe_all_plan *plan)
{
	bool any = false;
	if (plan->ways[PROBE_WAY_TLS] && (plan->ways[PROBE_WAY_CLEAR] || plan->ways[PROBE_WAY_STARTTLS]))
		return "is for a port where TLS comes first, and excludes --clear and --starttls";
	for (size_t i = 0; i < probe_acts_len; i++)
		any |= plan->chosen[i];
	for (size_t i = 0; i < probe_acts_len && !any; i++)
		plan->chosen[i] = true;
	plan->chosen[PROBE_ACT_PATIENT] = true; /* what it is told is compared with */
	if (!plan->ways[PROBE_WAY_TLS] && !plan->ways[PROBE_WAY_CLEAR] && !plan->ways[PROBE_WAY_STARTTLS])
		plan->ways[PROBE_WAY_CLEAR] = plan->ways[PROBE_WAY_STARTTLS] = plan->starttls_if_offered = true;
	return NULL;
}

struct addr probe_all_address(const struct prefix *of, unsigned number)
{
	struct addr a = of->base;
	unsigned width = addr_is4(&a) ? 32 : 128, host = width - of->bits;
	uint32_t room = host >= 16 ? 65536 : 1u << host;
	uint32_t add = room > 2 ? 1 + number % (room - 2) : number % room;
	for (int i = 15; i >= 12; i--) {
		add += a.ip[i];
		a.ip[i] = (uint8_t)add;
		add >>= 8;
	}
	return a;
}

void probe_all_header(const struct probe_all_plan *plan, unsigned number, const struct addr *local, const struct addr *server, struct buf *out)
{
	struct proxyhdr header = { .client = probe_all_address(&plan->proxy_source, number), .server = *server };
	header.client.port = local->port;
	if (plan->proxy == PROBE_PROXY_V1)
		proxyhdr_write_v1(out, &header.client, &header.server);
	else
		proxyhdr_write_v2(out, &header);
}

/* ---- the work ---- */

static int print(const struct probe_round *round, uint16_t port, bool json)
{
	struct buf out;
	buf_init(&out, PROBE_TABLE);
	if (json)
		probe_table_json(&out, round, round->plan->host, port);
	else
		probe_table_text(&out, round, round->plan->host, port);
	bool written = !out.full && fwrite(out.at, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
	buf_fini(&out);
	if (written)
		return probe_weigh_all(round).exit;
	fprintf(stderr, "tarry probe: cannot write the table: %s\n", strerror(errno));
	return EX_IOERR;
}

int probe_all_run(const struct probe_all_plan *plan, uint16_t port, bool json)
{
	struct loop loop;
	int e = loop_init(&loop, PROBE_JOBS_MOST + 2);
	if (e < 0) {
		fprintf(stderr, "tarry probe: %s\n", strerror(-e));
		return EX_OSERR;
	}
	struct probe_round round;
	int code = probe_round_run(&round, &loop, plan);
	if (code == EX_OK)
		code = print(&round, port, json);
	else if (code == EX_OSERR)
		fprintf(stderr, "tarry probe: out of memory, or of descriptors\n");
	probe_round_fini(&round);
	loop_fini(&loop);
	return code;
}

int probe_all_list(void)
{
	char memory[8192];
	struct buf out;
	buf_init_fixed(&out, memory, sizeof(memory));
	probe_table_acts(&out);
	return fwrite(out.at, 1, out.len, stdout) == out.len && fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}
