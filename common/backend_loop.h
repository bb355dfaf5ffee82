/* SPDX-License-Identifier: MIT */
/* The main loop of a backend, for backend.c alone. */
#ifndef HVISOR_BACKEND_LOOP_H
#define HVISOR_BACKEND_LOOP_H

#include "backend.h"

/*
 * Blocks SIGTERM, which is let in only where the loop looks for it, and ignores the signals whose reason shows as the
 * error of a call, or which are the launcher's business. Returns 0 or -errno.
 */
int backend_loop_signals(void);

/* Serves until SIGTERM. Returns the exit code. */
int backend_loop(struct backend *b);

/* CLOCK_MONOTONIC. */
uint64_t backend_loop_now_ns(void);

#endif
