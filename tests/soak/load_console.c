/* SPDX-License-Identifier: MIT */
/*
 * A console: streams of numbered records both ways, of which no byte may be lost or come twice. Where the driver reset
 * the device, what was in its buffers may be missing, but nothing that was there may come again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/core_os.h"
#include "tests/sim/guest_console.h"
#include "tests/soak/soak.h"
#include "tests/test.h"

#define RECORD 8u
#define PIECE (100u * RECORD) /* that is given at once */
#define RX_SIZE 512u
#define FINISH_MS 60000

enum {
	TO_HOST,
	TO_GUEST
};

struct stream {
	uint64_t given; /* records */
	uint64_t taken; /* or lost */
	uint8_t part[RECORD]; /* of a record that has not come whole */
	uint32_t len;
	uint64_t gap_until; /* of the records before this some may be missing, */
	uint64_t gap_most; /* so many at most */
	uint8_t piece[PIECE]; /* on its way into the host's end, from piece_at on */
	uint32_t piece_at;
};

struct line {
	struct guest_console console;
	int host;
	struct stream stream[2];
};

/* 40 bits of number, and 24 that belong to it. */
static uint64_t record_of(uint64_t number)
{
	uint64_t state = number;

	return number << 24 | (test_random_of(&state) & 0xffffff);
}

static void line_init(struct soak_device *device)
{
	struct line *line = calloc(1, sizeof(*line));
	int way;

	CHECK(line);
	device->own = line;
	line->host = -1;
	line->stream[TO_GUEST].piece_at = PIECE;
	for (way = TO_HOST; way <= TO_GUEST; way++)
		device->flow[way] = (struct soak_flow){&line->stream[way].given, &line->stream[way].taken};
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void line_open(struct soak_device *device)
{
	struct line *line = device->own;
	char path[64];
	int error;

	error = guest_console_open_on(&line->console, device->guest, rig_base(device->index), rig_irq(device->index),
				      RX_SIZE, false, device->index);
	if (error)
		TEST_FAIL("%s: its driver does not start: %s", device->name, strerror(-error));
	if (line->host >= 0)
		return;
	snprintf(path, sizeof(path), "run/%s", device->name);
	line->host = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (line->host < 0 && errno == ENXIO) {
		line->host = connect_to(path);
		/* The next backend has the connection; this one lets the guest talk to nobody. */
		rig_await_starts(&device->soak->rig, device->name, 2);
	}
	CHECK(line->host >= 0);
}

static void line_close(struct soak_device *device)
{
	struct line *line = device->own;
	struct stream *stream;
	int way;

	for (way = TO_HOST; way <= TO_GUEST; way++) {
		stream = &line->stream[way];
		/* All of the driver's buffers, and a record of which the beginning came. */
		if (stream->taken >= stream->gap_until)
			stream->gap_most = 0;
		stream->gap_most += GUEST_CONSOLE_BUFFERS * (way == TO_HOST ? PIECE : RX_SIZE) / RECORD + 1;
		stream->gap_until = stream->given;
		device->figures.lost_allowed += GUEST_CONSOLE_BUFFERS * (way == TO_HOST ? PIECE : RX_SIZE) + RECORD;
	}
	guest_console_close(&line->console);
}

static void stream_fail(const struct soak_device *device, int way, const char *what, uint64_t number)
{
	const struct line *line = device->own;

	TEST_FAIL("%s: record %llu %s %s, %llu is next of %llu", device->name, (unsigned long long)number,
		  way == TO_HOST ? "of the guest" : "for the guest", what, (unsigned long long)line->stream[way].taken,
		  (unsigned long long)line->stream[way].given);
}

/* A whole record, or bytes in a gap that look like one. True: it is taken. */
static bool take_record(struct soak_device *device, int way)
{
	struct line *line = device->own;
	struct stream *stream = &line->stream[way];
	uint64_t record, number;

	memcpy(&record, stream->part, RECORD);
	number = record >> 24;
	if (number != stream->taken || record != record_of(number)) {
		if (stream->taken >= stream->gap_until)
			stream_fail(device, way, record == record_of(number) ? "comes" : "is torn", number);
		if (record != record_of(number))
			return false;
		if (number < stream->taken)
			stream_fail(device, way, "comes again", number);
		if (number > stream->gap_until || number - stream->taken > stream->gap_most)
			stream_fail(device, way, "comes after too many that were lost", number);
		device->figures.lost += (number - stream->taken) * RECORD;
		stream->gap_most -= number - stream->taken;
	}
	device->figures.checked += RECORD;
	core_store_release(&stream->taken, number + 1);
	return true;
}

static void take_bytes(struct soak_device *device, int way, const uint8_t *bytes, size_t n)
{
	struct stream *stream = &((struct line *)device->own)->stream[way];
	size_t i;

	for (i = 0; i < n; i++) {
		stream->part[stream->len++] = bytes[i];
		if (stream->len < RECORD)
			continue;
		stream->len = take_record(device, way) ? 0 : RECORD - 1;
		if (stream->len)
			memmove(stream->part, stream->part + 1, RECORD - 1);
	}
}

static void fill(uint8_t piece[PIECE], uint64_t number)
{
	uint64_t record;
	uint32_t at;

	for (at = 0; at < PIECE; at += RECORD) {
		record = record_of(number++);
		memcpy(piece + at, &record, RECORD);
	}
}

static bool move_out(struct soak_device *device, bool give)
{
	struct line *line = device->own;
	struct stream *stream = &line->stream[TO_HOST];
	uint8_t bytes[8192];
	bool moved = false;
	ssize_t n;

	while (give) {
		fill(bytes, stream->given);
		if (!guest_console_send(&line->console, 0, bytes, PIECE))
			break;
		core_store_release(&stream->given, stream->given + PIECE / RECORD);
		moved = true;
	}
	while ((n = read(line->host, bytes, sizeof(bytes))) > 0) {
		take_bytes(device, TO_HOST, bytes, (size_t)n);
		moved = true;
	}
	if (n == 0 || errno != EAGAIN)
		TEST_FAIL("%s: its other end is gone: %s", device->name, n ? strerror(errno) : "closed");
	return moved;
}

static bool move_in(struct soak_device *device, bool give)
{
	struct line *line = device->own;
	struct stream *stream = &line->stream[TO_GUEST];
	uint8_t bytes[GUEST_CONSOLE_BUFFER];
	bool moved = false;
	uint32_t got;
	ssize_t n;

	if (give && stream->piece_at == PIECE) {
		fill(stream->piece, stream->given);
		core_store_release(&stream->given, stream->given + PIECE / RECORD);
		stream->piece_at = 0;
	}
	if (stream->piece_at < PIECE) {
		n = write(line->host, stream->piece + stream->piece_at, PIECE - stream->piece_at);
		if (n > 0)
			stream->piece_at += (uint32_t)n;
		moved = n > 0;
	}
	while ((got = guest_console_receive(&line->console, 0, bytes)) > 0) {
		take_bytes(device, TO_GUEST, bytes, got);
		moved = true;
	}
	return moved;
}

static void line_turn(struct soak_device *device)
{
	struct pollfd pfd = {.fd = ((struct line *)device->own)->host, .events = POLLIN};
	bool moved;

	moved = move_out(device, true);
	moved |= move_in(device, true);
	if (!moved)
		poll(&pfd, 1, 1);
}

static int line_is_done(void *arg)
{
	struct soak_device *device = arg;
	struct line *line = device->own;

	move_out(device, false);
	move_in(device, false);
	return guest_console_sent(&line->console, 0) && line->stream[TO_GUEST].piece_at == PIECE &&
	       line->stream[TO_HOST].taken == line->stream[TO_HOST].given &&
	       line->stream[TO_GUEST].taken == line->stream[TO_GUEST].given;
}

static void line_finish(struct soak_device *device)
{
	struct line *line = device->own;
	const struct stream *out = &line->stream[TO_HOST];
	const struct stream *in = &line->stream[TO_GUEST];

	/* A gap's end shows by what comes after it. */
	while (out->taken < out->gap_until || in->taken < in->gap_until)
		line_turn(device);
	if (!test_wait(line_is_done, device, FINISH_MS))
		TEST_FAIL("%s: of the guest's records came %llu of %llu, of those for it %llu of %llu", device->name,
			  (unsigned long long)out->taken, (unsigned long long)out->given, (unsigned long long)in->taken,
			  (unsigned long long)in->given);
}

static void line_check(struct soak_device *device)
{
	struct line *line = device->own;

	close(line->host);
	free(line);
}

const struct soak_load soak_console = {
	.unit = "bytes",
	.type = "console",
	.flows = 2,
	.held = true,
	.init = line_init,
	.open = line_open,
	.close = line_close,
	.turn = line_turn,
	.finish = line_finish,
	.check = line_check,
};
