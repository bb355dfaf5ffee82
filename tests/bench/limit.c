/* SPDX-License-Identifier: MIT */
#include "limit.h"

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"

struct limit {
	int fd;
	const struct load *load;
	struct load_offsets offsets;
	uint8_t *buffer; /* load->depth of load->block bytes */
	double seconds;
};

static double limit_rate(uint64_t done, uint64_t begin, uint64_t end)
{
	return (double)done / ((double)(end - begin) / 1e9);
}

static double limit_loop_preadv(struct limit *limit)
{
	const struct load *load = limit->load;
	uint64_t begin = load_now_ns();
	uint64_t end = begin + (uint64_t)(limit->seconds * 1e9);
	uint64_t now = begin;
	uint64_t done = 0;

	while (now < end) {
		struct iovec iov = {limit->buffer + done % load->depth * load->block, load->block};
		off_t offset = (off_t)load_offset(&limit->offsets);
		ssize_t n = load->write ? pwritev(limit->fd, &iov, 1, offset) : preadv(limit->fd, &iov, 1, offset);

		if (n != (ssize_t)load->block)
			return n < 0 ? -errno : -EIO;
		done++;
		now = load_now_ns();
	}
	return limit_rate(done, begin, now);
}

static void limit_ring_prepare(struct limit *limit, struct io_uring *ring, uint64_t slot)
{
	const struct load *load = limit->load;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	uint8_t *buffer = limit->buffer + slot * load->block;

	if (load->write)
		io_uring_prep_write(sqe, 0, buffer, load->block, load_offset(&limit->offsets));
	else
		io_uring_prep_read(sqe, 0, buffer, load->block, load_offset(&limit->offsets));
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->user_data = slot;
}

/* Takes what is complete. Returns how many, or -errno of one that failed. */
static int limit_ring_reap(struct limit *limit, struct io_uring *ring, bool again)
{
	struct io_uring_cqe *cqe;
	unsigned int head;
	unsigned int n = 0;
	int err = 0;

	io_uring_for_each_cqe(ring, head, cqe)
	{
		if (cqe->res != (int)limit->load->block)
			err = cqe->res < 0 ? cqe->res : -EIO;
		if (again)
			limit_ring_prepare(limit, ring, cqe->user_data);
		n++;
	}
	io_uring_cq_advance(ring, n);
	return err ? err : (int)n;
}

static double limit_loop_io_uring(struct limit *limit)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	uint32_t depth = limit->load->depth;
	struct io_uring ring;
	uint64_t begin;
	uint64_t end;
	uint64_t now;
	uint64_t done = 0;
	uint32_t slot;
	int n;

	n = io_uring_queue_init_params(depth, &ring, &params);
	if (n < 0)
		return n;
	n = io_uring_register_files(&ring, &limit->fd, 1);
	if (n < 0)
		return n;
	for (slot = 0; slot < depth; slot++)
		limit_ring_prepare(limit, &ring, slot);
	begin = load_now_ns();
	end = begin + (uint64_t)(limit->seconds * 1e9);
	for (now = begin; now < end; now = load_now_ns()) {
		n = io_uring_submit_and_wait(&ring, 1);
		if (n >= 0)
			n = limit_ring_reap(limit, &ring, true);
		if (n < 0)
			return n;
		done += (uint32_t)n;
	}
	io_uring_queue_exit(&ring);
	return limit_rate(done, begin, now);
}

static double limit_run(double (*loop)(struct limit *limit), const char *what, int fd, uint64_t capacity,
			const struct load *load, uint64_t seed, double seconds, int cpu)
{
	struct limit limit = {.fd = fd, .load = load, .seconds = seconds};
	size_t buffers = (size_t)load->depth * load->block;
	double rate = -EIO;
	int result[2];
	pid_t pid;

	load_offsets_init(&limit.offsets, load, capacity, seed);
	fflush(NULL);
	if (pipe(result) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		cpu_pin(0, cpu);
		limit.buffer =
			mmap(NULL, buffers, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		rate = limit.buffer == MAP_FAILED ? -errno : loop(&limit);
		_exit(write(result[1], &rate, sizeof(rate)) != sizeof(rate));
	}
	close(result[1]);
	if (pid < 0 || read(result[0], &rate, sizeof(rate)) != sizeof(rate))
		rate = -EIO;
	close(result[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	if (rate < 0)
		fprintf(stderr, "bench: the %s loop: %s\n", what, strerror((int)-rate));
	return rate;
}

double limit_preadv(int fd, uint64_t capacity, const struct load *load, uint64_t seed, double seconds, int cpu)
{
	return limit_run(limit_loop_preadv, "preadv", fd, capacity, load, seed, seconds, cpu);
}

double limit_io_uring(int fd, uint64_t capacity, const struct load *load, uint64_t seed, double seconds, int cpu)
{
	return limit_run(limit_loop_io_uring, "io_uring", fd, capacity, load, seed, seconds, cpu);
}
