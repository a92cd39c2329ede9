/* The tour, core: capabilities. */
#include "core/caps.h"

#include <cap-ng.h>
#include <errno.h>
#include <sys/prctl.h>

#define BIT(cap) (UINT64_C(1) << (cap))

uint64_t caps_permitted(void)
{
	uint64_t bits = 0;
	if (capng_get_caps_process() < 0)
		return 0;
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		bits |= capng_have_capability(CAPNG_PERMITTED, cap) ? BIT(cap) : 0;
	return bits;
}

uint64_t caps_transparent(void)
{
	uint64_t permitted = caps_permitted();
	return permitted & BIT(CAP_NET_RAW) ? BIT(CAP_NET_RAW) : permitted & BIT(CAP_NET_ADMIN);
}

bool caps_keep(void)
{
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0;
}

/* clear: all that was in sets of that kind. */
static bool set(capng_select_t clear, capng_type_t sets, uint64_t left)
{
	capng_clear(clear);
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (left & BIT(cap))
			capng_update(CAPNG_ADD, sets, cap);
	return capng_apply(clear) == 0;
}

bool caps_limit(uint64_t keep)
{
	return set(CAPNG_SELECT_CAPS, CAPNG_EFFECTIVE | CAPNG_PERMITTED, caps_permitted() & keep);
}

/* The ambient set takes what is both permitted and inheritable. */
bool caps_pass_on(uint64_t keep)
{
	uint64_t left = caps_permitted() & keep;
	return set(CAPNG_SELECT_CAPS, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE, left) && set(CAPNG_SELECT_AMBIENT, CAPNG_AMBIENT, left) && left == keep;
}

bool caps_bound(uint64_t keep)
{
	if (!(caps_permitted() & BIT(CAP_SETPCAP)))
		return true;
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!(keep & BIT(cap)))
			capng_update(CAPNG_DROP, CAPNG_BOUNDING_SET, cap);
	errno = 0;
	return capng_apply(CAPNG_SELECT_BOUNDS) == 0;
}
