/* SPDX-License-Identifier: MIT */
/*
 * The launcher's side of launcher/control.h. Nothing that a client does or leaves undone makes the launcher wait:
 * sockets never block, and clients, their requests, their replies and their silence are bounded.
 */
#ifndef HVISOR_CONTROL_SERVER_H
#define HVISOR_CONTROL_SERVER_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "errors.h"
#include "supervise.h"

struct control_client;

struct control {
	struct supervisor *supervisor;
	struct loop_source listen;
	struct loop_timer changed;
	char *path;
	uint64_t began_ns; /* when the launcher began */
	uint32_t nclients;
	struct control_client *clients;
	void (*end)(void *arg); /* somebody asks the launcher to end */
	void *end_arg;
};

/* Listens in the run folder; the fields supervisor, end and end_arg are set. 0, or -1 after errors_add(). */
int control_open(struct control *control, struct errors *errors);

/* Takes the socket away, so that a later launcher can have the run folder; clients stay connected. */
void control_stop_listening(struct control *control);
void control_close(struct control *control);

/* A device's state has changed: those who waited for it are answered when the loop comes round. */
void control_changed(struct control *control);

/* Answers them now. */
void control_answer(struct control *control);

/* What "status" says of a port of a console. */
void control_add_port(cJSON *object, const struct device *device, uint32_t port);

/* The reply to "status", for one device or, if it is NULL, for all. NULL: no memory. */
cJSON *control_status(const struct control *control, const struct device *device);

#endif
