/* guard.h: who may look.
 *
 * With a token: whoever brings it, as "Authorization: Bearer", in the cookie, or once as ?token=, which sets the cookie. Without one the desk listens on a loopback address only, and looks at the name by
 * which a browser came: a page elsewhere whose name suddenly leads here (DNS rebinding) is not shown anything. Nothing here can be changed through the desk, so nothing has to be guarded
 * against requests that others make a browser send; what they would get for them they cannot read. Nothing blocks or logs.
 */
#ifndef TARRY_DESK_GUARD_H
#define TARRY_DESK_GUARD_H

#include <stdbool.h>

#include "core/addr.h"
#include "core/buf.h"

#define GUARD_TOKEN_LEAST 16
#define GUARD_TOKEN_MOST 128
#define GUARD_HOSTS 32
#define GUARD_HOST 256
#define GUARD_COOKIE "tarry_desk"

struct guard {
	char token[GUARD_TOKEN_MOST + 1]; /* "": none */
	char hosts[GUARD_HOSTS][GUARD_HOST];
	unsigned hosts_len;
	struct addr listen; /* all zero: it does not listen yet */
};

enum guard_answer {
	GUARD_WELCOME,
	GUARD_ENTER,    /* the token stood in the address: it is to become the cookie, and to vanish from there */
	GUARD_NO_TOKEN, /* none, or a wrong one */
	GUARD_FOREIGN,  /* it came by a name that is not ours */
};

/* Letters, digits, '.', '_', '~', '-': what can stand in a cookie and in an address as it is. */
bool guard_is_token(const char *text);
/* False: there are too many, or it is too long. */
bool guard_add_host(struct guard *guard, const char *name);
/* The headers Host, Authorization and Cookie, and the argument token, of a request; NULL: not there. */
enum guard_answer guard_check(const struct guard *guard, const char *host, const char *authorization, const char *cookie, const char *argument);

#endif
