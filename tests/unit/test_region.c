/* SPDX-License-Identifier: MIT */
/* The layout of the queue region, and the change of config that no death of the backend can halve. */
#include "common/region.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

static struct queue_region *map_region(const struct region_shape *shape)
{
	void *p = mmap(NULL, region_size(shape), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static const struct region_shape usual = {
	.device_id = 2,
	.nqueues = 4,
	.queue_size_max = 256,
	.config_len = 60,
	.device_features = 0x130000244ull,
};

static void test_shape_limits(void)
{
	static const core_u32 bad_sizes[] = {0, 1, 3, 6, 255, 257, 2048, 0x80000000u, 0xffffffffu};
	struct region_shape shape = usual;
	core_u32 i;

	CHECK(region_shape_valid(&shape));
	for (shape.queue_size_max = 2; shape.queue_size_max <= REGION_QUEUE_SIZE_MAX; shape.queue_size_max *= 2)
		CHECK(region_shape_valid(&shape));
	for (i = 0; i < sizeof(bad_sizes) / sizeof(bad_sizes[0]); i++) {
		shape.queue_size_max = bad_sizes[i];
		CHECK(!region_shape_valid(&shape));
	}
	shape = usual;
	shape.nqueues = 0;
	CHECK(!region_shape_valid(&shape));
	shape.nqueues = REGION_QUEUES_MAX;
	CHECK(region_shape_valid(&shape));
	shape.nqueues++;
	CHECK(!region_shape_valid(&shape));
	shape = usual;
	shape.config_len = 0;
	CHECK(region_shape_valid(&shape));
	shape.config_len = REGION_CONFIG_MAX;
	CHECK(region_shape_valid(&shape));
	shape.config_len++;
	CHECK(!region_shape_valid(&shape));
}

/* For every shape the journals follow each other without overlap and end within the region. */
static void test_journals_have_room(void)
{
	struct region_shape shape = usual;
	core_u32 begin;
	core_u32 end;
	core_u32 q;

	for (shape.nqueues = 1; shape.nqueues <= REGION_QUEUES_MAX; shape.nqueues++) {
		for (shape.queue_size_max = 2; shape.queue_size_max <= REGION_QUEUE_SIZE_MAX;
		     shape.queue_size_max *= 2) {
			end = REGION_JOURNALS;
			for (q = 0; q < shape.nqueues; q++) {
				begin = region_journal_offset(&shape, q);
				CHECK(begin >= end);
				CHECK_INT(begin % 64, 0);
				end = begin + (core_u32)sizeof(struct region_journal) +
				      shape.queue_size_max * (core_u32)sizeof(struct region_journal_desc);
			}
			CHECK(end <= region_size(&shape));
			CHECK(region_size(&shape) - end < 2 * REGION_PAGE);
			CHECK_INT(region_size(&shape) % REGION_PAGE, 0);
		}
	}
}

static void test_open_finds_what_init_laid_out(void)
{
	struct queue_region *region = map_region(&usual);
	struct region_shape shape;
	core_u8 config[60];
	core_u32 i;

	for (i = 0; i < sizeof(config); i++)
		config[i] = (core_u8)(i + 1);
	region_init(region, &usual, config);
	CHECK_INT(region->head.magic, 0x51525648);
	CHECK_INT(region->head.version, 3);
	CHECK_MEM(region->config[0], config, sizeof(config));
	CHECK_MEM(region->config[1], config, sizeof(config));
	CHECK_INT(region->config[0][60], 0);
	memset(&shape, 0xaa, sizeof(shape));
	CHECK(region_open(region, region_size(&usual), &shape));
	CHECK_INT(shape.device_id, usual.device_id);
	CHECK_INT(shape.nqueues, usual.nqueues);
	CHECK_INT(shape.queue_size_max, usual.queue_size_max);
	CHECK_INT(shape.config_len, usual.config_len);
	CHECK_INT(shape.device_features, usual.device_features);
}

/* A head with one wrong number is refused, whichever it is. */
static void test_open_refuses(void)
{
	static const struct {
		size_t field;
		core_u32 value;
	} wrong[] = {
		{offsetof(struct region_head, magic), 0x48565251u},
		{offsetof(struct region_head, version), 0},
		{offsetof(struct region_head, version), 1},
		{offsetof(struct region_head, size), 0},
		{offsetof(struct region_head, size), 4096},
		{offsetof(struct region_head, size), 0xfffff000u},
		{offsetof(struct region_head, nqueues), 0},
		{offsetof(struct region_head, nqueues), 5},
		{offsetof(struct region_head, nqueues), 65},
		{offsetof(struct region_head, nqueues), 0xffffffffu},
		{offsetof(struct region_head, queue_size_max), 0},
		{offsetof(struct region_head, queue_size_max), 100},
		{offsetof(struct region_head, queue_size_max), 0x80000000u},
		{offsetof(struct region_head, config_len), 257},
		{offsetof(struct region_head, config_len), 0xffffffffu},
	};
	core_u32 size = region_size(&usual);
	struct queue_region *region = map_region(&usual);
	struct region_shape shape;
	core_u8 config[60] = {0};
	core_u32 *field;
	core_u32 i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		region_init(region, &usual, config);
		CHECK(region_open(region, size, &shape));
		field = (core_u32 *)((char *)region + wrong[i].field);
		*field = wrong[i].value;
		if (region_open(region, size, &shape))
			TEST_FAIL("a head with 0x%x at %zu was taken", wrong[i].value, wrong[i].field);
	}
	region_init(region, &usual, config);
	CHECK(!region_open(region, size - 1, &shape));
	CHECK(!region_open(region, 64, &shape));
	CHECK(!region_open(region, 0, &shape));
	CHECK(region_open(region, size + REGION_PAGE, &shape));
}

static void test_config_update(void)
{
	struct queue_region *region = map_region(&usual);
	static const core_u8 initial[60] = {1, 2, 3, 4, 5, 6};
	static const core_u8 changed[60] = {1, 2, 9, 8, 5, 6};
	static const core_u8 bytes[] = {9, 8};
	core_u8 before[REGION_CONFIG_MAX];
	core_u32 gen;

	region_init(region, &usual, initial);
	gen = region->device.config_gen;
	region_config_update(region, 2, bytes, 2);
	CHECK_INT(region->device.config_gen, gen + 1);
	CHECK_MEM(region->config[0], changed, 60);
	CHECK_MEM(region->config[1], changed, 60);

	/* the generation goes on over its largest value */
	region->device.config_gen = 0xffffffffu;
	region_config_update(region, 2, initial + 2, 2);
	CHECK_INT(region->device.config_gen, 0);
	CHECK_MEM(region->config[0], initial, 60);
	CHECK_MEM(region->config[1], initial, 60);

	/* what is not all within config is not done */
	memcpy(before, region->config[0], sizeof(before));
	region_config_update(region, REGION_CONFIG_MAX - 1, bytes, 2);
	region_config_update(region, REGION_CONFIG_MAX + 1, bytes, 0);
	region_config_update(region, 0xffffffffu, bytes, 2);
	CHECK_INT(region->device.config_gen, 0);
	CHECK_MEM(region->config[0], before, sizeof(before));
	CHECK_MEM(region->config[1], before, sizeof(before));
}

static void update_config(struct queue_region *region, const core_u8 *bytes, core_u32 len)
{
	region_config_update(region, 0, bytes, len);
}

static void update_state(struct queue_region *region, const core_u8 *bytes, core_u32 len)
{
	region_state_update(region, bytes, len);
}

/* Lets a child run an update, and kills it after n instructions. */
static void die_in_update(void (*update)(struct queue_region *, const core_u8 *, core_u32), struct queue_region *region,
			  const core_u8 *bytes, core_u32 len, core_u32 n)
{
	pid_t pid = fork();
	int status;
	core_u32 i;

	CHECK(pid >= 0);
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		update(region, bytes, len);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	for (i = 0; i < n && WIFSTOPPED(status); i++) {
		CHECK_INT(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		CHECK_INT(waitpid(pid, &status, 0), pid);
	}
	kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status));
}

/* A backend that dies at any instruction of an update leaves the driver all of the old bytes or all of the new. */
static void test_config_update_killed_anywhere(void)
{
	static const core_u8 old_bytes[6] = {1, 1, 1, 1, 1, 1};
	static const core_u8 new_bytes[6] = {2, 2, 2, 2, 2, 2};
	struct queue_region *region = map_region(&usual);
	const core_u8 *seen;
	core_u8 initial[60] = {0};
	core_u32 saw_old = 0;
	core_u32 saw_new = 0;
	core_u32 differed = 0;
	core_u32 n;
	bool ended = false;

	memcpy(initial, old_bytes, sizeof(old_bytes));
	for (n = 1; !ended; n++) {
		region->device.config_gen = n;
		region_init(region, &usual, initial);
		die_in_update(update_config, region, new_bytes, sizeof(new_bytes), n);
		seen = region->config[region->device.config_gen & 1];
		if (memcmp(region->config[0], region->config[1], REGION_CONFIG_MAX) != 0)
			differed++;
		else
			ended = region->device.config_gen != n;
		if (region->device.config_gen == n) {
			CHECK_MEM(seen, old_bytes, sizeof(old_bytes));
			saw_old++;
		} else {
			CHECK_INT(region->device.config_gen, n + 1);
			CHECK_MEM(seen, new_bytes, sizeof(new_bytes));
			saw_new++;
		}
		region_config_recover(region);
		CHECK_MEM(region->config[0], region->config[1], REGION_CONFIG_MAX);
		CHECK_MEM(region->config[0], seen, REGION_CONFIG_MAX);
	}
	CHECK(saw_old > 5);
	CHECK(saw_new > 5);
	CHECK(differed > 10);
}

/*
 * A reader that looks at the generation before and after sees one value in all bytes, and between two reads the
 * generation never goes back.
 */
struct watcher {
	struct queue_region *region;
	int done;
	core_u32 whole;
};

static void *watch_config(void *arg)
{
	struct watcher *w = arg;
	core_u8 seen[32];
	core_u32 gen;
	core_u32 i;

	while (!__atomic_load_n(&w->done, __ATOMIC_ACQUIRE) || w->whole == 0) {
		gen = __atomic_load_n(&w->region->device.config_gen, __ATOMIC_ACQUIRE);
		for (i = 0; i < sizeof(seen); i++)
			seen[i] = __atomic_load_n(&w->region->config[gen & 1][i], __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (__atomic_load_n(&w->region->device.config_gen, __ATOMIC_RELAXED) != gen)
			continue;
		for (i = 1; i < sizeof(seen); i++)
			CHECK_INT(seen[i], seen[0]);
		CHECK_INT(seen[0], gen & 0xff);
		w->whole++;
	}
	return NULL;
}

static void test_config_update_seen_whole(void)
{
	struct queue_region *region = map_region(&usual);
	struct watcher w = {.region = region};
	core_u8 bytes[32];
	pthread_t thread;
	core_u32 n;

	CHECK_INT(pthread_create(&thread, NULL, watch_config, &w), 0);
	for (n = 1; n <= 300000; n++) {
		memset(bytes, (int)(n & 0xff), sizeof(bytes));
		region_config_update(region, 0, bytes, sizeof(bytes));
		if (n % 64 == 0)
			sched_yield();
	}
	__atomic_store_n(&w.done, 1, __ATOMIC_RELEASE);
	CHECK_INT(pthread_join(thread, NULL), 0);
}

static void test_state(void)
{
	struct queue_region *region = map_region(&usual);
	core_u8 bytes[REGION_STATE_MAX] = {0};
	core_u8 seen[REGION_STATE_MAX + 8];
	core_u32 i;

	region_init(region, &usual, bytes);
	memset(seen, 7, sizeof(seen));
	region_state_read(region, seen, REGION_STATE_MAX);
	CHECK_MEM(seen, bytes, REGION_STATE_MAX);
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (core_u8)test_random();
	region_state_update(region, bytes, REGION_STATE_MAX);
	region_state_read(region, seen, REGION_STATE_MAX);
	CHECK_MEM(seen, bytes, REGION_STATE_MAX);
	/* the generation goes on over its largest value */
	region->state.gen = 0xffffffffu;
	region_state_update(region, bytes + 1, 100);
	region_state_read(region, seen, 100);
	CHECK_MEM(seen, bytes + 1, 100);
	CHECK_INT(region->state.gen, 0);
	/* neither reads nor writes beyond the area */
	memset(seen, 7, sizeof(seen));
	region_state_read(region, seen, sizeof(seen));
	for (i = REGION_STATE_MAX; i < sizeof(seen); i++)
		CHECK_INT(seen[i], 7);
	region_state_update(region, seen, sizeof(seen));
	CHECK_INT(region->driver.status, 0);
}

/* A backend that dies at any instruction of a change leaves its successor all of the old state or all of the new. */
static void test_state_update_killed_anywhere(void)
{
	static const core_u8 old_bytes[6] = {1, 1, 1, 1, 1, 1};
	static const core_u8 new_bytes[6] = {2, 2, 2, 2, 2, 2};
	struct queue_region *region = map_region(&usual);
	core_u8 seen[6];
	core_u32 saw_old = 0;
	core_u32 n;

	for (n = 1;; n++) {
		region_state_update(region, old_bytes, sizeof(old_bytes));
		die_in_update(update_state, region, new_bytes, sizeof(new_bytes), n);
		region_state_read(region, seen, sizeof(seen));
		if (seen[0] == 2)
			break;
		CHECK_MEM(seen, old_bytes, sizeof(old_bytes));
		saw_old++;
	}
	CHECK_MEM(seen, new_bytes, sizeof(new_bytes));
	CHECK(saw_old > 10);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"region_shape_limits", test_shape_limits, 0},
		{"region_journals_have_room", test_journals_have_room, 0},
		{"region_open_finds_what_init_laid_out", test_open_finds_what_init_laid_out, 0},
		{"region_open_refuses", test_open_refuses, 0},
		{"region_config_update", test_config_update, 0},
		{"region_config_update_killed_anywhere", test_config_update_killed_anywhere, 0},
		{"region_config_update_seen_whole", test_config_update_seen_whole, 0},
		{"region_state", test_state, 0},
		{"region_state_update_killed_anywhere", test_state_update_killed_anywhere, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
