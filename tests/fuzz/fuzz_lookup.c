/* Fuzz target: what the lookup program makes of strangers' words. Input: the name of a map, a NUL, then keys, each behind a byte with its length. A name is
 * understood or refused with a reason; whatever the keys are, an LDAP filter has the shape that it has with harmless keys, and the Redis commands are as
 * long as their lengths say. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "lookup/map_hash.h"
#include "lookup/map_ldap.h"
#include "lookup/map_redis.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char memory[MAP_REDIS_REQUEST_MAX];
static struct wire_question question;

/* The keys behind the name; false: there is none. */
static bool take_keys(const uint8_t *at, size_t size)
{
	question = (struct wire_question){ .searches = 1 };
	while (size > 1 && question.counts[0] < WIRE_KEYS) {
		size_t len = at[0];
		if (len == 0 || len > size - 1)
			break;
		question.keys[question.counts[0]++] = (struct slice){ (const char *)at + 1, len };
		at += 1 + len;
		size -= 1 + len;
	}
	return question.counts[0] > 0;
}

/* Parentheses and stars outside of the extra filter, which is the administrator's word. */
static size_t marks(struct slice text)
{
	size_t n = 0;
	for (size_t i = 0; i < text.len; i++)
		n += text.at[i] == '(' || text.at[i] == ')' || text.at[i] == '*';
	return n;
}

static void check_ldap(const char *spec, struct buf *why)
{
	static struct map_ldap_url url;
	static const char plain[WIRE_KEY_MAX] = { 'a' };
	struct wire_question harmless = question;
	struct buf out;
	if (!map_ldap_parse(spec, &url, why)) {
		check(why->len > 0 || why->full);
		return;
	}
	check(url.host[0] && url.base[0] && url.key_attribute[0] && url.value_attribute[0]);
	if (question.counts[0] == 0)
		return;
	buf_init_fixed(&out, memory, MAP_LDAP_FILTER_MAX);
	check(map_ldap_filter(&url, &question, &out));
	size_t got = marks(buf_slice(&out));
	for (unsigned i = 0; i < harmless.counts[0]; i++)
		harmless.keys[i] = (struct slice){ plain, 1 };
	buf_clear(&out);
	check(map_ldap_filter(&url, &harmless, &out));
	check(got == marks(buf_slice(&out)));
}

/* "*3\r\n" or "$12\r\n" at the front of text; its bytes. */
static size_t read_number(struct slice text, char kind, size_t *out)
{
	size_t at = 1;
	*out = 0;
	check(text.len > 3 && text.at[0] == kind);
	for (; at < text.len && text.at[at] >= '0' && text.at[at] <= '9'; at++)
		*out = *out * 10 + (size_t)(text.at[at] - '0');
	check(at > 1 && at + 2 <= text.len && text.at[at] == '\r' && text.at[at + 1] == '\n');
	return at + 2;
}

/* The bytes of one command, as a server would read it. */
static size_t read_command(struct slice text)
{
	size_t elements, len, at = read_number(text, '*', &elements);
	for (; elements > 0; elements--) {
		at += read_number((struct slice){ text.at + at, text.len - at }, '$', &len);
		check(len <= text.len - at);
		at += len + 2;
		check(at <= text.len && text.at[at - 2] == '\r' && text.at[at - 1] == '\n');
	}
	return at;
}

static void check_redis(const char *spec, struct buf *why)
{
	static struct map_redis_url url;
	struct buf out;
	if (!map_redis_parse(spec, &url, why)) {
		check(why->len > 0 || why->full);
		return;
	}
	check((url.host[0] != '\0') != (url.path[0] != '\0'));
	if (question.counts[0] == 0)
		return;
	buf_init_fixed(&out, memory, sizeof(memory));
	unsigned commands = map_redis_request(&url, "secret", true, &question, &out);
	check(commands >= 2);
	struct slice rest = buf_slice(&out);
	for (; commands > 0; commands--) {
		size_t n = read_command(rest);
		rest.at += n;
		rest.len -= n;
	}
	check(rest.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char spec[URL_SPEC_MAX + 8], path[MAP_HASH_PATH_MAX], said[1024];
	size_t len = strnlen((const char *)data, size);
	struct buf why;
	if (len >= sizeof(spec))
		return 0;
	if (len > 0)
		memcpy(spec, data, len);
	spec[len] = '\0';
	question.counts[0] = 0;
	if (len < size)
		take_keys(data + len + 1, size - len - 1);
	buf_init_fixed(&why, said, sizeof(said));
	check_ldap(spec, &why);
	buf_clear(&why);
	check_redis(spec, &why);
	buf_clear(&why);
	if (map_hash_path(spec, path, &why))
		check(path[0] == '/' && strlen(path) > 3);
	return 0;
}
