/* `tarry status`: the door's answer made and shown, and answers that no door would give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "control.h"
#include "core/metrics.h"
#include "core/health.h"
#include "status.h"

#define TEXT_MAX (2 * CONTROL_TEXT)
#define FILE_NAME "/nowhere/tarry-test-status.conf"

static char said[TEXT_MAX];

/* Runs it against a door that gives this answer; the exit code. Standard output and error go to `said`. */
static int ask(const char *answer, const char *option)
{
	struct buf text = { .at = (char *)(uintptr_t)answer, .len = strlen(answer) };
	int listener = control_listen(CONTROL_STATUS, FILE_NAME), status;
	FILE *out = tmpfile();
	assert_true(listener >= 0 && out);
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char *argv[] = { "status", "-c", FILE_NAME, (char *)(uintptr_t)option, NULL };
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(out), STDERR_FILENO);
		alarm(10);
		int code = status_run(option ? 4 : 3, argv);
		fflush(NULL);
		_exit(code);
	}
	assert_int_equal(poll(&(struct pollfd){ .fd = listener, .events = POLLIN }, 1, 10000), 1);
	int fd = control_accept(listener);
	assert_true(fd >= 0);
	control_answer(fd, &text);
	close(listener);
	assert_int_equal(waitpid(child, &status, 0), child);
	rewind(out);
	said[fread(said, 1, TEXT_MAX - 1, out)] = '\0';
	fclose(out);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_door(void **context)
{
	struct conf_listen listens[] = { { .proxy = false }, { .proxy = true } };
	struct conf_backend backends[] = { { .name = "a", .address = "smtp:192.0.2.1:25" }, { .name = "b \"\t\n\xff", .address = "mail:" } };
	struct conf conf = { .listens = listens, .listens_len = 2, .backends = backends, .backends_len = 2 };
	struct buf out;
	(void)context;
	assert_true(addr_parse_port(slice_of("127.0.0.1:25"), &listens[0].at) && addr_parse_port(slice_of("[::1]:2525"), &listens[1].at));
	assert_int_equal(health_init(2, 2, 1), 0);
	for (unsigned i = 0; i < 2; i++)
		health_name(i, backends[i].name, backends[i].address);
	health_name(health_map(0), "hash", "hash:/etc/mail/access");
	metrics_add(METRIC_serving, 2);
	metrics_add(METRIC_held, 5);
	buf_init(&out, CONTROL_TEXT);
	buf_put_char(&out, CONTROL_DONE);
	status_put(&out, &conf, 2, 86400, 1, 0);
	assert_false(out.full);
	assert_int_equal(ask(buf_text(&out), NULL), EX_OK);
	assert_non_null(strstr(said, ", since 1970-01-02T00:00:00Z; 2 of 2 fronts at work\nlisten       127.0.0.1:25\nlisten       [::1]:2525, clients by PROXY header\n"
		"backend      a (smtp:192.0.2.1:25): not tried yet\nbackend      b \\\"\\t\\n\\xff (mail:): not tried yet\n"
		"map          hash (hash:/etc/mail/access): not tried yet\n"));
	assert_non_null(strstr(said, ", 5 held,"));
	health_down(1, 0, "tab\there");
	buf_clear(&out);
	buf_put_char(&out, CONTROL_DONE);
	status_put(&out, &conf, 2, 0, 7, 3);
	assert_int_equal(ask(buf_text(&out), NULL), 1);
	assert_non_null(strstr(said, ": down since "));
	assert_non_null(strstr(said, "\ngeneration   7 (reloaded or upgraded); 3 processes of earlier ones finish their clients\n"));
	assert_int_equal(ask(buf_text(&out), "--json"), 1);
	assert_non_null(strstr(said, "\"started\": null, \"fronts\": 2, \"fronts_at_work\": 2, \"generation\": 7, \"old_processes\": 3, \"greet_pause_ms\": 0, \"listen\": [{\"at\": \"127.0.0.1:25\", \"proxy\": false}, {\"at\": \"[::1]:2525\", \"proxy\": true}]"));
	assert_non_null(strstr(said, "\"name\": \"b \\\\\\\"\\\\t\\\\n\\\\xff\", \"address\": \"mail:\", \"state\": \"unknown\", \"since\": null, \"tried\": null, \"error\": \"\", \"good\": 0, \"bad\": 0}]"));
	assert_non_null(strstr(said, "\"maps\": [{\"kind\": \"hash\", \"name\": \"hash:/etc/mail/access\", \"state\": \"unknown\","));
	assert_non_null(strstr(said, "\"error\": \"tab\\\\there\""));
	assert_non_null(strstr(said, "\"held\": 5"));
	health_down(0, 1, "x");
	buf_clear(&out);
	buf_put_char(&out, CONTROL_DONE);
	status_put(&out, &conf, 2, 0, 7, 3);
	assert_int_equal(ask(buf_text(&out), NULL), 2);
	buf_fini(&out);
}

static void a_front_is_missing(void **context)
{
	(void)context;
	assert_int_equal(ask("+door\t1\t2\t3\t2\nmetric\tserving\t1\n", NULL), 1);
	assert_int_equal(ask("+door\t1\t2\t3\t2\nmetric\tserving\t2\n", NULL), EX_OK);
}

/* What a monitor is to hear of, though backends are up: a map elsewhere, and files that are not what is in force. */
static void less_than_all(void **context)
{
	static const char map[] = "+door\t1\t2\t3\t0\nbackend\ta\tmail:\tup\t1\t1\t\t1\t0\nmap\tredis\tredis://x\t%s\t1\t1\t\t1\t0\n";
	char text[300];
	(void)context;
	snprintf(text, sizeof(text), map, "up");
	assert_int_equal(ask(text, NULL), EX_OK);
	assert_null(strstr(said, "warning"));
	snprintf(text, sizeof(text), map, "down");
	assert_int_equal(ask(text, NULL), 1);
	static const char kept[] = "+door\t1\t2\t3\t0\nkept\taccess_db\ttext:/x\t86400\nmetric\tdelivery_failed\t3\nmetric\tknown_unsaved\t2\n";
	assert_int_equal(ask(kept, NULL), 1);
	assert_non_null(strstr(said, "\nwarning      access_db text:/x: the file is no good since 1970-01-02T00:00:00Z, and what was in force before stays;"));
	assert_non_null(strstr(said, "; the file could not be written 2 times (event=known_unsaved)\nmail inside  0 messages stored; 3 times that was not possible"));
	assert_int_equal(ask(kept, "--json"), 1);
	assert_non_null(strstr(said, ", \"kept\": [{\"option\": \"access_db\", \"file\": \"text:/x\", \"since\": \"1970-01-02T00:00:00Z\"}]}"));
}

/* What is worth a word only while it is so. */
static void nearly_full(void **context)
{
	(void)context;
	assert_int_equal(ask("+door\t1\t2\t3\t2\nmetric\tserving\t2\nmetric\tstress\t0\nmetric\ttarpit\t0\n", NULL), EX_OK);
	assert_null(strstr(said, "stress"));
	assert_null(strstr(said, "tarpit"));
	assert_int_equal(ask("+door\t1\t2\t3\t2\nmetric\tserving\t2\nmetric\tstress\t1\nmetric\ttarpit\t7\n", NULL), EX_OK);
	assert_non_null(strstr(said, "\nwarning      under stress: "));
	assert_non_null(strstr(said, "(1 of 2 fronts; event=stress)\n"));
	assert_non_null(strstr(said, ", 7 in the tarpit"));
}

/* The pause, and times in words. */
static void times(void **context)
{
	(void)context;
	assert_int_equal(ask("+door\t1\t2\t3\t2\t1\t0\t1000\nmetric\tserving\t2\nquantiles\ttalk_after\t0\t0\t0\t0\t0\n", NULL), EX_OK);
	assert_non_null(strstr(said, "\npause        1000 ms\nconnections  "));
	assert_int_equal(ask("+door\t1\t2\t3\t2\t1\t0\t1000\nmetric\tserving\t2\nquantiles\ttalk_after\t7\t1\t1100\t120499\t12345678\n"
		"quantiles\tgone_after\t3\t1\t20000\t30000\t40000\nquantiles\tpause_late\t9\t1\t40\t50\t90\nquantiles\tgreeting_late\t9\t1\t1040\t1050\t9090\n", NULL), EX_OK);
	assert_non_null(strstr(said, "\npause        1000 ms; its end was noticed late by 0.0 ms, by more than 0.1 ms for one in a hundred; greeted late by 1.0 ms, by more than 9.1 ms for one in a hundred\n"
		"talked       half of 7 early talkers within 1.1 ms of coming, nine in ten within 120 ms, 99 in a hundred within 12.3 s\n"
		"hung up      half of 3 clients that did not wait within 20.0 ms of coming, nine in ten within 30.0 ms\n"));
	assert_int_equal(ask("+door\t1\t2\t3\t2\t1\t0\t0\nmetric\tserving\t2\n", NULL), EX_OK);
	assert_non_null(strstr(said, "\npause        0 ms: clients are greeted at once"));
}

/* Nothing that is answered does more harm than a wrong text. */
static void no_door(void **context)
{
	static const char *const answers[] = { "+", "+\n\n\n", "+door", "+door\t1\t2\t3\n", "+nothing\tof\tthe\tkind\tever\n", "-" };
	(void)context;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		assert_int_equal(ask(answers[i], NULL), EX_PROTOCOL);
		assert_string_equal(said, "tarry: status: what answers there is no door that knows this question; it may be of an older version\n");
	}
	assert_int_equal(ask("hello", NULL), EX_PROTOCOL);
	assert_int_equal(ask("", NULL), EX_NOPERM);
	assert_int_equal(ask("+door\t\t\t\t\nbackend\t\t\t\t\t\t\nbackend\nlisten\t\t\nmetric\t\t\nmetric\t\t\t\t\t\t\t\t\t\t\t\t\t\n\t\t\t\t", "--json"), EX_OK);
	assert_non_null(strstr(said, "\"state\": \"\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_door), cmocka_unit_test(a_front_is_missing), cmocka_unit_test(less_than_all), cmocka_unit_test(nearly_full), cmocka_unit_test(times), cmocka_unit_test(no_door) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
