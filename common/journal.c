/* SPDX-License-Identifier: MIT */
#include "common/journal.h"

#include <string.h>

#define JOURNAL_VERSION 1

/*
 * Between two steps. The successor looks when this process is dead, and death comes between two instructions: all
 * stores before it have happened, none after. So it is only the compiler that must keep to the order.
 */
static inline void journal_step(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* The version is stored last, so a layout that was cut short is made again. Nothing is in flight by then. */
static void journal_lay_out(struct region_journal *shared, uint16_t num, uint32_t epoch, uint16_t used_idx)
{
	uint16_t i;

	core_store(&shared->version, 0);
	journal_step();
	for (i = 0; i < num; i++) {
		core_store(&shared->desc[i].inflight, 0);
		core_store(&shared->desc[i].next, 0);
		core_store(&shared->desc[i].counter, 0);
	}
	core_store(&shared->epoch, epoch);
	core_store(&shared->desc_num, num);
	core_store(&shared->last_batch_head, 0);
	core_store(&shared->used_idx, used_idx);
	core_store(&shared->begun, 0);
	journal_step();
	core_store(&shared->version, JOURNAL_VERSION);
	journal_step();
}

/*
 * used->idx moved on by a batch which the journal may still hold as in flight. The batch is the head of the list, as
 * long as the difference. Cut short, this is done again from the same numbers.
 */
static void journal_settle(struct region_journal *shared, uint16_t num, uint16_t used_idx)
{
	uint16_t left = (uint16_t)(used_idx - core_load(&shared->used_idx));
	uint16_t i = core_load(&shared->last_batch_head);

	if (left > num)
		left = num;
	for (; left > 0 && i < num; left--) {
		core_store(&shared->desc[i].inflight, 0);
		i = core_load(&shared->desc[i].next);
	}
	journal_step();
	core_store(&shared->used_idx, used_idx);
	journal_step();
}

/* Adds a head to those found, which are sorted by counter. */
static void heads_insert(uint16_t *heads, uint64_t *counters, uint16_t n, uint16_t head, uint64_t counter)
{
	uint16_t k;

	for (k = n; k > 0 && counters[k - 1] > counter; k--) {
		heads[k] = heads[k - 1];
		counters[k] = counters[k - 1];
	}
	heads[k] = head;
	counters[k] = counter;
}

uint16_t journal_open(struct journal *journal, struct region_journal *shared, uint16_t num, uint32_t epoch,
		      uint16_t used_idx, uint16_t *heads)
{
	uint64_t counters[REGION_QUEUE_SIZE_MAX];
	uint64_t counter, begun;
	uint16_t n = 0;
	uint16_t i;

	*journal = (struct journal){.shared = shared, .num = num};
	if (core_load(&shared->version) != JOURNAL_VERSION || core_load(&shared->epoch) != epoch ||
	    core_load(&shared->desc_num) != num)
		journal_lay_out(shared, num, epoch, used_idx);
	journal_settle(shared, num, used_idx);
	begun = core_load(&shared->begun);
	/* What is fetched from now on is behind all that was begun or is in flight. */
	journal->counter = begun;
	for (i = 0; i < num; i++) {
		if (!core_load(&shared->desc[i].inflight))
			continue;
		counter = core_load(&shared->desc[i].counter);
		heads_insert(heads, counters, n++, i, counter);
		if (counter < begun)
			journal->nbegun++;
		if (counter >= journal->counter)
			journal->counter = counter + 1;
	}
	return n;
}

void journal_fetch(struct journal *journal, uint16_t head)
{
	struct region_journal_desc *desc = &journal->shared->desc[head];

	core_store(&desc->counter, journal->counter++);
	journal_step();
	core_store(&desc->inflight, 1);
	journal_step();
}

void journal_unfetch(struct journal *journal, uint16_t head)
{
	core_store(&journal->shared->desc[head].inflight, 0);
	journal_step();
}

void journal_begin(struct journal *journal, uint16_t head)
{
	struct region_journal *shared = journal->shared;

	core_store(&shared->begun, core_load(&shared->desc[head].counter) + 1);
	journal_step();
}

void journal_complete(struct journal *journal, uint16_t head)
{
	struct region_journal *shared = journal->shared;

	core_store(&shared->desc[head].next, core_load(&shared->last_batch_head));
	journal_step();
	core_store(&shared->last_batch_head, head);
	journal_step();
}

void journal_publish(struct journal *journal, const uint16_t *heads, uint16_t n, uint16_t used_idx)
{
	struct region_journal *shared = journal->shared;
	uint16_t i;

	journal_step();
	for (i = 0; i < n; i++)
		core_store(&shared->desc[heads[i]].inflight, 0);
	journal_step();
	core_store(&shared->used_idx, used_idx);
	journal_step();
}
