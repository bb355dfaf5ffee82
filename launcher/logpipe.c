/* SPDX-License-Identifier: MIT */
#include "launcher/logpipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOGPIPE_READ_MAX 8192 /* bytes a turn of the loop */
#define LOGPIPE_PIPE_MAX 65536 /* what a pipe holds: pipe(7) */
#define LOGPIPE_PAUSE_NS 100000000u
#define LOGPIPE_TOKEN 1000000000ull

static void logpipe_fill(struct logpipe *pipe)
{
	uint64_t now = loop_now_ns();
	uint64_t passed = now - pipe->filled_ns;

	pipe->filled_ns = now;
	if (passed > LOGPIPE_BURST / LOGPIPE_RATE * LOGPIPE_TOKEN)
		passed = LOGPIPE_BURST / LOGPIPE_RATE * LOGPIPE_TOKEN;
	pipe->tokens += passed * LOGPIPE_RATE;
	if (pipe->tokens > LOGPIPE_BURST * LOGPIPE_TOKEN)
		pipe->tokens = LOGPIPE_BURST * LOGPIPE_TOKEN;
}

static void logpipe_say_dropped(struct logpipe *pipe)
{
	if (pipe->dropped)
		logfile_say(pipe->file, LOG_WARNING, "%llu lines dropped: more than %u a second",
			    (unsigned long long)pipe->dropped, LOGPIPE_RATE);
	pipe->dropped = 0;
}

/* False: it has said more than it may. */
static bool logpipe_pay(struct logpipe *pipe)
{
	if (pipe->tokens < LOGPIPE_TOKEN)
		return false;
	pipe->tokens -= LOGPIPE_TOKEN;
	return true;
}

static void logpipe_end_line(struct logpipe *pipe)
{
	const char *text = pipe->line;
	size_t len = pipe->len;
	enum log_level level = LOG_WARNING; /* what is not in the form agreed on deserves a look */

	pipe->len = 0;
	pipe->excess = 0;
	if (!logpipe_pay(pipe)) {
		pipe->dropped++;
		return;
	}
	if (len == 0)
		return;
	logpipe_say_dropped(pipe);
	if (len >= 3 && text[0] == '<' && text[1] >= '0' && text[1] <= '0' + LOG_DEBUG && text[2] == '>') {
		level = (enum log_level)(text[1] - '0');
		text += 3;
		len -= 3;
	}
	logfile_write(pipe->file, level, text, len);
}

static void logpipe_take(struct logpipe *pipe, const char *bytes, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (bytes[i] == '\n')
			logpipe_end_line(pipe);
		else if (pipe->len < sizeof(pipe->line))
			pipe->line[pipe->len++] = bytes[i];
		else if (++pipe->excess % sizeof(pipe->line) == 0)
			logpipe_pay(pipe);
	}
}

/* Bytes read, 0 when there are none. */
static size_t logpipe_read(struct logpipe *pipe)
{
	char bytes[LOGPIPE_READ_MAX];
	ssize_t n = read(pipe->source.fd, bytes, sizeof(bytes));

	if (n <= 0)
		return 0;
	logpipe_fill(pipe);
	logpipe_take(pipe, bytes, (size_t)n);
	return (size_t)n;
}

static void logpipe_handle(struct loop_source *source, uint32_t events)
{
	struct logpipe *pipe = loop_container(source, struct logpipe, source);

	(void)events;
	logpipe_read(pipe);
	if (pipe->tokens >= LOGPIPE_TOKEN)
		return;
	/* The pipe fills up meanwhile, and its writer is the one who loses lines: reading them would cost us CPU. */
	loop_change(pipe->loop, source, 0);
	loop_set_timer(pipe->loop, &pipe->pause, loop_now_ns() + LOGPIPE_PAUSE_NS);
}

static void logpipe_resume(struct loop_timer *timer)
{
	struct logpipe *pipe = loop_container(timer, struct logpipe, pause);

	logpipe_fill(pipe);
	logpipe_say_dropped(pipe);
	loop_change(pipe->loop, &pipe->source, EPOLLIN);
}

int logpipe_open(struct logpipe *pipe, struct loop *loop, const char *path, struct logfile *file)
{
	struct stat st;
	int error;
	int fd;

	*pipe = (struct logpipe){.loop = loop,
				 .file = file,
				 .tokens = LOGPIPE_BURST * LOGPIPE_TOKEN,
				 .filled_ns = loop_now_ns(),
				 .source = {.fd = -1, .handle = logpipe_handle},
				 .pause.handle = logpipe_resume};
	if (mkfifo(path, 0600) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	error = fstat(fd, &st) < 0 ? -errno : S_ISFIFO(st.st_mode) ? 0 : -EEXIST;
	if (error == 0)
		error = loop_add(loop, &pipe->source, fd, EPOLLIN);
	if (error)
		close(fd);
	return error;
}

void logpipe_close(struct logpipe *pipe)
{
	int fd = loop_remove(pipe->loop, &pipe->source);

	loop_clear_timer(pipe->loop, &pipe->pause);
	if (fd >= 0)
		close(fd);
}

int logpipe_writer(const char *path)
{
	/* For reading too: without any reader a write would end the backend with SIGPIPE. */
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

void logpipe_drain(struct logpipe *pipe)
{
	size_t done = 0;
	size_t n = 1;

	while (pipe->source.fd >= 0 && n && done < LOGPIPE_PIPE_MAX) {
		n = logpipe_read(pipe);
		done += n;
	}
	if (pipe->len)
		logpipe_end_line(pipe);
	logpipe_say_dropped(pipe);
}
