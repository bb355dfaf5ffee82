/* SPDX-License-Identifier: MIT */
/* The io_manager by which libext2fs reaches the guest's disk. */
#include "tests/sim/guest_fs_io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FS_NAME "guest_fs:"

/*
 * An io_manager's open() gets nothing but a name, so the name says where the struct is. Only guest_fs_mount() opens
 * with this manager.
 */
void guest_fs_io_name(const struct guest_fs *fs, char name[GUEST_FS_IO_NAME])
{
	snprintf(name, GUEST_FS_IO_NAME, FS_NAME "%p", (const void *)fs);
}

/* Part of one logical block: len bytes from at on. */
static int fs_partial(struct guest_fs *fs, bool write, uint64_t block, uint32_t at, uint8_t *data, uint32_t len)
{
	uint32_t size = fs->blk->block_size;
	uint64_t sector = block * (size / GUEST_BLK_SECTOR);
	int error = guest_blk_read(fs->blk, fs->queue, sector, fs->block, size);

	if (error)
		return error;
	if (!write) {
		memcpy(data, fs->block + at, len);
		return 0;
	}
	memcpy(fs->block + at, data, len);
	return guest_blk_write(fs->blk, fs->queue, sector, fs->block, size);
}

/* Any range of bytes; -errno. */
static int fs_transfer(struct guest_fs *fs, bool write, uint64_t offset, uint8_t *data, uint64_t len)
{
	uint32_t size = fs->blk->block_size;
	uint32_t most = fs->blk->options.data_max / size * size;
	uint64_t part;
	uint32_t at;
	int error;

	for (; len > 0; offset += part, data += part, len -= part) {
		at = (uint32_t)(offset % size);
		if (at || len < size) {
			part = len < size - at ? len : size - at;
			error = fs_partial(fs, write, offset / size, at, data, (uint32_t)part);
		} else {
			part = len < most ? len / size * size : most;
			error = guest_blk_request(fs->blk, fs->queue, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
						  offset / GUEST_BLK_SECTOR, data, (uint32_t)part);
		}
		if (error)
			return error;
	}
	return 0;
}

/* A negative count is bytes. */
static uint64_t fs_bytes(const struct struct_io_channel *channel, int count)
{
	return count < 0 ? (uint64_t)-count : (uint64_t)count * (uint32_t)channel->block_size;
}

static errcode_t fs_open(const char *name, int flags, io_channel *out)
{
	struct guest_fs *fs = NULL;
	io_channel channel;

	(void)flags;
	if (sscanf(name, FS_NAME "%p", (void **)&fs) != 1)
		return EINVAL;
	channel = calloc(1, sizeof(*channel));
	if (!channel)
		return ENOMEM;
	channel->name = strdup(name);
	if (!channel->name) {
		free(channel);
		return ENOMEM;
	}
	channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	channel->manager = guest_fs_io_manager;
	channel->block_size = 1024;
	channel->refcount = 1;
	channel->private_data = fs;
	*out = channel;
	return 0;
}

static errcode_t fs_close(io_channel channel)
{
	if (--channel->refcount > 0)
		return 0;
	free(channel->name);
	free(channel);
	return 0;
}

static errcode_t fs_set_blksize(io_channel channel, int size)
{
	channel->block_size = size;
	return 0;
}

static errcode_t fs_read_blk64(io_channel channel, unsigned long long block, int count, void *data)
{
	uint64_t len = fs_bytes(channel, count);
	int error = fs_transfer(channel->private_data, false, block * (uint32_t)channel->block_size, data, len);

	return error ? -error : 0;
}

static errcode_t fs_write_blk64(io_channel channel, unsigned long long block, int count, const void *data)
{
	uint64_t len = fs_bytes(channel, count);
	int error = fs_transfer(channel->private_data, true, block * (uint32_t)channel->block_size,
				(uint8_t *)(uintptr_t)data, len);

	return error ? -error : 0;
}

static errcode_t fs_read_blk(io_channel channel, unsigned long block, int count, void *data)
{
	return fs_read_blk64(channel, block, count, data);
}

static errcode_t fs_write_blk(io_channel channel, unsigned long block, int count, const void *data)
{
	return fs_write_blk64(channel, block, count, data);
}

static errcode_t fs_flush(io_channel channel)
{
	struct guest_fs *fs = channel->private_data;
	int error;

	if (!(fs->blk->dev.features & 1ull << VIRTIO_BLK_F_FLUSH))
		return 0;
	error = guest_blk_flush(fs->blk, fs->queue);
	return error ? -error : 0;
}

/* Both: what the device does not offer, libext2fs does without, or by writing. */
static errcode_t fs_range(io_channel channel, uint32_t feature, unsigned long long block, unsigned long long count)
{
	struct guest_fs *fs = channel->private_data;
	uint64_t sector = block * (uint32_t)channel->block_size / GUEST_BLK_SECTOR;
	uint64_t sectors = count * (uint32_t)channel->block_size / GUEST_BLK_SECTOR;
	int error;

	if (!(fs->blk->dev.features & 1ull << feature) || sectors > UINT32_MAX)
		return EXT2_ET_UNIMPLEMENTED;
	if (feature == VIRTIO_BLK_F_DISCARD)
		error = guest_blk_discard(fs->blk, fs->queue, sector, (uint32_t)sectors);
	else
		error = guest_blk_write_zeroes(fs->blk, fs->queue, sector, (uint32_t)sectors, false);
	return error ? -error : 0;
}

static errcode_t fs_discard(io_channel channel, unsigned long long block, unsigned long long count)
{
	return fs_range(channel, VIRTIO_BLK_F_DISCARD, block, count);
}

static errcode_t fs_zeroout(io_channel channel, unsigned long long block, unsigned long long count)
{
	return fs_range(channel, VIRTIO_BLK_F_WRITE_ZEROES, block, count);
}

static struct struct_io_manager fs_manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "guest block driver",
	.open = fs_open,
	.close = fs_close,
	.set_blksize = fs_set_blksize,
	.read_blk = fs_read_blk,
	.write_blk = fs_write_blk,
	.flush = fs_flush,
	.read_blk64 = fs_read_blk64,
	.write_blk64 = fs_write_blk64,
	.discard = fs_discard,
	.zeroout = fs_zeroout,
};

const io_manager guest_fs_io_manager = &fs_manager;
