/* SPDX-License-Identifier: MIT */
#include "launcher/client_recent.h"

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/console.h"

#define ATTACH_LIMIT_MS 1000 /* for the backend to see that we have come */
#define DISCARD_TRIES 1000
#define CHUNK 4096
#define TERMINAL_MAX (1u << 20) /* more than the kernel keeps of a pseudoterminal (drivers/tty/tty_buffer.c) */

/* Where recent output is, and what it is the recent output of. */
struct recent {
	int memory_fd; /* -1: nowhere */
	uint32_t port;
	int fd; /* the terminal or socket */
};

/* The positions of the port as they are now; false if the memory is none of this version. */
static bool memory_look(const struct recent *recent, struct console_stream *stream)
{
	struct console_memory memory;

	if (recent->memory_fd < 0 || pread(recent->memory_fd, &memory, sizeof(memory), 0) != sizeof(memory) ||
	    memory.magic != CONSOLE_MAGIC || memory.version != CONSOLE_VERSION || recent->port >= memory.nports ||
	    recent->port >= CONSOLE_PORTS_MAX)
		return false;
	*stream = memory.stream[recent->port];
	return true;
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

/* Until the backend has seen that we have come: from then on, output comes to us too. */
static bool await_attached(const struct recent *recent, struct console_stream *stream)
{
	int ms;

	for (ms = 0; ms < ATTACH_LIMIT_MS; ms++) {
		if (!memory_look(recent, stream) || stream->attached)
			return stream->attached;
		pause_ms(1);
	}
	return false;
}

/* Throws away what waits in the terminal, and no more than that can be: a backend could write without end. */
static void discard(const struct recent *recent)
{
	uint8_t bytes[CHUNK];
	size_t discarded = 0;
	ssize_t n = 1;

	while (n > 0 && discarded < TERMINAL_MAX) {
		n = read(recent->fd, bytes, sizeof(bytes));
		discarded += n > 0 ? (size_t)n : 0;
	}
}

/*
 * Up to which position the recent output does not come by itself. What waits in a terminal, perhaps since another
 * reader has left, is thrown away, since it is recent output too: if nothing was sent while it was found empty, what
 * comes begins there. A connection has nothing of before.
 */
static uint64_t recent_end(const struct recent *recent, struct console_stream *stream)
{
	struct console_stream before;
	int tries;

	if (!await_attached(recent, stream))
		return stream->out_sent;
	if (!isatty(recent->fd))
		return stream->attached_at;
	for (tries = 0; tries < DISCARD_TRIES; tries++) {
		before = *stream;
		discard(recent);
		if (!memory_look(recent, stream) || stream->out_sent == before.out_sent)
			break;
	}
	return stream->out_sent;
}

bool client_recent_attached(int memory_fd, uint32_t port)
{
	const struct recent recent = {.memory_fd = memory_fd, .port = port, .fd = -1};
	struct console_stream stream;

	return memory_look(&recent, &stream) && stream.attached;
}

/*
 * Numbers and bytes are a backend's: no more than a buffer full is shown, whatever they say. The positions are looked
 * at again behind the bytes: what was used anew meanwhile is left out.
 */
uint8_t *client_recent_take(int memory_fd, uint32_t port, int fd, size_t *len)
{
	const struct recent recent = {.memory_fd = memory_fd, .port = port, .fd = fd};
	struct console_stream stream = {0};
	uint8_t *ring = malloc(CONSOLE_OUTPUT_SIZE);
	uint8_t *bytes = malloc(CONSOLE_OUTPUT_SIZE);
	uint64_t oldest, end, at;
	size_t n = 0;

	if (!ring || !bytes || !memory_look(&recent, &stream))
		goto out;
	end = recent_end(&recent, &stream);
	if (pread(memory_fd, ring, CONSOLE_OUTPUT_SIZE, (off_t)console_output_at(port)) != CONSOLE_OUTPUT_SIZE ||
	    !memory_look(&recent, &stream))
		goto out;
	/* As much as may come in between is kept apart from what is shown. */
	oldest = stream.out_end > CONSOLE_PENDING_MAX ? stream.out_end - CONSOLE_PENDING_MAX : 0;
	for (at = oldest; at < end && n < CONSOLE_OUTPUT_SIZE; at++)
		bytes[n++] = ring[at % CONSOLE_OUTPUT_SIZE];
out:
	free(ring);
	*len = n;
	return bytes;
}
