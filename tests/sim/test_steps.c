/* SPDX-License-Identifier: MIT */
/*
 * A backend that dies at each step of its work: between any two stores of setting a queue up, fetching, beginning,
 * completing, publishing, changing its configuration and its state, and being reset. The real launcher starts the next
 * one, the driver goes on, and what it sees is checked. Queues of few entries, batches, and indexes that pass 65535.
 *
 * A successor dies too, at each step that one makes for the first time. "make test-steps", which sets STEPS_ALL, lets
 * it die at each of its steps after each death, and has networks and consoles without event index too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/sim/net_rig.h"
#include "tests/sim/work.h"
#include "tests/steps/step.h"
#include "tests/test.h"

#define LIMIT_MS 20000
#define FIRST_INDEX 65533u /* the first batch passes 65535 */
#define QUEUE_MAX 8u
#define QUIET_LIVES 3u /* so many without a death: there are no more steps */
#define RESTART "\"restart_limit\": 0, \"restart_delay_ms\": 1, \"restart_delay_max_ms\": 1, \"poll_us\": 0"

struct steps {
	struct rig rig;
	struct work work;
	struct queue_region *region;
	struct step_plan *plan;
	uint32_t lives;
};

static struct queue_region *view(struct rig *rig, const char *name)
{
	struct hvisor_device_get get;
	struct hvisor_device_view call;
	void *region;

	CHECK(rig_device(rig, name, &get));
	call = (struct hvisor_device_view){.id = get.id};
	CHECK_INT(sim_call(&rig->sim, HVISOR_DEVICE_VIEW, &call), 0);
	region = mmap(NULL, call.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, call.region_fd, 0);
	CHECK(region != MAP_FAILED);
	close(call.region_fd);
	return region;
}

static void steps_init(struct steps *s, enum config_type type, const char *keys, uint64_t without)
{
	char device[600];
	const char *one = device;
	char programs[4096];

	memset(s, 0, sizeof(*s));
	if (type == CONFIG_NET)
		net_rig_enter_namespace();
	rig_init(&s->rig, 64);
	s->rig.guest.without = without;
	s->rig.guest.first_index = FIRST_INDEX;
	s->rig.guest.queue_max = QUEUE_MAX;
	if (type == CONFIG_BLK)
		scratch_run("truncate -s 1M disk.img");
	snprintf(device, sizeof(device), "%s, %s%s", work_keys(type), RESTART, keys);
	rig_config(&s->rig, &one, 1);
	CHECK_INT(rig_program("steps", programs, sizeof(programs)), 0);
	rig_launch(&s->rig, "--program-dir", programs, NULL);
	rig_await_launcher(&s->rig);
	work_init(&s->work, &s->rig, type, 0);
	rig_await_starts(&s->rig, s->work.name, 1);
	s->region = view(&s->rig, s->work.name);
	s->plan = step_plan(s->region);
	work_meet(&s->work);
	work_open(&s->work);
}

static void steps_finish(struct steps *s)
{
	work_finish(&s->work);
	rig_finish(&s->rig);
}

static int is_asleep(void *arg)
{
	return core_load(&((struct queue_region *)arg)->doorbell.sleeping) == 1;
}

/*
 * A life: out of rest, the driver resets the device, sets it up and works, while the backend dies after so many steps,
 * and its successor after so many of its own (0: it does not). Returns how many deaths that were.
 */
static uint32_t live(struct steps *s, uint32_t left, uint32_t then)
{
	uint32_t deaths = s->plan->deaths;

	s->plan->life++;
	s->plan->left = left;
	s->plan->then = then;
	core_store_release(&s->plan->on, 1);
	work_close(&s->work);
	work_open(&s->work);
	work_do(&s->work);
	core_store_release(&s->plan->on, 0);
	/* Of whichever backend there is now. */
	work_do(&s->work);
	CHECK(test_wait(is_asleep, s->region, LIMIT_MS));
	s->lives++;
	return s->plan->deaths - deaths;
}

static uint32_t places(const struct steps *s)
{
	uint32_t n = 0;
	uint32_t i;

	for (i = 0; i < STEP_PLACES; i++)
		n += s->plan->died[i / 8] >> i % 8 & 1;
	return n;
}

/*
 * A death at each step of a life, one step later each time, and one of a successor at each step where none has died
 * yet: what it does after that death only, as settling a batch half published. Returns how many steps a life has.
 */
static uint32_t sweep(struct steps *s)
{
	uint32_t quiet = 0;
	uint32_t last = 0;
	uint32_t k;

	for (k = 1; quiet < QUIET_LIVES; k++) {
		if (live(s, k, STEP_NEW) > 0)
			last = k;
		quiet = last == k ? 0 : quiet + 1;
	}
	return last;
}

/* After a death at each step, one of the successor at each of its own. */
static void sweep_pairs(struct steps *s, uint32_t nsteps)
{
	uint32_t k, then, quiet;

	for (k = 1; k <= nsteps; k++) {
		quiet = 0;
		for (then = 1; quiet < QUIET_LIVES; then++)
			quiet = live(s, k, then) > 1 ? 0 : quiet + 1;
	}
}

static void die_everywhere(enum config_type type, const char *keys, uint64_t without)
{
	static struct steps s;
	uint64_t begin = test_now_ns();
	uint32_t nsteps;

	steps_init(&s, type, keys, without);
	nsteps = sweep(&s);
	if (getenv("STEPS_ALL"))
		sweep_pairs(&s, nsteps);
	printf("# %u steps; %u lives, %u deaths at %u places, %llu chains taken over; frames lost: %llu to the host, "
	       "%llu "
	       "to the guest; %llu ms\n",
	       nsteps, s.lives, s.plan->deaths, places(&s), (unsigned long long)s.region->device.resubmitted,
	       (unsigned long long)s.work.tx_lost, (unsigned long long)s.work.rx_lost,
	       (unsigned long long)((test_now_ns() - begin) / 1000000));
	CHECK(s.region->device.resubmitted > 0);
	CHECK(s.work.tx_lost <= s.plan->deaths);
	steps_finish(&s);
}

static void test_blk(void)
{
	die_everywhere(CONFIG_BLK, ", \"engine\": \"io_uring\"", 0);
}

static void test_blk_plain(void)
{
	die_everywhere(CONFIG_BLK, ", \"engine\": \"preadv\"", VMMIO_F_EVENT_IDX | VMMIO_F_INDIRECT_DESC);
}

static void test_net(void)
{
	die_everywhere(CONFIG_NET, "", 0);
}

static void test_net_plain(void)
{
	die_everywhere(CONFIG_NET, "", VMMIO_F_EVENT_IDX | VMMIO_F_INDIRECT_DESC);
}

static void test_console(void)
{
	die_everywhere(CONFIG_CONSOLE, "", 0);
}

static void test_console_plain(void)
{
	die_everywhere(CONFIG_CONSOLE, "", VMMIO_F_EVENT_IDX | VMMIO_F_INDIRECT_DESC);
}

static void test_rng(void)
{
	die_everywhere(CONFIG_RNG, "", 0);
}

static void test_rng_plain(void)
{
	die_everywhere(CONFIG_RNG, "", VMMIO_F_EVENT_IDX | VMMIO_F_INDIRECT_DESC);
}

static const struct test tests[] = {
	{"steps_blk", test_blk, 3600},
	{"steps_net", test_net, 3600},
	{"steps_console", test_console, 3600},
	{"steps_rng", test_rng, 3600},
	{"steps_blk_plain_queues", test_blk_plain, 3600},
	{"steps_rng_plain_queues", test_rng_plain, 3600},
	/* With STEPS_ALL: */
	{"steps_net_plain_queues", test_net_plain, 3600},
	{"steps_console_plain_queues", test_console_plain, 3600},
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, tests, getenv("STEPS_ALL") ? sizeof(tests) / sizeof(tests[0]) : 6);
}
