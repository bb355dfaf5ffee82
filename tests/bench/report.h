/* SPDX-License-Identifier: MIT */
/* What a benchmark found, as a table for people and as JSON for what reads it. */
#ifndef HVISOR_BENCH_REPORT_H
#define HVISOR_BENCH_REPORT_H

#include <stdio.h>

#define REPORT_NONE (-1.0) /* not measured: "-" in the table, null in JSON */

struct report_row {
	char name[48];
	const char *unit;
	unsigned int rounds;
	double ours; /* medians of the rounds */
	double peer;
	double limit;
	double ours_over_peer; /* medians of the rounds' own ratios */
	double ours_over_limit;
	const char *peer_engine; /* which of the peer's ways this is, or NULL */
	double limit_preadv;
	double limit_io_uring;
};

/* A row in which nothing is measured yet. Returns row. */
struct report_row *report_row_init(struct report_row *row, const char *name, const char *unit, unsigned int rounds);

/* The middle one of n values (n > 0), of an even number the mean of the two in the middle. Sorts them. */
double report_median(double *value, unsigned int n);

/* The value that the part q (0 to below 1) of n sorted values (n > 0) is below. */
double report_quantile(const double *sorted, unsigned int n, double q);

/*
 * The median of a[i] / b[i]: rounds are compared with themselves, so what slows the machine down for some rounds does
 * not tell in the ratio. n is up to REPORT_ROUNDS_MAX; REPORT_NONE if there are no values.
 */
#define REPORT_ROUNDS_MAX 101u
double report_ratio(const double *a, const double *b, unsigned int n);

void report_table(FILE *file, const struct report_row *row, unsigned int n);

/* Adds rows to the JSON list in the file path, which is made if it is not there. 0, or -errno. */
int report_json(const char *path, const struct report_row *row, unsigned int n);

#endif
