/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "blk.h"

/*
 * Workers that the kernel may start for operations that block: the queue depth that an image gets whose file system
 * cannot do them asynchronously. The first number is for files and block devices.
 */
#define RING_WORKERS_BOUNDED 32u
#define RING_WORKERS_UNBOUNDED 2u

static struct io_uring ring;

/*
 * The cheapest kind of ring that this kernel has. Not IORING_SETUP_DEFER_TASKRUN: such a ring does not wake who sleeps
 * in poll(), as the main loop does, when a worker of the kernel has done something.
 */
static int ring_setup(void)
{
	static const unsigned int flags[] = {
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, /* Linux 5.19 */
		0,
	};
	struct io_uring_params params;
	int error = -EINVAL;
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]) && error == -EINVAL; i++) {
		memset(&params, 0, sizeof(params));
		params.flags = IORING_SETUP_R_DISABLED | flags[i];
		error = io_uring_queue_init_params(BLK_SLOTS, &ring, &params);
	}
	return error;
}

/* Moves the ring to the descriptor that the policy names. */
static int ring_move(void)
{
	int fd = ring.ring_fd;

	if (fd == BACKEND_FD_RING)
		return 0;
	if (dup3(fd, BACKEND_FD_RING, O_CLOEXEC) < 0)
		return -errno;
	ring.ring_fd = BACKEND_FD_RING;
	ring.enter_ring_fd = BACKEND_FD_RING;
	close(fd);
	return 0;
}

/* From io_uring_enable_rings() on the ring does these operations on this file; nothing more can be registered. */
static int ring_restrict(void)
{
	static const uint8_t opcodes[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
	struct io_uring_restriction restriction[sizeof(opcodes) + 1];
	size_t i;

	memset(restriction, 0, sizeof(restriction));
	for (i = 0; i < sizeof(opcodes); i++) {
		restriction[i].opcode = IORING_RESTRICTION_SQE_OP;
		restriction[i].sqe_op = opcodes[i];
	}
	restriction[i].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	restriction[i].sqe_flags = IOSQE_FIXED_FILE;
	return io_uring_register_restrictions(&ring, restriction, sizeof(opcodes) + 1);
}

/*
 * Kernels that do not know one of these keep their own ways. The last worker of a process stays for ever and wakes up
 * every five seconds (io_uring/io-wq.c, io_wq_worker()), unless it is on a CPU that is not among those set here: with
 * none set, a device at rest has no worker and no wakeup. Workers run on the CPUs of this process all the same.
 */
static void ring_limit_workers(void)
{
	unsigned int workers[2] = {RING_WORKERS_BOUNDED, RING_WORKERS_UNBOUNDED};
	cpu_set_t none;

	CPU_ZERO(&none);
	io_uring_register_iowq_max_workers(&ring, workers);
	io_uring_register_iowq_aff(&ring, sizeof(none), &none);
}

int blk_ring_init(void)
{
	int image = BLK_FD_IMAGE;
	int error = ring_setup();

	if (error)
		return error;
	error = ring_move();
	if (!error)
		error = io_uring_register_files(&ring, &image, 1);
	if (!error)
		error = ring_restrict();
	if (error) {
		io_uring_queue_exit(&ring);
		return error;
	}
	ring_limit_workers();
	error = io_uring_enable_rings(&ring);
	if (error)
		io_uring_queue_exit(&ring);
	return error;
}

void blk_ring_add(struct blk *blk, struct blk_request *request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring); /* there are as many as there are slots */
	const struct blk_io *io = &request->io;

	switch (io->op) {
	case BLK_OP_READ:
		io_uring_prep_readv2(sqe, 0, io->iov, (unsigned int)io->niov, io->offset, io->flags);
		break;
	case BLK_OP_WRITE:
		io_uring_prep_writev2(sqe, 0, io->iov, (unsigned int)io->niov, io->offset, io->flags);
		break;
	case BLK_OP_SYNC:
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
		break;
	case BLK_OP_FALLOCATE:
		io_uring_prep_fallocate(sqe, 0, io->flags, (off_t)io->offset, (off_t)io->len);
		blk->fallocates++;
		break;
	case BLK_OP_DISCARD: /* is done at once */
		break;
	}
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, request);
	blk->in_ring++;
	blk->prepared++;
}

/* What the kernel cannot take now (out of memory, say) stays in the ring for the next time. */
void blk_ring_enter(struct blk *blk)
{
	blk->prepared = 0;
	if (blk->ring_on && io_uring_sq_ready(&ring) > 0)
		io_uring_submit(&ring);
}

void blk_ring_wait(struct blk *blk)
{
	blk->prepared = 0;
	if (blk->in_ring > 0)
		io_uring_submit_and_wait(&ring, 1);
}

struct blk_request *blk_ring_next(int64_t *result)
{
	struct io_uring_cqe *cqe;
	struct blk_request *request;

	if (io_uring_peek_cqe(&ring, &cqe) != 0)
		return NULL;
	request = io_uring_cqe_get_data(cqe);
	*result = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return request;
}

bool blk_ring_ready(void)
{
	/* With COOP_TASKRUN what ended may not be in the ring before this process makes a system call. */
	return io_uring_cq_ready(&ring) > 0 || io_uring_sq_ready(&ring) > 0 ||
	       (core_load(ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}
