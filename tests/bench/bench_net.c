/* SPDX-License-Identifier: MIT */
/*
 * hvisor-net against a loop of readv() or writev() over a tap of the same kind, in a network namespace of its own. Both
 * are measured in every round, one after the other; what is reported is the medians of the rounds, and of their ratios.
 *
 * The driver, which polls, has a CPU to itself, and sends the frames that come in on the tap; the backend, and in its
 * turn the loop, has another. Nobody is behind the tap: the host drops what it is given.
 *
 * usage: bench_net JSON
 * Environment: ROUNDS, BENCH_SECONDS (of one measurement), BENCH_SMOKE=1 (run everything, for the shortest time)
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"
#include "load.h"
#include "net_load.h"
#include "process.h"
#include "report.h"
#include "settings.h"
#include "tap.h"
#include "tests/sim/net_rig.h"

#define LIMIT_TAP "tap1"

struct bench {
	struct bench_settings settings;
	struct net_rig rig;
	struct guest_net net;
	int sender; /* to the backend's tap */
	int limit; /* the other tap, ... */
	int limit_sender; /* ... and who sends to it */
	struct report_row row[16];
	unsigned int nrows;
};

static const struct {
	const char *name;
	bool tx; /* the guest sends */
	uint32_t len;
	bool bytes; /* count them, not frames */
} bench_load[] = {
	{"net-tx-64", true, 64, false},        {"net-rx-64", false, 64, false},
	{"net-tx-1514", true, 1514, false},    {"net-rx-1514", false, 1514, false},
	{"net-tx-tso-60k", true, 60000, true}, {"net-rx-tso-60k", false, 60000, true},
};
#define BENCH_LOADS (sizeof(bench_load) / sizeof(bench_load[0]))

static int bench_start(struct bench *bench)
{
	static const struct guest_net_options options = {.rx_buffers = 256, .polled = true};

	cpu_pin(0, bench->settings.server_cpu);
	net_rig_init(&bench->rig, 1);
	net_rig_start(&bench->rig);
	cpu_pin(bench->rig.backend.pid, bench->settings.server_cpu);
	cpu_pin(0, bench->settings.driver_cpu);
	net_rig_open(&bench->rig, &bench->net, &options);
	/* Frames of the guest's are for nobody: no socket has to take copies of them. */
	close(bench->rig.host);
	bench->rig.host = -1;
	bench->sender = tap_sender_open("tap0");
	bench->limit = tap_make(LIMIT_TAP);
	bench->limit_sender = bench->limit < 0 ? -1 : tap_sender_open(LIMIT_TAP);
	return bench->sender < 0 || bench->limit_sender < 0 ? -1 : 0;
}

/* Keeps the transmit queue full of the frame. Frames a second, or -1. */
static double ours_tx(struct bench *bench, const struct tap_frame *frame)
{
	uint64_t begin = load_now_ns();
	uint64_t end = begin + (uint64_t)(bench->settings.seconds * 1e9);
	uint64_t now;
	uint64_t done = 0;

	net_load_tx_begin(&bench->net, frame);
	for (now = begin; now < end; now = load_now_ns())
		done += net_load_tx(&bench->net, frame->len);
	if (net_load_tx_end(&bench->net) < 0)
		return bench_fail("frames of the guest's are not taken");
	return (double)done / ((double)(now - begin) / 1e9);
}

static double ours_rx(struct bench *bench, const struct tap_frame *frame)
{
	uint64_t begin = load_now_ns();
	uint64_t end = begin + (uint64_t)(bench->settings.seconds * 1e9);
	uint64_t now;
	uint64_t done = 0;

	for (now = begin; now < end; now = load_now_ns()) {
		tap_send(bench->sender, frame);
		done += net_load_rx(&bench->net);
	}
	net_load_rx_end(&bench->net);
	if (done == 0)
		return bench_fail("no frame comes to the guest");
	return (double)done / ((double)(now - begin) / 1e9);
}

static double bench_measure(struct bench *bench, bool ours, bool tx, const struct tap_frame *frame)
{
	if (ours)
		return tx ? ours_tx(bench, frame) : ours_rx(bench, frame);
	return tx ? tap_write_loop(bench->limit, frame, bench->settings.seconds, bench->settings.server_cpu)
		  : tap_read_loop(bench->limit, bench->limit_sender, frame, bench->settings.seconds,
				  bench->settings.server_cpu);
}

static int bench_loads(struct bench *bench)
{
	static double sample[BENCH_LOADS][2][REPORT_ROUNDS_MAX];
	static struct tap_frame frame;
	struct report_row *row;
	unsigned int round, i;
	size_t load;
	double rate;

	for (round = 0; round < bench->settings.rounds; round++) {
		for (load = 0; load < BENCH_LOADS; load++) {
			bool tx = bench_load[load].tx;

			tap_frame_make(&frame, bench_load[load].len, tx ? net_rig_host_mac : net_rig_mac,
				       tx ? net_rig_mac : net_rig_host_mac);
			/* The other side begins in each round. */
			for (i = 0; i < 2; i++) {
				unsigned int side = (round + i) % 2;

				rate = bench_measure(bench, side == 0, tx, &frame);
				if (rate < 0)
					return -1;
				sample[load][side][round] =
					bench_load[load].bytes ? rate * bench_load[load].len / 1e6 : rate;
			}
		}
	}
	for (load = 0; load < BENCH_LOADS; load++) {
		row = report_row_init(&bench->row[bench->nrows++], bench_load[load].name,
				      bench_load[load].bytes ? "MB/s" : "pps", bench->settings.rounds);
		row->ours_over_limit = report_ratio(sample[load][0], sample[load][1], bench->settings.rounds);
		row->ours = report_median(sample[load][0], bench->settings.rounds);
		row->limit = report_median(sample[load][1], bench->settings.rounds);
		row->limit_preadv = row->limit;
	}
	return 0;
}

static int bench_rest(struct bench *bench)
{
	struct report_row *wakeups = report_row_init(&bench->row[bench->nrows++], "net-wakeups-at-rest", "count", 1);
	struct report_row *pss = report_row_init(&bench->row[bench->nrows++], "net-pss-at-rest", "KiB", 1);
	struct process_switches before, now;
	pid_t pid = bench->rig.backend.pid;

	net_rig_await_asleep(&bench->rig);
	if (process_switches(pid, &before) < 0)
		return bench_fail("nothing to see of the backend in /proc");
	poll(NULL, 0, (int)(bench->settings.rest_seconds * 1000));
	pss->ours = process_pss_kib(pid);
	if (process_switches(pid, &now) < 0 || pss->ours < 0)
		return bench_fail("nothing to see of the backend in /proc");
	wakeups->ours = process_switches_since(&now, &before);
	return 0;
}

int main(int argc, char **argv)
{
	static struct bench bench;
	int here = open(".", O_PATH | O_CLOEXEC);
	int err;

	if (argc != 2) {
		fprintf(stderr, "usage: bench_net JSON\n");
		return 2;
	}
	if (bench_settings_init(&bench.settings) < 0)
		return 2;
	if (bench_start(&bench) < 0 || bench_rest(&bench) < 0 || bench_loads(&bench) < 0)
		return 1;
	guest_net_close(&bench.net);
	net_rig_finish(&bench.rig);
	printf("\nFrames through a tap, medians of %u rounds of %g s each. CPU %d: the driver, which polls and sends "
	       "what\n"
	       "comes in. CPU %d: hvisor-net, or a loop of readv() or writev(), which is the limit.\n\n",
	       bench.settings.rounds, bench.settings.seconds, bench.settings.driver_cpu, bench.settings.server_cpu);
	report_table(stdout, bench.row, bench.nrows);
	/* The rig works in a folder of its own. */
	err = fchdir(here) < 0 ? -errno : report_json(argv[1], bench.row, bench.nrows);
	if (err)
		fprintf(stderr, "bench: %s: %s\n", argv[1], strerror(-err));
	return err != 0;
}
