/* Fuzz target: an access file, built, opened and asked. What the builder takes must open, an answer is within bounds, and asking
 * twice gives the same. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/access.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct access *access, const char *client)
{
	struct addr a;
	if (!addr_parse(slice_of(client), &a))
		__builtin_trap();
	struct access_answer first = access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = a }, -1);
	struct access_answer again = access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = a }, -1);
	if (first.pause_ms != again.pause_ms || first.found != again.found || first.line != again.line)
		__builtin_trap();
	if (first.pause_ms > ACCESS_PAUSE_MAX_MS || (first.pause_ms < 0) == first.found || (first.line == 0) == first.found)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char errors_memory[8192], warnings_memory[16384];
	char spec[64];
	struct buf errors, warnings;
	size_t entries = 0;
	int file = memfd_create("fuzz", MFD_CLOEXEC);
	if (file < 0 || (size > 0 && write(file, data, size) != (ssize_t)size))
		__builtin_trap();
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
	buf_init_fixed(&errors, errors_memory, sizeof(errors_memory));
	buf_init_fixed(&warnings, warnings_memory, sizeof(warnings_memory));
	int fd = access_build(spec, &errors, &warnings, &entries);
	close(file);
	if ((fd < 0) != (errors.len > 0))
		__builtin_trap();
	if (fd < 0)
		return 0;
	struct access *access = access_open(&(int){ fd }, 1, &(struct access_rules){ .skip = false });
	if (!access)
		__builtin_trap();
	static const char *const clients[] = { "127.0.0.2", "10.1.2.3", "192.168.4.1", "0.0.0.0", "255.255.255.255", "::1", "::", "2001:db8:1:2::9",
		"2001:db8:1:2:3:4:5:6", "::ffff:0:1", "fe80::1" };
	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
		ask(access, clients[i]);
	access_close(access);
	return 0;
}
