/* probe_all.h: the parts of `tarry probe --all`, which acts as each class of client, one connection for each, and says what the server did and when.
 *
 *   probe_all.c     the command line of --all, and the order of work
 *   probe_act.c     the acts: what each says, when, and what it needs; and the bytes of it
 *   probe_play.c    one act on one connection; it only measures
 *   probe_queue.c   which reply answers what
 *   probe_round.c   all of them, a few at a time, and those that met a busy server once more, alone
 *   probe_weigh.c   what was measured -> one word, and what all the words amount to; pure
 *   probe_table.c   the table, for people and as one JSON object
 *   probe_seal.c    TLS, which the program tarry-tls speaks
 *
 * An act has three parts, each a script of letters (probe_act.c has them): the lead, in which it is a good client that waits for each reply; the deed, which is
 * written in one go; and what it says after, patiently again, to see what the server makes of such a client. Replies are told apart by these parts.
 * No act delivers a message unless the plan names a recipient. All memory is of fixed size, whatever the server says.
 */
#ifndef TARRY_TOOL_PROBE_ALL_H
#define TARRY_TOOL_PROBE_ALL_H

#include "tool/probe.h"

#define PROBE_JOBS 4                    /* connections at the same time, unless said otherwise */
#define PROBE_JOBS_MOST 32
#define PROBE_WAIT (5 * LOOP_SECOND)    /* silence after a deed that counts as no answer, unless said otherwise */
#define PROBE_QUIET LOOP_SECOND         /* silence after the answer to what is no command, which may have any number of lines, or none */
#define PROBE_PATIENCE 4                /* times --timeout: an act takes no longer, however slowly it is answered */
#define PROBE_AGAIN (2 * LOOP_SECOND)   /* before those that met a busy server are tried once more */
#define PROBE_GIVE_UP 4                 /* acts without one byte of an answer, after which it is first to be seen whether anybody is there at all */
#define PROBE_PLAYS 80                  /* acts of all ways together */
#define PROBE_TABLE (32 * 1024 * 1024)  /* bytes of a table: all plays at their largest, escaped */
#define PROBE_OUT (16 * 1024)           /* bytes of a deed */

/* How the server is reached; a PROXY header may go in front of each. */
enum probe_way { PROBE_WAY_CLEAR, PROBE_WAY_STARTTLS, PROBE_WAY_TLS, PROBE_WAYS };

/* What a reply belongs to: enum probe_phase in probe.h. */

/* What an act needs. */
enum {
	PROBE_NEEDS_TO = 1,         /* it sends a message */
	PROBE_NEEDS_PIPELINING = 2, /* that the server offers it; the same for the next two */
	PROBE_NEEDS_CHUNKING = 4,
	PROBE_NEEDS_STARTTLS = 8,   /* so it is not for a connection that has TLS already */
	PROBE_NEEDS_GREETING = 16,  /* that a greeting is yet to come: not inside STARTTLS */
};

/* How it is said. */
enum {
	PROBE_LEGAL = 1,        /* a good client may do so */
	PROBE_BARE_LF = 2,      /* its commands end in a bare LF */
	PROBE_MAY_IGNORE = 4,   /* a server that throws the deed away has done what it should */
};

struct probe_act {
	const char *name;  /* "early-tls": for --only and programs */
	const char *title; /* what is sent, in a few words */
	unsigned needs, how;
	const char *lead, *deed, *after;
	const char *deed_to, *after_to; /* in place of these when there is a recipient; NULL: the same */
	struct slice bytes;             /* what is no command, if the deed has it; or the false end of a message */
};

/* probe_act.c */

extern const struct probe_act probe_acts[];
extern const size_t probe_acts_len;
/* The first act: a client that waits for each reply. */
#define PROBE_ACT_PATIENT 0
/* NULL: there is none of that name. */
const struct probe_act *probe_act_find(struct slice name);

/* What is the same for all acts of one run. */
struct probe_words_of {
	const char *helo, *from, *to; /* to NULL: no message is sent, and recipients are postmaster; from may be NULL then */
};
#define PROBE_ACT_LEAD 16 /* bytes of a lead, its NUL included */
/* The lead of an act in that way, in memory: inside STARTTLS a session begins anew, without a greeting (RFC 3207 4.2). */
const char *probe_act_lead(const struct probe_act *act, enum probe_way way, char memory[PROBE_ACT_LEAD]);
/* What a line of an EHLO list offers: of PROBE_NEEDS_…, or 0. */
unsigned probe_act_offer(struct slice line);
/* Why the act cannot be done where that is offered; NULL: it can. */
const char *probe_act_missing(const struct probe_act *act, unsigned offered);
/* The step that a letter of a script stands for; PROBE_STEP_NONE for those that say nothing. */
enum probe_step probe_act_step(char letter);
/* Append what a letter says; false: no room. */
bool probe_act_put(struct buf *out, const struct probe_act *act, char letter, const struct probe_words_of *words);
/* Lines of the message that comes with '.', without the dot: what is answered line by line when DATA was refused. */
unsigned probe_act_message_lines(void);
/* Lines of the act's bytes. */
unsigned probe_act_lines(const struct probe_act *act);
const char *probe_act_way(enum probe_way way);

/* probe_seal.c */

/* The program tarry-tls and our channels to it. */
struct probe_seal {
	pid_t pid; /* 0: not started */
	int orders, parent;
};

/* name: what the server is told it is called; "": nothing. EX_OK, or an exit code after a complaint to stderr. */
int probe_seal_start(struct probe_seal *seal, const char *name);
/* Hands the connection over, which is closed here in any case. Returns our end of a socket pair, or -errno. Its first bytes are struct tlswire_facts. */
int probe_seal_begin(const struct probe_seal *seal, int connection, int64_t timeout);
enum probe_sealed { PROBE_SEALED_NOT_YET, PROBE_SEALED, PROBE_SEALED_FAILED };
/* What came of it, told first on that descriptor: words has the version and cipher, or why there is no TLS. */
enum probe_sealed probe_seal_answer(int fd, char *words, size_t size);
void probe_seal_stop(struct probe_seal *seal);

/* probe_queue.c */

#define PROBE_PENDING 96 /* replies that are awaited at most */

struct probe_expected {
	enum probe_step step;
	enum probe_phase phase;
};

/* What was said and is not answered yet, in that order. */
struct probe_queue {
	struct probe_expected at[PROBE_PENDING];
	size_t len;
};

void probe_queue_put(struct probe_queue *queue, enum probe_step step, enum probe_phase phase);
/* Fills in what the reply answers: what is first in the queue; otherwise: the phase of one that answers nothing. */
void probe_queue_answer(struct probe_queue *queue, struct probe_reply *reply, enum probe_phase otherwise);
void probe_queue_forget_junk(struct probe_queue *queue);
/* Commands of the deed that wait for a reply, QUIT not counted. */
unsigned probe_queue_unanswered(const struct probe_queue *queue);
/* In the end: where more was said than answered, replies were taken for answers to what came before; a last one with 221 is QUIT's. */
void probe_queue_realign(struct probe_queue *queue, struct probe_record *record, const char *deed);

/* probe_play.c */

enum probe_proxy { PROBE_PROXY_NO, PROBE_PROXY_V1, PROBE_PROXY_V2 };

/* What to do; all of it the caller's and unchanged while the run lasts. */
struct probe_all_plan {
	const struct addr *addrs;
	size_t addrs_len;
	const char *host;         /* as it was asked for, for TLS */
	int64_t timeout, early, wait;
	unsigned jobs;
	bool ways[PROBE_WAYS];
	bool starttls_if_offered;
	bool chosen[PROBE_PLAYS]; /* by place in probe_acts */
	const char *helo;         /* NULL: our own address as a literal */
	const char *from, *to;
	enum probe_proxy proxy;
	struct prefix proxy_source, source; /* the clients' addresses; the acts take turns */
	bool has_source;
	FILE *transcript;
};

struct probe_round;

/* One act on one connection. */
struct probe_play {
	struct source source;
	struct probe_round *round;
	const struct probe_act *act;
	enum probe_way way;
	unsigned number;          /* among all plays: chooses the addresses */
	int state;                /* probe_play.c */
	const char *lead, *deed, *after;
	const char *next;         /* in the script that is being said */
	char lead_memory[PROBE_ACT_LEAD];
	int64_t since;            /* when dialling began; later: when the connection stood, or TLS did where it comes first */
	int64_t until;            /* when this act has taken too long */
	struct probe_ear ear;
	struct buf out;
	char helo[PROBE_HELO];
	struct probe_queue queue;
	unsigned offers;          /* of what acts need, as its EHLO list has it now */
	bool in_data;             /* a message has been begun: its end would send it */
	bool handshake_due, facts_due, tls; /* TLS is to begin; is being begun; stands */
	bool injected;            /* it is begun behind the deed, whose answer may come in it */
	size_t address;
	/* What there is to be said of it. */
	const char *left_out;     /* why it was not tried, or not to its end; NULL: it was */
	bool again;               /* it is the second try */
	unsigned unanswered;      /* of the deed */
	char tls_words[80];       /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or why there is none */
	struct probe_record record;
};

/* Begins; turns of the loop do the rest. The play is told to its round by probe_round_ended(). */
void probe_play_begin(struct probe_play *play);
bool probe_play_is_done(const struct probe_play *play);
void probe_play_init(struct probe_play *play, struct probe_round *round, const struct probe_act *act, enum probe_way way, unsigned number);
void probe_play_fini(struct probe_play *play);

/* probe_round.c */

struct probe_round {
	struct loop *loop;
	const struct probe_all_plan *plan;
	struct probe_seal seal;
	struct source pause;      /* its deadline: PROBE_AGAIN is over */
	struct addr address;      /* the one that answers, or the last tried */
	bool found;               /* it has answered */
	bool unreachable;         /* no address has */
	unsigned running, silent; /* acts under way; acts in a row that got no byte */
	unsigned unsealed;        /* acts in a row for which TLS could not be begun */
	unsigned aliens;          /* acts that were answered by what is not SMTP */
	bool patient_runs;        /* alone, so that its times are its own */
	bool inside;              /* the acts inside STARTTLS have begun */
	bool alone;               /* the second time: one after the other */
	bool starting;
	const char *gave_up;      /* why the rest is not tried; NULL: it is */
	size_t plays_len;
	struct probe_play *plays[PROBE_PLAYS]; /* in the order of the table */
};

/* 0 or an exit code after a complaint to stderr. */
int probe_round_run(struct probe_round *round, struct loop *loop, const struct probe_all_plan *plan);
void probe_round_fini(struct probe_round *round);
/* For plays: it has come to its end. */
void probe_round_ended(struct probe_round *round, struct probe_play *play);
/* NULL: not played in this way. */
const struct probe_play *probe_round_patient(const struct probe_round *round, enum probe_way way);

/* probe_weigh.c */

enum probe_word {
	PROBE_WORD_PASSED,     /* served as any client is */
	PROBE_WORD_ACCEPTED,   /* a message was accepted */
	PROBE_WORD_REFUSED,    /* 5xx that a client which waits does not get */
	PROBE_WORD_TEMPFAIL,   /* the same with 4xx */
	PROBE_WORD_CLOSED,     /* the connection was ended without a reply that decides */
	PROBE_WORD_IGNORED,    /* the deed was thrown away, and the client is served */
	PROBE_WORD_SILENT,     /* nothing came any more */
	PROBE_WORD_NOT_SMTP,
	PROBE_WORD_NOT_REACHED, /* it did not come to the deed */
	PROBE_WORD_NO_CONNECTION,
	PROBE_WORD_LEFT_OUT,
	PROBE_WORDS
};

struct probe_weight {
	enum probe_word word;
	const struct probe_reply *decisive; /* that says so; NULL: none does */
};

/* patient: the one of the same way; NULL: not known. */
struct probe_weight probe_weigh(const struct probe_play *play, const struct probe_play *patient);
const char *probe_weigh_word(enum probe_word word);

enum probe_mark {
	PROBE_MARK_NONE,     /* nothing can be said */
	PROBE_MARK_CAUGHT,   /* what no good client does had consequences */
	PROBE_MARK_SERVED,   /* it had none */
	PROBE_MARK_GOOD,     /* a good client was served */
	PROBE_MARK_PUNISHED, /* it was not */
};
enum probe_mark probe_weigh_mark(const struct probe_act *act, enum probe_word word);

struct probe_sum {
	unsigned caught, served, good, punished, unknown, left_out;
	enum probe_word patient; /* the worst of all ways */
	int exit;
};
struct probe_sum probe_weigh_all(const struct probe_round *round);

/* probe_table.c */

void probe_table_text(struct buf *out, const struct probe_round *round, const char *host, uint16_t port);
void probe_table_json(struct buf *out, const struct probe_round *round, const char *host, uint16_t port);
/* The acts, for --list. */
void probe_table_acts(struct buf *out);

/* probe_all.c */

extern const char probe_all_usage[], probe_all_help[];
void probe_all_init(struct probe_all_plan *plan);
/* One option each; NULL, or what is wrong with it. */
const char *probe_all_jobs(struct probe_all_plan *plan, const char *text);
const char *probe_all_proxy(struct probe_all_plan *plan, const char *text);
const char *probe_all_network(struct prefix *network, const char *text);
const char *probe_all_only(struct probe_all_plan *plan, const char *text);
/* One of the network's addresses for each number, without its first and last. */
struct addr probe_all_address(const struct prefix *network, unsigned number);
/* Append the header of the client with that number, from its port in local, to the server. */
void probe_all_header(const struct probe_all_plan *plan, unsigned number, const struct addr *local, const struct addr *server, struct buf *out);
/* What was not said. NULL, or what is wrong with --tls. */
const char *probe_all_finish(struct probe_all_plan *plan);
/* Plays all of it and prints the table. The exit code. */
int probe_all_run(const struct probe_all_plan *plan, uint16_t port, bool json);
int probe_all_list(void);

#endif
