/* The tour, mc: facts become a tarry.conf, option by option in the order of its manual. What Sendmail has and a door has not is named in comments; nothing
 * that comes from the file is written without being parsed, or checked and quoted. */
#include "tool/mc.h"

#include <ctype.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/addr.h"
#include "access/macros.h"
#include "core/confcheck.h"
#include "access/access.h"

#define SHOWN 200                 /* bytes of a value in a comment */
#define TIME_MAX_MS INT64_C(86400000)
#define OPERATORS ".:%@!^/[]+()<>,;" /* Sendmail's OperatorChars, and what ends a token in any case */
#define REJECT_MIN 5              /* bytes of reject_msg, as options.def has it */
#define REJECT_MAX 400
#define CONNECTIONS_MAX 1000000   /* max_connections, as options.def has it */
#define THROTTLE_MAX 10000 /* of bad_rcpt_throttle */

/* ---- values ---- */

bool mc_write_string(struct buf *out, struct slice text)
{
	bool dollar = memmem(text.at ? text.at : "", text.len, "${", 2) != NULL; /* in double quotes that would be a variable */
	char quote = dollar ? '\'' : '"';
	for (size_t i = 0; i < text.len; i++)
		if (((unsigned char)text.at[i] < ' ' && text.at[i] != '\t') || text.at[i] == 0x7f)
			return false;
	buf_put_char(out, quote);
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] == quote || text.at[i] == '\\')
			buf_put_char(out, '\\');
		buf_put_char(out, text.at[i]);
	}
	buf_put_char(out, quote);
	return true;
}

bool mc_write_time(struct slice text, char unit, int64_t *ms)
{
	static const char letters[] = "smhdw";
	static const int64_t factors[] = { 1000, 60000, 3600000, 86400000, 604800000 };
	int64_t total = 0, value;
	text = slice_trim(text);
	if (text.len == 0)
		return false;
	while (text.len > 0) {
		if (!isdigit((unsigned char)text.at[0]) || !mc_read_number(text, INT64_C(1000000000), &value))
			return false;
		while (text.len > 0 && isdigit((unsigned char)text.at[0])) {
			text.at++;
			text.len--;
		}
		const char *letter = strchr(letters, text.len > 0 ? tolower((unsigned char)text.at[0]) : unit);
		if (!letter || *letter == '\0')
			return false;
		total += value * factors[letter - letters];
		if (total > INT64_C(1000000000000))
			total = INT64_C(1000000000000);
		if (text.len > 0) {
			text.at++;
			text.len--;
		}
	}
	*ms = total;
	return true;
}

/* "# before VALUE after" */
static void put_comment(struct buf *out, const char *before, struct slice value, const char *after)
{
	buf_putf(out, "# %s", before);
	buf_put_escaped(out, value.at, value.len, SHOWN);
	buf_putf(out, "%s\n", after);
}

static void put_word(struct buf *out, const char *option, const char *word)
{
	buf_putf(out, "%s = %s\n", option, word);
}

static void put_ms(struct buf *out, const char *option, int64_t ms)
{
	if (ms % 1000 == 0)
		buf_putf(out, "%s = %llds\n", option, (long long)(ms / 1000));
	else
		buf_putf(out, "%s = %lldms\n", option, (long long)ms);
}

/* ---- the door ---- */

static void put_hostname(const struct mc_facts *f, struct buf *out)
{
	char name[256];
	if (f->hostname.len == 0)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(f->hostname.len < sizeof(name) ? f->hostname.len : sizeof(name) - 1), f->hostname.at);
	if (f->hostname.len < sizeof(name) && strlen(name) == f->hostname.len && confcheck_is_host(name, false))
		buf_putf(out, "hostname = \"%s\"\n", name);
	else
		put_comment(out, "confDOMAIN_NAME: \"", f->hostname, "\" is not a plain name; set hostname if the machine's own name is not right");
}

/* One word of a LOCAL_DOMAIN. */
static void put_domain(struct buf *out, struct slice word, bool *first)
{
	char name[256];
	snprintf(name, sizeof(name), "%.*s", (int)(word.len < sizeof(name) ? word.len : sizeof(name) - 1), word.at);
	if (word.len >= sizeof(name) || strlen(name) != word.len || !confcheck_is_host(name, true))
		return;
	buf_putf(out, "%s\"%s\"", *first ? "" : ", ", name);
	*first = false;
}

/* Sendmail's class w: what mail is taken for, and whose users keys such as Spam:abuse@ are about. */
static void put_domains(const struct mc_facts *f, struct buf *out)
{
	char self[256] = "";
	bool first = true;
	if (f->domains_len == 0)
		return;
	if (f->hostname.len == 0 && gethostname(self, sizeof(self) - 1) < 0)
		self[0] = '\0';
	buf_put_text(out, "# LOCAL_DOMAIN, with this machine's name; add those of /etc/mail/local-host-names\naccept_domains = { ");
	put_domain(out, slice_of("localhost"), &first);
	put_domain(out, f->hostname.len > 0 ? f->hostname : slice_of(self), &first);
	for (size_t i = 0; i < f->domains_len; i++) {
		struct slice rest = slice_trim(f->domains[i]);
		while (rest.len > 0) {
			size_t n = 0;
			while (n < rest.len && rest.at[n] != ' ' && rest.at[n] != '\t' && rest.at[n] != '\n')
				n++;
			put_domain(out, (struct slice){ rest.at, n }, &first);
			n += n < rest.len;
			rest.at += n;
			rest.len -= n;
		}
	}
	buf_put_text(out, " }\n");
}

struct daemon {
	struct slice name, port, address, family, modifiers, others;
};

/* "Port=smtp, Addr=127.0.0.1, Name=MTA": the first letter of a key counts, in either case. */
static void read_daemon(struct slice text, struct daemon *d)
{
	while (text.len > 0) {
		const char *comma = memchr(text.at, ',', text.len);
		struct slice item = { text.at, comma ? (size_t)(comma - text.at) : text.len };
		text.at += item.len + (comma != NULL);
		text.len -= item.len + (comma != NULL);
		item = slice_trim(item);
		const char *equals = item.len > 0 ? memchr(item.at, '=', item.len) : NULL;
		if (!equals)
			continue;
		struct slice value = slice_trim((struct slice){ equals + 1, item.len - (size_t)(equals + 1 - item.at) });
		switch (tolower((unsigned char)item.at[0])) {
		case 'n': d->name = value; break;
		case 'p': d->port = value; break;
		case 'a': d->address = value; break;
		case 'f': d->family = value; break;
		case 'm': d->modifiers = value; break;
		default: d->others = d->others.len > 0 ? d->others : item; break;
		}
	}
}

static bool port_of(struct slice text, uint16_t *port)
{
	char name[64];
	int64_t number;
	*port = 25;
	if (text.len == 0)
		return true;
	if (isdigit((unsigned char)text.at[0])) {
		if (!mc_read_number(text, 65536, &number) || number < 1 || number > 65535)
			return false;
		*port = (uint16_t)number;
		return true;
	}
	static const struct {
		const char *name;
		uint16_t port;
	} known[] = { { "smtp", 25 }, { "submission", 587 }, { "smtps", 465 }, { "submissions", 465 } };
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (slice_is_nocase(text, known[i].name)) {
			*port = known[i].port;
			return true;
		}
	if (text.len >= sizeof(name) || memchr(text.at, '\0', text.len))
		return false;
	memcpy(name, text.at, text.len);
	name[text.len] = '\0';
	const struct servent *service = getservbyname(name, "tcp");
	if (service)
		*port = ntohs((uint16_t)service->s_port);
	return service != NULL;
}

static bool address_of(const struct daemon *d, struct addr *at)
{
	struct slice s = d->address;
	bool six = slice_is_nocase(d->family, "inet6");
	if (s.len > 0 && s.at[0] == '[' && s.at[s.len - 1] == ']') {
		s.at++;
		s.len -= 2;
	}
	if (s.len > 5 && slice_is_nocase((struct slice){ s.at, 5 }, "IPv6:")) {
		s.at += 5;
		s.len -= 5;
	}
	if (s.len == 0 || slice_is(s, "*"))
		s = slice_of(six ? "::" : "0.0.0.0");
	else if (slice_is_nocase(s, "localhost"))
		s = slice_of(six ? "::1" : "127.0.0.1");
	return addr_parse(s, at);
}

struct listens {
	struct addr at[MC_DAEMONS + 1];
	size_t len;
};

static bool is_any(const struct addr *a, bool six)
{
	static const struct addr any4 = { .ip = { [10] = 0xff, [11] = 0xff } }, any6 = { .port = 0 };
	return addr_same_ip(a, six ? &any6 : &any4);
}

/* Does another daemon take [::] at this one's port? */
static bool has_any6(const struct mc_facts *f, const struct daemon *d)
{
	uint16_t port, other;
	if (!port_of(d->port, &port))
		return false;
	for (size_t i = 0; i < f->daemons_len; i++) {
		struct daemon e = { 0 };
		struct addr at;
		read_daemon(f->daemons[i], &e);
		if (port_of(e.port, &other) && other == port && address_of(&e, &at) && is_any(&at, true) && !memchr(e.modifiers.at ? e.modifiers.at : "", 's', e.modifiers.len))
			return true;
	}
	return false;
}

/* What Sendmail says of a daemon: once as it is, once more as what it became. [::] takes IPv4 clients too, so 0.0.0.0 beside it is already there. */
static void put_listen(struct buf *out, struct listens *all, struct slice written, const struct mc_facts *f, bool by_default)
{
	struct daemon daemon = { 0 }, *d = &daemon;
	struct addr at;
	char text[ADDR_TEXT];
	const char *why = NULL;
	read_daemon(written, d);
	for (size_t i = 0; i < d->modifiers.len; i++)
		if (d->modifiers.at[i] == 's')
			why = ": smtps (M=s) has no pause in Sendmail either, and TLS comes first there: left to the server behind";
	if (!why && d->family.len > 0 && !slice_is_nocase(d->family, "inet") && !slice_is_nocase(d->family, "inet6"))
		why = ": of this family a door has no listener; left out";
	if (!why && !address_of(d, &at))
		why = ": the address is not a number; left out, give it as listen \"ADDRESS:PORT\" { }";
	if (!why && !port_of(d->port, &at.port))
		why = ": the port is not known; left out";
	for (size_t i = 0; !why && i < all->len; i++)
		if (all->at[i].port == at.port && addr_same_ip(&all->at[i], &at))
			why = ": the same address as another one";
	if (!why && is_any(&at, false) && has_any6(f, d))
		why = ": [::] takes IPv4 clients, too";
	put_comment(out, by_default ? "Sendmail's default: " : "DAEMON_OPTIONS: ", written, why ? why : "");
	if (why)
		return;
	if (d->others.len > 0)
		put_comment(out, "  not known here: ", d->others, "");
	all->at[all->len++] = at;
	buf_putf(out, "listen \"%s\" { }\n", addr_format_port(&at, text));
}

static void put_listens(const struct mc_facts *f, struct buf *out)
{
	struct listens all = { .len = 0 };
	buf_put_char(out, '\n');
	if (f->daemons_len == 0)
		put_listen(out, &all, slice_of("Name=MTA"), f, true);
	for (size_t i = 0; i < f->daemons_len; i++)
		put_listen(out, &all, f->daemons[i], f, false);
	if (!f->no_default_msa)
		put_listen(out, &all, slice_of("Port=587, Name=MSA, M=E"), f, true);
	if (all.len == 0)
		buf_put_text(out, "# No listener is left; without one the door listens on 127.0.0.1:2525.\n");
}

/* ---- the pause ---- */

static int64_t pause_ms(struct slice text)
{
	int64_t ms = 0;
	mc_read_number(text, ACCESS_PAUSE_MAX_MS, &ms);
	return ms;
}

static void put_rules(const struct mc_facts *f, struct buf *out)
{
	size_t good = 0;
	for (size_t i = 0; i < f->rules_len; i++) {
		const struct mc_rule *rule = &f->rules[i];
		if (!f->has_pause)
			put_comment(out, "SLocal_greet_pause without FEATURE(greet_pause) is never asked: ", rule->line, "");
		else if (rule->key.len == 0)
			put_comment(out, "SLocal_greet_pause: not a form that is known here; skipped: ", rule->line, "");
		good += f->has_pause && rule->key.len > 0;
	}
	if (good == 0)
		return;
	buf_put_text(out, "local_greet_pause = {");
	const char *comma = " ";
	for (size_t i = 0; i < f->rules_len; i++) {
		const struct mc_rule *rule = &f->rules[i];
		struct slice key = rule->key;
		struct addr a;
		char text[ADDR_TEXT];
		if (key.len == 0)
			continue;
		if (key.len > 5 && slice_is_nocase((struct slice){ key.at, 5 }, "IPv6:")) {
			key.at += 5;
			key.len -= 5;
		}
		if (addr_parse(key, &a))
			key = slice_of(addr_format(&a, text));
		buf_putf(out, "%s\"%.*s %lld\"", comma, (int)key.len, key.at, (long long)(rule->ms < ACCESS_PAUSE_MAX_MS ? rule->ms : ACCESS_PAUSE_MAX_MS));
		comma = ", ";
	}
	buf_put_text(out, " }\n");
}

static void put_pause(const struct mc_facts *f, struct buf *out)
{
	int64_t ms = f->has_pause ? pause_ms(f->pause) : 0;
	if (!f->has_pause)
		buf_put_text(out, "# FEATURE(greet_pause) is not there: nobody is made to wait, and who talks early is not refused.\n");
	else if (f->pause.len == 0)
		buf_put_text(out, "# FEATURE(greet_pause) has no argument: only who is in the access database is made to wait.\n");
	else if (ms == 0)
		put_comment(out, "FEATURE(greet_pause): \"", f->pause, "\" is read as no pause.");
	buf_putf(out, "greet_pause = %lld\n", (long long)ms);
	if (f->has_pause && !f->has_keys && f->has_access)
		buf_put_text(out, "# FEATURE(greet_pause) stands before FEATURE(access_db): GreetPause: keys are not used.\n");
	if (!f->has_keys && f->has_access)
		put_word(out, "greet_pause_keys", "no");
	put_rules(f, out);
}

/* ---- the access database ---- */

static void put_access(const struct mc_facts *f, struct buf *out)
{
	struct buf spec, note;
	if (!f->has_access)
		return;
	buf_init(&spec, MC_FILE_BYTES);
	buf_init(&note, MC_FILE_BYTES);
	struct mc_map map = { .spec = &spec, .note = &note };
	mc_map(f, &map);
	put_comment(out, "FEATURE(access_db): ", f->access_ldap ? slice_of("LDAP") : f->access, "");
	if (note.len > 0) {
		buf_put_text(out, "# FEATURE(access_db): ");
		buf_put_slice(out, buf_slice(&note)); /* is printable */
		buf_put_char(out, '\n');
	}
	size_t before = out->len;
	buf_put_text(out, "access_db = { ");
	if (spec.len == 0 || !mc_write_string(out, buf_slice(&spec))) {
		out->len = before;
		buf_put_text(out, "# access_db has to be set by hand.\n");
	} else {
		buf_put_text(out, " }\n");
		put_word(out, "access_missing", map.optional ? "ignore" : "tempfail");
		put_word(out, "access_failure", "tempfail"); /* Sendmail's macros put -T<TMPF> where it is missing */
	}
	if (f->access_skip)
		put_word(out, "access_skip", "yes");
	if (f->lookup_dot_domain)
		put_word(out, "lookup_dot_domain", "yes");
	buf_fini(&spec);
	buf_fini(&note);
}

static bool is_reject(struct slice s)
{
	return s.len >= REJECT_MIN && s.len <= REJECT_MAX && (s.at[0] == '4' || s.at[0] == '5') && isdigit((unsigned char)s.at[1]) &&
	       isdigit((unsigned char)s.at[2]) && s.at[3] == ' ';
}

/* The bytes of a macro that stands at the front; 0: none does. */
static size_t macro_len(struct slice s)
{
	size_t n = s.len > 2 && s.at[1] == '&' ? 2 : 1;
	if (s.len < 2 || s.at[0] != '$')
		return 0;
	const char *brace = s.at[n] == '{' ? memchr(s.at + n, '}', s.len - n) : NULL;
	return brace ? (size_t)(brace - s.at) + 1 : n + 1;
}

/* A text without quotes as Sendmail sends it: it takes it for an address, whose operators stand without blanks, and whose words stand with one between. */
static struct slice as_tokens(struct slice s, char memory[REJECT_MAX])
{
	size_t len = 0;
	bool blank = false, operator = true;
	if (s.len > REJECT_MAX)
		return s;
	for (size_t i = 0; i < s.len; i++) {
		size_t macro = macro_len((struct slice){ s.at + i, s.len - i });
		bool now = macro == 0 && strchr(OPERATORS, s.at[i]);
		if (s.at[i] == ' ' || s.at[i] == '\t') {
			blank = true;
			continue;
		}
		if (blank && !operator && !now)
			memory[len++] = ' ';
		memcpy(memory + len, s.at + i, macro > 0 ? macro : 1);
		len += macro > 0 ? macro : 1;
		i += macro > 0 ? macro - 1 : 0;
		blank = false;
		operator = now;
	}
	struct slice joined = { memory, len };
	return is_reject(joined) ? joined : s;
}

static struct slice without_quotes(struct slice s)
{
	bool quoted = s.len > 1 && s.at[0] == '"' && s.at[s.len - 1] == '"';
	return quoted ? (struct slice){ s.at + 1, s.len - 2 } : s;
}

void mc_write_warnings(const struct mc_facts *f, const char *path, const struct mc_said *said)
{
	struct slice s = without_quotes(f->reject_msg), macro;
	while (is_reject(without_quotes(f->reject_msg)) && macros_unknown(&s, &macro)) {
		mc_begin_line(said, said->warnings);
		buf_put_escaped(said->warnings, path, strlen(path), SHOWN);
		buf_put_text(said->warnings, ": confREJECT_MSG: ");
		buf_put_escaped(said->warnings, macro.at, macro.len, SHOWN);
		buf_put_text(said->warnings, ": no macro that a refusal can have, it becomes nothing; expected $&{client_addr}, $&{client_name}, $&{client_ptr}, $&{client_resolve} or $j\n");
	}
}

static void put_reject(const struct mc_facts *f, struct buf *out)
{
	char memory[REJECT_MAX];
	struct slice s = without_quotes(f->reject_msg);
	if (s.len == 0)
		return;
	if (s.len == f->reject_msg.len)
		s = as_tokens(s, memory);
	size_t before = out->len;
	if (s.len != without_quotes(f->reject_msg).len)
		buf_put_text(out, "# As Sendmail sends it: without double quotes around it all, blanks beside " OPERATORS " are lost\n");
	buf_put_text(out, "reject_msg = ");
	if (is_reject(s) && mc_write_string(out, s)) {
		buf_put_char(out, '\n');
		return;
	}
	out->len = before;
	put_comment(out, "confREJECT_MSG: \"", s, "\" is not a reply (\"550 5.7.1 text\"); left out");
}

static void put_control(struct buf *out, const char *option, const struct mc_control *c)
{
	put_word(out, option, !c->on ? "off" : c->nodelay && c->terminate ? "nodelay_terminate" : c->nodelay ? "nodelay" : c->terminate ? "terminate" : "on");
}

/* ---- the rest ---- */

static void put_time(struct buf *out, struct slice text, const char *macro, char unit, const char *options[2])
{
	int64_t ms;
	if (text.len == 0)
		return;
	if (!mc_write_time(text, unit, &ms) || ms == 0) {
		buf_putf(out, "# %s: ", macro);
		put_comment(out, "\"", text, "\" is not a time that a door can have; left out");
		return;
	}
	for (int i = 0; i < 2 && options[i]; i++) {
		/* Only refuse_timeout has an hour for its ceiling. */
		int64_t most = strcmp(options[i], "refuse_timeout") == 0 ? 3600000 : TIME_MAX_MS;
		if (ms > most)
			buf_putf(out, "# %s is longer than %s can be.\n", macro, options[i]);
		put_ms(out, options[i], ms < most ? ms : most);
	}
}

static void put_limits(const struct mc_facts *f, struct buf *out)
{
	static const char *window[2] = { "connection_rate_window", NULL }, *timeouts[2] = { "refuse_timeout", "command_timeout" };
	int64_t n;
	put_time(out, f->rate_window, "confCONNECTION_RATE_WINDOW_SIZE", 's', window);
	if (f->max_children.len > 0 && mc_read_number(f->max_children, INT64_C(1000000000), &n) && n > 0)
		buf_putf(out, "max_connections = %lld\n", (long long)(n < CONNECTIONS_MAX ? n : CONNECTIONS_MAX));
	else if (f->max_children.len > 0)
		put_comment(out, "confMAX_DAEMON_CHILDREN: \"", f->max_children, "\" is no limit in Sendmail; max_connections has its default");
	put_time(out, f->to_command, "confTO_COMMAND", 'm', timeouts);
	if (f->bad_rcpts.len > 0 && mc_read_number(f->bad_rcpts, INT64_C(1000000000), &n) && n > 0)
		buf_putf(out, "bad_rcpt_throttle = %lld\n", (long long)(n < THROTTLE_MAX ? n : THROTTLE_MAX));
	else if (f->bad_rcpts.len > 0)
		put_comment(out, "confBAD_RCPT_THROTTLE: \"", f->bad_rcpts, "\" holds nobody back in Sendmail; left out");
	if (f->smtp_login_msg.len == 0)
		return;
	size_t before = out->len;
	buf_put_text(out, "smtp_login_msg = ");
	if (mc_write_string(out, f->smtp_login_msg)) {
		buf_put_char(out, '\n');
		return;
	}
	out->len = before;
	put_comment(out, "confSMTP_LOGIN_MSG: of several lines, or with control bytes; left out: ", f->smtp_login_msg, "");
}

static void put_skips(const struct mc_facts *f, struct buf *out)
{
	struct slice none = { NULL, 0 };
	if (f->skips_len > 0)
		put_comment(out, "Skipped, for it has no meaning for a door:", none, "");
	for (size_t i = 0; i < f->skips_len; i++)
		put_comment(out, "  ", f->skips[i], "");
	if (f->text_lines > 0) {
		buf_putf(out, "# Skipped: %zu line%s of text for sendmail.cf, from ", f->text_lines, f->text_lines == 1 ? "" : "s");
		buf_put_escaped(out, f->text.at, f->text.len, SHOWN);
		buf_put_text(out, "\n");
	}
	if (f->too_many)
		put_comment(out, "There is more than can be looked at: what is above is not all.", none, "");
}

bool mc_write(const struct mc_facts *facts, const char *path, struct buf *out)
{
	static const char *const delays[] = { "off", "on", "friend", "hater" }; /* in the order of enum mc_delay */
	put_comment(out, "Made by tarry mc from ", slice_of(path), "; every option is in tarry.conf(5).\n");
	put_hostname(facts, out);
	put_domains(facts, out);
	put_pause(facts, out);
	put_access(facts, out);
	put_word(out, "delay_checks", delays[facts->delay_checks]);
	put_reject(facts, out);
	put_control(out, "ratecontrol", &facts->ratecontrol);
	put_control(out, "conncontrol", &facts->conncontrol);
	put_limits(facts, out);
	put_listens(facts, out);
	buf_put_text(out, "\n# The server behind: backend \"sendmail\" { address = \"smtp:127.0.0.1:10025\" }; without one, mail goes into Maildirs.\n\n");
	put_skips(facts, out);
	return !out->full;
}
