/* The tour, core: who may do what: one row for each role. What a row allows is bounded again by what the process says it needs (sandbox_needs): the addresses of its backends, the folder of its mail. */
#include <linux/capability.h>
#include <string.h>

#include "core/sandbox.h"

#define CAP(name) (UINT64_C(1) << CAP_##name)
#define ACT(name) (1U << SANDBOX_##name)
#define ACTS_ALL ((1U << SANDBOX_ACTS) - 1)

/* What the parent, and the programs of exec, which may be a whole mail server with an account for each of its parts, have no use for. */
#define CAPS_NEVER (CAP(SYS_MODULE) | CAP(SYS_RAWIO) | CAP(SYS_PTRACE) | CAP(SYS_BOOT) | CAP(SYS_TIME) | CAP(SYS_TTY_CONFIG) | CAP(SYS_PACCT) | CAP(MAC_ADMIN) | CAP(MAC_OVERRIDE) | CAP(SYSLOG) \
	| CAP(WAKE_ALARM) | CAP(BLOCK_SUSPEND) | CAP(AUDIT_CONTROL) | CAP(AUDIT_READ) | CAP(PERFMON) | CAP(BPF) | CAP(CHECKPOINT_RESTORE) | CAP(LINUX_IMMUTABLE))

static const struct sandbox_role roles[] = {
	{ .name = "parent", .caps = ~CAPS_NEVER, .may_gain = true, .own_limits = true, .may = ACTS_ALL & ~ACT(CORE),
		.why = "starts the others, reads the configuration and the access database, opens ports; never reads a client's byte" },
	{ .name = "front", .caps = CAP(NET_RAW) | CAP(NET_ADMIN), .calls = SANDBOX_STREAMS | SANDBOX_PIPES | SANDBOX_DIAL | SANDBOX_TABLES,
		.why = "clients talk to it; connects to its backends and its resolver" },
	{ .name = "mail", .calls = SANDBOX_STREAMS | SANDBOX_FILES | SANDBOX_CHANGES | SANDBOX_DIAL,
		.why = "writes below maildir, and lists folders" },
	{ .name = "lookup", .calls = SANDBOX_STREAMS | SANDBOX_FILES | SANDBOX_DIAL | SANDBOX_RESOLVE | SANDBOX_CHILDREN | SANDBOX_ALARM | SANDBOX_PIPES,
		.may = ACT(READ) | ACT(FORK) | ACT(DATAGRAM) | ACT(CODE), .why = "asks the servers of redis: and ldap: maps, whose libraries read what is in /etc, and files of Berkeley DB in a child" },
	{ .name = "tls", .calls = SANDBOX_STREAMS | SANDBOX_DIAL, .why = "has the key of the certificate; every connection is handed to it" },
	{ .name = "known", .calls = SANDBOX_STREAMS | SANDBOX_FILES | SANDBOX_CHANGES | SANDBOX_DIAL | SANDBOX_RESOLVE,
		.may = ACT(READ) | ACT(DATAGRAM) | ACT(CODE), .why = "writes beside known_db; asks the server of known_share" },
	{ .name = "bans", .calls = SANDBOX_STREAMS | SANDBOX_FILES | SANDBOX_CHANGES | SANDBOX_DIAL | SANDBOX_RESOLVE,
		.may = ACT(READ) | ACT(DATAGRAM) | ACT(CODE), .why = "writes beside ban_db; asks the server of ban_share" },
	{ .name = "ban", .caps = CAP(NET_ADMIN), .calls = SANDBOX_STREAMS | SANDBOX_DIAL | SANDBOX_NETLINK,
		.why = "puts bans into the kernel's sets; reads nothing but the table of bans" },
	{ .name = "desk", .calls = SANDBOX_STREAMS | SANDBOX_DIAL | SANDBOX_WEB, .why = "shows what the counters say, to browsers" },
	{ .name = "spawn", .caps = ~CAPS_NEVER, .may_gain = true, .own_limits = true, .may = ACTS_ALL & ~ACT(CORE),
		.why = "starts the programs of exec, some of them as other users, and they are not shut in" },
};

const struct sandbox_role *sandbox_role_at(unsigned n)
{
	return n < sizeof(roles) / sizeof(roles[0]) ? &roles[n] : NULL;
}

const struct sandbox_role *sandbox_role(const char *name)
{
	for (unsigned i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (strcmp(roles[i].name, name) == 0)
			return &roles[i];
	return NULL;
}
