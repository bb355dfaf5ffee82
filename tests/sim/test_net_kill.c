/* SPDX-License-Identifier: MIT */
/*
 * A network backend that is killed or restarted again and again under traffic both ways: no frame is torn, none comes
 * twice or out of order, and nothing stands still. Of the guest's frames each death loses one at most; of those for the
 * guest it loses what was in the tap.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/net_rig.h"
#include "tests/test.h"

#define FEATURE(name) (1ull << VIRTIO_NET_F_##name)
#define STALL_NS 10000000000u

struct traffic {
	struct net_rig *rig;
	struct guest_net *net;
	uint32_t rx_sent; /* numbers given to frames for the guest, ... */
	int64_t rx_last; /* ... the last that came */
	uint64_t rx_came;
	uint32_t tx_sent; /* the same for the guest's */
	int64_t tx_last;
	uint64_t tx_came;
	uint64_t tx_done; /* that the device took */
	uint8_t frame[GUEST_NET_FRAME_MAX];
};

static uint32_t some_length(void)
{
	return 60 + (uint32_t)test_random_below(1514 - 60 + 1);
}

static void guest_pump(struct traffic *t)
{
	struct virtio_net_hdr_v1 header;
	uint32_t len;
	int n;

	guest_dev_interrupt(&t->net->dev, 0);
	while ((n = guest_net_receive(t->net, 0, &header, t->frame, NULL)) >= 0) {
		int64_t number = net_rig_number(t->frame, (uint32_t)n);

		if (number <= t->rx_last)
			TEST_FAIL("frame %lld for the guest came after %lld", (long long)number, (long long)t->rx_last);
		t->rx_last = number;
		t->rx_came++;
	}
	guest_net_fill(t->net, 0, 0);
	t->tx_done += guest_net_sent(t->net, 0);
	for (;;) {
		len = some_length();
		net_rig_frame(t->frame, len, net_rig_host_mac, net_rig_mac, t->tx_sent);
		if (!guest_net_send(t->net, 0, NULL, t->frame, len))
			break;
		t->tx_sent++;
	}
	guest_net_kick(t->net, 0);
}

static void host_take(struct traffic *t)
{
	int n;

	while ((n = net_rig_receive(t->rig, NULL, t->frame, 0)) >= 0) {
		int64_t number = net_rig_number(t->frame, (uint32_t)n);

		if (number <= t->tx_last)
			TEST_FAIL("frame %lld of the guest's came after %lld", (long long)number,
				  (long long)t->tx_last);
		t->tx_last = number;
		t->tx_came++;
	}
}

static void host_send(struct traffic *t)
{
	uint32_t len;
	uint32_t i;

	for (i = 0; i < 16; i++) {
		len = some_length();
		net_rig_frame(t->frame, len, net_rig_mac, net_rig_host_mac, t->rx_sent++);
		net_rig_send(t->rig, NULL, t->frame, len);
	}
}

/* Goes on until frames have come both ways that were sent after this began. */
static void pump_until_both(struct traffic *t)
{
	uint64_t limit = test_now_ns() + STALL_NS;
	int64_t rx = t->rx_sent;
	int64_t tx = t->tx_sent;
	char log[4096];

	while (t->rx_last < rx || t->tx_last < tx) {
		host_send(t);
		guest_pump(t);
		host_take(t);
		if (test_now_ns() < limit)
			continue;
		rig_backend_log(&t->rig->backend, log, sizeof(log));
		TEST_FAIL("it stands still: %lld of %lld for the guest, %lld of %lld of the guest's; log: %s",
			  (long long)t->rx_last, (long long)rx, (long long)t->tx_last, (long long)tx, log);
	}
}

static int all_taken(void *arg)
{
	struct traffic *t = arg;

	t->tx_done += guest_net_sent(t->net, 0);
	return t->tx_done == t->tx_sent;
}

static void deaths(const struct guest_net_options *options, uint32_t rounds, int signal)
{
	static struct traffic t;
	struct guest_net net;
	struct net_rig rig;
	uint32_t round, i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, options);
	t = (struct traffic){.rig = &rig, .net = &net, .rx_last = -1, .tx_last = -1};
	for (round = 0; round < rounds; round++) {
		pump_until_both(&t);
		for (i = (uint32_t)test_random_below(4); i > 0; i--) {
			host_send(&t);
			guest_pump(&t);
		}
		net_rig_end(&rig, signal);
		guest_pump(&t);
		net_rig_start(&rig);
	}
	pump_until_both(&t);
	CHECK(test_wait(all_taken, &t, 10000));
	net_rig_await_asleep(&rig);
	host_take(&t);
	printf("# %u deaths: %llu frames for the guest, %llu of the guest's (%llu lost, %llu given up unseen); %llu "
	       "chains "
	       "taken over\n",
	       rounds, (unsigned long long)t.rx_came, (unsigned long long)t.tx_came,
	       (unsigned long long)(t.tx_done - t.tx_came), (unsigned long long)net_rig_own(&rig, NET_OWN_TX_UNCERTAIN),
	       (unsigned long long)rig.backend.region->device.resubmitted);
	CHECK_INT(net_rig_own(&rig, NET_OWN_TX_DROPPED), 0);
	CHECK(rig.backend.region->device.resubmitted > 0);
	if (signal == SIGKILL)
		CHECK(t.tx_done - t.tx_came <= rounds);
	else
		CHECK_INT(t.tx_done, t.tx_came);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static void test_kill(void)
{
	deaths(&(struct guest_net_options){0}, 200, SIGKILL);
}

static void test_kill_plain(void)
{
	deaths(&(struct guest_net_options){.without = FEATURE(MRG_RXBUF) | FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6)},
	       100, SIGKILL);
}

static void test_kill_merged(void)
{
	deaths(&(struct guest_net_options){.rx_size = 300, .rx_buffers = 256}, 100, SIGKILL);
}

static void test_restart(void)
{
	deaths(&(struct guest_net_options){0}, 100, SIGTERM);
}

/* Traffic that goes on while the driver resets the device: the next driver gets nothing of the last one's. */
static void test_reset(void)
{
	static struct traffic t;
	struct guest_net net;
	struct net_rig rig;
	uint32_t round, i;

	net_rig_init(&rig, 1);
	net_rig_start(&rig);
	net_rig_open(&rig, &net, &(struct guest_net_options){0});
	t = (struct traffic){.rig = &rig, .net = &net, .rx_last = -1, .tx_last = -1};
	for (round = 0; round < 50; round++) {
		pump_until_both(&t);
		for (i = (uint32_t)test_random_below(4); i > 0; i--) {
			host_send(&t);
			guest_pump(&t);
		}
		guest_net_close(&net);
		net_rig_open(&rig, &net, &(struct guest_net_options){0});
	}
	pump_until_both(&t);
	guest_net_close(&net);
	net_rig_finish(&rig);
}

static const struct test tests[] = {
	{"net: killed under traffic", test_kill, 0},
	{"net: killed under traffic, without merged buffers", test_kill_plain, 0},
	{"net: killed under traffic, many buffers a frame", test_kill_merged, 0},
	{"net: restarted under traffic", test_restart, 0},
	{"net: reset under traffic", test_reset, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
