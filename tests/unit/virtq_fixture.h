/* SPDX-License-Identifier: MIT */
/* What the tests of the virtqueue share. */
#ifndef HVISOR_TESTS_VIRTQ_FIXTURE_H
#define HVISOR_TESTS_VIRTQ_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "common/virtqueue.h"
#include "tests/test.h"
#include "tests/unit/ring.h"

#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define DATA (RING_GPA + RING_DATA)
#define END (RING_GPA + RING_MEMORY)

struct fixture {
	struct ring ring;
	struct virtq vq;
	struct virtq_chain chain;
	_Alignas(64) uint8_t ram[RING_RAM];
};

static inline struct fixture *fixture_new(uint16_t num)
{
	struct fixture *f = aligned_alloc(64, sizeof(*f));

	CHECK(f);
	memset(f, 0, sizeof(*f));
	ring_init(&f->ring, f->ram, num);
	return f;
}

static inline struct fixture *fixture_open(uint16_t num, uint64_t features)
{
	struct fixture *f = fixture_new(num);

	CHECK_INT(ring_open(&f->ring, &f->vq, features), 0);
	return f;
}

static inline int pop(struct fixture *f)
{
	return virtq_pop(&f->vq, &f->chain);
}

static inline void *at(struct fixture *f, uint64_t gpa)
{
	return f->ram + (gpa - RING_GPA);
}

#endif
