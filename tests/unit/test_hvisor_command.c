/* SPDX-License-Identifier: MIT */
/*
 * The command hvisor against a stand-in for the module: a server that speaks the calls of zones as hvisor_uapi.h says
 * and keeps what it is given, so that the test can look at it.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "kmod/hvisor_uapi.h"
#include "launcher/zone_layout.h"
#include "tests/unit/zone_files.h"

#define RAM_BASE 0x50000000ull
#define RAM_SIZE 0x1000000u
#define ROOT_BASE 0x80000000ull /* root's own memory */
#define ROOT_SIZE 0x40000000ull
#define CALLS_MAX 64

/* Shared between the server's process and the test's. */
struct standin {
	uint64_t version;
	uint32_t ncalls;
	uint32_t call[CALLS_MAX];
	uint32_t fail_call; /* this call ends with fail_error */
	int32_t fail_error;
	uint32_t nzones;
	struct hvisor_zone_info zone[HVISOR_ZONES_MAX];
	struct hvisor_zone_start start;
	union zone_layout config;
	unsigned char ram[RAM_SIZE]; /* at RAM_BASE */
};

static struct standin *standin;
static struct run run;

union answer {
	struct hvisor_info info;
	struct hvisor_config_version version;
	struct hvisor_zone_load load;
	struct hvisor_zone_start start;
	struct hvisor_zone_shutdown shutdown;
	struct hvisor_zone_list list;
	struct hvisor_memory_check memory;
};

static int copy_in(pid_t pid, uint64_t from, void *to, size_t size)
{
	struct iovec local = {to, size};
	struct iovec remote = {(void *)(uintptr_t)from, size};

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

static int find_zone(uint32_t id)
{
	uint32_t i;

	for (i = 0; i < standin->nzones; i++) {
		if (standin->zone[i].zone == id)
			return (int)i;
	}
	return -1;
}

static int do_load(pid_t pid, const struct hvisor_zone_load *load)
{
	if (find_zone(load->zone) >= 0)
		return -EBUSY;
	if (load->zone0_ipa < RAM_BASE || load->size > RAM_SIZE || load->zone0_ipa - RAM_BASE > RAM_SIZE - load->size)
		return -EPERM;
	return copy_in(pid, load->data, standin->ram + (load->zone0_ipa - RAM_BASE), load->size);
}

static int do_start(pid_t pid, const struct hvisor_zone_start *start)
{
	struct hvisor_zone_info *info = &standin->zone[standin->nzones];

	if (start->size > sizeof(standin->config))
		return -EINVAL;
	standin->start = *start;
	if (copy_in(pid, start->config, &standin->config, start->size) != 0)
		return -EFAULT;
	*info = (struct hvisor_zone_info){.zone = start->zone, .cpus = standin->config.head.cpus};
	memcpy(info->name, standin->config.head.name, sizeof(info->name));
	standin->nzones++;
	return 0;
}

static int do_shutdown(const struct hvisor_zone_shutdown *shutdown)
{
	int at = find_zone(shutdown->zone);

	if (at < 0)
		return -ENOENT;
	standin->zone[at] = standin->zone[--standin->nzones];
	return 0;
}

static int do_call(uint32_t cmd, pid_t pid, union answer *answer)
{
	if (standin->ncalls < CALLS_MAX)
		standin->call[standin->ncalls++] = cmd;
	if (cmd == standin->fail_call)
		return standin->fail_error;
	switch (cmd) {
	case HVISOR_INFO:
		answer->info.abi_version = HVISOR_ABI_VERSION;
		return 0;
	case HVISOR_CONFIG_VERSION:
		answer->version.version = standin->version;
		return 0;
	case HVISOR_MEMORY_CHECK:
		return answer->memory.zone0_ipa < ROOT_BASE + ROOT_SIZE &&
				       answer->memory.zone0_ipa + answer->memory.size > ROOT_BASE
			       ? -EPERM
			       : 0;
	case HVISOR_ZONE_LOAD:
		return do_load(pid, &answer->load);
	case HVISOR_ZONE_START:
		return do_start(pid, &answer->start);
	case HVISOR_ZONE_SHUTDOWN:
		return do_shutdown(&answer->shutdown);
	case HVISOR_ZONE_LIST:
		answer->list.count = standin->nzones;
		memcpy(answer->list.zones, standin->zone, sizeof(answer->list.zones));
		return 0;
	default:
		return -ENOTTY;
	}
}

/* One client after another. Its descriptors are of no use here. */
static void serve(int listener)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		struct ucred peer;
		socklen_t len = sizeof(peer);
		union answer answer;
		uint32_t cmd;
		struct iovec in[2] = {{&cmd, sizeof(cmd)}, {&answer, sizeof(answer)}};

		if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
			_exit(1);
		while (readv(fd, in, 2) >= (ssize_t)sizeof(cmd)) {
			int32_t error = do_call(cmd, peer.pid, &answer);
			struct iovec out[2] = {{&error, sizeof(error)}, {&answer, _IOC_SIZE(cmd)}};

			if (writev(fd, out, 2) < 0)
				break;
		}
		close(fd);
	}
}

/* The files, and the server as sim:hv with root Linux as the only zone. It ends with the test. */
static void set_up(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "hv"};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	zone_enter_folder();
	standin = mmap(NULL, sizeof(*standin), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(standin != MAP_FAILED);
	standin->version = 5;
	standin->nzones = 1;
	standin->zone[0] = (struct hvisor_zone_info){.zone = 0, .cpus = 3, .name = "root-linux"};
	CHECK_INT(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(listen(listener, 4), 0);
	fflush(stdout);
	if (fork() == 0)
		serve(listener);
	close(listener);
}

/* Forgets earlier calls first. */
static void hvisor(const char *const *arguments)
{
	standin->ncalls = 0;
	program_run(&run, program_path("hvisor"), arguments);
}

#define HVISOR(...) hvisor((const char *const[]){__VA_ARGS__, NULL})
#define START(...) HVISOR("zone", "start", "--hv", "sim:hv", "--arch", "arm64", __VA_ARGS__)

static int called(uint32_t cmd)
{
	uint32_t i;
	int n = 0;

	for (i = 0; i < standin->ncalls; i++)
		n += standin->call[i] == cmd;
	return n;
}

static void check_failed(int code, const char *message)
{
	CHECK_HAS(run.err, message);
	CHECK_INT(run.code, code);
}

/* The memory behind root's address is the file. */
static void check_loaded(const char *name, uint64_t at)
{
	static char bytes[1 << 20];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, bytes, sizeof(bytes));

	CHECK(n > 0);
	CHECK_MEM(standin->ram + (at - RAM_BASE), bytes, (size_t)n);
	close(fd);
}

static void test_start(void)
{
	const struct zone_layout_arm64_v5 *config;

	set_up();
	START("zone.json");
	CHECK_STR(run.err, "");
	CHECK_INT(run.code, 0);
	check_loaded("Image", 0x50400000);
	check_loaded("zone.dtb", 0x50000000);
	CHECK_INT(standin->call[standin->ncalls - 1], HVISOR_ZONE_START);
	CHECK_INT(standin->start.zone, 1);
	CHECK_INT(standin->start.size, 3136);
	config = &standin->config.arm64_v5;
	CHECK_INT(config->head.zone_id, 1);
	CHECK_INT(config->head.cpus, 0xc);
	CHECK_INT(config->head.nregions, 4);
	CHECK_INT(config->head.region[0].virtual_start, 0x40000000);
	CHECK_INT(config->head.interrupts[2], 1 << 12 | 1 << 14);
	CHECK_INT(config->head.entry_point, 0x40400000);
	CHECK_INT(config->head.kernel_load_paddr, 0x50400000);
	CHECK_INT(config->head.kernel_size, 303104);
	CHECK_STR(config->head.name, "linux2");
	CHECK_INT(config->arch.gic, ZONE_LAYOUT_GIC_V3);
	CHECK_INT(config->arch.gicv3.gicr_base, 0x80a0000);
}

static void test_start_version_6(void)
{
	set_up();
	standin->version = 6;
	START("--virtio", "virtio.json", "zone.json");
	CHECK_STR(run.err, "");
	CHECK_INT(run.code, 0);
	CHECK_INT(standin->start.size, 3296);
	CHECK_INT(standin->config.arm64_v6.uefi.uefi, ZONE_LAYOUT_NO_UEFI);
}

/* Nothing is loaded by a start that cannot succeed. */
static void test_start_refused(void)
{
	set_up();
	standin->version = 9;
	START("zone.json");
	check_failed(1, "hvisor: hvisor takes version 9 of the zone configuration; this program knows versions 5 to 6");
	CHECK_INT(called(HVISOR_ZONE_LOAD), 0);
	standin->version = 5;

	standin->zone[0].cpus = 7;
	START("zone.json");
	check_failed(1, "hvisor: zone.json: cpus: CPU 2 belongs to zone 0 (root-linux), which runs\n");
	CHECK_INT(called(HVISOR_ZONE_LOAD), 0);
	standin->zone[0].cpus = 3;

	ZONE_JSON("'0x50400000'", "'0x50500000'");
	START("--virtio", "virtio.json", "zone.json");
	CHECK_INT(run.code, 2);
	CHECK_INT(standin->ncalls, 0);
	ZONE_JSON(NULL, NULL);

	/* A page more than was reserved. */
	ZONE_JSON("'size': '0x10000000'}, ", "'size': '0x30001000'}, ");
	START("zone.json");
	check_failed(1, "hvisor: zone.json: memory_regions[0].physical_start: 0x50000000-0x80000fff is root Linux's "
			"own memory, "
			"in whole or in part; a zone is given memory that root's device tree has reserved");
	CHECK_INT(called(HVISOR_ZONE_LOAD), 0);
	ZONE_JSON(NULL, NULL);

	START("zone.json");
	CHECK_INT(run.code, 0);
	START("zone.json");
	check_failed(1, "hvisor: zone 1 runs already; stop it first with: hvisor zone shutdown -id 1\n");
	CHECK_INT(called(HVISOR_ZONE_LOAD), 0);
}

static void fail_start(uint32_t cmd, int error, const char *message)
{
	standin->fail_call = cmd;
	standin->fail_error = error;
	START("zone.json");
	check_failed(1, message);
}

/* What hvisor or the module refuses, in words. */
static void test_start_fails(void)
{
	set_up();
	fail_start(
		HVISOR_ZONE_LOAD, -EPERM,
		"hvisor: zone.json: kernel_load_paddr: 0x50400000-0x504493df is root's own memory; reserve it for the "
		"zone in root's device tree");
	CHECK_INT(called(HVISOR_ZONE_START), 0);
	fail_start(HVISOR_MEMORY_CHECK, -EIO,
		   "hvisor: zone.json: memory_regions[0]: hvisor.ko does not say whether it is root's own: "
		   "Input/output error");
	CHECK_INT(called(HVISOR_ZONE_LOAD), 0);
	fail_start(HVISOR_ZONE_START, -EPERM,
		   "zone 1 cannot be started: hvisor.ko finds root's own memory in its regions");
	fail_start(HVISOR_ZONE_START, -EOPNOTSUPP,
		   "zone 1 cannot be started: hvisor.ko does not know this hvisor's version of the zone configuration");
	fail_start(HVISOR_ZONE_LOAD, -EBUSY, "hvisor: zone 1 runs already; stop it first");
	fail_start(HVISOR_ZONE_LOAD, -ERANGE, "0x50400000-0x504493df is memory that no zone can have");
	fail_start(HVISOR_ZONE_LOAD, -ENOMEM, "cannot be loaded: Cannot allocate memory");
	fail_start(HVISOR_ZONE_START, -EBUSY, "hvisor: zone 1 cannot be started: it runs already, or another zone has");
	fail_start(HVISOR_ZONE_START, -EINVAL, "hvisor refuses its configuration (zone.json); its console says why");
	fail_start(HVISOR_ZONE_START, -EIO, "hvisor: zone 1 cannot be started: Input/output error");
	fail_start(HVISOR_CONFIG_VERSION, -EIO, "hvisor does not say which version of the zone configuration it takes");
	fail_start(HVISOR_ZONE_LIST, -EIO, "hvisor does not say which zones run: Input/output error");
	fail_start(HVISOR_INFO, -EPERM, "hvisor: cannot open sim:hv: not allowed; run as root");
	CHECK_INT(standin->nzones, 1);
}

static void test_shutdown(void)
{
	static const char *const forms[][3] = {{"-id", "1"}, {"--id", "1"}, {"--id=1"}, {"-id=0x1"}};
	size_t i;

	set_up();
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		START("zone.json");
		CHECK_INT(run.code, 0);
		CHECK_INT(standin->nzones, 2);
		hvisor((const char *const[]){"--hv", "sim:hv", "zone", "shutdown", forms[i][0], forms[i][1], NULL});
		CHECK_STR(run.err, "");
		CHECK_INT(run.code, 0);
		CHECK_INT(standin->nzones, 1);
	}
	HVISOR("zone", "shutdown", "-id", "1", "--hv", "sim:hv");
	check_failed(1, "hvisor: zone 1 does not run; see: hvisor zone list\n");
	HVISOR("zone", "shutdown", "--hv", "sim:hv");
	check_failed(2, "hvisor: zone shutdown: which zone? Try: hvisor zone shutdown -id 1\n");
	HVISOR("zone", "shutdown", "-id", "0", "--hv", "sim:hv");
	check_failed(2, "hvisor: -id: is \"0\"; must be the number of a zone, from 1 to 31 (0 is root Linux itself)\n");
	HVISOR("zone", "shutdown", "-id", "1x", "--hv", "sim:hv");
	check_failed(2, "hvisor: -id: is \"1x\"; must be the number of a zone, from 1 to 31\n");
}

static void test_list(void)
{
	const cJSON *zone;
	cJSON *json;

	set_up();
	standin->nzones = 2;
	standin->zone[1] =
		(struct hvisor_zone_info){.zone = 2, .cpus = 1ull << 63 | 4, .name = "a|b\x1b\n", .failed = 1};
	HVISOR("zone", "list", "--hv", "sim:hv");
	CHECK_INT(run.code, 0);
	CHECK_STR(run.out, "|         zone_id |              cpus |            name |     status |\n"
			   "|               0 |              0, 1 |      root-linux |    running |\n"
			   "|               2 |             2, 63 |           a?b?? |      error |\n");
	HVISOR("zone", "list", "--json", "--hv", "sim:hv");
	CHECK_INT(run.code, 0);
	json = cJSON_Parse(run.out);
	CHECK(json);
	zone = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "zones"), 1);
	CHECK_INT(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(zone, "id")), 2);
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(zone, "status")), "error");
	CHECK_INT(cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(zone, "cpus"), 1)->valueint, 63);
	cJSON_Delete(json);
}

#define CHECK_ZONE(...) HVISOR("zone", "check", "--arch", "arm64", "--hv", "sim:hv", __VA_ARGS__)

/* What only hvisor and its module know is asked for, if they are there; that the zone runs does not matter. */
static void test_check_asks(void)
{
	set_up();
	START("zone.json");
	CHECK_ZONE("zone.json");
	CHECK_STR(run.err, "");
	CHECK_STR(run.out, "zone.json: zone 1 (linux2) can be started\n");
	CHECK_INT(run.code, 0);
	CHECK_INT(called(HVISOR_CONFIG_VERSION), 1);
	CHECK_INT(called(HVISOR_MEMORY_CHECK), 2);
	CHECK_INT(called(HVISOR_ZONE_LOAD) + called(HVISOR_ZONE_START), 0);

	ZONE_JSON("'size': '0x10000000'}, ", "'size': '0x30001000'}, ", "'physical_start': '0x9000000'",
		  "'physical_start': '0xbffff000'");
	standin->version = 9;
	CHECK_ZONE("zone.json");
	check_failed(1,
		     "hvisor: zone.json: memory_regions[0].physical_start: 0x50000000-0x80000fff is root Linux's own");
	CHECK_HAS(run.err,
		  "hvisor: zone.json: memory_regions[1].physical_start: 0xbffff000-0xbfffffff is root Linux's");
	CHECK_HAS(run.err, "hvisor: hvisor takes version 9 of the zone configuration");
	CHECK_STR(run.out, "");

	HVISOR("zone", "check", "--arch", "arm64", "--hv", "sim:none", "zone.json");
	check_failed(1, "hvisor: cannot open sim:none: it is not there");
}

/* The module of this machine is asked if it is there, and nobody has to say so. */
static void test_check_at_home(void)
{
	int fd;

	zone_enter_folder();
#ifdef __x86_64__
	ZONE_JSON("arm64", "x86_64",
		  "'arch_config': {'gic_version': 'v3', 'gicd_base': '0x8000000', 'gicd_size': '0x10000', "
		  "'gicr_base': '0x80a0000', 'gicr_size': '0xf60000', 'is_aarch32': false}",
		  "'arch_config': {'ioapic_base': 1, 'ioapic_size': 2, 'kernel_entry_gpa': 3}", "[76, '0x4e']", "[]",
		  "./zone.dtb", "");
#endif
	standin = mmap(NULL, sizeof(*standin), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(standin != MAP_FAILED);
	CHECK_INT(unshare(CLONE_NEWNS), 0);
	CHECK_INT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	CHECK_INT(mount("dev", "/dev", "tmpfs", 0, NULL), 0);
	HVISOR("zone", "check", "zone.json");
	CHECK_STR(run.err, "");
	CHECK_INT(run.code, 0);
	/* Something that is no module. */
	fd = open("/dev/hvisor", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	close(fd);
	HVISOR("zone", "check", "zone.json");
	CHECK_STR(run.err, "hvisor: note: hvisor is not asked about the zone's memory: cannot open /dev/hvisor: "
			   "Inappropriate ioctl for device\n");
	CHECK_HAS(run.out, "can be started\n");
	CHECK_INT(run.code, 0);
	/* Another machine's hvisor cannot be asked here. */
	HVISOR("zone", "check", "--arch", "riscv64", "zone.json");
	CHECK(!strstr(run.err, "/dev/hvisor"));
}

/* All wrong files at once, and nobody is asked for anything. */
static void test_check(void)
{
	struct zone_tree tree = zone_tree_good();

	set_up();
	HVISOR("zone", "check", "--arch", "arm64", "--virtio", "virtio.json", "zone.json");
	CHECK_STR(run.err, "");
	CHECK_STR(run.out, "zone.json: zone 1 (linux2) can be started\n");
	CHECK_INT(run.code, 0);
	tree.window[1].number = 47;
	zone_write_tree(&tree);
	VIRTIO_JSON("'size': '0x10000000'", "'size': '0x20000000'");
	unlink("Image");
	HVISOR("zone", "check", "--arch", "arm64", "--virtio", "virtio.json", "zone.json");
	check_failed(2, "hvisor: zone.json: kernel_filepath: \"./Image\" cannot be opened: No such file or directory");
	CHECK_HAS(run.err, "hvisor: ./zone.dtb: /virtio_mmio@a003c00: its interrupt is 79 as hvisor counts");
	CHECK_HAS(run.err,
		  "virtio.json: a memory_region of zone 1 is 0x50000000-0x6fffffff as root sees it, but the ram "
		  "regions of zone.json are 0x50000000-0x5fffffff\n");
	CHECK_INT(standin->ncalls, 0);
}

/* virtio start is hvisor-launch, with all words behind it. */
static void test_virtio_start(void)
{
	set_up();
	HVISOR("virtio", "start", "--check", "missing.json");
	CHECK_INT(run.code, 2);
	CHECK_HAS(run.err, "hvisor-launch: missing.json: cannot be read: No such file or directory\n");
	HVISOR("--hv", "sim:gone", "virtio", "start", "virtio.json", "--run", "run", "--log-dir", "log");
	CHECK_HAS(run.err, "/gone: it is not there");
	CHECK_INT(run.code, 1);
}

static void test_wrong_words(void)
{
	static const struct {
		const char *word[4];
		const char *message;
	} cases[] = {
		{{NULL}, "hvisor: no command is given; see hvisor --help\n"},
		{{"zone"}, "hvisor: zone: what about it? See hvisor --help\n"},
		{{"zones", "list"}, "hvisor: zones: no such command; did you mean zone?\n"},
		{{"zone", "shutdwn"}, "hvisor: zone shutdwn: no such command; did you mean shutdown?\n"},
		{{"virtio", "frobnicate"}, "hvisor: virtio frobnicate: no such command; see hvisor --help\n"},
		{{"virtio", "add", "b.json"},
		 "hvisor: virtio add: devices are not added one file after another: put "
		 "them into that of virtio start, end it with hvisor-launch --stop, and"},
		{{"zone", "start"},
		 "hvisor: zone start: the zone file is missing; try: hvisor zone start zone1.json\n"},
		{{"zone", "start", "a", "b"}, "hvisor: zone start: \"b\" is one argument too many\n"},
		{{"zone", "list", "--jsn"}, "hvisor: --jsn: no such option; did you mean --json?\n"},
		{{"zone", "list", "-id", "1"}, "hvisor: -id goes only with zone shutdown, not with zone list\n"},
		{{"zone", "shutdown", "--json"}, "hvisor: --json goes only with zone list, not with zone shutdown\n"},
		{{"zone", "list", "--hv"}, "hvisor: --hv: needs an argument; see hvisor --help\n"},
		{{"zone", "start", "--arch", "vax"},
		 "hvisor: --arch: is \"vax\"; must be arm64, riscv64, loongarch64 or"},
	};
	size_t i;

	set_up();
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *words[5] = {cases[i].word[0], cases[i].word[1], cases[i].word[2], cases[i].word[3], NULL};

		hvisor(words);
		check_failed(2, cases[i].message);
	}
	HVISOR("--help");
	CHECK_INT(run.code, 0);
	CHECK_HAS(run.out, "usage: hvisor zone start");
	HVISOR("zone", "list", "--help");
	CHECK_INT(run.code, 0);
	CHECK_HAS(run.out, "usage: hvisor zone start");
	HVISOR("--version");
	CHECK_INT(run.code, 0);
	CHECK_STR(run.out, "hvisor " HVISOR_VERSION "\n");
	HVISOR("zone", "list", "--hv", "missing");
	check_failed(1, "hvisor: cannot open missing: it is not there; is the module loaded (modprobe hvisor)?\n");
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"hvisor_start", test_start, 0},
		{"hvisor_start_version_6", test_start_version_6, 0},
		{"hvisor_start_refused", test_start_refused, 0},
		{"hvisor_start_fails", test_start_fails, 0},
		{"hvisor_shutdown", test_shutdown, 0},
		{"hvisor_list", test_list, 0},
		{"hvisor_check", test_check, 0},
		{"hvisor_check_asks", test_check_asks, 0},
		{"hvisor_virtio_start", test_virtio_start, 0},
		{"hvisor_wrong_words", test_wrong_words, 0},
		/* Only root can put another /dev in the place of this one. */
		{"hvisor_check_at_home", test_check_at_home, 0},
	};
	size_t n = sizeof(tests) / sizeof(tests[0]);

	if (geteuid() != 0)
		printf("# not without root: %s\n", tests[--n].name);
	return test_main(argc, argv, tests, n);
}
