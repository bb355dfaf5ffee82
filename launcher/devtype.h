/* SPDX-License-Identifier: MIT */
/* What a device type tells the launcher: the device that its guest finds, and what its backend is started with. */
#ifndef HVISOR_DEVTYPE_H
#define HVISOR_DEVTYPE_H

#include "config.h"
#include "errors.h"
#include "rundir.h"

#define DEVTYPE_FILES_MAX 20
#define DEVTYPE_ARGS_MAX 24

/* What a backend gets beside the descriptors that all get. */
struct devtype_start {
	/* Become BACKEND_FD_DEVICE and the following; close-on-exec, owned by this; -1: none at this place. */
	int file[DEVTYPE_FILES_MAX];
	uint32_t nfiles;
	char *arg[DEVTYPE_ARGS_MAX]; /* "key=value", owned by this */
	uint32_t nargs;
	uint64_t fsize_max; /* RLIMIT_FSIZE of the backend: the size of its image, or 0 */
};

/*
 * What outlives a backend and is given to the next one, as a terminal is: descriptors, each at the place in
 * devtype_start.file that its copy has; -1 while there is none. A later launcher takes them from the backend that it
 * adopts.
 */
struct devtype_kept {
	int file[DEVTYPE_FILES_MAX];
};

struct device;

struct devtype {
	enum config_type type;
	const char *program; /* "hvisor-blk" */
	const char *policy; /* "hvisor-blk.policy" */

	/*
	 * Fills in what the guest finds: device_id, nqueues, queue_size_max, features, config, config_len,
	 * config_writable. 0, or -1 after errors_add() (an image that cannot be looked at, say).
	 */
	int (*describe)(const struct config_device *device, struct hvisor_device_add *out, struct errors *errors);

	/* What prepare() and open() would complain of, as far as that is seen without changing anything. NULL: nothing.
	 */
	int (*check)(const struct config_device *device, const struct rundir *run, struct errors *errors);

	/*
	 * Makes ready in root what open() takes (a network interface), and remembers it in the run folder. Before each
	 * start. 0, or -1 after errors_add(). NULL: nothing to do.
	 */
	int (*prepare)(const struct config_device *device, const struct rundir *run, struct errors *errors);

	/*
	 * Takes back what the run folder remembers, of this or an earlier launcher, except what the n devices of keep
	 * have and what is in use. A line in errors for what could not be done.
	 */
	void (*release)(const struct rundir *run, const struct config_device *const *keep, uint32_t n,
			struct errors *errors);

	/*
	 * Opens and locks the backing for one start; with kept things it makes or goes on with those. 0, or -1 after
	 * errors_add(); then nothing of out is held.
	 */
	int (*open)(const struct config_device *device, struct devtype_start *out, struct errors *errors);
	int (*open_kept)(const struct config_device *device, const struct rundir *run, struct devtype_kept *kept,
			 struct devtype_start *out, struct errors *errors);

	/* Which places are kept, bit n for n; 0 for a type with open(). */
	uint32_t kept;

	/* No backend runs, and none will: what is left in the run folder goes. NULL: nothing is. */
	void (*close_kept)(const struct config_device *device, const struct rundir *run);

	/*
	 * What the launcher does for a device beside its backends, from before the first start to the end: 0, or -1
	 * after a line in the log; then the device is served without it. The logs are to be begun anew. NULL: nothing.
	 */
	int (*watch)(struct device *device);
	void (*unwatch)(struct device *device);

	/* A backend has begun to serve. NULL: nothing to do. */
	void (*ready)(struct device *device);
	void (*reopen_logs)(struct device *device);

	/*
	 * The backing may have another size than config says, which the guest sees now (REGION_CONFIG_MAX bytes, not to
	 * be trusted): gives the size in bytes that the guest can be told of. 0, or -1 after errors_add() if it must
	 * not be told. NULL: such devices have no size.
	 */
	int (*measure)(const struct config_device *device, const uint8_t *config, uint64_t *bytes,
		       struct errors *errors);
};

/* NULL for a type that is not served yet. */
const struct devtype *devtype_find(enum config_type type);

/* Number i of all types, from 0 on; NULL behind the last. */
const struct devtype *devtype_number(size_t i);

/* "blk0 (zones[0].devices[1]): image PATH: ...", and accordingly for other types; returns -1. */
int devtype_complain(const struct config_device *device, struct errors *errors, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void devtype_start_init(struct devtype_start *start);
void devtype_start_finish(struct devtype_start *start);
int devtype_start_arg(struct devtype_start *start, const char *format, ...) __attribute__((format(printf, 2, 3)));

extern const struct devtype devtype_blk;
extern const struct devtype devtype_rng;
extern const struct devtype devtype_net;
extern const struct devtype devtype_console;

#endif
