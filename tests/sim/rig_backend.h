/* SPDX-License-Identifier: MIT */
/*
 * A backend without the launcher: started as the launcher would start it, but confined by its policy at most. For tests
 * of a backend alone, and for benchmarks. The process dies with the thread that started it.
 */
#ifndef HVISOR_RIG_BACKEND_H
#define HVISOR_RIG_BACKEND_H

#include <sys/types.h>

#include "common/region.h"
#include "launcher/config.h"
#include "launcher/devtype.h"
#include "tests/sim/sim.h"

#define RIG_ZONE 1u
#define RIG_RAM 0x50000000u
#define RIG_BASE 0xa003c00u
#define RIG_IRQ 78u

struct rig_backend {
	struct sim *sim;
	const struct devtype *type;
	const char *policy_dir; /* where its seccomp policy is; NULL: it gets none */
	struct config_device config; /* the caller may change it before each start */
	uint32_t id; /* of the device, 0 before the first start */
	struct queue_region *region; /* the launcher's view, from the first start on */
	uint32_t region_size;
	pid_t pid; /* 0: does not run */
	int pid_fd;
	int log_fd; /* what all starts wrote, "<n>text" lines */
};

/*
 * Puts zone RIG_ZONE with mebibytes of memory at RIG_RAM on the board and declares it. Returns 0 or -errno.
 */
int rig_zone(struct sim *sim, uint32_t mebibytes);

/*
 * A device of the type in the first window, of which the caller fills in the rest of config. Starts nothing.
 * Returns 0, or -errno without a log.
 */
int rig_backend_init(struct rig_backend *backend, struct sim *sim, const struct devtype *type, const char *name);

/*
 * A blk device number index (0 and up; each has its own window and interrupt) with the image img, all else at the
 * defaults of virtio_cfg.json. Starts nothing. Returns 0, or -errno without a log.
 */
int rig_backend_blk(struct rig_backend *backend, struct sim *sim, const char *img, uint32_t index);

/*
 * Makes the device unless it is there, attaches, starts the process and waits until it is ready. Returns 0 or -errno
 * after a line on standard error; -ECHILD: it ended at once, and its log says why.
 */
int rig_backend_start(struct rig_backend *backend);

/* Ends the process with a signal and waits for it. Returns its wait status; -1 if it had to be killed after 10 s. */
int rig_backend_end(struct rig_backend *backend, int signal);

/* Waits until the process ends by itself, at most timeout_ms: its wait status, or -1. */
int rig_backend_wait(struct rig_backend *backend, int timeout_ms);

/* What it logged so far, in text of size bytes, terminated. */
void rig_backend_log(const struct rig_backend *backend, char *text, size_t size);

/* Kills the process if it runs, and lets go of all but the device. */
void rig_backend_finish(struct rig_backend *backend);

/* The short way: RIG_ZONE must be there; rig_backend_blk() and rig_backend_start(). */
int rig_spawn_blk(struct rig_backend *backend, struct sim *sim, const char *img);

/*
 * The path of a program of this build: BUILD of the environment if it is absolute, or the folder above the running
 * program's. In path of size bytes; -errno if it is not there.
 */
int rig_program(const char *name, char *path, size_t size);

#endif
