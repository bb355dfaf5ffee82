/* SPDX-License-Identifier: MIT */
/*
 * The zone configuration as hvisor takes it (hypercall 2): C structures with natural alignment on a little-endian
 * 64-bit machine, by architecture and version. Facts: src/config.rs and the zone.rs of each architecture of hvisor,
 * which says its version by hypercall 6. Version 5 is hvisor v0.4; version 6 gave PCI devices an address of the zone's
 * own, and arm64 a UEFI block.
 */
#ifndef HVISOR_ZONE_LAYOUT_H
#define HVISOR_ZONE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "zone_file.h"

struct zone_layout_region {
	uint32_t type;
	uint64_t physical_start;
	uint64_t virtual_start;
	uint64_t size;
};

struct zone_layout_ivc {
	uint32_t ivc_id;
	uint32_t peer_id;
	uint64_t control_table_ipa;
	uint64_t shared_mem_ipa;
	uint32_t rw_sec_size;
	uint32_t out_sec_size;
	uint32_t interrupt_num;
	uint32_t max_peers;
};

/* What all of them begin with. */
struct zone_layout_head {
	uint32_t zone_id;
	uint64_t cpus;
	uint32_t nregions;
	struct zone_layout_region region[ZONE_REGIONS_MAX];
	uint32_t interrupts[ZONE_INTERRUPTS_MAX / 32];
	uint32_t nivcs;
	struct zone_layout_ivc ivc[ZONE_IVCS_MAX];
	uint64_t entry_point;
	uint64_t kernel_load_paddr;
	uint64_t kernel_size;
	uint64_t dtb_load_paddr;
	uint64_t dtb_size;
	char name[ZONE_NAME_MAX];
};

struct zone_layout_pci_bus {
	uint64_t ecam_base;
	uint64_t ecam_size;
	uint64_t io_base;
	uint64_t io_size;
	uint64_t pci_io_base;
	uint64_t mem32_base;
	uint64_t mem32_size;
	uint64_t pci_mem32_base;
	uint64_t mem64_base;
	uint64_t mem64_size;
	uint64_t pci_mem64_base;
	uint32_t bus_range_begin;
	uint32_t bus_range_end;
	uint8_t domain;
};

struct zone_layout_pci_device_v5 {
	uint8_t domain;
	uint8_t bus;
	uint8_t device;
	uint8_t function;
	uint32_t dev_type;
};

struct zone_layout_pci_device_v6 {
	uint8_t domain;
	uint8_t bus;
	uint8_t device;
	uint8_t function;
	uint8_t v_bus;
	uint8_t v_device;
	uint8_t v_function;
	uint32_t dev_type;
};

struct zone_layout_pci_v5 {
	uint64_t nbuses;
	struct zone_layout_pci_bus bus[ZONE_PCI_BUSES_MAX];
	uint64_t ndevices;
	struct zone_layout_pci_device_v5 device[ZONE_PCI_DEVICES_MAX];
};

struct zone_layout_pci_v6 {
	uint64_t nbuses;
	struct zone_layout_pci_bus bus[ZONE_PCI_BUSES_MAX];
	uint64_t ndevices;
	struct zone_layout_pci_device_v6 device[ZONE_PCI_DEVICES_MAX];
};

#define ZONE_LAYOUT_GIC_V2 0u
#define ZONE_LAYOUT_GIC_V3 1u
#define ZONE_LAYOUT_UEFI 0u
#define ZONE_LAYOUT_NO_UEFI 1u

struct zone_layout_gicv2 {
	uint64_t gicd_base;
	uint64_t gicd_size;
	uint64_t gicc_base;
	uint64_t gicc_size;
	uint64_t gicc_offset;
	uint64_t gich_base;
	uint64_t gich_size;
	uint64_t gicv_base;
	uint64_t gicv_size;
};

struct zone_layout_gicv3 {
	uint64_t gicd_base;
	uint64_t gicd_size;
	uint64_t gicr_base;
	uint64_t gicr_size;
	uint64_t gits_base;
	uint64_t gits_size;
};

struct zone_layout_arch_arm64 {
	uint8_t is_aarch32;
	uint64_t gic; /* ZONE_LAYOUT_GIC_*: which of the two it is */
	union {
		struct zone_layout_gicv2 gicv2;
		struct zone_layout_gicv3 gicv3;
	};
};

struct zone_layout_uefi {
	uint64_t uefi; /* ZONE_LAYOUT_UEFI, or ZONE_LAYOUT_NO_UEFI and nothing else set */
	uint64_t memory_map_addr;
	uint64_t memory_map_size;
	uint64_t sys_map_addr;
};

struct zone_layout_arch_riscv64 {
	uint64_t plic_base;
	uint64_t plic_size;
	uint64_t aplic_base;
	uint64_t aplic_size;
};

struct zone_layout_arch_loongarch64 {
	uint64_t dummy;
};

struct zone_layout_arch_x86_64 {
	uint64_t ioapic_base;
	uint64_t ioapic_size;
	uint64_t kernel_entry_gpa;
	uint64_t cmdline_load_gpa;
	uint64_t setup_load_gpa;
	uint64_t initrd_load_gpa;
	uint64_t initrd_size;
	uint64_t rsdp_memory_region_id;
	uint64_t acpi_memory_region_id;
	uint64_t uefi_memory_region_id;
	uint64_t screen_base;
};

struct zone_layout_arm64_v5 {
	struct zone_layout_head head;
	struct zone_layout_arch_arm64 arch;
	struct zone_layout_pci_v5 pci;
};

struct zone_layout_arm64_v6 {
	struct zone_layout_head head;
	struct zone_layout_arch_arm64 arch;
	struct zone_layout_uefi uefi;
	struct zone_layout_pci_v6 pci;
};

struct zone_layout_riscv64_v5 {
	struct zone_layout_head head;
	struct zone_layout_arch_riscv64 arch;
	struct zone_layout_pci_v5 pci;
};

struct zone_layout_riscv64_v6 {
	struct zone_layout_head head;
	struct zone_layout_arch_riscv64 arch;
	struct zone_layout_pci_v6 pci;
};

struct zone_layout_loongarch64_v5 {
	struct zone_layout_head head;
	struct zone_layout_arch_loongarch64 arch;
	struct zone_layout_pci_v5 pci;
};

struct zone_layout_loongarch64_v6 {
	struct zone_layout_head head;
	struct zone_layout_arch_loongarch64 arch;
	struct zone_layout_pci_v6 pci;
};

struct zone_layout_x86_64_v5 {
	struct zone_layout_head head;
	struct zone_layout_arch_x86_64 arch;
	struct zone_layout_pci_v5 pci;
};

struct zone_layout_x86_64_v6 {
	struct zone_layout_head head;
	struct zone_layout_arch_x86_64 arch;
	struct zone_layout_pci_v6 pci;
};

_Static_assert(sizeof(struct zone_layout_region) == 32, "a memory region");
_Static_assert(sizeof(struct zone_layout_ivc) == 40, "an inter-VM channel");
_Static_assert(offsetof(struct zone_layout_head, cpus) == 8, "cpus");
_Static_assert(offsetof(struct zone_layout_head, nregions) == 16, "number of regions");
_Static_assert(offsetof(struct zone_layout_head, region) == 24, "regions");
_Static_assert(offsetof(struct zone_layout_head, interrupts) == 2072, "interrupts");
_Static_assert(offsetof(struct zone_layout_head, nivcs) == 2200, "number of channels");
_Static_assert(offsetof(struct zone_layout_head, ivc) == 2208, "channels");
_Static_assert(offsetof(struct zone_layout_head, entry_point) == 2288, "entry point");
_Static_assert(offsetof(struct zone_layout_head, name) == 2328, "name");
_Static_assert(sizeof(struct zone_layout_head) == 2360, "what all configurations begin with");
_Static_assert(offsetof(struct zone_layout_pci_bus, bus_range_begin) == 88, "bus range");
_Static_assert(sizeof(struct zone_layout_pci_bus) == 104, "a PCI bus");
_Static_assert(sizeof(struct zone_layout_pci_device_v5) == 8, "a PCI device");
_Static_assert(offsetof(struct zone_layout_pci_device_v6, dev_type) == 8, "a PCI device's type");
_Static_assert(sizeof(struct zone_layout_pci_device_v6) == 12, "a PCI device");
_Static_assert(sizeof(struct zone_layout_pci_v5) == 688, "PCI");
_Static_assert(sizeof(struct zone_layout_pci_v6) == 816, "PCI");
_Static_assert(offsetof(struct zone_layout_arch_arm64, gic) == 8, "interrupt controller");
_Static_assert(offsetof(struct zone_layout_arch_arm64, gicv3) == 16, "interrupt controller");
_Static_assert(sizeof(struct zone_layout_arch_arm64) == 88, "arm64");
_Static_assert(sizeof(struct zone_layout_uefi) == 32, "UEFI");
_Static_assert(sizeof(struct zone_layout_arch_x86_64) == 88, "x86_64");
_Static_assert(offsetof(struct zone_layout_arm64_v5, arch) == 2360, "arm64, version 5");
_Static_assert(offsetof(struct zone_layout_arm64_v5, pci) == 2448, "arm64, version 5");
_Static_assert(sizeof(struct zone_layout_arm64_v5) == 3136, "arm64, version 5");
_Static_assert(offsetof(struct zone_layout_arm64_v6, uefi) == 2448, "arm64, version 6");
_Static_assert(offsetof(struct zone_layout_arm64_v6, pci) == 2480, "arm64, version 6");
_Static_assert(sizeof(struct zone_layout_arm64_v6) == 3296, "arm64, version 6");
_Static_assert(offsetof(struct zone_layout_riscv64_v5, pci) == 2392, "riscv64, version 5");
_Static_assert(sizeof(struct zone_layout_riscv64_v5) == 3080, "riscv64, version 5");
_Static_assert(sizeof(struct zone_layout_riscv64_v6) == 3208, "riscv64, version 6");
_Static_assert(offsetof(struct zone_layout_loongarch64_v5, pci) == 2368, "loongarch64, version 5");
_Static_assert(sizeof(struct zone_layout_loongarch64_v5) == 3056, "loongarch64, version 5");
_Static_assert(sizeof(struct zone_layout_loongarch64_v6) == 3184, "loongarch64, version 6");
_Static_assert(offsetof(struct zone_layout_x86_64_v5, pci) == 2448, "x86_64, version 5");
_Static_assert(sizeof(struct zone_layout_x86_64_v5) == 3136, "x86_64, version 5");
_Static_assert(sizeof(struct zone_layout_x86_64_v6) == 3264, "x86_64, version 6");

#define ZONE_LAYOUT_VERSION_MIN 5u
#define ZONE_LAYOUT_VERSION_MAX 6u

/* Any of them. */
union zone_layout {
	struct zone_layout_head head;
	struct zone_layout_arm64_v5 arm64_v5;
	struct zone_layout_arm64_v6 arm64_v6;
	struct zone_layout_riscv64_v5 riscv64_v5;
	struct zone_layout_riscv64_v6 riscv64_v6;
	struct zone_layout_loongarch64_v5 loongarch64_v5;
	struct zone_layout_loongarch64_v6 loongarch64_v6;
	struct zone_layout_x86_64_v5 x86_64_v5;
	struct zone_layout_x86_64_v6 x86_64_v6;
};

/*
 * Lays the zone out for hvisor's version of the configuration. Returns how many bytes of layout it has; 0 with a line
 * in errors if the version is not known, or has no place for what the zone file asks for.
 */
size_t zone_layout_fill(union zone_layout *layout, const struct zone_file *zone, uint64_t version,
			struct errors *errors);

#endif
