/* SPDX-License-Identifier: MIT */
/* Our side: hvisor-launch over the simulator, with one hvisor-blk in its full sandbox, driven by our driver code. */
#ifndef HVISOR_BENCH_OURS_H
#define HVISOR_BENCH_OURS_H

#include <sys/types.h>

#include "disk.h"
#include "tests/sim/sim.h"

struct ours {
	struct sim sim;
	bool sim_on;
	int cpu; /* of all but the driver */
	char run_dir[128];
	char log[160]; /* what hvisor-launch says */
	pid_t launcher;
	struct guest guest;
	struct guest_dev dev;
	struct guest_vq vq;
	struct disk disk;
};

/*
 * Starts all of it over the image, with its files in folder; the simulator's server thread, the launcher and the
 * backend on CPU cpu, where the calling thread is left too. Returns 0, or -1 after a line on standard error, with
 * nothing left over.
 */
int ours_start(struct ours *ours, const char *image, const char *folder, int cpu);
void ours_stop(struct ours *ours);

/* The process that serves now, or -1 after a line on standard error. */
pid_t ours_backend(struct ours *ours);

/* Prints the end of what hvisor-launch said so far to standard error. */
void ours_show_log(const struct ours *ours);

/* Begins hvisor-launch --restart in a process of its own, and returns its pid or -1; the caller reaps it. */
pid_t ours_restart(struct ours *ours);

#endif
