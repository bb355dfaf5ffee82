/* SPDX-License-Identifier: MIT */
#include "zone_layout.h"

#include <string.h>

#define ROOT_PAGE 4096u

/* hvisor is told how much memory an image takes, in pages. */
static uint64_t image_pages(const struct zone_image *image)
{
	return image->path ? (image->size + (ROOT_PAGE - 1)) & ~(uint64_t)(ROOT_PAGE - 1) : 0;
}

static uint64_t or_zero(uint64_t address)
{
	return address == ZONE_NONE ? 0 : address;
}

static void fill_head(struct zone_layout_head *head, const struct zone_file *zone)
{
	uint32_t i;

	head->zone_id = zone->id;
	head->cpus = zone->cpus;
	head->nregions = zone->nregions;
	for (i = 0; i < zone->nregions; i++)
		head->region[i] = (struct zone_layout_region){
			.type = zone->region[i].type,
			.physical_start = zone->region[i].physical,
			.virtual_start = zone->region[i].virtual,
			.size = zone->region[i].size,
		};
	memcpy(head->interrupts, zone->interrupts, sizeof(head->interrupts));
	head->nivcs = zone->nivcs;
	for (i = 0; i < zone->nivcs; i++)
		head->ivc[i] = (struct zone_layout_ivc){
			.ivc_id = zone->ivc[i].id,
			.peer_id = zone->ivc[i].peer,
			.control_table_ipa = zone->ivc[i].control_table,
			.shared_mem_ipa = zone->ivc[i].shared_memory,
			.rw_sec_size = zone->ivc[i].rw_size,
			.out_sec_size = zone->ivc[i].out_size,
			.interrupt_num = zone->ivc[i].interrupt,
			.max_peers = zone->ivc[i].peers_max,
		};
	head->entry_point = zone->entry_point;
	head->kernel_load_paddr = or_zero(zone->image[ZONE_KERNEL].load);
	head->kernel_size = image_pages(&zone->image[ZONE_KERNEL]);
	head->dtb_load_paddr = or_zero(zone->image[ZONE_DTB].load);
	head->dtb_size = image_pages(&zone->image[ZONE_DTB]);
	memcpy(head->name, zone->name, sizeof(head->name));
}

static void fill_bus(struct zone_layout_pci_bus *out, const struct zone_pci_bus *bus)
{
	*out = (struct zone_layout_pci_bus){
		.ecam_base = bus->ecam_base,
		.ecam_size = bus->ecam_size,
		.io_base = bus->io_base,
		.io_size = bus->io_size,
		.pci_io_base = bus->pci_io_base,
		.mem32_base = bus->mem32_base,
		.mem32_size = bus->mem32_size,
		.pci_mem32_base = bus->pci_mem32_base,
		.mem64_base = bus->mem64_base,
		.mem64_size = bus->mem64_size,
		.pci_mem64_base = bus->pci_mem64_base,
		.bus_range_begin = bus->bus_begin,
		.bus_range_end = bus->bus_end,
		.domain = (uint8_t)bus->domain,
	};
}

static void fill_pci_v5(struct zone_layout_pci_v5 *pci, const struct zone_file *zone)
{
	uint32_t i;

	pci->nbuses = zone->nbuses;
	for (i = 0; i < zone->nbuses; i++)
		fill_bus(&pci->bus[i], &zone->bus[i]);
	pci->ndevices = zone->ndevices;
	for (i = 0; i < zone->ndevices; i++)
		pci->device[i] = (struct zone_layout_pci_device_v5){
			.domain = (uint8_t)zone->device[i].domain,
			.bus = (uint8_t)zone->device[i].bus,
			.device = (uint8_t)zone->device[i].device,
			.function = (uint8_t)zone->device[i].function,
			.dev_type = zone->device[i].type,
		};
}

static void fill_pci_v6(struct zone_layout_pci_v6 *pci, const struct zone_file *zone)
{
	uint32_t i;

	pci->nbuses = zone->nbuses;
	for (i = 0; i < zone->nbuses; i++)
		fill_bus(&pci->bus[i], &zone->bus[i]);
	pci->ndevices = zone->ndevices;
	for (i = 0; i < zone->ndevices; i++)
		pci->device[i] = (struct zone_layout_pci_device_v6){
			.domain = (uint8_t)zone->device[i].domain,
			.bus = (uint8_t)zone->device[i].bus,
			.device = (uint8_t)zone->device[i].device,
			.function = (uint8_t)zone->device[i].function,
			.v_bus = (uint8_t)zone->device[i].v_bus,
			.v_device = (uint8_t)zone->device[i].v_device,
			.v_function = (uint8_t)zone->device[i].v_function,
			.dev_type = zone->device[i].type,
		};
}

static void fill_arm64(struct zone_layout_arch_arm64 *arch, const struct zone_file *zone)
{
	const struct zone_gic *gic = &zone->arm64.gic;

	arch->is_aarch32 = zone->arm64.aarch32;
	if (gic->version == 2) {
		arch->gic = ZONE_LAYOUT_GIC_V2;
		arch->gicv2 = (struct zone_layout_gicv2){
			.gicd_base = gic->gicd_base,
			.gicd_size = gic->gicd_size,
			.gicc_base = gic->gicc_base,
			.gicc_size = gic->gicc_size,
			.gicc_offset = gic->gicc_offset,
			.gich_base = gic->gich_base,
			.gich_size = gic->gich_size,
			.gicv_base = gic->gicv_base,
			.gicv_size = gic->gicv_size,
		};
	} else {
		arch->gic = ZONE_LAYOUT_GIC_V3;
		arch->gicv3 = (struct zone_layout_gicv3){
			.gicd_base = gic->gicd_base,
			.gicd_size = gic->gicd_size,
			.gicr_base = gic->gicr_base,
			.gicr_size = gic->gicr_size,
			.gits_base = gic->gits_base,
			.gits_size = gic->gits_size,
		};
	}
}

static void fill_uefi(struct zone_layout_uefi *uefi, const struct zone_file *zone)
{
	if (zone->arm64.memory_map_addr == ZONE_NONE) {
		uefi->uefi = ZONE_LAYOUT_NO_UEFI;
		return;
	}
	uefi->uefi = ZONE_LAYOUT_UEFI;
	uefi->memory_map_addr = zone->arm64.memory_map_addr;
	uefi->memory_map_size = zone->arm64.memory_map_size;
	uefi->sys_map_addr = zone->arm64.sys_map_addr;
}

static void fill_riscv64(struct zone_layout_arch_riscv64 *arch, const struct zone_file *zone)
{
	*arch = (struct zone_layout_arch_riscv64){
		.plic_base = zone->riscv64.plic_base,
		.plic_size = zone->riscv64.plic_size,
		.aplic_base = zone->riscv64.aplic_base,
		.aplic_size = zone->riscv64.aplic_size,
	};
}

static void fill_x86_64(struct zone_layout_arch_x86_64 *arch, const struct zone_file *zone)
{
	const struct zone_image *initrd = &zone->image[ZONE_INITRD];

	*arch = (struct zone_layout_arch_x86_64){
		.ioapic_base = zone->x86_64.ioapic_base,
		.ioapic_size = zone->x86_64.ioapic_size,
		.kernel_entry_gpa = zone->x86_64.kernel_entry_gpa,
		.cmdline_load_gpa = or_zero(zone->image[ZONE_CMDLINE].virtual),
		.setup_load_gpa = or_zero(zone->image[ZONE_SETUP].virtual),
		.initrd_load_gpa = or_zero(initrd->virtual),
		.initrd_size = initrd->path ? initrd->size : 0,
		.rsdp_memory_region_id = zone->x86_64.rsdp_memory_region_id,
		.acpi_memory_region_id = zone->x86_64.acpi_memory_region_id,
		.uefi_memory_region_id = zone->x86_64.uefi_memory_region_id,
		.screen_base = zone->x86_64.screen_base,
	};
}

static size_t fill_v5(union zone_layout *layout, const struct zone_file *zone)
{
	switch (zone->arch) {
	case ZONE_ARM64:
		fill_arm64(&layout->arm64_v5.arch, zone);
		fill_pci_v5(&layout->arm64_v5.pci, zone);
		return sizeof(layout->arm64_v5);
	case ZONE_RISCV64:
		fill_riscv64(&layout->riscv64_v5.arch, zone);
		fill_pci_v5(&layout->riscv64_v5.pci, zone);
		return sizeof(layout->riscv64_v5);
	case ZONE_LOONGARCH64:
		layout->loongarch64_v5.arch.dummy = zone->loongarch64_dummy;
		fill_pci_v5(&layout->loongarch64_v5.pci, zone);
		return sizeof(layout->loongarch64_v5);
	case ZONE_X86_64:
		fill_x86_64(&layout->x86_64_v5.arch, zone);
		fill_pci_v5(&layout->x86_64_v5.pci, zone);
		return sizeof(layout->x86_64_v5);
	case ZONE_ARCHS:
		break;
	}
	return 0;
}

static size_t fill_v6(union zone_layout *layout, const struct zone_file *zone)
{
	switch (zone->arch) {
	case ZONE_ARM64:
		fill_arm64(&layout->arm64_v6.arch, zone);
		fill_uefi(&layout->arm64_v6.uefi, zone);
		fill_pci_v6(&layout->arm64_v6.pci, zone);
		return sizeof(layout->arm64_v6);
	case ZONE_RISCV64:
		fill_riscv64(&layout->riscv64_v6.arch, zone);
		fill_pci_v6(&layout->riscv64_v6.pci, zone);
		return sizeof(layout->riscv64_v6);
	case ZONE_LOONGARCH64:
		layout->loongarch64_v6.arch.dummy = zone->loongarch64_dummy;
		fill_pci_v6(&layout->loongarch64_v6.pci, zone);
		return sizeof(layout->loongarch64_v6);
	case ZONE_X86_64:
		fill_x86_64(&layout->x86_64_v6.arch, zone);
		fill_pci_v6(&layout->x86_64_v6.pci, zone);
		return sizeof(layout->x86_64_v6);
	case ZONE_ARCHS:
		break;
	}
	return 0;
}

/* What the file asks for and version 5 cannot say. */
static size_t check_v5(const struct zone_file *zone, struct errors *errors)
{
	size_t before = errors->count;
	uint32_t i;

	if (zone->arch == ZONE_ARM64 && zone->arm64.memory_map_addr != ZONE_NONE)
		errors_add(
			errors,
			"%s: arch_config.memory_map_addr: this hvisor takes version 5 of the zone configuration, which "
			"has no UEFI; take it and the keys beside it out, or use a newer hvisor",
			zone->path);
	for (i = 0; i < zone->ndevices; i++) {
		const struct zone_pci_device *device = &zone->device[i];

		if (device->v_bus == device->bus && device->v_device == device->device &&
		    device->v_function == device->function)
			continue;
		errors_add(
			errors,
			"%s: alloc_pci_devs[%u]: this hvisor takes version 5 of the zone configuration, which shows a "
			"zone a PCI device where it is; take v_bus, v_device and v_function out, or use a newer hvisor",
			zone->path, i);
	}
	return errors->count - before;
}

size_t zone_layout_fill(union zone_layout *layout, const struct zone_file *zone, uint64_t version,
			struct errors *errors)
{
	memset(layout, 0, sizeof(*layout));
	fill_head(&layout->head, zone);
	switch (version) {
	case 5:
		return check_v5(zone, errors) ? 0 : fill_v5(layout, zone);
	case 6:
		return fill_v6(layout, zone);
	default:
		errors_add(errors,
			   "hvisor takes version %llu of the zone configuration; this program knows versions %u to %u: "
			   "use "
			   "a release of hvisor-launch that knows it",
			   (unsigned long long)version, ZONE_LAYOUT_VERSION_MIN, ZONE_LAYOUT_VERSION_MAX);
		return 0;
	}
}
