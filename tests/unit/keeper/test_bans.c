/* The keeper of bans, with a clock moved by hand: beginnings, ends, memories, networks that are never banned, files of another time, and what other doors say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "keeper/bans.h"

#define HOUR 3600

static struct keeper keeper;
static struct ban_table table; /* as a front has it */
static struct buf logged;
static int messages, memories[2];
static char folder[] = "/tmp/tarry-bans-XXXXXX", path[64];

static void open_with(uint32_t max, unsigned bits, const char *never, const char *file)
{
	int pair[2];
	char memory[300];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	buf_init(&logged, 1 << 24);
	log_capture(&logged);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	messages = pair[0];
	assert_int_equal(ban_table_create(max, memories), 0);
	int list = memfd_create("never", MFD_CLOEXEC);
	assert_int_equal(write(list, never, strlen(never)), strlen(never));
	struct ban_rules rules = { .time = HOUR, .time_max = 6 * HOUR, .counts = memories[1], .never = list };
	struct keeper_setup setup = { .table = dup(memories[0]), .max = max, .ttl = 6 * HOUR, .bits = bits, .path = file, .suffixes = "", .share = "", .messages = pair[1], .control = -1, .parent = -1,
		.ban = &rules, .manual_clock = true };
	assert_true(keeper_open(&keeper, &setup, &why));
	close(list);
	assert_int_equal(ban_table_open(&table, memories, max, false), 0);
}

static void open_keeper(void)
{
	open_with(2000, 32, "", "");
}

static void close_keeper(void)
{
	int theirs = keeper.messages.fd;
	keeper_close(&keeper);
	ban_table_close(&table);
	close(messages);
	close(memories[0]);
	close(memories[1]);
	if (theirs >= 0)
		close(theirs);
	log_capture(NULL);
	buf_fini(&logged);
}

static void turns(void)
{
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(&keeper.loop, 0), 0);
}

static void pass(int64_t seconds)
{
	loop_advance(&keeper.loop, seconds * LOOP_SECOND);
	turns();
}

static void offends(const char *client, const char *reason, bool proxied)
{
	struct ban_message m = { .magic = BAN_WIRE_MAGIC, .count = 3, .proxied = proxied };
	assert_true(addr_parse(slice_of(client), &m.client));
	strcpy(m.reason, reason);
	assert_int_equal(send(messages, &m, sizeof(m), 0), sizeof(m));
	turns();
}

/* Seconds of the ban that it is under; 0: none. */
static uint32_t left(const char *client)
{
	struct addr a;
	struct known_times t;
	uint32_t now = (uint32_t)(loop_now(&keeper.loop) / LOOP_SECOND);
	assert_true(addr_parse(slice_of(client), &a));
	return ban_table_find(&table, &a, now, &t) ? t.passed - now : 0;
}

/* As fronts see it. */
static const char *reason(const char *client)
{
	struct addr a;
	struct known_times t;
	assert_true(addr_parse(slice_of(client), &a));
	return ban_table_find(&table, &a, (uint32_t)(loop_now(&keeper.loop) / LOOP_SECOND), &t) ? ban_reason_word(t.note) : "none";
}

static void heard(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void heard(const char *format, ...)
{
	char line[300];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	bans_kind.share.heard(&keeper, slice_of(line));
}

static const char *says(enum keeper_verb verb, const char *line)
{
	uint64_t done = 0;
	return bans_kind.line(&keeper, verb, slice_of(line), &done);
}

static bool was_logged(const char *text)
{
	bool found = strstr(buf_text(&logged), text) != NULL;
	buf_clear(&logged);
	return found;
}

static int64_t count(enum known_count which)
{
	return (int64_t)known_table_count(&keeper.table, which);
}

static void again_is_longer_until_it_is_forgotten(void **context)
{
	static const uint32_t hours[] = { 1, 2, 4, 6, 6 };
	(void)context;
	open_keeper();
	for (unsigned i = 0; i < sizeof(hours) / sizeof(hours[0]); i++) {
		offends("192.0.2.1", "early", false);
		assert_int_equal(left("192.0.2.1"), hours[i] * HOUR);
		assert_true(was_logged("event=ban client=192.0.2.1 until="));
		offends("192.0.2.1", "early", false); /* one that it had under way */
		assert_int_equal(left("192.0.2.1"), hours[i] * HOUR);
		assert_int_equal(count(KNOWN_COUNT_BANNED), 1);
		ban_table_hit(&table, 1);
		pass(hours[i] * HOUR - 2);
		assert_true(left("192.0.2.1") > 0);
		assert_false(was_logged("event=unban"));
		pass(3);
		assert_int_equal(left("192.0.2.1"), 0);
		assert_int_equal(count(KNOWN_COUNT_BANNED), 0);
		assert_true(was_logged("event=unban client=192.0.2.1 why=over hits=1"));
	}
	assert_int_equal(count(KNOWN_COUNT_ADDED), 5);
	assert_int_equal(count(KNOWN_COUNT_EXPIRED), 5);
	pass(6 * HOUR + 2);
	assert_int_equal(count(KNOWN_COUNT_ROWS), 0);
	offends("192.0.2.1", "early", false);
	assert_int_equal(left("192.0.2.1"), HOUR);
	close_keeper();
}

static void a_ban_that_nobody_has_looked_at_since(void **context)
{
	(void)context;
	open_keeper();
	offends("192.0.2.1", "early", false);
	loop_set_due(&keeper.loop, &keeper.tick, LOOP_NEVER);
	loop_advance(&keeper.loop, HOUR * LOOP_SECOND); /* it is over, and nobody has said so */
	buf_clear(&logged);
	says(KEEPER_ADD, "192.0.2.1 0 once more");
	const char *text = buf_text(&logged), *end = strstr(text, "event=unban"), *begin = strstr(text, "event=ban ");
	assert_true(end && begin && end < begin);
	assert_int_equal(left("192.0.2.1"), 2 * HOUR);
	assert_int_equal(count(KNOWN_COUNT_BANNED), 1);
	close_keeper();
}

static void by_hand(void **context)
{
	(void)context;
	open_with(2000, 32, "127.0.0.0/8\n198.51.100.7/32\nnonsense\n2001:db8:5::1/128\n", "");
	assert_null(says(KEEPER_ADD, "192.0.2.0/24 60 not nice"));
	assert_int_equal(left("192.0.2.77"), 60);
	assert_null(says(KEEPER_ADD, "192.0.2.0/24 4294967295 for ever"));
	assert_int_equal(left("192.0.2.77"), 315360000);
	assert_int_equal(count(KNOWN_COUNT_BANNED), 1);
	static const char *const never[] = { "127.0.0.1 60 x", "198.51.100.7 60 x", "198.51.100.0/24 60 x", "198.0.0.0/8 60 x", "127.3.0.0/16 60 x", "2001:db8:5::/64 60 x", "2001:db8:5::9 60 x", "2001::/16 60 x" };
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_true(strstr(says(KEEPER_ADD, never[i]), "never banned") != NULL);
	static const char *const wrong[] = { "", "x 60 y", "192.0.2.1", "192.0.2.1 60", "192.0.2.1 -1 x", "192.0.2.1 60 \x07", "192.0.0.0/7 60 x" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_non_null(says(KEEPER_ADD, wrong[i]));
	offends("192.0.2.9", "early", false);
	assert_null(says(KEEPER_DROP, "192.0.2.0/24"));
	assert_int_equal(left("192.0.2.77"), 0);
	assert_int_equal(left("192.0.2.9"), HOUR); /* which had been banned for itself */
	assert_int_equal(count(KNOWN_COUNT_BANNED), 1);
	offends("192.0.2.77", "early", false);
	assert_int_equal(left("192.0.2.77"), HOUR);
	close_keeper();
}

static void neighbours(void **context)
{
	(void)context;
	open_with(2000, 24, "192.0.2.5/32\n", "");
	offends("198.51.100.9", "early", false);
	assert_int_equal(left("198.51.100.200"), HOUR);
	offends("192.0.2.9", "early", false); /* among its neighbours is one who may not be banned */
	assert_int_equal(left("192.0.2.9"), HOUR);
	assert_int_equal(left("192.0.2.5"), 0);
	offends("192.0.2.5", "early", false);
	assert_int_equal(left("192.0.2.5"), 0);
	offends("2001:db8:1:2:3::4", "early", false);
	assert_int_equal(left("2001:db8:1:2::1"), HOUR);
	assert_int_equal(left("2001:db8:1:3::1"), 0);
	close_keeper();
}

static void what_no_front_would_say(void **context)
{
	struct ban_message m = { .magic = BAN_WIRE_MAGIC, .reason = "early" };
	(void)context;
	open_keeper();
	addr_parse(slice_of("192.0.2.1"), &m.client);
	send(messages, &m, sizeof(m) - 1, 0);
	m.magic = 5;
	send(messages, &m, sizeof(m), 0);
	m.magic = BAN_WIRE_MAGIC;
	memset(m.reason, '\n', sizeof(m.reason));
	send(messages, &m, sizeof(m), 0);
	send(messages, "", 0, 0);
	turns();
	assert_int_equal(count(KNOWN_COUNT_ROWS), 0);
	close_keeper();
}

/* Bounded, the oldest out; lengths of networks that are gone are not looked for any more. */
static void a_million_of_them(void **context)
{
	struct ban_message m = { .magic = BAN_WIRE_MAGIC, .count = 1, .reason = "early" };
	(void)context;
	open_keeper();
	assert_null(says(KEEPER_ADD, "203.0.113.0/24 4000 first"));
	addr_parse(slice_of("10.0.0.0"), &m.client);
	log_capture(NULL);
	assert_int_equal(log_open(LOG_TO_STDERR, LOG_LEVEL_ERROR), 0);
	for (uint32_t i = 0; i < 1000000; i++) {
		m.client.ip[13] = (uint8_t)(i >> 16);
		m.client.ip[14] = (uint8_t)(i >> 8);
		m.client.ip[15] = (uint8_t)i;
		bans_kind.message(&keeper, &m, sizeof(m));
	}
	assert_int_equal(log_open(LOG_TO_STDERR, LOG_LEVEL_INFO), 0);
	assert_int_equal(count(KNOWN_COUNT_ROWS), 2000);
	assert_int_equal(count(KNOWN_COUNT_BANNED), 2000);
	assert_int_equal(left("203.0.113.1"), 0);
	assert_int_equal(left("10.0.0.1"), 0);
	assert_int_equal(left("10.15.66.63"), HOUR); /* the last one */
	assert_int_equal(keeper.table.head->lengths[0], UINT64_C(1) << 31);
	close_keeper();
}

static void other_doors(void **context)
{
	uint32_t now = (uint32_t)time(NULL);
	(void)context;
	open_with(2000, 32, "198.51.100.0/24\n", "");
	heard("192.0.2.1 %u %u 2 early", now - 60, now + 600);
	assert_int_equal(left("192.0.2.1"), 600);
	assert_true(was_logged("from=elsewhere times=2"));
	heard("192.0.2.1 %u %u 2 early", now - 60, now + 600); /* again, as a door that begins reads it */
	assert_false(was_logged("event=ban"));
	heard("192.0.2.1 %u %u 1 early", now, now + 300); /* less than it has */
	assert_int_equal(left("192.0.2.1"), 600);
	heard("192.0.2.1 %u %u 3 early", now, now + 900);
	assert_int_equal(left("192.0.2.1"), 900);
	heard("192.0.2.1 %u 0 0 dropped", now - 100); /* what was dropped before it was banned again */
	assert_int_equal(left("192.0.2.1"), 900);
	heard("192.0.2.1 %u 0 0 dropped", now);
	assert_int_equal(left("192.0.2.1"), 0);
	assert_true(was_logged("why=\"dropped elsewhere\""));
	heard("192.0.2.1 %u %u 3 early", now, now + 900); /* an echo of the ban that was dropped */
	assert_int_equal(left("192.0.2.1"), 0);
	heard("192.0.2.2 %u %u 1 early", now + 5000, now + 5000 + 60); /* by a door whose clock is fast */
	assert_int_equal(left("192.0.2.2"), 60);
	heard("198.51.100.1 %u %u 1 early", now, now + 600);
	heard("192.0.2.3 %u %u 1 early", now - 600, now - 1);
	heard("192.0.2.3 %u %u 1 ", now, now + 600);
	heard("192.0.2.3 %u x 1 early", now);
	heard("192.0.2.3 %u", now);
	heard("192.0.2.3");
	heard("%s", "");
	heard("0.0.0.0/0 %u %u 1 early", now, now + 600);
	assert_int_equal(count(KNOWN_COUNT_BANNED), 1);
	close_keeper();
}

/* A file of `since` and `until`, as seconds from now. */
static void write_file(int64_t since, int64_t until, uint32_t note)
{
	struct store s;
	char memory[300];
	struct buf why;
	struct known_key key;
	uint32_t now = (uint32_t)time(NULL);
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_true(known_key_parse_network(slice_of("192.0.2.1"), &key));
	store_init(&s, path, 2000, known_key_ok_network);
	assert_int_equal(store_lock(&s), 0);
	assert_true(store_begin(&s, &why));
	assert_true(store_put(&s, &key, (struct known_times){ (uint32_t)(now + since), (uint32_t)(now + until), note }, slice_of("early"), &why));
	assert_true(store_replace(&s, &why));
	store_fini(&s);
}

static void clocks(void **context)
{
	static const struct {
		int64_t since, until;
		uint32_t left;
	} cases[] = {
		{ -600, 3000, 3000 },
		{ -600, -1, 0 },
		{ 86400, 86400 + HOUR, HOUR + 1 },        /* the clock was set back by a day since: no longer than it was to be, but for a second */
		{ -86400 * 400, -86400 * 399, 0 },
		{ 5, 2, 0 },                              /* that ends before it begins */
		{ -INT64_C(1000000000), 2000000000, 315360000 }, /* from nonsense: for a long time, and no longer */
	};
	(void)context;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		write_file(cases[i].since, cases[i].until, 2);
		open_with(2000, 32, "", path);
		uint32_t found = left("192.0.2.1");
		assert_true(found == cases[i].left || found + 1 == cases[i].left); /* a second may have passed since it was written */
		close_keeper();
	}
}

static void files(void **context)
{
	(void)context;
	unlink(path);
	open_with(2000, 32, "", path);
	offends("192.0.2.1", "early", true);
	assert_string_equal(reason("192.0.2.1"), "early");
	assert_null(says(KEEPER_ADD, "192.0.2.1 600 by hand"));
	assert_string_equal(reason("192.0.2.1"), "by hand");
	assert_null(says(KEEPER_ADD, "192.0.2.1 600 some text"));
	assert_string_equal(reason("192.0.2.1"), "");
	assert_null(says(KEEPER_DROP, "192.0.2.1"));
	assert_string_equal(reason("192.0.2.1"), "none");
	offends("192.0.2.1", "early", true);
	assert_null(says(KEEPER_ADD, "2001:db8::/48 600 a reason of \"some\" length"));
	pass(2);
	close_keeper();
	open_with(2000, 32, "", path);
	assert_int_equal(count(KNOWN_COUNT_ROWS), 2);
	assert_string_equal(reason("192.0.2.1"), "early");
	assert_string_equal(reason("2001:db8::1"), "");
	uint32_t listed = 0;
	for (uint32_t row = 1; row <= 2; row++)
		listed += keeper_text(&keeper, row).len > 0;
	assert_int_equal(listed, 2);
	close_keeper();
	open_with(2000, 32, "192.0.2.0/24\n", path); /* who is never banned from now on is not */
	assert_int_equal(count(KNOWN_COUNT_ROWS), 1);
	close_keeper();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(again_is_longer_until_it_is_forgotten), cmocka_unit_test(a_ban_that_nobody_has_looked_at_since), cmocka_unit_test(by_hand), cmocka_unit_test(neighbours),
		cmocka_unit_test(what_no_front_would_say), cmocka_unit_test(a_million_of_them), cmocka_unit_test(other_doors), cmocka_unit_test(clocks), cmocka_unit_test(files),
	};
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/db", folder);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	char rest[128];
	snprintf(rest, sizeof(rest), "rm -r %s", folder);
	return failed + (system(rest) != 0);
}
