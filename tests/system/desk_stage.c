/* For test_desk.py and script/screenshots: a door that is none: the memory that a parent makes for its roles, filled as the fronts fill it, and tarry-desk that reads it.
 *
 *   desk_stage PROGRAM PORT SECONDS [LINE]...
 *
 * Before the desk starts, so many seconds have passed, with clients as an MX may have them, always the same: each of them is looked at as the desk would have (memory_look()), with a clock that
 * is moved by hand. LINEs are further ones of the setup (desk.h), their words with blanks between them. Then it does what standard input says, and ends with it:
 *
 *   add METRIC NUMBER                                 a counter or gauge
 *   turned ADDRESS VERDICT KIND AFTER_MS NAME BYTES   %-encoded; - for an empty one
 *   banned ADDRESS NUMBER SECONDS                     turned away by a ban, so many times; for so much longer
 *   backend up|down ERROR
 *   flood NUMBER                                      clients turned away, at once
 *   kill                                              the desk, and starts another one
 *
 * It says "ready" when that is done, after each line, and writes the log to standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/deskwire.h"
#include "core/health.h"
#include "core/metrics.h"
#include "core/recent.h"
#include "core/shared.h"
#include "core/sock.h"
#include "show/memory.h"

#define PAUSE_MS 5000
#define EXPLORE_MS 10000
#define FRONTS 2
#define LINE 4096

struct stage {
	const char *program;
	struct shared memory;
	struct memory *remembers;
	struct addr at;
	int listener, parent;
	char setup[8192];
	pid_t pid;
	uint64_t random;
};

/* ---- clients ---- */

static double uniform(struct stage *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (double)(s->random >> 11) / 9007199254740992.0;
}

static double normal(struct stage *s)
{
	return sqrt(-2 * log(uniform(s) + 1e-12)) * cos(6.283185307179586 * uniform(s));
}

#define SAID(kind, text) { kind, text, sizeof(text) - 1 }
static const struct {
	const char *kind, *text;
	size_t len;
} said[] = {
	SAID("smtp", "EHLO ylmf-pc\r\n"), SAID("smtp", "EHLO User\r\n"), SAID("session", "EHLO [203.0.113.77]\r\nAUTH LOGIN\r\n"), SAID("smtp", "HELO mail.example.net\r\n"),
	SAID("session", "EHLO win-8f2k\r\nMAIL FROM:<offer@example.com>\r\nRCPT TO:<info@example.org>\r\nDATA\r\n"), SAID("http", "GET / HTTP/1.1\r\nHost: 192.0.2.10:25\r\nUser-Agent: Mozilla/5.0 zgrab/0.x\r\n"),
	SAID("tls", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5b\x1f\xa0\x44\xd9\x0e\x7c\x21\x83\x92"), SAID("text", "MGLNDD_192.0.2.10_25\n"), SAID("ssh", "SSH-2.0-Go\r\n"),
	SAID("binary", "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"), SAID("smtp", "HELO *.*\r\n"),
};
static const char *const names[] = { "", "", "static-77.pool.example.net", "host-198-18-3-44.dyn.example.com", "scan-11.example.net", "" };

static int64_t wall_ms;

static void put(struct stage *s, const char *verdict, double after_ms, unsigned which, const char *name)
{
	struct recent r = { .at_ms = wall_ms, .after_ms = (uint32_t)after_ms, .pause_ms = PAUSE_MS };
	bool early = strcmp(verdict, "early") == 0;
	char text[ADDR_TEXT];
	double u = uniform(s) * uniform(s); /* few networks send most */
	if (uniform(s) < 0.12)
		snprintf(text, sizeof(text), "2001:db8:%x::%x", (unsigned)(u * 200), (unsigned)(uniform(s) * 60000));
	else
		snprintf(text, sizeof(text), "198.%u.%u.%u", 18 + (u > 0.5), (unsigned)(u * 250), (unsigned)(1 + uniform(s) * 250));
	if (strcmp(verdict, "limited") == 0) { /* as gate/often.h has it, too: few, over and over */
		static const char *const over[] = { "198.18.71.9", "2001:db8:77::25" };
		snprintf(text, sizeof(text), "%s", over[(unsigned)(u * (sizeof(over) / sizeof(over[0])))]);
		r.often = 1;
		r.pause_ms = 0;
	}
	addr_parse(slice_of(text), &r.client);
	recent_word(r.verdict, sizeof(r.verdict), verdict);
	recent_word(r.id, sizeof(r.id), "03b1lj9d10000");
	recent_word(r.name, sizeof(r.name), name);
	if (early) {
		recent_word(r.kind, sizeof(r.kind), said[which].kind);
		recent_word(r.stage, sizeof(r.stage), "greet");
		r.bytes_len = (uint8_t)said[which].len;
		memcpy(r.bytes, said[which].text, said[which].len);
		metrics_observe(HISTOGRAM_talk_after, (int64_t)(after_ms * 1e6));
	}
	recent_put(&r);
}

/* Who is banned comes all the same, the first of them much more often than the others, and is told of as gate/often.h has it. */
static void put_banned(struct stage *s, int64_t t)
{
	static const char *const banned[] = { "198.18.3.44", "198.18.0.201", "2001:db8:3::4b1", "198.19.190.7", "198.18.11.96" };
	double u = uniform(s);
	unsigned which = (unsigned)(u * u * u * (double)(sizeof(banned) / sizeof(banned[0])));
	struct recent r = { .at_ms = wall_ms, .more = which == 0 ? (uint32_t)(uniform(s) * 7) : 0, .until = (uint32_t)(t + 1300 + 1900 * which), .often = 1, .times = (uint8_t)(which == 0 ? 3 : 1) };
	metrics_add(METRIC_ban_hits, 1 + (int64_t)r.more);
	addr_parse(slice_of(banned[which]), &r.client);
	recent_word(r.kind, sizeof(r.kind), which % 2 ? "session" : "smtp");
	recent_word(r.verdict, sizeof(r.verdict), "banned");
	recent_put(&r);
}

/* Slammers at once, others after a while, a few just before the end of the pause. */
static double talks_after(struct stage *s)
{
	double u = uniform(s), ms = u < 0.55 ? exp(1.5 + 1.1 * normal(s)) : u < 0.85 ? exp(6.2 + 0.35 * normal(s)) : 900 * -log(uniform(s) + 1e-12);
	return ms < 0.1 ? 0.1 : ms > PAUSE_MS - 1 ? PAUSE_MS - 1 : ms;
}

/* What a pause is recommended by; one in a hundred is made to wait longer. */
static void study(struct stage *s, enum histogram how, double after_ms)
{
	bool explored = uniform(s) < 0.01;
	if (how == HISTOGRAM_study_waited)
		after_ms = explored ? EXPLORE_MS : PAUSE_MS;
	metrics_observe(how, (int64_t)(after_ms * 1e6));
}

static void one_client(struct stage *s, bool burst, int64_t t)
{
	double u = burst && uniform(s) < 0.8 ? 0.8 : uniform(s);
	metrics_add(METRIC_connections, 1);
	if (u < 0.45) {
		metrics_add(METRIC_known, 1);
	} else if (u < 0.62) {
		metrics_add(METRIC_patient, 1);
		study(s, HISTOGRAM_study_waited, 0);
	} else if (u < 0.65) {
		metrics_add(METRIC_exempt, 1);
	} else if (u < 0.88) {
		static const enum metric kinds[] = { METRIC_early_smtp, METRIC_early_smtp, METRIC_early_session, METRIC_early_smtp, METRIC_early_session, METRIC_early_http, METRIC_early_tls,
			METRIC_early_text, METRIC_early_ssh, METRIC_early_binary, METRIC_early_smtp };
		double v = uniform(s);
		unsigned which = (unsigned)(v * v * (double)(sizeof(said) / sizeof(said[0])));
		double after_ms = talks_after(s);
		metrics_add(METRIC_early, 1);
		metrics_add(kinds[which], 1);
		put(s, "early", after_ms, which, names[(unsigned)(uniform(s) * 6)]);
		study(s, HISTOGRAM_study_talk, after_ms);
	} else if (u < 0.92) {
		metrics_add(METRIC_refused, 1);
		put(s, "refused", 0, 0, "spam.example.com");
	} else if (u < 0.965) {
		metrics_add(METRIC_gone, 1);
		double after_ms = exp(7 + 0.8 * normal(s));
		metrics_observe(HISTOGRAM_gone_after, (int64_t)(after_ms * 1e6));
		if (after_ms < PAUSE_MS)
			study(s, HISTOGRAM_study_gone, after_ms);
	} else if (u < 0.985) {
		put_banned(s, t);
	} else {
		metrics_add(METRIC_limited_client, 1);
		put(s, "limited", 0, 0, "");
	}
}

static void set(enum metric m, double to)
{
	metrics_add(m, (int64_t)to - metrics_row_value(m, 0));
}

static void pass(struct stage *s, int64_t seconds)
{
	int64_t now = time(NULL);
	for (int64_t t = now - seconds; t < now; t++) {
		bool burst = (now - t) % 5400 > 1500 && (now - t) % 5400 < 1740; /* at whatever hour this is: it looks the same */
		double rate = 0.35 + 0.25 * sin((double)(t - now) / 86400 * 6.283185307179586 + 1.4) + (burst ? 1.6 : 0), due = rate;
		for (wall_ms = t * 1000; uniform(s) < due; due -= 1)
			one_client(s, burst, t);
		set(METRIC_held, rate * 4 * (0.5 + uniform(s)));
		set(METRIC_open, rate * 14 * (0.7 + 0.6 * uniform(s)) + 2);
		memory_look(s->remembers, t);
	}
}

/* ---- the desk ---- */

static void start(struct stage *s)
{
	int pair[2], setup = memfd_create("setup", 0);
	char numbers[7][12];
	if (setup < 0 || write(setup, s->setup, strlen(s->setup)) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		exit(70);
	const int fds[7] = { metrics_fd_readonly(), recent_fd_readonly(), health_fd_readonly(), setup, s->memory.fd, s->listener, pair[1] };
	s->pid = fork();
	if (s->pid == 0) {
		for (unsigned i = 0; i < 7; i++) {
			fcntl(fds[i], F_SETFD, 0);
			snprintf(numbers[i], sizeof(numbers[i]), "%d", fds[i]);
		}
		execl(s->program, s->program, "--metrics", numbers[0], "--recent", numbers[1], "--health", numbers[2], "--setup", numbers[3], "--memory", numbers[4], "--listen", numbers[5], "--parent",
		      numbers[6], (char *)NULL);
		_exit(70);
	}
	close(setup);
	close(pair[1]);
	s->parent = pair[0];
}

static int stop(struct stage *s, int with)
{
	int status = 0;
	if (with)
		kill(s->pid, with);
	close(s->parent);
	waitpid(s->pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* ---- what standard input says ---- */

/* %XX to bytes, in place; their number. */
static size_t decode(char *text)
{
	char *to = text, hex[3] = "";
	if (strcmp(text, "-") == 0)
		*text = '\0';
	for (const char *p = text; *p; to++) {
		if (*p == '%' && p[1] && p[2]) {
			memcpy(hex, p + 1, 2);
			*to = (char)strtol(hex, NULL, 16);
			p += 3;
		} else {
			*to = *p++;
		}
	}
	*to = '\0';
	return (size_t)(to - text);
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void turned(char *words[])
{
	struct recent r = { .at_ms = now_ms(), .pause_ms = PAUSE_MS, .after_ms = (uint32_t)atoi(words[3]) };
	addr_parse(slice_of(words[0]), &r.client);
	decode(words[2]);
	decode(words[4]);
	recent_word(r.verdict, sizeof(r.verdict), words[1]);
	recent_word(r.kind, sizeof(r.kind), words[2]);
	recent_word(r.name, sizeof(r.name), words[4]);
	size_t len = decode(words[5]);
	r.bytes_len = (uint8_t)(len < RECENT_BYTES ? len : RECENT_BYTES);
	memcpy(r.bytes, words[5], r.bytes_len);
	recent_put(&r);
}

static void banned(char *words[])
{
	struct recent r = { .at_ms = now_ms(), .more = (uint32_t)atoi(words[1]) - 1, .until = (uint32_t)(time(NULL) + atoi(words[2])), .often = 1, .times = 2 };
	addr_parse(slice_of(words[0]), &r.client);
	recent_word(r.kind, sizeof(r.kind), "session");
	recent_word(r.verdict, sizeof(r.verdict), "banned");
	recent_put(&r);
}

static void act(struct stage *s, char *line)
{
	char *words[8], *rest = NULL;
	unsigned len = 0;
	for (char *w = strtok_r(line, " \n", &rest); w && len < 8; w = strtok_r(NULL, " \n", &rest))
		words[len++] = w;
	if (len == 3 && strcmp(words[0], "add") == 0) {
		for (unsigned m = 0; m < METRIC_COUNT; m++)
			if (strcmp(metrics_name((enum metric)m), words[1]) == 0)
				metrics_add((enum metric)m, atoll(words[2]));
	} else if (len == 7 && strcmp(words[0], "turned") == 0) {
		turned(words + 1);
	} else if (len == 4 && strcmp(words[0], "banned") == 0) {
		banned(words + 1);
	} else if (len == 3 && strcmp(words[0], "backend") == 0) {
		decode(words[2]);
		if (strcmp(words[1], "up") == 0)
			health_up(0, 0);
		else
			health_down(0, 0, words[2]);
	} else if (len == 2 && strcmp(words[0], "flood") == 0) {
		for (int i = 0; i < atoi(words[1]); i++)
			put(s, "refused", 0, 0, "flood.example.net");
	} else if (len == 1 && strcmp(words[0], "kill") == 0) {
		stop(s, SIGKILL);
		start(s);
	} else {
		fprintf(stderr, "desk_stage: what is %s?\n", len ? words[0] : "an empty line");
		exit(64);
	}
}

int main(int argc, char **argv)
{
	static struct stage stage = { .random = UINT64_C(0x9e3779b97f4a7c15) };
	static char line[LINE];
	struct stage *s = &stage;
	if (argc < 4)
		return 64;
	s->program = argv[1];
	snprintf(line, sizeof(line), "127.0.0.1:%s", argv[2]);
	s->listener = addr_parse_port(slice_of(line), &s->at) ? sock_listen(&s->at, 64, false) : -1;
	if (s->listener < 0 || metrics_init() < 0 || recent_init() < 0 || health_init(FRONTS, 2, 2) < 0 || shared_create(&s->memory, "memory", DESKWIRE_MEMORY) < 0)
		return 70;
	sock_local(s->listener, &s->at);
	metrics_row(0);
	health_name(0, "postfix", "smtp:192.0.2.10:10025");
	health_name(1, "second", "smtp:192.0.2.11:10025");
	health_name(health_map(0), "text", "text:/etc/mail/access");
	health_name(health_map(1), "redis", "redis:unix:/run/redis/redis.sock");
	s->remembers = memory_open(dup(s->memory.fd));
	metrics_add(METRIC_serving, FRONTS);
	metrics_add(METRIC_banned_clients, atoll(argv[3]) > 0 ? 5 : 0);
	int64_t seconds = atoll(argv[3]);
	pass(s, seconds);
	if (seconds > 0) {
		health_up(0, 0);
		health_up(1, health_map(1));
		health_down(1, 1, "Connection refused");
	}
	size_t n = (size_t)snprintf(s->setup, sizeof(s->setup), "door\t" TARRY_VERSION "\t%d\t%lld\t%d\nlisten\t192.0.2.1:25\tdirect\npause\t%d\t%d\t10000\t990000\ndesk\t%s\n", (int)getpid(), (long long)(time(NULL) - seconds), FRONTS,
		PAUSE_MS, EXPLORE_MS, addr_format_port(&s->at, line));
	for (int i = 4; i < argc; i++) {
		for (char *p = argv[i]; (p = strchr(p, ' ')); )
			*p = '\t';
		n += (size_t)snprintf(s->setup + n, sizeof(s->setup) - n, "%s\n", argv[i]);
	}
	start(s);
	printf("ready %u\n", s->at.port);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		act(s, line);
		puts("ready");
		fflush(stdout);
	}
	return stop(s, 0);
}
