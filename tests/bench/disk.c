/* SPDX-License-Identifier: MIT */
#include "disk.h"

#include <errno.h>
#include <stddef.h>

/* What the device has not written a status into. */
#define DISK_STATUS_NONE 0xffu

/* What the driver shows of a request beside its data, at the beginning of a page of its own. */
struct disk_slot {
	struct virtio_blk_outhdr header;
	uint8_t status;
};

static uint64_t disk_slot_at(uint32_t slot)
{
	return (uint64_t)slot * DISK_SLOT_SIZE;
}

static uint64_t disk_buffer_at(uint32_t slot)
{
	return (uint64_t)DISK_DEPTH_MAX * DISK_SLOT_SIZE + (uint64_t)slot * DISK_BLOCK_MAX;
}

int disk_init(struct disk *disk, struct guest *guest, struct guest_vq *vq, uint32_t cpu, uint64_t capacity)
{
	*disk = (struct disk){.vq = vq, .cpu = cpu, .capacity = capacity};
	disk->gpa = guest_alloc(guest, DISK_SLOTS_BYTES);
	if (!disk->gpa)
		return -ENOMEM;
	disk->mem = guest_at(guest, disk->gpa, DISK_SLOTS_BYTES);
	guest_vq_interrupts(vq, false);
	return 0;
}

uint8_t *disk_buffer(const struct disk *disk, uint32_t slot)
{
	return disk->mem + disk_buffer_at(slot);
}

void disk_add(struct disk *disk, uint32_t slot, bool write, uint64_t offset, uint32_t len)
{
	struct disk_slot *s = (struct disk_slot *)(disk->mem + disk_slot_at(slot));
	uint64_t gpa = disk->gpa + disk_slot_at(slot);
	const struct guest_buffer buffer[DISK_INDIRECT_MAX] = {
		{.gpa = gpa + offsetof(struct disk_slot, header), .len = sizeof(s->header)},
		{.gpa = disk->gpa + disk_buffer_at(slot), .len = len, .device_writes = !write},
		{.gpa = gpa + offsetof(struct disk_slot, status), .len = sizeof(s->status), .device_writes = true},
	};

	s->header = (struct virtio_blk_outhdr){
		.type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
		.sector = offset / 512,
	};
	s->status = DISK_STATUS_NONE;
	/* The ring has more descriptors than there are slots, so there is room. */
	guest_vq_add(disk->vq, buffer, DISK_INDIRECT_MAX, s);
}

void disk_kick(struct disk *disk)
{
	disk->kicks += guest_vq_kick(disk->vq, disk->cpu);
}

int disk_reap(struct disk *disk, uint32_t *slot)
{
	const struct disk_slot *s = guest_vq_get(disk->vq, NULL);

	if (!s)
		return -1;
	*slot = (uint32_t)(((const uint8_t *)s - disk->mem) / DISK_SLOT_SIZE);
	return s->status;
}
