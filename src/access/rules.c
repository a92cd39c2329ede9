/* The tour, access: what follows from the access database, in Sendmail's order (SENDMAIL.md 11 and 12, measured). */
#include "access/rules.h"

#include <string.h>

bool rules_blocks(const struct rules_answer *answer)
{
	const enum access_action action = answer->decision.action;
	return action != ACCESS_OK && action != ACCESS_RELAY && action != ACCESS_SKIP && action != ACCESS_OBSERVE;
}

/* Refused or thrown away: nothing else that is found changes that. */
static bool is_final(const struct rules_answer *answer)
{
	return rules_blocks(answer) && answer->decision.action != ACCESS_QUARANTINE;
}

static struct rules_answer pass(void)
{
	return (struct rules_answer){ .decision = { .action = ACCESS_OK } };
}

const char *rules_failure_word(const struct conf *conf, unsigned map)
{
	const struct conf_list *words = &conf->access_failure;
	return words->len == 0 ? "tempfail" : words->at[map < words->len ? map : words->len - 1];
}

/* Whether one of the maps that failed has this word in access_failure. */
static bool fails_as(const struct rules *r, unsigned failed, const char *word)
{
	for (unsigned map = 0; map < ACCESS_MAPS; map++)
		if (failed >> map & 1 && strcmp(rules_failure_word(r->conf, map), word) == 0)
			return true;
	return false;
}

/* Maps that could not be asked, and none of the others knows: what the configuration makes of it, never silently nothing. A refusal for good comes after one for now: it
 * would lose the mail. */
static struct rules_answer failure(const struct rules *r, struct access_hit hit)
{
	if (fails_as(r, hit.failed, "tempfail"))
		return (struct rules_answer){ access_value_tempfail(), hit };
	if (fails_as(r, hit.failed, "closed"))
		return (struct rules_answer){ access_value_decide(slice_of("REJECT"), slice_of(r->conf->reject_msg), false), hit };
	return (struct rules_answer){ .decision = { .action = ACCESS_OK }, .hit = hit };
}

static struct rules_answer answer(const struct rules *r, struct access_hit hit)
{
	if (!hit.found)
		return hit.failed ? failure(r, hit) : pass();
	return (struct rules_answer){ access_value_decide(hit.value.text, slice_of(r->conf->reject_msg), r->conf->access_skip), hit };
}

struct rules_answer rules_client(const struct rules *r, const struct access_client *client)
{
	return r->access ? answer(r, access_find_client(r->access, ACCESS_CONNECT, client)) : pass();
}

struct rules_answer rules_over_limit(enum rules_control control, const char *text)
{
	bool terminate = control == RULES_CONTROL_TERMINATE || control == RULES_CONTROL_NODELAY_TERMINATE;
	return (struct rules_answer){ .decision = { ACCESS_REFUSE, { .code = terminate ? 421 : 452, .dsn = "4.3.2", .text = slice_of(text) } } };
}

bool rules_is_delayed(const struct rules *r, enum rules_control control)
{
	return r->conf->delay_checks != RULES_DELAY_OFF && control != RULES_CONTROL_NODELAY && control != RULES_CONTROL_NODELAY_TERMINATE;
}

static bool is_ours(const struct rules *r, struct slice domain)
{
	if (domain.len == 0)
		return true;
	for (size_t i = 0; i < r->conf->accept_domains.len; i++)
		if (slice_is_nocase(domain, r->conf->accept_domains.at[i]))
			return true;
	return false;
}

/* An address without a domain is one at this host (Sendmail: $j). */
struct access_user rules_user(const struct rules *r, struct slice local, struct slice domain)
{
	bool ours = is_ours(r, domain);
	return (struct access_user){ local, domain.len > 0 ? domain : slice_of(r->conf->hostname), ours, r->answers };
}

struct rules_answer rules_sender(const struct rules *r, struct slice local, struct slice domain)
{
	struct access_user user = rules_user(r, local, domain);
	if (!r->access || (local.len == 0 && domain.len == 0))
		return pass();
	return answer(r, access_find_user(r->access, ACCESS_FROM, &user));
}

/* To: its own refusal, or the old form of FRIEND. */
static struct rules_answer by_to(const struct rules *r, const struct access_user *user, bool *friend)
{
	struct access_hit hit = access_find_user(r->access, ACCESS_TO, user);
	enum access_spam spam = hit.found ? access_value_spam(hit.value.text) : ACCESS_SPAM_NONE;
	*friend = spam == ACCESS_SPAM_OLD_FRIEND;
	/* FRIEND and HATER are words of Spam: alone; with To: Sendmail does nothing about them. */
	return spam != ACCESS_SPAM_NONE ? pass() : answer(r, hit);
}

/* Whether this recipient's mail is judged by its sender and client. */
static bool is_judged(const struct rules *r, const struct access_user *user, bool old_friend)
{
	struct access_hit hit = access_find_user(r->access, ACCESS_SPAM, user);
	enum access_spam spam = hit.found ? access_value_spam(hit.value.text) : ACCESS_SPAM_NONE;
	switch ((enum rules_delay)r->conf->delay_checks) {
	case RULES_DELAY_FRIEND:
		return spam != ACCESS_SPAM_FRIEND && !(old_friend && !hit.found);
	case RULES_DELAY_HATER:
		return spam == ACCESS_SPAM_HATER;
	default:
		return true;
	}
}

struct rules_answer rules_recipient(const struct rules *r, struct slice local, struct slice domain, const struct rules_answer *sender,
                                    const struct rules_answer *client)
{
	struct access_user user = rules_user(r, local, domain);
	bool friend = false;
	if (!r->access)
		return pass();
	struct rules_answer to = by_to(r, &user, &friend);
	if (is_final(&to) || r->conf->delay_checks == RULES_DELAY_OFF || !is_judged(r, &user, friend))
		return to;
	/* A sender chooses its address: that it is one to be quarantined must not let in a client that is refused. */
	if (is_final(sender) || is_final(client))
		return is_final(sender) ? *sender : *client;
	return rules_blocks(&to) ? to : rules_blocks(sender) ? *sender : *client;
}

bool rules_need_dialogue(const struct rules *r)
{
	if (!r->access)
		return false;
	return access_has_users(r->access, ACCESS_FROM) || access_has_users(r->access, ACCESS_TO) || access_has_users(r->access, ACCESS_UNTAGGED);
}

static bool names_address(unsigned code)
{
	return code == 450 || code == 550 || code == 553;
}

bool rules_put_reply(struct buf *out, const struct access_reply *reply, struct slice address, const struct macros *who)
{
	size_t before = out->len;
	bool ok = buf_putf(out, "%u %s ", reply->code, reply->dsn);
	if (address.len > 0 && names_address(reply->code))
		ok = ok && buf_put_slice(out, address) && buf_put_text(out, "... ");
	if (reply->macros)
		ok = ok && macros_put(out, reply->text, who);
	for (size_t i = 0; i < reply->text.len && ok && !reply->macros; i++) {
		char c = reply->text.at[i];
		ok = buf_put_char(out, (unsigned char)c < ' ' || c == 0x7f ? ' ' : c);
	}
	if (!ok)
		out->len = before;
	return ok;
}
