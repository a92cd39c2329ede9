/* confsection.h: the sections of the configuration, listen and backend: what stands in one, and what it makes of it.
 *
 * For conf.c only. The values of a section come before its end does; confsection_end() takes them all. Nothing here blocks but the look-up of a backend's host.
 */
#ifndef TARRY_CORE_CONFSECTION_H
#define TARRY_CORE_CONFSECTION_H

#include "core/confrow.h"

struct confsection {
	struct confrow_load *to;
	enum conffile_section kind; /* CONFFILE_ROOT: none is being read */
	size_t wrong;               /* errors before it: one with an error of its own is not taken, and no more is said of it */
	struct conf_listen listen;
	struct conf_backend backend;
};

/* A value of the section that is being read; the first begins it. */
void confsection_set(struct confsection *s, struct conf_place place, enum conffile_section kind, const char *name, const struct conffile_value *values, size_t len);
/* The section has ended: it becomes one of the configuration's, or what is wrong with it is said. */
void confsection_end(struct confsection *s, struct conf_place place, enum conffile_section kind, const char *title);
/* Of one that never ended. */
void confsection_fini(struct confsection *s);

void confsection_drop(struct conf *conf, enum conffile_section kind);
/* In the syntax of the file, a line each. */
void confsection_show(const struct conf *conf, struct buf *out);

/* What only all of them together show: a door that would connect to itself, a backend that sees only the door. */
void confsection_check(struct confrow_load *l);

#endif
