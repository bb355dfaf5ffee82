/* SPDX-License-Identifier: MIT */
/* Where frames have to wait: limits of bytes a second, and a tap that is full. */
#include <endian.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/net_rig.h"
#include "tests/sim/scratch.h"
#include "tests/test.h"

#define LEN 1000u
#define FRAMES 450u /* a tap holds 500 */
#define RATE 1000000u

static uint8_t frame[GUEST_NET_FRAME_MAX];

/* So long the frames take at least; the last of them may be owed. */
static void check_slow(uint64_t begin_ns)
{
	uint64_t bytes = FRAMES * LEN - NET_BURST_MIN - LEN;

	CHECK(test_now_ns() - begin_ns >= bytes * 1000000000u / RATE);
}

/* And it sleeps meanwhile, until an eighth of a burst may pass; but for the burst, whose frames may wake it each. */
static void check_wakeups(const struct net_rig *rig, uint64_t before)
{
	uint64_t wakeups = core_load(&rig->backend.region->device.wakeups) - before;

	printf("# %llu wakeups for %u frames\n", (unsigned long long)wakeups, FRAMES);
	CHECK(wakeups <= NET_BURST_MIN / LEN + 3 * FRAMES * LEN / (NET_BURST_MIN / 8));
}

static void test_rate_tx(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint64_t begin, wakeups;
	uint32_t sent = 0;
	uint32_t came = 0;
	int n;

	net_rig_init(&rig, 1);
	rig.rate_tx = RATE;
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	wakeups = core_load(&rig.backend.region->device.wakeups);
	begin = test_now_ns();
	while (came < FRAMES) {
		/* A frame can be there before its buffer is given back: then there is none to wait for. */
		do {
			guest_net_sent(&net, 0);
			for (; sent < FRAMES; sent++) {
				net_rig_frame(frame, LEN, net_rig_host_mac, net_rig_mac, sent);
				if (!guest_net_send(&net, 0, NULL, frame, LEN))
					break;
			}
		} while (sent == came);
		guest_net_kick(&net, 0);
		n = net_rig_receive(&rig, NULL, frame, 10000);
		CHECK_INT(n, LEN);
		CHECK_INT(net_rig_number(frame, LEN), came++);
	}
	check_slow(begin);
	check_wakeups(&rig, wakeups);
	/* The other direction has no limit. */
	net_rig_frame(frame, LEN, net_rig_mac, net_rig_host_mac, 1);
	net_rig_send(&rig, NULL, frame, LEN);
	net_rig_await_own(&rig, NET_OWN_RX_FRAMES, 1);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static void test_rate_rx(void)
{
	struct virtio_net_hdr_v1 header;
	struct guest_net net;
	struct net_rig rig;
	uint64_t begin, wakeups;
	uint32_t i;

	net_rig_init(&rig, 1);
	rig.rate_rx = RATE;
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){.rx_buffers = 256});
	wakeups = core_load(&rig.backend.region->device.wakeups);
	begin = test_now_ns();
	for (i = 0; i < FRAMES; i++) {
		net_rig_frame(frame, LEN, net_rig_mac, net_rig_host_mac, i);
		net_rig_send(&rig, NULL, frame, LEN);
	}
	for (i = 0; i < FRAMES; i++) {
		CHECK_INT(guest_net_await(&net, 0, &header, frame, 10000), LEN);
		CHECK_INT(net_rig_number(frame, LEN), i);
		if (i % 64 == 63)
			guest_net_fill(&net, 0, 0);
	}
	check_slow(begin);
	check_wakeups(&rig, wakeups);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

#define SLOW_FRAMES 200u

/* A tap that takes no more than a few frames at a time, because what is behind it has only this rate. */
static void full_tap_init(struct net_rig *rig, const char *rate)
{
	net_rig_init(rig, 1);
	rig->sndbuf = 8192;
	scratch_run("ip link add out0 type veth peer name out1; ip link add br0 type bridge;"
		    "ip link set tap0 master br0; ip link set out0 master br0;"
		    "for i in br0 out0 out1; do ip link set $i up; done;"
		    "tc qdisc add dev out0 root tbf rate %s burst 4kb limit 10mb",
		    rate);
	net_rig_listen(rig, "out1");
	net_rig_start(rig);
}

/* The bridge does not forward at once. */
static void full_tap_await(struct net_rig *rig, struct guest_net *net)
{
	int n;

	do {
		net_rig_frame(frame, LEN, net_rig_host_mac, net_rig_mac, SLOW_FRAMES);
		CHECK(guest_net_send(net, 0, NULL, frame, LEN));
		guest_net_kick(net, 0);
		n = net_rig_receive(rig, NULL, frame, 100);
		guest_net_sent(net, 0);
	} while (n < 0 || net_rig_number(frame, (uint32_t)n) != SLOW_FRAMES);
}

/* The guest's frames wait, none is lost, and the backend sleeps. */
static void test_full_tap(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint64_t turns;
	uint32_t sent = 0;
	uint32_t came = 0;
	int n;

	full_tap_init(&rig, "8mbit");
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	full_tap_await(&rig, &net);
	turns = core_load(&rig.backend.region->device.heartbeat);
	while (came < SLOW_FRAMES) {
		guest_net_sent(&net, 0);
		for (; sent < SLOW_FRAMES; sent++) {
			net_rig_frame(frame, LEN, net_rig_host_mac, net_rig_mac, sent);
			if (!guest_net_send(&net, 0, NULL, frame, LEN))
				break;
		}
		guest_net_kick(&net, 0);
		n = net_rig_receive(&rig, NULL, frame, 10000);
		CHECK(n >= 0);
		if (net_rig_number(frame, (uint32_t)n) < 0 || net_rig_number(frame, (uint32_t)n) == SLOW_FRAMES)
			continue;
		CHECK_INT(net_rig_number(frame, (uint32_t)n), came++);
	}
	net_rig_await_asleep(&rig);
	turns = core_load(&rig.backend.region->device.heartbeat) - turns;
	printf("# %llu turns for %u frames\n", (unsigned long long)turns, SLOW_FRAMES);
	CHECK_INT(net_rig_own(&rig, NET_OWN_TX_DROPPED), 0);
	CHECK(turns <= 50 * SLOW_FRAMES);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

/* It is taken away while nothing else is waited for than room in it. */
static void test_full_tap_gone(void)
{
	struct guest_net net;
	struct net_rig rig;
	uint32_t i;
	int status;

	full_tap_init(&rig, "8kbit");
	CHECK_INT(guest_net_open(&net, &rig.guest, rig.backend.config.base, rig.backend.config.irq,
				 &(struct guest_net_options){0}),
		  0);
	full_tap_await(&rig, &net);
	for (i = 0; i < GUEST_NET_TX_BUFFERS / 2; i++) {
		net_rig_frame(frame, LEN, net_rig_host_mac, net_rig_mac, i);
		CHECK(guest_net_send(&net, 0, NULL, frame, LEN));
	}
	guest_net_kick(&net, 0);
	net_rig_await_asleep(&rig);
	CHECK(guest_net_sent(&net, 0) < GUEST_NET_TX_BUFFERS / 2);
	net_rig_remove_tap(&rig);
	status = rig_backend_wait(&rig.backend, 10000);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 1);
	guest_net_update(&net);
	CHECK_INT(le16toh(net.config.status) & VIRTIO_NET_S_LINK_UP, 0);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static const struct test tests[] = {
	{"net: limit of what the guest sends", test_rate_tx, 0},
	{"net: limit of what the guest receives", test_rate_rx, 0},
	{"net: a full tap", test_full_tap, 0},
	{"net: a full tap is taken away", test_full_tap_gone, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
