/* The tour, tools: the report for programs: the same numbers, one JSON object (RFC 8259), ASCII alone. */
#include "tool/report.h"

#include <inttypes.h>
#include <string.h>

#include "tool/report_show.h"

/* Bytes beyond ASCII are written as the characters of those numbers: a log of the door's has none. */
static void put_string(FILE *to, const char *text, size_t most)
{
	fputc('"', to);
	for (size_t i = 0; text[i] && i < most; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '"' || c == '\\')
			fprintf(to, "\\%c", c);
		else if (c < ' ' || c >= 0x7f)
			fprintf(to, "\\u%04x", c);
		else
			fputc(c, to);
	}
	fputc('"', to);
}

static void put_time(FILE *to, const char *key, int64_t at)
{
	char text[REPORT_STAMP];
	fprintf(to, "\"%s\": ", key);
	if (at == REPORT_NO_TIME)
		fputs("null", to);
	else
		put_string(to, report_show_time(at, text), REPORT_STAMP);
	fputs(", ", to);
}

static void put_kinds(FILE *to, const struct report_sums *r)
{
	fputs("\"kinds\": [", to);
	for (uint32_t i = 0; i < r->labels_len; i++) {
		const struct report_label *l = &r->labels[i];
		fputs(i > 0 ? ",\n  {\"kind\": " : "\n  {\"kind\": ", to);
		put_string(to, l->text, REPORT_LABEL);
		fprintf(to, ", \"would\": %" PRIu64 ", \"did\": %" PRIu64 ", \"clients\": %" PRIu64 ", \"clients_with_mail\": %" PRIu64 "}", l->would, l->did, l->clients, l->clients_mail);
	}
	fputs("]", to);
}

static void put_client(FILE *to, const struct report_sums *r, const struct report_client *c)
{
	char memory[ADDR_TEXT + 32];
	const char *example = report_text(r, c->example);
	struct report_line l;
	struct buf b;
	buf_init_fixed(&b, memory, sizeof(memory));
	report_put_client(&b, c->key);
	fputs("{\"client\": ", to);
	put_string(to, buf_text(&b), ADDR_TEXT);
	fputs(", \"name\": ", to);
	if (report_line_parse(slice_of(example), &l) && l.name.len > 0)
		put_string(to, l.name.at, l.name.len);
	else
		fputs("null", to);
	fprintf(to, ", \"connections\": %u, \"would\": %u, \"did\": %u, \"messages\": %u, \"messages_waited\": %u, \"unseen\": %u, \"access\": ", c->connections, c->would, c->did,
	        c->messages, c->waited, c->unseen);
	buf_clear(&b);
	report_put_advice(&b, c, example);
	if (b.len > 0)
		put_string(to, buf_text(&b), sizeof(memory));
	else
		fputs("null", to);
	fputs(", \"example\": ", to);
	if (c->example > 0)
		put_string(to, example, REPORT_EXAMPLE);
	else
		fputs("null", to);
	fputs("}", to);
}

static void put_clients(FILE *to, const struct report_sums *r, struct report_client *const *clients, uint32_t len, const struct report_shape *shape)
{
	for (uint32_t i = 0; i < len && i < shape->top; i++) {
		fputs(i > 0 ? ",\n  " : "\n  ", to);
		put_client(to, r, clients[i]);
	}
}

static void put_groups(FILE *to, const struct report_sums *r, const struct report_group *all, uint32_t len, const struct report_shape *shape)
{
	char memory[ADDR_TEXT + 8];
	for (uint32_t i = 0; i < len && i < shape->top; i++) {
		const struct report_group *g = &all[i];
		struct buf b;
		buf_init_fixed(&b, memory, sizeof(memory));
		fprintf(to, "%s\n  {\"%s\": ", i > 0 ? "," : "", g->domain ? "name" : "network");
		if (g->domain) {
			put_string(to, report_text(r, r->domains[g->domain - 1]), SIZE_MAX);
		} else {
			report_put_network(&b, g->key);
			put_string(to, buf_text(&b), sizeof(memory));
		}
		fprintf(to, ", \"would\": %" PRIu64 ", \"did\": %" PRIu64 ", \"connections\": %" PRIu64 ", \"clients\": %u, \"clients_with_mail\": %u, \"messages\": %" PRIu64 "}", g->would,
		        g->did, g->connections, g->clients, g->clients_mail, g->messages);
	}
}

void report_json(FILE *to, const struct report_sums *r, const struct report_shape *shape)
{
	fputs("{", to);
	put_time(to, "from", r->first);
	put_time(to, "to", r->last);
	fprintf(to, "\"lines\": %" PRIu64 ", \"connections\": %" PRIu64 ", \"clients\": %u, \"relayed\": %" PRIu64 ", \"messages\": %" PRIu64 ", \"unseen\": %" PRIu64 ", \"would\": %" PRIu64
	        ", \"did\": %" PRIu64 ", \"untimed\": %" PRIu64 ", \"cut\": %" PRIu64 ", \"complete\": %s,\n",
	        r->lines, r->connections, r->clients_len, r->relayed, r->messages, r->unseen, r->would, r->did, r->untimed, r->cut,
	        r->beyond > 0 || r->domains_used == REPORT_DOMAINS ? "false" : "true");
	put_kinds(to, r);
	fprintf(to, ",\n\"clients_with_mail\": %u, \"clients_unknown\": %u, \"with_mail\": [", r->mail_len, r->blind);
	put_clients(to, r, r->mail, r->mail_len, shape);
	fputs("],\n\"unknown\": [", to);
	put_clients(to, r, r->mail + r->mail_len, r->blind, shape);
	fprintf(to, "],\n\"networks_all\": %u, \"networks\": [", r->networks_len);
	put_groups(to, r, r->networks, r->networks_len, shape);
	fprintf(to, "],\n\"names_all\": %u, \"names\": [", r->names_len);
	put_groups(to, r, r->names, r->names_len, shape);
	fputs("]}\n", to);
}
