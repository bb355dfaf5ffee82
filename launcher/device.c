/* SPDX-License-Identifier: MIT */
#include "launcher/device.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGS_MAX (DEVTYPE_ARGS_MAX + 8)

static int device_reason(struct device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Always -1, to be returned. */
static int device_reason(struct device *device, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(device->reason, sizeof(device->reason), format, args);
	va_end(args);
	return -1;
}

static int device_reason_errors(struct device *device, struct errors *errors)
{
	const char *line = errors->line && errors->count && errors->line[0] ? errors->line[0] : "no memory";
	char prefix[HVISOR_NAME_MAX + sizeof(device->config->place) + 8];
	int n = snprintf(prefix, sizeof(prefix), "%s (%s): ", device->config->name, device->config->place);

	/* Whose reason it is will be said before it. */
	device_reason(device, "%s", line + (strncmp(line, prefix, (size_t)n) == 0 ? n : 0));
	errors_finish(errors);
	return -1;
}

int device_open_log(struct device *device)
{
	const struct supervisor *supervisor = device->supervisor;
	const char *name = device->config->name;
	char *path = rundir_path(supervisor->run, name, "log.fifo");
	int error;

	if (!path)
		return -ENOMEM;
	error = logfile_open(&device->log, supervisor->options->log_dir, name, supervisor->config->log_size,
			     supervisor->config->log_files);
	if (error)
		logfile_say(supervisor->log, LOG_WARNING, "%s: cannot write its log in %s: %s", name,
			    supervisor->options->log_dir, strerror(-error));
	error = logpipe_open(&device->pipe, supervisor->loop, path, &device->log);
	if (error)
		logfile_say(supervisor->log, LOG_ERROR, "%s: cannot open %s: %s", name, path, strerror(-error));
	free(path);
	return error;
}

/* The device that hvisor has at this window; 0, or -ENOENT. */
static int find_at_window(struct hv *hv, const struct config_device *config, struct hvisor_device_get *get)
{
	uint32_t id;

	for (id = 0;; id = get->id + 1) {
		memset(get, 0, sizeof(*get));
		get->id = id;
		if (hv_call(hv, HVISOR_DEVICE_GET, get) != 0)
			return -ENOENT;
		if (get->device.zone == config->zone && get->device.base == config->base)
			return 0;
		if (get->id == UINT32_MAX)
			return -ENOENT;
	}
}

/* Takes away the device at the same window that was made with other properties, if nobody would notice. */
static int device_replace(struct device *device)
{
	const struct config_device *config = device->config;
	struct hv *hv = device->supervisor->hv;
	struct hvisor_device_get get = {0};
	struct hvisor_device_del del;
	int error;

	if (find_at_window(hv, config, &get) != 0)
		return device_reason(device, "hvisor has a device at 0x%llx already", (unsigned long long)config->base);
	if (get.flags & HVISOR_DEVICE_ATTACHED)
		return device_reason(device,
				     "process %d serves the window 0x%llx of zone %u with other properties than the "
				     "configuration says; stop it first (hvisor-launch --stop)",
				     get.owner_pid, (unsigned long long)config->base, config->zone);
	if (get.status)
		return device_reason(device,
				     "the driver in zone %u uses the window 0x%llx with other properties than the "
				     "configuration says; shut the zone down first, or undo the change",
				     config->zone, (unsigned long long)config->base);
	del = (struct hvisor_device_del){.id = get.id};
	error = hv_call(hv, HVISOR_DEVICE_DEL, &del);
	if (error)
		return device_reason(device, "taking away the device at 0x%llx: %s", (unsigned long long)config->base,
				     strerror(-error));
	return 0;
}

static int device_add(struct device *device, struct hvisor_device_add *add)
{
	struct hv *hv = device->supervisor->hv;
	int error = hv_call(hv, HVISOR_DEVICE_ADD, add);

	if (error == -EEXIST) {
		if (device_replace(device) < 0)
			return -1;
		error = hv_call(hv, HVISOR_DEVICE_ADD, add);
	}
	if (error == -EADDRINUSE)
		return device_reason(device,
				     "its window or interrupt overlaps a device that hvisor has from an earlier "
				     "configuration and that is in use; stop that one, or shut zone %u down",
				     device->config->zone);
	if (error)
		return device_reason(device, "hvisor does not make the device: %s", strerror(-error));
	return 0;
}

static int device_set_zone(struct device *device)
{
	const struct supervisor *supervisor = device->supervisor;
	const struct config_device *config = device->config;
	struct hvisor_zone_set set = {.zone = config->zone};
	uint32_t i;
	int error;

	for (i = 0; i < supervisor->config->nzones && supervisor->config->zone[i].id != config->zone; i++)
		;
	if (i == supervisor->config->nzones)
		return device_reason(device, "zone %u is not in the configuration", config->zone);
	set.nmemory = supervisor->config->zone[i].nmemory;
	memcpy(set.memory, supervisor->config->zone[i].memory, sizeof(set.memory));
	error = hv_call(supervisor->hv, HVISOR_ZONE_SET, &set);
	switch (error) {
	case 0:
		return 0;
	case -EBUSY:
		return device_reason(device,
				     "zone %u has devices with other memory regions than the configuration says; shut "
				     "it down and stop them first, or undo the change",
				     config->zone);
	case -EPERM:
		return device_reason(device,
				     "a memory region of zone %u is root's own memory; it must be reserved in root's "
				     "device tree",
				     config->zone);
	case -ERANGE:
		return device_reason(device, "a memory region of zone %u is none that a zone can have", config->zone);
	default:
		return device_reason(device, "hvisor does not take the memory of zone %u: %s", config->zone,
				     strerror(-error));
	}
}

static int device_map_view(struct device *device, uint32_t id)
{
	struct hvisor_device_view view = {.id = id, .region_fd = -1};
	int error = hv_call(device->supervisor->hv, HVISOR_DEVICE_VIEW, &view);
	void *map = MAP_FAILED;

	if (error)
		return device_reason(device, "hvisor does not show the queue region: %s", strerror(-error));
	if (view.region_size >= sizeof(struct queue_region))
		map = mmap(NULL, view.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, view.region_fd, 0);
	close(view.region_fd);
	if (map == MAP_FAILED)
		return device_reason(device, "cannot map the queue region of %u bytes", view.region_size);
	device->view = map;
	device->view_size = view.region_size;
	return 0;
}

int device_make(struct device *device)
{
	const struct config_device *config = device->config;
	struct hvisor_device_add add = {
		.zone = config->zone, .irq = config->irq, .base = config->base, .size = config->size};
	struct errors errors;

	if (device->made)
		return 0;
	errors_init(&errors);
	memcpy(add.name, config->name, sizeof(add.name));
	if (device->program->type->describe(config, &add, &errors) < 0)
		return device_reason_errors(device, &errors);
	errors_finish(&errors);
	if (device_set_zone(device) < 0 || device_add(device, &add) < 0 || device_map_view(device, add.id) < 0)
		return -1;
	device->id = add.id;
	device->made = true;
	core_store(&device->view->control.poll_us, config->poll_us);
	core_store(&device->view->control.log_level, (core_u32)device->log_level);
	return 0;
}

void device_fail(struct device *device, bool fail)
{
	struct hvisor_device_fail request = {.id = device->id, .fail = fail};
	int error = device->made ? hv_call(device->supervisor->hv, HVISOR_DEVICE_FAIL, &request) : 0;

	if (error)
		logfile_say(device->supervisor->log, LOG_ERROR, "%s: cannot tell its guest: %s", device->config->name,
			    strerror(-error));
}

/* The process that hvisor knows to serve the device, with a descriptor for it; 0 when there is none. */
static pid_t device_owner(struct device *device, int *pid_fd)
{
	struct hvisor_device_get get = {.id = device->id};
	pid_t pid;

	if (hv_call(device->supervisor->hv, HVISOR_DEVICE_GET, &get) != 0 || get.id != device->id ||
	    !(get.flags & HVISOR_DEVICE_ATTACHED) || get.owner_pid <= 0)
		return 0;
	pid = get.owner_pid;
	*pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*pid_fd < 0)
		return 0;
	/* Still the owner: then the descriptor is of no later process of that number. */
	get = (struct hvisor_device_get){.id = device->id};
	if (hv_call(device->supervisor->hv, HVISOR_DEVICE_GET, &get) == 0 && get.id == device->id &&
	    get.owner_pid == pid)
		return pid;
	close(*pid_fd);
	return 0;
}

/* When a process began, as CLOCK_MONOTONIC has it; its start is counted in ticks since boot. */
static uint64_t process_began_ns(uint64_t start_time)
{
	uint64_t began = start_time * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
	uint64_t since_boot;
	struct timespec ts;
	uint64_t now = loop_now_ns();

	clock_gettime(CLOCK_BOOTTIME, &ts);
	since_boot = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	return since_boot - began < now ? now - (since_boot - began) : 0;
}

int device_adopt(struct device *device, bool *known)
{
	const struct supervisor *supervisor = device->supervisor;
	struct rundir_state state;
	struct rundir_state real = {0};
	int pid_fd = -1;
	pid_t pid = device_owner(device, &pid_fd);
	int error;

	if (pid == 0)
		return 0;
	*known = rundir_load(supervisor->run, device->config->name, &state) && rundir_identify(pid, &real) == 0 &&
		 state.pid == pid && state.start_time == real.start_time && strcmp(state.boot, real.boot) == 0;
	error = loop_add(supervisor->loop, &device->exit, pid_fd, EPOLLIN);
	if (error) {
		close(pid_fd);
		return 0;
	}
	device->child = (struct spawned){.pid = pid, .pid_fd = pid_fd, .report_fd = -1};
	device->adopted = true;
	device->began_ns = process_began_ns(real.start_time);
	device->ready_ns = device->began_ns;
	if (!*known)
		return 1;
	device->uid = state.uid;
	device->restarts = state.restarts;
	if (state.log_level <= LOG_DEBUG)
		device->log_level = (enum log_level)state.log_level;
	return 1;
}

/* The lowest id that no other device has. */
static uint32_t device_choose_uid(const struct device *device)
{
	const struct supervisor *supervisor = device->supervisor;
	uint32_t uid = supervisor->options->uid_base;
	uint32_t i;

	for (i = 0; i < supervisor->ndevices; i++) {
		if (supervisor->device[i].uid == uid) {
			uid++;
			i = UINT32_MAX;
		}
	}
	return uid;
}

/* Everything that a start takes and that is let go of when it is done or has failed. */
struct beginning {
	struct devtype_start files;
	struct hvisor_device_attach attach;
	int log;
	int ready[2];
	char region[64];
	char memory[HVISOR_MEMORY_MAX * 64 + 16];
	char name[HVISOR_NAME_MAX + 8];
	char level[24];
	char *argv[ARGS_MAX];
};

static void beginning_init(struct beginning *b, uint32_t id)
{
	memset(b, 0, sizeof(*b));
	devtype_start_init(&b->files);
	b->attach.id = id;
	b->attach.kick_fd = b->attach.call_fd = -1;
	b->attach.attachment_fd = b->attach.region_fd = b->attach.memory_fd = -1;
	b->log = -1;
	b->ready[0] = b->ready[1] = -1;
}

static void beginning_finish(struct beginning *b)
{
	const int fds[] = {b->attach.kick_fd,   b->attach.call_fd,   b->attach.attachment_fd,
			   b->attach.region_fd, b->attach.memory_fd, b->log,
			   b->ready[0],         b->ready[1]};
	size_t i;

	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	devtype_start_finish(&b->files);
}

static int begin_open(struct device *device, struct beginning *b)
{
	struct errors errors;

	errors_init(&errors);
	if (device->program->type->open(device->config, &b->files, &errors) < 0)
		return device_reason_errors(device, &errors);
	errors_finish(&errors);
	return 0;
}

static int begin_attach(struct device *device, struct beginning *b)
{
	struct hvisor_device_attach *attach = &b->attach;
	int error;

	attach->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	attach->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (attach->kick_fd < 0 || attach->call_fd < 0)
		return device_reason(device, "eventfd: %s", strerror(errno));
	error = hv_call(device->supervisor->hv, HVISOR_DEVICE_ATTACH, attach);
	if (error == -EBUSY) {
		device_reason(device, "another process still holds the device");
		return -EAGAIN;
	}
	if (error)
		return device_reason(device, "hvisor does not attach it: %s", strerror(-error));
	if (attach->attachment_fd < 0 || attach->nmemory > HVISOR_MEMORY_MAX)
		return device_reason(device, "hvisor's answer to the attachment makes no sense");
	return 0;
}

static int begin_pipes(struct device *device, struct beginning *b)
{
	char *path = rundir_path(device->supervisor->run, device->config->name, "log.fifo");

	b->log = path ? logpipe_writer(path) : -ENOMEM;
	free(path);
	if (b->log < 0)
		return device_reason(device, "its log pipe: %s", strerror(-b->log));
	if (pipe2(b->ready, O_CLOEXEC | O_NONBLOCK) < 0)
		return device_reason(device, "pipe: %s", strerror(errno));
	return 0;
}

/* The command line that common/backend.h describes. */
static void begin_arguments(const struct device *device, struct beginning *b)
{
	const struct hvisor_device_attach *attach = &b->attach;
	char *memory = b->memory;
	size_t n = 0;
	uint32_t i;

	snprintf(b->name, sizeof(b->name), "name=%s", device->config->name);
	snprintf(b->region, sizeof(b->region), "region=%llu,%u", (unsigned long long)attach->region_offset,
		 attach->region_size);
	snprintf(b->level, sizeof(b->level), "log_level=%d", (int)device->log_level);
	memory += sprintf(memory, "memory=");
	for (i = 0; i < attach->nmemory; i++)
		memory += sprintf(
			memory, "%s0x%llx,0x%llx,0x%llx", i ? ";" : "", (unsigned long long)attach->memory[i].zonex_ipa,
			(unsigned long long)attach->memory[i].size, (unsigned long long)attach->memory_offset[i]);
	b->argv[n++] = (char *)(uintptr_t)device->program->type->program;
	b->argv[n++] = b->name;
	b->argv[n++] = b->region;
	b->argv[n++] = b->memory;
	b->argv[n++] = b->level;
	if (device->program->policy < 0)
		b->argv[n++] = (char *)(uintptr_t) "policy=none";
	for (i = 0; i < b->files.nargs; i++)
		b->argv[n++] = b->files.arg[i];
}

static void begin_request(const struct device *device, const struct beginning *b, struct spawn_request *request)
{
	const struct hvisor_device_attach *attach = &b->attach;
	uint32_t i;

	*request = (struct spawn_request){
		.sandbox = &device->supervisor->sandbox,
		.uid = device->uid,
		.limits = {.memory = attach->region_size, .fsize = b->files.fsize_max, .files = BACKEND_FD_END},
		.program = device->program->fd,
		.argv = b->argv,
	};
	for (i = 0; i < attach->nmemory; i++)
		request->limits.memory += attach->memory[i].size;
	for (i = 0; i < BACKEND_FD_END; i++)
		request->fd[i] = -1;
	request->fd[BACKEND_FD_LOG] = b->log;
	request->fd[BACKEND_FD_KICK] = attach->kick_fd;
	request->fd[BACKEND_FD_CALL] = attach->call_fd;
	request->fd[BACKEND_FD_ATTACHMENT] = attach->attachment_fd;
	request->fd[BACKEND_FD_REGION] = attach->region_fd < 0 ? attach->attachment_fd : attach->region_fd;
	request->fd[BACKEND_FD_MEMORY] = attach->memory_fd < 0 ? attach->attachment_fd : attach->memory_fd;
	request->fd[BACKEND_FD_READY] = b->ready[1];
	request->fd[BACKEND_FD_POLICY] = device->program->policy;
	for (i = 0; i < b->files.nfiles; i++)
		request->fd[BACKEND_FD_DEVICE + i] = b->files.file[i];
}

int device_note_state(struct device *device)
{
	struct rundir_state state = {
		.restarts = device->restarts, .uid = device->uid, .log_level = (uint32_t)device->log_level};
	int error = device->child.pid ? rundir_identify(device->child.pid, &state) : -ESRCH;

	if (error == 0)
		error = rundir_save(device->supervisor->run, device->config->name, &state);
	return error;
}

/* Names the waiting process to hvisor and to a later launcher, watches it and lets it go on. */
static int begin_watch(struct device *device, struct beginning *b)
{
	struct supervisor *supervisor = device->supervisor;
	struct hvisor_device_owner owner = {.id = device->id, .pid = device->child.pid};
	int error = hv_call(supervisor->hv, HVISOR_DEVICE_OWNER, &owner);

	if (error)
		return device_reason(device, "hvisor does not take its process: %s", strerror(-error));
	error = device_note_state(device);
	if (error)
		logfile_say(supervisor->log, LOG_WARNING,
			    "%s: cannot write its state in %s (%s): a later launcher will not know this process",
			    device->config->name, supervisor->run->path, strerror(-error));
	error = loop_add(supervisor->loop, &device->exit, device->child.pid_fd, EPOLLIN);
	if (error == 0)
		error = loop_add(supervisor->loop, &device->ready, b->ready[0], EPOLLIN);
	if (error)
		return device_reason(device, "epoll: %s", strerror(-error));
	b->ready[0] = -1;
	spawn_go(&device->child);
	return 0;
}

static int begin_process(struct device *device, struct beginning *b)
{
	struct sandbox_failure failure;
	struct spawn_request request;
	char text[128];

	if (device->uid == 0)
		device->uid = device_choose_uid(device);
	begin_arguments(device, b);
	begin_request(device, b, &request);
	if (spawn_start(&request, &device->child, &failure) < 0) {
		spawn_failure_text(&failure, text, sizeof(text));
		return device_reason(device, "cannot start: %s", text);
	}
	device->adopted = false;
	device->cut_off = false;
	device->began_ns = loop_now_ns();
	device->ready_ns = 0;
	if (begin_watch(device, b) == 0)
		return 0;
	loop_remove(device->supervisor->loop, &device->exit);
	device_signal(device, SIGKILL);
	waitid(P_PIDFD, (id_t)device->child.pid_fd, NULL, WEXITED);
	spawn_forget(&device->child);
	return -1;
}

int device_begin(struct device *device)
{
	struct beginning b;
	int result;

	if (device_make(device) < 0)
		return -1;
	beginning_init(&b, device->id);
	/* Attached first: once that is possible, nothing of the last backend holds the backing either. */
	result = begin_attach(device, &b);
	if (result == 0)
		result = begin_open(device, &b);
	if (result == 0)
		result = begin_pipes(device, &b);
	if (result == 0)
		result = begin_process(device, &b);
	beginning_finish(&b);
	return result;
}

void device_signal(struct device *device, int signal)
{
	/* One that is gone already is seen by its pidfd. */
	if (device->child.pid_fd >= 0)
		syscall(SYS_pidfd_send_signal, device->child.pid_fd, signal, NULL, 0);
}

static void device_say_exit(struct device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void device_say_exit(struct device *device, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(device->last_exit, sizeof(device->last_exit), format, args);
	va_end(args);
}

int device_end(struct device *device)
{
	struct supervisor *supervisor = device->supervisor;
	struct sandbox_failure failure;
	siginfo_t info = {0};
	char text[128];
	int code = -1;
	int fd;

	loop_remove(supervisor->loop, &device->exit);
	fd = loop_remove(supervisor->loop, &device->ready);
	if (fd >= 0)
		close(fd);
	if (device->adopted || waitid(P_PIDFD, (id_t)device->child.pid_fd, &info, WEXITED) < 0) {
		device_say_exit(device, "unknown, it was started by an earlier launcher");
	} else if (info.si_code == CLD_EXITED) {
		device_say_exit(device, "exit code %d", info.si_status);
		code = info.si_status;
	} else {
		device_say_exit(device, "signal %d (%s)%s", info.si_status, strsignal(info.si_status),
				device->cut_off ? " by hvisor" : "");
	}
	if (!device->adopted && spawn_failed(&device->child, &failure)) {
		spawn_failure_text(&failure, text, sizeof(text));
		device_reason(device, "cannot start: %s", text);
	}
	device->adopted = false;
	logpipe_drain(&device->pipe);
	spawn_forget(&device->child);
	rundir_forget(supervisor->run, device->config->name);
	return code;
}

void device_finish(struct device *device)
{
	struct supervisor *supervisor = device->supervisor;
	int fd;

	loop_clear_timer(supervisor->loop, &device->timer);
	loop_remove(supervisor->loop, &device->exit);
	fd = loop_remove(supervisor->loop, &device->ready);
	if (fd >= 0)
		close(fd);
	spawn_forget(&device->child);
	if (device->pipe.loop)
		logpipe_close(&device->pipe);
	logfile_close(&device->log);
	if (device->view)
		munmap(device->view, device->view_size);
	device->view = NULL;
	free(device->ends);
	device->ends = NULL;
}
