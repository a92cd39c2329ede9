/* The rules: what a recipient gets, in every mode of delay_checks, and what it means that a map could not be asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "access/rules.h"

struct world {
	struct conf conf;
	struct access *access;
	struct rules rules;
};

static void begin(struct world *w, const char *conf, const char *table)
{
	struct buf errors, warnings;
	char spec[64];
	size_t entries;
	int file = memfd_create("source", MFD_CLOEXEC);
	buf_init(&errors, 10000);
	buf_init(&warnings, 10000);
	memset(w, 0, sizeof(*w));
	if (!conf_load_text(&w->conf, "test", slice_of(conf), NULL, 0, &errors, &warnings))
		fail_msg("%s", buf_text(&errors));
	assert_int_equal(write(file, table, strlen(table)), strlen(table));
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
	int fds[2] = { access_build(spec, &errors, &warnings, &entries), -1 };
	close(file);
	w->access = access_open(fds, strstr(conf, "elsewhere") ? 2 : 1, &(struct access_rules){ .skip = false });
	assert_non_null(w->access);
	w->rules = (struct rules){ w->access, &w->conf, NULL };
	buf_fini(&errors);
	buf_fini(&warnings);
}

static void end(struct world *w)
{
	access_close(w->access);
	conf_fini(&w->conf);
}

/* "user@domain" */
static void split(const char *text, struct slice *local, struct slice *domain)
{
	const char *at = strchr(text, '@');
	*local = (struct slice){ text, at ? (size_t)(at - text) : strlen(text) };
	*domain = slice_of(at ? at + 1 : "");
}

/* The reply as it goes out, or "ok", "discard", "quarantine". */
static const char *says(const struct rules_answer *answer, const char *address)
{
	static char text[400];
	struct buf out;
	switch (answer->decision.action) {
	case ACCESS_DISCARD:
		return "discard";
	case ACCESS_QUARANTINE:
		return "quarantine";
	case ACCESS_REFUSE:
	case ACCESS_TEMPFAIL:
		buf_init_fixed(&out, text, sizeof(text));
		assert_true(rules_put_reply(&out, &answer->decision.reply, slice_of(address), NULL));
		return buf_text(&out);
	default:
		return "ok";
	}
}

static const char *recipient(struct world *w, const char *client, const char *from, const char *to)
{
	struct access_client c = { .name = { "", 0 } };
	struct slice local, domain;
	assert_true(addr_parse(slice_of(client), &c.addr));
	struct rules_answer by_client = rules_client(&w->rules, &c);
	split(from, &local, &domain);
	struct rules_answer by_sender = rules_sender(&w->rules, local, domain);
	split(to, &local, &domain);
	struct rules_answer answer = rules_recipient(&w->rules, local, domain, &by_sender, &by_client);
	return says(&answer, "<x>");
}

#define TABLE "Connect:10.0.0.1 REJECT\nFrom:bad@b.example ERROR:4.7.1:450 later\nFrom:odd@b.example QUARANTINE:odd\nFrom:hole@b.example DISCARD\nTo:no@a.example 551 5.1.6 gone\n" \
	"To:q@a.example QUARANTINE:q\nSpam:abuse@ FRIEND\nTo:old@a.example SPAMFRIEND\nSpam:hate@a.example HATER\n"
#define DOMAIN "accept_domains = { \"a.example\" }\n"

static void test_recipients(void **state)
{
	static const struct {
		const char *mode, *client, *from, *to, *says;
	} table[] = {
		{ "off", "10.0.0.1", "bad@b.example", "v@a.example", "ok" }, /* both were told before */
		{ "off", "10.0.0.2", "x@b.example", "no@a.example", "551 5.1.6 gone" },
		{ "on", "10.0.0.2", "x@b.example", "v@a.example", "ok" },
		{ "on", "10.0.0.1", "x@b.example", "v@a.example", "550 5.7.1 <x>... Access denied" },
		{ "on", "10.0.0.1", "bad@b.example", "v@a.example", "450 4.7.1 <x>... later" }, /* the sender before the client */
		{ "on", "10.0.0.1", "bad@b.example", "no@a.example", "551 5.1.6 gone" },      /* To: before both */
		{ "on", "10.0.0.1", "x@b.example", "abuse@a.example", "550 5.7.1 <x>... Access denied" }, /* FRIEND is a word of mode friend */
		{ "friend", "10.0.0.1", "bad@b.example", "abuse@a.example", "ok" },
		{ "friend", "10.0.0.1", "bad@b.example", "abuse@elsewhere.example", "450 4.7.1 <x>... later" }, /* user@ is for our own domains */
		{ "friend", "10.0.0.1", "x@b.example", "old@a.example", "ok" },
		{ "friend", "10.0.0.1", "x@b.example", "v@a.example", "550 5.7.1 <x>... Access denied" },
		{ "hater", "10.0.0.1", "bad@b.example", "v@a.example", "ok" },
		{ "hater", "10.0.0.1", "x@b.example", "hate@a.example", "550 5.7.1 <x>... Access denied" },
		/* QUARANTINE lets nobody in who is refused for something else. */
		{ "on", "10.0.0.2", "odd@b.example", "v@a.example", "quarantine" },
		{ "on", "10.0.0.1", "odd@b.example", "v@a.example", "550 5.7.1 <x>... Access denied" },
		{ "on", "10.0.0.1", "x@b.example", "q@a.example", "550 5.7.1 <x>... Access denied" },
		{ "on", "10.0.0.2", "bad@b.example", "q@a.example", "450 4.7.1 <x>... later" },
		{ "on", "10.0.0.1", "hole@b.example", "v@a.example", "discard" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char conf[200];
		struct world w;
		snprintf(conf, sizeof(conf), DOMAIN "delay_checks = %s\n", table[i].mode);
		begin(&w, conf, TABLE);
		const char *got = recipient(&w, table[i].client, table[i].from, table[i].to);
		if (strcmp(got, table[i].says) != 0)
			fail_msg("row %zu: %s, expected %s", i, got, table[i].says);
		end(&w);
	}
}

/* The second map is elsewhere, and was not asked. */
static void test_failures(void **state)
{
	static const struct {
		const char *words, *says;
	} table[] = {
		{ "", "451 4.3.0 Temporary system failure. Please try again later." },
		{ "access_failure = tempfail\n", "451 4.3.0 Temporary system failure. Please try again later." },
		{ "access_failure = open\n", "ok" },
		{ "access_failure = closed\n", "550 5.7.1 <x>... Access denied" },
		{ "access_failure = { tempfail, open }\n", "ok" }, /* the second word is the second map's */
		{ "access_failure = { open, closed }\n", "550 5.7.1 <x>... Access denied" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char conf[200];
		struct world w;
		snprintf(conf, sizeof(conf), "# elsewhere\n%sdelay_checks = on\n", table[i].words);
		begin(&w, conf, "Connect:10.0.0.9 OK\n");
		assert_string_equal(recipient(&w, "10.0.0.1", "x@b.example", "v@a.example"), table[i].says);
		end(&w);
	}
}

static void test_reply_is_one_line(void **state)
{
	(void)state;
	struct access_reply reply = { .code = 550, .dsn = "5.7.1", .text = { "no\r\n250 yes\x7f", 12 } };
	char memory[64];
	struct buf out;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(rules_put_reply(&out, &reply, slice_of("<a@b>"), NULL));
	assert_string_equal(buf_text(&out), "550 5.7.1 <a@b>... no  250 yes ");
	reply.code = 554;
	buf_clear(&out);
	assert_true(rules_put_reply(&out, &reply, slice_of("<a@b>"), NULL));
	assert_string_equal(buf_text(&out), "554 5.7.1 no  250 yes ");
	buf_init_fixed(&out, memory, 12);
	assert_false(rules_put_reply(&out, &reply, slice_of(""), NULL));
	assert_int_equal(out.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_recipients), cmocka_unit_test(test_failures), cmocka_unit_test(test_reply_is_one_line) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
