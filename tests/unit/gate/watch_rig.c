#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "watch_rig.h"

struct watch rig;
struct model_rules rig_rules;
enum watch_result rig_result;

/* Said and not yet taken; come out and not yet compared. */
static struct buf client, backend, to_client, to_backend;
static bool blocked;

void rig_begin_with(const struct watch_rules *rules)
{
	rig_rules = (struct model_rules){ .later = false };
	buf_init(&client, RIG_MOST);
	buf_init(&backend, RIG_MOST);
	buf_init(&to_client, RIG_MOST);
	buf_init(&to_backend, RIG_MOST);
	watch_init(&rig, rules, &rig_rules, WATCH_TLS_PASS);
	rig_result = WATCH_MORE;
}

void rig_begin(enum watch_tls tls)
{
	rig_begin_with(&model_rules);
	rig.tls = tls;
}

void rig_begin_staged(const struct stages *stages)
{
	rig_begin_with(&model_rules);
	rig.stages = stages;
	rig.as_it_is = true;
	watch_await_greeting(&rig, false);
}

void rig_end(void)
{
	blocked = false;
	watch_fini(&rig);
	buf_fini(&client);
	buf_fini(&backend);
	buf_fini(&to_client);
	buf_fini(&to_backend);
}

static void collect(struct buf *from, struct buf *to)
{
	assert_true(buf_put_slice(to, buf_slice(from)));
	buf_fini(from);
}

/* The client's bytes first, as watch.h asks for. */
static void turn(bool client_eof, bool backend_eof)
{
	for (int i = 0; i < 40; i++) {
		struct slice in = buf_slice(&client);
		rig_result = watch_from_client(&rig, &in, client_eof);
		buf_drop(&client, client.len - in.len);
		in = buf_slice(&backend);
		rig_result = watch_from_backend(&rig, &in, backend_eof);
		buf_drop(&backend, backend.len - in.len);
		if (rig.paused && rig.pause_ms == 0)
			watch_go_on(&rig);
		rig_result = rig.result;
		if (!blocked)
			collect(&rig.to_client, &to_client);
		if (rig_result == WATCH_EARLY)
			buf_fini(&rig.to_backend); /* as the door does: it is not for the backend any more */
		collect(&rig.to_backend, &to_backend);
	}
}

void rig_go_on(void)
{
	assert_true(rig.paused);
	watch_go_on(&rig);
	turn(false, false);
}

void rig_block_client(bool block)
{
	blocked = block;
	turn(false, false);
}

void rig_say_bytes(const char *at, size_t len)
{
	assert_true(buf_put(&client, at, len));
	turn(false, false);
}

void rig_say(const char *text)
{
	rig_say_bytes(text, strlen(text));
}

void rig_client_ends(void)
{
	turn(true, false);
}

void rig_reply(const char *text)
{
	assert_true(buf_put_text(&backend, text));
	turn(false, false);
}

void rig_backend_ends(void)
{
	turn(false, true);
}

void rig_decide(void)
{
	assert_true(rig_rules.later);
	model_decide(&rig_rules, &rig);
	turn(false, false);
}

static void compare(struct buf *got, struct slice want, const char *whom)
{
	if (got->len != want.len || (got->len > 0 && memcmp(got->at, want.at, want.len) != 0))
		fail_msg("the %s got:\n%s\nnot:\n%.*s", whom, buf_text(got), (int)want.len, want.at);
	buf_clear(got);
}

void rig_expect_bytes(struct slice backend_text, struct slice client_text)
{
	compare(&to_backend, backend_text, "backend");
	compare(&to_client, client_text, "client");
}

void rig_expect(const char *backend_text, const char *client_text)
{
	rig_expect_bytes(slice_of(backend_text), slice_of(client_text));
}

void rig_greet(void)
{
	rig_reply("220 b.test ESMTP\r\n");
	rig_say("EHLO c.test\r\n");
	rig_reply("250-b.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
	rig_expect("EHLO c.test\r\n", "220 b.test ESMTP\r\n250-b.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
}
