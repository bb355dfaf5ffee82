/* SPDX-License-Identifier: MIT */
/* The bridge: hvisor's page, the windows behind it, and CPUs that wait for their answers. */
#include <pthread.h>
#include <sched.h>

#include "common/bridge.h"
#include "traced.h"
#include "vmmio_machine.h"

#define ZONE 1
#define BASE 0xa003c00ull
#define OTHER_BASE 0xa003800ull
#define WINDOW 0x200u

/* Two devices of zone 1 and one of zone 2 at the address of the first. */
struct board {
	struct bridge_page page;
	struct bridge bridge;
	struct machine machine[3];
	struct bridge_window window[3];
	struct bridge_map map;
};

static struct board board;
static int locked;
static core_u32 effects[3]; /* of each window, since they were last looked at */

static void lock_window(const struct bridge_window *window)
{
	(void)window;
	CHECK_INT(locked, 0);
	locked = 1;
}

static void unlock_window(const struct bridge_window *window)
{
	(void)window;
	CHECK_INT(locked, 1);
	locked = 0;
}

static void see_effects(const struct bridge_window *window, core_u32 bits)
{
	CHECK_INT(locked, 0);
	CHECK(bits != 0);
	effects[window - board.window] |= bits;
}

static const struct bridge_ops ops = {.lock = lock_window, .unlock = unlock_window, .effects = see_effects};

static void board_init(void)
{
	static const struct {
		core_u32 zone;
		core_u64 base;
	} place[3] = {{ZONE, OTHER_BASE}, {ZONE, BASE}, {2, BASE}};
	core_u32 i;

	memset(&board, 0, sizeof(board));
	for (i = 0; i < 3; i++) {
		machine_init(&board.machine[i]);
		board.window[i].zone = place[i].zone;
		board.window[i].base = place[i].base;
		board.window[i].size = WINDOW;
		board.window[i].dev = &board.machine[i].dev;
		board.window[i].owner = &board.machine[i];
		effects[i] = 0;
	}
	board.map.window = board.window;
	board.map.count = 3;
	bridge_init(&board.bridge, &board.page);
}

/* What hvisor does when a CPU of a zone touches a window (src/device/virtio_trampoline.rs). */
static void push(core_u32 zone, core_u64 cpu, core_u64 address, core_u64 size, bool write, core_u64 value, bool notify)
{
	struct bridge_page *page = &board.page;
	core_u32 rear = page->req_rear;

	CHECK((rear + 1) % BRIDGE_SLOTS != core_load_acquire(&page->req_front));
	page->req[rear].src_cpu = cpu;
	page->req[rear].address = address;
	page->req[rear].size = size;
	page->req[rear].value = value;
	page->req[rear].src_zone = zone;
	page->req[rear].is_write = write;
	page->req[rear].need_interrupt = notify;
	core_store_release(&page->req_rear, (rear + 1) % BRIDGE_SLOTS);
}

static core_u32 drain(void)
{
	return bridge_drain(&board.bridge, &board.map, &ops, 1000);
}

/* One access of CPU 3, answered once. */
static core_u64 access_of(core_u32 zone, core_u64 address, core_u64 size, bool write, core_u64 value)
{
	core_u64 flag = board.page.cfg_flags[3];

	board.page.cfg_values[3] = 0x5555;
	push(zone, 3, address, size, write, value, false);
	CHECK_INT(drain(), 1);
	CHECK_INT(board.page.cfg_flags[3], flag + 1);
	return board.page.cfg_values[3];
}

static void test_find(void)
{
	static struct bridge_window window[] = {
		{.zone = 1, .base = 0x1000, .size = 0x200},
		{.zone = 1, .base = 0x1200, .size = 0x200},
		{.zone = 1, .base = 0x2000, .size = 0x1000},
		{.zone = 3, .base = 0, .size = 0x200},
		{.zone = 3, .base = 0xfffffffffffffe00ull, .size = 0x200},
	};
	struct bridge_map map = {.window = window, .count = 5};
	struct bridge_map none = {.window = NULL, .count = 0};

	CHECK(!bridge_find(&none, 1, 0x1000, 4));
	CHECK(bridge_find(&map, 1, 0x1000, 4) == &window[0]);
	CHECK(bridge_find(&map, 1, 0x11fc, 4) == &window[0]);
	CHECK(bridge_find(&map, 1, 0x11ff, 1) == &window[0]);
	CHECK(bridge_find(&map, 1, 0x1000, 0x200) == &window[0]);
	CHECK(bridge_find(&map, 1, 0x1200, 4) == &window[1]);
	CHECK(bridge_find(&map, 1, 0x13fc, 4) == &window[1]);
	CHECK(bridge_find(&map, 1, 0x2800, 8) == &window[2]);
	CHECK(bridge_find(&map, 3, 0, 1) == &window[3]);
	CHECK(bridge_find(&map, 3, 0xfffffffffffffff8ull, 8) == &window[4]);
	/* outside, and across an end, even into the next window */
	CHECK(!bridge_find(&map, 1, 0xfff, 1));
	CHECK(!bridge_find(&map, 1, 0xffe, 4));
	CHECK(!bridge_find(&map, 1, 0x11fe, 4));
	CHECK(!bridge_find(&map, 1, 0x1000, 0x201));
	CHECK(!bridge_find(&map, 1, 0x1400, 4));
	CHECK(!bridge_find(&map, 1, 0x3000, 1));
	CHECK(!bridge_find(&map, 3, 0xfffffffffffffffcull, 8));
	CHECK(!bridge_find(&map, 3, 0xffffffffffffffffull, 0xffffffffffffffffull));
	CHECK(!bridge_find(&map, 1, 0x1000, 0xffffffffffffffffull));
	/* another zone's */
	CHECK(!bridge_find(&map, 0, 0x1000, 4));
	CHECK(!bridge_find(&map, 2, 0x1000, 4));
	CHECK(!bridge_find(&map, 3, 0x1000, 4));
	CHECK(!bridge_find(&map, 4, 0, 4));
	/* nothing */
	CHECK(!bridge_find(&map, 1, 0x1000, 0));
}

static void test_find_among_many(void)
{
	static struct bridge_window window[256];
	struct bridge_map map = {.window = window, .count = 256};
	core_u32 i;

	for (i = 0; i < 256; i++) {
		window[i].zone = 1 + i / 8;
		window[i].base = 0xa000000 + 0x400 * (i % 8);
		window[i].size = 0x200;
	}
	for (map.count = 0; map.count <= 256; map.count++) {
		for (i = 0; i < 256; i++) {
			CHECK(bridge_find(&map, window[i].zone, window[i].base + 0x70, 4) ==
			      (i < map.count ? &window[i] : NULL));
			CHECK(!bridge_find(&map, window[i].zone, window[i].base + 0x200, 4));
		}
	}
}

static void test_accesses_reach_their_device(void)
{
	board_init();
	CHECK_INT(access_of(ZONE, BASE, 4, false, 0), 0x74726976);
	access_of(ZONE, BASE + VMMIO_STATUS, 4, true, VMMIO_S_ACKNOWLEDGE);
	CHECK_INT(board.machine[0].dev.status, 0);
	CHECK_INT(board.machine[1].dev.status, VMMIO_S_ACKNOWLEDGE);
	CHECK_INT(board.machine[2].dev.status, 0);
	access_of(2, BASE + VMMIO_STATUS, 4, true, VMMIO_S_FAILED);
	CHECK_INT(access_of(ZONE, BASE + VMMIO_STATUS, 4, false, 0), VMMIO_S_ACKNOWLEDGE);
	CHECK_INT(access_of(2, BASE + VMMIO_STATUS, 4, false, 0), VMMIO_S_FAILED);
	CHECK_INT(access_of(ZONE, OTHER_BASE + VMMIO_STATUS, 4, false, 0), 0);
	CHECK_INT(access_of(ZONE, BASE + VMMIO_CONFIG, 8, false, 0), 0x4746454443424140);
	CHECK_INT(board.bridge.requests, 7);
	CHECK_INT(board.bridge.absent, 0);
	CHECK_INT(board.bridge.bad, 0);
	/* sizes that no access has go to the model, which counts them */
	CHECK_INT(access_of(ZONE, BASE + VMMIO_STATUS, 3, false, 0), 0);
	CHECK_INT(access_of(ZONE, BASE + VMMIO_STATUS, 16, false, 0), 0);
	CHECK_INT(board.machine[1].dev.bad_accesses, 2);
}

/* What no window claims reads 0, writes go nowhere, and the CPU is answered. */
static void test_absent(void)
{
	static const struct {
		core_u32 zone;
		core_u64 address;
		core_u64 size;
	} absent[] = {
		{ZONE, BASE - 4, 4},
		{ZONE, BASE + WINDOW, 4},
		{ZONE, BASE + WINDOW - 2, 4},
		{3, BASE, 4},
		{0, BASE, 4},
		{0xffffffff, BASE, 4},
		{ZONE, 0, 4},
		{ZONE, ~0ull, 8},
		{ZONE, BASE, 0},
		{ZONE, BASE, 0x100000000ull + 4},
		{ZONE, BASE, ~0ull},
	};
	core_u32 i;

	board_init();
	for (i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		CHECK_INT(access_of(absent[i].zone, absent[i].address, absent[i].size, false, 0), 0);
		CHECK_INT(access_of(absent[i].zone, absent[i].address, absent[i].size, true, 1), 0);
		CHECK_INT(board.bridge.absent, 2 * i + 2);
	}
	for (i = 0; i < 3; i++)
		CHECK_INT(board.machine[i].dev.accesses, 0);
	/* without any window at all too */
	board.map.count = 0;
	CHECK_INT(access_of(ZONE, BASE, 4, false, 0), 0);
}

static void start_device(core_u32 i)
{
	struct machine *m = &board.machine[i];

	vmmio_attach(&m->dev);
	negotiate(m, OFFERED);
	enable_queue(m, 0);
	wr(m, VMMIO_STATUS, RUNNING);
	m->region->doorbell.queues = 0;
	m->region->doorbell.sleeping = 1;
}

/* hvisor's CPU goes on at once after QUEUE_NOTIFY: an answer would be taken for that of its next access. */
static void test_notify_is_not_answered(void)
{
	core_u64 flags[BRIDGE_CPUS];

	board_init();
	start_device(1);
	memcpy(flags, board.page.cfg_flags, sizeof(flags));
	push(ZONE, 3, BASE + VMMIO_QUEUE_NOTIFY, 4, true, 0, true);
	push(ZONE, 3, BASE + VMMIO_QUEUE_NOTIFY, 4, true, 0, true);
	/* hvisor says the same of a read of that register */
	push(ZONE, 3, BASE + VMMIO_QUEUE_NOTIFY, 4, false, 0, true);
	push(ZONE, 3, 0x123000 + VMMIO_QUEUE_NOTIFY, 4, true, 0, true);
	CHECK_INT(drain(), 4);
	CHECK_MEM(board.page.cfg_flags, flags, sizeof(flags));
	CHECK_INT(board.machine[1].region->doorbell.queues, 1);
	CHECK_INT(effects[1], VMMIO_KICK);
	CHECK_INT(board.machine[1].dev.notifications, 2);
	CHECK_INT(board.bridge.absent, 1);
	CHECK_INT(board.bridge.bad, 0);

	/* of another register it cannot be: a reset that is held would be answered to a CPU that does not wait */
	push(ZONE, 3, BASE + VMMIO_STATUS, 4, true, 0, true);
	CHECK_INT(drain(), 1);
	CHECK_INT(board.bridge.bad, 1);
	CHECK_INT(board.machine[1].dev.held_cpus, 0);
	CHECK_INT(board.machine[1].dev.status, RUNNING);
	CHECK_MEM(board.page.cfg_flags, flags, sizeof(flags));
}

static void test_held_answer(void)
{
	struct machine *m = &board.machine[1];

	board_init();
	start_device(1);
	push(ZONE, 17, BASE + VMMIO_STATUS, 4, true, 0, false);
	push(ZONE, 18, BASE + VMMIO_STATUS, 4, false, 0, false);
	push(ZONE, 31, BASE + VMMIO_STATUS, 4, true, 0, false);
	CHECK_INT(drain(), 3);
	CHECK_INT(effects[1], VMMIO_HOLD | VMMIO_KICK);
	/* the rings go on, other CPUs are answered */
	CHECK_INT(board.page.req_front, 3);
	CHECK_INT(board.page.cfg_flags[17], 0);
	CHECK_INT(board.page.cfg_flags[31], 0);
	CHECK_INT(board.page.cfg_flags[18], 1);
	CHECK_INT(board.page.cfg_values[18], RUNNING);
	CHECK_INT(vmmio_quiesced(&m->dev), 0);
	acknowledge_quiescence(m);
	bridge_answer_mask(&board.bridge, vmmio_quiesced(&m->dev));
	CHECK_INT(board.page.cfg_flags[17], 1);
	CHECK_INT(board.page.cfg_flags[31], 1);
	CHECK_INT(board.page.cfg_flags[18], 1);
	bridge_answer_mask(&board.bridge, vmmio_quiesced(&m->dev));
	CHECK_INT(board.page.cfg_flags[17], 1);
}

static void test_impossible_cpu(void)
{
	static const core_u64 cpus[] = {32, 33, 0xffffffffull, 0x100000000ull, 0x100000003ull, ~0ull};
	struct bridge_page before;
	core_u32 i;

	board_init();
	for (i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++) {
		push(ZONE, cpus[i], BASE + VMMIO_STATUS, 4, true, VMMIO_S_ACKNOWLEDGE, false);
		before = board.page;
		CHECK_INT(drain(), 1);
		CHECK_INT(board.bridge.bad, i + 1);
		before.req_front = board.page.req_front;
		CHECK_MEM(&board.page, &before, sizeof(before));
		CHECK_INT(board.machine[1].dev.status, 0);
	}
	before = board.page;
	bridge_answer(&board.bridge, 32, 1);
	bridge_answer(&board.bridge, 0xffffffff, 1);
	CHECK_MEM(&board.page, &before, sizeof(before));
}

static void test_ring_goes_round(void)
{
	core_u32 i;
	core_u32 j;

	board_init();
	CHECK(!bridge_pending(&board.bridge));
	CHECK_INT(drain(), 0);
	for (i = 0; i < 100; i++) {
		for (j = 0; j < BRIDGE_SLOTS - 1; j++)
			push(ZONE, j, BASE + 4 * (j % 4), 4, false, 0, false);
		CHECK(bridge_pending(&board.bridge));
		/* a budget ends the drain in the middle, and nothing is lost */
		CHECK_INT(bridge_drain(&board.bridge, &board.map, &ops, 0), 0);
		CHECK_INT(bridge_drain(&board.bridge, &board.map, &ops, 10), 10);
		CHECK_INT(board.page.cfg_flags[9], i + 1);
		CHECK_INT(board.page.cfg_flags[10], i);
		CHECK(bridge_pending(&board.bridge));
		CHECK_INT(drain(), 21);
		CHECK(!bridge_pending(&board.bridge));
		CHECK_INT(board.page.req_front, board.page.req_rear);
		for (j = 0; j < BRIDGE_SLOTS - 1; j++)
			CHECK_INT(board.page.cfg_flags[j], i + 1);
		CHECK_INT(board.page.cfg_values[4], 0x74726976);
		CHECK_INT(board.page.cfg_values[5], 2);
	}
	CHECK_INT(board.bridge.requests, 3100);
}

/* A module that is loaded again finds the page as hvisor left it: with requests that wait. */
static void test_adopts_a_page(void)
{
	struct bridge_page page;

	board_init();
	access_of(ZONE, BASE, 4, false, 0);
	bridge_push(&board.bridge, ZONE, 78);
	push(ZONE, 4, BASE + VMMIO_VERSION, 4, false, 0, false);
	page = board.page;
	bridge_init(&board.bridge, &board.page);
	CHECK_MEM(&board.page, &page, sizeof(page));
	CHECK(bridge_pending(&board.bridge));
	CHECK_INT(drain(), 1);
	CHECK_INT(board.page.cfg_flags[4], 1);
	CHECK_INT(board.page.cfg_values[4], 2);
	CHECK(bridge_push(&board.bridge, ZONE, 76));
	CHECK_INT(board.page.res[0].irq, 78);
	CHECK_INT(board.page.res[1].irq, 76);
	CHECK_INT(board.page.res_rear, 2);
}

static void test_result_ring(void)
{
	core_u32 i;

	board_init();
	for (i = 0; i < BRIDGE_SLOTS - 1; i++)
		CHECK(bridge_push(&board.bridge, 1 + i, 70 + i));
	CHECK(!bridge_push(&board.bridge, 9, 9)); /* one stays empty */
	CHECK_INT(board.page.res_rear, 31);
	for (i = 0; i < BRIDGE_SLOTS - 1; i++) {
		CHECK_INT(board.page.res[i].target_zone, 1 + i);
		CHECK_INT(board.page.res[i].irq, 70 + i);
	}
	/* hvisor takes two: there is room for two */
	board.page.res_front = 2;
	CHECK(bridge_push(&board.bridge, 5, 80));
	CHECK(bridge_push(&board.bridge, 6, 81));
	CHECK(!bridge_push(&board.bridge, 7, 82));
	CHECK_INT(board.page.res[31].irq, 80);
	CHECK_INT(board.page.res[0].irq, 81);
	CHECK_INT(board.page.res_rear, 1);
	CHECK_INT(board.page.res[2].irq, 72);
	CHECK_INT(board.bridge.bad, 0);
}

/* Broken indexes: nothing outside of the rings is touched, no loop is endless, and what comes later works. */
static void test_broken_indexes(void)
{
	static const core_u32 broken[] = {32, 33, 63, 64, 0x7fffffff, 0x80000000, 0xffffffff};
	core_u32 handled;
	core_u32 round;
	core_u32 i;

	for (i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		board_init();
		board.page.req_rear = broken[i];
		for (round = 0, handled = 0; bridge_pending(&board.bridge); round++) {
			handled += bridge_drain(&board.bridge, &board.map, &ops, 5);
			CHECK(round < 10);
		}
		CHECK(handled < BRIDGE_SLOTS);
		CHECK_INT(drain(), 0);
		CHECK(board.bridge.bad > 0);
		/* hvisor's next push counts on with its mask */
		board.page.req_rear = board.bridge.req_front;
		CHECK_INT(access_of(ZONE, BASE, 4, false, 0), 0x74726976);
		/* the page's copy of our own index is not read */
		board.page.req_front = broken[i];
		CHECK_INT(access_of(ZONE, BASE, 4, false, 0), 0x74726976);
		CHECK_INT(board.page.req_front, board.page.req_rear);

		board.page.res_front = broken[i];
		handled = 0;
		while (bridge_push(&board.bridge, ZONE, 78)) {
			handled++;
			CHECK(handled < BRIDGE_SLOTS);
		}
		board.page.res_rear = broken[i];
		board.page.res_front = board.bridge.res_rear;
		CHECK(bridge_push(&board.bridge, ZONE, 78));
		CHECK(board.page.res_rear < BRIDGE_SLOTS);

		/* adopted like that */
		board.page.req_front = broken[i];
		board.page.res_rear = broken[i];
		bridge_init(&board.bridge, &board.page);
		CHECK(board.bridge.req_front < BRIDGE_SLOTS);
		CHECK(board.bridge.res_rear < BRIDGE_SLOTS);
		CHECK(drain() < BRIDGE_SLOTS);
	}
}

static void test_need_wakeup(void)
{
	board_init();
	bridge_set_need_wakeup(&board.bridge, true);
	CHECK_INT(((core_u8 *)&board.page)[2129], 1);
	bridge_set_need_wakeup(&board.bridge, false);
	CHECK_INT(((core_u8 *)&board.page)[2129], 0);
}

/* hvisor looks at any moment: a value is there before its flag, a result before its index. */
static struct bridge shared_bridge;

static void answer_shared(void)
{
	bridge_answer(&shared_bridge, 5, 0x1234);
}

static void push_shared(void)
{
	bridge_push(&shared_bridge, ZONE, 78);
}

static void test_published_last(void)
{
	struct bridge_page *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	CHECK(page != MAP_FAILED);
	bridge_init(&shared_bridge, page);
	pid = start_traced(answer_shared);
	while (core_load(&page->cfg_flags[5]) == 0)
		step_traced(pid);
	CHECK_INT(page->cfg_values[5], 0x1234);
	finish_traced(pid);
	CHECK_INT(page->cfg_flags[5], 1);

	pid = start_traced(push_shared);
	while (core_load(&page->res_rear) == 0)
		step_traced(pid);
	CHECK_INT(page->res[0].target_zone, ZONE);
	CHECK_INT(page->res[0].irq, 78);
	finish_traced(pid);
	CHECK_INT(page->res_rear, 1);
}

/* A page of random bytes, again and again: the drain and the push end, and touch nothing around the page. */
static void test_random_pages(void)
{
	core_u64 *words = (core_u64 *)&board.page;
	core_u32 round;
	core_u32 i;

	board_init();
	start_device(1);
	for (round = 0; round < 20000; round++) {
		for (i = 0; i < sizeof(board.page) / 8; i++)
			words[i] = test_random();
		for (i = 0; i < BRIDGE_SLOTS; i++) {
			/* mostly somewhere near a window */
			if (test_random_below(4) == 0)
				continue;
			board.page.req[i].src_cpu &= 63;
			board.page.req[i].src_zone = (core_u32)test_random_below(4);
			board.page.req[i].address = OTHER_BASE - 16 + test_random_below(0x800);
			board.page.req[i].size = test_random_below(10);
			board.page.req[i].need_interrupt = test_random_below(4) == 0;
		}
		CHECK(drain() <= 1000);
		if (!(board.page.req_rear & ~31u))
			CHECK(!bridge_pending(&board.bridge));
		for (i = 0; i < 40 && bridge_push(&board.bridge, ZONE, i); i++)
			;
		CHECK(i < BRIDGE_SLOTS);
		for (i = 0; i < 3; i++) {
			acknowledge_quiescence(&board.machine[i]);
			bridge_answer_mask(&board.bridge, vmmio_quiesced(&board.machine[i].dev));
		}
	}
	CHECK_INT(board.bridge.page == &board.page, 1);
	CHECK_INT(board.map.count, 3);
}

/*
 * Several CPUs at once, as hvisor serves them: each pushes under hvisor's lock and spins until its flag changes. Each
 * must get its own answer, in the order of its own accesses, while the drain runs concurrently.
 */
#define CPUS 4
#define CPU_ACCESSES 10000

static pthread_mutex_t hvisor_lock = PTHREAD_MUTEX_INITIALIZER;
static int cpus_done;

static core_u64 spin_for_access(core_u64 cpu, core_u64 address, bool write, core_u64 value)
{
	struct bridge_page *page = &board.page;
	core_u64 flag = core_load(&page->cfg_flags[cpu]);
	core_u32 looks = 0;

	pthread_mutex_lock(&hvisor_lock);
	while ((page->req_rear + 1) % BRIDGE_SLOTS == core_load_acquire(&page->req_front)) {
		pthread_mutex_unlock(&hvisor_lock);
		sched_yield();
		pthread_mutex_lock(&hvisor_lock);
	}
	push(ZONE, cpu, address, 4, write, value, false);
	pthread_mutex_unlock(&hvisor_lock);
	while (core_load_acquire(&page->cfg_flags[cpu]) == flag) {
		if (++looks > 100)
			sched_yield();
	}
	CHECK_INT(core_load(&page->cfg_flags[cpu]), flag + 1);
	return core_load(&page->cfg_values[cpu]);
}

static void *run_cpu(void *arg)
{
	core_u64 cpu = (core_u64)(size_t)arg;
	core_u64 status = BASE + VMMIO_STATUS;
	core_u32 i;

	for (i = 0; i < CPU_ACCESSES; i++) {
		switch ((i + cpu) % 4) {
		case 0:
			CHECK_INT(spin_for_access(cpu, BASE, false, 0), 0x74726976);
			break;
		case 1:
			CHECK_INT(spin_for_access(cpu, OTHER_BASE + VMMIO_VERSION, false, 0), 2);
			break;
		case 2:
			CHECK_INT(spin_for_access(cpu, 0x1000, false, 0), 0);
			break;
		default:
			spin_for_access(cpu, status, true, 1);
			CHECK_INT(spin_for_access(cpu, status, false, 0), 1);
		}
	}
	__atomic_fetch_add(&cpus_done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void test_cpus_get_their_own_answers(void)
{
	pthread_t thread[CPUS];
	core_u64 handled = 0;
	size_t i;

	board_init();
	for (i = 0; i < CPUS; i++)
		CHECK_INT(pthread_create(&thread[i], NULL, run_cpu, (void *)(i * 10)), 0);
	while (__atomic_load_n(&cpus_done, __ATOMIC_ACQUIRE) < CPUS) {
		if (bridge_pending(&board.bridge))
			handled += drain();
		else
			sched_yield();
	}
	for (i = 0; i < CPUS; i++)
		CHECK_INT(pthread_join(thread[i], NULL), 0);
	CHECK_INT(handled, CPUS * CPU_ACCESSES * 5 / 4);
	CHECK_INT(board.bridge.requests, handled);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"bridge_find", test_find, 0},
		{"bridge_find_among_many", test_find_among_many, 0},
		{"bridge_accesses_reach_their_device", test_accesses_reach_their_device, 0},
		{"bridge_absent", test_absent, 0},
		{"bridge_notify_is_not_answered", test_notify_is_not_answered, 0},
		{"bridge_held_answer", test_held_answer, 0},
		{"bridge_impossible_cpu", test_impossible_cpu, 0},
		{"bridge_ring_goes_round", test_ring_goes_round, 0},
		{"bridge_adopts_a_page", test_adopts_a_page, 0},
		{"bridge_result_ring", test_result_ring, 0},
		{"bridge_broken_indexes", test_broken_indexes, 0},
		{"bridge_need_wakeup", test_need_wakeup, 0},
		{"bridge_published_last", test_published_last, 0},
		{"bridge_random_pages", test_random_pages, 0},
		{"bridge_cpus_get_their_own_answers", test_cpus_get_their_own_answers, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
