/* SPDX-License-Identifier: MIT */
/*
 * The watchdog of a device's backend: once a second it looks at the heartbeat in the queue region and at what the
 * kernel says of the process. It never wakes a backend, and it does not trust one: a backend that says that it sleeps
 * and does not is seen as well. One that could run and gets no processor does not stand still: another one would not
 * get it either.
 */
#ifndef HVISOR_WATCHDOG_H
#define HVISOR_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop.h"

struct device;

enum watchdog_action {
	WATCHDOG_RESTART, /* kill the backend; what comes next is as after any other end */
	WATCHDOG_REPORT, /* log it, show it in the status, leave it alone */
};

struct watchdog {
	struct loop_timer timer;
	uint64_t heartbeat; /* when it was last looked at */
	uint64_t ran_ns; /* processor time that the process had had at the last look that counted */
	uint32_t still_s; /* for how many looks in a row the backend has stood still; 0: it serves, or rests */
	uint64_t hangs; /* how often it stood still for the limit */
};

/* What is seen of a backend at a time. */
struct watchdog_look {
	char state; /* of the process, proc(5): R, S, D, T, t; Z or 0: it is gone */
	pid_t tracer; /* 0: none */
	uint64_t ran_ns; /* processor time so far */
	uint64_t heartbeat;
	bool sleeping; /* it has said that it goes to sleep */
};

/* Takes the next look into account: sets still_s. */
void watchdog_count(struct watchdog *watchdog, const struct watchdog_look *look);

/* Begins to watch a backend that serves, if the configuration has a limit; stops. */
void watchdog_start(struct device *device);
void watchdog_stop(struct device *device);

/* Has the backend stood still for its limit, and does so still? */
bool watchdog_hangs(const struct device *device);

#endif
