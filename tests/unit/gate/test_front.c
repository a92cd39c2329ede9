/* The front as a role: the words of its parent, its end, and that nothing is left of it whatever it was doing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "descriptors.h"
#include "door.h"
#include "access/access.h"

#define STOPPED "421 4.3.2 mail.example.org Service shutting down, try again later\r\n"

static void send_word(struct door *d, char word, int fd)
{
	assert_int_equal(sock_send_fd(d->parent, &word, 1, fd), 1);
	if (fd >= 0)
		close(fd);
	door_settle(d);
}

/* An access table of one line. */
static int table(const char *line)
{
	char path[64], spec[80];
	struct buf errors, warnings;
	size_t entries;
	snprintf(path, sizeof(path), "/tmp/tarry-test-front-%d", (int)getpid());
	snprintf(spec, sizeof(spec), "text:%s", path);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%s\n", line);
	fclose(f);
	buf_init(&errors, 1000);
	buf_init(&warnings, 1000);
	int fd = access_build(spec, &errors, &warnings, &entries);
	unlink(path);
	buf_fini(&errors);
	buf_fini(&warnings);
	assert_true(fd >= 0);
	return fd;
}

/* Milliseconds that a new client of this address is made to wait. */
static uint32_t pause_for(struct door *d, const char *address)
{
	int fd = door_connect(d, address);
	uint32_t pause = d->front.conns[0].pause_ms;
	assert_int_equal(d->front.conns[0].state, pause > 0 ? CONN_HOLD : CONN_DIAL);
	close(fd);
	door_settle(d);
	assert_int_equal(d->front.open, 0);
	if (pause == 0)
		close(door_backend_accept(d));
	return pause;
}

static void takes_a_new_table(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=500ms" } };
	(void)context;
	door_open(&d, &setup);
	assert_int_equal(pause_for(&d, "192.0.2.1"), 500);
	int held = door_connect(&d, "192.0.2.1");
	send_word(&d, 'A', table("GreetPause:192.0.2 7000"));
	send_word(&d, 'A', table("GreetPause:192.0.2.1 0"));
	/* Who waits already waits as long as it was told to. */
	assert_int_equal(d.front.conns[0].pause_ms, 500);
	close(held);
	door_settle(&d);
	assert_int_equal(pause_for(&d, "192.0.2.1"), 0);
	assert_int_equal(pause_for(&d, "192.0.2.2"), 500);
	/* Neither rubbish nor an unknown word changes anything, or keeps a descriptor. */
	int open = descriptors_open();
	send_word(&d, 'A', dup(0));
	send_word(&d, 'A', -1);
	send_word(&d, '?', dup(0));
	send_word(&d, '?', -1);
	assert_int_equal(descriptors_open(), open);
	assert_non_null(strstr(buf_text(&d.log), "the old one stays"));
	assert_int_equal(pause_for(&d, "192.0.2.1"), 0);
	door_close(&d);
}

/* A table comes however few descriptors are left. */
static void takes_a_table_without_descriptors(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=500ms" } };
	struct rlimit old, none;
	(void)context;
	door_open(&d, &setup);
	int fd = table("GreetPause:192.0.2.1 7000");
	char word = 'A';
	assert_int_equal(sock_send_fd(d.parent, &word, 1, fd), 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = (rlim_t)fd; /* all below are in use */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	door_settle(&d);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close(fd);
	assert_int_equal(pause_for(&d, "192.0.2.1"), 7000);
	door_close(&d);
}

/* Stands in for clients that read their last line and go, when the loop comes round. */
struct readers {
	struct source source;
	int fds[3];
	unsigned left;
};

static void readers_due(struct loop *loop, struct source *source)
{
	struct readers *r = (struct readers *)source;
	(void)loop;
	for (int i = 0; i < 3; i++) {
		door_expect(r->fds[i], STOPPED);
		door_expect_end(r->fds[i]);
		close(r->fds[i]);
		r->left--;
	}
}

static const struct source_ops readers_ops = { NULL, readers_due };

static void stops_with_a_word(void **context)
{
	struct door d;
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	int listener = sock_listen(&at, 4, false);
	struct door_setup setup = { .listeners = &listener, .listeners_len = 1, .options = { "greet_pause=1m" } };
	struct readers r = { .left = 3 };
	char header[600];
	(void)context;
	assert_true(listener >= 0);
	door_open(&d, &setup);
	int refused = door_connect(&d, "192.0.2.9");
	door_send(refused, "RSET\r\n");
	door_settle(&d);
	door_expect(refused, "554 mail.example.org ESMTP not accepting messages\r\n250 2.0.0 Reset state\r\n");
	send_word(&d, 'A', table("GreetPause:192.0.2.3 0"));
	r.fds[0] = door_connect(&d, "192.0.2.1");
	r.fds[1] = door_connect(&d, "192.0.2.2");
	r.fds[2] = door_connect(&d, "192.0.2.3"); /* at the backend, which has not greeted yet */
	int backend = door_backend_accept(&d);
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	close(d.parent);
	d.parent = -1;
	source_init(&r.source, &readers_ops);
	/* The parent's end is seen in the first turn, the readers come in one of the next. */
	assert_int_equal(loop_turn(&d.front.loop, 0), 0);
	assert_true(d.front.stopping);
	loop_set_due(&d.front.loop, &r.source, loop_now(&d.front.loop) + LOOP_MS);
	d.front.loop.stop = true;
	listen_stop(&d.front);
	front_stop_all(&d.front, CONN_STOP);
	while (r.left > 0)
		assert_int_equal(loop_turn(&d.front.loop, LOOP_NEVER), 0);
	door_expect_end(refused); /* it has had its answer, and is listened to until it goes */
	close(refused);
	door_settle(&d);
	assert_int_equal(d.front.open, 0);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	door_expect_end(backend);
	assert_int_equal(door_metric(&d, METRIC_tempfail), 3);
	close(backend);
	door_close(&d);
}

/* front_run() from its start to its end, with nobody there. */
static void runs_until_the_parent_is_gone(void **context)
{
	struct door d;
	struct door_setup setup = { .options = { "greet_pause=1m" } };
	(void)context;
	door_open(&d, &setup);
	close(d.parent);
	d.parent = -1;
	assert_int_equal(front_run(&d.front), 0);
	assert_true(d.front.stopping);
	door_close(&d);
}

/* The front ends in the middle of everything: each state has a connection. door_close() does the checking. */
static void ends_in_any_state(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=100ms" } };
	int fds[6];
	(void)context;
	door_open(&d, &setup);
	fds[0] = door_connect(&d, "192.0.2.1");
	loop_advance(&d.front.loop, 100 * LOOP_MS);
	int relayed = door_backend_accept(&d);
	door_send(relayed, "220 hello\r\n");
	door_settle(&d);
	fds[1] = door_connect(&d, "192.0.2.2");
	loop_advance(&d.front.loop, 100 * LOOP_MS);
	fds[2] = door_connect(&d, "192.0.2.3");
	door_send(fds[2], "RSET\r\nhalf a li");
	fds[3] = door_connect(&d, "192.0.2.4");
	door_send(fds[3], "QUIT\r\n");
	fds[4] = door_connect(&d, "192.0.2.5");
	fds[5] = door_connect(&d, "192.0.2.6");
	close(fds[5]);
	door_send(fds[0], "DATA, which nobody has read yet\r\n");
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_RELAY), 1);
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	assert_int_equal(door_count(&d, CONN_REFUSE), 1);
	assert_int_equal(door_count(&d, CONN_CLOSE), 1);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
	close(relayed);
	door_close(&d);
}

/* Handed descriptors are the front's, also when it cannot start. */
static void fails_to_start(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true };
	struct front front;
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	(void)context;
	door_open(&d, &setup);
	int before = descriptors_open();
	int listeners[2] = { sock_listen(&at, 4, false), sock_listen(&at, 4, false) };
	struct front_setup bad = { .conf = &d.conf, .fronts = 1, .listeners = listeners, .listeners_len = 2, .parent = -1, .access = &(int){ open("/dev/null", O_RDONLY) }, .access_len = 1, .questions = -1 };
	assert_int_equal(front_init(&front, &bad), -EINVAL);
	front_fini(&front);
	assert_int_equal(descriptors_open(), before);
	door_close(&d);
}

/* A slot that was used is used again: the memory for connections does not grow with their number. */
static void slots_are_used_again(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true };
	(void)context;
	door_open(&d, &setup);
	for (int i = 0; i < 200; i++) {
		int one = door_connect(&d, "192.0.2.1"), two = door_connect(&d, "2001:db8::1");
		if (i % 3 == 0)
			door_send(one, "QUIT\r\n");
		close(i % 2 ? one : two);
		close(i % 2 ? two : one);
		door_settle(&d);
	}
	assert_int_equal(d.front.open, 0);
	assert_int_equal(d.front.conns_used, 2);
	door_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(takes_a_new_table), cmocka_unit_test(takes_a_table_without_descriptors), cmocka_unit_test(stops_with_a_word),
		cmocka_unit_test(runs_until_the_parent_is_gone), cmocka_unit_test(ends_in_any_state), cmocka_unit_test(fails_to_start),
		cmocka_unit_test(slots_are_used_again) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
