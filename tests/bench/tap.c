/* SPDX-License-Identifier: MIT */
#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"
#include "load.h"

#define HEADERS 54u /* Ethernet, IPv4, TCP */
#define MSS 1448u

static int tap_fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	return -1;
}

static uint16_t ip_sum(const uint8_t *bytes, uint32_t len, uint32_t sum)
{
	uint32_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

void tap_frame_make(struct tap_frame *frame, uint32_t len, const uint8_t *to, const uint8_t *from)
{
	struct virtio_net_hdr_v1 header = {0};
	uint8_t *at = frame->bytes + sizeof(header);

	memset(frame, 0, sizeof(*frame));
	frame->len = len;
	memcpy(at, to, 6);
	memcpy(at + 6, from, 6);
	if (len <= ETH_FRAME_LEN) {
		put16(at + 12, 0x88b5); /* for experiments: nobody looks into it */
		return;
	}
	put16(at + 12, ETH_P_IP);
	memcpy(at + 14, (uint8_t[]){0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, 20);
	put16(at + 16, len - 14);
	put16(at + 24, ~ip_sum(at + 14, 20, 0) & 0xffffu);
	memcpy(at + 34, (uint8_t[]){0x10, 0, 0x20, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0}, 16);
	put16(at + 50, ip_sum(at + 26, 8, 6 + len - 34));
	header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	header.hdr_len = HEADERS;
	header.gso_size = MSS;
	header.csum_start = 34;
	header.csum_offset = 16;
	memcpy(frame->bytes, &header, sizeof(header));
}

static int tap_up(const char *name)
{
	struct ifreq request = {0};
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result = -1;

	strcpy(request.ifr_name, name);
	if (control >= 0 && ioctl(control, SIOCGIFFLAGS, &request) == 0) {
		request.ifr_flags |= IFF_UP;
		result = ioctl(control, SIOCSIFFLAGS, &request);
	}
	if (control >= 0)
		close(control);
	return result;
}

int tap_make(const char *name)
{
	unsigned long offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int size = sizeof(struct virtio_net_hdr_v1);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	int little_endian = 1;

	strcpy(request.ifr_name, name);
	if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0 && ioctl(fd, TUNSETVNETHDRSZ, &size) == 0 &&
	    ioctl(fd, TUNSETVNETLE, &little_endian) == 0 && ioctl(fd, TUNSETOFFLOAD, offloads) == 0 &&
	    tap_up(name) == 0)
		return fd;
	tap_fail("making a tap");
	if (fd >= 0)
		close(fd);
	return -1;
}

int tap_sender_open(const char *name)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name)};
	int size = 64 << 20;
	int on = 1;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd >= 0 && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) == 0 &&
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0 &&
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	tap_fail("a packet socket");
	if (fd >= 0)
		close(fd);
	return -1;
}

void tap_send(int sender, const struct tap_frame *frame)
{
	/* The socket's header is the old one, without the count of buffers. */
	struct iovec iov[2] = {{(void *)(uintptr_t)frame->bytes, sizeof(struct virtio_net_hdr)},
			       {(void *)(uintptr_t)(frame->bytes + sizeof(struct virtio_net_hdr_v1)), frame->len}};
	uint32_t n = TAP_BATCH_BYTES / frame->len < TAP_BATCH_MAX ? TAP_BATCH_BYTES / frame->len : TAP_BATCH_MAX;
	struct mmsghdr message[TAP_BATCH_MAX];
	uint32_t i;

	memset(message, 0, sizeof(message));
	for (i = 0; i < n; i++) {
		message[i].msg_hdr.msg_iov = iov;
		message[i].msg_hdr.msg_iovlen = 2;
	}
	/* A full queue is an error here; the next batch comes anyway. */
	sendmmsg(sender, message, n, MSG_DONTWAIT);
}

static double rate_of(uint64_t done, uint64_t begin, uint64_t end)
{
	return (double)done / ((double)(end - begin) / 1e9);
}

static uint8_t *buffers_make(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		tap_fail("memory for frames");
	return at == MAP_FAILED ? NULL : at;
}

static double write_frames(int fd, const struct tap_frame *frame, uint64_t ns)
{
	size_t len = sizeof(struct virtio_net_hdr_v1) + frame->len;
	uint8_t *buffers = buffers_make(TAP_BUFFERS * sizeof(frame->bytes));
	struct iovec iov = {buffers, len};
	uint64_t begin, now;
	uint64_t done = 0;

	if (!buffers)
		return -1;
	for (done = 0; done < TAP_BUFFERS; done++)
		memcpy(buffers + done * sizeof(frame->bytes), frame->bytes, len);
	begin = load_now_ns();
	for (now = begin, done = 0; now < begin + ns; now = load_now_ns(), done++) {
		iov.iov_base = buffers + done % TAP_BUFFERS * sizeof(frame->bytes);
		if (writev(fd, &iov, 1) != (ssize_t)iov.iov_len)
			return tap_fail("writing to the tap");
	}
	return rate_of(done, begin, now);
}

/* What is left of another load does not count. */
static double read_frames(int fd, const struct tap_frame *frame, uint64_t ns)
{
	size_t len = sizeof(struct virtio_net_hdr_v1) + frame->len;
	uint8_t *buffers = buffers_make(TAP_READ_BYTES + sizeof(frame->bytes));
	struct iovec iov = {buffers, sizeof(frame->bytes)};
	uint64_t begin, now;
	uint64_t done = 0;
	ssize_t n;

	if (!buffers)
		return -1;
	for (begin = now = load_now_ns(); now < begin + ns; now = load_now_ns()) {
		iov.iov_base = buffers + done % (TAP_READ_BYTES / len) * len;
		n = readv(fd, &iov, 1);
		if (n < 0)
			return tap_fail("reading from the tap");
		done += n == (ssize_t)len;
	}
	return rate_of(done, begin, now);
}

/* Runs the loop in a process of its own, which tells by the pipe. Its pid, or -1. */
static pid_t loop_fork(double (*loop)(int, const struct tap_frame *, uint64_t), int fd, const struct tap_frame *frame,
		       double seconds, int cpu, int result[2])
{
	cpu_set_t driver;
	double rate;
	pid_t pid;

	if (pipe2(result, O_CLOEXEC) < 0)
		return tap_fail("pipe");
	fflush(NULL);
	/* Born on the driver's CPU, which never rests, it would have to wait for its first turn. */
	sched_getaffinity(0, sizeof(driver), &driver);
	cpu_pin(0, cpu);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		rate = loop(fd, frame, (uint64_t)(seconds * 1e9));
		_exit(write(result[1], &rate, sizeof(rate)) != sizeof(rate));
	}
	sched_setaffinity(0, sizeof(driver), &driver);
	close(result[1]);
	return pid;
}

static double loop_result(pid_t pid, int result[2])
{
	double rate = -1;

	if (pid < 0 || read(result[0], &rate, sizeof(rate)) != sizeof(rate)) {
		fprintf(stderr, "bench: the loop over the tap gave no result\n");
		rate = -1;
	}
	close(result[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return rate;
}

double tap_write_loop(int fd, const struct tap_frame *frame, double seconds, int cpu)
{
	int result[2];
	pid_t pid = loop_fork(write_frames, fd, frame, seconds, cpu, result);

	return loop_result(pid, result);
}

/* Is the loop over? What it read is in the pipe then. */
static int loop_ended(int result)
{
	int n = 0;

	return ioctl(result, FIONREAD, &n) < 0 || n > 0;
}

double tap_read_loop(int fd, int sender, const struct tap_frame *frame, double seconds, int cpu)
{
	uint64_t limit = load_now_ns() + (uint64_t)(seconds * 1e9) + 5000000000u;
	int result[2];
	pid_t pid = loop_fork(read_frames, fd, frame, seconds, cpu, result);

	while (pid > 0 && !loop_ended(result[0]) && load_now_ns() < limit)
		tap_send(sender, frame);
	if (pid > 0 && !loop_ended(result[0]))
		kill(pid, SIGKILL);
	return loop_result(pid, result);
}
