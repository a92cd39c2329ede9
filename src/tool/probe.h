/* probe.h: the parts of `tarry probe`, the article's test as a tool.
 *
 *   probe.c         the command line, names to addresses, the order of work
 *   probe_run.c     the two sessions, side by side in one loop; they only measure
 *   probe_hear.c    what a server says -> lines -> replies in a record
 *   probe_reply.c   a line of a server -> a part of a reply
 *   probe_judge.c   what was measured -> a verdict; pure
 *   probe_words.c   the verdict in plain words, and what else an administrator should know
 *   probe_report.c  all of it as text or as one JSON object
 *
 * A record is plain memory of fixed size, so a hostile server costs no more than a friendly one. Times in a record are nanoseconds
 * since the connection stood.
 */
#ifndef TARRY_TOOL_PROBE_H
#define TARRY_TOOL_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/addr.h"
#include "core/buf.h"
#include "core/loop.h"

#define PROBE_PORT 25
#define PROBE_HOST 256                 /* bytes of a host's name at most, its NUL included */
#define PROBE_ADDRS 16                 /* addresses of a host that are tried */
#define PROBE_LINE 2048                /* bytes of a line from the server; RFC 5321 4.5.3.1.5 says 512 */
#define PROBE_LINES 200                /* lines of one reply */
#define PROBE_REPLIES 64               /* replies of one session */
#define PROBE_BYTES (256 * 1024)       /* bytes read in one session */
#define PROBE_TEXT 512                 /* bytes kept of a reply's text */
#define PROBE_JUNK 64                  /* bytes kept of what is not SMTP */
#define PROBE_HELO 256                 /* bytes of a name in HELO, its NUL included */
#define PROBE_ADDRESS 254              /* bytes of a mail address; RFC 5321 4.5.3.1.3 */
#define PROBE_LINGER LOOP_SECOND       /* wait for the server's close after its last reply */
#define PROBE_AFTER (5 * LOOP_SECOND)  /* wait for each further reply once the slammer is refused: the verdict is known */

/* What a reply answers. */
enum probe_step {
	PROBE_STEP_GREETING, PROBE_STEP_EHLO, PROBE_STEP_HELO, PROBE_STEP_MAIL, PROBE_STEP_RCPT, PROBE_STEP_DATA,
	PROBE_STEP_LINE,  /* a line of the message that was taken for a command, because DATA was refused */
	PROBE_STEP_EOM,   /* the dot, or the dot taken for a command */
	PROBE_STEP_RSET, PROBE_STEP_NOOP, PROBE_STEP_QUIT,
	PROBE_STEP_STARTTLS,
	PROBE_STEP_JUNK,  /* a line of what is no command */
	PROBE_STEP_FALSE, /* what looks like the end of a message */
	PROBE_STEP_NONE,  /* nothing that we said */
};

/* Which part of an act (probe_all.h) a reply answers. */
enum probe_phase { PROBE_PHASE_LEAD, PROBE_PHASE_DEED, PROBE_PHASE_AFTER };

struct probe_reply {
	int64_t first_at, at; /* its first line, its last line */
	enum probe_step to;
	enum probe_phase phase;
	int code;             /* of its last line, which is the one that counts: postscreen says "220-" and then "521 " */
	int first_code;       /* of its first line */
	unsigned lines;       /* 0: not begun */
	size_t text_len;
	char text[PROBE_TEXT]; /* the lines without their codes, '\n' between them */
};

/* How a session ended. */
enum probe_end {
	PROBE_END_NONE,     /* never began */
	PROBE_END_CLOSED,   /* by the server */
	PROBE_END_RESET,    /* by the server, over what we had sent or it had */
	PROBE_END_TIMEOUT,  /* the server said nothing for too long */
	PROBE_END_NOT_SMTP, /* it said something else */
	PROBE_END_TOO_MUCH, /* it said too much */
	PROBE_END_OPEN,     /* all was said, and the server kept the connection open; we closed it */
	PROBE_END_ERROR,    /* the system's error */
};

/* What one session measured. */
struct probe_record {
	bool tried;
	bool connected;
	bool late;          /* the slammer was answered before its moment to talk came */
	bool helo_too;      /* patient: EHLO was refused, so HELO was tried */
	int error;          /* -errno of the last connect(), or of the end when it was an error; 0: none */
	int64_t connect_ns; /* how long connect() took */
	int64_t rtt_ns;     /* one round trip, as the kernel measured it when connecting */
	int64_t talk_at;    /* when the first bytes went out; -1: never */
	int64_t end_at;
	enum probe_end end;
	size_t replies_len;
	struct probe_reply replies[PROBE_REPLIES];
	struct probe_reply partial; /* a reply without its last line; lines 0: none */
	size_t junk_len;
	char junk[PROBE_JUNK];
};

/* probe_reply.c */

enum probe_reply_result {
	PROBE_REPLY_MORE,     /* the reply goes on */
	PROBE_REPLY_DONE,
	PROBE_REPLY_BAD,      /* not a line of a reply; the reply is unchanged */
	PROBE_REPLY_TOO_MUCH, /* PROBE_LINES */
};

/* Add a line (without its line end) that came at `at`. RFC 5321 4.2: three digits, then a blank, a hyphen or nothing. */
enum probe_reply_result probe_reply_add(struct probe_reply *reply, struct slice line, int64_t at);
/* Could these bytes, which have no line end yet, become a line of a reply? */
bool probe_reply_possible(struct slice bytes);
/* What speaks so, if it is not SMTP: "an SSH server"; NULL if it is anyone's guess. */
const char *probe_reply_guess(struct slice bytes);
/* One line of the text: the first, which names the server; but the last when it changed the code, for then it says why. */
struct slice probe_reply_text(const struct probe_reply *reply);
/* The last one to that step; NULL: there is none. */
const struct probe_reply *probe_reply_to(const struct probe_record *record, enum probe_step step);
/* "HELO"; the name of a step in reports. */
const char *probe_reply_step(enum probe_step step);

/* probe_hear.c */

struct probe_ear;

/* What a listener does with what it hears. */
struct probe_ear_ops {
	int64_t (*elapsed)(struct probe_ear *ear);                     /* nanoseconds since the connection stood */
	void (*line)(struct probe_ear *ear, struct slice line);        /* each line, before anything else */
	void (*reply)(struct probe_ear *ear, struct probe_reply *reply); /* one is complete, the last of the record; `to` is the listener's to fill in */
	void (*end)(struct probe_ear *ear, enum probe_end how, int error); /* once, unless probe_ear_stop() was called */
};

/* A part of the listener. */
struct probe_ear {
	const struct probe_ear_ops *ops;
	struct probe_record *record;
	size_t bytes; /* read so far */
	bool over;    /* nothing is heard any more */
	struct buf in;
};

void probe_ear_init(struct probe_ear *ear, const struct probe_ear_ops *ops, struct probe_record *record);
void probe_ear_fini(struct probe_ear *ear);
/* Everything that is there now. */
void probe_ear_receive(struct probe_ear *ear, int fd);
/* Nothing more is to be heard; for use in ops, too. */
void probe_ear_stop(struct probe_ear *ear);

/* probe_run.c */

enum probe_role { PROBE_PATIENT, PROBE_SLAMMER, PROBE_ROLES };

/* What to do; all of it the caller's and unchanged while the run lasts. */
struct probe_plan {
	const struct addr *addrs; /* tried in turn; both sessions use the first that answers */
	size_t addrs_len;
	bool roles[PROBE_ROLES];
	int64_t timeout;          /* nanoseconds for connect(), for the whole greeting, and for each reply */
	int64_t early;            /* when the slammer talks, since the connection stood */
	const char *helo;         /* NULL: our own address as a literal */
	const char *from, *to;    /* both, or NULL: no RCPT and no DATA is ever sent */
	FILE *transcript;         /* NULL: none */
};

struct probe_session {
	struct source source;
	struct probe_run *run;
	enum probe_role role;
	int state;                /* probe_run.c */
	size_t address;           /* index of the address being tried */
	int64_t since;            /* when dialling began; later: when the connection stood */
	enum probe_step said;     /* patient: what the next reply answers */
	size_t step;              /* slammer: index in its script */
	struct probe_ear ear;
	struct buf out;
	char helo[PROBE_HELO];
	struct probe_record record;
};

struct probe_run {
	struct loop *loop;
	const struct probe_plan *plan;
	struct addr address;      /* the one that answered, or the last tried */
	struct probe_session sessions[PROBE_ROLES];
};

/* Begins; turns of the loop do the rest until probe_run_done(). The run is large: keep it on the heap. */
void probe_run_init(struct probe_run *run, struct loop *loop, const struct probe_plan *plan);
bool probe_run_done(const struct probe_run *run);
void probe_run_fini(struct probe_run *run);
/* The kernel's own measurement of a handshake, in nanoseconds; 0 when it has none (a SYN was repeated). */
int64_t probe_round_trip(int fd);

/* probe_judge.c */

enum probe_outcome {
	PROBE_UNTRIED,
	PROBE_NO_CONNECT, /* no connection */
	PROBE_SILENT,     /* no answer in time */
	PROBE_DROPPED,    /* closed or reset without an answer */
	PROBE_ALIEN,      /* does not speak SMTP */
	PROBE_BUSY,       /* greeted with 4xx */
	PROBE_REFUSED,    /* 5xx; slammer: also a later command that a patient client had accepted */
	PROBE_AT_ONCE,    /* patient: greeted within the threshold */
	PROBE_HELD,       /* patient: greeted after it */
	PROBE_SERVED,     /* slammer: as good as a patient client */
	PROBE_LATE,       /* slammer: greeted before it talked */
	PROBE_OUTCOMES
};

enum probe_verdict {
	PROBE_HOLDS,       /* and refuses early talk */
	PROBE_NO_PAUSE,
	PROBE_CHECKS_ONLY, /* refuses early talk, greets at once */
	PROBE_HOLDS_ONLY,  /* holds the greeting, does not refuse early talk */
	PROBE_UNREACHABLE,
	PROBE_UNSURE,      /* another try, or another option, may tell */
	PROBE_NOT_SMTP,
	PROBE_UNWELCOME,   /* refuses a patient client too */
	PROBE_VERDICTS
};

/* All that a judgement rests on. */
struct probe_facts {
	const struct probe_record *patient, *slammer;
	int64_t threshold; /* nanoseconds: a greeting sooner than this is no pause */
	int64_t timeout;
	bool deliver;
};

struct probe_judgement {
	enum probe_verdict verdict;
	enum probe_outcome patient, slammer;
	int64_t held;                     /* what the patient client waited for, a round trip taken off; -1: it was not greeted */
	const struct probe_reply *refusal; /* that refused the slammer; NULL: none */
	const struct probe_reply *both;   /* the slammer's reply at a step where the patient client fared no better; NULL: none */
};

struct probe_judgement probe_judge(const struct probe_facts *facts);
/* What two outcomes mean together: every cell. */
enum probe_verdict probe_judge_cell(enum probe_outcome patient, enum probe_outcome slammer);
int probe_judge_exit(enum probe_verdict verdict);
/* "holds", "no-pause", …: for programs. */
const char *probe_judge_word(enum probe_verdict verdict);
const char *probe_judge_outcome(enum probe_outcome outcome);

/* probe_words.c */

/* The verdict as one sentence without a full stop. */
void probe_words(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *judgement);
/* What else there is to say: lines, each ended by '\n'. */
void probe_words_notes(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *judgement);
/* "0.4 ms", "80 ms", "1.00 s". */
void probe_words_time(struct buf *out, int64_t ns);

/* probe_report.c */

struct probe_report {
	const char *host;  /* as asked for */
	uint16_t port;
	struct addr address;
	const struct probe_facts *facts;
	const struct probe_judgement *judgement;
};

void probe_report_text(struct buf *out, const struct probe_report *report);
void probe_report_json(struct buf *out, const struct probe_report *report);
/* "closed", "reset", …: for programs. */
const char *probe_report_end(enum probe_end end);
/* ,"KEY":TEXT and ,"KEY":MILLISECONDS (negative: null), and a reply as an object. */
void probe_report_key_text(struct buf *out, const char *key, const char *text);
void probe_report_key_ms(struct buf *out, const char *key, int64_t ns);
void probe_report_reply(struct buf *out, const struct probe_reply *reply);
/* Bytes as a JSON string with its quotes: what is not valid UTF-8 becomes U+FFFD. */
void probe_report_string(struct buf *out, struct slice bytes);

/* probe.c */

/* "HOST", "HOST:PORT", "[V6]", "[V6]:PORT", "V6". False: none of these. */
bool probe_target(const char *text, char host[PROBE_HOST], uint16_t *port);

#endif
