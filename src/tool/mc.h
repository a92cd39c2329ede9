/* mc.h: the parts of `tarry mc`: what a sendmail.mc says about the greeting, as a tarry.conf.
 *
 *   mc.c        the command line, and mc_convert() for `tarry serve -c site.mc`
 *   mc_run.c    m4 as a child process with limits, fed dist/m4/tarry.m4 and the user's file; which files may be included
 *   mc_read.c   m4's output -> facts: slices of that output, nothing is copied
 *   mc_map.c    the map of FEATURE(`access_db') -> the option access_db
 *   mc_write.c  facts -> the text of a tarry.conf
 *
 * Whatever the file says, the text is a readable tarry.conf: numbers are parsed, words are ours, every other value is checked and quoted, and what is named
 * in a comment is escaped. All of it may block (m4 has MC_WALL_SECONDS); none of it is used by a front.
 */
#ifndef TARRY_TOOL_MC_H
#define TARRY_TOOL_MC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

#define MC_FILE_BYTES (1024 * 1024)       /* of a sendmail.mc, and of each file it includes */
#define MC_FILES 64                       /* files it may include, each any number of times up to 256 in all */
#define MC_OUTPUT_BYTES (4 * 1024 * 1024) /* what m4 may print, on each of its two streams; also the text of a tarry.conf */
#define MC_CPU_SECONDS 10
#define MC_WALL_SECONDS 20
#define MC_MEMORY (128 * 1024 * 1024)     /* address space of m4 */
#define MC_DAEMONS 63                     /* DAEMON_OPTIONS that are looked at: with the default MSA as many as tarry.conf has listeners */
#define MC_RULES 128                      /* rules of SLocal_greet_pause */
#define MC_DOMAINS 200                    /* LOCAL_DOMAINs that are looked at; tarry.conf takes them all */
#define MC_SKIPS 512                      /* different things that are named as skipped */

/* mc.c */

/* The sendmail.mc at path as the text of a tarry.conf. False: *errors has a line or more ("FILE:LINE: …\n"), *conf_text is as it was. *warnings gets what
 * Sendmail's own macros would say (one line each) and what else deserves a word, on success too. */
bool mc_convert(const char *path, struct buf *conf_text, struct buf *errors, struct buf *warnings);
/* Is this a sendmail.mc by its name? */
bool mc_is_mc(const char *path);

/* dist/m4/tarry.m4, line by line; NULL behind the last. Made when the program is built. */
extern const char *const mc_macros[];

/* mc_run.c */

struct mc_said {
	struct buf *errors;   /* lines */
	struct buf *warnings;
	bool bytes;           /* warnings: Sendmail's messages byte for byte, without a line end where it prints none, ours begin with "tarry: "; else plain lines */
};
/* Runs m4 over the file; what it printed is in *out. EX_OK, or the exit code that tells what went wrong, with a line or more in said->errors. */
int mc_run(const char *path, struct buf *out, const struct mc_said *said);
/* Before a line of our own to one of the two. */
void mc_begin_line(const struct mc_said *said, struct buf *to);

/* mc_read.c */

enum mc_delay { MC_DELAY_OFF, MC_DELAY_ON, MC_DELAY_FRIEND, MC_DELAY_HATER };

struct mc_control {
	bool on, nodelay, terminate;
};

/* A rule of SLocal_greet_pause: a line of it, and what it means; key empty: not a form that is known. */
struct mc_rule {
	struct slice line, key;
	int64_t ms;
};

struct mc_facts {
	bool has_pause, has_keys;             /* greet_pause is there; the access database is asked for it */
	struct slice pause;                   /* its argument, as written */
	bool has_access, access_ldap;         /* access_db is there; with Sendmail's own LDAP schema */
	struct slice access;                  /* the map, "hash -o -T<TMPF> /etc/mail/access"; LDAP: the name of the cluster */
	struct slice ldap_spec;               /* confLDAP_DEFAULT_SPEC */
	bool access_skip, lookup_dot_domain, no_default_msa;
	enum mc_delay delay_checks;
	struct mc_control ratecontrol, conncontrol;
	struct slice hostname, smtp_login_msg, reject_msg, rate_window, max_children, to_command, bad_rcpts; /* len 0: not said */
	struct slice daemons[MC_DAEMONS];
	size_t daemons_len;
	struct slice domains[MC_DOMAINS];     /* arguments of LOCAL_DOMAIN: a domain, or several between blanks */
	size_t domains_len;
	struct mc_rule rules[MC_RULES];
	size_t rules_len;
	struct slice skips[MC_SKIPS];         /* in the order of their first appearance */
	size_t skips_len;
	bool too_many;                        /* one of the ceilings was reached: what came after it is not there */
	struct slice text;                    /* the first line of sendmail.cf text that has no meaning here */
	size_t text_lines;                    /* how many there are */
};

/* output has to outlive *facts. False: m4 did not come to the file's end. The struct is large: keep it on the heap. */
bool mc_read(struct slice output, struct mc_facts *facts);
/* The next frame of m4's streams (see dist/m4/tarry.m4), and what stood before it; false: none is left, and *before is the rest. */
struct mc_frame {
	struct slice before, kind, text;
};
bool mc_read_frame(struct slice *rest, struct mc_frame *frame);
/* The digits that text begins with, as a number, at most `most`; false: it does not begin with one. Sendmail reads so: the first word counts. */
bool mc_read_number(struct slice text, int64_t most, int64_t *out);

/* mc_map.c */

struct mc_map {
	bool optional;      /* -o */
	struct buf *spec;   /* what access_db gets; empty: nothing that Tarry has */
	struct buf *note;   /* why not, or what has to be looked at; without a line end */
};

/* Reads facts->access; spec and note are the caller's. */
void mc_map(const struct mc_facts *facts, struct mc_map *map);

/* mc_write.c */

/* path: the sendmail.mc, for a comment. False: more than MC_OUTPUT_BYTES, or no memory. */
bool mc_write(const struct mc_facts *facts, const char *path, struct buf *out);
/* What is odd in them, and does not show in the text. */
void mc_write_warnings(const struct mc_facts *facts, const char *path, const struct mc_said *said);
/* A value as a string of tarry.conf; false, and nothing written, when it has bytes that no such string can have. */
bool mc_write_string(struct buf *out, struct slice text);
/* "30s", "5m", "1h30m", "10" (of unit) in milliseconds, as Sendmail reads a time; false if it is none. */
bool mc_write_time(struct slice text, char unit, int64_t *ms);

#endif
