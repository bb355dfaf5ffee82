/* SPDX-License-Identifier: MIT */
#include "tests/steps/step.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/backend_fds.h"

static struct step_plan *plan;

/* Before main(): the region is a descriptor of the backend's then. Its place in it is an argument. */
__attribute__((constructor)) static void step_init(int argc, char **argv)
{
	void *region;
	int i;

	for (i = 1; i < argc && strncmp(argv[i], "region=", 7) != 0; i++)
		;
	if (i >= argc)
		return;
	region = mmap(NULL, sizeof(struct queue_region), PROT_READ | PROT_WRITE, MAP_SHARED, BACKEND_FD_REGION,
		      (off_t)strtoull(argv[i] + 7, NULL, 0));
	if (region == MAP_FAILED)
		abort();
	plan = step_plan(region);
}

static bool bit_get(const uint8_t *bits, uint32_t n)
{
	return bits[n / 8] >> n % 8 & 1;
}

static void bit_set(uint8_t *bits, uint32_t n)
{
	bits[n / 8] |= (uint8_t)(1u << n % 8);
}

/* How often this process has passed the place in this life. */
static uint32_t times_passed(uint32_t place)
{
	static uint8_t times[STEP_PLACES];
	static uint32_t life;

	if (life != plan->life)
		memset(times, 0, sizeof(times));
	life = plan->life;
	return times[place] < STEP_TIMES ? times[place]++ : STEP_TIMES;
}

/* Is this the one to die at? */
static bool is_last(uint32_t bit)
{
	if (plan->left != STEP_NEW)
		return plan->left > 0 && --plan->left == 0;
	return !bit_get(plan->died, bit);
}

void core_step(void)
{
	uint32_t place = (uint32_t)((uintptr_t)__builtin_return_address(0) - (uintptr_t)core_step) % STEP_PLACES;
	uint32_t times, bit;

	if (!plan || !__atomic_load_n(&plan->on, __ATOMIC_ACQUIRE))
		return;
	times = times_passed(place);
	if (times == STEP_TIMES)
		return;
	bit = (place + (times < 2 ? times : 2) * (STEP_PLACES / 3)) % STEP_PLACES;
	if (!is_last(bit))
		return;
	bit_set(plan->died, bit);
	if (plan->left != STEP_NEW) {
		plan->left = plan->then;
		plan->then = 0;
	}
	__atomic_store_n(&plan->deaths, plan->deaths + 1, __ATOMIC_RELEASE);
	__builtin_trap();
}
