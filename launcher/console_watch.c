/* SPDX-License-Identifier: MIT */
/*
 * What the launcher does for consoles while it runs: it accepts connections to their sockets, and writes the copies of
 * their output to log files.
 *
 * A backend has no right to accept anything. A connection is the launcher's, which starts the backend anew with it, as
 * at any restart without a byte lost; so it outlives its backends. There is one at a time; who else connects waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/console.h"
#include "console.h"
#include "device.h"

#define BACKLOG 16
#define LOOK_FIRST_NS 10000000ull /* whether the backend has read all that a client had said before it left */
#define LOOK_LAST_NS 1000000000ull
#define LOG_READ_MAX 65536 /* bytes a turn of the loop */

struct port_watch {
	struct device *device;
	uint32_t port;
	char *path; /* of the socket */
	char terminal[64]; /* that people were told of, "" none */
	struct loop_source listen;
	struct loop_source peer; /* the connection, for its end alone */
	struct loop_timer look;
	uint64_t look_ns;
	struct loop_source copy; /* the FIFO of the output */
	struct logfile log;
};

struct console_watch {
	struct port_watch port[CONSOLE_PORTS_MAX];
};

static int *connection(struct port_watch *watch)
{
	return &watch->device->kept.file[CONSOLE_PLACE_PORT + watch->port];
}

static const char *label(const struct port_watch *watch, char text[CONSOLE_LABEL_MAX])
{
	return console_label(text, watch->device->config, watch->port);
}

/* Sockets */

/* Until it ends, nobody else is let in. */
static int watch_connection(struct port_watch *watch)
{
	struct loop *loop = watch->device->supervisor->loop;

	loop_change(loop, &watch->listen, 0);
	return loop_add(loop, &watch->peer, *connection(watch), 0);
}

static void drop_connection(struct port_watch *watch)
{
	struct loop *loop = watch->device->supervisor->loop;

	loop_remove(loop, &watch->peer);
	close(*connection(watch));
	*connection(watch) = -1;
	loop_change(loop, &watch->listen, EPOLLIN);
}

static void handle_listen(struct loop_source *source, uint32_t events)
{
	struct port_watch *watch = loop_container(source, struct port_watch, listen);
	struct device *device = watch->device;
	char text[CONSOLE_LABEL_MAX];

	(void)events;
	*connection(watch) = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (*connection(watch) < 0)
		return;
	if (watch_connection(watch) != 0) {
		drop_connection(watch);
		return;
	}
	device_say(device, LOG_INFO, "a client has connected to the socket of %s", label(watch, text));
	if (device->child.pid)
		device_request(device, DEVICE_RESTART);
}

static void handle_look(struct loop_timer *timer)
{
	struct port_watch *watch = loop_container(timer, struct port_watch, look);
	struct loop *loop = watch->device->supervisor->loop;
	char text[CONSOLE_LABEL_MAX];
	int unread = 0;

	if (ioctl(*connection(watch), FIONREAD, &unread) == 0 && unread > 0) {
		watch->look_ns = watch->look_ns * 2 < LOOK_LAST_NS ? watch->look_ns * 2 : LOOK_LAST_NS;
		loop_set_timer(loop, &watch->look, loop_now_ns() + watch->look_ns);
		return;
	}
	drop_connection(watch);
	device_say(watch->device, LOG_INFO, "the client of %s has left", label(watch, text));
}

/* It has left; the next one's turn is when the backend has read all that it had said. */
static void handle_peer(struct loop_source *source, uint32_t events)
{
	struct port_watch *watch = loop_container(source, struct port_watch, peer);

	(void)events;
	loop_remove(watch->device->supervisor->loop, source);
	watch->look_ns = LOOK_FIRST_NS;
	handle_look(&watch->look);
}

/* Is somebody else listening there? */
static bool socket_lives(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool lives =
		fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN);

	if (fd >= 0)
		close(fd);
	return lives;
}

/* Returns a listening socket, or -errno: -EEXIST for what is no socket, -EADDRINUSE for one that is somebody's. */
static int listen_at(const char *path, bool ours)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int error;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (lstat(path, &st) == 0 && !ours && !S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (!ours && socket_lives(&address))
		return -EADDRINUSE;
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Nobody is let in before it listens, and then only the owner. */
	if (fchmod(fd, 0600) == 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    listen(fd, BACKLOG) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

static int begin_socket(struct port_watch *watch)
{
	const struct device *device = watch->device;
	struct loop *loop = device->supervisor->loop;
	const struct config_port *port = &device->config->console.port[watch->port];
	char text[CONSOLE_LABEL_MAX];
	int error;
	int fd;

	watch->path = console_socket_path(device->config, device->supervisor->run, watch->port);
	fd = watch->path ? listen_at(watch->path, !port->path[0]) : -ENOMEM;
	error = fd < 0 ? fd : loop_add(loop, &watch->listen, fd, EPOLLIN);
	if (error) {
		if (fd >= 0)
			close(fd);
		device_say(device, LOG_ERROR, "cannot listen on %s, so nobody can connect to %s: %s",
			   watch->path ? watch->path : "its socket", label(watch, text), strerror(-error));
		free(watch->path);
		watch->path = NULL;
		return -1;
	}
	/* That of a backend that an earlier launcher has started. */
	if (*connection(watch) >= 0 && watch_connection(watch) != 0)
		drop_connection(watch);
	return 0;
}

static void end_socket(struct port_watch *watch)
{
	struct loop *loop = watch->device->supervisor->loop;
	int fd;

	loop_clear_timer(loop, &watch->look);
	loop_remove(loop, &watch->peer);
	fd = loop_remove(loop, &watch->listen);
	if (fd < 0)
		return;
	close(fd);
	unlink(watch->path);
	free(watch->path);
}

/* Output logs */

static bool copy_read(struct port_watch *watch)
{
	static char bytes[LOG_READ_MAX];
	ssize_t n = read(watch->copy.fd, bytes, sizeof(bytes));

	if (n <= 0)
		return false;
	logfile_raw(&watch->log, bytes, (size_t)n);
	return true;
}

static void handle_copy(struct loop_source *source, uint32_t events)
{
	(void)events;
	copy_read(loop_container(source, struct port_watch, copy));
}

static int begin_log(struct port_watch *watch)
{
	const struct device *device = watch->device;
	const struct supervisor *supervisor = device->supervisor;
	char *path = console_log_fifo(device->config, supervisor->run, watch->port);
	char text[CONSOLE_LABEL_MAX];
	char name[CONSOLE_LABEL_MAX + 8];
	int error = path ? 0 : -ENOMEM;
	int fd = -1;

	snprintf(name, sizeof(name), "%s.output", label(watch, text));
	if (error == 0)
		error = logfile_open(&watch->log, supervisor->options->log_dir, name, supervisor->config->log_size,
				     supervisor->config->log_files);
	if (error)
		device_say(device, LOG_WARNING, "cannot write the output log of %s in %s: %s", text,
			   supervisor->options->log_dir, strerror(-error));
	/* To write too, so that it does not end with its writers. */
	if (path && (mkfifo(path, 0600) == 0 || errno == EEXIST))
		fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	error = fd < 0 ? -errno : loop_add(supervisor->loop, &watch->copy, fd, EPOLLIN);
	if (error) {
		device_say(device, LOG_ERROR, "cannot open %s: %s", path ? path : "a FIFO", strerror(-error));
		if (fd >= 0)
			close(fd);
	}
	free(path);
	return error ? -1 : 0;
}

static void end_log(struct port_watch *watch)
{
	int fd;

	if (watch->copy.fd >= 0) {
		while (copy_read(watch))
			;
		fd = loop_remove(watch->device->supervisor->loop, &watch->copy);
		close(fd);
	}
	logfile_close(&watch->log);
}

const char *console_watch_log(const struct device *device, uint32_t port)
{
	return device->console ? device->console->port[port].log.path : NULL;
}

/* What a backend of an earlier launcher has kept back for us it sends when it is called. */
static void call_backend(const struct device *device)
{
	if (device->made && device->child.pid)
		device_kick(device);
}

int console_watch_begin(struct device *device)
{
	const struct config_console *console = &device->config->console;
	int result = 0;
	uint32_t i;

	device->console = calloc(1, sizeof(*device->console));
	if (!device->console) {
		device_say(device, LOG_ERROR, "no memory: its sockets and output logs are left out");
		return -1;
	}
	for (i = 0; i < console->nports; i++) {
		struct port_watch *watch = &device->console->port[i];

		*watch = (struct port_watch){.device = device,
					     .port = i,
					     .listen = {.fd = -1, .handle = handle_listen},
					     .peer = {.fd = -1, .handle = handle_peer},
					     .look.handle = handle_look,
					     .copy = {.fd = -1, .handle = handle_copy},
					     .log.fd = -1};
		if (console->port[i].endpoint == CONFIG_ENDPOINT_SOCKET && begin_socket(watch) < 0)
			result = -1;
		if (console->port[i].output_log && begin_log(watch) < 0)
			result = -1;
	}
	call_backend(device);
	return result;
}

/* People and scripts that start hvisor's tools look for this line. */
void console_watch_ready(struct device *device)
{
	char path[sizeof(device->console->port[0].terminal)];
	char text[CONSOLE_LABEL_MAX];
	uint32_t i;

	for (i = 0; device->console && i < device->config->console.nports; i++) {
		struct port_watch *watch = &device->console->port[i];

		if (*connection(watch) < 0 || ptsname_r(*connection(watch), path, sizeof(path)) != 0 ||
		    strcmp(path, watch->terminal) == 0)
			continue;
		strcpy(watch->terminal, path);
		device_say(device, LOG_INFO, "char device redirected to %s (%s/%s)", path,
			   device->supervisor->run->path, label(watch, text));
	}
}

void console_watch_end(struct device *device)
{
	uint32_t i;

	for (i = 0; device->console && i < device->config->console.nports; i++) {
		end_socket(&device->console->port[i]);
		end_log(&device->console->port[i]);
	}
	free(device->console);
	device->console = NULL;
}

void console_watch_reopen(struct device *device)
{
	uint32_t i;

	for (i = 0; device->console && i < device->config->console.nports; i++)
		logfile_reopen(&device->console->port[i].log);
}
