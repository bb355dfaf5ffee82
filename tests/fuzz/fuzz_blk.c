/* SPDX-License-Identifier: MIT */
/* hvisor-blk over a whole life (life.h), with a real image: the input begins with its configuration. */
#define main blk_main
int blk_main(int argc, char **argv);
#include "backends/blk.c"
#include "backends/blk_ring.c"
#undef main

#include <stdio.h>

#include "tests/fuzz/life.h"

#define SECTORS 512u

static const struct {
	const char *engine;
	const char *cache;
} ways[] = {
	{"preadv", "writeback"}, {"io_uring", "writeback"}, {"auto", "writeback"}, {"preadv", "writethrough"},
	{"preadv", "none"},      {"io_uring", "none"},      {"auto", "none"},      {"io_uring", "writethrough"},
};

static struct options {
	char readonly[2];
	char discard[2];
	char block_size[8];
	uint32_t way;
} options;

static void blk_make(struct life *life, uint8_t *config, uint8_t *writable)
{
	uint8_t kind = input_u8(&life->input);
	uint8_t how = input_u8(&life->input);
	uint32_t block_size = BLK_SECTOR << (kind >> 6);
	struct virtio_blk_config blk = {
		.capacity = htole64(SECTORS),
		.seg_max = htole32(BLK_SEG_MAX),
		.blk_size = htole32(block_size),
		.wce = kind & 1,
		.max_discard_sectors = htole32(BLK_RANGE_SECTORS_MAX),
		.max_discard_seg = htole32(BLK_RANGES_MAX),
		.max_write_zeroes_sectors = htole32(BLK_RANGE_SECTORS_MAX),
		.max_write_zeroes_seg = htole32(BLK_RANGES_MAX),
		.write_zeroes_may_unmap = 1,
	};

	options.way = how % (sizeof(ways) / sizeof(ways[0]));
	snprintf(options.readonly, sizeof(options.readonly), "%d", !!(kind & 2));
	snprintf(options.discard, sizeof(options.discard), "%d", !!(kind & 4));
	snprintf(options.block_size, sizeof(options.block_size), "%u", block_size);
	life->shape.nqueues = 1 + (kind >> 3 & 1);
	life->shape.config_len = offsetof(struct virtio_blk_config, max_secure_erase_sectors);
	life->shape.device_features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
				      1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE |
				      1ull << VIRTIO_BLK_F_MQ | 1ull << VIRTIO_BLK_F_DISCARD |
				      1ull << VIRTIO_BLK_F_WRITE_ZEROES | VMMIO_F_INDIRECT_DESC | VMMIO_F_EVENT_IDX |
				      VMMIO_F_VERSION_1 | VMMIO_F_RING_RESET;
	memcpy(config, &blk, life->shape.config_len);
	writable[offsetof(struct virtio_blk_config, wce) / 8] = 1u << offsetof(struct virtio_blk_config, wce) % 8;
	INPUT_CHECK(ftruncate(BLK_FD_IMAGE, 0) == 0);
	INPUT_CHECK(ftruncate(BLK_FD_IMAGE, (off_t)SECTORS * BLK_SECTOR) == 0);
}

static void option(struct life *life, const char *key, const char *value)
{
	INPUT_CHECK(life->type->ops->option(&backend, key, value) == 0);
}

static void blk_begin(struct life *life)
{
	memset(&device, 0, offsetof(struct blk, slot));
	device.backend = &backend;
	device.block_size = BLK_SECTOR;
	backend.device = &device;
	option(life, "readonly", options.readonly);
	option(life, "discard", options.discard);
	option(life, "block_size", options.block_size);
	option(life, "serial", "of the fuzzer");
	option(life, "cache", ways[options.way].cache);
	option(life, "engine", ways[options.way].engine);
}

/* The kernel ends what is under way, gives it to nobody, and takes ring and bounce buffers back. */
static void blk_gone(struct life *life)
{
	int64_t result;

	(void)life;
	while (device.in_ring > 0) {
		blk_ring_wait(&device);
		while (blk_ring_next(&result))
			device.in_ring--;
	}
	if (device.ring_on)
		io_uring_queue_exit(&ring);
	if (device.bounce)
		munmap(device.bounce, (size_t)BLK_SLOTS * BLK_BOUNCE_SIZE);
}

/* The list of ranges of a discard, mostly such that are there. */
static uint32_t ranges_make(struct life *life, struct virtio_blk_discard_write_zeroes *ranges, uint32_t most)
{
	uint32_t n = 1 + input_u8(&life->input) % most;
	uint8_t kind;
	uint32_t i;

	for (i = 0; i < n; i++) {
		kind = input_u8(&life->input);
		ranges[i].sector = htole64(kind & 1 ? input_u64(&life->input) : input_u8(&life->input) * 8u);
		ranges[i].num_sectors = htole32(kind & 2 ? input_u32(&life->input) : kind >> 4);
		ranges[i].flags = htole32(kind >> 2 & 3);
	}
	return n * (uint32_t)sizeof(*ranges);
}

static void blk_request(struct life *life, uint32_t q)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_IN,     VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_FLUSH,
					 VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES,
					 VIRTIO_BLK_T_IN,     VIRTIO_BLK_T_OUT};
	struct virtio_blk_discard_write_zeroes ranges[BLK_RANGES_MAX + 1];
	struct virtio_blk_outhdr header = {0};
	uint8_t kind = input_u8(&life->input);
	uint8_t sectors = input_u8(&life->input);
	uint32_t type = types[kind & 7];
	uint32_t len = sectors & 192 ? (sectors & 15u) * BLK_SECTOR : sectors * 577u;
	bool reads = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;

	life_chain_begin(life);
	header.type = htole32(kind & 8 ? input_u32(&life->input) : type);
	header.sector = htole64(kind & 16 ? input_u64(&life->input) : input_u8(&life->input) * 4u);
	life_chain_add(life, false, kind & 32 ? 1 + input_u8(&life->input) % 16u : sizeof(header), &header,
		       sizeof(header));
	if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES) {
		len = ranges_make(life, ranges, BLK_RANGES_MAX + 1);
		life_chain_add(life, false, len, ranges, len);
	} else if (type != VIRTIO_BLK_T_FLUSH && len > 0) {
		life_chain_add(life, reads, len, NULL, 0);
	}
	if (!(kind & 64) || !reads)
		life_chain_add(life, true, 1, NULL, 0);
	/* Anything behind the serial would be of the backend's own memory. */
	if (header.type == htole32(VIRTIO_BLK_T_GET_ID))
		life_chain_limit(life, VIRTIO_BLK_ID_BYTES + 1);
	life_chain_send(life, q);
}

/* Somebody makes the image smaller or larger, also below the capacity. */
static void blk_peer(struct life *life)
{
	INPUT_CHECK(ftruncate(BLK_FD_IMAGE, (off_t)input_u8(&life->input) * 4000) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	life_init_process();
	life_fd_put(memfd_create("image", MFD_CLOEXEC), BLK_FD_IMAGE);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct life_type type = {
		.backend = &backend,
		.ops = &blk_ops,
		.make = blk_make,
		.begin = blk_begin,
		.gone = blk_gone,
		.request = blk_request,
		.peer = blk_peer,
		.answers = true,
	};
	static struct life life;

	life_run(&life, &type, data, size);
	return 0;
}
