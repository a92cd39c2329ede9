/* Clients on their way to a program. The test is the spawner: it sees what is asked, and says what became of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/passing.h"
#include "core/sock.h"
#include "door.h"
#include "gate/session.h"

#define FILE_TEXT "backend prog { exec = '/bin/cat'  max = 2 }\n"
#define NO_SERVICE "421 4.3.2 mail.example.org Service not available, try again later\r\n"
#define REFUSAL "554 mail.example.org ESMTP not accepting messages\r\n"

static struct passing_request asked; /* the last request */
static uint64_t life, serial;

/* The next request and the client's socket, -1: it has none. */
static int take_request(struct door *d)
{
	int fd;
	assert_int_equal(sock_recv_fd(d->spawner, &asked, sizeof(asked), &fd), sizeof(asked));
	return fd;
}

static void no_request(struct door *d)
{
	int fd;
	assert_int_equal(sock_recv_fd(d->spawner, &asked, sizeof(asked), &fd), -EAGAIN);
}

static void say(struct door *d, enum passing_report_kind kind, int error)
{
	struct passing_report report = { .life = life, .token = asked.token, .kind = (uint16_t)kind, .backend = asked.backend, .pid = 4711, .serial = serial, .error = error, .client = asked.client };
	assert_int_equal(send(d->spawner, &report, sizeof(report), 0), sizeof(report));
	door_settle(d);
}

static void begin(struct door *d, const char *option)
{
	struct door_setup setup = { .manual = true, .spawner = true, .file = FILE_TEXT, .options = { "greet_pause=250ms", "backend_timeout=5s", "resolve=never", option } };
	door_open(d, &setup);
	assert_int_equal(take_request(d), -1);
	assert_int_equal(asked.kind, PASSING_HELLO);
	life = asked.life;
}

static void end(struct door *d, int client)
{
	if (client >= 0)
		close(client);
	door_settle(d);
	loop_advance(&d->front.loop, 30 * LOOP_SECOND);
	assert_int_equal(d->front.open, 0);
	door_close(d);
}

static void pause_over(struct door *d)
{
	loop_advance(&d->front.loop, 250 * LOOP_MS);
	door_settle(d);
}

/* A client that has waited, and whose socket has been asked to be passed on. */
static int passed(struct door *d, const char *address, int *client)
{
	*client = door_connect(d, address);
	no_request(d);
	pause_over(d);
	int fd = take_request(d);
	assert_true(fd >= 0);
	return fd;
}

static unsigned counted(const struct door *d, const char *address)
{
	struct addr a;
	assert_true(addr_parse(slice_of(address), &a));
	return clients_count(&d->front.clients, addr_client_key(&a));
}

static void a_program_has_the_client(void **context)
{
	struct door d;
	int client;
	(void)context;
	begin(&d, NULL);
	int fd = passed(&d, "192.0.2.1", &client);
	struct addr a;
	addr_parse(slice_of("192.0.2.1"), &a);
	assert_true(addr_same_ip(&asked.client, &a));
	assert_int_equal(asked.backend, 0);
	assert_true(asked.look);
	assert_int_equal(strlen(asked.id), SESSION_ID - 1);
	door_send(client, "EHLO x\r\n"); /* the program was quick: it is not the front's to read */
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	say(&d, PASSING_STARTED, 0);
	assert_int_equal(d.front.open, 0);
	assert_int_equal(door_metric(&d, METRIC_patient), 1);
	assert_int_equal(door_metric(&d, METRIC_handed), 1);
	assert_non_null(strstr(buf_text(&d.log), "verdict=patient client=192.0.2.1"));
	assert_non_null(strstr(buf_text(&d.log), "backend=prog handed=4711\n"));
	door_expect(fd, "EHLO x\r\n");
	door_send(fd, "250 x\r\n");
	door_expect(client, "250 x\r\n");
	/* It is still one of its client's connections, and one of its backend's. */
	assert_int_equal(counted(&d, "192.0.2.1"), 1);
	assert_int_equal(backends_open(&d.front.backends, &d.front.backends.all[0]), 1);
	assert_int_equal(door_metric(&d, METRIC_handed_open), 1);
	close(fd);
	say(&d, PASSING_ENDED, 0);
	assert_int_equal(counted(&d, "192.0.2.1"), 0);
	assert_int_equal(backends_open(&d.front.backends, &d.front.backends.all[0]), 0);
	assert_int_equal(door_metric(&d, METRIC_handed_open), 0);
	end(&d, client);
}

/* The byte comes when nobody looks: after the pause has ended, before the socket is sent. */
static void the_last_look(void **context)
{
	struct door d;
	(void)context;
	begin(&d, NULL);
	int client = door_connect(&d, "192.0.2.1");
	d.front.loop.manual_now += 250 * LOOP_MS;
	door_send(client, "NOOP\r\n");
	struct conn *conn = &d.front.conns[0];
	conn->source.ops->due(&d.front.loop, &conn->source);
	door_settle(&d);
	no_request(&d);
	door_expect(client, REFUSAL "250 2.0.0 OK\r\n");
	assert_int_equal(door_metric(&d, METRIC_early), 1);
	end(&d, client);
}

static void the_spawner_sees_talk(void **context)
{
	struct door d;
	int client;
	(void)context;
	begin(&d, NULL);
	int fd = passed(&d, "192.0.2.1", &client);
	door_send(client, "NOOP\r\n");
	close(fd);
	say(&d, PASSING_TALK, 0);
	door_expect(client, REFUSAL "250 2.0.0 OK\r\n");
	assert_int_equal(door_metric(&d, METRIC_early), 1);
	assert_int_equal(backends_open(&d.front.backends, &d.front.backends.all[0]), 0);
	end(&d, client);
}

/* Observed: what the front or the spawner sees of talk is written down, and the program gets the client all the same, with every byte. */
static void an_observed_client(void **context)
{
	struct door d;
	int client;
	(void)context;
	for (int by_spawner = 0; by_spawner < 2; by_spawner++) {
		begin(&d, "mode=observe");
		if (by_spawner) {
			int fd = passed(&d, "192.0.2.1", &client);
			assert_true(asked.look);
			door_send(client, "NOOP\r\n");
			close(fd);
			say(&d, PASSING_TALK, 0);
		} else {
			client = door_connect(&d, "192.0.2.1");
			door_send(client, "NOOP\r\n");
			door_settle(&d);
			no_request(&d);
			pause_over(&d);
		}
		int fd = take_request(&d);
		assert_true(fd >= 0);
		assert_false(asked.look);
		say(&d, PASSING_STARTED, 0);
		door_expect(fd, "NOOP\r\n");
		assert_int_equal(door_metric(&d, METRIC_early), 0);
		assert_int_equal(door_metric(&d, METRIC_would_early), 1);
		assert_int_equal(door_metric(&d, METRIC_patient), 1);
		assert_non_null(strstr(buf_text(&d.log), by_spawner ? "would_after_ms=250.000 kind=smtp" : "would_after_ms=0.000 kind=smtp"));
		assert_non_null(strstr(buf_text(&d.log), " data=\"NOOP\\r\\n\" backend=prog handed=4711\n"));
		close(fd);
		say(&d, PASSING_ENDED, 0);
		end(&d, client);
	}
}

/* Whom the access database would refuse at connect, since a program cannot be told at RCPT. */
static void an_observed_client_that_is_refused(void **context)
{
	static const char *const lines[] = { "Connect:192.0.2.1 REJECT\n", "Connect:192.0.2.1 DISCARD\n" };
	(void)context;
	for (int i = 0; i < 2; i++) {
		struct door d;
		int client;
		begin(&d, "mode=observe");
		door_access(&d, lines[i]);
		int fd = passed(&d, "192.0.2.1", &client);
		say(&d, PASSING_STARTED, 0);
		assert_int_equal(door_metric(&d, METRIC_refused), 0);
		assert_int_equal(door_metric(&d, METRIC_would_refused), 1);
		assert_non_null(strstr(buf_text(&d.log), "would=refused would_stage=connect"));
		close(fd);
		say(&d, PASSING_ENDED, 0);
		end(&d, client);
	}
}

/* It may talk: that is the program's to read, and nobody looks. */
static void an_exempt_client(void **context)
{
	struct door d;
	(void)context;
	struct door_setup setup = { .manual = true, .spawner = true, .file = FILE_TEXT, .options = { "greet_pause=0", "resolve=never" } };
	door_open(&d, &setup);
	take_request(&d);
	life = asked.life;
	int client = door_connect(&d, "192.0.2.1");
	int fd = take_request(&d);
	assert_false(asked.look);
	door_send(client, "NOOP\r\n");
	door_settle(&d);
	say(&d, PASSING_STARTED, 0);
	door_expect(fd, "NOOP\r\n");
	assert_int_equal(door_metric(&d, METRIC_exempt), 1);
	close(fd);
	say(&d, PASSING_ENDED, 0);
	end(&d, client);
}

static void it_cannot_be_started(void **context)
{
	struct door d;
	int client;
	(void)context;
	begin(&d, NULL);
	int fd = passed(&d, "192.0.2.1", &client);
	close(fd);
	say(&d, PASSING_FAILED, ENOENT);
	door_expect(client, NO_SERVICE);
	door_expect_end(client);
	assert_non_null(strstr(buf_text(&d.log), "event=backend_down backend=prog address=/bin/cat error=\"No such file or directory\"\n"));
	assert_non_null(strstr(buf_text(&d.log), "verdict=nobackend client=192.0.2.1"));
	close(client);
	door_settle(&d);
	assert_int_equal(counted(&d, "192.0.2.1"), 0);
	end(&d, -1);
}

static void as_many_run_as_may(void **context)
{
	struct door d;
	int client, early;
	(void)context;
	begin(&d, NULL);
	close(passed(&d, "192.0.2.1", &client));
	say(&d, PASSING_BUSY, 0);
	early = door_connect(&d, "192.0.2.2");
	pause_over(&d);
	for (int i = 0; i < 2; i++) { /* the first again, after a moment; and the second */
		close(take_request(&d));
		say(&d, PASSING_BUSY, 0);
	}
	no_request(&d);
	door_send(early, "NOOP\r\n"); /* who waits in line may not talk either */
	door_settle(&d);
	door_expect(early, REFUSAL "250 2.0.0 OK\r\n");
	door_expect_silence(client);
	loop_advance(&d.front.loop, 20 * LOOP_MS);
	close(take_request(&d));
	say(&d, PASSING_STARTED, 0);
	assert_int_equal(door_metric(&d, METRIC_patient), 1);
	close(early);
	say(&d, PASSING_ENDED, 0);
	end(&d, client);
}

/* max is also this front's to keep: nothing is asked while it is reached. */
static void no_more_than_max(void **context)
{
	struct door d;
	int clients[3];
	(void)context;
	begin(&d, "max_per_client=0");
	for (int i = 0; i < 2; i++) {
		close(passed(&d, "192.0.2.1", &clients[i]));
		say(&d, PASSING_STARTED, 0);
	}
	clients[2] = door_connect(&d, "192.0.2.1");
	pause_over(&d);
	no_request(&d);
	say(&d, PASSING_ENDED, 0); /* of the second */
	door_settle(&d);
	close(take_request(&d));
	say(&d, PASSING_STARTED, 0);
	assert_int_equal(door_metric(&d, METRIC_patient), 3);
	assert_int_equal(counted(&d, "192.0.2.1"), 2);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	end(&d, -1);
}

/* The client is told in time; a report that comes after that only counts. */
static void the_spawner_says_nothing(void **context)
{
	struct door d;
	int client;
	(void)context;
	begin(&d, NULL);
	int fd = passed(&d, "192.0.2.1", &client);
	loop_advance(&d.front.loop, 5 * LOOP_SECOND);
	door_settle(&d);
	door_expect(client, NO_SERVICE);
	assert_non_null(strstr(buf_text(&d.log), "error=\"not started in time\""));
	close(fd);
	close(client);
	door_settle(&d);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	assert_int_equal(d.front.open, 0);
	assert_int_equal(counted(&d, "192.0.2.1"), 0);
	say(&d, PASSING_STARTED, 0);
	assert_int_equal(counted(&d, "192.0.2.1"), 1);
	assert_int_equal(door_metric(&d, METRIC_patient), 0);
	say(&d, PASSING_ENDED, 0);
	assert_int_equal(counted(&d, "192.0.2.1"), 0);
	end(&d, -1);
}

static void the_client_goes(void **context)
{
	struct door d;
	int client;
	(void)context;
	begin(&d, NULL);
	close(passed(&d, "192.0.2.1", &client));
	close(client);
	door_settle(&d);
	say(&d, PASSING_GONE, 0);
	assert_int_equal(door_metric(&d, METRIC_gone), 1);
	end(&d, -1);
}

/* Reports that are nobody's: of a front that was here before, of no connection, cut short. */
static void strange_reports(void **context)
{
	struct door d;
	int client;
	(void)context;
	begin(&d, NULL);
	int fd = passed(&d, "192.0.2.1", &client);
	uint64_t token = asked.token;
	life++;
	say(&d, PASSING_STARTED, 0);
	assert_int_equal(counted(&d, "192.0.2.1"), 1); /* the connection itself */
	life--;
	asked.token = token + 1;
	say(&d, PASSING_FAILED, ENOENT);
	asked.token = token + (UINT64_C(1) << 32);
	say(&d, PASSING_FAILED, ENOENT);
	asked.token = UINT64_MAX;
	say(&d, PASSING_BUSY, 0);
	assert_int_equal(send(d.spawner, "x", 1, 0), 1);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	asked.token = token;
	say(&d, PASSING_STARTED, 0);
	assert_int_equal(door_metric(&d, METRIC_patient), 1);
	say(&d, PASSING_ENDED, 0);
	close(fd);
	end(&d, client);
}

/* By the spawner that follows one that died behind its last report. */
static void told_twice(void **context)
{
	struct door d;
	int client;
	(void)context;
	begin(&d, NULL);
	close(passed(&d, "192.0.2.1", &client));
	serial = 7;
	say(&d, PASSING_STARTED, 0);
	say(&d, PASSING_STARTED, 0);
	assert_int_equal(counted(&d, "192.0.2.1"), 1);
	serial = 8;
	say(&d, PASSING_ENDED, 0);
	say(&d, PASSING_ENDED, 0);
	serial = 0;
	assert_int_equal(counted(&d, "192.0.2.1"), 0);
	assert_int_equal(door_metric(&d, METRIC_handed_open), 0);
	end(&d, client);
}

/* Sessions of the front that was here before. */
static void kept(void **context)
{
	struct door d;
	(void)context;
	begin(&d, "max_per_client=1");
	addr_parse(slice_of("192.0.2.1"), &asked.client);
	say(&d, PASSING_KEPT, 0);
	assert_int_equal(counted(&d, "192.0.2.1"), 1);
	int client = door_connect(&d, "192.0.2.1");
	door_expect(client, "421 4.7.0 mail.example.org Too many connections from your address\r\n");
	say(&d, PASSING_ENDED, 0);
	assert_int_equal(door_metric(&d, METRIC_handed_open), 0);
	end(&d, client);
}

static void the_door_stops_meanwhile(void **context)
{
	struct door d;
	int client;
	(void)context;
	begin(&d, NULL);
	int fd = passed(&d, "192.0.2.1", &client);
	front_stop_all(&d.front, CONN_STOP);
	door_settle(&d);
	door_expect(client, "421 4.3.2 mail.example.org Service shutting down, try again later\r\n");
	close(fd);
	assert_int_equal(backends_open(&d.front.backends, &d.front.backends.all[0]), 0);
	end(&d, client);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_program_has_the_client), cmocka_unit_test(the_last_look), cmocka_unit_test(the_spawner_sees_talk), cmocka_unit_test(an_observed_client), cmocka_unit_test(an_observed_client_that_is_refused),
		cmocka_unit_test(an_exempt_client), cmocka_unit_test(it_cannot_be_started), cmocka_unit_test(as_many_run_as_may), cmocka_unit_test(no_more_than_max),
		cmocka_unit_test(the_spawner_says_nothing), cmocka_unit_test(the_client_goes), cmocka_unit_test(strange_reports), cmocka_unit_test(told_twice), cmocka_unit_test(kept),
		cmocka_unit_test(the_door_stops_meanwhile) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
