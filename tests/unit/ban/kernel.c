/* A kernel to play with; see kernel.h. */
#include "kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		perror(path);
	close(fd);
}

bool kernel_begin(void)
{
	char map[40];
	uid_t uid = geteuid();
	if (uid != 0) {
		if (unshare(CLONE_NEWUSER) < 0)
			return false;
		snprintf(map, sizeof(map), "0 %d 1\n", (int)uid);
		write_file("/proc/self/uid_map", map);
	}
	return unshare(CLONE_NEWNET) == 0 && system("nft list tables >/dev/null 2>&1") == 0;
}

void kernel_nft(const char *command)
{
	char line[1000];
	snprintf(line, sizeof(line), "nft \"%s\"", command);
	assert_int_equal(system(line), 0);
}

const char *kernel_elements(const char *set)
{
	static char text[65536];
	char line[200];
	snprintf(line, sizeof(line), "nft list set inet t %s | tr -d '\\n\\t' | sed -e 's/.*elements = { *//;t;s/.*//' | sed -e 's/ expires [^ ,}]*//g' -e 's/ *} *} *} *$//' -e 's/, */, /g'", set);
	FILE *f = popen(line, "r");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	assert_int_equal(pclose(f), 0);
	text[strcspn(text, "\n")] = '\0';
	return text;
}
