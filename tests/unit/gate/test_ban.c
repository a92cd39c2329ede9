/* Who offends, and who is turned away. The test is the keeper: it writes the table, and hears what the front says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "door.h"
#include "gate/session.h"
#include "known/known_wire.h"

#define REFUSAL "554 mail.example.org ESMTP not accepting messages\r\n"
#define BANNED "421 4.7.0 mail.example.org Too many offences by [192.0.2.1], try again later\r\n"
#define MAX 100000

static struct ban_table table;
static int memory[2], keeper;
static struct prefix nevers[4];
static struct conf_prefixes never = { nevers, 0 };

static void never_is(const char *text)
{
	assert_true(addr_parse_prefix(slice_of(text), &nevers[never.len++]));
}

static void begin_with(struct door *d, const char *one, const char *two, const char *three)
{
	int pair[2];
	assert_int_equal(ban_table_create(MAX, memory), 0);
	assert_int_equal(ban_table_open(&table, memory, MAX, true), 0);
	assert_int_equal(known_table_reset(&table.rows, memory[0]), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	keeper = pair[1];
	never.len = 0;
	never_is("198.51.100.0/24");
	const struct ban_setup bans = { fcntl(memory[0], F_DUPFD_CLOEXEC, 3), fcntl(memory[1], F_DUPFD_CLOEXEC, 3), pair[0], &never };
	struct door_setup setup = { .manual = true, .bans = &bans, .options = { "greet_pause=1s", "resolve=never", "ban_after=3", "linger=0", one, two, three } };
	door_open(d, &setup);
}

static void end(struct door *d)
{
	door_settle(d);
	loop_advance(&d->front.loop, 60 * LOOP_SECOND);
	assert_int_equal(d->front.open, 0);
	door_close(d);
	ban_table_close(&table);
	close(memory[0]);
	close(memory[1]);
	close(keeper);
}

static uint32_t add(const struct door *d, const char *text, uint32_t seconds)
{
	struct known_key key;
	struct prefix p;
	assert_true(known_key_parse_network(slice_of(text), &key) && known_key_prefix(&key, &p));
	struct known_id id = known_table_id(&table.rows, &key);
	atomic_fetch_or(&table.rows.head->lengths[!addr_is4(&p.base)], UINT64_C(1) << (p.bits - 1));
	return known_table_add(&table.rows, &id, (struct known_times){ 1, (uint32_t)(loop_now(&d->front.loop) / LOOP_SECOND) + seconds, 1 });
}

static void hears(const char *client, const char *reason, uint32_t count)
{
	struct ban_message m;
	char text[ADDR_TEXT];
	assert_int_equal(recv(keeper, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(m.magic, BAN_WIRE_MAGIC);
	assert_string_equal(addr_format(&m.client, text), client);
	assert_string_equal(m.reason, reason);
	assert_int_equal(m.count, count);
}

static void hears_nothing(void)
{
	char byte;
	assert_int_equal(sock_peek(keeper, &byte, 1), -EAGAIN);
}

static void talks(struct door *d, const char *client, const char *said)
{
	int fd = door_connect(d, client);
	door_send(fd, said);
	door_settle(d);
	close(fd);
	door_settle(d);
}

static void at_the_third(void **context)
{
	struct door d;
	(void)context;
	begin_with(&d, "ban_window=10m", NULL, NULL);
	talks(&d, "192.0.2.1", "HELO x\r\n");
	talks(&d, "192.0.2.1", "GET / HTTP/1.0\r\n\r\n");
	talks(&d, "192.0.2.2", "HELO x\r\n");
	hears_nothing();
	talks(&d, "192.0.2.1", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
	hears("192.0.2.1", "tls", 3);
	talks(&d, "192.0.2.1", "HELO x\r\n"); /* counting begins anew */
	talks(&d, "192.0.2.1", "HELO x\r\n");
	hears_nothing();
	talks(&d, "192.0.2.1", "HELO x\r\n");
	hears("192.0.2.1", "smtp", 3);
	assert_int_equal(door_metric(&d, METRIC_offences), 7);
	end(&d);
}

static void within_the_window(void **context)
{
	struct door d;
	(void)context;
	begin_with(&d, "ban_window=60s", NULL, NULL);
	for (int i = 0; i < 8; i++) {
		talks(&d, "192.0.2.1", "HELO x\r\n");
		loop_advance(&d.front.loop, 40 * LOOP_SECOND);
	}
	hears_nothing();
	for (int i = 0; i < 2; i++) {
		talks(&d, "192.0.2.1", "HELO x\r\n");
		loop_advance(&d.front.loop, 5 * LOOP_SECOND);
	}
	hears("192.0.2.1", "smtp", 3);
	hears_nothing();
	end(&d);
}

/* An IPv6 client is its /64, and where ban_prefix is shorter neighbours offend together. */
static void who_counts_as_one(void **context)
{
	struct door d;
	(void)context;
	begin_with(&d, "ban_prefix=24", NULL, NULL);
	for (int i = 1; i <= 3; i++) {
		char text[40];
		snprintf(text, sizeof(text), "2001:db8:1:2::%d", i);
		talks(&d, text, "HELO x\r\n");
		snprintf(text, sizeof(text), "2001:db8:1:%d::1", 10 + i);
		talks(&d, text, "HELO x\r\n");
	}
	hears("2001:db8:1:2::3", "smtp", 3);
	for (int i = 1; i <= 3; i++) {
		char text[40];
		snprintf(text, sizeof(text), "192.0.2.%d", i);
		talks(&d, text, "HELO x\r\n");
		snprintf(text, sizeof(text), "192.0.%d.1", 10 + i);
		talks(&d, text, "HELO x\r\n");
	}
	hears("192.0.2.3", "smtp", 3);
	hears_nothing();
	end(&d);
}

static void only_these_offences(void **context)
{
	struct door d;
	(void)context;
	begin_with(&d, "ban_offences= http  refused limited ", "max_per_client=1", "ban_after=1");
	door_access(&d, "Connect:192.0.2.9 550 5.7.1 no\nConnect:192.0.2.8 421 no\n");
	talks(&d, "192.0.2.1", "HELO x\r\n");
	hears_nothing();
	talks(&d, "192.0.2.1", "GET / HTTP/1.0\r\n\r\n");
	hears("192.0.2.1", "http", 1);
	talks(&d, "192.0.2.9", "QUIT\r\n");
	hears("192.0.2.9", "refused", 1);
	close(door_connect(&d, "192.0.2.8"));
	door_settle(&d);
	hears("192.0.2.8", "refused", 1);
	int held = door_connect(&d, "192.0.2.7"), more = door_connect(&d, "192.0.2.7");
	hears("192.0.2.7", "limited", 1);
	close(held);
	close(more);
	door_settle(&d);
	hears_nothing();
	end(&d);
}

static void who_is_trusted_does_not_offend(void **context)
{
	struct door d;
	(void)context;
	begin_with(&d, "ban_after=1", NULL, NULL);
	door_access(&d, "Connect:192.0.2.1 OK\nConnect:192.0.2.2 RELAY\n");
	static const char *const trusted[] = { "192.0.2.1", "192.0.2.2", "127.0.0.1", "::1", "198.51.100.7" };
	for (size_t i = 0; i < sizeof(trusted) / sizeof(trusted[0]); i++) {
		talks(&d, trusted[i], "HELO x\r\n");
		hears_nothing();
	}
	assert_int_equal(door_metric(&d, METRIC_early), 5);
	/* Nor does who comes by a gateway that hides the clients. */
	d.front.guard.blind = true;
	assert_true(addr_parse(slice_of("10.0.0.1"), &d.front.guard.who));
	talks(&d, "10.0.0.1", "HELO x\r\n");
	hears_nothing();
	d.front.guard.blind = false;
	talks(&d, "10.0.0.1", "HELO x\r\n");
	hears("10.0.0.1", "smtp", 1);
	end(&d);
}

static void who_is_banned_is_turned_away(void **context)
{
	struct door d;
	(void)context;
	begin_with(&d, NULL, NULL, NULL);
	uint32_t row = add(&d, "192.0.2.0/24", 100);
	for (int i = 0; i < 3; i++) {
		int fd = door_connect(&d, "192.0.2.1");
		door_expect(fd, BANNED);
		door_expect_end(fd);
		close(fd);
	}
	assert_int_equal(d.front.conns_used, 0); /* it costs no slot */
	assert_int_equal(ban_table_hits(&table, row), 3);
	assert_int_equal(door_metric(&d, METRIC_ban_hits), 3);
	assert_int_equal(door_metric(&d, METRIC_connections), 3);
	assert_false(door_logged(&d, "192.0.2.1"));
	loop_advance(&d.front.loop, 100 * LOOP_SECOND);
	int fd = door_connect(&d, "192.0.2.1");
	door_expect_silence(fd);
	close(fd);
	end(&d);
}

/* Never banned, let in by the access database, exempt, observed: although a network around it is. */
static void who_is_spared(void **context)
{
	struct door d;
	(void)context;
	begin_with(&d, NULL, NULL, NULL);
	door_access(&d, "Connect:192.0.2.1 OK\nGreetPause:192.0.2.2 0\nConnect:192.0.2.3 OBSERVE\nConnect:192.0.2.4 REJECT\n");
	add(&d, "192.0.2.0/24", 100);
	add(&d, "198.51.0.0/16", 100);
	static const char *const spared[] = { "192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1" };
	for (size_t i = 0; i < sizeof(spared) / sizeof(spared[0]); i++) {
		int fd = door_connect(&d, spared[i]);
		door_expect_silence(fd);
		close(fd);
		door_settle(&d);
	}
	assert_int_equal(door_metric(&d, METRIC_ban_spared), 4);
	static const char *const turned_away[] = { "192.0.2.4", "198.51.101.1" };
	for (size_t i = 0; i < sizeof(turned_away) / sizeof(turned_away[0]); i++) {
		int fd = door_connect(&d, turned_away[i]);
		char byte;
		assert_int_equal(sock_peek(fd, &byte, 1), 1);
		close(fd);
	}
	assert_int_equal(door_metric(&d, METRIC_ban_hits), 2);
	end(&d);
}

static void what_it_is_told(void **context)
{
	static const struct {
		const char *option, *said;
	} cases[] = { { "ban_reply=close", "" }, { "ban_reply=drop", "521 mail.example.org You are banned for a while\r\n" }, { "ban_reply=drop 554 5.7.1 $j: $&{client_addr} $&{client_name}",
		"554 5.7.1 mail.example.org: 192.0.2.1 [192.0.2.1]\r\n" } };
	(void)context;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct door d;
		begin_with(&d, cases[i].option, NULL, NULL);
		add(&d, "192.0.2.1", 100);
		int fd = door_connect(&d, "192.0.2.1");
		door_expect(fd, cases[i].said);
		door_expect_end(fd);
		close(fd);
		end(&d);
	}
}

static void observed(void **context)
{
	struct door d;
	(void)context;
	begin_with(&d, "mode=observe", "ban_after=2", NULL);
	add(&d, "192.0.2.1", 100);
	talks(&d, "192.0.2.1", "HELO x\r\n");
	assert_false(door_logged(&d, "event=ban"));
	talks(&d, "192.0.2.1", "HELO x\r\n");
	assert_true(door_logged(&d, "event=ban would=banned client=192.0.2.1 reason=smtp count=2"));
	hears_nothing();
	assert_int_equal(door_metric(&d, METRIC_would_banned), 1);
	assert_int_equal(door_metric(&d, METRIC_ban_hits), 0);
	end(&d);
	/* One client alone. */
	begin_with(&d, "ban_after=2", NULL, NULL);
	door_access(&d, "Connect:192.0.2.1 OBSERVE\n");
	talks(&d, "192.0.2.1", "HELO x\r\n");
	talks(&d, "192.0.2.1", "HELO x\r\n");
	assert_true(door_logged(&d, "event=ban would=banned client=192.0.2.1 reason=smtp count=2"));
	hears_nothing();
	end(&d);
}

/* A keeper that takes nothing costs nobody anything. */
static void a_keeper_that_hangs(void **context)
{
	struct door d;
	struct ban_message m = { .magic = 0 };
	(void)context;
	begin_with(&d, "ban_after=1", NULL, NULL);
	while (send(d.front.bans.messages, &m, sizeof(m), MSG_DONTWAIT) > 0)
		;
	talks(&d, "192.0.2.1", "HELO x\r\n");
	assert_int_equal(door_metric(&d, METRIC_bans_unheard), 1);
	assert_int_equal(door_metric(&d, METRIC_early), 1);
	end(&d);
}

/* A map that cannot be asked is not the client's fault, whatever access_failure makes of it. */
static void no_offence_of_its_own(void **context)
{
	struct door d;
	struct rules_answer answer = { .decision = { .action = ACCESS_TEMPFAIL } };
	(void)context;
	begin_with(&d, "ban_after=1", "ban_offences=refused limited", NULL);
	int fd = door_connect(&d, "192.0.2.1");
	ban_refused(&d.front, &d.front.conns[0], &answer);
	answer.decision.action = ACCESS_REFUSE;
	answer.hit.failed = 1;
	ban_refused(&d.front, &d.front.conns[0], &answer);
	hears_nothing();
	answer.hit.failed = 0;
	ban_refused(&d.front, &d.front.conns[0], &answer); /* of no key: it is over a limit */
	hears("192.0.2.1", "limited", 1);
	answer.hit.found = true;
	ban_refused(&d.front, &d.front.conns[0], &answer);
	hears("192.0.2.1", "refused", 1);
	close(fd);
	end(&d);
}

static void words(void **context)
{
	uint32_t bits = 0, all = 0;
	(void)context;
	assert_true(ban_offence_parse(slice_of("early"), &bits));
	all = bits;
	for (unsigned kind = 0; kind < TALK_KINDS; kind++) {
		assert_true(ban_offence_parse(slice_of(talk_kind_name((enum talk_kind)kind)), &bits));
		assert_int_equal(bits, 1u << kind);
		assert_true((all & bits) == bits);
	}
	assert_true(ban_offence_parse(slice_of("later"), &bits) && (all & bits) == bits);
	assert_true(ban_offence_parse(slice_of("forbidden"), &bits) && (all & bits) == 0);
	for (unsigned what = 0; what < BAN_OFFENCES; what++) { /* a row of the table can say each of them */
		const char *word = ban_offence_name((enum ban_offence)what);
		assert_string_equal(ban_reason_word(ban_reason_note(slice_of(word))), word);
	}
	assert_false(ban_offence_parse(slice_of("rude"), &bits));
	assert_false(ban_offence_parse(slice_of(""), &bits));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_the_third), cmocka_unit_test(within_the_window), cmocka_unit_test(who_counts_as_one), cmocka_unit_test(only_these_offences),
		cmocka_unit_test(who_is_trusted_does_not_offend), cmocka_unit_test(who_is_banned_is_turned_away), cmocka_unit_test(who_is_spared), cmocka_unit_test(what_it_is_told),
		cmocka_unit_test(observed), cmocka_unit_test(a_keeper_that_hangs), cmocka_unit_test(no_offence_of_its_own), cmocka_unit_test(words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
