/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

const char *input_file(const void *bytes, size_t len)
{
	static char path[32];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("input", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	INPUT_CHECK(ftruncate(fd, 0) == 0);
	INPUT_CHECK(pwrite(fd, bytes, len, 0) == (ssize_t)len);
	return path;
}

void input_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
	abort();
}
