/* SPDX-License-Identifier: MIT */
/* The command line of hvisor-launch (docs/hvisor-launch.8). */
#ifndef HVISOR_OPTIONS_H
#define HVISOR_OPTIONS_H

#include <stdbool.h>

#include "errors.h"
#include "launch.h"

enum options_action {
	OPTIONS_RUN,
	OPTIONS_CHECK,
	OPTIONS_STATUS,
	OPTIONS_RESTART,
	OPTIONS_STOP,
	OPTIONS_START,
	OPTIONS_LOGS,
	OPTIONS_LOG_LEVEL,
	OPTIONS_RESIZE,
	OPTIONS_LINK,
	OPTIONS_CONSOLE,
	OPTIONS_HELP,
	OPTIONS_VERSION,
};

#define OPTIONS_ESCAPE 0x1d /* Ctrl-] */

struct options {
	enum options_action action;
	struct launch_options launch;
	const char *config; /* of OPTIONS_RUN and OPTIONS_CHECK */
	const char *name; /* the device; NULL: not given, allowed for OPTIONS_STATUS and OPTIONS_STOP */
	const char *level; /* of OPTIONS_LOG_LEVEL */
	const char *link; /* of OPTIONS_LINK: CONTROL_LINK_* */
	int escape; /* of OPTIONS_CONSOLE: the byte that ends it, -1 none */
	bool json;
	bool follow;
	char *owned[6]; /* strings that launch points to */
};

/*
 * Reads the command line. Returns 0 and fills options, which options_finish() frees and which points into argv; or -1
 * with at least one line in errors and nothing to free.
 */
int options_parse(struct options *options, int argc, char **argv, struct errors *errors);
void options_finish(struct options *options);

void options_print_help(FILE *file);

#endif
