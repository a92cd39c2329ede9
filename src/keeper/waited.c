/* The tour, keeper: those who have waited once. A table of few places for each print, whose oldest is given away. */
#include "keeper/waited.h"

#include <errno.h>
#include <stdlib.h>

int waited_init(struct waited *w, int64_t apart, int64_t ttl)
{
	*w = (struct waited){ .apart = (uint32_t)apart, .ttl = (uint32_t)ttl };
	int e = siphash_key_init(&w->key);
	w->rows = e < 0 ? NULL : calloc(WAITED_ROWS, sizeof(*w->rows));
	return e < 0 ? e : w->rows ? 0 : -ENOMEM;
}

void waited_fini(struct waited *w)
{
	free(w->rows);
	w->rows = NULL;
}

/* Its row, or if there is none the one that it would get. */
static struct waited_row *row_of(const struct waited *w, uint64_t print)
{
	struct waited_row *set = w->rows + (print % (WAITED_ROWS / WAITED_WAYS)) * WAITED_WAYS, *oldest = set;
	for (unsigned i = 0; i < WAITED_WAYS; i++) {
		if (set[i].first > 0 && set[i].print == print)
			return &set[i];
		if (set[i].first < oldest->first)
			oldest = &set[i];
	}
	return oldest;
}

/* A clock that was set back is no wait: it begins anew. */
bool waited_again(struct waited *w, const struct known_id *id, uint32_t now)
{
	uint64_t print = siphash_bytes(&w->key, id->half, sizeof(id->half));
	struct waited_row *row = row_of(w, print);
	bool there = row->first > 0 && row->print == print && now >= row->first && now - row->first <= w->ttl;
	bool again = w->apart == 0 || (there && now - row->first >= w->apart);
	if (again && there)
		row->first = 0;
	else if (!again && !there)
		*row = (struct waited_row){ print, now };
	return again;
}

void waited_forget(struct waited *w, const struct known_id *id)
{
	uint64_t print = siphash_bytes(&w->key, id->half, sizeof(id->half));
	struct waited_row *row = row_of(w, print);
	if (row->print == print)
		row->first = 0;
}
