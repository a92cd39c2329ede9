/* Who owes silence, and when: every stage with what may be said there and what may not, by each reaction, cut in two at every byte; pauses, their budget, and what the backend gets of a
 * message whose end is withheld. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "watch_rig.h"

#define ENVELOPE "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
#define TOLD(stage) stage_reply(stage, STAGE_REFUSE)

static struct stages stages;

static void set_all(enum stage_reaction reaction)
{
	stages = (struct stages){ .budget = 25000 };
	for (enum stage stage = STAGE_GREET; stage < STAGES; stage++)
		stages.reactions[stage] = (uint8_t)reaction;
}

static void begin_with(enum stage_reaction reaction)
{
	set_all(reaction);
	rig_begin_staged(&stages);
}

static int begin(void **state)
{
	(void)state;
	begin_with(STAGE_REFUSE);
	return 0;
}

static int end(void **state)
{
	(void)state;
	rig_end();
	return 0;
}

static void say_and_reply(const char *line, const char *reply)
{
	rig_say(line);
	rig_reply(reply);
	rig_expect(line, reply);
}

static void greet(void)
{
	rig_reply("220 b.test ESMTP\r\n");
	rig_expect("", "220 b.test ESMTP\r\n");
}

static void helo(void)
{
	greet();
	say_and_reply("HELO c\r\n", "250 b.test\r\n");
}

static void mail(void)
{
	helo();
	say_and_reply("MAIL FROM:<a@b>\r\n", "250 ok\r\n");
}

static void rcpt(void)
{
	mail();
	say_and_reply("RCPT TO:<c@d>\r\n", "250 ok\r\n");
}

static void text(void)
{
	rcpt();
	say_and_reply("DATA\r\n", "354 go\r\n");
	say_and_reply("Subject: x\r\n\r\nhello\r\n", "");
}

static void ehlo(void)
{
	greet();
	say_and_reply("EHLO c\r\n", "250-b.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 CHUNKING\r\n");
}

static void pipelined_rcpt(void)
{
	ehlo();
	rig_say(ENVELOPE);
	rig_reply("250 1\r\n250 2\r\n");
	rig_expect(ENVELOPE, "250 1\r\n250 2\r\n");
}

static void chunks_only(void)
{
	greet();
	say_and_reply("EHLO c\r\n", "250-b.test\r\n250 CHUNKING\r\n");
	say_and_reply("MAIL FROM:<a@b>\r\n", "250 ok\r\n");
	say_and_reply("RCPT TO:<c@d>\r\n", "250 ok\r\n");
}

static void auth(void)
{
	helo();
	say_and_reply("AUTH LOGIN\r\n", "334 who\r\n");
}

static const struct row {
	const char *name;
	void (*before)(void);
	enum stage stage;
	const char *line, *reply, *next;
} rows[] = {
	{ "HELO", greet, STAGE_HELO, "HELO c\r\n", "250 b.test\r\n", "MAIL FROM:<a@b>\r\n" },
	{ "EHLO", greet, STAGE_HELO, "EHLO c\r\n", "250-b.test\r\n250-PIPELINING\r\n250 SIZE\r\n", "MAIL FROM:<a@b>\r\n" },
	{ "EHLO refused", greet, STAGE_HELO, "EHLO c\r\n", "502 what\r\n", "HELO c\r\n" },
	{ "EHLO again", ehlo, STAGE_HELO, "EHLO c\r\n", "250-b.test\r\n250 PIPELINING\r\n", "RSET\r\n" },
	{ "MAIL", helo, STAGE_MAIL, "MAIL FROM:<a@b>\r\n", "250 ok\r\n", "RCPT TO:<c@d>\r\n" },
	{ "MAIL without a HELO", greet, STAGE_MAIL, "MAIL FROM:<a@b>\r\n", "503 polite\r\n", "RSET\r\n" },
	{ "MAIL, answered by the door", helo, STAGE_MAIL, "MAIL FROM:<no@b>\r\n", "", "RSET\r\n" },
	{ "RCPT", mail, STAGE_RCPT, "RCPT TO:<c@d>\r\n", "250 ok\r\n", "RCPT TO:<e@d>\r\n" },
	{ "RCPT, answered by the door", mail, STAGE_RCPT, "RCPT TO:<no@d>\r\n", "", "RCPT TO:<e@d>\r\n" },
	{ "RSET", helo, STAGE_COMMAND, "RSET\r\n", "250 ok\r\n", "NOOP\r\n" },
	{ "NOOP", mail, STAGE_COMMAND, "NOOP\r\n", "250 ok\r\n", "RSET\r\n" },
	{ "a word that nobody knows", helo, STAGE_COMMAND, "FROB\r\n", "500 what\r\n", "RSET\r\n" },
	{ "an empty line", helo, STAGE_COMMAND, "\r\n", "", "RSET\r\n" },
	{ "AUTH", helo, STAGE_COMMAND, "AUTH LOGIN\r\n", "334 who\r\n", "bWU=\r\n" },
	{ "a line of AUTH", auth, STAGE_COMMAND, "bWU=\r\n", "235 you\r\n", "NOOP\r\n" },
	{ "DATA", rcpt, STAGE_DATA, "DATA\r\n", "354 go\r\n", "Subject: x\r\n" },
	{ "DATA refused", rcpt, STAGE_DATA, "DATA\r\n", "451 later\r\n", "QUIT\r\n" },
	{ "DATA too soon", helo, STAGE_DATA, "DATA\r\n", "", "QUIT\r\n" },
	{ "DATA of a group", pipelined_rcpt, STAGE_DATA, "DATA\r\n", "354 go\r\n", "Subject: x\r\n" },
	{ "STARTTLS", ehlo, STAGE_STARTTLS, "STARTTLS\r\n", "454 no\r\n", "MAIL FROM:<a@b>\r\n" },
	{ "BDAT", chunks_only, STAGE_DATA, "BDAT 5\r\nhello", "250 5\r\n", "BDAT 0 LAST\r\n" },
	{ "an odd BDAT", chunks_only, STAGE_DATA, "BDAT x\r\n", "", "RSET\r\n" },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* Both at once, cut in two, before the reply: at a cut behind the line it is the next line that is cut. */
static void try_talk(const struct row *row, enum stage_reaction reaction, size_t cut)
{
	char both[200];
	size_t len = (size_t)snprintf(both, sizeof(both), "%s%s", row->line, row->next);
	bool answered = row->reply[0] == '\0' && cut == strlen(row->line); /* by the door, at once: then the rest is no talk */
	begin_with(reaction);
	row->before();
	rig_say_bytes(both, cut);
	rig_say_bytes(both + cut, len - cut);
	if (answered) {
		assert_int_equal(rig.talked, 0);
	} else {
		if (rig.talked != 1u << row->stage)
			fail_msg("%s, cut at %zu: talked %#x", row->name, cut, (unsigned)rig.talked);
		assert_int_equal(rig_result, reaction == STAGE_OBSERVE ? WATCH_MORE : WATCH_EARLY);
		assert_int_equal(rig.early, reaction == STAGE_OBSERVE ? STAGE_NONE : row->stage);
	}
	rig_end();
}

/* Said in its turn, however it is cut, nothing of it is talk; and all of it arrives. */
static void try_silence(const struct row *row, size_t cut)
{
	begin_with(STAGE_REFUSE);
	row->before();
	rig_say_bytes(row->line, cut);
	assert_int_equal(rig.talked, 0);
	rig_say_bytes(row->line + cut, strlen(row->line) - cut);
	for (const char *at = row->reply; *at; at++) { /* byte for byte: between the lines it is not its turn yet */
		char byte[2] = { *at, '\0' };
		rig_reply(byte);
	}
	rig_say(row->next);
	if (rig.talked || rig_result == WATCH_EARLY || rig_result == WATCH_BROKEN)
		fail_msg("%s, cut at %zu: talked %#x, result %d", row->name, cut, (unsigned)rig.talked, (int)rig_result);
	rig_end();
}

static void every_stage(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		size_t line = strlen(rows[i].line), both = line + strlen(rows[i].next);
		for (size_t cut = 0; cut < both; cut++)
			for (enum stage_reaction r = STAGE_REFUSE; r <= STAGE_OBSERVE; r++)
				try_talk(&rows[i], r, cut);
		for (size_t cut = 0; cut <= line; cut++)
			try_silence(&rows[i], cut);
	}
}

/* A client whose talk changes nothing is served as if it had waited. */
static void observed(void **state)
{
	(void)state;
	begin_with(STAGE_OBSERVE);
	rig_say("HELO c\r\n" ENVELOPE "DATA\r\nhello\r\n.\r\nQUIT\r\n");
	rig_reply("220 b.test ESMTP\r\n");
	rig_reply("250 b.test\r\n");
	rig_reply("250 1\r\n");
	rig_reply("250 2\r\n");
	rig_reply("354 go\r\n");
	rig_reply("250 taken\r\n");
	rig_reply("221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
	rig_expect("HELO c\r\n" ENVELOPE "DATA\r\nhello\r\n.\r\nQUIT\r\n", "220 b.test ESMTP\r\n250 b.test\r\n250 1\r\n250 2\r\n354 go\r\n250 taken\r\n221 bye\r\n");
	assert_int_equal(rig.talked, 1u << STAGE_GREET | 1u << STAGE_HELO | 1u << STAGE_MAIL | 1u << STAGE_RCPT | 1u << STAGE_DATA);
	rig_end();
}

/* Where nothing but observing is done, what comes too soon does not even wait; but a pause is one, and the end of a message comes before what follows it. */
static void observed_in_passing(void **state)
{
	static const char *const ends[] = { "hello\r\n.\r\n", "BDAT 5 LAST\r\nhello", "BDAT 0 LAST\r\n" };
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		begin_with(STAGE_OBSERVE);
		stages.observes = true;
		stages.pauses[STAGE_EOM] = 700;
		greet();
		rig_say("EHLO c\r\nNOOP\r\n");
		rig_expect("EHLO c\r\nNOOP\r\n", "");
		rig_reply("250-b.test\r\n250 CHUNKING\r\n250 noop\r\n");
		rig_expect("", "250-b.test\r\n250 CHUNKING\r\n250 noop\r\n");
		say_and_reply("MAIL FROM:<a@b>\r\n", "250 ok\r\n");
		say_and_reply("RCPT TO:<c@d>\r\n", "250 ok\r\n");
		if (i == 0)
			say_and_reply("DATA\r\n", "354 go\r\n");
		char both[100];
		snprintf(both, sizeof(both), "%sNOOP\r\n", ends[i]);
		rig_say(both);
		assert_true(rig.paused);
		rig_expect_bytes((struct slice){ ends[i], strlen(ends[i]) - 1 }, slice_of(""));
		rig_go_on();
		rig_expect_bytes((struct slice){ both + strlen(ends[i]) - 1, 7 }, slice_of(""));
		rig_reply("250 taken\r\n250 noop\r\n");
		rig_expect("", "250 taken\r\n250 noop\r\n");
		assert_int_equal(rig_result, WATCH_MORE);
		assert_true(rig.talked & 1u << STAGE_HELO && rig.talked & 1u << STAGE_EOM);
		rig_end();
	}
}

/* What RFC 2920 and RFC 3030 allow, in one breath and byte for byte. */
static void groups(void **state)
{
	static const char first[] = "RSET\r\n" ENVELOPE "RCPT TO:<e@f>\r\nDATA\r\n";
	static const char second[] = "hello\r\n.\r\nRSET\r\n" ENVELOPE "BDAT 5\r\nhelloBDAT 7 LAST\r\n worldsMAIL FROM:<g@h>\r\nNOOP\r\n";
	(void)state;
	for (size_t piece = 1; piece < sizeof(second); piece += piece < 4 ? 1 : 20) {
		begin_with(STAGE_REFUSE);
		ehlo();
		for (size_t at = 0; at < sizeof(first) - 1; at += piece)
			rig_say_bytes(first + at, piece < sizeof(first) - 1 - at ? piece : sizeof(first) - 1 - at);
		rig_reply("250 reset\r\n");
		rig_reply("250 1\r\n");
		rig_reply("250 2\r\n250 3\r\n");
		rig_reply("354 go\r\n");
		for (size_t at = 0; at < sizeof(second) - 1; at += piece)
			rig_say_bytes(second + at, piece < sizeof(second) - 1 - at ? piece : sizeof(second) - 1 - at);
		rig_reply("250 taken\r\n");
		for (int i = 0; i < 7; i++)
			rig_reply("250 ok\r\n");
		assert_int_equal(rig.talked, 0);
		assert_int_equal(rig_result, WATCH_MORE);
		rig_expect("RSET\r\n" ENVELOPE "RCPT TO:<e@f>\r\nDATA\r\nhello\r\n.\r\nRSET\r\n" ENVELOPE "BDAT 5\r\nhelloBDAT 7 LAST\r\n worldsMAIL FROM:<g@h>\r\nNOOP\r\n",
			"250 reset\r\n250 1\r\n250 2\r\n250 3\r\n354 go\r\n250 taken\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n");
		rig_end();
	}
}

/* The end of a message, where PIPELINING was not offered: what comes with it undoes the message, what comes later is told later. */
static void end_of_message(void **state)
{
	static const char both[] = "end\r\n.\r\nNOOP\r\n";
	(void)state;
	for (size_t cut = 0; cut < sizeof(both) - 1; cut++) {
		begin_with(STAGE_REFUSE);
		text();
		rig_say_bytes(both, cut);
		rig_say_bytes(both + cut, sizeof(both) - 1 - cut);
		assert_int_equal(rig.talked, 1u << STAGE_EOM);
		if (cut != 8) {
			assert_int_equal(rig_result, WATCH_EARLY);
			rig_expect_bytes((struct slice){ both, cut < 8 ? cut : 0 }, slice_of(""));
		} else {
			assert_int_equal(rig_result, WATCH_MORE);
			rig_expect("end\r\n.\r\n", "");
			rig_reply("250 ta");
			rig_reply("ken\r\n");
			assert_int_equal(rig_result, WATCH_EARLY);
			rig_expect("", "250 taken\r\n");
		}
		assert_int_equal(rig.early, STAGE_EOM);
		rig_end();
	}
	/* In its turn. */
	begin_with(STAGE_REFUSE);
	text();
	say_and_reply(".\r\n", "250 taken\r\n");
	say_and_reply("QUIT\r\n", "221 bye\r\n");
	assert_int_equal(rig.talked, 0);
	rig_end();
}

static void end_by_bdat(void **state)
{
	static const char *const lasts[] = { "BDAT 5 LAST\r\nhello", "BDAT 0 LAST\r\n" };
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char both[100];
		size_t last = strlen(lasts[i]), len = (size_t)snprintf(both, sizeof(both), "%sNOOP\r\n", lasts[i]);
		for (size_t cut = 0; cut < len; cut++) {
			begin_with(STAGE_REFUSE);
			chunks_only();
			rig_say_bytes(both, cut);
			rig_say_bytes(both + cut, len - cut);
			assert_int_equal(rig.talked, 1u << STAGE_EOM);
			assert_int_equal(rig_result, cut != last ? WATCH_EARLY : WATCH_MORE);
			rig_reply("250 taken\r\n");
			assert_int_equal(rig_result, WATCH_EARLY);
			rig_end();
		}
	}
}

/* A pause at the end of a message: the backend lacks one byte of it until it is over. */
static void end_withheld(void **state)
{
	static const struct {
		void (*before)(void);
		const char *said, *passed, *rest;
	} cases[] = {
		{ text, ".\r\n", ".\r", "\n" },
		{ chunks_only, "BDAT 5 LAST\r\nhello", "BDAT 5 LAST\r\nhell", "o" },
		{ chunks_only, "BDAT 0 LAST\r\n", "BDAT 0 LAST\r", "\n" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int talks = 0; talks < 3; talks++) {
			begin_with(STAGE_REFUSE);
			stages.pauses[STAGE_EOM] = 1500;
			cases[i].before();
			rig_say(cases[i].said);
			assert_true(rig.paused);
			assert_int_equal(rig.pause_ms, 1500);
			rig_expect(cases[i].passed, "");
			if (talks == 1) {
				rig_say("X");
				assert_int_equal(rig_result, WATCH_EARLY);
				rig_expect("", "");
				rig_end();
				continue;
			}
			rig_client_ends(); /* is no talk, and not passed on before the rest is */
			assert_false(rig.client_ended);
			rig_go_on();
			rig_expect(cases[i].rest, "");
			if (talks == 2)
				rig_say("X");
			assert_int_equal(rig_result, WATCH_MORE);
			rig_reply("250 taken\r\n");
			assert_int_equal(rig_result, talks == 2 ? WATCH_EARLY : WATCH_MORE);
			rig_expect("", "250 taken\r\n");
			rig_end();
		}
}

/* A reply that is withheld, whoever gives it; the backend has the command meanwhile. PIPELINING is not offered then. */
static void withheld(void **state)
{
	(void)state;
	stages.pauses[STAGE_HELO] = 100;
	stages.pauses[STAGE_MAIL] = 200;
	stages.pauses[STAGE_RCPT] = 300;
	stages.pauses[STAGE_DATA] = 400;
	stages.strikes = true;
	greet();
	rig_say("EHLO c\r\n");
	rig_reply("250-b.test\r\n250-PIPELINING\r\n250 SIZE\r\n");
	rig_expect("EHLO c\r\n", "");
	assert_true(rig.paused && rig.pause_ms == 100);
	rig_go_on();
	rig_expect("", "250-b.test\r\n250 SIZE\r\n");
	rig_say("MAIL FROM:<a@b>\r\n");
	rig_expect("MAIL FROM:<a@b>\r\n", "");
	assert_int_equal(rig.pause_ms, 200);
	rig_go_on(); /* over before the reply is there */
	rig_expect("", "");
	rig_reply("250 ok\r\n");
	rig_expect("", "250 ok\r\n");
	rig_say("RCPT TO:<no@d>\r\n");
	rig_expect("", "");
	assert_int_equal(rig.pause_ms, 300);
	rig_go_on();
	rig_expect("", "550 5.7.1 <no@d>... Access denied\r\n");
	rig_say("RCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n");
	rig_go_on();
	rig_expect("RCPT TO:<c@d>\r\n", "250 ok\r\n");
	rig_say("DATA\r\n");
	rig_reply("354 go\r\n");
	rig_expect("DATA\r\n", "");
	assert_int_equal(rig.pause_ms, 400);
	rig_say("Subject: too soon\r\n");
	assert_int_equal(rig_result, WATCH_EARLY);
	assert_int_equal(rig.early, STAGE_DATA);
	rig_expect("", "");
}

/* No sum of pauses is more than the budget; RSET, HELO and the end of a message begin anew. */
static void budget(void **state)
{
	(void)state;
	stages.budget = 1000;
	stages.strikes = true;
	stages.pauses[STAGE_HELO] = stages.pauses[STAGE_RCPT] = 400;
	stages.pauses[STAGE_EOM] = 5000;
	greet();
	rig_say("HELO c\r\n");
	assert_int_equal(rig.pause_ms, 400);
	rig_go_on();
	rig_reply("250 b\r\n");
	for (int transaction = 0; transaction < 3; transaction++) {
		uint32_t left = transaction == 0 ? 600 : 1000;
		rig_say("MAIL FROM:<a@b>\r\n");
		assert_false(rig.paused);
		rig_reply("250 ok\r\n");
		for (int i = 0; i < 2; i++) {
			rig_say("RCPT TO:<c@d>\r\n");
			uint32_t ms = left < 400 ? left : 400;
			assert_int_equal(rig.pause_ms, ms);
			left -= ms;
			rig_go_on();
			rig_reply("250 ok\r\n");
		}
		if (transaction == 1) {
			rig_say("RSET\r\n");
			rig_reply("250 ok\r\n");
			continue;
		}
		rig_say("DATA\r\n");
		rig_reply("354 go\r\n");
		rig_say("hello\r\n.\r\n");
		assert_int_equal(rig.pause_ms, left);
		if (left > 0)
			rig_go_on();
		rig_reply("250 taken\r\n");
		assert_int_equal(rig_result, WATCH_MORE);
	}
	assert_int_equal(rig.talked, 0);
}

/* Between the lines of a reply of which a part is with the client already, it cannot be refused in its place. */
static void between_the_lines(void **state)
{
	(void)state;
	rig_reply("220-b.test\r\n");
	rig_expect("", "220-b.test\r\n");
	rig_say("E");
	assert_int_equal(rig.talked, 1u << STAGE_GREET);
	assert_int_equal(rig_result, WATCH_MORE);
	rig_reply("220 go\r\n");
	assert_int_equal(rig_result, WATCH_EARLY);
	rig_expect("", "220 go\r\n");
	rig_end();
	begin(NULL);
	greet();
	rig_say("EHLO c\r\n");
	rig_reply("250-b.test\r\n250-SIZE\r\n");
	rig_say("MAIL");
	assert_int_equal(rig_result, WATCH_MORE);
	rig_reply("250 HELP\r\n");
	assert_int_equal(rig_result, WATCH_EARLY);
	rig_expect("EHLO c\r\n", "250-b.test\r\n250-SIZE\r\n250 HELP\r\n");
	rig_end();
	/* Where none of it has been sent, it is told in its place; what was owed before stays. */
	begin(NULL);
	pipelined_rcpt();
	rig_block_client(true);
	rig_say("RSET\r\n" ENVELOPE "DATA\r\n");
	rig_reply("250 reset\r\n");
	rig_reply("250 1\r\n250 2\r\n");
	rig_reply("354-go\r\n354 on\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	rig_say("Subject: x\r\n");
	assert_int_equal(rig_result, WATCH_EARLY);
	rig_block_client(false);
	rig_expect("RSET\r\n" ENVELOPE "DATA\r\n", "250 reset\r\n250 1\r\n250 2\r\n");
}

/* The owner has looked, and found a byte that it has not read. */
static void found_by_a_look(void **state)
{
	(void)state;
	assert_true(watch_is_waiting(&rig));
	greet();
	rig_say("");
	assert_false(watch_is_waiting(&rig));
	watch_talked(&rig);
	assert_int_equal(rig.talked, 0);
	rig_say("HELO c\r\n");
	assert_true(watch_is_waiting(&rig));
	watch_talked(&rig);
	assert_false(watch_is_waiting(&rig));
	assert_int_equal(rig.result, WATCH_EARLY);
	rig_end();
	/* When the 220 to STARTTLS is about to go out. */
	for (enum stage_reaction r = STAGE_LET; r <= STAGE_OBSERVE; r++) {
		static const enum watch_result results[] = { WATCH_PIPE, WATCH_EARLY, WATCH_EARLY, WATCH_BROKEN };
		begin_with(r);
		ehlo();
		rig_block_client(true);
		rig_say("STARTTLS\r\n");
		rig_reply("220 go\r\n");
		assert_int_equal(rig.result, WATCH_PIPE);
		assert_true(watch_is_waiting(&rig) == (r != STAGE_LET));
		watch_talked(&rig);
		assert_int_equal(rig.result, results[r]);
		rig_block_client(false);
		rig_expect("STARTTLS\r\n", r == STAGE_LET ? "220 go\r\n" : r == STAGE_OBSERVE ? "421 4.3.0 door.test Lost step with the mail server, closing connection\r\n" : "");
		rig_end();
	}
	begin(NULL);
}

/* What follows STARTTLS never gets into TLS, whatever is decided of talk. */
static void injected(void **state)
{
	(void)state;
	for (enum stage_reaction r = STAGE_LET; r <= STAGE_OBSERVE; r++)
		for (int ours = 0; ours < 2; ours++) {
			rig_end();
			begin_with(r);
			rig.tls = ours ? WATCH_TLS_OFFER : WATCH_TLS_PASS;
			greet();
			rig_say("EHLO c\r\n");
			rig_reply("250-b.test\r\n250 STARTTLS\r\n");
			rig_say("STARTTLS\r\nMAIL FROM:<a@b>\r\n");
			if (!ours)
				rig_reply("220 go\r\n");
			assert_int_equal(rig_result, r == STAGE_LET || r == STAGE_OBSERVE ? WATCH_BROKEN : WATCH_EARLY);
			assert_int_equal(rig.talked, 1u << STAGE_STARTTLS);
		}
}

/* Inside a TLS that the door ends nothing has been offered yet. */
static void sealed(void **state)
{
	(void)state;
	rig.tls = WATCH_TLS_OFFER;
	greet();
	say_and_reply("EHLO c\r\n", "250-b.test\r\n250 STARTTLS\r\n");
	rig_say("STARTTLS\r\n");
	assert_int_equal(rig_result, WATCH_TLS);
	watch_sealed(&rig, WATCH_SEALED, NULL);
	rig_say("NOOP\r\n");
	rig_reply("250 ok\r\n");
	assert_int_equal(rig.talked, 0);
	rig_say("RSET\r\nRSET\r\n");
	assert_int_equal(rig.early, STAGE_COMMAND);
}

/* A command that is still being decided is not answered. */
static void decided_later(void **state)
{
	(void)state;
	stages.pauses[STAGE_RCPT] = 50;
	mail();
	rig_say("RCPT TO:<later@d>\r\n");
	assert_true(rig.paused);
	rig_go_on();
	rig_decide();
	rig_reply("250 ok\r\n");
	rig_expect("RCPT TO:<later@d>\r\n", "250 ok\r\n");
	rig_say("RCPT TO:<later.no@d>\r\n");
	rig_go_on();
	rig_say("N");
	assert_int_equal(rig.early, STAGE_RCPT);
	assert_int_equal(rig_result, WATCH_EARLY);
}

/* A message that is thrown away: the door's own 354 and 250 count like the backend's. */
static void thrown_away(void **state)
{
	(void)state;
	helo();
	say_and_reply("MAIL FROM:<discard@b>\r\n", "250 ok\r\n");
	say_and_reply("RCPT TO:<c@d>\r\n", "250 ok\r\n");
	rig_say("DATA\r\n");
	rig_expect("RSET\r\n", "");
	rig_reply("250 reset\r\n");
	rig_expect("", "354 Enter mail, end with \".\" on a line by itself\r\n");
	rig_say("hello\r\n.\r\n");
	assert_int_equal(rig.talked, 0);
	rig_expect("", "250 2.0.0 1abc Message accepted for delivery\r\n");
	rig_say("MAIL FROM:<discard@b>\r\n");
	rig_reply("250 ok\r\n");
	rig_say("RCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n");
	rig_say("DATA\r\nhello\r\n"); /* while the backend's answer to RSET is not there */
	assert_int_equal(rig.early, STAGE_DATA);
}

static void no_more_than_its_turn(void **state)
{
	(void)state;
	/* A reset to the end of QUIT is nobody's business. */
	helo();
	rig_say("QUIT\r\nQUIT\r\n");
	assert_int_equal(rig.talked, 0);
	rig_reply("221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
	rig_end();
	/* A line that is too long is answered before its end has come: what follows has waited for that. */
	begin(NULL);
	helo();
	for (int i = 0; i < COMMAND_LINE / 8 + 10; i++)
		rig_say("xxxxxxxx");
	rig_expect("", "500 5.5.2 Line too long\r\n");
	rig_say("\r\n");
	rig_say("RSET\r\n");
	assert_int_equal(rig.talked, 0);
	/* The last word of a backend is told all the same. */
	rig_reply("421 going\r\n");
	assert_int_equal(rig_result, WATCH_END);
}

/* Passed on as it is; and a backend that sees another end of it than we do is left alone with its client. */
static void as_it_is(void **state)
{
	(void)state;
	rcpt();
	say_and_reply("DATA\r\n", "354 go\r\n");
	rig_say("one\ntwo\rthree\r\n..\r\n.x\n.\nfour\r\n");
	rig_expect("one\ntwo\rthree\r\n..\r\n.x\n.\nfour\r\n", "");
	rig_say(".\r\n");
	rig_expect(".\r\n", "");
	rig_reply("250 taken\r\n");
	rig_expect("", "250 taken\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	rig_say("MAIL FROM:<a@b>\r\n");
	rig_reply("250 ok\r\n");
	rig_say("RCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n");
	rig_say("DATA\r\n");
	rig_reply("354 go\r\n");
	rig_say("hello\n.\n");
	rig_reply("250 taken\r\n");
	assert_int_equal(rig_result, WATCH_PIPE);
	assert_int_equal(rig.talked, 0);
}

/* QUIT, or an empty line, at the end of a message is no talk, however it comes; what only resembles it is. */
static void takes_leave(void **state)
{
	static const struct {
		const char *said;
		bool leaves;
	} words[] = { { "QUIT\r\n", true }, { "quit\n", true }, { "\r\n", true }, { "\r\n\r\nQUIT\r\n", true }, { "QUITE\r\n", false }, { "QUIT x\r\n", false }, { "\r\nNOOP\r\n", false } };
	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		for (size_t cut = 0; cut <= strlen(words[i].said); cut++) {
			char first[32];
			begin_with(STAGE_REFUSE);
			text();
			snprintf(first, sizeof(first), ".\r\n%.*s", (int)cut, words[i].said);
			rig_say(first);
			rig_say(words[i].said + cut);
			assert_int_equal(rig.talked, words[i].leaves ? 0 : 1u << STAGE_EOM);
			rig_reply("250 taken\r\n");
			assert_int_equal(rig_result == WATCH_EARLY, !words[i].leaves);
			rig_end();
		}
}

static void let_alone(void **state)
{
	(void)state;
	begin_with(STAGE_LET);
	rig_say("HELO c\r\n" ENVELOPE);
	rig_reply("220 b.test ESMTP\r\n");
	rig_reply("250 b.test\r\n");
	rig_reply("250 1\r\n250 2\r\n");
	rig_say("DATA\r\nhello\r\n.\r\nQUIT\r\n");
	rig_reply("354 go\r\n");
	rig_reply("250 taken\r\n221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
	assert_int_equal(rig.talked, 0);
	rig_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_stage), cmocka_unit_test(observed), cmocka_unit_test(observed_in_passing), cmocka_unit_test(groups), cmocka_unit_test(end_of_message), cmocka_unit_test(end_by_bdat), cmocka_unit_test(takes_leave),
		cmocka_unit_test(end_withheld), cmocka_unit_test_setup_teardown(withheld, begin, end), cmocka_unit_test_setup_teardown(budget, begin, end),
		cmocka_unit_test_setup_teardown(between_the_lines, begin, end), cmocka_unit_test_setup_teardown(found_by_a_look, begin, end),
		cmocka_unit_test_setup_teardown(injected, begin, end), cmocka_unit_test_setup_teardown(sealed, begin, end),
		cmocka_unit_test_setup_teardown(decided_later, begin, end), cmocka_unit_test_setup_teardown(thrown_away, begin, end),
		cmocka_unit_test_setup_teardown(no_more_than_its_turn, begin, end), cmocka_unit_test_setup_teardown(as_it_is, begin, end), cmocka_unit_test(let_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
