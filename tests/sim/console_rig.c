/* SPDX-License-Identifier: MIT */
#include "tests/sim/console_rig.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

#define PIECE 1000u /* bytes that the guest says at once */

uint64_t console_rig_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void console_rig_config(struct console_rig *c, const char *keys)
{
	char text[4096];
	const char *device = text;

	CHECK((size_t)snprintf(text, sizeof(text), "\"type\": \"console\"%s", keys) < sizeof(text));
	rig_config(&c->rig, &device, 1);
}

void console_rig_serve(struct console_rig *c)
{
	rig_launch(&c->rig, NULL);
	rig_await_launcher(&c->rig);
	rig_await_starts(&c->rig, "console0", 1);
}

void console_rig_init(struct console_rig *c, const char *keys, uint32_t rx_size, bool multiport)
{
	rig_init(&c->rig, 64);
	console_rig_config(c, keys);
	console_rig_serve(c);
	CHECK_INT(guest_console_open(&c->guest, &c->rig.guest, rig_base(0), rig_irq(0), rx_size, multiport), 0);
}

void console_rig_finish(struct console_rig *c)
{
	guest_console_close(&c->guest);
	rig_finish(&c->rig);
}

static int open_socket(struct console_rig *c, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint32_t starts = rig_starts(&c->rig, "console0");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	rig_await_starts(&c->rig, "console0", starts + 1);
	return fd;
}

int console_rig_open(struct console_rig *c, const char *label)
{
	struct stat st;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "run/%s", label);
	CHECK_INT(stat(path, &st), 0);
	if (S_ISSOCK(st.st_mode))
		return open_socket(c, path);
	fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	CHECK(fd >= 0);
	return fd;
}

void console_rig_memory(struct console_rig *c, uint32_t port, struct console_memory *memory,
			uint8_t output[CONSOLE_OUTPUT_SIZE])
{
	int pidfd = (int)syscall(SYS_pidfd_open, rig_pid(&c->rig, "console0"), 0);
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, CONSOLE_FD(CONSOLE_PLACE_MEMORY), 0);

	CHECK(fd >= 0);
	CHECK_INT(pread(fd, memory, sizeof(*memory), 0), sizeof(*memory));
	CHECK_INT(pread(fd, output, CONSOLE_OUTPUT_SIZE, (off_t)console_output_at(port)), CONSOLE_OUTPUT_SIZE);
	close(fd);
	close(pidfd);
}

struct port_wait {
	struct console_rig *c;
	uint32_t port;
};

static int is_left(void *arg)
{
	static uint8_t output[CONSOLE_OUTPUT_SIZE];
	struct port_wait *wait = arg;
	struct console_memory memory;

	console_rig_memory(wait->c, wait->port, &memory, output);
	return !memory.stream[wait->port].attached;
}

void console_rig_await_left(struct console_rig *c, uint32_t port)
{
	struct port_wait wait = {c, port};

	CHECK(test_wait(is_left, &wait, CONSOLE_RIG_LIMIT_MS));
}

static int is_sent(void *arg)
{
	static uint8_t output[CONSOLE_OUTPUT_SIZE];
	struct port_wait *wait = arg;
	struct console_memory memory;

	console_rig_memory(wait->c, wait->port, &memory, output);
	return memory.stream[wait->port].out_sent == memory.stream[wait->port].out_end;
}

void console_rig_await_sent(struct console_rig *c, uint32_t port)
{
	struct port_wait wait = {c, port};

	CHECK(test_wait(is_sent, &wait, CONSOLE_RIG_LIMIT_MS));
}

static void check_piece(struct console_flow *flow, const uint8_t *bytes, uint32_t n)
{
	if (n > flow->len - flow->taken)
		TEST_FAIL("%u bytes more than were sent", n - (flow->len - flow->taken));
	CHECK_MEM(bytes, flow->bytes + flow->taken, n);
	flow->taken += n;
}

static void move_out(struct console_rig *c, uint32_t port, int fd, struct console_flow *flow, uint32_t most)
{
	uint8_t bytes[GUEST_CONSOLE_BUFFER];
	uint32_t n = flow->len - flow->given < PIECE ? flow->len - flow->given : PIECE;
	ssize_t got;

	if (n > 0 && guest_console_send(&c->guest, port, flow->bytes + flow->given, n))
		flow->given += n;
	got = read(fd, bytes, most < sizeof(bytes) ? most : sizeof(bytes));
	if (got > 0)
		check_piece(flow, bytes, (uint32_t)got);
}

static void move_in(struct console_rig *c, uint32_t port, int fd, struct console_flow *flow)
{
	uint8_t bytes[GUEST_CONSOLE_BUFFER];
	ssize_t n = flow->len - flow->given;
	uint32_t got;

	if (n > 0)
		n = write(fd, flow->bytes + flow->given, (size_t)n);
	if (n > 0)
		flow->given += (uint32_t)n;
	got = guest_console_receive(&c->guest, port, bytes);
	check_piece(flow, bytes, got);
}

void console_rig_move(struct console_rig *c, uint32_t port, int fd, struct console_flow *output,
		      struct console_flow *input, uint32_t most, uint32_t n, void (*disturb)(struct console_rig *c))
{
	uint64_t limit = console_rig_now_ms() + 6 * CONSOLE_RIG_LIMIT_MS;
	uint32_t done = 0;
	char byte;

	while (output->taken < output->len || input->taken < input->len) {
		move_out(c, port, fd, output, most);
		move_in(c, port, fd, input);
		if (done < n && output->taken > output->len / (n + 1) * (done + 1)) {
			disturb(c);
			done++;
		}
		if (console_rig_now_ms() > limit)
			TEST_FAIL("stands still: out %u of %u, in %u of %u", output->taken, output->len, input->taken,
				  input->len);
	}
	/* A large piece may have passed more than one of the last places. */
	CHECK(done >= n - n / 10);
	/* And nothing behind it. */
	CHECK(guest_console_sent(&c->guest, port));
	CHECK_INT(read(fd, &byte, 1), -1);
}

void console_rig_streams(struct console_rig *c, uint32_t port, int fd, uint32_t len, uint32_t most, uint32_t n,
			 void (*disturb)(struct console_rig *c))
{
	uint8_t *out = scratch_random(len);
	uint8_t *in = scratch_random(len);
	struct console_flow output = {.bytes = out, .len = len};
	struct console_flow input = {.bytes = in, .len = len};

	console_rig_move(c, port, fd, &output, &input, most, n, disturb);
	free(out);
	free(in);
}

static int has_sent(void *arg)
{
	struct port_wait *wait = arg;

	return guest_console_sent(&wait->c->guest, wait->port);
}

void console_rig_say(struct console_rig *c, uint32_t port, const void *bytes, uint32_t len)
{
	struct port_wait wait = {c, port};
	uint64_t limit = console_rig_now_ms() + CONSOLE_RIG_LIMIT_MS;
	const uint8_t *from = bytes;
	uint32_t at = 0;

	while (at < len) {
		uint32_t n = len - at < PIECE ? len - at : PIECE;

		if (guest_console_send(&c->guest, port, from + at, n))
			at += n;
		if (console_rig_now_ms() > limit)
			TEST_FAIL("the guest is kept waiting at %u of %u", at, len);
	}
	CHECK(test_wait(has_sent, &wait, CONSOLE_RIG_LIMIT_MS));
}

void console_rig_await_output(int fd, const char *text)
{
	uint64_t limit = console_rig_now_ms() + CONSOLE_RIG_LIMIT_MS;
	char got[4096] = "";
	size_t len = 0;
	ssize_t n;

	while (len < strlen(text) && console_rig_now_ms() < limit) {
		n = read(fd, got + len, sizeof(got) - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	got[len] = 0;
	CHECK_STR(got, text);
}

void console_rig_await_input(struct console_rig *c, uint32_t port, const char *text)
{
	uint64_t limit = console_rig_now_ms() + CONSOLE_RIG_LIMIT_MS;
	char got[GUEST_CONSOLE_BUFFER * 2] = "";
	size_t len = 0;

	while (len < strlen(text) && console_rig_now_ms() < limit)
		len += guest_console_receive(&c->guest, port, got + len);
	got[len] = 0;
	CHECK_STR(got, text);
}

void console_rig_kill(struct console_rig *c)
{
	uint32_t starts = rig_starts(&c->rig, "console0");

	rig_kill(&c->rig, "console0");
	rig_await_starts(&c->rig, "console0", starts + 1);
}

void console_rig_restart(struct console_rig *c)
{
	static char out[65536];

	if (rig_launcher(&c->rig, out, sizeof(out), "--restart", "console0", NULL) != 0)
		TEST_FAIL("%s", out);
}

void console_rig_kill_launcher(struct console_rig *c)
{
	rig_end_launcher(&c->rig, SIGKILL);
	rig_launch(&c->rig, NULL);
	rig_await_launcher(&c->rig);
}

struct size_wait {
	struct console_rig *c;
	uint16_t cols;
	uint16_t rows;
};

static int size_is(void *arg)
{
	const struct size_wait *wait = arg;
	struct guest_dev *dev = &wait->c->guest.dev;
	struct virtio_console_config config;

	guest_dev_interrupt(dev, 0);
	guest_dev_config(dev, 0, 0, &config, sizeof(config));
	return le16toh(config.cols) == wait->cols && le16toh(config.rows) == wait->rows;
}

void console_rig_await_size(struct console_rig *c, uint16_t cols, uint16_t rows)
{
	struct size_wait wait = {c, cols, rows};

	CHECK(test_wait(size_is, &wait, CONSOLE_RIG_LIMIT_MS));
}
