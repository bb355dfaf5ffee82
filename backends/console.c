/* SPDX-License-Identifier: MIT */
/* hvisor-console: virtio-console (virtio 1.2, section 5.3) with one port or several. */
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "console.h"

#define LOOK_TURNS 64 /* turns without rest after which it is asked whether somebody has come */

static struct console device;
static struct backend backend;

/* A signal handler has no other way. */
static volatile sig_atomic_t window_changed;

static struct console *console_of(struct backend *b)
{
	return b->device;
}

/* Who looks at the first port's terminal is told of each change of its size, by a signal: see window_watch(). */
static void on_sigwinch(int signo)
{
	(void)signo;
	window_changed = 1;
}

/*
 * The kernel tells the foreground process group of a terminal of a new size, so we become that one's. Nobody has to
 * look at intervals, then. Where it cannot be had, a change is seen when something else happens.
 */
static int window_watch(struct console *console)
{
	struct sigaction action = {.sa_handler = on_sigwinch};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || sigaction(SIGWINCH, &action, NULL) < 0)
		return -errno;
	if (console->port[0].kind == CONSOLE_KIND_PTY && ioctl(CONSOLE_FD(0), TIOCSCTTY, 0) < 0)
		log_debug("the size of the window is not watched: %s", strerror(errno));
	return 0;
}

/* KIND and words behind it: "pty,console,log". */
static int port_option(struct console_port *port, const char *value)
{
	static const char *const kinds[] = {
		[CONSOLE_KIND_PTY] = "pty", [CONSOLE_KIND_SOCKET] = "socket", [CONSOLE_KIND_FILE] = "file"};
	char text[64];
	char *rest = text;
	char *word;
	uint32_t i;

	if (strlen(value) >= sizeof(text))
		return -EINVAL;
	strcpy(text, value);
	word = strsep(&rest, ",");
	for (i = CONSOLE_KIND_PTY; i <= CONSOLE_KIND_FILE; i++) {
		if (strcmp(word, kinds[i]) == 0)
			port->kind = i;
	}
	if (port->kind == CONSOLE_KIND_NONE)
		return -EINVAL;
	while ((word = strsep(&rest, ","))) {
		if (strcmp(word, "console") == 0)
			port->console = true;
		else if (strcmp(word, "connected") == 0)
			port->connected = true;
		else if (strcmp(word, "log") == 0)
			port->logged = true;
		else
			return -EINVAL;
	}
	return 0;
}

static int name_option(struct console_port *port, const char *value)
{
	if (strlen(value) >= sizeof(port->name))
		return -EINVAL;
	strcpy(port->name, value);
	return 0;
}

/* port=KIND[,WORD...] begins the next port; name=TEXT is that port's. */
static int console_option(struct backend *b, const char *key, const char *value)
{
	struct console *console = console_of(b);

	if (strcmp(key, "port") == 0 && console->nports < CONSOLE_PORTS_MAX)
		return port_option(&console->port[console->nports++], value);
	if (strcmp(key, "port_name") == 0 && console->nports > 0)
		return name_option(&console->port[console->nports - 1], value);
	return -EINVAL;
}

static int console_start(struct backend *b)
{
	struct console *console = console_of(b);
	uint32_t nqueues;
	int err;

	console->backend = b;
	nqueues = b->shape.device_features & (1ull << VIRTIO_CONSOLE_F_MULTIPORT)
			  ? CONSOLE_NQUEUES_MULTIPORT(console->nports)
			  : CONSOLE_NQUEUES;
	if (console->nports == 0 || b->shape.nqueues != nqueues ||
	    b->shape.config_len < sizeof(struct virtio_console_config)) {
		log_error("the queue region is not that of a console with %u ports", console->nports);
		return -EINVAL;
	}
	err = console_memory_open(console);
	if (err)
		return err;
	err = window_watch(console);
	if (err) {
		log_error("watching the size of the window: %s", strerror(-err));
		return err;
	}
	console_endpoints_open(console);
	return 0;
}

/* Of a queue that is no control queue: its port. */
static struct console_port *port_of_queue(struct console *console, uint32_t q)
{
	return &console->port[q < 2 ? 0 : (q - 2) / 2];
}

static bool is_control_queue(uint32_t q)
{
	return q == CONSOLE_QUEUE_CONTROL_RX || q == CONSOLE_QUEUE_CONTROL_TX;
}

static void console_queue_start(struct backend *b, uint32_t q)
{
	if (!is_control_queue(q))
		console_stream_start(console_of(b), port_of_queue(console_of(b), q), q);
}

/* The chain in hand is left to the journal, and out_start says how much of it is done. */
static void console_quiesce(struct backend *b, uint64_t queues)
{
	struct console *console = console_of(b);
	uint32_t i;

	for (i = 0; i < console->nports; i++) {
		if (queues & (1ull << CONSOLE_QUEUE_TX(i)))
			console->port[i].tx_held = false;
	}
	b->passive_queues &= ~queues;
}

static void console_reset(struct backend *b)
{
	console_control_reset(console_of(b));
}

static void windows_look(struct console *console)
{
	uint32_t i;

	for (i = 0; i < console->nports; i++)
		console_window_look(console, &console->port[i]);
}

/* Also at a take-over: what came about while nobody could tell the driver is told now. */
static void console_driver_ok(struct backend *b)
{
	console_control_start(console_of(b));
	windows_look(console_of(b));
}

/* Emergency writes that were seen, as the region's state has it. */
static uint32_t emergency_seen(const struct backend *b)
{
	uint32_t seen;

	region_state_read(b->region, &seen, sizeof(seen));
	return seen;
}

/* The next write, after which so many are seen. True if the region's state says so now. */
static bool emergency_put(struct console *console, const struct region_config_write *write, uint32_t seen)
{
	struct region_device *counters = &console->backend->region->device;
	bool put;

	if (core_load(&write->offset) != offsetof(struct virtio_console_config, emerg_wr))
		return false;
	console->port[0].full = false;
	put = console_put(console, &console->port[0], (uint8_t)core_load(&write->value), seen);
	backend_count(&counters->own[put ? CONSOLE_OWN_EMERGENCY : CONSOLE_OWN_EMERGENCY_LOST], 1);
	return put;
}

/*
 * The driver may print single characters before it has set anything up, or when nothing else works any more (virtio
 * 1.2, 5.3.4). The register model keeps the last REGION_CONFIG_WRITES of them until we come to look.
 */
static void console_config(struct backend *b)
{
	struct console *console = console_of(b);
	const struct region_config_writes *writes = &b->region->config_writes;
	uint32_t count = core_load_acquire(&writes->count);
	uint32_t seen = emergency_seen(b);
	const struct region_config_write *write;

	if (count == seen)
		return;
	console_endpoints_look(console);
	if (count - seen > REGION_CONFIG_WRITES) {
		backend_count(&b->region->device.own[CONSOLE_OWN_EMERGENCY_LOST], count - seen - REGION_CONFIG_WRITES);
		seen = count - REGION_CONFIG_WRITES;
		region_state_update(b->region, &seen, sizeof(seen));
	}
	while (seen != count) {
		write = &writes->write[seen % REGION_CONFIG_WRITES];
		seen++;
		if (!emergency_put(console, write, seen))
			region_state_update(b->region, &seen, sizeof(seen));
	}
}

static bool console_run(struct backend *b)
{
	struct console *console = console_of(b);
	bool did = false;
	uint32_t i;

	b->wake_ns = 0;
	/* After a rest, and at times without one, an endpoint may take more, or somebody may have come. */
	if (console->turns++ % LOOK_TURNS == 0)
		did = console_endpoints_look(console);
	if (window_changed) {
		window_changed = 0;
		windows_look(console);
	}
	did |= console_control_run(console);
	for (i = 0; i < console->nports && !b->broken; i++) {
		struct console_port *port = &console->port[i];

		port->full = false;
		port->log_full = false;
		did |= console_tx_run(console, port);
		did |= !b->broken && console_rx_run(console, port);
	}
	/* Somebody may have left meanwhile. */
	if (!b->broken && console_control_waits(console))
		did |= console_control_run(console);
	if (!did)
		console->turns = 0;
	return did;
}

static bool console_prepare_sleep(struct backend *b, struct pollfd *fds, uint32_t *n)
{
	console_endpoints_wait(console_of(b), fds, n);
	return window_changed;
}

static const struct backend_ops console_ops = {
	.device_id = VIRTIO_ID_CONSOLE,
	.option = console_option,
	.start = console_start,
	.queue_start = console_queue_start,
	.run = console_run,
	.quiesce = console_quiesce,
	.reset = console_reset,
	.driver_ok = console_driver_ok,
	.config = console_config,
	.prepare_sleep = console_prepare_sleep,
};

int main(int argc, char **argv)
{
	backend.ops = &console_ops;
	backend.device = &device;
	return backend_main(&backend, argc, argv);
}
