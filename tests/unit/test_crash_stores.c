/* SPDX-License-Identifier: MIT */
/*
 * A crash after any store: virtqueue.c and journal.c are compiled into this test with a step after each of their
 * stores, and the worker dies there by a jump. test_crash_instructions.c has fewer crashes of the real code.
 */
#include "common/core_os.h"

static void crash_step(void);

#undef core_store
#undef core_store_release
#define core_store(p, v) (__atomic_store_n((p), (v), __ATOMIC_RELAXED), crash_step())
#define core_store_release(p, v) (__atomic_store_n((p), (v), __ATOMIC_RELEASE), crash_step())

#include "common/journal.c"
#include "common/virtqueue.c"

#include <setjmp.h>

#include "tests/test.h"
#include "tests/unit/crash.h"

/* The stores have no argument for it. */
static struct crash crash;
static struct crash_worker worker;
static jmp_buf crash_jump;
static bool crash_armed;
static uint64_t crash_steps;
static uint64_t crash_left;

static void crash_step(void)
{
	if (!crash_armed)
		return;
	crash_armed = false;
	crash_steps++;
	crash_check(&crash);
	if (crash_left-- == 0)
		longjmp(crash_jump, 1);
	crash_armed = true;
}

static void crash_run(uint64_t steps)
{
	crash_worker_init(&worker, &crash);
	if (setjmp(crash_jump))
		return;
	crash_left = steps;
	crash_armed = true;
	CHECK(crash_work(&worker));
	crash_armed = false;
	crash_check(&crash);
}

static void test_crash_after_any_store(void)
{
	int generation;

	crash_init(&crash);
	for (generation = 0; generation < 4000; generation++) {
		if (generation % 20 == 0)
			crash_new_epoch(&crash, (uint16_t)(65536 - test_random_below(64)));
		/* Often in the middle of the take-over itself. */
		crash_run(test_random_below(4) ? test_random_below(200) : test_random_below(20));
	}
	crash_print(&crash, "stores", crash_steps);
	CHECK(crash.states > 100000);
	CHECK(crash.resubmitted > 100000);
	CHECK(crash.begun > 10000);
	CHECK(crash.used > 10000);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"crash_after_any_store", test_crash_after_any_store, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
