/* tarry probe --all: any bytes as what a server says to one act, in pieces and with silence between them, through the play, the judgement and both tables. The first
 * byte chooses the act, the second whether messages are sent, when early talk comes and how it ends; 0xfe is a second of silence, 0xff the end of a piece. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "tool/probe_all.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int listener = -1;
static struct addr at;

static void listen_once(void)
{
	struct addr any = { .port = 0 };
	if (listener >= 0)
		return;
	if (!addr_parse(slice_of("127.0.0.1"), &any) || (listener = sock_listen(&any, 64, false)) < 0 || !sock_local(listener, &at))
		abort();
	fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) & ~O_NONBLOCK);
}

static void turn(struct loop *loop)
{
	for (int i = 0; i < 3; i++)
		loop_turn(loop, 0);
}

/* What was said to the server is read, or it would fill up. */
static void say(int peer, struct loop *loop, const uint8_t *bytes, size_t len)
{
	char sink[65536];
	if (len > 0 && send(peer, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
	turn(loop);
	while (recv(peer, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

static void converse(int peer, struct loop *loop, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size;) {
		size_t len = 0;
		while (i + len < size && data[i + len] < 0xfe)
			len++;
		say(peer, loop, data + i, len);
		if (i + len < size && data[i + len] == 0xfe)
			loop_advance(loop, LOOP_SECOND);
		i += len + 1;
	}
}

/* What is printed must be printable; JSON may have whole UTF-8 besides, which begins at 0x80. */
static void check(const struct buf *out, bool json)
{
	if (out->full)
		abort();
	for (size_t i = 0; i < out->len; i++) {
		unsigned char c = (unsigned char)out->at[i];
		if ((c < ' ' && c != '\n') || c == 0x7f || (c > 0x7e && !json))
			abort();
	}
}

static void print(const struct probe_round *round)
{
	struct buf out;
	buf_init(&out, 1024 * 1024);
	probe_table_text(&out, round, "host", 25);
	check(&out, false);
	buf_clear(&out);
	probe_table_json(&out, round, "host", 25);
	check(&out, true);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct loop loop;
	struct probe_all_plan plan = { .addrs = &at, .addrs_len = 1, .host = "host", .timeout = 30 * LOOP_SECOND, .wait = PROBE_WAIT, .helo = "probe.test" };
	struct probe_round round = { .plan = &plan, .loop = &loop, .seal = { .orders = -1, .parent = -1 }, .alone = true, .running = 1 };
	plan.to = data[1] & 1 ? "victim@example.org" : NULL;
	plan.early = data[1] & 2 ? LOOP_SECOND : 0;
	listen_once();
	if (loop_init_manual(&loop, 4) < 0)
		return 0;
	source_init(&round.pause, NULL);
	struct probe_play *play = round.plays[0] = malloc(sizeof(*play));
	if (!play)
		abort();
	round.plays_len = 1;
	probe_play_init(play, &round, &probe_acts[data[0] % probe_acts_len], data[1] & 4 ? PROBE_WAY_STARTTLS : PROBE_WAY_CLEAR, data[0]);
	play->again = true;
	probe_play_begin(play);
	int peer = accept(listener, NULL, NULL);
	if (peer < 0)
		abort();
	sock_nodelay(peer);
	turn(&loop);
	converse(peer, &loop, data + 2, size - 2);
	if (data[1] & 8)
		shutdown(peer, SHUT_WR);
	turn(&loop);
	loop_advance(&loop, (PROBE_PATIENCE + 1) * plan.timeout);
	if (!probe_play_is_done(play) || round.running != 0)
		abort(); /* it has an end, whatever the server says */
	close(peer);
	print(&round);
	probe_round_fini(&round);
	loop_fini(&loop);
	return 0;
}
