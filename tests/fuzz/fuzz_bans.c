/* Fuzz target: bans: networks as text, what fronts and other doors say to their keeper, and dialogues with it. The first byte says which. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "keeper/bans.h"
#include "check.h"

#define ROWS 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_text(const uint8_t *data, size_t size)
{
	char memory[ADDR_TEXT];
	struct known_key key, again;
	struct prefix p;
	struct buf text;
	if (!known_key_parse_network((struct slice){ (const char *)data, size }, &key))
		return;
	buf_init_fixed(&text, memory, sizeof(memory));
	check(known_key_ok_network(key.at, key.len) && known_key_prefix(&key, &p) && p.bits >= 8 && p.bits <= (addr_is4(&p.base) ? 32 : 64));
	check(known_key_put(&text, &key) && known_key_parse_network(buf_slice(&text), &again));
	check(again.len == key.len && memcmp(again.at, key.at, key.len) == 0);
}

/* Whatever was said: as many rows as there may be, nobody among them who is never banned, and the counts add up. */
static void look_over(struct keeper *k)
{
	struct prefix never;
	uint64_t banned = 0;
	unsigned uses[2][64] = { { 0 } };
	check(addr_parse_prefix(slice_of("198.51.100.0/24"), &never));
	for (uint32_t row = 1; row <= ROWS; row++) {
		struct known_key key;
		struct known_times times;
		struct prefix p;
		if (!keeper_row(k, row, &key, &times))
			continue;
		check(known_key_ok_network(key.at, key.len) && known_key_prefix(&key, &p));
		check(!addr_in_prefix(&p.base, &never) && !addr_in_prefix(&never.base, &p));
		check((times.note & ~BAN_NOTE) == 0 && keeper_text(k, row).len < BAN_REASON);
		banned += !(times.note & BAN_OVER);
		uses[!addr_is4(&p.base)][p.bits - 1]++;
	}
	check(known_table_count(&k->table, KNOWN_COUNT_BANNED) == banned);
	for (unsigned family = 0; family < 2; family++)
		for (unsigned bit = 0; bit < 64; bit++)
			check(k->ban.uses[family][bit] == uses[family][bit] && ((k->table.head->lengths[family] >> bit & 1) != 0) == (uses[family][bit] > 0));
}

static void say_messages(int to, const uint8_t *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		struct ban_message m = { .magic = BAN_WIRE_MAGIC };
		size_t len = data[at] % (sizeof(m) - sizeof(m.magic));
		len = len < size - at - 1 ? len : size - at - 1;
		memcpy((char *)&m + sizeof(m.magic), data + at + 1, len);
		send(to, &m, data[at] & 1 ? sizeof(m) : sizeof(m.magic) + len, MSG_DONTWAIT | MSG_NOSIGNAL);
		at += 1 + len;
	}
}

static void hear_lines(struct keeper *k, const uint8_t *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		const uint8_t *lf = memchr(data + at, '\n', size - at);
		size_t len = lf ? (size_t)(lf - data) - at : size - at;
		bans_kind.share.heard(k, (struct slice){ (const char *)data + at, len });
		at += len + 1;
	}
}

static void to_the_keeper(char kind, const uint8_t *data, size_t size)
{
	static struct keeper keeper;
	static struct buf logged;
	int pair[2], never = memfd_create("never", MFD_CLOEXEC);
	char memory[300], answer[4096];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	buf_init(&logged, 1 << 20);
	log_capture(&logged);
	if (never < 0 || write(never, "198.51.100.0/24\n", 16) != 16 || socketpair(AF_UNIX, kind == 'd' ? SOCK_STREAM : SOCK_SEQPACKET, 0, pair) < 0)
		abort();
	struct ban_rules rules = { .time = 60, .time_max = 600, .counts = -1, .never = never };
	struct keeper_setup setup = { .table = -1, .max = ROWS, .ttl = 600, .bits = 24, .path = "", .suffixes = "", .share = "", .messages = kind == 'd' ? -1 : pair[1], .control = -1, .parent = -1, .ban = &rules };
	check(keeper_open(&keeper, &setup, &why));
	close(never);
	if (kind == 'd') {
		send(pair[0], data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		shutdown(pair[0], SHUT_WR);
		check(keeper_answer(&keeper, pair[1]) == 0);
		size_t len = 0;
		for (ssize_t n; (n = recv(pair[0], answer + len, sizeof(answer) - len, MSG_DONTWAIT)) > 0 && len + (size_t)n < sizeof(answer);)
			len += (size_t)n;
		check(len == 0 || answer[len - 1] == '\n' || len > 4000);
	} else {
		if (kind == 'm')
			say_messages(pair[0], data, size);
		else
			hear_lines(&keeper, data, size);
		for (int i = 0; i < 4; i++)
			check(loop_turn(&keeper.loop, 0) == 0);
	}
	look_over(&keeper);
	int theirs = keeper.messages.fd;
	keeper_close(&keeper);
	if (theirs >= 0)
		close(theirs);
	close(pair[0]);
	log_capture(NULL);
	buf_fini(&logged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0]) {
	case 't':
		as_text(data + 1, size - 1);
		break;
	case 'd':
	case 'm':
	case 'h':
		to_the_keeper((char)data[0], data + 1, size - 1);
		break;
	default:
		break;
	}
	return 0;
}
