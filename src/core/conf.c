/* The tour, core: the configuration as a whole: the file's items, then -o, then the defaults of what is still missing. What the
 * file looks like is conffile.c's business, what a single value means confrow.c's. */
#include "core/conf.h"

#include <ctype.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/confcheck.h"
#include "core/conffile.h"
#include "core/confrow.h"
#include "core/confsection.h"

#define HOST_MAX 255 /* RFC 5321 4.5.3.1.2 */
#define NS_PER_MS INT64_C(1000000)
#define PER_PERCENT 10000

struct load {
	struct confrow_load to;
	struct confsection section;
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
static const struct unit percents[] = { { "", PER_PERCENT }, { "%", PER_PERCENT }, { NULL, 0 } };
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

bool conf_percent(struct slice text, int64_t *out)
{
	return parse_scaled(text, percents, true, out);
}

void conf_put_percent(struct buf *out, int64_t millionths)
{
	int64_t whole = millionths / PER_PERCENT, rest = millionths % PER_PERCENT;
	unsigned decimals = 4;
	for (; rest > 0 && rest % 10 == 0; rest /= 10)
		decimals--;
	buf_putf(out, "%lld", (long long)whole);
	if (rest > 0)
		buf_putf(out, ".%0*lld", (int)decimals, (long long)rest);
	buf_put_char(out, '%');
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
	static const char *const modes[] = { "enforce", "observe", NULL };
	if (strcmp(option, "mode") == 0)
		return modes;
	if (strcmp(option, "ratecontrol") == 0 || strcmp(option, "conncontrol") == 0)
		return controls;
	static const char *const reactions[] = { "refuse", "tempfail", "observe", NULL };
	if (strncmp(option, "early_", 6) == 0)
		return reactions;
	static const char *const resolves[] = { "auto", "always", "never", NULL };
	static const char *const missing[] = { "tempfail", "ignore", NULL };
	static const char *const sandboxes[] = { "enforce", "log", "off", NULL };
	if (strcmp(option, "sandbox") == 0)
		return sandboxes;
	static const char *const tls[] = { "no", "starttls", "implicit", NULL };
	if (strcmp(option, "tls") == 0)
		return tls;
	static const char *const proxies[] = { "no", "v1", "v2", NULL };
	if (strcmp(option, "proxy") == 0)
		return proxies;
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

/* --- from everywhere ---------------------------------------------------------------------------------------------- */

static void apply_item(struct load *l, const struct conffile_item *item)
{
	struct conf_place place = { item->file, item->line };
	if (item->kind == CONFFILE_SECTION)
		confsection_end(&l->section, place, item->section, item->title);
	else if (item->section != CONFFILE_ROOT)
		confsection_set(&l->section, place, item->section, item->name, item->values, item->values_len);
	else
		confrow_set(&l->to, place, confrow_find(CONFFILE_ROOT, slice_of(item->name)), item->values, item->values_len);
}

#define OVERRIDE_VALUES 10000 /* entries that -o can give a list */
#define BETWEEN ", \t"        /* the parts of a section's short form */

/* Parts text, which is ours to cut, into what stands between the separators, blanks around it not counted. */
static size_t cut(char *text, const char *separators, struct conffile_value *values, size_t most)
{
	size_t len = 0;
	char *rest = NULL;
	for (char *word = strtok_r(text, separators, &rest); word && len < most; word = strtok_r(NULL, separators, &rest)) {
		word += strspn(word, " \t");
		word[slice_trim(slice_of(word)).len] = '\0';
		if (*word)
			values[len++] = (struct conffile_value){ word, 0 };
	}
	return len;
}

/* A section's short form, in place of those of the file. */
static void override_sections(struct load *l, struct conf_place place, enum conffile_section kind, const struct conffile_value *values, size_t len)
{
	if (len == 0) {
		confrow_wrong_bare(&l->to, place, kind == CONFFILE_LISTEN ? "no address; expected listen=ADDRESS:PORT" : "no address; expected backend=ADDRESS or backend=ADDRESS,PROXY");
		return;
	}
	confsection_drop(l->to.conf, kind);
	if (kind == CONFFILE_LISTEN) {
		for (size_t i = 0; i < len; i++)
			confsection_end(&l->section, place, kind, values[i].text);
		return;
	}
	confsection_set(&l->section, place, kind, "address", values, 1);
	if (len > 1)
		confsection_set(&l->section, place, kind, "proxy", values + 1, 1);
	confsection_end(&l->section, place, kind, strcmp(values[0].text, "mail:") == 0 ? "mail" : "backend");
}

static void apply_pair(struct load *l, struct conf_place place, struct slice name, char *value, struct conffile_value *values)
{
	const struct confrow *row = confrow_find(CONFFILE_ROOT, name);
	bool listen = slice_is(name, "listen");
	if (listen || slice_is(name, "backend")) {
		override_sections(l, place, listen ? CONFFILE_LISTEN : CONFFILE_BACKEND, values, cut(value, BETWEEN, values, OVERRIDE_VALUES));
	} else if (row) {
		values[0].text = value;
		confrow_set(&l->to, place, row, values, confrow_is_list(row) ? cut(value, confrow_separators(row), values, OVERRIDE_VALUES) : 1);
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
		if (ours && len <= HOST_MAX && strchr(entry->h_name, '.') && confcheck_is_host(entry->h_name, false)) {
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
	return strdup(confcheck_is_host(host, false) ? host : "localhost");
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
		confrow_set(&l->to, place, confrow_find(CONFFILE_ROOT, slice_of("accept_domains")), values, strcmp(c->hostname, local) == 0 ? 1 : 2);
	}
	if (c->listens_len == 0)
		confsection_end(&l->section, place, CONFFILE_LISTEN, "127.0.0.1:2525");
	if (c->backends_len == 0) {
		char inside[] = "mail:";
		struct conffile_value value = { inside, 0 };
		confsection_set(&l->section, place, CONFFILE_BACKEND, "address", &value, 1);
		confsection_end(&l->section, place, CONFFILE_BACKEND, "mail");
	}
	confsection_check(&l->to);
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
	confsection_fini(&l->section);
	if (l->to.wrong > 0)
		conf_fini(l->to.conf);
	return l->to.wrong == 0;
}

bool conf_load(struct conf *out, const char *path, const struct conf_override *overrides, size_t overrides_len, struct buf *errors, struct buf *warnings)
{
	struct load l = { .to = { .conf = out, .errors = errors, .warnings = warnings } };
	struct conffile file = { 0 };
	*out = (struct conf){ 0 };
	l.section.to = &l.to;
	confrow_set_defaults(&l.to, CONFFILE_ROOT);
	bool read = !path || conffile_read(&file, path, errors);
	return load_items(&l, &file, read, overrides, overrides_len);
}

bool conf_load_text(struct conf *out, const char *name, struct slice text, const struct conf_override *overrides, size_t overrides_len, struct buf *errors,
                    struct buf *warnings)
{
	struct load l = { .to = { .conf = out, .errors = errors, .warnings = warnings } };
	struct conffile file = { 0 };
	*out = (struct conf){ 0 };
	l.section.to = &l.to;
	confrow_set_defaults(&l.to, CONFFILE_ROOT);
	bool read = conffile_read_text(&file, name, text, errors);
	return load_items(&l, &file, read, overrides, overrides_len);
}

const struct conf_backend *conf_transparent(const struct conf *conf)
{
	for (size_t i = 0; i < conf->backends_len; i++)
		if (conf->backends[i].transparent)
			return &conf->backends[i];
	return NULL;
}

const struct conf_backend *conf_tls_backend(const struct conf *conf)
{
	for (size_t i = 0; i < conf->backends_len; i++)
		if (conf->backends[i].tls != CONF_TLS_NO)
			return &conf->backends[i];
	return NULL;
}

const struct conf_backend *conf_mail(const struct conf *conf)
{
	for (size_t i = 0; i < conf->backends_len; i++)
		if (conf->backends[i].kind == CONF_BACKEND_MAIL)
			return &conf->backends[i];
	return NULL;
}

const char *conf_backend_at(const struct conf_backend *b)
{
	return b->kind == CONF_BACKEND_EXEC ? b->exec.at[0] : b->address;
}

bool conf_hands_over(const struct conf *conf)
{
	for (size_t i = 0; i < conf->backends_len; i++)
		if (conf->backends[i].kind == CONF_BACKEND_EXEC)
			return true;
	return false;
}

void conf_fini(struct conf *conf)
{
	confrow_fini(conf);
	confsection_drop(conf, CONFFILE_LISTEN);
	confsection_drop(conf, CONFFILE_BACKEND);
	*conf = (struct conf){ 0 };
}

bool conf_has(const struct conf_prefixes *prefixes, const struct addr *address)
{
	for (size_t i = 0; i < prefixes->len; i++)
		if (addr_in_prefix(address, &prefixes->at[i]))
			return true;
	return false;
}

void conf_show(const struct conf *conf, struct buf *out)
{
	confrow_show(conf, out);
	confsection_show(conf, out);
}
