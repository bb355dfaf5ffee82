/* SPDX-License-Identifier: MIT */
/* What the launcher, which describes a block device to its guest, and hvisor-blk, which serves it, agree upon. */
#ifndef HVISOR_BLK_H
#define HVISOR_BLK_H

#include <stdint.h>

#include "backend_fds.h"

#define BLK_SECTOR 512u /* the unit of the protocol, whatever the logical block size is */
#define BLK_BLOCK_MAX 4096u /* the largest logical block size */
#define BLK_SEG_MAX 126u /* data buffers of a request; together with header and status a power of two */
#define BLK_RANGES_MAX 64u /* ranges of a discard or write zeroes request */
#define BLK_RANGE_SECTORS_MAX (1u << 22) /* sectors of such a range: 2 GiB */

/* The image for input and output, and the same image once more. */
#define BLK_FD_IMAGE BACKEND_FD_DEVICE
/*
 * Only held: it carries the lock of the image (and, for a block device, the exclusive claim), which so ends with the
 * process. An io_uring lets go of its files some ten milliseconds after its process has gone.
 */
#define BLK_FD_LOCK (BACKEND_FD_DEVICE + 1)

/*
 * The image's lock is on the bytes before this one. The byte itself is locked through BLK_FD_IMAGE by the backend of
 * an image that is opened past the page cache: when it gets the lock, no write of a killed predecessor is left in the
 * kernel that could overtake its own.
 */
#define BLK_FENCE_OFFSET (INT64_C(1) << 62)

/* struct region_device.own of a block device. */
enum blk_own {
	BLK_OWN_FLUSHES, /* fdatasync() calls done for the driver */
	BLK_OWN_SYNC_WRITES, /* writes that went to stable storage before they completed */
	BLK_OWN_DISCARDED, /* bytes discarded */
	BLK_OWN_ZEROED, /* bytes of write zeroes requests */
	BLK_OWN_INLINE, /* reads and writes done at once, by preadv2() or pwritev2() */
	BLK_OWN_RING, /* operations given to io_uring */
};

#endif
