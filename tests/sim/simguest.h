/* SPDX-License-Identifier: MIT */
/* The two halves of simguest: simguest.c has the board and the options, simguest_commands.c what is done with the disk.
 */
#ifndef HVISOR_SIMGUEST_H
#define HVISOR_SIMGUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/guest_blk.h"

struct simguest {
	struct sim sim;
	struct guest guest;
	struct hvisor_device_add device; /* the disk */
	struct guest_blk blk;
	bool open;
	/* Options */
	const char *socket;
	struct hvisor_memory memory;
	uint32_t zone;
	uint64_t base; /* 0: the first disk of the zone */
	uint32_t wait_s; /* 0: for ever */
};

/* One line of words with blanks between them, which is changed: 0 done, -1 after a complaint, 1 "quit". */
int simguest_run_line(struct simguest *g, char *line);

/* Lets go of the disk, if a command has taken it up. */
void simguest_close_disk(struct simguest *g);

/* A line on standard error; returns -1. */
int simguest_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number up to max, decimal or 0x; -1 after a complaint. */
int simguest_number(const char *text, uint64_t max, uint64_t *out);

#endif
