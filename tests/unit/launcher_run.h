/* SPDX-License-Identifier: MIT */
/* Runs the programs of the build that a test program is from, and catches what they say. */
#ifndef HVISOR_LAUNCHER_RUN_H
#define HVISOR_LAUNCHER_RUN_H

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

struct run {
	int code; /* exit code */
	char out[65536];
	char err[65536];
};

/* BUILD/tests/unit/test_X is from BUILD/name. */
static inline const char *program_path(const char *name)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
	int i;

	CHECK(n > 0);
	path[n] = 0;
	for (i = 0; i < 3; i++) {
		CHECK(strrchr(path, '/'));
		*strrchr(path, '/') = 0;
	}
	return strcat(strcat(path, "/"), name);
}

static inline const char *launcher_path(void)
{
	return program_path("hvisor-launch");
}

static inline void launcher_slurp(int fd, char *text, size_t size)
{
	ssize_t n = pread(fd, text, size - 1, 0);

	CHECK(n >= 0);
	text[n] = 0;
	close(fd);
}

/* arguments: words up to a NULL. Waits for its end. */
static inline void program_run(struct run *run, const char *program, const char *const *arguments)
{
	int out = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int err = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const char *argv[32] = {program};
	int status;
	pid_t pid;
	int n;

	CHECK(out >= 0 && err >= 0);
	for (n = 0; arguments[n]; n++)
		argv[n + 1] = arguments[n];
	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (dup2(out, 1) == 1 && dup2(err, 2) == 2)
			execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	run->code = WEXITSTATUS(status);
	launcher_slurp(out, run->out, sizeof(run->out));
	launcher_slurp(err, run->err, sizeof(run->err));
}

static inline void launcher_run(struct run *run, const char *const *arguments)
{
	program_run(run, launcher_path(), arguments);
}

#define LAUNCHER_RUN(run, ...) launcher_run((run), (const char *const[]){__VA_ARGS__, NULL})

/* A folder of its own under /tmp, in which the test runs and which goes with all that is in it. */
static char launcher_folder[] = "/tmp/test_launcher.XXXXXX";

static inline void launcher_leave_folder(void)
{
	char command[sizeof(launcher_folder) + 16];

	snprintf(command, sizeof(command), "rm -rf %s", launcher_folder);
	if (system(command) != 0)
		fprintf(stderr, "%s is left behind\n", launcher_folder);
}

static inline void launcher_enter_folder(void)
{
	CHECK(mkdtemp(launcher_folder));
	atexit(launcher_leave_folder);
	CHECK_INT(chdir(launcher_folder), 0);
}

static inline void launcher_write(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

#endif
