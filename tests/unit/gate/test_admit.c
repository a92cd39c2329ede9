/* What a new client gets: which pause, whose refusal comes first, and whom its limits count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "door.h"
#include "gate/admit.h"

#define DEFAULT_MS 1500

static struct door door;

/* A front with these options and this access file. */
static struct front *open_with(const char *access, const char *const options[])
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=1500ms", "reject_msg=550 5.7.1 Access denied" } };
	size_t n = 2;
	while (options && *options)
		setup.options[n++] = *options++;
	door_open(&door, &setup);
	door_access(&door, access);
	return &door.front;
}

static struct addr addr(const char *text)
{
	struct addr a;
	assert_true(addr_parse(slice_of(text), &a));
	return a;
}

/* As read from a file: on a command line a blank parts the elements of a list. */
static void set_local_pauses(const char *const texts[], size_t len)
{
	struct conf_list *list = &door.conf.local_greet_pause;
	assert_int_equal(list->len, 0);
	list->at = calloc(len, sizeof(*list->at));
	assert_non_null(list->at);
	while (list->len < len) {
		list->at[list->len] = strdup(texts[list->len]);
		assert_non_null(list->at[list->len++]);
	}
}

/* A client whose name leads back to it. */
static struct admit judge(const char *address, const char *name)
{
	struct access_client client = { .addr = addr(address), .name = slice_of(name) };
	return admit_judge(&door.front, &client, client.name);
}

static uint32_t pause_of(const char *address, const char *name)
{
	struct admit a = judge(address, name);
	assert_false(a.refused || a.over_rate || a.over_conns);
	return a.pause_ms;
}

static void come(const char *address, unsigned times)
{
	struct addr a = addr(address);
	while (times-- > 0)
		admit_opened(&door.front, &a);
}

static void go(const char *address, unsigned times)
{
	struct addr a = addr(address);
	while (times-- > 0)
		admit_closed(&door.front, &a);
}

static void expect_reply(const struct admit *a, unsigned code, const char *dsn, const char *text)
{
	assert_int_equal(a->answer.decision.reply.code, code);
	assert_string_equal(a->answer.decision.reply.dsn, dsn);
	assert_true(slice_is(a->answer.decision.reply.text, text));
}

static void pauses(void **context)
{
	static const char table[] = "GreetPause:192.0.2 300\nGreetPause:slow.example 7\nGreetPause:198.51.100.1 400000\nGreetPause:[203.0.113.1] 9\n";
	(void)context;
	open_with(table, NULL);
	assert_int_equal(pause_of("10.0.0.1", ""), DEFAULT_MS);
	assert_int_equal(pause_of("192.0.2.1", ""), 300);
	assert_int_equal(pause_of("192.0.2.1", "a.slow.example"), 7);
	assert_int_equal(pause_of("198.51.100.1", ""), ACCESS_PAUSE_MAX_MS);
	assert_int_equal(pause_of("203.0.113.1", ""), 9);
	assert_int_equal(pause_of("203.0.113.1", "a.example"), DEFAULT_MS);
	door_close(&door);
	open_with(table, (const char *const[]){ "greet_pause_keys=no", NULL });
	assert_int_equal(pause_of("192.0.2.1", "slow.example"), DEFAULT_MS);
	door_close(&door);
}

/* Before any key, in their own order: the first that fits. */
static void local_pauses(void **context)
{
	(void)context;
	open_with("GreetPause:192.0.2 300\n", NULL);
	set_local_pauses((const char *const[]){ "192.0.2.1 5", "Mail.Example \t6", "example 7", "192.0.2.3 400000", "192.0.2.1 8", "2001:db8::1 0" }, 6);
	assert_int_equal(pause_of("192.0.2.1", ""), 5);
	assert_int_equal(pause_of("192.0.2.1", "mail.example"), 5);
	assert_int_equal(pause_of("192.0.2.2", "mAil.example"), 6);
	assert_int_equal(pause_of("192.0.2.2", "a.mail.example"), 300); /* the name and not what is under it */
	assert_int_equal(pause_of("192.0.2.2", "mail.exampl"), 300);
	assert_int_equal(pause_of("192.0.2.2", "mail.example.org"), 300);
	assert_int_equal(pause_of("192.0.2.2", ""), 300);
	assert_int_equal(pause_of("192.0.2.3", ""), ACCESS_PAUSE_MAX_MS);
	assert_int_equal(pause_of("2001:db8::1", ""), 0);
	assert_int_equal(pause_of("2001:db8::2", ""), DEFAULT_MS);
	door_close(&door);
	open_with("GreetPause:192.0.2 300\n", NULL);
	set_local_pauses((const char *const[]){ "a.example 5", "* 6", "b.example 7" }, 3);
	assert_int_equal(pause_of("192.0.2.1", "a.example"), 5);
	assert_int_equal(pause_of("192.0.2.1", "b.example"), 6);
	assert_int_equal(pause_of("10.0.0.1", ""), 6);
	door_close(&door);
}

/* Anybody may name his client so that it waits, or does not; only a name that leads back refuses it, or lets it in. */
static void names(void **context)
{
	(void)context;
	struct front *front = open_with("GreetPause:forged.example 1\nConnect:forged.example REJECT\nConnect:[192.0.2.1] 551 5.0.0 no name\n", NULL);
	struct access_client client = { .addr = addr("192.0.2.2"), .name = slice_of("forged.example") };
	struct admit a = admit_judge(front, &client, slice_of(""));
	assert_int_equal(a.pause_ms, 1);
	assert_false(a.refused);
	a = admit_judge(front, &client, client.name);
	assert_true(a.refused);
	client.addr = addr("192.0.2.1");
	a = admit_judge(front, &client, slice_of(""));
	assert_true(a.refused);
	expect_reply(&a, 551, "5.0.0", "no name");
	door_close(&door);
}

static void refusals(void **context)
{
	static const char table[] = "Connect:192.0.2.1 REJECT\nConnect:192.0.2.2 450 4.7.1 later\nConnect:192.0.2.3 x<TMPF>\nConnect:192.0.2.4 DISCARD\n"
		"Connect:192.0.2.5 QUARANTINE:why\nConnect:192.0.2.6 OK\n";
	static const struct {
		const char *client;
		enum access_action action;
		bool refused;
	} rows[] = {
		{ "192.0.2.1", ACCESS_REFUSE, true }, { "192.0.2.2", ACCESS_REFUSE, true }, { "192.0.2.3", ACCESS_TEMPFAIL, true }, { "192.0.2.4", ACCESS_DISCARD, false },
		{ "192.0.2.5", ACCESS_QUARANTINE, false }, { "192.0.2.6", ACCESS_OK, false }, { "192.0.2.7", ACCESS_OK, false },
	};
	(void)context;
	for (int delayed = 0; delayed <= 1; delayed++) {
		open_with(table, (const char *const[]){ delayed ? "delay_checks=friend" : "delay_checks=off", NULL });
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			struct admit a = judge(rows[i].client, "");
			assert_int_equal(a.answer.decision.action, rows[i].action); /* kept for the recipients */
			assert_int_equal(a.refused, rows[i].refused && !delayed);
		}
		struct admit a = judge("192.0.2.1", "");
		expect_reply(&a, 550, "5.7.1", "Access denied");
		door_close(&door);
	}
}

static bool is_over_rate(const char *address)
{
	return judge(address, "").over_rate;
}

static bool is_over_conns(const char *address)
{
	return judge(address, "").over_conns;
}

/* A limit is for each client that its key fits, not for all of them together; an IPv6 client is its /64, unless the key is longer. */
static void rates(void **context)
{
	(void)context;
	open_with("ClientRate:192.0.2 2\nClientRate:192.0.2.9 0\nClientRate:192.0.2.10 many\nClientRate:IPv6:2001:db8:0:1 2\nClientRate:IPv6:2001:db8:0:3::/65 2\n"
		"ClientRate:IPv6:2001:db8:1 2\nClientRate:IPv6:2001:db8:0:4::1 1\n", (const char *const[]){ "ratecontrol=on", "connection_rate_window=60s", NULL });
	come("192.0.2.1", 2);
	come("192.0.2.2", 3);
	come("192.0.2.9", 9);
	come("192.0.2.10", 9);
	come("192.0.3.1", 9);
	assert_false(is_over_rate("192.0.2.1"));
	assert_true(is_over_rate("192.0.2.2"));
	assert_false(is_over_rate("192.0.2.3"));
	assert_false(is_over_rate("192.0.2.9"));
	assert_false(is_over_rate("192.0.2.10"));
	assert_false(is_over_rate("192.0.3.1"));
	come("192.0.2.1", 1);
	go("192.0.2.1", 3); /* that it has gone again does not matter */
	assert_true(is_over_rate("192.0.2.1"));
	/* The /64 of a key of 64 bits, and each /64 of one of 48. */
	come("2001:db8:0:1::1", 1);
	come("2001:db8:0:1::2", 1);
	assert_false(is_over_rate("2001:db8:0:1::1"));
	come("2001:db8:0:1::3", 1);
	assert_true(is_over_rate("2001:db8:0:1::4"));
	come("2001:db8:1:1::1", 2);
	come("2001:db8:1:2::1", 2);
	assert_false(is_over_rate("2001:db8:1:1::1"));
	/* Keys of more bits tell addresses apart. */
	come("2001:db8:0:3::1", 2);
	come("2001:db8:0:3::2", 3);
	assert_false(is_over_rate("2001:db8:0:3::1"));
	assert_true(is_over_rate("2001:db8:0:3::2"));
	come("2001:db8:0:4::1", 1);
	come("2001:db8:0:4::2", 5);
	assert_false(is_over_rate("2001:db8:0:4::1"));
	come("2001:db8:0:4::1", 1);
	assert_true(is_over_rate("2001:db8:0:4::1"));
	/* And all is forgiven after the window. */
	loop_advance(&door.front.loop, 70 * LOOP_SECOND);
	assert_false(is_over_rate("192.0.2.2"));
	assert_false(is_over_rate("2001:db8:0:4::1"));
	door_close(&door);
}

static void connections(void **context)
{
	(void)context;
	open_with("ClientConn:192.0.2 2\nClientConn:IPv6:2001:db8 2\nClientConn:IPv6:2001:db8:0:3::/65 1\nClientConn:192.0.2.9 0\n", (const char *const[]){ "conncontrol=on", NULL });
	come("192.0.2.1", 3);
	come("192.0.2.2", 2);
	assert_true(is_over_conns("192.0.2.1"));
	assert_false(is_over_conns("192.0.2.2"));
	come("192.0.2.9", 3);
	assert_false(is_over_conns("192.0.2.9"));
	go("192.0.2.9", 3);
	loop_advance(&door.front.loop, 3600 * LOOP_SECOND);
	assert_true(is_over_conns("192.0.2.1"));
	go("192.0.2.1", 1);
	assert_false(is_over_conns("192.0.2.1"));
	go("192.0.2.1", 2);
	go("192.0.2.2", 2);
	come("2001:db8::1", 2);
	come("2001:db8::2", 1);
	assert_true(is_over_conns("2001:db8::3"));
	go("2001:db8::1", 1);
	assert_false(is_over_conns("2001:db8::3"));
	come("2001:db8:0:3::1", 2);
	come("2001:db8:0:3::2", 1);
	assert_true(is_over_conns("2001:db8:0:3::1"));
	assert_false(is_over_conns("2001:db8:0:3::2"));
	go("2001:db8:0:3::1", 1);
	assert_false(is_over_conns("2001:db8:0:3::1"));
	go("2001:db8::1", 1);
	go("2001:db8::2", 1);
	go("2001:db8:0:3::1", 1);
	go("2001:db8:0:3::2", 1);
	/* Nobody is left in either table. */
	for (uint32_t i = 0; i <= door.front.clients.mask; i++)
		assert_int_equal(door.front.clients.slots[i].count, 0);
	for (uint32_t i = 0; i <= door.front.addresses.mask; i++)
		assert_int_equal(door.front.addresses.slots[i].count, 0);
	door_close(&door);
}

/* Without the option a limit in the table means nothing, and no rate is counted; max_per_client needs the connections in any case. */
static void off(void **context)
{
	(void)context;
	struct front *front = open_with("ClientRate:192.0.2 1\nClientConn:192.0.2 1\nClientConn:IPv6:2001:db8::1 1\n", NULL);
	struct addr four = addr("192.0.2.1"), six = addr("2001:db8::1");
	come("192.0.2.1", 5);
	come("2001:db8::1", 5);
	struct admit a = judge("192.0.2.1", "");
	assert_false(a.over_rate || a.over_conns || a.refused);
	assert_false(is_over_conns("2001:db8::1"));
	assert_int_equal(clients_count(&front->clients, addr_client_key(&four)), 5);
	assert_int_equal(rates_made(&front->rates, addr_client_key(&four), loop_now(&front->loop)), 0);
	go("192.0.2.1", 4);
	go("2001:db8::1", 5);
	assert_int_equal(clients_count(&front->clients, addr_client_key(&four)), 1);
	assert_int_equal(clients_count(&front->clients, addr_client_key(&six)), 0);
	door_close(&door);
}

/* The table's refusal, then the rate, then the connections; those that delay_checks puts off are told, and keep none of the others from being first. */
static void whose_refusal_comes_first(void **context)
{
	static const struct {
		const char *delay, *rate, *conns;
		const char *client;
		unsigned code; /* 0: it is let in */
		const char *text;
	} rows[] = {
		{ "off", "on", "on", "192.0.2.66", 550, "Access denied" },
		{ "off", "on", "on", "192.0.2.1", 452, "Connection rate limit exceeded." },
		{ "off", "terminate", "on", "192.0.2.1", 421, "Connection rate limit exceeded." },
		{ "off", "nodelay", "on", "192.0.2.1", 452, "Connection rate limit exceeded." },
		{ "off", "nodelay_terminate", "on", "192.0.2.1", 421, "Connection rate limit exceeded." },
		{ "off", "off", "on", "192.0.2.1", 452, "Too many open connections." },
		{ "off", "off", "terminate", "192.0.2.1", 421, "Too many open connections." },
		{ "on", "on", "on", "192.0.2.1", 0, "" },
		{ "on", "terminate", "terminate", "192.0.2.66", 0, "" },
		{ "on", "nodelay", "on", "192.0.2.66", 452, "Connection rate limit exceeded." },
		{ "on", "on", "nodelay", "192.0.2.1", 452, "Too many open connections." },
		{ "hater", "terminate", "nodelay_terminate", "192.0.2.66", 421, "Too many open connections." },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char options[3][64];
		snprintf(options[0], sizeof(options[0]), "delay_checks=%s", rows[i].delay);
		snprintf(options[1], sizeof(options[1]), "ratecontrol=%s", rows[i].rate);
		snprintf(options[2], sizeof(options[2]), "conncontrol=%s", rows[i].conns);
		open_with("Connect:192.0.2.66 REJECT\nClientRate: 1\nClientConn: 1\n", (const char *const[]){ options[0], options[1], options[2], NULL });
		come(rows[i].client, 2);
		struct admit a = judge(rows[i].client, "");
		assert_int_equal(a.refused, rows[i].code != 0);
		assert_int_equal(a.over_rate, strcmp(rows[i].rate, "off") != 0);
		assert_true(a.over_conns);
		if (rows[i].code > 0)
			expect_reply(&a, rows[i].code, rows[i].code == 550 ? "5.7.1" : "4.3.2", rows[i].text);
		go(rows[i].client, 2);
		door_close(&door);
	}
}

/* A door without an access database. */
static void no_database(void **context)
{
	(void)context;
	struct front *front = open_with("", (const char *const[]){ "ratecontrol=on", "conncontrol=on", NULL });
	set_local_pauses((const char *const[]){ "192.0.2.1 5" }, 1);
	struct access *access = front->access;
	front->access = NULL;
	come("192.0.2.1", 1000);
	struct admit a = judge("192.0.2.1", "");
	assert_false(a.refused || a.over_rate || a.over_conns);
	assert_int_equal(a.answer.decision.action, ACCESS_OK);
	assert_int_equal(a.pause_ms, 5);
	assert_int_equal(pause_of("192.0.2.2", ""), DEFAULT_MS);
	go("192.0.2.1", 1000);
	front->access = access;
	door_close(&door);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses), cmocka_unit_test(local_pauses), cmocka_unit_test(names), cmocka_unit_test(refusals), cmocka_unit_test(rates),
		cmocka_unit_test(connections), cmocka_unit_test(off), cmocka_unit_test(whose_refusal_comes_first), cmocka_unit_test(no_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
