/* The tour, gate: questions about a client, between conn.c, which waits for the answers, and names.c, which has them. */
#include "gate/ask.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/metrics.h"
#include "gate/before.h"
#include "gate/front.h"

#define NAMES_SILENT 20 /* clients in a row without an answer of the DNS */

struct ask_pending {
	struct names_question question; /* first: its callback finds the rest by it */
	struct front *front;
	struct conn *conn;
	struct ask *ask; /* the connection has it, or its session */
	struct map_wait {
		struct lookup_wait wait; /* first, as above */
		struct ask_pending *pending;
		unsigned map;
	} waits[ACCESS_MAPS];
	unsigned left;   /* maps that have not answered */
	bool names_name; /* the name is what is asked for */
};

bool ask_is_needed(const struct front *front)
{
	return (front->names && front->asks_names) || front->lookup;
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

static void all_answered(struct ask_pending *pending)
{
	struct front *front = pending->front;
	struct conn *conn = pending->conn;
	pending->ask->pending = NULL;
	free(pending);
	conn_answered(front, conn);
}

/* The plan is made anew for each answer: it is large, and the same each time. */
static bool make_plan(struct ask_pending *pending)
{
	const struct ask *ask = pending->ask;
	struct access_client client = { pending->conn->client, ask_name(ask), NULL };
	return access_plan_client(pending->front->access, pending->front->plan, &client, ask_confirmed_name(ask));
}

static void take_answer(struct ask_pending *pending, unsigned map, const struct wire_answer *answer)
{
	access_take_answer(pending->ask->answers, map, pending->front->plan, answer);
	pending->left--;
}

static void map_answered(struct lookup_wait *wait, const struct wire_answer *answer)
{
	struct map_wait *w = (struct map_wait *)wait;
	struct ask_pending *pending = w->pending;
	make_plan(pending);
	take_answer(pending, w->map, answer);
	if (pending->left == 0)
		all_answered(pending);
}

/* With the name known, or without one: all that maps elsewhere may know of the client. */
static void ask_maps(struct ask_pending *pending)
{
	struct front *front = pending->front;
	struct ask *ask = pending->ask;
	unsigned map = front->lookup ? access_next_elsewhere(front->access, 0) : ACCESS_MAPS, number = 0;
	ask->answers = map < ACCESS_MAPS ? calloc(1, sizeof(*ask->answers)) : NULL; /* without it they have failed */
	if (ask->answers && !make_plan(pending)) { /* it has more labels than any name of a mail server: none, or it would be a way past the maps */
		ask->name_len = 0;
		ask->name[0] = '\0';
		ask->result = NAMES_NONE;
	}
	if (!ask->answers || !make_plan(pending)) {
		all_answered(pending);
		return;
	}
	pending->left = 1; /* so that an answer at once is not the last one */
	for (; map < ACCESS_MAPS; map = access_next_elsewhere(front->access, map + 1), number++) {
		struct map_wait *w = &pending->waits[map];
		w->wait.done = map_answered;
		w->pending = pending;
		w->map = map;
		front->plan->question.map = (uint16_t)number;
		pending->left++;
		const struct wire_answer *answer = lookup_ask(front->lookup, &front->plan->question, &w->wait);
		if (answer)
			take_answer(pending, map, answer);
	}
	if (--pending->left == 0)
		all_answered(pending);
	else
		before_asked_maps(front, pending->conn);
}

/* One name that nobody can tell is its owner's matter, many in a row are ours: keys that are names do not count meanwhile. */
static void note_names(struct front *front, enum names_result result)
{
	bool told = result != NAMES_FAILED && result != NAMES_TIMEOUT, silent = front->unnamed >= NAMES_SILENT;
	if (told && silent)
		log_event(LOG_LEVEL_NOTICE, "names_back", "name servers answer again; %u clients had no name", front->unnamed);
	front->unnamed = told ? 0 : front->unnamed + (front->unnamed < UINT_MAX);
	if (!told && !silent && front->unnamed == NAMES_SILENT)
		log_event(LOG_LEVEL_WARNING, "names_silent", "no name of the last %d clients could be asked for (%s): keys that are names do not count for them; see %s%s", NAMES_SILENT, names_result_name(result),
		          front->conf->resolver[0] ? "resolver = " : "/etc/resolv.conf", front->conf->resolver);
}

static void name_answered(struct names_question *q)
{
	static const enum metric counters[NAMES_RESULTS] = { [NAMES_NONE] = METRIC_names_none, [NAMES_CONFIRMED] = METRIC_names_confirmed,
		[NAMES_FORGED] = METRIC_names_forged, [NAMES_FAILED] = METRIC_names_failed, [NAMES_TIMEOUT] = METRIC_names_timeout };
	struct ask_pending *pending = (struct ask_pending *)q;
	struct conn *conn = pending->conn;
	metrics_add(counters[q->result], 1);
	note_names(pending->front, q->result);
	if (q->result != NAMES_TIMEOUT)
		metrics_observe(HISTOGRAM_name_answer, loop_now(&pending->front->loop) - conn->ask->accepted);
	pending->names_name = false;
	pending->ask = conn->ask = shrink(conn->ask, q);
	ask_maps(pending);
}

/* Maps without a name before them: in the next turn, never before ask_start() has returned. */
static void maps_due(struct loop *loop, struct source *source)
{
	(void)loop;
	ask_maps((struct ask_pending *)source);
}

static void no_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)loop;
	(void)source;
	(void)events;
}

static const struct source_ops maps_ops = { no_ready, maps_due };

struct ask *ask_start(struct front *front, struct conn *conn)
{
	struct ask *ask = calloc(1, sizeof(*ask) + 1);
	struct ask_pending *pending = ask ? calloc(1, sizeof(*pending)) : NULL;
	if (!pending) {
		free(ask);
		return NULL;
	}
	ask->accepted = front_came(front);
	ask->pending = pending;
	ask->result = NAMES_NONE;
	pending->front = front;
	pending->conn = conn;
	pending->ask = ask;
	pending->question.addr = conn->client;
	pending->question.answered = name_answered;
	if (front->names && front->asks_names) {
		pending->names_name = true;
		names_ask(front->names, &pending->question);
		return ask;
	}
	source_init(&pending->question.due, &maps_ops);
	if (loop_set_due(&front->loop, &pending->question.due, ask->accepted))
		return ask;
	ask_free(ask);
	return NULL;
}

bool ask_is_pending(const struct ask *ask)
{
	return ask && ask->pending;
}

void ask_stop(struct ask *ask)
{
	if (!ask || !ask->pending)
		return;
	struct ask_pending *pending = ask->pending;
	names_cancel(&pending->question);
	loop_set_due(&pending->front->loop, &pending->question.due, LOOP_NEVER);
	for (unsigned i = 0; i < ACCESS_MAPS && pending->front->lookup; i++)
		lookup_cancel(pending->front->lookup, &pending->waits[i].wait);
	if (pending->names_name)
		ask->result = NAMES_TIMEOUT;
	free(pending);
	ask->pending = NULL;
}

void ask_judged(struct ask *ask)
{
	if (!ask || !ask->answers)
		return;
	access_answers_fini(ask->answers);
	free(ask->answers);
	ask->answers = NULL;
}

bool ask_keep(struct ask **ask, int64_t accepted, const struct rules_answer *answer)
{
	size_t len = answer->decision.reply.text.len;
	struct rules_answer *kept = malloc(sizeof(*kept) + len);
	if (kept && !*ask) {
		*ask = calloc(1, sizeof(**ask) + 1);
		if (*ask)
			(*ask)->accepted = accepted;
	}
	if (!kept || !*ask) {
		free(kept);
		return false;
	}
	*kept = *answer;
	if (len > 0)
		memcpy(kept + 1, answer->decision.reply.text.at, len);
	kept->decision.reply.text.at = (const char *)(kept + 1);
	kept->hit.value.text = (struct slice){ "", 0 };
	free((*ask)->kept);
	(*ask)->kept = kept;
	return true;
}

void ask_free(struct ask *ask)
{
	if (!ask)
		return;
	ask_stop(ask);
	ask_judged(ask);
	free(ask->kept);
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
