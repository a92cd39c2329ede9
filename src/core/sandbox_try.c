/* The tour, core: the intruder's part. Before the walls it does all that these acts need (a server to connect to, another process to attack), so that what fails afterwards fails because of the walls. */
#include "core/sandbox_try.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/sock.h"

#define SCRATCH "/tmp"
#define STATUS_MAX 4096
#define IMPOSSIBLE 1

struct stage {
	int stream, datagram, abstract; /* servers */
	struct sockaddr_in stream_at, datagram_at;
	char name[64];                  /* of the abstract one */
	pid_t victim;                   /* of the same user */
};

/* ---- what is tried ---- */

static bool try_read(const struct stage *s)
{
	(void)s;
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool try_change(const struct stage *s)
{
	char path[64];
	(void)s;
	snprintf(path, sizeof(path), SCRATCH "/.tarry-try-%ld", (long)getpid());
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		unlink(path);
	return fd >= 0;
}

static bool try_exec(const struct stage *s)
{
	(void)s;
	execl("/bin/true", "true", (char *)NULL); /* whose exit status says that it was possible */
	return false;
}

static bool try_fork(const struct stage *s)
{
	(void)s;
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static bool try_connect(const struct stage *s)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return connect(fd, (const struct sockaddr *)&s->stream_at, sizeof(s->stream_at)) == 0;
}

static bool try_datagram(const struct stage *s)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return sendto(fd, "x", 1, 0, (const struct sockaddr *)&s->datagram_at, sizeof(s->datagram_at)) == 1;
}

static bool try_abstract(const struct stage *s)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t len = strlen(s->name);
	memcpy(sa.sun_path + 1, s->name + 1, len - 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return connect(fd, (const struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0;
}

static bool try_raw(const struct stage *s)
{
	(void)s;
	return socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP) >= 0;
}

static bool try_ptrace(const struct stage *s)
{
	return ptrace(PTRACE_SEIZE, s->victim, NULL, NULL) == 0;
}

static bool try_kill(const struct stage *s)
{
	return kill(s->victim, 0) == 0;
}

/* The root of everything is never unmounted so: EINVAL to whom it would be allowed, EPERM to others. */
static bool try_mount(const struct stage *s)
{
	(void)s;
	return umount2("/", MNT_EXPIRE) == 0 || errno == EINVAL;
}

static bool try_namespace(const struct stage *s)
{
	(void)s;
	return unshare(CLONE_NEWUSER) == 0;
}

static bool try_setuid(const struct stage *s)
{
	(void)s;
	return setuid(0) == 0;
}

static bool try_code(const struct stage *s)
{
	(void)s;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

/* Whoever waits for the process sees whether there is one. */
static bool try_core(const struct stage *s)
{
	(void)s;
	raise(SIGABRT);
	return false;
}

static const struct {
	bool (*run)(const struct stage *stage);
	const char *text;
} acts[SANDBOX_ACTS] = {
	[SANDBOX_READ] = { try_read, "read /etc/passwd" },
	[SANDBOX_CHANGE] = { try_change, "write files in " SCRATCH },
	[SANDBOX_EXEC] = { try_exec, "start programs" },
	[SANDBOX_FORK] = { try_fork, "make processes" },
	[SANDBOX_CONNECT] = { try_connect, "connect to any TCP port" },
	[SANDBOX_DATAGRAM] = { try_datagram, "send UDP to anybody" },
	[SANDBOX_ABSTRACT] = { try_abstract, "connect to abstract Unix sockets of others" },
	[SANDBOX_RAW] = { try_raw, "open raw sockets" },
	[SANDBOX_PTRACE] = { try_ptrace, "take over other processes of its user" },
	[SANDBOX_KILL] = { try_kill, "send signals to other processes of its user" },
	[SANDBOX_MOUNT] = { try_mount, "mount and unmount" },
	[SANDBOX_NAMESPACE] = { try_namespace, "make itself root of a user namespace" },
	[SANDBOX_SETUID] = { try_setuid, "become root" },
	[SANDBOX_CODE] = { try_code, "run code that it has written into memory" },
	[SANDBOX_CORE] = { try_core, "leave a core file" },
};

const char *sandbox_act_text(enum sandbox_act act)
{
	return acts[act].text;
}

/* ---- the stage ---- */

static int serve_inet(int type, struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	*at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)at, sizeof(*at)) == 0 && getsockname(fd, (struct sockaddr *)at, &len) == 0 && type == SOCK_STREAM)
		listen(fd, 64);
	return fd;
}

static bool begin(const struct sandbox_trial *t)
{
	return !t->account || sandbox_begin(t->role, t->mode, t->account, t->caps);
}

/* One of the user that the roles have, and without any of their protection. */
static pid_t make_victim(const struct sandbox_trial *t)
{
	static const struct sandbox_role plain = { .name = "victim", .may_gain = true, .own_limits = true };
	int ready[2];
	char byte;
	if (pipe2(ready, O_CLOEXEC) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		if (t->account)
			sandbox_begin(&plain, SANDBOX_OFF, t->account, 0);
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ssize_t n = write(ready[1], "", 1);
		while (n == 1)
			pause();
		_exit(0);
	}
	close(ready[1]);
	ssize_t n = read(ready[0], &byte, 1);
	close(ready[0]);
	return n == 1 ? pid : -1;
}

static void set_stage(struct stage *s, const struct sandbox_trial *t)
{
	s->stream = serve_inet(SOCK_STREAM, &s->stream_at);
	s->datagram = serve_inet(SOCK_DGRAM, &s->datagram_at);
	snprintf(s->name, sizeof(s->name), "@tarry-try-%ld", (long)getpid());
	s->abstract = sock_listen_unix(s->name, 64);
	s->victim = make_victim(t);
}

static void clear_stage(const struct stage *s)
{
	if (s->victim > 0) {
		kill(s->victim, SIGKILL);
		waitpid(s->victim, NULL, 0);
	}
	if (s->stream >= 0)
		close(s->stream);
	if (s->datagram >= 0)
		close(s->datagram);
	if (s->abstract >= 0)
		close(s->abstract);
}

_Noreturn static void act(const struct sandbox_trial *t, const struct stage *s, enum sandbox_act which)
{
	struct sandbox_result r;
	struct rlimit core;
	if (getrlimit(RLIMIT_CORE, &core) == 0) {
		core.rlim_cur = core.rlim_max;
		setrlimit(RLIMIT_CORE, &core);
	}
	sandbox_quiet();
	if (chdir(SCRATCH) < 0)
		_exit(IMPOSSIBLE);
	if (t->role && !begin(t))
		_exit(IMPOSSIBLE);
	if (t->role)
		sandbox_enter(t->role, t->mode, t->needs, &r);
	_exit(acts[which].run(s) ? 0 : IMPOSSIBLE);
}

/* Somebody's kernel.core_pattern may put it anywhere; what lies where we were is ours. */
static void remove_core(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), SCRATCH "/core.%ld", (long)pid);
	unlink(path);
	unlink(SCRATCH "/core");
}

unsigned sandbox_try(const struct sandbox_trial *t)
{
	struct stage s;
	unsigned possible = 0;
	fflush(NULL);
	set_stage(&s, t);
	for (unsigned a = 0; a < SANDBOX_ACTS; a++) {
		int status;
		pid_t pid = fork();
		if (pid == 0)
			act(t, &s, (enum sandbox_act)a);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			continue;
		bool core = WIFSIGNALED(status) && WCOREDUMP(status);
		if ((WIFEXITED(status) && WEXITSTATUS(status) == 0) || core)
			possible |= 1U << a;
		if (core)
			remove_core(pid);
	}
	clear_stage(&s);
	return possible;
}

/* ---- what the kernel shows ---- */

static bool read_status(int fd, char out[STATUS_MAX])
{
	ssize_t n = fd < 0 ? -1 : read(fd, out, STATUS_MAX - 1);
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static unsigned long long number_of(const char *status, const char *key, int base)
{
	const char *at = strstr(status, key);
	return at ? strtoull(at + strlen(key), NULL, base) : 0;
}

struct facts {
	struct sandbox_result result;
	bool entered, seen;
	char status[STATUS_MAX];
};

/* All of it. */
static bool hear(int fd, struct facts *f)
{
	size_t len = 0;
	ssize_t n;
	while (len < sizeof(*f) && (n = read(fd, (char *)f + len, sizeof(*f) - len)) > 0)
		len += (size_t)n;
	return len == sizeof(*f) && f->seen;
}

/* A process enters, and looks at itself by a file that it has opened before: where /proc hides others (ProtectProc=invisible) nobody without privileges can look at one from outside that has made itself
 * unreadable. False: it could not. */
static bool look_inside(const struct sandbox_trial *t, struct facts *f)
{
	int up[2];
	memset(f, 0, sizeof(*f));
	if (pipe2(up, O_CLOEXEC) < 0)
		return false;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		int mirror = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
		if (!begin(t))
			_exit(1);
		f->entered = sandbox_enter(t->role, t->mode, t->needs, &f->result);
		f->seen = read_status(mirror, f->status);
		_exit(write(up[1], f, sizeof(*f)) == (ssize_t)sizeof(*f) ? 0 : 1);
	}
	close(up[1]);
	bool ok = pid > 0 && hear(up[0], f);
	close(up[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return ok;
}

static void put_landlock(const struct sandbox_trial *t, const struct landlock_result *l, struct buf *out)
{
	if (l->abi == 0) {
		buf_put_text(out, "; no Landlock in this kernel");
		return;
	}
	buf_putf(out, "; Landlock ABI %d: ", l->abi);
	if (!l->files)
		buf_put_text(out, "files as they are");
	unsigned shown = 0;
	for (unsigned i = 0; l->files && i < t->needs->paths_len; i++) {
		static const char *const rights[] = { [LANDLOCK_LIST] = "lists", [LANDLOCK_READ] = "reads", [LANDLOCK_WRITE] = "writes" };
		const struct landlock_path *p = &t->needs->paths[i];
		if (access(p->path, F_OK) == 0)
			buf_putf(out, "%s%s %s", shown++ > 0 ? ", " : "", rights[p->right], p->path);
	}
	if (l->files && shown == 0)
		buf_put_text(out, "no files");
	buf_put_text(out, l->network ? "; TCP to" : l->abi >= 4 ? "; TCP to anywhere" : "; TCP ports it cannot tell apart");
	for (unsigned i = 0; l->network && i < t->needs->ports_len; i++)
		buf_putf(out, "%s %u", i > 0 ? "," : "", (unsigned)t->needs->ports[i]);
	if (l->network)
		buf_put_text(out, t->needs->ports_len > 0 ? " alone" : " nowhere");
	if (l->scoped)
		buf_put_text(out, "; no signals and abstract sockets to others");
}

static void put_facts(const struct sandbox_trial *t, const struct facts *f, struct buf *out)
{
	unsigned long long caps = number_of(f->status, "CapEff:", 16);
	buf_putf(out, "%s: user %llu", t->role->name, number_of(f->status, "Uid:", 10));
	if (caps == 0)
		buf_put_text(out, "; no capabilities");
	else
		buf_putf(out, "; capabilities %llx", caps);
	buf_put_text(out, number_of(f->status, "NoNewPrivs:", 10) ? "; no_new_privs" : "; may start set-user-id programs");
	if (number_of(f->status, "Seccomp:", 10) == 2 && f->result.calls == 0)
		buf_put_text(out, "; seccomp as it was started with");
	else if (number_of(f->status, "Seccomp:", 10) == 2)
		buf_putf(out, "; seccomp: %u calls", f->result.calls);
	else
		buf_put_text(out, "; no seccomp");
	if (sandbox_calls_of(t->role, t->needs) & SANDBOX_DIAL && f->result.reach_error == 0 && t->mode == SANDBOX_ENFORCE)
		buf_putf(out, "; connects to %u address%s", f->result.addresses, f->result.addresses == 1 ? "" : "es");
	if (t->role->calls != 0)
		put_landlock(t, &f->result.landlock, out);
}

/* Acts that the configuration itself asks for. */
static unsigned asked_for(const struct sandbox_trial *t)
{
	unsigned may = t->role->may;
	for (unsigned i = 0; i < t->needs->paths_len; i++)
		if (t->needs->paths[i].right == LANDLOCK_WRITE && strncmp(t->needs->paths[i].path, SCRATCH, strlen(SCRATCH)) == 0 && t->needs->paths[i].path[strlen(SCRATCH)] == '\0')
			may |= 1U << SANDBOX_CHANGE;
	return may;
}

static const char *reason(const struct sandbox_trial *t, const struct facts *f, unsigned which)
{
	if (t->mode == SANDBOX_OFF)
		return "sandbox = off";
	if (t->mode == SANDBOX_LOG)
		return "sandbox = log";
	if (f->result.seccomp_error < 0)
		return "the kernel takes no seccomp filter";
	if (sandbox_relaxed()[0])
		return "this program was built for tests, which need that";
	if ((which == SANDBOX_READ || which == SANDBOX_CHANGE) && !f->result.landlock.files)
		return "this kernel's Landlock cannot forbid it: before Linux 5.13 there is none, before 5.19 it forbids all renaming from folder to folder, and it may be switched off (lsm=)";
	if (which == SANDBOX_CONNECT && !f->result.landlock.network)
		return "this kernel's Landlock has no ports (Linux 6.7 has)";
	if (which == SANDBOX_ABSTRACT && !f->result.landlock.scoped)
		return t->needs->abstract ? "it has such a socket in its configuration" : "this kernel's Landlock has no scopes (Linux 6.12 has)";
	if (which == SANDBOX_KILL && !f->result.landlock.scoped)
		return "it ends children of its own, and this kernel's Landlock has no scopes (Linux 6.12 has)";
	return "nothing forbids it here";
}

bool sandbox_try_all(const struct sandbox_trial *t, struct buf *facts, struct buf *faults)
{
	static struct facts f; /* large */
	if (!look_inside(t, &f)) {
		buf_putf(faults, "%s: cannot be tried: it cannot become user %s, or not read /proc/self/status\n", t->role->name, t->account && t->account->user ? t->account->user : "what it is to be");
		return false;
	}
	put_facts(t, &f, facts);
	unsigned wrong = sandbox_try(t) & ~asked_for(t);
	for (unsigned a = 0; a < SANDBOX_ACTS; a++)
		if (wrong & 1U << a)
			buf_putf(faults, "%s: it can %s: %s\n", t->role->name, acts[a].text, reason(t, &f, a));
	if (f.result.reach_error < 0)
		buf_putf(faults, "%s: the addresses that it connects to cannot be protected: %s\n", t->role->name, strerror(-f.result.reach_error));
	if (f.result.landlock_error < 0)
		buf_putf(faults, "%s: Landlock refuses the rules: %s\n", t->role->name, strerror(-f.result.landlock_error));
	if (f.result.seccomp_error < 0)
		buf_putf(faults, "%s: seccomp refuses the filter: %s\n", t->role->name, strerror(-f.result.seccomp_error));
	return wrong == 0 && f.result.reach_error == 0 && f.result.landlock_error == 0 && f.result.seccomp_error == 0;
}

int sandbox_try_print(const struct sandbox_trial *t)
{
	struct buf facts, faults;
	buf_init(&facts, SANDBOX_PATH_BYTES + STATUS_MAX);
	buf_init(&faults, STATUS_MAX);
	bool ok = sandbox_try_all(t, &facts, &faults);
	printf("# sandbox      %s\n", buf_text(&facts));
	fflush(stdout);
	char *rest = NULL;
	for (char *line = faults.len > 0 ? strtok_r((char *)(uintptr_t)buf_text(&faults), "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		fprintf(stderr, "tarry: sandbox: %s\n", line);
	buf_fini(&facts);
	buf_fini(&faults);
	return ok ? EX_OK : EX_UNAVAILABLE;
}
