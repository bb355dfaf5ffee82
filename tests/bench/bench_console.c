/* SPDX-License-Identifier: MIT */
/*
 * hvisor-console against a process that does nothing but write() to, or read() from, an endpoint of the same kind: a
 * pseudoterminal or a Unix socket. Both are measured in every round, one after the other; what is reported is the
 * medians of the rounds, and of their ratios.
 *
 * The driver, which polls, has a CPU to itself, and is the program at the other end too; the backend, and in its turn
 * the limit's process, has another.
 *
 * usage: bench_console JSON
 * Environment: ROUNDS, BENCH_SECONDS (of one measurement), BENCH_SMOKE=1 (run everything, for the shortest time)
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "cpu.h"
#include "load.h"
#include "process.h"
#include "report.h"
#include "settings.h"
#include "tests/sim/console_rig.h"
#include "tests/test.h"

#define PIECE GUEST_CONSOLE_BUFFER /* bytes of a chain, and of a call of the limit's */
#define DRAIN_NS 5000000000ull

enum kind {
	PTY,
	SOCKET,
	KINDS,
};

struct bench {
	struct bench_settings settings;
	struct console_rig rig; /* a port of each kind */
	int end[KINDS]; /* their other ends */
	int limit[KINDS][2]; /* an endpoint of each kind and its other end */
	struct report_row row[16];
	unsigned int nrows;
};

static const struct {
	const char *name;
	enum kind kind;
	bool out; /* the guest sends */
} bench_load[] = {
	{"console-pty-out", PTY, true},
	{"console-pty-in", PTY, false},
	{"console-socket-out", SOCKET, true},
	{"console-socket-in", SOCKET, false},
};
#define BENCH_LOADS (sizeof(bench_load) / sizeof(bench_load[0]))

static uint8_t piece[PIECE];
static uint8_t taken[1u << 16];

static int is_open(void *arg)
{
	struct guest_console *guest = arg;

	guest_console_control(guest, false);
	return guest->port[SOCKET].added && guest->port[SOCKET].host_open;
}

static int bench_start(struct bench *bench)
{
	struct termios raw;
	uint32_t kind;

	cpu_pin(0, bench->settings.server_cpu);
	console_rig_init(&bench->rig, ", \"ports\": [{}, {\"backend\": \"socket\"}]", PIECE, true);
	bench->end[PTY] = console_rig_open(&bench->rig, "console0");
	bench->end[SOCKET] = console_rig_open(&bench->rig, "console0.1");
	cpu_pin(0, bench->settings.driver_cpu);
	if (test_wait(is_open, &bench->rig.guest, CONSOLE_RIG_LIMIT_MS) != 1)
		return bench_fail("the driver does not come up on hvisor-console");
	if (openpty(&bench->limit[PTY][0], &bench->limit[PTY][1], NULL, NULL, NULL) < 0 ||
	    tcgetattr(bench->limit[PTY][1], &raw) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bench->limit[SOCKET]) < 0)
		return bench_fail("no endpoint for the limit");
	cfmakeraw(&raw);
	tcsetattr(bench->limit[PTY][1], TCSANOW, &raw);
	for (kind = 0; kind < KINDS; kind++)
		fcntl(bench->limit[kind][1], F_SETFL, O_NONBLOCK);
	return 0;
}

/* Bytes that come out at fd until nothing has for a while. */
static uint64_t drain(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	uint64_t bytes = 0;
	ssize_t n;

	while (poll(&pfd, 1, 20) > 0 && (n = read(fd, taken, sizeof(taken))) > 0)
		bytes += (uint64_t)n;
	return bytes;
}

/* Keeps the transmit queue full. Bytes a second, or -1. */
static double ours_out(struct bench *bench, enum kind kind)
{
	struct guest_console *guest = &bench->rig.guest;
	uint64_t begin = load_now_ns();
	uint64_t end = begin + (uint64_t)(bench->settings.seconds * 1e9);
	uint64_t done = 0;
	uint64_t now;
	ssize_t n;

	for (now = begin; now < end; now = load_now_ns()) {
		while (guest_console_send(guest, kind, piece, PIECE))
			;
		while ((n = read(bench->end[kind], taken, sizeof(taken))) > 0)
			done += (uint64_t)n;
	}
	while (!guest_console_sent(guest, kind)) {
		drain(bench->end[kind]);
		if (load_now_ns() > end + DRAIN_NS)
			return bench_fail("output of the guest's is not taken");
	}
	drain(bench->end[kind]);
	return (double)done / ((double)(now - begin) / 1e9);
}

static double ours_in(struct bench *bench, enum kind kind)
{
	struct guest_console *guest = &bench->rig.guest;
	uint64_t begin = load_now_ns();
	uint64_t end = begin + (uint64_t)(bench->settings.seconds * 1e9);
	uint64_t done = 0;
	uint64_t given = 0;
	uint64_t in_time = 0;
	uint64_t now;
	ssize_t n;

	for (now = begin; now < end || (done < given && now < end + DRAIN_NS); now = load_now_ns()) {
		n = now < end ? write(bench->end[kind], piece, PIECE) : 0;
		given += n > 0 ? (uint64_t)n : 0;
		done += guest_console_receive(guest, kind, taken);
		if (now < end)
			in_time = done;
	}
	if (done < given)
		return bench_fail("input for the guest does not come to it");
	return (double)in_time / bench->settings.seconds;
}

/* In a child, until it is killed: the other half of the limit. */
static void limit_serve(int fd, bool out) __attribute__((noreturn));

static void limit_serve(int fd, bool out)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((out ? write(fd, piece, PIECE) : read(fd, taken, PIECE)) > 0)
		;
	_exit(1);
}

static double limit_run(struct bench *bench, enum kind kind, bool out)
{
	int fd = bench->limit[kind][1];
	uint64_t done = 0;
	uint64_t begin, end, now;
	pid_t pid;
	ssize_t n;

	fflush(NULL);
	/* Born on the driver's CPU, which never rests, it would have to wait for its first turn. */
	cpu_pin(0, bench->settings.server_cpu);
	pid = fork();
	if (pid == 0)
		limit_serve(bench->limit[kind][0], out);
	cpu_pin(0, bench->settings.driver_cpu);
	if (pid < 0)
		return bench_fail("no process for the limit");
	begin = load_now_ns();
	end = begin + (uint64_t)(bench->settings.seconds * 1e9);
	for (now = begin; now < end; now = load_now_ns()) {
		n = out ? read(fd, taken, sizeof(taken)) : write(fd, piece, PIECE);
		done += n > 0 ? (uint64_t)n : 0;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	drain(out ? fd : bench->limit[kind][0]);
	return (double)done / ((double)(now - begin) / 1e9);
}

static double bench_measure(struct bench *bench, size_t load, bool ours)
{
	enum kind kind = bench_load[load].kind;

	if (!ours)
		return limit_run(bench, kind, bench_load[load].out);
	return bench_load[load].out ? ours_out(bench, kind) : ours_in(bench, kind);
}

static int bench_loads(struct bench *bench)
{
	static double sample[BENCH_LOADS][2][REPORT_ROUNDS_MAX];
	struct report_row *row;
	unsigned int round, i;
	size_t load;
	double rate;

	for (round = 0; round < bench->settings.rounds; round++) {
		for (load = 0; load < BENCH_LOADS; load++) {
			/* The other side begins in each round. */
			for (i = 0; i < 2; i++) {
				unsigned int side = (round + i) % 2;

				rate = bench_measure(bench, load, side == 0);
				if (rate < 0)
					return -1;
				sample[load][side][round] = rate / 1e6;
			}
		}
	}
	for (load = 0; load < BENCH_LOADS; load++) {
		row = report_row_init(&bench->row[bench->nrows++], bench_load[load].name, "MB/s",
				      bench->settings.rounds);
		row->ours_over_limit = report_ratio(sample[load][0], sample[load][1], bench->settings.rounds);
		row->ours = report_median(sample[load][0], bench->settings.rounds);
		row->limit = report_median(sample[load][1], bench->settings.rounds);
		row->limit_preadv = row->limit;
	}
	return 0;
}

static int bench_rest(struct bench *bench)
{
	struct report_row *wakeups =
		report_row_init(&bench->row[bench->nrows++], "console-wakeups-at-rest", "count", 1);
	struct report_row *pss = report_row_init(&bench->row[bench->nrows++], "console-pss-at-rest", "KiB", 1);
	struct process_switches before, now;
	pid_t pid = rig_pid(&bench->rig.rig, "console0");

	rig_await_rest(&bench->rig.rig, "console0");
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
		fprintf(stderr, "usage: bench_console JSON\n");
		return 2;
	}
	if (bench_settings_init(&bench.settings) < 0)
		return 2;
	if (bench_start(&bench) < 0 || bench_rest(&bench) < 0 || bench_loads(&bench) < 0)
		return 1;
	console_rig_finish(&bench.rig);
	printf("\nConsoles, medians of %u rounds of %g s each. CPU %d: the driver, which polls and is the program at "
	       "the\n"
	       "other end. CPU %d: hvisor-console, or a process that only writes or reads, which is the limit.\n\n",
	       bench.settings.rounds, bench.settings.seconds, bench.settings.driver_cpu, bench.settings.server_cpu);
	report_table(stdout, bench.row, bench.nrows);
	/* The rig works in a folder of its own. */
	err = fchdir(here) < 0 ? -errno : report_json(argv[1], bench.row, bench.nrows);
	if (err)
		fprintf(stderr, "bench: %s: %s\n", argv[1], strerror(-err));
	return err != 0;
}
