/* SPDX-License-Identifier: MIT */
/* The registers, rule by rule. test_vmmio_property.c compares them with a second model on random accesses. */
#include "vmmio_machine.h"

static void test_identity(void)
{
	struct machine m;

	machine_init(&m);
	CHECK_INT(rd(&m, 0x000), 0x74726976);
	CHECK_INT(rd(&m, 0x004), 2);
	CHECK_INT(rd(&m, 0x008), 2);
	CHECK_INT(rd(&m, 0x00c), VMMIO_VENDOR);
	CHECK_INT(rd(&m, VMMIO_STATUS), 0);
	CHECK_INT(rd(&m, VMMIO_INTERRUPT_STATUS), 0);
	CHECK_INT(m.dev.bad_accesses, 0);
	CHECK_INT(m.dev.accesses, 6);
}

static void test_only_aligned_words(void)
{
	static const core_u32 sizes[] = {0, 1, 2, 3, 5, 6, 7, 8, 9, 16, 0xffffffffu};
	struct machine m;
	core_u32 i;

	start(&m, false);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		is_bad_read(&m, VMMIO_MAGIC_VALUE, sizes[i]);
		is_bad_write(&m, VMMIO_STATUS, sizes[i], VMMIO_S_FAILED);
	}
	for (i = 1; i < 4; i++) {
		is_bad_read(&m, VMMIO_MAGIC_VALUE + i, 4);
		is_bad_write(&m, VMMIO_STATUS + i, 4, VMMIO_S_FAILED);
	}
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING);
	/* across the end of the registers into config */
	is_bad_read(&m, VMMIO_CONFIG - 4, 8);
	is_bad_read(&m, VMMIO_CONFIG - 2, 4);
	/* sizes that no access has, in config too */
	is_bad_read(&m, VMMIO_CONFIG, 3);
	is_bad_read(&m, VMMIO_CONFIG, 0);
	is_bad_write(&m, VMMIO_CONFIG + WRITABLE, 16, 1);
	CHECK_INT(m.region->config[0][WRITABLE], 0x40 + WRITABLE);
	/* the upper half of the value of a word is nothing */
	CHECK_INT(vmmio_write(&m.dev, VMMIO_QUEUE_SEL, 4, 0xffffffff00000001ull, 0), 0);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	/* a CPU that there is not cannot be answered later: nothing happens */
	CHECK_INT(vmmio_write(&m.dev, VMMIO_STATUS, 4, 0, 32), 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING);
}

static void test_directions(void)
{
	static const core_u32 write_only[] = {
		VMMIO_DEVICE_FEATURES_SEL, VMMIO_DRIVER_FEATURES,  VMMIO_DRIVER_FEATURES_SEL, VMMIO_QUEUE_SEL,
		VMMIO_QUEUE_NUM,           VMMIO_QUEUE_NOTIFY,     VMMIO_INTERRUPT_ACK,       VMMIO_QUEUE_DESC_LOW,
		VMMIO_QUEUE_DESC_HIGH,     VMMIO_QUEUE_DRIVER_LOW, VMMIO_QUEUE_DRIVER_HIGH,   VMMIO_QUEUE_DEVICE_LOW,
		VMMIO_QUEUE_DEVICE_HIGH,   VMMIO_SHM_SEL,
	};
	static const core_u32 read_only[] = {
		VMMIO_MAGIC_VALUE,     VMMIO_VERSION,       VMMIO_DEVICE_ID,        VMMIO_VENDOR_ID,
		VMMIO_DEVICE_FEATURES, VMMIO_QUEUE_NUM_MAX, VMMIO_INTERRUPT_STATUS, VMMIO_SHM_LEN_LOW,
		VMMIO_SHM_LEN_HIGH,    VMMIO_SHM_BASE_LOW,  VMMIO_SHM_BASE_HIGH,    VMMIO_CONFIG_GENERATION,
	};
	static const core_u32 nothing[] = {0x01c, 0x028, 0x02c, 0x03c, 0x040, 0x048,
					   0x04c, 0x054, 0x068, 0x074, 0x0c4, 0x0f8};
	struct machine m;
	core_u32 before;
	core_u32 i;

	start(&m, false);
	m.region->irq.interrupt_status = 3;
	for (i = 0; i < sizeof(write_only) / sizeof(write_only[0]); i++)
		is_bad_read(&m, write_only[i], 4);
	for (i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++) {
		before = rd(&m, read_only[i]);
		is_bad_write(&m, read_only[i], 4, ~before);
		CHECK_INT(rd(&m, read_only[i]), before);
	}
	for (i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
		is_bad_read(&m, nothing[i], 4);
		is_bad_write(&m, nothing[i], 4, 1);
	}
}

static void test_shared_memory_regions(void)
{
	struct machine m;
	core_u32 id;

	machine_init(&m);
	for (id = 0; id < 2; id++) {
		CHECK_INT(wr(&m, VMMIO_SHM_SEL, id), 0);
		CHECK_INT(rd(&m, VMMIO_SHM_LEN_LOW), 0xffffffff);
		CHECK_INT(rd(&m, VMMIO_SHM_LEN_HIGH), 0xffffffff);
		CHECK_INT(rd(&m, VMMIO_SHM_BASE_LOW), 0xffffffff);
		CHECK_INT(rd(&m, VMMIO_SHM_BASE_HIGH), 0xffffffff);
	}
	CHECK_INT(m.dev.bad_accesses, 0);
}

static void test_features(void)
{
	struct machine m;

	machine_init(&m);
	CHECK_INT(rd(&m, VMMIO_DEVICE_FEATURES), (core_u32)OFFERED);
	wr(&m, VMMIO_DEVICE_FEATURES_SEL, 1);
	CHECK_INT(rd(&m, VMMIO_DEVICE_FEATURES), OFFERED >> 32);
	wr(&m, VMMIO_DEVICE_FEATURES_SEL, 2);
	CHECK_INT(rd(&m, VMMIO_DEVICE_FEATURES), 0);
	wr(&m, VMMIO_DEVICE_FEATURES_SEL, 0xffffffff);
	CHECK_INT(rd(&m, VMMIO_DEVICE_FEATURES), 0);

	/* the words of the driver's features are apart, and can be written again */
	wr(&m, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	write_features(&m, 0xffffffffffffffffull);
	write_features(&m, VMMIO_F_VERSION_1 | 4);
	wr(&m, VMMIO_DRIVER_FEATURES_SEL, 2);
	wr(&m, VMMIO_DRIVER_FEATURES, 0xffffffff);
	wr(&m, VMMIO_DRIVER_FEATURES_SEL, 33);
	wr(&m, VMMIO_DRIVER_FEATURES, 0xffffffff);
	CHECK_INT(m.region->driver.features, 0);
	wr(&m, VMMIO_STATUS, NEGOTIATED);
	CHECK_INT(rd(&m, VMMIO_STATUS), NEGOTIATED);
	CHECK_INT(m.region->driver.features, VMMIO_F_VERSION_1 | 4);
	CHECK_INT(m.region->driver.status, NEGOTIATED);

	/* fixed once FEATURES_OK is accepted */
	wr(&m, VMMIO_DRIVER_FEATURES_SEL, 0);
	is_bad_write(&m, VMMIO_DRIVER_FEATURES, 4, 0x244);
	CHECK_INT(m.dev.driver_features, VMMIO_F_VERSION_1 | 4);
	wr(&m, VMMIO_STATUS, RUNNING);
	CHECK_INT(m.region->driver.features, VMMIO_F_VERSION_1 | 4);
}

static void test_features_ok_refused(void)
{
	static const core_u64 refused[] = {
		0, OFFERED & ~VMMIO_F_VERSION_1, OFFERED | 1, OFFERED | 1ull << 63, VMMIO_F_VERSION_1 | 0x80000000,
	};
	struct machine m;
	core_u32 i;

	machine_init(&m);
	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		negotiate(&m, refused[i]);
		CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
		CHECK_INT(m.region->driver.features, 0);
		/* and without it no DRIVER_OK, however it is asked for */
		is_bad_write(&m, VMMIO_STATUS, 4, RUNNING);
		is_bad_write(&m, VMMIO_STATUS, 4, RUNNING & ~VMMIO_S_FEATURES_OK);
		CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	}
	/* the driver may try again without a reset, and may set several bits at once */
	write_features(&m, OFFERED);
	wr(&m, VMMIO_STATUS, RUNNING);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING);
}

static void test_status_bits(void)
{
	struct machine m;

	machine_init(&m);
	m.region->doorbell.events = 0;
	CHECK_INT(wr(&m, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE), 0);
	CHECK_INT(m.region->doorbell.events, REGION_EV_STATUS);
	CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_ACKNOWLEDGE);
	/* no bit is cleared but by a reset */
	is_bad_write(&m, VMMIO_STATUS, 4, VMMIO_S_DRIVER);
	CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	/* bits that there are not, and the device's own, are not set; others that come with them are */
	is_bad_write(&m, VMMIO_STATUS, 4, 0xffffff30u | 3);
	CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	m.region->doorbell.events = 0;
	wr(&m, VMMIO_STATUS, VMMIO_S_NEEDS_RESET | 3);
	CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	CHECK_INT(m.region->doorbell.events, 0); /* nothing changed */
	wr(&m, VMMIO_STATUS, VMMIO_S_FAILED | 3);
	CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FAILED);
	CHECK_INT(m.region->driver.status, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FAILED);
	/* only a value of 0 resets, not one whose known bits are 0 */
	is_bad_write(&m, VMMIO_STATUS, 4, 0x100);
	CHECK(rd(&m, VMMIO_STATUS) != 0);
	wr(&m, VMMIO_STATUS, 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), 0);
}

static void test_needs_reset(void)
{
	struct machine m;

	start(&m, false);
	m.region->device.needs_reset = 0x80000000;
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING | VMMIO_S_NEEDS_RESET);
	CHECK_INT(m.region->driver.status, RUNNING);
	/* a driver that writes back what it read */
	wr(&m, VMMIO_STATUS, RUNNING | VMMIO_S_NEEDS_RESET);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING | VMMIO_S_NEEDS_RESET);
	wr(&m, VMMIO_STATUS, 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), 0);
	CHECK_INT(m.region->device.needs_reset, 0);
}

/* A backend that fails before the driver came is told of the reset as well. */
static void test_needs_reset_at_status_0(void)
{
	struct machine m;

	machine_init(&m);
	vmmio_attach(&m.dev);
	m.region->device.needs_reset = 1;
	CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_NEEDS_RESET);
	CHECK_INT(wr_cpu(&m, VMMIO_STATUS, 0, 5), VMMIO_HOLD);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	acknowledge_quiescence(&m);
	CHECK_INT(vmmio_quiesced(&m.dev), 1u << 5);
	CHECK_INT(rd(&m, VMMIO_STATUS), 0);
}

static void test_fail_and_repair(void)
{
	struct machine m;

	start(&m, false);
	CHECK_INT(vmmio_fail(&m.dev), VMMIO_INTERRUPT);
	CHECK_INT(rd(&m, VMMIO_INTERRUPT_STATUS), REGION_INT_CONFIG);
	CHECK_INT(rd(&m, VMMIO_STATUS), RUNNING | VMMIO_S_NEEDS_RESET);
	CHECK_INT(vmmio_fail(&m.dev), 0); /* told once */
	wr(&m, VMMIO_STATUS, 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_NEEDS_RESET);
	CHECK_INT(rd(&m, VMMIO_INTERRUPT_STATUS), 0);
	negotiate(&m, OFFERED);
	CHECK_INT(rd(&m, VMMIO_STATUS), NEGOTIATED | VMMIO_S_NEEDS_RESET);
	vmmio_repair(&m.dev);
	CHECK_INT(rd(&m, VMMIO_STATUS), NEGOTIATED);
	/* a driver that is not there yet gets no interrupt */
	CHECK_INT(vmmio_fail(&m.dev), 0);
	CHECK_INT(rd(&m, VMMIO_INTERRUPT_STATUS), 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), NEGOTIATED | VMMIO_S_NEEDS_RESET);
}

static void test_queue_of_driver_is_published(void)
{
	struct machine m;
	struct region_queue *shared;

	machine_init(&m);
	negotiate(&m, OFFERED);
	shared = &m.region->driver.queue[2];
	set_up_queue(&m, 2);
	CHECK_INT(rd(&m, VMMIO_QUEUE_NUM_MAX), 256);
	CHECK_INT(shared->ready, 0);
	m.region->doorbell.events = 0;
	wr(&m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(m.region->doorbell.events, REGION_EV_STATUS);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	CHECK_INT(shared->ready, 1);
	CHECK_INT(shared->num, 128);
	CHECK_INT(shared->desc, 0x100030000ull);
	CHECK_INT(shared->driver, 0x200031002ull);
	CHECK_INT(shared->device, 0x300032004ull);
	CHECK_INT(shared->epoch, 1);
	CHECK_INT(m.region->driver.queue[0].ready, 0);
	CHECK_INT(m.region->driver.queue[1].ready, 0);

	/* while it is ready nothing of it can be changed, and enabling it again does nothing */
	is_bad_write(&m, VMMIO_QUEUE_NUM, 4, 64);
	is_bad_write(&m, VMMIO_QUEUE_DESC_LOW, 4, 0);
	is_bad_write(&m, VMMIO_QUEUE_DESC_HIGH, 4, 0);
	is_bad_write(&m, VMMIO_QUEUE_DRIVER_LOW, 4, 0);
	is_bad_write(&m, VMMIO_QUEUE_DRIVER_HIGH, 4, 0);
	is_bad_write(&m, VMMIO_QUEUE_DEVICE_LOW, 4, 0);
	is_bad_write(&m, VMMIO_QUEUE_DEVICE_HIGH, 4, 0);
	is_bad_write(&m, VMMIO_QUEUE_READY, 4, 2);
	CHECK_INT(wr(&m, VMMIO_QUEUE_READY, 1), 0);
	CHECK_INT(shared->epoch, 1);
	CHECK_INT(m.dev.queue[2].num, 128);
	CHECK_INT(m.dev.queue[2].desc, 0x100030000ull);
	CHECK_INT(m.dev.queue[2].driver, 0x200031002ull);
	CHECK_INT(m.dev.queue[2].device, 0x300032004ull);
}

static void test_queues_that_there_are_not(void)
{
	static const core_u32 registers[] = {
		VMMIO_QUEUE_NUM,        VMMIO_QUEUE_READY,       VMMIO_QUEUE_DESC_LOW,
		VMMIO_QUEUE_DESC_HIGH,  VMMIO_QUEUE_DRIVER_LOW,  VMMIO_QUEUE_DRIVER_HIGH,
		VMMIO_QUEUE_DEVICE_LOW, VMMIO_QUEUE_DEVICE_HIGH, VMMIO_QUEUE_RESET,
	};
	static const core_u32 queues[] = {3, 63, 64, 65, 0x7fffffff, 0xffffffff};
	struct machine m;
	core_u32 i;
	core_u32 j;

	start(&m, false);
	for (i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
		wr(&m, VMMIO_QUEUE_SEL, queues[i]);
		CHECK_INT(rd(&m, VMMIO_QUEUE_NUM_MAX), 0);
		CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 0);
		CHECK_INT(rd(&m, VMMIO_QUEUE_RESET), 0);
		for (j = 0; j < sizeof(registers) / sizeof(registers[0]); j++)
			is_bad_write(&m, registers[j], 4, 1);
		is_bad_write(&m, VMMIO_QUEUE_NOTIFY, 4, queues[i]);
	}
	CHECK_INT(m.region->doorbell.queues, 0);
}

static void test_ready_needs_features_ok(void)
{
	struct machine m;

	machine_init(&m);
	wr(&m, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	set_up_queue(&m, 0);
	is_bad_write(&m, VMMIO_QUEUE_READY, 4, 1);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 0);
	CHECK_INT(rd(&m, VMMIO_STATUS), VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	/* how it was set up is still there once features are settled */
	negotiate(&m, OFFERED);
	wr(&m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	CHECK_INT(m.region->driver.queue[0].num, 128);
}

static void test_impossible_queue(void)
{
	static const struct {
		core_u32 offset;
		core_u32 value;
	} wrong[] = {
		{VMMIO_QUEUE_NUM, 0},
		{VMMIO_QUEUE_NUM, 3},
		{VMMIO_QUEUE_NUM, 96},
		{VMMIO_QUEUE_NUM, 512},
		{VMMIO_QUEUE_NUM, 0x80000000},
		{VMMIO_QUEUE_NUM, 0x10080},
		{VMMIO_QUEUE_DESC_LOW, 0x10008},
		{VMMIO_QUEUE_DRIVER_LOW, 0x10001},
		{VMMIO_QUEUE_DEVICE_LOW, 0x10002},
	};
	struct machine m;
	core_u32 running;
	core_u32 i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		for (running = 0; running < 2; running++) {
			machine_init(&m);
			negotiate(&m, OFFERED);
			if (running)
				wr(&m, VMMIO_STATUS, RUNNING);
			set_up_queue(&m, 1);
			wr(&m, wrong[i].offset, wrong[i].value);
			wr(&m, VMMIO_QUEUE_READY, 1);
			/* a driver that runs is told by an interrupt */
			CHECK_INT(m.effects, running ? VMMIO_INTERRUPT : 0);
			CHECK_INT(rd(&m, VMMIO_INTERRUPT_STATUS), running ? REGION_INT_CONFIG : 0);
			CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 0);
			CHECK_INT(m.region->driver.queue[1].ready, 0);
			CHECK_INT(m.region->driver.queue[1].epoch, 0);
			CHECK(rd(&m, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET);
			/* once is enough; and a good queue does not take it back, a reset does */
			CHECK_INT(wr(&m, VMMIO_QUEUE_READY, 1), 0);
			set_up_queue(&m, 1);
			wr(&m, VMMIO_QUEUE_READY, 1);
			CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
			CHECK(rd(&m, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET);
			wr(&m, VMMIO_STATUS, 0);
			CHECK_INT(rd(&m, VMMIO_STATUS), 0);
		}
	}
	/* the largest and the smallest queue are possible */
	machine_init(&m);
	negotiate(&m, OFFERED);
	set_up_queue(&m, 0);
	wr(&m, VMMIO_QUEUE_NUM, 256);
	wr(&m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	set_up_queue(&m, 1);
	wr(&m, VMMIO_QUEUE_NUM, 1);
	wr(&m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(rd(&m, VMMIO_QUEUE_READY), 1);
	CHECK_INT(rd(&m, VMMIO_STATUS), NEGOTIATED);
}

static void test_notify(void)
{
	struct machine m;

	machine_init(&m);
	negotiate(&m, OFFERED);
	enable_queue(&m, 1);
	m.region->doorbell.queues = 0;
	m.region->doorbell.sleeping = 1;
	is_bad_write(&m, VMMIO_QUEUE_NOTIFY, 4, 1); /* before DRIVER_OK */
	CHECK_INT(wr(&m, VMMIO_STATUS, RUNNING), VMMIO_KICK);
	is_bad_write(&m, VMMIO_QUEUE_NOTIFY, 4, 0); /* not ready */
	CHECK_INT(m.region->doorbell.queues, 0);
	m.region->doorbell.events = 0;

	/* sleeping: kicked, once */
	m.region->doorbell.sleeping = 1;
	CHECK_INT(wr(&m, VMMIO_QUEUE_NOTIFY, 1), VMMIO_KICK);
	CHECK_INT(m.region->doorbell.queues, 2);
	CHECK_INT(m.region->doorbell.sleeping, 0);
	CHECK_INT(wr(&m, VMMIO_QUEUE_NOTIFY, 1), 0);
	/* other queues' bits stay */
	set_up_queue(&m, 0);
	wr(&m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(wr(&m, VMMIO_QUEUE_NOTIFY, 0), 0);
	CHECK_INT(m.region->doorbell.queues, 3);
	CHECK_INT(m.dev.notifications, 3);
	/* a notification is of a queue, not of its state */
	CHECK_INT(m.region->doorbell.events, REGION_EV_STATUS); /* of QueueReady */
}

static void test_ring(void)
{
	struct machine m;

	machine_init(&m);
	m.region->doorbell.events = 0;
	CHECK_INT(vmmio_ring(m.region, REGION_EV_CONTROL), 0);
	CHECK_INT(m.region->doorbell.events, REGION_EV_CONTROL);
	m.region->doorbell.sleeping = 1;
	CHECK_INT(vmmio_ring(m.region, REGION_EV_CONFIG), VMMIO_KICK);
	CHECK_INT(m.region->doorbell.events, REGION_EV_CONTROL | REGION_EV_CONFIG);
	CHECK_INT(m.region->doorbell.sleeping, 0);
	/* a backend that says neither yes nor no is not worth a kick */
	m.region->doorbell.sleeping = 2;
	CHECK_INT(vmmio_ring(m.region, REGION_EV_CONFIG), 0);
}

static void test_interrupt_status(void)
{
	struct machine m;

	start(&m, false);
	m.region->irq.interrupt_status = 0xfffffffeu;
	CHECK_INT(rd(&m, VMMIO_INTERRUPT_STATUS), REGION_INT_CONFIG);
	m.region->irq.interrupt_status = 3;
	wr(&m, VMMIO_INTERRUPT_ACK, REGION_INT_USED);
	CHECK_INT(rd(&m, VMMIO_INTERRUPT_STATUS), REGION_INT_CONFIG);
	is_bad_write(&m, VMMIO_INTERRUPT_ACK, 4, 0xfffffffcu);
	CHECK_INT(rd(&m, VMMIO_INTERRUPT_STATUS), REGION_INT_CONFIG);
	wr(&m, VMMIO_INTERRUPT_ACK, REGION_INT_CONFIG);
	CHECK_INT(m.region->irq.interrupt_status, 0);
	CHECK_INT(m.dev.irq_acknowledges, 3); /* a read says nothing: what it returned may be 0 */
}

static core_u64 read_config(struct machine *m, core_u64 at, core_u32 size)
{
	core_u64 value = 0x1122334455667788ull;

	CHECK_INT(vmmio_read(&m->dev, VMMIO_CONFIG + at, size, &value), 0);
	return value;
}

static void test_config_reads(void)
{
	struct machine m;
	core_u8 bytes[2] = {0xaa, 0xbb};
	core_u64 want;
	core_u32 size;
	core_u32 at;
	core_u32 i;

	machine_init(&m);
	/* what a backend writes behind the end of config is not config */
	memset(m.region->config[0] + CONFIG_LEN, 0xee, REGION_CONFIG_MAX - CONFIG_LEN);
	for (size = 1; size <= 8; size *= 2) {
		for (at = 0; at <= 300; at++) {
			want = 0;
			for (i = 0; i < size && at + i < CONFIG_LEN; i++)
				want |= (core_u64)(0x40 + at + i) << (8 * i);
			CHECK_INT(read_config(&m, at, size), want);
		}
		CHECK_INT(read_config(&m, 0xffffffffull, size), 0);
		CHECK_INT(read_config(&m, 0ull - VMMIO_CONFIG - 1, size), 0);
	}
	CHECK_INT(m.dev.bad_accesses, 0);
	CHECK_INT(rd(&m, VMMIO_CONFIG_GENERATION), 0);
	/* the copy that the generation names, whatever the generation */
	region_config_update(m.region, 4, bytes, 2);
	CHECK_INT(rd(&m, VMMIO_CONFIG_GENERATION), 1);
	CHECK_INT(read_config(&m, 3, 4), 0x46bbaa43);
	m.region->config[1][4] = 0x11;
	CHECK_INT(read_config(&m, 4, 1), 0x11);
	m.region->device.config_gen = 0xfffffffe;
	CHECK_INT(read_config(&m, 4, 1), 0xaa);
	CHECK_INT(rd(&m, VMMIO_CONFIG_GENERATION), 0xfffffffe);
}

static void test_config_writes(void)
{
	struct machine m;
	core_u32 i;

	start(&m, true);
	m.region->doorbell.sleeping = 1;
	is_bad_write(&m, VMMIO_CONFIG, 1, 0x99);
	is_bad_write(&m, VMMIO_CONFIG + WRITABLE - 8, 8, ~0ull);
	is_bad_write(&m, VMMIO_CONFIG + WRITABLE + 2, 8, ~0ull);
	is_bad_write(&m, VMMIO_CONFIG + 0xfff8, 8, ~0ull);
	is_bad_write(&m, ~0ull, 8, ~0ull);
	CHECK_INT(m.region->doorbell.events, 0);
	/* only the bytes that are writable, in both copies, and the backend is told */
	CHECK_INT(vmmio_write(&m.dev, VMMIO_CONFIG + WRITABLE - 1, 4, 0x04030201, 0), VMMIO_KICK);
	CHECK_INT(m.region->doorbell.events, REGION_EV_CONFIG);
	for (i = 0; i < 2; i++) {
		CHECK_INT(m.region->config[i][WRITABLE - 1], 0x40 + WRITABLE - 1);
		CHECK_INT(m.region->config[i][WRITABLE], 2);
		CHECK_INT(m.region->config[i][WRITABLE + 1], 3);
		CHECK_INT(m.region->config[i][WRITABLE + 2], 0x40 + WRITABLE + 2);
	}
	CHECK_INT(read_config(&m, WRITABLE, 2), 0x0302);
	vmmio_write(&m.dev, VMMIO_CONFIG + WRITABLE, 1, 9, 0);
	CHECK_INT(read_config(&m, WRITABLE, 2), 0x0309);
	CHECK_INT(rd(&m, VMMIO_CONFIG_GENERATION), 0);

	/* a reset puts back what was there, and tells the backend that too */
	m.region->doorbell.events = 0;
	CHECK_INT(wr(&m, VMMIO_STATUS, 0), VMMIO_HOLD);
	CHECK_INT(m.region->doorbell.events, REGION_EV_STATUS | REGION_EV_CONFIG);
	acknowledge_quiescence(&m);
	CHECK_INT(vmmio_quiesced(&m.dev), 1);
	CHECK_INT(m.region->config[0][WRITABLE], 0x40 + WRITABLE);
	CHECK_INT(m.region->config[1][WRITABLE + 1], 0x40 + WRITABLE + 1);
	m.region->doorbell.events = 0;
	negotiate(&m, OFFERED);
	m.region->doorbell.events = 0;
	wr(&m, VMMIO_STATUS, 0);
	CHECK_INT(m.region->doorbell.events, REGION_EV_STATUS);
}

/* Each write is there in its order, for a backend that comes to look later; not one that changes nothing. */
static void test_config_write_log(void)
{
	struct region_config_writes *writes;
	struct machine m;
	core_u32 i;

	machine_init(&m);
	writes = &m.region->config_writes;
	for (i = 0; i < REGION_CONFIG_WRITES + 10; i++)
		CHECK_INT(vmmio_write(&m.dev, VMMIO_CONFIG + WRITABLE, 4, 0x11000000 + i, 0), 0);
	is_bad_write(&m, VMMIO_CONFIG + WRITABLE + 4, 4, 7);
	CHECK_INT(writes->count, REGION_CONFIG_WRITES + 10);
	for (i = 10; i < REGION_CONFIG_WRITES + 10; i++) {
		const struct region_config_write *write = &writes->write[i % REGION_CONFIG_WRITES];

		CHECK_INT(write->offset, WRITABLE);
		CHECK_INT(write->size, 4);
		CHECK_INT(write->value, 0x11000000 + i);
	}
	/* The count goes on over resets, and what a backend has made of it is put right for the next one. */
	wr(&m, VMMIO_STATUS, 0);
	writes->count = 3;
	vmmio_attach(&m.dev);
	CHECK_INT(writes->count, REGION_CONFIG_WRITES + 10);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"vmmio_identity", test_identity, 0},
		{"vmmio_only_aligned_words", test_only_aligned_words, 0},
		{"vmmio_directions", test_directions, 0},
		{"vmmio_shared_memory_regions", test_shared_memory_regions, 0},
		{"vmmio_features", test_features, 0},
		{"vmmio_features_ok_refused", test_features_ok_refused, 0},
		{"vmmio_status_bits", test_status_bits, 0},
		{"vmmio_needs_reset", test_needs_reset, 0},
		{"vmmio_needs_reset_at_status_0", test_needs_reset_at_status_0, 0},
		{"vmmio_fail_and_repair", test_fail_and_repair, 0},
		{"vmmio_queue_of_driver_is_published", test_queue_of_driver_is_published, 0},
		{"vmmio_queues_that_there_are_not", test_queues_that_there_are_not, 0},
		{"vmmio_ready_needs_features_ok", test_ready_needs_features_ok, 0},
		{"vmmio_impossible_queue", test_impossible_queue, 0},
		{"vmmio_notify", test_notify, 0},
		{"vmmio_ring", test_ring, 0},
		{"vmmio_interrupt_status", test_interrupt_status, 0},
		{"vmmio_config_reads", test_config_reads, 0},
		{"vmmio_config_writes", test_config_writes, 0},
		{"vmmio_config_write_log", test_config_write_log, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
