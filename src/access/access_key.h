/* access_key.h: what a key of the access database means, and what a value of GreetPause: does.
 *
 * A key that is an address or a prefix becomes a short binary one (tag, form, length, address), the same for every spelling of it; a name or a user stays
 * the text that it is, its tag before it. The table's meta data says for each tag which lengths there are of each form and whether there are names, so
 * that a look-up asks only for keys that can exist. Shared by who builds the table and who asks it; plain values, no memory, no blocking.
 */
#ifndef TARRY_GATE_ACCESS_KEY_H
#define TARRY_GATE_ACCESS_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"

#define ACCESS_KEY_ALL4 32
#define ACCESS_KEY_ALL6 128

/* The tags that mean something here. */
enum access_tag {
	ACCESS_UNTAGGED, /* no tag at all: a client's, as Connect:, or a sender's, as From: */
	ACCESS_GREETPAUSE, ACCESS_CONNECT, ACCESS_FROM, ACCESS_TO, ACCESS_SPAM, ACCESS_CLIENTRATE, ACCESS_CLIENTCONN,
	ACCESS_HELOPAUSE, ACCESS_MAILPAUSE, ACCESS_RCPTPAUSE, ACCESS_DATAPAUSE, ACCESS_EOMPAUSE,
	ACCESS_TAGS
};

/* GreetPause: and the others of its form. */
bool access_tag_is_pause(enum access_tag tag);

/* "greetpause:", in lower case as in a table; "" for ACCESS_UNTAGGED. */
const char *access_tag_text(enum access_tag tag);

/* The tag of a key in lower case, and what stands behind it; ACCESS_TAGS: a tag that means nothing here. */
enum access_tag access_key_tag(struct slice key, struct slice *rest);

/* In the order of precedence at the same length. */
enum access_form {
	ACCESS_FORM_BRACKET, /* [127.0.0.4], [127.0], [IPv6:2001:db8]: what Sendmail takes for the name of a client that has none */
	ACCESS_FORM_PLAIN,   /* 127.0.0.4, 127.0, IPv6:2001:db8 */
	ACCESS_FORM_CIDR,    /* 192.168.4.0/22, IPv6:2001:db8::/32 */
	ACCESS_FORM_ZERO,    /* "IPv6:", to which Sendmail 8.13 shortens an address written ::…; length 0: plain, 1: in brackets */
	ACCESS_FORM_DEFAULT, /* the bare tag */
};
#define ACCESS_FORMS_WITH_LENGTH 3

/* What the builder leaves in the table beside the keys. */
#define ACCESS_META_MAGIC "access3" /* with its NUL */
struct access_tag_meta {
	uint64_t lengths[ACCESS_FORMS_WITH_LENGTH][2][3]; /* by form and family (0: IPv4): bit n is set if there is a prefix of n bits */
	uint8_t zero[2];                                  /* ACCESS_FORM_ZERO, by its length */
	uint8_t bare;                                     /* ACCESS_FORM_DEFAULT */
	uint8_t names;                                    /* hosts or domains */
	uint8_t users;                                    /* something with an @ */
};
struct access_meta {
	char magic[8];
	struct access_tag_meta tags[ACCESS_TAGS];
};

/* An address as two numbers, so that cutting it to a length is two operations. IPv4 stands in the upper half of high. */
struct access_ip {
	uint64_t high, low;
	bool is4;
};

/* The binary key. IPv4 keys end after the first four bytes of ip. */
struct access_key {
	uint8_t nul; /* no key of a file begins so */
	uint8_t tag;
	uint8_t form;
	uint8_t bits;
	uint8_t ip[16];
};

struct access_ip access_key_ip(const struct addr *a);
/* The number of an address form, in one value. */
struct access_spot {
	enum access_tag tag;
	enum access_form form;
	unsigned bits;
};
/* The same back, without a port. */
struct addr access_key_addr(const struct access_ip *ip);
/* Writes *key and returns its bytes. ip NULL for the forms that have no address. */
struct slice access_key_write(struct access_key *key, struct access_spot spot, const struct access_ip *ip);
/* Whether Sendmail 8.13 writes the address with "::" in front, and so comes to the key "IPv6:". */
bool access_key_begins_zero(const struct access_ip *ip);

/* As it is written in a file: "GreetPause:192.168.4.0/22", "Connect:[127.0.0]", "IPv6:2001:db8"; a key that is a text gets its tag's usual spelling. */
bool access_key_format(struct slice key, struct buf *out);

/* Values. Sendmail splits one into tokens as it does an address, and gives the first of them to strtol. */

struct access_number {
	int64_t ms;    /* 0..; above the ceiling of a pause it is ACCESS_PAUSE_MAX_MS + 1 */
	size_t digits; /* bytes of the value that it was read from; 0: it does not begin with a number */
};

/* The value without blanks and a CR at its end, which mean nothing. */
struct slice access_key_trim(struct slice value);
struct access_number access_key_number(struct slice value);
/* The value means a temporary failure to Sendmail, and that is no pause. */
bool access_key_is_tempfail(struct slice value);
/* A number and nothing else; the bare tag takes no other. */
bool access_key_is_number(struct slice value);
/* 0..ACCESS_PAUSE_MAX_MS */
int64_t access_key_pause(struct slice value);

/* Keys as they are written. */

enum access_sort {
	ACCESS_SORT_ADDRESS, /* form, base and bits are set */
	ACCESS_SORT_DEFAULT, /* the bare tag */
	ACCESS_SORT_NAME,    /* a host or domain */
	ACCESS_SORT_USER,    /* user@domain, user@, user+detail@domain */
	ACCESS_SORT_NEVER,   /* no client's key, ever */
};

struct access_parsed {
	enum access_form form;
	struct addr base;
	unsigned bits;
	const char *hint; /* ACCESS_SORT_NEVER: how it should be written, "; …" */
	bool whole;       /* one address, but written like a network: 2001:db8:: */
	bool cut;         /* a network with bits set beyond its length */
};

/* text: what stands behind the tag, in lower case. */
enum access_sort access_key_parse(struct slice text, struct access_parsed *out);

#endif
