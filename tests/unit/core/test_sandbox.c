/* From inside each role: what an intruder would try fails, what the role does goes on; and without the walls each of these acts succeeds, so that a failure means something. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/caps.h"
#include "core/reach.h"
#include "core/sandbox.h"
#include "core/sandbox_try.h"
#include "core/sock.h"
#include "untested.h"

#define ACT(name) (1U << SANDBOX_##name)

static struct sandbox_account account(void)
{
	const struct passwd *nobody = geteuid() == 0 ? getpwnam("nobody") : NULL;
	return nobody ? (struct sandbox_account){ true, nobody->pw_uid, nobody->pw_gid, "nobody", NULL } : (struct sandbox_account){ .drop = false };
}

static bool has_text(const char *path, const char *text)
{
	char line[200] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 && strstr(line, text);
}

/* Without walls. What a system like this one forbids to everybody is left out. */
static void outside_all_succeed(void **state)
{
	(void)state;
	const struct sandbox_trial trial = { .role = NULL };
	unsigned wanted = ACT(READ) | ACT(CHANGE) | ACT(EXEC) | ACT(FORK) | ACT(CONNECT) | ACT(DATAGRAM) | ACT(ABSTRACT) | ACT(KILL) | ACT(CODE);
	if (geteuid() == 0)
		wanted |= ACT(MOUNT) | ACT(SETUID) | ACT(RAW) | ACT(PTRACE);
	unsigned possible = sandbox_try(&trial);
	for (unsigned a = 0; a < SANDBOX_ACTS; a++)
		if (wanted & ~possible & 1U << a)
			fail_msg("even without walls one cannot %s", sandbox_act_text((enum sandbox_act)a));
	struct rlimit core;
	getrlimit(RLIMIT_CORE, &core);
	if (core.rlim_max > 0 && has_text("/proc/sys/kernel/core_pattern", "core"))
		assert_true(possible & ACT(CORE));
	else
		print_message("# no process leaves a core file here\n");
}

static void try_role(const struct sandbox_role *role, bool names)
{
	static struct sandbox_needs needs;
	const struct sandbox_account who = account();
	const struct sandbox_trial trial = { .role = role, .needs = &needs, .account = &who };
	struct sandbox_result r;
	int status;
	sandbox_needs_init(&needs);
	if (names && role->may & ACT(READ))
		sandbox_need_names(&needs);
	pid_t pid = fork();
	if (pid == 0)
		_exit(sandbox_begin(role, SANDBOX_ENFORCE, &who, 0) && (sandbox_enter(role, SANDBOX_ENFORCE, &needs, &r) || landlock_abi() < 2) && (role->calls == 0 || r.calls > 40) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	const unsigned by_names = ACT(READ) | ACT(DATAGRAM) | ACT(CODE);
	const bool resolves = sandbox_calls_of(role, &needs) & SANDBOX_RESOLVE;
	unsigned possible = sandbox_try(&trial) & ~(resolves || role->calls == 0 ? role->may : role->may & ~by_names);
	if (landlock_abi() < 2)
		possible &= ~(ACT(READ) | ACT(CHANGE));
	if (landlock_abi() < 4 && resolves)
		possible &= ~ACT(CONNECT);
	if (landlock_abi() < 6 && resolves)
		possible &= ~(ACT(ABSTRACT));
	for (unsigned a = 0; a < SANDBOX_ACTS; a++)
		if (possible & 1U << a)
			fail_msg("%s can %s", role->name, sandbox_act_text((enum sandbox_act)a));
}

static void inside_none_succeeds(void **state)
{
	const struct sandbox_role *role;
	(void)state;
	if (sandbox_relaxed()[0]) {
		untested();
		return;
	}
	for (unsigned n = 0; (role = sandbox_role_at(n)); n++)
		for (int names = 0; names < 2; names++)
			try_role(role, names);
}

/* Between the two halves: what no role at all may, not even one that has no filter. */
static void first_half_is_something(void **state)
{
	static struct sandbox_needs needs;
	static const struct sandbox_role role = { .name = "half" };
	const struct sandbox_account who = account();
	const struct sandbox_trial trial = { .role = &role, .needs = &needs, .account = &who };
	(void)state;
	if (!who.drop) {
		untested();
		return;
	}
	unsigned possible = sandbox_try(&trial);
	assert_int_equal(possible & (ACT(MOUNT) | ACT(RAW) | ACT(SETUID)), 0);
	assert_true(sandbox_relaxed()[0] || !(possible & ACT(CORE)));
	assert_true(possible & ACT(READ));
}

/* ---- the front: only its backends ---- */

enum way { ADDED, COPIED, OTHER, ADDRESSED, ADDRESSED_MESSAGE, PLAIN_MESSAGE, LISTENS, BINDS, UNMAPS, MAPS_OVER, MOVES, MOVES_OVER, UNPROTECTS, EXECUTABLE, ASKS_FOR_OPTION, SETS_OPTION, WAYS };

struct scene {
	int pair[2];
	struct addr added, other;
	struct sockaddr_storage copy, else_;
	socklen_t len;
	bool binds;
};

static int connect_to(const struct sockaddr_storage *to, socklen_t len)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd < 0 ? fd : connect(fd, (const struct sockaddr *)to, len);
}

static bool go(const struct scene *s, enum way way)
{
	char *page = (char *)(uintptr_t)(reach_end() - 4096 * 8), byte = 'x';
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_name = (void *)(uintptr_t)&s->else_, .msg_namelen = s->len, .msg_iov = &part, .msg_iovlen = 1 };
	switch (way) {
	case ADDED:
		return sock_connect(&s->added) >= 0;
	case COPIED:
		return connect_to(&s->copy, s->len) == 0;
	case OTHER:
		return connect_to(&s->else_, s->len) == 0;
	case ADDRESSED:
		return sendto(s->pair[0], &byte, 1, 0, (const struct sockaddr *)&s->else_, s->len) == 1 || errno != EPERM;
	case ADDRESSED_MESSAGE:
		return sendmsg(s->pair[0], &message, 0) == 1 || errno != EPERM;
	case PLAIN_MESSAGE:
		return sock_send_fd(s->pair[0], &byte, 1, s->pair[1]) == 1;
	case LISTENS:
		return listen(s->pair[0], 1) == 0 || errno != EPERM;
	case BINDS:
		return bind(s->pair[0], (const struct sockaddr *)&s->else_, s->len) == 0 || errno != EPERM;
	case UNMAPS:
		return munmap(page, 4096) == 0;
	case MAPS_OVER:
		return mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
	case MOVES:
		return mremap(page, 4096, 8192, MREMAP_MAYMOVE) != MAP_FAILED;
	case MOVES_OVER: {
		void *fresh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return mremap(fresh, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, page) != MAP_FAILED;
	}
	case UNPROTECTS:
		return mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0;
	case EXECUTABLE: {
		void *fresh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return mprotect(fresh, 4096, PROT_READ | PROT_EXEC) == 0;
	}
	case ASKS_FOR_OPTION: {
		int value;
		socklen_t len = sizeof(value);
		return getsockopt(s->pair[0], SOL_SOCKET, SO_ERROR, &value, &len) == 0;
	}
	default:
		return setsockopt(s->pair[0], SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0 || errno != EPERM;
	}
}

/* Whether that is possible, in a process of its own: inside a front's walls, or without them. */
static bool possible(const struct scene *s, enum way way, bool inside)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		static struct sandbox_needs needs;
		struct sandbox_result r;
		sandbox_needs_init(&needs);
		sandbox_quiet();
		sandbox_need_addr(&needs, &s->added);
		needs.binds = s->binds;
		if (!inside)
			reach_seal();
		if (inside && !sandbox_enter(sandbox_role("front"), SANDBOX_ENFORCE, &needs, &r) && landlock_abi() > 0)
			_exit(3);
		_exit(go(s, way) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), 3);
	return WEXITSTATUS(status) == 0;
}

static int listening(struct addr *at)
{
	addr_parse(slice_of("127.0.0.1"), at);
	int fd = sock_listen(at, 100, false);
	sock_local(fd, at);
	return fd;
}

static void front_reaches_its_backends_alone(void **state)
{
	static const bool inside[WAYS] = { [ADDED] = true, [PLAIN_MESSAGE] = true, [ASKS_FOR_OPTION] = true };
	static const bool always[WAYS] = { [UNPROTECTS] = true }; /* refused, walls or not */
	struct scene s = { .binds = false };
	(void)state;
	if (sandbox_relaxed()[0]) {
		untested();
		return;
	}
	int one = listening(&s.added), two = listening(&s.other);
	assert_true(one >= 0 && two >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s.pair), 0);
	memset(&s.copy, 0, sizeof(s.copy));
	memset(&s.else_, 0, sizeof(s.else_));
	s.len = addr_to_sockaddr(&s.added, &s.copy);
	addr_to_sockaddr(&s.other, &s.else_);
	for (unsigned w = 0; w < WAYS; w++) {
		/* With mseal() (Linux 6.10) the memory cannot be unmapped or moved in any case. */
		if (!always[w] && w != UNMAPS && w != MAPS_OVER && w != MOVES && w != MOVES_OVER && !possible(&s, (enum way)w, false))
			fail_msg("way %u: cannot be gone even without walls", w);
		if (possible(&s, (enum way)w, true) != inside[w])
			fail_msg("way %u: %s", w, inside[w] ? "is closed" : "is open");
	}
	s.binds = true;
	assert_true(possible(&s, BINDS, true)); /* EINVAL or the like, and not EPERM */
	close(one);
	close(two);
	close(s.pair[0]);
	close(s.pair[1]);
}

/* ---- what the log says ---- */

static int make_call(int which)
{
	struct sysinfo info;
	if (which == 0) /* qsort() may ask the first one */
		return sysinfo(&info) == 0 && getsid(0) < 0 && errno == EPERM && getsid(0) < 0 ? 0 : 1;
	execl("/bin/true", "true", (char *)NULL);
	return 2;
}

static int nothing(int which)
{
	return which;
}

static int told(int (*before)(int), int (*inside)(int), int which, enum sandbox_mode mode, char *out, size_t size)
{
	int pipe_ends[2], status;
	assert_int_equal(pipe(pipe_ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		static struct sandbox_needs needs;
		sandbox_needs_init(&needs);
		dup2(pipe_ends[1], STDERR_FILENO);
		close(pipe_ends[0]);
		close(pipe_ends[1]);
		tzset(); /* as log_open() does: later the zone's file is out of reach */
		before(which);
		sandbox_confine("front", mode, &needs, false);
		_exit(inside(which));
	}
	close(pipe_ends[1]);
	size_t len = 0;
	ssize_t n;
	while (len < size - 1 && (n = read(pipe_ends[0], out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	close(pipe_ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void refused_calls_are_told(void **state)
{
	char text[4096];
	(void)state;
	if (sandbox_relaxed()[0]) {
		untested();
		return;
	}
	assert_int_equal(told(nothing, make_call, 0, SANDBOX_ENFORCE, text, sizeof(text)), 0);
	const char *first = strstr(text, "event=sandbox_denied msg=\"system call getsid (");
	assert_non_null(first);
	assert_null(strstr(first + 1, "event=sandbox_denied")); /* once */
	assert_int_equal(told(nothing, make_call, 1, SANDBOX_ENFORCE, text, sizeof(text)), SANDBOX_KILLED);
	assert_non_null(strstr(text, "event=sandbox_killed msg=\"system call execve ("));
	/* Nothing is refused, and so nothing of it told here. */
	assert_int_equal(told(nothing, make_call, 1, SANDBOX_LOG, text, sizeof(text)), 0);
	assert_null(strstr(text, "sandbox_killed"));
	assert_int_equal(told(nothing, make_call, 1, SANDBOX_OFF, text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

/* ---- what cannot be had at this moment ---- */

static void what_may_pass(void **state)
{
	(void)state;
	assert_true(sandbox_may_pass(-ENOMEM) && sandbox_may_pass(-EMFILE) && sandbox_may_pass(-ENFILE) && sandbox_may_pass(-EAGAIN));
	assert_false(sandbox_may_pass(0) || sandbox_may_pass(-ENOSYS) || sandbox_may_pass(-EINVAL) || sandbox_may_pass(-EPERM) || sandbox_may_pass(-EOPNOTSUPP) || sandbox_may_pass(-EEXIST)
	             || sandbox_may_pass(-EACCES) || sandbox_may_pass(-E2BIG));
}

/* Those that are there stay. */
static int no_descriptors(int which)
{
	(void)which;
	int next = dup(STDERR_FILENO);
	close(next);
	return setrlimit(RLIMIT_NOFILE, &(struct rlimit){ (rlim_t)next, (rlim_t)next });
}

static void nobody_goes_on_without(void **state)
{
	char text[4096];
	(void)state;
	assert_int_equal(told(no_descriptors, nothing, 0, SANDBOX_ENFORCE, text, sizeof(text)), SANDBOX_AGAIN);
	assert_non_null(strstr(text, "error event=sandbox_failed msg=\"addresses that may be connected to are not protected"));
	assert_non_null(strstr(text, strerror(EMFILE)));
	assert_null(strstr(text, "sandbox_partial"));
	/* Where nothing is refused nothing is lost. */
	assert_int_equal(told(no_descriptors, nothing, 0, SANDBOX_LOG, text, sizeof(text)), 0);
	assert_null(strstr(text, "sandbox_failed"));
	assert_int_equal(told(no_descriptors, nothing, 0, SANDBOX_OFF, text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

/* ---- the table, and what is needed ---- */

static void table(void **state)
{
	const struct sandbox_role *role;
	(void)state;
	for (unsigned n = 0; (role = sandbox_role_at(n)); n++) {
		assert_ptr_equal(sandbox_role(role->name), role);
		assert_true(role->why && role->why[0]);
		/* Who talks to strangers may do nothing, and the filter is where it is all about. */
		assert_true(role->calls != 0 || role->may_gain);
		assert_int_equal(role->may & (ACT(CORE)), 0);
	}
	assert_int_equal(sandbox_role("front")->may, 0);
	assert_int_equal(sandbox_role("mail")->may, 0);
	assert_int_equal(sandbox_role("tls")->may, 0);
	assert_null(sandbox_role("stranger"));
}

static void needs_have_an_end(void **state)
{
	static struct sandbox_needs needs;
	char path[300];
	(void)state;
	sandbox_needs_init(&needs);
	for (unsigned i = 0; i < SANDBOX_PATHS + 10; i++) {
		snprintf(path, sizeof(path), "/%0250u", i);
		sandbox_need_path(&needs, path, LANDLOCK_READ);
	}
	assert_true(needs.paths_len > 0 && needs.paths_len <= SANDBOX_PATHS && needs.text_len <= SANDBOX_PATH_BYTES);
	sandbox_needs_init(&needs);
	sandbox_need_folder_of(&needs, "/a/b/c", LANDLOCK_READ);
	sandbox_need_folder_of(&needs, "/a", LANDLOCK_READ);
	sandbox_need_folder_of(&needs, "a", LANDLOCK_READ);
	sandbox_need_folder_of(&needs, "", LANDLOCK_READ);
	assert_int_equal(needs.paths_len, 3);
	assert_string_equal(needs.paths[0].path, "/a/b");
	assert_string_equal(needs.paths[1].path, "/");
	assert_string_equal(needs.paths[2].path, ".");
	for (unsigned i = 0; i < SANDBOX_PORTS; i++) {
		sandbox_need_port(&needs, (uint16_t)(i + 1));
		sandbox_need_port(&needs, 1);
	}
	assert_int_equal(needs.ports_len, SANDBOX_PORTS);
	assert_false(needs.ports_all);
	sandbox_need_port(&needs, 999);
	assert_true(needs.ports_all);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(outside_all_succeed), cmocka_unit_test(inside_none_succeeds), cmocka_unit_test(first_half_is_something),
		cmocka_unit_test(front_reaches_its_backends_alone), cmocka_unit_test(refused_calls_are_told), cmocka_unit_test(what_may_pass), cmocka_unit_test(nobody_goes_on_without), cmocka_unit_test(table), cmocka_unit_test(needs_have_an_end) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
