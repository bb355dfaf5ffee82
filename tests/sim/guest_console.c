/* SPDX-License-Identifier: MIT */
#include "tests/sim/guest_console.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "common/console.h"

#define CPU 0
#define TX_AT (GUEST_CONSOLE_BUFFERS * GUEST_CONSOLE_BUFFER) /* in the area, behind the buffers to receive into */

static void give(struct guest_console *console, uint32_t n)
{
	const struct guest_buffer buffer = {
		.gpa = console->area_gpa + n * GUEST_CONSOLE_BUFFER, .len = console->rx_size, .device_writes = true};

	guest_vq_add(&console->rx, &buffer, 1, console->rx_bytes[n]);
}

int guest_console_open(struct guest_console *console, struct guest *guest, uint64_t base, uint32_t irq,
		       uint32_t rx_size)
{
	const uint64_t features = (1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_CONSOLE_F_SIZE) |
				  (1ull << VIRTIO_RING_F_EVENT_IDX) | (1ull << VIRTIO_CONSOLE_F_EMERG_WRITE);
	uint32_t n;
	int error;

	memset(console, 0, sizeof(*console));
	console->rx_size = rx_size;
	error = guest_dev_probe(&console->dev, guest, base, irq, CPU);
	if (error == 0 && console->dev.device_id != VIRTIO_ID_CONSOLE)
		error = -ENODEV;
	if (error == 0)
		error = guest_dev_negotiate(&console->dev, CPU, features);
	if (error == 0)
		error = guest_vq_open(&console->rx, &console->dev, CPU, CONSOLE_QUEUE_RX, 0, 0);
	if (error == 0)
		error = guest_vq_open(&console->tx, &console->dev, CPU, CONSOLE_QUEUE_TX, 0, 0);
	if (error)
		return error;
	console->area_gpa = guest_alloc(guest, 2 * (uint64_t)TX_AT);
	if (!console->area_gpa)
		return -ENOMEM;
	for (n = 0; n < GUEST_CONSOLE_BUFFERS; n++) {
		console->rx_bytes[n] =
			guest_at(guest, console->area_gpa + n * GUEST_CONSOLE_BUFFER, GUEST_CONSOLE_BUFFER);
		console->tx_bytes[n] =
			guest_at(guest, console->area_gpa + TX_AT + n * GUEST_CONSOLE_BUFFER, GUEST_CONSOLE_BUFFER);
		give(console, n);
	}
	error = guest_dev_start(&console->dev, CPU);
	guest_vq_kick(&console->rx, CPU);
	return error;
}

void guest_console_close(struct guest_console *console)
{
	guest_dev_reset(&console->dev, CPU);
	guest_vq_close(&console->rx);
	guest_vq_close(&console->tx);
	guest_free(console->dev.guest, console->area_gpa, 2 * (uint64_t)TX_AT);
}

static uint32_t number_of(uint8_t *const *list, const void *bytes)
{
	uint32_t n = 0;

	while (list[n] != bytes)
		n++;
	return n;
}

bool guest_console_sent(struct guest_console *console)
{
	uint32_t n;
	void *done;

	guest_dev_interrupt(&console->dev, CPU);
	while ((done = guest_vq_get(&console->tx, NULL)))
		console->tx_busy[number_of(console->tx_bytes, done)] = false;
	for (n = 0; n < GUEST_CONSOLE_BUFFERS; n++) {
		if (console->tx_busy[n])
			return false;
	}
	return true;
}

bool guest_console_send(struct guest_console *console, const void *bytes, uint32_t len)
{
	struct guest_buffer buffer = {.len = len};
	uint32_t n;

	guest_console_sent(console);
	for (n = 0; n < GUEST_CONSOLE_BUFFERS && console->tx_busy[n]; n++)
		;
	if (n == GUEST_CONSOLE_BUFFERS)
		return false;
	memcpy(console->tx_bytes[n], bytes, len);
	buffer.gpa = console->area_gpa + TX_AT + n * GUEST_CONSOLE_BUFFER;
	console->tx_busy[n] = true;
	guest_vq_add(&console->tx, &buffer, 1, console->tx_bytes[n]);
	guest_vq_kick(&console->tx, CPU);
	return true;
}

uint32_t guest_console_receive(struct guest_console *console, void *bytes)
{
	uint32_t len = 0;
	uint8_t *got;

	guest_dev_interrupt(&console->dev, CPU);
	got = guest_vq_get(&console->rx, &len);
	if (!got)
		return 0;
	if (len > console->rx_size)
		len = console->rx_size;
	memcpy(bytes, got, len);
	give(console, number_of(console->rx_bytes, got));
	guest_vq_kick(&console->rx, CPU);
	return len;
}
