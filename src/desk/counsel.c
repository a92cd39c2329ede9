/* The tour, desk: the recommended pause. */
#include "desk/counsel.h"

#include <math.h>

#include "advise/advise_times.h"
#include "show/json.h"

#define HOUR 3600
#define DAY 86400.0

static bool is_due(const struct counsel *c, int64_t now)
{
	return c->looked == 0 || now >= c->looked + COUNSEL_STEP || now < c->looked; /* somebody may have set the clock */
}

void counsel_look(struct counsel *c, int64_t now)
{
	if (c->pause <= 0 || !is_due(c, now))
		return;
	advise_now(c->pause, c->explore, c->share, &c->result);
	c->looked = now;
}

/* The share that a pause catches: the pause, the share, its bounds. */
static void put_share(struct buf *out, const struct advise_share *s)
{
	const double parts[] = { s->share, s->low, s->high };
	buf_putf(out, "[%.0f", s->at);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (isfinite(parts[i]))
			buf_putf(out, ",%.4f", parts[i]);
		else
			buf_put_text(out, ",null"); /* JSON has no other word for it */
	buf_put_char(out, ']');
}

/* How many a day wait who mean well, as far as one can know: known ones are not among them, and below an hour nothing is said. */
static void put_waiters(struct buf *out, const struct counsel *c)
{
	int64_t seconds = c->looked - c->started;
	if (c->started > 0 && seconds >= HOUR)
		buf_putf(out, ",\"day\":%.1f", c->result.waited * DAY / (double)seconds);
	else
		buf_put_text(out, ",\"day\":null");
}

void counsel_put(struct buf *out, const struct counsel *c)
{
	if (!c || c->looked == 0) {
		buf_put_text(out, "null");
		return;
	}
	const struct advise_result *r = &c->result;
	buf_putf(out, "{\"pause\":%.0f,\"talked\":%.0f,\"gone\":%.0f,\"waited\":%.0f", r->pause, r->talked, r->gone, r->waited);
	put_waiters(out, c);
	buf_put_text(out, ",\"now\":");
	put_share(out, &r->now);
	buf_put_text(out, ",\"ladder\":[");
	for (size_t i = 0; i < r->ladder_len; i++) {
		buf_put_text(out, i > 0 ? "," : "");
		put_share(out, &r->ladder[i]);
	}
	json_put_pair(out, "],", "reason", r->reason);
	buf_put_char(out, '}');
}
