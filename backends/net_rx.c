/* SPDX-License-Identifier: MIT */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "net.h"

#define ROOM_NS 50000000u /* so long a frame waits for buffers enough for the largest */
#define WINDOW_FRAMES 256u /* between two looks at how large frames are */
#define DRAIN_MAX 4096u

enum frame {
	FRAME_GIVEN, /* to the driver, or dropped for what it is */
	FRAME_NONE, /* the tap has none */
	FRAME_WAITS, /* there are no buffers for it */
};

/* The chains held for the next frames */

static uint32_t stash_iovs(const struct net_rx *rx)
{
	return rx->end_iov - rx->first_iov;
}

static bool stash_full(const struct net_rx *rx)
{
	return rx->end_chain - rx->first_chain == NET_STASH_CHAINS || stash_iovs(rx) + VIRTQ_IOV_MAX > NET_STASH_IOVS;
}

/* Moves both lists to the front of their arrays if there is no room behind them. */
static void stash_compact(struct net_rx *rx)
{
	if (rx->end_chain == 2 * NET_STASH_CHAINS) {
		rx->end_chain -= rx->first_chain;
		memmove(rx->chain, rx->chain + rx->first_chain, rx->end_chain * sizeof(rx->chain[0]));
		rx->first_chain = 0;
	}
	if (rx->end_iov + VIRTQ_IOV_MAX > 2 * NET_STASH_IOVS) {
		rx->end_iov -= rx->first_iov;
		memmove(rx->iov, rx->iov + rx->first_iov, rx->end_iov * sizeof(rx->iov[0]));
		rx->first_iov = 0;
	}
}

static void stash_add(struct net_rx *rx, const struct virtq_chain *chain)
{
	stash_compact(rx);
	rx->chain[rx->end_chain++] =
		(struct net_chain){.head = chain->head, .niov = chain->nwrite, .len = chain->write_len};
	memcpy(rx->iov + rx->end_iov, chain->iov + chain->nread, chain->nwrite * sizeof(rx->iov[0]));
	rx->end_iov += chain->nwrite;
	rx->room += chain->write_len;
}

static void stash_remove(struct net_rx *rx)
{
	const struct net_chain *chain = &rx->chain[rx->first_chain++];

	rx->first_iov += chain->niov;
	rx->room -= chain->len;
	if (rx->first_chain == rx->end_chain)
		rx->first_chain = rx->end_chain = rx->first_iov = rx->end_iov = 0;
}

/* Takes what the largest frame may need, as far as it is there. */
static void stash_fill(struct net *net, uint32_t pair)
{
	struct net_rx *rx = &net->rx[pair];
	struct backend *b = net->backend;
	uint32_t q = net_rxq(pair);
	uint64_t target = net->merge ? NET_HDR + NET_FRAME_MAX : 1;
	int got;

	while (rx->room < target && !stash_full(rx)) {
		got = virtq_pop(&b->vq[q], &net->chain);
		if (got < 0)
			backend_break(b, q, b->vq[q].why);
		if (got <= 0)
			return;
		if (net->chain.write_len >= NET_HDR) {
			stash_add(rx, &net->chain);
			continue;
		}
		/* No room for a header: virtio 1.2, 5.1.6.3.1. It is given back. */
		backend_count(&b->region->device.errors, 1);
		backend_count(&b->region->device.requests, 1);
		virtq_push(&b->vq[q], net->chain.head, 0);
		net->dirty_queues |= 1ull << q;
	}
}

/*
 * Are there buffers to read the next frame into? How large it will be nobody knows, so there should be enough for the
 * largest; but a driver that has no more gets what fits, after a while.
 */
static bool stash_ready(struct net *net, uint32_t pair)
{
	struct net_rx *rx = &net->rx[pair];
	uint64_t now_ns = net->backend->now_ns;

	rx->starved = false;
	stash_fill(net, pair);
	if (rx->room >= NET_HDR + NET_FRAME_MAX)
		rx->wanted = NET_HDR + NET_FRAME_MAX;
	if (rx->room > 0 && (!net->merge || rx->room >= rx->wanted || stash_full(rx))) {
		rx->deadline_ns = 0;
		return true;
	}
	rx->starved = true;
	if (rx->room == 0) {
		rx->deadline_ns = 0;
		return false;
	}
	if (rx->deadline_ns == 0)
		rx->deadline_ns = now_ns + ROOM_NS;
	if (now_ns < rx->deadline_ns)
		return false;
	rx->wanted = rx->room;
	rx->deadline_ns = 0;
	rx->starved = false;
	return true;
}

/* How many chains hold len bytes: their buffers and bytes too. False if all do not. */
static bool stash_span(const struct net_rx *rx, uint64_t len, uint32_t *chains, uint32_t *iovs, uint64_t *bytes)
{
	uint32_t i;

	*iovs = 0;
	*bytes = 0;
	for (i = rx->first_chain; i < rx->end_chain && *bytes < len; i++) {
		*iovs += rx->chain[i].niov;
		*bytes += rx->chain[i].len;
	}
	*chains = i - rx->first_chain;
	return *bytes >= len;
}

/* Frames */

/* virtio 1.2, 5.1.6.4.1: what the tap does not write, and what was not negotiated. */
static void header_finish(struct net *net, const struct iovec *iov, uint32_t n, uint32_t chains)
{
	uint16_t num_buffers = htole16((uint16_t)chains);
	uint8_t flags = 0;

	net_iov_write(iov, n, offsetof(struct virtio_net_hdr_v1, num_buffers), &num_buffers, sizeof(num_buffers));
	if (!(net->features & (1ull << VIRTIO_NET_F_GUEST_CSUM)))
		net_iov_write(iov, n, offsetof(struct virtio_net_hdr_v1, flags), &flags, sizeof(flags));
}

/* Gives the frame of len bytes, which lies in the first chains, to the driver. */
static void frame_give(struct net *net, uint32_t pair, uint64_t len, uint32_t chains)
{
	struct backend *b = net->backend;
	struct net_rx *rx = &net->rx[pair];
	const struct net_chain *chain;
	uint64_t left = len;
	uint64_t n;

	backend_count(&b->region->device.requests, chains);
	for (; chains > 0; chains--) {
		chain = &rx->chain[rx->first_chain];
		n = left < chain->len ? left : chain->len;
		virtq_push(&b->vq[net_rxq(pair)], chain->head, (uint32_t)n);
		left -= n;
		stash_remove(rx);
	}
	net->dirty_queues |= 1ull << net_rxq(pair);
	net_count_own(net, NET_OWN_RX_FRAMES);
	backend_count(&b->region->device.bytes_read, len - NET_HDR);
	rate_owe(&net->limit_rx.rate, len - NET_HDR);
}

/* The window follows the frames: at once when they become larger, after some time when they become smaller. */
static void window_adapt(struct net_rx *rx, uint64_t len)
{
	if (len > rx->largest)
		rx->largest = len;
	if (len > rx->window)
		rx->window = len;
	if (++rx->frames < WINDOW_FRAMES)
		return;
	rx->window = rx->largest;
	rx->largest = 0;
	rx->frames = 0;
}

/*
 * A frame of len bytes was read: window bytes of it (or less) into the chains, the rest into net->overflow. Makes the
 * chains hold all of it, or drops it; its buffers are then used for the next.
 */
static void frame_finish(struct net *net, uint32_t pair, uint64_t len, uint64_t window)
{
	struct net_rx *rx = &net->rx[pair];
	struct iovec *iov = rx->iov + rx->first_iov;
	uint32_t chains, iovs;
	uint64_t bytes;

	if (!stash_span(rx, len, &chains, &iovs, &bytes) || (chains > 1 && !net->merge)) {
		net_count_own(net, NET_OWN_RX_DROPPED);
		return;
	}
	if (len > window)
		net_iov_write(iov, iovs, window, net->overflow, len - window);
	header_finish(net, iov, iovs, chains);
	frame_give(net, pair, len, chains);
}

/* Reads a frame into the first chains, as far as they are the window, and into net->overflow. */
static enum frame frame_receive(struct net *net, uint32_t pair)
{
	struct net_rx *rx = &net->rx[pair];
	struct iovec *iov = rx->iov + rx->first_iov;
	uint8_t head[ETH_HLEN + 4] = {0};
	uint32_t chains, iovs;
	uint64_t window;
	struct iovec kept;
	ssize_t n;
	int error;

	stash_span(rx, net->merge ? rx->window : 1, &chains, &iovs, &window);
	kept = iov[iovs];
	iov[iovs] = (struct iovec){net->overflow, sizeof(net->overflow)};
	do
		n = readv((int)(NET_FD_TAP + pair), iov, (int)iovs + 1);
	while (n < 0 && errno == EINTR);
	error = errno;
	if (n > (ssize_t)NET_HDR)
		net_iov_read(iov, iovs + 1, NET_HDR, head,
			     (size_t)n - NET_HDR < sizeof(head) ? (size_t)n - NET_HDR : sizeof(head));
	iov[iovs] = kept;
	if (n < 0 && error == EAGAIN)
		return FRAME_NONE;
	if (n < (ssize_t)(NET_HDR + ETH_HLEN)) {
		net_count_own(net, NET_OWN_RX_DROPPED);
		if (n < 0)
			net_tap_failed(net, "reading from", -error);
		return FRAME_GIVEN;
	}
	window_adapt(rx, (uint64_t)n);
	if (!net_state_accepts(net, head))
		net_count_own(net, NET_OWN_RX_FILTERED);
	else
		frame_finish(net, pair, (uint64_t)n, window);
	return FRAME_GIVEN;
}

static enum frame frame_next(struct net *net, uint32_t pair)
{
	if (!stash_ready(net, pair))
		return FRAME_WAITS;
	return frame_receive(net, pair);
}

/* The largest frame that there should be, as far as its header tells: the tap may have another MTU than the guest. */
static uint64_t frame_expected(const struct net *net)
{
	const struct virtio_net_config *config = (const void *)backend_config(net->backend);
	uint16_t mtu = net->features & (1ull << VIRTIO_NET_F_MTU) ? le16toh(config->mtu) : 0;
	bool large = net->features & (1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 |
				      1ull << VIRTIO_NET_F_GUEST_USO4 | 1ull << VIRTIO_NET_F_GUEST_USO6);

	if (large)
		return NET_FRAME_MAX;
	return ETH_HLEN + 4u + (mtu > ETH_DATA_LEN ? mtu : ETH_DATA_LEN);
}

void net_rx_start(struct net *net, uint32_t pair)
{
	struct net_rx *rx = &net->rx[pair];

	net_rx_stop(net, pair);
	rx->wanted = NET_HDR + frame_expected(net);
	rx->window = NET_HDR + NET_FRAME_MAX;
	rx->largest = 0;
	rx->frames = 0;
}

void net_rx_stop(struct net *net, uint32_t pair)
{
	struct net_rx *rx = &net->rx[pair];

	rx->first_chain = rx->end_chain = rx->first_iov = rx->end_iov = 0;
	rx->room = 0;
	rx->deadline_ns = 0;
	rx->starved = false;
	rx->dry = false;
	rx->skips = 0;
}

bool net_rx_run(struct net *net, uint32_t pair)
{
	struct backend *b = net->backend;
	uint64_t before = core_load(&b->region->device.bytes_read);
	enum frame frame = FRAME_GIVEN;
	uint32_t n;

	for (n = 0; n < NET_BATCH && core_load(&b->region->device.bytes_read) - before < NET_BATCH_BYTES; n++) {
		if (b->broken || !net_limit_passes(&net->limit_rx, b->now_ns))
			break;
		frame = frame_next(net, pair);
		if (frame != FRAME_GIVEN)
			break;
	}
	net->rx[pair].dry = frame == FRAME_NONE;
	return n > 0;
}

void net_rx_drain(struct net *net)
{
	uint32_t pair, n;

	for (pair = 0; pair < net->pairs_max; pair++) {
		for (n = 0; n < DRAIN_MAX && !(net->detached & (1u << pair)); n++) {
			if (read((int)(NET_FD_TAP + pair), net->overflow, sizeof(net->overflow)) < 0)
				break;
		}
	}
}
