/* SPDX-License-Identifier: MIT */
/*
 * The two ways in which hvisor-blk does an operation, from the inside: what its io_uring refuses, and when something is
 * done at once. The time and the calls on the image are this test's, so that no disk has to be slow.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

static uint64_t fake_now_ns = 1000000000u;
static uint64_t fake_cost_ns; /* of each call */
static int fake_nowait_error; /* of a read that must not wait, 0: it is in the page cache */

static bool fake_busy; /* what takes long was scheduled away, and did not wait for the disk */
static long fake_waits;

static int fake_getrusage(int who, struct rusage *usage)
{
	CHECK_INT(who, RUSAGE_THREAD);
	*usage = (struct rusage){.ru_nvcsw = fake_waits};
	return 0;
}

static int fake_clock_gettime(clockid_t clock, struct timespec *ts)
{
	CHECK_INT(clock, CLOCK_MONOTONIC);
	ts->tv_sec = (time_t)(fake_now_ns / 1000000000u);
	ts->tv_nsec = (long)(fake_now_ns % 1000000000u);
	return 0;
}

static ssize_t fake_transfer(int fd, size_t len)
{
	CHECK_INT(fd, 10);
	fake_now_ns += fake_cost_ns;
	fake_waits += fake_cost_ns >= 100000 && !fake_busy;
	return (ssize_t)len;
}

static ssize_t fake_pread(int fd, void *data, size_t len, off_t offset)
{
	(void)data;
	(void)offset;
	return fake_transfer(fd, len);
}

static ssize_t fake_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	(void)data;
	(void)offset;
	return fake_transfer(fd, len);
}

static ssize_t fake_preadv2(int fd, const struct iovec *iov, int niov, off_t offset, int flags)
{
	(void)offset;
	CHECK_INT(niov, 1);
	CHECK_INT(flags, RWF_NOWAIT);
	if (fake_nowait_error) {
		errno = fake_nowait_error;
		return -1;
	}
	return fake_transfer(fd, iov->iov_len);
}

#define clock_gettime fake_clock_gettime
#define getrusage fake_getrusage
#define pread fake_pread
#define pwrite fake_pwrite
#define preadv2 fake_preadv2
#include "backends/blk_inline.c"
#undef clock_gettime
#undef getrusage
#undef pread
#undef pwrite
#undef preadv2
#include "backends/blk_ring.c"

static struct blk blk;
static struct backend backend;
static struct queue_region region;
static uint8_t buffer[4096];
static struct iovec whole = {buffer, sizeof(buffer)};

static void engine_init(int nowait_error)
{
	blk.backend = &backend;
	backend.region = &region;
	backend.now_ns = fake_now_ns;
	fake_nowait_error = nowait_error;
	blk_inline_init(&blk);
	CHECK_INT(blk.at_once.read_nowait, nowait_error != EOPNOTSUPP);
}

static bool at_once(enum blk_op op, uint64_t cost_ns)
{
	struct blk_io io = {.op = op, .len = sizeof(buffer), .iov = &whole, .niov = 1};
	int64_t result = -1;
	bool done;

	fake_now_ns += 1000;
	backend.now_ns = fake_now_ns;
	fake_cost_ns = cost_ns;
	done = blk_inline_try(&blk, &io, &result);
	if (done)
		CHECK_INT(result, sizeof(buffer));
	return done;
}

static void pass(uint64_t ns)
{
	fake_now_ns += ns;
}

#define MS 1000000u

/* On a file system that says by itself whether it would wait. */
static void test_nowait(void)
{
	engine_init(EAGAIN);
	CHECK(!at_once(BLK_OP_READ, 0));
	fake_nowait_error = 0;
	CHECK(at_once(BLK_OP_READ, 1000));
	/* Of many, one system call for all is better. */
	blk.batch = 32;
	CHECK(!at_once(BLK_OP_READ, 1000));
	blk.batch = 1;
	CHECK(at_once(BLK_OP_READ, 1000));
	blk.cache = BLK_CACHE_NONE;
	CHECK(!at_once(BLK_OP_READ, 1000));
	CHECK(!at_once(BLK_OP_WRITE, 1000));
}

/* However long it takes on a busy machine, that is not the disk; nor are the main loop's own sleeps. */
static void test_busy(void)
{
	uint32_t i;

	engine_init(EOPNOTSUPP);
	fake_busy = true;
	for (i = 0; i < 100; i++) {
		CHECK(at_once(BLK_OP_READ, 4 * MS));
		CHECK(at_once(BLK_OP_WRITE, 100 * MS));
		fake_waits++;
		core_store(&region.device.wakeups, i + 1);
	}
	fake_busy = false;
	CHECK(at_once(BLK_OP_WRITE, 100 * MS));
	CHECK(!at_once(BLK_OP_WRITE, 0));
}

static void test_slow(void)
{
	uint32_t i;

	engine_init(EOPNOTSUPP);
	for (i = 0; i < 1000; i++) {
		CHECK(at_once(BLK_OP_READ, 1000));
		CHECK(at_once(BLK_OP_WRITE, 1000));
		/* Scheduled away now and then. */
		if (i % 10 == 0)
			CHECK(at_once(BLK_OP_WRITE, 4 * MS));
	}
	/* One long stall is enough; it is tried again after a pause, and paused for longer when it is no better. */
	CHECK(at_once(BLK_OP_WRITE, 100 * MS));
	CHECK(!at_once(BLK_OP_WRITE, 0));
	CHECK(!at_once(BLK_OP_READ, 0));
	pass(20 * MS);
	CHECK(at_once(BLK_OP_WRITE, 1 * MS));
	CHECK(!at_once(BLK_OP_WRITE, 0));
	pass(20 * MS);
	CHECK(!at_once(BLK_OP_WRITE, 0));
	pass(20 * MS);
	CHECK(at_once(BLK_OP_WRITE, 1000));
	/* Many fast ones make up for it. */
	for (i = 0; i < 100; i++)
		CHECK(at_once(BLK_OP_WRITE, 1000));
	CHECK(at_once(BLK_OP_WRITE, 1 * MS));
	CHECK(at_once(BLK_OP_WRITE, 1 * MS));
	CHECK(at_once(BLK_OP_WRITE, 1 * MS));
	CHECK(at_once(BLK_OP_WRITE, 1 * MS));
	CHECK(!at_once(BLK_OP_WRITE, 0));
	pass(20 * MS);
	CHECK(at_once(BLK_OP_WRITE, 0));
}

/* What always waits, or could wait for long, is never done at once. */
static void test_never(void)
{
	struct blk_io io = {.op = BLK_OP_WRITE, .len = sizeof(buffer), .iov = &whole, .niov = 1, .flags = RWF_DSYNC};
	int64_t result;

	engine_init(EOPNOTSUPP);
	CHECK(!at_once(BLK_OP_SYNC, 0));
	CHECK(!at_once(BLK_OP_FALLOCATE, 0));
	CHECK(!blk_inline_try(&blk, &io, &result));
	io.flags = 0;
	CHECK(blk_inline_try(&blk, &io, &result));
	io.len = (1u << 20) + 512;
	CHECK(!blk_inline_try(&blk, &io, &result));
	/* While a fallocate() is under way a write would wait for its locks, and a read would not. */
	blk.fallocates = 1;
	CHECK(!at_once(BLK_OP_WRITE, 0));
	CHECK(at_once(BLK_OP_READ, 0));
}

/* Ring and image at their numbers, as in a backend. */
static void ring_begin(void)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(ftruncate(fd, 65536), 0);
	CHECK_INT(dup2(fd, BLK_FD_IMAGE), BLK_FD_IMAGE);
	CHECK_INT(blk_ring_init(), 0);
	CHECK_INT(ring.ring_fd, BACKEND_FD_RING);
	CHECK(fcntl(BACKEND_FD_RING, F_GETFD) & FD_CLOEXEC);
	blk.ring_on = true;
}

static int64_t ring_run(struct blk_request *request)
{
	struct blk_request *ended;
	int64_t result;

	blk_ring_add(&blk, request);
	blk_ring_wait(&blk);
	ended = blk_ring_next(&result);
	CHECK(ended == request);
	CHECK(!blk_ring_next(&result) && !blk_ring_ready());
	blk.in_ring = 0;
	return result;
}

static void test_ring(void)
{
	struct blk_request *request = &blk.slot[0];

	ring_begin();
	memset(buffer, 0x21, sizeof(buffer));
	request->io = (struct blk_io){.op = BLK_OP_WRITE, .offset = 8192, .len = 4096, .iov = &whole, .niov = 1};
	CHECK_INT(ring_run(request), 4096);
	request->io.flags = RWF_DSYNC;
	CHECK_INT(ring_run(request), 4096);
	memset(buffer, 0, sizeof(buffer));
	request->io.op = BLK_OP_READ;
	request->io.flags = 0;
	CHECK_INT(ring_run(request), 4096);
	CHECK_INT(buffer[4095], 0x21);
	request->io = (struct blk_io){.op = BLK_OP_SYNC};
	CHECK_INT(ring_run(request), 0);
	request->io = (struct blk_io){.op = BLK_OP_FALLOCATE,
				      .flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      .offset = 8192,
				      .len = 4096};
	CHECK_INT(ring_run(request), 0);
	request->io = (struct blk_io){.op = BLK_OP_READ, .offset = 8192, .len = 4096, .iov = &whole, .niov = 1};
	CHECK_INT(ring_run(request), 4096);
	CHECK_INT(buffer[0], 0);
}

static int sqe_run(const struct io_uring_sqe *sqe)
{
	struct io_uring_cqe *cqe;
	int result;

	*io_uring_get_sqe(&ring) = *sqe;
	CHECK_INT(io_uring_submit_and_wait(&ring, 1), 1);
	CHECK_INT(io_uring_peek_cqe(&ring, &cqe), 0);
	result = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return result;
}

/* Whoever owns the backend has a ring for the image and for nothing else. */
static void test_ring_restrictions(void)
{
	struct iovec iov = {buffer, sizeof(buffer)};
	int fd = BACKEND_FD_LOG;
	struct io_uring_sqe sqe;
	uint32_t op;
	int result;

	ring_begin();
	for (op = 0; op < IORING_OP_LAST + 32; op++) {
		if (op == IORING_OP_READV || op == IORING_OP_WRITEV || op == IORING_OP_FSYNC ||
		    op == IORING_OP_FALLOCATE)
			continue;
		memset(&sqe, 0, sizeof(sqe));
		sqe.opcode = (uint8_t)op;
		sqe.flags = IOSQE_FIXED_FILE;
		result = sqe_run(&sqe);
		if (result != -EACCES && (op < IORING_OP_LAST || result != -EINVAL))
			TEST_FAIL("operation %u gives %d", op, result);
	}
	/* Another file than the image: by descriptor, and by an index that is not there. */
	memset(&sqe, 0, sizeof(sqe));
	io_uring_prep_readv(&sqe, BLK_FD_IMAGE, &iov, 1, 0);
	CHECK_INT(sqe_run(&sqe), -EACCES);
	sqe.flags = IOSQE_FIXED_FILE | IOSQE_ASYNC;
	CHECK_INT(sqe_run(&sqe), -EACCES);
	sqe.flags = IOSQE_FIXED_FILE;
	CHECK_INT(sqe_run(&sqe), -EBADF);
	sqe.fd = 0;
	CHECK_INT(sqe_run(&sqe), sizeof(buffer));
	/* Nothing more can be registered, nor the limits be taken back. */
	CHECK_INT(io_uring_register_files_update(&ring, 0, &fd, 1), -EACCES);
	CHECK_INT(io_uring_unregister_files(&ring), -EACCES);
	CHECK_INT(io_uring_register_buffers(&ring, &iov, 1), -EACCES);
	CHECK_INT(io_uring_register_personality(&ring), -EACCES);
	CHECK_INT(io_uring_register_restrictions(&ring, NULL, 0), -EACCES);
}

static const struct test tests[] = {
	{"blk_engine_nowait", test_nowait, 0}, {"blk_engine_slow", test_slow, 0},
	{"blk_engine_busy", test_busy, 0},     {"blk_engine_never", test_never, 0},
	{"blk_engine_ring", test_ring, 0},     {"blk_engine_ring_restrictions", test_ring_restrictions, 0},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
