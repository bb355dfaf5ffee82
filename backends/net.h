/* SPDX-License-Identifier: MIT */
/*
 * hvisor-net from the inside. Frames go by readv() and writev() between the tap and the guest's own buffers: towards
 * the guest in net_rx.c, from it in net_tx.c. What the driver sets through the control queue (net_control.c) is kept in
 * the region (net_state.c), where the next backend finds it.
 */
#ifndef HVISOR_BACKENDS_NET_H
#define HVISOR_BACKENDS_NET_H

#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/backend.h"
#include "common/net.h"
#include "common/rate.h"

#define NET_HDR sizeof(struct virtio_net_hdr_v1)
/* An Ethernet frame with two VLAN tags around 64 KiB: the largest that a tap gives (GSO_LEGACY_MAX_SIZE) or takes. */
#define NET_FRAME_MAX (ETH_HLEN + 8u + 65536u)
#define NET_BATCH 64u /* frames of a queue in one turn, ... */
#define NET_BATCH_BYTES (1u << 20) /* ... or so many bytes */
#define NET_SKIPS_MAX 8u /* turns without a look at a tap that had nothing */

#define NET_MACS_MAX 64u /* addresses in the driver's filter; of more, all are taken */
#define NET_VLANS 4096u
#define NET_STASH_CHAINS 256u
#define NET_STASH_IOVS 1023u /* UIO_MAXIOV, less one for what is too much */

/* VIRTIO_NET_CTRL_RX_*, as bits: those that are on. */
#define NET_RX_MODE(command) (1u << (command))

/* What the driver set through the control queue, in the region's state area. */
struct net_state {
	uint32_t version; /* NET_STATE_VERSION; another: nothing is here */
	uint32_t resets; /* region_driver.resets of the life that it belongs to */
	uint8_t mac_first[ETH_ALEN]; /* the launcher's; it outlives resets */
	uint8_t mac[ETH_ALEN];
	uint16_t pairs; /* in use */
	uint16_t announce; /* the driver has yet to announce itself */
	uint32_t rx_mode; /* NET_RX_MODE() */
	uint64_t offloads; /* VIRTIO_NET_F_GUEST_* that may be given to it */
	uint8_t uni_overflow; /* there were too many to remember */
	uint8_t multi_overflow;
	uint16_t nuni; /* the first of macs are unicast addresses, ... */
	uint16_t nmulti; /* ... the following multicast ones */
	uint8_t macs[NET_MACS_MAX][ETH_ALEN];
	uint8_t vlans[NET_VLANS / 8];
};
#define NET_STATE_VERSION 1u

_Static_assert(sizeof(struct net_state) <= REGION_STATE_MAX, "the state fits into the region");

/* A limit of one direction. */
struct net_limit {
	struct rate rate;
	uint64_t until_ns; /* nothing passes before; 0: it is not held back */
};

/* A chain taken from a receive queue, and not filled yet. */
struct net_chain {
	uint16_t head;
	uint16_t niov;
	uint64_t len;
};

/* The receive side of a pair. Both lists are used from their front and filled at their end. */
struct net_rx {
	uint32_t first_chain;
	uint32_t end_chain;
	uint32_t first_iov;
	uint32_t end_iov;
	uint64_t room; /* bytes of all chains */
	uint64_t wanted; /* room that there should be before a frame is taken from the tap */
	uint64_t deadline_ns; /* when less will have to do; 0: it does not wait for room */
	bool starved; /* waits for the driver's buffers */
	bool dry; /* the tap had nothing at the last look */
	uint32_t skips; /* turns since without a look */
	uint64_t window; /* bytes of buffers that are offered to a read; */
	uint64_t largest; /* frame of the last few: what the window becomes */
	uint32_t frames; /* since then */
	struct net_chain chain[2 * NET_STASH_CHAINS];
	struct iovec iov[2 * NET_STASH_IOVS + 1];
};

struct net {
	struct backend *backend;
	uint32_t pairs_max;
	struct net_limit limit_rx;
	struct net_limit limit_tx;
	uint64_t features; /* of the driver; 0: it is not ready */
	uint32_t ctrl; /* index of the control queue; none: UINT32_MAX */
	bool link;
	bool merge; /* VIRTIO_NET_F_MRG_RXBUF */
	uint32_t detached; /* bit n: tap queue n */
	uint32_t tx_blocked; /* bit n: transmitq n waits for room in the tap */
	uint64_t dirty_queues; /* bit n: chains of queue n were pushed and not published */
	struct log_gate tap_gate;
	struct log_gate driver_gate;
	struct net_state state;
	struct virtq_chain chain;
	struct net_rx rx[NET_QUEUE_PAIRS_MAX];
	uint8_t overflow[NET_HDR + NET_FRAME_MAX]; /* the end of a frame that was larger than the window */
};

static inline void net_count_own(const struct net *net, enum net_own own)
{
	backend_count(&net->backend->region->device.own[own], 1);
}

/* May a frame pass now? It is charged when its length is known: rate_owe(). */
static inline bool net_limit_passes(struct net_limit *limit, uint64_t now_ns)
{
	if (now_ns < limit->until_ns)
		return false;
	limit->until_ns = rate_ready(&limit->rate, now_ns);
	return limit->until_ns == 0;
}

static inline uint32_t net_rxq(uint32_t pair)
{
	return 2 * pair;
}

static inline uint32_t net_txq(uint32_t pair)
{
	return 2 * pair + 1;
}

/* net.c */

/*
 * The tap said something that it should not: a line in the log; if it is gone for good, the driver sees no link, and
 * the process ends.
 */
void net_tap_failed(struct net *net, const char *doing, int error);

/* Shows the driver the link and whether it is to announce itself, as they are now. */
void net_show_status(struct net *net);

/* Puts the state's offloads, and its number of pairs, into effect on the tap. 0 or -errno. */
int net_tap_offloads(struct net *net, uint64_t offloads);
int net_tap_pairs(struct net *net, uint32_t pairs);

/* net_state.c */

/* Reads what a predecessor left; the defaults unless it is of the driver's present life. True if it was. */
bool net_state_load(struct net *net);

/* Makes it what a successor finds. */
void net_state_save(struct net *net);

/* The driver's filters: is the frame for it, of which head is the beginning (zeroes behind its end)? */
bool net_state_accepts(const struct net *net, const uint8_t head[ETH_HLEN + 4]);

/* net_iov.c: the bytes from offset on, len or as many as there are; how many they were. */

uint64_t net_iov_read(const struct iovec *iov, uint32_t n, uint64_t offset, void *bytes, uint64_t len);
uint64_t net_iov_write(const struct iovec *iov, uint32_t n, uint64_t offset, const void *bytes, uint64_t len);

/* net_rx.c */

void net_rx_start(struct net *net, uint32_t pair);
/* Forgets the chains that it holds. */
void net_rx_stop(struct net *net, uint32_t pair);
/* One bounded turn; true if it did anything. */
bool net_rx_run(struct net *net, uint32_t pair);
/* Throws away what waits in the tap: it is of a time when there was no driver, or no link. */
void net_rx_drain(struct net *net);

/* net_tx.c: one bounded turn of transmitq pair. */
bool net_tx_run(struct net *net, uint32_t pair);

/* net_control.c: one bounded turn of the control queue. */
bool net_control_run(struct net *net);

#endif
