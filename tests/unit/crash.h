/* SPDX-License-Identifier: MIT */
/*
 * Crashes of a process that serves a virtqueue. A worker, which is driver and device at once, works on shared memory.
 * Whoever steps it calls crash_check() after each step: where that changed the memory, a successor is tried on a copy,
 * as if the worker had been killed there. What a chain asks for, such as to be sent, is to be done once: how often it
 * was done is in the shared memory too, as what was sent is not taken back by a death.
 */
#ifndef HVISOR_TESTS_CRASH_H
#define HVISOR_TESTS_CRASH_H

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/test.h"
#include "tests/unit/ring.h"

#define CRASH_NUM 8
#define CRASH_DICE 4096
#define CRASH_DONE (RING_DATA + 64u) /* offset of a byte a head: how often it was done */

struct crash {
	uint8_t *shared; /* RING_RAM bytes, of the worker */
	uint8_t *seen; /* the same as of the last step */
	uint8_t *copy; /* where the successor is tried */
	uint32_t epoch;
	uint16_t outstanding[CRASH_NUM]; /* made available and not used, in order */
	uint16_t noutstanding;
	uint16_t avail_idx;
	uint16_t used_idx;
	uint64_t states;
	uint64_t resubmitted;
	uint64_t begun; /* of them */
	uint64_t used;
	struct virtq vq; /* the successor's */
	struct virtq_chain chain;
};

/* What a worker keeps for itself; it dies with it. */
struct crash_worker {
	struct ring ring;
	struct virtq vq;
	struct virtq_chain chain;
	bool busy[CRASH_NUM];
	uint16_t held[CRASH_NUM];
	uint16_t nheld;
	uint32_t ndice;
	uint64_t dice[CRASH_DICE]; /* thrown beforehand, so that they cost no steps */
};

static inline uint8_t *crash_memory(int flags)
{
	uint8_t *p = mmap(NULL, RING_RAM, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static inline void crash_init(struct crash *c)
{
	memset(c, 0, sizeof(*c));
	c->shared = crash_memory(MAP_SHARED);
	c->seen = crash_memory(MAP_PRIVATE);
	c->copy = crash_memory(MAP_PRIVATE);
}

/* The parts of the memory which change. */
static const struct {
	size_t offset;
	size_t size;
} crash_part[] = {
	{RING_AVAIL, 6 + 2 * CRASH_NUM},
	{RING_USED, 6 + 8 * CRASH_NUM},
	{RING_MEMORY, sizeof(struct region_journal) + CRASH_NUM * sizeof(struct region_journal_desc)},
};

static inline bool crash_changed(const struct crash *c)
{
	size_t i;

	for (i = 0; i < 3; i++) {
		if (memcmp(c->shared + crash_part[i].offset, c->seen + crash_part[i].offset, crash_part[i].size) != 0)
			return true;
	}
	return false;
}

static inline void crash_take(const struct crash *c, uint8_t *to)
{
	size_t i;

	for (i = 0; i < 3; i++)
		memcpy(to + crash_part[i].offset, c->shared + crash_part[i].offset, crash_part[i].size);
}

static inline void crash_ring(struct ring *ring, const struct crash *c, uint8_t *ram)
{
	ring_init(ring, ram, CRASH_NUM);
	ring->queue.epoch = c->epoch;
}

/* The driver sets the queue up anew, as if start chains had come and gone. */
static inline void crash_new_epoch(struct crash *c, uint16_t start)
{
	struct ring ring;
	uint16_t i;

	memset(c->shared, 0, RING_MEMORY);
	c->epoch++;
	crash_ring(&ring, c, c->shared);
	ring_start_at(&ring, start);
	for (i = 0; i < CRASH_NUM; i++)
		ring_desc_set(&ring, i, RING_GPA + RING_DATA + i, 1, 0, 0);
	memcpy(c->copy, c->shared, RING_RAM);
	memcpy(c->seen, c->shared, RING_RAM);
	c->noutstanding = 0;
	c->avail_idx = start;
	c->used_idx = start;
}

/* What the rings show: chains that came, chains that are done. */
static inline void crash_follow(struct crash *c)
{
	const struct vring_used_elem *elem;
	struct ring ring;
	uint16_t i;

	ring_init(&ring, c->seen, CRASH_NUM);
	for (; c->avail_idx != ring.avail->idx; c->avail_idx++) {
		CHECK(c->noutstanding < CRASH_NUM);
		c->outstanding[c->noutstanding++] = ring.avail->ring[c->avail_idx % CRASH_NUM];
	}
	for (; c->used_idx != ring.used->idx; c->used_idx++, c->used++) {
		elem = &ring.used->ring[c->used_idx % CRASH_NUM];
		for (i = 0; i < c->noutstanding && c->outstanding[i] != elem->id; i++)
			;
		if (i == c->noutstanding)
			TEST_FAIL("head %u was used and is not outstanding", elem->id);
		CHECK_INT(elem->len, elem->id + 1);
		memmove(&c->outstanding[i], &c->outstanding[i + 1], (c->noutstanding - i - 1u) * sizeof(uint16_t));
		c->noutstanding--;
	}
}

/* The successor knows of each chain that was done that it was begun; of those not done, it may
 * think so of one: each death loses one at most. */
static inline void crash_check_begun(struct crash *c, uint16_t *lost)
{
	uint8_t done = c->shared[CRASH_DONE + c->chain.head];

	if (done > 1 || (done == 1 && !c->chain.begun))
		TEST_FAIL("head %u was done %u times, and the successor would do it again", c->chain.head, done);
	c->begun += c->chain.begun;
	*lost = (uint16_t)(*lost + (c->chain.begun && done == 0));
	CHECK(*lost <= 1);
}

/* A successor on the copy gets each outstanding chain once, in order, and completes them all. */
static inline void crash_try_successor(struct crash *c)
{
	struct ring ring;
	uint16_t lost = 0;
	uint16_t i;

	crash_take(c, c->copy);
	crash_ring(&ring, c, c->copy);
	if (ring_open(&ring, &c->vq, 0) < 0)
		TEST_FAIL("the successor finds: %s", c->vq.why);
	c->resubmitted += c->vq.nresubmit;
	for (i = 0; i < c->noutstanding; i++) {
		CHECK_INT(virtq_pop(&c->vq, &c->chain), 1);
		CHECK_INT(c->chain.head, c->outstanding[i]);
		crash_check_begun(c, &lost);
	}
	CHECK_INT(virtq_pop(&c->vq, &c->chain), 0);
	for (i = 0; i < c->noutstanding; i++)
		virtq_push(&c->vq, c->outstanding[c->noutstanding - 1 - i], 0);
	virtq_publish(&c->vq);
	CHECK_INT(ring.used->idx, ring.avail->idx);
	CHECK_INT(ring_open(&ring, &c->vq, 0), 0);
	CHECK_INT(c->vq.nresubmit, 0);
	CHECK_INT(virtq_pop(&c->vq, &c->chain), 0);
	c->states++;
}

static inline void crash_check(struct crash *c)
{
	if (!crash_changed(c))
		return;
	crash_take(c, c->seen);
	crash_follow(c);
	crash_try_successor(c);
}

/* A worker that has not begun yet. */
static inline void crash_worker_init(struct crash_worker *w, const struct crash *c)
{
	uint32_t i;

	memset(w, 0, sizeof(*w));
	crash_ring(&w->ring, c, c->shared);
	for (i = 0; i < c->noutstanding; i++)
		w->busy[c->outstanding[i]] = true;
	for (i = 0; i < CRASH_DICE; i++)
		w->dice[i] = test_random();
}

static inline void crash_worker_pop(struct crash_worker *w, bool regret)
{
	uint8_t *done;

	if (virtq_pop(&w->vq, &w->chain) != 1)
		return;
	if (!w->chain.begun)
		virtq_begin(&w->vq, w->chain.head);
	if (regret) {
		virtq_unpop(&w->vq, w->chain.head);
		return;
	}
	/* One that was begun and never done is given up: that is done with too. */
	done = &w->ring.ram[CRASH_DONE + w->chain.head];
	core_store(done, w->chain.begun ? 1 : *done + 1);
	w->held[w->nheld++] = w->chain.head;
}

static inline void crash_worker_push(struct crash_worker *w, uint16_t i)
{
	if (w->nheld == 0)
		return;
	i = (uint16_t)(i % w->nheld);
	virtq_push(&w->vq, w->held[i], w->held[i] + 1u);
	w->held[i] = w->held[--w->nheld];
}

static inline void crash_worker_publish(struct crash_worker *w)
{
	uint16_t i;

	/* The driver will see them at once: their heads are free again afterwards. */
	for (i = 0; i < w->vq.nbatch; i++)
		w->busy[w->vq.batch[i]] = false;
	virtq_publish(&w->vq);
}

/* Takes over what is there, and works until the dice are used up. False if the queue is broken. */
static inline bool crash_work(struct crash_worker *w)
{
	uint64_t dice;
	uint16_t head;

	if (ring_open(&w->ring, &w->vq, 0) < 0)
		return false;
	while (w->ndice < CRASH_DICE && !w->vq.broken) {
		dice = w->dice[w->ndice++];
		head = (uint16_t)(dice >> 32) % CRASH_NUM;
		if (dice % 8 < 3 && !w->busy[head]) {
			w->busy[head] = true;
			w->ring.ram[CRASH_DONE + head] = 0;
			ring_add(&w->ring, head);
		} else if (dice % 8 < 5) {
			crash_worker_pop(w, dice >> 60 == 0);
		} else if (dice % 8 < 7) {
			crash_worker_push(w, head);
		} else {
			crash_worker_publish(w);
		}
	}
	return !w->vq.broken;
}

static inline void crash_print(const struct crash *c, const char *steps, uint64_t nsteps)
{
	printf("# %llu %s, %llu states tried, %llu chains taken over, %llu of them begun, %llu completed by workers\n",
	       (unsigned long long)nsteps, steps, (unsigned long long)c->states, (unsigned long long)c->resubmitted,
	       (unsigned long long)c->begun, (unsigned long long)c->used);
}

#endif
