/* SPDX-License-Identifier: MIT */
/*
 * A hostile guest. Every attack of attack.h is made on every queue that it fits, under the real launcher with confined
 * backends, while another device of the same guest and one of another zone are under a load that checks itself.
 *
 * What must hold: the device asks for a reset at worst, its process lives, an honest driver can use it after a reset;
 * no request of the others fails or is late; nothing outside the guest's memory is written or read. Around each of the
 * attacker's memory regions lies memory that is not his, full of a secret; its bytes must stay, and must come up
 * nowhere else: not in his memory, his image, his frames or his terminal.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "tests/sim/attack.h"
#include "tests/sim/guest_load.h"
#include "tests/sim/net_rig.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

#define PAGE 4096u
#define MIB (1u << 20)
#define SECRET "\xd1\x5c\x0e\x7a\x93\xe4\x2b\xf8"
#define EDGE "\x81\x42\x33\x84\x65\xa6\xe7\xc8"
#define WORD 8u /* bytes of each */

/* The attacker's memory: two regions of the board's one, with what is not his before, between and behind. */
#define BOARD_MIB 7u
#define FIRST (RIG_RAM + 0x10000u)
#define FIRST_SIZE (2u * MIB)
#define SECOND (FIRST + FIRST_SIZE + 0x10000u)
#define SECOND_SIZE (4u * MIB)
#define AREA (SECOND + SECOND_SIZE - ATTACK_AREA)

/* The other zone's. Both have the same addresses of their own. */
#define OTHER_ZONE 2u
#define OTHER_RAM 0x60000000u
#define OTHER_MIB 4u

#define IMAGE_BYTES MIB
#define LOAD_BLOCKS 64u
#define LOAD_DEPTH 4u
#define LATE_MS 10000u /* of a request beside an attack, on a machine with other work */
#define ACCESSES 400u
#define OUTCOME_MS 30000
#define QUIESCE_MS 30000 /* only a backend that hangs is cut off, not one that gets no processor */
#define FEED_NS 1000000u

enum {
	BLK,
	BESIDE,
	NET,
	CONSOLE,
	RNG,
	OTHER,
	DEVICES
};
static const char *const names[DEVICES] = {"blk0", "blk1", "net0", "console0", "rng0", "blk2"};

/* A device that must not notice anything. */
struct bystander {
	struct guest *guest;
	struct guest_blk blk;
	struct guest_load load;
	uint32_t device;
	uint32_t cpu;
	pthread_t thread;
	bool stop;
	int error;
};

struct attacks {
	struct rig rig;
	struct gmem mem; /* what the attacker's honest drivers may use: his regions without what is watched */
	struct guest other;
	struct bystander beside[2];
	uint64_t base; /* of the device under attack */
	uint64_t fed_ns;
	int host; /* the tap's other end */
	int terminal;
	int image;
	bool leaked;
};

static struct attacks attacks;

static uint64_t attack_device_read(void *arg, uint32_t cpu, uint32_t offset, uint32_t size)
{
	struct attacks *a = arg;

	return sim_mmio_read(&a->rig.sim, RIG_ZONE, cpu, a->base + offset, size);
}

static void attack_device_write(void *arg, uint32_t cpu, uint32_t offset, uint32_t size, uint64_t value)
{
	struct attacks *a = arg;

	sim_mmio_write(&a->rig.sim, RIG_ZONE, cpu, a->base + offset, size, value);
}

/* The devices' other ends */

static bool has_secret(const void *bytes, size_t len)
{
	return memmem(bytes, len, SECRET, WORD) || memmem(bytes, len, EDGE, WORD);
}

static void take_all(struct attacks *a, int fd)
{
	static uint8_t bytes[1u << 17];
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		a->leaked |= has_secret(bytes, (size_t)n);
}

/* Another frame and another line for the guest, now and then; what it sent is looked at. */
static void feed(void *arg)
{
	static const uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5};
	struct attacks *a = arg;
	ssize_t sent = 0;

	if (a->fed_ns + FEED_NS > test_now_ns())
		return;
	a->fed_ns = test_now_ns();
	take_all(a, a->host);
	take_all(a, a->terminal);
	/* What finds no room is dropped. */
	if (a->base == rig_base(NET))
		sent = write(a->host, frame, sizeof(frame));
	if (a->base == rig_base(CONSOLE))
		sent = write(a->terminal, "words\n", 6);
	CHECK(sent >= 0 || errno == EAGAIN || errno == ENOBUFS || errno == ENETDOWN);
}

static void open_ends(struct attacks *a)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex("hvt0")};
	struct termios raw;
	int on = 1;

	a->host = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK(a->host >= 0);
	CHECK_INT(setsockopt(a->host, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	CHECK_INT(bind(a->host, (struct sockaddr *)&address, sizeof(address)), 0);
	a->terminal = open("run/console0", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	CHECK(a->terminal >= 0);
	CHECK_INT(tcgetattr(a->terminal, &raw), 0);
	cfmakeraw(&raw);
	CHECK_INT(tcsetattr(a->terminal, TCSANOW, &raw), 0);
	a->image = open("disk0.img", O_RDONLY | O_CLOEXEC);
	CHECK(a->image >= 0);
}

/* What is not the attacker's */

static uint8_t *board(const struct attacks *a)
{
	return gmem_at(sim_zone_memory(&a->rig.sim, RIG_ZONE), RIG_RAM, BOARD_MIB * MIB);
}

/* Before, between and behind his regions. Also the pages of these that nobody gives to a device. */
static const struct attack_region watched[] = {
	{RIG_RAM, FIRST - RIG_RAM},
	{FIRST + FIRST_SIZE, SECOND - FIRST - FIRST_SIZE},
	{SECOND + SECOND_SIZE, RIG_RAM + BOARD_MIB *MIB - SECOND - SECOND_SIZE},
	{FIRST, PAGE},
	{FIRST + FIRST_SIZE - PAGE, PAGE},
	{SECOND, PAGE},
};
#define WATCHED (sizeof(watched) / sizeof(watched[0]))
#define SECRETS 3u /* of them, the rest is his own */

static uint8_t watched_byte(uint32_t i, uint64_t n)
{
	return (uint8_t)(i < SECRETS ? SECRET[n % WORD] : EDGE[n % WORD]);
}

static void watched_fill(struct attacks *a)
{
	uint64_t n;
	uint32_t i;

	for (i = 0; i < WATCHED; i++) {
		for (n = 0; n < watched[i].size; n++)
			board(a)[watched[i].gpa - RIG_RAM + n] = watched_byte(i, n);
	}
}

/* What has been touched or read that must not be; NULL: nothing. */
static const char *trespass(void *arg)
{
	struct attacks *a = arg;
	static uint8_t image[IMAGE_BYTES];
	static char said[80];
	const uint8_t *at;
	uint64_t n;
	uint32_t i;

	for (i = 0; i < WATCHED; i++) {
		at = board(a) + (watched[i].gpa - RIG_RAM);
		for (n = 0; n < watched[i].size && at[n] == watched_byte(i, n); n++)
			;
		if (n < watched[i].size) {
			snprintf(said, sizeof(said), "memory was written at 0x%llx",
				 (unsigned long long)(watched[i].gpa + n));
			return said;
		}
	}
	if (sim_guards_broken(&a->rig.sim)) {
		snprintf(said, sizeof(said), "memory was written around %s", sim_guards_broken(&a->rig.sim));
		return said;
	}
	CHECK_INT(pread(a->image, image, sizeof(image), 0), sizeof(image));
	if (has_secret(image, sizeof(image)))
		return "the secret is in the image";
	if (has_secret(board(a) + (AREA - RIG_RAM), ATTACK_AREA))
		return "the secret is in the attacker's memory";
	take_all(a, a->host);
	take_all(a, a->terminal);
	return a->leaked ? "the secret was sent" : NULL;
}

/* Bystanders */

static void *stand_by(void *arg)
{
	struct bystander *b = arg;

	while (!b->error && !__atomic_load_n(&b->stop, __ATOMIC_RELAXED))
		b->error = guest_load_run(&b->load, 20);
	return NULL;
}

static void bystander_start(struct bystander *b)
{
	const struct guest_blk_options options = {
		.depth = LOAD_DEPTH, .data_max = GUEST_LOAD_BLOCK, .cpu = b->cpu, .queue_size = 64};

	CHECK_INT(guest_blk_open(&b->blk, b->guest, rig_base(b->device), rig_irq(b->device), &options), 0);
	CHECK_INT(guest_load_init(&b->load, &b->blk, 0, LOAD_BLOCKS, 0, test_random()), 0);
	CHECK_INT(pthread_create(&b->thread, NULL, stand_by, b), 0);
}

static void bystander_finish(struct bystander *b)
{
	const char *name = names[b->device];

	__atomic_store_n(&b->stop, true, __ATOMIC_RELAXED);
	CHECK_INT(pthread_join(b->thread, NULL), 0);
	CHECK_INT(b->error, 0);
	CHECK_INT(guest_load_check(&b->load), 0);
	printf("# beside it %s did %llu requests, the longest in %llu us\n", name, (unsigned long long)b->load.done,
	       (unsigned long long)b->load.longest_ns / 1000);
	if (b->load.errors || b->load.wrong)
		TEST_FAIL("%s: %s", name, b->load.what);
	CHECK(b->load.done > 100);
	CHECK(b->load.longest_ns < LATE_MS * 1000000ull);
	guest_load_finish(&b->load);
	guest_blk_close(&b->blk);
}

/* The system */

static void configure(struct attacks *a)
{
	FILE *file = fopen(a->rig.config, "we");
	static const char *const device[DEVICES] = {
		"\"type\": \"blk\", \"img\": \"disk0.img\"",
		"\"type\": \"blk\", \"img\": \"disk1.img\"",
		"\"type\": \"net\", \"tap\": \"hvt0\", \"mac\": [2, 0, 0, 0, 1, 1]",
		"\"type\": \"console\", \"ports\": [{}, {\"name\": \"data\"}]",
		"\"type\": \"rng\"",
		"\"type\": \"blk\", \"img\": \"disk2.img\"",
	};
	uint32_t i;

	CHECK(file);
	fprintf(file,
		"{\"zones\": [{\"id\": %u, \"memory_region\": [{\"zone0_ipa\": %u, \"zonex_ipa\": %u, \"size\": %u},\n"
		"\t{\"zone0_ipa\": %u, \"zonex_ipa\": %u, \"size\": %u}], \"devices\": [\n",
		RIG_ZONE, FIRST, FIRST, FIRST_SIZE, SECOND, SECOND, SECOND_SIZE);
	for (i = 0; i < DEVICES; i++) {
		if (i == OTHER)
			fprintf(file,
				"]}, {\"id\": %u, \"memory_region\": [{\"zone0_ipa\": %u, \"zonex_ipa\": %u, \"size\": "
				"%u}], \"devices\": [\n",
				OTHER_ZONE, OTHER_RAM, RIG_RAM, OTHER_MIB * MIB);
		fprintf(file, "\t{%s, \"addr\": %llu, \"len\": 512, \"irq\": %u}%s\n", device[i],
			(unsigned long long)rig_base(i), rig_irq(i), i + 1 == OTHER || i == OTHER ? "" : ",");
	}
	fprintf(file, "]}]}\n");
	CHECK_INT(fclose(file), 0);
}

/* The driver of the disk beside uses none of what is watched, and not the attacks' area. */
static void share_memory(struct attacks *a)
{
	a->mem = (struct gmem){
		.nspans = 2,
		.span = {{.gpa = FIRST + PAGE,
			  .size = FIRST_SIZE - 2 * PAGE,
			  .base = board(a) + (FIRST + PAGE - RIG_RAM)},
			 {.gpa = SECOND + PAGE,
			  .size = AREA - SECOND - PAGE,
			  .base = board(a) + (SECOND + PAGE - RIG_RAM)}},
	};
	guest_finish(&a->rig.guest);
	CHECK_INT(guest_init_memory(&a->rig.guest, &a->mem), 0);
	a->rig.guest.sim = &a->rig.sim;
	a->rig.guest.zone = RIG_ZONE;
}

static void begin(struct attacks *a)
{
	const struct hvisor_memory memory = {OTHER_RAM, RIG_RAM, OTHER_MIB * MIB};
	uint32_t i;

	net_rig_enter_namespace();
	rig_init(&a->rig, BOARD_MIB);
	a->rig.sim.quiesce_ms = QUIESCE_MS;
	CHECK_INT(sim_zone_add(&a->rig.sim, OTHER_ZONE, &memory, 1), 0);
	CHECK_INT(guest_init(&a->other, &a->rig.sim, OTHER_ZONE), 0);
	share_memory(a);
	watched_fill(a);
	scratch_run("truncate -s %u disk0.img disk1.img disk2.img", IMAGE_BYTES);
	configure(a);
	rig_launch(&a->rig, NULL);
	rig_await_launcher(&a->rig);
	for (i = 0; i < DEVICES; i++)
		rig_await_starts(&a->rig, names[i], 1);
	open_ends(a);
	a->beside[0] = (struct bystander){.guest = &a->rig.guest, .device = BESIDE, .cpu = 2};
	a->beside[1] = (struct bystander){.guest = &a->other, .device = OTHER, .cpu = 3};
	bystander_start(&a->beside[0]);
	bystander_start(&a->beside[1]);
}

static void finish(struct attacks *a)
{
	uint32_t i;

	bystander_finish(&a->beside[0]);
	bystander_finish(&a->beside[1]);
	if (has_secret(board(a) + (FIRST + PAGE - RIG_RAM), FIRST_SIZE - 2 * PAGE) ||
	    has_secret(board(a) + (SECOND + PAGE - RIG_RAM), SECOND_SIZE - PAGE))
		TEST_FAIL("the secret is in the attacker's memory");
	/* No backend has died of it, not even that of the device under attack. */
	for (i = 0; i < DEVICES; i++) {
		if (rig_starts(&a->rig, names[i]) != 1) {
			scratch_run("cat log/%s.log; false", names[i]);
			TEST_FAIL("%s was started %u times", names[i], rig_starts(&a->rig, names[i]));
		}
	}
	guest_finish(&a->other);
	rig_finish(&a->rig);
}

/* All attacks on the queues of a device. */
static void attack_device(uint32_t device)
{
	struct attacks *a = &attacks;
	const struct attack_guest guest = {
		.arg = a,
		.read = attack_device_read,
		.write = attack_device_write,
		.feed = feed,
		.trespass = trespass,
		.unaligned = true,
		.edge = true,
		.window = rig_base(device),
		.area_gpa = AREA,
		.area = board(a) + (AREA - RIG_RAM),
		.nregions = 2,
		.region = {{FIRST, FIRST_SIZE}, {SECOND, SECOND_SIZE}},
		.nothers = 3,
		.other = {RIG_RAM, FIRST + FIRST_SIZE + 0x1000, OTHER_RAM},
		.accesses = ACCESSES,
		.timeout_ms = OUTCOME_MS,
	};
	uint64_t begin_ns = test_now_ns();
	struct attack_count count;

	a->base = rig_base(device);
	count = attack_all(&guest);
	printf("# %u attacks on %s in %llu ms\n", count.made, names[device],
	       (unsigned long long)(test_now_ns() - begin_ns) / 1000000);
	CHECK(count.made > 0);
	CHECK_INT(count.wrong, 0);
}

static void attack_beside(uint32_t device)
{
	begin(&attacks);
	attack_device(device);
	finish(&attacks);
}

static void test_blk(void)
{
	attack_beside(BLK);
}

static void test_net(void)
{
	attack_beside(NET);
}

static void test_console(void)
{
	attack_beside(CONSOLE);
}

static void test_rng(void)
{
	attack_beside(RNG);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"attacks_on_blk", test_blk, 300},
		{"attacks_on_net", test_net, 300},
		{"attacks_on_console", test_console, 300},
		{"attacks_on_rng", test_rng, 300},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
