/* SPDX-License-Identifier: MIT */
/* The processes of a device: found, begun, collected. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/device.h"

#define ARGS_MAX (DEVTYPE_ARGS_MAX + 8)

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

/* One that has lost what it kept is served all the same; its next backend begins anew. */
static void device_adopt_kept(struct device *device)
{
	uint32_t kept = device->program->type->kept;
	uint32_t i;

	for (i = 0; i < DEVTYPE_FILES_MAX; i++) {
		if (!(kept & (1u << i)))
			continue;
		device->kept.file[i] =
			(int)syscall(SYS_pidfd_getfd, device->child.pid_fd, BACKEND_FD_DEVICE + (int)i, 0);
		/* A place may be empty. */
		if (device->kept.file[i] < 0 && errno != EBADF)
			device_say(device, LOG_WARNING, "descriptor %u of process %d cannot be taken over: %s",
				   BACKEND_FD_DEVICE + i, device->child.pid, strerror(errno));
	}
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
	device_adopt_kept(device);
	device->uid = state.uid;
	device->restarts = state.restarts;
	if (state.log_level <= LOG_DEBUG)
		device->log_level = (enum log_level)state.log_level;
	return 1;
}

bool device_is_of_other(const struct device *device, pid_t *pid, char *path, size_t size)
{
	char link[64];
	char *slash;
	ssize_t n;

	/* Whoever started it has the other end of its log pipe, which lies in that run folder. */
	snprintf(link, sizeof(link), "/proc/%d/fd/%d", device->child.pid, BACKEND_FD_LOG);
	n = readlink(link, path, size - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	if (!rundir_used_by_other(device->supervisor->run, path, pid))
		return false;
	slash = strrchr(path, '/');
	*slash = '\0';
	return true;
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
	const struct devtype *type = device->program->type;
	struct errors errors;
	int result;

	errors_init(&errors);
	if (type->prepare && type->prepare(device->config, device->supervisor->run, &errors) < 0)
		return device_reason_errors(device, &errors);
	result = type->kept
			 ? type->open_kept(device->config, device->supervisor->run, &device->kept, &b->files, &errors)
			 : type->open(device->config, &b->files, &errors);
	if (result < 0)
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

/* Logs what could not be limited, and finishes errors. */
static void say_unlimited(const struct device *device, struct errors *errors)
{
	size_t i;

	for (i = 0; errors->line && i < errors->count; i++)
		device_say(device, LOG_WARNING, "%s", errors->line[i] ? errors->line[i] : "no memory");
	errors_finish(errors);
}

void device_limit(struct device *device)
{
	const struct cgroups *cgroups = &device->supervisor->cgroups;
	struct errors errors;

	device->grouped = false;
	if (cgroups->fd < 0)
		return;
	errors_init(&errors);
	device->oom_kills = cgroup_oom_kills(cgroups, device->config->name);
	device->grouped = cgroup_enter(cgroups, device->config, device->child.pid, &errors);
	say_unlimited(device, &errors);
}

void device_limit_cpu(const struct device *device)
{
	struct errors errors;

	if (!device->grouped)
		return;
	errors_init(&errors);
	cgroup_limit_cpu(&device->supervisor->cgroups, device->config, &errors);
	say_unlimited(device, &errors);
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
		device_say(device, LOG_WARNING,
			   "cannot write its state in %s (%s): a later launcher will not know this process",
			   supervisor->run->path, strerror(-error));
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
	device->began_ns = loop_now_ns();
	device->ready_ns = 0;
	device_limit(device);
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

/* Its event may come after the end of the process is seen, so hvisor is asked. */
static bool device_was_cut_off(const struct device *device)
{
	struct hvisor_device_get get = {.id = device->id};

	return hv_call(device->supervisor->hv, HVISOR_DEVICE_GET, &get) == 0 && get.id == device->id &&
	       (get.flags & HVISOR_DEVICE_CUT_OFF);
}

/* Did the kernel kill it for what memory_max does not let it have? */
static bool device_took_too_much(const struct device *device)
{
	return device->grouped &&
	       cgroup_oom_kills(&device->supervisor->cgroups, device->config->name) > device->oom_kills;
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
				device_was_cut_off(device)     ? " by hvisor"
				: device_took_too_much(device) ? " for want of memory"
							       : "");
	}
	if (!device->adopted && spawn_failed(&device->child, &failure)) {
		spawn_failure_text(&failure, text, sizeof(text));
		device_reason(device, "cannot start: %s", text);
	}
	device->adopted = false;
	device->grouped = false;
	logpipe_drain(&device->pipe);
	spawn_forget(&device->child);
	rundir_forget(supervisor->run, device->config->name);
	return code;
}
