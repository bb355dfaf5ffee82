/* SPDX-License-Identifier: MIT */
/* All devices together: their programs and policies, what was there before the launcher, and hvisor's events. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/device.h"
#include "launcher/policy.h"

struct device *supervisor_find(struct supervisor *supervisor, const char *name)
{
	uint32_t i;

	for (i = 0; i < supervisor->ndevices; i++) {
		if (strcmp(supervisor->device[i].config->name, name) == 0)
			return &supervisor->device[i];
	}
	return NULL;
}

static int read_program(struct supervisor *supervisor, const struct devtype *type, struct errors *errors)
{
	const struct launch_options *options = supervisor->options;
	struct device_program *program = &supervisor->program[supervisor->nprograms++];
	char path[4096];

	*program = (struct device_program){.type = type, .policy = -1};
	snprintf(path, sizeof(path), "%s/%s", options->program_dir, type->program);
	program->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (program->fd < 0) {
		errors_add(errors, "cannot open the program %s: %s", path, strerror(errno));
		return -1;
	}
	if (!supervisor->sandbox.have[SANDBOX_SECCOMP])
		return 0;
	program->policy = policy_compile(options->policy_dir, type->policy, options->seccomp, errors);
	return program->policy < 0 ? -1 : 0;
}

static const struct device_program *find_program(struct supervisor *supervisor, const struct devtype *type)
{
	uint32_t i;

	for (i = 0; i < supervisor->nprograms; i++) {
		if (supervisor->program[i].type == type)
			return &supervisor->program[i];
	}
	return NULL;
}

static int device_init(struct supervisor *supervisor, struct device *device, const struct config_device *config,
		       struct errors *errors)
{
	const struct devtype *type = devtype_find(config->type);

	*device = (struct device){
		.supervisor = supervisor,
		.config = config,
		.log_level = (enum log_level)config->log_level,
		.log.fd = -1,
		.child = {.pid_fd = -1, .report_fd = -1},
	};
	memset(device->kept.file, -1, sizeof(device->kept.file));
	device_supervise(device);
	if (!type) {
		errors_add(errors, "%s: devices of type %s are not served yet", config->place,
			   config_type_name(config->type));
		return -1;
	}
	if (!find_program(supervisor, type) && read_program(supervisor, type, errors) < 0)
		return -1;
	device->program = find_program(supervisor, type);
	device->ends = calloc(config->restart.limit + 1, sizeof(*device->ends));
	if (!device->ends || device_open_log(device) < 0) {
		errors_add(errors, "%s: no memory, or no log pipe in %s", config->name, supervisor->run->path);
		return -1;
	}
	return 0;
}

/*
 * A predecessor's backend goes on; one whose launcher nobody knows is replaced. One of a launcher that lives is left
 * alone: the two would take the device from each other for ever. 0, or -1 after errors_add().
 */
static int device_find(struct device *device, struct errors *errors)
{
	const char *name = device->config->name;
	char path[4096];
	bool adopted;
	bool known;
	pid_t pid;

	if (device_make(device) < 0)
		return 0;
	adopted = device_adopt(device, &known);
	if (adopted && !known && device_is_of_other(device, &pid, path, sizeof(path))) {
		errors_add(errors,
			   "%s: the launcher with pid %d serves it already, whose run folder is %s; stop it with "
			   "hvisor-launch --run %s --stop, or take the device out of one of the configurations",
			   name, pid, path, path);
		return -1;
	}
	device_fail(device, false);
	if (adopted)
		device_take_over(device, known);
	return 0;
}

static bool is_configured(const struct config *config, const struct hvisor_device_add *add)
{
	uint32_t i;

	for (i = 0; i < config->ndevices; i++) {
		if (config->device[i].zone == add->zone && config->device[i].base == add->base)
			return true;
	}
	return false;
}

/* What an earlier configuration has left in hvisor is taken away, unless it is in use. */
static void supervisor_clear_leftovers(struct supervisor *supervisor)
{
	struct hvisor_device_get get = {.id = 0};
	struct hvisor_device_del del;
	uint32_t next = 0;

	for (; hv_call(supervisor->hv, HVISOR_DEVICE_GET, &get) == 0; get = (struct hvisor_device_get){.id = next}) {
		next = get.id + 1;
		get.device.name[sizeof(get.device.name) - 1] = '\0';
		if (is_configured(supervisor->config, &get.device))
			continue;
		del = (struct hvisor_device_del){.id = get.id};
		if (!(get.flags & HVISOR_DEVICE_ATTACHED) && get.status == 0 &&
		    hv_call(supervisor->hv, HVISOR_DEVICE_DEL, &del) == 0)
			logfile_say(supervisor->log, LOG_INFO, "%s of an earlier configuration is taken away",
				    get.device.name);
		else
			logfile_say(
				supervisor->log, LOG_WARNING, "%s in zone %u is left from an earlier configuration: %s",
				get.device.name, get.device.zone,
				get.flags & HVISOR_DEVICE_ATTACHED ? "its backend goes on" : "its driver is active");
	}
}

int supervisor_init(struct supervisor *supervisor, struct errors *errors)
{
	struct config *config = supervisor->config;
	int result = 0;
	uint32_t i;

	supervisor->nprograms = 0;
	supervisor->ndevices = 0;
	supervisor->device = calloc(config->ndevices + 1, sizeof(*supervisor->device));
	if (!supervisor->device) {
		errors_add(errors, "no memory for %u devices", config->ndevices);
		return -1;
	}
	for (i = 0; i < config->ndevices; i++) {
		supervisor->ndevices++;
		if (device_init(supervisor, &supervisor->device[i], &config->device[i], errors) < 0)
			return -1;
	}
	supervisor_clear_leftovers(supervisor);
	for (i = 0; i < supervisor->ndevices; i++) {
		const struct devtype *type = supervisor->device[i].program->type;

		if (device_find(&supervisor->device[i], errors) < 0)
			result = -1;
		else if (type->watch)
			type->watch(&supervisor->device[i]);
	}
	return result;
}

void supervisor_finish(struct supervisor *supervisor)
{
	uint32_t i;

	for (i = 0; i < supervisor->ndevices; i++)
		device_finish(&supervisor->device[i]);
	for (i = 0; i < supervisor->nprograms; i++) {
		if (supervisor->program[i].fd >= 0)
			close(supervisor->program[i].fd);
		if (supervisor->program[i].policy >= 0)
			close(supervisor->program[i].policy);
	}
	cgroups_close(&supervisor->cgroups);
	free(supervisor->device);
	supervisor->device = NULL;
	supervisor->ndevices = 0;
}

void supervisor_start(struct supervisor *supervisor)
{
	uint32_t i;

	for (i = 0; i < supervisor->ndevices; i++) {
		if (supervisor->device[i].state == DEVICE_STOPPED)
			device_request(&supervisor->device[i], DEVICE_START);
	}
}

void supervisor_release(struct supervisor *supervisor)
{
	const struct config_device **keep = calloc(supervisor->ndevices + 1, sizeof(*keep));
	const struct devtype *type;
	struct errors errors;
	uint32_t n = 0;
	uint32_t i;

	errors_init(&errors);
	for (i = 0; keep && i < supervisor->ndevices; i++) {
		if (!supervisor->ending && supervisor->device[i].state != DEVICE_STOPPED)
			keep[n++] = supervisor->device[i].config;
	}
	for (i = 0; i < supervisor->ndevices; i++) {
		const struct device *device = &supervisor->device[i];

		type = device->program ? device->program->type : NULL;
		if (type && type->close_kept && device->child.pid == 0 &&
		    (supervisor->ending || device->state == DEVICE_STOPPED))
			type->close_kept(device->config, supervisor->run);
	}
	for (i = 0; keep && (type = devtype_number(i)); i++) {
		if (type->release)
			type->release(supervisor->run, keep, n, &errors);
	}
	for (i = 0; errors.line && i < errors.count; i++)
		logfile_say(supervisor->log, LOG_WARNING, "%s", errors.line[i] ? errors.line[i] : "no memory");
	errors_finish(&errors);
	if (keep)
		cgroups_release(&supervisor->cgroups, keep, n);
	if (supervisor->ending)
		cgroups_remove(&supervisor->cgroups);
	free(keep);
}

void supervisor_event(struct supervisor *supervisor, const struct hvisor_event_next *event)
{
	uint32_t i;

	if (event->lost)
		logfile_say(supervisor->log, LOG_WARNING, "%u events of hvisor were lost", event->lost);
	if (event->type == HVISOR_EVENT_ZONE_DOWN)
		logfile_say(supervisor->log, LOG_INFO, "zone %u went down; its devices are reset", event->id);
	if (event->type == HVISOR_EVENT_ZONE_UP)
		logfile_say(supervisor->log, LOG_INFO, "zone %u came up", event->id);
	for (i = 0; event->type == HVISOR_EVENT_CUT_OFF && i < supervisor->ndevices; i++) {
		if (!supervisor->device[i].made || supervisor->device[i].id != event->id)
			continue;
		device_say(&supervisor->device[i], LOG_ERROR,
			   "hvisor cut its backend off: it did not become quiet in time");
	}
}
