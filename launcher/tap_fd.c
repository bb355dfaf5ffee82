/* SPDX-License-Identifier: MIT */
#include "launcher/tap_fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/net.h"

int tap_fd_open(void)
{
	int fd = open(TAP_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int tap_fd_attach(int fd, const char *name, int flags)
{
	struct ifreq request = {.ifr_flags = (short)flags};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : 0;
}

/* Is descriptor fd of the process attached to the interface? */
static bool holds(const char *pid, const char *fd, const char *name)
{
	char path[64 + 2 * NAME_MAX];
	char text[PATH_MAX];
	char want[64];
	bool found = false;
	FILE *file;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, fd);
	n = readlink(path, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	if (strcmp(text, TAP_PATH) != 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, fd);
	snprintf(want, sizeof(want), "iff:\t%s\n", name);
	file = fopen(path, "re");
	while (file && !found && fgets(text, sizeof(text), file))
		found = strcmp(text, want) == 0;
	if (file)
		fclose(file);
	return found;
}

static bool process_holds(const char *pid, const char *name)
{
	struct dirent *entry;
	bool found = false;
	char path[32 + NAME_MAX];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		found = holds(pid, entry->d_name, name);
	if (dir)
		closedir(dir);
	return found;
}

const char *tap_fd_user(const char *name, char buffer[TAP_USER_MAX])
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	char path[32 + NAME_MAX];
	char command[20] = "";
	FILE *file;

	strcpy(buffer, "another process");
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[strspn(entry->d_name, "0123456789")] || !process_holds(entry->d_name, name))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (file && fgets(command, sizeof(command), file))
			command[strcspn(command, "\n")] = '\0';
		if (file)
			fclose(file);
		snprintf(buffer, TAP_USER_MAX, "process %.10s (%s)", entry->d_name, command);
		break;
	}
	if (dir)
		closedir(dir);
	return buffer;
}

/* In a network namespace that ends with the process. */
static bool try_uso(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	fd = tap_fd_open();
	return fd >= 0 && tap_fd_attach(fd, "tap", TAP_FLAGS) == 0 &&
	       ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6) == 0;
}

bool tap_fd_has_uso(void)
{
	/* It is the same as long as the kernel runs. */
	static enum {
		UNKNOWN,
		NO,
		YES
	} has;
	int status = 1;
	pid_t pid;

	if (has == UNKNOWN) {
		pid = fork();
		if (pid == 0)
			_exit(!try_uso());
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return false;
		has = status == 0 ? YES : NO;
	}
	return has == YES;
}
