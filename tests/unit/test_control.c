/* `tarry reload`, both ends of it: the door's in this process, the one who asks in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "control.h"
#include "descriptors.h"
#include "untested.h"

#define TEXT_MAX (2 * CONTROL_TEXT)
#define PATIENCE_MS 10000

static char folder[] = "/tmp/tarry-test-XXXXXX", file[64], other[64];
static int listener, before;

static int begin(void **context)
{
	(void)context;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/a.conf", folder);
	snprintf(other, sizeof(other), "%s/b.conf", folder);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	close(open(other, O_CREAT | O_WRONLY, 0600));
	before = descriptors_open();
	listener = control_listen(CONTROL_RELOAD, file);
	assert_true(listener >= 0);
	return 0;
}

static int end(void **context)
{
	(void)context;
	if (listener >= 0)
		close(listener);
	assert_int_equal(descriptors_open(), before);
	unlink(file);
	unlink(other);
	rmdir(folder);
	return 0;
}

/* ---- the one who asks ---- */

static struct {
	int code;
	char out[TEXT_MAX], err[TEXT_MAX];
} run;
static FILE *out_file, *err_file;
static pid_t child;
static uid_t as; /* whom the child is; 0: as we are */

static void read_all(FILE *f, char *to)
{
	rewind(f);
	to[fread(to, 1, TEXT_MAX - 1, f)] = '\0';
	fclose(f);
}

/* The command, in a child; what it says goes to files. */
static void start(char *const argv[])
{
	int argc = 0;
	while (argv[argc])
		argc++;
	out_file = tmpfile();
	err_file = tmpfile();
	assert_true(out_file && err_file);
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child > 0)
		return;
	dup2(fileno(out_file), STDOUT_FILENO);
	dup2(fileno(err_file), STDERR_FILENO);
	close(listener); /* or a door that has gone would still be there */
	alarm(PATIENCE_MS / 1000);
	if (as != 0 && setuid(as) < 0)
		_exit(99);
	optind = 0;
	int code = control_reload(argc, (char **)(uintptr_t)argv);
	fflush(NULL);
	_exit(code);
}

static void start_reload(const char *path)
{
	char *argv[] = { "reload", "-c", (char *)(uintptr_t)path, NULL };
	start(argv);
}

/* Until the child does nothing but wait; or it is at its end, which it should not be. */
static void let_it_wait(void)
{
	char path[64], text[200], state = 'R';
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
	while (state != 'S' && state != 'Z') {
		FILE *f = fopen(path, "r");
		assert_non_null(f);
		assert_non_null(fgets(text, sizeof(text), f));
		fclose(f);
		state = strrchr(text, ')')[2];
		sched_yield();
	}
}

static void finish(void)
{
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	read_all(out_file, run.out);
	read_all(err_file, run.err);
	run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_run(int code, const char *out, const char *err)
{
	finish();
	assert_string_equal(run.err, err);
	assert_string_equal(run.out, out);
	assert_int_equal(run.code, code);
}

/* ---- the door ---- */

static int take(void)
{
	struct pollfd p = { listener, POLLIN, 0 };
	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	int fd = control_accept(listener);
	assert_true(fd >= 0);
	return fd;
}

static void answer(int fd, const char *text)
{
	struct buf b;
	buf_init(&b, TEXT_MAX);
	assert_true(buf_put_text(&b, text));
	control_answer(fd, &b);
	assert_int_equal(b.len, strlen(text)); /* it is the caller's, and whole */
	buf_fini(&b);
}

static int connect_by_hand(void)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, len), 0);
	return fd;
}

static void expect_answer(int fd, const char *text)
{
	char got[200];
	size_t len = 0;
	ssize_t n;
	while ((n = recv(fd, got + len, sizeof(got) - 1 - len, 0)) > 0)
		len += (size_t)n;
	got[len] = '\0';
	assert_string_equal(got, text);
}

/* ---- */

static void one_request(void **context)
{
	(void)context;
	assert_int_equal(control_accept(listener), -EAGAIN);
	start_reload(file);
	int fd = take();
	let_it_wait();
	answer(fd, "+text:/etc/tarry/access: 3 keys\nand more\n");
	expect_run(EX_OK, "text:/etc/tarry/access: 3 keys\nand more\n", "");
	start_reload(file);
	answer(take(), "-access:3: no RHS\n");
	expect_run(EX_DATAERR, "", "access:3: no RHS\n");
	assert_int_equal(control_accept(listener), -EAGAIN);
}

/* They come along, in their order; who does not want them leaves none open, nor does an answer that is none. */
static void descriptors_come_along(void **context)
{
	static char text[CONTROL_TEXT + 1];
	static const char *const said[] = { "+and a text\n", "what?" };
	int ends[2], fds[CONTROL_FDS];
	(void)context;
	assert_int_equal(pipe(ends), 0);
	for (unsigned round = 0; round < 2; round++) {
		int open = descriptors_open();
		fflush(NULL);
		pid_t door = fork();
		assert_true(door >= 0);
		if (door == 0) {
			struct buf b = { .at = (char *)(uintptr_t)said[round], .len = strlen(said[round]) };
			int fd = take();
			control_answer_with(fd, &b, ends, 2);
			_exit(0);
		}
		int code = control_fetch(CONTROL_RELOAD, file, 10, text, fds), status;
		assert_int_equal(waitpid(door, &status, 0), door);
		assert_int_equal(code, round == 0 ? EX_OK : EX_PROTOCOL);
		assert_string_equal(text, said[round]);
		assert_true(fds[2] < 0 && fds[3] < 0);
		for (unsigned i = 0; i < 2; i++) {
			struct stat was, is;
			assert_int_equal(fds[i] >= 0, round == 0);
			if (round > 0)
				continue;
			assert_int_equal(fstat(ends[i], &was) | fstat(fds[i], &is), 0);
			assert_true(was.st_ino == is.st_ino && was.st_dev == is.st_dev);
			close(fds[i]);
		}
		assert_int_equal(descriptors_open(), open);
	}
	close(ends[0]);
	close(ends[1]);
	close(listener);
	listener = -1;
	assert_int_equal(control_fetch(CONTROL_RELOAD, file, 10, text, fds), EX_UNAVAILABLE);
	assert_string_equal(text, "");
}

/* Both wait before the first is answered; each gets its own answer, whichever is answered first. */
static void two_requests(void **context)
{
	(void)context;
	int one = connect_by_hand(), two = connect_by_hand();
	int first = take(), second = take();
	assert_int_equal(control_accept(listener), -EAGAIN);
	answer(second, "-second\n");
	answer(first, "+first\n");
	expect_answer(one, "+first\n");
	expect_answer(two, "-second\n");
	close(one);
	close(two);
}

/* What the one who asks sends means nothing, and does not keep it from its answer, nor the next one from his. */
static void garbage(void **context)
{
	static char bytes[100000];
	(void)context;
	int rude = connect_by_hand();
	memset(bytes, '-', sizeof(bytes));
	assert_true(send(rude, bytes, sizeof(bytes), MSG_DONTWAIT) > 0);
	start_reload(file);
	answer(take(), "+rude\n");
	answer(take(), "+polite\n");
	expect_answer(rude, "+rude\n");
	close(rude);
	expect_run(EX_OK, "polite\n", "");
}

static void half_closed(void **context)
{
	(void)context;
	int fd = connect_by_hand();
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	answer(take(), "+done\n");
	expect_answer(fd, "+done\n");
	close(fd);
	/* Gone before it is answered: that is its own affair (and no SIGPIPE). */
	fd = connect_by_hand();
	int theirs = take();
	close(fd);
	answer(theirs, "+done\n");
	/* Gone before it is accepted. */
	fd = connect_by_hand();
	close(fd);
	answer(take(), "+done\n");
	/* An answer that comes in two, and its end later. */
	start_reload(file);
	theirs = take();
	assert_int_equal(send(theirs, "+on", 3, MSG_NOSIGNAL), 3);
	let_it_wait();
	assert_int_equal(send(theirs, "e\ntwo\n", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(shutdown(theirs, SHUT_WR), 0);
	expect_run(EX_OK, "one\ntwo\n", "");
	close(theirs);
}

static void nobody_listens(void **context)
{
	char want[200];
	(void)context;
	snprintf(want, sizeof(want), "tarry: reload: no door runs with %s\n", other);
	start_reload(other);
	expect_run(EX_UNAVAILABLE, "", want);
	close(listener);
	listener = -1;
	snprintf(want, sizeof(want), "tarry: reload: no door runs with %s\n", file);
	start_reload(file);
	expect_run(EX_UNAVAILABLE, "", want);
}

/* A door that ends the connection without a word is another user's. */
static void no_answer(void **context)
{
	(void)context;
	start_reload(file);
	close(take());
	expect_run(EX_NOPERM, "", "tarry: reload: the door does not answer; it may be another user's\n");
}

/* Whatever else may have that socket: what it says is not taken for success, and not shown. */
static void no_door(void **context)
{
	(void)context;
	start_reload(file);
	answer(take(), "220 mail.example.org\n");
	expect_run(EX_PROTOCOL, "", "tarry: reload: what answers there is no door\n");
}

/* One that looks like a door, and would have the terminal do things. */
static void steers(void **context)
{
	(void)context;
	start_reload(file);
	answer(take(), "+ta\tble\n\033[2J\xc2\x9b" "31m\x9b" "0m\x7f M\xc3\xbcll\r\n");
	expect_run(EX_OK, "ta\tble\n?[2J\xc2?31m?0m? M\xc3\xbcll?\n", "");
}

/* Nor may another user ask, who is told so, as far as that can be known. */
static void another_user(void **context)
{
	(void)context;
	if (geteuid() != 0) {
		untested();
		return;
	}
	assert_int_equal(chmod(folder, 0755), 0);
	as = 65534;
	start_reload(file);
	as = 0;
	struct pollfd p = { listener, POLLIN, 0 };
	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	assert_int_equal(control_accept(listener), -EPERM);
	assert_int_equal(control_accept(listener), -EAGAIN);
	expect_run(EX_NOPERM, "", "tarry: reload: the door does not answer; it may be another user's\n");
	int status = control_listen(CONTROL_STATUS, file);
	assert_true(status >= 0);
	as = 65534;
	start_reload(file);
	as = 0;
	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	assert_int_equal(control_accept(listener), -EPERM);
	expect_run(EX_NOPERM, "", "tarry: reload: the door is root's, and answers nobody else but root\n");
	close(status);
}

/* All of an answer as long as may be, and no more of one that is longer. */
static void long_answers(void **context)
{
	static char text[CONTROL_TEXT + 100];
	(void)context;
	memset(text, 'x', sizeof(text));
	text[0] = CONTROL_DONE;
	text[CONTROL_TEXT] = '\0';
	start_reload(file);
	answer(take(), text);
	expect_run(EX_OK, text + 1, "");
	text[CONTROL_TEXT] = 'x';
	text[CONTROL_TEXT + 1] = '\0';
	start_reload(file);
	answer(take(), text);
	text[CONTROL_TEXT] = '\0';
	expect_run(EX_OK, text + 1, "");
}

/* One door to a file, by whichever name; another file is another door. */
static void names(void **context)
{
	char alias[120];
	(void)context;
	assert_int_equal(control_listen(CONTROL_RELOAD, file), -EADDRINUSE);
	snprintf(alias, sizeof(alias), "%s/../%s", folder, file + strlen("/tmp/"));
	assert_int_equal(control_listen(CONTROL_RELOAD, alias), -EADDRINUSE);
	snprintf(alias, sizeof(alias), "%s/link", folder);
	assert_int_equal(symlink(file, alias), 0);
	assert_int_equal(control_listen(CONTROL_RELOAD, alias), -EADDRINUSE);
	start_reload(alias);
	answer(take(), "+by its link\n");
	expect_run(EX_OK, "by its link\n", "");
	unlink(alias);
	int fd = control_listen(CONTROL_RELOAD, other);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	/* A name is free again when its door has gone. */
	close(listener);
	listener = control_listen(CONTROL_RELOAD, file);
	assert_true(listener >= 0);
}

static void usage(void **context)
{
	static const struct {
		char *argv[5];
		const char *err;
	} rows[] = {
		{ { "reload", "-c", NULL }, "tarry: reload: \"-c\": needs a value; see tarry reload -h\n" },
		{ { "reload", "-x", NULL }, "tarry: reload: \"-x\": no such option; see tarry reload -h\n" },
		{ { "reload", "now", NULL }, "tarry: reload: \"now\": nothing is expected there; see tarry reload -h\n" },
		{ { "reload", "-c", "f", "now", NULL }, "tarry: reload: \"now\": nothing is expected there; see tarry reload -h\n" },
	};
	char *help[] = { "reload", "--help", NULL };
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		start(rows[i].argv);
		expect_run(EX_USAGE, "", rows[i].err);
	}
	start(help);
	finish();
	assert_int_equal(run.code, EX_OK);
	assert_memory_equal(run.out, "usage: tarry reload [-c FILE]\n", 30);
	assert_int_equal(control_accept(listener), -EAGAIN); /* and nobody has been asked */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_request, begin, end), cmocka_unit_test_setup_teardown(descriptors_come_along, begin, end), cmocka_unit_test_setup_teardown(two_requests, begin, end),
		cmocka_unit_test_setup_teardown(garbage, begin, end), cmocka_unit_test_setup_teardown(half_closed, begin, end),
		cmocka_unit_test_setup_teardown(nobody_listens, begin, end), cmocka_unit_test_setup_teardown(no_answer, begin, end), cmocka_unit_test_setup_teardown(no_door, begin, end),
		cmocka_unit_test_setup_teardown(steers, begin, end),
		cmocka_unit_test_setup_teardown(another_user, begin, end),
		cmocka_unit_test_setup_teardown(long_answers, begin, end), cmocka_unit_test_setup_teardown(names, begin, end),
		cmocka_unit_test_setup_teardown(usage, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
