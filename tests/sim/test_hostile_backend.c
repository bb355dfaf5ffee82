/* SPDX-License-Identifier: MIT */
/*
 * A backend that somebody has taken over, in its real sandbox (tests/sim/hostile/backend.c), beside one that serves a
 * verified load: its own driver gets a device that needs a reset at worst, and nobody else notices.
 */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "common/vmmio.h"
#include "tests/sim/guest_load.h"
#include "tests/sim/rig_status.h"
#include "tests/test.h"

#define BLOCKS 64u
#define DEADLINE_NS 2000000000ull /* after which a backend that is not quiet is cut off */
#define LATE_NS 3000000000ull /* no request of another device may take so long */

static char out[1 << 16];

struct way {
	const char *name; /* of the device */
	const char *ends; /* how its processes end by themselves; NULL: they do not */
	bool stop; /* --stop is tried too, which takes its time */
};

struct load_thread {
	struct guest_load load;
	pthread_t thread;
	bool stop;
	int result;
};

static void *run_load(void *arg)
{
	struct load_thread *thread = arg;

	while (thread->result == 0 && !__atomic_load_n(&thread->stop, __ATOMIC_RELAXED))
		thread->result = guest_load_run(&thread->load, 20);
	return NULL;
}

/* blk0, which is honest, and a device that is not. */
static void serve(struct rig *rig, const struct way *way)
{
	struct rig_disk disk[2] = {{.size = 1 << 20}, {.size = 1 << 20}};
	char programs[PATH_MAX];
	char keys[160];

	snprintf(keys, sizeof(keys), "\"name\": \"%s\", \"restart_limit\": 3, \"restart_delay_ms\": 1", way->name);
	disk[1].keys = keys;
	rig_init(rig, 16);
	rig_config_disks(rig, disk, 2, NULL);
	CHECK_INT(rig_program("tests/sim/hostile", programs, sizeof(programs)), 0);
	rig_launch(rig, "--program-dir", programs, NULL);
	rig_await_starts(rig, "blk0", 1);
	rig_await_starts(rig, way->name, 1);
}

/* One life of the driver of the hostile device: whatever it reads, each access is answered in time. */
static void drive(struct rig *rig, const struct way *way)
{
	struct guest_dev dev;
	struct guest_vq vq;
	struct hvisor_device_get get;

	if (guest_dev_probe(&dev, &rig->guest, rig_base(1), rig_irq(1), 0) < 0)
		return;
	if (guest_dev_negotiate(&dev, 0, UINT64_MAX) == 0 && guest_vq_open(&vq, &dev, 0, 0, 8, 0) == 0) {
		guest_dev_start(&dev, 0);
		guest_dev_write(&dev, 0, VMMIO_QUEUE_NOTIFY, 0);
		guest_dev_interrupt(&dev, 0);
		guest_vq_close(&vq);
	}
	guest_dev_reset(&dev, 0);
	CHECK(rig_device(rig, way->name, &get));
	CHECK(get.hold_max_ns < DEADLINE_NS + LATE_NS);
}

/* The driver finds out that nobody will serve it. */
static void check_needs_reset(struct rig *rig)
{
	struct guest_dev dev;

	CHECK_INT(guest_dev_probe(&dev, &rig->guest, rig_base(1), rig_irq(1), 0), 0);
	guest_dev_write(&dev, 0, VMMIO_STATUS, 0);
	guest_dev_write(&dev, 0, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	CHECK(guest_dev_read(&dev, 0, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET);
}

static void check_way(const struct way *way)
{
	struct load_thread honest = {.stop = false};
	struct guest_blk blk;
	struct rig rig;

	serve(&rig, way);
	CHECK_INT(guest_blk_open(&blk, &rig.guest, rig_base(0), rig_irq(0), &(struct guest_blk_options){.cpu = 1}), 0);
	CHECK_INT(guest_load_init(&honest.load, &blk, 0, BLOCKS, 0, 1), 0);
	CHECK_INT(pthread_create(&honest.thread, NULL, run_load, &honest), 0);

	drive(&rig, way);
	if (way->ends) {
		rig_await_state(&rig, way->name, "failed");
		CHECK_HAS(rig_status_text(&rig, way->name, "failed_reason"), way->ends);
		check_needs_reset(&rig);
	} else {
		/* It did not become quiet, was cut off and replaced by another that is no better. */
		rig_await_text(&rig, rig.errors, "hvisor cut its backend off");
		rig_await_starts(&rig, way->name, 2);
		CHECK_STR(rig_status_text(&rig, way->name, "last_exit"), "signal 9 (Killed) by hvisor");
	}
	CHECK_STR(rig_status_text(&rig, "blk0", "state"), "running");
	if (way->stop) {
		RIG_ASK(&rig, out, "--stop", way->name);
		CHECK_STR(rig_status_text(&rig, way->name, "state"), "stopped");
		CHECK_INT(rig_pid(&rig, way->name), 0);
	}
	RIG_ASK(&rig, out, "--restart", "blk0");

	__atomic_store_n(&honest.stop, true, __ATOMIC_RELAXED);
	CHECK_INT(pthread_join(honest.thread, NULL), 0);
	CHECK_INT(honest.result, 0);
	CHECK_INT(guest_load_check(&honest.load), 0);
	CHECK_INT(honest.load.errors + honest.load.wrong, 0);
	CHECK(honest.load.done > BLOCKS);
	CHECK(honest.load.longest_ns < LATE_NS);
	CHECK_INT(rig_status_number(&rig, "blk0", "restarts"), 0);
	guest_load_finish(&honest.load);
	guest_blk_close(&blk);
	/* It would wait for one that does not listen to SIGTERM. */
	CHECK_INT(rig_end_launcher(&rig, SIGKILL), SIGKILL);
	rig_finish(&rig);
}

#define ENDS_BY_POLICY "signal 31 (Bad system call)"

static void test_garbage(void)
{
	check_way(&(struct way){.name = "hostile-garbage"});
}

static void test_calls(void)
{
	check_way(&(struct way){.name = "hostile-calls"});
}

static void test_deaf(void)
{
	check_way(&(struct way){.name = "hostile-deaf", .stop = true});
}

static void test_talks(void)
{
	check_way(&(struct way){.name = "hostile-talks"});
}

static void test_spins(void)
{
	check_way(&(struct way){.name = "hostile-spins"});
}

static void test_pages(void)
{
	check_way(&(struct way){.name = "hostile-pages"});
}

static void test_closes(void)
{
	check_way(&(struct way){.name = "hostile-closes", .ends = ENDS_BY_POLICY});
}

static void test_forks(void)
{
	check_way(&(struct way){.name = "hostile-forks", .ends = ENDS_BY_POLICY});
}

static void test_threads(void)
{
	check_way(&(struct way){.name = "hostile-threads", .ends = ENDS_BY_POLICY});
}

static void test_maps(void)
{
	check_way(&(struct way){.name = "hostile-maps", .ends = ENDS_BY_POLICY});
}

static void test_stack(void)
{
	check_way(&(struct way){.name = "hostile-stack", .ends = "signal 11 (Segmentation fault)"});
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"hostile_backend_garbage_in_region", test_garbage, 60},
		{"hostile_backend_floods_calls", test_calls, 60},
		{"hostile_backend_deaf", test_deaf, 60},
		{"hostile_backend_floods_log", test_talks, 60},
		{"hostile_backend_spins", test_spins, 60},
		{"hostile_backend_touches_all_memory", test_pages, 60},
		{"hostile_backend_closes_descriptors", test_closes, 60},
		{"hostile_backend_forks", test_forks, 60},
		{"hostile_backend_makes_threads", test_threads, 60},
		{"hostile_backend_maps_memory", test_maps, 60},
		{"hostile_backend_grows_its_stack", test_stack, 60},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
