/* SPDX-License-Identifier: MIT */
/* What a process costs, and one that costs a whole CPU. */
#ifndef HVISOR_BENCH_PROCESS_H
#define HVISOR_BENCH_PROCESS_H

#include <sys/types.h>

/* Proportional set size in KiB (/proc/PID/smaps_rollup), or -errno. */
double process_pss_kib(pid_t pid);

/* Nanoseconds of CPU that it took so far, or -errno. */
double process_cpu_ns(pid_t pid);

/*
 * Starts a process that does nothing but take CPU cpu: in a session of its own, as a backend is, so that the scheduler
 * groups it like one. Returns once it runs: its pid, or -errno.
 */
pid_t process_busy_start(int cpu);
void process_busy_stop(pid_t pid);

#define PROCESS_THREADS_MAX 128u

/* How often each thread of a process gave its CPU away or lost it so far. */
struct process_switches {
	unsigned int n; /* threads; more than PROCESS_THREADS_MAX are not looked at */
	pid_t thread[PROCESS_THREADS_MAX];
	double count[PROCESS_THREADS_MAX];
};

/* 0, or -errno. */
int process_switches(pid_t pid, struct process_switches *out);

/* How often since before it happened to the threads that are in now; those that ended in between are forgotten. */
double process_switches_since(const struct process_switches *now, const struct process_switches *before);

#endif
