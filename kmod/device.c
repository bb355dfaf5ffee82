// SPDX-License-Identifier: GPL-2.0-only
/* Devices: they live here from HVISOR_DEVICE_ADD to HVISOR_DEVICE_DEL, whoever serves them meanwhile. */
#define pr_fmt(fmt) "hvisor: " fmt

#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "hvisor.h"

#define DEVICE_IRQS 1024	/* no interrupt controller of a zone has more */
#define DEVICE_EVENTS (REGION_EV_STATUS | REGION_EV_CONFIG | REGION_EV_CONTROL)

static unsigned int deadline_ms = 2000;
module_param(deadline_ms, uint, 0644);
MODULE_PARM_DESC(deadline_ms, "how long a reset waits for a backend before it is cut off, ms (default 2000)");

static DECLARE_WAIT_QUEUE_HEAD(device_quiet_wait);

static u64 device_deadline_ns(void)
{
	return (u64)READ_ONCE(deadline_ms) * NSEC_PER_MSEC;
}

struct hvisor_dev *hvisor_device_find(u32 id)
{
	struct hvisor_dev *dev;

	list_for_each_entry(dev, &hv.devices, node) {
		if (dev->desc.id == id)
			return dev;
	}
	return NULL;
}

static void device_release(struct kref *ref)
{
	struct hvisor_dev *dev = container_of(ref, struct hvisor_dev, ref);

	put_pid(dev->owner);
	vfree(dev->region);
	kfree(dev);
}

void hvisor_device_put(struct hvisor_dev *dev)
{
	kref_put(&dev->ref, device_release);
}

void hvisor_device_answer_held(struct hvisor_dev *dev)
{
	unsigned long flags;
	u32 cpus;

	spin_lock_irqsave(&dev->lock, flags);
	cpus = vmmio_quiesced(&dev->model);
	if (!dev->model.held_cpus && dev->held_since) {
		dev->hold_max_ns = max(dev->hold_max_ns, ktime_get_ns() - dev->held_since);
		dev->held_since = 0;
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	bridge_answer_mask(&hv.bridge, cpus);
	wake_up_all(&device_quiet_wait);
}

void hvisor_device_hold(struct hvisor_dev *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (!dev->held_since)
		dev->held_since = ktime_get_ns();
	spin_unlock_irqrestore(&dev->lock, flags);
	hrtimer_start(&dev->deadline, ns_to_ktime(device_deadline_ns()), HRTIMER_MODE_REL_SOFT);
	/*
	 * A backend that was awake may have become quiet before this: its call found nothing held. Either that call
	 * sees held_since, or this sees what it has acknowledged.
	 */
	smp_mb();
	hvisor_device_answer_held(dev);
}

static enum hrtimer_restart device_deadline(struct hrtimer *timer)
{
	struct hvisor_dev *dev = container_of(timer, struct hvisor_dev, deadline);

	kref_get(&dev->ref);
	if (!READ_ONCE(dev->held_since) || !schedule_work(&dev->cut_off_work))
		hvisor_device_put(dev);	/* never the last one: the list's outlives the timer */
	return HRTIMER_NORESTART;
}

/*
 * Takes the device away from its backend: its mappings are emptied, so it can touch neither the zone's memory nor the
 * region again, and it is killed. Only then is what was held back answered. Under hv.mutex.
 */
static void device_cut_off(struct hvisor_dev *dev)
{
	struct hvisor_attachment *attachment = rcu_dereference_protected(dev->attachment, lockdep_is_held(&hv.mutex));
	unsigned long flags;

	if (!attachment || attachment->revoked)
		return;
	down_write(&dev->zone->memory_sem);
	attachment->revoked = true;
	up_write(&dev->zone->memory_sem);
	hvisor_attachment_revoke(attachment);
	dev->cut_off = true;
	if (dev->owner)
		kill_pid(dev->owner, SIGKILL, 1);
	spin_lock_irqsave(&dev->lock, flags);
	vmmio_detach(&dev->model);
	spin_unlock_irqrestore(&dev->lock, flags);
	hvisor_device_answer_held(dev);
	pr_warn("%s: its backend did not become quiet in %u ms: cut off and killed\n", dev->desc.name, deadline_ms);
	hvisor_event(HVISOR_EVENT_CUT_OFF, dev->desc.id);
}

static void device_cut_off_work(struct work_struct *work)
{
	struct hvisor_dev *dev = container_of(work, struct hvisor_dev, cut_off_work);

	mutex_lock(&hv.mutex);
	/* It may have become quiet meanwhile, or may be held by a later reset whose time is not up. */
	if (dev->held_since && ktime_get_ns() - dev->held_since >= device_deadline_ns())
		device_cut_off(dev);
	mutex_unlock(&hv.mutex);
	hvisor_device_put(dev);
}

static bool device_is_quiet(struct hvisor_dev *dev)
{
	unsigned long flags;
	bool quiet;

	spin_lock_irqsave(&dev->lock, flags);
	quiet = vmmio_is_quiet(&dev->model);
	spin_unlock_irqrestore(&dev->lock, flags);
	return quiet;
}

bool hvisor_devices_awaited(void)
{
	return wq_has_sleeper(&device_quiet_wait);
}

void hvisor_devices_reset(struct hvisor_zone *zone)
{
	struct hvisor_dev *dev;
	unsigned long flags;
	u32 effects;
	long left;

	list_for_each_entry(dev, &hv.devices, node) {
		if (dev->zone != zone)
			continue;
		hvisor_irq_stop(dev);
		spin_lock_irqsave(&dev->lock, flags);
		effects = vmmio_reset(&dev->model);
		spin_unlock_irqrestore(&dev->lock, flags);
		hvisor_effects(dev, effects);
	}
	left = msecs_to_jiffies(deadline_ms);
	list_for_each_entry(dev, &hv.devices, node) {
		if (dev->zone != zone)
			continue;
		left = wait_event_timeout(device_quiet_wait, device_is_quiet(dev), left);
		if (left == 0) {
			device_cut_off(dev);
			left = 1;
		}
		hvisor_device_answer_held(dev);
	}
}

void hvisor_devices_revoke(struct hvisor_zone *zone)
{
	struct hvisor_attachment *attachment;
	struct hvisor_dev *dev;

	list_for_each_entry(dev, &hv.devices, node) {
		attachment = rcu_dereference_protected(dev->attachment, lockdep_is_held(&hv.mutex));
		if (dev->zone == zone && attachment)
			hvisor_attachment_revoke(attachment);
	}
}

static bool device_is_same(const struct hvisor_device_add *a, const struct hvisor_device_add *b)
{
	return a->zone == b->zone && a->irq == b->irq && a->base == b->base && a->size == b->size &&
	       a->device_id == b->device_id && a->nqueues == b->nqueues && a->queue_size_max == b->queue_size_max &&
	       a->config_len == b->config_len && a->features == b->features &&
	       memcmp(a->config_writable, b->config_writable, sizeof(a->config_writable)) == 0;
}

/* Looks for a device that is in the way of a new one. 1: the same device, in *found; 0: nothing; or an error. */
static int device_find_conflict(const struct hvisor_device_add *arg, struct hvisor_dev **found)
{
	struct hvisor_dev *dev;

	list_for_each_entry(dev, &hv.devices, node) {
		if (dev->desc.zone != arg->zone)
			continue;
		if (dev->desc.base == arg->base && dev->desc.size == arg->size) {
			*found = dev;
			return device_is_same(&dev->desc, arg) ? 1 : -EEXIST;
		}
	}
	list_for_each_entry(dev, &hv.devices, node) {
		if (dev->desc.zone != arg->zone)
			continue;
		if (dev->desc.irq == arg->irq || (dev->desc.base < arg->base + arg->size &&
						  arg->base < dev->desc.base + dev->desc.size))
			return -EADDRINUSE;
	}
	return 0;
}

static int device_check(const struct hvisor_device_add *arg, struct region_shape *shape)
{
	*shape = (struct region_shape){
		.device_id = arg->device_id,
		.nqueues = arg->nqueues,
		.queue_size_max = arg->queue_size_max,
		.config_len = arg->config_len,
		.device_features = arg->features,
	};
	if (!region_shape_valid(shape) || arg->device_id == 0 || arg->irq == 0 || arg->irq >= DEVICE_IRQS ||
	    arg->size < VMMIO_WINDOW_MIN || arg->base + arg->size < arg->base || (arg->base | arg->size) % 8 ||
	    !arg->name[0] || strnlen(arg->name, HVISOR_NAME_MAX) == HVISOR_NAME_MAX)
		return -EINVAL;
	return 0;
}

static bool device_is_in_memory(const struct hvisor_device_add *arg, const struct hvisor_zone *zone)
{
	const struct hvisor_memory *memory;
	u32 i;

	for (i = 0; i < zone->nmemory; i++) {
		memory = &zone->memory[i];
		if (arg->base <= memory->zonex_ipa + memory->size - 1 && memory->zonex_ipa < arg->base + arg->size)
			return true;
	}
	return false;
}

static struct hvisor_dev *device_new(const struct hvisor_device_add *arg, const struct region_shape *shape,
				     struct hvisor_zone *zone)
{
	struct hvisor_dev *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	dev->region_size = region_size(shape);
	dev->region = vmalloc_user(dev->region_size);
	if (!dev->region) {
		kfree(dev);
		return NULL;
	}
	kref_init(&dev->ref);
	spin_lock_init(&dev->lock);
	INIT_WORK(&dev->cut_off_work, device_cut_off_work);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&dev->deadline, device_deadline, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
#else
	hrtimer_init(&dev->deadline, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	dev->deadline.function = device_deadline;
#endif
	dev->desc = *arg;
	dev->desc.existed = 0;
	dev->zone = zone;
	region_init(dev->region, shape, arg->config);
	vmmio_init(&dev->model, dev->region, shape, arg->config, arg->config_writable);
	hvisor_irq_init(dev);
	return dev;
}

/* Puts the device into the list, which is sorted by id, with the lowest id that is free. */
static void device_insert(struct hvisor_dev *dev)
{
	struct hvisor_dev *other;
	u32 id = 0;

	list_for_each_entry(other, &hv.devices, node) {
		if (other->desc.id != id)
			break;
		id++;
	}
	dev->desc.id = id;
	list_add_tail(&dev->node, &other->node);
	hv.ndevices++;
	dev->zone->ndevices++;
}

static void device_remove(struct hvisor_dev *dev)
{
	list_del(&dev->node);
	hv.ndevices--;
	dev->zone->ndevices--;
}

int hvisor_device_add(struct hvisor_device_add *arg)
{
	struct hvisor_zone *zone = hvisor_zone_find(arg->zone);
	struct hvisor_dev *dev = NULL;
	struct region_shape shape;
	int err;

	err = device_check(arg, &shape);
	if (err)
		return err;
	if (!zone)
		return -ENOENT;
	if (device_is_in_memory(arg, zone))
		return -EINVAL;
	err = device_find_conflict(arg, &dev);
	if (err < 0)
		return err;
	if (err == 1) {
		arg->id = dev->desc.id;
		arg->existed = 1;
		return 0;
	}
	if (hv.ndevices == HVISOR_DEVICES_MAX)
		return -ENOSPC;
	dev = device_new(arg, &shape, zone);
	if (!dev)
		return -ENOMEM;
	device_insert(dev);
	err = hvisor_drain_remap();
	if (err) {
		device_remove(dev);
		hvisor_device_put(dev);
		return err;
	}
	arg->id = dev->desc.id;
	arg->existed = 0;
	return 0;
}

/* Out of the map, so that nothing finds it; then its timers. The last reference may be a view's. */
static int device_del(struct hvisor_dev *dev)
{
	int err;

	device_remove(dev);
	err = hvisor_drain_remap();
	if (err) {
		device_insert(dev);
		return err;
	}
	hvisor_irq_stop(dev);
	hrtimer_cancel(&dev->deadline);
	hvisor_device_answer_held(dev);
	hvisor_device_put(dev);
	return 0;
}

int hvisor_device_del(u32 id)
{
	struct hvisor_dev *dev = hvisor_device_find(id);

	if (!dev)
		return -ENOENT;
	if (rcu_access_pointer(dev->attachment))
		return -EBUSY;
	return device_del(dev);
}

int hvisor_device_get(struct hvisor_device_get *arg)
{
	struct hvisor_dev *found = NULL;
	struct hvisor_dev *dev;
	unsigned long flags;
	u64 status = 0;

	list_for_each_entry(dev, &hv.devices, node) {
		if (dev->desc.id >= arg->id) {
			found = dev;
			break;
		}
	}
	if (!found)
		return -ENOENT;
	memset(arg, 0, sizeof(*arg));
	arg->id = dev->desc.id;
	arg->device = dev->desc;
	if (rcu_access_pointer(dev->attachment))
		arg->flags |= HVISOR_DEVICE_ATTACHED;
	if (dev->cut_off)
		arg->flags |= HVISOR_DEVICE_CUT_OFF;
	arg->owner_pid = dev->owner ? pid_vnr(dev->owner) : 0;
	spin_lock_irqsave(&dev->lock, flags);
	status = vmmio_status(&dev->model);
	if (dev->model.failed)
		arg->flags |= HVISOR_DEVICE_FAILED;
	arg->accesses = dev->model.accesses;
	arg->notifications = dev->model.notifications;
	arg->bad_accesses = dev->model.bad_accesses;
	arg->wait_max_ns = dev->wait_max_ns;
	arg->hold_max_ns = dev->hold_max_ns;
	spin_unlock_irqrestore(&dev->lock, flags);
	arg->status = (u32)status;
	arg->interrupts = READ_ONCE(dev->interrupts);
	arg->interrupts_again = READ_ONCE(dev->interrupts_again);
	arg->spurious = READ_ONCE(dev->spurious);
	return 0;
}

int hvisor_device_fail(const struct hvisor_device_fail *arg)
{
	struct hvisor_dev *dev = hvisor_device_find(arg->id);
	unsigned long flags;
	u32 effects = 0;

	if (!dev)
		return -ENOENT;
	if (arg->fail > 1)
		return -EINVAL;
	spin_lock_irqsave(&dev->lock, flags);
	if (arg->fail)
		effects = vmmio_fail(&dev->model);
	else
		vmmio_repair(&dev->model);
	spin_unlock_irqrestore(&dev->lock, flags);
	hvisor_effects(dev, effects);
	return 0;
}

int hvisor_device_kick(const struct hvisor_device_kick *arg)
{
	struct hvisor_dev *dev = hvisor_device_find(arg->id);

	if (!dev)
		return -ENOENT;
	if (arg->events & ~DEVICE_EVENTS)
		return -EINVAL;
	/* Whether it sleeps or not: the caller may want to know that it is alive. */
	vmmio_ring(dev->region, arg->events);
	hvisor_effects(dev, VMMIO_KICK);
	return 0;
}

int hvisor_device_owner(const struct hvisor_device_owner *arg)
{
	struct hvisor_dev *dev = hvisor_device_find(arg->id);
	struct pid *pid;

	if (!dev)
		return -ENOENT;
	pid = find_get_pid(arg->pid);
	if (!pid)
		return -ESRCH;
	put_pid(dev->owner);
	dev->owner = pid;
	return 0;
}

void hvisor_devices_finish(void)
{
	struct hvisor_dev *dev, *next;

	list_for_each_entry_safe(dev, next, &hv.devices, node) {
		hvisor_irq_stop(dev);
		hrtimer_cancel(&dev->deadline);
		flush_work(&dev->cut_off_work);
		device_remove(dev);
		hvisor_device_put(dev);
	}
}
