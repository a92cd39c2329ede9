/* The tour, ban: nftables. First messages to the kernel and its answers; then what is asked; then elements as they are written; then as they are read. An interval of a set is two elements: where it begins, and,
 * with a flag, the first address behind it. */
#include "ban/nft.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define ANSWER (64 * 1024)      /* bytes read in one go: a message of a dump is at most so large */
#define MESSAGE 1024            /* bytes of one change at most */
#define PATIENCE_S 5
#define COMMENT_TYPE 0          /* of the user's data of an element, as nft(8) has it: a comment */
#define TRIES 8                 /* of a dump that changes while it is being read */

/* ---- messages ---- */

bool nft_open(struct nft *n, struct buf *why)
{
	n->seq = 1;
	n->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (n->socket && mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) == 0) {
		const struct timeval patience = { .tv_sec = PATIENCE_S };
		setsockopt(mnl_socket_get_fd(n->socket), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		return true;
	}
	buf_putf(why, "no netlink socket: %s", strerror(errno));
	nft_close(n);
	return false;
}

void nft_close(struct nft *n)
{
	if (n->socket)
		mnl_socket_close(n->socket);
	n->socket = NULL;
}

static struct nlmsghdr *put_head(void *at, uint16_t type, uint16_t flags, uint32_t seq, uint8_t family, uint16_t resource)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(at);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = seq;
	g->nfgen_family = family;
	g->version = NFNETLINK_V0;
	g->res_id = htons(resource);
	return h;
}

static uint16_t type_of(unsigned message)
{
	return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message);
}

/* Without an address, as the filter of the sandbox wants it: that is the kernel. */
static ssize_t tell(struct nft *n, const void *at, size_t len)
{
	return send(mnl_socket_get_fd(n->socket), at, len, 0);
}

/* The answer to one question, each of its messages told to data. 0 or -errno; -EINTR: it has changed meanwhile. */
static int ask(struct nft *n, struct nlmsghdr *h, mnl_cb_t data, void *context)
{
	static char answer[ANSWER];
	uint32_t seq = h->nlmsg_seq;
	int more = 1;
	if (tell(n, h, h->nlmsg_len) < 0)
		return -errno;
	while (more > 0) {
		ssize_t got = mnl_socket_recvfrom(n->socket, answer, sizeof(answer));
		if (got < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		more = mnl_cb_run(answer, (size_t)got, seq, mnl_socket_get_portid(n->socket), data, context);
		if (more < 0 && (errno == ESRCH || errno == EPROTO))
			more = 1; /* an answer to something before */
		else if (more < 0)
			return -errno;
	}
	return 0;
}

/* ---- what is asked ---- */

static int take_generation(const struct nlmsghdr *h, void *context)
{
	const struct nlattr *a;
	mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(a) == NFTA_GEN_ID && mnl_attr_validate(a, MNL_TYPE_U32) >= 0)
			*(uint32_t *)context = ntohl(mnl_attr_get_u32(a));
	return MNL_CB_OK;
}

int nft_generation(struct nft *n, uint32_t *out)
{
	char memory[MESSAGE];
	uint32_t generation = 0;
	int e = ask(n, put_head(memory, type_of(NFT_MSG_GETGEN), NLM_F_ACK, n->seq++, AF_UNSPEC, 0), take_generation, &generation);
	if (e == 0)
		*out = generation;
	return e;
}

struct facts {
	bool found;
	uint32_t flags, key_len;
};

static int take_set(const struct nlmsghdr *h, void *context)
{
	struct facts *f = context;
	const struct nlattr *a;
	f->found = true;
	mnl_attr_for_each(a, h, sizeof(struct nfgenmsg)) {
		if (mnl_attr_validate(a, MNL_TYPE_U32) < 0)
			continue;
		if (mnl_attr_get_type(a) == NFTA_SET_FLAGS)
			f->flags = ntohl(mnl_attr_get_u32(a));
		if (mnl_attr_get_type(a) == NFTA_SET_KEY_LEN)
			f->key_len = ntohl(mnl_attr_get_u32(a));
	}
	return MNL_CB_OK;
}

static const char *family_name(const struct nft_set *set)
{
	return set->family == NFPROTO_INET ? "inet" : set->family == NFPROTO_IPV4 ? "ip" : "ip6";
}

bool nft_check(struct nft *n, const struct nft_set *set, struct buf *why)
{
	char memory[MESSAGE];
	struct facts f = { .found = false };
	struct nlmsghdr *h = put_head(memory, type_of(NFT_MSG_GETSET), NLM_F_ACK, n->seq++, set->family, 0);
	mnl_attr_put_strz(h, NFTA_SET_TABLE, set->table);
	mnl_attr_put_strz(h, NFTA_SET_NAME, set->name);
	int e = ask(n, h, take_set, &f);
	const char *type = set->six ? "ipv6_addr" : "ipv4_addr", *family = family_name(set);
	if (e == -ENOENT || (e == 0 && !f.found))
		buf_putf(why, "there is no such set: nft add table %s %s; nft add set %s %s %s '{ type %s; flags timeout, interval; }'", family, set->table, family, set->table, set->name, type);
	else if (e == -EPERM)
		buf_put_text(why, "not allowed: the door has no CAP_NET_ADMIN; as a service it has to be let have it (systemctl edit tarry: [Service], CapabilityBoundingSet=CAP_NET_ADMIN; then systemctl restart tarry), else be started as root");
	else if (e < 0)
		buf_putf(why, "%s", strerror(-e));
	else if (f.key_len != (set->six ? 16 : 4) || (f.flags & (NFT_SET_MAP | NFT_SET_CONCAT)) || (f.flags & (NFT_SET_TIMEOUT | NFT_SET_INTERVAL)) != (NFT_SET_TIMEOUT | NFT_SET_INTERVAL))
		buf_putf(why, "the set is another kind of set; expected type %s; flags timeout, interval", type);
	else
		return true;
	return false;
}

/* ---- elements, written ---- */

/* Where the net begins, and the first address behind it. False: there is none. */
static bool bounds(const struct prefix *net, bool six, uint8_t begin[16], uint8_t end[16])
{
	size_t len = six ? 16 : 4;
	unsigned bits = net->bits;
	memcpy(begin, net->base.ip + 16 - len, len);
	memcpy(end, begin, len);
	if (bits == 0)
		return false;
	unsigned carry = 1u << (7 - (bits - 1) % 8);
	for (size_t i = (bits - 1) / 8 + 1; i-- > 0 && carry; carry >>= 8) {
		carry += end[i];
		end[i] = (uint8_t)carry;
	}
	return carry == 0;
}

static void put_key(struct nlmsghdr *h, const uint8_t *at, size_t len)
{
	struct nlattr *key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
	mnl_attr_put(h, NFTA_DATA_VALUE, len, at);
	mnl_attr_nest_end(h, key);
}

static void put_elements(struct nlmsghdr *h, const struct nft_change *c)
{
	static const uint8_t comment[] = { COMMENT_TYPE, sizeof(NFT_COMMENT), 't', 'a', 'r', 'r', 'y', '\0' };
	uint8_t begin[16], end[16];
	size_t len = c->set->six ? 16 : 4;
	bool ends = bounds(&c->element.net, c->set->six, begin, end);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, c->set->table);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, c->set->name);
	struct nlattr *all = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	struct nlattr *one = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
	put_key(h, begin, len);
	if (!c->drop) {
		mnl_attr_put_u64(h, NFTA_SET_ELEM_TIMEOUT, htobe64((uint64_t)c->element.left_ms));
		mnl_attr_put(h, NFTA_SET_ELEM_USERDATA, sizeof(comment), comment);
	}
	mnl_attr_nest_end(h, one);
	if (ends) {
		one = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
		put_key(h, end, len);
		mnl_attr_put_u32(h, NFTA_SET_ELEM_FLAGS, htonl(NFT_SET_ELEM_INTERVAL_END));
		mnl_attr_nest_end(h, one);
	}
	mnl_attr_nest_end(h, all);
}

/* What is there already is somebody else's (EEXIST): only then is what we put in ours to take out. */
static size_t put_change(char *at, const struct nft_change *c, uint32_t seq, bool last)
{
	uint16_t flags = last ? NLM_F_ACK : 0;
	struct nlmsghdr *h = c->drop ? put_head(at, type_of(NFT_MSG_DELSETELEM), flags, seq, c->set->family, 0)
		: put_head(at, type_of(NFT_MSG_NEWSETELEM), (uint16_t)(flags | NLM_F_CREATE | NLM_F_EXCL), seq, c->set->family, 0);
	put_elements(h, c);
	return NLMSG_ALIGN(h->nlmsg_len);
}

struct verdicts {
	struct nft_change *changes;
	size_t len;
	uint32_t first; /* the sequence number of the batch's beginning; the first change has the next one */
	int error;
	bool last;      /* that of the last change is known */
};

/* An error, or the acknowledgement of the last change. */
static void take_verdict(struct verdicts *v, const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
	uint32_t place = h->nlmsg_seq - v->first;
	if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < mnl_nlmsg_size(sizeof(*e)) || place > v->len + 1)
		return; /* of something before */
	if (e->error != 0)
		v->error = e->error;
	if (e->error != 0 && place >= 1 && place <= v->len)
		v->changes[place - 1].error = -e->error;
	v->last = v->last || place == v->len || (place == 0 && e->error != 0);
}

static int hear_verdicts(struct nft *n, struct verdicts *v)
{
	static char answer[ANSWER];
	while (!v->last) {
		ssize_t got = mnl_socket_recvfrom(n->socket, answer, sizeof(answer));
		if (got < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		int left = (int)got;
		for (const struct nlmsghdr *h = (void *)answer; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
			take_verdict(v, h);
	}
	return v->error;
}

int nft_commit(struct nft *n, struct nft_change changes[], size_t len)
{
	static char batch[(NFT_BATCH + 2) * MESSAGE];
	struct verdicts v = { changes, len, n->seq, 0, false };
	size_t at = NLMSG_ALIGN(put_head(batch, NFNL_MSG_BATCH_BEGIN, 0, n->seq++, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len);
	for (size_t i = 0; i < len; i++) {
		changes[i].error = 0;
		at += put_change(batch + at, &changes[i], n->seq++, i + 1 == len);
	}
	at += NLMSG_ALIGN(put_head(batch + at, NFNL_MSG_BATCH_END, 0, n->seq++, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len);
	if (len == 0)
		return 0;
	return tell(n, batch, at) < 0 ? -errno : hear_verdicts(n, &v);
}

/* ---- elements, read ---- */

struct bound {
	uint8_t at[16]; /* of an IPv4 address the last four are used */
	bool end, ours;
	int64_t left_ms;
};

struct dump {
	bool six, no_memory;
	struct bound *all;
	size_t len, room;
};

static bool is_our_comment(const struct nlattr *a)
{
	const uint8_t *at = mnl_attr_get_payload(a);
	size_t len = mnl_attr_get_payload_len(a);
	return len == 2 + sizeof(NFT_COMMENT) && at[0] == COMMENT_TYPE && at[1] == sizeof(NFT_COMMENT) && memcmp(at + 2, NFT_COMMENT, sizeof(NFT_COMMENT)) == 0;
}

/* False: an element that no address is the key of. */
static bool read_key(const struct nlattr *nest, bool six, uint8_t out[16])
{
	size_t len = six ? 16 : 4;
	const struct nlattr *a;
	mnl_attr_for_each_nested(a, nest)
		if (mnl_attr_get_type(a) == NFTA_DATA_VALUE && mnl_attr_get_payload_len(a) == len) {
			memset(out, 0, 16);
			memcpy(out + 16 - len, mnl_attr_get_payload(a), len);
			return true;
		}
	return false;
}

static void take_element(struct dump *d, const struct nlattr *nest)
{
	struct bound b = { .left_ms = -1 };
	const struct nlattr *a;
	bool key = false;
	mnl_attr_for_each_nested(a, nest) {
		uint16_t type = mnl_attr_get_type(a);
		if (type == NFTA_SET_ELEM_KEY && mnl_attr_validate(a, MNL_TYPE_NESTED) >= 0)
			key = read_key(a, d->six, b.at);
		else if (type == NFTA_SET_ELEM_FLAGS && mnl_attr_validate(a, MNL_TYPE_U32) >= 0)
			b.end = ntohl(mnl_attr_get_u32(a)) & NFT_SET_ELEM_INTERVAL_END;
		else if (type == NFTA_SET_ELEM_EXPIRATION && mnl_attr_validate(a, MNL_TYPE_U64) >= 0)
			b.left_ms = (int64_t)be64toh(mnl_attr_get_u64(a));
		else if (type == NFTA_SET_ELEM_USERDATA)
			b.ours = is_our_comment(a);
	}
	if (!key || d->no_memory)
		return;
	if (d->len == d->room) {
		size_t room = d->room ? 2 * d->room : 256;
		struct bound *all = realloc(d->all, room * sizeof(*all));
		if (!all) {
			d->no_memory = true;
			return;
		}
		d->all = all;
		d->room = room;
	}
	d->all[d->len++] = b;
}

static int take_elements(const struct nlmsghdr *h, void *context)
{
	const struct nlattr *list, *a;
	mnl_attr_for_each(list, h, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(list) != NFTA_SET_ELEM_LIST_ELEMENTS || mnl_attr_validate(list, MNL_TYPE_NESTED) < 0)
			continue;
		mnl_attr_for_each_nested(a, list)
			if (mnl_attr_validate(a, MNL_TYPE_NESTED) >= 0)
				take_element(context, a);
	}
	return MNL_CB_OK;
}

/* Where one interval ends and another begins, the end comes first. */
static int by_address(const void *a, const void *b)
{
	const struct bound *x = a, *y = b;
	int order = memcmp(x->at, y->at, sizeof(x->at));
	return order != 0 ? order : (int)y->end - (int)x->end;
}

/* The net from one bound to the other. False: that is none, and so it is not ours, whatever its comment says. */
static bool net_of(const struct bound *begin, const struct bound *end, bool six, struct prefix *out)
{
	struct prefix p = { .bits = six ? 128 : 32 };
	uint8_t from[16], to[16];
	memcpy(p.base.ip, begin->at, 16);
	if (!six)
		p.base.ip[10] = p.base.ip[11] = 0xff;
	for (unsigned bits = p.bits; bits >= 1; bits--) {
		size_t len = six ? 16 : 4;
		p.bits = (uint8_t)bits;
		struct addr net = addr_mask(&p.base, bits);
		if (!addr_same_ip(&net, &p.base))
			return false; /* no shorter one either */
		bool ends = bounds(&p, six, from, to);
		if (end ? ends && memcmp(to, end->at + 16 - len, len) == 0 : !ends) {
			*out = p;
			return true;
		}
	}
	return false;
}

static int read_all(struct nft *n, const struct nft_set *set, struct dump *d)
{
	int e = -EINTR;
	for (unsigned i = 0; i < TRIES && e == -EINTR; i++) {
		char memory[MESSAGE];
		struct nlmsghdr *h = put_head(memory, type_of(NFT_MSG_GETSETELEM), NLM_F_DUMP, n->seq++, set->family, 0);
		mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, set->table);
		mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, set->name);
		d->len = 0;
		e = ask(n, h, take_elements, d);
	}
	return e < 0 ? e : d->no_memory ? -ENOMEM : 0;
}

bool nft_each(struct nft *n, const struct nft_set *set, void (*take)(void *context, const struct nft_element *element), void *context, struct buf *why)
{
	struct dump d = { .six = set->six };
	int e = read_all(n, set, &d);
	if (e < 0)
		buf_putf(why, "its elements cannot be read: %s", strerror(-e));
	else if (d.len > 0)
		qsort(d.all, d.len, sizeof(*d.all), by_address);
	for (size_t i = 0; i < d.len && e == 0; i++) {
		struct nft_element element = { .left_ms = d.all[i].left_ms };
		bool ends = i + 1 < d.len && d.all[i + 1].end;
		if (!d.all[i].end && d.all[i].ours && (ends || i + 1 == d.len) && net_of(&d.all[i], ends ? &d.all[i + 1] : NULL, set->six, &element.net))
			take(context, &element);
	}
	free(d.all);
	return e == 0;
}

/* ---- names ---- */

unsigned nft_parse(const char *text, struct nft_set out[2])
{
	char family[8], table[NFT_NAME], name[NFT_NAME - 1], more;
	unsigned len = 0;
	if (sscanf(text, "nftables %7s %31s %30s %c", family, table, name, &more) != 3)
		return 0;
	uint8_t number = strcmp(family, "inet") == 0 ? NFPROTO_INET : strcmp(family, "ip") == 0 ? NFPROTO_IPV4 : strcmp(family, "ip6") == 0 ? NFPROTO_IPV6 : NFPROTO_UNSPEC;
	for (unsigned six = 0; six < 2 && number != NFPROTO_UNSPEC; six++) {
		if (number == (six ? NFPROTO_IPV4 : NFPROTO_IPV6))
			continue;
		struct nft_set *s = &out[len++];
		*s = (struct nft_set){ .family = number, .six = six };
		snprintf(s->table, sizeof(s->table), "%s", table);
		snprintf(s->name, sizeof(s->name), "%s%c", name, six ? '6' : '4');
	}
	return len;
}
