/* SPDX-License-Identifier: MIT */
/* Consoles: what their guests find, and what their backends are given, most of which outlives them. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/console.h"
#include "console.h"

#define MEMORY_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

_Static_assert(CONSOLE_PLACES <= DEVTYPE_FILES_MAX, "a place for each descriptor");

static int console_describe(const struct config_device *device, struct hvisor_device_add *out, struct errors *errors)
{
	uint32_t nports = device->console.nports;
	struct virtio_console_config config = {
		.cols = htole16((uint16_t)device->console.cols),
		.rows = htole16((uint16_t)device->console.rows),
		.max_nr_ports = htole32(nports),
	};
	const size_t emerg_wr = offsetof(struct virtio_console_config, emerg_wr);
	uint32_t i;

	(void)errors;
	out->device_id = VIRTIO_ID_CONSOLE;
	out->nqueues = device->console.listed ? CONSOLE_NQUEUES_MULTIPORT(nports) : CONSOLE_NQUEUES;
	out->queue_size_max = CONSOLE_QUEUE_SIZE;
	out->features = (1ull << VIRTIO_CONSOLE_F_SIZE) | (1ull << VIRTIO_CONSOLE_F_EMERG_WRITE) |
			(1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX) |
			(1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_F_RING_RESET);
	if (device->console.listed)
		out->features |= 1ull << VIRTIO_CONSOLE_F_MULTIPORT;
	out->config_len = sizeof(config);
	memset(out->config, 0, sizeof(out->config));
	memcpy(out->config, &config, sizeof(config));
	memset(out->config_writable, 0, sizeof(out->config_writable));
	for (i = 0; i < sizeof(config.emerg_wr); i++)
		out->config_writable[(emerg_wr + i) / 8] |= (uint8_t)(1u << (emerg_wr + i) % 8);
	return 0;
}

/* A file's folder must be there, and it must be one. */
static int console_check(const struct config_device *device, const struct rundir *run, struct errors *errors)
{
	size_t before = errors->count;
	struct stat st;
	uint32_t i;

	(void)run;
	for (i = 0; i < device->console.nports; i++) {
		const struct config_port *port = &device->console.port[i];
		char folder[CONFIG_PATH_MAX];

		if (!port->path[0])
			continue;
		snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(port->path, '/') - port->path), port->path);
		if (stat(folder[0] ? folder : "/", &st) < 0 || !S_ISDIR(st.st_mode))
			devtype_complain(device, errors, "%s: its folder is not there", port->path);
		else if (port->endpoint == CONFIG_ENDPOINT_FILE && stat(port->path, &st) == 0 && !S_ISREG(st.st_mode))
			devtype_complain(device, errors, "%s: must be a regular file", port->path);
	}
	return errors->count == before ? 0 : -1;
}

/* The kept descriptor at place if it is one of a file of size bytes, else none. */
static bool kept_fits(struct devtype_kept *kept, uint32_t place, mode_t format, uint64_t size)
{
	struct stat st;

	if (kept->file[place] < 0)
		return false;
	if (fstat(kept->file[place], &st) == 0 && (st.st_mode & S_IFMT) == format &&
	    (format != S_IFREG || (uint64_t)st.st_size == size))
		return true;
	close(kept->file[place]);
	kept->file[place] = -1;
	return false;
}

static int memory_make(const struct config_device *device, uint64_t size, struct errors *errors)
{
	int fd = memfd_create("hvisor-console", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, MEMORY_SEALS) == 0)
		return fd;
	devtype_complain(device, errors, "its memory: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The memory, and the pipe by which input comes into it: what is in the one belongs to what the other says. */
static int memory_open(const struct config_device *device, struct devtype_kept *kept, struct errors *errors)
{
	uint64_t size = console_output_at(device->console.nports);
	int ends[2];
	bool fits = kept_fits(kept, CONSOLE_PLACE_MEMORY, S_IFREG, size);

	fits &= kept_fits(kept, CONSOLE_PLACE_PIPE, S_IFIFO, 0);
	fits &= kept_fits(kept, CONSOLE_PLACE_PIPE_IN, S_IFIFO, 0);
	if (fits)
		return 0;
	if (kept->file[CONSOLE_PLACE_MEMORY] < 0)
		kept->file[CONSOLE_PLACE_MEMORY] = memory_make(device, size, errors);
	if (kept->file[CONSOLE_PLACE_MEMORY] < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return devtype_complain(device, errors, "a pipe: %s", strerror(errno));
	if (kept->file[CONSOLE_PLACE_PIPE] >= 0)
		close(kept->file[CONSOLE_PLACE_PIPE]);
	if (kept->file[CONSOLE_PLACE_PIPE_IN] >= 0)
		close(kept->file[CONSOLE_PLACE_PIPE_IN]);
	kept->file[CONSOLE_PLACE_PIPE] = ends[0];
	kept->file[CONSOLE_PLACE_PIPE_IN] = ends[1];
	return 0;
}

/* The news of all terminals, by one descriptor. */
static int news_open(const struct config_device *device, struct devtype_kept *kept, struct errors *errors)
{
	int *news = &kept->file[CONSOLE_PLACE_NEWS];
	char path[64];
	uint32_t i;

	if (*news < 0)
		*news = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (*news < 0)
		return devtype_complain(device, errors, "inotify: %s", strerror(errno));
	for (i = 0; i < device->console.nports; i++) {
		if (kept->file[i] < 0 || ptsname_r(kept->file[i], path, sizeof(path)) != 0)
			continue;
		if (inotify_add_watch(*news, path, IN_OPEN | IN_CLOSE) < 0)
			return devtype_complain(device, errors, "%s: %s", path, strerror(errno));
	}
	return 0;
}

static int kept_copy(const struct config_device *device, const struct devtype_kept *kept, struct devtype_start *out,
		     struct errors *errors)
{
	uint32_t i;

	for (i = 0; i < CONSOLE_PLACES; i++) {
		if (kept->file[i] < 0)
			continue;
		out->file[i] = fcntl(kept->file[i], F_DUPFD_CLOEXEC, 0);
		if (out->file[i] < 0)
			return devtype_complain(device, errors, "its descriptors: %s", strerror(errno));
	}
	return 0;
}

/* Only to write: when no launcher reads it any more, that shows. */
static int log_open(const struct config_device *device, const struct rundir *run, uint32_t port, struct errors *errors)
{
	char *path = console_log_fifo(device, run, port);
	int fd = path ? open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW) : -1;

	if (fd < 0)
		devtype_complain(device, errors, "%s: %s", path ? path : "its output log",
				 strerror(path ? errno : ENOMEM));
	free(path);
	return fd;
}

static int port_arguments(const struct config_port *port, bool connected, struct devtype_start *out)
{
	const char *kind = port->endpoint == CONFIG_ENDPOINT_STDIO ? "pty" : config_endpoint_name(port->endpoint);
	int error = devtype_start_arg(out, "port=%s%s%s%s", kind, port->console ? ",console" : "",
				      connected ? ",connected" : "", port->output_log ? ",log" : "");

	if (error == 0 && port->name[0])
		error = devtype_start_arg(out, "port_name=%s", port->name);
	return error;
}

static int console_open(const struct config_device *device, const struct rundir *run, struct devtype_kept *kept,
			struct devtype_start *out, struct errors *errors)
{
	const struct config_console *console = &device->console;
	int error = 0;
	uint32_t i;

	devtype_start_init(out);
	memset(out->file, -1, sizeof(out->file));
	out->nfiles = CONSOLE_PLACES;
	out->fsize_max = console_output_at(console->nports);
	for (i = 0; i < console->nports; i++) {
		if (console_endpoint_open(device, run, i, kept, errors) < 0)
			goto fail;
	}
	if (memory_open(device, kept, errors) < 0 || news_open(device, kept, errors) < 0 ||
	    kept_copy(device, kept, out, errors) < 0)
		goto fail;
	for (i = 0; i < console->nports && error == 0; i++) {
		const struct config_port *port = &console->port[i];

		error = port_arguments(port, port->endpoint == CONFIG_ENDPOINT_SOCKET && kept->file[i] >= 0, out);
		if (port->endpoint == CONFIG_ENDPOINT_FILE)
			out->fsize_max = RLIM_INFINITY;
		if (!port->output_log)
			continue;
		out->file[CONSOLE_PLACE_LOG + i] = log_open(device, run, i, errors);
		if (out->file[CONSOLE_PLACE_LOG + i] < 0)
			goto fail;
	}
	if (error == 0)
		return 0;
	devtype_complain(device, errors, "its arguments: %s", strerror(-error));

fail:
	devtype_start_finish(out);
	return -1;
}

static void console_close(const struct config_device *device, const struct rundir *run)
{
	uint32_t i;

	for (i = 0; i < device->console.nports; i++)
		console_endpoint_unlink(device, run, i);
}

#define PLACES(first, n) (((1u << (n)) - 1) << (first))

const struct devtype devtype_console = {
	.type = CONFIG_CONSOLE,
	.program = "hvisor-console",
	.policy = "hvisor-console.policy",
	.describe = console_describe,
	.check = console_check,
	.open_kept = console_open,
	.kept = PLACES(CONSOLE_PLACE_PORT, CONSOLE_PORTS_MAX) |
		PLACES(CONSOLE_PLACE_MEMORY, CONSOLE_PLACES - CONSOLE_PLACE_MEMORY),
	.close_kept = console_close,
	.watch = console_watch_begin,
	.unwatch = console_watch_end,
	.ready = console_watch_ready,
	.reopen_logs = console_watch_reopen,
};
