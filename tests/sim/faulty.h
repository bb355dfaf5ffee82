/* SPDX-License-Identifier: MIT */
/*
 * System calls of another process that fail or do less than they were asked for: a thread traces the process with
 * ptrace and changes some of its calls that read or write a file at an offset (pread64, pwrite64, preadv2, pwritev2,
 * fdatasync). Failures of the means end the test.
 */
#ifndef HVISOR_FAULTY_H
#define HVISOR_FAULTY_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct faulty {
	pid_t pid;
	pthread_t thread;
	sem_t attached;
	bool stop;

	/* What happens, with every period-th call; the caller may change it at any time. */
	int error; /* > 0: the call does nothing and fails with this errno */
	bool shorten; /* it is made for half of the first buffer at most */
	uint32_t period;

	/* Counters. */
	uint64_t calls;
	uint64_t faults;

	/* The thread's own. */
	int failing; /* the errno of the call under way, 0: none */
	uint64_t iov_at; /* where the shortened buffer's length is to be put back, 0: nowhere */
	struct iovec iov;
};

/* Begins; error, shorten and period are set. The process is not traced by anybody else. */
void faulty_begin(struct faulty *faulty, pid_t pid);

/* Lets go of the process, which goes on; also if it has ended. */
void faulty_end(struct faulty *faulty);

#endif
