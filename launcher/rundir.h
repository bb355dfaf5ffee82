/* SPDX-License-Identifier: MIT */
/*
 * The run folder: what one launcher keeps another one out with, and what a new one needs in order to find what its
 * predecessor left running.
 *	lock		(RUNDIR_LOCK) held (OFD lock) as long as the launcher lives; its pid is in it
 *	control.sock	launcher/control.h
 *	NAME.state	of each device: which process serves it
 *	NAME.log.fifo	of each device: the backend's log pipe
 *	TAP.tap		of each network interface that was made or changed: launcher/tap_record.h
 *	NAME, NAME.N	of each console and its further ports: a link to its terminal, socket or file, or its socket
 *	NAME.output.fifo	of those with an output log: the copy of their output
 */
#ifndef HVISOR_RUNDIR_H
#define HVISOR_RUNDIR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "errors.h"

#define RUNDIR_LOCK "lock"

struct rundir {
	char *path;
	int lock_fd;
};

#define RUNDIR_BOOT_MAX 40

/* Which process serves a device. */
struct rundir_state {
	pid_t pid;
	uint64_t start_time; /* /proc/PID/stat, field 22: with the boot it tells a process from a later one of that pid
			      */
	uint64_t restarts;
	uint32_t uid;
	uint32_t log_level;
	char boot[RUNDIR_BOOT_MAX]; /* /proc/sys/kernel/random/boot_id */
};

/* Makes the folder if it is not there, for its owner alone, and takes the lock. 0, or -1 after errors_add(). */
int rundir_open(struct rundir *dir, const char *path, struct errors *errors);

/*
 * Does another launcher that lives use the run folder in which a file is whose path begins with that folder, such as a
 * backend's log pipe? Then *pid is that launcher, and true. False for the folder of dir itself.
 */
bool rundir_used_by_other(const struct rundir *dir, const char *file, pid_t *pid);

/* After a fork(): the lock names the process that lives on. */
void rundir_name_owner(struct rundir *dir);
void rundir_close(struct rundir *dir);

/* path/name.suffix, or path/name for a suffix of NULL; to be freed; NULL: no memory. */
char *rundir_path(const struct rundir *dir, const char *name, const char *suffix);

/* Makes a folder and those above it. 0 or -errno. */
int rundir_make(const char *path, mode_t mode);

/* Which boot of the machine this is, as the kernel names it. 0 or -errno. */
int rundir_boot(char boot[RUNDIR_BOOT_MAX]);

/* Fills in what identifies a living process: start_time and boot. 0 or -errno. */
int rundir_identify(pid_t pid, struct rundir_state *state);

/* Writes the state of the device name, all or nothing. 0 or -errno. */
int rundir_save(const struct rundir *dir, const char *name, const struct rundir_state *state);

/* Reads it back; false if there is none that makes sense. */
bool rundir_load(const struct rundir *dir, const char *name, struct rundir_state *state);
void rundir_forget(const struct rundir *dir, const char *name);

/* The same for the file name.suffix and any text. rundir_load_text() cuts the text to size - 1 bytes. */
int rundir_save_text(const struct rundir *dir, const char *name, const char *suffix, const char *text);
bool rundir_load_text(const struct rundir *dir, const char *name, const char *suffix, char *text, size_t size);
void rundir_forget_text(const struct rundir *dir, const char *name, const char *suffix);

#endif
