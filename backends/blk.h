/* SPDX-License-Identifier: MIT */
/*
 * hvisor-blk from the inside. A chain becomes a request (blk_request.c), which is done in one or several steps; each is
 * one operation on the image, done at once (blk_inline.c) or by io_uring (blk_ring.c), as the engine wants it (blk.c).
 */
#ifndef HVISOR_BACKENDS_BLK_H
#define HVISOR_BACKENDS_BLK_H

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/backend.h"
#include "common/blk.h"

#define BLK_SLOTS 128 /* requests in hand at a time, over all queues */
#define BLK_BOUNCE_SIZE (256u << 10) /* bytes of a slot's bounce buffer, for an image opened past the page cache */

enum blk_engine {
	BLK_ENGINE_AUTO, /* io_uring, and at once what will probably not block */
	BLK_ENGINE_IO_URING,
	BLK_ENGINE_PREADV,
};

enum blk_cache {
	BLK_CACHE_WRITEBACK,
	BLK_CACHE_WRITETHROUGH,
	BLK_CACHE_NONE,
};

enum blk_op {
	BLK_OP_READ,
	BLK_OP_WRITE,
	BLK_OP_SYNC,
	BLK_OP_FALLOCATE,
	BLK_OP_DISCARD,
};

/* One operation on the image. Its result is a count of bytes, or -errno; 0 for those that move none. */
struct blk_io {
	enum blk_op op;
	int flags; /* RWF_* of a read or write, FALLOC_FL_* */
	uint64_t offset; /* bytes */
	uint64_t len;
	const struct iovec *iov;
	int niov;
};

struct blk_request {
	struct blk_request *next; /* in the list of free slots, or of requests to go on with */
	uint16_t head;
	uint16_t queue;
	uint32_t type; /* VIRTIO_BLK_T_* */
	uint8_t *status; /* in the zone's memory */
	uint64_t writable; /* bytes that the driver lets us write before the status */
	uint64_t done; /* payload bytes */
	uint64_t offset; /* of the image: where to go on */
	uint64_t left; /* bytes from there: of the data, or of the range in hand */
	uint32_t nranges;
	uint32_t range; /* the next one */
	uint8_t verdict; /* VIRTIO_BLK_S_* */
	bool punch; /* the range in hand may be deallocated */
	bool synced; /* what the driver wants to be stable is */
	struct iovec *iov; /* data that is left, in data[] */
	int niov;
	struct iovec one; /* for an operation that is not on the data where it is */
	struct blk_io io; /* the operation in hand */
	union {
		struct iovec data[BLK_SEG_MAX];
		struct virtio_blk_discard_write_zeroes ranges[BLK_RANGES_MAX];
	};
};

struct blk_list {
	struct blk_request *first;
	struct blk_request *last;
};

/* What the engine "auto" knows of operations done at once: blk_inline.c. */
struct blk_inline {
	bool read_nowait; /* the image knows RWF_NOWAIT: a read that would block says so */
	uint32_t slowness; /* of late; grows with each operation that blocked */
	uint64_t pause_ns; /* how long to do without next time */
	uint64_t paused_until_ns; /* CLOCK_MONOTONIC */
	uint64_t clock_ns; /* end of the last one whose time was taken */
	uint64_t waits; /* voluntary context switches at the last slow one */
	uint64_t sleeps; /* of the main loop, by then */
};

struct blk {
	struct backend *backend;
	enum blk_engine engine;
	enum blk_cache cache;
	bool readonly;
	bool discard;
	uint32_t block_size; /* logical */
	char serial[VIRTIO_BLK_ID_BYTES];

	bool ring_on;
	struct blk_inline at_once;
	uint8_t *bounce; /* BLK_SLOTS times BLK_BOUNCE_SIZE, or NULL */
	uint64_t bounced; /* bytes, since the buffers were last given back */

	uint64_t capacity; /* sectors, as the driver reads it */
	uint64_t image_size; /* bytes; looked at once a turn if anything is written */
	bool image_size_known;
	bool writeback; /* a completed write need not be stable yet */
	bool no_punch; /* the image cannot do it */
	bool no_zero_range;
	bool no_discard; /* it is no block device, or one that cannot */

	uint64_t dirty_queues; /* bit n: chains of queue n were pushed and not published */
	uint32_t next_queue; /* where the next turn begins */
	uint32_t batch; /* chains taken in the turn before this one */
	uint32_t in_hand[REGION_QUEUES_MAX]; /* requests of each queue */
	uint32_t in_ring;
	uint32_t fallocates; /* of them */
	uint32_t prepared; /* of them: not yet given to the kernel */
	struct blk_request *free_slot;
	uint32_t slots_used; /* those behind it were never touched */
	struct blk_list todo; /* requests with another step to do */
	struct log_gate io_gate;
	struct log_gate driver_gate;
	struct virtq_chain chain;
	struct blk_request slot[BLK_SLOTS];
};

/* blk.c: bytes of the image as it is now; 0 if it does not say. */
uint64_t blk_image_size(void);

/* blk_request.c */

/* Makes a request of a chain. NULL, or what is so wrong with it that it cannot even be refused. */
const char *blk_request_init(struct blk *blk, struct blk_request *request, uint16_t queue,
			     const struct virtq_chain *chain);

/* The next operation of the request, in request->io: true; false when it is over, with its status in verdict. */
bool blk_request_step(struct blk *blk, struct blk_request *request);

/* The operation in hand ended; blk_request_step() follows. */
void blk_request_io_done(struct blk *blk, struct blk_request *request, int64_t result);

/* Is the request over, as far as can be told without another step? */
bool blk_request_over(const struct blk_request *request);

/* For the used element: bytes written from the first device-writable buffer on, without a gap. */
uint32_t blk_request_used_len(const struct blk_request *request);

/* blk_inline.c */

/* Does an operation on the image, waiting for its end; RWF_* of extra_flags are added to a read. */
int64_t blk_io_now(const struct blk_io *io, int extra_flags);

/* Finds out what the image can do. */
void blk_inline_init(struct blk *blk);

/* Tries to do it at once if it will probably not block: true with the result. */
bool blk_inline_try(struct blk *blk, const struct blk_io *io, int64_t *result);

/* blk_ring.c. There is one ring, at BACKEND_FD_RING, which can do nothing but the operations above on the image. */

/* 0, or -errno: what is not there, or not allowed. */
int blk_ring_init(void);

/* Prepares the operation in hand; it begins with blk_ring_enter(). */
void blk_ring_add(struct blk *blk, struct blk_request *request);
void blk_ring_enter(struct blk *blk);

/* Enters, and waits until at least one operation has ended. */
void blk_ring_wait(struct blk *blk);

/* The next one that ended, or NULL. */
struct blk_request *blk_ring_next(int64_t *result);

/* May blk_ring_next() have one? Makes no system call. */
bool blk_ring_ready(void);

#endif
