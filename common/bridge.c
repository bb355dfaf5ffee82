/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "bridge.h"

#define BRIDGE_INDEX_MASK (BRIDGE_SLOTS - 1)

CORE_ASSERT((BRIDGE_SLOTS & BRIDGE_INDEX_MASK) == 0);

void bridge_init(struct bridge *bridge, struct bridge_page *page)
{
	__builtin_memset(bridge, 0, sizeof(*bridge));
	bridge->page = page;
	bridge->req_front = core_load(&page->req_front) & BRIDGE_INDEX_MASK;
	bridge->res_rear = core_load(&page->res_rear) & BRIDGE_INDEX_MASK;
}

/* An index of hvisor's, within the ring whatever the page says: hvisor itself counts on with the same mask. */
static core_u32 bridge_index(struct bridge *bridge, const core_u32 *shared)
{
	core_u32 index = core_load_acquire(shared);

	if (index > BRIDGE_INDEX_MASK)
		bridge->bad++;
	return index & BRIDGE_INDEX_MASK;
}

bool bridge_pending(const struct bridge *bridge)
{
	return (core_load(&bridge->page->req_rear) & BRIDGE_INDEX_MASK) != core_load(&bridge->req_front);
}

void bridge_answer(struct bridge *bridge, core_u32 cpu, core_u64 value)
{
	struct bridge_page *page = bridge->page;

	if (cpu >= BRIDGE_CPUS)
		return;
	core_store(&page->cfg_values[cpu], value);
	core_store_release(&page->cfg_flags[cpu], core_load(&page->cfg_flags[cpu]) + 1);
}

void bridge_answer_mask(struct bridge *bridge, core_u32 cpus)
{
	core_u32 cpu;

	for (cpu = 0; cpu < BRIDGE_CPUS; cpu++) {
		if (cpus >> cpu & 1)
			bridge_answer(bridge, cpu, 0);
	}
}

bool bridge_push(struct bridge *bridge, core_u32 zone, core_u32 irq)
{
	struct bridge_page *page = bridge->page;
	core_u32 rear = bridge->res_rear;
	core_u32 next = (rear + 1) & BRIDGE_INDEX_MASK;

	if (next == bridge_index(bridge, &page->res_front))
		return false;
	core_store(&page->res[rear].target_zone, zone);
	core_store(&page->res[rear].irq, irq);
	bridge->res_rear = next;
	core_store_release(&page->res_rear, next);
	return true;
}

void bridge_set_need_wakeup(struct bridge *bridge, bool on)
{
	core_store(&bridge->page->need_wakeup, on ? 1 : 0);
	core_fence();
}

const struct bridge_window *bridge_find(const struct bridge_map *map, core_u32 zone, core_u64 address, core_u64 size)
{
	const struct bridge_window *window;
	core_u32 low = 0;
	core_u32 high = map->count; /* windows from high on begin after address */
	core_u32 middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		window = &map->window[middle];
		if (window->zone < zone || (window->zone == zone && window->base <= address))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	window = &map->window[low - 1];
	if (window->zone != zone || size == 0 || size > window->size || address - window->base > window->size - size)
		return NULL;
	return window;
}

/* The slot is hvisor's memory: read it once. */
static void bridge_copy_request(struct bridge_request *to, const struct bridge_request *from)
{
	to->src_cpu = core_load(&from->src_cpu);
	to->address = core_load(&from->address);
	to->size = core_load(&from->size);
	to->value = core_load(&from->value);
	to->src_zone = core_load(&from->src_zone);
	to->is_write = core_load(&from->is_write);
	to->need_interrupt = core_load(&from->need_interrupt);
	to->pad = 0;
}

static void bridge_handle(struct bridge *bridge, const struct bridge_map *map, const struct bridge_ops *ops,
			  const struct bridge_request *req)
{
	const struct bridge_window *window;
	core_u32 effects = 0;
	core_u32 size = req->size > 8 ? 0 : (core_u32)req->size; /* 0: the model calls it bad, as it does 3 */
	core_u64 value = 0;
	core_u64 offset;
	core_u32 cpu;

	if (req->src_cpu >= BRIDGE_CPUS) {
		bridge->bad++;
		return;
	}
	cpu = (core_u32)req->src_cpu;
	window = bridge_find(map, req->src_zone, req->address, req->size);
	offset = window ? req->address - window->base : 0;
	if (!window) {
		bridge->absent++;
	} else if (req->need_interrupt && offset != VMMIO_QUEUE_NOTIFY) {
		/* Its CPU does not wait, so it must not come to be held back. */
		bridge->bad++;
	} else {
		ops->lock(window);
		if (req->is_write)
			effects = vmmio_write(window->dev, offset, size, req->value, cpu);
		else
			effects = vmmio_read(window->dev, offset, size, &value);
		ops->unlock(window);
	}
	if (!req->need_interrupt && !(effects & VMMIO_HOLD))
		bridge_answer(bridge, cpu, value);
	if (effects)
		ops->effects(window, effects);
}

core_u32 bridge_drain(struct bridge *bridge, const struct bridge_map *map, const struct bridge_ops *ops,
		      core_u32 budget)
{
	struct bridge_page *page = bridge->page;
	core_u32 front = bridge->req_front;
	struct bridge_request req;
	core_u32 handled = 0;

	while (handled < budget && front != bridge_index(bridge, &page->req_rear)) {
		bridge_copy_request(&req, &page->req[front]);
		bridge_handle(bridge, map, ops, &req);
		front = (front + 1) & BRIDGE_INDEX_MASK;
		core_store(&bridge->req_front, front);
		core_store_release(&page->req_front, front);
		bridge->requests++;
		handled++;
	}
	return handled;
}
