/* SPDX-License-Identifier: MIT */
/*
 * The whole system for a test: a folder, images, a virtio_cfg.json, the simulator, and the real hvisor-launch with
 * the real backends, confined as they are at a user's. Failures end the test; so its processes are ended whatever
 * happens (test_main() does the last of it).
 */
#ifndef HVISOR_RIG_H
#define HVISOR_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/sim/guest_blk.h"
#include "tests/sim/rig_backend.h"
#include "tests/sim/scratch.h"

#define RIG_ARGUMENTS_MAX 32

struct rig {
	struct sim sim;
	struct guest guest; /* zone RIG_ZONE */
	const char *dir; /* absolute; the working folder of the test, removed at its end */
	char hv[300]; /* "sim:DIR/sim.sock" */
	char run_dir[300];
	char log_dir[300];
	char config[300]; /* DIR/virtio_cfg.json */
	char errors[300]; /* DIR/launcher.err: what the launcher said that was started last */
	pid_t launcher; /* 0: does not run */
	int launcher_fd; /* pidfd */
};

/* A blk device of the configuration: blk0, blk1, ... in their order, each with a window and an interrupt of its own. */
struct rig_disk {
	const char *img; /* NULL: diskN.img, made with size bytes if it is not there */
	uint64_t size;
	const char *keys; /* further keys: "\"readonly\": true"; or NULL */
};

/* A folder and a simulator with zone RIG_ZONE of mebibytes of memory at RIG_RAM. */
void rig_init(struct rig *rig, uint32_t mebibytes);

/* Stops the launcher and its backends, and the simulator. */
void rig_finish(struct rig *rig);

/*
 * Writes virtio_cfg.json: n devices in zone RIG_ZONE, of which each is given as its keys but for its window and its
 * interrupt: "\"type\": \"rng\"".
 */
void rig_config(struct rig *rig, const char *const *device, uint32_t n);

/* Writes virtio_cfg.json: n disks in zone RIG_ZONE, and further keys of the file's outermost object, or NULL. */
void rig_config_disks(struct rig *rig, const struct rig_disk *disk, uint32_t n, const char *keys);

/* Where the device of a disk is, for guest_blk_open(). */
uint64_t rig_base(uint32_t index);
uint32_t rig_irq(uint32_t index);

/* Starts hvisor-launch in the foreground on virtio_cfg.json, with options before the file, up to a NULL. */
void rig_launch(struct rig *rig, ...) __attribute__((sentinel));

/* rig_launch() without options of a launcher that waits, before its program runs, for calls_attach_child(). */
void rig_launch_traced(struct rig *rig);

/* Waits until the launcher answers its control socket. */
void rig_await_launcher(struct rig *rig);

/* rig_launch() without options, then waits until the n disks are served. */
void rig_serve(struct rig *rig, uint32_t n);

/* Waits until the device was served by starts backends in all, the last of them now. starts 1 is the first time. */
void rig_await_starts(struct rig *rig, const char *name, uint32_t starts);

/* What the device's backends counted in its region, zeroes before the launcher made it. */
void rig_counters(struct rig *rig, const char *name, struct region_device *counters);

/* Waits until the device's backend has slept for 100 ms. */
void rig_await_rest(struct rig *rig, const char *name);

/* How often a backend began to serve the device, 0 before the launcher made it. */
uint32_t rig_starts(struct rig *rig, const char *name);

/* The state of a device as the module knows it; false if there is no such device. */
bool rig_device(struct rig *rig, const char *name, struct hvisor_device_get *get);

/* The backend's process, as this process sees it; 0 if there is none. */
pid_t rig_pid(struct rig *rig, const char *name);

/* SIGKILL for the device's backend, of which there must be one; returns when it is gone. */
void rig_kill(struct rig *rig, const char *name);

/*
 * Runs hvisor-launch with these arguments up to a NULL, and the run folder given; out of size bytes gets what it
 * printed on both outputs. Returns its exit code. out may be NULL.
 */
int rig_launcher(struct rig *rig, char *out, size_t size, ...) __attribute__((sentinel));

/* The same, which has to succeed; out is an array. */
#define RIG_ASK(rig, out, ...)                                                                                         \
	do {                                                                                                           \
		if (rig_launcher(rig, out, sizeof(out), __VA_ARGS__, NULL) != 0)                                       \
			TEST_FAIL("%s", out);                                                                          \
	} while (0)

/* The same, which has to fail and to say text. */
#define RIG_REFUSED(rig, out, text, ...)                                                                               \
	do {                                                                                                           \
		CHECK_INT(rig_launcher(rig, out, sizeof(out), __VA_ARGS__, NULL), 1);                                  \
		CHECK_HAS(out, text);                                                                                  \
	} while (0)

/* Waits for the launcher, which ends (at most 30 s). Returns its wait status. */
int rig_await_end(struct rig *rig);

/* Ends the launcher with a signal and waits for it. */
int rig_end_launcher(struct rig *rig, int signal);

/* Shows the end of a file on standard error, as below, since the test fails now. */
void rig_show(struct rig *rig, const char *file);

/* Waits until text is in the file (a path, or a name in the log folder such as "blk0.log"), at most 10 s. */
void rig_await_text(struct rig *rig, const char *file, const char *text);

#endif
