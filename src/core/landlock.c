/* The tour, core: Landlock. The numbers are the kernel's (include/uapi/linux/landlock.h), whose header here may be older than the kernel that is met. */
#include "core/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FS_REFER (UINT64_C(1) << 13)
#define FS_TRUNCATE (UINT64_C(1) << 14)
#define FS_IOCTL_DEV (UINT64_C(1) << 15)
#define FS_FIRST (FS_REFER - 1) /* the rights of ABI 1 */
#define FS_OF_FILES (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)
#define FS_MAKES (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | FS_REFER)
#define NET_BIND UINT64_C(1)
#define NET_CONNECT UINT64_C(2)
#define SCOPE_ALL UINT64_C(3) /* abstract Unix sockets, signals */
#define RULE_NET_PORT 2

enum { ABI_REFER = 2, ABI_TRUNCATE = 3, ABI_NETWORK = 4, ABI_IOCTL = 5, ABI_SCOPE = 6 };

struct attributes {
	uint64_t fs, net, scoped;
};

struct port_rule {
	uint64_t access, port;
};

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0UL, LANDLOCK_CREATE_RULESET_VERSION);
	return abi > 0 ? (int)abi : 0;
}

static uint64_t handled_files(int abi)
{
	return FS_FIRST | (abi >= ABI_REFER ? FS_REFER : 0) | (abi >= ABI_TRUNCATE ? FS_TRUNCATE : 0) | (abi >= ABI_IOCTL ? FS_IOCTL_DEV : 0);
}

static uint64_t rights(enum landlock_right right)
{
	static const uint64_t list = LANDLOCK_ACCESS_FS_READ_DIR, read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE;
	return list | (right == LANDLOCK_LIST ? 0 : read) | (right == LANDLOCK_WRITE ? LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE | FS_MAKES : 0);
}

static int add_path(int ruleset, const struct landlock_path *path, uint64_t handled)
{
	struct stat st;
	int fd = open(path->path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
	struct landlock_path_beneath_attr rule = { .allowed_access = rights(path->right) & handled, .parent_fd = fd };
	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_OF_FILES;
	long e = rule.allowed_access == 0 ? 0 : syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0U);
	int error = errno;
	close(fd);
	return e < 0 ? -error : 0;
}

static int add_port(int ruleset, uint64_t access, uint16_t port)
{
	struct port_rule rule = { access, port };
	return syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0U) < 0 ? -errno : 0;
}

static int fill(int ruleset, const struct landlock_rules *rules, const struct attributes *handled)
{
	int e = 0;
	for (unsigned i = 0; i < rules->paths_len && handled->fs != 0 && e == 0; i++)
		e = add_path(ruleset, &rules->paths[i], handled->fs);
	for (unsigned i = 0; i < rules->ports_len && handled->net != 0 && e == 0; i++)
		e = add_port(ruleset, NET_CONNECT, rules->ports[i]);
	if (e == 0 && handled->net != 0 && rules->binds)
		e = add_port(ruleset, NET_BIND, 0);
	return e;
}

int landlock_restrict(const struct landlock_rules *rules, struct landlock_result *out)
{
	int abi = landlock_abi();
	const struct attributes handled = { .fs = abi == 0 || (rules->moves && abi < ABI_REFER) ? 0 : handled_files(abi),
		.net = abi >= ABI_NETWORK && !rules->ports_all ? NET_BIND | NET_CONNECT : 0, .scoped = abi >= ABI_SCOPE && rules->scoped ? SCOPE_ALL : 0 };
	*out = (struct landlock_result){ .abi = abi };
	if (handled.fs == 0 && handled.net == 0 && handled.scoped == 0)
		return 0;
	size_t size = abi >= ABI_SCOPE ? sizeof(handled) : abi >= ABI_NETWORK ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0U);
	if (ruleset < 0)
		return -errno;
	int e = fill(ruleset, rules, &handled);
	if (e == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0U) < 0)
		e = -errno;
	close(ruleset);
	if (e == 0)
		*out = (struct landlock_result){ abi, handled.fs != 0, handled.net != 0, handled.scoped != 0 };
	return e;
}
