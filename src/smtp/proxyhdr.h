/* proxyhdr.h: the PROXY protocol's header, versions 1 and 2, read and written (haproxy's doc/proxy-protocol.txt).
 *
 * Pure functions over bytes: no connection, no allocation, no log. Who may send us such a header is the caller's business.
 */
#ifndef TARRY_SMTP_PROXYHDR_H
#define TARRY_SMTP_PROXYHDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"
#include "core/tlswire.h"

#define PROXYHDR_V1_MAX 107  /* bytes of a version 1 line at most, CRLF included */
#define PROXYHDR_V2_MAX 4096 /* bytes of a version 2 header we accept: 16, addresses, and TLVs, a client's certificate perhaps among them */
#define PROXYHDR_V2_WRITTEN 536 /* bytes of one we write at most: more than that Postfix does not take */
#define PROXYHDR_ID_MAX 128  /* bytes of a unique id (PP2_TYPE_UNIQUE_ID) */

#define PROXYHDR_TLV_AUTHORITY 0x02 /* the server name that the client asked for in TLS */
#define PROXYHDR_TLV_SSL 0x20       /* what TLS the client speaks, in TLVs of its own */
#define PROXYHDR_TLV_CRC32C 0x03
#define PROXYHDR_TLV_UNIQUE_ID 0x05
/* Of the custom range 0xE0–0xEF: the pause the client sat through, milliseconds, 32 bits big-endian. Other receivers skip it. */
#define PROXYHDR_TLV_PAUSE 0xE1
/* Another of ours: the client's name as the DNS has it, behind a byte that is 1 if the name does not lead back to the client. */
#define PROXYHDR_TLV_NAME 0xE2
/* And one without a value: TLS may begin later, and whoever wrote the header tells of it then by a command, "XTLS VERSION CIPHER", that it takes from nobody else. */
#define PROXYHDR_TLV_XTLS 0xE3
#define PROXYHDR_NAME_MAX 255 /* bytes of a name */

struct proxyhdr {
	bool local;            /* no addresses: v2 LOCAL, which means the peer itself, */
	bool unknown;          /* or somebody whose address cannot be told: v1 UNKNOWN, v2 with the families UNSPEC and UNIX */
	struct addr client;
	struct addr server;
	uint32_t pause_ms;
	bool has_pause;
	bool xtls;
	bool forged;
	char name[PROXYHDR_NAME_MAX + 1]; /* "" when none came, or one with other bytes than letters, digits, '-', '_' and '.' */
	struct tlswire_facts tls; /* with ok: the client speaks TLS with whoever wrote the header; the magic, resumed and error mean nothing here */
	char id[PROXYHDR_ID_MAX + 1]; /* "" when none came, or one with other bytes than printable ASCII */
};

/* Append a header. Mixed families are written as IPv6 (v4 mapped). False: no room. */
bool proxyhdr_write_v1(struct buf *out, const struct addr *client, const struct addr *server);
/* pause_ms (if has_pause), tls (if ok), name and id (if not "") travel as TLVs; what would make it longer than PROXYHDR_V2_WRITTEN is left out: the name, and the
 * name asked for in TLS. A local header carries nothing. False: no room, nothing was written. */
bool proxyhdr_write_v2(struct buf *out, const struct proxyhdr *header);

/* Read a header at the start of bytes. >0: its length, *out is filled; 0: incomplete, more bytes are needed; -1: not a header or a bad one, *why (a literal) says what.
 * A present CRC32C is verified. */
int proxyhdr_read_v1(struct slice bytes, struct proxyhdr *out, const char **why);
int proxyhdr_read_v2(struct slice bytes, struct proxyhdr *out, const char **why);
/* Either version, as the first byte has it: no byte begins both, and neither is optional. */
int proxyhdr_read(struct slice bytes, struct proxyhdr *out, const char **why);

#endif
