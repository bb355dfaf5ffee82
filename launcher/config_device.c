/* SPDX-License-Identifier: MIT */
/* The keys that all devices have, and those of upstream's types that are not served yet. */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "config_reader.h"
#include "watchdog.h"

#define POLL_US_MAX 1000u

static const char *const types[] = {
	[CONFIG_BLK] = "blk",
	[CONFIG_NET] = "net",
	[CONFIG_CONSOLE] = "console",
	[CONFIG_RNG] = "rng",
	[CONFIG_GPU] = "gpu",
	[CONFIG_SCMI] = "scmi",
	NULL,
};

static const char *const statuses[] = {"disable", "enable", NULL};

static const char *const log_levels[] = {
	[LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug", NULL,
};

static const char *const watchdog_actions[] = {
	[WATCHDOG_RESTART] = "restart",
	[WATCHDOG_REPORT] = "report",
	NULL,
};

static bool name_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < HVISOR_NAME_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len &&
	       name[0] != '-' && strcmp(name, "all") != 0 && strcmp(name, "launcher") != 0;
}

static void read_name(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	struct config_entry *entry = out;

	if (!cJSON_IsString(value) || !name_valid(value->valuestring)) {
		config_complain_value(reader, place, key, value);
		return;
	}
	strcpy(entry->device.name, value->valuestring);
	entry->named = true;
}

static void read_poll_us(struct config_reader *reader, const char *place, const struct config_key *key,
			 const cJSON *value, void *out)
{
	if (cJSON_IsString(value) && strcmp(value->valuestring, "adaptive") == 0)
		*(uint32_t *)out = CONFIG_POLL_ADAPTIVE;
	else
		config_read_u32(reader, place, key, value, out);
}

static void read_status(struct config_reader *reader, const char *place, const struct config_key *key,
			const cJSON *value, void *out)
{
	uint32_t status = *(bool *)out;

	config_read_choice(reader, place, key, value, &status);
	*(bool *)out = status;
}

static void read_address(struct config_reader *reader, const char *place, const struct config_key *key,
			 const cJSON *value, void *out)
{
	uint64_t number;

	if (config_number(value, key->min, key->max, &number) && number % 4 == 0)
		*(uint64_t *)out = number;
	else
		config_complain_value(reader, place, key, value);
}

#define AT(field) offsetof(struct config_entry, device.field)

static const struct config_key common_keys[] = {
	{.name = "type",
	 .must = "\"blk\", \"net\", \"console\", \"rng\", \"gpu\" or \"scmi\"",
	 .read = config_read_ignore, /* read first of all */
	 .choice = types,
	 .required = true},
	{.name = "addr",
	 .must = "the address of the virtio-mmio window, a multiple of 4 such as \"0xa003c00\"",
	 .read = read_address,
	 .offset = AT(base),
	 .max = UINT64_MAX - CONFIG_WINDOW_MIN,
	 .required = true},
	{.name = "len",
	 .must = "the length of the window, a multiple of 4 from 0x200 to 0x10000",
	 .read = read_address,
	 .offset = AT(size),
	 .min = CONFIG_WINDOW_MIN,
	 .max = 0x10000,
	 .required = true},
	{.name = "irq",
	 .must = "an interrupt number from 1 to 1023, such as 78 or \"0x4e\"",
	 .read = config_read_u32,
	 .offset = AT(irq),
	 .min = 1,
	 .max = 1023,
	 .required = true},
	{.name = "status",
	 .must = "\"enable\" or \"disable\"",
	 .read = read_status,
	 .offset = offsetof(struct config_entry, enabled),
	 .choice = statuses},
	{.name = "name",
	 .must = "a name of up to 31 characters a-z 0-9 _ - that does not begin with -, nor \"all\" or \"launcher\"",
	 .read = read_name},
	{.name = "poll_us",
	 .must = "\"adaptive\" or a number of microseconds from 0 to 1000",
	 .read = read_poll_us,
	 .offset = AT(poll_us),
	 .max = POLL_US_MAX},
	{.name = "log_level",
	 .must = "\"error\", \"warning\", \"info\" or \"debug\"",
	 .read = config_read_choice,
	 .offset = AT(log_level),
	 .choice = log_levels},
	{.name = "restart_limit",
	 .must = "a number from 0 (without limit) to 1000",
	 .read = config_read_u32,
	 .offset = AT(restart.limit),
	 .max = 1000},
	{.name = "restart_window_s",
	 .must = "a number of seconds from 1 to 86400",
	 .read = config_read_u32,
	 .offset = AT(restart.window_s),
	 .min = 1,
	 .max = 86400},
	{.name = "restart_delay_ms",
	 .must = "a number of milliseconds from 1 to 60000",
	 .read = config_read_u32,
	 .offset = AT(restart.delay_ms),
	 .min = 1,
	 .max = 60000},
	{.name = "restart_delay_max_ms",
	 .must = "a number of milliseconds from 1 to 3600000",
	 .read = config_read_u32,
	 .offset = AT(restart.delay_max_ms),
	 .min = 1,
	 .max = 3600000},
	{.name = "watchdog_s",
	 .must = "a number of seconds from 0 (no watchdog) to 86400",
	 .read = config_read_u32,
	 .offset = AT(watchdog.limit_s),
	 .max = 86400},
	{.name = "watchdog_action",
	 .must = "\"restart\" or \"report\"",
	 .read = config_read_choice,
	 .offset = AT(watchdog.action),
	 .choice = watchdog_actions},
	{.name = "cpu_weight",
	 .must = "a number from 1 to 10000",
	 .read = config_read_u32,
	 .offset = AT(limits.cpu_weight),
	 .min = 1,
	 .max = 10000},
	{.name = "cpu_max_percent",
	 .must = "a number of percents of one processor from 5 to 10000",
	 .read = config_read_u32,
	 .offset = AT(limits.cpu_max_percent),
	 .min = 5,
	 .max = 10000},
	{.name = "memory_max",
	 .must = "a number of bytes from 4194304",
	 .read = config_read_u64,
	 .offset = AT(limits.memory_max),
	 .min = 4 << 20,
	 .max = INT64_MAX},
};

/* The types below are not served: their keys are looked at for their form, and kept nowhere. */

static void form_number(struct config_reader *reader, const char *place, const struct config_key *key,
			const cJSON *value, void *out)
{
	uint64_t number;

	(void)out;
	if (!config_number(value, key->min, key->max, &number))
		config_complain_value(reader, place, key, value);
}

static void form_ids(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		     void *out)
{
	struct config_key element = {.must = "a number from 0"};
	const cJSON *item;
	uint64_t number;
	char index[32];
	int n = 0;

	(void)out;
	if (!cJSON_IsArray(value)) {
		config_complain_value(reader, place, key, value);
		return;
	}
	cJSON_ArrayForEach(item, value)
	{
		snprintf(index, sizeof(index), "%s[%d]", key->name, n++);
		element.name = index;
		if (config_number(item, key->min, key->max, &number))
			continue;
		config_complain_value(reader, place, &element, item);
		return;
	}
}

static const struct config_key gpu_keys[] = {
	{.name = "width", .must = "a number of pixels from 1 to 16384", .read = form_number, .min = 1, .max = 16384},
	{.name = "height", .must = "a number of pixels from 1 to 16384", .read = form_number, .min = 1, .max = 16384},
};

static const struct config_key scmi_keys[] = {
	{.name = "clock_ids", .must = "an array of numbers, such as [0, 1]", .read = form_ids, .max = UINT32_MAX},
	{.name = "reset_ids", .must = "an array of numbers, such as [0, 1]", .read = form_ids, .max = UINT32_MAX},
	{.name = "power_ids", .must = "an array of numbers, such as [0, 1]", .read = form_ids, .max = UINT32_MAX},
};

static const struct config_keys common = CONFIG_KEYS(common_keys);

static struct config_keys keys_of(enum config_type type)
{
	static const struct config_keys gpu = CONFIG_KEYS(gpu_keys);
	static const struct config_keys scmi = CONFIG_KEYS(scmi_keys);

	switch (type) {
	case CONFIG_BLK:
		return config_blk_keys;
	case CONFIG_NET:
		return config_net_keys;
	case CONFIG_GPU:
		return gpu;
	case CONFIG_SCMI:
		return scmi;
	case CONFIG_CONSOLE:
		return config_console_keys;
	case CONFIG_RNG:
		return config_rng_keys;
	}
	return (struct config_keys){NULL, 0};
}

static void init_entry(struct config_entry *entry, uint32_t zone_index, const char *place)
{
	*entry = (struct config_entry){
		.enabled = true,
		.zone_index = zone_index,
		.device =
			{
				.base = CONFIG_BASE_NONE,
				.poll_us = CONFIG_POLL_ADAPTIVE,
				.log_level = LOG_INFO,
				.restart = {.limit = 10, .window_s = 60, .delay_ms = 100, .delay_max_ms = 10000},
				.watchdog = {.limit_s = 10, .action = WATCHDOG_RESTART},
			},
	};
	snprintf(entry->device.place, sizeof(entry->device.place), "%s", place);
	config_blk_init(&entry->device.blk);
	config_net_init(&entry->device.net);
	config_console_init(&entry->device.console);
}

void config_read_device(struct config_reader *reader, uint32_t zone_index, const char *place, const cJSON *value)
{
	struct config_entry *entry = &reader->entry[reader->nentries++];
	const cJSON *type = cJSON_GetObjectItemCaseSensitive(value, "type");
	struct config_keys tables[1 + sizeof(types) / sizeof(types[0])] = {common};
	size_t ntables = 1;
	uint32_t number = UINT32_MAX;
	char what[32] = "devices";

	init_entry(entry, zone_index, place);
	if (type && cJSON_IsObject(value))
		config_read_choice(reader, place, &common_keys[0], type, &number);
	entry->type_known = number != UINT32_MAX;
	if (entry->type_known) {
		entry->device.type = number;
		tables[ntables++] = keys_of(number);
		snprintf(what, sizeof(what), "%s devices", types[number]);
	} else {
		/* Which keys are wrong cannot be known, then. */
		for (number = 0; types[number]; number++)
			tables[ntables++] = keys_of(number);
	}
	if (!config_read_object(reader, place, what, value, tables, ntables, entry))
		return;
	config_require_keys(reader, place, value, &tables[0]);
	if (entry->type_known)
		config_require_keys(reader, place, value, &tables[1]);
	if (entry->device.restart.delay_max_ms < entry->device.restart.delay_ms)
		config_complain(reader, place, "restart_delay_max_ms", "is %u, less than restart_delay_ms, which is %u",
				entry->device.restart.delay_max_ms, entry->device.restart.delay_ms);
}
