/* The tour, core: the command line of the programs that the parent starts, value by value. */
#include "core/arguments.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "core/buf.h"
#include "core/conf.h"

/* *at is behind it afterwards. */
static bool digits(const char **at, int64_t most, int64_t *out)
{
	const char *begin = *at;
	int64_t n = 0;
	for (; **at >= '0' && **at <= '9'; (*at)++) {
		int digit = **at - '0';
		if (n > (most - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	return *at > begin && n <= most;
}

bool arguments_number(const char *text, int64_t most, int64_t *out)
{
	int64_t n;
	if (!digits(&text, most, &n) || *text)
		return false;
	*out = n;
	return true;
}

bool arguments_int(const char *text, int *out)
{
	int64_t n;
	if (!arguments_number(text, INT32_MAX, &n))
		return false;
	*out = (int)n;
	return true;
}

bool arguments_ints(const char *text, int *out, unsigned room, unsigned *len)
{
	int64_t n;
	*len = 0;
	while (*len < room && digits(&text, INT32_MAX, &n)) {
		out[(*len)++] = (int)n;
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
	return false;
}

bool arguments_word(const char *option, const char *text, int *out)
{
	const char *const *words = conf_words(option);
	for (int i = 0; words && words[i]; i++)
		if (strcmp(words[i], text) == 0) {
			*out = i;
			return true;
		}
	return false;
}

int arguments_read(int argc, char **argv, const struct option *longs, const char *usage, bool (*take)(int option, const char *text, void *to), void *to)
{
	int c;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0 ? EX_IOERR : -1;
		if (c != '?' && take(c, optarg, to))
			continue;
		if (c != '?')
			fprintf(stderr, "%s: \"%s\" is not understood\n", program_invocation_short_name, optarg ? optarg : argv[optind - 1]);
		fputs(usage, stderr);
		return EX_USAGE;
	}
	return EX_OK;
}

int arguments_misused(const char *command, const char *value, const char *what)
{
	char memory[1024];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_put_escaped(&text, value, strlen(value), 200);
	fprintf(stderr, "tarry: %s: \"%s\": %s; see tarry %s -h\n", command, buf_text(&text), what, command);
	return EX_USAGE;
}
