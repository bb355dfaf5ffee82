/* SPDX-License-Identifier: MIT */
/*
 * The device's side of a split virtqueue (virtio 1.2, section 2.7) with indirect descriptors and event index, over
 * guest memory that changes under our hands. Each field is read once; each range is checked whole. What breaks the
 * rules gives -EPROTO, after which the queue gives no more chains: the caller makes the device need a reset.
 */
#ifndef HVISOR_VIRTQUEUE_H
#define HVISOR_VIRTQUEUE_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "gmem.h"
#include "journal.h"

#define VIRTQ_IOV_MAX 256 /* descriptors of a chain that we take; drivers are told less by each device's own limits */

/* A chain. The iovecs point into guest memory: device-readable ones first, as virtio 1.2, 2.7.4.2 asks. */
struct virtq_chain {
	uint16_t head;
	uint16_t nread; /* iov[0 .. nread): the device reads */
	uint16_t nwrite; /* iov[nread .. nread + nwrite): the device writes */
	uint64_t read_len; /* bytes */
	uint64_t write_len;
	bool begun; /* by a predecessor that died over it: virtq_begin() */
	struct iovec iov[VIRTQ_IOV_MAX];
};

struct virtq {
	uint16_t num; /* 0: not in use */
	uint16_t last_avail; /* next entry of the available ring to fetch */
	uint16_t avail_idx; /* avail->idx as last read */
	uint16_t used_idx; /* where the next used element goes */
	uint16_t published_idx; /* used->idx as the driver sees it */
	uint16_t signalled_idx; /* used_idx at the last look at used_event */
	bool signalled_valid;
	bool event_idx;
	bool indirect;
	bool broken; /* gave -EPROTO */
	const char *why; /* what broke it, for the log */
	const struct gmem *mem;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct journal journal;
	uint16_t nresubmit; /* chains left over by a predecessor, given out first */
	uint16_t resubmit_pos;
	uint16_t nbatch; /* completed, not yet published */
	uint16_t resubmit[REGION_QUEUE_SIZE_MAX];
	uint16_t batch[REGION_QUEUE_SIZE_MAX];
	uint8_t fetched[REGION_QUEUE_SIZE_MAX]; /* not 0: the device has the chain, 2: pushed, not yet published */
};

/*
 * Takes up a queue as the driver set it up (a private copy of the region's entry), with the features it accepted,
 * where the journal says a predecessor left it. Returns 0; -EPROTO if rings are outside of the zone's memory,
 * misaligned or overlapping, or if the ring's indexes are impossible: then vq->why tells.
 */
int virtq_open(struct virtq *vq, const struct gmem *mem, const struct region_queue *queue, uint64_t features,
	       struct region_journal *journal);

/* Forgets the queue; no chain is in the device's hands any more. */
void virtq_close(struct virtq *vq);

/* Is a chain waiting? Cheap, reads the available index. */
bool virtq_pending(const struct virtq *vq);

/*
 * The next chain: 1 with chain filled, 0 if there is none, -EPROTO (vq->why) if the driver broke the rules. The chain
 * belongs to the device until virtq_push().
 */
int virtq_pop(struct virtq *vq, struct virtq_chain *chain);

/* Returns a chain of which the device has written len bytes. The driver sees it after virtq_publish(). */
void virtq_push(struct virtq *vq, uint16_t head, uint32_t len);

/*
 * What the chain asks for is going to be done, and must not be done twice, as when a frame is sent. If this process
 * dies before it is published, the successor pops it with begun set, and has only to push it. Chains are begun in the
 * order in which they were popped.
 */
void virtq_begin(struct virtq *vq, uint16_t head);

/* Gives up a chain just popped, as if it had not been: it will be popped again. Only for the chain popped last. */
void virtq_unpop(struct virtq *vq, uint16_t head);

/* Shows the driver what was pushed. True if it wants an interrupt for it (virtio 1.2, 2.7.7 and 2.7.10). */
bool virtq_publish(struct virtq *vq);

/*
 * Asks the driver to notify us of the next chain; true if one came in between, and must be handled first. While the
 * device works it suppresses notifications.
 */
bool virtq_enable_notification(struct virtq *vq);
void virtq_disable_notification(struct virtq *vq);

#endif
