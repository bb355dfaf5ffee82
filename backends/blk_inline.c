/* SPDX-License-Identifier: MIT */
/*
 * Operations done at once, in the main loop. For what the page cache answers this is several times faster than to hand
 * it to a worker of io_uring, which the kernel does with each buffered write of most file systems, and with each read
 * of those that do not know RWF_NOWAIT (tmpfs is one). But while one of them waits for a disk the whole device waits.
 * So their time is taken, and while they block too often they go through io_uring.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "blk.h"

#define INLINE_BYTES_MAX (1u << 20) /* more takes long whatever it waits for */
#define INLINE_BATCH_MAX 3 /* reads; with more at a time one system call of io_uring is the cheaper way */
#define INLINE_SLOW_NS 200000u /* what takes longer than this has waited for something, ... */
#define INLINE_NS_PER_KIB 1000u /* ... with so much to spare for copying */
#define INLINE_STALL_NS 20000000u /* one of these is enough */
#define INLINE_SLOWNESS_STEP 4u
#define INLINE_SLOWNESS_MAX 16u
#define INLINE_PAUSE_MIN_NS 20000000u
#define INLINE_PAUSE_MAX_NS 1000000000u

static int64_t io_once(const struct blk_io *io, int extra_flags)
{
	off_t offset = (off_t)io->offset;
	int flags = io->flags | extra_flags;
	bool plain = io->niov == 1 && flags == 0; /* the simple calls are a tenth faster */
	ssize_t n = 0;

	switch (io->op) {
	case BLK_OP_READ:
		n = plain ? pread(BLK_FD_IMAGE, io->iov->iov_base, io->iov->iov_len, offset)
			  : preadv2(BLK_FD_IMAGE, io->iov, io->niov, offset, flags);
		break;
	case BLK_OP_WRITE:
		n = plain ? pwrite(BLK_FD_IMAGE, io->iov->iov_base, io->iov->iov_len, offset)
			  : pwritev2(BLK_FD_IMAGE, io->iov, io->niov, offset, flags);
		break;
	case BLK_OP_SYNC:
		n = fdatasync(BLK_FD_IMAGE);
		break;
	case BLK_OP_FALLOCATE:
		n = fallocate(BLK_FD_IMAGE, io->flags, offset, (off_t)io->len);
		break;
	case BLK_OP_DISCARD:
		n = ioctl(BLK_FD_IMAGE, BLKDISCARD, (uint64_t[]){io->offset, io->len});
		break;
	}
	return n < 0 ? -errno : n;
}

int64_t blk_io_now(const struct blk_io *io, int extra_flags)
{
	int64_t n;

	do
		n = io_once(io, extra_flags);
	while (n == -EINTR);
	return n;
}

static uint64_t inline_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * Has this thread waited since the last call, apart from its own sleeps? What merely took long may have been scheduled
 * away, by which a busy machine would look like a slow disk.
 */
static bool inline_waited(struct blk *blk)
{
	uint64_t sleeps = core_load(&blk->backend->region->device.wakeups);
	struct blk_inline *at_once = &blk->at_once;
	struct rusage usage;
	bool waited;

	if (getrusage(RUSAGE_THREAD, &usage) < 0)
		return true;
	waited = (uint64_t)usage.ru_nvcsw - at_once->waits > sleeps - at_once->sleeps;
	at_once->waits = (uint64_t)usage.ru_nvcsw;
	at_once->sleeps = sleeps;
	return waited;
}

void blk_inline_init(struct blk *blk)
{
	uint8_t byte;
	struct iovec iov = {&byte, sizeof(byte)};
	ssize_t n = preadv2(BLK_FD_IMAGE, &iov, 1, 0, RWF_NOWAIT);

	blk->at_once.read_nowait = n >= 0 || errno == EAGAIN;
	blk->at_once.pause_ns = INLINE_PAUSE_MIN_NS;
	inline_waited(blk);
}

static void inline_pause(struct blk_inline *at_once, uint64_t now_ns)
{
	at_once->paused_until_ns = now_ns + at_once->pause_ns;
	at_once->pause_ns *= 2;
	if (at_once->pause_ns > INLINE_PAUSE_MAX_NS)
		at_once->pause_ns = INLINE_PAUSE_MAX_NS;
	/* After the pause one slow operation is enough for the next one. */
	at_once->slowness = INLINE_SLOWNESS_MAX - INLINE_SLOWNESS_STEP;
}

/* A single slow operation says little, and what else was done in this turn since the one before is counted in. */
static void inline_account(struct blk *blk, uint64_t begin_ns, uint64_t len)
{
	struct blk_inline *at_once = &blk->at_once;
	uint64_t end_ns = inline_now();
	uint64_t took_ns = end_ns - begin_ns;

	at_once->clock_ns = end_ns;
	if (took_ns <= INLINE_SLOW_NS + (len >> 10) * INLINE_NS_PER_KIB) {
		if (at_once->slowness > 0 && --at_once->slowness == 0)
			at_once->pause_ns = INLINE_PAUSE_MIN_NS;
		return;
	}
	if (!inline_waited(blk))
		return;
	at_once->slowness += took_ns > INLINE_STALL_NS ? INLINE_SLOWNESS_MAX : INLINE_SLOWNESS_STEP;
	if (at_once->slowness >= INLINE_SLOWNESS_MAX)
		inline_pause(at_once, end_ns);
}

/* A read which says by itself that it would block: no need to take its time. */
static bool read_nowait(struct blk *blk, const struct blk_io *io, int64_t *result)
{
	if (blk->batch > INLINE_BATCH_MAX)
		return false;
	*result = blk_io_now(io, RWF_NOWAIT);
	return *result != -EAGAIN;
}

bool blk_inline_try(struct blk *blk, const struct blk_io *io, int64_t *result)
{
	struct blk_inline *at_once = &blk->at_once;
	uint64_t begin_ns;

	/* A fallocate() in progress holds locks of the image that a write needs. */
	if (io->len > INLINE_BYTES_MAX || blk->cache == BLK_CACHE_NONE)
		return false;
	if (io->op == BLK_OP_READ && at_once->read_nowait)
		return read_nowait(blk, io, result);
	if (io->op != BLK_OP_READ && (io->op != BLK_OP_WRITE || io->flags || blk->fallocates))
		return false;
	begin_ns = at_once->clock_ns > blk->backend->now_ns ? at_once->clock_ns : blk->backend->now_ns;
	if (begin_ns < at_once->paused_until_ns)
		return false;
	*result = blk_io_now(io, 0);
	inline_account(blk, begin_ns, io->len);
	return true;
}
