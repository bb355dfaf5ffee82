/* SPDX-License-Identifier: MIT */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common/backend_fds.h"

/* One process, one thread, one log: the only state that is not in a struct. */
static enum log_level log_level = LOG_INFO;
static unsigned long long log_lost;

void log_set_level(enum log_level level)
{
	log_level = level > LOG_DEBUG ? LOG_DEBUG : level;
}

enum log_level log_get_level(void)
{
	return log_level;
}

/* A line is shorter than PIPE_BUF, so a pipe takes all of it or nothing. */
static int log_put(const char *line, size_t len)
{
	ssize_t n;

	do
		n = write(BACKEND_FD_LOG, line, len);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)len ? 0 : -1;
}

/* A line is one line whatever is in the text: a guest's string could otherwise forge another. */
static size_t log_clean(char *line, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	}
	line[len] = '\n';
	return len + 1;
}

static int log_put_lost(void)
{
	char line[LOG_LINE_MAX];
	int len = snprintf(line, sizeof(line), "<%d>%llu lines of this log were lost: the pipe to it was full\n",
			   LOG_WARNING, log_lost);

	if (log_put(line, (size_t)len) < 0)
		return -1;
	log_lost = 0;
	return 0;
}

void log_write(enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_MAX + 1];
	int saved_errno = errno;
	size_t len;
	va_list args;
	int n;

	if (level > log_level)
		return;
	n = snprintf(line, sizeof(line), "<%d>", level);
	len = (size_t)n;
	va_start(args, format);
	n = vsnprintf(line + len, LOG_LINE_MAX - len, format, args);
	va_end(args);
	if (n > 0)
		len += (size_t)n;
	if (len > LOG_LINE_MAX - 1)
		len = LOG_LINE_MAX - 1;
	len = log_clean(line, len);
	if ((log_lost && log_put_lost() < 0) || log_put(line, len) < 0)
		log_lost++;
	errno = saved_errno;
}

int log_gate_open(struct log_gate *gate, uint64_t now_ns, uint64_t *suppressed)
{
	if (now_ns < gate->next_ns) {
		gate->suppressed++;
		return 0;
	}
	gate->next_ns = now_ns + 1000000000u;
	*suppressed = gate->suppressed;
	gate->suppressed = 0;
	return 1;
}
