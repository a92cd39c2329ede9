/* Fuzz target: command lines. What is accepted must lie within the line and hold nothing that could end a reply or a header. */
#include <stddef.h>
#include <stdint.h>

#include "smtp/command.h"
#include "smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_slice(struct slice s, struct slice line)
{
	if (s.len == 0)
		return;
	if (s.at < line.at || s.at + s.len > line.at + line.len)
		__builtin_trap();
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.at[i] < 0x20 && s.at[i] != '\t')
			__builtin_trap();
}

static void check_path(const struct command_path *path, struct slice line)
{
	char memory[COMMAND_PATH];
	struct buf out;
	check_slice(path->text, line);
	check_slice(path->local, line);
	check_slice(path->domain, line);
	if (path->text.len > COMMAND_PATH || path->domain.len > COMMAND_DOMAIN || path->null != (path->local.len == 0))
		__builtin_trap();
	buf_init_fixed(&out, memory, sizeof(memory));
	if (!command_unquote(path->local, &out))
		__builtin_trap();
}

static void check_error(const struct command_error *error)
{
	if (error->code < 500 || error->code > 559 || error->enhanced[0] != '5' || !error->text[0])
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice line = { (const char *)data, size };
	struct command c = command_parse(line);
	struct command_mail mail;
	struct command_path to;
	struct command_error error;
	char memory[256];
	struct buf out;
	if (command_parse_mail(c.rest, &mail, &error)) {
		check_path(&mail.from, line);
		if (mail.size < -1 || (mail.from.utf8 && !mail.smtputf8))
			__builtin_trap();
	} else {
		check_error(&error);
	}
	if (command_parse_rcpt(c.rest, &to, &error)) {
		check_path(&to, line);
		if (to.null)
			__builtin_trap();
	} else {
		check_error(&error);
	}
	if (command_parse_helo(&c, &error))
		check_slice(c.rest, line);
	else
		check_error(&error);
	buf_init_fixed(&out, memory, sizeof(memory));
	if (!reply_unrecognized(&out, line))
		__builtin_trap();
	for (size_t i = 0; i + 2 < out.len; i++)
		if (out.at[i] != '\t' && (out.at[i] < 0x20 || out.at[i] == 0x7f))
			__builtin_trap();
	return 0;
}
