/* SPDX-License-Identifier: MIT */
/*
 * The limits: the same load put straight on the file by a loop that does nothing else. Each runs in a process of its
 * own, pinned to the CPU on which the backends are measured, over one buffer for each request in flight as they have.
 */
#ifndef HVISOR_BENCH_LIMIT_H
#define HVISOR_BENCH_LIMIT_H

#include "load.h"

/* Requests per second, or -errno after a line on standard error. fd: the image of capacity bytes. */
double limit_preadv(int fd, uint64_t capacity, const struct load *load, uint64_t seed, double seconds, int cpu);
double limit_io_uring(int fd, uint64_t capacity, const struct load *load, uint64_t seed, double seconds, int cpu);

#endif
