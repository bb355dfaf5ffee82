/* SPDX-License-Identifier: MIT */
/* Which CPU does what in a benchmark. */
#ifndef HVISOR_BENCH_CPU_H
#define HVISOR_BENCH_CPU_H

#include <sys/types.h>

/* Two CPUs that we may use: the driver's and the serving process's. -1 if there are not two. */
int cpu_choose(int *driver, int *server);

/* Pins all threads of a process (0: the calling thread and what it starts) to cpu. 0 or -errno. */
int cpu_pin(pid_t pid, int cpu);

/* The real-time priority of the calling thread; 0: it is an ordinary one. -errno. */
int cpu_priority(void);

/*
 * Makes a process of one thread (0: the calling thread and what it starts) real-time, until it sleeps the only one on
 * its CPU but for those of higher priority; or with priority 0 an ordinary one, which shares it. 0 or -errno.
 */
int cpu_set_priority(pid_t pid, int priority);

#endif
