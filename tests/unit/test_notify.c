/* What the service manager is told: to a socket of the test's, by a path and by an abstract name; and what is no address is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "descriptors.h"
#include "notify.h"

static void hears(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char text[2000] = "";
	struct notify n;
	int before = descriptors_open(), fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	strcpy(at.sun_path, path);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] == '/'));
	if (path[0] == '@')
		at.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "1500", 1);
	notify_init(&n);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_true(n.watchdog == 1500000);
	notify_send(&n, "READY=1\nSTATUS=%d\n", 5);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 17);
	assert_string_equal(text, "READY=1\nSTATUS=5\n");
	struct timespec t;
	uint64_t usec = 0;
	notify_reloading(&n);
	memset(text, 0, sizeof(text));
	assert_true(recv(fd, text, sizeof(text), 0) > 0);
	clock_gettime(CLOCK_MONOTONIC, &t);
	assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%" SCNu64 "\n", &usec), 1);
	uint64_t now = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
	assert_true(usec <= now && now - usec < 60 * 1000000);
	notify_export(&n);
	assert_string_equal(getenv("NOTIFY_SOCKET"), path);
	assert_string_equal(getenv("WATCHDOG_USEC"), "1500");
	char longer[3000];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	notify_send(&n, "STATUS=%s", longer); /* cut */
	assert_int_equal(recv(fd, text, sizeof(text), 0), 1023);
	for (int i = 0; i < 1000; i++) /* a manager that does not listen holds up nobody */
		notify_send(&n, "WATCHDOG=1\n");
	close(fd);
	notify_send(&n, "nobody is there\n");
	assert_int_equal(descriptors_open(), before);
	if (path[0] == '/')
		unlink(path);
}

static void by_path(void **context)
{
	char path[64];
	(void)context;
	snprintf(path, sizeof(path), "/tmp/tarry-test-notify-%d", (int)getpid());
	hears(path);
}

static void by_name(void **context)
{
	char path[64];
	(void)context;
	snprintf(path, sizeof(path), "@tarry-test-notify-%d", (int)getpid());
	hears(path);
}

static void none(void **context)
{
	static const char *const bad[] = { "", "relative", "vsock:2:1", "/a-path-that-is-much-too-long-for-a-socket-0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" };
	struct notify n;
	(void)context;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		notify_init(&n);
		assert_string_equal(n.socket, "");
		notify_send(&n, "READY=1\n");
	}
	static const char *const times[] = { "-5", "x", "0", "99999999999999999999999" };
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		setenv("WATCHDOG_USEC", times[i], 1);
		notify_init(&n);
		assert_true(n.watchdog == 0);
	}
	setenv("WATCHDOG_USEC", "5000", 1);
	setenv("WATCHDOG_PID", "1", 1); /* it is meant for another process */
	notify_init(&n);
	assert_true(n.watchdog == 0);
	notify_export(&n);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(by_path), cmocka_unit_test(by_name), cmocka_unit_test(none) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
