/* hosts.h: the names that /etc/hosts gives to addresses, as the system's resolver would take them.
 *
 * Read once, when a front starts: nothing blocks later. Of several lines for one address the first counts, and of a line's names the first (hosts(5)). What is no host
 * name is left out.
 */
#ifndef TARRY_GATE_HOSTS_H
#define TARRY_GATE_HOSTS_H

#include <stdbool.h>

#include "core/addr.h"

#define HOSTS_MAX 8000    /* names that are known; what is behind them is not */
#define HOSTS_LINE 4096   /* bytes of a line; of a longer one the rest is left out */
#define HOSTS_TEXT 256    /* bytes of a name with its NUL */

struct hosts;

/* Whether nsswitch.conf(5), of this path, has the hosts file asked before the DNS, by "files" or by systemd-resolved. A file that is not there, or says nothing of hosts, means that it does. */
bool hosts_come_first(const char *nsswitch);
/* NULL: the file cannot be read or has no names, and errno is 0; or there is no memory or no descriptor for it, and errno is ENOMEM. */
struct hosts *hosts_read(const char *path);
/* Whether it has addresses of that family under this name, an alias or not; *same: whether that one is among them. NULL for hosts is fine. */
bool hosts_has(const struct hosts *hosts, const char *name, const struct addr *addr, bool *same);
/* "" if it has none. NULL for hosts is fine. */
const char *hosts_name(const struct hosts *hosts, const struct addr *addr);
void hosts_free(struct hosts *hosts);

#endif
