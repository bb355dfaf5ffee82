/* SPDX-License-Identifier: MIT */
/* Resets and disabled queues, which wait for the backend, and backends that come and go. */
#include "vmmio_machine.h"

static void test_reset_without_backend(void)
{
	struct machine m;
	core_u32 resets;

	start(&m, false);
	resets = m.region->driver.resets;
	m.region->irq.interrupt_status = 3;
	wr(&m, VMMIO_QUEUE_SEL, 64);
	wr(&m, VMMIO_DEVICE_FEATURES_SEL, 9);
	CHECK_INT(wr(&m, VMMIO_STATUS, 0), 0);
	is_as_after_power_on(&m);
	CHECK_INT(m.region->irq.interrupt_status, 0);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	/* the epoch of a queue grows over resets */
	negotiate(&m, OFFERED);
	enable_queue(&m, 0);
	CHECK_INT(m.region->driver.queue[0].epoch, 2);
	/* and a backend that comes now sees that there was one */
	vmmio_attach(&m.dev);
	CHECK(m.region->driver.resets != resets);
}

static void test_reset_is_held(void)
{
	struct machine m;
	core_u32 resets;
	core_u32 seq;

	start(&m, true);
	seq = m.region->driver.quiesce_seq;
	resets = m.region->driver.resets;
	m.region->irq.interrupt_status = 1;
	m.region->doorbell.sleeping = 1;
	CHECK(!vmmio_is_quiet(&m.dev));
	CHECK_INT(wr_cpu(&m, VMMIO_STATUS, 0, 3), VMMIO_HOLD | VMMIO_KICK);
	/* what the backend sees */
	CHECK(m.region->driver.quiesce_seq != seq);
	CHECK(m.region->driver.quiesce_seq != 0);
	CHECK_INT(m.region->driver.status, 0);
	CHECK_INT(m.region->driver.features, 0);
	CHECK_INT(m.region->driver.queue[0].ready, 0);
	CHECK_INT(m.region->driver.queue[1].ready, 0);
	CHECK_INT(m.region->doorbell.events, REGION_EV_STATUS);
	/* what another CPU sees until then: not yet 0 (virtio 1.2, 2.4.1) */
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING);
	wr(&m, VMMIO_QUEUE_SEL, 0);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	CHECK(!vmmio_is_quiet(&m.dev));
	CHECK_INT(m.region->driver.resets, resets);
	/* every other write is ignored, another reset joins */
	is_bad_write(&m, VMMIO_STATUS, 4, RUNNING);
	is_bad_write(&m, VMMIO_QUEUE_NOTIFY, 4, 0);
	is_bad_write(&m, VMMIO_QUEUE_READY, 4, 0);
	is_bad_write(&m, VMMIO_CONFIG + WRITABLE, 1, 0x55);
	is_bad_write(&m, VMMIO_INTERRUPT_ACK, 4, 1);
	is_bad_write(&m, VMMIO_DEVICE_FEATURES_SEL, 4, 1);
	seq = m.region->driver.quiesce_seq;
	CHECK_INT(wr_cpu(&m, VMMIO_STATUS, 0, 31), VMMIO_HOLD);
	CHECK_INT(m.region->driver.quiesce_seq, seq);
	CHECK_INT(vmmio_reset(&m.dev), 0);
	/* an acknowledgement of something else is none */
	m.region->device.quiesce_ack = seq + 1;
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	m.region->device.quiesce_ack = seq - 1;
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING);
	acknowledge_quiescence(&m);
	CHECK(vmmio_is_quiet(&m.dev));
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING);
	CHECK_INT(vmmio_quiesced(&m.dev), 1u << 3 | 1u << 31);
	is_as_after_power_on(&m);
	CHECK_INT(m.region->config[0][WRITABLE], 0x40 + WRITABLE);
	CHECK_INT(vmmio_quiesced(&m.dev), 0); /* each once */
	CHECK(vmmio_is_quiet(&m.dev));
}

/* A driver that probes writes 0 first: nobody has to be woken for that. */
static void test_reset_of_quiet_device(void)
{
	struct machine m;
	core_u32 seq;

	machine_init(&m);
	vmmio_attach(&m.dev);
	m.region->doorbell.events = 0;
	m.region->doorbell.sleeping = 1;
	seq = m.region->driver.quiesce_seq;
	wr(&m, VMMIO_QUEUE_SEL, 5);
	write_features(&m, 0x7777);
	set_up_queue(&m, 2);
	CHECK_INT(wr(&m, VMMIO_STATUS, 0), 0);
	CHECK_INT(m.region->doorbell.events, 0);
	CHECK_INT(m.region->driver.quiesce_seq, seq);
	is_as_after_power_on(&m);
	/* but if the driver wrote config, the backend has to know that it is as before */
	vmmio_write(&m.dev, VMMIO_CONFIG + WRITABLE, 1, 1, 0);
	m.region->doorbell.events = 0;
	m.region->doorbell.sleeping = 1;
	CHECK_INT(wr(&m, VMMIO_STATUS, 0), VMMIO_KICK);
	CHECK_INT(m.region->doorbell.events, REGION_EV_CONFIG);
	CHECK_INT(m.region->config[1][WRITABLE], 0x40 + WRITABLE);
	/* with a status there may be more to undo */
	wr(&m, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE);
	CHECK_INT(wr(&m, VMMIO_STATUS, 0) & VMMIO_HOLD, VMMIO_HOLD);
}

static void test_reset_ends_with_the_backend(void)
{
	struct machine m;

	start(&m, true);
	wr_cpu(&m, VMMIO_STATUS, 0, 9);
	m.region->device.needs_reset = 1;
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	vmmio_detach(&m.dev);
	is_as_after_power_on(&m);
	CHECK_INT(vmmio_quiesced(&m.dev), 1u << 9);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
}

static void test_reset_of_the_zone(void)
{
	struct machine m;

	start(&m, true);
	m.region->doorbell.sleeping = 1;
	CHECK_INT(vmmio_reset(&m.dev), VMMIO_KICK);
	CHECK(!vmmio_is_quiet(&m.dev));
	acknowledge_quiescence(&m);
	CHECK(vmmio_is_quiet(&m.dev));
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	is_as_after_power_on(&m);
	/* a CPU that was held when the zone stops is answered with the rest */
	negotiate(&m, OFFERED);
	wr_cpu(&m, VMMIO_STATUS, 0, 4);
	CHECK_INT(vmmio_reset(&m.dev), 0);
	vmmio_detach(&m.dev);
	CHECK_INT(vmmio_quiesced(&m.dev), 1u << 4);
	CHECK(vmmio_is_quiet(&m.dev));
	CHECK_INT(vmmio_reset(&m.dev), 0);
}

static void test_queue_disable(void)
{
	struct machine m;
	core_u32 seq;

	start(&m, true);
	seq = m.region->driver.quiesce_seq;
	wr(&m, VMMIO_QUEUE_SEL, 1);
	m.region->doorbell.sleeping = 1;
	CHECK_INT(wr_cpu(&m, VMMIO_QUEUE_READY, 0, 2), VMMIO_HOLD | VMMIO_KICK);
	CHECK_INT(m.region->driver.quiesce_seq, seq + 1);
	CHECK_INT(m.region->driver.queue[1].ready, 0);
	CHECK_INT(m.region->driver.queue[0].ready, 1);
	CHECK_INT(m.region->driver.status, RUNNING);
	CHECK_INT(m.region->driver.features, OFFERED);
	CHECK_INT(m.region->doorbell.events, REGION_EV_STATUS);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 0);
	/* the queue is not to be touched, the others work on */
	is_bad_write(&m, VMMIO_QUEUE_READY, 4, 0);
	is_bad_write(&m, VMMIO_QUEUE_READY, 4, 1);
	is_bad_write(&m, VMMIO_QUEUE_NUM, 4, 64);
	is_bad_write(&m, VMMIO_QUEUE_RESET, 4, 1);
	is_bad_write(&m, VMMIO_QUEUE_NOTIFY, 4, 1);
	CHECK_INT(m.region->doorbell.queues, 0);
	wr(&m, VMMIO_QUEUE_NOTIFY, 0);
	CHECK_INT(m.region->doorbell.queues, 1);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	CHECK(!vmmio_is_quiet(&m.dev));
	acknowledge_quiescence(&m);
	CHECK(!vmmio_is_quiet(&m.dev)); /* queue 0 */
	CHECK_INT(vmmio_quiesced(&m.dev), 1u << 2);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING);
	/* to disable it again is nothing; how it was set up is still there; the next life has another epoch */
	CHECK_INT(wr(&m, VMMIO_QUEUE_READY, 0), 0);
	wr(&m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(m.region->driver.queue[1].ready, 1);
	CHECK_INT(m.region->driver.queue[1].num, 128);
	CHECK_INT(m.region->driver.queue[1].epoch, 2);
}

static void test_queue_disable_without_backend(void)
{
	struct machine m;

	start(&m, false);
	wr(&m, VMMIO_QUEUE_SEL, 1);
	CHECK_INT(wr(&m, VMMIO_QUEUE_READY, 0), 0);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 0);
	CHECK_INT(m.region->driver.queue[1].ready, 0);
	CHECK_INT(m.dev.queue[1].num, 128);
	wr(&m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(wr(&m, VMMIO_QUEUE_RESET, 1), 0);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 0);
	CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 0);
	CHECK_INT(m.dev.queue[1].num, 0);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
}

static void test_queue_reset(void)
{
	struct machine m;

	start(&m, true);
	wr(&m, VMMIO_QUEUE_SEL, 0);
	is_bad_write(&m, VMMIO_QUEUE_RESET, 4, 2);
	CHECK_INT(wr(&m, VMMIO_QUEUE_RESET, 0), 0);
	CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 0);
	CHECK_INT(wr_cpu(&m, VMMIO_QUEUE_RESET, 1, 7), VMMIO_HOLD);
	CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 1); /* as long as it goes on: virtio 1.2, 4.2.2.1 */
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	CHECK_INT(m.region->driver.queue[0].ready, 0);
	acknowledge_quiescence(&m);
	CHECK_INT(vmmio_quiesced(&m.dev), 1u << 7);
	CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 0);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 0);
	CHECK_INT(m.dev.queue[0].num, 0);
	CHECK_INT(m.dev.queue[0].desc, 0);
	CHECK_INT(m.dev.queue[0].driver, 0);
	CHECK_INT(m.dev.queue[0].device, 0);
	/* of a queue that is not ready: at once */
	set_up_queue(&m, 2);
	CHECK_INT(wr(&m, VMMIO_QUEUE_RESET, 1), 0);
	CHECK_INT(m.dev.queue[2].num, 0);
	CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 0);
	/* and the queue can be used again; a later disable is no reset */
	enable_queue(&m, 0);
	CHECK_INT(m.region->driver.queue[0].epoch, 2);
	CHECK_INT(wr(&m, VMMIO_QUEUE_READY, 0), VMMIO_HOLD);
	CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 0);
	acknowledge_quiescence(&m);
	vmmio_quiesced(&m.dev);
	CHECK_INT(m.dev.queue[0].num, 128);
}

static void test_queue_reset_needs_the_feature(void)
{
	struct machine m;

	machine_init(&m);
	vmmio_attach(&m.dev);
	negotiate(&m, OFFERED & ~VMMIO_F_RING_RESET);
	enable_queue(&m, 0);
	is_bad_write(&m, VMMIO_QUEUE_RESET, 4, 1);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 0);
	/* written, but not yet accepted */
	machine_init(&m);
	write_features(&m, OFFERED);
	set_up_queue(&m, 0);
	is_bad_write(&m, VMMIO_QUEUE_RESET, 4, 1);
	CHECK_INT(m.dev.queue[0].num, 128);
}

/* Two queues, then a reset: all are answered when the backend has acknowledged the last, none before. */
static void test_holds_join(void)
{
	struct machine m;
	core_u32 first;

	start(&m, true);
	wr(&m, VMMIO_QUEUE_SEL, 0);
	CHECK_INT(wr_cpu(&m, VMMIO_QUEUE_READY, 0, 0), VMMIO_HOLD);
	first = m.region->driver.quiesce_seq;
	wr_cpu(&m, VMMIO_QUEUE_SEL, 1, 1);
	CHECK_INT(wr_cpu(&m, VMMIO_QUEUE_RESET, 1, 1), VMMIO_HOLD);
	CHECK_INT(m.region->driver.quiesce_seq, first + 1);
	m.region->device.quiesce_ack = first;
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	CHECK_INT(wr_cpu(&m, VMMIO_STATUS, 0, 2), VMMIO_HOLD);
	m.region->device.quiesce_ack = first + 1;
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING);
	acknowledge_quiescence(&m);
	CHECK_INT(vmmio_quiesced(&m.dev), 7);
	is_as_after_power_on(&m);
}

static void test_quiesce_seq_is_never_0(void)
{
	struct machine m;

	start(&m, true);
	m.dev.quiesce_seq = 0xffffffff;
	m.dev.queue[0].epoch = 0xffffffff;
	m.region->device.quiesce_ack = 0;
	wr(&m, VMMIO_QUEUE_SEL, 0);
	CHECK_INT(wr(&m, VMMIO_QUEUE_READY, 0), VMMIO_HOLD);
	CHECK_INT(m.region->driver.quiesce_seq, 1);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	acknowledge_quiescence(&m);
	CHECK_INT(vmmio_quiesced(&m.dev), 1);
	wr(&m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(m.region->driver.queue[0].epoch, 1);
}

/* A backend takes over what the driver negotiated with its predecessor, whatever that one left in the region. */
static void test_attach(void)
{
	struct machine m;
	struct region_driver before;
	struct region_shape shape;
	core_u64 queues;

	start(&m, true);
	m.region->irq.interrupt_status = 2;
	m.region->device.needs_reset = 1;
	before = m.region->driver;
	vmmio_detach(&m.dev);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING | VMMIO_S_NEEDS_RESET);
	memset(&m.region->head, 0xee, sizeof(m.region->head));
	memset(&m.region->driver, 0xee, sizeof(m.region->driver));
	memset(&m.region->doorbell, 0, sizeof(m.region->doorbell));
	m.region->device.quiesce_ack = 0xeeeeeeee;
	vmmio_attach(&m.dev);
	CHECK(region_open(m.region, region_size(&usual), &shape));
	CHECK_INT(shape.device_features, OFFERED);
	CHECK_MEM(&m.region->driver, &before, sizeof(before));
	CHECK_INT(m.region->device.quiesce_ack, m.region->driver.quiesce_seq);
	CHECK_INT(m.region->doorbell.events, REGION_EV_STATUS | REGION_EV_CONFIG | REGION_EV_CONTROL);
	queues = m.region->doorbell.queues;
	CHECK_INT(queues & 3, 3); /* what its predecessor took out of the doorbell is not lost */
	CHECK_INT(m.region->irq.interrupt_status, 2);
	CHECK_INT(m.region->device.needs_reset, 1);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING | VMMIO_S_NEEDS_RESET);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	CHECK(!vmmio_is_quiet(&m.dev));
}

/* Changes while no backend is there reach the next one. */
static void test_changes_while_detached(void)
{
	struct machine m;

	start(&m, true);
	vmmio_detach(&m.dev);
	CHECK(vmmio_is_quiet(&m.dev));
	CHECK_INT(wr(&m, VMMIO_STATUS, 0), 0);
	negotiate(&m, VMMIO_F_VERSION_1);
	enable_queue(&m, 2);
	wr(&m, VMMIO_STATUS, RUNNING);
	wr(&m, VMMIO_QUEUE_NOTIFY, 2);
	vmmio_attach(&m.dev);
	CHECK_INT(m.region->driver.status, RUNNING);
	CHECK_INT(m.region->driver.features, VMMIO_F_VERSION_1);
	CHECK_INT(m.region->driver.queue[0].ready, 0);
	CHECK_INT(m.region->driver.queue[1].ready, 0);
	CHECK_INT(m.region->driver.queue[2].ready, 1);
	CHECK_INT(m.region->driver.queue[2].epoch, 1);
	CHECK(m.region->doorbell.queues & 4);
}

/* A caller that attaches without having detached: what is held is answered all the same. */
static void test_attach_ends_holds(void)
{
	struct machine m;

	start(&m, true);
	wr_cpu(&m, VMMIO_STATUS, 0, 6);
	vmmio_attach(&m.dev);
	CHECK_INT(m.region->driver.status, 0);
	CHECK_INT(vmmio_quiesced(&m.dev), 1u << 6);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	is_as_after_power_on(&m);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"vmmio_reset_without_backend", test_reset_without_backend, 0},
		{"vmmio_reset_is_held", test_reset_is_held, 0},
		{"vmmio_reset_of_quiet_device", test_reset_of_quiet_device, 0},
		{"vmmio_reset_ends_with_the_backend", test_reset_ends_with_the_backend, 0},
		{"vmmio_reset_of_the_zone", test_reset_of_the_zone, 0},
		{"vmmio_queue_disable", test_queue_disable, 0},
		{"vmmio_queue_disable_without_backend", test_queue_disable_without_backend, 0},
		{"vmmio_queue_reset", test_queue_reset, 0},
		{"vmmio_queue_reset_needs_the_feature", test_queue_reset_needs_the_feature, 0},
		{"vmmio_holds_join", test_holds_join, 0},
		{"vmmio_quiesce_seq_is_never_0", test_quiesce_seq_is_never_0, 0},
		{"vmmio_attach", test_attach, 0},
		{"vmmio_changes_while_detached", test_changes_while_detached, 0},
		{"vmmio_attach_ends_holds", test_attach_ends_holds, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
