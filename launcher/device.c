/* SPDX-License-Identifier: MIT */
#include "launcher/device.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int device_reason(struct device *device, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(device->reason, sizeof(device->reason), format, args);
	va_end(args);
	return -1;
}

int device_reason_errors(struct device *device, struct errors *errors)
{
	const char *line = errors->line && errors->count && errors->line[0] ? errors->line[0] : "no memory";
	char prefix[HVISOR_NAME_MAX + sizeof(device->config->place) + 8];
	int n = snprintf(prefix, sizeof(prefix), "%s (%s): ", device->config->name, device->config->place);

	/* Whose reason it is will be said before it. */
	device_reason(device, "%s", line + (strncmp(line, prefix, (size_t)n) == 0 ? n : 0));
	errors_finish(errors);
	return -1;
}

void device_say(const struct device *device, enum log_level level, const char *format, ...)
{
	char text[LOG_LINE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	logfile_say(device->supervisor->log, level, "%s: %s", device->config->name, text);
}

int device_open_log(struct device *device)
{
	const struct supervisor *supervisor = device->supervisor;
	const char *name = device->config->name;
	char *path = rundir_path(supervisor->run, name, "log.fifo");
	int error;

	if (!path)
		return -ENOMEM;
	error = logfile_open(&device->log, supervisor->options->log_dir, name, supervisor->config->log_size,
			     supervisor->config->log_files);
	if (error)
		device_say(device, LOG_WARNING, "cannot write its log in %s: %s", supervisor->options->log_dir,
			   strerror(-error));
	error = logpipe_open(&device->pipe, supervisor->loop, path, &device->log);
	if (error)
		device_say(device, LOG_ERROR, "cannot open %s: %s", path, strerror(-error));
	free(path);
	return error;
}

/* The device that hvisor has at this window; 0, or -ENOENT. */
static int find_at_window(struct hv *hv, const struct config_device *config, struct hvisor_device_get *get)
{
	uint32_t id;

	for (id = 0;; id = get->id + 1) {
		memset(get, 0, sizeof(*get));
		get->id = id;
		if (hv_call(hv, HVISOR_DEVICE_GET, get) != 0)
			return -ENOENT;
		if (get->device.zone == config->zone && get->device.base == config->base)
			return 0;
		if (get->id == UINT32_MAX)
			return -ENOENT;
	}
}

/* Takes away the device at the same window that was made with other properties, if nobody would notice. */
static int device_replace(struct device *device)
{
	const struct config_device *config = device->config;
	struct hv *hv = device->supervisor->hv;
	struct hvisor_device_get get = {0};
	struct hvisor_device_del del;
	int error;

	if (find_at_window(hv, config, &get) != 0)
		return device_reason(device, "hvisor has a device at 0x%llx already", (unsigned long long)config->base);
	if (get.flags & HVISOR_DEVICE_ATTACHED)
		return device_reason(device,
				     "process %d serves the window 0x%llx of zone %u with other properties than the "
				     "configuration says; stop it first (hvisor-launch --stop)",
				     get.owner_pid, (unsigned long long)config->base, config->zone);
	if (get.status)
		return device_reason(device,
				     "the driver in zone %u uses the window 0x%llx with other properties than the "
				     "configuration says; shut the zone down first, or undo the change",
				     config->zone, (unsigned long long)config->base);
	del = (struct hvisor_device_del){.id = get.id};
	error = hv_call(hv, HVISOR_DEVICE_DEL, &del);
	if (error)
		return device_reason(device, "taking away the device at 0x%llx: %s", (unsigned long long)config->base,
				     strerror(-error));
	return 0;
}

static int device_add(struct device *device, struct hvisor_device_add *add)
{
	struct hv *hv = device->supervisor->hv;
	int error = hv_call(hv, HVISOR_DEVICE_ADD, add);

	if (error == -EEXIST) {
		if (device_replace(device) < 0)
			return -1;
		error = hv_call(hv, HVISOR_DEVICE_ADD, add);
	}
	if (error == -EADDRINUSE)
		return device_reason(device,
				     "its window or interrupt overlaps a device that hvisor has from an earlier "
				     "configuration and that is in use; stop that one, or shut zone %u down",
				     device->config->zone);
	if (error)
		return device_reason(device, "hvisor does not make the device: %s", strerror(-error));
	return 0;
}

static int device_set_zone(struct device *device)
{
	const struct supervisor *supervisor = device->supervisor;
	const struct config_device *config = device->config;
	struct hvisor_zone_set set = {.zone = config->zone};
	uint32_t i;
	int error;

	for (i = 0; i < supervisor->config->nzones && supervisor->config->zone[i].id != config->zone; i++)
		;
	if (i == supervisor->config->nzones)
		return device_reason(device, "zone %u is not in the configuration", config->zone);
	set.nmemory = supervisor->config->zone[i].nmemory;
	memcpy(set.memory, supervisor->config->zone[i].memory, sizeof(set.memory));
	error = hv_call(supervisor->hv, HVISOR_ZONE_SET, &set);
	switch (error) {
	case 0:
		return 0;
	case -EBUSY:
		return device_reason(device,
				     "zone %u has devices with other memory regions than the configuration says; shut "
				     "it down and stop them first, or undo the change",
				     config->zone);
	case -EPERM:
		return device_reason(device,
				     "a memory region of zone %u is root's own memory; it must be reserved in root's "
				     "device tree",
				     config->zone);
	case -ERANGE:
		return device_reason(device, "a memory region of zone %u is none that a zone can have", config->zone);
	default:
		return device_reason(device, "hvisor does not take the memory of zone %u: %s", config->zone,
				     strerror(-error));
	}
}

static int device_map_view(struct device *device, uint32_t id)
{
	struct hvisor_device_view view = {.id = id, .region_fd = -1};
	int error = hv_call(device->supervisor->hv, HVISOR_DEVICE_VIEW, &view);
	void *map = MAP_FAILED;

	if (error)
		return device_reason(device, "hvisor does not show the queue region: %s", strerror(-error));
	if (view.region_size >= sizeof(struct queue_region))
		map = mmap(NULL, view.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, view.region_fd, 0);
	close(view.region_fd);
	if (map == MAP_FAILED)
		return device_reason(device, "cannot map the queue region of %u bytes", view.region_size);
	device->view = map;
	device->view_size = view.region_size;
	return 0;
}

int device_make(struct device *device)
{
	const struct config_device *config = device->config;
	struct hvisor_device_add add = {
		.zone = config->zone, .irq = config->irq, .base = config->base, .size = config->size};
	struct errors errors;

	if (device->made)
		return 0;
	errors_init(&errors);
	memcpy(add.name, config->name, sizeof(add.name));
	if (device->program->type->describe(config, &add, &errors) < 0)
		return device_reason_errors(device, &errors);
	errors_finish(&errors);
	if (device_set_zone(device) < 0 || device_add(device, &add) < 0 || device_map_view(device, add.id) < 0)
		return -1;
	device->id = add.id;
	device->made = true;
	core_store(&device->view->control.poll_us, config->poll_us);
	core_store(&device->view->control.log_level, (core_u32)device->log_level);
	return 0;
}

int device_kick(const struct device *device)
{
	struct hvisor_device_kick kick = {.id = device->id, .events = REGION_EV_CONTROL};

	return hv_call(device->supervisor->hv, HVISOR_DEVICE_KICK, &kick);
}

int device_tell(const struct device *device, struct errors *errors)
{
	int error = device_kick(device);

	if (error)
		errors_add(errors, "%s: its backend cannot be told: %s", device->config->name, strerror(-error));
	return error ? -1 : 0;
}

int device_check_made(const struct device *device, struct errors *errors)
{
	if (device->made)
		return 0;
	errors_add(errors, "%s is %s: %s", device->config->name, device_state_name(device->state), device->reason);
	return -1;
}

void device_fail(struct device *device, bool fail)
{
	struct hvisor_device_fail request = {.id = device->id, .fail = fail};
	int error = device->made ? hv_call(device->supervisor->hv, HVISOR_DEVICE_FAIL, &request) : 0;

	if (error)
		device_say(device, LOG_ERROR, "cannot tell its guest: %s", strerror(-error));
}

void device_finish(struct device *device)
{
	struct supervisor *supervisor = device->supervisor;
	const struct devtype *type = device->program ? device->program->type : NULL;
	uint32_t i;
	int fd;

	loop_clear_timer(supervisor->loop, &device->timer);
	if (type && type->unwatch)
		type->unwatch(device);
	for (i = 0; i < DEVTYPE_FILES_MAX; i++) {
		if (device->kept.file[i] >= 0)
			close(device->kept.file[i]);
		device->kept.file[i] = -1;
	}
	loop_remove(supervisor->loop, &device->exit);
	fd = loop_remove(supervisor->loop, &device->ready);
	if (fd >= 0)
		close(fd);
	spawn_forget(&device->child);
	if (device->pipe.loop)
		logpipe_close(&device->pipe);
	logfile_close(&device->log);
	if (device->view)
		munmap(device->view, device->view_size);
	device->view = NULL;
	free(device->ends);
	device->ends = NULL;
}
