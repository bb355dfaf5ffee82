/* SPDX-License-Identifier: MIT */
/*
 * hvisor-net over a whole life (life.h). Each queue of its tap is a datagram socket, whose other end sends and takes
 * frames as the host does; what is asked of the tap otherwise is answered here, by refusals too.
 */
#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/ioctl.h>

static uint8_t tap_refuses; /* of its next settings, by a bit each */

static int tap_ioctl(int fd, unsigned long request, ...)
{
	struct ifreq *interface;
	va_list args;

	(void)fd;
	if (request == TUNGETIFF) {
		va_start(args, request);
		interface = va_arg(args, struct ifreq *);
		va_end(args);
		interface->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
		return 0;
	}
	if (request == TUNSETVNETHDRSZ || request == TUNSETVNETLE)
		return 0;
	tap_refuses = (uint8_t)(tap_refuses >> 1 | tap_refuses << 7);
	if (tap_refuses & 1) {
		errno = EINVAL;
		return -1;
	}
	return 0;
}

#define ioctl tap_ioctl
#define main net_main
int net_main(int argc, char **argv);
#include "backends/net.c"
#undef main
#undef ioctl

#include <stdio.h>
#include <sys/socket.h>

#include "tests/fuzz/life.h"

#define PAIRS_MAX 3u
#define SOCKET_BYTES (1 << 20)

static const uint8_t mac[ETH_ALEN] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const uint32_t lengths[] = {14, 60, 64, 18,   1514,  1518,          4096,  13,
				   0,  1,  26, 9014, 65535, NET_FRAME_MAX, 65550, 100};

static int host[PAIRS_MAX]; /* the other ends */
static char frame[NET_HDR + NET_FRAME_MAX + 1];

static struct options {
	char queues[4];
	const char *rate_rx;
	const char *rate_tx;
} options;

static void host_take(uint32_t pair, uint32_t most)
{
	while (most-- > 0 && recv(host[pair], frame, sizeof(frame), MSG_DONTWAIT) >= 0)
		;
}

static void net_make(struct life *life, uint8_t *config, uint8_t *writable)
{
	static const char *const rates[] = {"0", "0", "1000", "1000000"};
	uint8_t kind = input_u8(&life->input);
	uint32_t pairs = 1 + (kind & 3) % PAIRS_MAX;
	struct virtio_net_config net = {
		.status = htole16(VIRTIO_NET_S_LINK_UP),
		.max_virtqueue_pairs = htole16((uint16_t)pairs),
		.mtu = htole16(kind & 4 ? 9000 : 0),
	};
	uint32_t i;

	(void)writable;
	tap_refuses = 0;
	for (i = 0; i < PAIRS_MAX; i++) {
		host_take(i, UINT32_MAX);
		while (recv((int)(NET_FD_TAP + i), frame, sizeof(frame), MSG_DONTWAIT) >= 0)
			;
	}
	snprintf(options.queues, sizeof(options.queues), "%u", pairs);
	options.rate_rx = rates[kind >> 3 & 3];
	options.rate_tx = rates[kind >> 5 & 3];
	memcpy(net.mac, mac, sizeof(mac));
	life->shape.nqueues = NET_NQUEUES(pairs);
	life->shape.config_len = sizeof(net);
	life->shape.device_features = NET_FEATURES | (kind & 128 ? NET_FEATURES_USO : 0) |
				      (uint64_t)(pairs > 1) << VIRTIO_NET_F_MQ |
				      (uint64_t)(net.mtu != 0) << VIRTIO_NET_F_MTU;
	memcpy(config, &net, sizeof(net));
}

static void option(struct life *life, const char *key, const char *value)
{
	INPUT_CHECK(life->type->ops->option(&backend, key, value) == 0);
}

static void net_begin(struct life *life)
{
	memset(&device, 0, sizeof(device));
	device.backend = &backend;
	device.pairs_max = 1;
	backend.device = &device;
	option(life, "queues", options.queues);
	option(life, "rate_rx", options.rate_rx);
	option(life, "rate_tx", options.rate_tx);
}

static void net_gone(struct life *life)
{
	(void)life;
}

/* Room for a frame, with the header in it or before it. */
static void request_rx(struct life *life, uint32_t q)
{
	uint8_t kind = input_u8(&life->input);

	life_chain_begin(life);
	if (kind & 64)
		life_chain_add(life, true, NET_HDR, NULL, 0);
	life_chain_add(life, true, (kind & 64 ? 0 : (uint32_t)NET_HDR) + lengths[kind & 15], NULL, 0);
	life_chain_send(life, q);
}

static void request_tx(struct life *life, uint32_t q)
{
	uint8_t kind = input_u8(&life->input);
	const uint8_t *bytes;
	size_t got;

	life_chain_begin(life);
	bytes = input_block(&life->input, kind & 32 ? NET_HDR : 0, &got);
	life_chain_add(life, false, NET_HDR, bytes, got);
	bytes = input_block(&life->input, kind & 64 ? ETH_HLEN : 0, &got);
	if (lengths[kind & 15] > 0)
		life_chain_add(life, false, lengths[kind & 15], bytes, got);
	life_chain_send(life, q);
}

static void request_control(struct life *life, uint32_t q)
{
	static const uint8_t lens[] = {1, 6, 2, 8, 0, 14, 20, 7};
	static const uint8_t zeroes[NET_MACS_MAX * ETH_ALEN];
	uint8_t kind = input_u8(&life->input);
	uint8_t command[] = {kind & 7, kind >> 3 & 7};
	const uint8_t *bytes;
	uint32_t entries;
	size_t got;

	life_chain_begin(life);
	life_chain_add(life, false, sizeof(command), command, sizeof(command));
	if (command[0] == VIRTIO_NET_CTRL_MAC && command[1] == VIRTIO_NET_CTRL_MAC_TABLE_SET) {
		for (got = 0; got < 2; got++) {
			entries = input_u8(&life->input);
			life_chain_add(life, false, sizeof(entries), &entries, sizeof(entries));
			if (entries > 0)
				life_chain_add(life, false, entries * ETH_ALEN, zeroes, sizeof(zeroes));
		}
	}
	bytes = input_block(&life->input, lens[input_u8(&life->input) % sizeof(lens)], &got);
	if (got > 0)
		life_chain_add(life, false, (uint32_t)got, bytes, got);
	if (!(kind & 64))
		life_chain_add(life, true, 1 + (kind >> 7), NULL, 0);
	life_chain_limit(life, sizeof(virtio_net_ctrl_ack));
	life_chain_send(life, q);
}

static void net_request(struct life *life, uint32_t q)
{
	if (q == device.ctrl)
		request_control(life, q);
	else if (q % 2 == 0)
		request_rx(life, q);
	else
		request_tx(life, q);
}

/* A frame of the host's: to the guest, to all, to some, or to anybody. */
static void host_send(struct life *life, uint32_t pair, uint8_t kind)
{
	uint32_t len = NET_HDR + lengths[kind & 15];
	const uint8_t *bytes;
	size_t got;

	memset(frame, 0, NET_HDR + ETH_HLEN);
	bytes = input_block(&life->input, kind & 32 ? NET_HDR : 0, &got);
	memcpy(frame, bytes, got);
	memcpy(frame + NET_HDR, mac, sizeof(mac));
	if (kind & 16) {
		bytes = input_block(&life->input, ETH_HLEN + 4, &got);
		memcpy(frame + NET_HDR, bytes, got);
	}
	(void)send(host[pair], frame, len, MSG_DONTWAIT);
}

static void net_peer(struct life *life)
{
	uint8_t kind = input_u8(&life->input);
	uint32_t pair = (kind >> 6) % PAIRS_MAX;

	if ((kind & 63) < 60)
		host_send(life, pair, kind);
	else if ((kind & 63) < 63)
		host_take(pair, kind & 3 ? 2 : UINT32_MAX);
	else
		tap_refuses = input_u8(&life->input);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int bytes = SOCKET_BYTES;
	uint32_t pair;
	int ends[2];

	(void)argc;
	(void)argv;
	life_init_process();
	for (pair = 0; pair < PAIRS_MAX; pair++) {
		INPUT_CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0);
		INPUT_CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0);
		INPUT_CHECK(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0);
		life_fd_put(ends[0], (int)(NET_FD_TAP + pair));
		host[pair] = ends[1];
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct life_type type = {
		.backend = &backend,
		.ops = &net_ops,
		.make = net_make,
		.begin = net_begin,
		.gone = net_gone,
		.request = net_request,
		.peer = net_peer,
	};
	static struct life life;

	life_run(&life, &type, data, size);
	return 0;
}
