/* SPDX-License-Identifier: MIT */
/* Zones started, stopped and listed: what the command hvisor does. */
#ifndef HVISOR_ZONE_H
#define HVISOR_ZONE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "errors.h"
#include "hv.h"
#include "zone_file.h"

struct zone_start_options {
	const char *path; /* of the zone file */
	const char *virtio; /* of the file of its devices, NULL: it is not looked at */
	enum zone_arch arch; /* hvisor's */
};

/*
 * Reads and checks the zone file and all that it names. Returns 0, and zone_file_finish() frees zone; or -1 with lines
 * in errors and nothing to free. What is only suspicious goes to notes.
 */
int zone_prepare(struct zone_file *zone, const struct zone_start_options *options, struct errors *errors,
		 struct errors *notes);

/*
 * Does hvisor have a place for all that the zone file asks for, and is none of the zone's memory root's own? Whether
 * the zone or its CPUs are in use is not looked at. Returns 0, or -1 with lines in errors.
 */
int zone_check(struct hv *hv, const struct zone_file *zone, struct errors *errors);

/* Loads what zone_prepare() has read, and starts the zone. Returns 0, or -1 with lines in errors. */
int zone_start(struct hv *hv, const struct zone_file *zone, struct errors *errors);

/* Resets the devices of the zone and stops it. Returns 0, or -1 with a line in errors. */
int zone_shutdown(struct hv *hv, uint32_t id, struct errors *errors);

/* Prints the zones that run: upstream's table, or JSON. Returns 0, or -1 with a line in errors. */
int zone_list(struct hv *hv, bool json, FILE *file, struct errors *errors);

#endif
