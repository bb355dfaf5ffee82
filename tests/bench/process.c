/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

double process_switches(pid_t pid)
{
	static const char *const key[] = {"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"};
	struct dirent *entry;
	char path[128];
	double sum = 0;
	double n;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return -errno;
	while (sum >= 0 && (entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/status", (int)pid, entry->d_name);
		n = process_sum(path, key, 2);
		/* A thread may have ended since. */
		if (n >= 0)
			sum += n;
	}
	closedir(tasks);
	return sum;
}
