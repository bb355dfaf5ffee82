/* SPDX-License-Identifier: MIT */
/*
 * The system calls of every backend below a process, as the kernel's own tracing (tracefs) has them: in an instance of
 * its own, so that nobody else's tracing is touched.
 */
#ifndef HVISOR_TRACEFS_H
#define HVISOR_TRACEFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tracefs {
	char folder[256]; /* of the instance; "" if there is none */
	int pipe; /* of the events, not blocking */
	char text[65536];
	size_t begin, end; /* of what has been read and not yet used */
	uint64_t lost; /* events that came faster than they were read */
};

enum tracefs_kind {
	TRACEFS_CALL, /* process pid makes call nr */
	TRACEFS_NAME, /* it is now called name */
	TRACEFS_KILL, /* it gets SIGSYS */
};

struct tracefs_event {
	enum tracefs_kind kind;
	pid_t pid;
	long nr;
	uint64_t arg[6];
	char name[16];
};

/*
 * Begins to record: calls that pid and what comes from it make while their name matches "hvisor-*", and every call of
 * ptrace(). Returns NULL, or why it is not possible, in words; then there is nothing to finish.
 */
const char *tracefs_init(struct tracefs *trace, pid_t pid);

/* Records no more; what has been recorded can still be read. */
void tracefs_stop(struct tracefs *trace);

/* The next event in the order in which they came; false if there is none for now. */
bool tracefs_next(struct tracefs *trace, struct tracefs_event *event);

void tracefs_finish(struct tracefs *trace);

#endif
