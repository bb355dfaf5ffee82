/* SPDX-License-Identifier: MIT */
/* Network devices under hvisor-launch: taps made, joined to bridges, taken back and left alone, and the link. */
#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/sim/guest_net.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

static char out[1u << 20];

/* The rig in a network namespace of its own, with the bridge br0. */
static void begin(struct rig *rig)
{
	if (unshare(CLONE_NEWNET) < 0)
		TEST_FAIL("a network namespace of our own: %s", strerror(errno));
	rig_init(rig, 64);
	scratch_run("ip link add br0 type bridge && ip link set br0 up");
}

/* n net devices, each with its keys. */
static void configure(struct rig *rig, const char *const *keys, uint32_t n)
{
	char text[16][300];
	const char *device[16];
	uint32_t i;

	CHECK(n <= 16);
	for (i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "\"type\": \"net\", %s", keys[i]);
		device[i] = text[i];
	}
	rig_config(rig, device, n);
}

/* The running launcher's devices come to serve. */
static void serve(struct rig *rig, uint32_t n)
{
	char name[16];
	uint32_t i;

	rig_launch(rig, NULL);
	rig_await_launcher(rig);
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "net%u", i);
		rig_await_starts(rig, name, 1);
	}
}

static void serve_one(struct rig *rig, const char *keys)
{
	configure(rig, &keys, 1);
	serve(rig, 1);
}

/* --stop, which ends the launcher; what it was not able to do it would have said. */
static void stop(struct rig *rig)
{
	RIG_ASK(rig, out, "--stop");
	rig_finish(rig);
}

/* Has ip's line on the interface this in it? */
#define LINK_HAS(name, text) scratch_run("ip -d link show dev %s | grep -Eq '%s'", name, text)
#define LINK_LACKS(name, text) scratch_run("! ip -d link show dev %s | grep -Eq '%s'", name, text)
#define LINK_GONE(name) CHECK_INT(if_nametoindex(name), 0)

static void status_is(struct rig *rig, const char *key, const char *want)
{
	cJSON *reply;

	RIG_ASK(rig, out, "--status", "--json", "net0");
	reply = cJSON_Parse(out);
	CHECK_STR(cJSON_GetStringValue(
			  cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(reply, "devices"), 0), key)),
		  want);
	cJSON_Delete(reply);
}

#define TAP0 "\"tap\": \"hvt0\", \"mac\": [2, 0, 0, 0, 1, 1]"

static int has_sent(void *arg)
{
	struct region_device counters;

	rig_counters(arg, "net0", &counters);
	return counters.own[NET_OWN_TX_FRAMES] == 1;
}

static void test_made(void)
{
	static const uint8_t mac[] = {2, 0, 0, 0, 1, 1};
	struct guest_net_options options = {0};
	struct guest_net net;
	struct rig rig;
	uint8_t frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 1, 1, 0x88, 0xb5};

	begin(&rig);
	serve_one(&rig, TAP0 ", \"bridge\": \"br0\", \"mtu\": 1400");
	LINK_HAS("hvt0", "UP.* mtu 1400 .*master br0");
	LINK_HAS("hvt0", "fe:00:00:00:01:01");
	CHECK_INT(access("run/hvt0.tap", F_OK), 0);
	/* What the guest finds. */
	CHECK_INT(guest_net_open(&net, &rig.guest, rig_base(0), rig_irq(0), &options), 0);
	CHECK_MEM(net.config.mac, mac, 6);
	CHECK_INT(le16toh(net.config.mtu), 1400);
	CHECK_INT(le16toh(net.config.status), VIRTIO_NET_S_LINK_UP);
	/* Its frames go through: hvisor-net, without any capability, can use what it was given. */
	CHECK(guest_net_send(&net, 0, NULL, frame, sizeof(frame)));
	guest_net_kick(&net, 0);
	if (!test_wait(has_sent, &rig, 10000))
		TEST_FAIL("the frame does not reach the tap");
	status_is(&rig, "tap", "hvt0");
	status_is(&rig, "bridge", "br0");
	status_is(&rig, "mac", "02:00:00:00:01:01");
	status_is(&rig, "link", "up");
	CHECK_HAS(out, "\"rx_dropped\":\t0");
	CHECK_HAS(out, "\"tx_dropped\":\t0");
	/* A stopped device takes its tap with it, a started one has it again. */
	guest_net_close(&net);
	RIG_ASK(&rig, out, "--stop", "net0");
	LINK_GONE("hvt0");
	RIG_ASK(&rig, out, "--start", "net0");
	LINK_HAS("hvt0", "UP.* mtu 1400 .*master br0");
	stop(&rig);
	LINK_GONE("hvt0");
	CHECK_INT(access("run/hvt0.tap", F_OK), -1);
}

static void test_link(void)
{
	struct guest_net_options options = {0};
	struct guest_net net;
	struct rig rig;

	begin(&rig);
	serve_one(&rig, TAP0);
	CHECK_INT(guest_net_open(&net, &rig.guest, rig_base(0), rig_irq(0), &options), 0);
	RIG_ASK(&rig, out, "--link", "net0=down");
	guest_net_update(&net);
	CHECK_INT(le16toh(net.config.status) & VIRTIO_NET_S_LINK_UP, 0);
	status_is(&rig, "link", "down");
	RIG_ASK(&rig, out, "--status");
	CHECK_HAS(out, "net0: its link was taken down; hvisor-launch --link net0=up\n");
	/* It stays so over backends and launchers. */
	rig_kill(&rig, "net0");
	rig_await_starts(&rig, "net0", 2);
	status_is(&rig, "link", "down");
	rig_end_launcher(&rig, SIGKILL);
	rig_launch(&rig, NULL);
	rig_await_launcher(&rig);
	RIG_ASK(&rig, out, "--restart", "net0");
	status_is(&rig, "link", "down");
	guest_net_update(&net);
	CHECK_INT(le16toh(net.config.status) & VIRTIO_NET_S_LINK_UP, 0);
	RIG_ASK(&rig, out, "--link", "net0=up");
	guest_net_update(&net);
	CHECK_INT(le16toh(net.config.status) & VIRTIO_NET_S_LINK_UP, VIRTIO_NET_S_LINK_UP);
	status_is(&rig, "link", "up");
	RIG_REFUSED(&rig, out, "net9: no device has this name", "--link", "net9=up");
	guest_net_close(&net);
	stop(&rig);
}

/* A disk has no link. */
static void test_no_link(void)
{
	struct rig_disk disk = {.size = 1 << 20};
	struct rig rig;

	rig_init(&rig, 16);
	rig_config_disks(&rig, &disk, 1, NULL);
	rig_serve(&rig, 1);
	RIG_REFUSED(&rig, out, "blk0: a blk device has no link; net devices have one\n", "--link", "blk0=down");
	rig_finish(&rig);
}

static int attach(const char *name, int flags)
{
	struct ifreq request = {.ifr_flags = (short)flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	strcpy(request.ifr_name, name);
	CHECK_INT(ioctl(fd, TUNSETIFF, &request), 0);
	return fd;
}

/* A tap that was there is as it was afterwards, and can be in use by others. */
static void test_left_as_it_was(void)
{
	struct rig rig;
	int value;
	int fd;

	begin(&rig);
	scratch_run("ip link add br1 type bridge && ip tuntap add dev hvt0 mode tap && "
		    "ip link set hvt0 mtu 1300 master br1");
	serve_one(&rig, TAP0 ", \"bridge\": \"br0\", \"mtu\": 1400, \"create\": false");
	LINK_HAS("hvt0", "UP.* mtu 1400 .*master br0");
	/* Also if another launcher ends than the one that changed it. */
	rig_end_launcher(&rig, SIGKILL);
	rig_launch(&rig, NULL);
	rig_await_launcher(&rig);
	stop(&rig);
	LINK_HAS("hvt0", " mtu 1300 .*master br1");
	LINK_LACKS("hvt0", "[<,]UP");
	LINK_LACKS("hvt0", "vnet_hdr on");
	/* So the next one finds what a new tap would have. */
	fd = attach("hvt0", IFF_TAP | IFF_NO_PI);
	CHECK_INT(ioctl(fd, TUNGETVNETHDRSZ, &value), 0);
	CHECK_INT(value, sizeof(struct virtio_net_hdr));
	CHECK_INT(ioctl(fd, TUNGETVNETLE, &value), 0);
	CHECK_INT(value, 0);
	close(fd);
}

/* Without bridge and MTU nothing but up changes; one that is up stays up. */
static void test_upstreams_tap(void)
{
	struct rig rig;

	begin(&rig);
	scratch_run("ip tuntap add dev hvt0 mode tap && ip link set hvt0 mtu 1300 master br0 up");
	serve_one(&rig, TAP0);
	LINK_HAS("hvt0", "UP.* mtu 1300 .*master br0");
	stop(&rig);
	LINK_HAS("hvt0", "UP.* mtu 1300 .*master br0");
}

/* Whoever ends takes back what another one made. */
static void test_launcher_killed(void)
{
	struct rig rig;
	unsigned int index;

	begin(&rig);
	serve_one(&rig, TAP0 ", \"bridge\": \"br0\"");
	index = if_nametoindex("hvt0");
	rig_kill(&rig, "net0");
	rig_await_starts(&rig, "net0", 2);
	CHECK_INT(if_nametoindex("hvt0"), index);
	rig_end_launcher(&rig, SIGKILL);
	CHECK_INT(if_nametoindex("hvt0"), index);
	rig_launch(&rig, NULL);
	rig_await_launcher(&rig);
	RIG_ASK(&rig, out, "--restart", "net0");
	CHECK_INT(if_nametoindex("hvt0"), index);
	stop(&rig);
	LINK_GONE("hvt0");
}

/* What an earlier configuration had is taken back, unless it is in use still. */
static void test_taken_out(void)
{
	static const char *const keys[] = {TAP0, "\"tap\": \"hvt1\"", "\"tap\": \"hvt2\""};
	unsigned int index;
	char text[128];
	struct rig rig;

	begin(&rig);
	configure(&rig, keys, 3);
	serve(&rig, 3);
	index = if_nametoindex("hvt0");
	rig_end_launcher(&rig, SIGKILL);
	rig_kill(&rig, "net1");
	snprintf(text, sizeof(text), "tap hvt2 is left as it is: it is in use by process %d (hvisor-net)",
		 rig_pid(&rig, "net2"));
	configure(&rig, keys, 1);
	serve(&rig, 1);
	rig_await_text(&rig, rig.errors, text);
	LINK_GONE("hvt1");
	CHECK_INT(access("run/hvt1.tap", F_OK), -1);
	CHECK_INT(if_nametoindex("hvt0"), index);
	CHECK(if_nametoindex("hvt2") > 0);
	CHECK_INT(access("run/hvt2.tap", F_OK), 0);
	rig_kill(&rig, "net2");
	stop(&rig);
	LINK_GONE("hvt0");
	LINK_GONE("hvt2");
}

/* Another tap that has the name of one that we made is not ours. */
static void test_name_of_ours(void)
{
	struct rig rig;

	begin(&rig);
	serve_one(&rig, TAP0);
	rig_end_launcher(&rig, SIGKILL);
	rig_kill(&rig, "net0");
	scratch_run("ip link del hvt0 && ip tuntap add dev hvt0 mode tap");
	serve(&rig, 1);
	stop(&rig);
	LINK_LACKS("hvt0", "[<,]UP");
	CHECK_INT(access("run/hvt0.tap", F_OK), -1);
}

/* One that we made is made anew when it is to have more queues. */
static void test_more_queues(void)
{
	struct rig rig;

	begin(&rig);
	serve_one(&rig, TAP0);
	rig_end_launcher(&rig, SIGKILL);
	rig_kill(&rig, "net0");
	configure(&rig, (const char *const[]){TAP0 ", \"queues\": 2"}, 1);
	RIG_ASK(&rig, out, "--check", rig.config);
	LINK_LACKS("hvt0", "multi_queue");
	serve(&rig, 1);
	LINK_HAS("hvt0", "multi_queue numqueues 2 ");
	stop(&rig);
	LINK_GONE("hvt0");
}

/* What somebody else changes while a tap is served is not changed back. */
static void test_changed_since(void)
{
	struct rig rig;

	begin(&rig);
	scratch_run("ip link add br1 type bridge && ip tuntap add dev hvt0 mode tap");
	serve_one(&rig, TAP0 ", \"bridge\": \"br0\", \"mtu\": 1400");
	scratch_run("ip link set hvt0 mtu 1350 master br1");
	stop(&rig);
	LINK_HAS("hvt0", " mtu 1350 .*master br1");
}

/* A frame of the guest's comes out of the tap. */
static void check_sends(struct guest_net *net, const char *tap)
{
	uint8_t frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 1, 1, 0x88, 0xb5};
	/* A bridge takes its frames before whoever wants those of one protocol. */
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct pollfd pfd = {.events = POLLIN};
	uint8_t got[128];
	ssize_t n;

	address.sll_ifindex = (int)if_nametoindex(tap);
	pfd.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	CHECK(pfd.fd >= 0);
	CHECK_INT(bind(pfd.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK(guest_net_send(net, 0, NULL, frame, sizeof(frame)));
	guest_net_kick(net, 0);
	do {
		CHECK_INT(poll(&pfd, 1, 10000), 1);
		n = recv(pfd.fd, got, sizeof(got), 0);
	} while (n != sizeof(frame) || memcmp(got, frame, sizeof(frame)) != 0);
	close(pfd.fd);
}

static int link_is_up(void *arg)
{
	struct guest_net *net = arg;

	guest_net_update(net);
	return le16toh(net->config.status) & VIRTIO_NET_S_LINK_UP;
}

static int link_is_down(void *arg)
{
	return !link_is_up(arg);
}

/* A tap that goes while it is served is there again at once, and so it is in a bridge that was made anew. */
static void test_deleted(void)
{
	struct guest_net_options options = {0};
	struct guest_net net;
	struct rig rig;

	begin(&rig);
	serve_one(&rig, TAP0 ", \"bridge\": \"br0\"");
	/* Before there is a driver, and for one that gives no buffers. */
	scratch_run("ip link del hvt0");
	rig_await_starts(&rig, "net0", 2);
	LINK_HAS("hvt0", "UP.*master br0");
	CHECK_INT(guest_net_open(&net, &rig.guest, rig_base(0), rig_irq(0), &options), 0);
	scratch_run("ip link del hvt0");
	rig_await_starts(&rig, "net0", 3);
	LINK_HAS("hvt0", "UP.*master br0");
	CHECK(test_wait(link_is_up, &net, 10000));
	check_sends(&net, "hvt0");
	scratch_run("ip link del br0");
	RIG_REFUSED(&rig, out, "tap hvt0: there is no bridge br0 for it to join; make it", "--restart", "net0");
	scratch_run("ip link add br0 type bridge && ip link set br0 up");
	RIG_ASK(&rig, out, "--restart", "net0");
	LINK_HAS("hvt0", "UP.*master br0");
	check_sends(&net, "hvt0");
	guest_net_close(&net);
	stop(&rig);
	LINK_GONE("hvt0");
}

/* A bridge that is down drops the guest's frames like a switch without power; the guest and its link are left alone. */
static void test_bridge_down(void)
{
	struct guest_net_options options = {0};
	struct guest_net net;
	struct rig rig;

	begin(&rig);
	serve_one(&rig, TAP0 ", \"bridge\": \"br0\"");
	CHECK_INT(guest_net_open(&net, &rig.guest, rig_base(0), rig_irq(0), &options), 0);
	check_sends(&net, "br0");
	scratch_run("ip link set br0 down");
	check_sends(&net, "hvt0");
	CHECK(link_is_up(&net));
	scratch_run("ip link set br0 up");
	check_sends(&net, "br0");
	CHECK_INT(rig_starts(&rig, "net0"), 1);
	guest_net_close(&net);
	stop(&rig);
}

/* The guest has no link until somebody has made the tap that the launcher is not to make. */
static void test_deleted_for_good(void)
{
	struct guest_net_options options = {0};
	struct guest_net net;
	struct rig rig;

	begin(&rig);
	scratch_run("ip tuntap add dev hvt0 mode tap");
	serve_one(&rig, TAP0 ", \"create\": false");
	CHECK_INT(guest_net_open(&net, &rig.guest, rig_base(0), rig_irq(0), &options), 0);
	CHECK(test_wait(link_is_up, &net, 10000));
	scratch_run("ip link del hvt0");
	CHECK(test_wait(link_is_down, &net, 10000));
	rig_await_text(&rig, "net0.log", "the tap is gone: its interface was removed; hvisor-launch makes it anew");
	RIG_REFUSED(&rig, out, "tap hvt0: is not there, and \"create\" is false; make it", "--restart", "net0");
	scratch_run("ip tuntap add dev hvt0 mode tap");
	RIG_ASK(&rig, out, "--restart", "net0");
	CHECK(test_wait(link_is_up, &net, 10000));
	check_sends(&net, "hvt0");
	guest_net_close(&net);
	stop(&rig);
}

/* SIGTERM is an orderly end too. */
static void test_terminated(void)
{
	struct rig rig;

	begin(&rig);
	serve_one(&rig, TAP0);
	rig_end_launcher(&rig, SIGTERM);
	LINK_GONE("hvt0");
	rig_finish(&rig);
}

static void test_eight(void)
{
	char keys[8][128];
	const char *list[8];
	char name[16];
	struct rig rig;
	int i;

	begin(&rig);
	for (i = 0; i < 8; i++) {
		snprintf(keys[i], sizeof(keys[i]), "\"tap\": \"hvt%d\", \"bridge\": \"br0\", \"queues\": %d", i, i + 1);
		list[i] = keys[i];
	}
	configure(&rig, list, 8);
	serve(&rig, 8);
	for (i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "hvt%d", i);
		LINK_HAS(name, "UP.*master br0");
		if (i)
			scratch_run("ip -d link show dev %s | grep -q ' numqueues %d '", name, i + 1);
	}
	stop(&rig);
	for (i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "hvt%d", i);
		LINK_GONE(name);
	}
}

#define AT "net0 (zones[0].devices[0]): tap hvt0: "

static void check_refuses(struct rig *rig, const char *keys, const char *text)
{
	configure(rig, &keys, 1);
	RIG_REFUSED(rig, out, text, "--check", rig->config);
}

static void test_errors(void)
{
	struct rig rig;

	begin(&rig);
	check_refuses(&rig, TAP0 ", \"create\": false",
		      AT "is not there, and \"create\" is false; make it (ip tuntap add dev hvt0 mode tap), or leave "
			 "\"create\" out\n");
	check_refuses(&rig, TAP0 ", \"create\": false, \"queues\": 2", "(ip tuntap add dev hvt0 mode tap multi_queue)");
	check_refuses(&rig, TAP0 ", \"bridge\": \"br7\"",
		      AT "there is no bridge br7 for it to join; make it (ip link add br7 type bridge; ip link set br7 "
			 "up), or leave \"bridge\" out\n");
	check_refuses(&rig, TAP0 ", \"bridge\": \"lo\"", AT "lo, which it is to join, is a network card and no bridge");
	scratch_run("ip link add br1 type bridge && ip link add hvt0 type bridge");
	check_refuses(&rig, TAP0,
		      AT "is an interface of kind bridge and no tap; name one that is, or one that is not "
			 "there and so is made\n");
	scratch_run("ip link del hvt0 && ip tuntap add dev hvt0 mode tun");
	check_refuses(&rig, TAP0, AT "is of mode tun, which has no Ethernet frames");
	scratch_run("ip link del hvt0 && ip tuntap add dev hvt0 mode tap");
	check_refuses(&rig, TAP0 ", \"queues\": 2",
		      AT "has a single queue, and \"queues\" is 2; make it anew (ip tuntap add dev hvt0 mode tap "
			 "multi_queue), or leave \"queues\" out\n");
	check_refuses(&rig, "\"tap\": \"lo\"", "tap lo: is a network card and no tap");
	/* And what is right is shown. */
	configure(&rig, (const char *const[]){TAP0 ", \"mtu\": 1400, \"rate\": {\"rx\": 2048}"}, 1);
	RIG_ASK(&rig, out, "--check", rig.config);
	CHECK_HAS(
		out,
		"  tap        hvt0\n  mac        02:00:00:00:01:01\n  mtu        1400\n  rate rx    2 KiB a second\n");
	CHECK_HAS(out, " MTU ");
	RIG_ASK(&rig, out, "--check", "--json", rig.config);
	CHECK_HAS(out, "\"rate_rx\":\t2048");
	rig_finish(&rig);
}

/* What is seen only when it is tried. */
static void fails(struct rig *rig, const char *keys, const char *text)
{
	configure(rig, &keys, 1);
	rig_launch(rig, NULL);
	rig_await_launcher(rig);
	rig_await_text(rig, rig->errors, text);
	RIG_ASK(rig, out, "--stop");
	rig_finish(rig);
}

static void busy(int flags)
{
	char text[128];
	struct rig rig;
	int fd;

	begin(&rig);
	fd = attach("hvt0", flags);
	snprintf(text, sizeof(text), "tap hvt0: is in use by process %d (test_net_launch)", getpid());
	fails(&rig, TAP0, text);
	CHECK(if_nametoindex("hvt0") > 0);
	close(fd);
}

static void test_busy(void)
{
	busy(IFF_TAP | IFF_NO_PI);
}

/* It would be attached to, and have a share of the frames. */
static void test_busy_multi_queue(void)
{
	busy(IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE);
}

static void test_no_permission(void)
{
	struct rig rig;

	begin(&rig);
	CHECK_INT(prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN), 0);
	fails(&rig, TAP0,
	      "net0: tap hvt0: Operation not permitted; hvisor-launch needs the capability CAP_NET_ADMIN for it");
}

static void test_no_driver(void)
{
	struct rig rig;

	begin(&rig);
	CHECK_INT(unshare(CLONE_NEWNS), 0);
	CHECK_INT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	CHECK_INT(mount("none", "/dev/net", "tmpfs", 0, NULL), 0);
	check_refuses(&rig, TAP0, AT "/dev/net/tun: No such file or directory; load the driver: modprobe tun\n");
	fails(&rig, TAP0, "net0: tap hvt0: /dev/net/tun: No such file or directory; load the driver: modprobe tun");
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"net_launch_no_link", test_no_link, 0},
		/* The rest need root, to make interfaces. */
		{"net_launch_made", test_made, 0},
		{"net_launch_link", test_link, 0},
		{"net_launch_left_as_it_was", test_left_as_it_was, 0},
		{"net_launch_upstreams_tap", test_upstreams_tap, 0},
		{"net_launch_launcher_killed", test_launcher_killed, 0},
		{"net_launch_taken_out", test_taken_out, 0},
		{"net_launch_name_of_ours", test_name_of_ours, 0},
		{"net_launch_more_queues", test_more_queues, 0},
		{"net_launch_changed_since", test_changed_since, 0},
		{"net_launch_deleted", test_deleted, 0},
		{"net_launch_bridge_down", test_bridge_down, 0},
		{"net_launch_deleted_for_good", test_deleted_for_good, 0},
		{"net_launch_terminated", test_terminated, 0},
		{"net_launch_eight", test_eight, 0},
		{"net_launch_errors", test_errors, 0},
		{"net_launch_busy", test_busy, 0},
		{"net_launch_busy_multi_queue", test_busy_multi_queue, 0},
		{"net_launch_no_permission", test_no_permission, 0},
		{"net_launch_no_driver", test_no_driver, 0},
	};
	size_t n = sizeof(tests) / sizeof(tests[0]);

	while (geteuid() != 0 && n > 1)
		printf("# not without root: %s\n", tests[--n].name);
	return test_main(argc, argv, tests, n);
}
