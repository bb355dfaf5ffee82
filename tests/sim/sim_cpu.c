/* SPDX-License-Identifier: MIT */
/* The guest's CPUs, hvisor's part in their accesses, and the drain of the bridge. */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A CPU that waits spins, then lets others run, then sleeps between looks: only a held-back reset takes so long. */
#define SIM_SPINS 200u
#define SIM_YIELDS 2000u
#define SIM_NAP_NS 20000

#define SIM_DRAIN_BUDGET 64u

static void sim_lock_window(const struct bridge_window *window)
{
	struct sim_device *device = window->owner;

	pthread_mutex_lock(&device->lock);
}

static void sim_unlock_window(const struct bridge_window *window)
{
	struct sim_device *device = window->owner;

	pthread_mutex_unlock(&device->lock);
}

static void sim_effects(const struct bridge_window *window, core_u32 effects)
{
	struct sim_device *device = window->owner;

	if (effects & VMMIO_KICK)
		sim_device_kick(device);
	if (effects & VMMIO_INTERRUPT)
		sim_device_interrupt(device);
	if (effects & VMMIO_HOLD)
		sim_device_hold(device);
}

static const struct bridge_ops sim_bridge_ops = {
	.lock = sim_lock_window,
	.unlock = sim_unlock_window,
	.effects = sim_effects,
};

/*
 * What the wakeup interrupt does. Whoever finds the drain taken may leave: the holder looks at the ring once more
 * after it let go.
 */
static void sim_wakeup(struct sim *sim)
{
	do {
		if (pthread_mutex_trylock(&sim->drain_lock) != 0)
			return;
		while (bridge_drain(&sim->bridge, &sim->map->map, &sim_bridge_ops, SIM_DRAIN_BUDGET) != 0)
			;
		pthread_mutex_unlock(&sim->drain_lock);
		core_fence();
	} while (bridge_pending(&sim->bridge));
}

void sim_drain_lock(struct sim *sim)
{
	pthread_mutex_lock(&sim->drain_lock);
}

void sim_drain_unlock(struct sim *sim)
{
	pthread_mutex_unlock(&sim->drain_lock);
	core_fence();
	if (bridge_pending(&sim->bridge))
		sim_wakeup(sim);
}

/* hvisor: the request ring is its own, under one lock, and a CPU that finds it full waits there. */
static void sim_push(struct sim *sim, const struct bridge_request *request)
{
	struct bridge_page *page = sim->page;
	uint32_t rear;

	pthread_mutex_lock(&sim->hv_lock);
	rear = page->req_rear;
	while ((rear + 1) % BRIDGE_SLOTS == core_load_acquire(&page->req_front)) {
		sim_wakeup(sim);
		sched_yield();
	}
	page->req[rear] = *request;
	core_store_release(&page->req_rear, (rear + 1) % BRIDGE_SLOTS);
	pthread_mutex_unlock(&sim->hv_lock);
	core_fence();
	if (core_load(&page->need_wakeup))
		sim_wakeup(sim);
}

static void sim_spin(const struct bridge_page *page, uint32_t cpu, uint64_t seen)
{
	const struct timespec nap = {0, SIM_NAP_NS};
	uint32_t turns = 0;

	while (core_load_acquire(&page->cfg_flags[cpu]) == seen) {
		if (++turns < SIM_SPINS)
			continue;
		if (turns < SIM_YIELDS)
			sched_yield();
		else
			nanosleep(&nap, NULL);
	}
}

static void sim_note_max(uint64_t *max, uint64_t value)
{
	uint64_t old = core_load(max);

	while (value > old && !__atomic_compare_exchange_n(max, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static uint64_t sim_access(struct sim *sim, struct bridge_request *request)
{
	const struct sim_map *map = __atomic_load_n(&sim->map, __ATOMIC_ACQUIRE);
	const struct bridge_window *window = bridge_find(&map->map, request->src_zone, request->address, request->size);
	struct sim_device *device = window ? window->owner : NULL;
	struct bridge_page *page = sim->page;
	uint32_t cpu = (uint32_t)request->src_cpu;
	uint64_t begin;
	uint64_t holds;
	uint64_t seen;

	if (request->is_write &&
	    request->address - (window ? window->base : request->address & ~0x1ffull) == VMMIO_QUEUE_NOTIFY) {
		request->need_interrupt = 1;
		sim_push(sim, request);
		return 0;
	}
	seen = core_load(&page->cfg_flags[cpu]);
	holds = device ? core_load(&device->holds) : 0;
	begin = sim_now_ns();
	sim_push(sim, request);
	sim_spin(page, cpu, seen);
	if (device && core_load(&device->holds) == holds)
		sim_note_max(&device->wait_max_ns, sim_now_ns() - begin);
	return core_load(&page->cfg_values[cpu]);
}

uint64_t sim_mmio_read(struct sim *sim, uint32_t zone, uint32_t cpu, uint64_t address, uint32_t size)
{
	struct bridge_request request = {.src_cpu = cpu, .address = address, .size = size, .src_zone = zone};

	return cpu < BRIDGE_CPUS ? sim_access(sim, &request) : 0;
}

void sim_mmio_write(struct sim *sim, uint32_t zone, uint32_t cpu, uint64_t address, uint32_t size, uint64_t value)
{
	struct bridge_request request = {
		.src_cpu = cpu, .address = address, .size = size, .value = value, .src_zone = zone, .is_write = 1};

	if (cpu < BRIDGE_CPUS)
		sim_access(sim, &request);
}

/* hvisor: takes the result ring and gives each guest its interrupt. */
static void sim_hypercall_inject(struct sim *sim)
{
	struct bridge_page *page = sim->page;
	uint32_t front = page->res_front;
	struct bridge_result *result;
	struct sim_irq *irq;

	while (front != core_load_acquire(&page->res_rear)) {
		result = &page->res[front];
		front = (front + 1) % BRIDGE_SLOTS;
		core_store_release(&page->res_front, front);
		irq = &sim->irq[result->target_zone * SIM_IRQS + result->irq];
		__atomic_fetch_add(&irq->count, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&irq->waiters, __ATOMIC_SEQ_CST) != 0)
			syscall(SYS_futex, &irq->count, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	}
}

void sim_inject(struct sim *sim, uint32_t zone, uint32_t irq)
{
	pthread_mutex_lock(&sim->inject_lock);
	while (!bridge_push(&sim->bridge, zone, irq))
		sim_hypercall_inject(sim);
	sim_hypercall_inject(sim);
	pthread_mutex_unlock(&sim->inject_lock);
}

static struct sim_irq *sim_irq_at(const struct sim *sim, uint32_t zone, uint32_t irq)
{
	return &sim->irq[(zone % HVISOR_ZONES_MAX) * SIM_IRQS + irq % SIM_IRQS];
}

uint32_t sim_irq_count(const struct sim *sim, uint32_t zone, uint32_t irq)
{
	return __atomic_load_n(&sim_irq_at(sim, zone, irq)->count, __ATOMIC_ACQUIRE);
}

uint32_t sim_irq_wait(struct sim *sim, uint32_t zone, uint32_t irq, uint32_t seen, int timeout_ms)
{
	struct sim_irq *line = sim_irq_at(sim, zone, irq);
	uint64_t end = timeout_ms < 0 ? UINT64_MAX : sim_now_ns() + (uint64_t)timeout_ms * 1000000u;
	struct timespec left;
	uint32_t count;
	uint64_t now;

	__atomic_fetch_add(&line->waiters, 1, __ATOMIC_SEQ_CST);
	while ((count = __atomic_load_n(&line->count, __ATOMIC_SEQ_CST)) == seen) {
		now = sim_now_ns();
		if (now >= end)
			break;
		left = (struct timespec){(time_t)((end - now) / 1000000000u), (long)((end - now) % 1000000000u)};
		syscall(SYS_futex, &line->count, FUTEX_WAIT_PRIVATE, seen, timeout_ms < 0 ? NULL : &left, NULL, 0);
	}
	__atomic_fetch_sub(&line->waiters, 1, __ATOMIC_SEQ_CST);
	return count;
}
