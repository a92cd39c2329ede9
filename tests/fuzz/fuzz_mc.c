/* Fuzz target: what m4 printed, read and written as a tarry.conf. Whatever it was, each line of the text must be a comment, a section or one option with
 * values of its syntax: nothing from the input may become a line of its own. */
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "tool/mc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *skip(const char *at, const char *text)
{
	size_t n = strlen(text);
	return at && strncmp(at, text, n) == 0 ? at + n : NULL;
}

static const char *word(const char *at)
{
	const char *begin = at;
	while (isalnum((unsigned char)*at) || *at == '_')
		at++;
	return at > begin ? at : NULL;
}

static const char *string(const char *at)
{
	char quote = *at++;
	check(quote == '"' || quote == '\'');
	for (; *at != quote; at++) {
		check((unsigned char)*at >= ' ' || *at == '\t');
		check(quote == '\'' || strncmp(at, "${", 2) != 0);
		if (*at == '\\') {
			at++;
			check(*at == '\\' || *at == quote);
		}
	}
	return at + 1;
}

static const char *value(const char *at)
{
	if (*at == '{') {
		do
			at = string(at + 2); /* "{ " or ", " */
		while (skip(at, ", "));
		return skip(at, " }");
	}
	return *at == '"' || *at == '\'' ? string(at) : word(at);
}

static void check_line(const char *line)
{
	const char *at = skip(line, "listen ");
	bool section = at != NULL;
	for (const char *p = line; *p; p++)
		check((unsigned char)*p >= ' ' || *p == '\t');
	if (line[0] == '#' || line[0] == '\0')
		return;
	at = at ? skip(string(at), " { }") : skip(word(line), " = ");
	check(at != NULL);
	if (!section)
		at = value(at);
	check(at && *at == '\0');
}

static void check_text(struct buf *out)
{
	check(memchr(out->at, '\0', out->len) == NULL);
	char *at = (char *)(uintptr_t)buf_text(out);
	for (char *eol; (eol = strchr(at, '\n')); at = eol + 1) {
		*eol = '\0';
		check_line(at);
	}
	check(*at == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mc_facts facts;
	struct buf out;
	buf_init(&out, MC_OUTPUT_BYTES);
	bool ended = mc_read((struct slice){ (const char *)data, size }, &facts);
	check(!ended || size > 4);
	if (mc_write(&facts, "site.mc", &out))
		check_text(&out);
	buf_clear(&out);
	mc_write_warnings(&facts, "site.mc", &(struct mc_said){ .warnings = &out, .bytes = true });
	for (size_t i = 0; i < out.len; i++)
		check((unsigned char)out.at[i] >= ' ' || out.at[i] == '\n');
	buf_fini(&out);
	return 0;
}
