/* tlswire.h: what the parent, the fronts and the processes tarry-tls hand to each other, TLS being theirs alone.
 *
 * A front sends an order with two descriptors over a SOCK_SEQPACKET socket that all of them share: the connection to a client or to a backend, and one end of a stream pair. The first bytes
 * that come out of the other end are struct tlswire_facts, what came of the handshake; behind them, both ways, what that one says in TLS, in clear. Certificates and keys travel
 * from the parent in sealed memory, as a descriptor: the processes need no file. All of them are built together: no byte order, no versions.
 */
#ifndef TARRY_CORE_TLSWIRE_H
#define TARRY_CORE_TLSWIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/conf.h"

#define TLSWIRE_MAGIC UINT32_C(0x54414c53)
#define TLSWIRE_FILE_MAX (1u << 20)     /* bytes of a file with a certificate or a key */
#define TLSWIRE_WORD_CERTIFICATE 'C'    /* of the parent, with a descriptor: a new bundle */
#define TLSWIRE_WORD_BACKENDS 'B'       /* the same: whom to believe that it is a backend */
#define TLSWIRE_WORD_TICKETS 'T'        /* the same: new keys for tickets */
#define TLSWIRE_GREETING "220 2.0.0 Ready to start TLS\r\n"

struct tlswire_order {
	uint32_t magic;
	uint32_t starttls; /* 1: the client waits for TLSWIRE_GREETING */
	uint32_t backend;  /* 0: it is a client; else a backend, 1 + its place in the configuration, and ours is the client's side of TLS */
	uint32_t timeout;  /* of the handshake with a backend, in milliseconds */
};

/* Texts end in NUL and have printable ASCII only; "" where there is none. */
struct tlswire_facts {
	uint32_t magic;
	uint8_t ok;          /* 0: the handshake has failed, error says why, and the rest is empty */
	uint8_t resumed;     /* by a ticket */
	uint8_t certificate; /* the other side has shown one */
	uint8_t verified;    /* and tls_client_ca, or the backend's tls_ca, vouches for it */
	char version[8];     /* TLSv1.3 */
	char cipher[48];
	char name[256];      /* the server name that was asked for */
	char common_name[64]; /* of the other side's certificate; a longer one is cut */
	char error[80];
};

/* What a bundle begins with; the files follow, one behind the other. */
struct tlswire_bundle {
	uint32_t magic;
	uint32_t certificate, key, ca; /* bytes; key 0: it is in the first one; ca 0: none */
};

/* What whom-to-believe begins with; the files follow, one behind the other. */
struct tlswire_backends {
	uint32_t magic;
	uint32_t count;
	struct tlswire_backend {
		uint32_t wanted;  /* TLS is spoken to it */
		uint32_t ca;      /* bytes; 0: its certificate is not looked at */
		char name[256];   /* "": it is told none */
		char about[192];  /* what errors call the file; may be cut */
	} of[CONF_BACKENDS];
};

struct tlswire_ticket_key {
	uint8_t name[16], aes[32], hmac[32];
};

struct tlswire_tickets {
	uint32_t magic;
	uint32_t count; /* 0: no tickets are made */
	struct tlswire_ticket_key keys[2]; /* the first makes tickets, all open them */
};

/* Whether facts that came from another process keep to what is said above. */
bool tlswire_facts_ok(const struct tlswire_facts *facts);
/* As much of text as fits, with '?' in place of what is not printable. */
void tlswire_put(char *field, size_t size, const char *text, size_t len);

/* Reads the files (key and ca may be NULL or "") into sealed memory; may block. A descriptor, or -1: *why says which one cannot be taken and why. */
int tlswire_bundle_files(const char *certificate, const char *key, const char *ca, struct buf *why);
/* The same of what the configuration has about backends; -1: *why says where and why. */
int tlswire_backend_files(const struct conf *conf, struct buf *why);
/* A new key for tickets, and the one that made them so far (before: a descriptor as this function returns it; -1: none); not wanted: no key at all. A descriptor, or -errno. */
int tlswire_make_tickets(int before, bool wanted);

#endif
