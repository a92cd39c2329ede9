/* Fuzz target: those who are known: keys as text and as bytes, names, the public suffix list, and what is said to the keeper by messages and in a dialogue. The first byte says which. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "check.h"

#define ROWS 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void there_and_back(const struct known_key *key)
{
	char memory[KNOWN_DOMAIN + ADDR_TEXT];
	struct known_key again;
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	check(known_key_ok(key->at, key->len));
	check(known_key_put(&text, key));
	check(known_key_parse(buf_slice(&text), &again));
	check(again.len == key->len && memcmp(again.at, key->at, key->len) == 0);
}

static void as_text(const uint8_t *data, size_t size)
{
	struct known_key key;
	if (known_key_parse((struct slice){ (const char *)data, size }, &key))
		there_and_back(&key);
}

static void as_bytes(const uint8_t *data, size_t size)
{
	struct known_key key = { .len = (uint8_t)size };
	if (!known_key_ok(data, size))
		return;
	memcpy(key.at, data, size);
	there_and_back(&key);
}

static void a_name(const uint8_t *data, size_t size)
{
	char domain[KNOWN_DOMAIN];
	struct addr client = { .port = 25 };
	struct known_key key;
	if (size < sizeof(client.ip))
		return;
	memcpy(client.ip, data, sizeof(client.ip));
	struct slice name = { (const char *)data + sizeof(client.ip), size - sizeof(client.ip) };
	if (!known_domain(name, &client, domain)) {
		check(domain[0] == '\0');
		return;
	}
	size_t len = strlen(domain);
	check(len + 1 < name.len && name.at[name.len - len - 1] == '.' && memchr(domain, '.', len));
	check(slice_is_nocase((struct slice){ name.at + name.len - len, len }, domain));
	check(known_key_domain(&key, slice_of(domain)));
	there_and_back(&key);
}

static void a_list(const uint8_t *data, size_t size)
{
	struct suffixes s = { .text = NULL };
	check(suffixes_take(&s, (struct slice){ (const char *)data, size }));
	for (size_t i = 0; i < s.len; i++)
		if (s.rules[i][0] != '!' && strlen(s.rules[i]) < 200) { /* an exception may stand beside it */
			char exception[202] = "!";
			strcat(exception, s.rules[i]);
			bool excepted = false;
			for (size_t k = 0; k < s.len; k++)
				excepted = excepted || strcmp(s.rules[k], exception) == 0;
			check(suffixes_has(&s, slice_of(s.rules[i])) != excepted);
		}
	suffixes_free(&s);
}

static void to_the_keeper(const uint8_t *data, size_t size, bool dialogue)
{
	static struct keeper keeper;
	int pair[2];
	char memory[300], answer[4096];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (socketpair(AF_UNIX, dialogue ? SOCK_STREAM : SOCK_SEQPACKET, 0, pair) < 0)
		return;
	struct keeper_setup setup = { .table = -1, .max = ROWS, .ttl = 3600, .apart = 1, .bits = 24, .path = "", .suffixes = "", .share = "", .messages = dialogue ? -1 : pair[1], .control = -1, .parent = -1 };
	check(keeper_open(&keeper, &setup, &why));
	if (dialogue) {
		ssize_t n = send(pair[0], data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		shutdown(pair[0], SHUT_WR);
		check(keeper_answer(&keeper, pair[1]) == 0);
		size_t len = 0;
		while ((n = recv(pair[0], answer + len, sizeof(answer) - len, MSG_DONTWAIT)) > 0 && len + (size_t)n < sizeof(answer))
			len += (size_t)n;
		check(len == 0 || answer[len - 1] == '\n' || len > 4000);
	} else {
		/* Pieces of as many bytes as the first of each says, with a good head, for the most part. */
		for (size_t at = 0; at < size;) {
			struct known_message m = { .magic = KNOWN_WIRE_MAGIC };
			size_t len = data[at] % (sizeof(m) - sizeof(m.magic));
			len = len < size - at - 1 ? len : size - at - 1;
			memcpy((char *)&m + sizeof(m.magic), data + at + 1, len);
			send(pair[0], &m, data[at] & 1 ? sizeof(m) : sizeof(m.magic) + len, MSG_DONTWAIT | MSG_NOSIGNAL);
			at += 1 + len;
		}
		for (int i = 0; i < 4; i++)
			check(loop_turn(&keeper.loop, 0) == 0);
	}
	check(known_table_count(&keeper.table, KNOWN_COUNT_ROWS) <= ROWS);
	for (uint32_t row = 1; row <= ROWS; row++) {
		struct known_key key;
		struct known_times times;
		if (keeper_row(&keeper, row, &key, &times)) {
			there_and_back(&key);
			check(keeper_find(&keeper, &key, &times));
		}
	}
	int theirs = keeper.messages.fd;
	keeper_close(&keeper);
	if (theirs >= 0)
		close(theirs);
	close(pair[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0]) {
	case 't':
		as_text(data + 1, size - 1);
		break;
	case 'b':
		as_bytes(data + 1, size - 1);
		break;
	case 'n':
		a_name(data + 1, size - 1);
		break;
	case 'l':
		a_list(data + 1, size - 1);
		break;
	case 'd':
	case 'm':
		to_the_keeper(data + 1, size - 1, data[0] == 'd');
		break;
	default:
		break;
	}
	return 0;
}
