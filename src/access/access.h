/* access.h: what the access database says of a client, a sender or a recipient: which keys to try, in which order, and which one answers.
 *
 * The parent builds a table for each map (access_build: may block, reads files, says what is wrong) as a sealed memory file; each front maps them (access_open)
 * and asks them: no system call, no allocation. Swapping tables is opening the new ones and closing the old. What a value means is
 * access_value.h's.
 */
#ifndef TARRY_GATE_ACCESS_H
#define TARRY_GATE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"
#include "access/access_key.h"
#include "map/map.h"
#include "map/wire.h"

#define ACCESS_PAUSE_MAX_MS 300000 /* Sendmail's ceiling of a pause */
#define ACCESS_MAPS 8              /* maps of one access database at most */
#define ACCESS_NAME_MAX 255        /* bytes of a client's name at most */
#define ACCESS_SEARCHES 16         /* searches that a question to a map elsewhere is made of, */
#define ACCESS_SEARCHES_UNSTAGED 6 /* and where pauses after the greeting are not looked for there */

struct access; /* mapped tables */

/* What the configuration says of how to ask. */
struct access_rules {
	bool skip;       /* the value SKIP ends a search as if nothing had been found */
	bool dot_domain; /* ".example.com" is tried after each name that it is a parent of */
	bool staged;     /* maps elsewhere are asked for HeloPause: and the like, too */
};

/* spec as in the option access_db: "text:/etc/tarry/access". Returns a sealed memfd, or -1 with one line or more in *errors ("FILE:LINE: …"). Warnings (values that Sendmail
 * reads oddly, keys that never match) go to *warnings on success too; *entries counts the keys taken. */
int access_build(const char *spec, struct buf *errors, struct buf *warnings, size_t *entries);
/* The same, and what is odd with this configuration too: SKIP where it is no word. Without (NULL) nothing is said of SKIP. */
int access_build_for(const char *spec, const struct access_rules *rules, struct buf *errors, struct buf *warnings, size_t *entries);
/* makemap's job: a text file (its path) becomes an lmdb or cdb file that access_build() takes, whole or not at all; to: "lmdb:/etc/tarry/access". False: *errors says why, of
 * the text all at once. Who will use it is not known: a SKIP is warned of. */
bool access_write(const char *from, const char *to, struct buf *errors, struct buf *warnings, size_t *entries);
/* What is odd in the entries of a map that is asked elsewhere and can be listed, told as access_build() tells it of a file that others made. file stands before each
 * warning, rules as for access_build_for(); key in lower case. NULL: no memory. access_review_end() says what concerns them all, and frees it. */
struct access_review *access_review_new(const char *file, const struct access_rules *rules, struct buf *warnings);
void access_review_entry(struct access_review *review, struct slice key, struct slice value);
void access_review_end(struct access_review *review);
/* A table without keys, for a file that need not be there. */
int access_build_empty(struct buf *errors);
/* Which file the table came from, to watch for changes, until the next call; NULL if spec has none. */
const char *access_file(const char *spec);
/* A map that may block, and so is asked by the program tarry-lookup: hash:, redis:, ldap: and the like. */
bool access_is_elsewhere(const char *spec);

/* Takes the descriptors (and closes them, also on failure); -1 stands for a map that is elsewhere. NULL: not a table, or no memory. access_close(NULL) is fine. */
struct access *access_open(const int fds[], size_t len, const struct access_rules *rules);
/* Takes the descriptor in place of a table's; false: it is none, and the old one stays. */
bool access_replace(struct access *access, unsigned map, int fd);
void access_close(struct access *access);

/* Maps that are elsewhere are asked beforehand, for all that may be wanted of a client, a sender or a recipient at once: a plan is what to ask of each of them, an answer
 * what they said. */

enum access_wanted { ACCESS_GREETPAUSE_NAME, ACCESS_GREETPAUSE_ADDRESS, ACCESS_CONNECT_NAME, ACCESS_CONNECT_ADDRESS, ACCESS_RATE, ACCESS_CONNS,
	ACCESS_HELOPAUSE_NAME, ACCESS_HELOPAUSE_ADDRESS, ACCESS_MAILPAUSE_NAME, ACCESS_MAILPAUSE_ADDRESS, ACCESS_RCPTPAUSE_NAME, ACCESS_RCPTPAUSE_ADDRESS,
	ACCESS_DATAPAUSE_NAME, ACCESS_DATAPAUSE_ADDRESS, ACCESS_EOMPAUSE_NAME, ACCESS_EOMPAUSE_ADDRESS };
enum access_wanted_user { ACCESS_WANT_FROM, ACCESS_WANT_TO, ACCESS_WANT_SPAM };

struct access_plan_key {
	uint32_t rank;
	uint8_t tag, bits;
};
struct access_plan {
	struct wire_question question; /* its keys point into text */
	struct access_plan_key keys[WIRE_KEYS];
	struct buf text;
	char memory[WIRE_QUESTION_MAX];
};

struct access_answers {
	struct {
		enum wire_result result;
		uint32_t rank;
		uint16_t key; /* its place among the keys of its search */
		uint8_t tag, bits;
		struct buf value;
	} of[ACCESS_MAPS][ACCESS_SEARCHES];
};

/* Who is asked about. */
struct access_client {
	struct addr addr;
	struct slice name; /* in lower case; len 0: it has none, and to Sendmail its name is its address in brackets */
	const struct access_answers *answers; /* of the maps that are elsewhere; NULL: there are none */
};

struct access_hit {
	bool found;
	uint8_t failed;         /* maps that might have had the key and could not be asked: a bit for each, the first is 1 */
	unsigned map;           /* which one answered: its place in the configuration */
	enum access_tag tag;    /* of the key; ACCESS_UNTAGGED too where that was asked for */
	unsigned bits;          /* of a key that is an address or a network; 0 for any other */
	struct map_value value; /* its line is of the map's source, 0 if that has none */
};

/* Whether any key of the tag is a name, so that a client's name is worth asking for. */
bool access_wants_name(const struct access *access, enum access_tag tag);
/* Whether any key of the tag can be a sender's or recipient's: a user or a domain. */
bool access_has_users(const struct access *access, enum access_tag tag);

/* The client's name and its parent domains (or its address in brackets, and that shortened), then address and prefixes, networks among them, the longest first, then
 * the bare tag where it means something (all but Connect:). Connect: means keys without a tag too, at each step behind its own (SENDMAIL.md 8, 11). */
struct access_hit access_find_client(const struct access *access, enum access_tag tag, const struct access_client *client);

/* A sender or recipient. */
struct access_user {
	struct slice local, domain; /* as they were written, unquoted; the domain may be empty */
	bool ours;                  /* the domain is one that the mail server behind takes mail for */
	const struct access_answers *answers; /* as in access_client, by enum access_wanted_user */
};
/* From:, and keys without a tag: user+detail@domain, user@domain, user@, domain and its parents. To: and Spam: user+detail@domain, user+*@domain, user@domain, domain and its
 * parents, and for our domains user+detail@, user+*@, user@. */
struct access_hit access_find_user(const struct access *access, enum access_tag tag, const struct access_user *user);

/* Whether any map is elsewhere, and which is the next one from `map` on; ACCESS_MAPS: none. */
unsigned access_next_elsewhere(const struct access *access, unsigned map);
/* The keys of all searches that a client, or with user a sender and recipient, may need. confirmed: the name for Connect:. False: they do not fit into a question. */
bool access_plan_client(const struct access *access, struct access_plan *plan, const struct access_client *client, struct slice confirmed);
bool access_plan_users(const struct access *access, struct access_plan *plan, const struct access_user *sender, const struct access_user *recipient);
/* What a map said; answer NULL: it could not be asked. The values are copied. False: no memory for one of them, and that search has failed. */
bool access_take_answer(struct access_answers *answers, unsigned map, const struct access_plan *plan, const struct wire_answer *answer);
void access_answers_fini(struct access_answers *answers);

/* For `tarry access why`: told of each key that is asked for, in order; value NULL: that map does not have it. */
struct access_trace {
	void (*key)(void *context, unsigned map, struct slice key, const struct map_value *value);
	void (*failed)(void *context, unsigned map); /* a map elsewhere could not be asked */
	void *context;
};
/* From now on, one key at a time; NULL: no more. trace must outlive it. */
void access_set_trace(struct access *access, const struct access_trace *trace);
/* The one that is told now. */
const struct access_trace *access_get_trace(const struct access *access);
/* The value of one key, written as in a file ("GreetPause:10.1"), in one map. False: that map does not have it, or is elsewhere. */
bool access_get(const struct access *access, unsigned map, struct slice key, struct map_value *out);
/* The same as a question to a map that is elsewhere: one search for the spellings that such a map may have of it. False: no key can be so long. */
bool access_plan_get(struct access_plan *plan, struct slice key);

/* Every entry of one map that is here, in no order, until take() says false; its key as it is written in a file. False then, and for a map that is elsewhere. */
typedef bool access_take(void *context, struct slice key, const struct map_value *value);
bool access_each(const struct access *access, unsigned map, access_take *take, void *context);

struct access_answer {
	int64_t pause_ms;  /* 0..ACCESS_PAUSE_MAX_MS */
	bool found;        /* false: no key matched, pause_ms is the default given */
	uint32_t line;     /* of the file, when found */
};
/* GreetPause:, or another tag of its form, for this client, else default_ms. */
struct access_answer access_pause(const struct access *access, enum access_tag tag, const struct access_client *client, int64_t default_ms);
/* ClientRate: or ClientConn: for this client; 0: no limit. *bits: the length of the key that answered. */
uint32_t access_limit(const struct access *access, enum access_tag tag, const struct access_client *client, unsigned *bits);

#endif
