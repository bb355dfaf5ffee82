/* SPDX-License-Identifier: MIT */
/*
 * A network driver (virtio 1.2, section 5.1) over guest.h: buffers to receive into, buffers to send from, and the
 * control queue. All calls are of one thread; waiting is by polling the rings, with the interrupt handled meanwhile.
 */
#ifndef HVISOR_GUEST_NET_H
#define HVISOR_GUEST_NET_H

#include <linux/virtio_net.h>

#include "common/net.h"
#include "tests/sim/guest.h"

#define GUEST_NET_HDR sizeof(struct virtio_net_hdr_v1)
#define GUEST_NET_FRAME_MAX (65536u + 64u)
#define GUEST_NET_TX_BUFFERS 64u

struct guest_net_options {
	uint64_t without; /* features that are not to be negotiated though offered */
	uint32_t pairs; /* whose queues are set up; 0: 1. Those beyond the first are used after VQ_PAIRS_SET */
	uint16_t queue_size; /* 0: as many as the device can */
	uint32_t rx_buffers; /* for each pair; 0: 64 */
	uint32_t rx_size; /* bytes of each; 0: 2048, or enough for the largest frame without MRG_RXBUF */
	uint32_t rx_parts; /* descriptors of each; 0: 1 */
	bool polled; /* the device is asked not to interrupt */
	uint32_t cpu;
};

struct guest_net_buffer {
	uint64_t gpa;
	uint8_t *bytes;
	bool busy; /* in the device's hands */
};

struct guest_net_pair {
	struct guest_vq rx;
	struct guest_vq tx;
	uint64_t area_gpa;
	uint64_t area_bytes;
	struct guest_net_buffer *rx_buffer;
	struct guest_net_buffer tx_buffer[GUEST_NET_TX_BUFFERS];
};

struct guest_net {
	struct guest_dev dev;
	struct guest_net_options options;
	struct virtio_net_config config; /* as of guest_net_update() */
	uint32_t npairs;
	struct guest_net_pair pair[NET_QUEUE_PAIRS_MAX];
	bool has_ctrl;
	struct guest_vq ctrl;
	uint64_t ctrl_gpa;
	uint8_t *ctrl_bytes;
};

/* Finds the device, resets it, negotiates and starts it; no receive buffer is given to it yet. 0 or -errno. */
int guest_net_open(struct guest_net *net, struct guest *guest, uint64_t base, uint32_t irq,
		   const struct guest_net_options *options);

/* Resets the device and frees all. */
void guest_net_close(struct guest_net *net);

/* Reads config anew; handles the interrupt too. */
void guest_net_update(struct guest_net *net);

/* Gives the device n of the pair's receive buffers that it has not (0: all), and notifies it if it wants. */
void guest_net_fill(struct guest_net *net, uint32_t pair, uint32_t n);

/*
 * Takes a frame out of the pair's receive queue: its length without the header, copied to frame (GUEST_NET_FRAME_MAX
 * bytes); -1: there is none; -2: the device gave a buffer back empty. buffers may be NULL: how many it lay in.
 */
int guest_net_receive(struct guest_net *net, uint32_t pair, struct virtio_net_hdr_v1 *header, uint8_t *frame,
		      uint32_t *buffers);

/* The same, waiting for it at most timeout_ms. */
int guest_net_await(struct guest_net *net, uint32_t pair, struct virtio_net_hdr_v1 *header, uint8_t *frame,
		    int timeout_ms);

/* Makes a frame available (header NULL: zeroes), without a notification. False: all buffers are in use. */
bool guest_net_send(struct guest_net *net, uint32_t pair, const struct virtio_net_hdr_v1 *header, const void *frame,
		    uint32_t len);
void guest_net_kick(struct guest_net *net, uint32_t pair);

/* How many frames the device has taken since the last call. */
uint32_t guest_net_sent(struct guest_net *net, uint32_t pair);

/* A control command, waited for: VIRTIO_NET_OK or VIRTIO_NET_ERR; -1 if there is no answer in time. */
int guest_net_control(struct guest_net *net, uint8_t class, uint8_t command, const void *data, uint32_t len);

#endif
