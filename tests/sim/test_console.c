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
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "common/console.h"
#include "tests/sim/guest_console.h"
#include "tests/sim/rig.h"
#include "tests/test.h"

#define MEBIBYTE (1u << 20)
#define LIMIT_MS 20000
#define COMINGS 50

static char out[1u << 20];

struct fixture {
	struct rig rig;
	struct guest_console console;
	int terminal; /* its other side, -1: closed */
};

/* Runs hvisor-launch, which has to succeed. */
#define ASK(f, ...)                                                                                                    \
	do {                                                                                                           \
		if (rig_launcher(&(f)->rig, out, sizeof(out), __VA_ARGS__, NULL) != 0)                                 \
			TEST_FAIL("%s", out);                                                                          \
	} while (0)

static void configure(struct rig *rig, const char *keys)
{
	FILE *file = fopen(rig->config, "we");

	CHECK(file);
	fprintf(file,
		"{\"zones\": [{\"id\": %u, \"memory_region\": [{\"zone0_ipa\": %u, \"zonex_ipa\": %u, \"size\": "
		"67108864}], \"devices\": [{\"type\": \"console\", \"addr\": %llu, \"len\": 512, \"irq\": %u%s}]}]}\n",
		RIG_ZONE, RIG_RAM, RIG_RAM, (unsigned long long)rig_base(0), rig_irq(0), keys);
	CHECK_INT(fclose(file), 0);
}

static void open_terminal(struct fixture *f)
{
	f->terminal = open("run/console0", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	CHECK(f->terminal >= 0);
}

static void close_terminal(struct fixture *f)
{
	close(f->terminal);
	f->terminal = -1;
}

static void begin_with(struct fixture *f, const char *keys, uint32_t rx_size)
{
	f->terminal = -1;
	rig_init(&f->rig, 64);
	configure(&f->rig, keys);
	rig_launch(&f->rig, NULL);
	rig_await_launcher(&f->rig);
	rig_await_starts(&f->rig, "console0", 1);
	CHECK_INT(guest_console_open(&f->console, &f->rig.guest, rig_base(0), rig_irq(0), rx_size), 0);
}

static void begin(struct fixture *f)
{
	begin_with(f, "", GUEST_CONSOLE_BUFFER);
}

static void end(struct fixture *f)
{
	if (f->terminal >= 0)
		close(f->terminal);
	guest_console_close(&f->console);
	rig_finish(&f->rig);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* One direction of a stream under way. */
struct stream {
	const uint8_t *bytes;
	uint32_t len;
	uint32_t given;
	uint32_t taken;
};

static void check_piece(struct stream *stream, const uint8_t *bytes, uint32_t n)
{
	if (n > stream->len - stream->taken)
		TEST_FAIL("%u bytes more than were sent", n - (stream->len - stream->taken));
	CHECK_MEM(bytes, stream->bytes + stream->taken, n);
	stream->taken += n;
}

static void move_out(struct fixture *f, struct stream *stream, uint32_t most)
{
	uint8_t bytes[GUEST_CONSOLE_BUFFER];
	uint32_t n = stream->len - stream->given;
	ssize_t got;

	n = n < 1000 ? n : 1000;
	if (n > 0 && guest_console_send(&f->console, stream->bytes + stream->given, n))
		stream->given += n;
	got = read(f->terminal, bytes, most < sizeof(bytes) ? most : sizeof(bytes));
	if (got > 0)
		check_piece(stream, bytes, (uint32_t)got);
}

static void move_in(struct fixture *f, struct stream *stream)
{
	uint8_t bytes[GUEST_CONSOLE_BUFFER];
	ssize_t n = stream->len - stream->given;
	uint32_t got;

	if (n > 0)
		n = write(f->terminal, stream->bytes + stream->given, (size_t)n);
	if (n > 0)
		stream->given += (uint32_t)n;
	got = guest_console_receive(&f->console, bytes);
	check_piece(stream, bytes, got);
}

/* Both until they are through; at each of n places of the output something is done. */
static void move_both(struct fixture *f, struct stream *o, struct stream *i, uint32_t most, uint32_t n,
		      void (*disturb)(struct fixture *f))
{
	uint64_t limit = now_ms() + 4 * LIMIT_MS;
	uint32_t done = 0;

	while (o->taken < o->len || i->taken < i->len) {
		move_out(f, o, most);
		move_in(f, i);
		if (done < n && o->taken > o->len / (n + 1) * (done + 1)) {
			disturb(f);
			done++;
		}
		if (now_ms() > limit)
			TEST_FAIL("stands still: out %u of %u, in %u of %u", o->taken, o->len, i->taken, i->len);
	}
	CHECK_INT(done, n);
	/* And nothing behind it. */
	CHECK(guest_console_sent(&f->console));
	CHECK_INT(read(f->terminal, out, 1), -1);
}

static void streams(struct fixture *f, uint32_t most, uint32_t n, void (*disturb)(struct fixture *f))
{
	struct stream o = {.bytes = scratch_random(MEBIBYTE), .len = MEBIBYTE};
	struct stream i = {.bytes = scratch_random(MEBIBYTE), .len = MEBIBYTE};

	open_terminal(f);
	move_both(f, &o, &i, most, n, disturb);
	free((void *)(uintptr_t)o.bytes);
	free((void *)(uintptr_t)i.bytes);
}

static void test_megabyte(void)
{
	struct fixture f;

	begin(&f);
	streams(&f, GUEST_CONSOLE_BUFFER, 0, NULL);
	end(&f);
}

/* A reader that takes little at a time, and a driver whose buffers are small and odd. */
static void test_slow(void)
{
	struct fixture f;

	begin_with(&f, "", 7);
	streams(&f, 100, 0, NULL);
	end(&f);
}

/* Nobody reads and nobody takes, so in the end everything is full on both ways, and the backend sleeps. */
static int is_stuck(void *arg)
{
	struct fixture *f = arg;
	struct region_device before, after;
	char path[64], line[256] = "";
	const char *state;
	FILE *file;

	rig_counters(&f->rig, "console0", &before);
	usleep(10000);
	snprintf(path, sizeof(path), "/proc/%d/stat", rig_pid(&f->rig, "console0"));
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	/* proc(5): the state stands behind the name in brackets; one that is to run is not asleep. */
	state = strrchr(line, ')');
	rig_counters(&f->rig, "console0", &after);
	return state && state[2] == 'S' && before.heartbeat == after.heartbeat;
}

/* With chains in hand of which a part is through; within a write or read of the terminal see common/console.h. */
static void kill_backend(struct fixture *f)
{
	uint32_t starts = rig_starts(&f->rig, "console0");

	CHECK(test_wait(is_stuck, f, LIMIT_MS));
	rig_kill(&f->rig, "console0");
	rig_await_starts(&f->rig, "console0", starts + 1);
}

static void restart_backend(struct fixture *f)
{
	ASK(f, "--restart", "console0");
}

static void test_restarted(void)
{
	struct fixture f;

	begin(&f);
	streams(&f, GUEST_CONSOLE_BUFFER, 8, restart_backend);
	end(&f);
}

static void test_killed(void)
{
	struct fixture f;

	begin_with(&f, ", \"restart_limit\": 0, \"restart_delay_ms\": 1, \"restart_delay_max_ms\": 1",
		   GUEST_CONSOLE_BUFFER);
	streams(&f, GUEST_CONSOLE_BUFFER, 40, kill_backend);
	end(&f);
}

/* The terminal is the same for whoever has it open, though launcher and backend have been replaced. */
static void test_launcher_killed(void)
{
	struct fixture f;
	struct stream o = {.bytes = scratch_random(MEBIBYTE / 8), .len = MEBIBYTE / 8};
	struct stream i = {.bytes = scratch_random(MEBIBYTE / 8), .len = MEBIBYTE / 8};
	char before[64] = "";
	char after[64] = "";

	begin(&f);
	open_terminal(&f);
	CHECK(readlink("run/console0", before, sizeof(before) - 1) > 0);
	rig_end_launcher(&f.rig, SIGKILL);
	rig_launch(&f.rig, NULL);
	rig_await_launcher(&f.rig);
	restart_backend(&f);
	CHECK(readlink("run/console0", after, sizeof(after) - 1) > 0);
	CHECK_STR(after, before);
	move_both(&f, &o, &i, GUEST_CONSOLE_BUFFER, 3, restart_backend);
	end(&f);
}

static int has_sent(void *arg)
{
	struct fixture *f = arg;

	return guest_console_sent(&f->console);
}

/* With nobody there the guest goes on, and what it said last is in the file. */
static void say(struct fixture *f, const uint8_t *bytes, uint32_t len)
{
	uint64_t limit = now_ms() + LIMIT_MS;
	uint32_t at = 0;

	while (at < len) {
		uint32_t n = len - at < 1000 ? len - at : 1000;

		if (guest_console_send(&f->console, bytes + at, n))
			at += n;
		if (now_ms() > limit)
			TEST_FAIL("the guest is kept waiting at %u of %u", at, len);
	}
	CHECK(test_wait(has_sent, f, LIMIT_MS));
}

/* What was said before somebody came, and is still on its way then, he gets too. */
static int nothing_is_on_its_way(void *arg)
{
	const struct console_file *file = arg;

	return core_load_acquire(&file->out_sent) == core_load(&file->out_end);
}

static void test_nobody(void)
{
	uint8_t *bytes = scratch_random(MEBIBYTE);
	struct console_file *file;
	struct fixture f;
	uint32_t n;
	int fd;

	begin(&f);
	say(&f, bytes, MEBIBYTE);
	fd = open("run/console0.console", O_RDONLY | O_CLOEXEC);
	file = mmap(NULL, sizeof(*file), PROT_READ, MAP_SHARED, fd, 0);
	CHECK(file != MAP_FAILED);
	close(fd);
	CHECK_INT(file->out_end, MEBIBYTE);
	for (n = MEBIBYTE - CONSOLE_OUTPUT_SIZE; n < MEBIBYTE; n++)
		CHECK_INT(file->output[n % CONSOLE_OUTPUT_SIZE], bytes[n]);
	/* He who comes now gets what is said now, and so does each one after he has left, whenever that was noticed. */
	for (n = 0; n < COMINGS; n++) {
		struct stream o = {.bytes = bytes, .len = 5000};
		struct stream i = {.bytes = bytes, .len = 5000};

		CHECK(test_wait(nothing_is_on_its_way, file, LIMIT_MS));
		open_terminal(&f);
		move_both(&f, &o, &i, GUEST_CONSOLE_BUFFER, 0, NULL);
		close_terminal(&f);
		say(&f, bytes, 200000);
	}
	munmap(file, sizeof(*file));
	free(bytes);
	end(&f);
}

/* Asleep, whether somebody is there or not. */
static void check_rests(struct fixture *f)
{
	struct region_device before, after;
	uint64_t wakeups;
	int tries;

	/* What it had to do before may take a while; then nothing more comes. */
	for (tries = 0; tries < 50; tries++) {
		rig_counters(&f->rig, "console0", &before);
		usleep(200000);
		rig_counters(&f->rig, "console0", &after);
		wakeups = after.wakeups - before.wakeups;
		if (wakeups == 0 && after.heartbeat == before.heartbeat)
			return;
	}
	TEST_FAIL("%llu wakeups in 200 ms", (unsigned long long)wakeups);
}

static void test_rest(void)
{
	struct fixture f;

	begin(&f);
	check_rests(&f);
	open_terminal(&f);
	check_rests(&f);
	close_terminal(&f);
	check_rests(&f);
	end(&f);
}

struct size_wait {
	struct fixture *f;
	struct virtio_console_config config;
	uint16_t cols;
	uint16_t rows;
	uint32_t changes; /* of config that the driver has been told of */
};

static int size_is(void *arg)
{
	struct size_wait *wait = arg;

	guest_dev_interrupt(&wait->f->console.dev, 0);
	guest_dev_config(&wait->f->console.dev, 0, 0, &wait->config, sizeof(wait->config));
	return wait->config.cols == wait->cols && wait->config.rows == wait->rows &&
	       wait->f->console.dev.config_changes >= wait->changes;
}

static void test_size(void)
{
	struct fixture f;
	struct size_wait wait = {.f = &f, .cols = 100, .rows = 30};

	begin_with(&f, ", \"columns\": 100, \"rows\": 30", GUEST_CONSOLE_BUFFER);
	CHECK(test_wait(size_is, &wait, LIMIT_MS));
	CHECK_INT(wait.config.max_nr_ports, 1);
	open_terminal(&f);
	wait.changes = f.console.dev.config_changes + 1;
	scratch_run("stty -F run/console0 cols 132 rows 50");
	wait.cols = 132;
	wait.rows = 50;
	CHECK(test_wait(size_is, &wait, LIMIT_MS));
	end(&f);
}

static int has_read(void *arg)
{
	struct fixture *f = arg;
	char c;

	return read(f->terminal, &c, 1) == 1 && c == '!';
}

static void test_emergency(void)
{
	struct fixture f;
	uint32_t c = '!';

	begin(&f);
	open_terminal(&f);
	guest_dev_config_write(&f.console.dev, 0, offsetof(struct virtio_console_config, emerg_wr), &c, sizeof(c));
	CHECK(test_wait(has_read, &f, LIMIT_MS));
	end(&f);
}

/* "hvisor-launch --console console0" on a terminal of our own. */
struct client {
	pid_t pid;
	int fd;
	char said[4 * CONSOLE_OUTPUT_SIZE];
	size_t len;
	struct termios before;
	const char *want;
};

static void client_start(struct fixture *f, struct client *client, const char *escape)
{
	const struct winsize size = {.ws_col = 90, .ws_row = 33};
	int slave;
	char program[PATH_MAX];
	char *argv[] = {program,
			(char *)(uintptr_t) "--run",
			f->rig.run_dir,
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
	struct termios after;

	CHECK(test_wait(client_over, client, LIMIT_MS));
	CHECK_INT(tcgetattr(client->fd, &after), 0);
	CHECK_MEM(&after, &client->before, sizeof(after));
	close(client->fd);
	return client->pid;
}

static void await_input(struct fixture *f, const char *want)
{
	uint64_t limit = now_ms() + LIMIT_MS;
	char got[GUEST_CONSOLE_BUFFER * 2] = "";
	size_t len = 0;

	while (len < strlen(want) && now_ms() < limit)
		len += guest_console_receive(&f->console, got + len);
	got[len] = 0;
	CHECK_STR(got, want);
}

static void test_client(void)
{
	static struct client client;
	struct fixture f;
	struct size_wait wait = {.f = &f, .cols = 90, .rows = 33};
	const int signals[] = {SIGTERM, SIGHUP};
	size_t n;
	int status;

	begin(&f);
	say(&f, (const uint8_t *)"said before\r\n", 13);
	client_start(&f, &client, NULL);
	client_await(&client, "said before\r\n");
	CHECK(test_wait(size_is, &wait, LIMIT_MS));
	say(&f, (const uint8_t *)"said now\r\n", 10);
	client_await(&client, "said before\r\nsaid now\r\n");
	CHECK_INT(write(client.fd, "typed\3", 6), 6);
	await_input(&f, "typed\3");
	CHECK_INT(write(client.fd, "\x1d", 1), 1);
	CHECK_INT(client_end(&client), 0);
	/* Once more: what was said is shown once, and another key ends it. */
	client_start(&f, &client, "--escape=^a");
	client_await(&client, "said now\r\n");
	CHECK_INT(write(client.fd, "\x1d", 1), 1);
	await_input(&f, "\x1d");
	CHECK(memmem(client.said, client.len, "said now\r\nsaid", 14) == NULL);
	CHECK_INT(write(client.fd, "\1", 1), 1);
	CHECK_INT(client_end(&client), 0);
	for (n = 0; n < sizeof(signals) / sizeof(signals[0]); n++) {
		client_start(&f, &client, NULL);
		client_await(&client, "said now\r\n");
		kill(client.pid, signals[n]);
		status = client_end(&client);
		CHECK(WIFSIGNALED(status));
		CHECK_INT(WTERMSIG(status), signals[n]);
	}
	/* Backends do without a launcher, and so does this. */
	rig_end_launcher(&f.rig, SIGKILL);
	client_start(&f, &client, NULL);
	client_await(&client, "said now\r\n");
	CHECK_INT(write(client.fd, "\x1d", 1), 1);
	CHECK_INT(client_end(&client), 0);
	end(&f);
}

static void test_errors(void)
{
	struct fixture f;
	cJSON *reply;
	const cJSON *device;
	char path[64] = "";

	begin(&f);
	CHECK_INT(rig_launcher(&f.rig, out, sizeof(out), "--console", "console1", NULL), 1);
	CHECK_HAS(out, "console1: no device has this name; there is console0; did you mean console0?");
	ASK(&f, "--status", "--json", "console0");
	reply = cJSON_Parse(out);
	device = cJSON_GetArrayItem(cJSON_GetObjectItem(reply, "devices"), 0);
	CHECK(readlink("run/console0", path, sizeof(path) - 1) > 0);
	CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(device, "terminal")), path);
	CHECK_HAS(cJSON_GetStringValue(cJSON_GetObjectItem(device, "terminal_link")), "run/console0");
	cJSON_Delete(reply);
	/* When all has ended, nobody is led astray. */
	ASK(&f, "--stop");
	CHECK_INT(access("run/console0", F_OK), -1);
	rig_finish(&f.rig);
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
		{"console_rest", test_rest, 0},
		{"console_size", test_size, 0},
		{"console_emergency", test_emergency, 0},
		{"console_client", test_client, 0},
		{"console_errors", test_errors, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
