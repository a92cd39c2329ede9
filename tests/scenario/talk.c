/* talk: runs scenarios (*.talk) over the real objects of a front, with a clock moved by hand.
 *
 * A scenario is one page: what clients and the backend do, and what must be seen, in order. No step sleeps; time passes only at `wait`.
 * Clients and the backend are the far ends of Unix socket pairs and of a Unix listening socket; everything between them is the front as it runs in the door.
 *
 *   option NAME=VALUE            as -o; before the first client
 *   access LINE                  a line of the access file; before the first client
 *   connect NAME ADDRESS         a client of that name comes
 *   send NAME "TEXT"             \r \n \0 \t \\ \" \xHH
 *   send NAME "TEXT" * N         N times
 *   shutdown NAME | close NAME | reset NAME
 *   wait 300ms                   the clock moves, deadlines fall
 *   expect NAME "TEXT"           the next bytes NAME receives are exactly these
 *   expect NAME "TEXT" * N
 *   begins NAME "TEXT"           the next line NAME receives begins with this
 *   silent NAME                  NAME has nothing to read, and its connection is open
 *   ended NAME                   NAME reads the end of the connection
 *   backend accept NAME          the backend accepts a connection and calls it NAME; a PROXY header is read and dropped
 *   backend proxy NAME ADDRESS PAUSE   the same, and the header named this client and this pause (ms)
 *   backend none                 no connection waits at the backend
 *   backend down | up            the backend's socket goes away, comes back
 *   log "TEXT"                   a log line with this in it was written since the last `log` or `unlogged` of a match
 *   unlogged "TEXT"              no line since the start has this in it
 *   state NAME STATE             the state of the client's connection ("free" when it is over)
 *   metric NAME VALUE
 *   times NAME COUNT DURATION    what a histogram has counted, and what that adds up to
 *   turned "TEXT"                the next entry of those turned away lately: verdict, client, after_ms, kind and stage, with a blank after each, "observed " or nothing, and the bytes; of a ban's "N more"
 *   turned                       there is none
 *   ban ADDRESS SECONDS          the keeper of bans bans it, from now on
 *   offender ADDRESS REASON      the keeper is told that this client has offended as often as it may; without both: of nobody
 *   stop                         the door shuts down
 *   leave                        and waits for nobody any longer
 *
 * NAME of a backend connection can be used like a client's. ‘#’ begins a comment. Output is TAP, one test per file.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/conf.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/recent.h"
#include "core/sock.h"
#include "access/access.h"
#include "gate/front.h"
#include "gate/study.h"
#include "gate/session.h"
#include "known/known_wire.h"
#include "smtp/proxyhdr.h"

#define NAMES 64
#define BANS 1000
#define TEXT_MAX (256 * 1024)

struct party {
	char name[32];
	int fd;                /* our end; -1: closed */
	struct addr client;    /* of a client: finds its connection in the front */
	bool is_client;
};

struct run {
	const char *file;
	unsigned line;
	struct front front;
	struct conf conf;
	bool started;
	char *options[32];
	size_t options_len;
	struct buf access;
	char access_path[64], backend_path[64];
	int backend;
	struct party parties[NAMES];
	size_t parties_len;
	struct buf log;
	size_t log_seen;
	struct ban_table bans; /* with ban_after */
	int bans_heard;        /* what the front says to their keeper */
	int64_t base[METRIC_COUNT];
	struct metrics_times times[HISTOGRAM_COUNT]; /* as they were at the beginning */
	struct recent_reader turned;
};

static bool failed(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool failed(struct run *r, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	printf("# %s:%u: ", r->file, r->line);
	vprintf(format, args);
	printf("\n");
	va_end(args);
	return false;
}

/* ---- words of a line ---- */

static bool next_word(char **at, char *out, size_t size)
{
	while (isspace((unsigned char)**at))
		++*at;
	size_t n = 0;
	while (**at && !isspace((unsigned char)**at) && n + 1 < size)
		out[n++] = *(*at)++;
	out[n] = '\0';
	return n > 0;
}

static int hex(char c)
{
	const char *digits = "0123456789abcdef";
	const char *p = strchr(digits, tolower((unsigned char)c));
	return p && c ? (int)(p - digits) : 0;
}

static void unescape(char **at, struct buf *out)
{
	char c = *(*at)++;
	if (c == 'r')
		buf_put_char(out, '\r');
	else if (c == 'n')
		buf_put_char(out, '\n');
	else if (c == 't')
		buf_put_char(out, '\t');
	else if (c == '0')
		buf_put_char(out, '\0');
	else if (c == 'x') {
		buf_put_char(out, (char)(hex((*at)[0]) * 16 + hex((*at)[1])));
		*at += 2;
	} else
		buf_put_char(out, c);
}

/* "TEXT", and perhaps * N. */
static bool next_text(char **at, struct buf *out)
{
	struct buf once;
	buf_init(&once, TEXT_MAX);
	while (isspace((unsigned char)**at))
		++*at;
	if (**at != '"')
		return false;
	++*at;
	while (**at && **at != '"') {
		if (**at == '\\' && (*at)[1]) {
			++*at;
			unescape(at, &once);
		} else {
			buf_put_char(&once, *(*at)++);
		}
	}
	if (**at == '"')
		++*at;
	long times = 1;
	while (isspace((unsigned char)**at))
		++*at;
	if (**at == '*')
		times = strtol(*at + 1, at, 10);
	for (long i = 0; i < times; i++)
		buf_put_slice(out, buf_slice(&once));
	buf_fini(&once);
	return true;
}

/* ---- the front under test ---- */

/* In the place of the keeper of bans. */
static bool start_bans(struct run *r, struct ban_setup *out)
{
	int memory[2], pair[2];
	r->conf.ban_max = BANS;
	if (ban_table_create(BANS, memory) < 0 || ban_table_open(&r->bans, memory, BANS, true) < 0 || known_table_reset(&r->bans.rows, memory[0]) < 0
	    || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	r->bans_heard = pair[1];
	*out = (struct ban_setup){ memory[0], memory[1], pair[0], NULL };
	return true;
}

static bool start(struct run *r)
{
	struct conf_override overrides[40];
	struct buf errors, warnings;
	char backend[96], spec[80];
	size_t n = 0;
	if (r->started)
		return true;
	r->started = true;
	for (size_t i = 0; i < r->options_len; i++)
		overrides[n++].text = r->options[i];
	buf_init(&errors, 4096);
	buf_init(&warnings, 4096);
	overrides[n++].text = "hostname=mail.example.org";
	int access = -1;
	bool ok = conf_load(&r->conf, NULL, overrides, n, &errors, &warnings);
	if (ok && r->access.len > 0) {
		size_t entries;
		FILE *f = fopen(r->access_path, "w");
		fwrite(r->access.at, 1, r->access.len, f);
		fclose(f);
		snprintf(spec, sizeof(spec), "text:%s", r->access_path);
		access = access_build(spec, &errors, &warnings, &entries);
		ok = access >= 0;
	}
	if (!ok)
		return failed(r, "%s", buf_text(&errors));
	buf_fini(&errors);
	buf_fini(&warnings);
	/* The backend is the mail server inside as far as the front knows: a Unix socket and a PROXY v2 header. */
	snprintf(backend, sizeof(backend), "%s", r->backend_path);
	r->backend = sock_listen_unix(r->backend_path, 64);
	struct ban_setup bans = { -1, -1, -1, NULL };
	if (r->conf.ban_after > 0 && !start_bans(r, &bans))
		return failed(r, "no table of bans");
	struct front_setup setup = { .bans = bans, .conf = &r->conf, .mail_path = r->backend_path, .fronts = 1, .parent = -1, .access = &access, .access_len = access >= 0, .questions = -1, .manual_clock = true };
	if (r->conf.explore == 1000000) /* everybody; else nobody is, for the draw depends on the day */
		study_init_with(1);
	int e = front_init(&r->front, &setup);
	if (e < 0 || r->backend < 0)
		return failed(r, "the front does not start: %s", strerror(-e));
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		r->base[m] = metrics_sum((enum metric)m);
	for (unsigned h = 0; h < HISTOGRAM_COUNT; h++)
		metrics_times((enum histogram)h, &r->times[h]);
	recent_begin(&r->turned);
	for (struct recent skipped; recent_next(&r->turned, &skipped);)
		;
	return true;
}

/* Turns until nothing moves any more; more than enough for anything that one step sets off. */
static void settle(struct run *r)
{
	for (int i = 0; i < 40; i++)
		loop_turn(&r->front.loop, 0);
}

static struct party *find(struct run *r, const char *name)
{
	for (size_t i = r->parties_len; i-- > 0;)
		if (strcmp(r->parties[i].name, name) == 0)
			return &r->parties[i];
	return NULL;
}

static struct party *add_party(struct run *r, const char *name, int fd)
{
	struct party *p = &r->parties[r->parties_len++ % NAMES];
	*p = (struct party){ .fd = fd };
	snprintf(p->name, sizeof(p->name), "%s", name);
	return p;
}

static struct conn *conn_of(struct run *r, const struct party *p)
{
	for (uint32_t i = 0; i < r->front.conns_used; i++) {
		struct conn *c = &r->front.conns[i];
		if (c->state != CONN_FREE && addr_same_ip(&c->client, &p->client) && c->client.port == p->client.port)
			return c;
	}
	return NULL;
}

/* ---- the steps ---- */

static bool do_connect(struct run *r, char *at)
{
	char name[32], text[64];
	struct addr client;
	int pair[2];
	if (!next_word(&at, name, sizeof(name)) || !next_word(&at, text, sizeof(text)) || !addr_parse(slice_of(text), &client))
		return failed(r, "connect NAME ADDRESS");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return failed(r, "socketpair: %s", strerror(errno));
	client.port = (uint16_t)(40000 + r->parties_len);
	struct party *p = add_party(r, name, pair[0]);
	p->client = client;
	p->is_client = true;
	listen_admit(&r->front, pair[1], &client, CONF_TLS_STARTTLS);
	return true;
}

static bool do_send(struct run *r, struct party *p, char *at)
{
	struct buf text;
	buf_init(&text, TEXT_MAX);
	if (!next_text(&at, &text))
		return failed(r, "send NAME \"TEXT\"");
	/* In pieces, with turns between them: a socket pair does not hold everything at once. */
	for (int i = 0; text.len > 0 && i < 1000; i++) {
		if (sock_write(p->fd, &text) == SOCK_ERROR)
			break;
		settle(r);
	}
	bool ok = text.len == 0;
	size_t left = text.len;
	buf_fini(&text);
	return ok || failed(r, "%zu bytes were not taken", left);
}

static bool do_expect(struct run *r, struct party *p, char *at)
{
	struct buf want, got;
	buf_init(&want, TEXT_MAX);
	buf_init(&got, TEXT_MAX);
	if (!next_text(&at, &want))
		return failed(r, "expect NAME \"TEXT\"");
	while (got.len < want.len && sock_read(p->fd, &got, want.len - got.len) == SOCK_OK)
		settle(r);
	bool ok = slice_is(buf_slice(&want), "") || (got.len == want.len && memcmp(got.at, want.at, want.len) == 0);
	if (!ok) {
		struct buf shown;
		buf_init(&shown, TEXT_MAX);
		buf_put_escaped(&shown, got.at, got.len, 2000);
		failed(r, "received \"%s\"", buf_text(&shown));
		buf_fini(&shown);
	}
	buf_fini(&want);
	buf_fini(&got);
	return ok;
}

/* The next line begins with this; its rest, a date say, does not matter. */
static bool do_begins(struct run *r, struct party *p, char *at)
{
	struct buf want, got;
	buf_init(&want, TEXT_MAX);
	buf_init(&got, TEXT_MAX);
	if (!next_text(&at, &want))
		return failed(r, "begins NAME \"TEXT\"");
	while ((got.len == 0 || got.at[got.len - 1] != '\n') && sock_read(p->fd, &got, 1) == SOCK_OK)
		settle(r);
	bool ok = got.len >= want.len && memcmp(got.at, want.at, want.len) == 0;
	if (!ok)
		failed(r, "received \"%.*s\"", (int)got.len, got.len ? got.at : "");
	buf_fini(&want);
	buf_fini(&got);
	return ok;
}

static bool do_silent(struct run *r, struct party *p)
{
	char bytes[200];
	ssize_t n = recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return true;
	return failed(r, n > 0 ? "received \"%.*s\"" : "ended%.*s", n > 0 ? (int)n : 0, bytes);
}

static bool do_ended(struct run *r, struct party *p)
{
	char bytes[200];
	ssize_t n = recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return true;
	return failed(r, n > 0 ? "received \"%.*s\"" : "still open%.*s", n > 0 ? (int)n : 0, bytes);
}

static void reset(struct party *p)
{
	/* A Unix socket that is closed with unread bytes resets its peer. */
	close(p->fd);
	p->fd = -1;
}

static bool do_party(struct run *r, const char *verb, struct party *p, char *at)
{
	if (strcmp(verb, "send") == 0)
		return do_send(r, p, at);
	if (strcmp(verb, "expect") == 0)
		return do_expect(r, p, at);
	if (strcmp(verb, "begins") == 0)
		return do_begins(r, p, at);
	if (strcmp(verb, "silent") == 0)
		return do_silent(r, p);
	if (strcmp(verb, "ended") == 0)
		return do_ended(r, p);
	if (strcmp(verb, "shutdown") == 0)
		return shutdown(p->fd, SHUT_WR) == 0;
	reset(p);
	return true;
}

static bool backend_accept(struct run *r, char *at, bool check)
{
	char name[32], client[64], pause[16];
	struct addr from;
	struct buf in;
	struct proxyhdr h;
	const char *why = "";
	next_word(&at, name, sizeof(name));
	int fd = sock_accept(r->backend, &from);
	if (fd < 0)
		return failed(r, "nobody has connected to the backend");
	buf_init(&in, PROXYHDR_V2_MAX);
	settle(r);
	sock_read(fd, &in, 0);
	int len = proxyhdr_read_v2(buf_slice(&in), &h, &why);
	if (len <= 0 || (size_t)len != in.len)
		return failed(r, "the backend got %zu bytes, a header of %d: %s", in.len, len, why);
	buf_fini(&in);
	add_party(r, name, fd);
	if (!check)
		return true;
	char text[ADDR_TEXT];
	next_word(&at, client, sizeof(client));
	next_word(&at, pause, sizeof(pause));
	if (strcmp(addr_format(&h.client, text), client) != 0 || !h.has_pause || h.pause_ms != (uint32_t)strtoul(pause, NULL, 10))
		return failed(r, "the header names client %s, pause %u", text, (unsigned)h.pause_ms);
	return true;
}

static bool do_backend(struct run *r, char *at)
{
	char verb[16];
	next_word(&at, verb, sizeof(verb));
	if (strcmp(verb, "accept") == 0)
		return backend_accept(r, at, false);
	if (strcmp(verb, "proxy") == 0)
		return backend_accept(r, at, true);
	if (strcmp(verb, "none") == 0) {
		struct addr from;
		int fd = sock_accept(r->backend, &from);
		if (fd >= 0)
			close(fd);
		return fd < 0 || failed(r, "somebody has connected to the backend");
	}
	if (strcmp(verb, "down") == 0) {
		close(r->backend);
		r->backend = -1;
		return true;
	}
	if (strcmp(verb, "up") == 0) {
		r->backend = sock_listen_unix(r->backend_path, 64);
		return r->backend >= 0;
	}
	return failed(r, "backend accept|proxy|none|down|up");
}

static bool do_log(struct run *r, char *at, bool wanted)
{
	struct buf text;
	buf_init(&text, 4096);
	next_text(&at, &text);
	const char *all = buf_text(&r->log);
	const char *found = strstr(all + (wanted ? r->log_seen : 0), buf_text(&text));
	bool ok = wanted == (found != NULL);
	if (!ok)
		failed(r, "%s in the log:\n# %s", wanted ? "not" : "it is", all);
	else if (wanted)
		r->log_seen = (size_t)(found - all) + text.len;
	buf_fini(&text);
	return ok;
}

static bool do_state(struct run *r, char *at)
{
	char name[32], state[16];
	next_word(&at, name, sizeof(name));
	next_word(&at, state, sizeof(state));
	struct party *p = find(r, name);
	struct conn *c = p ? conn_of(r, p) : NULL;
	const char *is = c ? conn_state_name((enum conn_state)c->state) : "free";
	return strcmp(is, state) == 0 || failed(r, "state is %s", is);
}

static bool do_metric(struct run *r, char *at)
{
	char name[32], value[24];
	next_word(&at, name, sizeof(name));
	next_word(&at, value, sizeof(value));
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		if (strcmp(metrics_name((enum metric)m), name) == 0) {
			long long is = (long long)(metrics_sum((enum metric)m) - r->base[m]);
			return is == atoll(value) || failed(r, "%s is %lld", name, is);
		}
	return failed(r, "no metric \"%s\"", name);
}

static bool do_times(struct run *r, char *at)
{
	static struct metrics_times now;
	char name[32], count[24], sum[32];
	int64_t ns;
	next_word(&at, name, sizeof(name));
	next_word(&at, count, sizeof(count));
	next_word(&at, sum, sizeof(sum));
	if (!conf_duration(slice_of(sum), &ns))
		return failed(r, "times NAME COUNT DURATION");
	for (unsigned h = 0; h < HISTOGRAM_COUNT; h++) {
		if (strcmp(metrics_times_name((enum histogram)h), name) != 0)
			continue;
		metrics_times((enum histogram)h, &now);
		long long counted = (long long)(now.count - r->times[h].count), added = (long long)(now.sum - r->times[h].sum);
		return (counted == atoll(count) && added == ns) || failed(r, "%s has counted %lld, in all %lld ns", name, counted, added);
	}
	return failed(r, "no histogram \"%s\"", name);
}

static bool do_turned(struct run *r, char *at)
{
	struct buf want, is;
	struct recent e;
	char client[ADDR_TEXT];
	buf_init(&want, TEXT_MAX);
	buf_init(&is, TEXT_MAX);
	bool wanted = next_text(&at, &want);
	if (recent_next(&r->turned, &e)) {
		buf_putf(&is, "%s %s %u %s %s %s", e.verdict, addr_format(&e.client, client), e.after_ms, e.kind, e.stage, e.observed ? "observed " : "");
		if (e.until > 0)
			buf_putf(&is, "%u more", e.more);
		buf_put(&is, e.bytes, e.bytes_len);
	} else if (wanted) {
		failed(r, "there is none");
	}
	bool ok = is.len == want.len && memcmp(is.at ? is.at : "", want.at ? want.at : "", is.len) == 0;
	if (!ok) {
		struct buf shown;
		buf_init(&shown, TEXT_MAX);
		buf_put_escaped(&shown, is.at, is.len, 2000);
		failed(r, "is \"%s\"", buf_text(&shown));
		buf_fini(&shown);
	}
	buf_fini(&want);
	buf_fini(&is);
	return ok;
}

static bool do_ban(struct run *r, char *at)
{
	char address[ADDR_TEXT], seconds[16];
	struct known_key key;
	struct prefix p;
	if (!r->bans.rows.head || !next_word(&at, address, sizeof(address)) || !next_word(&at, seconds, sizeof(seconds)) || !known_key_parse_network(slice_of(address), &key)
	    || !known_key_prefix(&key, &p))
		return failed(r, "ban ADDRESS SECONDS, with ban_after");
	struct known_id id = known_table_id(&r->bans.rows, &key);
	atomic_fetch_or(&r->bans.rows.head->lengths[!addr_is4(&p.base)], UINT64_C(1) << (p.bits - 1));
	known_table_add(&r->bans.rows, &id, (struct known_times){ 1, (uint32_t)(loop_now(&r->front.loop) / LOOP_SECOND + atoll(seconds)), 1 });
	return true;
}

static bool do_offender(struct run *r, char *at)
{
	char address[ADDR_TEXT] = "", reason[16] = "", client[ADDR_TEXT] = "";
	struct ban_message m = { .reason = "" };
	next_word(&at, address, sizeof(address));
	next_word(&at, reason, sizeof(reason));
	if (recv(r->bans_heard, &m, sizeof(m), MSG_DONTWAIT) == (ssize_t)sizeof(m))
		addr_format(&m.client, client);
	return (strcmp(address, client) == 0 && strcmp(reason, m.reason) == 0) || failed(r, "it is \"%s\", \"%s\"", client, m.reason);
}

static bool before_start(struct run *r, const char *verb, char *at)
{
	while (isspace((unsigned char)*at))
		at++;
	if (r->started)
		return failed(r, "%s comes too late", verb);
	if (strcmp(verb, "option") == 0) {
		at[strcspn(at, "\r\n")] = '\0';
		r->options[r->options_len++] = strdup(at);
		return true;
	}
	return buf_put_text(&r->access, at);
}

static bool do_wait(struct run *r, char *at)
{
	char word[32];
	int64_t ns;
	if (!next_word(&at, word, sizeof(word)) || !conf_duration(slice_of(word), &ns))
		return failed(r, "wait DURATION");
	loop_advance(&r->front.loop, ns);
	return true;
}

static bool step(struct run *r, char *line)
{
	static const char *const of_party[] = { "send", "expect", "begins", "silent", "ended", "shutdown", "close", "reset" };
	char verb[16], name[32];
	char *at = line;
	bool ok;
	if (!next_word(&at, verb, sizeof(verb)) || verb[0] == '#')
		return true;
	if (strcmp(verb, "option") == 0 || strcmp(verb, "access") == 0)
		return before_start(r, verb, at);
	if (!start(r))
		return false;
	for (size_t i = 0; i < sizeof(of_party) / sizeof(of_party[0]); i++)
		if (strcmp(verb, of_party[i]) == 0) {
			next_word(&at, name, sizeof(name));
			struct party *p = find(r, name);
			ok = p ? do_party(r, verb, p, at) : failed(r, "nobody is called %s", name);
			settle(r);
			return ok;
		}
	if (strcmp(verb, "connect") == 0)
		ok = do_connect(r, at);
	else if (strcmp(verb, "backend") == 0)
		ok = do_backend(r, at);
	else if (strcmp(verb, "wait") == 0)
		ok = do_wait(r, at);
	else if (strcmp(verb, "log") == 0 || strcmp(verb, "unlogged") == 0)
		ok = do_log(r, at, verb[0] == 'l');
	else if (strcmp(verb, "state") == 0)
		ok = do_state(r, at);
	else if (strcmp(verb, "metric") == 0)
		ok = do_metric(r, at);
	else if (strcmp(verb, "times") == 0)
		ok = do_times(r, at);
	else if (strcmp(verb, "turned") == 0)
		ok = do_turned(r, at);
	else if (strcmp(verb, "ban") == 0)
		ok = do_ban(r, at);
	else if (strcmp(verb, "offender") == 0)
		ok = do_offender(r, at);
	else if (strcmp(verb, "stop") == 0 || strcmp(verb, "leave") == 0) {
		r->front.stopping = true;
		front_stop_all(&r->front, verb[0] == 's' ? CONN_STOP : CONN_LEAVE);
		ok = true;
	} else
		ok = failed(r, "no step is called %s", verb);
	settle(r);
	return ok;
}

/* ---- files ---- */

static void run_init(struct run *r, const char *file)
{
	memset(r, 0, sizeof(*r));
	r->file = file;
	r->backend = r->bans_heard = -1;
	buf_init(&r->access, TEXT_MAX);
	buf_init(&r->log, 4 * 1024 * 1024);
	snprintf(r->access_path, sizeof(r->access_path), "/tmp/tarry-talk-%d.access", (int)getpid());
	snprintf(r->backend_path, sizeof(r->backend_path), "@tarry-talk-%d", (int)getpid());
	log_capture(&r->log);
}

static void run_fini(struct run *r)
{
	if (r->started) {
		front_fini(&r->front);
		conf_fini(&r->conf);
	}
	ban_table_close(&r->bans);
	if (r->bans_heard >= 0)
		close(r->bans_heard);
	for (size_t i = 0; i < r->parties_len && i < NAMES; i++)
		if (r->parties[i].fd >= 0)
			close(r->parties[i].fd);
	if (r->backend >= 0)
		close(r->backend);
	for (size_t i = 0; i < r->options_len; i++)
		free(r->options[i]);
	unlink(r->access_path);
	log_capture(NULL);
	buf_fini(&r->log);
	buf_fini(&r->access);
}

static bool run_file(const char *file)
{
	struct run r;
	char line[4096];
	unsigned steps = 0;
	run_init(&r, file);
	FILE *f = fopen(file, "r");
	bool ok = f != NULL;
	while (ok && fgets(line, sizeof(line), f)) {
		r.line++;
		steps++;
		ok = step(&r, line);
	}
	if (f)
		fclose(f);
	run_fini(&r);
	return ok && steps > 0;
}

int main(int argc, char **argv)
{
	int bad = 0;
	log_open(LOG_TO_STDERR, LOG_LEVEL_INFO);
	if (recent_init() < 0)
		return 1;
	printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc; i++) {
		bool ok = run_file(argv[i]);
		const char *base = strrchr(argv[i], '/');
		printf("%s %d - %s\n", ok ? "ok" : "not ok", i, base ? base + 1 : argv[i]);
		bad += !ok;
	}
	return bad > 0;
}
