/* watch.h: what the relay sees of SMTP on its way between a client and a backend.
 *
 * Bytes in, bytes out: no socket, no clock, no log. The client's commands are read line by line, judged by the caller's rules, and passed on one by
 * one, each ended by CRLF and otherwise as it was; the backend's replies go to the client unchanged, except that some EHLO keywords are struck
 * (watch_words.c). What the door answers itself comes at its place in the order. Message text is passed on in a form in which no server can see another
 * end of it than the client's (smtp/data.h); BDAT chunks go by count. Client, backend and door agree on where each command ends, or the connection does.
 *
 * The caller owns sockets and deadlines: it offers bytes, and sends what lies in to_backend and to_client. What was not taken of the bytes it offers
 * again (an empty slice will do when there are none) after the other side has spoken, an output has been sent, or watch_decided(). A side whose bytes
 * are not taken is not to be read further: that is the back-pressure. What has been read of the client is offered before the backend's bytes are:
 * what follows STARTTLS has to be seen before its 220 is.
 *
 * Where a client owes silence until it has a reply (stage.h), any byte that is offered before that reply has left to_client is talk. Whether there is a byte that
 * the caller has not read yet it looks at itself, at the last moment: while watch_is_waiting() and before it sends to_client or calls watch_go_on(); then watch_talked().
 */
#ifndef TARRY_GATE_WATCH_H
#define TARRY_GATE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "gate/stage.h"
#include "gate/watch_queue.h"
#include "smtp/command.h"
#include "smtp/data.h"
#include "smtp/slowdown.h"

#define WATCH_HELD (16 * 1024)        /* bytes of one output at most; both together are what a client can make us hold */
#define WATCH_AUTH_LINE (12288 + 2)   /* bytes of a line of AUTH (RFC 4954 section 4) */
#define WATCH_REPLY_LINE 2048         /* bytes of a reply line; RFC 5321 has 512, servers have more */
#define WATCH_REPLY_LINES 1000        /* lines of one reply */

enum watch_decision {
	WATCH_PASS,    /* to the backend */
	WATCH_ANSWER,  /* refused: the reply that was written is the answer */
	WATCH_ACCEPT,  /* MAIL, RCPT: the same, but it was a positive one; the backend never hears of it */
	WATCH_DISCARD, /* DATA, BDAT: the message is thrown away; the reply that was written is the answer to its end */
	WATCH_WAIT,    /* watch_decided() follows; meanwhile no command is taken */
};

/* What is decided elsewhere. Each of the functions may be NULL: then everything passes. A decision's reply, one line or several, is appended to *reply, at most
 * WATCH_ANSWER_BYTES; if none is, it is a 451. Slices are valid during the call. */
struct watch_rules {
	const char *hostname;
	unsigned max_bad_commands; /* not counting those that the backend answers */
	/* Who accepts MAIL itself must pass none of its RCPTs. */
	enum watch_decision (*mail)(void *context, const struct command_path *from, struct slice parameters, struct buf *reply);
	enum watch_decision (*rcpt)(void *context, const struct command_path *to, struct slice parameters, struct buf *reply);
	/* At DATA and at the first BDAT: so many recipients were accepted by the backend, so many by WATCH_ACCEPT; not called if there is none. A
	 * message without one at the backend can only be refused or discarded. */
	enum watch_decision (*data)(void *context, unsigned recipients, unsigned accepted, struct buf *reply);
	/* Whether that is the end, with the reply that was written. Asked of the client's first bytes (command NULL), as often as more of them come, and of each command that nobody knows. */
	bool (*forbids)(void *context, struct slice said, const struct command *command, struct buf *reply);
};

/* What becomes of STARTTLS. */
enum watch_tls {
	WATCH_TLS_PASS,  /* it is the backend's: behind its 220 nothing is seen any more */
	WATCH_TLS_HIDE,  /* it is not offered, and answered with a 454 */
	WATCH_TLS_OFFER, /* it is the door's, whatever the backend has */
	WATCH_TLS_ON,    /* the client speaks TLS with the door: the same as HIDE, with a 503 */
};

/* What came of WATCH_TLS. */
enum watch_sealed {
	WATCH_SEALED,   /* the client speaks TLS: it has to say EHLO again */
	WATCH_UNSEALED, /* it cannot be: 454, and all goes on in clear */
	WATCH_INJECTED, /* bytes in clear followed the STARTTLS line: the end */
};

enum watch_result {
	WATCH_MORE,
	WATCH_TLS,    /* after STARTTLS with OFFER: send to_client; then TLS begins; see watch_sealed() */
	WATCH_PIPE,   /* after STARTTLS, or MAIL with until_mail: send both outputs; then, and with what was not taken, bytes go both ways as they are */
	WATCH_EARLY,  /* the client has talked at the stage `early`: send to_client and then the refusal; what waits in to_backend is not for the backend any more, which is to be closed */
	WATCH_END,    /* send to_client, and close both */
	WATCH_BROKEN, /* the same; one side does not keep to SMTP: why */
};

enum watch_state { /* of the client's bytes */
	WATCH_COMMANDS,
	WATCH_LONG,    /* the rest of a line that was too long */
	WATCH_AUTH,    /* a line of an AUTH exchange */
	WATCH_TEXT,    /* of a message */
	WATCH_CHUNK,   /* of BDAT */
	WATCH_REPLY,   /* none is taken until the backend has answered DATA, AUTH, STARTTLS or QUIT */
	WATCH_SEAL,    /* none is taken until watch_sealed() */
	WATCH_ASKED,   /* none is taken until watch_decided() */
	WATCH_SLOWED,  /* none is taken until watch_slow_over() */
	WATCH_LAST,    /* none is taken any more, what is owed still goes out */
};

enum watch_transaction {
	WATCH_NO_MAIL,
	WATCH_MAIL_SENT,      /* MAIL is on its way */
	WATCH_MAIL_OPEN,      /* and the backend has accepted it */
	WATCH_MAIL_OURS,      /* WATCH_ACCEPT: the backend has not heard of it */
	WATCH_MAIL_DISCARDED, /* WATCH_DISCARD, until the last BDAT */
};

/* Read what is not marked as inside; write the outputs alone. */
struct watch {
	struct buf to_backend, to_client;
	const char *why;         /* of WATCH_BROKEN: a literal */
	bool client_ended;       /* the client has sent its end, and all before it is in to_backend: once that is sent, pass on the end */
	bool paused;             /* a reply, or a message's end, is withheld: call watch_go_on() */
	uint32_t pause_ms;       /* after so much time since it is; 0: once it is clear that the client has said no more */
	uint8_t early;           /* with WATCH_EARLY: where it talked, enum stage */
	uint16_t talked;         /* bits of the stages where it did, whatever follows from that */
	/* inside */
	const struct watch_rules *rules;
	void *context;
	enum watch_result result;
	enum watch_state state;
	bool until_mail;         /* set after watch_init(): once the first MAIL is passed on, nothing more needs to be seen, */
	bool unless_trusted;     /* but where this is set too, only if the backend has shown in an EHLO reply that it takes neither XCLIENT nor XFORWARD */
	bool distrusts;          /* it has */
	bool as_it_is;           /* set after watch_init(): text is passed on as it came, and where the backend sees another end of it than we do, nothing more is seen */
	const struct stages *stages; /* set after watch_init(), and valid as long as it; NULL: talk is not looked for */
	bool slows;              /* set after watch_init(): commands that come again and again are held back (slowdown.h), */
	unsigned throttle;       /* and so is each RCPT once this many of the message's recipients were refused; 0: none is */
	struct slowdown slowdown;
	struct slowdown_step slow; /* WATCH_SLOWED: for so long; and what is to be told of it */
	enum watch_tls tls;
	bool crlf, injected;
	bool opened;             /* the client's first bytes have been seen */
	bool unheard;            /* TLS has begun, and the client has not said EHLO in it */
	bool authenticated;
	unsigned bad_commands;
	struct buf line;         /* of the client, as far as it has come; in WATCH_ASKED the command */
	struct watch_queue queue;
	/* the stage (watch_stage.c) */
	uint8_t stage;           /* enum stage, at which the client owes silence */
	bool pipelining;         /* it has been offered PIPELINING */
	bool noted;              /* its talk at this stage has been, and changes nothing */
	bool committed;          /* its reply goes to the client in any case: a part of it has, or the backend has the end of the message that it answers */
	bool withholds;          /* and here it has not: the last byte of it is kept */
	char withheld;
	uint32_t tail;           /* bytes of the stage's reply, at the end of to_client at first */
	uint32_t spent;          /* ms of pauses in this transaction */
	/* the transaction */
	enum watch_transaction mail;
	bool doubtful;           /* the backend has refused DATA or BDAT, and may have forgotten it */
	unsigned recipients, accepted;
	unsigned messages;       /* that the backend has accepted: anybody may read it */
	unsigned refused;        /* recipients, by the rules or by the backend, */
	unsigned rcpts;          /* and those that the backend has still to answer */
	bool throttled;          /* that has been told */
	bool chunks;             /* BDAT has begun */
	struct buf verdict;      /* the answer to what is being swallowed */
	/* text and chunks */
	bool swallow;            /* not to the backend */
	bool line_start;         /* of what goes to the backend */
	bool plain;              /* this text goes as it came */
	struct data data;
	uint64_t chunk;          /* bytes that are still to come */
	bool chunk_last;
	/* the reply that is coming in */
	struct buf reply;        /* its line, as far as it has come */
	struct buf held;         /* a line of EHLO that may be the last */
	int code;
	unsigned lines;
	bool within;             /* the client has got a part of it */
	bool chunking;           /* the backend takes BDAT */
	bool offers_pipelining;  /* says the EHLO reply that is coming in, as the client gets it, */
	bool offers_chunking;
	bool offers_whom;        /* or that it takes the door's word for who the client is */
};

/* rules and context must outlive it. The backend's greeting is expected first. */
void watch_init(struct watch *w, const struct watch_rules *rules, void *context, enum watch_tls tls);
void watch_fini(struct watch *w);

/* After watch_init(), with stages: the client owes silence until it has the greeting. begun: it has a part of it already. */
void watch_await_greeting(struct watch *w, bool begun);

/* *in loses what was taken. eof: nothing follows it. Whatever the result, it stays so (WATCH_TLS: until watch_sealed()). */
enum watch_result watch_from_client(struct watch *w, struct slice *in, bool eof);
enum watch_result watch_from_backend(struct watch *w, struct slice *in, bool eof);

/* After WATCH_WAIT, and not from within a rule. */
void watch_decided(struct watch *w, enum watch_decision decision, struct slice reply);
/* While paused: its time has passed, and a last look has found nothing. */
void watch_go_on(struct watch *w);
/* The client owes silence, and it counts whether it keeps it; also with the result WATCH_PIPE, before its last words in clear are sent. */
bool watch_is_waiting(const struct watch *w);
/* What a client says is only that it goes, or the beginning of that, where that is no talk. */
bool watch_takes_leave(const struct watch *w, struct slice in);
/* It has been found not to. */
void watch_talked(struct watch *w);
/* The client's command is held back, WATCH_SLOWED, and what follows it too; what the client is owed for those before it goes out. NULL: it is not. Else for so many seconds, and then
 * watch_slow_over() lets it go on. */
const struct slowdown_step *watch_slowed(const struct watch *w);
void watch_slow_over(struct watch *w);
/* Or the client has gone, or will say no more: it is not heard any further, and told so behind what it is owed. */
void watch_slow_cut(struct watch *w);
/* After WATCH_TLS. tell: with WATCH_SEALED, a line by which the backend learns of it, without its line end; NULL: it does not. */
void watch_sealed(struct watch *w, enum watch_sealed sealed, const char *tell);

#endif
