/* The tour, map: a check that may crash or never end, forked. The child says what it found in a page that both have; that it came to the
 * end of the check stands there too, so that a child which somebody else has waited for is understood all the same. */
#include "map/map_child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct answer {
	uint64_t count;
	bool done;
	bool good;
	uint16_t len;
	char why[500];
};

/* The parent's handlers and descriptors are not the child's business, and it must not outlive the parent. */
static void confine(pid_t parent, unsigned seconds)
{
	sigset_t none;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(1);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* a crash is no surprise here and leaves no core */
	for (int i = 1; i < NSIG; i++)
		if (i != SIGSEGV && i != SIGBUS && i != SIGABRT && i != SIGFPE && i != SIGILL) /* those that a sanitizer wants to see */
			signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_CPU, &(struct rlimit){ seconds, seconds + 1 });
	alarm(MAP_CHILD_WAIT * seconds);
}

static void run(map_child_check *check, void *context, unsigned part, struct answer *answer)
{
	struct buf why;
	uint64_t count = 0;
	buf_init_fixed(&why, answer->why, sizeof(answer->why));
	answer->good = check(context, part, &count, &why);
	answer->count = count;
	answer->len = (uint16_t)why.len;
	answer->done = true;
}

static void say_death(int status, unsigned seconds, struct buf *why)
{
	int killer = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	if (killer == SIGXCPU)
		buf_putf(why, "its check took more than %u seconds of processor time", seconds);
	else if (killer == SIGALRM)
		buf_putf(why, "its check took more than %u seconds", MAP_CHILD_WAIT * seconds);
	else if (killer != 0)
		buf_putf(why, "its check ended with signal %d, %s", killer, strsignal(killer));
	else
		buf_put_text(why, "its check did not come to an end");
}

/* False: what was wrong. */
static bool hear(pid_t pid, const struct answer *answer, unsigned seconds, uint64_t *count, struct buf *why)
{
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (answer->done && answer->good)
		*count += answer->count;
	else if (answer->done)
		buf_put(why, answer->why, answer->len < sizeof(answer->why) ? answer->len : sizeof(answer->why));
	else
		say_death(status, seconds, why);
	return answer->done && answer->good;
}

bool map_child_run(map_child_check *check, void *context, unsigned parts, unsigned seconds, uint64_t *count, struct buf *why)
{
	struct answer *answers = mmap(NULL, parts * sizeof(*answers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent = getpid(), pids[MAP_CHILD_PARTS];
	unsigned started = 0;
	uint64_t sum = 0;
	for (; answers != MAP_FAILED && started < parts; started++) {
		pid_t pid = fork();
		if (pid == 0) {
			confine(parent, seconds);
			run(check, context, started, &answers[started]);
			_exit(0);
		}
		if (pid < 0)
			break;
		pids[started] = pid;
	}
	bool good = started == parts;
	if (!good)
		buf_putf(why, "no process for its check: %s", strerror(errno));
	for (unsigned i = 0; i < started; i++) {
		struct buf unheard;
		char memory[sizeof(answers->why)];
		buf_init_fixed(&unheard, memory, sizeof(memory)); /* the first of them that is wrong says why */
		good = hear(pids[i], &answers[i], seconds, &sum, good ? why : &unheard) && good;
	}
	if (good)
		*count = sum;
	if (answers != MAP_FAILED)
		munmap(answers, parts * sizeof(*answers));
	return good;
}
