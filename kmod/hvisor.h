/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * hvisor.ko: the state that its files share.
 *
 * Locks, outermost first:
 *	hv.mutex		the lists of zones and devices, and all that ioctls change
 *	zone.memory_sem		may a mapping of the zone's memory be filled
 *	hv.drain_lock		one drain of the bridge at a time, and the map of windows
 *	eventfd's own		held around the call eventfd's callback
 *	dev.lock		the register model
 *	zone.irq_lock		interrupts outstanding in a zone
 *	hv.result_lock		the result ring
 * From drain_lock on they are taken with interrupts off or from softirq, and nothing sleeps under them.
 */
#ifndef HVISOR_KMOD_H
#define HVISOR_KMOD_H

#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/version.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "../common/bridge.h"
#include "hvisor_uapi.h"

#define HVISOR_EVENTS 64

static inline void hvisor_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

struct hvisor_dev;

struct hvisor_zone {
	struct list_head node;
	u32 id;
	bool up;			/* under hv.mutex and memory_sem; read without by irq.c */
	bool stopping;			/* its windows are not in the map */
	u32 nmemory;
	u32 ndevices;
	struct hvisor_memory memory[HVISOR_MEMORY_MAX];
	struct rw_semaphore memory_sem;
	spinlock_t irq_lock;
	u32 outstanding;		/* interrupts injected and not seen by the driver */
	struct list_head waiting;	/* devices whose interrupt has to wait for that */
};

/* The right to serve a device: lives as long as a descriptor or a mapping of it does. */
struct hvisor_attachment {
	struct hvisor_dev *dev;
	struct file *file;		/* not counted: its release ends the attachment */
	struct inode *inode;		/* own mapping, so that it can be revoked alone */
	struct eventfd_ctx *kick;
	struct eventfd_ctx *call;
	wait_queue_entry_t call_wait;
	wait_queue_head_t *call_head;
	poll_table call_table;
	struct rcu_head rcu;
	bool revoked;			/* under zone.memory_sem */
};

enum hvisor_irq_state {
	HVISOR_IRQ_IDLE,
	HVISOR_IRQ_WAITING,		/* for others of its zone */
	HVISOR_IRQ_INJECTED,		/* until the driver writes InterruptACK */
};

struct hvisor_dev {
	struct kref ref;		/* one of hv, one of each attachment and view */
	struct list_head node;		/* of hv.devices, by id */
	struct hvisor_device_add desc;
	struct hvisor_zone *zone;
	struct queue_region *region;	/* vmalloc_user() */
	u32 region_size;

	spinlock_t lock;
	unsigned long lock_flags;	/* of the drain, while it holds lock */
	struct vmmio_dev model;		/* under lock */
	u64 held_since;			/* ns, 0: nothing is held back */

	struct hvisor_attachment __rcu *attachment;	/* changed under hv.mutex and lock */
	struct pid *owner;		/* under hv.mutex */
	bool cut_off;
	struct hrtimer deadline;	/* of what is held back */
	struct work_struct cut_off_work;

	/* under zone->irq_lock */
	struct list_head irq_node;
	enum hvisor_irq_state irq_state;
	u64 irq_seen;			/* model.irq_acknowledges at the injection */
	u64 irq_since;			/* when it was injected, ns */
	u64 irq_first;			/* until the first repetition, ns */
	unsigned int irq_tries;
	struct hrtimer irq_timer;

	u64 interrupts;			/* counters */
	u64 interrupts_again;
	u64 spurious;
	u64 hold_max_ns;
	u64 wait_max_ns;
};

struct hvisor {
	struct mutex mutex;
	struct list_head zones;
	struct list_head devices;
	u32 ndevices;

	struct bridge_page *page;	/* known to hvisor for ever: never freed */
	struct bridge bridge;
	struct tasklet_struct tasklet;
	spinlock_t drain_lock;
	struct bridge_map map;
	struct bridge_window *windows;
	int wakeup_irq;
	u64 wakeup_ns;			/* when the wakeup interrupt came, 0 none since the last drain */
	spinlock_t result_lock;

	spinlock_t event_lock;
	struct eventfd_ctx *event_ctx;
	struct hvisor_event_next events[HVISOR_EVENTS];
	u32 event_head;
	u32 event_count;
	u32 events_lost;
};

extern struct hvisor hv;

/* drain.c: the bridge */
int hvisor_drain_init(void);
void hvisor_drain_finish(void);
/* Makes the map anew from hv.devices; under hv.mutex. */
int hvisor_drain_remap(void);
/* Effects (VMMIO_*) of a call of the register model; any context, dev->lock not held. */
void hvisor_effects(struct hvisor_dev *dev, u32 effects);

/* device.c */
int hvisor_device_add(struct hvisor_device_add *arg);
int hvisor_device_get(struct hvisor_device_get *arg);
int hvisor_device_del(u32 id);
int hvisor_device_fail(const struct hvisor_device_fail *arg);
int hvisor_device_kick(const struct hvisor_device_kick *arg);
int hvisor_device_owner(const struct hvisor_device_owner *arg);
struct hvisor_dev *hvisor_device_find(u32 id);
void hvisor_device_put(struct hvisor_dev *dev);
/* The backend has become quiet, or is gone: answers whoever waits for that. Any context. */
void hvisor_device_answer_held(struct hvisor_dev *dev);
/* An answer is held back: its deadline runs from now. Any context. */
void hvisor_device_hold(struct hvisor_dev *dev);
/* Resets the devices of a zone that stops, and waits until their backends are quiet or cut off. */
void hvisor_devices_reset(struct hvisor_zone *zone);
/* Whether hvisor_devices_reset() waits: hvisor_device_answer_held() then has to be called as if an answer were held. */
bool hvisor_devices_awaited(void);
/* Takes the zone's memory out of all mappings of its backends. */
void hvisor_devices_revoke(struct hvisor_zone *zone);
void hvisor_devices_finish(void);

/* attachment.c */
void hvisor_attachments_finish(void);
int hvisor_device_attach(struct hvisor_device_attach *arg);
int hvisor_device_view(struct hvisor_device_view *arg);

/* memory.c */
int hvisor_attachment_mmap(struct file *file, struct vm_area_struct *vma);
int hvisor_view_mmap(struct file *file, struct vm_area_struct *vma);
/* Takes the zone's memory, and with region the queue region, out of all mappings of an attachment; may sleep. */
void hvisor_attachment_revoke(struct hvisor_attachment *attachment);
u64 hvisor_memory_offset(const struct hvisor_zone *zone, u32 n);
/* 0; -EPERM for root's own memory, -EINVAL, -ERANGE. */
int hvisor_memory_check(const struct hvisor_memory *memory, u32 n);
/* 0; -EPERM if any page of the range is root's own memory, -EINVAL for no range. */
int hvisor_memory_check_range(u64 start, u64 size);

/* irq.c: interrupts to zones */
void hvisor_irq_init(struct hvisor_dev *dev);
/* The device has an interrupt to deliver; any context. */
void hvisor_irq_raise(struct hvisor_dev *dev);
/* The driver may have written InterruptACK; any context. */
void hvisor_irq_check(struct hvisor_dev *dev);
/* Forgets what is outstanding, and stops the timer; may sleep. */
void hvisor_irq_stop(struct hvisor_dev *dev);

/* zone.c */
int hvisor_zone_set(const struct hvisor_zone_set *arg);
struct hvisor_zone *hvisor_zone_find(u32 id);
int hvisor_zone_start(const struct hvisor_zone_start *arg);
int hvisor_zone_shutdown(u32 id);
int hvisor_zone_list(struct hvisor_zone_list *arg);
int hvisor_zone_load(const struct hvisor_zone_load *arg);
int hvisor_config_check(u64 *version);
void hvisor_zones_finish(void);

/* Does any zone but root's run? 1, 0, or a negative error. */
int hvisor_zones_any(void);

/* main.c */
void hvisor_event(u32 type, u32 id);

#endif
