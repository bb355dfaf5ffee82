/* SPDX-License-Identifier: MIT */
/* Block devices through the simulator: every key of the configuration and every feature, compared with the image. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/blk.h"
#include "launcher/devtype.h"
#include "tests/sim/guest_blk.h"
#include "tests/sim/rig.h"
#include "tests/sim/rig_backend.h"
#include "tests/sim/scratch.h"
#include "tests/test.h"

#define IMAGE "disk.img"
#define IMAGE_SIZE (16u << 20)
#define SECTORS (IMAGE_SIZE / 512)
#define ZONE_MIB 64

#define FEATURE(name) (1ull << VIRTIO_BLK_F_##name)

struct fixture {
	struct sim sim;
	struct rig_backend backend;
	struct guest guest;
	struct guest_blk blk;
	uint8_t *shadow; /* what the image has to be */
	char policy_dir[PATH_MAX];
};

/* A backend on the image, confined by its policy. */
static void make_backend(struct fixture *f)
{
	CHECK_INT(rig_backend_blk(&f->backend, &f->sim, IMAGE, 0), 0);
	f->backend.policy_dir = f->policy_dir;
}

/* A board with an image of random bytes; the backend's configuration may be changed before start(). */
static void set_up(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	/* Policies are found from the folder that the tests are started in. */
	CHECK(realpath("policy", f->policy_dir));
	scratch_enter();
	f->shadow = scratch_random(IMAGE_SIZE);
	scratch_write(IMAGE, f->shadow, IMAGE_SIZE);
	CHECK_INT(sim_start(&f->sim, NULL), 0);
	CHECK_INT(rig_zone(&f->sim, ZONE_MIB), 0);
	CHECK_INT(guest_init(&f->guest, &f->sim, RIG_ZONE), 0);
	make_backend(f);
}

static void start(struct fixture *f, const struct guest_blk_options *options)
{
	CHECK_INT(rig_backend_start(&f->backend), 0);
	CHECK_INT(guest_blk_open(&f->blk, &f->guest, RIG_BASE, RIG_IRQ, options), 0);
}

/* The next device on the same board, with the same image as it is now. */
static void again(struct fixture *f)
{
	struct hvisor_device_del del = {.id = f->backend.id};

	guest_blk_close(&f->blk);
	CHECK_INT(rig_backend_end(&f->backend, SIGTERM), 0);
	CHECK_INT(sim_call(&f->sim, HVISOR_DEVICE_DEL, &del), 0);
	rig_backend_finish(&f->backend);
	make_backend(f);
}

static void tear_down(struct fixture *f)
{
	guest_blk_close(&f->blk);
	CHECK_INT(rig_backend_end(&f->backend, SIGTERM), 0);
	rig_backend_finish(&f->backend);
	guest_finish(&f->guest);
	sim_stop(&f->sim);
	free(f->shadow);
}

static uint64_t own(const struct fixture *f, enum blk_own counter)
{
	return core_load(&f->backend.region->device.own[counter]);
}

static void check_log(const struct fixture *f, const char *part)
{
	char text[65536];

	rig_backend_log(&f->backend, text, sizeof(text));
	CHECK_HAS(text, part);
}

static int64_t image_sectors(void)
{
	struct stat st;
	int fd = open(IMAGE, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(fsync(fd), 0);
	CHECK_INT(fstat(fd, &st), 0);
	close(fd);
	return st.st_blocks;
}

/* One thread's load on one queue: each slot of requests has blocks of its own, so that all are in flight at once. */
struct load {
	struct fixture *f;
	uint32_t queue;
	uint32_t len; /* bytes of the largest request */
	uint32_t unit;
	uint64_t first; /* byte of the image where this queue's part begins */
	uint64_t requests;
	bool flushes;
};

static void load_next(struct load *load, struct guest_blk_request *request, uint32_t slot)
{
	uint64_t base = load->first + (uint64_t)slot * load->len;
	uint32_t len = (1 + (uint32_t)test_random_below(load->len / load->unit)) * load->unit;
	uint64_t offset = base + test_random_below((load->len - len) / load->unit + 1) * load->unit;
	uint64_t i;

	request->sector = offset / 512;
	request->len = len;
	request->user = slot;
	if (load->flushes && test_random_below(50) == 0) {
		request->type = VIRTIO_BLK_T_FLUSH;
		request->sector = 0;
		request->len = 0;
	} else if (test_random_below(2)) {
		request->type = VIRTIO_BLK_T_OUT;
		for (i = 0; i < len; i += sizeof(uint64_t))
			*(uint64_t *)(void *)(request->data + i) = test_random();
		memcpy(load->f->shadow + offset, request->data, len);
	} else {
		request->type = VIRTIO_BLK_T_IN;
		memset(request->data, 0xee, len);
	}
}

static void load_check(struct load *load, const struct guest_blk_request *request)
{
	CHECK_INT(request->error, 0);
	CHECK_INT(request->written, (request->type == VIRTIO_BLK_T_IN ? request->len : 0) + 1);
	if (request->type == VIRTIO_BLK_T_IN)
		CHECK_MEM(request->data, load->f->shadow + request->sector * 512, request->len);
}

static void load_run(struct load *load)
{
	struct guest_blk *blk = &load->f->blk;
	uint32_t depth = blk->options.depth;
	struct guest_blk_request *request;
	uint64_t sent = 0;
	uint64_t done = 0;
	uint32_t slot = 0;
	bool more;

	while (done < load->requests) {
		for (more = true; more && sent < load->requests && (request = guest_blk_get(blk, load->queue));) {
			/* The first round gives each request its slot. */
			load_next(load, request, sent < depth ? slot++ : (uint32_t)request->user);
			more = guest_blk_submit(blk, request) == 0;
			if (more)
				sent++;
			else
				TEST_FAIL("no descriptor is left");
		}
		guest_blk_kick(blk, load->queue);
		request = guest_blk_wait(blk, load->queue, 30000);
		if (!request)
			TEST_FAIL("queue %u: no answer, %llu of %llu requests are done", load->queue,
				  (unsigned long long)done, (unsigned long long)load->requests);
		do {
			load_check(load, request);
			guest_blk_put(blk, request);
			done++;
		} while ((request = guest_blk_reap(blk, load->queue)));
	}
}

/* The load on queue 0, then the image compared. */
static void check_load(struct fixture *f, uint32_t len, uint64_t requests)
{
	struct load load = {.f = f, .len = len, .unit = f->blk.block_size, .requests = requests, .flushes = true};

	load_run(&load);
	CHECK_INT(guest_blk_flush(&f->blk, 0), 0);
	scratch_check(IMAGE, f->shadow, IMAGE_SIZE);
}

static void test_engines(void)
{
	struct fixture f;
	int engine, cache;

	set_up(&f);
	for (engine = CONFIG_ENGINE_AUTO; engine <= CONFIG_ENGINE_PREADV; engine++) {
		for (cache = CONFIG_CACHE_WRITEBACK; cache <= CONFIG_CACHE_NONE; cache++) {
			f.backend.config.blk.engine = (enum config_engine)engine;
			f.backend.config.blk.cache = (enum config_cache)cache;
			start(&f, NULL);
			check_load(&f, 65536, 600);
			CHECK_INT(own(&f, BLK_OWN_SYNC_WRITES) > 0, cache == CONFIG_CACHE_WRITETHROUGH);
			CHECK(own(&f, BLK_OWN_FLUSHES) > 0);
			if (engine == CONFIG_ENGINE_IO_URING)
				CHECK_INT(own(&f, BLK_OWN_INLINE), 0);
			if (engine == CONFIG_ENGINE_PREADV)
				CHECK_INT(own(&f, BLK_OWN_RING), 0);
			again(&f);
		}
	}
	start(&f, NULL);
	tear_down(&f);
}

/* Rings as drivers use them: with and without event index and indirect descriptors, with interrupts and polled. */
static void test_rings(void)
{
	static const uint64_t without[] = {
		0,
		VMMIO_F_EVENT_IDX,
		VMMIO_F_INDIRECT_DESC,
		VMMIO_F_EVENT_IDX | VMMIO_F_INDIRECT_DESC,
	};
	struct guest_blk_options options;
	struct fixture f;
	uint32_t i;

	set_up(&f);
	for (i = 0; i < 16; i++) {
		options = (struct guest_blk_options){.without = without[i % 4], .polled = i & 4, .segment = 4096};
		options.queue_size = i & 8 ? 16 : 0;
		options.data_max = i & 8 ? 16384 : 32768;
		options.depth = i & 8 ? 2 : 16;
		start(&f, &options);
		check_load(&f, options.data_max, 800);
		again(&f);
	}
	start(&f, NULL);
	tear_down(&f);
}

static void *load_thread(void *arg)
{
	load_run(arg);
	return NULL;
}

static void test_multiqueue(void)
{
	enum {
		QUEUES = 16
	};
	struct guest_blk_options options = {.queues = QUEUES, .depth = 16, .data_max = 16384};
	struct load load[QUEUES];
	pthread_t thread[QUEUES];
	struct fixture f;
	uint32_t q;

	set_up(&f);
	f.backend.config.blk.queues = QUEUES;
	f.backend.config.blk.queue_size = 64;
	start(&f, &options);
	CHECK_INT(f.blk.nqueues, QUEUES);
	for (q = 0; q < QUEUES; q++) {
		load[q] = (struct load){.f = &f,
					.queue = q,
					.len = 16384,
					.unit = 512,
					.first = (uint64_t)q * 16 * 16384,
					.requests = 400,
					.flushes = true};
		CHECK_INT(pthread_create(&thread[q], NULL, load_thread, &load[q]), 0);
	}
	for (q = 0; q < QUEUES; q++)
		CHECK_INT(pthread_join(thread[q], NULL), 0);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
	CHECK_INT(core_load(&f.backend.region->device.requests), QUEUES * 400);
	CHECK_INT(core_load(&f.backend.region->device.errors), 0);
	tear_down(&f);
}

static void queue_reset_once(struct fixture *f)
{
	struct timespec pause = {.tv_nsec = (long)test_random_below(300000)};
	struct guest_blk_queue *queue = &f->blk.queue[0];
	struct guest_blk_request *request[16];
	uint8_t data[4096];
	uint32_t i, k;

	for (i = 0; i < 16; i++) {
		request[i] = guest_blk_get(&f->blk, 0);
		CHECK(request[i]);
		request[i]->type = VIRTIO_BLK_T_IN;
		request[i]->sector = 0;
		request[i]->len = 65536;
		CHECK_INT(guest_blk_submit(&f->blk, request[i]), 0);
	}
	guest_blk_kick(&f->blk, 0);
	nanosleep(&pause, NULL);
	guest_vq_disable(&queue->vq, queue->cpu);
	/* From here on the memory is the driver's. */
	for (i = 0; i < 16; i++)
		memset(request[i]->data, 0x33, request[i]->len);
	guest_vq_close(&queue->vq);
	CHECK_INT(guest_vq_open(&queue->vq, &f->blk.dev, queue->cpu, 0, 0, 4), 0);
	guest_vq_interrupts(&queue->vq, true);
	queue->in_flight = 0;
	for (i = 0; i < 16; i++) {
		for (k = 0; k < request[i]->len; k++)
			CHECK_INT(request[i]->data[k], 0x33);
		guest_blk_put(&f->blk, request[i]);
	}
	CHECK_INT(guest_blk_read(&f->blk, 0, 0, data, sizeof(data)), 0);
	CHECK_MEM(data, f->shadow, sizeof(data));
}

/* One queue disabled and set up again (RING_RESET) while another goes on. */
static void test_queue_reset(void)
{
	struct guest_blk_options options = {.queues = 2, .depth = 16};
	struct load load;
	struct fixture f;
	pthread_t thread;
	uint32_t i;

	/* On tmpfs all that io_uring does is done by workers, so that something is under way. */
	setenv("TMPDIR", "/dev/shm", 1);
	set_up(&f);
	f.backend.config.blk.queues = 2;
	f.backend.config.blk.engine = CONFIG_ENGINE_IO_URING;
	start(&f, &options);
	load = (struct load){.f = &f, .queue = 1, .len = 65536, .unit = 512, .first = 8u << 20, .requests = 5000};
	CHECK_INT(pthread_create(&thread, NULL, load_thread, &load), 0);
	for (i = 0; i < 50; i++)
		queue_reset_once(&f);
	CHECK_INT(pthread_join(thread, NULL), 0);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
	tear_down(&f);
}

static void test_keys(void)
{
	char id[VIRTIO_BLK_ID_BYTES + 1];
	uint8_t data[2048];
	struct fixture f;
	struct stat st;

	set_up(&f);
	CHECK_INT(stat(IMAGE, &st), 0);
	strcpy(f.backend.config.blk.serial, "12345678901234567890");
	f.backend.config.blk.queues = 3;
	f.backend.config.blk.queue_size = 32;
	f.backend.config.blk.logical_block_size = 2048;
	start(&f, NULL);
	CHECK_INT(f.blk.capacity, SECTORS);
	CHECK_INT(f.blk.block_size, 2048);
	CHECK_INT(f.blk.config.num_queues, 3);
	CHECK_INT(f.blk.config.seg_max, 30);
	CHECK_INT(f.blk.queue[0].vq.num, 32);
	CHECK_INT(f.blk.config.wce, 1);
	CHECK_INT(2048u << f.blk.config.physical_block_exp, 4096);
	CHECK_INT(f.blk.config.min_io_size, 2);
	CHECK_INT(f.blk.config.alignment_offset, 0);
	CHECK_INT(f.blk.config.discard_sector_alignment, st.st_blksize / 512);
	CHECK_INT(guest_blk_get_id(&f.blk, 0, id), 0);
	CHECK_STR(id, "12345678901234567890");
	CHECK_INT(guest_blk_read(&f.blk, 0, 1, data, 2048), -EIO);
	CHECK_INT(guest_blk_read(&f.blk, 0, 0, data, 512), -EIO);
	check_load(&f, 16384, 300);

	again(&f);
	f.backend.config.blk.cache = CONFIG_CACHE_WRITETHROUGH;
	f.backend.config.blk.discard = false;
	start(&f, NULL);
	CHECK_INT(f.blk.config.wce, 0);
	CHECK_INT(guest_blk_get_id(&f.blk, 0, id), 0);
	CHECK_STR(id, "");
	CHECK_INT(f.blk.dev.offered & FEATURE(DISCARD), 0);
	CHECK_INT(guest_blk_discard(&f.blk, 0, 0, 8), -EOPNOTSUPP);
	tear_down(&f);
}

static void test_readonly(void)
{
	uint8_t data[4096];
	struct fixture f;

	set_up(&f);
	f.backend.config.blk.readonly = true;
	start(&f, NULL);
	CHECK(f.blk.readonly);
	CHECK_INT(f.blk.dev.offered & (FEATURE(DISCARD) | FEATURE(WRITE_ZEROES)), 0);
	CHECK_INT(guest_blk_read(&f.blk, 0, 16, data, sizeof(data)), 0);
	CHECK_MEM(data, f.shadow + 16 * 512, sizeof(data));
	memset(data, 0, sizeof(data));
	CHECK_INT(guest_blk_write(&f.blk, 0, 16, data, sizeof(data)), -EIO);
	CHECK_INT(guest_blk_write_zeroes(&f.blk, 0, 16, 8, true), -EOPNOTSUPP);
	CHECK_INT(guest_blk_flush(&f.blk, 0), 0);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
	CHECK_INT(core_load(&f.backend.region->device.errors), 2);
	tear_down(&f);
}

static void wce_set(struct fixture *f, uint8_t value)
{
	guest_dev_config_write(&f->blk.dev, 0, offsetof(struct virtio_blk_config, wce), &value, 1);
	guest_blk_update(&f->blk);
	CHECK_INT(f->blk.config.wce, value);
}

static void test_writeback(void)
{
	uint8_t data[512] = {1};
	struct fixture f;
	uint32_t i;

	set_up(&f);
	start(&f, NULL);
	for (i = 0; i < 6; i++) {
		wce_set(&f, i % 2);
		CHECK_INT(guest_blk_write(&f.blk, 0, i, data, sizeof(data)), 0);
		CHECK_INT(own(&f, BLK_OWN_SYNC_WRITES), i / 2 + 1);
	}
	CHECK_INT(own(&f, BLK_OWN_FLUSHES), 0);
	CHECK_INT(guest_blk_flush(&f.blk, 0), 0);
	CHECK_INT(own(&f, BLK_OWN_FLUSHES), 1);
	tear_down(&f);
}

static void test_discard(void)
{
	static const uint8_t zeroes[4u << 20];
	struct fixture f;
	int64_t before;

	set_up(&f);
	start(&f, NULL);
	CHECK(f.blk.config.max_discard_sectors >= 8192);
	CHECK(f.blk.config.max_write_zeroes_sectors >= 8192);
	CHECK_INT(f.blk.config.write_zeroes_may_unmap, 1);
	before = image_sectors();
	CHECK_INT(guest_blk_discard(&f.blk, 0, 8192, 8192), 0);
	CHECK(image_sectors() <= before - 8192 + 64);
	/* What a discard leaves is not promised; ours leaves zeroes. */
	memcpy(f.shadow + (4u << 20), zeroes, 4u << 20);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
	before = image_sectors();
	CHECK_INT(guest_blk_write_zeroes(&f.blk, 0, 17001, 4099, false), 0);
	CHECK(image_sectors() >= before);
	memset(f.shadow + 17001 * 512, 0, 4099 * 512);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
	CHECK_INT(guest_blk_write_zeroes(&f.blk, 0, 24576, 8192, true), 0);
	CHECK(image_sectors() <= before - 8192 + 64);
	memset(f.shadow + 24576 * 512, 0, 8192 * 512);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
	CHECK_INT(own(&f, BLK_OWN_DISCARDED), 8192 * 512);
	CHECK_INT(own(&f, BLK_OWN_ZEROED), (4099 + 8192) * 512);
	CHECK_INT(guest_blk_discard(&f.blk, 0, SECTORS - 7, 8), -EIO);
	check_load(&f, 65536, 200);
	tear_down(&f);
}

/* As many buffers as seg_max says, and one more. */
static void test_segments(void)
{
	struct guest_blk_options options = {.depth = 1, .segment = 512, .data_max = 512 * (BLK_SEG_MAX + 1)};
	uint8_t *data = scratch_random(options.data_max);
	struct guest_blk_request *request;
	struct fixture f;
	uint32_t i;

	set_up(&f);
	start(&f, &options);
	CHECK_INT(f.blk.config.seg_max, BLK_SEG_MAX);
	CHECK_INT(guest_blk_write(&f.blk, 0, 100, data, 512 * BLK_SEG_MAX), 0);
	memcpy(f.shadow + 100 * 512, data, 512 * BLK_SEG_MAX);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);

	/* One more, where no two buffers adjoin. */
	request = guest_blk_get(&f.blk, 0);
	CHECK(request);
	request->type = VIRTIO_BLK_T_OUT;
	request->len = options.data_max;
	CHECK_INT(guest_blk_submit(&f.blk, request), 0);
	for (i = 1; i <= BLK_SEG_MAX + 1; i++)
		f.blk.queue[0].vq.indirect[i].addr = request->data_gpa + (BLK_SEG_MAX + 1 - i) * 512;
	guest_blk_kick(&f.blk, 0);
	CHECK(guest_blk_wait(&f.blk, 0, 10000) == request);
	CHECK_INT(request->error, -EIO);
	guest_blk_put(&f.blk, request);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
	tear_down(&f);
	free(data);
}

/* A request whose buffers lie in the guest's memory the other way round: each is an operation's piece by itself. */
static void scattered(struct fixture *f, uint32_t type, uint32_t pieces)
{
	struct guest_blk_request *request = guest_blk_get(&f->blk, 0);
	uint32_t i;

	CHECK(request);
	request->type = type;
	request->sector = 100;
	request->len = pieces * 512;
	for (i = 0; type == VIRTIO_BLK_T_OUT && i < pieces; i++)
		memcpy(request->data + i * 512, f->shadow + (100 + pieces - 1 - i) * 512, 512);
	CHECK_INT(guest_blk_submit(&f->blk, request), 0);
	for (i = 1; i <= pieces; i++)
		f->blk.queue[0].vq.indirect[i].addr = request->data_gpa + (pieces - i) * 512;
	guest_blk_kick(&f->blk, 0);
	CHECK(guest_blk_wait(&f->blk, 0, 10000) == request);
	CHECK_INT(request->error, 0);
	for (i = 0; type == VIRTIO_BLK_T_IN && i < pieces; i++)
		CHECK_MEM(request->data + i * 512, f->shadow + (100 + pieces - 1 - i) * 512, 512);
	guest_blk_put(&f->blk, request);
}

static void test_scattered(void)
{
	struct guest_blk_options options = {.depth = 1, .segment = 512, .data_max = 512 * BLK_SEG_MAX};
	struct fixture f;
	int engine, cache;

	set_up(&f);
	for (engine = CONFIG_ENGINE_AUTO; engine <= CONFIG_ENGINE_PREADV; engine++) {
		for (cache = CONFIG_CACHE_WRITEBACK; cache <= CONFIG_CACHE_NONE; cache++) {
			f.backend.config.blk.engine = (enum config_engine)engine;
			f.backend.config.blk.cache = (enum config_cache)cache;
			start(&f, &options);
			scattered(&f, VIRTIO_BLK_T_IN, 5);
			memset(f.shadow + 100 * 512, engine * 16 + cache + 1, 5 * 512);
			memset(f.shadow + 102 * 512, 0, 512);
			scattered(&f, VIRTIO_BLK_T_OUT, 5);
			scattered(&f, VIRTIO_BLK_T_IN, 5);
			CHECK_INT(guest_blk_flush(&f.blk, 0), 0);
			scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
			again(&f);
		}
	}
	start(&f, NULL);
	tear_down(&f);
}

static char loop_path[32];

static void check_refused(struct fixture *f, const char *part)
{
	const struct devtype *type = devtype_find(CONFIG_BLK);
	struct devtype_start begin;
	struct errors errors;

	errors_init(&errors);
	CHECK_INT(type->open(&f->backend.config, &begin, &errors), -1);
	CHECK_INT(errors.count, 1);
	CHECK_HAS(errors.line[0], part);
	errors_finish(&errors);
}

#define DISCARD_AT 30000u
#define DISCARD_SECTORS 128u

/* What is discarded is freed, at the least: virtio 1.2, 5.2.6.2, does not say what is read there. */
static void check_discard(struct fixture *f, int loop)
{
	uint8_t *data = scratch_random(DISCARD_SECTORS * 512);
	int64_t before;

	CHECK_INT(guest_blk_write(&f->blk, 0, DISCARD_AT, data, DISCARD_SECTORS * 512), 0);
	CHECK_INT(guest_blk_flush(&f->blk, 0), 0);
	CHECK_INT(fsync(loop), 0);
	before = image_sectors();
	CHECK_INT(guest_blk_discard(&f->blk, 0, DISCARD_AT, DISCARD_SECTORS), 0);
	CHECK_INT(guest_blk_flush(&f->blk, 0), 0);
	CHECK_INT(fsync(loop), 0);
	CHECK(image_sectors() <= before - (int64_t)DISCARD_SECTORS + 16);
	/* A loop device, which is what frees here, reads zeroes from the hole. */
	memset(f->shadow + DISCARD_AT * 512, 0, DISCARD_SECTORS * 512);
	free(data);
}

static void test_block_device(void)
{
	struct fixture f;
	struct stat st;
	int64_t before;
	int loop;
	int cache;

	set_up(&f);
	loop = scratch_loop(IMAGE, loop_path, sizeof(loop_path));
	for (cache = CONFIG_CACHE_WRITEBACK; cache <= CONFIG_CACHE_NONE; cache++) {
		f.backend.config.blk.img = loop_path;
		f.backend.config.blk.cache = (enum config_cache)cache;
		start(&f, NULL);
		CHECK_INT(f.blk.capacity, SECTORS);
		check_refused(&f, "is mounted or in use by another process");
		check_load(&f, 65536, 300);
		before = image_sectors();
		CHECK_INT(guest_blk_write_zeroes(&f.blk, 0, 20000, 8192, true), 0);
		memset(f.shadow + 20000 * 512, 0, 8192 * 512);
		CHECK(cache > CONFIG_CACHE_WRITEBACK || image_sectors() < before - 8000);
		CHECK_INT(guest_blk_write_zeroes(&f.blk, 0, 10000, 3000, false), 0);
		memset(f.shadow + 10000 * 512, 0, 3000 * 512);
		check_discard(&f, loop);
		scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
		CHECK_INT(guest_blk_write(&f.blk, 0, SECTORS, f.shadow, 512), -EIO);
		/* A killed backend leaves no claim behind. */
		CHECK(WIFSIGNALED(rig_backend_end(&f.backend, SIGKILL)));
		CHECK_INT(rig_backend_start(&f.backend), 0);
		CHECK_INT(guest_blk_flush(&f.blk, 0), 0);
		again(&f);
	}
	CHECK_INT(fstat(loop, &st), 0);
	close(loop);
	start(&f, NULL);
	tear_down(&f);
}

/* On a real disk, which is nobody's file: what the backend says of it is what is seen. */
static void check_discarding_device(char *path)
{
	static uint8_t zeroes[DISCARD_SECTORS * 512];
	uint8_t got[sizeof(zeroes)];
	struct fixture f;
	uint8_t *data;
	int ways;

	set_up(&f);
	data = scratch_random(sizeof(zeroes));
	f.backend.config.blk.img = path;
	start(&f, NULL);
	for (ways = 0; ways < 3; ways++) {
		CHECK_INT(guest_blk_write(&f.blk, 0, DISCARD_AT, data, sizeof(zeroes)), 0);
		CHECK_INT(guest_blk_flush(&f.blk, 0), 0);
		if (ways == 0)
			CHECK_INT(guest_blk_discard(&f.blk, 0, DISCARD_AT, DISCARD_SECTORS), 0);
		else
			CHECK_INT(guest_blk_write_zeroes(&f.blk, 0, DISCARD_AT, DISCARD_SECTORS, ways == 1), 0);
		CHECK_INT(guest_blk_read(&f.blk, 0, DISCARD_AT, got, sizeof(got)), 0);
		CHECK_MEM(got, zeroes, sizeof(got));
	}
	free(data);
	tear_down(&f);
}

/*
 * A disk that can discard, but not zero a part of itself. Where the environment names none, such as one of null_blk, it
 * is a loop device over a file on tmpfs, which has no way to zero a part of it that stays allocated: a newer kernel's
 * loop device says so when it is first asked, and from then on can only discard.
 */
static void test_block_device_discards(void)
{
	char *path = getenv("TEST_DISCARDING_DEVICE");

	if (path) {
		check_discarding_device(path);
		return;
	}
	setenv("TMPDIR", "/dev/shm", 1);
	test_block_device();
}

/* A mounted disk is refused. */
static void test_mounted_device(void)
{
	struct fixture f;

	set_up(&f);
	CHECK_INT(unshare(CLONE_NEWNS), 0);
	CHECK_INT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	scratch_run("mkfs.ext4 -q -F " IMAGE " && mkdir mnt");
	close(scratch_loop(IMAGE, loop_path, sizeof(loop_path)));
	CHECK_INT(mount(loop_path, "mnt", "ext4", 0, NULL), 0);
	f.backend.config.blk.img = loop_path;
	check_refused(&f, "is mounted or in use by another process");
	CHECK_INT(umount("mnt"), 0);
	start(&f, NULL);
	tear_down(&f);
}

static void control(struct fixture *f)
{
	struct hvisor_device_kick kick = {.id = f->backend.id, .events = REGION_EV_CONTROL};

	core_store(&f->backend.region->control.resize_seq, core_load(&f->backend.region->control.resize_seq) + 1);
	CHECK_INT(sim_call(&f->sim, HVISOR_DEVICE_KICK, &kick), 0);
}

static int config_changed(void *arg)
{
	struct fixture *f = arg;

	return guest_dev_interrupt(&f->blk.dev, 0) & REGION_INT_CONFIG;
}

static void test_resize(void)
{
	uint8_t data[512];
	struct fixture f;

	set_up(&f);
	start(&f, NULL);
	/* The interrupt that a new backend raises anyway. */
	guest_dev_interrupt(&f.blk.dev, 0);
	memset(data, 0x42, sizeof(data));
	CHECK_INT(guest_blk_write(&f.blk, 0, SECTORS + 7, data, sizeof(data)), -EIO);
	CHECK_INT(truncate(IMAGE, IMAGE_SIZE + 4096), 0);
	control(&f);
	CHECK(test_wait(config_changed, &f, 5000));
	guest_blk_update(&f.blk);
	CHECK_INT(f.blk.capacity, SECTORS + 8);
	CHECK_INT(guest_blk_write(&f.blk, 0, SECTORS + 7, data, sizeof(data)), 0);
	CHECK_INT(guest_blk_write(&f.blk, 0, SECTORS + 8, data, sizeof(data)), -EIO);
	/* And what it was is what it stays for the next backend. */
	CHECK(WIFSIGNALED(rig_backend_end(&f.backend, SIGKILL)));
	CHECK_INT(rig_backend_start(&f.backend), 0);
	CHECK_INT(guest_blk_read(&f.blk, 0, SECTORS + 7, data, sizeof(data)), 0);
	CHECK_INT(data[0], 0x42);
	tear_down(&f);
}

static void test_shrink(void)
{
	uint8_t data[4096];
	struct fixture f;
	int engine;

	set_up(&f);
	for (engine = CONFIG_ENGINE_AUTO; engine <= CONFIG_ENGINE_PREADV; engine++) {
		f.backend.config.blk.engine = (enum config_engine)engine;
		start(&f, NULL);
		CHECK_INT(truncate(IMAGE, IMAGE_SIZE / 2), 0);
		CHECK_INT(guest_blk_read(&f.blk, 0, SECTORS / 2, data, 4096), -EIO);
		CHECK_INT(guest_blk_write(&f.blk, 0, SECTORS / 2 - 1, f.shadow, 1024), -EIO);
		CHECK_INT(guest_blk_write_zeroes(&f.blk, 0, SECTORS - 8, 8, true), -EIO);
		check_log(&f, "the image has become shorter");
		CHECK_INT(guest_blk_read(&f.blk, 0, SECTORS / 2 - 8, data, 4096), 0);
		CHECK_MEM(data, f.shadow + IMAGE_SIZE / 2 - 4096, 4096);
		scratch_check(IMAGE, f.shadow, IMAGE_SIZE / 2);
		CHECK_INT(truncate(IMAGE, IMAGE_SIZE), 0);
		memset(f.shadow + IMAGE_SIZE / 2, 0, IMAGE_SIZE / 2);
		check_load(&f, 65536, 100);
		again(&f);
	}
	start(&f, NULL);
	tear_down(&f);
}

/* A sparse image on a file system that is full. */
static void full(struct fixture *f, enum config_engine engine)
{
	uint8_t data[65536];
	uint32_t failed = 0;
	uint32_t i;

	scratch_run("truncate -s %u small/" IMAGE, IMAGE_SIZE);
	f->backend.config.blk.img = (char *)(uintptr_t) "small/" IMAGE;
	f->backend.config.blk.engine = engine;
	start(f, NULL);
	memset(data, 0x5c, sizeof(data));
	for (i = 0; i < 32; i++) {
		if (guest_blk_write(&f->blk, 0, i * 128, data, sizeof(data)) == -EIO)
			failed++;
	}
	CHECK(failed > 0 && failed < 32);
	check_log(f, "No space left on device");
	/* What was acknowledged is there. */
	CHECK_INT(guest_blk_read(&f->blk, 0, 0, data, sizeof(data)), 0);
	CHECK_INT(data[65535], 0x5c);
	CHECK_INT(unlink("small/ballast"), 0);
	memset(data, 0x5d, sizeof(data));
	for (i = 0; i < 32; i++)
		CHECK_INT(guest_blk_write(&f->blk, 0, i * 128, data, sizeof(data)), 0);
	memset(f->shadow, 0, IMAGE_SIZE);
	memset(f->shadow, 0x5d, 32 * sizeof(data));
	scratch_check("small/" IMAGE, f->shadow, IMAGE_SIZE);
	again(f);
}

static void test_full(void)
{
	struct fixture f;
	uint8_t *intact;
	int engine;

	set_up(&f);
	intact = malloc(IMAGE_SIZE);
	CHECK(intact);
	memcpy(intact, f.shadow, IMAGE_SIZE);
	CHECK_INT(unshare(CLONE_NEWNS), 0);
	CHECK_INT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	CHECK_INT(mkdir("small", 0755), 0);
	for (engine = CONFIG_ENGINE_AUTO; engine <= CONFIG_ENGINE_PREADV; engine++) {
		/* A new one each time: an io_uring holds on to its image for a while after its process is gone. */
		CHECK_INT(mount("small", "small", "tmpfs", 0, "size=3m"), 0);
		scratch_run("head -c 2000000 /dev/zero > small/ballast");
		full(&f, (enum config_engine)engine);
		CHECK_INT(umount2("small", MNT_DETACH), 0);
	}
	scratch_check(IMAGE, intact, IMAGE_SIZE);
	start(&f, NULL);
	tear_down(&f);
	free(intact);
}

static int broken(void *arg)
{
	struct fixture *f = arg;

	return guest_dev_read(&f->blk.dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET;
}

/* A driver that breaks the rules loses its device until it resets it, and nothing else happens. */
static void test_malformed(void)
{
	struct fixture f;
	uint8_t data[512];
	uint32_t i;

	set_up(&f);
	start(&f, NULL);
	for (i = 0; i < 6; i++) {
		struct guest_vq *vq = &f.blk.queue[0].vq;
		uint64_t gpa = guest_alloc(&f.guest, 4096);
		struct guest_buffer bad[3] = {{gpa, 16, false}, {gpa + 512, 512, true}, {gpa + 2048, 1, true}};
		uint32_t n = 3;

		switch (i) {
		case 0: /* no room for the status */
			n = 1;
			break;
		case 1: /* half a header */
			bad[0].len = 8;
			break;
		case 2: /* no header */
			bad[0].device_writes = true;
			break;
		case 3: /* data beyond the zone's memory */
			bad[1].gpa = RIG_RAM + ((uint64_t)ZONE_MIB << 20) - 1;
			break;
		case 4: /* data that wraps */
			bad[1].gpa = UINT64_MAX - 16;
			break;
		}
		if (i == 5)
			guest_vq_add_head(vq, 0xffff);
		else
			CHECK(guest_vq_add(vq, bad, n, &f) >= 0);
		guest_vq_kick(vq, 0);
		if (!test_wait(broken, &f, 5000))
			TEST_FAIL("case %u does not end the device", i);
		guest_blk_close(&f.blk);
		guest_free(&f.guest, gpa, 4096);
		CHECK_INT(guest_blk_open(&f.blk, &f.guest, RIG_BASE, RIG_IRQ, NULL), 0);
		CHECK_INT(guest_blk_read(&f.blk, 0, i, data, sizeof(data)), 0);
		CHECK_MEM(data, f.shadow + i * 512, sizeof(data));
	}
	check_load(&f, 65536, 100);
	CHECK_INT(waitpid(f.backend.pid, NULL, WNOHANG), 0);
	tear_down(&f);
}

/* Kills the backend again and again while a thread loads it. */
static void kill_under_load(enum config_engine engine, enum config_cache cache, uint32_t kills)
{
	struct load load = {.len = 32768, .unit = 512, .requests = UINT64_MAX, .flushes = true};
	struct guest_blk_options options = {.data_max = 32768};
	struct fixture f;
	pthread_t thread;
	uint32_t i;

	set_up(&f);
	f.backend.config.blk.engine = engine;
	f.backend.config.blk.cache = cache;
	start(&f, &options);
	load.f = &f;
	load.requests = 4000;
	CHECK_INT(pthread_create(&thread, NULL, load_thread, &load), 0);
	for (i = 0; i < kills; i++) {
		struct timespec pause = {.tv_nsec = (long)test_random_below(5000000)};

		nanosleep(&pause, NULL);
		CHECK(WIFSIGNALED(rig_backend_end(&f.backend, i % 3 ? SIGKILL : SIGTERM)) || i % 3 == 0);
		CHECK_INT(rig_backend_start(&f.backend), 0);
	}
	CHECK_INT(pthread_join(thread, NULL), 0);
	CHECK_INT(guest_blk_flush(&f.blk, 0), 0);
	scratch_check(IMAGE, f.shadow, IMAGE_SIZE);
	CHECK_INT(core_load(&f.backend.region->device.errors), 0);
	tear_down(&f);
}

static void test_kill_auto(void)
{
	kill_under_load(CONFIG_ENGINE_AUTO, CONFIG_CACHE_WRITEBACK, 20);
}

static void test_kill_io_uring(void)
{
	kill_under_load(CONFIG_ENGINE_IO_URING, CONFIG_CACHE_WRITEBACK, 20);
}

static void test_kill_preadv(void)
{
	kill_under_load(CONFIG_ENGINE_PREADV, CONFIG_CACHE_WRITETHROUGH, 20);
}

static void test_kill_direct(void)
{
	kill_under_load(CONFIG_ENGINE_AUTO, CONFIG_CACHE_NONE, 10);
}

static int has_grown(void *arg)
{
	struct fixture *f = arg;
	uint64_t before = f->blk.capacity;

	guest_blk_update(&f->blk);
	return f->blk.capacity > before;
}

/* All engines and cache modes once more, as the launcher starts and confines them. */
static void test_launched(void)
{
	enum {
		DISKS = 9,
		SIZE = 4 << 20
	};
	static struct fixture f[DISKS];
	struct guest_blk_options options = {.depth = 16, .data_max = 16384};
	struct rig_disk disk[DISKS];
	struct rig rig;
	char keys[DISKS][96];
	char image[DISKS][16];
	char name[16];
	struct region_device counters;
	struct load load;
	char out[4096];
	uint32_t i;

	rig_init(&rig, ZONE_MIB);
	for (i = 0; i < DISKS; i++) {
		snprintf(keys[i], sizeof(keys[i]), "\"engine\": \"%s\", \"cache\": \"%s\"", config_engine_name(i / 3),
			 config_cache_name(i % 3));
		snprintf(image[i], sizeof(image[i]), "%u.img", i);
		f[i].shadow = scratch_random(SIZE);
		scratch_write(image[i], f[i].shadow, SIZE);
		disk[i] = (struct rig_disk){.img = image[i], .keys = keys[i]};
	}
	rig_config_disks(&rig, disk, DISKS, NULL);
	rig_serve(&rig, DISKS);
	for (i = 0; i < DISKS; i++) {
		CHECK_INT(guest_blk_open(&f[i].blk, &rig.guest, rig_base(i), rig_irq(i), &options), 0);
		load = (struct load){.f = &f[i], .len = 16384, .unit = 512, .requests = 300, .flushes = true};
		load_run(&load);
		CHECK_INT(guest_blk_discard(&f[i].blk, 0, 2048, 1024), 0);
		memset(f[i].shadow + 2048 * 512, 0, 1024 * 512);
		CHECK_INT(guest_blk_write_zeroes(&f[i].blk, 0, 4096, 1021, false), 0);
		memset(f[i].shadow + 4096 * 512, 0, 1021 * 512);
	}
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--restart", "all", NULL), 0);
	CHECK_INT(truncate(image[4], SIZE + 512), 0);
	CHECK_INT(rig_launcher(&rig, out, sizeof(out), "--resize", "blk4", NULL), 0);
	/* The guest is told when the backend has seen it, which may be a new one. */
	CHECK(test_wait(has_grown, &f[4], 5000));
	memset(f[4].shadow, 0x44, 512);
	CHECK_INT(guest_blk_write(&f[4].blk, 0, SIZE / 512, f[4].shadow, 512), 0);
	CHECK_INT(guest_blk_write(&f[4].blk, 0, 0, f[4].shadow, 512), 0);
	CHECK_INT(truncate(image[4], SIZE), 0);
	for (i = 0; i < DISKS; i++) {
		load = (struct load){.f = &f[i], .len = 16384, .unit = 512, .requests = 100, .flushes = true};
		load_run(&load);
		CHECK_INT(guest_blk_flush(&f[i].blk, 0), 0);
		scratch_check(image[i], f[i].shadow, SIZE);
		snprintf(name, sizeof(name), "blk%u", i);
		rig_counters(&rig, name, &counters);
		CHECK_INT(counters.own[BLK_OWN_RING] > 0, i / 3 != CONFIG_ENGINE_PREADV);
		CHECK_INT(counters.own[BLK_OWN_INLINE] > 0, i / 3 != CONFIG_ENGINE_IO_URING && i != 2);
		CHECK_INT(counters.errors, 0);
		guest_blk_close(&f[i].blk);
		free(f[i].shadow);
	}
	rig_finish(&rig);
}

static const struct test tests[] = {
	{"blk_engines", test_engines, 0},
	{"blk_rings", test_rings, 0},
	{"blk_multiqueue", test_multiqueue, 0},
	{"blk_queue_reset", test_queue_reset, 0},
	{"blk_keys", test_keys, 0},
	{"blk_readonly", test_readonly, 0},
	{"blk_writeback", test_writeback, 0},
	{"blk_discard", test_discard, 0},
	{"blk_segments", test_segments, 0},
	{"blk_scattered", test_scattered, 0},
	{"blk_block_device", test_block_device, 0},
	{"blk_block_device_discards", test_block_device_discards, 0},
	{"blk_mounted_device", test_mounted_device, 0},
	{"blk_resize", test_resize, 0},
	{"blk_shrink", test_shrink, 0},
	{"blk_full", test_full, 0},
	{"blk_malformed", test_malformed, 0},
	{"blk_kill_auto", test_kill_auto, 0},
	{"blk_kill_io_uring", test_kill_io_uring, 0},
	{"blk_kill_preadv", test_kill_preadv, 0},
	{"blk_kill_direct", test_kill_direct, 0},
	{"blk_launched", test_launched, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
