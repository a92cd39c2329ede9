/* The tour, smtp: what a server said. Three digits and a blank, a hyphen or nothing; whatever else comes first on a line is no SMTP. */
#include "smtp/answer.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool answer_parse(struct slice line, struct answer *out)
{
	if (line.len < 3 || line.at[0] < '2' || line.at[0] > '5' || !is_digit(line.at[1]) || !is_digit(line.at[2]))
		return false;
	if (line.len > 3 && line.at[3] != ' ' && line.at[3] != '-')
		return false;
	size_t skip = line.len > 3 ? 4 : 3;
	out->code = (line.at[0] - '0') * 100 + (line.at[1] - '0') * 10 + (line.at[2] - '0');
	out->more = line.len > 3 && line.at[3] == '-';
	out->text = (struct slice){ line.at + skip, line.len - skip };
	return true;
}

struct slice answer_keyword(const struct answer *answer)
{
	struct slice word = { answer->text.at, 0 };
	while (word.len < answer->text.len && answer->text.at[word.len] != ' ' && answer->text.at[word.len] != '\t')
		word.len++;
	return word;
}
