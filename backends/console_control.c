/* SPDX-License-Identifier: MIT */
/*
 * The control queues of a device with several ports (virtio 1.2, 5.3.6.2). What the driver said and what it is still to
 * be told are bits of the console's memory, so a successor knows them; a message that a killed backend had sent may be
 * sent again, which changes nothing.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <string.h>

#include "console.h"

#define SEND_ALL (CONSOLE_SEND_ADD | CONSOLE_SEND_CONSOLE | CONSOLE_SEND_RESIZE | CONSOLE_SEND_NAME | CONSOLE_SEND_OPEN)
#define CONTROL_BATCH 64

/* virtio 1.2, 5.3.6.2: of VIRTIO_CONSOLE_RESIZE, behind the header. */
struct control_size {
	uint16_t cols;
	uint16_t rows;
};

struct control_message {
	struct virtio_console_control header;
	union {
		struct control_size size;
		char name[CONSOLE_PORT_NAME_MAX];
	};
};

static void control_set(struct console_port *port, uint32_t set, uint32_t clear)
{
	core_store_release(&port->stream->control, (port->stream->control & ~clear) | set);
}

void console_control_reset(struct console *console)
{
	uint32_t i;

	for (i = 0; i < console->nports; i++)
		control_set(&console->port[i], 0, UINT32_MAX);
	console->multiport = false;
}

void console_control_tell(struct console *console, struct console_port *port, uint32_t message)
{
	if (console->multiport && (port->stream->control & CONSOLE_PORT_IS_READY))
		control_set(port, message, 0);
}

/* Whether somebody is there, and how large the window is. */
static void control_tell_state(struct console *console, struct console_port *port)
{
	if (!port->console)
		console_control_tell(console, port, CONSOLE_SEND_OPEN);
	else if (port->kind == CONSOLE_KIND_PTY)
		console_control_tell(console, port, CONSOLE_SEND_RESIZE);
}

void console_control_start(struct console *console)
{
	const struct backend *b = console->backend;
	uint32_t resets = core_load(&b->region->driver.resets);
	uint32_t i;

	/* What is there may be of a life of the driver that ended while nobody served it. */
	if (console->memory->resets != resets)
		console_control_reset(console);
	core_store_release(&console->memory->resets, resets);
	console->multiport = b->features & (1ull << VIRTIO_CONSOLE_F_MULTIPORT);
	for (i = 0; i < console->nports; i++)
		control_tell_state(console, &console->port[i]);
}

bool console_port_open(const struct console *console, const struct console_port *port)
{
	return console->multiport ? port->stream->control & CONSOLE_PORT_IS_OPEN : port->number == 0;
}

bool console_control_waits(const struct console *console)
{
	uint32_t i;

	for (i = 0; i < console->nports && console->multiport; i++) {
		if (console->port[i].stream->control & SEND_ALL)
			return true;
	}
	return false;
}

/* Fills the message; returns its length. */
static uint32_t message_make(const struct console_port *port, uint32_t which, struct control_message *message)
{
	const struct console_stream *stream = port->stream;
	struct virtio_console_control *header = &message->header;
	uint32_t len = sizeof(*header);

	memset(message, 0, sizeof(*message));
	header->id = htole32(port->number);
	switch (which) {
	case CONSOLE_SEND_ADD:
		header->event = htole16(VIRTIO_CONSOLE_PORT_ADD);
		header->value = htole16(1);
		break;
	case CONSOLE_SEND_CONSOLE:
		header->event = htole16(VIRTIO_CONSOLE_CONSOLE_PORT);
		header->value = htole16(1);
		break;
	case CONSOLE_SEND_RESIZE:
		header->event = htole16(VIRTIO_CONSOLE_RESIZE);
		message->size = (struct control_size){.cols = htole16(stream->cols), .rows = htole16(stream->rows)};
		len += sizeof(message->size);
		break;
	case CONSOLE_SEND_NAME:
		header->event = htole16(VIRTIO_CONSOLE_PORT_NAME);
		header->value = htole16(1);
		memcpy(message->name, port->name, strlen(port->name));
		len += (uint32_t)strlen(port->name);
		break;
	default: /* CONSOLE_SEND_OPEN: a console is always to be had, whether or not somebody looks */
		header->event = htole16(VIRTIO_CONSOLE_PORT_OPEN);
		header->value = htole16(port->console || stream->attached);
		break;
	}
	return len;
}

/* Into the next buffer; false if there is none. */
static bool message_send(struct console *console, struct console_port *port, uint32_t which)
{
	struct backend *b = console->backend;
	struct virtq *vq = &b->vq[CONSOLE_QUEUE_CONTROL_RX];
	struct virtq_chain *chain = &console->chain;
	struct control_message message;
	uint32_t len = message_make(port, which, &message);
	int got = virtq_pop(vq, chain);

	if (got < 0)
		backend_break(b, CONSOLE_QUEUE_CONTROL_RX, vq->why);
	if (got <= 0)
		return false;
	if (chain->write_len < len) {
		backend_break(b, CONSOLE_QUEUE_CONTROL_RX, "a control buffer that is too small for its message");
		return false;
	}
	console_copy((uint8_t *)&message, sizeof(message), 0, chain->iov + chain->nread, 0, len, false);
	virtq_push(vq, chain->head, len);
	control_set(port, 0, which);
	backend_count(&b->region->device.requests, 1);
	return true;
}

static bool messages_send(struct console *console)
{
	bool did = false;
	uint32_t i;

	for (i = 0; i < console->nports; i++) {
		struct console_port *port = &console->port[i];
		uint32_t left = port->stream->control & SEND_ALL;

		for (; left; left &= left - 1) {
			if (!message_send(console, port, left & -left))
				return did;
			did = true;
		}
	}
	return did;
}

static void port_ready(struct console *console, struct console_port *port)
{
	uint32_t messages = CONSOLE_SEND_OPEN;

	if (port->console)
		messages |= CONSOLE_SEND_CONSOLE;
	if (port->console && port->kind == CONSOLE_KIND_PTY) {
		console_window_look(console, port);
		messages |= CONSOLE_SEND_RESIZE;
	}
	if (port->name[0])
		messages |= CONSOLE_SEND_NAME;
	control_set(port, CONSOLE_PORT_IS_READY | messages, 0);
}

static void message_obey(struct console *console, const struct virtio_console_control *header)
{
	struct backend *b = console->backend;
	uint32_t id = le32toh(header->id);
	uint16_t event = le16toh(header->event);
	bool value = le16toh(header->value) != 0;
	uint64_t suppressed;
	uint32_t i;

	if (event == VIRTIO_CONSOLE_DEVICE_READY) {
		/* value 0: the driver could not do it, and uses no port. */
		for (i = 0; i < console->nports; i++)
			control_set(&console->port[i], value ? CONSOLE_SEND_ADD : 0, value ? 0 : UINT32_MAX);
		return;
	}
	if (id < console->nports && event == VIRTIO_CONSOLE_PORT_READY) {
		if (value)
			port_ready(console, &console->port[id]);
		else
			control_set(&console->port[id], 0, UINT32_MAX);
		return;
	}
	if (id < console->nports && event == VIRTIO_CONSOLE_PORT_OPEN) {
		control_set(&console->port[id], value ? CONSOLE_PORT_IS_OPEN : 0, value ? 0 : CONSOLE_PORT_IS_OPEN);
		return;
	}
	backend_count(&b->region->device.errors, 1);
	if (log_gate_open(&console->driver_gate, b->now_ns, &suppressed))
		log_warning("control message %u of port %u makes no sense (%llu such lines held back)", event, id,
			    (unsigned long long)suppressed);
}

static bool messages_take(struct console *console)
{
	struct backend *b = console->backend;
	struct virtq *vq = &b->vq[CONSOLE_QUEUE_CONTROL_TX];
	struct virtq_chain *chain = &console->chain;
	uint32_t n;
	int got;

	for (n = 0; n < CONTROL_BATCH; n++) {
		struct virtio_console_control header = {0};

		got = virtq_pop(vq, chain);
		if (got < 0)
			backend_break(b, CONSOLE_QUEUE_CONTROL_TX, vq->why);
		if (got <= 0)
			break;
		console_copy((uint8_t *)&header, sizeof(header), 0, chain->iov, 0,
			     console_least(sizeof(header), chain->read_len), true);
		message_obey(console, &header);
		virtq_push(vq, chain->head, 0);
		backend_count(&b->region->device.requests, 1);
	}
	return n > 0;
}

bool console_control_run(struct console *console)
{
	struct backend *b = console->backend;
	const uint64_t rx = 1ull << CONSOLE_QUEUE_CONTROL_RX;
	bool interrupt = false;
	bool did = false;

	if (!console->multiport)
		return false;
	if (b->ready_queues & (1ull << CONSOLE_QUEUE_CONTROL_TX)) {
		did = messages_take(console);
		interrupt |= virtq_publish(&b->vq[CONSOLE_QUEUE_CONTROL_TX]);
	}
	if (!b->broken && (b->ready_queues & rx)) {
		did |= messages_send(console);
		interrupt |= virtq_publish(&b->vq[CONSOLE_QUEUE_CONTROL_RX]);
	}
	if (interrupt)
		backend_interrupt(b, REGION_INT_USED);
	if (console_control_waits(console))
		b->passive_queues &= ~rx;
	else
		b->passive_queues |= rx;
	return did;
}
