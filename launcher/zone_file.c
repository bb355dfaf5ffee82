/* SPDX-License-Identifier: MIT */
/* The keys of the zone file that all architectures have. */
#include "zone_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"
#include "zone_reader.h"

#define CPUS_MAX 64u

static const char *const archs[] = {
	[ZONE_ARM64] = "arm64",
	[ZONE_RISCV64] = "riscv64",
	[ZONE_LOONGARCH64] = "loongarch64",
	[ZONE_X86_64] = "x86_64",
	/* Other names for the same. */
	"aarch64",
	"riscv",
	"loongarch",
	"amd64",
	NULL,
};

enum zone_arch zone_arch_native(void)
{
#if defined(__aarch64__)
	return ZONE_ARM64;
#elif defined(__riscv) && __riscv_xlen == 64
	return ZONE_RISCV64;
#elif defined(__loongarch64)
	return ZONE_LOONGARCH64;
#elif defined(__x86_64__)
	return ZONE_X86_64;
#else
	return ZONE_ARCHS;
#endif
}

const char *zone_arch_name(enum zone_arch arch)
{
	return arch < ZONE_ARCHS ? archs[arch] : "another architecture";
}

enum zone_arch zone_arch_find(const char *name)
{
	uint32_t i;

	for (i = 0; archs[i]; i++) {
		if (strcmp(name, archs[i]) == 0)
			return i % ZONE_ARCHS;
	}
	return ZONE_ARCHS;
}

bool zone_has_interrupt(const struct zone_file *zone, uint32_t interrupt)
{
	return interrupt < ZONE_INTERRUPTS_MAX && (zone->interrupts[interrupt / 32] >> interrupt % 32 & 1);
}

static void read_arch(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	const struct zone_file *zone = out;
	uint32_t arch = UINT32_MAX;

	config_read_choice(reader, place, key, value, &arch);
	if (arch != UINT32_MAX && arch % ZONE_ARCHS != zone->arch)
		config_complain(reader, place, key->name, "is \"%s\", but hvisor is that of %s here", archs[arch],
				zone_arch_name(zone->arch));
}

static void read_name(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	const char *text = cJSON_IsString(value) ? value->valuestring : "";
	size_t len = strlen(text);
	size_t at = 0;
	size_t n;

	while (at < len && (n = utf8_length(text + at, len - at)) && utf8_harmless(text + at))
		at += n;
	if (len == 0 || len >= ZONE_NAME_MAX || at != len)
		config_complain_value(reader, place, key, value);
	else
		memcpy(out, text, len + 1);
}

/* The elements of an array of numbers below key->max + 1: sets their bits, of which word n has 64. */
static void read_bits(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      uint32_t max, const char *must, void (*set)(struct zone_file *zone, uint32_t bit),
		      struct zone_file *zone)
{
	uint32_t n = config_array_size(reader, place, key, value, max);
	char name[CONFIG_PLACE_MAX];
	uint64_t number;
	uint32_t i;

	value = n ? value->child : NULL;
	for (i = 0; i < n; i++, value = value->next) {
		struct config_key element = {.name = name, .must = must};

		config_place_of(name, "", key->name, i);
		if (config_number(value, 0, key->max, &number))
			set(zone, (uint32_t)number);
		else
			config_complain_value(reader, place, &element, value);
	}
}

static void set_cpu(struct zone_file *zone, uint32_t cpu)
{
	zone->cpus |= 1ull << cpu;
}

static void set_interrupt(struct zone_file *zone, uint32_t interrupt)
{
	zone->interrupts[interrupt / 32] |= 1u << interrupt % 32;
}

static void read_cpus(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	read_bits(reader, place, key, value, CPUS_MAX, "the number of a CPU, from 0 to 63", set_cpu, out);
}

static void read_interrupts(struct config_reader *reader, const char *place, const struct config_key *key,
			    const cJSON *value, void *out)
{
	read_bits(reader, place, key, value, ZONE_INTERRUPTS_MAX,
		  "an interrupt number from 0 to 1023, such as 78 or \"0x4e\"", set_interrupt, out);
}

static const char *const region_types[] = {
	[ZONE_RAM] = "ram",
	[ZONE_IO] = "io",
	[ZONE_VIRTIO] = "virtio",
	NULL,
};

#define TYPE_NONE UINT32_MAX
#define REGION_AT(field) offsetof(struct zone_region, field)

static const struct config_key region_keys[] = {
	{.name = "type",
	 .must = "\"ram\", \"io\" or \"virtio\"",
	 .read = config_read_choice,
	 .offset = REGION_AT(type),
	 .choice = region_types,
	 .required = true},
	{.name = "physical_start",
	 .must = "the address where root sees the memory, such as \"0x50000000\"",
	 .read = config_read_u64,
	 .offset = REGION_AT(physical),
	 .max = UINT64_MAX - 1,
	 .required = true},
	{.name = "virtual_start",
	 .must = "the address where the zone sees the memory, such as \"0x50000000\"",
	 .read = config_read_u64,
	 .offset = REGION_AT(virtual),
	 .max = UINT64_MAX - 1,
	 .required = true},
	{.name = "size",
	 .must = "the size of the memory in bytes, above 0, such as \"0x30000000\"",
	 .read = config_read_u64,
	 .offset = REGION_AT(size),
	 .min = 1,
	 .max = UINT64_MAX,
	 .required = true},
	{.name = "note", .must = "anything", .read = config_read_ignore},
};

static bool check_alignment(struct config_reader *reader, const char *place, const struct zone_region *region)
{
	const uint64_t value[] = {region->physical, region->virtual, region->size};
	uint32_t unit = region->type == ZONE_VIRTIO ? 4 : CONFIG_PAGE;
	bool right = true;
	uint32_t i;

	for (i = 0; i < 3; i++) {
		if (value[i] % unit == 0)
			continue;
		config_complain(reader, place, region_keys[i + 1].name,
				"is 0x%llx; must be a multiple of %u for a %s region", (unsigned long long)value[i],
				unit, region_types[region->type]);
		right = false;
	}
	return right;
}

static void read_region(struct config_reader *reader, struct zone_region *out, const char *place, const cJSON *value)
{
	static const struct config_keys keys = CONFIG_KEYS(region_keys);
	struct zone_region region = {.type = TYPE_NONE, .physical = ZONE_NONE, .virtual = ZONE_NONE};

	if (!config_read_object(reader, place, "memory regions", value, &keys, 1, &region))
		return;
	config_require_keys(reader, place, value, &keys);
	if (region.type == TYPE_NONE || region.physical == ZONE_NONE || region.virtual == ZONE_NONE || !region.size ||
	    !check_alignment(reader, place, &region))
		return;
	if (region.physical + (region.size - 1) < region.physical ||
	    region.virtual + (region.size - 1) < region.virtual) {
		config_complain(reader, place, "size", "is 0x%llx, which goes past the end of all addresses",
				(unsigned long long)region.size);
		return;
	}
	*out = region;
}

static void read_regions(struct config_reader *reader, const char *place, const struct config_key *key,
			 const cJSON *value, void *out)
{
	struct zone_file *zone = out;
	char inner[CONFIG_PLACE_MAX];
	uint32_t i;

	zone->nregions = config_array_size(reader, place, key, value, ZONE_REGIONS_MAX);
	value = zone->nregions ? value->child : NULL;
	for (i = 0; i < zone->nregions; i++, value = value->next) {
		config_place_of(inner, place, key->name, i);
		read_region(reader, &zone->region[i], inner, value);
	}
}

#define IVC_NUMBER(key_name, field)                                                                                    \
	{                                                                                                              \
		.name = (key_name), .must = "a number of 32 bits", .read = config_read_u32,                            \
		.offset = offsetof(struct zone_ivc, field), .max = UINT32_MAX, .required = true                        \
	}
#define IVC_ADDRESS(key_name, field)                                                                                   \
	{                                                                                                              \
		.name = (key_name), .must = "an address of the zone", .read = config_read_u64,                         \
		.offset = offsetof(struct zone_ivc, field), .max = UINT64_MAX, .required = true                        \
	}

static const struct config_key ivc_keys[] = {
	IVC_NUMBER("ivc_id", id),
	IVC_NUMBER("peer_id", peer),
	IVC_ADDRESS("control_table_ipa", control_table),
	IVC_ADDRESS("shared_mem_ipa", shared_memory),
	IVC_NUMBER("rw_sec_size", rw_size),
	IVC_NUMBER("out_sec_size", out_size),
	{.name = "interrupt_num",
	 .must = "an interrupt number from 0 to 1023",
	 .read = config_read_u32,
	 .offset = offsetof(struct zone_ivc, interrupt),
	 .max = ZONE_INTERRUPTS_MAX - 1,
	 .required = true},
	IVC_NUMBER("max_peers", peers_max),
};

static void read_ivcs(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	static const struct config_keys keys = CONFIG_KEYS(ivc_keys);
	struct zone_file *zone = out;
	char inner[CONFIG_PLACE_MAX];
	uint32_t i;

	zone->nivcs = config_array_size(reader, place, key, value, ZONE_IVCS_MAX);
	value = zone->nivcs ? value->child : NULL;
	for (i = 0; i < zone->nivcs; i++, value = value->next) {
		config_place_of(inner, place, key->name, i);
		if (config_read_object(reader, inner, "inter-VM channels", value, &keys, 1, &zone->ivc[i]))
			config_require_keys(reader, inner, value, &keys);
	}
}

static const struct config_key module_keys[] = {
	{.name = "name", .must = "a name", .read = config_read_ignore, .required = true},
	{.name = "filepath",
	 .must = "the path of a file",
	 .read = config_read_string,
	 .offset = offsetof(struct zone_image, path),
	 .min = 1,
	 .max = 4095,
	 .required = true},
	{.name = "load_paddr",
	 .must = "the address where root sees the memory that it is loaded to",
	 .read = config_read_u64,
	 .offset = offsetof(struct zone_image, load),
	 .max = UINT64_MAX - 1,
	 .required = true},
};

static void read_modules(struct config_reader *reader, const char *place, const struct config_key *key,
			 const cJSON *value, void *out)
{
	static const struct config_keys keys = CONFIG_KEYS(module_keys);
	uint32_t n = config_array_size(reader, place, key, value, ZONE_MODULES_MAX);
	struct zone_file *zone = out;
	char inner[CONFIG_PLACE_MAX];
	uint32_t i;

	value = n ? value->child : NULL;
	for (i = 0; i < n; i++, value = value->next) {
		config_place_of(inner, place, key->name, i);
		if (config_read_object(reader, inner, "modules", value, &keys, 1, &zone->image[ZONE_MODULE + i]))
			config_require_keys(reader, inner, value, &keys);
	}
}

static void form_number(struct config_reader *reader, const char *place, const struct config_key *key,
			const cJSON *value, void *out)
{
	uint64_t number;

	(void)out;
	if (!config_number(value, key->min, key->max, &number))
		config_complain_value(reader, place, key, value);
}

static void form_string(struct config_reader *reader, const char *place, const struct config_key *key,
			const cJSON *value, void *out)
{
	(void)out;
	if (!cJSON_IsString(value))
		config_complain_value(reader, place, key, value);
}

#define AT(field) offsetof(struct zone_file, field)

static const struct config_key file_keys[] = {
	{.name = "arch",
	 .must = "\"arm64\", \"riscv64\", \"loongarch64\" or \"x86_64\"",
	 .read = read_arch,
	 .choice = archs},
	{.name = "name",
	 .must = "a name of 1 to 31 bytes without control characters",
	 .read = read_name,
	 .offset = AT(name),
	 .required = true},
	{.name = "zone_id",
	 .must = "a zone number from 1 to 31",
	 .read = config_read_u32,
	 .offset = AT(id),
	 .min = 1,
	 .max = HVISOR_ZONES_MAX - 1,
	 .required = true},
	{.name = "cpus",
	 .must = "an array of 1 to 64 CPU numbers, such as [2, 3]",
	 .read = read_cpus,
	 .min = 1,
	 .max = CPUS_MAX - 1,
	 .required = true},
	{.name = "memory_regions",
	 .must = "an array of 1 to 64 memory regions",
	 .read = read_regions,
	 .min = 1,
	 .required = true},
	{.name = "interrupts",
	 .must = "an array of interrupt numbers, such as [76, 78]",
	 .read = read_interrupts,
	 .max = ZONE_INTERRUPTS_MAX - 1,
	 .required = true},
	{.name = "ivc_configs", .must = "an array of up to 2 inter-VM channels", .read = read_ivcs},
	{.name = "kernel_filepath",
	 .must = "the path of the kernel's image, or \"null\"",
	 .read = config_read_string,
	 .offset = AT(image[ZONE_KERNEL].path),
	 .min = 1,
	 .max = 4095,
	 .required = true},
	{.name = "dtb_filepath",
	 .must = "the path of the device tree, or \"null\"",
	 .read = config_read_string,
	 .offset = AT(image[ZONE_DTB].path),
	 .max = 4095,
	 .required = true},
	{.name = "kernel_load_paddr",
	 .must = "the address where root sees the memory that the kernel is loaded to, such as \"0x50400000\"",
	 .read = config_read_u64,
	 .offset = AT(image[ZONE_KERNEL].load),
	 .max = UINT64_MAX - 1,
	 .required = true},
	{.name = "dtb_load_paddr",
	 .must = "the address where root sees the memory that the device tree is loaded to, such as \"0x50000000\"",
	 .read = config_read_u64,
	 .offset = AT(image[ZONE_DTB].load),
	 .max = UINT64_MAX - 1,
	 .required = true},
	{.name = "entry_point",
	 .must = "the address where the zone begins, as it sees it, such as \"0x50400000\"",
	 .read = config_read_u64,
	 .offset = AT(entry_point),
	 .max = UINT64_MAX - 1,
	 .required = true},
	{.name = "modules", .must = "an array of up to 16 modules", .read = read_modules},
	{.name = "arch_config", .must = "an object", .read = zone_read_arch_config},
	{.name = "pci_config",
	 .must = "an array of up to 4 PCI buses, [] for none (one object was the form of older releases)",
	 .read = zone_read_pci_config},
	{.name = "num_pci_devs", .must = "a number from 0 to 32", .read = form_number, .max = ZONE_PCI_DEVICES_MAX},
	{.name = "alloc_pci_devs", .must = "an array of up to 32 PCI devices", .read = zone_read_pci_devices},
	/* In upstream's files, and without effect there. */
	{.name = "devices", .must = "anything", .read = config_read_ignore},
	{.name = "kernel_args", .must = "a text", .read = form_string},
	{.name = "boot_method", .must = "a text", .read = form_string},
};
static const struct config_keys file_table = CONFIG_KEYS(file_keys);

/* "null", and nothing where there is no device tree, stand for no file. */
static void drop_null_paths(struct zone_file *zone)
{
	uint32_t i;

	for (i = 0; i < ZONE_IMAGES; i++) {
		struct zone_image *image = &zone->image[i];

		if (i == ZONE_CMDLINE || !image->path)
			continue;
		if (strcmp(image->path, "null") == 0 ||
		    (i == ZONE_DTB && (!image->path[0] || zone->arch == ZONE_X86_64))) {
			free(image->path);
			image->path = NULL;
		}
	}
}

static void read_root(struct config_reader *reader, struct zone_file *zone, const cJSON *root)
{
	if (cJSON_IsObject(root) && !cJSON_GetObjectItemCaseSensitive(root, "cpus") &&
	    (cJSON_GetObjectItemCaseSensitive(root, "zones") || cJSON_GetObjectItemCaseSensitive(root, "devices"))) {
		config_complain(
			reader, "", NULL,
			"this is the file of the zones' virtio devices (\"hvisor virtio start\"); \"hvisor zone "
			"start\" takes the file of one zone, which has \"memory_regions\" and \"kernel_filepath\"");
		return;
	}
	if (!config_read_object(reader, "", "the zone file", root, &file_table, 1, zone))
		return;
	config_require_keys(reader, "", root, &file_table);
	zone_check_arch_config(reader, zone, root);
	drop_null_paths(zone);
	zone_check_file(reader, zone);
}

static void init_zone(struct zone_file *zone, const char *path, enum zone_arch arch)
{
	uint32_t i;

	*zone = (struct zone_file){.path = path, .arch = arch, .entry_point = ZONE_NONE};
	for (i = 0; i < ZONE_IMAGES; i++)
		zone->image[i] = (struct zone_image){.load = ZONE_NONE, .virtual = ZONE_NONE};
	zone->arm64.memory_map_addr = ZONE_NONE;
}

int zone_file_read(struct zone_file *zone, const char *path, enum zone_arch arch, struct errors *errors)
{
	struct config_reader *reader = calloc(1, sizeof(*reader));
	size_t before = errors->count;
	char *text;
	size_t len;

	init_zone(zone, path, arch);
	if (!reader) {
		errors_add(errors, "%s: no memory", path);
		return -1;
	}
	reader->path = path;
	reader->errors = errors;
	text = config_load(reader, &len);
	if (text) {
		cJSON *root = config_parse(reader, text, len);

		if (root)
			read_root(reader, zone, root);
		cJSON_Delete(root);
	}
	free(text);
	if (reader->dropped)
		errors_add(errors, "%s: and %zu more errors", path, reader->dropped);
	free(reader);
	if (errors->count == before)
		return 0;
	zone_file_finish(zone);
	return -1;
}

void zone_file_finish(struct zone_file *zone)
{
	uint32_t i;

	for (i = 0; i < ZONE_IMAGES; i++) {
		free(zone->image[i].path);
		free(zone->image[i].data);
	}
	*zone = (struct zone_file){0};
}
