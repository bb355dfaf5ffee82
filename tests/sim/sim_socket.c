/* SPDX-License-Identifier: MIT */
/* The Unix socket by which the launcher reaches the simulator: the head comment of kmod/hvisor_uapi.h. */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIM_FDS_MAX 8 /* more than any call has: one too many must be seen */

/* The number and the structure are next to each other in the message, not here. */
struct sim_message {
	union {
		uint32_t cmd; /* of a call */
		int32_t error; /* of an answer */
	};
	union {
		struct hvisor_zone_set zone_set;
		struct hvisor_device_add device_add;
		struct hvisor_device_get device_get;
		struct hvisor_device_attach device_attach;
		uint8_t bytes[4096];
	} argument;
};

union sim_control {
	struct cmsghdr header;
	uint8_t bytes[CMSG_SPACE(SIM_FDS_MAX * sizeof(int))];
};

int sim_listen(struct sim *sim, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	strcpy(sim->path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		error = -errno;
		close(fd);
		return error;
	}
	sim->listen.fd = fd;
	return listen(fd, 16) == 0 ? sim_watch(sim, &sim->listen, EPOLLIN) : -errno;
}

void sim_accept(struct sim *sim)
{
	struct sim_connection *connection;
	int fd = accept4(sim->listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	connection = calloc(1, sizeof(*connection));
	if (!connection) {
		close(fd);
		return;
	}
	connection->source = (struct sim_source){SIM_SOURCE_CONNECTION, fd, connection};
	connection->next = sim->connections;
	sim->connections = connection;
	if (sim_watch(sim, &connection->source, EPOLLIN) != 0)
		sim_connection_close(sim, connection);
}

void sim_connection_close(struct sim *sim, struct sim_connection *connection)
{
	struct sim_connection **link = &sim->connections;

	while (*link != connection)
		link = &(*link)->next;
	*link = connection->next;
	sim_unwatch(sim, &connection->source);
	free(connection);
}

/* Bytes received, fds and *nfds filled; 0: the other end is gone; -EAGAIN; -EMSGSIZE with fds to be closed all the
 * same. */
static ssize_t sim_receive(int fd, struct sim_message *message, int *fds, uint32_t *nfds)
{
	union sim_control control;
	struct iovec iov[2] = {{&message->cmd, sizeof(message->cmd)}, {&message->argument, sizeof(message->argument)}};
	struct msghdr header = {
		.msg_iov = iov, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *part;
	ssize_t n;

	*nfds = 0;
	n = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	part = CMSG_FIRSTHDR(&header);
	if (part && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
		*nfds = (uint32_t)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(part), *nfds * sizeof(int));
	}
	return header.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : n;
}

/* size bytes of the structure */
static bool sim_send(int fd, struct sim_message *message, size_t size, const int *fds, uint32_t nfds)
{
	union sim_control control;
	struct iovec iov[2] = {{&message->error, sizeof(message->error)}, {&message->argument, size}};
	struct msghdr header = {.msg_iov = iov, .msg_iovlen = 2};
	struct cmsghdr *part;

	if (nfds) {
		memset(&control, 0, sizeof(control));
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(part), fds, nfds * sizeof(int));
	}
	return sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)(sizeof(message->error) + size);
}

/* Puts the received descriptors where the structure has a place for them. */
static int sim_place_fds(const struct sim_call_shape *shape, struct sim_message *message, const int *fds, uint32_t nfds)
{
	uint32_t used = 0;
	uint32_t i;
	int fd;

	for (i = 0; i < shape->nin; i++) {
		memcpy(&fd, message->argument.bytes + shape->in[i], sizeof(fd));
		if (fd == -1)
			continue;
		if (used == nfds)
			return -EBADF;
		memcpy(message->argument.bytes + shape->in[i], &fds[used++], sizeof(fd));
	}
	return used == nfds ? 0 : -EBADF;
}

static int sim_handle(struct sim *sim, const struct sim_call_shape *shape, struct sim_message *message, ssize_t n,
		      const int *fds, uint32_t nfds)
{
	int error;

	if (!shape)
		return -ENOTTY;
	if ((size_t)n != sizeof(message->cmd) + shape->size)
		return -EINVAL;
	error = sim_place_fds(shape, message, fds, nfds);
	return error ? error : sim_call_locked(sim, message->cmd, message->argument.bytes);
}

/* Answers: only descriptors that are "out" travel, all other descriptor fields are -1. */
static bool sim_answer(int fd, const struct sim_call_shape *shape, struct sim_message *message, int error)
{
	const int none = -1;
	uint32_t nout = 0;
	int out[3];
	uint32_t i;
	bool sent;

	for (i = 0; shape && i < shape->nin; i++)
		memcpy(message->argument.bytes + shape->in[i], &none, sizeof(none));
	for (i = 0; shape && i < shape->nout; i++) {
		if (error)
			memcpy(message->argument.bytes + shape->out[i], &none, sizeof(none));
		else
			memcpy(&out[nout++], message->argument.bytes + shape->out[i], sizeof(int));
	}
	message->error = error;
	sent = sim_send(fd, message, shape ? shape->size : 0, out, nout);
	for (i = 0; i < nout; i++)
		close(out[i]);
	return sent;
}

void sim_connection_serve(struct sim *sim, struct sim_connection *connection)
{
	const struct sim_call_shape *shape = NULL;
	struct sim_message message;
	int fds[SIM_FDS_MAX];
	uint32_t nfds;
	ssize_t n;
	uint32_t i;
	int error = -EINVAL;

	memset(&message, 0, sizeof(message));
	n = sim_receive(connection->source.fd, &message, fds, &nfds);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n >= (ssize_t)sizeof(message.cmd)) {
		shape = sim_call_shape(message.cmd);
		error = sim_handle(sim, shape, &message, n, fds, nfds);
	}
	for (i = 0; i < nfds; i++)
		close(fds[i]);
	if ((n <= 0 && n != -EMSGSIZE) || !sim_answer(connection->source.fd, shape, &message, error))
		sim_connection_close(sim, connection);
}
