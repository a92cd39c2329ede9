/* conf.h: the configuration as one plain struct, made from options.def.
 *
 * conf_load() reads files (it may block; the parent and the tools call it, never a front) and either fills the whole struct or says
 * what is wrong, one line each: "FILE:LINE: what was found; what was expected". conf_fini() frees it, also a half-built one.
 */
#ifndef TARRY_CORE_CONF_H
#define TARRY_CORE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"

struct conf_list {
	char **at;
	size_t len;
};

#define CONF_FIELD_TEXT(name) char *name;
#define CONF_FIELD_WORD(name) int name;
#define CONF_FIELD_INT(name) int64_t name;
#define CONF_FIELD_SIZE(name) int64_t name;
#define CONF_FIELD_DURATION(name) int64_t name; /* nanoseconds */
#define CONF_FIELD_PERCENT(name) int64_t name; /* millionths of the whole */
#define CONF_FIELD_BOOL(name) bool name;
#define CONF_FIELD_LIST(name) struct conf_list name;

/* The rows of sections.def as fields, by section. */
#define CONF_LISTEN_LISTEN(field) field
#define CONF_LISTEN_BACKEND(field)
#define CONF_BACKEND_LISTEN(field)
#define CONF_BACKEND_BACKEND(field) field

/* The addresses and networks of a list. */
struct conf_prefixes {
	struct prefix *at;
	size_t len;
};

/* listen "ADDRESS:PORT" { } */
struct conf_listen {
#define SECTION_OPTION(section, name, type, initial, least, most, sentence) CONF_LISTEN_##section(CONF_FIELD_##type(name))
#include "sections.def"
#undef SECTION_OPTION
	struct addr at;
	struct conf_prefixes trusted, probers; /* trust and health, read */
	char *where; /* where it stands: "FILE:LINE", "-o listen=…" or "default" */
};

enum conf_backend_kind { CONF_BACKEND_MAIL, CONF_BACKEND_TCP, CONF_BACKEND_UNIX, CONF_BACKEND_EXEC };
#define CONF_EXEC_MAX 100     /* sessions of a program at the same time, where max does not say otherwise */
#define CONF_EXEC_MOST 10000  /* and what it may say at most */
/* In the order of the words of the option access_missing. */
enum conf_missing { CONF_MISSING_TEMPFAIL, CONF_MISSING_IGNORE };
/* In the order of the words of a backend's proxy. */
enum conf_proxy { CONF_PROXY_NO, CONF_PROXY_V1, CONF_PROXY_V2 };

/* In the order of the words of tls, a listener's or a backend's. */
enum conf_tls { CONF_TLS_NO, CONF_TLS_STARTTLS, CONF_TLS_IMPLICIT };

/* backend "NAME" { address = "mail:" | "smtp:HOST:PORT" | "smtp:unix:PATH"   … } or { exec = { "/PROGRAM", "ARGUMENT", … } … } */
struct conf_backend {
#define SECTION_OPTION(section, name, type, initial, least, most, sentence) CONF_BACKEND_##section(CONF_FIELD_##type(name))
#include "sections.def"
#undef SECTION_OPTION
	char *name;
	enum conf_backend_kind kind;
	struct addr at;        /* CONF_BACKEND_TCP */
	char *path;            /* CONF_BACKEND_UNIX */
	char *where;           /* where its section stands, as in conf_listen */
};

struct conf {
#define OPTION(name, type, initial, least, most, sentence) CONF_FIELD_##type(name)
#include "options.def"
#undef OPTION
	char **wheres; /* of each row: see conf_where() */
	struct conf_listen *listens; /* at least one */
	size_t listens_len;
	struct conf_backend *backends; /* at least one, with names of their own */
	size_t backends_len;
};

#define CONF_LISTENS 64                           /* listeners at most */
#define CONF_BACKENDS 64                          /* backends at most */
#define CONF_OVERRIDES 64                         /* -o on one command line at most */
#define CONF_DEFAULT_PATH "/etc/tarry/tarry.conf" /* read when no -c is given and it exists */

/* A "name=value" of -o. Sections have a short form too, in place of those of the file: listen=ADDRESS:PORT[,…] and
 * backend=ADDRESS[,PROXY]. */
struct conf_override {
	const char *text;
};

/* The file to read without -c: CONF_DEFAULT_PATH, or NULL if there is none. */
const char *conf_default_path(void);

/* path NULL: no file, all defaults. Overrides come after the file. On success *out is filled, hostname and the lists that have a computed
 * default are set, names of backends are resolved. False: *errors has one line or more (each ends in '\n') and *out is empty.
 * Warnings ("cut to 300 s") go to *warnings in the same form, on success too. */
bool conf_load(struct conf *out, const char *path, const struct conf_override *overrides, size_t overrides_len, struct buf *errors, struct buf *warnings);
/* The same from a text that was made of another file, whose name stands in its place: the lines are the text's. */
bool conf_load_text(struct conf *out, const char *name, struct slice text, const struct conf_override *overrides, size_t overrides_len, struct buf *errors,
                    struct buf *warnings);
void conf_fini(struct conf *conf);

/* The first backend with transparent = yes; NULL: none has. */
const struct conf_backend *conf_transparent(const struct conf *conf);
/* The first backend that TLS is spoken to; NULL: there is none. */
const struct conf_backend *conf_tls_backend(const struct conf *conf);
/* The backend that is the mail server inside; NULL: none is. */
const struct conf_backend *conf_mail(const struct conf *conf);
/* Whether the address is one of them, or in one of them. */
bool conf_has(const struct conf_prefixes *prefixes, const struct addr *address);
/* The address of a backend, or the path of its program: for people. */
const char *conf_backend_at(const struct conf_backend *backend);
/* Whether clients are handed to a program (exec). */
bool conf_hands_over(const struct conf *conf);

/* Where an option was set: "FILE:LINE", "-o name=value", or "default". For errors that show only when a value is used. */
const char *conf_where(const struct conf *conf, const char *option);

/* Everything in force, in the syntax of the file: reading it again gives the same configuration; for `tarry check -v`. */
void conf_show(const struct conf *conf, struct buf *out);

enum conf_mode { CONF_ENFORCE, CONF_OBSERVE };

/* The words of the WORD options, in the order of their enums (mode: enum conf_mode; log: enum log_target; log_level: enum log_level; delay_checks: enum rules_delay; ratecontrol, conncontrol: enum rules_control; early_…: enum stage_reaction from its second on). NULL ends. */
const char *const *conf_words(const char *option);

/* "1500" (milliseconds), "1500ms", "1.5s", "5m", "1h", "1d" to nanoseconds; false if it is none of these. Used by tools too. */
bool conf_duration(struct slice text, int64_t *out);
/* "100", "64K", "10M", "1G" (powers of 1024) to bytes. */
bool conf_size(struct slice text, int64_t *out);
/* The other way round, in the largest unit that loses nothing: "1500ms", "300s", "15m"; "50M". */
void conf_put_duration(struct buf *out, int64_t ns);
void conf_put_size(struct buf *out, int64_t bytes);
/* "1%", "0.25%", "1": millionths. */
bool conf_percent(struct slice text, int64_t *out);
void conf_put_percent(struct buf *out, int64_t millionths);

#endif
