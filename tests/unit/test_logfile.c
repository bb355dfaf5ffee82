/* SPDX-License-Identifier: MIT */
/* Log files and log pipes: nothing that a backend writes, and no state of the disk, does any harm. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/logfile.h"
#include "launcher/logpipe.h"
#include "tests/small_disk.h"
#include "tests/test.h"

#define MIB (1u << 20)

static char folder[64];

static void make_folder(void)
{
	strcpy(folder, "/tmp/test_logfile.XXXXXX");
	CHECK(mkdtemp(folder));
}

static void remove_folder(void)
{
	struct dirent *entry;
	DIR *dir = opendir(folder);

	CHECK(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			CHECK_INT(unlinkat(dirfd(dir), entry->d_name, 0), 0);
	}
	closedir(dir);
	CHECK_INT(rmdir(folder), 0);
}

static char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* The whole file, as a string; what it returned before is gone. */
static const char *content(const char *name)
{
	static char text[4 * MIB];
	int fd = open(path_of(name), O_RDONLY);
	ssize_t n;

	CHECK(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	CHECK(n >= 0);
	close(fd);
	text[n] = '\0';
	return text;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static long long size_of(const char *name)
{
	struct stat st;

	return stat(path_of(name), &st) == 0 ? (long long)st.st_size : -1;
}

static void write_all(int fd, const char *bytes, size_t n)
{
	CHECK_INT(write(fd, bytes, n), n);
}

#define WRITE(fd, text) write_all(fd, text, sizeof(text) - 1)

static void test_lines(void)
{
	struct logfile log;
	char longer[2 * LOG_LINE_MAX];
	const char *text;
	int year, month, day, hour, minute, second, ms, end = 0;

	make_folder();
	CHECK_INT(logfile_open(&log, folder, "blk0", MIB, 3), 0);
	CHECK_STR(log.path, path_of("blk0.log"));
	logfile_say(&log, LOG_WARNING, "%s %d", "answer", 42);
	text = content("blk0.log");
	CHECK_INT(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ warning answer 42%n", &year, &month, &day, &hour, &minute,
			 &second, &ms, &end),
		  7);
	CHECK_INT(end, strlen("2026-11-22T03:38:00.123Z warning answer 42"));
	CHECK_STR(text + end, "\n");
	logfile_write(&log, LOG_INFO, "a\x1b[2Jb\nc\0d\\e\x80\x7f", 14);
	CHECK_HAS(content("blk0.log"), "Z info a\\x1b[2Jb\\x0ac\\x00d\\\\e\\x80\\x7f\n");
	memset(longer, 1, sizeof(longer));
	logfile_write(&log, LOG_ERROR, longer, sizeof(longer));
	text = strstr(content("blk0.log"), "error ");
	CHECK(text);
	CHECK_INT(strlen(text), strlen("error \n") + 4 * LOG_LINE_MAX);
	CHECK_INT(count_lines(content("blk0.log")), 3);
	log.level = LOG_INFO;
	logfile_say(&log, LOG_DEBUG, "not wanted");
	CHECK_INT(count_lines(content("blk0.log")), 3);
	logfile_close(&log);
	remove_folder();
}

static void test_rotation(void)
{
	const char *const names[] = {"blk0.log", "blk0.log.1", "blk0.log.2"};
	struct logfile log;
	char last[32];
	int i;

	make_folder();
	CHECK_INT(logfile_open(&log, folder, "blk0", 1000, 2), 0);
	for (i = 0; i < 200; i++)
		logfile_say(&log, LOG_INFO, "line %d", i);
	for (i = 0; i < 3; i++)
		CHECK(size_of(names[i]) > (i ? 900 : 0) && size_of(names[i]) <= 1000);
	CHECK_INT(size_of("blk0.log.3"), -1);
	CHECK_HAS(content("blk0.log"), "line 199\n");
	/* The files follow each other without a gap. */
	for (i = 0; i < 2; i++) {
		CHECK_INT(sscanf(strstr(content(names[i]), "line"), "%31[^\n]", last), 1);
		snprintf(last, sizeof(last), "line %d\n", atoi(last + 5) - 1);
		CHECK_STR(strstr(content(names[i + 1]), last), last);
	}
	logfile_close(&log);
	/* One that is there already is continued, and counts. */
	CHECK_INT(logfile_open(&log, folder, "blk0", 1000, 2), 0);
	for (i = 0; i < 25; i++)
		logfile_say(&log, LOG_INFO, "more %d", i);
	CHECK(size_of("blk0.log") <= 1000);
	CHECK_HAS(content("blk0.log.1"), "line 199\n");
	logfile_close(&log);
	remove_folder();
}

static void test_rotation_keeps_none(void)
{
	struct logfile log;
	int i;

	make_folder();
	CHECK_INT(logfile_open(&log, folder, "blk0", 1000, 0), 0);
	for (i = 0; i < 200; i++) {
		logfile_say(&log, LOG_INFO, "line %d", i);
		CHECK(size_of("blk0.log") <= 1000);
	}
	CHECK_HAS(content("blk0.log"), "line 199\n");
	CHECK_INT(size_of("blk0.log.1"), -1);
	logfile_close(&log);
	remove_folder();
}

static void test_reopen(void)
{
	struct logfile log;
	char moved[128];

	make_folder();
	CHECK_INT(logfile_open(&log, folder, "blk0", MIB, 1), 0);
	logfile_say(&log, LOG_INFO, "before");
	strcpy(moved, path_of("moved"));
	CHECK_INT(rename(path_of("blk0.log"), moved), 0);
	logfile_say(&log, LOG_INFO, "still");
	logfile_reopen(&log);
	logfile_say(&log, LOG_INFO, "after");
	CHECK_INT(count_lines(content("moved")), 2);
	CHECK_INT(count_lines(content("blk0.log")), 1);
	logfile_close(&log);
	remove_folder();
}

static void test_not_a_file(void)
{
	struct logfile log;

	make_folder();
	CHECK_INT(symlink("/dev/null", path_of("link.log")), 0);
	CHECK_INT(logfile_open(&log, folder, "link", MIB, 1), -ELOOP);
	logfile_say(&log, LOG_INFO, "lost");
	CHECK_INT(log.lost, 1);
	/* As soon as it works, it works, and says what was lost. */
	CHECK_INT(unlink(path_of("link.log")), 0);
	logfile_say(&log, LOG_INFO, "written");
	CHECK_INT(log.lost, 0);
	CHECK_HAS(content("link.log"), "warning 1 lines could not be written here: Too many levels");
	CHECK_HAS(content("link.log"), "info written\n");
	logfile_close(&log);
	CHECK_INT(mkfifo(path_of("pipe.log"), 0600), 0);
	CHECK(logfile_open(&log, folder, "pipe", MIB, 1) < 0);
	logfile_close(&log);
	remove_folder();
}

static void test_full_disk(void)
{
	static char block[4096];
	struct logfile log;
	uint64_t written;
	int fd;
	int i;

	make_folder();
	small_disk_mount(folder);
	CHECK_INT(logfile_open(&log, folder, "blk0", MIB, 1), 0);
	fd = open(path_of("ballast"), O_WRONLY | O_CREAT, 0600);
	for (i = 0; i < 14; i++)
		write_all(fd, block, sizeof(block));
	close(fd);
	for (i = 0; i < 2000 && !log.lost; i++)
		logfile_say(&log, LOG_INFO, "line %d", i);
	CHECK(i > 10 && i < 2000);
	written = (uint64_t)i - 1;
	for (i = 0; i < 9; i++)
		logfile_say(&log, LOG_INFO, "lost");
	CHECK_INT(log.lost, 10);
	/* No line is there in part. */
	CHECK_INT(count_lines(content("blk0.log")), written);
	CHECK_INT(content("blk0.log")[size_of("blk0.log") - 1], '\n');
	CHECK_INT(unlink(path_of("ballast")), 0);
	logfile_say(&log, LOG_INFO, "again");
	CHECK_HAS(content("blk0.log"), "warning 10 lines could not be written here: No space left on device\n");
	CHECK_HAS(content("blk0.log"), "info again\n");
	CHECK_INT(count_lines(content("blk0.log")), written + 2);
	logfile_close(&log);
	CHECK_INT(umount(folder), 0);
	remove_folder();
}

/* A loop that a timer ends. */
struct turn {
	struct loop loop;
	struct loop_timer timer;
};

static void turn_end(struct loop_timer *timer)
{
	loop_container(timer, struct turn, timer)->loop.ended = true;
}

static void turn_for(struct turn *turn, unsigned int ms)
{
	turn->loop.ended = false;
	turn->timer.handle = turn_end;
	loop_set_timer(&turn->loop, &turn->timer, loop_now_ns() + ms * 1000000ull);
	CHECK_INT(loop_run(&turn->loop), 0);
}

static void test_pipe_lines(void)
{
	struct turn turn = {0};
	struct logpipe pipe;
	struct logfile log;
	char longer[1000];
	const char *text;
	int fd;

	make_folder();
	CHECK_INT(loop_init(&turn.loop), 0);
	CHECK_INT(logfile_open(&log, folder, "blk0", MIB, 1), 0);
	CHECK_INT(logpipe_open(&pipe, &turn.loop, path_of("fifo"), &log), 0);
	fd = logpipe_writer(path_of("fifo"));
	CHECK(fd >= 0);
	WRITE(fd, "<0>one\n<3>two\n\n<4>three\nfour\n<1>");
	turn_for(&turn, 10);
	CHECK_INT(count_lines(content("blk0.log")), 4);
	WRITE(fd, "fi");
	turn_for(&turn, 10);
	WRITE(fd, "ve\n<2>s\x1bix\0\n<2>");
	turn_for(&turn, 10);
	text = content("blk0.log");
	CHECK_HAS(text, "Z error one\n");
	CHECK_HAS(text, "Z debug two\n");
	CHECK_HAS(text, "Z warning <4>three\n");
	CHECK_HAS(text, "Z warning four\n");
	CHECK_HAS(text, "Z warning five\n");
	CHECK_HAS(text, "Z info s\\x1bix\\x00\n");
	CHECK_INT(count_lines(text), 6);
	memset(longer, 'x', sizeof(longer));
	write_all(fd, longer, sizeof(longer));
	WRITE(fd, "\n<2>next\n<2>the last one, cut sho");
	logpipe_drain(&pipe);
	text = content("blk0.log");
	CHECK_HAS(text, "Z info next\n");
	CHECK_HAS(text, "Z info the last one, cut sho\n");
	text = strstr(text, "xxx");
	CHECK_INT(strcspn(text, "\n"), LOG_LINE_MAX - 3);
	close(fd);
	logpipe_close(&pipe);
	logfile_close(&log);
	loop_finish(&turn.loop);
	remove_folder();
}

/* Lines wait for the next launcher, and their writer neither blocks nor ends. */
static void test_pipe_without_reader(void)
{
	struct turn turn = {0};
	struct logpipe pipe;
	struct logfile log;
	ssize_t n;
	int fd;

	make_folder();
	CHECK_INT(loop_init(&turn.loop), 0);
	CHECK_INT(logfile_open(&log, folder, "blk0", MIB, 1), 0);
	CHECK_INT(logpipe_open(&pipe, &turn.loop, path_of("fifo"), &log), 0);
	fd = logpipe_writer(path_of("fifo"));
	logpipe_close(&pipe);
	WRITE(fd, "<2>nobody there\n");
	CHECK_INT(logpipe_open(&pipe, &turn.loop, path_of("fifo"), &log), 0);
	turn_for(&turn, 10);
	CHECK_HAS(content("blk0.log"), "info nobody there\n");
	logpipe_close(&pipe);
	do
		n = write(fd, "<2>into a pipe that fills up\n", 29);
	while (n == 29);
	CHECK(n < 0 && errno == EAGAIN);
	close(fd);
	logfile_close(&log);
	loop_finish(&turn.loop);
	remove_folder();
}

/* A backend that floods its log, and one that says something now and then. */
struct pair {
	struct turn turn;
	struct logfile noisy_log;
	struct logfile quiet_log;
	struct logpipe noisy;
	struct logpipe quiet;
	int noisy_fd;
	int quiet_fd;
};

static void pair_open(struct pair *pair)
{
	make_folder();
	memset(pair, 0, sizeof(*pair));
	CHECK_INT(loop_init(&pair->turn.loop), 0);
	CHECK_INT(logfile_open(&pair->noisy_log, folder, "noisy", 64 * MIB, 1), 0);
	CHECK_INT(logfile_open(&pair->quiet_log, folder, "quiet", 64 * MIB, 1), 0);
	CHECK_INT(logpipe_open(&pair->noisy, &pair->turn.loop, path_of("noisy"), &pair->noisy_log), 0);
	CHECK_INT(logpipe_open(&pair->quiet, &pair->turn.loop, path_of("quiet"), &pair->quiet_log), 0);
	pair->noisy_fd = logpipe_writer(path_of("noisy"));
	pair->quiet_fd = logpipe_writer(path_of("quiet"));
	CHECK(pair->noisy_fd >= 0 && pair->quiet_fd >= 0);
}

static void pair_close(struct pair *pair)
{
	close(pair->noisy_fd);
	close(pair->quiet_fd);
	logpipe_close(&pair->noisy);
	logpipe_close(&pair->quiet);
	logfile_close(&pair->noisy_log);
	logfile_close(&pair->quiet_log);
	loop_finish(&pair->turn.loop);
	remove_folder();
}

/* Another process writes as fast as it can. */
static pid_t start_flood(int fd, const char *bytes, size_t len)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	pid_t pid = fork();

	CHECK(pid >= 0);
	while (pid == 0) {
		while (write(fd, bytes, len) == (ssize_t)len)
			;
		poll(&pfd, 1, 1000);
	}
	return pid;
}

/* 1.5 s of it. The quiet one must be heard soon, and the noisy one must cost little. */
static void pair_flood(struct pair *pair, const char *bytes, size_t len)
{
	pid_t pid = start_flood(pair->noisy_fd, bytes, len);
	uint64_t end = test_now_ns() + 1500000000ull;
	clock_t cpu = clock();
	size_t said = 0;
	int i;

	while (test_now_ns() < end) {
		WRITE(pair->quiet_fd, "<2>quiet\n");
		said++;
		for (i = 0; i < 10 && count_lines(content("quiet.log")) < said; i++)
			turn_for(&pair->turn, 20);
		CHECK_INT(count_lines(content("quiet.log")), said);
	}
	cpu = clock() - cpu;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK(count_lines(content("noisy.log")) < LOGPIPE_BURST + 4 * LOGPIPE_RATE);
	if (cpu > CLOCKS_PER_SEC / 5)
		TEST_FAIL("%.3f s of CPU time", (double)cpu / CLOCKS_PER_SEC);
}

static void test_flood_of_lines(void)
{
	struct pair pair;

	pair_open(&pair);
	pair_flood(&pair, "<2>a lot\n", 9);
	CHECK(count_lines(content("noisy.log")) >= LOGPIPE_BURST);
	CHECK_HAS(content("noisy.log"), "lines dropped: more than 100 a second\n");
	/* Once it is over, what is said then is heard. */
	while (read(pair.noisy_fd, (char[4096]){0}, 4096) > 0)
		;
	turn_for(&pair.turn, 300);
	WRITE(pair.noisy_fd, "\n<2>calm\n");
	turn_for(&pair.turn, 300);
	CHECK_HAS(content("noisy.log"), "info calm\n");
	pair_close(&pair);
}

static void test_flood_without_lines(void)
{
	char zeroes[4096] = {0};
	struct pair pair;

	pair_open(&pair);
	pair_flood(&pair, zeroes, sizeof(zeroes));
	CHECK_INT(count_lines(content("noisy.log")), 0);
	pair_close(&pair);
}

static void test_flood_of_empty_lines(void)
{
	char newlines[4096];
	struct pair pair;

	memset(newlines, '\n', sizeof(newlines));
	pair_open(&pair);
	pair_flood(&pair, newlines, sizeof(newlines));
	pair_close(&pair);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"logfile_lines", test_lines, 0},
		{"logfile_rotation", test_rotation, 0},
		{"logfile_rotation_keeps_none", test_rotation_keeps_none, 0},
		{"logfile_reopen", test_reopen, 0},
		{"logfile_not_a_file", test_not_a_file, 0},
		{"logfile_full_disk", test_full_disk, 0},
		{"logpipe_lines", test_pipe_lines, 0},
		{"logpipe_without_reader", test_pipe_without_reader, 0},
		{"logpipe_flood_of_lines", test_flood_of_lines, 0},
		{"logpipe_flood_without_lines", test_flood_without_lines, 0},
		{"logpipe_flood_of_empty_lines", test_flood_of_empty_lines, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
