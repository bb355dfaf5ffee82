/* SPDX-License-Identifier: MIT */
/* A device and the registers of its driver's side, for the unit tests of the register model. */
#ifndef HVISOR_TESTS_VMMIO_MACHINE_H
#define HVISOR_TESTS_VMMIO_MACHINE_H

#include "common/vmmio.h"

#include <string.h>
#include <sys/mman.h>

#include "tests/test.h"

#define OFFERED (VMMIO_F_VERSION_1 | VMMIO_F_RING_RESET | VMMIO_F_EVENT_IDX | 0x244)
#define NEGOTIATED (VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FEATURES_OK)
#define RUNNING (NEGOTIATED | VMMIO_S_DRIVER_OK)
#define CONFIG_LEN 60
#define WRITABLE 32 /* the byte of config that the driver may write, and the one after it */

static const struct region_shape usual = {
	.device_id = 2,
	.nqueues = 3,
	.queue_size_max = 256,
	.config_len = CONFIG_LEN,
	.device_features = OFFERED,
};

struct machine {
	struct queue_region *region;
	struct vmmio_dev dev;
	core_u32 effects; /* of the last access */
};

static inline void machine_init(struct machine *m)
{
	core_u8 writable[REGION_CONFIG_MAX / 8] = {[WRITABLE / 8] = 3 << (WRITABLE % 8)};
	core_u8 config[CONFIG_LEN];
	core_u32 i;

	for (i = 0; i < CONFIG_LEN; i++)
		config[i] = (core_u8)(0x40 + i);
	m->region = mmap(NULL, region_size(&usual), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(m->region != MAP_FAILED);
	region_init(m->region, &usual, config);
	memset(&m->dev, 0x5a, sizeof(m->dev));
	vmmio_init(&m->dev, m->region, &usual, config, writable);
	m->effects = 0;
}

static inline core_u32 rd(struct machine *m, core_u32 offset)
{
	core_u64 value = 0x1122334455667788ull;

	CHECK_INT(vmmio_read(&m->dev, offset, 4, &value), 0);
	CHECK_INT(value >> 32, 0);
	return (core_u32)value;
}

static inline core_u32 wr_cpu(struct machine *m, core_u32 offset, core_u32 value, core_u32 cpu)
{
	m->effects = vmmio_write(&m->dev, offset, 4, value, cpu);
	return m->effects;
}

static inline core_u32 wr(struct machine *m, core_u32 offset, core_u32 value)
{
	return wr_cpu(m, offset, value, 0);
}

static inline void write_features(struct machine *m, core_u64 features)
{
	wr(m, VMMIO_DRIVER_FEATURES_SEL, 1);
	wr(m, VMMIO_DRIVER_FEATURES, (core_u32)(features >> 32));
	wr(m, VMMIO_DRIVER_FEATURES_SEL, 0);
	wr(m, VMMIO_DRIVER_FEATURES, (core_u32)features);
}

static inline void negotiate(struct machine *m, core_u64 features)
{
	wr(m, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE);
	wr(m, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	write_features(m, features);
	wr(m, VMMIO_STATUS, NEGOTIATED);
}

static inline void set_up_queue(struct machine *m, core_u32 q)
{
	wr(m, VMMIO_QUEUE_SEL, q);
	wr(m, VMMIO_QUEUE_NUM, 128);
	wr(m, VMMIO_QUEUE_DESC_LOW, 0x10000 * (q + 1));
	wr(m, VMMIO_QUEUE_DESC_HIGH, 1);
	wr(m, VMMIO_QUEUE_DRIVER_LOW, 0x10000 * (q + 1) + 0x1002);
	wr(m, VMMIO_QUEUE_DRIVER_HIGH, 2);
	wr(m, VMMIO_QUEUE_DEVICE_LOW, 0x10000 * (q + 1) + 0x2004);
	wr(m, VMMIO_QUEUE_DEVICE_HIGH, 3);
}

static inline void enable_queue(struct machine *m, core_u32 q)
{
	set_up_queue(m, q);
	wr(m, VMMIO_QUEUE_READY, 1);
	CHECK_INT(rd(m, VMMIO_QUEUE_READY), 1);
}

/* A device that a driver uses: queues 0 and 1 are ready. */
static inline void start(struct machine *m, bool attached)
{
	machine_init(m);
	if (attached)
		vmmio_attach(&m->dev);
	negotiate(m, OFFERED);
	enable_queue(m, 0);
	enable_queue(m, 1);
	wr(m, VMMIO_STATUS, RUNNING);
	CHECK_INT(rd(m, VMMIO_STATUS), RUNNING);
	m->region->doorbell.events = 0;
	m->region->doorbell.queues = 0;
}

static inline void acknowledge_quiescence(struct machine *m)
{
	__atomic_store_n(&m->region->device.quiesce_ack, m->region->driver.quiesce_seq, __ATOMIC_RELEASE);
}

/* The access must count as bad and have no effect. */
static inline void is_bad_write(struct machine *m, core_u64 offset, core_u32 size, core_u64 value)
{
	core_u64 bad = m->dev.bad_accesses;

	CHECK_INT(vmmio_write(&m->dev, offset, size, value, 0), 0);
	CHECK_INT(m->dev.bad_accesses, bad + 1);
}

static inline void is_bad_read(struct machine *m, core_u64 offset, core_u32 size)
{
	core_u64 bad = m->dev.bad_accesses;
	core_u64 value = 77;

	CHECK_INT(vmmio_read(&m->dev, offset, size, &value), 0);
	CHECK_INT(value, 0);
	CHECK_INT(m->dev.bad_accesses, bad + 1);
}

static inline void is_as_after_power_on(struct machine *m)
{
	core_u32 q;

	CHECK_INT(rd(m, VMMIO_STATUS), 0);
	CHECK_INT(rd(m, VMMIO_INTERRUPT_STATUS), 0);
	CHECK_INT(rd(m, VMMIO_DEVICE_FEATURES), (core_u32)OFFERED); /* the selectors are 0 */
	CHECK_INT(rd(m, VMMIO_QUEUE_NUM_MAX), 256);
	CHECK_INT(m->dev.driver_features, 0);
	CHECK_INT(m->region->driver.status, 0);
	CHECK_INT(m->region->driver.features, 0);
	for (q = 0; q < usual.nqueues; q++) {
		wr(m, VMMIO_QUEUE_SEL, q);
		CHECK_INT(rd(m, VMMIO_QUEUE_READY), 0);
		CHECK_INT(m->region->driver.queue[q].ready, 0);
		CHECK_INT(m->dev.queue[q].num, 0);
		CHECK_INT(m->dev.queue[q].desc, 0);
		CHECK_INT(m->dev.queue[q].driver, 0);
		CHECK_INT(m->dev.queue[q].device, 0);
	}
	wr(m, VMMIO_QUEUE_SEL, 0);
}

#endif
