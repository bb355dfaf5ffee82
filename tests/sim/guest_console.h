/* SPDX-License-Identifier: MIT */
/* A console driver (virtio 1.2, section 5.3) with one port or several, over guest.h. All calls are of one thread. */
#ifndef HVISOR_GUEST_CONSOLE_H
#define HVISOR_GUEST_CONSOLE_H

#include <linux/virtio_console.h>

#include "common/console.h"
#include "tests/sim/guest.h"

#define GUEST_CONSOLE_BUFFERS 8u
#define GUEST_CONSOLE_BUFFER 4096u
#define GUEST_CONSOLE_MESSAGE 256u

/* Two queues of buffers: to receive into, and to send. */
struct guest_console_port {
	struct guest_vq rx;
	struct guest_vq tx;
	uint64_t area_gpa;
	uint8_t *rx_bytes[GUEST_CONSOLE_BUFFERS];
	uint8_t *tx_bytes[GUEST_CONSOLE_BUFFERS];
	bool tx_busy[GUEST_CONSOLE_BUFFERS];
	uint32_t rx_size; /* bytes of each buffer to receive into */
	/* With several ports, what the device has said of it: */
	uint32_t added; /* messages */
	uint32_t console;
	bool host_open;
	uint16_t cols; /* as of VIRTIO_CONSOLE_RESIZE */
	uint16_t rows;
	char name[GUEST_CONSOLE_MESSAGE];
};

struct guest_console {
	struct guest_dev dev;
	uint32_t cpu;
	uint32_t nports; /* 1 without multiport */
	bool multiport;
	struct guest_console_port control; /* its queues alone */
	struct guest_console_port port[CONSOLE_PORTS_MAX];
};

/*
 * Finds the device, resets it, negotiates, starts it and gives it buffers of rx_size bytes for each port. With
 * multiport, if it is offered, it says DEVICE_READY; ports are then made ready and opened as they are added, by
 * guest_console_control(). 0 or -errno.
 */
int guest_console_open(struct guest_console *console, struct guest *guest, uint64_t base, uint32_t irq,
		       uint32_t rx_size, bool multiport);
/* The same by another CPU than the first. */
int guest_console_open_on(struct guest_console *console, struct guest *guest, uint64_t base, uint32_t irq,
			  uint32_t rx_size, bool multiport, uint32_t cpu);
void guest_console_close(struct guest_console *console);

/* Makes len bytes (up to GUEST_CONSOLE_BUFFER) available to the device; false: all buffers are in its hands. */
bool guest_console_send(struct guest_console *console, uint32_t port, const void *bytes, uint32_t len);

/* Has the device taken all that was sent? */
bool guest_console_sent(struct guest_console *console, uint32_t port);

/* What has come in one buffer, whose rx_size bytes must have room; 0: nothing. */
uint32_t guest_console_receive(struct guest_console *console, uint32_t port, void *bytes);

/* Sends a control message, with len bytes of it (8 is all). */
void guest_console_tell(struct guest_console *console, uint32_t port, uint16_t event, uint16_t value, uint32_t len);

/* Takes the device's messages, and answers PORT_ADD by PORT_READY and PORT_OPEN, unless hold is set. */
void guest_console_control(struct guest_console *console, bool hold);

#endif
