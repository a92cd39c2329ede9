/* reply.h: code, enhanced code and text → the lines that go out. Every SMTP reply of Tarry's own is written by these functions.
 *
 * Allocates only through the buf, never blocks or logs. Text that came from a client
 * goes out only through reply_unrecognized(), which makes it harmless, or after its parser has refused everything but printable characters.
 */
#ifndef TARRY_SMTP_REPLY_H
#define TARRY_SMTP_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"

/* "CODE ENHANCED TEXT\r\n"; enhanced may be NULL (the greeting, HELO and EHLO have none: RFC 2034 section 4). False: it did not fit. */
bool reply_put(struct buf *out, int code, const char *enhanced, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A line with more to follow: "CODE-TEXT\r\n". */
bool reply_put_more(struct buf *out, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* 220 HOST ESMTP Tarry VERSION; DATE   (DATE as in Sendmail's: "Sun, 22 Nov 2026 18:58:21 GMT"; unix time in seconds) */
bool reply_greeting(struct buf *out, const char *host, const char *message, int64_t unix_time);
/* 554 HOST ESMTP not accepting messages */
bool reply_refusal(struct buf *out, const char *host);
/* A client as replies call it: "host.example.com [192.0.2.1]", without a name "[192.0.2.1]", with one that is not its own
 * "host.example.com [192.0.2.1] (may be forged)". addr NULL: one on this machine. */
struct reply_client {
	const struct addr *addr;
	struct slice name; /* a host name, or empty */
	bool forged;
};
bool reply_client(struct buf *out, const struct reply_client *client);
/* 250 HOST Hello CLIENT, pleased to meet you   (more: 250-…) */
bool reply_hello(struct buf *out, const char *host, const struct reply_client *client, bool more);
/* 500 5.5.1 Command unrecognized: "LINE"
 * As Sendmail echoes: up to 203 characters whole, longer ones as the first 100, "..." and the last 100; bytes lose their eighth bit. Unlike Sendmail, control
 * characters (but the tab) and NULs come out as '?' (doc/deviations.md). */
bool reply_unrecognized(struct buf *out, struct slice line);
/* 221 2.0.0 HOST closing connection */
bool reply_closing(struct buf *out, const char *host);

/* RFC 5322 date-time in UTC, "Sun, 22 Nov 2026 18:58:21 +0000"; returns out. */
#define REPLY_DATE 40
const char *reply_date(char out[REPLY_DATE], int64_t unix_time);

#endif
