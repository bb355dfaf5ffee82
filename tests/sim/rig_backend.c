/* SPDX-License-Identifier: MIT */
#include "tests/sim/rig_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/backend_fds.h"
#include "common/log.h"
#include "launcher/devtype.h"
#include "launcher/policy.h"

#define RIG_READY_MS 20000
#define RIG_END_MS 10000
#define RIG_ARGS_MAX (DEVTYPE_ARGS_MAX + 8)

/* What the child needs, all of it made before the fork. */
struct rig_exec {
	char program[PATH_MAX];
	char text[4][1024];
	char *argv[RIG_ARGS_MAX];
	int fd[BACKEND_FD_END]; /* by their number in the child, -1: none */
};

int rig_program(const char *name, char *path, size_t size)
{
	const char *build = getenv("BUILD");
	char self[PATH_MAX];
	int depth;
	ssize_t n;

	/* Tests work in folders of their own, and make's BUILD is relative to the one that they were started in. */
	if (build && build[0] == '/') {
		snprintf(path, size, "%s/%s", build, name);
		return access(path, X_OK) == 0 ? 0 : -errno;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return -errno;
	self[n] = '\0';
	/* BUILD/tests/sim/test_x */
	for (depth = 0; depth < 3 && strrchr(self, '/'); depth++)
		*strrchr(self, '/') = '\0';
	snprintf(path, size, "%s/%s", self, name);
	return access(path, X_OK) == 0 ? 0 : -errno;
}

int rig_zone(struct sim *sim, uint32_t mebibytes)
{
	struct hvisor_zone_set set = {
		.zone = RIG_ZONE, .nmemory = 1, .memory = {{RIG_RAM, RIG_RAM, (uint64_t)mebibytes << 20}}};
	int error = sim_zone_add(sim, RIG_ZONE, set.memory, 1);

	return error ? error : sim_call(sim, HVISOR_ZONE_SET, &set);
}

int rig_backend_init(struct rig_backend *backend, struct sim *sim, const struct devtype *type, const char *name)
{
	*backend = (struct rig_backend){.sim = sim, .type = type, .pid_fd = -1};
	backend->log_fd = memfd_create("backend-log", MFD_CLOEXEC);
	if (backend->log_fd < 0)
		return -errno;
	/* Written with O_APPEND, so that a restarted backend goes on behind its predecessor. */
	fcntl(backend->log_fd, F_SETFL, O_APPEND);
	backend->config = (struct config_device){
		.type = type->type,
		.zone = RIG_ZONE,
		.base = RIG_BASE,
		.size = 0x200,
		.irq = RIG_IRQ,
		.poll_us = CONFIG_POLL_ADAPTIVE,
		.log_level = LOG_INFO,
	};
	snprintf(backend->config.name, sizeof(backend->config.name), "%s", name);
	snprintf(backend->config.place, sizeof(backend->config.place), "zones[0].devices[0]");
	return 0;
}

int rig_backend_blk(struct rig_backend *backend, struct sim *sim, const char *img, uint32_t index)
{
	int error = rig_backend_init(backend, sim, &devtype_blk, "");

	if (error)
		return error;
	backend->config.base += index * 0x200ull;
	backend->config.irq += index;
	backend->config.blk = (struct config_blk){.img = (char *)(uintptr_t)img,
						  .cache = CONFIG_CACHE_WRITEBACK,
						  .discard = true,
						  .queues = 1,
						  .queue_size = 256,
						  .logical_block_size = 512,
						  .engine = CONFIG_ENGINE_AUTO};
	snprintf(backend->config.name, sizeof(backend->config.name), "blk%u", index);
	snprintf(backend->config.place, sizeof(backend->config.place), "zones[0].devices[%u]", index);
	return 0;
}

static int rig_complain(const struct rig_backend *backend, const char *what, int error)
{
	fprintf(stderr, "%s: %s: %s\n", backend->config.name, what, strerror(-error));
	return error;
}

/* The device as its type describes it, and the launcher's view of its region. */
static int rig_add_device(struct rig_backend *backend, const struct devtype *type)
{
	struct hvisor_device_view view;
	struct hvisor_device_add add = {0};
	struct errors errors;
	void *region;
	int error;

	errors_init(&errors);
	error = type->describe(&backend->config, &add, &errors);
	errors_print(&errors, stderr, "");
	errors_finish(&errors);
	if (error)
		return -EINVAL;
	add.zone = backend->config.zone;
	add.irq = backend->config.irq;
	add.base = backend->config.base;
	add.size = backend->config.size;
	memcpy(add.name, backend->config.name, sizeof(add.name));
	error = sim_call(backend->sim, HVISOR_DEVICE_ADD, &add);
	if (error)
		return rig_complain(backend, "making the device", error);

	view = (struct hvisor_device_view){.id = add.id};
	error = sim_call(backend->sim, HVISOR_DEVICE_VIEW, &view);
	if (error)
		return rig_complain(backend, "viewing the region", error);
	region = mmap(NULL, view.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, view.region_fd, 0);
	close(view.region_fd);
	if (region == MAP_FAILED)
		return rig_complain(backend, "mapping the region", -errno);
	backend->id = add.id;
	backend->region = region;
	backend->region_size = view.region_size;
	core_store(&backend->region->control.log_level, backend->config.log_level);
	core_store(&backend->region->control.poll_us, backend->config.poll_us);
	return 0;
}

static void rig_exec_arguments(struct rig_exec *exec, const struct rig_backend *backend,
			       const struct hvisor_device_attach *attach, const struct devtype_start *start)
{
	size_t at = 0;
	uint32_t n = 0;
	uint32_t i;

	snprintf(exec->text[0], sizeof(exec->text[0]), "name=%s", backend->config.name);
	snprintf(exec->text[1], sizeof(exec->text[1]), "region=0x%llx,%u", attach->region_offset, attach->region_size);
	at += (size_t)snprintf(exec->text[2], sizeof(exec->text[2]), "memory=");
	for (i = 0; i < attach->nmemory; i++)
		at += (size_t)snprintf(exec->text[2] + at, sizeof(exec->text[2]) - at, "%s0x%llx,0x%llx,0x%llx",
				       i ? ";" : "", attach->memory[i].zonex_ipa, attach->memory[i].size,
				       attach->memory_offset[i]);
	snprintf(exec->text[3], sizeof(exec->text[3]), "log_level=%u", backend->config.log_level);
	exec->argv[n++] = exec->program;
	for (i = 0; i < 4; i++)
		exec->argv[n++] = exec->text[i];
	if (!backend->policy_dir)
		exec->argv[n++] = (char *)(uintptr_t) "policy=none";
	for (i = 0; i < start->nargs; i++)
		exec->argv[n++] = start->arg[i];
	exec->argv[n] = NULL;
}

/* In the child: puts each descriptor at its number, out of each other's way first, and closes all others. */
static void __attribute__((noreturn)) rig_child(struct rig_exec *exec)
{
	static char *const environment[] = {NULL};
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (fd = 0; fd < BACKEND_FD_END; fd++) {
		if (exec->fd[fd] >= 0)
			exec->fd[fd] = fcntl(exec->fd[fd], F_DUPFD, 2 * BACKEND_FD_END);
	}
	for (fd = 0; fd < BACKEND_FD_END; fd++) {
		if (exec->fd[fd] < 0)
			close(fd);
		else if (dup2(exec->fd[fd], fd) != fd)
			_exit(127);
	}
	syscall(SYS_close_range, BACKEND_FD_END, ~0u, 0);
	execve(exec->program, exec->argv, environment);
	_exit(127);
}

static int rig_await_ready(struct rig_backend *backend, int ready_fd)
{
	struct pollfd pfd = {.fd = ready_fd, .events = POLLIN};
	char byte;

	if (poll(&pfd, 1, RIG_READY_MS) == 0)
		return rig_complain(backend, "it did not become ready", -ETIMEDOUT);
	return read(ready_fd, &byte, 1) == 1 ? 0 : rig_complain(backend, "it ended before it was ready", -ECHILD);
}

static int rig_run(struct rig_backend *backend, struct rig_exec *exec)
{
	struct hvisor_device_owner owner = {.id = backend->id};

	backend->pid = fork();
	if (backend->pid == 0)
		rig_child(exec);
	if (backend->pid < 0) {
		backend->pid = 0;
		return rig_complain(backend, "fork", -errno);
	}
	backend->pid_fd = (int)syscall(SYS_pidfd_open, backend->pid, 0);
	owner.pid = backend->pid;
	return sim_call(backend->sim, HVISOR_DEVICE_OWNER, &owner);
}

/* Finds the program, opens the backing, attaches: all that the child gets. exec and start are released by the caller.
 */
static int rig_prepare(struct rig_backend *backend, const struct devtype *type, struct rig_exec *exec,
		       struct devtype_start *start)
{
	struct hvisor_device_attach attach = {.id = backend->id};
	struct errors errors;
	int error = rig_program(type->program, exec->program, sizeof(exec->program));
	uint32_t i;

	if (error)
		return rig_complain(backend, exec->program, error);
	errors_init(&errors);
	error = type->open(&backend->config, start, &errors) == 0 ? 0 : -EINVAL;
	if (!error && backend->policy_dir) {
		exec->fd[BACKEND_FD_POLICY] =
			policy_compile(backend->policy_dir, type->policy, LAUNCH_SECCOMP_ENFORCE, &errors);
		error = exec->fd[BACKEND_FD_POLICY] < 0 ? -EINVAL : 0;
	}
	errors_print(&errors, stderr, "");
	errors_finish(&errors);
	if (error)
		return error;
	exec->fd[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	exec->fd[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
	exec->fd[BACKEND_FD_LOG] = backend->log_fd;
	exec->fd[BACKEND_FD_KICK] = attach.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	exec->fd[BACKEND_FD_CALL] = attach.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = sim_call(backend->sim, HVISOR_DEVICE_ATTACH, &attach);
	if (error)
		return rig_complain(backend, "attaching", error);
	exec->fd[BACKEND_FD_ATTACHMENT] = attach.attachment_fd;
	exec->fd[BACKEND_FD_REGION] = attach.region_fd;
	exec->fd[BACKEND_FD_MEMORY] = attach.memory_fd;
	for (i = 0; i < start->nfiles; i++)
		exec->fd[BACKEND_FD_DEVICE + i] = start->file[i];
	rig_exec_arguments(exec, backend, &attach, start);
	return 0;
}

/* All but the log and the backing, which others own. */
static void rig_exec_close(struct rig_exec *exec)
{
	int i;

	for (i = 0; i < BACKEND_FD_DEVICE; i++) {
		if (i != BACKEND_FD_LOG && exec->fd[i] >= 0)
			close(exec->fd[i]);
	}
}

static int rig_launch(struct rig_backend *backend, const struct devtype *type)
{
	struct devtype_start start;
	struct rig_exec exec;
	int ready[2];
	int error;

	memset(exec.fd, -1, sizeof(exec.fd));
	if (pipe2(ready, O_CLOEXEC) != 0)
		return -errno;
	exec.fd[BACKEND_FD_READY] = ready[1];
	devtype_start_init(&start);
	error = rig_prepare(backend, type, &exec, &start);
	if (!error)
		error = rig_run(backend, &exec);
	rig_exec_close(&exec);
	devtype_start_finish(&start);
	if (!error)
		error = rig_await_ready(backend, ready[0]);
	close(ready[0]);
	return error;
}

int rig_backend_start(struct rig_backend *backend)
{
	const struct devtype *type = backend->type;
	int error;

	if (backend->pid)
		return -EBUSY;
	error = backend->id ? 0 : rig_add_device(backend, type);
	if (!error)
		error = rig_launch(backend, type);
	if (error && backend->pid)
		rig_backend_end(backend, SIGKILL);
	return error;
}

int rig_backend_wait(struct rig_backend *backend, int timeout_ms)
{
	struct pollfd pfd = {.fd = backend->pid_fd, .events = POLLIN};
	int status;

	if (!backend->pid || poll(&pfd, 1, timeout_ms) != 1)
		return -1;
	waitpid(backend->pid, &status, 0);
	close(backend->pid_fd);
	backend->pid = 0;
	backend->pid_fd = -1;
	return status;
}

int rig_backend_end(struct rig_backend *backend, int signal)
{
	int status;

	if (!backend->pid)
		return -1;
	kill(backend->pid, signal);
	status = rig_backend_wait(backend, RIG_END_MS);
	if (backend->pid) {
		kill(backend->pid, SIGKILL);
		rig_backend_wait(backend, -1);
	}
	return status;
}

void rig_backend_log(const struct rig_backend *backend, char *text, size_t size)
{
	ssize_t n = pread(backend->log_fd, text, size - 1, 0);

	text[n > 0 ? n : 0] = '\0';
}

void rig_backend_finish(struct rig_backend *backend)
{
	rig_backend_end(backend, SIGKILL);
	if (backend->region)
		munmap(backend->region, backend->region_size);
	backend->region = NULL;
	close(backend->log_fd);
}

int rig_spawn_blk(struct rig_backend *backend, struct sim *sim, const char *img)
{
	int error = rig_backend_blk(backend, sim, img, 0);

	return error ? error : rig_backend_start(backend);
}
