/* The tour, gate: what is no SMTP, and comes after the greeting. The mail server behind never hears of it: it might take some of it for mail. */
#include "gate/forbid.h"

#include "core/log.h"
#include "core/metrics.h"
#include "gate/front.h"
#include "gate/session.h"
#include "smtp/foreign.h"

bool forbid(struct session *s, const char *foreign, struct slice said)
{
	struct log_line l;
	if (!s->forbidden && !s->conn->observe)
		metrics_add(METRIC_forbidden, 1);
	if (!s->forbidden && log_begin(&l, LOG_LEVEL_INFO)) {
		log_text(&l, "event", "forbidden");
		log_addr(&l, "client", &s->conn->client);
		log_int(&l, "port", s->conn->client.port);
		log_text(&l, "id", s->id);
		log_text(&l, "kind", foreign);
		log_bytes(&l, "data", said.at, said.len);
		if (s->conn->observe)
			log_text(&l, "would", "forbidden");
		log_end(&l);
	}
	s->forbidden = foreign;
	return !s->conn->observe;
}

bool forbid_said(const struct front *front, struct session *s, struct slice said, const struct command *c, struct buf *reply)
{
	const char *words = front->conf->forbidden_commands;
	const char *foreign = c ? foreign_command(words, said, c, false) : words[0] ? foreign_opening(said) : NULL;
	if (!foreign || !forbid(s, foreign, said))
		return false;
	struct reply_client client = { &s->conn->client, ask_name(s->ask), s->ask && s->ask->result == NAMES_FORGED };
	foreign_put_reply(reply, front->conf->hostname, foreign, &client);
	return true;
}
