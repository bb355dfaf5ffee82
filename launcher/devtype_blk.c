/* SPDX-License-Identifier: MIT */
/* Block devices: what their guests find, and the image that their backends are given. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/blk.h"
#include "devtype.h"

/* Without the fields of secure erase, which we do not offer. */
#define CONFIG_LEN offsetof(struct virtio_blk_config, max_secure_erase_sectors)
#define CONFIG_WCE_AT offsetof(struct virtio_blk_config, wce)

/* What is found out about an image. */
struct image {
	struct stat st;
	bool block; /* a block device */
	uint64_t size; /* bytes */
	uint32_t logical; /* the smallest unit that it can be read in; 1 for a file in the page cache */
	uint32_t physical; /* the smallest unit that is written without reading first */
	uint32_t optimal; /* a good size of one access, 0 unknown */
	uint32_t discard; /* the smallest unit of a discard; 0: it has none */
};

static const char *kind_name(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISCHR(mode))
		return "a character device";
	return "a pipe or a socket";
}

/* Looked at before it is opened, since opening a pipe would wait for its other end, and again afterwards. */
static int image_check_kind(const struct config_device *device, const struct stat *st, struct errors *errors)
{
	if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
		return 0;
	return devtype_complain(device, errors, "is %s; must be an image file or a block device",
				kind_name(st->st_mode));
}

static int open_flags(const struct config_blk *blk)
{
	return (blk->readonly ? O_RDONLY : O_RDWR) | (blk->cache == CONFIG_CACHE_NONE ? O_DIRECT : 0) | O_CLOEXEC |
	       O_NOCTTY;
}

/* Returns a descriptor, or -1 after a complaint. */
static int image_open(const struct config_device *device, int flags, struct errors *errors)
{
	struct stat st;
	int fd;

	if (stat(device->blk.img, &st) < 0)
		return devtype_complain(device, errors, "%s", strerror(errno));
	if (image_check_kind(device, &st, errors))
		return -1;
	fd = open(device->blk.img, flags);
	if (fd >= 0) {
		/* A guest's reads are nobody's look at the image. Only its owner and root may say so; others do
		 * without. */
		fcntl(fd, F_SETFL, flags | O_NOATIME);
		return fd;
	}
	if (errno == EINVAL && (flags & O_DIRECT))
		return devtype_complain(device, errors,
					"its file system cannot pass its page cache by; use \"cache\": \"writeback\"");
	if (errno == EBUSY)
		return devtype_complain(device, errors, "is mounted or in use by another process");
	if ((errno == EROFS || errno == EACCES) && (flags & O_ACCMODE) == O_RDWR)
		return devtype_complain(device, errors, "%s; to serve it all the same, set \"readonly\": true",
					strerror(errno));
	return devtype_complain(device, errors, "%s", strerror(errno));
}

/* Of a block device: a number from /sys/dev/block/MAJOR:MINOR/queue, or of the disk that it is a partition of. */
static uint64_t queue_limit(dev_t rdev, const char *name)
{
	static const char *const formats[] = {"/sys/dev/block/%u:%u/queue/%s", "/sys/dev/block/%u:%u/../queue/%s"};
	unsigned long long value = 0;
	char path[128];
	size_t i;
	FILE *file;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		snprintf(path, sizeof(path), formats[i], major(rdev), minor(rdev), name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fscanf(file, "%llu", &value) != 1)
			value = 0;
		fclose(file);
		break;
	}
	return value;
}

static int image_look_block(struct image *image, int fd)
{
	unsigned int physical = 0, minimum = 0, optimal = 0;
	uint64_t granularity;
	int logical = 0;

	if (ioctl(fd, BLKGETSIZE64, &image->size) < 0 || ioctl(fd, BLKSSZGET, &logical) < 0)
		return -errno;
	if (ioctl(fd, BLKPBSZGET, &physical) < 0 || ioctl(fd, BLKIOMIN, &minimum) < 0 ||
	    ioctl(fd, BLKIOOPT, &optimal) < 0)
		return -errno;
	image->logical = (uint32_t)logical;
	image->physical = physical;
	image->optimal = optimal;
	if (queue_limit(image->st.st_rdev, "discard_max_bytes") > 0) {
		granularity = queue_limit(image->st.st_rdev, "discard_granularity");
		image->discard = granularity > 0 && granularity <= UINT32_MAX ? (uint32_t)granularity : BLK_SECTOR;
	}
	return 0;
}

/* The smallest read past the page cache that works, at an offset of as much; 0 if even whole pages do not. */
static uint32_t direct_unit(int fd)
{
	uint32_t unit;
	void *buffer;
	ssize_t n = -1;

	if (posix_memalign(&buffer, BLK_BLOCK_MAX, BLK_BLOCK_MAX))
		return 0;
	for (unit = BLK_SECTOR; unit <= BLK_BLOCK_MAX; unit *= 2) {
		n = pread(fd, buffer, unit, unit);
		if (n >= 0 || errno != EINVAL)
			break;
	}
	free(buffer);
	return n >= 0 ? unit : 0;
}

static int image_look(struct image *image, int fd, bool direct)
{
	int error = 0;

	memset(image, 0, sizeof(*image));
	if (fstat(fd, &image->st) < 0)
		return -errno;
	image->block = S_ISBLK(image->st.st_mode);
	if (image->block) {
		error = image_look_block(image, fd);
	} else {
		image->size = (uint64_t)image->st.st_size;
		image->logical = direct ? direct_unit(fd) : 1;
		image->physical = (uint32_t)image->st.st_blksize;
		image->discard = (uint32_t)image->st.st_blksize;
	}
	return error;
}

static int image_check(const struct config_device *device, const struct image *image, struct errors *errors)
{
	uint32_t block = device->blk.logical_block_size;

	if (image->size < block)
		return devtype_complain(device, errors, "has %llu bytes; an image has at least one block of %u bytes",
					(unsigned long long)image->size, block);
	if (image->size % block)
		return devtype_complain(
			device, errors,
			"its size of %llu bytes is not a multiple of the logical_block_size of %u bytes",
			(unsigned long long)image->size, block);
	if (image->logical == 0)
		return devtype_complain(device, errors,
					"reading past the page cache does not work; use \"cache\": \"writeback\"");
	if (image->logical > block)
		return devtype_complain(
			device, errors, "can be accessed in units of %u bytes only%s; set \"logical_block_size\": %u",
			image->logical, image->block ? "" : " with \"cache\": \"none\"", image->logical);
	return 0;
}

/* The exponent of the largest power of two of blocks in bytes. */
static uint8_t blocks_exponent(uint32_t bytes, uint32_t block)
{
	uint8_t exponent = 0;

	while (bytes / block >> (exponent + 1))
		exponent++;
	return exponent;
}

static void describe_topology(const struct image *image, uint32_t block, struct virtio_blk_config *config)
{
	/* A large st_blksize is advice on the size of an access, not a unit that must not be divided. */
	uint32_t physical = image->physical < BLK_BLOCK_MAX || image->block ? image->physical : BLK_BLOCK_MAX;
	uint32_t optimal = image->optimal;

	if (!image->block && image->physical > BLK_BLOCK_MAX)
		optimal = image->physical;
	config->physical_block_exp = blocks_exponent(physical, block);
	config->min_io_size = htole16((uint16_t)(1u << config->physical_block_exp));
	config->opt_io_size = htole32(optimal / block);
}

static void describe_config(const struct config_blk *blk, const struct image *image, struct virtio_blk_config *config)
{
	uint32_t seg_max = blk->queue_size - 2 < BLK_SEG_MAX ? blk->queue_size - 2 : BLK_SEG_MAX;
	uint32_t granularity = image->discard > blk->logical_block_size ? image->discard : blk->logical_block_size;

	memset(config, 0, sizeof(*config));
	config->capacity = htole64(image->size / BLK_SECTOR);
	config->seg_max = htole32(seg_max);
	config->blk_size = htole32(blk->logical_block_size);
	describe_topology(image, blk->logical_block_size, config);
	config->wce = blk->cache != CONFIG_CACHE_WRITETHROUGH;
	config->num_queues = htole16((uint16_t)blk->queues);
	if (blk->readonly)
		return;
	if (blk->discard && image->discard) {
		config->max_discard_sectors = htole32(BLK_RANGE_SECTORS_MAX);
		config->max_discard_seg = htole32(BLK_RANGES_MAX);
		config->discard_sector_alignment = htole32(granularity / BLK_SECTOR);
		config->write_zeroes_may_unmap = 1;
	}
	config->max_write_zeroes_sectors = htole32(BLK_RANGE_SECTORS_MAX);
	config->max_write_zeroes_seg = htole32(BLK_RANGES_MAX);
}

static uint64_t describe_features(const struct config_blk *blk, const struct image *image)
{
	uint64_t features = (1ull << VIRTIO_BLK_F_SEG_MAX) | (1ull << VIRTIO_BLK_F_BLK_SIZE) |
			    (1ull << VIRTIO_BLK_F_TOPOLOGY) | (1ull << VIRTIO_BLK_F_FLUSH) |
			    (1ull << VIRTIO_BLK_F_CONFIG_WCE) | (1ull << VIRTIO_BLK_F_MQ) |
			    (1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX) |
			    (1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_F_RING_RESET);

	if (blk->readonly)
		return features | (1ull << VIRTIO_BLK_F_RO);
	if (blk->discard && image->discard)
		features |= 1ull << VIRTIO_BLK_F_DISCARD;
	return features | (1ull << VIRTIO_BLK_F_WRITE_ZEROES);
}

/* Looks at the image that is there now. 0, or -1 after complaints. */
static int image_examine(const struct config_device *device, struct image *image, struct errors *errors)
{
	bool direct = device->blk.cache == CONFIG_CACHE_NONE;
	int fd, error;

	/* Nothing is written here, so it need not be possible yet. */
	fd = image_open(device, O_RDONLY | O_CLOEXEC | O_NOCTTY | (direct ? O_DIRECT : 0), errors);
	if (fd < 0)
		return -1;
	error = image_look(image, fd, direct);
	close(fd);
	if (error)
		return devtype_complain(device, errors, "%s", strerror(-error));
	return image_check_kind(device, &image->st, errors) || image_check(device, image, errors) ? -1 : 0;
}

static int blk_describe(const struct config_device *device, struct hvisor_device_add *out, struct errors *errors)
{
	const struct config_blk *blk = &device->blk;
	struct virtio_blk_config config;
	struct image image;

	if (image_examine(device, &image, errors))
		return -1;
	describe_config(blk, &image, &config);
	out->device_id = VIRTIO_ID_BLOCK;
	out->nqueues = blk->queues;
	out->queue_size_max = blk->queue_size;
	out->features = describe_features(blk, &image);
	out->config_len = CONFIG_LEN;
	memset(out->config, 0, sizeof(out->config));
	memcpy(out->config, &config, CONFIG_LEN);
	memset(out->config_writable, 0, sizeof(out->config_writable));
	out->config_writable[CONFIG_WCE_AT / 8] = (uint8_t)(1u << CONFIG_WCE_AT % 8);
	return 0;
}

/* Locks the image through its second descriptor: common/blk.h tells why there are two. */
static int image_lock(const struct config_device *device, int fd, struct errors *errors)
{
	struct flock lock = {
		.l_type = device->blk.readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
		.l_len = BLK_FENCE_OFFSET,
	};
	int error;

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	error = errno;
	if (error != EAGAIN && error != EACCES)
		return devtype_complain(device, errors, "locking it: %s", strerror(error));
	if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0)
		return devtype_complain(device, errors, "is in use by process %d", (int)lock.l_pid);
	return devtype_complain(device, errors, "is in use by another process");
}

static int start_args(const struct config_blk *blk, struct devtype_start *out)
{
	if (devtype_start_arg(out, "readonly=%d", blk->readonly) || devtype_start_arg(out, "serial=%s", blk->serial) ||
	    devtype_start_arg(out, "cache=%s", config_cache_name(blk->cache)) ||
	    devtype_start_arg(out, "discard=%d", blk->discard) ||
	    devtype_start_arg(out, "block_size=%u", blk->logical_block_size) ||
	    devtype_start_arg(out, "engine=%s", config_engine_name(blk->engine)))
		return -1;
	return 0;
}

static int start_files(const struct config_device *device, struct devtype_start *out, struct errors *errors)
{
	int exclusive = 0;
	struct stat st[2];
	int i;

	for (i = 0; i < 2; i++) {
		out->file[i] = image_open(device, open_flags(&device->blk) | exclusive, errors);
		if (out->file[i] < 0)
			return -1;
		out->nfiles++;
		if (fstat(out->file[i], &st[i]) < 0)
			return devtype_complain(device, errors, "%s", strerror(errno));
		if (image_check_kind(device, &st[i], errors))
			return -1;
		/* The descriptor that carries the lock claims a block device: a mounted one is refused. */
		if (S_ISBLK(st[0].st_mode) && !device->blk.readonly)
			exclusive = O_EXCL;
	}
	if (st[0].st_dev != st[1].st_dev || st[0].st_ino != st[1].st_ino)
		return devtype_complain(device, errors, "was exchanged while it was opened; try again");
	if (image_lock(device, out->file[BLK_FD_LOCK - BACKEND_FD_DEVICE], errors))
		return -1;
	out->fsize_max = S_ISREG(st[0].st_mode) && !device->blk.readonly ? (uint64_t)st[0].st_size : 0;
	return 0;
}

static int blk_open(const struct config_device *device, struct devtype_start *out, struct errors *errors)
{
	devtype_start_init(out);
	if (start_files(device, out, errors) == 0) {
		if (start_args(&device->blk, out) == 0)
			return 0;
		devtype_complain(device, errors, "no memory for its backend's arguments");
	}
	devtype_start_finish(out);
	return -1;
}

static int blk_measure(const struct config_device *device, const uint8_t *config, uint64_t *bytes,
		       struct errors *errors)
{
	struct virtio_blk_config now;
	struct image image;
	uint64_t told;

	if (image_examine(device, &image, errors))
		return -1;
	memcpy(&now, config, CONFIG_LEN);
	told = le64toh(now.capacity);
	if (image.size / BLK_SECTOR < told)
		return devtype_complain(
			device, errors,
			"has %llu bytes, less than the %llu sectors of 512 bytes that its guest knows; a disk "
			"in use can grow but not shrink",
			(unsigned long long)image.size, (unsigned long long)told);
	*bytes = image.size;
	return 0;
}

const struct devtype devtype_blk = {
	.type = CONFIG_BLK,
	.program = "hvisor-blk",
	.policy = "hvisor-blk.policy",
	.describe = blk_describe,
	.open = blk_open,
	.measure = blk_measure,
};
