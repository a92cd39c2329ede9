/* The tour, core: the seccomp filter, by libseccomp. Names are resolved when the process starts; those that this architecture or this version of the library does not know are left out, so that the lists
 * may name the old and the new of a call: the C library of Debian 12 makes other calls than that of Debian 13. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/log.h"
#include "core/reach.h"
#include "core/sandbox.h"

#define CALLS_MOST 1024 /* numbers of system calls that are told apart in the log */
#define MAKE_SECONDS 10 /* for a filter, which takes some milliseconds */
#define TYPE_MASK 0xfU  /* of socket()'s type, without its flags */

/* Of every process that is shut in. qsort() of the C library of Debian 12 asks sysinfo() how much memory there is. */
static const char *const everybody[] = { "read", "write", "readv", "writev", "pread64", "preadv", "close", "fstat", "fstatfs", "lseek", "poll", "ppoll", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "brk",
	"madvise", "futex", "futex_time64", "futex_waitv", "clock_gettime", "clock_gettime64", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom", "getpid", "gettid", "getuid",
	"geteuid", "getgid", "getegid", "exit", "exit_group", "rt_sigreturn", "rt_sigprocmask", "restart_syscall", "sched_yield", "rseq", "set_robust_list", "uname", "getrusage", "sysinfo", "membarrier", NULL };

static const char *const streams[] = { "accept4", "accept", "recvfrom", "recvmsg", "shutdown", "getsockopt", "getsockname", "getpeername", NULL };
static const char *const pipes[] = { "pipe2", "splice", "tee", NULL };
static const char *const files[] = { "openat", "open", "newfstatat", "fstatat64", "stat", "lstat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64",
	"getcwd", "statfs", "fadvise64", "flock", "dup", "sendfile", NULL };
static const char *const changes[] = { "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir", "ftruncate", "fallocate", "fsync", "fdatasync", "msync",
	"pwrite64", "pwritev", "fchmod", "copy_file_range", "utimensat", "sync_file_range", NULL };
static const char *const resolve[] = { "socket", "connect", "bind", "sendto", "sendmsg", "sendmmsg", "recvmmsg", "setsockopt", "ioctl", "mmap", "mmap2", "mprotect", "munmap", "mremap",
	"sched_getaffinity", "eventfd2", "pipe2", "rt_sigaction", "sigaltstack", NULL };
/* Berkeley DB asks how many processors there are, and waits by select() for descriptors that are used up. */
static const char *const children[] = { "sched_getaffinity", "clone", "clone3", "fork", "vfork", "wait4", "waitid", "kill", "memfd_create", "ftruncate", "dup2", "dup3", "prctl", "setrlimit", "rt_sigaction", "prlimit64", "select",
	"pselect6", NULL };
static const char *const web[] = { "eventfd2", "pipe2", "sendmsg", NULL };
static const char *const alarms[] = { "alarm", "setitimer", NULL };

/* Calls that nobody makes by mistake, and no library of ours makes by itself. */
static const char *const intruders[] = { "execve", "execveat", "fork", "vfork", "clone", "clone3", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_open", "pidfd_getfd",
	"pidfd_send_signal", "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fspick", "mount_setattr", "pivot_root",
	"chroot", "unshare", "setns", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
	"swapon", "swapoff", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "capset", "personality", "io_uring_setup", "io_uring_enter",
	"io_uring_register", "name_to_handle_at", "open_by_handle_at", "modify_ldt", "iopl", "ioperm", "quotactl", "acct", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime",
	"sethostname", "setdomainname", "syslog", "lookup_dcookie", "memfd_secret", "shmat", "shmget", "msgget", "semget", "socket", "connect", "bind", "listen", "sendto", "sendmsg", "sendmmsg", "mmap",
	"mmap2", "mprotect", "munmap", "mremap", "remap_file_pages", "pkey_mprotect", NULL };

struct filter {
	scmp_filter_ctx context;
	unsigned calls;
	int error; /* the first */
};

/* ---- who is refused ---- */

static bool quiet;
static int intruder_numbers[sizeof(intruders) / sizeof(intruders[0])];
static unsigned intruder_len;
static uint8_t told[CALLS_MOST / 8];

void sandbox_quiet(void)
{
	quiet = true;
}

static bool is_intruders(int number)
{
	for (unsigned i = 0; i < intruder_len; i++)
		if (intruder_numbers[i] == number)
			return true;
	return false;
}

/* The result that the call has had. */
#if defined(__x86_64__)
#define SET_RESULT(context, value) ((context)->uc_mcontext.gregs[REG_RAX] = (value))
#elif defined(__aarch64__)
#define SET_RESULT(context, value) ((context)->uc_mcontext.regs[0] = (uint64_t)(value))
#elif defined(__riscv) && __riscv_xlen == 64
#define SET_RESULT(context, value) ((context)->uc_mcontext.__gregs[REG_A0] = (unsigned long)(value))
#endif

#ifdef SET_RESULT
static bool seen(int number)
{
	if (number < 0 || number >= CALLS_MOST)
		return false;
	bool before = told[number / 8] & 1U << number % 8;
	told[number / 8] |= (uint8_t)(1U << number % 8);
	return before;
}

/* The signal comes from a call of our own, in code of ours that does not log at this moment (what the log calls is allowed): so the log may be used here. */
static void refused(int signal, siginfo_t *info, void *context)
{
	int saved = errno, number = info->si_syscall;
	(void)signal;
	if (quiet)
		_exit(SANDBOX_REFUSED);
	bool intruder = is_intruders(number);
	if (intruder || !seen(number)) {
		/* It allocates: where that is what was refused, nobody's name is worth it. */
		char *name = seccomp_syscall_resolve_num_arch(info->si_arch, number);
		log_event(LOG_LEVEL_ERROR, intruder ? "sandbox_killed" : "sandbox_denied", intruder ? "system call %s (%d), which this role never makes: somebody has broken in, or it is a bug; the process ends"
		          : "system call %s (%d) is not in the list of this role, and failed: %s", name ? name : "?", number, strerror(EPERM));
		log_flush();
		free(name);
	}
	if (intruder)
		_exit(SANDBOX_KILLED);
	errno = saved;
	SET_RESULT((ucontext_t *)context, -EPERM);
}

static uint32_t catch_refused(void)
{
	struct sigaction action = { .sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_NODEFER };
	sigaction(SIGSYS, &action, NULL);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return SCMP_ACT_TRAP;
}
#else
/* Where we do not know how to go on after the signal, nothing is told. */
static uint32_t catch_refused(void)
{
	return SCMP_ACT_ERRNO(EPERM);
}
#endif

/* ---- rules ---- */

/* The library's macros for these leave a field out, which clang minds. */
static struct scmp_arg_cmp equal(unsigned argument, scmp_datum_t value)
{
	return (struct scmp_arg_cmp){ .arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0 };
}

static struct scmp_arg_cmp at_least(unsigned argument, scmp_datum_t value)
{
	return (struct scmp_arg_cmp){ .arg = argument, .op = SCMP_CMP_GE, .datum_a = value, .datum_b = 0 };
}

static struct scmp_arg_cmp masked(unsigned argument, scmp_datum_t mask, scmp_datum_t value)
{
	return (struct scmp_arg_cmp){ .arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value };
}

static void add(struct filter *f, const char *name, unsigned len, const struct scmp_arg_cmp *args)
{
	int number = seccomp_syscall_resolve_name(name);
	if (number < 0)
		return; /* not here */
	int e = seccomp_rule_add_array(f->context, SCMP_ACT_ALLOW, number, len, args);
	if (e == -EEXIST) /* two groups have it */
		return;
	f->calls += e == 0;
	f->error = f->error < 0 ? f->error : e;
}

static void add_all(struct filter *f, const char *const *names)
{
	for (; *names; names++)
		add(f, *names, 0, NULL);
}

static void add_if(struct filter *f, const char *name, struct scmp_arg_cmp a)
{
	add(f, name, 1, (const struct scmp_arg_cmp[]){ a });
}

static void add_if2(struct filter *f, const char *name, struct scmp_arg_cmp a, struct scmp_arg_cmp b)
{
	add(f, name, 2, (const struct scmp_arg_cmp[]){ a, b });
}

/* Of several ways to make one call, each with other arguments, one is counted. */
static void add_more(struct filter *f, const char *name, unsigned len, const struct scmp_arg_cmp *args)
{
	unsigned before = f->calls;
	add(f, name, len, args);
	f->calls = before;
}

/* No code but what the program came with, and nothing takes the place of what is in memory below reach_end(). */
static void add_memory(struct filter *f)
{
	static const char *const maps[] = { "mmap", "mmap2" };
	for (size_t i = 0; i < 2; i++)
		add_if2(f, maps[i], masked(2, PROT_EXEC, 0), masked(3, MAP_FIXED, 0));
	add_if(f, "mprotect", masked(2, PROT_EXEC, 0));
	add_if(f, "munmap", at_least(0, reach_end()));
	add_if2(f, "mremap", at_least(0, reach_end()), masked(3, MREMAP_FIXED, 0));
}

static void add_options(struct filter *f, bool binds)
{
	static const struct {
		int level, name;
		bool binds;
	} options[] = { { IPPROTO_TCP, TCP_NODELAY, false }, { SOL_SOCKET, SO_RCVBUF, false }, { SOL_SOCKET, SO_SNDBUF, false }, { SOL_SOCKET, SO_LINGER, false }, { SOL_SOCKET, SO_RCVTIMEO, false },
		{ SOL_SOCKET, SO_SNDTIMEO, false }, { SOL_SOCKET, SO_KEEPALIVE, false }, { IPPROTO_TCP, TCP_CORK, false }, { IPPROTO_TCP, TCP_QUICKACK, false }, { IPPROTO_TCP, TCP_USER_TIMEOUT, false },
		{ IPPROTO_IP, IP_TRANSPARENT, true }, { IPPROTO_IPV6, IPV6_TRANSPARENT, true }, { IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, true } };
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (binds || !options[i].binds)
			add_more(f, "setsockopt", 2, (const struct scmp_arg_cmp[]){ equal(1, (scmp_datum_t)options[i].level), equal(2, (scmp_datum_t)options[i].name) });
	f->calls++;
}

/* Without an address: to whoever the socket is connected to. */
static void add_sends(struct filter *f, bool any)
{
	add_if(f, "sendto", equal(4, 0));
	if (any || !reach_is_sealed()) {
		add(f, "sendmsg", 0, NULL);
		return;
	}
	for (unsigned n = 0; reach_header(n); n++)
		add_more(f, "sendmsg", 1, (const struct scmp_arg_cmp[]){ equal(1, (uintptr_t)reach_header(n)) });
	f->calls++;
}

static void add_socket(struct filter *f, int family, unsigned type)
{
	add_more(f, "socket", 3, (const struct scmp_arg_cmp[]){ equal(0, (scmp_datum_t)family), masked(1, TYPE_MASK, type), equal(2, 0) });
}

/* To the sealed addresses, by sockets of their families. Where there are none nothing is connected; where they could not be sealed everything may be (sandbox_result says so). */
static void add_dial(struct filter *f, bool datagrams)
{
	unsigned families[AF_MAX] = { 0 };
	const struct sockaddr *to;
	socklen_t len;
	for (unsigned n = 0; (to = reach_at(n, &len)); n++) {
		add_more(f, "connect", 2, (const struct scmp_arg_cmp[]){ equal(1, (uintptr_t)to), equal(2, len) });
		if (to->sa_family >= AF_MAX || families[to->sa_family]++ > 0)
			continue;
		add_socket(f, to->sa_family, SOCK_STREAM);
		if (to->sa_family == AF_UNIX) /* of the log */
			add_socket(f, to->sa_family, SOCK_DGRAM);
	}
	if (datagrams) { /* of both families, whichever the resolver has: c-ares has its reasons (gate/names.c) */
		add_socket(f, AF_INET, SOCK_DGRAM);
		add_socket(f, AF_INET6, SOCK_DGRAM);
	}
	f->calls += reach_at(0, &len) ? 2 : 0;
	if (!reach_is_sealed()) {
		add(f, "socket", 0, NULL);
		add(f, "connect", 0, NULL);
	}
}

/* There is nobody but the kernel: what is sent without an address goes to it. */
static void add_netlink(struct filter *f)
{
	add_more(f, "socket", 3, (const struct scmp_arg_cmp[]){ equal(0, AF_NETLINK), masked(1, TYPE_MASK, SOCK_RAW), equal(2, NETLINK_NETFILTER) });
	add(f, "bind", 0, NULL);
}

/* Whoever has broken in can open what is open already, for reading. */
static void add_tables(struct filter *f)
{
	int number;
	const void *path = reach_path(&number);
	if (number < 0)
		return;
	add_if(f, "dup3", equal(1, (scmp_datum_t)number));
	add_if2(f, "openat", equal(1, (uintptr_t)path), masked(2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
	add_if2(f, "open", equal(0, (uintptr_t)path), masked(1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
}

static void add_rules(struct filter *f, const struct sandbox_role *role, const struct sandbox_needs *needs)
{
	const unsigned calls = sandbox_calls_of(role, needs);
	add_all(f, everybody);
	add_if(f, "tgkill", equal(0, (scmp_datum_t)getpid())); /* abort() */
	add_if(f, "prlimit64", equal(2, 0));
	static const unsigned long controls[] = { FIONREAD, SIOCOUTQ, TCGETS };
	for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
		add_more(f, "ioctl", 1, (const struct scmp_arg_cmp[]){ equal(1, controls[i]) });
	add_if(f, "socketpair", equal(0, AF_UNIX));
	add(f, "fcntl", 0, NULL);
	if (!(calls & SANDBOX_FILES))
		add_if(f, "newfstatat", masked(3, AT_EMPTY_PATH, AT_EMPTY_PATH)); /* fstat() */
	static const struct {
		unsigned group;
		const char *const *names;
	} groups[] = { { SANDBOX_STREAMS, streams }, { SANDBOX_PIPES, pipes }, { SANDBOX_FILES, files }, { SANDBOX_CHANGES, changes }, { SANDBOX_RESOLVE, resolve }, { SANDBOX_CHILDREN, children },
		{ SANDBOX_WEB, web }, { SANDBOX_ALARM, alarms } };
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (calls & groups[i].group)
			add_all(f, groups[i].names);
	if (calls & SANDBOX_RESOLVE)
		return;
	add_memory(f);
	add_sends(f, (calls & SANDBOX_WEB) != 0);
	add_options(f, needs->binds);
	if (calls & SANDBOX_DIAL)
		add_dial(f, needs->datagrams);
	if (calls & SANDBOX_TABLES)
		add_tables(f);
	if (calls & SANDBOX_NETLINK)
		add_netlink(f);
	if (needs->binds)
		add(f, "bind", 0, NULL);
}

/* In a build that is let do more: all pass but these. */
static void add_refusals(struct filter *f, uint32_t action)
{
	static const char *const refused_too[] = { "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "bpf", "perf_event_open", "userfaultfd", "keyctl", "init_module", "finit_module",
		"kexec_load", "reboot", "setuid", "setresuid", "capset", "io_uring_setup", "open_by_handle_at" };
	for (size_t i = 0; i < sizeof(refused_too) / sizeof(refused_too[0]); i++) {
		int number = seccomp_syscall_resolve_name(refused_too[i]);
		int e = number < 0 ? 0 : seccomp_rule_add_array(f->context, action, number, 0, NULL);
		f->error = f->error < 0 ? f->error : e;
	}
}

static void note_intruders(void)
{
	intruder_len = 0;
	for (const char *const *name = intruders; *name; name++) {
		int number = seccomp_syscall_resolve_name(*name);
		if (number >= 0)
			intruder_numbers[intruder_len++] = number;
	}
}

/* The kernel remembers which calls always pass (Linux 5.11), and asks the filter about those alone that depend on arguments: they come first, by how often they are made. */
static void set_order(scmp_filter_ctx context)
{
	static const char *const order[] = { "sendto", "setsockopt", "sendmsg", "connect", "socket", "munmap", "mmap" };
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		int number = seccomp_syscall_resolve_name(order[i]);
		if (number >= 0)
			seccomp_syscall_priority(context, number, (uint8_t)(255 - i));
	}
}

/* The action for what is not in the rules: otherwise. */
static int make(struct filter *f, const struct sandbox_role *role, const struct sandbox_needs *needs, uint32_t otherwise)
{
	const bool relaxed = sandbox_relaxed()[0] != '\0';
	f->context = seccomp_init(relaxed ? SCMP_ACT_ALLOW : otherwise);
	if (!f->context)
		return -ENOMEM;
	errno = 0;
	set_order(f->context);
	seccomp_attr_set(f->context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (relaxed)
		add_refusals(f, otherwise);
	else
		add_rules(f, role, needs);
	return f->error < 0 ? f->error : errno == ENOMEM ? -ENOMEM : 0; /* there are places where the library leaves something out instead, and says nothing */
}

/* ---- in a process of its own ---- */

/* The library does not look everywhere at what malloc() returns: where there is no memory it dies, writes into what is not its own, or never comes to an end. So it is let work where that hurts nobody, and what it has
 * made comes through a pipe, which has room for the longest of all filters. */

struct made {
	int error;
	unsigned calls;
	struct sock_filter code[BPF_MAXINSNS];
};

_Noreturn static void maker(const struct sandbox_role *role, const struct sandbox_needs *needs, uint32_t otherwise, int to)
{
	struct filter f = { .context = NULL };
	prctl(PR_SET_NAME, "tarry-filter", 0, 0, 0); /* who looks for a role by its name finds one of them */
	signal(SIGALRM, SIG_DFL);
	alarm(MAKE_SECONDS);
	int error = make(&f, role, needs, otherwise);
	bool head = write(to, &error, sizeof(error)) == (ssize_t)sizeof(error) && write(to, &f.calls, sizeof(f.calls)) == (ssize_t)sizeof(f.calls);
	_exit(head && error == 0 && seccomp_export_bpf(f.context, to) == 0 && errno != ENOMEM ? 0 : 1);
}

static size_t read_made(int from, struct made *m)
{
	size_t len = 0;
	ssize_t n;
	while (len < sizeof(*m) && ((n = read(from, (char *)m + len, sizeof(*m) - len)) > 0 || (n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t)n : 0;
	return len;
}

/* The number of instructions, or -errno: -EAGAIN if it was ended by a signal. *apart: it was tried there. */
static int make_apart(const struct sandbox_role *role, const struct sandbox_needs *needs, uint32_t otherwise, struct made *m, bool *apart)
{
	const size_t head = offsetof(struct made, code);
	int ends[2], status = 0;
	*apart = false;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0)
		maker(role, needs, otherwise, ends[1]);
	int e = pid < 0 ? -errno : 0;
	close(ends[1]);
	size_t len = e < 0 ? 0 : read_made(ends[0], m);
	close(ends[0]);
	if (e < 0)
		return e;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*apart = status != 0 || len > head; /* else it was good, and could not be read */
	if (len >= head && m->error < 0)
		return m->error;
	if (WIFSIGNALED(status))
		return -EAGAIN;
	return status == 0 && len > head && (len - head) % sizeof(m->code[0]) == 0 ? (int)((len - head) / sizeof(m->code[0])) : -ENOMEM;
}

static int load_here(const struct sandbox_role *role, const struct sandbox_needs *needs, uint32_t otherwise, unsigned *calls)
{
	struct filter f = { .context = NULL };
	int e = make(&f, role, needs, otherwise);
	if (e == 0) {
		seccomp_attr_set(f.context, SCMP_FLTATR_API_SYSRAWRC, 1); /* the kernel's own error: who calls has to know it apart */
		e = seccomp_load(f.context);
	}
	if (f.context)
		seccomp_release(f.context);
	*calls = f.calls;
	return e;
}

int sandbox_filter(const struct sandbox_role *role, enum sandbox_mode mode, const struct sandbox_needs *needs, unsigned *calls)
{
	static struct made made;
	const uint32_t otherwise = mode == SANDBOX_LOG ? SCMP_ACT_LOG : catch_refused();
	note_intruders();
	bool apart;
	int len = make_apart(role, needs, otherwise, &made, &apart);
	if (!apart)
		return load_here(role, needs, otherwise, calls); /* there may be no more processes or descriptors, then */
	if (len < 0)
		return len;
	const struct sock_fprog program = { .len = (unsigned short)len, .filter = made.code };
	*calls = made.calls;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? -errno : 0;
}
