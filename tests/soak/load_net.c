/* SPDX-License-Identifier: MIT */
/*
 * A network device: numbered frames both ways. None may be torn, come twice or overtake another. Of the guest's, only
 * those may be lost that were in its ring when it reset the device, and one for each death of a backend; of those for
 * it, the kernel drops what the tap's queue has no room for.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core_os.h"
#include "tests/sim/net_rig.h"
#include "tests/soak/soak.h"
#include "tests/test.h"

#define AHEAD 200u /* frames for the guest that may be under way */
#define AT_ONCE 8u
#define STILL_NS 5000000u /* after that those are lost */
#define FINISH_MS 60000

enum {
	TO_HOST,
	TO_GUEST
};

struct link {
	struct guest_net net;
	struct net_rig host;
	uint64_t given[2];
	uint64_t taken[2];
	uint64_t came[2];
	uint64_t done; /* of the guest's, that the device took */
	uint64_t came_ns; /* when the last one for the guest did */
	uint8_t frame[GUEST_NET_FRAME_MAX];
};

static void link_init(struct soak_device *device)
{
	struct link *link = calloc(1, sizeof(*link));

	CHECK(link);
	device->own = link;
	link->host.host = -1;
	device->flow[TO_HOST] = (struct soak_flow){&link->given[TO_HOST], &link->taken[TO_HOST]};
	device->flow[TO_GUEST] = (struct soak_flow){&link->given[TO_GUEST], &link->taken[TO_GUEST]};
	/* The launcher makes the other. */
	if (device->kept)
		scratch_run("ip tuntap add dev %s mode tap vnet_hdr && ip link set %s up", device->name, device->name);
}

static void link_open(struct soak_device *device)
{
	struct link *link = device->own;
	const struct guest_net_options options = {.cpu = device->index};
	int error =
		guest_net_open(&link->net, device->guest, rig_base(device->index), rig_irq(device->index), &options);

	if (error)
		TEST_FAIL("%s: its driver does not start: %s", device->name, strerror(-error));
	guest_net_fill(&link->net, 0, 0);
	if (link->host.host < 0)
		net_rig_listen(&link->host, device->name);
}

static void link_close(struct soak_device *device)
{
	struct link *link = device->own;

	/* The rings are not looked at: the zone may have been down. */
	device->figures.lost_allowed += link->given[TO_HOST] - link->done;
	link->done = link->given[TO_HOST];
	guest_net_close(&link->net);
}

static uint32_t some_length(struct soak_device *device)
{
	return 60 + (uint32_t)(test_random_of(&device->random) % (1514 - 60 + 1));
}

static void take_frame(struct soak_device *device, int way, uint32_t len)
{
	struct link *link = device->own;
	int64_t number = net_rig_number(link->frame, len);
	uint64_t next = link->taken[way];
	uint64_t got;

	if (number < 0)
		return;
	/* Frames have 32 bits for it. */
	got = next + (uint32_t)((uint32_t)number - (uint32_t)next);
	if (got >= link->given[way])
		TEST_FAIL("%s: frame %lld %s comes twice or late: %llu is next", device->name, (long long)number,
			  way == TO_HOST ? "of the guest" : "for the guest", (unsigned long long)next);
	if (way == TO_HOST)
		device->figures.lost += got - next;
	link->came[way]++;
	device->figures.checked++;
	core_store_release(&link->taken[way], got + 1);
}

static bool guest_takes(struct soak_device *device)
{
	struct link *link = device->own;
	struct virtio_net_hdr_v1 header;
	bool moved = false;
	int n;

	guest_dev_interrupt(&link->net.dev, device->index);
	while ((n = guest_net_receive(&link->net, 0, &header, link->frame, NULL)) >= 0) {
		take_frame(device, TO_GUEST, (uint32_t)n);
		link->came_ns = test_now_ns();
		moved = true;
	}
	guest_net_fill(&link->net, 0, 0);
	return moved;
}

static bool guest_gives(struct soak_device *device)
{
	struct link *link = device->own;
	uint32_t n = guest_net_sent(&link->net, 0);
	uint32_t len;

	link->done += n;
	for (;;) {
		len = some_length(device);
		net_rig_frame(link->frame, len, net_rig_host_mac, net_rig_mac, (uint32_t)link->given[TO_HOST]);
		if (!guest_net_send(&link->net, 0, NULL, link->frame, len))
			break;
		core_store_release(&link->given[TO_HOST], link->given[TO_HOST] + 1);
	}
	guest_net_kick(&link->net, 0);
	return n > 0;
}

static bool host_takes(struct soak_device *device)
{
	struct link *link = device->own;
	bool moved = false;
	int n;

	while ((n = net_rig_receive(&link->host, NULL, link->frame, 0)) >= 0) {
		take_frame(device, TO_HOST, (uint32_t)n);
		moved = true;
	}
	return moved;
}

static void host_gives(struct soak_device *device)
{
	struct link *link = device->own;
	uint32_t len;
	uint32_t i;

	if (link->given[TO_GUEST] - link->taken[TO_GUEST] > AHEAD && test_now_ns() - link->came_ns < STILL_NS)
		return;
	for (i = 0; i < AT_ONCE; i++) {
		len = some_length(device);
		/* To everybody: whatever filters are on. */
		net_rig_frame(link->frame, len, (const uint8_t[]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, net_rig_host_mac,
			      (uint32_t)link->given[TO_GUEST]);
		core_store_release(&link->given[TO_GUEST], link->given[TO_GUEST] + 1);
		net_rig_send(&link->host, NULL, link->frame, len);
	}
}

static void link_turn(struct soak_device *device)
{
	struct link *link = device->own;
	struct pollfd pfd = {.fd = link->host.host, .events = POLLIN};
	bool moved;

	moved = guest_takes(device);
	moved |= guest_gives(device);
	moved |= host_takes(device);
	host_gives(device);
	if (!moved)
		poll(&pfd, 1, 1);
}

static int link_is_done(void *arg)
{
	struct soak_device *device = arg;
	struct link *link = device->own;

	guest_takes(device);
	link->done += guest_net_sent(&link->net, 0);
	host_takes(device);
	return link->done == link->given[TO_HOST];
}

static void link_finish(struct soak_device *device)
{
	struct link *link = device->own;

	if (!test_wait(link_is_done, device, FINISH_MS))
		TEST_FAIL("%s: %llu of %llu frames of the guest's were taken from it", device->name,
			  (unsigned long long)link->done, (unsigned long long)link->given[TO_HOST]);
	/* What the device took is written to the tap by now. */
	host_takes(device);
	device->figures.lost += link->given[TO_HOST] - link->taken[TO_HOST];
	device->figures.lost_allowed += core_load(&device->deaths);
	if (device->figures.lost > device->figures.lost_allowed)
		TEST_FAIL("%s: %llu frames of the guest's are lost, %llu may be", device->name,
			  (unsigned long long)device->figures.lost, (unsigned long long)device->figures.lost_allowed);
}

static void link_check(struct soak_device *device)
{
	struct link *link = device->own;

	close(link->host.host);
	free(link);
}

const struct soak_load soak_net = {
	.unit = "frames",
	.type = "net",
	.flows = 2,
	.init = link_init,
	.open = link_open,
	.close = link_close,
	.turn = link_turn,
	.finish = link_finish,
	.check = link_check,
};
