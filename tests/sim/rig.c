/* SPDX-License-Identifier: MIT */
#include "tests/sim/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/cgroup.h"
#include "launcher/control.h"
#include "tests/test.h"

#define RIG_SERVE_MS 20000
#define RIG_TEXT_MS 10000
#define RIG_REST_MS 20000
#define RIG_END_MS 30000
#define RIG_TEXT_MAX (1u << 20)
#define RIG_SHOW_MAX 16384L

void rig_init(struct rig *rig, uint32_t mebibytes)
{
	struct hvisor_memory memory = {RIG_RAM, RIG_RAM, (uint64_t)mebibytes << 20};
	char path[300];

	memset(rig, 0, sizeof(*rig));
	rig->launcher_fd = -1;
	rig->dir = scratch_enter();
	snprintf(path, sizeof(path), "%s/sim.sock", rig->dir);
	snprintf(rig->hv, sizeof(rig->hv), "sim:%s/sim.sock", rig->dir);
	snprintf(rig->run_dir, sizeof(rig->run_dir), "%s/run", rig->dir);
	snprintf(rig->log_dir, sizeof(rig->log_dir), "%s/log", rig->dir);
	snprintf(rig->config, sizeof(rig->config), "%s/virtio_cfg.json", rig->dir);
	snprintf(rig->errors, sizeof(rig->errors), "%s/launcher.err", rig->dir);
	CHECK_INT(sim_start(&rig->sim, path), 0);
	CHECK_INT(sim_zone_add(&rig->sim, RIG_ZONE, &memory, 1), 0);
	CHECK_INT(guest_init(&rig->guest, &rig->sim, RIG_ZONE), 0);
}

uint64_t rig_base(uint32_t index)
{
	return RIG_BASE + index * 0x200ull;
}

uint32_t rig_irq(uint32_t index)
{
	return RIG_IRQ + index;
}

static void rig_make_image(const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct stat st;

	CHECK(fd >= 0);
	CHECK_INT(fstat(fd, &st), 0);
	if (st.st_size == 0)
		CHECK_INT(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

/* The file up to its first device, with further keys of its outermost object, or NULL. */
static FILE *rig_config_begin(struct rig *rig, const char *keys)
{
	const struct hvisor_memory *memory = &rig->sim.zone[RIG_ZONE].board[0];
	FILE *file = fopen(rig->config, "we");

	CHECK(file);
	fprintf(file,
		"{%s%s\"zones\": [{\"id\": %u, \"memory_region\": [\n"
		"\t{\"zone0_ipa\": \"0x%llx\", \"zonex_ipa\": \"0x%llx\", \"size\": \"0x%llx\"}],\n"
		"\t\"devices\": [\n",
		keys ? keys : "", keys ? ", " : "", RIG_ZONE, memory->zone0_ipa, memory->zonex_ipa, memory->size);
	return file;
}

static void rig_config_device(FILE *file, uint32_t index)
{
	fprintf(file, "%s\t\t{\"addr\": \"0x%llx\", \"len\": \"0x200\", \"irq\": %u", index ? ",\n" : "",
		(unsigned long long)rig_base(index), rig_irq(index));
}

static void rig_config_end(FILE *file)
{
	fprintf(file, "\n\t]\n}]}\n");
	CHECK_INT(fclose(file), 0);
}

void rig_config(struct rig *rig, const char *const *device, uint32_t n)
{
	FILE *file = rig_config_begin(rig, NULL);
	uint32_t i;

	for (i = 0; i < n; i++) {
		rig_config_device(file, i);
		fprintf(file, ", %s}", device[i]);
	}
	rig_config_end(file);
}

void rig_config_disks(struct rig *rig, const struct rig_disk *disk, uint32_t n, const char *keys)
{
	FILE *file = rig_config_begin(rig, keys);
	char img[32];
	uint32_t i;

	for (i = 0; i < n; i++) {
		snprintf(img, sizeof(img), "disk%u.img", i);
		if (!disk[i].img)
			rig_make_image(img, disk[i].size);
		rig_config_device(file, i);
		fprintf(file, ",\n\t\t \"type\": \"blk\", \"status\": \"enable\", \"img\": \"%s%s%s\"%s%s}",
			disk[i].img ? "" : rig->dir, disk[i].img ? "" : "/", disk[i].img ? disk[i].img : img,
			disk[i].keys ? ", " : "", disk[i].keys ? disk[i].keys : "");
	}
	rig_config_end(file);
}

/* The program and its common options, then those of args, then last unless it is NULL. */
static void rig_arguments(struct rig *rig, char **argv, char *program, bool serve, va_list args)
{
	/* The launchers of tests that run at once would share the folder of cgroups. */
	const char *fixed[] = {program,      "--run",    rig->run_dir, serve ? "--hv" : NULL, rig->hv, "--log-dir",
			       rig->log_dir, "--cgroup", CGROUP_NONE};
	uint32_t n = 0;
	size_t i;

	CHECK_INT(rig_program("hvisor-launch", program, PATH_MAX), 0);
	for (i = 0; i < sizeof(fixed) / sizeof(fixed[0]) && fixed[i]; i++)
		argv[n++] = (char *)(uintptr_t)fixed[i];
	while ((argv[n] = va_arg(args, char *))) {
		n++;
		CHECK(n + 2 < RIG_ARGUMENTS_MAX);
	}
	if (serve)
		argv[n++] = rig->config;
	argv[n] = NULL;
}

static pid_t rig_fork(char **argv, int output, bool traced)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	if (traced && (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0))
		_exit(127);
	execv(argv[0], argv);
	dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void rig_launch_arguments(struct rig *rig, bool traced, va_list args)
{
	char *argv[RIG_ARGUMENTS_MAX];
	char program[PATH_MAX];
	int output;

	CHECK_INT(rig->launcher, 0);
	rig_arguments(rig, argv, program, true, args);
	output = open(rig->errors, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	CHECK(output >= 0);
	rig->launcher = rig_fork(argv, output, traced);
	close(output);
	rig->launcher_fd = (int)syscall(SYS_pidfd_open, rig->launcher, 0);
	CHECK(rig->launcher_fd >= 0);
}

void rig_launch(struct rig *rig, ...)
{
	va_list args;

	va_start(args, rig);
	rig_launch_arguments(rig, false, args);
	va_end(args);
}

static void rig_launch_stopped(struct rig *rig, ...)
{
	va_list args;

	va_start(args, rig);
	rig_launch_arguments(rig, true, args);
	va_end(args);
}

void rig_launch_traced(struct rig *rig)
{
	rig_launch_stopped(rig, NULL);
}

bool rig_device(struct rig *rig, const char *name, struct hvisor_device_get *get)
{
	memset(get, 0, sizeof(*get));
	while (sim_call(&rig->sim, HVISOR_DEVICE_GET, get) == 0) {
		if (strcmp(get->device.name, name) == 0)
			return true;
		get->id++;
	}
	return false;
}

pid_t rig_pid(struct rig *rig, const char *name)
{
	struct hvisor_device_get get;

	return rig_device(rig, name, &get) ? get.owner_pid : 0;
}

void rig_counters(struct rig *rig, const char *name, struct region_device *counters)
{
	struct hvisor_device_get get;
	struct hvisor_device_view view;

	memset(counters, 0, sizeof(*counters));
	if (!rig_device(rig, name, &get))
		return;
	view = (struct hvisor_device_view){.id = get.id};
	CHECK_INT(sim_call(&rig->sim, HVISOR_DEVICE_VIEW, &view), 0);
	CHECK_INT(pread(view.region_fd, counters, sizeof(*counters), offsetof(struct queue_region, device)),
		  sizeof(*counters));
	close(view.region_fd);
}

uint32_t rig_starts(struct rig *rig, const char *name)
{
	struct region_device counters;

	rig_counters(rig, name, &counters);
	return counters.starts;
}

void rig_show(struct rig *rig, const char *file)
{
	char path[600];
	char line[600];
	FILE *in;

	snprintf(path, sizeof(path), "%s%s%s", file[0] == '/' ? "" : rig->log_dir, file[0] == '/' ? "" : "/", file);
	in = fopen(path, "re");
	if (!in)
		return;
	fprintf(stderr, "--- %s\n", path);
	/* It may have fewer bytes; then all are shown. */
	if (fseek(in, -RIG_SHOW_MAX, SEEK_END) == 0)
		fgets(line, sizeof(line), in);
	while (fgets(line, sizeof(line), in))
		fputs(line, stderr);
	fclose(in);
}

struct rig_wait {
	struct rig *rig;
	const char *name;
	const char *text;
	uint32_t starts;
};

static bool rig_launcher_ended(struct rig *rig)
{
	struct pollfd pfd = {.fd = rig->launcher_fd, .events = POLLIN};

	return rig->launcher && poll(&pfd, 1, 0) == 1;
}

static int rig_is_served(void *argument)
{
	struct rig_wait *wait = argument;
	struct hvisor_device_get get;

	/* Nothing more will come. */
	if (rig_launcher_ended(wait->rig))
		return -1;
	return rig_device(wait->rig, wait->name, &get) && (get.flags & HVISOR_DEVICE_ATTACHED) && get.owner_pid &&
	       rig_starts(wait->rig, wait->name) >= wait->starts;
}

void rig_await_starts(struct rig *rig, const char *name, uint32_t starts)
{
	struct rig_wait wait = {.rig = rig, .name = name, .starts = starts};
	char log[HVISOR_NAME_MAX + 8];

	if (test_wait(rig_is_served, &wait, RIG_SERVE_MS) == 1)
		return;
	snprintf(log, sizeof(log), "%s.log", name);
	rig_show(rig, rig->errors);
	rig_show(rig, log);
	TEST_FAIL("%s was not served for the %u. time%s", name, starts,
		  rig_launcher_ended(rig) ? ": the launcher has ended" : "");
}

static int rig_rests(void *argument)
{
	struct rig_wait *wait = argument;
	struct region_device before, now;

	rig_counters(wait->rig, wait->name, &before);
	poll(NULL, 0, 100);
	rig_counters(wait->rig, wait->name, &now);
	return before.heartbeat == now.heartbeat;
}

void rig_await_rest(struct rig *rig, const char *name)
{
	struct rig_wait wait = {.rig = rig, .name = name};

	if (test_wait(rig_rests, &wait, RIG_REST_MS) != 1)
		TEST_FAIL("the backend of %s does not come to rest", name);
}

static int rig_answers(void *argument)
{
	struct rig *rig = argument;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int result;

	if (rig_launcher_ended(rig))
		return -1;
	CHECK((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CONTROL_SOCKET, rig->run_dir) <
	      sizeof(address.sun_path));
	result = connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return result == 0;
}

void rig_await_launcher(struct rig *rig)
{
	if (test_wait(rig_answers, rig, RIG_SERVE_MS) == 1)
		return;
	rig_show(rig, rig->errors);
	TEST_FAIL("the launcher does not answer%s", rig_launcher_ended(rig) ? ": it has ended" : "");
}

void rig_serve(struct rig *rig, uint32_t n)
{
	char name[HVISOR_NAME_MAX];
	uint32_t i;

	rig_launch(rig, NULL);
	rig_await_launcher(rig);
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "blk%u", i);
		rig_await_starts(rig, name, 1);
	}
}

void rig_kill(struct rig *rig, const char *name)
{
	pid_t pid = rig_pid(rig, name);
	struct pollfd pfd = {.events = POLLIN};

	CHECK(pid > 0);
	pfd.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	CHECK(pfd.fd >= 0);
	CHECK_INT(kill(pid, SIGKILL), 0);
	CHECK_INT(poll(&pfd, 1, RIG_END_MS), 1);
	close(pfd.fd);
}

int rig_launcher(struct rig *rig, char *out, size_t size, ...)
{
	char *argv[RIG_ARGUMENTS_MAX];
	char program[PATH_MAX];
	char part[4096];
	size_t at = 0;
	va_list args;
	int status;
	ssize_t n;
	pid_t pid;
	int fd[2];

	va_start(args, size);
	rig_arguments(rig, argv, program, false, args);
	va_end(args);
	CHECK_INT(pipe2(fd, O_CLOEXEC), 0);
	pid = rig_fork(argv, fd[1], false);
	close(fd[1]);
	while ((n = read(fd[0], part, sizeof(part))) > 0) {
		if (out && at + (size_t)n < size) {
			memcpy(out + at, part, (size_t)n);
			at += (size_t)n;
		}
	}
	close(fd[0]);
	if (out)
		out[at] = '\0';
	CHECK_INT(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int rig_await_end(struct rig *rig)
{
	struct pollfd pfd = {.fd = rig->launcher_fd, .events = POLLIN};
	int status;

	if (poll(&pfd, 1, RIG_END_MS) != 1) {
		rig_show(rig, rig->errors);
		TEST_FAIL("the launcher did not end in %d s", RIG_END_MS / 1000);
	}
	CHECK_INT(waitpid(rig->launcher, &status, 0), rig->launcher);
	close(rig->launcher_fd);
	rig->launcher_fd = -1;
	rig->launcher = 0;
	return status;
}

int rig_end_launcher(struct rig *rig, int signal)
{
	CHECK(rig->launcher > 0);
	CHECK_INT(kill(rig->launcher, signal), 0);
	return rig_await_end(rig);
}

void rig_finish(struct rig *rig)
{
	struct hvisor_device_get get = {0};

	if (rig->launcher)
		rig_end_launcher(rig, SIGTERM);
	/* Those of a launcher that was killed. */
	for (; sim_call(&rig->sim, HVISOR_DEVICE_GET, &get) == 0; get.id++) {
		if (get.owner_pid > 0)
			kill(get.owner_pid, SIGKILL);
	}
	guest_finish(&rig->guest);
	sim_stop(&rig->sim);
}

static int rig_has_text(void *argument)
{
	struct rig_wait *wait = argument;
	char *text = malloc(RIG_TEXT_MAX);
	FILE *file = fopen(wait->name, "re");
	int found = 0;

	CHECK(text);
	if (file) {
		text[fread(text, 1, RIG_TEXT_MAX - 1, file)] = '\0';
		found = strstr(text, wait->text) != NULL;
		fclose(file);
	}
	free(text);
	return found;
}

void rig_await_text(struct rig *rig, const char *file, const char *text)
{
	char path[600];
	struct rig_wait wait = {.rig = rig, .name = path, .text = text};

	snprintf(path, sizeof(path), "%s%s%s", file[0] == '/' ? "" : rig->log_dir, file[0] == '/' ? "" : "/", file);
	if (test_wait(rig_has_text, &wait, RIG_TEXT_MS))
		return;
	rig_show(rig, path);
	TEST_FAIL("%s has no \"%s\" in it", path, text);
}
