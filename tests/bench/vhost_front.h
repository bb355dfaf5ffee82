/* SPDX-License-Identifier: MIT */
/*
 * The front-end of the vhost-user protocol (the guest's side of the socket) for one vhost-user-blk device: enough to
 * drive another implementation's device with our own driver code. Message names are those of the protocol's
 * specification.
 */
#ifndef HVISOR_VHOST_FRONT_H
#define HVISOR_VHOST_FRONT_H

#include <linux/virtio_blk.h>
#include <stdint.h>

#include "common/gmem.h"

#define VHOST_FRONT_QUEUES_MAX 16
#define VHOST_FRONT_GPA 0x40000000ull /* where the driver's memory begins in guest physical addresses */

struct vhost_front {
	int socket;
	struct gmem mem; /* the driver's memory, shared with the device, zero at the start */
	uint64_t features; /* in force: offered and wanted */
	uint32_t nqueues; /* that the device has */
	struct virtio_blk_config config;
	int kick[VHOST_FRONT_QUEUES_MAX]; /* eventfds, -1 where the queue was not started */
	int call[VHOST_FRONT_QUEUES_MAX];
	char why[160]; /* what failed, for people */
};

/*
 * Connects to the device at a Unix socket, negotiates those of the wanted features (virtio 1.2, chapter 6) that it
 * offers, VIRTIO_F_VERSION_1 always, and shares mem_size bytes with it. Returns 0, or -errno with front->why set and
 * nothing held; -EPROTO for answers that the protocol does not allow.
 */
int vhost_front_open(struct vhost_front *front, const char *path, uint64_t wanted, uint64_t mem_size);

/*
 * Starts queue q of num entries, whose three parts are at these guest physical addresses, aligned as virtio 1.2, 2.7
 * asks, and zero. Returns 0 or -errno as above; the queues started before stay.
 */
int vhost_front_start_queue(struct vhost_front *front, uint32_t q, uint32_t num, uint64_t desc, uint64_t avail,
			    uint64_t used);

/* Tells the device that queue q has something available. */
void vhost_front_kick(struct vhost_front *front, uint32_t q);

void vhost_front_close(struct vhost_front *front);

#endif
