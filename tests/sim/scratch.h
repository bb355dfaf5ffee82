/* SPDX-License-Identifier: MIT */
/* A folder of its own for each test, and the host's files and commands in it. Failures end the test. */
#ifndef HVISOR_SCRATCH_H
#define HVISOR_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

/*
 * Makes an empty folder under TMPDIR (or /tmp) that all may enter, goes there, and removes it when the process exits,
 * also by a failed check. Called again it removes that one and makes another. Returns its absolute path.
 */
const char *scratch_enter(void);

/* Runs a shell command that has to succeed; what it printed is shown only if it does not. */
void scratch_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

void scratch_write(const char *path, const void *data, size_t len);

/* The file has exactly these bytes. */
void scratch_check(const char *path, const void *want, size_t len);

/*
 * Makes a block device of the file, a loop device that is detached when the process exits; path, of size bytes, gets
 * its name. At most one for a process. Returns a descriptor of the device, the caller's.
 */
int scratch_loop(const char *file, char *path, size_t size);

/* len random bytes of test_random(), of malloc(). */
uint8_t *scratch_random(size_t len);

#endif
