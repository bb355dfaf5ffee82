/* SPDX-License-Identifier: MIT */
/*
 * System calls made by another process, to see what its sandbox lets it do: the process is stopped with ptrace, which
 * root may do to it, and its registers are set so that it makes the call itself. What it did before is not resumed: it
 * is to be killed afterwards. Failures of the means end the test.
 */
#ifndef HVISOR_INJECT_H
#define HVISOR_INJECT_H

#include <stdint.h>
#include <sys/types.h>

#define INJECT_SCRATCH 4096u

struct inject {
	pid_t pid;
	uint64_t syscall; /* where it has an instruction that makes a system call */
	uint64_t scratch; /* INJECT_SCRATCH bytes that it can read and write */
	int ended; /* it has ended */
	int status; /* its wait status then */
};

/* Stops the process. */
void inject_open(struct inject *inject, pid_t pid);

/* Kills it if it lives. */
void inject_close(struct inject *inject);

/*
 * The process makes system call nr. Returns what that returned, a negative errno included; if the process ended in
 * it, inject->ended is set, and the result is -ESRCH then and in all later calls. A signal that the call itself
 * raised comes when the process goes on, which is with the next call.
 */
long inject_call(struct inject *inject, long nr, const uint64_t arg[6]);

/* Lets go of the process, which runs one jump to itself for ever from then on; not to be closed. */
void inject_leave_spinning(struct inject *inject);

/* Puts bytes at scratch + offset; returns the address. */
uint64_t inject_put(struct inject *inject, uint32_t offset, const void *bytes, size_t len);
void inject_get(struct inject *inject, uint32_t offset, void *bytes, size_t len);

#define INJECT(inject, name, ...) inject_call(inject, SYS_##name, (const uint64_t[6]){__VA_ARGS__})

#endif
