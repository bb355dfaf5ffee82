/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"
#include "tests/test.h"

#define BUSY_START_MS 10000
#define BUSY_STARTED_NS 1e6

/* The sum of the numbers behind those of the keys ("Pss:") that the file has; -errno, -ENODATA if it has none. */
static double process_sum(const char *path, const char *const *key, size_t keys)
{
	double sum = 0;
	char line[256];
	bool found = false;
	FILE *file = fopen(path, "re");
	size_t i;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		for (i = 0; i < keys; i++) {
			if (strncmp(line, key[i], strlen(key[i])) != 0)
				continue;
			sum += strtod(line + strlen(key[i]), NULL);
			found = true;
		}
	}
	fclose(file);
	return found ? sum : -ENODATA;
}

double process_pss_kib(pid_t pid)
{
	static const char *const key[] = {"Pss:"};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	return process_sum(path, key, 1);
}

int process_switches(pid_t pid, struct process_switches *out)
{
	static const char *const key[] = {"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"};
	struct dirent *entry;
	char path[128];
	double count;
	DIR *tasks;

	out->n = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return -errno;
	while (out->n < PROCESS_THREADS_MAX && (entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/status", (int)pid, entry->d_name);
		count = process_sum(path, key, 2);
		if (count < 0) /* it has ended just now */
			continue;
		out->thread[out->n] = (pid_t)strtol(entry->d_name, NULL, 10);
		out->count[out->n++] = count;
	}
	closedir(tasks);
	return 0;
}

double process_switches_since(const struct process_switches *now, const struct process_switches *before)
{
	double sum = 0;
	unsigned int i;
	unsigned int k;

	for (i = 0; i < now->n; i++) {
		sum += now->count[i];
		for (k = 0; k < before->n; k++) {
			if (before->thread[k] == now->thread[i])
				sum -= before->count[k];
		}
	}
	return sum;
}

double process_cpu_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;
	int err = clock_getcpuclockid(pid, &clock);

	if (err)
		return -err;
	if (clock_gettime(clock, &ts) < 0)
		return -errno;
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int busy_runs(void *arg)
{
	return process_cpu_ns(*(const pid_t *)arg) > BUSY_STARTED_NS;
}

pid_t process_busy_start(int cpu)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setsid();
		cpu_pin(0, cpu);
		for (;;)
			__asm__ volatile("");
	}
	if (test_wait(busy_runs, &pid, BUSY_START_MS))
		return pid;
	process_busy_stop(pid);
	return -ETIMEDOUT;
}

void process_busy_stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
