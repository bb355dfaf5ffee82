/* SPDX-License-Identifier: MIT */
/*
 * The zone configuration byte by byte: each field is looked for where hvisor's structures have it, with offsets
 * that are written down here a second time, as numbers.
 */
#include <string.h>

#include "launcher/zone_layout.h"
#include "tests/test.h"

static union zone_layout layout;
static struct errors errors;

static uint64_t u64_at(size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)&layout + offset, sizeof(value));
	return value;
}

static uint32_t u32_at(size_t offset)
{
	uint32_t value;

	memcpy(&value, (const char *)&layout + offset, sizeof(value));
	return value;
}

static uint8_t u8_at(size_t offset)
{
	return ((const uint8_t *)&layout)[offset];
}

/* A zone in which every field has a value of its own. */
static struct zone_file make_zone(enum zone_arch arch)
{
	struct zone_file zone = {
		.path = "zone.json",
		.arch = arch,
		.name = "linux2",
		.id = 7,
		.cpus = 0xc,
		.nregions = 2,
		.region = {{.type = ZONE_RAM, .physical = 0x50000000, .virtual = 0x40000000, .size = 0x30000000},
			   {.type = ZONE_VIRTIO, .physical = 0xa003c00, .virtual = 0xa003c00, .size = 0x200}},
		.nivcs = 2,
		.ivc = {{.id = 1}, {2, 3, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66}},
		.entry_point = 0x40400000,
		.arm64 = {.aarch32 = true, .memory_map_addr = ZONE_NONE},
		.riscv64 = {0x101, 0x102, 0x103, 0x104},
		.loongarch64_dummy = 0x1234,
		.x86_64 = {0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207},
		.nbuses = 2,
		.bus = {{.ecam_base = 1},
			{0x301, 0x302, 0x303, 0x304, 0x305, 0x306, 0x307, 0x308, 0x309, 0x30a, 0x30b, 0x30c, 0x30d,
			 0xe}},
		.ndevices = 2,
		.device = {{.type = 9},
			   {.domain = 1,
			    .bus = 2,
			    .device = 3,
			    .function = 4,
			    .v_bus = 2,
			    .v_device = 3,
			    .v_function = 4,
			    .type = 5}},
	};
	uint32_t i;

	for (i = 0; i < ZONE_IMAGES; i++)
		zone.image[i] = (struct zone_image){.load = ZONE_NONE, .virtual = ZONE_NONE};
	zone.image[ZONE_KERNEL] =
		(struct zone_image){.path = "k", .load = 0x50400000, .virtual = ZONE_NONE, .size = 4097};
	zone.image[ZONE_DTB] = (struct zone_image){.path = "d", .load = 0x50000000, .virtual = ZONE_NONE, .size = 4096};
	zone.image[ZONE_SETUP].virtual = 0xd000;
	zone.image[ZONE_CMDLINE].virtual = 0xc000;
	zone.image[ZONE_INITRD] = (struct zone_image){.path = "i", .load = 0, .virtual = 0x1500f000, .size = 12345};
	zone.interrupts[78 / 32] = 1u << 78 % 32;
	zone.interrupts[31] = 1u << 31;
	zone.arm64.gic = (struct zone_gic){3,     0x401, 0x402, 0x403, 0x404, 0x405, 0x406,
					   0x407, 0x408, 0x409, 0x40a, 0x40b, 0x40c, 0x40d};
	return zone;
}

static void check_head(void)
{
	CHECK_INT(u32_at(0), 7);
	CHECK_INT(u64_at(8), 0xc);
	CHECK_INT(u32_at(16), 2);
	CHECK_INT(u32_at(24), 0); /* ram */
	CHECK_INT(u64_at(32), 0x50000000);
	CHECK_INT(u64_at(40), 0x40000000);
	CHECK_INT(u64_at(48), 0x30000000);
	CHECK_INT(u32_at(56), 2); /* virtio */
	CHECK_INT(u64_at(64), 0xa003c00);
	CHECK_INT(u64_at(80), 0x200);
	CHECK_INT(u64_at(96), 0);
	CHECK_INT(u32_at(2072 + 4 * (78 / 32)), 1 << 78 % 32);
	CHECK_INT(u32_at(2072 + 4 * 31), 1u << 31);
	CHECK_INT(u32_at(2200), 2);
	CHECK_INT(u32_at(2208), 1);
	CHECK_INT(u32_at(2248), 2);
	CHECK_INT(u32_at(2252), 3);
	CHECK_INT(u64_at(2256), 0x11);
	CHECK_INT(u64_at(2264), 0x22);
	CHECK_INT(u32_at(2272), 0x33);
	CHECK_INT(u32_at(2276), 0x44);
	CHECK_INT(u32_at(2280), 0x55);
	CHECK_INT(u32_at(2284), 0x66);
	CHECK_INT(u64_at(2288), 0x40400000);
	CHECK_INT(u64_at(2296), 0x50400000);
	CHECK_INT(u64_at(2304), 8192);
	CHECK_INT(u64_at(2312), 0x50000000);
	CHECK_INT(u64_at(2320), 4096);
	CHECK_STR((const char *)&layout + 2328, "linux2");
}

/* From the number of buses on. */
static void check_pci(size_t at, uint64_t version)
{
	size_t device = at + 8 + 4 * 104 + 8 + (version == 5 ? 8 : 12);
	uint32_t i;

	CHECK_INT(u64_at(at), 2);
	CHECK_INT(u64_at(at + 8), 1);
	for (i = 0; i < 11; i++)
		CHECK_INT(u64_at(at + 8 + 104 + 8 * i), 0x301 + i);
	CHECK_INT(u32_at(at + 8 + 104 + 88), 0x30c);
	CHECK_INT(u32_at(at + 8 + 104 + 92), 0x30d);
	CHECK_INT(u8_at(at + 8 + 104 + 96), 0xe);
	CHECK_INT(u64_at(at + 8 + 4 * 104), 2);
	for (i = 0; i < 4; i++)
		CHECK_INT(u8_at(device + i), 1 + i);
	if (version == 6) {
		CHECK_INT(u8_at(device + 4), 2);
		CHECK_INT(u8_at(device + 5), 3);
		CHECK_INT(u8_at(device + 6), 4);
	}
	CHECK_INT(u32_at(device + (version == 5 ? 4 : 8)), 5);
}

static void fill(const struct zone_file *zone, uint64_t version, size_t size)
{
	errors_init(&errors);
	memset(&layout, 0xff, sizeof(layout));
	CHECK_INT(zone_layout_fill(&layout, zone, version, &errors), size);
	CHECK_INT(errors.count, 0);
	check_head();
}

static void test_arm64(void)
{
	struct zone_file zone = make_zone(ZONE_ARM64);
	uint32_t i;

	fill(&zone, 5, 3136);
	CHECK_INT(u8_at(2360), 1);
	CHECK_INT(u64_at(2368), 1); /* GICv3 */
	for (i = 0; i < 6; i++)
		CHECK_INT(u64_at(2376 + 8 * i), 0x401 + i);
	CHECK_INT(u64_at(2424), 0);
	check_pci(2448, 5);

	zone.arm64.gic.version = 2;
	zone.arm64.aarch32 = false;
	fill(&zone, 5, 3136);
	CHECK_INT(u8_at(2360), 0);
	CHECK_INT(u64_at(2368), 0);
	CHECK_INT(u64_at(2376), 0x401);
	CHECK_INT(u64_at(2384), 0x402);
	for (i = 0; i < 7; i++)
		CHECK_INT(u64_at(2392 + 8 * i), 0x407 + i);

	fill(&zone, 6, 3296);
	CHECK_INT(u64_at(2448), 1); /* no UEFI */
	CHECK_INT(u64_at(2456), 0);
	check_pci(2480, 6);
	zone.arm64.memory_map_addr = 0x501;
	zone.arm64.memory_map_size = 0x502;
	zone.arm64.sys_map_addr = 0x503;
	fill(&zone, 6, 3296);
	CHECK_INT(u64_at(2448), 0);
	CHECK_INT(u64_at(2456), 0x501);
	CHECK_INT(u64_at(2464), 0x502);
	CHECK_INT(u64_at(2472), 0x503);
}

static void test_riscv64(void)
{
	struct zone_file zone = make_zone(ZONE_RISCV64);
	uint32_t i;

	fill(&zone, 5, 3080);
	for (i = 0; i < 4; i++)
		CHECK_INT(u64_at(2360 + 8 * i), 0x101 + i);
	check_pci(2392, 5);
	fill(&zone, 6, 3208);
	check_pci(2392, 6);
}

static void test_loongarch64(void)
{
	struct zone_file zone = make_zone(ZONE_LOONGARCH64);

	fill(&zone, 5, 3056);
	CHECK_INT(u64_at(2360), 0x1234);
	check_pci(2368, 5);
	fill(&zone, 6, 3184);
	check_pci(2368, 6);
}

static void test_x86_64(void)
{
	struct zone_file zone = make_zone(ZONE_X86_64);
	static const uint64_t want[] = {0x201, 0x202, 0x203, 0xc000, 0xd000, 0x1500f000,
					12345, 0x204, 0x205, 0x206,  0x207};
	uint32_t i;

	fill(&zone, 5, 3136);
	for (i = 0; i < 11; i++)
		CHECK_INT(u64_at(2360 + 8 * i), want[i]);
	check_pci(2448, 5);
	fill(&zone, 6, 3264);
	check_pci(2448, 6);
}

/* A version that is not known, and what an old one has no place for, are said in words. */
static void test_refused(void)
{
	struct zone_file zone = make_zone(ZONE_ARM64);

	errors_init(&errors);
	CHECK_INT(zone_layout_fill(&layout, &zone, 4, &errors), 0);
	CHECK_INT(zone_layout_fill(&layout, &zone, 7, &errors), 0);
	CHECK_INT(errors.count, 2);
	CHECK_HAS(errors.line[0],
		  "hvisor takes version 4 of the zone configuration; this program knows versions 5 to 6");
	CHECK_HAS(errors.line[1], "version 7");
	zone.device[1].v_device = 9;
	zone.arm64.memory_map_addr = 0x501;
	CHECK_INT(zone_layout_fill(&layout, &zone, 5, &errors), 0);
	CHECK_INT(errors.count, 4);
	CHECK_HAS(errors.line[2], "zone.json: arch_config.memory_map_addr: this hvisor takes version 5");
	CHECK_HAS(errors.line[3], "zone.json: alloc_pci_devs[1]: this hvisor takes version 5");
	CHECK_INT(zone_layout_fill(&layout, &zone, 6, &errors), 3296);
	CHECK_INT(errors.count, 4);
	errors_finish(&errors);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"zone_layout_arm64", test_arm64, 0},
		{"zone_layout_riscv64", test_riscv64, 0},
		{"zone_layout_loongarch64", test_loongarch64, 0},
		{"zone_layout_x86_64", test_x86_64, 0},
		{"zone_layout_refused", test_refused, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
