/* SPDX-License-Identifier: MIT */
/* The control queue of hvisor-net, several queue pairs, the link, and what of all that outlives a killed backend. */
#include <endian.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/vmmio.h"
#include "tests/sim/net_rig.h"
#include "tests/test.h"

#define FEATURE(name) (1ull << VIRTIO_NET_F_##name)
#define LEN 100u

static const uint8_t other[6] = {0x52, 0x54, 0x00, 0x00, 0x00, 0x01};
static const uint8_t third[6] = {0x52, 0x54, 0x00, 0x00, 0x00, 0x02};
static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
static const uint8_t group2[6] = {0x33, 0x33, 0x00, 0x00, 0x00, 0x02};
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static uint8_t frame[GUEST_NET_FRAME_MAX];
static uint8_t got[GUEST_NET_FRAME_MAX];
static uint32_t number;

/*
 * Does a frame to that address arrive? One that is always taken follows it, so that nothing is waited for in vain; vlan
 * -1: none.
 */
static bool arrives(struct net_rig *rig, struct guest_net *net, const uint8_t *to, int vlan)
{
	struct virtio_net_hdr_v1 header;
	uint64_t filtered = net_rig_own(rig, NET_OWN_RX_FILTERED);
	uint32_t len = LEN;
	int n;

	net_rig_frame(frame, LEN, to, net_rig_host_mac, ++number);
	if (vlan >= 0) {
		memmove(frame + 16, frame + 12, LEN - 12);
		memcpy(frame + 12, (uint8_t[]){0x81, 0x00, (uint8_t)(vlan >> 8), (uint8_t)vlan}, 4);
		len += 4;
	}
	net_rig_send(rig, NULL, frame, len);
	do {
		n = guest_net_receive(net, 0, &header, got, NULL);
		guest_dev_interrupt(&net->dev, 0);
	} while (n == -1 && net_rig_own(rig, NET_OWN_RX_FILTERED) == filtered);
	if (n > 0) {
		CHECK_INT(n, len);
		CHECK_MEM(got, frame, len);
	}
	guest_net_fill(net, 0, 0);
	return n > 0;
}

static int control(struct guest_net *net, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
	return guest_net_control(net, class, command, data, len);
}

static void must(struct guest_net *net, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
	CHECK_INT(control(net, class, command, data, len), VIRTIO_NET_OK);
}

static void set_mode(struct guest_net *net, uint8_t command, uint8_t on)
{
	must(net, VIRTIO_NET_CTRL_RX, command, &on, 1);
}

/* The two tables as a command has them. */
static uint32_t macs_put(uint8_t *data, uint32_t nuni, const uint8_t (*uni)[6], uint32_t nmulti,
			 const uint8_t (*multi)[6])
{
	uint32_t le = htole32(nuni);
	uint32_t at = 4;

	memcpy(data, &le, 4);
	memcpy(data + at, uni, nuni * 6);
	at += nuni * 6;
	le = htole32(nmulti);
	memcpy(data + at, &le, 4);
	at += 4;
	memcpy(data + at, multi, nmulti * 6);
	return at + nmulti * 6;
}

static void set_macs(struct guest_net *net, uint32_t nuni, const uint8_t (*uni)[6], uint32_t nmulti,
		     const uint8_t (*multi)[6])
{
	uint8_t data[4096];

	must(net, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data, macs_put(data, nuni, uni, nmulti, multi));
}

static void set_vlan(struct guest_net *net, uint8_t command, uint16_t vlan)
{
	vlan = htole16(vlan);
	must(net, VIRTIO_NET_CTRL_VLAN, command, &vlan, sizeof(vlan));
}

static void begin(struct net_rig *rig, struct guest_net *net, uint32_t pairs, uint64_t without)
{
	net_rig_init(rig, pairs);
	net_rig_start(rig);
	net_rig_open(rig, net, &(struct guest_net_options){.pairs = pairs, .without = without});
}

static void end(struct net_rig *rig, struct guest_net *net)
{
	guest_net_close(net);
	net_rig_finish(rig);
}

/* The backend is replaced by another one, and the driver notices nothing. */
static void replace(struct net_rig *rig, int signal)
{
	net_rig_end(rig, signal);
	net_rig_start(rig);
	net_rig_await_asleep(rig);
}

static void test_filters(void)
{
	const uint8_t groups[][6] = {{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}};
	const uint8_t others[][6] = {{0x52, 0x54, 0x00, 0x00, 0x00, 0x01}};
	uint8_t many[70][6];
	struct guest_net net;
	struct net_rig rig;
	uint32_t i;

	begin(&rig, &net, 1, 0);
	/* Until it says otherwise the driver gets everything. */
	CHECK(arrives(&rig, &net, other, -1));
	CHECK(arrives(&rig, &net, group, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	CHECK(arrives(&rig, &net, net_rig_mac, -1));
	CHECK(arrives(&rig, &net, broadcast, -1));
	CHECK(!arrives(&rig, &net, other, -1));
	CHECK(!arrives(&rig, &net, group, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_ALLMULTI, 1);
	CHECK(arrives(&rig, &net, group, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_ALLMULTI, 0);
	CHECK(!arrives(&rig, &net, group, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_ALLUNI, 1);
	CHECK(arrives(&rig, &net, other, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_ALLUNI, 0);
	set_macs(&net, 1, others, 1, groups);
	CHECK(arrives(&rig, &net, other, -1));
	CHECK(arrives(&rig, &net, group, -1));
	CHECK(!arrives(&rig, &net, third, -1));
	CHECK(!arrives(&rig, &net, group2, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_NOMULTI, 1);
	CHECK(!arrives(&rig, &net, group, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_NOUNI, 1);
	CHECK(!arrives(&rig, &net, net_rig_mac, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_NOBCAST, 1);
	CHECK(!arrives(&rig, &net, broadcast, -1));
	set_mode(&net, VIRTIO_NET_CTRL_RX_NOMULTI, 0);
	set_mode(&net, VIRTIO_NET_CTRL_RX_NOUNI, 0);
	set_mode(&net, VIRTIO_NET_CTRL_RX_NOBCAST, 0);
	/* More than can be remembered: then all of the kind. */
	for (i = 0; i < 70; i++)
		memcpy(many[i], (uint8_t[]){0x01, 0x00, 0x5e, 1, 2, (uint8_t)i}, 6);
	set_macs(&net, 1, others, 70, (const uint8_t(*)[6])many);
	CHECK(arrives(&rig, &net, group2, -1));
	CHECK(!arrives(&rig, &net, third, -1));
	for (i = 0; i < 70; i++)
		memcpy(many[i], (uint8_t[]){0x02, 0x00, 0x5e, 1, 2, (uint8_t)i}, 6);
	set_macs(&net, 70, (const uint8_t(*)[6])many, 1, groups);
	CHECK(arrives(&rig, &net, third, -1));
	CHECK(arrives(&rig, &net, group, -1));
	CHECK(!arrives(&rig, &net, group2, -1));
	set_macs(&net, 0, others, 0, groups);
	CHECK(!arrives(&rig, &net, other, -1));
	/* A reset forgets it all. */
	guest_net_close(&net);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	CHECK(arrives(&rig, &net, other, -1));
	end(&rig, &net);
}

static void test_vlans(void)
{
	struct guest_net net;
	struct net_rig rig;

	begin(&rig, &net, 1, 0);
	CHECK(arrives(&rig, &net, net_rig_mac, 5));
	set_mode(&net, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	CHECK(!arrives(&rig, &net, net_rig_mac, 5));
	CHECK(arrives(&rig, &net, net_rig_mac, -1));
	set_vlan(&net, VIRTIO_NET_CTRL_VLAN_ADD, 5);
	set_vlan(&net, VIRTIO_NET_CTRL_VLAN_ADD, 4095);
	CHECK(arrives(&rig, &net, net_rig_mac, 5));
	CHECK(arrives(&rig, &net, net_rig_mac, 4095));
	CHECK(!arrives(&rig, &net, net_rig_mac, 6));
	CHECK(!arrives(&rig, &net, other, 5));
	set_vlan(&net, VIRTIO_NET_CTRL_VLAN_DEL, 5);
	CHECK(!arrives(&rig, &net, net_rig_mac, 5));
	end(&rig, &net);
}

static void test_no_vlan_filter(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint16_t vlan = 1;

	begin(&rig, &net, 1, FEATURE(CTRL_VLAN));
	set_mode(&net, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	CHECK(arrives(&rig, &net, net_rig_mac, 5));
	CHECK_INT(control(&net, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), VIRTIO_NET_ERR);
	end(&rig, &net);
}

static void test_mac_address(void)
{
	struct guest_net net;
	struct net_rig rig;

	begin(&rig, &net, 1, 0);
	set_mode(&net, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	must(&net, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6);
	guest_net_update(&net);
	CHECK_MEM(net.config.mac, other, 6);
	CHECK(arrives(&rig, &net, other, -1));
	CHECK(!arrives(&rig, &net, net_rig_mac, -1));
	replace(&rig, SIGKILL);
	CHECK(arrives(&rig, &net, other, -1));
	CHECK(!arrives(&rig, &net, net_rig_mac, -1));
	/* The next driver finds the address that the device came with, ... */
	guest_net_close(&net);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	CHECK_MEM(net.config.mac, net_rig_mac, 6);
	/* ... also when the reset came while there was no backend. */
	must(&net, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6);
	net_rig_end(&rig, SIGKILL);
	guest_net_close(&net);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	CHECK_MEM(net.config.mac, net_rig_mac, 6);
	set_mode(&net, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	CHECK(!arrives(&rig, &net, other, -1));
	CHECK(arrives(&rig, &net, net_rig_mac, -1));
	end(&rig, &net);
}

/* What is malformed, or was not negotiated, is an error, changes nothing, and breaks nothing. */
static void test_bad_commands(void)
{
	static const struct {
		uint8_t class, command;
		uint8_t data[24];
		uint32_t len;
	} bad[] = {
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, {0}, 0},
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, {0}, 2},
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, {2}, 1},
		{VIRTIO_NET_CTRL_RX, 6, {0}, 1},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, {0}, 0},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, {0}, 3},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, {0}, 4},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, {0}, 9},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, {1, 0, 0, 0, 1, 2, 3, 4, 5}, 9},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, {0xff, 0xff, 0xff, 0xff}, 20},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, {0, 0, 0, 0, 0xff, 0xff, 0xff, 0x2a}, 20},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, {0}, 5},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, {0}, 7},
		{VIRTIO_NET_CTRL_MAC, 2, {0}, 6},
		{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, {0}, 1},
		{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, {0, 0x10}, 2},
		{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, {0xff, 0xff}, 2},
		{VIRTIO_NET_CTRL_VLAN, 2, {0, 0}, 2},
		{VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, {0}, 1},
		{VIRTIO_NET_CTRL_ANNOUNCE, 1, {0}, 0},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, {0, 0}, 2},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, {3, 0}, 2},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, {1}, 1},
		{VIRTIO_NET_CTRL_MQ, 1, {1, 0}, 2},
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, {1}, 1},
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, {1}, 8}, /* CSUM: the device's */
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, {0, 4}, 8}, /* UFO: not offered */
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, 1, {0}, 8},
		{6, 0, {0}, 1},
		{0xff, 0xff, {0}, 24},
	};
	struct guest_net net;
	struct net_rig rig;
	uint32_t i;

	begin(&rig, &net, 2, 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (control(&net, bad[i].class, bad[i].command, bad[i].data, bad[i].len) != VIRTIO_NET_ERR)
			TEST_FAIL("command %u of class %u with %u bytes was taken", bad[i].command, bad[i].class,
				  bad[i].len);
	}
	net_rig_await_asleep(&rig);
	CHECK_INT(net_rig_own(&rig, NET_OWN_CTRL_ERRORS), i);
	CHECK(arrives(&rig, &net, other, -1));
	end(&rig, &net);
}

/* A control chain of any shape. */
static void raw_control(struct guest_net *net, const struct guest_buffer *buffer, uint32_t n, uint32_t want)
{
	uint64_t limit = test_now_ns() + 10000000000u;
	uint32_t written;

	CHECK(guest_vq_add(&net->ctrl, buffer, n, net) >= 0);
	guest_vq_kick(&net->ctrl, 0);
	while (!guest_vq_get(&net->ctrl, &written))
		CHECK(test_now_ns() < limit);
	CHECK_INT(written, want);
}

static void test_bad_chains(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint64_t gpa;
	uint8_t on = 1;

	begin(&rig, &net, 1, 0);
	gpa = net.ctrl_gpa;
	net.ctrl_bytes[0] = 0x77;
	raw_control(&net, (struct guest_buffer[]){{gpa, 1, true}}, 1, 1);
	CHECK_INT(net.ctrl_bytes[0], VIRTIO_NET_ERR);
	raw_control(&net, (struct guest_buffer[]){{gpa + 8, 1, false}, {gpa, 1, true}}, 2, 1);
	CHECK_INT(net.ctrl_bytes[0], VIRTIO_NET_ERR);
	/* Nowhere to put the answer. */
	raw_control(&net, (struct guest_buffer[]){{gpa + 8, 3, false}}, 1, 0);
	raw_control(&net, (struct guest_buffer[]){{gpa + 8, 0, false}}, 1, 0);
	/* Far more than any command. */
	raw_control(&net, (struct guest_buffer[]){{RIG_RAM, 16u << 20, false}, {gpa, 1, true}}, 2, 1);
	CHECK_INT(net.ctrl_bytes[0], VIRTIO_NET_ERR);
	/* In many pieces, and with more room than the answer takes. */
	net.ctrl_bytes[8] = VIRTIO_NET_CTRL_RX;
	net.ctrl_bytes[9] = VIRTIO_NET_CTRL_RX_ALLMULTI;
	net.ctrl_bytes[10] = on;
	raw_control(
		&net,
		(struct guest_buffer[]){{gpa + 8, 1, false}, {gpa + 9, 1, false}, {gpa + 10, 1, false}, {gpa, 5, true}},
		4, 1);
	CHECK_INT(net.ctrl_bytes[0], VIRTIO_NET_OK);
	CHECK_INT(guest_dev_read(&net.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET, 0);
	end(&rig, &net);
}

/* Everything that was set is in force after a SIGKILL, and after a restart. */
static void test_state_survives(void)
{
	const uint8_t groups[][6] = {{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}};
	const uint8_t others[][6] = {{0x52, 0x54, 0x00, 0x00, 0x00, 0x01}};
	struct guest_net net;
	struct net_rig rig;
	uint32_t i;

	begin(&rig, &net, 1, 0);
	set_mode(&net, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	set_macs(&net, 1, others, 1, groups);
	set_vlan(&net, VIRTIO_NET_CTRL_VLAN_ADD, 7);
	for (i = 0; i < 4; i++) {
		replace(&rig, i % 2 ? SIGTERM : SIGKILL);
		CHECK(arrives(&rig, &net, other, -1));
		CHECK(arrives(&rig, &net, group, -1));
		CHECK(arrives(&rig, &net, net_rig_mac, 7));
		CHECK(!arrives(&rig, &net, third, -1));
		CHECK(!arrives(&rig, &net, group2, -1));
		CHECK(!arrives(&rig, &net, net_rig_mac, 8));
	}
	/* A driver that resets the device while nobody serves it starts from the defaults. */
	net_rig_end(&rig, SIGKILL);
	guest_net_close(&net);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	CHECK(arrives(&rig, &net, third, -1));
	end(&rig, &net);
}

/* A command that is under way when the backend dies is done once, by its successor if not before. */
static void test_killed_in_command(void)
{
	bool vlans[8] = {false};
	struct guest_net net;
	struct net_rig rig;
	uint32_t round, n;
	uint64_t spin;

	begin(&rig, &net, 1, 0);
	set_mode(&net, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	for (round = 0; round < 60; round++) {
		struct guest_buffer part[2] = {{net.ctrl_gpa + 8, 4, false}, {net.ctrl_gpa, 1, true}};

		n = (uint32_t)test_random_below(8);
		vlans[n] = !vlans[n];
		memcpy(net.ctrl_bytes + 8,
		       (uint8_t[]){VIRTIO_NET_CTRL_VLAN, vlans[n] ? VIRTIO_NET_CTRL_VLAN_ADD : VIRTIO_NET_CTRL_VLAN_DEL,
				   (uint8_t)n, 1},
		       4);
		net.ctrl_bytes[0] = 0x77;
		CHECK(guest_vq_add(&net.ctrl, part, 2, &net) >= 0);
		guest_vq_kick(&net.ctrl, 0);
		spin = test_now_ns() + test_random_below(60000);
		while (test_now_ns() < spin)
			;
		replace(&rig, SIGKILL);
		CHECK(guest_vq_get(&net.ctrl, NULL));
		CHECK(!guest_vq_get(&net.ctrl, NULL));
		CHECK_INT(net.ctrl_bytes[0], VIRTIO_NET_OK);
		for (n = 0; n < 8; n++)
			CHECK_INT(arrives(&rig, &net, net_rig_mac, (int)(256 + n)), vlans[n]);
	}
	end(&rig, &net);
}

/* A predecessor that was taken over by its guest may have left anything: that guest may be served badly, but is. */
static void test_garbage_state(void)
{
	struct virtio_net_hdr_v1 header;
	struct queue_region *region;
	struct guest_net net;
	struct net_rig rig;
	uint32_t round, i;
	uint8_t *state;

	begin(&rig, &net, 2, 0);
	region = rig.backend.region;
	for (round = 0; round < 100; round++) {
		net_rig_end(&rig, SIGKILL);
		state = region->state.copy[region->state.gen & 1];
		/* Behind the version and the number of resets, which make it count. */
		for (i = 8; i < REGION_STATE_MAX; i++)
			state[i] = (uint8_t)(test_random_below(4) ? test_random_below(4) : test_random());
		if (round % 4 == 0)
			region->state.gen = (uint32_t)test_random();
		net_rig_start(&rig);
		for (i = 0; i < 20; i++) {
			net_rig_frame(frame, LEN, i % 2 ? net_rig_mac : group, net_rig_host_mac, i);
			net_rig_send(&rig, NULL, frame, LEN);
		}
		net_rig_await_asleep(&rig);
		while (guest_net_receive(&net, 0, &header, got, NULL) > 0)
			;
		while (guest_net_receive(&net, 1, &header, got, NULL) > 0)
			;
		guest_net_fill(&net, 0, 0);
		guest_net_fill(&net, 1, 0);
		guest_dev_interrupt(&net.dev, 0);
	}
	guest_net_close(&net);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	CHECK(arrives(&rig, &net, other, -1));
	end(&rig, &net);
}

/* A segment of TCP over IPv6 or IPv4 is not needed to see it: the tap's own offloads are what the driver asked for. */
static void test_offloads(void)
{
	uint64_t some = htole64(FEATURE(GUEST_CSUM) | FEATURE(GUEST_TSO4));
	uint64_t none = 0;
	uint64_t uso = htole64(FEATURE(GUEST_CSUM) | FEATURE(GUEST_USO4) | FEATURE(GUEST_USO6));
	uint64_t half = htole64(FEATURE(GUEST_CSUM) | FEATURE(GUEST_USO4));
	struct guest_net net;
	struct net_rig rig;
	uint32_t udp;

	begin(&rig, &net, 1, 0);
	udp = rig.features & FEATURE(HOST_USO) ? NET_RIG_USO : 0;
	CHECK_INT(net_rig_offloads(&rig), NET_RIG_CSUM | NET_RIG_TSO4 | NET_RIG_TSO6 | udp);
	if (udp) {
		must(&net, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &uso, 8);
		CHECK_INT(net_rig_offloads(&rig), NET_RIG_CSUM | NET_RIG_USO);
		/* The tap does it for both or not at all; less is always right. */
		must(&net, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &half, 8);
		CHECK_INT(net_rig_offloads(&rig), NET_RIG_CSUM);
	}
	must(&net, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &some, 8);
	CHECK_INT(net_rig_offloads(&rig), NET_RIG_CSUM | NET_RIG_TSO4);
	replace(&rig, SIGKILL);
	CHECK_INT(net_rig_offloads(&rig), NET_RIG_CSUM | NET_RIG_TSO4);
	must(&net, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &none, 8);
	CHECK_INT(net_rig_offloads(&rig), 0);
	guest_net_close(&net);
	net_rig_open(&rig, &net, &(struct guest_net_options){.without = FEATURE(GUEST_TSO4)});
	CHECK_INT(net_rig_offloads(&rig), NET_RIG_CSUM | NET_RIG_TSO6 | udp);
	end(&rig, &net);
}

static int link_is_up(void *arg)
{
	struct guest_net *net = arg;

	guest_net_update(net);
	return net->config.status & htole16(VIRTIO_NET_S_LINK_UP);
}

static int link_is_down(void *arg)
{
	return !link_is_up(arg);
}

struct change_wait {
	struct guest_net *net;
	uint32_t changes;
};

static int has_changed(void *arg)
{
	struct change_wait *wait = arg;

	guest_dev_interrupt(&wait->net->dev, 0);
	return wait->net->dev.config_changes > wait->changes;
}

static void set_link(struct net_rig *rig, struct guest_net *net, bool up)
{
	struct change_wait wait = {net, net->dev.config_changes};

	core_store(&rig->backend.region->control.link_down, !up);
	net_rig_ring(rig, REGION_EV_CONTROL);
	CHECK(test_wait(up ? link_is_up : link_is_down, net, 10000));
	CHECK(test_wait(has_changed, &wait, 10000));
	net_rig_await_asleep(rig);
	CHECK_INT(net_rig_carrier(rig), up);
	if (up)
		net_rig_await_running(rig);
}

static void test_link(void)
{
	struct guest_net net;
	struct net_rig rig;

	begin(&rig, &net, 1, 0);
	CHECK_INT(net_rig_carrier(&rig), 1);
	set_link(&rig, &net, false);
	/* Frames of the guest's go nowhere, and do not pile up. */
	net_rig_frame(frame, LEN, net_rig_host_mac, net_rig_mac, 1);
	CHECK(guest_net_send(&net, 0, NULL, frame, LEN));
	guest_net_kick(&net, 0);
	net_rig_await_own(&rig, NET_OWN_TX_DROPPED, 1);
	/* It stays down under another backend. */
	replace(&rig, SIGKILL);
	guest_net_update(&net);
	CHECK_INT(le16toh(net.config.status) & VIRTIO_NET_S_LINK_UP, 0);
	CHECK_INT(net_rig_carrier(&rig), 0);
	/* And up again, also for one who was not there when it was set. */
	set_link(&rig, &net, true);
	CHECK(arrives(&rig, &net, net_rig_mac, -1));
	CHECK(guest_net_send(&net, 0, NULL, frame, LEN));
	guest_net_kick(&net, 0);
	CHECK_INT(net_rig_receive(&rig, NULL, got, 10000), LEN);
	end(&rig, &net);
}

static int must_announce(void *arg)
{
	struct guest_net *net = arg;

	guest_net_update(net);
	return net->config.status & htole16(VIRTIO_NET_S_ANNOUNCE);
}

static void test_announce(void)
{
	struct guest_net net;
	struct net_rig rig;

	begin(&rig, &net, 1, 0);
	CHECK_INT(le16toh(net.config.status), VIRTIO_NET_S_LINK_UP);
	replace(&rig, SIGKILL);
	CHECK(test_wait(must_announce, &net, 10000));
	/* It is not forgotten before it is acknowledged. */
	replace(&rig, SIGKILL);
	CHECK(must_announce(&net));
	must(&net, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0);
	guest_net_update(&net);
	CHECK_INT(le16toh(net.config.status), VIRTIO_NET_S_LINK_UP);
	replace(&rig, SIGTERM);
	CHECK(test_wait(must_announce, &net, 10000));
	/* A new driver has nothing to announce; one that cannot is not asked to. */
	guest_net_close(&net);
	net_rig_open(&rig, &net, &(struct guest_net_options){.without = FEATURE(GUEST_ANNOUNCE)});
	CHECK_INT(le16toh(net.config.status), VIRTIO_NET_S_LINK_UP);
	replace(&rig, SIGKILL);
	guest_net_update(&net);
	CHECK_INT(le16toh(net.config.status), VIRTIO_NET_S_LINK_UP);
	end(&rig, &net);
}

/* Sends on each of the pairs, and receives until a frame has come on each. */
static void use_pairs(struct net_rig *rig, struct guest_net *net, uint32_t pairs)
{
	uint32_t pair;

	for (pair = 0; pair < pairs; pair++) {
		net_rig_frame(frame, LEN, net_rig_host_mac, net_rig_mac, 1000 + pair);
		CHECK(guest_net_send(net, pair, NULL, frame, LEN));
		guest_net_kick(net, pair);
		CHECK_INT(net_rig_receive(rig, NULL, got, 10000), LEN);
		CHECK_INT(net_rig_number(got, LEN), 1000 + pair);
	}
}

/* UDP frames of so many flows; bit n of the result: one came by pair n. All have to come. */
static uint32_t receive_flows(struct net_rig *rig, struct guest_net *net, uint32_t flows)
{
	struct virtio_net_hdr_v1 header;
	uint64_t limit = test_now_ns() + 10000000000u;
	uint32_t came = 0;
	uint32_t seen = 0;
	uint32_t i, pair;

	for (i = 0; i < flows; i++) {
		memset(frame, 0, LEN);
		memcpy(frame, net_rig_mac, 6);
		memcpy(frame + 6, net_rig_host_mac, 6);
		memcpy(frame + 12, (uint8_t[]){8, 0, 0x45, 0, 0, LEN - 14, 0, 0, 0x40, 0, 64, 17, 0, 0}, 14);
		memcpy(frame + 26, (uint8_t[]){10, 0, 0, 1, 10, 0, 0, 2, (uint8_t)(i >> 4), (uint8_t)(i * 37), 1, 1},
		       12);
		net_rig_send(rig, NULL, frame, LEN);
	}
	while (came < flows) {
		if (test_now_ns() > limit)
			TEST_FAIL("%u of %u frames came", came, flows);
		for (pair = 0; pair < net->npairs; pair++) {
			while (guest_net_receive(net, pair, &header, got, NULL) > 0) {
				came++;
				seen |= 1u << pair;
			}
			guest_net_fill(net, pair, 0);
		}
		guest_dev_interrupt(&net->dev, 0);
	}
	return seen;
}

static void set_pairs(struct guest_net *net, uint16_t pairs)
{
	pairs = htole16(pairs);
	must(net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, sizeof(pairs));
}

static void test_multiqueue(void)
{
	struct guest_net net;
	struct net_rig rig;

	begin(&rig, &net, 4, 0);
	CHECK_INT(le16toh(net.config.max_virtqueue_pairs), 4);
	/* One pair, until the driver asks for more. */
	CHECK_INT(receive_flows(&rig, &net, 200), 1);
	set_pairs(&net, 4);
	use_pairs(&rig, &net, 4);
	CHECK_INT(receive_flows(&rig, &net, 200), 0xf);
	set_pairs(&net, 2);
	CHECK_INT(receive_flows(&rig, &net, 200), 3);
	/* What was sent by a queue that is given up is sent all the same. */
	use_pairs(&rig, &net, 4);
	set_pairs(&net, 3);
	replace(&rig, SIGKILL);
	CHECK_INT(receive_flows(&rig, &net, 200), 7);
	guest_net_close(&net);
	net_rig_open(&rig, &net, &(struct guest_net_options){.pairs = 4});
	CHECK_INT(receive_flows(&rig, &net, 200), 1);
	end(&rig, &net);
}

/* As many as there can be, each used both ways, and emptied when the link comes up. */
static void test_multiqueue_most(void)
{
	const uint32_t all = (1u << NET_QUEUE_PAIRS_MAX) - 1;
	struct guest_net net;
	struct net_rig rig;

	begin(&rig, &net, NET_QUEUE_PAIRS_MAX, 0);
	set_pairs(&net, NET_QUEUE_PAIRS_MAX);
	use_pairs(&rig, &net, NET_QUEUE_PAIRS_MAX);
	CHECK_INT(receive_flows(&rig, &net, 400), all);
	set_link(&rig, &net, false);
	set_link(&rig, &net, true);
	CHECK_INT(receive_flows(&rig, &net, 400), all);
	end(&rig, &net);
}

/* Without MQ the control queue is the third, whatever the device could do. */
static void test_multiqueue_not_accepted(void)
{
	struct guest_net net;
	struct net_rig rig;

	net_rig_init(&rig, 4);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){.without = FEATURE(MQ)});
	CHECK_INT(net.ctrl.index, 2);
	set_mode(&net, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	CHECK(!arrives(&rig, &net, other, -1));
	CHECK(arrives(&rig, &net, net_rig_mac, -1));
	CHECK_INT(receive_flows(&rig, &net, 200), 1);
	end(&rig, &net);
}

static const struct test tests[] = {
	{"net control: receive filters", test_filters, 0},
	{"net control: VLAN filter", test_vlans, 0},
	{"net control: no VLAN filter", test_no_vlan_filter, 0},
	{"net control: the guest's own address", test_mac_address, 0},
	{"net control: bad commands", test_bad_commands, 0},
	{"net control: chains of any shape", test_bad_chains, 0},
	{"net control: settings outlive a backend", test_state_survives, 0},
	{"net control: killed in a command", test_killed_in_command, 0},
	{"net control: garbage in the place of settings", test_garbage_state, 0},
	{"net control: offloads", test_offloads, 0},
	{"net: the link", test_link, 0},
	{"net: announcement after a restart", test_announce, 0},
	{"net: several queue pairs", test_multiqueue, 0},
	{"net: all queue pairs", test_multiqueue_most, 0},
	{"net: several queue pairs, not accepted", test_multiqueue_not_accepted, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
