/* conffile.h: a configuration file as a flat list of what stands in it, with file and line.
 *
 * This is the only place that knows libconfuse. It reads and checks the syntax, knows the names of options and sections, and
 * nothing of what a value means: every value is text (conf.h does the rest). Includes are read here and stand in the list in
 * their place. May block (it reads files). Not reentrant: libconfuse's lexer is one per process.
 */
#ifndef TARRY_CORE_CONFFILE_H
#define TARRY_CORE_CONFFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

#define CONFFILE_BYTES (1024 * 1024) /* of one file at most */
#define CONFFILE_FILES 64            /* files read for one configuration at most */
#define CONFFILE_DEPTH 8             /* includes within includes at most */

enum conffile_kind {
	CONFFILE_VALUE,   /* name = values; a plain option has one, a list any number */
	CONFFILE_SECTION, /* a section has been closed; the values in it came before */
	CONFFILE_INCLUDE, /* within conffile.c only */
};
enum conffile_section { CONFFILE_ROOT, CONFFILE_LISTEN, CONFFILE_BACKEND };

struct conffile_value {
	char *text;
	unsigned line;
};

struct conffile_item {
	enum conffile_kind kind;
	enum conffile_section section;
	char *name;  /* the option; NULL: a section was closed */
	char *title; /* of the section; NULL outside */
	const char *file;
	unsigned line;
	struct conffile_value *values;
	size_t values_len;
};

struct conffile {
	struct conffile_item *items;
	size_t len, cap;
	char *files[CONFFILE_FILES]; /* what the items' file points to */
	size_t files_len;
};

/* Everything in the file at path and in what it includes. False: *errors has one line or more, "FILE:LINE: …\n" (without the
 * line when the file cannot be read). conffile_fini() after either. */
bool conffile_read(struct conffile *f, const char *path, struct buf *errors);
/* The same from a text; name stands for its file. It includes nothing relative. */
bool conffile_read_text(struct conffile *f, const char *name, struct slice text, struct buf *errors);
/* From now on each file is read by a child: what has to go on when memory is used up wants that (confapart.h). */
void conffile_apart(bool set);
void conffile_fini(struct conffile *f);

/* "no such option 'x'; did you mean 'y'?", without place and line end. */
void conffile_unknown(struct buf *out, enum conffile_section section, const char *name);

#endif
