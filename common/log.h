/* SPDX-License-Identifier: MIT */
/*
 * What a backend says to people. A line goes to BACKEND_FD_LOG as "<n>text\n", n being the level's digit; the launcher
 * adds time and device name and writes the file. A full pipe never blocks: the line is lost and counted, and the next
 * line that fits says how many were.
 */
#ifndef HVISOR_LOG_H
#define HVISOR_LOG_H

#include <stdint.h>

enum log_level {
	LOG_ERROR = 0,
	LOG_WARNING = 1,
	LOG_INFO = 2,
	LOG_DEBUG = 3,
};

#define LOG_LINE_MAX 512 /* bytes of a line, the newline included; what is longer is cut */

/* Lines of a level above this one are not written. LOG_INFO before the first call. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/*
 * A gate for a message that a guest can provoke: true the first time and then at most once a second; *suppressed says
 * how many were held back since. now_ns is CLOCK_MONOTONIC.
 */
struct log_gate {
	uint64_t next_ns;
	uint64_t suppressed;
};
int log_gate_open(struct log_gate *gate, uint64_t now_ns, uint64_t *suppressed);

#endif
