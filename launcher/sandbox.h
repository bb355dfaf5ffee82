/* SPDX-License-Identifier: MIT */
/*
 * The layers between a backend and the rest of the machine. The launcher builds all but the last two before it
 * executes the backend's program; Landlock and seccomp the backend puts on itself (common/confine.h), because what it
 * does at its start needs more than what it does afterwards.
 */
#ifndef HVISOR_SANDBOX_H
#define HVISOR_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum sandbox_layer {
	SANDBOX_USER, /* namespaces */
	SANDBOX_PID,
	SANDBOX_MOUNT,
	SANDBOX_NET,
	SANDBOX_IPC,
	SANDBOX_UTS,
	SANDBOX_CGROUP,
	SANDBOX_NESTING, /* no user namespace within, which would give back capabilities there */
	SANDBOX_ROOT, /* an empty read-only root folder */
	SANDBOX_UID, /* a user and a group of its own */
	SANDBOX_CAPABILITIES, /* none, in no set */
	SANDBOX_RLIMITS,
	SANDBOX_NO_NEW_PRIVS,
	SANDBOX_LANDLOCK,
	SANDBOX_SECCOMP,
	SANDBOX_LAYERS,
};

struct sandbox {
	bool have[SANDBOX_LAYERS];
};

/* The most that a backend can be: the kernel's own worker threads of an io_uring count as processes of the user. */
#define SANDBOX_PROCESSES_MAX 64u

/* What a backend may use up. */
struct sandbox_limits {
	uint64_t memory; /* bytes of shared memory that it maps */
	uint64_t fsize; /* RLIMIT_FSIZE */
	uint32_t files; /* RLIMIT_NOFILE: one more than its highest descriptor */
};

/* Which step of which layer failed. */
struct sandbox_failure {
	int32_t layer; /* enum sandbox_layer, or -1: a step of no layer */
	int32_t error; /* errno; 0: the step says it all */
	char step[32]; /* "pivot_root" */
};

/* "user namespace", "root folder", "Landlock" */
const char *sandbox_layer_name(enum sandbox_layer layer);

/* Flags for clone3() that make the namespaces which the sandbox has. */
uint64_t sandbox_clone_flags(const struct sandbox *sandbox);

/*
 * By the parent: gives the new child its ids, before sandbox_enter(). The user and group uid if the sandbox has
 * SANDBOX_UID, else those of the caller. 0, or -1 with failure filled in.
 */
int sandbox_map_ids(const struct sandbox *sandbox, pid_t child, uid_t uid, struct sandbox_failure *failure);

/*
 * By the child, single-threaded: enters every layer that the sandbox has and that is not the backend's own. Afterwards
 * nothing of the file system can be reached and no privilege is left. 0, or -1 with failure filled in; then the caller
 * is to exit.
 */
int sandbox_enter(const struct sandbox *sandbox, uid_t uid, const struct sandbox_limits *limits,
		  struct sandbox_failure *failure);

/* Which of the layers that the backend puts on itself this kernel knows; the others are left as they are. */
void sandbox_probe_backend_layers(struct sandbox *sandbox);

#endif
