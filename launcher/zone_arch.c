/* SPDX-License-Identifier: MIT */
/* The keys of the zone file that depend on the architecture, and PCI. */
#include <stdlib.h>
#include <string.h>

#include "zone_reader.h"

#define AT(field) offsetof(struct zone_file, field)

/* A required base or size, and one that need not be given. */
#define NUMBER_KEY(key_name, field, what, need)                                                                        \
	{                                                                                                              \
		.name = (key_name), .must = (what), .read = config_read_u64, .offset = AT(field),                      \
		.max = UINT64_MAX - 1, .required = (need)                                                              \
	}
#define BASE(key_name, field) NUMBER_KEY(key_name, field, "an address, such as \"0x8000000\"", true)
#define SIZE(key_name, field) NUMBER_KEY(key_name, field, "a size in bytes, such as \"0x10000\"", true)
#define BASE_OR_NOT(key_name, field) NUMBER_KEY(key_name, field, "an address, such as \"0x8000000\"", false)
#define SIZE_OR_NOT(key_name, field) NUMBER_KEY(key_name, field, "a size in bytes, such as \"0x10000\"", false)

static const char *const gic_versions[] = {"v2", "v3", NULL};

static void read_gic_version(struct config_reader *reader, const char *place, const struct config_key *key,
			     const cJSON *value, void *out)
{
	uint32_t n = UINT32_MAX;

	config_read_choice(reader, place, key, value, &n);
	if (n != UINT32_MAX)
		*(uint32_t *)out = n + 2;
}

/* Upstream takes a boolean, and a number as C does. */
static void read_aarch32(struct config_reader *reader, const char *place, const struct config_key *key,
			 const cJSON *value, void *out)
{
	uint64_t number;

	if (config_number(value, 0, 1, &number))
		*(bool *)out = number;
	else
		config_read_bool(reader, place, key, value, out);
}

static const struct config_key arm64_keys[] = {
	{.name = "gic_version",
	 .must = "\"v2\" or \"v3\"",
	 .read = read_gic_version,
	 .offset = AT(arm64.gic.version),
	 .choice = gic_versions,
	 .required = true},
	BASE("gicd_base", arm64.gic.gicd_base),
	SIZE("gicd_size", arm64.gic.gicd_size),
	{.name = "is_aarch32", .must = "true or false", .read = read_aarch32, .offset = AT(arm64.aarch32)},
};

static const struct config_key gicv3_keys[] = {
	BASE("gicr_base", arm64.gic.gicr_base),
	SIZE("gicr_size", arm64.gic.gicr_size),
	BASE_OR_NOT("gits_base", arm64.gic.gits_base),
	SIZE_OR_NOT("gits_size", arm64.gic.gits_size),
};

static const struct config_key gicv2_keys[] = {
	BASE("gicc_base", arm64.gic.gicc_base),
	SIZE("gicc_size", arm64.gic.gicc_size),
	NUMBER_KEY("gicc_offset", arm64.gic.gicc_offset, "an offset in bytes, such as \"0x0\"", true),
	BASE("gich_base", arm64.gic.gich_base),
	SIZE("gich_size", arm64.gic.gich_size),
	BASE("gicv_base", arm64.gic.gicv_base),
	SIZE("gicv_size", arm64.gic.gicv_size),
};

static const struct config_key uefi_keys[] = {
	BASE("memory_map_addr", arm64.memory_map_addr),
	SIZE("memory_map_size", arm64.memory_map_size),
	BASE("sys_map_addr", arm64.sys_map_addr),
};

static const struct config_key riscv64_keys[] = {
	BASE("plic_base", riscv64.plic_base),
	SIZE("plic_size", riscv64.plic_size),
	BASE("aplic_base", riscv64.aplic_base),
	SIZE("aplic_size", riscv64.aplic_size),
};

static const struct config_key loongarch64_keys[] = {
	NUMBER_KEY("dummy", loongarch64_dummy, "a number", false),
};

#define IMAGE_PATH(key_name, kind, what)                                                                               \
	{                                                                                                              \
		.name = (key_name), .must = (what), .read = config_read_string, .offset = AT(image[kind].path),        \
		.max = 4095                                                                                            \
	}
#define REGION_ID(key_name, field)                                                                                     \
	NUMBER_KEY(key_name, field, "the number of an element of memory_regions, from 0", false)

static const struct config_key x86_64_keys[] = {
	BASE("ioapic_base", x86_64.ioapic_base),
	SIZE("ioapic_size", x86_64.ioapic_size),
	BASE("kernel_entry_gpa", x86_64.kernel_entry_gpa),
	IMAGE_PATH("boot_filepath", ZONE_BOOT, "the path of a file"),
	BASE_OR_NOT("boot_load_paddr", image[ZONE_BOOT].load),
	IMAGE_PATH("setup_filepath", ZONE_SETUP, "the path of a file"),
	BASE_OR_NOT("setup_load_hpa", image[ZONE_SETUP].load),
	BASE_OR_NOT("setup_load_gpa", image[ZONE_SETUP].virtual),
	IMAGE_PATH("cmdline", ZONE_CMDLINE, "the command line of the kernel, up to 4095 bytes"),
	BASE_OR_NOT("cmdline_load_hpa", image[ZONE_CMDLINE].load),
	BASE_OR_NOT("cmdline_load_gpa", image[ZONE_CMDLINE].virtual),
	IMAGE_PATH("initrd_filepath", ZONE_INITRD, "the path of a file"),
	BASE_OR_NOT("initrd_load_hpa", image[ZONE_INITRD].load),
	BASE_OR_NOT("initrd_load_gpa", image[ZONE_INITRD].virtual),
	REGION_ID("rsdp_memory_region_id", x86_64.rsdp_memory_region_id),
	REGION_ID("acpi_memory_region_id", x86_64.acpi_memory_region_id),
	REGION_ID("uefi_memory_region_id", x86_64.uefi_memory_region_id),
	BASE_OR_NOT("screen_base", x86_64.screen_base),
	{.name = "initrd_memory_region_id", .must = "anything", .read = config_read_ignore}, /* of older releases */
};

static const struct config_keys arm64_table = CONFIG_KEYS(arm64_keys);
static const struct config_keys gicv2_table = CONFIG_KEYS(gicv2_keys);
static const struct config_keys gicv3_table = CONFIG_KEYS(gicv3_keys);
static const struct config_keys uefi_table = CONFIG_KEYS(uefi_keys);
static const struct config_keys riscv64_table = CONFIG_KEYS(riscv64_keys);
static const struct config_keys loongarch64_table = CONFIG_KEYS(loongarch64_keys);
static const struct config_keys x86_64_table = CONFIG_KEYS(x86_64_keys);

void zone_read_arch_config(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value, void *out)
{
	const struct config_keys arm64[] = {arm64_table, gicv2_table, gicv3_table, uefi_table};
	struct zone_file *zone = out;

	(void)place;
	switch (zone->arch) {
	case ZONE_ARM64:
		config_read_object(reader, key->name, "arm64", value, arm64, 4, zone);
		break;
	case ZONE_RISCV64:
		config_read_object(reader, key->name, "riscv64", value, &riscv64_table, 1, zone);
		break;
	case ZONE_LOONGARCH64:
		config_read_object(reader, key->name, "loongarch64", value, &loongarch64_table, 1, zone);
		break;
	case ZONE_X86_64:
		config_read_object(reader, key->name, "x86_64", value, &x86_64_table, 1, zone);
		break;
	case ZONE_ARCHS:
		break;
	}
}

static bool has_any(const cJSON *object, const struct config_keys *table)
{
	size_t i;

	for (i = 0; i < table->n; i++) {
		if (cJSON_GetObjectItemCaseSensitive(object, table->key[i].name))
			return true;
	}
	return false;
}

/* An image of x86_64 has two addresses. */
static void check_image_keys(struct config_reader *reader, const struct zone_file *zone, enum zone_image_kind kind,
			     const char *path_key, const char *load_key, const char *virtual_key)
{
	const struct zone_image *image = &zone->image[kind];

	if (!image->path)
		return;
	if (image->load == ZONE_NONE)
		config_complain(reader, "arch_config", load_key, "is missing; %s needs an address, as root sees it",
				path_key);
	if (virtual_key && image->virtual == ZONE_NONE)
		config_complain(reader, "arch_config", virtual_key,
				"is missing; %s needs an address, as the zone sees it", path_key);
}

static void check_region_id(struct config_reader *reader, const struct zone_file *zone, const char *key, uint64_t id)
{
	if (id >= zone->nregions && zone->nregions)
		config_complain(reader, "arch_config", key,
				"is %llu; must be the number of an element of memory_regions, "
				"from 0 to %u",
				(unsigned long long)id, zone->nregions - 1);
}

static void check_x86_64(struct config_reader *reader, const struct zone_file *zone)
{
	check_image_keys(reader, zone, ZONE_BOOT, "boot_filepath", "boot_load_paddr", NULL);
	check_image_keys(reader, zone, ZONE_SETUP, "setup_filepath", "setup_load_hpa", "setup_load_gpa");
	check_image_keys(reader, zone, ZONE_CMDLINE, "cmdline", "cmdline_load_hpa", "cmdline_load_gpa");
	check_image_keys(reader, zone, ZONE_INITRD, "initrd_filepath", "initrd_load_hpa", "initrd_load_gpa");
	check_region_id(reader, zone, "rsdp_memory_region_id", zone->x86_64.rsdp_memory_region_id);
	check_region_id(reader, zone, "acpi_memory_region_id", zone->x86_64.acpi_memory_region_id);
	check_region_id(reader, zone, "uefi_memory_region_id", zone->x86_64.uefi_memory_region_id);
}

void zone_check_arch_config(struct config_reader *reader, const struct zone_file *zone, const cJSON *root)
{
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(root, "arch_config");

	if (!object && zone->arch != ZONE_LOONGARCH64)
		config_complain(reader, "", "arch_config", "is missing; must be an object with the keys of %s",
				zone_arch_name(zone->arch));
	if (!cJSON_IsObject(object))
		return;
	switch (zone->arch) {
	case ZONE_ARM64:
		config_require_keys(reader, "arch_config", object, &arm64_table);
		if (zone->arm64.gic.version == 2)
			config_require_keys(reader, "arch_config", object, &gicv2_table);
		if (zone->arm64.gic.version == 3)
			config_require_keys(reader, "arch_config", object, &gicv3_table);
		if (has_any(object, &uefi_table))
			config_require_keys(reader, "arch_config", object, &uefi_table);
		break;
	case ZONE_RISCV64:
		config_require_keys(reader, "arch_config", object, &riscv64_table);
		break;
	case ZONE_X86_64:
		config_require_keys(reader, "arch_config", object, &x86_64_table);
		check_x86_64(reader, zone);
		break;
	case ZONE_LOONGARCH64:
	case ZONE_ARCHS:
		break;
	}
}

#define BUS_NUMBER(key_name, field, reader, most, what)                                                                \
	{                                                                                                              \
		.name = (key_name), .must = (what), .read = (reader), .offset = offsetof(struct zone_pci_bus, field),  \
		.max = (most), .required = true                                                                        \
	}
#define BUS_ADDRESS(key_name, field)                                                                                   \
	BUS_NUMBER(key_name, field, config_read_u64, UINT64_MAX, "a number, such as \"0x10000000\"")

static const struct config_key bus_keys[] = {
	BUS_ADDRESS("ecam_base", ecam_base),
	BUS_ADDRESS("ecam_size", ecam_size),
	BUS_ADDRESS("io_base", io_base),
	BUS_ADDRESS("io_size", io_size),
	BUS_ADDRESS("pci_io_base", pci_io_base),
	BUS_ADDRESS("mem32_base", mem32_base),
	BUS_ADDRESS("mem32_size", mem32_size),
	BUS_ADDRESS("pci_mem32_base", pci_mem32_base),
	BUS_ADDRESS("mem64_base", mem64_base),
	BUS_ADDRESS("mem64_size", mem64_size),
	BUS_ADDRESS("pci_mem64_base", pci_mem64_base),
	BUS_NUMBER("bus_range_begin", bus_begin, config_read_u32, 255, "a PCI bus from 0 to 255"),
	BUS_NUMBER("bus_range_end", bus_end, config_read_u32, 255, "a PCI bus from 0 to 255"),
	BUS_NUMBER("domain", domain, config_read_u32, 255, "a PCI domain from 0 to 255"),
};

void zone_read_pci_config(struct config_reader *reader, const char *place, const struct config_key *key,
			  const cJSON *value, void *out)
{
	static const struct config_keys keys = CONFIG_KEYS(bus_keys);
	struct zone_file *zone = out;
	char inner[CONFIG_PLACE_MAX];
	uint32_t i;

	/* How some of upstream's files say that there is none. */
	if (cJSON_IsObject(value) && !value->child)
		return;
	zone->nbuses = config_array_size(reader, place, key, value, ZONE_PCI_BUSES_MAX);
	value = zone->nbuses ? value->child : NULL;
	for (i = 0; i < zone->nbuses; i++, value = value->next) {
		struct zone_pci_bus *bus = &zone->bus[i];

		config_place_of(inner, place, key->name, i);
		if (!config_read_object(reader, inner, "PCI buses", value, &keys, 1, bus))
			continue;
		config_require_keys(reader, inner, value, &keys);
		if (bus->bus_begin > bus->bus_end)
			config_complain(reader, inner, "bus_range_end", "is %u, less than bus_range_begin, which is %u",
					bus->bus_end, bus->bus_begin);
	}
}

#define DEVICE_NUMBER(key_name, field, most, what, need)                                                               \
	{                                                                                                              \
		.name = (key_name), .must = (what), .read = config_read_u32,                                           \
		.offset = offsetof(struct zone_pci_device, field), .max = (most), .required = (need)                   \
	}

static const struct config_key device_keys[] = {
	DEVICE_NUMBER("domain", domain, 255, "a PCI domain from 0 to 255", true),
	DEVICE_NUMBER("bus", bus, 255, "a PCI bus from 0 to 255", true),
	DEVICE_NUMBER("device", device, 31, "a PCI device from 0 to 31", true),
	DEVICE_NUMBER("function", function, 7, "a PCI function from 0 to 7", true),
	DEVICE_NUMBER("v_bus", v_bus, 255, "a PCI bus from 0 to 255", false),
	DEVICE_NUMBER("v_device", v_device, 31, "a PCI device from 0 to 31", false),
	DEVICE_NUMBER("v_function", v_function, 7, "a PCI function from 0 to 7", false),
	DEVICE_NUMBER("dev_type", type, UINT32_MAX, "a number, 0 for a physical device", true),
};

void zone_read_pci_devices(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value, void *out)
{
	static const struct config_keys keys = CONFIG_KEYS(device_keys);
	struct zone_file *zone = out;
	char inner[CONFIG_PLACE_MAX];
	uint32_t i;

	zone->ndevices = config_array_size(reader, place, key, value, ZONE_PCI_DEVICES_MAX);
	value = zone->ndevices ? value->child : NULL;
	for (i = 0; i < zone->ndevices; i++, value = value->next) {
		struct zone_pci_device *device = &zone->device[i];

		config_place_of(inner, place, key->name, i);
		device->v_bus = device->v_device = device->v_function = UINT32_MAX;
		if (config_read_object(reader, inner, "PCI devices", value, &keys, 1, device))
			config_require_keys(reader, inner, value, &keys);
		if (device->v_bus == UINT32_MAX)
			device->v_bus = device->bus;
		if (device->v_device == UINT32_MAX)
			device->v_device = device->device;
		if (device->v_function == UINT32_MAX)
			device->v_function = device->function;
	}
}
