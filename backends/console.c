/* SPDX-License-Identifier: MIT */
/* hvisor-console: virtio-console (virtio 1.2, section 5.3), one port, on a pseudoterminal. */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/backend.h"
#include "common/console.h"

#define TX_BATCH 64 /* chains in one turn */
#define LOOK_TURNS 64 /* turns without rest after which it is asked whether the terminal was opened */

struct console {
	struct console_file *file;
	uint64_t began; /* heartbeat of the region at our start */
	uint8_t emergency; /* what the driver had written by then */
	bool full; /* the terminal takes no more at present */
	bool tx_held; /* the chain below is in hand: a part of it is in output[] */
	uint64_t tx_done; /* bytes of it that are */
	uint32_t turns;
	struct virtq_chain tx;
	struct virtq_chain rx;
};

static struct console device;
static struct backend backend;

static struct console *console_of(struct backend *b)
{
	return b->device;
}

/* Copies between a buffer of size bytes that goes round, from position at on, and a chain's iovecs from byte skip on.
 */
static void ring_copy(uint8_t *ring, uint32_t size, uint64_t at, const struct iovec *iov, uint64_t skip, uint64_t len,
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
			uint64_t n = size - at % size;

			n = n < left ? n : left;
			n = n < len ? n : len;
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

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void count(core_u64 *counter, uint64_t n)
{
	core_store(counter, core_load(counter) + n);
}

/* The terminal: is anybody there, and how large is his window. */

static void window_look(struct backend *b)
{
	struct virtio_console_config config;
	struct winsize size;
	const uint8_t *now = b->region->config[core_load(&b->region->device.config_gen) & 1];

	if (ioctl(CONSOLE_FD_TERMINAL, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
		return;
	memcpy(&config, now, sizeof(config));
	if (le16toh(config.cols) == size.ws_col && le16toh(config.rows) == size.ws_row)
		return;
	config.cols = htole16(size.ws_col);
	config.rows = htole16(size.ws_row);
	region_config_update(b->region, 0, &config, offsetof(struct virtio_console_config, max_nr_ports));
	backend_interrupt(b, REGION_INT_CONFIG);
}

static void attach(struct backend *b)
{
	struct console_file *file = console_of(b)->file;

	console_of(b)->full = false;
	core_store(&file->attached_at, file->out_sent);
	core_store_release(&file->attached, 1);
	window_look(b);
}

static void detach(struct console *console)
{
	core_store_release(&console->file->attached, 0);
}

/* Has nobody the terminal open? */
static bool terminal_is_left(void)
{
	struct pollfd fd = {.fd = CONSOLE_FD_TERMINAL};
	struct timespec zero = {0};

	return ppoll(&fd, 1, &zero, NULL) > 0 && (fd.revents & POLLHUP);
}

/*
 * Nobody opens the terminal unseen: the news are taken before it is looked at. Who changes the size of the window opens
 * and closes it too, as stty does.
 */
static bool terminal_look(struct backend *b)
{
	struct console *console = console_of(b);
	char events[sizeof(struct inotify_event) + 256];
	bool news = false;

	while (read(CONSOLE_FD_OPENED, events, sizeof(events)) > 0)
		news = true;
	if (!news)
		return false;
	if (terminal_is_left())
		detach(console);
	else if (!console->file->attached)
		attach(b);
	else
		window_look(b);
	return true;
}

/* Output. */

/* As much of the chain in hand as there is room for. True if it is all there. */
static bool tx_copy(struct console *console)
{
	struct console_file *file = console->file;
	uint64_t room = CONSOLE_OUTPUT_SIZE - (file->out_end - file->out_sent);
	uint64_t n = least(console->tx.read_len - console->tx_done, room);

	ring_copy(file->output, CONSOLE_OUTPUT_SIZE, file->out_end, console->tx.iov, console->tx_done, n, true);
	console->tx_done += n;
	core_store_release(&file->out_end, file->out_end + n);
	return console->tx_done == console->tx.read_len;
}

/* The chain that was fetched last: how much of it a predecessor has copied already is known by out_start. */
static int tx_fetch(struct backend *b)
{
	struct console *console = console_of(b);
	struct console_file *file = console->file;
	int got = virtq_pop(&b->vq[CONSOLE_QUEUE_TX], &console->tx);

	if (got <= 0)
		return got;
	console->tx_held = true;
	console->tx_done = least(file->out_end - file->out_start, console->tx.read_len);
	return got;
}

static void tx_finish(struct backend *b, bool *interrupt)
{
	struct console *console = console_of(b);

	virtq_push(&b->vq[CONSOLE_QUEUE_TX], console->tx.head, 0);
	*interrupt |= virtq_publish(&b->vq[CONSOLE_QUEUE_TX]);
	console->tx_held = false;
	core_store_release(&console->file->out_start, console->file->out_end);
	count(&b->region->device.requests, 1);
	count(&b->region->device.bytes_written, console->tx.read_len);
}

static bool tx_send(struct backend *b)
{
	struct console *console = console_of(b);
	struct console_file *file = console->file;
	uint64_t left = file->out_end - file->out_sent;
	uint64_t at = file->out_sent % CONSOLE_OUTPUT_SIZE;
	ssize_t n;

	if (left == 0 || (file->attached && console->full))
		return false;
	/*
	 * The news may not have been taken yet. A terminal that was left takes bytes all the same, and would give them
	 * to whoever opens it next; and whoever has opened it gets what is said from then on.
	 */
	if (terminal_is_left())
		detach(console);
	else if (!file->attached)
		attach(b);
	if (!file->attached) {
		/* Nobody is there: it stays among the recent output. */
		core_store_release(&file->out_sent, file->out_end);
		return true;
	}
	n = write(CONSOLE_FD_TERMINAL, file->output + at, least(left, CONSOLE_OUTPUT_SIZE - at));
	if (n > 0)
		core_store_release(&file->out_sent, file->out_sent + (uint64_t)n);
	else if (n < 0 && errno == EIO)
		detach(console);
	else
		console->full = true;
	return n > 0 || !file->attached;
}

static bool tx_run(struct backend *b)
{
	struct console *console = console_of(b);
	bool interrupt = false;
	bool did = false;
	int got = 1;
	uint32_t n;

	for (n = 0; n < TX_BATCH && got > 0; n++) {
		if (!console->tx_held)
			got = tx_fetch(b);
		if (got < 0)
			backend_break(b, CONSOLE_QUEUE_TX, b->vq[CONSOLE_QUEUE_TX].why);
		if (got <= 0)
			break;
		did = true;
		while (!tx_copy(console) && tx_send(b))
			;
		if (console->tx_done < console->tx.read_len) {
			did = n > 0;
			break;
		}
		tx_finish(b, &interrupt);
	}
	if (interrupt)
		backend_interrupt(b, REGION_INT_USED);
	while (tx_send(b))
		did = true;
	return did;
}

/* Input. */

static bool rx_read(struct backend *b)
{
	struct console *console = console_of(b);
	struct console_file *file = console->file;
	uint64_t room = CONSOLE_INPUT_SIZE - (file->in_end - file->in_taken);
	uint64_t at = file->in_end % CONSOLE_INPUT_SIZE;
	ssize_t n;

	if (!file->attached)
		return false;
	if (room == 0) {
		if (terminal_is_left())
			detach(console);
		return false;
	}
	n = read(CONSOLE_FD_TERMINAL, file->input + at, least(room, CONSOLE_INPUT_SIZE - at));
	if (n > 0)
		core_store_release(&file->in_end, file->in_end + (uint64_t)n);
	else if (n < 0 && errno == EIO)
		detach(console);
	return n > 0;
}

/* One chain, filled. */
static bool rx_deliver(struct backend *b, bool *interrupt)
{
	struct console *console = console_of(b);
	struct console_file *file = console->file;
	uint64_t n = file->in_end - file->in_taken;
	struct virtq *vq = &b->vq[CONSOLE_QUEUE_RX];
	int got;

	if (n == 0)
		return false;
	got = virtq_pop(vq, &console->rx);
	if (got < 0)
		backend_break(b, CONSOLE_QUEUE_RX, vq->why);
	if (got <= 0)
		return false;
	n = least(n, console->rx.write_len);
	ring_copy(file->input, CONSOLE_INPUT_SIZE, file->in_taken, console->rx.iov + console->rx.nread, 0, n, false);
	core_store_release(&file->in_next, file->in_taken + n);
	virtq_push(vq, console->rx.head, (uint32_t)n);
	*interrupt |= virtq_publish(vq);
	core_store_release(&file->in_taken, file->in_taken + n);
	count(&b->region->device.requests, 1);
	count(&b->region->device.bytes_read, n);
	return true;
}

static bool rx_run(struct backend *b)
{
	struct console_file *file = console_of(b)->file;
	bool interrupt = false;
	bool did = false;

	while (rx_read(b))
		did = true;
	while (!b->broken && (b->ready_queues & (1ull << CONSOLE_QUEUE_RX)) && rx_deliver(b, &interrupt))
		did = true;
	if (interrupt)
		backend_interrupt(b, REGION_INT_USED);
	if (file->in_end == file->in_taken)
		b->passive_queues |= 1ull << CONSOLE_QUEUE_RX;
	else
		b->passive_queues &= ~(1ull << CONSOLE_QUEUE_RX);
	return did;
}

static bool console_run(struct backend *b)
{
	struct console *console = console_of(b);
	bool did = false;

	/* After a rest, and at times without one, the terminal may take more, or somebody may have opened it. */
	if (console->turns++ % LOOK_TURNS == 0)
		did = terminal_look(b);
	console->full = false;
	if (b->ready_queues & (1ull << CONSOLE_QUEUE_TX))
		did |= tx_run(b);
	if (!b->broken)
		did |= rx_run(b);
	/* A chain that finds no room waits for the terminal, not for us. */
	if (console->tx_held)
		b->passive_queues |= 1ull << CONSOLE_QUEUE_TX;
	else
		b->passive_queues &= ~(1ull << CONSOLE_QUEUE_TX);
	if (!did)
		console->turns = 0;
	return did;
}

static bool console_prepare_sleep(struct backend *b, struct pollfd *fds, uint32_t *n)
{
	struct console_file *file = console_of(b)->file;

	*n = 0;
	fds[(*n)++] = (struct pollfd){.fd = CONSOLE_FD_OPENED, .events = POLLIN};
	/* While nobody has it open, it would always be ready. */
	if (!file->attached)
		return false;
	fds[*n] = (struct pollfd){.fd = CONSOLE_FD_TERMINAL};
	if (file->in_end - file->in_taken < CONSOLE_INPUT_SIZE)
		fds[*n].events |= POLLIN;
	if (file->out_end != file->out_sent)
		fds[*n].events |= POLLOUT;
	(*n)++;
	return false;
}

static void console_queue_start(struct backend *b, uint32_t q)
{
	struct console_file *file = console_of(b)->file;

	/* No chain in flight: the last one was given back, whatever a predecessor had not come to write down. */
	if (q == CONSOLE_QUEUE_TX && b->vq[q].nresubmit == 0)
		core_store_release(&file->out_start, file->out_end);
	if (q == CONSOLE_QUEUE_RX)
		core_store_release(&file->in_taken, b->vq[q].nresubmit == 0 ? file->in_next : file->in_taken);
	core_store_release(&file->in_next, file->in_taken);
}

/* The chain in hand is left to the journal, and out_start says how much of it is done. */
static void console_quiesce(struct backend *b, uint64_t queues)
{
	if (queues & (1ull << CONSOLE_QUEUE_TX))
		console_of(b)->tx_held = false;
}

static uint8_t emergency_character(const struct backend *b)
{
	const uint8_t *now = b->region->config[core_load(&b->region->device.config_gen) & 1];

	return __atomic_load_n(now + offsetof(struct virtio_console_config, emerg_wr), __ATOMIC_RELAXED);
}

/*
 * The driver may print a single character before it has set anything up (virtio 1.2, 5.3.4). One that is written before
 * the one before it was seen replaces it. A reset makes it 0.
 */
static void console_config(struct backend *b)
{
	struct console *console = console_of(b);
	struct console_file *file = console->file;
	uint8_t character = emergency_character(b);
	bool starting = core_load(&b->region->device.heartbeat) == console->began;

	/* Every backend is called when it starts, whether or not the driver has written. */
	if (character == 0 || (starting && character == console->emergency))
		return;
	terminal_look(b);
	if (file->out_end - file->out_sent == CONSOLE_OUTPUT_SIZE && !tx_send(b))
		return;
	file->output[file->out_end % CONSOLE_OUTPUT_SIZE] = character;
	/* It is no part of the chain in hand. */
	core_store_release(&file->out_start, file->out_start + 1);
	core_store_release(&file->out_end, file->out_end + 1);
	tx_send(b);
}

static int console_option(struct backend *b, const char *key, const char *value)
{
	(void)b;
	(void)key;
	(void)value;
	return -EINVAL;
}

/* What a predecessor left is taken as it is if it can be true. */
static bool file_fits(const struct console_file *file)
{
	return file->magic == CONSOLE_MAGIC && file->version == CONSOLE_VERSION &&
	       file->out_end - file->out_sent <= CONSOLE_OUTPUT_SIZE && file->out_start <= file->out_end &&
	       file->in_end - file->in_taken <= CONSOLE_INPUT_SIZE &&
	       file->in_next - file->in_taken <= file->in_end - file->in_taken;
}

static int console_start(struct backend *b)
{
	struct console *console = console_of(b);
	void *file = mmap(NULL, sizeof(struct console_file), PROT_READ | PROT_WRITE, MAP_SHARED, CONSOLE_FD_FILE, 0);

	if (file == MAP_FAILED) {
		int err = errno;

		log_error("mapping the console's file: %s", strerror(err));
		return -err;
	}
	console->file = file;
	console->began = core_load(&b->region->device.heartbeat);
	console->emergency = emergency_character(b);
	if (!file_fits(console->file)) {
		memset(file, 0, sizeof(struct console_file));
		console->file->version = CONSOLE_VERSION;
		core_store_release(&console->file->magic, CONSOLE_MAGIC);
	}
	if (b->shape.nqueues != 2 || b->shape.config_len < sizeof(struct virtio_console_config)) {
		log_error("the queue region is not that of a console with one port");
		return -EINVAL;
	}
	close(CONSOLE_FD_FILE);
	/* Nobody who opened it meanwhile is missed, nor one who left. */
	if (terminal_is_left())
		detach(console);
	else if (!console->file->attached)
		attach(b);
	return 0;
}

static const struct backend_ops console_ops = {
	.device_id = VIRTIO_ID_CONSOLE,
	.option = console_option,
	.start = console_start,
	.queue_start = console_queue_start,
	.run = console_run,
	.quiesce = console_quiesce,
	.config = console_config,
	.control = window_look,
	.prepare_sleep = console_prepare_sleep,
};

int main(int argc, char **argv)
{
	backend.ops = &console_ops;
	backend.device = &device;
	return backend_main(&backend, argc, argv);
}
