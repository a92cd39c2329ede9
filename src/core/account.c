/* The tour, core: an account: found by name, and become. */
#include "core/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct answer {
	bool done, found;
	int error; /* 0: the name service has answered */
	uint16_t len;
	char why[400];
	struct account account;
};

/* error 0: the name service has answered that there is none; and then errno is 0, too. */
static bool not_found(struct buf *why, const char *what, const char *name, int error, const char *advice)
{
	bool none = error == 0 || error == ENOENT || error == ESRCH;
	if (none)
		buf_putf(why, "%s = \"%s\": there is no such %s; make it (%s --system NAME) or name another one", what, name, strcmp(what, "user") == 0 ? "account" : "group", advice);
	else
		buf_putf(why, "%s = \"%s\": it cannot be looked up: %s", what, name, strerror(error));
	errno = none ? 0 : error;
	return false;
}

static bool look_up(const char *user, const char *group, struct account *found, struct buf *why)
{
	found->groups_len = ACCOUNT_GROUPS;
	errno = 0;
	const struct passwd *pw = getpwnam(user);
	if (!pw)
		return not_found(why, "user", user, errno, "useradd");
	found->uid = pw->pw_uid;
	found->gid = pw->pw_gid;
	if (group && *group) {
		errno = 0;
		const struct group *gr = getgrnam(group);
		if (!gr)
			return not_found(why, "group", group, errno, "groupadd");
		found->gid = gr->gr_gid;
	}
	if (getgrouplist(user, found->gid, found->groups, &found->groups_len) < 0) {
		buf_putf(why, "user = \"%s\": is in more than %d groups", user, ACCOUNT_GROUPS);
		errno = 0;
		return false;
	}
	return true;
}

/* A name service may ask a server that hangs. */
_Noreturn static void answer(const char *user, const char *group, struct answer *a, pid_t parent)
{
	struct buf text;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(0);
	signal(SIGALRM, SIG_DFL);
	alarm(ACCOUNT_WAIT);
	buf_init_fixed(&text, a->why, sizeof(a->why));
	a->found = look_up(user, group, &a->account, &text);
	a->error = errno;
	a->len = (uint16_t)text.len;
	a->done = true;
	_exit(0);
}

/* In a process of its own, which leaves its answer in a page that both have: the C library's name service ends or breaks a process that asks without memory (an assertion in nss_database.c), and a parent that takes over a
 * door that serves must not be ended, nor wait for ever. */
bool account_find(const char *user, const char *group, struct account *out, struct buf *why)
{
	struct answer *a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent = getpid(), pid = a == MAP_FAILED ? -1 : fork();
	if (pid == 0)
		answer(user, group, a, parent);
	int e = pid < 0 ? errno : ENOMEM, status = 0;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	bool done = pid > 0 && a->done, found = done && a->found;
	if (found)
		*out = a->account;
	else if (done)
		buf_put(why, a->why, a->len);
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		buf_putf(why, "user = \"%s\": it cannot be looked up: the name service has not answered for %d s", user, ACCOUNT_WAIT);
	else
		buf_putf(why, "user = \"%s\": it cannot be looked up: %s", user, strerror(e));
	e = done ? a->error : EAGAIN;
	if (a != MAP_FAILED)
		munmap(a, sizeof(*a));
	errno = e;
	return found;
}

int account_become(const struct account *a)
{
	if (setgroups((size_t)a->groups_len, a->groups) < 0 || setresgid(a->gid, a->gid, a->gid) < 0 || setresuid(a->uid, a->uid, a->uid) < 0)
		return -errno;
	return a->uid == 0 || setuid(0) < 0 ? 0 : -EPERM;
}
