/* SPDX-License-Identifier: MIT */
/* Consoles: both streams, byte for byte, whoever is there and whatever is killed; and hvisor-launch --console. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "tests/sim/console_rig.h"
#include "tests/test.h"

#define MEBIBYTE (1u << 20)
#define COMINGS 50
#define LIMIT_MS CONSOLE_RIG_LIMIT_MS
#define KILLED_KEYS ", \"restart_limit\": 0, \"restart_delay_ms\": 1, \"restart_delay_max_ms\": 1"

static char out[1u << 20];

static void begin(struct console_rig *c)
{
	console_rig_init(c, "", GUEST_CONSOLE_BUFFER, false);
}

static void test_megabyte(void)
{
	struct console_rig c;
	int fd;

	begin(&c);
	fd = console_rig_open(&c, "console0");
	console_rig_streams(&c, 0, fd, MEBIBYTE, GUEST_CONSOLE_BUFFER, 0, NULL);
	close(fd);
	console_rig_finish(&c);
}

/* A reader that takes little at a time, and a driver whose buffers are small and odd. */
static void test_slow(void)
{
	struct console_rig c;
	int fd;

	console_rig_init(&c, "", 7, false);
	fd = console_rig_open(&c, "console0");
	console_rig_streams(&c, 0, fd, MEBIBYTE / 4, 100, 0, NULL);
	close(fd);
	console_rig_finish(&c);
}

static void test_restarted(void)
{
	struct console_rig c;
	int fd;

	begin(&c);
	fd = console_rig_open(&c, "console0");
	console_rig_streams(&c, 0, fd, MEBIBYTE, GUEST_CONSOLE_BUFFER, 8, console_rig_restart);
	close(fd);
	console_rig_finish(&c);
}

/* In the middle of whatever it does: no byte is lost or doubled, at whatever instruction. */
static void test_killed(void)
{
	struct console_rig c;
	int fd;

	console_rig_init(&c, KILLED_KEYS, GUEST_CONSOLE_BUFFER, false);
	fd = console_rig_open(&c, "console0");
	console_rig_streams(&c, 0, fd, MEBIBYTE, GUEST_CONSOLE_BUFFER, 100, console_rig_kill);
	close(fd);
	console_rig_finish(&c);
}

/* The terminal is the same for whoever has it open, though launcher and backend have been replaced. */
static void test_launcher_killed(void)
{
	struct console_rig c;
	char before[64] = "";
	char after[64] = "";
	int fd;

	begin(&c);
	fd = console_rig_open(&c, "console0");
	CHECK(readlink("run/console0", before, sizeof(before) - 1) > 0);
	console_rig_streams(&c, 0, fd, MEBIBYTE / 8, GUEST_CONSOLE_BUFFER, 2, console_rig_kill_launcher);
	console_rig_restart(&c);
	CHECK(readlink("run/console0", after, sizeof(after) - 1) > 0);
	CHECK_STR(after, before);
	console_rig_streams(&c, 0, fd, MEBIBYTE / 8, GUEST_CONSOLE_BUFFER, 3, console_rig_restart);
	close(fd);
	console_rig_finish(&c);
}

/* With nobody there the guest goes on, and what it said last is in the memory. */
static void test_nobody(void)
{
	static uint8_t output[CONSOLE_OUTPUT_SIZE];
	struct console_memory memory;
	uint8_t *bytes = scratch_random(MEBIBYTE);
	struct console_rig c;
	uint32_t n;
	int fd;

	begin(&c);
	console_rig_say(&c, 0, bytes, MEBIBYTE);
	console_rig_memory(&c, 0, &memory, output);
	CHECK_INT(memory.stream[0].out_end, MEBIBYTE);
	for (n = MEBIBYTE - CONSOLE_OUTPUT_SIZE; n < MEBIBYTE; n++)
		CHECK_INT(output[n % CONSOLE_OUTPUT_SIZE], bytes[n]);
	/* He who comes now gets what is said now, and so does each one after he has left, whenever that was noticed. */
	for (n = 0; n < COMINGS; n++) {
		console_rig_await_sent(&c, 0);
		fd = console_rig_open(&c, "console0");
		console_rig_streams(&c, 0, fd, 5000, GUEST_CONSOLE_BUFFER, 0, NULL);
		close(fd);
		console_rig_say(&c, 0, bytes, 200000);
	}
	free(bytes);
	console_rig_finish(&c);
}

/* What is written by somebody who leaves at once arrives, although the driver takes it later. */
static void test_written_and_left(void)
{
	struct console_rig c;
	uint8_t *bytes = scratch_random(10000);
	uint8_t got[GUEST_CONSOLE_BUFFER];
	uint32_t at = 0;
	uint64_t limit;
	int fd;

	begin(&c);
	fd = console_rig_open(&c, "console0");
	CHECK_INT(write(fd, bytes, 10000), 10000);
	close(fd);
	limit = console_rig_now_ms() + LIMIT_MS;
	while (at < 10000 && console_rig_now_ms() < limit) {
		uint32_t n = guest_console_receive(&c.guest, 0, got);

		CHECK_MEM(got, bytes + at, n);
		at += n;
	}
	CHECK_INT(at, 10000);
	free(bytes);
	console_rig_finish(&c);
}

/* Asleep, whether somebody is there or not. */
static void check_rests(struct console_rig *c)
{
	struct region_device before, after;
	uint64_t wakeups;
	int tries;

	/* What it had to do before may take a while; then nothing more comes. */
	for (tries = 0; tries < 50; tries++) {
		rig_counters(&c->rig, "console0", &before);
		usleep(200000);
		rig_counters(&c->rig, "console0", &after);
		wakeups = after.wakeups - before.wakeups;
		if (wakeups == 0 && after.heartbeat == before.heartbeat)
			return;
	}
	TEST_FAIL("%llu wakeups in 200 ms", (unsigned long long)wakeups);
}

/* Also with a reader that does not read and a guest that does not take, when all is full. */
static void test_rest(void)
{
	struct console_rig c;
	char bytes[GUEST_CONSOLE_BUFFER] = "";
	uint64_t limit;
	int fd;

	console_rig_init(&c, "", 7, false);
	check_rests(&c);
	fd = console_rig_open(&c, "console0");
	check_rests(&c);
	limit = console_rig_now_ms() + 300;
	while (console_rig_now_ms() < limit) {
		(void)!write(fd, bytes, sizeof(bytes));
		guest_console_send(&c.guest, 0, bytes, sizeof(bytes));
	}
	check_rests(&c);
	close(fd);
	check_rests(&c);
	console_rig_finish(&c);
}

/* The size that the configuration has, that which a program sets that opens the terminal, and one that has it open. */
static void test_size(void)
{
	const struct winsize size = {.ws_col = 40, .ws_row = 10};
	struct virtio_console_config config;
	struct console_rig c;
	uint32_t changes;
	int fd;

	console_rig_init(&c, ", \"columns\": 100, \"rows\": 30", GUEST_CONSOLE_BUFFER, false);
	console_rig_await_size(&c, 100, 30);
	guest_dev_config(&c.guest.dev, 0, 0, &config, sizeof(config));
	CHECK_INT(config.max_nr_ports, 1);
	changes = c.guest.dev.config_changes;
	scratch_run("stty -F run/console0 cols 132 rows 50");
	console_rig_await_size(&c, 132, 50);
	CHECK(c.guest.dev.config_changes > changes);
	fd = console_rig_open(&c, "console0");
	check_rests(&c);
	changes = c.guest.dev.config_changes;
	CHECK_INT(ioctl(fd, TIOCSWINSZ, &size), 0);
	console_rig_await_size(&c, 40, 10);
	CHECK(c.guest.dev.config_changes > changes);
	/* So it is for the next backend. */
	console_rig_restart(&c);
	check_rests(&c);
	CHECK_INT(ioctl(fd, TIOCSWINSZ, &(struct winsize){.ws_col = 41, .ws_row = 11}), 0);
	console_rig_await_size(&c, 41, 11);
	close(fd);
	console_rig_finish(&c);
}

static void write_emergency(struct console_rig *c, const char *text)
{
	for (; *text; text++) {
		uint32_t character = (uint32_t)(unsigned char)*text;

		guest_dev_config_write(&c->guest.dev, 0, offsetof(struct virtio_console_config, emerg_wr), &character,
				       sizeof(character));
	}
}

/* All of what is written at once, in the middle of a stream too, and by a driver that has set nothing up. */
static void test_emergency(void)
{
	struct console_rig c;
	int fd;

	begin(&c);
	fd = console_rig_open(&c, "console0");
	console_rig_say(&c, 0, "before ", 7);
	console_rig_await_output(fd, "before ");
	write_emergency(&c, "Kernel panic - not syncing: Attempted to kill init!");
	console_rig_await_output(fd, "Kernel panic - not syncing: Attempted to kill init!");
	guest_dev_reset(&c.guest.dev, 0);
	write_emergency(&c, "and before DRIVER_OK");
	console_rig_await_output(fd, "and before DRIVER_OK");
	/* Not once more by a successor. */
	console_rig_kill(&c);
	write_emergency(&c, "!");
	console_rig_await_output(fd, "!");
	close(fd);
	console_rig_finish(&c);
}

/* "hvisor-launch --console console0" on a terminal of our own. */
struct client {
	pid_t pid;
	int fd;
	char said[2 * CONSOLE_OUTPUT_SIZE];
	size_t len;
	struct termios before;
	const char *want;
};

static void client_start(struct console_rig *c, struct client *client, const char *escape)
{
	const struct winsize size = {.ws_col = 90, .ws_row = 33};
	int slave;
	char program[PATH_MAX];
	char *argv[] = {program,
			(char *)(uintptr_t) "--run",
			c->rig.run_dir,
			(char *)(uintptr_t) "--console",
			(char *)(uintptr_t) "console0",
			(char *)(uintptr_t)escape,
			NULL};

	CHECK_INT(rig_program("hvisor-launch", program, sizeof(program)), 0);
	memset(client, 0, sizeof(*client));
	CHECK_INT(openpty(&client->fd, &slave, NULL, NULL, &size), 0);
	CHECK_INT(tcgetattr(slave, &client->before), 0);
	fcntl(client->fd, F_SETFL, O_NONBLOCK);
	client->pid = fork();
	if (client->pid == 0) {
		login_tty(slave);
		execv(argv[0], argv);
		_exit(127);
	}
	close(slave);
}

static int client_has(void *arg)
{
	struct client *client = arg;
	ssize_t n;

	while (client->len < sizeof(client->said) - 1 &&
	       (n = read(client->fd, client->said + client->len, sizeof(client->said) - 1 - client->len)) > 0)
		client->len += (size_t)n;
	return memmem(client->said, client->len, client->want, strlen(client->want)) != NULL;
}

static void client_await(struct client *client, const char *want)
{
	client->want = want;
	if (!test_wait(client_has, client, LIMIT_MS))
		TEST_FAIL("the client has not said \"%s\" but: %s", want, client->said);
}

static int client_over(void *arg)
{
	struct client *client = arg;
	int status;

	client->want = "\1";
	client_has(client);
	if (waitpid(client->pid, &status, WNOHANG) != client->pid)
		return 0;
	client->pid = status;
	return 1;
}

/* Its terminal is as it was before. Returns the wait status. */
static int client_end(struct client *client)
{
	struct termios after = {0}; /* it has padding */

	CHECK(test_wait(client_over, client, LIMIT_MS));
	CHECK_INT(tcgetattr(client->fd, &after), 0);
	CHECK_MEM(&after, &client->before, sizeof(after));
	close(client->fd);
	return client->pid;
}

static void test_client(void)
{
	static struct client client;
	struct console_rig c;
	const int signals[] = {SIGTERM, SIGHUP};
	size_t n;
	int status;

	begin(&c);
	console_rig_say(&c, 0, "said before\r\n", 13);
	client_start(&c, &client, NULL);
	client_await(&client, "said before\r\n");
	console_rig_await_size(&c, 90, 33);
	console_rig_say(&c, 0, "said now\r\n", 10);
	client_await(&client, "said before\r\nsaid now\r\n");
	CHECK_INT(write(client.fd, "typed\3", 6), 6);
	console_rig_await_input(&c, 0, "typed\3");
	CHECK_INT(write(client.fd, "\x1d", 1), 1);
	CHECK_INT(client_end(&client), 0);
	/* Once more: what was said is shown once, and another key ends it. */
	client_start(&c, &client, "--escape=^a");
	client_await(&client, "said now\r\n");
	CHECK_INT(write(client.fd, "\x1d", 1), 1);
	console_rig_await_input(&c, 0, "\x1d");
	CHECK(memmem(client.said, client.len, "said now\r\nsaid", 14) == NULL);
	CHECK_INT(write(client.fd, "\1", 1), 1);
	CHECK_INT(client_end(&client), 0);
	for (n = 0; n < sizeof(signals) / sizeof(signals[0]); n++) {
		client_start(&c, &client, NULL);
		client_await(&client, "said now\r\n");
		kill(client.pid, signals[n]);
		status = client_end(&client);
		CHECK(WIFSIGNALED(status));
		CHECK_INT(WTERMSIG(status), signals[n]);
	}
	/* Backends do without a launcher, and so does this, but for what was said before. */
	rig_end_launcher(&c.rig, SIGKILL);
	client_start(&c, &client, NULL);
	client_await(&client, "its recent output is not at hand");
	console_rig_say(&c, 0, "said then\r\n", 11);
	client_await(&client, "said then\r\n");
	CHECK_INT(write(client.fd, "\x1d", 1), 1);
	CHECK_INT(client_end(&client), 0);
	console_rig_finish(&c);
}

static void test_errors(void)
{
	struct console_rig c;
	cJSON *reply;
	const cJSON *device;
	const cJSON *port;
	char path[64] = "";

	begin(&c);
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--console", "console1", NULL), 1);
	CHECK_HAS(out, "console1: no device has this name; there is console0; did you mean console0?");
	RIG_ASK(&c.rig, out, "--status", "--json", "console0");
	reply = cJSON_Parse(out);
	device = cJSON_GetArrayItem(cJSON_GetObjectItem(reply, "devices"), 0);
	CHECK(readlink("run/console0", path, sizeof(path) - 1) > 0);
	port = cJSON_GetArrayItem(cJSON_GetObjectItem(device, "ports"), 0);
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(port, "backend")), "pty");
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(port, "label")), "console0");
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(port, "path")), path);
	CHECK_HAS(cJSON_GetStringValue(cJSON_GetObjectItem(port, "link")), "run/console0");
	CHECK(cJSON_IsNull(cJSON_GetObjectItem(port, "name")));
	CHECK(cJSON_IsNull(cJSON_GetObjectItem(port, "output_log")));
	cJSON_Delete(reply);
	snprintf(out, sizeof(out), "hvisor-launch: console0: char device redirected to %s (%s/console0)\n", path,
		 c.rig.run_dir);
	rig_await_text(&c.rig, c.rig.errors, out);
	/* When all has ended, nobody is led astray. */
	RIG_ASK(&c.rig, out, "--stop");
	CHECK_INT(access("run/console0", F_OK), -1);
	rig_finish(&c.rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"console_megabyte", test_megabyte, 0},
		{"console_slow", test_slow, 0},
		{"console_restarted", test_restarted, 0},
		{"console_killed", test_killed, 0},
		{"console_launcher_killed", test_launcher_killed, 0},
		{"console_nobody", test_nobody, 0},
		{"console_written_and_left", test_written_and_left, 0},
		{"console_rest", test_rest, 0},
		{"console_size", test_size, 0},
		{"console_emergency", test_emergency, 0},
		{"console_client", test_client, 0},
		{"console_errors", test_errors, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
