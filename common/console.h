/* SPDX-License-Identifier: MIT */
/*
 * What hvisor-console, the launcher and "hvisor-launch --console" agree upon. A console has one port or several, and
 * each port an endpoint: a pseudoterminal, a connection to a Unix socket, or a file.
 *
 * The console's memory (a memfd that the launcher holds, and that a later launcher takes from the backend) outlives the
 * backend. It has the bytes on their way in either direction, the recent output, and the positions by which they are
 * known. A position is a count of bytes since the memory was made; byte p of a stream is at p modulo the size of its
 * buffer.
 *
 * No byte is lost or doubled by the death of a backend, at whatever instruction:
 *	driver to memory	by the journal, and out_end - out_start, which is what was copied of the chain in hand;
 *				an emergency character, which is beside the stream, moves both: what put_start,
 *				put_end and put_seen tell before is so once out_end is put_end
 *	memory to endpoint	by sendfile() from the memory itself, whose offset is out_offset: the kernel moves the
 *				bytes and stores how far it came in one call
 *	endpoint to memory	by splice() into the pipe, which outlives the backend too, and from there with in_offset
 *	memory to driver	by the journal: in_next is where in_taken goes if the chain in hand was given back
 *
 * sendfile() to a socket or a pipe hands the pages of the memory over, without a copy. So before a page of such a
 * port's output is used anew, the old one is punched out of the memory, and lives on where it still waits to be read.
 *
 * The backend alone writes the memory. Whoever else reads it does not trust it.
 */
#ifndef HVISOR_CONSOLE_H
#define HVISOR_CONSOLE_H

#include <stdint.h>

#include "backend_fds.h"

#define CONSOLE_PORTS_MAX 8u
#define CONSOLE_PORT_NAME_MAX 64u /* bytes, with the terminator */
#define CONSOLE_QUEUE_SIZE 256u

/* Places of the descriptors from BACKEND_FD_DEVICE on. */
enum console_place {
	CONSOLE_PLACE_PORT = 0, /* of port n at + n: its endpoint, non-blocking */
	CONSOLE_PLACE_LOG = CONSOLE_PORTS_MAX, /* of port n at + n: a FIFO for a copy of the output, non-blocking */
	CONSOLE_PLACE_MEMORY = 2 * CONSOLE_PORTS_MAX,
	CONSOLE_PLACE_NEWS, /* inotify, non-blocking: a pseudoterminal's other side is opened or closed */
	CONSOLE_PLACE_PIPE, /* non-blocking, to read from */
	CONSOLE_PLACE_PIPE_IN, /* to write to */
	CONSOLE_PLACES,
};

#define CONSOLE_FD(place) ((int)(BACKEND_FD_DEVICE + (place)))

#define CONSOLE_MAGIC 0x4e435648u /* "HVCN" */
#define CONSOLE_VERSION 2u
#define CONSOLE_PAGE 4096u
#define CONSOLE_OUTPUT_SIZE (128u << 10) /* of a port's buffer, a multiple of CONSOLE_PAGE */
#define CONSOLE_PENDING_MAX (64u << 10) /* of it, bytes that are on their way: as many at least are recent output */
#define CONSOLE_INPUT_SIZE (64u << 10)

/* Virtqueues: virtio 1.2, 5.3.2. */
#define CONSOLE_QUEUE_RX(port) ((port) == 0 ? 0u : 2u * (port) + 2u)
#define CONSOLE_QUEUE_TX(port) (CONSOLE_QUEUE_RX(port) + 1u)
#define CONSOLE_QUEUE_CONTROL_RX 2u
#define CONSOLE_QUEUE_CONTROL_TX 3u
#define CONSOLE_NQUEUES 2u
#define CONSOLE_NQUEUES_MULTIPORT(ports) (2u * (ports) + 2u)

/* struct console_stream.control: what the driver said of the port, and the messages that it is to be sent. */
enum console_control {
	CONSOLE_PORT_IS_READY = 1 << 0,
	CONSOLE_PORT_IS_OPEN = 1 << 1,
	CONSOLE_SEND_ADD = 1 << 8,
	CONSOLE_SEND_CONSOLE = 1 << 9,
	CONSOLE_SEND_RESIZE = 1 << 10,
	CONSOLE_SEND_NAME = 1 << 11,
	CONSOLE_SEND_OPEN = 1 << 12,
};

struct console_stream {
	uint64_t out_start;
	uint64_t out_end;
	uint64_t out_sent; /* up to here the endpoint has it, or nobody was there to have it */
	int64_t out_offset; /* the kernel's, in the memory */
	uint64_t log_sent; /* the same for the copy */
	int64_t log_offset;
	uint64_t in_end;
	uint64_t in_taken; /* up to here the driver has it */
	uint64_t in_next;
	int64_t in_offset;
	uint64_t attached_at; /* out_sent when somebody came last */
	uint32_t attached; /* somebody is there */
	uint32_t control; /* enum console_control */
	uint16_t cols; /* the window that the driver knows of */
	uint16_t rows;
	uint32_t pad;
	uint64_t put_start; /* out_start and out_end when the character under way is there */
	uint64_t put_end; /* 0: none is under way */
	uint32_t put_seen; /* emergency writes that are seen when it is there: the region's state says so too */
	uint32_t pad2;
};

struct console_memory {
	uint32_t magic; /* stored last when the memory is laid out */
	uint32_t version;
	uint32_t nports;
	uint32_t piped; /* 1 + the port whose bytes may be in the pipe, 0 none */
	uint32_t resets; /* region.driver.resets that control belongs to */
	uint32_t pad[11];
	struct console_stream stream[CONSOLE_PORTS_MAX];
	uint8_t pad2[CONSOLE_PAGE - 64 - CONSOLE_PORTS_MAX * 128];
	/* then, of each port, output and input */
};

_Static_assert(sizeof(struct console_stream) == 128, "a stream has its own cache lines");
_Static_assert(sizeof(struct console_memory) == CONSOLE_PAGE, "the buffers begin on a page");

/* Where the buffers of a port are in the memory, bytes; of port nports, output: the size of the memory. */
static inline uint64_t console_output_at(uint32_t port)
{
	return sizeof(struct console_memory) + (uint64_t)port * (CONSOLE_OUTPUT_SIZE + CONSOLE_INPUT_SIZE);
}

static inline uint64_t console_input_at(uint32_t port)
{
	return console_output_at(port) + CONSOLE_OUTPUT_SIZE;
}

/* struct region_device.own of a console. */
enum console_own {
	CONSOLE_OWN_EMERGENCY, /* characters of emergency writes */
	CONSOLE_OWN_EMERGENCY_LOST, /* of them: more came at once than are kept */
	CONSOLE_OWN_LOG_LOST, /* bytes that are missing in the output logs */
};

#endif
