/* SPDX-License-Identifier: MIT */
/* What concerns more than one key of the file: names, windows, interrupts and memory. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config_reader.h"

bool config_overlap(uint64_t a, uint64_t asize, uint64_t b, uint64_t bsize)
{
	return a <= b + (bsize - 1) && b <= a + (asize - 1);
}

const char *config_range(char buffer[CONFIG_RANGE_MAX], uint64_t base, uint64_t size)
{
	snprintf(buffer, CONFIG_RANGE_MAX, "0x%" PRIx64 "-0x%" PRIx64, base, base + (size - 1));
	return buffer;
}

/* blk0, blk1: the number of a device counts all of its type before it, so that changing one renames no other. */
static void name_devices(struct config_reader *reader)
{
	uint32_t count[CONFIG_SCMI + 1] = {0};
	uint32_t i;

	for (i = 0; i < reader->nentries; i++) {
		struct config_entry *entry = &reader->entry[i];

		if (!entry->type_known)
			continue;
		if (!entry->named)
			snprintf(entry->device.name, sizeof(entry->device.name), "%s%u",
				 config_type_name(entry->device.type), count[entry->device.type]);
		count[entry->device.type]++;
	}
}

static void check_name(struct config_reader *reader, uint32_t i)
{
	const struct config_entry *entry = &reader->entry[i];
	uint32_t k;

	for (k = 0; k < i; k++) {
		const struct config_entry *other = &reader->entry[k];

		if (!entry->device.name[0] || strcmp(entry->device.name, other->device.name) != 0)
			continue;
		config_complain(reader, entry->device.place, "name", "%s is %s too, %s; give it another name",
				entry->device.name, other->device.place,
				entry->named ? (other->named ? "by its name" : "by its type and order")
					     : "and this one by its type and order");
		return;
	}
}

static bool has_window(const struct config_entry *entry)
{
	return entry->enabled && entry->device.size && entry->device.base != CONFIG_BASE_NONE;
}

static void check_window(struct config_reader *reader, uint32_t i)
{
	const struct config_entry *entry = &reader->entry[i];
	const struct config_device *device = &entry->device;
	const struct config_zone_entry *zone = &reader->zone[entry->zone_index];
	char mine[CONFIG_RANGE_MAX];
	char its[CONFIG_RANGE_MAX];
	uint32_t k;

	config_range(mine, device->base, device->size);
	for (k = 0; k < i; k++) {
		const struct config_device *other = &reader->entry[k].device;

		if (reader->entry[k].zone_index != entry->zone_index || !has_window(&reader->entry[k]) ||
		    !config_overlap(device->base, device->size, other->base, other->size))
			continue;
		config_complain(reader, device->place, "addr",
				"the window %s overlaps that of %s, %s; each device of a zone has its own", mine,
				other->place, config_range(its, other->base, other->size));
		break;
	}
	for (k = 0; k < zone->zone.nmemory; k++) {
		const struct hvisor_memory *memory = &zone->zone.memory[k];

		if (!config_overlap(device->base, device->size, memory->zonex_ipa, memory->size))
			continue;
		config_complain(
			reader, device->place, "addr",
			"the window %s lies in the zone's memory %s (%s%smemory_region[%u]); a window is where there "
			"is no memory",
			mine, config_range(its, memory->zonex_ipa, memory->size), zone->place,
			zone->place[0] ? "." : "", zone->index[k]);
		break;
	}
}

static void check_irq(struct config_reader *reader, uint32_t i)
{
	const struct config_entry *entry = &reader->entry[i];
	uint32_t k;

	for (k = 0; k < i && entry->enabled && entry->device.irq; k++) {
		const struct config_entry *other = &reader->entry[k];

		if (other->zone_index != entry->zone_index || !other->enabled || other->device.irq != entry->device.irq)
			continue;
		config_complain(reader, entry->device.place, "irq",
				"%u is the interrupt of %s too; each device of a zone has its own", entry->device.irq,
				other->device.place);
		return;
	}
}

/* Memory k of zone z against memory n of zone y, which comes before it or is in an earlier zone. */
static void check_memory_pair(struct config_reader *reader, uint32_t z, uint32_t k, uint32_t y, uint32_t n)
{
	const struct config_zone_entry *zone = &reader->zone[z];
	const struct config_zone_entry *other = &reader->zone[y];
	const struct hvisor_memory *a = &zone->zone.memory[k];
	const struct hvisor_memory *b = &other->zone.memory[n];
	char place[CONFIG_PLACE_MAX + 32];
	char mine[CONFIG_RANGE_MAX];
	char its[CONFIG_RANGE_MAX];

	snprintf(place, sizeof(place), "%s%smemory_region[%u]", zone->place, zone->place[0] ? "." : "", zone->index[k]);
	if (config_overlap(a->zone0_ipa, a->size, b->zone0_ipa, b->size))
		config_complain(reader, place, "zone0_ipa",
				"%s overlaps %s of %s%smemory_region[%u]; memory of root belongs to one zone, once",
				config_range(mine, a->zone0_ipa, a->size), config_range(its, b->zone0_ipa, b->size),
				other->place, other->place[0] ? "." : "", other->index[n]);
	if (z == y && config_overlap(a->zonex_ipa, a->size, b->zonex_ipa, b->size))
		config_complain(reader, place, "zonex_ipa",
				"%s overlaps %s of %s%smemory_region[%u]; an address of the zone has one meaning",
				config_range(mine, a->zonex_ipa, a->size), config_range(its, b->zonex_ipa, b->size),
				other->place, other->place[0] ? "." : "", other->index[n]);
}

static void check_memory(struct config_reader *reader, uint32_t z)
{
	uint32_t k;
	uint32_t y;
	uint32_t n;

	for (k = 0; k < reader->zone[z].zone.nmemory; k++) {
		for (y = 0; y <= z; y++) {
			uint32_t end = y == z ? k : reader->zone[y].zone.nmemory;

			for (n = 0; n < end; n++)
				check_memory_pair(reader, z, k, y, n);
		}
	}
}

static void check_zone_id(struct config_reader *reader, uint32_t z)
{
	const struct config_zone_entry *zone = &reader->zone[z];
	uint32_t y;

	for (y = 0; y < z && zone->zone.id; y++) {
		if (reader->zone[y].zone.id != zone->zone.id)
			continue;
		config_complain(reader, zone->place, "id", "%u is the id of %s too; put the devices of a zone together",
				zone->zone.id, reader->zone[y].place);
		return;
	}
}

void config_check_all(struct config_reader *reader)
{
	uint32_t i;

	for (i = 0; i < reader->nzones; i++) {
		check_zone_id(reader, i);
		check_memory(reader, i);
	}
	name_devices(reader);
	for (i = 0; i < reader->nentries; i++) {
		check_name(reader, i);
		if (has_window(&reader->entry[i]))
			check_window(reader, i);
		check_irq(reader, i);
	}
}
