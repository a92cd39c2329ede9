/* The tour starts here, after main.c: the parent. In order: read the configuration, open the log, bind, build the access table, look up the unprivileged
 * user, start the roles (roles.c); then watch them and the access file until a signal says stop. */
#include "serve.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/health.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/recent.h"
#include "core/sock.h"
#include "control.h"
#include "serve_inside.h"
#include "status.h"
#include "tool/complain.h"

#define SERVE_BACKLOG 4096         /* connections that wait to be accepted, per front and address; the system may allow less */
#define SERVE_TEXT_MAX (64 * 1024) /* errors and warnings of one configuration */

/* ---- the command line ---- */

static int usage(FILE *to, int status)
{
	fputs("usage: tarry serve [-c FILE] [-o name=value]...\n"
	      "Runs the door in the foreground. Without -c it reads " CONF_DEFAULT_PATH " if that is there; without any file\n"
	      "all options have their defaults: it listens on 127.0.0.1:2525.\n"
	      "Ctrl-C or SIGTERM ends it, SIGHUP reads the access database and the certificate again, SIGUSR1 logs all counters.\n", to);
	return status;
}

static int read_configuration(struct parent *p, int argc, char **argv)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	struct conf_override overrides[CONF_OVERRIDES];
	size_t overrides_len = 0;
	const char *path = conf_default_path();
	int c;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:o:h", longs, NULL)) != -1) {
		if (c == 'c')
			path = optarg;
		else if (c == 'o' && overrides_len < CONF_OVERRIDES)
			overrides[overrides_len++].text = optarg;
		else if (c == 'h')
			return usage(stdout, -1);
		else
			break;
	}
	if (c == 'o')
		fprintf(stderr, "tarry: serve: more than %d times -o; put them in a file\n", CONF_OVERRIDES);
	else if (c != -1)
		fprintf(stderr, "tarry: serve: %s: %s; see tarry serve -h\n", argv[optind - 1], c == ':' ? "needs a value" : "no such option");
	else if (optind < argc)
		fprintf(stderr, "tarry: serve: \"%s\": nothing is expected there; see tarry serve -h\n", argv[optind]);
	if (c != -1 || optind < argc)
		return EX_USAGE;
	p->path = path;
	struct buf errors, warnings;
	buf_init(&errors, SERVE_TEXT_MAX);
	buf_init(&warnings, SERVE_TEXT_MAX);
	bool ok = complain_load(&p->conf, path, overrides, overrides_len, &errors, &warnings);
	complain_lines(&warnings, "warning: ");
	complain_lines(&errors, "");
	buf_fini(&errors);
	buf_fini(&warnings);
	if (ok)
		return EX_OK;
	return path && !complain_is_readable(path) ? EX_NOINPUT : EX_CONFIG;
}

/* ---- what is needed before the first child ---- */

static int find_user(struct parent *p)
{
	if (geteuid() != 0) {
		complain_maildir(&p->conf, NULL);
		return EX_OK;
	}
	const struct passwd *account;
	int status = complain_account(&p->conf, &account);
	if (status != EX_OK)
		return status;
	complain_maildir(&p->conf, account);
	p->procs.drop = true;
	p->procs.uid = account->pw_uid;
	p->procs.gid = account->pw_gid;
	p->procs.user = p->conf.user;
	return EX_OK;
}

static int cannot_listen(const struct conf_listen *listen, int error)
{
	char text[ADDR_TEXT];
	addr_format_port(&listen->at, text);
	fprintf(stderr, "tarry: %s: listen \"%s\": %s%s\n", listen->where, text, strerror(-error),
	        error == -EADDRINUSE ? "; another server has this port: see `ss -ltnp`" : error == -EACCES ? "; ports below 1024 need root" : "");
	return error == -EACCES ? EX_NOPERM : EX_OSERR;
}

/* One socket per front. A first one without SO_REUSEPORT shows whether somebody else listens there: with it, we would share the port silently. */
static int bind_address(struct parent *p, unsigned n)
{
	struct conf_listen *listen = &p->conf.listens[n];
	struct addr at = listen->at;
	int probe = sock_listen(&at, 1, false);
	if (probe < 0)
		return cannot_listen(listen, probe);
	if (at.port == 0)
		sock_local(probe, &at);
	close(probe);
	for (unsigned f = 0; f < p->fronts; f++) {
		int fd = sock_listen(&at, SERVE_BACKLOG, true);
		if (fd < 0)
			return cannot_listen(listen, fd);
		sock_nodelay(fd); /* inherited by the connections */
		p->listeners[n][f] = fd;
	}
	int e = p->fronts > 1 ? sock_steer_by_client(p->listeners[n][0], p->fronts) : 0;
	if (e < 0)
		return cannot_listen(listen, e);
	listen->at = at;
	return EX_OK;
}

static int bind_all(struct parent *p)
{
	for (unsigned n = 0; n < p->conf.listens_len; n++) {
		int status = bind_address(p, n);
		if (status != EX_OK)
			return status;
	}
	return EX_OK;
}

/* Only a listener that takes the PROXY header has clients whose front is not the one that accepts. */
static int open_queues(struct parent *p)
{
	bool proxied = false;
	for (size_t n = 0; n < p->conf.listens_len; n++)
		proxied = proxied || p->conf.listens[n].proxy;
	p->queued = proxied && p->fronts > 1;
	for (unsigned f = 0; f < p->fronts && p->queued; f++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
			fprintf(stderr, "tarry: sockets between the fronts: %s\n", strerror(errno));
			return EX_OSERR;
		}
		p->queues[f] = pair[0];
		p->to_queues[f] = pair[1];
	}
	return EX_OK;
}

/* The mail server inside listens on an abstract Unix socket with a random name: nothing to clean up, no two doors in each other's way. It looks at the user at
 * the other end, so that a name found out is worth nothing. */
static int bind_mail(struct parent *p)
{
	uint64_t random;
	if (!conf_mail(&p->conf))
		return EX_OK;
	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return EX_OSERR;
	snprintf(p->mail_path, sizeof(p->mail_path), "@tarry-mail-%d-%016llx", (int)getpid(), (unsigned long long)random);
	p->mail_listener = sock_listen_unix(p->mail_path, SERVE_BACKLOG);
	if (p->mail_listener < 0) {
		fprintf(stderr, "tarry: socket of the mail server inside: %s\n", strerror(-p->mail_listener));
		return EX_OSERR;
	}
	return EX_OK;
}

/* ---- what wakes the parent ---- */

static void log_counters(struct parent *p)
{
	struct log_line l;
	keepers_count(&p->keepers);
	log_begin(&l, LOG_LEVEL_NOTICE);
	log_text(&l, "event", "counters");
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		log_int(&l, metrics_name((enum metric)m), metrics_sum((enum metric)m));
	log_end(&l);
}

static void signals_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct parent *p = (struct parent *)loop;
	struct signalfd_siginfo info;
	(void)events;
	while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			proc_reap(&p->procs);
			break;
		case SIGHUP:
			tables_reload(&p->tables, &p->procs, NULL);
			tlskeys_reload(&p->tlskeys, &p->procs, NULL);
			break;
		case SIGUSR1:
			log_counters(p);
			break;
		default:
			loop_stop(loop);
			break;
		}
	}
}

/* Only there to have a turn, at the end of which the log is flushed. */
static void wake(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static void put_reload(struct parent *p, struct buf *report)
{
	if (!tables_reload(&p->tables, &p->procs, report))
		report->at[0] = CONTROL_KEPT;
	if (!tlskeys_reload(&p->tlskeys, &p->procs, report))
		report->at[0] = CONTROL_KEPT;
	if (p->conf.access_db.len == 0)
		buf_put_text(report, "there is no access database (access_db)\n");
}

static void put_status(struct parent *p, struct buf *report)
{
	keepers_count(&p->keepers);
	status_put(report, &p->conf, p->fronts, p->started);
}

/* Whoever asks gets what put writes. */
static void answer_all(struct parent *p, int listener, void (*put)(struct parent *p, struct buf *report))
{
	struct buf report;
	int fd;
	while ((fd = control_accept(listener)) >= 0 || fd == -EPERM) {
		if (fd < 0)
			continue;
		buf_init(&report, CONTROL_TEXT);
		buf_put_char(&report, CONTROL_DONE);
		put(p, &report);
		control_answer(fd, &report);
		buf_fini(&report);
	}
}

static void control_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)events;
	answer_all((struct parent *)loop, source->fd, put_reload);
}

static void status_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)events;
	answer_all((struct parent *)loop, source->fd, put_status);
}

static void access_due(struct loop *loop, struct source *source)
{
	struct parent *p = (struct parent *)loop;
	tables_look(&p->tables, &p->procs);
	tlskeys_look(&p->tlskeys, &p->procs);
	loop_set_due(loop, source, loop_now(loop) + TABLES_LOOK);
}

static const struct source_ops signals_ops = { signals_ready, wake };
static const struct source_ops access_ops = { NULL, access_due };
static const struct source_ops control_ops = { control_ready, wake };
static const struct source_ops status_ops = { status_ready, wake };

static int watch_signals(struct parent *p)
{
	static const int wanted[] = { SIGCHLD, SIGHUP, SIGUSR1, SIGINT, SIGTERM };
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&set, wanted[i]);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR2, SIG_IGN); /* means nothing here, and must not end the door */
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	source_init(&p->signals, &signals_ops);
	return loop_watch(&p->loop, &p->signals, fd, EPOLLIN);
}

static void watch_question(struct parent *p, enum control_question question, struct source *source, const struct source_ops *ops, const char *consequence)
{
	int fd = control_listen(question, p->path);
	source_init(source, ops);
	int e = fd < 0 ? fd : loop_watch(&p->loop, source, fd, EPOLLIN);
	if (e < 0)
		log_event(LOG_LEVEL_NOTICE, "no_control", "%s: %s", consequence, e == -EADDRINUSE ? "another one runs with the same configuration file" : strerror(-e));
}

/* Without it there is SIGHUP, and the log. */
static void watch_control(struct parent *p)
{
	watch_question(p, CONTROL_RELOAD, &p->control, &control_ops, "tarry reload will not find this door");
	watch_question(p, CONTROL_STATUS, &p->status, &status_ops, "tarry status will not find this door");
}

/* ---- together ---- */

static void log_start(const struct parent *p)
{
	for (unsigned n = 0; n < p->conf.listens_len; n++) {
		char text[ADDR_TEXT];
		struct log_line l;
		log_begin(&l, LOG_LEVEL_NOTICE);
		log_text(&l, "event", "listening");
		log_text(&l, "at", addr_format_port(&p->conf.listens[n].at, text));
		log_int(&l, "fronts", p->fronts);
		log_ms(&l, "pause_ms", p->conf.greet_pause);
		log_text(&l, "backend", conf_backend_at(&p->conf.backends[0]));
		if (p->conf.backends_len > 1)
			log_int(&l, "backends", (int64_t)p->conf.backends_len);
		log_end(&l);
	}
	if (p->conf.mode == CONF_OBSERVE)
		log_event(LOG_LEVEL_NOTICE, "observing", "mode = observe: no client is refused");
	log_flush();
}

/* A client that is relayed needs two descriptors, its own and its backend's. */
static void warn_descriptors(const struct parent *p)
{
	size_t have = sock_raise_nofile();
	size_t need = 2 * (size_t)p->conf.max_connections / p->fronts + (size_t)p->conf.reserve_descriptors;
	if (have < need)
		log_event(LOG_LEVEL_WARNING, "few_descriptors", "a process may have %zu descriptors, but %lld connections over %u fronts can need %zu in each: raise the limit "
		        "(LimitNOFILE=, ulimit -n) or lower max_connections", have, (long long)p->conf.max_connections, p->fronts, need);
}

static void set_counts(struct parent *p)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	cores = cores < 1 ? 1 : cores > SERVE_FRONTS ? SERVE_FRONTS : cores;
	p->fronts = p->conf.fronts > 0 ? (unsigned)p->conf.fronts : (unsigned)cores;
	p->tlses = !complain_tls_is_needed(&p->conf) ? 0 : p->conf.tls_processes > 0 ? (unsigned)p->conf.tls_processes : cores > SERVE_FRONTS / 2 ? SERVE_FRONTS / 2 : (unsigned)cores;
	p->mails = 0;
	if (conf_mail(&p->conf))
		p->mails = p->conf.mail_processes > 0 ? (unsigned)p->conf.mail_processes : cores > SERVE_FRONTS / 4 ? SERVE_FRONTS : 4 * (unsigned)cores;
}

static int prepare_spawn(struct parent *p)
{
	char memory[512];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	/* A program that is not there may come, as during an upgrade; an account that is not there was misspelt. */
	if (complain_exec(&p->conf) == EX_NOUSER)
		return EX_NOUSER;
	int e = spawn_prepare(&p->spawn, &p->conf, p->fronts, p->procs.drop, &p->descriptors, &why);
	if (e < 0)
		fprintf(stderr, "tarry: %s\n", why.len > 0 ? buf_text(&why) : strerror(-e));
	return e == -EINVAL ? EX_CONFIG : e < 0 ? EX_OSERR : EX_OK;
}

/* What all roles share; and whose health it is. */
static int make_memory(const struct parent *p)
{
	const struct conf *conf = &p->conf;
	int e = metrics_init();
	if (e == 0)
		e = recent_init();
	if (e == 0)
		e = health_init(p->fronts, (unsigned)conf->backends_len, (unsigned)conf->access_db.len);
	for (unsigned i = 0; i < conf->backends_len; i++)
		health_name(i, conf->backends[i].name, conf_backend_at(&conf->backends[i]));
	for (unsigned i = 0; i < conf->access_db.len; i++) {
		char scheme[HEALTH_NAME];
		snprintf(scheme, sizeof(scheme), "%.*s", (int)strcspn(conf->access_db.at[i], ":"), conf->access_db.at[i]);
		health_name(health_map(i), scheme, conf->access_db.at[i]);
	}
	return e;
}

/* Everything that may fail, before anything is started. */
static int prepare(struct parent *p)
{
	set_counts(p);
	int e = log_open((enum log_target)p->conf.log, (enum log_level)p->conf.log_level);
	if (e < 0) {
		fprintf(stderr, "tarry: %s: log = %s: nobody takes it at %s (%s); expected a daemon that does, or log = stderr\n", conf_where(&p->conf, "log"),
		        conf_words("log")[p->conf.log], log_socket((enum log_target)p->conf.log), strerror(-e));
		return EX_OSERR;
	}
	log_role("parent");
	e = make_memory(p);
	if (e < 0) {
		fprintf(stderr, "tarry: memory for the counters: %s\n", strerror(-e));
		return EX_OSERR;
	}
	p->connections = backends_share(p->fronts);
	if (!p->connections) {
		fprintf(stderr, "tarry: memory for the counts of connections: %s\n", strerror(errno));
		return EX_OSERR;
	}
	metrics_row(METRICS_ROWS - 1); /* before the first thing is counted: row 0 is a front's */
	int status = find_user(p);
	if (status == EX_OK)
		status = complain_transparent(&p->conf, "");
	/* Before the first socket listens: nobody is to be taken in by a door that then does not start. */
	if (status == EX_OK)
		status = tables_start(&p->tables, &p->loop, &p->conf, p->fronts);
	if (status == EX_OK)
		status = tlskeys_start(&p->tlskeys, &p->loop, &p->conf);
	if (status == EX_OK)
		status = keepers_start(&p->keepers, &p->conf, p->fronts, p->path);
	if (status == EX_OK)
		status = bind_all(p);
	if (status == EX_OK)
		status = open_queues(p);
	if (status == EX_OK)
		status = bind_mail(p);
	if (status != EX_OK)
		return status;
	status = prepare_spawn(p);
	if (status != EX_OK)
		return status;
	e = watch_signals(p);
	if (e < 0) {
		fprintf(stderr, "tarry: signals: %s\n", strerror(-e));
		return EX_OSERR;
	}
	if (!roles_add(p)) {
		fprintf(stderr, "tarry: more than %d processes; lower fronts, mail_processes, lookup_processes or tls_processes\n", PROC_MAX);
		return EX_CONFIG;
	}
	return EX_OK;
}

static void turn_end(struct loop *loop, void *context)
{
	struct parent *p = context;
	log_flush();
	if (log_pending())
		loop_set_due(loop, &p->signals, loop_now(loop) + LOG_RETRY_MS * LOOP_MS);
}

static int run(struct parent *p)
{
	p->loop.turn_end = turn_end;
	p->loop.turn_end_context = p;
	source_init(&p->access_watch, &access_ops);
	if (p->conf.access_db.len > p->tables.elsewhere || p->tlskeys.wanted)
		loop_set_due(&p->loop, &p->access_watch, loop_now(&p->loop) + TABLES_LOOK);
	warn_descriptors(p);
	watch_control(p);
	p->started = time(NULL);
	proc_start_all(&p->procs);
	log_start(p);
	int e = loop_run(&p->loop);
	proc_end_all(&p->procs);
	log_counters(p);
	log_event(LOG_LEVEL_NOTICE, "ended", NULL);
	log_flush();
	return e < 0 ? EX_OSERR : EX_OK;
}

int serve(int argc, char **argv)
{
	static struct parent parent = { .mail_listener = -1, .control = { .fd = -1 }, .status = { .fd = -1 } };
	struct parent *p = &parent;
	getrlimit(RLIMIT_NOFILE, &p->descriptors);
	int status = read_configuration(p, argc, argv);
	if (status != EX_OK)
		return status < 0 ? EX_OK : status;
	int e = loop_init(&p->loop, PROC_MAX + 8);
	if (e < 0) {
		fprintf(stderr, "tarry: no epoll: %s\n", strerror(-e));
		return EX_OSERR;
	}
	proc_set_init(&p->procs, &p->loop);
	status = prepare(p);
	if (status == EX_OK)
		status = run(p);
	spawn_fini(&p->spawn);
	conf_fini(&p->conf);
	return status;
}
