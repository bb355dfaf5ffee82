/* SPDX-License-Identifier: MIT */
#include "launcher/watchdog.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "launcher/device.h"

#define TICK_NS 1000000000u

/* What the kernel says of a process: /proc/PID/status, proc(5). */
struct process_look {
	char state; /* R, S, D, T, t; Z or 0: it is gone */
	pid_t tracer; /* 0: none */
};

static struct process_look process_look(pid_t pid)
{
	struct process_look look = {0};
	char path[64];
	char line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return look;
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "State: %c", &look.state);
		if (sscanf(line, "TracerPid: %d", &look.tracer) == 1)
			break;
	}
	fclose(file);
	return look;
}

/*
 * Does the backend rest, as it should without work? A stopped process that slept before would come back to no work
 * that arrives, so it does not count as resting.
 */
static bool backend_rests(const struct device *device, const struct process_look *look)
{
	return look->state == 'S' && core_load(&device->view->doorbell.sleeping) == 1;
}

/* One that sleeps in the kernel without interruption does not end by a kill either, and a debugger wants it alive. */
static bool kill_helps(const struct process_look *look)
{
	return look->state != 'D' && !look->tracer;
}

static void describe(char *text, size_t size, const struct process_look *look)
{
	if (look->tracer)
		snprintf(text, size, "process %d traces it", look->tracer);
	else if (look->state == 'T')
		snprintf(text, size, "a signal has stopped it");
	else if (look->state == 'D')
		snprintf(text, size,
			 "it waits in the kernel and cannot be interrupted, as for a disk that does not answer");
	else if (look->state == 'R')
		snprintf(text, size, "it runs and does not come to its next request");
	else
		snprintf(text, size, "it waits for something else than work");
}

static void watchdog_bite(struct device *device, const struct process_look *look)
{
	bool restart = device->config->watchdog.action == WATCHDOG_RESTART && kill_helps(look);
	uint32_t limit_s = device->config->watchdog.limit_s;
	char why[128];

	describe(why, sizeof(why), look);
	if (restart) {
		snprintf(device->reason, sizeof(device->reason), "process %d stood still for %u s: %s",
			 device->child.pid, limit_s, why);
		device_signal(device, SIGKILL);
	} else if (device->watchdog.still_s == limit_s) {
		device_say(device, LOG_WARNING, "process %d stands still for %u s: %s; it is left alone%s",
			   device->child.pid, limit_s, why,
			   kill_helps(look) ? " (watchdog_action is \"report\"): hvisor-launch --restart" : "");
	}
}

static void watchdog_look(struct device *device)
{
	struct watchdog *watchdog = &device->watchdog;
	uint32_t limit_s = device->config->watchdog.limit_s;
	uint64_t heartbeat = core_load(&device->view->device.heartbeat);
	bool moves = heartbeat != watchdog->heartbeat;
	struct process_look look;

	watchdog->heartbeat = heartbeat;
	look = process_look(device->child.pid);
	/* Of one that is gone an event tells. */
	if (!look.state || look.state == 'Z' || (look.state != 'T' && moves) || backend_rests(device, &look)) {
		if (watchdog_hangs(device))
			device_say(device, LOG_INFO, "process %d moves again, after %u s", device->child.pid,
				   watchdog->still_s);
		watchdog->still_s = 0;
		return;
	}
	if (watchdog->still_s < UINT32_MAX)
		watchdog->still_s++;
	watchdog->hangs += watchdog->still_s == limit_s;
	if (watchdog->still_s >= limit_s)
		watchdog_bite(device, &look);
}

/* At whole seconds, so that many devices are looked at in one go. */
static void watchdog_arm(struct device *device)
{
	uint64_t due_ns = (loop_now_ns() / TICK_NS + 1) * TICK_NS;

	loop_set_timer(device->supervisor->loop, &device->watchdog.timer, due_ns);
}

static void handle_tick(struct loop_timer *timer)
{
	struct device *device = loop_container(timer, struct device, watchdog.timer);

	watchdog_arm(device);
	watchdog_look(device);
}

void watchdog_start(struct device *device)
{
	if (device->config->watchdog.limit_s == 0)
		return;
	device->watchdog.timer.handle = handle_tick;
	device->watchdog.still_s = 0;
	device->watchdog.heartbeat = core_load(&device->view->device.heartbeat);
	watchdog_arm(device);
}

void watchdog_stop(struct device *device)
{
	device->watchdog.still_s = 0;
	loop_clear_timer(device->supervisor->loop, &device->watchdog.timer);
}

bool watchdog_hangs(const struct device *device)
{
	return device->watchdog.still_s && device->watchdog.still_s >= device->config->watchdog.limit_s;
}
