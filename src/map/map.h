/* map.h: maps. A map is a table of bytes to bytes, named "scheme:where".
 *
 * Here is what the rest of Tarry sees of them all; one driver each stands in map_text, map_lmdb and map_cdb. map_build() runs in the parent
 * or in a tool: it may block, reads the file, says what is wrong with it, and returns the table as a sealed memory file. Any number of
 * processes map_open() that and share its one copy: nothing can change or shrink under a reader, and a look-up allocates nothing and makes no
 * system call. What the keys mean is not known here: rules give a key another, canonical form, look at the values, and leave a few bytes of
 * their own (meta) in the table. Nothing here logs.
 */
#ifndef TARRY_MAP_MAP_H
#define TARRY_MAP_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

#define MAP_OWN_KEY 64       /* bytes of a key that rules make */
#define MAP_META 2048        /* bytes that rules leave in the table */
#define MAP_BATCH 16         /* keys of one map_first() */
#define MAP_VALUE_MAX 1022   /* bytes of a value; of a longer one in somebody else's file these are used */
#define MAP_PATH_MAX 4096    /* bytes of a map's path */
#define MAP_META_KEY "\0meta" /* in files of ours: the key whose value is meta; no key that rules make may be it */
#define MAP_META_KEY_LEN 5

/* What a key stands for. The bytes belong to the map and live as long as it is open. */
struct map_value {
	struct slice text;
	uint32_t line; /* of the source; 0: not known */
};

/* Notes: what is wrong or odd in a map's source, line by line, up to a ceiling. */

#define MAP_NOTES_SHOWN 20 /* lines at most, then "and N more" */
#define MAP_NOTE_KEY 120   /* bytes of a key or value that a note shows */

/* Errors or warnings of one source, one line each: "FILE:LINE: …\n". */
struct map_notes {
	struct buf *to;
	const char *file;
	size_t shown;
	size_t more; /* counted, not shown */
};

void map_notes_init(struct map_notes *notes, struct buf *to, const char *file);
/* Writes "FILE:LINE: ", or "FILE: " for line 0; the caller adds what is to say to notes->to and ends with map_note_end(). False: above
 * the ceiling, counted, nothing to be written. */
bool map_note_begin(struct map_notes *notes, uint32_t line);
void map_note_end(struct map_notes *notes);
/* Bytes of the source, made printable, at most MAP_NOTE_KEY of them. */
void map_note_bytes(struct map_notes *notes, struct slice bytes);
/* Says how many were not shown. */
void map_notes_finish(struct map_notes *notes);

/* Building. */

struct map_line {
	uint32_t number;
	struct slice written; /* the key as it stands in the file */
	struct slice key;     /* in lower case */
	struct slice value;   /* the rest of the line: trailing blanks, comments and a CR are part of it */
};

struct map_rules {
	/* For each line of a text file with a key and a value, in order. What it writes into *own_key (at most MAP_OWN_KEY bytes) becomes the
	 * key in place of line->key; it must depend on line->key alone and begin with a NUL, which no key of a file does. */
	void (*entry)(void *context, const struct map_line *line, struct buf *own_key, struct map_notes *warnings);
	/* For each entry of a file that others made, which has no lines and keeps its keys as they are. NULL: not asked for. */
	void (*plain)(void *context, struct slice key, struct slice value, struct map_notes *warnings);
	/* After the last entry or plain. Not for a file that map_write() made: that has its meta already. */
	void (*finish)(void *context, uint8_t meta[MAP_META], struct map_notes *warnings);
	void *context;
};

struct map_report {
	struct buf *errors;   /* one line or more when the call fails, "FILE:LINE: …\n" */
	struct buf *warnings; /* may get lines in both cases */
	size_t entries;       /* keys taken; written on success */
};

/* Where a map's file is: "lmdb:/etc/tarry/access" stands for /etc/tarry/access.lmdb if there is such a file, else for /etc/tarry/access; the
 * same with cdb: and .cdb. The path, to be read with buf_text(), replaces what *path has. False, with a line in *why (may be NULL), if spec
 * has another form. */
bool map_path(const char *spec, struct buf *path, struct buf *why);

/* Returns a sealed memory file that map_open() takes, or -1. */
int map_build(const char *spec, const struct map_rules *rules, struct map_report *report);

/* makemap's job: reads a text file as map_build() does, all errors of the file in one run, and makes an lmdb or cdb file of it:
 * "lmdb:/etc/tarry/access" becomes /etc/tarry/access.lmdb, so that the text is never overwritten. The file appears whole or not at all; it keeps
 * the mode and the owner of the one before, or gets mode 0644. */
bool map_write(const char *from, const char *to, const struct map_rules *rules, struct map_report *report);

/* Using. */

struct map;

/* Takes the descriptor (and closes it, also on failure). NULL: not made by map_build(), or no memory. For lmdb: /proc has to be there. */
struct map *map_open(int fd);
void map_close(struct map *map);

/* True: the keys are those that the rules give. False: somebody else's file, whose keys are the text that they wrote. */
bool map_canonical(const struct map *map);
const uint8_t *map_meta(const struct map *map);
size_t map_entries(const struct map *map);
size_t map_size(const struct map *map); /* bytes of memory, shared by all who have it open */

/* The first of len (up to MAP_BATCH) keys that the table has: its index, or -1. All are fetched at once, so that a batch costs little
 * more than one look-up. Not const: a library may note in it where it looked. */
int map_first(struct map *map, const struct slice keys[], size_t len, struct map_value *out);

/* All entries, in any order, until take() says false, and then false. */
typedef bool map_take(void *context, struct slice key, const struct map_value *value);
bool map_each(struct map *map, map_take *take, void *context);

#endif
