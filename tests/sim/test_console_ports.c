/* SPDX-License-Identifier: MIT */
/* Consoles on sockets, files and the launcher's terminal, with several ports, and their output logs. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "tests/sim/console_rig.h"
#include "tests/test.h"

#define QUARTER (256u << 10)
#define RESTARTS ", \"restart_limit\": 0, \"restart_delay_ms\": 1, \"restart_delay_max_ms\": 1"
#define MULTI                                                                                                          \
	RESTARTS ", \"ports\": [{}, {\"name\": \"agent.0\", \"backend\": \"socket\"}, {\"console\": true, \"name\": "  \
		 "\"second\"}]"

static char out[1u << 20];

/* Sockets */

static void test_socket(void)
{
	struct console_rig c;
	int fd;

	console_rig_init(&c, ", \"backend\": \"socket\"", GUEST_CONSOLE_BUFFER, false);
	console_rig_say(&c, 0, "to nobody", 9);
	fd = console_rig_open(&c, "console0");
	console_rig_streams(&c, 0, fd, QUARTER, GUEST_CONSOLE_BUFFER, 4, console_rig_restart);
	close(fd);
	/* The next one gets what is said from then on. */
	console_rig_await_left(&c, 0);
	console_rig_say(&c, 0, "to nobody", 9);
	fd = console_rig_open(&c, "console0");
	console_rig_say(&c, 0, "to you", 6);
	console_rig_await_output(fd, "to you");
	close(fd);
	console_rig_finish(&c);
}

/* Pages of the console's memory that wait in the socket are not written anew, however slowly it is read. */
static void test_socket_slow(void)
{
	uint8_t *bytes = scratch_random(4 * QUARTER);
	struct console_rig c;
	uint32_t given = 0, taken = 0;
	uint64_t limit;
	uint8_t got[3000];
	ssize_t n;
	int fd;

	console_rig_init(&c, ", \"backend\": \"socket\"", GUEST_CONSOLE_BUFFER, false);
	fd = console_rig_open(&c, "console0");
	limit = console_rig_now_ms() + 500;
	/* As much as it takes: socket, memory and queue are full. */
	while (given < 4 * QUARTER && console_rig_now_ms() < limit)
		given += guest_console_send(&c.guest, 0, bytes + given, 1024) ? 1024 : 0;
	limit = console_rig_now_ms() + CONSOLE_RIG_LIMIT_MS;
	while (taken < 4 * QUARTER && console_rig_now_ms() < limit) {
		n = read(fd, got, sizeof(got));
		if (n > 0) {
			CHECK_MEM(got, bytes + taken, (size_t)n);
			taken += (uint32_t)n;
		}
		if (given < 4 * QUARTER)
			given += guest_console_send(&c.guest, 0, bytes + given, 1024) ? 1024 : 0;
	}
	CHECK_INT(taken, 4 * QUARTER);
	close(fd);
	free(bytes);
	console_rig_finish(&c);
}

static void test_socket_killed(void)
{
	struct console_rig c;
	int fd;

	console_rig_init(&c, ", \"backend\": \"socket\"" RESTARTS, GUEST_CONSOLE_BUFFER, false);
	fd = console_rig_open(&c, "console0");
	console_rig_streams(&c, 0, fd, 2 * QUARTER, 3000, 60, console_rig_kill);
	console_rig_streams(&c, 0, fd, QUARTER, GUEST_CONSOLE_BUFFER, 2, console_rig_kill_launcher);
	console_rig_restart(&c);
	console_rig_streams(&c, 0, fd, QUARTER, GUEST_CONSOLE_BUFFER, 2, console_rig_restart);
	close(fd);
	console_rig_finish(&c);
}

/* What a client says before it leaves arrives, although the driver takes it later, and before what the next one says.
 */
static void test_socket_in_turn(void)
{
	struct console_rig c;
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "run/console0"};
	int first, second;

	console_rig_init(&c, ", \"backend\": \"socket\"", GUEST_CONSOLE_BUFFER, false);
	first = console_rig_open(&c, "console0");
	second = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(connect(second, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(write(second, "second", 6), 6);
	CHECK_INT(write(first, "first", 5), 5);
	/* A client that says no more may still listen. */
	CHECK_INT(shutdown(first, SHUT_WR), 0);
	console_rig_await_input(&c, 0, "first");
	console_rig_say(&c, 0, "answer", 6);
	console_rig_await_output(first, "answer");
	CHECK_INT(close(first), 0);
	console_rig_await_input(&c, 0, "second");
	close(second);
	console_rig_finish(&c);
}

static void test_socket_path(void)
{
	struct console_rig c;
	struct stat st;
	char link[4096] = "";
	char keys[512];
	int fd;

	rig_init(&c.rig, 64);
	snprintf(keys, sizeof(keys), ", \"backend\": \"socket\", \"path\": \"%s/here.sock\"", c.rig.dir);
	console_rig_config(&c, keys);
	console_rig_serve(&c);
	CHECK_INT(guest_console_open(&c.guest, &c.rig.guest, rig_base(0), rig_irq(0), GUEST_CONSOLE_BUFFER, false), 0);
	CHECK(readlink("run/console0", link, sizeof(link) - 1) > 0);
	CHECK_HAS(link, "/here.sock");
	CHECK_INT(stat("here.sock", &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	fd = console_rig_open(&c, "console0");
	console_rig_streams(&c, 0, fd, 5000, GUEST_CONSOLE_BUFFER, 0, NULL);
	close(fd);
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--stop", NULL), 0);
	rig_finish(&c.rig);
}

/* Files */

static void read_file(const char *path, uint8_t *bytes, uint32_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(read(fd, bytes, len), len);
	CHECK_INT(read(fd, bytes + len, 1), 0);
	close(fd);
}

static void test_file(void)
{
	uint8_t *bytes = scratch_random(QUARTER);
	uint8_t *got = malloc(2 * QUARTER + 16);
	struct console_rig c;
	uint32_t at;
	int fd;

	/* Behind what is there. */
	CHECK(got);
	rig_init(&c.rig, 64);
	fd = open("out.txt", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(write(fd, "before\n", 7), 7);
	close(fd);
	console_rig_config(&c, ", \"backend\": \"file\", \"path\": \"out.txt\"" RESTARTS);
	console_rig_serve(&c);
	CHECK_INT(guest_console_open(&c.guest, &c.rig.guest, rig_base(0), rig_irq(0), GUEST_CONSOLE_BUFFER, false), 0);
	for (at = 0; at < QUARTER; at += QUARTER / 16) {
		uint32_t n;

		/* In flight, or not. */
		for (n = 0; n < QUARTER / 16; n += 1024) {
			while (!guest_console_send(&c.guest, 0, bytes + at + n, 1024))
				;
		}
		console_rig_kill(&c);
	}
	console_rig_say(&c, 0, "end", 3);
	rig_end_launcher(&c.rig, SIGKILL);
	rig_launch(&c.rig, NULL);
	rig_await_launcher(&c.rig);
	console_rig_restart(&c);
	console_rig_say(&c, 0, "more", 4);
	/* In the file when the guest has it back and the backend has come to rest, at the latest when it has ended. */
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--stop", "console0", NULL), 0);
	read_file("out.txt", got, 7 + QUARTER + 3 + 4);
	CHECK_MEM(got, "before\n", 7);
	CHECK_MEM(got + 7, bytes, QUARTER);
	CHECK_MEM(got + 7 + QUARTER, "endmore", 7);
	free(got);
	free(bytes);
	rig_finish(&c.rig);
}

/* On a full disk the guest waits, and nothing is lost. */
static void test_file_full(void)
{
	uint8_t *bytes = scratch_random(QUARTER);
	uint8_t *got = malloc(QUARTER + 16);
	struct console_rig c;
	uint32_t given = 0;
	uint64_t limit;

	CHECK(got);
	rig_init(&c.rig, 64);
	CHECK_INT(mkdir("small", 0700), 0);
	CHECK_INT(mount("none", "small", "tmpfs", 0, "size=64k"), 0);
	console_rig_config(&c, ", \"backend\": \"file\", \"path\": \"small/out.txt\"");
	console_rig_serve(&c);
	CHECK_INT(guest_console_open(&c.guest, &c.rig.guest, rig_base(0), rig_irq(0), GUEST_CONSOLE_BUFFER, false), 0);
	limit = console_rig_now_ms() + 500;
	while (given < QUARTER && console_rig_now_ms() < limit)
		given += guest_console_send(&c.guest, 0, bytes + given, 1024) ? 1024 : 0;
	CHECK(given < QUARTER);
	rig_await_text(&c.rig, "console0.log",
		       "port 0: writing its file, tried again every second: No space left on device");
	CHECK_INT(mount("none", "small", "tmpfs", MS_REMOUNT, "size=1m"), 0);
	limit = console_rig_now_ms() + CONSOLE_RIG_LIMIT_MS;
	while (given < QUARTER && console_rig_now_ms() < limit)
		given += guest_console_send(&c.guest, 0, bytes + given, 1024) ? 1024 : 0;
	CHECK_INT(given, QUARTER);
	console_rig_say(&c, 0, "", 0);
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--stop", "console0", NULL), 0);
	read_file("small/out.txt", got, QUARTER);
	CHECK_MEM(got, bytes, QUARTER);
	rig_finish(&c.rig);
	CHECK_INT(umount("small"), 0);
	free(got);
	free(bytes);
}

/* Several ports */

struct control_wait {
	struct console_rig *c;
	uint32_t port;
	bool host_open;
	uint16_t cols;
};

static int ports_ready(void *arg)
{
	struct console_rig *c = arg;
	uint32_t i;

	guest_console_control(&c->guest, false);
	for (i = 0; i < c->guest.nports; i++) {
		const struct guest_console_port *port = &c->guest.port[i];

		if (!port->added || (i == 1 ? !port->name[0] : !port->console || !port->host_open))
			return 0;
	}
	return c->guest.port[2].name[0] != 0;
}

static int is_open(void *arg)
{
	struct control_wait *wait = arg;

	guest_console_control(&wait->c->guest, false);
	return wait->c->guest.port[wait->port].host_open == wait->host_open;
}

static int has_cols(void *arg)
{
	struct control_wait *wait = arg;

	guest_console_control(&wait->c->guest, false);
	return wait->c->guest.port[wait->port].cols == wait->cols;
}

static void begin_ports(struct console_rig *c)
{
	console_rig_init(c, MULTI, GUEST_CONSOLE_BUFFER, true);
	CHECK_INT(c->guest.nports, 3);
	CHECK(test_wait(ports_ready, c, CONSOLE_RIG_LIMIT_MS));
}

static void test_ports(void)
{
	struct console_rig c;
	struct control_wait wait = {.c = &c, .port = 1};
	int fd[3];
	uint32_t i;

	begin_ports(&c);
	CHECK_STR(c.guest.port[0].name, "");
	CHECK_STR(c.guest.port[1].name, "agent.0");
	CHECK_STR(c.guest.port[2].name, "second");
	CHECK_INT(c.guest.port[1].console, 0);
	CHECK_INT(c.guest.port[0].cols, 80);
	CHECK_INT(c.guest.port[0].rows, 24);
	CHECK_INT(c.guest.port[2].cols, 80);
	/* A console is always there; another port is when somebody is at its other end. */
	CHECK(c.guest.port[2].host_open);
	CHECK(!c.guest.port[1].host_open);
	fd[0] = console_rig_open(&c, "console0");
	fd[1] = console_rig_open(&c, "console0.1");
	fd[2] = console_rig_open(&c, "console0.2");
	wait.host_open = true;
	CHECK(test_wait(is_open, &wait, CONSOLE_RIG_LIMIT_MS));
	for (i = 0; i < 3; i++)
		console_rig_streams(&c, i, fd[i], QUARTER / 2, GUEST_CONSOLE_BUFFER, 2, console_rig_restart);
	/* A guest that has no program at the port leaves what comes where it is. */
	guest_console_tell(&c.guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, sizeof(struct virtio_console_control));
	while (!guest_console_sent(&c.guest, 0))
		;
	console_rig_restart(&c);
	CHECK_INT(write(fd[1], "later", 5), 5);
	console_rig_streams(&c, 2, fd[2], 5000, GUEST_CONSOLE_BUFFER, 0, NULL);
	CHECK_INT(guest_console_receive(&c.guest, 1, out), 0);
	guest_console_tell(&c.guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, sizeof(struct virtio_console_control));
	console_rig_await_input(&c, 1, "later");
	close(fd[1]);
	wait.host_open = false;
	CHECK(test_wait(is_open, &wait, CONSOLE_RIG_LIMIT_MS));
	close(fd[0]);
	close(fd[2]);
	console_rig_finish(&c);
}

static void test_ports_resize(void)
{
	struct console_rig c;
	struct control_wait wait = {.c = &c};
	struct winsize size = {.ws_col = 120, .ws_row = 40};
	int fd;

	begin_ports(&c);
	fd = console_rig_open(&c, "console0");
	CHECK_INT(ioctl(fd, TIOCSWINSZ, &size), 0);
	wait.cols = 120;
	CHECK(test_wait(has_cols, &wait, CONSOLE_RIG_LIMIT_MS));
	CHECK_INT(c.guest.port[0].rows, 40);
	console_rig_await_size(&c, 120, 40);
	scratch_run("stty -F run/console0.2 cols 60 rows 20");
	wait.port = 2;
	wait.cols = 60;
	CHECK(test_wait(has_cols, &wait, CONSOLE_RIG_LIMIT_MS));
	CHECK_INT(c.guest.port[0].cols, 120);
	close(fd);
	console_rig_finish(&c);
}

static int all_ports_open(void *arg)
{
	struct console_rig *c = arg;
	uint32_t i;

	guest_console_control(&c->guest, false);
	for (i = 0; i < c->guest.nports && c->guest.port[i].host_open; i++)
		;
	return i == c->guest.nports;
}

/* As many as there can be, each with all that a port has: a terminal with a window, both streams, and a log. */
static void test_ports_most(void)
{
	const uint32_t len = 20000;
	struct console_rig c;
	struct control_wait wait = {.c = &c};
	char keys[1024] = RESTARTS ", \"ports\": [{\"output_log\": true}";
	char name[64];
	struct stat st;
	int fd;

	for (wait.port = 1; wait.port < CONSOLE_PORTS_MAX; wait.port++)
		strcat(keys, ", {\"console\": true, \"output_log\": true}");
	console_rig_init(&c, strcat(keys, "]"), GUEST_CONSOLE_BUFFER, true);
	CHECK_INT(c.guest.nports, CONSOLE_PORTS_MAX);
	CHECK(test_wait(all_ports_open, &c, CONSOLE_RIG_LIMIT_MS));
	for (wait.port = 0; wait.port < CONSOLE_PORTS_MAX; wait.port++) {
		snprintf(name, sizeof(name), wait.port ? "console0.%u" : "console0", wait.port);
		wait.cols = (uint16_t)(100 + wait.port);
		scratch_run("stty -F run/%s cols %u rows 40", name, wait.cols);
		CHECK(test_wait(has_cols, &wait, CONSOLE_RIG_LIMIT_MS));
		fd = console_rig_open(&c, name);
		console_rig_streams(&c, wait.port, fd, len, GUEST_CONSOLE_BUFFER, 0, NULL);
		close(fd);
	}
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--stop", NULL), 0);
	for (wait.port = 0; wait.port < CONSOLE_PORTS_MAX; wait.port++) {
		snprintf(name, sizeof(name), wait.port ? "log/console0.%u.output.log" : "log/console0.output.log",
			 wait.port);
		CHECK_INT(stat(name, &st), 0);
		CHECK_INT(st.st_size, len);
	}
	console_rig_finish(&c);
}

/* What the driver has said holds for later backends; what it is to be told is told by them. */
static void test_ports_killed(void)
{
	struct console_rig c;
	int fd;
	uint32_t i;

	for (i = 0; i < 5; i++) {
		console_rig_init(&c, MULTI, GUEST_CONSOLE_BUFFER, true);
		console_rig_kill(&c);
		CHECK(test_wait(ports_ready, &c, CONSOLE_RIG_LIMIT_MS));
		fd = console_rig_open(&c, "console0.1");
		console_rig_streams(&c, 1, fd, QUARTER / 4, GUEST_CONSOLE_BUFFER, 10, console_rig_kill);
		close(fd);
		console_rig_finish(&c);
	}
}

/* A driver without multiport has the first port; a port that it cannot use is none. */
static void test_ports_plain_driver(void)
{
	struct console_rig c;
	int fd;

	console_rig_init(&c, MULTI, GUEST_CONSOLE_BUFFER, false);
	CHECK_INT(c.guest.nports, 1);
	fd = console_rig_open(&c, "console0");
	console_rig_streams(&c, 0, fd, 20000, GUEST_CONSOLE_BUFFER, 1, console_rig_restart);
	close(fd);
	console_rig_finish(&c);
}

static int is_broken(void *arg)
{
	struct console_rig *c = arg;
	struct hvisor_device_get get;

	return rig_device(&c->rig, "console0", &get) && (get.status & 64);
}

/* Messages that make no sense change nothing; a buffer that no message fits into needs a reset. */
static void test_ports_hostile(void)
{
	struct console_rig c;
	struct region_device counters;

	begin_ports(&c);
	guest_console_tell(&c.guest, 77, VIRTIO_CONSOLE_PORT_OPEN, 1, 8);
	guest_console_tell(&c.guest, 0, 999, 1, 8);
	guest_console_tell(&c.guest, 0, VIRTIO_CONSOLE_PORT_NAME, 1, 3);
	guest_console_tell(&c.guest, UINT32_MAX, VIRTIO_CONSOLE_PORT_READY, 1, 8);
	rig_await_text(&c.rig, "console0.log", "makes no sense");
	console_rig_restart(&c);
	rig_counters(&c.rig, "console0", &counters);
	CHECK(counters.errors >= 2);
	guest_console_close(&c.guest);
	CHECK_INT(guest_console_open(&c.guest, &c.rig.guest, rig_base(0), rig_irq(0), 512, true), 0);
	CHECK(test_wait(ports_ready, &c, CONSOLE_RIG_LIMIT_MS));
	/* All the buffers that are there, of 4 bytes. */
	c.guest.control.rx_size = 4;
	while (!is_broken(&c)) {
		guest_console_tell(&c.guest, 0, VIRTIO_CONSOLE_PORT_READY, 1, 8);
		guest_console_control(&c.guest, true);
	}
	rig_await_text(&c.rig, "console0.log", "a control buffer that is too small for its message");
	console_rig_finish(&c);
}

/* Output logs */

static void test_log(void)
{
	uint8_t *bytes = scratch_random(QUARTER);
	uint8_t *got = malloc(QUARTER + 64);
	struct console_rig c;
	struct stat st;
	int fd;

	CHECK(got);
	console_rig_init(&c, ", \"output_log\": true" RESTARTS, GUEST_CONSOLE_BUFFER, false);
	/* With nobody there, with somebody, and while backends come and go. */
	console_rig_say(&c, 0, bytes, QUARTER / 2);
	console_rig_kill(&c);
	fd = console_rig_open(&c, "console0");
	console_rig_say(&c, 0, bytes + QUARTER / 2, 1000);
	console_rig_restart(&c);
	console_rig_say(&c, 0, bytes + QUARTER / 2 + 1000, 1000);
	/* What is said while no launcher is there is found by the next one. */
	rig_end_launcher(&c.rig, SIGKILL);
	console_rig_say(&c, 0, bytes + QUARTER / 2 + 2000, 1000);
	rig_launch(&c.rig, NULL);
	rig_await_launcher(&c.rig);
	console_rig_say(&c, 0, bytes + QUARTER / 2 + 3000, 1000);
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--status", "--json", NULL), 0);
	CHECK_HAS(out, "log/console0.output.log");
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--stop", NULL), 0);
	rig_end_launcher(&c.rig, SIGTERM);
	read_file("log/console0.output.log", got, QUARTER / 2 + 4000);
	CHECK_MEM(got, bytes, QUARTER / 2 + 4000);
	CHECK_INT(stat("log/console0.output.log", &st), 0);
	CHECK_INT(st.st_mode & 0777, 0640);
	close(fd);
	free(got);
	free(bytes);
	rig_finish(&c.rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"console_socket", test_socket, 0},
		{"console_socket_slow", test_socket_slow, 0},
		{"console_socket_killed", test_socket_killed, 0},
		{"console_socket_in_turn", test_socket_in_turn, 0},
		{"console_socket_path", test_socket_path, 0},
		{"console_file", test_file, 0},
		{"console_file_full", test_file_full, 0},
		{"console_ports", test_ports, 0},
		{"console_ports_resize", test_ports_resize, 0},
		{"console_ports_most", test_ports_most, 0},
		{"console_ports_killed", test_ports_killed, 0},
		{"console_ports_plain_driver", test_ports_plain_driver, 0},
		{"console_ports_hostile", test_ports_hostile, 0},
		{"console_log", test_log, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
