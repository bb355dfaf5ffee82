/* SPDX-License-Identifier: MIT */
/* When a backend is awake, what wakes it, and what it needs for all that. */
#include <seccomp.h>

#include "tests/test.h"
#include "tests/unit/backend_rig.h"

static void test_idle(void)
{
	struct rig *rig = rig_new();

	rig->region->control.poll_us = REGION_POLL_ADAPTIVE;
	rig_start(rig);
	rig_check_idle(rig, 200);
	rig_probe(rig, true);
	rig_request(rig, 0);
	rig_check_idle(rig, 500);
	/* With an interrupt that nobody takes, and a request that is held, as well. */
	core_store(&rig->probe->hold, 1);
	rig_add(rig, 1, 0);
	rig_notify(rig, 1);
	rig_check_idle(rig, 200);
	rig_kill(rig);
}

/* Every request is seen, at whatever point of falling asleep it comes. */
static void no_lost_wakeups(bool event_idx, uint32_t poll_us)
{
	struct rig *rig = rig_new();
	uint64_t wakeups;
	uint32_t i, q;

	rig->region->control.poll_us = poll_us;
	rig_start(rig);
	rig_probe(rig, event_idx);
	for (i = 0; i < 5000; i++) {
		spin_ns(test_random_below(i % 8 ? 3000 : 60000));
		q = (uint32_t)test_random_below(2);
		rig_add(rig, q, 0);
		rig_notify(rig, q);
		rig_wait_used(rig, q);
	}
	rig_wait_asleep(rig);
	wakeups = core_load(&rig->region->device.wakeups);
	printf("# %llu wakeups\n", (unsigned long long)wakeups);
	CHECK(wakeups > 0);
	rig_kill(rig);
}

static void test_no_lost_wakeups(void)
{
	no_lost_wakeups(true, 0);
	no_lost_wakeups(false, 0);
	no_lost_wakeups(true, 20);
	no_lost_wakeups(true, REGION_POLL_ADAPTIVE);
}

static int is_bell_silent(void *arg)
{
	const struct rig *rig = arg;

	return core_load(&rig->region->doorbell.events) == 0;
}

/* An event that comes after the bell was looked at and before the backend says that it sleeps. */
static void test_no_lost_events(void)
{
	struct rig *rig = rig_new();
	uint32_t i;

	core_store(&rig->probe->slow_ns, 30000);
	rig_start(rig);
	rig_probe(rig, true);
	for (i = 0; i < 1000; i++) {
		rig_ring(rig, REGION_EV_CONTROL);
		spin_ns(test_random_below(200000));
		rig_ring(rig, REGION_EV_CONTROL);
		if (!test_wait(is_bell_silent, rig, 5000))
			TEST_FAIL("an event is not seen");
	}
	rig_kill(rig);
}

static void polling_spares_sleep(bool event_idx)
{
	struct rig *rig = rig_new();
	uint64_t wakeups, begin;
	uint32_t i;

	rig_start(rig);
	rig_probe(rig, event_idx);
	rig_wait_asleep(rig);
	core_store(&rig->region->control.poll_us, 10000000);
	rig_request(rig, 0);
	wakeups = core_load(&rig->region->device.wakeups);
	for (i = 0; i < 50; i++) {
		poll(NULL, 0, 1);
		rig_add(rig, 0, 0);
		CHECK(!rig_notify(rig, 0));
		rig_wait_used(rig, 0);
	}
	CHECK_INT(core_load(&rig->region->device.wakeups), wakeups);
	CHECK_INT(core_load(&rig->region->device.poll_us), 10000000);
	/* SIGTERM does not wait for the end of the polling. */
	begin = test_now_ns();
	kill(rig->pid, SIGTERM);
	CHECK_INT(rig_wait_exit(rig), BACKEND_EXIT_STOPPED);
	CHECK(test_now_ns() - begin < 5000000000u);
}

static void test_polling_spares_sleep(void)
{
	polling_spares_sleep(true);
	polling_spares_sleep(false);
}

static void test_adaptive_polling(void)
{
	struct rig *rig = rig_new();
	uint32_t us = 0;
	uint64_t end;
	uint32_t i;

	rig->region->control.poll_us = REGION_POLL_ADAPTIVE;
	rig_start(rig);
	rig_probe(rig, true);
	/* Short gaps: it learns to wait for the next one. */
	end = test_now_ns() + 10000000000u;
	while (us < 40 && test_now_ns() < end) {
		spin_ns(30000);
		rig_request(rig, 0);
		us = core_load(&rig->region->device.poll_us);
	}
	CHECK(us >= 40 && us <= 200);
	/* Long gaps: it learns that waiting is in vain. */
	for (i = 0; i < 10; i++) {
		rig_wait_asleep(rig);
		poll(NULL, 0, 5);
		rig_request(rig, 0);
	}
	rig_wait_asleep(rig);
	CHECK_INT(core_load(&rig->region->device.poll_us), 0);
	rig_kill(rig);
}

static void test_stopped_and_continued(void)
{
	struct rig *rig = rig_new();
	uint32_t i;

	rig_start(rig);
	rig_probe(rig, true);
	for (i = 0; i < 20; i++) {
		rig_wait_asleep(rig);
		kill(rig->pid, SIGSTOP);
		rig_add(rig, 0, 0);
		rig_notify(rig, 0);
		kill(rig->pid, SIGCONT);
		rig_wait_used(rig, 0);
		kill(rig->pid, SIGSTOP);
		kill(rig->pid, SIGCONT);
		rig_request(rig, 1);
	}
	rig_check_idle(rig, 50);
	rig_kill(rig);
}

static int has_device_event(void *arg)
{
	const struct rig *rig = arg;

	return core_load(&rig->probe->device_events) == 1;
}

static void test_device_descriptor_wakes(void)
{
	struct rig *rig = rig_new();

	rig->extra = "own_fd=1";
	rig_start(rig);
	/* Without a driver the device's own side is not looked at. */
	eventfd_add(rig->device_fd);
	rig_check_idle(rig, 50);
	CHECK_INT(rig->probe->device_events, 0);
	rig_probe(rig, true);
	CHECK(test_wait(has_device_event, rig, 5000));
	core_store(&rig->probe->device_events, 0);
	rig_check_idle(rig, 50);
	eventfd_add(rig->device_fd);
	CHECK(test_wait(has_device_event, rig, 5000));
	rig_check_idle(rig, 50);
	/* Once awake it needs no kick, whatever woke it. */
	core_store(&rig->region->control.poll_us, 10000000);
	core_store(&rig->probe->device_events, 0);
	eventfd_add(rig->device_fd);
	CHECK(test_wait(has_device_event, rig, 5000));
	CHECK_INT(core_load(&rig->region->doorbell.sleeping), 0);
	rig_kill(rig);
}

/* A device that wants to be told of its descriptor is, in whichever state. */
static void test_device_descriptor_without_driver(void)
{
	struct rig *rig = rig_new();

	rig->extra = "own_fd=1";
	rig->polled = true;
	rig_start(rig);
	rig_check_idle(rig, 50);
	eventfd_add(rig->device_fd);
	CHECK(test_wait(has_device_event, rig, 5000));
	rig_check_idle(rig, 50);
	core_store(&rig->probe->device_events, 0);
	rig_probe(rig, true);
	rig_check_idle(rig, 50);
	eventfd_add(rig->device_fd);
	CHECK(test_wait(has_device_event, rig, 5000));
	/* Also while it looks for work without sleep. */
	core_store(&rig->region->control.poll_us, 10000000);
	rig_request(rig, 0);
	core_store(&rig->probe->device_events, 0);
	eventfd_add(rig->device_fd);
	CHECK(test_wait(has_device_event, rig, 5000));
	rig_kill(rig);
}

/* The device's own descriptor is seen while the backend polls, without a sleep. */
static void test_device_descriptor_is_polled(void)
{
	struct rig *rig = rig_new();
	uint64_t wakeups;

	rig->extra = "own_fd=1";
	rig_start(rig);
	rig_probe(rig, true);
	rig_wait_asleep(rig);
	core_store(&rig->region->control.poll_us, 10000000);
	rig_request(rig, 0);
	wakeups = core_load(&rig->region->device.wakeups);
	eventfd_add(rig->device_fd);
	CHECK(test_wait(has_device_event, rig, 5000));
	CHECK_INT(core_load(&rig->region->device.wakeups), wakeups);
	rig_kill(rig);
}

static int has_times(void *arg)
{
	const struct rig *rig = arg;

	return core_load(&rig->probe->times) >= 3;
}

/* The device's own time comes while it sleeps and while it polls; and it sleeps in between. */
static void test_device_time(void)
{
	struct rig *rig = rig_new();
	uint64_t begin;

	core_store(&rig->probe->wake_in_ns, 50000000);
	rig_start(rig);
	/* Without a driver the device has no time. */
	rig_check_idle(rig, 200);
	rig_probe(rig, true);
	begin = test_now_ns();
	CHECK(test_wait(has_times, rig, 5000));
	CHECK(test_now_ns() - begin >= 100000000);
	core_store(&rig->probe->wake_in_ns, 0);
	rig_request(rig, 0);
	rig_wait_asleep(rig);
	CHECK(core_load(&rig->region->device.wakeups) < 50);
	core_store(&rig->region->control.poll_us, 10000000);
	core_store(&rig->probe->times, 0);
	core_store(&rig->probe->wake_in_ns, 1000000);
	rig_request(rig, 0);
	CHECK(test_wait(has_times, rig, 5000));
	rig_kill(rig);
}

static void test_passive_queue(void)
{
	struct rig *rig = rig_new();

	core_store(&rig->probe->passive, 2);
	rig->region->control.poll_us = 100;
	rig_start(rig);
	rig_probe(rig, false);
	rig_request(rig, 0);
	rig_wait_asleep(rig);
	/* Buffers that wait there wake nobody, and need no notification. */
	rig_add(rig, 1, 0);
	CHECK(!rig_notify(rig, 1));
	rig_request(rig, 0);
	rig_check_idle(rig, 50);
	CHECK(!rig_take(rig, 1));
	core_store(&rig->probe->passive, 0);
	rig_request(rig, 0);
	rig_wait_used(rig, 1);
	rig_kill(rig);
}

static int has_control(void *arg)
{
	const struct rig *rig = arg;

	return core_load(&rig->probe->controls) == 2;
}

static int has_config(void *arg)
{
	const struct rig *rig = arg;

	return core_load(&rig->probe->configs) == 2;
}

static void test_events(void)
{
	struct rig *rig = rig_new();

	rig_start(rig);
	rig_wait_asleep(rig);
	CHECK_INT(rig->probe->controls, 1); /* at attach */
	CHECK_INT(rig->probe->configs, 1);
	CHECK_INT(count_lines(rig_log(rig), "control was looked at"), 0);
	rig->region->control.log_level = LOG_DEBUG;
	rig_ring(rig, REGION_EV_CONTROL);
	CHECK(test_wait(has_control, rig, 5000));
	rig_wait_asleep(rig);
	CHECK_HAS(rig_log(rig), "<3>control was looked at\n");
	if (vmmio_write(&rig->dev, VMMIO_CONFIG, 1, 7, 0) & VMMIO_KICK)
		eventfd_add(rig->kick);
	CHECK(test_wait(has_config, rig, 5000));
	CHECK_INT(rig->probe->controls, 2);
	rig_kill(rig);
}

static void test_wakeup_descriptor_is_needed(void)
{
	struct rig *rig = rig_new();

	close(rig->kick);
	rig->kick = -1;
	vmmio_attach(&rig->dev);
	rig_spawn(rig);
	CHECK_INT(rig_wait_exit(rig), BACKEND_EXIT_FAILED);
	CHECK_HAS(rig_log(rig), "waiting for work: Bad file descriptor");
}

static const struct {
	int syscall;
	int fd; /* -1: any */
} policy_rules[] = {
	{SCMP_SYS(read), BACKEND_FD_KICK},   {SCMP_SYS(write), BACKEND_FD_CALL},  {SCMP_SYS(write), BACKEND_FD_LOG},
	{SCMP_SYS(write), BACKEND_FD_READY}, {SCMP_SYS(close), BACKEND_FD_READY}, {SCMP_SYS(ppoll), -1},
	{SCMP_SYS(clock_gettime), -1},       {SCMP_SYS(rt_sigreturn), -1},        {SCMP_SYS(exit_group), -1},
};

/* A policy of what confine.h says the shared part needs, and nothing else. */
static int make_policy(void)
{
	int fd = make_file("policy", 0);
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	struct scmp_arg_cmp arg = {.arg = 0, .op = SCMP_CMP_EQ};
	size_t i;

	CHECK(ctx);
	for (i = 0; i < sizeof(policy_rules) / sizeof(policy_rules[0]); i++) {
		arg.datum_a = (scmp_datum_t)policy_rules[i].fd;
		CHECK_INT(seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, policy_rules[i].syscall,
						 policy_rules[i].fd < 0 ? 0 : 1, &arg),
			  0);
	}
	CHECK_INT(seccomp_export_bpf(ctx, fd), 0);
	seccomp_release(ctx);
	return fd;
}

/* The list of system calls in confine.h is whole: all that the loop does is done under it. */
static void test_confined(void)
{
	struct rig *rig = rig_new();
	uint32_t i;

	rig->policy_fd = make_policy();
	rig->region->control.poll_us = REGION_POLL_ADAPTIVE;
	rig->region->control.log_level = LOG_DEBUG;
	rig_start(rig);
	rig_probe(rig, false);
	for (i = 0; i < 2000; i++) {
		rig_request(rig, i % 2);
		if (i % 3 == 0)
			CHECK_INT(rig_interrupt(rig), REGION_INT_USED);
		if (i % 100 == 0)
			rig_wait_asleep(rig);
	}
	rig_write(rig, VMMIO_STATUS, 0);
	rig_probe(rig, true);
	rig_request(rig, 0);
	ring_add(&rig->ring[0], 999);
	rig_write(rig, VMMIO_QUEUE_NOTIFY, 0);
	rig_check_idle(rig, 20);
	rig_probe(rig, true);
	rig_request(rig, 0);
	kill(rig->pid, SIGSTOP);
	kill(rig->pid, SIGCONT);
	rig_request(rig, 0);
	rig_wait_asleep(rig);
	kill(rig->pid, SIGTERM);
	CHECK_INT(rig_wait_exit(rig), BACKEND_EXIT_STOPPED);
	CHECK_HAS(rig_log(rig), "<2>stopped\n");

	/* And it holds: a system call which is not in the list ends the process. */
	rig->extra = "own_fd=1";
	vmmio_attach(&rig->dev);
	rig_spawn(rig);
	CHECK_INT(rig_wait_exit(rig), -SIGSYS);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"backend_idle", test_idle, 30},
		{"backend_no_lost_wakeups", test_no_lost_wakeups, 30},
		{"backend_no_lost_events", test_no_lost_events, 30},
		{"backend_polling_spares_sleep", test_polling_spares_sleep, 30},
		{"backend_adaptive_polling", test_adaptive_polling, 30},
		{"backend_stopped_and_continued", test_stopped_and_continued, 30},
		{"backend_device_descriptor_wakes", test_device_descriptor_wakes, 30},
		{"backend_device_descriptor_without_driver", test_device_descriptor_without_driver, 30},
		{"backend_device_descriptor_is_polled", test_device_descriptor_is_polled, 30},
		{"backend_device_time", test_device_time, 30},
		{"backend_passive_queue", test_passive_queue, 30},
		{"backend_events", test_events, 30},
		{"backend_wakeup_descriptor_is_needed", test_wakeup_descriptor_is_needed, 30},
		{"backend_confined", test_confined, 30},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
