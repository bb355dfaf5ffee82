/* SPDX-License-Identifier: MIT */
/*
 * "make soak": for so many seconds faults at random, one to three at a time, and all kinds of them in turn; the table
 * at the end, or when anything is wrong, says what was survived and what was checked. usage: soak SECONDS [SEED] the
 * same seed gives the same faults in the same order, at other moments of the load
 */
#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/soak/soak.h"
#include "tests/test.h"

#define SECONDS_MAX (30u * 24 * 3600)
#define END_S 300u /* what the end may take */
#define BURST_MAX 3u
#define REST_MS 200u
#define DESCRIPTORS_MORE 2
#define LET_GO_MS 10000

#define FEATURE(name) (1ull << (name))

static struct soak_device devices[] = {
	{.name = "blk0", .load = &soak_blk, .zone = 0, .kept = true, .keys = "\"img\": \"" SOAK_IMAGES "/blk0.img\""},
	{.name = "blk1",
	 .load = &soak_blk,
	 .zone = 0,
	 .kept = true,
	 .keys = "\"img\": \"" SOAK_IMAGES "/blk1.img\", \"engine\": \"preadv\", \"cache\": \"writethrough\"",
	 .without = FEATURE(VIRTIO_RING_F_EVENT_IDX)},
	{.name = "blk2",
	 .load = &soak_blk,
	 .zone = 1,
	 .kept = true,
	 .keys = "\"img\": \"" SOAK_IMAGES "/blk2.img\", \"readonly\": true",
	 .readonly = true},
	{.name = "blk3",
	 .load = &soak_blk,
	 .zone = 1,
	 .kept = true,
	 .keys = "\"img\": \"" SOAK_IMAGES "/blk3.img\", \"engine\": \"io_uring\"",
	 .without = FEATURE(VIRTIO_RING_F_INDIRECT_DESC)},
	{.name = "net0", .load = &soak_net, .zone = 0, .keys = "\"tap\": \"net0\", \"mac\": [2, 0, 0, 0, 1, 1]"},
	{.name = "net1",
	 .load = &soak_net,
	 .zone = 1,
	 .kept = true,
	 .keys = "\"tap\": \"net1\", \"mac\": [2, 0, 0, 0, 1, 2], \"create\": false"},
	{.name = "console0", .load = &soak_console, .zone = 0, .keys = "\"backend\": \"pty\""},
	{.name = "console1", .load = &soak_console, .zone = 1, .keys = "\"backend\": \"socket\""},
	{.name = "rng0", .load = &soak_rng, .zone = 0, .kept = true, .keys = "\"rate\": 0"},
	{.name = "rng1", .load = &soak_rng, .zone = 1, .kept = true, .keys = "\"rate\": 0"},
};

static struct soak soak;
static uint32_t seconds;
static bool passed;

static void print_faults(void)
{
	const struct soak_fault *fault;

	printf("#\n# %-30s %7s %9s %13s %13s\n", "fault", "times", "survived", "heals in (ms)", "longest (ms)");
	for (fault = soak_fault; fault < soak_fault + soak_faults; fault++)
		printf("# %-30s %7u %9u %13.1f %13.1f\n", fault->name, fault->times, fault->survived,
		       fault->survived ? (double)fault->sum_ns / fault->survived / 1e6 : 0,
		       (double)fault->longest_ns / 1e6);
}

static void print_devices(void)
{
	const struct soak_device *device;

	printf("#\n# %-9s %4s %8s %15s %-9s %8s %8s %13s\n", "device", "zone", "backends", "checked", "", "lost",
	       "allowed", "longest (ms)");
	for (device = soak.device; device < soak.device + soak.ndevices; device++)
		printf("# %-9s %4u %8u %15llu %-9s %8llu %8llu %13.1f\n", device->name, RIG_ZONE + device->zone,
		       rig_starts(&soak.rig, device->name), (unsigned long long)device->figures.checked,
		       device->load->unit, (unsigned long long)device->figures.lost,
		       (unsigned long long)device->figures.lost_allowed, (double)device->longest_ns / 1e6);
	printf("# Lost: of frames, the guest's; of consoles, what was in a driver's buffers when it reset its "
	       "device.\n#\n");
}

/* Failed requests, wrong blocks, torn or doubled frames and bytes end it at once. */
static void print_end(void)
{
	const struct soak_device *device;
	char log[400];

	if (passed)
		return;
	print_faults();
	print_devices();
	printf("# the last faults: %s\n", soak.burst);
	fflush(stdout);
	snprintf(log, sizeof(log), "%s/" SOAK_EARLIER, soak.rig.dir);
	rig_show(&soak.rig, log);
	rig_show(&soak.rig, soak.rig.errors);
	for (device = soak.device; device < soak.device + soak.ndevices; device++) {
		snprintf(log, sizeof(log), "%s.log", device->name);
		rig_show(&soak.rig, log);
	}
}

static uint64_t checked(const struct soak_load *load)
{
	const struct soak_device *device;
	uint64_t sum = 0;

	for (device = soak.device; device < soak.device + soak.ndevices; device++)
		sum += device->load == load ? device->figures.checked : 0;
	return sum;
}

static void print_progress(uint64_t begin)
{
	const struct soak_fault *fault;
	uint32_t times = 0;

	for (fault = soak_fault; fault < soak_fault + soak_faults; fault++)
		times += fault->times;
	printf("# %4.0f s: %u faults; checked: %llu requests, %llu frames, %llu MB of consoles, %llu MB of entropy\n",
	       (double)(test_now_ns() - begin) / 1e9, times, (unsigned long long)checked(&soak_blk),
	       (unsigned long long)checked(&soak_net), (unsigned long long)checked(&soak_console) / 1000000,
	       (unsigned long long)checked(&soak_rng) / 1000000);
	fflush(stdout);
}

/* A launcher at rest has no more descriptors than one that has just started. */
static int has_let_go(void *arg)
{
	static int least = INT_MAX;
	char path[64];
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", soak.rig.launcher);
	dir = opendir(path);
	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	*(int *)arg = n;
	if (n < least)
		least = n;
	return n <= least + DESCRIPTORS_MORE;
}

static void check_descriptors(void)
{
	int n;

	if (!test_wait(has_let_go, &n, LET_GO_MS))
		TEST_FAIL("the launcher keeps %d descriptors", n);
}

/* Each kind once, in an order of chance, then all of them again. */
static struct soak_fault *next_fault(void)
{
	static struct soak_fault *deck[32];
	static uint32_t left;
	struct soak_fault *fault;
	uint32_t i;

	if (left == 0) {
		for (; left < soak_faults; left++)
			deck[left] = &soak_fault[left];
	}
	i = (uint32_t)test_random_below(left);
	fault = deck[i];
	deck[i] = deck[--left];
	return fault;
}

static void burst(void)
{
	uint32_t n = 1;
	uint32_t i;

	while (n < BURST_MAX && test_random_below(3) == 0)
		n++;
	soak_heal_begin(&soak);
	for (i = 0; i < n; i++) {
		soak_inject(&soak, next_fault());
		if (i + 1 < n)
			poll(NULL, 0, (int)test_random_below(20));
	}
	soak_heal_await(&soak);
	check_descriptors();
}

static void run_faults(uint64_t begin)
{
	uint64_t end = begin + seconds * 1000000000ull;
	uint64_t every = (seconds >= 120 ? 10u : 2u) * 1000000000ull;
	uint64_t next = begin + every;
	uint32_t bursts = 0;

	/* All kinds at least once. */
	while (test_now_ns() < end || bursts < soak_faults) {
		burst();
		bursts++;
		poll(NULL, 0, (int)test_random_below(REST_MS));
		if (test_now_ns() > next) {
			print_progress(begin);
			next = test_now_ns() + every;
		}
	}
}

static void run(void)
{
	struct soak_device *device;
	uint64_t begin;

	soak_init(&soak, devices, sizeof(devices) / sizeof(devices[0]));
	/* Before the folder is removed. */
	atexit(print_end);
	begin = test_now_ns();
	soak_heal_start(&soak);
	soak_heal_await_others(&soak, -1, "the start");
	run_faults(begin);
	soak_heal_stop(&soak);
	for (device = soak.device; device < soak.device + soak.ndevices; device++)
		soak_device_order(device, SOAK_FINISH);
	for (device = soak.device; device < soak.device + soak.ndevices; device++)
		CHECK_INT(pthread_join(device->thread, NULL), 0);
	print_progress(begin);
	print_faults();
	print_devices();
	soak_finish(&soak);
	printf("# no request failed; no block, image, frame, byte or answer was wrong, torn or doubled\n");
	passed = true;
}

int main(int argc, char **argv)
{
	struct test test = {"soak", run, 0};
	char seed[32];
	char *end;

	seconds = argc > 1 ? (uint32_t)strtoul(argv[1], &end, 10) : 0;
	if (argc < 2 || argc > 3 || *end || seconds < 1 || seconds > SECONDS_MAX) {
		fprintf(stderr, "usage: soak SECONDS [SEED]    (1 to %u seconds)\n", SECONDS_MAX);
		return 2;
	}
	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)test_now_ns());
	setenv("TEST_SEED", argc > 2 && argv[2][0] ? argv[2] : seed, 1);
	printf("# %u s; the same faults again: make soak SECONDS=%u SEED=%s\n", seconds, seconds, getenv("TEST_SEED"));
	test.limit_s = seconds + END_S;
	return test_main(1, argv, &test, 1);
}
