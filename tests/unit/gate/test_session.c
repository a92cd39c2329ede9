/* Sessions: the pool and its ceiling, ids, and the one line of each verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "door.h"
#include "gate/session.h"

static const struct door_setup by_hand = { .manual = true, .options = { "greet_pause=1500ms", "backend_timeout=5s" } };

static void pool_has_a_ceiling(void **context)
{
	struct door d;
	struct session *all[SESSION_SPARES + 10];
	struct conn conn = { .state = CONN_FREE };
	(void)context;
	door_open(&d, &by_hand);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < SESSION_SPARES + 10; i++) {
			all[i] = session_new(&d.front, &conn, 5);
			assert_non_null(all[i]);
			assert_ptr_equal(all[i]->conn, &conn);
			assert_true(all[i]->accepted == 5 && all[i]->readable && !all[i]->eof && !all[i]->slow);
			assert_int_equal(all[i]->verdict, CONN_UNDECIDED);
			assert_null(all[i]->refuse.in);
			assert_int_equal(all[i]->out.len + all[i]->refuse.out.len + all[i]->refuse.in_len, 0);
			/* Leave it as dirty as a conversation does. */
			buf_put_text(&all[i]->out, "last words");
			buf_put_text(&all[i]->refuse.out, "replies");
			relay_put_out(&all[i]->relay, "greeting", 8);
			if (i % 2)
				session_said(&d.front, all[i], slice_of("EHLO x\n"));
			assert_int_equal(all[i]->refuse.in_len, i % 2 ? 7 : 0);
			all[i]->verdict = CONN_EARLY;
			all[i]->eof = all[i]->slow = all[i]->shut = true;
		}
		assert_int_equal(d.front.spares_len, 0);
		for (int i = 0; i < SESSION_SPARES + 10; i++)
			session_free(&d.front, all[i]);
		assert_int_equal(d.front.spares_len, SESSION_SPARES);
		assert_int_equal(d.front.lines_len, (SESSION_SPARES + 10) / 2);
	}
	session_free(&d.front, NULL);
	session_pool_free(&d.front);
	assert_int_equal(d.front.spares_len + d.front.lines_len, 0);
	door_close(&d);
}

static void ids(void **context)
{
	struct door d;
	struct conn conn = { .state = CONN_FREE };
	char last[SESSION_ID] = "";
	(void)context;
	door_open(&d, &by_hand);
	for (int i = 0; i < 3000; i++) {
		struct session *s = session_new(&d.front, &conn, 0);
		assert_non_null(s);
		assert_int_equal(strspn(s->id, "0123456789abcdefghijklmnopqrstuv"), SESSION_ID - 1);
		assert_true(strcmp(s->id, last) > 0); /* in the order of time, so none comes twice */
		memcpy(last, s->id, sizeof(last));
		session_free(&d.front, s);
	}
	d.front.index = 1; /* another front, in the same second */
	struct session *s = session_new(&d.front, &conn, 0);
	assert_int_not_equal(strcmp(s->id + 7, last + 7), 0);
	session_free(&d.front, s);
	/* Whatever rows they have: after a reload those that are free, with others between them. */
	static const unsigned rows[] = { 15, 15 + 64, 15 + 512, METRICS_ROWS - 1 };
	char made[4][SESSION_ID];
	d.front.rows = rows;
	for (unsigned i = 0; i < 4; i++) {
		d.front.index = i;
		d.front.serial = 7;
		session_make_id(&d.front, made[i]);
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(made[i], made[j]);
	}
	d.front.rows = NULL;
	d.front.index = 0;
	door_close(&d);
}

/* The connection's line that was logged since *seen; its id is checked and cut out, for it differs each time. Lines about the backend are another test's. */
static void expect_line(struct door *d, size_t *seen, const char *want)
{
	char line[1000];
	const char *at = buf_text(&d->log) + *seen;
	size_t n = strcspn(at, "\n");
	while (memmem(at, n, " event=", 7)) {
		*seen += n + 1;
		at += n + 1;
		n = strcspn(at, "\n");
	}
	assert_true(n < sizeof(line));
	memcpy(line, at, n);
	line[n] = '\0';
	*seen += n + 1;
	char *id = strstr(line, " id=");
	assert_non_null(id);
	memmove(id, id + 4 + SESSION_ID - 1, strlen(id + 4 + SESSION_ID - 1) + 1);
	const char *verdict = strstr(line, "verdict=");
	assert_non_null(verdict);
	assert_string_equal(verdict, want);
	assert_int_equal(strlen(buf_text(&d->log)), *seen); /* one line, not two */
}

static void one_line_each(void **context)
{
	struct door d;
	char want[500], header[600];
	size_t seen = 0;
	(void)context;
	door_open(&d, &by_hand);
	/* early */
	int fd = door_connect(&d, "192.0.2.1");
	unsigned port = d.front.conns[0].client.port;
	loop_advance(&d.front.loop, 412345);
	door_send(fd, "HELO \x1b\"x\"\r\nQUIT\r\n");
	door_settle(&d);
	snprintf(want, sizeof(want), "verdict=early client=192.0.2.1 port=%u pause_ms=1500 after_ms=0.412 kind=session bytes=17 "
		"data=\"HELO \\x1b\\\"x\\\"\\r\\nQUIT\\r\\n\"", port);
	expect_line(&d, &seen, want);
	close(fd);
	door_settle(&d);
	assert_int_equal(buf_text(&d.log)[seen], '\0'); /* its end is not a second line */
	/* gone */
	fd = door_connect(&d, "2001:db8::1");
	port = d.front.conns[0].client.port;
	loop_advance(&d.front.loop, 1499 * LOOP_MS);
	close(fd);
	door_settle(&d);
	snprintf(want, sizeof(want), "verdict=gone client=2001:db8::1 port=%u pause_ms=1500 after_ms=1499.000", port);
	expect_line(&d, &seen, want);
	/* patient: its line comes at the end, and says when the greeting went out */
	fd = door_connect(&d, "192.0.2.2");
	port = d.front.conns[0].client.port;
	loop_advance(&d.front.loop, 1500 * LOOP_MS);
	int backend = door_backend_accept(&d);
	loop_advance(&d.front.loop, 250 * LOOP_MS);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	door_send(backend, "220 x\r\n");
	door_settle(&d);
	door_send(fd, "QUIT\r\n");
	door_settle(&d);
	loop_advance(&d.front.loop, 250 * LOOP_MS);
	assert_int_equal(strlen(buf_text(&d.log)), seen);
	close(backend);
	close(fd);
	door_settle(&d);
	snprintf(want, sizeof(want), "verdict=patient client=192.0.2.2 port=%u pause_ms=1500 after_ms=1750.000 backend=mail in=6 out=7 end=backend messages=0 duration_ms=2000.000", port);
	expect_line(&d, &seen, want);
	/* nobackend */
	close(d.backend);
	d.backend = -1;
	fd = door_connect(&d, "192.0.2.3");
	port = d.front.conns[0].client.port;
	loop_advance(&d.front.loop, 1500 * LOOP_MS);
	snprintf(want, sizeof(want), "verdict=nobackend client=192.0.2.3 port=%u pause_ms=1500 after_ms=1500.000 backend=mail error=\"Connection refused\"", port);
	expect_line(&d, &seen, want);
	close(fd);
	door_settle(&d);
	door_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(pool_has_a_ceiling), cmocka_unit_test(ids), cmocka_unit_test(one_line_each) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
