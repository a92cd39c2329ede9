/* The tour, core: a process is shut in. */
#include "core/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/account.h"
#include "core/caps.h"
#include "core/log.h"
#include "core/reach.h"

#define DNS 53
#define LOOK INT64_C(1000000000) /* between two looks at what may have moved */

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

/* What sanitizers, coverage and fuzzers do at the end of a process, threads, ptrace() and files of their own among it, no row allows. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer) || HAS_FEATURE(memory_sanitizer)
#define RELAXED "a sanitizer"
#elif defined(TARRY_RELAXED)
#define RELAXED TARRY_RELAXED
#else
#define RELAXED ""
#endif

const char *sandbox_relaxed(void)
{
	return RELAXED;
}

/* ---- what is missing ---- */

bool sandbox_may_pass(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EAGAIN;
}

static void say_failed(const char *what, int error)
{
	log_event(LOG_LEVEL_ERROR, "sandbox_failed", "%s: %s; the process ends rather than go on so", what, strerror(-error));
}

/* ---- the first half ---- */

void sandbox_hide(void)
{
	if (!RELAXED[0]) /* the leak checker looks into its own process by ptrace(), which this forbids */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* The order matters: groups first, while we still may. Who is not root may have been given capabilities, too; who stays root keeps those of its row. */
static bool drop_privileges(const struct sandbox_account *a, uint64_t row, uint64_t caps)
{
	if (!a->drop)
		return caps_limit(geteuid() == 0 ? row : caps);
	const bool groups = a->whole ? setgroups((size_t)a->whole->groups_len, a->whole->groups) == 0 : initgroups(a->user, a->gid) == 0;
	return groups && (caps == 0 || caps_keep()) && setresgid(a->gid, a->gid, a->gid) == 0
	       && setresuid(a->uid, a->uid, a->uid) == 0 && caps_limit(caps) && setuid(0) != 0;
}

bool sandbox_begin(const struct sandbox_role *role, enum sandbox_mode mode, const struct sandbox_account *account, uint64_t caps)
{
	static const struct sandbox_role nobody = { .name = "" };
	role = role ? role : &nobody;
	if (!role->may_gain)
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	uint64_t bound = role->may_gain || !account->drop ? role->caps : role->caps & caps; /* a program with the set-user-id bit may need more than who starts it */
	if (mode != SANDBOX_OFF && !caps_bound(bound)) {
		int error = -errno;
		if (mode == SANDBOX_ENFORCE && sandbox_may_pass(error)) {
			say_failed("the capabilities that programs can gain stay as they were", error);
			return false;
		}
		log_event(LOG_LEVEL_WARNING, "sandbox_partial", "the capabilities that programs can gain stay as they were: %s", strerror(-error));
	}
	if (!drop_privileges(account, role->caps, role->caps & caps)) {
		log_event(LOG_LEVEL_ERROR, "user_failed", "cannot become user %s: %s", account->user ? account->user : "itself, with fewer capabilities", strerror(errno));
		return false;
	}
	if (mode == SANDBOX_OFF)
		return true;
	if (!role->own_limits)
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	sandbox_hide();
	return true;
}

/* ---- what a process needs ---- */

void sandbox_needs_init(struct sandbox_needs *needs)
{
	memset(needs, 0, sizeof(*needs));
}

static void need_text(struct sandbox_needs *needs, const char *path, size_t len, enum landlock_right right)
{
	if (needs->paths_len == SANDBOX_PATHS || needs->text_len + len + 1 > sizeof(needs->text) || len == 0)
		return;
	char *at = needs->text + needs->text_len;
	memcpy(at, path, len);
	at[len] = '\0';
	needs->text_len += (unsigned)len + 1;
	needs->paths[needs->paths_len++] = (struct landlock_path){ at, right };
}

void sandbox_need_path(struct sandbox_needs *needs, const char *path, enum landlock_right right)
{
	need_text(needs, path, strlen(path), right);
}

void sandbox_need_folder_of(struct sandbox_needs *needs, const char *file, enum landlock_right right)
{
	const char *slash = strrchr(file, '/');
	if (!file[0])
		return;
	if (slash)
		need_text(needs, file, slash == file ? 1 : (size_t)(slash - file), right);
	else
		need_text(needs, ".", 1, right);
}

void sandbox_need_port(struct sandbox_needs *needs, uint16_t port)
{
	for (unsigned i = 0; i < needs->ports_len; i++)
		if (needs->ports[i] == port)
			return;
	needs->ports_all = needs->ports_all || needs->ports_len == SANDBOX_PORTS;
	if (!needs->ports_all)
		needs->ports[needs->ports_len++] = port;
}

void sandbox_need_names(struct sandbox_needs *needs)
{
	static const char *const paths[] = { "/etc", "/usr", "/lib", "/lib64", "/run", "/opt", "/var/lib/sss", "/dev/urandom", "/dev/random" };
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		sandbox_need_path(needs, paths[i], LANDLOCK_READ);
	sandbox_need_port(needs, DNS);
	needs->names = true;
}

void sandbox_need_addr(struct sandbox_needs *needs, const struct addr *addr)
{
	reach_add_addr(addr);
	sandbox_need_port(needs, addr->port);
}

void sandbox_need_unix(struct sandbox_needs *needs, const char *path)
{
	reach_add_unix(path);
	needs->abstract = needs->abstract || path[0] == '@';
}

unsigned sandbox_calls_of(const struct sandbox_role *role, const struct sandbox_needs *needs)
{
	if (!needs->names)
		return role->calls & ~(unsigned)SANDBOX_RESOLVE;
	return role->calls & SANDBOX_RESOLVE ? role->calls & ~(unsigned)SANDBOX_DIAL : role->calls; /* which has room for anything that dialling does */
}

/* ---- the second half ---- */

static const struct sandbox_needs *within; /* what sandbox_moved() looks at; NULL: nothing */

static struct sandbox_identity identity_of(const char *path)
{
	struct stat st;
	return stat(path, &st) < 0 ? (struct sandbox_identity){ 0, 0 } : (struct sandbox_identity){ st.st_dev, st.st_ino };
}

bool sandbox_moved(int64_t now)
{
	static int64_t next;
	if (!within || now < next)
		return false;
	next = now + LOOK;
	for (unsigned i = 0; i < within->paths_len; i++) {
		const struct sandbox_identity is = identity_of(within->paths[i].path), *was = &within->identities[i];
		if (is.ino == 0 || (is.ino == was->ino && is.dev == was->dev))
			continue;
		log_event(LOG_LEVEL_WARNING, "sandbox_moved", "%s is another than it was, which this process cannot reach: it ends, and the next one can", within->paths[i].path);
		return true;
	}
	return false;
}

static int enter_landlock(const struct sandbox_role *role, const struct sandbox_needs *needs, struct landlock_result *out)
{
	struct landlock_path paths[SANDBOX_PATHS + 1];
	memcpy(paths, needs->paths, needs->paths_len * sizeof(paths[0]));
	unsigned len = needs->paths_len;
	if (RELAXED[0])
		paths[len++] = (struct landlock_path){ "/", LANDLOCK_WRITE };
	const struct landlock_rules rules = { .paths = paths, .paths_len = len, .moves = (role->calls & SANDBOX_CHANGES) != 0, .ports = needs->ports, .ports_len = needs->ports_len,
		.ports_all = needs->ports_all, .binds = needs->binds, .scoped = !needs->abstract };
	return landlock_restrict(&rules, out);
}

static void count_addresses(struct sandbox_result *out)
{
	socklen_t len;
	while (reach_at(out->addresses, &len))
		out->addresses++;
}

bool sandbox_enter(const struct sandbox_role *role, enum sandbox_mode mode, const struct sandbox_needs *needs, struct sandbox_result *out)
{
	*out = (struct sandbox_result){ .landlock = { .abi = landlock_abi() } };
	if (mode == SANDBOX_OFF || role->calls == 0)
		return true;
	sandbox_hide();
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (sandbox_calls_of(role, needs) & SANDBOX_DIAL)
		out->reach_error = reach_seal();
	count_addresses(out);
	if (mode == SANDBOX_ENFORCE)
		out->landlock_error = enter_landlock(role, needs, &out->landlock);
	out->seccomp_error = sandbox_filter(role, mode, needs, &out->calls);
	return out->reach_error == 0 && out->landlock_error == 0 && out->seccomp_error == 0 && (mode == SANDBOX_LOG || out->landlock.files);
}

/* True: it may pass, and is not to be gone on without. */
static bool say_error(bool loud, enum sandbox_mode mode, const char *what, int error)
{
	if (error == 0)
		return false;
	if (mode == SANDBOX_ENFORCE && sandbox_may_pass(error)) {
		say_failed(what, error);
		return true;
	}
	log_event(loud ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "sandbox_partial", "%s: %s", what, strerror(-error));
	return false;
}

void sandbox_confine(const char *role, enum sandbox_mode mode, struct sandbox_needs *needs, bool loud)
{
	struct sandbox_result r;
	for (unsigned i = 0; i < needs->paths_len; i++)
		needs->identities[i] = identity_of(needs->paths[i].path);
	bool whole = sandbox_enter(sandbox_role(role), mode, needs, &r);
	within = r.landlock.files && needs->paths_len > 0 ? needs : NULL;
	bool ends = say_error(loud, mode, "addresses that may be connected to are not protected, so it may connect to all", r.reach_error);
	ends |= say_error(loud, mode, "Landlock does not take the rules", r.landlock_error);
	ends |= say_error(loud, mode, "there is no seccomp filter", r.seccomp_error);
	if (ends) {
		log_flush();
		_exit(SANDBOX_AGAIN);
	}
	if (!whole && r.landlock_error == 0 && !r.landlock.files)
		log_event(loud ? LOG_LEVEL_NOTICE : LOG_LEVEL_DEBUG, "sandbox_partial", "this kernel has no Landlock (ABI %d) that would keep a %s from files; tarry check --sandbox tells more", r.landlock.abi, role);
	if (RELAXED[0] && mode != SANDBOX_OFF)
		log_event(LOG_LEVEL_WARNING, "sandbox_relaxed", "this program was built with " RELAXED ": only what nothing but an intruder does is refused");
	if (mode == SANDBOX_LOG && loud)
		log_event(LOG_LEVEL_WARNING, "sandbox_logs", "sandbox = log: nothing is refused; the kernel's log has the calls that would be (journalctl -k, type=1326)");
}
