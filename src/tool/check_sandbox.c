/* The tour, tools: `tarry check --sandbox`. Nothing is believed: each role's process is made as the door would make it, enters, and tries what an intruder would; programs of their own do so themselves (--try). */
#include "tool/check_sandbox.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/caps.h"
#include "core/proc.h"
#include "core/sandbox_conf.h"
#include "core/sandbox_try.h"
#include "access/access.h"
#include "tool/complain.h"
#include "tool/complain_tls.h"
#include "tool/tool.h"

#define BAN_CAPS (UINT64_C(1) << CAP_NET_ADMIN)
#define MAIL_PATH "@tarry-mail-check" /* stands for the random one of a running door */

struct check {
	const struct conf *conf;
	struct sandbox_account account;
	int code; /* the first that is not EX_OK */
};

static void note(struct check *c, int code)
{
	c->code = c->code != EX_OK ? c->code : code;
}

static bool becomes_others(const struct conf *conf)
{
	for (size_t i = 0; i < conf->backends_len; i++) {
		const struct conf_backend *b = &conf->backends[i];
		if (b->kind == CONF_BACKEND_EXEC && ((b->user && *b->user) || (b->group && *b->group)))
			return true;
	}
	return false;
}

/* In a process of its own: the addresses that one role may connect to are none of the next one's. */
static void try_here(struct check *c, const char *role)
{
	int status = 0;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		static struct sandbox_needs needs; /* large */
		struct sandbox_account account = c->account;
		sandbox_needs_init(&needs);
		if (strcmp(role, "front") == 0)
			sandbox_conf_front(&needs, c->conf, MAIL_PATH);
		else if (strcmp(role, "mail") == 0)
			sandbox_conf_mail(&needs, c->conf);
		account.drop = account.drop && strcmp(role, "parent") != 0 && !(strcmp(role, "spawn") == 0 && becomes_others(c->conf));
		const struct sandbox_trial trial = { .role = sandbox_role(role), .mode = (enum sandbox_mode)c->conf->sandbox, .needs = &needs, .account = &account,
			.caps = conf_transparent(c->conf) ? caps_transparent() : 0 };
		exit(sandbox_try_print(&trial));
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid)
		note(c, WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE);
	else
		note(c, EX_OSERR);
}

/* "tarry-ROLE --try", as the role; before: what stands between that and the arguments of all. */
static void try_program_as(struct check *c, const char *role, const char *file, uint64_t caps, const char *const *more, size_t more_len)
{
	char program[PATH_MAX];
	const char *args[SANDBOX_ARGS + ACCESS_MAPS + 10] = { program, "--try" };
	size_t n = 2 + sandbox_conf_args(c->conf, args + 2);
	int status = 0;
	for (size_t i = 0; i < more_len; i++)
		args[n++] = more[i];
	args[n] = NULL;
	if (!proc_program(file, program) || access(program, X_OK) < 0) {
		fprintf(stderr, "tarry: sandbox: %s: %s beside this program: %s\n", role, file, strerror(errno));
		note(c, EX_UNAVAILABLE);
		return;
	}
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		if (sandbox_begin(sandbox_role(role), (enum sandbox_mode)c->conf->sandbox, &c->account, caps) && (caps == 0 || caps_pass_on(caps)))
			execv(program, (char *const *)(uintptr_t)args);
		_exit(EX_OSERR);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid)
		note(c, WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE);
	else
		note(c, EX_OSERR);
}

static void try_program(struct check *c, const char *role, const char *const *more, size_t more_len)
{
	char file[32];
	snprintf(file, sizeof(file), "tarry-%s", role);
	try_program_as(c, role, file, 0, more, more_len);
}

static void try_lookup(struct check *c)
{
	const char *more[ACCESS_MAPS + 1] = { "--" };
	size_t n = 1;
	for (size_t i = 0; i < c->conf->access_db.len; i++)
		if (access_is_elsewhere(c->conf->access_db.at[i]))
			more[n++] = c->conf->access_db.at[i];
	if (n > 1)
		try_program(c, "lookup", more, n);
}

int check_sandbox(const struct conf *conf)
{
	struct check c = { .conf = conf, .code = EX_OK };
	static struct account account;
	if (geteuid() == 0) {
		int code = complain_account(conf, &account);
		if (code != EX_OK)
			return code;
		c.account = (struct sandbox_account){ true, account.uid, account.gid, conf->user, &account };
	}
	if (sandbox_relaxed()[0])
		fprintf(stderr, "tarry: warning: this program was built with %s, and its processes are let do more than others\n", sandbox_relaxed());
	try_here(&c, "parent");
	try_here(&c, "front");
	if (conf_mail(conf))
		try_here(&c, "mail");
	try_lookup(&c);
	const char *log[] = { "--log", conf_words("log")[conf->log] };
	if (complain_tls_is_needed(conf))
		try_program(&c, "tls", log, 2);
	if (conf->desk[0])
		try_program(&c, "desk", log, 2);
	const char *known[] = { "--db", conf->known_db, "--share", conf->known_share };
	if (conf->known_ttl > 0)
		try_program(&c, "known", known, 4);
	const char *bans[] = { "--ban-time", "1", "--ban-time-max", "1", "--db", conf->ban_db, "--share", conf->ban_share };
	if (conf->ban_after > 0)
		try_program_as(&c, "bans", "tarry-known", 0, bans, 8);
	if (conf->ban_after > 0 && conf->ban_kernel[0])
		try_program_as(&c, "ban", "tarry-ban", caps_permitted() & BAN_CAPS, log, 2);
	if (conf_hands_over(conf))
		try_here(&c, "spawn");
	return c.code;
}
