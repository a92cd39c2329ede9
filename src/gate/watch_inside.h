/* watch_inside.h: what the files of the watch (watch.c, watch_mail.c, watch_stage.c, watch_text.c, watch_backend.c) share, and nobody else needs. */
#ifndef TARRY_GATE_WATCH_INSIDE_H
#define TARRY_GATE_WATCH_INSIDE_H

#include "gate/watch.h"

#define WATCH_INJECTION "the client speaks between STARTTLS and its reply" /* what it says would be taken for a part of what comes under the seal of TLS (CVE-2011-0411) */

/* watch.c. One side does not keep to SMTP: that ends the connection. The client is told, unless it is in the middle of a reply. */
void watch_fail(struct watch *w, const char *why);
/* The reply that has been written to queue.answers takes its place. */
void watch_answer(struct watch *w);
/* The same with this reply. bad: to a command that is no use to anybody, of which a client may send max_bad_commands. */
void watch_answer_with(struct watch *w, int code, const char *enhanced, const char *text);
void watch_answer_bad(struct watch *w, int code, const char *enhanced, const char *text);
/* The command goes to the backend, whose reply is then expected; stop: and nothing is taken until that is there. */
void watch_forward(struct watch *w, struct slice line, enum watch_turn turn);
void watch_forward_and_stop(struct watch *w, struct slice line, enum watch_turn turn);
/* The door's own replies whose turn it is go to the client, but never into the middle of one of the backend's (a 421 comes out of turn), nor after the end.
 * False: no room. */
bool watch_flush(struct watch *w);
/* The transaction is over. */
void watch_forget(struct watch *w);

/* watch_mail.c. MAIL or RCPT; DATA; BDAT: judged, and acted upon unless the decision is still to come. */
void watch_mail_path(struct watch *w, struct slice line, const struct command *c);
void watch_mail_message(struct watch *w, struct slice line, const struct command *c);
void watch_mail_bdat(struct watch *w, struct slice line, const struct command *c);
/* It has been decided. */
void watch_mail_act(struct watch *w, struct slice line, const struct command *c, enum watch_decision decision);

/* watch_stage.c. Does nothing where there are no stages. A command, or a line of AUTH, has been taken: silence is owed until it is answered, unless its group may go on. */
void watch_stage_begin(struct watch *w, enum command_verb verb);
/* A message's end has been taken, and if it is for the backend it is all of it in to_backend; last: of BDAT. */
void watch_stage_end(struct watch *w, bool for_backend, bool last);
/* Nothing is taken from the client for now; what is there is talk. */
bool watch_stage_holds(struct watch *w, struct slice in);
/* A client that talked when it could not be told so at once can be told now, if its reply is whole. */
void watch_stage_tell(struct watch *w);
/* Commands that begin anew: what pauses have added up to is for the transactions before. */
void watch_stage_forget(struct watch *w);
/* What was said before TLS does not count in it. */
void watch_stage_sealed(struct watch *w);

/* watch_text.c. What has been written to queue.answers is not for now, but the answer to what is about to be swallowed. */
void watch_text_put_off(struct watch *w);
/* Message text follows, up to its end; a chunk of so many bytes follows. swallow: the backend does not get it. */
void watch_text_begin(struct watch *w, bool swallow);
void watch_text_begin_chunk(struct watch *w, uint64_t size, bool last, bool swallow);
/* Take some of it. False: nothing can be done for now. */
bool watch_text_take(struct watch *w, struct slice *in);
bool watch_text_take_chunk(struct watch *w, struct slice *in);

/* watch_backend.c. Take one line of a reply. False: there is none, or no room to pass it on. */
bool watch_backend_take(struct watch *w, struct slice *in);

#endif
