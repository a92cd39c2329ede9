/* certificates.h: certificates and keys for the tests of src/tls, made as they are needed. */
#ifndef TARRY_TESTS_CERTIFICATES_H
#define TARRY_TESTS_CERTIFICATES_H

#include <openssl/ssl.h>

/* Appends a self-signed certificate of that name, so many days from its end, or its key, in PEM. Keys have numbers: the same number is the same key. */
void certificates_put(FILE *to, const char *name, int days, unsigned key);
void certificates_put_key(FILE *to, unsigned key, const char *passphrase);
/* A bundle (core/tlswire.h) of these texts; "" is none. */
int certificates_bundle(const char *certificate, const char *key, const char *ca);
/* What was put, as a text that lasts as long as the test. */
const char *certificates_text(const char *name, int days, unsigned key);
const char *certificates_key(unsigned key, const char *passphrase);

#endif
