/* SPDX-License-Identifier: MIT */
/* A limit of bytes a second, on a clock of the test's own. */
#include "common/rate.h"

#include "tests/test.h"

#define SECOND_NS 1000000000ull

static const uint64_t rates[] = {1, 3, 64, 1000, 65537, 12345678, 1000000000};
#define RATES (sizeof(rates) / sizeof(rates[0]))

static void test_no_limit(void)
{
	struct rate rate;

	rate_init(&rate, 0, 64, 5);
	CHECK_INT(rate_take(&rate, UINT64_MAX, 0), 0);
	CHECK_INT(rate_take(&rate, UINT64_MAX, 0), 0);
}

static void test_begins_empty(void)
{
	struct rate rate;

	rate_init(&rate, 1000, 100, 7 * SECOND_NS);
	CHECK_INT(rate_take(&rate, 1, 7 * SECOND_NS), 7 * SECOND_NS + 1000000);
	CHECK_INT(rate_take(&rate, 100, 7 * SECOND_NS), 7 * SECOND_NS + 100000000);
	/* Nothing was taken by asking. */
	CHECK_INT(rate_take(&rate, 1, 7 * SECOND_NS + 1000000), 0);
	CHECK_INT(rate_take(&rate, 1, 7 * SECOND_NS + 1000000), 7 * SECOND_NS + 2000000);
	CHECK_INT(rate_take(&rate, 0, 7 * SECOND_NS + 1000000), 0);
}

/* What is not used is saved up to the burst, however long it is not used. */
static void test_burst(void)
{
	struct rate rate;
	uint64_t now = SECOND_NS;
	uint32_t i;

	rate_init(&rate, 1000, 100, now);
	for (i = 0; i < 3; i++) {
		now += i ? 3600 * SECOND_NS : SECOND_NS / 10;
		CHECK_INT(rate_take(&rate, 60, now), 0);
		CHECK_INT(rate_take(&rate, 40, now), 0);
		CHECK_INT(rate_take(&rate, 1, now), now + 1000000);
	}
	/* A clock that stands or goes back gives nothing. */
	CHECK(rate_take(&rate, 1, now - SECOND_NS) > now);
	CHECK(rate_take(&rate, 1, 0) > now);
}

/* Whoever always waits for as long as it is told gets just the rate, whatever it takes at once. */
static void test_sum(void)
{
	size_t i;

	for (i = 0; i < RATES; i++) {
		uint64_t burst = rates[i] / 10 > 64 ? rates[i] / 10 : 64;
		uint64_t begin = test_random_below(1000) * SECOND_NS;
		uint64_t end = begin + (burst * 50 / rates[i] + 20) * SECOND_NS;
		uint64_t now = begin;
		uint64_t sum = 0;
		struct rate rate;

		rate_init(&rate, rates[i], burst, now);
		while (now < end) {
			/* So much that the rounding of each to nanoseconds does not show. */
			uint64_t bytes = burst - test_random_below(burst / 2);
			uint64_t until = rate_take(&rate, bytes, now);

			if (until) {
				CHECK(until > now);
				now = until;
				CHECK_INT(rate_take(&rate, bytes, now), 0);
			}
			sum += bytes;
		}
		if ((double)sum > (double)rates[i] * (double)(now - begin) / 1e9 + 1 ||
		    (double)sum < (double)rates[i] * (double)(now - begin) / 1e9 * 0.99 - (double)burst)
			TEST_FAIL("%llu bytes a second: %llu in %.1f s", (unsigned long long)rates[i],
				  (unsigned long long)sum, (double)(now - begin) / 1e9);
	}
}

/* What is charged afterwards: on average the rate, however large a piece is, and not woken for each. */
static void test_owed(void)
{
	size_t i;

	for (i = 0; i < RATES; i++) {
		uint64_t burst = rates[i] / 10 > 1000 ? rates[i] / 10 : 1000;
		uint64_t begin = 5 * SECOND_NS;
		uint64_t now = begin;
		uint64_t sum = 0;
		uint32_t waits = 0;
		uint64_t until, bytes;
		struct rate rate;

		rate_init(&rate, rates[i], burst, now);
		while (waits < 1000) {
			until = rate_ready(&rate, now);
			if (until) {
				CHECK(until > now);
				now = until;
				waits++;
				CHECK_INT(rate_ready(&rate, now), 0);
				continue;
			}
			bytes = 1 + test_random_below(2 * burst);
			rate_owe(&rate, bytes);
			sum += bytes;
		}
		if ((double)sum > (double)rates[i] * (double)(now - begin) / 1e9 + 2 * (double)burst ||
		    (double)sum < (double)rates[i] * (double)(now - begin) / 1e9 * 0.99 - 2 * (double)burst)
			TEST_FAIL("%llu bytes a second: %llu in %.1f s", (unsigned long long)rates[i],
				  (unsigned long long)sum, (double)(now - begin) / 1e9);
	}
}

static void test_owed_no_limit(void)
{
	struct rate rate;

	rate_init(&rate, 0, 64, 5);
	rate_owe(&rate, UINT64_MAX);
	CHECK_INT(rate_ready(&rate, 0), 0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"rate_no_limit", test_no_limit, 0}, {"rate_begins_empty", test_begins_empty, 0},
		{"rate_burst", test_burst, 0},       {"rate_sum", test_sum, 0},
		{"rate_owed", test_owed, 0},         {"rate_owed_no_limit", test_owed_no_limit, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
