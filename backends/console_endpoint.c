/* SPDX-License-Identifier: MIT */
/* The console's memory, and who is at the other end of its ports. */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <stddef.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "console.h"

/* Where the kernel got to from position pos on, by the offset that it stored. */
static uint64_t moved(uint64_t pos, uint64_t most, uint64_t base, uint64_t size, int64_t offset)
{
	uint64_t n = ((uint64_t)offset - base + size - pos % size) % size;

	return n <= most ? n : 0;
}

/* The emergency character under way is there. */
static void put_settle(struct console_stream *stream, struct queue_region *region)
{
	uint32_t seen;

	stream->out_start = stream->put_start;
	region_state_read(region, &seen, sizeof(seen));
	/* Another count is of a device that was made anew. */
	if (seen + 1 == stream->put_seen)
		region_state_update(region, &stream->put_seen, sizeof(stream->put_seen));
}

/* What the predecessor's last calls did and it did not come to write down. */
static void stream_settle(struct console_stream *stream, uint32_t port, struct queue_region *region)
{
	uint64_t out = console_output_at(port);
	uint64_t pending = stream->out_end - stream->out_sent;
	uint64_t log = stream->out_end - stream->log_sent;

	stream->out_sent += moved(stream->out_sent, pending, out, CONSOLE_OUTPUT_SIZE, stream->out_offset);
	stream->log_sent += moved(stream->log_sent, log, out, CONSOLE_OUTPUT_SIZE, stream->log_offset);
	stream->in_end += moved(stream->in_end, CONSOLE_INPUT_SIZE - 1 - (stream->in_end - stream->in_taken),
				console_input_at(port), CONSOLE_INPUT_SIZE, stream->in_offset);
	if (stream->put_end != 0 && stream->put_end == stream->out_end)
		put_settle(stream, region);
	core_store_release(&stream->put_end, 0);
	if (stream->out_start > stream->out_end)
		stream->out_start = stream->out_end;
}

/* What a predecessor left is taken as it is if it can be true. */
static bool memory_fits(const struct console_memory *memory, uint32_t nports)
{
	uint32_t i;

	if (memory->magic != CONSOLE_MAGIC || memory->version != CONSOLE_VERSION || memory->nports != nports ||
	    memory->piped > nports)
		return false;
	for (i = 0; i < nports; i++) {
		const struct console_stream *stream = &memory->stream[i];

		if (stream->out_end - stream->out_sent > CONSOLE_PENDING_MAX ||
		    stream->out_end - stream->log_sent > CONSOLE_PENDING_MAX ||
		    stream->in_end - stream->in_taken >= CONSOLE_INPUT_SIZE ||
		    stream->in_next - stream->in_taken > stream->in_end - stream->in_taken)
			return false;
	}
	return true;
}

static void memory_lay_out(struct console_memory *memory, uint32_t nports)
{
	uint32_t i;

	core_store_release(&memory->magic, 0);
	memset(memory, 0, sizeof(*memory));
	memory->version = CONSOLE_VERSION;
	memory->nports = nports;
	for (i = 0; i < nports; i++) {
		memory->stream[i].out_offset = (int64_t)console_output_at(i);
		memory->stream[i].log_offset = (int64_t)console_output_at(i);
		memory->stream[i].in_offset = (int64_t)console_input_at(i);
	}
	core_store_release(&memory->magic, CONSOLE_MAGIC);
}

int console_memory_open(struct console *console)
{
	uint64_t size = console_output_at(console->nports);
	uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, CONSOLE_FD(CONSOLE_PLACE_MEMORY), 0);
	uint32_t i;

	if (memory == MAP_FAILED) {
		int err = errno;

		log_error("mapping the console's memory: %s", strerror(err));
		return -err;
	}
	/* Only a page by itself can be punched out while somebody else holds it. */
	(void)madvise(memory, size, MADV_NOHUGEPAGE);
	console->memory = (struct console_memory *)(void *)memory;
	if (!memory_fits(console->memory, console->nports))
		memory_lay_out(console->memory, console->nports);
	for (i = 0; i < console->nports; i++) {
		struct console_port *port = &console->port[i];

		port->number = i;
		port->stream = &console->memory->stream[i];
		port->output = memory + console_output_at(i);
		port->input = memory + console_input_at(i);
		stream_settle(port->stream, i, console->backend->region);
	}
	if (console->memory->piped && !console_pipe_empty(&console->port[console->memory->piped - 1]))
		log_warning("what a predecessor had read is lost: %s", strerror(errno));
	return 0;
}

/* The window */

static void window_tell(struct console *console, const struct console_port *port)
{
	struct virtio_console_config config = {.cols = htole16(port->stream->cols),
					       .rows = htole16(port->stream->rows)};

	if (backend_config_set(console->backend, 0, &config, offsetof(struct virtio_console_config, max_nr_ports)))
		backend_interrupt(console->backend, REGION_INT_CONFIG);
}

void console_window_look(struct console *console, struct console_port *port)
{
	struct console_stream *stream = port->stream;
	struct winsize size;

	if (port->kind != CONSOLE_KIND_PTY || ioctl(CONSOLE_FD(port->number), TIOCGWINSZ, &size) < 0 ||
	    size.ws_col == 0 || size.ws_row == 0)
		return;
	if (stream->cols != size.ws_col || stream->rows != size.ws_row) {
		stream->cols = size.ws_col;
		stream->rows = size.ws_row;
		if (port->console)
			console_control_tell(console, port, CONSOLE_SEND_RESIZE);
	}
	/* A device has one size in its configuration space: that of its first port. */
	if (port->number == 0)
		window_tell(console, port);
}

/* Whoever is at the other end */

static bool has_left(const struct console_port *port)
{
	struct pollfd fd = {.fd = CONSOLE_FD(port->number)};
	struct timespec zero = {0};

	if (port->kind == CONSOLE_KIND_FILE)
		return false;
	if (port->kind == CONSOLE_KIND_SOCKET && !port->connected)
		return true;
	return ppoll(&fd, 1, &zero, NULL) > 0 && (fd.revents & (POLLHUP | POLLNVAL));
}

static void attach(struct console *console, struct console_port *port)
{
	struct console_stream *stream = port->stream;

	port->full = false;
	port->readable = port->kind != CONSOLE_KIND_FILE;
	core_store(&stream->attached_at, stream->out_sent);
	core_store_release(&stream->attached, 1);
	if (!port->console)
		console_control_tell(console, port, CONSOLE_SEND_OPEN);
}

void console_detach(struct console *console, struct console_port *port)
{
	if (!port->stream->attached)
		return;
	core_store_release(&port->stream->attached, 0);
	if (!port->console)
		console_control_tell(console, port, CONSOLE_SEND_OPEN);
}

void console_look_left(struct console *console, struct console_port *port)
{
	if (port->stream->attached && has_left(port))
		console_detach(console, port);
}

void console_look_who(struct console *console, struct console_port *port)
{
	if (port->kind != CONSOLE_KIND_PTY)
		return;
	if (has_left(port))
		console_detach(console, port);
	else if (!port->stream->attached)
		attach(console, port);
}

static void port_look(struct console *console, struct console_port *port)
{
	/* What was typed before somebody left is still to be read. */
	port->readable = port->kind == CONSOLE_KIND_PTY || (port->kind == CONSOLE_KIND_SOCKET && port->connected);
	if (has_left(port))
		console_detach(console, port);
	else if (!port->stream->attached)
		attach(console, port);
	/* Also of one who came only to change it. */
	console_window_look(console, port);
}

void console_endpoints_open(struct console *console)
{
	uint32_t i;

	for (i = 0; i < console->nports; i++)
		port_look(console, &console->port[i]);
}

/* Nobody opens a terminal unseen: the news are taken before it is looked at. */
bool console_endpoints_look(struct console *console)
{
	char events[sizeof(struct inotify_event) + 256];
	bool news = false;
	uint32_t i;

	while (read(CONSOLE_FD(CONSOLE_PLACE_NEWS), events, sizeof(events)) > 0)
		news = true;
	for (i = 0; i < console->nports && news; i++) {
		if (console->port[i].kind == CONSOLE_KIND_PTY)
			port_look(console, &console->port[i]);
	}
	return news;
}

static bool log_waits(const struct console_port *port)
{
	return port->logged && !port->log_gone && port->stream->out_end != port->stream->log_sent;
}

static short endpoint_events(const struct console_port *port)
{
	const struct console_stream *stream = port->stream;
	bool room = stream->in_end - stream->in_taken < CONSOLE_INPUT_SIZE - 1;
	short events = 0;

	if (port->readable && room)
		events |= POLLIN;
	if (stream->out_end != stream->out_sent)
		events |= POLLOUT;
	return events;
}

void console_endpoints_wait(struct console *console, struct pollfd *fds, uint32_t *n)
{
	uint32_t i;

	*n = 0;
	fds[(*n)++] = (struct pollfd){.fd = CONSOLE_FD(CONSOLE_PLACE_NEWS), .events = POLLIN};
	for (i = 0; i < console->nports; i++) {
		const struct console_port *port = &console->port[i];

		if (log_waits(port))
			fds[(*n)++] = (struct pollfd){.fd = CONSOLE_FD(CONSOLE_PLACE_LOG + i), .events = POLLOUT};
		/* An endpoint that was left is always ready to say so. */
		if (port->stream->attached && port->kind != CONSOLE_KIND_FILE)
			fds[(*n)++] = (struct pollfd){.fd = CONSOLE_FD(i), .events = endpoint_events(port)};
	}
}
