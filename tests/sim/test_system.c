/* SPDX-License-Identifier: MIT */
/* What the system costs and bears as a whole: many devices, backends at rest, a backend that is stopped. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/vmmio.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

#define MANY 64u
#define SECTORS 2048u

/* The sum of the figures behind the words at the beginnings of lines of /proc/PID/name. */
static unsigned long proc_sum(pid_t pid, const char *name, const char *const *word, int words)
{
	unsigned long sum = 0;
	char path[64];
	char line[256];
	FILE *file;
	int i;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	file = fopen(path, "r");
	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		for (i = 0; i < words; i++) {
			if (strncmp(line, word[i], strlen(word[i])) == 0)
				sum += strtoul(line + strlen(word[i]), NULL, 10);
		}
	}
	fclose(file);
	return sum;
}

static unsigned long pss_kib(pid_t pid)
{
	unsigned long kib = proc_sum(pid, "smaps_rollup", (const char *[]){"Pss:"}, 1);

	CHECK(kib > 0);
	return kib;
}

/* How often the process gave up its CPU, of its own will or not: each wakeup ends in another. */
static unsigned long switches(pid_t pid)
{
	return proc_sum(pid, "status", (const char *[]){"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"}, 2);
}

static void test_rest(void)
{
	struct rig_disk disk = {.size = 8 << 20};
	struct region_device before, after;
	unsigned long switched;
	uint8_t data[4096];
	struct guest_blk blk;
	struct rig rig;
	pid_t pid;

	rig_init(&rig, 32);
	rig_config_disks(&rig, &disk, 1, NULL);
	rig_serve(&rig, 1);
	CHECK_INT(guest_blk_open(&blk, &rig.guest, rig_base(0), rig_irq(0), NULL), 0);
	CHECK_INT(guest_blk_read(&blk, 0, 0, data, sizeof(data)), 0);
	pid = rig_pid(&rig, "blk0");
	/* It is at rest when its main loop no longer turns. */
	rig_counters(&rig, "blk0", &after);
	do {
		before = after;
		usleep(50000);
		rig_counters(&rig, "blk0", &after);
	} while (after.heartbeat != before.heartbeat);
	switched = switches(pid);
	sleep(10);
	rig_counters(&rig, "blk0", &after);
	printf("# proportional set size %lu KiB\n", pss_kib(pid));
	CHECK_INT(after.wakeups, before.wakeups);
	CHECK_INT(after.heartbeat, before.heartbeat);
	CHECK_INT(switches(pid), switched);
	CHECK(pss_kib(pid) <= 1024);
	/* And it is awake at once when it is wanted. */
	CHECK_INT(guest_blk_read(&blk, 0, 8, data, sizeof(data)), 0);
	rig_counters(&rig, "blk0", &after);
	CHECK(after.wakeups > before.wakeups);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

/* Whatever its backend does, a CPU of the guest gets its answers; only the requests wait. */
static void test_stopped_backend(void)
{
	struct rig_disk disk = {.size = 8 << 20};
	struct hvisor_device_get get;
	struct guest_blk_request *request;
	struct guest_blk blk;
	struct rig rig;
	uint32_t i;
	pid_t pid;

	rig_init(&rig, 32);
	rig_config_disks(&rig, &disk, 1, NULL);
	rig_serve(&rig, 1);
	CHECK_INT(guest_blk_open(&blk, &rig.guest, rig_base(0), rig_irq(0), NULL), 0);
	pid = rig_pid(&rig, "blk0");
	CHECK_INT(kill(pid, SIGSTOP), 0);
	request = guest_blk_get(&blk, 0);
	CHECK(request);
	request->type = VIRTIO_BLK_T_IN;
	request->sector = 0;
	request->len = 4096;
	CHECK_INT(guest_blk_submit(&blk, request), 0);
	guest_blk_kick(&blk, 0);
	for (i = 0; i < 0x200; i += 4) {
		if (i == VMMIO_QUEUE_NUM_MAX)
			guest_dev_write(&blk.dev, 0, VMMIO_QUEUE_SEL, 0);
		guest_dev_read(&blk.dev, 0, i);
	}
	CHECK_INT(guest_dev_read(&blk.dev, 0, VMMIO_MAGIC_VALUE), 0x74726976);
	CHECK_INT(guest_dev_read(&blk.dev, 0, VMMIO_STATUS) & VMMIO_S_DRIVER_OK, VMMIO_S_DRIVER_OK);
	CHECK_INT(guest_dev_read(&blk.dev, 0, VMMIO_QUEUE_NUM_MAX), 256);
	CHECK(!guest_blk_reap(&blk, 0));
	CHECK_INT(kill(pid, SIGCONT), 0);
	CHECK(guest_blk_wait(&blk, 0, 10000) == request);
	CHECK_INT(request->error, 0);
	CHECK(rig_device(&rig, "blk0", &get));
	printf("# the longest register access took %llu us\n", (unsigned long long)get.wait_max_ns / 1000);
	guest_blk_put(&blk, request);
	guest_blk_close(&blk);
	rig_finish(&rig);
}

static void many_write(struct rig *rig, struct guest_blk *blk, uint32_t n)
{
	uint8_t data[4096];

	CHECK_INT(guest_blk_open(blk, &rig->guest, rig_base(n), rig_irq(n),
				 &(struct guest_blk_options){.depth = 4, .data_max = 4096, .queue_size = 16}),
		  0);
	memset(data, (int)n + 1, sizeof(data));
	CHECK_INT(guest_blk_write(blk, 0, n, data, sizeof(data)), 0);
}

static void many_check(uint32_t n)
{
	char name[32];
	uint8_t want[4096];
	uint8_t got[4096];
	FILE *file;

	snprintf(name, sizeof(name), "disk%u.img", n);
	file = fopen(name, "rb");
	CHECK(file);
	CHECK_INT(fseek(file, (long)n * GUEST_BLK_SECTOR, SEEK_SET), 0);
	CHECK_INT(fread(got, 1, sizeof(got), file), sizeof(got));
	fclose(file);
	memset(want, (int)n + 1, sizeof(want));
	CHECK_MEM(got, want, sizeof(want));
}

static void test_many(void)
{
	struct rig_disk *disk = calloc(MANY, sizeof(*disk));
	struct guest_blk *blk = calloc(MANY, sizeof(*blk));
	char *out = malloc(1 << 18);
	struct rig rig;
	uint64_t begin;
	char name[16];
	uint32_t i;

	CHECK(disk && blk && out);
	rig_init(&rig, 64);
	for (i = 0; i < MANY; i++)
		disk[i].size = SECTORS * GUEST_BLK_SECTOR;
	rig_config_disks(&rig, disk, MANY, NULL);
	rig_serve(&rig, MANY);
	for (i = 0; i < MANY; i++)
		many_write(&rig, &blk[i], i);
	begin = test_now_ns();
	CHECK_INT(rig_launcher(&rig, out, 1 << 18, "--status", NULL), 0);
	printf("# status of %u devices in %llu ms\n", MANY, (unsigned long long)(test_now_ns() - begin) / 1000000);
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "\nblk%u ", i);
		CHECK_HAS(out, name);
	}
	CHECK_INT(rig_launcher(&rig, out, 1 << 18, "--restart", "all", NULL), 0);
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "blk%u", i);
		CHECK_INT(rig_starts(&rig, name), 2);
		many_write(&rig, &blk[i], i);
	}
	for (i = 0; i < MANY; i++)
		guest_blk_close(&blk[i]);
	rig_finish(&rig);
	for (i = 0; i < MANY; i++)
		many_check(i);
	free(disk);
	free(blk);
	free(out);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"system_backend_at_rest", test_rest, 60},
		{"system_backend_stopped", test_stopped_backend, 60},
		{"system_64_devices", test_many, 120},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
