/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The register model of a virtio-mmio device, version 2 (virtio 1.2, section 4.2).
 *
 * It answers every access at once from its own state; nothing here waits for the backend. The one answer that may be
 * late is that of a write which resets the device or disables a queue: VMMIO_HOLD says so, and the caller answers the
 * CPUs that vmmio_quiesced() names.
 *
 * What the backend shares with the model (struct queue_region) is hostile here: the model reads from it only
 * interrupt_status, needs_reset, quiesce_ack and the bytes of config, each of which only this device's own guest sees.
 *
 * Where the specification leaves the device a choice:
 *   Status       ACKNOWLEDGE, DRIVER and FAILED are kept and change nothing. FEATURES_OK stays clear if the features
 *                were not all offered or lack VERSION_1, and may be tried again. DRIVER_OK without FEATURES_OK stays
 *                clear; one write may set both. Only a write of 0 in all 32 bits is a reset.
 *   waiting      Until the backend is quiet, status reads as before the reset, QueueReady and (if it was QueueReset)
 *                QueueReset read 1. Meanwhile other writes to what waits, the device or the queue, are ignored.
 *   QueueNum     is 0 at first. A reset of the device or the queue makes it 0 again, and the addresses too; QueueReady
 *                = 0 keeps them.
 *   a bad queue  (size or alignment impossible) does not become ready, and the device needs a reset.
 *   config       is read and written in any of the four widths at any alignment. A read is of one generation,
 *                unless the backend changes config four times during it.
 *
 * The caller serialises all calls for one device. No function allocates or sleeps.
 */
#ifndef HVISOR_VMMIO_H
#define HVISOR_VMMIO_H

#include "region.h"

#define VMMIO_WINDOW_MIN 0x200u /* bytes: the registers and the configuration space of REGION_CONFIG_MAX */
#define VMMIO_VENDOR 0x68565352u

/* Registers: virtio 1.2, table 4.1. */
#define VMMIO_MAGIC_VALUE 0x000u
#define VMMIO_VERSION 0x004u
#define VMMIO_DEVICE_ID 0x008u
#define VMMIO_VENDOR_ID 0x00cu
#define VMMIO_DEVICE_FEATURES 0x010u
#define VMMIO_DEVICE_FEATURES_SEL 0x014u
#define VMMIO_DRIVER_FEATURES 0x020u
#define VMMIO_DRIVER_FEATURES_SEL 0x024u
#define VMMIO_QUEUE_SEL 0x030u
#define VMMIO_QUEUE_NUM_MAX 0x034u
#define VMMIO_QUEUE_NUM 0x038u
#define VMMIO_QUEUE_READY 0x044u
#define VMMIO_QUEUE_NOTIFY 0x050u
#define VMMIO_INTERRUPT_STATUS 0x060u
#define VMMIO_INTERRUPT_ACK 0x064u
#define VMMIO_STATUS 0x070u
#define VMMIO_QUEUE_DESC_LOW 0x080u
#define VMMIO_QUEUE_DESC_HIGH 0x084u
#define VMMIO_QUEUE_DRIVER_LOW 0x090u
#define VMMIO_QUEUE_DRIVER_HIGH 0x094u
#define VMMIO_QUEUE_DEVICE_LOW 0x0a0u
#define VMMIO_QUEUE_DEVICE_HIGH 0x0a4u
#define VMMIO_SHM_SEL 0x0acu
#define VMMIO_SHM_LEN_LOW 0x0b0u
#define VMMIO_SHM_LEN_HIGH 0x0b4u
#define VMMIO_SHM_BASE_LOW 0x0b8u
#define VMMIO_SHM_BASE_HIGH 0x0bcu
#define VMMIO_QUEUE_RESET 0x0c0u
#define VMMIO_CONFIG_GENERATION 0x0fcu
#define VMMIO_CONFIG 0x100u

/* Status bits: virtio 1.2, 2.1. */
#define VMMIO_S_ACKNOWLEDGE 1u
#define VMMIO_S_DRIVER 2u
#define VMMIO_S_DRIVER_OK 4u
#define VMMIO_S_FEATURES_OK 8u
#define VMMIO_S_NEEDS_RESET 64u
#define VMMIO_S_FAILED 128u

/* Features that the model itself knows: virtio 1.2, chapter 6. */
#define VMMIO_F_INDIRECT_DESC (1ull << 28)
#define VMMIO_F_EVENT_IDX (1ull << 29)
#define VMMIO_F_VERSION_1 (1ull << 32)
#define VMMIO_F_RING_RESET (1ull << 40)

/* What the caller has to do after an access; several at once. */
#define VMMIO_KICK (1u << 0) /* signal the kick eventfd: the backend sleeps */
#define VMMIO_INTERRUPT (1u << 1) /* inject the device's interrupt */
#define VMMIO_HOLD (1u << 2) /* do not answer this CPU now */

struct vmmio_queue {
	core_u32 num;
	core_u32 ready;
	core_u32 epoch; /* never 0 once it was ready; grows over resets too */
	core_u32 quiesce; /* quiesce_seq that must be acknowledged before this queue may be used again, 0 none */
	core_u32 reset; /* what is under way is that of QueueReset, not of QueueReady */
	core_u32 pad;
	core_u64 desc;
	core_u64 driver;
	core_u64 device;
};

struct vmmio_dev {
	struct queue_region *region;
	struct region_shape shape;
	core_u8 config_writable[REGION_CONFIG_MAX / 8]; /* bit n: the driver may write byte n */
	bool attached; /* a backend holds the region */
	bool failed; /* no backend will come: NEEDS_RESET even after a reset */
	bool reset_pending; /* a reset waits for the backend */
	bool faulty; /* the driver enabled a queue that cannot be: NEEDS_RESET until a reset */
	bool config_written; /* since the last reset */
	core_u32 status; /* without NEEDS_RESET of the backend */
	core_u32 device_features_sel;
	core_u32 driver_features_sel;
	core_u32 queue_sel;
	core_u64 driver_features;
	core_u32 quiesce_seq;
	core_u32 resets; /* that are done */
	core_u32 config_writes; /* of the driver */
	core_u32 held_cpus; /* bit n: CPU n waits for quiescence */
	core_u8 config_initial[REGION_CONFIG_MAX]; /* what a reset puts back into the bytes which the driver may write
						    */
	core_u64 accesses; /* counters for people */
	core_u64 notifications;
	core_u64 bad_accesses; /* of a width, offset or value that the specification forbids */
	core_u64 irq_acknowledges; /* writes of InterruptACK, whatever their bits */
	struct vmmio_queue queue[REGION_QUEUES_MAX];
};

/*
 * Makes dev a device as after power-on, over a region of region_init(). config_writable has REGION_CONFIG_MAX / 8
 * bytes; config has shape->config_len. dev keeps region, which the caller owns.
 */
void vmmio_init(struct vmmio_dev *dev, struct queue_region *region, const struct region_shape *shape,
		const core_u8 *config, const core_u8 *config_writable);

/*
 * A read by the driver of size bytes (1, 2, 4 or 8) at offset in the window. *value gets the answer in the low bits;
 * what cannot be read in this way reads 0. Never holds. Returns VMMIO_* (always 0 today, kept for symmetry).
 */
core_u32 vmmio_read(struct vmmio_dev *dev, core_u64 offset, core_u32 size, core_u64 *value);

/*
 * A write by the driver from CPU cpu (0 to 31; it is named again by vmmio_quiesced()). What cannot be written in this
 * way is ignored. Returns VMMIO_*.
 */
core_u32 vmmio_write(struct vmmio_dev *dev, core_u64 offset, core_u32 size, core_u64 value, core_u32 cpu);

/*
 * Has the backend acknowledged what was held back? Returns the CPUs to be answered now, bit n for CPU n, each once.
 * To be called when the call eventfd is written, and after vmmio_detach().
 */
core_u32 vmmio_quiesced(struct vmmio_dev *dev);

/*
 * A new backend: writes the head and the driver's part of the region anew from the model's own copy, and the events
 * that make the backend look at everything.
 */
void vmmio_attach(struct vmmio_dev *dev);

/* The backend is gone: nothing touches the guest's memory any more, so all that was held back may be answered. */
void vmmio_detach(struct vmmio_dev *dev);

/*
 * Resets the device without a driver's write, as when its zone stops. Returns VMMIO_KICK or 0. If a backend is
 * attached it has to become quiet as after any reset; vmmio_is_quiet() tells.
 */
core_u32 vmmio_reset(struct vmmio_dev *dev);
bool vmmio_is_quiet(const struct vmmio_dev *dev);

/*
 * No backend will come any more: the driver sees DEVICE_NEEDS_RESET, now and after each reset, until
 * vmmio_repair(). Returns VMMIO_INTERRUPT if the driver is to be told.
 */
core_u32 vmmio_fail(struct vmmio_dev *dev);
void vmmio_repair(struct vmmio_dev *dev);

/* The status as the driver reads it, without an access of the driver. */
core_u32 vmmio_status(const struct vmmio_dev *dev);

/*
 * Rings the backend's doorbell with REGION_EV_* events; any context. Returns VMMIO_KICK if it sleeps, else 0.
 */
core_u32 vmmio_ring(struct queue_region *region, core_u32 events);

#endif
