/* SPDX-License-Identifier: MIT */
/*
 * A process that is killed just before the n-th of its system calls that change the world: all but those that only look
 * or wait. It is traced, so it needs no hooks, and a call before which it is killed is not made. Its children are not
 * traced. Failures of the means end the test.
 */
#ifndef HVISOR_CALLS_H
#define HVISOR_CALLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct calls {
	pid_t pid;
	uint32_t made; /* calls that change the world, since it is traced */
	long last; /* the number of the one before which it was killed */
};

/* Traces a process that runs; it stands still until calls_run(). */
void calls_attach(struct calls *calls, pid_t pid);

/* The same for a child that waits to be traced, before its program runs: rig_launch_traced(). */
void calls_attach_child(struct calls *calls, pid_t pid);

/*
 * Lets it run until it is to make its n-th such call, and kills it. Before that it is let go, untraced, when it waits
 * for events and done(arg) says that it has done what it was to do, or when it exits. True: it was killed. It is the
 * caller's to wait for then.
 */
bool calls_run(struct calls *calls, uint32_t n, bool (*done)(void *arg), void *arg);

#endif
