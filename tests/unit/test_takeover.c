/* What a parent leaves to the program after it: written and read again, refused when it is another version's or damaged, and its descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptors.h"
#include "takeover.h"

static char memory[1024];
static struct buf why;

static struct takeover *parse(const char *text)
{
	struct takeover *t = takeover_new();
	assert_non_null(t);
	buf_init_fixed(&why, memory, sizeof(memory));
	if (takeover_parse(slice_of(text), t, &why))
		return t;
	assert_true(why.len > 0);
	takeover_free(t);
	return NULL;
}

static const char whole[] =
	"tarry-takeover 1\n"
	"generation 7\n"
	"started 1700000000\n"
	"nofile 1024 18446744073709551615\n"
	"handoff 1\n"
	"upgrade 1\n"
	"metrics 10\n"
	"pulse 11\n"
	"recent 12\n"
	"desk 17\n"
	"desk_memory 18\n"
	"tickets 15 99\n"
	"backends 16 18446744073709551615\n"
	"asker 13\n"
	"said 14\n"
	"control 0 20\n"
	"control 3 21\n"
	"socket 127.0.0.1:0 127.0.0.1:4711 0 0 30\n"
	"socket [::]:25 [::]:25 1 1 31\n"
	"child front 0 3 4711 40 6 12345 1\n"
	"child tarry-of-later 2 4 4712 41 7 0 0\n"
	"count connections 12\n"
	"count keeper.0 -3\n"
	"times talk_after 1040 5000000123 0:2,17:1,1039:8000000000\n"
	"keeper 18446744073709551615 50 51 52 -1\n"
	"end\n";

static void there_and_back(void **context)
{
	struct buf out;
	(void)context;
	struct takeover *t = parse(whole);
	assert_non_null(t);
	assert_true(t->generation == 7 && t->started == 1700000000 && t->nofile[0] == 1024 && t->nofile[1] == UINT64_MAX && t->handoff == 1 && t->upgrade);
	assert_true(t->metrics == 10 && t->pulse == 11 && t->recent == 12 && t->asker == 13 && t->said == 14 && t->tickets == 15 && t->backends == 16 && t->backends_key == UINT64_MAX && t->tickets_rotate == 99);
	assert_true(t->controls[0] == 20 && t->controls[1] == -1 && t->controls[3] == 21);
	assert_true(t->sockets_len == 2 && t->sockets[0].wanted.port == 0 && t->sockets[0].at.port == 4711 && !t->sockets[0].shared && t->sockets[1].shared && t->sockets[1].index == 1);
	assert_int_equal(t->children_len, 2);
	assert_string_equal(t->children[0].role, "front");
	assert_true(t->children[0].row == 3 && t->children[0].pid == 4711 && t->children[0].fd == 40 && t->children[0].generation == 6 && t->children[0].retired_at == 12345 && t->children[0].ready);
	assert_true(t->counts_len == 2 && t->counts[1].value == -3);
	assert_int_equal(t->times_len, 1);
	assert_string_equal(t->times[0].name, "talk_after");
	assert_true(t->times[0].of.sum == 5000000123 && t->times[0].of.count == 8000000003 && t->times[0].of.buckets[0] == 2 && t->times[0].of.buckets[17] == 1 && t->times[0].of.buckets[1039] == 8000000000);
	assert_true(t->keeper_key == UINT64_MAX && t->keeper_len == 4 && t->keeper[3] == -1);
	buf_init(&out, TAKEOVER_TEXT);
	assert_true(takeover_put(t, &out));
	assert_string_equal(buf_text(&out), whole);
	buf_fini(&out);
	takeover_free(t);
}

/* A description in which a line is missing is none: what comes after it would not know its sockets. */
static void a_line_that_does_not_fit(void **context)
{
	(void)context;
	struct takeover *t = parse(whole);
	assert_non_null(t);
	for (size_t size = 0; size < strlen(whole); size++) {
		struct buf out;
		buf_init(&out, size);
		assert_false(takeover_put(t, &out));
		buf_fini(&out);
	}
	takeover_free(t);
}

/* Of a later version there may be more lines, and more words. */
static void what_is_new_is_passed_over(void **context)
{
	(void)context;
	struct takeover *t = parse("tarry-takeover 1\ngeneration 1 2 3\nsomething new\n\nsocket 127.0.0.1:25 127.0.0.1:25 0 0 30 and more\ncontrol 99 44\ntimes x 9 1 8:1 more\ntimes y 1041 1 1040:1\nend\n");
	assert_non_null(t);
	assert_true(t->generation == 1 && t->sockets_len == 1 && t->times_len == 0); /* with other buckets nothing can be done */
	takeover_free(t);
}

static void refused(void **context)
{
	static const char *const bad[] = {
		"", "\n", "tarry-takeover", "tarry-takeover x\n", "hello 1\nend\n", "tarry-takeover 2\ngeneration 1\nend\n", "tarry-takeover 1\n", "tarry-takeover 1\ngeneration 1\n",
		"tarry-takeover 1\nend\n", "tarry-takeover 1\ngeneration 0\nend\n", "tarry-takeover 1\ngeneration -1\nend\n", "tarry-takeover 1\ngeneration 18446744073709551616\nend\n",
		"tarry-takeover 1\ngeneration\nend\n", "tarry-takeover 1\ngeneration 1\nmetrics 2\nend\n", "tarry-takeover 1\ngeneration 1\nmetrics 99999999999\nend\n", "tarry-takeover 1\ngeneration 1\nmetrics\nend\n",
		"tarry-takeover 1\ngeneration 1\ntickets 5\nend\n", "tarry-takeover 1\ngeneration 1\nsocket 127.0.0.1 127.0.0.1:25 0 0 30\nend\n", "tarry-takeover 1\ngeneration 1\nsocket 127.0.0.1:25 127.0.0.1:25 0 2 30\nend\n",
		"tarry-takeover 1\ngeneration 1\nsocket 127.0.0.1:25 127.0.0.1:25 9999 0 30\nend\n", "tarry-takeover 1\ngeneration 1\nsocket 127.0.0.1:25\nend\n", "tarry-takeover 1\ngeneration 1\nchild front 0 3 1 40 6 12345 1\nend\n",
		"tarry-takeover 1\ngeneration 1\nchild a-role-with-a-name-much-too-long 0 3 4 40 6 12345 1\nend\n", "tarry-takeover 1\ngeneration 1\nchild front 0 3 -5 40 6 12345 1\nend\n",
		"tarry-takeover 1\ngeneration 1\nkeeper 0 1\nend\n", "tarry-takeover 1\ngeneration 1\nkeeper 5 1\nend\n", "tarry-takeover 1\ngeneration 1\ncount x\nend\n",
		"tarry-takeover 1\ngeneration 1\ntimes x 1040 1\nend\n", "tarry-takeover 1\ngeneration 1\ntimes x 1040 1 \nend\n", "tarry-takeover 1\ngeneration 1\ntimes x 1040 1 5\nend\n",
		"tarry-takeover 1\ngeneration 1\ntimes x 1040 1 5:\nend\n", "tarry-takeover 1\ngeneration 1\ntimes x 1040 1 5:0\nend\n", "tarry-takeover 1\ngeneration 1\ntimes x 1040 1 5:-1\nend\n",
		"tarry-takeover 1\ngeneration 1\ntimes x 1040 1 5:1,5:1\nend\n", "tarry-takeover 1\ngeneration 1\ntimes x 1040 1 5:1,4:1\nend\n", "tarry-takeover 1\ngeneration 1\ntimes x 1040 1 1040:1\nend\n",
		"tarry-takeover 1\ngeneration 1\ntimes x 1040 1 5:9223372036854775807\nend\n", "tarry-takeover 1\ngeneration 1\ntimes x 1040 -1 5:1\nend\n", "tarry-takeover 1\ngeneration 1\ntimes x y 1 5:1\nend\n",
		"tarry-takeover 1\ngeneration 1\ntimes a-histogram-with-a-name-much-too-long 1040 1 5:1\nend\n",
		"tarry-takeover 1\ngeneration 1\nupgrade yes\nend\n",
	};
	(void)context;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(parse(bad[i]));
	assert_null(parse("tarry-takeover 2\ngeneration 1\nend\n"));
	assert_non_null(strstr(buf_text(&why), "version 2"));
	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char cut[sizeof(whole)];
		memcpy(cut, whole, len);
		cut[len] = '\0';
		if (len == sizeof(whole) - 2) /* only the last line end is missing */
			continue;
		assert_null(parse(cut));
	}
}

/* More than there is room for is an error, and no overflow. */
static void bounds(void **context)
{
	struct buf text;
	(void)context;
	buf_init(&text, 4 * 1024 * 1024);
	buf_put_text(&text, "tarry-takeover 1\ngeneration 1\n");
	for (unsigned i = 0; i <= TAKEOVER_CHILDREN; i++)
		buf_putf(&text, "child front %u %u 4711 40 6 0 1\n", i, i);
	buf_put_text(&text, "end\n");
	assert_null(parse(buf_text(&text)));
	buf_clear(&text);
	buf_put_text(&text, "tarry-takeover 1\ngeneration 1\n");
	for (unsigned i = 0; i <= TAKEOVER_TIMES; i++)
		buf_putf(&text, "times h%u %d 5 7:1\n", i, METRICS_BUCKETS);
	buf_put_text(&text, "end\n");
	assert_null(parse(buf_text(&text)));
	buf_clear(&text);
	buf_put_text(&text, "tarry-takeover 1\ngeneration 1\nkeeper 5");
	for (unsigned i = 0; i < 4 * TAKEOVER_KEEPER_FDS; i++)
		buf_put_text(&text, " 77");
	buf_put_text(&text, "\nend\n");
	struct takeover *t = parse(buf_text(&text));
	assert_true(t && t->keeper_len <= TAKEOVER_KEEPER_FDS);
	takeover_free(t);
	buf_fini(&text);
}

static int give(const char *text)
{
	char number[16];
	int fd = takeover_seal(slice_of(text));
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), -1); /* nobody changes it */
	snprintf(number, sizeof(number), "%d", fd);
	setenv(TAKEOVER_VARIABLE, number, 1);
	return fd;
}

static void received(void **context)
{
	char text[200];
	int before = descriptors_open(), fd = open("/dev/null", O_RDONLY);
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_null(takeover_receive(&why));
	assert_int_equal(why.len, 0); /* a first start */
	snprintf(text, sizeof(text), "tarry-takeover 1\ngeneration 1\nmetrics %d\nend\n", fd);
	give(text);
	struct takeover *t = takeover_receive(&why);
	assert_non_null(t);
	assert_null(getenv(TAKEOVER_VARIABLE)); /* not for those that are started later */
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(takeover_keep(t, true), 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(takeover_keep(t, false), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	takeover_prune(t);
	assert_int_equal(t->metrics, fd);
	close(fd);
	takeover_prune(t);
	assert_int_equal(t->metrics, -1);
	takeover_free(t);
	give("tarry-takeover 1\ngeneration 1\nmetrics 999\nend\n");
	assert_null(takeover_receive(&why));
	assert_non_null(strstr(buf_text(&why), "descriptor 999"));
	static const char *const bad[] = { "x", "", "-1", "2", "1023", "99999999999999999999" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		buf_init_fixed(&why, memory, sizeof(memory));
		setenv(TAKEOVER_VARIABLE, bad[i], 1);
		assert_null(takeover_receive(&why));
		assert_true(why.len > 0);
	}
	assert_int_equal(descriptors_open(), before);
}

/* In a child: becomes a shell that looks what it has been given. */
static void handed_on(void **context)
{
	/* becomes `sh -e -c SCRIPT a NUMBER`: the command is in the place of argv[0] */
	char *argv[] = { "tarry", "serve", "-c", "read a b </proc/self/fd/$TARRY_TAKEOVER && test \"$a\" = tarry-takeover && test -e /proc/self/fd/$1 && exit 42", "a", "b", NULL };
	(void)context;
	pid_t pid = fork();
	if (pid == 0) {
		struct takeover *t = takeover_new();
		char number[16];
		t->generation = 1;
		t->metrics = open("/dev/null", O_RDONLY | O_CLOEXEC);
		snprintf(number, sizeof(number), "%d", t->metrics);
		argv[5] = number;
		takeover_exec(t, "/bin/sh", "-e", 5, argv + 1);
		_exit(1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	struct takeover *t = takeover_new();
	t->generation = 1;
	t->metrics = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(takeover_exec(t, "/nowhere", "serve", 1, argv + 1), -ENOENT);
	assert_int_equal(fcntl(t->metrics, F_GETFD), FD_CLOEXEC);
	assert_null(getenv(TAKEOVER_VARIABLE));
	close(t->metrics);
	t->metrics = 999;
	assert_int_equal(takeover_exec(t, "/bin/false", "serve", 1, argv + 1), -EBADF); /* with one missing the other program could only end */
	takeover_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(there_and_back), cmocka_unit_test(a_line_that_does_not_fit), cmocka_unit_test(what_is_new_is_passed_over), cmocka_unit_test(refused), cmocka_unit_test(bounds), cmocka_unit_test(received),
		cmocka_unit_test(handed_on) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
