/* The tour, keeper: which domains are nobody's. */
#include "keeper/suffixes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RULE_MAX 260

static int in_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A rule is the first word of a line; "//" begins a remark. */
bool suffixes_take(struct suffixes *s, struct slice text)
{
	size_t lines = 1;
	for (size_t i = 0; i < text.len; i++)
		lines += text.at[i] == '\n' || text.at[i] == '\r';
	s->text = malloc(text.len + 1);
	s->rules = malloc(lines * sizeof(*s->rules));
	s->len = 0;
	if (!s->text || !s->rules) {
		suffixes_free(s);
		return false;
	}
	if (text.len > 0)
		memcpy(s->text, text.at, text.len);
	s->text[text.len] = '\0';
	char *rest = NULL;
	for (char *line = strtok_r(s->text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
		line += strspn(line, " \t");
		line[strcspn(line, " \t")] = '\0';
		if (line[0] && strncmp(line, "//", 2) != 0)
			s->rules[s->len++] = line;
	}
	qsort(s->rules, s->len, sizeof(*s->rules), in_order);
	return true;
}

void suffixes_read(struct suffixes *s, const char *path)
{
	struct stat st;
	*s = (struct suffixes){ .text = NULL };
	int fd = path[0] ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	char *text = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= (off_t)SUFFIXES_BYTES ? malloc((size_t)st.st_size) : NULL;
	ssize_t n = text ? read(fd, text, (size_t)st.st_size) : 0;
	if (n > 0)
		suffixes_take(s, (struct slice){ text, (size_t)n });
	free(text);
	close(fd);
}

void suffixes_free(struct suffixes *s)
{
	free(s->text);
	free(s->rules);
	*s = (struct suffixes){ .text = NULL };
}

static bool has_rule(const struct suffixes *s, const char *rule)
{
	return s->len > 0 && bsearch(&rule, s->rules, s->len, sizeof(*s->rules), in_order);
}

bool suffixes_has(const struct suffixes *s, struct slice domain)
{
	char rule[RULE_MAX];
	if (domain.len + 3 > sizeof(rule))
		return false;
	rule[0] = '!';
	memcpy(rule + 1, domain.at, domain.len);
	rule[1 + domain.len] = '\0';
	if (has_rule(s, rule))
		return false; /* an exception to a '*' */
	if (has_rule(s, rule + 1))
		return true;
	char *dot = strchr(rule + 1, '.');
	if (!dot)
		return false;
	dot[-1] = '*';
	return has_rule(s, dot - 1);
}
