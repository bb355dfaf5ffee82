/* SPDX-License-Identifier: MIT */
/* What the files zone_*.c share while a zone file is read. Nobody else includes this. */
#ifndef HVISOR_ZONE_READER_H
#define HVISOR_ZONE_READER_H

#include "config_reader.h"
#include "zone_file.h"

/* The key "arch_config", whose keys are those of zone->arch; out is the struct zone_file. */
config_read_key zone_read_arch_config;

/* The keys "pci_config" and "alloc_pci_devs"; out is the struct zone_file. */
config_read_key zone_read_pci_config;
config_read_key zone_read_pci_devices;

/* The keys that arch_config must have, and what they say together. */
void zone_check_arch_config(struct config_reader *reader, const struct zone_file *zone, const cJSON *root);

/* What concerns more than one key: regions, load addresses, the entry point. */
void zone_check_file(struct config_reader *reader, const struct zone_file *zone);

#endif
