/* SPDX-License-Identifier: MIT */
/* A backend that starts, serves, is reset, breaks, dies and is followed by another. */
#include <stdlib.h>

#include "tests/test.h"
#include "tests/unit/backend_rig.h"

static void test_numbers(void)
{
	static const char *const bad[] = {
		"",    " 1",   "-1", "+1",    "0x",     "0x0x1", "1 ",  "1k",
		"0xg", "0x-1", "x1", "10000", "0x2711", "9",     "1.0", "99999999999999999999999"};
	uint64_t n = 77;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (backend_number(bad[i], 10, 9999, &n) != -EINVAL)
			TEST_FAIL("\"%s\" was taken as %llu", bad[i], (unsigned long long)n);
	}
	CHECK_INT(n, 77);
	CHECK_INT(backend_number("10", 10, 9999, &n), 0);
	CHECK_INT(n, 10);
	CHECK_INT(backend_number("0x270F", 10, 9999, &n), 0);
	CHECK_INT(n, 9999);
	CHECK_INT(backend_number("010", 10, 9999, &n), 0);
	CHECK_INT(n, 10);
	CHECK_INT(backend_number("18446744073709551615", 0, UINT64_MAX, &n), 0);
	CHECK(n == UINT64_MAX);
	CHECK_INT(backend_number("18446744073709551616", 0, UINT64_MAX, &n), -EINVAL);
}

/* backend_main() with these arguments, on the descriptors of the rig: exit code and log. */
static void check_args(struct rig *rig, const char *args, int code, const char *log)
{
	static struct backend b = {.ops = &echo_ops};
	static struct echo echo;
	char text[1024];
	char *argv[16] = {"hvisor-echo"};
	int argc = 1;
	char *arg;

	rig->text[0] = 0;
	CHECK_INT(pipe2(rig->ready, O_CLOEXEC), 0);
	rig->pid = fork();
	CHECK(rig->pid >= 0);
	if (rig->pid == 0) {
		echo.probe = rig->probe;
		b.device = &echo;
		snprintf(text, sizeof(text), "%s", args);
		for (arg = strtok(text, " "); arg; arg = strtok(NULL, " "))
			argv[argc++] = arg;
		rig_backend_fds(rig);
		_exit(backend_main(&b, argc, argv));
	}
	close(rig->ready[0]);
	close(rig->ready[1]);
	CHECK_INT(rig_wait_exit(rig), code);
	CHECK_HAS(rig_log(rig), log);
}

static void test_arguments_are_checked(void)
{
	static const char *const bad[] = {
		"name=",
		"name=a-name-that-is-longer-than-31-characters",
		"region=0",
		"region=0,4096",
		"region=0,0x100000000",
		"region=,16384",
		"region=0,16384,",
		"memory=0x1000,0x1000",
		"memory=0x1000,0x1000,0;",
		"memory=0x1000,0x1000,0,0",
		"memory=-1,0x1000,0",
		"memory=1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,1;1,1,"
		"1;"
		"1,1,1",
		"log_level=4",
		"policy=lax",
		"colour=red",
		"own_fd=2",
	};
	struct rig *rig = rig_new();
	char want[256];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(want, sizeof(want), "<0>argument \"%s\": unknown key or bad value\n", bad[i]);
		check_args(rig, bad[i], BACKEND_EXIT_CONFIG, want);
	}
	check_args(rig, "readonly", BACKEND_EXIT_CONFIG, "argument \"readonly\": not of the form key=value\n");
	check_args(rig, "a-key-of-more-than-31-characters-is-too-long=1", BACKEND_EXIT_CONFIG, "not of the form");
	check_args(rig, "name=x region=0,16384", BACKEND_EXIT_CONFIG, "are needed");
	check_args(rig, "name=x memory=0,4096,0", BACKEND_EXIT_CONFIG, "are needed");
	check_args(rig, "memory=0,4096,0 region=0,16384", BACKEND_EXIT_CONFIG, "are needed");
	/* Overlapping memory; memory that the descriptor cannot map. */
	check_args(rig, "name=x region=0,16384 memory=0,4096,0;0,4096,0", BACKEND_EXIT_CONFIG, "zone's memory");
	check_args(rig, "name=x region=0,16384 memory=0,0x1000000000000000,0", BACKEND_EXIT_FAILED, "zone's memory");
	/* Without a policy it does not run unless it is told so. */
	check_args(rig, "name=x region=0,16384 memory=0,4096,0", BACKEND_EXIT_FAILED, "seccomp");
	CHECK_INT(rig->region->device.starts, 0);
}

static void test_region_is_checked(void)
{
	static const char args[] = "name=x region=0,16384 memory=0,4096,0 policy=none";
	struct rig *rig = rig_new();

	rig->region->head.device_id = 2;
	check_args(rig, args, BACKEND_EXIT_CONFIG, "device with id 2, and this program serves id 42");
	rig->region->head.device_id = ECHO_ID;
	rig->region->head.nqueues = 64;
	check_args(rig, args, BACKEND_EXIT_CONFIG, "not whole");
	rig->region->head.nqueues = ECHO_QUEUES;
	rig->region->head.version = 9;
	check_args(rig, args, BACKEND_EXIT_CONFIG, "not of version 3");
	close(rig->region_fd);
	rig->region_fd = -1;
	check_args(rig, args, BACKEND_EXIT_FAILED, "mapping the queue region: Bad file descriptor");
}

static void test_serves(void)
{
	struct rig *rig = rig_new();
	uint32_t i;

	rig_start(rig);
	CHECK_INT(rig->region->device.starts, 1);
	rig_probe(rig, true);
	for (i = 0; i < 100; i++) {
		rig_request(rig, i % 2);
		/* The event index says: with the next one. */
		rig->ring[i % 2].avail->ring[ECHO_NUM] = rig->used_seen[i % 2];
		CHECK_INT(rig_interrupt(rig), REGION_INT_USED);
	}
	CHECK_INT(rig->probe->starts, 1);
	CHECK_INT(rig->probe->driver_oks, 1);
	CHECK_INT(rig->probe->queue_starts, 3);
	CHECK_INT(rig->region->device.interrupts, 100);
	CHECK_INT(eventfd_take(rig->call), 0);
	CHECK_INT(rig->probe->quiesces, 0);
	rig_kill(rig);
}

static void test_serves_a_driver_that_came_first(void)
{
	struct rig *rig = rig_new();

	rig_probe(rig, false);
	rig_add(rig, 1, 3);
	rig_start(rig);
	rig_wait_used(rig, 1);
	/* Unasked, since nobody knows what the driver saw. */
	CHECK_INT(rig_interrupt(rig) & REGION_INT_USED, REGION_INT_USED);
	rig_request(rig, 0);
	rig_kill(rig);
}

static void test_interrupt_only_if_the_last_was_seen(void)
{
	struct rig *rig = rig_new();
	uint32_t i;

	rig_start(rig);
	rig_probe(rig, false);
	for (i = 0; i < 10; i++)
		rig_request(rig, 0);
	rig_wait_asleep(rig);
	CHECK_INT(rig->region->device.interrupts, 1);
	CHECK_INT(rig_interrupt(rig), REGION_INT_USED);
	rig_request(rig, 0);
	CHECK_INT(rig_interrupt(rig), REGION_INT_USED);
	CHECK_INT(rig->region->device.interrupts, 2);
	rig_kill(rig);
}

static void test_reset(void)
{
	struct rig *rig = rig_new();
	uint32_t round;

	rig_start(rig);
	for (round = 1; round < 20; round++) {
		rig_probe(rig, round % 2);
		rig->probe->quiesced = 0;
		core_store_release(&rig->probe->hold, 0);
		rig_request(rig, 0);
		core_store_release(&rig->probe->hold, 1);
		rig_add(rig, 1, 2);
		rig_notify(rig, 1);
		rig_wait_asleep(rig);
		rig_write(rig, VMMIO_STATUS, 0);
		CHECK_INT(rig_status(rig), 0);
		CHECK_INT(rig->probe->quiesced, 3);
		CHECK_INT(rig->probe->resets, round);
		CHECK_INT(rig->probe->quiesces, round);
		/* The old request is forgotten: the journal is another. */
		CHECK_INT(rig->region->device.resubmitted, 0);
	}
	rig_kill(rig);
}

static void test_one_queue_is_disabled(void)
{
	struct rig *rig = rig_new();

	rig_start(rig);
	rig_probe(rig, true);
	rig_request(rig, 0);
	rig_request(rig, 1);
	rig_write(rig, VMMIO_QUEUE_SEL, 1);
	rig_write(rig, VMMIO_QUEUE_READY, 0);
	CHECK_INT(rig->probe->quiesced, 2);
	CHECK_INT(rig->probe->resets, 0);
	rig_request(rig, 0);
	rig->probe->queue_starts = 0;
	rig_enable_queue(rig, 1);
	rig_request(rig, 1);
	CHECK_INT(rig->probe->queue_starts, 2);
	CHECK_INT(rig->probe->quiesces, 1);
	rig_kill(rig);
}

static int is_started_anew(void *arg)
{
	const struct rig *rig = arg;

	return core_load(&rig->probe->queue_starts) == 2;
}

/* Disabled and enabled again before the backend looked: the epoch tells. */
static void test_queue_of_another_epoch(void)
{
	struct rig *rig = rig_new();

	rig_start(rig);
	rig_probe(rig, false);
	rig_request(rig, 0);
	rig_request(rig, 1);
	rig_wait_asleep(rig);
	core_store(&rig->probe->queue_starts, 0);
	memset(rig->ring[1].ram, 0, RING_DATA);
	rig->used_seen[1] = 0;
	core_store(&rig->region->driver.queue[1].epoch, rig->region->driver.queue[1].epoch + 1);
	rig_ring(rig, REGION_EV_STATUS);
	CHECK(test_wait(is_started_anew, rig, 5000));
	CHECK_INT(rig->probe->quiesced, 2);
	rig_request(rig, 1);
	rig_request(rig, 0);
	rig_kill(rig);
}

static void test_kill_and_take_over(void)
{
	struct rig *rig = rig_new();
	uint16_t i;

	rig_start(rig);
	rig_probe(rig, false);
	rig_request(rig, 0);
	core_store(&rig->probe->hold, 1);
	for (i = 0; i < 5; i++)
		rig_add(rig, 0, i);
	rig_notify(rig, 0);
	rig_wait_asleep(rig);
	rig_kill(rig);
	CHECK(!rig_take(rig, 0));
	eventfd_take(rig->call);
	core_store(&rig->probe->hold, 0);
	/* An interrupt that is not acknowledged yet: it is called out again all the same. */
	rig_start(rig);
	for (i = 0; i < 5; i++)
		rig_wait_used(rig, 0);
	CHECK(eventfd_take(rig->call) > 0);
	CHECK_INT(rig->region->irq.interrupt_status, REGION_INT_USED | REGION_INT_CONFIG);
	CHECK_INT(rig->region->device.resubmitted, 5);
	CHECK_INT(rig->region->device.starts, 2);
	rig_request(rig, 0);
	rig_request(rig, 1);
	CHECK_INT(rig->used_seen[0], 7);
	CHECK_HAS(rig_log(rig), "<2>queue 0: 5 requests in flight are taken over\n");
	rig_kill(rig);
}

/* What the driver of the next test has under way. */
struct load {
	bool busy[ECHO_NUM / 2];
	uint32_t done;
};

static void load_add(struct rig *rig, struct load *load)
{
	uint16_t slot;

	for (slot = 0; slot < ECHO_NUM / 2; slot++) {
		if (load->busy[slot] || test_random_below(4) == 0)
			continue;
		load->busy[slot] = true;
		rig_add(rig, 0, slot);
	}
	rig_notify(rig, 0);
}

static uint32_t load_take(struct rig *rig, struct load *load)
{
	uint16_t slot;
	uint32_t n = 0;

	for (; core_load_acquire(&rig->ring[0].used->idx) != rig->used_seen[0]; n++) {
		slot = (uint16_t)(rig->ring[0].used->ring[rig->used_seen[0] % ECHO_NUM].id / 2);
		CHECK(slot < ECHO_NUM / 2 && load->busy[slot]);
		CHECK(rig_take(rig, 0));
		load->busy[slot] = false;
	}
	load->done += n;
	return n;
}

/* Killed at random moments under load: every request completes once. */
static void test_kill_at_random_moments(void)
{
	struct rig *rig = rig_new();
	struct load load = {0};
	uint32_t kills;
	uint16_t slot;
	uint64_t end;

	core_store(&rig->probe->late_ns, 20000);
	rig->region->control.poll_us = 1000; /* awake when a request comes */
	rig_start(rig);
	rig_probe(rig, true);
	/* Until one was killed in the middle of a request, too. */
	for (kills = 0; kills < 300 || rig->region->device.resubmitted == 0; kills++) {
		load_add(rig, &load);
		spin_ns(test_random_below(kills % 2 ? 2000 : 100000));
		rig_kill(rig);
		rig_start(rig);
		end = test_now_ns() + 5000000000u;
		while (load_take(rig, &load) == 0 && memchr(load.busy, 1, sizeof(load.busy))) {
			if (test_now_ns() > end)
				TEST_FAIL("it stands still; log: %s", rig_log(rig));
		}
	}
	printf("# %u requests, %u kills, %llu taken over\n", load.done, kills,
	       (unsigned long long)rig->region->device.resubmitted);
	CHECK(load.done > kills);
	for (slot = 0; slot < ECHO_NUM / 2; slot++) {
		if (load.busy[slot])
			rig_wait_used(rig, 0);
	}
	rig_request(rig, 0);
	rig_request(rig, 1);
	rig_kill(rig);
}

static void test_sigterm(void)
{
	struct rig *rig = rig_new();
	uint64_t begin;

	/* At rest. */
	rig_start(rig);
	rig_probe(rig, false);
	rig_request(rig, 0);
	rig_wait_asleep(rig);
	begin = test_now_ns();
	kill(rig->pid, SIGTERM);
	CHECK_INT(rig_wait_exit(rig), BACKEND_EXIT_STOPPED);
	CHECK(test_now_ns() - begin < 1000000000u);
	CHECK_HAS(rig_log(rig), "<2>stopped\n");

	/* Without end at work; what it pushes last is shown to the driver, and nothing is left for the successor. */
	eventfd_take(rig->call);
	rig_start(rig);
	core_store(&rig->probe->hold, 1);
	core_store(&rig->probe->busy, 1);
	rig->probe->push_at_quiesce = 1;
	rig_add(rig, 0, 1);
	rig_notify(rig, 0);
	while (core_load(&rig->region->device.heartbeat) < 100000)
		poll(NULL, 0, 1);
	CHECK(core_load(&rig->ring[0].used->idx) == rig->used_seen[0]);
	kill(rig->pid, SIGTERM);
	CHECK_INT(rig_wait_exit(rig), BACKEND_EXIT_STOPPED);
	CHECK(rig_take(rig, 0));
	CHECK(eventfd_take(rig->call) > 0);

	/* What it does not push is left. */
	core_store(&rig->probe->busy, 0);
	rig->probe->push_at_quiesce = 0;
	rig_start(rig);
	rig_add(rig, 0, 1);
	rig_notify(rig, 0);
	rig_wait_asleep(rig);
	kill(rig->pid, SIGTERM);
	CHECK_INT(rig_wait_exit(rig), BACKEND_EXIT_STOPPED);
	CHECK(!rig_take(rig, 0));
	core_store(&rig->probe->hold, 0);
	rig_start(rig);
	rig_wait_used(rig, 0);
	CHECK_INT(rig->region->device.resubmitted, 1);
	rig_kill(rig);
}

static void test_broken_ring(void)
{
	struct rig *rig = rig_new();
	uint32_t i;

	rig_start(rig);
	rig_probe(rig, false);
	rig_request(rig, 0);
	CHECK_INT(rig_interrupt(rig), REGION_INT_USED);
	ring_add(&rig->ring[1], 999);
	rig_notify(rig, 1);
	CHECK_INT(rig_interrupt(rig), REGION_INT_CONFIG);
	CHECK_INT(rig_status(rig), 15 | VMMIO_S_NEEDS_RESET);
	rig_check_idle(rig, 50);
	CHECK_INT(rig->probe->quiesced, 3);
	/* Nothing is served, and nothing happens but that. */
	rig_add(rig, 0, 0);
	rig_write(rig, VMMIO_QUEUE_NOTIFY, 0);
	rig_check_idle(rig, 50);
	CHECK(!rig_take(rig, 0));
	CHECK_INT(count_lines(rig_log(rig), "the driver has to reset"), 1);
	CHECK_HAS(rig->text, "<0>queue 1: the available ring names a descriptor beyond the table: ");

	/* A successor does not serve it either. */
	rig_kill(rig);
	rig_start(rig);
	rig_check_idle(rig, 50);
	CHECK_INT(rig_status(rig), 15 | VMMIO_S_NEEDS_RESET);
	CHECK(!rig_take(rig, 0));

	for (i = 0; i < 100; i++) {
		rig_probe(rig, false);
		CHECK_INT(rig_status(rig), 15);
		rig_request(rig, 0);
		rig_request(rig, 1);
		ring_add(&rig->ring[0], 999);
		rig_write(rig, VMMIO_QUEUE_NOTIFY, 0);
		while (!(rig_status(rig) & VMMIO_S_NEEDS_RESET))
			poll(NULL, 0, 1);
	}
	/* However often the guest does that, it does not fill the log. */
	CHECK(count_lines(rig_log(rig), "the driver has to reset") < 10);
	rig_kill(rig);
}

/* Rings that cannot be break the device when it looks at them. */
static void test_impossible_rings(void)
{
	struct rig *rig = rig_new();

	rig_start(rig);
	rig->ring[1].queue.desc = 0x1000;
	rig_probe(rig, false);
	CHECK_INT(rig_interrupt(rig), REGION_INT_CONFIG);
	CHECK_INT(rig_status(rig), 15 | VMMIO_S_NEEDS_RESET);
	CHECK_HAS(rig_log(rig), "<0>queue 1: the descriptor table is not in the zone's memory");
	rig->ring[1].queue.desc = RING_GPA + RING_STRIDE + RING_DESC;
	rig_probe(rig, false);
	rig_request(rig, 1);
	rig_kill(rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"backend_numbers", test_numbers, 30},
		{"backend_arguments_are_checked", test_arguments_are_checked, 30},
		{"backend_region_is_checked", test_region_is_checked, 30},
		{"backend_serves", test_serves, 30},
		{"backend_serves_a_driver_that_came_first", test_serves_a_driver_that_came_first, 30},
		{"backend_interrupt_only_if_the_last_was_seen", test_interrupt_only_if_the_last_was_seen, 30},
		{"backend_reset", test_reset, 30},
		{"backend_one_queue_is_disabled", test_one_queue_is_disabled, 30},
		{"backend_queue_of_another_epoch", test_queue_of_another_epoch, 30},
		{"backend_kill_and_take_over", test_kill_and_take_over, 30},
		{"backend_kill_at_random_moments", test_kill_at_random_moments, 30},
		{"backend_sigterm", test_sigterm, 30},
		{"backend_broken_ring", test_broken_ring, 30},
		{"backend_impossible_rings", test_impossible_rings, 30},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
