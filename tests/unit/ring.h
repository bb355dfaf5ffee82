/* SPDX-License-Identifier: MIT */
/* A virtqueue as its driver has it, over a buffer of RING_RAM bytes which is the zone's memory and the journal. */
#ifndef HVISOR_TESTS_RING_H
#define HVISOR_TESTS_RING_H

#include <linux/virtio_ring.h>
#include <string.h>

#include "common/gmem.h"
#include "common/region.h"
#include "common/virtqueue.h"

#define RING_GPA 0x40000000ull
#define RING_DESC 0x0000u /* offsets in the buffer */
#define RING_AVAIL 0x4000u
#define RING_USED 0x5000u
#define RING_DATA 0x8000u
#define RING_MEMORY 0x20000u /* bytes of memory; the journal follows */
#define RING_RAM                                                                                                       \
	(RING_MEMORY + sizeof(struct region_journal) + REGION_QUEUE_SIZE_MAX * sizeof(struct region_journal_desc))

struct ring {
	struct gmem mem;
	struct region_queue queue;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct region_journal *journal;
	uint8_t *ram;
	uint16_t num;
};

/* Looks at a buffer as a ring of num entries; changes nothing there. */
static inline void ring_init(struct ring *ring, void *ram, uint16_t num)
{
	memset(ring, 0, sizeof(*ring));
	ring->ram = ram;
	ring->num = num;
	ring->mem.nspans = 1;
	ring->mem.span[0] = (struct gmem_span){.gpa = RING_GPA, .size = RING_MEMORY, .base = ram};
	ring->queue = (struct region_queue){.ready = 1,
					    .num = num,
					    .epoch = 1,
					    .desc = RING_GPA + RING_DESC,
					    .driver = RING_GPA + RING_AVAIL,
					    .device = RING_GPA + RING_USED};
	ring->desc = (struct vring_desc *)(ring->ram + RING_DESC);
	ring->avail = (struct vring_avail *)(ring->ram + RING_AVAIL);
	ring->used = (struct vring_used *)(ring->ram + RING_USED);
	ring->journal = (struct region_journal *)(ring->ram + RING_MEMORY);
}

/* Both indexes as if start chains had come and gone. */
static inline void ring_start_at(struct ring *ring, uint16_t start)
{
	ring->avail->idx = start;
	ring->used->idx = start;
}

static inline void ring_desc_set(struct ring *ring, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
				 uint16_t next)
{
	ring->desc[i] = (struct vring_desc){.addr = addr, .len = len, .flags = flags, .next = next};
}

/* Puts a head on the available ring and shows it. */
static inline void ring_add(struct ring *ring, uint16_t head)
{
	ring->avail->ring[ring->avail->idx % ring->num] = head;
	core_store_release(&ring->avail->idx, (uint16_t)(ring->avail->idx + 1));
}

static inline int ring_open(struct ring *ring, struct virtq *vq, uint64_t features)
{
	return virtq_open(vq, &ring->mem, &ring->queue, features, ring->journal);
}

#endif
