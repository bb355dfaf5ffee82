/* SPDX-License-Identifier: MIT */
/*
 * A block driver (virtio 1.2, section 5.2) over guest.h: many requests in flight with buffers of their own in guest
 * memory, waited for by polling or by interrupt; and simple calls that do one request and wait.
 *
 * Each queue belongs to one thread at a time and to one CPU, options.cpu + its number.
 */
#ifndef HVISOR_GUEST_BLK_H
#define HVISOR_GUEST_BLK_H

#include <linux/virtio_blk.h>

#include "tests/sim/guest.h"

#define GUEST_BLK_QUEUES_MAX 16
#define GUEST_BLK_SECTOR 512u

struct guest_blk_options {
	uint64_t without; /* features that are not to be negotiated though offered */
	uint32_t queues; /* at most; 0: 1 */
	uint16_t queue_size; /* 0: as many as the device can */
	uint32_t depth; /* requests in flight for each queue; 0: 32 */
	uint32_t data_max; /* bytes of data of a request; 0: 64 KiB */
	uint32_t segment; /* bytes of one descriptor's data, 0: all */
	uint32_t cpu; /* of queue 0 */
	bool polled; /* the device is asked not to interrupt; waiting spins */
	int timeout_ms; /* for the simple calls; 0: 30 s */
};

struct guest_blk;

struct guest_blk_request {
	uint32_t type; /* VIRTIO_BLK_T_*: the caller fills in all down to len */
	uint64_t sector;
	uint32_t len; /* bytes of data, at most data_max */
	uint8_t *data; /* the request's own buffer in guest memory */
	uint64_t user; /* the caller's */
	int error; /* when done: 0, -EIO, -EOPNOTSUPP; -EPROTO for an unknown status */
	uint32_t written; /* when done: bytes that the device says it wrote, the status byte included */
	uint32_t queue;
	uint64_t data_gpa;
	uint64_t header_gpa;
	uint64_t status_gpa;
	struct virtio_blk_outhdr *header;
	uint8_t *status;
	struct guest_blk_request *next_free;
};

struct guest_blk_queue {
	struct guest_vq vq;
	uint32_t cpu;
	uint32_t irq_seen;
	uint32_t in_flight;
	uint64_t area_gpa;
	uint64_t area_bytes;
	struct guest_blk_request *request; /* depth of them */
	struct guest_blk_request *free;
	struct guest_buffer *buffer; /* scratch for one chain */
};

struct guest_blk {
	struct guest_dev dev;
	struct guest_blk_options options;
	struct virtio_blk_config config; /* as read when it was opened */
	uint64_t capacity; /* sectors of 512 bytes */
	uint32_t block_size; /* logical */
	bool readonly;
	uint32_t nqueues;
	struct guest_blk_queue queue[GUEST_BLK_QUEUES_MAX];
};

/*
 * Finds the device, resets it, negotiates and starts it. Returns 0, -ENODEV if there is no block device at base, or
 * what the functions of guest.h say; then nothing is left to close.
 */
int guest_blk_open(struct guest_blk *blk, struct guest *guest, uint64_t base, uint32_t irq,
		   const struct guest_blk_options *options);

/* Resets the device and frees all; requests in flight are dropped. */
void guest_blk_close(struct guest_blk *blk);

/* Reads config anew (after a change of the device's size) into config, capacity, block_size. */
void guest_blk_update(struct guest_blk *blk);

/* A request that is not in use, or NULL; given back with guest_blk_put(). */
struct guest_blk_request *guest_blk_get(struct guest_blk *blk, uint32_t queue);
void guest_blk_put(struct guest_blk *blk, struct guest_blk_request *request);

/* Makes it available; the device is told with guest_blk_kick(). 0, or -ENOSPC: not enough descriptors. */
int guest_blk_submit(struct guest_blk *blk, struct guest_blk_request *request);
bool guest_blk_kick(struct guest_blk *blk, uint32_t queue);

/* The next request that is done, or NULL. */
struct guest_blk_request *guest_blk_reap(struct guest_blk *blk, uint32_t queue);

/* The same, but waits for one, at most timeout_ms (-1: for ever). */
struct guest_blk_request *guest_blk_wait(struct guest_blk *blk, uint32_t queue, int timeout_ms);

/*
 * One request on a queue with nothing in flight, waited for: 0; -EIO or -EOPNOTSUPP as the device says; -EINVAL: len
 * is above data_max; -ETIMEDOUT. len is in bytes.
 */
int guest_blk_read(struct guest_blk *blk, uint32_t queue, uint64_t sector, void *data, uint32_t len);
int guest_blk_write(struct guest_blk *blk, uint32_t queue, uint64_t sector, const void *data, uint32_t len);
int guest_blk_flush(struct guest_blk *blk, uint32_t queue);
int guest_blk_discard(struct guest_blk *blk, uint32_t queue, uint64_t sector, uint32_t sectors);
int guest_blk_write_zeroes(struct guest_blk *blk, uint32_t queue, uint64_t sector, uint32_t sectors, bool unmap);
int guest_blk_get_id(struct guest_blk *blk, uint32_t queue, char id[VIRTIO_BLK_ID_BYTES + 1]);

/* Any type, with len bytes copied to or from data as the type demands. */
int guest_blk_request(struct guest_blk *blk, uint32_t queue, uint32_t type, uint64_t sector, void *data, uint32_t len);

#endif
