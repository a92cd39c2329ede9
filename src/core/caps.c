/* The tour, core: capabilities, by the system calls themselves: two are needed, and a library for them would be mapped into every role. */
#include "core/caps.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap) (UINT64_C(1) << (cap))

static struct __user_cap_header_struct own(void)
{
	return (struct __user_cap_header_struct){ .version = _LINUX_CAPABILITY_VERSION_3 };
}

uint64_t caps_permitted(void)
{
	struct __user_cap_header_struct header = own();
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	if (syscall(SYS_capget, &header, data) < 0)
		return 0;
	return (uint64_t)data[1].permitted << 32 | data[0].permitted;
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

bool caps_limit(uint64_t keep)
{
	struct __user_cap_header_struct header = own();
	uint64_t left = caps_permitted() & keep;
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ .effective = (uint32_t)left, .permitted = (uint32_t)left },
		{ .effective = (uint32_t)(left >> 32), .permitted = (uint32_t)(left >> 32) },
	};
	return syscall(SYS_capset, &header, data) == 0;
}
