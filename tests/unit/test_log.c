/* SPDX-License-Identifier: MIT */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/backend_fds.h"
#include "tests/test.h"

/* The log's descriptor is that of the messages of failed checks: it is the pipe only while something is logged. */
struct capture {
	int pipe[2];
	int stderr_fd;
	char text[16384];
};

static struct capture *capture_new(void)
{
	static struct capture c;

	CHECK_INT(pipe2(c.pipe, O_CLOEXEC | O_NONBLOCK), 0);
	c.stderr_fd = fcntl(BACKEND_FD_LOG, F_DUPFD_CLOEXEC, 10);
	CHECK(c.stderr_fd >= 0);
	return &c;
}

static void capture_begin(struct capture *c)
{
	dup2(c->pipe[1], BACKEND_FD_LOG);
}

static void capture_end(struct capture *c)
{
	dup2(c->stderr_fd, BACKEND_FD_LOG);
}

/* What was logged since the last look. */
static const char *capture_text(struct capture *c)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(c->pipe[0], c->text + len, sizeof(c->text) - 1 - len)) > 0)
		len += (size_t)n;
	c->text[len] = 0;
	return c->text;
}

static void test_lines(void)
{
	struct capture *c = capture_new();

	capture_begin(c);
	log_error("broken: %s, %d", "badly", 7);
	log_warning("careful");
	log_info("hello");
	log_debug("not said");
	capture_end(c);
	CHECK_STR(capture_text(c), "<0>broken: badly, 7\n<1>careful\n<2>hello\n");
	capture_begin(c);
	log_set_level(LOG_ERROR);
	log_warning("not said");
	log_error("said");
	log_set_level((enum log_level)77);
	log_debug("now it is");
	capture_end(c);
	CHECK_STR(capture_text(c), "<0>said\n<3>now it is\n");
	CHECK_INT(log_get_level(), LOG_DEBUG);
}

static void test_a_line_is_one_line(void)
{
	struct capture *c = capture_new();
	char text[2 * LOG_LINE_MAX];
	size_t len;

	capture_begin(c);
	log_info("%s", "a\n<0>forged\r\x1b[31m\x7f\x01 \xc3\xa9");
	capture_end(c);
	CHECK_STR(capture_text(c), "<2>a?<0>forged??[31m?? \xc3\xa9\n");
	for (len = LOG_LINE_MAX - 8; len < sizeof(text); len++) {
		memset(text, 'x', len);
		text[len] = 0;
		capture_begin(c);
		log_info("%s", text);
		capture_end(c);
		CHECK_INT(strlen(capture_text(c)), len + 4 < LOG_LINE_MAX ? len + 4 : LOG_LINE_MAX);
		CHECK(strchr(c->text, '\n') == c->text + strlen(c->text) - 1);
	}
}

static void test_errno_is_kept(void)
{
	struct capture *c = capture_new();

	capture_begin(c);
	errno = ENOTTY;
	log_info("a line");
	close(BACKEND_FD_LOG);
	log_info("a line that nobody hears");
	capture_end(c);
	CHECK_INT(errno, ENOTTY);
}

static void test_full_pipe_loses_and_says_so(void)
{
	struct capture *c = capture_new();
	int i;

	CHECK(fcntl(c->pipe[1], F_SETPIPE_SZ, 4096) >= 4096);
	capture_begin(c);
	for (i = 0; i < 4100; i++)
		log_info("%0*d", 1000, i); /* cut to 512 bytes: eight of them fill the pipe */
	capture_end(c);
	CHECK_INT(strlen(capture_text(c)), 4096);
	capture_begin(c);
	log_info("again");
	log_info("and on");
	capture_end(c);
	CHECK_STR(capture_text(c),
		  "<1>4092 lines of this log were lost: the pipe to it was full\n<2>again\n<2>and on\n");
}

static void test_gate(void)
{
	const uint64_t second = 1000000000u;
	struct log_gate gate = {0};
	uint64_t suppressed = 77;

	CHECK(log_gate_open(&gate, 5 * second, &suppressed));
	CHECK_INT(suppressed, 0);
	CHECK(!log_gate_open(&gate, 5 * second, &suppressed));
	CHECK(!log_gate_open(&gate, 6 * second - 1, &suppressed));
	CHECK(log_gate_open(&gate, 6 * second, &suppressed));
	CHECK_INT(suppressed, 2);
	CHECK(log_gate_open(&gate, 70 * second, &suppressed));
	CHECK_INT(suppressed, 0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"log_lines", test_lines, 0},
		{"log_a_line_is_one_line", test_a_line_is_one_line, 0},
		{"log_errno_is_kept", test_errno_is_kept, 0},
		{"log_full_pipe_loses_and_says_so", test_full_pipe_loses_and_says_so, 0},
		{"log_gate", test_gate, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
