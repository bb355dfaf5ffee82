/* SPDX-License-Identifier: MIT */
#include "tests/sim/guest_fs.h"

#include <errno.h>
#include <et/com_err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/sim/guest_fs_io.h"

#define FS_PART (1u << 20) /* ext2fs_file_read() and _write() count in unsigned int */

const char *guest_fs_error(errcode_t error)
{
	return error_message(error);
}

errcode_t guest_fs_mount(struct guest_fs *fs, struct guest_blk *blk, uint32_t queue, bool writable)
{
	int flags = EXT2_FLAG_64BITS | (writable ? EXT2_FLAG_RW : 0);
	char name[GUEST_FS_IO_NAME];
	errcode_t error;

	initialize_ext2_error_table();
	*fs = (struct guest_fs){.blk = blk, .queue = queue, .block = malloc(blk->block_size)};
	if (!fs->block)
		return ENOMEM;
	guest_fs_io_name(fs, name);
	error = ext2fs_open(name, flags, 0, 0, guest_fs_io_manager, &fs->fs);
	if (!error && writable)
		error = ext2fs_read_bitmaps(fs->fs);
	if (error)
		guest_fs_forget(fs);
	return error;
}

void guest_fs_forget(struct guest_fs *fs)
{
	if (fs->fs)
		ext2fs_free(fs->fs);
	free(fs->block);
	fs->fs = NULL;
	fs->block = NULL;
}

errcode_t guest_fs_sync(struct guest_fs *fs)
{
	errcode_t error = fs->fs->flags & EXT2_FLAG_RW ? ext2fs_flush(fs->fs) : 0;

	return error ? error : io_channel_flush(fs->fs->io);
}

errcode_t guest_fs_unmount(struct guest_fs *fs)
{
	errcode_t error = guest_fs_sync(fs);

	guest_fs_forget(fs);
	return error;
}

static errcode_t fs_find(struct guest_fs *fs, const char *path, ext2_ino_t *ino, struct ext2_inode *inode)
{
	errcode_t error = ext2fs_namei_follow(fs->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, ino);

	return error ? error : ext2fs_read_inode(fs->fs, *ino, inode);
}

struct fs_listing {
	struct guest_fs *fs;
	void (*each)(const struct guest_fs_entry *entry, void *argument);
	void *argument;
	errcode_t error;
};

static int fs_list_entry(struct ext2_dir_entry *dirent, int offset, int blocksize, char *buffer, void *private_data)
{
	struct fs_listing *listing = private_data;
	struct guest_fs_entry entry = {0};
	struct ext2_inode inode;

	(void)offset;
	(void)blocksize;
	(void)buffer;
	listing->error = ext2fs_read_inode(listing->fs->fs, dirent->inode, &inode);
	if (listing->error)
		return DIRENT_ABORT;
	memcpy(entry.name, dirent->name, (size_t)ext2fs_dirent_name_len(dirent));
	entry.mode = inode.i_mode;
	entry.size = EXT2_I_SIZE(&inode);
	listing->each(&entry, listing->argument);
	return 0;
}

errcode_t guest_fs_list(struct guest_fs *fs, const char *path,
			void (*each)(const struct guest_fs_entry *entry, void *argument), void *argument)
{
	struct fs_listing listing = {fs, each, argument, 0};
	struct ext2_inode inode;
	ext2_ino_t ino;
	errcode_t error = fs_find(fs, path, &ino, &inode);

	if (!error && !LINUX_S_ISDIR(inode.i_mode))
		error = EXT2_ET_NO_DIRECTORY;
	if (!error)
		error = ext2fs_dir_iterate(fs->fs, ino, 0, NULL, fs_list_entry, &listing);
	return error ? error : listing.error;
}

static errcode_t fs_read_all(ext2_file_t file, uint8_t *data, size_t len)
{
	unsigned int got;
	errcode_t error;
	size_t at;

	for (at = 0; at < len; at += got) {
		error = ext2fs_file_read(file, data + at, len - at < FS_PART ? (unsigned int)(len - at) : FS_PART,
					 &got);
		if (error)
			return error;
		if (got == 0)
			return EXT2_ET_SHORT_READ;
	}
	return 0;
}

errcode_t guest_fs_read(struct guest_fs *fs, const char *path, void **data, size_t *len)
{
	struct ext2_inode inode;
	ext2_file_t file;
	ext2_ino_t ino;
	errcode_t error = fs_find(fs, path, &ino, &inode);

	if (error)
		return error;
	if (!LINUX_S_ISREG(inode.i_mode))
		return LINUX_S_ISDIR(inode.i_mode) ? EISDIR : EINVAL;
	*len = EXT2_I_SIZE(&inode);
	*data = malloc(*len + 1);
	if (!*data)
		return ENOMEM;
	error = ext2fs_file_open(fs->fs, ino, 0, &file);
	if (!error) {
		error = fs_read_all(file, *data, *len);
		ext2fs_file_close(file);
	}
	if (error)
		free(*data);
	return error;
}

/* The folder of path, and the name in it. */
static errcode_t fs_find_parent(struct guest_fs *fs, const char *path, ext2_ino_t *parent, const char **name)
{
	const char *slash = strrchr(path, '/');
	struct ext2_inode inode;
	errcode_t error;
	char *folder;

	*name = slash ? slash + 1 : path;
	if (**name == '\0' || strlen(*name) > EXT2_NAME_LEN)
		return EINVAL;
	folder = slash && slash != path ? strndup(path, (size_t)(slash - path)) : strdup("/");
	if (!folder)
		return ENOMEM;
	error = fs_find(fs, folder, parent, &inode);
	free(folder);
	if (!error && !LINUX_S_ISDIR(inode.i_mode))
		error = EXT2_ET_NO_DIRECTORY;
	return error;
}

static errcode_t fs_link(struct guest_fs *fs, ext2_ino_t parent, const char *name, ext2_ino_t ino)
{
	errcode_t error = ext2fs_link(fs->fs, parent, name, ino, EXT2_FT_REG_FILE);

	if (error != EXT2_ET_DIR_NO_SPACE)
		return error;
	error = ext2fs_expand_dir(fs->fs, parent);
	return error ? error : ext2fs_link(fs->fs, parent, name, ino, EXT2_FT_REG_FILE);
}

static errcode_t fs_create(struct guest_fs *fs, const char *path, ext2_ino_t *ino)
{
	struct ext2_inode inode = {.i_mode = LINUX_S_IFREG | 0644, .i_links_count = 1};
	ext2_extent_handle_t extents;
	const char *name;
	ext2_ino_t parent;
	errcode_t error = fs_find_parent(fs, path, &parent, &name);

	if (!error)
		error = ext2fs_new_inode(fs->fs, parent, LINUX_S_IFREG | 0644, NULL, ino);
	if (error)
		return error;
	inode.i_atime = inode.i_ctime = inode.i_mtime = (uint32_t)time(NULL);
	ext2fs_inode_alloc_stats2(fs->fs, *ino, +1, 0);
	error = ext2fs_write_new_inode(fs->fs, *ino, &inode);
	if (!error && ext2fs_has_feature_extents(fs->fs->super)) {
		error = ext2fs_extent_open2(fs->fs, *ino, &inode, &extents);
		if (!error) {
			ext2fs_extent_free(extents);
			error = ext2fs_write_inode(fs->fs, *ino, &inode);
		}
	}
	return error ? error : fs_link(fs, parent, name, *ino);
}

static errcode_t fs_write_all(ext2_file_t file, const uint8_t *data, size_t len)
{
	unsigned int put;
	errcode_t error;
	size_t at;

	for (at = 0; at < len; at += put) {
		error = ext2fs_file_write(file, data + at, len - at < FS_PART ? (unsigned int)(len - at) : FS_PART,
					  &put);
		if (error)
			return error;
	}
	return 0;
}

errcode_t guest_fs_write(struct guest_fs *fs, const char *path, const void *data, size_t len)
{
	struct ext2_inode inode;
	ext2_file_t file;
	ext2_ino_t ino;
	errcode_t error = fs_find(fs, path, &ino, &inode);
	errcode_t closed;

	if (error == EXT2_ET_FILE_NOT_FOUND)
		error = fs_create(fs, path, &ino);
	else if (!error && !LINUX_S_ISREG(inode.i_mode))
		error = LINUX_S_ISDIR(inode.i_mode) ? EISDIR : EINVAL;
	if (!error)
		error = ext2fs_file_open(fs->fs, ino, EXT2_FILE_WRITE, &file);
	if (error)
		return error;
	error = ext2fs_file_set_size2(file, 0);
	if (!error)
		error = fs_write_all(file, data, len);
	closed = ext2fs_file_close(file);
	return error ? error : closed;
}

errcode_t guest_fs_mkdir(struct guest_fs *fs, const char *path)
{
	const char *name;
	ext2_ino_t parent;
	errcode_t error = fs_find_parent(fs, path, &parent, &name);

	if (error)
		return error;
	error = ext2fs_mkdir(fs->fs, parent, 0, name);
	if (error != EXT2_ET_DIR_NO_SPACE)
		return error;
	error = ext2fs_expand_dir(fs->fs, parent);
	return error ? error : ext2fs_mkdir(fs->fs, parent, 0, name);
}
