/* Memory that ends at any point: each thing is done again and again, and the n-th allocation fails (n = 1, 2, …) until one time none does. Nothing may be lost, left behind (the sanitizers look)
 * or taken for what it is not. The linker puts the functions below in the place of malloc() and its like (--wrap), in our own code; test_faults.py does it to libraries too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/access.h"
#include "core/conf.h"
#include "core/log.h"
#include "descriptors.h"
#include "mail/smtpd.h"

#define MOST 100000 /* allocations that something makes at most, or this never ends */

static unsigned long made, fails_at; /* 0: none fails */
static bool lasts;                   /* and all that follow, too */

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *at, size_t len);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *at, size_t len);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);

static bool fails(void)
{
	made++;
	return fails_at > 0 && (made == fails_at || (lasts && made > fails_at));
}

void *__wrap_malloc(size_t len)
{
	return fails() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	return fails() ? NULL : __real_calloc(n, len);
}

void *__wrap_realloc(void *at, size_t len)
{
	return fails() ? NULL : __real_realloc(at, len);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
	return fails() ? NULL : __real_strndup(text, len);
}

/* once(n): how it went when the n-th failed; true: that was not reached any more. */
static void walk(void (*once)(void))
{
	for (int forever = 0; forever < 2; forever++) {
		lasts = forever;
		for (fails_at = 1; fails_at < MOST; fails_at++) {
			int open = descriptors_open();
			made = 0;
			unsigned long at = fails_at;
			once();
			fails_at = at;
			assert_int_equal(descriptors_open(), open);
			if (made < fails_at)
				break;
		}
		assert_true(fails_at > 1 && fails_at < MOST);
	}
	fails_at = 0;
}

/* A file in memory, as a path. */
static int file_of(const char *text, char path[64])
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

/* ---- the configuration ---- */

static void load_once(void)
{
	static const struct conf_override overrides[] = { { "hostname=mx.example.org" } };
	struct conf conf;
	struct buf errors, warnings;
	char path[64];
	int fd = file_of("greet_pause = 7s\naccept_domains = { \"a.example\", \"b.example\" }\nlisten \"127.0.0.1:25\" { proxy = yes trust = { \"10.0.0.0/8\" } }\n"
	                 "backend \"one\" { address = \"smtp:127.0.0.1:26\" proxy = v2 }\nlisten \"[::1]:25\" { }\n", path);
	buf_init(&errors, 4096);
	buf_init(&warnings, 4096);
	bool ok = conf_load(&conf, path, overrides, 1, &errors, &warnings);
	assert_true(ok || errors.len > 0 || errors.full);
	if (ok) { /* then whole */
		assert_int_equal(conf.greet_pause, 7 * LOOP_SECOND);
		assert_int_equal(conf.accept_domains.len, 2);
		assert_int_equal(conf.listens_len, 2);
		assert_int_equal(conf.listens[0].trusted.len + conf.listens[1].trusted.len, 1);
		assert_int_equal(conf.backends_len, 1);
		assert_string_equal(conf.hostname, "mx.example.org");
	}
	assert_true(ok || made >= fails_at);
	conf_fini(&conf);
	buf_fini(&errors);
	buf_fini(&warnings);
	close(fd);
}

static void configuration(void **context)
{
	(void)context;
	walk(load_once);
}

/* ---- the access database ---- */

static void build_once(void)
{
	char path[64], spec[80], text[4096] = "";
	struct buf errors, warnings;
	struct addr client;
	size_t entries = 0;
	for (unsigned i = 0; i < 60; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "GreetPause:10.0.0.%u\t%u\n", i, i);
	int file = file_of(text, path);
	snprintf(spec, sizeof(spec), "text:%s", path);
	buf_init(&errors, 4096);
	buf_init(&warnings, 4096);
	int fd = access_build(spec, &errors, &warnings, &entries);
	assert_true(fd >= 0 || errors.len > 0 || errors.full);
	struct access *access = fd >= 0 ? access_open(&(int){ fd }, 1, &(struct access_rules){ .skip = false }) : NULL;
	if (access) { /* a table that lacks an entry would let somebody pass */
		assert_int_equal(entries, 60);
		assert_true(addr_parse(slice_of("10.0.0.59"), &client));
		struct access_answer answer = access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = client }, -1);
		assert_true(answer.found && answer.pause_ms == 59);
	}
	assert_true(access || made >= fails_at);
	access_close(access);
	buf_fini(&errors);
	buf_fini(&warnings);
	close(file);
}

static void access_table(void **context)
{
	(void)context;
	walk(build_once);
}

/* ---- a session with the mail server inside ---- */

static char root[] = "/tmp/tarry-test-memory-XXXXXX", template[64], said_by_log[8192];
static char *domains[] = { (char *)(uintptr_t)"a.test" };
static char nothing[] = "", host[] = "h.test";
static struct conf conf = { .hostname = host, .smtp_login_msg = nothing, .forbidden_commands = nothing, .accept_domains = { domains, 1 }, .maildir = template, .create_maildirs = true,
	.recipient_delimiter = nothing, .max_message_size = 500000, .max_recipients = 100, .hopcount_limit = 3, .command_timeout = 300 * LOOP_SECOND, .max_bad_commands = 25, .linger = LOOP_SECOND,
	.linger_bytes = 100000 };

static size_t heard_len;
static char heard[16384];

static void sweep(struct loop *loop, void *context)
{
	(void)loop;
	smtpd_sweep(context);
}

static void listen_to(struct loop *loop, int client)
{
	for (int quiet = 0; quiet < 2;) {
		loop_turn(loop, 0);
		ssize_t n = recv(client, heard + heard_len, sizeof(heard) - heard_len - 1, MSG_DONTWAIT);
		quiet = n > 0 ? 0 : quiet + 1;
		heard_len += n > 0 ? (size_t)n : 0;
	}
	heard[heard_len] = '\0';
}

/* Files in there are counted and removed. */
static unsigned empty(const char *folder)
{
	char path[512];
	unsigned n = 0;
	snprintf(path, sizeof(path), "%s/u/%s", root, folder);
	DIR *d = opendir(path);
	for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
		if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) == 0)
			n++;
	if (d)
		closedir(d);
	return n;
}

/* Each command has its reply, in its place, or the session ends: none is left out. */
static void check_replies(unsigned commands)
{
	static const char *const expected[] = { "220", "250", "250", "250", "354", "250", "221" };
	unsigned n = 0;
	bool over = false;
	for (char *line = strtok(heard, "\n"); line; line = strtok(NULL, "\n")) {
		assert_false(over);
		if (strncmp(line, "421", 3) == 0) {
			over = true;
		} else if (line[3] == ' ') {
			assert_true(n < 7);
			if (strncmp(line, expected[n], 3) != 0 && line[0] != '4') {
				assert_true(n >= 2 && line[0] == '5'); /* what follows from a 4xx: "Need MAIL", "Need RCPT", and text that is no command */
				return;
			}
			if (line[0] == '4')
				return;
			n++;
		}
	}
	assert_true(over || n == commands);
}

static void converse_once(void)
{
	static const char *const steps[] = { "EHLO c.test\r\n", "MAIL FROM:<s@b.test>\r\n", "RCPT TO:<u@a.test>\r\n", "DATA\r\n", "Subject: x\r\n\r\ntext\r\n.\r\n", "QUIT\r\n" };
	struct loop loop;
	struct smtpd smtpd;
	char memory[PROXYHDR_V2_MAX];
	struct buf header;
	int pair[2];
	unsigned long at = fails_at;
	fails_at = 0;
	assert_int_equal(loop_init_manual(&loop, 10), 0);
	smtpd_init(&smtpd, &loop, &conf);
	loop.turn_end = sweep;
	loop.turn_end_context = &smtpd;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	buf_init_fixed(&header, memory, sizeof(memory));
	assert_true(proxyhdr_write_v2(&header, &(struct proxyhdr){ .local = true }));
	heard_len = 0;
	made = 0;
	fails_at = at;
	if (smtpd_add(&smtpd, pair[1])) {
		send(pair[0], header.at, header.len, MSG_NOSIGNAL);
		listen_to(&loop, pair[0]);
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			send(pair[0], steps[i], strlen(steps[i]), MSG_NOSIGNAL);
			listen_to(&loop, pair[0]);
		}
	}
	bool accepted = strstr(heard, "Message accepted for delivery") && heard_len > 0;
	if (heard_len > 0)
		check_replies(7);
	fails_at = 0;
	close(pair[0]);
	listen_to(&loop, -1);
	smtpd_fini(&smtpd);
	loop_fini(&loop);
	unsigned delivered = empty("new");
	assert_true(delivered == (accepted ? 1 : 0) || (!accepted && delivered == 1)); /* what nobody has acknowledged may be there: it comes again */
	assert_int_equal(empty("tmp"), 0);
	assert_true(accepted || made >= at);
	fails_at = at;
}

static void session(void **context)
{
	static struct buf log;
	(void)context;
	buf_init_fixed(&log, said_by_log, sizeof(said_by_log));
	log_capture(&log);
	assert_non_null(mkdtemp(root));
	snprintf(template, sizeof(template), "%s/%%u", root);
	walk(converse_once);
	log_capture(NULL);
	assert_non_null(strstr(said_by_log, "event=no_memory"));
	char command[128];
	snprintf(command, sizeof(command), "rm -r %s", root);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(configuration), cmocka_unit_test(access_table), cmocka_unit_test(session) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
