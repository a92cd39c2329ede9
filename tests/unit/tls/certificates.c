/* Certificates for tests; see certificates.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "certificates.h"
#include "core/tlswire.h"

#define KEYS 4
#define TEXTS 64

static EVP_PKEY *key_of(unsigned number)
{
	static EVP_PKEY *keys[KEYS];
	assert_true(number < KEYS);
	if (!keys[number])
		keys[number] = EVP_EC_gen("P-256");
	assert_non_null(keys[number]);
	return keys[number];
}

void certificates_put(FILE *to, const char *name, int days, unsigned key)
{
	X509 *c = X509_new();
	X509_set_version(c, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
	X509_gmtime_adj(X509_getm_notBefore(c), -100 * 86400);
	X509_gmtime_adj(X509_getm_notAfter(c), days * 86400L + 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(c, X509_get_subject_name(c));
	X509_set_pubkey(c, key_of(key));
	assert_true(X509_sign(c, key_of(key), EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(to, c), 1);
	X509_free(c);
}

void certificates_put_key(FILE *to, unsigned key, const char *passphrase)
{
	assert_int_equal(PEM_write_PKCS8PrivateKey(to, key_of(key), passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *)(uintptr_t)passphrase), 1);
}

static char *texts[TEXTS];
static unsigned texts_len;

static void free_texts(void)
{
	while (texts_len > 0)
		free(texts[--texts_len]);
}

static const char *keep(char *text)
{
	if (texts_len == 0)
		atexit(free_texts);
	assert_true(texts_len < TEXTS);
	texts[texts_len++] = text;
	return text;
}

const char *certificates_text(const char *name, int days, unsigned key)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	certificates_put(f, name, days, key);
	fclose(f);
	return keep(text);
}

const char *certificates_key(unsigned key, const char *passphrase)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	certificates_put_key(f, key, passphrase);
	fclose(f);
	return keep(text);
}

int certificates_bundle(const char *certificate, const char *key, const char *ca)
{
	struct tlswire_bundle head = { TLSWIRE_MAGIC, (uint32_t)strlen(certificate), (uint32_t)strlen(key), (uint32_t)strlen(ca) };
	int fd = memfd_create("bundle", MFD_CLOEXEC);
	assert_int_equal(write(fd, &head, sizeof(head)), sizeof(head));
	assert_int_equal(write(fd, certificate, head.certificate), head.certificate);
	assert_int_equal(write(fd, key, head.key), head.key);
	assert_int_equal(write(fd, ca, head.ca), head.ca);
	return fd;
}
