/* SPDX-License-Identifier: MIT */
#include "launcher/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/backend.h"
#include "launcher/control.h"
#include "launcher/device.h"

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

#define SERVED_WELL_NS NS_PER_S /* after this time an end is the first of a row */
#define START_LIMIT_NS (5 * NS_PER_S) /* from the start of a process until it serves */
#define STOP_LIMIT_NS (3 * NS_PER_S) /* from SIGTERM to SIGKILL */
/* What an ended backend holds is torn down by the kernel in its own time: longer than a dying process takes. */
#define BUSY_LIMIT_NS (5 * NS_PER_S)
#define BUSY_FIRST_MS 1u
#define BUSY_LAST_MS 50u

enum device_event {
	EVENT_START,
	EVENT_STOP,
	EVENT_RESTART,
	EVENT_READY,
	EVENT_END, /* the process is gone */
	EVENT_TIMER,
	EVENTS,
};

static void device_happens(struct device *device, enum device_event event);

const char *device_state_name(enum device_state state)
{
	static const char *const names[DEVICE_STATES] = {
		[DEVICE_STOPPED] = CONTROL_STATE_STOPPED,   [DEVICE_STARTING] = CONTROL_STATE_STARTING,
		[DEVICE_RUNNING] = CONTROL_STATE_RUNNING,   [DEVICE_WAITING] = CONTROL_STATE_WAITING,
		[DEVICE_STOPPING] = CONTROL_STATE_STOPPING, [DEVICE_FAILED] = CONTROL_STATE_FAILED,
	};

	return names[state];
}

bool device_settled(const struct device *device)
{
	switch (device->state) {
	case DEVICE_STARTING:
	case DEVICE_STOPPING:
		return false;
	case DEVICE_WAITING:
		return device->busy_since_ns == 0;
	default:
		return true;
	}
}

/* A new state, and the time after which something is to happen if it lasts; 0: none. */
static void device_enter(struct device *device, enum device_state state, uint64_t limit_ns)
{
	struct supervisor *supervisor = device->supervisor;

	device->state = state;
	if (limit_ns)
		loop_set_timer(supervisor->loop, &device->timer, loop_now_ns() + limit_ns);
	else
		loop_clear_timer(supervisor->loop, &device->timer);
	if (state != DEVICE_WAITING)
		device->busy_since_ns = 0;
	if (state == DEVICE_RUNNING)
		watchdog_start(device);
	else
		watchdog_stop(device);
	if (supervisor->changed)
		supervisor->changed(supervisor, supervisor->changed_arg);
}

/* Notes an end; true if there were too many of them within the window. */
static bool device_count_end(struct device *device, uint64_t now)
{
	const struct config_restart *restart = &device->config->restart;
	uint64_t window_ns = restart->window_s * NS_PER_S;
	uint64_t oldest;

	/* The delays are for a backend that does not come to serve; the limit is for all. */
	if (device->ready_ns && now - device->ready_ns >= SERVED_WELL_NS)
		device->ends_in_row = 0;
	device->ready_ns = 0;
	device->ends_in_row++;
	if (restart->limit == 0)
		return false;
	device->ends[device->next_end] = now;
	device->next_end = (device->next_end + 1) % restart->limit;
	oldest = device->ends[device->next_end];
	return oldest && now - oldest <= window_ns;
}

static void device_forget_ends(struct device *device)
{
	device->ends_in_row = 0;
	memset(device->ends, 0, device->config->restart.limit * sizeof(*device->ends));
}

/* None before the first restart in a row, then twice as long each time. */
static uint64_t device_delay_ns(const struct device *device)
{
	const struct config_restart *restart = &device->config->restart;
	uint64_t delay_ms = restart->delay_ms;
	uint32_t n;

	if (device->ends_in_row < 2)
		return 0;
	for (n = 2; n < device->ends_in_row && delay_ms < restart->delay_max_ms; n++)
		delay_ms *= 2;
	return (delay_ms < restart->delay_max_ms ? delay_ms : restart->delay_max_ms) * NS_PER_MS;
}

static void device_give_up(struct device *device)
{
	const char *name = device->config->name;

	device_say(device, LOG_ERROR, "failed: %s; nobody serves it before hvisor-launch --start %s", device->reason,
		   name);
	device_fail(device, true);
	device_enter(device, DEVICE_FAILED, 0);
}

static void device_try(struct device *device);

/*
 * There is no backend although there should be: starts the next one, now or after a delay, or gives up. device->reason
 * says why if it could not even be started.
 */
static void device_replace_backend(struct device *device, bool started, bool hopeless)
{
	const struct config_restart *restart = &device->config->restart;
	bool too_often = device_count_end(device, loop_now_ns());
	uint64_t delay_ns = device_delay_ns(device);

	if (too_often && !hopeless)
		device_say(device, LOG_ERROR, "%u ends within %u s", restart->limit, restart->window_s);
	if (too_often || hopeless) {
		device_give_up(device);
		return;
	}
	device->restarts += started;
	if (delay_ns == 0 && started) {
		device_say(device, LOG_WARNING, "%s; starting the next one", device->reason);
		device_try(device);
		return;
	}
	device_say(device, LOG_WARNING, "%s; the next try is in %llu ms", device->reason,
		   (unsigned long long)(delay_ns / NS_PER_MS));
	device_enter(device, DEVICE_WAITING, delay_ns ? delay_ns : NS_PER_MS);
}

static void device_try(struct device *device)
{
	uint64_t now = loop_now_ns();
	int result;

	device->again = false;
	device->reason[0] = '\0';
	result = device_begin(device);
	if (result == 0) {
		device_enter(device, DEVICE_STARTING, START_LIMIT_NS);
	} else if (result == -EAGAIN && (!device->busy_since_ns || now - device->busy_since_ns < BUSY_LIMIT_NS)) {
		if (!device->busy_since_ns) {
			device->busy_since_ns = now;
			device->busy_ms = BUSY_FIRST_MS;
		}
		device_enter(device, DEVICE_WAITING, device->busy_ms * NS_PER_MS);
		device->busy_ms = device->busy_ms * 2 < BUSY_LAST_MS ? device->busy_ms * 2 : BUSY_LAST_MS;
	} else {
		device->busy_since_ns = 0;
		device_replace_backend(device, false, false);
	}
}

/* Somebody asks for it: earlier failures do not count any more. */
static void on_start(struct device *device)
{
	device_forget_ends(device);
	if (device->state == DEVICE_FAILED)
		device_fail(device, false);
	device_try(device);
}

static void on_stop(struct device *device)
{
	device->again = false;
	device_signal(device, SIGTERM);
	device_enter(device, DEVICE_STOPPING, STOP_LIMIT_NS);
}

static void on_restart(struct device *device)
{
	device_forget_ends(device);
	on_stop(device);
	device->again = true;
}

/*
 * A process that does not serve yet has nothing to finish, and it may not know SIGTERM yet: as the first process of
 * its pid namespace it is not ended by a signal which it does not handle.
 */
static void on_stop_early(struct device *device)
{
	device->again = false;
	device_signal(device, SIGKILL);
	device_enter(device, DEVICE_STOPPING, 0);
}

static void on_restart_early(struct device *device)
{
	device_forget_ends(device);
	on_stop_early(device);
	device->again = true;
}

static void on_ready(struct device *device)
{
	device->ready_ns = loop_now_ns();
	device_limit_cpu(device);
	/* Its program runs, so there is nothing to report. */
	close(device->child.report_fd);
	device->child.report_fd = -1;
	device_say(device, LOG_INFO, "process %d serves it", device->child.pid);
	if (device->program->type->ready)
		device->program->type->ready(device);
	device_enter(device, DEVICE_RUNNING, 0);
}

static void on_late(struct device *device)
{
	snprintf(device->reason, sizeof(device->reason), "process %d did not begin to serve within %llu s",
		 device->child.pid, START_LIMIT_NS / NS_PER_S);
	device_signal(device, SIGKILL);
	device_enter(device, DEVICE_STARTING, 0);
}

static void on_end(struct device *device)
{
	pid_t pid = device->child.pid;
	int code = device_end(device);

	if (!device->reason[0])
		snprintf(device->reason, sizeof(device->reason), "process %d ended: %s", pid, device->last_exit);
	device_replace_backend(device, true, code == BACKEND_EXIT_CONFIG);
}

static void on_timer(struct device *device)
{
	device_try(device);
}

static void on_stop_waiting(struct device *device)
{
	struct supervisor *supervisor = device->supervisor;

	device_say(device, LOG_INFO, "stopped");
	device->state = DEVICE_STOPPED;
	/* Before anybody is told that it is; when all end, that is done once, after the last. */
	if (!supervisor->ending)
		supervisor_release(supervisor);
	device_enter(device, DEVICE_STOPPED, 0);
}

static void on_stop_late(struct device *device)
{
	device_say(device, LOG_WARNING, "process %d did not end within %llu s of SIGTERM; killing it",
		   device->child.pid, STOP_LIMIT_NS / NS_PER_S);
	device_signal(device, SIGKILL);
	device_enter(device, DEVICE_STOPPING, 0);
}

static void on_stopped(struct device *device)
{
	device_end(device);
	if (device->again)
		device_try(device);
	else
		on_stop_waiting(device);
}

static void on_change_mind(struct device *device)
{
	device_forget_ends(device);
	device->again = true;
}

static void on_stop_for_good(struct device *device)
{
	device->again = false;
}

/* NULL: nothing to do. A failed device stays so until somebody starts it: its guest has been told. */
static void (*const actions[DEVICE_STATES][EVENTS])(struct device *device) = {
	[DEVICE_STOPPED] = {[EVENT_START] = on_start, [EVENT_RESTART] = on_start},
	[DEVICE_STARTING] = {[EVENT_STOP] = on_stop_early,
			     [EVENT_RESTART] = on_restart_early,
			     [EVENT_READY] = on_ready,
			     [EVENT_END] = on_end,
			     [EVENT_TIMER] = on_late},
	[DEVICE_RUNNING] = {[EVENT_STOP] = on_stop, [EVENT_RESTART] = on_restart, [EVENT_END] = on_end},
	[DEVICE_WAITING] = {[EVENT_START] = on_start,
			    [EVENT_STOP] = on_stop_waiting,
			    [EVENT_RESTART] = on_start,
			    [EVENT_TIMER] = on_timer},
	[DEVICE_STOPPING] = {[EVENT_START] = on_change_mind,
			     [EVENT_STOP] = on_stop_for_good,
			     [EVENT_RESTART] = on_change_mind,
			     [EVENT_END] = on_stopped,
			     [EVENT_TIMER] = on_stop_late},
	[DEVICE_FAILED] = {[EVENT_START] = on_start, [EVENT_RESTART] = on_start},
};

static void device_happens(struct device *device, enum device_event event)
{
	if (actions[device->state][event])
		actions[device->state][event](device);
}

void device_request(struct device *device, enum device_request request)
{
	static const enum device_event events[] = {
		[DEVICE_START] = EVENT_START, [DEVICE_STOP] = EVENT_STOP, [DEVICE_RESTART] = EVENT_RESTART};

	if (request == DEVICE_STOP || !device->supervisor->ending)
		device_happens(device, events[request]);
}

static void handle_exit(struct loop_source *source, uint32_t events)
{
	(void)events;
	device_happens(loop_container(source, struct device, exit), EVENT_END);
}

static void handle_ready(struct loop_source *source, uint32_t events)
{
	struct device *device = loop_container(source, struct device, ready);
	ssize_t n;
	char byte;

	(void)events;
	n = read(source->fd, &byte, 1);
	if (n < 0)
		return;
	close(loop_remove(device->supervisor->loop, source));
	if (n == 1)
		device_happens(device, EVENT_READY);
}

static void handle_timer(struct loop_timer *timer)
{
	device_happens(loop_container(timer, struct device, timer), EVENT_TIMER);
}

void device_supervise(struct device *device)
{
	device->exit = (struct loop_source){.fd = -1, .handle = handle_exit};
	device->ready = (struct loop_source){.fd = -1, .handle = handle_ready};
	device->timer.handle = handle_timer;
}

void device_take_over(struct device *device, bool known)
{
	if (known) {
		device_say(device, LOG_INFO, "process %d of an earlier launcher goes on serving it", device->child.pid);
		device_set_log_level(device, device->log_level);
		device_limit(device);
		device_limit_cpu(device);
		device_enter(device, DEVICE_RUNNING, 0);
		return;
	}
	device_say(device, LOG_WARNING, "process %d serves it, which no launcher of %s has started; replacing it",
		   device->child.pid, device->supervisor->run->path);
	device->state = DEVICE_RUNNING;
	on_restart(device);
}

int device_set_log_level(struct device *device, enum log_level level)
{
	device->log_level = level;
	if (!device->made)
		return 0;
	device_note_state(device);
	core_store(&device->view->control.log_level, (core_u32)level);
	return device_kick(device);
}

/* Lets the backend write up to bytes of its file; without CAP_SYS_RESOURCE only a new process can have more. */
static bool device_raise_fsize(struct device *device, uint64_t bytes)
{
	struct rlimit limit;

	if (prlimit(device->child.pid, RLIMIT_FSIZE, NULL, &limit) < 0)
		return false;
	/* 0: it writes no file at all. */
	if (limit.rlim_cur == 0 || limit.rlim_cur >= bytes)
		return true;
	limit.rlim_cur = bytes;
	if (limit.rlim_max < bytes)
		limit.rlim_max = bytes;
	return prlimit(device->child.pid, RLIMIT_FSIZE, &limit, NULL) == 0;
}

int device_resize(struct device *device, uint64_t *capacity, struct errors *errors)
{
	const struct devtype *type = device->program->type;
	uint8_t config[REGION_CONFIG_MAX];
	core_u32 gen;

	if (!type->measure) {
		errors_add(errors, "%s: a %s device has no size", device->config->name,
			   config_type_name(device->config->type));
		return -1;
	}
	if (device_check_made(device, errors) < 0)
		return -1;
	gen = core_load_acquire(&device->view->device.config_gen);
	memcpy(config, device->view->config[gen & 1], sizeof(config));
	if (type->measure(device->config, config, capacity, errors) < 0)
		return -1;
	core_store(&device->view->control.resize_seq, core_load(&device->view->control.resize_seq) + 1);
	/* A backend that is to come opens the image as it is then. */
	if (!device->child.pid)
		return 0;
	if (!device_raise_fsize(device, *capacity)) {
		device_say(device, LOG_INFO, "starting its backend anew, whose limit on file sizes cannot be raised");
		device_request(device, DEVICE_RESTART);
		return 0;
	}
	return device_tell(device, errors);
}
