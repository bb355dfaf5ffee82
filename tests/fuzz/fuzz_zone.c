/* SPDX-License-Identifier: MIT */
/*
 * A zone file and its device tree: the input is a byte for the architecture, the file up to a zero, and the tree. What
 * is accepted keeps to the limits of zone_file.h and is laid out for both versions of hvisor's configuration.
 */
#include <stdlib.h>
#include <string.h>

#include "launcher/zone_dtb.h"
#include "launcher/zone_layout.h"
#include "tests/fuzz/input.h"

static void zone_check_accepted(const struct zone_file *zone)
{
	uint32_t i;

	INPUT_CHECK(memchr(zone->name, 0, sizeof(zone->name)) != NULL);
	INPUT_CHECK(zone->id > 0 && zone->cpus != 0);
	INPUT_CHECK(zone->nregions <= ZONE_REGIONS_MAX && zone->nivcs <= ZONE_IVCS_MAX);
	INPUT_CHECK(zone->nbuses <= ZONE_PCI_BUSES_MAX && zone->ndevices <= ZONE_PCI_DEVICES_MAX);
	for (i = 0; i < zone->nregions; i++) {
		const struct zone_region *region = &zone->region[i];

		INPUT_CHECK(region->size > 0);
		INPUT_CHECK(region->physical + region->size - 1 >= region->physical);
		INPUT_CHECK(region->virtual + region->size - 1 >= region->virtual);
	}
}

static void zone_lay_out(const struct zone_file *zone)
{
	static union zone_layout layout;
	struct errors errors;
	uint64_t version;

	for (version = 5; version <= 6; version++) {
		errors_init(&errors);
		INPUT_CHECK((zone_layout_fill(&layout, zone, version, &errors) == 0) == (errors.count > 0));
		errors_finish(&errors);
	}
}

/* In a block of its own, as a file's bytes are. */
static void zone_tree_check(struct zone_file *zone, const uint8_t *tree, size_t size)
{
	struct errors errors;

	zone->image[ZONE_DTB].data = malloc(size);
	INPUT_CHECK(size == 0 || zone->image[ZONE_DTB].data != NULL);
	memcpy(zone->image[ZONE_DTB].data, tree, size);
	zone->image[ZONE_DTB].size = size;
	errors_init(&errors);
	INPUT_CHECK(zone_dtb_check(zone, &errors) == errors.count);
	errors_finish(&errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct zone_file zone;
	struct errors errors;
	enum zone_arch arch;
	const uint8_t *end;
	size_t text;

	if (size == 0)
		return 0;
	arch = (enum zone_arch)(data[0] % ZONE_ARCHS);
	data++;
	size--;
	end = memchr(data, 0, size);
	text = end ? (size_t)(end - data) : size;
	errors_init(&errors);
	if (zone_file_read(&zone, input_file(data, text), arch, &errors) == 0) {
		INPUT_CHECK(errors.count == 0);
		zone_check_accepted(&zone);
		zone_lay_out(&zone);
		if (end && text + 1 < size)
			zone_tree_check(&zone, data + text + 1, size - text - 1);
		zone_file_finish(&zone);
	} else {
		INPUT_CHECK(errors.count > 0);
	}
	errors_finish(&errors);
	return 0;
}
