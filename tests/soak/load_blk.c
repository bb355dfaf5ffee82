/* SPDX-License-Identifier: MIT */
/* A disk: guest_load.h, and in the end the image on the host. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/guest_load.h"
#include "tests/soak/soak.h"
#include "tests/test.h"

#define BLOCKS 2048u
#define DEPTH 16u
#define TURN_MS 5
#define FINISH_MS 60000

struct disk {
	struct guest_blk blk;
	struct guest_load load;
	int image;
};

static void disk_init(struct soak_device *device)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	char path[64];

	CHECK(disk);
	device->own = disk;
	/* The configuration says the same of it. */
	snprintf(path, sizeof(path), SOAK_IMAGES "/%s.img", device->name);
	disk->image = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	CHECK(disk->image >= 0);
	CHECK_INT(ftruncate(disk->image, (off_t)BLOCKS * GUEST_LOAD_BLOCK), 0);
	disk->blk.options.depth = DEPTH;
	CHECK_INT(guest_load_init(&disk->load, &disk->blk, 0, BLOCKS, 0, device->random), 0);
	disk->load.timeout_ms = TURN_MS;
	device->flow[0] = (struct soak_flow){&disk->load.submitted, &disk->load.done};
	if (device->readonly) {
		disk->load.read_percent = 100;
		CHECK_INT(guest_load_prepare(&disk->load, disk->image), 0);
	}
}

static void disk_open(struct soak_device *device)
{
	struct disk *disk = device->own;
	const struct guest_blk_options options = {
		.depth = DEPTH, .data_max = GUEST_LOAD_BLOCK, .cpu = device->index, .without = device->without};
	int error =
		guest_blk_open(&disk->blk, device->guest, rig_base(device->index), rig_irq(device->index), &options);

	if (error)
		TEST_FAIL("%s: its driver does not start: %s", device->name, strerror(-error));
	CHECK_INT(disk->blk.readonly, device->readonly);
}

static void disk_close(struct soak_device *device)
{
	struct disk *disk = device->own;

	guest_blk_close(&disk->blk);
	guest_load_drop(&disk->load);
}

static void disk_account(struct soak_device *device)
{
	const struct guest_load *load = &((struct disk *)device->own)->load;

	device->figures.checked = load->reads + load->writes;
	device->figures.lost = load->errors;
	if (load->errors || load->wrong)
		TEST_FAIL("%s: %s", device->name, load->what);
}

static void disk_turn(struct soak_device *device)
{
	struct disk *disk = device->own;

	/* One that waits in vain is an order's chance. */
	guest_load_run(&disk->load, TURN_MS);
	disk_account(device);
}

static void disk_finish(struct soak_device *device)
{
	struct disk *disk = device->own;

	disk->load.timeout_ms = FINISH_MS;
	if (guest_load_check(&disk->load) != 0)
		TEST_FAIL("%s: requests do not come back in %d s", device->name, FINISH_MS / 1000);
	disk_account(device);
}

static void disk_check(struct soak_device *device)
{
	struct disk *disk = device->own;

	if (guest_load_check_host(&disk->load, disk->image) != 0)
		TEST_FAIL("%s: in its image: %s", device->name, disk->load.what);
	close(disk->image);
	guest_load_finish(&disk->load);
	free(disk);
}

const struct soak_load soak_blk = {
	.unit = "requests",
	.type = "blk",
	.flows = 1,
	.init = disk_init,
	.open = disk_open,
	.close = disk_close,
	.turn = disk_turn,
	.finish = disk_finish,
	.check = disk_check,
};
