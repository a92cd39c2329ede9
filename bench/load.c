/* The tour, bench: the load. Opens visits by rate or by how many may be open, each from another address of 127.0.0.0/8, so that neither the
 * client's ports nor the server's limits for one client bite; hands what comes in to the visit's script; counts.
 *
 *     load refuse|hold|park|tarpit|mail --to ADDR:PORT [option value]…      load start --to ADDR:PORT [option value]… -- COMMAND…
 *
 * Ends by itself: when all visits are over, or at --seconds. Writes key=value lines; 0: all was as it should be, 1: it was not. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "address.h"

#define OPEN_BATCH 32               /* visits opened before the open ones are listened to again */
#define FIRST_ADDRESS 0x7f100000u   /* 127.16.0.0 */
#define LAST_ADDRESS  0x7ffeffffu   /* 127.254.255.255 */

struct load_options options = {
	.host = "mail.example.org", .count = 1000, .parallel = 64, .addresses = 1 << 20, .per = 1, .users = 100, .size = 2048,
	.pause = LOAD_SECOND, .limit = 60 * LOAD_SECOND, .recipient = "user%u@example.org",
};
struct tally tally;
static struct visit *visits;
static uint32_t *free_slots, free_len, open_now;
static int ep;
static struct sockaddr_in server;

int64_t load_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * LOAD_SECOND + t.tv_nsec;
}

void load_sample(struct samples *samples, int64_t ns)
{
	if (samples->len == samples->cap) {
		size_t cap = samples->cap ? 2 * samples->cap : 4096;
		int64_t *more = realloc(samples->at, cap * sizeof(*more));
		if (!more)
			return;
		samples->at = more;
		samples->cap = cap;
	}
	samples->at[samples->len++] = ns;
}

static int order(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

void load_report(const char *name, struct samples *samples)
{
	size_t n = samples->len;
	if (n == 0)
		return;
	qsort(samples->at, n, sizeof(*samples->at), order);
	printf("%s_ms_min=%.3f\n", name, (double)samples->at[0] / 1e6);
	printf("%s_ms_p50=%.3f\n", name, (double)samples->at[(n - 1) / 2] / 1e6);
	printf("%s_ms_p99=%.3f\n", name, (double)samples->at[(n - 1) * 99 / 100] / 1e6);
	printf("%s_ms_max=%.3f\n", name, (double)samples->at[n - 1] / 1e6);
}

bool load_say(struct visit *visit, const char *bytes, size_t len)
{
	ssize_t n = send(visit->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n == (ssize_t)len)
		return true;
	load_bad(visit, "send: %s", n < 0 ? strerror(errno) : "short");
	return false;
}

bool load_say_long(struct visit *visit, const char *bytes, size_t len)
{
	ssize_t n = send(visit->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN) {
		load_bad(visit, "send: %s", strerror(errno));
		return false;
	}
	n = n < 0 ? 0 : n;
	bool before = visit->rest_len > 0;
	visit->rest = bytes + n;
	visit->rest_len = len - (size_t)n;
	struct epoll_event ev = { .events = visit->rest_len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = visit };
	if (before || visit->rest_len > 0)
		epoll_ctl(ep, EPOLL_CTL_MOD, visit->fd, &ev);
	return true;
}

void load_forget(struct visit *visit, size_t len)
{
	visit->len -= (uint32_t)len;
	memmove(visit->in, visit->in + len, visit->len);
}

/* The last look at the socket: a reset that came after the server's end of file shows only here. */
static void end(struct visit *visit)
{
	int error = 0;
	socklen_t len = sizeof(error);
	if (getsockopt(visit->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error != 0)
		tally.resets++;
	close(visit->fd);
	visit->fd = -1;
	free_slots[free_len++] = visit->slot;
	open_now--;
}

void load_good(struct visit *visit)
{
	tally.good++;
	tally.last_good = load_clock();
	end(visit);
}

void load_bad(struct visit *visit, const char *format, ...)
{
	if (tally.bad++ == 0) {
		va_list args;
		va_start(args, format);
		vsnprintf(tally.first_bad, sizeof(tally.first_bad), format, args);
		va_end(args);
	}
	end(visit);
}

static const struct script *script_for(uint32_t number, const struct script *mode)
{
	return number % 100 < options.slam ? &script_refuse : mode;
}

/* False: nothing more can be opened now. */
static bool open_visit(const struct script *mode)
{
	struct visit *visit = &visits[free_slots[free_len - 1]];
	struct sockaddr_in from = { .sin_family = AF_INET };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	visit->number = (uint32_t)tally.opened++;
	visit->script = script_for(visit->number, mode);
	visit->ip = FIRST_ADDRESS + (options.from + visit->number % options.addresses) % (LAST_ADDRESS - FIRST_ADDRESS + 1);
	visit->fd = fd;
	visit->step = visit->left = 0;
	visit->len = 0;
	free_len--;
	open_now++;
	from.sin_addr.s_addr = htonl(visit->ip);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (visit->script->stamped)
		setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0) {
		load_bad(visit, "bind: %s", strerror(errno));
		return true;
	}
	visit->asked = load_clock();
	if (tally.first_open == 0)
		tally.first_open = visit->asked;
	/* Over loopback the connection stands when connect() returns, unless the server's queue was full. */
	visit->connecting = connect(fd, (struct sockaddr *)&server, sizeof(server)) < 0;
	if (visit->connecting && errno != EINPROGRESS) {
		load_bad(visit, "connect: %s", strerror(errno));
		return true;
	}
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT, .data.ptr = visit };
	struct tcp_info info;
	socklen_t len = sizeof(info);
	if (visit->connecting && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state == TCP_ESTABLISHED)
		visit->connecting = false;
	visit->stood = load_clock();
	if (!visit->connecting)
		ev.events = EPOLLIN;
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	if (!visit->connecting)
		visit->script->opened(visit);
	return true;
}

static ssize_t hear(struct visit *visit)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(struct timespec)) + 64];
	} control;
	struct iovec part = { visit->in + visit->len, LOAD_IN - visit->len };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room) };
	if (!visit->script->stamped)
		return recv(visit->fd, part.iov_base, part.iov_len, MSG_DONTWAIT);
	ssize_t n = recvmsg(visit->fd, &message, MSG_DONTWAIT);
	visit->stamp = 0;
	for (struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL; c; c = CMSG_NXTHDR(&message, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			struct timespec t;
			memcpy(&t, CMSG_DATA(c), sizeof(t));
			visit->stamp = (int64_t)t.tv_sec * LOAD_SECOND + t.tv_nsec;
		}
	return n;
}

static void ready(struct visit *visit, uint32_t events)
{
	if (visit->fd < 0)
		return;
	if (visit->connecting && (events & EPOLLOUT) && !(events & (EPOLLERR | EPOLLHUP))) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = visit };
		epoll_ctl(ep, EPOLL_CTL_MOD, visit->fd, &ev);
		visit->connecting = false;
		visit->stood = load_clock();
		visit->script->opened(visit);
		return;
	}
	if (visit->rest_len > 0 && (events & EPOLLOUT) && !load_say_long(visit, visit->rest, visit->rest_len))
		return;
	if (!(events & ~(uint32_t)EPOLLOUT))
		return;
	if (visit->len == LOAD_IN) {
		load_bad(visit, "more than %d bytes of replies", LOAD_IN);
		return;
	}
	ssize_t n = hear(visit);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		tally.resets += errno == ECONNRESET || errno == EPIPE;
		if (options.lenient && visit->script == &script_refuse && visit->len > 0) {
			visit->script->ended(visit); /* what a peer's reset did not destroy of its reply counts */
			return;
		}
		load_bad(visit, "%s after %u bytes: %s", visit->script->name, visit->len, strerror(errno));
	} else if (n == 0) {
		visit->script->ended(visit);
	} else {
		visit->len += (uint32_t)n;
		tally.bytes_in += (uint64_t)n;
		visit->script->heard(visit);
	}
}

/* Opens what is due and returns how long to wait for the next, ns. */
static int64_t open_due(const struct script *mode)
{
	for (int i = 0; i < OPEN_BATCH; i++) {
		if (tally.opened == options.count || open_now == options.parallel)
			return LOAD_SECOND / 10;
		if (options.rate > 0 && tally.opened > 0) {
			int64_t due = tally.first_open + (int64_t)((double)tally.opened / options.rate * 1e9), left = due - load_clock();
			if (left > 0)
				return left < LOAD_SECOND / 10 ? left : LOAD_SECOND / 10;
		}
		if (!open_visit(mode))
			return LOAD_SECOND / 100;
	}
	return 0;
}

/* Parked visits are over when whoever started us closes our input. */
static bool input_closed(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char byte;
	return poll(&p, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static void run(const struct script *mode)
{
	int64_t begin = load_clock();
	bool parked = false;
	while (load_clock() - begin < options.limit && (tally.opened < options.count || open_now > 0)) {
		int64_t wait = open_due(mode);
		struct timespec t = { wait / LOAD_SECOND, wait % LOAD_SECOND };
		struct epoll_event events[256];
		int n = epoll_pwait2(ep, events, 256, &t, NULL);
		for (int i = 0; i < n; i++)
			ready(events[i].data.ptr, events[i].events);
		if (!mode->parks || tally.opened < options.count)
			continue;
		if (!parked) {
			printf("parked=%u\n", open_now);
			fflush(stdout);
			parked = true;
		}
		if (input_closed())
			break;
	}
	tally.left = open_now;
}

static int report(const struct script *mode)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	double seconds = (double)(tally.last_good - tally.first_open) / 1e9;
	printf("opened=%lu\ngood=%lu\nbad=%lu\nleft=%lu\nresets=%lu\n", tally.opened, tally.good, tally.bad, tally.left, tally.resets);
	printf("greeted=%lu\nearly=%lu\nrefused=%lu\nacked=%lu\nunasked=%lu\nreplies=%lu\n", tally.greeted, tally.early, tally.refused, tally.acked, tally.unasked, tally.replies);
	printf("bytes_in=%lu\n", tally.bytes_in);
	if (tally.good > 0 && seconds > 0) /* parking ends no visit well, so it has no rate */
		printf("seconds=%.3f\nrate=%.1f\nack_rate=%.1f\n", seconds, (double)tally.good / seconds, (double)tally.acked / seconds);
	printf("own_cpu_us=%ld\n", (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	load_report("wait", &tally.wait);
	load_report("extra", &tally.extra);
	if (tally.bad > 0)
		printf("first_bad=%s\n", tally.first_bad);
	return tally.bad == 0 && tally.early == 0 && tally.resets == 0 && (mode->parks ? tally.unasked : tally.left) == 0 ? 0 : 1;
}

static int usage(void)
{
	fprintf(stderr, "usage: load refuse|hold|park|tarpit|mail --to ADDR:PORT [option value]…\n"
		"       load start --to ADDR:PORT [option value]… -- COMMAND…\n"
		"  --count N      visits in all (start: starts)      --parallel N  open at the same time at most\n"
		"  --rate N       opened in a second                 --seconds N   stop after this time\n"
		"  --addresses N  clients' addresses in turn         --pause MS    what the server says it waits\n"
		"  --host NAME    the server's name in its replies   --slam N      so many visits of 100 talk at once\n"
		"  --lenient 1    any way to refuse will do          --per N       mail: messages in one visit\n"
		"  --size BYTES   of a message                       --users N     recipients in turn\n"
		"  --recipient A  their address, %%u the number      --from N      the first address, counted from 127.16.0.0\n");
	return 64;
}

static bool option(const char *name, const char *value)
{
	const struct { const char *name; uint32_t *to; } numbers[] = {
		{ "--count", &options.count }, { "--parallel", &options.parallel }, { "--addresses", &options.addresses }, { "--slam", &options.slam },
		{ "--per", &options.per }, { "--users", &options.users }, { "--from", &options.from },
		{ "--size", &options.size },
	};
	char *end;
	double number = strtod(value, &end);
	bool good = *value && !*end && number >= 0 && number <= 4e9;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(name, numbers[i].name) == 0)
			return good && (*numbers[i].to = (uint32_t)number, true);
	if (strcmp(name, "--rate") == 0)
		options.rate = number;
	else if (strcmp(name, "--pause") == 0)
		options.pause = (int64_t)(number * 1e6);
	else if (strcmp(name, "--seconds") == 0)
		options.limit = (int64_t)(number * 1e9);
	else if (strcmp(name, "--lenient") == 0)
		options.lenient = number != 0;
	else if (strcmp(name, "--to") == 0 || strcmp(name, "--host") == 0 || strcmp(name, "--recipient") == 0)
		return *(name[2] == 't' ? &options.to : name[2] == 'h' ? &options.host : &options.recipient) = value, true;
	else
		return false;
	return good;
}

static bool parse(int argc, char **argv)
{
	union address address;
	for (int i = 2; i < argc; i += 2) {
		if (strcmp(argv[i], "--") == 0) {
			options.command = argv + i + 1;
			break;
		}
		if (i + 1 == argc || !option(argv[i], argv[i + 1]))
			return false;
	}
	if (!options.to || options.addresses == 0 || options.parallel == 0 || options.per == 0 || options.users == 0 ||
	    address_parse(&address, options.to) != sizeof(address.in))
		return false;
	server = address.in;
	if (options.parallel > LOAD_FDS)
		options.parallel = LOAD_FDS;
	return true;
}

int main(int argc, char **argv)
{
	static const struct script *const modes[] = { &script_refuse, &script_hold, &script_park, &script_tarpit, &script_mail };
	const struct script *mode = NULL;
	if (argc < 2 || !parse(argc, argv))
		return usage();
	if (strcmp(argv[1], "start") == 0)
		return options.command && options.command[0] ? load_start() : usage();
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i]->name) == 0)
			mode = modes[i];
	if (!mode || options.command)
		return usage();
	if (mode->parks || options.rate > 0)
		options.parallel = LOAD_FDS;
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	visits = calloc(options.parallel, sizeof(*visits));
	free_slots = calloc(options.parallel, sizeof(*free_slots));
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!visits || !free_slots || ep < 0) {
		fprintf(stderr, "load: %s\n", strerror(errno));
		return 71;
	}
	for (uint32_t i = options.parallel; i-- > 0;) {
		visits[i].slot = i;
		visits[i].fd = -1;
		free_slots[free_len++] = i;
	}
	run(mode);
	return report(mode);
}
