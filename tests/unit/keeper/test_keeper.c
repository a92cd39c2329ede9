/* The keeper: messages, rows and time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "keeper/keeper.h"

static struct keeper keeper;
static int messages;

static void open_keeper(uint32_t max, int64_t ttl, unsigned bits)
{
	int pair[2];
	char memory[300];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	messages = pair[0];
	struct keeper_setup setup = { .table = -1, .max = max, .ttl = ttl, .apart = 300, .bits = bits, .path = "", .suffixes = "", .share = "", .messages = pair[1], .control = -1, .parent = -1 };
	assert_true(keeper_open(&keeper, &setup, &why));
}

static void close_keeper(void)
{
	int theirs = keeper.messages.fd;
	keeper_close(&keeper);
	close(messages);
	if (theirs >= 0)
		close(theirs);
}

static void turns(void)
{
	for (int i = 0; i < 5; i++)
		loop_turn(&keeper.loop, 0);
}

static void say(enum known_said said, const char *client, const char *domain)
{
	struct known_message m = { .magic = KNOWN_WIRE_MAGIC, .said = (uint8_t)said, .has_domain = domain != NULL };
	assert_true(addr_parse(slice_of(client), &m.client));
	if (domain)
		strcpy(m.domain, domain);
	size_t len = offsetof(struct known_message, domain) + strlen(m.domain) + 1;
	assert_int_equal(send(messages, &m, len, 0), len);
	turns();
}

static bool is_known(const char *text)
{
	struct known_key key;
	struct known_times times;
	assert_true(known_key_parse(slice_of(text), &key));
	return keeper_find(&keeper, &key, &times);
}

static void passes_and_forfeits(void **context)
{
	(void)context;
	open_keeper(1000, 3600, 24);
	say(KNOWN_PASSED, "192.0.2.7", "example.com");
	assert_true(is_known("192.0.2.0/24") && is_known("example.com") && !is_known("192.0.2.7"));
	say(KNOWN_PASSED, "2001:db8::1", NULL);
	assert_true(is_known("2001:db8::/64"));
	say(KNOWN_FORFEITED, "192.0.2.99", "Example.com");
	assert_true(!is_known("192.0.2.0/24") && !is_known("example.com") && is_known("2001:db8::/64"));
	assert_int_equal(known_table_count(&keeper.table, KNOWN_COUNT_ROWS), 1);
	assert_int_equal(known_table_count(&keeper.table, KNOWN_COUNT_ADDED), 3);
	assert_int_equal(known_table_count(&keeper.table, KNOWN_COUNT_DROPPED), 2);
	close_keeper();
}

/* Once is not enough; who is known already need not wait twice. */
static void waits_again(void **context)
{
	(void)context;
	open_keeper(1000, 3600, 32);
	say(KNOWN_PASSED, "192.0.2.9", NULL);
	for (int i = 0; i < 3; i++) {
		say(KNOWN_WAITED, "192.0.2.7", i == 1 ? NULL : "example.com");
		assert_true(!is_known("192.0.2.7") && !is_known("example.com"));
	}
	say(KNOWN_WAITED, "192.0.2.8", NULL);
	say(KNOWN_FORFEITED, "192.0.2.8", NULL);
	for (unsigned i = 0; i < WAITED_ROWS; i++)
		if (keeper.waited.rows[i].first > 0)
			keeper.waited.rows[i].first -= 300;
	say(KNOWN_WAITED, "192.0.2.9", "example.com");
	say(KNOWN_WAITED, "192.0.2.8", NULL);
	assert_true(!is_known("192.0.2.7") && is_known("example.com") && !is_known("192.0.2.8"));
	say(KNOWN_WAITED, "192.0.2.7", NULL);
	assert_true(is_known("192.0.2.7"));
	say(KNOWN_FORFEITED, "192.0.2.7", NULL);
	say(KNOWN_WAITED, "192.0.2.7", NULL);
	assert_false(is_known("192.0.2.7"));
	close_keeper();
}

/* What is no message is none. */
static void nonsense(void **context)
{
	struct known_message m = { .magic = KNOWN_WIRE_MAGIC, .said = KNOWN_PASSED, .has_domain = 1 };
	(void)context;
	open_keeper(1000, 3600, 32);
	assert_true(addr_parse(slice_of("192.0.2.1"), &m.client));
	send(messages, &m, 10, 0);
	m.magic++;
	send(messages, &m, sizeof(m), 0);
	m.magic--;
	m.said = 99;
	send(messages, &m, sizeof(m), 0);
	m.said = KNOWN_PASSED;
	m.front = KEEPER_FRONTS;
	send(messages, &m, sizeof(m), 0);
	turns();
	assert_int_equal(known_table_count(&keeper.table, KNOWN_COUNT_ROWS), 0);
	m.front = 0;
	memset(m.domain, 'a', sizeof(m.domain)); /* no NUL, and no domain */
	send(messages, &m, sizeof(m), 0);
	turns();
	assert_int_equal(known_table_count(&keeper.table, KNOWN_COUNT_ROWS), 1);
	close_keeper();
}

static void the_oldest_makes_room(void **context)
{
	char text[32];
	(void)context;
	open_keeper(100, 3600, 32);
	for (int i = 0; i < 150; i++) {
		snprintf(text, sizeof(text), "10.0.0.%d", i);
		say(KNOWN_PASSED, text, i == 50 ? "example.com" : NULL);
		if (i == 60)
			say(KNOWN_PASSED, "10.0.0.0", NULL); /* renewed */
	}
	assert_int_equal(known_table_count(&keeper.table, KNOWN_COUNT_ROWS), 100);
	assert_int_equal(known_table_count(&keeper.table, KNOWN_COUNT_EVICTED), 51);
	assert_true(is_known("10.0.0.0") && !is_known("10.0.0.1") && is_known("10.0.0.149") && !is_known("10.0.0.50") && !is_known("example.com") && is_known("10.0.0.51"));
	close_keeper();
}

static void time_goes_by(void **context)
{
	uint32_t now = (uint32_t)time(NULL);
	struct known_key old, young;
	(void)context;
	open_keeper(1000, 3600, 32);
	assert_true(known_key_parse(slice_of("192.0.2.1"), &old) && known_key_parse(slice_of("example.com"), &young));
	keeper_pass(&keeper, &old, (struct known_times){ now - 9000, now - 4000, 0 }, KEEPER_FRONT);
	keeper_pass(&keeper, &young, (struct known_times){ now - 9000, now - 3000, 0 }, KEEPER_FRONT);
	loop_set_due(&keeper.loop, &keeper.tick, loop_now(&keeper.loop));
	turns();
	assert_true(!is_known("192.0.2.1") && is_known("example.com"));
	assert_int_equal(known_table_count(&keeper.table, KNOWN_COUNT_EXPIRED), 1);
	/* An older pass, told by another door, makes nobody older; since is the earliest. */
	struct known_times times;
	keeper_pass(&keeper, &young, (struct known_times){ now - 10000, now - 3500, 0 }, KEEPER_ELSEWHERE);
	assert_true(keeper_find(&keeper, &young, &times));
	assert_int_equal(times.since, now - 10000);
	assert_int_equal(times.passed, now - 3000);
	close_keeper();
}

/* Another door's clock, or that of this machine once, was wrong: nobody is known until then. */
static void time_to_come(void **context)
{
	uint32_t now = (uint32_t)time(NULL);
	struct known_key key;
	struct known_times times = { UINT32_MAX - 1, UINT32_MAX, 0 };
	(void)context;
	open_keeper(1000, 3600, 32);
	assert_true(known_key_parse(slice_of("192.0.2.1"), &key));
	for (int i = 0; i < 2; i++) {
		keeper_known.share.passed(&keeper, &key, (struct known_times){ now - 10, UINT32_MAX, 0 });
		assert_true(keeper_find(&keeper, &key, &times));
		assert_true(times.since == now - 10 && times.passed >= now && times.passed <= now + 60);
	}
	struct known_id id = known_table_id(&keeper.table, &key);
	known_table_change(&keeper.table, known_table_row(&keeper.table, &id), (struct known_times){ now - 10, UINT32_MAX, 0 });
	say(KNOWN_PASSED, "192.0.2.1", NULL);
	assert_true(keeper_find(&keeper, &key, &times));
	assert_true(times.since == now - 10 && times.passed >= now && times.passed <= now + 60);
	times = (struct known_times){ UINT32_MAX - 1, UINT32_MAX, 0 };
	assert_true(keeper_known.from_file(&keeper, &key, &times));
	assert_true(times.since == times.passed && times.passed >= now && times.passed <= now + 60);
	close_keeper();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(passes_and_forfeits), cmocka_unit_test(waits_again), cmocka_unit_test(nonsense), cmocka_unit_test(the_oldest_makes_room), cmocka_unit_test(time_goes_by), cmocka_unit_test(time_to_come) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
