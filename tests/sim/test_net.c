/* SPDX-License-Identifier: MIT */
/* The data path of hvisor-net: frames between a driver and a real tap, whole, in order, and with what they may carry.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/vmmio.h"
#include "tests/sim/net_rig.h"
#include "tests/sim/scratch.h"
#include "tests/test.h"

#define FEATURE(name) (1ull << VIRTIO_NET_F_##name)

static uint8_t frame[GUEST_NET_FRAME_MAX];
static uint8_t got[GUEST_NET_FRAME_MAX];

/* To the guest, and what arrives there is the same. */
static void check_rx(struct net_rig *rig, struct guest_net *net, uint32_t len, uint32_t number)
{
	struct virtio_net_hdr_v1 header;
	int n;

	net_rig_frame(frame, len, net_rig_mac, net_rig_host_mac, number);
	net_rig_send(rig, NULL, frame, len);
	n = guest_net_await(net, 0, &header, got, 10000);
	CHECK_INT(n, len);
	CHECK_MEM(got, frame, len);
	CHECK_INT(header.flags, 0);
	CHECK_INT(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	guest_net_fill(net, 0, 0);
}

static void check_tx(struct net_rig *rig, struct guest_net *net, uint32_t len, uint32_t number)
{
	net_rig_frame(frame, len, net_rig_host_mac, net_rig_mac, number);
	CHECK(guest_net_send(net, 0, NULL, frame, len));
	guest_net_kick(net, 0);
	CHECK_INT(net_rig_receive(rig, NULL, got, 10000), len);
	CHECK_MEM(got, frame, len);
	guest_net_sent(net, 0);
}

static void frames(const struct guest_net_options *options)
{
	static const uint32_t sizes[] = {60, 61, 100, 590, 1000, 1513, 1514};
	struct guest_net net;
	struct net_rig rig;
	uint32_t round, i;
	uint32_t number = 0;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, options);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			check_rx(&rig, &net, sizes[i], number++);
			check_tx(&rig, &net, sizes[i], number++);
		}
	}
	net_rig_await_asleep(&rig);
	CHECK_INT(net_rig_own(&rig, NET_OWN_RX_FRAMES), 700);
	CHECK_INT(net_rig_own(&rig, NET_OWN_TX_FRAMES), 700);
	CHECK_INT(net_rig_own(&rig, NET_OWN_RX_DROPPED), 0);
	CHECK_INT(net_rig_own(&rig, NET_OWN_TX_DROPPED), 0);
	CHECK_INT(rig.backend.region->device.bytes_read, 100 * (60 + 61 + 100 + 590 + 1000 + 1513 + 1514));
	CHECK_INT(rig.backend.region->device.bytes_written, rig.backend.region->device.bytes_read);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static void test_frames(void)
{
	frames(&(struct guest_net_options){0});
}

static void test_frames_plain(void)
{
	frames(&(struct guest_net_options){.without = FEATURE(MRG_RXBUF) | VMMIO_F_EVENT_IDX | VMMIO_F_INDIRECT_DESC});
}

static void test_frames_scattered(void)
{
	/* The header is cut in two, and no part of a frame is whole in a buffer. */
	frames(&(struct guest_net_options){.rx_size = 56, .rx_parts = 7, .rx_buffers = 250});
}

static void test_frames_polled(void)
{
	frames(&(struct guest_net_options){.polled = true, .without = VMMIO_F_EVENT_IDX});
}

/* Large frames for a driver that knows nothing of segments. */
static void test_jumbo_frames(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint32_t i;

	net_rig_init(&rig, 1);
	rig.mtu = 9000;
	scratch_run("ip link set tap0 mtu 9000");
	net_rig_start(&rig);
	net_rig_open(&rig, &net,
		     &(struct guest_net_options){.without = FEATURE(GUEST_CSUM) | FEATURE(GUEST_TSO4) |
							    FEATURE(GUEST_TSO6) | NET_FEATURES_USO,
						 .rx_size = 1536,
						 .rx_buffers = 32});
	CHECK_INT(le16toh(net.config.mtu), 9000);
	for (i = 0; i < 100; i++) {
		check_rx(&rig, &net, i % 3 ? 9014 : 60, i);
		check_tx(&rig, &net, i % 3 ? 60 : 9014, i);
	}
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* Checksums and segmentation */

#define IP_HEADER 20u
#define TCP_HEADER 20u

struct segment {
	uint8_t to[6], from[6];
	uint16_t type;
	uint8_t ip[IP_HEADER];
	uint8_t tcp[TCP_HEADER];
	uint8_t data[];
} __attribute__((packed));

static uint32_t sum_add(uint32_t sum, const uint8_t *bytes, uint32_t len)
{
	uint32_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return len % 2 ? sum + ((uint32_t)bytes[len - 1] << 8) : sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* A TCP segment over IPv4 with len bytes of data, whose TCP checksum is only that of the pseudo header. */
static uint32_t segment_make(uint8_t *bytes, const uint8_t *to, const uint8_t *from, uint32_t len)
{
	struct segment *s = (struct segment *)bytes;
	uint32_t ip_len = IP_HEADER + TCP_HEADER + len;
	uint32_t i, sum;

	memset(s, 0, sizeof(*s));
	memcpy(s->to, to, 6);
	memcpy(s->from, from, 6);
	s->type = htons(0x0800);
	memcpy(s->ip, (uint8_t[]){0x45, 0, (uint8_t)(ip_len >> 8), (uint8_t)ip_len, 0, 1, 0x40, 0, 64, 6}, 10);
	memcpy(s->ip + 12, (uint8_t[]){10, 0, 0, 1, 10, 0, 0, 2}, 8);
	sum = ~sum_fold(sum_add(0, s->ip, IP_HEADER)) & 0xffff;
	s->ip[10] = (uint8_t)(sum >> 8);
	s->ip[11] = (uint8_t)sum;
	memcpy(s->tcp, (uint8_t[]){0x10, 0, 0x20, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0}, 16);
	for (i = 0; i < len; i++)
		s->data[i] = (uint8_t)(i * 13 + (i >> 8));
	sum = sum_fold(sum_add(6 + TCP_HEADER + len, s->ip + 12, 8));
	s->tcp[16] = (uint8_t)(sum >> 8);
	s->tcp[17] = (uint8_t)sum;
	return (uint32_t)sizeof(*s) + len;
}

#define UDP_HEADER 8u
#define GSO_UDP_L4 5 /* VIRTIO_NET_HDR_GSO_UDP_L4: virtio 1.3, 5.1.6.2 */

/* The same for a UDP datagram of len bytes, over the headers of which the data begins earlier. */
static uint32_t datagram_make(uint8_t *bytes, const uint8_t *to, const uint8_t *from, uint32_t len)
{
	uint8_t *udp = bytes + 14 + IP_HEADER;
	uint32_t udp_len = UDP_HEADER + len;
	uint32_t sum;

	segment_make(bytes, to, from, 0);
	memset(udp, 0, UDP_HEADER);
	memset(bytes + 14 + IP_HEADER + UDP_HEADER, 0x5a, len);
	memcpy(udp, (uint8_t[]){0x10, 0, 0x20, 0, (uint8_t)(udp_len >> 8), (uint8_t)udp_len}, 6);
	bytes[16] = (uint8_t)((IP_HEADER + udp_len) >> 8);
	bytes[17] = (uint8_t)(IP_HEADER + udp_len);
	bytes[23] = 17;
	memset(bytes + 24, 0, 2);
	sum = ~sum_fold(sum_add(0, bytes + 14, IP_HEADER)) & 0xffff;
	bytes[24] = (uint8_t)(sum >> 8);
	bytes[25] = (uint8_t)sum;
	sum = sum_fold(sum_add(17 + udp_len, bytes + 26, 8));
	udp[6] = (uint8_t)(sum >> 8);
	udp[7] = (uint8_t)sum;
	return 14 + IP_HEADER + udp_len;
}

/* Is the checksum of the whole segment right? */
static bool segment_sum_right(const uint8_t *bytes, uint32_t len)
{
	const struct segment *s = (const struct segment *)bytes;
	uint32_t tcp = len - 14 - IP_HEADER;

	return sum_fold(sum_add(sum_add(6 + tcp, s->ip + 12, 8), s->tcp, tcp)) == 0xffff;
}

static struct virtio_net_hdr_v1 segment_header(uint16_t gso_size)
{
	return (struct virtio_net_hdr_v1){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = gso_size ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE,
		.hdr_len = htole16(14 + IP_HEADER + TCP_HEADER),
		.gso_size = htole16(gso_size),
		.csum_start = htole16(14 + IP_HEADER),
		.csum_offset = htole16(16),
	};
}

/* From the guest: the tap's other end sees one large segment whose checksum nobody has computed. */
static void test_tx_offloads(void)
{
	struct virtio_net_hdr_v1 header = segment_header(1448);
	struct virtio_net_hdr_v1 seen;
	struct guest_net net;
	struct net_rig rig;
	uint32_t len;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	len = segment_make(frame, net_rig_host_mac, net_rig_mac, 60000);
	CHECK(guest_net_send(&net, 0, &header, frame, len));
	guest_net_kick(&net, 0);
	CHECK_INT(net_rig_receive(&rig, &seen, got, 10000), len);
	CHECK_MEM(got, frame, len);
	CHECK_INT(seen.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	CHECK_INT(le16toh(seen.gso_size), 1448);
	CHECK_INT(seen.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	/* A header that promises more than there is: dropped, and the next frame goes. */
	header.csum_start = htole16(60000);
	len = segment_make(frame, net_rig_host_mac, net_rig_mac, 100);
	CHECK(guest_net_send(&net, 0, &header, frame, len));
	check_tx(&rig, &net, 100, 7);
	CHECK_INT(net_rig_own(&rig, NET_OWN_TX_DROPPED), 1);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* To the guest, over many buffers. */
static void test_rx_offloads(void)
{
	struct virtio_net_hdr_v1 header = segment_header(1448);
	struct virtio_net_hdr_v1 seen;
	struct guest_net net;
	struct net_rig rig;
	uint32_t len, i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){.rx_buffers = 128, .rx_size = 1536});
	len = segment_make(frame, net_rig_mac, net_rig_host_mac, 60000);
	/* Small ones in between, so that the large ones come unexpected. */
	for (i = 0; i < 2000; i++) {
		if (i % 600) {
			check_rx(&rig, &net, 100, i);
			continue;
		}
		len = segment_make(frame, net_rig_mac, net_rig_host_mac, 60000);
		net_rig_send(&rig, &header, frame, len);
		CHECK_INT(guest_net_await(&net, 0, &seen, got, 10000), len);
		CHECK_MEM(got, frame, len);
		CHECK_INT(le16toh(seen.num_buffers), (len + 12 + 1535) / 1536);
		CHECK_INT(seen.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
		CHECK_INT(le16toh(seen.gso_size), 1448);
		CHECK_INT(seen.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		guest_net_fill(&net, 0, 0);
	}
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* UDP that is to be cut into datagrams, both ways. */
static void test_udp_offloads(void)
{
	struct virtio_net_hdr_v1 header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = GSO_UDP_L4,
		.hdr_len = htole16(14 + IP_HEADER + UDP_HEADER),
		.gso_size = htole16(1400),
		.csum_start = htole16(14 + IP_HEADER),
		.csum_offset = htole16(6),
	};
	struct virtio_net_hdr_v1 seen;
	struct guest_net net;
	struct net_rig rig;
	uint32_t len;

	net_rig_init(&rig, 1);
	if (!(rig.features & FEATURE(HOST_USO))) {
		printf("# this kernel's taps cannot do it\n");
		net_rig_finish(&rig);
		return;
	}
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	len = datagram_make(frame, net_rig_host_mac, net_rig_mac, 28000);
	CHECK(guest_net_send(&net, 0, &header, frame, len));
	guest_net_kick(&net, 0);
	CHECK_INT(net_rig_receive(&rig, &seen, got, 10000), len);
	CHECK_MEM(got, frame, len);
	CHECK_INT(seen.gso_type, GSO_UDP_L4);
	len = datagram_make(frame, net_rig_mac, net_rig_host_mac, 28000);
	net_rig_send(&rig, &header, frame, len);
	CHECK_INT(guest_net_await(&net, 0, &seen, got, 10000), len);
	CHECK_MEM(got, frame, len);
	CHECK_INT(seen.gso_type, GSO_UDP_L4);
	CHECK_INT(le16toh(seen.gso_size), 1400);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* A driver without offloads gets segments of its own size, with their checksums. */
static void check_cut(struct net_rig *rig, struct guest_net *net)
{
	struct virtio_net_hdr_v1 header = segment_header(1448);
	struct virtio_net_hdr_v1 seen;
	uint32_t i;
	int n;

	net_rig_send(rig, &header, frame, segment_make(frame, net_rig_mac, net_rig_host_mac, 10 * 1448));
	for (i = 0; i < 10; i++) {
		n = guest_net_await(net, 0, &seen, got, 10000);
		CHECK_INT(n, sizeof(struct segment) + 1448);
		CHECK_INT(seen.flags, 0);
		CHECK_INT(seen.gso_type, VIRTIO_NET_HDR_GSO_NONE);
		CHECK(segment_sum_right(got, (uint32_t)n));
	}
	guest_net_fill(net, 0, 0);
}

static void test_no_rx_offloads(void)
{
	struct guest_net net;
	struct net_rig rig;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){.without = FEATURE(GUEST_CSUM)});
	check_cut(&rig, &net);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* A frame in a hundred pieces, some of them empty, the header in four of them. */
static void test_tx_pieces(void)
{
	struct guest_buffer piece[100];
	struct guest_net net;
	struct net_rig rig;
	uint32_t round, i, at;
	uint64_t gpa;
	static int token;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	gpa = net.pair[0].tx_buffer[0].gpa;
	for (round = 0; round < 50; round++) {
		net_rig_frame(frame, 1000, net_rig_host_mac, net_rig_mac, round);
		memcpy(net.pair[0].tx_buffer[0].bytes + GUEST_NET_HDR, frame, 1000);
		for (i = 0, at = 0; i < 100; i++) {
			uint32_t left = (uint32_t)GUEST_NET_HDR + 1000 - at;
			uint32_t len = i < 4 ? 3 : i == 99 ? left : (uint32_t)test_random_below(20);

			if (len > left)
				len = left;
			piece[i] = (struct guest_buffer){gpa + at, len, false};
			at += len;
		}
		CHECK(guest_vq_add(&net.pair[0].tx, piece, 100, &token) >= 0);
		guest_net_kick(&net, 0);
		CHECK_INT(net_rig_receive(&rig, NULL, got, 10000), 1000);
		CHECK_INT(net_rig_number(got, 1000), round);
		while (!guest_vq_get(&net.pair[0].tx, NULL))
			;
	}
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* A queue is taken away from the device and given back, while the others go on. */
static void test_queue_reset(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint32_t round, i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	for (round = 0; round < 20; round++) {
		check_rx(&rig, &net, 500, round);
		guest_vq_disable(&net.pair[0].rx, 0);
		guest_vq_close(&net.pair[0].rx);
		for (i = 0; i < net.options.rx_buffers; i++)
			net.pair[0].rx_buffer[i].busy = false;
		check_tx(&rig, &net, 500, round);
		CHECK_INT(guest_vq_open(&net.pair[0].rx, &net.dev, 0, 0, 0, 4), 0);
		guest_net_fill(&net, 0, 0);
		check_rx(&rig, &net, 500, round);
		guest_vq_disable(&net.pair[0].tx, 0);
		guest_vq_close(&net.pair[0].tx);
		check_rx(&rig, &net, 500, round);
		CHECK_INT(guest_vq_open(&net.pair[0].tx, &net.dev, 0, 1, 0, 4), 0);
		check_tx(&rig, &net, 500, round);
	}
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* Hostile drivers */

static uint64_t random_gpa(void)
{
	uint64_t gpa = RIG_RAM + (32u << 20) + test_random_below(16u << 20);

	return test_random_below(3000) ? gpa : test_random();
}

/* A chain of any buffers. The memory that they are in holds nothing else. */
static void random_chain(struct guest_vq *vq)
{
	static int token;
	struct guest_buffer part[12];
	uint32_t n = 1 + (uint32_t)test_random_below(12);
	uint32_t split = (uint32_t)test_random_below(n + 1);
	uint32_t i;

	for (i = 0; i < n; i++) {
		static const uint32_t most[] = {2, 16, 100, 2000, 70000};
		uint32_t len = (uint32_t)test_random_below(most[test_random_below(5)]);

		part[i] = (struct guest_buffer){random_gpa(), len, vq->index != 1 ? i >= split : i >= n - split / 8};
	}
	if (vq->index == 0 && test_random_below(4)) {
		for (i = 0; i < n; i++)
			part[i].device_writes = true;
	}
	guest_vq_add(vq, part, n, &token);
	if (test_random_below(3))
		guest_vq_kick(vq, 0);
}

/* Whatever a driver puts into its queues, its backend lives; and the next driver is served as the first. */
static void test_random_chains(void)
{
	struct guest_net net;
	struct guest_vq *vq[3];
	struct net_rig rig;
	uint32_t round, i, resets = 0;
	uint8_t *ram;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	ram = guest_at(&rig.guest, RIG_RAM + (32u << 20), 16u << 20);
	for (round = 0; round < 60; round++) {
		for (i = 0; i < 1u << 16; i++)
			ram[test_random_below(16u << 20)] = (uint8_t)test_random_below(7);
		CHECK_INT(guest_net_open(&net, &rig.guest, rig.backend.config.base, rig.backend.config.irq,
					 &(struct guest_net_options){.without = test_random() & test_random() &
										~VMMIO_F_VERSION_1,
								     .rx_size = 2048}),
			  0);
		vq[0] = &net.pair[0].rx;
		vq[1] = &net.pair[0].tx;
		vq[2] = net.has_ctrl ? &net.ctrl : vq[0];
		for (i = 0; i < 300; i++) {
			random_chain(vq[test_random_below(3)]);
			if (test_random_below(4) == 0) {
				net_rig_frame(frame, 60 + (uint32_t)test_random_below(1400), net_rig_mac,
					      net_rig_host_mac, i);
				net_rig_send(&rig, NULL, frame, 60 + (uint32_t)test_random_below(1400));
			}
			while (guest_vq_get(vq[i % 3], NULL))
				;
			guest_dev_interrupt(&net.dev, 0);
			if (test_random_below(8) == 0)
				net_rig_await_asleep(&rig);
			if (guest_dev_read(&net.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET)
				break;
		}
		resets += (guest_dev_read(&net.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET) != 0;
		guest_net_close(&net);
	}
	printf("# %u of %u drivers broke a ring; %llu chains done, %llu of them refused\n", resets, round,
	       (unsigned long long)rig.backend.region->device.requests,
	       (unsigned long long)rig.backend.region->device.errors);
	CHECK_INT(rig.backend.region->device.starts, 1);
	/* What it sent lies before the socket, and not all of it has a header that can be read again. */
	net_rig_listen(&rig, "tap0");
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	check_rx(&rig, &net, 300, 1);
	check_tx(&rig, &net, 300, 2);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static void raw_tx(struct net_rig *rig, struct guest_net *net, const struct guest_buffer *buffer, uint32_t n)
{
	static int token;

	CHECK(guest_vq_add(&net->pair[0].tx, buffer, n, &token) >= 0);
	guest_net_kick(net, 0);
	net_rig_await_asleep(rig);
	(void)rig;
}

static int tx_is_done(void *arg)
{
	struct guest_net *net = arg;

	return guest_vq_pending(&net->pair[0].tx);
}

/* Frames that are none are dropped, each on its own; the queue goes on. */
static void test_hostile_tx(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint64_t gpa;
	uint32_t i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	gpa = net.pair[0].tx_buffer[0].gpa;
	const struct {
		struct guest_buffer buffer[3];
		uint32_t n;
	} chains[] = {
		{{{gpa, 4, false}}, 1}, /* less than a header */
		{{{gpa, 12, false}}, 1}, /* nothing else */
		{{{gpa, 25, false}}, 1}, /* less than an Ethernet header */
		{{{gpa, 0, false}}, 1},
		{{{gpa, 100, true}}, 1}, /* not to be read at all */
		{{{RIG_RAM, 16u << 20, false}}, 1}, /* no frame is so large */
		{{{gpa, 12, false}, {RIG_RAM, 65536 + 100, false}}, 2},
	};
	for (i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
		raw_tx(&rig, &net, chains[i].buffer, chains[i].n);
		CHECK(test_wait(tx_is_done, &net, 10000));
		CHECK(guest_vq_get(&net.pair[0].tx, NULL));
		CHECK_INT(net_rig_own(&rig, NET_OWN_TX_DROPPED), i + 1);
		check_tx(&rig, &net, 100, i);
	}
	net_rig_await_asleep(&rig);
	CHECK_INT(net_rig_own(&rig, NET_OWN_TX_FRAMES), i);
	/* A broken ring is another matter. */
	guest_vq_add_head(&net.pair[0].tx, 9999);
	guest_net_kick(&net, 0);
	net_rig_await_asleep(&rig);
	CHECK(guest_dev_read(&net.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET);
	guest_net_close(&net);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	check_tx(&rig, &net, 100, 1);
	check_rx(&rig, &net, 100, 1);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* Buffers too small for a header come back empty; what fits no frame drops it; and then frames come again. */
static void test_hostile_rx(void)
{
	struct virtio_net_hdr_v1 header;
	struct guest_net net;
	struct net_rig rig;
	struct guest_buffer part;
	uint32_t i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(
		&rig, &net,
		&(struct guest_net_options){.without = FEATURE(MRG_RXBUF) | FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6)});
	guest_net_close(&net);
	CHECK_INT(guest_net_open(&net, &rig.guest, rig.backend.config.base, rig.backend.config.irq,
				 &(struct guest_net_options){.without = FEATURE(MRG_RXBUF)}),
		  0);
	for (i = 0; i < 8; i++) {
		part = (struct guest_buffer){net.pair[0].rx_buffer[i].gpa, i < 4 ? 3 * i : 20 + 20 * (i % 4), true};
		net.pair[0].rx_buffer[i].busy = true;
		CHECK(guest_vq_add(&net.pair[0].rx, &part, 1, &net.pair[0].rx_buffer[i]) >= 0);
	}
	guest_vq_kick(&net.pair[0].rx, 0);
	net_rig_await_asleep(&rig);
	for (i = 0; i < 4; i++)
		CHECK_INT(guest_net_await(&net, 0, &header, got, 10000), -2);
	/* Four frames that fit nowhere: each buffer is kept for the next. */
	net_rig_frame(frame, 1000, net_rig_mac, net_rig_host_mac, 1);
	for (i = 0; i < 4; i++)
		net_rig_send(&rig, NULL, frame, 1000);
	net_rig_await_own(&rig, NET_OWN_RX_DROPPED, 4);
	CHECK_INT(guest_net_receive(&net, 0, &header, got, NULL), -1);
	guest_net_close(&net);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	check_rx(&rig, &net, 1000, 2);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* Few and small buffers: what fits comes, what does not is dropped, and nothing stands still. */
static void test_few_buffers(void)
{
	struct virtio_net_hdr_v1 header;
	struct guest_net net;
	struct net_rig rig;
	uint32_t i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){.rx_buffers = 2, .rx_size = 600});
	for (i = 0; i < 50; i++)
		check_rx(&rig, &net, 60 + i * 20, i);
	net_rig_frame(frame, 1400, net_rig_mac, net_rig_host_mac, 99);
	net_rig_send(&rig, NULL, frame, 1400);
	net_rig_await_own(&rig, NET_OWN_RX_DROPPED, 1);
	CHECK_INT(guest_net_receive(&net, 0, &header, got, NULL), -1);
	check_rx(&rig, &net, 1000, 100);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* Rest */

/* A flood that the guest has no buffers for costs nothing: the backend sleeps, however much comes. */
static void test_flood_without_buffers(void)
{
	struct virtio_net_hdr_v1 header;
	struct guest_net net;
	struct net_rig rig;
	uint64_t wakeups;
	uint32_t i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	CHECK_INT(guest_net_open(&net, &rig.guest, rig.backend.config.base, rig.backend.config.irq,
				 &(struct guest_net_options){0}),
		  0);
	net_rig_await_asleep(&rig);
	wakeups = core_load(&rig.backend.region->device.wakeups);
	for (i = 0; i < 5000; i++) {
		net_rig_frame(frame, 100, net_rig_mac, net_rig_host_mac, i);
		net_rig_send(&rig, NULL, frame, 100);
	}
	net_rig_await_asleep(&rig);
	CHECK(core_load(&rig.backend.region->device.wakeups) - wakeups <= 2);
	/* The other direction is not concerned. */
	check_tx(&rig, &net, 500, 1);
	/* And when there are buffers, frames come. */
	guest_net_fill(&net, 0, 0);
	CHECK_INT(guest_net_await(&net, 0, &header, got, 10000), 100);
	CHECK_INT(net_rig_number(got, 100), 0);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static void test_idle(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint64_t wakeups, heartbeat;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	check_rx(&rig, &net, 100, 1);
	check_tx(&rig, &net, 100, 2);
	net_rig_await_asleep(&rig);
	/* Rest is a state, not a time: whatever it still had to do is done after this. */
	poll(NULL, 0, 300);
	net_rig_await_asleep(&rig);
	wakeups = core_load(&rig.backend.region->device.wakeups);
	heartbeat = core_load(&rig.backend.region->device.heartbeat);
	poll(NULL, 0, 500);
	CHECK_INT(core_load(&rig.backend.region->device.wakeups), wakeups);
	CHECK_INT(core_load(&rig.backend.region->device.heartbeat), heartbeat);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* What waited in the tap from before the driver was there is not given to it. */
static void test_stale_frames(void)
{
	struct guest_net net;
	struct net_rig rig;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_frame(frame, 100, net_rig_mac, net_rig_host_mac, 77);
	net_rig_send(&rig, NULL, frame, 100);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	check_rx(&rig, &net, 100, 78);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* What the launcher should not do is said, and nothing is served. */
static void test_refused(void)
{
	struct net_rig rig;

	net_rig_init(&rig, 1);
	rig.queues = 2;
	CHECK_HAS(net_rig_refused(&rig), "the device has 3 queues, and with queues=2 it has to have 5");
	rig.queues = 9;
	CHECK_HAS(net_rig_refused(&rig), "argument \"queues=9\": unknown key or bad value");
	rig.queues = 0;
	CHECK_HAS(net_rig_refused(&rig), "argument \"queues=0\": unknown key or bad value");
	rig.queues = 1;
	scratch_run("ip link del tap0");
	rig.tap_flags = IFF_TAP | IFF_NO_PI;
	CHECK_HAS(net_rig_refused(&rig), "the tap: it is not of the flags IFF_TAP, IFF_NO_PI and IFF_VNET_HDR");
	net_rig_finish(&rig);
}

/* The driver was told what the link is now, and it is so. */
static void check_link(struct net_rig *rig, struct guest_net *net, uint16_t link)
{
	CHECK_INT(core_load(&rig->backend.region->irq.interrupt_status) & REGION_INT_CONFIG, REGION_INT_CONFIG);
	guest_net_update(net);
	CHECK_INT(le16toh(net->config.status) & VIRTIO_NET_S_LINK_UP, link);
}

/*
 * The tap is taken away from a backend that rests, whatever it waits for: it ends at once, and says why. Its successor
 * gets another one.
 */
static void check_gone(struct net_rig *rig)
{
	static const char *const says = "the tap is gone: its interface was removed; hvisor-launch makes it anew";
	char log[4096];
	int status;

	net_rig_await_asleep(rig);
	net_rig_remove_tap(rig);
	status = rig_backend_wait(&rig->backend, 10000);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 1);
	rig_backend_log(&rig->backend, log, sizeof(log));
	CHECK_HAS(log, says);
	CHECK(!strstr(strstr(log, says) + 1, "the tap"));
}

static void test_tap_gone(void)
{
	struct guest_net net;
	struct net_rig rig;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	check_gone(&rig);
	check_link(&rig, &net, 0);
	net_rig_make_tap(&rig);
	net_rig_start(&rig);
	net_rig_await_asleep(&rig);
	check_link(&rig, &net, VIRTIO_NET_S_LINK_UP);
	check_rx(&rig, &net, 100, 1);
	check_tx(&rig, &net, 100, 2);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static void test_tap_gone_without_driver(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint64_t wakeups;
	uint32_t i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_await_asleep(&rig);
	/* Nor does it wake for frames that are for nobody. */
	wakeups = core_load(&rig.backend.region->device.wakeups);
	for (i = 0; i < 2000; i++) {
		net_rig_frame(frame, 100, net_rig_mac, net_rig_host_mac, i);
		net_rig_send(&rig, NULL, frame, 100);
	}
	net_rig_await_asleep(&rig);
	CHECK_INT(core_load(&rig.backend.region->device.wakeups), wakeups);
	check_gone(&rig);
	net_rig_make_tap(&rig);
	net_rig_start(&rig);
	/* The link is there again in its first turn, which comes after it has said that it is ready. */
	net_rig_await_asleep(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	CHECK_INT(le16toh(net.config.status) & VIRTIO_NET_S_LINK_UP, VIRTIO_NET_S_LINK_UP);
	check_rx(&rig, &net, 100, 1);
	check_tx(&rig, &net, 100, 2);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static void test_tap_gone_without_buffers(void)
{
	struct guest_net net;
	struct net_rig rig;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	CHECK_INT(guest_net_open(&net, &rig.guest, rig.backend.config.base, rig.backend.config.irq,
				 &(struct guest_net_options){0}),
		  0);
	check_gone(&rig);
	check_link(&rig, &net, 0);
	net_rig_make_tap(&rig);
	net_rig_start(&rig);
	net_rig_await_asleep(&rig);
	check_link(&rig, &net, VIRTIO_NET_S_LINK_UP);
	check_tx(&rig, &net, 100, 1);
	guest_net_fill(&net, 0, 0);
	check_rx(&rig, &net, 100, 2);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static void test_tap_gone_without_link(void)
{
	struct guest_net net;
	struct net_rig rig;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	core_store(&rig.backend.region->control.link_down, 1);
	net_rig_ring(&rig, REGION_EV_CONTROL);
	check_gone(&rig);
	check_link(&rig, &net, 0);
	net_rig_make_tap(&rig);
	net_rig_start(&rig);
	net_rig_await_asleep(&rig);
	check_link(&rig, &net, 0);
	core_store(&rig.backend.region->control.link_down, 0);
	net_rig_ring(&rig, REGION_EV_CONTROL);
	net_rig_await_running(&rig);
	net_rig_await_asleep(&rig);
	check_link(&rig, &net, VIRTIO_NET_S_LINK_UP);
	check_rx(&rig, &net, 100, 1);
	check_tx(&rig, &net, 100, 2);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* An interface that is down takes no frames, and gives none; it is no error, and passes. */
static void test_tap_down(void)
{
	struct guest_net net;
	struct net_rig rig;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	scratch_run("ip link set tap0 down");
	net_rig_frame(frame, 100, net_rig_host_mac, net_rig_mac, 1);
	CHECK(guest_net_send(&net, 0, NULL, frame, 100));
	guest_net_kick(&net, 0);
	net_rig_await_own(&rig, NET_OWN_TX_DROPPED, 1);
	net_rig_await_asleep(&rig);
	scratch_run("ip link set tap0 up");
	net_rig_await_running(&rig);
	net_rig_listen(&rig, "tap0");
	check_rx(&rig, &net, 100, 1);
	check_tx(&rig, &net, 100, 2);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static const struct test tests[] = {
	{"net: frames both ways", test_frames, 0},
	{"net: frames without merged buffers, event index, indirect chains", test_frames_plain, 0},
	{"net: frames in scattered buffers", test_frames_scattered, 0},
	{"net: frames for a driver that polls", test_frames_polled, 0},
	{"net: jumbo frames", test_jumbo_frames, 0},
	{"net: the guest's segments and checksums", test_tx_offloads, 0},
	{"net: segments and checksums for the guest", test_rx_offloads, 0},
	{"net: UDP segments", test_udp_offloads, 0},
	{"net: a guest without offloads", test_no_rx_offloads, 0},
	{"net: a frame in many pieces", test_tx_pieces, 0},
	{"net: queues taken away and given back", test_queue_reset, 0},
	{"net: any chains", test_random_chains, 0},
	{"net: chains that hold no frame", test_hostile_tx, 0},
	{"net: buffers that hold no frame", test_hostile_rx, 0},
	{"net: few buffers", test_few_buffers, 0},
	{"net: a flood and no buffers", test_flood_without_buffers, 0},
	{"net: at rest", test_idle, 0},
	{"net: frames from before the driver", test_stale_frames, 0},
	{"net: what cannot be served", test_refused, 0},
	{"net: the tap is taken away", test_tap_gone, 0},
	{"net: the tap is taken away, and there is no driver", test_tap_gone_without_driver, 0},
	{"net: the tap is taken away, and the guest has no buffers", test_tap_gone_without_buffers, 0},
	{"net: the tap is taken away, and the link is down", test_tap_gone_without_link, 0},
	{"net: the tap's interface is down", test_tap_down, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
