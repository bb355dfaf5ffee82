/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * hvisor's bridge page: the one page through which all accesses of all zones to virtio-mmio windows reach root Linux,
 * and the interrupts go back. Offsets as in hvisor v0.4 (struct VirtioBridge of src/device/virtio_trampoline.rs).
 *
 * hvisor is trusted, but what it passes on from a guest (addresses, values, sizes) is not; CPU numbers and indexes
 * are checked all the same, since a wrong one would write outside the page.
 */
#ifndef HVISOR_BRIDGE_H
#define HVISOR_BRIDGE_H

#include "vmmio.h"

#define BRIDGE_SLOTS 32u /* of each ring; one stays empty */
#define BRIDGE_CPUS 32u

struct bridge_request {
	core_u64 src_cpu;
	core_u64 address; /* physical, as the zone sees it */
	core_u64 size; /* bytes */
	core_u64 value; /* of a write */
	core_u32 src_zone;
	core_u8 is_write;
	core_u8 need_interrupt; /* 1: QUEUE_NOTIFY, written or read, for which no CPU waits */
	core_u16 pad;
};

struct bridge_result {
	core_u32 target_zone;
	core_u32 irq;
};

struct bridge_page {
	core_u32 req_front; /* consumer: root */
	core_u32 req_rear; /* producer: hvisor */
	core_u32 res_front; /* consumer: hvisor */
	core_u32 res_rear; /* producer: root */
	struct bridge_request req[BRIDGE_SLOTS];
	struct bridge_result res[BRIDGE_SLOTS];
	core_u64 cfg_flags[BRIDGE_CPUS]; /* grows by 1 with each answer to that CPU */
	core_u64 cfg_values[BRIDGE_CPUS];
	core_u64 unused[8];
	core_u8 unused2;
	core_u8 need_wakeup; /* 1: hvisor sends the wakeup interrupt with a request */
	core_u8 pad[1966];
};

CORE_ASSERT(sizeof(struct bridge_request) == 40);
CORE_ASSERT(offsetof(struct bridge_page, res) == 1296);
CORE_ASSERT(offsetof(struct bridge_page, cfg_flags) == 1552);
CORE_ASSERT(offsetof(struct bridge_page, cfg_values) == 1808);
CORE_ASSERT(offsetof(struct bridge_page, need_wakeup) == 2129);
CORE_ASSERT(sizeof(struct bridge_page) == 4096);

/* One window of a zone, and the device behind it. */
struct bridge_window {
	core_u32 zone;
	core_u64 base;
	core_u64 size;
	struct vmmio_dev *dev;
	void *owner; /* of the caller */
};

/* The windows, sorted by zone and base. The array belongs to the caller, who has made sure that none overlap. */
struct bridge_map {
	const struct bridge_window *window;
	core_u32 count;
};

/*
 * What the drain asks of its surroundings. lock and unlock surround each call of the register model; effects (VMMIO_*)
 * follow after unlock, VMMIO_HOLD among them, for the caller's deadline.
 */
struct bridge_ops {
	void (*lock)(const struct bridge_window *window);
	void (*unlock)(const struct bridge_window *window);
	void (*effects)(const struct bridge_window *window, core_u32 effects);
};

struct bridge {
	struct bridge_page *page;
	core_u32 req_front; /* own copies: the page's are for hvisor to read */
	core_u32 res_rear;
	core_u64 requests; /* counters */
	core_u64 absent; /* accesses which no window claims */
	core_u64 bad; /* impossible CPUs and ring indexes, and notifications of another register than QueueNotify */
};

/* Takes over a page which hvisor does not know yet, all zero, or one which it already uses (adopted). */
void bridge_init(struct bridge *bridge, struct bridge_page *page);

/* Is a request waiting? May be called without the drain's lock. */
bool bridge_pending(const struct bridge *bridge);

/*
 * Handles up to budget requests that wait, and returns how many it handled. An access that no window claims reads 0.
 * The caller allows one drain at a time; the map does not change meanwhile.
 */
core_u32 bridge_drain(struct bridge *bridge, const struct bridge_map *map, const struct bridge_ops *ops,
		      core_u32 budget);

/* Answers one CPU that waits (cpu below BRIDGE_CPUS, else nothing happens). */
void bridge_answer(struct bridge *bridge, core_u32 cpu, core_u64 value);

/* Answers the CPUs of a mask, with 0: for what vmmio_quiesced() returned. */
void bridge_answer_mask(struct bridge *bridge, core_u32 cpus);

/*
 * Puts an interrupt for a zone on the result ring; hvisor takes it at the next hypercall. False if the ring is full:
 * the caller makes the hypercall and tries again. The caller allows one push at a time.
 */
bool bridge_push(struct bridge *bridge, core_u32 zone, core_u32 irq);

/*
 * Says whether hvisor is to send the wakeup interrupt. After setting 1, look at bridge_pending() again for some
 * microseconds: hvisor has no barrier between publishing a request and reading this.
 */
void bridge_set_need_wakeup(struct bridge *bridge, bool on);

/* The window which holds [address, address + size), or NULL. */
const struct bridge_window *bridge_find(const struct bridge_map *map, core_u32 zone, core_u64 address, core_u64 size);

#endif
