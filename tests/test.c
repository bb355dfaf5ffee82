/* SPDX-License-Identifier: MIT */
#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEST_LIMIT_S 60
#define TEST_ORPHANS_MS 1000

static uint64_t test_seed;
static uint64_t test_state;

uint64_t test_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* splitmix64 */
uint64_t test_random_of(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t test_random(void)
{
	return test_random_of(&test_state);
}

uint64_t test_random_below(uint64_t n)
{
	return n == 0 ? 0 : test_random() % n;
}

int test_wait(int (*done)(void *arg), void *arg, unsigned int limit_ms)
{
	uint64_t end = test_now_ns() + limit_ms * 1000000ull;
	int result;

	while ((result = done(arg)) == 0 && test_now_ns() < end)
		poll(NULL, 0, 1);
	return result;
}

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (TEST_SEED=%llu)\n", (unsigned long long)test_seed);
	exit(1);
}

void test_int_is(const char *file, int line, const char *what, long long got, long long want)
{
	if (got != want)
		test_fail(file, line, "%s is %lld (0x%llx), not %lld (0x%llx)", what, got, (unsigned long long)got,
			  want, (unsigned long long)want);
}

void test_str_is(const char *file, int line, const char *what, const char *got, const char *want)
{
	if (!got || strcmp(got, want) != 0)
		test_fail(file, line, "%s is \"%s\", not \"%s\"", what, got ? got : "(null)", want);
}

void test_str_has(const char *file, int line, const char *what, const char *got, const char *part)
{
	if (!got || !strstr(got, part))
		test_fail(file, line, "%s has no \"%s\" in it:\n%s", what, part, got ? got : "(null)");
}

void test_mem_is(const char *file, int line, const char *what, const void *got, const void *want, size_t len)
{
	const unsigned char *a = got;
	const unsigned char *b = want;
	size_t i;

	for (i = 0; i < len; i++) {
		if (a[i] != b[i])
			test_fail(file, line, "%s: byte %zu of %zu is 0x%02x, not 0x%02x", what, i, len, a[i], b[i]);
	}
}

/* Orphans of the test have become our children. Those that have ended are let go, or a long test leaves thousands. */
static void test_reap_orphans(pid_t test)
{
	siginfo_t info = {0};

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 && info.si_pid != test) {
		waitpid(info.si_pid, NULL, 0);
		info.si_pid = 0;
	}
}

/* Waits for the child at most limit_s; -1 when it had to be killed, else its wait status. */
static int test_reap(pid_t pid, unsigned int limit_s)
{
	struct pollfd pfd = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	uint64_t end = test_now_ns() + limit_s * 1000000000ull;
	int status = -1;
	int ready;

	do {
		test_reap_orphans(pid);
		ready = poll(&pfd, 1, TEST_ORPHANS_MS);
	} while (ready != 1 && test_now_ns() < end);
	close(pfd.fd);
	kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	return ready == 1 ? status : -1;
}

/* The parent of a process, 0 if it is gone. */
static pid_t test_parent(pid_t pid)
{
	char text[512] = "";
	const char *end;
	int parent = 0;
	FILE *file;

	snprintf(text, sizeof(text), "/proc/%d/stat", pid);
	file = fopen(text, "re");
	if (!file)
		return 0;
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	/* "pid (name) state parent ...", where the name may have any byte in it */
	end = strrchr(text, ')');
	if (end)
		sscanf(end, ") %*c %d", &parent);
	return parent;
}

/* Kills the children that we have; false if there was none. */
static int test_kill_children(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	int found = 0;
	pid_t pid;

	while (dir && (entry = readdir(dir))) {
		pid = atoi(entry->d_name);
		if (pid > 0 && test_parent(pid) == getpid()) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			found = 1;
		}
	}
	if (dir)
		closedir(dir);
	return found;
}

static int test_run(const struct test *test)
{
	unsigned int limit_s = test->limit_s ? test->limit_s : TEST_LIMIT_S;
	uint64_t begin = test_now_ns();
	double seconds;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		printf("not ok %s: fork: %s\n", test->name, strerror(errno));
		return 1;
	}
	if (pid == 0) {
		setpgid(0, 0);
		test->run();
		exit(0);
	}
	setpgid(pid, pid);
	status = test_reap(pid, limit_s);
	/* A backend has a session of its own; orphans of the test have become our children, and theirs will. */
	while (test_kill_children())
		;
	seconds = (double)(test_now_ns() - begin) / 1e9;
	if (status == 0)
		printf("ok %s (%.2f s)\n", test->name, seconds);
	else if (status == -1)
		printf("not ok %s: not done in %u s\n", test->name, limit_s);
	else if (WIFSIGNALED(status))
		printf("not ok %s: signal %d (%s)\n", test->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		printf("not ok %s: exit code %d\n", test->name, WEXITSTATUS(status));
	fflush(stdout);
	return status != 0;
}

static int test_wanted(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (strstr(name, argv[i]))
			return 1;
	}
	return argc < 2;
}

int test_main(int argc, char **argv, const struct test *test, size_t n)
{
	const char *seed = getenv("TEST_SEED");
	int failed = 0;
	size_t i;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	test_seed = seed ? strtoull(seed, NULL, 0) : test_now_ns();
	for (i = 0; i < n; i++) {
		test_state = test_seed;
		if (test_wanted(test[i].name, argc, argv))
			failed |= test_run(&test[i]);
	}
	return failed;
}
