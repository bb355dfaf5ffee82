/* SPDX-License-Identifier: MIT */
/* Starts a backend's process in its sandbox. */
#ifndef HVISOR_SPAWN_H
#define HVISOR_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

#include "common/backend_fds.h"
#include "errors.h"
#include "sandbox.h"

struct spawn_request {
	const struct sandbox *sandbox;
	uid_t uid;
	struct sandbox_limits limits;
	int program; /* statically linked; -1: exits with 0 instead, to try the sandbox */
	char *const *argv;
	int fd[BACKEND_FD_END]; /* fd[n] becomes descriptor n; -1 none; 0 and 1 stay free */
};

struct spawned {
	pid_t pid; /* 0: none */
	int pid_fd;
	int report_fd; /* what the child says if it fails before its program runs */
};

/*
 * Makes the process, with its ids, which waits until spawn_go() and exits if that never comes. Nothing of the request
 * is used up. 0 with out owned by the caller, or -1 with failure filled in.
 */
int spawn_start(const struct spawn_request *request, struct spawned *out, struct sandbox_failure *failure);

/* Lets it go on into the sandbox and its program. */
void spawn_go(struct spawned *child);

/* When the child has ended: 1 with failure filled in if it did not come to run its program, else 0. */
int spawn_failed(struct spawned *child, struct sandbox_failure *failure);

/* Closes what is open; the process is not touched. */
void spawn_forget(struct spawned *child);

/* "pivot_root (root folder): Operation not permitted" */
void spawn_failure_text(const struct sandbox_failure *failure, char *text, size_t size);

/*
 * Finds out which layers work here by trying them as they will be used, with uid as an example. The layers that do not
 * work are named in missing, each with what failed. 0, or -1 after errors_add() if not even a process can be made.
 */
int spawn_probe(struct sandbox *sandbox, uid_t uid, struct errors *missing);

#endif
