/* Where the desk may listen, and whose token file is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "tool/complain_desk.h"

static char path[] = "/tmp/tarry-test-token-XXXXXX";

static int ask(const char *desk, const char *file, char token[COMPLAIN_DESK_TOKEN])
{
	struct conf conf;
	struct buf errors, warnings;
	char desk_text[300], file_text[300];
	struct addr at;
	snprintf(desk_text, sizeof(desk_text), "desk=%s", desk);
	snprintf(file_text, sizeof(file_text), "desk_token_file=%s", file);
	struct conf_override overrides[] = { { desk_text }, { file_text } };
	buf_init(&errors, 4096);
	buf_init(&warnings, 4096);
	assert_true(conf_load(&conf, NULL, overrides, 2, &errors, &warnings));
	int code = complain_desk(&conf, &at, token);
	conf_fini(&conf);
	buf_fini(&errors);
	buf_fini(&warnings);
	return code;
}

static void addresses(void **context)
{
	static const char *const good[] = { "127.0.0.1:8025", "[::1]:8025", "127.9.8.7:1", "" }, *const bad[] = { "0.0.0.0:8025", "*:8025", "[::]:8025", "192.0.2.1:80", "localhost:8025", "8025", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "x" };
	char token[COMPLAIN_DESK_TOKEN];
	(void)context;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(ask(good[i], "", token), EX_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (ask(bad[i], "", token) != EX_CONFIG)
			fail_msg("%s is taken", bad[i]);
}

static void write_file(const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void tokens(void **context)
{
	char token[COMPLAIN_DESK_TOKEN], text[200];
	(void)context;
	write_file("0123456789abcdef\nmore\n", 0600);
	assert_int_equal(ask("0.0.0.0:8025", path, token), EX_OK);
	assert_string_equal(token, "0123456789abcdef");
	write_file("0123456789abcdef-._~", 0400);
	assert_int_equal(ask("127.0.0.1:8025", path, token), EX_OK);
	assert_string_equal(token, "0123456789abcdef-._~");
	assert_int_equal(ask("", path, token), EX_OK);
	assert_string_equal(token, "");
	static const char *const bad[] = { "", "\n", "short\n", "0123456789abcde\n", "0123456789 abcdef\n", "0123456789abcdef;\n", " 0123456789abcdef\n" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_file(bad[i], 0600);
		assert_int_equal(ask("127.0.0.1:8025", path, token), EX_CONFIG);
		assert_string_equal(token, "");
	}
	memset(text, 'a', sizeof(text));
	strcpy(text + 128, "\n");
	write_file(text, 0600);
	assert_int_equal(ask("127.0.0.1:8025", path, token), EX_OK);
	assert_int_equal(strlen(token), 128);
	strcpy(text + 128, "a\n");
	text[128] = 'a';
	write_file(text, 0600);
	assert_int_equal(ask("127.0.0.1:8025", path, token), EX_CONFIG);
}

static void files(void **context)
{
	char token[COMPLAIN_DESK_TOKEN];
	static const mode_t modes[] = { 0640, 0604, 0660, 0620, 0602, 0644, 0601 };
	(void)context;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		write_file("0123456789abcdef\n", modes[i]);
		assert_int_equal(ask("127.0.0.1:8025", path, token), EX_NOPERM);
	}
	assert_int_equal(ask("127.0.0.1:8025", "/nonexistent/token", token), EX_NOINPUT);
	assert_int_equal(ask("127.0.0.1:8025", "/", token), EX_NOINPUT);
	assert_int_equal(ask("127.0.0.1:8025", "/dev/null", token), EX_NOINPUT);
	if (geteuid() == 0) {
		write_file("0123456789abcdef\n", 0600);
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(ask("127.0.0.1:8025", path, token), EX_NOPERM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(addresses), cmocka_unit_test(tokens), cmocka_unit_test(files) };
	int fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
