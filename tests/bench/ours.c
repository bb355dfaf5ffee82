/* SPDX-License-Identifier: MIT */
#include "ours.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"
#include "tests/test.h"

#define OURS_ZONE 1u
#define OURS_MEMORY 0x50000000ull
#define OURS_MEMORY_SIZE (64ull << 20)
#define OURS_WINDOW 0xa003c00ull
#define OURS_WINDOW_SIZE 0x200ull
#define OURS_IRQ 78u
#define OURS_NAME "blk0"
#define OURS_START_MS 10000
#define OURS_STOP_MS 10000
#define OURS_LOG_SHOWN 2000L /* bytes */

CORE_ASSERT(OURS_MEMORY_SIZE > DISK_MEMORY);

static int ours_fail(const char *what, int error)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(error));
	return -1;
}

/* A backend that is killed on purpose many times is not given up, nor waited with; one that cannot run at all is. */
static int ours_write_config(const char *path, const char *image)
{
	static const char *const format =
		"{\"zones\": [{\"id\": %u, \"memory_region\": [{\"zone0_ipa\": \"0x%llx\", \"zonex_ipa\": \"0x%llx\",\n"
		"\"size\": \"0x%llx\"}], \"devices\": [{\"type\": \"blk\", \"name\": \"" OURS_NAME "\",\n"
		"\"addr\": \"0x%llx\", \"len\": \"0x%llx\", \"irq\": %u, \"img\": \"%s\",\n"
		"\"restart_limit\": 100, \"restart_delay_ms\": 1, \"restart_delay_max_ms\": 1, \"status\": "
		"\"enable\"}]}]}\n";
	FILE *file = fopen(path, "we");
	int n;

	if (!file)
		return ours_fail(path, errno);
	n = fprintf(file, format, OURS_ZONE, OURS_MEMORY, OURS_MEMORY, OURS_MEMORY_SIZE, OURS_WINDOW, OURS_WINDOW_SIZE,
		    OURS_IRQ, image);
	if (fclose(file) != 0 || n < 0)
		return ours_fail(path, errno);
	return 0;
}

/* In a child: the launcher of this build, beside whose tests this program is. Never returns. */
static void ours_exec(const struct ours *ours, char **argv)
{
	char self[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - sizeof("/../../hvisor-launch"));
	int fd = open(ours->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	/* Ended by a signal that lets it end its backends. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (n > 0 && fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0) {
		self[n] = 0;
		strcpy(strrchr(self, '/'), "/../../hvisor-launch");
		execv(self, argv);
	}
	fprintf(stderr, "bench: starting hvisor-launch: %m\n");
	_exit(127);
}

void ours_show_log(const struct ours *ours)
{
	char line[512];
	FILE *file = fopen(ours->log, "re");

	if (file && fseek(file, -OURS_LOG_SHOWN, SEEK_END) < 0)
		rewind(file);
	while (file && fgets(line, sizeof(line), file))
		fprintf(stderr, "    %s", line);
	if (file)
		fclose(file);
}

static int ours_device_get(struct ours *ours, struct hvisor_device_get *get)
{
	*get = (struct hvisor_device_get){0};
	return sim_call(&ours->sim, HVISOR_DEVICE_GET, get);
}

static int ours_serves(void *arg)
{
	struct ours *ours = arg;
	struct hvisor_device_get get;

	if (waitpid(ours->launcher, NULL, WNOHANG) != 0)
		return -1;
	return ours_device_get(ours, &get) == 0 && get.owner_pid > 0;
}

static int ours_launch(struct ours *ours, const char *image, const char *folder)
{
	char socket[160], config[160], logs[160];
	char *argv[] = {"hvisor-launch", "--hv", socket, "--run", ours->run_dir, "--log-dir", logs, config, NULL};
	int result;

	snprintf(socket, sizeof(socket), "sim:%s/sim.sock", folder);
	snprintf(config, sizeof(config), "%s/virtio_cfg.json", folder);
	snprintf(logs, sizeof(logs), "%s/log", folder);
	snprintf(ours->log, sizeof(ours->log), "%s/launcher.log", folder);
	snprintf(ours->run_dir, sizeof(ours->run_dir), "%s/run", folder);
	if (ours_write_config(config, image) < 0)
		return -1;
	fflush(NULL);
	ours->launcher = fork();
	if (ours->launcher == 0)
		ours_exec(ours, argv);
	if (ours->launcher < 0)
		return ours_fail("fork", errno);
	result = test_wait(ours_serves, ours, OURS_START_MS);
	if (result == 1)
		return 0;
	if (result < 0)
		ours->launcher = 0;
	fprintf(stderr, "bench: hvisor-launch %s:\n",
		result < 0 ? "ended at its start" : "has no backend running after 10 s");
	ours_show_log(ours);
	return -1;
}

static int ours_probe(struct ours *ours)
{
	uint64_t sectors;
	int err = guest_init(&ours->guest, &ours->sim, OURS_ZONE);

	if (!err)
		err = guest_dev_probe(&ours->dev, &ours->guest, OURS_WINDOW, OURS_IRQ, 0);
	if (!err)
		err = guest_dev_negotiate(&ours->dev, 0, DISK_FEATURES);
	if (!err)
		err = guest_vq_open(&ours->vq, &ours->dev, 0, 0, DISK_RING_SIZE, DISK_INDIRECT_MAX);
	if (!err)
		err = guest_dev_start(&ours->dev, 0);
	if (err)
		return ours_fail("the driver does not come up on hvisor-blk", -err);
	guest_dev_config(&ours->dev, 0, offsetof(struct virtio_blk_config, capacity), &sectors, sizeof(sectors));
	err = disk_init(&ours->disk, &ours->guest, &ours->vq, 0, sectors * 512);
	return err ? ours_fail("the driver's memory", -err) : 0;
}

int ours_start(struct ours *ours, const char *image, const char *folder, int cpu)
{
	const struct hvisor_memory memory = {
		.zone0_ipa = OURS_MEMORY, .zonex_ipa = OURS_MEMORY, .size = OURS_MEMORY_SIZE};
	char path[160];
	int err;

	memset(ours, 0, sizeof(*ours));
	snprintf(path, sizeof(path), "%s/sim.sock", folder);
	ours->cpu = cpu;
	cpu_pin(0, cpu);
	err = sim_start(&ours->sim, path);
	if (err)
		return ours_fail("the simulator", -err);
	ours->sim_on = true;
	err = sim_zone_add(&ours->sim, OURS_ZONE, &memory, 1);
	if (err)
		ours_fail("the simulator's zone", -err);
	else if (ours_launch(ours, image, folder) == 0 && ours_probe(ours) == 0)
		return 0;
	ours_stop(ours);
	return -1;
}

static int ours_ended(void *arg)
{
	struct ours *ours = arg;

	return waitpid(ours->launcher, NULL, WNOHANG) != 0;
}

void ours_stop(struct ours *ours)
{
	if (ours->launcher > 0) {
		kill(ours->launcher, SIGTERM);
		if (test_wait(ours_ended, ours, OURS_STOP_MS) == 0) {
			fprintf(stderr, "bench: hvisor-launch does not end on SIGTERM\n");
			kill(ours->launcher, SIGKILL);
			waitpid(ours->launcher, NULL, 0);
		}
	}
	if (ours->vq.gpa)
		guest_vq_close(&ours->vq);
	if (ours->guest.mem)
		guest_finish(&ours->guest);
	if (ours->sim_on)
		sim_stop(&ours->sim);
	memset(ours, 0, sizeof(*ours));
}

pid_t ours_backend(struct ours *ours)
{
	struct hvisor_device_get get;
	int err = ours_device_get(ours, &get);

	if (!err && get.owner_pid > 0)
		return get.owner_pid;
	return ours_fail("looking for the backend", err ? -err : ESRCH);
}

pid_t ours_restart(struct ours *ours)
{
	char *argv[] = {"hvisor-launch", "--run", ours->run_dir, "--restart", OURS_NAME, NULL};
	cpu_set_t driver;
	pid_t pid;

	fflush(NULL);
	/* Born on the driver's CPU, which never rests, it would have to wait for its first turn. */
	sched_getaffinity(0, sizeof(driver), &driver);
	cpu_pin(0, ours->cpu);
	pid = fork();
	if (pid == 0)
		ours_exec(ours, argv);
	sched_setaffinity(0, sizeof(driver), &driver);
	return pid;
}
