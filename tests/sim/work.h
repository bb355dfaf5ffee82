/* SPDX-License-Identifier: MIT */
/*
 * Small pieces of work for a device of any type, through a driver, which check all that came of them: each request is
 * done once, the data are right, and the driver is interrupted for it. Batches, and queues as the guest's first_index
 * and without say. Failures end the test.
 */
#ifndef HVISOR_WORK_H
#define HVISOR_WORK_H

#include "tests/sim/guest_console.h"
#include "tests/sim/guest_net.h"
#include "tests/sim/rig.h"

#define WORK_BATCH 4u
#define WORK_QUEUES_MAX 3u
#define WORK_TAP "hvt0"

/* A device of entropy and its one queue. */
struct work_rng {
	struct guest_dev dev;
	struct guest_vq vq;
	uint64_t area_gpa;
};

struct work {
	struct rig *rig;
	enum config_type type;
	char name[HVISOR_NAME_MAX];
	uint32_t index; /* rig_base(), rig_irq() */
	uint32_t cpu;
	bool open;
	struct guest_dev *dev;
	struct guest_vq *queue[WORK_QUEUES_MAX];
	uint32_t nqueues;
	uint32_t irq_seen;
	uint32_t round; /* pieces of work done */
	int host; /* console: its terminal; net: a packet socket on WORK_TAP; else -1 */
	/* net: numbers of frames, and how many of them were lost. */
	uint32_t tx_next;
	uint32_t rx_next;
	uint64_t tx_lost;
	uint64_t rx_lost;
	union {
		struct guest_blk blk;
		struct guest_net net;
		struct guest_console console;
		struct work_rng rng;
	};
};

/* Keys of the device in the configuration, for rig_config(). */
const char *work_keys(enum config_type type);

/* For the device with that number in the configuration; blk, net, console or rng, the first of its type. */
void work_init(struct work *work, struct rig *rig, enum config_type type, uint32_t index);
void work_finish(struct work *work);

/* The host's end: again after the launcher made a new one. */
void work_meet(struct work *work);

/* The driver: resets and sets up the device; resets it. */
void work_open(struct work *work);
void work_close(struct work *work);

/* One piece of work. */
void work_do(struct work *work);

#endif
