/* Listening sockets: bound, shared out, more and fewer fronts, left to the program after this one and taken up again, given by a service manager. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sock.h"
#include "descriptors.h"
#include "listeners.h"

static struct listeners l;
static struct conf_listen sections[3];
static struct conf conf;
static struct buf said;
static int before;

static int begin(void **context)
{
	(void)context;
	before = descriptors_open();
	memset(&l, 0, sizeof(l));
	memset(sections, 0, sizeof(sections));
	conf = (struct conf){ .listens = sections, .listens_len = 1 };
	assert_true(addr_parse_port(slice_of("127.0.0.1:0"), &sections[0].at) && addr_parse_port(slice_of("127.0.0.1:0"), &sections[1].at));
	buf_init(&said, 64 * 1024);
	log_capture(&said);
	return 0;
}

static int end(void **context)
{
	(void)context;
	log_capture(NULL);
	buf_fini(&said);
	listeners_close(&l);
	assert_int_equal(descriptors_open(), before);
	return 0;
}

/* The number of the socket that gets a client, of all that there are; SIZE_MAX: none does. */
static size_t who_gets(const struct addr *at)
{
	struct addr from;
	int client = sock_connect(at);
	assert_true(client >= 0);
	for (unsigned g = 0; g < l.len; g++)
		for (unsigned i = 0; i < l.all[g].len; i++) {
			int fd = sock_accept(l.all[g].fds[i], &from);
			if (fd < 0)
				continue;
			close(fd);
			close(client);
			return g * LISTENERS_FRONTS + i;
		}
	close(client);
	return SIZE_MAX;
}

static void bound_and_shared_out(void **context)
{
	int fds[FRONT_LISTENERS];
	struct front_listener what[FRONT_LISTENERS];
	struct addr local = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	(void)context;
	conf.listens_len = 2;
	assert_int_equal(listeners_bind(&l, &conf, 3, false), EX_OK);
	assert_int_equal(listeners_steer(&l, 3), 0);
	assert_true(sections[0].at.port > 0 && sections[1].at.port > 0 && sections[0].at.port != sections[1].at.port);
	assert_true(l.len == 2 && l.all[0].len == 3 && l.all[1].len == 3 && !listeners_are_shared(&l));
	for (int i = 0; i < 5; i++)
		assert_int_equal(who_gets(&sections[1].at), LISTENERS_FRONTS + sock_steered_to(&local, 3));
	for (unsigned f = 0; f < 3; f++) {
		assert_int_equal(listeners_of_front(&l, f, 3, fds, what), 2);
		assert_true(fds[0] == l.all[0].fds[f] && what[0].listen == 0 && fds[1] == l.all[1].fds[f] && what[1].listen == 1 && !what[0].shared);
	}
}

/* What the next program has is what this one had; with more fronts there are more sockets, with fewer not fewer, and each is somebody's. */
static void over_a_change(void **context)
{
	static struct takeover t;
	int fds[FRONT_LISTENERS];
	struct front_listener what[FRONT_LISTENERS];
	struct addr local = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	(void)context;
	memset(&t, 0, sizeof(t));
	assert_int_equal(listeners_bind(&l, &conf, 2, false), EX_OK);
	assert_int_equal(listeners_steer(&l, 2), 0);
	struct addr at = sections[0].at;
	listeners_put(&l, &t);
	assert_true(t.sockets_len == 2 && t.sockets[1].index == 1 && t.sockets[0].wanted.port == 0 && t.sockets[0].at.port == at.port);
	memset(&l, 0, sizeof(l));
	sections[0].at.port = 0; /* as the file has it */
	listeners_inherit(&l, &t);
	assert_int_equal(listeners_bind(&l, &conf, 5, true), EX_OK); /* a rehearsal adds nothing */
	assert_true(l.len == 1 && l.all[0].len == 2 && sections[0].at.port == at.port);
	memset(&l, 0, sizeof(l));
	listeners_inherit(&l, &t);
	assert_int_equal(listeners_bind(&l, &conf, 5, false), EX_OK);
	assert_true(l.all[0].len == 5 && sections[0].at.port == at.port);
	assert_int_equal(who_gets(&at), sock_steered_to(&local, 2)); /* as long as nothing else is said */
	assert_int_equal(listeners_steer(&l, 5), 0);
	assert_int_equal(who_gets(&at), sock_steered_to(&local, 5));
	assert_int_equal(listeners_steer(&l, 2), 0);
	assert_int_equal(who_gets(&at), sock_steered_to(&local, 2));
	assert_int_equal(listeners_of_front(&l, 0, 2, fds, what), 3);
	assert_true(fds[0] == l.all[0].fds[0] && fds[1] == l.all[0].fds[2] && fds[2] == l.all[0].fds[4] && what[2].listen == 0);
	assert_int_equal(listeners_of_front(&l, 1, 2, fds, what), 2);
}

/* A single socket keeps all clients while others are added. */
static void from_one(void **context)
{
	static struct takeover t;
	(void)context;
	memset(&t, 0, sizeof(t));
	assert_int_equal(listeners_bind(&l, &conf, 1, false), EX_OK);
	listeners_put(&l, &t);
	memset(&l, 0, sizeof(l));
	listeners_inherit(&l, &t);
	assert_int_equal(listeners_bind(&l, &conf, 4, false), EX_OK);
	for (int i = 0; i < 20; i++)
		assert_int_equal(who_gets(&sections[0].at), 0);
}

static void not_wanted_any_more(void **context)
{
	static struct takeover t;
	(void)context;
	memset(&t, 0, sizeof(t));
	conf.listens_len = 2;
	assert_int_equal(listeners_bind(&l, &conf, 1, false), EX_OK);
	struct addr gone = sections[0].at;
	listeners_put(&l, &t);
	memset(&l, 0, sizeof(l));
	listeners_inherit(&l, &t);
	conf.listens = sections + 1;
	conf.listens_len = 1;
	assert_int_equal(listeners_bind(&l, &conf, 1, false), EX_OK);
	assert_int_equal(who_gets(&gone), 0); /* until then */
	listeners_drop_unused(&l);
	assert_non_null(strstr(buf_text(&said), "event=not_listening"));
	int free = sock_listen(&gone, 1, false); /* the port is anybody's again */
	assert_true(free >= 0);
	close(free);
}

static int bind_quietly(unsigned fronts, bool rehearses)
{
	fflush(stderr);
	int err = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
	dup2(null, STDERR_FILENO);
	int code = listeners_bind(&l, &conf, fronts, rehearses);
	fflush(stderr);
	dup2(err, STDERR_FILENO);
	close(err);
	close(null);
	return code;
}

static void taken(void **context)
{
	struct addr at = sections[0].at;
	(void)context;
	int other = sock_listen(&at, 1, false);
	assert_true(other >= 0 && sock_local(other, &sections[0].at));
	assert_int_equal(bind_quietly(2, false), EX_OSERR);
	assert_int_equal(bind_quietly(2, true), EX_OSERR);
	close(other);
	assert_true(l.len == 0);
}

/* An address that overlaps with one of ours is not somebody else's. What else goes on at this machine may have the port at another address: then another one is tried. */
static void overlapping(void **context)
{
	int code = EX_OSERR;
	(void)context;
	for (int tries = 0; tries < 100 && code != EX_OK; tries++) {
		listeners_close(&l);
		memset(&l, 0, sizeof(l));
		conf.listens_len = 1;
		sections[0].at.port = 0;
		assert_int_equal(listeners_bind(&l, &conf, 2, false), EX_OK);
		assert_true(addr_parse_port(slice_of("0.0.0.0:1"), &sections[1].at));
		sections[1].at.port = sections[0].at.port;
		l.all[0].used = false;
		conf.listens_len = 2;
		code = bind_quietly(2, false);
	}
	assert_int_equal(code, EX_OK);
	assert_true(l.len == 2 && l.all[1].len == 2 && l.all[1].at.port == sections[0].at.port);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(bound_and_shared_out, begin, end), cmocka_unit_test_setup_teardown(over_a_change, begin, end),
		cmocka_unit_test_setup_teardown(from_one, begin, end), cmocka_unit_test_setup_teardown(not_wanted_any_more, begin, end), cmocka_unit_test_setup_teardown(taken, begin, end),
		cmocka_unit_test_setup_teardown(overlapping, begin, end) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
