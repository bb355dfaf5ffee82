/* SPDX-License-Identifier: MIT */
/* The calls of kmod/hvisor_uapi.h. */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SIM_EVENT_BITS (REGION_EV_STATUS | REGION_EV_CONFIG | REGION_EV_CONTROL)

static int sim_info(struct sim *sim, void *argument)
{
	struct hvisor_info *info = argument;
	int fd;

	if (info->event_fd != -1) {
		fd = sim_eventfd_dup(info->event_fd);
		if (fd < 0)
			return fd;
		if (sim->event_fd >= 0)
			close(sim->event_fd);
		sim->event_fd = fd;
		if (sim->nevents)
			eventfd_write(fd, 1);
	}
	info->abi_version = HVISOR_ABI_VERSION;
	info->devices_max = HVISOR_DEVICES_MAX;
	memset(info->name, 0, sizeof(info->name));
	strcpy(info->name, SIM_NAME);
	return 0;
}

static int sim_call_zone_set(struct sim *sim, void *argument)
{
	return sim_zone_set(sim, argument);
}

static int sim_call_add(struct sim *sim, void *argument)
{
	return sim_device_add(sim, argument);
}

static int sim_call_get(struct sim *sim, void *argument)
{
	struct hvisor_device_get *get = argument;
	struct sim_device *device = sim_device_from(sim, get->id);
	struct vmmio_dev *vmmio;

	if (!device)
		return -ENOENT;
	vmmio = &device->vmmio;
	memset(get, 0, sizeof(*get));
	get->id = device->id;
	get->flags = (sim_device_attached(device) ? HVISOR_DEVICE_ATTACHED : 0) |
		     (device->cut_off ? HVISOR_DEVICE_CUT_OFF : 0);
	get->owner_pid = sim_device_owner_pid(device);
	get->device = device->add;

	pthread_mutex_lock(&device->lock);
	get->flags |= vmmio->failed ? HVISOR_DEVICE_FAILED : 0;
	get->status = vmmio_status(vmmio);
	get->accesses = vmmio->accesses;
	get->notifications = vmmio->notifications;
	get->bad_accesses = vmmio->bad_accesses;
	get->hold_max_ns = device->hold_max_ns;
	pthread_mutex_unlock(&device->lock);

	get->interrupts = core_load(&device->interrupts);
	get->spurious = core_load(&device->spurious);
	get->wait_max_ns = core_load(&device->wait_max_ns);
	return 0;
}

static int sim_call_attach(struct sim *sim, void *argument)
{
	struct hvisor_device_attach *attach = argument;
	struct sim_device *device = sim_device_find(sim, attach->id);

	return device ? sim_device_attach(device, attach) : -ENOENT;
}

static int sim_call_owner(struct sim *sim, void *argument)
{
	struct hvisor_device_owner *owner = argument;
	struct sim_device *device = sim_device_find(sim, owner->id);

	return device ? sim_device_own(device, owner->pid) : -ENOENT;
}

static int sim_call_view(struct sim *sim, void *argument)
{
	struct hvisor_device_view *view = argument;
	struct sim_device *device = sim_device_find(sim, view->id);

	if (!device)
		return -ENOENT;
	view->region_fd = fcntl(device->region_fd, F_DUPFD_CLOEXEC, 0);
	view->region_size = device->region_size;
	return view->region_fd < 0 ? -errno : 0;
}

static int sim_call_kick(struct sim *sim, void *argument)
{
	struct hvisor_device_kick *kick = argument;
	struct sim_device *device = sim_device_find(sim, kick->id);

	if (!device)
		return -ENOENT;
	if (kick->events & ~SIM_EVENT_BITS)
		return -EINVAL;
	if (vmmio_ring(device->vmmio.region, kick->events) & VMMIO_KICK)
		sim_device_kick(device);
	return 0;
}

static int sim_call_fail(struct sim *sim, void *argument)
{
	struct hvisor_device_fail *fail = argument;
	struct sim_device *device = sim_device_find(sim, fail->id);
	uint32_t effects = 0;

	if (!device)
		return -ENOENT;
	if (fail->fail > 1)
		return -EINVAL;
	pthread_mutex_lock(&device->lock);
	if (fail->fail)
		effects = vmmio_fail(&device->vmmio);
	else
		vmmio_repair(&device->vmmio);
	pthread_mutex_unlock(&device->lock);
	if (effects & VMMIO_INTERRUPT)
		sim_device_interrupt(device);
	return 0;
}

static int sim_call_del(struct sim *sim, void *argument)
{
	struct hvisor_device_del *del = argument;
	struct sim_device *device = sim_device_find(sim, del->id);

	return device ? sim_device_delete(device) : -ENOENT;
}

static int sim_call_event(struct sim *sim, void *argument)
{
	struct hvisor_event_next *event = argument;

	if (sim->nevents == 0)
		return -EAGAIN;
	*event = sim->event[sim->event_first];
	sim->event_first = (sim->event_first + 1) % SIM_EVENTS;
	sim->nevents--;
	return 0;
}

#define FD(type, field) ((uint32_t)offsetof(struct hvisor_##type, field))

static const struct sim_entry {
	uint32_t cmd;
	int (*run)(struct sim *sim, void *argument);
	struct sim_call_shape shape;
} sim_entry[] = {
	{HVISOR_INFO, sim_info, {sizeof(struct hvisor_info), 1, {FD(info, event_fd)}, 0, {0}}},
	{HVISOR_ZONE_SET, sim_call_zone_set, {sizeof(struct hvisor_zone_set), 0, {0}, 0, {0}}},
	{HVISOR_DEVICE_ADD, sim_call_add, {sizeof(struct hvisor_device_add), 0, {0}, 0, {0}}},
	{HVISOR_DEVICE_GET, sim_call_get, {sizeof(struct hvisor_device_get), 0, {0}, 0, {0}}},
	{HVISOR_DEVICE_ATTACH,
	 sim_call_attach,
	 {sizeof(struct hvisor_device_attach),
	  2,
	  {FD(device_attach, kick_fd), FD(device_attach, call_fd)},
	  3,
	  {FD(device_attach, attachment_fd), FD(device_attach, region_fd), FD(device_attach, memory_fd)}}},
	{HVISOR_DEVICE_OWNER, sim_call_owner, {sizeof(struct hvisor_device_owner), 0, {0}, 0, {0}}},
	{HVISOR_DEVICE_VIEW,
	 sim_call_view,
	 {sizeof(struct hvisor_device_view), 0, {0}, 1, {FD(device_view, region_fd)}}},
	{HVISOR_DEVICE_KICK, sim_call_kick, {sizeof(struct hvisor_device_kick), 0, {0}, 0, {0}}},
	{HVISOR_DEVICE_FAIL, sim_call_fail, {sizeof(struct hvisor_device_fail), 0, {0}, 0, {0}}},
	{HVISOR_DEVICE_DEL, sim_call_del, {sizeof(struct hvisor_device_del), 0, {0}, 0, {0}}},
	{HVISOR_EVENT_NEXT, sim_call_event, {sizeof(struct hvisor_event_next), 0, {0}, 0, {0}}},
};

static const struct sim_entry *sim_entry_find(uint32_t cmd)
{
	size_t i;

	for (i = 0; i < sizeof(sim_entry) / sizeof(sim_entry[0]); i++) {
		if (sim_entry[i].cmd == cmd)
			return &sim_entry[i];
	}
	return NULL;
}

const struct sim_call_shape *sim_call_shape(uint32_t cmd)
{
	const struct sim_entry *entry = sim_entry_find(cmd);

	return entry ? &entry->shape : NULL;
}

int sim_call_locked(struct sim *sim, uint32_t cmd, void *argument)
{
	const struct sim_entry *entry = sim_entry_find(cmd);

	return entry ? entry->run(sim, argument) : -ENOTTY;
}

int sim_call(struct sim *sim, unsigned long cmd, void *argument)
{
	int error;

	pthread_mutex_lock(&sim->lock);
	error = sim_call_locked(sim, (uint32_t)cmd, argument);
	pthread_mutex_unlock(&sim->lock);
	/* The server thread's deadlines may have changed. */
	sim_wake_server(sim);
	return error;
}
