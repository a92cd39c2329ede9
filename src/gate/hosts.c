/* The tour, gate: /etc/hosts. glibc has gethostent() for it, which leaves out all IPv6 lines but that of ::1, and takes that one for 127.0.0.1; so the file is read here. */
#include "gate/hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate/names.h"

#define BLANKS " \t\r\n\f\v"

struct hosts {
	size_t len, cap;
	struct hosts_entry {
		struct addr addr;
		char name[HOSTS_TEXT];
	} *at;
};

bool hosts_come_first(const char *nsswitch)
{
	char line[HOSTS_LINE];
	bool first = true, said = false;
	FILE *f = fopen(nsswitch, "re");
	while (f && !said && fgets(line, sizeof(line), f)) {
		char *rest, *word;
		line[strcspn(line, "#")] = '\0';
		word = strtok_r(line, BLANKS, &rest);
		if (!word || strncmp(word, "hosts:", 6) != 0)
			continue;
		said = true;
		first = false;
		/* "hosts:files dns" may be written without a blank */
		for (word = word[6] ? word + 6 : strtok_r(NULL, BLANKS, &rest); word && !first && strcmp(word, "dns") != 0; word = strtok_r(NULL, BLANKS, &rest))
			first = strcmp(word, "files") == 0 || strcmp(word, "resolve") == 0;
	}
	if (f)
		fclose(f);
	return first;
}

/* False: no more of them. */
static bool add(struct hosts *h, const struct addr *addr, const char *name)
{
	if (*hosts_name(h, addr))
		return true;
	if (h->len == h->cap) {
		size_t cap = h->cap ? 2 * h->cap : 16;
		struct hosts_entry *more = realloc(h->at, cap * sizeof(*more));
		if (!more)
			return false;
		h->at = more;
		h->cap = cap;
	}
	struct hosts_entry *e = &h->at[h->len++];
	e->addr = *addr;
	strcpy(e->name, name);
	return h->len < HOSTS_MAX;
}

static bool take_line(struct hosts *h, char *line)
{
	struct addr addr;
	char *rest;
	line[strcspn(line, "#")] = '\0';
	const char *address = strtok_r(line, BLANKS, &rest), *name = address ? strtok_r(NULL, BLANKS, &rest) : NULL;
	if (!name || !addr_parse(slice_of(address), &addr) || !names_is_valid(slice_of(name)))
		return true;
	return add(h, &addr, name);
}

struct hosts *hosts_read(const char *path)
{
	char line[HOSTS_LINE];
	struct hosts *h = calloc(1, sizeof(*h));
	FILE *f = h ? fopen(path, "re") : NULL;
	bool whole = true, more = true; /* whole: what comes begins a line */
	while (f && more && fgets(line, sizeof(line), f)) {
		bool ends = strchr(line, '\n') != NULL;
		if (whole)
			more = take_line(h, line);
		whole = ends;
	}
	if (f)
		fclose(f);
	if (h && h->len > 0)
		return h;
	hosts_free(h);
	return NULL;
}

const char *hosts_name(const struct hosts *h, const struct addr *addr)
{
	for (size_t i = 0; h && i < h->len; i++)
		if (addr_same_ip(&h->at[i].addr, addr))
			return h->at[i].name;
	return "";
}

void hosts_free(struct hosts *h)
{
	if (h)
		free(h->at);
	free(h);
}
