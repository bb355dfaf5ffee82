/* SPDX-License-Identifier: MIT */
#include "launcher/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/control_server.h"
#include "launcher/launch_stdio.h"
#include "launcher/supervise.h"

struct launch {
	const struct launch_options *options;
	struct config *config;
	struct loop loop;
	struct hv hv;
	struct rundir run;
	struct logfile log;
	struct supervisor supervisor;
	struct control control;
	struct loop_source signals;
	struct loop_source events;
	struct launch_stdio stdio;
	int report_fd; /* a daemon's parent waits here for the exit code; -1 once it has it, or there is none */
	bool settled; /* every device was served or failed once */
};

/* The parent of a daemon may go, and with it the terminal. */
static void launch_report(struct launch *launch, enum launch_exit code)
{
	unsigned char byte = (unsigned char)code;
	int null;

	if (launch->report_fd < 0)
		return;
	(void)!write(launch->report_fd, &byte, 1);
	close(launch->report_fd);
	launch->report_fd = -1;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
}

static void launch_complain(struct launch *launch, const struct errors *errors)
{
	size_t i;

	errors_print(errors, stderr, "hvisor-launch: ");
	for (i = 0; launch->options->daemonize && errors->line && i < errors->count; i++)
		logfile_say(&launch->log, LOG_ERROR, "%s", errors->line[i] ? errors->line[i] : "no memory");
}

static void launch_settled(struct launch *launch)
{
	struct supervisor *supervisor = &launch->supervisor;
	enum launch_exit code = LAUNCH_EXIT_OK;
	uint32_t i;

	launch->settled = true;
	for (i = 0; i < supervisor->ndevices; i++) {
		const struct device *device = &supervisor->device[i];

		if (device->state == DEVICE_RUNNING)
			continue;
		code = LAUNCH_EXIT_FAILED;
		if (launch->options->daemonize)
			fprintf(stderr, "hvisor-launch: %s: %s: %s\n", device->config->name,
				device_state_name(device->state), device->reason);
	}
	launch_report(launch, code);
	launch_stdio_begin(&launch->stdio, launch->options, launch->config, &launch->loop);
}

static void launch_changed(struct supervisor *supervisor, void *arg)
{
	struct launch *launch = arg;
	bool settled = true;
	bool stopped = true;
	uint32_t i;

	for (i = 0; i < supervisor->ndevices; i++) {
		settled &= device_settled(&supervisor->device[i]);
		stopped &= supervisor->device[i].child.pid == 0;
	}
	if (settled && !launch->settled)
		launch_settled(launch);
	control_changed(&launch->control);
	if (!supervisor->ending || !stopped)
		return;
	/* Before anybody is told. */
	supervisor_release(supervisor);
	control_answer(&launch->control);
	launch->loop.ended = true;
}

static void launch_end(void *arg)
{
	struct launch *launch = arg;
	uint32_t i;

	launch->supervisor.ending = true;
	for (i = 0; i < launch->supervisor.ndevices; i++)
		device_request(&launch->supervisor.device[i], DEVICE_STOP);
	launch_changed(&launch->supervisor, launch);
}

static void handle_stdio_end(struct loop_source *source, uint32_t events)
{
	struct launch *launch = loop_container(source, struct launch, stdio.end);

	(void)events;
	launch_stdio_finish(&launch->stdio);
	if (launch->supervisor.ending)
		return;
	logfile_say(&launch->log, LOG_INFO, "the terminal was left: stopping all backends");
	launch_end(launch);
}

static void launch_reopen_logs(struct launch *launch)
{
	uint32_t i;

	logfile_reopen(&launch->log);
	for (i = 0; i < launch->supervisor.ndevices; i++) {
		struct device *device = &launch->supervisor.device[i];

		logfile_reopen(&device->log);
		if (device->program->type->reopen_logs)
			device->program->type->reopen_logs(device);
	}
}

static void handle_signal(struct loop_source *source, uint32_t events)
{
	struct launch *launch = loop_container(source, struct launch, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		launch_reopen_logs(launch);
	} else {
		logfile_say(&launch->log, LOG_INFO, "%s: stopping all backends", strsignal((int)info.ssi_signo));
		launch_end(launch);
	}
}

static void handle_event(struct loop_source *source, uint32_t events)
{
	struct launch *launch = loop_container(source, struct launch, events);
	struct hvisor_event_next event;
	uint64_t count;
	int result;

	(void)events;
	if (read(source->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	while ((result = hv_event(&launch->hv, &event)) > 0)
		supervisor_event(&launch->supervisor, &event);
	if (result < 0)
		logfile_say(&launch->log, LOG_ERROR, "reading hvisor's events: %s", strerror(-result));
}

/* A device takes a few descriptors, and there may be hundreds of devices. */
static void raise_files_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int launch_watch(struct launch *launch, struct errors *errors)
{
	sigset_t set;
	int error;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	error = loop_init(&launch->loop);
	if (error) {
		errors_add(errors, "epoll: %s", strerror(-error));
		return -1;
	}
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	launch->signals.handle = handle_signal;
	launch->events.handle = handle_event;
	error = fd < 0 ? -errno : loop_add(&launch->loop, &launch->signals, fd, EPOLLIN);
	if (error == 0)
		error = loop_add(&launch->loop, &launch->events, launch->hv.event_fd, EPOLLIN);
	if (error)
		errors_add(errors, "epoll: %s", strerror(-error));
	return error ? -1 : 0;
}

/* A launcher that cannot write its log serves all the same. */
static void launch_open_log(struct launch *launch)
{
	const struct launch_options *options = launch->options;
	int error = rundir_make(options->log_dir, 0750);

	if (error)
		fprintf(stderr, "hvisor-launch: cannot make the log folder %s: %s\n", options->log_dir,
			strerror(-error));
	error = logfile_open(&launch->log, options->daemonize ? options->log_dir : NULL, "launcher",
			     launch->config->log_size, launch->config->log_files);
	launch->log.level = options->verbose ? LOG_DEBUG : LOG_INFO;
	if (error)
		fprintf(stderr, "hvisor-launch: cannot write %s/launcher.log: %s\n", options->log_dir,
			strerror(-error));
}

/* Names the layers that are missing; -1 if the configuration does not do without. */
static int launch_probe_sandbox(struct launch *launch, struct errors *errors)
{
	struct supervisor *supervisor = &launch->supervisor;
	const struct errors *missing = &supervisor->missing;
	size_t i;

	/* The ids that a backend is given are its only ones: none of the launcher's groups goes with them. */
	if (geteuid() == 0 && setgroups(0, NULL) < 0)
		logfile_say(&launch->log, LOG_WARNING, "cannot give up supplementary groups: %s", strerror(errno));
	if (spawn_probe(&supervisor->sandbox, launch->options->uid_base, &supervisor->missing) < 0) {
		errors_add(errors, "%s", missing->line ? missing->line[missing->count - 1] : "no memory");
		return -1;
	}
	for (i = 0; missing->line && i < missing->count; i++) {
		if (launch->config->sandbox_required)
			errors_add(errors, "the sandbox is required, and it lacks the layer %s", missing->line[i]);
		else
			logfile_say(&launch->log, LOG_WARNING, "the sandbox lacks the layer %s", missing->line[i]);
	}
	return launch->config->sandbox_required && missing->count ? -1 : 0;
}

/* What cannot be limited does not stop anybody; it is only said. */
static void launch_open_cgroups(struct launch *launch)
{
	struct cgroups *cgroups = &launch->supervisor.cgroups;
	struct errors errors;
	size_t missing;
	size_t i;

	errors_init(&errors);
	cgroups_open(cgroups, launch->options->cgroup, &errors);
	missing = errors.count;
	cgroups_check(cgroups, launch->config, &errors);
	for (i = 0; errors.line && i < errors.count; i++)
		logfile_say(&launch->log, i < missing ? LOG_INFO : LOG_WARNING, "%s%s",
			    i < missing ? "cgroup limits: " : "", errors.line[i] ? errors.line[i] : "no memory");
	errors_finish(&errors);
}

static int launch_open(struct launch *launch, struct errors *errors)
{
	const struct launch_options *options = launch->options;
	struct supervisor *supervisor = &launch->supervisor;
	int error;

	if (rundir_open(&launch->run, options->run_dir, errors) < 0)
		return -1;
	launch_open_log(launch);
	error = hv_open(&launch->hv, options->hv);
	if (error) {
		errors_add(errors, "cannot open %s: %s", options->hv, hv_open_why(error));
		return -1;
	}
	*supervisor = (struct supervisor){.options = options,
					  .config = launch->config,
					  .loop = &launch->loop,
					  .hv = &launch->hv,
					  .run = &launch->run,
					  .log = &launch->log,
					  .cgroups.fd = -1};
	errors_init(&supervisor->missing);
	launch_open_cgroups(launch);
	if (launch_probe_sandbox(launch, errors) < 0 || launch_watch(launch, errors) < 0)
		return -1;
	launch->control.supervisor = supervisor;
	launch->control.end = launch_end;
	launch->control.end_arg = launch;
	if (control_open(&launch->control, errors) < 0)
		return -1;
	return supervisor_init(supervisor, errors);
}

static enum launch_exit launch_run(struct launch *launch)
{
	int error;

	logfile_say(&launch->log, LOG_INFO, "version %s, process %d, %s at %s, %u devices", HVISOR_VERSION, getpid(),
		    launch->hv.name, launch->options->hv, launch->config->ndevices);
	supervisor_start(&launch->supervisor);
	supervisor_release(&launch->supervisor);
	/* Not before all have been started: a device that is settled says nothing of those whose turn is to come. */
	launch->supervisor.changed = launch_changed;
	launch->supervisor.changed_arg = launch;
	launch_changed(&launch->supervisor, launch);
	error = loop_run(&launch->loop);
	if (error)
		logfile_say(&launch->log, LOG_ERROR, "epoll: %s", strerror(-error));
	launch->supervisor.changed = NULL;
	return error ? LAUNCH_EXIT_FAILED : LAUNCH_EXIT_OK;
}

static void launch_close(struct launch *launch)
{
	int fd;

	launch_stdio_finish(&launch->stdio);
	control_stop_listening(&launch->control);
	supervisor_finish(&launch->supervisor);
	errors_finish(&launch->supervisor.missing);
	loop_remove(&launch->loop, &launch->events);
	fd = loop_remove(&launch->loop, &launch->signals);
	if (fd >= 0)
		close(fd);
	hv_close(&launch->hv);
	logfile_close(&launch->log);
	/* The end of a client's connection says that the run folder is free. */
	rundir_close(&launch->run);
	control_close(&launch->control);
	loop_finish(&launch->loop);
}

static enum launch_exit launch_serve(const struct launch_options *options, struct config *config, int report_fd)
{
	struct launch launch = {
		.options = options,
		.config = config,
		.loop.fd = -1,
		.hv = {.fd = -1, .event_fd = -1},
		.run.lock_fd = -1,
		.log.fd = -1,
		.control.listen.fd = -1,
		.supervisor.cgroups.fd = -1,
		.signals.fd = -1,
		.events.fd = -1,
		.stdio.end = {.fd = -1, .handle = handle_stdio_end},
		.report_fd = report_fd,
	};
	enum launch_exit code = LAUNCH_EXIT_FAILED;
	struct errors errors;

	errors_init(&errors);
	raise_files_limit();
	if (launch_open(&launch, &errors) == 0) {
		code = launch_run(&launch);
	} else {
		launch_complain(&launch, &errors);
		launch_report(&launch, code);
	}
	errors_finish(&errors);
	launch_close(&launch);
	return code;
}

/* What a backend is given is told apart from standard descriptors by its number: 0 to 2 are to be taken. */
static void open_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

/* In the process that was asked for a daemon: its exit code, once the daemon knows it. */
static enum launch_exit await_daemon(pid_t pid, int report_fd)
{
	unsigned char code;
	ssize_t n;

	do
		n = read(report_fd, &code, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return (enum launch_exit)code;
	fprintf(stderr, "hvisor-launch: the daemon with pid %d ended before its devices were served\n", pid);
	return LAUNCH_EXIT_FAILED;
}

int launch_main(const struct launch_options *options, struct config *config)
{
	enum launch_exit code;
	struct errors errors;
	int report[2];
	pid_t pid;

	errors_init(&errors);
	if (launch_stdio_check(config, options->daemonize, &errors) < 0) {
		errors_print(&errors, stderr, "hvisor-launch: ");
		errors_finish(&errors);
		return LAUNCH_EXIT_USAGE;
	}
	errors_finish(&errors);
	fflush(NULL);
	open_standard_fds();
	if (!options->daemonize)
		return launch_serve(options, config, -1);
	if (pipe2(report, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "hvisor-launch: cannot become a daemon: %s\n", strerror(errno));
		return LAUNCH_EXIT_FAILED;
	}
	if (pid == 0) {
		close(report[0]);
		setsid();
		if (chdir("/") < 0)
			perror("hvisor-launch: /");
		code = launch_serve(options, config, report[1]);
		exit(code);
	}
	close(report[1]);
	code = await_daemon(pid, report[0]);
	close(report[0]);
	return code;
}
