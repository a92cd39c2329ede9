/* Maildirs: where a recipient's mail goes, that it cannot go elsewhere, and that a message is in all its Maildirs or in none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../untested.h"
#include "folder.h"
#include "mail/maildir.h"

static char root[FOLDER_PATH];

static int make_root(void **state)
{
	(void)state;
	folder_make(root);
	return 0;
}

static int remove_root(void **state)
{
	(void)state;
	folder_remove(root);
	return 0;
}

/* In place of the C library's: remembers what was synced, and can fail. */
static char synced[64 * FOLDER_PATH];
static int fail_sync; /* the how-many-eth from now fails; 0: none */

int fsync(int fd)
{
	char link[64], path[FOLDER_PATH * 2];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n > 0 && strlen(synced) + (size_t)n + 2 < sizeof(synced))
		snprintf(synced + strlen(synced), sizeof(synced) - strlen(synced), "%.*s\n", (int)n, path);
	if (fail_sync > 0 && --fail_sync == 0) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static bool was_synced(const char *path)
{
	char line[FOLDER_PATH * 2 + 2];
	snprintf(line, sizeof(line), "%s\n", path);
	return strstr(synced, line) != NULL;
}

/* root/name; each call has memory of its own, freed by the process's end of the test */
static char *below(const char *name)
{
	static char paths[8][FOLDER_PATH * 2];
	static unsigned next;
	char *path = paths[next++ % 8];
	snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

static void paths(void **state)
{
	static const struct {
		const char *template, *delimiter, *user, *domain, *path; /* NULL: refused */
	} rows[] = {
		{ "/m/%d/%u", "+", "Joe", "Example.ORG", "/m/example.org/joe" },
		{ "/m/%d/%u", "+", "joe+detail+more", "example.org", "/m/example.org/joe" },
		{ "/m/%d/%u", "", "joe+detail", "example.org", "/m/example.org/joe+detail" },
		{ "/m/%d/%u", NULL, "joe+detail", "example.org", "/m/example.org/joe+detail" },
		{ "/m/%d/%u", "-", "joe-x", "example.org", "/m/example.org/joe" },
		{ "/m/%%d/100%%/%u%u%", "+", "joe", "example.org", "/m/%d/100%/joejoe%" },
		{ "/m/%x/%u", "+", "joe", "example.org", "/m/%x/joe" },
		{ "/m/%u", "+", "j\xc3\xb6 e", "example.org", "/m/j\xc3\xb6 e" },
		{ "/m/%d/%u", "+", "", "example.org", NULL },
		{ "/m/%d/%u", "+", "+detail", "example.org", NULL },
		{ "/m/%d/%u", "+", "joe", "", NULL },
		{ "/m/%d/%u", "+", ".", "example.org", NULL },
		{ "/m/%d/%u", "+", "..", "example.org", NULL },
		{ "/m/%d/%u", "+", "..+x", "example.org", NULL },
		{ "/m/%d/%u", "+", ".joe", "example.org", NULL },
		{ "/m/%d/%u", "+", "../../etc/passwd", "example.org", NULL },
		{ "/m/%d/%u", "+", "a/b", "example.org", NULL },
		{ "/m/%d/%u", "+", "/etc", "example.org", NULL },
		{ "/m/%d/%u", "+", "joe\n", "example.org", NULL },
		{ "/m/%d/%u", "+", "joe\x7f", "example.org", NULL },
		{ "/m/%d/%u", "+", "joe", "..", NULL },
		{ "/m/%d/%u", "+", "joe", "a/b", NULL },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char memory[MAILDIR_PATH + 1];
		struct buf path;
		buf_init_fixed(&path, memory, sizeof(memory));
		bool ok = maildir_path(&path, rows[i].template, rows[i].delimiter, slice_of(rows[i].user), slice_of(rows[i].domain));
		if (ok != (rows[i].path != NULL))
			fail_msg("row %zu", i);
		assert_string_equal(buf_text(&path), rows[i].path ? rows[i].path : "");
	}
}

static void path_lengths(void **state)
{
	char memory[MAILDIR_PATH + 1], user[MAILDIR_USER + 1], domain[MAILDIR_DOMAIN + 1], template[512];
	struct buf path;
	(void)state;
	memset(user, 'u', sizeof(user));
	memset(domain, 'd', sizeof(domain));
	memset(template, 'x', sizeof(template));
	buf_init_fixed(&path, memory, sizeof(memory));
	assert_false(maildir_path(&path, "/%d/%u", "+", (struct slice){ "a\0b", 3 }, slice_of("d")));
	assert_true(maildir_path(&path, "/%d/%u", "+", (struct slice){ user, MAILDIR_USER }, (struct slice){ domain, MAILDIR_DOMAIN }));
	assert_int_equal(path.len, 2 + MAILDIR_USER + MAILDIR_DOMAIN);
	buf_clear(&path);
	assert_false(maildir_path(&path, "/%d/%u", "+", (struct slice){ user, MAILDIR_USER + 1 }, slice_of("d")));
	assert_false(maildir_path(&path, "/%d/%u", "+", slice_of("u"), (struct slice){ domain, MAILDIR_DOMAIN + 1 }));
	assert_false(maildir_path(&path, "/x%d/%u", "+", slice_of("u"), (struct slice){ domain, MAILDIR_DOMAIN })); /* a name of 256 */
	memcpy(template, "/%u/", 4);
	template[300] = '\0';
	assert_false(maildir_path(&path, template, "+", slice_of("u"), slice_of("d")));
	for (size_t i = 4; i + 1 < sizeof(template); i += 2)
		memcpy(template + i, "%d", 2); /* one component, far too long */
	template[sizeof(template) - 1] = '\0';
	assert_false(maildir_path(&path, template, "+", slice_of("u"), slice_of("dddd")));
	for (size_t i = 4; i + 3 < sizeof(template); i += 3)
		memcpy(template + i, "/%d", 3); /* many components: too long in all */
	assert_false(maildir_path(&path, template, "+", slice_of("u"), (struct slice){ domain, MAILDIR_DOMAIN }));
	assert_int_equal(path.len, 0);
}

static void assert_mode(const char *path, mode_t mode)
{
	struct stat st;
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void one_message(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	char name[256], *one = below("a/b/joe");
	(void)state;
	maildir_store_init(&store, "mail.exam/ple:25", true);
	assert_int_equal(maildir_exists(one), -ENOENT);
	assert_int_equal(maildir_begin(&store, one, &file), 0);
	assert_int_equal(maildir_exists(one), 0);
	assert_int_equal(folder_count(one, "tmp", name), 1);
	assert_int_equal(folder_count(one, "new", NULL), 0);
	assert_mode(below("a"), S_IRWXU);
	assert_mode(one, S_IRWXU);
	assert_mode(below("a/b/joe/cur"), S_IRWXU);
	assert_non_null(strstr(name, ".mail.exam_ple_25"));
	assert_int_equal(maildir_write(&file, "hello ", 6), 0);
	assert_int_equal(maildir_write(&file, "world\n", 6), 0);
	assert_int_equal(maildir_commit(&store, &file, &one, 1), 0);
	maildir_abort(&file); /* nothing left to abort */
	assert_int_equal(folder_count(one, "tmp", NULL), 0);
	char *text = folder_read_only(one, "new", NULL);
	assert_string_equal(text, "hello world\n");
	free(text);
	assert_int_equal(folder_count(one, "new", name), 1);
	char *path = malloc(strlen(one) + strlen(name) + 10);
	sprintf(path, "%s/new/%s", one, name);
	assert_mode(path, S_IRUSR | S_IWUSR);
	free(path);
	maildir_store_fini(&store);
}

static void aborted(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	(void)state;
	maildir_store_init(&store, "h", true);
	assert_int_equal(maildir_begin(&store, below("joe"), &file), 0);
	maildir_abort(&file);
	maildir_abort(&file);
	assert_int_equal(folder_count_all(root), 0);
	maildir_store_fini(&store);
}

static void not_made(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	(void)state;
	maildir_store_init(&store, "h", false);
	assert_int_equal(maildir_begin(&store, below("joe"), &file), -ENOENT);
	assert_int_equal(folder_count(root, ".", NULL), 0);
	assert_int_equal(mkdir(below("joe"), S_IRWXU), 0);
	assert_int_equal(maildir_begin(&store, below("joe"), &file), 0);
	maildir_abort(&file);
	maildir_store_fini(&store);
}

static void many_recipients(void **state)
{
	enum { MANY = MAILDIR_OPEN + 20 };
	struct maildir_store store;
	struct maildir_file file;
	char *list[MANY];
	(void)state;
	maildir_store_init(&store, "h", true);
	for (int i = 0; i < MANY; i++) {
		list[i] = malloc(FOLDER_PATH * 2);
		snprintf(list[i], FOLDER_PATH * 2, "%s/u%d", root, i);
	}
	assert_int_equal(symlink("u1", below("same")), 0); /* one Maildir by two names */
	snprintf(list[2], FOLDER_PATH * 2, "%s/same", root);
	for (int round = 1; round <= 2; round++) {
		assert_int_equal(maildir_begin(&store, list[0], &file), 0);
		assert_int_equal(maildir_write(&file, "x", 1), 0);
		assert_int_equal(maildir_commit(&store, &file, list, MANY), 0);
		for (int i = 0; i < MANY; i++) {
			assert_int_equal(folder_count(list[i], "new", NULL), round);
			assert_int_equal(folder_count(list[i], "tmp", NULL), 0);
		}
	}
	maildir_store_fini(&store);
	for (int i = 0; i < MANY; i++)
		free(list[i]);
}

/* The second file system is /dev/shm, where there is one. */
static void other_file_system(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	struct stat here, there;
	char other[] = "/dev/shm/tarry-test-XXXXXX";
	(void)state;
	if (!mkdtemp(other)) {
		untested();
		return;
	}
	if (stat(root, &here) < 0 || stat(other, &there) < 0 || here.st_dev == there.st_dev) {
		rmdir(other);
		untested();
		return;
	}
	char *list[] = { below("joe"), other };
	maildir_store_init(&store, "h", true);
	assert_int_equal(maildir_begin(&store, list[0], &file), 0);
	assert_int_equal(maildir_write(&file, "copied", 6), 0);
	assert_int_equal(maildir_commit(&store, &file, list, 2), 0);
	char *text = folder_read_only(other, "new", NULL);
	assert_string_equal(text, "copied");
	free(text);
	assert_int_equal(folder_count(other, "tmp", NULL), 0);
	maildir_store_fini(&store);
	folder_remove(other);
}

/* The last recipient cannot have it, so nobody has. */
static void all_or_none(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	char *list[] = { below("a"), below("b"), below("c") };
	(void)state;
	maildir_store_init(&store, "h", true);
	int fd = open(list[2], O_CREAT | O_WRONLY, S_IRUSR); /* a file where the Maildir should be */
	close(fd);
	assert_int_equal(maildir_begin(&store, list[0], &file), 0);
	assert_int_equal(maildir_write(&file, "x", 1), 0);
	assert_int_equal(maildir_commit(&store, &file, list, 3), -ENOTDIR);
	assert_int_equal(folder_count_all(root), 1);
	assert_int_equal(maildir_begin(&store, list[2], &file), -ENOTDIR);
	maildir_abort(&file);
	maildir_store_fini(&store);
}

/* Renamed into new/ here, and then there it fails: what was renamed already goes again. */
static void none_after_rename(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	char *list[] = { below("a"), below("b") };
	(void)state;
	maildir_store_init(&store, "h", true);
	assert_int_equal(maildir_begin(&store, list[1], &file), 0);
	maildir_abort(&file);
	assert_int_equal(maildir_begin(&store, list[0], &file), 0);
	assert_int_equal(maildir_write(&file, "x", 1), 0);
	/* new/ of b has gone, although the store still holds it open: a rename into it fails. */
	assert_int_equal(rmdir(below("b/new")), 0);
	assert_true(maildir_commit(&store, &file, list, 2) < 0);
	assert_int_equal(folder_count_all(root), 0);
	/* The next one finds out, and makes it again. */
	assert_int_equal(maildir_begin(&store, list[0], &file), 0);
	assert_int_equal(maildir_commit(&store, &file, list, 2), 0);
	assert_int_equal(folder_count(list[1], "new", NULL), 1);
	maildir_store_fini(&store);
}

static void moved_away(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	char *joe = below("joe");
	(void)state;
	maildir_store_init(&store, "h", true);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(maildir_begin(&store, joe, &file), 0);
		assert_int_equal(maildir_commit(&store, &file, &joe, 1), 0);
	}
	assert_int_equal(folder_count(joe, "new", NULL), 2);
	assert_int_equal(rename(joe, below("old")), 0);
	assert_int_equal(maildir_begin(&store, joe, &file), 0);
	assert_int_equal(maildir_commit(&store, &file, &joe, 1), 0);
	assert_int_equal(folder_count(joe, "new", NULL), 1);
	assert_int_equal(folder_count(below("old"), "new", NULL), 2);
	folder_remove(joe);
	assert_int_equal(maildir_begin(&store, joe, &file), 0);
	maildir_abort(&file);
	maildir_store_fini(&store);
}

/* tmp/ or new/ that lead elsewhere are not followed. */
static void symbolic_links(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	(void)state;
	maildir_store_init(&store, "h", true);
	assert_int_equal(mkdir(below("elsewhere"), S_IRWXU), 0);
	assert_int_equal(mkdir(below("joe"), S_IRWXU), 0);
	assert_int_equal(symlink("../elsewhere", below("joe/tmp")), 0);
	assert_true(maildir_begin(&store, below("joe"), &file) < 0);
	assert_int_equal(unlink(below("joe/tmp")), 0);
	assert_int_equal(symlink("../elsewhere", below("joe/new")), 0);
	assert_true(maildir_begin(&store, below("joe"), &file) < 0);
	assert_int_equal(folder_count(root, "elsewhere", NULL), 0);
	maildir_store_fini(&store);
}

/* In a process of its own, since a user cannot come back. */
static int in_child(int (*work)(void))
{
	int status;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(work());
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int write_without_permission(void)
{
	struct maildir_store store;
	struct maildir_file file;
	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 2;
	maildir_store_init(&store, "h", true);
	int first = maildir_begin(&store, below("closed/joe"), &file);
	int second = maildir_begin(&store, below("full/joe"), &file);
	maildir_store_fini(&store);
	return first == -EACCES && second == -EACCES ? 0 : 1;
}

static void no_permission(void **state)
{
	(void)state;
	assert_int_equal(chmod(root, 0755), 0);
	assert_int_equal(mkdir(below("closed"), 0500), 0);
	assert_int_equal(mkdir(below("full"), 0755), 0);
	assert_int_equal(mkdir(below("full/joe"), 0555), 0);
	assert_int_equal(in_child(write_without_permission), 0);
	assert_int_equal(chmod(below("closed"), 0700), 0);
	assert_int_equal(chmod(below("full/joe"), 0700), 0);
}

static void left_overs(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	char name[256];
	(void)state;
	maildir_store_init(&store, "h", true);
	assert_int_equal(maildir_begin(&store, below("joe"), &file), 0);
	maildir_abort(&file);
	maildir_store_fini(&store);
	close(open(below("joe/tmp/old"), O_CREAT | O_WRONLY, S_IRUSR));
	close(open(below("joe/tmp/young"), O_CREAT | O_WRONLY, S_IRUSR));
	assert_int_equal(utimensat(AT_FDCWD, below("joe/tmp/old"), times, 0), 0);
	maildir_store_init(&store, "h", true);
	assert_int_equal(maildir_begin(&store, below("joe"), &file), 0);
	maildir_abort(&file);
	assert_int_equal(folder_count(below("joe"), "tmp", name), 1);
	assert_string_equal(name, "young");
	maildir_store_fini(&store);
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

/* Whoever made the folders, and whether or not that one lived to sync them: no message is taken before they are on disk. */
static void young_folders_are_synced_up_to_the_top(void **state)
{
	struct maildir_store store;
	struct maildir_file file;
	const char *path = below("d/u");
	(void)state;
	assert_int_equal(mkdir(below("d"), 0700), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	for (int try = 1; try <= 3; try++) { /* the Maildir, the folder of its domain, what that is in: whichever cannot be synced */
		maildir_store_init(&store, "h", true);
		synced[0] = '\0';
		fail_sync = try;
		assert_int_equal(maildir_begin(&store, path, &file), -EIO);
		assert_int_equal(fail_sync, 0);
		assert_int_equal(maildir_begin(&store, path, &file), 0);
		assert_true(was_synced(path) && was_synced(below("d")) && was_synced(root));
		maildir_abort(&file);
		maildir_store_fini(&store);
	}
	/* One that has been there for long costs nothing. */
	struct timespec long_ago[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
	maildir_store_init(&store, "h", true);
	synced[0] = '\0';
	assert_int_equal(maildir_begin(&store, path, &file), 0);
	assert_string_equal(synced, "");
	maildir_abort(&file);
	maildir_store_fini(&store);
}

/* The promise behind the 250: the file first, and then each new/ that has it. Whichever of these fails, nobody keeps the message. */
static void nothing_is_promised_before_it_is_on_disk(void **state)
{
	char *paths[2] = { below("a"), below("b") }, name[256];
	struct timespec long_ago[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	struct maildir_store store;
	struct maildir_file file;
	unsigned syncs = 0;
	(void)state;
	maildir_store_init(&store, "h", true);
	for (int i = 0; i < 2; i++) { /* Maildirs that are there already, so that every sync below is the message's */
		assert_int_equal(maildir_begin(&store, paths[i], &file), 0);
		maildir_abort(&file);
		assert_int_equal(utimensat(AT_FDCWD, paths[i], long_ago, 0), 0);
	}
	maildir_store_fini(&store);
	for (int try = 0; try == 0 || try <= (int)syncs; try++) { /* 0: none fails */
		maildir_store_init(&store, "h", true);
		assert_int_equal(maildir_begin(&store, paths[0], &file), 0);
		assert_int_equal(maildir_write(&file, "hello\n", 6), 0);
		synced[0] = '\0';
		fail_sync = try;
		assert_int_equal(maildir_commit(&store, &file, paths, 2), try == 0 ? 0 : -EIO);
		maildir_store_fini(&store);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(folder_count(paths[i], "new", name), try == 0);
			assert_int_equal(folder_count(paths[i], "tmp", name), 0);
		}
		if (try > 0)
			continue;
		for (const char *p = synced; (p = strchr(p, '\n')); p++)
			syncs++;
		const char *of_file = strstr(synced, "/a/tmp/"), *of_a = strstr(synced, "/a/new\n"), *of_b = strstr(synced, "/b/new\n");
		assert_true(of_file && of_a && of_b && of_file < of_a && of_file < of_b);
		for (int i = 0; i < 2; i++) {
			char full[FOLDER_PATH * 2 + 300];
			assert_int_equal(folder_count(paths[i], "new", name), 1);
			snprintf(full, sizeof(full), "%s/new/%s", paths[i], name);
			assert_int_equal(unlink(full), 0);
		}
	}
	assert_true(syncs >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(nothing_is_promised_before_it_is_on_disk),
		WITH_ROOT(young_folders_are_synced_up_to_the_top),
		cmocka_unit_test(paths),
		cmocka_unit_test(path_lengths),
		WITH_ROOT(one_message),
		WITH_ROOT(aborted),
		WITH_ROOT(not_made),
		WITH_ROOT(many_recipients),
		WITH_ROOT(other_file_system),
		WITH_ROOT(all_or_none),
		WITH_ROOT(none_after_rename),
		WITH_ROOT(moved_away),
		WITH_ROOT(symbolic_links),
		WITH_ROOT(no_permission),
		WITH_ROOT(left_overs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
