/* The tarpit where a scenario cannot look: what it keeps, who leaves it how, and that a crowd in it is answered a few at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/pulse.h"
#include "core/sock.h"
#include "door.h"
#include "gate/session.h"

#define FIRST "554 mail.example.org ESMTP not accepting messages\r\n"
#define REFUSED "550 5.0.0 Command rejected\r\n"
#define MANY 100

static void pass(struct door *d, int64_t ns)
{
	loop_advance(&d->front.loop, ns);
	door_settle(d);
}

/* What is not answered yet is in the socket, and no session is kept. */
static void keeps_nothing(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_tarpit=1s" } };
	static const char said[] = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
	int left;
	(void)context;
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, said);
	door_settle(&d);
	struct conn *conn = &d.front.conns[0];
	assert_int_equal(conn->state, CONN_TARPIT);
	assert_false(conn->has_session);
	assert_int_equal(ioctl(conn->source.fd, FIONREAD, &left), 0);
	assert_int_equal(left, strlen(said));
	assert_non_null(strstr(buf_text(&d.log), "data=\"MAIL FROM:<a@b>\\r\\nRCPT TO:<c@d>\\r\\nDATA\\r\\n\""));
	pass(&d, LOOP_SECOND);
	door_expect(client, FIRST);
	pass(&d, LOOP_SECOND);
	door_expect(client, REFUSED);
	assert_int_equal(ioctl(conn->source.fd, FIONREAD, &left), 0);
	assert_int_equal(left, strlen("RCPT TO:<c@d>\r\nDATA\r\n"));
	assert_false(conn->has_session);
	assert_int_equal(d.front.spares_len, 1); /* it has gone back to the pool */
	close(client);
	door_settle(&d);
	assert_int_equal(conn->state, CONN_FREE);
	door_close(&d);
}

/* The counters go with it: too many bad commands end it here as elsewhere. */
static void counts(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_tarpit=1s", "max_bad_commands=3" } };
	(void)context;
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "DATA\r\nDATA\r\nDATA\r\nDATA\r\nDATA\r\n");
	door_settle(&d);
	for (int i = 0; i < 4; i++) {
		pass(&d, LOOP_SECOND);
		door_expect(client, i == 0 ? FIRST : REFUSED);
	}
	pass(&d, LOOP_SECOND);
	door_expect(client, "421 4.7.0 mail.example.org Too many bad commands; closing connection\r\n");
	door_expect_end(client);
	close(client);
	door_settle(&d);
	assert_int_equal(door_metric(&d, METRIC_refused_commands), 4);
	door_close(&d);
}

/* Half a line that would be slowed down: its time-out, then its slow-down, then its reply. */
static void half_a_line_slowed_down(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_tarpit=1s", "refuse_timeout=10s" } };
	static const char hello[] = "250 mail.example.org Hello [192.0.2.1], pleased to meet you\r\n";
	(void)context;
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "HELO a\r\nHELO b\r\nHELO c");
	door_settle(&d);
	pass(&d, LOOP_SECOND);
	door_expect(client, FIRST);
	pass(&d, LOOP_SECOND);
	door_expect(client, hello);
	pass(&d, LOOP_SECOND);
	door_expect(client, hello);
	pass(&d, 10 * LOOP_SECOND);
	door_expect_silence(client);
	pass(&d, 999 * LOOP_MS);
	door_expect_silence(client);
	pass(&d, LOOP_MS);
	door_expect(client, hello);
	close(client);
	door_settle(&d);
	door_close(&d);
}

/* A client that does not read keeps a session from then on, and has its replies when it does. */
static void does_not_read(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_tarpit=1s", "max_bad_commands=1000", "refuse_lifetime=1h" } };
	static char replies[1024 * 1024];
	struct buf got;
	(void)context;
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1"), size = 4608, n = 0;
	assert_int_equal(setsockopt(d.front.conns[0].source.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	for (; n < 400 && d.front.conns[0].state != CONN_REFUSE; n++) {
		door_send(client, "DATA\r\n");
		pass(&d, LOOP_SECOND);
	}
	assert_int_equal(d.front.conns[0].state, CONN_REFUSE);
	door_send(client, "QUIT\r\n");
	door_settle(&d);
	buf_init_fixed(&got, replies, sizeof(replies));
	for (int i = 0; i < 50; i++)
		while (sock_read(client, &got, 0) == SOCK_OK)
			door_settle(&d);
	size_t lines = 0;
	for (size_t i = 0; i < got.len; i++)
		lines += got.at[i] == '\n';
	assert_int_equal(lines, 1 + n + 1);
	assert_memory_equal(got.at + got.len - 10, "nnection\r\n", 10);
	close(client);
	door_settle(&d);
	door_close(&d);
}

/* Whom the mail server has greeted, and who then says that at once. */
static int slam(struct door *d, const char *said)
{
	char header[600];
	int client = door_connect(d, "192.0.2.1"), backend = door_backend_accept(d);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	door_send(backend, "220 x\r\n");
	door_settle(d);
	door_expect(client, "220 x\r\n");
	door_send(client, said);
	door_settle(d);
	close(backend);
	return client;
}

/* What a relayed client has said has been read: it is kept, whole and in order, and a front has a limit for that of all of them. */
static void keeps_what_was_read(void **context)
{
	static const char told[] = "554 5.5.0 You sent more before you had the reply to HELO or EHLO\r\n";
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=0", "refuse_tarpit=1s", "max_bad_commands=1000", "refuse_lifetime=1h" } };
	char said[8000] = "HELO x\r\n", want[80];
	size_t len = strlen(said);
	(void)context;
	for (int i = 0; i < 600; i++)
		len += (size_t)snprintf(said + len, sizeof(said) - len, "word %d\r\n", i);
	door_open(&d, &setup);
	int client = slam(&d, said);
	struct conn *conn = &d.front.conns[0];
	assert_int_equal(conn->state, CONN_TARPIT);
	assert_int_equal(d.front.tarpit_kept, len - strlen("HELO x\r\n"));
	assert_int_equal(door_metric(&d, METRIC_relayed_out), strlen("220 x\r\n"));
	door_expect(client, told);
	for (int i = 0; i < 600; i++) {
		pass(&d, LOOP_SECOND);
		snprintf(want, sizeof(want), "500 5.5.1 Command unrecognized: \"word %d\"\r\n", i);
		door_expect(client, want);
	}
	assert_int_equal(d.front.tarpit_kept, 0);
	pass(&d, 5 * LOOP_SECOND);
	door_expect_silence(client);
	close(client);
	door_settle(&d);
	d.front.tarpit_kept = 4 * 1024 * 1024 - len + strlen("HELO x\r\n") + 1;
	client = slam(&d, said);
	assert_int_equal(d.front.conns[0].state, CONN_REFUSE);
	assert_int_equal(door_metric(&d, METRIC_tarpit_full), 1);
	close(client);
	door_settle(&d);
	d.front.tarpit_kept--;
	client = slam(&d, said);
	assert_int_equal(d.front.conns[0].state, CONN_TARPIT);
	assert_int_equal(d.front.tarpit_kept, 4 * 1024 * 1024);
	close(client);
	door_settle(&d);
	assert_int_equal(d.front.tarpit_kept, 4 * 1024 * 1024 - len + strlen("HELO x\r\n"));
	door_close(&d);
}

/* A crowd that came at once is not answered at once, or whoever waits for its greeting meanwhile would have it late. */
static void crowd(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_tarpit=10s", "max_per_client=0", "max_connections=1000" } };
	int fds[MANY];
	(void)context;
	door_open(&d, &setup);
	for (int i = 0; i < MANY; i++) {
		fds[i] = door_connect(&d, "192.0.2.1");
		door_send(fds[i], "NOOP\r\n");
	}
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_TARPIT), MANY);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND - 1);
	d.front.loop.manual_now += 1;
	int before = 0, answered = 0;
	for (int turn = 0; turn < 3; turn++) {
		loop_turn(&d.front.loop, 0);
		answered = 0;
		for (int i = 0, n; i < MANY; i++) {
			assert_int_equal(ioctl(fds[i], FIONREAD, &n), 0);
			answered += n > 0;
		}
		assert_true(answered - before <= 32);
		before = answered;
	}
	assert_int_equal(answered, 32);
	pass(&d, LOOP_SECOND);
	for (int i = 0; i < MANY; i++)
		door_expect(fds[i], FIRST);
	pass(&d, 11 * LOOP_SECOND);
	for (int i = 0; i < MANY; i++)
		door_expect(fds[i], "250 2.0.0 OK\r\n");
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
	door_settle(&d);
	door_close(&d);
}

/* refuse_tarpit_max is for all fronts, whatever their rows are: after a change of the configuration they are not the first ones. */
static void another_row(void **context)
{
	static const unsigned rows[] = { 3 };
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_tarpit=10s", "refuse_tarpit_max=1", "max_per_client=0" } };
	int fds[2];
	(void)context;
	assert_int_equal(metrics_init(), 0);
	metrics_row(3);
	pulse_set_fronts(4);
	door_open(&d, &setup);
	d.front.rows = rows;
	for (int i = 0; i < 2; i++) {
		fds[i] = door_connect(&d, "192.0.2.1");
		door_send(fds[i], "NOOP\r\n");
		door_settle(&d);
	}
	assert_int_equal(door_count(&d, CONN_TARPIT), 1);
	assert_int_equal(door_metric(&d, METRIC_tarpit_full), 1);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	door_settle(&d);
	door_close(&d);
	pulse_set_fronts(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(keeps_nothing), cmocka_unit_test(counts), cmocka_unit_test(half_a_line_slowed_down), cmocka_unit_test(does_not_read),
		cmocka_unit_test(keeps_what_was_read), cmocka_unit_test(crowd), cmocka_unit_test(another_row) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
