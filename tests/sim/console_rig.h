/* SPDX-License-Identifier: MIT */
/* A console with its launcher, its driver, and whoever is at the other end of its ports. Failures end the test. */
#ifndef HVISOR_CONSOLE_RIG_H
#define HVISOR_CONSOLE_RIG_H

#include "tests/sim/guest_console.h"
#include "tests/sim/rig.h"

#define CONSOLE_RIG_LIMIT_MS 20000

struct console_rig {
	struct rig rig;
	struct guest_console guest;
};

/* Writes virtio_cfg.json: console0 with these further keys (", \"backend\": ..."). */
void console_rig_config(struct console_rig *c, const char *keys);

/* All of it: simulator, launcher, and the driver with buffers of rx_size bytes. */
void console_rig_init(struct console_rig *c, const char *keys, uint32_t rx_size, bool multiport);
void console_rig_finish(struct console_rig *c);

/* Starts the launcher, and waits until console0 is served for the first time. */
void console_rig_serve(struct console_rig *c);

/* Opens the terminal, or connects to the socket, that run/LABEL leads to; a socket's client is waited for. */
int console_rig_open(struct console_rig *c, const char *label);

/* Waits until the backend has seen that nobody is at the other end of the port. */
void console_rig_await_left(struct console_rig *c, uint32_t port);

/* Waits until nothing of the output is on its way: who comes before gets it too. */
void console_rig_await_sent(struct console_rig *c, uint32_t port);

/* The console's memory, as its backend has it: the positions, and the output of a port. */
void console_rig_memory(struct console_rig *c, uint32_t port, struct console_memory *memory,
			uint8_t output[CONSOLE_OUTPUT_SIZE]);

/* A stream under way in one direction of a port. */
struct console_flow {
	const uint8_t *bytes;
	uint32_t len;
	uint32_t given;
	uint32_t taken;
};

/*
 * Moves both streams through a port whose other end is fd until they are through, each byte being the right one; reads
 * at most so many bytes at once from fd. At each of n places of the output disturb is called.
 */
void console_rig_move(struct console_rig *c, uint32_t port, int fd, struct console_flow *output,
		      struct console_flow *input, uint32_t most, uint32_t n, void (*disturb)(struct console_rig *c));

/* The same with so many random bytes each way. */
void console_rig_streams(struct console_rig *c, uint32_t port, int fd, uint32_t len, uint32_t most, uint32_t n,
			 void (*disturb)(struct console_rig *c));

/* The guest says len bytes, which are taken from it. */
void console_rig_say(struct console_rig *c, uint32_t port, const void *bytes, uint32_t len);

/* Waits for these bytes at the other end; with the guest for those of the input. */
void console_rig_await_output(int fd, const char *text);
void console_rig_await_input(struct console_rig *c, uint32_t port, const char *text);

/* Disturbances: SIGKILL to the backend, --restart, and SIGKILL to the launcher, which is started again. */
void console_rig_kill(struct console_rig *c);
void console_rig_restart(struct console_rig *c);
void console_rig_kill_launcher(struct console_rig *c);

/* Waits until the driver sees this size in the configuration space, of which it was told by an interrupt. */
void console_rig_await_size(struct console_rig *c, uint16_t cols, uint16_t rows);

/* CLOCK_MONOTONIC */
uint64_t console_rig_now_ms(void);

#endif
