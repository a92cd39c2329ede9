/* A front for tests; see door.h. */
#include "door.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/access.h"
#include "core/log.h"
#include "core/sock.h"
#include "descriptors.h"

#define TEXT_MAX (1024 * 1024)

static void load(struct door *d, const struct door_setup *setup)
{
	struct conf_override overrides[DOOR_OPTIONS + 1] = { { "hostname=mail.example.org" } };
	struct buf errors, warnings;
	size_t n = 1;
	for (size_t i = 0; i < DOOR_OPTIONS && setup->options[i]; i++)
		overrides[n++].text = setup->options[i];
	buf_init(&errors, 4096);
	buf_init(&warnings, 4096);
	if (!(setup->file ? conf_load_text(&d->conf, "test", slice_of(setup->file), overrides, n, &errors, &warnings)
	                  : conf_load(&d->conf, NULL, overrides, n, &errors, &warnings)))
		fail_msg("%s", buf_text(&errors));
	buf_fini(&errors);
	buf_fini(&warnings);
}

int door_table(const char *text)
{
	char spec[64], memory[1000];
	struct buf said;
	size_t entries;
	int file = memfd_create("access", MFD_CLOEXEC);
	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
	buf_init_fixed(&said, memory, sizeof(memory));
	int table = access_build(spec, &said, &said, &entries);
	close(file);
	assert_true(table >= 0);
	return table;
}

/* One of the two ways between a front and the lookup processes; returns the front's end. */
static int lookup_way(int *ours)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	*ours = pair[1];
	return pair[0];
}

void door_open(struct door *d, const struct door_setup *setup)
{
	static unsigned serial;
	int channel[2];
	memset(d, 0, sizeof(*d));
	d->before = descriptors_open() - (int)setup->listeners_len - (setup->queues != NULL) - (setup->known ? 2 + (setup->known->answers > 0) : 0) - (setup->bans ? 3 : 0); /* those are the front's from now on */
	buf_init(&d->log, TEXT_MAX);
	log_capture(&d->log);
	load(d, setup);
	snprintf(d->backend_path, sizeof(d->backend_path), "@tarry-test-door-%d-%u", (int)getpid(), serial++);
	d->backend = sock_listen_unix(d->backend_path, 64);
	assert_true(d->backend >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channel), 0);
	int orders[2] = { -1, -1 };
	if (setup->tls) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, orders), 0);
		*setup->tls = orders[0];
		d->before++;
	}
	d->parent = channel[0];
	d->channel = channel[1];
	d->questions = d->answers = -1;
	int table = setup->elsewhere ? -1 : door_table(""), questions = -1, answers = -1;
	if (setup->elsewhere) {
		questions = lookup_way(&d->questions);
		answers = lookup_way(&d->answers);
	}
	int passing[2] = { -1, -1 };
	if (setup->spawner)
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, passing), 0);
	d->spawner = passing[1];
	struct front_setup front = { .access = &table, .access_len = 1, .conf = &d->conf, .mail_path = d->backend_path, .index = setup->index,
		.fronts = setup->fronts > 0 ? setup->fronts : 1, .queue = setup->queue, .queues = setup->queues, .listeners = setup->listeners,
		.listeners_len = setup->listeners_len, .parent = channel[1], .questions = questions, .answers = answers, .passing = passing[0], .tls = orders[1], .tls_ends_here = !setup->tls_out,
		.known = setup->known ? *setup->known : (struct known_setup){ 0, 0, 0 }, .bans = setup->bans ? *setup->bans : (struct ban_setup){ 0, 0, 0, NULL }, .manual_clock = setup->manual };
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		d->base[m] = metrics_sum((enum metric)m);
	assert_int_equal(front_init(&d->front, &front), 0);
}

void door_close(struct door *d)
{
	front_fini(&d->front);
	conf_fini(&d->conf);
	close(d->channel);
	if (d->parent >= 0)
		close(d->parent);
	if (d->spawner >= 0)
		close(d->spawner);
	if (d->backend >= 0)
		close(d->backend);
	if (d->questions >= 0) {
		close(d->questions);
		close(d->answers);
	}
	log_capture(NULL);
	buf_fini(&d->log);
	assert_int_equal(descriptors_open(), d->before);
	assert_int_equal(door_metric(d, METRIC_open), 0);
	assert_int_equal(door_metric(d, METRIC_held), 0);
}

void door_settle(struct door *d)
{
	for (int i = 0; i < 40; i++)
		assert_int_equal(loop_turn(&d->front.loop, 0), 0);
}

void door_access(struct door *d, const char *text)
{
	assert_true(access_replace(d->front.access, 0, door_table(text)));
}

bool door_logged(struct door *d, const char *text)
{
	bool found = strstr(buf_text(&d->log), text) != NULL;
	buf_clear(&d->log);
	return found;
}

int64_t door_metric(const struct door *d, enum metric m)
{
	return metrics_sum(m) - d->base[m];
}

int door_connect(struct door *d, const char *address)
{
	static uint16_t port = 20000;
	struct addr client;
	int pair[2];
	assert_true(addr_parse(slice_of(address), &client));
	client.port = port++;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	listen_admit(&d->front, pair[1], &client, d->tls);
	door_settle(d);
	return pair[0];
}

int door_backend_accept(struct door *d)
{
	struct addr from;
	int fd = sock_accept(d->backend, &from);
	assert_true(fd >= 0);
	return fd;
}

void door_expect(int fd, const char *text)
{
	struct buf got;
	buf_init(&got, TEXT_MAX);
	while (sock_read(fd, &got, 0) == SOCK_OK)
		;
	assert_string_equal(buf_text(&got), text);
	buf_fini(&got);
}

void door_expect_silence(int fd)
{
	char byte;
	assert_int_equal(sock_peek(fd, &byte, 1), -EAGAIN);
}

void door_expect_end(int fd)
{
	char byte;
	assert_int_equal(sock_peek(fd, &byte, 1), 0);
}

void door_send(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

unsigned door_count(const struct door *d, enum conn_state state)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < d->front.conns_used; i++)
		n += d->front.conns[i].state == state;
	return n;
}
