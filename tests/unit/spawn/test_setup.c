/* What the parent makes for a spawner: accounts, how much room, and who a process number belongs to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptors.h"
#include "spawn/slot.h"
#include "spawn/spawn.h"

static struct conf conf;
static char why_memory[512];
static struct buf why;

static int prepare(struct spawn_setup *s, const char *text, bool drop)
{
	struct buf errors;
	const struct rlimit limit = { 100, 200 };
	buf_init(&errors, 4096);
	if (!conf_load_text(&conf, "c", slice_of(text), NULL, 0, &errors, &errors))
		fail_msg("%s", buf_text(&errors));
	buf_fini(&errors);
	buf_init_fixed(&why, why_memory, sizeof(why_memory));
	return spawn_prepare(s, &conf, 2, drop, &limit, &why);
}

static void finish(struct spawn_setup *s, int before)
{
	spawn_fini(s);
	conf_fini(&conf);
	assert_int_equal(descriptors_open(), before);
}

static void without_a_program_there_is_nothing(void **context)
{
	struct spawn_setup s;
	int before = descriptors_open();
	(void)context;
	assert_int_equal(prepare(&s, "backend a { address = 'mail:' }", true), 0);
	assert_null(s.programs);
	assert_int_equal(s.slots_len, 0);
	finish(&s, before);
}

static void room_for_as_many_as_may_run(void **context)
{
	struct spawn_setup s;
	int before = descriptors_open();
	(void)context;
	assert_int_equal(prepare(&s, "backend a { exec = { '/bin/cat', '-u' }  max = 7 }", false), 0);
	assert_int_equal(s.slots_len, 7);
	assert_string_equal(s.programs[0].arguments[1], "-u");
	assert_null(s.programs[0].arguments[2]);
	assert_false(s.needs_root);
	assert_false(s.programs[0].becomes);
	assert_int_equal(s.descriptors.rlim_cur, 100);
	/* Nobody reads it any more, and nobody is hurt by that. */
	signal(SIGPIPE, SIG_DFL);
	close(s.programs[0].said[0]);
	s.programs[0].said[0] = -1;
	char bytes[4096] = "";
	ssize_t n;
	while ((n = write(s.programs[0].said[1], bytes, sizeof(bytes))) > 0)
		;
	assert_int_equal(n, -1);
	assert_int_equal(errno, EAGAIN);
	finish(&s, before);
	assert_int_equal(prepare(&s, "backend a { exec = '/bin/cat' }", false), 0);
	assert_int_equal(s.slots_len, CONF_EXEC_MAX);
	finish(&s, before);
}

/* Root is kept for another account only, and then everybody becomes somebody. */
static void accounts(void **context)
{
	struct spawn_setup s;
	int before = descriptors_open();
	(void)context;
	assert_int_equal(prepare(&s, "user = nobody\nbackend a { exec = '/bin/cat' }", true), 0);
	assert_false(s.needs_root);
	finish(&s, before);
	assert_int_equal(prepare(&s, "user = nobody\nbackend a { exec = '/bin/cat'  user = nobody }", true), 0);
	assert_false(s.needs_root);
	finish(&s, before);
	assert_int_equal(prepare(&s, "user = nobody\nbackend a { exec = '/bin/cat'  user = daemon }", true), 0);
	assert_true(s.needs_root && s.programs[0].becomes);
	assert_int_equal(s.programs[0].account.uid, 1);
	finish(&s, before);
	assert_int_equal(prepare(&s, "user = nobody\nbackend a { exec = '/bin/cat'  group = mail }", true), 0);
	assert_true(s.needs_root && s.programs[0].becomes);
	assert_int_equal(s.programs[0].account.uid, 65534);
	assert_int_equal(s.programs[0].account.gid, 8);
	finish(&s, before);
	assert_int_equal(prepare(&s, "backend a { exec = '/bin/cat'  user = no-such }", true), -EINVAL);
	assert_non_null(strstr(buf_text(&why), "c:1: user = \"no-such\": there is no such account"));
	finish(&s, before);
	assert_int_equal(prepare(&s, "user = nobody\nbackend a { exec = '/bin/cat'  group = no-such }", true), -EINVAL);
	assert_non_null(strstr(buf_text(&why), "c:2: group = \"no-such\": there is no such group"));
	finish(&s, before);
	assert_int_equal(prepare(&s, "backend a { exec = '/bin/cat'  user = games }", false), -EINVAL);
	assert_non_null(strstr(buf_text(&why), "only root can"));
	finish(&s, before);
}

static void whose_number_it_is(void **context)
{
	struct spawn_slot slot = { .used = true, .forked = slot_clock() };
	(void)context;
	slot.pid = fork();
	if (slot.pid == 0)
		for (;;)
			pause();
	assert_true(slot_runs(&slot));
	slot.forked -= 5 * INT64_C(1000000000); /* another one had this number then */
	assert_false(slot_runs(&slot));
	slot.forked = slot_clock();
	kill(slot.pid, SIGKILL);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)slot.pid, &info, WEXITED | WNOWAIT), 0);
	assert_false(slot_runs(&slot)); /* a zombie does not */
	waitpid(slot.pid, NULL, 0);
	assert_false(slot_runs(&slot));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(without_a_program_there_is_nothing), cmocka_unit_test(room_for_as_many_as_may_run), cmocka_unit_test(accounts),
		cmocka_unit_test(whose_number_it_is) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
