/* SPDX-License-Identifier: MIT */
/* The launcher's event loop: descriptors by epoll, and timers. Single-threaded; nothing happens while nothing is due.
 */
#ifndef HVISOR_LOOP_H
#define HVISOR_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop_timer;

struct loop {
	int fd;
	bool ended;
	struct loop_timer *timers; /* those that are set, soonest first */
};

/* A watched descriptor, embedded in what handles it. Not copied or freed while it is watched. */
struct loop_source {
	int fd; /* -1: not watched */
	void (*handle)(struct loop_source *source, uint32_t events);
};

/* One moment to come. Not copied or freed while it is set. */
struct loop_timer {
	struct loop_timer *next;
	uint64_t due_ns;
	bool set;
	void (*handle)(struct loop_timer *timer);
};

#define loop_container(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* CLOCK_MONOTONIC */
uint64_t loop_now_ns(void);

/* 0 or -errno. */
int loop_init(struct loop *loop);
void loop_finish(struct loop *loop);

/*
 * Watches fd for EPOLL* events, level-triggered; source->handle is set by the caller. A handler may remove any source,
 * its own too; an event of a removed source is not delivered. 0 or -errno.
 */
int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events);
int loop_change(struct loop *loop, struct loop_source *source, uint32_t events);
/* Stops watching; the descriptor stays open and is returned, -1 if nothing was watched. */
int loop_remove(struct loop *loop, struct loop_source *source);

/* Sets a timer, anew if it was set; its handle is set by the caller and finds it cleared. */
void loop_set_timer(struct loop *loop, struct loop_timer *timer, uint64_t due_ns);
void loop_clear_timer(struct loop *loop, struct loop_timer *timer);

/* Handles events until loop->ended is set. 0 or -errno. */
int loop_run(struct loop *loop);

#endif
