/* SPDX-License-Identifier: MIT */
/*
 * In-flight journal of one split virtqueue, kept in the queue region (struct region_journal): which chains were
 * fetched and not completed, so that a backend that starts after a crash at any instruction knows what to resubmit.
 * The steps and their order are those of the vhost-user protocol, "Inflight I/O tracking", split virtqueue.
 *
 * The journal may hold arbitrary bytes (a hostile predecessor): recovery bounds every number it takes from there.
 */
#ifndef HVISOR_JOURNAL_H
#define HVISOR_JOURNAL_H

#include <stdint.h>

#include "region.h"

struct journal {
	struct region_journal *shared;
	uint64_t counter; /* of the next chain fetched */
	uint16_t num; /* queue size */
	uint16_t nbegun; /* of the chains found in flight, the first so many were begun */
};

/*
 * Before the first use by this process: a journal of another epoch or size is laid out anew; then what a predecessor
 * left half published is settled with used_idx, the ring's used->idx. heads gets the heads of the chains in flight in
 * the order in which they were fetched (room for num), and their count is returned.
 */
uint16_t journal_open(struct journal *journal, struct region_journal *shared, uint16_t num, uint32_t epoch,
		      uint16_t used_idx, uint16_t *heads);

/* A chain was taken from the available ring. */
void journal_fetch(struct journal *journal, uint16_t head);

/* The chain fetched last is given back as if it had not been fetched. */
void journal_unfetch(struct journal *journal, uint16_t head);

/*
 * What the chain asks for is going to be done, and not to be done twice. All that were fetched before it are begun too.
 */
void journal_begin(struct journal *journal, uint16_t head);

/* The chain's used element is written, but not yet published. */
void journal_complete(struct journal *journal, uint16_t head);

/*
 * After used->idx was stored with used_idx: clears the n chains of the batch, heads[0] to heads[n - 1] in the order of
 * journal_complete(). The caller keeps them in its own memory: the shared list is for the successor alone.
 */
void journal_publish(struct journal *journal, const uint16_t *heads, uint16_t n, uint16_t used_idx);

#endif
