// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts to zones.
 *
 * hvisor asserts when too many distinct interrupts are pending for one CPU, so only a few of a zone are outstanding at
 * a time; the others wait for a driver to write InterruptACK, which the register model sees. And stock hvisor loses
 * interrupts (an injection while the same interrupt is active is dropped), so one that nobody acknowledged is injected
 * again, a bounded number of times at growing intervals. A repeated interrupt is harmless to a driver.
 *
 * The answer to a repeated interrupt often is that InterruptStatus reads 0 and that 0 is acknowledged. What the backend
 * has to say meanwhile is not in that answer, and its injection may just have been dropped. So as with a level-triggered
 * interrupt, bits that are still set after an acknowledgement are a reason for the next one.
 *
 * When to repeat it depends on the machine: a driver looks within microseconds on silicon, but within many milliseconds
 * on an emulated CPU that shares its host. So the interval follows what the driver takes, as TCP's retransmission timer
 * does: at least twice the time of the last answer, falling slowly, and twice as long after each repetition, because
 * nobody can tell whether the answer behind that was to the first or to the second interrupt.
 */
#include <linux/module.h>

#include "hvisor.h"
#include "hypercall.h"

#define IRQ_OUTSTANDING_MAX 6	/* of a zone; hvisor's limit is 8 for a CPU */
#define IRQ_TRIES_MAX 10
#define IRQ_FIRST_MIN 1000000ull	/* ns, until the first repetition; doubled with each */
#define IRQ_FIRST_MAX 64000000ull
#define IRQ_FIRST_START 10000000ull
#define IRQ_AGAIN_MAX 1000000000ull

static void irq_push(u32 zone, u32 irq)
{
	unsigned long flags;

	spin_lock_irqsave(&hv.result_lock, flags);
	while (!bridge_push(&hv.bridge, zone, irq))
		hypercall(HYPERCALL_INJECT_IRQ, 0, 0);
	hypercall(HYPERCALL_INJECT_IRQ, 0, 0);
	spin_unlock_irqrestore(&hv.result_lock, flags);
}

/* Under zone->irq_lock. */
static void irq_inject(struct hvisor_dev *dev)
{
	dev->irq_state = HVISOR_IRQ_INJECTED;
	dev->irq_seen = READ_ONCE(dev->model.irq_acknowledges);
	dev->irq_tries = 0;
	dev->irq_since = ktime_get_ns();
	dev->interrupts++;
	dev->zone->outstanding++;
	irq_push(dev->desc.zone, dev->desc.irq);
	hrtimer_start(&dev->irq_timer, ns_to_ktime(dev->irq_first), HRTIMER_MODE_REL_SOFT);
}

/* Under zone->irq_lock: the driver has acknowledged. */
static void irq_learn(struct hvisor_dev *dev)
{
	u64 taken = ktime_get_ns() - dev->irq_since;
	u64 first = dev->irq_first;

	if (dev->irq_tries)
		first *= 2;
	else
		first = max(first - first / 8, 2 * taken);
	dev->irq_first = clamp(first, IRQ_FIRST_MIN, IRQ_FIRST_MAX);
}

/* Under zone->irq_lock: the device's interrupt is no longer outstanding; the next may go. */
static void irq_done(struct hvisor_dev *dev)
{
	struct hvisor_zone *zone = dev->zone;
	struct hvisor_dev *next;

	dev->irq_state = HVISOR_IRQ_IDLE;
	zone->outstanding--;
	next = list_first_entry_or_null(&zone->waiting, struct hvisor_dev, irq_node);
	if (next) {
		list_del_init(&next->irq_node);
		irq_inject(next);
	}
}

static bool irq_is_seen(const struct hvisor_dev *dev)
{
	return dev->irq_seen != READ_ONCE(dev->model.irq_acknowledges);
}

static bool irq_is_pending(const struct hvisor_dev *dev)
{
	return core_load(&dev->region->irq.interrupt_status) & (REGION_INT_USED | REGION_INT_CONFIG);
}

/* Under zone->irq_lock: injects now, or when another device's interrupt is done. */
static void irq_begin(struct hvisor_dev *dev)
{
	struct hvisor_zone *zone = dev->zone;

	if (dev->irq_state != HVISOR_IRQ_IDLE || !READ_ONCE(zone->up))
		return;
	if (zone->outstanding < IRQ_OUTSTANDING_MAX) {
		irq_inject(dev);
	} else {
		dev->irq_state = HVISOR_IRQ_WAITING;
		list_add_tail(&dev->irq_node, &zone->waiting);
	}
}

/* Under zone->irq_lock. */
static void irq_done_if_seen(struct hvisor_dev *dev)
{
	if (dev->irq_state != HVISOR_IRQ_INJECTED || !irq_is_seen(dev))
		return;
	irq_learn(dev);
	irq_done(dev);
	if (irq_is_pending(dev))
		irq_begin(dev);
}

void hvisor_irq_raise(struct hvisor_dev *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->zone->irq_lock, flags);
	irq_done_if_seen(dev);
	irq_begin(dev);
	spin_unlock_irqrestore(&dev->zone->irq_lock, flags);
}

void hvisor_irq_check(struct hvisor_dev *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->zone->irq_lock, flags);
	irq_done_if_seen(dev);
	spin_unlock_irqrestore(&dev->zone->irq_lock, flags);
}

static enum hrtimer_restart irq_timer(struct hrtimer *timer)
{
	struct hvisor_dev *dev = container_of(timer, struct hvisor_dev, irq_timer);
	enum hrtimer_restart restart = HRTIMER_NORESTART;
	unsigned long flags;

	spin_lock_irqsave(&dev->zone->irq_lock, flags);
	irq_done_if_seen(dev);
	if (dev->irq_state == HVISOR_IRQ_INJECTED && !hrtimer_is_queued(timer)) {
		if (!irq_is_pending(dev) || ++dev->irq_tries > IRQ_TRIES_MAX || !READ_ONCE(dev->zone->up)) {
			irq_done(dev);
		} else {
			dev->interrupts_again++;
			irq_push(dev->desc.zone, dev->desc.irq);
			hrtimer_forward_now(timer, ns_to_ktime(min(dev->irq_first << dev->irq_tries, IRQ_AGAIN_MAX)));
			restart = HRTIMER_RESTART;
		}
	}
	spin_unlock_irqrestore(&dev->zone->irq_lock, flags);
	return restart;
}

void hvisor_irq_init(struct hvisor_dev *dev)
{
	INIT_LIST_HEAD(&dev->irq_node);
	dev->irq_first = IRQ_FIRST_START;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&dev->irq_timer, irq_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
#else
	hrtimer_init(&dev->irq_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	dev->irq_timer.function = irq_timer;
#endif
}

void hvisor_irq_stop(struct hvisor_dev *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->zone->irq_lock, flags);
	if (dev->irq_state == HVISOR_IRQ_INJECTED)
		irq_done(dev);
	else if (dev->irq_state == HVISOR_IRQ_WAITING)
		list_del_init(&dev->irq_node);
	dev->irq_state = HVISOR_IRQ_IDLE;
	spin_unlock_irqrestore(&dev->zone->irq_lock, flags);
	hrtimer_cancel(&dev->irq_timer);
}
