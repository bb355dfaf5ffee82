/* SPDX-License-Identifier: MIT */
/*
 * A log file that cannot fill the disk and that nothing ever waits for: rotated at a size, and a line that cannot be
 * written is counted and said later. Lines are "2026-11-22T03:38:00.123Z level text".
 */
#ifndef HVISOR_LOGFILE_H
#define HVISOR_LOGFILE_H

#include <stddef.h>
#include <stdint.h>

#include "common/log.h"

struct logfile {
	char *path; /* NULL: standard error, without times */
	enum log_level level; /* logfile_say() leaves out what is above */
	int fd; /* -1: could not be opened; tried again with each line */
	uint64_t size;
	uint64_t limit; /* bytes; a line that would go beyond begins a new file */
	uint32_t keep; /* older files: path.1 is the newest of them */
	uint64_t lost; /* lines since the last one that was written */
	int error; /* why, errno */
};

/*
 * Opens dir/name.log for appending; dir NULL: standard error. Returns 0, or -errno if it cannot be written now (it
 * works all the same, and tries again). -ENOMEM: nothing was made.
 */
int logfile_open(struct logfile *log, const char *dir, const char *name, uint64_t limit, uint32_t keep);
void logfile_close(struct logfile *log);

/* Somebody else has moved the file away: begins a new one. */
void logfile_reopen(struct logfile *log);

/*
 * Writes one line of len bytes. What is no printable ASCII is written as \xNN, a backslash as \\; what is longer than
 * LOG_LINE_MAX is cut.
 */
void logfile_write(struct logfile *log, enum log_level level, const char *text, size_t len);

/*
 * Writes len bytes as they are, of what is no lines. A new file is begun where the limit is reached. What cannot be
 * written is lost, and counted in bytes.
 */
void logfile_raw(struct logfile *log, const void *bytes, size_t len);

void logfile_say(struct logfile *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* "error", "warning", "info", "debug" */
const char *logfile_level_name(enum log_level level);

#endif
