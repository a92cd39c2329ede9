/* Memory with a descriptor to hand on: what its readers see, and what they cannot do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/shared.h"
#include "descriptors.h"

static void seen_by_a_reader(void **context)
{
	struct shared writer, reader;
	(void)context;
	int before = descriptors_open();
	assert_int_equal(shared_create(&writer, "test", 10000), 0);
	assert_int_equal(((char *)writer.at)[9999], 0);
	assert_int_equal(shared_attach(&reader, dup(writer.readonly), 10000), 0);
	memcpy((char *)writer.at + 5000, "hello", 6);
	assert_string_equal((char *)reader.at + 5000, "hello");
	shared_detach(&reader);
	assert_string_equal((char *)writer.at + 5000, "hello");
	shared_detach(&writer);
	shared_detach(&writer); /* and once more */
	assert_int_equal(descriptors_open(), before);
}

/* Who takes the place of the one that made it reads and writes, and can hand it on to readers. */
static void gone_on_with(void **context)
{
	struct shared first, next, reader;
	(void)context;
	int before = descriptors_open();
	assert_int_equal(shared_create(&first, "test", 10000), 0);
	assert_int_equal(shared_adopt(&next, dup(first.fd), 10000), 0);
	memcpy((char *)first.at + 5000, "hello", 6);
	assert_string_equal((char *)next.at + 5000, "hello");
	shared_detach(&first);
	assert_int_equal(shared_attach(&reader, dup(next.readonly), 10000), 0);
	memcpy((char *)next.at + 5000, "again", 6);
	assert_string_equal((char *)reader.at + 5000, "again");
	assert_int_equal(shared_adopt(&first, dup(next.fd), 9999), -EPROTO);
	assert_int_equal(shared_adopt(&first, dup(next.readonly), 10000), -EACCES);
	shared_detach(&reader);
	shared_detach(&next);
	assert_int_equal(descriptors_open(), before);
}

static void only_read_by_it(void **context)
{
	struct shared writer;
	(void)context;
	assert_int_equal(shared_create(&writer, "test", 4096), 0);
	assert_int_equal(fcntl(writer.readonly, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer.readonly, 0), MAP_FAILED);
	assert_int_equal(write(writer.readonly, "x", 1), -1);
	/* Its end cannot move under who has it mapped. */
	assert_int_equal(ftruncate(writer.fd, 0), -1);
	assert_int_equal(ftruncate(writer.fd, 8192), -1);
	shared_detach(&writer);
}

static void other_things_are_none(void **context)
{
	struct shared writer, reader;
	(void)context;
	int before = descriptors_open();
	assert_int_equal(shared_create(&writer, "test", 4096), 0);
	assert_int_equal(shared_attach(&reader, dup(writer.readonly), 4095), -EPROTO);
	assert_null(reader.at);
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(shared_attach(&reader, ends[0], 4096), -EPROTO);
	assert_int_equal(shared_attach(&reader, -1, 4096), -EBADF);
	close(ends[1]);
	int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(unsealed, 4096), 0);
	assert_int_equal(shared_attach(&reader, unsealed, 4096), -EPROTO);
	shared_detach(&writer);
	assert_int_equal(descriptors_open(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(seen_by_a_reader), cmocka_unit_test(gone_on_with), cmocka_unit_test(only_read_by_it), cmocka_unit_test(other_things_are_none) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
