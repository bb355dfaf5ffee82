/* SPDX-License-Identifier: MIT */
/*
 * A backend that is killed again and again, at random moments of a random load at queue depth 32. Every request
 * completes, no read shows anything but the last write that was acknowledged, and in the end the image holds just that.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/rig.h"
#include "tests/test.h"

#define BLOCK 4096u
#define BLOCKS 4096u
#define DEPTH 32u
#define SECTORS_PER_BLOCK (BLOCK / GUEST_BLK_SECTOR)
#define REST_MAX_US 3000 /* between a backend's start and the next kill: a load is on all that time */

struct block {
	uint32_t acked; /* version of the last write that was acknowledged, 0: as made */
	uint32_t writing; /* version of the write in flight, 0 none */
	uint32_t readers; /* reads in flight */
};

struct load {
	struct guest_blk *blk;
	struct block block[BLOCKS];
	uint32_t version;
	uint64_t writes;
	uint64_t reads;
	uint64_t flushes;
	_Atomic uint32_t in_flight;
	_Atomic bool killed_all;
};

/* Each 8 bytes of a block tell its number, its version and their place, so a torn block shows. */
static void fill(uint8_t *data, uint32_t number, uint32_t version)
{
	uint64_t word;
	uint32_t i;

	for (i = 0; i < BLOCK / 8; i++) {
		word = ((uint64_t)version << 32 | number << 12 | i) * 0x9e3779b97f4a7c15u;
		memcpy(data + i * 8, &word, 8);
	}
}

static void check_block(const uint8_t *data, uint32_t number, uint32_t version, const char *where)
{
	uint8_t want[BLOCK];
	uint32_t i;

	if (version)
		fill(want, number, version);
	else
		memset(want, 0, sizeof(want));
	for (i = 0; i < BLOCK; i++) {
		if (data[i] != want[i])
			TEST_FAIL("%s: block %u is not what write %u left: byte %u is 0x%02x, not 0x%02x", where,
				  number, version, i, data[i], want[i]);
	}
}

/* A block on which this request would not cross a write in flight. */
static uint32_t pick_block(const struct load *load, bool write)
{
	uint32_t n = (uint32_t)test_random_below(BLOCKS);

	while (load->block[n].writing || (write && load->block[n].readers))
		n = (n + 1) % BLOCKS;
	return n;
}

static void submit_one(struct load *load, struct guest_blk_request *request)
{
	uint32_t dice = (uint32_t)test_random_below(100);
	struct block *block;

	request->len = BLOCK;
	if (dice < 2) {
		request->type = VIRTIO_BLK_T_FLUSH;
		request->len = 0;
		request->sector = 0;
		load->flushes++;
	} else if (dice < 52) {
		request->type = VIRTIO_BLK_T_OUT;
		request->user = pick_block(load, true);
		block = &load->block[request->user];
		block->writing = ++load->version;
		fill(request->data, (uint32_t)request->user, block->writing);
		load->writes++;
	} else {
		request->type = VIRTIO_BLK_T_IN;
		request->user = pick_block(load, false);
		load->block[request->user].readers++;
		memset(request->data, 0xa5, BLOCK);
		load->reads++;
	}
	if (request->type != VIRTIO_BLK_T_FLUSH)
		request->sector = request->user * SECTORS_PER_BLOCK;
	CHECK_INT(guest_blk_submit(load->blk, request), 0);
	atomic_fetch_add(&load->in_flight, 1);
}

static void complete_one(struct load *load, struct guest_blk_request *request)
{
	struct block *block = &load->block[request->user];

	if (request->error)
		TEST_FAIL("a request of type %u for block %llu failed: %s", request->type,
			  (unsigned long long)request->user, strerror(-request->error));
	if (request->type == VIRTIO_BLK_T_OUT) {
		block->acked = block->writing;
		block->writing = 0;
	} else if (request->type == VIRTIO_BLK_T_IN) {
		check_block(request->data, (uint32_t)request->user, block->acked, "read");
		block->readers--;
	}
	guest_blk_put(load->blk, request);
	atomic_fetch_sub(&load->in_flight, 1);
}

/* Keeps DEPTH requests in flight until the killer has done its work, then lets them all come back. */
static void run_load(struct load *load)
{
	struct guest_blk_request *request;

	while (!atomic_load(&load->killed_all) || atomic_load(&load->in_flight)) {
		while (!atomic_load(&load->killed_all) && (request = guest_blk_get(load->blk, 0)))
			submit_one(load, request);
		guest_blk_kick(load->blk, 0);
		request = guest_blk_wait(load->blk, 0, 20000);
		if (!request)
			TEST_FAIL("%u requests did not come back in 20 s", atomic_load(&load->in_flight));
		do
			complete_one(load, request);
		while ((request = guest_blk_reap(load->blk, 0)));
	}
}

struct killer {
	struct rig *rig;
	struct load *load;
	uint32_t kills;
	uint32_t busy; /* kills with requests in flight */
};

static void *run_killer(void *arg)
{
	struct killer *killer = arg;
	uint32_t i;

	for (i = 1; i <= killer->kills; i++) {
		rig_await_starts(killer->rig, "blk0", i);
		usleep((useconds_t)(random() % REST_MAX_US));
		killer->busy += atomic_load(&killer->load->in_flight) > 0;
		rig_kill(killer->rig, "blk0");
	}
	rig_await_starts(killer->rig, "blk0", i);
	atomic_store(&killer->load->killed_all, true);
	return NULL;
}

static void check_image(const struct load *load)
{
	FILE *file = fopen("disk0.img", "rb");
	uint8_t data[BLOCK];
	uint32_t i;

	CHECK(file);
	for (i = 0; i < BLOCKS; i++) {
		CHECK_INT(fread(data, 1, BLOCK, file), BLOCK);
		check_block(data, i, load->block[i].acked, "image");
	}
	fclose(file);
}

static void crash(uint32_t kills, const char *engine, uint64_t without)
{
	struct guest_blk_options options = {.depth = DEPTH, .data_max = BLOCK, .without = without};
	struct rig_disk disk = {.size = (uint64_t)BLOCK * BLOCKS};
	struct guest_blk blk;
	struct load *load = calloc(1, sizeof(*load));
	struct killer killer = {.load = load, .kills = kills};
	struct region_device counters;
	struct rig rig;
	pthread_t thread;
	char keys[200];

	CHECK(load);
	srandom((unsigned int)test_random());
	rig_init(&rig, 32);
	snprintf(keys, sizeof(keys),
		 "\"engine\": \"%s\", \"restart_limit\": 0, \"restart_delay_ms\": 1, \"restart_delay_max_ms\": 1",
		 engine);
	disk.keys = keys;
	rig_config_disks(&rig, &disk, 1, NULL);
	rig_serve(&rig, 1);
	CHECK_INT(guest_blk_open(&blk, &rig.guest, rig_base(0), rig_irq(0), &options), 0);
	load->blk = &blk;
	killer.rig = &rig;
	CHECK_INT(pthread_create(&thread, NULL, run_killer, &killer), 0);
	run_load(load);
	CHECK_INT(pthread_join(thread, NULL), 0);
	rig_counters(&rig, "blk0", &counters);
	printf("# %u kills, %u with requests in flight, %llu requests resubmitted; %llu writes, %llu reads, %llu "
	       "flushes\n",
	       kills, killer.busy, (unsigned long long)counters.resubmitted, (unsigned long long)load->writes,
	       (unsigned long long)load->reads, (unsigned long long)load->flushes);
	CHECK_INT(rig_starts(&rig, "blk0"), kills + 1);
	/* Or nothing of this was tested. */
	CHECK(killer.busy > kills / 2);
	CHECK(counters.resubmitted > kills / 2);
	guest_blk_close(&blk);
	rig_finish(&rig);
	check_image(load);
	free(load);
}

static void test_crash_1000(void)
{
	crash(1000, "auto", 0);
}

static void test_crash_preadv(void)
{
	crash(200, "preadv", 0);
}

static void test_crash_no_event_idx(void)
{
	crash(200, "io_uring", 1ull << VIRTIO_RING_F_EVENT_IDX);
}

static void test_crash_direct(void)
{
	crash(200, "auto", 1ull << VIRTIO_RING_F_INDIRECT_DESC);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"crash_1000_kills", test_crash_1000, 300},
		{"crash_preadv", test_crash_preadv, 120},
		{"crash_without_event_index", test_crash_no_event_idx, 120},
		{"crash_without_indirect_descriptors", test_crash_direct, 120},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
