/* SPDX-License-Identifier: MIT */
/* The two streams of a port: the driver's output to the endpoint, and the endpoint's input to the driver. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "console.h"

#define TX_BATCH 64 /* chains in one turn */
#define RX_BATCH (256u << 10) /* bytes in one turn */
#define RETRY_NS 1000000000u /* an endpoint that failed, as a file on a full disk does */

void console_copy(uint8_t *ring, uint32_t size, uint64_t at, const struct iovec *iov, uint64_t skip, uint64_t len,
		  bool into_ring)
{
	for (; len > 0; iov++) {
		uint8_t *base = iov->iov_base;
		uint64_t left = iov->iov_len;

		if (skip >= left) {
			skip -= left;
			continue;
		}
		base += skip;
		left -= skip;
		skip = 0;
		while (left > 0 && len > 0) {
			uint64_t n = console_least(size - at % size, console_least(left, len));

			if (into_ring)
				memcpy(ring + at % size, base, n);
			else
				memcpy(base, ring + at % size, n);
			at += n;
			base += n;
			left -= n;
			len -= n;
		}
	}
}

static void endpoint_failed(struct console *console, struct console_port *port, const char *what, int error)
{
	uint64_t suppressed;

	if (log_gate_open(&port->error_gate, console->backend->now_ns, &suppressed))
		log_error("port %u: %s: %s (%llu such lines held back)", port->number, what, strerror(error),
			  (unsigned long long)suppressed);
}

/* Output */

/*
 * Has the kernel move what is pending from the memory to fd. Its offset and *sent agree but for what it has just moved,
 * whenever this process dies. Bytes, or -errno.
 */
static int64_t output_send(const struct console_port *port, int fd, uint64_t *sent, int64_t *offset)
{
	uint64_t at = *sent % CONSOLE_OUTPUT_SIZE;
	uint64_t n = console_least(port->stream->out_end - *sent, CONSOLE_OUTPUT_SIZE - at);
	ssize_t got;

	core_store(offset, (int64_t)(console_output_at(port->number) + at));
	got = sendfile(fd, CONSOLE_FD(CONSOLE_PLACE_MEMORY), (off_t *)offset, n);
	if (got < 0)
		return -errno;
	core_store_release(sent, *sent + (uint64_t)got);
	return got;
}

/* Up to position end it is not to be sent any more. The offset first: alone, it says the same. */
static void output_skip(const struct console_port *port, uint64_t *sent, int64_t *offset, uint64_t end)
{
	core_store(offset, (int64_t)(console_output_at(port->number) + end % CONSOLE_OUTPUT_SIZE));
	core_store_release(sent, end);
}

static bool endpoint_send(struct console *console, struct console_port *port)
{
	struct console_stream *stream = port->stream;
	int64_t got;

	if (stream->out_end == stream->out_sent || (stream->attached && port->full))
		return false;
	console_look_who(console, port);
	if (!stream->attached) {
		/* Nobody is there: it stays among the recent output. */
		output_skip(port, &stream->out_sent, &stream->out_offset, stream->out_end);
		return true;
	}
	if (console->backend->now_ns < port->retry_ns)
		return false;
	port->retry_ns = 0;
	got = output_send(port, CONSOLE_FD(port->number), &stream->out_sent, &stream->out_offset);
	if (got > 0)
		return true;
	port->full = true;
	if (got == 0 || got == -EAGAIN || got == -EINTR)
		return false;
	if (port->kind != CONSOLE_KIND_FILE) {
		/* EIO of a terminal, EPIPE of a socket: whoever was there has left. */
		console_detach(console, port);
		return true;
	}
	endpoint_failed(console, port, "writing its file, tried again every second", (int)-got);
	port->retry_ns = console->backend->now_ns + RETRY_NS;
	return false;
}

/* While no launcher is there, the copy waits as long as there is room for it. */
static void log_skip(struct console *console, struct console_port *port, uint64_t room)
{
	struct console_stream *stream = port->stream;
	uint64_t waiting = stream->out_end - stream->log_sent;
	uint64_t keep = CONSOLE_PENDING_MAX - room;

	if (waiting <= keep)
		return;
	backend_count(&console->backend->region->device.own[CONSOLE_OWN_LOG_LOST], waiting - keep);
	output_skip(port, &stream->log_sent, &stream->log_offset, stream->out_end - keep);
}

static bool log_send(struct console_port *port)
{
	struct console_stream *stream = port->stream;
	int64_t got;

	if (!port->logged || port->log_full || stream->out_end == stream->log_sent)
		return false;
	got = output_send(port, CONSOLE_FD(CONSOLE_PLACE_LOG + port->number), &stream->log_sent, &stream->log_offset);
	port->log_gone = got == -EPIPE;
	port->log_full = got <= 0;
	return got > 0;
}

static bool tx_send(struct console *console, struct console_port *port)
{
	bool did = endpoint_send(console, port);

	return log_send(port) || did;
}

/* How much more may be pending. */
static uint64_t tx_room(const struct console_port *port)
{
	const struct console_stream *stream = port->stream;
	uint64_t pending = stream->out_end - stream->out_sent;
	uint64_t log = port->logged && !port->log_gone ? stream->out_end - stream->log_sent : 0;

	return CONSOLE_PENDING_MAX - (pending > log ? pending : log);
}

/* The pages from position at on, of n bytes, are begun anew: what hangs on the old ones keeps them. */
static void tx_punch(struct console *console, struct console_port *port, uint64_t at, uint64_t n)
{
	uint64_t page = (at + CONSOLE_PAGE - 1) / CONSOLE_PAGE * CONSOLE_PAGE;

	if (port->kind != CONSOLE_KIND_SOCKET && !port->logged)
		return;
	for (; page < at + n; page += CONSOLE_PAGE) {
		if (fallocate(CONSOLE_FD(CONSOLE_PLACE_MEMORY), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(console_output_at(port->number) + page % CONSOLE_OUTPUT_SIZE), CONSOLE_PAGE) < 0)
			endpoint_failed(console, port, "punching its memory", errno);
	}
}

/* Makes n bytes, which there is room for, the next output: part of the chain in hand, or one character. */
static void tx_append(struct console *console, struct console_port *port, const struct iovec *iov, uint64_t skip,
		      uint64_t n)
{
	struct console_stream *stream = port->stream;

	if (port->logged && port->log_gone)
		log_skip(console, port, n);
	tx_punch(console, port, stream->out_end, n);
	console_copy(port->output, CONSOLE_OUTPUT_SIZE, stream->out_end, iov, skip, n, true);
	core_store_release(&stream->out_end, stream->out_end + n);
	if (!port->logged)
		output_skip(port, &stream->log_sent, &stream->log_offset, stream->out_end);
}

/* As much of the chain in hand as there is room for. True if all of it is there. */
static bool tx_copy(struct console *console, struct console_port *port)
{
	uint64_t n = console_least(port->tx.read_len - port->tx_done, tx_room(port));

	if (n > 0)
		tx_append(console, port, port->tx.iov, port->tx_done, n);
	port->tx_done += n;
	return port->tx_done == port->tx.read_len;
}

/* The chain that was fetched last: how much of it a predecessor has copied already is known by out_start. */
static int tx_fetch(struct console *console, struct console_port *port)
{
	struct virtq *vq = &console->backend->vq[CONSOLE_QUEUE_TX(port->number)];
	int got = virtq_pop(vq, &port->tx);

	if (got < 0)
		backend_break(console->backend, CONSOLE_QUEUE_TX(port->number), vq->why);
	if (got <= 0)
		return got;
	port->tx_held = true;
	port->tx_done = console_least(port->stream->out_end - port->stream->out_start, port->tx.read_len);
	return got;
}

/* Published at once: out_start is of the one chain that may be in hand. */
static void tx_finish(struct console *console, struct console_port *port, bool *interrupt)
{
	struct region_device *counters = &console->backend->region->device;
	struct virtq *vq = &console->backend->vq[CONSOLE_QUEUE_TX(port->number)];

	virtq_push(vq, port->tx.head, 0);
	*interrupt |= virtq_publish(vq);
	port->tx_held = false;
	core_store_release(&port->stream->out_start, port->stream->out_end);
	backend_count(&counters->requests, 1);
	backend_count(&counters->bytes_written, port->tx.read_len);
}

static bool tx_chains(struct console *console, struct console_port *port, bool *interrupt)
{
	bool did = false;
	uint32_t n;

	for (n = 0; n < TX_BATCH; n++) {
		if (!port->tx_held && tx_fetch(console, port) <= 0)
			break;
		while (!tx_copy(console, port) && tx_send(console, port))
			did = true;
		if (port->tx_done < port->tx.read_len)
			break;
		tx_finish(console, port, interrupt);
		did = true;
	}
	return did;
}

bool console_tx_run(struct console *console, struct console_port *port)
{
	struct backend *b = console->backend;
	uint64_t queue = 1ull << CONSOLE_QUEUE_TX(port->number);
	bool interrupt = false;
	bool did = false;

	if (b->ready_queues & queue)
		did = tx_chains(console, port, &interrupt);
	if (interrupt)
		backend_interrupt(b, REGION_INT_USED);
	while (tx_send(console, port))
		did = true;
	/* A chain that finds no room waits for the endpoint, not for us. */
	if (port->tx_held)
		b->passive_queues |= queue;
	else
		b->passive_queues &= ~queue;
	backend_wake_at(b, port->retry_ns);
	return did;
}

bool console_put(struct console *console, struct console_port *port, uint8_t character, uint32_t seen)
{
	const struct iovec iov = {&character, 1};
	struct console_stream *stream = port->stream;

	if (tx_room(port) == 0 && (!tx_send(console, port) || tx_room(port) == 0))
		return false;
	/* It is no part of the chain in hand, of which as much is there afterwards as before. */
	core_store_release(&stream->put_seen, seen);
	core_store_release(&stream->put_start, stream->out_start + 1);
	core_store_release(&stream->put_end, stream->out_end + 1);
	tx_append(console, port, &iov, 0, 1);
	core_store_release(&stream->out_start, stream->put_start);
	region_state_update(console->backend->region, &seen, sizeof(seen));
	core_store_release(&stream->put_end, 0);
	while (tx_send(console, port))
		;
	return true;
}

/* Input */

bool console_pipe_empty(struct console_port *port)
{
	struct console_stream *stream = port->stream;
	ssize_t n;

	do {
		uint64_t at = stream->in_end % CONSOLE_INPUT_SIZE;

		core_store(&stream->in_offset, (int64_t)(console_input_at(port->number) + at));
		n = splice(CONSOLE_FD(CONSOLE_PLACE_PIPE), NULL, CONSOLE_FD(CONSOLE_PLACE_MEMORY), &stream->in_offset,
			   CONSOLE_INPUT_SIZE - at, SPLICE_F_NONBLOCK);
		if (n > 0)
			core_store_release(&stream->in_end, stream->in_end + (uint64_t)n);
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n == 0 || errno == EAGAIN;
}

static bool rx_read(struct console *console, struct console_port *port)
{
	struct console_stream *stream = port->stream;
	uint64_t room = CONSOLE_INPUT_SIZE - 1 - (stream->in_end - stream->in_taken);
	ssize_t n;

	if (!port->readable || room == 0) {
		console_look_left(console, port);
		return false;
	}
	core_store_release(&console->memory->piped, port->number + 1);
	n = splice(CONSOLE_FD(port->number), NULL, CONSOLE_FD(CONSOLE_PLACE_PIPE_IN), NULL, room, SPLICE_F_NONBLOCK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		/* The last one has left; or, of a socket, it says no more but may listen. */
		port->readable = false;
		console_look_left(console, port);
		return false;
	}
	if (!console_pipe_empty(port)) {
		endpoint_failed(console, port, "moving what was read into its memory", errno);
		port->readable = false;
	}
	return true;
}

/* One chain, filled. */
static bool rx_deliver(struct console *console, struct console_port *port, bool *interrupt)
{
	struct backend *b = console->backend;
	struct console_stream *stream = port->stream;
	struct virtq *vq = &b->vq[CONSOLE_QUEUE_RX(port->number)];
	struct virtq_chain *chain = &console->chain;
	uint64_t n = stream->in_end - stream->in_taken;
	int got;

	if (n == 0 || b->broken)
		return false;
	got = virtq_pop(vq, chain);
	if (got < 0)
		backend_break(b, CONSOLE_QUEUE_RX(port->number), vq->why);
	if (got <= 0)
		return false;
	n = console_least(n, chain->write_len);
	console_copy(port->input, CONSOLE_INPUT_SIZE, stream->in_taken, chain->iov + chain->nread, 0, n, false);
	core_store_release(&stream->in_next, stream->in_taken + n);
	virtq_push(vq, chain->head, (uint32_t)n);
	*interrupt |= virtq_publish(vq);
	core_store_release(&stream->in_taken, stream->in_taken + n);
	backend_count(&b->region->device.requests, 1);
	backend_count(&b->region->device.bytes_read, n);
	return true;
}

bool console_rx_run(struct console *console, struct console_port *port)
{
	struct backend *b = console->backend;
	struct console_stream *stream = port->stream;
	uint64_t queue = 1ull << CONSOLE_QUEUE_RX(port->number);
	bool takes = (b->ready_queues & queue) && console_port_open(console, port);
	uint64_t before = stream->in_taken;
	bool interrupt = false;
	bool did = false;

	while (stream->in_taken - before < RX_BATCH) {
		bool more = rx_read(console, port);

		while (takes && rx_deliver(console, port, &interrupt))
			did = true;
		did |= more;
		if (!more)
			break;
	}
	if (interrupt)
		backend_interrupt(b, REGION_INT_USED);
	if (takes && stream->in_end != stream->in_taken)
		b->passive_queues &= ~queue;
	else
		b->passive_queues |= queue;
	return did;
}

void console_stream_start(struct console *console, struct console_port *port, uint32_t q)
{
	const struct virtq *vq = &console->backend->vq[q];
	struct console_stream *stream = port->stream;

	if (q == CONSOLE_QUEUE_TX(port->number)) {
		/* No chain in flight: the last one was given back. */
		if (vq->nresubmit == 0)
			core_store_release(&stream->out_start, stream->out_end);
		return;
	}
	if (vq->nresubmit == 0)
		core_store_release(&stream->in_taken, stream->in_next);
	core_store_release(&stream->in_next, stream->in_taken);
}
