/* SPDX-License-Identifier: MIT */
/* What a console had to say before hvisor-launch --console came: out of the memory that its backend keeps it in. */
#ifndef HVISOR_CLIENT_RECENT_H
#define HVISOR_CLIENT_RECENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does another program have the port's endpoint open? As far as a backend is to be believed. */
bool client_recent_attached(int memory_fd, uint32_t port);

/*
 * The recent output of a port that does not come by itself through fd, the terminal or socket, which was just opened
 * and does not block; what waits in a terminal, which is of it, is thrown away. memory_fd -1: there is none. The memory
 * is a backend's, and is not believed. Returns *len bytes, which are the caller's to free; NULL without any memory for
 * them.
 */
uint8_t *client_recent_take(int memory_fd, uint32_t port, int fd, size_t *len);

#endif
