/* SPDX-License-Identifier: MIT */
/* The reply to "status": what the launcher, the backends and hvisor know about the devices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/net.h"
#include "launcher/console.h"
#include "launcher/control.h"
#include "launcher/control_server.h"

/* As digits: a double would round large counters. */
static void add_u64(cJSON *object, const char *name, uint64_t value)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
	cJSON_AddRawToObject(object, name, digits);
}

static void add_text(cJSON *object, const char *name, const char *text)
{
	if (text)
		cJSON_AddStringToObject(object, name, text);
	else
		cJSON_AddNullToObject(object, name);
}

/* A backend may have written anything here; these are numbers to show. */
static void add_region(cJSON *object, const struct device *device)
{
	const struct queue_region *region = device->view;

	add_u64(object, "requests", region ? core_load(&region->device.requests) : 0);
	add_u64(object, "bytes_read", region ? core_load(&region->device.bytes_read) : 0);
	add_u64(object, "bytes_written", region ? core_load(&region->device.bytes_written) : 0);
	add_u64(object, "errors", region ? core_load(&region->device.errors) : 0);
	add_u64(object, "interrupts", region ? core_load(&region->device.interrupts) : 0);
	add_u64(object, "wakeups", region ? core_load(&region->device.wakeups) : 0);
	add_u64(object, "resubmitted", region ? core_load(&region->device.resubmitted) : 0);
}

static void add_hvisor(cJSON *object, const struct device *device)
{
	struct hvisor_device_get get = {.id = device->id};

	if (!device->made || hv_call(device->supervisor->hv, HVISOR_DEVICE_GET, &get) != 0 || get.id != device->id)
		memset(&get, 0, sizeof(get));
	add_u64(object, "status", get.status);
	add_u64(object, "accesses", get.accesses);
	add_u64(object, "notifications", get.notifications);
	add_u64(object, "interrupts_again", get.interrupts_again);
	add_u64(object, "bad_accesses", get.bad_accesses);
	add_u64(object, "wait_max_ns", get.wait_max_ns);
	add_u64(object, "hold_max_ns", get.hold_max_ns);
}

static void add_net(cJSON *object, const struct device *device)
{
	const struct config_net *net = &device->config->net;
	const struct queue_region *region = device->view;
	char mac[CONFIG_MAC_MAX];

	add_text(object, "tap", net->tap);
	add_text(object, "bridge", net->bridge[0] ? net->bridge : NULL);
	add_text(object, "mac", config_mac_text(mac, net->mac));
	add_text(object, "link", device_link_up(device) ? CONTROL_LINK_UP : CONTROL_LINK_DOWN);
	add_u64(object, "rx_dropped", region ? core_load(&region->device.own[NET_OWN_RX_DROPPED]) : 0);
	add_u64(object, "tx_dropped", region ? core_load(&region->device.own[NET_OWN_TX_DROPPED]) : 0);
}

/* Where a port leads to: its terminal, its socket or its file. */
static void add_port_path(cJSON *object, const char *key, const struct device *device, uint32_t port)
{
	const int *kept = device->kept.file;
	char path[64];

	if (device->config->console.port[port].path[0])
		add_text(object, key, device->config->console.port[port].path);
	else if (kept[port] >= 0 && ptsname_r(kept[port], path, sizeof(path)) == 0)
		add_text(object, key, path);
	else
		add_text(object, key, NULL);
}

void control_add_port(cJSON *object, const struct device *device, uint32_t number)
{
	const struct config_port *port = &device->config->console.port[number];
	char label[CONSOLE_LABEL_MAX];
	char *link = rundir_path(device->supervisor->run, console_label(label, device->config, number), NULL);

	add_text(object, "label", label);
	add_text(object, "name", port->name[0] ? port->name : NULL);
	add_text(object, "backend", config_endpoint_name(port->endpoint));
	if (port->endpoint == CONFIG_ENDPOINT_SOCKET && !port->path[0])
		add_text(object, "path", link);
	else
		add_port_path(object, "path", device, number);
	add_text(object, "link", link);
	add_text(object, "output_log", console_watch_log(device, number));
	free(link);
}

static void add_console(cJSON *object, const struct device *device)
{
	cJSON *ports = cJSON_AddArrayToObject(object, "ports");
	uint32_t i;

	for (i = 0; i < device->config->console.nports; i++) {
		cJSON *item = cJSON_CreateObject();

		control_add_port(item, device, i);
		cJSON_AddItemToArray(ports, item);
	}
}

static void add_cgroup(cJSON *object, const struct device *device)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", device->supervisor->cgroups.folder, device->config->name);
	add_text(object, "cgroup", device->grouped ? path : NULL);
}

static cJSON *device_status(const struct device *device)
{
	cJSON *object = cJSON_CreateObject();
	double uptime_s = device->child.pid ? (double)(loop_now_ns() - device->began_ns) / 1e9 : 0;

	if (!object)
		return NULL;
	add_text(object, "name", device->config->name);
	add_text(object, "type", config_type_name(device->config->type));
	add_u64(object, "zone", device->config->zone);
	add_text(object, "state", device_state_name(device->state));
	cJSON_AddNumberToObject(object, "pid", device->child.pid);
	add_u64(object, "restarts", device->restarts);
	add_u64(object, "hangs", device->watchdog.hangs);
	add_u64(object, "stands_still_s", watchdog_hangs(device) ? device->watchdog.still_s : 0);
	cJSON_AddNumberToObject(object, "uptime_s", uptime_s);
	add_region(object, device);
	add_hvisor(object, device);
	if (device->config->type == CONFIG_NET)
		add_net(object, device);
	if (device->config->type == CONFIG_CONSOLE)
		add_console(object, device);
	add_cgroup(object, device);
	add_text(object, "log", device->log.path);
	add_text(object, "log_level", logfile_level_name(device->log_level));
	add_text(object, "last_exit", device->last_exit[0] ? device->last_exit : NULL);
	add_text(object, "failed_reason", device->state == DEVICE_FAILED ? device->reason : NULL);
	return object;
}

static void add_lines(cJSON *object, const char *name, const struct errors *errors)
{
	cJSON *list = cJSON_AddArrayToObject(object, name);
	size_t i;

	for (i = 0; errors->line && i < errors->count; i++)
		cJSON_AddItemToArray(list, cJSON_CreateString(errors->line[i] ? errors->line[i] : "no memory"));
}

static void add_missing(cJSON *object, const struct sandbox *sandbox)
{
	cJSON *list = cJSON_AddArrayToObject(object, "sandbox_missing");
	enum sandbox_layer layer;

	for (layer = 0; layer < SANDBOX_LAYERS; layer++) {
		if (!sandbox->have[layer])
			cJSON_AddItemToArray(list, cJSON_CreateString(sandbox_layer_name(layer)));
	}
}

static void add_launcher(cJSON *reply, const struct control *control)
{
	const struct supervisor *supervisor = control->supervisor;
	const struct launch_options *options = supervisor->options;
	cJSON *object = cJSON_AddObjectToObject(reply, "launcher");

	cJSON_AddNumberToObject(object, "pid", getpid());
	add_text(object, "version", HVISOR_VERSION);
	cJSON_AddNumberToObject(object, "uptime_s", (double)(loop_now_ns() - control->began_ns) / 1e9);
	add_text(object, "config", supervisor->config->path);
	add_text(object, "hv", options->hv);
	add_text(object, "hv_name", supervisor->hv->name);
	add_text(object, "log", supervisor->log->path);
	add_text(object, "seccomp", options->seccomp == LAUNCH_SECCOMP_LOG ? "log" : "enforce");
	add_missing(object, &supervisor->sandbox);
	add_lines(object, "skipped", &supervisor->config->skipped);
}

cJSON *control_status(const struct control *control, const struct device *device)
{
	const struct supervisor *supervisor = control->supervisor;
	cJSON *reply = cJSON_CreateObject();
	cJSON *list;
	uint32_t i;

	if (!reply)
		return NULL;
	cJSON_AddTrueToObject(reply, "ok");
	add_launcher(reply, control);
	list = cJSON_AddArrayToObject(reply, "devices");
	for (i = 0; i < supervisor->ndevices; i++) {
		if (!device || device == &supervisor->device[i])
			cJSON_AddItemToArray(list, device_status(&supervisor->device[i]));
	}
	return reply;
}
