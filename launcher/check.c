/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <cjson/cJSON.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/net.h"
#include "devtype.h"
#include "human.h"

struct feature {
	unsigned int bit;
	const char *name; /* as the specification has it, without the VIRTIO_..._F_ */
};

static const struct feature blk_features[] = {
	{VIRTIO_BLK_F_SIZE_MAX, "SIZE_MAX"},
	{VIRTIO_BLK_F_SEG_MAX, "SEG_MAX"},
	{VIRTIO_BLK_F_RO, "RO"},
	{VIRTIO_BLK_F_BLK_SIZE, "BLK_SIZE"},
	{VIRTIO_BLK_F_FLUSH, "FLUSH"},
	{VIRTIO_BLK_F_TOPOLOGY, "TOPOLOGY"},
	{VIRTIO_BLK_F_CONFIG_WCE, "CONFIG_WCE"},
	{VIRTIO_BLK_F_MQ, "MQ"},
	{VIRTIO_BLK_F_DISCARD, "DISCARD"},
	{VIRTIO_BLK_F_WRITE_ZEROES, "WRITE_ZEROES"},
};

static const struct feature net_features[] = {
	{VIRTIO_NET_F_CSUM, "CSUM"},
	{VIRTIO_NET_F_GUEST_CSUM, "GUEST_CSUM"},
	{VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, "CTRL_GUEST_OFFLOADS"},
	{VIRTIO_NET_F_MTU, "MTU"},
	{VIRTIO_NET_F_MAC, "MAC"},
	{VIRTIO_NET_F_GUEST_TSO4, "GUEST_TSO4"},
	{VIRTIO_NET_F_GUEST_TSO6, "GUEST_TSO6"},
	{VIRTIO_NET_F_GUEST_ECN, "GUEST_ECN"},
	{VIRTIO_NET_F_HOST_TSO4, "HOST_TSO4"},
	{VIRTIO_NET_F_HOST_TSO6, "HOST_TSO6"},
	{VIRTIO_NET_F_HOST_ECN, "HOST_ECN"},
	{VIRTIO_NET_F_MRG_RXBUF, "MRG_RXBUF"},
	{VIRTIO_NET_F_STATUS, "STATUS"},
	{VIRTIO_NET_F_CTRL_VQ, "CTRL_VQ"},
	{VIRTIO_NET_F_CTRL_RX, "CTRL_RX"},
	{VIRTIO_NET_F_CTRL_VLAN, "CTRL_VLAN"},
	{VIRTIO_NET_F_CTRL_RX_EXTRA, "CTRL_RX_EXTRA"},
	{VIRTIO_NET_F_GUEST_ANNOUNCE, "GUEST_ANNOUNCE"},
	{VIRTIO_NET_F_MQ, "MQ"},
	{VIRTIO_NET_F_CTRL_MAC_ADDR, "CTRL_MAC_ADDR"},
	{VIRTIO_NET_F_GUEST_USO4, "GUEST_USO4"},
	{VIRTIO_NET_F_GUEST_USO6, "GUEST_USO6"},
	{VIRTIO_NET_F_HOST_USO, "HOST_USO"},
};

static const struct feature console_features[] = {
	{VIRTIO_CONSOLE_F_SIZE, "SIZE"},
	{VIRTIO_CONSOLE_F_MULTIPORT, "MULTIPORT"},
	{VIRTIO_CONSOLE_F_EMERG_WRITE, "EMERG_WRITE"},
};

static const struct feature common_features[] = {
	{VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC"},
	{VIRTIO_RING_F_EVENT_IDX, "EVENT_IDX"},
	{VIRTIO_F_VERSION_1, "VERSION_1"},
	{VIRTIO_F_ACCESS_PLATFORM, "ACCESS_PLATFORM"},
	{VIRTIO_F_RING_PACKED, "RING_PACKED"},
	{VIRTIO_F_IN_ORDER, "IN_ORDER"},
	{VIRTIO_F_ORDER_PLATFORM, "ORDER_PLATFORM"},
	{VIRTIO_F_RING_RESET, "RING_RESET"},
};

/* What is known of one device. */
struct plan {
	const struct config_device *device;
	struct hvisor_device_add add;
	char program[PATH_MAX];
	char policy[PATH_MAX];
};

static const char *feature_name(const struct feature *feature, size_t n, unsigned int bit)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (feature[i].bit == bit)
			return feature[i].name;
	}
	return NULL;
}

/* "FLUSH", or "bit 17" in buffer for one without a name here. */
static const char *name_of_bit(const struct plan *plan, unsigned int bit, char buffer[16])
{
	const char *name = feature_name(common_features, sizeof(common_features) / sizeof(common_features[0]), bit);

	if (!name && plan->device->type == CONFIG_BLK)
		name = feature_name(blk_features, sizeof(blk_features) / sizeof(blk_features[0]), bit);
	if (!name && plan->device->type == CONFIG_NET)
		name = feature_name(net_features, sizeof(net_features) / sizeof(net_features[0]), bit);
	if (!name && plan->device->type == CONFIG_CONSOLE)
		name = feature_name(console_features, sizeof(console_features) / sizeof(console_features[0]), bit);
	if (name)
		return name;
	snprintf(buffer, 16, "bit %u", bit);
	return buffer;
}

/* Adds to errors what is not there. */
static void make_plan(struct plan *plan, const struct launch_options *options, const struct config_device *device,
		      struct errors *errors)
{
	struct rundir run = {.path = (char *)(uintptr_t)options->run_dir, .lock_fd = -1};
	const struct devtype *type = devtype_find(device->type);

	memset(plan, 0, sizeof(*plan));
	plan->device = device;
	snprintf(plan->program, sizeof(plan->program), "%s/%s", options->program_dir, type->program);
	snprintf(plan->policy, sizeof(plan->policy), "%s/%s", options->policy_dir, type->policy);
	if (access(plan->program, X_OK) != 0)
		errors_add(errors, "%s: %s: %s; --program-dir says where the backends are", device->name, plan->program,
			   strerror(errno));
	if (access(plan->policy, R_OK) != 0)
		errors_add(errors, "%s: %s: %s; --policy-dir says where the policies are", device->name, plan->policy,
			   strerror(errno));
	type->describe(device, &plan->add, errors);
	if (type->check)
		type->check(device, &run, errors);
}

static const char *poll_word(const struct config_device *device, char buffer[32])
{
	if (device->poll_us == CONFIG_POLL_ADAPTIVE)
		return "adaptive";
	snprintf(buffer, 32, "%u us", device->poll_us);
	return device->poll_us ? buffer : "never";
}

/* Bytes that the guest of a block device finds. */
static uint64_t blk_size(const struct plan *plan)
{
	uint64_t sectors;

	memcpy(&sectors, plan->add.config + offsetof(struct virtio_blk_config, capacity), sizeof(sectors));
	return le64toh(sectors) * 512;
}

static void print_blk(const struct plan *plan, FILE *file)
{
	const struct config_blk *blk = &plan->device->blk;
	char size[HUMAN_MAX];

	fprintf(file, "  image      %s, %s%s\n", blk->img, human_size(size, blk_size(plan)),
		blk->readonly ? ", read-only" : "");
	if (blk->serial[0])
		fprintf(file, "  serial     %s\n", blk->serial);
	fprintf(file, "  cache      %s\n", config_cache_name(blk->cache));
	fprintf(file, "  engine     %s\n", config_engine_name(blk->engine));
	fprintf(file, "  block      %u bytes\n", blk->logical_block_size);
}

static void print_rng(const struct plan *plan, FILE *file)
{
	uint64_t rate = plan->device->rng.rate;

	if (rate)
		fprintf(file, "  rate       %llu bytes a second\n", (unsigned long long)rate);
	else
		fprintf(file, "  rate       no limit\n");
}

static void print_rate(const char *name, uint64_t rate, FILE *file)
{
	char size[HUMAN_MAX];

	if (rate)
		fprintf(file, "  %-10s %s a second\n", name, human_size(size, rate));
}

static void print_net(const struct plan *plan, FILE *file)
{
	const struct config_net *net = &plan->device->net;
	char mac[CONFIG_MAC_MAX];

	fprintf(file, "  tap        %s\n", net->tap);
	if (net->bridge[0])
		fprintf(file, "  bridge     %s\n", net->bridge);
	fprintf(file, "  mac        %s\n", config_mac_text(mac, net->mac));
	if (net->mtu)
		fprintf(file, "  mtu        %u\n", net->mtu);
	print_rate("rate rx", net->rate_rx, file);
	print_rate("rate tx", net->rate_tx, file);
}

static void print_console(const struct plan *plan, FILE *file)
{
	const struct config_console *console = &plan->device->console;
	uint32_t i;

	fprintf(file, "  window     %u columns, %u rows\n", console->cols, console->rows);
	for (i = 0; i < console->nports; i++) {
		const struct config_port *port = &console->port[i];

		fprintf(file, "  port %-5u %s%s%s%s%s%s\n", i, config_endpoint_name(port->endpoint),
			port->path[0] ? " " : "", port->path, port->name[0] ? ", named " : "", port->name,
			port->output_log ? ", output logged" : "");
	}
}

static void print_plan(const struct plan *plan, FILE *file)
{
	const struct config_device *device = plan->device;
	char buffer[32];
	char word[16];
	unsigned int bit;

	fprintf(file, "%s (%s)\n", device->name, device->place);
	fprintf(file, "  type       %s\n", config_type_name(device->type));
	fprintf(file, "  zone       %u\n", device->zone);
	fprintf(file, "  window     0x%llx-0x%llx\n", (unsigned long long)device->base,
		(unsigned long long)(device->base + device->size - 1));
	fprintf(file, "  interrupt  %u\n", device->irq);
	if (device->type == CONFIG_BLK)
		print_blk(plan, file);
	if (device->type == CONFIG_RNG)
		print_rng(plan, file);
	if (device->type == CONFIG_NET)
		print_net(plan, file);
	if (device->type == CONFIG_CONSOLE)
		print_console(plan, file);
	fprintf(file, "  queues     %u of %u\n", plan->add.nqueues, plan->add.queue_size_max);
	fprintf(file, "  polling    %s\n", poll_word(device, buffer));
	fprintf(file, "  features  ");
	for (bit = 0; bit < 64; bit++) {
		if (plan->add.features >> bit & 1)
			fprintf(file, " %s", name_of_bit(plan, bit, word));
	}
	fprintf(file, "\n  program    %s\n", plan->program);
	fprintf(file, "  policy     %s\n", plan->policy);
}

static void print_zone(const struct config_zone *zone, FILE *file)
{
	char size[HUMAN_MAX];
	uint32_t i;

	fprintf(file, "zone %u\n", zone->id);
	for (i = 0; i < zone->nmemory; i++) {
		const struct hvisor_memory *memory = &zone->memory[i];

		fprintf(file, "  memory     %s at 0x%llx, which root sees at 0x%llx\n", human_size(size, memory->size),
			(unsigned long long)memory->zonex_ipa, (unsigned long long)memory->zone0_ipa);
	}
}

static void add_hex(cJSON *object, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	cJSON_AddStringToObject(object, key, text);
}

static void net_json(cJSON *object, const struct config_net *net)
{
	char mac[CONFIG_MAC_MAX];

	cJSON_AddStringToObject(object, "tap", net->tap);
	if (net->bridge[0])
		cJSON_AddStringToObject(object, "bridge", net->bridge);
	else
		cJSON_AddNullToObject(object, "bridge");
	cJSON_AddStringToObject(object, "mac", config_mac_text(mac, net->mac));
	if (net->mtu)
		cJSON_AddNumberToObject(object, "mtu", net->mtu);
	else
		cJSON_AddNullToObject(object, "mtu");
	cJSON_AddBoolToObject(object, "create", net->create);
	cJSON_AddNumberToObject(object, "rate_rx", (double)net->rate_rx);
	cJSON_AddNumberToObject(object, "rate_tx", (double)net->rate_tx);
}

static void console_json(cJSON *object, const struct config_console *console)
{
	cJSON *ports;
	uint32_t i;

	cJSON_AddNumberToObject(object, "columns", console->cols);
	cJSON_AddNumberToObject(object, "rows", console->rows);
	ports = cJSON_AddArrayToObject(object, "ports");
	for (i = 0; i < console->nports; i++) {
		const struct config_port *port = &console->port[i];
		cJSON *item = cJSON_CreateObject();

		cJSON_AddItemToObject(item, "name",
				      port->name[0] ? cJSON_CreateString(port->name) : cJSON_CreateNull());
		cJSON_AddStringToObject(item, "backend", config_endpoint_name(port->endpoint));
		cJSON_AddItemToObject(item, "path",
				      port->path[0] ? cJSON_CreateString(port->path) : cJSON_CreateNull());
		cJSON_AddBoolToObject(item, "console", port->console);
		cJSON_AddBoolToObject(item, "output_log", port->output_log);
		cJSON_AddItemToArray(ports, item);
	}
}

static cJSON *plan_json(const struct plan *plan)
{
	const struct config_device *device = plan->device;
	cJSON *object = cJSON_CreateObject();
	cJSON *features;
	char word[16];
	unsigned int bit;

	cJSON_AddStringToObject(object, "name", device->name);
	cJSON_AddStringToObject(object, "place", device->place);
	cJSON_AddStringToObject(object, "type", config_type_name(device->type));
	cJSON_AddNumberToObject(object, "zone", device->zone);
	add_hex(object, "addr", device->base);
	add_hex(object, "len", device->size);
	cJSON_AddNumberToObject(object, "irq", device->irq);
	if (device->type == CONFIG_BLK) {
		cJSON_AddStringToObject(object, "img", device->blk.img);
		cJSON_AddNumberToObject(object, "img_bytes", (double)blk_size(plan));
		cJSON_AddBoolToObject(object, "readonly", device->blk.readonly);
		cJSON_AddStringToObject(object, "serial", device->blk.serial);
		cJSON_AddStringToObject(object, "cache", config_cache_name(device->blk.cache));
		cJSON_AddStringToObject(object, "engine", config_engine_name(device->blk.engine));
		cJSON_AddNumberToObject(object, "logical_block_size", device->blk.logical_block_size);
	}
	if (device->type == CONFIG_RNG)
		cJSON_AddNumberToObject(object, "rate", (double)device->rng.rate);
	if (device->type == CONFIG_NET)
		net_json(object, &device->net);
	if (device->type == CONFIG_CONSOLE)
		console_json(object, &device->console);
	cJSON_AddNumberToObject(object, "queues", plan->add.nqueues);
	cJSON_AddNumberToObject(object, "queue_size", plan->add.queue_size_max);
	if (device->poll_us == CONFIG_POLL_ADAPTIVE)
		cJSON_AddStringToObject(object, "poll_us", "adaptive");
	else
		cJSON_AddNumberToObject(object, "poll_us", device->poll_us);
	features = cJSON_AddArrayToObject(object, "features");
	for (bit = 0; bit < 64; bit++) {
		if (plan->add.features >> bit & 1)
			cJSON_AddItemToArray(features, cJSON_CreateString(name_of_bit(plan, bit, word)));
	}
	cJSON_AddStringToObject(object, "program", plan->program);
	cJSON_AddStringToObject(object, "policy", plan->policy);
	return object;
}

static cJSON *zone_json(const struct config_zone *zone)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *memory;
	uint32_t i;

	cJSON_AddNumberToObject(object, "id", zone->id);
	memory = cJSON_AddArrayToObject(object, "memory_region");
	for (i = 0; i < zone->nmemory; i++) {
		cJSON *item = cJSON_CreateObject();

		add_hex(item, "zone0_ipa", zone->memory[i].zone0_ipa);
		add_hex(item, "zonex_ipa", zone->memory[i].zonex_ipa);
		add_hex(item, "size", zone->memory[i].size);
		cJSON_AddItemToArray(memory, item);
	}
	return object;
}

static void add_lines(cJSON *object, const char *key, const struct errors *errors)
{
	cJSON *array = cJSON_AddArrayToObject(object, key);
	size_t i;

	for (i = 0; errors->line && i < errors->count; i++)
		cJSON_AddItemToArray(array, cJSON_CreateString(errors->line[i] ? errors->line[i] : "no memory"));
}

static void print_object(cJSON *object, FILE *file)
{
	char *text = cJSON_Print(object);

	fprintf(file, "%s\n", text ? text : "{\"ok\":false,\"errors\":[\"no memory\"]}");
	free(text);
	cJSON_Delete(object);
}

static void print_json(const struct plan *plan, const struct config *config, const struct errors *errors, FILE *file)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *array;
	uint32_t i;

	cJSON_AddBoolToObject(object, "ok", errors->count == 0);
	cJSON_AddStringToObject(object, "config", config->path);
	cJSON_AddStringToObject(object, "sandbox", config->sandbox_required ? "required" : "auto");
	array = cJSON_AddArrayToObject(object, "zones");
	for (i = 0; i < config->nzones; i++)
		cJSON_AddItemToArray(array, zone_json(&config->zone[i]));
	array = cJSON_AddArrayToObject(object, "devices");
	for (i = 0; i < config->ndevices; i++)
		cJSON_AddItemToArray(array, plan_json(&plan[i]));
	add_lines(object, "skipped", &config->skipped);
	add_lines(object, "errors", errors);
	print_object(object, file);
}

static void print_text(const struct plan *plan, const struct config *config, FILE *file)
{
	uint32_t i;

	for (i = 0; i < config->nzones; i++)
		print_zone(&config->zone[i], file);
	for (i = 0; i < config->ndevices; i++)
		print_plan(&plan[i], file);
	errors_print(&config->skipped, file, "left out: ");
	fprintf(file, "%u device%s would be served.\n", config->ndevices, config->ndevices == 1 ? "" : "s");
}

int check_print(const struct launch_options *options, const struct config *config, bool json, FILE *file,
		struct errors *errors)
{
	struct plan *plan = calloc(config->ndevices ? config->ndevices : 1, sizeof(*plan));
	size_t before = errors->count;
	uint32_t i;

	if (!plan) {
		errors_add(errors, "no memory");
		return LAUNCH_EXIT_FAILED;
	}
	for (i = 0; i < config->ndevices; i++)
		make_plan(&plan[i], options, &config->device[i], errors);
	if (json)
		print_json(plan, config, errors, file);
	else
		print_text(plan, config, file);
	free(plan);
	return errors->count == before ? LAUNCH_EXIT_OK : LAUNCH_EXIT_FAILED;
}

void check_print_errors(const struct errors *errors, FILE *file)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddBoolToObject(object, "ok", false);
	add_lines(object, "errors", errors);
	print_object(object, file);
}
