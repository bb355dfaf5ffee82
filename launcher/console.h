/* SPDX-License-Identifier: MIT */
/* The launcher's side of consoles: their endpoints, what is kept for their backends, and who connects to them. */
#ifndef HVISOR_CONSOLE_LAUNCHER_H
#define HVISOR_CONSOLE_LAUNCHER_H

#include "devtype.h"
#include "errors.h"
#include "rundir.h"
#include "supervise.h"

/* "console0", and "console0.1" of the second port: what is in the run folder and what people call it. */
#define CONSOLE_LABEL_MAX (HVISOR_NAME_MAX + 12)
const char *console_label(char label[CONSOLE_LABEL_MAX], const struct config_device *device, uint32_t port);

/*
 * Where the socket of a port is: that of the configuration, or in the run folder; to be freed, NULL: no memory.
 */
char *console_socket_path(const struct config_device *device, const struct rundir *run, uint32_t port);

/* The FIFO of the copy of a port's output; to be freed, NULL: no memory. */
char *console_log_fifo(const struct config_device *device, const struct rundir *run, uint32_t port);

/*
 * Makes what is not there yet of a port's endpoint, in its place in kept, and the link to it in the run folder. A
 * socket's connection comes by itself. 0, or -1 after errors_add().
 */
int console_endpoint_open(const struct config_device *device, const struct rundir *run, uint32_t port,
			  struct devtype_kept *kept, struct errors *errors);

/* Takes away what leads to the port in the run folder. */
void console_endpoint_unlink(const struct config_device *device, const struct rundir *run, uint32_t port);

/* console_watch.c: sockets and output logs; see struct devtype. */
int console_watch_begin(struct device *device);
void console_watch_end(struct device *device);
void console_watch_ready(struct device *device);
void console_watch_reopen(struct device *device);

/* The path of the output log of a port; NULL: none. */
const char *console_watch_log(const struct device *device, uint32_t port);

#endif
