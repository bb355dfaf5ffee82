/* SPDX-License-Identifier: MIT */
#include "vhost_front.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* vhost-user protocol, "Front-end message types". */
enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_GET_CONFIG = 24,
};

#define VHOST_USER_VERSION 1u
#define VHOST_USER_REPLY (1u << 2)
#define VHOST_USER_NEED_REPLY (1u << 3)
#define VHOST_USER_F_PROTOCOL_FEATURES (1ull << 30)
#define VHOST_USER_PROTOCOL_F_MQ (1ull << 0)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK (1ull << 3)
#define VHOST_USER_PROTOCOL_F_CONFIG (1ull << 9)

struct vhost_user_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t user_address;
	uint64_t mmap_offset;
};

struct vhost_user_message {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* bytes of payload */
	union {
		uint64_t u64;
		struct vhost_vring_state state;
		struct vhost_vring_addr addr;
		struct {
			uint32_t nregions;
			uint32_t pad;
			struct vhost_user_region region[1];
		} memory;
		struct {
			uint32_t offset;
			uint32_t size;
			uint32_t flags;
			uint8_t byte[256];
		} config;
	} payload;
} __attribute__((packed));

#define VHOST_USER_HEADER offsetof(struct vhost_user_message, payload)
#define VHOST_USER_CONFIG_HEADER 12u /* bytes before the payload's config bytes */

/* The configuration space up to the write-zeroes limits; qemu 7.2 refuses to give more than it knows of. */
#define VHOST_CONFIG_LEN (offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4)

static int vhost_fail(struct vhost_front *front, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int vhost_fail(struct vhost_front *front, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(front->why, sizeof(front->why), format, args);
	va_end(args);
	return error;
}

static int vhost_send(struct vhost_front *front, const struct vhost_user_message *message, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)message, VHOST_USER_HEADER + message->size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	n = sendmsg(front->socket, &msg, MSG_NOSIGNAL);
	if (n < 0)
		return vhost_fail(front, -errno, "sending message %u: %m", message->request);
	if ((size_t)n != iov.iov_len)
		return vhost_fail(front, -EIO, "sending message %u: only %zd bytes went out", message->request, n);
	return 0;
}

/* Reads all of len bytes; a device that says nothing for 10 s (SO_RCVTIMEO) has failed. */
static int vhost_read(struct vhost_front *front, void *bytes, size_t len, uint32_t request)
{
	ssize_t n = len > 0 ? recv(front->socket, bytes, len, MSG_WAITALL) : 0;

	if (n < 0)
		return vhost_fail(front, -errno, "waiting for the reply to message %u: %m", request);
	if ((size_t)n != len)
		return vhost_fail(front, -EPROTO, "the device hung up in its reply to message %u", request);
	return 0;
}

static int vhost_receive(struct vhost_front *front, struct vhost_user_message *message, uint32_t request)
{
	int err = vhost_read(front, message, VHOST_USER_HEADER, request);

	if (err)
		return err;
	if (message->request != request || !(message->flags & VHOST_USER_REPLY))
		return vhost_fail(front, -EPROTO, "message %u is answered by message %u with flags 0x%x", request,
				  message->request, message->flags);
	if (message->size > sizeof(message->payload))
		return vhost_fail(front, -EPROTO, "the reply to message %u is %u bytes long", request, message->size);
	return vhost_read(front, &message->payload, message->size, request);
}

/* Sends a message that has no reply of its own, and waits until the device has acknowledged it. */
static int vhost_set(struct vhost_front *front, struct vhost_user_message *message, uint32_t request, size_t size,
		     int fd)
{
	int err;

	message->request = request;
	message->flags = VHOST_USER_VERSION | VHOST_USER_NEED_REPLY;
	message->size = (uint32_t)size;
	err = vhost_send(front, message, fd);
	if (!err)
		err = vhost_receive(front, message, request);
	if (!err && (message->size != sizeof(uint64_t) || message->payload.u64 != 0))
		err = vhost_fail(front, -EPROTO, "the device refused message %u", request);
	return err;
}

static int vhost_set_u64(struct vhost_front *front, uint32_t request, uint64_t value)
{
	struct vhost_user_message message = {.payload.u64 = value};

	return vhost_set(front, &message, request, sizeof(value), -1);
}

static int vhost_set_state(struct vhost_front *front, uint32_t request, uint32_t q, uint32_t num)
{
	struct vhost_user_message message = {.payload.state = {.index = q, .num = num}};

	return vhost_set(front, &message, request, sizeof(message.payload.state), -1);
}

static int vhost_get_u64(struct vhost_front *front, uint32_t request, uint64_t *value)
{
	struct vhost_user_message message = {.request = request, .flags = VHOST_USER_VERSION};
	int err = vhost_send(front, &message, -1);

	if (!err)
		err = vhost_receive(front, &message, request);
	if (!err && message.size != sizeof(*value))
		err = vhost_fail(front, -EPROTO, "the reply to message %u is %u bytes long", request, message.size);
	*value = message.payload.u64;
	return err;
}

static int vhost_get_config(struct vhost_front *front)
{
	struct vhost_user_message message = {
		.request = VHOST_USER_GET_CONFIG,
		.flags = VHOST_USER_VERSION,
		.size = VHOST_USER_CONFIG_HEADER + VHOST_CONFIG_LEN,
		.payload.config.size = VHOST_CONFIG_LEN,
	};
	int err = vhost_send(front, &message, -1);

	if (!err)
		err = vhost_receive(front, &message, VHOST_USER_GET_CONFIG);
	if (!err && message.size != VHOST_USER_CONFIG_HEADER + VHOST_CONFIG_LEN)
		err = vhost_fail(front, -EPROTO, "its configuration space is %u bytes long", message.size);
	memcpy(&front->config, message.payload.config.byte, VHOST_CONFIG_LEN);
	return err;
}

static int vhost_connect(struct vhost_front *front, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = 10};

	if (strlen(path) >= sizeof(address.sun_path))
		return vhost_fail(front, -ENAMETOOLONG, "the socket's path is too long: %s", path);
	memcpy(address.sun_path, path, strlen(path));
	front->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (front->socket < 0)
		return vhost_fail(front, -errno, "socket: %m");
	setsockopt(front->socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(front->socket, (struct sockaddr *)&address, sizeof(address)) < 0)
		return vhost_fail(front, -errno, "connecting to %s: %m", path);
	return 0;
}

static int vhost_negotiate(struct vhost_front *front, uint64_t wanted)
{
	const uint64_t needed =
		VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_CONFIG;
	struct vhost_user_message message = {.request = VHOST_USER_SET_PROTOCOL_FEATURES,
					     .flags = VHOST_USER_VERSION,
					     .size = sizeof(needed),
					     .payload.u64 = needed};
	const uint64_t version_1 = 1ull << VIRTIO_F_VERSION_1;
	uint64_t offered;
	uint64_t protocol;
	uint64_t nqueues;
	int err = vhost_get_u64(front, VHOST_USER_GET_FEATURES, &offered);

	if (err)
		return err;
	if (!(offered & VHOST_USER_F_PROTOCOL_FEATURES) || !(offered & version_1))
		return vhost_fail(front, -EPROTO, "its features, 0x%llx, are too few", (unsigned long long)offered);
	err = vhost_get_u64(front, VHOST_USER_GET_PROTOCOL_FEATURES, &protocol);
	if (!err && (protocol & needed) != needed)
		err = vhost_fail(front, -EPROTO, "its protocol features, 0x%llx, are too few",
				 (unsigned long long)protocol);
	if (!err)
		err = vhost_send(front, &message, -1);
	if (!err)
		err = vhost_get_u64(front, VHOST_USER_GET_QUEUE_NUM, &nqueues);
	if (err)
		return err;
	front->nqueues = nqueues < VHOST_FRONT_QUEUES_MAX ? (uint32_t)nqueues : VHOST_FRONT_QUEUES_MAX;
	message.size = 0;
	err = vhost_set(front, &message, VHOST_USER_SET_OWNER, 0, -1);
	if (!err)
		err = vhost_get_config(front);
	front->features = offered & (wanted | version_1);
	if (!err)
		err = vhost_set_u64(front, VHOST_USER_SET_FEATURES, front->features | VHOST_USER_F_PROTOCOL_FEATURES);
	return err;
}

static int vhost_share_memory(struct vhost_front *front, uint64_t size)
{
	const struct gmem_region region = {.gpa = VHOST_FRONT_GPA, .size = size};
	struct vhost_user_message message = {
		.payload.memory = {.nregions = 1, .region = {{.gpa = VHOST_FRONT_GPA, .size = size}}},
	};
	int fd = memfd_create("driver", MFD_CLOEXEC);
	int err;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		err = vhost_fail(front, -errno, "%llu bytes of memory: %m", (unsigned long long)size);
	else if ((err = gmem_map(&front->mem, fd, &region, 1)) != 0)
		vhost_fail(front, err, "mapping %llu bytes: %s", (unsigned long long)size, strerror(-err));
	if (!err) {
		message.payload.memory.region[0].user_address = (uintptr_t)front->mem.span[0].base;
		err = vhost_set(front, &message, VHOST_USER_SET_MEM_TABLE, sizeof(message.payload.memory), fd);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

int vhost_front_open(struct vhost_front *front, const char *path, uint64_t wanted, uint64_t mem_size)
{
	uint32_t q;
	int err;

	*front = (struct vhost_front){.socket = -1};
	for (q = 0; q < VHOST_FRONT_QUEUES_MAX; q++) {
		front->kick[q] = -1;
		front->call[q] = -1;
	}
	err = vhost_connect(front, path);
	if (!err)
		err = vhost_negotiate(front, wanted);
	if (!err)
		err = vhost_share_memory(front, mem_size);
	if (err)
		vhost_front_close(front);
	return err;
}

int vhost_front_start_queue(struct vhost_front *front, uint32_t q, uint32_t num, uint64_t desc, uint64_t avail,
			    uint64_t used)
{
	struct vhost_user_message message = {
		.payload.addr = {.index = q,
				 .desc_user_addr = (uintptr_t)gmem_at(&front->mem, desc, 1),
				 .used_user_addr = (uintptr_t)gmem_at(&front->mem, used, 1),
				 .avail_user_addr = (uintptr_t)gmem_at(&front->mem, avail, 1)},
	};
	int err;

	if (q >= front->nqueues || front->kick[q] >= 0)
		return vhost_fail(front, -EINVAL, "queue %u is not to be started", q);
	front->kick[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	front->call[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (front->kick[q] < 0 || front->call[q] < 0)
		return vhost_fail(front, -errno, "eventfd: %m");
	err = vhost_set_state(front, VHOST_USER_SET_VRING_NUM, q, num);
	if (!err)
		err = vhost_set_state(front, VHOST_USER_SET_VRING_BASE, q, 0);
	if (!err)
		err = vhost_set(front, &message, VHOST_USER_SET_VRING_ADDR, sizeof(message.payload.addr), -1);
	message.payload.u64 = q;
	if (!err)
		err = vhost_set(front, &message, VHOST_USER_SET_VRING_CALL, sizeof(uint64_t), front->call[q]);
	message.payload.u64 = q;
	if (!err)
		err = vhost_set(front, &message, VHOST_USER_SET_VRING_KICK, sizeof(uint64_t), front->kick[q]);
	if (!err)
		err = vhost_set_state(front, VHOST_USER_SET_VRING_ENABLE, q, 1);
	return err;
}

void vhost_front_kick(struct vhost_front *front, uint32_t q)
{
	eventfd_write(front->kick[q], 1);
}

void vhost_front_close(struct vhost_front *front)
{
	uint32_t q;

	if (front->socket >= 0)
		close(front->socket);
	for (q = 0; q < VHOST_FRONT_QUEUES_MAX; q++) {
		if (front->kick[q] >= 0)
			close(front->kick[q]);
		if (front->call[q] >= 0)
			close(front->call[q]);
		front->kick[q] = -1;
		front->call[q] = -1;
	}
	gmem_unmap(&front->mem);
	front->socket = -1;
}
