/* The tour starts here, after main.c: the parent. In order: read the configuration, open the log, take over what the program before this one has left (takeover.h), bind, build the access table, look up
 * the unprivileged user, start the roles (roles.c); then run the errands of a parent (errands.c) until a signal says stop. */
#include "serve.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/conffile.h"
#include "core/health.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/pulse.h"
#include "core/recent.h"
#include "core/sock.h"
#include "gate/study.h"
#include "serve_inside.h"
#include "tool/complain.h"

#define SERVE_BACKLOG 4096         /* connections that wait to be accepted by the mail server inside; the system may allow less */
#define SERVE_TEXT_MAX (64 * 1024) /* errors and warnings of one configuration */

/* ---- the command line ---- */

static int usage(FILE *to, int status)
{
	fputs("usage: tarry serve [-c FILE] [-o name=value]...\n\n"
	      "Runs the door in the foreground, and logs to standard error unless log says otherwise. Started as root, only the parent stays it.\n\n"
	      "  -c, --config FILE  the configuration; without it " CONF_DEFAULT_PATH " if there is one, else all options have\n"
	      "                     their defaults: it listens on 127.0.0.1:2525\n"
	      "  -o name=value      instead of what the file says; may stand more than once\n"
	      "  -h, --help         this\n\n"
	      "Ctrl-C or SIGTERM ends it, SIGQUIT when its clients have finished; SIGHUP reads the configuration, the access database and the\n"
	      "certificates again (tarry reload), SIGUSR2 has a new version take over (tarry upgrade), SIGUSR1 logs all counters.\n\n"
	      "exit code: 0 it was told to end; 64 wrong usage; 65 errors in the access database; 66 a file cannot be read; 67 no such account as user names;\n"
	      "           71 the system refused something, such as a port that another server has; 77 a permission is missing; 78 errors in the configuration\n", to);
	return status;
}

static int read_configuration(struct parent *p, int argc, char **argv)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	const char *path = conf_default_path();
	int c;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:o:h", longs, NULL)) != -1) {
		if (c == 'c')
			path = optarg;
		else if (c == 'o' && p->overrides_len < CONF_OVERRIDES)
			p->overrides[p->overrides_len++].text = optarg;
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
	bool ok = complain_load(&p->conf, path, p->overrides, p->overrides_len, &errors, &warnings);
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
	static struct account account;
	int status = complain_account(&p->conf, &account);
	if (status != EX_OK)
		return status;
	complain_maildir(&p->conf, &account);
	p->procs.drop = true;
	p->procs.uid = account.uid;
	p->procs.gid = account.gid;
	p->procs.user = p->conf.user;
	p->procs.account = &account;
	return EX_OK;
}

static int bind_all(struct parent *p)
{
	int status = listeners_bind(&p->listeners, &p->conf, p->fronts, p->rehearses);
	int e = status == EX_OK && !p->takeover ? listeners_steer(&p->listeners, p->fronts) : 0; /* later, when the new fronts are there */
	if (e < 0)
		fprintf(stderr, "tarry: clients cannot be shared out among the fronts: %s\n", strerror(-e));
	return e < 0 ? EX_OSERR : status;
}

/* Only a listener that takes the PROXY header, or that all fronts accept from, has clients whose front is not the one that accepts. */
static int open_queues(struct parent *p)
{
	bool proxied = false;
	for (size_t n = 0; n < p->conf.listens_len; n++)
		proxied = proxied || p->conf.listens[n].proxy;
	p->queued = (proxied || listeners_are_shared(&p->listeners)) && p->fronts > 1;
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
	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
		fprintf(stderr, "tarry: a name for the socket of the mail server inside: %s\n", strerror(errno));
		return EX_OSERR;
	}
	snprintf(p->mail_path, sizeof(p->mail_path), "@tarry-mail-%d-%016llx", (int)getpid(), (unsigned long long)random);
	p->mail_listener = sock_listen_unix(p->mail_path, SERVE_BACKLOG);
	if (p->mail_listener < 0) {
		fprintf(stderr, "tarry: socket of the mail server inside: %s\n", strerror(-p->mail_listener));
		return EX_OSERR;
	}
	return EX_OK;
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
	int code = complain_exec(&p->conf);
	if (code != EX_OK && code != EX_UNAVAILABLE)
		return code;
	int e = spawn_prepare(&p->spawn, &p->conf, p->fronts, p->procs.drop, &p->descriptors, &why);
	if (e < 0)
		fprintf(stderr, "tarry: %s\n", why.len > 0 ? buf_text(&why) : strerror(-e));
	return e == -EINVAL ? EX_CONFIG : e < 0 ? EX_OSERR : EX_OK;
}

static int add_processes(struct parent *p)
{
	if (!generation_adopt(p) || !roles_add(p)) {
		unsigned old = generation_old(p);
		fprintf(stderr, "tarry: more than %d processes, with %u of earlier configurations that have not ended yet; lower fronts, mail_processes, lookup_processes or tls_processes%s\n", PROC_MAX, old,
		        old > 0 ? ", or try again when those have" : "");
		return EX_CONFIG;
	}
	return EX_OK;
}

/* A rehearsal counts for itself. Of a version with other counters the memory is of no use. */
static int take_memory(struct parent *p)
{
	struct takeover *t = p->rehearses ? NULL : p->takeover;
	int e = t && t->metrics >= 0 ? metrics_adopt(t->metrics) : -ENOENT;
	if (t)
		t->metrics = e == 0 ? t->metrics : -1;
	if (e < 0)
		e = metrics_init();
	if (e == 0)
		e = pulse_init(t ? t->pulse : -1);
	if (e == 0)
		e = !t || t->recent < 0 || recent_adopt(t->recent) < 0 ? recent_init() : 0;
	return e;
}

/* What all roles share; and whose health it is, which each generation finds out anew. */
static int make_memory(struct parent *p)
{
	const struct conf *conf = &p->conf;
	int e = take_memory(p);
	if (e == 0)
		e = study_init(p->takeover ? p->takeover->draw : NULL);
	if (e == 0)
		e = health_init(p->fronts, (unsigned)conf->backends_len, (unsigned)conf->access_db.len);
	for (unsigned i = 0; e == 0 && i < conf->backends_len; i++)
		health_name(i, conf->backends[i].name, conf_backend_at(&conf->backends[i]));
	for (unsigned i = 0; e == 0 && i < conf->access_db.len; i++) {
		char scheme[HEALTH_NAME];
		snprintf(scheme, sizeof(scheme), "%.*s", (int)strcspn(conf->access_db.at[i], ":"), conf->access_db.at[i]);
		health_name(health_map(i), scheme, conf->access_db.at[i]);
	}
	return e;
}

/* Then what has been counted goes on under its name, but for what processes of the version before count from now on. */
static void take_counts(const struct parent *p)
{
	const struct takeover *t = p->takeover;
	if (!t || p->rehearses || t->metrics >= 0)
		return;
	for (unsigned i = 0; i < t->counts_len; i++)
		for (unsigned m = 0; m < METRIC_COUNT; m++)
			if (!metrics_is_gauge((enum metric)m) && strcmp(metrics_name((enum metric)m), t->counts[i].name) == 0)
				metrics_add((enum metric)m, t->counts[i].value);
	for (unsigned i = 0; i < t->times_len; i++)
		for (unsigned h = 0; h < HISTOGRAM_COUNT; h++)
			if (strcmp(metrics_times_name((enum histogram)h), t->times[i].name) == 0)
				metrics_times_add((enum histogram)h, &t->times[i].of);
}

/* FNV-1a over what the backends are: with others, or in another order, the counts of before mean nothing. Never 0. */
static uint64_t backends_key(const struct conf *conf)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < conf->backends_len; i++)
		for (const char *text = conf_backend_at(&conf->backends[i]);; text++) {
			hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
			if (!*text)
				break;
		}
	return hash ? hash : 1;
}

static backends_count *share_connections(struct parent *p)
{
	struct takeover *t = p->rehearses ? NULL : p->takeover;
	p->connections_key = backends_key(&p->conf);
	p->connections_fd = t && t->backends_key == p->connections_key ? t->backends : -1;
	if (t && t->backends >= 0 && p->connections_fd < 0)
		close(t->backends);
	return backends_share(&p->connections_fd);
}

/* The log of a rehearsal would be that of the door. */
static int open_log(struct parent *p)
{
	static struct buf nowhere;
	static char memory[LOG_LINE];
	int e = log_open((enum log_target)p->conf.log, (enum log_level)p->conf.log_level);
	log_role("parent");
	buf_init_fixed(&nowhere, memory, sizeof(memory));
	if (p->rehearses)
		log_capture(&nowhere);
	return e;
}

/* Everything that may fail, before anything is started. */
static int prepare(struct parent *p)
{
	set_counts(p);
	int e = open_log(p);
	if (e < 0) {
		fprintf(stderr, "tarry: %s: log = %s: nobody takes it at %s (%s); expected a daemon that does, or log = stderr\n", conf_where(&p->conf, "log"),
		        conf_words("log")[p->conf.log], log_socket((enum log_target)p->conf.log), strerror(-e));
		return EX_OSERR;
	}
	e = make_memory(p);
	if (e < 0) {
		fprintf(stderr, "tarry: memory for the counters: %s\n", strerror(-e));
		return EX_OSERR;
	}
	p->connections = share_connections(p);
	if (!p->connections) {
		fprintf(stderr, "tarry: memory for the counts of connections: %s\n", strerror(errno));
		return EX_OSERR;
	}
	metrics_row(METRICS_ROWS - 1); /* before the first thing is counted: row 0 is a front's */
	take_counts(p);
	int status = find_user(p);
	if (status == EX_OK)
		status = complain_transparent(&p->conf, "");
	/* Before the first socket listens: nobody is to be taken in by a door that then does not start. */
	if (status == EX_OK)
		status = tables_start(&p->tables, &p->loop, &p->conf, p->fronts);
	if (status == EX_OK)
		status = tlskeys_start(&p->tlskeys, &p->loop, &p->conf, p->takeover);
	if (status == EX_OK)
		status = keepers_start(&p->keepers, &p->conf, p->fronts, p->path, p->takeover, p->rehearses);
	if (status == EX_OK)
		status = desks_start(&p->desks, &p->loop, &p->procs, &p->conf, p->takeover, p->rehearses);
	if (status == EX_OK)
		status = bans_start(&p->bans, &p->conf, p->path, p->takeover, p->rehearses);
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
	return add_processes(p);
}

static void turn_end(struct loop *loop, void *context)
{
	struct parent *p = context;
	log_flush();
	if (log_pending())
		loop_set_due(loop, &p->signals, loop_now(loop) + LOG_RETRY_MS * LOOP_MS);
}

static bool keep_waiting(void *context)
{
	return !errands_hurry(context);
}

static void end_role(struct parent *p, const char *role)
{
	for (unsigned i = 0; i < p->procs.len; i++)
		if (proc_is(&p->procs.all[i], role))
			proc_end_one(&p->procs.all[i]);
}

/* Clients that send a message may finish it, with what they need for that; a second signal ends that. */
static void end(struct parent *p)
{
	notify_send(&p->notify, "STOPPING=1\nSTATUS=ending\nEXTEND_TIMEOUT_USEC=%lld\n", (long long)((p->conf.stop_timeout + 3 * PROC_END_WAIT) / 1000));
	listeners_close(&p->listeners);
	p->procs.end_wait = p->conf.stop_timeout + PROC_END_WAIT;
	proc_no_restarts(&p->procs);
	end_role(p, "front");
	end_role(p, "mail"); /* it tells its idle clients so, and the fronts pass that on */
	bool (*patience)(void *) = keep_waiting;
	proc_end_role(&p->procs, "front", patience, p);
	proc_end_role(&p->procs, "mail", patience, p);
	p->procs.end_wait = PROC_END_WAIT;
	proc_end_all(&p->procs);
}

static int run(struct parent *p)
{
	p->loop.turn_end = turn_end;
	p->loop.turn_end_context = p;
	warn_descriptors(p);
	p->begun = loop_now(&p->loop);
	p->started = p->takeover ? p->takeover->started : (int64_t)time(NULL);
	proc_start_all(&p->procs);
	log_start(p);
	proc_reap(&p->procs); /* those who ended while nobody could be told */
	generation_look(p);
	int e = loop_run(&p->loop);
	end(p);
	errands_log_counters(p);
	log_event(LOG_LEVEL_NOTICE, "ended", NULL);
	log_flush();
	return e < 0 ? EX_OSERR : EX_OK;
}

/* The path at which a later version will stand, not the file that runs. */
static void find_program(struct parent *p)
{
	ssize_t n = readlink("/proc/self/exe", p->program, sizeof(p->program) - 1);
	p->program[n > 0 ? n : 0] = '\0';
}

static int take_over(struct parent *p)
{
	char memory[512];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	p->takeover = takeover_receive(&why);
	if (why.len > 0 || (p->rehearses && !p->takeover)) {
		fprintf(stderr, "tarry: %s\n", why.len > 0 ? buf_text(&why) : "rehearse: this is for tarry upgrade and tarry reload alone");
		return p->rehearses ? EX_USAGE : EX_OSERR;
	}
	if (p->takeover) {
		p->descriptors = (struct rlimit){ p->takeover->nofile[0], p->takeover->nofile[1] };
		p->procs.generation = p->takeover->generation + 1;
		p->change.asker = p->takeover->asker;
		p->change.upgrade = p->takeover->upgrade;
		p->change.state = CHANGE_STARTING;
		listeners_inherit(&p->listeners, p->takeover);
	}
	return EX_OK;
}

static int start(struct parent *p, int argc, char **argv)
{
	p->argc = argc;
	p->argv = argv;
	getrlimit(RLIMIT_NOFILE, &p->descriptors);
	find_program(p);
	proc_set_init(&p->procs, &p->loop);
	p->procs.generation = 1;
	notify_init(&p->notify);
	conffile_apart(true);
	int status = take_over(p); /* first: if anything else fails, the caretaker has what there is */
	int e = status == EX_OK ? loop_init(&p->loop, PROC_MAX + 64) : 0;
	if (e < 0) {
		fprintf(stderr, "tarry: no epoll: %s\n", strerror(-e));
		return EX_OSERR;
	}
	if (status == EX_OK)
		status = read_configuration(p, argc, argv);
	if (status == EX_OK && !p->takeover)
		listeners_from_systemd(&p->listeners);
	if (status == EX_OK && !sandbox_begin(sandbox_role("parent"), (enum sandbox_mode)p->conf.sandbox, &(struct sandbox_account){ .drop = false }, ~UINT64_C(0)))
		status = EX_OSERR;
	if (status == EX_OK)
		status = prepare(p);
	e = status == EX_OK && !p->rehearses ? errands_watch(p) : 0;
	if (e < 0) {
		fprintf(stderr, "tarry: signals: %s\n", strerror(-e));
		return EX_OSERR;
	}
	return status;
}

static struct parent parent = { .mail_listener = -1, .signals = { .fd = -1 }, .change = { .asker = -1, .output = { .fd = -1 } } };

int serve(int argc, char **argv)
{
	struct parent *p = &parent;
	for (unsigned i = 0; i < CONTROL_QUESTIONS; i++)
		p->controls[i].fd = p->control_fds[i] = -1;
	int status = start(p, argc, argv);
	if (status == EX_OK && !p->rehearses)
		status = run(p);
	else if (status != EX_OK && !p->rehearses && p->takeover)
		status = caretaker_run(p, status);
	spawn_fini(&p->spawn);
	conf_fini(&p->conf);
	return status < 0 ? EX_OK : status;
}

int serve_rehearse(int argc, char **argv)
{
	parent.rehearses = true;
	return serve(argc, argv);
}
