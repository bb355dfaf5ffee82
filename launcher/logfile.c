/* SPDX-License-Identifier: MIT */
#include "launcher/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOGFILE_HEAD_MAX 48 /* time and level */
#define LOGFILE_LINE_MAX (LOGFILE_HEAD_MAX + 4 * LOG_LINE_MAX + 1)

const char *logfile_level_name(enum log_level level)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};

	return level <= LOG_DEBUG ? names[level] : "info";
}

/* The folder may have gone, or have had no room when the launcher began. */
static void logfile_make_folder(const struct logfile *log)
{
	char folder[4096];

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(log->path, '/') - log->path), log->path);
	mkdir(folder, 0750);
}

static int logfile_try_open(struct logfile *log)
{
	int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	struct stat st;
	int error;

	log->fd = open(log->path, flags, 0640);
	if (log->fd < 0 && errno == ENOENT) {
		logfile_make_folder(log);
		log->fd = open(log->path, flags, 0640);
	}
	if (log->fd < 0)
		return -errno;
	if (fstat(log->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		error = S_ISREG(st.st_mode) ? -errno : -EINVAL;
		close(log->fd);
		log->fd = -1;
		return error;
	}
	log->size = (uint64_t)st.st_size;
	return 0;
}

int logfile_open(struct logfile *log, const char *dir, const char *name, uint64_t limit, uint32_t keep)
{
	*log = (struct logfile){.fd = -1, .level = LOG_DEBUG, .limit = limit, .keep = keep};
	if (!dir) {
		log->fd = STDERR_FILENO;
		return 0;
	}
	if (asprintf(&log->path, "%s/%s.log", dir, name) < 0) {
		log->path = NULL;
		return -ENOMEM;
	}
	return logfile_try_open(log);
}

static void logfile_close_fd(struct logfile *log)
{
	if (log->path && log->fd >= 0)
		close(log->fd);
	log->fd = -1;
}

void logfile_close(struct logfile *log)
{
	logfile_close_fd(log);
	free(log->path);
	log->path = NULL;
}

void logfile_reopen(struct logfile *log)
{
	if (!log->path)
		return;
	logfile_close_fd(log);
	logfile_try_open(log);
}

/* Moves path to path.1, path.1 to path.2 and so on; the oldest goes. */
static int logfile_rotate(struct logfile *log)
{
	char from[4096];
	char to[4096];
	uint32_t n;

	for (n = log->keep; n > 0; n--) {
		snprintf(to, sizeof(to), "%s.%u", log->path, n);
		snprintf(from, sizeof(from), n > 1 ? "%s.%u" : "%s", log->path, n - 1);
		rename(from, to);
	}
	/* Nothing is kept, or it could not be moved: the limit holds all the same. */
	if (log->keep == 0 || access(log->path, F_OK) == 0)
		(void)!ftruncate(log->fd, 0);
	logfile_close_fd(log);
	return logfile_try_open(log);
}

/* A file to write n bytes more to: opened, if it was not, and rotated when it is full. */
static int logfile_prepare(struct logfile *log, size_t n)
{
	int error = log->fd < 0 ? logfile_try_open(log) : 0;

	if (error == 0 && log->size && log->size + n > log->limit)
		error = logfile_rotate(log);
	return error;
}

/* A terminal that was stopped and a pipe that nobody reads would block. */
static int logfile_stderr_ready(void)
{
	struct pollfd pfd = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLOUT) ? 0 : -EAGAIN;
}

/* All of the line or nothing of it. */
static int logfile_put(struct logfile *log, const char *line, size_t len)
{
	int error = log->path ? logfile_prepare(log, len) : logfile_stderr_ready();
	ssize_t n;

	if (error)
		return error;
	n = write(log->fd, line, len);
	if (n == (ssize_t)len) {
		log->size += len;
		return 0;
	}
	error = n < 0 ? -errno : -ENOSPC;
	if (n > 0 && log->path)
		(void)!ftruncate(log->fd, (off_t)log->size);
	return error;
}

static size_t logfile_head(const struct logfile *log, enum log_level level, char *out)
{
	const char *name = logfile_level_name(level);
	struct timespec now;
	struct tm tm;
	size_t n;

	if (!log->path)
		return (size_t)snprintf(out, LOGFILE_HEAD_MAX, "hvisor-launch: %s%s", level < LOG_INFO ? name : "",
					level < LOG_INFO ? ": " : "");
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(out, LOGFILE_HEAD_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(out + n, LOGFILE_HEAD_MAX - n, ".%03uZ %s ",
				    (unsigned int)(now.tv_nsec / 1000000) % 1000, name);
}

static size_t logfile_escape(char *out, const char *text, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\\') {
			out[n++] = '\\';
			out[n++] = '\\';
		} else if (c >= ' ' && c < 0x7f) {
			out[n++] = (char)c;
		} else {
			out[n++] = '\\';
			out[n++] = 'x';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
	}
	return n;
}

static int logfile_line(struct logfile *log, enum log_level level, const char *text, size_t len)
{
	char line[LOGFILE_LINE_MAX];
	size_t n = logfile_head(log, level, line);

	n += logfile_escape(line + n, text, len);
	line[n++] = '\n';
	return logfile_put(log, line, n);
}

void logfile_write(struct logfile *log, enum log_level level, const char *text, size_t len)
{
	char lost[96];
	int error;
	int n;

	if (len > LOG_LINE_MAX)
		len = LOG_LINE_MAX;
	if (log->lost) {
		n = snprintf(lost, sizeof(lost), "%llu lines could not be written here: %s",
			     (unsigned long long)log->lost, strerror(log->error));
		if (logfile_line(log, LOG_WARNING, lost, (size_t)n) == 0)
			log->lost = 0;
	}
	error = log->lost ? -log->error : logfile_line(log, level, text, len);
	if (error == 0)
		return;
	log->lost++;
	log->error = -error;
}

void logfile_raw(struct logfile *log, const void *bytes, size_t len)
{
	const char *at = bytes;
	ssize_t n = 0;
	int error;

	while (len > 0) {
		error = logfile_prepare(log, 1);
		n = error ? error : write(log->fd, at, log->limit - log->size < len ? log->limit - log->size : len);
		if (n <= 0)
			break;
		log->size += (uint64_t)n;
		at += n;
		len -= (size_t)n;
	}
	log->lost += len;
}

void logfile_say(struct logfile *log, enum log_level level, const char *format, ...)
{
	char text[LOG_LINE_MAX];
	va_list args;
	int n;

	if (level > log->level)
		return;
	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n > 0)
		logfile_write(log, level, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}
