/* The tour, core: the sections listen and backend. What a value means is confrow.c's business; here is what a whole section must have, and what follows from it. */
#include "core/confsection.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "core/confcheck.h"
#include "core/sock.h"

static const struct addr any4 = { .ip = { [10] = 0xff, [11] = 0xff } }, any6 = { .port = 0 };

/* ---- listen ---- */

static void listen_fini(struct conf_listen *listen)
{
	confrow_fini_section(CONFFILE_LISTEN, listen);
	free(listen->trusted.at);
	free(listen->probers.at);
	free(listen->where);
	*listen = (struct conf_listen){ .where = NULL };
}

/* Why it cannot be one more; NULL: it can. */
static const char *clash(const struct conf *c, const struct addr *at)
{
	if (c->listens_len == CONF_LISTENS)
		return "one listener too many; expected 64 at most";
	for (size_t i = 0; i < c->listens_len; i++) {
		const struct addr *other = &c->listens[i].at;
		bool both_any = (addr_same_ip(other, &any4) && addr_same_ip(at, &any6)) || (addr_same_ip(other, &any6) && addr_same_ip(at, &any4));
		if (other->port == at->port && at->port != 0 && (addr_same_ip(other, at) || both_any))
			return both_any ? "the same as another listener: [::] takes IPv4 clients too" : "the same as another listener";
	}
	return NULL;
}

/* The entries have been checked already. False: no memory. */
static bool read_prefixes(const struct conf_list *list, struct conf_prefixes *out)
{
	out->at = calloc(list->len > 0 ? list->len : 1, sizeof(*out->at));
	for (size_t i = 0; i < list->len && out->at; i++)
		if (addr_parse_prefix(slice_of(list->at[i]), &out->at[out->len]))
			out->len++;
	return out->at != NULL;
}

static bool add_listen(struct confrow_load *l, struct conf_place place, const char *text, struct conf_listen *listen)
{
	struct conf *c = l->conf;
	const char *why = addr_parse_port(slice_of(text), &listen->at) ? clash(c, &listen->at)
		: "not an address to listen on; expected ADDRESS:PORT, [ADDRESS]:PORT or *:PORT, port 1 to 65535, or 0 for any that is free";
	if (!why && listen->proxy && listen->trust.len == 0)
		why = "proxy = yes, and nobody is trusted to say who the client is; expected trust = { \"ADDRESS\" } of the load balancer in it";
	else if (!why && !listen->proxy && listen->trust.len > 0)
		why = "trust without proxy = yes; expected both, or none";
	if (why) {
		confrow_wrong(l, place, "listen", text, why);
		return false;
	}
	struct conf_listen *room = realloc(c->listens, (c->listens_len + 1) * sizeof(*room));
	if (room)
		c->listens = room;
	listen->where = confrow_place_text(place);
	if (!room || !listen->where || !read_prefixes(&listen->trust, &listen->trusted) || !read_prefixes(&listen->health, &listen->probers))
		return confrow_no_memory(l, place);
	c->listens[c->listens_len++] = *listen;
	return true;
}

/* ---- backend ---- */

static bool is_set(const char *text)
{
	return text && text[0];
}

static void backend_fini(struct conf_backend *b)
{
	confrow_fini_section(CONFFILE_BACKEND, b);
	free(b->name);
	free(b->path);
	free(b->where);
	*b = (struct conf_backend){ .name = NULL };
}

/* Where it is. False: *why says what is wrong with it. */
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
	if (b->kind != CONF_BACKEND_UNIX || b->path)
		return true;
	buf_put_text(why, "out of memory");
	return false;
}

/* The host of address is the name by default, if it is one. False: no memory. */
static bool default_tls_name(struct conf_backend *b)
{
	struct addr at;
	if (b->tls == CONF_TLS_NO || b->kind != CONF_BACKEND_TCP || is_set(b->tls_name))
		return true;
	const char *host = strchr(b->address, ':'), *end = strrchr(b->address, ':');
	if (!host || end <= host)
		return true;
	struct slice name = { host + 1, (size_t)(end - host - 1) };
	char *text = strndup(name.at, name.len);
	if (!text)
		return false;
	if (addr_parse(name, &at) || !confcheck_is_host(text, false)) {
		free(text);
		return true;
	}
	free(b->tls_name);
	b->tls_name = text;
	return true;
}

/* Why it cannot be one more; NULL: it can. */
static const char *unfit_backend(const struct conf *c, const char *title, const struct conf_backend *b)
{
	if (c->backends_len == CONF_BACKENDS)
		return "one backend too many; expected 64 at most";
	if (b->kind == CONF_BACKEND_MAIL && conf_mail(c))
		return "mail: is there already; expected it once";
	if (b->xclient && b->kind == CONF_BACKEND_MAIL)
		return "mail: learns the client by proxy = v2; expected no xclient line";
	if (b->tls != CONF_TLS_NO && b->kind == CONF_BACKEND_MAIL)
		return "mail: is reached within this machine; expected no tls line";
	if (b->tls == CONF_TLS_NO && (is_set(b->tls_ca) || is_set(b->tls_name)))
		return "tls_ca or tls_name, and tls = no; expected tls = implicit or tls = starttls, or neither";
	if (is_set(b->tls_ca) && !is_set(b->tls_name))
		return "tls_ca, and no name that the certificate should have; expected tls_name = \"NAME\", or a name for the host in address";
	if (b->transparent && b->kind != CONF_BACKEND_TCP)
		return "transparent = yes is for TCP; expected address = \"smtp:HOST:PORT\"";
	if (b->xclient + b->transparent + (b->proxy != CONF_PROXY_NO) > 1)
		return "it would learn who the client is in two ways; expected one of proxy, xclient and transparent";
	for (size_t i = 0; i < c->backends_len; i++)
		if (strcmp(c->backends[i].name, title) == 0)
			return "another backend has this name; expected one of its own, which is what the log calls it";
	return NULL;
}

/* The program's path and arguments. NULL: they are fine. */
static const char *check_exec(const struct confrow_load *l, const struct conf_backend *b)
{
	if (confrow_given(l, CONFFILE_BACKEND, "address"))
		return "has both exec and address; expected one of them";
	if (confrow_given(l, CONFFILE_BACKEND, "proxy") || b->xclient || b->transparent)
		return "the program of exec has the client's own socket and need not be told who that is; expected no proxy, xclient or transparent line";
	if (b->tls != CONF_TLS_NO || is_set(b->tls_ca) || is_set(b->tls_name))
		return "the program of exec has the client's own socket; expected no tls, tls_ca or tls_name line";
	if (b->max > CONF_EXEC_MOST)
		return "max: too large with exec; expected 10000 sessions of a program at most";
	if (b->exec.len == 1 && b->exec.at[0][0] == '/' && strpbrk(b->exec.at[0], " \t"))
		return "exec: a path with a blank in it; no shell parts it: expected { \"/path/to/program\", \"argument\", ... }";
	return b->exec.len > 0 && b->exec.at[0][0] == '/' ? NULL : "exec: no path of a program; expected { \"/path/to/program\", \"argument\", ... }";
}

/* What belongs to exec only, and stands where there is none. */
static const char *check_no_exec(const struct confrow_load *l)
{
	static const char *const rows[][2] = { { "user", "user without exec; expected it with a program only" }, { "group", "group without exec; expected it with a program only" } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (confrow_given(l, CONFFILE_BACKEND, rows[i][0]))
			return rows[i][1];
	return confrow_given(l, CONFFILE_BACKEND, "address") ? NULL
		: "has no address; expected address = \"smtp:HOST:PORT\", \"smtp:unix:/path\" or \"mail:\" in it, or exec = { \"/path/to/program\", ... }";
}

static bool add_backend(struct confrow_load *l, struct conf_place place, const char *title, struct conf_backend *b)
{
	char memory[512];
	struct buf why;
	struct conf *c = l->conf;
	const char *unfit;
	buf_init_fixed(&why, memory, sizeof(memory));
	const bool exec = confrow_given(l, CONFFILE_BACKEND, "exec");
	const char *wrong = exec ? check_exec(l, b) : check_no_exec(l);
	if (exec) {
		b->kind = CONF_BACKEND_EXEC;
		b->max = b->max > 0 ? b->max : CONF_EXEC_MAX;
	}
	if (wrong)
		confrow_wrong(l, place, "backend", title, wrong);
	else if (!exec && !parse_backend(b, b->address, &why))
		confrow_wrong(l, place, "address", b->address, buf_text(&why));
	else if (!default_tls_name(b))
		return confrow_no_memory(l, place);
	else if (b->kind == CONF_BACKEND_MAIL && confrow_given(l, CONFFILE_BACKEND, "proxy") && b->proxy != CONF_PROXY_V2)
		confrow_wrong(l, place, "backend", title, "mail: learns the client only by proxy = v2; expected that or no proxy line");
	else if ((unfit = unfit_backend(c, title, b)))
		confrow_wrong(l, place, "backend", title, unfit);
	else {
		struct conf_backend *room = realloc(c->backends, (c->backends_len + 1) * sizeof(*room));
		if (room)
			c->backends = room;
		b->name = strdup(title);
		b->where = confrow_place_text(place);
		if (!room || !b->name || !b->where)
			return confrow_no_memory(l, place);
		if (b->kind == CONF_BACKEND_MAIL)
			b->proxy = CONF_PROXY_V2;
		c->backends[c->backends_len++] = *b;
		return true;
	}
	return false;
}

/* ---- both ---- */

static void begin(struct confsection *s, enum conffile_section kind)
{
	s->kind = kind;
	s->wrong = s->to->wrong;
	s->to->section = kind == CONFFILE_LISTEN ? (void *)&s->listen : &s->backend;
	confrow_set_defaults(s->to, kind);
}

void confsection_set(struct confsection *s, struct conf_place place, enum conffile_section kind, const char *name, const struct conffile_value *values, size_t len)
{
	const struct confrow *row = confrow_find(kind, slice_of(name));
	if (s->kind != kind)
		begin(s, kind);
	if (row && (len > 0 || confrow_is_list(row)))
		confrow_set(s->to, place, row, values, len);
}

void confsection_end(struct confsection *s, struct conf_place place, enum conffile_section kind, const char *title)
{
	if (s->kind != kind)
		begin(s, kind);
	s->kind = CONFFILE_ROOT;
	if (s->to->wrong > s->wrong || (kind == CONFFILE_LISTEN ? !add_listen(s->to, place, title, &s->listen) : !add_backend(s->to, place, title, &s->backend))) {
		confsection_fini(s);
		return;
	}
	/* They are the configuration's now. */
	s->listen = (struct conf_listen){ .where = NULL };
	s->backend = (struct conf_backend){ .name = NULL };
}

void confsection_fini(struct confsection *s)
{
	listen_fini(&s->listen);
	backend_fini(&s->backend);
}

void confsection_drop(struct conf *conf, enum conffile_section kind)
{
	for (size_t i = 0; i < conf->listens_len && kind == CONFFILE_LISTEN; i++)
		listen_fini(&conf->listens[i]);
	for (size_t i = 0; i < conf->backends_len && kind == CONFFILE_BACKEND; i++)
		backend_fini(&conf->backends[i]);
	if (kind == CONFFILE_LISTEN) {
		free(conf->listens);
		conf->listens = NULL;
		conf->listens_len = 0;
	} else {
		free(conf->backends);
		conf->backends = NULL;
		conf->backends_len = 0;
	}
}

void confsection_show(const struct conf *conf, struct buf *out)
{
	char text[ADDR_TEXT];
	for (size_t i = 0; i < conf->listens_len; i++) {
		buf_putf(out, "listen \"%s\" ", addr_format_port(&conf->listens[i].at, text));
		confrow_show_section(CONFFILE_LISTEN, &conf->listens[i], out);
		buf_put_char(out, '\n');
	}
	for (size_t i = 0; i < conf->backends_len; i++) {
		buf_put_text(out, "backend ");
		confrow_show_text(out, conf->backends[i].name);
		buf_put_char(out, ' ');
		confrow_show_section(CONFFILE_BACKEND, &conf->backends[i], out);
		buf_put_char(out, '\n');
	}
}

/* ---- all together ---- */

/* The mistake that costs most: a backend that lets its own machine relay, and takes everybody for it. */
static void warn_relay(struct confrow_load *l, const struct conf_backend *b)
{
	if (b->proxy != CONF_PROXY_NO || b->xclient || b->transparent || b->kind == CONF_BACKEND_EXEC)
		return;
	buf_putf(l->warnings, "%s: backend \"", b->where);
	buf_put_escaped(l->warnings, b->name, strlen(b->name), 64);
	buf_put_text(l->warnings, "\": proxy = no: it sees the door's address, not the client's; if it relays for that one "
	             "(Postfix: mynetworks), it relays for everybody: use v2, v1 or xclient, or take the address out there\n");
}

/* The socket that a program is given is the load balancer's. */
static void warn_program(struct confrow_load *l, const struct conf_backend *b)
{
	const struct conf_listen *proxied = NULL;
	for (size_t i = 0; i < l->conf->listens_len && !proxied; i++)
		proxied = l->conf->listens[i].proxy ? &l->conf->listens[i] : NULL;
	if (b->kind != CONF_BACKEND_EXEC || !proxied)
		return;
	buf_putf(l->warnings, "%s: backend \"", b->where);
	buf_put_escaped(l->warnings, b->name, strlen(b->name), 64);
	buf_putf(l->warnings, "\": exec, and the listener at %s takes clients from a load balancer: a program that asks its socket who the client is (exim -bs, sendmail -bs) is told the load "
	         "balancer, and grants its clients what it grants that one; use a program that reads TCPREMOTEIP, or a backend with proxy or xclient\n", proxied->where);
}

/* Each connection would make another one, until there is no descriptor left. */
static void refuse_loop(struct confrow_load *l, const struct conf_backend *b)
{
	const struct conf *c = l->conf;
	if (b->kind != CONF_BACKEND_TCP)
		return;
	const struct addr *to = &b->at;
	for (size_t i = 0; i < c->listens_len; i++) {
		const struct addr *at = &c->listens[i].at;
		bool any = addr_same_ip(at, &any6) || (addr_same_ip(at, &any4) && addr_is4(to));
		if (at->port != to->port || (!addr_same_ip(at, to) && !(any && (addr_is_loopback(to) || sock_is_own(to)))))
			continue;
		char text[ADDR_TEXT];
		confrow_wrong(l, (struct conf_place){ c->listens[i].where, 0 }, "listen", addr_format_port(at, text),
			"the backend has this address, so the door would connect to itself; expected another port for the backend");
	}
}

/* A program would get a socket of ours in place of the client's: it would take everybody for somebody on this machine, and relay. */
static const char *program_of(const struct conf *c)
{
	for (size_t i = 0; i < c->backends_len; i++)
		if (c->backends[i].kind == CONF_BACKEND_EXEC)
			return c->backends[i].name;
	return NULL;
}

/* A port that clients take for one with TLS, and no certificate for it. */
static void need_certificate(struct confrow_load *l)
{
	const struct conf *c = l->conf;
	if (!c->tls_certificate[0] && c->tls_key[0])
		confrow_wrong(l, (struct conf_place){ conf_where(c, "tls_key"), 0 }, "tls_key", c->tls_key, "there is no tls_certificate; expected one that this key belongs to");
	const char *wrong = !c->tls_certificate[0] ? "there is no tls_certificate; expected one for this port"
		: program_of(c) ? "a backend has exec, and a program cannot have a client whose TLS ends at the door; expected no such backend, or no such port" : NULL;
	for (size_t i = 0; i < c->listens_len && wrong; i++)
		if (c->listens[i].tls == CONF_TLS_IMPLICIT)
			confrow_wrong(l, (struct conf_place){ c->listens[i].where, 0 }, "tls", "implicit", wrong);
}

void confsection_check(struct confrow_load *l)
{
	need_certificate(l);
	for (size_t i = 0; i < l->conf->backends_len; i++)
		refuse_loop(l, &l->conf->backends[i]);
	for (size_t i = 0; i < l->conf->backends_len && l->wrong == 0; i++)
		warn_relay(l, &l->conf->backends[i]);
	for (size_t i = 0; i < l->conf->backends_len && l->wrong == 0; i++)
		warn_program(l, &l->conf->backends[i]);
}
