/* SPDX-License-Identifier: MIT */
/* What is done to the system. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/soak/soak.h"
#include "tests/test.h"

#define STOP_MAX_MS 400u /* well below the default of watchdog_s */
#define END_MS 30000
#define KILLS 8u
#define STOPPED_ZONE 0xdb

/* A pidfd of the backend that serves it now; -1 if that ends just then by itself. */
static int backend_open(struct soak *soak, const struct soak_device *device)
{
	pid_t pid = rig_pid(&soak->rig, device->name);

	return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

/* After an earlier fault there may be none for a while. */
static int backend_await(struct soak *soak, const struct soak_device *device)
{
	rig_await_starts(&soak->rig, device->name, 1);
	return backend_open(soak, device);
}

/* It has ended when this returns. */
static void backend_kill(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	if (fd < 0)
		return;
	if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0 && poll(&pfd, 1, END_MS) != 1)
		TEST_FAIL("a backend does not end by SIGKILL");
	close(fd);
}

static void backend_dies(struct soak_device *device)
{
	device->ends++;
	device->deaths++;
}

static void pause_ms(uint32_t max)
{
	poll(NULL, 0, (int)test_random_below(max + 1));
}

static void command(struct soak *soak, const char *option, const char *name)
{
	if (rig_launcher(&soak->rig, soak->out, sizeof(soak->out), option, name, NULL) != 0)
		TEST_FAIL("hvisor-launch %s %s: %s", option, name ? name : "", soak->out);
}

static void inject_kill(struct soak *soak, struct soak_device *device)
{
	backend_dies(device);
	backend_kill(backend_await(soak, device));
}

/* In the middle of what it takes over too, and where few other deaths meet it. */
static void inject_kill_often(struct soak *soak, struct soak_device *device)
{
	uint32_t i;

	for (i = 0; i < KILLS; i++) {
		inject_kill(soak, device);
		pause_ms(3);
	}
}

static void inject_restart(struct soak *soak, struct soak_device *device)
{
	device->ends++;
	command(soak, "--restart", device->name);
}

static void inject_restart_all(struct soak *soak, struct soak_device *unused)
{
	struct soak_device *device;

	(void)unused;
	for (device = soak->device; device < soak->device + soak->ndevices; device++)
		device->ends++;
	command(soak, "--restart", "all");
}

static void inject_stop_start(struct soak *soak, struct soak_device *device)
{
	device->ends++;
	command(soak, "--stop", device->name);
	pause_ms(50);
	command(soak, "--start", device->name);
}

static void inject_pause(struct soak *soak, struct soak_device *device)
{
	int fd = backend_await(soak, device);

	if (fd < 0)
		return;
	syscall(SYS_pidfd_send_signal, fd, SIGSTOP, NULL, 0);
	pause_ms(STOP_MAX_MS);
	syscall(SYS_pidfd_send_signal, fd, SIGCONT, NULL, 0);
	close(fd);
}

static void inject_stop(struct soak *soak, struct soak_device *device)
{
	int fd = backend_await(soak, device);

	backend_dies(device);
	if (fd < 0)
		return;
	syscall(SYS_pidfd_send_signal, fd, SIGSTOP, NULL, 0);
	close(fd);
}

static void inject_reset(struct soak *soak, struct soak_device *device)
{
	(void)soak;
	soak_device_order(device, SOAK_RESET);
	soak_device_order(device, SOAK_RUN);
}

static void inject_reset_stopped(struct soak *soak, struct soak_device *device)
{
	inject_stop(soak, device);
	inject_reset(soak, device);
}

static void start_launcher(struct soak *soak)
{
	/* The next one begins its file anew. */
	scratch_run("cat launcher.err >>" SOAK_EARLIER);
	rig_launch(&soak->rig, NULL);
	rig_await_launcher(&soak->rig);
	/* It listens before it has taken over what the backends hold, and answers after that. */
	command(soak, "--status", NULL);
}

/* What a backend holds of its other end, the launcher has to hold as well. */
static void kill_launcher(struct soak *soak)
{
	struct soak_device *device;

	for (device = soak->device; device < soak->device + soak->ndevices; device++) {
		if (device->load->held && soak_heal_pending(soak, device))
			soak_heal_await(soak);
	}
	rig_end_launcher(&soak->rig, SIGKILL);
}

static void inject_launcher_kill(struct soak *soak, struct soak_device *unused)
{
	(void)unused;
	kill_launcher(soak);
	soak_heal_await_others(soak, -1, "launcher killed");
	start_launcher(soak);
}

static void inject_launcher_kill_both(struct soak *soak, struct soak_device *device)
{
	kill_launcher(soak);
	backend_dies(device);
	backend_kill(backend_open(soak, device));
	start_launcher(soak);
}

struct restart {
	struct rig *rig;
	const char *name;
};

static void *run_restart(void *arg)
{
	struct restart *restart = arg;

	/* It fails if the launcher that it asks is gone. */
	rig_launcher(restart->rig, NULL, 0, "--restart", restart->name, NULL);
	return NULL;
}

static void inject_launcher_kill_restart(struct soak *soak, struct soak_device *device)
{
	struct restart restart = {&soak->rig, device->name};
	pthread_t thread;

	backend_dies(device);
	CHECK_INT(pthread_create(&thread, NULL, run_restart, &restart), 0);
	pause_ms(30);
	kill_launcher(soak);
	CHECK_INT(pthread_join(thread, NULL), 0);
	start_launcher(soak);
}

static void inject_launcher_pause(struct soak *soak, struct soak_device *unused)
{
	(void)unused;
	CHECK_INT(kill(soak->rig.launcher, SIGSTOP), 0);
	soak_heal_await_others(soak, -1, "launcher stopped");
	pause_ms(STOP_MAX_MS);
	CHECK_INT(kill(soak->rig.launcher, SIGCONT), 0);
}

/* Nothing touches the memory of a zone that is down. */
static void inject_zone(struct soak *soak, struct soak_device *device)
{
	const struct hvisor_memory memory = soak_memory(device->zone);
	uint8_t *bytes = guest_at(device->guest, memory.zonex_ipa, memory.size);
	uint64_t i;
	int error;

	CHECK(bytes);
	soak_order_zone(soak, device->zone, SOAK_PAUSE);
	error = sim_zone_stop(&soak->rig.sim, RIG_ZONE + device->zone);
	if (error)
		TEST_FAIL("zone %u does not stop: %s", RIG_ZONE + device->zone, strerror(-error));
	memset(bytes, STOPPED_ZONE, memory.size);
	soak_heal_await_others(soak, (int)device->zone, "zone stopped");
	pause_ms(50);
	for (i = 0; i < memory.size; i++) {
		if (bytes[i] != STOPPED_ZONE)
			TEST_FAIL("byte 0x%llx of zone %u was written while it was down", (unsigned long long)i,
				  RIG_ZONE + device->zone);
	}
	CHECK_INT(sim_zone_start(&soak->rig.sim, RIG_ZONE + device->zone), 0);
	soak_order_zone(soak, device->zone, SOAK_RESET);
	soak_order_zone(soak, device->zone, SOAK_RUN);
}

static bool is_kept(const struct soak_device *device)
{
	return device->kept;
}

static bool is_not_held(const struct soak_device *device)
{
	return !device->load->held;
}

struct soak_fault soak_fault[] = {
	{"backend killed", inject_kill, SOAK_ONE, NULL, 0, 0, 0, 0},
	{"backend killed, eight times", inject_kill_often, SOAK_ONE, NULL, 0, 0, 0, 0},
	{"--restart NAME", inject_restart, SOAK_ONE, NULL, 0, 0, 0, 0},
	{"--restart all", inject_restart_all, SOAK_ALL, NULL, 0, 0, 0, 0},
	{"--stop NAME, --start NAME", inject_stop_start, SOAK_ONE, is_kept, 0, 0, 0, 0},
	{"backend stopped, continued", inject_pause, SOAK_ONE, NULL, 0, 0, 0, 0},
	{"backend stopped for good", inject_stop, SOAK_ONE, NULL, 0, 0, 0, 0},
	{"driver resets its device", inject_reset, SOAK_ONE, NULL, 0, 0, 0, 0},
	{"driver resets, backend stopped", inject_reset_stopped, SOAK_ONE, NULL, 0, 0, 0, 0},
	{"launcher killed", inject_launcher_kill, SOAK_ALL, NULL, 0, 0, 0, 0},
	{"launcher and backend killed", inject_launcher_kill_both, SOAK_ALL, is_not_held, 0, 0, 0, 0},
	{"launcher killed in --restart", inject_launcher_kill_restart, SOAK_ALL, is_not_held, 0, 0, 0, 0},
	{"launcher stopped, continued", inject_launcher_pause, SOAK_ALL, NULL, 0, 0, 0, 0},
	{"zone stopped, started", inject_zone, SOAK_ZONE, NULL, 0, 0, 0, 0},
};

const uint32_t soak_faults = sizeof(soak_fault) / sizeof(soak_fault[0]);

void soak_inject(struct soak *soak, struct soak_fault *fault)
{
	uint64_t begin = test_now_ns();
	struct soak_device *device;
	size_t len;

	do
		device = &soak->device[test_random_below(soak->ndevices)];
	while (fault->suits && !fault->suits(device));
	fault->times++;
	len = strlen(soak->burst);
	snprintf(soak->burst + len, sizeof(soak->burst) - len, "%s%s (%s)", len ? "; " : "", fault->name, device->name);
	fault->inject(soak, device);
	soak_heal_add(soak, fault, begin, device);
}
