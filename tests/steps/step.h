/* SPDX-License-Identifier: MIT */
/*
 * Backends that can be told to die between any two stores. They are the real ones, compiled with HVISOR_STEPS, which
 * makes each core_store() and each of its kind two steps: before and after it. "make tests" puts them into
 * BUILD/steps, for hvisor-launch --program-dir.
 *
 * A test tells them by the plan, which lies in the region behind config_writes, where nobody else reads or writes. A
 * backend dies of a signal that it raises by an instruction, so its seccomp policy has no say in it.
 */
#ifndef HVISOR_TESTS_STEP_H
#define HVISOR_TESTS_STEP_H

#include <stddef.h>

#include "common/region.h"

#define STEP_PLACES 15648u
#define STEP_TIMES 12u /* a place is a step so often in one life: of the bytes that a loop copies, the first few */
#define STEP_NEW 0xffffffffu /* at each step where no backend of this device has died before */

struct step_plan {
	uint32_t on; /* steps are counted */
	uint32_t left; /* so many, and it dies; 0: it does not; or STEP_NEW */
	uint32_t then; /* the same for its successor, whose own steps are counted */
	uint32_t life; /* grows each time that they begin to be counted */
	uint32_t deaths;
	/*
	 * A bit for a step that was died at: a place in the program, passed for the first, the second or a later time
	 * by this process in this life. Two of them may have the same bit.
	 */
	uint8_t died[STEP_PLACES / 8];
};

_Static_assert(sizeof(struct step_plan) == sizeof(((struct queue_region *)0)->pad2), "the plan fills the padding");

static inline struct step_plan *step_plan(struct queue_region *region)
{
	return (struct step_plan *)(void *)region->pad2;
}

#endif
