/* SPDX-License-Identifier: MIT */
/*
 * What a flooded network device costs the disks beside it: the time that a read of 4 KiB takes, one after the other, of
 * blk0 in the guest of net0 and of blk1 in another guest, while net0 is flooded both ways. With the real launcher and
 * its confined backends, over the simulator.
 *
 * One CPU has the disks' backends and the driver that reads. Since they share it the driver sleeps until the interrupt,
 * and the backends do not poll. The other CPU has who floods net0. The backend of net0 is on the other CPU, or on that
 * of the disks. If it cost the disks more than the CPU that it takes, that would show against two processes which take
 * the same CPUs and do nothing else, in place of who floods and of the backend. Every round has all of the states,
 * another one first each time; what is reported is the medians of the rounds, and of their ratios.
 *
 * Those that share a CPU are ordinary processes, even if the benchmark was started as a real-time one: of those, one
 * has the CPU until it sleeps. Then only who floods is real-time, while the backend is not on its CPU.
 *
 * usage: bench_beside JSON    images: in TMPDIR, which should be on a tmpfs
 * Environment: ROUNDS, BENCH_SECONDS (of one measurement), BENCH_SMOKE=1 (run everything, for the shortest time)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"
#include "flood.h"
#include "load.h"
#include "process.h"
#include "report.h"
#include "settings.h"
#include "tests/sim/net_rig.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

#define OTHER_ZONE (RIG_ZONE + 1)
#define ZONE_MIB 64u
#define IMAGE_SIZE (64u << 20)
#define BLOCK 4096u
#define TAP "hvt0"
#define NET_INDEX 1u /* of its window; the disks have the first of their zones */
#define READS_MAX (1u << 20) /* of one measurement, which ends early then */

enum bench_disk {
	BLK0, /* in the guest of net0 */
	BLK1,
	DISKS,
};

enum figure {
	P50,
	P99,
	MEAN, /* where the CPU that others took shows: they take it for long, but not often */
	FIGURES,
};

enum bench_state {
	REST,
	FLOOD_OTHER,
	BUSY_OTHER,
	FLOOD_SAME,
	BUSY_SAME,
	STATES,
};

static const struct {
	bool flood; /* net0 */
	bool busy; /* processes that only take the CPUs */
	bool same; /* net0's backend, or the process in its place, is on the disks' CPU */
} state_is[STATES] = {
	[FLOOD_OTHER] = {.flood = true},
	[BUSY_OTHER] = {.busy = true},
	[FLOOD_SAME] = {.flood = true, .same = true},
	[BUSY_SAME] = {.busy = true, .same = true},
};

/* What is compared with what. */
static const struct {
	const char *name;
	enum bench_state state;
	enum bench_state with;
	const char *with_name;
} compared[] = {
	{"other-cpu-rest", FLOOD_OTHER, REST, "rest"},
	{"other-cpu-busy", FLOOD_OTHER, BUSY_OTHER, "busy"},
	{"same-cpu-busy", FLOOD_SAME, BUSY_SAME, "busy"},
};
#define COMPARED (sizeof(compared) / sizeof(compared[0]))

static const char *const disk_name[DISKS] = {"blk0", "blk1"};
static const char *const figure_name[FIGURES] = {"p50", "p99", "mean"};

struct bench {
	struct bench_settings settings;
	int disks_cpu;
	int net_cpu;
	int priority; /* that the benchmark was started with; 0: not real-time */
	struct rig rig;
	struct guest other;
	struct guest_blk blk[DISKS];
	struct guest_net net;
	struct flood flood;
	pid_t busy[2]; /* in place of who floods, and of net0's backend */
	uint8_t *image[DISKS]; /* what is in it */
	double us[STATES][DISKS][FIGURES][REPORT_ROUNDS_MAX];
	double share[STATES][REPORT_ROUNDS_MAX]; /* of a CPU, of net0's backend or the process in its place, in % */
	double frames[STATES][REPORT_ROUNDS_MAX]; /* a second, both ways */
	struct report_row row[32];
	unsigned int nrows;
};

static struct tap_frame from_guest;
static struct tap_frame from_host;
static double read_us[READS_MAX];

static void bench_configure(struct bench *bench)
{
	uint64_t size = (uint64_t)ZONE_MIB << 20;
	FILE *file = fopen(bench->rig.config, "we");

	CHECK(file);
	fprintf(file,
		"{\"zones\": [{\"id\": %u, \"memory_region\": [{\"zone0_ipa\": %u, \"zonex_ipa\": %u, \"size\": "
		"%llu}],\n"
		"\"devices\": [{\"type\": \"blk\", \"poll_us\": 0, \"addr\": %llu, \"len\": 512, \"irq\": %u, \"img\": "
		"\"%s/blk0.img\"},\n"
		"{\"type\": \"net\", \"addr\": %llu, \"len\": 512, \"irq\": %u, \"tap\": \"" TAP
		"\", \"mac\": [%u, %u, %u, %u, %u, %u]}]},\n",
		RIG_ZONE, RIG_RAM, RIG_RAM, (unsigned long long)size, (unsigned long long)rig_base(0), rig_irq(0),
		bench->rig.dir, (unsigned long long)rig_base(NET_INDEX), rig_irq(NET_INDEX), net_rig_mac[0],
		net_rig_mac[1], net_rig_mac[2], net_rig_mac[3], net_rig_mac[4], net_rig_mac[5]);
	fprintf(file,
		"{\"id\": %u, \"memory_region\": [{\"zone0_ipa\": %llu, \"zonex_ipa\": %u, \"size\": %llu}],\n"
		"\"devices\": [{\"type\": \"blk\", \"poll_us\": 0, \"addr\": %llu, \"len\": 512, \"irq\": %u, "
		"\"img\": \"%s/blk1.img\"}]}]}\n",
		OTHER_ZONE, RIG_RAM + (unsigned long long)size, RIG_RAM, (unsigned long long)size,
		(unsigned long long)rig_base(0), rig_irq(0), bench->rig.dir);
	CHECK_INT(fclose(file), 0);
}

static void bench_place(struct bench *bench, const char *name, int cpu)
{
	pid_t pid = rig_pid(&bench->rig, name);

	CHECK(pid > 0);
	CHECK_INT(cpu_pin(pid, cpu), 0);
}

static void bench_start(struct bench *bench)
{
	static const struct guest_net_options net_options = {.rx_buffers = 256, .polled = true};
	struct hvisor_memory memory = {RIG_RAM + ((uint64_t)ZONE_MIB << 20), RIG_RAM, (uint64_t)ZONE_MIB << 20};
	struct guest *guest[DISKS] = {&bench->rig.guest, &bench->other};
	struct rig *rig = &bench->rig;
	char path[32];
	uint32_t i;

	net_rig_enter_namespace();
	rig_init(rig, ZONE_MIB);
	CHECK_INT(sim_zone_add(&rig->sim, OTHER_ZONE, &memory, 1), 0);
	CHECK_INT(guest_init(&bench->other, &rig->sim, OTHER_ZONE), 0);
	for (i = 0; i < DISKS; i++) {
		bench->image[i] = scratch_random(IMAGE_SIZE);
		snprintf(path, sizeof(path), "%s.img", disk_name[i]);
		scratch_write(path, bench->image[i], IMAGE_SIZE);
	}
	bench_configure(bench);
	rig_launch(rig, NULL);
	rig_await_launcher(rig);
	for (i = 0; i < DISKS; i++) {
		/* CPU 0 of the simulator is net0's driver's. */
		struct guest_blk_options options = {.depth = 1, .data_max = BLOCK, .cpu = i + 1};

		rig_await_starts(rig, disk_name[i], 1);
		bench_place(bench, disk_name[i], bench->disks_cpu);
		CHECK_INT(guest_blk_open(&bench->blk[i], guest[i], rig_base(0), rig_irq(0), &options), 0);
	}
	rig_await_starts(rig, "net0", 1);
	bench_place(bench, "net0", bench->net_cpu);
	CHECK_INT(guest_net_open(&bench->net, guest[BLK0], rig_base(NET_INDEX), rig_irq(NET_INDEX), &net_options), 0);
	guest_net_fill(&bench->net, 0, 0);

	tap_frame_make(&from_guest, 1514, net_rig_host_mac, net_rig_mac);
	tap_frame_make(&from_host, 1514, net_rig_mac, net_rig_host_mac);
	bench->flood = (struct flood){.rig = rig,
				      .name = "net0",
				      .net = &bench->net,
				      .sender = tap_sender_open(TAP),
				      .from_guest = &from_guest,
				      .from_host = &from_host,
				      .cpu = bench->net_cpu};
	CHECK(bench->flood.sender >= 0);
	CHECK_INT(flood_init(&bench->flood), 0);
}

static void bench_finish(struct bench *bench)
{
	uint32_t i;

	flood_finish(&bench->flood);
	close(bench->flood.sender);
	guest_net_close(&bench->net);
	for (i = 0; i < DISKS; i++) {
		guest_blk_close(&bench->blk[i]);
		free(bench->image[i]);
	}
	guest_finish(&bench->other);
	rig_finish(&bench->rig);
}

static int busy_begin(struct bench *bench, int cpu)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		bench->busy[i] = process_busy_start(i == 0 ? bench->net_cpu : cpu);
		if (bench->busy[i] < 0)
			return bench_fail("starting a busy process: %s", strerror((int)-bench->busy[i]));
	}
	return 0;
}

static int state_begin(struct bench *bench, enum bench_state state)
{
	int cpu = state_is[state].same ? bench->disks_cpu : bench->net_cpu;
	int priority = state_is[state].same ? bench->priority : 0;
	int err;

	if (state_is[state].busy) {
		if (busy_begin(bench, cpu) < 0)
			return -1;
		CHECK_INT(cpu_set_priority(bench->busy[0], priority), 0);
		return 0;
	}
	bench_place(bench, "net0", cpu);
	if (!state_is[state].flood) {
		rig_await_rest(&bench->rig, "net0");
		return 0;
	}
	CHECK_INT(cpu_set_priority(bench->flood.pid, priority), 0);
	err = flood_begin(&bench->flood);
	return err ? bench_fail("flooding net0: %s", strerror(-err)) : 0;
}

static int state_end(struct bench *bench, enum bench_state state)
{
	int err = 0;

	if (state_is[state].busy) {
		process_busy_stop(bench->busy[0]);
		process_busy_stop(bench->busy[1]);
	}
	if (state_is[state].flood)
		err = flood_end(&bench->flood);
	return err ? bench_fail("net0 does not take the guest's frames: %s", strerror(-err)) : 0;
}

/* Reads for as long as a measurement is; what the bytes are is looked at outside of the time that is taken. */
static int bench_read(struct bench *bench, enum bench_state state, enum bench_disk disk, unsigned int round)
{
	static const struct load load = {.random = true, .block = BLOCK, .depth = 1};
	struct load_offsets offsets;
	static uint8_t data[BLOCK];
	uint64_t now = load_now_ns();
	uint64_t end = now + (uint64_t)(bench->settings.seconds * 1e9);
	double sum = 0;
	unsigned int n;
	int err;

	load_offsets_init(&offsets, &load, IMAGE_SIZE, round);
	for (n = 0; n == 0 || (n < READS_MAX && now < end); n++) {
		uint64_t offset = load_offset(&offsets);
		uint64_t begin = load_now_ns();

		err = guest_blk_read(&bench->blk[disk], 0, offset / GUEST_BLK_SECTOR, data, BLOCK);
		now = load_now_ns();
		if (err)
			return bench_fail("a read of %s: %s", disk_name[disk], strerror(-err));
		if (memcmp(data, bench->image[disk] + offset, BLOCK) != 0)
			return bench_fail("%s does not give the image's bytes", disk_name[disk]);
		read_us[n] = (double)(now - begin) / 1e3;
		sum += read_us[n];
	}
	bench->us[state][disk][P50][round] = report_median(read_us, n); /* sorts them */
	bench->us[state][disk][P99][round] = report_quantile(read_us, n, 0.99);
	bench->us[state][disk][MEAN][round] = sum / n;
	return 0;
}

static int bench_measure(struct bench *bench, enum bench_state state, unsigned int round)
{
	pid_t pid = state_is[state].busy ? bench->busy[1] : rig_pid(&bench->rig, "net0");
	uint64_t frames = flood_frames(&bench->flood);
	uint64_t begin = load_now_ns();
	double cpu_ns = process_cpu_ns(pid);
	unsigned int i;
	double ns;

	for (i = 0; i < DISKS; i++) {
		/* The other disk begins in each round. */
		enum bench_disk disk = (round + i) % DISKS;

		if (bench_read(bench, state, disk, round) < 0)
			return -1;
	}
	ns = (double)(load_now_ns() - begin);
	bench->share[state][round] = (process_cpu_ns(pid) - cpu_ns) / ns * 100;
	bench->frames[state][round] = (double)(flood_frames(&bench->flood) - frames) / ns * 1e9;
	return cpu_ns < 0 ? bench_fail("nothing to see of the CPU time of process %d", (int)pid) : 0;
}

static int bench_rounds(struct bench *bench)
{
	unsigned int round, i;

	for (round = 0; round < bench->settings.rounds; round++) {
		for (i = 0; i < STATES; i++) {
			/* Another state begins in each round. */
			enum bench_state state = (round + i) % STATES;

			if (state_begin(bench, state) < 0 || bench_measure(bench, state, round) < 0 ||
			    state_end(bench, state) < 0)
				return -1;
		}
	}
	return 0;
}

static void bench_row(struct bench *bench, const char *name, const char *unit, double *ours, double *peer,
		      const char *peer_name)
{
	unsigned int rounds = bench->settings.rounds;
	double sorted[2][REPORT_ROUNDS_MAX];
	struct report_row *row = report_row_init(&bench->row[bench->nrows++], name, unit, rounds);

	memcpy(sorted[0], ours, rounds * sizeof(*ours));
	row->ours = report_median(sorted[0], rounds);
	if (!peer)
		return;
	memcpy(sorted[1], peer, rounds * sizeof(*peer));
	row->peer = report_median(sorted[1], rounds);
	row->peer_engine = peer_name;
	if (row->peer > 0)
		row->ours_over_peer = report_ratio(ours, peer, rounds);
}

static void bench_rows(struct bench *bench)
{
	uint32_t disk, figure;
	char name[48];
	size_t i;

	for (i = 0; i < COMPARED; i++) {
		for (disk = 0; disk < DISKS; disk++) {
			for (figure = 0; figure < FIGURES; figure++) {
				snprintf(name, sizeof(name), "%s-flood-%s-%s", disk_name[disk], compared[i].name,
					 figure_name[figure]);
				bench_row(bench, name, "us", bench->us[compared[i].state][disk][figure],
					  bench->us[compared[i].with][disk][figure], compared[i].with_name);
			}
		}
	}
	bench_row(bench, "net0-flood-other-cpu-share", "%", bench->share[FLOOD_OTHER], bench->share[BUSY_OTHER],
		  "busy");
	bench_row(bench, "net0-flood-same-cpu-share", "%", bench->share[FLOOD_SAME], bench->share[BUSY_SAME], "busy");
	bench_row(bench, "net0-flood-other-cpu-frames", "pps", bench->frames[FLOOD_OTHER], NULL, NULL);
	bench_row(bench, "net0-flood-same-cpu-frames", "pps", bench->frames[FLOOD_SAME], NULL, NULL);
}

static void bench_conditions(const struct bench *bench)
{
	printf("\nReads of 4 KiB at depth 1 beside a flooded net0, medians of %u rounds of %g s each. CPU %d: the "
	       "driver\n"
	       "that reads, asleep meanwhile, and the backends of blk0 (in net0's guest) and blk1 (in another), which "
	       "do\n"
	       "not poll. CPU %d: who floods net0. Its backend is on the other CPU than the disks, or on the same. "
	       "The\n"
	       "peer: net0 at rest, or the same CPUs taken by processes that do nothing else (busy). The share is "
	       "what\n"
	       "net0's backend, or the process in its place, had of its CPU. All of them are ordinary processes%s.\n\n",
	       bench->settings.rounds, bench->settings.seconds, bench->disks_cpu, bench->net_cpu,
	       bench->priority > 0 ? ", but\nwho floods is real-time while the backend is on the other CPU" : "");
}

int main(int argc, char **argv)
{
	static struct bench bench;
	int here = open(".", O_PATH | O_CLOEXEC);
	int result;
	int err;

	if (argc != 2) {
		fprintf(stderr, "usage: bench_beside JSON\n");
		return 2;
	}
	if (bench_settings_init(&bench.settings) < 0)
		return 2;
	bench.disks_cpu = bench.settings.driver_cpu;
	bench.net_cpu = bench.settings.server_cpu;
	bench.priority = cpu_priority();
	err = bench.priority < 0 ? bench.priority : cpu_set_priority(0, 0);
	if (err) {
		bench_fail("leaving the real-time class: %s", strerror(-err));
		return 1;
	}
	cpu_pin(0, bench.disks_cpu);
	bench_start(&bench);
	result = bench_rounds(&bench);
	if (result == 0)
		bench_rows(&bench);
	bench_finish(&bench);
	if (result < 0)
		return 1;
	bench_conditions(&bench);
	report_table(stdout, bench.row, bench.nrows);
	/* The rig works in a folder of its own. */
	err = fchdir(here) < 0 ? -errno : report_json(argv[1], bench.row, bench.nrows);
	if (err)
		fprintf(stderr, "bench: %s: %s\n", argv[1], strerror(-err));
	return err != 0;
}
