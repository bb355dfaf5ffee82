/* SPDX-License-Identifier: MIT */
/* What the launcher, which describes a network device to its guest, and hvisor-net, which serves it, agree upon. */
#ifndef HVISOR_NET_H
#define HVISOR_NET_H

#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdint.h>

#include "backend_fds.h"

#define NET_QUEUE_PAIRS_MAX 8u

/* Queue i of the tap, from 0 on; one for each queue pair. */
#define NET_FD_TAP BACKEND_FD_DEVICE

/*
 * The virtqueues of a device with so many pairs: receiveq and transmitq of each pair, and the control queue. A driver
 * that does not accept VIRTIO_NET_F_MQ finds the control queue behind the first pair (virtio 1.2, 5.1.2).
 */
#define NET_NQUEUES(pairs) (2u * (pairs) + 1u)

/* Later than the headers of Debian 12: include/uapi/linux/if_tun.h and virtio_net.h of Linux 6.2. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#endif
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

/*
 * What every network device offers. To be added by what the device is: VIRTIO_NET_F_MTU with an MTU, VIRTIO_NET_F_MQ
 * with several pairs, NET_FEATURES_USO where taps have TUN_F_USO4 and TUN_F_USO6.
 */
#define NET_FEATURES                                                                                                   \
	(1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS |      \
	 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 |                \
	 1ull << VIRTIO_NET_F_GUEST_ECN | 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 |            \
	 1ull << VIRTIO_NET_F_HOST_ECN | 1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_STATUS |                \
	 1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_VLAN |                \
	 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA | 1ull << VIRTIO_NET_F_GUEST_ANNOUNCE |                                    \
	 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX |  \
	 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_RESET)
#define NET_FEATURES_USO                                                                                               \
	(1ull << VIRTIO_NET_F_GUEST_USO4 | 1ull << VIRTIO_NET_F_GUEST_USO6 | 1ull << VIRTIO_NET_F_HOST_USO)

/*
 * rate_rx and rate_tx are bytes a second of whole Ethernet frames. What was not used is saved up to the burst: a tenth
 * of a second's bytes, but not less than NET_BURST_MIN, so that a large frame does not use up several.
 */
#define NET_BURST_MIN (128u << 10)

/* struct region_device.own of a network device. rx and tx are the guest's. */
enum net_own {
	NET_OWN_RX_FRAMES, /* given to the guest */
	NET_OWN_TX_FRAMES, /* taken by the tap */
	NET_OWN_RX_DROPPED, /* too large for the guest's buffers, or they could not be written */
	NET_OWN_TX_DROPPED, /* malformed, refused by the tap, or no link */
	NET_OWN_RX_FILTERED, /* not for the guest, as it has set its filters */
	NET_OWN_TX_UNCERTAIN, /* given up because a killed predecessor may have sent them */
	NET_OWN_CTRL, /* control commands done */
	NET_OWN_CTRL_ERRORS, /* control commands refused */
};

#endif
