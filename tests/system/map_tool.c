/* Maps for test_maps.py: writes and reads them as the rest of Tarry does, without rules of what keys mean.
 *
 *   map_tool build SRC DEST      from a text file, "lmdb:/path" or "cdb:/path"
 *   map_tool dump SPEC           first "canonical" or "plain" and how many entries, then KEY <tab> VALUE <tab> LINE for each
 *   map_tool get SPEC KEY...     the first of the keys that is there: its number, value and line; else "none" */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map/map.h"

static const struct map_rules none = { .entry = NULL };
static char errors_memory[16384], warnings_memory[16384];
static struct buf errors, warnings;
static struct map_report report = { &errors, &warnings, 0 };

static int said(bool good)
{
	fputs(buf_text(&errors), stderr);
	fputs(buf_text(&warnings), stderr);
	return good ? 0 : 65;
}

static bool print(void *context, struct slice key, const struct map_value *value)
{
	(void)context;
	printf("%.*s\t%.*s\t%u\n", (int)key.len, key.at, (int)value->text.len, value->text.at, value->line);
	return true;
}

static int use(const char *spec, char **words, int len)
{
	struct slice keys[MAP_BATCH];
	struct map_value value;
	int fd = map_build(spec, &none, &report);
	if (fd < 0)
		return said(false);
	struct map *map = map_open(fd);
	if (!map)
		return 70;
	if (len == 0) {
		printf("%s %zu\n", map_canonical(map) ? "canonical" : "plain", map_entries(map));
		map_each(map, print, NULL);
	}
	for (int i = 0; i < len && i < MAP_BATCH; i++)
		keys[i] = slice_of(words[i]);
	int found = len > 0 ? map_first(map, keys, (size_t)len, &value) : -1;
	if (found >= 0)
		printf("%d\t%.*s\t%u\n", found, (int)value.text.len, value.text.at, value.line);
	else if (len > 0)
		puts("none");
	map_close(map);
	return said(true);
}

int main(int argc, char **argv)
{
	buf_init_fixed(&errors, errors_memory, sizeof(errors_memory));
	buf_init_fixed(&warnings, warnings_memory, sizeof(warnings_memory));
	if (argc == 4 && strcmp(argv[1], "build") == 0)
		return said(map_write(argv[2], argv[3], &none, &report));
	if (argc == 3 && strcmp(argv[1], "dump") == 0)
		return use(argv[2], NULL, 0);
	if (argc > 3 && strcmp(argv[1], "get") == 0)
		return use(argv[2], argv + 3, argc - 3);
	fputs("usage: map_tool build SRC DEST | dump SPEC | get SPEC KEY...\n", stderr);
	return 64;
}
