/* SPDX-License-Identifier: MIT */
/* The system under the soak: two zones, a launcher, taps in a network namespace of the soak's own. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sim/net_rig.h"
#include "tests/soak/soak.h"
#include "tests/test.h"

#define ZONE_MIB 48u
#define ROOT_STEP 0x10000000u /* between the zones' memories as root sees them */

struct hvisor_memory soak_memory(uint32_t zone)
{
	return (struct hvisor_memory){RIG_RAM + zone * ROOT_STEP, RIG_RAM, (uint64_t)ZONE_MIB << 20};
}

static void write_zone(struct soak *soak, FILE *file, uint32_t zone)
{
	const struct hvisor_memory memory = soak_memory(zone);
	const struct soak_device *device;
	const char *comma = "";

	fprintf(file,
		"%s{\"id\": %u, \"memory_region\": [{\"zone0_ipa\": %llu, \"zonex_ipa\": %llu, \"size\": %llu}],\n"
		"\"devices\": [\n",
		zone ? ", " : "", RIG_ZONE + zone, (unsigned long long)memory.zone0_ipa,
		(unsigned long long)memory.zonex_ipa, (unsigned long long)memory.size);
	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if (device->zone != zone)
			continue;
		fprintf(file,
			"%s{\"type\": \"%s\", \"name\": \"%s\", \"addr\": %llu, \"len\": 512, \"irq\": %u,\n"
			" \"restart_limit\": 0, \"restart_delay_ms\": 1, \"restart_delay_max_ms\": 20,\n"
			" %s}",
			comma, device->load->type, device->name, (unsigned long long)rig_base(device->index),
			rig_irq(device->index), device->keys);
		comma = ",\n";
	}
	fprintf(file, "]}\n");
}

static void configure(struct soak *soak)
{
	FILE *file = fopen(soak->rig.config, "we");
	uint32_t zone;

	CHECK(file);
	fprintf(file, "{\"zones\": [\n");
	for (zone = 0; zone < SOAK_ZONES; zone++)
		write_zone(soak, file, zone);
	fprintf(file, "]}\n");
	CHECK_INT(fclose(file), 0);
}

static void unmount_images(void)
{
	umount2(SOAK_IMAGES, MNT_DETACH);
}

/*
 * In memory: a disk that keeps an fsync() waiting for seconds, as under a heavy load of others', is a fault of its own,
 * for which a zone that stops cuts the backend off.
 */
static void mount_images(void)
{
	CHECK_INT(unshare(CLONE_NEWNS), 0);
	CHECK_INT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	CHECK_INT(mkdir(SOAK_IMAGES, 0755), 0);
	CHECK_INT(mount("images", SOAK_IMAGES, "tmpfs", 0, "size=64m,mode=755"), 0);
	/* Or the scratch folder cannot be removed. */
	atexit(unmount_images);
}

void soak_init(struct soak *soak, struct soak_device *device, uint32_t n)
{
	struct hvisor_memory memory;
	uint32_t i;

	CHECK(n <= SOAK_DEVICES_MAX);
	net_rig_enter_namespace();
	rig_init(&soak->rig, ZONE_MIB);
	mount_images();
	for (i = 1; i < SOAK_ZONES; i++) {
		memory = soak_memory(i);
		CHECK_INT(sim_zone_add(&soak->rig.sim, RIG_ZONE + i, &memory, 1), 0);
		CHECK_INT(guest_init(&soak->guest[i], &soak->rig.sim, RIG_ZONE + i), 0);
	}
	soak->device = device;
	soak->ndevices = n;
	for (i = 0; i < n; i++) {
		device[i].soak = soak;
		device[i].index = i;
		device[i].guest = device[i].zone ? &soak->guest[device[i].zone] : &soak->rig.guest;
		device[i].random = test_random();
		device[i].load->init(&device[i]);
	}
	configure(soak);
	rig_launch(&soak->rig, NULL);
	rig_await_launcher(&soak->rig);
	for (i = 0; i < n; i++)
		rig_await_starts(&soak->rig, device[i].name, 1);
	for (i = 0; i < n; i++)
		soak_device_start(&device[i]);
}

void soak_finish(struct soak *soak)
{
	struct soak_device *device;
	uint32_t i;

	rig_end_launcher(&soak->rig, SIGTERM);
	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if (device->load->check)
			device->load->check(device);
	}
	for (i = 1; i < SOAK_ZONES; i++)
		guest_finish(&soak->guest[i]);
	rig_finish(&soak->rig);
}
