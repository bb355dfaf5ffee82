/* SPDX-License-Identifier: MIT */
/* Attacks by where rings are, how large, and what is in them besides descriptors. */
#include <endian.h>
#include <string.h>

#include "common/core_os.h"
#include "common/vmmio.h"
#include "tests/sim/attack.h"

#define STORM_MAX 200u /* resets, which each wait for the backend */
#define FLIGHT 4u /* chains */

/* Starts the device with its rings there. */
static void start_at(struct attack *attack, uint32_t num, uint64_t desc, uint64_t avail, uint64_t used)
{
	attack_greet(attack);
	attack_accept(attack, attack->offered & ~attack->queue->without);
	attack_set_queue(attack, num, desc, avail, used);
	attack_driver_ok(attack);
}

/* The same with rings that cannot be. There is nothing to be had from them: the device says so. */
static enum attack_outcome bad_rings(struct attack *attack, uint32_t num, uint64_t desc, uint64_t avail, uint64_t used)
{
	start_at(attack, num, desc, avail, used);
	attack->used = NULL;
	attack_notify(attack);
	return attack_await(attack);
}

/* The three rings where they should be, but for one of them. */
static void place(const struct attack *attack, uint64_t at[3], uint32_t which, uint64_t gpa)
{
	at[0] = attack_gpa(attack, ATTACK_DESC);
	at[1] = attack_gpa(attack, ATTACK_AVAIL);
	at[2] = attack_gpa(attack, ATTACK_USED);
	at[which] = gpa;
	memset(attack_at(attack, 0), 0, ATTACK_OTHER);
}

static enum attack_outcome bad_ring(struct attack *attack, uint32_t which, uint64_t gpa)
{
	uint64_t at[3];

	place(attack, at, which, gpa);
	return bad_rings(attack, ATTACK_NUM, at[0], at[1], at[2]);
}

/* Each of the rings at each of these places, none of which can be. Returns the first outcome that is not a reset. */
static enum attack_outcome rings_each_at(struct attack *attack, const uint64_t *gpa, uint32_t n)
{
	enum attack_outcome outcome = ATTACK_RESET;
	uint32_t i;

	for (i = 0; i < 3 * n && outcome == ATTACK_RESET; i++)
		outcome = bad_ring(attack, i % 3, gpa[i / 3]);
	return outcome;
}

static enum attack_outcome outside(struct attack *attack)
{
	const struct attack_guest *guest = attack->guest;
	const struct attack_region *last = &guest->region[guest->nregions - 1];
	const uint64_t gpa[] = {0,
				guest->region[0].gpa - 0x1000,
				guest->region[0].gpa + guest->region[0].size,
				last->gpa + last->size,
				guest->window,
				UINT64_MAX - 15,
				attack_gpa(attack, 0) | 1ull << 63};

	return rings_each_at(attack, gpa, sizeof(gpa) / sizeof(gpa[0]));
}

static enum attack_outcome at_others(struct attack *attack)
{
	return rings_each_at(attack, attack->guest->other, attack->guest->nothers);
}

static enum attack_outcome crossing(struct attack *attack)
{
	const struct attack_guest *guest = attack->guest;
	const struct attack_region *last = &guest->region[guest->nregions - 1];
	/* The available ring is the smallest: 38 bytes. */
	const uint64_t gpa[] = {guest->region[0].gpa - 16, guest->region[0].gpa + guest->region[0].size - 32,
				last->gpa - 16, last->gpa + last->size - 16, last->gpa + last->size - 32};

	return rings_each_at(attack, gpa, sizeof(gpa) / sizeof(gpa[0]));
}

/* Rings that end with the region are good ones; what is further by what they are aligned to is not. */
static enum attack_outcome edge(struct attack *attack)
{
	const uint32_t size[] = {16 * ATTACK_NUM, 6 + 2 * ATTACK_NUM, 6 + 8 * ATTACK_NUM};
	const uint32_t align[] = {16, 2, 4};
	uint64_t at[3];
	uint64_t gpa;
	uint32_t i;

	for (i = 0; i < 3; i++) {
		gpa = attack_gpa(attack, ATTACK_AREA - size[i]);
		gpa -= gpa % align[i];
		memset(attack_at(attack, ATTACK_AREA - 0x1000), 0, 0x1000);
		place(attack, at, i, gpa);
		start_at(attack, ATTACK_NUM, at[0], at[1], at[2]);
		if (attack_honest(attack) != ATTACK_DONE)
			return ATTACK_ERROR;
		if (bad_ring(attack, i, gpa + align[i]) != ATTACK_RESET)
			return ATTACK_TAKEN;
	}
	return ATTACK_DONE;
}

static enum attack_outcome overlap(struct attack *attack)
{
	const uint64_t desc = attack_gpa(attack, ATTACK_DESC);
	const uint64_t avail = attack_gpa(attack, ATTACK_AVAIL);
	const uint64_t used = attack_gpa(attack, ATTACK_USED);
	const uint64_t at[][3] = {
		{desc, desc, used},
		{desc, desc + 16 * ATTACK_NUM - 2, used},
		{desc, avail, desc},
		{desc, avail, avail},
		{desc, avail, desc + 16 * ATTACK_NUM - 4},
		{desc, avail, avail + 36},
		{desc, used + 4, used},
		{used, avail, used},
		{desc, desc, desc},
	};
	enum attack_outcome outcome = ATTACK_RESET;
	uint32_t i;

	for (i = 0; i < sizeof(at) / sizeof(at[0]) && outcome == ATTACK_RESET; i++) {
		memset(attack_at(attack, 0), 0, ATTACK_OTHER);
		outcome = bad_rings(attack, ATTACK_NUM, at[i][0], at[i][1], at[i][2]);
	}
	return outcome;
}

static enum attack_outcome misaligned(struct attack *attack)
{
	enum attack_outcome outcome = bad_ring(attack, 0, attack_gpa(attack, ATTACK_DESC) + 8);

	if (outcome == ATTACK_RESET)
		outcome = bad_ring(attack, 1, attack_gpa(attack, ATTACK_AVAIL) + 1);
	if (outcome == ATTACK_RESET)
		outcome = bad_ring(attack, 2, attack_gpa(attack, ATTACK_USED) + 2);
	return outcome;
}

/* The queue must not become ready either. */
static enum attack_outcome sizes(struct attack *attack)
{
	static const uint32_t size[] = {0, 3, 12, 17, 2048, 32768, 65535, 65536, 0x10010, 0x80000000u, 0xffffffffu};
	enum attack_outcome outcome = ATTACK_RESET;
	uint32_t i;

	for (i = 0; i < sizeof(size) / sizeof(size[0]) && outcome == ATTACK_RESET; i++) {
		outcome = bad_rings(attack, size[i], attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
				    attack_gpa(attack, ATTACK_USED));
		if (attack_read(attack, VMMIO_QUEUE_READY) != 0)
			return ATTACK_TAKEN;
	}
	return outcome;
}

static enum attack_outcome too_large_by_one_power(struct attack *attack)
{
	uint32_t max;

	attack_greet(attack);
	attack_write(attack, VMMIO_QUEUE_SEL, attack->queue->index);
	max = attack_read(attack, VMMIO_QUEUE_NUM_MAX);
	return bad_rings(attack, max * 2, attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
			 attack_gpa(attack, ATTACK_USED));
}

/* The registers of a queue that is ready: what was set stays, and a request comes back by the old rings. */
static enum attack_outcome moved(struct attack *attack)
{
	static const uint32_t low[] = {VMMIO_QUEUE_DESC_LOW, VMMIO_QUEUE_DRIVER_LOW, VMMIO_QUEUE_DEVICE_LOW};
	uint64_t end = attack->guest->region[0].gpa + attack->guest->region[0].size;
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < 3; i++) {
		attack_write(attack, VMMIO_QUEUE_SEL, attack->queue->index);
		attack_write_address(attack, low[i], end);
		attack_write(attack, VMMIO_QUEUE_NUM, 0xffffffffu);
		attack_write(attack, VMMIO_QUEUE_READY, 1);
		if (attack_honest(attack) != ATTACK_DONE)
			return ATTACK_ERROR;
	}
	return ATTACK_DONE;
}

/* With requests under way the rings go elsewhere, by way of QueueReady = 0; elsewhere is outside of memory. */
static enum attack_outcome moved_out(struct attack *attack)
{
	uint64_t end = attack->guest->region[0].gpa + attack->guest->region[0].size;

	attack_start(attack);
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 512);
	attack_offer(attack, 0);
	attack_write(attack, VMMIO_QUEUE_SEL, attack->queue->index);
	attack_write(attack, VMMIO_QUEUE_READY, 0);
	attack_set_queue(attack, ATTACK_NUM, end, end + 0x1000, end + 0x2000);
	attack_notify(attack);
	return attack_await(attack);
}

/* Of a queue in use: one that is taken up is looked at more closely. */
static enum attack_outcome idx_jump(struct attack *attack, uint16_t by)
{
	attack_start(attack);
	if (attack_honest(attack) != ATTACK_DONE)
		return ATTACK_ERROR;
	core_store_release(&attack->avail->idx, htole16((uint16_t)(attack->avail_idx + by)));
	attack_notify(attack);
	return attack_await(attack);
}

static enum attack_outcome idx_one_too_many(struct attack *attack)
{
	return idx_jump(attack, ATTACK_NUM + 1);
}

static enum attack_outcome idx_half_way(struct attack *attack)
{
	return idx_jump(attack, 0x8000);
}

static enum attack_outcome idx_back(struct attack *attack)
{
	return idx_jump(attack, 0xffff);
}

/* Of a queue that is ready before its rings make sense: what is used is ahead of what was made available. */
static enum attack_outcome used_ahead(struct attack *attack)
{
	attack_greet(attack);
	attack_accept(attack, attack->offered & ~attack->queue->without);
	memset(attack_at(attack, 0), 0, ATTACK_OTHER);
	((struct vring_used *)attack_at(attack, ATTACK_USED))->idx = htole16(5);
	attack_set_queue(attack, ATTACK_NUM, attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
			 attack_gpa(attack, ATTACK_USED));
	attack->used_idx = 5;
	attack_driver_ok(attack);
	return attack_await(attack);
}

static enum attack_outcome head_is(struct attack *attack, uint16_t head)
{
	attack_start(attack);
	attack_offer(attack, head);
	return attack_await(attack);
}

static enum attack_outcome head_beyond_table(struct attack *attack)
{
	return head_is(attack, ATTACK_NUM);
}

static enum attack_outcome head_far_beyond_table(struct attack *attack)
{
	return head_is(attack, 0xffff);
}

/* All at once, so that the device has the one while it comes upon the next. */
static enum attack_outcome head_many_times(struct attack *attack)
{
	uint32_t i;

	attack_start(attack);
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 512);
	for (i = 0; i < ATTACK_NUM; i++)
		attack->avail->ring[i] = 0;
	attack->avail_idx = ATTACK_NUM - 1;
	attack_offer(attack, 0);
	return attack_await(attack);
}

/* Of a queue in use: flags and events of the available ring, and all of the used one, which is the device's. */
static enum attack_outcome scribbled(struct attack *attack)
{
	uint8_t *used;
	uint32_t i;

	attack_start(attack);
	if (attack_honest(attack) != ATTACK_DONE)
		return ATTACK_ERROR;
	used = (uint8_t *)attack->used;
	for (i = 0; i < 6 + 8 * ATTACK_NUM; i++)
		used[i] = (uint8_t)attack_random(attack);
	attack->used->idx = attack->used_idx = 0x1234;
	attack->avail->flags = htole16(0xfffe);
	attack->avail->ring[ATTACK_NUM] = htole16((uint16_t)attack_random(attack));
	return attack_honest(attack);
}

/* Resets and queues taken away, with chains under way */

static void fly(struct attack *attack)
{
	uint32_t at = 0;
	uint32_t i;

	for (i = 0; i < FLIGHT; i++) {
		uint32_t n = attack_chain(attack, attack->desc, at, attack_gpa(attack, ATTACK_DATA), 0x10000);

		attack_offer(attack, (uint16_t)at);
		at += n;
	}
}

static enum attack_outcome reset_storm(struct attack *attack)
{
	uint32_t i;

	for (i = 0; i < attack->guest->accesses / 8 && i < STORM_MAX; i++) {
		attack_start(attack);
		fly(attack);
	}
	attack_write(attack, VMMIO_STATUS, 0);
	return attack_read(attack, VMMIO_STATUS) == 0 ? ATTACK_BORNE : ATTACK_TAKEN;
}

static enum attack_outcome resets_alone(struct attack *attack)
{
	uint32_t i;

	attack_start(attack);
	fly(attack);
	for (i = 0; i < attack->guest->accesses; i++)
		attack_write(attack, VMMIO_STATUS, 0);
	return attack_read(attack, VMMIO_STATUS) == 0 ? ATTACK_BORNE : ATTACK_TAKEN;
}

static enum attack_outcome queue_storm(struct attack *attack, uint32_t offset, uint32_t value)
{
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < attack->guest->accesses / 8 && i < STORM_MAX; i++) {
		attack_write(attack, VMMIO_QUEUE_SEL, attack->queue->index);
		attack_write(attack, offset, value);
		if (attack_read(attack, offset) != 0)
			return ATTACK_TAKEN;
		memset(attack_at(attack, 0), 0, ATTACK_OTHER);
		attack_set_queue(attack, ATTACK_NUM, attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
				 attack_gpa(attack, ATTACK_USED));
		fly(attack);
	}
	return ATTACK_BORNE;
}

static enum attack_outcome disable_storm(struct attack *attack)
{
	return queue_storm(attack, VMMIO_QUEUE_READY, 0);
}

static enum attack_outcome queue_reset_storm(struct attack *attack)
{
	return queue_storm(attack, VMMIO_QUEUE_RESET, 1);
}

#define ANY (ATTACK_RESET | ATTACK_ERROR | ATTACK_DONE)

const struct attack_entry attack_ring_list[] = {
	{"rings-outside-memory", NULL, false, ATTACK_RESET, outside},
	{"rings-in-memory-of-others", NULL, false, ATTACK_RESET, at_others},
	{"rings-cross-out-of-memory", NULL, false, ATTACK_RESET, crossing},
	{"rings-at-the-edge", NULL, true, ATTACK_DONE, edge},
	{"rings-overlap", NULL, false, ATTACK_RESET, overlap},
	{"rings-misaligned", NULL, false, ATTACK_RESET, misaligned},
	{"rings-of-wrong-sizes", NULL, false, ATTACK_RESET, sizes},
	{"rings-too-large", NULL, false, ATTACK_RESET, too_large_by_one_power},
	{"rings-moved-while-live", NULL, false, ATTACK_DONE, moved},
	{"rings-moved-out-of-memory", NULL, false, ATTACK_RESET, moved_out},
	{"avail-idx-one-too-many", NULL, false, ATTACK_RESET, idx_one_too_many},
	{"avail-idx-half-way-round", NULL, false, ATTACK_RESET, idx_half_way},
	{"avail-idx-goes-back", NULL, false, ATTACK_RESET, idx_back},
	{"used-idx-ahead", NULL, false, ATTACK_RESET, used_ahead},
	{"head-beyond-table", NULL, false, ATTACK_RESET, head_beyond_table},
	{"head-far-beyond-table", NULL, false, ATTACK_RESET, head_far_beyond_table},
	{"head-many-times", NULL, false, ANY, head_many_times},
	{"rings-scribbled", NULL, false, ATTACK_DONE, scribbled},
	{"resets-during-requests", NULL, false, ATTACK_BORNE, reset_storm},
	{"resets-one-after-another", NULL, false, ATTACK_BORNE, resets_alone},
	{"queue-disabled-during-requests", NULL, false, ATTACK_BORNE, disable_storm},
	{"queue-reset-during-requests", NULL, false, ATTACK_BORNE, queue_reset_storm},
	{0},
};
