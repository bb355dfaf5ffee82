/* SPDX-License-Identifier: MIT */
/*
 * The calls of kmod/hvisor_uapi.h, as the simulator takes them from its socket: messages of any length with any
 * structure and descriptors. What is accepted keeps to what the header promises: no zone has memory that the board
 * does not give it, no two windows or interrupts of a zone are the same, and no descriptor is lost.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/input.h"
#include "tests/fuzz/ioctl_script.h"
#include "tests/sim/sim_internal.h"

#define BOARD_BASE IOCTL_SCRIPT_BOARD
#define BOARD_SIZE 0x20000u
#define FDS 3u
#define MESSAGE_MAX (sizeof(uint32_t) + sizeof(union ioctl_argument))

static struct sim sim;
static int client; /* our end of the connection */

struct message {
	uint32_t cmd; /* of the answer: the error */
	union ioctl_argument argument;
};

/* Bytes of a message with so many of the argument: in it, the two follow each other. */
static size_t message_iov(struct iovec iov[2], struct message *message, size_t size)
{
	iov[0] = (struct iovec){&message->cmd, size < sizeof(message->cmd) ? size : sizeof(message->cmd)};
	iov[1] = (struct iovec){&message->argument, size - iov[0].iov_len};
	return 2;
}

/* The lowest descriptor that is free, which tells of one that was not closed. */
static int fd_free(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static void send_message(struct message *message, size_t size, const int *fds, size_t nfds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(16 * sizeof(int))];
	} control = {0};
	struct iovec iov[2];
	struct msghdr header = {.msg_iov = iov, .msg_iovlen = message_iov(iov, message, size)};

	if (nfds > 0) {
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(nfds * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), fds, nfds * sizeof(int));
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	(void)!sendmsg(client, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Takes the answer, if there is one; an attachment is held until the next. */
static void take_answer(unsigned long cmd, int *held)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct message message;
	struct iovec iov[2];
	struct msghdr header = {.msg_iov = iov,
				.msg_iovlen = message_iov(iov, &message, MESSAGE_MAX),
				.msg_control = &control,
				.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(client, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *part;
	size_t i, nfds = 0;
	int fds[8];

	/* None, or the connection was ended, as for an empty message. */
	if (n <= 0)
		return;
	INPUT_CHECK(n >= (ssize_t)sizeof(message.cmd) && (int32_t)message.cmd <= 0);
	part = CMSG_FIRSTHDR(&header);
	if (part) {
		nfds = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(part), nfds * sizeof(int));
	}
	INPUT_CHECK(nfds == (message.cmd != 0              ? 0
			     : cmd == HVISOR_DEVICE_ATTACH ? 3
			     : cmd == HVISOR_DEVICE_VIEW   ? 1
							   : 0));
	for (i = 0; i < nfds; i++) {
		if (i == 0 && cmd == HVISOR_DEVICE_ATTACH) {
			if (*held >= 0)
				close(*held);
			*held = fds[i];
		} else {
			close(fds[i]);
		}
	}
}

static void call(struct sim_connection **connection, struct input *input, int *held)
{
	uint8_t which = input_u8(input);
	uint8_t how = input_u8(input);
	unsigned long cmd = ioctl_script_number(which);
	const struct sim_call_shape *shape = sim_call_shape((uint32_t)cmd);
	struct message message = {.cmd = (uint32_t)cmd};
	int fds[FDS] = {-1, -1, client};
	size_t nfds = shape ? shape->nin : 0;
	size_t size = sizeof(message.cmd) + (shape ? shape->size : 8);
	int ends[2];

	if (!*connection) {
		INPUT_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
		close(client);
		client = ends[0];
		*connection = calloc(1, sizeof(**connection));
		INPUT_CHECK(*connection != NULL);
		(*connection)->source = (struct sim_source){SIM_SOURCE_CONNECTION, ends[1], *connection};
		(*connection)->next = sim.connections;
		sim.connections = *connection;
	}
	ioctl_script_argument(cmd, &message.argument, input);
	if (how & 64)
		size = input_u16(input) % (MESSAGE_MAX + 1);
	if (how & 32)
		nfds = how & 3;
	fds[0] = eventfd(0, EFD_CLOEXEC);
	fds[1] = how & 16 ? dup(client) : eventfd(0, EFD_CLOEXEC);
	send_message(&message, size, fds, nfds);
	close(fds[0]);
	close(fds[1]);
	sim_connection_serve(&sim, *connection);
	if (sim.connections != *connection)
		*connection = NULL;
	take_answer(cmd, held);
}

static bool board_has(const struct sim_zone *zone, const struct hvisor_memory *memory)
{
	uint32_t i;

	for (i = 0; i < zone->nboard; i++) {
		if (memory->zonex_ipa >= zone->board[i].zonex_ipa && memory->size <= zone->board[i].size &&
		    memory->zonex_ipa - zone->board[i].zonex_ipa <= zone->board[i].size - memory->size &&
		    memory->zonex_ipa - zone->board[i].zonex_ipa == memory->zone0_ipa - zone->board[i].zone0_ipa)
			return true;
	}
	return false;
}

static void zones_check(void)
{
	uint32_t z, i, j;

	for (z = 0; z < HVISOR_ZONES_MAX; z++) {
		const struct sim_zone *zone = &sim.zone[z];

		if (!zone->declared)
			continue;
		INPUT_CHECK(zone->exists && zone->set.nmemory >= 1 && zone->set.nmemory <= HVISOR_MEMORY_MAX);
		for (i = 0; i < zone->set.nmemory; i++) {
			const struct hvisor_memory *a = &zone->set.memory[i];

			INPUT_CHECK(a->size > 0 && board_has(zone, a));
			for (j = 0; j < i; j++) {
				const struct hvisor_memory *b = &zone->set.memory[j];

				INPUT_CHECK(a->zonex_ipa + a->size <= b->zonex_ipa ||
					    b->zonex_ipa + b->size <= a->zonex_ipa);
			}
		}
	}
}

static void windows_check(void)
{
	const struct sim_device *a, *b;

	for (a = sim.devices; a; a = a->next) {
		if (a->deleted)
			continue;
		INPUT_CHECK(sim.zone[a->add.zone].declared && a->add.irq < SIM_IRQS);
		INPUT_CHECK(a->add.size >= VMMIO_WINDOW_MIN && a->add.base + a->add.size - 1 >= a->add.base);
		for (b = a->next; b; b = b->next) {
			if (b->deleted || b->add.zone != a->add.zone)
				continue;
			INPUT_CHECK(a->id != b->id && a->add.irq != b->add.irq);
			INPUT_CHECK(a->add.base + a->add.size <= b->add.base ||
				    b->add.base + b->add.size <= a->add.base);
		}
	}
}

static void board_make(void)
{
	static const struct hvisor_memory memory[2] = {
		{.zone0_ipa = BOARD_BASE, .zonex_ipa = BOARD_BASE, .size = BOARD_SIZE},
		{.zone0_ipa = BOARD_BASE + 0x30000, .zonex_ipa = BOARD_BASE + 0x30000, .size = 0x8000},
	};
	uint32_t z;

	memset(&sim, 0, sizeof(sim));
	sim.root_ram = (struct sim_range){BOARD_BASE + 0x34000, 0x2000};
	INPUT_CHECK(sim_start(&sim, NULL) == 0);
	for (z = 1; z <= IOCTL_SCRIPT_ZONES; z++)
		INPUT_CHECK(sim_zone_add(&sim, z, memory, 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.at = data, .left = size};
	struct sim_connection *connection = NULL;
	int before = fd_free();
	int held = -1;
	uint8_t op;

	client = dup(STDIN_FILENO);
	board_make();
	pthread_mutex_lock(&sim.lock);
	while (input.left > 0) {
		op = input_u8(&input);
		if (op % 8 == 7 && held >= 0) {
			close(held);
			held = -1;
		} else if (op % 8 == 6) {
			pthread_mutex_unlock(&sim.lock);
			sim_mmio_read(&sim, 1 + op / 128, 1, 0xa003000 + op / 8 % 16 * 0x80u, 4);
			pthread_mutex_lock(&sim.lock);
		} else {
			call(&connection, &input, &held);
		}
		zones_check();
		windows_check();
	}
	pthread_mutex_unlock(&sim.lock);
	close(client);
	if (held >= 0)
		close(held);
	sim_stop(&sim);
	INPUT_CHECK(fd_free() == before);
	return 0;
}
