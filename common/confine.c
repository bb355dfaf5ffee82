/* SPDX-License-Identifier: MIT */
#include "common/confine.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"

/*
 * Landlock's rights by the ABI version that brought them: include/uapi/linux/landlock.h of Linux 6.18 and the table in
 * Documentation/userspace-api/landlock.rst. The headers of Debian 12 end with version 2, hence our own structure. A
 * kernel of a later version handles what is named here; version 7 has nothing more to handle.
 */
#define LANDLOCK_FS_ABI1 ((1ull << 13) - 1) /* EXECUTE to MAKE_SYM */
#define LANDLOCK_FS_REFER (1ull << 13) /* ABI 2 */
#define LANDLOCK_FS_TRUNCATE (1ull << 14) /* ABI 3 */
#define LANDLOCK_NET_TCP 3ull /* ABI 4: BIND_TCP, CONNECT_TCP */
#define LANDLOCK_FS_IOCTL_DEV (1ull << 15) /* ABI 5 */
#define LANDLOCK_SCOPES 3ull /* ABI 6: ABSTRACT_UNIX_SOCKET, SIGNAL */

struct landlock_attr {
	uint64_t fs;
	uint64_t net; /* from ABI 4 */
	uint64_t scoped; /* from ABI 6 */
};

static size_t landlock_attr_fill(struct landlock_attr *attr, long abi)
{
	*attr = (struct landlock_attr){.fs = LANDLOCK_FS_ABI1};
	if (abi >= 2)
		attr->fs |= LANDLOCK_FS_REFER;
	if (abi >= 3)
		attr->fs |= LANDLOCK_FS_TRUNCATE;
	if (abi >= 4)
		attr->net = LANDLOCK_NET_TCP;
	if (abi >= 5)
		attr->fs |= LANDLOCK_FS_IOCTL_DEV;
	if (abi >= 6)
		attr->scoped = LANDLOCK_SCOPES;
	return abi >= 6 ? sizeof(*attr) : abi >= 4 ? offsetof(struct landlock_attr, scoped) : sizeof(attr->fs);
}

static int confine_error(const char *what)
{
	int err = errno;

	log_error("confinement: %s: %s", what, strerror(err));
	return -err;
}

/* A ruleset that handles every right and has no rule. */
static int confine_landlock(void)
{
	struct landlock_attr attr;
	size_t size;
	long abi, fd;
	int err = 0;

	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
		log_info("landlock: not in this kernel");
		return 0;
	}
	if (abi < 0)
		return confine_error("landlock_create_ruleset");
	size = landlock_attr_fill(&attr, abi);
	fd = syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (fd < 0)
		return confine_error("landlock_create_ruleset");
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		err = confine_error("landlock_restrict_self");
	else
		log_debug("landlock: ABI %ld, no rights left", abi);
	close((int)fd);
	return err;
}

/* Reads the whole program; returns the number of instructions, or -errno after a line in the log. */
static int policy_read(int fd, struct sock_filter *program)
{
	size_t max = BPF_MAXINSNS * sizeof(*program);
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return confine_error("the seccomp program");
	if (st.st_size <= 0 || (uint64_t)st.st_size > max || (size_t)st.st_size % sizeof(*program)) {
		log_error("confinement: the seccomp program has %lld bytes, not a multiple of %zu up to %zu",
			  (long long)st.st_size, sizeof(*program), max);
		return -EINVAL;
	}
	n = pread(fd, program, (size_t)st.st_size, 0);
	if (n < 0)
		return confine_error("reading the seccomp program");
	if (n != st.st_size) {
		log_error("confinement: the seccomp program ends after %zd of %lld bytes", n, (long long)st.st_size);
		return -EINVAL;
	}
	return (int)((size_t)n / sizeof(*program));
}

int confine_self(int policy_fd)
{
	struct sock_filter program[BPF_MAXINSNS];
	struct sock_fprog filter = {.filter = program};
	int n, err;

	n = policy_read(policy_fd, program);
	if (n < 0)
		return n;
	filter.len = (unsigned short)n;
	close(policy_fd);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return confine_error("no_new_privs");
	/* Nobody of our own user attaches to us or reads our memory. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return confine_error("dumpable");
	err = confine_landlock();
	if (err)
		return err;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
		return confine_error("the seccomp program was refused");
	return 0;
}
