/* The tour, tools: the report for people. First the sums, then the clients that somebody should look at before enforcing: those that are refused and have mail accepted. */
#include "tool/report.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tool/report_show.h"

#define LABEL_WIDTH 30
#define WHO_WIDTH 40

const char *report_show_time(int64_t at, char out[REPORT_STAMP])
{
	time_t t = (time_t)at;
	struct tm tm;
	if (at == REPORT_NO_TIME || !gmtime_r(&t, &tm) || strftime(out, REPORT_STAMP, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		memcpy(out, "", 1);
	return out;
}

/* Of a log that anybody may have written into: nothing that a terminal would act upon. The door's own escapes stay as they are. */
static void put_plain(FILE *to, const char *text, size_t most)
{
	for (size_t i = 0; text[i] && i < most; i++)
		fputc(text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?', to);
}

/* ---- clients and networks ---- */

static struct addr addr_of(const uint8_t key[16])
{
	struct addr a = { .port = 0 };
	memcpy(a.ip, key, 16);
	return a;
}

void report_put_client(struct buf *out, const uint8_t key[16])
{
	char text[ADDR_TEXT];
	struct addr a = addr_of(key);
	buf_putf(out, "%s%s", addr_format(&a, text), addr_is4(&a) ? "" : "/64");
}

void report_put_network(struct buf *out, const uint8_t key[16])
{
	char text[ADDR_TEXT];
	struct addr a = addr_of(key);
	buf_putf(out, "%s%s", addr_format(&a, text), addr_is4(&a) ? "/24" : "/64");
}

/* What is refused by a line of the database is the database's to change; a pause, a limit or OBSERVE can be written beside it. */
void report_put_advice(struct buf *out, const struct report_client *c, const char *example)
{
	struct report_line l;
	if (!report_line_parse(slice_of(example), &l))
		return;
	enum report_deed deed = l.did != REPORT_NOTHING ? l.did : l.would;
	const char *tag = "Connect:", *value = "OBSERVE";
	bool connect = l.stage.len == 0 || slice_is(l.stage, "connect");
	if (deed == REPORT_TEMPFAIL || slice_is(l.reason, "max_per_client"))
		return;
	if (deed == REPORT_EARLY && (l.stage.len == 0 || slice_is(l.stage, "greet")))
		tag = "GreetPause:", value = "0";
	else if (deed == REPORT_REFUSED && connect)
		value = "OK";
	else if (deed == REPORT_LIMITED)
		tag = memmem(l.reply.at ? l.reply.at : "", l.reply.len, "rate", 4) ? "ClientRate:" : "ClientConn:", value = "0";
	buf_put_text(out, tag);
	report_put_client(out, c->key);
	buf_putf(out, "\t%s", value);
}

/* ---- tables ---- */

static void kinds(FILE *to, const struct report_sums *r)
{
	fprintf(to, "\nBy kind%*s %10s %10s %9s %9s\n", LABEL_WIDTH - 7, "", "had been", "were", "clients", "with mail");
	for (uint32_t i = 0; i < r->labels_len; i++)
		fprintf(to, "  %-*s %9" PRIu64 " %10" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n", LABEL_WIDTH - 1, r->labels[i].text, r->labels[i].would, r->labels[i].did,
		        r->labels[i].clients, r->labels[i].clients_mail);
}

static void groups(FILE *to, const struct report_sums *r, const struct report_group *all, uint32_t len, const struct report_shape *shape)
{
	char memory[ADDR_TEXT + 8];
	if (len == 0)
		return;
	fprintf(to, "\n%-*s %9s %10s %9s %9s %9s\n", WHO_WIDTH, all[0].domain ? "By name" : "By network", "had been", "were", "clients", "with mail", "messages");
	for (uint32_t i = 0; i < len && i < shape->top; i++) {
		const struct report_group *g = &all[i];
		struct buf b;
		buf_init_fixed(&b, memory, sizeof(memory));
		fputs("  ", to);
		if (g->domain) {
			const char *name = report_text(r, r->domains[g->domain - 1]);
			size_t width = strlen(name) < WHO_WIDTH - 2 ? strlen(name) : WHO_WIDTH - 2;
			put_plain(to, name + strlen(name) - width, width);
			fprintf(to, "%*s", (int)(WHO_WIDTH - 2 - width), "");
		} else {
			report_put_network(&b, g->key);
			fprintf(to, "%-*s", WHO_WIDTH - 2, buf_text(&b));
		}
		fprintf(to, " %9" PRIu64 " %10" PRIu64 " %9u %9u %9" PRIu64 "\n", g->would, g->did, g->clients, g->clients_mail, g->messages);
	}
	if (len > shape->top)
		fprintf(to, "  and %u more\n", len - shape->top);
}

static const char *many(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void put_name(FILE *to, const char *example)
{
	struct report_line l;
	if (!report_line_parse(slice_of(example), &l) || l.name.len == 0)
		return;
	fputs("  ", to);
	put_plain(to, l.name.at, l.name.len);
}

static void client(FILE *to, const struct report_sums *r, const struct report_client *c)
{
	char memory[ADDR_TEXT + 32];
	struct report_line l;
	struct buf b;
	const char *example = report_text(r, c->example);
	buf_init_fixed(&b, memory, sizeof(memory));
	report_put_client(&b, c->key);
	fprintf(to, "\n  %s", buf_text(&b));
	put_name(to, example);
	fprintf(to, "\n    %u connection%s", c->connections, many(c->connections));
	if (c->would > 0)
		fprintf(to, ", %u had been refused", c->would);
	if (c->did > 0)
		fprintf(to, ", %u refused", c->did);
	fprintf(to, "; %u message%s accepted, %u of them in connections in which nothing was wrong\n", c->messages, many(c->messages), c->waited);
	if (c->unseen > 0)
		fprintf(to, "    %u connection%s could not be looked into: there may be more\n", c->unseen, many(c->unseen));
	fputs("    ", to);
	put_plain(to, c->example > 0 ? example : "(no line kept)", REPORT_EXAMPLE);
	buf_clear(&b);
	report_put_advice(&b, c, example);
	if (b.len > 0)
		fprintf(to, "\n    to let it in, in the access file:  %s", buf_text(&b));
	if (report_line_parse(slice_of(example), &l) && l.access_line > 0)
		fprintf(to, "\n    it is line %" PRId64 " of the access file that refuses it", l.access_line);
	fputc('\n', to);
}

/* Of whom it is not known. */
static void blind(FILE *to, const struct report_sums *r, const struct report_shape *shape)
{
	char memory[ADDR_TEXT + 8];
	if (r->blind == 0)
		return;
	fprintf(to, "\nClients that were handed to a backend in connections that could not be looked into (%u): whether mail was accepted is not known\n", r->blind);
	fprintf(to, "%-*s %9s %10s %9s\n", WHO_WIDTH, "", "had been", "were", "handed on");
	for (uint32_t i = 0; i < r->blind && i < shape->top; i++) {
		const struct report_client *c = r->mail[r->mail_len + i];
		struct buf b;
		buf_init_fixed(&b, memory, sizeof(memory));
		report_put_client(&b, c->key);
		fprintf(to, "  %-*s %9u %10u %9u", WHO_WIDTH - 2, buf_text(&b), c->would, c->did, c->unseen);
		put_name(to, report_text(r, c->example));
		fputc('\n', to);
	}
	if (r->blind > shape->top)
		fprintf(to, "  and %u more\n", r->blind - shape->top);
}

static void wronged(FILE *to, const struct report_sums *r, const struct report_shape *shape)
{
	if (r->would + r->did == 0)
		return;
	if (r->mail_len == 0) {
		fprintf(to, "\nNone of these clients has had mail accepted%s.\n", r->unseen > 0 ? ", as far as was seen" : "");
	} else {
		fprintf(to, "\nClients with mail that the backend accepted (%u): look at these first\n", r->mail_len);
		for (uint32_t i = 0; i < r->mail_len && i < shape->top; i++)
			client(to, r, r->mail[i]);
		if (r->mail_len > shape->top)
			fprintf(to, "\n  and %u more (--top)\n", r->mail_len - shape->top);
	}
	blind(to, r, shape);
}

/* What the numbers do not have. */
static void notes(FILE *to, const struct report_sums *r)
{
	if (r->beyond > 0)
		fprintf(to, "\nNot complete: there were more than %u clients; %" PRIu64 " connections of others are in the sums and the kinds only.\n", r->clients_max, r->beyond);
	if (r->examples_lost > 0)
		fprintf(to, "Of %" PRIu64 " refusals no example could be kept.\n", r->examples_lost);
	if (r->domains_used == REPORT_DOMAINS)
		fprintf(to, "Not complete: more than %u names.\n", REPORT_DOMAINS);
	if (r->cut > 0)
		fprintf(to, "%" PRIu64 " line%s had been cut: what stood behind the cut is not counted.\n", r->cut, many(r->cut));
}

void report_print(FILE *to, const struct report_sums *r, const struct report_shape *shape)
{
	char first[REPORT_STAMP], last[REPORT_STAMP];
	fprintf(to, "%" PRIu64 " connection%s of %u client%s", r->connections, many(r->connections), r->clients_len, many(r->clients_len));
	if (r->first != REPORT_NO_TIME)
		fprintf(to, ", from %s to %s", report_show_time(r->first, first), report_show_time(r->last, last));
	fprintf(to, "\n%" PRIu64 " handed to a backend, with %" PRIu64 " message%s accepted", r->relayed, r->messages, many(r->messages));
	if (r->unseen > 0)
		fprintf(to, "; %" PRIu64 " of them could not be looked into", r->unseen);
	fprintf(to, "\n%" PRIu64 " had been refused, had the door enforced; %" PRIu64 " were refused\n", r->would, r->did);
	if (r->labels_len > 0)
		kinds(to, r);
	wronged(to, r, shape);
	groups(to, r, r->networks, r->networks_len, shape);
	groups(to, r, r->names, r->names_len, shape);
	notes(to, r);
}
