/* SPDX-License-Identifier: MIT */
#include "launcher/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_FORMAT "pid=%d\nstart=%llu\nboot=%36s\nuid=%u\nrestarts=%llu\nlog_level=%u\n"
#define STATE_FIELDS 6
#define STATE_SUFFIX "state"
#define STATE_MAX 512
#define LOCK_LIMIT_MS 5000u
#define LOCK_STEP_MS 5

char *rundir_path(const struct rundir *dir, const char *name, const char *suffix)
{
	char *path;

	return asprintf(&path, "%s/%s%s%s", dir->path, name, suffix ? "." : "", suffix ? suffix : "") < 0 ? NULL : path;
}

int rundir_make(const char *path, mode_t mode)
{
	char part[4096];
	size_t len = strlen(path);
	size_t i;

	if (len >= sizeof(part))
		return -ENAMETOOLONG;
	memcpy(part, path, len + 1);
	for (i = 1; i < len; i++) {
		if (part[i] != '/')
			continue;
		part[i] = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		part[i] = '/';
	}
	return mkdir(part, mode) < 0 && errno != EEXIST ? -errno : 0;
}

/* At most size - 1 bytes, as a string; -errno. */
static ssize_t read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

/* Who holds the lock, by what the file says; 0: it does not say. */
static pid_t lock_owner(const char *path)
{
	char pid[32];

	return read_text(path, pid, sizeof(pid)) > 0 ? atoi(pid) : 0;
}

/*
 * A launcher that was killed while it began a process is survived by that for a moment, and so is its lock. One that
 * runs is not waited for. 0, or -errno.
 */
static int lock_take(int fd, const char *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	uint32_t ms;
	pid_t pid;

	for (ms = 0; fcntl(fd, F_OFD_SETLK, &lock) < 0; ms += LOCK_STEP_MS) {
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		pid = lock_owner(path);
		if (ms >= LOCK_LIMIT_MS || (pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH)))
			return -EAGAIN;
		poll(NULL, 0, LOCK_STEP_MS);
	}
	return 0;
}

static int rundir_lock(struct rundir *dir, struct errors *errors)
{
	char path[4096];
	int error;

	snprintf(path, sizeof(path), "%s/" RUNDIR_LOCK, dir->path);
	dir->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (dir->lock_fd < 0) {
		errors_add(errors, "cannot open %s: %s", path, strerror(errno));
		return -1;
	}
	error = lock_take(dir->lock_fd, path);
	if (error == 0) {
		rundir_name_owner(dir);
		return 0;
	}
	if (error != -EAGAIN)
		errors_add(errors, "cannot lock %s: %s", path, strerror(-error));
	else
		errors_add(errors,
			   "a launcher with pid %d uses the run folder %s; stop it with hvisor-launch --stop, or give "
			   "another folder with --run",
			   lock_owner(path), dir->path);
	close(dir->lock_fd);
	dir->lock_fd = -1;
	return -1;
}

int rundir_open(struct rundir *dir, const char *path, struct errors *errors)
{
	struct stat st;
	int error;

	*dir = (struct rundir){.lock_fd = -1, .path = strdup(path)};
	if (!dir->path) {
		errors_add(errors, "no memory");
		return -1;
	}
	error = rundir_make(path, 0700);
	if (error == 0 && stat(path, &st) < 0)
		error = -errno;
	if (error) {
		errors_add(errors, "cannot make the run folder %s: %s", path, strerror(-error));
	} else if (!S_ISDIR(st.st_mode)) {
		errors_add(errors, "the run folder %s is not a folder", path);
	} else if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		errors_add(errors,
			   "the run folder %s can be written by others than user %u; chown and chmod 700 it, or give "
			   "another one with --run",
			   path, geteuid());
	} else if (rundir_lock(dir, errors) == 0) {
		return 0;
	}
	rundir_close(dir);
	return -1;
}

bool rundir_used_by_other(const struct rundir *dir, const char *file, pid_t *pid)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	const char *slash = strrchr(file, '/');
	struct stat ours, theirs;
	char path[4096];
	char text[32];
	bool used = false;
	int fd;

	if (!slash || (size_t)(slash - file) > sizeof(path) - sizeof("/" RUNDIR_LOCK))
		return false;
	snprintf(path, sizeof(path), "%.*s/" RUNDIR_LOCK, (int)(slash - file), file);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return false;
	if (fstat(fd, &theirs) == 0 && fstat(dir->lock_fd, &ours) == 0 &&
	    (theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev) && fcntl(fd, F_OFD_GETLK, &lock) == 0)
		used = lock.l_type != F_UNLCK;
	close(fd);
	*pid = used && read_text(path, text, sizeof(text)) > 0 ? atoi(text) : 0;
	return used;
}

void rundir_name_owner(struct rundir *dir)
{
	char pid[32];
	int n = snprintf(pid, sizeof(pid), "%d\n", getpid());

	/* Only for people: the lock is what counts. */
	if (ftruncate(dir->lock_fd, 0) == 0)
		(void)!pwrite(dir->lock_fd, pid, (size_t)n, 0);
}

void rundir_close(struct rundir *dir)
{
	if (dir->lock_fd >= 0)
		close(dir->lock_fd);
	dir->lock_fd = -1;
	free(dir->path);
	dir->path = NULL;
}

int rundir_boot(char boot[RUNDIR_BOOT_MAX])
{
	ssize_t n = read_text("/proc/sys/kernel/random/boot_id", boot, RUNDIR_BOOT_MAX);

	if (n < 0)
		return (int)n;
	boot[strcspn(boot, "\n")] = '\0';
	return 0;
}

int rundir_identify(pid_t pid, struct rundir_state *state)
{
	char path[64];
	char text[1024];
	const char *at;
	ssize_t n;
	int field;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	n = read_text(path, text, sizeof(text));
	if (n <= 0)
		return n < 0 ? (int)n : -ESRCH;
	/* Field 2 is a name in brackets, which may hold spaces and brackets. */
	at = strrchr(text, ')');
	for (field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return -EPROTO;
	state->pid = pid;
	state->start_time = strtoull(at + 1, NULL, 10);
	return rundir_boot(state->boot);
}

int rundir_save_text(const struct rundir *dir, const char *name, const char *suffix, const char *text)
{
	size_t len = strlen(text);
	char temporary[4096];
	char path[4096];
	int error = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/%s.%s", dir->path, name, suffix);
	snprintf(temporary, sizeof(temporary), "%s/%s.%s.new", dir->path, name, suffix);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	errno = ENOSPC;
	if (write(fd, text, len) != (ssize_t)len)
		error = -errno;
	close(fd);
	if (error == 0 && rename(temporary, path) < 0)
		error = -errno;
	if (error)
		unlink(temporary);
	return error;
}

bool rundir_load_text(const struct rundir *dir, const char *name, const char *suffix, char *text, size_t size)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s.%s", dir->path, name, suffix);
	return read_text(path, text, size) > 0;
}

void rundir_forget_text(const struct rundir *dir, const char *name, const char *suffix)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s.%s", dir->path, name, suffix);
	unlink(path);
}

int rundir_save(const struct rundir *dir, const char *name, const struct rundir_state *state)
{
	char text[STATE_MAX];

	snprintf(text, sizeof(text), STATE_FORMAT, state->pid, (unsigned long long)state->start_time, state->boot,
		 state->uid, (unsigned long long)state->restarts, state->log_level);
	return rundir_save_text(dir, name, STATE_SUFFIX, text);
}

bool rundir_load(const struct rundir *dir, const char *name, struct rundir_state *state)
{
	unsigned long long start;
	unsigned long long restarts;
	char text[STATE_MAX];

	memset(state, 0, sizeof(*state));
	if (!rundir_load_text(dir, name, STATE_SUFFIX, text, sizeof(text)))
		return false;
	if (sscanf(text, STATE_FORMAT, &state->pid, &start, state->boot, &state->uid, &restarts, &state->log_level) !=
	    STATE_FIELDS)
		return false;
	state->start_time = start;
	state->restarts = restarts;
	return state->pid > 0;
}

void rundir_forget(const struct rundir *dir, const char *name)
{
	rundir_forget_text(dir, name, STATE_SUFFIX);
}
