/* SPDX-License-Identifier: MIT */
/* The driver's memory, rings and chains. */
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/life.h"

#define GUARD 4096u
#define GUARD_BYTE 0xc5
#define RING_STRIDE 1024u
#define AVAIL_AT (LIFE_NUM_MAX * sizeof(struct vring_desc))
#define USED_AT (RING_STRIDE - USED_SIZE)
#define USED_SIZE (8 + LIFE_NUM_MAX * sizeof(struct vring_used_elem))

/* Memory */

void life_block_make(struct life_block *block, size_t size)
{
	uint8_t *all = aligned_alloc(GUARD, size + 2 * GUARD);

	INPUT_CHECK(all != NULL && size % GUARD == 0);
	memset(all, GUARD_BYTE, size + 2 * GUARD);
	block->bytes = all + GUARD;
	block->size = size;
	memset(block->bytes, 0, size);
	/* What the compiler has instrumented is stopped at once; what the kernel writes shows in life_block_check(). */
	__asan_poison_memory_region(all, GUARD);
	__asan_poison_memory_region(block->bytes + size, GUARD);
}

static void guard_check(const uint8_t *guard)
{
	static uint8_t whole[GUARD];

	if (!whole[0])
		memset(whole, GUARD_BYTE, sizeof(whole));
	__asan_unpoison_memory_region(guard, GUARD);
	INPUT_CHECK(memcmp(guard, whole, GUARD) == 0);
	__asan_poison_memory_region(guard, GUARD);
}

void life_block_check(const struct life_block *block)
{
	guard_check(block->bytes - GUARD);
	guard_check(block->bytes + block->size);
}

void life_block_free(struct life_block *block)
{
	uint8_t *all = block->bytes - GUARD;

	__asan_unpoison_memory_region(all, block->size + 2 * GUARD);
	free(all);
}

void life_memory_init(struct life *life)
{
	static const size_t size[LIFE_SPANS] = {LIFE_QUEUES_MAX * RING_STRIDE, LIFE_DATA_SIZE, 4096};
	uint32_t i;

	for (i = 0; i < LIFE_SPANS; i++) {
		if (!life->ram[i].bytes) {
			life_block_make(&life->ram[i], size[i]);
			life->shadow[i] = malloc(size[i]);
			INPUT_CHECK(life->shadow[i] != NULL);
		}
		memset(life->ram[i].bytes, 0, size[i]);
		memset(life->shadow[i], 0, size[i]);
	}
	if (!life->state)
		life->state = malloc(LIFE_DATA_SIZE);
	memset(life->state, 0, LIFE_DATA_SIZE);
	life->next = 64;
}

static void driver_write(struct life *life, enum life_span span, size_t at, const void *bytes, size_t n)
{
	memcpy(life->ram[span].bytes + at, bytes, n);
	memcpy(life->shadow[span] + at, bytes, n);
}

/* The device may have written here. */
static void shadow_follow(struct life *life, enum life_span span, size_t at, size_t n)
{
	memcpy(life->shadow[span] + at, life->ram[span].bytes + at, n);
}

static void chain_follow(struct life *life, const struct life_chain *chain)
{
	uint32_t i;

	for (i = 0; i < chain->nbuffers; i++) {
		if (chain->buffer[i].write)
			shadow_follow(life, LIFE_DATA, chain->buffer[i].at, chain->buffer[i].len);
	}
}

void life_memory_check(struct life *life)
{
	uint32_t q, i;

	if (life->wild)
		return;
	for (q = 0; q < life->shape.nqueues; q++) {
		if (!life->queue[q].live)
			continue;
		shadow_follow(life, LIFE_RINGS, q * RING_STRIDE + USED_AT, USED_SIZE);
		for (i = 0; i < life->queue[q].num; i++) {
			if (life->queue[q].chain[i].out)
				chain_follow(life, &life->queue[q].chain[i]);
		}
	}
	for (i = 0; i < LIFE_SPANS; i++)
		INPUT_CHECK(memcmp(life->ram[i].bytes, life->shadow[i], life->ram[i].size) == 0);
}

/* len bytes of LIFE_DATA, or 0. Buffers never touch each other. */
static uint32_t data_take(struct life *life, uint32_t len)
{
	uint32_t room = (len + 31) / 16 * 16;
	uint32_t at = life->next;

	if (room > LIFE_DATA_SIZE - at)
		at = 64;
	if (room > LIFE_DATA_SIZE - at || memchr(life->state + at, 1, room))
		return 0;
	memset(life->state + at, 1, room);
	life->next = at + room;
	return at;
}

static void data_give(struct life *life, uint32_t at, uint32_t len)
{
	memset(life->state + at, 0, (len + 31) / 16 * 16);
}

static void chain_free(struct life *life, struct life_chain *chain)
{
	uint32_t i;

	for (i = 0; i < chain->nbuffers; i++)
		data_give(life, chain->buffer[i].at, chain->buffer[i].len);
	if (chain->table)
		data_give(life, chain->table, chain->nbuffers * (uint32_t)sizeof(struct vring_desc));
	chain->out = false;
	chain->nbuffers = 0;
	chain->table = 0;
}

/* Rings */

struct region_queue life_rings(uint32_t q, uint16_t num)
{
	uint64_t at = LIFE_RINGS_GPA + q * RING_STRIDE;

	return (struct region_queue){.num = num, .desc = at, .driver = at + AVAIL_AT, .device = at + USED_AT};
}

void life_queue_begin(struct life *life, uint32_t q, uint16_t num)
{
	static const uint8_t zeroes[RING_STRIDE];
	struct life_queue *queue = &life->queue[q];

	driver_write(life, LIFE_RINGS, q * RING_STRIDE, zeroes, sizeof(zeroes));
	queue->live = true;
	queue->num = num;
	queue->avail_idx = 0;
	queue->seen = 0;
	queue->nout = 0;
	memset(queue->owner, 0, sizeof(queue->owner));
}

void life_queue_end(struct life *life, uint32_t q)
{
	struct life_queue *queue = &life->queue[q];
	uint16_t i;

	if (queue->live)
		life_memory_check(life);
	for (i = 0; i < queue->num; i++) {
		if (queue->chain[i].out)
			chain_free(life, &queue->chain[i]);
	}
	queue->live = false;
	queue->num = 0;
	queue->nout = 0;
}

static void chain_take(struct life *life, struct life_queue *queue, const struct vring_used_elem *elem)
{
	struct life_chain *chain;
	uint16_t i;

	INPUT_CHECK(elem->id < queue->num && queue->chain[elem->id].out);
	chain = &queue->chain[elem->id];
	INPUT_CHECK(elem->len <= chain->writable);
	chain_follow(life, chain);
	chain_free(life, chain);
	for (i = 0; i < queue->num; i++) {
		if (queue->owner[i] == elem->id + 1)
			queue->owner[i] = 0;
	}
	queue->nout--;
}

void life_queue_take(struct life *life, uint32_t q)
{
	struct life_queue *queue = &life->queue[q];
	const struct vring_used *used = (const void *)(life->ram[LIFE_RINGS].bytes + q * RING_STRIDE + USED_AT);
	uint16_t used_idx = used->idx;

	if (life->wild || !queue->live || used_idx == queue->seen)
		return;
	INPUT_CHECK((uint16_t)(used_idx - queue->seen) <= queue->nout);
	for (; queue->seen != used_idx; queue->seen++)
		chain_take(life, queue, &used->ring[queue->seen % queue->num]);
	life_memory_check(life);
}

/* Chains */

void life_chain_begin(struct life *life)
{
	uint8_t cut = input_u8(&life->input);

	life->cut = cut < 128 ? 0 : 1 + (cut & 127u) * (cut & 127u);
	life->failed = false;
	memset(&life->next_chain, 0, offsetof(struct life_chain, buffer));
}

static void buffer_add(struct life *life, bool write, uint32_t len, const uint8_t *bytes, size_t nbytes)
{
	struct life_chain *chain = &life->next_chain;
	uint32_t at = chain->nbuffers < LIFE_BUFFERS_MAX ? data_take(life, len) : 0;

	if (at == 0) {
		life->failed = true;
		return;
	}
	chain->buffer[chain->nbuffers++] = (struct life_buffer){.at = at, .len = len, .write = write};
	if (write)
		chain->writable += len;
	if (nbytes > 0)
		driver_write(life, LIFE_DATA, at, bytes, nbytes < len ? nbytes : len);
}

void life_chain_add(struct life *life, bool write, uint32_t len, const void *bytes, size_t nbytes)
{
	const uint8_t *at = bytes;
	size_t here;
	uint32_t n;

	do {
		n = life->cut && len > life->cut ? life->cut : len;
		here = nbytes < n ? nbytes : n;
		buffer_add(life, write, n, at, here);
		len -= n;
		nbytes -= here;
		if (here > 0)
			at += here;
	} while (len > 0 && !life->failed);
}

void life_chain_limit(struct life *life, uint64_t most)
{
	if (life->next_chain.writable > most)
		life->next_chain.writable = most;
}

/* A free descriptor from at on, or num. */
static uint16_t desc_free(const struct life_queue *queue, uint16_t at)
{
	uint16_t i;

	for (i = 0; i < queue->num; i++) {
		if (!queue->owner[(at + i) % queue->num])
			return (uint16_t)((at + i) % queue->num);
	}
	return queue->num;
}

static struct vring_desc desc_of(const struct life_chain *chain, uint32_t i, uint16_t next)
{
	const struct life_buffer *buffer = &chain->buffer[i];
	struct vring_desc desc = {.addr = LIFE_DATA_GPA + buffer->at, .len = buffer->len};

	if (buffer->write)
		desc.flags |= VRING_DESC_F_WRITE;
	if (i + 1 < chain->nbuffers) {
		desc.flags |= VRING_DESC_F_NEXT;
		desc.next = next;
	}
	return desc;
}

static void desc_write(struct life *life, uint32_t q, uint16_t n, const struct vring_desc *desc)
{
	driver_write(life, LIFE_RINGS, q * RING_STRIDE + n * sizeof(*desc), desc, sizeof(*desc));
}

/* The chain's buffers by descriptors of their own. The head, or num: there are not so many. */
static uint16_t chain_lay_direct(struct life *life, uint32_t q, uint16_t first)
{
	struct life_queue *queue = &life->queue[q];
	uint16_t at[LIFE_NUM_MAX];
	struct vring_desc desc;
	uint32_t i;

	for (i = 0; i < life->next_chain.nbuffers; i++) {
		first = i < queue->num ? desc_free(queue, first) : queue->num;
		if (first == queue->num)
			break;
		at[i] = first;
		queue->owner[first] = (uint16_t)(at[0] + 1);
	}
	if (i < life->next_chain.nbuffers) {
		while (i-- > 0)
			queue->owner[at[i]] = 0;
		return queue->num;
	}
	for (i = 0; i < life->next_chain.nbuffers; i++) {
		desc = desc_of(&life->next_chain, i, i + 1 < life->next_chain.nbuffers ? at[i + 1] : 0);
		desc_write(life, q, at[i], &desc);
	}
	return at[0];
}

static uint16_t chain_lay_indirect(struct life *life, uint32_t q, uint16_t first)
{
	struct life_queue *queue = &life->queue[q];
	struct life_chain *chain = &life->next_chain;
	uint32_t size = chain->nbuffers * (uint32_t)sizeof(struct vring_desc);
	uint16_t head = desc_free(queue, first);
	struct vring_desc desc;
	uint32_t i;

	if (head < queue->num)
		chain->table = data_take(life, size);
	if (!chain->table)
		return queue->num;
	for (i = 0; i < chain->nbuffers; i++) {
		desc = desc_of(chain, i, (uint16_t)(i + 1));
		driver_write(life, LIFE_DATA, chain->table + i * sizeof(desc), &desc, sizeof(desc));
	}
	desc = (struct vring_desc){.addr = LIFE_DATA_GPA + chain->table, .len = size, .flags = VRING_DESC_F_INDIRECT};
	desc_write(life, q, head, &desc);
	queue->owner[head] = (uint16_t)(head + 1);
	return head;
}

static void avail_add(struct life *life, uint32_t q, uint16_t head)
{
	struct life_queue *queue = &life->queue[q];
	size_t at = q * RING_STRIDE + AVAIL_AT;
	uint16_t slot = queue->avail_idx % queue->num;

	driver_write(life, LIFE_RINGS, at + offsetof(struct vring_avail, ring) + slot * sizeof(head), &head,
		     sizeof(head));
	queue->avail_idx++;
	driver_write(life, LIFE_RINGS, at + offsetof(struct vring_avail, idx), &queue->avail_idx,
		     sizeof(queue->avail_idx));
	/* When it wants to be interrupted next, if it has the event index. */
	driver_write(life, LIFE_RINGS, at + offsetof(struct vring_avail, ring) + queue->num * sizeof(head),
		     &queue->seen, sizeof(queue->seen));
}

void life_chain_send(struct life *life, uint32_t q)
{
	struct life_queue *queue = &life->queue[q];
	struct life_chain *chain = &life->next_chain;
	uint8_t how = input_u8(&life->input);
	uint16_t head = queue->num;

	if (queue->num > 0 && !life->failed && chain->nbuffers > 0) {
		if ((life->accepted & VMMIO_F_INDIRECT_DESC) && (how & 128 || chain->nbuffers > queue->num / 2))
			head = chain_lay_indirect(life, q, how % LIFE_NUM_MAX);
		else
			head = chain_lay_direct(life, q, how % LIFE_NUM_MAX);
	}
	if (head == queue->num) {
		chain_free(life, chain);
		return;
	}
	if (queue->chain[head].out) /* a wild driver's */
		chain_free(life, &queue->chain[head]);
	queue->chain[head] = *chain;
	queue->chain[head].out = true;
	queue->nout++;
	avail_add(life, q, head);
	/* A wild driver does not wait for the device to give its descriptors back. */
	if (life->wild && (how & 64)) {
		memset(queue->owner, 0, sizeof(queue->owner));
		chain_free(life, &queue->chain[head]);
	}
}

/* Wild drivers */

void life_scribble(struct input *input, void *bytes, size_t size)
{
	size_t at = input_u16(input) * 4u % size;
	size_t got;
	const uint8_t *from = input_block(input, 1 + input_u8(input) % 32, &got);

	memcpy((uint8_t *)bytes + at, from, got < size - at ? got : size - at);
}

/* An address that may be anything, mostly at or near the end of something. */
static uint64_t wild_address(struct input *input)
{
	static const struct {
		uint64_t gpa;
		uint64_t size;
	} span[] = {{LIFE_RINGS_GPA, LIFE_QUEUES_MAX * RING_STRIDE},
		    {LIFE_DATA_GPA, LIFE_DATA_SIZE},
		    {LIFE_ODD_GPA, 4096},
		    {0, 0}};
	uint8_t kind = input_u8(input);

	if (kind & 128)
		return input_u64(input);
	if (kind & 64)
		return span[kind % 4].gpa + span[kind % 4].size - input_u16(input);
	return span[kind % 4].gpa + input_u16(input);
}

/* A descriptor of the queue becomes another one, and its index or a head is anything. */
void life_ring_wild(struct life *life, uint32_t q)
{
	struct vring_avail *avail = (void *)(life->ram[LIFE_RINGS].bytes + q * RING_STRIDE + AVAIL_AT);
	uint8_t kind = input_u8(&life->input);
	struct vring_desc desc;

	if (kind & 1) {
		desc.addr = wild_address(&life->input);
		desc.len = kind & 2 ? input_u32(&life->input) : input_u16(&life->input);
		desc.flags = input_u8(&life->input) & 7;
		desc.next = input_u8(&life->input) % (LIFE_NUM_MAX + 1);
		desc_write(life, q, input_u8(&life->input) % LIFE_NUM_MAX, &desc);
	}
	if (kind & 4)
		avail->ring[avail->idx % LIFE_NUM_MAX] = input_u8(&life->input) % (LIFE_NUM_MAX + 1);
	if (kind & 8) {
		avail->idx++;
		life->queue[q].avail_idx = avail->idx;
	}
	if (kind & 16)
		avail->idx = input_u16(&life->input);
	if (kind & 32)
		avail->flags = input_u16(&life->input);
}
