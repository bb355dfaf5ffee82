// SPDX-License-Identifier: GPL-2.0-only
/* The module, and /dev/hvisor: the calls of hvisor_uapi.h. */
#define pr_fmt(fmt) "hvisor: " fmt

#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "hvisor.h"

struct hvisor hv = {
	.mutex = __MUTEX_INITIALIZER(hv.mutex),
	.zones = LIST_HEAD_INIT(hv.zones),
	.devices = LIST_HEAD_INIT(hv.devices),
	.event_lock = __SPIN_LOCK_UNLOCKED(hv.event_lock),
};

void hvisor_event(u32 type, u32 id)
{
	struct hvisor_event_next *event;
	unsigned long flags;

	spin_lock_irqsave(&hv.event_lock, flags);
	if (hv.event_count == HVISOR_EVENTS) {
		hv.events_lost++;
	} else {
		event = &hv.events[(hv.event_head + hv.event_count++) % HVISOR_EVENTS];
		event->type = type;
		event->id = id;
	}
	if (hv.event_ctx)
		hvisor_eventfd_signal(hv.event_ctx);
	spin_unlock_irqrestore(&hv.event_lock, flags);
}

static int hvisor_event_next(struct hvisor_event_next *arg)
{
	unsigned long flags;
	int err = -EAGAIN;

	spin_lock_irqsave(&hv.event_lock, flags);
	if (hv.event_count) {
		*arg = hv.events[hv.event_head];
		arg->lost = hv.events_lost;
		hv.event_head = (hv.event_head + 1) % HVISOR_EVENTS;
		hv.event_count--;
		hv.events_lost = 0;
		err = 0;
	}
	spin_unlock_irqrestore(&hv.event_lock, flags);
	return err;
}

static int hvisor_info(struct hvisor_info *arg)
{
	struct eventfd_ctx *old, *new = NULL;
	unsigned long flags;

	if (arg->event_fd >= 0) {
		new = eventfd_ctx_fdget(arg->event_fd);
		if (IS_ERR(new))
			return PTR_ERR(new);
		spin_lock_irqsave(&hv.event_lock, flags);
		old = hv.event_ctx;
		hv.event_ctx = new;
		if (hv.event_count)
			hvisor_eventfd_signal(new);
		spin_unlock_irqrestore(&hv.event_lock, flags);
		if (old)
			eventfd_ctx_put(old);
	}
	arg->abi_version = HVISOR_ABI_VERSION;
	arg->devices_max = HVISOR_DEVICES_MAX;
	strscpy(arg->name, "hvisor.ko", sizeof(arg->name));
	return 0;
}

/* Under hv.mutex; arg is a private copy, as long as cmd says. */
static int hvisor_call(unsigned int cmd, void *arg)
{
	switch (cmd) {
	case HVISOR_INFO:
		return hvisor_info(arg);
	case HVISOR_ZONE_SET:
		return hvisor_zone_set(arg);
	case HVISOR_DEVICE_ADD:
		return hvisor_device_add(arg);
	case HVISOR_DEVICE_GET:
		return hvisor_device_get(arg);
	case HVISOR_DEVICE_ATTACH:
		return hvisor_device_attach(arg);
	case HVISOR_DEVICE_OWNER:
		return hvisor_device_owner(arg);
	case HVISOR_DEVICE_VIEW:
		return hvisor_device_view(arg);
	case HVISOR_DEVICE_KICK:
		return hvisor_device_kick(arg);
	case HVISOR_DEVICE_FAIL:
		return hvisor_device_fail(arg);
	case HVISOR_DEVICE_DEL:
		return hvisor_device_del(((struct hvisor_device_del *)arg)->id);
	case HVISOR_EVENT_NEXT:
		return hvisor_event_next(arg);
	case HVISOR_CONFIG_VERSION:
		return hvisor_config_check(&((struct hvisor_config_version *)arg)->version);
	case HVISOR_ZONE_LOAD:
		return hvisor_zone_load(arg);
	case HVISOR_ZONE_START:
		return hvisor_zone_start(arg);
	case HVISOR_ZONE_SHUTDOWN:
		return hvisor_zone_shutdown(((struct hvisor_zone_shutdown *)arg)->zone);
	case HVISOR_MEMORY_CHECK:
		return hvisor_memory_check_range(((struct hvisor_memory_check *)arg)->zone0_ipa,
						 ((struct hvisor_memory_check *)arg)->size);
	case HVISOR_ZONE_LIST:
		return hvisor_zone_list(arg);
	default:
		return -ENOTTY;
	}
}

static long hvisor_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	void __user *data = (void __user *)user;
	size_t size = _IOC_SIZE(cmd);
	void *arg;
	long err;

	if (_IOC_TYPE(cmd) != HVISOR_IOC_MAGIC || _IOC_DIR(cmd) != (_IOC_READ | _IOC_WRITE) || size == 0 ||
	    size > sizeof(struct hvisor_zone_list))
		return -ENOTTY;
	arg = memdup_user(data, size);
	if (IS_ERR(arg))
		return PTR_ERR(arg);
	mutex_lock(&hv.mutex);
	err = hvisor_call(cmd, arg);
	mutex_unlock(&hv.mutex);
	if (!err && copy_to_user(data, arg, size))
		err = -EFAULT;
	kfree(arg);
	return err;
}

static int hvisor_open(struct inode *inode, struct file *file)
{
	return capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static const struct file_operations hvisor_fops = {
	.owner = THIS_MODULE,
	.open = hvisor_open,
	.unlocked_ioctl = hvisor_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice hvisor_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hvisor",
	.mode = 0600,
	.fops = &hvisor_fops,
};

static int __init hvisor_init(void)
{
	int err;

	/* A zone that runs already knows a bridge page, and a second one must not be registered. */
	err = hvisor_zones_any();
	if (err) {
		pr_err("a zone runs, or hvisor does not answer (%d): load the module before any zone starts\n", err);
		return err < 0 ? err : -EBUSY;
	}
	err = hvisor_drain_init();
	if (err)
		return err;
	err = misc_register(&hvisor_misc);
	if (err)
		hvisor_drain_finish();
	return err;
}

static void __exit hvisor_exit(void)
{
	misc_deregister(&hvisor_misc);
	hvisor_drain_finish();
	hvisor_devices_finish();
	hvisor_zones_finish();
	hvisor_attachments_finish();
	if (hv.event_ctx)
		eventfd_ctx_put(hv.event_ctx);
}

module_init(hvisor_init);
module_exit(hvisor_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Virtio devices of hvisor's zones, each served by a process of its own");
