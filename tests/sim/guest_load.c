/* SPDX-License-Identifier: MIT */
#include "tests/sim/guest_load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim_internal.h"

#define LOAD_WORDS (GUEST_LOAD_BLOCK / sizeof(uint64_t))

/* splitmix64 */
static uint64_t load_mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t load_random(struct guest_load *load, uint64_t below)
{
	load->random++;
	return load_mix(load->random) % below;
}

/* The first two words say what it is, all others depend on both. */
static uint64_t load_word(uint32_t block, uint32_t version, uint64_t n)
{
	if (n == 0)
		return block;
	return n == 1 ? version : load_mix((uint64_t)block << 40 ^ (uint64_t)version << 10 ^ n);
}

static void load_fill(void *bytes, uint32_t block, uint32_t version)
{
	uint64_t *word = bytes;
	uint64_t n;

	for (n = 0; n < LOAD_WORDS; n++)
		word[n] = load_word(block, version, n);
}

/* How many words are those of this write; all, if there was none. */
static uint64_t load_same(const uint64_t *word, uint32_t block, uint32_t version)
{
	uint64_t n = 0;

	while (n < LOAD_WORDS && (!version || word[n] == load_word(block, version, n)))
		n++;
	return n;
}

/* Counts bytes that are not what was written last; a block that was never written may have any. */
static void load_verify(struct guest_load *load, const void *bytes, uint32_t block)
{
	uint32_t doubt = load->block[block].doubt;
	uint32_t version = load->block[block].version;
	const uint64_t *word = bytes;
	uint64_t n;

	if (version && doubt && load_same(word, block, doubt) == LOAD_WORDS)
		load->block[block].version = version = doubt;
	load->block[block].doubt = 0;
	n = load_same(word, block, version);
	if (n == LOAD_WORDS)
		return;
	if (load->wrong++ == 0 && !load->what[0])
		snprintf(load->what, sizeof(load->what),
			 "block %u (sector %llu) differs at byte %llu of write %u: it begins as block %llu, write %llu",
			 block, (unsigned long long)load->block[block].sector, (unsigned long long)(n * 8), version,
			 (unsigned long long)word[0], (unsigned long long)word[1]);
}

int guest_load_init(struct guest_load *load, struct guest_blk *blk, uint32_t queue, uint32_t nblocks, uint64_t first,
		    uint64_t seed)
{
	uint32_t i;

	*load = (struct guest_load){.blk = blk,
				    .queue = queue,
				    .depth = blk->options.depth,
				    .read_percent = 50,
				    .timeout_ms = 30000,
				    .nblocks = nblocks,
				    .block = calloc(nblocks, sizeof(*load->block)),
				    .submitted_ns = calloc(nblocks, sizeof(*load->submitted_ns)),
				    .random = seed};
	if (!load->block || !load->submitted_ns) {
		guest_load_finish(load);
		return -ENOMEM;
	}
	for (i = 0; i < nblocks; i++)
		load->block[i].sector = first + (uint64_t)i * (GUEST_LOAD_BLOCK / GUEST_BLK_SECTOR);
	return 0;
}

void guest_load_finish(struct guest_load *load)
{
	free(load->block);
	free(load->submitted_ns);
	load->block = NULL;
	load->submitted_ns = NULL;
}

/* False: no request is free, or no descriptor. */
static bool load_submit(struct guest_load *load, uint32_t block, bool write)
{
	struct guest_blk_request *request = guest_blk_get(load->blk, load->queue);
	struct guest_load_block *of = &load->block[block];

	if (!request)
		return false;
	request->type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	request->sector = of->sector;
	request->len = GUEST_LOAD_BLOCK;
	request->user = block;
	if (write)
		load_fill(request->data, block, of->given + 1);
	else
		memset(request->data, 0x5a, GUEST_LOAD_BLOCK);
	load->submitted_ns[block] = sim_now_ns();
	if (guest_blk_submit(load->blk, request) != 0) {
		guest_blk_put(load->blk, request);
		return false;
	}
	of->busy = true;
	of->writing = write;
	of->given += write;
	__atomic_store_n(&load->submitted, load->submitted + 1, __ATOMIC_RELEASE);
	return true;
}

static void load_done(struct guest_load *load, struct guest_blk_request *request, uint64_t now)
{
	uint32_t block = (uint32_t)request->user;
	uint64_t took = now - load->submitted_ns[block];

	if (took > load->longest_ns)
		load->longest_ns = took;
	load->block[block].busy = false;
	if (request->error) {
		/* What a failed write left there is not said. */
		if (request->type == VIRTIO_BLK_T_OUT)
			load->block[block].version = load->block[block].doubt = 0;
		if (load->errors++ == 0 && !load->what[0])
			snprintf(load->what, sizeof(load->what), "a %s of block %u (sector %llu) failed: %s",
				 request->type == VIRTIO_BLK_T_OUT ? "write" : "read", block,
				 (unsigned long long)request->sector, strerror(-request->error));
	} else if (request->type == VIRTIO_BLK_T_OUT) {
		load->block[block].version = load->block[block].given;
		load->block[block].doubt = 0;
		load->writes++;
	} else {
		load_verify(load, request->data, block);
		load->reads++;
	}
	guest_blk_put(load->blk, request);
	__atomic_store_n(&load->last_done_ns, now, __ATOMIC_RELAXED);
	__atomic_store_n(&load->done, load->done + 1, __ATOMIC_RELEASE);
}

/* Waits for a completion and takes all that there are. */
static int load_reap(struct guest_load *load)
{
	struct guest_blk_request *request = guest_blk_wait(load->blk, load->queue, load->timeout_ms);
	uint64_t now = sim_now_ns();

	if (!request)
		return -ETIMEDOUT;
	do
		load_done(load, request, now);
	while ((request = guest_blk_reap(load->blk, load->queue)));
	return 0;
}

int guest_load_run(struct guest_load *load, uint32_t ms)
{
	struct guest_blk_queue *queue = &load->blk->queue[load->queue];
	uint64_t end = sim_now_ns() + ms * 1000000ull;
	uint32_t depth = load->depth < load->nblocks ? load->depth : load->nblocks;
	uint32_t block;
	int error = 0;

	while (!error && sim_now_ns() < end) {
		while (queue->in_flight < depth) {
			block = (uint32_t)load_random(load, load->nblocks);
			if (load->block[block].busy)
				continue;
			if (!load_submit(load, block, load_random(load, 100) >= load->read_percent))
				break;
		}
		guest_blk_kick(load->blk, load->queue);
		error = load_reap(load);
	}
	return error;
}

void guest_load_drop(struct guest_load *load)
{
	struct guest_load_block *block;

	for (block = load->block; block < load->block + load->nblocks; block++) {
		if (!block->busy)
			continue;
		__atomic_store_n(&load->done, load->done + 1, __ATOMIC_RELEASE);
		block->busy = false;
		if (!block->writing)
			continue;
		/* Of two in doubt nobody knows anything. */
		if (block->doubt)
			block->version = 0;
		block->doubt = block->version ? block->given : 0;
	}
}

int guest_load_prepare(struct guest_load *load, int image_fd)
{
	uint64_t bytes[LOAD_WORDS];
	uint32_t i;

	for (i = 0; i < load->nblocks; i++) {
		load_fill(bytes, i, 1);
		if (pwrite(image_fd, bytes, sizeof(bytes), (off_t)(load->block[i].sector * GUEST_BLK_SECTOR)) !=
		    sizeof(bytes))
			return errno ? -errno : -EIO;
		load->block[i].version = load->block[i].given = 1;
	}
	return 0;
}

int guest_load_drain(struct guest_load *load)
{
	int error = 0;

	while (!error && load->blk->queue[load->queue].in_flight)
		error = load_reap(load);
	return error;
}

int guest_load_check(struct guest_load *load)
{
	struct guest_blk_queue *queue = &load->blk->queue[load->queue];
	int error = guest_load_drain(load);
	uint32_t block = 0;

	while (!error && (block < load->nblocks || queue->in_flight)) {
		while (block < load->nblocks && queue->in_flight < load->depth) {
			if (load->block[block].version && !load_submit(load, block, false))
				break;
			block++;
		}
		if (!queue->in_flight)
			break;
		guest_blk_kick(load->blk, load->queue);
		error = load_reap(load);
	}
	return error;
}

uint64_t guest_load_check_host(struct guest_load *load, int image_fd)
{
	uint64_t before = load->wrong;
	uint64_t bytes[LOAD_WORDS];
	uint32_t i;

	for (i = 0; i < load->nblocks; i++) {
		memset(bytes, 0, sizeof(bytes));
		if (pread(image_fd, bytes, sizeof(bytes), (off_t)(load->block[i].sector * GUEST_BLK_SECTOR)) < 0)
			load->wrong++;
		else
			load_verify(load, bytes, i);
	}
	return load->wrong - before;
}
