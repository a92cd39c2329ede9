/* The tour, gate: what never passes. Some words are for the door alone to say to its backend, some turn the connection into something that is no longer
 * commands and replies, and one lets a client talk before the greeting, which is what the door refuses. */
#include "gate/watch_words.h"

#include <strings.h>

#define NOT_ALLOWED { 550, "5.7.1", "Not allowed" }
#define NOT_HERE { 502, "5.5.1", "Command not implemented" }
#define KEYWORD_ONLY { 0, NULL, NULL }

static const struct {
	const char *word;
	struct command_error reply;
} words[] = {
	/* Whom the backend believes the client to be is for the door to say. */
	{ "XCLIENT", NOT_ALLOWED },
	{ "XFORWARD", NOT_ALLOWED },
	{ "XTLS", NOT_ALLOWED },
	/* Permission to talk before the greeting (Exim, under three names). */
	{ "PIPECONNECT", KEYWORD_ONLY },
	{ "PIPE_CONNECT", KEYWORD_ONLY },
	{ "X_PIPE_CONNECT", KEYWORD_ONLY },
	/* What follows them is no commands: a message by reference (RFC 4468), binary, TLS, NTLM, the other way round (RFC 2645), replies that nobody asked for. */
	{ "BURL", NOT_HERE },
	{ "XEXCH50", NOT_HERE },
	{ "X-ANONYMOUSTLS", NOT_HERE },
	{ "X-EXPS", NOT_HERE },
	{ "ATRN", NOT_HERE },
	{ "TURN", NOT_HERE },
	{ "VERB", { 502, "5.7.0", "Verbose unavailable" } },
	/* MAIL under other names (RFC 821), which would not be judged. */
	{ "SEND", NOT_HERE },
	{ "SAML", NOT_HERE },
	{ "SOML", NOT_HERE },
};

#define WORDS (sizeof(words) / sizeof(words[0]))

bool watch_words_keeps(const struct command *command, struct command_error *reply)
{
	for (size_t i = 0; i < WORDS; i++)
		if (words[i].reply.code && slice_is_nocase(command->word, words[i].word)) {
			*reply = words[i].reply;
			return true;
		}
	return false;
}

bool watch_words_resembles(const struct command *command)
{
	static const char *const judged[] = { "MAIL", "RCPT", "DATA", "BDAT" };
	if (command->verb != COMMAND_UNKNOWN || command->word.len < 4)
		return false;
	for (size_t i = 0; i < sizeof(judged) / sizeof(judged[0]); i++)
		if (strncasecmp(command->word.at, judged[i], 4) == 0)
			return true;
	return false;
}

bool watch_words_strikes(struct slice keyword)
{
	for (size_t i = 0; i < WORDS; i++)
		if (slice_is_nocase(keyword, words[i].word))
			return true;
	return false;
}
