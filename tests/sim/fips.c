/* SPDX-License-Identifier: MIT */
#include "tests/sim/fips.h"

#include <stddef.h>

#define FIPS_BITS (FIPS_BLOCK * 8u)
#define FIPS_RUNS 6u /* lengths that are counted apart, the last one with all above it */
#define FIPS_LONG_RUN 26u

static unsigned int bit_of(const uint8_t *block, uint32_t n)
{
	return block[n / 8] >> (n % 8) & 1u;
}

static int monobit_passes(const uint8_t *block)
{
	uint32_t ones = 0;
	uint32_t n;

	for (n = 0; n < FIPS_BITS; n++)
		ones += bit_of(block, n);
	return ones > 9725 && ones < 10275;
}

static int poker_passes(const uint8_t *block)
{
	uint32_t seen[16] = {0};
	double squares = 0;
	double x;
	uint32_t n;

	for (n = 0; n < FIPS_BLOCK; n++) {
		seen[block[n] & 15]++;
		seen[block[n] >> 4]++;
	}
	for (n = 0; n < 16; n++)
		squares += (double)seen[n] * seen[n];
	x = squares * 16 / (2 * FIPS_BLOCK) - 2 * FIPS_BLOCK;
	return x > 2.16 && x < 46.17;
}

/* How many runs there are of each length, by their bit; returns the longest. */
static uint32_t runs_count(const uint8_t *block, uint32_t runs[2][FIPS_RUNS])
{
	uint32_t longest = 0;
	uint32_t length = 1;
	uint32_t n;

	for (n = 1; n <= FIPS_BITS; n++) {
		if (n < FIPS_BITS && bit_of(block, n) == bit_of(block, n - 1)) {
			length++;
			continue;
		}
		runs[bit_of(block, n - 1)][(length < FIPS_RUNS ? length : FIPS_RUNS) - 1]++;
		if (length > longest)
			longest = length;
		length = 1;
	}
	return longest;
}

static int runs_pass(uint32_t runs[2][FIPS_RUNS])
{
	static const uint32_t least[FIPS_RUNS] = {2315, 1114, 527, 240, 103, 103};
	static const uint32_t most[FIPS_RUNS] = {2685, 1386, 723, 384, 209, 209};
	uint32_t bit, i;

	for (bit = 0; bit < 2; bit++) {
		for (i = 0; i < FIPS_RUNS; i++) {
			if (runs[bit][i] < least[i] || runs[bit][i] > most[i])
				return 0;
		}
	}
	return 1;
}

const char *fips_test(const uint8_t block[FIPS_BLOCK])
{
	uint32_t runs[2][FIPS_RUNS] = {{0}};
	uint32_t longest = runs_count(block, runs);

	if (!monobit_passes(block))
		return "monobit";
	if (!poker_passes(block))
		return "poker";
	if (!runs_pass(runs))
		return "runs";
	return longest < FIPS_LONG_RUN ? NULL : "long run";
}
