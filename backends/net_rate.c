/* SPDX-License-Identifier: MIT */
#include "net.h"

#define SECOND_NS 1000000000u

void net_bucket_init(struct net_bucket *bucket, uint64_t rate, uint64_t now_ns)
{
	uint64_t burst = rate / 10;

	*bucket = (struct net_bucket){.rate = rate, .at_ns = now_ns};
	bucket->burst = (int64_t)(burst < NET_BURST_MIN ? NET_BURST_MIN : burst);
	bucket->tokens = bucket->burst;
}

/* Adds what the time since the last look is worth. The rest of a division is kept as time. */
static void bucket_fill(struct net_bucket *bucket, uint64_t now_ns)
{
	uint64_t elapsed = now_ns > bucket->at_ns ? now_ns - bucket->at_ns : 0;
	unsigned __int128 bytes = (unsigned __int128)elapsed * bucket->rate / SECOND_NS;

	if (bytes > (uint64_t)(bucket->burst - bucket->tokens)) {
		bucket->tokens = bucket->burst;
		bucket->at_ns = now_ns;
		return;
	}
	bucket->tokens += (int64_t)bytes;
	bucket->at_ns += (uint64_t)(bytes * SECOND_NS / bucket->rate);
}

/*
 * A frame passes while anything is left, whatever its length. Once nothing is, it waits for an eighth of the burst, so
 * that a limit costs a few dozen wakeups a second and not one for each frame.
 */
bool net_bucket_passes(struct net_bucket *bucket, uint64_t now_ns)
{
	uint64_t missing;

	if (bucket->rate == 0)
		return true;
	if (now_ns < bucket->until_ns)
		return false;
	bucket->until_ns = 0;
	bucket_fill(bucket, now_ns);
	if (bucket->tokens > 0)
		return true;
	missing = (uint64_t)(bucket->burst / 8 - bucket->tokens);
	bucket->until_ns = now_ns + (uint64_t)((unsigned __int128)missing * SECOND_NS / bucket->rate) + 1;
	return false;
}

void net_bucket_take(struct net_bucket *bucket, uint64_t bytes)
{
	if (bucket->rate)
		bucket->tokens -= (int64_t)bytes;
}
