/* SPDX-License-Identifier: MIT */
/* The devices of the simulator: their windows, their register models, what is held back. */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct sim_device *sim_device_find(struct sim *sim, uint32_t id)
{
	struct sim_device *device = sim->devices;

	while (device && (device->deleted || device->id != id))
		device = device->next;
	return device;
}

struct sim_device *sim_device_from(struct sim *sim, uint32_t id)
{
	struct sim_device *device;
	struct sim_device *best = NULL;

	for (device = sim->devices; device; device = device->next) {
		if (!device->deleted && device->id >= id && (!best || device->id < best->id))
			best = device;
	}
	return best;
}

void sim_device_kick(struct sim_device *device)
{
	if (device->kick_fd >= 0)
		eventfd_write(device->kick_fd, 1);
}

void sim_device_interrupt(struct sim_device *device)
{
	struct sim *sim = device->sim;

	if (!__atomic_load_n(&sim->zone[device->add.zone].running, __ATOMIC_ACQUIRE))
		return;
	__atomic_fetch_add(&device->interrupts, 1, __ATOMIC_RELAXED);
	sim_inject(sim, device->add.zone, device->add.irq);
}

bool sim_device_quiet(struct sim_device *device)
{
	bool quiet;

	pthread_mutex_lock(&device->lock);
	quiet = vmmio_is_quiet(&device->vmmio);
	pthread_mutex_unlock(&device->lock);
	return quiet;
}

/* Is there anything that waits for the backend to become quiet? device->lock is held. */
static bool sim_device_owes(const struct sim_device *device)
{
	return device->vmmio.held_cpus != 0 || device->vmmio.reset_pending;
}

/* The backend may have become quiet already: this comes after the register model has let go of the device. */
void sim_device_hold(struct sim_device *device)
{
	bool begun = false;

	pthread_mutex_lock(&device->lock);
	core_store(&device->holds, device->holds + 1);
	if (device->hold_since_ns == 0 && sim_device_owes(device)) {
		core_store(&device->hold_since_ns, sim_now_ns());
		begun = true;
	}
	pthread_mutex_unlock(&device->lock);
	if (begun)
		sim_wake_server(device->sim);
}

void sim_device_settle(struct sim_device *device)
{
	uint64_t held;
	uint32_t cpus;

	pthread_mutex_lock(&device->lock);
	cpus = vmmio_quiesced(&device->vmmio);
	if (device->hold_since_ns != 0 && !sim_device_owes(device)) {
		held = sim_now_ns() - device->hold_since_ns;
		if (held > device->hold_max_ns)
			device->hold_max_ns = held;
		core_store(&device->hold_since_ns, 0);
	}
	pthread_mutex_unlock(&device->lock);
	bridge_answer_mask(&device->sim->bridge, cpus);
}

void sim_device_reset(struct sim_device *device)
{
	uint32_t effects;
	uint32_t cpus;

	pthread_mutex_lock(&device->lock);
	effects = vmmio_reset(&device->vmmio);
	cpus = device->vmmio.held_cpus;
	device->vmmio.held_cpus = 0;
	pthread_mutex_unlock(&device->lock);
	bridge_answer_mask(&device->sim->bridge, cpus);
	if (effects & VMMIO_KICK)
		sim_device_kick(device);
	sim_device_hold(device);
}

uint64_t sim_device_deadline(const struct sim_device *device)
{
	uint64_t since = core_load(&device->hold_since_ns);

	return since == 0 || device->cut_off ? 0 : since + device->sim->quiesce_ms * 1000000ull;
}

static int sim_window_order(const void *a, const void *b)
{
	const struct bridge_window *x = a;
	const struct bridge_window *y = b;

	if (x->zone != y->zone)
		return x->zone < y->zone ? -1 : 1;
	return x->base < y->base ? -1 : x->base > y->base;
}

/* Puts the windows of all devices in force. -ENOMEM: nothing has changed. */
static int sim_map_update(struct sim *sim)
{
	struct sim_device *device;
	struct sim_map *map;
	uint32_t n = 0;

	map = sim->nmaps < SIM_MAPS_MAX ? calloc(1, sizeof(*map) + HVISOR_DEVICES_MAX * sizeof(struct bridge_window))
					: NULL;
	if (!map)
		return -ENOMEM;
	for (device = sim->devices; device; device = device->next) {
		if (!device->deleted)
			map->window[n++] = (struct bridge_window){device->add.zone, device->add.base, device->add.size,
								  &device->vmmio, device};
	}
	qsort(map->window, n, sizeof(map->window[0]), sim_window_order);
	map->map = (struct bridge_map){map->window, n};
	sim->maps[sim->nmaps++] = map;

	sim_drain_lock(sim);
	__atomic_store_n(&sim->map, map, __ATOMIC_RELEASE);
	sim_drain_unlock(sim);
	return 0;
}

static bool sim_add_valid(const struct hvisor_device_add *add)
{
	const struct region_shape shape = {add->device_id, add->nqueues, add->queue_size_max, add->config_len,
					   add->features};

	return add->zone >= 1 && add->zone < HVISOR_ZONES_MAX && add->irq >= 1 && add->irq < SIM_IRQS &&
	       add->size >= VMMIO_WINDOW_MIN && (add->base | add->size) % 8 == 0 && add->base + add->size > add->base &&
	       add->device_id != 0 && add->name[0] != '\0' && memchr(add->name, '\0', sizeof(add->name)) &&
	       region_shape_valid(&shape);
}

static bool sim_add_same(const struct hvisor_device_add *a, const struct hvisor_device_add *b)
{
	return a->irq == b->irq && a->device_id == b->device_id && a->nqueues == b->nqueues &&
	       a->queue_size_max == b->queue_size_max && a->config_len == b->config_len && a->features == b->features &&
	       memcmp(a->config_writable, b->config_writable, sizeof(a->config_writable)) == 0;
}

static bool sim_window_in_memory(const struct sim_zone *zone, const struct hvisor_device_add *add)
{
	const struct hvisor_memory *memory;
	uint32_t i;

	for (i = 0; i < zone->set.nmemory; i++) {
		memory = &zone->set.memory[i];
		if (add->base < memory->zonex_ipa + memory->size && memory->zonex_ipa < add->base + add->size)
			return true;
	}
	return false;
}

/* 0 to go on and make it; 1: found, add is filled in; -errno. */
static int sim_add_find(struct sim *sim, struct hvisor_device_add *add)
{
	const struct hvisor_device_add *other;
	struct sim_device *device;
	bool clash = false;
	uint32_t n = 0;

	for (device = sim->devices; device; device = device->next) {
		other = &device->add;
		if (device->deleted)
			continue;
		n++;
		if (other->zone != add->zone)
			continue;
		if (other->base == add->base && other->size == add->size) {
			if (!sim_add_same(other, add))
				return -EEXIST;
			add->id = device->id;
			add->existed = 1;
			return 1;
		}
		if (other->irq == add->irq ||
		    (other->base < add->base + add->size && add->base < other->base + other->size))
			clash = true;
	}
	if (clash)
		return -EADDRINUSE;
	return n < HVISOR_DEVICES_MAX ? 0 : -ENOSPC;
}

static int sim_device_init(struct sim_device *device)
{
	const struct hvisor_device_add *add = &device->add;
	const struct region_shape shape = {add->device_id, add->nqueues, add->queue_size_max, add->config_len,
					   add->features};
	uint32_t size = region_size(&shape);
	struct queue_region *region;

	device->region_fd = sim_memfd("queue-region", size);
	if (device->region_fd < 0)
		return device->region_fd;
	device->guarded = sim_map_guarded(device->region_fd, size);
	if (!device->guarded) {
		close(device->region_fd);
		return -ENOMEM;
	}
	region = (struct queue_region *)(void *)(device->guarded + SIM_GUARD);
	device->region_size = size;
	region_init(region, &shape, add->config);
	vmmio_init(&device->vmmio, region, &shape, add->config, add->config_writable);
	pthread_mutex_init(&device->lock, NULL);
	device->attachment = (struct sim_source){SIM_SOURCE_ATTACHMENT, -1, device};
	device->call = (struct sim_source){SIM_SOURCE_CALL, -1, device};
	device->kick_fd = -1;
	device->owner_fd = -1;
	return 0;
}

int sim_device_add(struct sim *sim, struct hvisor_device_add *add)
{
	struct sim_device *device;
	int error;

	if (!sim_add_valid(add) || sim_window_in_memory(&sim->zone[add->zone], add))
		return -EINVAL;
	if (!sim->zone[add->zone].declared)
		return -ENOENT;
	error = sim_add_find(sim, add);
	if (error != 0)
		return error < 0 ? error : 0;

	device = calloc(1, sizeof(*device));
	if (!device)
		return -ENOMEM;
	device->sim = sim;
	device->add = *add;
	error = sim_device_init(device);
	if (error) {
		free(device);
		return error;
	}
	device->next = sim->devices;
	sim->devices = device;
	error = sim_map_update(sim);
	if (error) {
		sim->devices = device->next;
		sim_device_free(device);
		return error;
	}
	device->id = device->add.id = add->id = ++sim->last_id;
	device->add.existed = add->existed = 0;
	return 0;
}

int sim_device_delete(struct sim_device *device)
{
	int error;

	if (sim_device_attached(device))
		return -EBUSY;
	device->deleted = true;
	error = sim_map_update(device->sim);
	device->deleted = error == 0;
	return error;
}

void sim_device_free(struct sim_device *device)
{
	if (device->attachment.fd >= 0)
		sim_device_detach(device);
	sim_unmap_guarded(device->guarded, device->region_size);
	close(device->region_fd);
	pthread_mutex_destroy(&device->lock);
	free(device);
}
