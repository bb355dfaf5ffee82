/* SPDX-License-Identifier: MIT */
/*
 * A backend that somebody has taken over. It is hvisor-blk until it serves, in its whole sandbox; from there on a
 * device named "hostile-" and a way in the table below does its worst, one named "patient-" and a way waits with that
 * for a driver, and every other one serves as usual. Linked with --wrap=backend_loop and --wrap=confine_self.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/backend.h"
#include "common/backend_loop.h"
#include "common/confine.h"

#define AT_ONCE "hostile-"
#define PATIENT "patient-"

int __real_backend_loop(struct backend *b);
int __wrap_backend_loop(struct backend *b);
int __real_confine_self(int policy_fd);
int __wrap_confine_self(int policy_fd);

static void call_write(uint64_t value)
{
	ssize_t n = write(BACKEND_FD_CALL, &value, sizeof(value));

	(void)n; /* full: it goes on all the same */
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Everything in the region, also what is not its own to write, over and over. */
static void garbage(struct backend *b)
{
	volatile uint64_t *word = (volatile uint64_t *)(void *)b->region;
	size_t n = region_size(&b->shape) / sizeof(*word);
	uint64_t state = 0x9e3779b97f4a7c15u;
	size_t i;

	for (;;) {
		for (i = 0; i < n; i++)
			word[i] = random_next(&state);
		call_write(1);
		for (i = 0; i < n; i++)
			word[i] = UINT64_MAX;
		call_write(1);
	}
}

/* Interrupts for its guest as fast as it can, and a counter that is full at once. */
static void calls(struct backend *b)
{
	for (;;) {
		core_store(&b->region->irq.interrupt_status, REGION_INT_USED | REGION_INT_CONFIG);
		call_write(1);
		call_write(UINT64_MAX - 1);
	}
}

/* Deaf to its driver, to SIGTERM and to everybody else. */
static void deaf(struct backend *b)
{
	(void)b;
	for (;;)
		ppoll(NULL, 0, NULL, NULL);
}

static void closes(struct backend *b)
{
	int fd;

	(void)b;
	for (fd = 0; fd < BACKEND_FD_END; fd++)
		close(fd);
}

static void talks(struct backend *b)
{
	unsigned int i;

	(void)b;
	for (i = 0;; i++)
		log_error("the same again, number %u, and some more words so that there is something to write", i);
}

static void forks(struct backend *b)
{
	(void)b;
	while (fork() >= 0)
		;
}

static void threads(struct backend *b)
{
	(void)b;
	while (syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, NULL, NULL, NULL, NULL) >= 0)
		;
}

static void maps(struct backend *b)
{
	(void)b;
	while (mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) !=
	       MAP_FAILED)
		;
}

/* The one thing that grows without a system call. */
static void stack(struct backend *b)
{
	volatile char page[4096];

	memset((char *)(uintptr_t)page, 1, sizeof(page));
	if (core_load(&b->region->head.magic))
		stack(b);
	page[0] = 2; /* so that this is no tail call */
}

/* Burns a processor, and has its heartbeat go on as if it served. */
static void spins(struct backend *b)
{
	for (;;)
		backend_count(&b->region->device.heartbeat, 1);
}

/* Burns a processor in the kernel. It only reads: what it writes here its zone has to bear, other devices included. */
static void pages(struct backend *b)
{
	uint64_t i;

	for (;;) {
		for (i = 0; i < b->mem.span[0].size; i += 4096)
			(void)*(volatile uint8_t *)(b->mem.span[0].base + i);
		madvise(b->mem.span[0].base, b->mem.span[0].size, MADV_DONTNEED);
	}
}

static const struct {
	const char *name;
	void (*run)(struct backend *b);
} ways[] = {
	{"garbage", garbage}, {"calls", calls}, {"deaf", deaf},       {"closes", closes},
	{"talks", talks},     {"forks", forks}, {"threads", threads}, {"maps", maps},
	{"stack", stack},     {"spins", spins}, {"pages", pages},
};

/* Looks to the watchdog as if it rested, also when a launcher that adopts it has woken it. */
static void await_driver(struct backend *b)
{
	struct timespec pause = {.tv_nsec = 10000000};

	while (!core_load(&b->region->driver.status)) {
		core_store(&b->region->doorbell.sleeping, 1);
		ppoll(NULL, 0, &pause, NULL);
	}
	core_store(&b->region->doorbell.sleeping, 0);
}

int __wrap_backend_loop(struct backend *b)
{
	size_t i;

	if (strncmp(b->name, PATIENT, strlen(PATIENT)) == 0)
		await_driver(b);
	else if (strncmp(b->name, AT_ONCE, strlen(AT_ONCE)) != 0)
		return __real_backend_loop(b);
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(b->name + strlen(AT_ONCE), ways[i].name) == 0)
			ways[i].run(b);
	}
	log_error("%s is no way to be hostile, or it came to an end", b->name);
	return BACKEND_EXIT_CONFIG;
}

/* What it does is no use that hvisor-blk has for its policy: tests/trace/policy_use.c goes by the name. */
int __wrap_confine_self(int policy_fd)
{
	prctl(PR_SET_NAME, "hostile");
	return __real_confine_self(policy_fd);
}
