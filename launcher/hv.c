/* SPDX-License-Identifier: MIT */
#include "launcher/hv.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HV_SIM "sim:"
#define HV_FDS_MAX 3
#define HV_ARGUMENT_MAX 2048

_Static_assert(sizeof(struct hvisor_zone_list) <= HV_ARGUMENT_MAX, "the longest argument");

/* Where the descriptors of a call are in its structure: those that go to the device side, and those that come back. */
struct hv_fds {
	unsigned long cmd;
	uint8_t nin;
	uint8_t nout;
	size_t in[HV_FDS_MAX];
	size_t out[HV_FDS_MAX];
};

static const struct hv_fds hv_fds[] = {
	{.cmd = HVISOR_INFO, .nin = 1, .in = {offsetof(struct hvisor_info, event_fd)}},
	{.cmd = HVISOR_DEVICE_ATTACH,
	 .nin = 2,
	 .nout = 3,
	 .in = {offsetof(struct hvisor_device_attach, kick_fd), offsetof(struct hvisor_device_attach, call_fd)},
	 .out = {offsetof(struct hvisor_device_attach, attachment_fd), offsetof(struct hvisor_device_attach, region_fd),
		 offsetof(struct hvisor_device_attach, memory_fd)}},
	{.cmd = HVISOR_DEVICE_VIEW, .nout = 1, .out = {offsetof(struct hvisor_device_view, region_fd)}},
};

static const struct hv_fds hv_no_fds;

union hv_control {
	char bytes[CMSG_SPACE(HV_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

static const struct hv_fds *hv_fds_of(unsigned long cmd)
{
	size_t i;

	for (i = 0; i < sizeof(hv_fds) / sizeof(hv_fds[0]); i++) {
		if (hv_fds[i].cmd == cmd)
			return &hv_fds[i];
	}
	return &hv_no_fds;
}

static int32_t *hv_fd_at(void *argument, size_t offset)
{
	return (int32_t *)(void *)((char *)argument + offset);
}

static int hv_send(int fd, uint32_t cmd, void *argument, size_t size, const struct hv_fds *fds)
{
	struct iovec iov[2] = {{&cmd, sizeof(cmd)}, {argument, size}};
	union hv_control control = {0};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	int list[HV_FDS_MAX];
	size_t n = 0;
	size_t i;

	for (i = 0; i < fds->nin; i++) {
		if (*hv_fd_at(argument, fds->in[i]) >= 0)
			list[n++] = *hv_fd_at(argument, fds->in[i]);
	}
	if (n) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.align), list, n * sizeof(int));
	}
	while (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Takes the descriptors of a message into list, which has room for HV_FDS_MAX; returns how many there are. */
static size_t hv_received_fds(struct msghdr *msg, int *list)
{
	struct cmsghdr *cmsg;
	size_t n;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(list, CMSG_DATA(cmsg), n * sizeof(int));
		return n;
	}
	return 0;
}

static int hv_receive(int fd, void *argument, size_t size, const struct hv_fds *fds)
{
	int32_t error = 0;
	struct iovec iov[2] = {{&error, sizeof(error)}, {argument, size}};
	union hv_control control = {0};
	struct msghdr msg = {
		.msg_iov = iov, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	int list[HV_FDS_MAX];
	size_t taken = 0;
	size_t nlist;
	ssize_t n;
	size_t i;

	while ((n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	nlist = hv_received_fds(&msg, list);
	if (n == 0)
		error = -ECONNRESET;
	else if (msg.msg_flags & MSG_CTRUNC)
		error = -EMFILE;
	else if ((size_t)n < sizeof(error) || (error == 0 && (size_t)n != sizeof(error) + size))
		error = -EPROTO;
	for (i = 0; error == 0 && i < fds->nout; i++) {
		int32_t *out = hv_fd_at(argument, fds->out[i]);

		if (*out < 0)
			continue;
		if (taken == nlist)
			error = -EPROTO;
		else
			*out = list[taken++];
	}
	/* What nobody asked for; all of them when the call failed. */
	for (i = error ? 0 : taken; i < nlist; i++)
		close(list[i]);
	return error > 0 ? -EPROTO : error;
}

static int hv_call_sim(struct hv *hv, unsigned long cmd, void *argument)
{
	const struct hv_fds *fds = hv_fds_of(cmd);
	size_t size = _IOC_SIZE(cmd);
	union {
		char bytes[HV_ARGUMENT_MAX];
		uint64_t align;
	} copy;
	int error;
	size_t i;

	if (size > sizeof(copy.bytes))
		return -E2BIG;
	memcpy(copy.bytes, argument, size);
	for (i = 0; i < fds->nout; i++)
		*hv_fd_at(copy.bytes, fds->out[i]) = -1;
	error = hv_send(hv->fd, (uint32_t)cmd, copy.bytes, size, fds);
	if (error == 0)
		error = hv_receive(hv->fd, copy.bytes, size, fds);
	if (error)
		return error;
	/* The caller's descriptors have other numbers over there. */
	for (i = 0; i < fds->nin; i++)
		*hv_fd_at(copy.bytes, fds->in[i]) = *hv_fd_at(argument, fds->in[i]);
	memcpy(argument, copy.bytes, size);
	return 0;
}

int hv_call(struct hv *hv, unsigned long cmd, void *argument)
{
	int result;

	if (hv->simulated)
		return hv_call_sim(hv, cmd, argument);
	do
		result = ioctl(hv->fd, cmd, argument);
	while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

static int hv_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

static int hv_greet(struct hv *hv)
{
	struct hvisor_info info = {.event_fd = hv->event_fd};
	int error = hv_call(hv, HVISOR_INFO, &info);

	if (error)
		return error;
	if (info.abi_version != HVISOR_ABI_VERSION)
		return -EPROTO;
	memcpy(hv->name, info.name, sizeof(hv->name));
	hv->name[sizeof(hv->name) - 1] = '\0';
	return 0;
}

int hv_open(struct hv *hv, const char *where)
{
	int error;

	*hv = (struct hv){.fd = -1, .event_fd = -1};
	hv->simulated = strncmp(where, HV_SIM, strlen(HV_SIM)) == 0;
	hv->fd = hv->simulated ? hv_connect(where + strlen(HV_SIM)) : open(where, O_RDWR | O_CLOEXEC);
	if (hv->fd < 0)
		return hv->simulated ? hv->fd : -errno;
	hv->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = hv->event_fd < 0 ? -errno : hv_greet(hv);
	if (error)
		hv_close(hv);
	return error;
}

const char *hv_open_why(int error)
{
	switch (error) {
	case -EPROTO:
		return "it speaks another version of the protocol; use the launcher and module of one release";
	case -ENOENT:
		return "it is not there; is the module loaded (modprobe hvisor)?";
	case -EPERM:
	case -EACCES:
		return "not allowed; run as root";
	case -ECONNREFUSED:
		return "nobody listens there; is the simulator running?";
	default:
		return strerror(-error);
	}
}

void hv_close(struct hv *hv)
{
	if (hv->event_fd >= 0)
		close(hv->event_fd);
	if (hv->fd >= 0)
		close(hv->fd);
	hv->event_fd = -1;
	hv->fd = -1;
}

int hv_event(struct hv *hv, struct hvisor_event_next *event)
{
	int error;

	memset(event, 0, sizeof(*event));
	error = hv_call(hv, HVISOR_EVENT_NEXT, event);
	if (error == -EAGAIN)
		return 0;
	return error ? error : 1;
}
