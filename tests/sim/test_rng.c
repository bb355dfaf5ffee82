/* SPDX-License-Identifier: MIT */
/* Entropy devices through the simulator: what a driver gets, when, and what a hostile one does not get. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/backend_fds.h"
#include "common/rng.h"
#include "launcher/devtype.h"
#include "tests/sim/fips.h"
#include "tests/sim/inject.h"
#include "tests/sim/rig.h"
#include "tests/sim/rig_backend.h"
#include "tests/test.h"

#define ZONE_MIB 16
#define AREA (1u << 20) /* the driver's buffers */
#define CANARY 0xcc
#define WAIT_MS 30000
#define INDIRECT_MAX 64
#define FEATURES (VMMIO_F_VERSION_1 | VMMIO_F_INDIRECT_DESC | VMMIO_F_EVENT_IDX | VMMIO_F_RING_RESET)

/* A driver of an entropy device (virtio 1.2, section 5.4). */
struct driver {
	struct guest *guest;
	struct guest_dev dev;
	struct guest_vq vq;
	uint32_t irq_seen;
	uint64_t area_gpa;
	uint8_t *area;
};

struct fixture {
	struct sim sim;
	struct rig_backend backend;
	struct guest guest;
	struct driver driver;
};

static void driver_begin(struct driver *d, uint64_t features)
{
	CHECK_INT(guest_dev_negotiate(&d->dev, 0, features), 0);
	CHECK_INT(guest_vq_open(&d->vq, &d->dev, 0, 0, 0, INDIRECT_MAX), 0);
	guest_vq_interrupts(&d->vq, true);
	CHECK_INT(guest_dev_start(&d->dev, 0), 0);
}

static void driver_open(struct driver *d, struct guest *guest, uint32_t index)
{
	*d = (struct driver){.guest = guest};
	CHECK_INT(guest_dev_probe(&d->dev, guest, rig_base(index), rig_irq(index), 0), 0);
	CHECK_INT(d->dev.device_id, 4);
	d->area_gpa = guest_alloc(guest, AREA);
	d->area = guest_at(guest, d->area_gpa, AREA);
	CHECK(d->area);
	driver_begin(d, FEATURES);
}

static void driver_reset(struct driver *d)
{
	CHECK_INT(guest_dev_reset(&d->dev, 0), 0);
	guest_vq_close(&d->vq);
}

static void driver_close(struct driver *d)
{
	driver_reset(d);
	guest_free(d->guest, d->area_gpa, AREA);
}

/* The token of the next answer, and its length; NULL if none comes in time. */
static void *driver_wait(struct driver *d, uint32_t *len)
{
	uint64_t end = test_now_ns() + WAIT_MS * 1000000ull;
	void *token;

	while (!(token = guest_vq_get(&d->vq, len))) {
		if (test_now_ns() > end)
			return NULL;
		guest_dev_wait(&d->dev, 0, &d->irq_seen, 1000);
	}
	return token;
}

static void driver_add(struct driver *d, const struct guest_buffer *buffer, uint32_t n)
{
	CHECK(guest_vq_add(&d->vq, buffer, n, d) >= 0);
	guest_vq_kick(&d->vq, 0);
}

static uint32_t driver_answer(struct driver *d)
{
	uint32_t len;

	if (!driver_wait(d, &len))
		TEST_FAIL("no answer");
	return len;
}

static uint32_t driver_request(struct driver *d, const struct guest_buffer *buffer, uint32_t n)
{
	driver_add(d, buffer, n);
	return driver_answer(d);
}

/* len random bytes at the beginning of the area. */
static void driver_read(struct driver *d, uint32_t len)
{
	struct guest_buffer buffer = {d->area_gpa, len, true};

	CHECK_INT(driver_request(d, &buffer, 1), len);
}

/* rate: bytes a second, 0 without limit. */
static void set_up(struct fixture *f, uint64_t rate)
{
	memset(f, 0, sizeof(*f));
	CHECK_INT(sim_start(&f->sim, NULL), 0);
	CHECK_INT(rig_zone(&f->sim, ZONE_MIB), 0);
	CHECK_INT(guest_init(&f->guest, &f->sim, RIG_ZONE), 0);
	CHECK_INT(rig_backend_init(&f->backend, &f->sim, &devtype_rng, "rng0"), 0);
	f->backend.config.rng.rate = rate;
	CHECK_INT(rig_backend_start(&f->backend), 0);
	driver_open(&f->driver, &f->guest, 0);
}

static void tear_down(struct fixture *f)
{
	driver_close(&f->driver);
	CHECK_INT(rig_backend_end(&f->backend, SIGTERM), 0);
	rig_backend_finish(&f->backend);
	guest_finish(&f->guest);
	sim_stop(&f->sim);
}

static void check_log(const struct fixture *f, const char *part)
{
	char text[65536];

	rig_backend_log(&f->backend, text, sizeof(text));
	CHECK_HAS(text, part);
}

/* What there is to be found: virtio 1.2, 5.4.2 to 5.4.4. */
static void test_identity(void)
{
	struct fixture f;
	uint32_t i;

	set_up(&f, 0);
	CHECK_INT(f.driver.dev.offered, FEATURES);
	for (i = 0; i < 16; i++)
		CHECK_INT(guest_dev_read(&f.driver.dev, 0, VMMIO_CONFIG + i * 4), 0);
	guest_dev_write(&f.driver.dev, 0, VMMIO_QUEUE_SEL, 0);
	CHECK_INT(guest_dev_read(&f.driver.dev, 0, VMMIO_QUEUE_NUM_MAX), RNG_QUEUE_SIZE);
	guest_dev_write(&f.driver.dev, 0, VMMIO_QUEUE_SEL, 1);
	CHECK_INT(guest_dev_read(&f.driver.dev, 0, VMMIO_QUEUE_NUM_MAX), 0);
	tear_down(&f);
}

/* The tests below would see these. */
static void test_fips(void)
{
	uint8_t block[FIPS_BLOCK];
	uint32_t i;

	memset(block, 0, sizeof(block));
	CHECK_STR(fips_test(block), "monobit");
	memset(block, 0x55, sizeof(block));
	CHECK_STR(fips_test(block), "poker");
	/* Random, but each bit twice. */
	for (i = 0; i < FIPS_BLOCK; i++)
		block[i] = (uint8_t)(3u * (test_random() & 0x55));
	CHECK(fips_test(block));
	/* A hole where nothing was written. */
	do {
		for (i = 0; i < FIPS_BLOCK; i++)
			block[i] = (uint8_t)test_random();
	} while (fips_test(block));
	memset(block + 1000, 0, 8);
	CHECK_STR(fips_test(block), "long run");
}

/* 400 blocks, collected in requests of all kinds of lengths; and no two pieces of it are the same. */
static void test_random_bytes(void)
{
	enum {
		BLOCKS = 400,
		BYTES = BLOCKS * FIPS_BLOCK
	};
	uint8_t *all = malloc(BYTES);
	uint32_t failed = 0;
	struct fixture f;
	uint32_t at, len, i, k;

	CHECK(all);
	set_up(&f, 0);
	for (at = 0; at < BYTES; at += len) {
		len = 1 + (uint32_t)test_random_below(test_random_below(2) ? 100 : 20000);
		if (len > BYTES - at)
			len = BYTES - at;
		driver_read(&f.driver, len);
		memcpy(all + at, f.driver.area, len);
	}
	for (i = 0; i < BLOCKS; i++)
		failed += fips_test(all + i * FIPS_BLOCK) != NULL;
	/* 0.3 are to be expected; as many as this happen once in 10^7 runs. */
	if (failed > 6)
		TEST_FAIL("%u of %u blocks fail a test of FIPS 140-2", failed, BLOCKS);
	for (i = 0; i < 200; i++) {
		for (k = 0; k < i; k++)
			CHECK(memcmp(all + i * FIPS_BLOCK, all + k * FIPS_BLOCK, 16) != 0);
	}
	CHECK_INT(core_load(&f.backend.region->device.bytes_read), BYTES);
	CHECK_INT(core_load(&f.backend.region->device.errors), 0);
	tear_down(&f);
	free(all);
}

/* Every byte of these ranges was written at least once in a few requests, and no other byte ever. */
static void check_filled(struct driver *d, const struct guest_buffer *buffer, uint32_t n)
{
	static uint8_t left[AREA]; /* bytes that are to be seen to change */
	uint64_t total = 0;
	uint32_t tries = 0;
	uint32_t i, k;
	bool more = true;

	memset(left, 0, sizeof(left));
	for (i = 0; i < n; i++) {
		memset(left + (buffer[i].gpa - d->area_gpa), 1, buffer[i].len);
		total += buffer[i].len;
	}
	while (more) {
		/* A random byte is the canary's once in 256 times. */
		CHECK(tries++ < 20);
		memset(d->area, CANARY, AREA);
		CHECK_INT(driver_request(d, buffer, n), total);
		for (i = 0, more = false; i < AREA; i++) {
			if (left[i] == 0) {
				if (d->area[i] != CANARY)
					TEST_FAIL("byte %u was written, which is in no buffer", i);
			} else {
				if (d->area[i] != CANARY)
					left[i] = 2;
				more |= left[i] == 1;
			}
		}
	}
	for (k = 0; k < n; k++)
		CHECK(buffer[k].len == 0 || left[buffer[k].gpa - d->area_gpa] == 2);
}

static void test_lengths(void)
{
	static const uint32_t some[] = {511, 512, 513, 4095, 4096, 4097, 65535, 65536};
	struct guest_buffer buffer;
	struct fixture f;
	uint32_t i;

	set_up(&f, 0);
	/* Buffers of no length: there is nothing to be filled, and they come back. */
	for (i = 0; i <= 64; i++) {
		buffer = (struct guest_buffer){f.driver.area_gpa + 4096 - i / 2, i, true};
		check_filled(&f.driver, &buffer, 1);
	}
	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		buffer = (struct guest_buffer){f.driver.area_gpa + 1 + i, some[i], true};
		check_filled(&f.driver, &buffer, 1);
	}
	/* One that is longer than the device cares for gets at least one byte, and only at its beginning. */
	memset(f.driver.area, CANARY, AREA);
	buffer = (struct guest_buffer){f.driver.area_gpa, AREA, true};
	i = driver_request(&f.driver, &buffer, 1);
	CHECK_INT(i, 64 << 10);
	for (; i < AREA; i++)
		CHECK_INT(f.driver.area[i], CANARY);
	tear_down(&f);
}

/* Chains of up to 40 buffers of any length, none included, at any address, with indirect descriptors and without. */
static void test_chains(void)
{
	struct guest_buffer buffer[40];
	struct fixture f;
	uint32_t round, at, n;

	set_up(&f, 0);
	for (round = 0; round < 60; round++) {
		uint32_t most = (uint32_t)test_random_below(2) ? 40 : 1000;
		uint32_t total = 1 + (uint32_t)test_random_below(40);

		if (round == 30) {
			driver_reset(&f.driver);
			driver_begin(&f.driver, VMMIO_F_VERSION_1);
		}
		at = (uint32_t)test_random_below(5000);
		for (n = 0; n < total; n++) {
			buffer[n] = (struct guest_buffer){f.driver.area_gpa + at, 0, true};
			if (test_random_below(4))
				buffer[n].len = (uint32_t)test_random_below(most);
			at += buffer[n].len + (uint32_t)test_random_below(20);
		}
		check_filled(&f.driver, buffer, total);
	}
	tear_down(&f);
}

static int is_broken(void *arg)
{
	struct fixture *f = arg;

	return (guest_dev_read(&f->driver.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET) != 0;
}

/* The device is lost to the driver that did this, until it resets it; no byte was given. */
static void check_breaks(struct fixture *f, const char *why)
{
	uint32_t i;

	if (!test_wait(is_broken, f, 5000))
		TEST_FAIL("not broken, though: %s", why);
	CHECK(!guest_vq_pending(&f->driver.vq));
	for (i = 0; i < AREA; i++)
		CHECK_INT(f->driver.area[i], CANARY);
	check_log(f, why);
	driver_reset(&f->driver);
	/* Another process, which says again why. */
	CHECK_INT(rig_backend_end(&f->backend, SIGTERM), 0);
	CHECK_INT(rig_backend_start(&f->backend), 0);
	driver_begin(&f->driver, FEATURES);
	driver_read(&f->driver, 64);
	memset(f->driver.area, CANARY, AREA);
}

/* virtio 1.2, 5.4.6.1: a driver gives no buffer that the device is to read. */
static void test_readable(void)
{
	struct fixture f;
	uint64_t gpa;

	set_up(&f, 0);
	gpa = f.driver.area_gpa;
	memset(f.driver.area, CANARY, AREA);
	driver_add(&f.driver, (struct guest_buffer[]){{gpa, 64, false}}, 1);
	check_breaks(&f, "queue 0: a buffer that the device is to read");
	driver_add(&f.driver, (struct guest_buffer[]){{gpa, 64, false}, {gpa + 64, 64, true}}, 2);
	check_breaks(&f, "queue 0: a buffer that the device is to read");
	driver_add(&f.driver, (struct guest_buffer[]){{gpa, 64, true}, {gpa + 64, 64, false}}, 2);
	check_breaks(&f, "a device-readable buffer follows a device-writable one");
	tear_down(&f);
}

static void test_hostile(void)
{
	const uint64_t end = RIG_RAM + ((uint64_t)ZONE_MIB << 20);
	struct vring_desc *desc;
	struct fixture f;
	uint64_t gpa;
	uint16_t i;

	set_up(&f, 0);
	gpa = f.driver.area_gpa;
	memset(f.driver.area, CANARY, AREA);
	driver_add(&f.driver, (struct guest_buffer[]){{gpa, 64, true}, {end - 63, 64, true}}, 2);
	check_breaks(&f, "a buffer is not in the zone's memory");
	driver_add(&f.driver, (struct guest_buffer[]){{UINT64_MAX - 62, 64, true}}, 1);
	check_breaks(&f, "a buffer is not in the zone's memory");
	driver_add(&f.driver, (struct guest_buffer[]){{RIG_RAM - 1, 2, true}}, 1);
	check_breaks(&f, "a buffer is not in the zone's memory");
	guest_vq_add_head(&f.driver.vq, 0xffff);
	guest_vq_kick(&f.driver.vq, 0);
	check_breaks(&f, "the available ring names a descriptor beyond the table");

	desc = f.driver.vq.desc;
	desc[0] = (struct vring_desc){gpa, 64, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1};
	desc[1] = (struct vring_desc){gpa, 64, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0};
	guest_vq_add_head(&f.driver.vq, 0);
	guest_vq_kick(&f.driver.vq, 0);
	check_breaks(&f, "a chain has a loop");

	desc = f.driver.vq.desc;
	desc[0] = (struct vring_desc){gpa, 64, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, RNG_QUEUE_SIZE};
	guest_vq_add_head(&f.driver.vq, 0);
	guest_vq_kick(&f.driver.vq, 0);
	check_breaks(&f, "a next descriptor is beyond the table");

	core_store_release(&f.driver.vq.avail->idx, (uint16_t)(f.driver.vq.avail_idx + RNG_QUEUE_SIZE + 1));
	guest_dev_write(&f.driver.dev, 0, VMMIO_QUEUE_NOTIFY, 0);
	check_breaks(&f, "the available index jumps by more than the queue size");

	/* Very much memory, as often as a chain can name it: it is given no more than what is given at once. */
	desc = f.driver.vq.desc;
	for (i = 0; i < RNG_QUEUE_SIZE; i++)
		desc[i] = (struct vring_desc){gpa, AREA, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, (uint16_t)(i + 1)};
	desc[RNG_QUEUE_SIZE - 1].flags = VRING_DESC_F_WRITE;
	f.driver.vq.token[0] = &f;
	f.driver.vq.length[0] = RNG_QUEUE_SIZE;
	guest_vq_add_head(&f.driver.vq, 0);
	guest_vq_kick(&f.driver.vq, 0);
	CHECK_INT(driver_answer(&f.driver), 64 << 10);
	CHECK_INT(waitpid(f.backend.pid, NULL, WNOHANG), 0);
	tear_down(&f);
}

static uint64_t turns(const struct fixture *f)
{
	return core_load(&f->backend.region->device.heartbeat);
}

static int is_asleep(void *arg)
{
	const struct fixture *f = arg;

	return core_load(&f->backend.region->doorbell.sleeping) != 0;
}

/* A kick may be left over from before it slept; one that wakes by itself does so again and again. */
static void check_idle(struct fixture *f)
{
	uint64_t before;
	uint32_t tries = 0;

	do {
		CHECK(tries++ < 5);
		CHECK(test_wait(is_asleep, f, 5000));
		before = turns(f);
		poll(NULL, 0, 300);
	} while (turns(f) != before);
}

/* Nobody asks: not one turn of its loop, with a limit and without. */
static void test_idle(void)
{
	struct fixture f;
	uint64_t rate;

	for (rate = 0; rate <= 1000; rate += 1000) {
		set_up(&f, rate);
		check_idle(&f);
		driver_read(&f.driver, 10);
		driver_read(&f.driver, 90);
		check_idle(&f);
		tear_down(&f);
	}
}

/*
 * The limit holds over all that can be done to the device meanwhile: kills, resets, and a queue that is always full.
 * Nothing is saved up at the start, so no burst is to be allowed for.
 */
static void test_rate(void)
{
	enum {
		RATE = 20000,
		WANTED = 20000
	};
	struct guest_buffer buffer = {0, 4096, true};
	uint64_t begin = test_now_ns();
	uint64_t sum = 0;
	uint64_t limited, before;
	struct fixture f;
	uint32_t answers = 0;
	uint32_t i, len;

	set_up(&f, RATE);
	buffer.gpa = f.driver.area_gpa;
	for (i = 0; i < RNG_QUEUE_SIZE / 2; i++)
		CHECK(guest_vq_add(&f.driver.vq, &buffer, 1, &f) >= 0);
	guest_vq_kick(&f.driver.vq, 0);
	before = turns(&f);
	limited = core_load(&f.backend.region->device.own[RNG_OWN_LIMITED]);
	while (sum < WANTED) {
		len = driver_answer(&f.driver);
		/* As much as can be saved up, and what the driver wanted is more. */
		CHECK_INT(len, RATE / 10);
		sum += len;
		answers++;
		if ((double)sum > RATE * ((double)(test_now_ns() - begin) / 1e9))
			TEST_FAIL("%llu bytes in %.3f s", (unsigned long long)sum,
				  (double)(test_now_ns() - begin) / 1e9);
		CHECK(guest_vq_add(&f.driver.vq, &buffer, 1, &f) >= 0);
		guest_vq_kick(&f.driver.vq, 0);
		if (answers == 4) {
			/* Its successor begins with nothing. */
			CHECK(WIFSIGNALED(rig_backend_end(&f.backend, SIGKILL)));
			CHECK_INT(rig_backend_start(&f.backend), 0);
		} else if (answers == 7) {
			driver_reset(&f.driver);
			driver_begin(&f.driver, FEATURES);
			for (i = 0; i < RNG_QUEUE_SIZE; i++)
				CHECK(guest_vq_add(&f.driver.vq, &buffer, 1, &f) >= 0);
			guest_vq_kick(&f.driver.vq, 0);
			CHECK_INT(guest_vq_add(&f.driver.vq, &buffer, 1, &f), -ENOSPC);
			CHECK_INT(driver_answer(&f.driver), RATE / 10);
			sum += RATE / 10;
		}
	}
	/* It sleeps while it waits: a few turns for each answer, for its time and for notifications. */
	CHECK(turns(&f) - before < 12 * answers + 100);
	CHECK(core_load(&f.backend.region->device.own[RNG_OWN_LIMITED]) - limited >= answers);
	tear_down(&f);
}

/* A slow one gives small requests whole, if a little later. */
static void test_rate_small(void)
{
	uint64_t begin = test_now_ns();
	struct fixture f;

	set_up(&f, 128);
	driver_read(&f.driver, 64);
	CHECK(test_now_ns() - begin >= 500000000u);
	driver_read(&f.driver, 1);
	/* More than can ever be saved up: in part. */
	CHECK_INT(driver_request(&f.driver, (struct guest_buffer[]){{f.driver.area_gpa, 65, true}}, 1), 64);
	CHECK(test_now_ns() - begin >= 1007000000u);
	tear_down(&f);
}

/* A driver that keeps many requests in flight, and checks each when it comes. */
struct load {
	struct fixture *f;
	_Atomic bool enough;
	uint64_t answers;
};

static void load_add(struct load *load, uintptr_t slot)
{
	struct driver *d = &load->f->driver;
	struct guest_buffer buffer = {d->area_gpa + slot * 1024, 512, true};

	memset(d->area + slot * 1024, CANARY, 1024);
	CHECK(guest_vq_add(&d->vq, &buffer, 1, (void *)(slot + 1)) >= 0);
}

static void *load_run(void *arg)
{
	static const uint8_t canary[16] = {CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY,
					   CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY};
	struct load *load = arg;
	struct driver *d = &load->f->driver;
	uint32_t in_flight;
	uintptr_t slot;
	uint32_t len;

	for (in_flight = 0; in_flight < 48; in_flight++)
		load_add(load, in_flight);
	guest_vq_kick(&d->vq, 0);
	while (in_flight > 0) {
		slot = (uintptr_t)driver_wait(d, &len) - 1;
		if (slot == UINTPTR_MAX)
			TEST_FAIL("%u requests did not come back", in_flight);
		CHECK_INT(len, 512);
		CHECK(memcmp(d->area + slot * 1024 + 496, canary, sizeof(canary)) != 0);
		CHECK_MEM(d->area + slot * 1024 + 512, canary, sizeof(canary));
		load->answers++;
		in_flight--;
		if (!atomic_load(&load->enough)) {
			load_add(load, slot);
			in_flight++;
			guest_vq_kick(&d->vq, 0);
		}
	}
	return NULL;
}

/* Killed and stopped at any moment, it loses no request and answers none twice. */
static void test_kill(void)
{
	struct fixture f;
	struct load load = {.f = &f};
	pthread_t thread;
	uint32_t i;

	set_up(&f, 0);
	CHECK_INT(pthread_create(&thread, NULL, load_run, &load), 0);
	/* Until one was killed in the middle of a request, too. */
	for (i = 0; i < 40 || core_load(&f.backend.region->device.resubmitted) == 0; i++) {
		struct timespec pause = {.tv_nsec = (long)test_random_below(3000000)};

		nanosleep(&pause, NULL);
		CHECK(WIFSIGNALED(rig_backend_end(&f.backend, i % 3 ? SIGKILL : SIGTERM)) || i % 3 == 0);
		CHECK_INT(rig_backend_start(&f.backend), 0);
	}
	atomic_store(&load.enough, true);
	CHECK_INT(pthread_join(thread, NULL), 0);
	CHECK(load.answers >= 48);
	CHECK_INT(core_load(&f.backend.region->device.errors), 0);
	tear_down(&f);
}

/* A reset, or a queue disabled, while requests are under way: afterwards the memory is the driver's. */
static void test_reset(void)
{
	struct guest_buffer buffer;
	struct fixture f;
	uint32_t round, i;

	set_up(&f, 0);
	for (round = 0; round < 40; round++) {
		struct timespec pause = {.tv_nsec = (long)test_random_below(100000)};

		for (i = 0; i < RNG_QUEUE_SIZE; i++) {
			buffer = (struct guest_buffer){f.driver.area_gpa + i * 16384, 16384, true};
			CHECK(guest_vq_add(&f.driver.vq, &buffer, 1, &f) >= 0);
		}
		guest_vq_kick(&f.driver.vq, 0);
		nanosleep(&pause, NULL);
		if (round % 2) {
			guest_vq_disable(&f.driver.vq, 0);
			memset(f.driver.area, CANARY, AREA);
			guest_vq_close(&f.driver.vq);
			CHECK_INT(guest_vq_open(&f.driver.vq, &f.driver.dev, 0, 0, 0, INDIRECT_MAX), 0);
			guest_vq_interrupts(&f.driver.vq, true);
		} else {
			driver_reset(&f.driver);
			memset(f.driver.area, CANARY, AREA);
			driver_begin(&f.driver, FEATURES);
		}
		buffer = (struct guest_buffer){f.driver.area_gpa + AREA - 64, 64, true};
		CHECK_INT(driver_request(&f.driver, &buffer, 1), 64);
		for (i = 0; i < AREA - 64; i++)
			CHECK_INT(f.driver.area[i], CANARY);
	}
	tear_down(&f);
}

static void write_config(struct rig *rig, const char *keys)
{
	FILE *file = fopen(rig->config, "we");

	CHECK(file);
	fprintf(file,
		"{\"zones\": [{\"id\": %u, \"memory_region\": [\n"
		"\t{\"zone0_ipa\": \"0x%x\", \"zonex_ipa\": \"0x%x\", \"size\": \"0x%x\"}],\n"
		"\t\"devices\": [{\"type\": \"rng\", \"addr\": \"0x%llx\", \"len\": \"0x200\", \"irq\": %u%s}]}]}\n",
		RIG_ZONE, RIG_RAM, RIG_RAM, ZONE_MIB << 20, (unsigned long long)rig_base(0), rig_irq(0), keys);
	CHECK_INT(fclose(file), 0);
}

static int is_ready(void *arg)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", *(pid_t *)arg, BACKEND_FD_READY);
	return access(path, F_OK) != 0;
}

static pid_t await_backend(struct rig *rig, uint32_t starts)
{
	pid_t pid;

	rig_await_starts(rig, "rng0", starts);
	pid = rig_pid(rig, "rng0");
	CHECK(pid > 0);
	CHECK(test_wait(is_ready, &pid, 10000));
	return pid;
}

static const struct {
	const char *name;
	long nr;
	uint64_t arg[6];
} killed[] = {
	{"getrandom flags", SYS_getrandom, {0, 0, 1}},
	{"openat", SYS_openat, {(uint64_t)AT_FDCWD, 0, 0}},
	{"socket", SYS_socket, {1, 1, 0}},
	{"execve", SYS_execve, {0}},
	{"clone", SYS_clone, {SIGCHLD}},
	{"mmap", SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0}},
	{"madvise", SYS_madvise, {0, 4096, MADV_DONTNEED}},
	{"ioctl", SYS_ioctl, {BACKEND_FD_LOG, 0, 0}},
	{"read log", SYS_read, {BACKEND_FD_LOG, 0, 0}},
	{"write kick", SYS_write, {BACKEND_FD_KICK, 0, 0}},
	{"pread64", SYS_pread64, {BACKEND_FD_KICK, 0, 0, 0}},
	{"kill", SYS_kill, {1, 0}},
};

/* The whole, as a user has it: checked, served, shown, restarted, and confined. */
static void test_launched(void)
{
	struct region_device counters;
	char out[8192];
	struct inject inject;
	struct driver driver;
	struct rig rig;
	size_t i;

	rig_init(&rig, ZONE_MIB);
	write_config(&rig, ", \"rate\": \"0x100000\", \"restart_limit\": 0, \"restart_delay_max_ms\": 100");
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--check", rig.config, NULL), 0);
	CHECK_HAS(out, "rng0 (zones[0].devices[0])\n  type       rng\n");
	CHECK_HAS(out, "  rate       1048576 bytes a second\n  queues     1 of 64\n");
	CHECK_HAS(out, "  features   INDIRECT_DESC EVENT_IDX VERSION_1 RING_RESET\n");
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--check", "--json", rig.config, NULL), 0);
	CHECK_HAS(out, "\"rate\":\t1048576");
	rig_launch(&rig, NULL);
	rig_await_launcher(&rig);
	await_backend(&rig, 1);
	driver_open(&driver, &rig.guest, 0);
	driver_read(&driver, 512);
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--status", NULL), 0);
	CHECK_HAS(out, "rng0");
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--restart", "rng0", NULL), 0);
	driver_read(&driver, 512);
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--resize", "rng0", NULL), 1);
	CHECK_HAS(out, "rng0");
	/* What is not needed to serve is not allowed; a guest notices nothing. */
	for (i = 0; i < sizeof(killed) / sizeof(killed[0]); i++) {
		inject_open(&inject, await_backend(&rig, (uint32_t)i + 2));
		inject_call(&inject, killed[i].nr, killed[i].arg);
		INJECT(&inject, exit_group, 0);
		if (!inject.ended || !WIFSIGNALED(inject.status) || WTERMSIG(inject.status) != SIGSYS)
			TEST_FAIL("%s: ended %d, wait status 0x%x, not killed by SIGSYS", killed[i].name, inject.ended,
				  inject.status);
		inject_close(&inject);
		driver_read(&driver, 64);
	}
	rig_counters(&rig, "rng0", &counters);
	CHECK_INT(counters.bytes_read, 1024 + i * 64);
	CHECK_INT(counters.errors, 0);
	driver_close(&driver);
	rig_finish(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"rng_identity", test_identity, 0},
		{"rng_fips_sees", test_fips, 0},
		{"rng_random_bytes", test_random_bytes, 0},
		{"rng_lengths", test_lengths, 0},
		{"rng_chains", test_chains, 0},
		{"rng_readable", test_readable, 0},
		{"rng_hostile", test_hostile, 0},
		{"rng_idle", test_idle, 0},
		{"rng_rate", test_rate, 0},
		{"rng_rate_small", test_rate_small, 0},
		{"rng_kill", test_kill, 0},
		{"rng_reset", test_reset, 0},
		{"rng_launched", test_launched, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
