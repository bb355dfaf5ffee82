/* SPDX-License-Identifier: MIT */
/* One device: made in hvisor, its backing opened, a process started for it. For launcher/supervise.c, which decides. */
#ifndef HVISOR_DEVICE_H
#define HVISOR_DEVICE_H

#include "supervise.h"

/* Sets device->reason, or takes the first line of errors for it, which are finished. Always -1, to be returned. */
int device_reason(struct device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));
int device_reason_errors(struct device *device, struct errors *errors);

/* A line of the launcher's own log about the device. */
void device_say(const struct device *device, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Opens log file and log pipe. 0 or -errno. */
int device_open_log(struct device *device);

/* Makes the device in hvisor and maps its region, if that is not done. 0, or -1 with device->reason. */
int device_make(struct device *device);

/*
 * Is somebody serving it already? 1: yes, and device->child is that process; *known says if it is the one that a
 * launcher of this run folder started. 0: nobody.
 */
int device_adopt(struct device *device, bool *known);

/*
 * device->child is no process of this run folder: does another launcher that lives serve the device with it? Then *pid
 * is that launcher, and path, of size bytes, its run folder.
 */
bool device_is_of_other(const struct device *device, pid_t *pid, char *path, size_t size);

/*
 * Starts a backend: the device is made, attached, its backing opened, a process begun and watched with device->exit and
 * device->ready. 0; -EAGAIN if a backend that ended has left something that is not gone yet; or -1 with
 * device->reason.
 */
int device_begin(struct device *device);

/* Puts the backend into its cgroup, if there are any. What fails is logged, and the backend serves all the same. */
void device_limit(struct device *device);

/* The same when it serves, for the limit that does not hold before. */
void device_limit_cpu(const struct device *device);

/* Writes the state by which a later launcher knows the process. 0 or -errno. */
int device_note_state(struct device *device);

/* Sends a signal to the backend. */
void device_signal(struct device *device, int signal);

/*
 * The process has ended: collects it, says how in device->last_exit, and reads the rest of its log. Returns its exit
 * code, or -1 for a signal and when it is not known.
 */
int device_end(struct device *device);

/* Rings the device's doorbell: its control was changed. 0 or -errno. */
int device_kick(const struct device *device);

/* The same for somebody who asked for the change. 0, or -1 after errors_add(). */
int device_tell(const struct device *device, struct errors *errors);

/* Is it made in hvisor? 0, or -1 after errors_add(). */
int device_check_made(const struct device *device, struct errors *errors);

/* Tells the guest that no backend will come (true), or takes that back. */
void device_fail(struct device *device, bool fail);

/* Closes everything; a process that runs is left alone. */
void device_finish(struct device *device);

#endif
