/* A message into its file: across the block's size, beyond the limit, and on a disk that takes no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../untested.h"
#include "folder.h"
#include "mail/message.h"

#define LARGE (3 * MESSAGE_BLOCK + 17)

static char root[FOLDER_PATH], path[FOLDER_PATH + 8];
static char *paths[] = { path };
static struct maildir_store store;

static int make_root(void **state)
{
	(void)state;
	folder_make(root);
	snprintf(path, sizeof(path), "%s/joe", root);
	maildir_store_init(&store, "h", true);
	return 0;
}

static int remove_root(void **state)
{
	(void)state;
	maildir_store_fini(&store);
	folder_remove(root);
	return 0;
}

/* len bytes of lines of 64, then the end. */
static char *make_text(size_t len)
{
	char *text = malloc(len + 5);
	for (size_t i = 0; i < len; i++)
		text[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : (char)('a' + i / 64 % 26);
	memcpy(text + len, "\r\n.\r\n", 5);
	return text;
}

static void take_all(struct message *m, const char *text, size_t len, size_t step)
{
	for (size_t i = 0; i < len; i += step) {
		size_t n = step < len - i ? step : len - i;
		assert_int_equal(message_take(m, (struct slice){ text + i, n }), n);
	}
	assert_true(message_ended(m));
}

static void whole(void **state)
{
	static const size_t steps[] = { 1, 1000, MESSAGE_BLOCK - 1, MESSAGE_BLOCK, MESSAGE_BLOCK + 1, LARGE + 5 };
	char *text = make_text(LARGE);
	char *want = malloc(LARGE + 8);
	size_t want_len = 2;
	(void)state;
	memcpy(want, "H\n", 2);
	for (size_t i = 0; i < LARGE + 2; i++)
		if (text[i] != '\r')
			want[want_len++] = text[i];
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct message m;
		size_t len;
		assert_int_equal(message_begin(&m, &store, path, slice_of("H\n"), false), 0);
		take_all(&m, text, LARGE + 5, steps[i]);
		assert_int_equal(m.data.size, LARGE + 2);
		assert_int_equal(message_commit(&m, &store, paths, 1, 50), MESSAGE_STORED);
		message_fini(&m);
		message_fini(&m);
		char *got = folder_read_only(path, "new", &len);
		assert_int_equal(len, want_len);
		assert_memory_equal(got, want, len);
		free(got);
		folder_remove(path);
	}
	free(want);
	free(text);
}

/* What follows the end is left to the caller. */
static void stops_at_the_end(void **state)
{
	struct message m;
	(void)state;
	assert_int_equal(message_begin(&m, &store, path, slice_of(""), false), 0);
	assert_int_equal(message_take(&m, slice_of("a\r\n.\r\nQUIT\r\n")), 6);
	assert_true(message_ended(&m));
	message_fini(&m);
	assert_int_equal(folder_count_all(root), 0);
}

static void too_large(void **state)
{
	char *text = make_text(LARGE);
	(void)state;
	for (int64_t most = LARGE; most <= LARGE + 2; most++) {
		struct message m;
		assert_int_equal(message_begin(&m, &store, path, slice_of("H\n"), false), 0);
		m.most = most;
		take_all(&m, text, LARGE + 5, 777);
		assert_int_equal(message_commit(&m, &store, paths, 1, 50), most < LARGE + 2 ? MESSAGE_TOO_LARGE : MESSAGE_STORED);
		message_fini(&m);
		assert_int_equal(folder_count_all(root), most < LARGE + 2 ? 0 : 1);
	}
	free(text);
}

/* The file of a message that is too large is gone before its client has finished. */
static void gives_up_early(void **state)
{
	struct message m;
	(void)state;
	assert_int_equal(message_begin(&m, &store, path, slice_of(""), false), 0);
	m.most = 10;
	assert_int_equal(folder_count_all(root), 1);
	assert_int_equal(message_take(&m, slice_of("0123456789a")), 11);
	assert_int_equal(folder_count_all(root), 0);
	message_fini(&m);
}

static void loops(void **state)
{
	static const char text[] = "Received: a\r\nReceived: b\r\n\r\nx\r\n.\r\n";
	(void)state;
	for (unsigned most = 1; most <= 2; most++) {
		struct message m;
		assert_int_equal(message_begin(&m, &store, path, slice_of("Received: ours\n"), false), 0);
		take_all(&m, text, strlen(text), 35);
		assert_int_equal(message_commit(&m, &store, paths, 1, most), most == 1 ? MESSAGE_LOOPS : MESSAGE_STORED);
		message_fini(&m);
	}
	assert_int_equal(folder_count_all(root), 1);
}

static void ids(void **state)
{
	char seen[100][MESSAGE_ID];
	(void)state;
	for (int i = 0; i < 100; i++) {
		message_make_id(seen[i]);
		assert_int_equal(strlen(seen[i]), MESSAGE_ID - 1);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(seen[i], seen[j]);
	}
}

/* The error with which a large message ends; 0 when it was stored; 1000 when files were left behind. */
static int error_of_large(void)
{
	struct message m;
	char *text = make_text(LARGE);
	int e = message_begin(&m, &store, path, slice_of("H\n"), false);
	if (e == 0) {
		message_take(&m, (struct slice){ text, LARGE + 5 });
		e = message_commit(&m, &store, paths, 1, 50) == MESSAGE_FAILED ? m.error : 0;
	}
	message_fini(&m);
	free(text);
	return folder_count_all(path) != (e == 0) ? 1000 : -e;
}

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

#define CANNOT 200 /* what this machine does not allow us to test */

static int fill_tiny_disk(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("tmpfs", root, "tmpfs", 0, "size=64k,mode=0700") < 0)
		return CANNOT;
	int e = error_of_large();
	maildir_store_fini(&store);
	return e;
}

static void disk_full(void **state)
{
	(void)state;
	int e = in_child(fill_tiny_disk);
	if (e == CANNOT)
		untested();
	else
		assert_int_equal(e, ENOSPC);
}

static int exceed_file_size(void)
{
	struct rlimit limit = { 2 * MESSAGE_BLOCK, 2 * MESSAGE_BLOCK };
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return CANNOT;
	return error_of_large();
}

static void file_size_limit(void **state)
{
	(void)state;
	assert_int_equal(in_child(exceed_file_size), EFBIG);
	assert_int_equal(error_of_large(), 0);
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(whole), WITH_ROOT(stops_at_the_end), WITH_ROOT(too_large), WITH_ROOT(gives_up_early), WITH_ROOT(loops),
		cmocka_unit_test(ids), WITH_ROOT(disk_full), WITH_ROOT(file_size_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
