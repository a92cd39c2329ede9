/* The tour, core: the configuration as a whole: the file's items, then -o, then the defaults of what is still missing. What the
 * file looks like is conffile.c's business, what a single value means confrow.c's. */
#include "core/conf.h"

#include <ctype.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/conffile.h"
#include "core/confrow.h"
#include "core/sock.h"

#define HOST_MAX 255 /* RFC 5321 4.5.3.1.2 */
#define NS_PER_MS INT64_C(1000000)

struct load {
	struct confrow_load to;
	struct conf_backend section; /* the backend section that is being read */
	bool has_address, has_proxy;
};

/* --- numbers ---------------------------------------------------------------------------------------------------- */

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit durations[] = {
	{ "", NS_PER_MS }, { "ms", NS_PER_MS }, { "s", 1000 * NS_PER_MS }, { "m", 60000 * NS_PER_MS },
	{ "h", 3600000 * NS_PER_MS }, { "d", 86400000 * NS_PER_MS }, { NULL, 0 },
};
static const struct unit sizes[] = { { "", 1 }, { "K", 1 << 10 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { NULL, 0 } };

/* Digits, perhaps a fraction (cut to what the unit can hold), a unit. */
static bool parse_scaled(struct slice text, const struct unit *units, bool fraction, int64_t *out)
{
	size_t digits = 0, point;
	while (digits < text.len && isdigit((unsigned char)text.at[digits]))
		digits++;
	point = digits;
	if (fraction && point < text.len && text.at[point] == '.')
		for (point++; point < text.len && isdigit((unsigned char)text.at[point]); point++)
			;
	if (digits == 0 || point == digits + 1)
		return false;
	struct slice name = { text.at + point, text.len - point };
	while (units->name && !slice_is(name, units->name))
		units++;
	if (!units->name)
		return false;
	int64_t value = 0;
	for (size_t i = 0; i < digits; i++)
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text.at[i] - '0', &value))
			return false;
	if (__builtin_mul_overflow(value, units->factor, &value))
		return false;
	int64_t step = units->factor;
	for (size_t i = digits + 1; i < point; i++) {
		step /= 10;
		if (__builtin_add_overflow(value, step * (text.at[i] - '0'), &value))
			return false;
	}
	*out = value;
	return true;
}

bool conf_duration(struct slice text, int64_t *out)
{
	return parse_scaled(text, durations, true, out);
}

bool conf_size(struct slice text, int64_t *out)
{
	return parse_scaled(text, sizes, false, out);
}

void conf_put_duration(struct buf *out, int64_t ns)
{
	int64_t ms = ns / NS_PER_MS;
	if (ns == 0)
		buf_put_char(out, '0');
	else if (ns % NS_PER_MS != 0)
		buf_putf(out, "%lld.%06lldms", (long long)ms, (long long)(ns % NS_PER_MS));
	else if (ms % 1000 != 0)
		buf_putf(out, "%lldms", (long long)ms);
	else if (ms <= 300000 || ms % 60000 != 0)
		buf_putf(out, "%llds", (long long)(ms / 1000));
	else if (ms < 3600000 || ms % 3600000 != 0)
		buf_putf(out, "%lldm", (long long)(ms / 60000));
	else if (ms < 86400000 || ms % 86400000 != 0)
		buf_putf(out, "%lldh", (long long)(ms / 3600000));
	else
		buf_putf(out, "%lldd", (long long)(ms / 86400000));
}

void conf_put_size(struct buf *out, int64_t bytes)
{
	const struct unit *u = sizes + 3;
	while (u > sizes && (bytes == 0 || bytes % u->factor != 0))
		u--;
	buf_putf(out, "%lld%s", (long long)(bytes / u->factor), u->name);
}

const char *const *conf_words(const char *option)
{
	static const char *const targets[] = { "stderr", "syslog", "journal", NULL };
	static const char *const levels[] = { "error", "warning", "notice", "info", "debug", NULL };
	static const char *const delays[] = { "off", "on", "friend", "hater", NULL };
	static const char *const controls[] = { "off", "on", "nodelay", "terminate", "nodelay_terminate", NULL };
	if (strcmp(option, "ratecontrol") == 0 || strcmp(option, "conncontrol") == 0)
		return controls;
	static const char *const resolves[] = { "auto", "always", "never", NULL };
	static const char *const missing[] = { "tempfail", "ignore", NULL };
	if (strcmp(option, "access_missing") == 0)
		return missing;
	if (strcmp(option, "resolve") == 0)
		return resolves;
	if (strcmp(option, "delay_checks") == 0)
		return delays;
	if (strcmp(option, "log") == 0)
		return targets;
	return strcmp(option, "log_level") == 0 ? levels : NULL;
}

/* --- sections --------------------------------------------------------------------------------------------------- */

static const struct addr any4 = { .ip = { [10] = 0xff, [11] = 0xff } }, any6 = { .port = 0 };

static void add_listen(struct load *l, struct conf_place place, const char *text)
{
	struct conf *c = l->to.conf;
	struct addr at;
	if (!addr_parse_port(slice_of(text), &at)) {
		confrow_wrong(&l->to, place, "listen", text,
			"not an address to listen on; expected ADDRESS:PORT, [ADDRESS]:PORT or *:PORT, port 1 to 65535, or 0 for any that is free");
		return;
	}
	if (c->listens_len == CONF_LISTENS) {
		confrow_wrong(&l->to, place, "listen", text, "one listener too many; expected 64 at most");
		return;
	}
	for (size_t i = 0; i < c->listens_len; i++) {
		const struct addr *other = &c->listens[i].at;
		bool both_any = (addr_same_ip(other, &any4) && addr_same_ip(&at, &any6)) || (addr_same_ip(other, &any6) && addr_same_ip(&at, &any4));
		if (other->port != at.port || at.port == 0 || (!addr_same_ip(other, &at) && !both_any))
			continue;
		confrow_wrong(&l->to, place, "listen", text, both_any ? "the same as another listener: [::] takes IPv4 clients too" : "the same as another listener");
		return;
	}
	struct conf_listen *listens = realloc(c->listens, (c->listens_len + 1) * sizeof(*listens));
	if (!listens) {
		confrow_no_memory(&l->to, place);
		return;
	}
	c->listens = listens;
	char *where = confrow_place_text(place);
	if (!where)
		confrow_no_memory(&l->to, place);
	c->listens[c->listens_len++] = (struct conf_listen){ .at = at, .where = where };
}

static void drop_listens(struct conf *conf)
{
	for (size_t i = 0; i < conf->listens_len; i++)
		free(conf->listens[i].where);
	conf->listens_len = 0;
}

static void backend_fini(struct conf_backend *b)
{
	free(b->name);
	free(b->text);
	free(b->path);
	free(b->where);
	*b = (struct conf_backend){ 0 };
}

static bool parse_backend(struct conf_backend *b, const char *text, struct buf *why)
{
	static const char smtp[] = "smtp:", local[] = "smtp:unix:";
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p >= 0x7f) {
			buf_put_text(why, "not a backend; expected an address without blanks and other signs than ASCII has");
			return false;
		}
	if (strcmp(text, "mail:") == 0) {
		b->kind = CONF_BACKEND_MAIL;
	} else if (strncmp(text, local, sizeof(local) - 1) == 0) {
		const char *path = text + sizeof(local) - 1;
		b->kind = CONF_BACKEND_UNIX;
		if (*path != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
			buf_put_text(why, "not the path of a socket; expected smtp:unix:/path, 107 bytes at most");
			return false;
		}
		free(b->path);
		b->path = strdup(path);
	} else if (strncmp(text, smtp, sizeof(smtp) - 1) == 0) {
		b->kind = CONF_BACKEND_TCP;
		if (!addr_resolve(slice_of(text + sizeof(smtp) - 1), &b->at, why) || b->at.port == 0) {
			bool form = !strrchr(text + sizeof(smtp) - 1, ':') || why->len == 0;
			buf_put_text(why, why->len == 0 ? "port 0" : "");
			buf_put_text(why, form ? "; expected smtp:HOST:PORT" : "; expected smtp:HOST:PORT of a host that can be looked up now");
			return false;
		}
	} else {
		buf_put_text(why, "not a backend; expected mail:, smtp:HOST:PORT or smtp:unix:/path");
		return false;
	}
	free(b->text);
	b->text = strdup(text);
	if (b->text && (b->kind != CONF_BACKEND_UNIX || b->path))
		return true;
	buf_put_text(why, "out of memory");
	return false;
}

static void set_backend(struct load *l, struct conf_place place, const char *name, const char *text)
{
	char memory[512];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (strcmp(name, "address") == 0) {
		l->has_address = true;
		if (!parse_backend(&l->section, text, &why))
			confrow_wrong(&l->to, place, name, text, buf_text(&why));
		return;
	}
	static const char *const words[] = { "no", "v1", "v2" }; /* in the order of enum conf_proxy */
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(text, words[i]) == 0) {
			l->has_proxy = true;
			l->section.proxy = (enum conf_proxy)i;
			return;
		}
	confrow_wrong(&l->to, place, name, text, "not one of its words; expected no, v1 or v2");
}

/* Takes what is in l->section, and leaves it empty. */
static void add_backend(struct load *l, struct conf_place place, const char *title)
{
	struct conf_backend b = l->section;
	bool has_address = l->has_address, has_proxy = l->has_proxy;
	struct conf_backend *room = NULL;
	l->section = (struct conf_backend){ 0 };
	l->has_address = l->has_proxy = false;
	b.name = strdup(title);
	b.where = confrow_place_text(place);
	if (!has_address)
		confrow_wrong(&l->to, place, "backend", title, "has no address; expected address = \"smtp:HOST:PORT\", \"smtp:unix:/path\" or \"mail:\" in it");
	else if (b.kind == CONF_BACKEND_MAIL && b.text && has_proxy && b.proxy != CONF_PROXY_V2)
		confrow_wrong(&l->to, place, "backend", title, "mail: learns the client only by proxy = v2; expected that or no proxy line");
	else if (l->to.conf->backends_len > 0)
		confrow_wrong(&l->to, place, "backend", title, "more than one backend; this version hands all clients to one");
	else if (!(room = malloc(sizeof(*room))) || !b.name || !b.where)
		confrow_no_memory(&l->to, place);
	if (!room || !b.name || !b.where) {
		free(room);
		backend_fini(&b);
		return;
	}
	if (b.kind == CONF_BACKEND_MAIL)
		b.proxy = CONF_PROXY_V2;
	*room = b;
	l->to.conf->backends = room;
	l->to.conf->backends_len = 1;
}

/* --- from everywhere ---------------------------------------------------------------------------------------------- */

static void apply_item(struct load *l, const struct conffile_item *item)
{
	struct conf_place place = { item->file, item->line };
	if (item->kind == CONFFILE_SECTION) {
		if (item->section == CONFFILE_LISTEN)
			add_listen(l, place, item->title);
		else
			add_backend(l, place, item->title);
		return;
	}
	if (item->section == CONFFILE_BACKEND) {
		set_backend(l, place, item->name, item->values[0].text);
		return;
	}
	confrow_set(&l->to, place, confrow_find(slice_of(item->name)), item->values, item->values_len);
}

#define OVERRIDE_VALUES 10000 /* entries that -o can give a list */

/* Parts text, which is ours to cut, at commas and blanks. */
static size_t cut(char *text, struct conffile_value *values, size_t most)
{
	size_t len = 0;
	char *rest = NULL;
	for (char *word = strtok_r(text, ", \t", &rest); word && len < most; word = strtok_r(NULL, ", \t", &rest))
		values[len++] = (struct conffile_value){ word, 0 };
	return len;
}

static void override_sections(struct load *l, struct conf_place place, bool listen, const struct conffile_value *values, size_t len)
{
	struct conf *c = l->to.conf;
	if (len == 0) {
		confrow_wrong_bare(&l->to, place, listen ? "no address; expected listen=ADDRESS:PORT" : "no address; expected backend=ADDRESS or backend=ADDRESS,PROXY");
		return;
	}
	if (listen) {
		drop_listens(c);
		for (size_t i = 0; i < len; i++)
			add_listen(l, place, values[i].text);
		return;
	}
	for (size_t i = 0; i < c->backends_len; i++)
		backend_fini(&c->backends[i]);
	free(c->backends);
	c->backends = NULL;
	c->backends_len = 0;
	set_backend(l, place, "address", values[0].text);
	if (len > 1)
		set_backend(l, place, "proxy", values[1].text);
	add_backend(l, place, strcmp(values[0].text, "mail:") == 0 ? "mail" : "backend");
}

static void apply_pair(struct load *l, struct conf_place place, struct slice name, char *value, struct conffile_value *values)
{
	const struct confrow *row = confrow_find(name);
	bool listen = slice_is(name, "listen");
	if (listen || slice_is(name, "backend")) {
		override_sections(l, place, listen, values, cut(value, values, OVERRIDE_VALUES));
	} else if (row) {
		values[0].text = value;
		confrow_set(&l->to, place, row, values, confrow_is_list(row) ? cut(value, values, OVERRIDE_VALUES) : 1);
	} else if (slice_is(name, "include")) {
		confrow_wrong_bare(&l->to, place, "a file is included by a file only; expected -c FILE, or include(\"FILE\") in it");
	} else {
		char text[64];
		struct buf unknown;
		buf_init_fixed(&unknown, text, sizeof(text));
		buf_put(&unknown, name.at, name.len < sizeof(text) ? name.len : sizeof(text) - 1);
		l->to.wrong++;
		confrow_put_place(l->to.errors, place);
		conffile_unknown(l->to.errors, CONFFILE_ROOT, buf_text(&unknown));
		buf_put_char(l->to.errors, '\n');
	}
}

static void apply_override(struct load *l, const char *text)
{
	struct slice name = { text, strcspn(text, "=") };
	struct conf_place place = { "-o", 0 };
	struct conffile_value *values = calloc(OVERRIDE_VALUES, sizeof(*values));
	char *place_text = NULL, *value = NULL;
	if (text[name.len] == '=') {
		struct slice right = slice_trim(slice_of(text + name.len + 1));
		value = strndup(right.at, right.len);
	}
	if (asprintf(&place_text, "-o %s", text) < 0)
		place_text = NULL;
	else
		place.file = place_text;
	if (text[name.len] != '=')
		confrow_wrong_bare(&l->to, place, "no value; expected name=value");
	else if (!values || !value)
		confrow_no_memory(&l->to, place);
	else
		apply_pair(l, place, slice_trim(name), value, values);
	free(values);
	free(value);
	free(place_text);
}

/* A name of the machine that has a domain, from /etc/hosts. Not from the DNS: where that does not answer, the door would take ten seconds to start. */
static void add_domain(char host[HOST_MAX + 1])
{
	const struct hostent *entry;
	sethostent(0);
	while ((entry = gethostent())) {
		bool ours = strcmp(entry->h_name, host) == 0;
		for (char **alias = entry->h_aliases; !ours && *alias; alias++)
			ours = strcmp(*alias, host) == 0;
		size_t len = strlen(entry->h_name);
		if (ours && len <= HOST_MAX && strchr(entry->h_name, '.') && confrow_is_host(entry->h_name, false)) {
			memcpy(host, entry->h_name, len + 1);
			break;
		}
	}
	endhostent();
}

static char *machine_name(void)
{
	char host[HOST_MAX + 1];
	if (gethostname(host, sizeof(host)) < 0)
		host[0] = '\0';
	host[HOST_MAX] = '\0';
	if (host[0] && !strchr(host, '.'))
		add_domain(host);
	return strdup(confrow_is_host(host, false) ? host : "localhost");
}

/* The mistake that costs most: a backend that lets its own machine relay, and takes everybody for it. */
static void warn_relay(struct load *l)
{
	const struct conf *c = l->to.conf;
	if (c->backends_len == 0 || c->backends[0].proxy != CONF_PROXY_NO)
		return;
	buf_putf(l->to.warnings, "%s: backend \"", c->backends[0].where);
	buf_put_escaped(l->to.warnings, c->backends[0].name, strlen(c->backends[0].name), 64);
	buf_put_text(l->to.warnings, "\": proxy = no: it sees the door's address, not the client's; if it relays for that one "
	             "(Postfix: mynetworks), it relays for everybody: use v2 or v1, or take the address out there\n");
}

/* Each connection would make another one, until there is no descriptor left. */
static void refuse_loop(struct load *l)
{
	const struct conf *c = l->to.conf;
	if (c->backends_len == 0 || c->backends[0].kind != CONF_BACKEND_TCP)
		return;
	const struct addr *to = &c->backends[0].at;
	for (size_t i = 0; i < c->listens_len; i++) {
		const struct addr *at = &c->listens[i].at;
		bool any = addr_same_ip(at, &any6) || (addr_same_ip(at, &any4) && addr_is4(to));
		if (at->port != to->port || (!addr_same_ip(at, to) && !(any && (addr_is_loopback(to) || sock_is_own(to)))))
			continue;
		char text[ADDR_TEXT];
		confrow_wrong(&l->to, (struct conf_place){ c->listens[i].where, 0 }, "listen", addr_format_port(at, text),
			"the backend has this address, so the door would connect to itself; expected another port for the backend");
	}
}

/* What is still missing gets its default. */
static void finish(struct load *l)
{
	struct conf *c = l->to.conf;
	struct conf_place place = { "default", 0 };
	if (c->hostname[0] == '\0') {
		free(c->hostname);
		c->hostname = machine_name();
	}
	if (!c->hostname) {
		confrow_no_memory(&l->to, place);
		return;
	}
	if (c->accept_domains.len == 0) {
		char local[] = "localhost";
		struct conffile_value values[] = { { c->hostname, 0 }, { local, 0 } };
		confrow_set(&l->to, place, confrow_find(slice_of("accept_domains")), values, strcmp(c->hostname, local) == 0 ? 1 : 2);
	}
	if (c->listens_len == 0)
		add_listen(l, place, "127.0.0.1:2525");
	if (c->backends_len == 0) {
		set_backend(l, place, "address", "mail:");
		add_backend(l, place, "mail");
	}
	refuse_loop(l);
	if (l->to.wrong == 0)
		warn_relay(l);
}

const char *conf_default_path(void)
{
	return access(CONF_DEFAULT_PATH, F_OK) == 0 ? CONF_DEFAULT_PATH : NULL;
}

/* read: whether the file could be; its items are taken. */
static bool load_items(struct load *l, struct conffile *file, bool read, const struct conf_override *overrides, size_t overrides_len)
{
	if (!read) {
		l->to.wrong++;
		if (l->to.errors->len == 0)
			buf_put_text(l->to.errors, "out of memory\n");
	}
	for (size_t i = 0; i < file->len && read; i++)
		apply_item(l, &file->items[i]);
	conffile_fini(file);
	for (size_t i = 0; i < overrides_len; i++)
		apply_override(l, overrides[i].text);
	if (l->to.wrong == 0)
		finish(l);
	backend_fini(&l->section);
	if (l->to.wrong > 0)
		conf_fini(l->to.conf);
	return l->to.wrong == 0;
}

bool conf_load(struct conf *out, const char *path, const struct conf_override *overrides, size_t overrides_len, struct buf *errors, struct buf *warnings)
{
	struct load l = { .to = { .conf = out, .errors = errors, .warnings = warnings } };
	struct conffile file = { 0 };
	*out = (struct conf){ 0 };
	confrow_set_defaults(&l.to);
	bool read = !path || conffile_read(&file, path, errors);
	return load_items(&l, &file, read, overrides, overrides_len);
}

bool conf_load_text(struct conf *out, const char *name, struct slice text, const struct conf_override *overrides, size_t overrides_len, struct buf *errors,
                    struct buf *warnings)
{
	struct load l = { .to = { .conf = out, .errors = errors, .warnings = warnings } };
	struct conffile file = { 0 };
	*out = (struct conf){ 0 };
	confrow_set_defaults(&l.to);
	bool read = conffile_read_text(&file, name, text, errors);
	return load_items(&l, &file, read, overrides, overrides_len);
}

void conf_fini(struct conf *conf)
{
	confrow_fini(conf);
	for (size_t i = 0; i < conf->backends_len; i++)
		backend_fini(&conf->backends[i]);
	free(conf->backends);
	drop_listens(conf);
	free(conf->listens);
	*conf = (struct conf){ 0 };
}

void conf_show(const struct conf *conf, struct buf *out)
{
	static const char *const proxies[] = { "no", "v1", "v2" };
	char text[ADDR_TEXT];
	confrow_show(conf, out);
	for (size_t i = 0; i < conf->listens_len; i++)
		buf_putf(out, "listen \"%s\" { }\n", addr_format_port(&conf->listens[i].at, text));
	for (size_t i = 0; i < conf->backends_len; i++) {
		const struct conf_backend *b = &conf->backends[i];
		buf_put_text(out, "backend ");
		confrow_show_text(out, b->name);
		buf_put_text(out, " { address = ");
		confrow_show_text(out, b->text);
		buf_putf(out, " proxy = %s }\n", proxies[b->proxy]);
	}
}
