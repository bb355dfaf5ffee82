/* SPDX-License-Identifier: MIT */
#include "cpu.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

int cpu_choose(int *driver, int *server)
{
	cpu_set_t set;
	int cpu;

	*driver = -1;
	*server = -1;
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return -1;
	for (cpu = 0; cpu < CPU_SETSIZE && *server < 0; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		if (*driver < 0)
			*driver = cpu;
		else
			*server = cpu;
	}
	return *server < 0 ? -1 : 0;
}

int cpu_pin(pid_t pid, int cpu)
{
	struct dirent *entry;
	char path[64];
	cpu_set_t set;
	int err = 0;
	DIR *tasks;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pid == 0)
		return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return -errno;
	while ((entry = readdir(tasks))) {
		pid_t task = (pid_t)strtol(entry->d_name, NULL, 10);

		if (task > 0 && sched_setaffinity(task, sizeof(set), &set) < 0)
			err = -errno;
	}
	closedir(tasks);
	return err;
}

int cpu_priority(void)
{
	struct sched_param param;

	return sched_getparam(0, &param) < 0 ? -errno : param.sched_priority;
}

int cpu_set_priority(pid_t pid, int priority)
{
	struct sched_param param = {.sched_priority = priority};

	return sched_setscheduler(pid, priority > 0 ? SCHED_FIFO : SCHED_OTHER, &param) < 0 ? -errno : 0;
}
