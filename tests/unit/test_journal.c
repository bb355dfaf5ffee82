/* SPDX-License-Identifier: MIT */
#include "common/journal.h"

#include <string.h>

#include "tests/test.h"

#define NUM 8

struct fixture {
	struct journal journal;
	struct region_journal *shared;
	uint16_t heads[REGION_QUEUE_SIZE_MAX];
};

/* Each test is a process of its own. */
static struct fixture *fixture_new(void)
{
	static _Alignas(64) uint8_t
		shared[sizeof(struct region_journal) + REGION_QUEUE_SIZE_MAX * sizeof(struct region_journal_desc)];
	static struct fixture f;

	f.shared = (struct region_journal *)shared;
	return &f;
}

static uint16_t open_journal(struct fixture *f, uint16_t used_idx)
{
	return journal_open(&f->journal, f->shared, NUM, 1, used_idx, f->heads);
}

static void test_new_journal(void)
{
	struct fixture *f = fixture_new();
	uint16_t i;

	memset(f->shared, 0xa5, sizeof(*f->shared) + NUM * sizeof(f->shared->desc[0]));
	CHECK_INT(open_journal(f, 1234), 0);
	CHECK_INT(f->shared->version, 1);
	CHECK_INT(f->shared->epoch, 1);
	CHECK_INT(f->shared->desc_num, NUM);
	CHECK_INT(f->shared->used_idx, 1234);
	for (i = 0; i < NUM; i++)
		CHECK_INT(f->shared->desc[i].inflight, 0);
}

static void test_another_epoch_or_size_is_another_journal(void)
{
	struct fixture *f = fixture_new();

	open_journal(f, 0);
	journal_fetch(&f->journal, 3);
	CHECK_INT(open_journal(f, 0), 1);
	CHECK_INT(journal_open(&f->journal, f->shared, NUM * 2, 1, 0, f->heads), 0);
	journal_fetch(&f->journal, 3);
	CHECK_INT(journal_open(&f->journal, f->shared, NUM * 2, 2, 77, f->heads), 0);
	CHECK_INT(f->shared->used_idx, 77);
}

static void test_in_flight_in_order_of_fetch(void)
{
	static const uint16_t order[] = {5, 1, 7, 0, 2};
	static const uint16_t batch[] = {7, 5};
	struct fixture *f = fixture_new();
	size_t i;

	open_journal(f, 65535);
	for (i = 0; i < 5; i++)
		journal_fetch(&f->journal, order[i]);
	journal_complete(&f->journal, 7);
	journal_complete(&f->journal, 5);
	journal_publish(&f->journal, batch, 2, 1);
	CHECK_INT(f->shared->used_idx, 1);
	journal_unfetch(&f->journal, 2);
	CHECK_INT(open_journal(f, 1), 2);
	CHECK_INT(f->heads[0], 1);
	CHECK_INT(f->heads[1], 0);
	/* What is fetched from now on comes after them. */
	journal_fetch(&f->journal, 5);
	CHECK_INT(open_journal(f, 1), 3);
	CHECK_INT(f->heads[2], 5);
}

/* What was begun is known to be, over any number of deaths, and nothing that came later is taken for it. */
static void test_begun(void)
{
	static const uint16_t batch[] = {4};
	struct fixture *f = fixture_new();

	open_journal(f, 0);
	journal_fetch(&f->journal, 4);
	journal_fetch(&f->journal, 2);
	journal_fetch(&f->journal, 6);
	CHECK_INT(open_journal(f, 0), 3);
	CHECK_INT(f->journal.nbegun, 0);
	journal_begin(&f->journal, 2);
	CHECK_INT(open_journal(f, 0), 3);
	CHECK_INT(f->journal.nbegun, 2);
	CHECK_INT(f->heads[1], 2);
	/* one of them comes again, and is another chain now */
	journal_complete(&f->journal, 4);
	journal_publish(&f->journal, batch, 1, 1);
	journal_fetch(&f->journal, 4);
	CHECK_INT(open_journal(f, 1), 3);
	CHECK_INT(f->journal.nbegun, 1);
	CHECK_INT(f->heads[0], 2);
	CHECK_INT(f->heads[2], 4);
	/* and so when nothing was in flight in between */
	memset(f->shared->desc, 0, NUM * sizeof(f->shared->desc[0]));
	CHECK_INT(open_journal(f, 1), 0);
	journal_fetch(&f->journal, 1);
	CHECK_INT(open_journal(f, 1), 1);
	CHECK_INT(f->journal.nbegun, 0);
	/* a new journal knows of nothing */
	CHECK_INT(journal_open(&f->journal, f->shared, NUM, 2, 0, f->heads), 0);
	CHECK_INT(f->shared->begun, 0);
}

/* used->idx was stored, and not one of the batch is cleared yet. */
static void test_whole_batch_is_settled(void)
{
	struct fixture *f = fixture_new();
	uint16_t i;

	open_journal(f, 65534);
	for (i = 0; i < 6; i++)
		journal_fetch(&f->journal, i);
	for (i = 1; i < 5; i++)
		journal_complete(&f->journal, i);
	CHECK_INT(open_journal(f, 2), 2);
	CHECK_INT(f->heads[0], 0);
	CHECK_INT(f->heads[1], 5);
	CHECK_INT(f->shared->used_idx, 2);
	CHECK_INT(open_journal(f, 2), 2);
}

/* Completed and never published, then completed again: the list has a loop behind the batch. */
static void test_loop_behind_the_batch(void)
{
	struct fixture *f = fixture_new();

	open_journal(f, 0);
	journal_fetch(&f->journal, 1);
	journal_fetch(&f->journal, 2);
	journal_fetch(&f->journal, 3);
	journal_complete(&f->journal, 1);
	CHECK_INT(open_journal(f, 0), 3);
	journal_complete(&f->journal, 1);
	CHECK_INT(f->shared->desc[1].next, 1);
	journal_complete(&f->journal, 2);
	CHECK_INT(open_journal(f, 2), 1);
	CHECK_INT(f->heads[0], 3);
}

static void test_garbage_is_bounded(void)
{
	const size_t used = sizeof(struct region_journal) + NUM * sizeof(struct region_journal_desc);
	struct fixture *f = fixture_new();
	uint8_t *bytes = (uint8_t *)f->shared;
	uint8_t before[64];
	bool seen[NUM];
	uint32_t round;
	uint16_t n, i;
	size_t k;

	memset(bytes + used, 0x5a, sizeof(before));
	memset(before, 0x5a, sizeof(before));
	for (round = 0; round < 100000; round++) {
		for (k = 0; k < used; k++)
			bytes[k] = (uint8_t)test_random();
		if (round % 2) {
			f->shared->version = 1;
			f->shared->epoch = 1;
			f->shared->desc_num = NUM;
			f->shared->last_batch_head %= NUM * 2;
			for (i = 0; i < NUM; i++)
				f->shared->desc[i].next %= NUM + 1;
		}
		n = open_journal(f, (uint16_t)test_random());
		CHECK(n <= NUM);
		memset(seen, 0, sizeof(seen));
		for (i = 0; i < n; i++) {
			CHECK(f->heads[i] < NUM && !seen[f->heads[i]]);
			seen[f->heads[i]] = true;
			CHECK(i == 0 ||
			      f->shared->desc[f->heads[i]].counter >= f->shared->desc[f->heads[i - 1]].counter);
		}
		CHECK_INT(open_journal(f, f->shared->used_idx), n);
		CHECK_MEM(bytes + used, before, sizeof(before));
	}
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"journal_new", test_new_journal, 0},
		{"journal_another_epoch_or_size_is_another_journal", test_another_epoch_or_size_is_another_journal, 0},
		{"journal_in_flight_in_order_of_fetch", test_in_flight_in_order_of_fetch, 0},
		{"journal_begun", test_begun, 0},
		{"journal_whole_batch_is_settled", test_whole_batch_is_settled, 0},
		{"journal_loop_behind_the_batch", test_loop_behind_the_batch, 0},
		{"journal_garbage_is_bounded", test_garbage_is_bounded, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
