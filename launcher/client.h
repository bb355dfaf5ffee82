/* SPDX-License-Identifier: MIT */
/* Asks a running launcher (control.h) and shows what it answers. */
#ifndef HVISOR_CLIENT_H
#define HVISOR_CLIENT_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "errors.h"
#include "options.h"

/* Does what options->action says; returns the exit code, after lines in errors when it is not 0. */
int client_main(const struct options *options, struct errors *errors);

/* Connects to the control socket of run_dir. Returns the socket (close-on-exec), or -errno. */
int client_connect(const char *run_dir);

/* The keys of a request: all but command may be NULL. */
struct client_request {
	const char *command;
	const char *name;
	const char *level;
	const char *link;
};

/*
 * Sends a request and waits for its reply at most limit_ms. Returns the reply, which says "ok": true and which the
 * caller frees with cJSON_Delete(); or NULL after errors_add().
 */
cJSON *client_ask(int fd, const struct client_request *request, int limit_ms, struct errors *errors);

/* The same; *passed, -1 before, gets the descriptor that comes with the reply, if there is one. */
cJSON *client_ask_descriptor(int fd, const struct client_request *request, int limit_ms, int *passed,
			     struct errors *errors);

/* The reply to status as a table; with one device in it and detail, all that is known of it. */
void client_print_status(const cJSON *reply, bool detail, FILE *file);

/*
 * Prints the log file at path to file. With follow only its end, and then what is added, also to the files that
 * follow it by rotation, until the socket fd ends or a signal does. Returns the exit code.
 */
int client_print_log(const char *path, bool follow, int fd, FILE *file, struct errors *errors);

/*
 * Is the terminal of a console until the escape byte is typed, stdin ends, the console's end goes away, or a signal
 * ends it (which then ends this process); the recent output comes first. The terminal that it runs on is as before when
 * it returns. control: the connection to the launcher; -1 if none runs, which backends do not need: then there is no
 * recent output. Returns an exit code.
 */
int client_console(const struct options *options, int control, struct errors *errors);

#endif
