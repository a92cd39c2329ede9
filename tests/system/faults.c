/* Faults on purpose: a library that is loaded before all others (LD_PRELOAD) and makes one call fail that otherwise would not, in a door that is built as always.
 *
 * What fails is written in a file that $TARRY_FAULTS names: tests/system/faults.py has the same layout and fills it in while the door runs. Every process of the door maps it, so that calls
 * are counted over all processes of one role, and a role that is started again does not fail at once a second time. Without the file nothing is done.
 *
 * A role is known by the name that it gives itself (prctl(2), PR_SET_NAME: "tarry-front"), a program of its own by its file's name; what runs between fork() and that is "child", or "lookup-child" where the
 * table has a row for those of that role.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROLES 16
#define CLASSES 16
#define FRAMES 16
#define NAME 16
#define DIED 70 /* the exit status of who dies where a signal cannot be sent */
/* In the place of an errno: */
#define SHORT 10000 /* less is taken than was given; */
#define DIE 10001   /* the process is killed there; */
#define AFTER 10002 /* it is done, and nevertheless said to have failed, as by a disk or a server that does not know better */

/* In the order of faults.py. */
enum fault { MEMORY, DESCRIPTOR, WRITE, SEND, READ, SYNC, NAMES, MAP, FORK, CONNECT, EPOLL, OPTION, LOG, STAT, WAIT, IDENTITY };

struct control {
	uint64_t armed, role, class, nth, on, error; /* the test's: role and class are row and column of `calls`; `on`: not once, but from the nth on */
	uint64_t seen, hits;                         /* calls since it was armed, and how many of them failed */
	uint64_t pid;                                /* of the process where one failed first, */
	char call[2 * NAME], program[NAME];          /* which call, in which program, */
	uint64_t frames[FRAMES];                     /* and from where: offsets in the program, 0: in a library */
	char roles[ROLES][NAME];                     /* row 0 stands for all that are not named */
	uint64_t calls[ROLES][CLASSES];              /* since the door started */
};

static struct control *control;
static unsigned role;
static uintptr_t program_base, program_end;
static char program[NAME];
static _Thread_local bool inside;
static bool filtered; /* this process has a seccomp filter */
static bool apart; /* $TARRY_FAULTS_APART: each folder is on a file system of its own */

/* ---- who we are ---- */

static void set_role(const char *name)
{
	role = 0;
	for (unsigned i = 1; control && i < ROLES; i++)
		if (control->roles[i][0] != '\0' && strncmp(control->roles[i], name, NAME - 1) == 0)
			role = i;
}

/* Of a process that has just been forked. */
static void set_role_of_child(void)
{
	char name[NAME + 8];
	snprintf(name, sizeof(name), "%.*s-child", NAME - 1, control ? control->roles[role] : "");
	set_role(name);
	if (role == 0)
		set_role("child");
}

static void role_of_program(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	set_role(strcmp(name, "tarry") == 0 ? "parent" : strncmp(name, "tarry-", 6) == 0 ? name + 6 : "other");
}

static void find_program(void)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	const char *slash = strrchr(path, '/');
	snprintf(program, sizeof(program), "%.*s", NAME - 1, slash ? slash + 1 : path);
	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		if (!strstr(line, path) || sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		program_base = program_base ? program_base : from;
		program_end = to;
	}
	if (maps)
		fclose(maps);
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("TARRY_FAULTS");
	void *frames[2];
	apart = getenv("TARRY_FAULTS_APART") != NULL;
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	inside = true;
	backtrace(frames, 2); /* the first time it loads a library */
	find_program();
	void *at = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		control = at;
	role_of_program();
	inside = false;
}

/* ---- whether this call fails ---- */

static void remember(const char *call)
{
	void *frames[FRAMES + 3];
	control->pid = (uint64_t)getpid();
	snprintf(control->call, sizeof(control->call), "%s", call);
	memcpy(control->program, program, sizeof(program));
	int n = backtrace(frames, FRAMES + 3);
	for (int i = 3; i < n; i++) {
		uintptr_t at = (uintptr_t)frames[i];
		control->frames[i - 3] = at >= program_base && at < program_end ? at - program_base : 0;
	}
}

/* 0: it does not. */
static __attribute__((noinline)) int fails(enum fault class, const char *call)
{
	if (!control || inside)
		return 0;
	inside = true;
	int error = 0, before = errno;
	__atomic_fetch_add(&control->calls[role][class], 1, __ATOMIC_RELAXED);
	if (__atomic_load_n(&control->armed, __ATOMIC_ACQUIRE) && control->role == role && control->class == class) {
		uint64_t n = __atomic_add_fetch(&control->seen, 1, __ATOMIC_RELAXED);
		if (n == control->nth || (control->on && n > control->nth)) {
			error = (int)control->error;
			if (n == control->nth)
				remember(call);
			__atomic_fetch_add(&control->hits, 1, __ATOMIC_RELEASE);
			if (error == DIE && !filtered)
				kill(getpid(), SIGKILL);
			if (error == DIE) /* what a filter lets pass, and nothing is done at the end of it either */
				_exit(DIED);
		}
	}
	inside = false;
	errno = before;
	return error;
}

static int refused(int error)
{
	errno = error;
	return -1;
}

static int refused_after(int result)
{
	return result < 0 ? result : refused(EIO);
}

/* ---- memory ---- */

void *__libc_malloc(size_t len);
void *__libc_calloc(size_t n, size_t len);
void *__libc_realloc(void *at, size_t len);

static void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

void *malloc(size_t len)
{
	return fails(MEMORY, "malloc") ? no_memory() : __libc_malloc(len);
}

void *calloc(size_t n, size_t len)
{
	return fails(MEMORY, "calloc") ? no_memory() : __libc_calloc(n, len);
}

void *realloc(void *at, size_t len)
{
	return fails(MEMORY, "realloc") ? no_memory() : __libc_realloc(at, len);
}

/* ---- the others: NEXT(name) is the one that the C library has ---- */

#define NEXT(name) \
	static __typeof__(name) *next; \
	if (!next) \
		next = __extension__(__typeof__(name) *)dlsym(RTLD_NEXT, #name)

int accept4(int fd, __SOCKADDR_ARG from, socklen_t *restrict len, int flags)
{
	NEXT(accept4);
	int error = fails(DESCRIPTOR, "accept4");
	return error ? refused(error) : next(fd, from, len, flags);
}

int socket(int family, int type, int protocol)
{
	NEXT(socket);
	int error = fails(DESCRIPTOR, "socket");
	return error ? refused(error) : next(family, type, protocol);
}

int socketpair(int family, int type, int protocol, int pair[2])
{
	NEXT(socketpair);
	int error = fails(DESCRIPTOR, "socketpair");
	return error ? refused(error) : next(family, type, protocol, pair);
}

int pipe2(int pair[2], int flags)
{
	NEXT(pipe2);
	int error = fails(DESCRIPTOR, "pipe2");
	return error ? refused(error) : next(pair, flags);
}

int memfd_create(const char *name, unsigned flags)
{
	NEXT(memfd_create);
	int error = fails(DESCRIPTOR, "memfd_create");
	return error ? refused(error) : next(name, flags);
}

int epoll_create1(int flags)
{
	NEXT(epoll_create1);
	int error = fails(DESCRIPTOR, "epoll_create1");
	return error ? refused(error) : next(flags);
}

int signalfd(int fd, const sigset_t *set, int flags)
{
	NEXT(signalfd);
	int error = fails(DESCRIPTOR, "signalfd");
	return error ? refused(error) : next(fd, set, flags);
}

int dup(int fd)
{
	NEXT(dup);
	int error = fails(DESCRIPTOR, "dup");
	return error ? refused(error) : next(fd);
}

int pidfd_open(pid_t pid, unsigned flags)
{
	NEXT(pidfd_open);
	int error = fails(DESCRIPTOR, "pidfd_open");
	return error ? refused(error) : next(pid, flags);
}

static unsigned mode_of(int flags, va_list more)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, unsigned) : 0;
}

int open(const char *path, int flags, ...)
{
	NEXT(open);
	va_list more;
	va_start(more, flags);
	unsigned mode = mode_of(flags, more);
	va_end(more);
	int error = fails(DESCRIPTOR, "open");
	return error ? refused(error) : next(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
	NEXT(openat);
	va_list more;
	va_start(more, flags);
	unsigned mode = mode_of(flags, more);
	va_end(more);
	int error = fails(DESCRIPTOR, "openat");
	return error ? refused(error) : next(folder, path, flags, mode);
}

int fcntl(int fd, int what, ...)
{
	NEXT(fcntl);
	va_list more;
	va_start(more, what);
	void *argument = va_arg(more, void *); /* wide enough for each of them */
	va_end(more);
	const bool never = what == F_GETFD || what == F_SETFD || what == F_GETFL; /* of a descriptor that is one */
	int error = what == F_DUPFD || what == F_DUPFD_CLOEXEC ? fails(DESCRIPTOR, "fcntl dup") : never ? 0 : fails(OPTION, "fcntl");
	return error ? refused(error) : next(fd, what, argument);
}

static size_t half(size_t len)
{
	return len > 1 ? len / 2 : len;
}

/* Where the log goes: what standard error is, whatever its descriptor. */
static bool is_log(int fd)
{
	struct stat a, b;
	inside = true;
	bool is = fd == STDERR_FILENO || (fstat(fd, &a) == 0 && fstat(STDERR_FILENO, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino);
	inside = false;
	return is;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	NEXT(write);
	int error = fails(is_log(fd) ? LOG : WRITE, "write");
	return error == SHORT ? next(fd, bytes, half(len)) : error ? refused(error) : next(fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	NEXT(pwrite);
	int error = fails(WRITE, "pwrite");
	return error == SHORT ? next(fd, bytes, half(len), at) : error ? refused(error) : next(fd, bytes, len, at);
}

ssize_t sendfile(int to, int from, off_t *at, size_t len)
{
	NEXT(sendfile);
	int error = fails(WRITE, "sendfile");
	return error == SHORT ? next(to, from, at, half(len)) : error ? refused(error) : next(to, from, at, len);
}

int ftruncate(int fd, off_t len)
{
	NEXT(ftruncate);
	int error = fails(WRITE, "ftruncate");
	return error && error != SHORT ? refused(error) : next(fd, len);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
	NEXT(fallocate);
	int error = fails(WRITE, "fallocate");
	return error && error != SHORT ? refused(error) : next(fd, mode, at, len);
}

/* It has no errno. */
int posix_fallocate(int fd, off_t at, off_t len)
{
	NEXT(posix_fallocate);
	int error = fails(WRITE, "posix_fallocate");
	return error && error != SHORT ? error : next(fd, at, len);
}

static bool is_stream(int fd)
{
	struct stat st;
	int type;
	socklen_t len = sizeof(type);
	inside = true;
	bool known = fstat(fd, &st) == 0, is = known && S_ISREG(st.st_mode);
	if (known && S_ISSOCK(st.st_mode))
		is = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
	inside = false;
	return is;
}

/* The kernel takes less of a stream only. It never gives less than there is, however, and the door relies on that: reads of sockets are not shortened. */
static size_t short_of(int fd, size_t len)
{
	return is_stream(fd) ? half(len) : len;
}

/* An error that stands for the other side's end comes with it. */
static int refused_on(int fd, int error)
{
	if ((error == EPIPE || error == ECONNRESET) && is_stream(fd))
		shutdown(fd, SHUT_RDWR);
	return refused(error);
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	NEXT(send);
	int error = fails(SEND, "send");
	return error == SHORT ? next(fd, bytes, short_of(fd, len), flags) : error ? refused_on(fd, error) : next(fd, bytes, len, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	NEXT(sendmsg);
	int error = fails(SEND, "sendmsg");
	return error && error != SHORT ? refused_on(fd, error) : next(fd, message, flags);
}

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags)
{
	NEXT(splice);
	int error = fails(SEND, "splice");
	return error == SHORT ? next(in, in_at, out, out_at, half(len), flags) : error ? refused_on(error == EPIPE ? out : in, error) : next(in, in_at, out, out_at, len, flags);
}

ssize_t read(int fd, void *bytes, size_t len)
{
	NEXT(read);
	int error = fails(READ, "read");
	return error == SHORT ? next(fd, bytes, is_stream(fd) && len > 0 ? 1 : len) : error ? refused_on(fd, error) : next(fd, bytes, len);
}

ssize_t pread(int fd, void *bytes, size_t len, off_t at)
{
	NEXT(pread);
	int error = fails(READ, "pread");
	return error == SHORT ? next(fd, bytes, len > 0 ? 1 : len, at) : error ? refused(error) : next(fd, bytes, len, at);
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
	NEXT(recv);
	int error = fails(READ, flags & MSG_PEEK ? "recv peek" : "recv");
	return error && error != SHORT ? refused_on(fd, error) : next(fd, bytes, len, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	NEXT(recvmsg);
	int error = fails(READ, "recvmsg");
	return error && error != SHORT ? refused_on(fd, error) : next(fd, message, flags);
}

int fsync(int fd)
{
	NEXT(fsync);
	int error = fails(SYNC, "fsync");
	return error ? refused(error) : next(fd);
}

int fdatasync(int fd)
{
	NEXT(fdatasync);
	int error = fails(SYNC, "fdatasync");
	return error ? refused(error) : next(fd);
}

/* Of a file on a disk that tells of its errors late (NFS, quotas); others have nothing to tell. It is closed all the same. */
int close(int fd)
{
	NEXT(close);
	struct stat st;
	int error = 0, before = errno;
	if (control && !inside) {
		inside = true;
		bool file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink > 0;
		inside = false;
		errno = before;
		error = file ? fails(SYNC, "close") : 0;
	}
	int result = next(fd);
	return error ? refused(error) : result;
}

int rename(const char *from, const char *to)
{
	NEXT(rename);
	int error = fails(NAMES, "rename");
	return error == AFTER ? refused_after(next(from, to)) : error ? refused(error) : next(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	NEXT(renameat);
	int error = fails(NAMES, "renameat");
	return error == AFTER ? refused_after(next(from_folder, from, to_folder, to)) : error ? refused(error) : next(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
	NEXT(renameat2);
	int error = fails(NAMES, "renameat2");
	return error == AFTER ? refused_after(next(from_folder, from, to_folder, to, flags)) : error ? refused(error) : next(from_folder, from, to_folder, to, flags);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
	NEXT(linkat);
	int error = fails(NAMES, "linkat");
	if (!error && apart)
		return refused(EXDEV);
	return error == AFTER ? refused_after(next(from_folder, from, to_folder, to, flags)) : error ? refused(error) : next(from_folder, from, to_folder, to, flags);
}

int mkdir(const char *path, mode_t mode)
{
	NEXT(mkdir);
	int error = fails(NAMES, "mkdir");
	return error == AFTER ? refused_after(next(path, mode)) : error ? refused(error) : next(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
	NEXT(mkdirat);
	int error = fails(NAMES, "mkdirat");
	return error == AFTER ? refused_after(next(folder, path, mode)) : error ? refused(error) : next(folder, path, mode);
}

int unlinkat(int folder, const char *path, int flags)
{
	NEXT(unlinkat);
	int error = fails(NAMES, "unlinkat");
	return error == AFTER ? refused_after(next(folder, path, flags)) : error ? refused(error) : next(folder, path, flags);
}

int unlink(const char *path)
{
	NEXT(unlink);
	int error = fails(NAMES, "unlink");
	return error == AFTER ? refused_after(next(path)) : error ? refused(error) : next(path);
}

int stat(const char *restrict path, struct stat *restrict st)
{
	NEXT(stat);
	int error = fails(STAT, "stat");
	return error ? refused(error) : next(path, st);
}

int fstat(int fd, struct stat *st)
{
	NEXT(fstat);
	int error = fails(STAT, "fstat");
	return error ? refused(error) : next(fd, st);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	NEXT(mmap);
	int error = fails(MAP, "mmap");
	if (!error)
		return next(at, len, protection, flags, fd, offset);
	errno = error;
	return MAP_FAILED;
}

pid_t fork(void)
{
	NEXT(fork);
	int error = fails(FORK, "fork");
	pid_t pid = error ? refused(error) : next();
	if (pid == 0)
		set_role_of_child();
	return pid;
}

/* One that does not wait has nothing that could be interrupted. */
pid_t waitpid(pid_t pid, int *status, int options)
{
	NEXT(waitpid);
	int error = options & WNOHANG ? 0 : fails(WAIT, "waitpid");
	return error ? refused(error) : next(pid, status, options);
}

int setgroups(size_t len, const gid_t *groups)
{
	NEXT(setgroups);
	int error = fails(IDENTITY, "setgroups");
	return error ? refused(error) : next(len, groups);
}

int initgroups(const char *user, gid_t group)
{
	NEXT(initgroups);
	int error = fails(IDENTITY, "initgroups");
	return error ? refused(error) : next(user, group);
}

int setresgid(gid_t real, gid_t effective, gid_t saved)
{
	NEXT(setresgid);
	int error = fails(IDENTITY, "setresgid");
	return error ? refused(error) : next(real, effective, saved);
}

int setresuid(uid_t real, uid_t effective, uid_t saved)
{
	NEXT(setresuid);
	int error = fails(IDENTITY, "setresuid");
	return error ? refused(error) : next(real, effective, saved);
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t len)
{
	NEXT(connect);
	int error = fails(CONNECT, "connect");
	return error ? refused(error) : next(fd, to, len);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	NEXT(epoll_ctl);
	int error = what == EPOLL_CTL_DEL ? 0 : fails(EPOLL, what == EPOLL_CTL_ADD ? "epoll_ctl add" : "epoll_ctl mod");
	return error ? refused(error) : next(epoll, what, fd, event);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	NEXT(setsockopt);
	int error = fails(OPTION, "setsockopt");
	return error ? refused(error) : next(fd, level, name, value, len);
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	NEXT(getsockopt);
	int error = fails(OPTION, "getsockopt");
	return error ? refused(error) : next(fd, level, name, value, len);
}

ssize_t getrandom(void *bytes, size_t len, unsigned flags)
{
	NEXT(getrandom);
	int error = fails(OPTION, "getrandom");
	return error ? refused(error) : next(bytes, len, flags);
}

int getpeername(int fd, __SOCKADDR_ARG to, socklen_t *restrict len)
{
	NEXT(getpeername);
	int error = fails(OPTION, "getpeername");
	return error ? refused(error) : next(fd, to, len);
}

int bind(int fd, __CONST_SOCKADDR_ARG at, socklen_t len)
{
	NEXT(bind);
	int error = fails(OPTION, "bind");
	return error ? refused(error) : next(fd, at, len);
}

int listen(int fd, int backlog)
{
	NEXT(listen);
	int error = fails(OPTION, "listen");
	return error ? refused(error) : next(fd, backlog);
}

int capset(void *header, void *sets); /* no header of the C library has it */
int capset(void *header, void *sets)
{
	static int (*next)(void *header, void *sets);
	if (!next)
		next = __extension__(int (*)(void *, void *))dlsym(RTLD_NEXT, "capset");
	int error = fails(IDENTITY, "capset");
	return error ? refused(error) : next(header, sets);
}

int prctl(int what, ...)
{
	NEXT(prctl);
	va_list more;
	unsigned long arguments[4];
	va_start(more, what);
	for (size_t i = 0; i < 4; i++)
		arguments[i] = va_arg(more, unsigned long);
	va_end(more);
	int error = what == PR_SET_SECCOMP || what == PR_CAPBSET_DROP ? fails(IDENTITY, "prctl") : 0;
	if (error)
		return refused(error);
	if (what == PR_SET_NAME) {
		const char *name = (const char *)arguments[0];
		set_role(strncmp(name, "tarry-", 6) == 0 ? name + 6 : name);
	}
	int result = next(what, arguments[0], arguments[1], arguments[2], arguments[3]);
	filtered = filtered || (what == PR_SET_SECCOMP && result == 0);
	return result;
}

/* ---- libraries that were built for small files call these names, which are the same calls on a 64-bit machine ---- */

#if defined(_FILE_OFFSET_BITS) && _FILE_OFFSET_BITS == 64 && defined(__LP64__)
#define ALSO(name) __asm__(".globl " #name "\n.type " #name ", @function\n.set " #name ", " #name "64")
ALSO(open);
ALSO(openat);
ALSO(fcntl);
ALSO(pread);
ALSO(pwrite);
ALSO(sendfile);
ALSO(ftruncate);
ALSO(fallocate);
ALSO(posix_fallocate);
ALSO(stat);
ALSO(fstat);
ALSO(mmap);
#endif
