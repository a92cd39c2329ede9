/* confrow.h: single values of the configuration: one row of options.def, its parser, its bounds.
 *
 * For conf.c only. Everything that is found wrong is said at once, in one form, and counted; a field is written only when its value is
 * right. Nothing here blocks.
 */
#ifndef TARRY_CORE_CONFROW_H
#define TARRY_CORE_CONFROW_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/conf.h"
#include "core/conffile.h"

struct confrow;

/* Where a value stands: a file and line, or "-o name=value" without a line (0). */
struct conf_place {
	const char *file;
	unsigned line;
};

/* A configuration that is being filled. */
struct confrow_load {
	struct conf *conf;
	void *section;  /* the struct conf_listen or conf_backend that is being filled */
	uint64_t given; /* which of its rows have been: a bit each, in the order of the table */
	struct buf *errors, *warnings;
	size_t wrong; /* errors so far: counted, since *errors may be full */
};

/* NULL: no such option in this section, or outside of sections. */
const struct confrow *confrow_find(enum conffile_section section, struct slice name);
/* Whether l->section has got this option. */
bool confrow_given(const struct confrow_load *l, enum conffile_section section, const char *name);
bool confrow_is_list(const struct confrow *row);
/* What stands between its entries where they are given in one text (-o): commas and blanks, or commas alone where an entry has blanks in it. */
const char *confrow_separators(const struct confrow *row);
/* A list takes any number of values, the others exactly one. */
bool confrow_set(struct confrow_load *l, struct conf_place place, const struct confrow *row, const struct conffile_value *values, size_t len);
/* Of the options outside of sections, or of the section that l->section points to. */
void confrow_set_defaults(struct confrow_load *l, enum conffile_section section);
/* "name = value" in the syntax of the file, a line for each row. */
void confrow_show(const struct conf *conf, struct buf *out);
/* "{ name = value … }" with what is not as it is by default. */
void confrow_show_section(enum conffile_section section, const void *fields, struct buf *out);
void confrow_show_text(struct buf *out, const char *text);
void confrow_fini(struct conf *conf);
void confrow_fini_section(enum conffile_section section, void *fields);

void confrow_put_place(struct buf *out, struct conf_place place);
/* "FILE:LINE", or the file alone; from malloc, NULL: no memory. */
char *confrow_place_text(struct conf_place place);
/* PLACE: name = "value": why */
void confrow_wrong(struct confrow_load *l, struct conf_place place, const char *name, const char *value, const char *why);
/* PLACE: why */
void confrow_wrong_bare(struct confrow_load *l, struct conf_place place, const char *why);
bool confrow_no_memory(struct confrow_load *l, struct conf_place place); /* false */

#endif
