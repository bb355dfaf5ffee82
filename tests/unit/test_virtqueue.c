/* SPDX-License-Identifier: MIT */
#include "common/virtqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/test.h"
#include "tests/unit/virtq_fixture.h"

/* The queue is broken, for this reason, and stays so. */
static void check_broken(struct fixture *f, const char *why)
{
	CHECK_INT(pop(f), -EPROTO);
	CHECK_HAS(f->vq.why, why);
	CHECK(f->vq.broken);
	CHECK_INT(pop(f), -EPROTO);
	CHECK(!virtq_pending(&f->vq));
	CHECK(!virtq_enable_notification(&f->vq));
	free(f);
}

static void check_open_fails(struct fixture *f, const char *why)
{
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), -EPROTO);
	CHECK_HAS(f->vq.why, why);
	CHECK_INT(pop(f), -EPROTO);
	free(f);
}

static void test_open_checks_size(void)
{
	static const uint32_t bad[] = {0, 3, 12, 1023, 2048, 65536, 65536 + 8};
	struct fixture *f;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		f = fixture_new(8);
		f->ring.queue.num = bad[i];
		check_open_fails(f, "queue size");
	}
	for (i = 1; i <= REGION_QUEUE_SIZE_MAX; i *= 2)
		free(fixture_open((uint16_t)i, 0));
}

static void test_open_checks_places(void)
{
	const uint32_t num = 8;
	const uint64_t avail = 6 + 2 * num;
	const uint64_t used = 6 + 8 * num;
	struct fixture *f;

	f = fixture_new(num);
	f->ring.queue.desc += 8;
	check_open_fails(f, "16 bytes");
	f = fixture_new(num);
	f->ring.queue.driver += 1;
	check_open_fails(f, "2 bytes");
	f = fixture_new(num);
	f->ring.queue.device += 2;
	check_open_fails(f, "4 bytes");

	f = fixture_new(num);
	f->ring.queue.desc = END - 16 * num + 16;
	check_open_fails(f, "descriptor table is not in");
	f = fixture_new(num);
	f->ring.queue.driver = END - avail + 2;
	check_open_fails(f, "available ring is not in");
	f = fixture_new(num);
	f->ring.queue.device = (END - used + 4) & ~3ull;
	check_open_fails(f, "used ring is not in");
	f = fixture_new(num);
	f->ring.queue.desc = UINT64_MAX - 15;
	check_open_fails(f, "descriptor table is not in");

	/* As near to the end and to each other as can be. */
	f = fixture_new(num);
	f->ring.queue.driver = END - avail;
	f->ring.queue.desc = RING_GPA;
	f->ring.queue.device = RING_GPA + 16 * num;
	CHECK_INT(ring_open(&f->ring, &f->vq, EVENT_IDX), 0);
	free(f);
}

static void test_open_checks_overlap(void)
{
	const uint32_t num = 8;
	struct fixture *f;

	f = fixture_new(num);
	f->ring.queue.driver = f->ring.queue.desc + 16 * num - 2;
	check_open_fails(f, "overlap");
	f = fixture_new(num);
	f->ring.queue.desc = f->ring.queue.device + 48;
	check_open_fails(f, "overlap");
	/* The event fields count: the last two bytes of the available ring, the last of the used ring. */
	f = fixture_new(num);
	f->ring.queue.driver = f->ring.queue.device - 4 - 2 * num;
	check_open_fails(f, "overlap");
	f = fixture_new(num);
	f->ring.queue.driver = f->ring.queue.device + 4 + 8 * num;
	check_open_fails(f, "overlap");
	f = fixture_new(num);
	f->ring.queue.device = f->ring.queue.desc;
	check_open_fails(f, "overlap");
}

static void test_open_checks_indexes(void)
{
	struct fixture *f = fixture_new(8);

	f->ring.avail->idx = 9;
	check_open_fails(f, "available index");
	f = fixture_new(8);
	f->ring.used->idx = 1;
	check_open_fails(f, "available index");
	f = fixture_new(8);
	ring_start_at(&f->ring, 65533);
	f->ring.avail->idx = 5;
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	free(f);

	/* Three are in flight, so no more than five can wait. */
	f = fixture_open(8, 0);
	ring_add(&f->ring, 1);
	ring_add(&f->ring, 4);
	ring_add(&f->ring, 2);
	CHECK_INT(pop(f), 1);
	CHECK_INT(pop(f), 1);
	CHECK_INT(pop(f), 1);
	f->ring.avail->idx = 8;
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	CHECK_INT(f->vq.nresubmit, 3);
	f->ring.avail->idx = 9;
	check_open_fails(f, "available index");
	/* The driver took back what the journal says is in flight. */
	f = fixture_open(8, 0);
	ring_add(&f->ring, 1);
	CHECK_INT(pop(f), 1);
	f->ring.avail->idx = 0;
	check_open_fails(f, "available index");
}

static void test_pop_gives_the_buffers(void)
{
	struct fixture *f = fixture_open(4, 0);

	CHECK_INT(pop(f), 0);
	CHECK(!virtq_pending(&f->vq));
	ring_desc_set(&f->ring, 3, DATA, 16, NEXT, 1);
	ring_desc_set(&f->ring, 1, DATA + 100, 500, NEXT, 0);
	ring_desc_set(&f->ring, 0, DATA + 4096, 4096, NEXT | WRITE, 2);
	ring_desc_set(&f->ring, 2, DATA + 50, 1, WRITE, 77);
	ring_add(&f->ring, 3);
	CHECK(virtq_pending(&f->vq));
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 3);
	CHECK_INT(f->chain.nread, 2);
	CHECK_INT(f->chain.nwrite, 2);
	CHECK_INT(f->chain.read_len, 516);
	CHECK_INT(f->chain.write_len, 4097);
	CHECK(f->chain.iov[0].iov_base == at(f, DATA) && f->chain.iov[0].iov_len == 16);
	CHECK(f->chain.iov[1].iov_base == at(f, DATA + 100) && f->chain.iov[1].iov_len == 500);
	CHECK(f->chain.iov[2].iov_base == at(f, DATA + 4096) && f->chain.iov[2].iov_len == 4096);
	CHECK(f->chain.iov[3].iov_base == at(f, DATA + 50) && f->chain.iov[3].iov_len == 1);
	CHECK_INT(pop(f), 0);
	free(f);
}

static void test_pop_checks_the_available_ring(void)
{
	struct fixture *f = fixture_open(8, 0);

	f->ring.avail->idx = 9;
	check_broken(f, "jumps");
	f = fixture_open(8, 0);
	f->ring.avail->idx = 65535;
	check_broken(f, "jumps");
	f = fixture_open(8, 0);
	ring_add(&f->ring, 8);
	check_broken(f, "beyond the table");
	f = fixture_open(8, 0);
	ring_add(&f->ring, 65535);
	check_broken(f, "beyond the table");

	f = fixture_open(8, 0);
	ring_desc_set(&f->ring, 5, DATA, 1, 0, 0);
	ring_add(&f->ring, 5);
	ring_add(&f->ring, 5);
	CHECK_INT(pop(f), 1);
	check_broken(f, "still has");
	/* Pushed but not published, the driver cannot know yet that it is free. */
	f = fixture_open(8, 0);
	ring_desc_set(&f->ring, 5, DATA, 1, 0, 0);
	ring_add(&f->ring, 5);
	ring_add(&f->ring, 5);
	CHECK_INT(pop(f), 1);
	virtq_push(&f->vq, 5, 0);
	check_broken(f, "still has");
	f = fixture_open(8, 0);
	ring_desc_set(&f->ring, 5, DATA, 1, 0, 0);
	ring_add(&f->ring, 5);
	CHECK_INT(pop(f), 1);
	virtq_push(&f->vq, 5, 0);
	CHECK(virtq_publish(&f->vq));
	ring_add(&f->ring, 5);
	CHECK_INT(pop(f), 1);
	free(f);
}

static void test_pop_checks_chains(void)
{
	struct fixture *f = fixture_open(8, INDIRECT);

	ring_desc_set(&f->ring, 0, DATA, 1, NEXT, 8);
	ring_add(&f->ring, 0);
	check_broken(f, "beyond the table");

	f = fixture_open(8, INDIRECT);
	ring_desc_set(&f->ring, 0, DATA, 1, NEXT, 1);
	ring_desc_set(&f->ring, 1, DATA, 1, NEXT, 0);
	ring_add(&f->ring, 0);
	check_broken(f, "loop");

	f = fixture_open(8, INDIRECT);
	ring_desc_set(&f->ring, 7, DATA, 0, NEXT, 7);
	ring_add(&f->ring, 7);
	check_broken(f, "loop");

	f = fixture_open(8, INDIRECT);
	ring_desc_set(&f->ring, 0, DATA, 1, NEXT | WRITE, 1);
	ring_desc_set(&f->ring, 1, DATA, 1, 0, 0);
	ring_add(&f->ring, 0);
	check_broken(f, "device-readable buffer follows");

	f = fixture_open(8, INDIRECT);
	ring_desc_set(&f->ring, 0, END - 1, 2, 0, 0);
	ring_add(&f->ring, 0);
	check_broken(f, "a buffer is not in");

	f = fixture_open(8, INDIRECT);
	ring_desc_set(&f->ring, 0, RING_GPA - 1, 2, WRITE, 0);
	ring_add(&f->ring, 0);
	check_broken(f, "a buffer is not in");

	f = fixture_open(8, INDIRECT);
	ring_desc_set(&f->ring, 0, UINT64_MAX, 2, WRITE, 0);
	ring_add(&f->ring, 0);
	check_broken(f, "a buffer is not in");
}

static void test_empty_buffers_are_nothing(void)
{
	struct fixture *f = fixture_open(8, 0);

	/* Not even the address or the direction matters. */
	ring_desc_set(&f->ring, 0, UINT64_MAX, 0, NEXT | WRITE, 1);
	ring_desc_set(&f->ring, 1, DATA, 10, NEXT, 2);
	ring_desc_set(&f->ring, 2, DATA, 20, NEXT | WRITE, 3);
	ring_desc_set(&f->ring, 3, 0, 0, 0, 0);
	ring_add(&f->ring, 0);
	ring_desc_set(&f->ring, 4, 0, 0, 0, 0);
	ring_add(&f->ring, 4);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.nread, 1);
	CHECK_INT(f->chain.nwrite, 1);
	CHECK_INT(f->chain.iov[0].iov_len, 10);
	CHECK_INT(f->chain.iov[1].iov_len, 20);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.nread + f->chain.nwrite, 0);
	CHECK_INT(f->chain.read_len + f->chain.write_len, 0);
	free(f);
}

/* A chain of n one-byte buffers from descriptor 0, in the table given. */
static void make_chain(struct vring_desc *table, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		table[i] = (struct vring_desc){
			.addr = DATA, .len = 1, .flags = i + 1 < n ? NEXT : 0, .next = (uint16_t)(i + 1)};
}

static void test_chain_length_is_bounded(void)
{
	struct fixture *f = fixture_open(1024, 0);

	make_chain(f->ring.desc, VIRTQ_IOV_MAX);
	ring_add(&f->ring, 0);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.nread, VIRTQ_IOV_MAX);
	free(f);
	f = fixture_open(1024, 0);
	make_chain(f->ring.desc, VIRTQ_IOV_MAX + 1);
	ring_add(&f->ring, 0);
	check_broken(f, "too many");
	/* The whole of a small queue in one chain. */
	f = fixture_open(8, 0);
	make_chain(f->ring.desc, 8);
	ring_add(&f->ring, 0);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.nread, 8);
	free(f);
}

static void test_total_length_is_bounded(void)
{
	const uint64_t big = 1ull << 40;
	struct fixture *f = fixture_open(8, 0);
	uint8_t *space = mmap(NULL, 1ull << 32, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(space != MAP_FAILED);
	f->ring.mem.span[f->ring.mem.nspans++] = (struct gmem_span){.gpa = big, .size = 1ull << 32, .base = space};
	ring_desc_set(&f->ring, 0, big, UINT32_MAX, NEXT, 1);
	ring_desc_set(&f->ring, 1, big, 1, WRITE, 0);
	ring_add(&f->ring, 0);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.read_len + f->chain.write_len, 1ll << 32);
	ring_desc_set(&f->ring, 2, big, UINT32_MAX, NEXT, 3);
	ring_desc_set(&f->ring, 3, big, 2, WRITE, 0);
	ring_add(&f->ring, 2);
	check_broken(f, "4 GiB");
	munmap(space, 1ull << 32);
}

static struct vring_desc *indirect(struct fixture *f, uint16_t i, uint64_t gpa, uint32_t n, uint16_t flags)
{
	ring_desc_set(&f->ring, i, gpa, n * 16, (uint16_t)(VRING_DESC_F_INDIRECT | flags), 0);
	return at(f, gpa);
}

static void test_indirect_chains(void)
{
	struct fixture *f = fixture_open(4, INDIRECT);
	struct vring_desc unaligned = {.addr = DATA, .len = 9, .flags = WRITE};
	struct vring_desc *table;

	/* Longer than the queue: Linux makes such. The write flag of the descriptor itself means nothing. */
	table = indirect(f, 0, DATA, VIRTQ_IOV_MAX, WRITE);
	make_chain(table, VIRTQ_IOV_MAX);
	ring_add(&f->ring, 0);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.nread, VIRTQ_IOV_MAX);
	CHECK_INT(f->chain.nwrite, 0);

	/* Behind direct ones: virtio 1.2, 2.7.5.3.2. At any address. */
	ring_desc_set(&f->ring, 1, DATA + 8, 7, NEXT, 2);
	memcpy(indirect(f, 2, DATA + 1, 1, 0), &unaligned, sizeof(unaligned));
	ring_add(&f->ring, 1);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.read_len, 7);
	CHECK_INT(f->chain.write_len, 9);

	/* A table with room to spare, entered at 0. */
	table = indirect(f, 3, DATA, 1000, 0);
	memset(table, 0xff, 16000);
	table[0] = (struct vring_desc){.addr = DATA, .len = 1, .flags = NEXT, .next = 999};
	table[999] = (struct vring_desc){.addr = DATA, .len = 1, .flags = WRITE, .next = 0};
	ring_add(&f->ring, 3);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.nread, 1);
	CHECK_INT(f->chain.nwrite, 1);
	free(f);
}

static void test_indirect_chains_are_checked(void)
{
	struct fixture *f = fixture_open(4, EVENT_IDX);

	make_chain(indirect(f, 0, DATA, 1, 0), 1);
	ring_add(&f->ring, 0);
	check_broken(f, "not negotiated");

	f = fixture_open(4, INDIRECT);
	make_chain(indirect(f, 0, DATA, 1, NEXT), 1);
	ring_add(&f->ring, 0);
	check_broken(f, "with a next one");

	f = fixture_open(4, INDIRECT);
	indirect(f, 0, DATA, 0, 0);
	ring_add(&f->ring, 0);
	check_broken(f, "multiple of 16");

	f = fixture_open(4, INDIRECT);
	make_chain(indirect(f, 0, DATA, 2, 0), 1);
	f->ring.desc[0].len = 24;
	ring_add(&f->ring, 0);
	check_broken(f, "multiple of 16");

	f = fixture_open(4, INDIRECT);
	make_chain(indirect(f, 0, END - 16, 1, 0), 1);
	f->ring.desc[0].len = 32;
	ring_add(&f->ring, 0);
	check_broken(f, "indirect table is not in");

	f = fixture_open(4, INDIRECT);
	indirect(f, 0, DATA, 1, 0)[0] = (struct vring_desc){.addr = DATA, .len = 16, .flags = VRING_DESC_F_INDIRECT};
	ring_add(&f->ring, 0);
	check_broken(f, "inside an indirect table");

	f = fixture_open(4, INDIRECT);
	indirect(f, 0, DATA, 2, 0)[0] = (struct vring_desc){.addr = DATA, .len = 1, .flags = NEXT, .next = 2};
	ring_add(&f->ring, 0);
	check_broken(f, "beyond the table");

	f = fixture_open(4, INDIRECT);
	indirect(f, 0, DATA, 2, 0)[0] = (struct vring_desc){.addr = DATA, .len = 1, .flags = NEXT, .next = 0};
	ring_add(&f->ring, 0);
	check_broken(f, "loop");

	f = fixture_open(4, INDIRECT);
	indirect(f, 0, DATA, 4096, 0)[0] = (struct vring_desc){.addr = DATA, .len = 0, .flags = NEXT, .next = 0};
	ring_add(&f->ring, 0);
	check_broken(f, "too many");

	f = fixture_open(4, INDIRECT);
	make_chain(indirect(f, 0, DATA, VIRTQ_IOV_MAX + 1, 0), VIRTQ_IOV_MAX + 1);
	ring_add(&f->ring, 0);
	check_broken(f, "too many");
}

static void add_small(struct fixture *f, uint16_t head)
{
	ring_desc_set(&f->ring, head, DATA + head * 16, 16, WRITE, 0);
	ring_add(&f->ring, head);
}

static void test_push_and_publish(void)
{
	struct fixture *f = fixture_new(4);
	uint16_t i;

	ring_start_at(&f->ring, 65534);
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	for (i = 0; i < 4; i++)
		add_small(f, i);
	for (i = 0; i < 4; i++)
		CHECK_INT(pop(f), 1);
	CHECK(!virtq_publish(&f->vq));
	virtq_push(&f->vq, 2, 200);
	virtq_push(&f->vq, 0, 100);
	virtq_push(&f->vq, 3, 300);
	CHECK_INT(f->ring.used->idx, 65534);
	CHECK(virtq_publish(&f->vq));
	CHECK_INT(f->ring.used->idx, 1);
	CHECK_INT(f->ring.used->ring[2].id, 2);
	CHECK_INT(f->ring.used->ring[2].len, 200);
	CHECK_INT(f->ring.used->ring[3].id, 0);
	CHECK_INT(f->ring.used->ring[3].len, 100);
	CHECK_INT(f->ring.used->ring[0].id, 3);
	CHECK_INT(f->ring.used->ring[0].len, 300);
	/* What the device does not have cannot be pushed. */
	virtq_push(&f->vq, 2, 1);
	virtq_push(&f->vq, 4, 1);
	CHECK(!virtq_publish(&f->vq));
	CHECK_INT(f->ring.used->idx, 1);
	virtq_push(&f->vq, 1, 1);
	virtq_push(&f->vq, 1, 1);
	CHECK(virtq_publish(&f->vq));
	CHECK_INT(f->ring.used->idx, 2);
	/* After a close nothing of it reaches the ring. */
	add_small(f, 1);
	CHECK_INT(pop(f), 1);
	virtq_close(&f->vq);
	virtq_push(&f->vq, 1, 1);
	CHECK(!virtq_publish(&f->vq));
	CHECK_INT(f->ring.used->idx, 2);
	CHECK_INT(pop(f), 0);
	free(f);
}

static bool serve_one(struct fixture *f, uint16_t head)
{
	add_small(f, head);
	CHECK_INT(pop(f), 1);
	virtq_push(&f->vq, head, 16);
	return virtq_publish(&f->vq);
}

static void test_interrupts_by_flag(void)
{
	struct fixture *f = fixture_open(4, 0);

	CHECK(serve_one(f, 0));
	f->ring.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	CHECK(!serve_one(f, 1));
	f->ring.avail->flags = 0;
	CHECK(serve_one(f, 2));
	free(f);
}

static void test_interrupts_by_event_index(void)
{
	struct fixture *f = fixture_new(8);
	uint16_t i;

	ring_start_at(&f->ring, 65530);
	CHECK_INT(ring_open(&f->ring, &f->vq, EVENT_IDX), 0);
	/* Nothing is known of the past at the first look. The flag means nothing now. */
	f->ring.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	f->ring.avail->ring[8] = 100;
	CHECK(serve_one(f, 0));
	/* used->idx is 65531. Wanted: when it passes 65534. */
	f->ring.avail->ring[8] = 65534;
	for (i = 65531; i != 65534; i++)
		CHECK(!serve_one(f, 1));
	CHECK(serve_one(f, 1));
	CHECK(!serve_one(f, 1));
	/* A batch that crosses the event, and the end of the index, is one interrupt. */
	f->ring.avail->ring[8] = 1;
	for (i = 0; i < 4; i++) {
		add_small(f, i);
		CHECK_INT(pop(f), 1);
		virtq_push(&f->vq, i, 0);
	}
	CHECK(virtq_publish(&f->vq));
	CHECK_INT(f->ring.used->idx, 4);
	f->ring.avail->ring[8] = 3;
	CHECK(!serve_one(f, 0));
	free(f);
}

static void test_notification(void)
{
	struct fixture *f = fixture_open(8, 0);

	virtq_disable_notification(&f->vq);
	CHECK_INT(f->ring.used->flags, VRING_USED_F_NO_NOTIFY);
	CHECK(!virtq_enable_notification(&f->vq));
	CHECK_INT(f->ring.used->flags, 0);
	add_small(f, 0);
	CHECK(virtq_enable_notification(&f->vq));
	free(f);

	f = fixture_new(8);
	ring_start_at(&f->ring, 65535);
	CHECK_INT(ring_open(&f->ring, &f->vq, EVENT_IDX), 0);
	serve_one(f, 1);
	serve_one(f, 1);
	CHECK(!virtq_enable_notification(&f->vq));
	CHECK_INT((uint16_t)f->ring.used->ring[8].id, 1);
	virtq_disable_notification(&f->vq);
	CHECK_INT(f->ring.used->flags, 0);
	add_small(f, 2);
	CHECK(virtq_enable_notification(&f->vq));
	CHECK_INT(pop(f), 1);
	CHECK(!virtq_enable_notification(&f->vq));
	CHECK_INT((uint16_t)f->ring.used->ring[8].id, 2);
	free(f);
}

static void test_unpop(void)
{
	struct fixture *f = fixture_open(4, 0);

	add_small(f, 3);
	add_small(f, 1);
	CHECK_INT(pop(f), 1);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->ring.journal->desc[1].inflight, 1);
	virtq_unpop(&f->vq, 1);
	CHECK_INT(f->ring.journal->desc[1].inflight, 0);
	CHECK_INT(f->ring.journal->desc[3].inflight, 1);
	CHECK(virtq_pending(&f->vq));
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 1);
	CHECK_INT(f->chain.write_len, 16);
	virtq_unpop(&f->vq, 1);

	/* One that was taken over stays in flight, and is given out first again. */
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 3);
	virtq_unpop(&f->vq, 3);
	CHECK_INT(f->ring.journal->desc[3].inflight, 1);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 3);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 1);
	/* Not mistaken for the one taken over, although it has the same head. */
	virtq_push(&f->vq, 1, 0);
	virtq_push(&f->vq, 3, 0);
	virtq_publish(&f->vq);
	add_small(f, 3);
	CHECK_INT(pop(f), 1);
	virtq_unpop(&f->vq, 3);
	CHECK_INT(f->ring.journal->desc[3].inflight, 0);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 3);
	CHECK_INT(pop(f), 0);
	free(f);
}

static void test_resubmission(void)
{
	struct fixture *f = fixture_new(8);
	static const uint16_t heads[] = {6, 2, 7, 0, 3};
	size_t i;

	ring_start_at(&f->ring, 65533);
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	for (i = 0; i < 5; i++)
		add_small(f, heads[i]);
	for (i = 0; i < 4; i++)
		CHECK_INT(pop(f), 1);
	virtq_push(&f->vq, 2, 0);
	virtq_publish(&f->vq);
	virtq_push(&f->vq, 7, 0); /* never shown to the driver */

	f->ring.desc[6].len = 11; /* read anew */
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	CHECK_INT(f->vq.nresubmit, 3);
	CHECK(virtq_pending(&f->vq));
	CHECK(virtq_enable_notification(&f->vq));
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 6);
	CHECK_INT(f->chain.write_len, 11);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 7);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 0);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 3);
	CHECK_INT(pop(f), 0);
	CHECK(!virtq_pending(&f->vq));

	/* The driver may not give out again what is in flight since before. */
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	ring_add(&f->ring, 7);
	for (i = 0; i < 4; i++)
		CHECK_INT(pop(f), 1);
	CHECK_INT(pop(f), -EPROTO);
	CHECK_HAS(f->vq.why, "still has");

	/* What it made of the chain is checked again. */
	f->ring.avail->idx--;
	f->ring.desc[6].addr = 0;
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	check_broken(f, "a buffer is not in");
}

static void test_new_epoch_forgets(void)
{
	struct fixture *f = fixture_open(8, 0);

	add_small(f, 5);
	CHECK_INT(pop(f), 1);
	f->ring.queue.epoch++;
	ring_start_at(&f->ring, 0);
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	CHECK_INT(f->vq.nresubmit, 0);
	CHECK_INT(pop(f), 0);
	add_small(f, 5);
	CHECK_INT(pop(f), 1);
	free(f);
}

/* What a predecessor had begun, it is told of; what it had only fetched, or begun and published, is as any other. */
static void test_begun(void)
{
	struct fixture *f = fixture_open(8, 0);
	uint16_t i;

	for (i = 0; i < 5; i++)
		add_small(f, i);
	for (i = 0; i < 4; i++) {
		CHECK_INT(pop(f), 1);
		CHECK(!f->chain.begun);
		if (i < 3)
			virtq_begin(&f->vq, i);
		if (i == 0) {
			virtq_push(&f->vq, i, 0);
			virtq_publish(&f->vq);
		}
	}
	virtq_begin(&f->vq, 99);
	virtq_push(&f->vq, 1, 0); /* never shown to the driver */
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	for (i = 1; i < 5; i++) {
		CHECK_INT(pop(f), 1);
		CHECK_INT(f->chain.head, i);
		CHECK_INT(f->chain.begun, i < 3);
	}
	/* Begun, and given up: it comes again as new. */
	virtq_begin(&f->vq, 4);
	virtq_unpop(&f->vq, 4);
	CHECK_INT(pop(f), 1);
	CHECK_INT(f->chain.head, 4);
	CHECK(!f->chain.begun);
	CHECK_INT(ring_open(&f->ring, &f->vq, 0), 0);
	for (i = 1; i < 5; i++) {
		CHECK_INT(pop(f), 1);
		CHECK_INT(f->chain.begun, i < 4);
	}
	free(f);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"virtq_begun", test_begun, 0},
		{"virtq_open_checks_size", test_open_checks_size, 0},
		{"virtq_open_checks_places", test_open_checks_places, 0},
		{"virtq_open_checks_overlap", test_open_checks_overlap, 0},
		{"virtq_open_checks_indexes", test_open_checks_indexes, 0},
		{"virtq_pop_gives_the_buffers", test_pop_gives_the_buffers, 0},
		{"virtq_pop_checks_the_available_ring", test_pop_checks_the_available_ring, 0},
		{"virtq_pop_checks_chains", test_pop_checks_chains, 0},
		{"virtq_empty_buffers_are_nothing", test_empty_buffers_are_nothing, 0},
		{"virtq_chain_length_is_bounded", test_chain_length_is_bounded, 0},
		{"virtq_total_length_is_bounded", test_total_length_is_bounded, 0},
		{"virtq_indirect_chains", test_indirect_chains, 0},
		{"virtq_indirect_chains_are_checked", test_indirect_chains_are_checked, 0},
		{"virtq_push_and_publish", test_push_and_publish, 0},
		{"virtq_interrupts_by_flag", test_interrupts_by_flag, 0},
		{"virtq_interrupts_by_event_index", test_interrupts_by_event_index, 0},
		{"virtq_notification", test_notification, 0},
		{"virtq_unpop", test_unpop, 0},
		{"virtq_resubmission", test_resubmission, 0},
		{"virtq_new_epoch_forgets", test_new_epoch_forgets, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
