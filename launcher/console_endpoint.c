/* SPDX-License-Identifier: MIT */
/*
 * What a console's port is connected to. NAME in the run folder (NAME.N of port N) leads there: it is a link to the
 * pseudoterminal, the socket or the file, or the socket itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "common/console.h"
#include "console.h"

#define TERMINAL_MAX 64 /* "/dev/pts/123" */

const char *console_label(char label[CONSOLE_LABEL_MAX], const struct config_device *device, uint32_t port)
{
	if (port)
		snprintf(label, CONSOLE_LABEL_MAX, "%s.%u", device->name, port);
	else
		snprintf(label, CONSOLE_LABEL_MAX, "%s", device->name);
	return label;
}

char *console_socket_path(const struct config_device *device, const struct rundir *run, uint32_t port)
{
	char label[CONSOLE_LABEL_MAX];

	if (device->console.port[port].path[0])
		return strdup(device->console.port[port].path);
	return rundir_path(run, console_label(label, device, port), NULL);
}

char *console_log_fifo(const struct config_device *device, const struct rundir *run, uint32_t port)
{
	char label[CONSOLE_LABEL_MAX];

	return rundir_path(run, console_label(label, device, port), "output.fifo");
}

/* The link is exchanged in one step: whoever follows it finds the endpoint of before or this one. */
static int link_set(const struct config_device *device, const struct rundir *run, uint32_t port, const char *target,
		    struct errors *errors)
{
	char label[CONSOLE_LABEL_MAX];
	char *link = rundir_path(run, console_label(label, device, port), NULL);
	char *new = rundir_path(run, label, "new");
	int result = 0;

	if (!link || !new)
		result = devtype_complain(device, errors, "its link: %s", strerror(ENOMEM));
	else if ((unlink(new) < 0 && errno != ENOENT) || symlink(target, new) < 0 || rename(new, link) < 0)
		result = devtype_complain(device, errors, "%s: %s", link, strerror(errno));
	free(link);
	free(new);
	return result;
}

void console_endpoint_unlink(const struct config_device *device, const struct rundir *run, uint32_t port)
{
	const struct config_port *config = &device->console.port[port];
	char label[CONSOLE_LABEL_MAX];
	char *path = rundir_path(run, console_label(label, device, port), NULL);

	/* A socket that is there itself is console_watch.c's. */
	if (path && (config->endpoint != CONFIG_ENDPOINT_SOCKET || config->path[0]))
		unlink(path);
	free(path);
}

static void kept_close(struct devtype_kept *kept, uint32_t place)
{
	if (kept->file[place] >= 0)
		close(kept->file[place]);
	kept->file[place] = -1;
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

/* A new terminal. Its other side was open once, so that it is known to be left. */
static int terminal_make(const struct config_device *device, struct errors *errors)
{
	char path[TERMINAL_MAX];
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	int slave = -1;
	int error;

	if (master < 0)
		return devtype_complain(device, errors, "a pseudoterminal (/dev/ptmx): %s", strerror(errno));
	if (grantpt(master) == 0 && unlockpt(master) == 0 && ptsname_r(master, path, sizeof(path)) == 0)
		slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave >= 0 && terminal_set_up(device, slave) == 0) {
		close(slave);
		return master;
	}
	error = errno;
	if (slave >= 0)
		close(slave);
	close(master);
	return devtype_complain(device, errors, "a pseudoterminal (/dev/ptmx): %s", strerror(error));
}

static int terminal_open(const struct config_device *device, const struct rundir *run, uint32_t port,
			 struct devtype_kept *kept, struct errors *errors)
{
	int *fd = &kept->file[CONSOLE_PLACE_PORT + port];
	char path[TERMINAL_MAX];

	/* What an adopted backend had may have been made for another configuration. */
	if (*fd >= 0 && ptsname_r(*fd, path, sizeof(path)) != 0)
		kept_close(kept, CONSOLE_PLACE_PORT + port);
	if (*fd < 0)
		*fd = terminal_make(device, errors);
	if (*fd < 0)
		return -1;
	if (ptsname_r(*fd, path, sizeof(path)) != 0)
		return devtype_complain(device, errors, "its terminal has no name: %s", strerror(errno));
	return link_set(device, run, port, path, errors);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Written on from its end. One that was moved away is let go of, and begun anew at the next start. */
static int file_open(const struct config_device *device, const struct rundir *run, uint32_t port,
		     struct devtype_kept *kept, struct errors *errors)
{
	const char *path = device->console.port[port].path;
	int *fd = &kept->file[CONSOLE_PLACE_PORT + port];
	struct stat is, was;

	/* Looked at before it is opened, which can do something to what is no file, and again afterwards. */
	if (stat(path, &is) == 0 && !S_ISREG(is.st_mode))
		return devtype_complain(device, errors, "%s: must be a regular file", path);
	if (*fd >= 0 && (fstat(*fd, &was) < 0 || stat(path, &is) < 0 || !same_file(&is, &was)))
		kept_close(kept, CONSOLE_PLACE_PORT + port);
	if (*fd < 0)
		*fd = open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
	if (*fd < 0 || fstat(*fd, &is) < 0)
		return devtype_complain(device, errors, "%s: %s", path, strerror(errno));
	if (!S_ISREG(is.st_mode)) {
		kept_close(kept, CONSOLE_PLACE_PORT + port);
		return devtype_complain(device, errors, "%s: must be a regular file", path);
	}
	if (lseek(*fd, 0, SEEK_END) < 0)
		return devtype_complain(device, errors, "%s: %s", path, strerror(errno));
	return link_set(device, run, port, path, errors);
}

/* Its connections are console_watch.c's. */
static int socket_open(const struct config_device *device, const struct rundir *run, uint32_t port,
		       struct devtype_kept *kept, struct errors *errors)
{
	int *fd = &kept->file[CONSOLE_PLACE_PORT + port];
	int domain;
	socklen_t len = sizeof(domain);

	if (*fd >= 0 && (getsockopt(*fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX))
		kept_close(kept, CONSOLE_PLACE_PORT + port);
	if (!device->console.port[port].path[0])
		return 0;
	return link_set(device, run, port, device->console.port[port].path, errors);
}

int console_endpoint_open(const struct config_device *device, const struct rundir *run, uint32_t port,
			  struct devtype_kept *kept, struct errors *errors)
{
	switch ((enum config_endpoint)device->console.port[port].endpoint) {
	case CONFIG_ENDPOINT_SOCKET:
		return socket_open(device, run, port, kept, errors);
	case CONFIG_ENDPOINT_FILE:
		return file_open(device, run, port, kept, errors);
	case CONFIG_ENDPOINT_PTY:
	case CONFIG_ENDPOINT_STDIO:
		break;
	}
	return terminal_open(device, run, port, kept, errors);
}
