/* SPDX-License-Identifier: MIT */
#include "tests/sim/guest_console.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "tests/test.h"

#define TX_AT (GUEST_CONSOLE_BUFFERS * GUEST_CONSOLE_BUFFER) /* in the area, behind the buffers to receive into */
#define AREA (2 * (uint64_t)TX_AT)

static void give(struct guest_console_port *port, uint32_t n)
{
	const struct guest_buffer buffer = {
		.gpa = port->area_gpa + n * GUEST_CONSOLE_BUFFER, .len = port->rx_size, .device_writes = true};

	guest_vq_add(&port->rx, &buffer, 1, port->rx_bytes[n]);
}

static int open_port(struct guest_console *console, struct guest_console_port *port, uint32_t rx, uint32_t rx_size)
{
	struct guest *guest = console->dev.guest;
	uint32_t n;
	int error;

	port->rx_size = rx_size;
	error = guest_vq_open(&port->rx, &console->dev, console->cpu, rx, 0, 0);
	if (error == 0)
		error = guest_vq_open(&port->tx, &console->dev, console->cpu, rx + 1, 0, 0);
	if (error)
		return error;
	port->area_gpa = guest_alloc(guest, AREA);
	if (!port->area_gpa)
		return -ENOMEM;
	for (n = 0; n < GUEST_CONSOLE_BUFFERS; n++) {
		uint64_t gpa = port->area_gpa + n * GUEST_CONSOLE_BUFFER;

		port->rx_bytes[n] = guest_at(guest, gpa, GUEST_CONSOLE_BUFFER);
		port->tx_bytes[n] = guest_at(guest, gpa + TX_AT, GUEST_CONSOLE_BUFFER);
		give(port, n);
	}
	return 0;
}

static int open_ports(struct guest_console *console, uint32_t rx_size)
{
	struct virtio_console_config config;
	uint32_t i;
	int error = 0;

	console->nports = 1;
	console->multiport = console->dev.features & (1ull << VIRTIO_CONSOLE_F_MULTIPORT);
	if (console->multiport) {
		guest_dev_config(&console->dev, console->cpu, 0, &config, sizeof(config));
		console->nports = le32toh(config.max_nr_ports);
		error = open_port(console, &console->control, CONSOLE_QUEUE_CONTROL_RX, GUEST_CONSOLE_MESSAGE);
	}
	for (i = 0; i < console->nports && error == 0; i++)
		error = open_port(console, &console->port[i], CONSOLE_QUEUE_RX(i), rx_size);
	return error;
}

int guest_console_open_on(struct guest_console *console, struct guest *guest, uint64_t base, uint32_t irq,
			  uint32_t rx_size, bool multiport, uint32_t cpu)
{
	uint64_t features = (1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_CONSOLE_F_SIZE) |
			    (1ull << VIRTIO_RING_F_EVENT_IDX) | (1ull << VIRTIO_CONSOLE_F_EMERG_WRITE);
	uint32_t i;
	int error;

	memset(console, 0, sizeof(*console));
	console->cpu = cpu;
	if (multiport)
		features |= 1ull << VIRTIO_CONSOLE_F_MULTIPORT;
	error = guest_dev_probe(&console->dev, guest, base, irq, cpu);
	if (error == 0 && console->dev.device_id != VIRTIO_ID_CONSOLE)
		error = -ENODEV;
	if (error == 0)
		error = guest_dev_negotiate(&console->dev, console->cpu, features);
	if (error == 0)
		error = open_ports(console, rx_size);
	if (error == 0)
		error = guest_dev_start(&console->dev, console->cpu);
	if (error)
		return error;
	for (i = 0; i < console->nports; i++)
		guest_vq_kick(&console->port[i].rx, console->cpu);
	if (!console->multiport)
		return 0;
	guest_vq_kick(&console->control.rx, console->cpu);
	guest_console_tell(console, 0, VIRTIO_CONSOLE_DEVICE_READY, 1, sizeof(struct virtio_console_control));
	return 0;
}

int guest_console_open(struct guest_console *console, struct guest *guest, uint64_t base, uint32_t irq,
		       uint32_t rx_size, bool multiport)
{
	return guest_console_open_on(console, guest, base, irq, rx_size, multiport, 0);
}

static void close_port(struct guest_console *console, struct guest_console_port *port)
{
	guest_vq_close(&port->rx);
	guest_vq_close(&port->tx);
	guest_free(console->dev.guest, port->area_gpa, AREA);
}

void guest_console_close(struct guest_console *console)
{
	uint32_t i;

	guest_dev_reset(&console->dev, console->cpu);
	for (i = 0; i < console->nports; i++)
		close_port(console, &console->port[i]);
	if (console->multiport)
		close_port(console, &console->control);
}

static uint32_t number_of(uint8_t *const *list, const void *bytes)
{
	uint32_t n = 0;

	while (list[n] != bytes)
		n++;
	return n;
}

static bool port_sent(struct guest_console *console, struct guest_console_port *port)
{
	uint32_t n;
	void *done;

	guest_dev_interrupt(&console->dev, console->cpu);
	while ((done = guest_vq_get(&port->tx, NULL)))
		port->tx_busy[number_of(port->tx_bytes, done)] = false;
	for (n = 0; n < GUEST_CONSOLE_BUFFERS; n++) {
		if (port->tx_busy[n])
			return false;
	}
	return true;
}

static bool port_send(struct guest_console *console, struct guest_console_port *port, const void *bytes, uint32_t len)
{
	struct guest_buffer buffer = {.len = len};
	uint32_t n;

	port_sent(console, port);
	for (n = 0; n < GUEST_CONSOLE_BUFFERS && port->tx_busy[n]; n++)
		;
	if (n == GUEST_CONSOLE_BUFFERS)
		return false;
	memcpy(port->tx_bytes[n], bytes, len);
	buffer.gpa = port->area_gpa + TX_AT + n * GUEST_CONSOLE_BUFFER;
	port->tx_busy[n] = true;
	guest_vq_add(&port->tx, &buffer, 1, port->tx_bytes[n]);
	guest_vq_kick(&port->tx, console->cpu);
	return true;
}

static uint32_t port_receive(struct guest_console *console, struct guest_console_port *port, void *bytes)
{
	uint32_t len = 0;
	uint8_t *got;

	guest_dev_interrupt(&console->dev, console->cpu);
	got = guest_vq_get(&port->rx, &len);
	if (!got)
		return 0;
	CHECK(len <= GUEST_CONSOLE_BUFFER);
	memcpy(bytes, got, len);
	give(port, number_of(port->rx_bytes, got));
	guest_vq_kick(&port->rx, console->cpu);
	return len;
}

bool guest_console_sent(struct guest_console *console, uint32_t port)
{
	return port_sent(console, &console->port[port]);
}

bool guest_console_send(struct guest_console *console, uint32_t port, const void *bytes, uint32_t len)
{
	return port_send(console, &console->port[port], bytes, len);
}

uint32_t guest_console_receive(struct guest_console *console, uint32_t port, void *bytes)
{
	return port_receive(console, &console->port[port], bytes);
}

void guest_console_tell(struct guest_console *console, uint32_t port, uint16_t event, uint16_t value, uint32_t len)
{
	struct virtio_console_control message = {.id = htole32(port), .event = htole16(event), .value = htole16(value)};

	while (!port_send(console, &console->control, &message, len))
		;
}

static void obey(struct guest_console *console, const uint8_t *bytes, uint32_t len, bool hold)
{
	struct virtio_console_control header;
	struct guest_console_port *port;
	uint32_t id;

	CHECK(len >= sizeof(header));
	memcpy(&header, bytes, sizeof(header));
	bytes += sizeof(header);
	len -= (uint32_t)sizeof(header);
	id = le32toh(header.id);
	CHECK(id < console->nports);
	port = &console->port[id];
	switch (le16toh(header.event)) {
	case VIRTIO_CONSOLE_PORT_ADD:
		port->added++;
		if (hold)
			break;
		guest_console_tell(console, id, VIRTIO_CONSOLE_PORT_READY, 1, sizeof(header));
		guest_console_tell(console, id, VIRTIO_CONSOLE_PORT_OPEN, 1, sizeof(header));
		break;
	case VIRTIO_CONSOLE_CONSOLE_PORT:
		port->console++;
		break;
	case VIRTIO_CONSOLE_RESIZE:
		CHECK_INT(len, 4);
		port->cols = (uint16_t)(bytes[0] | bytes[1] << 8);
		port->rows = (uint16_t)(bytes[2] | bytes[3] << 8);
		break;
	case VIRTIO_CONSOLE_PORT_NAME:
		memset(port->name, 0, sizeof(port->name));
		memcpy(port->name, bytes, len);
		break;
	case VIRTIO_CONSOLE_PORT_OPEN:
		port->host_open = header.value != 0;
		break;
	default:
		TEST_FAIL("control message %u", le16toh(header.event));
	}
}

void guest_console_control(struct guest_console *console, bool hold)
{
	uint8_t bytes[GUEST_CONSOLE_BUFFER];
	uint32_t len;

	while ((len = port_receive(console, &console->control, bytes)) > 0)
		obey(console, bytes, len, hold);
}
