/* SPDX-License-Identifier: MIT */
/*
 * A virtio-blk disk as a benchmark drives it: up to DISK_DEPTH_MAX requests in slots, each with its own buffer in the
 * guest's memory, and the used ring is polled without interrupts. The same code drives our device and the peer's.
 */
#ifndef HVISOR_BENCH_DISK_H
#define HVISOR_BENCH_DISK_H

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/guest.h"

#define DISK_DEPTH_MAX 32u
#define DISK_BLOCK_MAX (1u << 20) /* bytes of a request */
#define DISK_RING_SIZE 128u
#define DISK_INDIRECT_MAX 3u /* descriptors of a chain: header, data, status */
#define DISK_SLOT_SIZE 4096u
#define DISK_SLOTS_BYTES ((uint64_t)DISK_DEPTH_MAX * (DISK_SLOT_SIZE + DISK_BLOCK_MAX))
#define DISK_MEMORY (DISK_SLOTS_BYTES + (1u << 20)) /* what a guest with one disk needs */

/* What its driver wants: that writes may stay in the cache until a flush too, which else each device handles its own
 * way. */
#define DISK_FEATURES (VMMIO_F_INDIRECT_DESC | VMMIO_F_EVENT_IDX | 1ull << VIRTIO_BLK_F_FLUSH)

struct disk {
	struct guest_vq *vq;
	uint32_t cpu; /* of the guest */
	uint64_t gpa; /* of the slots, and behind them their buffers */
	uint8_t *mem;
	uint64_t capacity; /* bytes */
	uint64_t kicks; /* counter */
};

/* Makes a disk of an open queue, for the CPU cpu of its guest. 0, or -ENOMEM. The queue stays the caller's. */
int disk_init(struct disk *disk, struct guest *guest, struct guest_vq *vq, uint32_t cpu, uint64_t capacity);

uint8_t *disk_buffer(const struct disk *disk, uint32_t slot);

/* Puts a request for len bytes (up to DISK_BLOCK_MAX) at offset into a free slot, without notifying the device. */
void disk_add(struct disk *disk, uint32_t slot, bool write, uint64_t offset, uint32_t len);

/* Notifies the device of what was added, if it wants to hear of it. */
void disk_kick(struct disk *disk);

/* A request that is done: its virtio status (0: good) and slot, or -1 if none is. */
int disk_reap(struct disk *disk, uint32_t *slot);

#endif
