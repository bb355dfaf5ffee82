/* SPDX-License-Identifier: MIT */
#include "launcher/watchdog.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "launcher/device.h"

#define TICK_NS 1000000000u
#define RAN_LEAST_NS 1000000u /* in a look that counts, of one that runs */

static uint64_t process_ran_ns(pid_t pid)
{
	struct timespec ran;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ran) < 0)
		return 0;
	return (uint64_t)ran.tv_sec * 1000000000u + (uint64_t)ran.tv_nsec;
}

static struct watchdog_look backend_look(const struct device *device)
{
	pid_t pid = device->child.pid;
	struct watchdog_look look = {0};
	char path[64];
	char line[256];
	FILE *file;

	look.heartbeat = core_load(&device->view->device.heartbeat);
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
	look.ran_ns = process_ran_ns(pid);
	look.sleeping = core_load(&device->view->doorbell.sleeping) == 1;
	return look;
}

/*
 * Is it at work, or at rest as it should be without work? A stopped process that slept before would come back to no
 * work that arrives, so it does neither. Of one that is gone an event tells.
 */
static bool look_is_well(const struct watchdog *watchdog, const struct watchdog_look *look)
{
	bool moves = look->heartbeat != watchdog->heartbeat;

	return !look->state || look->state == 'Z' || (look->state != 'T' && moves) ||
	       (look->state == 'S' && look->sleeping);
}

/*
 * Is it kept from running, by what is more urgent or by its own limit? What it does run adds up, so that a spinner is
 * found also where it gets little.
 */
static bool look_waits_for_processor(const struct watchdog *watchdog, const struct watchdog_look *look)
{
	return look->state == 'R' && look->ran_ns - watchdog->ran_ns < RAN_LEAST_NS;
}

void watchdog_count(struct watchdog *watchdog, const struct watchdog_look *look)
{
	bool well = look_is_well(watchdog, look);

	watchdog->heartbeat = look->heartbeat;
	if (!well && look_waits_for_processor(watchdog, look))
		return;
	watchdog->ran_ns = look->ran_ns;
	if (well)
		watchdog->still_s = 0;
	else if (watchdog->still_s < UINT32_MAX)
		watchdog->still_s++;
}

/* One that sleeps in the kernel without interruption does not end by a kill either, and a debugger wants it alive. */
static bool kill_helps(const struct watchdog_look *look)
{
	return look->state != 'D' && !look->tracer;
}

static void describe(char *text, size_t size, const struct watchdog_look *look)
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

static void watchdog_bite(struct device *device, const struct watchdog_look *look)
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
	struct watchdog_look look = backend_look(device);
	uint32_t limit_s = device->config->watchdog.limit_s;
	uint32_t before_s = device->watchdog.still_s;

	watchdog_count(&device->watchdog, &look);
	if (device->watchdog.still_s == before_s)
		return;
	if (before_s >= limit_s && !device->watchdog.still_s)
		device_say(device, LOG_INFO, "process %d moves again, after %u s", device->child.pid, before_s);
	device->watchdog.hangs += device->watchdog.still_s == limit_s;
	if (device->watchdog.still_s >= limit_s)
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
	device->watchdog.ran_ns = process_ran_ns(device->child.pid);
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
