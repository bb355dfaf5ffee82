/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The queue region of one virtio device: memory shared by the register model (in the module or the simulator), the
 * device's backend and the launcher. It outlives the backend: what a driver negotiated and what is in flight stay
 * here while a backend is restarted.
 *
 * Who writes what:
 *   head, driver, config_writes
 *                   the register model alone. It keeps a private copy of everything it needs, never reads these
 *                   back, and writes them anew for each new backend (vmmio_attach()).
 *   doorbell, irq   both sides, by atomic read-modify-write.
 *   device, config  the backend. The model stores bytes of config which the driver may write; it stores 0 into
 *                   device.needs_reset when a reset is done, and quiesce_ack for a new backend.
 *   control         the launcher.
 *   state, journals the backend.
 *
 * A backend is untrusted: whatever the model or the launcher reads here is a number to show or a bit to test, and is
 * never used as an index, a length, a pointer or a loop bound. All numbers are in the machine's byte order, except
 * the bytes of config, which are little endian as the driver reads them.
 */
#ifndef HVISOR_REGION_H
#define HVISOR_REGION_H

#include "core_os.h"

#define REGION_MAGIC 0x51525648u /* "HVRQ" */
#define REGION_VERSION 3u

#define REGION_PAGE 4096u
#define REGION_QUEUES_MAX 64u
#define REGION_QUEUE_SIZE_MAX 1024u
#define REGION_CONFIG_MAX 256u
#define REGION_STATE_MAX 1504u

/* doorbell.events: why the backend is called besides a notified queue. */
#define REGION_EV_STATUS (1u << 0) /* status, a queue's readiness or quiesce_seq changed */
#define REGION_EV_CONFIG (1u << 1) /* the driver wrote config */
#define REGION_EV_CONTROL (1u << 2) /* the launcher changed control */

/* irq.interrupt_status: virtio 1.2, 4.2.2, InterruptStatus. */
#define REGION_INT_USED (1u << 0)
#define REGION_INT_CONFIG (1u << 1)

struct region_head {
	core_u32 magic;
	core_u32 version;
	core_u32 size; /* of the whole region, bytes, a multiple of REGION_PAGE */
	core_u32 device_id; /* virtio 1.2, chapter 5 */
	core_u32 nqueues;
	core_u32 queue_size_max;
	core_u64 device_features; /* what the driver is offered */
	core_u32 config_len;
	core_u32 pad[7];
};

/* One queue as the driver set it up. All else is valid while ready is 1. */
struct region_queue {
	core_u32 ready; /* stored last, with release */
	core_u32 num; /* a power of two up to queue_size_max */
	core_u32 epoch; /* grows each time the queue becomes ready: a journal of another epoch is void */
	core_u32 pad;
	core_u64 desc; /* guest physical addresses, aligned as virtio 1.2, 2.7 asks */
	core_u64 driver; /* available ring */
	core_u64 device; /* used ring */
	core_u64 pad2[3];
};

struct region_driver {
	core_u32 status; /* virtio 1.2, 2.1; 0 after a reset */
	/*
	 * Grows with each reset and each disabled queue. The register model answers the driver's write only when the
	 * backend has stored the same number into device.quiesce_ack, which says that it no longer touches the
	 * memory of any queue that is not ready.
	 */
	core_u32 quiesce_seq;
	core_u64 features; /* accepted by the driver, fixed once FEATURES_OK is in status */
	core_u32 resets; /* how many resets were done: state that a driver made belongs to one number of these */
	core_u32 pad[11];
	struct region_queue queue[REGION_QUEUES_MAX];
};

/*
 * The driver's writes to config, in their order, for a backend to which each of them means something: config itself
 * keeps only the last. Write number n is at n modulo the size, so the last REGION_CONFIG_WRITES of them are there.
 */
#define REGION_CONFIG_WRITES 256u

struct region_config_write {
	core_u16 offset; /* as the driver wrote: not necessarily all, or any, of it is a byte that it may write */
	core_u16 size; /* 1, 2, 4 or 8 bytes */
	core_u32 value; /* of 8 bytes the lower half */
};

struct region_config_writes {
	core_u32 count; /* grows, also over resets; stored last, with release */
	core_u32 pad;
	struct region_config_write write[REGION_CONFIG_WRITES];
};

struct region_doorbell {
	core_u64 queues; /* bit n: queue n was notified. Model: or. Backend: exchange with 0 */
	core_u32 events; /* REGION_EV_*. Model, launcher: or. Backend: exchange with 0 */
	core_u32 sleeping; /* backend stores 1 before it sleeps; who rings exchanges with 0 and, if it was 1, kicks */
	core_u32 pad[12];
};

struct region_irq {
	core_u32 interrupt_status; /* REGION_INT_*. Backend: or. Model: and, on the driver's acknowledgement */
	core_u32 pad[15];
};

/* What the backend says. The counters go on over restarts and resets. */
struct region_device {
	core_u32 quiesce_ack;
	core_u32 needs_reset; /* not 0: status reads with DEVICE_NEEDS_RESET until a reset is done */
	core_u32 config_gen; /* config[config_gen & 1] is the one in force */
	core_u32 starts; /* how often a backend began to serve this region */
	core_u32 poll_us; /* the bound of the polling now in force */
	core_u32 resize_ack; /* control.resize_seq that was acted upon last */
	core_u64 requests; /* chains completed */
	core_u64 bytes_read; /* payload, device to driver */
	core_u64 bytes_written; /* payload, driver to device */
	core_u64 errors; /* requests that were completed with an error */
	core_u64 interrupts; /* writes to the call eventfd */
	core_u64 wakeups; /* returns from sleep */
	core_u64 resubmitted; /* chains found in flight at a start */
	core_u64 heartbeat; /* grows with each turn of the main loop */
	core_u64 own[12]; /* counters that only this device type has */
	core_u64 pad1[9];
};

#define REGION_POLL_ADAPTIVE 0xffffffffu

struct region_control {
	core_u32 log_level; /* enum log_level of log.h */
	core_u32 poll_us; /* longest time to poll before sleep, us; 0 never; REGION_POLL_ADAPTIVE */
	core_u32 resize_seq; /* grows: the backing file has another size */
	core_u32 link_down; /* not 0: net reports no link */
	core_u32 pad[12];
};

/*
 * What a device type has to remember over the deaths of its backends, of a layout of its own; zeroes at first. As with
 * config, gen & 1 names the copy in force.
 */
struct region_state {
	core_u32 gen;
	core_u32 pad[15];
	core_u8 copy[2][REGION_STATE_MAX];
};

struct queue_region {
	struct region_head head;
	struct region_doorbell doorbell;
	struct region_irq irq;
	struct region_control control;
	struct region_device device;
	core_u8 config[2][REGION_CONFIG_MAX];
	struct region_state state;
	struct region_driver driver; /* at REGION_PAGE, 4160 bytes */
	struct region_config_writes config_writes;
	core_u8 pad2[1976];
	/* the journals follow, at REGION_JOURNALS */
};

#define REGION_JOURNALS (3u * REGION_PAGE)

CORE_ASSERT(sizeof(struct region_head) == 64);
CORE_ASSERT(sizeof(struct region_queue) == 64);
CORE_ASSERT(sizeof(struct region_device) == 256);
CORE_ASSERT(sizeof(struct region_state) == 3072);
CORE_ASSERT(sizeof(struct region_config_writes) == 2056);
CORE_ASSERT(offsetof(struct queue_region, driver) == REGION_PAGE);
CORE_ASSERT(sizeof(struct queue_region) == REGION_JOURNALS);

/*
 * In-flight journal of one split queue: the inflight description of the vhost-user protocol ("Inflight I/O tracking",
 * split virtqueue), with the epoch of the queue in the place of its unused feature bits.
 */
struct region_journal_desc {
	core_u8 inflight;
	core_u8 pad[5];
	core_u16 next;
	core_u64 counter;
};

struct region_journal {
	core_u64 epoch;
	core_u16 version; /* 1 */
	core_u16 desc_num; /* the queue's size: as many entries of desc are in use */
	core_u16 last_batch_head;
	core_u16 used_idx;
	core_u64 begun; /* chains in flight with a counter below this must not be done again; 0: none */
	core_u64 pad[5];
	struct region_journal_desc desc[];
};

CORE_ASSERT(sizeof(struct region_journal_desc) == 16);
CORE_ASSERT(sizeof(struct region_journal) == 64);

/* What a region is made for; the maker has checked nothing yet. */
struct region_shape {
	core_u32 device_id;
	core_u32 nqueues; /* 1 to REGION_QUEUES_MAX */
	core_u32 queue_size_max; /* a power of two from 2 to REGION_QUEUE_SIZE_MAX */
	core_u32 config_len; /* 0 to REGION_CONFIG_MAX */
	core_u64 device_features;
};

/* Is shape within the limits above? */
bool region_shape_valid(const struct region_shape *shape);

/* Bytes that a region of a valid shape takes, a multiple of REGION_PAGE. */
core_u32 region_size(const struct region_shape *shape);

/* Where the journal of queue q begins, in bytes from the region's start; shape is valid and q below nqueues. */
core_u32 region_journal_offset(const struct region_shape *shape, core_u32 q);

/*
 * Lays out a new region over region_size(shape) bytes which are zero, with config_len bytes of config in both copies.
 */
void region_init(struct queue_region *region, const struct region_shape *shape, const core_u8 *config);

/* Writes the head alone. region_init() does it; so does the model for each new backend. */
void region_write_head(struct queue_region *region, const struct region_shape *shape);

/*
 * For the backend: checks the head of a region that it mapped with size bytes and copies it to shape. False if it is
 * no region of this version, or does not fit into size.
 */
bool region_open(const struct queue_region *region, core_u32 size, struct region_shape *shape);

/*
 * For the backend: changes len bytes of config at offset so that a driver which reads the generation before and after
 * sees either all of the change or none of it, whatever moment the backend dies at. Bytes which the driver may write
 * are not to be changed in this way except by a value that it wrote itself. Raises no interrupt.
 */
void region_config_update(struct queue_region *region, core_u32 offset, const void *bytes, core_u32 len);

/*
 * For the backend: the first len bytes of state (at most REGION_STATE_MAX), which it takes at its start with
 * region_state_read() and changes as a whole. Whatever moment it dies at, its successor reads either the old or the new
 * ones. They may be anything: they are a predecessor's.
 */
void region_state_read(const struct queue_region *region, void *bytes, core_u32 len);
void region_state_update(struct queue_region *region, const void *bytes, core_u32 len);

/* For a backend that starts: ends a region_config_update() which a dead predecessor began. */
void region_config_recover(struct queue_region *region);

#endif
