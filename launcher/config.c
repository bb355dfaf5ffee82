/* SPDX-License-Identifier: MIT */
/* The file, its zones and their memory. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_reader.h"
#include "devtype.h"

#define LOG_SIZE_DEFAULT (1u << 20)
#define LOG_FILES_DEFAULT 3u

#define MEMORY_NONE UINT64_MAX

static const struct config_key memory_keys[] = {
	{.name = "zone0_ipa",
	 .must = "the address where root sees the memory, a multiple of 4096 such as \"0x50000000\"",
	 .read = config_read_page,
	 .offset = offsetof(struct hvisor_memory, zone0_ipa),
	 .max = UINT64_MAX,
	 .required = true},
	{.name = "zonex_ipa",
	 .must = "the address where the zone sees the memory, a multiple of 4096 such as \"0x50000000\"",
	 .read = config_read_page,
	 .offset = offsetof(struct hvisor_memory, zonex_ipa),
	 .max = UINT64_MAX,
	 .required = true},
	{.name = "size",
	 .must = "the size of the memory in bytes, above 0 and a multiple of 4096, such as \"0x30000000\"",
	 .read = config_read_page,
	 .offset = offsetof(struct hvisor_memory, size),
	 .min = CONFIG_PAGE,
	 .max = UINT64_MAX,
	 .required = true},
};

static void read_memory(struct config_reader *reader, struct config_zone_entry *zone, const char *place,
			const cJSON *value, uint32_t index)
{
	static const struct config_keys keys = CONFIG_KEYS(memory_keys);
	struct hvisor_memory memory = {.zone0_ipa = MEMORY_NONE, .zonex_ipa = MEMORY_NONE};

	if (!config_read_object(reader, place, "memory regions", value, &keys, 1, &memory))
		return;
	config_require_keys(reader, place, value, &keys);
	if (!memory.size || memory.zone0_ipa == MEMORY_NONE || memory.zonex_ipa == MEMORY_NONE)
		return;
	if (memory.zone0_ipa + (memory.size - 1) < memory.zone0_ipa ||
	    memory.zonex_ipa + (memory.size - 1) < memory.zonex_ipa) {
		config_complain(reader, place, "size", "is 0x%llx, which goes past the end of all addresses",
				(unsigned long long)memory.size);
		return;
	}
	zone->index[zone->zone.nmemory] = index;
	zone->zone.memory[zone->zone.nmemory++] = memory;
}

static void read_memory_region(struct config_reader *reader, const char *place, const struct config_key *key,
			       const cJSON *value, void *out)
{
	uint32_t n = config_array_size(reader, place, key, value, HVISOR_MEMORY_MAX);
	char inner[CONFIG_PLACE_MAX];
	uint32_t i;

	value = n ? value->child : NULL;
	for (i = 0; i < n; i++, value = value->next) {
		config_place_of(inner, place, key->name, i);
		read_memory(reader, out, inner, value, i);
	}
}

static void read_devices(struct config_reader *reader, const char *place, const struct config_key *key,
			 const cJSON *value, void *out)
{
	const struct config_zone_entry *zone = out;
	uint32_t zone_index = (uint32_t)(zone - reader->zone);
	uint32_t n = config_array_size(reader, place, key, value, HVISOR_DEVICES_MAX);
	char inner[CONFIG_PLACE_MAX];
	uint32_t i;

	value = n ? value->child : NULL;
	for (i = 0; i < n; i++, value = value->next) {
		config_place_of(inner, place, key->name, i);
		if (reader->nentries == HVISOR_DEVICES_MAX) {
			config_complain(reader, inner, NULL, "is one device too many; there can be %u in all",
					HVISOR_DEVICES_MAX);
			return;
		}
		config_read_device(reader, zone_index, inner, value);
	}
}

static void read_zone_id(struct config_reader *reader, const char *place, const struct config_key *key,
			 const cJSON *value, void *out)
{
	if (*(uint32_t *)out)
		config_complain(reader, place, key->name, "is given as \"id\" and as \"zone_id\"; keep one of the two");
	else
		config_read_u32(reader, place, key, value, out);
}

static const struct config_key zone_keys[] = {
	{.name = "id",
	 .must = "a zone number from 1 to 31",
	 .read = read_zone_id,
	 .offset = offsetof(struct config_zone_entry, zone.id),
	 .min = 1,
	 .max = HVISOR_ZONES_MAX - 1},
	{.name = "zone_id",
	 .must = "a zone number from 1 to 31",
	 .read = read_zone_id,
	 .offset = offsetof(struct config_zone_entry, zone.id),
	 .min = 1,
	 .max = HVISOR_ZONES_MAX - 1},
	{.name = "memory_region",
	 .must = "an array of 1 to 16 memory regions",
	 .read = read_memory_region,
	 .min = 1,
	 .required = true},
	{.name = "devices", .must = "an array of up to 256 devices", .read = read_devices, .required = true},
};
static const struct config_keys zone_table = CONFIG_KEYS(zone_keys);

/* A zone; the file as a whole if there is only one and place is "", with what else is in the tables then. */
static void read_zone(struct config_reader *reader, const char *place, const cJSON *value,
		      const struct config_keys *tables, size_t ntables)
{
	struct config_zone_entry *zone = &reader->zone[reader->nzones++];

	snprintf(zone->place, sizeof(zone->place), "%s", place);
	if (!config_read_object(reader, place, "zones", value, tables, ntables, zone))
		return;
	config_require_keys(reader, place, value, &zone_table);
	if (!cJSON_GetObjectItemCaseSensitive(value, "id") && !cJSON_GetObjectItemCaseSensitive(value, "zone_id"))
		config_complain(reader, place, "id", "is missing; must be %s", zone_keys[0].must);
}

static void read_zones(struct config_reader *reader, const char *place, const struct config_key *key,
		       const cJSON *value, void *out)
{
	uint32_t n = config_array_size(reader, place, key, value, HVISOR_ZONES_MAX - 1);
	char inner[CONFIG_PLACE_MAX];
	uint32_t i;

	(void)out;
	value = n ? value->child : NULL;
	for (i = 0; i < n; i++, value = value->next) {
		config_place_of(inner, place, key->name, i);
		read_zone(reader, inner, value, &zone_table, 1);
	}
}

static void read_sandbox(struct config_reader *reader, const char *place, const struct config_key *key,
			 const cJSON *value, void *out)
{
	uint32_t required = reader->config->sandbox_required;

	(void)out;
	config_read_choice(reader, place, key, value, &required);
	reader->config->sandbox_required = required;
}

static void read_log_size(struct config_reader *reader, const char *place, const struct config_key *key,
			  const cJSON *value, void *out)
{
	(void)out;
	config_read_u64(reader, place, key, value, &reader->config->log_size);
}

static void read_log_files(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value, void *out)
{
	(void)out;
	config_read_u32(reader, place, key, value, &reader->config->log_files);
}

static const char *const sandboxes[] = {"auto", "required", NULL};

static const struct config_key file_keys[] = {
	{.name = "zones", .must = "an array of 1 to 31 zones", .read = read_zones, .min = 1, .required = true},
	{.name = "sandbox", .must = "\"auto\" or \"required\"", .read = read_sandbox, .choice = sandboxes},
	{.name = "log_size",
	 .must = "a number of bytes from 4096 to 1073741824",
	 .read = read_log_size,
	 .min = 4096,
	 .max = 1u << 30},
	{.name = "log_files", .must = "a number from 0 to 100", .read = read_log_files, .max = 100},
};
static const struct config_keys file_table = CONFIG_KEYS(file_keys);

static bool has_any(const cJSON *object, const char *const *keys)
{
	for (; *keys; keys++) {
		if (cJSON_GetObjectItemCaseSensitive(object, *keys))
			return true;
	}
	return false;
}

static void read_root(struct config_reader *reader, const cJSON *root)
{
	static const char *const of_zone[] = {"devices", "memory_region", NULL};
	static const char *const of_zone_file[] = {"cpus", "memory_regions", "kernel_filepath", "kernel_load_paddr",
						   NULL};
	const struct config_keys both[] = {file_table, zone_table};

	if (!cJSON_IsObject(root)) {
		config_complain(reader, "", NULL, "holds no object; it must begin with { \"zones\": [");
		return;
	}
	if (!cJSON_GetObjectItemCaseSensitive(root, "zones") && has_any(root, of_zone)) {
		read_zone(reader, "", root, both, 2);
	} else if (!cJSON_GetObjectItemCaseSensitive(root, "zones") && has_any(root, of_zone_file)) {
		config_complain(reader, "", NULL,
				"this is a zone file, which says how a zone is started (\"hvisor zone start\"); "
				"hvisor-launch takes the file of its devices, virtio_cfg.json");
	} else {
		config_read_object(reader, "", "the file", root, &file_table, 1, reader);
		config_require_keys(reader, "", root, &file_table);
	}
}

static void read_text(struct config_reader *reader, const char *text, size_t len)
{
	cJSON *root = config_parse(reader, text, len);

	if (!root)
		return;
	read_root(reader, root);
	cJSON_Delete(root);
	config_check_all(reader);
	config_blk_check(reader);
	config_net_check(reader);
	config_console_check(reader);
}

static void fill_window(struct config_window *window, const struct config_device *device)
{
	memcpy(window->name, device->name, sizeof(window->name));
	memcpy(window->place, device->place, sizeof(window->place));
	window->zone = device->zone;
	window->irq = device->irq;
	window->base = device->base;
	window->size = device->size;
}

/* The devices that will run, and the zones. */
static int fill(struct config_reader *reader)
{
	struct config *config = reader->config;
	uint32_t i;

	config->zone = calloc(reader->nzones, sizeof(*config->zone));
	config->device = calloc(reader->nentries ? reader->nentries : 1, sizeof(*config->device));
	config->window = calloc(reader->nentries ? reader->nentries : 1, sizeof(*config->window));
	if (!config->zone || !config->device || !config->window)
		return -1;
	for (i = 0; i < reader->nzones; i++)
		config->zone[config->nzones++] = reader->zone[i].zone;
	for (i = 0; i < reader->nentries; i++) {
		struct config_device *device = &reader->entry[i].device;

		if (!reader->entry[i].enabled)
			continue;
		device->zone = reader->zone[reader->entry[i].zone_index].zone.id;
		fill_window(&config->window[config->nwindows++], device);
		if (devtype_find(device->type)) {
			config->device[config->ndevices++] = *device;
			config_blk_init(&device->blk);
		} else {
			config->nskipped++;
			errors_add(&config->skipped, "%s (%s): devices of type %s are not served yet", device->name,
				   device->place, config_type_name(device->type));
		}
	}
	return 0;
}

static int init_reader(struct config_reader *reader, struct config *config, const char *path, struct errors *errors)
{
	reader->path = path;
	reader->config = config;
	reader->errors = errors;
	reader->folder = getcwd(NULL, 0);
	if (!reader->folder) {
		config_complain(reader, "", NULL, "the working directory: %s", strerror(errno));
		return -1;
	}
	if (asprintf(&config->path, "%s%s%s", path[0] == '/' ? "" : reader->folder, path[0] == '/' ? "" : "/", path) <
	    0)
		config->path = NULL;
	return config->path ? 0 : -1;
}

int config_read(struct config *config, const char *path, struct errors *errors)
{
	struct config_reader *reader = calloc(1, sizeof(*reader));
	size_t before = errors->count;
	char *text = NULL;
	size_t len;
	uint32_t i;

	*config = (struct config){.log_size = LOG_SIZE_DEFAULT, .log_files = LOG_FILES_DEFAULT};
	errors_init(&config->skipped);
	if (!reader) {
		errors_add(errors, "%s: no memory", path);
		return -1;
	}
	if (init_reader(reader, config, path, errors) == 0)
		text = config_load(reader, &len);
	if (text)
		read_text(reader, text, len);
	free(text);
	if (reader->dropped)
		errors_add(errors, "%s: and %zu more errors", path, reader->dropped);
	if (errors->count == before && (!text || fill(reader) != 0))
		errors_add(errors, "%s: no memory", path);
	for (i = 0; i < reader->nentries; i++)
		config_blk_finish(&reader->entry[i].device.blk);
	free(reader->folder);
	free(reader);
	if (errors->count == before)
		return 0;
	config_finish(config);
	return -1;
}

void config_finish(struct config *config)
{
	uint32_t i;

	for (i = 0; config->device && i < config->ndevices; i++)
		config_blk_finish(&config->device[i].blk);
	free(config->device);
	free(config->window);
	free(config->zone);
	free(config->path);
	errors_finish(&config->skipped);
	*config = (struct config){0};
}
