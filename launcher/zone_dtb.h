/* SPDX-License-Identifier: MIT */
/* A zone's device tree against its zone file, and both against the file of its virtio devices. */
#ifndef HVISOR_ZONE_DTB_H
#define HVISOR_ZONE_DTB_H

#include "config.h"
#include "zone_file.h"

/*
 * Checks the tree of zone, which zone_images_read() has read, if it has one: its form, its memory nodes against the
 * RAM, and its virtio,mmio nodes against the virtio regions and the interrupts. Returns how many lines errors has got.
 */
size_t zone_dtb_check(const struct zone_file *zone, struct errors *errors);

/*
 * Checks the windows, interrupts and memory of zone in virtio (config_read()) against the zone file, and against the
 * tree if there is one. Lines that are only suspicious go to notes. Returns how many lines errors has got.
 */
size_t zone_virtio_check(const struct zone_file *zone, const struct config *virtio, struct errors *errors,
			 struct errors *notes);

#endif
