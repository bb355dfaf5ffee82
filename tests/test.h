/* SPDX-License-Identifier: MIT */
/*
 * What a test program is made of: a table of tests, each run in a process of its own with a time limit, and checks
 * that end the test with the place and the values. Output: a line "ok NAME" or "not ok NAME" for each.
 */
#ifndef HVISOR_TEST_H
#define HVISOR_TEST_H

#include <stddef.h>
#include <stdint.h>

struct test {
	const char *name;
	void (*run)(void);
	unsigned int limit_s; /* 0: 60 s */
};

/*
 * Runs the tests, or those whose names contain one of the arguments. Returns the exit code: 0 if all passed. A test
 * that runs out of time is killed, and so is whatever any test leaves running.
 */
int test_main(int argc, char **argv, const struct test *test, size_t n);

/* Ends the test as failed. */
void test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4), noreturn));

void test_int_is(const char *file, int line, const char *what, long long got, long long want);
void test_str_is(const char *file, int line, const char *what, const char *got, const char *want);
void test_str_has(const char *file, int line, const char *what, const char *got, const char *part);
void test_mem_is(const char *file, int line, const char *what, const void *got, const void *want, size_t len);

#define TEST_FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(cond) ((cond) ? (void)0 : test_fail(__FILE__, __LINE__, "not true: %s", #cond))
#define CHECK_INT(got, want) test_int_is(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))
#define CHECK_STR(got, want) test_str_is(__FILE__, __LINE__, #got, (got), (want))
#define CHECK_HAS(got, part) test_str_has(__FILE__, __LINE__, #got, (got), (part))
#define CHECK_MEM(got, want, len) test_mem_is(__FILE__, __LINE__, #got, (got), (want), (len))

/* Random numbers that a failing test can repeat: the seed is TEST_SEED of the environment, or a new one, printed. */
uint64_t test_random(void);
uint64_t test_random_below(uint64_t n);

/* The same from a state of the caller's, which may begin as anything: for threads, and for what has to come again. */
uint64_t test_random_of(uint64_t *state);

uint64_t test_now_ns(void);

/* Calls done(arg) until it is not 0, at most limit_ms long; 0 when the time ran out. */
int test_wait(int (*done)(void *arg), void *arg, unsigned int limit_ms);

#endif
