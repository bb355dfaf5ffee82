/* SPDX-License-Identifier: MIT */
/*
 * A soak: all types of devices in two zones, a verified load on each by a thread of its own, and faults at random by
 * the main thread. Whatever is wrong ends the test.
 */
#ifndef HVISOR_SOAK_H
#define HVISOR_SOAK_H

#include "tests/sim/rig.h"

#define SOAK_ZONES 2u
#define SOAK_DEVICES_MAX 16u
#define SOAK_FLOWS 2u
#define SOAK_IMAGES "images" /* a folder in the scratch folder */
#define SOAK_EARLIER "launchers.err" /* what the launchers said that were killed */

struct soak_device;

/* How many pieces were given, and how many taken or lost; counted by the device's thread, looked at by the main one. */
struct soak_flow {
	const uint64_t *given;
	const uint64_t *taken;
};

/* What a device did, for the table; of the device's thread. */
struct soak_figures {
	uint64_t checked; /* of what load.unit says */
	uint64_t lost;
	uint64_t lost_allowed;
};

/* A type of load. All calls but the last are of the device's thread; failures end the test. */
struct soak_load {
	const char *unit;
	const char *type; /* in virtio_cfg.json */
	uint32_t flows;
	bool held; /* its other end is gone when launcher and backend are away at once */
	void (*init)(struct soak_device *device); /* all that outlives a driver */
	void (*open)(struct soak_device *device); /* the driver starts */
	void (*close)(struct soak_device *device); /* it resets the device, whatever is under way */
	void (*turn)(struct soak_device *device); /* some milliseconds of load at most, and waiting if there is none */
	void (*finish)(struct soak_device *device); /* all that is under way comes through, and is checked */
	void (*check)(struct soak_device *device); /* what is left on the host, when all has ended; or NULL */
};

extern const struct soak_load soak_blk, soak_net, soak_console, soak_rng;

enum soak_order {
	SOAK_RUN,
	SOAK_RESET, /* the driver resets its device and starts anew, once */
	SOAK_PAUSE, /* its CPU stands still */
	SOAK_FINISH,
};

struct soak;

struct soak_device {
	const char *name;
	const struct soak_load *load;
	const char *keys; /* in virtio_cfg.json */
	uint32_t zone; /* 0 and up */
	bool kept; /* it may be stopped and started, and finds what it had */
	/* blk */
	bool readonly;
	uint64_t without; /* features */

	struct soak *soak;
	uint32_t index;
	struct guest *guest;
	pthread_t thread;
	enum soak_order order;
	enum soak_order obeyed;
	uint64_t random; /* state of the thread's own */
	void *own; /* the load's */
	struct soak_flow flow[SOAK_FLOWS];
	struct soak_figures figures;

	/* Of the main thread. */
	uint32_t deaths; /* of its backends, at a moment of nobody's choosing; read by the device's thread at the end */
	uint32_t ends; /* ends of backends that this burst may have caused */
	uint32_t starts; /* before this burst */
	uint64_t longest_ns; /* to heal */
};

/* What was asked of the system, and how it fared. */
struct soak_fault {
	const char *name;
	/* Does it to the device; whichever it was given, to others with it. Returns when the fault is over or there. */
	void (*inject)(struct soak *soak, struct soak_device *device);
	enum {
		SOAK_ONE,
		SOAK_ZONE,
		SOAK_ALL
	} scope;
	bool (*suits)(const struct soak_device *device); /* NULL: any device */
	uint32_t times;
	uint32_t survived;
	uint64_t longest_ns; /* to heal */
	uint64_t sum_ns;
};

#define SOAK_PENDING_MAX 8u

/* A fault that has yet to heal: that is when pieces given after it have come through, in each device and direction. */
struct soak_pending {
	struct soak_fault *fault; /* NULL: none; watched devices that had none */
	uint64_t begin_ns;
	uint64_t mark[SOAK_DEVICES_MAX][SOAK_FLOWS]; /* UINT64_MAX: not waited for, or done */
};

struct soak {
	struct rig rig;
	struct guest guest[SOAK_ZONES]; /* but the first, which is the rig's */
	struct soak_device *device;
	uint32_t ndevices;
	pthread_t watcher; /* that sees faults heal, whatever the main thread waits for */
	bool watched; /* false: it ends */
	pthread_mutex_t lock; /* of what follows, and the faults' figures */
	struct soak_pending pending[SOAK_PENDING_MAX];
	uint32_t npending;
	char out[1 << 16]; /* of hvisor-launch */
	char burst[256]; /* the faults since the last time that all was well, in words */
};

/* system.c: the rig with its zones, taps and devices; served when it returns. */
void soak_init(struct soak *soak, struct soak_device *device, uint32_t n);
void soak_finish(struct soak *soak);
struct hvisor_memory soak_memory(uint32_t zone);

/* device.c */
void soak_device_start(struct soak_device *device);
/* Has the thread do it, and returns when it has. */
void soak_device_order(struct soak_device *device, enum soak_order order);
/* The same for those of a zone, and for all. */
void soak_order_zone(struct soak *soak, uint32_t zone, enum soak_order order);

/* faults.c */
extern struct soak_fault soak_fault[];
extern const uint32_t soak_faults;
void soak_inject(struct soak *soak, struct soak_fault *fault);

/* heal.c */
void soak_heal_start(struct soak *soak);
void soak_heal_stop(struct soak *soak);
/* A burst of faults begins. */
void soak_heal_begin(struct soak *soak);
/* From now on it is waited that these devices heal. */
void soak_heal_add(struct soak *soak, struct soak_fault *fault, uint64_t begin_ns, const struct soak_device *device);
/* Is something of this device yet to heal? */
bool soak_heal_pending(struct soak *soak, const struct soak_device *device);
/* Waits until all has healed, and every device does its work. */
void soak_heal_await(struct soak *soak);
/* Waits until the devices of which nothing is to heal have done some work; but for those of a zone (-1: none). */
void soak_heal_await_others(struct soak *soak, int zone, const char *what);

#endif
