/* SPDX-License-Identifier: MIT */
#include "zone_dtb.h"

#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_reader.h"

#define CELLS_MAX 16u /* of an interrupt specifier or an address, more than any binding has */
#define PATH_WORD 256
#define DTB_ARM64_MAX (2u << 20) /* Documentation/arch/arm64/booting.rst */
#define GIC_SPI 0u
#define GIC_PPI 1u
#define GIC_SPI_FIRST 32u
#define GIC_PPI_FIRST 16u

struct tree {
	const struct zone_file *zone;
	const void *fdt;
	struct errors *errors;
};

/* A virtio,mmio node. */
struct tree_window {
	int node;
	uint64_t base;
	uint64_t size; /* 0: its reg cannot be read */
	bool has_interrupt;
	uint32_t interrupt; /* as the zone file counts */
};

/* "FILE: /node: text"; node -1: of the tree as a whole. */
static void complain(const struct tree *tree, struct errors *errors, int node, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void complain(const struct tree *tree, struct errors *errors, int node, const char *format, ...)
{
	char path[PATH_WORD] = "";
	char word[CONFIG_WORD_MAX];
	char file[CONFIG_WORD_MAX];
	char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (node >= 0 && fdt_get_path(tree->fdt, node, path, sizeof(path)) != 0)
		snprintf(path, sizeof(path), "a node");
	errors_add(errors, "%s: %s%s%s", config_word(file, tree->zone->image[ZONE_DTB].path), config_word(word, path),
		   path[0] ? ": " : "", text ? text : "no memory");
	free(text);
}

/* A number of ncells cells; false if it is too big for us. */
static bool read_cells(const fdt32_t *cell, int ncells, uint64_t *out)
{
	int i;

	*out = 0;
	for (i = 0; i < ncells; i++) {
		if (*out >> 32)
			return false;
		*out = *out << 32 | fdt32_ld(&cell[i]);
	}
	return true;
}

/* How many ranges the reg of node has; 0 or -1 if it has none or cannot be read. */
static int reg_count(const struct tree *tree, int node, int *address_cells, int *size_cells)
{
	int parent = fdt_parent_offset(tree->fdt, node);
	int len = 0;

	if (parent < 0 || !fdt_getprop(tree->fdt, node, "reg", &len))
		return 0;
	*address_cells = fdt_address_cells(tree->fdt, parent);
	*size_cells = fdt_size_cells(tree->fdt, parent);
	if (*address_cells < 1 || *size_cells < 1 || len % ((*address_cells + *size_cells) * (int)sizeof(fdt32_t)) != 0)
		return -1;
	return len / ((*address_cells + *size_cells) * (int)sizeof(fdt32_t));
}

/* Range n of those. A window behind a bus with ranges is given by the bus's addresses; hvisor's trees have none. */
static bool reg_get(const struct tree *tree, int node, int n, uint64_t *base, uint64_t *size)
{
	int address_cells;
	int size_cells;
	const fdt32_t *cell;

	if (n >= reg_count(tree, node, &address_cells, &size_cells))
		return false;
	cell = fdt_getprop(tree->fdt, node, "reg", NULL);
	cell += n * (address_cells + size_cells);
	return read_cells(cell, address_cells, base) && read_cells(cell + address_cells, size_cells, size) &&
	       (*size == 0 || *base + (*size - 1) >= *base);
}

static bool is_enabled(const struct tree *tree, int node)
{
	int len = 0;
	const char *status = fdt_getprop(tree->fdt, node, "status", &len);

	return !status || (len == 5 && memcmp(status, "okay", 5) == 0) || (len == 3 && memcmp(status, "ok", 3) == 0);
}

/* The interrupt controller of node: where its property interrupt-parent points, or that of a node above. */
static int interrupt_parent(const struct tree *tree, int node)
{
	const fdt32_t *cell;
	int len;

	while (node >= 0) {
		cell = fdt_getprop(tree->fdt, node, "interrupt-parent", &len);
		if (cell && len == (int)sizeof(*cell))
			return fdt_node_offset_by_phandle(tree->fdt, fdt32_ld(cell));
		node = fdt_parent_offset(tree->fdt, node);
	}
	return -1;
}

/* The first interrupt of node as hvisor counts: a GIC's SPI n is 32 + n. */
static bool interrupt_get(const struct tree *tree, int node, uint32_t *interrupt)
{
	int parent = interrupt_parent(tree, node);
	const fdt32_t *cells;
	const fdt32_t *count;
	uint32_t ncells;
	int count_len = 0;
	int len = 0;

	cells = fdt_getprop(tree->fdt, node, "interrupts", &len);
	if (!cells) {
		cells = fdt_getprop(tree->fdt, node, "interrupts-extended", &len);
		if (!cells || len < (int)sizeof(*cells))
			return false;
		parent = fdt_node_offset_by_phandle(tree->fdt, fdt32_ld(cells));
		cells++;
		len -= (int)sizeof(*cells);
	}
	count = parent >= 0 ? fdt_getprop(tree->fdt, parent, "#interrupt-cells", &count_len) : NULL;
	ncells = count && count_len == (int)sizeof(*count) ? fdt32_ld(count) : 0;
	if (ncells == 0 || ncells > CELLS_MAX || len < (int)(ncells * sizeof(*cells)))
		return false;
	if (ncells < 3) {
		*interrupt = fdt32_ld(&cells[0]); /* PLIC, APLIC */
		return true;
	}
	*interrupt = fdt32_ld(&cells[1]);
	if (*interrupt >= ZONE_INTERRUPTS_MAX)
		return false;
	if (fdt32_ld(&cells[0]) == GIC_SPI)
		*interrupt += GIC_SPI_FIRST;
	else if (fdt32_ld(&cells[0]) == GIC_PPI)
		*interrupt += GIC_PPI_FIRST;
	else
		return false;
	return true;
}

static int next_window(const struct tree *tree, int node, struct tree_window *window)
{
	do
		node = fdt_node_offset_by_compatible(tree->fdt, node, "virtio,mmio");
	while (node >= 0 && !is_enabled(tree, node));
	*window = (struct tree_window){.node = node};
	if (node < 0)
		return node;
	if (!reg_get(tree, node, 0, &window->base, &window->size))
		window->size = 0;
	window->has_interrupt = interrupt_get(tree, node, &window->interrupt);
	return node;
}

/* The regions of type as the zone sees them, or as root does, in a few words. */
static const char *list_regions(char *buffer, size_t size, const struct zone_file *zone, enum zone_region_type type,
				bool root)
{
	char range[CONFIG_RANGE_MAX];
	size_t at = 0;
	uint32_t i;

	snprintf(buffer, size, "none");
	for (i = 0; i < zone->nregions && at < size; i++) {
		if (zone->region[i].type == (uint32_t)type)
			at += (size_t)snprintf(
				buffer + at, size - at, "%s%s", at ? ", " : "",
				config_range(range,
					     root ? zone->region[i].physical : zone_region_virtual(&zone->region[i]),
					     zone->region[i].size));
	}
	return buffer;
}

static const char *list_interrupts(char *buffer, size_t size, const struct zone_file *zone)
{
	size_t at = 0;
	uint32_t n;

	snprintf(buffer, size, "none");
	for (n = 0; n < ZONE_INTERRUPTS_MAX && at < size; n++) {
		if (zone_has_interrupt(zone, n))
			at += (size_t)snprintf(buffer + at, size - at, "%s%u", at ? ", " : "", n);
	}
	return buffer;
}

static bool in_virtio_region(const struct zone_file *zone, uint64_t base, uint64_t size)
{
	uint32_t i;

	for (i = 0; i < zone->nregions; i++) {
		const struct zone_region *region = &zone->region[i];

		if (region->type == ZONE_VIRTIO && base >= region->physical && base - region->physical < region->size &&
		    size <= region->size - (base - region->physical))
			return true;
	}
	return false;
}

static void check_memory_node(const struct tree *tree, int node)
{
	char range[CONFIG_RANGE_MAX];
	char list[512];
	int address_cells;
	int size_cells;
	int n = reg_count(tree, node, &address_cells, &size_cells);
	uint64_t base;
	uint64_t size;
	int i;

	if (n <= 0) {
		complain(tree, tree->errors, node, "its reg cannot be read; it must say where the memory is");
		return;
	}
	for (i = 0; i < n; i++) {
		if (!reg_get(tree, node, i, &base, &size)) {
			complain(tree, tree->errors, node, "range %d of its reg goes past the end of all addresses", i);
		} else if (size && !zone_ram_virtual(tree->zone, base, size)) {
			complain(tree, tree->errors, node,
				 "says that %s is memory, but the ram regions of %s are %s as the zone sees them",
				 config_range(range, base, size), tree->zone->path,
				 list_regions(list, sizeof(list), tree->zone, ZONE_RAM, false));
		}
	}
}

static void check_memory(const struct tree *tree)
{
	int node = -1;
	int n = 0;

	while ((node = fdt_node_offset_by_prop_value(tree->fdt, node, "device_type", "memory", sizeof("memory"))) >=
	       0) {
		if (!is_enabled(tree, node))
			continue;
		check_memory_node(tree, node);
		n++;
	}
	if (n == 0)
		complain(tree, tree->errors, -1, "has no memory node (device_type = \"memory\"); Linux needs one");
}

static void check_window(const struct tree *tree, const struct tree_window *window)
{
	char range[CONFIG_RANGE_MAX];
	char list[512];

	if (!window->size) {
		complain(tree, tree->errors, window->node,
			 "its reg cannot be read; it must be the window of a virtio device");
	} else if (!in_virtio_region(tree->zone, window->base, window->size)) {
		complain(tree, tree->errors, window->node,
			 "its window is %s, but the virtio regions of %s are %s; a driver that looks there stops the "
			 "zone",
			 config_range(range, window->base, window->size), tree->zone->path,
			 list_regions(list, sizeof(list), tree->zone, ZONE_VIRTIO, false));
	}
	if (!window->has_interrupt)
		complain(tree, tree->errors, window->node, "its interrupt cannot be read; it must have one");
	else if (!zone_has_interrupt(tree->zone, window->interrupt))
		complain(tree, tree->errors, window->node, "its interrupt is %u%s, but the interrupts of %s are %s",
			 window->interrupt,
			 tree->zone->arch == ZONE_ARM64 ? " as hvisor counts (32 more than the number of an SPI)" : "",
			 tree->zone->path, list_interrupts(list, sizeof(list), tree->zone));
}

/* Is it a tree that can be looked into? */
static bool check_form(const struct tree *tree)
{
	const struct zone_image *image = &tree->zone->image[ZONE_DTB];
	int error;

	if (image->size < sizeof(struct fdt_header) || (error = fdt_check_header(image->data)) == -FDT_ERR_BADMAGIC) {
		/* There Linux takes ACPI, and the file is a stopgap. */
		if (tree->zone->arch == ZONE_LOONGARCH64)
			return false;
		complain(tree, tree->errors, -1, "is no device tree (dtc makes one of a .dts file)");
		return false;
	}
	if (error == 0 && fdt_totalsize(image->data) > image->size) {
		complain(tree, tree->errors, -1, "is cut off: it has %llu bytes, its header says %u",
			 (unsigned long long)image->size, fdt_totalsize(image->data));
		return false;
	}
	if (error == 0)
		error = fdt_check_full(image->data, image->size);
	if (error) {
		complain(tree, tree->errors, -1, "is damaged: %s", fdt_strerror(error));
		return false;
	}
	if (image->load % 8 != 0)
		complain(tree, tree->errors, -1, "is loaded to 0x%llx (dtb_load_paddr); that must be a multiple of 8",
			 (unsigned long long)image->load);
	if (tree->zone->arch == ZONE_ARM64 && fdt_totalsize(image->data) > DTB_ARM64_MAX)
		complain(tree, tree->errors, -1, "has %u bytes; Linux takes up to %u", fdt_totalsize(image->data),
			 DTB_ARM64_MAX);
	return true;
}

size_t zone_dtb_check(const struct zone_file *zone, struct errors *errors)
{
	struct tree tree = {.zone = zone, .fdt = zone->image[ZONE_DTB].data, .errors = errors};
	size_t before = errors->count;
	struct tree_window window = {.node = -1};

	if (!tree.fdt)
		return 0;
	if (check_form(&tree)) {
		check_memory(&tree);
		while (next_window(&tree, window.node, &window) >= 0)
			check_window(&tree, &window);
	}
	return errors->count - before;
}

/* A device of the virtio file against the tree. */
static void check_device_node(const struct tree *tree, const struct config *virtio, const struct config_window *device)
{
	struct tree_window window = {.node = -1};

	while (next_window(tree, window.node, &window) >= 0) {
		if (!window.size || window.base != device->base)
			continue;
		if (window.size != device->size)
			complain(tree, tree->errors, window.node,
				 "its window has 0x%llx bytes, but len of %s in %s (%s) is 0x%llx",
				 (unsigned long long)window.size, device->name, virtio->path, device->place,
				 (unsigned long long)device->size);
		if (window.has_interrupt && window.interrupt != device->irq)
			complain(tree, tree->errors, window.node,
				 "its interrupt is %u as hvisor counts, but irq of %s in %s (%s) is %u",
				 window.interrupt, device->name, virtio->path, device->place, device->irq);
		return;
	}
	complain(tree, tree->errors, -1, "has no virtio,mmio node at 0x%llx, where %s of %s is (%s)",
		 (unsigned long long)device->base, device->name, virtio->path, device->place);
}

/* The nodes of the tree that no device answers: their driver finds an absent device. */
static void note_absent(const struct tree *tree, const struct config *virtio, struct errors *notes)
{
	struct tree_window window = {.node = -1};
	uint32_t i;

	while (next_window(tree, window.node, &window) >= 0) {
		for (i = 0; i < virtio->nwindows; i++) {
			if (virtio->window[i].zone == tree->zone->id && virtio->window[i].base == window.base)
				break;
		}
		if (window.size && i == virtio->nwindows)
			complain(tree, notes, window.node,
				 "%s has no enabled device of zone %u at 0x%llx; its driver finds nothing there",
				 virtio->path, tree->zone->id, (unsigned long long)window.base);
	}
}

/* A device of the virtio file against the zone file. */
static void check_device(const struct zone_file *zone, const struct config *virtio, const struct config_window *device,
			 struct errors *errors)
{
	char range[CONFIG_RANGE_MAX];
	char list[512];

	if (!in_virtio_region(zone, device->base, device->size))
		errors_add(errors, "%s: %s: the window of %s is %s, but the virtio regions of %s are %s", virtio->path,
			   device->place, device->name, config_range(range, device->base, device->size), zone->path,
			   list_regions(list, sizeof(list), zone, ZONE_VIRTIO, false));
	/* On x86_64 hvisor does not look at the interrupts, and files have none. */
	if (zone->arch != ZONE_X86_64 && !zone_has_interrupt(zone, device->irq))
		errors_add(errors, "%s: %s: irq of %s is %u, but the interrupts of %s are %s", virtio->path,
			   device->place, device->name, device->irq, zone->path,
			   list_interrupts(list, sizeof(list), zone));
}

static void check_backend_memory(const struct zone_file *zone, const struct config *virtio,
				 const struct config_zone *config, struct errors *errors)
{
	char mine[CONFIG_RANGE_MAX];
	char list[512];
	uint64_t virtual;
	uint32_t i;

	for (i = 0; i < config->nmemory; i++) {
		const struct hvisor_memory *memory = &config->memory[i];

		if (!zone_ram_physical(zone, memory->zone0_ipa, memory->size, &virtual))
			errors_add(errors,
				   "%s: a memory_region of zone %u is %s as root sees it, but the ram regions of %s "
				   "are %s",
				   virtio->path, config->id, config_range(mine, memory->zone0_ipa, memory->size),
				   zone->path, list_regions(list, sizeof(list), zone, ZONE_RAM, true));
		else if (virtual != memory->zonex_ipa)
			errors_add(
				errors,
				"%s: a memory_region of zone %u has zone0_ipa 0x%llx and zonex_ipa 0x%llx, but by %s "
				"the zone sees it at 0x%llx",
				virtio->path, config->id, (unsigned long long)memory->zone0_ipa,
				(unsigned long long)memory->zonex_ipa, zone->path, (unsigned long long)virtual);
	}
}

size_t zone_virtio_check(const struct zone_file *zone, const struct config *virtio, struct errors *errors,
			 struct errors *notes)
{
	struct errors form; /* zone_dtb_check() has them already */
	struct tree tree = {.zone = zone, .fdt = zone->image[ZONE_DTB].data, .errors = &form};
	size_t before = errors->count;
	bool found = false;
	bool has_tree;
	uint32_t i;

	errors_init(&form);
	has_tree = tree.fdt && check_form(&tree);
	errors_finish(&form);
	tree.errors = errors;
	for (i = 0; i < virtio->nzones; i++) {
		if (virtio->zone[i].id != zone->id)
			continue;
		found = true;
		check_backend_memory(zone, virtio, &virtio->zone[i], errors);
	}
	if (!found) {
		errors_add(errors, "%s: has no zone %u, which is the zone of %s", virtio->path, zone->id, zone->path);
		return 1;
	}
	for (i = 0; i < virtio->nwindows; i++) {
		if (virtio->window[i].zone != zone->id)
			continue;
		check_device(zone, virtio, &virtio->window[i], errors);
		if (has_tree)
			check_device_node(&tree, virtio, &virtio->window[i]);
	}
	if (has_tree)
		note_absent(&tree, virtio, notes);
	return errors->count - before;
}
