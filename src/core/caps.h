/* caps.h: capabilities(7): what is left of root's power in a process, by libcap-ng.
 *
 * Sets of capabilities are bits, 1 << CAP_… of <linux/capability.h>. Nothing here blocks or logs.
 */
#ifndef TARRY_CORE_CAPS_H
#define TARRY_CORE_CAPS_H

#include <stdbool.h>
#include <stdint.h>

/* Those this process has or may take (its permitted set); 0 if that cannot be known. */
uint64_t caps_permitted(void);
/* The one with which a socket may be bound to a foreign address (IP_TRANSPARENT): CAP_NET_RAW, or if there is only that CAP_NET_ADMIN, which allows more; 0: neither. */
uint64_t caps_transparent(void);
/* The next setuid() away from root leaves the permitted set as it is, for caps_limit(). */
bool caps_keep(void);
/* Has no others from now on, and these in effect, as far as they are permitted. What it starts inherits none. */
bool caps_limit(uint64_t keep);
/* No program that it ever starts can have others, whoever owns it (the bounding set). For this it needs CAP_SETPCAP; who has not got it has nothing to pass on.
 * False: errno, 0 if it is not the system's. */
bool caps_bound(uint64_t keep);
/* The same, and a program that this process becomes by execve() has them, too (ambient). */
bool caps_pass_on(uint64_t keep);

#endif
