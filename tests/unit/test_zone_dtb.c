/* SPDX-License-Identifier: MIT */
/* Kernel images and device trees against the zone file, and both against the file of the virtio devices. */
#include "launcher/zone_dtb.h"
#include "tests/unit/zone_files.h"

static enum zone_arch arch = ZONE_ARM64;
static struct zone_file zone;
static struct errors errors;
static struct errors notes;

/* Reads zone.json and what it names, and checks the tree; virtio.json too if it is given. */
static void check_files(const char *virtio)
{
	struct config config;

	errors_finish(&errors);
	errors_finish(&notes);
	if (zone_file_read(&zone, "zone.json", arch, &errors) != 0) {
		errors_print(&errors, stderr, "");
		TEST_FAIL("the zone file was refused");
	}
	zone_images_read(&zone, &errors, &notes);
	zone_dtb_check(&zone, &errors);
	if (virtio) {
		CHECK_INT(config_read(&config, virtio, &errors), 0);
		zone_virtio_check(&zone, &config, &errors, &notes);
		config_finish(&config);
	}
	zone_file_finish(&zone);
}

static void check_line(const struct errors *lines, size_t count, const char *line)
{
	size_t i;

	for (i = 0; i < lines->count; i++) {
		if (strstr(lines->line[i], line))
			break;
	}
	if (i == lines->count || lines->count != count) {
		errors_print(lines, stderr, "got: ");
		TEST_FAIL("%zu lines; wanted %zu with: %s", lines->count, count, line);
	}
}

/* One error, which is this one. */
static void check_error(const char *line)
{
	check_files(NULL);
	check_line(&errors, 1, line);
}

static void check_good(void)
{
	check_files("virtio.json");
	if (errors.count)
		errors_print(&errors, stderr, "got: ");
	CHECK_INT(errors.count, 0);
	CHECK_INT(notes.count, 0);
}

static void test_good(void)
{
	zone_enter_folder();
	check_good();
}

static void test_kernel(void)
{
	zone_enter_folder();
	/* What the kernel needs behind its file counts: up to the end of RAM, and one byte more. */
	zone_write_image("Image", 300000, 0xfc00000, 0);
	check_good();
	zone_write_image("Image", 300000, 0xfc00001, 0);
	check_error("zone.json: kernel_filepath: \"./Image\" needs 252 MiB (264241153 bytes), but kernel_load_paddr "
		    "0x50400000 leaves less: 0x50400000-0x60000000 is not all RAM of the zone");
	zone_write_image("Image", 300000, UINT64_MAX, 0);
	check_error("is not all RAM of the zone");
	zone_write_image("Image", 300000, 0x100000, 0x80000);
	check_error("\"./Image\" must lie 0x80000 bytes above a multiple of 2 MiB, its header says, but the zone sees "
		    "kernel_load_paddr at 0x40400000");
	ZONE_JSON("'0x50400000'", "'0x50480000'", "'0x40400000'", "'0x40480000'");
	check_good();
	ZONE_JSON("'0x40400000'", "'0x40400040'");
	zone_write_image("Image", 300000, 0x100000, 0);
	check_error("\"./Image\" begins at 0x40400000 as the zone sees it, but entry_point is 0x40400040");
	ZONE_JSON(NULL, NULL);
	zone_write_bytes("Image", "\x1f\x8b\x08\x00 and so on", 14);
	check_error("\"./Image\" is compressed with gzip; hvisor loads a kernel as it is: give the plain Image");
	zone_write_bytes("Image",
			 "\x7f"
			 "ELF",
			 4);
	check_error("\"./Image\" is an ELF file");
	zone_write_bytes("Image", "MZ\0\0zimg", 8);
	check_error("\"./Image\" is a compressed EFI application");
	zone_write_bytes("Image", "\xd0\x0d\xfe\xed\0\0\0\x40", 8);
	check_error("\"./Image\" is a device tree");
	zone_write_bytes("Image", "PK\x03\x04 and so on", 14);
	check_error("\"./Image\" is a zip archive");
	/* Some other system: no error. */
	launcher_write("Image", "something");
	check_files(NULL);
	CHECK_INT(errors.count, 0);
	check_line(&notes, 1, "\"./Image\" has not the header of a Linux Image for arm64; it is loaded unchecked");
}

static void test_files(void)
{
	zone_enter_folder();
	unlink("Image");
	check_error("zone.json: kernel_filepath: \"./Image\" cannot be opened: No such file or directory");
	launcher_write("Image", "");
	check_error("\"./Image\" is empty");
	unlink("Image");
	CHECK_INT(mkdir("Image", 0700), 0);
	check_error("\"./Image\" is not a file");
	/* A file that does not fit is not even read. */
	CHECK_INT(rmdir("Image"), 0);
	launcher_write("Image", "");
	CHECK_INT(truncate("Image", 0xfc00001), 0);
	check_error("needs 252 MiB (264241153 bytes), but kernel_load_paddr 0x50400000 leaves less");
	CHECK_INT(truncate("Image", 1ll << 33), 0);
	check_error("\"./Image\" has more than 4 GiB; this is no image");
	/* No image at all is upstream's "null". */
	ZONE_JSON("./Image", "null", "./zone.dtb", "null");
	check_files(NULL);
	CHECK_INT(errors.count, 0);
}

static void test_overlaps(void)
{
	zone_enter_folder();
	ZONE_JSON("'dtb_load_paddr': '0x50000000'", "'dtb_load_paddr': '0x504ffff8'");
	check_error("dtb_filepath: \"./zone.dtb\" takes 0x504ffff8-");
	check_error("as root sees it, which overlaps 0x50400000-0x504fffff of kernel_filepath");
	ZONE_JSON("'dtb_load_paddr': '0x50000000'", "'dtb_load_paddr': '0x50500000', 'modules': [{'name': 'm', "
						    "'filepath': 'm', 'load_paddr': '0x50500010'}]");
	launcher_write("m", "module");
	check_error(
		"modules[0].filepath: \"m\" takes 0x50500010-0x50500015 as root sees it, which overlaps 0x50500000-");
}

static void test_tree_form(void)
{
	static char bytes[16384];
	struct zone_tree tree = zone_tree_good();
	size_t size = zone_tree_make(&tree, bytes, sizeof(bytes));

	zone_enter_folder();
	zone_write_bytes("zone.dtb", bytes, size - 1);
	check_error("./zone.dtb: is cut off: it has ");
	zone_write_bytes("zone.dtb", bytes, 20);
	check_error("./zone.dtb: is no device tree");
	launcher_write("zone.dtb", "/dts-v1/; / { compatible = \"a source, and not what dtc makes of it\"; };");
	check_error("./zone.dtb: is no device tree (dtc makes one of a .dts file)");
	/* The structure begins with a tag that does not exist. */
	bytes[fdt_off_dt_struct(bytes)] = 1;
	zone_write_bytes("zone.dtb", bytes, size);
	check_error("./zone.dtb: is damaged: ");
	zone_write_tree(&tree);
	ZONE_JSON("'dtb_load_paddr': '0x50000000'", "'dtb_load_paddr': '0x50000004'");
	check_error("is loaded to 0x50000004 (dtb_load_paddr); that must be a multiple of 8");
}

static void test_memory(void)
{
	struct zone_tree tree = zone_tree_good();

	zone_enter_folder();
	tree.memory_size = 0x10001000;
	zone_write_tree(&tree);
	check_error(
		"./zone.dtb: /memory: says that 0x40000000-0x50000fff is memory, but the ram regions of zone.json are "
		"0x40000000-0x4fffffff as the zone sees them");
	tree.memory_base = 0x50000000;
	tree.memory_size = 0x1000;
	zone_write_tree(&tree);
	check_error("/memory: says that 0x50000000-0x50000fff is memory");
	tree.memory_size = UINT64_MAX;
	zone_write_tree(&tree);
	check_error("/memory: range 0 of its reg goes past the end of all addresses");
	tree.memory_size = 0;
	zone_write_tree(&tree);
	check_error("./zone.dtb: has no memory node");
	/* Two regions side by side are one memory. */
	tree = zone_tree_good();
	zone_write_tree(&tree);
	ZONE_JSON("'size': '0x10000000'}", "'size': '0x8000000'}, {'type': 'ram', 'physical_start': '0x58000000', "
					   "'virtual_start': '0x48000000', 'size': '0x8000000'}");
	check_good();
}

static void test_windows(void)
{
	struct zone_tree tree = zone_tree_good();

	zone_enter_folder();
	tree.window[1].base = 0xa003a00;
	zone_write_tree(&tree);
	check_error("./zone.dtb: /virtio_mmio@a003a00: its window is 0xa003a00-0xa003bff, but the virtio regions of "
		    "zone.json are 0xa003800-0xa0039ff, 0xa003c00-0xa003dff");
	tree = zone_tree_good();
	tree.window[1].size = 0x400;
	zone_write_tree(&tree);
	check_error("/virtio_mmio@a003c00: its window is 0xa003c00-0xa003fff");
	tree = zone_tree_good();
	tree.window[1].number = 78; /* hvisor's number where the SPI's belongs */
	zone_write_tree(&tree);
	check_error(
		"/virtio_mmio@a003c00: its interrupt is 110 as hvisor counts (32 more than the number of an SPI), but "
		"the interrupts of zone.json are 76, 78");
	tree.window[1].kind = 1;
	tree.window[1].number = 62; /* a PPI is 16 higher: 78 */
	zone_write_tree(&tree);
	check_good();
	tree.window[1].kind = 2;
	zone_write_tree(&tree);
	check_error("/virtio_mmio@a003c00: its interrupt cannot be read");
	/* A node that is disabled is not looked at. */
	tree.window[1].status = "disabled";
	zone_write_tree(&tree);
	check_files(NULL);
	CHECK_INT(errors.count, 0);
}

/* virtio.json against the zone file and the tree: both values are named. */
static void test_virtio(void)
{
	struct zone_tree tree = zone_tree_good();

	zone_enter_folder();
	VIRTIO_JSON("'irq': 78", "'irq': 77");
	check_files("virtio.json");
	check_line(&errors, 2,
		   "virtio.json: zones[0].devices[0]: irq of blk0 is 77, but the interrupts of zone.json are "
		   "76, 78");
	check_line(&errors, 2,
		   "./zone.dtb: /virtio_mmio@a003c00: its interrupt is 78 as hvisor counts, but irq of blk0 in ");

	VIRTIO_JSON("'0xa003c00'", "'0xa003a00'");
	check_files("virtio.json");
	check_line(&errors, 2,
		   "zones[0].devices[0]: the window of blk0 is 0xa003a00-0xa003bff, but the virtio regions of "
		   "zone.json are 0xa003800-0xa0039ff, 0xa003c00-0xa003dff");
	check_line(&errors, 2, "./zone.dtb: has no virtio,mmio node at 0xa003a00, where blk0 of ");
	check_line(&notes, 1, "/virtio_mmio@a003c00: ");

	/* A type that is not served yet is held to it as well. */
	VIRTIO_JSON("'irq': 76", "'irq': 70");
	check_files("virtio.json");
	check_line(&errors, 2, "irq of rng0 is 70");

	VIRTIO_JSON(NULL, NULL);
	tree.window[1].size = 0x100;
	zone_write_tree(&tree);
	check_files("virtio.json");
	check_line(&errors, 1, "/virtio_mmio@a003c00: its window has 0x100 bytes, but len of blk0 in ");

	tree = zone_tree_good();
	zone_write_tree(&tree);
	VIRTIO_JSON("'zonex_ipa': '0x40000000'", "'zonex_ipa': '0x50000000'");
	check_files("virtio.json");
	check_line(&errors, 1,
		   "has zone0_ipa 0x50000000 and zonex_ipa 0x50000000, but by zone.json the zone sees it at "
		   "0x40000000");
	VIRTIO_JSON("'id': 1", "'id': 2");
	check_files("virtio.json");
	check_line(&errors, 1, "virtio.json: has no zone 1, which is the zone of zone.json");
}

#define ARM64_CONFIG                                                                                                   \
	"'arch_config': {'gic_version': 'v3', 'gicd_base': '0x8000000', 'gicd_size': '0x10000', "                      \
	"'gicr_base': '0x80a0000', 'gicr_size': '0xf60000', 'is_aarch32': false}"

/* A PLIC's interrupts have no kind and no offset; the header has another magic number. */
static void test_riscv64(void)
{
	struct zone_tree tree = zone_tree_good();

	arch = ZONE_RISCV64;
	zone_enter_folder();
	ZONE_JSON("arm64", "riscv", ARM64_CONFIG,
		  "'arch_config': {'plic_base': 1, 'plic_size': 2, 'aplic_base': 3, 'aplic_size': 4}");
	tree.interrupt_cells = 1;
	tree.window[0].number = 76;
	tree.window[1].number = 78;
	zone_write_tree(&tree);
	check_files("virtio.json");
	CHECK_INT(errors.count, 0);
	check_line(&notes, 1, "has not the header of a Linux Image for riscv64");
	tree.window[1].number = 46;
	zone_write_tree(&tree);
	check_error("/virtio_mmio@a003c00: its interrupt is 46, but the interrupts of zone.json are 76, 78");
}

/* There the file that is named need not be a tree; one that is, is checked. */
static void test_loongarch64(void)
{
	struct zone_tree tree = zone_tree_good();

	arch = ZONE_LOONGARCH64;
	zone_enter_folder();
	ZONE_JSON("arm64", "loongarch64", ARM64_CONFIG, "'arch_config': {'dummy': '0x1234'}", "'entry_point': '0x4",
		  "'entry_point': '0x900000004");
	launcher_write("zone.dtb", "anything");
	check_good();
	tree.memory_size += 4096;
	zone_write_tree(&tree);
	check_error("/memory: says that 0x40000000-0x50000fff is memory");
}

/* hvisor does not look at interrupts there, and loads no tree. */
static void test_x86_64(void)
{
	arch = ZONE_X86_64;
	zone_enter_folder();
	ZONE_JSON("arm64", "x86_64", ARM64_CONFIG,
		  "'arch_config': {'ioapic_base': 1, 'ioapic_size': 2, 'kernel_entry_gpa': 3}", "[76, '0x4e']", "[]",
		  "./zone.dtb", "");
	check_good();
	VIRTIO_JSON("'0xa003c00'", "'0xa003a00'");
	check_files("virtio.json");
	check_line(&errors, 1, "zones[0].devices[0]: the window of blk0 is 0xa003a00-0xa003bff, but");
}

/* No tree, whatever its bytes are, makes the check crash or read beyond it. */
static void test_mutations(void)
{
	static char bytes[16384];
	struct zone_tree tree = zone_tree_good();
	size_t size = zone_tree_make(&tree, bytes, sizeof(bytes));
	struct config config;
	int n;

	zone_enter_folder();
	CHECK_INT(config_read(&config, "virtio.json", &errors), 0);
	CHECK_INT(zone_file_read(&zone, "zone.json", ZONE_ARM64, &errors), 0);
	for (n = 0; n < 20000; n++) {
		struct zone_image *image = &zone.image[ZONE_DTB];
		size_t flips = 1 + test_random_below(8);

		image->size = test_random_below(8) ? size : 1 + test_random_below(size);
		image->data = malloc(image->size);
		CHECK(image->data);
		memcpy(image->data, bytes, image->size);
		while (flips--)
			image->data[test_random_below(image->size)] = (unsigned char)test_random();
		zone_dtb_check(&zone, &errors);
		zone_virtio_check(&zone, &config, &errors, &notes);
		errors_finish(&errors);
		errors_finish(&notes);
		free(image->data);
		image->data = NULL;
	}
	config_finish(&config);
	zone_file_finish(&zone);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"zone_dtb_good", test_good, 0},           {"zone_dtb_kernel", test_kernel, 0},
		{"zone_dtb_files", test_files, 0},         {"zone_dtb_overlaps", test_overlaps, 0},
		{"zone_dtb_tree_form", test_tree_form, 0}, {"zone_dtb_memory", test_memory, 0},
		{"zone_dtb_windows", test_windows, 0},     {"zone_dtb_virtio", test_virtio, 0},
		{"zone_dtb_riscv64", test_riscv64, 0},     {"zone_dtb_loongarch64", test_loongarch64, 0},
		{"zone_dtb_x86_64", test_x86_64, 0},       {"zone_dtb_mutations", test_mutations, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
