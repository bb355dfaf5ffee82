/* SPDX-License-Identifier: MIT */
/*
 * The bridge page, hvisor's side, in the order and with the barriers (and without the one) that hvisor v0.4 has.
 * Beyond hvisor it checks that root keeps to the rules: indexes in range and its own, one answer for each access.
 */
#include "hyp.h"

#define SLOTS 32u
#define QUEUE_NOTIFY 0x50u
#define INJECT_MAX 7u /* one more for the same CPU, and hvisor asserts */
#define WAIT_REPORT_S 10u

struct request {
	uint64_t src_cpu;
	uint64_t address;
	uint64_t size;
	uint64_t value;
	uint32_t src_zone;
	uint8_t is_write;
	uint8_t need_interrupt;
	uint16_t pad;
};

struct result {
	uint32_t target_zone;
	uint32_t irq;
};

struct page {
	uint32_t req_front; /* root's */
	uint32_t req_rear;
	uint32_t res_front;
	uint32_t res_rear; /* root's */
	struct request req[SLOTS];
	struct result res[SLOTS];
	uint64_t cfg_flags[32];
	uint64_t cfg_values[32];
	uint64_t unused[8];
	uint8_t unused2;
	uint8_t need_wakeup; /* root's */
};

_Static_assert(offsetof(struct page, res) == 1296, "the result ring's place");
_Static_assert(offsetof(struct page, cfg_flags) == 1552, "the answers' place");
_Static_assert(offsetof(struct page, need_wakeup) == 2129, "the place of need_wakeup");

static struct lock bridge_lock;
static volatile struct page *page;
static uint32_t req_rear; /* what the page's must be, as nobody else writes them */
static uint32_t res_front;
static struct {
	bool known;
	uint64_t flag;
} expected[CPUS];

/* The slot for a request, when the ring has one; its lock is held then. SLOTS: root has spoilt the ring. */
static uint32_t request_slot(void)
{
	for (;;) {
		uint32_t front;

		lock(&bridge_lock);
		if (page->req_rear != req_rear) {
			violation("req_rear is %u and was left at %u", page->req_rear, req_rear);
			page->req_rear = req_rear;
		}
		front = page->req_front;
		if (front >= SLOTS) {
			violation("req_front is %u", front);
			unlock(&bridge_lock);
			return SLOTS;
		}
		if ((req_rear + 1) % SLOTS != front)
			return req_rear;
		unlock(&bridge_lock);
		if (this_cpu()->give_up)
			return SLOTS;
	}
}

static void check_flag(uint32_t cpu, uint64_t flag)
{
	if (expected[cpu].known && expected[cpu].flag != flag)
		violation("CPU %u has got %ld answers that it did not wait for", cpu,
			  (long)(flag - expected[cpu].flag));
}

/* Spins until root has answered. False: it will not, the zone is being shut down. */
static bool answer_wait(struct cpu *cpu, const struct zone *zone, uint64_t address, bool write, uint64_t old)
{
	uint64_t begin = sysreg_read(cntpct_el0);
	uint64_t report = ticks_ms(WAIT_REPORT_S * 1000);
	uint64_t waited;

	__atomic_store_n(&cpu->waits, true, __ATOMIC_RELEASE);
	while (page->cfg_flags[cpu->id] == old && !__atomic_load_n(&cpu->give_up, __ATOMIC_RELAXED)) {
		if (report != 0 && sysreg_read(cntpct_el0) - begin > report) {
			violation("CPU %u of zone %u has waited %u s for the answer to a %s %#lx", cpu->id, zone->id,
				  WAIT_REPORT_S, write ? "write to" : "read of", address);
			report = 0;
		}
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	__atomic_store_n(&cpu->waits, false, __ATOMIC_RELEASE);
	waited = sysreg_read(cntpct_el0) - begin;
	if (waited > cpu->wait_max)
		cpu->wait_max = waited;
	if (page->cfg_flags[cpu->id] == old)
		return false;
	expected[cpu->id].flag = old + 1;
	check_flag(cpu->id, page->cfg_flags[cpu->id]);
	return true;
}

uint64_t bridge_access(struct zone *zone, uint64_t address, uint32_t size, bool write, uint64_t value)
{
	struct cpu *cpu = this_cpu();
	bool notify = false;
	bool wakeup;
	uint64_t old;
	uint32_t slot;

	if (page == NULL) {
		violation("zone %u touches %#lx before root has registered the bridge page", zone->id, address);
		return 0;
	}
	cpu->accesses++;
	for (uint32_t n = 0; n < zone->nwindows; n++)
		notify = notify || address == zone->window[n].base + QUEUE_NOTIFY;
	slot = request_slot();
	if (slot == SLOTS)
		return 0;
	old = page->cfg_flags[cpu->id];
	check_flag(cpu->id, old);
	expected[cpu->id].known = true;
	expected[cpu->id].flag = old;
	page->req[slot].src_cpu = cpu->id;
	page->req[slot].address = address;
	page->req[slot].size = size;
	page->req[slot].value = value;
	page->req[slot].src_zone = zone->id;
	page->req[slot].is_write = write;
	page->req[slot].need_interrupt = notify;
	page->req[slot].pad = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	req_rear = (slot + 1) % SLOTS;
	page->req_rear = req_rear;
	/* hvisor has no full barrier between these two, and the load may come first. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	wakeup = page->need_wakeup == 1;
	if (wakeup) {
		lock(&cpus[0].events_lock);
		cpus[0].wakeups++;
		unlock(&cpus[0].events_lock);
		gic_send_event_sgi(0);
	}
	unlock(&bridge_lock);
	if (notify)
		return 0;
	if (!answer_wait(cpu, zone, address, write, old)) {
		expected[cpu->id].known = false;
		return 0;
	}
	return page->cfg_values[cpu->id];
}

long hypercall_init_virtio(uint64_t address)
{
	bool zone_runs = false;

	if (address % 4096 != 0 || !in_root_ram(address, 4096) || in_a_zone(address, 4096)) {
		violation("the bridge page %#lx is not a page of root's own RAM", address);
		return ERR_INVAL;
	}
	lock(&zones_lock);
	for (uint32_t n = 1; n < ZONES; n++)
		zone_runs = zone_runs || zones[n].used;
	unlock(&zones_lock);
	if (zone_runs)
		violation("bridge page %#lx registered while a zone runs", address);
	lock(&bridge_lock);
	page = (volatile struct page *)address;
	req_rear = page->req_rear;
	res_front = page->res_front;
	if (req_rear >= SLOTS || res_front >= SLOTS) {
		violation("the bridge page has req_rear %u and res_front %u", req_rear, res_front);
		page = NULL;
	}
	for (uint32_t n = 0; n < CPUS; n++)
		expected[n].known = false;
	unlock(&bridge_lock);
	print("bridge page at %#lx", address);
	return page == NULL ? ERR_INVAL : 0;
}

static void inject_for(uint32_t id, uint32_t irq)
{
	struct zone *zone;
	struct cpu *cpu;
	bool queued = false;

	lock(&zones_lock);
	zone = zone_find(id);
	if (zone == NULL || id == 0) {
		unlock(&zones_lock);
		print("interrupt %u for zone %u, which does not run", irq, id);
		return;
	}
	if (irq < SPI_FIRST || irq >= SPI_END || !bit_test(zone->irqs, irq))
		violation("interrupt %u for zone %u, which does not own it", irq, id);
	cpu = &cpus[__builtin_ctz(zone->cpus)];
	lock(&cpu->events_lock);
	for (uint32_t n = 0; n < cpu->ninject; n++)
		queued = queued || cpu->inject[n] == irq;
	if (!queued && irq < INTIDS) {
		if (cpu->ninject >= INJECT_MAX)
			violation("%u interrupts wait for CPU %u, hvisor asserts at this one", cpu->ninject + 1,
				  cpu->id);
		if (cpu->ninject < sizeof(cpu->inject) / sizeof(cpu->inject[0]))
			cpu->inject[cpu->ninject++] = irq;
		cpu->injections++;
	}
	unlock(&cpu->events_lock);
	unlock(&zones_lock);
	if (!queued)
		gic_send_event_sgi(cpu->id);
}

long hypercall_inject(void)
{
	if (page == NULL) {
		violation("injection before the bridge page is registered");
		return ERR_INVAL;
	}
	lock(&bridge_lock);
	if (page->res_front != res_front) {
		violation("res_front is %u and was left at %u", page->res_front, res_front);
		page->res_front = res_front;
	}
	while (page->res_rear != res_front) {
		if (page->res_rear >= SLOTS) {
			violation("res_rear is %u", page->res_rear);
			unlock(&bridge_lock);
			return ERR_INVAL;
		}
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		inject_for(page->res[res_front].target_zone, page->res[res_front].irq);
		res_front = (res_front + 1) % SLOTS;
		page->res_front = res_front;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	unlock(&bridge_lock);
	return 0;
}

void bridge_print_counters(const struct zone *zone)
{
	uint64_t accesses = 0, wait_max = 0, dropped = 0;

	for (uint32_t n = 0; n < CPUS; n++) {
		if (!(zone->cpus >> n & 1))
			continue;
		accesses += cpus[n].accesses;
		dropped += cpus[n].dropped;
		if (cpus[n].wait_max > wait_max)
			wait_max = cpus[n].wait_max;
		cpus[n].accesses = 0;
		cpus[n].dropped = 0;
		cpus[n].wait_max = 0;
	}
	print("zone %u: %lu register accesses, longest wait %lu us, %lu injections dropped", zone->id, accesses,
	      wait_max * 1000000 / sysreg_read(cntfrq_el0), dropped);
}
