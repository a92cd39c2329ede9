/* The tour, desk: the recommended pause. */
#include "desk/counsel.h"

#include "advise/advise_times.h"
#include "show/json.h"

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

void counsel_put(struct buf *out, const struct counsel *c)
{
	if (!c || c->looked == 0) {
		buf_put_text(out, "null");
		return;
	}
	buf_putf(out, "{\"pause\":%.0f,\"low\":%.0f,\"high\":%.0f,\"caught\":%.4f", c->result.pause, c->result.low, c->result.high, c->result.now.share);
	json_put_pair(out, ",", "reason", c->result.reason);
	buf_put_char(out, '}');
}
