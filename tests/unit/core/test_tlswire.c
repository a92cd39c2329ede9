/* What the parent, the fronts and tarry-tls hand to each other: facts that are none are not taken, files and keys travel whole and cannot be changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/tlswire.h"

static struct tlswire_facts good(void)
{
	struct tlswire_facts f = { .magic = TLSWIRE_MAGIC, .ok = 1, .certificate = 1, .verified = 1 };
	strcpy(f.version, "TLSv1.3");
	strcpy(f.cipher, "TLS_AES_256_GCM_SHA384");
	strcpy(f.name, "mail.example.org");
	strcpy(f.common_name, "client");
	return f;
}

static void facts(void **state)
{
	struct tlswire_facts f = good();
	(void)state;
	assert_true(tlswire_facts_ok(&f));
	f.magic++;
	assert_false(tlswire_facts_ok(&f));
	f = good();
	f.ok = 2;
	assert_false(tlswire_facts_ok(&f));
	f = good();
	f.certificate = 0; /* none can be verified */
	assert_false(tlswire_facts_ok(&f));
	char *const fields[] = { f.version, f.cipher, f.name, f.common_name, f.error };
	const size_t sizes[] = { sizeof(f.version), sizeof(f.cipher), sizeof(f.name), sizeof(f.common_name), sizeof(f.error) };
	for (size_t i = 0; i < 5; i++) {
		f = good();
		memset(fields[i], 'x', sizes[i]); /* no end */
		assert_false(tlswire_facts_ok(&f));
		fields[i][sizes[i] - 1] = '\0';
		assert_true(tlswire_facts_ok(&f));
		fields[i][0] = '\n';
		assert_false(tlswire_facts_ok(&f));
		fields[i][0] = (char)0xe4;
		assert_false(tlswire_facts_ok(&f));
	}
}

static void put(void **state)
{
	char field[5];
	(void)state;
	tlswire_put(field, sizeof(field), "ab", 2);
	assert_string_equal(field, "ab");
	tlswire_put(field, sizeof(field), "abcdef", 6);
	assert_string_equal(field, "abcd");
	tlswire_put(field, sizeof(field), "a\0\r\x7f", 4);
	assert_string_equal(field, "a???");
}

static void write_file(const char *path, size_t len)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	for (size_t i = 0; i < len; i++)
		fputc((int)(i * 7 % 251), f);
	assert_int_equal(fclose(f), 0);
}

static void backends(void **state)
{
	char file[] = "/tmp/tarry-tlswire-XXXXXX", text[1024], memory[256], bytes[400];
	static struct tlswire_backends head;
	struct conf conf;
	struct buf why;
	(void)state;
	close(mkstemp(file));
	write_file(file, 300);
	buf_init_fixed(&why, memory, sizeof(memory));
	snprintf(text, sizeof(text), "backend a { address = \"smtp:127.0.0.1:1\" }\nbackend b { address = \"smtp:127.0.0.1:2\" tls = implicit tls_ca = \"%s\" tls_name = \"b.example\" }\n"
	         "backend c { address = \"smtp:127.0.0.1:3\" tls = starttls }", file);
	assert_true(conf_load_text(&conf, "c", slice_of(text), NULL, 0, &why, &why));
	buf_clear(&why);
	int fd = tlswire_backend_files(&conf, &why);
	assert_true(fd >= 0);
	assert_int_equal(why.len, 0);
	assert_int_equal(pread(fd, &head, sizeof(head), 0), sizeof(head));
	assert_int_equal(head.count, 3);
	assert_false(head.of[0].wanted);
	assert_true(head.of[1].wanted && head.of[2].wanted);
	assert_int_equal(head.of[1].ca, 300);
	assert_int_equal(head.of[2].ca, 0);
	assert_string_equal(head.of[1].name, "b.example");
	assert_memory_equal(head.of[1].about, "c:2: tls_ca: /tmp/", 18);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), sizeof(head)), 300);
	assert_int_equal(bytes[1], 7);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1); /* sealed */
	close(fd);
	unlink(file);
	assert_int_equal(tlswire_backend_files(&conf, &why), -1);
	snprintf(text, sizeof(text), "c:2: tls_ca: %s: No such file or directory", file);
	assert_string_equal(buf_text(&why), text);
	conf_fini(&conf);
}

static void bundle(void **state)
{
	char folder[] = "/tmp/tarry-tlswire-XXXXXX", one[64], two[64], large[64], fifo[64], memory[256], bytes[9000];
	struct buf why;
	struct tlswire_bundle head;
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(one, sizeof(one), "%s/one", folder);
	snprintf(two, sizeof(two), "%s/two", folder);
	snprintf(large, sizeof(large), "%s/large", folder);
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	write_file(one, 5000);
	write_file(two, 3);
	write_file(large, TLSWIRE_FILE_MAX + 1);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	buf_init_fixed(&why, memory, sizeof(memory));
	int fd = tlswire_bundle_files(one, two, "", &why);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &head, sizeof(head), 0), sizeof(head));
	assert_int_equal(head.certificate, 5000);
	assert_int_equal(head.key, 3);
	assert_int_equal(head.ca, 0);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), sizeof(head)), 5003);
	for (size_t i = 0; i < 5000; i++)
		assert_int_equal((uint8_t)bytes[i], i * 7 % 251);
	assert_int_equal(bytes[5001], 7);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1); /* sealed */
	close(fd);
	/* A FIFO that nobody writes to must not keep anybody waiting. */
	const char *const wrong[][2] = { { "/nonexistent/file", "No such file" }, { large, "larger than 1 MB" }, { fifo, "is no file" }, { folder, "is no file" } };
	for (size_t i = 0; i < 4; i++) {
		buf_clear(&why);
		assert_int_equal(tlswire_bundle_files(one, wrong[i][0], NULL, &why), -1);
		assert_non_null(strstr(buf_text(&why), wrong[i][0]));
		assert_non_null(strstr(buf_text(&why), wrong[i][1]));
	}
	unlink(one);
	unlink(two);
	unlink(large);
	unlink(fifo);
	rmdir(folder);
}

static struct tlswire_tickets keys_of(int fd)
{
	struct tlswire_tickets t;
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &t, sizeof(t), 0), sizeof(t));
	assert_int_equal(t.magic, TLSWIRE_MAGIC);
	return t;
}

static void tickets(void **state)
{
	(void)state;
	int first = tlswire_make_tickets(-1, true), second = tlswire_make_tickets(first, true), third = tlswire_make_tickets(second, true), none = tlswire_make_tickets(-1, false);
	struct tlswire_tickets a = keys_of(first), b = keys_of(second), c = keys_of(third);
	assert_int_equal(a.count, 1);
	assert_int_equal(b.count, 2);
	assert_int_equal(c.count, 2);
	assert_int_equal(keys_of(none).count, 0);
	assert_memory_equal(&b.keys[1], &a.keys[0], sizeof(a.keys[0]));
	assert_memory_not_equal(&b.keys[0], &a.keys[0], sizeof(a.keys[0]));
	assert_memory_equal(&c.keys[1], &b.keys[0], sizeof(a.keys[0]));
	assert_int_equal(pwrite(first, "x", 1, 0), -1);
	close(first);
	close(second);
	close(third);
	close(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(facts), cmocka_unit_test(put), cmocka_unit_test(bundle), cmocka_unit_test(backends), cmocka_unit_test(tickets) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
