/* The tour, main: the certificate of a running door: read, watched, and handed to the processes that end TLS; and that program, started. */
#include "tlskeys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sandbox_conf.h"
#include "core/tlswire.h"
#include "show/lines.h"
#include "tool/complain.h"
#include "tool/complain_tls.h"

#define TEXT_MAX 8192

static void log_lines(enum log_level level, const char *event, struct buf *text)
{
	char *rest = NULL, *line;
	buf_text(text);
	for (line = text->len > 0 ? strtok_r(text->at, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		log_event(level, event, "%s", line);
}

static void look_at_files(const struct tlskeys *k, struct look out[TLSKEYS_FILES])
{
	for (unsigned i = 0; i < TLSKEYS_FILES; i++)
		out[i] = look_at(k->files[i][0] ? k->files[i] : NULL);
}

static bool same(const struct look a[TLSKEYS_FILES], const struct look b[TLSKEYS_FILES])
{
	for (unsigned i = 0; i < TLSKEYS_FILES; i++)
		if (!look_same(&a[i], &b[i]))
			return false;
	return true;
}

/* EX_OK, or why it is refused. */
static int take(struct tlskeys *k, struct buf *about, struct buf *said)
{
	struct complain_tls_files fresh;
	look_at_files(k, k->taken);
	memcpy(k->seen, k->taken, sizeof(k->seen));
	int code = complain_tls(k->conf, &fresh, about, said);
	if (code != EX_OK && k->kept == 0)
		k->kept = (int64_t)time(NULL);
	if (code != EX_OK)
		return code;
	k->kept = 0;
	complain_tls_close(&k->have);
	k->have = fresh;
	return EX_OK;
}

static void tell(const struct tlskeys *k, struct proc_set *procs)
{
	if (k->have.bundle >= 0)
		proc_tell(procs, "tls", TLSWIRE_WORD_CERTIFICATE, k->have.bundle);
	if (k->have.backends >= 0)
		proc_tell(procs, "tls", TLSWIRE_WORD_BACKENDS, k->have.backends);
}

bool tlskeys_reload(struct tlskeys *k, struct proc_set *procs, struct buf *report)
{
	struct buf about, said;
	if (!k->wanted)
		return true;
	buf_init(&about, TEXT_MAX);
	buf_init(&said, TEXT_MAX);
	bool ok = take(k, &about, &said) == EX_OK;
	if (report) {
		buf_put_slice(report, buf_slice(&said));
		if (k->conf->tls_certificate[0] || !ok)
			buf_putf(report, "%s: ", k->conf->tls_certificate[0] ? k->conf->tls_certificate : "tls_ca");
		buf_put_slice(report, ok ? buf_slice(&about) : slice_of("the certificate that was there stays\n"));
		if (ok && k->have.backends >= 0)
			buf_put_text(report, "the tls_ca files of backends are read\n");
	}
	log_lines(ok ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR, ok ? "tls_certificate_warning" : "tls_certificate_kept", &said);
	if (ok) {
		log_lines(LOG_LEVEL_NOTICE, "tls_certificate", &about);
		tell(k, procs);
	}
	buf_fini(&about);
	buf_fini(&said);
	return ok;
}

void tlskeys_put_kept(const struct tlskeys *k, struct buf *out)
{
	if (k->wanted && k->kept > 0)
		lines_put_kept(out, k->conf->tls_certificate[0] ? "tls_certificate" : "tls_ca", k->conf->tls_certificate, k->kept);
}

static void rotate_tickets(struct tlskeys *k, struct proc_set *procs)
{
	int fresh = tlswire_make_tickets(k->tickets, true);
	k->rotate = loop_now(k->loop) + k->conf->tls_tickets;
	if (fresh < 0) {
		log_event(LOG_LEVEL_ERROR, "tls_tickets_kept", "no new key for tickets (%s); the old one stays", strerror(-fresh));
		return;
	}
	close(k->tickets);
	k->tickets = fresh;
	proc_tell(procs, "tls", TLSWIRE_WORD_TICKETS, k->tickets);
}

void tlskeys_look(struct tlskeys *k, struct proc_set *procs)
{
	struct look now[TLSKEYS_FILES];
	if (!k->wanted)
		return;
	if (proc_missed(procs, "tls")) { /* which word it was nobody knows */
		tell(k, procs);
		proc_tell(procs, "tls", TLSWIRE_WORD_TICKETS, k->tickets);
	}
	if (k->conf->tls_tickets > 0 && loop_now(k->loop) >= k->rotate)
		rotate_tickets(k, procs);
	/* Files that were the same at two looks, and are not those taken last, have been finished by whoever wrote them. */
	look_at_files(k, now);
	bool changed = same(now, k->seen) && !same(now, k->taken);
	memcpy(k->seen, now, sizeof(now));
	if (changed)
		tlskeys_reload(k, procs, NULL);
}

/* Clients come with tickets of the door before a change. */
static void take_tickets(struct tlskeys *k, const struct takeover *t)
{
	int64_t latest = loop_now(k->loop) + k->conf->tls_tickets;
	if (t && t->tickets >= 0 && t->tickets_rotate > 0 && k->conf->tls_tickets > 0) {
		k->tickets = t->tickets;
		k->rotate = t->tickets_rotate < latest ? t->tickets_rotate : latest;
		return;
	}
	if (t && t->tickets >= 0)
		close(t->tickets);
	k->tickets = tlswire_make_tickets(-1, k->conf->tls_tickets > 0);
	k->rotate = latest;
}

int tlskeys_start(struct tlskeys *k, struct loop *loop, const struct conf *conf, const struct takeover *takeover)
{
	struct buf about, said;
	*k = (struct tlskeys){ .loop = loop, .conf = conf, .wanted = complain_tls_is_needed(conf), .have = { -1, -1 }, .tickets = -1, .orders = { -1, -1 },
		.files = { conf->tls_certificate, conf->tls_key, conf->tls_client_ca } };
	if (!k->wanted && takeover && takeover->tickets >= 0)
		close(takeover->tickets);
	if (!k->wanted)
		return EX_OK;
	buf_init(&about, TEXT_MAX);
	buf_init(&said, TEXT_MAX);
	int code = take(k, &about, &said);
	complain_lines(&said, code == EX_OK ? "warning: " : "");
	log_lines(LOG_LEVEL_NOTICE, "tls_certificate", &about);
	buf_fini(&about);
	buf_fini(&said);
	if (code != EX_OK)
		return code;
	take_tickets(k, takeover);
	if (k->tickets >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, k->orders) == 0)
		return EX_OK;
	fprintf(stderr, "tarry: channels to tarry-tls: %s\n", strerror(k->tickets < 0 ? -k->tickets : errno));
	return EX_OSERR;
}

void tlskeys_close(struct tlskeys *k, bool front)
{
	if (!k->wanted)
		return;
	complain_tls_close(&k->have);
	close(k->tickets);
	close(k->orders[1]);
	if (!front)
		close(k->orders[0]);
}

int tlskeys_run(struct tlskeys *k, unsigned index, int parent)
{
	char program[PATH_MAX], numbers[7][16];
	const char *args[COMPLAIN_TLS_ARGS + SANDBOX_ARGS + 22] = { program, "--log", conf_words("log")[k->conf->log], "--log-level", conf_words("log_level")[k->conf->log_level] };
	const struct {
		const char *option;
		int value; /* -1: there is none */
		bool is_fd;
	} given[] = { { "--index", (int)index, false }, { "--timeout", (int)(k->conf->tls_timeout / LOOP_MS), false }, { "--bundle", k->have.bundle, true },
		{ "--backends", k->have.backends, true }, { "--tickets", k->tickets, true }, { "--orders", k->orders[1], true }, { "--parent", parent, true } };
	size_t n = 5;
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		if (given[i].value < 0)
			continue;
		snprintf(numbers[i], sizeof(numbers[i]), "%d", given[i].value);
		if (given[i].is_fd)
			fcntl(given[i].value, F_SETFD, 0);
		args[n++] = given[i].option;
		args[n++] = numbers[i];
	}
	n += sandbox_conf_args(k->conf, args + n);
	args[n + complain_tls_names(k->conf, args + n)] = NULL;
	if (proc_program("tarry-tls", program))
		execv(program, (char *const *)(uintptr_t)args);
	log_event(LOG_LEVEL_ERROR, "tls_failed", "%s: %s", program, strerror(errno));
	return EX_OSERR;
}
