/* Maps elsewhere: what is asked of them is what a walk would try, and what they say is weighed against the tables that are here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/access_walk.h"

#define USER_SEARCHES 3
#define LABELS 200

static const struct access_rules no_rules = { .skip = false }, staged = { .staged = true };
static struct access *tables;
static struct access_plan plan;
static struct access_answers answers;

static int table(const char *text)
{
	char spec[64], memory[4000];
	struct buf said;
	size_t entries;
	int file = memfd_create("access", MFD_CLOEXEC);
	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
	buf_init_fixed(&said, memory, sizeof(memory));
	int fd = access_build(spec, &said, &said, &entries);
	close(file);
	if (said.len > 0)
		fail_msg("%s", buf_text(&said));
	return fd;
}

/* The maps in their order; NULL: elsewhere. */
static void open_maps(const char *const texts[], size_t len, const struct access_rules *rules)
{
	int fds[ACCESS_MAPS];
	for (size_t i = 0; i < len; i++)
		fds[i] = texts[i] ? table(texts[i]) : -1;
	access_close(tables);
	tables = access_open(fds, len, rules);
	assert_non_null(tables);
}

static int begin(void **context)
{
	(void)context;
	open_maps((const char *const[]){ NULL }, 1, &no_rules);
	/* What no call may rely on. */
	memset(&plan, 0xa5, sizeof(plan));
	memset(&answers, 0, sizeof(answers));
	return 0;
}

static int end(void **context)
{
	(void)context;
	access_answers_fini(&answers);
	access_close(tables);
	tables = NULL;
	return 0;
}

static struct access_client client(const char *address, const char *name)
{
	struct access_client c = { .name = slice_of(name), .answers = &answers };
	assert_true(addr_parse(slice_of(address), &c.addr));
	return c;
}

static size_t first_of(unsigned search)
{
	size_t first = 0;
	while (search-- > 0)
		first += plan.question.counts[search];
	return first;
}

/* The keys of one search, one a line. */
static void expect_keys(unsigned search, const char *want)
{
	static char got[WIRE_QUESTION_MAX];
	size_t len = 0, first = first_of(search);
	got[0] = '\0';
	for (size_t i = first; i < first + plan.question.counts[search]; i++)
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%.*s\n", (int)plan.question.keys[i].len, plan.question.keys[i].at);
	assert_string_equal(got, want);
}

/* The walk's keys, each compared with the plan's. */
static size_t compared;

static void compare(struct access_walk *w)
{
	struct slice key = w->slices[0];
	assert_true(key.len == plan.question.keys[compared].len && memcmp(key.at, plan.question.keys[compared].at, key.len) == 0);
	assert_int_equal(w->ranks[0], plan.keys[compared].rank);
	assert_int_equal(w->tags[0], plan.keys[compared].tag);
	assert_int_equal(w->bits[0], plan.keys[compared].bits);
	compared++;
	w->len = 0;
}

static void expect_walk(enum access_tag tag, enum access_scope scope, const struct access_client *c)
{
	struct access_walk w;
	access_walk_init(&w, tables, access_next_elsewhere(tables, 0), tag);
	w.take = compare;
	access_walk_client(&w, tables, scope, c);
	if (scope == ACCESS_BY_ADDRESS && tag != ACCESS_CONNECT)
		access_walk_client(&w, tables, ACCESS_BY_DEFAULT, c);
}

/* It goes over the wire as it is. */
static void expect_a_question(void)
{
	static char memory[WIRE_QUESTION_MAX];
	struct wire_question read;
	struct buf b;
	buf_init_fixed(&b, memory, sizeof(memory));
	plan.question.id = 1;
	plan.question.deadline = 1;
	plan.question.front = plan.question.map = 0;
	assert_true(wire_put_question(&b, &plan.question));
	assert_true(wire_get_question(buf_slice(&b), &read));
	assert_int_equal(read.searches, plan.question.searches);
}

static void which_are_elsewhere(void **context)
{
	(void)context;
	open_maps((const char *const[]){ "", NULL, "", NULL, "" }, 5, &no_rules);
	assert_int_equal(access_next_elsewhere(tables, 0), 1);
	assert_int_equal(access_next_elsewhere(tables, 1), 1);
	assert_int_equal(access_next_elsewhere(tables, 2), 3);
	assert_int_equal(access_next_elsewhere(tables, 4), ACCESS_MAPS);
	open_maps((const char *const[]){ "" }, 1, &no_rules);
	assert_int_equal(access_next_elsewhere(tables, 0), ACCESS_MAPS);
}

/* Each search has the keys of its walk, and their ranks; Connect: goes by the name that is confirmed. */
static void a_client_is_walked(void **context)
{
	static const char *const addresses[] = { "192.0.2.1", "2001:db8::1", "::5:0:1" };
	static const char *const names[] = { "", "host.example" };
	(void)context;
	for (size_t i = 0; i < 3 * 2 * 2 * 2 * 2; i++) {
		const struct access_rules rules = { .dot_domain = i % 2, .staged = i >= 24 };
		struct access_client c = client(addresses[i / 8 % 3], names[i / 4 % 2]);
		struct access_client confirmed = client(addresses[i / 8 % 3], names[i / 2 % 2]);
		open_maps((const char *const[]){ "", NULL }, 2, &rules);
		assert_true(access_plan_client(tables, &plan, &c, confirmed.name));
		assert_int_equal(plan.question.searches, rules.staged ? ACCESS_SEARCHES : ACCESS_SEARCHES_UNSTAGED);
		compared = 0;
		expect_walk(ACCESS_GREETPAUSE, ACCESS_BY_NAME, &c);
		assert_int_equal(compared, first_of(ACCESS_GREETPAUSE_ADDRESS));
		expect_walk(ACCESS_GREETPAUSE, ACCESS_BY_ADDRESS, &c);
		assert_int_equal(compared, first_of(ACCESS_CONNECT_NAME));
		expect_walk(ACCESS_CONNECT, ACCESS_BY_NAME, &confirmed);
		assert_int_equal(compared, first_of(ACCESS_CONNECT_ADDRESS));
		expect_walk(ACCESS_CONNECT, ACCESS_BY_ADDRESS, &confirmed);
		assert_int_equal(compared, first_of(ACCESS_RATE));
		expect_walk(ACCESS_CLIENTRATE, ACCESS_BY_ADDRESS, &c);
		assert_int_equal(compared, first_of(ACCESS_CONNS));
		expect_walk(ACCESS_CLIENTCONN, ACCESS_BY_ADDRESS, &c);
		assert_int_equal(compared, first_of(ACCESS_SEARCHES_UNSTAGED));
		for (enum access_tag tag = ACCESS_HELOPAUSE; tag <= ACCESS_EOMPAUSE && rules.staged; tag++) {
			expect_walk(tag, ACCESS_BY_NAME, &c);
			assert_int_equal(compared, first_of(ACCESS_HELOPAUSE_ADDRESS + 2 * (unsigned)(tag - ACCESS_HELOPAUSE)));
			expect_walk(tag, ACCESS_BY_ADDRESS, &c);
		}
		assert_int_equal(compared, first_of(plan.question.searches));
		expect_a_question();
	}
}

static void a_client_to_the_letter(void **context)
{
	struct access_client c = client("192.0.2.1", "forged.example");
	(void)context;
	assert_true(access_plan_client(tables, &plan, &c, slice_of("")));
	expect_keys(ACCESS_GREETPAUSE_NAME, "greetpause:forged.example\ngreetpause:example\n");
	expect_keys(ACCESS_GREETPAUSE_ADDRESS, "greetpause:192.0.2.1\ngreetpause:192.0.2\ngreetpause:192.0\ngreetpause:192\ngreetpause:\n");
	expect_keys(ACCESS_CONNECT_NAME, "connect:[192.0.2.1]\n[192.0.2.1]\nconnect:[192.0.2]\n[192.0.2]\nconnect:[192.0]\n[192.0]\nconnect:[192]\n[192]\n");
	expect_keys(ACCESS_CONNECT_ADDRESS, "connect:192.0.2.1\n192.0.2.1\nconnect:192.0.2\n192.0.2\nconnect:192.0\n192.0\nconnect:192\n192\n");
	expect_keys(ACCESS_RATE, "clientrate:192.0.2.1\nclientrate:192.0.2\nclientrate:192.0\nclientrate:192\nclientrate:\n");
	expect_keys(ACCESS_CONNS, "clientconn:192.0.2.1\nclientconn:192.0.2\nclientconn:192.0\nclientconn:192\nclientconn:\n");
	open_maps((const char *const[]){ NULL }, 1, &staged);
	assert_true(access_plan_client(tables, &plan, &c, slice_of("")));
	expect_keys(ACCESS_HELOPAUSE_NAME, "helopause:forged.example\nhelopause:example\n");
	expect_keys(ACCESS_EOMPAUSE_ADDRESS, "eompause:192.0.2.1\neompause:192.0.2\neompause:192.0\neompause:192\neompause:\n");
}

static void users(void **context)
{
	struct access_user sender = { slice_of("s"), slice_of("a.example"), false, NULL }, recipient = { slice_of("r+d"), slice_of("b.example"), true, NULL };
	const struct access_user nobody = { slice_of(""), slice_of(""), false, NULL };
	(void)context;
	assert_true(access_plan_users(tables, &plan, &sender, &recipient));
	assert_int_equal(plan.question.searches, USER_SEARCHES);
	expect_keys(ACCESS_WANT_FROM, "from:s@a.example\ns@a.example\nfrom:s@\ns@\nfrom:a.example\na.example\nfrom:example\nexample\n");
	expect_keys(ACCESS_WANT_TO, "to:r+d@b.example\nto:r+*@b.example\nto:r@b.example\nto:b.example\nto:example\nto:r+d@\nto:r+*@\nto:r@\n");
	expect_keys(ACCESS_WANT_SPAM, "spam:r+d@b.example\nspam:r+*@b.example\nspam:r@b.example\nspam:b.example\nspam:example\nspam:r+d@\nspam:r+*@\nspam:r@\n");
	expect_a_question();
	/* At MAIL there is no recipient, and a null sender is none: there still is a question. */
	assert_true(access_plan_users(tables, &plan, &sender, &nobody));
	expect_a_question();
	assert_true(access_plan_users(tables, &plan, &nobody, &recipient));
	expect_a_question();
	expect_keys(ACCESS_WANT_TO, "to:r+d@b.example\nto:r+*@b.example\nto:r@b.example\nto:b.example\nto:example\nto:r+d@\nto:r+*@\nto:r@\n");
}

/* A name of many labels: up to what a question holds, and no further. */
static void no_more_than_a_question_holds(void **context)
{
	char domain[2 * LABELS + 1] = "";
	size_t fits = 0;
	(void)context;
	for (size_t labels = 1; labels <= LABELS; labels++) {
		strcat(domain, labels == 1 ? "a" : ".a");
		struct access_user sender = { slice_of("s"), slice_of(domain), false, NULL }, recipient = { slice_of("r"), slice_of("b"), false, NULL };
		bool fit = access_plan_users(tables, &plan, &sender, &recipient);
		if (fit)
			expect_a_question();
		assert_true(!fit || fits == labels - 1); /* none behind the first that does not */
		fits += fit;
	}
	assert_int_equal(fits, 124); /* by their bytes: a name of the DNS has no more */
	/* One key too many; short ones, so that it is their number that counts: there are six searches for the name. */
	open_maps((const char *const[]){ NULL }, 1, &staged);
	memset(domain, '.', 200);
	domain[200] = '\0';
	struct access_client c = client("192.0.2.1", domain);
	while (!access_plan_client(tables, &plan, &c, slice_of("")))
		c.name.len--;
	assert_in_range(first_of(ACCESS_SEARCHES), WIRE_KEYS - 5, WIRE_KEYS);
	expect_a_question();
}

/* ---- what they say ---- */

static struct wire_answer nothing(uint16_t searches)
{
	struct wire_answer a = { .searches = searches };
	for (unsigned i = 0; i < searches; i++)
		a.found[i].result = WIRE_NONE;
	return a;
}

/* The key's number within its search. */
static uint16_t number_of(unsigned search, const char *key)
{
	size_t first = first_of(search);
	for (uint16_t i = 0; i < plan.question.counts[search]; i++)
		if (slice_is(plan.question.keys[first + i], key))
			return i;
	fail_msg("%s", key);
	return 0;
}

static void found(struct wire_answer *a, unsigned search, const char *key, const char *value)
{
	a->found[search] = (struct wire_found){ .result = WIRE_FOUND, .key = number_of(search, key), .text = slice_of(value) };
}

static void expect_hit(enum access_tag tag, const struct access_client *c, unsigned map, const char *value)
{
	struct access_hit hit = access_find_client(tables, tag, c);
	assert_true(hit.found);
	assert_int_equal(hit.map, map);
	if (!slice_is(hit.value.text, value))
		fail_msg("%.*s, not %s", (int)hit.value.text.len, hit.value.text.at, value);
}

/* For each key in its order the maps in theirs, whichever kind they are. */
static void weighed_against_tables(void **context)
{
	struct access_client c = client("192.0.2.1", "host.example");
	(void)context;
	open_maps((const char *const[]){ "GreetPause:192.0 7\nConnect:192.0.2.1 OK\n192.0.2 OK\nClientConn:192.0.2.1 4\n", NULL, "GreetPause:192.0.2 9\nClientRate:192 5\n" }, 3, &no_rules);
	assert_true(access_plan_client(tables, &plan, &c, c.name));
	struct wire_answer a = nothing(ACCESS_SEARCHES);
	found(&a, ACCESS_GREETPAUSE_ADDRESS, "greetpause:192.0", "8"); /* the same as the first map's */
	found(&a, ACCESS_CONNECT_ADDRESS, "192.0.2.1", "REJECT");      /* right behind the first map's, which has a tag */
	found(&a, ACCESS_RATE, "clientrate:192", "6");                 /* the same as the third map's */
	found(&a, ACCESS_CONNS, "clientconn:192.0.2.1", "3"); /* the same as the first map's */
	assert_true(access_take_answer(&answers, 1, &plan, &a));
	expect_hit(ACCESS_GREETPAUSE, &c, 2, "9");
	expect_hit(ACCESS_CONNECT, &c, 0, "OK");
	expect_hit(ACCESS_CLIENTRATE, &c, 1, "6");
	expect_hit(ACCESS_CLIENTCONN, &c, 0, "4");
	assert_int_equal(access_find_client(tables, ACCESS_GREETPAUSE, &c).failed, 0);
	access_answers_fini(&answers);
	/* A longer key, and a name before any address. */
	found(&a, ACCESS_GREETPAUSE_ADDRESS, "greetpause:192.0.2.1", "10");
	assert_true(access_take_answer(&answers, 1, &plan, &a));
	expect_hit(ACCESS_GREETPAUSE, &c, 1, "10");
	assert_int_equal(access_find_client(tables, ACCESS_GREETPAUSE, &c).bits, 32);
	access_answers_fini(&answers);
	found(&a, ACCESS_GREETPAUSE_NAME, "greetpause:example", "11");
	found(&a, ACCESS_CONNECT_NAME, "example", "DISCARD");
	assert_true(access_take_answer(&answers, 1, &plan, &a));
	expect_hit(ACCESS_GREETPAUSE, &c, 1, "11");
	expect_hit(ACCESS_CONNECT, &c, 1, "DISCARD");
	assert_int_equal(access_find_client(tables, ACCESS_CONNECT, &c).tag, ACCESS_UNTAGGED);
}

/* A value for which there is no room is not an empty one, which would mean something: that map has failed. */
static void no_room_for_a_value(void **context)
{
	static char large[WIRE_VALUE_MAX + 2];
	struct access_client c = client("192.0.2.1", "host.example");
	(void)context;
	memset(large, 'x', sizeof(large) - 1);
	open_maps((const char *const[]){ "GreetPause:192.0 7\n", NULL }, 2, &no_rules);
	assert_true(access_plan_client(tables, &plan, &c, c.name));
	struct wire_answer a = nothing(ACCESS_SEARCHES);
	found(&a, ACCESS_CONNECT_ADDRESS, "192.0.2.1", large);
	found(&a, ACCESS_RATE, "clientrate:192", "6");
	assert_false(access_take_answer(&answers, 1, &plan, &a));
	struct access_hit hit = access_find_client(tables, ACCESS_CONNECT, &c);
	assert_true(!hit.found && hit.failed == 1u << 1);
	expect_hit(ACCESS_CLIENTRATE, &c, 1, "6");
}

static void senders_and_recipients(void **context)
{
	struct access_user sender = { slice_of("s"), slice_of("a.example"), false, &answers }, recipient = { slice_of("r"), slice_of("b.example"), false, &answers };
	(void)context;
	open_maps((const char *const[]){ NULL, "From:s@a.example OK\nTo:b.example REJECT\n" }, 2, &no_rules);
	assert_true(access_plan_users(tables, &plan, &sender, &recipient));
	struct wire_answer a = nothing(USER_SEARCHES);
	found(&a, ACCESS_WANT_FROM, "s@a.example", "REJECT");
	found(&a, ACCESS_WANT_TO, "to:r@b.example", "OK");
	found(&a, ACCESS_WANT_SPAM, "spam:example", "FRIEND");
	assert_true(access_take_answer(&answers, 0, &plan, &a));
	assert_int_equal(access_find_user(tables, ACCESS_FROM, &sender).map, 1);
	struct access_hit hit = access_find_user(tables, ACCESS_TO, &recipient);
	assert_true(hit.found && hit.map == 0 && slice_is(hit.value.text, "OK"));
	hit = access_find_user(tables, ACCESS_SPAM, &recipient);
	assert_true(hit.found && hit.map == 0 && slice_is(hit.value.text, "FRIEND"));
}

/* A map that could not be asked is told, each by its bit, also where another one answers; only those searches that failed. */
static void failures(void **context)
{
	struct access_client c = client("192.0.2.1", "host.example");
	(void)context;
	open_maps((const char *const[]){ NULL, "Connect:192 REJECT\nClientConn:192 5\n", NULL }, 3, &no_rules);
	struct access_hit hit = access_find_client(tables, ACCESS_GREETPAUSE, &c); /* nobody has been asked yet */
	assert_true(!hit.found && hit.failed == 5);
	assert_true(access_plan_client(tables, &plan, &c, c.name));
	struct wire_answer a = nothing(ACCESS_SEARCHES);
	a.found[ACCESS_RATE] = (struct wire_found){ .result = WIRE_FAILED, .text = slice_of("gone") };
	assert_true(access_take_answer(&answers, 0, &plan, &a));
	assert_true(access_take_answer(&answers, 2, &plan, NULL));
	hit = access_find_client(tables, ACCESS_CONNECT, &c);
	assert_true(hit.found && hit.map == 1 && hit.failed == 4);
	hit = access_find_client(tables, ACCESS_CLIENTRATE, &c);
	assert_true(!hit.found && hit.failed == 5);
	access_answers_fini(&answers);
	assert_true(access_take_answer(&answers, 0, &plan, NULL));
	assert_true(access_take_answer(&answers, 2, &plan, &a));
	hit = access_find_client(tables, ACCESS_CLIENTCONN, &c);
	assert_true(hit.found && hit.map == 1 && hit.failed == 1);
	access_answers_fini(&answers);
	/* An answer to fewer searches than were asked. */
	a = nothing(ACCESS_SEARCHES);
	a.searches = ACCESS_CONNS;
	assert_true(access_take_answer(&answers, 0, &plan, &a));
	assert_true(access_take_answer(&answers, 2, &plan, &a));
	assert_int_equal(access_find_client(tables, ACCESS_CLIENTRATE, &c).failed, 0);
	assert_int_equal(access_find_client(tables, ACCESS_CLIENTCONN, &c).failed, 5);
	access_answers_fini(&answers);
	assert_int_equal(access_find_client(tables, ACCESS_CONNECT, &c).failed, 5);
}

/* The message that an answer came in is gone when it is wanted. */
static void values_are_copied(void **context)
{
	struct access_client c = client("192.0.2.1", "");
	char *value = malloc(WIRE_VALUE_MAX);
	(void)context;
	assert_non_null(value);
	memset(value, 'v', WIRE_VALUE_MAX);
	assert_true(access_plan_client(tables, &plan, &c, c.name));
	struct wire_answer a = nothing(ACCESS_SEARCHES);
	found(&a, ACCESS_CONNECT_ADDRESS, "connect:192", "");
	a.found[ACCESS_CONNECT_ADDRESS].text = (struct slice){ value, WIRE_VALUE_MAX };
	assert_true(access_take_answer(&answers, 0, &plan, &a));
	memset(value, 'x', WIRE_VALUE_MAX);
	free(value);
	struct access_hit hit = access_find_client(tables, ACCESS_CONNECT, &c);
	assert_true(hit.found && hit.value.text.len == WIRE_VALUE_MAX && hit.value.text.at[0] == 'v' && hit.value.text.at[WIRE_VALUE_MAX - 1] == 'v');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(which_are_elsewhere, begin, end),
		cmocka_unit_test_setup_teardown(a_client_is_walked, begin, end),
		cmocka_unit_test_setup_teardown(a_client_to_the_letter, begin, end),
		cmocka_unit_test_setup_teardown(users, begin, end),
		cmocka_unit_test_setup_teardown(no_more_than_a_question_holds, begin, end),
		cmocka_unit_test_setup_teardown(weighed_against_tables, begin, end),
		cmocka_unit_test_setup_teardown(senders_and_recipients, begin, end),
		cmocka_unit_test_setup_teardown(no_room_for_a_value, begin, end),
		cmocka_unit_test_setup_teardown(failures, begin, end),
		cmocka_unit_test_setup_teardown(values_are_copied, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
