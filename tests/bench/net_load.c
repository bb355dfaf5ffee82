/* SPDX-License-Identifier: MIT */
#include "net_load.h"

#include <errno.h>
#include <string.h>

#include "load.h"

#define DRAIN_NS 5000000000ull
#define QUIET_NS 10000000ull

static void tx_add(struct guest_net_pair *pair, struct guest_net_buffer *buffer, uint32_t len)
{
	struct guest_buffer part = {buffer->gpa, (uint32_t)GUEST_NET_HDR + len, false};

	guest_vq_add(&pair->tx, &part, 1, buffer);
}

void net_load_tx_begin(struct guest_net *net, const struct tap_frame *frame)
{
	struct guest_net_pair *pair = &net->pair[0];
	uint32_t i;

	for (i = 0; i < GUEST_NET_TX_BUFFERS; i++) {
		memcpy(pair->tx_buffer[i].bytes, frame->bytes, GUEST_NET_HDR + frame->len);
		tx_add(pair, &pair->tx_buffer[i], frame->len);
	}
	guest_vq_kick(&pair->tx, 0);
}

uint32_t net_load_tx(struct guest_net *net, uint32_t len)
{
	struct guest_net_pair *pair = &net->pair[0];
	struct guest_net_buffer *buffer;
	uint32_t frames = 0;

	while ((buffer = guest_vq_get(&pair->tx, NULL))) {
		tx_add(pair, buffer, len);
		frames++;
	}
	guest_vq_kick(&pair->tx, 0);
	return frames;
}

int net_load_tx_end(struct guest_net *net)
{
	uint64_t limit = load_now_ns() + DRAIN_NS;
	uint32_t inflight = GUEST_NET_TX_BUFFERS;

	while (inflight > 0) {
		if (guest_vq_get(&net->pair[0].tx, NULL))
			inflight--;
		else if (load_now_ns() > limit)
			return -ETIMEDOUT;
	}
	return 0;
}

uint32_t net_load_rx(struct guest_net *net)
{
	struct guest_net_pair *pair = &net->pair[0];
	struct guest_net_buffer *buffer;
	struct guest_buffer part = {0, net->options.rx_size, true};
	uint32_t frames = 0;
	uint32_t more = 0;

	while ((buffer = guest_vq_get(&pair->rx, NULL))) {
		if (more > 0) {
			more--;
		} else {
			more = ((struct virtio_net_hdr_v1 *)(void *)buffer->bytes)->num_buffers - 1u;
			frames++;
		}
		part.gpa = buffer->gpa;
		guest_vq_add(&pair->rx, &part, 1, buffer);
	}
	guest_vq_kick(&pair->rx, 0);
	return frames;
}

void net_load_rx_end(struct guest_net *net)
{
	uint64_t quiet = load_now_ns();

	while (load_now_ns() - quiet < QUIET_NS) {
		if (net_load_rx(net))
			quiet = load_now_ns();
	}
}
