// SPDX-License-Identifier: GPL-2.0-only
/*
 * A zone's memory, and a device's queue region, in the backend's address space: filled page by page on access, and
 * taken out again when the zone stops or the backend is cut off.
 */
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/of_address.h>

#include "hvisor.h"

/* Where the zone's memories begin in an attachment's mapping, one after the other; below is the queue region. */
#define MEMORY_OFFSET (1ull << 40)
#define MEMORY_SIZE_MAX (1ull << 40)
#define MEMORY_PHYS_MAX ((1ull << 52) - 1)

u64 hvisor_memory_offset(const struct hvisor_zone *zone, u32 n)
{
	u64 offset = MEMORY_OFFSET;
	u32 i;

	for (i = 0; i < n; i++)
		offset += zone->memory[i].size;
	return offset;
}

/* Is [start, end] within a reserved-memory node of the device tree, which the kernel has never used? */
static bool memory_is_reserved(u64 start, u64 end)
{
	struct device_node *parent = of_find_node_by_path("/reserved-memory");
	struct device_node *child;
	struct resource res;
	bool found = false;
	int i;

	for_each_available_child_of_node(parent, child) {
		for (i = 0; !found && of_address_to_resource(child, i, &res) == 0; i++)
			found = res.start <= start && end <= res.end && !of_device_is_compatible(child, "shared-dma-pool");
		if (found) {
			of_node_put(child);
			break;
		}
	}
	of_node_put(parent);
	return found;
}

static bool memory_is_roots(u64 start, u64 size)
{
	return region_intersects(start, size, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) != REGION_DISJOINT &&
	       !memory_is_reserved(start, start + size - 1);
}

int hvisor_memory_check_range(u64 start, u64 size)
{
	u64 first = start & PAGE_MASK;
	u64 last;

	if (size == 0 || start + size - 1 < start)
		return -EINVAL;
	last = (start + size - 1) | ~PAGE_MASK;
	return memory_is_roots(first, last - first + 1) ? -EPERM : 0;
}

/* Either may end where 64 bits do. */
static bool memory_overlaps(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a <= b + b_size - 1 && b <= a + a_size - 1;
}

int hvisor_memory_check(const struct hvisor_memory *memory, u32 n)
{
	u64 start, end;
	u32 i, k;

	if (n == 0 || n > HVISOR_MEMORY_MAX)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		start = memory[i].zone0_ipa;
		if (memory[i].size == 0 || memory[i].size > MEMORY_SIZE_MAX ||
		    (memory[i].size | start | memory[i].zonex_ipa) & ~PAGE_MASK)
			return -EINVAL;
		end = start + memory[i].size - 1;
		if (end < start || end > MEMORY_PHYS_MAX || memory[i].zonex_ipa + memory[i].size - 1 < memory[i].zonex_ipa)
			return -ERANGE;
		if (memory_is_roots(start, memory[i].size))
			return -EPERM;
		for (k = 0; k < i; k++) {
			if (memory_overlaps(start, memory[i].size, memory[k].zone0_ipa, memory[k].size) ||
			    memory_overlaps(memory[i].zonex_ipa, memory[i].size, memory[k].zonex_ipa, memory[k].size))
				return -EINVAL;
		}
	}
	return 0;
}

static vm_fault_t memory_fault_region(struct hvisor_dev *dev, struct vm_fault *vmf)
{
	u64 offset = (u64)vmf->pgoff << PAGE_SHIFT;
	struct page *page;

	if (offset >= dev->region_size)
		return VM_FAULT_SIGBUS;
	page = vmalloc_to_page((char *)dev->region + offset);
	get_page(page);
	vmf->page = page;
	return 0;
}

/* The frame behind an offset of the attachment's mapping, or 0. */
static unsigned long memory_pfn(const struct hvisor_zone *zone, u64 offset)
{
	u64 at = offset - MEMORY_OFFSET;
	u32 i;

	for (i = 0; i < zone->nmemory; i++) {
		if (at < zone->memory[i].size)
			return (zone->memory[i].zone0_ipa + at) >> PAGE_SHIFT;
		at -= zone->memory[i].size;
	}
	return 0;
}

static vm_fault_t attachment_fault(struct vm_fault *vmf)
{
	struct hvisor_attachment *attachment = vmf->vma->vm_file->private_data;
	struct hvisor_zone *zone = attachment->dev->zone;
	u64 offset = (u64)vmf->pgoff << PAGE_SHIFT;
	vm_fault_t result = VM_FAULT_SIGBUS;
	unsigned long pfn;

	down_read(&zone->memory_sem);
	if (!attachment->revoked && zone->up) {
		pfn = memory_pfn(zone, offset);
		if (pfn)
			result = vmf_insert_pfn(vmf->vma, vmf->address, pfn);
	}
	up_read(&zone->memory_sem);
	return result;
}

static vm_fault_t attachment_fault_region(struct vm_fault *vmf)
{
	struct hvisor_attachment *attachment = vmf->vma->vm_file->private_data;
	struct hvisor_zone *zone = attachment->dev->zone;
	vm_fault_t result = VM_FAULT_SIGBUS;

	down_read(&zone->memory_sem);
	if (!attachment->revoked)
		result = memory_fault_region(attachment->dev, vmf);
	up_read(&zone->memory_sem);
	return result;
}

static vm_fault_t view_fault(struct vm_fault *vmf)
{
	return memory_fault_region(vmf->vma->vm_file->private_data, vmf);
}

static const struct vm_operations_struct attachment_memory_ops = {
	.fault = attachment_fault,
};

static const struct vm_operations_struct attachment_region_ops = {
	.fault = attachment_fault_region,
};

static const struct vm_operations_struct view_ops = {
	.fault = view_fault,
};

/* Nor does mprotect() make it executable later. */
static void memory_set_flags(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, flags, VM_MAYEXEC);
#else
	vma->vm_flags = (vma->vm_flags | flags) & ~VM_MAYEXEC;
#endif
}

/* Is the mapping a shared one, without execution, of [0, size) from base on? */
static bool memory_vma_fits(const struct vm_area_struct *vma, u64 base, u64 size)
{
	u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	u64 length = vma->vm_end - vma->vm_start;

	return (vma->vm_flags & VM_SHARED) && !(vma->vm_flags & VM_EXEC) && offset >= base && length <= size &&
	       offset - base <= size - length;
}

int hvisor_attachment_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct hvisor_attachment *attachment = file->private_data;
	struct hvisor_dev *dev = attachment->dev;
	u64 memory_size = hvisor_memory_offset(dev->zone, dev->zone->nmemory) - MEMORY_OFFSET;

	if (memory_vma_fits(vma, 0, dev->region_size)) {
		vma->vm_ops = &attachment_region_ops;
		memory_set_flags(vma, VM_DONTDUMP | VM_DONTEXPAND | VM_DONTCOPY);
		return 0;
	}
	if (memory_vma_fits(vma, MEMORY_OFFSET, memory_size)) {
		vma->vm_ops = &attachment_memory_ops;
		memory_set_flags(vma, VM_PFNMAP | VM_IO | VM_DONTDUMP | VM_DONTEXPAND | VM_DONTCOPY);
		return 0;
	}
	return -EINVAL;
}

int hvisor_view_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct hvisor_dev *dev = file->private_data;

	if (!memory_vma_fits(vma, 0, dev->region_size))
		return -EINVAL;
	vma->vm_ops = &view_ops;
	memory_set_flags(vma, VM_DONTDUMP | VM_DONTEXPAND | VM_DONTCOPY);
	return 0;
}

void hvisor_attachment_revoke(struct hvisor_attachment *attachment)
{
	/* The fault handlers look at revoked and up under memory_sem: what is taken out now does not come back. */
	unmap_mapping_range(attachment->inode->i_mapping, attachment->revoked ? 0 : MEMORY_OFFSET, 0, 1);
}
