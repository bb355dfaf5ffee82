/* SPDX-License-Identifier: MIT */
/* How long and where a benchmark measures: the same for all of them. */
#ifndef HVISOR_BENCH_SETTINGS_H
#define HVISOR_BENCH_SETTINGS_H

struct bench_settings {
	unsigned int rounds; /* ROUNDS, up to REPORT_ROUNDS_MAX */
	double seconds; /* of each load in a round: BENCH_SECONDS */
	double rest_seconds;
	unsigned int restarts;
	int driver_cpu;
	int server_cpu;
};

/* By the environment; with BENCH_SMOKE all is as short as can be. 0, or -1 after a line to stderr. */
int bench_settings_init(struct bench_settings *settings);

/* A line to stderr, which a printf() of format makes; returns -1. */
int bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
