/* The tour, smtp: slow-downs. The limits are those of Sendmail's MAXHELOCOMMANDS, MAXNOOPCOMMANDS, MAXVRFYCOMMANDS and MAXETRNCOMMANDS (measured, and read in
 * its manual): high enough that no mail server meets them by sending mail. */
#include "smtp/slowdown.h"

#include <stddef.h>

static const struct {
	const char *name;
	unsigned from; /* the repetition that is held back for the first time */
} kinds[SLOWDOWN_KINDS] = {
	[SLOWDOWN_HELO] = { "HELO/EHLO", 3 },
	[SLOWDOWN_NOOP] = { "NOOP", 20 },
	[SLOWDOWN_VRFY] = { "VRFY/EXPN", 6 },
	[SLOWDOWN_ETRN] = { "ETRN", 8 },
};

enum slowdown_kind slowdown_kind(enum command_verb verb)
{
	switch (verb) {
	case COMMAND_HELO:
	case COMMAND_EHLO:
		return SLOWDOWN_HELO;
	case COMMAND_NOOP:
		return SLOWDOWN_NOOP;
	case COMMAND_VRFY:
	case COMMAND_EXPN:
		return SLOWDOWN_VRFY;
	case COMMAND_ETRN:
		return SLOWDOWN_ETRN;
	default:
		return SLOWDOWN_KINDS;
	}
}

struct slowdown_step slowdown_count(struct slowdown *s, enum slowdown_kind kind)
{
	struct slowdown_step step = { .seconds = 0 };
	if (kind == SLOWDOWN_KINDS)
		return step;
	if (s->counts[kind] < UINT16_MAX)
		s->counts[kind]++;
	step.count = s->counts[kind];
	if (step.count < kinds[kind].from)
		return step;
	if (step.count == kinds[kind].from)
		step.command = kinds[kind].name;
	unsigned doublings = step.count - kinds[kind].from;
	step.seconds = doublings < 8 ? 1U << doublings : SLOWDOWN_MOST; /* 2^8 is beyond the most already */
	return step;
}

void slowdown_restart(struct slowdown *s)
{
	s->counts[SLOWDOWN_HELO] = 0;
}
