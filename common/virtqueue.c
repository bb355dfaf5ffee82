/* SPDX-License-Identifier: MIT */
#include "common/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* State of a head in vq->fetched. */
enum {
	HEAD_DRIVER = 0,
	HEAD_DEVICE = 1,
	HEAD_UNPUBLISHED = 2,
};

static int virtq_break(struct virtq *vq, const char *why)
{
	vq->broken = true;
	vq->why = why;
	return -EPROTO;
}

static uint16_t avail_idx_load(const struct virtq *vq)
{
	return le16toh(core_load_acquire(&vq->avail->idx));
}

/* virtio 1.2, 2.7: with event index or without, both rings have room for the event field. */
static uint64_t avail_size(uint16_t num)
{
	return sizeof(struct vring_avail) + (uint64_t)num * sizeof(__virtio16) + sizeof(__virtio16);
}

static uint64_t used_size(uint16_t num)
{
	return sizeof(struct vring_used) + (uint64_t)num * sizeof(struct vring_used_elem) + sizeof(__virtio16);
}

static __virtio16 *used_event(const struct virtq *vq)
{
	return &vq->avail->ring[vq->num];
}

static __virtio16 *avail_event(const struct virtq *vq)
{
	return (__virtio16 *)&vq->used->ring[vq->num];
}

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

/* Finds the rings in memory. Returns what is wrong, or NULL. */
static const char *rings_map(struct virtq *vq, const struct gmem *mem, const struct region_queue *queue)
{
	uint64_t desc_size = (uint64_t)queue->num * sizeof(struct vring_desc);
	uint64_t driver_size, device_size;

	if (queue->num == 0 || queue->num > REGION_QUEUE_SIZE_MAX || (queue->num & (queue->num - 1)))
		return "the queue size is not a power of two in the limits";
	driver_size = avail_size((uint16_t)queue->num);
	device_size = used_size((uint16_t)queue->num);
	if (queue->desc % VRING_DESC_ALIGN_SIZE)
		return "the descriptor table is not aligned to 16 bytes";
	if (queue->driver % VRING_AVAIL_ALIGN_SIZE)
		return "the available ring is not aligned to 2 bytes";
	if (queue->device % VRING_USED_ALIGN_SIZE)
		return "the used ring is not aligned to 4 bytes";
	vq->desc = gmem_at(mem, queue->desc, desc_size);
	vq->avail = gmem_at(mem, queue->driver, driver_size);
	vq->used = gmem_at(mem, queue->device, device_size);
	if (!vq->desc)
		return "the descriptor table is not in the zone's memory";
	if (!vq->avail)
		return "the available ring is not in the zone's memory";
	if (!vq->used)
		return "the used ring is not in the zone's memory";
	if (ranges_overlap(queue->desc, desc_size, queue->driver, driver_size) ||
	    ranges_overlap(queue->desc, desc_size, queue->device, device_size) ||
	    ranges_overlap(queue->driver, driver_size, queue->device, device_size))
		return "the rings overlap";
	return NULL;
}

int virtq_open(struct virtq *vq, const struct gmem *mem, const struct region_queue *queue, uint64_t features,
	       struct region_journal *journal)
{
	const char *why;
	uint16_t i;

	memset(vq, 0, sizeof(*vq));
	why = rings_map(vq, mem, queue);
	if (why)
		return virtq_break(vq, why);
	vq->num = (uint16_t)queue->num;
	vq->mem = mem;
	vq->event_idx = features & (1ull << VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = features & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
	vq->used_idx = le16toh(core_load(&vq->used->idx));
	vq->published_idx = vq->used_idx;
	vq->nresubmit = journal_open(&vq->journal, journal, vq->num, queue->epoch, vq->used_idx, vq->resubmit);
	for (i = 0; i < vq->nresubmit; i++)
		vq->fetched[vq->resubmit[i]] = HEAD_DEVICE;
	vq->last_avail = (uint16_t)(vq->used_idx + vq->nresubmit);
	vq->avail_idx = avail_idx_load(vq);
	if ((uint16_t)(vq->avail_idx - vq->last_avail) > vq->num - vq->nresubmit)
		return virtq_break(vq, "the available index does not fit the used index and the chains in flight");
	return 0;
}

void virtq_close(struct virtq *vq)
{
	memset(vq, 0, sizeof(*vq));
}

bool virtq_pending(const struct virtq *vq)
{
	if (vq->num == 0 || vq->broken)
		return false;
	return vq->resubmit_pos < vq->nresubmit || avail_idx_load(vq) != vq->last_avail;
}

/* One read of what the driver may be writing: the fence keeps the compiler from reading a field again later. */
static void desc_read(struct vring_desc *desc, const uint8_t *table, uint32_t i)
{
	memcpy(desc, table + (uint64_t)i * sizeof(*desc), sizeof(*desc));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	desc->addr = le64toh(desc->addr);
	desc->len = le32toh(desc->len);
	desc->flags = le16toh(desc->flags);
	desc->next = le16toh(desc->next);
}

/* Adds a buffer to the chain; one of no length is nothing. Returns what is wrong, or NULL. */
static const char *chain_add(struct virtq_chain *chain, const struct gmem *mem, const struct vring_desc *desc)
{
	struct iovec *iov = &chain->iov[chain->nread + chain->nwrite];
	bool write = desc->flags & VRING_DESC_F_WRITE;

	if (desc->len == 0)
		return NULL;
	if (!write && chain->nwrite > 0)
		return "a device-readable buffer follows a device-writable one";
	iov->iov_base = gmem_at(mem, desc->addr, desc->len);
	iov->iov_len = desc->len;
	if (!iov->iov_base)
		return "a buffer is not in the zone's memory";
	if (write) {
		chain->nwrite++;
		chain->write_len += desc->len;
	} else {
		chain->nread++;
		chain->read_len += desc->len;
	}
	/* virtio 1.2, 2.7.5.2 */
	if (chain->read_len + chain->write_len > 1ull << 32)
		return "a chain is longer than 4 GiB";
	return NULL;
}

/*
 * Where the table is that an indirect descriptor names, and how many entries it has. NULL with *why if the descriptor
 * breaks virtio 1.2, 2.7.5.3; its write flag means nothing.
 */
static const uint8_t *indirect_table(const struct virtq *vq, const struct vring_desc *desc, uint32_t *entries,
				     const char **why)
{
	const uint8_t *table;

	*why = NULL;
	if (!vq->indirect)
		*why = "an indirect descriptor, which was not negotiated";
	else if (desc->flags & VRING_DESC_F_NEXT)
		*why = "an indirect descriptor with a next one";
	else if (desc->len == 0 || desc->len % sizeof(struct vring_desc))
		*why = "an indirect table whose length is not a multiple of 16";
	if (*why)
		return NULL;
	*entries = desc->len / (uint32_t)sizeof(struct vring_desc);
	table = gmem_at(vq->mem, desc->addr, desc->len);
	if (!table)
		*why = "an indirect table is not in the zone's memory";
	return table;
}

/* Reads the chain that begins at head. Returns what is wrong, or NULL. */
static const char *chain_read(const struct virtq *vq, uint16_t head, struct virtq_chain *chain)
{
	const uint8_t *table = (const uint8_t *)vq->desc;
	uint32_t entries = vq->num;
	uint32_t left = entries; /* more descriptors than the table has are a loop */
	uint32_t total = 0;
	uint32_t i = head;
	bool in_indirect = false;
	struct vring_desc desc;
	const char *why;

	chain->head = head;
	chain->nread = 0;
	chain->nwrite = 0;
	chain->read_len = 0;
	chain->write_len = 0;
	for (;;) {
		if (i >= entries)
			return "a next descriptor is beyond the table";
		if (left-- == 0)
			return "a chain has a loop";
		desc_read(&desc, table, i);
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (in_indirect)
				return "an indirect descriptor inside an indirect table";
			table = indirect_table(vq, &desc, &entries, &why);
			if (!table)
				return why;
			left = entries;
			in_indirect = true;
			i = 0;
			continue;
		}
		if (total++ == VIRTQ_IOV_MAX)
			return "a chain has too many descriptors";
		why = chain_add(chain, vq->mem, &desc);
		if (why)
			return why;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return NULL;
		i = desc.next;
	}
}

/* The head of the next chain that is in flight since before this process. */
static int pop_resubmitted(struct virtq *vq, struct virtq_chain *chain)
{
	const char *why = chain_read(vq, vq->resubmit[vq->resubmit_pos], chain);

	if (why)
		return virtq_break(vq, why);
	chain->begun = vq->resubmit_pos < vq->journal.nbegun;
	vq->resubmit_pos++;
	return 1;
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain)
{
	const char *why;
	uint16_t head;

	if (vq->broken)
		return -EPROTO;
	if (vq->resubmit_pos < vq->nresubmit)
		return pop_resubmitted(vq, chain);
	if (vq->num == 0)
		return 0;
	if (vq->avail_idx == vq->last_avail) {
		vq->avail_idx = avail_idx_load(vq);
		if (vq->avail_idx == vq->last_avail)
			return 0;
		if ((uint16_t)(vq->avail_idx - vq->last_avail) > vq->num)
			return virtq_break(vq, "the available index jumps by more than the queue size");
	}
	head = le16toh(core_load(&vq->avail->ring[vq->last_avail & (vq->num - 1)]));
	if (head >= vq->num)
		return virtq_break(vq, "the available ring names a descriptor beyond the table");
	if (vq->fetched[head] != HEAD_DRIVER)
		return virtq_break(vq, "the available ring names a chain which the device still has");
	why = chain_read(vq, head, chain);
	if (why)
		return virtq_break(vq, why);
	chain->begun = false;
	vq->nresubmit = 0;
	vq->resubmit_pos = 0;
	vq->fetched[head] = HEAD_DEVICE;
	journal_fetch(&vq->journal, head);
	vq->last_avail++;
	return 1;
}

void virtq_push(struct virtq *vq, uint16_t head, uint32_t len)
{
	struct vring_used_elem *elem;

	if (head >= vq->num || vq->fetched[head] != HEAD_DEVICE)
		return;
	elem = &vq->used->ring[vq->used_idx & (vq->num - 1)];
	core_store(&elem->id, htole32(head));
	core_store(&elem->len, htole32(len));
	journal_complete(&vq->journal, head);
	vq->fetched[head] = HEAD_UNPUBLISHED;
	vq->batch[vq->nbatch++] = head;
	vq->used_idx++;
}

void virtq_begin(struct virtq *vq, uint16_t head)
{
	if (head < vq->num && vq->fetched[head] == HEAD_DEVICE)
		journal_begin(&vq->journal, head);
}

void virtq_unpop(struct virtq *vq, uint16_t head)
{
	if (head >= vq->num || vq->fetched[head] != HEAD_DEVICE)
		return;
	if (vq->resubmit_pos > 0) {
		vq->resubmit_pos--;
		return;
	}
	journal_unfetch(&vq->journal, head);
	vq->fetched[head] = HEAD_DRIVER;
	vq->last_avail--;
}

/* virtio 1.2, 2.7.7.2 and 2.7.10: is the driver to be interrupted for what it sees since the last look? */
static bool interrupt_wanted(struct virtq *vq)
{
	uint16_t last = vq->signalled_idx;
	bool last_valid = vq->signalled_valid;

	if (!vq->event_idx)
		return !(le16toh(core_load(&vq->avail->flags)) & VRING_AVAIL_F_NO_INTERRUPT);
	vq->signalled_idx = vq->published_idx;
	vq->signalled_valid = true;
	return !last_valid || vring_need_event(le16toh(core_load(used_event(vq))), vq->published_idx, last);
}

bool virtq_publish(struct virtq *vq)
{
	uint16_t i;

	if (vq->nbatch == 0)
		return false;
	core_store_release(&vq->used->idx, htole16(vq->used_idx));
	journal_publish(&vq->journal, vq->batch, vq->nbatch, vq->used_idx);
	for (i = 0; i < vq->nbatch; i++)
		vq->fetched[vq->batch[i]] = HEAD_DRIVER;
	vq->nbatch = 0;
	vq->published_idx = vq->used_idx;
	core_fence();
	return interrupt_wanted(vq);
}

bool virtq_enable_notification(struct virtq *vq)
{
	if (vq->num == 0 || vq->broken)
		return false;
	if (vq->event_idx)
		core_store(avail_event(vq), htole16(vq->last_avail));
	else
		core_store(&vq->used->flags, 0);
	core_fence();
	return virtq_pending(vq);
}

void virtq_disable_notification(struct virtq *vq)
{
	/* With the event index nothing need be done: the driver has passed it, or notifies once when it does. */
	if (vq->num > 0 && !vq->broken && !vq->event_idx)
		core_store(&vq->used->flags, htole16(VRING_USED_F_NO_NOTIFY));
}
