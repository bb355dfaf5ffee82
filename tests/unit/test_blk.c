/* SPDX-License-Identifier: MIT */
/*
 * The real hvisor-blk with what the launcher would give it (devtype_blk), a register model in this process and a driver
 * that writes the rings with its own hands: so requests can have any shape. The backend is confined by its policy,
 * which is read from the folder policy.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/backend_fds.h"
#include "common/blk.h"
#include "common/region.h"
#include "common/vmmio.h"
#include "launcher/devtype.h"
#include "launcher/policy.h"
#include "tests/test.h"

#define GPA 0x40000000u
#define MEMORY (32u << 20)
#define QUEUE_BYTES 0x10000u /* of guest memory for one queue's rings */
#define DATA (GPA + 0x400000u)
#define NUM 128u
#define IMAGE_BYTES (8u << 20)

struct rig {
	char image[96];
	int image_fd;
	struct config_device config;
	struct hvisor_device_add device;
	struct queue_region *region;
	uint32_t region_size;
	int region_fd;
	uint8_t *memory;
	int memory_fd;
	int kick;
	int call;
	int log[2];
	pid_t pid;
	struct vmmio_dev model;
	uint16_t avail[REGION_QUEUES_MAX];
	uint16_t used[REGION_QUEUES_MAX];
	char log_text[16384];
	size_t log_len;
};

struct buffer {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

static void *at(struct rig *rig, uint64_t gpa)
{
	return rig->memory + (gpa - GPA);
}

static void write_all(int fd, const void *data, size_t len, off_t offset)
{
	CHECK_INT(pwrite(fd, data, len, offset), len);
}

/* What byte n of the fresh image is. */
static uint8_t pattern(uint64_t n)
{
	return (uint8_t)(n / 512 * 7 + n % 512);
}

static char folder[64];
static char image_path[96];

static void remove_folder(void)
{
	unlink(image_path);
	rmdir(folder);
}

/* A device with a new image of a pattern, in TMPDIR or /var/tmp; the caller may change rig->config next. */
static void rig_init(struct rig *rig)
{
	static uint8_t block[65536];
	const char *tmp = getenv("TMPDIR");
	uint64_t offset;
	size_t i;

	memset(rig, 0, sizeof(*rig));
	snprintf(folder, sizeof(folder), "%s/hvisor-blk.XXXXXX", tmp ? tmp : "/var/tmp");
	CHECK(mkdtemp(folder));
	snprintf(image_path, sizeof(image_path), "%s/image", folder);
	strcpy(rig->image, image_path);
	atexit(remove_folder);
	rig->image_fd = open(rig->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(rig->image_fd >= 0);
	for (offset = 0; offset < IMAGE_BYTES; offset += sizeof(block)) {
		for (i = 0; i < sizeof(block); i++)
			block[i] = pattern(offset + i);
		write_all(rig->image_fd, block, sizeof(block), (off_t)offset);
	}
	rig->config = (struct config_device){
		.name = "blk0",
		.place = "zones[0].devices[0]",
		.type = CONFIG_BLK,
		.blk = {.img = rig->image,
			.serial = "serial-1",
			.discard = true,
			.queues = 1,
			.queue_size = NUM,
			.logical_block_size = 512},
	};
}

static void must(int result, struct errors *errors)
{
	if (result == 0)
		return;
	errors_print(errors, stderr, "");
	TEST_FAIL("the launcher's side failed");
}

static int plain_memfd(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void rig_signal(struct rig *rig, uint32_t effects)
{
	uint64_t one = 1;

	if (effects & VMMIO_KICK)
		CHECK_INT(write(rig->kick, &one, sizeof(one)), sizeof(one));
}

static void reg_write(struct rig *rig, uint32_t offset, uint32_t value)
{
	rig_signal(rig, vmmio_write(&rig->model, offset, 4, value, 0));
}

static uint32_t reg_read(struct rig *rig, uint32_t offset)
{
	uint64_t value;

	vmmio_read(&rig->model, offset, 4, &value);
	return (uint32_t)value;
}

static void make_device(struct rig *rig)
{
	struct region_shape shape;
	struct errors errors;

	errors_init(&errors);
	must(devtype_blk.describe(&rig->config, &rig->device, &errors), &errors);
	errors_finish(&errors);
	shape = (struct region_shape){.device_id = rig->device.device_id,
				      .nqueues = rig->device.nqueues,
				      .queue_size_max = rig->device.queue_size_max,
				      .config_len = rig->device.config_len,
				      .device_features = rig->device.features};
	CHECK(region_shape_valid(&shape));
	rig->region_size = region_size(&shape);
	rig->region_fd = plain_memfd("region", rig->region_size);
	rig->region = mmap(NULL, rig->region_size, PROT_READ | PROT_WRITE, MAP_SHARED, rig->region_fd, 0);
	CHECK(rig->region != MAP_FAILED);
	region_init(rig->region, &shape, rig->device.config);
	vmmio_init(&rig->model, rig->region, &shape, rig->device.config, rig->device.config_writable);
	rig->region->control.log_level = 3;
	rig->memory_fd = plain_memfd("memory", MEMORY);
	rig->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, rig->memory_fd, 0);
	CHECK(rig->memory != MAP_FAILED);
	rig->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rig->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK_INT(pipe2(rig->log, O_CLOEXEC | O_NONBLOCK), 0);
}

static void program_path(char *path, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	CHECK(n > 0);
	self[n] = 0;
	snprintf(path, size, "%s/../../hvisor-blk", dirname(self));
}

static void child(struct rig *rig, const struct devtype_start *start, int ready, int policy)
{
	int fd[BACKEND_FD_END];
	char region[64], memory[64];
	char *argv[DEVTYPE_ARGS_MAX + 8] = {"hvisor-blk", "name=blk0", region, memory, "log_level=3"};
	char path[PATH_MAX];
	uint32_t n = 5;
	uint32_t i;

	snprintf(region, sizeof(region), "region=0,%u", rig->region_size);
	snprintf(memory, sizeof(memory), "memory=%u,%u,0", GPA, MEMORY);
	for (i = 0; i < start->nargs; i++)
		argv[n++] = start->arg[i];
	program_path(path, sizeof(path));
	for (i = 0; i < BACKEND_FD_END; i++)
		fd[i] = -1;
	fd[BACKEND_FD_LOG] = rig->log[1];
	fd[BACKEND_FD_KICK] = rig->kick;
	fd[BACKEND_FD_CALL] = rig->call;
	fd[BACKEND_FD_REGION] = rig->region_fd;
	fd[BACKEND_FD_MEMORY] = rig->memory_fd;
	fd[BACKEND_FD_READY] = ready;
	fd[BACKEND_FD_POLICY] = policy;
	for (i = 0; i < start->nfiles; i++)
		fd[BACKEND_FD_DEVICE + i] = start->file[i];
	for (i = 0; i < BACKEND_FD_END; i++) {
		if (fd[i] >= 0)
			fd[i] = fcntl(fd[i], F_DUPFD_CLOEXEC, 64);
	}
	for (i = 0; i < BACKEND_FD_END; i++) {
		if (fd[i] >= 0)
			dup2(fd[i], (int)i);
		else
			close((int)i);
	}
	execv(path, argv);
	_exit(126);
}

/* Starts a backend, the first or another; false if it ends before it serves. */
static bool rig_spawn(struct rig *rig)
{
	struct devtype_start start;
	struct errors errors;
	int ready[2];
	int policy;
	char byte;
	bool served;

	errors_init(&errors);
	must(devtype_blk.open(&rig->config, &start, &errors), &errors);
	policy = policy_compile("policy", devtype_blk.policy, LAUNCH_SECCOMP_ENFORCE, &errors);
	must(policy < 0, &errors);
	errors_finish(&errors);
	CHECK_INT(pipe2(ready, O_CLOEXEC), 0);
	vmmio_attach(&rig->model);
	rig->pid = fork();
	CHECK(rig->pid >= 0);
	if (rig->pid == 0)
		child(rig, &start, ready[1], policy);
	close(ready[1]);
	close(policy);
	devtype_start_finish(&start);
	served = read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	return served;
}

static const char *rig_log(struct rig *rig)
{
	ssize_t n;

	while (rig->log_len + 1 < sizeof(rig->log_text) &&
	       (n = read(rig->log[0], rig->log_text + rig->log_len, sizeof(rig->log_text) - 1 - rig->log_len)) > 0)
		rig->log_len += (size_t)n;
	rig->log_text[rig->log_len] = 0;
	return rig->log_text;
}

static void rig_start(struct rig *rig)
{
	make_device(rig);
	if (!rig_spawn(rig))
		TEST_FAIL("the backend does not serve: %s", rig_log(rig));
}

static int rig_end(struct rig *rig, int signo)
{
	int status;

	kill(rig->pid, signo);
	CHECK_INT(waitpid(rig->pid, &status, 0), rig->pid);
	vmmio_detach(&rig->model);
	return status;
}

static void rig_finish(struct rig *rig)
{
	CHECK_INT(rig_end(rig, SIGTERM), 0);
	remove_folder();
	munmap(rig->region, rig->region_size);
	munmap(rig->memory, MEMORY);
}

/* The driver */

static struct vring_desc *desc_of(struct rig *rig, uint32_t q)
{
	return at(rig, GPA + q * QUEUE_BYTES);
}

static struct vring_avail *avail_of(struct rig *rig, uint32_t q)
{
	return at(rig, GPA + q * QUEUE_BYTES + 0x4000);
}

static struct vring_used *used_of(struct rig *rig, uint32_t q)
{
	return at(rig, GPA + q * QUEUE_BYTES + 0x8000);
}

static void driver_queue(struct rig *rig, uint32_t q)
{
	uint32_t gpa = GPA + q * QUEUE_BYTES;

	memset(at(rig, gpa), 0, QUEUE_BYTES);
	rig->avail[q] = 0;
	rig->used[q] = 0;
	reg_write(rig, VMMIO_QUEUE_SEL, q);
	reg_write(rig, VMMIO_QUEUE_NUM, NUM);
	reg_write(rig, VMMIO_QUEUE_DESC_LOW, gpa);
	reg_write(rig, VMMIO_QUEUE_DRIVER_LOW, gpa + 0x4000);
	reg_write(rig, VMMIO_QUEUE_DEVICE_LOW, gpa + 0x8000);
	reg_write(rig, VMMIO_QUEUE_READY, 1);
}

static int is_quiet(void *arg)
{
	struct rig *rig = arg;

	return vmmio_quiesced(&rig->model) != 0 || vmmio_is_quiet(&rig->model);
}

/* Reset and set-up with all features but those. */
static void driver_start(struct rig *rig, uint64_t without)
{
	uint64_t features = rig->device.features & ~without;
	uint32_t q;

	reg_write(rig, VMMIO_STATUS, 0);
	CHECK(test_wait(is_quiet, rig, 5000));
	CHECK_INT(reg_read(rig, VMMIO_STATUS), 0);
	reg_write(rig, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	reg_write(rig, VMMIO_DRIVER_FEATURES_SEL, 0);
	reg_write(rig, VMMIO_DRIVER_FEATURES, (uint32_t)features);
	reg_write(rig, VMMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(rig, VMMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	reg_write(rig, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FEATURES_OK);
	CHECK(reg_read(rig, VMMIO_STATUS) & VMMIO_S_FEATURES_OK);
	for (q = 0; q < rig->config.blk.queues; q++)
		driver_queue(rig, q);
	reg_write(rig, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FEATURES_OK | VMMIO_S_DRIVER_OK);
}

static void ring_add(struct rig *rig, uint32_t q, uint16_t head)
{
	struct vring_avail *avail = avail_of(rig, q);

	avail->ring[rig->avail[q]++ % NUM] = head;
	core_store_release(&avail->idx, rig->avail[q]);
}

/* Puts a chain at descriptors first, first + 1, ... */
static void chain_add(struct rig *rig, uint32_t q, uint16_t first, const struct buffer *buffer, uint32_t n)
{
	struct vring_desc *desc = desc_of(rig, q) + first;
	uint32_t i;

	for (i = 0; i < n; i++) {
		desc[i].addr = buffer[i].gpa;
		desc[i].len = buffer[i].len;
		desc[i].flags =
			(uint16_t)((buffer[i].write ? VRING_DESC_F_WRITE : 0) | (i + 1 < n ? VRING_DESC_F_NEXT : 0));
		desc[i].next = (uint16_t)(first + i + 1);
	}
	ring_add(rig, q, first);
}

static void notify(struct rig *rig, uint32_t q)
{
	core_fence();
	reg_write(rig, VMMIO_QUEUE_NOTIFY, q);
}

struct used_wait {
	struct rig *rig;
	uint32_t q;
};

static int used_there(void *arg)
{
	struct used_wait *wait = arg;

	return core_load_acquire(&used_of(wait->rig, wait->q)->idx) != wait->rig->used[wait->q];
}

static struct vring_used_elem used_get(struct rig *rig, uint32_t q)
{
	struct used_wait wait = {rig, q};

	if (!test_wait(used_there, &wait, 10000))
		TEST_FAIL("queue %u: no answer; log: %s", q, rig_log(rig));
	return used_of(rig, q)->ring[rig->used[q]++ % NUM];
}

#define HEADER (DATA - 4096)
#define STATUS (DATA - 2048)

static void header_set(struct rig *rig, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr *header = at(rig, HEADER);

	*header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
	*(uint8_t *)at(rig, STATUS) = 0xff;
}

static struct vring_used_elem chain_run(struct rig *rig, const struct buffer *buffer, uint32_t n)
{
	chain_add(rig, 0, 0, buffer, n);
	notify(rig, 0);
	return used_get(rig, 0);
}

/* A request of the usual shape with len bytes of data at DATA; returns its status, and the used length. */
static uint8_t request(struct rig *rig, uint32_t type, uint64_t sector, uint32_t len, bool reads, uint32_t *used)
{
	struct buffer buffer[3] = {{HEADER, 16, false}};
	struct vring_used_elem elem;
	uint32_t n = 1;

	header_set(rig, type, sector);
	if (len > 0)
		buffer[n++] = (struct buffer){DATA, len, reads};
	buffer[n++] = (struct buffer){STATUS, 1, true};
	elem = chain_run(rig, buffer, n);
	if (used)
		*used = elem.len;
	return *(uint8_t *)at(rig, STATUS);
}

static uint8_t rd(struct rig *rig, uint64_t sector, uint32_t len)
{
	return request(rig, VIRTIO_BLK_T_IN, sector, len, true, NULL);
}

static uint8_t wr(struct rig *rig, uint64_t sector, uint32_t len)
{
	return request(rig, VIRTIO_BLK_T_OUT, sector, len, false, NULL);
}

/* Does the data in guest memory, or in the image, have the pattern of that offset of the image? */
static void check_pattern(const uint8_t *data, uint64_t offset, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (data[i] != pattern(offset + i))
			TEST_FAIL("byte %zu is 0x%02x, not 0x%02x", i, data[i], pattern(offset + i));
	}
}

static void check_image(struct rig *rig, uint64_t offset, const void *want, size_t len)
{
	uint8_t *got = malloc(len);

	CHECK(got);
	CHECK_INT(pread(rig->image_fd, got, len, (off_t)offset), len);
	CHECK_MEM(got, (const uint8_t *)want, len);
	free(got);
}

/* The tests */

static void basics(enum config_engine engine, enum config_cache cache, uint32_t block)
{
	uint32_t sectors = block / 512;
	struct rig rig;
	uint32_t used;
	uint32_t i;

	rig_init(&rig);
	rig.config.blk.engine = engine;
	rig.config.blk.cache = cache;
	rig.config.blk.logical_block_size = block;
	rig_start(&rig);
	driver_start(&rig, 0);

	CHECK_INT(request(&rig, VIRTIO_BLK_T_IN, 3 * sectors, 2 * block, true, &used), VIRTIO_BLK_S_OK);
	CHECK_INT(used, 2 * block + 1);
	check_pattern(at(&rig, DATA), 3 * block, 2 * block);
	/* More than one bounce buffer has. */
	CHECK_INT(rd(&rig, sectors, 3u << 20), VIRTIO_BLK_S_OK);
	check_pattern(at(&rig, DATA), block, 3u << 20);

	for (i = 0; i < 1u << 20; i++)
		((uint8_t *)at(&rig, DATA))[i] = (uint8_t)(i * 13 + 5);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_OUT, 7 * sectors, 1u << 20, false, &used), VIRTIO_BLK_S_OK);
	CHECK_INT(used, 1);
	check_image(&rig, 7 * block, at(&rig, DATA), 1u << 20);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_FLUSH, 0, 0, false, &used), VIRTIO_BLK_S_OK);
	CHECK_INT(used, 1);

	/* The last block, and the first one behind it. */
	CHECK_INT(rd(&rig, IMAGE_BYTES / 512 - sectors, block), VIRTIO_BLK_S_OK);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_IN, IMAGE_BYTES / 512 - sectors, 2 * block, true, &used),
		  VIRTIO_BLK_S_IOERR);
	CHECK_INT(used, 0);
	CHECK_INT(rd(&rig, IMAGE_BYTES / 512, block), VIRTIO_BLK_S_IOERR);
	CHECK_INT(rd(&rig, UINT64_MAX - sectors + 1, block), VIRTIO_BLK_S_IOERR);
	CHECK_INT(wr(&rig, UINT64_MAX / 512, block), VIRTIO_BLK_S_IOERR);
	CHECK_INT(wr(&rig, 0, block - 1), VIRTIO_BLK_S_IOERR);
	CHECK_INT(wr(&rig, 0, 1), VIRTIO_BLK_S_IOERR);
	if (block > 512) {
		CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_IOERR);
		CHECK_INT(rd(&rig, 1, block), VIRTIO_BLK_S_IOERR);
	}
	CHECK_INT(request(&rig, VIRTIO_BLK_T_SECURE_ERASE, 0, 16, false, NULL), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(request(&rig, 0x7777, 0, 16, false, NULL), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(rig.region->device.own[BLK_OWN_FLUSHES], 1);
	CHECK_INT(rig.region->device.own[BLK_OWN_SYNC_WRITES] > 0, cache == CONFIG_CACHE_WRITETHROUGH);
	if (engine == CONFIG_ENGINE_IO_URING)
		CHECK_INT(rig.region->device.own[BLK_OWN_INLINE], 0);
	if (engine == CONFIG_ENGINE_PREADV)
		CHECK_INT(rig.region->device.own[BLK_OWN_RING], 0);
	rig_finish(&rig);
}

static void test_engines(void)
{
	int engine, cache;

	for (engine = CONFIG_ENGINE_AUTO; engine <= CONFIG_ENGINE_PREADV; engine++) {
		for (cache = CONFIG_CACHE_WRITEBACK; cache <= CONFIG_CACHE_NONE; cache++) {
			basics((enum config_engine)engine, (enum config_cache)cache, 512);
			basics((enum config_engine)engine, (enum config_cache)cache, 4096);
		}
	}
}

/* virtio 1.2, 2.7.4.1: where one buffer ends and the next begins means nothing. */
static void test_framing(void)
{
	struct buffer buffer[64];
	struct rig rig;
	uint32_t n = 0;
	uint32_t i;

	rig_init(&rig);
	rig_start(&rig);
	driver_start(&rig, 0);

	/* A read: the header in single bytes, data in odd pieces, the last of which has the status too. */
	header_set(&rig, VIRTIO_BLK_T_IN, 5);
	for (i = 0; i < 16; i++)
		buffer[n++] = (struct buffer){HEADER + i, 1, false};
	buffer[n++] = (struct buffer){DATA, 3, true};
	buffer[n++] = (struct buffer){DATA + 3, 1000, true};
	buffer[n++] = (struct buffer){DATA + 1003, 0, true};
	buffer[n++] = (struct buffer){DATA + 1003, 22, true};
	CHECK_INT(chain_run(&rig, buffer, n).len, 1025);
	check_pattern(at(&rig, DATA), 5 * 512, 1024);
	CHECK_INT(*(uint8_t *)at(&rig, DATA + 1024), VIRTIO_BLK_S_OK);

	/* A write: header and data in one buffer, and a piece elsewhere. */
	header_set(&rig, VIRTIO_BLK_T_OUT, 9);
	memset(at(&rig, HEADER + 16), 0x5a, 512);
	memset(at(&rig, DATA), 0xa5, 512);
	n = 0;
	buffer[n++] = (struct buffer){HEADER, 16 + 511, false};
	buffer[n++] = (struct buffer){DATA, 513, false};
	buffer[n++] = (struct buffer){STATUS, 1, true};
	((uint8_t *)at(&rig, DATA))[0] = 0x5a;
	memset((uint8_t *)at(&rig, DATA) + 1, 0xa5, 512);
	CHECK_INT(chain_run(&rig, buffer, n).len, 1);
	CHECK_INT(*(uint8_t *)at(&rig, STATUS), VIRTIO_BLK_S_OK);
	check_image(&rig, 9 * 512, at(&rig, HEADER + 16), 511);
	check_image(&rig, 9 * 512 + 511, at(&rig, DATA), 513);

	/* The id, into less and into more than it takes. */
	header_set(&rig, VIRTIO_BLK_T_GET_ID, 0);
	buffer[0] = (struct buffer){HEADER, 16, false};
	buffer[1] = (struct buffer){DATA, 4, true};
	buffer[2] = (struct buffer){DATA + 4, 1, true};
	memset(at(&rig, DATA), 0x11, 64);
	CHECK_INT(chain_run(&rig, buffer, 3).len, 5);
	CHECK_MEM((uint8_t *)at(&rig, DATA), "seri\0\x11", 6);
	buffer[1] = (struct buffer){DATA, 32, true};
	buffer[2] = (struct buffer){STATUS, 1, true};
	CHECK_INT(chain_run(&rig, buffer, 3).len, 20);
	CHECK_MEM((uint8_t *)at(&rig, DATA), "serial-1\0\0\0\0\0\0\0\0\0\0\0\0\x11", 21);
	rig_finish(&rig);
}

static int needs_reset(void *arg)
{
	return reg_read(arg, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET;
}

static void test_malformed(void)
{
	static const struct {
		struct buffer buffer[3];
		uint32_t n;
		const char *why;
	} cases[] = {
		{{{HEADER, 16, false}}, 1, "without room for its status"},
		{{{HEADER, 16, false}, {DATA, 512, false}}, 2, "without room for its status"},
		{{{HEADER, 15, false}, {STATUS, 1, true}}, 2, "without a header"},
		{{{DATA, 512, true}, {STATUS, 1, true}}, 2, "without a header"},
		{{{HEADER, 16, false}, {STATUS, 1, true}, {DATA, 512, false}}, 3, "follows a device-writable one"},
		{{{HEADER, 16, false}, {GPA + MEMORY - 511, 512, true}, {STATUS, 1, true}},
		 3,
		 "not in the zone's memory"},
	};
	struct rig rig;
	uint32_t i;

	rig_init(&rig);
	rig_start(&rig);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		driver_start(&rig, 0);
		CHECK_INT(rd(&rig, 0, 512), VIRTIO_BLK_S_OK);
		header_set(&rig, VIRTIO_BLK_T_IN, 0);
		chain_add(&rig, 0, 8, cases[i].buffer, cases[i].n);
		notify(&rig, 0);
		if (!test_wait(needs_reset, &rig, 5000))
			TEST_FAIL("case %u (%s) does not end the device", i, cases[i].why);
		CHECK_INT(used_of(&rig, 0)->idx, 1);
	}
	driver_start(&rig, 0);
	CHECK_INT(rd(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_HAS(rig_log(&rig), cases[0].why);
	rig_finish(&rig);
}

static void ranges_set(struct rig *rig, const struct virtio_blk_discard_write_zeroes *range, uint32_t n)
{
	memcpy(at(rig, DATA), range, n * sizeof(*range));
}

static uint8_t ranges_run(struct rig *rig, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = {sector, sectors, flags};

	ranges_set(rig, &range, 1);
	return request(rig, type, 0, sizeof(range), false, NULL);
}

static int64_t image_blocks(struct rig *rig)
{
	struct stat st;

	CHECK_INT(fsync(rig->image_fd), 0);
	CHECK_INT(fstat(rig->image_fd, &st), 0);
	return st.st_blocks;
}

/* Are so many sectors allocated, give or take what the file system needs for its own trees? */
static void check_allocated(struct rig *rig, int64_t want)
{
	int64_t got = image_blocks(rig);

	if (got < want - 64 || got > want + 64)
		TEST_FAIL("%lld sectors are allocated, not %lld", (long long)got, (long long)want);
}

static void discard(enum config_engine engine, enum config_cache cache)
{
	static const uint8_t zeroes[IMAGE_BYTES];
	struct virtio_blk_discard_write_zeroes range[BLK_RANGES_MAX + 1];
	struct rig rig;
	int64_t before;
	uint32_t i;

	rig_init(&rig);
	rig.config.blk.engine = engine;
	rig.config.blk.cache = cache;
	rig_start(&rig);
	driver_start(&rig, 0);
	before = image_blocks(&rig);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_DISCARD, 2048, 2048, 0), VIRTIO_BLK_S_OK);
	check_allocated(&rig, before - 2048);
	check_image(&rig, 1u << 20, zeroes, 1u << 20);
	CHECK_INT(rd(&rig, 2040, 4096), VIRTIO_BLK_S_OK);
	check_pattern(at(&rig, DATA), 2040 * 512, 4096);

	/* Zeroed, and still allocated; then zeroed so that it need not be. Not on the borders of pages. */
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 4097, 1023, 0), VIRTIO_BLK_S_OK);
	check_image(&rig, 4097 * 512, zeroes, 1023 * 512);
	check_allocated(&rig, before - 2048);
	CHECK_INT(rd(&rig, 4096, 512), VIRTIO_BLK_S_OK);
	check_pattern(at(&rig, DATA), 4096 * 512, 512);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 6144, 1024, 1), VIRTIO_BLK_S_OK);
	check_image(&rig, 6144 * 512, zeroes, 1024 * 512);
	check_allocated(&rig, before - 3072);

	/* As many ranges as there may be, all different; and one more. */
	for (i = 0; i <= BLK_RANGES_MAX; i++)
		range[i] = (struct virtio_blk_discard_write_zeroes){8192 + 16 * i, 1 + i % 8, i % 2};
	ranges_set(&rig, range, BLK_RANGES_MAX);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, BLK_RANGES_MAX * 16, false, NULL), VIRTIO_BLK_S_OK);
	for (i = 0; i < BLK_RANGES_MAX; i++) {
		check_image(&rig, range[i].sector * 512, zeroes, range[i].num_sectors * 512);
		CHECK_INT(rd(&rig, range[i].sector + range[i].num_sectors, 512), VIRTIO_BLK_S_OK);
		check_pattern(at(&rig, DATA), (range[i].sector + range[i].num_sectors) * 512, 512);
	}
	ranges_set(&rig, range, BLK_RANGES_MAX + 1);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, BLK_RANGES_MAX * 16 + 16, false, NULL),
		  VIRTIO_BLK_S_IOERR);

	/* Refused: and nothing of it done, not even the range in front that is good. */
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_WRITE_ZEROES, IMAGE_BYTES / 512 - 7, 8, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 8, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_DISCARD, 0, 15, false, NULL), VIRTIO_BLK_S_IOERR);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_DISCARD, 0, 0, false, NULL), VIRTIO_BLK_S_IOERR);
	range[0] = (struct virtio_blk_discard_write_zeroes){0, 8, 0};
	range[1] = (struct virtio_blk_discard_write_zeroes){IMAGE_BYTES / 512, 8, 0};
	ranges_set(&rig, range, 2);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_DISCARD, 0, 32, false, NULL), VIRTIO_BLK_S_IOERR);
	CHECK_INT(rd(&rig, 0, 4096), VIRTIO_BLK_S_OK);
	check_pattern(at(&rig, DATA), 0, 4096);
	CHECK_INT(rig.region->device.own[BLK_OWN_DISCARDED], 1u << 20);
	CHECK_INT(rig_end(&rig, SIGTERM), 0);
	CHECK(rig_spawn(&rig));

	/* A driver that did not accept the features. */
	driver_start(&rig, (1ull << VIRTIO_BLK_F_DISCARD) | (1ull << VIRTIO_BLK_F_WRITE_ZEROES));
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	rig_finish(&rig);
}

static void test_discard(void)
{
	int engine, cache;

	for (engine = CONFIG_ENGINE_AUTO; engine <= CONFIG_ENGINE_PREADV; engine++) {
		for (cache = CONFIG_CACHE_WRITEBACK; cache <= CONFIG_CACHE_NONE; cache++)
			discard((enum config_engine)engine, (enum config_cache)cache);
	}
}

/* With "discard": false nothing is deallocated. */
static void test_no_discard(void)
{
	struct rig rig;
	int64_t before;

	rig_init(&rig);
	rig.config.blk.discard = false;
	rig_start(&rig);
	CHECK_INT(rig.device.features & (1ull << VIRTIO_BLK_F_DISCARD), 0);
	CHECK_INT(((struct virtio_blk_config *)rig.device.config)->write_zeroes_may_unmap, 0);
	driver_start(&rig, 0);
	before = image_blocks(&rig);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_DISCARD, 2048, 2048, 0), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 6144, 1024, 1), VIRTIO_BLK_S_OK);
	check_allocated(&rig, before);
	rig_finish(&rig);
}

static void test_readonly(void)
{
	struct rig rig;

	rig_init(&rig);
	CHECK_INT(chmod(rig.image, 0400), 0);
	rig.config.blk.readonly = true;
	rig_start(&rig);
	CHECK(rig.device.features & (1ull << VIRTIO_BLK_F_RO));
	driver_start(&rig, 0);
	CHECK_INT(rd(&rig, 0, 4096), VIRTIO_BLK_S_OK);
	check_pattern(at(&rig, DATA), 0, 4096);
	memset(at(&rig, DATA), 0, 512);
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), VIRTIO_BLK_S_OK);
	CHECK_INT(rd(&rig, 0, 512), VIRTIO_BLK_S_OK);
	check_pattern(at(&rig, DATA), 0, 512);
	rig_finish(&rig);
}

static uint64_t sync_writes(struct rig *rig)
{
	return core_load(&rig->region->device.own[BLK_OWN_SYNC_WRITES]);
}

static void wce_write(struct rig *rig, uint8_t value)
{
	rig_signal(rig, vmmio_write(&rig->model, VMMIO_CONFIG + offsetof(struct virtio_blk_config, wce), 1, value, 0));
}

static uint64_t wce_read(struct rig *rig)
{
	uint64_t value;

	vmmio_read(&rig->model, VMMIO_CONFIG + offsetof(struct virtio_blk_config, wce), 1, &value);
	return value;
}

/* virtio 1.2, 5.2.6.2: which writes are stable when they complete. */
static void test_writeback(void)
{
	const uint64_t flush = 1ull << VIRTIO_BLK_F_FLUSH;
	const uint64_t wce = 1ull << VIRTIO_BLK_F_CONFIG_WCE;
	struct rig rig;
	uint64_t n;

	rig_init(&rig);
	rig_start(&rig);
	driver_start(&rig, 0);
	CHECK_INT(wce_read(&rig), 1);
	n = sync_writes(&rig);
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(sync_writes(&rig), n);
	wce_write(&rig, 0);
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(sync_writes(&rig), n + 1);
	/* It stays so when the backend is another one. */
	rig_end(&rig, SIGKILL);
	CHECK(rig_spawn(&rig));
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(sync_writes(&rig), n + 2);
	wce_write(&rig, 1);
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(sync_writes(&rig), n + 2);

	/* Zeroing is a write too: here it is made stable by a flush. */
	wce_write(&rig, 0);
	n = core_load(&rig.region->device.own[BLK_OWN_FLUSHES]) + sync_writes(&rig);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 1), VIRTIO_BLK_S_OK);
	CHECK(core_load(&rig.region->device.own[BLK_OWN_FLUSHES]) + sync_writes(&rig) > n);

	driver_start(&rig, wce);
	CHECK_INT(wce_read(&rig), 1);
	n = sync_writes(&rig);
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(sync_writes(&rig), n);
	driver_start(&rig, wce | flush);
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(sync_writes(&rig), n + 1);
	driver_start(&rig, flush);
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(sync_writes(&rig), n + 2);
	CHECK_INT(wce_read(&rig), 0);
	rig_finish(&rig);
}

struct resize_wait {
	struct rig *rig;
	uint64_t capacity;
};

static int capacity_is(void *arg)
{
	struct resize_wait *wait = arg;
	uint64_t value;

	vmmio_read(&wait->rig->model, VMMIO_CONFIG, 8, &value);
	return value == wait->capacity;
}

static void resize(struct rig *rig, uint64_t bytes, uint64_t sectors)
{
	struct resize_wait wait = {rig, sectors};

	CHECK_INT(ftruncate(rig->image_fd, (off_t)bytes), 0);
	core_store(&rig->region->control.resize_seq, core_load(&rig->region->control.resize_seq) + 1);
	rig_signal(rig, vmmio_ring(rig->region, REGION_EV_CONTROL));
	CHECK(test_wait(capacity_is, &wait, 5000));
}

static void test_resize(void)
{
	struct rig rig;

	rig_init(&rig);
	rig.config.blk.logical_block_size = 4096;
	rig_start(&rig);
	driver_start(&rig, 0);
	CHECK_INT(wr(&rig, IMAGE_BYTES / 512, 4096), VIRTIO_BLK_S_IOERR);
	reg_write(&rig, VMMIO_INTERRUPT_ACK, 3);
	/* What is no whole block is not used. */
	resize(&rig, IMAGE_BYTES + 8192 + 4095, (IMAGE_BYTES + 8192) / 512);
	CHECK(reg_read(&rig, VMMIO_INTERRUPT_STATUS) & REGION_INT_CONFIG);
	CHECK_INT(wr(&rig, IMAGE_BYTES / 512 + 8, 4096), VIRTIO_BLK_S_OK);
	CHECK_INT(wr(&rig, IMAGE_BYTES / 512 + 16, 4096), VIRTIO_BLK_S_IOERR);
	/* Asked for while no backend is there. */
	rig_end(&rig, SIGKILL);
	CHECK_INT(ftruncate(rig.image_fd, IMAGE_BYTES + 16384), 0);
	core_store(&rig.region->control.resize_seq, 7);
	CHECK(rig_spawn(&rig));
	resize(&rig, IMAGE_BYTES + 16384, (IMAGE_BYTES + 16384) / 512);
	CHECK_INT(wr(&rig, IMAGE_BYTES / 512 + 24, 4096), VIRTIO_BLK_S_OK);
	rig_finish(&rig);
}

/* The image becomes shorter behind our back: what is gone is an error, and does not come back as zeroes. */
static void shrink(enum config_engine engine, enum config_cache cache)
{
	struct rig rig;
	struct stat st;
	uint32_t used;

	rig_init(&rig);
	rig.config.blk.engine = engine;
	rig.config.blk.cache = cache;
	rig_start(&rig);
	driver_start(&rig, 0);
	CHECK_INT(ftruncate(rig.image_fd, 1u << 20), 0);
	CHECK_INT(request(&rig, VIRTIO_BLK_T_IN, 2047, 1024, true, &used), VIRTIO_BLK_S_IOERR);
	CHECK_INT(used, 512);
	CHECK_INT(rd(&rig, 2048, 512), VIRTIO_BLK_S_IOERR);
	CHECK_INT(wr(&rig, 2048, 512), VIRTIO_BLK_S_IOERR);
	CHECK_INT(wr(&rig, 2047, 1024), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 2047, 2, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges_run(&rig, VIRTIO_BLK_T_DISCARD, 4096, 8, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(rd(&rig, 2047, 512), VIRTIO_BLK_S_OK);
	check_pattern(at(&rig, DATA), 2047 * 512, 512);
	CHECK_INT(wr(&rig, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(fstat(rig.image_fd, &st), 0);
	CHECK_INT(st.st_size, 1u << 20);
	CHECK_HAS(rig_log(&rig), "the image has become shorter");
	rig_finish(&rig);
}

static void test_shrink(void)
{
	int engine;

	for (engine = CONFIG_ENGINE_AUTO; engine <= CONFIG_ENGINE_PREADV; engine++) {
		shrink((enum config_engine)engine, CONFIG_CACHE_WRITEBACK);
		shrink((enum config_engine)engine, CONFIG_CACHE_NONE);
	}
}

/* Full queues, several of them, kills in the middle: every request is answered, once, and rightly. */
static void load(enum config_engine engine, enum config_cache cache)
{
	enum {
		QUEUES = 4,
		EACH = NUM / 4,
		LEN = 8192
	};
	struct buffer buffer[3];
	struct rig rig;
	uint32_t round, q, i;

	rig_init(&rig);
	rig.config.blk.engine = engine;
	rig.config.blk.cache = cache;
	rig.config.blk.queues = QUEUES;
	rig_start(&rig);
	driver_start(&rig, 0);
	for (round = 0; round < 8; round++) {
		for (q = 0; q < QUEUES; q++) {
			for (i = 0; i < EACH; i++) {
				uint64_t slot = q * EACH + i;
				uint64_t header = DATA + slot * 16384;
				/* Even ones read what is theirs, odd ones write it. */
				bool write = i % 2;

				*(struct virtio_blk_outhdr *)at(&rig, header) =
					(struct virtio_blk_outhdr){.type = write, .sector = slot * (LEN / 512)};
				memset(at(&rig, header + 4096), write ? (int)(round + slot) : 0, LEN);
				*(uint8_t *)at(&rig, header + 64) = 0xff;
				buffer[0] = (struct buffer){header, 16, false};
				buffer[1] = (struct buffer){header + 4096, LEN, !write};
				buffer[2] = (struct buffer){header + 64, 1, true};
				chain_add(&rig, q, (uint16_t)(i * 4), buffer, 3);
			}
			notify(&rig, q);
		}
		if (round % 4 == 3) {
			poll(NULL, 0, (int)test_random_below(2));
			rig_end(&rig, SIGKILL);
			CHECK(rig_spawn(&rig));
		}
		for (q = 0; q < QUEUES; q++) {
			for (i = 0; i < EACH; i++)
				used_get(&rig, q);
		}
		for (i = 0; i < QUEUES * EACH; i++) {
			uint8_t *data = at(&rig, DATA + i * 16384ull + 4096);

			CHECK_INT(*(uint8_t *)at(&rig, DATA + i * 16384ull + 64), VIRTIO_BLK_S_OK);
			if (i % 2)
				check_image(&rig, (uint64_t)i * LEN, data, LEN);
			else
				check_pattern(data, (uint64_t)i * LEN, LEN);
		}
	}
	for (q = 0; q < QUEUES; q++)
		CHECK_INT(used_of(&rig, q)->idx, 8 * EACH);
	CHECK(rig.region->device.requests >= 8 * QUEUES * EACH);
	rig_finish(&rig);
}

static void test_load(void)
{
	int engine;

	for (engine = CONFIG_ENGINE_AUTO; engine <= CONFIG_ENGINE_PREADV; engine++) {
		load((enum config_engine)engine, CONFIG_CACHE_WRITEBACK);
		load((enum config_engine)engine, CONFIG_CACHE_WRITETHROUGH);
		load((enum config_engine)engine, CONFIG_CACHE_NONE);
	}
}

/* A reset in the middle of a load: the driver's answer comes, and afterwards nothing is written any more. */
static void test_reset_under_load(void)
{
	struct buffer buffer[3];
	struct rig rig;
	uint8_t *data;
	uint32_t round, i;

	/* On tmpfs all that io_uring does is done by workers, so that something is under way. */
	setenv("TMPDIR", "/dev/shm", 1);
	rig_init(&rig);
	rig.config.blk.engine = CONFIG_ENGINE_IO_URING;
	rig_start(&rig);
	data = at(&rig, DATA);
	for (round = 0; round < 20; round++) {
		driver_start(&rig, 0);
		header_set(&rig, VIRTIO_BLK_T_IN, 0);
		for (i = 0; i < 30; i++) {
			buffer[0] = (struct buffer){HEADER, 16, false};
			buffer[1] = (struct buffer){DATA, 4u << 20, true};
			buffer[2] = (struct buffer){STATUS, 1, true};
			chain_add(&rig, 0, (uint16_t)(i * 4), buffer, 3);
		}
		notify(&rig, 0);
		poll(NULL, 0, (int)(round % 3));
		reg_write(&rig, VMMIO_STATUS, 0);
		CHECK(test_wait(is_quiet, &rig, 5000));
		memset(data, 0x77, 4u << 20);
		poll(NULL, 0, 2);
		for (i = 0; i < 4u << 20; i++) {
			if (data[i] != 0x77)
				TEST_FAIL("byte %u was written after the reset", i);
		}
	}
	rig_finish(&rig);
}

static void expect_refused(struct rig *rig, bool open, const char *part)
{
	struct devtype_start start;
	struct errors errors;
	int result;

	errors_init(&errors);
	result = open ? devtype_blk.open(&rig->config, &start, &errors)
		      : devtype_blk.describe(&rig->config, &rig->device, &errors);
	CHECK_INT(result, -1);
	CHECK_INT(errors.count, 1);
	CHECK_HAS(errors.line[0], part);
	CHECK_HAS(errors.line[0], "blk0 (zones[0].devices[0]): image ");
	errors_finish(&errors);
}

/* What the launcher refuses, and how it says so. */
static void test_images_refused(void)
{
	struct rig rig, second;
	char image[96];

	rig_init(&rig);
	strcpy(image, rig.image);
	rig.config.blk.img = folder;
	expect_refused(&rig, false, "is a directory");
	expect_refused(&rig, true, "is a directory");
	rig.config.blk.img = (char *)"/dev/null";
	expect_refused(&rig, true, "is a character device");
	rig.config.blk.img = (char *)"/nonexistent/image";
	expect_refused(&rig, false, "No such file or directory");
	rig.config.blk.img = image;
	CHECK_INT(unlink(image), 0);
	CHECK_INT(mkfifo(image, 0600), 0);
	expect_refused(&rig, true, "is a pipe");
	CHECK_INT(unlink(image), 0);
	rig.image_fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	expect_refused(&rig, false, "has 0 bytes; an image has at least one block of 512 bytes");
	CHECK_INT(ftruncate(rig.image_fd, 4096 + 512), 0);
	rig.config.blk.logical_block_size = 4096;
	expect_refused(&rig, false, "size of 4608 bytes is not a multiple of the logical_block_size of 4096 bytes");
	CHECK_INT(ftruncate(rig.image_fd, IMAGE_BYTES), 0);

	/* One writer, or any number of readers. */
	rig_start(&rig);
	second = rig;
	expect_refused(&second, true, "is in use by another process");
	second.config.blk.readonly = true;
	expect_refused(&second, true, "is in use by another process");
	rig_end(&rig, SIGKILL);
	rig.config.blk.readonly = true;
	CHECK(rig_spawn(&rig));
	CHECK(rig_spawn(&second));
	second.config.blk.readonly = false;
	expect_refused(&second, true, "is in use by another process");
	rig_end(&second, SIGTERM);
	rig_finish(&rig);
}

static void *spawn_thread(void *arg)
{
	return rig_spawn(arg) ? arg : NULL;
}

/*
 * Past the page cache a write of a killed backend may still be on its way to the disk; who writes next has to wait for
 * it. The lock by which it can tell is held here by this test.
 */
static void test_fence(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = BLK_FENCE_OFFSET, .l_len = 1};
	struct rig rig;
	pthread_t thread;
	struct timespec end;
	void *served;

	rig_init(&rig);
	rig.config.blk.cache = CONFIG_CACHE_NONE;
	make_device(&rig);
	CHECK_INT(fcntl(rig.image_fd, F_OFD_SETLK, &lock), 0);
	CHECK_INT(pthread_create(&thread, NULL, spawn_thread, &rig), 0);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec++;
	CHECK_INT(pthread_timedjoin_np(thread, &served, &end), ETIMEDOUT);
	lock.l_type = F_UNLCK;
	CHECK_INT(fcntl(rig.image_fd, F_OFD_SETLK, &lock), 0);
	CHECK_INT(pthread_join(thread, &served), 0);
	CHECK(served);
	driver_start(&rig, 0);
	CHECK_INT(rd(&rig, 0, 512), VIRTIO_BLK_S_OK);
	rig_finish(&rig);
}

static uint64_t config_u(const struct hvisor_device_add *device, size_t offset, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, device->config + offset, size);
	return value;
}

#define CONFIG(rig, field)                                                                                             \
	config_u(&(rig)->device, offsetof(struct virtio_blk_config, field),                                            \
		 sizeof(((struct virtio_blk_config *)0)->field))

static void test_describe(void)
{
	struct errors errors;
	struct rig rig;
	struct stat st;

	rig_init(&rig);
	CHECK_INT(fstat(rig.image_fd, &st), 0);
	rig.config.blk.queues = 3;
	rig.config.blk.queue_size = 64;
	rig.config.blk.logical_block_size = 1024;
	rig.config.blk.cache = CONFIG_CACHE_WRITETHROUGH;
	errors_init(&errors);
	must(devtype_blk.describe(&rig.config, &rig.device, &errors), &errors);
	CHECK_INT(rig.device.device_id, 2);
	CHECK_INT(rig.device.nqueues, 3);
	CHECK_INT(rig.device.queue_size_max, 64);
	CHECK_INT(rig.device.config_len, 60);
	CHECK_INT(CONFIG(&rig, capacity), IMAGE_BYTES / 512);
	CHECK_INT(CONFIG(&rig, seg_max), 62);
	CHECK_INT(CONFIG(&rig, blk_size), 1024);
	CHECK_INT(1024u << CONFIG(&rig, physical_block_exp), 4096);
	CHECK_INT(CONFIG(&rig, alignment_offset), 0);
	CHECK_INT(CONFIG(&rig, min_io_size), 4);
	CHECK_INT(CONFIG(&rig, wce), 0);
	CHECK_INT(CONFIG(&rig, num_queues), 3);
	CHECK_INT(CONFIG(&rig, max_discard_sectors), BLK_RANGE_SECTORS_MAX);
	CHECK_INT(CONFIG(&rig, max_discard_seg), BLK_RANGES_MAX);
	CHECK_INT(CONFIG(&rig, discard_sector_alignment), st.st_blksize / 512);
	CHECK_INT(CONFIG(&rig, max_write_zeroes_sectors), BLK_RANGE_SECTORS_MAX);
	CHECK_INT(CONFIG(&rig, max_write_zeroes_seg), BLK_RANGES_MAX);
	CHECK_INT(CONFIG(&rig, write_zeroes_may_unmap), 1);
	CHECK_INT(rig.device.config_writable[4], 1);
	rig.config.blk.queue_size = 1024;
	rig.config.blk.cache = CONFIG_CACHE_WRITEBACK;
	must(devtype_blk.describe(&rig.config, &rig.device, &errors), &errors);
	CHECK_INT(CONFIG(&rig, seg_max), BLK_SEG_MAX);
	CHECK_INT(CONFIG(&rig, wce), 1);
	errors_finish(&errors);
}

static const struct test tests[] = {
	{"blk: what the guest finds", test_describe, 0},
	{"blk: images that the launcher refuses", test_images_refused, 0},
	{"blk: read, write, flush with all engines and cache modes", test_engines, 0},
	{"blk: buffers of any shape", test_framing, 0},
	{"blk: malformed requests need a reset", test_malformed, 0},
	{"blk: discard and write zeroes", test_discard, 0},
	{"blk: without discard", test_no_discard, 0},
	{"blk: read-only", test_readonly, 0},
	{"blk: writeback and writethrough", test_writeback, 0},
	{"blk: resize", test_resize, 0},
	{"blk: the image shrinks", test_shrink, 0},
	{"blk: load on several queues, killed in the middle", test_load, 0},
	{"blk: waits for the writes of a killed predecessor", test_fence, 0},
	{"blk: reset under load", test_reset_under_load, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
