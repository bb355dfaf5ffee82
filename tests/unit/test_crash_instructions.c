/* SPDX-License-Identifier: MIT */
/* A crash at any machine instruction: the worker is stepped with ptrace, and killed at a random one. */
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/unit/crash.h"

/* A step is two switches between the processes; on one CPU they are several times cheaper. */
static void stay_on_one_cpu(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void worker_main(const struct crash *c)
{
	static struct crash_worker w;

	crash_worker_init(&w, c);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(2);
	raise(SIGSTOP);
	_exit(crash_work(&w) ? 0 : 3);
}

/* Lets a worker change the memory so many times, then do some more instructions; returns how many in all. */
static uint64_t crash_run(struct crash *c, uint64_t changes, uint64_t more)
{
	uint64_t end = c->states + changes;
	uint64_t total = 0;
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0)
		worker_main(c);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	for (; c->states < end || more-- > 0; total++) {
		if (!WIFSTOPPED(status))
			TEST_FAIL("the worker ended with wait status 0x%x", status);
		CHECK_INT(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		CHECK_INT(waitpid(pid, &status, 0), pid);
		crash_check(c);
	}
	kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	return total;
}

static void test_crash_at_any_instruction(void)
{
	uint64_t total = 0;
	struct crash c;
	int generation;

	stay_on_one_cpu();
	crash_init(&c);
	for (generation = 0; generation < 18; generation++) {
		if (generation % 6 == 0)
			crash_new_epoch(&c, (uint16_t)(65536 - test_random_below(16)));
		test_random();
		total += crash_run(&c, 1 + test_random_below(120), test_random_below(60));
	}
	crash_print(&c, "instructions", total);
	CHECK(c.states > 500);
	CHECK(c.resubmitted > 500);
	CHECK(c.used > 40);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"crash_at_any_instruction", test_crash_at_any_instruction, 180},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
