/* The tour, smtp: other protocols. A web page can make a browser send lines of its choice to a mail server, and an open proxy can be told to: both begin with a
 * request of HTTP, and a server that takes that for a bad command goes on to take the mail. */
#include "smtp/foreign.h"

#include <string.h>
#include <strings.h>

#include "smtp/talk.h"

#define ADDR_AND_NAME (COMMAND_DOMAIN + ADDR_TEXT + 32) /* bytes of a client as replies call it */

static const char http[] = "http", tls[] = "tls", proxy[] = "proxy", ssh[] = "ssh", command_word[] = "command", nonletter[] = "nonletter";

const char *foreign_opening(struct slice bytes)
{
	switch (talk_kind(bytes)) {
	case TALK_HTTP:
		return http;
	case TALK_TLS:
		return tls;
	case TALK_PROXY:
		return proxy;
	case TALK_SSH:
		return ssh;
	default:
		return NULL;
	}
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static struct slice next_word(const char **words)
{
	*words += strspn(*words, " ");
	struct slice word = { *words, strcspn(*words, " ") };
	*words += word.len;
	return word;
}

const char *foreign_command(const char *words, struct slice line, const struct command *c, bool first)
{
	const char *opening = first && words[0] ? foreign_opening(line) : NULL;
	if (opening)
		return opening;
	for (struct slice word = next_word(&words); word.len > 0; word = next_word(&words)) {
		if (slice_is(word, nonletter)) {
			if (line.len > 0 && !is_letter(line.at[0]) && line.at[0] != ' ' && line.at[0] != '\t')
				return nonletter;
			continue;
		}
		if (word.len == c->word.len && strncasecmp(word.at, c->word.at, word.len) == 0)
			return slice_is_nocase(word, "PROXY") ? proxy : command_word;
	}
	return NULL;
}

bool foreign_put_reply(struct buf *out, const char *host, const char *foreign, const struct reply_client *client)
{
	static const struct {
		const char *foreign, *text;
		bool named; /* the client is, behind it */
	} texts[] = {
		{ tls, "This port speaks SMTP in clear: TLS begins with STARTTLS", false },
		{ ssh, "This port speaks SMTP, not SSH", false },
		{ proxy, "No PROXY header is taken from", true },
		{ nonletter, "Not a command, closing connection", false },
	};
	char memory[ADDR_AND_NAME];
	struct buf who;
	buf_init_fixed(&who, memory, sizeof(memory));
	reply_client(&who, client);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(foreign, texts[i].foreign) == 0)
			return reply_put(out, 421, "4.7.0", "%s %s%s%s", host, texts[i].text, texts[i].named ? " " : "", texts[i].named ? buf_text(&who) : "");
	return reply_put(out, 421, "4.7.0", "%s Rejecting open proxy %s", host, buf_text(&who));
}
