/* What a client does before its pause is known, or while its handshake is still to come: with maps that never answer, and the test in the place of tarry-tls. How answers come in
 * is test_ask.c, how handshakes end test_seal.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/sock.h"
#include "core/tlswire.h"
#include "door.h"
#include "gate/before.h"

#define CLIENT "192.0.2.1"

static struct door door;

static void open_asking(const char *pause)
{
	struct door_setup setup = { .manual = true, .elsewhere = true, .options = { "resolve=never", "access_db=ldap://127.0.0.1/", "lookup_timeout=5s", "lookup_wait=100ms", pause } };
	door_open(&door, &setup);
}

static void pass(int64_t ms)
{
	loop_advance(&door.front.loop, ms * LOOP_MS);
	door_settle(&door);
}

/* With a pause it was talk, and that counts when the pause is over; without one it waits for the backend. */
static void talk_while_asked(void **state)
{
	(void)state;
	open_asking("greet_pause=300");
	int client = door_connect(&door, CLIENT);
	door_send(client, "HELO a\r\n");
	pass(299);
	assert_int_equal(door_count(&door, CONN_ASK), 1);
	pass(1);
	assert_int_equal(door_count(&door, CONN_REFUSE), 1);
	assert_int_equal(door_metric(&door, METRIC_early), 1);
	close(client);
	door_settle(&door);
	door_close(&door);

	open_asking("greet_pause=0");
	client = door_connect(&door, CLIENT);
	door_send(client, "HELO a\r\n");
	pass(99);
	assert_int_equal(door_count(&door, CONN_ASK), 1);
	pass(1);
	assert_int_equal(door_count(&door, CONN_DIAL), 1);
	assert_int_equal(door_metric(&door, METRIC_answers_late), 1);
	assert_int_equal(door_metric(&door, METRIC_early), 0);
	close(client);
	door_settle(&door);
	door_close(&door);
}

static void leaves_while_asked(void **state)
{
	(void)state;
	open_asking("greet_pause=300");
	int client = door_connect(&door, CLIENT);
	pass(100);
	close(client);
	door_settle(&door);
	assert_int_equal(door_count(&door, CONN_ASK), 0);
	assert_int_equal(door_metric(&door, METRIC_gone), 1);
	door_close(&door);
}

/* A moment without tarry-tls costs a moment; and the pause is not shorter by it, it begins when the handshake is done. */
static void handed_over_later(void **state)
{
	int orders, fds[2];
	struct door_setup setup = { .manual = true, .options = { "greet_pause=300", "tls_timeout=2000" }, .tls = &orders };
	const struct tlswire_facts facts = { .magic = TLSWIRE_MAGIC, .ok = 1, .version = "TLSv1.3", .cipher = "CIPHER" };
	struct tlswire_order order;
	unsigned got;
	char byte;
	(void)state;
	door_open(&door, &setup);
	door.tls = CONF_TLS_IMPLICIT;
	int client = door_connect(&door, CLIENT);
	pass(19);
	metrics_add(METRIC_tls_running, 1);
	assert_int_equal(recv(orders, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	pass(1);
	assert_int_equal(sock_recv_fds(orders, &order, sizeof(order), fds, 2, &got), sizeof(order));
	pass(500);
	assert_int_equal(door_count(&door, CONN_TLS), 1);
	assert_int_equal(send(fds[1], &facts, sizeof(facts), 0), sizeof(facts));
	door_settle(&door);
	pass(299);
	assert_int_equal(door_count(&door, CONN_HOLD), 1);
	pass(1);
	assert_int_equal(door_count(&door, CONN_DIAL), 1);
	close(fds[0]);
	close(fds[1]);
	close(client);
	door_settle(&door);
	door_close(&door);
	close(orders);
	metrics_add(METRIC_tls_running, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(talk_while_asked), cmocka_unit_test(leaves_while_asked), cmocka_unit_test(handed_over_later) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
