/* Memory files: written, sealed, mapped; and files that are none. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/map_sealed.h"

static int made(const char *bytes, size_t len)
{
	int fd = map_sealed_new();
	assert_true(fd >= 0);
	assert_int_equal(map_sealed_write(fd, bytes, len), 0);
	return fd;
}

static void nobody_can_change_it(void **state)
{
	(void)state;
	int writer = made("abcdef", 6);
	int other = dup(writer); /* whoever still has one that may write */
	int fd = map_sealed_finish(writer);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(pwrite(other, "x", 1, 0), -1);
	assert_int_equal(ftruncate(other, 3), -1);
	assert_int_equal(ftruncate(other, 100), -1);
	assert_ptr_equal(mmap(NULL, 6, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0), MAP_FAILED);
	assert_int_equal(fcntl(other, F_ADD_SEALS, 0), -1);
	close(other);
	assert_int_equal(map_sealed_size(fd), 6);
	const char *at = map_sealed_map(fd, 0, 6);
	assert_non_null(at);
	close(fd);
	assert_memory_equal(at, "abcdef", 6);
	map_sealed_unmap(at, 6);
}

/* As libraries map it; before Linux 6.7 that takes a descriptor that may not write. */
static void mapped_shared(void **state)
{
	(void)state;
	int fd = map_sealed_finish(made("abc", 3));
	void *at = mmap(NULL, 3, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	assert_memory_equal(at, "abc", 3);
	munmap(at, 3);
	close(fd);
}

static void a_part_of_it(void **state)
{
	(void)state;
	size_t size = MAP_SEALED_ALIGN + 5;
	char *bytes = calloc(1, size);
	bytes[MAP_SEALED_ALIGN] = 'x';
	int fd = map_sealed_finish(made(bytes, size));
	const char *at = map_sealed_map(fd, MAP_SEALED_ALIGN, size);
	assert_non_null(at);
	assert_memory_equal(at, "x\0\0\0\0", 5);
	map_sealed_unmap(at, 5);
	assert_null(map_sealed_map(fd, size, size));
	close(fd);
	free(bytes);
}

static void others(void **state)
{
	(void)state;
	int fd = made("abc", 3);
	assert_int_equal(map_sealed_size(fd), -1);
	static const int some[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE };
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(fcntl(fd, F_ADD_SEALS, some[i]), 0);
		assert_int_equal(map_sealed_size(fd), -1);
	}
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
	assert_int_equal(map_sealed_size(fd), 3);
	assert_int_equal(map_sealed_write(fd, "x", 1), -EPERM);
	assert_int_equal(map_sealed_finish(fd), -EPERM);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed all the same */
	assert_int_equal(map_sealed_size(-1), -1);
	map_sealed_unmap(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_can_change_it),
		cmocka_unit_test(mapped_shared),
		cmocka_unit_test(a_part_of_it),
		cmocka_unit_test(others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
