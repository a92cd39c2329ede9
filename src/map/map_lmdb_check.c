/* The tour, map: an LMDB file, looked at by code that trusts nothing in it. Two meta pages, of which the one with the greater transaction number
 * counts; it names the root of the tree of free pages, which no reader touches, and the root of the tree of entries, which is walked here. */
#include "map/map_lmdb.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC 0xBEEFC0DE
#define VERSION 1
#define PAGE_LEAST 512
#define PAGE_MOST 32768 /* an offset in a page has 16 bits, and the library takes no more */
#define NO_PAGE (~(size_t)0)

/* Kinds of pages; the other bits of a page's flags mean something to its writer alone. */
#define PAGE_BRANCH 0x01
#define PAGE_LEAF 0x02
#define PAGE_OVERFLOW 0x04
#define PAGE_META 0x08
#define PAGE_KIND 0x6f

#define NODE_BIG 0x01 /* the value is on overflow pages */
#define NODE_SUB 0x02 /* the value is a database */
#define NODE_DUP 0x04 /* the value is many */

#define TREE_SORTS 0x7f /* flags that give keys another order, or several values */

struct page {
	size_t number;
	uint16_t pad, flags;
	union {
		struct {
			uint16_t lower, upper; /* free space between offsets and nodes */
		};
		uint32_t pages; /* of an overflow page */
	};
	/* uint16_t offsets of nodes */
};

struct node {
	uint16_t low, high; /* bytes of the value; or the child's page, with flags as its upper part */
	uint16_t flags;
	uint16_t key_len;
	/* key, value */
};

struct tree {
	uint32_t pad; /* of the tree of free pages: bytes of a page */
	uint16_t flags;
	uint16_t depth;
	size_t branches, leaves, overflows, entries;
	size_t root;
};

struct meta {
	uint32_t magic, version;
	void *address;
	size_t map_size;
	struct tree free, main;
	size_t last_page;
	size_t transaction;
};

#define HEADER 16
#define NODE sizeof(struct node)

_Static_assert(sizeof(size_t) != 8 || sizeof(struct page) == HEADER, "the layout of a page on 64-bit machines");
_Static_assert(sizeof(struct node) == 8, "the layout of a node");

/* Offsets of nodes follow the header, which is shorter where a page's number is. */
static size_t header_size(void)
{
	return sizeof(size_t) + 8;
}

static bool wrong(struct buf *why, const char *what)
{
	buf_put_text(why, what);
	return false;
}

static bool read_meta(struct slice head, size_t at, struct meta *out, struct buf *why)
{
	struct page page;
	if (head.len < at + header_size() + sizeof(*out))
		return wrong(why, "it is too short to be one");
	memcpy(&page, head.at + at, header_size());
	memcpy(out, head.at + at + header_size(), sizeof(*out));
	if (out->magic != MAGIC || (page.flags & PAGE_KIND) != PAGE_META)
		return wrong(why, "it does not begin as one of this machine does");
	if (out->version != VERSION) {
		buf_putf(why, "it is of version %u; expected %u, that of LMDB 0.9", out->version, VERSION);
		return false;
	}
	return true;
}

/* The meta page that the library goes by, and the size of a page. */
static bool newest_meta(struct slice head, struct meta *out, struct buf *why)
{
	struct meta first, second;
	if (!read_meta(head, 0, &first, why))
		return false;
	size_t page = first.free.pad;
	if (page < PAGE_LEAST || page > PAGE_MOST || (page & (page - 1)) != 0)
		return wrong(why, "its pages have an impossible size");
	if (!read_meta(head, page, &second, why))
		return false;
	*out = second.transaction > first.transaction ? second : first;
	return out->free.pad == page || wrong(why, "its two meta pages differ in the size of pages");
}

bool map_lmdb_extent(struct slice head, uint64_t size, uint64_t *count, struct buf *why)
{
	struct meta meta;
	if (!newest_meta(head, &meta, why))
		return false;
	if (meta.last_page < 1 || meta.last_page >= size / meta.free.pad) {
		buf_putf(why, "it is cut short: its last page is number %zu, and the file has %llu", meta.last_page, (unsigned long long)(size / meta.free.pad));
		return false;
	}
	*count = ((uint64_t)meta.last_page + 1) * meta.free.pad;
	return true;
}

uint64_t map_lmdb_claimed(struct slice head)
{
	struct meta meta;
	char memory[256];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	return newest_meta(head, &meta, &why) ? meta.main.entries : 0;
}

bool map_lmdb_same(struct slice before, struct slice after)
{
	struct meta a, b;
	char memory[256];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	return newest_meta(before, &a, &why) && newest_meta(after, &b, &why) && memcmp(&a, &b, sizeof(a)) == 0;
}

bool map_lmdb_in_step(struct slice head)
{
	struct meta metas[2];
	char memory[256];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!read_meta(head, 0, &metas[0], &why) || !read_meta(head, metas[0].free.pad, &metas[1], &why))
		return false;
	size_t first = metas[0].transaction, second = metas[1].transaction;
	if (first == 0)
		return second <= 1; /* a new file has two pages of number 0 */
	return first % 2 == 0 && second % 2 == 1 && (first + 1 == second || second + 1 == first);
}

struct walk {
	const uint8_t *at;
	size_t page_size;
	size_t pages;
	uint8_t *seen; /* a bit for each page */
	uint64_t entries;
	size_t leaf, from, to; /* the number of the next leaf; those that are looked at */
	bool has_last;
	struct slice last;  /* the key before */
	struct slice least; /* what the next key may not come before */
	struct buf *why;
	map_lmdb_take *take; /* NULL: nobody */
	void *context;
};

static bool wrong_page(const struct walk *w, size_t number, const char *what)
{
	buf_putf(w->why, "page %zu: %s", number, what);
	return false;
}

/* memcmp() would be half of the check's time: most keys differ in their first bytes. */
static uint64_t first_bytes(struct slice key)
{
	uint64_t bytes;
	memcpy(&bytes, key.at, sizeof(bytes));
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(bytes) : bytes;
}

static int compare(struct slice a, struct slice b)
{
	if (a.len >= sizeof(uint64_t) && b.len >= sizeof(uint64_t)) {
		uint64_t x = first_bytes(a), y = first_bytes(b);
		if (x != y)
			return x < y ? -1 : 1;
	}
	int c = a.len == 0 || b.len == 0 ? 0 : memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
	return c != 0 ? c : a.len < b.len ? -1 : a.len > b.len;
}

/* A page that exists, says it is itself, and was not met before. */
static bool enter_page(struct walk *w, size_t number, struct page *page)
{
	if (number < 2 || number >= w->pages)
		return wrong_page(w, number, "there is no such page");
	if (w->seen[number / 8] >> number % 8 & 1)
		return wrong_page(w, number, "it is used twice");
	w->seen[number / 8] |= (uint8_t)(1u << number % 8);
	memcpy(page, w->at + number * w->page_size, header_size());
	return page->number == number || wrong_page(w, number, "it has another number");
}

/* Node i, if it and its key lie in the page; *room is what there is from the node's end on. */
static bool read_node(const struct walk *w, size_t number, const struct page *page, size_t i, struct node *node, struct slice *key, size_t *room)
{
	const uint8_t *start = w->at + number * w->page_size;
	uint16_t offset;
	memcpy(&offset, start + header_size() + i * sizeof(offset), sizeof(offset));
	if (offset < page->upper || offset % 2 != 0 || offset + NODE > w->page_size)
		return wrong_page(w, number, "an entry lies outside");
	memcpy(node, start + offset, NODE);
	if (node->key_len > w->page_size - offset - NODE)
		return wrong_page(w, number, "a key is longer than the page");
	*key = (struct slice){ (const char *)start + offset + NODE, node->key_len };
	*room = w->page_size - offset - NODE - node->key_len;
	return true;
}

static bool check_overflow(struct walk *w, const char *at, size_t len)
{
	struct page page;
	size_t number;
	memcpy(&number, at, sizeof(number));
	if (!enter_page(w, number, &page))
		return false;
	if ((page.flags & PAGE_KIND) != PAGE_OVERFLOW || page.pages < 1 || page.pages > w->pages - number)
		return wrong_page(w, number, "it is no overflow page");
	if (len > page.pages * w->page_size - header_size())
		return wrong_page(w, number, "a value is longer than its pages");
	for (size_t n = number + 1; n < number + page.pages; n++) {
		if (w->seen[n / 8] >> n % 8 & 1)
			return wrong_page(w, n, "it is used twice");
		w->seen[n / 8] |= (uint8_t)(1u << n % 8);
	}
	return true;
}

static bool check_leaf(struct walk *w, size_t number, const struct page *page, size_t len)
{
	size_t leaf = w->leaf++;
	bool mine = leaf >= w->from && leaf < w->to;
	if (!mine && leaf + 1 != w->from) {
		w->has_last = false;
		return true;
	}
	/* The one before them too: what comes next must come behind it. */
	for (size_t i = 0; i < len; i++) {
		struct node node;
		struct slice key;
		size_t room;
		if (!read_node(w, number, page, i, &node, &key, &room))
			return false;
		if (node.flags & (NODE_SUB | NODE_DUP))
			return wrong(w->why, node.flags & NODE_DUP ? "it has several values for a key; expected one" : "it has databases in it; expected entries");
		size_t value = node.low | (size_t)node.high << 16;
		if ((node.flags & NODE_BIG) ? room < sizeof(size_t) : room < value)
			return wrong_page(w, number, "a value is longer than the page");
		if (mine && (node.flags & NODE_BIG) && !check_overflow(w, key.at + key.len, value))
			return false;
		/* The others come after the first. */
		if (key.len == 0 || (w->has_last && compare(w->last, key) >= 0) || (i == 0 && compare(w->least, key) > 0))
			return wrong_page(w, number, "its keys are not in order");
		w->last = key;
		w->has_last = true;
		w->entries += mine;
		if (mine && w->take)
			w->take(w->context, key, node.flags & NODE_BIG ? (struct slice){ NULL, 0 } : (struct slice){ key.at + key.len, value });
	}
	return true;
}

static bool check_page(struct walk *w, size_t number, unsigned depth);

static bool check_branch(struct walk *w, size_t number, const struct page *page, size_t len, unsigned depth)
{
	if (len < 2)
		return wrong_page(w, number, "it leads to one page alone");
	for (size_t i = 0; i < len; i++) {
		struct node node;
		struct slice key;
		size_t room;
		if (!read_node(w, number, page, i, &node, &key, &room))
			return false;
		/* The first key of a branch counts as less than all others. */
		if (i > 0 && (key.len == 0 || (w->has_last && compare(w->last, key) >= 0)))
			return wrong_page(w, number, "its keys are not in order");
		if (i > 0)
			w->least = key;
		size_t child = node.low | (size_t)node.high << 16;
		if (sizeof(size_t) > 4)
			child |= (size_t)node.flags << 16 << 16;
		if (!check_page(w, child, depth - 1))
			return false;
	}
	return true;
}

/* The tree below this page has `depth` levels. */
static bool check_page(struct walk *w, size_t number, unsigned depth)
{
	struct page page;
	if (!enter_page(w, number, &page))
		return false;
	size_t header = header_size();
	if (page.lower <= header || page.lower % 2 != 0 || page.lower > page.upper || page.upper > w->page_size)
		return wrong_page(w, number, "its free space is impossible");
	size_t len = (page.lower - header) / sizeof(uint16_t);
	switch (page.flags & PAGE_KIND) {
	case PAGE_LEAF:
		return depth == 1 ? check_leaf(w, number, &page, len) : wrong_page(w, number, "a branch was expected");
	case PAGE_BRANCH:
		return depth > 1 ? check_branch(w, number, &page, len, depth) : wrong_page(w, number, "a leaf was expected");
	}
	return wrong_page(w, number, "it is neither branch nor leaf");
}

bool map_lmdb_check(const uint8_t *at, size_t size, uint64_t *entries, struct buf *why)
{
	return map_lmdb_walk(at, size, NULL, NULL, entries, why);
}

bool map_lmdb_walk(const uint8_t *at, size_t size, map_lmdb_take *take, void *context, uint64_t *entries, struct buf *why)
{
	return map_lmdb_walk_part(at, size, 0, 1, take, context, entries, why);
}

bool map_lmdb_walk_part(const uint8_t *at, size_t size, unsigned part, unsigned parts, map_lmdb_take *take, void *context, uint64_t *entries, struct buf *why)
{
	struct meta meta;
	uint64_t count;
	struct slice head = { (const char *)at, size };
	if (!map_lmdb_extent(head, size, &count, why) || !newest_meta(head, &meta, why))
		return false;
	if (meta.main.flags & TREE_SORTS)
		return wrong(why, "its keys have an order of their own or several values; expected neither");
	if (meta.main.root == NO_PAGE) {
		if (meta.main.entries != 0 || meta.main.depth != 0)
			return wrong(why, "its entries are missing");
		*entries = 0;
		return true;
	}
	if (meta.main.depth < 1 || meta.main.depth > MAP_LMDB_DEPTH_MAX)
		return wrong(why, "its depth is impossible");
	struct walk w = { .at = at, .page_size = meta.free.pad, .pages = meta.last_page + 1, .why = why, .take = take, .context = context };
	/* How many leaves there are is only a claim; whatever it is, each leaf is in one part. */
	size_t leaves = meta.main.leaves < w.pages ? meta.main.leaves : w.pages;
	w.from = leaves * part / parts;
	w.to = part + 1 == parts ? SIZE_MAX : leaves * (part + 1) / parts;
	w.seen = calloc(1, w.pages / 8 + 1);
	if (!w.seen)
		return wrong(why, "no memory for its check");
	bool good = check_page(&w, meta.main.root, meta.main.depth);
	free(w.seen);
	if (good && parts == 1 && w.entries != meta.main.entries)
		good = wrong(why, "it has more or fewer entries than it says");
	if (good)
		*entries = w.entries;
	return good;
}
