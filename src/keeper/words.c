/* The tour, keeper: words, numbers and times. */
#include "keeper/words.h"

#include <string.h>
#include <time.h>

#include "known/ban_table.h"

#define DIGITS 10 /* of a number of 32 bits at most */

struct slice words_next(struct slice *line)
{
	struct slice rest = slice_trim(*line), word = rest;
	word.len = 0;
	while (word.len < rest.len && rest.at[word.len] != ' ' && rest.at[word.len] != '\t')
		word.len++;
	*line = (struct slice){ rest.at + word.len, rest.len - word.len };
	return word;
}

bool words_number(struct slice *line, uint32_t *out)
{
	struct slice word = words_next(line);
	uint64_t n = 0;
	for (size_t i = 0; i < word.len && i < DIGITS; i++) {
		if (word.at[i] < '0' || word.at[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(word.at[i] - '0');
	}
	if (word.len == 0 || word.len > DIGITS || n > UINT32_MAX)
		return false;
	*out = (uint32_t)n;
	return true;
}

void words_put_time(struct buf *out, uint32_t seconds)
{
	char text[32];
	time_t t = (time_t)seconds;
	struct tm tm;
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	buf_put_text(out, text);
}

bool words_take_time(struct slice word, uint32_t *out)
{
	char text[32];
	struct tm tm = { .tm_isdst = 0 };
	if (word.len >= sizeof(text))
		return false;
	memcpy(text, word.at, word.len);
	text[word.len] = '\0';
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	time_t t = end && *end == '\0' ? timegm(&tm) : -1;
	if (t < 0 || t > UINT32_MAX)
		return false;
	*out = (uint32_t)t;
	return true;
}

bool words_is_reason(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] < ' ' || text.at[i] > '~')
			return false;
	return text.len > 0 && text.len < BAN_REASON;
}
