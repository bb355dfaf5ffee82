/* SPDX-License-Identifier: MIT */
/* hvisor-launch --logs */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "utf8.h"

#define TAIL_LINES 10
#define TAIL_BYTES 16384 /* in which the last lines are looked for */

/* A log file that is read, and perhaps watched. */
struct log {
	const char *path;
	FILE *in;
	FILE *out;
	char *line;
	size_t size;
};

/* All up to the present end. What a backend wrote is shown without what a terminal would obey. */
static void print_rest(struct log *log)
{
	ssize_t n;

	clearerr(log->in);
	while ((n = getline(&log->line, &log->size, log->in)) > 0) {
		char *nul;

		while ((nul = memchr(log->line, 0, (size_t)n)))
			*nul = '?';
		fputs(utf8_clean(log->line), log->out);
	}
	fflush(log->out);
}

/* Goes to the begin of the last lines. */
static void seek_tail(struct log *log)
{
	long begin[TAIL_LINES + 1] = {0}; /* of the last lines, and the end of the file behind them */
	unsigned int n = 0;

	if (fseek(log->in, 0, SEEK_END) != 0)
		return;
	if (ftell(log->in) > TAIL_BYTES) {
		fseek(log->in, -TAIL_BYTES, SEEK_END);
		if (getline(&log->line, &log->size, log->in) < 0) /* the rest of a line */
			return;
	} else {
		rewind(log->in);
	}
	do
		begin[n++ % (TAIL_LINES + 1)] = ftell(log->in);
	while (getline(&log->line, &log->size, log->in) > 0);
	clearerr(log->in);
	fseek(log->in, n > TAIL_LINES ? begin[n % (TAIL_LINES + 1)] : begin[0], SEEK_SET);
}

/* Is another file at path by now, or the same one shorter? */
static bool was_rotated(struct log *log)
{
	struct stat now;
	struct stat mine;

	if (stat(log->path, &now) != 0 || fstat(fileno(log->in), &mine) != 0)
		return false;
	return now.st_dev != mine.st_dev || now.st_ino != mine.st_ino || mine.st_size < ftell(log->in);
}

static void print_new(struct log *log)
{
	FILE *next;

	print_rest(log);
	while (was_rotated(log) && (next = fopen(log->path, "re"))) {
		print_rest(log); /* what came between the two looks */
		fclose(log->in);
		log->in = next;
		print_rest(log);
	}
}

/* Waits for changes in the folder of the log. Returns 0 once the launcher is gone, or -errno. */
static int follow_log(struct log *log, int fd)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	char folder[PATH_MAX];
	struct pollfd pfd[2] = {{.events = POLLIN}, {.fd = fd, .events = POLLIN}};
	int error = 0;

	snprintf(folder, sizeof(folder), "%s", log->path);
	pfd[0].fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (pfd[0].fd < 0)
		return -errno;
	if (inotify_add_watch(pfd[0].fd, dirname(folder), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
		error = -errno;
		close(pfd[0].fd);
		return error;
	}
	for (;;) {
		print_new(log);
		if (poll(pfd, 2, -1) < 0 && errno != EINTR) {
			error = -errno;
			break;
		}
		while (read(pfd[0].fd, events, sizeof(events)) > 0)
			;
		if (pfd[1].revents && recv(fd, events, sizeof(events), MSG_DONTWAIT) == 0) {
			print_new(log);
			break;
		}
	}
	close(pfd[0].fd);
	return error;
}

int client_print_log(const char *path, bool follow, int fd, FILE *file, struct errors *errors)
{
	struct log log = {.path = path, .out = file, .in = fopen(path, "re")};
	int error = log.in ? 0 : -errno;

	if (log.in && follow) {
		seek_tail(&log);
		error = follow_log(&log, fd);
		if (!error)
			fprintf(stderr, "hvisor-launch: the launcher has ended\n");
	} else if (log.in) {
		print_rest(&log);
	}
	if (log.in)
		fclose(log.in);
	free(log.line);
	if (error)
		errors_add(errors, "%s: %s", path, strerror(-error));
	return error ? LAUNCH_EXIT_FAILED : LAUNCH_EXIT_OK;
}
