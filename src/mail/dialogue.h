/* dialogue.h: the conversation of one client with the mail server inside: lines and bytes in, replies out.
 *
 * Knows no connection: smtpd.c brings the lines and sends the replies. The texts are Sendmail's. May block on the disk, and logs each message
 * that was stored or could not be.
 */
#ifndef TARRY_MAIL_DIALOGUE_H
#define TARRY_MAIL_DIALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/conf.h"
#include "core/loop.h"
#include "mail/envelope.h"
#include "mail/maildir.h"
#include "mail/message.h"
#include "smtp/command.h"
#include "smtp/proxyhdr.h"

#define DIALOGUE_REPLY 2048 /* bytes that one command's reply has at most */

/* What all conversations of a process have in common. */
struct dialogue_shared {
	const struct conf *conf;
	const struct loop *loop; /* for the time */
	struct maildir_store store;
};

struct dialogue {
	struct dialogue_shared *shared;
	struct addr client;
	bool local;             /* no client: somebody on this machine */
	bool has_pause;
	uint32_t pause_ms;
	bool forged;
	bool xtls;              /* the door may still tell of TLS */
	struct tlswire_facts tls; /* with ok: the client speaks it with the door */
	char name[PROXYHDR_NAME_MAX + 1]; /* of the client, told by the door; "": none */
	char id[PROXYHDR_ID_MAX + 1]; /* of the session, given by the door; "": none */
	char helo[COMMAND_DOMAIN + 1]; /* "": not said yet */
	bool esmtp;             /* EHLO */
	bool crlf;              /* a command ended in CRLF */
	unsigned bad_commands;
	unsigned commands, messages;
	struct envelope envelope;
	struct message message;
	char message_id[MESSAGE_ID];
	int64_t data_since;     /* when DATA was accepted */
};

enum dialogue_next {
	DIALOGUE_COMMAND, /* a line is expected: dialogue_line() */
	DIALOGUE_DATA,    /* the text of a message: dialogue_data() */
	DIALOGUE_CLOSE,   /* nothing: send what there is and close */
};

void dialogue_init(struct dialogue *d, struct dialogue_shared *shared, const struct proxyhdr *header);
/* A message that is not complete is forgotten. */
void dialogue_fini(struct dialogue *d);

/* out needs room for DIALOGUE_REPLY more bytes in each of these. */
void dialogue_greet(struct dialogue *d, struct buf *out);
/* line: without its line end; crlf: that was CRLF. */
enum dialogue_next dialogue_line(struct dialogue *d, struct slice line, bool crlf, struct buf *out);
/* The client's first bytes, of which there may be no line yet: another protocol than SMTP is answered at once. */
enum dialogue_next dialogue_opening(struct dialogue *d, struct slice bytes, struct buf *out);
/* A line of COMMAND_LINE bytes or more, of which the rest is thrown away. */
enum dialogue_next dialogue_long_line(struct dialogue *d, struct buf *out);
/* *in loses the bytes that were taken. */
enum dialogue_next dialogue_data(struct dialogue *d, struct slice *in, struct buf *out);
void dialogue_timeout(const struct dialogue *d, struct buf *out);
/* 421: there is no memory for what would come next. */
void dialogue_no_memory(const struct dialogue_shared *shared, struct buf *out);
/* 421: the server ends. */
void dialogue_shutdown(const struct dialogue *d, struct buf *out);

#endif
