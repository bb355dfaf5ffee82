/* SPDX-License-Identifier: MIT */
/* Limits that cannot be held: a line for each, and the devices are served all the same. tests/vm/root has those that
 * can. */
#include <unistd.h>

#include "tests/sim/rig_status.h"
#include "tests/test.h"

static char out[1 << 16];

static void test_without_cgroup(void)
{
	struct rig_disk disk[2] = {
		{.size = 1 << 20, .keys = "\"cpu_weight\": 50, \"memory_max\": 67108864"},
		{.size = 1 << 20, .keys = "\"cpu_max_percent\": 50"},
	};
	struct guest_blk blk;
	char folder[400];
	char text[600];
	struct rig rig;

	rig_init(&rig, 16);
	rig_config_disks(&rig, disk, 2, NULL);
	snprintf(folder, sizeof(folder), "%s/groups", rig.dir);
	rig_launch(&rig, "--cgroup", folder, NULL);
	rig_await_starts(&rig, "blk0", 1);
	rig_await_starts(&rig, "blk1", 1);
	snprintf(text, sizeof(text), "cgroup limits: %s is no folder of cgroup v2", rig.dir);
	rig_await_text(&rig, rig.errors, text);
	rig_await_text(&rig, rig.errors,
		       "blk0: cpu_weight and cpu_max_percent are not held: the cgroup controller cpu is not to be had");
	rig_await_text(&rig, rig.errors, "blk0: memory_max is not held: the cgroup controller memory is not to be had");
	rig_await_text(&rig, rig.errors,
		       "blk1: cpu_weight and cpu_max_percent are not held: the cgroup controller cpu is not to be had");
	CHECK_INT(access(folder, F_OK), -1);
	CHECK_STR(rig_status_text(&rig, "blk0", "cgroup"), "");
	CHECK_INT(guest_blk_open(&blk, &rig.guest, rig_base(0), rig_irq(0), &(struct guest_blk_options){.cpu = 1}), 0);
	guest_blk_close(&blk);
	RIG_ASK(&rig, out, "--restart", "blk0");
	rig_finish(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"limits_without_cgroup", test_without_cgroup, 60},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
