/* SPDX-License-Identifier: MIT */
/* Random drivers: an honest one, whose every chain must complete once, and hostile ones. */
#include "common/virtqueue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"
#include "tests/unit/virtq_fixture.h"

/* The driver's side of honest traffic: which chain is where, and what it looks like. */
struct traffic {
	bool busy[64]; /* by head */
	uint32_t id[64];
	uint32_t next_id;
	uint16_t used_seen;
	uint16_t held[64]; /* the device's, in the order of pops */
	uint32_t nheld;
	uint64_t done;
};

static uint32_t chain_len(uint32_t id)
{
	return 1 + id % 1000;
}

static void traffic_add(struct fixture *f, struct traffic *t)
{
	uint16_t head = (uint16_t)test_random_below(f->ring.num);
	uint64_t table = DATA + head * 64u;
	uint32_t id = t->next_id;
	struct vring_desc desc[2] = {
		{.addr = DATA + id % 5000, .len = chain_len(id), .flags = NEXT, .next = 1},
		{.addr = DATA + id % 7000, .len = chain_len(id + 1), .flags = WRITE},
	};

	if (t->busy[head])
		return;
	memcpy(at(f, table), desc, sizeof(desc));
	ring_desc_set(&f->ring, head, table, sizeof(desc), VRING_DESC_F_INDIRECT, 0);
	t->busy[head] = true;
	t->id[head] = t->next_id++;
	ring_add(&f->ring, head);
}

static void traffic_take_used(struct fixture *f, struct traffic *t)
{
	struct vring_used_elem *elem;

	while (t->used_seen != f->ring.used->idx) {
		elem = &f->ring.used->ring[t->used_seen % f->ring.num];
		CHECK(elem->id < f->ring.num && t->busy[elem->id]);
		CHECK_INT(elem->len, t->id[elem->id]);
		t->busy[elem->id] = false;
		t->used_seen++;
		t->done++;
	}
}

static void traffic_pop(struct fixture *f, struct traffic *t)
{
	uint32_t id;
	int got = pop(f);

	CHECK(got >= 0);
	CHECK(got == 1 || !virtq_pending(&f->vq));
	if (!got)
		return;
	id = t->id[f->chain.head];
	CHECK(t->busy[f->chain.head]);
	CHECK_INT(f->chain.read_len, chain_len(id));
	CHECK_INT(f->chain.write_len, chain_len(id + 1));
	if (test_random_below(8) == 0)
		virtq_unpop(&f->vq, f->chain.head);
	else
		t->held[t->nheld++] = f->chain.head;
}

static void test_random_traffic(void)
{
	struct traffic t = {.used_seen = 60000};
	struct fixture *f = fixture_new(64);
	uint32_t step, k;

	ring_start_at(&f->ring, 60000);
	CHECK_INT(ring_open(&f->ring, &f->vq, INDIRECT | EVENT_IDX), 0);
	for (step = 0; step < 500000; step++) {
		switch (test_random_below(8)) {
		case 0:
		case 1:
			traffic_add(f, &t);
			break;
		case 2:
		case 3:
			traffic_pop(f, &t);
			break;
		case 4:
		case 5:
			if (t.nheld == 0)
				break;
			k = (uint32_t)test_random_below(t.nheld);
			virtq_push(&f->vq, t.held[k], t.id[t.held[k]]);
			t.held[k] = t.held[--t.nheld];
			break;
		case 6:
			virtq_publish(&f->vq);
			traffic_take_used(f, &t);
			break;
		default:
			if (test_random_below(50))
				break;
			CHECK_INT(ring_open(&f->ring, &f->vq, INDIRECT | EVENT_IDX), 0);
			t.nheld = 0;
			break;
		}
	}
	CHECK(t.done > 65536);
	free(f);
}

/* What must hold for whatever the driver wrote. */
static void check_chain(struct fixture *f)
{
	uint64_t read_len = 0;
	uint64_t write_len = 0;
	uint32_t i;

	CHECK(f->chain.head < f->ring.num);
	CHECK(f->chain.nread + f->chain.nwrite <= VIRTQ_IOV_MAX);
	for (i = 0; i < f->chain.nread + f->chain.nwrite; i++) {
		uint8_t *base = f->chain.iov[i].iov_base;
		size_t len = f->chain.iov[i].iov_len;

		CHECK(base >= f->ram && len > 0 && len <= RING_MEMORY && base + len <= f->ram + RING_MEMORY);
		if (i < f->chain.nread)
			read_len += len;
		else
			write_len += len;
	}
	CHECK_INT(f->chain.read_len, read_len);
	CHECK_INT(f->chain.write_len, write_len);
}

static uint64_t random_address(void)
{
	switch (test_random_below(16)) {
	case 0:
		return test_random();
	case 1:
		return END - test_random_below(64);
	case 2:
		return RING_GPA - test_random_below(3);
	default:
		return RING_GPA + test_random_below(RING_MEMORY);
	}
}

static uint32_t random_len(void)
{
	switch (test_random_below(16)) {
	case 0:
		return (uint32_t)test_random();
	case 1:
		return 0;
	default:
		return 16 * (uint32_t)(1 + test_random_below(20));
	}
}

static void scribble_desc(struct vring_desc *desc, uint16_t num)
{
	*desc = (struct vring_desc){
		.addr = random_address(),
		.len = random_len(),
		.flags = (uint16_t)(test_random_below(4) ? test_random_below(4) : test_random_below(8)),
		.next = (uint16_t)(test_random_below(64) ? test_random_below(num) : test_random()),
	};
}

static void scribble(struct fixture *f)
{
	uint16_t num = f->ring.num;
	uint32_t i;

	for (i = 0; i < num; i++)
		scribble_desc(&f->ring.desc[i], num);
	for (i = 0; i < 1000; i++)
		scribble_desc(at(f, DATA + i * 16), 20);
	for (i = 0; i < num; i++)
		f->ring.avail->ring[i] = (uint16_t)(test_random_below(100) ? test_random_below(num) : test_random());
}

static void scribble_journal(struct fixture *f)
{
	uint8_t *bytes = (uint8_t *)f->ring.journal;
	size_t i;

	for (i = 0; i < sizeof(struct region_journal) + f->ring.num * sizeof(struct region_journal_desc); i++)
		bytes[i] = (uint8_t)test_random();
	if (test_random_below(4)) {
		f->ring.journal->version = 1;
		f->ring.journal->epoch = 1;
		f->ring.journal->desc_num = f->ring.num;
	}
}

static void test_hostile_rings(void)
{
	static const uint16_t sizes[] = {1, 2, 8, 64, 1024};
	uint64_t chains = 0;
	uint32_t round, i;
	struct fixture *f;

	for (round = 0; round < 400; round++) {
		f = fixture_new(sizes[round % 5]);
		for (i = 0; i < 500; i++) {
			if (i % 50 == 0)
				scribble(f);
			if (i % 100 == 99)
				scribble_journal(f);
			f->ring.avail->idx += (uint16_t)(test_random_below(60) ? test_random_below(3) : test_random());
			if (test_random_below(100) == 0)
				f->ring.used->idx = (uint16_t)test_random();
			if (f->vq.num == 0 || f->vq.broken) {
				ring_start_at(&f->ring, (uint16_t)test_random());
				f->ring.queue.epoch += (uint32_t)test_random_below(2);
				ring_open(&f->ring, &f->vq, test_random());
			}
			while (pop(f) == 1) {
				chains++;
				check_chain(f);
				if (test_random_below(3) == 0)
					virtq_push(&f->vq, f->chain.head, 0);
				if (test_random_below(8) == 0)
					virtq_publish(&f->vq);
				if (test_random_below(4) == 0)
					break;
			}
		}
		free(f);
	}
	CHECK(chains > 10000);
}

struct scribbler {
	struct fixture *f;
	uint32_t stop;
};

/* A guest CPU that writes to the descriptors while they are read. */
static void *scribbler_run(void *arg)
{
	struct scribbler *s = arg;
	uint64_t state = 1;

	while (!core_load(&s->stop)) {
		struct vring_desc *desc;

		state = state * 6364136223846793005u + 1442695040888963407u;
		desc = &s->f->ring.desc[(state >> 33) % s->f->ring.num];
		core_store(&desc->addr, state & 1u << 20 ? DATA : END - 8);
		core_store(&desc->len, state & 1u << 21 ? 8 : 9);
		core_store(&desc->flags, (uint16_t)((state >> 22) % 4));
		core_store(&desc->next, (uint16_t)((state >> 40) % (s->f->ring.num + 1u)));
	}
	return NULL;
}

static void test_hostile_concurrent_writes(void)
{
	struct scribbler s = {.f = fixture_open(8, 0)};
	uint64_t end = test_now_ns() + 500000000u;
	uint64_t good = 0;
	uint64_t bad = 0;
	pthread_t thread;
	uint16_t head;

	CHECK_INT(pthread_create(&thread, NULL, scribbler_run, &s), 0);
	while (test_now_ns() < end || good == 0 || bad == 0) {
		for (head = 0; head < 8; head++)
			ring_add(&s.f->ring, head);
		for (head = 0; head < 8; head++) {
			if (pop(s.f) < 0)
				break;
			check_chain(s.f);
			virtq_push(&s.f->vq, head, 0);
			good++;
		}
		virtq_publish(&s.f->vq);
		if (s.f->vq.broken) {
			bad++;
			ring_start_at(&s.f->ring, 0);
			s.f->ring.queue.epoch++;
			CHECK_INT(ring_open(&s.f->ring, &s.f->vq, 0), 0);
		}
	}
	core_store(&s.stop, 1);
	pthread_join(thread, NULL);
	free(s.f);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"virtq_random_traffic", test_random_traffic, 0},
		{"virtq_hostile_rings", test_hostile_rings, 0},
		{"virtq_hostile_concurrent_writes", test_hostile_concurrent_writes, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
