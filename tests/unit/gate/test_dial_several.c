/* Several backends: a client whose backend fails is served by the next one, and hears of none of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "door.h"
#include "gate/session.h"

#define NO_SERVICE "421 4.3.2 mail.example.org Service not available, try again later\r\n"
#define WAIT 5000 /* milliseconds until a test gives up */
#define MOST 3

/* The door, and backends "a", "b", …, each listening on a port of its own unless it has been closed (-1). */
struct several {
	struct door door;
	int listeners[MOST];
	char file[1024];
};

static struct several t;

/* what: more for the section of each backend; NULL ends. */
static void open_all(const char *const what[])
{
	struct buf text;
	buf_init_fixed(&text, t.file, sizeof(t.file));
	for (int i = 0; i < MOST && what[i]; i++) {
		struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
		t.listeners[i] = sock_listen(&at, 16, false);
		assert_true(t.listeners[i] >= 0 && sock_local(t.listeners[i], &at));
		buf_putf(&text, "backend %c { address = \"smtp:127.0.0.1:%u\" %s %s }\n", 'a' + i, (unsigned)at.port,
		         strstr(what[i], "xclient") ? "" : "proxy = v1", what[i]);
	}
	struct door_setup setup = { .manual = true, .file = buf_text(&text), .options = { "greet_pause=250ms", "backend_timeout=6s", "resolve=never" } };
	door_open(&t.door, &setup);
}

static void close_all(void)
{
	loop_advance(&t.door.front.loop, 10 * LOOP_SECOND);
	assert_int_equal(t.door.front.open, 0);
	for (unsigned i = 0; i < t.door.front.backends.len; i++)
		assert_int_equal(backends_open(&t.door.front.backends, &t.door.front.backends.all[i]), 0);
	door_close(&t.door);
	for (int i = 0; i < MOST; i++)
		if (t.listeners[i] > 0)
			close(t.listeners[i]);
	memset(&t, 0, sizeof(t));
}

static int patient(const char *address)
{
	int client = door_connect(&t.door, address);
	loop_advance(&t.door.front.loop, 250 * LOOP_MS);
	door_settle(&t.door);
	return client;
}

/* The door's connection at that backend; -1: there is none. */
static int accepted(int i)
{
	struct pollfd p = { .fd = t.listeners[i], .events = POLLIN };
	struct addr from;
	return poll(&p, 1, 0) == 1 ? sock_accept(t.listeners[i], &from) : -1;
}

/* The same, its header read. */
static int taken(int i)
{
	char header[200];
	int fd = accepted(i);
	if (fd < 0)
		return -1;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, WAIT), 1);
	ssize_t n = recv(fd, header, sizeof(header), 0);
	assert_true(n > 6 && memcmp(header, "PROXY ", 6) == 0 && header[n - 1] == '\n'); /* the header alone, and once */
	return fd;
}

static void end(int client, int backend)
{
	close(client);
	close(backend);
	door_settle(&t.door);
}

static void serves(int client, int i)
{
	int backend = taken(i);
	assert_true(backend >= 0);
	door_expect_silence(client);
	door_send(backend, "220 here\r\n");
	door_settle(&t.door);
	door_expect(client, "220 here\r\n");
	end(client, backend);
}

static bool logged(const char *text)
{
	return strstr(buf_text(&t.door.log), text);
}

/* As many to each; and who has lost one gets the next. */
static void each_as_many(void **context)
{
	(void)context;
	open_all((const char *const[]){ "", "", NULL });
	int clients[5], backends[2][2];
	for (int i = 0; i < 4; i++)
		clients[i] = patient("192.0.2.1");
	for (int i = 0; i < 4; i++) {
		backends[i % 2][i / 2] = taken(i % 2);
		assert_true(backends[i % 2][i / 2] >= 0);
	}
	close(backends[1][0]); /* before its greeting: its client takes the other way, */
	door_settle(&t.door);
	int moved = taken(0);
	assert_true(moved >= 0);
	clients[4] = patient("192.0.2.1"); /* and this is the one who tries */
	int tried = taken(1);
	assert_true(tried >= 0);
	for (int i = 0; i < 5; i++)
		close(clients[i]);
	close(backends[0][0]);
	close(backends[0][1]);
	close(backends[1][1]);
	close(moved);
	close(tried);
	door_settle(&t.door);
	close_all();
}

static void refused_by_one(void **context)
{
	(void)context;
	open_all((const char *const[]){ "", "", NULL });
	close(t.listeners[0]);
	t.listeners[0] = 0;
	t.door.before--;
	for (int i = 0; i < 4; i++)
		serves(patient("192.0.2.1"), 1);
	assert_true(logged("event=backend_down backend=a"));
	assert_false(logged("backend=b address")); /* nothing is said of the other */
	assert_true(logged("backend=b in=0 out=10"));
	assert_false(logged("verdict=nobackend"));
	assert_int_equal(door_metric(&t.door, METRIC_nobackend), 0);
	assert_true(door_metric(&t.door, METRIC_backend_failures) >= 2); /* and again when it was tried */
	assert_int_equal(door_metric(&t.door, METRIC_patient), 4);
	close_all();
}

/* The one that the next client is handed to first: a, then b, … */
static int first_one(void)
{
	for (int i = 0; i < MOST; i++) {
		struct pollfd p = { .fd = t.listeners[i], .events = POLLIN };
		if (t.listeners[i] > 0 && poll(&p, 1, 0) == 1)
			return i;
	}
	return -1;
}

/* Accepts and says nothing, or closes: the next one has a share of the time, the last the rest. */
static void silent_ones(void **context)
{
	(void)context;
	open_all((const char *const[]){ "", "", "", NULL });
	int client = patient("192.0.2.1");
	int held[MOST], order[MOST];
	for (int i = 0; i < MOST; i++) {
		order[i] = first_one();
		assert_true(order[i] >= 0);
		held[i] = taken(order[i]);
		assert_int_equal(first_one(), -1);
		if (i == MOST - 1)
			break;
		loop_advance(&t.door.front.loop, 2 * LOOP_SECOND - 1);
		assert_int_equal(first_one(), -1);
		loop_advance(&t.door.front.loop, 1);
		door_expect_end(held[i]);
	}
	assert_true(order[0] != order[1] && order[1] != order[2] && order[0] != order[2]);
	loop_advance(&t.door.front.loop, 2 * LOOP_SECOND - 1);
	door_expect_silence(client);
	loop_advance(&t.door.front.loop, 1);
	door_expect(client, NO_SERVICE);
	for (int i = 0; i < MOST; i++)
		close(held[i]);
	close(client);
	door_settle(&t.door);
	assert_true(logged("verdict=nobackend") && logged("error=\"no greeting in time\""));
	/* All are down now: nobody is made to wait for that. */
	client = door_connect(&t.door, "192.0.2.2");
	loop_advance(&t.door.front.loop, 249 * LOOP_MS);
	door_expect_silence(client);
	close(client);
	close_all();
}

static void closes_at_once(void **context)
{
	(void)context;
	open_all((const char *const[]){ "", "", NULL });
	int client = patient("192.0.2.1");
	int first = first_one();
	close(taken(first));
	door_settle(&t.door);
	serves(client, 1 - first);
	assert_true(logged("error=\"closed without a greeting\"") || logged("error=\"Connection reset by peer\""));
	close_all();
}

/* A dead one is tried by one client; meanwhile the others are served elsewhere, at once. */
static void one_tries(void **context)
{
	(void)context;
	open_all((const char *const[]){ "", "", NULL });
	int client = patient("192.0.2.1");
	int dead = first_one(), alive = 1 - dead;
	close(taken(dead));
	door_settle(&t.door);
	serves(client, alive);
	int trier = patient("192.0.2.1"); /* 250 ms later */
	assert_int_equal(first_one(), dead);
	int hangs = taken(dead);
	for (int i = 0; i < 3; i++)
		serves(patient("192.0.2.2"), alive);
	/* Who tries it goes away: another one does. */
	close(trier);
	door_settle(&t.door);
	close(hangs);
	trier = patient("192.0.2.3");
	assert_int_equal(first_one(), dead);
	serves(trier, dead);
	/* Each in turn again. */
	client = patient("192.0.2.1");
	int other = patient("192.0.2.1");
	int x = taken(0), y = taken(1);
	assert_true(x >= 0 && y >= 0);
	end(client, x);
	end(other, y);
	assert_true(logged("event=backend_up"));
	close_all();
}

/* A 4xx or 5xx is an answer. */
static void a_refusal_is_passed_on(void **context)
{
	(void)context;
	open_all((const char *const[]){ "", "", NULL });
	int client = patient("192.0.2.1");
	int first = first_one(), backend = taken(first);
	door_send(backend, "421 too busy\r\n");
	close(backend);
	door_settle(&t.door);
	door_expect(client, "421 too busy\r\n");
	assert_int_equal(first_one(), -1);
	assert_false(logged("backend_down"));
	close(client);
	door_settle(&t.door);
	close_all();
}

/* The client has the first line of a greeting. What one backend had begun of its own is forgotten with it: the next one ends the reply. */
static void behind_a_teaser(void **context)
{
	static const char *const failures[] = { "220 half of a li", "hello there\r\n", "250 fine\r\n", "354 go\r\n", "220x\r\n", "\r\n" };
	(void)context;
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		open_all((const char *const[]){ "", "", NULL });
		t.door.conf.greet_teaser = true;
		int client = patient("192.0.2.1");
		door_expect(client, "220-mail.example.org ESMTP\r\n");
		int first = first_one(), backend = taken(first);
		door_send(backend, failures[i]);
		close(backend);
		door_settle(&t.door);
		serves(client, 1 - first);
		assert_true(logged("event=backend_down"));
		close_all();
	}
}

static void talk_while_the_second_is_dialled(void **context)
{
	(void)context;
	open_all((const char *const[]){ "", "", NULL });
	int client = patient("192.0.2.1");
	close(taken(first_one()));
	door_settle(&t.door);
	int backend = taken(first_one());
	assert_true(backend >= 0);
	door_send(client, "EHLO x\r\n");
	door_settle(&t.door);
	door_expect_end(backend);
	close(backend);
	assert_int_equal(door_metric(&t.door, METRIC_early), 1);
	close(client);
	door_settle(&t.door);
	close_all();
}

/* Over the limit: held on, served as soon as there is room, first come first served; talk is early talk; then 421. */
static void over_the_limit(void **context)
{
	(void)context;
	open_all((const char *const[]){ "max = 1", NULL });
	int inside = patient("192.0.2.1"), backend = taken(0);
	assert_true(backend >= 0);
	door_send(backend, "220 here\r\n");
	door_settle(&t.door);
	door_expect(inside, "220 here\r\n");
	int talks = patient("192.0.2.2"), second = patient("192.0.2.3"), third = patient("192.0.2.4");
	door_send(talks, "EHLO x\r\n");
	door_settle(&t.door);
	assert_int_equal(door_metric(&t.door, METRIC_early), 1);
	close(talks);
	door_expect_silence(second);
	assert_int_equal(taken(0), -1);
	end(inside, backend);
	door_settle(&t.door);
	backend = taken(0);
	assert_true(backend >= 0);
	loop_advance(&t.door.front.loop, 5 * LOOP_SECOND); /* its time began when there was room */
	door_send(backend, "220 here\r\n");
	door_settle(&t.door);
	door_expect(second, "220 here\r\n");
	door_expect_silence(third);
	loop_advance(&t.door.front.loop, LOOP_SECOND);
	door_expect(third, NO_SERVICE);
	assert_true(logged("backend=none error=\"all connections that max allows are open\""));
	assert_false(logged("backend_down"));
	close(third);
	end(second, backend);
	close_all();
}

static void says(int backend, const char *text)
{
	door_send(backend, text);
	door_settle(&t.door);
}

/* Who can only wait for the one that is full does not hold up those who can be served by the other. */
static void a_line_of_different_clients(void **context)
{
	(void)context;
	open_all((const char *const[]){ "max = 1", "max = 2", NULL });
	int inside = patient("192.0.2.1"); /* a or b; the other one gets the next two */
	int there = first_one(), full = taken(there);
	assert_true(full >= 0);
	says(full, "220 here\r\n");
	door_expect(inside, "220 here\r\n");
	if (there == 1) { /* make a the one that is taken for good */
		end(inside, full);
		inside = patient("192.0.2.1");
		there = first_one();
		full = taken(there);
		says(full, "220 here\r\n");
		door_expect(inside, "220 here\r\n");
	}
	assert_int_equal(there, 0);
	int failing = patient("192.0.2.2"), bad = taken(1);
	close(bad); /* and now it waits for a, which is full */
	door_settle(&t.door);
	assert_int_equal(door_count(&t.door, CONN_DIAL), 1);
	loop_advance(&t.door.front.loop, 250 * LOOP_MS);
	int other = patient("192.0.2.3"), served = taken(1);
	assert_true(served >= 0); /* which has come later, but b is there for it */
	says(served, "220 b\r\n");
	door_expect(other, "220 b\r\n");
	int third = patient("192.0.2.4"), fourth = patient("192.0.2.5"), second = taken(1);
	says(second, "220 b\r\n");
	door_expect(third, "220 b\r\n");
	assert_int_equal(door_count(&t.door, CONN_DIAL), 2); /* all are full */
	end(third, second);
	loop_advance(&t.door.front.loop, LOOP_MS);
	second = taken(1);
	assert_true(second >= 0); /* the fourth passes the one that waits for a */
	says(second, "220 b\r\n");
	door_expect(fourth, "220 b\r\n");
	end(inside, full);
	full = taken(0);
	assert_true(full >= 0);
	says(full, "220 a\r\n");
	door_expect(failing, "220 a\r\n");
	end(failing, full);
	end(other, served);
	end(fourth, second);
	close_all();
}

/* ---- XCLIENT ---- */

#define OFFER "250-mx\r\n250 XCLIENT NAME ADDR PORT\r\n"

static void told_by_xclient(void **context)
{
	char command[100];
	(void)context;
	open_all((const char *const[]){ "xclient = yes", NULL });
	int client = patient("192.0.2.9"), backend = accepted(0);
	says(backend, "220 first\r\n");
	door_expect(backend, "EHLO mail.example.org\r\n");
	says(backend, OFFER);
	snprintf(command, sizeof(command), "XCLIENT PORT=%u NAME=[UNAVAILABLE] ADDR=192.0.2.9\r\n", (unsigned)t.door.front.conns[0].client.port);
	door_expect(backend, command);
	door_expect_silence(client);
	says(backend, "220-second\r\n220 greeting\r\n");
	door_expect(client, "220-second\r\n220 greeting\r\n");
	door_send(client, "QUIT\r\n");
	door_settle(&t.door);
	door_expect(backend, "QUIT\r\n");
	end(client, backend);
	assert_true(logged("backend=a in=6 out=26"));
	close_all();
}

/* Mail does not pass with the door's address: the backend counts as failed, and the next one is asked. */
static void without_xclient_no_mail(void **context)
{
	(void)context;
	open_all((const char *const[]){ "xclient = yes", "xclient = yes weight = 2", NULL }); /* the second comes first */
	int client = patient("192.0.2.9"), backend = accepted(1);
	says(backend, "220 first\r\n");
	says(backend, "250 mx\r\n");
	door_expect(backend, "EHLO mail.example.org\r\n");
	door_expect_end(backend);
	close(backend);
	assert_true(logged("event=backend_down backend=b"));
	assert_true(logged("error=\"does not offer XCLIENT to us (Postfix: smtpd_authorized_xclient_hosts)\""));
	backend = accepted(0);
	assert_true(backend >= 0);
	says(backend, "220 first\r\n");
	says(backend, OFFER);
	says(backend, "554 5.7.1 not you\r\n"); /* its decision */
	door_expect(client, "554 5.7.1 not you\r\n");
	assert_true(logged("event=backend_greeting backend=a"));
	end(client, backend);
	close_all();
}

/* Stalled, closed or garbled at each step of it: the client gets its 421, and nothing of what was said. */
static void broken_at_each_step(void **context)
{
	static const char *const steps[] = { "220 first\r\n", OFFER, "220 second\r\n" };
	static const char *const errors[] = { "closed without a greeting", "does not speak SMTP", "no greeting in time" };
	(void)context;
	for (int step = 0; step < 3; step++) {
		for (int kind = 0; kind < 3; kind++) {
			open_all((const char *const[]){ "xclient = yes", NULL });
			int client = patient("192.0.2.9"), backend = accepted(0);
			for (int i = 0; i < step; i++)
				says(backend, steps[i]);
			if (kind == 0)
				shutdown(backend, SHUT_WR);
			else if (kind == 1)
				says(backend, "\x16\x03garbage\r\n");
			loop_advance(&t.door.front.loop, 6 * LOOP_SECOND);
			door_expect(client, NO_SERVICE);
			assert_true(logged(errors[kind]));
			end(client, backend);
			close_all();
		}
	}
}

static void talk_in_the_middle(void **context)
{
	(void)context;
	open_all((const char *const[]){ "xclient = yes", NULL });
	int client = patient("192.0.2.9"), backend = accepted(0);
	says(backend, "220 first\r\n");
	says(backend, OFFER);
	says(backend, "220 sec");
	door_send(client, "EHLO x\r\n");
	says(backend, "ond\r\n");
	assert_int_equal(door_metric(&t.door, METRIC_early), 1);
	end(client, backend);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(each_as_many), cmocka_unit_test(refused_by_one), cmocka_unit_test(silent_ones), cmocka_unit_test(closes_at_once),
		cmocka_unit_test(one_tries), cmocka_unit_test(a_refusal_is_passed_on), cmocka_unit_test(behind_a_teaser), cmocka_unit_test(talk_while_the_second_is_dialled), cmocka_unit_test(over_the_limit), cmocka_unit_test(a_line_of_different_clients),
		cmocka_unit_test(told_by_xclient), cmocka_unit_test(without_xclient_no_mail), cmocka_unit_test(broken_at_each_step), cmocka_unit_test(talk_in_the_middle) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
