/* SPDX-License-Identifier: MIT */
/* hvisor-net: a network device (virtio 1.2, section 5.1) whose other end is a tap. */
#include "net.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct net device;
static struct backend backend;

static struct net *net_of(struct backend *b)
{
	return b->device;
}

static bool accepted(const struct net *net, uint32_t feature)
{
	return net->features & (1ull << feature);
}

/* The tap */

void net_tap_failed(struct net *net, const char *doing, int error)
{
	uint64_t suppressed;

	if (error == -EBADFD || error == -ENODEV) {
		net->link = false;
		net_show_status(net);
		log_error("the tap is gone: its interface was removed; hvisor-launch makes it anew, or says what is "
			  "to be done");
		/* The next backend gets it. What is in flight is in the journal. */
		_exit(BACKEND_EXIT_FAILED);
	}
	if (log_gate_open(&net->tap_gate, net->backend->now_ns, &suppressed))
		log_warning("%s the tap: %s (%llu more since the last such line)", doing, strerror(-error),
			    (unsigned long long)suppressed);
}

int net_tap_offloads(struct net *net, uint64_t offloads)
{
	unsigned long flags = 0;
	int error;

	/* virtio 1.2, 5.1.3.1: the others need the first. The tap does USO for both or not at all. */
	if (offloads & (1ull << VIRTIO_NET_F_GUEST_CSUM)) {
		flags |= TUN_F_CSUM;
		if (offloads & (1ull << VIRTIO_NET_F_GUEST_TSO4))
			flags |= TUN_F_TSO4;
		if (offloads & (1ull << VIRTIO_NET_F_GUEST_TSO6))
			flags |= TUN_F_TSO6;
		if ((flags & (TUN_F_TSO4 | TUN_F_TSO6)) && (offloads & (1ull << VIRTIO_NET_F_GUEST_ECN)))
			flags |= TUN_F_TSO_ECN;
		if ((offloads & (1ull << VIRTIO_NET_F_GUEST_USO4)) && (offloads & (1ull << VIRTIO_NET_F_GUEST_USO6)))
			flags |= TUN_F_USO4 | TUN_F_USO6;
	}
	if (ioctl(NET_FD_TAP, TUNSETOFFLOAD, flags) == 0)
		return 0;
	error = -errno;
	net_tap_failed(net, "setting the offloads of", error);
	return error;
}

/* Attaches or detaches a queue. */
static int tap_queue(struct net *net, uint32_t pair, bool attach)
{
	struct ifreq request = {.ifr_flags = (short)(attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE)};
	int error;

	if (attach == !(net->detached & (1u << pair)))
		return 0;
	if (ioctl((int)(NET_FD_TAP + pair), TUNSETQUEUE, &request) < 0) {
		error = -errno;
		net_tap_failed(net, attach ? "attaching a queue of" : "detaching a queue of", error);
		return error;
	}
	net->detached ^= 1u << pair;
	return 0;
}

int net_tap_pairs(struct net *net, uint32_t pairs)
{
	uint32_t pair;
	int error = 0;

	for (pair = 1; pair < net->pairs_max && !error; pair++)
		error = tap_queue(net, pair, pair < pairs);
	return error;
}

/* The host's end of the link follows the guest's. */
static void tap_carrier(struct net *net, bool on)
{
	int carrier = on;

	if (ioctl(NET_FD_TAP, TUNSETCARRIER, &carrier) < 0)
		net_tap_failed(net, "setting the link of", -errno);
}

static int tap_error(const char *what)
{
	int error = -errno;

	log_error("the tap: %s: %s", what, strerror(-error));
	return error;
}

/* Queue i of the tap as we need it: with the header of virtio 1. */
static int tap_init(int fd)
{
	struct ifreq request = {0};
	int size = NET_HDR;
	int little_endian = 1;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return tap_error("making it non-blocking");
	if (ioctl(fd, TUNGETIFF, &request) < 0)
		return tap_error("looking at it");
	if ((request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) != (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) {
		log_error("the tap: it is not of the flags IFF_TAP, IFF_NO_PI and IFF_VNET_HDR");
		return -EINVAL;
	}
	if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
		return tap_error("setting the size of its header");
	if (ioctl(fd, TUNSETVNETLE, &little_endian) < 0)
		return tap_error("setting the byte order of its header");
	return 0;
}

/* What the driver sees */

static void config_set(struct net *net, size_t offset, const void *bytes, uint32_t len)
{
	if (backend_config_set(net->backend, (uint32_t)offset, bytes, len) &&
	    offset == offsetof(struct virtio_net_config, status) && accepted(net, VIRTIO_NET_F_STATUS))
		backend_interrupt(net->backend, REGION_INT_CONFIG);
}

/* Options and start */

static int net_option(struct backend *b, const char *key, const char *value)
{
	struct net *net = net_of(b);
	uint64_t n;

	if (strcmp(key, "queues") == 0) {
		if (backend_number(value, 1, NET_QUEUE_PAIRS_MAX, &n))
			return -EINVAL;
		net->pairs_max = (uint32_t)n;
		return 0;
	}
	if (strcmp(key, "rate_rx") == 0)
		return backend_number(value, 0, INT64_MAX, &net->limit_rx.rate.per_s);
	if (strcmp(key, "rate_tx") == 0)
		return backend_number(value, 0, INT64_MAX, &net->limit_tx.rate.per_s);
	return -EINVAL;
}

static void limit_init(struct net_limit *limit, uint64_t now_ns)
{
	uint64_t per_s = limit->rate.per_s;

	rate_init(&limit->rate, per_s, per_s / 10 < NET_BURST_MIN ? NET_BURST_MIN : per_s / 10, now_ns);
}

static int net_start(struct backend *b)
{
	struct net *net = net_of(b);
	uint32_t i;
	int error;

	if (b->shape.nqueues != NET_NQUEUES(net->pairs_max)) {
		log_error("the device has %u queues, and with queues=%u it has to have %u", b->shape.nqueues,
			  net->pairs_max, NET_NQUEUES(net->pairs_max));
		return -EINVAL;
	}
	for (i = 0; i < net->pairs_max; i++) {
		error = tap_init((int)(NET_FD_TAP + i));
		if (error)
			return error;
	}
	limit_init(&net->limit_rx, b->now_ns);
	limit_init(&net->limit_tx, b->now_ns);
	net->link = true;
	net->ctrl = UINT32_MAX;
	/* A reset that came while there was no backend has not put the address back. */
	if (!net_state_load(net))
		config_set(net, offsetof(struct virtio_net_config, mac), net->state.mac_first, ETH_ALEN);
	return 0;
}

void net_show_status(struct net *net)
{
	uint16_t status = 0;

	if (net->link)
		status |= VIRTIO_NET_S_LINK_UP;
	if (net->link && net->state.announce)
		status |= VIRTIO_NET_S_ANNOUNCE;
	status = htole16(status);
	if (net->features)
		config_set(net, offsetof(struct virtio_net_config, mac), net->state.mac, ETH_ALEN);
	config_set(net, offsetof(struct virtio_net_config, status), &status, sizeof(status));
}

/* Others learn where the guest is by a frame of its own: virtio 1.2, 5.1.6.5.4. */
static void announce(struct net *net)
{
	if (!accepted(net, VIRTIO_NET_F_GUEST_ANNOUNCE) || !accepted(net, VIRTIO_NET_F_CTRL_VQ))
		return;
	net->state.announce = 1;
	net_state_save(net);
}

static void net_control(struct backend *b)
{
	struct net *net = net_of(b);
	bool link = !core_load(&b->region->control.link_down);

	if (link != net->link) {
		net->link = link;
		log_info("the link is %s", link ? "up" : "down");
		tap_carrier(net, link);
		if (link && net->features) {
			net_rx_drain(net);
			announce(net);
		}
	}
	net_show_status(net);
}

static void net_driver_ok(struct backend *b)
{
	struct net *net = net_of(b);
	bool taken_over;

	net->features = b->features;
	net->merge = accepted(net, VIRTIO_NET_F_MRG_RXBUF);
	/* virtio 1.2, 5.1.2 */
	net->ctrl = UINT32_MAX;
	if (accepted(net, VIRTIO_NET_F_CTRL_VQ))
		net->ctrl = accepted(net, VIRTIO_NET_F_MQ) ? 2 * net->pairs_max : 2;
	taken_over = net_state_load(net);
	net_tap_offloads(net, net->state.offloads);
	net_tap_pairs(net, net->state.pairs);
	if (taken_over) {
		announce(net);
	} else {
		net_rx_drain(net);
		net_state_save(net);
	}
	net_show_status(net);
}

static void net_reset(struct backend *b)
{
	struct net *net = net_of(b);

	net->features = 0;
	net->ctrl = UINT32_MAX;
	net->state.announce = 0;
	net_show_status(net);
	config_set(net, offsetof(struct virtio_net_config, mac), net->state.mac_first, ETH_ALEN);
}

/* The queues */

static bool is_pair_queue(const struct net *net, uint32_t q)
{
	return q < 2 * net->pairs_max && q != net->ctrl;
}

static void net_queue_start(struct backend *b, uint32_t q)
{
	struct net *net = net_of(b);

	if (is_pair_queue(net, q) && q % 2 == 0)
		net_rx_start(net, q / 2);
}

static void net_quiesce(struct backend *b, uint64_t queues)
{
	struct net *net = net_of(b);
	uint32_t pair;

	for (pair = 0; pair < net->pairs_max; pair++) {
		if (queues & (1ull << net_rxq(pair)))
			net_rx_stop(net, pair);
		if (queues & (1ull << net_txq(pair)))
			net->tx_blocked &= ~(1u << pair);
	}
	net->dirty_queues &= ~queues;
}

static bool is_ready(const struct backend *b, uint32_t q)
{
	return b->ready_queues & (1ull << q) && !b->broken;
}

/* Is the pair's receive side to be served? Its queue may be that of control: virtio 1.2, 5.1.2. */
static bool rx_is_on(const struct net *net, uint32_t pair)
{
	return net->link && pair < net->state.pairs && net_rxq(pair) != net->ctrl &&
	       is_ready(net->backend, net_rxq(pair));
}

static bool tx_is_on(const struct net *net, uint32_t pair)
{
	return net_txq(pair) != net->ctrl && is_ready(net->backend, net_txq(pair));
}

/* What may wait without being work, and until when. */
static void waits_update(struct net *net)
{
	struct backend *b = net->backend;
	uint64_t active = 0;
	uint32_t pair;

	b->wake_ns = 0;
	if (net->ctrl != UINT32_MAX)
		active |= 1ull << net->ctrl;
	for (pair = 0; pair < net->pairs_max; pair++) {
		if (rx_is_on(net, pair)) {
			if (net->rx[pair].starved && !net->limit_rx.until_ns)
				active |= 1ull << net_rxq(pair);
			backend_wake_at(b, net->limit_rx.until_ns ? net->limit_rx.until_ns : net->rx[pair].deadline_ns);
		}
		if (tx_is_on(net, pair)) {
			if (!net->limit_tx.until_ns && !(net->tx_blocked & (1u << pair)))
				active |= 1ull << net_txq(pair);
			backend_wake_at(b, net->limit_tx.until_ns);
		}
	}
	b->passive_queues = ~active;
}

/* A look at a tap that had nothing is a system call: while the guest sends, not every turn makes one. */
static bool rx_is_due(struct net_rx *rx, bool busy)
{
	if (!busy || !rx->dry || ++rx->skips >= NET_SKIPS_MAX) {
		rx->skips = 0;
		return true;
	}
	return false;
}

static bool net_run(struct backend *b)
{
	struct net *net = net_of(b);
	bool sent, did = false;
	uint32_t pair;

	if (net->ctrl != UINT32_MAX && is_ready(b, net->ctrl))
		did |= net_control_run(net);
	for (pair = 0; pair < net->pairs_max; pair++) {
		sent = tx_is_on(net, pair) && net_tx_run(net, pair);
		if (rx_is_on(net, pair) && rx_is_due(&net->rx[pair], sent))
			did |= net_rx_run(net, pair);
		did |= sent;
	}
	backend_publish(b, &net->dirty_queues);
	waits_update(net);
	return did;
}

static bool net_prepare_sleep(struct backend *b, struct pollfd *fds, uint32_t *n)
{
	struct net *net = net_of(b);
	uint32_t pair;
	short events;

	*n = 0;
	for (pair = 0; pair < net->pairs_max; pair++) {
		/*
		 * Whoever waits for nothing is not woken when the interface is removed, but whoever waits for POLLPRI,
		 * which a tap never has (drivers/net/tun.c, tun_detach_all() and tun_chr_poll()). One queue will do.
		 */
		events = pair == 0 ? POLLPRI : 0;
		if (rx_is_on(net, pair) && !net->rx[pair].starved && !net->limit_rx.until_ns)
			events |= POLLIN;
		if (net->tx_blocked & (1u << pair))
			events |= POLLOUT;
		if (events)
			fds[(*n)++] = (struct pollfd){.fd = (int)(NET_FD_TAP + pair), .events = events};
	}
	return false;
}

static void net_polled(struct backend *b, const struct pollfd *fds, uint32_t n)
{
	(void)n;
	if (fds[0].revents & POLLERR)
		net_tap_failed(net_of(b), "waiting for", -EBADFD);
}

static const struct backend_ops net_ops = {
	.device_id = VIRTIO_ID_NET,
	.option = net_option,
	.start = net_start,
	.queue_start = net_queue_start,
	.run = net_run,
	.quiesce = net_quiesce,
	.reset = net_reset,
	.driver_ok = net_driver_ok,
	.control = net_control,
	.prepare_sleep = net_prepare_sleep,
	.polled = net_polled,
	.poll_fds = true,
};

int main(int argc, char **argv)
{
	device.backend = &backend;
	device.pairs_max = 1;
	backend.ops = &net_ops;
	backend.device = &device;
	return backend_main(&backend, argc, argv);
}
