/* SPDX-License-Identifier: MIT */
/* The thread of a device: its guest's CPU, and whoever is at its other end. */
#include <poll.h>

#include "common/core_os.h"
#include "tests/soak/soak.h"
#include "tests/test.h"

#define OBEY_MS 60000

static void device_obey(struct soak_device *device, enum soak_order order)
{
	switch (order) {
	case SOAK_RESET:
		device->load->close(device);
		device->load->open(device);
		break;
	case SOAK_FINISH:
		device->load->finish(device);
		device->load->close(device);
		break;
	case SOAK_RUN:
	case SOAK_PAUSE:
		break;
	}
	core_store_release(&device->obeyed, order);
}

static void *device_run(void *arg)
{
	struct soak_device *device = arg;
	enum soak_order order;

	device->load->open(device);
	do {
		order = core_load_acquire(&device->order);
		if (order != device->obeyed)
			device_obey(device, order);
		else if (order == SOAK_RUN)
			device->load->turn(device);
		else
			poll(NULL, 0, 1);
	} while (order != SOAK_FINISH);
	return NULL;
}

void soak_device_start(struct soak_device *device)
{
	CHECK_INT(pthread_create(&device->thread, NULL, device_run, device), 0);
}

static int has_obeyed(void *arg)
{
	struct soak_device *device = arg;

	return core_load_acquire(&device->obeyed) == device->order;
}

static void await_obedience(struct soak_device *device)
{
	if (!test_wait(has_obeyed, device, OBEY_MS))
		TEST_FAIL("%s: its guest's CPU stands still for %d s", device->name, OBEY_MS / 1000);
}

void soak_device_order(struct soak_device *device, enum soak_order order)
{
	core_store_release(&device->order, order);
	await_obedience(device);
}

void soak_order_zone(struct soak *soak, uint32_t zone, enum soak_order order)
{
	struct soak_device *device;

	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if (device->zone == zone)
			core_store_release(&device->order, order);
	}
	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if (device->zone == zone)
			await_obedience(device);
	}
}
