/* SPDX-License-Identifier: MIT */
#include "launcher/loop.h"

#include <errno.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int loop_init(struct loop *loop)
{
	loop->ended = false;
	loop->timers = NULL;
	loop->fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->fd < 0 ? -errno : 0;
}

void loop_finish(struct loop *loop)
{
	if (loop->fd >= 0)
		close(loop->fd);
	loop->fd = -1;
}

static int loop_control(struct loop *loop, int op, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(loop->fd, op, source->fd, &event) < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events)
{
	int error;

	source->fd = fd;
	error = loop_control(loop, EPOLL_CTL_ADD, source, events);
	if (error)
		source->fd = -1;
	return error;
}

int loop_change(struct loop *loop, struct loop_source *source, uint32_t events)
{
	return loop_control(loop, EPOLL_CTL_MOD, source, events);
}

int loop_remove(struct loop *loop, struct loop_source *source)
{
	int fd = source->fd;

	if (fd >= 0)
		loop_control(loop, EPOLL_CTL_DEL, source, 0);
	source->fd = -1;
	return fd;
}

void loop_clear_timer(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer **at = &loop->timers;

	if (!timer->set)
		return;
	while (*at != timer)
		at = &(*at)->next;
	*at = timer->next;
	timer->set = false;
}

void loop_set_timer(struct loop *loop, struct loop_timer *timer, uint64_t due_ns)
{
	struct loop_timer **at = &loop->timers;

	loop_clear_timer(loop, timer);
	while (*at && (*at)->due_ns <= due_ns)
		at = &(*at)->next;
	timer->due_ns = due_ns;
	timer->set = true;
	timer->next = *at;
	*at = timer;
}

/* Until the next timer, rounded up; -1: for ever. */
static int loop_wait_ms(const struct loop *loop)
{
	uint64_t now = loop_now_ns();
	uint64_t ms;

	if (!loop->timers)
		return -1;
	if (loop->timers->due_ns <= now)
		return 0;
	ms = (loop->timers->due_ns - now + 999999) / 1000000;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

static void loop_run_timers(struct loop *loop)
{
	uint64_t now = loop_now_ns();

	while (loop->timers && loop->timers->due_ns <= now) {
		struct loop_timer *timer = loop->timers;

		loop_clear_timer(loop, timer);
		timer->handle(timer);
	}
}

/*
 * One event a turn: a handler may remove, even free, any other source, and an event that was fetched with it would
 * then come too late. The launcher is not in the data path, so the extra epoll_wait() costs nothing that matters;
 * epoll hands out ready descriptors in turn, so none starves.
 */
int loop_run(struct loop *loop)
{
	struct epoll_event event;
	struct loop_source *source;
	int n;

	while (!loop->ended) {
		n = epoll_wait(loop->fd, &event, 1, loop_wait_ms(loop));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			source = event.data.ptr;
			source->handle(source, event.events);
		}
		loop_run_timers(loop);
	}
	return 0;
}
