/* The tour, gate: stress. One look at how full the door is, at each client that comes and, once it is half full, once a second; one walk over the connections when it begins. */
#include "gate/stress.h"

#include "core/log.h"
#include "core/metrics.h"
#include "gate/conn.h"
#include "gate/front.h"
#include "gate/states.h"

#define STRESS_LOOK LOOP_SECOND        /* between looks while anything is open */
#define STRESS_LOOK_ON (250 * LOOP_MS) /* and under stress */
#define STRESS_BATCH 32                /* connections gone through in one turn: others come in between */

bool stress_follows(bool was, int64_t used, int64_t most, int64_t percent)
{
	if (percent == 0)
		return false;
	/* Without the distance a single client that comes and goes would switch it on and off. */
	int64_t threshold = was ? percent * 7 / 9 : percent;
	return 100 * used >= threshold * most;
}

/* Descriptors of clients and of their backends; the others are few, and reserve_descriptors has room for them. */
static int64_t descriptors(const struct front *front)
{
	return (int64_t)front->open + metrics_row_value(METRIC_dialling, front_row(front)) + metrics_row_value(METRIC_relayed, front_row(front));
}

static int64_t descriptors_most(const struct front *front)
{
	return (int64_t)front->nofile - front->conf->reserve_descriptors;
}

static void say(const struct front *front, int64_t open, bool full)
{
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_WARNING))
		return;
	log_text(&l, "event", "stress");
	log_text(&l, "state", front->stress.on ? "begin" : "end");
	if (front->stress.on)
		log_text(&l, "reason", full ? "max_connections" : "descriptors");
	log_int(&l, "open", open);
	log_int(&l, "max_connections", front->conf->max_connections);
	log_int(&l, "descriptors", descriptors(front));
	log_int(&l, "of", descriptors_most(front));
	log_end(&l);
}

static void look(struct front *front, int64_t open)
{
	struct stress *s = &front->stress;
	int64_t percent = front->conf->stress_at;
	bool full = stress_follows(s->on, open, front->conf->max_connections, percent);
	bool on = full || stress_follows(s->on, descriptors(front), descriptors_most(front), percent);
	if (on == s->on)
		return;
	s->on = on;
	s->at = 0;
	bool alone = metrics_sum_rows(METRIC_stress, front_rows(front)) == (on ? 0 : 1); /* the first to find it, the last to leave it */
	metrics_add(METRIC_stress, on ? 1 : -1);
	metrics_add(METRIC_stress_begun, on && alone);
	if (alone)
		say(front, open, full);
}

static int64_t open_now(const struct front *front)
{
	return metrics_sum_rows(METRIC_open, front_rows(front)) - metrics_sum_rows(METRIC_limited_open, front_rows(front));
}

/* A pause that is over already is as long as it was. */
static void hurry_greeting(struct front *front, struct conn *conn)
{
	int64_t accepted = conn->source.due - (int64_t)conn->pause_ms * LOOP_MS, waited = (loop_now(&front->loop) - accepted + LOOP_MS - 1) / LOOP_MS;
	uint32_t pause_ms = stress_pause_ms(front, conn->pause_ms);
	if (waited > pause_ms)
		pause_ms = (uint32_t)waited;
	if (pause_ms >= conn->pause_ms)
		return;
	conn->pause_ms = pause_ms;
	loop_set_due(&front->loop, &conn->source, accepted + (int64_t)pause_ms * LOOP_MS);
}

static void hurry(struct front *front, struct conn *conn)
{
	if (conn->state == CONN_HOLD) {
		hurry_greeting(front, conn);
	} else if (conn->state == CONN_RELAY) {
		states_relay_hurry(front, conn);
	} else if (conn->state == CONN_REFUSE) {
		states_refuse_hurry(front, conn);
	} else if (conn->state == CONN_TARPIT) {
		metrics_add(METRIC_tarpit_released, 1);
		conn_happened(front, conn, CONN_RELEASED);
	}
}

static void go_through(struct front *front)
{
	struct stress *s = &front->stress;
	for (unsigned i = 0; i < STRESS_BATCH && s->at < front->conns_used; i++)
		hurry(front, &front->conns[s->at++]);
}

static void stress_due(struct loop *loop, struct source *source)
{
	struct front *front = (struct front *)loop;
	struct stress *s = (struct stress *)source;
	look(front, open_now(front));
	if (s->on)
		go_through(front);
	if (s->on && s->at < front->conns_used)
		loop_set_due(loop, source, loop_now(loop)); /* in the next turn */
	else if (s->on || front->open > 0)
		loop_set_due(loop, source, loop_now(loop) + (s->on ? STRESS_LOOK_ON : STRESS_LOOK));
}

static void stress_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)loop;
	(void)source;
	(void)events;
}

static const struct source_ops stress_ops = { stress_ready, stress_due };

void stress_init(struct front *front)
{
	source_init(&front->stress.source, &stress_ops);
}

void stress_fini(struct front *front)
{
	loop_set_due(&front->loop, &front->stress.source, LOOP_NEVER);
	metrics_add(METRIC_stress, -(int64_t)front->stress.on);
	front->stress.on = false;
}

void stress_came(struct front *front, int64_t open)
{
	struct stress *s = &front->stress;
	bool was = s->on;
	if (front->conf->stress_at == 0)
		return;
	look(front, open);
	/* A door that is less than half full is not about to be; but who sits in the tarpit may have to leave it because of what other fronts have. */
	bool watched = front->conf->refuse_tarpit > 0 || stress_follows(false, 2 * open, front->conf->max_connections, front->conf->stress_at) || 2 * descriptors(front) > descriptors_most(front);
	if ((s->source.place == 0 && watched) || (s->on && !was))
		loop_set_due(&front->loop, &s->source, loop_now(&front->loop) + (s->on ? 0 : STRESS_LOOK));
}

uint32_t stress_pause_ms(const struct front *front, uint32_t pause_ms)
{
	uint32_t most = (uint32_t)(front->conf->stress_greet_pause / LOOP_MS);
	return front->stress.on && pause_ms > most ? most : pause_ms;
}

static int64_t shorter(const struct front *front, int64_t usual, int64_t stressed)
{
	return front->stress.on && stressed < usual ? stressed : usual;
}

int64_t stress_refuse_timeout(const struct front *front)
{
	return shorter(front, front->conf->refuse_timeout, front->conf->stress_refuse_timeout);
}

int64_t stress_refuse_lifetime(const struct front *front)
{
	return shorter(front, front->conf->refuse_lifetime, front->conf->stress_refuse_lifetime);
}
