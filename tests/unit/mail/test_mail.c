/* The role itself, in a process of its own: it accepts, serves, keeps strangers out, and ends when its parent does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../untested.h"
#include "core/loop.h"
#include "core/sock.h"
#include "folder.h"
#include "mail/mail.h"
#include "smtp/proxyhdr.h"

#define PATIENCE 20000 /* milliseconds until something that must happen counts as not happening */

static char *domains[] = { "example.org" };
static char no_message[] = "";
static char delimiter[] = "+", host[] = "mail.example.org", template[FOLDER_PATH + 8], root[FOLDER_PATH];
static char where[64];
static struct conf conf;
static int listener, parent[2];
static pid_t child;

static int begin(void **state)
{
	(void)state;
	folder_make(root);
	snprintf(template, sizeof(template), "%s/%%u", root);
	conf = (struct conf){ .hostname = host, .smtp_login_msg = no_message, .forbidden_commands = no_message, .accept_domains = { domains, 1 }, .maildir = template, .create_maildirs = true,
		.recipient_delimiter = delimiter, .max_message_size = 100000, .max_recipients = 100, .hopcount_limit = 50,
		.command_timeout = 300 * LOOP_SECOND, .max_bad_commands = 25, .linger = LOOP_SECOND, .linger_bytes = 100000,
		.accept_backoff = 100 * LOOP_MS };
	snprintf(where, sizeof(where), "@tarry-test-mail-%ld", (long)getpid());
	listener = sock_listen_unix(where, 10);
	assert_true(listener >= 0);
	assert_int_equal(pipe(parent), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(parent[1]);
		_exit(mail_run(&conf, 0, listener, parent[0]) == 0 ? 0 : 1);
	}
	close(parent[0]);
	close(listener);
	return 0;
}

static int end(void **state)
{
	int status;
	(void)state;
	if (parent[1] >= 0)
		close(parent[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	folder_remove(root);
	return 0;
}

/* Everything until the other side ends, or all of `until` was there. */
static void hear(int fd, char *heard, size_t size, const char *until)
{
	size_t len = 0;
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, PATIENCE), 1);
		ssize_t n = recv(fd, heard + len, size - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
		heard[len] = '\0';
		if (n <= 0 || (until && strstr(heard, until)))
			return;
	}
}

static void send_all(int fd, const char *session)
{
	char memory[PROXYHDR_V2_MAX];
	struct buf b;
	struct proxyhdr h = { .local = true };
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(proxyhdr_write_v2(&b, &h));
	assert_int_equal(send(fd, b.at, b.len, MSG_NOSIGNAL), b.len);
	assert_int_equal(send(fd, session, strlen(session), MSG_NOSIGNAL), strlen(session));
}

static void serves(void **state)
{
	char heard[2048];
	(void)state;
	for (int i = 1; i <= 3; i++) {
		int fd = sock_connect_unix(where);
		assert_true(fd >= 0);
		send_all(fd, "MAIL FROM:<>\nRCPT TO:<joe@example.org>\nDATA\nhi\n.\nQUIT\n");
		hear(fd, heard, sizeof(heard), NULL);
		assert_non_null(strstr(heard, "Message accepted for delivery\r\n221 2.0.0 "));
		close(fd);
		char joe[FOLDER_PATH + 8];
		snprintf(joe, sizeof(joe), "%s/joe", root);
		assert_int_equal(folder_count(joe, "new", NULL), i);
	}
}

/* In the middle of a message. */
static void parent_goes(void **state)
{
	char heard[2048];
	(void)state;
	int fd = sock_connect_unix(where);
	send_all(fd, "MAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\nhalf a mess");
	hear(fd, heard, sizeof(heard), "354 ");
	assert_int_equal(folder_count_all(root), 1);
	close(parent[1]);
	parent[1] = -1;
	hear(fd, heard, sizeof(heard), NULL);
	close(fd);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(folder_count_all(root), 0);
}

static void strangers(void **state)
{
	char heard[2048];
	int status;
	(void)state;
	if (geteuid() != 0) {
		untested();
		return;
	}
	pid_t stranger = fork();
	if (stranger == 0) {
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(2);
		int fd = sock_connect_unix(where);
		if (fd < 0)
			_exit(3);
		/* A header of LOCAL and a command: whoever may talk to it would be greeted. */
		send(fd, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0QUIT\r\n", 22, MSG_NOSIGNAL);
		hear(fd, heard, sizeof(heard), NULL);
		_exit(heard[0] == '\0' ? 0 : 4);
	}
	assert_int_equal(waitpid(stranger, &status, 0), stranger);
	assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
}

#define ROLE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = { ROLE(serves), ROLE(parent_goes), ROLE(strangers) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
