/* Names, asked of a name server that the test is itself, in the same loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gate/names.h"

#define PATIENCE (5 * LOOP_SECOND)

/* ---- the name server ---- */

enum { A = 1, CNAME = 5, PTR = 12, AAAA = 28 };

struct record {
	const char *name;
	int type;
	const char *value; /* a name, or an address; "SERVFAIL", "SILENT", "GARBAGE" */
};

static const struct record records[] = {
	{ "2.0.0.127.in-addr.arpa", PTR, "host.sub.example.com" }, { "host.sub.example.com", A, "127.0.0.2" },
	{ "5.0.0.127.in-addr.arpa", PTR, "forged.example.com" }, { "forged.example.com", A, "127.0.0.99" },
	{ "6.0.0.127.in-addr.arpa", PTR, "nowhere.example.com" },
	{ "8.0.0.127.in-addr.arpa", PTR, "UPPER.Example.COM" }, { "upper.example.com", A, "127.0.0.8" },
	{ "9.0.0.127.in-addr.arpa", CNAME, "9.classless.127.in-addr.arpa" }, { "9.classless.127.in-addr.arpa", PTR, "nine.example.com" }, { "nine.example.com", A, "127.0.0.9" },
	{ "20.0.0.127.in-addr.arpa", PTR, "SERVFAIL" }, { "21.0.0.127.in-addr.arpa", PTR, "SILENT" }, { "22.0.0.127.in-addr.arpa", PTR, "GARBAGE" },
	{ "23.0.0.127.in-addr.arpa", PTR, "bad name\r\n.example.com" }, { "24.0.0.127.in-addr.arpa", PTR, "127.0.0.1" }, { "25.0.0.127.in-addr.arpa", PTR, "half.example.com" },
	{ "half.example.com", A, "SILENT" },
	{ "1.0.0.127.in-addr.arpa", PTR, "localhost" }, { "1.2.0.192.in-addr.arpa", PTR, "a.LocalHost" }, { "a.localhost", A, "192.0.2.1" },
	{ "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", PTR, "six.example.com" }, { "six.example.com", AAAA, "2001:db8::9" },
};

static unsigned char *put_name(unsigned char *at, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");
		*at++ = (unsigned char)n;
		memcpy(at, name, n);
		at += n;
		name += n + (name[n] == '.');
	}
	*at++ = 0;
	return at;
}

static size_t read_name(const unsigned char *at, char *out)
{
	const unsigned char *begin = at;
	*out = '\0';
	for (; *at; at += 1 + *at)
		sprintf(out + strlen(out), "%s%.*s", *out ? "." : "", (int)*at, (const char *)at + 1);
	return (size_t)(at - begin) + 1;
}

static const struct record *find(const char *name, int type)
{
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		if (strcasecmp(records[i].name, name) == 0 && (records[i].type == type || records[i].type == CNAME))
			return &records[i];
	return NULL;
}

static unsigned char *put_record(unsigned char *at, const struct record *r)
{
	at = put_name(at, r->name);
	*at++ = 0;
	*at++ = (unsigned char)r->type;
	memcpy(at, "\0\1\0\0\0\0", 6); /* IN, no time to live */
	at += 6;
	unsigned char *length = at, *begin = at + 2;
	if (r->type == A || r->type == AAAA) {
		inet_pton(r->type == A ? AF_INET : AF_INET6, r->value, begin);
		at = begin + (r->type == A ? 4 : 16);
	} else {
		at = put_name(begin, r->value);
	}
	length[0] = 0;
	length[1] = (unsigned char)(at - begin);
	return at;
}

static unsigned asked;

static void serve(struct loop *loop, struct source *source, uint32_t events)
{
	unsigned char in[1500], out[1500];
	char name[1000];
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	(void)loop;
	(void)events;
	ssize_t n = recvfrom(source->fd, in, sizeof(in), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
	if (n < 17)
		return;
	asked++;
	size_t question = read_name(in + 12, name) + 4;
	int type = in[12 + question - 3];
	const struct record *r = find(name, type);
	if (r && strcmp(r->value, "SILENT") == 0)
		return;
	memcpy(out, in, 12 + question);
	memcpy(out + 2, "\x81\x80\0\1\0\0\0\0\0\0", 10);
	unsigned char *at = out + 12 + question;
	if (!r)
		out[3] = 0x83; /* NXDOMAIN */
	else if (strcmp(r->value, "SERVFAIL") == 0)
		out[3] = 0x82;
	else if (strcmp(r->value, "GARBAGE") == 0)
		at = (unsigned char *)memset(out + 2, 0xff, 30) + 30;
	else
		for (; r; r = r->type == CNAME ? find(r->value, type) : NULL) {
			at = put_record(at, r);
			out[7]++;
		}
	sendto(source->fd, out, (size_t)(at - out), 0, (struct sockaddr *)&from, from_len);
}

static void no_due(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static const struct source_ops server_ops = { serve, no_due };

/* ---- the client's side ---- */

struct world {
	struct loop loop;
	struct source server;
	struct names *names;
};

static void begin(struct world *w, int64_t timeout)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	char resolver[64];
	struct buf why;
	char memory[200];
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_int_equal(loop_init(&w->loop, 5000), 0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ 1 << 20 }, sizeof(int));
	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	source_init(&w->server, &server_ops);
	assert_int_equal(loop_watch(&w->loop, &w->server, fd, EPOLLIN), 0);
	snprintf(resolver, sizeof(resolver), "127.0.0.1:%u", ntohs(at.sin_port));
	w->names = names_new(&w->loop, &(struct names_setup){ resolver, timeout, NULL }, &why);
	assert_non_null(w->names);
	asked = 0;
}

static void end(struct world *w)
{
	names_free(w->names);
	loop_close(&w->loop, &w->server);
	loop_fini(&w->loop);
}

static unsigned answers;

static void answered(struct names_question *q)
{
	(void)q;
	answers++;
}

static void ask(struct world *w, struct names_question *q, const char *client)
{
	memset(q, 0, sizeof(*q));
	assert_true(addr_parse(slice_of(client), &q->addr));
	q->answered = answered;
	names_ask(w->names, q);
}

static void wait_for(struct world *w, unsigned n)
{
	int64_t until = loop_now(&w->loop) + PATIENCE;
	while (answers < n && loop_now(&w->loop) < until)
		assert_int_equal(loop_turn(&w->loop, 100 * LOOP_MS), 0);
	assert_int_equal(answers, n);
}

static void results(void **context)
{
	static const struct {
		const char *client;
		enum names_result result;
		const char *name;
	} table[] = {
		{ "127.0.0.2", NAMES_CONFIRMED, "host.sub.example.com" }, { "127.0.0.5", NAMES_FORGED, "forged.example.com" }, { "127.0.0.6", NAMES_FORGED, "nowhere.example.com" },
		{ "127.0.0.4", NAMES_NONE, "" }, { "127.0.0.8", NAMES_CONFIRMED, "UPPER.Example.COM" }, { "127.0.0.9", NAMES_CONFIRMED, "nine.example.com" },
		{ "127.0.0.1", NAMES_CONFIRMED, "localhost" }, { "192.0.2.1", NAMES_FORGED, "a.LocalHost" }, /* no server is asked about these */
		{ "127.0.0.20", NAMES_FAILED, "" }, { "127.0.0.24", NAMES_NONE, "" }, { "2001:db8::9", NAMES_CONFIRMED, "six.example.com" }, { "2001:db8::8", NAMES_NONE, "" },
	};
	struct world w;
	struct names_question q[sizeof(table) / sizeof(table[0])], bad;
	(void)context;
	begin(&w, 4 * LOOP_SECOND);
	answers = 0;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		ask(&w, &q[i], table[i].client);
	assert_int_equal(answers, 0); /* never before names_ask() has returned */
	wait_for(&w, sizeof(table) / sizeof(table[0]));
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (q[i].result != table[i].result)
			fail_msg("%s: %s", table[i].client, names_result_name(q[i].result));
		assert_string_equal(q[i].name, table[i].name);
	}
	ask(&w, &bad, "127.0.0.23"); /* whatever is made of it, no such name comes out */
	wait_for(&w, 1 + sizeof(table) / sizeof(table[0]));
	assert_true(bad.result == NAMES_NONE || bad.result == NAMES_FAILED);
	assert_string_equal(bad.name, "");
	end(&w);
}

/* Silence, and a name server that dies between the two questions: each ends at its deadline. So does nonsense, which c-ares from 1.34 on takes for a failure, also of what
 * was asked on the same socket. */
static void deadlines(void **context)
{
	static const struct {
		const char *clients[2];
		bool may_fail;
	} rows[] = { { { "127.0.0.21", "127.0.0.25" }, false }, { { "127.0.0.22", "127.0.0.21" }, true } };
	(void)context;
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		struct world w;
		struct names_question q[2];
		begin(&w, 200 * LOOP_MS);
		answers = 0;
		int64_t before = loop_now(&w.loop);
		for (int i = 0; i < 2; i++)
			ask(&w, &q[i], rows[row].clients[i]);
		wait_for(&w, 2);
		assert_true(loop_now(&w.loop) - before < 2 * LOOP_SECOND);
		for (int i = 0; i < 2; i++) {
			if (q[i].result != NAMES_TIMEOUT && !(rows[row].may_fail && q[i].result == NAMES_FAILED))
				fail_msg("%s: %s", rows[row].clients[i], names_result_name(q[i].result));
			assert_string_equal(q[i].name, "");
		}
		end(&w);
	}
}

#define MANY 2000

static void a_crowd(void **context)
{
	static struct names_question q[MANY];
	struct world w;
	(void)context;
	begin(&w, 5 * LOOP_SECOND);
	answers = 0;
	for (int i = 0; i < MANY; i++)
		ask(&w, &q[i], i % 2 ? "127.0.0.2" : "127.0.0.4");
	wait_for(&w, MANY);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(q[i].result, i % 2 ? NAMES_CONFIRMED : NAMES_NONE);
	end(&w);
}

/* In line, under way, and when it has been answered: no callback comes after it, and what was asked with it may go. */
static void cancelled(void **context)
{
	struct world w;
	struct names_question *q = calloc(300, sizeof(*q)), other;
	(void)context;
	begin(&w, 3 * LOOP_SECOND);
	answers = 0;
	for (int i = 0; i < 300; i++)
		ask(&w, &q[i], "127.0.0.2");
	assert_int_equal(loop_turn(&w.loop, 0), 0);
	for (int i = 0; i < 300; i++)
		names_cancel(&q[i]);
	free(q);
	ask(&w, &other, "127.0.0.2");
	wait_for(&w, 1);
	names_cancel(&other);
	assert_int_equal(other.result, NAMES_CONFIRMED);
	struct names_question never = { .names = NULL };
	names_cancel(&never);
	ask(&w, &other, "127.0.0.21"); /* and the end comes with one under way */
	assert_int_equal(loop_turn(&w.loop, 0), 0);
	end(&w);
	assert_int_equal(answers, 1);
}

static void valid(void **context)
{
	static const char *const good[] = { "a", "host.example.com", "a-b_c.example", "3com.com", "xn--bcher-kva.example" };
	static const char *const bad[] = { "", ".", "a.", ".a", "a..b", "1.2.3.4", "12", "a b", "a\tb", "a\x80z", "[127.0.0.1]", "a/b", "a\\.b", "a\"b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com" };
	(void)context;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(names_is_valid(slice_of(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(names_is_valid(slice_of(bad[i])));
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* With the system's resolver the hosts file comes first, and needs no confirmation; either family. */
static void hosts_file(void **context)
{
	static const struct {
		const char *client, *name;
	} table[] = { { "192.0.2.1", "one.example" }, { "2001:db8::1", "six.example" }, { "::ffff:192.0.2.2", "two" } };
	struct world w;
	struct names_question q[3];
	char path[] = "/tmp/tarry-test-names-XXXXXX", memory[200];
	struct buf why;
	(void)context;
	close(mkstemp(path));
	write_file(path, "192.0.2.1 one.example one\n2001:db8::1 six.example\n192.0.2.2 two\n");
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_int_equal(loop_init(&w.loop, 5000), 0);
	w.names = names_new(&w.loop, &(struct names_setup){ "", LOOP_SECOND, path }, &why);
	assert_non_null(w.names);
	answers = 0;
	for (size_t i = 0; i < 3; i++)
		ask(&w, &q[i], table[i].client);
	assert_int_equal(answers, 0);
	wait_for(&w, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(q[i].result, NAMES_CONFIRMED);
		assert_string_equal(q[i].name, table[i].name);
	}
	names_free(w.names);
	loop_fini(&w.loop);
	unlink(path);
}

static void bad_resolver(void **context)
{
	struct loop loop;
	char memory[300];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_int_equal(loop_init(&loop, 4), 0);
	assert_null(names_new(&loop, &(struct names_setup){ "nonsense:x:y,,", LOOP_SECOND, NULL }, &why));
	assert_non_null(strstr(buf_text(&why), "resolver \"nonsense:x:y,,\""));
	names_free(NULL);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(results), cmocka_unit_test(deadlines), cmocka_unit_test(a_crowd), cmocka_unit_test(cancelled),
		cmocka_unit_test(valid), cmocka_unit_test(hosts_file), cmocka_unit_test(bad_resolver) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
