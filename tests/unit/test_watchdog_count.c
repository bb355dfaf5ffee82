/* SPDX-License-Identifier: MIT */
/* What the watchdog makes of what it sees: for how many looks a backend has stood still. */
#include "launcher/watchdog.h"
#include "tests/test.h"

#define MS 1000000ull

/* A backend that was well at its last look, and had run for 5 ms by then. */
static struct watchdog begin(void)
{
	return (struct watchdog){.heartbeat = 7, .ran_ns = 5 * MS};
}

static uint32_t look(struct watchdog *watchdog, char state, uint64_t heartbeat, bool sleeping, uint64_t ran_ns)
{
	struct watchdog_look look = {.state = state, .heartbeat = heartbeat, .sleeping = sleeping, .ran_ns = ran_ns};

	watchdog_count(watchdog, &look);
	return watchdog->still_s;
}

static void test_well(void)
{
	static const struct {
		const char *what;
		char state;
		uint64_t heartbeat;
		bool sleeping;
	} well[] = {
		{"serves", 'R', 8, false},
		{"serves, and waits for the disk", 'D', 8, false},
		{"serves, seen while it waits", 'S', 8, false},
		{"rests", 'S', 7, true},
		{"is traced, but goes on", 't', 8, false},
		{"has ended", 'Z', 7, false},
		{"is gone", 0, 7, false},
	};
	struct watchdog watchdog;
	size_t i;

	for (i = 0; i < sizeof(well) / sizeof(well[0]); i++) {
		watchdog = begin();
		watchdog.still_s = 3;
		if (look(&watchdog, well[i].state, well[i].heartbeat, well[i].sleeping, 6 * MS) != 0)
			TEST_FAIL("what %s stands still", well[i].what);
		CHECK_INT(watchdog.heartbeat, well[i].heartbeat);
	}
}

static void test_still(void)
{
	static const struct {
		const char *what;
		char state;
		bool sleeping;
	} still[] = {
		{"is stopped", 'T', false},
		{"is stopped at rest", 'T', true},
		{"is traced at rest", 't', true},
		{"waits for a disk", 'D', false},
		{"waits for something else", 'S', false},
		{"runs and says that it sleeps", 'R', true},
		{"runs", 'R', false},
	};
	struct watchdog watchdog;
	size_t i;

	for (i = 0; i < sizeof(still) / sizeof(still[0]); i++) {
		watchdog = begin();
		if (look(&watchdog, still[i].state, 7, still[i].sleeping, 6 * MS) != 1 ||
		    look(&watchdog, still[i].state, 7, still[i].sleeping, 7 * MS) != 2)
			TEST_FAIL("what %s does not stand still", still[i].what);
	}
	/* What moved just before it was stopped. */
	watchdog = begin();
	CHECK_INT(look(&watchdog, 'T', 8, false, 6 * MS), 1);
}

/* Nobody would get more of the processor than it does. */
static void test_starved(void)
{
	struct watchdog watchdog = begin();

	CHECK_INT(look(&watchdog, 'R', 7, false, 5 * MS), 0);
	CHECK_INT(look(&watchdog, 'R', 7, true, 6 * MS - 1), 0);
	/* What stands still for another reason goes on to do so, neither more nor less. */
	CHECK_INT(look(&watchdog, 'D', 7, false, 6 * MS - 1), 1);
	CHECK_INT(look(&watchdog, 'R', 7, false, 6 * MS - 1), 1);
	CHECK_INT(look(&watchdog, 'R', 8, false, 6 * MS - 1), 0);
}

/* A spinner that gets a processor now and then is found in the end. */
static void test_little(void)
{
	struct watchdog watchdog = begin();
	uint64_t ran_ns = 5 * MS;
	int n;

	for (n = 1; n <= 100; n++) {
		ran_ns += MS / 4;
		CHECK_INT(look(&watchdog, 'R', 7, false, ran_ns), n / 4);
	}
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"watchdog_count_well", test_well, 10},
		{"watchdog_count_still", test_still, 10},
		{"watchdog_count_starved", test_starved, 10},
		{"watchdog_count_little_processor", test_little, 10},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
