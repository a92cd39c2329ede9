/* The tour, gate: names. c-ares tells which of its descriptors it waits for, the loop watches them and calls it back; a question is first the address's name, then
 * that name's addresses. c-ares cannot forget a question, so what it holds is a small thing of its own, which outlives a question that was cancelled. */
#include "gate/names.h"

#define CARES_NO_DEPRECATED /* ares_query and its kin: what 1.28 and later have in their place Debian 12 has not got */
#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/reach.h"
#include "core/sock.h"
#include "gate/hosts.h"

#define TRY_MS 1500               /* a name server is asked again after this, or the next one is */
#define TRIES 3
#define DNS_PORT 53
#define SOCKET_BUFFER (256 * 1024) /* the system's default loses answers when hundreds come at once */

struct names_socket {
	struct source source;
	struct names *names;
	bool used;
};

struct names {
	struct loop *loop;
	struct hosts *hosts; /* of /etc/hosts; NULL: none */
	ares_channel channel;
	bool open; /* the channel is */
	bool starting; /* within start_waiting(): what is answered on the spot must not start the next from there, one within the other */
	int64_t timeout;
	struct source timer; /* c-ares's own deadlines */
	struct names_socket sockets[NAMES_SOCKETS];
	unsigned outstanding;
	struct names_question *first, *last; /* in line */
};

struct names_lookup {
	struct names *names;
	struct names_question *question; /* NULL: nobody waits for it any more */
};

static void start_waiting(struct names *names);

/* ---- the loop and c-ares ---- */

static struct names *of_timer(struct source *source)
{
	return (struct names *)(void *)((char *)source - offsetof(struct names, timer));
}

static void set_timer(struct names *names)
{
	struct timeval most = { .tv_sec = 60 }, t;
	const struct timeval *next = ares_timeout(names->channel, &most, &t);
	int64_t ns = (int64_t)next->tv_sec * LOOP_SECOND + (int64_t)next->tv_usec * 1000;
	loop_set_due(names->loop, &names->timer, names->outstanding > 0 ? loop_now(names->loop) + ns : LOOP_NEVER);
}

static void timer_due(struct loop *loop, struct source *source)
{
	struct names *names = of_timer(source);
	(void)loop;
	start_waiting(names);
	ares_process_fd(names->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	set_timer(names);
}

static void socket_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct names_socket *s = (struct names_socket *)source;
	ares_socket_t fd = source->fd;
	(void)loop;
	ares_process_fd(s->names->channel, events & ~(uint32_t)EPOLLOUT ? fd : ARES_SOCKET_BAD, events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
	set_timer(s->names);
}

static void no_due(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static void no_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)loop;
	(void)source;
	(void)events;
}

static const struct source_ops socket_ops = { socket_ready, no_due };
static const struct source_ops timer_ops = { no_ready, timer_due };

/* c-ares waits for these events of its descriptor, or for none before it closes it. */
static void socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
	struct names *names = context;
	struct names_socket *s = NULL, *spare = NULL;
	for (unsigned i = 0; i < NAMES_SOCKETS; i++) {
		if (names->sockets[i].used && names->sockets[i].source.fd == fd)
			s = &names->sockets[i];
		else if (!names->sockets[i].used && !spare)
			spare = &names->sockets[i];
	}
	uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
	if (events == 0) {
		if (s) {
			loop_unwatch(names->loop, &s->source);
			s->used = false;
		}
	} else if (s) {
		loop_rewatch(names->loop, &s->source, events);
	} else if (spare && loop_watch(names->loop, &spare->source, fd, events) == 0) {
		spare->used = true; /* unwatched, it would only run into its time-out */
	}
}

/* ---- its sockets: a front that is shut in may connect them to its name servers, and to nobody else (core/reach.h) ---- */

static ares_socket_t open_socket(int family, int type, int protocol, void *context)
{
	(void)protocol;
	(void)context;
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && type == SOCK_DGRAM)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ SOCKET_BUFFER }, sizeof(int));
	else if (fd >= 0)
		sock_nodelay(fd);
	return fd;
}

static int close_socket(ares_socket_t fd, void *context)
{
	(void)context;
	return close(fd);
}

/* Also for addresses of clients, since c-ares would sort them by what is nearer: that it cannot connect to those does no harm, nobody minds their order. */
static int connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len, void *context)
{
	(void)context;
	int e = reach_connect(fd, to, len);
	if (e < 0)
		errno = -e;
	return e < 0 ? -1 : 0;
}

static ares_ssize_t receive(ares_socket_t fd, void *at, size_t len, int flags, struct sockaddr *from, ares_socklen_t *from_len, void *context)
{
	(void)context;
	return recvfrom(fd, at, len, flags, from, from_len);
}

static ares_ssize_t send_parts(ares_socket_t fd, const struct iovec *parts, int len, void *context)
{
	(void)context;
	return writev(fd, parts, len);
}

static const struct ares_socket_functions socket_functions = { open_socket, close_socket, connect_socket, receive, send_parts };

int names_servers(const struct names *names, struct addr *out, size_t most)
{
	struct ares_addr_port_node *servers = NULL;
	size_t len = 0;
	if (ares_get_servers_ports(names->channel, &servers) != ARES_SUCCESS) /* for nothing else */
		return -ENOMEM;
	for (const struct ares_addr_port_node *s = servers; s && len < most; s = s->next) {
		struct addr *a = &out[len++];
		memset(a, 0, sizeof(*a));
		if (s->family == AF_INET) {
			a->ip[10] = a->ip[11] = 0xff;
			memcpy(a->ip + 12, &s->addr.addr4, 4);
		} else {
			memcpy(a->ip, &s->addr.addr6, 16);
		}
		a->port = s->udp_port > 0 ? (uint16_t)s->udp_port : DNS_PORT;
	}
	ares_free_data(servers);
	return (int)len;
}

/* ---- a question ---- */

bool names_is_valid(struct slice name)
{
	size_t label = 0, digits = 0;
	if (name.len == 0 || name.len > NAMES_TEXT - 1)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.at[i];
		bool digit = c >= '0' && c <= '9';
		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			digits++;
			continue;
		}
		if (!digit && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '-' && c != '_')
			return false;
		digits += digit;
		if (++label > 63)
			return false;
	}
	return label > 0 && digits < name.len; /* digits and dots alone look like an address */
}

static void leave_line(struct names *names, struct names_question *q)
{
	if (!q->prev && names->first != q)
		return;
	*(q->prev ? &q->prev->next : &names->first) = q->next;
	*(q->next ? &q->next->prev : &names->last) = q->prev;
	q->next = q->prev = NULL;
}

static void let_go(struct names_question *q)
{
	if (q->lookup)
		q->lookup->question = NULL;
	q->lookup = NULL;
	leave_line(q->names, q);
	loop_set_due(q->names->loop, &q->due, LOOP_NEVER);
}

static void answer(struct names_question *q, enum names_result result)
{
	let_go(q);
	q->result = result;
	if (result != NAMES_CONFIRMED && result != NAMES_FORGED)
		q->name[0] = '\0';
	q->answered(q);
}

/* c-ares is done with it; the next in line gets its place. */
static void end_lookup(struct names_lookup *l, enum names_result result)
{
	struct names *names = l->names;
	struct names_question *q = l->question;
	names->outstanding--;
	free(l);
	if (q) {
		q->lookup = NULL;
		if (names->open)
			answer(q, result);
		else
			let_go(q);
	}
	start_waiting(names);
}

static bool has_address(const struct hostent *host, const struct addr *a)
{
	bool is4 = addr_is4(a);
	if (host->h_addrtype != (is4 ? AF_INET : AF_INET6))
		return false;
	for (char **at = host->h_addr_list; *at; at++)
		if (memcmp(*at, a->ip + (is4 ? 12 : 0), is4 ? 4 : 16) == 0)
			return true;
	return false;
}

static void got_addresses(void *context, int status, int timeouts, struct hostent *host)
{
	struct names_lookup *l = context;
	(void)timeouts;
	bool same = l->question && status == ARES_SUCCESS && host && has_address(host, &l->question->addr);
	end_lookup(l, same ? NAMES_CONFIRMED : NAMES_FORGED);
}

/* NAMES_CONFIRMED: q->name is set, and is to be confirmed. */
static enum names_result read_ptr(struct names_question *q, const unsigned char *at, int len)
{
	struct hostent *host = NULL;
	bool is4 = addr_is4(&q->addr);
	int status = ares_parse_ptr_reply(at, len, q->addr.ip + (is4 ? 12 : 0), is4 ? 4 : 16, is4 ? AF_INET : AF_INET6, &host);
	if (status != ARES_SUCCESS)
		return status == ARES_ENODATA ? NAMES_NONE : NAMES_FAILED;
	struct slice name = host->h_name ? slice_of(host->h_name) : (struct slice){ "", 0 };
	bool valid = names_is_valid(name);
	if (valid)
		memcpy(q->name, name.at, name.len + 1);
	ares_free_hostent(host);
	return valid ? NAMES_CONFIRMED : NAMES_NONE;
}

/* RFC 6761 6.3: such a name is always the loopback, and no name server is asked about it; nor does c-ares ask one. */
static bool is_localhost(const char *name)
{
	size_t len = strlen(name);
	return strcasecmp(name, "localhost") == 0 || (len > 10 && strcasecmp(name + len - 10, ".localhost") == 0);
}

static void got_name(void *context, int status, int timeouts, unsigned char *at, int len)
{
	struct names_lookup *l = context;
	struct names_question *q = l->question;
	enum names_result result = NAMES_FAILED;
	bool same;
	(void)timeouts;
	if (q && status == ARES_SUCCESS)
		result = read_ptr(q, at, len);
	else if (status == ARES_ENOTFOUND || status == ARES_ENODATA)
		result = NAMES_NONE;
	if (q && result == NAMES_CONFIRMED && is_localhost(q->name))
		end_lookup(l, addr_is_loopback(&q->addr) ? NAMES_CONFIRMED : NAMES_FORGED);
	else if (q && result == NAMES_CONFIRMED && hosts_has(l->names->hosts, q->name, &q->addr, &same))
		end_lookup(l, same ? NAMES_CONFIRMED : NAMES_FORGED);
	else if (q && result == NAMES_CONFIRMED)
		ares_gethostbyname(l->names->channel, q->name, addr_is4(&q->addr) ? AF_INET : AF_INET6, got_addresses, l);
	else
		end_lookup(l, result);
}

/* RFC 1035 3.5, RFC 3596 2.5. */
static void ptr_name(const struct addr *a, char out[80])
{
	if (addr_is4(a)) {
		snprintf(out, 80, "%u.%u.%u.%u.in-addr.arpa", a->ip[15], a->ip[14], a->ip[13], a->ip[12]);
		return;
	}
	for (unsigned i = 0; i < 16; i++)
		snprintf(out + 4 * i, 80 - 4 * i, "%x.%x.", a->ip[15 - i] & 15u, a->ip[15 - i] >> 4);
	strcpy(out + 64, "ip6.arpa");
}

/* What /etc/hosts says of an address needs no confirmation. */
static bool is_known(struct names *names, struct names_question *q)
{
	const char *name = hosts_name(names->hosts, &q->addr);
	if (*name)
		strcpy(q->name, name);
	return *name != '\0';
}

static void begin(struct names *names, struct names_question *q)
{
	char name[80];
	if (is_known(names, q)) {
		answer(q, NAMES_CONFIRMED);
		return;
	}
	struct names_lookup *l = malloc(sizeof(*l));
	if (!l)
		return; /* its deadline ends it */
	*l = (struct names_lookup){ names, q };
	q->lookup = l;
	names->outstanding++;
	ptr_name(&q->addr, name);
	ares_query(names->channel, name, ns_c_in, ns_t_ptr, got_name, l);
}

/* Those in line, while there is room. */
static void start_waiting(struct names *names)
{
	if (names->starting)
		return;
	names->starting = true;
	while (names->open && names->first && names->outstanding < NAMES_OUTSTANDING) {
		struct names_question *q = names->first;
		leave_line(names, q);
		begin(names, q);
	}
	names->starting = false;
}

static void question_due(struct loop *loop, struct source *source)
{
	struct names_question *q = (struct names_question *)source;
	(void)loop;
	answer(q, NAMES_TIMEOUT);
}

static const struct source_ops question_ops = { no_ready, question_due };

void names_ask(struct names *names, struct names_question *q)
{
	source_init(&q->due, &question_ops);
	q->names = names;
	q->lookup = NULL;
	q->next = NULL;
	q->prev = names->last;
	q->name[0] = '\0';
	q->result = NAMES_TIMEOUT;
	*(q->prev ? &q->prev->next : &names->first) = q;
	names->last = q;
	loop_set_due(names->loop, &q->due, loop_now(names->loop) + names->timeout);
	/* What /etc/hosts knows c-ares answers on the spot: not before the next turn. */
	if (names->outstanding < NAMES_OUTSTANDING)
		loop_set_due(names->loop, &names->timer, loop_now(names->loop));
}

void names_cancel(struct names_question *q)
{
	if (q->names)
		let_go(q);
}

const char *names_result_name(enum names_result result)
{
	static const char *const names[NAMES_RESULTS] = { "none", "confirmed", "forged", "failed", "timeout" };
	return names[result];
}

/* ---- birth and death ---- */

struct names *names_new(struct loop *loop, const struct names_setup *setup, struct buf *why)
{
	static char dns_only[] = "b";
	struct names *names = calloc(1, sizeof(*names));
	if (!names || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		buf_put_text(why, "out of memory");
		free(names);
		errno = ENOMEM;
		return NULL;
	}
	names->loop = loop;
	names->timeout = setup->timeout;
	source_init(&names->timer, &timer_ops);
	for (unsigned i = 0; i < NAMES_SOCKETS; i++) {
		source_init(&names->sockets[i].source, &socket_ops);
		names->sockets[i].names = names;
	}
	struct ares_options options = { .flags = ARES_FLAG_NOSEARCH, .timeout = TRY_MS, .tries = TRIES, .sock_state_cb = socket_state, .sock_state_cb_data = names,
		.lookups = dns_only };
	/* Files are read here, once: c-ares would open /etc/hosts for each name. Who names a resolver wants to hear what that one says. */
	int e = ares_init_options(&names->channel, &options, ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS);
	names->open = e == ARES_SUCCESS;
	if (names->open)
		ares_set_socket_functions(names->channel, &socket_functions, NULL);
	if (names->open && setup->resolver[0])
		e = ares_set_servers_ports_csv(names->channel, setup->resolver);
	bool scarce = e == ARES_ENOMEM || (e == ARES_EFILE && (errno == ENOMEM || errno == EMFILE || errno == ENFILE));
	if (e == ARES_SUCCESS && !setup->resolver[0] && hosts_come_first("/etc/nsswitch.conf")) {
		names->hosts = hosts_read(setup->hosts ? setup->hosts : "/etc/hosts");
		scarce = !names->hosts && errno == ENOMEM;
	}
	if (e == ARES_SUCCESS && !scarce)
		return names;
	if (scarce)
		buf_put_text(why, "out of memory or descriptors");
	else
		buf_putf(why, "resolver \"%s\": %s; expected ADDRESS or ADDRESS:PORT, several with commas", setup->resolver, ares_strerror(e));
	names_free(names);
	errno = scarce ? ENOMEM : EINVAL;
	return NULL;
}

void names_free(struct names *names)
{
	if (!names)
		return;
	while (names->first) {
		struct names_question *q = names->first;
		let_go(q);
	}
	if (names->open) {
		names->open = false;
		ares_destroy(names->channel); /* and so every lookup ends */
	}
	loop_set_due(names->loop, &names->timer, LOOP_NEVER);
	ares_library_cleanup();
	hosts_free(names->hosts);
	free(names);
}
