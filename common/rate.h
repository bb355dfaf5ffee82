/* SPDX-License-Identifier: MIT */
/*
 * A limit of bytes a second (a token bucket), counted as time: each byte takes its share of a second. Time that is not
 * used is saved up to a bound, and so is what may pass at once.
 */
#ifndef HVISOR_RATE_H
#define HVISOR_RATE_H

#include <stdint.h>

struct rate {
	uint64_t per_s; /* bytes a second; 0: no limit */
	uint64_t saved_max_ns;
	uint64_t taken_ns; /* the time up to which all is used or lapsed */
};

/*
 * A limit of per_s bytes a second (0: none), of which burst bytes can be saved up. At now_ns nothing is saved yet, so
 * that a process which is started again and again lets no more pass than one that goes on.
 */
void rate_init(struct rate *rate, uint64_t per_s, uint64_t burst, uint64_t now_ns);

/*
 * Takes bytes, which are not more than the burst: 0 if they may pass at now_ns; otherwise nothing is taken, and this is
 * the time at which they may.
 */
uint64_t rate_take(struct rate *rate, uint64_t bytes, uint64_t now_ns);

/*
 * For what shows its length only when it has passed: 0 if anything may pass at now_ns; otherwise the time at which
 * an eighth of the burst may, or as much as 20 ms are worth, so that it is not waited for byte by byte. rate_owe()
 * takes what has passed, however much; what was more than there was is owed by what comes later.
 */
uint64_t rate_ready(struct rate *rate, uint64_t now_ns);
void rate_owe(struct rate *rate, uint64_t bytes);

#endif
