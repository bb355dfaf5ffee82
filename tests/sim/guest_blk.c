/* SPDX-License-Identifier: MIT */
#include "tests/sim/guest_blk.h"

#include <endian.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_internal.h"

#define BLK_FEATURE(name) (1ull << VIRTIO_BLK_F_##name)
#define BLK_FEATURES                                                                                                   \
	(VMMIO_F_INDIRECT_DESC | VMMIO_F_EVENT_IDX | BLK_FEATURE(SIZE_MAX) | BLK_FEATURE(SEG_MAX) |                    \
	 BLK_FEATURE(GEOMETRY) | BLK_FEATURE(RO) | BLK_FEATURE(BLK_SIZE) | BLK_FEATURE(FLUSH) |                        \
	 BLK_FEATURE(TOPOLOGY) | BLK_FEATURE(CONFIG_WCE) | BLK_FEATURE(MQ) | BLK_FEATURE(DISCARD) |                    \
	 BLK_FEATURE(WRITE_ZEROES))

#define BLK_STATUS_NONE 0xffu
#define BLK_SPINS 256u

static bool blk_device_writes(uint32_t type)
{
	return type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
}

/* The requests of a queue and their memory: headers, status bytes, data, in this order. */
static int blk_allocate(struct guest_blk *blk, struct guest_blk_queue *queue, uint32_t index)
{
	const struct guest_blk_options *options = &blk->options;
	uint64_t headers = (uint64_t)options->depth * sizeof(struct virtio_blk_outhdr);
	uint64_t data_at = (headers + options->depth + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;
	uint32_t data_max = (options->data_max + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;
	uint32_t segments = options->data_max / options->segment + 1;
	struct guest_blk_request *request;
	uint8_t *area;
	uint32_t i;

	queue->area_bytes = data_at + (uint64_t)options->depth * data_max;
	queue->area_gpa = guest_alloc(blk->dev.guest, queue->area_bytes);
	queue->request = calloc(options->depth, sizeof(*queue->request));
	queue->buffer = calloc(segments + 2, sizeof(*queue->buffer));
	if (!queue->area_gpa || !queue->request || !queue->buffer)
		return -ENOMEM;
	area = guest_at(blk->dev.guest, queue->area_gpa, queue->area_bytes);
	for (i = options->depth; i-- > 0;) {
		request = &queue->request[i];
		request->queue = index;
		request->header_gpa = queue->area_gpa + i * sizeof(*request->header);
		request->header = (void *)(area + i * sizeof(*request->header));
		request->status_gpa = queue->area_gpa + headers + i;
		request->status = area + headers + i;
		request->data_gpa = queue->area_gpa + data_at + (uint64_t)i * data_max;
		request->data = area + data_at + (uint64_t)i * data_max;
		request->next_free = queue->free;
		queue->free = request;
	}
	return 0;
}

static int blk_open_queue(struct guest_blk *blk, uint32_t index)
{
	const struct guest_blk_options *options = &blk->options;
	struct guest_blk_queue *queue = &blk->queue[index];
	uint32_t segments = options->data_max / options->segment + 1;
	int error;

	*queue = (struct guest_blk_queue){.cpu = options->cpu + index};
	error = guest_vq_open(&queue->vq, &blk->dev, queue->cpu, index, options->queue_size, (uint16_t)(segments + 2));
	if (error)
		return error;
	blk->nqueues = index + 1;
	guest_vq_interrupts(&queue->vq, !options->polled);
	return blk_allocate(blk, queue, index);
}

void guest_blk_update(struct guest_blk *blk)
{
	guest_dev_config(&blk->dev, blk->options.cpu, 0, &blk->config, sizeof(blk->config));
	blk->capacity = le64toh(blk->config.capacity);
	blk->block_size = blk->dev.features & BLK_FEATURE(BLK_SIZE) ? le32toh(blk->config.blk_size) : GUEST_BLK_SECTOR;
	blk->readonly = blk->dev.features & BLK_FEATURE(RO);
}

static void blk_set_defaults(struct guest_blk_options *options)
{
	if (options->queues == 0)
		options->queues = 1;
	if (options->queues > GUEST_BLK_QUEUES_MAX)
		options->queues = GUEST_BLK_QUEUES_MAX;
	if (options->depth == 0)
		options->depth = 32;
	if (options->data_max == 0)
		options->data_max = 65536;
	if (options->segment == 0)
		options->segment = options->data_max;
	if (options->timeout_ms == 0)
		options->timeout_ms = 30000;
}

static int blk_start(struct guest_blk *blk)
{
	const struct guest_blk_options *options = &blk->options;
	uint32_t queues = 1;
	uint32_t i;
	int error;

	error = guest_dev_negotiate(&blk->dev, options->cpu, BLK_FEATURES & ~options->without);
	if (error)
		return error;
	guest_blk_update(blk);
	if (blk->dev.features & BLK_FEATURE(MQ))
		queues = le16toh(blk->config.num_queues);
	if (queues > options->queues)
		queues = options->queues;
	for (i = 0; i < queues; i++) {
		error = blk_open_queue(blk, i);
		if (error)
			return error;
	}
	return guest_dev_start(&blk->dev, options->cpu);
}

int guest_blk_open(struct guest_blk *blk, struct guest *guest, uint64_t base, uint32_t irq,
		   const struct guest_blk_options *options)
{
	int error;

	*blk = (struct guest_blk){.options = options ? *options : (struct guest_blk_options){0}};
	blk_set_defaults(&blk->options);
	error = guest_dev_probe(&blk->dev, guest, base, irq, blk->options.cpu);
	if (error)
		return error;
	if (blk->dev.device_id != 2)
		return -ENODEV;
	error = blk_start(blk);
	if (error)
		guest_blk_close(blk);
	return error;
}

void guest_blk_close(struct guest_blk *blk)
{
	struct guest_blk_queue *queue;

	guest_dev_reset(&blk->dev, blk->options.cpu);
	while (blk->nqueues > 0) {
		queue = &blk->queue[--blk->nqueues];
		guest_vq_close(&queue->vq);
		guest_free(blk->dev.guest, queue->area_gpa, queue->area_bytes);
		free(queue->request);
		free(queue->buffer);
	}
}

struct guest_blk_request *guest_blk_get(struct guest_blk *blk, uint32_t queue)
{
	struct guest_blk_request *request = blk->queue[queue].free;

	if (request)
		blk->queue[queue].free = request->next_free;
	return request;
}

void guest_blk_put(struct guest_blk *blk, struct guest_blk_request *request)
{
	struct guest_blk_queue *queue = &blk->queue[request->queue];

	request->next_free = queue->free;
	queue->free = request;
}

int guest_blk_submit(struct guest_blk *blk, struct guest_blk_request *request)
{
	struct guest_blk_queue *queue = &blk->queue[request->queue];
	bool device_writes = blk_device_writes(request->type);
	struct guest_buffer *buffer = queue->buffer;
	uint32_t at;
	uint32_t len;
	int head;

	request->header->type = htole32(request->type);
	request->header->ioprio = 0;
	request->header->sector = htole64(request->sector);
	*request->status = BLK_STATUS_NONE;
	*buffer++ = (struct guest_buffer){request->header_gpa, sizeof(*request->header), false};
	for (at = 0; at < request->len; at += len) {
		len = request->len - at;
		if (len > blk->options.segment)
			len = blk->options.segment;
		*buffer++ = (struct guest_buffer){request->data_gpa + at, len, device_writes};
	}
	*buffer++ = (struct guest_buffer){request->status_gpa, 1, true};
	head = guest_vq_add(&queue->vq, queue->buffer, (uint32_t)(buffer - queue->buffer), request);
	if (head < 0)
		return head;
	queue->in_flight++;
	return 0;
}

bool guest_blk_kick(struct guest_blk *blk, uint32_t queue)
{
	return guest_vq_kick(&blk->queue[queue].vq, blk->queue[queue].cpu);
}

static int blk_error(uint8_t status)
{
	switch (status) {
	case VIRTIO_BLK_S_OK:
		return 0;
	case VIRTIO_BLK_S_IOERR:
		return -EIO;
	case VIRTIO_BLK_S_UNSUPP:
		return -EOPNOTSUPP;
	default:
		return -EPROTO;
	}
}

struct guest_blk_request *guest_blk_reap(struct guest_blk *blk, uint32_t index)
{
	struct guest_blk_queue *queue = &blk->queue[index];
	struct guest_blk_request *request;
	uint32_t written;

	request = guest_vq_get(&queue->vq, &written);
	if (!request)
		return NULL;
	queue->in_flight--;
	request->written = written;
	request->error = blk_error(*request->status);
	return request;
}

static struct guest_blk_request *blk_poll(struct guest_blk *blk, uint32_t index, uint64_t end_ns)
{
	struct guest_blk_request *request;
	uint32_t turns = 0;

	while (!(request = guest_blk_reap(blk, index))) {
		if (++turns % BLK_SPINS != 0)
			continue;
		if (sim_now_ns() >= end_ns)
			return NULL;
		sched_yield();
	}
	return request;
}

struct guest_blk_request *guest_blk_wait(struct guest_blk *blk, uint32_t index, int timeout_ms)
{
	uint64_t end_ns = timeout_ms < 0 ? UINT64_MAX : sim_now_ns() + (uint64_t)timeout_ms * 1000000u;
	struct guest_blk_queue *queue = &blk->queue[index];
	struct guest_blk_request *request;
	uint64_t now;

	if (blk->options.polled)
		return blk_poll(blk, index, end_ns);
	while (!(request = guest_blk_reap(blk, index))) {
		now = sim_now_ns();
		if (timeout_ms >= 0 && now >= end_ns)
			return NULL;
		guest_dev_wait(&blk->dev, queue->cpu, &queue->irq_seen,
			       timeout_ms < 0 ? -1 : (int)((end_ns - now) / 1000000u) + 1);
	}
	return request;
}

int guest_blk_request(struct guest_blk *blk, uint32_t queue, uint32_t type, uint64_t sector, void *data, uint32_t len)
{
	struct guest_blk_request *request;
	struct guest_blk_request *done;
	int error;

	if (len > blk->options.data_max)
		return -EINVAL;
	request = guest_blk_get(blk, queue);
	if (!request)
		return -EBUSY;
	request->type = type;
	request->sector = sector;
	request->len = len;
	if (len && !blk_device_writes(type))
		memcpy(request->data, data, len);
	error = guest_blk_submit(blk, request);
	if (error) {
		guest_blk_put(blk, request);
		return error;
	}
	guest_blk_kick(blk, queue);
	/* One that is late stays with the device, and is met here by a later call. */
	while ((done = guest_blk_wait(blk, queue, blk->options.timeout_ms)) != request) {
		if (!done)
			return -ETIMEDOUT;
		guest_blk_put(blk, done);
	}
	if (len && blk_device_writes(type))
		memcpy(data, request->data, len);
	guest_blk_put(blk, request);
	return request->error;
}

int guest_blk_read(struct guest_blk *blk, uint32_t queue, uint64_t sector, void *data, uint32_t len)
{
	return guest_blk_request(blk, queue, VIRTIO_BLK_T_IN, sector, data, len);
}

int guest_blk_write(struct guest_blk *blk, uint32_t queue, uint64_t sector, const void *data, uint32_t len)
{
	return guest_blk_request(blk, queue, VIRTIO_BLK_T_OUT, sector, (void *)(uintptr_t)data, len);
}

int guest_blk_flush(struct guest_blk *blk, uint32_t queue)
{
	return guest_blk_request(blk, queue, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
}

static int blk_range(struct guest_blk *blk, uint32_t queue, uint32_t type, uint64_t sector, uint32_t sectors,
		     uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = {htole64(sector), htole32(sectors), htole32(flags)};

	return guest_blk_request(blk, queue, type, 0, &range, sizeof(range));
}

int guest_blk_discard(struct guest_blk *blk, uint32_t queue, uint64_t sector, uint32_t sectors)
{
	return blk_range(blk, queue, VIRTIO_BLK_T_DISCARD, sector, sectors, 0);
}

int guest_blk_write_zeroes(struct guest_blk *blk, uint32_t queue, uint64_t sector, uint32_t sectors, bool unmap)
{
	return blk_range(blk, queue, VIRTIO_BLK_T_WRITE_ZEROES, sector, sectors,
			 unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0);
}

int guest_blk_get_id(struct guest_blk *blk, uint32_t queue, char id[VIRTIO_BLK_ID_BYTES + 1])
{
	id[VIRTIO_BLK_ID_BYTES] = '\0';
	return guest_blk_request(blk, queue, VIRTIO_BLK_T_GET_ID, 0, id, VIRTIO_BLK_ID_BYTES);
}
