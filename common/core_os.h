/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the portable core needs from its surroundings: fixed-width types and memory that two sides share.
 *
 * The core is compiled into the kernel module and into user space (simulator, unit tests, fuzzers), so this is
 * the one file of it that looks at __KERNEL__. Nothing here allocates, and nothing calls libc.
 */
#ifndef HVISOR_CORE_OS_H
#define HVISOR_CORE_OS_H

#ifdef __KERNEL__

#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>

typedef u8 core_u8;
typedef u16 core_u16;
typedef u32 core_u32;
typedef u64 core_u64;
typedef s32 core_s32;

#define CORE_ASSERT(cond) static_assert(cond)

/* Loads and stores of memory that another processor or process changes at the same time. */
#define core_load(p) READ_ONCE(*(p))
#define core_store(p, v) WRITE_ONCE(*(p), (v))
#define core_load_acquire(p) smp_load_acquire(p)
#define core_store_release(p, v) smp_store_release((p), (v))
#define core_fence() smp_mb()

static inline core_u32 core_xchg32(core_u32 *p, core_u32 v)
{
	return xchg(p, v);
}

/* or, and: full barriers, return the value before. Not by try_cmpxchg(), which Linux 5.10 has not everywhere. */
static inline core_u32 core_or32(core_u32 *p, core_u32 v)
{
	core_u32 seen = READ_ONCE(*p);
	core_u32 old;

	do {
		old = seen;
		seen = cmpxchg(p, old, old | v);
	} while (seen != old);
	return old;
}

static inline core_u32 core_and32(core_u32 *p, core_u32 v)
{
	core_u32 seen = READ_ONCE(*p);
	core_u32 old;

	do {
		old = seen;
		seen = cmpxchg(p, old, old & v);
	} while (seen != old);
	return old;
}

static inline core_u64 core_or64(core_u64 *p, core_u64 v)
{
	core_u64 seen = READ_ONCE(*p);
	core_u64 old;

	do {
		old = seen;
		seen = cmpxchg(p, old, old | v);
	} while (seen != old);
	return old;
}

#else

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t core_u8;
typedef uint16_t core_u16;
typedef uint32_t core_u32;
typedef uint64_t core_u64;
typedef int32_t core_s32;

#define CORE_ASSERT(cond) _Static_assert(cond, #cond)

/*
 * Before and after each store that others see. Nothing, but in the backends which are built to die there for tests:
 * tests/steps/step.h.
 */
#ifdef HVISOR_STEPS
void core_step(void);
#else
static inline void core_step(void)
{
}
#endif

#define core_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define core_store(p, v) (core_step(), __atomic_store_n((p), (v), __ATOMIC_RELAXED), core_step())
#define core_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define core_store_release(p, v) (core_step(), __atomic_store_n((p), (v), __ATOMIC_RELEASE), core_step())
#define core_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* Of a number that is shown and on which nothing depends, as a counter: no step. */
#define core_store_shown(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

static inline core_u32 core_xchg32(core_u32 *p, core_u32 v)
{
	core_u32 old;

	core_step();
	old = __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
	core_step();
	return old;
}

static inline core_u64 core_xchg64(core_u64 *p, core_u64 v)
{
	core_u64 old;

	core_step();
	old = __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
	core_step();
	return old;
}

/* or, and: full barriers, return the value before. */
static inline core_u32 core_or32(core_u32 *p, core_u32 v)
{
	core_u32 old;

	core_step();
	old = __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);
	core_step();
	return old;
}

static inline core_u32 core_and32(core_u32 *p, core_u32 v)
{
	return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST);
}

static inline core_u64 core_or64(core_u64 *p, core_u64 v)
{
	return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);
}

#endif

#endif
