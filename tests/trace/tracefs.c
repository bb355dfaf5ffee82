/* SPDX-License-Identifier: MIT */
#include "tests/trace/tracefs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WHERE "/sys/kernel/tracing"
#define BUFFERS_KIB 32768 /* of all CPUs together, */
#define BUFFER_KIB 2048 /* but so much of each at the least */

static int setting_write(const struct tracefs *trace, const char *name, const char *value)
{
	char path[512];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", trace->folder, name);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, value, strlen(value));
	close(fd);
	return n == (ssize_t)strlen(value) ? 0 : -1;
}

/* Where nobody has mounted it, it is mounted for this process alone. */
static const char *tracefs_mount(void)
{
	if (access(WHERE "/instances", F_OK) == 0)
		return NULL;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "no mount namespace of our own, for which one must be root";
	if (mount("tracefs", WHERE, "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return "no tracefs can be mounted at " WHERE;
	return NULL;
}

const char *tracefs_init(struct tracefs *trace, pid_t pid)
{
	const char *wrong;
	char path[512];
	char filter[128];
	char number[32];
	char kib[32];
	long cpus;

	*trace = (struct tracefs){.pipe = -1};
	wrong = tracefs_mount();
	if (wrong)
		return wrong;
	snprintf(trace->folder, sizeof(trace->folder), WHERE "/instances/hvisor-%d", getpid());
	if (mkdir(trace->folder, 0700) < 0) {
		trace->folder[0] = '\0';
		return "no instance can be made in " WHERE "/instances, for which one must be root";
	}
	cpus = sysconf(_SC_NPROCESSORS_CONF);
	snprintf(kib, sizeof(kib), "%ld", cpus * BUFFER_KIB < BUFFERS_KIB ? BUFFERS_KIB / cpus : BUFFER_KIB);
	snprintf(number, sizeof(number), "%d", pid);
	snprintf(filter, sizeof(filter), "(comm ~ \"hvisor-*\" && comm != \"hvisor-launch\") || id == %d", SYS_ptrace);
	snprintf(path, sizeof(path), "%s/trace_pipe", trace->folder);
	/* Before each event there is to be its process and nothing else; poll() of newer kernels honours the percents.
	 */
	setting_write(trace, "options/irq-info", "0");
	setting_write(trace, "buffer_percent", "10");
	if (setting_write(trace, "buffer_size_kb", kib) < 0 || setting_write(trace, "trace_clock", "mono") < 0 ||
	    setting_write(trace, "options/event-fork", "1") < 0 || setting_write(trace, "set_event_pid", number) < 0)
		wrong = "the instance cannot be set up";
	else if (setting_write(trace, "events/raw_syscalls/sys_enter/filter", filter) < 0 ||
		 setting_write(trace, "events/signal/signal_generate/filter", "sig == 31") < 0 ||
		 setting_write(trace, "events/task/task_rename/enable", "1") < 0 ||
		 setting_write(trace, "events/signal/signal_generate/enable", "1") < 0 ||
		 setting_write(trace, "events/raw_syscalls/sys_enter/enable", "1") < 0)
		wrong = "the kernel does not trace system calls (CONFIG_FTRACE_SYSCALLS)";
	else if ((trace->pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) < 0)
		wrong = "the instance cannot be read";
	if (wrong)
		tracefs_finish(trace);
	return wrong;
}

void tracefs_stop(struct tracefs *trace)
{
	setting_write(trace, "events/enable", "0");
}

/* "NAME-PID [CPU] TIME: EVENT: TEXT", where the name may be anything; false for what is none of our events. */
static bool event_parse(const char *line, struct tracefs_event *event)
{
	static const char *const kinds[] = {": sys_enter: NR ", ": task_rename: ", ": signal_generate: "};
	uint64_t *arg = event->arg;
	const char *cpu = NULL;
	const char *at = NULL;
	unsigned int kind;

	*event = (struct tracefs_event){0};
	for (kind = 0; !at && kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		at = strstr(line, kinds[kind]);
		if (at)
			event->kind = (enum tracefs_kind)kind;
	}
	for (cpu = at; cpu && cpu > line && strncmp(cpu, " [", 2) != 0; cpu--)
		;
	while (cpu && cpu > line && *cpu != '-')
		cpu--;
	if (!cpu || cpu == line)
		return false;
	event->pid = atoi(cpu + 1);
	at += strlen(kinds[event->kind]);
	if (event->kind == TRACEFS_CALL)
		return sscanf(at, "%ld (%lx, %lx, %lx, %lx, %lx, %lx)", &event->nr, &arg[0], &arg[1], &arg[2], &arg[3],
			      &arg[4], &arg[5]) == 7;
	if (event->kind == TRACEFS_NAME)
		return (at = strstr(at, "newcomm=")) && sscanf(at, "newcomm=%15s", event->name) == 1;
	return true;
}

/* The next line, without its end; NULL if there is none for now. */
static char *line_next(struct tracefs *trace)
{
	char *line, *end;
	ssize_t n;

	while (!(end = memchr(trace->text + trace->begin, '\n', trace->end - trace->begin))) {
		memmove(trace->text, trace->text + trace->begin, trace->end - trace->begin);
		trace->end -= trace->begin;
		trace->begin = 0;
		n = read(trace->pipe, trace->text + trace->end, sizeof(trace->text) - trace->end);
		if (n <= 0)
			return NULL;
		trace->end += (size_t)n;
	}
	*end = '\0';
	line = trace->text + trace->begin;
	trace->begin = (size_t)(end + 1 - trace->text);
	return line;
}

bool tracefs_next(struct tracefs *trace, struct tracefs_event *event)
{
	unsigned long long lost;
	const char *line, *at;

	while ((line = line_next(trace))) {
		if (event_parse(line, event))
			return true;
		at = strstr(line, "[LOST ");
		if (at && sscanf(at, "[LOST %llu EVENTS]", &lost) == 1)
			trace->lost += lost;
	}
	return false;
}

void tracefs_finish(struct tracefs *trace)
{
	if (trace->pipe >= 0)
		close(trace->pipe);
	/* With it go its events. */
	if (trace->folder[0])
		rmdir(trace->folder);
	trace->folder[0] = '\0';
}
