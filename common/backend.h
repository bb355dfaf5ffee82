/* SPDX-License-Identifier: MIT */
/*
 * What all backends share: arguments, memory, the narrowing of the own process, and the main loop with its adaptive
 * polling, sleep, quiescence and recovery. A backend is single-threaded and allocates nothing once it serves.
 *
 * A backend is started as
 *	hvisor-TYPE name=blk0 region=OFFSET,SIZE memory=GPA,SIZE,OFFSET[;...] log_level=N [KEY=VALUE ...]
 * with the descriptors of backend_fds.h. Keys which this file does not know go to the device type. policy=none, for
 * tests, leaves out the narrowing of confine.h; without it there must be a POLICY. log_level= holds until the device is
 * served; from then on it is region.control that says.
 */
#ifndef HVISOR_BACKEND_H
#define HVISOR_BACKEND_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend_fds.h"
#include "gmem.h"
#include "log.h"
#include "region.h"
#include "virtqueue.h"

#define BACKEND_POLLFDS_MAX 24

/* Exit codes, for the launcher: a configuration error is not worth a restart. */
enum backend_exit {
	BACKEND_EXIT_STOPPED = 0, /* SIGTERM */
	BACKEND_EXIT_FAILED = 1,
	BACKEND_EXIT_CONFIG = 2,
};

struct backend;

struct backend_ops {
	uint32_t device_id; /* virtio 1.2, chapter 5 */

	/* One KEY=VALUE of the command line. 0, or -EINVAL: unknown key or bad value. */
	int (*option)(struct backend *b, const char *key, const char *value);

	/*
	 * After memory is mapped and before the process is narrowed: the last chance for calls that the policy
	 * forbids. 0, or -errno after a line in the log.
	 */
	int (*start)(struct backend *b);

	/*
	 * A queue became ready (b->vq[q] is open), or was taken over from a predecessor; after driver_ok().
	 * NULL: nothing to do.
	 */
	void (*queue_start)(struct backend *b, uint32_t q);

	/*
	 * Handles what waits on the queues of ready_queues and on the device's own side, pushes and publishes what is
	 * done, and interrupts with backend_interrupt(). True if it did anything. Never blocks for long: it handles a
	 * bounded batch and is called again. Not called while no queue is ready or the device is broken.
	 */
	bool (*run)(struct backend *b);

	/*
	 * Returns once nothing of the device touches the memory of the queues in the mask (bit n: queue n); their
	 * chains in flight are forgotten. The queues are closed afterwards. Before SIGTERM ends the process, what was
	 * pushed meanwhile is published, so a device pushes what it can complete here; the rest is left to the
	 * successor by the journal.
	 */
	void (*quiesce)(struct backend *b, uint64_t queues);

	/* The device was reset (status 0); its queues are quiet. NULL: nothing to do. */
	void (*reset)(struct backend *b);

	/* The driver accepted features and said DRIVER_OK (also at a take-over). NULL: nothing to do. */
	void (*driver_ok)(struct backend *b);

	/* The driver wrote config; the launcher changed control. NULL: nothing to do. */
	void (*config)(struct backend *b);
	void (*control)(struct backend *b);

	/*
	 * Before sleep: the device's own descriptors to wait for (n of at most BACKEND_POLLFDS_MAX - 1 in fds), and
	 * true if it must not sleep after all. Called at each look of the polling too, so it makes no system call.
	 * Not called while no queue is ready, unless there is polled(). NULL: none.
	 */
	bool (*prepare_sleep)(struct backend *b, struct pollfd *fds, uint32_t *n);

	/*
	 * At least one of those n descriptors has revents. Where run() is not to be called it has to deal with it.
	 * NULL: run() finds out.
	 */
	void (*polled)(struct backend *b, const struct pollfd *fds, uint32_t n);

	/* Only a system call tells whether those descriptors are ready: the polling makes one at intervals. */
	bool poll_fds;
};

/* The main loop's own. */
struct backend_loop {
	uint64_t signals_ns; /* when SIGTERM could last come in */
	uint64_t poll_ns; /* the adaptive bound of the polling */
	struct log_gate break_gate;
};

struct backend {
	const struct backend_ops *ops;
	void *device; /* of the device type */
	char name[32];
	struct queue_region *region;
	struct region_shape shape; /* private copy */
	struct gmem mem;
	uint64_t features; /* accepted by the driver; private copy, 0 before FEATURES_OK */
	uint32_t status; /* private copy */
	bool broken; /* the device needs a reset: no queue is served */
	uint64_t ready_queues; /* bit n: vq[n] is open */
	/*
	 * Bit n: a chain that waits in queue n is no work by itself, and the driver need not notify; as with buffers
	 * to receive into, while nothing comes. The device's to set and clear. All others must be empty before sleep.
	 */
	uint64_t passive_queues;
	/*
	 * CLOCK_MONOTONIC: when run() is to be called although nothing happened; 0: never. The device's to set and
	 * clear; a time that has come and is not cleared by run() keeps the backend awake.
	 */
	uint64_t wake_ns;
	uint32_t epoch[REGION_QUEUES_MAX];
	struct virtq vq[REGION_QUEUES_MAX];
	uint64_t now_ns; /* CLOCK_MONOTONIC, as of this turn of the loop; before the first, of start() */
	struct backend_loop loop;
};

/* The whole life of a backend; returns its exit code. b->ops and b->device are set. */
int backend_main(struct backend *b, int argc, char **argv);

/* The counters of the region have one writer: this process. */
static inline void backend_count(core_u64 *counter, uint64_t n)
{
	core_store_shown(counter, core_load(counter) + n);
}

/* run() is to be called at ns (CLOCK_MONOTONIC) too, if not before; 0: at no time. */
static inline void backend_wake_at(struct backend *b, uint64_t ns)
{
	if (ns && (!b->wake_ns || ns < b->wake_ns))
		b->wake_ns = ns;
}

/* Shows the driver what was pushed to the queues of the mask (bit n: queue n), which is 0 then; one interrupt at most.
 */
void backend_publish(struct backend *b, uint64_t *queues);

/* The configuration space as the driver reads it: REGION_CONFIG_MAX bytes. */
const uint8_t *backend_config(const struct backend *b);

/* Changes len bytes of it at offset. False: they were so already. Raises no interrupt. */
bool backend_config_set(struct backend *b, uint32_t offset, const void *bytes, uint32_t len);

/* Raises REGION_INT_USED or REGION_INT_CONFIG; no system call if the driver has yet to see an earlier one. */
void backend_interrupt(struct backend *b, uint32_t bits);

/* The driver broke the rules: DEVICE_NEEDS_RESET, one line in the log; no queue is served until the reset. */
void backend_break(struct backend *b, uint32_t q, const char *why);

/* Numbers of the command line: decimal or 0x; -EINVAL unless all of text is one in [min, max]. */
int backend_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);

#endif
