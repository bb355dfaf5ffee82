/* SPDX-License-Identifier: MIT */
/*
 * The virtqueue walk and the journal over memory that a hostile driver writes: the input is the queue as the driver
 * set it up, what its memory and the journal hold, and then what both sides do in turn, with deaths of the device's
 * side between. All memory is in blocks of its own, and all of each chain is touched, so that a byte beyond is a
 * finding.
 */
#include <stdlib.h>
#include <string.h>

#include "common/virtqueue.h"
#include "tests/fuzz/input.h"

#define NUM_MAX 64u
#define NSPANS 2u

static const struct {
	uint64_t gpa;
	uint64_t size;
} blocks[NSPANS] = {{0x10000, 8192}, {0x20000, 4096}};

struct machine {
	struct gmem mem;
	struct region_queue queue;
	struct region_journal *journal;
	struct virtq vq;
	uint64_t features;
	bool out[NUM_MAX]; /* chains that the device has */
	uint16_t last; /* the one popped last, NUM_MAX if none can be given back */
};

/* An address, mostly one in the blocks or near their ends; or where size bytes end with the block. */
static uint64_t address(struct input *input, uint64_t size)
{
	uint8_t kind = input_u8(input);
	uint64_t gpa = blocks[kind % NSPANS].gpa;

	if (kind == 0xff)
		return input_u64(input);
	if (kind & 0x40)
		return gpa + blocks[kind % NSPANS].size - size;
	return gpa + input_u16(input);
}

static void journal_fill(struct machine *m, struct input *input)
{
	size_t size = sizeof(*m->journal) + NUM_MAX * sizeof(m->journal->desc[0]);
	size_t got;
	const uint8_t *bytes;

	m->journal = calloc(1, size);
	INPUT_CHECK(m->journal != NULL);
	bytes = input_block(input, input_u16(input) % (size + 1), &got);
	memcpy(m->journal, bytes, got);
	/* Of this very queue, or one that nobody looks at. */
	if (input_u8(input) & 1) {
		m->journal->version = 1;
		m->journal->epoch = m->queue.epoch;
		m->journal->desc_num = (uint16_t)m->queue.num;
	}
}

static void machine_init(struct machine *m, struct input *input)
{
	const uint8_t *bytes;
	uint32_t i;
	size_t got;

	memset(m, 0, sizeof(*m));
	m->features = (uint64_t)(input_u8(input) & 3) << VIRTIO_RING_F_INDIRECT_DESC;
	m->queue.ready = 1;
	/* The backend has looked at the upper limit before. */
	m->queue.num = input_u8(input) % (NUM_MAX + 1);
	m->queue.epoch = input_u8(input);
	m->queue.desc = address(input, m->queue.num * sizeof(struct vring_desc));
	m->queue.driver = address(input, 6 + m->queue.num * sizeof(__virtio16));
	m->queue.device = address(input, 8 + m->queue.num * sizeof(struct vring_used_elem));
	m->mem.nspans = NSPANS;
	for (i = 0; i < NSPANS; i++) {
		m->mem.span[i] = (struct gmem_span){blocks[i].gpa, blocks[i].size, calloc(1, blocks[i].size)};
		INPUT_CHECK(m->mem.span[i].base != NULL);
		bytes = input_block(input, input_u16(input) % (blocks[i].size + 1), &got);
		memcpy(m->mem.span[i].base, bytes, got);
	}
	journal_fill(m, input);
}

static void machine_finish(struct machine *m)
{
	uint32_t i;

	virtq_close(&m->vq);
	free(m->journal);
	for (i = 0; i < NSPANS; i++)
		free(m->mem.span[i].base);
}

/* A successor takes over. */
static void device_open(struct machine *m)
{
	memset(m->out, 0, sizeof(m->out));
	m->last = NUM_MAX;
	if (virtq_open(&m->vq, &m->mem, &m->queue, m->features, m->journal) < 0)
		INPUT_CHECK(m->vq.broken && m->vq.why != NULL);
	else
		INPUT_CHECK(m->vq.num == m->queue.num && m->vq.nresubmit <= m->vq.num);
}

static void chain_check(struct machine *m, const struct virtq_chain *chain)
{
	uint64_t len[2] = {0, 0};
	volatile uint8_t sum = 0;
	uint32_t i;
	size_t at;

	INPUT_CHECK(chain->head < m->vq.num && !m->out[chain->head]);
	INPUT_CHECK((uint32_t)chain->nread + chain->nwrite <= VIRTQ_IOV_MAX);
	for (i = 0; i < (uint32_t)chain->nread + chain->nwrite; i++) {
		const struct iovec *iov = &chain->iov[i];

		len[i >= chain->nread] += iov->iov_len;
		for (at = 0; i < chain->nread && at < iov->iov_len; at++)
			sum = (uint8_t)(sum + ((const uint8_t *)iov->iov_base)[at]);
		/* It may be the rings: that is the driver's business. */
		if (i >= chain->nread)
			memset(iov->iov_base, 0xa5, iov->iov_len);
	}
	INPUT_CHECK(len[0] == chain->read_len && len[1] == chain->write_len);
}

static void device_pop(struct machine *m)
{
	static struct virtq_chain chain;
	int result = virtq_pop(&m->vq, &chain);

	INPUT_CHECK(result == 1 || result == 0 || m->vq.broken);
	m->last = NUM_MAX;
	if (result != 1)
		return;
	chain_check(m, &chain);
	m->out[chain.head] = true;
	m->last = chain.head;
}

/* One of the chains that the device has, or NUM_MAX. */
static uint16_t head_out(const struct machine *m, struct input *input)
{
	uint16_t first = input_u8(input);
	uint16_t n;

	for (n = 0; n < NUM_MAX; n++) {
		if (m->out[(first + n) % NUM_MAX])
			return (uint16_t)((first + n) % NUM_MAX);
	}
	return NUM_MAX;
}

static void device_push(struct machine *m, struct input *input)
{
	uint16_t head = head_out(m, input);

	if (head == NUM_MAX)
		return;
	virtq_push(&m->vq, head, input_u32(input));
	m->out[head] = false;
	m->last = NUM_MAX;
}

static void device_unpop(struct machine *m)
{
	if (m->last == NUM_MAX)
		return;
	virtq_unpop(&m->vq, m->last);
	m->out[m->last] = false;
	m->last = NUM_MAX;
}

static void driver_write(struct machine *m, struct input *input)
{
	const struct gmem_span *span = &m->mem.span[input_u8(input) % NSPANS];
	size_t at = input_u16(input) % span->size;
	size_t got;
	const uint8_t *bytes = input_block(input, input_u8(input), &got);

	memcpy(span->base + at, bytes, got < span->size - at ? got : span->size - at);
}

/* Makes the next chain available, as a driver does that keeps to the rules here if nowhere else. */
static void driver_add(struct machine *m, struct input *input)
{
	struct vring_avail *avail = m->vq.avail;
	uint16_t head = input_u8(input);

	if (m->vq.num == 0 || m->vq.broken)
		return;
	avail->ring[avail->idx & (m->vq.num - 1)] = head;
	avail->idx++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.at = data, .left = size};
	static struct machine m;

	machine_init(&m, &input);
	device_open(&m);
	while (input.left > 0) {
		switch (input_u8(&input) % 10) {
		case 0:
		case 1:
			device_pop(&m);
			break;
		case 2:
			device_push(&m, &input);
			break;
		case 3:
			virtq_publish(&m.vq);
			break;
		case 4:
			driver_write(&m, &input);
			break;
		case 5:
			driver_add(&m, &input);
			break;
		case 6:
			device_unpop(&m);
			break;
		case 7:
			virtq_begin(&m.vq, head_out(&m, &input));
			break;
		case 8:
			if (!virtq_enable_notification(&m.vq))
				virtq_disable_notification(&m.vq);
			break;
		default:
			device_open(&m);
			break;
		}
	}
	machine_finish(&m);
	return 0;
}
