/* SPDX-License-Identifier: MIT */
/*
 * Consoles: what their guests find, and the pseudoterminal that their backends are given. It outlives them. In the run
 * folder NAME is a link to its other side, and NAME.console the file of common/console.h.
 */
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
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "common/console.h"
#include "devtype.h"

#define KEPT_TERMINAL 0 /* their places in devtype_kept, as CONSOLE_FD_* count them */
#define KEPT_OPENED 1
#define QUEUES 2
#define QUEUE_SIZE 256
#define TERMINAL_MAX 64 /* "/dev/pts/123" */

static int complain(const struct config_device *device, struct errors *errors, const char *what, int error)
{
	errors_add(errors, "%s (%s): %s: %s", device->name, device->place, what, strerror(error));
	return -1;
}

static int console_describe(const struct config_device *device, struct hvisor_device_add *out, struct errors *errors)
{
	struct virtio_console_config config = {
		.cols = htole16((uint16_t)device->console.cols),
		.rows = htole16((uint16_t)device->console.rows),
		.max_nr_ports = htole32(1),
	};
	const size_t emerg_wr = offsetof(struct virtio_console_config, emerg_wr);
	uint32_t i;

	(void)errors;
	out->device_id = VIRTIO_ID_CONSOLE;
	out->nqueues = QUEUES;
	out->queue_size_max = QUEUE_SIZE;
	out->features = (1ull << VIRTIO_CONSOLE_F_SIZE) | (1ull << VIRTIO_CONSOLE_F_EMERG_WRITE) |
			(1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX) |
			(1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_F_RING_RESET);
	out->config_len = sizeof(config);
	memset(out->config, 0, sizeof(out->config));
	memcpy(out->config, &config, sizeof(config));
	memset(out->config_writable, 0, sizeof(out->config_writable));
	for (i = 0; i < sizeof(config.emerg_wr); i++)
		out->config_writable[(emerg_wr + i) / 8] |= (uint8_t)(1u << (emerg_wr + i) % 8);
	return 0;
}

/* Bytes as they are, and a window of the size that the configuration has. */
static int terminal_set_up(const struct config_device *device, int fd)
{
	struct winsize size = {.ws_col = (unsigned short)device->console.cols,
			       .ws_row = (unsigned short)device->console.rows};
	struct termios termios;

	if (tcgetattr(fd, &termios) < 0)
		return -1;
	cfmakeraw(&termios);
	return tcsetattr(fd, TCSANOW, &termios) < 0 || ioctl(fd, TIOCSWINSZ, &size) < 0 ? -1 : 0;
}

/* A new terminal, and the news of who opens and closes it. Its other side was open once, so that it is known to be
 * left. */
static int terminal_make(const struct config_device *device, struct devtype_kept *kept, struct errors *errors)
{
	char path[TERMINAL_MAX];
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	int news = -1;
	int slave = -1;
	int error;

	if (master < 0)
		return complain(device, errors, "a pseudoterminal (/dev/ptmx)", errno);
	if (grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, path, sizeof(path)) != 0)
		goto fail;
	news = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (news < 0 || inotify_add_watch(news, path, IN_OPEN | IN_CLOSE) < 0)
		goto fail;
	slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || terminal_set_up(device, slave) < 0)
		goto fail;
	close(slave);
	kept->file[KEPT_TERMINAL] = master;
	kept->file[KEPT_OPENED] = news;
	return 0;

fail:
	error = errno;
	if (slave >= 0)
		close(slave);
	if (news >= 0)
		close(news);
	close(master);
	return complain(device, errors, "a pseudoterminal (/dev/ptmx)", error);
}

/* The link is exchanged in one step: whoever follows it finds the terminal of before or this one. */
static int terminal_link(const struct config_device *device, const struct rundir *run, int master,
			 struct errors *errors)
{
	char path[TERMINAL_MAX];
	char *link = rundir_path(run, device->name, NULL);
	char *new = rundir_path(run, device->name, "new");
	int result = -1;

	if (!link || !new) {
		complain(device, errors, "its terminal's link", ENOMEM);
	} else if (ptsname_r(master, path, sizeof(path)) != 0) {
		complain(device, errors, "its terminal has no name", errno);
	} else if ((unlink(new) < 0 && errno != ENOENT) || symlink(path, new) < 0 || rename(new, link) < 0) {
		complain(device, errors, link, errno);
	} else {
		result = 0;
	}
	free(link);
	free(new);
	return result;
}

/* Returns a descriptor of NAME.console, or -1. */
static int file_open(const struct config_device *device, const struct rundir *run, struct errors *errors)
{
	char *path = rundir_path(run, device->name, "console");
	int fd;

	if (!path)
		return complain(device, errors, "its file", ENOMEM);
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct console_file)) < 0) {
		complain(device, errors, path, errno);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	free(path);
	return fd;
}

static void kept_drop(struct devtype_kept *kept)
{
	uint32_t i;

	for (i = 0; i < DEVTYPE_KEPT_MAX; i++) {
		if (kept->file[i] >= 0)
			close(kept->file[i]);
		kept->file[i] = -1;
	}
}

static int console_open(const struct config_device *device, const struct rundir *run, struct devtype_kept *kept,
			struct devtype_start *out, struct errors *errors)
{
	uint32_t i;

	devtype_start_init(out);
	if (kept->file[KEPT_TERMINAL] < 0 || kept->file[KEPT_OPENED] < 0) {
		kept_drop(kept);
		if (terminal_make(device, kept, errors) < 0)
			return -1;
	}
	if (terminal_link(device, run, kept->file[KEPT_TERMINAL], errors) < 0)
		return -1;
	for (i = 0; i < DEVTYPE_KEPT_MAX; i++) {
		out->file[i] = fcntl(kept->file[i], F_DUPFD_CLOEXEC, 0);
		if (out->file[i] < 0) {
			complain(device, errors, "its terminal", errno);
			goto fail;
		}
		out->nfiles++;
	}
	out->file[i] = file_open(device, run, errors);
	if (out->file[i] < 0)
		goto fail;
	out->nfiles++;
	return 0;

fail:
	devtype_start_finish(out);
	return -1;
}

static void console_close(const struct config_device *device, const struct rundir *run)
{
	char *link = rundir_path(run, device->name, NULL);

	if (link)
		unlink(link);
	free(link);
}

const struct devtype devtype_console = {
	.type = CONFIG_CONSOLE,
	.program = "hvisor-console",
	.policy = "hvisor-console.policy",
	.describe = console_describe,
	.open_kept = console_open,
	.nkept = 2,
	.close_kept = console_close,
};
