/* maildir.h: messages into Maildirs, so that what was acknowledged outlives a power cut and no reader ever sees half a message.
 *
 * A message is written into tmp/ of its first recipient while it arrives (maildir_begin, maildir_write), and becomes visible in new/ of all its
 * recipients with maildir_commit(): file synced, linked or copied to the others, renamed, folders synced. If any of that fails, none of them keeps it.
 * Everything here may block on the disk; nothing logs. Folders are made with mode 0700, files with 0600.
 *
 * Open folders are kept by a store, at most MAILDIR_OPEN of them, and looked at again by path before each use: a Maildir that
 * was moved or removed meanwhile is opened, or made, anew.
 */
#ifndef TARRY_MAIL_MAILDIR_H
#define TARRY_MAIL_MAILDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/buf.h"

#define MAILDIR_OPEN 256    /* Maildirs kept open by a store */
#define MAILDIR_PATH 4096   /* bytes of a path, its NUL included */
#define MAILDIR_USER 64     /* bytes of a user (RFC 5321 4.5.3.1.1) */
#define MAILDIR_DOMAIN 255
#define MAILDIR_NAME 160    /* room for the name of a message's file */

/* The path of a recipient's Maildir by the template: %d the domain, %u the user, both in lower case, %% a percent sign. user is unquoted; what follows a
 * delimiter in it is left off (NULL or "": nothing does). False: such a user or domain cannot have one: empty, too long, beginning with a
 * dot, with a slash or a control character; or the path would be too long. */
bool maildir_path(struct buf *out, const char *template, const char *delimiter, struct slice user, struct slice domain);

/* 0: there is a Maildir, or at least its folder; -ENOENT; other -errno: that cannot be known now. */
int maildir_exists(const char *path);

struct maildir; /* one Maildir, open */

struct maildir_store {
	struct maildir *open[MAILDIR_OPEN];
	unsigned hand;  /* which one leaves next */
	bool create;    /* make Maildirs that are not there */
	uint32_t serial;
	char host[64];  /* as it stands in file names */
};

void maildir_store_init(struct maildir_store *store, const char *host, bool create);
void maildir_store_fini(struct maildir_store *store);

struct maildir_file {
	struct maildir *home; /* NULL: nothing was begun */
	int fd;
	char name[MAILDIR_NAME];
};

/* Open a new file in tmp/ of the Maildir at path. 0 or -errno (-ENOENT also: it is not there and may not be made). */
int maildir_begin(struct maildir_store *store, const char *path, struct maildir_file *file);
/* All of it, or -errno. */
int maildir_write(struct maildir_file *file, const void *bytes, size_t len);
/* Make it visible in each of the Maildirs; paths[0] is the one it was begun in. 0, or -errno and it is in none of them.
 * The file is closed and forgotten either way. */
int maildir_commit(struct maildir_store *store, struct maildir_file *file, char *const *paths, size_t paths_len);
/* Remove it. Fine on what was not begun, or committed. */
void maildir_abort(struct maildir_file *file);

#endif
