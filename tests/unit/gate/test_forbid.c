/* What is no SMTP after the greeting: counted and written down once, answered, and let pass where the client is observed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "door.h"
#include "gate/forbid.h"
#include "gate/session.h"

static void said(void **context)
{
	struct door d;
	struct conn conn = { .state = CONN_FREE };
	char memory[1024];
	struct buf reply;
	(void)context;
	door_open(&d, &(struct door_setup){ .manual = true, .options = { "forbidden_commands=USER" } });
	assert_true(addr_parse(slice_of("192.0.2.1"), &conn.client));
	struct session *s = session_new(&d.front, &conn, 0);
	struct command get = command_parse(slice_of("GET / HTTP/1.0")), user = command_parse(slice_of("USER joe"));
	buf_init_fixed(&reply, memory, sizeof(memory));
	assert_false(forbid_said(&d.front, s, slice_of("HELO x\r\n"), NULL, &reply));
	assert_false(forbid_said(&d.front, s, slice_of("GET / HTTP/1.0"), &get, &reply)); /* a command, and not in the list */
	assert_int_equal(reply.len, 0);
	assert_null(s->forbidden);
	assert_true(forbid_said(&d.front, s, slice_of("GET / HTTP/1.0"), NULL, &reply)); /* the first bytes */
	assert_string_equal(buf_text(&reply), "421 4.7.0 mail.example.org Rejecting open proxy [192.0.2.1]\r\n");
	assert_string_equal(s->forbidden, "http");
	assert_true(forbid_said(&d.front, s, slice_of("USER joe"), &user, &reply));
	assert_int_equal(door_metric(&d, METRIC_forbidden), 1);
	assert_non_null(strstr(buf_text(&d.log), "event=forbidden client=192.0.2.1"));
	assert_null(strstr(buf_text(&d.log), "would="));
	session_free(&d.front, s);
	door_close(&d);
}

static void observed(void **context)
{
	struct door d;
	struct conn conn = { .state = CONN_FREE, .observe = true };
	char memory[1024];
	struct buf reply;
	(void)context;
	door_open(&d, &(struct door_setup){ .manual = true });
	struct session *s = session_new(&d.front, &conn, 0);
	buf_init_fixed(&reply, memory, sizeof(memory));
	for (int i = 0; i < 3; i++)
		assert_false(forbid_said(&d.front, s, slice_of("\x16\x03\x01"), NULL, &reply));
	assert_int_equal(reply.len, 0);
	assert_int_equal(door_metric(&d, METRIC_forbidden), 0);
	const char *line = strstr(buf_text(&d.log), "event=forbidden");
	assert_non_null(line);
	assert_non_null(strstr(line, "kind=tls data=\"\\x16\\x03\\x01\" would=forbidden"));
	assert_null(strstr(line + 1, "event=forbidden"));
	session_free(&d.front, s);
	door_close(&d);
}

static void nothing(void **context)
{
	struct door d;
	struct conn conn = { .state = CONN_FREE };
	char memory[1024];
	struct buf reply;
	(void)context;
	door_open(&d, &(struct door_setup){ .manual = true, .options = { "forbidden_commands=" } });
	struct session *s = session_new(&d.front, &conn, 0);
	struct command get = command_parse(slice_of("GET / HTTP/1.0"));
	buf_init_fixed(&reply, memory, sizeof(memory));
	assert_false(forbid_said(&d.front, s, slice_of("\x16\x03\x01"), NULL, &reply));
	assert_false(forbid_said(&d.front, s, slice_of("GET / HTTP/1.0"), &get, &reply));
	assert_int_equal(d.log.len, 0);
	session_free(&d.front, s);
	door_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(said), cmocka_unit_test(observed), cmocka_unit_test(nothing) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
