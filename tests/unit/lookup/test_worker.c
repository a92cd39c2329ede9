/* The worker: which questions it answers, what it says of a map that fails, and that it ends with its parent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "descriptors.h"
#include "lookup/worker.h"
#include "table.h"

static char folder[] = "/tmp/tarry-test-worker-XXXXXX", path[128], hash_spec[128], redis_spec[128];
static struct worker worker;
static struct buf logged;
static struct wire_answer answer;
static char reply[WIRE_ANSWER_MAX];

static const char *const usual[] = { "connect:10.1.2", "REJECT", NULL };

static int setup(void **context)
{
	char memory[1024];
	struct buf why;
	(void)context;
	snprintf(path, sizeof(path), "%s/access.db", folder);
	snprintf(hash_spec, sizeof(hash_spec), "hash:%s/access", folder);
	snprintf(redis_spec, sizeof(redis_spec), "redis:unix:%s/nobody", folder);
	unlink(path);
	buf_init_fixed(&why, memory, sizeof(memory));
	buf_init(&logged, 65536);
	log_capture(&logged);
	assert_int_equal(worker_init(&worker), 0);
	assert_true(worker_add(&worker, hash_spec, &why));
	assert_true(worker_add(&worker, redis_spec, &why));
	return 0;
}

static int teardown(void **context)
{
	(void)context;
	worker_fini(&worker);
	log_capture(NULL);
	buf_fini(&logged);
	return 0;
}

static struct slice message(uint16_t map, int64_t left)
{
	static char memory[WIRE_QUESTION_MAX];
	struct wire_question q = { .id = 42, .deadline = loop_now(&worker.loop) + left, .front = 1, .map = map, .searches = 2, .counts = { 2, 1 },
		.keys = { { "connect:10.1.2.3", 16 }, { "connect:10.1.2", 14 }, { "x", 1 } } };
	struct buf b;
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(wire_put_question(&b, &q));
	return buf_slice(&b);
}

static bool ask_of(struct worker *w, struct slice question)
{
	struct buf out;
	uint16_t front = 9;
	buf_init_fixed(&out, reply, sizeof(reply));
	if (!worker_answer(w, question, &front, &out))
		return false;
	assert_int_equal(front, 1);
	assert_true(wire_get_answer(buf_slice(&out), &answer));
	assert_true(answer.id == 42 && answer.searches == 2);
	return true;
}

static bool ask(struct slice question)
{
	return ask_of(&worker, question);
}

static unsigned lines(const char *text)
{
	unsigned n = 0;
	for (const char *p = buf_text(&logged); (p = strstr(p, text)); p++)
		n++;
	return n;
}

static void answered(void **context)
{
	(void)context;
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_true(ask(message(0, 5 * LOOP_SECOND)));
	assert_true(answer.found[0].result == WIRE_FOUND && answer.found[0].key == 1 && slice_is(answer.found[0].text, "REJECT"));
	assert_true(answer.found[1].result == WIRE_NONE);
}

static void not_answered(void **context)
{
	(void)context;
	assert_false(ask(message(0, -LOOP_SECOND)));
	assert_false(ask(message(0, WORKER_LEAST - 20 * LOOP_MS)));
	assert_false(ask(slice_of("Q\1 nonsense")));
	assert_int_equal(logged.len, 0);
}

static void no_such_map(void **context)
{
	(void)context;
	assert_true(ask(message(2, 5 * LOOP_SECOND)));
	assert_true(answer.found[0].result == WIRE_FAILED && answer.found[1].result == WIRE_FAILED);
}

/* A file that is missing costs no time, so it is looked for each time; said once, and once when it is there. */
static void a_file_out_and_back(void **context)
{
	(void)context;
	for (unsigned i = 0; i < 5; i++) {
		assert_true(ask(message(0, 5 * LOOP_SECOND)));
		assert_true(answer.found[0].result == WIRE_FAILED && answer.found[1].result == WIRE_FAILED);
		assert_non_null(memmem(answer.found[0].text.at, answer.found[0].text.len, "No such file", 12));
	}
	assert_int_equal(lines("event=map_failed"), 1);
	assert_true(table_write(path, DB_HASH, false, usual));
	map_hash.tend(worker.maps[0].map);
	map_hash.tend(worker.maps[0].map);
	assert_true(ask(message(0, 5 * LOOP_SECOND)));
	assert_true(answer.found[0].result == WIRE_FOUND);
	assert_int_equal(lines("event=map_failed"), 1);
	assert_int_equal(lines("event=map_back"), 1);
	assert_int_equal(lines("questions_failed=5"), 1);
}

/* A server that is not there is not tried again at once; the answer comes all the same, with the reason. */
static void a_server_out(void **context)
{
	(void)context;
	for (unsigned i = 0; i < 5; i++) {
		assert_true(ask(message(1, 5 * LOOP_SECOND)));
		assert_non_null(memmem(answer.found[0].text.at, answer.found[0].text.len, "connect: No such file", 21));
	}
	assert_int_equal(lines("event=map_failed"), 1);
	assert_int_equal(worker.maps[1].outage->failed, 5);
	assert_true(worker.maps[1].outage->delay == OUTAGE_FIRST);
}

/* Two processes that share what they know of their maps: the second one does not try what the first has found to fail, and says nothing. */
static void an_outage_shared(void **context)
{
	static struct worker other;
	char memory[1024];
	struct buf why;
	int fd = memfd_create("lookup", MFD_CLOEXEC), before = descriptors_open();
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	teardown(NULL);
	buf_init(&logged, 65536);
	log_capture(&logged);
	struct worker *both[2] = { &worker, &other };
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(worker_init(both[i]), 0);
		assert_int_equal(worker_share(both[i], fd), 0);
		assert_true(worker_add(both[i], hash_spec, &why) && worker_add(both[i], redis_spec, &why));
	}
	assert_true(ask(message(1, 5 * LOOP_SECOND)));
	assert_true(ask_of(&other, message(1, 5 * LOOP_SECOND)));
	assert_non_null(memmem(answer.found[0].text.at, answer.found[0].text.len, "left alone", 10));
	assert_int_equal(lines("event=map_failed"), 1);
	assert_int_equal(other.maps[1].outage->failed, 2);
	/* What a file holds is each one's own. */
	assert_true(ask_of(&other, message(0, 5 * LOOP_SECOND)));
	assert_false(worker.maps[0].outage->failing);
	worker_fini(&other);
	assert_int_equal(ftruncate(fd, 5), 0);
	assert_int_equal(worker_init(&other), 0);
	assert_int_equal(worker_share(&other, fd), -22);
	worker_fini(&other);
	assert_int_equal(descriptors_open(), before);
	close(fd);
}

static void names_that_are_refused(void **context)
{
	char memory[1024];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_false(worker_add(&worker, "text:/x", &why));
	assert_true(why.len > 0);
	for (unsigned i = 2; i < WORKER_MAPS; i++)
		assert_true(worker_add(&worker, hash_spec, &why));
	buf_clear(&why);
	assert_false(worker_add(&worker, hash_spec, &why));
	assert_non_null(strstr(buf_text(&why), "more than"));
}

/* The whole of it, over sockets: questions wait already when it begins, and so does its end. */
static void over_sockets(void **context)
{
	int q[2], p[2], r[2][2], replies[2];
	char bytes[WIRE_ANSWER_MAX];
	(void)context;
	assert_true(table_write(path, DB_HASH, false, usual));
	assert_true(ask(message(0, 5 * LOOP_SECOND))); /* loaded */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, q), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, r[i]), 0);
		replies[i] = r[i][1];
	}
	struct slice m = message(0, 5 * LOOP_SECOND);
	assert_int_equal(send(q[0], m.at, m.len, 0), m.len);
	close(p[0]);
	assert_int_equal(worker_run(&worker, q[1], p[1], replies, 2), 0);
	ssize_t n = recv(r[1][0], bytes, sizeof(bytes), MSG_DONTWAIT);
	/* The end may be seen before the question: then nothing is answered, and the question is still there for another. */
	if (n > 0)
		assert_true(wire_get_answer((struct slice){ bytes, (size_t)n }, &answer) && answer.found[0].result == WIRE_FOUND);
	else
		assert_int_equal(recv(q[1], bytes, sizeof(bytes), MSG_DONTWAIT), m.len);
	assert_int_equal(recv(r[0][0], bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	for (int i = 0; i < 2; i++) {
		close(q[i]);
		close(r[i][0]);
		close(r[i][1]);
	}
	close(p[1]);
	assert_int_equal(worker_run(&worker, -1, -1, replies, WORKER_FRONTS + 1), -22);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { CASE(answered), CASE(not_answered), CASE(no_such_map), CASE(a_file_out_and_back), CASE(a_server_out), CASE(an_outage_shared),
		CASE(names_that_are_refused), CASE(over_sockets) };
	if (!mkdtemp(folder))
		return 1;
	int status = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(folder);
	return status;
}
