/* The tour, core: an account: found by name, and become. */
#include "core/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

bool account_find(const char *user, const char *group, struct account *out, struct buf *why)
{
	struct account found = { .groups_len = ACCOUNT_GROUPS };
	const struct passwd *pw = getpwnam(user);
	if (!pw) {
		buf_putf(why, "user = \"%s\": there is no such account; make it (useradd --system NAME) or name another one", user);
		return false;
	}
	found.uid = pw->pw_uid;
	found.gid = pw->pw_gid;
	if (group && *group) {
		const struct group *gr = getgrnam(group);
		if (!gr) {
			buf_putf(why, "group = \"%s\": there is no such group; make it (groupadd --system NAME) or name another one", group);
			return false;
		}
		found.gid = gr->gr_gid;
	}
	if (getgrouplist(user, found.gid, found.groups, &found.groups_len) < 0) {
		buf_putf(why, "user = \"%s\": is in more than %d groups", user, ACCOUNT_GROUPS);
		return false;
	}
	*out = found;
	return true;
}

int account_become(const struct account *a)
{
	if (setgroups((size_t)a->groups_len, a->groups) < 0 || setresgid(a->gid, a->gid, a->gid) < 0 || setresuid(a->uid, a->uid, a->uid) < 0)
		return -errno;
	return a->uid == 0 || setuid(0) < 0 ? 0 : -EPERM;
}
