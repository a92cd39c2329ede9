/* The tour, gate: a stage's words: how the log calls it, and what a client is told that talked there. */
#include "gate/stage.h"

#define TOLD(code, enhanced, what) code " " enhanced " You sent more before you had the reply to " what "\r\n"
#define BOTH(what) TOLD("554", "5.5.0", what), TOLD("450", "4.5.0", what)

static const struct {
	const char *name, *refusal, *tempfail;
} stages[STAGES] = {
	[STAGE_NONE] = { "none", "", "" },
	[STAGE_GREET] = { "greet", "554 5.5.0 You sent a command before you had the whole greeting\r\n", "450 4.5.0 You sent a command before you had the whole greeting\r\n" },
	[STAGE_HELO] = { "helo", BOTH("HELO or EHLO") },
	[STAGE_MAIL] = { "mail", BOTH("MAIL") },
	[STAGE_RCPT] = { "rcpt", BOTH("RCPT") },
	[STAGE_DATA] = { "data", BOTH("DATA") },
	[STAGE_EOM] = { "eom", BOTH("your message") },
	[STAGE_STARTTLS] = { "starttls", BOTH("STARTTLS") },
	[STAGE_COMMAND] = { "command", BOTH("your command") },
};

const char *stage_name(enum stage stage)
{
	return stages[stage].name;
}

const char *stage_reply(enum stage stage, enum stage_reaction reaction)
{
	return reaction == STAGE_REFUSE ? stages[stage].refusal : reaction == STAGE_TEMPFAIL ? stages[stage].tempfail : "";
}
