/* tarry probe --all: what tarry-tls tells, and that it is missed where it is not; TLS itself is tried by the system tests. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>

#include "../descriptors.h"
#include "core/tlswire.h"
#include "tool/probe_all.h"

static enum probe_sealed answer(const void *bytes, size_t len, bool ends, char words[80])
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	if (len > 0)
		assert_int_equal(send(pair[1], bytes, len, 0), (ssize_t)len);
	if (ends)
		shutdown(pair[1], SHUT_WR);
	enum probe_sealed sealed = probe_seal_answer(pair[0], words, 80);
	close(pair[0]);
	close(pair[1]);
	return sealed;
}

static void test_answers(void **state)
{
	(void)state;
	char words[80] = "";
	struct tlswire_facts facts = { .magic = TLSWIRE_MAGIC, .ok = 1, .version = "TLSv1.3", .cipher = "TLS_AES_256_GCM_SHA384" };
	assert_int_equal(answer(NULL, 0, false, words), PROBE_SEALED_NOT_YET);
	assert_int_equal(answer(&facts, sizeof(facts) - 1, false, words), PROBE_SEALED_NOT_YET);
	assert_string_equal(words, "");
	assert_int_equal(answer(&facts, sizeof(facts), false, words), PROBE_SEALED);
	assert_string_equal(words, "TLSv1.3 TLS_AES_256_GCM_SHA384");
	facts = (struct tlswire_facts){ .magic = TLSWIRE_MAGIC, .error = "wrong version number" };
	assert_int_equal(answer(&facts, sizeof(facts), false, words), PROBE_SEALED_FAILED);
	assert_string_equal(words, "wrong version number");
	facts.magic++;
	assert_int_equal(answer(&facts, sizeof(facts), false, words), PROBE_SEALED_FAILED);
	assert_string_equal(words, "tarry-tls has gone");
	assert_int_equal(answer(NULL, 0, true, words), PROBE_SEALED_FAILED);
}

/* The session's first bytes may come with it; they stay. */
static void test_what_follows_stays(void **state)
{
	(void)state;
	char bytes[sizeof(struct tlswire_facts) + 8], words[80], rest[16];
	struct tlswire_facts facts = { .magic = TLSWIRE_MAGIC, .ok = 1, .version = "TLSv1.3", .cipher = "c" };
	int pair[2];
	memcpy(bytes, &facts, sizeof(facts));
	memcpy(bytes + sizeof(facts), "220 mx\r\n", 8);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(send(pair[1], bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	assert_int_equal(probe_seal_answer(pair[0], words, sizeof(words)), PROBE_SEALED);
	assert_int_equal(recv(pair[0], rest, sizeof(rest), 0), 8);
	assert_memory_equal(rest, "220 mx\r\n", 8);
	close(pair[0]);
	close(pair[1]);
}

static void test_it_is_not_there(void **state)
{
	(void)state;
	int before = descriptors_open();
	struct probe_seal seal;
	assert_int_equal(probe_seal_start(&seal, "mail.example.org"), EX_UNAVAILABLE); /* beside this test there is none */
	assert_int_equal(seal.pid, 0);
	int connection = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(connection >= 0);
	assert_int_equal(probe_seal_begin(&seal, connection, LOOP_SECOND), -ESRCH);
	probe_seal_stop(&seal);
	assert_int_equal(descriptors_open(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers), cmocka_unit_test(test_what_follows_stays), cmocka_unit_test(test_it_is_not_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
