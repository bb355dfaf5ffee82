/* SPDX-License-Identifier: MIT */
/*
 * A console on the launcher's own terminal ("backend": "stdio"). It is one on a pseudoterminal, and a process of the
 * launcher's, which is "hvisor-launch --console", attached to that: so leaving it, and how the terminal is left, are
 * the same for both.
 */
#include "launcher/launch_stdio.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/console.h"

/* The port that is on the terminal; false: none is. */
static bool find_port(const struct config *config, uint32_t *device, uint32_t *port)
{
	for (*device = 0; *device < config->ndevices; (*device)++) {
		const struct config_console *console = &config->device[*device].console;

		for (*port = 0; config->device[*device].type == CONFIG_CONSOLE && *port < console->nports; (*port)++) {
			if (console->port[*port].endpoint == CONFIG_ENDPOINT_STDIO)
				return true;
		}
	}
	return false;
}

int launch_stdio_check(const struct config *config, bool daemonize, struct errors *errors)
{
	uint32_t device, port;

	if (!find_port(config, &device, &port))
		return 0;
	if (daemonize) {
		errors_add(errors,
			   "%s (%s): its backend is \"stdio\", and a daemon has no terminal; leave out --daemon",
			   config->device[device].name, config->device[device].place);
		return -1;
	}
	if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
		return 0;
	errors_add(
		errors,
		"%s (%s): its backend is \"stdio\", and standard input and output are no terminal; start hvisor-launch "
		"on one",
		config->device[device].name, config->device[device].place);
	return -1;
}

static void client_run(const struct launch_options *options, const char *label, pid_t launcher)
	__attribute__((noreturn));

static void client_run(const struct launch_options *options, const char *label, pid_t launcher)
{
	char *const argv[] = {
		(char *)(uintptr_t) "hvisor-launch", (char *)(uintptr_t) "--run", (char *)(uintptr_t)options->run_dir,
		(char *)(uintptr_t) "--console",     (char *)(uintptr_t)label,    NULL};

	/* If the launcher is killed, the terminal is still put right. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() == launcher)
		execv("/proc/self/exe", argv);
	_exit(127);
}

void launch_stdio_begin(struct launch_stdio *stdio, const struct launch_options *options, const struct config *config,
			struct loop *loop)
{
	char label[CONSOLE_LABEL_MAX];
	uint32_t device, port;
	pid_t launcher = getpid();
	int fd;

	if (stdio->pid || !find_port(config, &device, &port))
		return;
	console_label(label, &config->device[device], port);
	stdio->pid = fork();
	if (stdio->pid == 0)
		client_run(options, label, launcher);
	if (stdio->pid < 0) {
		stdio->pid = 0;
		return;
	}
	stdio->loop = loop;
	fd = (int)syscall(SYS_pidfd_open, stdio->pid, 0);
	if (fd >= 0 && loop_add(loop, &stdio->end, fd, EPOLLIN) != 0)
		close(fd);
}

void launch_stdio_finish(struct launch_stdio *stdio)
{
	int fd;

	if (stdio->pid == 0)
		return;
	fd = loop_remove(stdio->loop, &stdio->end);
	if (fd >= 0)
		close(fd);
	kill(stdio->pid, SIGTERM);
	while (waitpid(stdio->pid, NULL, 0) < 0 && errno == EINTR)
		;
	stdio->pid = 0;
}
