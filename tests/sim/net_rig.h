/* SPDX-License-Identifier: MIT */
/*
 * hvisor-net over the simulator and a real tap, in a network namespace of the test's own. The host's end of the tap is
 * a packet socket, which sees frames with the header of their offloads, both ways. Failures end the test.
 */
#ifndef HVISOR_NET_RIG_H
#define HVISOR_NET_RIG_H

#include "tests/sim/guest_net.h"
#include "tests/sim/rig_backend.h"

#define NET_RIG_TYPE 0x88b5 /* EtherType for experiments: nobody but the test sends it */

struct net_rig {
	struct sim sim;
	struct guest guest;
	struct rig_backend backend;
	uint32_t pairs;
	uint64_t rate_rx; /* the caller may set these before net_rig_start() */
	uint64_t rate_tx;
	uint64_t features; /* what is offered */
	uint16_t mtu; /* of the guest; the tap's is 1500 */
	uint32_t queues; /* what the backend is told, if not pairs */
	int tap_flags; /* IFF_* */
	int sndbuf; /* the tap takes no more while so many bytes are under way in the kernel (TUNSETSNDBUF); 0: it does
		     */
	int keeper; /* holds the name of the tap */
	int ifindex;
	int host; /* the packet socket */
};

extern const uint8_t net_rig_mac[6]; /* the guest's */
extern const uint8_t net_rig_host_mac[6];

/* Goes into a network namespace of the test's own, with no frames of the kernel's own on any interface. */
void net_rig_enter_namespace(void);

/* A namespace, a tap with so many queues, and the device; the caller may change features and rates next. */
void net_rig_init(struct net_rig *rig, uint32_t pairs);
/* Starts the backend, confined; again after net_rig_end(). Unless its link is down the host can send to it then. */
void net_rig_start(struct net_rig *rig);
/* Starts one that does not come to serve: what it logged. */
const char *net_rig_refused(struct net_rig *rig);
int net_rig_end(struct net_rig *rig, int signal);
void net_rig_finish(struct net_rig *rig);

/* A driver on the device, with its receive buffers given to it. */
void net_rig_open(struct net_rig *rig, struct guest_net *net, const struct guest_net_options *options);

/* Sends a frame to the guest; header may be NULL. */
void net_rig_send(struct net_rig *rig, const struct virtio_net_hdr_v1 *header, const void *frame, uint32_t len);

/*
 * The next frame of the guest's: its length, -1 if none comes in timeout_ms. frame has room for GUEST_NET_FRAME_MAX
 * bytes; header may be NULL.
 */
int net_rig_receive(struct net_rig *rig, struct virtio_net_hdr_v1 *header, uint8_t *frame, int timeout_ms);

/* A counter of the device's own. */
uint64_t net_rig_own(const struct net_rig *rig, enum net_own own);
/* Waits until it has at least that value. */
void net_rig_await_own(const struct net_rig *rig, enum net_own own, uint64_t value);
/* Waits until the backend sleeps with nothing to do. */
void net_rig_await_asleep(const struct net_rig *rig);

/* The host's end is another interface, to receive from. */
void net_rig_listen(struct net_rig *rig, const char *name);

/* The tap's interface is removed; another one of that name is there. */
void net_rig_remove_tap(struct net_rig *rig);
void net_rig_make_tap(struct net_rig *rig);

/* Events of the launcher's: REGION_EV_*. */
void net_rig_ring(struct net_rig *rig, uint32_t events);

/* Whether the tap has a link, as the host sees it. */
int net_rig_carrier(const struct net_rig *rig);
/*
 * Waits until the kernel has followed a link that came up (net/core/link_watch.c): until then it throws away silently
 * what is sent.
 */
void net_rig_await_running(const struct net_rig *rig);

/* What the host leaves to the guest, as ethtool shows it of the tap. */
#define NET_RIG_CSUM 1u
#define NET_RIG_TSO4 2u
#define NET_RIG_TSO6 4u
#define NET_RIG_USO 8u
uint32_t net_rig_offloads(const struct net_rig *rig);

/* An Ethernet frame of len bytes of NET_RIG_TYPE: number, a pattern that belongs to it, and their checksum. */
void net_rig_frame(uint8_t *frame, uint32_t len, const uint8_t *to, const uint8_t *from, uint32_t number);
/* The number of such a frame; ends the test if a byte of it is wrong. -1: a frame of another type. */
int64_t net_rig_number(const uint8_t *frame, uint32_t len);

#endif
