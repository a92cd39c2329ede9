/* The tour, gate: /etc/hosts. glibc has gethostent() for it, which leaves out all IPv6 lines but that of ::1, and takes that one for 127.0.0.1; so the file is read here. */
#include "gate/hosts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gate/names.h"

#define BLANKS " \t\r\n\f\v"

struct hosts {
	size_t len, cap;
	bool scarce; /* there was no memory for one of them */
	struct hosts_entry {
		struct addr addr;
		bool alias; /* not the first name of that address */
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
	static const uint8_t nowhere[16], nowhere4[16] = { [10] = 0xff, [11] = 0xff };
	bool alias = *hosts_name(h, addr) != '\0';
	/* Lists of names to be kept from, thousands of them. */
	if (alias && (addr_is_loopback(addr) || memcmp(addr->ip, nowhere, 16) == 0 || memcmp(addr->ip, nowhere4, 16) == 0))
		return true;
	if (h->len == h->cap) {
		size_t cap = h->cap ? 2 * h->cap : 16;
		struct hosts_entry *more = realloc(h->at, cap * sizeof(*more));
		h->scarce = !more;
		if (!more)
			return false;
		h->at = more;
		h->cap = cap;
	}
	struct hosts_entry *e = &h->at[h->len++];
	e->addr = *addr;
	e->alias = alias;
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
	bool more = true;
	for (; name && more; name = strtok_r(NULL, BLANKS, &rest))
		more = !names_is_valid(slice_of(name)) || add(h, &addr, name);
	return more;
}

struct hosts *hosts_read(const char *path)
{
	char line[HOSTS_LINE];
	struct hosts *h = calloc(1, sizeof(*h));
	FILE *f = h ? fopen(path, "re") : NULL;
	bool whole = true, more = true; /* whole: what comes begins a line */
	bool scarce = !h || (!f && (errno == ENOMEM || errno == EMFILE || errno == ENFILE));
	while (f && more && fgets(line, sizeof(line), f)) {
		bool ends = strchr(line, '\n') != NULL;
		size_t len = strlen(line);
		while (!ends && !feof(f) && len > 0 && !strchr(BLANKS, line[len - 1])) /* a name that is cut is another one */
			line[--len] = '\0';
		if (whole)
			more = take_line(h, line);
		whole = ends;
	}
	if (f)
		fclose(f);
	scarce = scarce || h->scarce;
	if (!scarce && h->len > 0)
		return h;
	hosts_free(h);
	errno = scarce ? ENOMEM : 0;
	return NULL;
}

const char *hosts_name(const struct hosts *h, const struct addr *addr)
{
	for (size_t i = 0; h && i < h->len; i++)
		if (!h->at[i].alias && addr_same_ip(&h->at[i].addr, addr))
			return h->at[i].name;
	return "";
}

bool hosts_has(const struct hosts *h, const char *name, const struct addr *addr, bool *same)
{
	bool has = false;
	*same = false;
	for (size_t i = 0; h && i < h->len; i++) {
		const struct hosts_entry *e = &h->at[i];
		if (addr_is4(&e->addr) != addr_is4(addr) || strcasecmp(e->name, name) != 0)
			continue;
		has = true;
		*same = *same || addr_same_ip(&e->addr, addr);
	}
	return has;
}

void hosts_free(struct hosts *h)
{
	if (h)
		free(h->at);
	free(h);
}
