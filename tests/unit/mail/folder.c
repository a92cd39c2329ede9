/* See folder.h. */
#include "folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FOLDERS 16

static unsigned files_seen;

static void make_in(const char *base, char path[FOLDER_PATH])
{
	snprintf(path, FOLDER_PATH, "%s/tarry-test-XXXXXX", base);
	assert_non_null(mkdtemp(path));
}

void folder_make(char path[FOLDER_PATH])
{
	const char *base = getenv("TMPDIR");
	make_in(base ? base : "/tmp", path);
}

void folder_make_quick(char path[FOLDER_PATH])
{
	if (access("/dev/shm", W_OK | X_OK) == 0)
		make_in("/dev/shm", path);
	else
		folder_make(path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void folder_remove(const char *path)
{
	assert_int_equal(nftw(path, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS), 0);
}

unsigned folder_count(const char *path, const char *sub, char name[256])
{
	char full[FOLDER_PATH * 2];
	unsigned n = 0;
	snprintf(full, sizeof(full), "%s/%s", path, sub);
	DIR *folder = opendir(full);
	if (!folder)
		return 0;
	for (const struct dirent *entry; (entry = readdir(folder));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (name)
			snprintf(name, 256, "%s", entry->d_name);
		n++;
	}
	closedir(folder);
	return n;
}

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)st;
	(void)ftw;
	files_seen += type != FTW_D && type != FTW_DNR;
	return 0;
}

unsigned folder_count_all(const char *path)
{
	files_seen = 0;
	assert_int_equal(nftw(path, count_one, OPEN_FOLDERS, FTW_PHYS), 0);
	return files_seen;
}

char *folder_read_only(const char *path, const char *sub, size_t *len)
{
	char name[256], full[FOLDER_PATH * 2 + 256];
	struct stat st;
	assert_int_equal(folder_count(path, sub, name), 1);
	snprintf(full, sizeof(full), "%s/%s/%s", path, sub, name);
	assert_int_equal(stat(full, &st), 0);
	char *text = malloc((size_t)st.st_size + 1);
	FILE *f = fopen(full, "rb");
	assert_non_null(text);
	assert_non_null(f);
	assert_int_equal(fread(text, 1, (size_t)st.st_size, f), st.st_size);
	fclose(f);
	text[st.st_size] = '\0';
	if (len)
		*len = (size_t)st.st_size;
	return text;
}
