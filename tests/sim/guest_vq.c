/* SPDX-License-Identifier: MIT */
/* The driver's side of a split virtqueue (virtio 1.2, section 2.7). */
#include "tests/sim/guest.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core_os.h"

static uint64_t guest_round(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

/* used_event and avail_event: virtio 1.2, 2.7.7 and 2.7.10. */
static __virtio16 *guest_vq_used_event(const struct guest_vq *vq)
{
	return &vq->avail->ring[vq->num];
}

static const __virtio16 *guest_vq_avail_event(const struct guest_vq *vq)
{
	return (const __virtio16 *)(const void *)&vq->used->ring[vq->num];
}

static int guest_vq_allocate(struct guest_vq *vq)
{
	uint64_t desc_bytes = (uint64_t)vq->num * sizeof(struct vring_desc);
	uint64_t avail_at = desc_bytes;
	uint64_t used_at = guest_round(avail_at + 6 + 2ull * vq->num, 64);
	uint64_t indirect_at = guest_round(used_at + 6 + 8ull * vq->num, 64);
	uint16_t i;

	vq->bytes = indirect_at + desc_bytes * vq->indirect_max;
	vq->gpa = guest_alloc(vq->guest, vq->bytes);
	vq->next = calloc(vq->num, sizeof(*vq->next));
	vq->length = calloc(vq->num, sizeof(*vq->length));
	vq->token = calloc(vq->num, sizeof(*vq->token));
	if (!vq->gpa || !vq->next || !vq->length || !vq->token)
		return -ENOMEM;
	vq->desc_gpa = vq->gpa;
	vq->avail_gpa = vq->gpa + avail_at;
	vq->used_gpa = vq->gpa + used_at;
	vq->indirect_gpa = vq->gpa + indirect_at;
	vq->desc = guest_at(vq->guest, vq->gpa, vq->bytes);
	vq->avail = (void *)((uint8_t *)vq->desc + avail_at);
	vq->used = (void *)((uint8_t *)vq->desc + used_at);
	vq->indirect = (void *)((uint8_t *)vq->desc + indirect_at);
	for (i = 0; i < vq->num; i++)
		vq->next[i] = (uint16_t)(i + 1);
	vq->nfree = vq->num;
	vq->avail_idx = vq->kicked_idx = vq->last_used = vq->guest->first_index;
	vq->avail->idx = vq->used->idx = htole16(vq->guest->first_index);
	return 0;
}

static void guest_vq_write_address(struct guest_vq *vq, uint32_t cpu, uint32_t low, uint64_t address)
{
	guest_dev_write(vq->dev, cpu, low, (uint32_t)address);
	guest_dev_write(vq->dev, cpu, low + 4, (uint32_t)(address >> 32));
}

static void guest_vq_notify_mmio(struct guest_vq *vq, uint32_t cpu)
{
	guest_dev_write(vq->dev, cpu, VMMIO_QUEUE_NOTIFY, vq->index);
}

int guest_vq_make(struct guest_vq *vq, struct guest *guest, uint64_t features, uint16_t num, uint16_t indirect_max)
{
	int error;

	*vq = (struct guest_vq){.guest = guest, .num = num, .interrupts = true};
	vq->event_idx = features & VMMIO_F_EVENT_IDX;
	vq->indirect_max = features & VMMIO_F_INDIRECT_DESC ? indirect_max : 0;
	error = guest_vq_allocate(vq);
	if (error)
		guest_vq_close(vq);
	return error;
}

int guest_vq_open(struct guest_vq *vq, struct guest_dev *dev, uint32_t cpu, uint32_t index, uint16_t num,
		  uint16_t indirect_max)
{
	uint32_t max;
	int error;

	guest_dev_write(dev, cpu, VMMIO_QUEUE_SEL, index);
	if (guest_dev_read(dev, cpu, VMMIO_QUEUE_READY) != 0)
		return -EBUSY;
	max = guest_dev_read(dev, cpu, VMMIO_QUEUE_NUM_MAX);
	if (max == 0)
		return -ENOENT;
	if (dev->guest->queue_max && max > dev->guest->queue_max)
		max = dev->guest->queue_max;
	error = guest_vq_make(vq, dev->guest, dev->features, num ? num : (uint16_t)max, indirect_max);
	if (error)
		return error;
	vq->dev = dev;
	vq->index = index;
	vq->notify = guest_vq_notify_mmio;
	guest_dev_write(dev, cpu, VMMIO_QUEUE_NUM, vq->num);
	guest_vq_write_address(vq, cpu, VMMIO_QUEUE_DESC_LOW, vq->desc_gpa);
	guest_vq_write_address(vq, cpu, VMMIO_QUEUE_DRIVER_LOW, vq->avail_gpa);
	guest_vq_write_address(vq, cpu, VMMIO_QUEUE_DEVICE_LOW, vq->used_gpa);
	guest_dev_write(dev, cpu, VMMIO_QUEUE_READY, 1);
	if (guest_dev_read(dev, cpu, VMMIO_QUEUE_READY) != 1) {
		guest_vq_close(vq);
		return -EINVAL;
	}
	return 0;
}

void guest_vq_close(struct guest_vq *vq)
{
	guest_free(vq->guest, vq->gpa, vq->bytes);
	free(vq->next);
	free(vq->length);
	free(vq->token);
	vq->gpa = 0;
	vq->next = NULL;
	vq->length = NULL;
	vq->token = NULL;
}

void guest_vq_disable(struct guest_vq *vq, uint32_t cpu)
{
	guest_dev_write(vq->dev, cpu, VMMIO_QUEUE_SEL, vq->index);
	guest_dev_write(vq->dev, cpu, VMMIO_QUEUE_READY, 0);
}

static void guest_vq_fill(struct vring_desc *desc, const struct guest_buffer *buffer, bool more, uint16_t next)
{
	uint16_t flags = 0;

	flags |= buffer->device_writes ? VRING_DESC_F_WRITE : 0;
	flags |= more ? VRING_DESC_F_NEXT : 0;
	desc->addr = htole64(buffer->gpa);
	desc->len = htole32(buffer->len);
	desc->flags = htole16(flags);
	desc->next = htole16(more ? next : 0);
}

/* The chain as a table, which takes one descriptor of the ring. */
static void guest_vq_fill_indirect(struct guest_vq *vq, const struct guest_buffer *buffer, uint32_t n)
{
	uint64_t at = (uint64_t)vq->free_head * vq->indirect_max;
	struct vring_desc *desc = &vq->desc[vq->free_head];
	uint32_t i;

	for (i = 0; i < n; i++)
		guest_vq_fill(&vq->indirect[at + i], &buffer[i], i + 1 < n, (uint16_t)(i + 1));
	desc->addr = htole64(vq->indirect_gpa + at * sizeof(*desc));
	desc->len = htole32(n * (uint32_t)sizeof(*desc));
	desc->flags = htole16(VRING_DESC_F_INDIRECT);
	desc->next = 0;
}

void guest_vq_add_head(struct guest_vq *vq, uint16_t head)
{
	vq->avail->ring[vq->avail_idx % vq->num] = htole16(head);
	vq->avail_idx++;
	core_store_release(&vq->avail->idx, htole16(vq->avail_idx));
}

int guest_vq_add(struct guest_vq *vq, const struct guest_buffer *buffer, uint32_t n, void *token)
{
	bool indirect = n > 1 && n <= vq->indirect_max;
	uint32_t needed = indirect ? 1 : n;
	uint16_t head = vq->free_head;
	uint16_t at = head;
	uint32_t i;

	if (n == 0 || needed > vq->nfree)
		return -ENOSPC;
	if (indirect) {
		guest_vq_fill_indirect(vq, buffer, n);
		at = vq->next[head];
	} else {
		for (i = 0; i < n; i++) {
			guest_vq_fill(&vq->desc[at], &buffer[i], i + 1 < n, vq->next[at]);
			at = vq->next[at];
		}
	}
	vq->free_head = at;
	vq->nfree = (uint16_t)(vq->nfree - needed);
	vq->token[head] = token;
	vq->length[head] = (uint16_t)needed;
	guest_vq_add_head(vq, head);
	return head;
}

bool guest_vq_kick(struct guest_vq *vq, uint32_t cpu)
{
	uint16_t before = vq->kicked_idx;
	uint16_t event;
	bool wanted;

	vq->kicked_idx = vq->avail_idx;
	core_fence();
	if (vq->event_idx) {
		event = le16toh(core_load(guest_vq_avail_event(vq)));
		wanted = vring_need_event(event, vq->avail_idx, before);
	} else {
		wanted = !(le16toh(core_load(&vq->used->flags)) & VRING_USED_F_NO_NOTIFY);
	}
	if (wanted)
		vq->notify(vq, cpu);
	return wanted;
}

bool guest_vq_pending(const struct guest_vq *vq)
{
	return le16toh(core_load_acquire(&vq->used->idx)) != vq->last_used;
}

/* An event that lies behind: not reached before 2^16 more. */
static void guest_vq_store_event(struct guest_vq *vq)
{
	core_store(guest_vq_used_event(vq), htole16((uint16_t)(vq->last_used - (vq->interrupts ? 0 : 1))));
}

bool guest_vq_interrupts(struct guest_vq *vq, bool on)
{
	vq->interrupts = on;
	if (vq->event_idx)
		guest_vq_store_event(vq);
	else
		core_store(&vq->avail->flags, htole16(on ? 0 : VRING_AVAIL_F_NO_INTERRUPT));
	core_fence();
	return guest_vq_pending(vq);
}

/* Gives the descriptors of a chain back. */
static void guest_vq_release(struct guest_vq *vq, uint16_t head)
{
	uint16_t at = head;
	uint16_t i;

	for (i = 1; i < vq->length[head]; i++)
		at = vq->next[at];
	vq->nfree = (uint16_t)(vq->nfree + vq->length[head]);
	vq->next[at] = vq->free_head;
	vq->free_head = head;
	vq->token[head] = NULL;
}

void *guest_vq_get(struct guest_vq *vq, uint32_t *len)
{
	const struct vring_used_elem *used;
	uint32_t head;
	void *token;

	if (!guest_vq_pending(vq))
		return NULL;
	used = &vq->used->ring[vq->last_used % vq->num];
	head = le32toh(used->id);
	if (head >= vq->num || !vq->token[head]) {
		fprintf(stderr, "queue %u: used element %u names %u, which is not in flight\n", vq->index,
			vq->last_used, head);
		abort();
	}
	if (len)
		*len = le32toh(used->len);
	token = vq->token[head];
	guest_vq_release(vq, (uint16_t)head);
	vq->last_used++;
	if (vq->event_idx)
		guest_vq_store_event(vq);
	return token;
}
