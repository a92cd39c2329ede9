/* The tour, lookup: a server that hangs must not be waited for by everybody: it is left alone for a while, and those who ask hear so at once. */
#include "lookup/outage.h"

/* Whoever moves the time of the next try is the one to try; should it die, the others may when its time is over. */
bool outage_may_ask(struct outage *o, int64_t now)
{
	if (!o->failing)
		return true;
	int64_t at = o->retry_at;
	if (now >= at && atomic_compare_exchange_strong(&o->retry_at, &at, now + OUTAGE_TRY + LOOP_SECOND))
		return true;
	o->failed++;
	return false;
}

enum outage_change outage_report(struct outage *o, bool ok, int64_t now)
{
	bool before = atomic_exchange(&o->failing, !ok);
	if (ok)
		return before ? OUTAGE_OVER : OUTAGE_SAME;
	if (!before) {
		o->since = now;
		o->failed = 0;
		o->delay = OUTAGE_FIRST;
	} else {
		o->delay = o->delay * 2 < OUTAGE_MOST ? o->delay * 2 : OUTAGE_MOST;
	}
	o->failed++;
	o->retry_at = now + o->delay;
	return before ? OUTAGE_SAME : OUTAGE_BEGUN;
}
