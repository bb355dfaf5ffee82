/* SPDX-License-Identifier: MIT */
/*
 * Control groups (cgroup v2) for backends, one each: how much of root's processors, memory and processes a backend can
 * take. All of them are in one folder that is the launcher's own and that weighs as much as one process or service of
 * root's; they outlive the launcher as the backends do. Where they cannot be had, the resource limits of the sandbox
 * hold alone.
 */
#ifndef HVISOR_CGROUP_H
#define HVISOR_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "errors.h"

#define CGROUP_NONE "none" /* in place of a folder */

enum cgroup_controller {
	CGROUP_CPU,
	CGROUP_MEMORY,
	CGROUP_PIDS,
	CGROUP_CONTROLLERS,
};

struct cgroups {
	const char *folder; /* absolute, not copied */
	int fd; /* of the folder; -1: there are no groups */
	bool have[CGROUP_CONTROLLERS];
};

/*
 * Makes the folder, if it is not there, in a cgroup v2 file system, and gives it the controllers that can be had. What
 * cannot be had is named in missing. cgroups_close() is due whatever comes of it; CGROUP_NONE is no error.
 */
void cgroups_open(struct cgroups *cgroups, const char *folder, struct errors *missing);

/* Leaves the groups as they are. */
void cgroups_close(struct cgroups *cgroups);

/* Adds a line for each limit of the configuration that no group will hold. */
void cgroups_check(const struct cgroups *cgroups, const struct config *config, struct errors *errors);

/*
 * Makes the group of a device, if it is not there, sets its limits as the configuration has them now, and puts the
 * process pid into it. What fails is added to errors, and the rest is done all the same. True: the process is in it.
 * cpu_max_percent holds from cgroup_limit_cpu() on: a backend has to begin in time, which can take more.
 */
bool cgroup_enter(const struct cgroups *cgroups, const struct config_device *device, pid_t pid, struct errors *errors);

/* The backend serves. */
void cgroup_limit_cpu(const struct cgroups *cgroups, const struct config_device *device, struct errors *errors);

/* How many processes of the group were killed for want of memory, since the group was made; 0 if that is not known. */
uint64_t cgroup_oom_kills(const struct cgroups *cgroups, const char *name);

/* Removes the groups of all devices but the n in keep; those with processes stay. */
void cgroups_release(const struct cgroups *cgroups, const struct config_device *const *keep, uint32_t n);

/* Removes the folder, unless there are groups in it; nothing can be put into groups after that. */
void cgroups_remove(const struct cgroups *cgroups);

#endif
