/* SPDX-License-Identifier: MIT */
#include "launcher/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child, until its program runs: both are closed by the execution itself. */
#define CHILD_REPORT_FD 0
#define CHILD_PROGRAM_FD 1

/* Above every number in use in the child, so that moving one descriptor never overwrites another. */
#define CHILD_HIGH_FD 64

#define CHILD_EXIT_FAILED 127

static void child_fail(const struct sandbox_failure *failure)
{
	/* Nobody is left to hear it if this fails. */
	(void)!send(CHILD_REPORT_FD, failure, sizeof(*failure), MSG_NOSIGNAL);
	_exit(CHILD_EXIT_FAILED);
}

static void child_fail_step(const char *step)
{
	struct sandbox_failure failure = {.layer = -1, .error = errno};

	snprintf(failure.step, sizeof(failure.step), "%s", step);
	child_fail(&failure);
}

static int child_lift_fd(int fd)
{
	int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, CHILD_HIGH_FD);

	if (fd >= 0 && high < 0)
		child_fail_step("move a descriptor");
	return high;
}

/*
 * Puts every descriptor to its number and closes all others. 0 to 2 are the launcher's standard descriptors and no
 * others, so the report may take its place first: from then on failures can be told.
 */
static void child_arrange_fds(const struct spawn_request *request, int report)
{
	int high[BACKEND_FD_END];
	int program;
	int n;

	if (dup3(report, CHILD_REPORT_FD, O_CLOEXEC) < 0)
		_exit(CHILD_EXIT_FAILED);
	program = child_lift_fd(request->program);
	for (n = 0; n < BACKEND_FD_END; n++)
		high[n] = child_lift_fd(request->fd[n]);
	if (program >= 0 && dup3(program, CHILD_PROGRAM_FD, O_CLOEXEC) < 0)
		child_fail_step("move the program");
	for (n = CHILD_PROGRAM_FD + 1; n < BACKEND_FD_END; n++) {
		if (high[n] < 0)
			close(n);
		else if (dup2(high[n], n) < 0)
			child_fail_step("move a descriptor");
	}
	if (syscall(SYS_close_range, BACKEND_FD_END, ~0u, 0) < 0)
		child_fail_step("close_range");
}

/* A program inherits ignored and blocked signals; a backend is to begin with neither. */
static void child_reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;
	int signal;

	for (signal = 1; signal < SIGRTMIN; signal++)
		sigaction(signal, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_run(const struct spawn_request *request, int report) __attribute__((noreturn));

static void child_run(const struct spawn_request *request, int report)
{
	struct sandbox_failure failure = {.layer = -1};
	char *const environment[] = {NULL};
	char go;

	child_reset_signals();
	child_arrange_fds(request, report);
	/* A terminal's signals are for the launcher: it tells its backends itself. */
	if (setsid() < 0)
		child_fail_step("setsid");
	if (recv(CHILD_REPORT_FD, &go, 1, 0) != 1)
		_exit(CHILD_EXIT_FAILED);
	if (sandbox_enter(request->sandbox, request->uid, &request->limits, &failure) < 0)
		child_fail(&failure);
	if (request->program < 0)
		_exit(0);
	syscall(SYS_execveat, CHILD_PROGRAM_FD, "", request->argv, environment, AT_EMPTY_PATH);
	child_fail_step("execute the program");
	_exit(CHILD_EXIT_FAILED);
}

static int spawn_fail(struct sandbox_failure *failure, const char *step)
{
	failure->layer = -1;
	failure->error = errno;
	snprintf(failure->step, sizeof(failure->step), "%s", step);
	return -1;
}

int spawn_start(const struct spawn_request *request, struct spawned *out, struct sandbox_failure *failure)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD | sandbox_clone_flags(request->sandbox),
		.pidfd = (uintptr_t)&out->pid_fd,
		.exit_signal = SIGCHLD,
	};
	int report[2];

	*out = (struct spawned){.pid_fd = -1, .report_fd = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) < 0)
		return spawn_fail(failure, "socketpair");
	out->pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (out->pid == 0)
		child_run(request, report[1]);
	if (out->pid < 0)
		spawn_fail(failure, "clone3");
	close(report[1]);
	out->report_fd = report[0];
	if (out->pid > 0 && sandbox_map_ids(request->sandbox, out->pid, request->uid, failure) == 0)
		return 0;
	if (out->pid > 0) {
		/* It waits for spawn_go() and finds nobody there. */
		close(out->report_fd);
		out->report_fd = -1;
		waitid(P_PIDFD, (id_t)out->pid_fd, NULL, WEXITED);
	}
	spawn_forget(out);
	return -1;
}

void spawn_go(struct spawned *child)
{
	/* A child that is gone already is seen by its pidfd. */
	(void)!send(child->report_fd, "g", 1, MSG_NOSIGNAL);
}

int spawn_failed(struct spawned *child, struct sandbox_failure *failure)
{
	if (recv(child->report_fd, failure, sizeof(*failure), MSG_DONTWAIT) != sizeof(*failure))
		return 0;
	failure->step[sizeof(failure->step) - 1] = '\0';
	return 1;
}

void spawn_forget(struct spawned *child)
{
	if (child->pid_fd >= 0)
		close(child->pid_fd);
	if (child->report_fd >= 0)
		close(child->report_fd);
	*child = (struct spawned){.pid_fd = -1, .report_fd = -1};
}

void spawn_failure_text(const struct sandbox_failure *failure, char *text, size_t size)
{
	bool layer = failure->layer >= 0 && failure->layer < SANDBOX_LAYERS;

	snprintf(text, size, "%s%s%s%s%s%s", failure->step, layer ? " (" : "",
		 layer ? sandbox_layer_name((enum sandbox_layer)failure->layer) : "", layer ? ")" : "",
		 failure->error ? ": " : "", failure->error ? strerror(failure->error) : "");
}

/* Runs a child through the layers that are left; 0 if all work, else -1 with the failure of the first that does not. */
static int probe_once(const struct sandbox *sandbox, uid_t uid, struct sandbox_failure *failure)
{
	struct spawn_request request = {
		.sandbox = sandbox,
		.uid = uid,
		.limits = {.memory = 0, .fsize = 0, .files = BACKEND_FD_END},
		.program = -1,
	};
	struct spawned child;
	siginfo_t info = {0};
	int failed;
	int n;

	for (n = 0; n < BACKEND_FD_END; n++)
		request.fd[n] = -1;
	if (spawn_start(&request, &child, failure) < 0)
		return -1;
	spawn_go(&child);
	while (waitid(P_PIDFD, (id_t)child.pid_fd, &info, WEXITED) < 0 && errno == EINTR)
		;
	failed = spawn_failed(&child, failure);
	spawn_forget(&child);
	if (failed)
		return -1;
	if (info.si_code == CLD_EXITED && info.si_status == 0)
		return 0;
	*failure = (struct sandbox_failure){.layer = -1};
	snprintf(failure->step, sizeof(failure->step), "it ended with %s %d",
		 info.si_code == CLD_EXITED ? "exit code" : "signal", info.si_status);
	return -1;
}

/* clone3() does not say which namespace it could not make: tries each alone, beside the user namespace. */
static enum sandbox_layer probe_namespaces(const struct sandbox *sandbox, uid_t uid, struct sandbox_failure *failure)
{
	struct sandbox_failure ignored;
	enum sandbox_layer layer;
	struct sandbox one;

	for (layer = SANDBOX_USER; layer <= SANDBOX_CGROUP; layer++) {
		one = (struct sandbox){0};
		one.have[SANDBOX_USER] = sandbox->have[SANDBOX_USER];
		if (!sandbox->have[layer])
			continue;
		one.have[layer] = true;
		if (probe_once(&one, uid, &ignored) < 0) {
			*failure = ignored;
			return layer;
		}
	}
	/* Each works alone, all together do not: the one that the others least need. */
	for (layer = SANDBOX_CGROUP; layer > SANDBOX_USER && !sandbox->have[layer]; layer--)
		;
	return layer;
}

int spawn_probe(struct sandbox *sandbox, uid_t uid, struct errors *missing)
{
	struct sandbox_failure failure;
	enum sandbox_layer layer;
	char text[128];
	size_t i;

	for (i = 0; i < SANDBOX_LAYERS; i++)
		sandbox->have[i] = true;
	while (probe_once(sandbox, uid, &failure) < 0) {
		if (failure.layer >= 0 && failure.layer < SANDBOX_LAYERS)
			layer = (enum sandbox_layer)failure.layer;
		else if (sandbox_clone_flags(sandbox))
			layer = probe_namespaces(sandbox, uid, &failure);
		else
			layer = SANDBOX_LAYERS;
		spawn_failure_text(&failure, text, sizeof(text));
		if (layer == SANDBOX_LAYERS || !sandbox->have[layer]) {
			errors_add(missing, "cannot make a process: %s", text);
			return -1;
		}
		sandbox->have[layer] = false;
		errors_add(missing, "%s: %s", sandbox_layer_name(layer), text);
	}
	sandbox_probe_backend_layers(sandbox);
	for (layer = SANDBOX_LANDLOCK; layer < SANDBOX_LAYERS; layer++) {
		if (!sandbox->have[layer])
			errors_add(missing, "%s: this kernel does not have it", sandbox_layer_name(layer));
	}
	return 0;
}
