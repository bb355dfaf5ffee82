/* SPDX-License-Identifier: MIT */
/*
 * Who floods a network device: a process that sends all that the guest and the host can. It is one of its own, in its
 * own session, so that what the scheduler gives it is not counted to the driver of another device.
 */
#ifndef HVISOR_BENCH_FLOOD_H
#define HVISOR_BENCH_FLOOD_H

#include "net_load.h"
#include "tests/sim/rig.h"

struct flood {
	struct rig *rig; /* the caller's to set, all down to from_host */
	const char *name; /* of the device */
	struct guest_net *net; /* its driver, which polls, with all receive buffers given to the device */
	int sender; /* to its tap, of tap_sender_open() */
	const struct tap_frame *from_guest;
	const struct tap_frame *from_host;
	int cpu;
	struct sim_device *device;
	int control; /* to the process */
	pid_t pid;
};

/* Starts the process, which has the driver's queues from now on. 0 or -errno with nothing started. */
int flood_init(struct flood *flood);

/* Ends the process. The driver may only be closed then. */
void flood_finish(struct flood *flood);

/* Begins to flood; returns once frames went through both ways. 0, or -ETIMEDOUT if none did in 10 s. */
int flood_begin(struct flood *flood);

/* Ends it, with no frame under way in the device. 0, or -ETIMEDOUT if it does not take those of the guest. */
int flood_end(struct flood *flood);

/* How many frames the device has passed on so far, both ways together. */
uint64_t flood_frames(struct flood *flood);

#endif
