/* The tour, show: networks counted in bounded memory. */
#include "show/networks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR 3600

static void key_of(const struct addr *client, uint8_t key[8])
{
	memset(key, 0, 8);
	key[0] = addr_is4(client) ? 4 : 6;
	if (key[0] == 4)
		memcpy(key + 1, client->ip + 12, 3);
	else
		memcpy(key + 1, client->ip, 6);
}

static void text_of(const uint8_t key[8], char out[NETWORKS_TEXT])
{
	struct addr a = { .ip = { 0 } };
	char text[ADDR_TEXT];
	if (key[0] == 4) {
		a.ip[10] = a.ip[11] = 0xff;
		memcpy(a.ip + 12, key + 1, 3);
	} else {
		memcpy(a.ip, key + 1, 6);
	}
	snprintf(out, NETWORKS_TEXT, "%s/%d", addr_format(&a, text), key[0] == 4 ? 24 : 48);
}

static struct networks_hour *hour_of(struct networks *n, int64_t now)
{
	struct networks_hour *h = &n->hours[(uint64_t)(now / HOUR) % NETWORKS_HOURS];
	if (h->hour != now / HOUR) {
		h->hour = now / HOUR;
		h->len = 0;
	}
	return h;
}

/* Whoever says how many they are may say anything: it ends at the most that there can be. */
static uint32_t plus(uint32_t count, uint64_t more)
{
	return more < UINT32_MAX - count ? count + (uint32_t)more : UINT32_MAX;
}

void networks_add(struct networks *n, const struct addr *client, uint64_t more, int64_t now)
{
	struct networks_hour *h = hour_of(n, now);
	struct networks_count *least = &h->counts[0];
	uint8_t key[8];
	key_of(client, key);
	for (uint32_t i = 0; i < h->len; i++) {
		struct networks_count *c = &h->counts[i];
		if (memcmp(c->key, key, sizeof(key)) == 0) {
			c->count = plus(c->count, more);
			return;
		}
		if (c->count < least->count)
			least = c;
	}
	uint32_t over = 0;
	if (h->len < NETWORKS_KEPT)
		least = &h->counts[h->len++];
	else
		over = least->count;
	memcpy(least->key, key, sizeof(key));
	least->over = over;
	least->count = plus(over, more);
}

struct sum {
	uint8_t key[8];
	uint64_t count, over;
};

static int by_key(const void *a, const void *b)
{
	return memcmp(((const struct sum *)a)->key, ((const struct sum *)b)->key, sizeof(((const struct sum *)a)->key));
}

/* By what is certain: of two that were only lately counted neither is above one that has been there all the time. */
static int by_count(const void *a, const void *b)
{
	const struct sum *x = a, *y = b;
	uint64_t cx = x->count - x->over, cy = y->count - y->over;
	return cx != cy ? (cx < cy ? 1 : -1) : x->count != y->count ? (x->count < y->count ? 1 : -1) : by_key(a, b);
}

size_t networks_top(const struct networks *n, int64_t now, struct networks_top *out, size_t most)
{
	static struct sum sums[NETWORKS_HOURS * NETWORKS_KEPT];
	size_t len = 0, merged = 0;
	for (unsigned i = 0; i < NETWORKS_HOURS; i++) {
		const struct networks_hour *h = &n->hours[i];
		if (h->hour > now / HOUR || h->hour <= now / HOUR - NETWORKS_HOURS)
			continue;
		for (uint32_t c = 0; c < h->len; c++) {
			memcpy(sums[len].key, h->counts[c].key, sizeof(sums[len].key));
			sums[len].count = h->counts[c].count;
			sums[len++].over = h->counts[c].over;
		}
	}
	qsort(sums, len, sizeof(sums[0]), by_key);
	for (size_t i = 0; i < len; i++) {
		if (merged > 0 && by_key(&sums[merged - 1], &sums[i]) == 0) {
			sums[merged - 1].count += sums[i].count;
			sums[merged - 1].over += sums[i].over;
		} else {
			sums[merged++] = sums[i];
		}
	}
	qsort(sums, merged, sizeof(sums[0]), by_count);
	if (merged > most)
		merged = most;
	for (size_t i = 0; i < merged; i++) {
		text_of(sums[i].key, out[i].text);
		out[i].count = sums[i].count;
		out[i].over = sums[i].over;
	}
	return merged;
}

void networks_tidy(struct networks *n)
{
	for (unsigned i = 0; i < NETWORKS_HOURS; i++) {
		struct networks_hour *h = &n->hours[i];
		if (h->len > NETWORKS_KEPT)
			h->len = 0;
		for (uint32_t c = 0; c < h->len; c++)
			if (h->counts[c].over > h->counts[c].count)
				h->counts[c].over = h->counts[c].count;
	}
}
