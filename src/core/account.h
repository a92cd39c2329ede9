/* account.h: an account of this machine, and what a process needs to become it.
 *
 * account_find() asks the name service, forks for that, and may block for ACCOUNT_WAIT: for the parent and the tools. account_become() is for a process that is about to be somebody else, after fork().
 */
#ifndef TARRY_CORE_ACCOUNT_H
#define TARRY_CORE_ACCOUNT_H

#include <stdbool.h>
#include <sys/types.h>

#include "core/buf.h"

#define ACCOUNT_GROUPS 256 /* groups of one account at most */
#define ACCOUNT_WAIT 30    /* seconds for the name service, at most */

struct account {
	uid_t uid;
	gid_t gid;
	int groups_len;
	gid_t groups[ACCOUNT_GROUPS];
};

/* The account of that name with its supplementary groups; group: instead of the account's own ("" or NULL: its own). False: *why says what is not there; errno is 0 if it is not, and something else if that cannot be known now. */
bool account_find(const char *user, const char *group, struct account *out, struct buf *why);
/* Becomes it for good: groups, group, user. 0 or -errno. Only system calls, no locks. */
int account_become(const struct account *account);

#endif
