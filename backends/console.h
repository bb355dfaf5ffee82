/* SPDX-License-Identifier: MIT */
/*
 * hvisor-console from the inside. A port moves bytes between its two virtqueues and its endpoint by way of the
 * console's memory (common/console.h); the control queues are the driver's and ours to talk about ports.
 */
#ifndef HVISOR_BACKENDS_CONSOLE_H
#define HVISOR_BACKENDS_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/backend.h"
#include "common/console.h"

enum console_kind {
	CONSOLE_KIND_NONE,
	CONSOLE_KIND_PTY,
	CONSOLE_KIND_SOCKET,
	CONSOLE_KIND_FILE,
};

struct console_port {
	uint32_t number;
	enum console_kind kind;
	bool console; /* the driver is to make a console of it */
	bool connected; /* a socket's: there is a connection */
	bool logged; /* a copy of the output goes to the launcher */
	char name[CONSOLE_PORT_NAME_MAX]; /* "": none */
	struct console_stream *stream;
	uint8_t *output;
	uint8_t *input;
	bool readable; /* there may be more to read than was read so far */
	bool full; /* the endpoint takes no more at present */
	bool log_full;
	bool log_gone; /* no launcher reads the log */
	bool tx_held; /* the chain below is in hand: a part of it is in the memory */
	uint64_t tx_done; /* bytes of it that are */
	uint64_t retry_ns; /* CLOCK_MONOTONIC: when the endpoint that failed is tried again, 0: now */
	struct log_gate error_gate;
	struct virtq_chain tx;
};

struct console {
	struct backend *backend;
	struct console_memory *memory;
	uint32_t nports;
	bool multiport; /* negotiated */
	uint32_t turns;
	struct log_gate driver_gate;
	struct virtq_chain chain; /* of whatever is done at once */
	struct console_port port[CONSOLE_PORTS_MAX];
};

static inline uint64_t console_least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Copies between a buffer of size bytes that goes round, from position at on, and a chain's iovecs from byte skip on.
 */
void console_copy(uint8_t *ring, uint32_t size, uint64_t at, const struct iovec *iov, uint64_t skip, uint64_t len,
		  bool into_ring);

/* console_endpoint.c */

/* Maps the memory, lays it out if it is new, and goes on where a predecessor was. 0, or -errno after a log line. */
int console_memory_open(struct console *console);

/* At the start: is anybody there? */
void console_endpoints_open(struct console *console);

/*
 * Has anybody come or gone, or changed the size of a window? Called after each rest and at times without one. True if
 * there was something.
 */
bool console_endpoints_look(struct console *console);

/* Nobody is there any more. What was read so far stays, and so does what is still to be read. */
void console_detach(struct console *console, struct console_port *port);

/* Looks whether whoever was there has left, for a port from which nothing is being read. */
void console_look_left(struct console *console, struct console_port *port);

/*
 * Looks who is at a terminal, before it is written to: the news may not have been taken yet. One that was left takes
 * bytes all the same, and would give them to whoever opens it next.
 */
void console_look_who(struct console *console, struct console_port *port);

/* The size of the window, if it is another than the driver knows of. */
void console_window_look(struct console *console, struct console_port *port);

/* What to wait for. */
void console_endpoints_wait(struct console *console, struct pollfd *fds, uint32_t *n);

/* console_stream.c */

/* A queue of the port is taken up: settles what a predecessor did not come to write down. */
void console_stream_start(struct console *console, struct console_port *port, uint32_t q);
bool console_tx_run(struct console *console, struct console_port *port);
bool console_rx_run(struct console *console, struct console_port *port);

/* What is in the pipe goes to where the port's input ends; there is room for it. False, with errno: it does not. */
bool console_pipe_empty(struct console_port *port);

/*
 * One character beside the stream, if there is room. True: it is there, and the region's state says that so many
 * emergency writes were seen.
 */
bool console_put(struct console *console, struct console_port *port, uint8_t character, uint32_t seen);

/* console_control.c */

/* The driver is there, with or without multiport; or was reset. */
void console_control_start(struct console *console);
void console_control_reset(struct console *console);
bool console_control_run(struct console *console);

/* Asks for a message (CONSOLE_SEND_*) to the driver, if it knows the port. */
void console_control_tell(struct console *console, struct console_port *port, uint32_t message);

/* Is a message waiting for a buffer? */
bool console_control_waits(const struct console *console);

/* Does the driver take input for the port? */
bool console_port_open(const struct console *console, const struct console_port *port);

#endif
