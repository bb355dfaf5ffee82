/* SPDX-License-Identifier: MIT */
/*
 * The guest's ext4: libext2fs over the guest's block driver, so that files go in and out of an image through the whole
 * path. The disk must not be in use by anything else meanwhile.
 *
 * Functions return 0 or an errcode_t of libext2fs (which takes in errno values); guest_fs_error() says it in words.
 */
#ifndef HVISOR_GUEST_FS_H
#define HVISOR_GUEST_FS_H

#include <ext2fs/ext2fs.h>
#include <stddef.h>

#include "tests/sim/guest_blk.h"

struct guest_fs {
	struct guest_blk *blk;
	uint32_t queue; /* of blk, which is its own while it is mounted */
	ext2_filsys fs;
	uint8_t *block; /* scratch: one logical block of blk */
};

struct guest_fs_entry {
	char name[EXT2_NAME_LEN + 1];
	uint16_t mode; /* as in stat */
	uint64_t size; /* bytes */
};

errcode_t guest_fs_mount(struct guest_fs *fs, struct guest_blk *blk, uint32_t queue, bool writable);

/* Writes what is cached, ends with a flush of the disk, and frees all, also when that failed. */
errcode_t guest_fs_unmount(struct guest_fs *fs);

/* Writes what is cached and flushes the disk. */
errcode_t guest_fs_sync(struct guest_fs *fs);

/* Frees all and writes nothing: for a disk that is broken. */
void guest_fs_forget(struct guest_fs *fs);

/* Calls each for the entries of a folder, in its order, "." and ".." included. */
errcode_t guest_fs_list(struct guest_fs *fs, const char *path,
			void (*each)(const struct guest_fs_entry *entry, void *argument), void *argument);

/* All of a regular file, in memory of malloc(). */
errcode_t guest_fs_read(struct guest_fs *fs, const char *path, void **data, size_t *len);

/* Makes a regular file or replaces what is in it. */
errcode_t guest_fs_write(struct guest_fs *fs, const char *path, const void *data, size_t len);

errcode_t guest_fs_mkdir(struct guest_fs *fs, const char *path);

const char *guest_fs_error(errcode_t error);

#endif
