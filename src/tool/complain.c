/* The tour, tool: complaints, in one form for `tarry serve` and `tarry check`. */
#include "tool/complain.h"

#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "gate/access.h"

#define KIND_MAX 5000 /* bytes of what stands before a line at most */

void complain_lines(struct buf *said, const char *kind)
{
	const char *at = said->len > 0 ? said->at : "", *end = at + said->len;
	while (at < end) {
		const char *eol = memchr(at, '\n', (size_t)(end - at));
		size_t len = eol ? (size_t)(eol - at) : (size_t)(end - at);
		fprintf(stderr, "tarry: %s%.*s\n", kind, (int)len, at);
		at += len + 1;
	}
	if (said->full)
		fprintf(stderr, "tarry: %smore than can be shown; begin with these\n", kind);
}

int complain_access(const struct conf *conf, const char *spec, struct buf *errors)
{
	char place[KIND_MAX] = "";
	const char *file = access_file(spec);
	int code = !file ? EX_CONFIG : access(file, R_OK) < 0 ? EX_NOINPUT : EX_DATAERR;
	if (code != EX_DATAERR)
		snprintf(place, sizeof(place), "%s: access_db = \"%s\": ", conf_where(conf, "access_db"), spec);
	complain_lines(errors, place);
	return code;
}
