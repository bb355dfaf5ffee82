/* SPDX-License-Identifier: MIT */
/*
 * The zone file: how a zone is made and started. Upstream's format (docs/zone.json.5), read as strictly as
 * virtio_cfg.json: every error of the file is reported at once with its place and what would be right.
 */
#ifndef HVISOR_ZONE_FILE_H
#define HVISOR_ZONE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "kmod/hvisor_uapi.h"

/* What hvisor's configuration has room for. */
#define ZONE_REGIONS_MAX 64u
#define ZONE_INTERRUPTS_MAX 1024u
#define ZONE_IVCS_MAX 2u
#define ZONE_PCI_BUSES_MAX 4u
#define ZONE_PCI_DEVICES_MAX 32u
#define ZONE_NAME_MAX 32u
#define ZONE_MODULES_MAX 16u

#define ZONE_NONE UINT64_MAX /* an address that is not given */

enum zone_arch {
	ZONE_ARM64,
	ZONE_RISCV64,
	ZONE_LOONGARCH64,
	ZONE_X86_64,
	ZONE_ARCHS,
};

enum zone_region_type {
	ZONE_RAM,
	ZONE_IO,
	ZONE_VIRTIO,
};

/* size 0: not given or wrong; its place in the array is its place in the file. */
struct zone_region {
	uint32_t type; /* enum zone_region_type */
	uint64_t physical; /* as root sees it */
	uint64_t virtual; /* as the zone sees it */
	uint64_t size;
};

enum zone_image_kind {
	ZONE_KERNEL,
	ZONE_DTB,
	ZONE_BOOT, /* this and the next three: x86_64 */
	ZONE_SETUP,
	ZONE_CMDLINE,
	ZONE_INITRD,
	ZONE_MODULE, /* the first of ZONE_MODULES_MAX */
	ZONE_IMAGES = ZONE_MODULE + ZONE_MODULES_MAX,
};

/* What is put into the zone's memory before it starts. */
struct zone_image {
	char *path; /* NULL: nothing is loaded; for the command line its text */
	uint64_t load; /* where root sees that memory */
	uint64_t virtual; /* where the zone is told that it is, or ZONE_NONE; x86_64 only */
	unsigned char *data; /* read by zone_images_read() */
	uint64_t size;
};

struct zone_ivc {
	uint32_t id;
	uint32_t peer;
	uint64_t control_table;
	uint64_t shared_memory;
	uint32_t rw_size;
	uint32_t out_size;
	uint32_t interrupt;
	uint32_t peers_max;
};

struct zone_pci_bus {
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
	uint32_t bus_begin;
	uint32_t bus_end;
	uint32_t domain;
};

struct zone_pci_device {
	uint32_t domain;
	uint32_t bus;
	uint32_t device;
	uint32_t function;
	uint32_t v_bus; /* where the zone sees it: the same unless given */
	uint32_t v_device;
	uint32_t v_function;
	uint32_t type;
};

struct zone_gic {
	uint32_t version; /* 2 or 3 */
	uint64_t gicd_base;
	uint64_t gicd_size;
	uint64_t gicr_base; /* version 3 */
	uint64_t gicr_size;
	uint64_t gits_base;
	uint64_t gits_size;
	uint64_t gicc_base; /* version 2 */
	uint64_t gicc_size;
	uint64_t gicc_offset;
	uint64_t gich_base;
	uint64_t gich_size;
	uint64_t gicv_base;
	uint64_t gicv_size;
};

struct zone_arm64 {
	bool aarch32;
	struct zone_gic gic;
	uint64_t memory_map_addr; /* UEFI; ZONE_NONE: the zone has none */
	uint64_t memory_map_size;
	uint64_t sys_map_addr;
};

struct zone_riscv64 {
	uint64_t plic_base;
	uint64_t plic_size;
	uint64_t aplic_base;
	uint64_t aplic_size;
};

struct zone_x86_64 {
	uint64_t ioapic_base;
	uint64_t ioapic_size;
	uint64_t kernel_entry_gpa;
	uint64_t rsdp_memory_region_id;
	uint64_t acpi_memory_region_id;
	uint64_t uefi_memory_region_id;
	uint64_t screen_base;
};

struct zone_file {
	const char *path; /* the caller's */
	enum zone_arch arch;
	char name[ZONE_NAME_MAX];
	uint32_t id;
	uint64_t cpus; /* bit n: CPU n */
	uint32_t nregions;
	struct zone_region region[ZONE_REGIONS_MAX];
	uint32_t interrupts[ZONE_INTERRUPTS_MAX / 32]; /* bit n % 32 of word n / 32: interrupt n */
	uint32_t nivcs;
	struct zone_ivc ivc[ZONE_IVCS_MAX];
	uint64_t entry_point; /* as the zone sees it */
	struct zone_image image[ZONE_IMAGES];
	struct zone_arm64 arm64;
	struct zone_riscv64 riscv64;
	uint64_t loongarch64_dummy;
	struct zone_x86_64 x86_64;
	uint32_t nbuses;
	struct zone_pci_bus bus[ZONE_PCI_BUSES_MAX];
	uint32_t ndevices;
	struct zone_pci_device device[ZONE_PCI_DEVICES_MAX];
};

/* The architecture that this program was built for; ZONE_ARCHS if hvisor does not exist for it. */
enum zone_arch zone_arch_native(void);

/* "arm64". */
const char *zone_arch_name(enum zone_arch arch);

/* By any name that upstream's files use ("aarch64" too); ZONE_ARCHS if it is none. */
enum zone_arch zone_arch_find(const char *name);

/*
 * Reads path, a file for arch. Returns 0 and fills zone, which zone_file_finish() frees; or -1 with at least one line
 * in errors and nothing to free. No other file is looked at.
 */
int zone_file_read(struct zone_file *zone, const char *path, enum zone_arch arch, struct errors *errors);
void zone_file_finish(struct zone_file *zone);

/* The keys of an image in the zone file: "kernel_filepath", "kernel_load_paddr". Returns buffer. */
#define ZONE_KEY_MAX 48
const char *zone_image_key(char buffer[ZONE_KEY_MAX], uint32_t image);
const char *zone_image_load_key(char buffer[ZONE_KEY_MAX], uint32_t image);

bool zone_has_interrupt(const struct zone_file *zone, uint32_t interrupt);

/*
 * Where the zone sees it. hvisor puts a virtio region where physical_start says and does not look at the other
 * (mmio_region_register() in the zone.rs of each of its architectures), and upstream has files where they differ.
 */
uint64_t zone_region_virtual(const struct zone_region *region);

/*
 * Is all of [physical, physical + size) RAM of the zone, and in one piece where the zone sees it? If so *virtual (may
 * be NULL) is where it begins there.
 */
bool zone_ram_physical(const struct zone_file *zone, uint64_t physical, uint64_t size, uint64_t *virtual);

/* Is all of [virtual, virtual + size) RAM, as the zone sees it? */
bool zone_ram_virtual(const struct zone_file *zone, uint64_t virtual, uint64_t size);

/*
 * Reads the files of all images into memory and checks them: they are there, fit into the zone's RAM and do not
 * overlap, and the kernel is one that can run. Returns 0, or -1 with lines in errors; notes gets what is only
 * suspicious.
 */
int zone_images_read(struct zone_file *zone, struct errors *errors, struct errors *notes);

#endif
