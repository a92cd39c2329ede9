/* inetd_sink: the cheapest mail server that inetd could start: SMTP with its standard input and output, takes every message and keeps none. It shows what starting a program
 * costs, because the program itself costs next to nothing. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static void say(const char *line)
{
	size_t len = strlen(line);
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, line, len);
		if (n <= 0)
			_exit(0);
		line += n;
		len -= (size_t)n;
	}
}

static bool begins(const char *line, size_t len, const char *verb)
{
	return len >= strlen(verb) && strncasecmp(line, verb, strlen(verb)) == 0;
}

/* True: what follows is a message. */
static bool answer(const char *line, size_t len)
{
	if (begins(line, len, "DATA")) {
		say("354 go on\r\n");
		return true;
	}
	if (begins(line, len, "QUIT")) {
		say("221 bye\r\n");
		_exit(0);
	}
	say("250 ok\r\n");
	return false;
}

int main(void)
{
	static char in[64 * 1024];
	size_t have = 0;
	bool message = false;
	say("220 sink ESMTP\r\n");
	for (;;) {
		ssize_t n = read(STDIN_FILENO, in + have, sizeof(in) - have);
		if (n <= 0)
			return 0;
		have += (size_t)n;
		char *at = in, *end = in + have, *lf;
		while ((lf = memchr(at, '\n', (size_t)(end - at)))) {
			size_t len = (size_t)(lf - at);
			if (!message) {
				message = answer(at, len);
			} else if (len <= 2 && at[0] == '.') {
				say("250 taken\r\n");
				message = false;
			}
			at = lf + 1;
		}
		have = (size_t)(end - at);
		memmove(in, at, have);
		if (have == sizeof(in))
			return 0; /* a line without an end */
	}
}
