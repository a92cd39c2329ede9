/* The tour, spawn: what the parent makes for the spawner and keeps, so that one that dies leaves nothing behind but what the next one needs. */
#include "spawn/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "spawn/slot.h"

#define NS INT64_C(1000000000)

int64_t slot_clock(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * NS + now.tv_nsec;
}

bool slot_runs(const struct spawn_slot *slot)
{
	char path[32], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)slot->pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	/* The name may have anything in it; behind it come the state and 18 numbers, then the start, in ticks. */
	const char *at = strrchr(text, ')');
	unsigned long long ticks;
	if (!at || at[1] != ' ' || at[2] == 'Z' || sscanf(at + 3, "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &ticks) != 1)
		return false;
	int64_t off = (int64_t)ticks * (NS / sysconf(_SC_CLK_TCK)) - slot->forked;
	return off > -NS && off < NS;
}

/* Its standard error: the programs get an end that can be read and written, so that they meet neither SIGPIPE nor a full pipe when nobody reads any more: what does not
 * fit is lost. */
static int make_pipe(int said[2])
{
	char path[32];
	if (pipe2(said, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", said[0]);
	int both = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (both < 0)
		return 0; /* without /proc: as a pipe is */
	close(said[1]);
	said[1] = both;
	return 0;
}

/* Whom it runs as. The door's own account needs nothing done, unless the spawner stays root for another program's sake (spawn_prepare). */
static bool find_account(struct program *p, const struct conf *conf, bool drop, struct buf *why)
{
	const struct conf_backend *b = p->backend;
	const bool named = (b->user && *b->user) || (b->group && *b->group);
	const char *user = b->user && *b->user ? b->user : conf->user;
	struct account own;
	if (!drop && !named)
		return true;
	size_t before = why->len;
	buf_putf(why, "%s: ", b->where);
	if (!account_find(user, b->group, &p->account, why))
		return false;
	if (!drop) {
		if (p->account.uid == geteuid() && p->account.gid == getegid()) {
			why->len = before;
			return true;
		}
		buf_putf(why, "user = \"%s\": only root can start a program as another account", user);
		return false;
	}
	why->len = before;
	p->becomes = named && (!account_find(conf->user, NULL, &own, why) || own.uid != p->account.uid || own.gid != p->account.gid);
	return why->len == before;
}

static int make_program(struct spawn_setup *setup, size_t i, bool drop, struct buf *why)
{
	struct program *p = &setup->programs[i];
	const struct conf_backend *b = &setup->conf->backends[i];
	p->backend = b;
	p->said[0] = p->said[1] = -1;
	if (b->kind != CONF_BACKEND_EXEC)
		return 0;
	setup->slots_len += (size_t)b->max;
	p->arguments = calloc(b->exec.len + 1, sizeof(*p->arguments));
	if (!p->arguments)
		return -ENOMEM;
	for (size_t a = 0; a < b->exec.len; a++)
		p->arguments[a] = b->exec.at[a];
	if (!find_account(p, setup->conf, drop, why))
		return -EINVAL;
	setup->needs_root = setup->needs_root || p->becomes;
	return make_pipe(p->said);
}

static size_t shared_size(const struct spawn_setup *setup)
{
	return setup->slots_len * sizeof(*setup->slots) + SPAWN_FRONTS * sizeof(*setup->serials);
}

int spawn_prepare(struct spawn_setup *setup, const struct conf *conf, unsigned fronts, bool drop, const struct rlimit *descriptors, struct buf *why)
{
	*setup = (struct spawn_setup){ .conf = conf, .fronts = fronts, .descriptors = *descriptors };
	if (!conf_hands_over(conf))
		return 0;
	int e = 0;
	for (unsigned f = 0; f < SPAWN_FRONTS; f++)
		setup->channels[f][0] = setup->channels[f][1] = -1;
	setup->programs = calloc(conf->backends_len, sizeof(*setup->programs));
	setup->programs_len = setup->programs ? conf->backends_len : 0;
	for (size_t i = 0; i < setup->programs_len; i++)
		setup->programs[i].said[0] = setup->programs[i].said[1] = -1;
	for (size_t i = 0; i < setup->programs_len && e == 0; i++)
		e = make_program(setup, i, drop, why);
	for (size_t i = 0; i < setup->programs_len; i++) /* where the spawner stays root, nobody runs as root by default */
		setup->programs[i].becomes = setup->programs[i].becomes || (setup->needs_root && setup->programs[i].arguments);
	for (unsigned f = 0; f < fronts && e == 0; f++)
		e = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, setup->channels[f]) < 0 ? -errno : 0;
	if (e == 0 && setup->programs) {
		void *at = mmap(NULL, shared_size(setup), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		setup->slots = at == MAP_FAILED ? NULL : at;
		setup->serials = setup->slots ? (uint64_t *)(setup->slots + setup->slots_len) : NULL;
	}
	return e < 0 ? e : setup->slots ? 0 : -ENOMEM;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void spawn_close(struct spawn_setup *setup, unsigned front)
{
	if (!setup->programs)
		return;
	for (unsigned f = 0; f < setup->fronts; f++) {
		if (f != front)
			close_one(&setup->channels[f][0]);
		close_one(&setup->channels[f][1]);
	}
	for (size_t i = 0; i < setup->programs_len; i++) {
		close_one(&setup->programs[i].said[0]);
		close_one(&setup->programs[i].said[1]);
	}
	if (setup->slots)
		munmap(setup->slots, shared_size(setup));
	setup->slots = NULL;
}

void spawn_fini(struct spawn_setup *setup)
{
	spawn_close(setup, UINT32_MAX);
	for (size_t i = 0; i < setup->programs_len; i++)
		free(setup->programs[i].arguments);
	free(setup->programs);
	setup->programs = NULL;
	setup->programs_len = 0;
}
