/* SPDX-License-Identifier: MIT */
/* A backend that stands still: seen, reported, and restarted or left alone; and one at rest, which nobody disturbs. */
#include <signal.h>
#include <string.h>

#include "tests/sim/guest_load.h"
#include "tests/sim/inject.h"
#include "tests/sim/rig_status.h"
#include "tests/test.h"

#define BLOCKS 64u

static char out[1 << 16];

/* A disk of 1 MiB for each text of keys up to a NULL, at most two, served. */
static void serve(struct rig *rig, const char *keys0, const char *keys1)
{
	struct rig_disk disk[2] = {{.size = 1 << 20, .keys = keys0}, {.size = 1 << 20, .keys = keys1}};
	uint32_t n = keys1 ? 2 : 1;

	rig_init(rig, 16);
	rig_config_disks(rig, disk, n, NULL);
	rig_serve(rig, n);
}

static void open_disk(struct rig *rig, struct guest_blk *blk, uint32_t index)
{
	CHECK_INT(guest_blk_open(blk, &rig->guest, rig_base(index), rig_irq(index), NULL), 0);
}

struct number_wait {
	struct rig *rig;
	const char *name;
	const char *key;
	long long least;
};

static int number_is_reached(void *arg)
{
	struct number_wait *wait = arg;

	return rig_status_number(wait->rig, wait->name, wait->key) >= wait->least;
}

static void await_number(struct rig *rig, const char *name, const char *key, long long least)
{
	struct number_wait wait = {rig, name, key, least};

	if (!test_wait(number_is_reached, &wait, 30000))
		TEST_FAIL("%s of %s is %lld", key, name, rig_status_number(rig, name, key));
}

/* The driver's requests wait while its backend is stopped, and are all done by the next one. */
static void test_stopped_under_load(void)
{
	struct guest_load load;
	struct guest_blk blk;
	struct rig rig;

	serve(&rig, "\"watchdog_s\": 2", NULL);
	open_disk(&rig, &blk, 0);
	CHECK_INT(guest_load_init(&load, &blk, 0, BLOCKS, 0, 1), 0);
	CHECK_INT(guest_load_run(&load, 50), 0);
	CHECK_INT(kill(rig_pid(&rig, "blk0"), SIGSTOP), 0);
	/* The load goes on into its first request that nobody serves, which the next backend completes. */
	while (rig_starts(&rig, "blk0") < 2)
		CHECK_INT(guest_load_run(&load, 50), 0);
	CHECK_INT(guest_load_run(&load, 50), 0);
	CHECK_INT(guest_load_check(&load), 0);
	CHECK_INT(load.errors + load.wrong, 0);
	rig_await_text(&rig, rig.errors, "stood still for 2 s: a signal has stopped it; starting the next one");
	CHECK_INT(rig_status_number(&rig, "blk0", "hangs"), 1);
	CHECK_INT(rig_status_number(&rig, "blk0", "restarts"), 1);
	CHECK_INT(rig_status_number(&rig, "blk0", "stands_still_s"), 0);
	guest_load_finish(&load);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/*
 * blk1 rests all the while that blk0, stopped at rest, is found: it has been looked at more often than its limit, and
 * has neither been woken nor restarted.
 */
static void test_stopped_at_rest(void)
{
	struct region_device before, after;
	struct rig rig;
	pid_t pid;

	serve(&rig, "\"watchdog_s\": 3", "\"watchdog_s\": 1");
	rig_await_rest(&rig, "blk0");
	rig_await_rest(&rig, "blk1");
	pid = rig_pid(&rig, "blk1");
	rig_counters(&rig, "blk1", &before);
	CHECK_INT(kill(rig_pid(&rig, "blk0"), SIGSTOP), 0);
	rig_await_starts(&rig, "blk0", 2);
	rig_await_text(&rig, rig.errors, "stood still for 3 s: a signal has stopped it");
	rig_counters(&rig, "blk1", &after);
	CHECK_INT(after.wakeups, before.wakeups);
	CHECK_INT(after.heartbeat, before.heartbeat);
	CHECK_INT(rig_pid(&rig, "blk1"), pid);
	CHECK_INT(rig_status_number(&rig, "blk1", "hangs"), 0);
	rig_finish(&rig);
}

static void test_report(void)
{
	struct guest_blk blk;
	uint8_t bytes[4096];
	struct rig rig;
	pid_t pid;

	serve(&rig, "\"watchdog_s\": 1, \"watchdog_action\": \"report\"", NULL);
	open_disk(&rig, &blk, 0);
	pid = rig_pid(&rig, "blk0");
	CHECK_INT(kill(pid, SIGSTOP), 0);
	await_number(&rig, "blk0", "stands_still_s", 3);
	rig_await_text(
		&rig, rig.errors,
		"stands still for 1 s: a signal has stopped it; it is left alone (watchdog_action is \"report\")");
	RIG_ASK(&rig, out, "--status");
	CHECK_HAS(out, "\nblk0 stands still for ");
	CHECK_INT(rig_pid(&rig, "blk0"), pid);
	CHECK_INT(kill(pid, SIGCONT), 0);
	rig_await_text(&rig, rig.errors, "moves again, after ");
	CHECK_INT(rig_status_number(&rig, "blk0", "stands_still_s"), 0);
	CHECK_INT(rig_status_number(&rig, "blk0", "hangs"), 1);
	CHECK_INT(guest_blk_read(&blk, 0, 0, bytes, sizeof(bytes)), 0);
	CHECK_INT(rig_starts(&rig, "blk0"), 1);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* The region says what the backend's last words were: that it sleeps. */
static void test_spins(void)
{
	struct inject inject;
	struct guest_blk blk;
	uint8_t bytes[4096];
	struct rig rig;

	serve(&rig, "\"watchdog_s\": 2", NULL);
	open_disk(&rig, &blk, 0);
	rig_await_rest(&rig, "blk0");
	inject_open(&inject, rig_pid(&rig, "blk0"));
	inject_leave_spinning(&inject);
	rig_await_starts(&rig, "blk0", 2);
	rig_await_text(&rig, rig.errors, "stood still for 2 s: it runs and does not come to its next request");
	CHECK_INT(guest_blk_read(&blk, 0, 0, bytes, sizeof(bytes)), 0);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* Whoever looks into a backend with a debugger is not disturbed, and stops no other watch. */
static void test_traced(void)
{
	struct inject inject;
	struct rig rig;

	serve(&rig, "\"watchdog_s\": 1", "\"watchdog_s\": 1");
	inject_open(&inject, rig_pid(&rig, "blk0"));
	await_number(&rig, "blk0", "stands_still_s", 3);
	rig_await_text(&rig, rig.errors, " traces it; it is left alone");
	CHECK_INT(rig_pid(&rig, "blk0"), inject.pid);
	CHECK_INT(kill(rig_pid(&rig, "blk1"), SIGSTOP), 0);
	rig_await_starts(&rig, "blk1", 2);
	CHECK_INT(rig_starts(&rig, "blk0"), 1);
	inject_close(&inject);
	rig_await_starts(&rig, "blk0", 2);
	rig_finish(&rig);
}

/* An adopted backend is watched as well, and so is its successor. */
static void test_adopted(void)
{
	struct rig rig;

	serve(&rig, "\"watchdog_s\": 1", NULL);
	rig_await_rest(&rig, "blk0");
	CHECK_INT(kill(rig_pid(&rig, "blk0"), SIGSTOP), 0);
	rig_end_launcher(&rig, SIGKILL);
	rig_launch(&rig, NULL);
	rig_await_launcher(&rig);
	rig_await_starts(&rig, "blk0", 2);
	CHECK_INT(kill(rig_pid(&rig, "blk0"), SIGSTOP), 0);
	rig_await_starts(&rig, "blk0", 3);
	rig_finish(&rig);
}

static void test_off(void)
{
	struct rig rig;

	serve(&rig, "\"watchdog_s\": 0", "\"watchdog_s\": 2");
	CHECK_INT(kill(rig_pid(&rig, "blk0"), SIGSTOP), 0);
	CHECK_INT(kill(rig_pid(&rig, "blk1"), SIGSTOP), 0);
	rig_await_starts(&rig, "blk1", 2);
	CHECK_INT(rig_starts(&rig, "blk0"), 1);
	CHECK_INT(rig_status_number(&rig, "blk0", "hangs"), 0);
	rig_finish(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"watchdog_stopped_under_load", test_stopped_under_load, 60},
		{"watchdog_stopped_at_rest", test_stopped_at_rest, 60},
		{"watchdog_reports_only", test_report, 60},
		{"watchdog_spinning_backend", test_spins, 60},
		{"watchdog_traced_backend", test_traced, 60},
		{"watchdog_adopted_backend", test_adopted, 60},
		{"watchdog_off", test_off, 60},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
