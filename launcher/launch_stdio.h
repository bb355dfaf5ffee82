/* SPDX-License-Identifier: MIT */
/* A console on the launcher's own terminal. */
#ifndef HVISOR_LAUNCH_STDIO_H
#define HVISOR_LAUNCH_STDIO_H

#include <sys/types.h>

#include "config.h"
#include "errors.h"
#include "launch.h"
#include "loop.h"

struct launch_stdio {
	pid_t pid; /* of the process attached to the console, 0 none */
	struct loop *loop;
	struct loop_source end; /* its end; handle is the owner's */
};

/* Can there be such a console, if the configuration has one? 0, or -1 after errors_add(). */
int launch_stdio_check(const struct config *config, bool daemonize, struct errors *errors);

/* Attaches the terminal, if the configuration has such a console and it is not attached yet. */
void launch_stdio_begin(struct launch_stdio *stdio, const struct launch_options *options, const struct config *config,
			struct loop *loop);

/* Detaches it; the terminal is as it was before. */
void launch_stdio_finish(struct launch_stdio *stdio);

#endif
