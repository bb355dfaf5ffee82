/* SPDX-License-Identifier: MIT */
/*
 * What a backend says, from its pipe into its log file. The pipe is a FIFO in the run folder, which both sides hold
 * open for reading and writing: so lines wait in it while no launcher is there, and a new one finds them. A backend
 * that says too much is read more slowly and loses lines, which are counted.
 */
#ifndef HVISOR_LOGPIPE_H
#define HVISOR_LOGPIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logfile.h"
#include "loop.h"

#define LOGPIPE_RATE 100 /* lines a second, in the long run */
#define LOGPIPE_BURST 500 /* lines at once */

struct logpipe {
	struct loop *loop;
	struct loop_source source;
	struct loop_timer pause; /* set: the pipe is not read until then */
	struct logfile *file;
	uint64_t tokens; /* lines that may be written, times 1,000,000,000 */
	uint64_t filled_ns; /* when tokens were added */
	uint64_t dropped; /* lines since the last one that was written */
	size_t len;
	size_t excess; /* bytes of the line that are thrown away */
	char line[LOG_LINE_MAX];
};

/* Makes the FIFO path if it is not there, opens and watches it. file stays the caller's. 0 or -errno. */
int logpipe_open(struct logpipe *pipe, struct loop *loop, const char *path, struct logfile *file);
void logpipe_close(struct logpipe *pipe);

/* The descriptor that a backend writes to, of a description of its own; -errno. */
int logpipe_writer(const char *path);

/* The backend is gone: reads what it left, at most as much as a pipe holds, and ends its last line. */
void logpipe_drain(struct logpipe *pipe);

#endif
