/* SPDX-License-Identifier: MIT */
/* What a process costs while it has nothing to do. */
#ifndef HVISOR_BENCH_PROCESS_H
#define HVISOR_BENCH_PROCESS_H

#include <sys/types.h>

/* Proportional set size in KiB (/proc/PID/smaps_rollup), or -errno. */
double process_pss_kib(pid_t pid);

/* How often its threads went to sleep or were preempted so far, all together, or -errno. */
double process_switches(pid_t pid);

#endif
