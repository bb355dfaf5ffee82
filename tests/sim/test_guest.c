/* SPDX-License-Identifier: MIT */
/* The guest's driver works with a device that keeps the rules, and its checks find what does not. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "tests/sim/fake.h"
#include "tests/sim/guest_load.h"
#include "tests/test.h"

static struct hvisor_device_get get_device(struct sim *sim, uint32_t id)
{
	struct hvisor_device_get get = {.id = id};

	CHECK_INT(sim_call(sim, HVISOR_DEVICE_GET, &get), 0);
	CHECK_INT(get.id, id);
	return get;
}

struct worker {
	struct guest_blk *blk;
	uint32_t queue;
	uint32_t turns;
	pthread_t thread;
	int error;
};

static void worker_pattern(uint8_t *bytes, uint32_t len, uint64_t seed)
{
	uint32_t i;

	for (i = 0; i < len; i += 8) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		memcpy(bytes + i, &seed, 8);
	}
}

/* Writes and reads back 4 KiB blocks of its own quarter of the disk. */
static void *worker_run(void *argument)
{
	struct worker *worker = argument;
	uint8_t want[4096];
	uint8_t got[4096];
	uint64_t sector;
	uint32_t i;

	for (i = 0; i < worker->turns && worker->error == 0; i++) {
		sector = worker->queue * (FAKE_SECTORS / 4) + (i * 8) % (FAKE_SECTORS / 4);
		worker_pattern(want, sizeof(want), worker->queue * 1000003ull + i);
		worker->error = guest_blk_write(worker->blk, worker->queue, sector, want, sizeof(want));
		if (worker->error == 0)
			worker->error = guest_blk_read(worker->blk, worker->queue, sector, got, sizeof(got));
		if (worker->error == 0 && memcmp(want, got, sizeof(want)) != 0)
			worker->error = -EBADMSG;
	}
	return NULL;
}

static void run_workers(const struct guest_blk_options *options, uint32_t turns)
{
	struct worker worker[FAKE_QUEUES];
	struct guest_blk blk;
	struct guest guest;
	struct sim sim = {0};
	struct fake fake;
	uint32_t i;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 16);
	fake_start(&fake);
	CHECK_INT(guest_init(&guest, &sim, FAKE_ZONE), 0);
	CHECK_INT(guest_blk_open(&blk, &guest, FAKE_BASE, FAKE_IRQ, options), 0);
	CHECK_INT(blk.nqueues, options->queues);
	CHECK_INT(blk.capacity, FAKE_SECTORS);
	for (i = 0; i < blk.nqueues; i++) {
		worker[i] = (struct worker){.blk = &blk, .queue = i, .turns = turns};
		CHECK_INT(pthread_create(&worker[i].thread, NULL, worker_run, &worker[i]), 0);
	}
	for (i = 0; i < blk.nqueues; i++) {
		pthread_join(worker[i].thread, NULL);
		CHECK_INT(worker[i].error, 0);
	}
	guest_blk_close(&blk);
	CHECK_INT(get_device(&sim, fake.id).bad_accesses, 0);
	for (i = 0; i < guest.mem->span[0].size / REGION_PAGE; i++)
		CHECK_INT(guest.taken[i], 0);
	fake_kill(&fake);
	guest_finish(&guest);
	sim_stop(&sim);
}

static void test_driver_interrupts(void)
{
	run_workers(&(struct guest_blk_options){.queues = FAKE_QUEUES, .segment = 512}, 500);
}

static void test_driver_interrupts_plain(void)
{
	run_workers(&(struct guest_blk_options){.queues = FAKE_QUEUES,
						.segment = 1024,
						.without = VMMIO_F_EVENT_IDX | VMMIO_F_INDIRECT_DESC},
		    500);
}

static void test_driver_polled(void)
{
	run_workers(&(struct guest_blk_options){.queues = 1, .polled = true, .queue_size = 16, .depth = 4}, 2000);
	run_workers(
		&(struct guest_blk_options){
			.queues = 1, .polled = true, .queue_size = 16, .depth = 4, .without = VMMIO_F_EVENT_IDX},
		2000);
}

/* The load that checks itself sees a byte that is wrong, a write that was lost and one that is torn. */
static void test_load_finds_wrong(void)
{
	static uint8_t before[sizeof(((struct fake_control *)0)->disk)];
	struct guest_load load;
	struct guest_blk blk;
	struct guest guest;
	struct sim sim = {0};
	struct fake fake;
	uint32_t version;
	uint32_t i;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 16);
	fake_start(&fake);
	CHECK_INT(guest_init(&guest, &sim, FAKE_ZONE), 0);
	CHECK_INT(guest_blk_open(&blk, &guest, FAKE_BASE, FAKE_IRQ, NULL), 0);
	CHECK_INT(guest_load_init(&load, &blk, 0, FAKE_SECTORS / 8, 0, test_random()), 0);
	CHECK_INT(guest_load_run(&load, 200), 0);
	CHECK_INT(guest_load_check(&load), 0);
	CHECK(load.reads > 100 && load.writes > 100);
	CHECK_INT(load.errors, 0);
	CHECK_INT(load.wrong, 0);

	memcpy(before, fake.control->disk, sizeof(before));
	for (i = 0; i < 3; i++) {
		version = load.block[i].version;
		while (load.block[i].version == version)
			CHECK_INT(guest_load_run(&load, 20), 0);
	}
	CHECK_INT(guest_load_drain(&load), 0);
	fake.control->disk[4095] ^= 1;
	memcpy(fake.control->disk + 4096, before + 4096, 4096);
	memcpy(fake.control->disk + 8192 + 512, before + 8192 + 512, 512);
	CHECK_INT(guest_load_check(&load), 0);
	CHECK_INT(load.wrong, 3);
	CHECK_HAS(load.what, "block 0 (sector 0) differs at byte 4088");
	CHECK_INT(load.errors, 0);

	/* And one that the device fails. */
	load.block[9].sector = FAKE_SECTORS;
	CHECK_INT(guest_load_check(&load), 0);
	CHECK_INT(load.errors, 1);
	CHECK_INT(load.wrong, 6);
	guest_load_finish(&load);
	guest_blk_close(&blk);
	guest_finish(&guest);
	fake_kill(&fake);
	sim_stop(&sim);
}

static void test_driver_config(void)
{
	struct guest_blk blk;
	struct guest guest;
	struct sim sim = {0};
	struct fake fake;
	uint8_t wce = 1;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 8);
	CHECK_INT(guest_init(&guest, &sim, FAKE_ZONE), 0);
	CHECK_INT(guest_dev_probe(&blk.dev, &guest, FAKE_BASE + 0x400, FAKE_IRQ, 0), -ENODEV);
	CHECK_INT(guest_blk_open(&blk, &guest, FAKE_BASE, FAKE_IRQ, NULL), 0);
	guest_dev_config_write(&blk.dev, 0, offsetof(struct virtio_blk_config, wce), &wce, 1);
	guest_dev_config_write(&blk.dev, 0, 0, "nothing", 8);
	guest_blk_update(&blk);
	CHECK_INT(blk.config.wce, 1);
	CHECK_INT(blk.capacity, FAKE_SECTORS);
	CHECK_INT(guest_blk_read(&blk, 0, 0, &wce, 100000000), -EINVAL);
	guest_blk_close(&blk);
	guest_finish(&guest);
	sim_stop(&sim);
}

/* A write that a reset dropped may have been done or not, but what it was once, it stays. */
static void test_load_drop(void)
{
	struct guest_load load;
	struct guest_blk blk;
	struct guest guest;
	struct sim sim = {0};
	struct fake fake;
	uint32_t version;

	CHECK_INT(sim_start(&sim, NULL), 0);
	fake_board(&fake, &sim, 16);
	fake_start(&fake);
	CHECK_INT(guest_init(&guest, &sim, FAKE_ZONE), 0);
	CHECK_INT(guest_blk_open(&blk, &guest, FAKE_BASE, FAKE_IRQ, NULL), 0);
	CHECK_INT(guest_load_init(&load, &blk, 0, FAKE_SECTORS / 8, 0, test_random()), 0);
	do
		CHECK_INT(guest_load_run(&load, 50), 0);
	while (load.block[0].version < 2 || load.block[1].version < 2);
	CHECK_INT(kill(fake.pid, SIGSTOP), 0);
	load.timeout_ms = 50;
	CHECK_INT(guest_load_run(&load, 1000), -ETIMEDOUT);
	CHECK_INT(kill(fake.pid, SIGCONT), 0);
	load.timeout_ms = 30000;
	CHECK(load.done < load.submitted);
	guest_blk_close(&blk);
	guest_load_drop(&load);
	CHECK_INT(load.submitted, load.done);
	CHECK_INT(guest_blk_open(&blk, &guest, FAKE_BASE, FAKE_IRQ, NULL), 0);
	CHECK_INT(guest_load_check(&load), 0);
	CHECK_INT(load.wrong, 0);

	/* As if the write that block 0 has had been dropped, and one of block 1 that was not done. */
	version = load.block[0].version--;
	load.block[0].doubt = version;
	load.block[1].doubt = load.block[1].given + 1;
	CHECK_INT(guest_load_check(&load), 0);
	CHECK_INT(load.wrong, 0);
	CHECK_INT(load.block[0].version, version);
	CHECK_INT(load.block[0].doubt + load.block[1].doubt, 0);
	/* As if it had been seen as not done, and were done afterwards. */
	load.block[0].version--;
	CHECK_INT(guest_load_check(&load), 0);
	CHECK_INT(load.wrong, 1);
	guest_load_finish(&load);
	guest_blk_close(&blk);
	guest_finish(&guest);
	fake_kill(&fake);
	sim_stop(&sim);
}

static const struct test tests[] = {
	{"guest_driver_interrupts", test_driver_interrupts, 0},
	{"guest_driver_interrupts_plain", test_driver_interrupts_plain, 0},
	{"guest_driver_polled", test_driver_polled, 0},
	{"guest_load_finds_wrong", test_load_finds_wrong, 0},
	{"guest_load_drop", test_load_drop, 0},
	{"guest_driver_config", test_driver_config, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
