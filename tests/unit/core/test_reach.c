/* The only addresses that there are: once they are sealed nobody can change them, and connect() and sendmsg() go by way of them. Each case in a process of its own, for sealing is for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/addr.h"
#include "core/reach.h"
#include "core/sock.h"
#include "descriptors.h"

#define CHECK(what) do { if (!(what)) { fprintf(stderr, "# line %d: %s\n", __LINE__, #what); return 1; } } while (0)

static int status_of(int (*run)(void))
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(run());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void passes(int (*run)(void))
{
	int status = status_of(run);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int listening(struct addr *at)
{
	struct addr any;
	addr_parse(slice_of("127.0.0.1"), &any);
	int fd = sock_listen(&any, 10, false);
	sock_local(fd, at);
	return fd;
}

static int only_those(void)
{
	struct addr good, bad;
	int descriptors = descriptors_open();
	int one = listening(&good), two = listening(&bad);
	CHECK(one >= 0 && two >= 0 && good.port != bad.port);
	CHECK(reach_add_addr(&good) && reach_add_addr(&good));
	int fd = sock_connect(&bad); /* not yet */
	CHECK(fd >= 0);
	close(fd);
	CHECK(!reach_is_sealed() && reach_seal() == 0 && reach_is_sealed() && reach_seal() == 0);
	CHECK(!reach_add_addr(&bad));
	fd = sock_connect(&good);
	CHECK(fd >= 0);
	close(fd);
	CHECK(sock_connect(&bad) == -EACCES);
	good.port ^= 1;
	CHECK(sock_connect(&good) == -EACCES);
	CHECK(sock_connect_unix("/dev/log") == -EACCES);
	socklen_t len;
	CHECK(reach_at(0, &len) && len == sizeof(struct sockaddr_in) && !reach_at(1, &len));
	CHECK((uintptr_t)reach_at(0, &len) < reach_end() && (uintptr_t)reach_header(0) < reach_end() && !reach_header(SOCK_FDS + 1));
	close(one);
	close(two);
	CHECK(descriptors_open() == descriptors + 1); /* that of reach_descriptor() */
	return 0;
}

static int unix_names(void)
{
	char name[64];
	snprintf(name, sizeof(name), "@tarry-reach-%ld", (long)getpid());
	int listener = sock_listen_unix(name, 10);
	char longest[200];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	CHECK(listener >= 0 && reach_add_unix(name) && !reach_add_unix(longest) && !reach_add_unix(""));
	CHECK(reach_seal() == 0);
	int fd = sock_connect_unix(name);
	CHECK(fd >= 0);
	name[strlen(name) - 1]++;
	CHECK(sock_connect_unix(name) == -EACCES);
	return 0;
}

static int none_at_all(void)
{
	struct addr at;
	int listener = listening(&at);
	socklen_t len;
	CHECK(listener >= 0 && reach_seal() == 0 && !reach_at(0, &len));
	CHECK(sock_connect(&at) == -EACCES);
	return 0;
}

static int as_many_as_fit(void)
{
	struct addr at;
	addr_parse(slice_of("192.0.2.1"), &at);
	for (unsigned i = 0; i < REACH_MAX; i++) {
		at.port = (uint16_t)(i + 1);
		CHECK(reach_add_addr(&at));
	}
	at.port++;
	CHECK(!reach_add_addr(&at));
	at.port--;
	CHECK(reach_add_addr(&at)); /* it is there */
	CHECK(reach_seal() == 0);
	socklen_t len;
	CHECK(reach_at(REACH_MAX - 1, &len) && !reach_at(REACH_MAX, &len));
	return 0;
}

static int descriptors_too(void)
{
	int pair[2], other[2], got[SOCK_FDS];
	unsigned len;
	char bytes[8] = "";
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0 && pipe(other) == 0);
	CHECK(reach_seal() == 0);
	for (unsigned n = 0; n <= SOCK_FDS; n++) {
		int fds[SOCK_FDS];
		for (unsigned i = 0; i < n; i++)
			fds[i] = other[i % 2];
		CHECK(sock_send_fds(pair[0], "word", 4, fds, n) == 4);
		CHECK(sock_recv_fds(pair[1], bytes, sizeof(bytes), got, SOCK_FDS, &len) == 4 && len == n && memcmp(bytes, "word", 4) == 0);
		for (unsigned i = 0; i < len; i++)
			close(got[i]);
	}
	CHECK(sock_send_fds(pair[0], "x", 1, got, SOCK_FDS + 1) == -EINVAL);
	CHECK(sock_send_fd(pair[0], "x", 1, -1) == 1 && sock_recv_fd(pair[1], bytes, 8, got) == 1 && got[0] == -1);
	return 0;
}

static int not_made_writable(void)
{
	socklen_t len;
	struct addr at;
	addr_parse(slice_of("192.0.2.1"), &at);
	CHECK(reach_add_addr(&at) && reach_seal() == 0);
	void *page = (void *)((uintptr_t)reach_at(0, &len) & ~(uintptr_t)4095);
	CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) < 0);
	uint8_t before = *(const uint8_t *)reach_at(0, &len);
	madvise(page, 4096, MADV_DONTNEED); /* it comes back as it was */
	madvise(page, 4096, MADV_REMOVE);
	CHECK(before != 0 && *(const uint8_t *)reach_at(0, &len) == before);
	return 0;
}

static int written_to(void)
{
	socklen_t len;
	struct addr at;
	addr_parse(slice_of("192.0.2.1"), &at);
	if (!reach_add_addr(&at) || reach_seal() < 0)
		return 1;
	signal(SIGSEGV, SIG_DFL);
	*(volatile uint8_t *)(uintptr_t)reach_at(0, &len) = 1;
	return 0;
}

/* An address that there was no descriptor for would be out of reach for good, and later there are some. */
static int short_of_descriptors(void)
{
	struct addr at;
	struct rlimit all, few;
	addr_parse(slice_of("192.0.2.1"), &at);
	CHECK(getrlimit(RLIMIT_NOFILE, &all) == 0);
	few = (struct rlimit){ 0, all.rlim_max };
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0 && !reach_add_addr(&at) && setrlimit(RLIMIT_NOFILE, &all) == 0);
	CHECK(reach_add_addr(&at) && reach_seal() == -EMFILE && !reach_is_sealed());
	return 0;
}

/* The one that others take the place of is no less needed. */
static int one_descriptor_short(void)
{
	struct addr at;
	struct rlimit few;
	addr_parse(slice_of("192.0.2.1"), &at);
	CHECK(getrlimit(RLIMIT_NOFILE, &few) == 0 && reach_add_addr(&at));
	few.rlim_cur = 0;
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0 && reach_seal() < 0 && !reach_is_sealed());
	return 0;
}

static void who_is_in_reach(void **state)
{
	(void)state;
	passes(only_those);
	passes(unix_names);
	passes(none_at_all);
	passes(as_many_as_fit);
	passes(short_of_descriptors);
	passes(one_descriptor_short);
}

static void what_is_sent(void **state)
{
	(void)state;
	passes(descriptors_too);
}

static void nobody_changes_it(void **state)
{
	(void)state;
	passes(not_made_writable);
	int status = status_of(written_to);
	assert_true(WIFSIGNALED(status));
	assert_true(WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(who_is_in_reach), cmocka_unit_test(what_is_sent), cmocka_unit_test(nobody_changes_it) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
