/* SPDX-License-Identifier: MIT */
/*
 * The recent output of a console as hvisor-launch --console takes it, as root, out of the memory of a backend that
 * writes there what it wants and when: between any two looks at it, positions and bytes change, and the terminal may be
 * full without end. The input begins with that, the port, and what leads to the console; then come the changes.
 */
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

static ssize_t memory_pread(int fd, void *to, size_t size, off_t at);
static ssize_t terminal_read(int fd, void *to, size_t size);
static int no_pause(const struct timespec *pause, struct timespec *left);

#define read terminal_read
#define pread memory_pread
#define nanosleep no_pause
#include "launcher/client_recent.c"
#undef read
#undef pread
#undef nanosleep

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/fuzz/input.h"

#define PORTS 2u /* the backend has; the memory's size is the launcher's affair */

static struct input input;
static uint8_t *memory;
static size_t memory_size;
static bool flood; /* of the terminal */
static unsigned int reads; /* from it, since the last look at the memory */
static unsigned int looks; /* at the memory: not without end either */

/* A backend writes without end, or nothing. Nobody is to read on for ever before the next look at the memory. */
static ssize_t terminal_read(int fd, void *to, size_t size)
{
	(void)fd;
	INPUT_CHECK(reads++ <= TERMINAL_MAX / CHUNK);
	if (!flood) {
		errno = EAGAIN;
		return -1;
	}
	memset(to, 'x', size < 16 ? size : 16);
	return (ssize_t)size;
}

static int no_pause(const struct timespec *pause, struct timespec *left)
{
	(void)pause;
	(void)left;
	return 0;
}

/* Near the numbers at which something happens, more often than not. */
static uint64_t position(void)
{
	static const uint64_t bases[] = {0, CONSOLE_PENDING_MAX, CONSOLE_OUTPUT_SIZE, 1ull << 32, 1ull << 63, ~0ull};
	uint8_t kind = input_u8(&input);

	if (kind >= 0xf0)
		return input_u64(&input);
	return bases[kind % (sizeof(bases) / sizeof(bases[0]))] + (uint64_t)(int16_t)input_u16(&input);
}

static void memory_change(void)
{
	struct console_memory *head = (struct console_memory *)memory;
	struct console_stream *stream = &head->stream[input_u8(&input) % CONSOLE_PORTS_MAX];
	const uint8_t *bytes;
	uint64_t at;
	size_t n;

	switch (input_u8(&input) % 8) {
	case 0:
		head->nports = input_u8(&input) & 1 ? input_u32(&input) : PORTS;
		break;
	case 1:
		stream->attached = input_u8(&input);
		break;
	case 2:
		stream->attached_at = position();
		break;
	case 3:
		stream->out_start = position();
		break;
	case 4:
		stream->out_end = position();
		break;
	case 5:
		stream->out_sent = position();
		break;
	case 6:
		at = position() % memory_size;
		bytes = input_block(&input, input_u8(&input), &n);
		memcpy(memory + at, bytes, n < memory_size - at ? n : memory_size - at);
		break;
	default:
		break;
	}
}

static ssize_t memory_pread(int fd, void *to, size_t size, off_t at)
{
	unsigned int changes = input_u8(&input) % 4;

	(void)fd;
	INPUT_CHECK(looks++ < ATTACH_LIMIT_MS + DISCARD_TRIES + 4);
	INPUT_CHECK(at >= 0);
	reads = 0;
	while (changes--)
		memory_change();
	if ((size_t)at >= memory_size)
		return 0;
	if (size > memory_size - (size_t)at)
		size = memory_size - (size_t)at;
	memcpy(to, memory + at, size);
	return (ssize_t)size;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	memory_size = console_output_at(PORTS);
	memory = malloc(memory_size);
	INPUT_CHECK(memory);
	return 0;
}

static void memory_begin(void)
{
	struct console_memory *head = (struct console_memory *)memory;
	size_t i;

	memset(memory, 0, sizeof(*head));
	for (i = sizeof(*head); i < memory_size; i++)
		memory[i] = (uint8_t)(i * 31 >> 3);
	head->magic = CONSOLE_MAGIC;
	head->version = CONSOLE_VERSION;
	head->nports = PORTS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int end[2] = {-1, -1};
	uint8_t *bytes;
	uint32_t port;
	size_t len;

	input = (struct input){.at = data, .left = size};
	memory_begin();
	looks = 0;
	flood = input_u8(&input) & 1;
	port = input_u8(&input) & 0x80 ? input_u32(&input) : input_u8(&input) % CONSOLE_PORTS_MAX;
	if (input_u8(&input) & 1)
		INPUT_CHECK(openpty(&end[0], &end[1], NULL, NULL, NULL) == 0);
	else
		INPUT_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, end) == 0);
	fcntl(end[1], F_SETFL, O_NONBLOCK);
	bytes = client_recent_take(0, port, end[1], &len);
	INPUT_CHECK(bytes && len <= CONSOLE_OUTPUT_SIZE);
	free(bytes);
	close(end[0]);
	close(end[1]);
	return 0;
}
