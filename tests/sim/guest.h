/* SPDX-License-Identifier: MIT */
/*
 * The guest's side: a driver for virtio-mmio devices (virtio 1.2, 3.1.1 and 4.2.3) with split virtqueues (2.7), over
 * the simulator's CPUs and zone memory.
 *
 * cpu is the number of the CPU that the calling thread stands for (0 to 31, one thread at a time for each). Functions
 * for different queues may run at the same time; those for one queue may not.
 */
#ifndef HVISOR_GUEST_H
#define HVISOR_GUEST_H

#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/sim.h"

/* A zone as its kernel sees it. */
struct guest {
	struct sim *sim;
	uint32_t zone;
	const struct gmem *mem;
	/* Of its drivers, set by the caller before they open their devices: */
	uint64_t without; /* features that none of them accepts */
	uint16_t first_index; /* where the indexes of their queues begin */
	uint16_t queue_max; /* no queue has more entries; 0: as many as the device can */
	pthread_mutex_t lock;
	uint8_t *taken; /* a byte a page, all spans one after the other */
};

/* Returns 0, -ENOENT without such a zone, or -ENOMEM. */
int guest_init(struct guest *guest, struct sim *sim, uint32_t zone);

/* The same over any memory, for devices that are not behind the simulator: see guest_vq_make(). 0 or -ENOMEM. */
int guest_init_memory(struct guest *guest, const struct gmem *mem);
void guest_finish(struct guest *guest);

/* Zeroed pages of the zone's memory, bytes rounded up: their guest physical address, or 0 if there is no room. */
uint64_t guest_alloc(struct guest *guest, uint64_t bytes);
void guest_free(struct guest *guest, uint64_t gpa, uint64_t bytes);

/* Where the guest has [gpa, gpa + len); NULL if that is not its memory. */
void *guest_at(const struct guest *guest, uint64_t gpa, uint64_t len);

struct guest_dev {
	struct guest *guest;
	uint64_t base;
	uint32_t irq;
	uint32_t device_id;
	uint64_t offered; /* features */
	uint64_t features; /* negotiated */
	pthread_mutex_t irq_lock;
	uint32_t irq_handled; /* number of interrupts at the last guest_dev_interrupt() */
	uint32_t config_changes; /* interrupts that said so */
};

/*
 * Looks for a device at base, whose interrupt is irq. Returns 0; -ENODEV: no device there; -EPROTO: one of another
 * version. Nothing is changed.
 */
int guest_dev_probe(struct guest_dev *dev, struct guest *guest, uint64_t base, uint32_t irq, uint32_t cpu);

/* 32-bit registers by their offset (vmmio.h); any offset and value. */
uint32_t guest_dev_read(struct guest_dev *dev, uint32_t cpu, uint32_t offset);
void guest_dev_write(struct guest_dev *dev, uint32_t cpu, uint32_t offset, uint32_t value);

/* 0, or -EIO if the device does not come out of it with status 0. */
int guest_dev_reset(struct guest_dev *dev, uint32_t cpu);

/*
 * Reset, ACKNOWLEDGE, DRIVER, and FEATURES_OK with those of the wanted features that are offered. Returns 0, -EIO, or
 * -EOPNOTSUPP if the device lacks VERSION_1 or refuses.
 */
int guest_dev_negotiate(struct guest_dev *dev, uint32_t cpu, uint64_t wanted);

/* DRIVER_OK. 0, or -EIO if the device needs a reset. */
int guest_dev_start(struct guest_dev *dev, uint32_t cpu);

/* Reads len bytes of config at offset, again while the generation changes. */
void guest_dev_config(struct guest_dev *dev, uint32_t cpu, uint32_t offset, void *bytes, uint32_t len);
void guest_dev_config_write(struct guest_dev *dev, uint32_t cpu, uint32_t offset, const void *bytes, uint32_t len);

/*
 * Handles the interrupt if it came since the last call by anybody: reads and acknowledges InterruptStatus. Returns
 * its bits (REGION_INT_*), 0 if there was none.
 */
uint32_t guest_dev_interrupt(struct guest_dev *dev, uint32_t cpu);

/*
 * Sleeps until an interrupt came which the caller has not seen, and handles it. *seen is the caller's, 0 at first;
 * the caller takes from its queue, and waits when that is empty. False after timeout_ms (-1: never).
 */
bool guest_dev_wait(struct guest_dev *dev, uint32_t cpu, uint32_t *seen, int timeout_ms);

/* A virtqueue. What is not marked as own is the guest's memory, and a hostile test may write there what it likes. */
struct guest_vq {
	struct guest *guest;
	struct guest_dev *dev; /* NULL: not a virtio-mmio device's */
	void (*notify)(struct guest_vq *vq, uint32_t cpu);
	void *notify_arg; /* the owner's */
	uint32_t index;
	uint16_t num;
	uint64_t gpa; /* of all three parts, one after the other, and the indirect tables */
	uint64_t bytes;
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;
	uint64_t indirect_gpa;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_desc *indirect; /* indirect_max entries for each head */
	uint16_t indirect_max; /* 0: chains are never indirect */
	bool event_idx;
	bool interrupts; /* wanted */
	uint16_t free_head; /* own, as all that follows */
	uint16_t nfree;
	uint16_t avail_idx;
	uint16_t kicked_idx; /* avail_idx at the last look at whether to notify */
	uint16_t last_used;
	uint16_t *next; /* of free descriptors, and of those of a chain */
	uint16_t *length; /* by head: descriptors of the ring that the chain takes */
	void **token; /* by head; NULL: not in flight */
};

struct guest_buffer {
	uint64_t gpa;
	uint32_t len;
	bool device_writes;
};

/*
 * Sets up queue index with num descriptors (0: as many as guest and device can) in new pages, and makes it ready;
 * indirect tables of indirect_max entries (0: none) if that feature is negotiated. Returns 0, -ENOENT: no such queue,
 * -EBUSY: it is ready already, -EINVAL: the device does not take num, -ENOMEM.
 */
int guest_vq_open(struct guest_vq *vq, struct guest_dev *dev, uint32_t cpu, uint32_t index, uint16_t num,
		  uint16_t indirect_max);

/*
 * Lays out a queue of num descriptors (a power of two) in new pages, as above, for a device of another transport: the
 * caller tells the device where desc_gpa, avail_gpa and used_gpa are, and sets notify. Returns 0 or -ENOMEM.
 */
int guest_vq_make(struct guest_vq *vq, struct guest *guest, uint64_t features, uint16_t num, uint16_t indirect_max);

/* Frees it; the device has been reset, or the queue disabled with guest_vq_disable(). */
void guest_vq_close(struct guest_vq *vq);

/* QueueReady = 0; returns when the device has let go of it. */
void guest_vq_disable(struct guest_vq *vq, uint32_t cpu);

/*
 * Makes a chain of n buffers available, those that the device reads first; token comes back with it and is not NULL.
 * Returns the head, or -ENOSPC: not enough descriptors.
 */
int guest_vq_add(struct guest_vq *vq, const struct guest_buffer *buffer, uint32_t n, void *token);

/* Notifies the device of what was added, if it wants to hear of it. True: it did. */
bool guest_vq_kick(struct guest_vq *vq, uint32_t cpu);

/*
 * The token of the next chain that the device has used, and how many bytes it says it wrote (len may be NULL); NULL:
 * there is none. A used element that names no chain in flight ends the program: the device broke the protocol.
 */
void *guest_vq_get(struct guest_vq *vq, uint32_t *len);

/* Has the device used something that guest_vq_get() would give? */
bool guest_vq_pending(const struct guest_vq *vq);

/* Whether the device is to interrupt. True: something is pending already (after on), for which none may come. */
bool guest_vq_interrupts(struct guest_vq *vq, bool on);

/*
 * For hostile tests: puts any head on the available ring (modulo its size) and publishes the index behind it, whether
 * or not it is a chain.
 */
void guest_vq_add_head(struct guest_vq *vq, uint16_t head);

#endif
