/* networks.h: the networks from which most clients were turned away, in the last day.
 *
 * Counted with a fixed amount of memory whoever comes (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements in data streams", 2005): a network that is not counted yet takes
 * the place of the one with the fewest, and that one's count is the most by which its own may be too high. A summary for each hour; networks are the /24 of IPv4 and the /48 of IPv6.
 * The struct is plain memory that may be kept elsewhere; nothing blocks or allocates.
 */
#ifndef TARRY_SHOW_NETWORKS_H
#define TARRY_SHOW_NETWORKS_H

#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"

#define NETWORKS_HOURS 24
#define NETWORKS_KEPT 256 /* of one hour */
#define NETWORKS_TEXT (ADDR_TEXT + 4)

struct networks {
	struct networks_hour {
		int64_t hour; /* since 1970 */
		uint32_t len;
		struct networks_count {
			uint8_t key[8]; /* 4 or 6: the version; then the bytes of the prefix */
			uint32_t count, over; /* it was between count - over and count */
		} counts[NETWORKS_KEPT];
	} hours[NETWORKS_HOURS];
};

struct networks_top {
	char text[NETWORKS_TEXT]; /* 192.0.2.0/24, 2001:db8:1::/48 */
	uint64_t count, over;
};

/* So many more of this client's network; now in seconds of the wall clock. */
void networks_add(struct networks *networks, const struct addr *client, uint64_t more, int64_t now);
/* The most of them, largest first; their number. */
size_t networks_top(const struct networks *networks, int64_t now, struct networks_top *out, size_t most);
/* After it was kept elsewhere: nothing in it leads out of it. */
void networks_tidy(struct networks *networks);

#endif
