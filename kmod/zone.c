// SPDX-License-Identifier: GPL-2.0-only
/* Zones: their memory, and what hvisor does with them. */
#define pr_fmt(fmt) "hvisor: " fmt

#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "hvisor.h"
#include "hypercall.h"

#define ZONE_LOAD_CHUNK (1u << 20)
#define ZONE_CONFIG_VERSION_MIN 5
#define ZONE_CONFIG_VERSION_MAX 6
#define ZONE_CONFIG_REGIONS_MAX 64
#define ZONE_CONFIG_VIRTIO 2	/* type of a region without memory: RAM is 0, I/O 1 */

/* What the configurations of these versions begin with on all architectures (hvisor's src/config.rs). */
struct zone_config_head {
	u32 zone_id;
	u64 cpus;
	u32 nregions;
	struct {
		u32 type;
		u64 physical_start;
		u64 virtual_start;
		u64 size;
	} region[ZONE_CONFIG_REGIONS_MAX];
};

/* Those that were started and have not been seen to end: each holds the module. Under hv.mutex. */
static DECLARE_BITMAP(zones_started, HVISOR_ZONES_MAX);

struct hvisor_zone *hvisor_zone_find(u32 id)
{
	struct hvisor_zone *zone;

	list_for_each_entry(zone, &hv.zones, node) {
		if (zone->id == id)
			return zone;
	}
	return NULL;
}

int hvisor_zone_list(struct hvisor_zone_list *arg)
{
	u32 room = min_t(u32, arg->count, HVISOR_ZONES_MAX);
	struct hvisor_zone_info *zones;
	long n;

	/* hvisor's own layout of an entry is the same as ours. */
	zones = kcalloc(HVISOR_ZONES_MAX, sizeof(*zones), GFP_KERNEL);
	if (!zones)
		return -ENOMEM;
	n = hypercall(HYPERCALL_ZONE_LIST, virt_to_phys(zones), HVISOR_ZONES_MAX);
	if (n >= 0) {
		memset(arg, 0, sizeof(*arg));
		arg->count = min_t(u32, n, room);
		memcpy(arg->zones, zones, arg->count * sizeof(*zones));
	}
	kfree(zones);
	return n < 0 ? n : 0;
}

/* 1 if hvisor says that the zone runs, 0 if not, or a negative error. Zone 0 stands for any zone but root's. */
static int zone_runs(u32 id)
{
	struct hvisor_zone_list *list = kzalloc(sizeof(*list), GFP_KERNEL);
	int result;
	u32 i;

	if (!list)
		return -ENOMEM;
	list->count = HVISOR_ZONES_MAX;
	result = hvisor_zone_list(list);
	for (i = 0; result == 0 && i < list->count; i++)
		result = id ? list->zones[i].zone == id : list->zones[i].zone != 0;
	kfree(list);
	return result;
}

int hvisor_zones_any(void)
{
	return zone_runs(0);
}

static bool zone_overlaps(const struct hvisor_zone *zone, const struct hvisor_zone_set *arg)
{
	const struct hvisor_memory *a, *b;
	u32 i, k;

	for (i = 0; i < zone->nmemory; i++) {
		for (k = 0; k < arg->nmemory; k++) {
			a = &zone->memory[i];
			b = &arg->memory[k];
			if (a->zone0_ipa < b->zone0_ipa + b->size && b->zone0_ipa < a->zone0_ipa + a->size)
				return true;
		}
	}
	return false;
}

static int zone_new(u32 id, struct hvisor_zone **out)
{
	struct hvisor_zone *zone;
	int up = zone_runs(id);

	if (up < 0)
		return up;
	zone = kzalloc(sizeof(*zone), GFP_KERNEL);
	if (!zone)
		return -ENOMEM;
	zone->id = id;
	zone->up = up;
	init_rwsem(&zone->memory_sem);
	spin_lock_init(&zone->irq_lock);
	INIT_LIST_HEAD(&zone->waiting);
	list_add_tail(&zone->node, &hv.zones);
	*out = zone;
	return 0;
}

int hvisor_zone_set(const struct hvisor_zone_set *arg)
{
	struct hvisor_zone *zone, *other;
	int err;

	if (arg->zone == 0 || arg->zone >= HVISOR_ZONES_MAX)
		return -EINVAL;
	err = hvisor_memory_check(arg->memory, arg->nmemory);
	if (err)
		return err;
	zone = hvisor_zone_find(arg->zone);
	if (zone && zone->nmemory == arg->nmemory &&
	    memcmp(zone->memory, arg->memory, arg->nmemory * sizeof(arg->memory[0])) == 0)
		return 0;
	if (zone && zone->ndevices)
		return -EBUSY;
	list_for_each_entry(other, &hv.zones, node) {
		if (other != zone && zone_overlaps(other, arg))
			return -EADDRINUSE;
	}
	if (!zone) {
		err = zone_new(arg->zone, &zone);
		if (err)
			return err;
	}
	zone->nmemory = arg->nmemory;
	memcpy(zone->memory, arg->memory, sizeof(zone->memory));
	return 0;
}

int hvisor_config_check(u64 *version)
{
	u64 *answer = kzalloc(sizeof(*answer), GFP_KERNEL);
	long err;

	if (!answer)
		return -ENOMEM;
	err = hypercall(HYPERCALL_CONFIG_CHECK, virt_to_phys(answer), 0);
	*version = *answer;
	kfree(answer);
	return err < 0 ? err : 0;
}

/* A zone begins with its caches off: what we wrote must be in memory. */
static void zone_clean_cache(void *start, size_t size)
{
#ifdef CONFIG_ARM64
	unsigned long line = 4ul << (read_sysreg(ctr_el0) >> 16 & 0xf);
	unsigned long address = (unsigned long)start & ~(line - 1);

	for (; address < (unsigned long)start + size; address += line)
		asm volatile("dc civac, %0" : : "r"(address) : "memory");
	dsb(sy);
#endif
}

static int zone_load_chunk(u64 to, const void __user *from, size_t size)
{
	void *window = memremap(to & PAGE_MASK, PAGE_ALIGN(size + offset_in_page(to)), MEMREMAP_WB);
	int err = 0;

	if (!window)
		return -ENOMEM;
	if (copy_from_user(window + offset_in_page(to), from, size))
		err = -EFAULT;
	zone_clean_cache(window + offset_in_page(to), size);
	memunmap(window);
	return err;
}

static void zone_set_up(struct hvisor_zone *zone, bool up)
{
	if (!zone)
		return;
	down_write(&zone->memory_sem);
	zone->up = up;
	up_write(&zone->memory_sem);
}

/* The zone does not run any more: its devices are reset, its memory is taken away from their backends. */
static void zone_clear(struct hvisor_zone *zone)
{
	hvisor_devices_reset(zone);
	zone_set_up(zone, false);
	hvisor_devices_revoke(zone);
}

/* Takes the module's reference of a zone that was started. */
static void zone_down(u32 id)
{
	clear_bit(id, zones_started);
	module_put(THIS_MODULE);
	hvisor_event(HVISOR_EVENT_ZONE_DOWN, id);
}

/*
 * hvisor tells nobody that a zone has switched itself off: what a shutdown does is done when it is found gone, and
 * before anything is written to its memory. False: nothing was left of it. Only for a zone that does not run.
 */
static bool zone_finish_gone(u32 id)
{
	struct hvisor_zone *zone = hvisor_zone_find(id);

	if (id >= HVISOR_ZONES_MAX || !test_bit(id, zones_started))
		return false;
	if (zone)
		zone_clear(zone);
	zone_down(id);
	return true;
}

int hvisor_zone_load(const struct hvisor_zone_load *arg)
{
	struct hvisor_memory range = {
		.zone0_ipa = arg->zone0_ipa & PAGE_MASK,
		.zonex_ipa = 0,
		.size = PAGE_ALIGN(arg->size + offset_in_page(arg->zone0_ipa)),
	};
	u64 done = 0;
	size_t size;
	int err;

	if (arg->size == 0 || arg->size > U32_MAX)
		return -EINVAL;
	err = hvisor_memory_check(&range, 1);
	if (err)
		return err;
	err = zone_runs(arg->zone);
	if (err)
		return err < 0 ? err : -EBUSY;
	zone_finish_gone(arg->zone);
	while (done < arg->size) {
		size = min_t(u64, arg->size - done, ZONE_LOAD_CHUNK);
		err = zone_load_chunk(arg->zone0_ipa + done, u64_to_user_ptr(arg->data + done), size);
		if (err)
			return err;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		done += size;
	}
	return 0;
}

/* hvisor takes any memory for a zone: that none of it is root's own is seen to here. */
static int zone_config_check(const struct zone_config_head *config, u32 zone)
{
	u64 version = 0;
	int err = hvisor_config_check(&version);
	u32 i;

	if (err)
		return err;
	if (version < ZONE_CONFIG_VERSION_MIN || version > ZONE_CONFIG_VERSION_MAX)
		return -EOPNOTSUPP;
	if (config->zone_id != zone || config->nregions > ZONE_CONFIG_REGIONS_MAX)
		return -EINVAL;
	for (i = 0; i < config->nregions && !err; i++) {
		if (config->region[i].type != ZONE_CONFIG_VIRTIO)
			err = hvisor_memory_check_range(config->region[i].physical_start, config->region[i].size);
	}
	return err;
}

int hvisor_zone_start(const struct hvisor_zone_start *arg)
{
	struct hvisor_zone *zone = hvisor_zone_find(arg->zone);
	void *config;
	long err;

	if (arg->zone == 0 || arg->zone >= HVISOR_ZONES_MAX || arg->size < sizeof(struct zone_config_head) ||
	    arg->size > HVISOR_ZONE_CONFIG_MAX)
		return -EINVAL;
	err = zone_runs(arg->zone);
	if (err)
		return err < 0 ? err : -EBUSY;
	config = memdup_user(u64_to_user_ptr(arg->config), arg->size);
	if (IS_ERR(config))
		return PTR_ERR(config);
	err = zone_config_check(config, arg->zone);
	if (err) {
		kfree(config);
		return err;
	}
	zone_finish_gone(arg->zone);
	/* While a zone runs somebody has to answer it: that is this module. */
	__module_get(THIS_MODULE);
	zone_set_up(zone, true);
	err = hypercall(HYPERCALL_ZONE_START, virt_to_phys(config), arg->size);
	if (err < 0) {
		zone_set_up(zone, false);
		module_put(THIS_MODULE);
	} else {
		set_bit(arg->zone, zones_started);
		hvisor_event(HVISOR_EVENT_ZONE_UP, arg->zone);
	}
	kfree(config);
	return err < 0 ? err : 0;
}

static long zone_stop_on(void *id)
{
	return hypercall(HYPERCALL_ZONE_SHUTDOWN, *(u32 *)id, 0);
}

/*
 * hvisor stops the zone's CPUs one by one and waits for each; one of them may be waiting for our answer meanwhile. The
 * CPU that makes the hypercall takes no interrupts, so it must not be the one that gets the wakeup interrupt, which
 * is root's first.
 */
static long zone_stop(u32 id)
{
	unsigned int first, cpu;

	cpus_read_lock();
	first = cpumask_first(cpu_online_mask);
	cpu = cpumask_any_but(cpu_online_mask, first);
	cpus_read_unlock();
	if (cpu >= nr_cpu_ids)
		return zone_stop_on(&id);
	return work_on_cpu(cpu, zone_stop_on, &id);
}

/*
 * The zone's windows are taken away first, so nothing of it can be held back or set up again; then its devices become
 * quiet; then hvisor stops it (a CPU that waited for an answer then would block root); then its memory goes.
 */
int hvisor_zone_shutdown(u32 id)
{
	struct hvisor_zone *zone = hvisor_zone_find(id);
	long err;

	if (id == 0 || id >= HVISOR_ZONES_MAX)
		return -EINVAL;
	err = zone_runs(id);
	if (err < 0)
		return err;
	if (err == 0)
		return zone_finish_gone(id) ? 0 : -ENOENT;
	if (zone) {
		zone->stopping = true;
		err = hvisor_drain_remap();
		if (!err) {
			hvisor_devices_reset(zone);
			err = zone_stop(id);
		}
		zone->stopping = false;
		if (err >= 0) {
			zone_set_up(zone, false);
			hvisor_devices_revoke(zone);
		}
		if (hvisor_drain_remap())
			pr_err("zone %u: no memory to show it its devices again\n", id);
	} else {
		err = zone_stop(id);
	}
	if (err < 0)
		return err;
	zone_down(id);
	return 0;
}

void hvisor_zones_finish(void)
{
	struct hvisor_zone *zone, *next;

	list_for_each_entry_safe(zone, next, &hv.zones, node) {
		list_del(&zone->node);
		kfree(zone);
	}
}
