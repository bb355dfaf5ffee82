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
#include "tests/sim/sim_internal.h"

#define ZONES 2u
#define BOARD_BASE 0x50000000u
#define BOARD_SIZE 0x20000u
#define FDS 3u
#define MESSAGE_MAX (sizeof(uint32_t) + sizeof(union argument))

static struct sim sim;
static int client; /* our end of the connection */

static const unsigned long calls[] = {
	HVISOR_INFO,          HVISOR_ZONE_SET,     HVISOR_DEVICE_ADD,    HVISOR_DEVICE_GET,
	HVISOR_DEVICE_ATTACH, HVISOR_DEVICE_OWNER, HVISOR_DEVICE_VIEW,   HVISOR_DEVICE_KICK,
	HVISOR_DEVICE_FAIL,   HVISOR_DEVICE_DEL,   HVISOR_EVENT_NEXT,    HVISOR_DEVICE_ADD,
	HVISOR_DEVICE_ADD,    HVISOR_ZONE_SET,     HVISOR_DEVICE_ATTACH, HVISOR_ZONE_START,
};

union argument {
	struct hvisor_info info;
	struct hvisor_zone_set zone_set;
	struct hvisor_device_add add;
	struct hvisor_device_get get;
	struct hvisor_device_attach attach;
	struct hvisor_device_owner owner;
	struct hvisor_device_view view;
	struct hvisor_device_kick kick;
	struct hvisor_device_fail fail;
	struct hvisor_device_del del;
	struct hvisor_event_next event;
	uint8_t bytes[4096];
};

struct message {
	uint32_t cmd; /* of the answer: the error */
	union argument argument;
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

/* An address of the board, or a number that has nothing to do with it. */
static uint64_t address(struct input *input)
{
	uint8_t kind = input_u8(input);

	if (kind >= 0xf0)
		return input_u64(input);
	return BOARD_BASE + (kind & 63u) * 0x1000u + (kind & 64 ? 0x200 : 0);
}

static void zone_set_make(struct hvisor_zone_set *set, struct input *input)
{
	uint32_t i;

	set->zone = input_u8(input) % (ZONES + 2);
	set->nmemory = input_u8(input) % (HVISOR_MEMORY_MAX + 2);
	for (i = 0; i < set->nmemory && i < HVISOR_MEMORY_MAX; i++) {
		set->memory[i].zone0_ipa = address(input);
		set->memory[i].zonex_ipa = address(input);
		set->memory[i].size = input_u8(input) & 1 ? input_u64(input) : 0x1000u * (1 + input_u8(input) % 8);
	}
}

static void add_make(struct hvisor_device_add *add, struct input *input)
{
	uint8_t kind = input_u8(input);

	add->zone = 1 + (kind & 1);
	add->irq = input_u8(input) % 8;
	add->base = kind & 2 ? address(input) : 0xa003000 + input_u8(input) % 8 * 0x200u;
	add->size = kind & 4 ? input_u64(input) : 0x200;
	add->device_id = 1 + input_u8(input) % 4;
	add->nqueues = kind & 8 ? input_u32(input) : 1 + input_u8(input) % 4;
	add->queue_size_max = kind & 16 ? input_u32(input) : 16;
	add->config_len = kind & 32 ? input_u32(input) : input_u8(input);
	add->features = kind & 64 ? input_u64(input) : VMMIO_F_VERSION_1;
	memcpy(add->name, "blk0", 5);
	if (kind & 128)
		memset(add->name, 'x', sizeof(add->name));
}

static void argument_make(unsigned long cmd, union argument *argument, struct input *input)
{
	const uint8_t *bytes;
	size_t got;

	memset(argument, 0, sizeof(*argument));
	switch (cmd) {
	case HVISOR_ZONE_SET:
		zone_set_make(&argument->zone_set, input);
		break;
	case HVISOR_DEVICE_ADD:
		add_make(&argument->add, input);
		break;
	default:
		/* An id is the first number of all others. */
		argument->get.id = input_u8(input) % 8;
		bytes = input_block(input, input_u8(input) % 16, &got);
		memcpy(argument->bytes + sizeof(argument->get.id), bytes, got);
		break;
	}
	/* Whoever is named may be killed: nobody is. */
	if (cmd == HVISOR_DEVICE_OWNER && argument->owner.pid > 0)
		argument->owner.pid = INT32_MAX;
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
	unsigned long cmd = calls[which % (sizeof(calls) / sizeof(calls[0]))];
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
	argument_make(cmd, &message.argument, input);
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
	for (z = 1; z <= ZONES; z++)
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
