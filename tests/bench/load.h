/* SPDX-License-Identifier: MIT */
/* The loads of the benchmark, and the loop that puts one on a disk. */
#ifndef HVISOR_BENCH_LOAD_H
#define HVISOR_BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "disk.h"

struct load {
	bool write;
	bool random; /* else from the beginning to the end, and again */
	uint32_t block; /* bytes of a request, up to DISK_BLOCK_MAX */
	uint32_t depth; /* requests in flight, up to DISK_DEPTH_MAX */
};

/* Where the requests of a load go: multiples of the block, all of it below capacity. */
struct load_offsets {
	const struct load *load;
	uint64_t blocks;
	uint64_t state;
};

void load_offsets_init(struct load_offsets *offsets, const struct load *load, uint64_t capacity, uint64_t seed);
uint64_t load_offset(struct load_offsets *offsets);

uint64_t load_now_ns(void);

/*
 * Keeps the disk busy for this long, and waits for what is in flight then. Returns the requests per second that were
 * completed meanwhile; -EIO if one failed, -ETIMEDOUT if one is not done after 10 s: then the disk is of no more use.
 */
double load_run(struct disk *disk, const struct load *load, uint64_t seed, double seconds);

/*
 * Reads len bytes (up to DISK_BLOCK_MAX) at offset and compares them with expected. 0; -EIO, -ETIMEDOUT as above;
 * -EBADMSG if they differ.
 */
int load_verify(struct disk *disk, uint64_t offset, const void *expected, uint32_t len);

#endif
