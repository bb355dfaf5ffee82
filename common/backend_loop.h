/* SPDX-License-Identifier: MIT */
/* The main loop of a backend: for backend.c, and its steps for the fuzz targets. */
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

/* The steps of which backend_loop() is made. */

/* Takes the device over as it finds it. */
void backend_loop_start(struct backend *b);

/* Whatever there is to do at b->now_ns, without waiting. True if there was something. */
bool backend_loop_turn(struct backend *b);

/* Sleeps until there is work, a signal, or the device's time has come. Returns 0 or -errno. */
int backend_loop_sleep(struct backend *b);

/* What is done is published; what is not stays in the journal for the next process. */
void backend_loop_stop(struct backend *b);

/* CLOCK_MONOTONIC. */
uint64_t backend_loop_now_ns(void);

#endif
