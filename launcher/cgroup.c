/* SPDX-License-Identifier: MIT */
#include "launcher/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "launcher/sandbox.h"

/*
 * A backend that may take a share of a processor gets it in pieces of this length: short, since a request may come when
 * the present one is used up.
 */
#define PERIOD_US 20000u

static const char *const controllers[CGROUP_CONTROLLERS] = {
	[CGROUP_CPU] = "cpu",
	[CGROUP_MEMORY] = "memory",
	[CGROUP_PIDS] = "pids",
};

/* 0 or -errno. */
static int write_at(int folder, const char *name, const char *text)
{
	int fd = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		error = -errno;
	close(fd);
	return error;
}

static bool is_cgroup2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

static const char *delegate_why(int error)
{
	switch (error) {
	case -ENOENT:
	case -EINVAL:
		return "the kernel has none, or cgroup v1 has it";
	case -EBUSY:
		return "there are processes in this group itself";
	default:
		return strerror(-error);
	}
}

/*
 * Lets the groups in folder have a controller, for which those above must let theirs. Only what comes of the folder
 * itself counts: whoever has delegated it to us may have done the rest. False after a line in missing.
 */
static bool delegate(const char *folder, const char *controller, struct errors *missing)
{
	char path[PATH_MAX];
	char failed[PATH_MAX] = "";
	char word[16];
	int error = 0;
	int first = 0;
	int at;
	int i;

	snprintf(word, sizeof(word), "+%s", controller);
	for (i = 1; folder[i - 1]; i++) {
		if (folder[i] && folder[i] != '/')
			continue;
		snprintf(path, sizeof(path), "%.*s", i, folder);
		if (!is_cgroup2(path))
			continue;
		at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		error = at < 0 ? -errno : write_at(at, "cgroup.subtree_control", word);
		if (at >= 0)
			close(at);
		if (error && !first) {
			first = error;
			strcpy(failed, path);
		}
	}
	if (error)
		errors_add(missing, "%s: cannot give its groups the controller %s: %s", failed, controller,
			   delegate_why(first));
	return error == 0;
}

/* The folder, in a cgroup v2 file system; -1 after a line in missing. */
static int open_folder(const char *folder, struct errors *missing)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(folder, '/');
	int fd;

	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - folder), folder);
	if (!is_cgroup2(parent)) {
		errors_add(missing, "%s is no folder of cgroup v2", parent[0] ? parent : "/");
		return -1;
	}
	if (mkdir(folder, 0755) < 0 && errno != EEXIST) {
		errors_add(missing, "cannot make the group %s: %s", folder, strerror(errno));
		return -1;
	}
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		errors_add(missing, "cannot open the group %s: %s", folder, strerror(errno));
	return fd;
}

void cgroups_open(struct cgroups *cgroups, const char *folder, struct errors *missing)
{
	bool any = false;
	size_t i;

	*cgroups = (struct cgroups){.folder = folder, .fd = -1};
	if (strcmp(folder, CGROUP_NONE) == 0)
		return;
	cgroups->fd = open_folder(folder, missing);
	if (cgroups->fd < 0)
		return;
	for (i = 0; i < CGROUP_CONTROLLERS; i++) {
		cgroups->have[i] = delegate(folder, controllers[i], missing);
		any |= cgroups->have[i];
	}
	if (any)
		return;
	cgroups_close(cgroups);
	rmdir(folder);
}

void cgroups_close(struct cgroups *cgroups)
{
	if (cgroups->fd >= 0)
		close(cgroups->fd);
	cgroups->fd = -1;
	memset(cgroups->have, 0, sizeof(cgroups->have));
}

void cgroups_check(const struct cgroups *cgroups, const struct config *config, struct errors *errors)
{
	uint32_t i;

	for (i = 0; i < config->ndevices; i++) {
		const struct config_limits *limits = &config->device[i].limits;
		bool cpu = limits->cpu_weight || limits->cpu_max_percent;

		if (cpu && !cgroups->have[CGROUP_CPU])
			errors_add(errors,
				   "%s: cpu_weight and cpu_max_percent are not held: the cgroup controller "
				   "cpu is not to be had",
				   config->device[i].name);
		if (limits->memory_max && !cgroups->have[CGROUP_MEMORY])
			errors_add(errors, "%s: memory_max is not held: the cgroup controller memory is not to be had",
				   config->device[i].name);
	}
}

static void set(const struct cgroups *cgroups, const char *name, const char *key, const char *value,
		struct errors *errors)
{
	char path[HVISOR_NAME_MAX + 32];
	int error;

	snprintf(path, sizeof(path), "%s/%s", name, key);
	error = write_at(cgroups->fd, path, value);
	if (error)
		errors_add(errors, "cannot write %s to %s/%s: %s", value, cgroups->folder, path, strerror(-error));
}

static void set_limits(const struct cgroups *cgroups, const struct config_device *device, struct errors *errors)
{
	const struct config_limits *limits = &device->limits;
	char value[64];

	if (cgroups->have[CGROUP_CPU]) {
		snprintf(value, sizeof(value), "%u", limits->cpu_weight ? limits->cpu_weight : CONFIG_CPU_WEIGHT);
		set(cgroups, device->name, "cpu.weight", value, errors);
		snprintf(value, sizeof(value), "max %u", PERIOD_US);
		set(cgroups, device->name, "cpu.max", value, errors);
	}
	if (cgroups->have[CGROUP_MEMORY]) {
		strcpy(value, "max");
		if (limits->memory_max)
			snprintf(value, sizeof(value), "%" PRIu64, limits->memory_max);
		set(cgroups, device->name, "memory.max", value, errors);
	}
	if (cgroups->have[CGROUP_PIDS]) {
		snprintf(value, sizeof(value), "%u", SANDBOX_PROCESSES_MAX);
		set(cgroups, device->name, "pids.max", value, errors);
	}
}

bool cgroup_enter(const struct cgroups *cgroups, const struct config_device *device, pid_t pid, struct errors *errors)
{
	size_t before;
	char value[32];

	if (mkdirat(cgroups->fd, device->name, 0755) < 0 && errno != EEXIST) {
		errors_add(errors, "cannot make the group %s/%s: %s", cgroups->folder, device->name, strerror(errno));
		return false;
	}
	set_limits(cgroups, device, errors);
	before = errors->count;
	snprintf(value, sizeof(value), "%d", pid);
	set(cgroups, device->name, "cgroup.procs", value, errors);
	return errors->count == before;
}

void cgroup_limit_cpu(const struct cgroups *cgroups, const struct config_device *device, struct errors *errors)
{
	char value[64];

	if (!cgroups->have[CGROUP_CPU] || !device->limits.cpu_max_percent)
		return;
	snprintf(value, sizeof(value), "%u %u", PERIOD_US / 100 * device->limits.cpu_max_percent, PERIOD_US);
	set(cgroups, device->name, "cpu.max", value, errors);
}

uint64_t cgroup_oom_kills(const struct cgroups *cgroups, const char *name)
{
	char path[HVISOR_NAME_MAX + 32];
	char text[512];
	const char *at;
	uint64_t kills = 0;
	ssize_t n = -1;
	int fd;

	if (!cgroups->have[CGROUP_MEMORY])
		return 0;
	snprintf(path, sizeof(path), "%s/memory.events", name);
	fd = openat(cgroups->fd, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, "oom_kill ");
	if (at)
		sscanf(at, "oom_kill %" SCNu64, &kills);
	return kills;
}

static bool is_kept(const char *name, const struct config_device *const *keep, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (strcmp(keep[i]->name, name) == 0)
			return true;
	}
	return false;
}

void cgroups_release(const struct cgroups *cgroups, const struct config_device *const *keep, uint32_t n)
{
	const struct dirent *entry;
	DIR *dir;
	int fd;

	if (cgroups->fd < 0)
		return;
	/* A descriptor of its own: the position in the folder is shared among copies. */
	fd = openat(cgroups->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && !is_kept(entry->d_name, keep, n))
			unlinkat(cgroups->fd, entry->d_name, AT_REMOVEDIR);
	}
	if (dir)
		closedir(dir);
}

void cgroups_remove(const struct cgroups *cgroups)
{
	if (cgroups->fd >= 0)
		rmdir(cgroups->folder);
}
