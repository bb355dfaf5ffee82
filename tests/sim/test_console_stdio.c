/* SPDX-License-Identifier: MIT */
/* Consoles on the terminal that the launcher was started on. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "tests/sim/console_rig.h"
#include "tests/test.h"

#define STDIO ", \"backend\": \"stdio\""

/* Our side of the launcher's terminal, and all that came from it. */
struct terminal {
	int fd;
	struct termios before;
	char said[65536];
	size_t len;
	const char *want;
};

static void launch_on(struct console_rig *c, struct terminal *terminal)
{
	const struct winsize size = {.ws_col = 97, .ws_row = 31};
	char program[PATH_MAX];
	int slave;

	CHECK_INT(rig_program("hvisor-launch", program, sizeof(program)), 0);
	memset(terminal, 0, sizeof(*terminal));
	CHECK_INT(openpty(&terminal->fd, &slave, NULL, NULL, &size), 0);
	CHECK_INT(tcgetattr(slave, &terminal->before), 0);
	CHECK_INT(fcntl(terminal->fd, F_SETFL, O_NONBLOCK), 0);
	c->rig.launcher = fork();
	if (c->rig.launcher == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		login_tty(slave);
		execl(program, program, "--run", c->rig.run_dir, "--hv", c->rig.hv, "--log-dir", c->rig.log_dir,
		      c->rig.config, NULL);
		_exit(127);
	}
	close(slave);
	c->rig.launcher_fd = (int)syscall(SYS_pidfd_open, c->rig.launcher, 0);
	CHECK(c->rig.launcher_fd >= 0);
}

static int has_said(void *arg)
{
	struct terminal *terminal = arg;
	ssize_t n;

	while (terminal->len < sizeof(terminal->said) - 1 &&
	       (n = read(terminal->fd, terminal->said + terminal->len, sizeof(terminal->said) - 1 - terminal->len)) > 0)
		terminal->len += (size_t)n;
	return strstr(terminal->said, terminal->want) != NULL;
}

static void await_said(struct terminal *terminal, const char *want)
{
	terminal->want = want;
	if (!test_wait(has_said, terminal, CONSOLE_RIG_LIMIT_MS))
		TEST_FAIL("it has not said \"%s\" but: %s", want, terminal->said);
}

static int is_as_before(void *arg)
{
	struct terminal *terminal = arg;
	struct termios now = {0};

	has_said(terminal);
	CHECK_INT(tcgetattr(terminal->fd, &now), 0);
	return memcmp(&now, &terminal->before, sizeof(now)) == 0;
}

static int is_raw(void *arg)
{
	return !is_as_before(arg);
}

static void begin(struct console_rig *c, struct terminal *terminal)
{
	rig_init(&c->rig, 64);
	console_rig_config(c, STDIO);
	launch_on(c, terminal);
	rig_await_starts(&c->rig, "console0", 1);
	CHECK_INT(guest_console_open(&c->guest, &c->rig.guest, rig_base(0), rig_irq(0), GUEST_CONSOLE_BUFFER, false),
		  0);
	await_said(terminal, "the key to leave it is Ctrl-].");
	CHECK(test_wait(is_raw, terminal, CONSOLE_RIG_LIMIT_MS));
}

static void end(struct console_rig *c, struct terminal *terminal)
{
	close(terminal->fd);
	guest_console_close(&c->guest);
	rig_finish(&c->rig);
}

static int has_ended(void *arg)
{
	struct console_rig *c = arg;
	siginfo_t info = {0};

	return waitid(P_PIDFD, (id_t)c->rig.launcher_fd, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid;
}

/* Both ways, and its window; the key that leaves it ends the launcher, and its terminal is as before. */
static void test_stdio(void)
{
	static struct terminal terminal;
	struct console_rig c;

	begin(&c, &terminal);
	console_rig_await_size(&c, 97, 31);
	console_rig_say(&c, 0, "login: ", 7);
	await_said(&terminal, "login: ");
	CHECK_INT(write(terminal.fd, "root\r\3", 6), 6);
	console_rig_await_input(&c, 0, "root\r\3");
	console_rig_restart(&c);
	console_rig_say(&c, 0, "welcome", 7);
	await_said(&terminal, "welcome");
	CHECK_INT(write(terminal.fd, "\x1d", 1), 1);
	await_said(&terminal, "the terminal was left: stopping all backends");
	CHECK(test_wait(has_ended, &c, CONSOLE_RIG_LIMIT_MS));
	CHECK(test_wait(is_as_before, &terminal, CONSOLE_RIG_LIMIT_MS));
	CHECK_INT(rig_end_launcher(&c.rig, SIGTERM), 0);
	end(&c, &terminal);
}

/* However the launcher ends. */
static void test_stdio_ended(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGKILL};
	static struct terminal terminal;
	struct console_rig c;
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		begin(&c, &terminal);
		rig_end_launcher(&c.rig, signals[i]);
		CHECK(test_wait(is_as_before, &terminal, CONSOLE_RIG_LIMIT_MS));
		end(&c, &terminal);
	}
}

static void test_stdio_errors(void)
{
	static char out[65536];
	struct console_rig c;

	rig_init(&c.rig, 64);
	console_rig_config(&c, STDIO);
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--hv", c.rig.hv, "--daemon", c.rig.config, NULL), 2);
	CHECK_HAS(out, "console0 (zones[0].devices[0]): its backend is \"stdio\", and a daemon has no terminal; leave "
		       "out --daemon");
	CHECK_INT(rig_launcher(&c.rig, out, sizeof(out), "--hv", c.rig.hv, c.rig.config, NULL), 2);
	CHECK_HAS(out, "its backend is \"stdio\", and standard input and output are no terminal; start hvisor-launch "
		       "on one");
	rig_finish(&c.rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"console_stdio", test_stdio, 0},
		{"console_stdio_ended", test_stdio_ended, 0},
		{"console_stdio_errors", test_stdio_errors, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
