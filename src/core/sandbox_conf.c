/* The tour, core: from the configuration to the walls. */
#include "core/sandbox_conf.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sandbox_try.h"

#define SANDBOX_FOLDER 4096

void sandbox_conf_log(struct sandbox_needs *needs, int log)
{
	if (log != LOG_TO_STDERR) /* whose daemon may be started again, and have a new socket */
		sandbox_need_unix(needs, log_socket((enum log_target)log));
}

void sandbox_conf_front(struct sandbox_needs *needs, const struct conf *conf, const char *mail_path)
{
	for (size_t i = 0; i < conf->backends_len; i++) {
		const struct conf_backend *b = &conf->backends[i];
		if (b->kind == CONF_BACKEND_TCP)
			sandbox_need_addr(needs, &b->at);
		else if (b->kind == CONF_BACKEND_UNIX)
			sandbox_need_unix(needs, b->path);
		else if (b->kind == CONF_BACKEND_MAIL && mail_path)
			sandbox_need_unix(needs, mail_path);
	}
	needs->binds = conf_transparent(conf) != NULL;
	sandbox_conf_log(needs, (int)conf->log);
}

void sandbox_nearest_folder(char *path)
{
	while (access(path, F_OK) < 0 && errno == ENOENT && strlen(path) > 1) {
		char *slash = strrchr(path, '/');
		while (slash && slash > path && slash[1] == '\0') {
			*slash = '\0';
			slash = strrchr(path, '/');
		}
		if (!slash)
			strcpy(path, ".");
		else
			slash[slash == path] = '\0';
	}
}

void sandbox_conf_mail(struct sandbox_needs *needs, const struct conf *conf)
{
	char path[SANDBOX_FOLDER];
	size_t len = strcspn(conf->maildir, "%");
	while (len > 0 && conf->maildir[len - 1] != '/')
		len--;
	sandbox_need_path(needs, "/", LANDLOCK_LIST); /* fsync() of the folders above a new Maildir */
	if (len < sizeof(path) - 1) {
		memcpy(path, conf->maildir, len);
		strcpy(path + len, len > 0 ? "" : ".");
		sandbox_nearest_folder(path);
		sandbox_need_path(needs, path, LANDLOCK_WRITE);
	}
	for (size_t i = 0; i < conf->sandbox_paths.len; i++)
		sandbox_need_path(needs, conf->sandbox_paths.at[i], LANDLOCK_WRITE);
	sandbox_conf_log(needs, (int)conf->log);
}

size_t sandbox_conf_args(const struct conf *conf, const char *args[SANDBOX_ARGS])
{
	size_t n = 0;
	args[n++] = "--sandbox";
	args[n++] = conf_words("sandbox")[conf->sandbox];
	for (size_t i = 0; i < conf->sandbox_paths.len && i < SANDBOX_ALLOWED; i++) {
		args[n++] = "--allow";
		args[n++] = conf->sandbox_paths.at[i];
	}
	return n;
}

bool sandbox_take(struct sandbox_arguments *a, int option, const char *text)
{
	const char *const *words = conf_words("sandbox");
	if (option == SANDBOX_OPTION_TRY) {
		a->try = true;
		return true;
	}
	if (option == SANDBOX_OPTION_ALLOW) {
		if (a->allow_len < SANDBOX_ALLOWED)
			a->allow[a->allow_len++] = text;
		return true;
	}
	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], text) == 0) {
			a->mode = i;
			return true;
		}
	return false;
}

bool sandbox_take_role(const struct sandbox_arguments *a, const char *role, struct sandbox_needs *needs, bool loud, int *status)
{
	const struct sandbox_trial trial = { .role = sandbox_role(role), .mode = (enum sandbox_mode)a->mode, .needs = needs };
	for (unsigned i = 0; i < a->allow_len; i++)
		sandbox_need_path(needs, a->allow[i], LANDLOCK_WRITE);
	if (!a->try) {
		sandbox_confine(role, (enum sandbox_mode)a->mode, needs, loud);
		return true;
	}
	*status = sandbox_try_print(&trial);
	return false;
}
