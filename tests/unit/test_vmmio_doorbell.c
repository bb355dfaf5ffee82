/* SPDX-License-Identifier: MIT */
/* What the model and a backend do to the same memory at the same time. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "traced.h"
#include "vmmio_machine.h"

/*
 * A driver's write of config while a backend that starts makes the copies equal: wherever the two meet, the driver's
 * value is in both copies at the end. Each runs in a traced child: the recovery is stopped after any number of
 * instructions, the write is done not at all, up to its first change of memory, or whole, and then both are let go.
 */
#define RECOVER_STEPS 100 /* all of the first byte of config, and some */

static struct machine met;

static void recover_met(void)
{
	region_config_recover(met.region);
}

static void write_met(void)
{
	vmmio_write(&met.dev, VMMIO_CONFIG, 1, 0x99, 0);
}

static bool is_either_written(void)
{
	return core_load(&met.region->config[0][0]) == 0x99 || core_load(&met.region->config[1][0]) == 0x99;
}

static void test_config_write_meets_recovery(void)
{
	core_u32 steps;
	core_u32 how;
	core_u32 halves = 0;
	core_u32 i;
	pid_t recovery;
	pid_t write;

	machine_init(&met);
	met.dev.config_writable[0] = 1;
	for (steps = 0; steps < RECOVER_STEPS; steps++) {
		for (how = 0; how < 3; how++) {
			met.region->config[0][0] = met.region->config[1][0] = 0x11;
			met.region->device.config_gen = steps;
			recovery = start_traced(recover_met);
			write = start_traced(write_met);
			for (i = 0; i < steps; i++)
				step_traced(recovery);
			while (how == 1 && !is_either_written())
				step_traced(write);
			halves += how == 1 && met.region->config[0][0] != met.region->config[1][0];
			if (how == 2)
				finish_traced(write);
			finish_traced(recovery);
			if (how != 2)
				finish_traced(write);
			CHECK_INT(met.region->config[0][0], 0x99);
			CHECK_INT(met.region->config[1][0], 0x99);
		}
	}
	CHECK_INT(halves, RECOVER_STEPS); /* the write was indeed stopped between its two stores */
}

/*
 * A driver reads a field of 8 bytes at once without a look at the generation: wherever in the read the backend changes
 * the field, the value is the old or the new one.
 */
#define OLD_FIELD 0x1111111111111111ull
#define NEW_FIELD 0x2222222222222222ull

static void read_met(void)
{
	vmmio_read(&met.dev, VMMIO_CONFIG + 3, 8, &met.region->device.own[0]);
}

static void test_config_read_meets_update(void)
{
	core_u64 old_field = OLD_FIELD;
	core_u64 new_field = NEW_FIELD;
	core_u64 *value;
	core_u32 steps;
	core_u32 i;
	pid_t read;

	machine_init(&met);
	value = &met.region->device.own[0];
	/* until the update comes after the read */
	for (steps = 0; steps == 0 || *value != OLD_FIELD; steps++) {
		region_config_update(met.region, 3, &old_field, 8);
		*value = 0;
		read = start_traced(read_met);
		for (i = 0; i < steps; i++)
			step_traced(read);
		region_config_update(met.region, 3, &new_field, 8);
		finish_traced(read);
		if (*value != OLD_FIELD && *value != NEW_FIELD)
			TEST_FAIL("a field changed after %u instructions reads as 0x%llx", steps,
				  (unsigned long long)*value);
	}
	CHECK(steps > 50);
}

/*
 * The backend looks at any moment. A queue that is shown ready is whole, status comes after features, and when a number
 * asks for quiescence, what is to be quiet is not shown ready any more.
 */
static void enable_met(void)
{
	wr(&met, VMMIO_QUEUE_READY, 1);
}

static void disable_met(void)
{
	wr(&met, VMMIO_QUEUE_READY, 0);
}

static void accept_met(void)
{
	wr(&met, VMMIO_STATUS, NEGOTIATED);
}

static void reset_met(void)
{
	wr(&met, VMMIO_STATUS, 0);
}

static void test_shown_in_order(void)
{
	struct region_driver *shown;
	pid_t pid;

	machine_init(&met);
	vmmio_attach(&met.dev);
	shown = &met.region->driver;
	write_features(&met, OFFERED);
	pid = start_traced(accept_met);
	while (core_load(&shown->status) == 0)
		step_traced(pid);
	CHECK_INT(shown->features, OFFERED);
	finish_traced(pid);

	accept_met();
	set_up_queue(&met, 1);
	pid = start_traced(enable_met);
	while (core_load(&shown->queue[1].ready) == 0)
		step_traced(pid);
	CHECK_INT(shown->queue[1].num, 128);
	CHECK_INT(shown->queue[1].epoch, 1);
	CHECK_INT(shown->queue[1].desc, 0x100020000ull);
	CHECK_INT(shown->queue[1].driver, 0x200021002ull);
	CHECK_INT(shown->queue[1].device, 0x300022004ull);
	finish_traced(pid);

	enable_met();
	pid = start_traced(disable_met);
	while (core_load(&shown->quiesce_seq) == 0)
		step_traced(pid);
	CHECK_INT(shown->queue[1].ready, 0);
	finish_traced(pid);

	vmmio_attach(&met.dev);
	CHECK_INT(shown->quiesce_seq, 0);
	CHECK_INT(shown->queue[1].ready, 1);
	pid = start_traced(reset_met);
	while (core_load(&shown->quiesce_seq) == 0)
		step_traced(pid);
	CHECK_INT(shown->queue[1].ready, 0);
	CHECK_INT(shown->status, 0);
	CHECK_INT(shown->features, 0);
	finish_traced(pid);
}

/*
 * The doorbell: a backend that sleeps after a last look, a driver that rings at any moment. Each round rings once and
 * waits until the backend has taken it; a wakeup that got lost would leave the backend asleep.
 */
#define DOORBELL_ROUNDS 200000

struct sleeper {
	struct machine *m;
	int kick_fd;
	core_u32 taken; /* rounds */
	core_u32 sleeps;
};

static bool take_doorbell(struct queue_region *region)
{
	bool any = core_load(&region->doorbell.queues) != 0 || core_load(&region->doorbell.events) != 0;

	if (any) {
		core_xchg64(&region->doorbell.queues, 0);
		core_xchg32(&region->doorbell.events, 0);
	}
	return any;
}

static void wait_a_little(core_u64 n)
{
	while (n-- > 0)
		__asm__ volatile("" ::: "memory");
}

static void sleep_until_kicked(struct sleeper *s)
{
	struct queue_region *region = s->m->region;
	struct pollfd pfd = {.fd = s->kick_fd, .events = POLLIN};
	uint64_t count;

	wait_a_little(s->taken * 2654435761u >> 22); /* 0 to 1023, as the ringer does */
	core_store(&region->doorbell.sleeping, 1);
	core_fence();
	if (core_load(&region->doorbell.queues) == 0 && core_load(&region->doorbell.events) == 0) {
		if (poll(&pfd, 1, 10000) != 1)
			TEST_FAIL("a wakeup was lost after %u rounds", s->taken);
		CHECK_INT(read(s->kick_fd, &count, sizeof(count)), sizeof(count));
		s->sleeps++;
	}
	core_store(&region->doorbell.sleeping, 0);
}

static void *serve_doorbell(void *arg)
{
	struct sleeper *s = arg;

	while (s->taken < DOORBELL_ROUNDS) {
		if (take_doorbell(s->m->region))
			__atomic_store_n(&s->taken, s->taken + 1, __ATOMIC_RELEASE);
		else
			sleep_until_kicked(s);
	}
	return NULL;
}

static core_u32 ring_some_way(struct machine *m, core_u32 round)
{
	switch (round % 3) {
	case 0:
		return wr(m, VMMIO_QUEUE_NOTIFY, round % 2);
	case 1:
		return vmmio_ring(m->region, REGION_EV_CONTROL);
	default:
		return vmmio_write(&m->dev, VMMIO_CONFIG + WRITABLE, 1, round & 0xff, 0);
	}
}

static void test_doorbell_loses_no_wakeup(void)
{
	struct machine m;
	struct sleeper s = {.m = &m};
	uint64_t one = 1;
	pthread_t thread;
	core_u32 kicks = 0;
	core_u32 round;
	core_u32 looks;

	start(&m, true);
	s.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(s.kick_fd >= 0);
	CHECK_INT(pthread_create(&thread, NULL, serve_doorbell, &s), 0);
	for (round = 0; round < DOORBELL_ROUNDS; round++) {
		/* anywhere around the moment at which the other falls asleep */
		wait_a_little(test_random_below(1024));
		if (ring_some_way(&m, round) & VMMIO_KICK) {
			CHECK_INT(write(s.kick_fd, &one, sizeof(one)), sizeof(one));
			kicks++;
		}
		for (looks = 0; __atomic_load_n(&s.taken, __ATOMIC_ACQUIRE) != round + 1; looks++) {
			if (looks > 20000)
				sched_yield();
		}
	}
	CHECK_INT(pthread_join(thread, NULL), 0);
	/* it did sleep, and woke up for nothing but a kick */
	CHECK(s.sleeps > DOORBELL_ROUNDS / 100);
	CHECK(s.sleeps <= kicks);
	close(s.kick_fd);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"vmmio_config_write_meets_recovery", test_config_write_meets_recovery, 120},
		{"vmmio_config_read_meets_update", test_config_read_meets_update, 120},
		{"vmmio_shown_in_order", test_shown_in_order, 120},
		{"vmmio_doorbell_loses_no_wakeup", test_doorbell_loses_no_wakeup, 120},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
