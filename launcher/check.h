/* SPDX-License-Identifier: MIT */
/* hvisor-launch --check: what would run. */
#ifndef HVISOR_CHECK_H
#define HVISOR_CHECK_H

#include <stdbool.h>
#include <stdio.h>

#include "config.h"
#include "launch.h"

/*
 * Prints to file what launch_main() would do with config, for people or as JSON, and looks whether the programs and
 * policies are there. Changes nothing. Returns LAUNCH_EXIT_OK, or LAUNCH_EXIT_FAILED after lines in errors.
 */
int check_print(const struct launch_options *options, const struct config *config, bool json, FILE *file,
		struct errors *errors);

/* The configuration was refused: the same in JSON, {"ok":false,"errors":[...]}. */
void check_print_errors(const struct errors *errors, FILE *file);

#endif
