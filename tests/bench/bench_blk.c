/* SPDX-License-Identifier: MIT */
/*
 * hvisor-blk against the limits and against qemu-storage-daemon's vhost-user-blk export, over the same image in the
 * same run. All sides are measured in every round, one after the other, so that what disturbs the machine disturbs all;
 * what is reported is the medians of the rounds, and the medians of the rounds' ratios.
 *
 * The driver, which is the same code for both devices and polls, has a CPU to itself; what serves it (the backend, or
 * the daemon with all its threads), and in its turn each limit loop, has another.
 *
 * usage: bench_blk FOLDER JSON	   FOLDER: on a tmpfs, for the image and sockets
 * Environment: ROUNDS, BENCH_SECONDS (of one measurement), BENCH_SMOKE=1 (run everything, for the shortest time)
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"
#include "limit.h"
#include "load.h"
#include "ours.h"
#include "peer.h"
#include "process.h"
#include "report.h"
#include "settings.h"
#include "tests/test.h"

#define IMAGE_SIZE (256ull << 20)
#define VERIFY_COUNT 16
#define ENGINES_MAX 4

enum side {
	SIDE_OURS,
	SIDE_PREADV,
	SIDE_IO_URING,
	SIDE_PEER, /* and one for each engine */
	SIDES_MAX = SIDE_PEER + ENGINES_MAX,
};

struct bench {
	struct bench_settings settings;
	char image[128];
	int image_fd;
	uint8_t *expected; /* the image, mapped */
	struct ours ours;
	struct peer peer[ENGINES_MAX];
	unsigned int npeers;
	double preempted; /* how often a second others took the driver's CPU during the loads */
	struct report_row row[16];
	unsigned int nrows;
};

static const struct {
	const char *name;
	struct load load;
} bench_load[] = {
	{"randread-4k-qd1", {.random = true, .block = 4096, .depth = 1}},
	{"randread-4k-qd32", {.random = true, .block = 4096, .depth = 32}},
	{"randwrite-4k-qd1", {.write = true, .random = true, .block = 4096, .depth = 1}},
	{"randwrite-4k-qd32", {.write = true, .random = true, .block = 4096, .depth = 32}},
	{"seqread-1m-qd1", {.block = 1 << 20, .depth = 1}},
	{"seqread-1m-qd32", {.block = 1 << 20, .depth = 32}},
	{"seqwrite-1m-qd1", {.write = true, .block = 1 << 20, .depth = 1}},
	{"seqwrite-1m-qd32", {.write = true, .block = 1 << 20, .depth = 32}},
};
#define BENCH_LOADS (sizeof(bench_load) / sizeof(bench_load[0]))

static int bench_make_image(struct bench *bench, const char *folder)
{
	uint64_t *word;
	uint64_t i;

	snprintf(bench->image, sizeof(bench->image), "%s/image", folder);
	bench->image_fd = open(bench->image, O_RDWR | O_CREAT | O_EXCL | O_NOATIME | O_CLOEXEC, 0600);
	if (bench->image_fd < 0 || posix_fallocate(bench->image_fd, 0, IMAGE_SIZE) != 0)
		return bench_fail("%s: %m", bench->image);
	bench->expected = mmap(NULL, IMAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, bench->image_fd, 0);
	if (bench->expected == MAP_FAILED)
		return bench_fail("%s: mapping it: %m", bench->image);
	word = (uint64_t *)bench->expected;
	for (i = 0; i < IMAGE_SIZE / sizeof(*word); i++)
		word[i] = test_random();
	return 0;
}

/* Does a device give the bytes that are in the image? */
static int bench_verify(struct bench *bench, struct disk *disk, const char *who, uint32_t len)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < VERIFY_COUNT && !err; i++) {
		uint64_t offset = test_random_below(IMAGE_SIZE / len) * len;

		err = load_verify(disk, offset, bench->expected + offset, len);
	}
	return err ? bench_fail("%s does not give the image's bytes: %s", who, strerror(-err)) : 0;
}

static int bench_verify_all(struct bench *bench, uint32_t len)
{
	int result = bench_verify(bench, &bench->ours.disk, "hvisor-blk", len);
	unsigned int i;

	for (i = 0; i < bench->npeers && result == 0; i++)
		result = bench_verify(bench, &bench->peer[i].disk, bench->peer[i].engine->name, len);
	return result;
}

static int bench_start(struct bench *bench, const char *folder)
{
	int err = ours_start(&bench->ours, bench->image, folder, bench->settings.server_cpu);
	unsigned int i;

	cpu_pin(0, bench->settings.driver_cpu);
	if (err)
		return -1;
	/* An engine that this machine cannot run is named, and left out. */
	for (i = 0; i < peer_engines && i < ENGINES_MAX; i++) {
		struct peer *peer = &bench->peer[bench->npeers];

		bench->npeers +=
			peer_start(peer, &peer_engine[i], bench->image, folder, bench->settings.server_cpu) == 0;
	}
	if (bench->npeers == 0)
		return bench_fail("no engine of the peer works");
	return 0;
}

/* What the processes cost that have done a few small requests: pages of the guest's that they touched count too. */
static int bench_rest(struct bench *bench)
{
	pid_t pid[2] = {ours_backend(&bench->ours), bench->peer[0].pid};
	struct process_switches before[2];
	struct process_switches now;
	struct report_row *wakeups = report_row_init(&bench->row[bench->nrows++], "wakeups-at-rest", "count", 1);
	struct report_row *pss = report_row_init(&bench->row[bench->nrows++], "pss-at-rest", "KiB", 1);
	double *count[2] = {&wakeups->ours, &wakeups->peer};
	double *kib[2] = {&pss->ours, &pss->peer};
	unsigned int i;

	wakeups->peer_engine = bench->peer[0].engine->name;
	pss->peer_engine = bench->peer[0].engine->name;
	for (i = 0; i < 2; i++) {
		if (process_switches(pid[i], &before[i]) < 0)
			return bench_fail("nothing to see of process %d in /proc", (int)pid[i]);
	}
	poll(NULL, 0, (int)(bench->settings.rest_seconds * 1000));
	for (i = 0; i < 2; i++) {
		*kib[i] = process_pss_kib(pid[i]);
		if (process_switches(pid[i], &now) < 0 || *kib[i] < 0)
			return bench_fail("nothing to see of process %d in /proc", (int)pid[i]);
		*count[i] = process_switches_since(&now, &before[i]);
	}
	pss->ours_over_peer = pss->ours / pss->peer;
	return 0;
}

static double bench_measure(struct bench *bench, unsigned int side, const struct load *load, uint64_t seed)
{
	const char *who = "hvisor-blk";
	double rate;

	switch (side) {
	case SIDE_OURS:
		rate = load_run(&bench->ours.disk, load, seed, bench->settings.seconds);
		break;
	case SIDE_PREADV:
		return limit_preadv(bench->image_fd, IMAGE_SIZE, load, seed, bench->settings.seconds,
				    bench->settings.server_cpu);
	case SIDE_IO_URING:
		return limit_io_uring(bench->image_fd, IMAGE_SIZE, load, seed, bench->settings.seconds,
				      bench->settings.server_cpu);
	default:
		who = bench->peer[side - SIDE_PEER].engine->name;
		rate = load_run(&bench->peer[side - SIDE_PEER].disk, load, seed, bench->settings.seconds);
		break;
	}
	if (rate < 0)
		bench_fail("a request to %s: %s", who, strerror((int)-rate));
	return rate;
}

static void bench_row_fill(struct bench *bench, const char *name, const struct load *load,
			   double sample[SIDES_MAX][REPORT_ROUNDS_MAX])
{
	bool small = load->block == 4096;
	double scale = small ? 1 : load->block / 1e6;
	struct report_row *row =
		report_row_init(&bench->row[bench->nrows++], name, small ? "IOPS" : "MB/s", bench->settings.rounds);
	unsigned int limit = load->depth > 1 ? SIDE_IO_URING : SIDE_PREADV;
	double sorted[SIDES_MAX][REPORT_ROUNDS_MAX];
	double median[SIDES_MAX];
	unsigned int best = SIDE_PEER;
	unsigned int side;

	memcpy(sorted, sample, sizeof(sorted));
	for (side = 0; side < SIDE_PEER + bench->npeers; side++) {
		median[side] = report_median(sorted[side], bench->settings.rounds) * scale;
		if (side > SIDE_PEER && median[side] > median[best])
			best = side;
	}
	row->ours = median[SIDE_OURS];
	row->peer = median[best];
	row->peer_engine = bench->peer[best - SIDE_PEER].engine->name;
	row->limit_preadv = median[SIDE_PREADV];
	row->limit_io_uring = median[SIDE_IO_URING];
	row->limit = median[limit];
	row->ours_over_peer = report_ratio(sample[SIDE_OURS], sample[best], bench->settings.rounds);
	row->ours_over_limit = report_ratio(sample[SIDE_OURS], sample[limit], bench->settings.rounds);
}

static void bench_progress(const struct bench *bench, unsigned int round)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\rround %u of %u%s", round, bench->settings.rounds,
			round == bench->settings.rounds ? "\n" : "");
}

static long bench_preemptions(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

static int bench_loads(struct bench *bench)
{
	static double sample[BENCH_LOADS][SIDES_MAX][REPORT_ROUNDS_MAX];
	unsigned int sides = SIDE_PEER + bench->npeers;
	unsigned int round;
	unsigned int load;
	unsigned int i;
	uint64_t begin = load_now_ns();
	long preemptions = bench_preemptions();

	for (round = 0; round < bench->settings.rounds; round++) {
		for (load = 0; load < BENCH_LOADS; load++) {
			/* Another side begins in each round, and all sides go to the same places in a round. */
			for (i = 0; i < sides; i++) {
				unsigned int side = (round + i) % sides;
				double rate = bench_measure(bench, side, &bench_load[load].load, round);

				if (rate < 0)
					return -1;
				sample[load][side][round] = rate;
			}
		}
		bench_progress(bench, round + 1);
	}
	bench->preempted = (double)(bench_preemptions() - preemptions) * 1e9 / (double)(load_now_ns() - begin);
	for (load = 0; load < BENCH_LOADS; load++)
		bench_row_fill(bench, bench_load[load].name, &bench_load[load].load, sample[load]);
	return 0;
}

/* Milliseconds from the SIGKILL of the backend until a request is done that was made right after it, or -1. */
static double bench_kill(struct bench *bench)
{
	struct disk *disk = &bench->ours.disk;
	pid_t pid = ours_backend(&bench->ours);
	uint64_t offset = test_random_below(IMAGE_SIZE / 4096) * 4096;
	uint64_t begin = load_now_ns();
	int err;

	if (pid < 0 || kill(pid, SIGKILL) < 0)
		return bench_fail("killing the backend: %m");
	err = load_verify(disk, offset, bench->expected + offset, 4096);
	if (err)
		return bench_fail("the request after a SIGKILL of the backend: %s", strerror(-err));
	return (double)(load_now_ns() - begin) / 1e6;
}

/* The longest time between the ends of two requests, one after the other, while --restart is at work, in ms, or -1. */
static double bench_restart(struct bench *bench)
{
	struct disk *disk = &bench->ours.disk;
	uint64_t last = load_now_ns();
	uint64_t longest = 0;
	pid_t pid = ours_restart(&bench->ours);
	pid_t done = 0;
	int status;

	while (pid > 0 && done == 0) {
		uint64_t offset = test_random_below(IMAGE_SIZE / 4096) * 4096;
		int err;
		uint64_t now;

		done = waitpid(pid, &status, WNOHANG);
		err = load_verify(disk, offset, bench->expected + offset, 4096);
		if (err)
			return bench_fail("a request during --restart: %s", strerror(-err));
		now = load_now_ns();
		if (now - last > longest)
			longest = now - last;
		last = now;
	}
	if (pid < 0 || status != 0)
		return bench_fail("hvisor-launch --restart failed");
	return (double)longest / 1e6;
}

static int bench_restarts(struct bench *bench)
{
	double sample[REPORT_ROUNDS_MAX];
	struct report_row *row;
	unsigned int i;

	for (i = 0; i < bench->settings.restarts; i++) {
		sample[i] = bench_kill(bench);
		if (sample[i] < 0)
			return -1;
	}
	row = report_row_init(&bench->row[bench->nrows++], "sigkill-to-next-request", "ms", bench->settings.restarts);
	row->ours = report_median(sample, bench->settings.restarts);
	for (i = 0; i < bench->settings.restarts; i++) {
		sample[i] = bench_restart(bench);
		if (sample[i] < 0)
			return -1;
	}
	row = report_row_init(&bench->row[bench->nrows++], "restart-longest-pause", "ms", bench->settings.restarts);
	row->ours = report_median(sample, bench->settings.restarts);
	return 0;
}

static void bench_conditions(const struct bench *bench)
{
	struct utsname name;

	uname(&name);
	printf("Linux %s, medians of %u rounds of %g s each, over %s of %llu MiB.\n", name.release,
	       bench->settings.rounds, bench->settings.seconds, bench->image, IMAGE_SIZE >> 20);
	printf("CPU %d: the driver, which polls. CPU %d: what serves it (hvisor-blk, or qemu-storage-daemon with all\n",
	       bench->settings.driver_cpu, bench->settings.server_cpu);
	printf("its threads), or a limit loop over the same file. The limit: preadv at depth 1, io_uring at depth "
	       "32.\n");
	printf("Others took the driver's CPU %.0f times a second: on a quiet machine that is next to never.\n\n",
	       bench->preempted);
}

static int bench_run(struct bench *bench, const char *folder)
{
	if (bench_make_image(bench, folder) < 0 || bench_start(bench, folder) < 0)
		return -1;
	if (bench_verify_all(bench, 4096) < 0 || bench_rest(bench) < 0)
		return -1;
	if (bench_verify_all(bench, DISK_BLOCK_MAX) < 0 || bench_loads(bench) < 0)
		return -1;
	return bench_restarts(bench);
}

int main(int argc, char **argv)
{
	static struct bench bench;
	unsigned int i;
	int result;
	int err;

	if (argc != 3) {
		fprintf(stderr, "usage: bench_blk FOLDER JSON\n");
		return 2;
	}
	if (bench_settings_init(&bench.settings) < 0)
		return 2;
	result = bench_run(&bench, argv[1]);
	if (result < 0 && bench.ours.sim_on)
		ours_show_log(&bench.ours);
	if (bench.ours.sim_on)
		ours_stop(&bench.ours);
	for (i = 0; i < bench.npeers; i++)
		peer_stop(&bench.peer[i]);
	if (result < 0)
		return 1;
	bench_conditions(&bench);
	report_table(stdout, bench.row, bench.nrows);
	err = report_json(argv[2], bench.row, bench.nrows);
	if (err) {
		bench_fail("%s: %s", argv[2], strerror(-err));
		return 1;
	}
	return 0;
}
