/* SPDX-License-Identifier: MIT */
/* The launcher at work: makes the devices, starts a backend for each and watches them until it is told to stop. */
#ifndef HVISOR_LAUNCH_H
#define HVISOR_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

#define LAUNCH_HV "/dev/hvisor"
#define LAUNCH_RUN_DIR "/run/hvisor-launch"
#define LAUNCH_LOG_DIR "/var/log/hvisor-launch"
#define LAUNCH_CGROUP "/sys/fs/cgroup/hvisor-launch"

/*
 * The first of HVISOR_DEVICES_MAX user and group ids, one a device: above those that systemd gives to containers and
 * below 2^31, where no account is.
 */
#define LAUNCH_UID_BASE 0x70000000u

/* Exit codes of hvisor-launch. */
enum launch_exit {
	LAUNCH_EXIT_OK = 0,
	LAUNCH_EXIT_FAILED = 1,
	LAUNCH_EXIT_USAGE = 2, /* wrong options, or a wrong configuration */
};

enum launch_seccomp {
	LAUNCH_SECCOMP_ENFORCE,
	LAUNCH_SECCOMP_LOG, /* a forbidden call is logged by the kernel and let through: for writing policies */
};

/* All strings are set, all folders are absolute, and none of them has been looked at yet. */
struct launch_options {
	const char *hv; /* "/dev/hvisor" or "sim:PATH" */
	const char *run_dir; /* holds the lock, the control socket and the state; made if it is not there */
	const char *log_dir; /* NAME.log of each device and launcher.log of a daemon; made if it is not there */
	const char *program_dir; /* holds hvisor-blk */
	const char *policy_dir; /* holds hvisor-blk.policy */
	const char *cgroup; /* the folder of the backends' cgroups, made if it is not there; or CGROUP_NONE */
	enum launch_seccomp seccomp;
	bool daemonize;
	bool verbose; /* the launcher's own messages: LOG_DEBUG instead of LOG_INFO */
	uint32_t uid_base;
};

/*
 * Serves the devices of config until a signal or the control socket ends it; returns the exit code. With daemonize it
 * returns in the calling process once every device is served or failed (the exit code says which), and the work goes
 * on in a process of its own, with config->path and the folders as they are. Complaints go to standard error, to
 * launcher.log once it is a daemon.
 */
int launch_main(const struct launch_options *options, struct config *config);

#endif
