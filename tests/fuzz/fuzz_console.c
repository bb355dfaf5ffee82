/* SPDX-License-Identifier: MIT */
/*
 * hvisor-console over a whole life (life.h): the input begins with its ports. A port is a connection, whose other end
 * is here, a file, or a pseudoterminal. The console's memory outlives the backend, and a hostile one leaves there what
 * it wants.
 */
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define main console_main
int console_main(int argc, char **argv);
#include "backends/console.c"
#undef main

#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/life.h"

#define PORTS_MAX 3u

static struct options {
	uint32_t nports;
	const char *port[PORTS_MAX];
	bool named;
} options;

static struct world {
	int far[PORTS_MAX]; /* the other end of a port's connection; -1: it is none, or gone */
	int terminal; /* the other side of the pseudoterminal; -1: nobody has it open */
	int log[2];
	int pipe[2];
} world;

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void port_make(uint32_t port, uint8_t kind)
{
	static const char *const sockets[] = {"socket,connected", "socket,connected,log", "socket,connected,console",
					      "socket"};
	static const char *const files[] = {"file", "file,log", "file,console", "file,console,log"};
	static const char *const terminals[] = {"pty", "pty,log", "pty,console", "pty,console,log"};
	int ends[2];
	int fd;

	if (kind & 4) {
		options.port[port] = files[kind & 3];
		life_fd_put(memfd_create("file", MFD_CLOEXEC), CONSOLE_FD(port));
	} else if ((kind & 8) && port == 0) {
		options.port[port] = terminals[kind & 3];
		fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		INPUT_CHECK(fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0);
		life_fd_put(fd, CONSOLE_FD(port));
	} else {
		options.port[port] = sockets[kind & 3];
		INPUT_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
		life_fd_put(ends[0], CONSOLE_FD(port));
		world.far[port] = ends[1];
	}
}

static void console_make(struct life *life, uint8_t *config, uint8_t *writable)
{
	uint8_t kind = input_u8(&life->input);
	struct virtio_console_config console = {.cols = htole16(80), .rows = htole16(25)};
	const size_t emerg_wr = offsetof(struct virtio_console_config, emerg_wr);
	uint32_t i;
	bool multiport;

	options.nports = 1 + (kind & 3) % PORTS_MAX;
	options.named = kind & 4;
	multiport = options.nports > 1 || kind & 8;
	console.max_nr_ports = htole32(options.nports);
	for (i = 0; i < options.nports; i++)
		port_make(i, input_u8(&life->input));
	life_fd_put(memfd_create("memory", MFD_CLOEXEC), CONSOLE_FD(CONSOLE_PLACE_MEMORY));
	INPUT_CHECK(ftruncate(CONSOLE_FD(CONSOLE_PLACE_MEMORY), (off_t)console_output_at(options.nports)) == 0);
	INPUT_CHECK(pipe2(world.pipe, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(world.log, O_CLOEXEC | O_NONBLOCK) == 0);
	life_fd_put(world.pipe[0], CONSOLE_FD(CONSOLE_PLACE_PIPE));
	life_fd_put(world.pipe[1], CONSOLE_FD(CONSOLE_PLACE_PIPE_IN));
	for (i = 0; i < options.nports; i++)
		INPUT_CHECK(dup2(world.log[1], CONSOLE_FD(CONSOLE_PLACE_LOG + i)) >= 0);
	close_one(&world.log[1]);

	life->shape.nqueues = multiport ? CONSOLE_NQUEUES_MULTIPORT(options.nports) : CONSOLE_NQUEUES;
	life->shape.config_len = sizeof(console);
	life->shape.device_features = 1ull << VIRTIO_CONSOLE_F_SIZE | 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE |
				      (uint64_t)multiport << VIRTIO_CONSOLE_F_MULTIPORT | VMMIO_F_INDIRECT_DESC |
				      VMMIO_F_EVENT_IDX | VMMIO_F_VERSION_1 | VMMIO_F_RING_RESET;
	memcpy(config, &console, sizeof(console));
	for (i = 0; i < sizeof(console.emerg_wr); i++)
		writable[(emerg_wr + i) / 8] |= (uint8_t)(1u << (emerg_wr + i) % 8);
}

static void world_end(void)
{
	uint32_t i;

	for (i = 0; i < PORTS_MAX; i++)
		close_one(&world.far[i]);
	close_one(&world.terminal);
	close_one(&world.log[0]);
}

static void console_begin(struct life *life)
{
	uint32_t i;

	memset(&device, 0, sizeof(device));
	backend.device = &device;
	for (i = 0; i < options.nports; i++) {
		INPUT_CHECK(life->type->ops->option(&backend, "port", options.port[i]) == 0);
		if (options.named)
			INPUT_CHECK(life->type->ops->option(&backend, "port_name", "a port of the fuzzer's") == 0);
	}
}

static void console_gone(struct life *life)
{
	uint8_t kind = input_u8(&life->input);
	uint8_t *memory = (void *)device.memory;

	for (; kind > 250; kind--) {
		life_scribble(&life->input, memory, sizeof(struct console_memory));
		life->wild = true;
	}
	munmap(memory, console_output_at(options.nports));
}

static void request_control(struct life *life, uint32_t q)
{
	uint8_t kind = input_u8(&life->input);
	struct virtio_console_control control = {
		.id = htole32(kind & 3),
		.event = htole16(kind >> 2 & 7),
		.value = htole16(kind >> 5 & 1),
	};

	life_chain_begin(life);
	if (q == CONSOLE_QUEUE_CONTROL_TX)
		life_chain_add(life, false, kind & 64 ? kind & 7 : sizeof(control), &control, sizeof(control));
	else
		life_chain_add(life, true, kind & 64 ? kind & 63 : 128, NULL, 0);
	life_chain_send(life, q);
}

static void console_request(struct life *life, uint32_t q)
{
	uint8_t kind;

	if (life->accepted & (1ull << VIRTIO_CONSOLE_F_MULTIPORT) && is_control_queue(q)) {
		request_control(life, q);
		return;
	}
	kind = input_u8(&life->input);
	life_chain_begin(life);
	life_chain_add(life, q % 2 == 0, kind & 128 ? (kind & 63) * 1024u + 1 : 1 + (kind & 63u), NULL, 0);
	life_chain_send(life, q);
}

/* Whoever is at the other end of a port says something, listens, comes or goes. */
static void console_peer(struct life *life)
{
	static char bytes[70000];
	uint8_t kind = input_u8(&life->input);
	uint32_t port = (kind & 3) % options.nports;
	int *far = &world.far[port];
	struct winsize size = {.ws_col = kind, .ws_row = 25};
	char path[64];

	if (port == 0 && *options.port[0] == 'p')
		far = &world.terminal;
	switch (kind >> 2 & 7) {
	case 0:
	case 1:
		if (*far >= 0)
			(void)!write(*far, bytes, kind & 128 ? sizeof(bytes) : 1 + (kind >> 5));
		break;
	case 2:
	case 3:
		if (*far >= 0)
			(void)!read(*far, bytes, kind & 128 ? sizeof(bytes) : 100);
		break;
	case 4:
		(void)!read(world.log[0], bytes, kind & 128 ? sizeof(bytes) : 100);
		break;
	case 5:
		close_one(far);
		break;
	case 6:
		if (far == &world.terminal && *far < 0 && ptsname_r(CONSOLE_FD(0), path, sizeof(path)) == 0)
			*far = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		break;
	default:
		if (far == &world.terminal)
			(void)ioctl(CONSOLE_FD(0), TIOCSWINSZ, &size);
		else if (kind & 128)
			close_one(&world.log[0]);
		else if (*far >= 0)
			(void)shutdown(*far, SHUT_WR);
		window_changed = 1;
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	life_init_process();
	life_fd_put(inotify_init1(IN_NONBLOCK | IN_CLOEXEC), CONSOLE_FD(CONSOLE_PLACE_NEWS));
	world = (struct world){{-1, -1, -1}, -1, {-1, -1}, {-1, -1}};
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct life_type type = {
		.backend = &backend,
		.ops = &console_ops,
		.make = console_make,
		.begin = console_begin,
		.gone = console_gone,
		.request = console_request,
		.peer = console_peer,
	};
	static struct life life;

	life_run(&life, &type, data, size);
	world_end();
	return 0;
}
