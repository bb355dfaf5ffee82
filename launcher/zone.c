/* SPDX-License-Identifier: MIT */
#include "zone.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_reader.h"
#include "utf8.h"
#include "zone_dtb.h"
#include "zone_layout.h"

static int prepare_virtio(const struct zone_file *zone, const char *path, struct errors *errors, struct errors *notes)
{
	struct config config;
	size_t wrong;

	if (config_read(&config, path, errors) != 0)
		return -1;
	wrong = zone_virtio_check(zone, &config, errors, notes);
	config_finish(&config);
	return wrong ? -1 : 0;
}

int zone_prepare(struct zone_file *zone, const struct zone_start_options *options, struct errors *errors,
		 struct errors *notes)
{
	size_t before = errors->count;

	if (options->arch == ZONE_ARCHS) {
		errors_add(errors,
			   "hvisor does not run on the processor that this program is for; --arch says another");
		return -1;
	}
	if (zone_file_read(zone, options->path, options->arch, errors) != 0)
		return -1;
	zone_images_read(zone, errors, notes);
	zone_dtb_check(zone, errors);
	if (options->virtio)
		prepare_virtio(zone, options->virtio, errors, notes);
	if (errors->count == before)
		return 0;
	zone_file_finish(zone);
	return -1;
}

static void complain_load(const struct zone_file *zone, uint32_t i, int error, struct errors *errors)
{
	const struct zone_image *image = &zone->image[i];
	char range[CONFIG_RANGE_MAX];
	char key[ZONE_KEY_MAX];

	config_range(range, image->load, image->size);
	zone_image_load_key(key, i);
	switch (error) {
	case -EBUSY:
		errors_add(errors, "zone %u runs already; stop it first with: hvisor zone shutdown -id %u", zone->id,
			   zone->id);
		break;
	case -EPERM:
		errors_add(errors,
			   "%s: %s: %s is root's own memory; reserve it for the zone in root's device tree "
			   "(/reserved-memory, no-map), or load to memory that is",
			   zone->path, key, range);
		break;
	case -ERANGE:
		errors_add(errors, "%s: %s: %s is memory that no zone can have", zone->path, key, range);
		break;
	default:
		errors_add(errors, "%s: %s: %s cannot be loaded: %s", zone->path, key, range, strerror(-error));
		break;
	}
}

static void complain_start(const struct zone_file *zone, int error, struct errors *errors)
{
	switch (error) {
	case -EBUSY:
	case -EEXIST:
		errors_add(errors,
			   "zone %u cannot be started: it runs already, or another zone has one of its CPUs; see: "
			   "hvisor zone list",
			   zone->id);
		break;
	case -EINVAL:
		errors_add(errors,
			   "zone %u cannot be started: hvisor refuses its configuration (%s); its console says why",
			   zone->id, zone->path);
		break;
	case -EPERM:
		errors_add(errors, "zone %u cannot be started: hvisor.ko finds root's own memory in its regions (%s)",
			   zone->id, zone->path);
		break;
	case -EOPNOTSUPP:
		errors_add(errors,
			   "zone %u cannot be started: hvisor.ko does not know this hvisor's version of the zone "
			   "configuration; load the hvisor.ko that came with this program",
			   zone->id);
		break;
	default:
		errors_add(errors, "zone %u cannot be started: %s; hvisor's console may say more", zone->id,
			   strerror(-error));
		break;
	}
}

/* Is anything of the zone there already? Asked first, so that the answer does not depend on what is loaded. */
static int check_free(struct hv *hv, const struct zone_file *zone, struct errors *errors)
{
	struct hvisor_zone_list list = {.count = HVISOR_ZONES_MAX};
	size_t before = errors->count;
	char word[CONFIG_WORD_MAX];
	int error = hv_call(hv, HVISOR_ZONE_LIST, &list);
	uint32_t i;

	if (error) {
		errors_add(errors, "hvisor does not say which zones run: %s", strerror(-error));
		return -1;
	}
	for (i = 0; i < list.count && i < HVISOR_ZONES_MAX; i++) {
		struct hvisor_zone_info *info = &list.zones[i];

		info->name[sizeof(info->name) - 1] = 0;
		if (info->zone == zone->id)
			complain_load(zone, ZONE_KERNEL, -EBUSY, errors);
		else if (info->cpus & zone->cpus)
			errors_add(errors, "%s: cpus: CPU %d belongs to zone %u (%s), which runs", zone->path,
				   __builtin_ctzll(info->cpus & zone->cpus), info->zone, config_word(word, info->name));
	}
	return errors->count == before ? 0 : -1;
}

/* Is none of the zone's regions root's own memory? All that are, are named before anything is loaded. */
static int check_memory(struct hv *hv, const struct zone_file *zone, struct errors *errors)
{
	size_t before = errors->count;
	char range[CONFIG_RANGE_MAX];
	uint32_t i;

	for (i = 0; i < zone->nregions; i++) {
		const struct zone_region *region = &zone->region[i];
		struct hvisor_memory_check check = {.zone0_ipa = region->physical, .size = region->size};
		int error = region->type == ZONE_VIRTIO ? 0 : hv_call(hv, HVISOR_MEMORY_CHECK, &check);

		if (error == -EPERM)
			errors_add(
				errors,
				"%s: memory_regions[%u].physical_start: %s is root Linux's own memory, in whole or in "
				"part; a zone is given memory that root's device tree has reserved (/reserved-memory, "
				"no-map) or does not know",
				zone->path, i, config_range(range, region->physical, region->size));
		else if (error)
			errors_add(errors,
				   "%s: memory_regions[%u]: hvisor.ko does not say whether it is root's own: %s",
				   zone->path, i, strerror(-error));
	}
	return errors->count == before ? 0 : -1;
}

static int load_images(struct hv *hv, const struct zone_file *zone, struct errors *errors)
{
	uint32_t i;

	for (i = 0; i < ZONE_IMAGES; i++) {
		const struct zone_image *image = &zone->image[i];
		struct hvisor_zone_load load = {
			.zone = zone->id,
			.zone0_ipa = image->load,
			.size = image->size,
			.data = (uintptr_t)image->data,
		};
		int error;

		if (!image->data)
			continue;
		error = hv_call(hv, HVISOR_ZONE_LOAD, &load);
		if (error) {
			complain_load(zone, i, error, errors);
			return -1;
		}
	}
	return 0;
}

/* As hvisor on this machine takes it. Bytes of layout, 0 after a complaint. */
static size_t lay_out(struct hv *hv, const struct zone_file *zone, union zone_layout *layout, struct errors *errors)
{
	struct hvisor_config_version version = {0};
	int error = hv_call(hv, HVISOR_CONFIG_VERSION, &version);

	if (error == 0)
		return zone_layout_fill(layout, zone, version.version, errors);
	errors_add(errors, "hvisor does not say which version of the zone configuration it takes: %s",
		   strerror(-error));
	return 0;
}

int zone_check(struct hv *hv, const struct zone_file *zone, struct errors *errors)
{
	union zone_layout layout;
	bool fits = lay_out(hv, zone, &layout, errors) > 0;

	return check_memory(hv, zone, errors) == 0 && fits ? 0 : -1;
}

int zone_start(struct hv *hv, const struct zone_file *zone, struct errors *errors)
{
	struct hvisor_zone_start start = {.zone = zone->id};
	union zone_layout layout;
	int error;

	start.size = (uint32_t)lay_out(hv, zone, &layout, errors);
	if (start.size == 0 || check_free(hv, zone, errors) != 0 || check_memory(hv, zone, errors) != 0 ||
	    load_images(hv, zone, errors) != 0)
		return -1;
	start.config = (uintptr_t)&layout;
	error = hv_call(hv, HVISOR_ZONE_START, &start);
	if (error)
		complain_start(zone, error, errors);
	return error ? -1 : 0;
}

int zone_shutdown(struct hv *hv, uint32_t id, struct errors *errors)
{
	struct hvisor_zone_shutdown shutdown = {.zone = id};
	int error = hv_call(hv, HVISOR_ZONE_SHUTDOWN, &shutdown);

	if (error == -ENOENT)
		errors_add(errors, "zone %u does not run; see: hvisor zone list", id);
	else if (error)
		errors_add(errors, "zone %u cannot be shut down: %s", id, strerror(-error));
	return error ? -1 : 0;
}

/* "2, 3"; returns buffer. */
static const char *cpu_list(char *buffer, size_t size, uint64_t cpus)
{
	size_t at = 0;
	uint32_t n;

	snprintf(buffer, size, "none");
	for (n = 0; n < 64; n++) {
		if (cpus >> n & 1)
			at += (size_t)snprintf(buffer + at, size - at, "%s%u", at ? ", " : "", n);
	}
	return buffer;
}

static const char *status_of(const struct hvisor_zone_info *info)
{
	return info->failed ? "error" : "running";
}

static int print_json(const struct hvisor_zone_list *list, FILE *file)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *zones = cJSON_AddArrayToObject(root, "zones");
	char *text;
	uint32_t i;
	uint32_t n;

	for (i = 0; i < list->count; i++) {
		cJSON *zone = cJSON_CreateObject();
		cJSON *cpus;

		cJSON_AddItemToArray(zones, zone);
		cJSON_AddNumberToObject(zone, "id", list->zones[i].zone);
		cJSON_AddStringToObject(zone, "name", list->zones[i].name);
		cpus = cJSON_AddArrayToObject(zone, "cpus");
		for (n = 0; n < 64; n++) {
			if (list->zones[i].cpus >> n & 1)
				cJSON_AddItemToArray(cpus, cJSON_CreateNumber(n));
		}
		cJSON_AddStringToObject(zone, "status", status_of(&list->zones[i]));
	}
	text = cJSON_Print(root);
	cJSON_Delete(root);
	if (!text)
		return -1;
	fprintf(file, "%s\n", text);
	free(text);
	return 0;
}

/* Scripts cut this at the bars: the columns and their order are upstream's. */
static void print_table(const struct hvisor_zone_list *list, FILE *file)
{
	char cpus[256];
	uint32_t i;

	fprintf(file, "| %15s | %17s | %15s | %10s |\n", "zone_id", "cpus", "name", "status");
	for (i = 0; i < list->count; i++)
		fprintf(file, "| %15u | %17s | %15s | %10s |\n", list->zones[i].zone,
			cpu_list(cpus, sizeof(cpus), list->zones[i].cpus), list->zones[i].name,
			status_of(&list->zones[i]));
}

/* One line of what a terminal may see. */
static void clean_name(char name[HVISOR_NAME_MAX])
{
	name[HVISOR_NAME_MAX - 1] = 0;
	utf8_clean(name);
	for (; *name; name++) {
		if (*name == '\n' || *name == '\t' || *name == '|')
			*name = '?';
	}
}

int zone_list(struct hv *hv, bool json, FILE *file, struct errors *errors)
{
	struct hvisor_zone_list list = {.count = HVISOR_ZONES_MAX};
	int error = hv_call(hv, HVISOR_ZONE_LIST, &list);
	uint32_t i;

	if (error) {
		errors_add(errors, "hvisor does not say which zones run: %s", strerror(-error));
		return -1;
	}
	if (list.count > HVISOR_ZONES_MAX)
		list.count = HVISOR_ZONES_MAX;
	for (i = 0; i < list.count; i++) {
		clean_name(list.zones[i].name);
	}
	if (!json) {
		print_table(&list, file);
	} else if (print_json(&list, file) != 0) {
		errors_add(errors, "no memory");
		return -1;
	}
	return 0;
}
