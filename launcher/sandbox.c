/* SPDX-License-Identifier: MIT */
#include "launcher/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/mount.h of 6.1 and sys/mount.h of glibc 2.36 have it; older ones do not. Linux 5.14. */
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

#define MIB (1024ull * 1024)

/* Beside shared memory: the program, its rings, bounce buffers of every queue and the stack. */
#define LIMIT_AS_SLACK (256 * MIB)
#define LIMIT_DATA (128 * MIB)
#define LIMIT_STACK (1 * MIB)
/* Kernels before 5.12 charge the rings of an io_uring to it. */
#define LIMIT_MEMLOCK (1 * MIB)
#define LIMIT_SIGPENDING 16

static const struct {
	const char *name;
	uint64_t clone_flag;
} layers[SANDBOX_LAYERS] = {
	[SANDBOX_USER] = {"user namespace", CLONE_NEWUSER},
	[SANDBOX_PID] = {"pid namespace", CLONE_NEWPID},
	[SANDBOX_MOUNT] = {"mount namespace", CLONE_NEWNS},
	[SANDBOX_NET] = {"net namespace", CLONE_NEWNET},
	[SANDBOX_IPC] = {"ipc namespace", CLONE_NEWIPC},
	[SANDBOX_UTS] = {"uts namespace", CLONE_NEWUTS},
	[SANDBOX_CGROUP] = {"cgroup namespace", CLONE_NEWCGROUP},
	[SANDBOX_NESTING] = {"no nested namespaces", 0},
	[SANDBOX_ROOT] = {"root folder", 0},
	[SANDBOX_UID] = {"uid", 0},
	[SANDBOX_CAPABILITIES] = {"capabilities", 0},
	[SANDBOX_RLIMITS] = {"rlimits", 0},
	[SANDBOX_NO_NEW_PRIVS] = {"no_new_privs", 0},
	[SANDBOX_LANDLOCK] = {"Landlock", 0},
	[SANDBOX_SECCOMP] = {"seccomp", 0},
};

const char *sandbox_layer_name(enum sandbox_layer layer)
{
	return layers[layer].name;
}

uint64_t sandbox_clone_flags(const struct sandbox *sandbox)
{
	uint64_t flags = 0;
	size_t i;

	for (i = 0; i < SANDBOX_LAYERS; i++) {
		if (sandbox->have[i])
			flags |= layers[i].clone_flag;
	}
	return flags;
}

static int fail(struct sandbox_failure *failure, enum sandbox_layer layer, const char *step)
{
	failure->layer = (int32_t)layer;
	failure->error = errno;
	snprintf(failure->step, sizeof(failure->step), "%s", step);
	return -1;
}

static int write_file(const char *path, const char *text)
{
	size_t len = strlen(text);
	ssize_t n;
	int fd;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, text, len);
	close(fd);
	return n == (ssize_t)len ? 0 : -1;
}

static int write_proc(pid_t pid, const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return write_file(path, text);
}

int sandbox_map_ids(const struct sandbox *sandbox, pid_t child, uid_t uid, struct sandbox_failure *failure)
{
	enum sandbox_layer layer = sandbox->have[SANDBOX_UID] ? SANDBOX_UID : SANDBOX_USER;
	uid_t user = sandbox->have[SANDBOX_UID] ? uid : geteuid();
	gid_t group = sandbox->have[SANDBOX_UID] ? uid : getegid();
	char text[64];

	if (!sandbox->have[SANDBOX_USER])
		return 0;
	/* Without this, user_namespaces(7) does not let an ordinary user write gid_map. */
	if (write_proc(child, "setgroups", "deny") < 0)
		return fail(failure, SANDBOX_USER, "setgroups");
	snprintf(text, sizeof(text), "%u %u 1\n", user, user);
	if (write_proc(child, "uid_map", text) < 0)
		return fail(failure, layer, "uid_map");
	snprintf(text, sizeof(text), "%u %u 1\n", group, group);
	if (write_proc(child, "gid_map", text) < 0)
		return fail(failure, layer, "gid_map");
	return 0;
}

/* Becomes uid without losing the capabilities that the following steps need. */
static int enter_uid(const struct sandbox *sandbox, uid_t uid, struct sandbox_failure *failure)
{
	if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS) < 0)
		return fail(failure, SANDBOX_UID, "securebits");
	/* In a user namespace setgroups() is denied for good; the launcher has given up its own groups long before. */
	if (!sandbox->have[SANDBOX_USER] && setgroups(0, NULL) < 0)
		return fail(failure, SANDBOX_UID, "setgroups");
	if (setresgid(uid, uid, uid) < 0)
		return fail(failure, SANDBOX_UID, "setresgid");
	if (setresuid(uid, uid, uid) < 0)
		return fail(failure, SANDBOX_UID, "setresuid");
	return 0;
}

/* namespaces(7): the limit is that of the user namespace; without our own it would be the whole machine's. */
static int enter_nesting(const struct sandbox *sandbox, struct sandbox_failure *failure)
{
	errno = EINVAL;
	if (!sandbox->have[SANDBOX_USER])
		return fail(failure, SANDBOX_NESTING, "without user namespace");
	if (write_file("/proc/sys/user/max_user_namespaces", "0\n") < 0)
		return fail(failure, SANDBOX_NESTING, "max_user_namespaces");
	return 0;
}

/* A tmpfs without room for anything but its own root, mounted nowhere yet; -1 with errno. */
static int make_empty_mount(void)
{
	unsigned int attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	int mount_fd = -1;
	int error;

	if (fs < 0)
		return -1;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) == 0 &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "4096", 0) == 0 &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0555", 0) == 0 &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
		mount_fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes | MOUNT_ATTR_NOSYMFOLLOW);
		if (mount_fd < 0 && errno == EINVAL)
			mount_fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes);
	}
	error = errno;
	close(fs);
	errno = error;
	return mount_fd;
}

static int enter_root(const struct sandbox *sandbox, struct sandbox_failure *failure)
{
	int mount_fd;

	/* Without our own mount namespace all that follows would befall the whole machine. */
	errno = EINVAL;
	if (!sandbox->have[SANDBOX_MOUNT])
		return fail(failure, SANDBOX_ROOT, "without mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fail(failure, SANDBOX_ROOT, "make mounts private");
	mount_fd = make_empty_mount();
	if (mount_fd < 0)
		return fail(failure, SANDBOX_ROOT, "mount tmpfs");
	/* On top of / itself, which needs no folder that we would have to find or make. */
	if (syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail(failure, SANDBOX_ROOT, "move_mount");
	if (fchdir(mount_fd) < 0)
		return fail(failure, SANDBOX_ROOT, "fchdir");
	close(mount_fd);
	/* pivot_root(2): with "." twice the old root ends up on top of the new one, from where it is taken away. */
	if (syscall(SYS_pivot_root, ".", ".") == 0) {
		if (umount2(".", MNT_DETACH) < 0)
			return fail(failure, SANDBOX_ROOT, "umount");
	} else if (errno == EINVAL) {
		/* Root Linux runs from its initramfs, which cannot be pivoted away: it stays below the new root. */
		if (chroot(".") < 0)
			return fail(failure, SANDBOX_ROOT, "chroot");
	} else {
		return fail(failure, SANDBOX_ROOT, "pivot_root");
	}
	if (chdir("/") < 0)
		return fail(failure, SANDBOX_ROOT, "chdir");
	return 0;
}

static int enter_rlimits(const struct sandbox_limits *limits, struct sandbox_failure *failure)
{
	const struct {
		const char *name;
		int resource;
		rlim_t value;
	} list[] = {
		{"RLIMIT_CORE", RLIMIT_CORE, 0},
		{"RLIMIT_FSIZE", RLIMIT_FSIZE, limits->fsize},
		{"RLIMIT_NOFILE", RLIMIT_NOFILE, limits->files},
		{"RLIMIT_NPROC", RLIMIT_NPROC, SANDBOX_PROCESSES_MAX},
		{"RLIMIT_AS", RLIMIT_AS, limits->memory + LIMIT_AS_SLACK},
		{"RLIMIT_DATA", RLIMIT_DATA, LIMIT_DATA},
		{"RLIMIT_STACK", RLIMIT_STACK, LIMIT_STACK},
		{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK, LIMIT_MEMLOCK},
		{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING, LIMIT_SIGPENDING},
		{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE, 0},
		{"RLIMIT_NICE", RLIMIT_NICE, 0},
		{"RLIMIT_RTPRIO", RLIMIT_RTPRIO, 0},
	};
	struct rlimit old;
	struct rlimit limit;
	size_t i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		if (getrlimit(list[i].resource, &old) < 0)
			return fail(failure, SANDBOX_RLIMITS, list[i].name);
		/* One that is lower already stays: raising it needs a privilege. */
		limit.rlim_max = list[i].value < old.rlim_max ? list[i].value : old.rlim_max;
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(list[i].resource, &limit) < 0)
			return fail(failure, SANDBOX_RLIMITS, list[i].name);
	}
	return 0;
}

static int enter_capabilities(struct sandbox_failure *failure)
{
	unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
			     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
			     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

	if (prctl(PR_SET_SECUREBITS, bits) < 0)
		return fail(failure, SANDBOX_CAPABILITIES, "securebits");
	errno = EPERM; /* libcap-ng does not always say why */
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_ALL) < 0)
		return fail(failure, SANDBOX_CAPABILITIES, "drop capabilities");
	return 0;
}

int sandbox_enter(const struct sandbox *sandbox, uid_t uid, const struct sandbox_limits *limits,
		  struct sandbox_failure *failure)
{
	umask(077);
	if (sandbox->have[SANDBOX_UID] && enter_uid(sandbox, uid, failure) < 0)
		return -1;
	if (sandbox->have[SANDBOX_NESTING] && enter_nesting(sandbox, failure) < 0)
		return -1;
	if (sandbox->have[SANDBOX_ROOT] && enter_root(sandbox, failure) < 0)
		return -1;
	if (sandbox->have[SANDBOX_RLIMITS] && enter_rlimits(limits, failure) < 0)
		return -1;
	if (sandbox->have[SANDBOX_CAPABILITIES] && enter_capabilities(failure) < 0)
		return -1;
	if (sandbox->have[SANDBOX_NO_NEW_PRIVS] && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(failure, SANDBOX_NO_NEW_PRIVS, "prctl");
	return 0;
}

void sandbox_probe_backend_layers(struct sandbox *sandbox)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;

	sandbox->have[SANDBOX_LANDLOCK] =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
	sandbox->have[SANDBOX_SECCOMP] = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}
