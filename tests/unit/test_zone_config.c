/* SPDX-License-Identifier: MIT */
/* The zone file: every error is reported with its place and what would be right, and nothing can make it crash. */
#include <dirent.h>

#include "launcher/zone_file.h"
#include "tests/unit/zone_files.h"

static struct zone_file zone;
static struct errors errors;

static int read_zone(enum zone_arch arch)
{
	errors_finish(&errors);
	return zone_file_read(&zone, "zone.json", arch, &errors);
}

static void check_good(enum zone_arch arch)
{
	if (read_zone(arch) != 0) {
		errors_print(&errors, stderr, "got: ");
		TEST_FAIL("the file was refused");
	}
}

/* The file has this error, and count in all. */
static void check_errors(size_t count, const char *line)
{
	size_t i;

	CHECK_INT(read_zone(ZONE_ARM64), -1);
	for (i = 0; i < errors.count; i++) {
		if (strstr(errors.line[i], line))
			break;
	}
	if (i == errors.count || errors.count != count) {
		errors_print(&errors, stderr, "got: ");
		TEST_FAIL("%zu errors; wanted %zu with: %s", errors.count, count, line);
	}
}

#define WRONG(from, to, line)                                                                                          \
	do {                                                                                                           \
		ZONE_JSON(from, to);                                                                                   \
		check_errors(1, line);                                                                                 \
	} while (0)

static void test_good(void)
{
	launcher_enter_folder();
	ZONE_JSON(NULL, NULL);
	check_good(ZONE_ARM64);
	zone_file_finish(&zone);
	ZONE_JSON("'ivc_configs': []", "'pci_config': {}");
	check_good(ZONE_ARM64);
	CHECK_STR(zone.name, "linux2");
	CHECK_INT(zone.id, 1);
	CHECK_INT(zone.cpus, 0xc);
	CHECK_INT(zone.nregions, 4);
	CHECK_INT(zone.region[0].type, ZONE_RAM);
	CHECK_INT(zone.region[0].physical, 0x50000000);
	CHECK_INT(zone.region[0].virtual, 0x40000000);
	CHECK_INT(zone.region[1].type, ZONE_IO);
	CHECK_INT(zone.region[1].size, 4096);
	CHECK_INT(zone.region[3].type, ZONE_VIRTIO);
	CHECK(zone_has_interrupt(&zone, 76));
	CHECK(zone_has_interrupt(&zone, 78));
	CHECK(!zone_has_interrupt(&zone, 77));
	CHECK(!zone_has_interrupt(&zone, 76 + 1024));
	CHECK_STR(zone.image[ZONE_KERNEL].path, "./Image");
	CHECK_INT(zone.image[ZONE_KERNEL].load, 0x50400000);
	CHECK_INT(zone.image[ZONE_DTB].load, 0x50000000);
	CHECK_INT(zone.entry_point, 0x40400000);
	CHECK_INT(zone.arm64.gic.version, 3);
	CHECK_INT(zone.arm64.gic.gicr_size, 0xf60000);
	CHECK_INT(zone.arm64.memory_map_addr, ZONE_NONE);
	CHECK_INT(zone.nbuses, 0);
	zone_file_finish(&zone);
}

/* All of the keys that are not in the file above. */
static void test_more_keys(void)
{
	launcher_enter_folder();
	ZONE_JSON(
		"'ivc_configs': []",
		"'ivc_configs': [{'ivc_id': 1, 'peer_id': 2, 'control_table_ipa': '0x70000000', 'shared_mem_ipa': "
		"'0x70001000', 'rw_sec_size': 4096, 'out_sec_size': '0x1000', 'interrupt_num': 34, 'max_peers': 2}]",
		"'arch_config'",
		"'kernel_args': '', 'boot_method': 'x', 'num_pci_devs': 1, 'pci_config': [{'ecam_base': 1, "
		"'ecam_size': "
		"2, 'io_base': 3, 'io_size': 4, 'pci_io_base': 5, 'mem32_base': 6, 'mem32_size': 7, 'pci_mem32_base': "
		"8, 'mem64_base': 9, 'mem64_size': 10, 'pci_mem64_base': '0xb', 'bus_range_begin': 0, 'bus_range_end': "
		"'0x1f', 'domain': 0}], 'alloc_pci_devs': [{'domain': 0, 'bus': 1, 'device': 2, 'function': 3, "
		"'v_device': 4, 'dev_type': '0'}], 'modules': [{'name': 'm', 'filepath': 'm.bin', 'load_paddr': "
		"'0x51000000'}], 'arch_config'",
		"'is_aarch32': false",
		"'gits_base': 0, 'gits_size': 0, 'is_aarch32': 1, 'memory_map_addr': 1, "
		"'memory_map_size': 2, 'sys_map_addr': 3");
	check_good(ZONE_ARM64);
	CHECK_INT(zone.nivcs, 1);
	CHECK_INT(zone.ivc[0].shared_memory, 0x70001000);
	CHECK_INT(zone.ivc[0].interrupt, 34);
	CHECK_INT(zone.nbuses, 1);
	CHECK_INT(zone.bus[0].pci_mem64_base, 11);
	CHECK_INT(zone.bus[0].bus_end, 0x1f);
	CHECK_INT(zone.ndevices, 1);
	CHECK_INT(zone.device[0].v_bus, 1);
	CHECK_INT(zone.device[0].v_device, 4);
	CHECK_INT(zone.device[0].v_function, 3);
	CHECK_STR(zone.image[ZONE_MODULE].path, "m.bin");
	CHECK_INT(zone.image[ZONE_MODULE].load, 0x51000000);
	CHECK(zone.arm64.aarch32);
	CHECK_INT(zone.arm64.sys_map_addr, 3);
	zone_file_finish(&zone);
}

static void test_wrong_values(void)
{
	launcher_enter_folder();
	WRONG("'zone_id': 1", "'zone_id': 0", "zone.json: zone_id: is 0; must be a zone number from 1 to 31");
	WRONG("'zone_id': 1, ", "", "zone.json: zone_id: is missing; must be a zone number from 1 to 31");
	WRONG("'name': 'linux2'", "'name': ''", "zone.json: name: is \"\"; must be a name of 1 to 31 bytes");
	WRONG("linux2", "0123456789012345678901234567890x", "name: is \"0123456789012345678901234567890x\"");
	WRONG("linux2", "li\\nux2", "name: is \"li\\x0aux2\"");
	WRONG("[2, 3]", "[]", "cpus: is an empty array; must be an array of 1 to 64 CPU numbers");
	WRONG("[2, 3]", "[2, 64]", "cpus[1]: is 64; must be the number of a CPU, from 0 to 63");
	WRONG("'0x4e'", "1024", "interrupts[1]: is 1024; must be an interrupt number from 0 to 1023");
	WRONG("'0x4e'", "'0x4g'", "interrupts[1]: is \"0x4g\"; must be an interrupt number");
	WRONG("'type': 'ram'", "'type': 'rom'",
	      "memory_regions[0].type: is \"rom\"; must be \"ram\", \"io\" or \"virtio\"");
	WRONG("'ivc_configs'", "'ivc_config'",
	      "ivc_config: is not a key of the zone file; did you mean \"ivc_configs\"?");
	WRONG("'arch': 'arm64'", "'arch': 'riscv'", "arch: is \"riscv\", but hvisor is that of arm64 here");
	WRONG("'arch': 'arm64'", "'arch': 'arm46'", "did you mean \"arm64\"?");
	WRONG("'gic_version': 'v3'", "'gic_version': 'v4'",
	      "arch_config.gic_version: is \"v4\"; must be \"v2\" or \"v3\"");
	WRONG("'is_aarch32'", "'is_arch32'",
	      "arch_config.is_arch32: is not a key of arm64; did you mean \"is_aarch32\"?");
	WRONG("'gicr_base': '0x80a0000', ", "", "arch_config.gicr_base: is missing; must be an address");
	WRONG("'is_aarch32': false", "'memory_map_addr': 1, 'memory_map_size': 2",
	      "arch_config.sys_map_addr: is missing");
	ZONE_JSON("'ivc_configs': []", "'ivc_configs': [{}, {}, {}]");
	check_errors(17, "ivc_configs: has 3 elements; must be an array of up to 2 inter-VM channels");
	WRONG("'ivc_configs': []", "'pci_config': {'ecam_base': 0}",
	      "pci_config: is an object; must be an array of up to 4 PCI buses");
	WRONG("'ivc_configs': []", "'alloc_pci_devs': [0]",
	      "alloc_pci_devs[0]: is 0; must be an object with the keys of PCI");
}

static void test_regions(void)
{
	launcher_enter_folder();
	WRONG("'0x10000000'", "'0x10000800'",
	      "memory_regions[0].size: is 0x10000800; must be a multiple of 4096 for a ram");
	WRONG("'size': 4096", "'size': 512",
	      "memory_regions[1].size: is 0x200; must be a multiple of 4096 for a io region");
	WRONG("'size': 4096", "'size': 0",
	      "memory_regions[1].size: is 0; must be the size of the memory in bytes, above 0");
	ZONE_JSON("'physical_start': '0x9000000'", "'physical_start': '0xfffffffffffff000', 'note': 'x'",
		  "'size': 4096", "'size': 8192");
	check_errors(1, "memory_regions[1].size: is 0x2000, which goes past the end of all addresses");
	/* A virtio region is where its physical_start says. */
	ZONE_JSON("'virtual_start': '0xa003c00'", "'virtual_start': '0x40000000'");
	check_good(ZONE_ARM64);
	zone_file_finish(&zone);
	WRONG("'physical_start': '0xa003c00'", "'physical_start': '0xa003900'",
	      "memory_regions[3].physical_start: 0xa003900-0xa003aff overlaps 0xa003800-0xa0039ff of "
	      "memory_regions[2]; an "
	      "address of the zone has one meaning");
	WRONG("'virtual_start': '0x9000000'", "'virtual_start': '0x4ffff000'",
	      "memory_regions[1].virtual_start: 0x4ffff000-0x4fffffff overlaps 0x40000000-0x4fffffff of "
	      "memory_regions[0]");
	WRONG("'physical_start': '0x9000000'", "'physical_start': '0x50000000'",
	      "memory_regions[1].physical_start: 0x50000000-0x50000fff overlaps 0x50000000-0x5fffffff of "
	      "memory_regions[0]; "
	      "RAM is given to a zone once");
}

static void test_addresses(void)
{
	launcher_enter_folder();
	WRONG("'0x50400000'", "'0x4ff00000'",
	      "kernel_load_paddr: is 0x4ff00000, which is not in a ram region of the zone as root sees it "
	      "(0x50000000-0x5fffffff)");
	WRONG("'dtb_load_paddr': '0x50000000'", "'dtb_load_paddr': '0x9000000'",
	      "dtb_load_paddr: is 0x9000000, which is not");
	WRONG("'entry_point': '0x40400000'", "'entry_point': '0x50400000'",
	      "entry_point: is 0x50400000, which is not in a ram region as the zone sees it (0x40000000-0x4fffffff)");
}

/* Ranges of RAM across regions. */
static void test_ram(void)
{
	struct zone_file ram = {
		.nregions = 4,
		.region = {{ZONE_RAM, 0x3000, 0x13000, 0x1000},
			   {ZONE_RAM, 0x1000, 0x11000, 0x2000},
			   {ZONE_RAM, 0x4000, 0x24000, 0x1000},
			   {ZONE_IO, 0x5000, 0x25000, 0x1000}},
	};
	uint64_t virtual = 0;

	CHECK(zone_ram_physical(&ram, 0x1800, 0x2800, &virtual));
	CHECK_INT(virtual, 0x11800);
	CHECK(!zone_ram_physical(&ram, 0x1800, 0x2801, NULL)); /* goes on elsewhere for the zone */
	CHECK(zone_ram_physical(&ram, 0x4fff, 1, &virtual));
	CHECK_INT(virtual, 0x24fff);
	CHECK(!zone_ram_physical(&ram, 0x4fff, 2, NULL)); /* io */
	CHECK(!zone_ram_physical(&ram, 0xfff, 1, NULL));
	CHECK(!zone_ram_physical(&ram, 0x1000, 0, NULL));
	CHECK(!zone_ram_physical(&ram, 0x1000, UINT64_MAX, NULL));
	CHECK(zone_ram_virtual(&ram, 0x11000, 0x3000));
	CHECK(!zone_ram_virtual(&ram, 0x11000, 0x3001));
	CHECK(!zone_ram_virtual(&ram, 0x25000, 1));
}

/* The keys of the other architectures. */
static void test_archs(void)
{
	launcher_enter_folder();
	ZONE_JSON("'arch': 'arm64', ", "", "'gic_version': 'v3', 'gicd_base': '0x8000000', 'gicd_size': '0x10000', ",
		  "'plic_base': 1, 'plic_size': 2, ",
		  "'gicr_base': '0x80a0000', 'gicr_size': '0xf60000', 'is_aarch32': false",
		  "'aplic_base': 3, 'aplic_size': 4");
	check_good(ZONE_RISCV64);
	CHECK_INT(zone.riscv64.aplic_size, 4);
	zone_file_finish(&zone);
	CHECK_INT(read_zone(ZONE_ARM64), -1);

	ZONE_JSON("'arch': 'arm64', ", "",
		  "'arch_config': {'gic_version': 'v3', 'gicd_base': '0x8000000', 'gicd_size': "
		  "'0x10000', 'gicr_base': '0x80a0000', 'gicr_size': '0xf60000', 'is_aarch32': "
		  "false}",
		  "'boot_method': 'acpi'", "'entry_point': '0x40400000'", "'entry_point': '0x9000000040400000'");
	check_good(ZONE_LOONGARCH64);
	CHECK_INT(zone.entry_point, 0x9000000040400000);
	zone_file_finish(&zone);
	ZONE_JSON("'arch': 'arm64', ", "'devices': [], ",
		  "'arch_config': {'gic_version': 'v3', 'gicd_base': '0x8000000', "
		  "'gicd_size': '0x10000', 'gicr_base': '0x80a0000', 'gicr_size': '0xf60000', 'is_aarch32': false}",
		  "'boot_method': 'acpi'", "'entry_point': '0x40400000'", "'entry_point': '0x9000000050400000'");
	CHECK_INT(read_zone(ZONE_LOONGARCH64), -1);
	CHECK_HAS(errors.line[0], "entry_point: is 0x9000000050400000, which is not in a ram region");

	ZONE_JSON("'arch': 'arm64'", "'arch': 'x86_64'",
		  "'gic_version': 'v3', 'gicd_base': '0x8000000', 'gicd_size': '0x10000', 'gicr_base': '0x80a0000', "
		  "'gicr_size': '0xf60000', 'is_aarch32': false",
		  "'ioapic_base': 1, 'ioapic_size': 2, 'kernel_entry_gpa': 3, 'cmdline': 'console=ttyS0', "
		  "'cmdline_load_hpa': '0x5000c000', 'cmdline_load_gpa': '0x4000c000', 'initrd_filepath': 'initrd', "
		  "'initrd_load_hpa': '0x51000000', 'initrd_load_gpa': '0x41000000', 'acpi_memory_region_id': '0x1'");
	check_good(ZONE_X86_64);
	CHECK_STR(zone.image[ZONE_CMDLINE].path, "console=ttyS0");
	CHECK_INT(zone.image[ZONE_INITRD].virtual, 0x41000000);
	CHECK(!zone.image[ZONE_DTB].path); /* x86_64 has none */
	zone_file_finish(&zone);
	ZONE_JSON("'arch': 'arm64'", "'arch': 'x86_64'",
		  "'gic_version': 'v3', 'gicd_base': '0x8000000', 'gicd_size': '0x10000', 'gicr_base': '0x80a0000', "
		  "'gicr_size': '0xf60000', 'is_aarch32': false",
		  "'ioapic_base': 1, 'ioapic_size': 2, 'kernel_entry_gpa': 3, 'cmdline': 'x', 'cmdline_load_hpa': "
		  "'0x5000c000', 'setup_filepath': 's', 'setup_load_hpa': '0x50001000', 'setup_load_gpa': '0x1000', "
		  "'uefi_memory_region_id': 4");
	CHECK_INT(read_zone(ZONE_X86_64), -1);
	CHECK_INT(errors.count, 3);
	CHECK_HAS(errors.line[0],
		  "arch_config.cmdline_load_gpa: is missing; cmdline needs an address, as the zone sees it");
	CHECK_HAS(errors.line[1],
		  "arch_config.uefi_memory_region_id: is 4; must be the number of an element of memory_regions, "
		  "from 0 to 3");
	CHECK_HAS(errors.line[2],
		  "arch_config.setup_load_hpa: is 0x50001000, which the zone sees at 0x40001000, but is told to "
		  "look for at 0x1000");

	CHECK_INT(zone_arch_find("aarch64"), ZONE_ARM64);
	CHECK_INT(zone_arch_find("riscv"), ZONE_RISCV64);
	CHECK_INT(zone_arch_find("vax"), ZONE_ARCHS);
}

/* All at once. */
static void test_many_errors(void)
{
	launcher_enter_folder();
	launcher_write("zone.json",
		       "{\"zone_id\": 99, \"cpus\": 3, \"memory_regions\": [], \"x\": 1, \"arch_config\": {}}");
	check_errors(14, "zone.json: zone_id: is 99");
	check_errors(14, "zone.json: arch_config.gic_version: is missing");
	check_errors(14, "zone.json: kernel_filepath: is missing");
	launcher_write("zone.json", "{\"zone_id\": 1,\n \"cpus\": 0x1}");
	check_errors(1, "zone.json:2:10: JSON has no hexadecimal numbers; put it in quotes: \"0x...\"");
	VIRTIO_JSON(NULL, NULL);
	CHECK_INT(rename("virtio.json", "zone.json"), 0);
	check_errors(1, "zone.json: this is the file of the zones' virtio devices (\"hvisor virtio start\")");
	unlink("zone.json");
	check_errors(1, "zone.json: cannot be read: No such file or directory");
}

static char manual[65536];

/* Found from the folder that the tests are run in. */
static void read_manual(void)
{
	int fd = open("docs/zone.json.5", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, manual, sizeof(manual) - 1) : -1;

	CHECK(n > 0);
	manual[n] = 0;
	close(fd);
}

/* The keys that complaints list are in the manual page; returns how many there are. */
static unsigned int check_listed_keys(void)
{
	unsigned int nkeys = 0;
	char *save;
	char *key;
	size_t i;

	for (i = 0; i < errors.count; i++) {
		char *list = strstr(errors.line[i], "the keys are ");

		if (!list)
			continue;
		for (key = strtok_r(list + strlen("the keys are "), ", ", &save); key;
		     key = strtok_r(NULL, ", ", &save)) {
			char macro[64];

			/* The second of a pair stands behind a comma. */
			snprintf(macro, sizeof(macro), "Cm %s", key);
			if (!strstr(manual, macro)) {
				snprintf(macro, sizeof(macro), ", %s", key);
				CHECK_HAS(manual, macro);
			}
			nkeys++;
		}
	}
	return nkeys;
}

static void test_manual(void)
{
	static const unsigned int arch_keys[] = {18, 4, 1, 19};
	uint32_t arch;
	char *example;
	char *end;

	read_manual();
	launcher_enter_folder();
	launcher_write("zone.json",
		       "{\"qqqqqqqqqqqq\": 1, \"memory_regions\": [{\"qqqqqqqqqqqq\": 1}], \"modules\": "
		       "[{\"qqqqqqqqqqqq\": 1}], \"ivc_configs\": [{\"qqqqqqqqqqqq\": 1}], \"pci_config\": "
		       "[{\"qqqqqqqqqqqq\": 1}], \"alloc_pci_devs\": [{\"qqqqqqqqqqqq\": 1}], "
		       "\"arch_config\": {\"qqqqqqqqqqqq\": 1}}");
	for (arch = 0; arch < ZONE_ARCHS; arch++) {
		CHECK_INT(read_zone((enum zone_arch)arch), -1);
		CHECK_INT(check_listed_keys(), 20 + 5 + 3 + 8 + 14 + 8 + arch_keys[arch]);
	}
	/* And its example is right. */
	example = strstr(manual, ".Bd -literal -offset indent\n{");
	CHECK(example);
	example = strchr(example, '{');
	end = strstr(example, ".Ed");
	CHECK(end);
	*end = 0;
	launcher_write("zone.json", example);
	check_good(ZONE_ARM64);
	zone_file_finish(&zone);
}

/* The predecessor's files as they are; devices of zones are in others, which are named zones or virtio. */
static void test_upstream_files(void)
{
	DIR *dir = opendir("../shared/upstream-examples");
	struct dirent *entry;
	unsigned int n = 0;

	while (dir && (entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');
		char path[512];

		if (!dot || strcmp(dot, ".json") != 0 || strstr(entry->d_name, "virtio_cfg") ||
		    strstr(entry->d_name, "virtio.json"))
			continue;
		snprintf(path, sizeof(path), "../shared/upstream-examples/%s", entry->d_name);
		errors_finish(&errors);
		if (zone_file_read(&zone, path, strstr(entry->d_name, "riscv64") ? ZONE_RISCV64 : ZONE_ARM64,
				   &errors)) {
			errors_print(&errors, stderr, "got: ");
			TEST_FAIL("%s was refused", path);
		}
		zone_file_finish(&zone);
		n++;
	}
	CHECK(n > 0);
	closedir(dir);
}

/* Whatever is in the file, it is refused or read, and no more. */
static void test_mutations(void)
{
	static char text[8192];
	static char copy[8192];
	ssize_t len;
	int n;
	int fd;

	launcher_enter_folder();
	ZONE_JSON(NULL, NULL);
	fd = open("zone.json", O_RDWR | O_CLOEXEC);
	len = read(fd, text, sizeof(text));
	CHECK(len > 0);
	for (n = 0; n < 4000; n++) {
		size_t changes = 1 + test_random_below(4);

		memcpy(copy, text, (size_t)len);
		while (changes--)
			copy[test_random_below((uint64_t)len)] = "0123456789{}[],:\"x- af\\\n"[test_random_below(24)];
		CHECK_INT(pwrite(fd, copy, (size_t)len, 0), len);
		if (read_zone((enum zone_arch)test_random_below(ZONE_ARCHS)) == 0)
			zone_file_finish(&zone);
		else
			CHECK(errors.count > 0);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"zone_config_good", test_good, 0},
		{"zone_config_more_keys", test_more_keys, 0},
		{"zone_config_wrong_values", test_wrong_values, 0},
		{"zone_config_regions", test_regions, 0},
		{"zone_config_addresses", test_addresses, 0},
		{"zone_config_ram", test_ram, 0},
		{"zone_config_archs", test_archs, 0},
		{"zone_config_many_errors", test_many_errors, 0},
		{"zone_config_manual", test_manual, 0},
		{"zone_config_mutations", test_mutations, 0},
		/* Only where the files are: this line is left out of the table elsewhere. */
		{"zone_config_upstream_files", test_upstream_files, 0},
	};
	size_t n = sizeof(tests) / sizeof(tests[0]);

	return test_main(argc, argv, tests, access("../shared/upstream-examples", R_OK) == 0 ? n : n - 1);
}
