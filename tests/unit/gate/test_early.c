/* Early talk: every kind with every reaction, with and without a teaser before it; and never two codes in one reply. */
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
#include "gate/early.h"
#include "gate/session.h"

#define TEASER "220-mail.example.org ESMTP\r\n"
#define OWED "220 mail.example.org ESMTP not accepting messages\r\n"

static const struct {
	const char *said;
	size_t len;
} samples[TALK_KINDS] = {
	[TALK_SMTP] = { "RSET\r\n", 6 },
	[TALK_SESSION] = { "RSET\r\nRSET\r\n", 12 },
	[TALK_TLS] = { "\x16\x03\x01\x02\0\x01", 6 },
	[TALK_HTTP] = { "GET / HTTP/1.0\r\n", 16 },
	[TALK_PROXY] = { "PROXY UNKNOWN\r\n", 15 },
	[TALK_SSH] = { "SSH-2.0-x\r\n", 11 },
	[TALK_TEXT] = { "x\r\n", 3 },
	[TALK_BINARY] = { "\x01\r\n", 3 },
};

static void receive(int fd, char *text, size_t size)
{
	ssize_t n = recv(fd, text, size - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = '\0';
}

/* One client of that kind meets that reaction. */
static void meet(enum talk_kind kind, enum conf_reaction_kind reaction, bool own, bool teaser)
{
	static const char *const replies[CONF_REACTIONS][2] = { { "554 mail.example.org ESMTP not accepting messages\r\n", "553 mail.example.org own words\r\n" },
		{ "521 mail.example.org ESMTP not accepting messages\r\n", "520 5.1.1 mail.example.org own words\r\n" },
		{ "421 4.7.0 mail.example.org Try again later, and wait for the greeting\r\n", "450 4.1.1 mail.example.org own words\r\n" }, { "", "" } };
	static const char *const owns[CONF_REACTIONS] = { " 553 5.1.1 $j own words", " 520 5.1.1 $j own words", " 450 4.1.1 $j own words", "" };
	char option[100], got[4000], want[400], name[40];
	struct door d;
	snprintf(option, sizeof(option), "early_%s=%s%s", talk_kind_name(kind), conf_reaction_name(reaction), own ? owns[reaction] : "");
	struct door_setup setup = { .manual = true, .options = { option, teaser ? "greet_teaser=yes" : NULL } };
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1");
	if (teaser)
		door_expect(client, TEASER);
	assert_int_equal(send(client, samples[kind].said, samples[kind].len, 0), samples[kind].len);
	door_settle(&d);
	receive(client, got, sizeof(got));
	const char *first = teaser && reaction == CONF_REACTION_REFUSE ? (own ? "220 mail.example.org own words\r\n" : OWED) : NULL;
	bool dsn = own && reaction == CONF_REACTION_REFUSE && !teaser;
	snprintf(want, sizeof(want), "%s%s", teaser && !first && reaction != CONF_REACTION_CLOSE ? OWED : "", first ? first : dsn ? "553 5.1.1 mail.example.org own words\r\n" : replies[reaction][own]);
	if (strncmp(got, want, strlen(want)) != 0)
		fail_msg("%s, teaser %d: \"%s\", expected \"%s\"", option, teaser, got, want);
	if (reaction == CONF_REACTION_REFUSE) {
		assert_int_equal(door_count(&d, CONN_REFUSE), 1);
	} else {
		assert_string_equal(got, want);
		assert_int_equal(door_count(&d, CONN_CLOSE), 1);
		assert_int_equal(recv(client, got, sizeof(got), MSG_DONTWAIT), 0);
	}
	for (unsigned k = 0; k < TALK_KINDS; k++)
		assert_int_equal(door_metric(&d, early_counter((enum talk_kind)k)), k == (unsigned)kind);
	assert_int_equal(door_metric(&d, METRIC_early), 1);
	assert_int_equal(door_metric(&d, METRIC_teased), teaser);
	snprintf(name, sizeof(name), " kind=%s ", talk_kind_name(kind));
	assert_non_null(strstr(buf_text(&d.log), name));
	snprintf(name, sizeof(name), " reaction=%s ", conf_reaction_name(reaction));
	assert_true((reaction != CONF_REACTION_REFUSE) == (strstr(buf_text(&d.log), name) != NULL));
	assert_true((kind == TALK_PROXY) == (strstr(buf_text(&d.log), " hint=") != NULL));
	close(client);
	door_settle(&d);
	door_close(&d);
}

static void every_kind_and_reaction(void **context)
{
	(void)context;
	for (unsigned kind = 0; kind < TALK_KINDS; kind++)
		for (unsigned reaction = 0; reaction < CONF_REACTIONS; reaction++)
			for (int how = 0; how < 4; how++)
				meet((enum talk_kind)kind, (enum conf_reaction_kind)reaction, how & 1, how & 2);
}

/* Whatever the name of the host and the text, a reply is one line of 512 bytes at most, whole. */
static void a_long_text_is_cut(void **context)
{
	char option[500] = "early_text=drop 521 $j $j $j ", host[280] = "hostname=", got[2000];
	struct door d;
	(void)context;
	for (int i = 0; i < 60; i++)
		strcat(host, i % 15 == 14 ? ".a" : "abc");
	memset(option + strlen(option), 'x', 300);
	struct door_setup setup = { .manual = true, .options = { option, host } };
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "hello");
	door_settle(&d);
	receive(client, got, sizeof(got));
	assert_true(strlen(got) <= 512 && strlen(got) > 300);
	assert_ptr_equal(strstr(got, "\r\n"), got + strlen(got) - 2);
	close(client);
	door_settle(&d);
	door_close(&d);
}

static void names_in_texts(void **context)
{
	struct door d;
	(void)context;
	door_open(&d, &(struct door_setup){ .manual = true });
	assert_false(early_wants_name(&d.conf));
	door_close(&d);
	door_open(&d, &(struct door_setup){ .manual = true, .options = { "early_binary=drop 521 $&{client_name}" } });
	assert_true(early_wants_name(&d.conf));
	door_close(&d);
}

/* delay_early hands on who speaks SMTP, to be refused at RCPT; what does not is of no use to any mail server. */
static void delayed(void **context)
{
	struct door d;
	(void)context;
	door_open(&d, &(struct door_setup){ .manual = true, .options = { "delay_early=yes", "delay_checks=friend" } });
	door_access(&d, "Spam:abuse@ FRIEND\n");
	int tls = door_connect(&d, "192.0.2.1"), smtp = door_connect(&d, "192.0.2.2");
	door_send(tls, "\x16\x03\x01");
	door_send(smtp, "HELO x\r\n");
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_CLOSE), 1);
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	assert_int_equal(door_metric(&d, METRIC_early_tls), 1);
	assert_int_equal(door_metric(&d, METRIC_early_smtp), 1);
	close(tls);
	close(smtp);
	door_settle(&d);
	door_close(&d);
}

/* Who has gone when its pause begins is not teased, and does not wait for anything. */
static void gone_at_once(void **context)
{
	struct door d;
	struct addr from;
	int pair[2];
	(void)context;
	door_open(&d, &(struct door_setup){ .manual = true, .options = { "greet_teaser=yes" } });
	assert_true(addr_parse(slice_of("192.0.2.1"), &from));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	close(pair[0]);
	listen_admit(&d.front, pair[1], &from, CONF_TLS_STARTTLS);
	assert_int_equal(door_count(&d, CONN_HOLD), 0);
	assert_int_equal(door_metric(&d, METRIC_teased), 0);
	assert_int_equal(door_metric(&d, METRIC_gone), 1);
	door_settle(&d);
	door_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_kind_and_reaction), cmocka_unit_test(a_long_text_is_cut), cmocka_unit_test(names_in_texts), cmocka_unit_test(delayed),
		cmocka_unit_test(gone_at_once) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
