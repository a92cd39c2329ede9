/* Landlock: what the rules allow goes on, what they do not is refused; and what the kernel has not got is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/addr.h"
#include "core/landlock.h"
#include "core/sock.h"
#include "untested.h"

#define CHECK(what) do { if (!(what)) { fprintf(stderr, "# line %d: %s (%s)\n", __LINE__, #what, strerror(errno)); return 1; } } while (0)

static char root[] = "/tmp/tarry-test-landlock-XXXXXX";

static const char *in_root(const char *name)
{
	static char paths[4][200];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

static void passes(int (*run)(void))
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(run());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static bool can_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool make(const char *path)
{
	return can_open(path, O_WRONLY | O_CREAT | O_TRUNC);
}

static int restrict_to(const struct landlock_rules *rules, struct landlock_result *result)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return landlock_restrict(rules, result);
}

static int files(void)
{
	struct landlock_result r;
	char list[64], read[64], write[64];
	snprintf(list, sizeof(list), "%s", in_root("list"));
	snprintf(read, sizeof(read), "%s", in_root("read"));
	snprintf(write, sizeof(write), "%s", in_root("write"));
	const struct landlock_path paths[] = { { list, LANDLOCK_LIST }, { read, LANDLOCK_READ }, { write, LANDLOCK_WRITE }, { "/nonexistent", LANDLOCK_WRITE } };
	const struct landlock_rules rules = { .paths = paths, .paths_len = 4, .moves = true, .ports_all = true };
	CHECK(restrict_to(&rules, &r) == 0);
	CHECK(r.abi == landlock_abi() && r.files == (r.abi >= 2) && !r.network && !r.scoped);
	CHECK(!r.files || !can_open(in_root("file"), O_RDONLY));
	CHECK(!r.files || !make(in_root("made")));
	CHECK(can_open(list, O_RDONLY | O_DIRECTORY) && can_open(read, O_RDONLY | O_DIRECTORY) && can_open(write, O_RDONLY | O_DIRECTORY));
	CHECK(!r.files || !can_open(in_root("list/file"), O_RDONLY));
	CHECK(can_open(in_root("read/file"), O_RDONLY));
	CHECK(!r.files || (!can_open(in_root("read/file"), O_WRONLY) && !make(in_root("read/made")) && unlink(in_root("read/file")) < 0));
	CHECK(make(in_root("write/made")) && mkdir(in_root("write/a"), 0700) == 0 && mkdir(in_root("write/b"), 0700) == 0 && make(in_root("write/a/x")));
	CHECK(rename(in_root("write/a/x"), in_root("write/b/x")) == 0 && link(in_root("write/b/x"), in_root("write/a/y")) == 0);
	CHECK(unlink(in_root("write/b/x")) == 0 && unlink(in_root("write/a/y")) == 0 && unlink(in_root("write/made")) == 0);
	CHECK(rmdir(in_root("write/a")) == 0 && rmdir(in_root("write/b")) == 0);
	return 0;
}

static int nothing(void)
{
	struct landlock_result r;
	const struct landlock_rules rules = { .ports_all = true };
	CHECK(restrict_to(&rules, &r) == 0);
	CHECK(r.files == (r.abi >= 1));
	CHECK(!r.files || (!can_open("/etc/passwd", O_RDONLY) && !can_open("/", O_RDONLY | O_DIRECTORY) && !make(in_root("write/made"))));
	return 0;
}

static int listening(struct addr *at)
{
	addr_parse(slice_of("127.0.0.1"), at);
	int fd = sock_listen(at, 10, false);
	sock_local(fd, at);
	return fd;
}

static int ports(void)
{
	struct addr good, bad;
	struct landlock_result r;
	int one = listening(&good), two = listening(&bad);
	uint16_t port = good.port;
	const struct landlock_path all = { "/", LANDLOCK_WRITE };
	const struct landlock_rules rules = { .paths = &all, .paths_len = 1, .ports = &port, .ports_len = 1, .scoped = true };
	CHECK(one >= 0 && two >= 0 && restrict_to(&rules, &r) == 0);
	CHECK(r.network == (r.abi >= 4) && r.scoped == (r.abi >= 6));
	int fd = sock_connect(&good);
	CHECK(fd >= 0);
	close(fd);
	fd = sock_connect(&bad);
	CHECK(r.network ? fd == -EACCES : fd >= 0);
	struct addr third;
	int listener = listening(&third);
	CHECK(r.network ? listener == -EACCES : listener >= 0);
	CHECK(r.scoped ? kill(getppid(), 0) < 0 && errno == EPERM : kill(getppid(), 0) == 0);
	return 0;
}

static int set_up(void **state)
{
	static const char *const folders[] = { "list", "read", "write" }, *const made[] = { "file", "list/file", "read/file" };
	(void)state;
	if (!mkdtemp(root))
		return 1;
	for (size_t i = 0; i < 3; i++)
		if (mkdir(in_root(folders[i]), 0755) < 0)
			return 1;
	for (size_t i = 0; i < 3; i++)
		if (!make(in_root(made[i])))
			return 1;
	return 0;
}

static int clear(void **state)
{
	static const char *const all[] = { "file", "list/file", "read/file", "list", "read", "write" };
	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		remove(in_root(all[i]));
	return rmdir(root);
}

static void files_and_folders(void **state)
{
	(void)state;
	if (landlock_abi() == 0)
		untested();
	passes(files);
	passes(nothing);
}

static void ports_and_signals(void **state)
{
	(void)state;
	if (landlock_abi() < 4)
		untested();
	passes(ports);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(files_and_folders), cmocka_unit_test(ports_and_signals) };
	return cmocka_run_group_tests(tests, set_up, clear);
}
