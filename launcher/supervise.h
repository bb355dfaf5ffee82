/* SPDX-License-Identifier: MIT */
/*
 * The devices and their backends: each device is in one of the states below, and what happens to it (somebody asks,
 * its backend gets ready or ends, time passes) is looked up in one table.
 */
#ifndef HVISOR_SUPERVISE_H
#define HVISOR_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>

#include "cgroup.h"
#include "common/region.h"
#include "config.h"
#include "devtype.h"
#include "hv.h"
#include "launch.h"
#include "logfile.h"
#include "logpipe.h"
#include "loop.h"
#include "rundir.h"
#include "sandbox.h"
#include "spawn.h"
#include "watchdog.h"

enum device_state {
	DEVICE_STOPPED,
	DEVICE_STARTING,
	DEVICE_RUNNING,
	DEVICE_WAITING,
	DEVICE_STOPPING,
	DEVICE_FAILED,
	DEVICE_STATES,
};

/* What is asked of a device from outside. */
enum device_request {
	DEVICE_START, /* nothing to do if it runs */
	DEVICE_STOP,
	DEVICE_RESTART, /* starts a stopped one */
};

/* What all devices of one type are served with, read when the launcher starts. */
struct device_program {
	const struct devtype *type;
	int fd;
	int policy; /* memfd of the seccomp program, -1 if the sandbox has no seccomp */
};

struct supervisor;
struct console_watch;

struct device {
	struct supervisor *supervisor;
	const struct config_device *config;
	const struct device_program *program;
	enum device_state state;
	char reason[256]; /* why it does not run: the last failure */
	char last_exit[64]; /* "" while none has ended */
	struct logfile log;
	struct logpipe pipe;
	enum log_level log_level;

	/* In hvisor; id and view are valid once it is made. */
	bool made;
	uint32_t id;
	struct queue_region *view; /* the launcher's mapping of the region: control is ours, the rest only shown */
	uint32_t view_size;

	/* The process, while there is one. */
	struct spawned child;
	bool adopted; /* not our child: how it ends is not known */
	uint32_t uid; /* 0: none given yet */
	bool grouped; /* it is in the cgroup of its device */
	uint64_t oom_kills; /* of that cgroup, before it */
	uint64_t began_ns;
	uint64_t ready_ns; /* 0: not ready yet */
	struct loop_source exit;
	struct loop_source ready;
	struct devtype_kept kept;
	struct console_watch *console; /* of a console: launcher/console_watch.c */

	/* Supervision. */
	struct loop_timer timer; /* of the state: start, stop and back-off */
	struct watchdog watchdog;
	bool again; /* while it is stopping: start anew afterwards */
	uint64_t restarts; /* after it ended by itself */
	uint32_t ends_in_row; /* since it last served well */
	uint64_t *ends; /* when the last of them were, [config->restart.limit], oldest at next_end */
	uint32_t next_end;
	uint64_t busy_since_ns; /* waiting for what the last backend left to be gone; 0: not */
	uint32_t busy_ms;
};

struct supervisor {
	const struct launch_options *options;
	struct config *config;
	struct loop *loop;
	struct hv *hv;
	struct rundir *run;
	struct logfile *log; /* of the launcher */
	struct sandbox sandbox;
	struct cgroups cgroups;
	struct errors missing; /* a line for each layer that the sandbox lacks */
	uint32_t ndevices;
	struct device *device;
	uint32_t nprograms;
	struct device_program program[8];
	bool ending; /* nothing is started any more */
	/* Called after each change of a device's state. */
	void (*changed)(struct supervisor *supervisor, void *arg);
	void *changed_arg;
};

/*
 * Reads programs and policies, makes the zones and devices and adopts the backends that serve already; starts nothing.
 * The fields up to missing are set. A device that cannot be made does not stop the others. 0, or -1 after
 * errors_add(); supervisor_finish() is due in both cases.
 */
int supervisor_init(struct supervisor *supervisor, struct errors *errors);

/* Lets go of everything; backends that run go on. */
void supervisor_finish(struct supervisor *supervisor);

/* Starts every device that has no backend. */
void supervisor_start(struct supervisor *supervisor);

/* Makes a device that is stopped ready to be supervised: before any of the following. */
void device_supervise(struct device *device);

/*
 * A process that device_adopt() found: serves on if it is known to be one that a launcher of this run folder started,
 * else is replaced.
 */
void device_take_over(struct device *device, bool known);

/* Ignored if it is to start something while everything ends. */
void device_request(struct device *device, enum device_request request);

/* Will the state last, until something happens by itself? While it starts, stops or is about to, it will not. */
bool device_settled(const struct device *device);

/*
 * Takes back what was made in root for devices that are stopped or in the configuration no more; once
 * supervisor->ending is set, for all.
 */
void supervisor_release(struct supervisor *supervisor);

/* An event of hvisor. */
void supervisor_event(struct supervisor *supervisor, const struct hvisor_event_next *event);

struct device *supervisor_find(struct supervisor *supervisor, const char *name);

/*
 * Takes the link of a net device down or up, now and for the backends to come. 0, or -1 after errors_add().
 */
int device_set_link(struct device *device, bool up, struct errors *errors);

/* What the link was set to. */
bool device_link_up(const struct device *device);

/* Does the guest of a net device that is made find its link so? */
bool device_link_seen(const struct device *device);

/* CONTROL_STATE_* */
const char *device_state_name(enum device_state state);

/* Sets what the backend logs, now and after every restart. 0 or -errno. */
int device_set_log_level(struct device *device, enum log_level level);

/*
 * The backing has another size: tells the backend, and through it the guest. *capacity is then the size in bytes. 0, or
 * -1 after errors_add().
 */
int device_resize(struct device *device, uint64_t *capacity, struct errors *errors);

#endif
