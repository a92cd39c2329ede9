/* No memory for what a client says before its turn: it is told once that it is refused, and never let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "door.h"
#include "gate/session.h"

/* The linker puts these in place of malloc() (--wrap). */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static bool starved;
static int missed;

/* Only memory for what a client says is that large. */
void *__wrap_malloc(size_t size)
{
	if (!starved || size < REFUSE_LINE || size > REFUSE_LINE + sizeof(void *))
		return __real_malloc(size);
	missed++;
	return NULL;
}

static void open_starved(struct door *d, const struct door_setup *setup)
{
	door_open(d, setup);
	starved = true;
	missed = 0;
}

static void close_starved(struct door *d)
{
	door_settle(d);
	assert_true(missed > 0);
	assert_int_equal(d->front.lines_len, 0);
	starved = false;
	door_close(d);
}

static void talk_in_the_pause(void **context)
{
	struct door d;
	(void)context;
	open_starved(&d, &(struct door_setup){ .manual = true });
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "HELO x\r\nQUIT\r\n");
	door_settle(&d);
	door_expect(client, "554 mail.example.org ESMTP not accepting messages\r\n");
	door_expect_end(client);
	assert_int_equal(door_metric(&d, METRIC_early), 1);
	assert_non_null(strstr(buf_text(&d.log), "verdict=early client=192.0.2.1 "));
	assert_non_null(strstr(buf_text(&d.log), " kind=session "));
	close(client);
	close_starved(&d);
}

/* What it said is in its socket, and the session is gone: nothing can be done for it. */
static void out_of_the_tarpit(void **context)
{
	struct door d;
	char byte;
	(void)context;
	door_open(&d, &(struct door_setup){ .manual = true, .options = { "refuse_tarpit=1s" } });
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "HELO x\r\nQUIT\r\n");
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_TARPIT), 1);
	session_pool_free(&d.front);
	starved = true;
	missed = 0;
	loop_advance(&d.front.loop, LOOP_SECOND);
	door_settle(&d);
	assert_true(recv(client, &byte, 1, 0) <= 0);
	assert_int_equal(door_metric(&d, METRIC_early), 1);
	close(client);
	close_starved(&d);
}

static void denied(void **context)
{
	struct door d;
	(void)context;
	door_open(&d, &(struct door_setup){ .manual = true });
	door_access(&d, "Connect:192.0.2.1 REJECT\n");
	starved = true;
	missed = 0;
	int client = door_connect(&d, "192.0.2.1");
	door_settle(&d);
	door_expect(client, "550 5.7.1 Access denied\r\n");
	door_expect_end(client);
	assert_int_equal(door_metric(&d, METRIC_refused), 1);
	close(client);
	close_starved(&d);
}

/* Nothing is refused to who is observed; that it talked is written down all the same. */
static void observed(void **context)
{
	struct door d;
	char header[600];
	(void)context;
	open_starved(&d, &(struct door_setup){ .manual = true, .options = { "mode=observe", "greet_pause=1s" } });
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "HELO x\r\nQUIT\r\n");
	door_settle(&d);
	loop_advance(&d.front.loop, LOOP_SECOND);
	int backend = door_backend_accept(&d);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	door_send(backend, "220 x\r\n");
	door_settle(&d);
	door_expect(client, "220 x\r\n");
	door_expect(backend, "HELO x\r\nQUIT\r\n");
	close(backend);
	close(client);
	door_settle(&d);
	assert_int_equal(door_metric(&d, METRIC_would_early), 1);
	assert_non_null(strstr(buf_text(&d.log), " would=early "));
	close_starved(&d);
}

/* At a later stage: the backend hears nothing of it. */
static void talk_at_a_stage(void **context)
{
	struct door d;
	char header[600];
	(void)context;
	open_starved(&d, &(struct door_setup){ .manual = true, .options = { "greet_pause=0" } });
	int client = door_connect(&d, "192.0.2.1"), backend = door_backend_accept(&d);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	door_send(backend, "220 x\r\n");
	door_settle(&d);
	door_expect(client, "220 x\r\n");
	door_send(client, "EHLO x\r\n");
	door_settle(&d);
	door_expect(backend, "EHLO x\r\n");
	door_send(client, "MAIL FROM:<a@b>\r\n");
	door_settle(&d);
	door_expect(client, "554 5.5.0 You sent more before you had the reply to HELO or EHLO\r\n");
	door_expect_end(client);
	door_expect_end(backend);
	assert_int_equal(door_metric(&d, METRIC_early_helo), 1);
	assert_non_null(strstr(buf_text(&d.log), "verdict=early client=192.0.2.1 "));
	assert_non_null(strstr(buf_text(&d.log), " stage=helo "));
	close(backend);
	close(client);
	close_starved(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(talk_in_the_pause), cmocka_unit_test(out_of_the_tarpit), cmocka_unit_test(denied), cmocka_unit_test(observed), cmocka_unit_test(talk_at_a_stage) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
