/* SPDX-License-Identifier: MIT */
/* A console driver (virtio 1.2, section 5.3) with one port, over guest.h. All calls are of one thread. */
#ifndef HVISOR_GUEST_CONSOLE_H
#define HVISOR_GUEST_CONSOLE_H

#include <linux/virtio_console.h>

#include "tests/sim/guest.h"

#define GUEST_CONSOLE_BUFFERS 8u
#define GUEST_CONSOLE_BUFFER 4096u

struct guest_console {
	struct guest_dev dev;
	struct guest_vq rx;
	struct guest_vq tx;
	uint64_t area_gpa;
	uint8_t *rx_bytes[GUEST_CONSOLE_BUFFERS];
	uint8_t *tx_bytes[GUEST_CONSOLE_BUFFERS];
	bool tx_busy[GUEST_CONSOLE_BUFFERS];
	uint32_t rx_size; /* bytes of each buffer to receive into */
};

/* Finds the device, resets it, negotiates, starts it and gives it its buffers of rx_size bytes. 0 or -errno. */
int guest_console_open(struct guest_console *console, struct guest *guest, uint64_t base, uint32_t irq,
		       uint32_t rx_size);
void guest_console_close(struct guest_console *console);

/* Makes len bytes (up to GUEST_CONSOLE_BUFFER) available to the device; false: all buffers are in its hands. */
bool guest_console_send(struct guest_console *console, const void *bytes, uint32_t len);

/* Has the device taken all that was sent? */
bool guest_console_sent(struct guest_console *console);

/* What has come, up to size bytes of one buffer, which must be at least rx_size; 0: nothing. */
uint32_t guest_console_receive(struct guest_console *console, void *bytes);

#endif
