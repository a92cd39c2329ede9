/* Random conversations through a whole front, between a client that keeps to RFC 5321, RFC 2920 and RFC 3030, or breaks them at one place, and a mail server (watch_model.c), each cut into
 * random pieces at random times: who keeps to the rules is never refused, who does not always is, and client and server agree on every message that was taken.
 *
 * TARRY_CONVERSATIONS says how many there are, TARRY_SEED where they begin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/access.h"
#include "core/sock.h"
#include "door.h"
#include "gate/session.h"
#include "gate/stages.h"
#include "watch_model.h"

#define CONVERSATIONS 3000
#define MOST (1024 * 1024)
#define PATIENCE 20000 /* steps in which nothing comes of a conversation: it hangs */

/* ---- chance ---- */

static uint64_t chance_state;

static unsigned chance(unsigned n)
{
	chance_state ^= chance_state << 13;
	chance_state ^= chance_state >> 7;
	chance_state ^= chance_state << 17;
	return (unsigned)(chance_state >> 33) % n;
}

/* ---- one conversation ---- */

struct talk {
	struct door *door;
	bool pipelining;        /* was offered to this client */
	int client, backend;
	struct model model;
	struct buf out;         /* of the client, not sent yet */
	struct buf heard;       /* and what it has heard */
	size_t read;            /* of that, in replies that are whole */
	unsigned replies;
	int code;               /* of the last one */
	unsigned taken;         /* messages that it was told are taken, */
	unsigned awaited;       /* replies that it owes a look, the next of which is a message's: bit 0 the next reply */
	bool hold;              /* the server's replies do not come yet */
	bool closed, chunking;
	unsigned number;
	uint64_t seed;
};

static void broken(const struct talk *t, const char *what)
{
	fail_msg("conversation %u (TARRY_SEED=%llu): %s\nheard:\n%s\nlog:\n%s", t->number, (unsigned long long)t->seed, what, buf_text((struct buf *)&t->heard), buf_text(&t->door->log));
}

static void put(struct talk *t, const char *text)
{
	assert_true(buf_put_text(&t->out, text));
}

static void say_some(struct talk *t)
{
	size_t n = chance(3) ? t->out.len : chance((unsigned)t->out.len) + 1;
	ssize_t sent = send(t->client, t->out.at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent > 0)
		buf_drop(&t->out, (size_t)sent);
}

static void serve_some(struct talk *t)
{
	char piece[4096];
	ssize_t n = recv(t->backend, piece, chance(3) ? sizeof(piece) : 1 + chance(40), MSG_DONTWAIT);
	if (n > 0)
		model_take(&t->model, (struct slice){ piece, (size_t)n });
	if (t->model.fault)
		broken(t, t->model.fault);
	if (t->hold || t->model.out.len == 0)
		return;
	size_t some = chance(3) ? t->model.out.len : chance((unsigned)t->model.out.len) + 1;
	n = send(t->backend, t->model.out.at, some, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		buf_drop(&t->model.out, (size_t)n);
	else if (n < 0)
		buf_clear(&t->model.out); /* the door has gone */
}

/* "250 …": the end of a reply. */
static void read_replies(struct talk *t)
{
	const char *end;
	while (t->read < t->heard.len && (end = memchr(t->heard.at + t->read, '\n', t->heard.len - t->read))) {
		const char *line = t->heard.at + t->read;
		t->read = (size_t)(end + 1 - t->heard.at);
		if (end - line < 4 || line[3] == '-')
			continue;
		t->code = atoi(line);
		t->replies++;
		if (t->awaited & 1 && t->code == 250)
			t->taken++;
		t->awaited >>= 1;
	}
}

static void hear(struct talk *t)
{
	enum sock_result got = sock_read(t->client, &t->heard, 0);
	t->closed = t->closed || got == SOCK_EOF || got == SOCK_ERROR;
	read_replies(t);
}

static void step(struct talk *t)
{
	switch (chance(5)) {
	case 0:
		if (t->out.len > 0)
			say_some(t);
		break;
	case 1:
		serve_some(t);
		break;
	case 2:
		hear(t);
		break;
	case 3:
		if (!chance(4))
			loop_advance(&t->door->front.loop, (int64_t)chance(400) * LOOP_MS);
		break;
	default:
		loop_turn(&t->door->front.loop, 0);
		break;
	}
}

static void steps(struct talk *t, unsigned n)
{
	while (n-- > 0)
		step(t);
}

/* Until so many replies more have come. */
static void await(struct talk *t, unsigned replies)
{
	unsigned want = t->replies + replies;
	for (unsigned i = 0; t->replies < want; i++) {
		step(t);
		if (i > PATIENCE || t->closed)
			broken(t, t->closed ? "closed too soon" : "no reply comes");
	}
	if (t->replies > want)
		broken(t, "more replies than commands");
}

static void open_talk(struct talk *t, struct door *door, unsigned number, uint64_t seed)
{
	*t = (struct talk){ .door = door, .number = number, .seed = seed, .backend = -1 };
	buf_init(&t->out, MOST);
	buf_init(&t->heard, MOST);
	buf_clear(&door->log);
	model_init(&t->model);
	t->model.no_pipelining = !chance(3);
	t->client = door_connect(door, "192.0.2.1");
	loop_advance(&door->front.loop, 10 * LOOP_MS);
	door_settle(door);
	t->backend = door_backend_accept(door);
	char header[600];
	assert_true(recv(t->backend, header, sizeof(header), 0) > 0);
	await(t, 1); /* the greeting */
}

static void close_talk(struct talk *t)
{
	close(t->client);
	close(t->backend);
	door_settle(t->door);
	loop_advance(&t->door->front.loop, 10 * LOOP_SECOND); /* whoever lingers */
	assert_int_equal(t->door->front.open, 0);
	if (t->taken != t->model.accepted)
		broken(t, "client and server do not agree on what was taken");
	model_fini(&t->model);
	buf_fini(&t->out);
	buf_fini(&t->heard);
}

/* ---- what a client says ---- */

static const char *sentence(void)
{
	static const char *const some[] = { "Subject: x\r\n", "\r\n", "..\r\n", "..dots\r\n", "a line of text\r\n", "QUIT\r\n", "MAIL FROM:<x@y>\r\n", "x\r\n", ". no end\r\n" };
	return some[chance(sizeof(some) / sizeof(some[0]))];
}

static void put_text(struct talk *t)
{
	for (unsigned n = chance(8); n > 0; n--)
		put(t, sentence());
	put(t, ".\r\n");
}

/* A command whose reply a client may await, or not where it was offered PIPELINING: returns how many replies it adds to those that are. Breaks off before the end of the last line of it that
 * has one: what follows it is the caller's. */
enum kind { MAIL, RCPT, RSET, NOOP, VRFY };

static void put_command(struct talk *t, enum kind kind)
{
	static const char *const words[] = { [MAIL] = "MAIL FROM:<a@b>\r\n", [RCPT] = "RCPT TO:<c@d>\r\n", [RSET] = "rset\r\n", [NOOP] = "NOOP\r\n", [VRFY] = "VRFY c\r\n" };
	put(t, kind == RCPT && !chance(6) ? "RCPT TO:<unknown@d>\r\n" : kind == MAIL && !chance(10) ? "MAIL FROM:<bad@b>\r\n" : words[kind]);
}

/* A client that breaks the rules does so at one of the places where it would have to wait: when this has come down to 0. */
struct slip {
	int until;
};

/* What it says too soon: its first byte goes out with the last one of what came before, where that has not gone out yet. */
static void slip(struct talk *t)
{
	size_t before = t->out.len;
	put(t, chance(2) ? "NOOP\r\n" : "x"); /* QUIT, and an empty line, are no slip everywhere */
	if (chance(2))
		put(t, sentence());
	while (before > 1 && chance(3)) {
		size_t n = chance((unsigned)before);
		ssize_t sent = send(t->client, t->out.at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0)
			buf_drop(&t->out, (size_t)sent);
		before -= sent > 0 ? (size_t)sent : 0;
		loop_turn(&t->door->front.loop, 0);
		serve_some(t);
	}
	size_t n = before + 1 + chance((unsigned)(t->out.len - before));
	ssize_t sent = send(t->client, t->out.at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	assert_int_equal(sent, n);
	buf_drop(&t->out, n);
}

/* It has to wait here. False: it has broken the rules, and that is the end of the conversation. */
static bool wait_for(struct talk *t, unsigned replies, struct slip *r)
{
	if (!r || r->until-- > 0) {
		await(t, replies);
		return true;
	}
	t->hold = true;
	unsigned want = t->replies + replies;
	if (chance(2)) { /* later: when all that it may say has been sent, and perhaps been heard. What the door has answered itself meanwhile it need not wait for. */
		for (int i = 0; t->out.len > 0 && i < PATIENCE; i++)
			step(t);
		steps(t, chance(30));
		hear(t);
		if (t->replies == want) {
			t->hold = false;
			return true;
		}
	}
	slip(t);
	t->hold = false;
	return false;
}

static bool may_go_on(const struct talk *t)
{
	return t->pipelining && chance(3);
}

static bool hello(struct talk *t, struct slip *r)
{
	bool extended = chance(3);
	put(t, extended ? "EHLO c.test\r\n" : "HELO c.test\r\n");
	if (!wait_for(t, 1, r))
		return false;
	t->chunking = extended;
	t->pipelining = extended && memmem(t->heard.at, t->heard.len, "PIPELINING", 10);
	return true;
}

/* The message, by DATA. */
static bool data(struct talk *t, unsigned owed, struct slip *r)
{
	put(t, "DATA\r\n");
	if (!wait_for(t, owed + 1, r))
		return false;
	if (t->code != 354)
		return true;
	put_text(t);
	if (may_go_on(t)) { /* the text is the first of a group */
		t->awaited = 1;
		put_command(t, RSET);
		if (!chance(2))
			return put_command(t, NOOP), wait_for(t, 3, NULL);
		return wait_for(t, 2, NULL);
	}
	t->awaited = 1;
	return wait_for(t, 1, t->pipelining ? NULL : r);
}

static bool bdat(struct talk *t, unsigned owed, struct slip *r)
{
	/* In a group only if it is certain that there is a recipient: a chunk that nobody wants is read all the same, but its reply is the door's. */
	if (owed > 0 && !wait_for(t, owed, NULL))
		return false;
	owed = 0;
	for (unsigned chunks = chance(3); chunks > 0; chunks--) {
		char line[64];
		unsigned size = chance(20);
		snprintf(line, sizeof(line), "BDAT %u\r\n%.*s", size, (int)size, "QUIT\r\nxxxxxxxxxxxxxxxxx");
		put(t, line);
		owed++;
		if (!may_go_on(t)) {
			if (!wait_for(t, owed, t->pipelining ? NULL : r))
				return false;
			owed = 0;
		}
	}
	put(t, chance(2) ? "BDAT 5 LAST\r\nhello" : "BDAT 0 LAST\r\n");
	t->awaited = 1u << owed;
	return wait_for(t, owed + 1, t->pipelining ? NULL : r);
}

static bool transaction(struct talk *t, struct slip *r)
{
	unsigned owed = 0, recipients = 1 + chance(3);
	for (unsigned i = 0; i < recipients + 2; i++) {
		enum kind kind = i == 0 ? RSET : i == 1 ? MAIL : RCPT;
		put_command(t, kind);
		owed++;
		if (!may_go_on(t)) {
			if (!wait_for(t, owed, t->pipelining ? NULL : r))
				return false;
			owed = 0;
		}
	}
	if (!chance(8)) {
		put_command(t, chance(2) ? NOOP : VRFY);
		if (!wait_for(t, owed + 1, t->pipelining ? NULL : r))
			return false;
		owed = 0;
	}
	if (t->chunking && chance(2)) {
		if (owed > 0)
			await(t, owed);
		return t->model.recipients == 0 || bdat(t, 0, r);
	}
	return data(t, owed, r);
}

/* All of it; false: the rules have been broken. */
static bool converse(struct talk *t, struct slip *r)
{
	if (!hello(t, r))
		return false;
	for (unsigned n = chance(4); n > 0; n--) {
		if (!chance(6) && !hello(t, r))
			return false;
		if (!transaction(t, r))
			return false;
	}
	return true;
}

/* ---- what must come of it ---- */

static int64_t early(const struct door *door)
{
	int64_t n = 0;
	for (enum stage stage = STAGE_GREET; stage < STAGES; stage++)
		n += door_metric(door, stages_counter(stage));
	return n;
}

static void expect_logged(const struct talk *t, const char *text, bool wanted)
{
	if ((strstr(buf_text(&t->door->log), text) != NULL) != wanted)
		broken(t, text);
}

static void legal(struct talk *t)
{
	int64_t before = early(t->door);
	converse(t, NULL);
	put(t, "QUIT\r\n");
	await(t, 1);
	if (t->code != 221)
		broken(t, "no 221");
	close_talk(t);
	if (early(t->door) != before)
		broken(t, "refused, or noted");
	expect_logged(t, "verdict=early", false);
	expect_logged(t, " end=backend ", true);
}

/* It may be that a conversation has fewer places than it would take to come to the one; then it is a legal one. */
static bool illegal(struct talk *t)
{
	int64_t before = early(t->door);
	struct slip r = { .until = (int)chance(8) };
	if (converse(t, &r)) {
		put(t, "QUIT\r\n");
		await(t, 1);
		close_talk(t);
		return false;
	}
	for (int i = 0; !memmem(t->heard.at, t->heard.len, "554 5.5.0 You sent more before", 30); i++) {
		step(t);
		if (i > PATIENCE || t->closed)
			broken(t, "not refused");
	}
	steps(t, 50);
	close_talk(t);
	if (early(t->door) != before + 1)
		broken(t, "not counted");
	expect_logged(t, "verdict=early", true);
	expect_logged(t, " end=", false);
	return true;
}

/* ---- doors ---- */

#define PAUSES "helo_pause=300", "mail_pause=200", "rcpt_pause=200", "data_pause=300", "eom_pause=500", "pause_budget=1s"

static unsigned conversations(void)
{
	const char *text = getenv("TARRY_CONVERSATIONS");
	return text && atoi(text) > 0 ? (unsigned)atoi(text) : CONVERSATIONS;
}

static void through(const struct door_setup *setup, uint64_t salt)
{
	struct door door;
	const char *text = getenv("TARRY_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 10) : UINT64_C(0x9e3779b97f4a7c15);
	unsigned broke = 0, half = (conversations() + 5) / 6;
	door_open(&door, setup);
	for (unsigned i = 0; i < 2 * half; i++) {
		struct talk t;
		chance_state = (seed ^ salt) + i * UINT64_C(0xbf58476d1ce4e5b9);
		chance_state = chance_state ? chance_state : 1;
		open_talk(&t, &door, i, seed);
		if (i % 2 == 0)
			legal(&t);
		else
			broke += illegal(&t);
	}
	print_message("# %u that keep to the rules, %u that do not, of which %u came to it\n", half, half, broke);
	assert_true(broke > half / 3);
	door_close(&door);
}

static void as_they_come(void **context)
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=10" } };
	(void)context;
	through(&setup, 1);
}

static void with_pauses(void **context)
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=10", PAUSES } };
	(void)context;
	through(&setup, 2);
}

/* Greeted at once, and so at HELO for the first time; and a pause there, which leaves PIPELINING as it is. */
static void helo_alone(void **context)
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=0", "helo_pause=300" } };
	(void)context;
	through(&setup, 3);
}

/* ---- for whom they count ---- */

static struct stages of(struct door *door, const char *address, void (*change)(struct conn *))
{
	int client = door_connect(door, address);
	loop_advance(&door->front.loop, LOOP_SECOND);
	door_settle(door);
	int backend = door_backend_accept(door);
	struct conn *conn = NULL;
	for (uint32_t i = 0; i < door->front.conns_used; i++)
		if (door->front.conns[i].state == CONN_DIAL)
			conn = &door->front.conns[i];
	assert_non_null(conn);
	if (change)
		change(conn);
	assert_int_equal(stages_let(conn->session), conn->exempt || conn->early);
	struct stages stages = stages_of(&door->front, conn->session);
	close(client);
	close(backend);
	door_settle(door);
	return stages;
}

static void observe(struct conn *conn)
{
	conn->observe = true;
}

static void known(struct conn *conn)
{
	conn->known = true;
}

static void delayed(struct conn *conn)
{
	conn->early = true;
}

static bool lets(const struct stages *s)
{
	for (enum stage stage = STAGE_GREET; stage < STAGES; stage++)
		if (s->reactions[stage] != STAGE_LET || (stage < STAGE_PAUSES && s->pauses[stage] > 0))
			return false;
	return !s->strikes;
}

static void for_whom(void **context)
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=10", "early_data=tempfail", "early_eom=observe", "rcpt_pause=40", "helo_pause=30", "pause_budget=5s" } };
	struct door door;
	struct stages s;
	(void)context;
	door_open(&door, &setup);
	door_access(&door, "GreetPause:192.0.2.1 0\nGreetPause:192.0.2.2 20\nHeloPause:192.0.2.2 500\nRcptPause:192.0.2.2 0\nMailPause:192.0.2.3 1\nDataPause:192.0.2.3 400000\nHeloPause:192.0.2.1 9\n");
	s = of(&door, "192.0.2.9", NULL);
	assert_int_equal(s.reactions[STAGE_GREET], STAGE_REFUSE);
	assert_int_equal(s.reactions[STAGE_HELO], STAGE_REFUSE);
	assert_int_equal(s.reactions[STAGE_DATA], STAGE_TEMPFAIL);
	assert_int_equal(s.reactions[STAGE_EOM], STAGE_OBSERVE);
	assert_int_equal(s.pauses[STAGE_HELO], 30);
	assert_int_equal(s.pauses[STAGE_RCPT], 40);
	assert_int_equal(s.budget, 5000);
	assert_true(s.strikes);
	s = of(&door, "192.0.2.1", NULL);
	assert_true(lets(&s));
	s = of(&door, "192.0.2.2", NULL);
	assert_true(s.pauses[STAGE_HELO] == 500 && s.pauses[STAGE_RCPT] == 0 && !s.strikes);
	s = of(&door, "192.0.2.3", NULL);
	assert_true(s.pauses[STAGE_MAIL] == 1 && s.pauses[STAGE_DATA] == ACCESS_PAUSE_MAX_MS && s.pauses[STAGE_HELO] == 30 && s.strikes);
	s = of(&door, "192.0.2.9", delayed);
	assert_true(lets(&s));
	s = of(&door, "192.0.2.9", known);
	assert_true(s.pauses[STAGE_HELO] == 0 && s.pauses[STAGE_RCPT] == 0 && !s.strikes && s.reactions[STAGE_HELO] == STAGE_REFUSE);
	s = of(&door, "192.0.2.9", observe);
	assert_true(s.reactions[STAGE_GREET] == STAGE_LET && s.reactions[STAGE_HELO] == STAGE_OBSERVE && s.reactions[STAGE_DATA] == STAGE_OBSERVE);
	door.conf.stage_pause_keys = 0;
	s = of(&door, "192.0.2.3", NULL);
	assert_true(s.pauses[STAGE_MAIL] == 0 && s.pauses[STAGE_DATA] == 0);
	/* greet_pause = 0 is nobody's exemption. */
	door.conf.greet_pause = 0;
	s = of(&door, "192.0.2.9", NULL);
	assert_true(s.reactions[STAGE_GREET] == STAGE_LET && s.reactions[STAGE_HELO] == STAGE_REFUSE);
	door_close(&door);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(for_whom), cmocka_unit_test(as_they_come), cmocka_unit_test(with_pauses), cmocka_unit_test(helo_alone) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
