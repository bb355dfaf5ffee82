/* SPDX-License-Identifier: MIT */
/* virtio_cfg.json: the input is the file. What is accepted keeps to the limits that config.h names. */
#include <string.h>

#include "launcher/config.h"
#include "tests/fuzz/input.h"

static bool is_text(const char *text, size_t room)
{
	return memchr(text, 0, room) != NULL;
}

static bool is_power_of_two(uint32_t value, uint32_t min, uint32_t max)
{
	return value >= min && value <= max && (value & (value - 1)) == 0;
}

static void blk_check(const struct config_blk *blk)
{
	INPUT_CHECK(blk->img != NULL && blk->img[0] == '/');
	INPUT_CHECK(is_text(blk->serial, sizeof(blk->serial)));
	INPUT_CHECK(blk->queues >= 1 && blk->queues <= 16);
	INPUT_CHECK(is_power_of_two(blk->queue_size, 4, 1024));
	INPUT_CHECK(is_power_of_two(blk->logical_block_size, 512, 4096));
}

static void net_check(const struct config_net *net)
{
	INPUT_CHECK(is_text(net->tap, sizeof(net->tap)) && net->tap[0]);
	INPUT_CHECK(is_text(net->bridge, sizeof(net->bridge)));
	INPUT_CHECK(net->mtu == 0 || (net->mtu >= 68 && net->mtu <= 65521));
	INPUT_CHECK(net->queues >= 1 && is_power_of_two(net->queue_size, 4, 1024));
	INPUT_CHECK(!(net->mac[0] & 1));
}

static void console_check(const struct config_console *console)
{
	uint32_t i;

	INPUT_CHECK(console->cols >= 1 && console->cols <= 1000 && console->rows >= 1 && console->rows <= 1000);
	INPUT_CHECK(console->nports >= 1 && console->nports <= CONSOLE_PORTS_MAX);
	for (i = 0; i < console->nports; i++) {
		const struct config_port *port = &console->port[i];

		INPUT_CHECK(is_text(port->name, sizeof(port->name)) && is_text(port->path, sizeof(port->path)));
		INPUT_CHECK(config_endpoint_name(port->endpoint) != NULL);
	}
}

static void device_check(const struct config_device *device)
{
	INPUT_CHECK(is_text(device->name, sizeof(device->name)) && device->name[0]);
	INPUT_CHECK(!strchr(device->name, '/') && device->name[0] != '.');
	INPUT_CHECK(is_text(device->place, sizeof(device->place)));
	INPUT_CHECK(device->base + device->size > device->base);
	switch (device->type) {
	case CONFIG_BLK:
		blk_check(&device->blk);
		break;
	case CONFIG_NET:
		net_check(&device->net);
		break;
	case CONFIG_CONSOLE:
		console_check(&device->console);
		break;
	default:
		INPUT_CHECK(config_type_name(device->type) != NULL);
		break;
	}
}

static void config_check_accepted(const struct config *config)
{
	uint32_t i, k;

	INPUT_CHECK(config->nzones > 0 && config->ndevices + config->nskipped == config->nwindows);
	for (i = 0; i < config->nzones; i++) {
		const struct config_zone *zone = &config->zone[i];

		INPUT_CHECK(zone->nmemory >= 1 && zone->nmemory <= HVISOR_MEMORY_MAX);
		for (k = 0; k < zone->nmemory; k++)
			INPUT_CHECK(zone->memory[k].size > 0);
	}
	for (i = 0; i < config->ndevices; i++) {
		device_check(&config->device[i]);
		for (k = 0; k < i; k++)
			INPUT_CHECK(strcmp(config->device[i].name, config->device[k].name) != 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config;
	struct errors errors;

	errors_init(&errors);
	if (config_read(&config, input_file(data, size), &errors) == 0) {
		INPUT_CHECK(errors.count == 0);
		config_check_accepted(&config);
		config_finish(&config);
	} else {
		INPUT_CHECK(errors.count > 0);
	}
	errors_finish(&errors);
	return 0;
}
