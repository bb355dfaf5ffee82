/* SPDX-License-Identifier: MIT */
/* Attacks by what descriptors say: buffers that are not the guest's, loops, tables, lengths; and by changing it. */
#include <endian.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "tests/sim/attack.h"

#define FLIP_NS 100000000u
#define HUGE_MS 100 /* that a huge request is given before the next attack's reset comes */
#define HUGE_ENTRIES 200u
#define CHAIN_MAX 256u /* VIRTQ_IOV_MAX */
#define TABLE_MAX 1024u

/* The first region, or the last. */
static const struct attack_region *region_of(const struct attack *attack, bool last)
{
	return &attack->guest->region[last && attack->guest->nregions > 1 ? 1 : 0];
}

static uint64_t region_end(const struct attack *attack, bool last)
{
	return region_of(attack, last)->gpa + region_of(attack, last)->size;
}

/* Buffers that are not the guest's */

static enum attack_outcome below_memory(struct attack *attack)
{
	return attack_with_payload(attack, region_of(attack, false)->gpa - 4096, 4096);
}

static enum attack_outcome above_memory(struct attack *attack)
{
	return attack_with_payload(attack, region_end(attack, true), 4096);
}

static enum attack_outcome into_memory(struct attack *attack)
{
	return attack_with_payload(attack, region_of(attack, false)->gpa - 512, 1024);
}

static enum attack_outcome out_of_memory(struct attack *attack)
{
	return attack_with_payload(attack, region_end(attack, true) - 512, 1024);
}

static enum attack_outcome out_of_region(struct attack *attack)
{
	return attack_with_payload(attack, region_end(attack, false) - 512, 1024);
}

static enum attack_outcome over_the_hole(struct attack *attack)
{
	return attack_with_payload(attack, region_end(attack, false) - 512,
				   (uint32_t)(region_of(attack, true)->gpa - region_end(attack, false) + 1024));
}

static enum attack_outcome one_byte_over(struct attack *attack)
{
	return attack_with_payload(attack, region_end(attack, false) - 511, 512);
}

static enum attack_outcome wraps(struct attack *attack)
{
	return attack_with_payload(attack, UINT64_MAX - 511, 1024);
}

static enum attack_outcome wraps_into_memory(struct attack *attack)
{
	return attack_with_payload(attack, region_of(attack, false)->gpa - 0xffffff00u, 0xffffffffu);
}

static enum attack_outcome high_bits(struct attack *attack)
{
	return attack_with_payload(attack, attack_gpa(attack, ATTACK_DATA) | 1ull << 63, 512);
}

static enum attack_outcome at_zero(struct attack *attack)
{
	return attack_with_payload(attack, 0, 512);
}

static enum attack_outcome at_registers(struct attack *attack)
{
	return attack_with_payload(attack, attack->guest->window, ATTACK_WINDOW);
}

static enum attack_outcome at_others(struct attack *attack)
{
	enum attack_outcome outcome = ATTACK_RESET;
	uint32_t i;

	for (i = 0; i < attack->guest->nothers && outcome == ATTACK_RESET; i++)
		outcome = attack_with_payload(attack, attack->guest->other[i], 512);
	return outcome;
}

static enum attack_outcome huge_length(struct attack *attack)
{
	return attack_with_payload(attack, attack_gpa(attack, ATTACK_DATA), 0xffffffffu);
}

/* The good part of it must not be touched for the bad one behind it to be found. */
static enum attack_outcome good_then_bad(struct attack *attack)
{
	struct vring_desc *desc;
	uint32_t n;

	attack_start(attack);
	n = attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 512);
	desc = attack_payload(attack, attack->desc, 0);
	/* A second payload after the first, then the end of the chain as it was. */
	attack->desc[n] = *desc;
	attack->desc[n].addr = htole64(region_end(attack, true));
	desc->flags |= htole16(VRING_DESC_F_NEXT);
	desc->next = htole16((uint16_t)n);
	return attack_try(attack);
}

/* Chains that are none */

static enum attack_outcome zero_length(struct attack *attack)
{
	uint32_t n;

	attack_start(attack);
	n = attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 0);
	attack_offer(attack, 0);
	attack_chain(attack, attack->desc, n, attack_gpa(attack, ATTACK_DATA), ATTACK_DATA_BYTES);
	attack_offer(attack, (uint16_t)n);
	return attack_await(attack);
}

static enum attack_outcome all_zero(struct attack *attack)
{
	attack_start(attack);
	attack_offer(attack, 0);
	attack_chain(attack, attack->desc, 1, attack_gpa(attack, ATTACK_DATA), ATTACK_DATA_BYTES);
	attack_offer(attack, 1);
	return attack_await(attack);
}

static enum attack_outcome loop_of(struct attack *attack, uint32_t length)
{
	uint32_t flags = VRING_DESC_F_NEXT | (attack->queue->device_writes ? VRING_DESC_F_WRITE : 0);
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < length; i++)
		attack_desc(&attack->desc[i], attack_gpa(attack, ATTACK_DATA), 1, flags, (i + 1) % length);
	return attack_try(attack);
}

static enum attack_outcome loop_of_one(struct attack *attack)
{
	return loop_of(attack, 1);
}

static enum attack_outcome loop_of_all(struct attack *attack)
{
	return loop_of(attack, ATTACK_NUM);
}

static enum attack_outcome next_is(struct attack *attack, uint32_t next)
{
	struct vring_desc *desc;

	attack_start(attack);
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 512);
	desc = attack_payload(attack, attack->desc, 0);
	desc->flags |= htole16(VRING_DESC_F_NEXT);
	desc->next = htole16((uint16_t)next);
	return attack_try(attack);
}

static enum attack_outcome next_beyond_table(struct attack *attack)
{
	return next_is(attack, ATTACK_NUM);
}

static enum attack_outcome next_far_beyond_table(struct attack *attack)
{
	return next_is(attack, 0xffff);
}

static enum attack_outcome readable_after_writable(struct attack *attack)
{
	attack_start(attack);
	attack_desc(&attack->desc[0], attack_gpa(attack, ATTACK_DATA), 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	attack_desc(&attack->desc[1], attack_gpa(attack, ATTACK_DATA), 16, 0, 0);
	return attack_try(attack);
}

static enum attack_outcome unknown_flags(struct attack *attack)
{
	attack_start(attack);
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), ATTACK_DATA_BYTES);
	attack_payload(attack, attack->desc, 0)->flags |= htole16(0xfff8);
	return attack_try(attack);
}

/* Indirect tables */

static struct vring_desc *table_of(struct attack *attack)
{
	return attack_at(attack, ATTACK_TABLE);
}

static enum attack_outcome indirect_bytes(struct attack *attack, uint32_t bytes)
{
	attack_start(attack);
	attack_chain(attack, table_of(attack), 0, attack_gpa(attack, ATTACK_DATA), 512);
	attack_indirect(attack, 0, bytes);
	return attack_try(attack);
}

static enum attack_outcome indirect_of_zero(struct attack *attack)
{
	return indirect_bytes(attack, 0);
}

static enum attack_outcome indirect_of_half(struct attack *attack)
{
	return indirect_bytes(attack, 8);
}

static enum attack_outcome indirect_of_odd(struct attack *attack)
{
	return indirect_bytes(attack, 3 * 16 + 1);
}

static enum attack_outcome indirect_huge(struct attack *attack)
{
	return indirect_bytes(attack, 0xfffffff0u);
}

static enum attack_outcome indirect_loop(struct attack *attack)
{
	struct vring_desc *payload;

	attack_start(attack);
	attack_chain(attack, table_of(attack), 0, attack_gpa(attack, ATTACK_DATA), 1);
	payload = attack_payload(attack, table_of(attack), 0);
	payload->flags |= htole16(VRING_DESC_F_NEXT);
	payload->next = htole16((uint16_t)(payload - table_of(attack)));
	attack_indirect(attack, 0, 4 * 16);
	return attack_try(attack);
}

static enum attack_outcome indirect_next_beyond(struct attack *attack)
{
	struct vring_desc *payload;

	attack_start(attack);
	attack_chain(attack, table_of(attack), 0, attack_gpa(attack, ATTACK_DATA), 1);
	payload = attack_payload(attack, table_of(attack), 0);
	payload->flags |= htole16(VRING_DESC_F_NEXT);
	payload->next = htole16(4);
	attack_indirect(attack, 0, 4 * 16);
	return attack_try(attack);
}

/* The table's first entry is the table: for ever, for whoever follows it. */
static enum attack_outcome indirect_nested(struct attack *attack)
{
	attack_start(attack);
	attack_desc(&table_of(attack)[0], attack_gpa(attack, ATTACK_TABLE), 16, VRING_DESC_F_INDIRECT, 0);
	attack_indirect(attack, 0, 16);
	return attack_try(attack);
}

static enum attack_outcome indirect_with_next(struct attack *attack)
{
	attack_start(attack);
	attack_chain(attack, table_of(attack), 0, attack_gpa(attack, ATTACK_DATA), 512);
	attack_indirect(attack, 0, 3 * 16);
	attack->desc[0].flags |= htole16(VRING_DESC_F_NEXT);
	return attack_try(attack);
}

static enum attack_outcome indirect_at(struct attack *attack, uint64_t gpa)
{
	attack_start(attack);
	attack_desc(&attack->desc[0], gpa, 4 * 16, VRING_DESC_F_INDIRECT, 0);
	return attack_try(attack);
}

static enum attack_outcome indirect_above_memory(struct attack *attack)
{
	return indirect_at(attack, region_end(attack, true));
}

static enum attack_outcome indirect_out_of_region(struct attack *attack)
{
	return indirect_at(attack, region_end(attack, false) - 32);
}

static enum attack_outcome indirect_at_others(struct attack *attack)
{
	enum attack_outcome outcome = ATTACK_RESET;
	uint32_t i;

	for (i = 0; i < attack->guest->nothers && outcome == ATTACK_RESET; i++)
		outcome = indirect_at(attack, attack->guest->other[i]);
	return outcome;
}

static enum attack_outcome indirect_wraps(struct attack *attack)
{
	return indirect_at(attack, UINT64_MAX - 31);
}

static enum attack_outcome indirect_not_negotiated(struct attack *attack)
{
	struct attack_queue queue = *attack->queue;

	queue.without |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	attack->queue = &queue;
	return indirect_bytes(attack, 3 * 16);
}

/* In the table: what the queue's kind has around the payload, and that n times over, each of len bytes. */
static void chain_of_many(struct attack *attack, uint32_t n, uint32_t len)
{
	struct vring_desc *table = table_of(attack);
	uint32_t entries = attack_chain(attack, table, 0, attack_gpa(attack, ATTACK_DATA), len);
	struct vring_desc end = table[entries - 1];
	struct vring_desc *payload = attack_payload(attack, table, 0);
	struct vring_desc one = *payload;
	uint32_t at = (uint32_t)(payload - table);
	uint32_t i;

	for (i = 0; i < n; i++, at++) {
		table[at] = one;
		table[at].next = htole16((uint16_t)(at + 1));
		if (i + 1 < n)
			table[at].flags |= htole16(VRING_DESC_F_NEXT);
	}
	if (attack->queue->status)
		table[at++] = end;
	attack_indirect(attack, 0, at * 16);
}

static enum attack_outcome long_chain(struct attack *attack, uint32_t n)
{
	attack_start(attack);
	chain_of_many(attack, n, 1);
	return attack_try(attack);
}

static enum attack_outcome too_long_chain(struct attack *attack)
{
	return long_chain(attack, CHAIN_MAX + 1);
}

static enum attack_outcome longest_table(struct attack *attack)
{
	return long_chain(attack, TABLE_MAX - 2);
}

/* As much memory as a chain can name, whose work is cut short by the reset that follows. */
static enum attack_outcome huge_chain(struct attack *attack)
{
	attack_start(attack);
	chain_of_many(attack, HUGE_ENTRIES, ATTACK_DATA_BYTES);
	attack_offer(attack, 0);
	attack_await_ms(attack, HUGE_MS);
	return ATTACK_BORNE;
}

/* What changes after it was read */

#define FLIP_LEN 512u
#define FLIP_BAD_LEN ATTACK_BEHIND

struct flips {
	struct vring_desc *desc;
	uint64_t good;
	uint64_t bad;
	bool stop;
};

static void flip_pause(uint32_t turns)
{
	volatile uint32_t i;

	for (i = 0; i < turns; i++)
		;
}

/* One field after the other is made bad, and good again, for times of several lengths. */
static void *flip(void *arg)
{
	struct flips *flips = arg;
	volatile struct vring_desc *desc = flips->desc;
	const uint16_t flags = desc->flags;
	const uint32_t len = desc->len;
	uint32_t i;

	for (i = 0; !__atomic_load_n(&flips->stop, __ATOMIC_RELAXED); i++) {
		switch (i % 4) {
		case 0:
			desc->addr = htole64(flips->bad);
			break;
		case 1:
			desc->flags = flags ^ htole16(i & 4 ? VRING_DESC_F_WRITE : VRING_DESC_F_INDIRECT);
			break;
		default:
			desc->len = htole32(FLIP_BAD_LEN);
			break;
		}
		flip_pause(i / 4 % 32);
		desc->addr = htole64(flips->good);
		desc->len = len;
		desc->flags = flags;
		flip_pause(i / 4 % 32);
	}
	return NULL;
}

/* Which chain is taken by how it was, and which not, is chance. The device is set up again whenever it has had enough.
 */
static enum attack_outcome flipped(struct attack *attack, bool indirect)
{
	uint64_t end = attack_now_ns() + FLIP_NS;
	/* What is longer than it should be ends behind the area, which may be the end of memory. */
	struct flips flips = {.good = attack_gpa(attack, ATTACK_AREA - FLIP_LEN),
			      .bad = region_end(attack, false) - FLIP_LEN / 2};
	enum attack_outcome outcome = ATTACK_RESET;
	struct vring_desc *table;
	pthread_t thread;

	do {
		flips.stop = false;
		attack_start(attack);
		table = indirect ? table_of(attack) : attack->desc;
		attack_chain(attack, table, 0, flips.good, FLIP_LEN);
		if (indirect)
			attack_indirect(attack, 0, 3 * 16);
		flips.desc = attack_payload(attack, table, 0);
		if (pthread_create(&thread, NULL, flip, &flips) != 0)
			return ATTACK_SILENT;
		do
			outcome = attack_try(attack);
		while (outcome & (ATTACK_DONE | ATTACK_ERROR) && attack_now_ns() < end);
		__atomic_store_n(&flips.stop, true, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
	} while (outcome != ATTACK_SILENT && attack_now_ns() < end);
	return outcome;
}

static enum attack_outcome changed_buffer(struct attack *attack)
{
	return flipped(attack, false);
}

static enum attack_outcome changed_table(struct attack *attack)
{
	return flipped(attack, true);
}

#define ANY (ATTACK_RESET | ATTACK_ERROR | ATTACK_DONE)

const struct attack_entry attack_chain_list[] = {
	{"buffer-below-memory", NULL, false, ATTACK_RESET, below_memory},
	{"buffer-above-memory", NULL, false, ATTACK_RESET, above_memory},
	{"buffer-crosses-into-memory", NULL, false, ATTACK_RESET, into_memory},
	{"buffer-crosses-out-of-memory", NULL, false, ATTACK_RESET, out_of_memory},
	{"buffer-crosses-out-of-region", NULL, false, ATTACK_RESET, out_of_region},
	{"buffer-crosses-the-hole", NULL, false, ATTACK_RESET, over_the_hole},
	{"buffer-one-byte-over", NULL, false, ATTACK_RESET, one_byte_over},
	{"buffer-wraps", NULL, false, ATTACK_RESET, wraps},
	{"buffer-wraps-into-memory", NULL, false, ATTACK_RESET, wraps_into_memory},
	{"buffer-high-bits", NULL, false, ATTACK_RESET, high_bits},
	{"buffer-at-zero", NULL, false, ATTACK_RESET, at_zero},
	{"buffer-at-the-registers", NULL, false, ATTACK_RESET, at_registers},
	{"buffer-in-memory-of-others", NULL, false, ATTACK_RESET, at_others},
	{"buffer-huge", NULL, false, ATTACK_RESET, huge_length},
	{"buffer-good-then-bad", NULL, false, ATTACK_RESET, good_then_bad},
	{"buffer-of-no-length", NULL, false, ANY, zero_length},
	{"descriptors-all-zero", NULL, false, ANY, all_zero},
	{"descriptor-loop-of-one", NULL, false, ATTACK_RESET, loop_of_one},
	{"descriptor-loop-of-all", NULL, false, ATTACK_RESET, loop_of_all},
	{"descriptor-next-beyond-table", NULL, false, ATTACK_RESET, next_beyond_table},
	{"descriptor-next-far-beyond-table", NULL, false, ATTACK_RESET, next_far_beyond_table},
	{"descriptor-readable-after-writable", NULL, false, ATTACK_RESET, readable_after_writable},
	{"descriptor-unknown-flags", NULL, false, ANY, unknown_flags},
	{"indirect-of-no-length", NULL, false, ATTACK_RESET, indirect_of_zero},
	{"indirect-of-half-an-entry", NULL, false, ATTACK_RESET, indirect_of_half},
	{"indirect-of-odd-length", NULL, false, ATTACK_RESET, indirect_of_odd},
	{"indirect-huge", NULL, false, ATTACK_RESET, indirect_huge},
	{"indirect-loop", NULL, false, ATTACK_RESET, indirect_loop},
	{"indirect-next-beyond-table", NULL, false, ATTACK_RESET, indirect_next_beyond},
	{"indirect-nested", NULL, false, ATTACK_RESET, indirect_nested},
	{"indirect-with-next", NULL, false, ATTACK_RESET, indirect_with_next},
	{"indirect-above-memory", NULL, false, ATTACK_RESET, indirect_above_memory},
	{"indirect-crosses-out-of-region", NULL, false, ATTACK_RESET, indirect_out_of_region},
	{"indirect-in-memory-of-others", NULL, false, ATTACK_RESET, indirect_at_others},
	{"indirect-wraps", NULL, false, ATTACK_RESET, indirect_wraps},
	{"indirect-not-negotiated", NULL, false, ATTACK_RESET, indirect_not_negotiated},
	{"chain-too-long", NULL, false, ATTACK_RESET, too_long_chain},
	{"chain-of-the-longest-table", NULL, false, ATTACK_RESET, longest_table},
	{"chain-huge-then-reset", NULL, false, ATTACK_BORNE, huge_chain},
	{"buffer-changed-after-read", NULL, false, ANY, changed_buffer},
	{"indirect-changed-after-read", NULL, false, ANY, changed_table},
	{0},
};
