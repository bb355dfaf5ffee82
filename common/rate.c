/* SPDX-License-Identifier: MIT */
#include "common/rate.h"

#define SECOND_NS 1000000000u

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

uint64_t rate_take(struct rate *rate, uint64_t bytes, uint64_t now_ns)
{
	uint64_t until_ns;

	if (rate->per_s == 0)
		return 0;
	if (now_ns > rate->taken_ns && now_ns - rate->taken_ns > rate->saved_max_ns)
		rate->taken_ns = now_ns - rate->saved_max_ns;
	until_ns = rate->taken_ns + time_of(rate, bytes);
	if (until_ns > now_ns)
		return until_ns;
	rate->taken_ns = until_ns;
	return 0;
}
