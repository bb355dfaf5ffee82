/* SPDX-License-Identifier: MIT */
#include "common/rate.h"

#define SECOND_NS 1000000000u
#define WAIT_MAX_NS 20000000u /* beyond the time at which nothing is owed any more */

/* Rounded up, so that the limit is never exceeded. */
static uint64_t time_of(const struct rate *rate, uint64_t bytes)
{
	return (uint64_t)(((unsigned __int128)bytes * SECOND_NS + rate->per_s - 1) / rate->per_s);
}

void rate_init(struct rate *rate, uint64_t per_s, uint64_t burst, uint64_t now_ns)
{
	*rate = (struct rate){.per_s = per_s, .taken_ns = now_ns};
	if (per_s)
		rate->saved_max_ns = time_of(rate, burst);
}

/* What was saved up beyond the bound has lapsed. */
static void lapse(struct rate *rate, uint64_t now_ns)
{
	if (now_ns > rate->taken_ns && now_ns - rate->taken_ns > rate->saved_max_ns)
		rate->taken_ns = now_ns - rate->saved_max_ns;
}

uint64_t rate_take(struct rate *rate, uint64_t bytes, uint64_t now_ns)
{
	uint64_t until_ns;

	if (rate->per_s == 0)
		return 0;
	lapse(rate, now_ns);
	until_ns = rate->taken_ns + time_of(rate, bytes);
	if (until_ns > now_ns)
		return until_ns;
	rate->taken_ns = until_ns;
	return 0;
}

uint64_t rate_ready(struct rate *rate, uint64_t now_ns)
{
	uint64_t wait_ns;

	if (rate->per_s == 0)
		return 0;
	lapse(rate, now_ns);
	if (rate->taken_ns < now_ns)
		return 0;
	wait_ns = rate->saved_max_ns / 8 < WAIT_MAX_NS ? rate->saved_max_ns / 8 : WAIT_MAX_NS;
	return rate->taken_ns + wait_ns + 1;
}

void rate_owe(struct rate *rate, uint64_t bytes)
{
	if (rate->per_s)
		rate->taken_ns += time_of(rate, bytes);
}
