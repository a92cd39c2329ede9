/* Fuzz target: the configuration file, and the small parsers behind its values.
 *
 * What must hold for any bytes: either there is a configuration, and what conf_show() says of it reads back as the same one, or there is a
 * message, of whole printable lines. */
#include <netdb.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/conf.h"

#define TEXT_MAX (1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libconfuse loses a few bytes when a call like include( is not finished; the file is refused then. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfuse\n";
}

/* Names in the input must not make the fuzzer ask a name server. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	(void)node;
	(void)service;
	(void)hints;
	(void)out;
	return EAI_NONAME;
}

static void check_messages(const struct buf *b)
{
	if (b->len > 0 && !b->full && b->at[b->len - 1] != '\n')
		abort();
	for (size_t i = 0; i < b->len; i++)
		if (((unsigned char)b->at[i] < ' ' && b->at[i] != '\n') || (unsigned char)b->at[i] >= 0x7f)
			abort();
}

/* What is in force after these bytes into *shown; false: nothing. */
static bool load(const void *bytes, size_t size, struct buf *shown)
{
	static const struct conf_override overrides[] = { { "hostname=mx.example.org" } };
	struct conf conf;
	struct buf errors, warnings;
	char path[64];
	int fd = memfd_create("conf", MFD_CLOEXEC);
	if (fd < 0 || (size > 0 && write(fd, bytes, size) != (ssize_t)size))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	bool ok = conf_load(&conf, path, overrides, 1, &errors, &warnings);
	if (ok == (errors.len > 0))
		abort();
	check_messages(&errors);
	check_messages(&warnings);
	if (ok)
		conf_show(&conf, shown);
	conf_fini(&conf);
	buf_fini(&errors);
	buf_fini(&warnings);
	close(fd);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t value;
	struct buf first, second;
	struct slice text = { size ? (const char *)data : "", size };
	if (conf_duration(text, &value) && value < 0)
		abort();
	if (conf_size(text, &value) && value < 0)
		abort();
	buf_init(&first, TEXT_MAX);
	buf_init(&second, TEXT_MAX);
	if (load(data, size, &first) && !first.full)
		if (!load(first.at, first.len, &second) || second.len != first.len || memcmp(first.at, second.at, first.len) != 0)
			abort();
	buf_fini(&first);
	buf_fini(&second);
	return 0;
}
