/* The tour, tools: the address of tarry-desk, and its token. */
#include "tool/complain_desk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define TOKEN_LEAST 16
#define TOKEN_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-"

static int complain(const struct conf *conf, const char *option, const char *value, const char *why, int code)
{
	fprintf(stderr, "tarry: %s: %s = \"%s\": %s\n", conf_where(conf, option), option, value, why);
	return code;
}

/* Whoever can write the file lets in whom he likes, and whoever can read it is in. */
static int check_file(const struct conf *conf, const char *path, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return complain(conf, "desk_token_file", path, "it is no file", EX_NOINPUT);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return complain(conf, "desk_token_file", path, "it belongs to somebody else; expected root, or who starts the door", EX_NOPERM);
	if (st->st_mode & 077)
		return complain(conf, "desk_token_file", path, "others than its owner can read or write it; chmod 600", EX_NOPERM);
	return EX_OK;
}

static int read_token(const struct conf *conf, char token[COMPLAIN_DESK_TOKEN])
{
	const char *path = conf->desk_token_file;
	char bytes[COMPLAIN_DESK_TOKEN + 1] = "";
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int e = errno;
		if (fd >= 0)
			close(fd);
		return complain(conf, "desk_token_file", path, strerror(e), EX_NOINPUT);
	}
	int code = check_file(conf, path, &st);
	ssize_t n = code == EX_OK ? read(fd, bytes, COMPLAIN_DESK_TOKEN) : 0;
	close(fd);
	if (code != EX_OK)
		return code;
	size_t len = n > 0 ? strspn(bytes, TOKEN_LETTERS) : 0;
	bool ends = bytes[len] == '\0' || bytes[len] == '\n' || bytes[len] == '\r';
	if (len < TOKEN_LEAST || len >= COMPLAIN_DESK_TOKEN || !ends)
		return complain(conf, "desk_token_file", path, "its first line is no token; expected 16 to 128 letters, digits, '.', '_', '~' or '-': openssl rand -hex 20", EX_CONFIG);
	memcpy(token, bytes, len);
	token[len] = '\0';
	return EX_OK;
}

int complain_desk(const struct conf *conf, struct addr *at, char token[COMPLAIN_DESK_TOKEN])
{
	memset(at, 0, sizeof(*at));
	token[0] = '\0';
	if (!conf->desk[0])
		return EX_OK;
	if (!addr_parse_port(slice_of(conf->desk), at) || at->port == 0)
		return complain(conf, "desk", conf->desk, "expected ADDRESS:PORT, as in 127.0.0.1:8025, or nothing", EX_CONFIG);
	if (conf->desk_token_file[0])
		return read_token(conf, token);
	if (!addr_is_loopback(at))
		return complain(conf, "desk", conf->desk, "anybody who can reach that address could look; set desk_token_file, or a loopback address such as 127.0.0.1:8025", EX_CONFIG);
	return EX_OK;
}
