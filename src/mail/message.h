/* message.h: one message on its way from the wire into Maildirs.
 *
 * Begun when DATA is accepted, fed as bytes arrive, and ended once. It holds at most MESSAGE_BLOCK bytes in memory; the rest is in the
 * file. Once it is too large or could not be written, the file is gone and the rest is read and thrown away, since the client hears of it
 * only at the end (RFC 5321 4.5.4.2). May block on the disk, does not log.
 */
#ifndef TARRY_MAIL_MESSAGE_H
#define TARRY_MAIL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "mail/maildir.h"
#include "smtp/data.h"

#define MESSAGE_BLOCK (64 * 1024) /* bytes written to the file at once */
#define MESSAGE_ID 17             /* room for an id, its NUL included */

struct message {
	struct maildir_file file;
	struct data data;
	struct buf block; /* not yet written */
	int64_t most;     /* ceiling of data.size */
	int error;        /* -errno: why it cannot be stored; the rest is thrown away */
};

enum message_result {
	MESSAGE_STORED,
	MESSAGE_TOO_LARGE,
	MESSAGE_LOOPS,  /* more Received lines than allowed */
	MESSAGE_FAILED, /* *error says why */
};

/* A name for a message, unique on this machine: letters and digits. */
void message_make_id(char out[MESSAGE_ID]);

/* header: our own lines, which come first in the file. lf: see data.h. 0 or -errno. */
int message_begin(struct message *m, struct maildir_store *store, const char *path, struct slice header, bool lf);
/* Bytes taken, all of them unless the end was among them (message_ended()). */
size_t message_take(struct message *m, struct slice in);
bool message_ended(const struct message *m);
/* Store it for all the paths, of which the first is that of message_begin(). */
enum message_result message_commit(struct message *m, struct maildir_store *store, char *const *paths, size_t paths_len, unsigned most_hops);
/* Forget it, and its file if it was not committed. Fine on zeroes, and twice. */
void message_fini(struct message *m);

#endif
