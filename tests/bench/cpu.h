/* SPDX-License-Identifier: MIT */
/* Which CPU does what in a benchmark. */
#ifndef HVISOR_BENCH_CPU_H
#define HVISOR_BENCH_CPU_H

#include <sys/types.h>

/* Two CPUs that we may use: the driver's and the serving process's. -1 if there are not two. */
int cpu_choose(int *driver, int *server);

/* Pins all threads of a process (0: the calling thread and what it starts) to cpu. 0 or -errno. */
int cpu_pin(pid_t pid, int cpu);

/*
 * Makes the calling thread, and what it starts, share CPUs as ordinary processes do: of real-time ones that want the
 * same CPU one has it until it sleeps. 0 or -errno.
 */
int cpu_leave_realtime(void);

#endif
