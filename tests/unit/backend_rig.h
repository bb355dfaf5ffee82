/* SPDX-License-Identifier: MIT */
/*
 * The surroundings of a real backend process, whose device is that of echo.h: the test is driver and register model.
 */
#ifndef HVISOR_TESTS_BACKEND_RIG_H
#define HVISOR_TESTS_BACKEND_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/backend.h"
#include "common/vmmio.h"
#include "tests/test.h"
#include "tests/unit/echo.h"
#include "tests/unit/ring.h"

#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define FEATURES (VMMIO_F_VERSION_1 | VMMIO_F_INDIRECT_DESC | EVENT_IDX)
#define RING_STRIDE 0x20000ull /* the rings of queue q are at RING_GPA + q * RING_STRIDE */

struct rig {
	struct region_shape shape;
	uint8_t config[16];
	uint8_t config_writable[REGION_CONFIG_MAX / 8];
	struct queue_region *region;
	struct vmmio_dev dev;
	struct probe *probe;
	uint8_t *ram;
	struct ring ring[ECHO_QUEUES];
	int region_fd;
	int memory_fd;
	int kick;
	int call;
	int log[2];
	int ready[2];
	int device_fd;
	int policy_fd; /* -1: policy=none */
	const char *extra; /* an argument more */
	bool polled; /* the device wants to be told of its descriptor */
	pid_t pid;
	uint64_t heartbeat; /* before the backend's first turn */
	bool event_idx;
	uint16_t kick_idx[ECHO_QUEUES]; /* avail->idx at the last look whether to notify */
	uint16_t used_seen[ECHO_QUEUES];
	char text[4096]; /* of the log */
};

static inline void *map_file(int fd, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static inline int make_file(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	return fd;
}

static inline struct rig *rig_new(void)
{
	static struct rig rig;
	uint32_t q;

	rig.shape = (struct region_shape){.device_id = ECHO_ID,
					  .nqueues = ECHO_QUEUES,
					  .queue_size_max = ECHO_NUM,
					  .config_len = sizeof(rig.config),
					  .device_features = FEATURES};
	rig.config_writable[0] = 1;
	rig.region_fd = make_file("region", region_size(&rig.shape));
	rig.region = map_file(rig.region_fd, region_size(&rig.shape));
	rig.memory_fd = make_file("memory", ECHO_QUEUES * RING_STRIDE);
	rig.ram = map_file(rig.memory_fd, ECHO_QUEUES * RING_STRIDE);
	rig.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rig.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rig.device_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rig.policy_fd = -1;
	CHECK_INT(pipe2(rig.log, O_CLOEXEC | O_NONBLOCK), 0);
	rig.probe = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(rig.probe != MAP_FAILED);
	region_init(rig.region, &rig.shape, rig.config);
	rig.region->control.log_level = LOG_INFO;
	vmmio_init(&rig.dev, rig.region, &rig.shape, rig.config, rig.config_writable);
	for (q = 0; q < ECHO_QUEUES; q++) {
		ring_init(&rig.ring[q], rig.ram + q * RING_STRIDE, ECHO_NUM);
		rig.ring[q].queue.desc += q * RING_STRIDE;
		rig.ring[q].queue.driver += q * RING_STRIDE;
		rig.ring[q].queue.device += q * RING_STRIDE;
	}
	return &rig;
}

static inline void rig_backend_fds(const struct rig *rig)
{
	const int from[] = {rig->log[1],    rig->kick,      rig->call,      rig->ready[1],
			    rig->region_fd, rig->memory_fd, rig->policy_fd, rig->device_fd};
	static const int to[] = {BACKEND_FD_LOG,    BACKEND_FD_KICK,   BACKEND_FD_CALL,   BACKEND_FD_READY,
				 BACKEND_FD_REGION, BACKEND_FD_MEMORY, BACKEND_FD_POLICY, BACKEND_FD_DEVICE};
	int high[8];
	size_t i;

	for (i = 0; i < 8; i++)
		high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 64);
	for (i = 0; i < 8; i++) {
		close(to[i]);
		if (high[i] >= 0 && dup2(high[i], to[i]) < 0)
			_exit(99);
	}
	close_range(BACKEND_FD_DEVICE + 1, ~0u, 0);
}

static inline void rig_backend(const struct rig *rig)
{
	static struct backend_ops ops;
	static struct backend b;
	static struct echo echo;
	char region[64];
	char memory[128];
	char *argv[] = {"hvisor-echo", "name=echo0", region, memory, "log_level=2", NULL, NULL, NULL};
	int argc = 5;

	echo.probe = rig->probe;
	ops = echo_ops;
	ops.polled = rig->polled ? echo_polled : NULL;
	b.ops = &ops;
	b.device = &echo;
	snprintf(region, sizeof(region), "region=0,%u", region_size(&rig->shape));
	snprintf(memory, sizeof(memory), "memory=0x%llx,0x%llx,0;0x%llx,%llu,0x%llx", RING_GPA, RING_STRIDE,
		 RING_GPA + RING_STRIDE, (ECHO_QUEUES - 1) * RING_STRIDE, RING_STRIDE);
	if (rig->policy_fd < 0)
		argv[argc++] = "policy=none";
	if (rig->extra)
		argv[argc++] = (char *)rig->extra;
	rig_backend_fds(rig);
	/* Not _exit(), where a sanitizer makes calls of its own. */
	syscall(SYS_exit_group, backend_main(&b, argc, argv));
}

/* Starts a backend and returns at once. */
static inline void rig_spawn(struct rig *rig)
{
	CHECK_INT(pipe2(rig->ready, O_CLOEXEC), 0);
	rig->pid = fork();
	CHECK(rig->pid >= 0);
	if (rig->pid == 0)
		rig_backend(rig);
	close(rig->ready[1]);
}

static inline const char *rig_log(struct rig *rig)
{
	size_t len = strlen(rig->text);
	ssize_t n = read(rig->log[0], rig->text + len, sizeof(rig->text) - len - 1);

	if (n > 0)
		rig->text[len + (size_t)n] = 0;
	return rig->text;
}

static inline int has_begun(void *arg)
{
	const struct rig *rig = arg;

	return core_load(&rig->region->device.heartbeat) != rig->heartbeat;
}

/* Starts a backend and waits until it serves. */
static inline void rig_start(struct rig *rig)
{
	char byte[2];

	rig->heartbeat = core_load(&rig->region->device.heartbeat);
	vmmio_attach(&rig->dev);
	rig_spawn(rig);
	if (read(rig->ready[0], byte, 2) != 1)
		TEST_FAIL("the backend did not become ready: %s", rig_log(rig));
	CHECK_INT(read(rig->ready[0], byte, 2), 0);
	close(rig->ready[0]);
	CHECK(test_wait(has_begun, rig, 5000));
}

static inline int rig_wait_exit(struct rig *rig)
{
	int status;

	CHECK_INT(waitpid(rig->pid, &status, 0), rig->pid);
	vmmio_detach(&rig->dev);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline void rig_kill(struct rig *rig)
{
	kill(rig->pid, SIGKILL);
	CHECK_INT(rig_wait_exit(rig), -SIGKILL);
}

static inline void eventfd_add(int fd)
{
	uint64_t one = 1;

	CHECK_INT(write(fd, &one, sizeof(one)), sizeof(one));
}

/* The count since the last look; 0 if there was none. */
static inline uint64_t eventfd_take(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static inline int has_called(void *arg)
{
	struct rig *rig = arg;

	return eventfd_take(rig->call) > 0;
}

static inline int is_answered(void *arg)
{
	struct rig *rig = arg;

	return has_called(rig) && vmmio_quiesced(&rig->dev) == 1;
}

/* A driver's write; it returns when the CPU would go on. */
static inline void rig_write(struct rig *rig, uint32_t offset, uint32_t value)
{
	uint32_t effects = vmmio_write(&rig->dev, offset, 4, value, 0);

	if (effects & VMMIO_KICK)
		eventfd_add(rig->kick);
	if (effects & VMMIO_HOLD && !test_wait(is_answered, rig, 5000))
		TEST_FAIL("the backend did not become quiet");
}

/* As the launcher does. */
static inline void rig_ring(struct rig *rig, uint32_t events)
{
	if (vmmio_ring(rig->region, events) & VMMIO_KICK)
		eventfd_add(rig->kick);
}

static inline void rig_enable_queue(struct rig *rig, uint32_t q)
{
	const struct region_queue *queue = &rig->ring[q].queue;

	memset(rig->ring[q].ram, 0, RING_DATA);
	rig->kick_idx[q] = 0;
	rig->used_seen[q] = 0;
	rig_write(rig, VMMIO_QUEUE_SEL, q);
	rig_write(rig, VMMIO_QUEUE_NUM, ECHO_NUM);
	rig_write(rig, VMMIO_QUEUE_DESC_LOW, (uint32_t)queue->desc);
	rig_write(rig, VMMIO_QUEUE_DRIVER_LOW, (uint32_t)queue->driver);
	rig_write(rig, VMMIO_QUEUE_DEVICE_LOW, (uint32_t)queue->device);
	rig_write(rig, VMMIO_QUEUE_READY, 1);
}

static inline void rig_probe(struct rig *rig, bool event_idx)
{
	uint64_t features = event_idx ? FEATURES : FEATURES & ~EVENT_IDX;
	uint32_t q;

	rig->event_idx = event_idx;
	rig_write(rig, VMMIO_STATUS, 0);
	rig_write(rig, VMMIO_STATUS, 1);
	rig_write(rig, VMMIO_STATUS, 3);
	for (q = 0; q < 2; q++) {
		rig_write(rig, VMMIO_DRIVER_FEATURES_SEL, q);
		rig_write(rig, VMMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * q));
	}
	rig_write(rig, VMMIO_STATUS, 11);
	for (q = 0; q < ECHO_QUEUES; q++)
		rig_enable_queue(rig, q);
	rig_write(rig, VMMIO_STATUS, 15);
}

static inline uint8_t *rig_data(struct rig *rig, uint32_t q, uint16_t slot)
{
	return rig->ring[q].ram + RING_DATA + slot * 128u;
}

/* Makes a request available: 64 bytes to be copied. There is room for ECHO_NUM / 2. */
static inline void rig_add(struct rig *rig, uint32_t q, uint16_t slot)
{
	uint64_t gpa = RING_GPA + q * RING_STRIDE + RING_DATA + slot * 128u;
	struct ring *ring = &rig->ring[q];
	uint8_t *data = rig_data(rig, q, slot);
	uint16_t head = (uint16_t)(slot * 2);

	memset(data, (int)test_random(), 64);
	memset(data + 64, 0, 64);
	ring_desc_set(ring, head, gpa, 64, VRING_DESC_F_NEXT, (uint16_t)(head + 1));
	ring_desc_set(ring, (uint16_t)(head + 1), gpa + 64, 64, VRING_DESC_F_WRITE, 0);
	ring_add(ring, head);
}

/* Notifies the device, if it asks for it. */
static inline bool rig_notify(struct rig *rig, uint32_t q)
{
	struct ring *ring = &rig->ring[q];
	uint16_t old = rig->kick_idx[q];
	bool wanted;

	core_fence();
	rig->kick_idx[q] = ring->avail->idx;
	if (rig->event_idx)
		wanted = vring_need_event((uint16_t)core_load(&ring->used->ring[ECHO_NUM].id), ring->avail->idx, old);
	else
		wanted = !(core_load(&ring->used->flags) & VRING_USED_F_NO_NOTIFY);
	if (wanted)
		rig_write(rig, VMMIO_QUEUE_NOTIFY, q);
	return wanted;
}

/* Takes one used element and checks it; false if there is none. */
static inline bool rig_take(struct rig *rig, uint32_t q)
{
	struct ring *ring = &rig->ring[q];
	const struct vring_used_elem *elem = &ring->used->ring[rig->used_seen[q] % ECHO_NUM];
	uint8_t *data;

	if (core_load_acquire(&ring->used->idx) == rig->used_seen[q])
		return false;
	CHECK(elem->id < ECHO_NUM && elem->id % 2 == 0);
	data = rig_data(rig, q, (uint16_t)(elem->id / 2));
	CHECK_INT(elem->len, 64);
	CHECK_MEM(data + 64, data, 64);
	rig->used_seen[q]++;
	return true;
}

/* Waits for one used element; by looking, so that no time is lost to sleep. */
static inline void rig_wait_used(struct rig *rig, uint32_t q)
{
	uint64_t end = test_now_ns() + 5000000000u;

	while (!rig_take(rig, q)) {
		if (test_now_ns() > end)
			TEST_FAIL("queue %u stands still; log: %s", q, rig_log(rig));
	}
}

static inline void rig_request(struct rig *rig, uint32_t q)
{
	rig_add(rig, q, 0);
	rig_notify(rig, q);
	rig_wait_used(rig, q);
}

/* The driver's interrupt handler, if the interrupt came: the bits that were set. */
static inline uint32_t rig_interrupt(struct rig *rig)
{
	uint64_t bits;

	if (!test_wait(has_called, rig, 5000))
		TEST_FAIL("no interrupt; log: %s", rig_log(rig));
	vmmio_read(&rig->dev, VMMIO_INTERRUPT_STATUS, 4, &bits);
	rig_write(rig, VMMIO_INTERRUPT_ACK, (uint32_t)bits);
	return (uint32_t)bits;
}

static inline uint32_t rig_status(struct rig *rig)
{
	uint64_t status;

	vmmio_read(&rig->dev, VMMIO_STATUS, 4, &status);
	return (uint32_t)status;
}

static inline int is_asleep(void *arg)
{
	struct rig *rig = arg;
	char path[64];
	char text[512];
	FILE *file;
	size_t n;

	if (!core_load(&rig->region->doorbell.sleeping))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", rig->pid);
	file = fopen(path, "re");
	n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	if (file)
		fclose(file);
	text[n] = 0;
	return strstr(text, ") S ") != NULL;
}

static inline void rig_wait_asleep(struct rig *rig)
{
	if (!test_wait(is_asleep, rig, 5000))
		TEST_FAIL("the backend does not sleep; log: %s", rig_log(rig));
}

/* A backend that is at rest stays so: not one turn of its loop. */
static inline void rig_check_idle(struct rig *rig, unsigned int ms)
{
	uint64_t wakeups, turns;

	rig_wait_asleep(rig);
	wakeups = core_load(&rig->region->device.wakeups);
	turns = core_load(&rig->region->device.heartbeat);
	poll(NULL, 0, (int)ms);
	CHECK_INT(core_load(&rig->region->device.wakeups), wakeups);
	CHECK_INT(core_load(&rig->region->device.heartbeat), turns);
}

static inline void spin_ns(uint64_t ns)
{
	uint64_t end = test_now_ns() + ns;

	while (test_now_ns() < end)
		;
}

static inline uint32_t count_lines(const char *text, const char *part)
{
	uint32_t n = 0;

	for (; (text = strstr(text, part)); text++)
		n++;
	return n;
}

#endif
