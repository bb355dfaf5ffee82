/* SPDX-License-Identifier: MIT */
/*
 * What a hvisor-blk that was taken over could do: system calls made from inside the real process, confined by the real
 * launcher. With --seccomp=log calls pass that layer, so that each layer below it is tried on its own.
 */
#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/backend_fds.h"
#include "common/blk.h"
#include "launcher/launch.h"
#include "tests/sim/inject.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

#define IMAGE_SIZE (1u << 20)

/* The result of a call from inside has to be this error. */
#define FORBIDDEN(inject, error, name, ...)                                                                            \
	test_int_is(__FILE__, __LINE__, #name " from inside", INJECT(inject, name, __VA_ARGS__), -(error))

static int is_ready(void *arg)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", *(pid_t *)arg, BACKEND_FD_READY);
	return access(path, F_OK) != 0;
}

/* Waits until the backend has done all that it does once; returns its process. */
static pid_t await_backend(struct rig *rig, const char *name, uint32_t starts)
{
	pid_t pid;

	rig_await_starts(rig, name, starts);
	pid = rig_pid(rig, name);
	CHECK(pid > 0);
	CHECK(test_wait(is_ready, &pid, 10000));
	return pid;
}

/* Two disks, served; option: one more for the launcher, or NULL. */
static void serve(struct rig *rig, const char *option)
{
	const struct rig_disk disk[2] = {
		{.size = IMAGE_SIZE, .keys = "\"restart_limit\": 0, \"restart_delay_max_ms\": 100"},
		{.size = IMAGE_SIZE}};

	rig_init(rig, 16);
	rig_config_disks(rig, disk, 2, NULL);
	rig_launch(rig, option, NULL);
	rig_await_launcher(rig);
	await_backend(rig, "blk0", 1);
	await_backend(rig, "blk1", 1);
}

/* The id of blkN: only root can give others than its own. */
static uint32_t id_of(uint32_t n)
{
	return geteuid() == 0 ? LAUNCH_UID_BASE + n : geteuid();
}

/* blk0 under our hand, with all layers but seccomp. */
static void enter(struct rig *rig, struct inject *inject)
{
	serve(rig, "--seccomp=log");
	inject_open(inject, rig_pid(rig, "blk0"));
}

static void leave(struct rig *rig, struct inject *inject)
{
	CHECK(!inject->ended);
	inject_close(inject);
	rig_finish(rig);
}

static void proc_path(char *path, size_t size, pid_t pid, const char *name)
{
	snprintf(path, size, "/proc/%d/%s", pid, name);
}

static const char *proc_text(pid_t pid, const char *name)
{
	static char text[65536];
	char path[64];
	ssize_t n;
	int fd;

	proc_path(path, sizeof(path), pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	CHECK(n >= 0);
	close(fd);
	text[n] = '\0';
	return text;
}

static void proc_link(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n;

	proc_path(path, sizeof(path), pid, name);
	n = readlink(path, text, size - 1);
	CHECK(n > 0);
	text[n] = '\0';
}

static long landlock_version(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* What the kernel says of the process, and the launcher of its sandbox. */
static void test_kernel_says(void)
{
	static const char *const want[] = {
		"\nCapInh:\t0000000000000000\n",
		"\nCapPrm:\t0000000000000000\n",
		"\nCapEff:\t0000000000000000\n",
		"\nCapBnd:\t0000000000000000\n",
		"\nCapAmb:\t0000000000000000\n",
		"\nNoNewPrivs:\t1\n",
		"\nSeccomp:\t2\n",
		"\nUmask:\t0077\n",
		"\nThreads:\t1\n",
		"\nGroups:\t \n",
	};
	static char out[65536];
	const cJSON *missing;
	char ids[128];
	struct rig rig;
	cJSON *reply;
	uint32_t id;
	pid_t pid;
	size_t i;

	serve(&rig, NULL);
	for (id = 0; id < 2; id++) {
		pid = rig_pid(&rig, id ? "blk1" : "blk0");
		for (i = 0; i < sizeof(want) / sizeof(want[0]); i++)
			CHECK_HAS(proc_text(pid, "status"), want[i]);
		snprintf(ids, sizeof(ids), "\nUid:\t%1$u\t%1$u\t%1$u\t%1$u\nGid:\t%1$u\t%1$u\t%1$u\t%1$u\n", id_of(id));
		CHECK_HAS(proc_text(pid, "status"), ids);
		/* No terminal's signals are for it. */
		CHECK_INT(getsid(pid), pid);
		CHECK_HAS(proc_text(pid, "setgroups"), "deny");
	}
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--status", "--json", NULL), 0);
	reply = cJSON_Parse(out);
	CHECK(reply);
	missing = cJSON_GetObjectItem(cJSON_GetObjectItem(reply, "launcher"), "sandbox_missing");
	CHECK(cJSON_IsArray(missing));
	/* Every layer but Landlock is in every kernel that this test runs on; ids need root. */
	CHECK_INT(cJSON_GetArraySize(missing), (landlock_version() < 1) + (geteuid() != 0));
	cJSON_Delete(reply);
	rig_finish(&rig);
}

/* Its namespaces are neither root's nor its sibling's. */
static void test_namespaces(void)
{
	static const char *const names[] = {"ns/user", "ns/pid", "ns/mnt", "ns/net", "ns/ipc", "ns/uts", "ns/cgroup"};
	char link[3][64];
	struct rig rig;
	size_t i;

	serve(&rig, NULL);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		proc_link(getpid(), names[i], link[0], sizeof(link[0]));
		proc_link(rig_pid(&rig, "blk0"), names[i], link[1], sizeof(link[1]));
		proc_link(rig_pid(&rig, "blk1"), names[i], link[2], sizeof(link[2]));
		if (!strcmp(link[0], link[1]) || !strcmp(link[0], link[2]) || !strcmp(link[1], link[2]))
			TEST_FAIL("%s: root has %s, blk0 %s, blk1 %s", names[i], link[0], link[1], link[2]);
	}
	rig_finish(&rig);
}

/* Only the descriptors that backend_fds.h names and that are not closed before it serves, and no environment. */
static void test_inheritance(void)
{
	static const int open_fds[] = {BACKEND_FD_LOG, BACKEND_FD_KICK, BACKEND_FD_CALL, BACKEND_FD_ATTACHMENT,
				       BLK_FD_IMAGE,   BLK_FD_LOCK,     BACKEND_FD_RING};
	struct dirent *entry;
	char target[512];
	char path[64];
	char name[32];
	struct rig rig;
	pid_t pid;
	DIR *dir;
	size_t n = 0;
	size_t i;

	serve(&rig, NULL);
	pid = rig_pid(&rig, "blk0");
	CHECK_INT(proc_text(pid, "environ")[0], '\0');
	proc_path(path, sizeof(path), pid, "fd");
	dir = opendir(path);
	CHECK(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		for (i = 0; i < sizeof(open_fds) / sizeof(open_fds[0]) && atoi(entry->d_name) != open_fds[i]; i++)
			;
		snprintf(name, sizeof(name), "fd/%d", atoi(entry->d_name));
		proc_link(pid, name, target, sizeof(target));
		if (i == sizeof(open_fds) / sizeof(open_fds[0]))
			TEST_FAIL("descriptor %s is open: %s", entry->d_name, target);
		if (atoi(entry->d_name) == BLK_FD_IMAGE)
			CHECK_HAS(target, "/disk0.img");
		n++;
	}
	closedir(dir);
	CHECK_INT(n, sizeof(open_fds) / sizeof(open_fds[0]));
	rig_finish(&rig);
}

/* The inode of the mapping whose name has this text in it. */
static unsigned long mapped_inode(pid_t pid, const char *name)
{
	const char *line = proc_text(pid, "maps");
	unsigned long inode = 0;

	for (; line && *line; line = strchr(line, '\n') + 1) {
		const char *at = strstr(line, name);

		if (at && at < strchr(line, '\n'))
			CHECK_INT(sscanf(line, "%*s %*s %*s %*s %lu", &inode), 1);
	}
	return inode;
}

/* Its own queue region and its zone's memory are mapped, and nothing of anybody else's. */
static void test_mappings(void)
{
	static const char *const known[] = {"/hvisor-blk",  "[heap]",      "[stack]",   "[v",
					    "queue-region", "zone-memory", "[io_uring]"};
	struct rig rig;
	char *maps;
	char *line;
	char *end;
	size_t i;

	serve(&rig, NULL);
	CHECK(mapped_inode(rig_pid(&rig, "blk0"), "queue-region"));
	CHECK(mapped_inode(rig_pid(&rig, "blk0"), "queue-region") !=
	      mapped_inode(rig_pid(&rig, "blk1"), "queue-region"));
	maps = strdup(proc_text(rig_pid(&rig, "blk0"), "maps"));
	CHECK(maps);
	for (line = maps; *line; line = end + 1) {
		end = strchr(line, '\n');
		*end = '\0';
		/* Private memory has no name. */
		if (!strchr(line, '/') && !strchr(line, '['))
			continue;
		for (i = 0; i < sizeof(known) / sizeof(known[0]) && !strstr(line, known[i]); i++)
			;
		if (i == sizeof(known) / sizeof(known[0]))
			TEST_FAIL("%s", line);
		/* Nothing is both writable and executable. */
		CHECK(!strstr(line, "rwx"));
	}
	free(maps);
	rig_finish(&rig);
}

static void test_root_folder(void)
{
	struct inject inject;
	struct dirent *entry;
	char path[64];
	struct rig rig;
	uint64_t name;
	DIR *dir;

	enter(&rig, &inject);
	proc_path(path, sizeof(path), inject.pid, "root");
	dir = opendir(path);
	CHECK(dir);
	while ((entry = readdir(dir)))
		CHECK(!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."));
	closedir(dir);
	CHECK_HAS(proc_text(inject.pid, "mountinfo"), " / / ro,nosuid,nodev,noexec");
	CHECK_HAS(proc_text(inject.pid, "mountinfo"), " - tmpfs ");
	CHECK(strchr(proc_text(inject.pid, "mountinfo"), '\n')[1] == '\0');
	/* Landlock has no say in whether a name is there. */
	name = inject_put(&inject, 0, "/proc", 6);
	FORBIDDEN(&inject, ENOENT, newfstatat, (uint64_t)AT_FDCWD, name, inject.scratch + 1024, 0);
	name = inject_put(&inject, 0, "/../../etc", 11);
	FORBIDDEN(&inject, ENOENT, newfstatat, (uint64_t)AT_FDCWD, name, inject.scratch + 1024, 0);
	FORBIDDEN(&inject, ENOENT, execve, name, 0, 0);
	name = inject_put(&inject, 0, "/new", 5);
	FORBIDDEN(&inject, EROFS, mkdirat, (uint64_t)AT_FDCWD, name, 0700);
	FORBIDDEN(&inject, EROFS, mknodat, (uint64_t)AT_FDCWD, name, S_IFIFO | 0600, 0);
	FORBIDDEN(&inject, EROFS, symlinkat, name, (uint64_t)AT_FDCWD, name);
	leave(&rig, &inject);
}

static void test_mounts(void)
{
	struct inject inject;
	struct rig rig;
	uint64_t root;
	uint64_t type;

	enter(&rig, &inject);
	root = inject_put(&inject, 0, "/", 2);
	type = inject_put(&inject, 16, "tmpfs", 6);
	FORBIDDEN(&inject, EPERM, mount, type, root, type, 0, 0);
	FORBIDDEN(&inject, EPERM, mount, 0, root, 0, MS_REMOUNT, 0);
	FORBIDDEN(&inject, EPERM, umount2, root, MNT_DETACH);
	FORBIDDEN(&inject, EPERM, pivot_root, root, root);
	FORBIDDEN(&inject, EPERM, chroot, root);
	FORBIDDEN(&inject, EPERM, fsopen, type, 0);
	FORBIDDEN(&inject, EPERM, open_tree, (uint64_t)AT_FDCWD, root, 1);
	leave(&rig, &inject);
}

/* What the empty root and all other layers would let it have. */
static void test_landlock(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(1234)};
	long version = landlock_version();
	struct inject inject;
	struct rig rig;
	uint64_t at;
	long fd;

	CHECK(version >= 1);
	enter(&rig, &inject);
	at = inject_put(&inject, 0, "/", 2);
	FORBIDDEN(&inject, EACCES, openat, (uint64_t)AT_FDCWD, at, O_RDONLY | O_DIRECTORY);
	/* O_PATH opens nothing; but from there, nothing can be opened either. */
	fd = INJECT(&inject, openat, (uint64_t)AT_FDCWD, at, O_PATH);
	CHECK(fd >= 0);
	at = inject_put(&inject, 0, ".", 2);
	FORBIDDEN(&inject, EACCES, openat, (uint64_t)fd, at, O_RDONLY);
	if (version >= 4) {
		fd = INJECT(&inject, socket, AF_INET, SOCK_STREAM, 0);
		CHECK(fd >= 0);
		at = inject_put(&inject, 0, &address, sizeof(address));
		FORBIDDEN(&inject, EACCES, bind, (uint64_t)fd, at, sizeof(address));
		FORBIDDEN(&inject, EACCES, connect, (uint64_t)fd, at, sizeof(address));
	}
	leave(&rig, &inject);
}

static void test_ids(void)
{
	uint32_t other = id_of(0) + 1;
	struct inject inject;
	struct rig rig;

	enter(&rig, &inject);
	CHECK_INT(INJECT(&inject, getuid, 0), id_of(0));
	CHECK_INT(INJECT(&inject, getgid, 0), geteuid() == 0 ? id_of(0) : getegid());
	CHECK_INT(INJECT(&inject, getgroups, 0, 0), 0);
	/* No other id exists there. */
	FORBIDDEN(&inject, EINVAL, setresuid, 0, 0, 0);
	FORBIDDEN(&inject, EINVAL, setresgid, 0, 0, 0);
	FORBIDDEN(&inject, EINVAL, setresuid, other, other, other);
	FORBIDDEN(&inject, EPERM, setgroups, 0, 0);
	/* The image is its user's own if all have the same user. */
	if (geteuid() == 0) {
		FORBIDDEN(&inject, EPERM, fchown, BLK_FD_IMAGE, id_of(0), id_of(0));
		FORBIDDEN(&inject, EPERM, fchmod, BLK_FD_IMAGE, 04777);
	}
	leave(&rig, &inject);
}

static void test_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{.effective = 1, .permitted = 1}};
	struct inject inject;
	struct rig rig;
	uint64_t cap;

	enter(&rig, &inject);
	inject_put(&inject, 0, &header, sizeof(header));
	inject_put(&inject, 64, data, sizeof(data));
	FORBIDDEN(&inject, EPERM, capset, inject.scratch, inject.scratch + 64);
	for (cap = 0; cap <= CAP_LAST_CAP; cap++) {
		CHECK_INT(INJECT(&inject, prctl, PR_CAPBSET_READ, cap), 0);
		FORBIDDEN(&inject, EPERM, prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
	}
	FORBIDDEN(&inject, EPERM, prctl, PR_SET_SECUREBITS, 0);
	FORBIDDEN(&inject, EPERM, prctl, PR_SET_KEEPCAPS, 1);
	CHECK_INT(INJECT(&inject, prctl, PR_GET_SECUREBITS),
		  SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
			  SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED);
	leave(&rig, &inject);
}

/* Inside a user namespace of its own it would have all capabilities again. */
static void test_nested_namespaces(void)
{
	static const uint64_t flags[] = {CLONE_NEWPID, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS};
	struct inject inject;
	struct rig rig;
	size_t i;

	enter(&rig, &inject);
	FORBIDDEN(&inject, ENOSPC, unshare, CLONE_NEWUSER);
	FORBIDDEN(&inject, ENOSPC, clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		FORBIDDEN(&inject, EPERM, unshare, flags[i]);
	leave(&rig, &inject);
}

static void test_no_new_privs(void)
{
	struct inject inject;
	struct rig rig;

	enter(&rig, &inject);
	CHECK_INT(INJECT(&inject, prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	FORBIDDEN(&inject, EINVAL, prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
	CHECK_INT(INJECT(&inject, prctl, PR_GET_DUMPABLE), 0);
	leave(&rig, &inject);
}

/* Other processes are not there for it. */
static void test_other_processes(void)
{
	struct inject inject;
	uint64_t sibling;
	struct rig rig;
	struct iovec iov;

	enter(&rig, &inject);
	sibling = (uint64_t)rig_pid(&rig, "blk1");
	CHECK_INT(INJECT(&inject, getpid, 0), 1);
	CHECK_INT(INJECT(&inject, getppid, 0), 0);
	FORBIDDEN(&inject, ESRCH, ptrace, PTRACE_ATTACH, sibling, 0, 0);
	FORBIDDEN(&inject, ESRCH, ptrace, PTRACE_SEIZE, (uint64_t)rig.launcher, 0, 0);
	FORBIDDEN(&inject, ESRCH, kill, sibling, SIGKILL);
	FORBIDDEN(&inject, ESRCH, kill, (uint64_t)-1, SIGKILL);
	FORBIDDEN(&inject, ESRCH, pidfd_open, sibling, 0);
	FORBIDDEN(&inject, ESRCH, setpriority, PRIO_PROCESS, sibling, 0);
	iov = (struct iovec){(void *)(uintptr_t)(inject.scratch + 512), 8};
	inject_put(&inject, 0, &iov, sizeof(iov));
	FORBIDDEN(&inject, ESRCH, process_vm_readv, sibling, inject.scratch, 1, inject.scratch, 1, 0);
	leave(&rig, &inject);
}

/* The pid namespace apart: one that has a backend's ids can do nothing to its sibling, or to one of the same ids. */
static void test_same_user(void)
{
	struct rig rig;
	uint32_t id;
	pid_t victim;
	pid_t pid;
	int status;

	serve(&rig, NULL);
	victim = rig_pid(&rig, "blk1");
	for (id = 0; id < 2; id++) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			CHECK_INT(setresgid(LAUNCH_UID_BASE + id, LAUNCH_UID_BASE + id, LAUNCH_UID_BASE + id), 0);
			CHECK_INT(setresuid(LAUNCH_UID_BASE + id, LAUNCH_UID_BASE + id, LAUNCH_UID_BASE + id), 0);
			CHECK(ptrace(PTRACE_SEIZE, victim, NULL, NULL) < 0 && errno == EPERM);
			if (id == 0)
				CHECK(kill(victim, SIGKILL) < 0 && errno == EPERM);
			_exit(0);
		}
		CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK_INT(status, 0);
	}
	rig_finish(&rig);
}

static int host_listener(int family, const void *address, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_INT(bind(fd, address, len), 0);
	CHECK_INT(listen(fd, 1), 0);
	return fd;
}

/* No interface but an idle loopback, and none of the host's sockets. */
static void test_network(void)
{
	/* The kernel makes these in every namespace when their modules are there; nothing is behind them. */
	static const char *const fallback[] = {"lo:",      "tunl0:",    "gre0:", "gretap0:", "erspan0:",
					       "ip_vti0:", "ip6_vti0:", "sit0:", "ip6tnl0:", "ip6gre0:"};
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0hvisor-test"};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	struct inject inject;
	struct ifreq ifreq;
	int host[2];
	struct rig rig;
	char *lines;
	char *line;
	uint64_t at;
	size_t i;
	long fd;

	enter(&rig, &inject);
	lines = strdup(proc_text(inject.pid, "net/dev"));
	line = strtok(lines, "\n");
	for (line = strtok(NULL, "\n"); (line = strtok(NULL, "\n"));) {
		for (i = 0; i < sizeof(fallback) / sizeof(fallback[0]) && !strstr(line, fallback[i]); i++)
			;
		if (i == sizeof(fallback) / sizeof(fallback[0]))
			TEST_FAIL("interface %s", line);
	}
	free(lines);
	host[0] = host_listener(AF_INET, &address, sizeof(address));
	CHECK_INT(getsockname(host[0], (struct sockaddr *)&address, &len), 0);
	host[1] = host_listener(AF_UNIX, &name, sizeof(name));
	fd = INJECT(&inject, socket, AF_INET, SOCK_DGRAM, 0);
	CHECK(fd >= 0);
	memset(&ifreq, 0, sizeof(ifreq));
	strcpy(ifreq.ifr_name, "lo");
	inject_put(&inject, 0, &ifreq, sizeof(ifreq));
	CHECK_INT(INJECT(&inject, ioctl, (uint64_t)fd, SIOCGIFFLAGS, inject.scratch), 0);
	inject_get(&inject, 0, &ifreq, sizeof(ifreq));
	CHECK(!(ifreq.ifr_flags & IFF_UP));
	ifreq.ifr_flags = IFF_UP;
	inject_put(&inject, 0, &ifreq, sizeof(ifreq));
	FORBIDDEN(&inject, EPERM, ioctl, (uint64_t)fd, SIOCSIFFLAGS, inject.scratch);
	at = inject_put(&inject, 0, &address, sizeof(address));
	FORBIDDEN(&inject, ENETUNREACH, connect, (uint64_t)fd, at, sizeof(address));
	FORBIDDEN(&inject, EPERM, socket, AF_PACKET, SOCK_RAW, 0);
	fd = INJECT(&inject, socket, AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	at = inject_put(&inject, 0, &name, sizeof(name));
	FORBIDDEN(&inject, ECONNREFUSED, connect, (uint64_t)fd, at, sizeof(name));
	close(host[0]);
	close(host[1]);
	leave(&rig, &inject);
}

static void test_ipc_and_uts(void)
{
	key_t key = 0x68760000 + (key_t)(getpid() & 0xffff);
	int id = shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0666);
	struct inject inject;
	struct rig rig;
	uint64_t name;

	CHECK(id >= 0);
	enter(&rig, &inject);
	FORBIDDEN(&inject, ENOENT, shmget, (uint64_t)key, 0, 0);
	CHECK(INJECT(&inject, shmat, (uint64_t)id, 0, SHM_RDONLY) < 0);
	CHECK_INT(shmctl(id, IPC_RMID, NULL), 0);
	name = inject_put(&inject, 0, "owned", 5);
	FORBIDDEN(&inject, EPERM, sethostname, name, 5);
	leave(&rig, &inject);
}

static void test_rlimits(void)
{
	static const int resources[] = {RLIMIT_CORE,     RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_NPROC,
					RLIMIT_AS,       RLIMIT_DATA,  RLIMIT_STACK,  RLIMIT_MEMLOCK,
					RLIMIT_MSGQUEUE, RLIMIT_NICE,  RLIMIT_RTPRIO, RLIMIT_SIGPENDING};
	struct inject inject;
	struct rlimit limit;
	struct stat st;
	struct rig rig;
	size_t i;
	long fd;
	long last = 0;

	enter(&rig, &inject);
	for (i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
		CHECK_INT(INJECT(&inject, prlimit64, 0, (uint64_t)resources[i], 0, inject.scratch), 0);
		inject_get(&inject, 0, &limit, sizeof(limit));
		CHECK_INT(limit.rlim_cur, limit.rlim_max);
		CHECK(limit.rlim_max != RLIM_INFINITY);
		limit.rlim_max++;
		inject_put(&inject, 0, &limit, sizeof(limit));
		FORBIDDEN(&inject, EPERM, prlimit64, 0, (uint64_t)resources[i], inject.scratch, 0);
	}
	/* The image does not get larger, and so cannot fill the disk. */
	FORBIDDEN(&inject, EFBIG, pwrite64, BLK_FD_IMAGE, inject.scratch, 16, IMAGE_SIZE);
	FORBIDDEN(&inject, EFBIG, ftruncate, BLK_FD_IMAGE, IMAGE_SIZE + 1);
	FORBIDDEN(&inject, EFBIG, fallocate, BLK_FD_IMAGE, 0, IMAGE_SIZE, 4096);
	CHECK_INT(stat("disk0.img", &st), 0);
	CHECK_INT(st.st_size, IMAGE_SIZE);
	/* No memory beyond what it maps and some for itself. */
	FORBIDDEN(&inject, ENOMEM, mmap, 0, 1ull << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		  (uint64_t)-1, 0);
	/* No descriptor beyond those that it knows. */
	while ((fd = INJECT(&inject, dup, BACKEND_FD_LOG)) >= 0)
		last = fd > last ? fd : last;
	CHECK_INT(fd, -EMFILE);
	CHECK(last < BACKEND_FD_END);
	leave(&rig, &inject);
}

/* The ring does what the image needs, and cannot be changed. */
static void test_ring(void)
{
	struct inject inject;
	struct rig rig;
	int32_t fd = BACKEND_FD_LOG;

	enter(&rig, &inject);
	inject_put(&inject, 0, &fd, sizeof(fd));
	FORBIDDEN(&inject, EACCES, io_uring_register, BACKEND_FD_RING, IORING_UNREGISTER_FILES, 0, 0);
	FORBIDDEN(&inject, EACCES, io_uring_register, BACKEND_FD_RING, IORING_REGISTER_EVENTFD, inject.scratch, 1);
	leave(&rig, &inject);
}

struct call {
	const char *name;
	long nr;
	uint64_t arg[6];
};

static int is_killed_by_sigsys(const struct inject *inject)
{
	return inject->ended && WIFSIGNALED(inject->status) && WTERMSIG(inject->status) == SIGSYS;
}

static const struct call killed[] = {
	{"openat", SYS_openat, {(uint64_t)AT_FDCWD, 0, 0}},
	{"socket", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}},
	{"ptrace", SYS_ptrace, {PTRACE_TRACEME}},
	{"process_vm_readv", SYS_process_vm_readv, {1}},
	{"execve", SYS_execve, {0}},
	{"execveat", SYS_execveat, {BLK_FD_IMAGE, 0, 0, 0, AT_EMPTY_PATH}},
	{"clone", SYS_clone, {SIGCHLD}},
	{"clone3", SYS_clone3, {0}},
	{"unshare", SYS_unshare, {CLONE_NEWUSER}},
	{"setns", SYS_setns, {0}},
	{"kill", SYS_kill, {1, 0}},
	{"tgkill", SYS_tgkill, {1, 1, 0}},
	{"prlimit64", SYS_prlimit64, {0, RLIMIT_FSIZE, 0, 0}},
	{"prctl", SYS_prctl, {PR_SET_DUMPABLE, 1}},
	{"seccomp", SYS_seccomp, {0}},
	{"bpf", SYS_bpf, {0}},
	{"mount", SYS_mount, {0}},
	{"fsopen", SYS_fsopen, {0}},
	{"memfd_create", SYS_memfd_create, {0}},
	{"userfaultfd", SYS_userfaultfd, {0}},
	{"perf_event_open", SYS_perf_event_open, {0}},
	{"keyctl", SYS_keyctl, {0}},
	{"mmap executable", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0}},
	{"mmap attachment", SYS_mmap, {0, 4096, PROT_READ, MAP_SHARED, BACKEND_FD_ATTACHMENT, 0}},
	{"mprotect", SYS_mprotect, {0, 4096, PROT_READ | PROT_EXEC}},
	{"madvise", SYS_madvise, {0, 4096, MADV_WILLNEED}},
	{"ioctl", SYS_ioctl, {BLK_FD_IMAGE, BLKFLSBUF, 0}},
	{"ioctl TIOCSTI", SYS_ioctl, {BACKEND_FD_LOG, 0x5412, 0}},
	{"fcntl", SYS_fcntl, {BLK_FD_IMAGE, F_SETFL, 0}},
	{"dup", SYS_dup, {BLK_FD_IMAGE}},
	{"close", SYS_close, {BLK_FD_LOCK}},
	{"ftruncate", SYS_ftruncate, {BLK_FD_IMAGE, 0}},
	{"fallocate", SYS_fallocate, {BLK_FD_IMAGE, 0, 0, 4096}},
	{"fallocate lock", SYS_fallocate, {BLK_FD_LOCK, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096}},
	{"lseek", SYS_lseek, {BLK_FD_IMAGE, 0, SEEK_SET}},
	{"read log", SYS_read, {BACKEND_FD_LOG, 0, 0}},
	{"read image", SYS_read, {BLK_FD_IMAGE, 0, 0}},
	{"write image", SYS_write, {BLK_FD_IMAGE, 0, 0}},
	{"pread64 attachment", SYS_pread64, {BACKEND_FD_ATTACHMENT, 0, 0, 0}},
	{"pwrite64 lock", SYS_pwrite64, {BLK_FD_LOCK, 0, 0, 0}},
	{"preadv2 lock", SYS_preadv2, {BLK_FD_LOCK, 0, 0, 0, 0, 0}},
	{"pwritev2 flags", SYS_pwritev2, {BLK_FD_IMAGE, 0, 0, 0, 0, RWF_APPEND}},
	{"sendmsg", SYS_sendmsg, {BACKEND_FD_LOG, 0, 0}},
	{"io_uring_setup", SYS_io_uring_setup, {1, 0}},
	{"io_uring_register", SYS_io_uring_register, {BACKEND_FD_RING, IORING_UNREGISTER_FILES, 0, 0}},
	{"io_uring_enter other", SYS_io_uring_enter, {BLK_FD_IMAGE, 0, 0, 0, 0, 0}},
	{"io_uring_enter flags", SYS_io_uring_enter, {BACKEND_FD_RING, 0, 0, IORING_ENTER_SQ_WAIT, 0, 0}},
	{"the upper half", SYS_close, {0x100000000ull | BACKEND_FD_READY}},
};

/* Each call that is not on the list ends the process at once, and the next one serves. */
static void test_seccomp_kills(void)
{
	static char out[65536];
	struct guest_blk blk;
	struct inject inject;
	uint8_t bytes[512];
	struct rig rig;
	size_t i;

	serve(&rig, NULL);
	CHECK_INT(guest_blk_open(&blk, &rig.guest, rig_base(0), rig_irq(0), NULL), 0);
	for (i = 0; i < sizeof(killed) / sizeof(killed[0]); i++) {
		inject_open(&inject, await_backend(&rig, "blk0", (uint32_t)i + 1));
		inject_call(&inject, killed[i].nr, killed[i].arg);
		/* The signal comes after the stop at the end of the call; a process that gets so far ends otherwise. */
		INJECT(&inject, exit_group, 0);
		if (!is_killed_by_sigsys(&inject))
			TEST_FAIL("%s: ended %d, wait status 0x%x, not killed by SIGSYS", killed[i].name, inject.ended,
				  inject.status);
		inject_close(&inject);
		CHECK_INT(guest_blk_read(&blk, 0, 0, bytes, sizeof(bytes)), 0);
	}
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--status", "--json", NULL), 0);
	CHECK_HAS(out, "signal 31 (Bad system call)");
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* What the list allows is done, so that the deaths above were those of the calls. */
static void test_seccomp_allows(void)
{
	struct inject inject;
	uint64_t one = 1;
	struct rig rig;

	serve(&rig, NULL);
	inject_open(&inject, rig_pid(&rig, "blk0"));
	inject_put(&inject, 0, &one, sizeof(one));
	CHECK_INT(INJECT(&inject, write, BACKEND_FD_CALL, inject.scratch, 8), 8);
	CHECK_INT(INJECT(&inject, pread64, BLK_FD_IMAGE, inject.scratch, 16, 0), 16);
	CHECK_INT(INJECT(&inject, lseek, BLK_FD_IMAGE, 0, SEEK_END), IMAGE_SIZE);
	CHECK_INT(INJECT(&inject, close, BACKEND_FD_READY), -EBADF);
	CHECK_INT(INJECT(&inject, io_uring_enter, BACKEND_FD_RING, 0, 0, 0, 0, 0), 0);
	CHECK_INT(INJECT(&inject, fdatasync, BLK_FD_IMAGE), 0);
	leave(&rig, &inject);
}

/* From here on the programs are copies in the test's folder: those that were built may be where only root may enter. */
static void use_copies(const struct rig *rig)
{
	char program[PATH_MAX];
	char build[300];

	CHECK_INT(rig_program("hvisor-launch", program, sizeof(program)), 0);
	*strrchr(program, '/') = '\0';
	scratch_run("mkdir build && cp '%s'/hvisor-* build && cp -R '%s'/../policy .", program, program);
	snprintf(build, sizeof(build), "%s/build", rig->dir);
	CHECK_INT(setenv("BUILD", build, 1), 0);
}

static void become_ordinary(const struct rig *rig)
{
	CHECK_INT(setresgid(65534, 65534, 65534), 0);
	CHECK_INT(setresuid(65534, 65534, 65534), 0);
	if (access(rig->config, R_OK) < 0)
		TEST_FAIL("an ordinary user cannot read %s (%s): set TMPDIR to a folder below those that all may enter",
			  rig->config, strerror(errno));
}

/* An ordinary user gets all layers but ids of its own; whoever requires that one is refused. */
static void test_ordinary_user(void)
{
	const struct rig_disk disk = {.size = IMAGE_SIZE};
	static char out[65536];
	const cJSON *missing;
	struct rig rig;
	cJSON *reply;
	int status;
	pid_t pid;

	CHECK(geteuid() == 0);
	rig_init(&rig, 16);
	rig_config_disks(&rig, &disk, 1, NULL);
	use_copies(&rig);
	scratch_run("chown 65534:65534 . disk0.img && chmod 666 sim.sock");
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		become_ordinary(&rig);
		CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--hv", rig.hv, "--log-dir", rig.log_dir, "--daemon",
				       rig.config, NULL),
			  0);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--status", "--json", NULL), 0);
	reply = cJSON_Parse(out);
	CHECK(reply);
	missing = cJSON_GetObjectItem(cJSON_GetObjectItem(reply, "launcher"), "sandbox_missing");
	CHECK_STR(cJSON_GetStringValue(cJSON_GetArrayItem(missing, 0)), "uid");
	CHECK_INT(cJSON_GetArraySize(missing), 1 + (landlock_version() < 1));
	cJSON_Delete(reply);
	CHECK_HAS(proc_text(rig_pid(&rig, "blk0"), "status"), "\nUid:\t65534\t65534\t65534\t65534\n");
	CHECK_HAS(proc_text(rig_pid(&rig, "blk0"), "status"), "\nCapBnd:\t0000000000000000\n");
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--stop", NULL), 0);

	rig_config_disks(&rig, &disk, 1, "\"sandbox\": \"required\"");
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		become_ordinary(&rig);
		CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--hv", rig.hv, "--log-dir", rig.log_dir, rig.config,
				       NULL),
			  1);
		CHECK_HAS(out, "the sandbox is required, and it lacks the layer uid: ");
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	rig_finish(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"sandbox_kernel_says", test_kernel_says, 0},
		{"sandbox_namespaces", test_namespaces, 0},
		{"sandbox_mappings", test_mappings, 0},
		{"sandbox_root_folder", test_root_folder, 0},
		{"sandbox_mounts", test_mounts, 0},
		{"sandbox_landlock", test_landlock, 0},
		{"sandbox_ids", test_ids, 0},
		{"sandbox_capabilities", test_capabilities, 0},
		{"sandbox_nested_namespaces", test_nested_namespaces, 0},
		{"sandbox_no_new_privs", test_no_new_privs, 0},
		{"sandbox_other_processes", test_other_processes, 0},
		{"sandbox_network", test_network, 0},
		{"sandbox_ipc_and_uts", test_ipc_and_uts, 0},
		{"sandbox_rlimits", test_rlimits, 0},
		{"sandbox_ring", test_ring, 0},
		{"sandbox_seccomp_kills", test_seccomp_kills, 0},
		{"sandbox_seccomp_allows", test_seccomp_allows, 0},
		/* The rest need root: to see what the kernel hides from a user's other processes, to be somebody else.
		 */
		{"sandbox_inheritance", test_inheritance, 0},
		{"sandbox_same_user", test_same_user, 0},
		{"sandbox_ordinary_user", test_ordinary_user, 0},
	};
	size_t n = sizeof(tests) / sizeof(tests[0]);

	while (geteuid() != 0 && tests[n - 1].run != test_seccomp_allows)
		printf("# not without root: %s\n", tests[--n].name);
	return test_main(argc, argv, tests, n);
}
