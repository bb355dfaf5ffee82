/* SPDX-License-Identifier: MIT */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "blk.h"

#define ZERO_BYTES (64u << 10)
#define ZERO_IOVS 16
#define DISCARD_BYTES (16u << 20) /* in one call: all else waits for its end */

/* Never written, so it takes no memory of its own. Aligned for images opened past the page cache. */
static uint8_t zeroes[ZERO_BYTES] __attribute__((aligned(BLK_BLOCK_MAX)));
static const struct iovec zero_iov[ZERO_IOVS] = {[0 ... ZERO_IOVS - 1] = {zeroes, ZERO_BYTES}};

/* Buffers in the zone's memory, one after the other. */
struct span {
	const struct iovec *iov;
	uint32_t n;
	uint64_t skip; /* bytes at the front which are not of it */
	uint64_t len; /* bytes of it */
};

/* The next piece of the span, which is taken off it; false at its end. */
static bool span_next(struct span *span, struct iovec *piece)
{
	for (; span->n > 0 && span->len > 0; span->iov++, span->n--) {
		if (span->skip >= span->iov->iov_len) {
			span->skip -= span->iov->iov_len;
			continue;
		}
		piece->iov_base = (uint8_t *)span->iov->iov_base + span->skip;
		piece->iov_len = span->iov->iov_len - span->skip;
		if (piece->iov_len > span->len)
			piece->iov_len = span->len;
		span->len -= piece->iov_len;
		span->skip = 0;
		span->iov++;
		span->n--;
		return true;
	}
	return false;
}

static void span_read(struct span span, void *to)
{
	uint8_t *at = to;
	struct iovec piece;

	while (span_next(&span, &piece)) {
		memcpy(at, piece.iov_base, piece.iov_len);
		at += piece.iov_len;
	}
}

static void span_write(struct span span, const void *from)
{
	const uint8_t *at = from;
	struct iovec piece;

	while (span_next(&span, &piece)) {
		memcpy(piece.iov_base, at, piece.iov_len);
		at += piece.iov_len;
	}
}

/* The request's data is the span. False if it has too many pieces. */
static bool data_set(struct blk_request *request, struct span span)
{
	struct iovec *last = NULL;
	struct iovec piece;

	request->iov = request->data;
	request->niov = 0;
	while (span_next(&span, &piece)) {
		if (last && (uint8_t *)last->iov_base + last->iov_len == piece.iov_base) {
			last->iov_len += piece.iov_len;
			continue;
		}
		if (request->niov == BLK_SEG_MAX)
			return false;
		last = &request->data[request->niov++];
		*last = piece;
	}
	return true;
}

static struct span data_front(const struct blk_request *request, uint64_t len)
{
	return (struct span){.iov = request->iov, .n = (uint32_t)request->niov, .len = len};
}

static void data_advance(struct blk_request *request, uint64_t n)
{
	while (request->niov > 0 && n >= request->iov->iov_len) {
		n -= request->iov->iov_len;
		request->iov++;
		request->niov--;
	}
	if (request->niov > 0) {
		request->iov->iov_base = (uint8_t *)request->iov->iov_base + n;
		request->iov->iov_len -= n;
	}
}

/* Are these whole blocks of the device that the driver sees? */
static bool range_valid(const struct blk *blk, uint64_t sector, uint64_t sectors)
{
	uint32_t block = blk->block_size / BLK_SECTOR;

	return sector <= blk->capacity && sectors <= blk->capacity - sector && sector % block == 0 &&
	       sectors % block == 0;
}

static uint8_t refuse(struct blk *blk, const struct blk_request *request, const char *why)
{
	uint64_t suppressed;

	if (log_gate_open(&blk->driver_gate, blk->backend->now_ns, &suppressed))
		log_warning("queue %u: a request of type %u was refused: %s (%llu more since the last such line)",
			    request->queue, request->type, why, (unsigned long long)suppressed);
	return VIRTIO_BLK_S_IOERR;
}

static uint8_t init_read_write(struct blk *blk, struct blk_request *request, struct span span, uint64_t sector)
{
	if (request->type == VIRTIO_BLK_T_OUT && blk->readonly)
		return refuse(blk, request, "the device is read-only");
	if (span.len % BLK_SECTOR || !range_valid(blk, sector, span.len / BLK_SECTOR))
		return refuse(blk, request, "not whole blocks inside of the capacity");
	if (!data_set(request, span))
		return refuse(blk, request, "more data buffers than seg_max");
	request->offset = sector * BLK_SECTOR;
	request->left = span.len;
	return VIRTIO_BLK_S_OK;
}

static uint8_t init_get_id(struct blk *blk, struct blk_request *request, struct span span)
{
	if (span.len > sizeof(blk->serial))
		span.len = sizeof(blk->serial);
	span_write(span, blk->serial);
	request->done = span.len;
	return VIRTIO_BLK_S_OK;
}

/* Discard and write zeroes. All ranges are looked at before the first is touched. */
static uint8_t init_ranges(struct blk *blk, struct blk_request *request, struct span span)
{
	bool discard = request->type == VIRTIO_BLK_T_DISCARD;
	uint32_t feature = discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
	uint32_t flags = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	const struct virtio_blk_discard_write_zeroes *range = request->ranges;
	uint32_t i;

	if (!(blk->backend->features & (1ull << feature)))
		return VIRTIO_BLK_S_UNSUPP;
	if (span.len == 0 || span.len % sizeof(*range) || span.len > sizeof(request->ranges))
		return refuse(blk, request, "not a list of 1 to 64 ranges");
	span_read(span, request->ranges);
	request->nranges = (uint32_t)(span.len / sizeof(*range));
	request->synced = discard;
	for (i = 0; i < request->nranges; i++, range++) {
		if (le32toh(range->flags) & ~flags)
			return VIRTIO_BLK_S_UNSUPP;
		if (le32toh(range->num_sectors) > BLK_RANGE_SECTORS_MAX ||
		    !range_valid(blk, le64toh(range->sector), le32toh(range->num_sectors)))
			return refuse(blk, request, "a range is too long, or not whole blocks inside of the capacity");
	}
	return VIRTIO_BLK_S_OK;
}

const char *blk_request_init(struct blk *blk, struct blk_request *request, uint16_t queue,
			     const struct virtq_chain *chain)
{
	struct span readable = {.iov = chain->iov, .n = chain->nread};
	struct span writable = {.iov = chain->iov + chain->nread, .n = chain->nwrite};
	struct virtio_blk_outhdr header;
	const struct iovec *last;

	if (chain->nwrite == 0)
		return "a request without room for its status";
	last = &writable.iov[writable.n - 1];
	if (chain->read_len < sizeof(header))
		return "a request without a header";
	readable.len = sizeof(header);
	span_read(readable, &header);
	readable.skip = sizeof(header);
	readable.len = chain->read_len - sizeof(header);
	writable.len = chain->write_len - 1;

	request->head = chain->head;
	request->queue = queue;
	request->type = le32toh(header.type);
	request->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	request->writable = writable.len;
	request->done = 0;
	request->left = 0;
	request->nranges = 0;
	request->range = 0;
	request->synced = false;
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		request->verdict = init_read_write(blk, request, writable, le64toh(header.sector));
		break;
	case VIRTIO_BLK_T_OUT:
		request->verdict = init_read_write(blk, request, readable, le64toh(header.sector));
		break;
	case VIRTIO_BLK_T_FLUSH:
		request->synced = blk->readonly;
		request->verdict = VIRTIO_BLK_S_OK;
		break;
	case VIRTIO_BLK_T_GET_ID:
		request->verdict = init_get_id(blk, request, writable);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		request->verdict = init_ranges(blk, request, readable);
		break;
	default:
		request->verdict = VIRTIO_BLK_S_UNSUPP;
		break;
	}
	return NULL;
}

static const char *op_name(const struct blk_request *request)
{
	switch (request->io.op) {
	case BLK_OP_READ:
		return "reading";
	case BLK_OP_WRITE:
		return "writing";
	case BLK_OP_SYNC:
		return "syncing";
	case BLK_OP_FALLOCATE:
	case BLK_OP_DISCARD:
		return request->type == VIRTIO_BLK_T_DISCARD ? "discarding" : "zeroing";
	}
	return "?";
}

static void fail(struct blk *blk, struct blk_request *request, const char *why)
{
	uint64_t suppressed;

	request->verdict = VIRTIO_BLK_S_IOERR;
	if (log_gate_open(&blk->io_gate, blk->backend->now_ns, &suppressed))
		log_error("%s %llu bytes at sector %llu of the image: %s (%llu more since the last such line)",
			  op_name(request), (unsigned long long)request->io.len,
			  (unsigned long long)(request->io.offset / BLK_SECTOR), why, (unsigned long long)suppressed);
}

/*
 * An image that was made shorter must not grow back, with zeroes where the driver's data was, because it is written
 * to: so its size is looked at once in each turn that changes it. This also tells a block device's size.
 */
static bool image_holds(struct blk *blk, const struct blk_io *io)
{
	if (!blk->image_size_known) {
		blk->image_size = blk_image_size();
		blk->image_size_known = true;
	}
	return io->len <= blk->image_size && io->offset <= blk->image_size - io->len;
}

static void io_set(struct blk_request *request, enum blk_op op, int flags, uint64_t len)
{
	request->io = (struct blk_io){
		.op = op,
		.flags = flags,
		.offset = request->offset,
		.len = len,
		.iov = request->iov,
		.niov = request->niov,
	};
}

static void io_set_one(struct blk_request *request, void *base, uint64_t len)
{
	request->one.iov_base = base;
	request->one.iov_len = len;
	request->io.iov = &request->one;
	request->io.niov = 1;
	request->io.len = len;
}

static uint8_t *bounce_of(const struct blk *blk, const struct blk_request *request)
{
	return blk->bounce + (size_t)(request - blk->slot) * BLK_BOUNCE_SIZE;
}

static bool step_read_write(struct blk *blk, struct blk_request *request)
{
	bool write = request->type == VIRTIO_BLK_T_OUT;

	if (request->left == 0)
		return false;
	io_set(request, write ? BLK_OP_WRITE : BLK_OP_READ, write && !blk->writeback ? RWF_DSYNC : 0, request->left);
	if (blk->bounce) {
		io_set_one(request, bounce_of(blk, request),
			   request->left < BLK_BOUNCE_SIZE ? request->left : BLK_BOUNCE_SIZE);
		if (write)
			span_read(data_front(request, request->io.len), request->one.iov_base);
		blk->bounced += request->io.len;
	}
	return true;
}

static bool step_sync(struct blk_request *request)
{
	if (request->synced)
		return false;
	io_set(request, BLK_OP_SYNC, 0, 0);
	return true;
}

/* Zeroes the front of the range in hand by writing. */
static void step_write_zeroes(struct blk *blk, struct blk_request *request)
{
	uint64_t n = request->left / ZERO_BYTES;

	io_set(request, BLK_OP_WRITE, blk->writeback ? 0 : RWF_DSYNC, 0);
	if (n == 0) {
		io_set_one(request, zeroes, request->left);
		return;
	}
	request->io.iov = zero_iov;
	request->io.niov = n < ZERO_IOVS ? (int)n : ZERO_IOVS;
	request->io.len = (uint64_t)request->io.niov * ZERO_BYTES;
}

static void range_next(const struct blk *blk, struct blk_request *request)
{
	const struct virtio_blk_discard_write_zeroes *range = &request->ranges[request->range++];

	request->offset = le64toh(range->sector) * BLK_SECTOR;
	request->left = (uint64_t)le32toh(range->num_sectors) * BLK_SECTOR;
	request->punch = request->type == VIRTIO_BLK_T_DISCARD ||
			 (blk->discard && (le32toh(range->flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP));
}

static bool step_ranges(struct blk *blk, struct blk_request *request)
{
	while (request->left == 0) {
		if (request->range == request->nranges)
			return !blk->writeback && step_sync(request);
		range_next(blk, request);
		/* A discard is advice. */
		if (request->type == VIRTIO_BLK_T_DISCARD && blk->no_punch && blk->no_discard)
			request->left = 0;
	}
	if (request->punch && !blk->no_punch)
		io_set(request, BLK_OP_FALLOCATE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, request->left);
	else if (request->type == VIRTIO_BLK_T_DISCARD)
		io_set(request, BLK_OP_DISCARD, 0, request->left < DISCARD_BYTES ? request->left : DISCARD_BYTES);
	else if (!blk->no_zero_range)
		io_set(request, BLK_OP_FALLOCATE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, request->left);
	else
		step_write_zeroes(blk, request);
	return true;
}

bool blk_request_step(struct blk *blk, struct blk_request *request)
{
	bool more = false;

	if (request->verdict != VIRTIO_BLK_S_OK)
		return false;
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		more = step_read_write(blk, request);
		break;
	case VIRTIO_BLK_T_FLUSH:
		more = step_sync(request);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		more = step_ranges(blk, request);
		break;
	}
	if (more && request->io.op != BLK_OP_READ && request->io.op != BLK_OP_SYNC && !image_holds(blk, &request->io)) {
		fail(blk, request, "the image has become shorter");
		return false;
	}
	return more;
}

/* The image, or what it is on, cannot do what was tried: the next step tries the next best. */
static void unsupported(struct blk *blk, struct blk_request *request)
{
	if (request->io.op == BLK_OP_DISCARD) {
		blk->no_discard = true;
	} else if (request->io.flags & FALLOC_FL_PUNCH_HOLE) {
		blk->no_punch = true;
	} else {
		blk->no_zero_range = true;
		log_info("the image cannot zero a part of itself: zeroes are written");
		return;
	}
	if (blk->no_punch && blk->no_discard) {
		log_info("the image cannot deallocate a part of itself: discards do nothing");
		if (request->type == VIRTIO_BLK_T_DISCARD)
			request->left = 0;
	}
}

void blk_request_io_done(struct blk *blk, struct blk_request *request, int64_t result)
{
	const struct blk_io *io = &request->io;
	uint64_t n = (uint64_t)result;

	if (result == -EOPNOTSUPP && (io->op == BLK_OP_FALLOCATE || io->op == BLK_OP_DISCARD)) {
		unsupported(blk, request);
		return;
	}
	if (result < 0) {
		fail(blk, request, strerror((int)-result));
		return;
	}
	switch (io->op) {
	case BLK_OP_READ:
	case BLK_OP_WRITE:
		if (n == 0) {
			fail(blk, request, "the image has become shorter");
			return;
		}
		break;
	case BLK_OP_SYNC:
		request->synced = true;
		return;
	case BLK_OP_FALLOCATE:
	case BLK_OP_DISCARD:
		n = io->len;
		break;
	}
	if (request->nranges == 0) {
		if (blk->bounce && io->op == BLK_OP_READ)
			span_write(data_front(request, n), request->one.iov_base);
		data_advance(request, n);
	}
	request->done += n;
	request->offset += n;
	request->left -= n;
}

bool blk_request_over(const struct blk_request *request)
{
	if (request->verdict != VIRTIO_BLK_S_OK)
		return true;
	if (request->type == VIRTIO_BLK_T_FLUSH)
		return request->synced;
	return request->nranges == 0 && request->left == 0;
}

uint32_t blk_request_used_len(const struct blk_request *request)
{
	bool fills = request->type == VIRTIO_BLK_T_IN || request->type == VIRTIO_BLK_T_GET_ID;
	uint64_t n = fills ? request->done : 0;

	/* virtio 1.2, 2.7.8.2: what the length counts has been written without a gap; the status is behind it. */
	return (uint32_t)(n == request->writable ? n + 1 : n);
}
