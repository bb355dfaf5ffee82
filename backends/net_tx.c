/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "net.h"

/* Gives the frame to the tap: 0, or -errno. */
static int frame_send(struct net *net, uint32_t pair, const struct virtq_chain *chain)
{
	/* What the driver left in a queue that it has given up goes through the first. */
	uint32_t tap = net->detached & (1u << pair) ? 0 : pair;
	ssize_t n;

	do
		n = writev((int)(NET_FD_TAP + tap), chain->iov, chain->nread);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void frame_dropped(struct net *net, const char *why)
{
	uint64_t suppressed;

	net_count_own(net, NET_OWN_TX_DROPPED);
	if (log_gate_open(&net->driver_gate, net->backend->now_ns, &suppressed))
		log_debug("a frame of the guest's was dropped: %s (%llu more since the last such line)", why,
			  (unsigned long long)suppressed);
}

/* Sends the chain, or drops it. False if it has to wait for the tap. */
static bool chain_send(struct net *net, uint32_t pair, const struct virtq_chain *chain)
{
	struct backend *b = net->backend;
	int error;

	if (chain->begun) {
		net_count_own(net, NET_OWN_TX_UNCERTAIN);
		return true;
	}
	if (chain->read_len < NET_HDR + ETH_HLEN || chain->read_len > NET_HDR + NET_FRAME_MAX) {
		backend_count(&b->region->device.errors, 1);
		frame_dropped(net, "its length is none of a frame");
		return true;
	}
	if (!net->link) {
		frame_dropped(net, "there is no link");
		return true;
	}
	virtq_begin(&b->vq[net_txq(pair)], chain->head);
	error = frame_send(net, pair, chain);
	if (error == -EAGAIN)
		return false;
	rate_owe(&net->limit_tx.rate, chain->read_len - NET_HDR);
	if (error == 0) {
		net_count_own(net, NET_OWN_TX_FRAMES);
		backend_count(&b->region->device.bytes_written, chain->read_len - NET_HDR);
	} else if (error == -EIO || error == -EINVAL) {
		/* The interface is down; or the header promises what the frame does not hold. */
		frame_dropped(net, error == -EIO ? "the tap's interface is down" : "the tap finds it malformed");
	} else {
		net_count_own(net, NET_OWN_TX_DROPPED);
		net_tap_failed(net, "writing to", error);
	}
	return true;
}

bool net_tx_run(struct net *net, uint32_t pair)
{
	struct backend *b = net->backend;
	uint32_t q = net_txq(pair);
	struct virtq *vq = &b->vq[q];
	uint64_t bytes = 0;
	uint32_t n;
	int got;

	net->tx_blocked &= ~(1u << pair);
	for (n = 0; n < NET_BATCH && bytes < NET_BATCH_BYTES; n++) {
		if (!net_limit_passes(&net->limit_tx, b->now_ns))
			break;
		got = virtq_pop(vq, &net->chain);
		if (got < 0)
			backend_break(b, q, vq->why);
		if (got <= 0)
			break;
		if (!chain_send(net, pair, &net->chain)) {
			virtq_unpop(vq, net->chain.head);
			net->tx_blocked |= 1u << pair;
			break;
		}
		bytes += net->chain.read_len;
		virtq_push(vq, net->chain.head, 0);
		backend_count(&b->region->device.requests, 1);
		net->dirty_queues |= 1ull << q;
	}
	return n > 0;
}
