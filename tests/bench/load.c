/* SPDX-License-Identifier: MIT */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define LOAD_LIMIT_NS 10000000000ull

uint64_t load_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void load_offsets_init(struct load_offsets *offsets, const struct load *load, uint64_t capacity, uint64_t seed)
{
	*offsets = (struct load_offsets){.load = load, .blocks = capacity / load->block, .state = seed};
}

uint64_t load_offset(struct load_offsets *offsets)
{
	uint64_t z;

	if (!offsets->load->random)
		return offsets->state++ % offsets->blocks * offsets->load->block;
	/* splitmix64; the upper half of 32 bits times the count is a number below the count without a division */
	z = (offsets->state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (((z ^ (z >> 31)) >> 32) * offsets->blocks >> 32) * offsets->load->block;
}

double load_run(struct disk *disk, const struct load *load, uint64_t seed, double seconds)
{
	struct load_offsets offsets;
	uint64_t begin = load_now_ns();
	uint64_t end = begin + (uint64_t)(seconds * 1e9);
	uint64_t now = begin;
	uint64_t done = 0;
	uint32_t inflight;
	int status;
	uint32_t slot;

	load_offsets_init(&offsets, load, disk->capacity, seed);
	for (inflight = 0; inflight < load->depth; inflight++)
		disk_add(disk, inflight, load->write, load_offset(&offsets), load->block);
	disk_kick(disk);
	while (now < end) {
		while ((status = disk_reap(disk, &slot)) >= 0) {
			if (status != 0)
				return -EIO;
			done++;
			disk_add(disk, slot, load->write, load_offset(&offsets), load->block);
		}
		disk_kick(disk);
		now = load_now_ns();
	}
	while (inflight > 0) {
		status = disk_reap(disk, &slot);
		if (status > 0)
			return -EIO;
		if (status == 0)
			inflight--;
		else if (load_now_ns() > end + LOAD_LIMIT_NS)
			return -ETIMEDOUT;
	}
	return (double)done / ((double)(now - begin) / 1e9);
}

int load_verify(struct disk *disk, uint64_t offset, const void *expected, uint32_t len)
{
	uint64_t limit = load_now_ns() + LOAD_LIMIT_NS;
	int status;
	uint32_t slot;

	memset(disk_buffer(disk, 0), 0, len);
	disk_add(disk, 0, false, offset, len);
	disk_kick(disk);
	while ((status = disk_reap(disk, &slot)) < 0) {
		if (load_now_ns() > limit)
			return -ETIMEDOUT;
	}
	if (status != 0)
		return -EIO;
	return memcmp(disk_buffer(disk, 0), expected, len) == 0 ? 0 : -EBADMSG;
}
