/* Fuzz target: the first bytes of an early talker. A kind, always the same, and one that the bytes bear out. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "smtp/command.h"
#include "smtp/foreign.h"
#include "smtp/talk.h"
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A control character that text does not have, among the bytes that are looked at. */
static int has_control(struct slice s)
{
	for (size_t i = 0; i < s.len && i < 256; i++) {
		unsigned char c = (unsigned char)s.at[i];
		if ((c < 0x20 && c != '\r' && c != '\n' && c != '\t') || c == 0x7f)
			return 1;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s = { (const char *)data, size };
	enum talk_kind kind = talk_kind(s);
	const char *lf = size > 0 ? memchr(s.at, '\n', size) : NULL;
	struct slice line = { s.at, lf ? (size_t)(lf - s.at) : size };
	check(kind == talk_kind(s));
	check(strlen(talk_kind_name(kind)) > 0);
	check(size > 0 || kind == TALK_TEXT);
	/* What opens another protocol is what the kinds say; and a client that is told to go has a whole line for it. */
	const char *foreign = foreign_opening(s);
	check((foreign != NULL) == (kind == TALK_TLS || kind == TALK_HTTP || kind == TALK_PROXY || kind == TALK_SSH));
	struct command c = command_parse(line);
	const char *forbidden = foreign_command("CONNECT GET nonletter", line, &c, size % 2);
	if (forbidden) {
		char memory[512];
		struct buf out;
		buf_init_fixed(&out, memory, sizeof(memory));
		check(foreign_put_reply(&out, "mail.example.org", forbidden, &(struct reply_client){ .addr = NULL }));
		check(out.len > 16 && memcmp(out.at, "421 4.7.0 ", 10) == 0 && memcmp(out.at + out.len - 2, "\r\n", 2) == 0);
	}
	switch (kind) {
	case TALK_SMTP:
	case TALK_SESSION:
		check(command_parse(line).verb != COMMAND_UNKNOWN);
		check((kind == TALK_SESSION) == (lf && (size_t)(lf - s.at) + 1 < size));
		break;
	case TALK_TLS:
		check(s.at[0] == 0x16);
		break;
	case TALK_PROXY:
		check(s.at[0] == 'P' || s.at[0] == '\r');
		break;
	case TALK_SSH:
		check(memcmp(s.at, "SSH-", 4) == 0);
		break;
	case TALK_HTTP:
		check(strchr("gphcodtGPHCODT", s.at[0]) != NULL);
		break;
	case TALK_TEXT:
		check(!has_control(s));
		break;
	case TALK_BINARY:
		check(has_control(s));
		break;
	case TALK_KINDS:
		check(false);
	}
	return 0;
}
