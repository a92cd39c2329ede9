/* The log: what a line looks like, what is done about long ones, and that a reader who is slow or gone stops nobody. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../untested.h"
#include "core/log.h"

static struct buf captured;
static int real_stderr;

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	buf_init(&captured, 64 * 1024);
	return real_stderr < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&captured);
	return 0;
}

static void begin_capture(void)
{
	buf_clear(&captured);
	log_capture(&captured);
	log_role("front/0");
}

/* What has been captured since, and back to the target. */
static const char *end_capture(void)
{
	log_capture(NULL);
	return buf_text(&captured);
}

static void test_line(void **state)
{
	(void)state;
	struct log_line l;
	struct addr a4, a6;
	assert_true(addr_parse(slice_of("192.0.2.1"), &a4) && addr_parse(slice_of("2001:db8::1"), &a6));
	begin_capture();
	assert_true(log_begin(&l, LOG_LEVEL_INFO));
	log_text(&l, "verdict", "early");
	log_addr(&l, "client", &a4);
	log_addr(&l, "other", &a6);
	log_ms(&l, "after_ms", 412345);
	log_int(&l, "n", -7);
	log_bytes(&l, "data", "HELO x\r\n\0\xff", 10);
	log_end(&l);
	assert_string_equal(end_capture(),
		"front/0 info verdict=early client=192.0.2.1 other=2001:db8::1 after_ms=0.412 n=-7 data=\"HELO x\\r\\n\\x00\\xff\"\n");
}

static void test_quoting(void **state)
{
	(void)state;
	static const char *const values[][2] = {
		{ "plain-1.2:3/x,y", "plain-1.2:3/x,y" }, { "", "\"\"" }, { "two words", "\"two words\"" }, { "a=b", "\"a=b\"" }, { "a\"b", "\"a\\\"b\"" },
		{ "a\\b", "\"a\\\\b\"" }, { "line\nend", "\"line\\nend\"" }, { "\x1b[2J", "\"\\x1b[2J\"" }, { "\xc3\xbc", "\"\\xc3\\xbc\"" },
	};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct log_line l;
		char want[64];
		begin_capture();
		log_begin(&l, LOG_LEVEL_NOTICE);
		log_text(&l, "k", values[i][0]);
		log_end(&l);
		snprintf(want, sizeof(want), "front/0 notice k=%s\n", values[i][1]);
		assert_string_equal(end_capture(), want);
	}
}

static void test_numbers(void **state)
{
	(void)state;
	struct log_line l;
	begin_capture();
	log_begin(&l, LOG_LEVEL_ERROR);
	log_int(&l, "a", 0);
	log_int(&l, "b", INT64_MAX);
	log_int(&l, "c", INT64_MIN);
	log_ms(&l, "d", 0);
	log_ms(&l, "e", 1000000000);
	log_ms(&l, "f", -1500000);
	log_ms(&l, "g", 999);
	log_ms(&l, "h", -999);
	log_ms(&l, "i", INT64_MAX);
	log_end(&l);
	assert_string_equal(end_capture(), "front/0 error a=0 b=9223372036854775807 c=-9223372036854775808 d=0.000 e=1000.000 f=-1.500 g=0.000 h=0.000"
		" i=9223372036854.775\n");
}

static void test_levels(void **state)
{
	(void)state;
	struct log_line l;
	begin_capture();
	assert_true(log_wants(LOG_LEVEL_INFO));
	assert_false(log_wants(LOG_LEVEL_DEBUG));
	assert_false(log_begin(&l, LOG_LEVEL_DEBUG));
	log_text(&l, "k", "v");
	log_int(&l, "n", 1);
	log_end(&l);
	log_event(LOG_LEVEL_DEBUG, "note", "nothing");
	/* A line that has ended takes no more. */
	log_begin(&l, LOG_LEVEL_WARNING);
	log_int(&l, "n", 1);
	log_end(&l);
	log_int(&l, "n", 2);
	log_end(&l);
	log_event(LOG_LEVEL_WARNING, "note", "cannot open %s: %d", "\"x\"", 5);
	assert_string_equal(end_capture(), "front/0 warning n=1\nfront/0 warning event=note msg=\"cannot open \\\"x\\\": 5\"\n");
}

static void test_long_lines(void **state)
{
	(void)state;
	struct log_line l;
	static char huge[8192];
	memset(huge, 'x', sizeof(huge) - 1);
	/* Bytes: 100 are shown. */
	begin_capture();
	log_begin(&l, LOG_LEVEL_INFO);
	log_bytes(&l, "data", huge, 101);
	log_end(&l);
	assert_int_equal(captured.len, strlen("front/0 info data=\"\"...\n") + 100);
	/* A value too long for the line is cut, not left out; what comes after it still fits. */
	begin_capture();
	log_begin(&l, LOG_LEVEL_INFO);
	log_text(&l, "k", huge);
	log_int(&l, "n", 1);
	log_end(&l);
	assert_non_null(strstr(end_capture(), "xxx...\" n=1\n"));
	memset(huge, '\n', sizeof(huge) - 1);
	begin_capture();
	log_event(LOG_LEVEL_INFO, "note", "%s", huge);
	assert_non_null(strstr(end_capture(), "\\n\\n...\"\n"));
	assert_true(captured.len <= LOG_LINE);
	/* Too many keys: whole ones, and a sign. */
	begin_capture();
	log_begin(&l, LOG_LEVEL_INFO);
	for (int i = 0; i < 1000; i++)
		log_int(&l, "key", 1000 + i);
	log_text(&l, "late", "x");
	log_end(&l);
	const char *text = end_capture();
	assert_true(captured.len <= LOG_LINE + 1);
	assert_string_equal(text + captured.len - 9, " cut=yes\n");
	assert_null(strstr(text, "late"));
	assert_true(text[captured.len - 10] >= '0' && text[captured.len - 14] == '='); /* the last number has its four digits */
}

/* stderr becomes fd; the log is opened upon it. */
static void log_to(int fd)
{
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	int e = log_open(LOG_TO_STDERR, LOG_LEVEL_INFO);
	dup2(real_stderr, STDERR_FILENO);
	assert_int_equal(e, 0);
}

static void test_file(void **state)
{
	(void)state;
	char path[] = "/tmp/tarry-test-log-XXXXXX", text[4096], want[128];
	int year, month, day, hour, minute, second, ms, pid, end = 0;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	log_to(fd);
	log_role("parent");
	log_event(LOG_LEVEL_INFO, "note", "one");
	assert_true(log_pending()); /* gathered, not written */
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	log_flush();
	assert_false(log_pending());
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ tarry[%d]%n", &year, &month, &day, &hour, &minute, &second, &ms, &pid, &end), 8);
	assert_int_equal(pid, getpid());
	snprintf(want, sizeof(want), " parent info event=note msg=\"one\"\n");
	assert_string_equal(text + end, want);
	/* Much of it is written without being asked. */
	for (int i = 0; i < 500; i++)
		log_event(LOG_LEVEL_INFO, "note", "line %d", i);
	assert_true(lseek(fd, 0, SEEK_END) > 16 * 1024);
	log_flush();
	close(fd);
}

/* A service's stderr: what the journal shows of a line by itself it is not told; and whoever has put another socket there is not taken for the journal. */
static void test_service(void **state)
{
	(void)state;
	char text[512], stream[64];
	struct stat st;
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(fstat(ends[0], &st), 0);
	for (unsigned other = 0; other < 2; other++) {
		snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + other);
		setenv("JOURNAL_STREAM", stream, 1);
		log_to(ends[0]);
		log_role("front/1");
		log_event(LOG_LEVEL_WARNING, "note", "one");
		log_event(LOG_LEVEL_INFO, "note", "two");
		log_flush();
		ssize_t n = recv(ends[1], text, sizeof(text) - 1, MSG_DONTWAIT);
		assert_true(n > 0);
		text[n] = '\0';
		if (other == 0)
			assert_string_equal(text, "<4>front/1 warning event=note msg=\"one\"\n<6>front/1 info event=note msg=\"two\"\n");
		else
			assert_non_null(strstr(text, "Z tarry["));
	}
	unsetenv("JOURNAL_STREAM");
	close(ends[0]);
	close(ends[1]);
}

/* Reads all there is; lines are whole, and numbered; returns how many there were, *lost how many are told as lost. */
static unsigned drain(int fd, unsigned *next, unsigned *lost)
{
	static char text[256 * 1024];
	ssize_t n, len = 0;
	unsigned lines = 0;
	while ((n = read(fd, text + len, sizeof(text) - 1 - (size_t)len)) > 0)
		len += n;
	text[len] = '\0';
	for (char *at = text, *eol; (eol = strchr(at, '\n')); at = eol + 1) {
		unsigned number;
		*eol = '\0';
		const char *found = strstr(at, "info number="), *gap = strstr(at, "warning log_lines_lost=");
		assert_non_null(found ? found : gap);
		if (gap) {
			*lost += (unsigned)atoi(strchr(gap, '=') + 1);
			continue;
		}
		number = (unsigned)atoi(strchr(found, '=') + 1);
		if (*lost == 0)
			assert_int_equal(number, *next);
		*next = number + 1;
		lines++;
	}
	assert_true(len == 0 || text[len - 1] == '\0');
	return lines;
}

static void log_number(unsigned n)
{
	struct log_line l;
	log_begin(&l, LOG_LEVEL_INFO);
	log_int(&l, "number", n);
	log_bytes(&l, "data", "0123456789012345678901234567890123456789", 40);
	log_end(&l);
}

static void test_slow_reader(void **state)
{
	(void)state;
	int pipes[2];
	unsigned next = 0, lost = 0, got = 0, wrote = 4000;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0); /* blocking, as a pipe from a shell is */
	assert_int_equal(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
	assert_true(fcntl(pipes[1], F_SETPIPE_SZ, 4096) >= 4096);
	log_to(pipes[1]);
	for (unsigned i = 0; i < wrote; i++)
		log_number(i);
	log_flush();
	assert_true(log_pending()); /* nobody has read: some wait, some are lost, and we are here */
	for (int i = 0; i < 1000 && log_pending(); i++) {
		got += drain(pipes[0], &next, &lost);
		log_flush();
	}
	assert_false(log_pending());
	got += drain(pipes[0], &next, &lost);
	log_number(wrote); /* the next line says what is missing */
	log_flush();
	got += drain(pipes[0], &next, &lost);
	assert_true(lost > 0);
	assert_int_equal(got + lost, wrote + 1);
	assert_int_equal(fcntl(pipes[1], F_GETFL) & O_NONBLOCK, 0); /* what we share was left as it was */
	close(pipes[0]);
	log_number(0); /* nobody will ever read it */
	log_flush();
	assert_false(log_pending());
	close(pipes[1]);
	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	log_to(pipes[1]); /* the log goes on elsewhere, and knows what is missing */
	lost = next = 0;
	log_number(7);
	log_flush();
	assert_int_equal(drain(pipes[0], &next, &lost), 1);
	assert_int_equal(lost, 1);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_fork(void **state)
{
	(void)state;
	int pipes[2];
	char text[4096];
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	log_to(pipes[1]);
	log_role("parent");
	log_event(LOG_LEVEL_INFO, "note", "once");
	pid_t child = fork();
	if (child == 0) {
		log_role("front/1");
		log_event(LOG_LEVEL_INFO, "note", "child %d", (int)getpid());
		log_flush();
		_exit(log_pending());
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	log_flush();
	ssize_t n = read(pipes[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	char want[64];
	snprintf(want, sizeof(want), "tarry[%d] front/1 info event=note msg=\"child %d\"\n", (int)child, (int)child);
	assert_non_null(strstr(text, want));
	char *once = strstr(text, "msg=\"once\"");
	assert_non_null(once);
	assert_null(strstr(once + 1, "msg=\"once\""));
	assert_int_equal(log_open(LOG_TO_STDERR, LOG_LEVEL_INFO), 0);
	close(pipes[0]);
	close(pipes[1]);
}

static int bind_datagram(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	return bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0 ? fd : -1;
}

/* A root of our own, with the sockets of a syslog and a journal in it. */
static void with_root(int (*in_child)(void))
{
	char root[] = "/tmp/tarry-test-log-XXXXXX", command[160];
	assert_non_null(mkdtemp(root));
	snprintf(command, sizeof(command), "mkdir -p %s/dev %s/run/systemd/journal", root, root);
	assert_int_equal(system(command), 0);
	int status;
	pid_t child = fork();
	if (child == 0) {
		if ((geteuid() != 0 && unshare(CLONE_NEWUSER) < 0) || chroot(root) < 0 || chdir("/") < 0)
			_exit(77);
		_exit(in_child());
	}
	waitpid(child, &status, 0);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	assert_int_equal(system(command), 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		untested();
		return;
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The next datagram as text; "" when there is none. */
static const char *next_datagram(int fd)
{
	static char text[4096];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static int syslog_child(void)
{
	int fd = bind_datagram("/dev/log");
	int end = 0, pid = 0, day, hour, minute, second;
	char month[4];
	if (fd < 0 || log_open(LOG_TO_SYSLOG, LOG_LEVEL_INFO) != 0)
		return 1;
	log_role("front/0");
	log_event(LOG_LEVEL_WARNING, "note", "one");
	log_event(LOG_LEVEL_INFO, "note", "two");
	log_flush();
	const char *text = next_datagram(fd);
	if (sscanf(text, "<20>%3s %2d %2d:%2d:%2d tarry[%d]:%n", month, &day, &hour, &minute, &second, &pid, &end) != 6 || pid != getpid())
		return 2;
	if (strcmp(text + end, " front/0 warning event=note msg=\"one\"") != 0)
		return 3;
	if (strncmp(next_datagram(fd), "<22>", 4) != 0)
		return 4;
	/* The daemon is started again: its old socket is gone, a new one stands there. */
	close(fd);
	fd = bind_datagram("/dev/log");
	log_event(LOG_LEVEL_INFO, "note", "three");
	log_flush();
	if (!strstr(next_datagram(fd), "msg=\"three\""))
		return 5;
	/* Nobody reads: lines wait up to a ceiling, then they are lost and counted. */
	for (int i = 0; i < 20000; i++)
		log_event(LOG_LEVEL_INFO, "note", "flood %d", i);
	log_flush();
	if (!log_pending())
		return 6;
	unsigned got = 0, lost = 0;
	for (int i = 0; i < 100000 && log_pending(); i++) {
		for (text = next_datagram(fd); *text; text = next_datagram(fd))
			got += strstr(text, "flood") != NULL;
		log_flush();
	}
	log_event(LOG_LEVEL_INFO, "note", "last");
	log_flush();
	for (text = next_datagram(fd); *text; text = next_datagram(fd)) {
		got += strstr(text, "flood") != NULL;
		const char *gap = strstr(text, "log_lines_lost=");
		lost += gap ? (unsigned)atoi(strchr(gap, '=') + 1) : 0;
	}
	return got + lost == 20000 && lost > 0 ? 0 : 7;
}

static int journal_child(void)
{
	int fd = bind_datagram("/run/systemd/journal/socket");
	if (fd < 0 || log_open(LOG_TO_JOURNAL, LOG_LEVEL_DEBUG) != 0)
		return 1;
	log_role("mail/3");
	log_event(LOG_LEVEL_ERROR, "note", "disk\nfull");
	log_flush();
	return strcmp(next_datagram(fd), "SYSLOG_IDENTIFIER=tarry\nSYSLOG_FACILITY=2\nPRIORITY=3\nMESSAGE=mail/3 error event=note msg=\"disk\\nfull\"\n") == 0 ? 0 : 2;
}

static int absent_child(void)
{
	return log_open(LOG_TO_JOURNAL, LOG_LEVEL_INFO) == -ENOENT && log_wants(LOG_LEVEL_INFO) ? 0 : 1;
}

static void test_syslog(void **state)
{
	(void)state;
	with_root(syslog_child);
}

static void test_journal(void **state)
{
	(void)state;
	with_root(journal_child);
}

static void test_absent(void **state)
{
	(void)state;
	with_root(absent_child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line), cmocka_unit_test(test_quoting), cmocka_unit_test(test_numbers), cmocka_unit_test(test_levels),
		cmocka_unit_test(test_long_lines), cmocka_unit_test(test_file), cmocka_unit_test(test_service), cmocka_unit_test(test_slow_reader), cmocka_unit_test(test_fork),
		cmocka_unit_test(test_syslog), cmocka_unit_test(test_journal), cmocka_unit_test(test_absent),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
