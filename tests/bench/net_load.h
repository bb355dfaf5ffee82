/* SPDX-License-Identifier: MIT */
/* Frames through the first pair of queues of a network driver that polls, as fast as its device takes them. */
#ifndef HVISOR_BENCH_NET_LOAD_H
#define HVISOR_BENCH_NET_LOAD_H

#include "tap.h"
#include "tests/sim/guest_net.h"

/* Puts the frame into all of the driver's transmit buffers, and gives all of them to the device. */
void net_load_tx_begin(struct guest_net *net, const struct tap_frame *frame);

/* Gives the device again what it has sent, frames of len bytes. How many those were. */
uint32_t net_load_tx(struct guest_net *net, uint32_t len);

/* Waits until the device has none left. 0, or -ETIMEDOUT after 5 s. */
int net_load_tx_end(struct guest_net *net);

/* Takes all frames that came, and gives their buffers back. How many. */
uint32_t net_load_rx(struct guest_net *net);

/* The same until none has come for 10 ms: what was still in the tap. Nobody sends any more. */
void net_load_rx_end(struct guest_net *net);

#endif
