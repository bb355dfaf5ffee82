/* SPDX-License-Identifier: MIT */
/*
 * hvisor-rng from the inside. The device's clock and its source are this test's, so that no second has to pass to count
 * what it gives in one, and so that the source can fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/unit/ring.h"

#define SECOND_NS 1000000000ull

static uint64_t fake_now_ns = SECOND_NS;
static int64_t fake_left = INT64_MAX; /* bytes that the source gives before it fails */
static size_t fake_piece = SIZE_MAX; /* the most that it gives at once */
static uint8_t fake_byte; /* the next one: it counts */

static long fake_syscall(long nr, void *at, size_t len, int flags)
{
	size_t i;

	CHECK_INT(nr, SYS_getrandom);
	CHECK_INT(flags, 0);
	CHECK(len > 0);
	if (fake_left == 0) {
		errno = EFAULT;
		return -1;
	}
	if (len > fake_piece)
		len = fake_piece;
	if ((int64_t)len > fake_left)
		len = (size_t)fake_left;
	for (i = 0; i < len; i++)
		((uint8_t *)at)[i] = fake_byte++;
	fake_left -= (int64_t)len;
	return (long)len;
}

#define syscall fake_syscall
#define main rng_main
int rng_main(int argc, char **argv);
#include "backends/rng.c"
#undef main
#undef syscall

#define NUM 64u
#define ROOM (RING_MEMORY - RING_DATA)

struct rig {
	struct ring ring;
	struct queue_region region;
	uint8_t ram[RING_RAM] __attribute__((aligned(4096)));
	uint16_t seen; /* used->idx */
	int log_fd;
	int stderr_fd;
};

/* A device that is served; what it logs goes to a file from here on. */
static struct rig *rig_new(const char *rate)
{
	static struct rig rig;
	int call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	CHECK(call >= 0 && dup2(call, BACKEND_FD_CALL) == BACKEND_FD_CALL);
	memset(&rig, 0, sizeof(rig));
	rig.stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 64);
	rig.log_fd = memfd_create("log", MFD_CLOEXEC);
	CHECK(rig.log_fd >= 0 && rig.stderr_fd >= 0);
	backend = (struct backend){.ops = &rng_ops, .device = &device, .region = &rig.region, .now_ns = fake_now_ns};
	memset(&device, 0, sizeof(device));
	if (rate)
		CHECK_INT(rng_option(&backend, "rate", rate), 0);
	CHECK_INT(rng_start(&backend), 0);
	ring_init(&rig.ring, rig.ram, NUM);
	CHECK_INT(ring_open(&rig.ring, &backend.vq[0], 0), 0);
	backend.ready_queues = 1;
	fake_byte = 0;
	return &rig;
}

/* Lets the device run with its log in a file; true if it did anything. */
static bool run(struct rig *rig)
{
	bool did;

	backend.now_ns = fake_now_ns;
	CHECK(dup2(rig->log_fd, STDERR_FILENO) >= 0);
	did = rng_run(&backend);
	CHECK(dup2(rig->stderr_fd, STDERR_FILENO) >= 0);
	return did;
}

static void check_log(struct rig *rig, const char *part)
{
	char text[4096];
	ssize_t n = pread(rig->log_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = 0;
	CHECK_HAS(text, part);
}

static void add(struct rig *rig, uint16_t head, uint32_t len)
{
	ring_desc_set(&rig->ring, head, RING_GPA + RING_DATA, len, VRING_DESC_F_WRITE, 0);
	ring_add(&rig->ring, head);
}

/* The length of the next used element; -1 if there is none. */
static int64_t used(struct rig *rig)
{
	const struct vring_used *ring = rig->ring.used;

	if (ring->idx == rig->seen)
		return -1;
	return ring->ring[rig->seen++ % NUM].len;
}

static void test_options(void)
{
	static const char *const bad[] = {"", "-1", "1000000001", "1k", "0x", " 1"};
	size_t i;

	rig_new("1000000000");
	CHECK_INT(device.per_s, 1000000000);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(rng_option(&backend, "rate", bad[i]), -EINVAL);
	CHECK_INT(rng_option(&backend, "rats", "1"), -EINVAL);
	CHECK_INT(rng_option(&backend, "rate", "0"), 0);
	CHECK_INT(device.per_s, 0);
}

/* Whatever lengths its driver asks for, in 20 seconds of the device's own time it gives what is allowed. */
static void rate_holds(const char *rate, uint32_t len_max)
{
	struct rig *rig = rig_new(rate);
	double seconds = device.per_s < 100 ? 2000 : 20;
	uint64_t begin = fake_now_ns;
	uint64_t end = begin + (uint64_t)(seconds * 1e9);
	uint64_t sum = 0;
	int64_t len;

	while (fake_now_ns < end) {
		add(rig, 0, 1 + (uint32_t)test_random_below(len_max));
		while ((len = used(rig)) < 0) {
			CHECK_INT(backend.passive_queues, 0);
			if (run(rig)) {
				CHECK_INT(backend.wake_ns, 0);
				continue;
			}
			/* It waits in its sleep, and says until when. */
			CHECK_INT(backend.passive_queues, 1);
			CHECK(backend.wake_ns > fake_now_ns);
			/* A driver that notifies it meanwhile gains nothing. */
			fake_now_ns += (backend.wake_ns - fake_now_ns) / 2;
			if (fake_now_ns + 1 < backend.wake_ns) {
				CHECK(!run(rig));
				CHECK_INT(used(rig), -1);
			}
			fake_now_ns = backend.wake_ns;
			CHECK(run(rig));
		}
		CHECK(len > 0 && len <= len_max);
		sum += (uint64_t)len;
	}
	seconds = (double)(fake_now_ns - begin) / 1e9;
	if ((double)sum > (double)device.per_s * seconds + 1 ||
	    (double)sum < (double)device.per_s * seconds * 0.99 - 64)
		TEST_FAIL("rate %s, up to %u bytes a request: %llu in %.1f s", rate, len_max, (unsigned long long)sum,
			  seconds);
	CHECK(core_load(&rig->region.device.own[RNG_OWN_LIMITED]) > 0);
	CHECK_INT(core_load(&rig->region.device.bytes_read), sum);
}

static void test_rate(void)
{
	rate_holds("1", 64);
	rate_holds("64", 100);
	rate_holds("1000", 1);
	rate_holds("5000", 64);
	rate_holds("5000", ROOM);
	rate_holds("1000000", 512);
	rate_holds("50000000", ROOM);
}

/* After a rest there is the burst, and not more. */
static void test_burst(void)
{
	struct rig *rig = rig_new("10000");
	uint16_t i;

	fake_now_ns += 3600 * SECOND_NS;
	for (i = 0; i < 10; i++)
		add(rig, i, 300);
	CHECK(run(rig));
	CHECK(!run(rig));
	for (i = 0; i < 3; i++)
		CHECK_INT(used(rig), 300);
	CHECK_INT(used(rig), -1);
	CHECK_INT(backend.wake_ns, fake_now_ns + 20000000);
	CHECK_INT(core_load(&rig->region.device.requests), 3);
	/* Nothing waits: there is no time to wake at. */
	rig = rig_new("10000");
	CHECK(!run(rig));
	CHECK_INT(backend.wake_ns, 0);
	CHECK_INT(backend.passive_queues, 0);
}

/* Without a limit, a long chain is not filled whole, and many are not taken in one turn. */
static void test_batch(void)
{
	struct rig *rig = rig_new(NULL);
	uint16_t i;

	for (i = 0; i < 10; i++)
		add(rig, i, ROOM);
	CHECK(run(rig));
	for (i = 0; i < 4; i++)
		CHECK_INT(used(rig), 64 << 10);
	CHECK_INT(used(rig), -1);
	CHECK_INT(backend.passive_queues, 0);
	CHECK(run(rig));
	for (i = 0; i < 4; i++)
		CHECK_INT(used(rig), 64 << 10);
	CHECK_INT(used(rig), -1);
}

/* The source gives less than it was asked for: it is asked again, and nothing is left out or twice. */
static void test_pieces(void)
{
	struct rig *rig = rig_new(NULL);
	static const uint32_t len[] = {1, 0, 999, 3000, 64};
	uint32_t at = RING_DATA;
	uint16_t i;
	uint32_t n;

	fake_piece = 37;
	for (i = 0; i < 5; i++) {
		ring_desc_set(&rig->ring, i, RING_GPA + at, len[i],
			      (uint16_t)(VRING_DESC_F_WRITE | (i < 4 ? VRING_DESC_F_NEXT : 0)), (uint16_t)(i + 1));
		at += len[i];
	}
	ring_add(&rig->ring, 0);
	CHECK(run(rig));
	CHECK_INT(used(rig), at - RING_DATA);
	for (n = 0; n < at - RING_DATA; n++)
		CHECK_INT(rig->ram[RING_DATA + n], (uint8_t)n);
	CHECK_INT(rig->ram[at], 0);
}

/* The memory goes away under the call: the driver is told how far it came. */
static void test_source_fails(void)
{
	struct rig *rig = rig_new(NULL);

	fake_left = 1000;
	add(rig, 0, 4096);
	add(rig, 1, 4096);
	CHECK(run(rig));
	CHECK_INT(used(rig), 1000);
	CHECK_INT(used(rig), 0);
	CHECK_INT(core_load(&rig->region.device.requests), 2);
	CHECK_INT(core_load(&rig->region.device.errors), 2);
	CHECK_INT(core_load(&rig->region.device.bytes_read), 1000);
	check_log(rig, "<0>getrandom: Bad address (0 such lines held back)\n");
	fake_now_ns += 2 * SECOND_NS;
	add(rig, 0, 4096);
	CHECK(run(rig));
	check_log(rig, "<0>getrandom: Bad address (1 such lines held back)\n");
	/* And goes on when it is back. */
	fake_left = INT64_MAX;
	add(rig, 0, 4096);
	CHECK(run(rig));
	CHECK_INT(used(rig), 0);
	CHECK_INT(used(rig), 4096);
}

static void test_start_fails(void)
{
	struct rig *rig = rig_new(NULL);

	fake_left = 0;
	CHECK(dup2(rig->log_fd, STDERR_FILENO) >= 0);
	CHECK_INT(rng_start(&backend), -EFAULT);
	CHECK(dup2(rig->stderr_fd, STDERR_FILENO) >= 0);
	check_log(rig, "<0>getrandom: Bad address\n");
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"rng_options", test_options, 0},
		{"rng_rate", test_rate, 0},
		{"rng_burst", test_burst, 0},
		{"rng_batch", test_batch, 0},
		{"rng_pieces", test_pieces, 0},
		{"rng_source_fails", test_source_fails, 0},
		{"rng_start_fails", test_start_fails, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
