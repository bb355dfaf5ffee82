/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/input.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define REPORT_FD_MIN 64 /* above those that a target has use for */

static int report_fd = STDERR_FILENO;

/* What the code under test says on stderr is thrown away while it is fuzzed; what is found is not. */
__attribute__((constructor)) static void report_keep(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, REPORT_FD_MIN);

	if (fd >= 0)
		report_fd = fd;
}

static uint64_t number(struct input *input, unsigned int bytes)
{
	uint64_t value = 0;
	unsigned int i;

	for (i = 0; i < bytes && input->left > 0; i++) {
		value |= (uint64_t)*input->at++ << (8 * i);
		input->left--;
	}
	return value;
}

uint8_t input_u8(struct input *input)
{
	return (uint8_t)number(input, 1);
}

uint16_t input_u16(struct input *input)
{
	return (uint16_t)number(input, 2);
}

uint32_t input_u32(struct input *input)
{
	return (uint32_t)number(input, 4);
}

uint64_t input_u64(struct input *input)
{
	return number(input, 8);
}

const uint8_t *input_block(struct input *input, size_t len, size_t *got)
{
	const uint8_t *block = input->at;

	*got = len < input->left ? len : input->left;
	input->at += *got;
	input->left -= *got;
	return block;
}

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
	dprintf(report_fd, "%s:%d: not true: %s\n", file, line, what);
	abort();
}
