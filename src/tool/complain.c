/* The tour, tool: complaints, in one form for `tarry serve` and `tarry check`. */
#include "tool/complain.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "access/access.h"
#include "core/account.h"
#include "core/proc.h"
#include "core/sandbox_conf.h"
#include "core/sock.h"
#include "tool/mc.h"

#define KIND_MAX 5000 /* bytes of what stands before a line at most */

void complain_lines(struct buf *said, const char *kind)
{
	const char *at = said->len > 0 ? said->at : "", *end = at + said->len;
	while (at < end) {
		const char *eol = memchr(at, '\n', (size_t)(end - at));
		size_t len = eol ? (size_t)(eol - at) : (size_t)(end - at);
		fprintf(stderr, "tarry: %s%.*s\n", kind, (int)len, at);
		at += len + 1;
	}
	if (said->full)
		fprintf(stderr, "tarry: %smore than can be shown; begin with these\n", kind);
}

bool complain_load(struct conf *out, const char *path, const struct conf_override *overrides, size_t overrides_len, struct buf *errors, struct buf *warnings)
{
	struct buf text, name;
	char memory[PATH_MAX + 32];
	if (!path || !mc_is_mc(path))
		return conf_load(out, path, overrides, overrides_len, errors, warnings);
	*out = (struct conf){ 0 };
	buf_init(&text, MC_OUTPUT_BYTES);
	buf_init_fixed(&name, memory, sizeof(memory));
	buf_putf(&name, "%s (tarry mc)", path);
	bool ok = mc_convert(path, &text, errors, warnings) && conf_load_text(out, buf_text(&name), buf_slice(&text), overrides, overrides_len, errors, warnings);
	buf_fini(&text);
	return ok;
}

bool complain_is_readable(const char *path)
{
	struct stat st;
	return access(path, R_OK) == 0 && stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

int complain_transparent(const struct conf *conf, const char *kind)
{
	const struct conf_backend *b = conf_transparent(conf);
	if (!b || sock_may_connect_as())
		return EX_OK;
	fprintf(stderr, "tarry: %s%s: transparent = yes: this process may not connect from foreign addresses; the door needs CAP_NET_RAW or CAP_NET_ADMIN: "
	        "start it as root, or give it one (systemd: AmbientCapabilities=CAP_NET_RAW)\n", kind, b->where);
	return EX_NOPERM;
}

int complain_kernel(const struct conf *conf)
{
	char program[PATH_MAX] = "";
	if (conf->ban_after == 0 || !conf->ban_kernel[0] || (proc_program("tarry-ban", program) && access(program, X_OK) == 0))
		return EX_OK;
	fprintf(stderr, "tarry: %s: ban_kernel: the program that puts bans into the kernel is not there (%s)\n", conf_where(conf, "ban_kernel"), program);
	return EX_UNAVAILABLE;
}

int complain_access(const struct conf *conf, const char *spec, struct buf *errors)
{
	char place[KIND_MAX] = "";
	const char *file = access_file(spec);
	struct stat st;
	bool readable = file && access(file, R_OK) == 0 && stat(file, &st) == 0 && S_ISREG(st.st_mode);
	int code = !file ? EX_CONFIG : readable ? EX_DATAERR : EX_NOINPUT;
	if (code != EX_DATAERR)
		snprintf(place, sizeof(place), "%s: access_db = \"%s\": ", conf_where(conf, "access_db"), spec);
	complain_lines(errors, place);
	return code;
}

int complain_build(const struct conf *conf, const char *spec, struct buf *errors, struct buf *warnings, size_t *entries)
{
	const char *file = access_file(spec);
	if (conf->access_missing == CONF_MISSING_IGNORE && file && access(file, F_OK) < 0 && errno == ENOENT)
		return access_build_empty(errors);
	return access_build_for(spec, &(struct access_rules){ conf->access_skip, conf->lookup_dot_domain, conf->stage_pause_keys }, errors, warnings, entries);
}

/* Of one that account_find() has not found; it may be known in a moment, as when the machine starts. */
static int missing(int error)
{
	return error == 0 ? EX_NOUSER : EX_OSERR;
}

int complain_account(const struct conf *conf, struct account *account)
{
	char memory[512];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!account_find(conf->user, NULL, account, &why)) {
		int code = missing(errno);
		fprintf(stderr, "tarry: %s: %s\n", conf_where(conf, "user"), buf_text(&why));
		return code;
	}
	if (account->uid == 0) {
		fprintf(stderr, "tarry: %s: user = \"%s\": that is root; expected an account without privileges\n", conf_where(conf, "user"), conf->user);
		return EX_CONFIG;
	}
	return EX_OK;
}

/* The folder under which Maildirs are made: the part of the template before its first '%', up to a slash. False: it does not fit. */
static bool fixed_folder(const char *template, char out[PATH_MAX])
{
	size_t len = strcspn(template, "%");
	while (len > 0 && template[len - 1] != '/')
		len--;
	if (len >= PATH_MAX)
		return false;
	memcpy(out, template, len);
	strcpy(out + len, len > 0 ? "" : ".");
	return true;
}

/* 0 if folders can be made in it, else errno. What is not there yet is made, so the nearest folder that is there counts. */
static int try_folder(char *path)
{
	sandbox_nearest_folder(path);
	return access(path, W_OK | X_OK) < 0 ? errno : 0;
}

/* In a process of its own, since root's access is not the account's. */
static int try_as(const struct account *account, char *path)
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		_exit(account_become(account) == 0 ? try_folder(path) : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 0;
	return WEXITSTATUS(status);
}

/* 0 if it can execute the program, else errno. As another account, in a process of its own. */
static int try_program(const char *path, const struct account *account)
{
	struct stat st;
	int status = 0;
	if (stat(path, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return EACCES;
	if (!account)
		return access(path, X_OK) < 0 ? errno : 0;
	pid_t pid = fork();
	if (pid == 0)
		_exit(account_become(account) < 0 || access(path, X_OK) == 0 ? 0 : errno);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 0;
	return WEXITSTATUS(status);
}

static int complain_program(const struct conf *conf, const struct conf_backend *b)
{
	char memory[512];
	struct buf why;
	struct account account;
	const bool named = b->user && *b->user, root = geteuid() == 0;
	buf_init_fixed(&why, memory, sizeof(memory));
	if ((root || named || (b->group && *b->group)) && !account_find(named ? b->user : conf->user, b->group, &account, &why)) {
		int code = missing(errno);
		fprintf(stderr, "tarry: %s: %s\n", b->where, buf_text(&why));
		return code;
	}
	int error = try_program(b->exec.at[0], root ? &account : NULL);
	if (error == 0)
		return EX_OK;
	fprintf(stderr, "tarry: %s: exec = \"%s\": %s cannot execute it (%s): clients would be answered 421; expected the path of a program\n", b->where, b->exec.at[0],
	        named ? b->user : root ? conf->user : "whoever runs this", strerror(error));
	return EX_UNAVAILABLE;
}

int complain_exec(const struct conf *conf)
{
	int code = EX_OK;
	for (size_t i = 0; i < conf->backends_len; i++) {
		int of_this = conf->backends[i].kind == CONF_BACKEND_EXEC ? complain_program(conf, &conf->backends[i]) : EX_OK;
		if (code == EX_OK || (code == EX_UNAVAILABLE && of_this != EX_OK)) /* a program may come; no door starts without the account */
			code = of_this;
	}
	return code;
}

/* 0 if that file, or a new one, can be kept up to date, else errno. A folder that is not there is none's wish to have one (known_db in options.def). */
static int try_file(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	if (access(folder, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (access(folder, W_OK | X_OK) < 0)
		return errno;
	return access(path, R_OK | W_OK) < 0 && errno != ENOENT ? errno : 0;
}

static void complain_file(const struct conf *conf, const struct account *account, const char *option, const char *path)
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0)
		_exit(account && account_become(account) < 0 ? 0 : try_file(path));
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) != 0)
		fprintf(stderr, "tarry: warning: %s: %s = \"%s\": %s cannot write there (%s), and all of it will be kept in memory alone, until the door ends; give its folder, and what is in it, to that account\n",
		        conf_where(conf, option), option, path, account ? conf->user : "whoever runs this", strerror(WEXITSTATUS(status)));
}

void complain_kept(const struct conf *conf, const struct account *account)
{
	if (conf->known_ttl > 0 && conf->known_db[0])
		complain_file(conf, account, "known_db", conf->known_db);
	if (conf->ban_after > 0 && conf->ban_db[0])
		complain_file(conf, account, "ban_db", conf->ban_db);
}

void complain_maildir(const struct conf *conf, const struct account *account)
{
	char folder[PATH_MAX];
	if (!conf_mail(conf) || !conf->create_maildirs || !fixed_folder(conf->maildir, folder))
		return;
	int error = account ? try_as(account, folder) : try_folder(folder);
	if (error == 0)
		return;
	fprintf(stderr, "tarry: warning: %s: maildir = \"%s\": %s cannot make folders there (%s), and mail will be answered 451; "
	        "make its first folder and give it to that account\n", conf_where(conf, "maildir"), conf->maildir, account ? conf->user : "whoever runs this",
	        strerror(error));
}
