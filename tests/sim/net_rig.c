/* SPDX-License-Identifier: MIT */
#include "tests/sim/net_rig.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netlink/route/link.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>

#include "launcher/devtype.h"
#include "tests/sim/scratch.h"
#include "tests/test.h"

#define TAP_NAME "tap0"
#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
#define QUEUE_SIZE 256
#define CONFIG_LEN offsetof(struct virtio_net_config, speed)
#define IPV6_OFF "/proc/sys/net/ipv6/conf/default/disable_ipv6"

const uint8_t net_rig_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
const uint8_t net_rig_host_mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};

/* There is one in a process, and devtype's functions know no other way to it. */
static struct net_rig *net_rig_of;

static int tap_open(const struct net_rig *rig)
{
	struct ifreq request = {.ifr_flags = (short)(rig->tap_flags | (rig->pairs > 1 ? IFF_MULTI_QUEUE : 0))};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	CHECK(fd >= 0);
	strcpy(request.ifr_name, TAP_NAME);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		TEST_FAIL("attaching to the tap: %s", strerror(errno));
	return fd;
}

/* What launcher/devtype_net.c does with a configuration, here with the tap of the test. */
static int rig_describe(const struct config_device *device, struct hvisor_device_add *out, struct errors *errors)
{
	struct virtio_net_config config = {.status = htole16(VIRTIO_NET_S_LINK_UP),
					   .max_virtqueue_pairs = htole16((uint16_t)net_rig_of->pairs),
					   .mtu = htole16(net_rig_of->mtu)};

	(void)device;
	(void)errors;
	memcpy(config.mac, net_rig_mac, sizeof(config.mac));
	out->device_id = 1;
	out->nqueues = NET_NQUEUES(net_rig_of->pairs);
	out->queue_size_max = QUEUE_SIZE;
	out->features = net_rig_of->features;
	out->config_len = CONFIG_LEN;
	memcpy(out->config, &config, CONFIG_LEN);
	return 0;
}

static int rig_open(const struct config_device *device, struct devtype_start *out, struct errors *errors)
{
	(void)device;
	(void)errors;
	devtype_start_init(out);
	for (; out->nfiles < net_rig_of->pairs; out->nfiles++) {
		out->file[out->nfiles] = tap_open(net_rig_of);
		if (net_rig_of->sndbuf)
			CHECK_INT(ioctl(out->file[out->nfiles], TUNSETSNDBUF, &net_rig_of->sndbuf), 0);
	}
	if (devtype_start_arg(out, "queues=%u", net_rig_of->queues) ||
	    devtype_start_arg(out, "rate_rx=%llu", (unsigned long long)net_rig_of->rate_rx) ||
	    devtype_start_arg(out, "rate_tx=%llu", (unsigned long long)net_rig_of->rate_tx))
		return -1;
	return 0;
}

static const struct devtype rig_devtype = {
	.type = CONFIG_NET,
	.program = "hvisor-net",
	.policy = "hvisor-net.policy",
	.describe = rig_describe,
	.open = rig_open,
};

void net_rig_enter_namespace(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		TEST_FAIL("a network namespace of our own: %s", strerror(errno));
	fd = open(IPV6_OFF, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		CHECK_INT(write(fd, "1", 1), 1);
		close(fd);
	}
}

/* Taps of Linux 6.2 and later can cut UDP datagrams into segments. */
static bool tap_has_uso(int fd)
{
	bool has = ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6) == 0;

	CHECK_INT(ioctl(fd, TUNSETOFFLOAD, 0), 0);
	return has;
}

static void tap_make(struct net_rig *rig)
{
	struct ifreq request = {0};
	int fd = tap_open(rig);
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CHECK(control >= 0);
	if (tap_has_uso(fd))
		rig->features |= NET_FEATURES_USO;
	CHECK_INT(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
	strcpy(request.ifr_name, TAP_NAME);
	CHECK_INT(ioctl(control, SIOCGIFINDEX, &request), 0);
	rig->ifindex = request.ifr_ifindex;
	CHECK_INT(ioctl(control, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags |= IFF_UP;
	CHECK_INT(ioctl(control, SIOCSIFFLAGS, &request), 0);
	rig->keeper = control;
}

static void host_open(struct net_rig *rig)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = rig->ifindex};
	int size = 64 << 20;
	int on = 1;

	rig->host = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	CHECK(rig->host >= 0);
	CHECK_INT(setsockopt(rig->host, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	CHECK_INT(setsockopt(rig->host, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	setsockopt(rig->host, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(rig->host, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	CHECK_INT(bind(rig->host, (struct sockaddr *)&address, sizeof(address)), 0);
}

void net_rig_listen(struct net_rig *rig, const char *name)
{
	rig->ifindex = (int)if_nametoindex(name);
	CHECK(rig->ifindex > 0);
	close(rig->host);
	host_open(rig);
}

void net_rig_remove_tap(struct net_rig *rig)
{
	scratch_run("ip link del " TAP_NAME);
	close(rig->host);
	close(rig->keeper);
}

void net_rig_make_tap(struct net_rig *rig)
{
	tap_make(rig);
	host_open(rig);
}

void net_rig_init(struct net_rig *rig, uint32_t pairs)
{
	static char socket_path[300];
	static char policy_dir[PATH_MAX];

	memset(rig, 0, sizeof(*rig));
	net_rig_of = rig;
	rig->pairs = pairs;
	rig->queues = pairs;
	rig->mtu = 1500;
	rig->tap_flags = TAP_FLAGS;
	rig->features = NET_FEATURES | 1ull << VIRTIO_NET_F_MTU;
	if (pairs > 1)
		rig->features |= 1ull << VIRTIO_NET_F_MQ;
	net_rig_enter_namespace();
	net_rig_make_tap(rig);
	/* Policies are found from the folder that the tests are started in. */
	CHECK(realpath("policy", policy_dir));
	snprintf(socket_path, sizeof(socket_path), "%s/sim.sock", scratch_enter());
	CHECK_INT(sim_start(&rig->sim, socket_path), 0);
	CHECK_INT(rig_zone(&rig->sim, 64), 0);
	CHECK_INT(guest_init(&rig->guest, &rig->sim, RIG_ZONE), 0);
	CHECK_INT(rig_backend_init(&rig->backend, &rig->sim, &rig_devtype, "net0"), 0);
	rig->backend.policy_dir = policy_dir;
}

/* What "ip link" prints as its state. */
static int tap_state(void)
{
	struct nl_sock *sock = nl_socket_alloc();
	struct rtnl_link *link;
	int state;

	CHECK(sock);
	CHECK_INT(nl_connect(sock, NETLINK_ROUTE), 0);
	CHECK_INT(rtnl_link_get_kernel(sock, 0, TAP_NAME, &link), 0);
	state = rtnl_link_get_operstate(link);
	rtnl_link_put(link);
	nl_socket_free(sock);
	return state;
}

static int is_running(void *arg)
{
	const struct net_rig *rig = arg;
	struct ifreq request = {0};

	/* Newer kernels follow the link when they are asked for it. IFF_RUNNING is also set where nothing is known. */
	if (!net_rig_carrier(rig) || tap_state() != IF_OPER_UP)
		return 0;
	/* This changes nothing, but waits for the lock: the state is set in the middle of it. */
	strcpy(request.ifr_name, TAP_NAME);
	CHECK_INT(ioctl(rig->keeper, SIOCGIFFLAGS, &request), 0);
	CHECK_INT(ioctl(rig->keeper, SIOCSIFFLAGS, &request), 0);
	return 1;
}

void net_rig_await_running(const struct net_rig *rig)
{
	if (!test_wait(is_running, (void *)(uintptr_t)rig, 10000))
		TEST_FAIL("the tap's link does not come up");
}

void net_rig_start(struct net_rig *rig)
{
	char log[4096];

	if (rig_backend_start(&rig->backend) != 0) {
		rig_backend_log(&rig->backend, log, sizeof(log));
		TEST_FAIL("the backend does not start: %s", log);
	}
	if (!core_load(&rig->backend.region->control.link_down))
		net_rig_await_running(rig);
}

const char *net_rig_refused(struct net_rig *rig)
{
	static char log[4096];

	CHECK_INT(rig_backend_start(&rig->backend), -ECHILD);
	rig_backend_log(&rig->backend, log, sizeof(log));
	return log;
}

int net_rig_end(struct net_rig *rig, int signal)
{
	return rig_backend_end(&rig->backend, signal);
}

void net_rig_finish(struct net_rig *rig)
{
	rig_backend_finish(&rig->backend);
	guest_finish(&rig->guest);
	sim_stop(&rig->sim);
	close(rig->host);
	close(rig->keeper);
}

void net_rig_open(struct net_rig *rig, struct guest_net *net, const struct guest_net_options *options)
{
	uint32_t pair;

	CHECK_INT(guest_net_open(net, &rig->guest, rig->backend.config.base, rig->backend.config.irq, options), 0);
	for (pair = 0; pair < net->npairs; pair++)
		guest_net_fill(net, pair, 0);
	/* What is sent before the backend has seen the driver is thrown away. */
	net_rig_await_asleep(rig);
}

void net_rig_send(struct net_rig *rig, const struct virtio_net_hdr_v1 *header, const void *frame, uint32_t len)
{
	static const struct virtio_net_hdr_v1 none;
	struct iovec iov[2] = {{(void *)(uintptr_t)(header ? header : &none), sizeof(struct virtio_net_hdr)},
			       {(void *)(uintptr_t)frame, len}};
	ssize_t n = writev(rig->host, iov, 2);

	if (n != (ssize_t)(sizeof(struct virtio_net_hdr) + len))
		TEST_FAIL("sending %u bytes to the guest: %s", len, strerror(errno));
}

int net_rig_receive(struct net_rig *rig, struct virtio_net_hdr_v1 *header, uint8_t *frame, int timeout_ms)
{
	struct virtio_net_hdr_v1 dummy;
	struct iovec iov[2] = {{header ? header : &dummy, sizeof(struct virtio_net_hdr)}, {frame, GUEST_NET_FRAME_MAX}};
	struct pollfd pfd = {.fd = rig->host, .events = POLLIN};
	ssize_t n;

	if (poll(&pfd, 1, timeout_ms) != 1)
		return -1;
	n = readv(rig->host, iov, 2);
	CHECK(n >= (ssize_t)sizeof(struct virtio_net_hdr));
	return (int)((size_t)n - sizeof(struct virtio_net_hdr));
}

uint64_t net_rig_own(const struct net_rig *rig, enum net_own own)
{
	return core_load(&rig->backend.region->device.own[own]);
}

struct own_wait {
	const struct net_rig *rig;
	enum net_own own;
	uint64_t value;
};

static int own_is(void *arg)
{
	const struct own_wait *wait = arg;

	return net_rig_own(wait->rig, wait->own) >= wait->value;
}

void net_rig_await_own(const struct net_rig *rig, enum net_own own, uint64_t value)
{
	struct own_wait wait = {rig, own, value};

	if (!test_wait(own_is, &wait, 10000))
		TEST_FAIL("counter %d is %llu, and does not become %llu", own,
			  (unsigned long long)net_rig_own(rig, own), (unsigned long long)value);
}

/* It says that it sleeps before its last look at the bell, and a turn begins before the bell is silenced. */
static int is_asleep(void *arg)
{
	const struct queue_region *region = ((const struct net_rig *)arg)->backend.region;
	uint64_t turn = core_load_acquire(&region->device.heartbeat);

	if (core_load_acquire(&region->doorbell.sleeping) != 1 || core_load_acquire(&region->doorbell.events) ||
	    core_load_acquire(&region->doorbell.queues))
		return 0;
	return core_load_acquire(&region->doorbell.sleeping) == 1 && core_load(&region->device.heartbeat) == turn;
}

void net_rig_await_asleep(const struct net_rig *rig)
{
	const struct queue_region *region = rig->backend.region;
	char log[4096];

	if (test_wait(is_asleep, (void *)(uintptr_t)rig, 10000))
		return;
	rig_backend_log(&rig->backend, log, sizeof(log));
	TEST_FAIL("the backend does not come to rest: sleeping %u, events 0x%x, turns %llu; log: %s",
		  core_load(&region->doorbell.sleeping), core_load(&region->doorbell.events),
		  (unsigned long long)core_load(&region->device.heartbeat), log);
}

void net_rig_ring(struct net_rig *rig, uint32_t events)
{
	struct hvisor_device_kick kick = {.id = rig->backend.id, .events = events};

	CHECK_INT(sim_call(&rig->sim, HVISOR_DEVICE_KICK, &kick), 0);
}

static void ethtool(const struct net_rig *rig, void *command)
{
	struct ifreq request = {.ifr_data = command};

	strcpy(request.ifr_name, TAP_NAME);
	CHECK_INT(ioctl(rig->keeper, SIOCETHTOOL, &request), 0);
}

int net_rig_carrier(const struct net_rig *rig)
{
	struct ethtool_value value = {.cmd = ETHTOOL_GLINK};

	ethtool(rig, &value);
	return value.data != 0;
}

uint32_t net_rig_offloads(const struct net_rig *rig)
{
	static const char *const names[] = {"tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation",
					    "tx-udp-segmentation"};
	static _Alignas(8) uint8_t strings_bytes[sizeof(struct ethtool_gstrings) + 256 * ETH_GSTRING_LEN];
	static _Alignas(8) uint8_t
		features_bytes[sizeof(struct ethtool_gfeatures) + 8 * sizeof(struct ethtool_get_features_block)];
	struct ethtool_gstrings *strings = (void *)strings_bytes;
	struct ethtool_gfeatures *features = (void *)features_bytes;
	uint32_t bits = 0;
	uint32_t i, k;

	*strings = (struct ethtool_gstrings){.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES};
	*features = (struct ethtool_gfeatures){.cmd = ETHTOOL_GFEATURES, .size = 8};
	ethtool(rig, strings);
	ethtool(rig, features);
	for (i = 0; i < strings->len && i < 256; i++) {
		for (k = 0; k < 4; k++) {
			if (strcmp((char *)strings->data + i * ETH_GSTRING_LEN, names[k]) == 0 &&
			    features->features[i / 32].active & 1u << i % 32)
				bits |= 1u << k;
		}
	}
	return bits;
}

static uint32_t frame_sum(const uint8_t *bytes, uint32_t len)
{
	uint32_t sum = 2166136261u;
	uint32_t i;

	for (i = 0; i < len; i++)
		sum = (sum ^ bytes[i]) * 16777619u;
	return sum;
}

void net_rig_frame(uint8_t *frame, uint32_t len, const uint8_t *to, const uint8_t *from, uint32_t number)
{
	uint32_t sum;
	uint32_t i;

	CHECK(len >= 14 + 12);
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	frame[12] = NET_RIG_TYPE >> 8;
	frame[13] = NET_RIG_TYPE & 0xff;
	memcpy(frame + 14, &number, 4);
	memcpy(frame + 18, &len, 4);
	for (i = 26; i < len; i++)
		frame[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
	sum = frame_sum(frame + 26, len - 26) ^ number ^ len;
	memcpy(frame + 22, &sum, 4);
}

int64_t net_rig_number(const uint8_t *frame, uint32_t len)
{
	uint32_t number, length, sum;

	if (len < 26 || frame[12] != NET_RIG_TYPE >> 8 || frame[13] != (NET_RIG_TYPE & 0xff))
		return -1;
	memcpy(&number, frame + 14, 4);
	memcpy(&length, frame + 18, 4);
	memcpy(&sum, frame + 22, 4);
	if (length != len || sum != (frame_sum(frame + 26, len - 26) ^ number ^ len))
		TEST_FAIL("a corrupt frame: it says number %u, %u bytes, and has %u bytes", number, length, len);
	return number;
}
