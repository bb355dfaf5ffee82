/* SPDX-License-Identifier: MIT */
/* A device type for tests of what the backends share: it copies what it reads of a chain to what it writes. */
#ifndef HVISOR_TESTS_ECHO_H
#define HVISOR_TESTS_ECHO_H

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/backend.h"
#include "common/vmmio.h"
#include "tests/test.h"

#define ECHO_ID 42
#define ECHO_QUEUES 2
#define ECHO_NUM 16

/* What the device of the test tells the test, and is told by it; shared between the processes. */
struct probe {
	uint32_t starts;
	uint32_t driver_oks;
	uint32_t resets;
	uint32_t configs;
	uint32_t controls;
	uint32_t quiesces;
	uint64_t quiesced; /* masks, ored */
	uint64_t queue_starts; /* bits */
	uint32_t hold; /* keep what is popped */
	uint32_t late_ns; /* keep what is popped so long */
	uint32_t slow_ns; /* a turn takes so long */
	uint32_t push_at_quiesce;
	uint32_t busy; /* run() always says that it did something */
	uint32_t never_sleep;
	uint64_t passive;
	uint64_t wake_in_ns; /* 0: no time set */
	uint32_t times; /* that came */
	uint32_t device_events; /* read from the device's own descriptor */
};

struct echo {
	struct probe *probe;
	bool own_fd;
	struct virtq_chain chain;
	uint16_t held[REGION_QUEUES_MAX][ECHO_NUM];
	uint32_t len[REGION_QUEUES_MAX][ECHO_NUM];
	uint16_t nheld[REGION_QUEUES_MAX];
	uint64_t held_ns;
};

static inline int echo_option(struct backend *b, const char *key, const char *value)
{
	struct echo *echo = b->device;

	if (strcmp(key, "own_fd") != 0 || strcmp(value, "1") != 0)
		return -EINVAL;
	echo->own_fd = true;
	return 0;
}

static inline int echo_start(struct backend *b)
{
	struct echo *echo = b->device;

	echo->probe->starts++;
	return 0;
}

static inline void echo_queue_start(struct backend *b, uint32_t q)
{
	struct echo *echo = b->device;

	echo->probe->queue_starts |= 1ull << q;
}

static inline uint32_t echo_copy(const struct virtq_chain *chain)
{
	const struct iovec *from = &chain->iov[0];
	const struct iovec *to = &chain->iov[chain->nread];
	size_t len;

	if (!chain->nread || !chain->nwrite)
		return 0;
	len = from->iov_len < to->iov_len ? from->iov_len : to->iov_len;
	memcpy(to->iov_base, from->iov_base, len);
	return (uint32_t)len;
}

static inline void echo_complete(struct backend *b, uint32_t q)
{
	struct echo *echo = b->device;
	uint16_t i = --echo->nheld[q];

	virtq_push(&b->vq[q], echo->held[q][i], echo->len[q][i]);
}

static inline bool echo_run_queue(struct backend *b, uint32_t q)
{
	struct echo *echo = b->device;
	struct virtq *vq = &b->vq[q];
	uint32_t len;
	bool busy = echo->nheld[q] > 0 && core_load(&echo->probe->late_ns);
	int got;

	while (echo->nheld[q] > 0 && busy && b->now_ns - echo->held_ns >= echo->probe->late_ns)
		echo_complete(b, q);
	while ((got = virtq_pop(vq, &echo->chain)) == 1) {
		busy = true;
		len = echo_copy(&echo->chain);
		if (core_load(&echo->probe->hold) || core_load(&echo->probe->late_ns)) {
			echo->held[q][echo->nheld[q]] = echo->chain.head;
			echo->len[q][echo->nheld[q]++] = len;
			echo->held_ns = b->now_ns;
		} else {
			virtq_push(vq, echo->chain.head, len);
		}
	}
	if (virtq_publish(vq))
		backend_interrupt(b, REGION_INT_USED);
	if (got < 0)
		backend_break(b, q, vq->why);
	return busy;
}

static inline bool echo_run(struct backend *b)
{
	struct echo *echo = b->device;
	uint64_t begin_ns;
	uint64_t ticks;
	bool busy = core_load(&echo->probe->busy);
	uint32_t q;

	b->passive_queues = core_load(&echo->probe->passive);
	if (b->wake_ns && b->now_ns >= b->wake_ns) {
		b->wake_ns = 0;
		core_store(&echo->probe->times, echo->probe->times + 1);
	}
	if (!b->wake_ns && core_load(&echo->probe->wake_in_ns))
		b->wake_ns = b->now_ns + core_load(&echo->probe->wake_in_ns);
	if (echo->own_fd && read(BACKEND_FD_DEVICE, &ticks, sizeof(ticks)) == sizeof(ticks)) {
		core_store(&echo->probe->device_events, echo->probe->device_events + (uint32_t)ticks);
		busy = true;
	}
	for (q = 0; q < b->shape.nqueues; q++) {
		if (b->ready_queues & 1ull << q && !(b->passive_queues & 1ull << q))
			busy |= echo_run_queue(b, q);
	}
	for (begin_ns = test_now_ns(); test_now_ns() - begin_ns < core_load(&echo->probe->slow_ns);)
		;
	return busy;
}

static inline void echo_quiesce(struct backend *b, uint64_t queues)
{
	struct echo *echo = b->device;
	uint32_t q;

	for (q = 0; q < b->shape.nqueues; q++) {
		if (!(queues & 1ull << q))
			continue;
		while (echo->nheld[q] > 0 && echo->probe->push_at_quiesce)
			echo_complete(b, q);
		echo->nheld[q] = 0;
	}
	echo->probe->quiesced |= queues;
	core_store_release(&echo->probe->quiesces, echo->probe->quiesces + 1);
}

static inline void echo_reset(struct backend *b)
{
	struct echo *echo = b->device;

	echo->probe->resets++;
}

static inline void echo_driver_ok(struct backend *b)
{
	struct echo *echo = b->device;

	CHECK_INT(b->features & VMMIO_F_VERSION_1, VMMIO_F_VERSION_1);
	echo->probe->driver_oks++;
}

static inline void echo_config(struct backend *b)
{
	struct echo *echo = b->device;

	core_store(&echo->probe->configs, echo->probe->configs + 1);
}

static inline void echo_control(struct backend *b)
{
	struct echo *echo = b->device;

	core_store(&echo->probe->controls, echo->probe->controls + 1);
	log_debug("control was looked at");
}

static inline bool echo_prepare_sleep(struct backend *b, struct pollfd *fds, uint32_t *n)
{
	struct echo *echo = b->device;

	if (echo->own_fd)
		fds[(*n)++] = (struct pollfd){.fd = BACKEND_FD_DEVICE, .events = POLLIN};
	return core_load(&echo->probe->never_sleep);
}

static inline void echo_polled(struct backend *b, const struct pollfd *fds, uint32_t n)
{
	struct echo *echo = b->device;
	uint64_t ticks;

	CHECK_INT(n, 1);
	CHECK_INT(fds[0].revents, POLLIN);
	CHECK_INT(read(fds[0].fd, &ticks, sizeof(ticks)), sizeof(ticks));
	core_store(&echo->probe->device_events, echo->probe->device_events + (uint32_t)ticks);
}

static const struct backend_ops echo_ops = {
	.device_id = ECHO_ID,
	.option = echo_option,
	.start = echo_start,
	.queue_start = echo_queue_start,
	.run = echo_run,
	.quiesce = echo_quiesce,
	.reset = echo_reset,
	.driver_ok = echo_driver_ok,
	.config = echo_config,
	.control = echo_control,
	.prepare_sleep = echo_prepare_sleep,
	.poll_fds = true,
};

#endif
