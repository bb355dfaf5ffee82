/* SPDX-License-Identifier: MIT */
/* The files of a zone for tests: a zone file, a kernel with the header of a Linux Image, a device tree. */
#ifndef HVISOR_ZONE_FILES_H
#define HVISOR_ZONE_FILES_H

#include <libfdt.h>

#include "tests/unit/launcher_run.h"

/* Of hvisor's aarch64/qemu-gicv3 board, with RAM that the zone sees elsewhere than root. */
#define ZONE_FILE_TEXT                                                                                                 \
	"{'arch': 'arm64', 'name': 'linux2', 'zone_id': 1, 'cpus': [2, 3], 'memory_regions': ["                        \
	"{'type': 'ram', 'physical_start': '0x50000000', 'virtual_start': '0x40000000', 'size': '0x10000000'}, "       \
	"{'type': 'io', 'physical_start': '0x9000000', 'virtual_start': '0x9000000', 'size': 4096}, "                  \
	"{'type': 'virtio', 'physical_start': '0xa003800', 'virtual_start': '0xa003800', 'size': '0x200'}, "           \
	"{'type': 'virtio', 'physical_start': '0xa003c00', 'virtual_start': '0xa003c00', 'size': '0x200'}], "          \
	"'interrupts': [76, '0x4e'], 'ivc_configs': [], 'kernel_filepath': './Image', 'dtb_filepath': './zone.dtb', "  \
	"'kernel_load_paddr': '0x50400000', 'dtb_load_paddr': '0x50000000', 'entry_point': '0x40400000', "             \
	"'arch_config': {'gic_version': 'v3', 'gicd_base': '0x8000000', 'gicd_size': '0x10000', "                      \
	"'gicr_base': '0x80a0000', 'gicr_size': '0xf60000', 'is_aarch32': false}}"

#define VIRTIO_FILE_TEXT                                                                                               \
	"{'zones': [{'id': 1, 'memory_region': [{'zone0_ipa': '0x50000000', 'zonex_ipa': '0x40000000', "               \
	"'size': '0x10000000'}], 'devices': [{'type': 'blk', 'addr': '0xa003c00', 'len': '0x200', 'irq': 78, "         \
	"'img': 'disk.img'}, {'type': 'rng', 'addr': '0xa003800', 'len': '0x200', 'irq': 76}]}]}"

/* text with ' in the place of ", as file name, after pairs of from and to, up to a NULL, have been replaced once each.
 */
static inline void zone_write_json(const char *name, const char *text, const char *const *edits)
{
	static char now[65536];
	static char next[65536];
	char *at;

	snprintf(now, sizeof(now), "%s", text);
	for (; edits && edits[0]; edits += 2) {
		at = strstr(now, edits[0]);
		if (!at)
			TEST_FAIL("not in the text: %s", edits[0]);
		snprintf(next, sizeof(next), "%.*s%s%s", (int)(at - now), now, edits[1], at + strlen(edits[0]));
		memcpy(now, next, sizeof(now));
	}
	while ((at = strchr(now, '\'')))
		*at = '"';
	launcher_write(name, now);
}

#define ZONE_JSON(...) zone_write_json("zone.json", ZONE_FILE_TEXT, (const char *const[]){__VA_ARGS__, NULL, NULL})
#define VIRTIO_JSON(...)                                                                                               \
	zone_write_json("virtio.json", VIRTIO_FILE_TEXT, (const char *const[]){__VA_ARGS__, NULL, NULL})

static inline void zone_write_bytes(const char *name, const void *bytes, size_t len)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, bytes, len), len);
	close(fd);
}

/* A file of size bytes that are not all the same, with the header of a Linux Image for arm64. */
static inline void zone_write_image(const char *name, size_t size, uint64_t image_size, uint64_t text_offset)
{
	unsigned char *bytes = malloc(size);
	size_t i;

	CHECK(bytes);
	for (i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 251);
	memcpy(bytes + 8, &text_offset, 8);
	memcpy(bytes + 16, &image_size, 8);
	memcpy(bytes + 56, "ARMd", 4);
	zone_write_bytes(name, bytes, size);
	free(bytes);
}

struct zone_tree_window {
	uint64_t base;
	uint64_t size;
	uint32_t kind; /* 0 SPI, 1 PPI */
	uint32_t number;
	const char *status; /* NULL: none */
};

struct zone_tree {
	uint64_t memory_base;
	uint64_t memory_size; /* 0: no memory node */
	uint32_t interrupt_cells; /* 0: 3, of a GIC; 1: a PLIC, interrupts without their kind */
	uint32_t nwindows;
	struct zone_tree_window window[4];
};

/* What fits the files above. */
static inline struct zone_tree zone_tree_good(void)
{
	return (struct zone_tree){.memory_base = 0x40000000,
				  .memory_size = 0x10000000,
				  .nwindows = 2,
				  .window = {{0xa003800, 0x200, 0, 44, NULL}, {0xa003c00, 0x200, 0, 46, NULL}}};
}

static inline void zone_tree_reg(void *fdt, uint64_t base, uint64_t size)
{
	fdt64_t reg[2] = {cpu_to_fdt64(base), cpu_to_fdt64(size)};

	CHECK_INT(fdt_property(fdt, "reg", reg, sizeof(reg)), 0);
}

static inline void zone_tree_window_node(void *fdt, const struct zone_tree *tree, const struct zone_tree_window *window)
{
	fdt32_t interrupt[3] = {cpu_to_fdt32(window->kind), cpu_to_fdt32(window->number), cpu_to_fdt32(1)};
	int first = tree->interrupt_cells == 1 ? 1 : 0;
	int ncells = tree->interrupt_cells == 1 ? 1 : 3;
	char name[40];

	snprintf(name, sizeof(name), "virtio_mmio@%llx", (unsigned long long)window->base);
	CHECK_INT(fdt_begin_node(fdt, name), 0);
	CHECK_INT(fdt_property_string(fdt, "compatible", "virtio,mmio"), 0);
	zone_tree_reg(fdt, window->base, window->size);
	CHECK_INT(fdt_property(fdt, "interrupts", &interrupt[first], ncells * (int)sizeof(fdt32_t)), 0);
	if (window->status)
		CHECK_INT(fdt_property(fdt, "status", window->status, (int)strlen(window->status) + 1), 0);
	CHECK_INT(fdt_end_node(fdt), 0);
}

/* Makes the tree in buffer; returns its size. */
static inline size_t zone_tree_make(const struct zone_tree *tree, void *buffer, size_t size)
{
	uint32_t i;

	CHECK_INT(fdt_create(buffer, (int)size), 0);
	CHECK_INT(fdt_finish_reservemap(buffer), 0);
	CHECK_INT(fdt_begin_node(buffer, ""), 0);
	CHECK_INT(fdt_property_u32(buffer, "#address-cells", 2), 0);
	CHECK_INT(fdt_property_u32(buffer, "#size-cells", 2), 0);
	CHECK_INT(fdt_property_u32(buffer, "interrupt-parent", 1), 0);
	if (tree->memory_size) {
		CHECK_INT(fdt_begin_node(buffer, "memory"), 0);
		CHECK_INT(fdt_property_string(buffer, "device_type", "memory"), 0);
		zone_tree_reg(buffer, tree->memory_base, tree->memory_size);
		CHECK_INT(fdt_end_node(buffer), 0);
	}
	CHECK_INT(fdt_begin_node(buffer, "intc"), 0);
	CHECK_INT(fdt_property_string(buffer, "compatible", "arm,gic-v3"), 0);
	CHECK_INT(fdt_property_u32(buffer, "#interrupt-cells", tree->interrupt_cells ? tree->interrupt_cells : 3), 0);
	CHECK_INT(fdt_property_u32(buffer, "phandle", 1), 0);
	CHECK_INT(fdt_end_node(buffer), 0);
	for (i = 0; i < tree->nwindows; i++)
		zone_tree_window_node(buffer, tree, &tree->window[i]);
	CHECK_INT(fdt_end_node(buffer), 0);
	CHECK_INT(fdt_finish(buffer), 0);
	return fdt_totalsize(buffer);
}

static inline void zone_write_tree(const struct zone_tree *tree)
{
	static char buffer[16384];

	zone_write_bytes("zone.dtb", buffer, zone_tree_make(tree, buffer, sizeof(buffer)));
}

/* All of them in a folder of the test's own, fitting each other. */
static inline void zone_enter_folder(void)
{
	struct zone_tree tree = zone_tree_good();

	launcher_enter_folder();
	ZONE_JSON(NULL, NULL);
	VIRTIO_JSON(NULL, NULL);
	zone_write_image("Image", 300000, 0x100000, 0);
	zone_write_tree(&tree);
	launcher_write("disk.img", "");
	CHECK_INT(truncate("disk.img", 1 << 20), 0);
}

#endif
