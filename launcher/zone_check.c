/* SPDX-License-Identifier: MIT */
/* What concerns more than one key of the zone file: regions, load addresses, the entry point. */
#include <stdio.h>
#include <string.h>

#include "zone_reader.h"

#define LOONGARCH_PHYSICAL ((1ull << 48) - 1)

uint64_t zone_region_virtual(const struct zone_region *region)
{
	return region->type == ZONE_VIRTIO ? region->physical : region->virtual;
}

bool zone_ram_physical(const struct zone_file *zone, uint64_t physical, uint64_t size, uint64_t *virtual)
{
	const uint64_t first = physical;
	uint64_t delta = 0;
	uint32_t i = 0;

	if (size == 0 || physical + (size - 1) < physical)
		return false;
	/* From region to region, as long as the next one goes on where the zone sees it too. */
	while (i < zone->nregions) {
		const struct zone_region *region = &zone->region[i++];
		uint64_t left;

		if (region->type != ZONE_RAM || !region->size || physical < region->physical ||
		    physical - region->physical >= region->size)
			continue;
		if (physical == first)
			delta = region->virtual - region->physical;
		else if (region->virtual - region->physical != delta)
			return false;
		left = region->size - (physical - region->physical);
		if (left >= size) {
			if (virtual)
				*virtual = first + delta;
			return true;
		}
		physical += left;
		size -= left;
		i = 0;
	}
	return false;
}

bool zone_ram_virtual(const struct zone_file *zone, uint64_t virtual, uint64_t size)
{
	uint32_t i = 0;

	if (size == 0 || virtual + (size - 1) < virtual)
		return false;
	while (i < zone->nregions) {
		const struct zone_region *region = &zone->region[i++];
		uint64_t left;

		if (region->type != ZONE_RAM || !region->size || virtual < region->virtual ||
		    virtual - region->virtual >= region->size)
			continue;
		left = region->size - (virtual - region->virtual);
		if (left >= size)
			return true;
		virtual += left;
		size -= left;
		i = 0;
	}
	return false;
}

const char *zone_image_key(char buffer[ZONE_KEY_MAX], uint32_t image)
{
	static const char *const key[] = {
		[ZONE_KERNEL] = "kernel_filepath",         [ZONE_DTB] = "dtb_filepath",
		[ZONE_BOOT] = "arch_config.boot_filepath", [ZONE_SETUP] = "arch_config.setup_filepath",
		[ZONE_CMDLINE] = "arch_config.cmdline",    [ZONE_INITRD] = "arch_config.initrd_filepath",
	};

	if (image < ZONE_MODULE)
		snprintf(buffer, ZONE_KEY_MAX, "%s", key[image]);
	else
		snprintf(buffer, ZONE_KEY_MAX, "modules[%u].filepath", image - ZONE_MODULE);
	return buffer;
}

const char *zone_image_load_key(char buffer[ZONE_KEY_MAX], uint32_t image)
{
	static const char *const key[] = {
		[ZONE_KERNEL] = "kernel_load_paddr",
		[ZONE_DTB] = "dtb_load_paddr",
		[ZONE_BOOT] = "arch_config.boot_load_paddr",
		[ZONE_SETUP] = "arch_config.setup_load_hpa",
		[ZONE_CMDLINE] = "arch_config.cmdline_load_hpa",
		[ZONE_INITRD] = "arch_config.initrd_load_hpa",
	};

	if (image < ZONE_MODULE)
		snprintf(buffer, ZONE_KEY_MAX, "%s", key[image]);
	else
		snprintf(buffer, ZONE_KEY_MAX, "modules[%u].load_paddr", image - ZONE_MODULE);
	return buffer;
}

/* Region n against region k, which comes before it. */
static void check_pair(struct config_reader *reader, const struct zone_file *zone, const char *place, uint32_t n,
		       uint32_t k)
{
	const struct zone_region *a = &zone->region[n];
	const struct zone_region *b = &zone->region[k];
	char mine[CONFIG_RANGE_MAX];
	char its[CONFIG_RANGE_MAX];

	/* hvisor gives a virtio window no memory; root's page behind it can be anything. */
	if (a->type != ZONE_VIRTIO && b->type != ZONE_VIRTIO && (a->type == ZONE_RAM || b->type == ZONE_RAM) &&
	    config_overlap(a->physical, a->size, b->physical, b->size))
		config_complain(reader, place, "physical_start",
				"%s overlaps %s of memory_regions[%u]; RAM is given to a zone once",
				config_range(mine, a->physical, a->size), config_range(its, b->physical, b->size), k);
	if (config_overlap(zone_region_virtual(a), a->size, zone_region_virtual(b), b->size))
		config_complain(reader, place, a->type == ZONE_VIRTIO ? "physical_start" : "virtual_start",
				"%s overlaps %s of memory_regions[%u]; an address of the zone has one meaning",
				config_range(mine, zone_region_virtual(a), a->size),
				config_range(its, zone_region_virtual(b), b->size), k);
}

static void check_regions(struct config_reader *reader, const struct zone_file *zone)
{
	char place[CONFIG_PLACE_MAX];
	uint32_t n;
	uint32_t k;

	for (n = 0; n < zone->nregions; n++) {
		const struct zone_region *region = &zone->region[n];

		if (!region->size)
			continue;
		config_place_of(place, "", "memory_regions", n);
		for (k = 0; k < n; k++) {
			if (zone->region[k].size)
				check_pair(reader, zone, place, n, k);
		}
	}
}

/* "0x50000000-0x7fffffff, ...": where the RAM is, by root's addresses or the zone's. */
static const char *list_ram(char *buffer, size_t size, const struct zone_file *zone, bool virtual)
{
	char range[CONFIG_RANGE_MAX];
	size_t at = 0;
	uint32_t i;

	snprintf(buffer, size, "none");
	for (i = 0; i < zone->nregions && at < size; i++) {
		const struct zone_region *region = &zone->region[i];

		if (region->type == ZONE_RAM && region->size)
			at += (size_t)snprintf(
				buffer + at, size - at, "%s%s", at ? ", " : "",
				config_range(range, virtual ? region->virtual : region->physical, region->size));
	}
	return buffer;
}

/* A region that is wrong has been complained about, and may be the one that is meant. */
static bool regions_known(const struct zone_file *zone)
{
	uint32_t i;

	for (i = 0; i < zone->nregions; i++) {
		if (!zone->region[i].size)
			return false;
	}
	return zone->nregions > 0;
}

static void check_image_virtual(struct config_reader *reader, const struct zone_file *zone, uint32_t i)
{
	const struct zone_image *image = &zone->image[i];
	char key[ZONE_KEY_MAX];
	uint64_t virtual;

	if (image->virtual == ZONE_NONE || !zone_ram_physical(zone, image->load, 1, &virtual) ||
	    virtual == image->virtual)
		return;
	config_complain(reader, "", zone_image_load_key(key, i),
			"is 0x%llx, which the zone sees at 0x%llx, but is told to look for at 0x%llx",
			(unsigned long long)image->load, (unsigned long long)virtual,
			(unsigned long long)image->virtual);
}

/* On loongarch64 a zone begins in a directly mapped window, whose number is in the highest bits. */
static uint64_t entry_physical(const struct zone_file *zone)
{
	return zone->arch == ZONE_LOONGARCH64 ? zone->entry_point & LOONGARCH_PHYSICAL : zone->entry_point;
}

static void check_addresses(struct config_reader *reader, const struct zone_file *zone)
{
	char key[ZONE_KEY_MAX];
	char list[512];
	uint32_t i;

	for (i = 0; i < ZONE_IMAGES; i++) {
		const struct zone_image *image = &zone->image[i];

		if (!image->path || image->load == ZONE_NONE)
			continue;
		if (!zone_ram_physical(zone, image->load, 1, NULL))
			config_complain(reader, "", zone_image_load_key(key, i),
					"is 0x%llx, which is not in a ram region of the zone as root sees it (%s)",
					(unsigned long long)image->load, list_ram(list, sizeof(list), zone, false));
		check_image_virtual(reader, zone, i);
	}
	if (zone->entry_point != ZONE_NONE && !zone_ram_virtual(zone, entry_physical(zone), 4))
		config_complain(reader, "", "entry_point",
				"is 0x%llx, which is not in a ram region as the zone sees it (%s)",
				(unsigned long long)zone->entry_point, list_ram(list, sizeof(list), zone, true));
}

void zone_check_file(struct config_reader *reader, const struct zone_file *zone)
{
	check_regions(reader, zone);
	if (regions_known(zone))
		check_addresses(reader, zone);
}
