/* SPDX-License-Identifier: MIT */
#include "tests/sim/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

/* An atexit() function has no argument. Children of the process leave the folder alone. */
static char scratch_path[256];
static pid_t scratch_pid;
static char scratch_loop_path[32];
static pid_t scratch_loop_pid;

static int scratch_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

static void scratch_leave(void)
{
	if (getpid() != scratch_pid)
		return;
	if (chdir("/") == 0)
		nftw(scratch_path, scratch_remove, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

const char *scratch_enter(void)
{
	const char *tmp = getenv("TMPDIR");

	/* A test may begin anew. */
	if (scratch_pid == getpid())
		scratch_leave();
	else
		atexit(scratch_leave);
	snprintf(scratch_path, sizeof(scratch_path), "%s/hvisor-test.XXXXXX", tmp ? tmp : "/tmp");
	CHECK(mkdtemp(scratch_path));
	scratch_pid = getpid();
	/* Backends have user ids of their own. */
	CHECK_INT(chmod(scratch_path, 0755), 0);
	CHECK_INT(chdir(scratch_path), 0);
	return scratch_path;
}

void scratch_run(const char *format, ...)
{
	char command[1024];
	char whole[1200];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	snprintf(whole, sizeof(whole), "{ %s; } >.output 2>&1 </dev/null || { cat .output >&2; exit 1; }", command);
	fflush(NULL);
	status = system(whole);
	if (status != 0)
		TEST_FAIL("\"%s\" failed", command);
}

void scratch_write(const char *path, const void *data, size_t len)
{
	FILE *file = fopen(path, "we");

	if (!file)
		TEST_FAIL("cannot make %s", path);
	CHECK_INT(fwrite(data, 1, len, file), len);
	CHECK_INT(fclose(file), 0);
}

void scratch_check(const char *path, const void *want, size_t len)
{
	FILE *file = fopen(path, "re");
	uint8_t *got = malloc(len + 1);
	size_t n;

	CHECK(got);
	if (!file)
		TEST_FAIL("cannot open %s", path);
	n = fread(got, 1, len + 1, file);
	if (n != len)
		TEST_FAIL("%s has %zu bytes%s, not %zu", path, n, n > len ? " at least" : "", len);
	test_mem_is(__FILE__, __LINE__, path, got, want, len);
	fclose(file);
	free(got);
}

uint8_t *scratch_random(size_t len)
{
	uint8_t *bytes = malloc(len + 1);
	size_t i;

	CHECK(bytes);
	for (i = 0; i < len; i++)
		bytes[i] = (uint8_t)test_random();
	return bytes;
}

static void scratch_loop_detach(void)
{
	int loop;

	if (getpid() != scratch_loop_pid)
		return;
	loop = open(scratch_loop_path, O_RDWR | O_CLOEXEC);
	ioctl(loop, LOOP_CLR_FD, 0);
	close(loop);
}

int scratch_loop(const char *file, char *path, size_t size)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int image = open(file, O_RDWR | O_CLOEXEC);
	int number, loop;

	if (control < 0)
		TEST_FAIL("/dev/loop-control: %s", strerror(errno));
	CHECK(image >= 0);
	do {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		CHECK(number >= 0);
		snprintf(scratch_loop_path, sizeof(scratch_loop_path), "/dev/loop%d", number);
		loop = open(scratch_loop_path, O_RDWR | O_CLOEXEC);
		CHECK(loop >= 0);
	} while (ioctl(loop, LOOP_SET_FD, image) < 0 && errno == EBUSY && close(loop) == 0);
	close(control);
	close(image);
	scratch_loop_pid = getpid();
	atexit(scratch_loop_detach);
	snprintf(path, size, "%s", scratch_loop_path);
	return loop;
}
