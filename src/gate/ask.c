/* The tour, gate: questions about a client, between conn.c, which waits for the answers, and names.c, which has them. */
#include "gate/ask.h"

#include <stdlib.h>
#include <string.h>

#include "core/metrics.h"
#include "gate/front.h"

struct ask_pending {
	struct names_question question; /* first: its callback finds the rest by it */
	struct front *front;
	struct conn *conn;
};

bool ask_is_needed(const struct front *front)
{
	return front->names && front->asks_names;
}

/* The same with room for the name, and without what was needed to ask. */
static struct ask *shrink(struct ask *ask, const struct names_question *q)
{
	size_t len = strlen(q->name);
	struct ask *with_name = realloc(ask, sizeof(*ask) + len + 1);
	if (!with_name)
		return ask; /* no memory: the client is one without a name */
	memcpy(with_name->name, q->name, len + 1);
	with_name->name_len = (uint8_t)len;
	with_name->result = q->result;
	return with_name;
}

static void answered(struct names_question *q)
{
	static const enum metric counters[NAMES_RESULTS] = { [NAMES_NONE] = METRIC_names_none, [NAMES_CONFIRMED] = METRIC_names_confirmed,
		[NAMES_FORGED] = METRIC_names_forged, [NAMES_FAILED] = METRIC_names_failed, [NAMES_TIMEOUT] = METRIC_names_timeout };
	struct ask_pending *pending = (struct ask_pending *)q;
	struct front *front = pending->front;
	struct conn *conn = pending->conn;
	metrics_add(counters[q->result], 1);
	conn->ask = shrink(conn->ask, q);
	conn->ask->pending = NULL;
	free(pending);
	conn_answered(front, conn);
}

struct ask *ask_start(struct front *front, struct conn *conn)
{
	struct ask *ask = calloc(1, sizeof(*ask) + 1);
	struct ask_pending *pending = ask ? calloc(1, sizeof(*pending)) : NULL;
	if (!pending) {
		free(ask);
		return NULL;
	}
	ask->accepted = loop_now(&front->loop);
	ask->pending = pending;
	pending->front = front;
	pending->conn = conn;
	pending->question.addr = conn->client;
	pending->question.answered = answered;
	names_ask(front->names, &pending->question);
	return ask;
}

void ask_stop(struct ask *ask)
{
	if (!ask || !ask->pending)
		return;
	names_cancel(&ask->pending->question);
	free(ask->pending);
	ask->pending = NULL;
	ask->result = NAMES_TIMEOUT;
}

void ask_free(struct ask *ask)
{
	ask_stop(ask);
	free(ask);
}

struct slice ask_name(const struct ask *ask)
{
	return ask ? (struct slice){ ask->name, ask->name_len } : (struct slice){ "", 0 };
}

struct slice ask_confirmed_name(const struct ask *ask)
{
	return ask && ask->result == NAMES_CONFIRMED ? ask_name(ask) : (struct slice){ "", 0 };
}
