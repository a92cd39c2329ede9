/* The tour, tools: what the lines of a log add up to: a row for each client, from which networks, names and those with mail are made in the end. A client may be refused before its
 * mail is seen, or after, so that all have a row; their number has a ceiling, and so have the texts that are kept. */
#include "tool/report.h"

#include <stdlib.h>
#include <string.h>

#define CLIENTS_FIRST 1024
#define TEXT_SPARE (REPORT_TEXT / 4) /* of the texts, for examples of clients whose mail has been accepted */
#define DOMAIN_MOST 255

/* ---- texts ---- */

const char *report_text(const struct report_sums *r, uint32_t place)
{
	return place > 0 ? r->texts.at + place - 1 : "";
}

/* Its place plus 1; 0: there is no room. */
static uint32_t keep_text(struct report_sums *r, struct slice text, size_t most)
{
	size_t at = r->texts.len;
	if (at + text.len + 1 > most || !buf_reserve(&r->texts, text.len + 1))
		return 0;
	buf_put_slice(&r->texts, text);
	buf_put_char(&r->texts, '\0');
	return (uint32_t)at + 1;
}

/* ---- hashing ---- */

/* Keyed: clients choose their addresses and names, but not where they meet. */
static uint32_t hash(const struct report_sums *r, const void *bytes, size_t len)
{
	return (uint32_t)siphash_bytes(&r->key, bytes, len);
}

/* ---- clients ---- */

static void key_of(const struct addr *a, uint8_t key[16])
{
	memcpy(key, a->ip, 16);
	if (!addr_is4(a))
		memset(key + 8, 0, 8);
}

static uint32_t *find_place(const struct report_sums *r, const uint8_t key[16])
{
	uint32_t i = hash(r, key, 16) & (r->index_len - 1);
	while (r->index[i] > 0 && memcmp(r->clients[r->index[i] - 1].key, key, 16) != 0)
		i = (i + 1) & (r->index_len - 1);
	return &r->index[i];
}

/* Twice as many clients, and an index twice as long as them. */
static bool grow(struct report_sums *r)
{
	uint32_t cap = r->clients_cap == 0 ? CLIENTS_FIRST : 2 * r->clients_cap;
	struct report_client *clients = realloc(r->clients, cap * sizeof(*clients));
	r->clients = clients ? clients : r->clients;
	uint32_t *index = clients ? calloc(2 * (size_t)cap, sizeof(*index)) : NULL;
	if (!index)
		return false;
	free(r->index);
	r->index = index;
	r->index_len = 2 * cap;
	r->clients_cap = cap;
	for (uint32_t i = 0; i < r->clients_len; i++)
		*find_place(r, r->clients[i].key) = i + 1;
	return true;
}

/* NULL: it has none, and there is no room for one. */
static struct report_client *client_of(struct report_sums *r, const struct addr *address)
{
	uint8_t key[16];
	key_of(address, key);
	uint32_t *place = find_place(r, key);
	if (*place > 0)
		return &r->clients[*place - 1];
	if (r->clients_len >= r->clients_max)
		return NULL;
	if (r->clients_len == r->clients_cap) {
		if (!grow(r)) {
			r->clients_max = r->clients_len;
			return NULL;
		}
		place = find_place(r, key);
	}
	struct report_client *c = &r->clients[r->clients_len++];
	*c = (struct report_client){ .connections = 0 };
	memcpy(c->key, key, 16);
	*place = r->clients_len;
	return c;
}

/* ---- names ---- */

static bool is_short(struct slice label)
{
	return label.len <= 3;
}

struct slice report_domain(struct slice name)
{
	struct slice labels[3];
	size_t n = 0, end;
	while (name.len > 0 && name.at[name.len - 1] == '.')
		name.len--;
	for (end = name.len; n < 3; n++) {
		size_t begin = end;
		while (begin > 0 && name.at[begin - 1] != '.')
			begin--;
		labels[n] = (struct slice){ name.at + begin, end - begin };
		if (begin == 0) {
			n++;
			break;
		}
		end = begin - 1;
	}
	size_t wanted = n == 3 && labels[0].len == 2 && is_short(labels[1]) ? 3 : 2;
	if (n == 0)
		return (struct slice){ "", 0 };
	const char *at = labels[wanted < n ? wanted - 1 : n - 1].at;
	return (struct slice){ at, (size_t)(name.at + name.len - at) };
}

static uint32_t domain_of(struct report_sums *r, struct slice name)
{
	char lower[DOMAIN_MOST];
	struct slice d = report_domain(name);
	if (d.len == 0 || d.len > DOMAIN_MOST)
		return 0;
	for (size_t i = 0; i < d.len; i++)
		lower[i] = (char)(d.at[i] >= 'A' && d.at[i] <= 'Z' ? d.at[i] + ('a' - 'A') : d.at[i]);
	uint32_t i = hash(r, lower, d.len) & (2 * REPORT_DOMAINS - 1);
	for (; r->domains[i] > 0; i = (i + 1) & (2 * REPORT_DOMAINS - 1)) {
		const char *have = report_text(r, r->domains[i]);
		if (strlen(have) == d.len && memcmp(have, lower, d.len) == 0)
			return i + 1;
	}
	if (r->domains_used == REPORT_DOMAINS || memchr(lower, '\0', d.len))
		return 0;
	uint32_t place = keep_text(r, (struct slice){ lower, d.len }, REPORT_TEXT);
	if (place == 0)
		return 0;
	r->domains[i] = place;
	r->domains_used++;
	return i + 1;
}

/* ---- a line ---- */

/* The bit of a label. When there are too many different ones, which no door writes, the last stands for the rest. */
static unsigned label_of(struct report_sums *r, const struct report_line *l, bool did)
{
	char memory[REPORT_LABEL];
	struct buf b;
	buf_init_fixed(&b, memory, sizeof(memory) - 1);
	report_line_label(l, did, &b);
	struct slice text = buf_slice(&b);
	for (uint32_t i = 0; i < r->labels_len; i++)
		if (slice_is(text, r->labels[i].text))
			return i;
	if (r->labels_len == REPORT_LABELS)
		return REPORT_LABELS - 1;
	struct report_label *label = &r->labels[r->labels_len];
	*label = (struct report_label){ .would = 0 };
	if (r->labels_len == REPORT_LABELS - 1)
		text = slice_of("others");
	memcpy(label->text, text.at, text.len);
	return r->labels_len++;
}

static void keep_example(struct report_sums *r, struct report_client *c, struct slice text)
{
	if (c->example > 0)
		return;
	if (text.len > REPORT_EXAMPLE)
		text.len = REPORT_EXAMPLE;
	c->example = keep_text(r, text, c->messages > 0 ? REPORT_TEXT : REPORT_TEXT - TEXT_SPARE);
	r->examples_lost += c->example == 0;
}

static void note_time(struct report_sums *r, int64_t at)
{
	if (at == REPORT_NO_TIME) {
		r->untimed++;
		return;
	}
	if (r->first == REPORT_NO_TIME || at < r->first)
		r->first = at;
	if (r->last == REPORT_NO_TIME || at > r->last)
		r->last = at;
}

static void add_up(uint32_t *sum, int64_t n)
{
	*sum = n > UINT32_MAX - (int64_t)*sum ? UINT32_MAX : *sum + (uint32_t)n;
}

void report_sums_add(struct report_sums *r, const struct report_line *l, int64_t at)
{
	bool would = l->would != REPORT_NOTHING || l->would_reject > 0, did = l->did != REPORT_NOTHING || l->rejected > 0;
	bool unseen = l->relayed && l->messages == REPORT_UNKNOWN;
	uint64_t labels = 0;
	r->connections++;
	r->would += would;
	r->did += did;
	r->relayed += l->relayed;
	r->messages += l->messages > 0 ? (uint64_t)l->messages : 0;
	r->unseen += unseen;
	r->cut += l->cut;
	note_time(r, at);
	if (would || did) {
		unsigned label = label_of(r, l, did);
		r->labels[label].would += would;
		r->labels[label].did += did;
		labels = UINT64_C(1) << label;
	}
	struct report_client *c = client_of(r, &l->client);
	if (!c) {
		r->beyond++;
		return;
	}
	c->connections++;
	if (l->messages > 0) {
		add_up(&c->messages, l->messages);
		add_up(&c->waited, would || did ? 0 : l->messages);
	}
	c->unseen += unseen;
	if (!(would || (did && l->own)))
		return;
	c->would += would;
	c->did += did;
	c->labels |= labels;
	if (c->domain == 0 && l->name.len > 0)
		c->domain = domain_of(r, l->name);
	keep_example(r, c, l->text);
}

/* ---- the end ---- */

/* Whoever has sent most while nothing was held against it is most likely to be wronged. */
static int by_mail(const void *a, const void *b)
{
	const struct report_client *x = *(struct report_client *const *)a, *y = *(struct report_client *const *)b;
	if (x->waited != y->waited)
		return x->waited < y->waited ? 1 : -1;
	if (x->messages != y->messages)
		return x->messages < y->messages ? 1 : -1;
	if (x->unseen != y->unseen)
		return x->unseen < y->unseen ? 1 : -1;
	if (x->would + x->did != y->would + y->did)
		return x->would + x->did < y->would + y->did ? 1 : -1;
	return memcmp(x->key, y->key, 16);
}

static int by_key(const void *a, const void *b)
{
	const struct report_client *x = *(struct report_client *const *)a, *y = *(struct report_client *const *)b;
	return memcmp(x->key, y->key, 16);
}

static int by_domain(const void *a, const void *b)
{
	const struct report_client *x = *(struct report_client *const *)a, *y = *(struct report_client *const *)b;
	return x->domain != y->domain ? (x->domain < y->domain ? -1 : 1) : memcmp(x->key, y->key, 16);
}

/* Of those with as much, the one that came first; a place among the domains has no order, it is another one in each run. */
static int by_count(const void *a, const void *b, void *context)
{
	const struct report_group *x = a, *y = b;
	const struct report_sums *r = context;
	uint64_t m = x->would + x->did, n = y->would + y->did;
	if (m != n)
		return m < n ? 1 : -1;
	if (x->domain != y->domain)
		return r->domains[x->domain - 1] < r->domains[y->domain - 1] ? -1 : 1;
	return memcmp(x->key, y->key, 16);
}

static void network_of(const uint8_t key[16], uint8_t out[16])
{
	struct addr a = { .port = 0 };
	memcpy(a.ip, key, 16);
	memcpy(out, key, 16);
	if (addr_is4(&a))
		out[15] = 0;
}

static void add_to(struct report_group *g, const struct report_client *c)
{
	g->clients++;
	g->clients_mail += c->messages > 0;
	g->connections += c->connections;
	g->would += c->would;
	g->did += c->did;
	g->messages += c->messages;
}

/* The clients, which lie side by side where they belong together, to groups. */
static uint32_t group(struct report_sums *r, struct report_group *out, struct report_client **clients, uint32_t len, bool by_name)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < len; i++) {
		struct report_group g = { .domain = by_name ? clients[i]->domain : 0 };
		if (by_name && g.domain == 0)
			continue;
		if (!by_name)
			network_of(clients[i]->key, g.key);
		if (n == 0 || out[n - 1].domain != g.domain || memcmp(out[n - 1].key, g.key, 16) != 0)
			out[n++] = g;
		add_to(&out[n - 1], clients[i]);
	}
	qsort_r(out, n, sizeof(*out), by_count, r);
	return n;
}

static void count_labels(struct report_sums *r, const struct report_client *c)
{
	for (uint32_t i = 0; i < r->labels_len; i++)
		if (c->labels >> i & 1) {
			r->labels[i].clients++;
			r->labels[i].clients_mail += c->messages > 0;
		}
}

bool report_sums_end(struct report_sums *r)
{
	uint32_t len = 0;
	for (uint32_t i = 0; i < r->clients_len; i++)
		len += r->clients[i].would + r->clients[i].did > 0;
	r->mail = calloc(len + 1u, sizeof(struct report_client *));
	r->networks = calloc(len + 1u, sizeof(*r->networks));
	r->names = calloc(len + 1u, sizeof(*r->names));
	if (!r->mail || !r->networks || !r->names)
		return false;
	len = 0;
	for (uint32_t i = 0; i < r->clients_len; i++)
		if (r->clients[i].would + r->clients[i].did > 0)
			r->mail[len++] = &r->clients[i];
	qsort(r->mail, len, sizeof(struct report_client *), by_key);
	r->networks_len = group(r, r->networks, r->mail, len, false);
	qsort(r->mail, len, sizeof(struct report_client *), by_domain);
	r->names_len = group(r, r->names, r->mail, len, true);
	qsort(r->mail, len, sizeof(struct report_client *), by_mail);
	for (uint32_t i = 0; i < len; i++) {
		count_labels(r, r->mail[i]);
		r->mail_len += r->mail[i]->messages > 0;
		r->blind += r->mail[i]->messages == 0 && r->mail[i]->unseen > 0;
	}
	return true;
}

/* ---- beginning and end ---- */

bool report_sums_init(struct report_sums *r)
{
	*r = (struct report_sums){ .first = REPORT_NO_TIME, .last = REPORT_NO_TIME, .clients_max = REPORT_CLIENTS };
	buf_init(&r->texts, REPORT_TEXT);
	r->domains = calloc(2 * REPORT_DOMAINS, sizeof(*r->domains));
	return siphash_key_init(&r->key) == 0 && grow(r) && r->domains;
}

void report_sums_fini(struct report_sums *r)
{
	free(r->clients);
	free(r->index);
	free(r->domains);
	free(r->mail);
	free(r->networks);
	free(r->names);
	buf_fini(&r->texts);
}
