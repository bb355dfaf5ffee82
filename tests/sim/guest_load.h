/* SPDX-License-Identifier: MIT */
/*
 * A load that checks itself: random writes and reads of 4 KiB blocks with many requests in flight, where each block's
 * bytes say which block and which write of it they are. A read must find the last acknowledged write, whole.
 *
 * A block has at most one request in flight, so what a read is to find is never in doubt; a write that was in flight
 * when the backend died stays in flight until its successor completes it.
 */
#ifndef HVISOR_GUEST_LOAD_H
#define HVISOR_GUEST_LOAD_H

#include "tests/sim/guest_blk.h"

#define GUEST_LOAD_BLOCK 4096u

struct guest_load_block {
	uint64_t sector;
	uint32_t version; /* of the last acknowledged write, 0: none */
	uint32_t given; /* of the last write, acknowledged or not */
	uint32_t doubt; /* of a write that was dropped, and may have been done; 0: none */
	bool busy;
	bool writing;
};

struct guest_load {
	struct guest_blk *blk;
	uint32_t queue;
	uint32_t depth; /* requests in flight */
	uint32_t read_percent; /* default 50 */
	int timeout_ms; /* how long nothing at all may complete; default 30 s */
	uint32_t nblocks;
	struct guest_load_block *block;
	uint64_t random;
	uint64_t *submitted_ns; /* by block */

	/* Counters; the first three may be read by other threads. */
	uint64_t submitted;
	uint64_t done; /* or dropped */
	uint64_t last_done_ns; /* CLOCK_MONOTONIC */
	uint64_t reads;
	uint64_t writes;
	uint64_t errors; /* requests that the device failed */
	uint64_t wrong; /* blocks that had other bytes than they should */
	uint64_t longest_ns; /* from submission to completion; the caller may set it back to 0 */
	char what[160]; /* the first error or wrong block, in words */
};

/*
 * For nblocks blocks from sector first on; the caller may change their sectors, and the fields down to timeout_ms,
 * before the first run. depth 0: as many as blk has. The data_max of blk is at least GUEST_LOAD_BLOCK. 0 or -ENOMEM.
 */
int guest_load_init(struct guest_load *load, struct guest_blk *blk, uint32_t queue, uint32_t nblocks, uint64_t first,
		    uint64_t seed);
void guest_load_finish(struct guest_load *load);

/*
 * Keeps the load up for ms milliseconds; requests stay in flight. Returns 0, or -ETIMEDOUT if nothing completed for
 * timeout_ms. Errors and wrong blocks are counted and end nothing.
 */
int guest_load_run(struct guest_load *load, uint32_t ms);

/*
 * The driver has reset the device, and nothing is in flight any more: of each write that was, the block has all or
 * nothing, and which of both it stays.
 */
void guest_load_drop(struct guest_load *load);

/* Writes all blocks on the host, before the device is used, for a load that only reads. 0 or -errno. */
int guest_load_prepare(struct guest_load *load, int image_fd);

/* Waits until nothing is in flight. 0 or -ETIMEDOUT. */
int guest_load_drain(struct guest_load *load);

/* Drains, then reads every block that was ever written, and counts the wrong ones. 0 or -ETIMEDOUT. */
int guest_load_check(struct guest_load *load);

/* Does the image, read on the host, have what it should? Returns how many blocks do not. Nothing may be in flight. */
uint64_t guest_load_check_host(struct guest_load *load, int image_fd);

#endif
