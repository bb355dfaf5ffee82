// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who drains the bridge, and when.
 *
 * Root's wakeup interrupt only schedules a tasklet, which runs after the end-of-interrupt: stock hvisor drops an edge
 * that arrives while the same interrupt is active in a list register, so an answer from within the handler could let
 * the zone's next request come in just that moment, and its CPU would spin for ever. After it has answered, the
 * tasklet polls for a short time, since accesses come in bursts.
 */
#define pr_fmt(fmt) "hvisor: " fmt

#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/of_irq.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "hvisor.h"
#include "hypercall.h"

#define DRAIN_BUDGET 64		/* requests between two looks at the clock */
#define DRAIN_RUN_NS 2000000	/* the longest run of the tasklet */
#define DRAIN_POLL_FIRST_NS 5000
#define DRAIN_POLL_LOOKS 32	/* at the ring between two looks at the clock, which costs more than they do */

static unsigned int poll_us = 50;
module_param(poll_us, uint, 0644);
MODULE_PARM_DESC(poll_us, "longest time to poll for the next access after one was answered, us; 0 never (default 50)");

static unsigned int recheck_us = 3;
module_param(recheck_us, uint, 0644);
MODULE_PARM_DESC(recheck_us, "how long to look for an access that crossed with going to sleep, us (default 3)");

static bool in_handler;
module_param(in_handler, bool, 0444);
MODULE_PARM_DESC(in_handler, "answer in the interrupt handler: only for a hypervisor that loses no edge");

static bool poll_thread;
module_param(poll_thread, bool, 0444);
MODULE_PARM_DESC(poll_thread, "poll in a kernel thread, which takes a whole CPU: for measurements");

static u64 drain_poll_ns;	/* the window now in force, under drain_lock */
static u64 drain_last_ns;	/* end of the last run */
static struct task_struct *drain_thread;

static struct hvisor_dev *drain_dev(const struct bridge_window *window)
{
	return window->owner;
}

static void drain_lock_dev(const struct bridge_window *window)
{
	struct hvisor_dev *dev = drain_dev(window);
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	dev->lock_flags = flags;
}

static void drain_unlock_dev(const struct bridge_window *window)
{
	struct hvisor_dev *dev = drain_dev(window);
	bool seen = dev->irq_state == HVISOR_IRQ_INJECTED && dev->irq_seen != dev->model.irq_acknowledges;
	u64 wakeup_ns = READ_ONCE(hv.wakeup_ns);

	if (wakeup_ns)
		dev->wait_max_ns = max(dev->wait_max_ns, ktime_get_ns() - wakeup_ns);
	spin_unlock_irqrestore(&dev->lock, dev->lock_flags);
	if (seen)
		hvisor_irq_check(dev);
}

static void drain_effects(const struct bridge_window *window, u32 effects)
{
	hvisor_effects(drain_dev(window), effects);
}

static const struct bridge_ops drain_ops = {
	.lock = drain_lock_dev,
	.unlock = drain_unlock_dev,
	.effects = drain_effects,
};

static void drain_kick(struct hvisor_dev *dev)
{
	struct hvisor_attachment *attachment;

	rcu_read_lock();
	attachment = rcu_dereference(dev->attachment);
	if (attachment)
		hvisor_eventfd_signal(attachment->kick);
	rcu_read_unlock();
}

void hvisor_effects(struct hvisor_dev *dev, u32 effects)
{
	if (effects & VMMIO_KICK)
		drain_kick(dev);
	if (effects & VMMIO_INTERRUPT)
		hvisor_irq_raise(dev);
	if (effects & VMMIO_HOLD)
		hvisor_device_hold(dev);
}

/* Drains until the ring stays empty. Under drain_lock. */
static u32 drain_all(void)
{
	u32 handled = 0;
	u32 n;

	while ((n = bridge_drain(&hv.bridge, &hv.map, &drain_ops, DRAIN_BUDGET)) > 0)
		handled += n;
	WRITE_ONCE(hv.wakeup_ns, 0);
	return handled;
}

/* Has root anything else to do on this CPU? */
static bool drain_disturbs(void)
{
	return need_resched() || (in_softirq() && local_softirq_pending());
}

/* Polls until end or until something comes; true if so. */
static bool drain_poll(u64 end, bool considerate)
{
	unsigned int looks;

	do {
		for (looks = 0; looks < DRAIN_POLL_LOOKS; looks++) {
			if (bridge_pending(&hv.bridge))
				return true;
			if (considerate && drain_disturbs())
				return false;
			cpu_relax();
		}
	} while (ktime_get_ns() < end);
	return false;
}

/* Bursts widen the window, polling in vain narrows it to nothing. */
static void drain_adapt(bool caught, u64 now)
{
	u64 most = (u64)poll_us * NSEC_PER_USEC;

	if (caught)
		drain_poll_ns = max_t(u64, drain_poll_ns * 2, DRAIN_POLL_FIRST_NS);
	else if (now - drain_last_ns < most)
		drain_poll_ns = max_t(u64, drain_poll_ns, DRAIN_POLL_FIRST_NS);
	else
		drain_poll_ns /= 2;
	drain_poll_ns = min(drain_poll_ns, most);
}

/* One run: answers, polls while it pays, and leaves with need_wakeup set and nothing lost. Under drain_lock. */
static void drain_run(bool poll)
{
	u64 start = ktime_get_ns();
	bool caught = false;
	u64 now = start;

	if (poll && poll_us) {
		bridge_set_need_wakeup(&hv.bridge, false);
		drain_all();
		drain_adapt(false, start);
		while (now - start < DRAIN_RUN_NS && drain_poll(now + drain_poll_ns, true)) {
			caught = true;
			drain_all();
			now = ktime_get_ns();
			drain_adapt(true, now);
		}
		if (!caught && drain_poll_ns)
			drain_poll_ns /= 2;
	}
	/*
	 * hvisor publishes a request and then reads need_wakeup with no barrier between: its store may still be on
	 * its way when ours is seen. Look on for longer than a store can hide.
	 */
	do {
		bridge_set_need_wakeup(&hv.bridge, true);
		drain_all();
	} while (drain_poll(ktime_get_ns() + (u64)recheck_us * NSEC_PER_USEC, false));
	drain_last_ns = ktime_get_ns();
}

static void drain_tasklet(struct tasklet_struct *tasklet)
{
	unsigned long flags;

	if (in_handler) {
		spin_lock_irqsave(&hv.drain_lock, flags);
		drain_run(false);
		spin_unlock_irqrestore(&hv.drain_lock, flags);
		return;
	}
	spin_lock(&hv.drain_lock);
	drain_run(true);
	spin_unlock(&hv.drain_lock);
}

static irqreturn_t drain_wakeup(int irq, void *arg)
{
	if (!READ_ONCE(hv.wakeup_ns))
		WRITE_ONCE(hv.wakeup_ns, ktime_get_ns());
	if (in_handler) {
		spin_lock(&hv.drain_lock);
		drain_run(false);
		spin_unlock(&hv.drain_lock);
	} else {
		tasklet_hi_schedule(&hv.tasklet);
	}
	return IRQ_HANDLED;
}

static int drain_thread_run(void *arg)
{
	bridge_set_need_wakeup(&hv.bridge, false);
	while (!kthread_should_stop()) {
		spin_lock_bh(&hv.drain_lock);
		drain_all();
		spin_unlock_bh(&hv.drain_lock);
		cond_resched();
		cpu_relax();
	}
	bridge_set_need_wakeup(&hv.bridge, true);
	return 0;
}

static int window_compare(const void *a, const void *b)
{
	const struct bridge_window *x = a;
	const struct bridge_window *y = b;

	if (x->zone != y->zone)
		return x->zone < y->zone ? -1 : 1;
	return x->base < y->base ? -1 : x->base > y->base;
}

int hvisor_drain_remap(void)
{
	struct bridge_window *windows = kcalloc(max_t(u32, hv.ndevices, 1), sizeof(*windows), GFP_KERNEL);
	struct bridge_window *old;
	struct hvisor_dev *dev;
	unsigned long flags;
	u32 n = 0;

	if (!windows)
		return -ENOMEM;
	list_for_each_entry(dev, &hv.devices, node) {
		if (dev->zone->stopping)
			continue;
		windows[n].zone = dev->desc.zone;
		windows[n].base = dev->desc.base;
		windows[n].size = dev->desc.size;
		windows[n].dev = &dev->model;
		windows[n].owner = dev;
		n++;
	}
	sort(windows, n, sizeof(*windows), window_compare, NULL);
	spin_lock_irqsave(&hv.drain_lock, flags);
	old = hv.windows;
	hv.windows = windows;
	hv.map.window = windows;
	hv.map.count = n;
	spin_unlock_irqrestore(&hv.drain_lock, flags);
	kfree(old);
	return 0;
}

/* The wakeup interrupt: of the device tree's node, or on x86_64 what hvisor says. */
static int drain_find_irq(void)
{
#ifdef CONFIG_OF_IRQ
	struct device_node *node = of_find_compatible_node(NULL, NULL, "hvisor");
	int irq;

	if (!node)
		return -ENODEV;
	irq = of_irq_get(node, 0);
	of_node_put(node);
	return irq ? irq : -ENODEV;
#else
	long irq = hypercall(HYPERCALL_VIRTIO_IRQ, 0, 0);

	return irq > 0 ? (int)irq : -ENODEV;
#endif
}

int hvisor_drain_init(void)
{
	int err;

	spin_lock_init(&hv.drain_lock);
	spin_lock_init(&hv.result_lock);
	tasklet_setup(&hv.tasklet, drain_tasklet);
	err = drain_find_irq();
	if (err < 0) {
		pr_err("no wakeup interrupt: the device tree has no node compatible with \"hvisor\" (%d)\n", err);
		return err;
	}
	hv.wakeup_irq = err;
	hv.page = (struct bridge_page *)get_zeroed_page(GFP_KERNEL);
	if (!hv.page)
		return -ENOMEM;
	bridge_init(&hv.bridge, hv.page);
	bridge_set_need_wakeup(&hv.bridge, true);
	err = hvisor_drain_remap();
	if (err)
		goto free_page;
	err = request_irq(hv.wakeup_irq, drain_wakeup, 0, "hvisor", &hv);
	if (err) {
		pr_err("wakeup interrupt %d: %d\n", hv.wakeup_irq, err);
		goto free_windows;
	}
	if (poll_thread) {
		drain_thread = kthread_run(drain_thread_run, NULL, "hvisor-poll");
		if (IS_ERR(drain_thread)) {
			err = PTR_ERR(drain_thread);
			drain_thread = NULL;
			goto free_irq;
		}
	}
	/* From here on hvisor writes to the page, and there is no call that takes it back. */
	err = hypercall(HYPERCALL_INIT_VIRTIO, virt_to_phys(hv.page), 0);
	if (err) {
		pr_err("hvisor refused the bridge page: %d\n", err);
		goto stop_thread;
	}
	return 0;

stop_thread:
	if (drain_thread)
		kthread_stop(drain_thread);
free_irq:
	free_irq(hv.wakeup_irq, &hv);
free_windows:
	kfree(hv.windows);
	hv.windows = NULL;
free_page:
	free_page((unsigned long)hv.page);
	hv.page = NULL;
	return err;
}

void hvisor_drain_finish(void)
{
	if (drain_thread)
		kthread_stop(drain_thread);
	free_irq(hv.wakeup_irq, &hv);
	tasklet_kill(&hv.tasklet);
	kfree(hv.windows);
	/* hv.page stays: hvisor knows its address for ever. */
}
