/* The tour, access: maps that are elsewhere. What to ask of one is all the keys of all searches that a client, or a sender and a recipient, may need, so that it is asked once; what it
 * says is kept with the rank of the key that it had, and access.c compares that with the tables that are here. */
#include "access/access_walk.h"

#include <string.h>

unsigned access_next_elsewhere(const struct access *access, unsigned map)
{
	while (map < access->len && access->tables[map].map)
		map++;
	return map < access->len ? map : ACCESS_MAPS;
}

static void plan_init(struct access_plan *plan)
{
	plan->question.searches = 0;
	buf_init_fixed(&plan->text, plan->memory, sizeof(plan->memory));
}

static size_t keys_of(const struct access_plan *plan)
{
	size_t n = 0;
	for (unsigned i = 0; i < plan->question.searches; i++)
		n += plan->question.counts[i];
	return n;
}

#define AROUND_KEYS (WIRE_BODY_AT + 3 + 2 * WIRE_SEARCHES) /* bytes of a question that are not keys, */
#define AROUND_KEY 2                                       /* and for each key */

/* The key that has just been put becomes one of the question's last search. */
static void take(struct access_walk *w)
{
	struct access_plan *plan = w->plan;
	size_t n = keys_of(plan);
	struct slice key = w->slices[--w->len];
	size_t at = plan->text.len;
	if (n == WIRE_KEYS || key.len > WIRE_KEY_MAX || AROUND_KEYS + (n + 1) * AROUND_KEY + at + key.len > WIRE_QUESTION_MAX || !buf_put_slice(&plan->text, key)) {
		plan->text.full = true;
		w->done = true;
		return;
	}
	plan->question.keys[n] = (struct slice){ plan->text.at + at, key.len };
	plan->keys[n] = (struct access_plan_key){ w->ranks[w->len], (uint8_t)w->tags[w->len], w->bits[w->len] };
	plan->question.counts[plan->question.searches - 1]++;
}

/* All tables elsewhere are asked the same, so any of them will do. */
static struct access_walk begin(const struct access *access, struct access_plan *plan, enum access_tag tag)
{
	struct access_walk w;
	access_walk_init(&w, access, access_next_elsewhere(access, 0), tag);
	w.take = take;
	w.plan = plan;
	plan->question.counts[plan->question.searches++] = 0;
	return w;
}

bool access_plan_client(const struct access *access, struct access_plan *plan, const struct access_client *client, struct slice confirmed)
{
	const struct access_client as_connect = { client->addr, confirmed, NULL };
	static const struct {
		enum access_tag tag;
		enum access_scope first;
		bool bare;
	} searches[ACCESS_SEARCHES] = {
		[ACCESS_GREETPAUSE_NAME] = { ACCESS_GREETPAUSE, ACCESS_BY_NAME, false }, [ACCESS_GREETPAUSE_ADDRESS] = { ACCESS_GREETPAUSE, ACCESS_BY_ADDRESS, true },
		[ACCESS_CONNECT_NAME] = { ACCESS_CONNECT, ACCESS_BY_NAME, false }, [ACCESS_CONNECT_ADDRESS] = { ACCESS_CONNECT, ACCESS_BY_ADDRESS, false },
		[ACCESS_HELOPAUSE_NAME] = { ACCESS_HELOPAUSE, ACCESS_BY_NAME, false }, [ACCESS_HELOPAUSE_ADDRESS] = { ACCESS_HELOPAUSE, ACCESS_BY_ADDRESS, true },
		[ACCESS_MAILPAUSE_NAME] = { ACCESS_MAILPAUSE, ACCESS_BY_NAME, false }, [ACCESS_MAILPAUSE_ADDRESS] = { ACCESS_MAILPAUSE, ACCESS_BY_ADDRESS, true },
		[ACCESS_RCPTPAUSE_NAME] = { ACCESS_RCPTPAUSE, ACCESS_BY_NAME, false }, [ACCESS_RCPTPAUSE_ADDRESS] = { ACCESS_RCPTPAUSE, ACCESS_BY_ADDRESS, true },
		[ACCESS_DATAPAUSE_NAME] = { ACCESS_DATAPAUSE, ACCESS_BY_NAME, false }, [ACCESS_DATAPAUSE_ADDRESS] = { ACCESS_DATAPAUSE, ACCESS_BY_ADDRESS, true },
		[ACCESS_EOMPAUSE_NAME] = { ACCESS_EOMPAUSE, ACCESS_BY_NAME, false }, [ACCESS_EOMPAUSE_ADDRESS] = { ACCESS_EOMPAUSE, ACCESS_BY_ADDRESS, true },
		[ACCESS_RATE] = { ACCESS_CLIENTRATE, ACCESS_BY_ADDRESS, true }, [ACCESS_CONNS] = { ACCESS_CLIENTCONN, ACCESS_BY_ADDRESS, true },
	};
	plan_init(plan);
	for (unsigned i = 0; i < (access->rules.staged ? ACCESS_SEARCHES : ACCESS_SEARCHES_UNSTAGED); i++) {
		struct access_walk w = begin(access, plan, searches[i].tag);
		access_walk_client(&w, access, searches[i].first, searches[i].tag == ACCESS_CONNECT ? &as_connect : client);
		if (searches[i].bare)
			access_walk_client(&w, access, ACCESS_BY_DEFAULT, client);
	}
	return !plan->text.full;
}

bool access_plan_users(const struct access *access, struct access_plan *plan, const struct access_user *sender, const struct access_user *recipient)
{
	static const enum access_tag tags[] = { [ACCESS_WANT_FROM] = ACCESS_FROM, [ACCESS_WANT_TO] = ACCESS_TO, [ACCESS_WANT_SPAM] = ACCESS_SPAM };
	plan_init(plan);
	for (unsigned i = 0; i < 3; i++) {
		struct access_walk w = begin(access, plan, tags[i]);
		access_walk_user(&w, i == ACCESS_WANT_FROM ? sender : recipient);
		if (plan->question.counts[i] == 0) { /* a null sender: there is no search without a key on the wire */
			w.slices[w.len++] = slice_of("from:<>");
			w.ranks[0] = 0;
			w.tags[0] = tags[i];
			w.bits[0] = 0;
			take(&w);
		}
	}
	return !plan->text.full;
}

bool access_take_answer(struct access_answers *answers, unsigned map, const struct access_plan *plan, const struct wire_answer *answer)
{
	size_t first = 0;
	bool ok = true;
	for (unsigned i = 0; i < plan->question.searches; i++) {
		const struct wire_found *f = answer && i < answer->searches ? &answer->found[i] : NULL;
		answers->of[map][i].result = f ? f->result : WIRE_FAILED;
		if (f && f->result == WIRE_FOUND && f->key >= plan->question.counts[i]) {
			answers->of[map][i].result = WIRE_FAILED; /* nonsense */
		} else if (f && f->result == WIRE_FOUND) {
			const struct access_plan_key *key = &plan->keys[first + f->key];
			answers->of[map][i].rank = key->rank;
			answers->of[map][i].key = f->key;
			answers->of[map][i].tag = key->tag;
			answers->of[map][i].bits = key->bits;
			buf_init(&answers->of[map][i].value, WIRE_VALUE_MAX);
			if (!buf_put_slice(&answers->of[map][i].value, f->text)) { /* an empty value would be another one */
				buf_fini(&answers->of[map][i].value);
				answers->of[map][i].result = WIRE_FAILED;
				ok = false;
			}
		}
		first += plan->question.counts[i];
	}
	return ok;
}

void access_answers_fini(struct access_answers *answers)
{
	for (unsigned map = 0; map < ACCESS_MAPS; map++)
		for (unsigned i = 0; i < ACCESS_SEARCHES; i++)
			if (answers->of[map][i].result == WIRE_FOUND)
				buf_fini(&answers->of[map][i].value);
	memset(answers, 0, sizeof(*answers));
}
