/* SPDX-License-Identifier: MIT */
/*
 * The register model under random drivers, backends and surroundings. Three properties:
 *   1. It does what the second model of vmmio_spec.h does, in every answer, effect and in what it shows the backend.
 *   2. Its own state does not depend on what a backend writes into the region (but for the acknowledgement and
 *      needs_reset, which are a backend's to give).
 *   3. With arbitrary bytes in all of the region it stays within its bounds, and every CPU that it holds is answered
 *      exactly once.
 * Sequences are mostly sensible ones of a driver, or else nothing but the first registers would ever be reached.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/vmmio.h"
#include "tests/test.h"
#include "vmmio_spec.h"

#include <sys/mman.h>

#define EPISODES 700
#define STEPS 2500 /* of an episode; most are an access, many are several */

/* A model over a region with nothing before and after it. */
struct subject {
	struct vmmio_dev dev;
	struct queue_region *region;
	uint8_t *mapping;
	size_t mapped;
};

enum step_kind {
	STEP_READ,
	STEP_WRITE,
	STEP_ATTACH,
	STEP_DETACH,
	STEP_ACKNOWLEDGE,
	STEP_QUIESCED,
	STEP_FAIL,
	STEP_REPAIR,
	STEP_ZONE_RESET,
	STEP_NEEDS_RESET,
	STEP_INTERRUPT,
	STEP_CONFIG,
	STEP_SLEEP,
	STEP_SCRIBBLE,
};

struct step {
	enum step_kind kind;
	uint64_t offset;
	uint32_t size;
	uint64_t value;
	uint32_t cpu;
};

static uint64_t pick(uint64_t n)
{
	return test_random_below(n);
}

static bool chance(uint64_t one_in)
{
	return pick(one_in) == 0;
}

static uint64_t random_value(void)
{
	switch (pick(5)) {
	case 0:
		return pick(4);
	case 1:
		return 1ull << pick(64);
	case 2:
		return test_random();
	case 3:
		return pick(300);
	default:
		return ~(uint64_t)0 >> pick(64);
	}
}

/* The device of an episode */

static struct region_shape shape;
static core_u8 config[REGION_CONFIG_MAX];
static core_u8 config_writable[REGION_CONFIG_MAX / 8];

static void random_shape(void)
{
	uint32_t i;

	shape = (struct region_shape){
		.device_id = (uint32_t)random_value(),
		.nqueues = chance(4) ? 1 + (uint32_t)pick(REGION_QUEUES_MAX) : 1 + (uint32_t)pick(4),
		.queue_size_max = 2u << pick(10),
		.config_len = chance(3) ? (uint32_t)pick(REGION_CONFIG_MAX + 1) : 60,
		.device_features = (test_random() & test_random()) | VMMIO_F_VERSION_1 | VMMIO_F_RING_RESET,
	};
	if (chance(8))
		shape.device_features &= ~VMMIO_F_RING_RESET;
	if (chance(30))
		shape.device_features &= ~VMMIO_F_VERSION_1;
	for (i = 0; i < sizeof(config); i++)
		config[i] = (core_u8)test_random();
	for (i = 0; i < sizeof(config_writable); i++)
		config_writable[i] = (core_u8)(chance(3) ? test_random() : 0);
}

static void subject_init(struct subject *s)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size = region_size(&shape);
	uint8_t *p;

	size = (size + page - 1) & ~(page - 1);
	s->mapped = size + 2 * page;
	p = mmap(NULL, s->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK_INT(mprotect(p + page, size, PROT_READ | PROT_WRITE), 0);
	s->mapping = p;
	s->region = (struct queue_region *)(p + page);
	region_init(s->region, &shape, config);
	vmmio_init(&s->dev, s->region, &shape, config, config_writable);
}

static void subject_finish(struct subject *s)
{
	uint8_t *end = (uint8_t *)s->region + region_size(&shape);
	uint8_t *p;

	/* the journals are no business of the model's */
	for (p = (uint8_t *)s->region + REGION_JOURNALS; p < end; p++)
		CHECK_INT(*p, 0);
	CHECK_INT(munmap(s->mapping, s->mapped), 0);
}

static void acknowledge(struct subject *s)
{
	core_store_release(&s->region->device.quiesce_ack, s->dev.quiesce_seq);
}

/* The driver and the rest of the world. A step is chosen with a look at the model's own state, to be to the point. */

static uint32_t plan_queue; /* the queue that the driver sets up, and how far it is */
static uint32_t plan_word;

static struct step write_step(uint64_t offset, uint64_t value)
{
	return (struct step){.kind = STEP_WRITE, .offset = offset, .size = 4, .value = value};
}

static struct step read_step(uint64_t offset)
{
	return (struct step){.kind = STEP_READ, .offset = offset, .size = 4};
}

static struct step random_access(void)
{
	static const uint32_t sizes[] = {0, 1, 2, 3, 4, 4, 4, 5, 7, 8, 8, 16, 0x104, 0xffffffff};
	struct step step = {
		.kind = chance(2) ? STEP_READ : STEP_WRITE,
		.offset = chance(20) ? random_value() : pick(VMMIO_CONFIG + 2 * REGION_CONFIG_MAX),
		.size = sizes[pick(sizeof(sizes) / sizeof(sizes[0]))],
		.value = random_value(),
	};

	if (chance(2))
		step.offset &= ~3ull;
	return step;
}

static struct step status_step(const struct vmmio_dev *dev)
{
	static const uint32_t sequence[] = {1, 3, 11, 15};
	uint32_t i;

	if (chance(8))
		return write_step(0x70, dev->status | 1u << pick(9));
	for (i = 0; i < 3 && (dev->status & sequence[i]) == sequence[i]; i++)
		;
	return write_step(0x70, sequence[i]);
}

static struct step features_step(const struct vmmio_dev *dev)
{
	uint32_t sel = dev->driver_features_sel;
	uint64_t value;

	if (chance(2))
		return write_step(0x24, chance(10) ? random_value() : pick(2));
	value = sel < 2 ? shape.device_features >> (32 * sel) : test_random();
	if (sel == 1)
		value &= (chance(4) ? test_random() : ~0ull) | 1;
	else
		value &= test_random();
	return write_step(0x20, chance(20) ? random_value() : (core_u32)value);
}

/* The next of the writes that set up plan_queue and make it ready. */
static struct step queue_step(void)
{
	static const uint32_t order[] = {0x30, 0x38, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0x44};
	uint32_t at = order[plan_word];

	plan_word = (plan_word + 1) % (sizeof(order) / sizeof(order[0]));
	if (at == 0x30) {
		plan_queue = (uint32_t)pick(shape.nqueues + (chance(10) ? 1 : 0));
		return write_step(at, plan_queue);
	}
	if (chance(60))
		return write_step(at, random_value());
	if (at == 0x38)
		return write_step(at, 1ull << pick(12) > shape.queue_size_max ? 1 : shape.queue_size_max);
	if (at == 0x44)
		return write_step(at, 1);
	return write_step(at, test_random() & 0xfffffff0u);
}

static struct step stop_step(void)
{
	switch (pick(4)) {
	case 0:
		return write_step(0x30, pick(shape.nqueues));
	case 1:
		return write_step(0x44, 0);
	case 2:
		return write_step(0xc0, chance(10) ? random_value() : 1);
	default:
		return chance(4) ? write_step(0x70, 0) : write_step(0x44, 0);
	}
}

static struct step config_step(void)
{
	struct step step = {
		.kind = chance(2) ? STEP_READ : STEP_WRITE,
		.offset = VMMIO_CONFIG + pick(shape.config_len + 10),
		.size = 1u << pick(4),
		.value = test_random(),
	};

	return step;
}

static struct step driver_step(const struct vmmio_dev *dev)
{
	switch (pick(16)) {
	case 0:
	case 1:
	case 2:
		return status_step(dev);
	case 3:
	case 4:
		return features_step(dev);
	case 5:
	case 6:
	case 7:
	case 8:
	case 9:
		return queue_step();
	case 10:
		return stop_step();
	case 11:
	case 12:
		return write_step(0x50, pick(shape.nqueues + (chance(10) ? 2 : 0)));
	case 13:
		return chance(2) ? write_step(0x64, pick(4)) : read_step(0x60);
	case 14:
		return config_step();
	default:
		return read_step(4 * pick(0x44));
	}
}

static struct step world_step(const struct vmmio_dev *dev)
{
	static const enum step_kind rest[] = {STEP_INTERRUPT, STEP_SLEEP, STEP_CONFIG, STEP_SCRIBBLE};
	struct step step = {.kind = rest[pick(4)], .value = random_value()};

	switch (pick(10)) {
	case 0:
		step.kind = dev->attached && !chance(3) ? STEP_DETACH : STEP_ATTACH;
		break;
	case 1:
	case 2:
		step.kind = STEP_ACKNOWLEDGE;
		break;
	case 3:
	case 4:
		step.kind = STEP_QUIESCED;
		break;
	case 5:
		if (chance(3))
			step.kind = dev->failed ? STEP_REPAIR : STEP_FAIL;
		else if (chance(3))
			step.kind = STEP_ZONE_RESET;
		else if (chance(3))
			step.kind = STEP_NEEDS_RESET;
		break;
	default:
		break;
	}
	return step;
}

static struct step next_step(const struct vmmio_dev *dev, uint32_t waiting)
{
	struct step step;

	if (waiting == 0xffffffff)
		step = (struct step){.kind = chance(2) ? STEP_ACKNOWLEDGE : STEP_QUIESCED};
	else if (chance(6))
		step = random_access();
	else if (chance(5))
		step = world_step(dev);
	else
		step = driver_step(dev);
	/* a CPU that waits does nothing */
	do
		step.cpu = (uint32_t)pick(32);
	while (waiting != 0xffffffff && (waiting >> step.cpu & 1));
	return step;
}

/* Property 1 */

static struct {
	uint64_t accesses, kicks, notified, interrupts, holds, released, resets, joined, bad_queues, ring_resets,
		attaches;
	uint64_t running, writes_of_config, published;
} seen;

static void spec_init(struct spec *s)
{
	uint32_t i;

	memset(s, 0, sizeof(*s));
	s->device_id = shape.device_id;
	s->nqueues = shape.nqueues;
	s->num_max = shape.queue_size_max;
	s->offered[0] = (uint32_t)shape.device_features;
	s->offered[1] = (uint32_t)(shape.device_features >> 32);
	s->config_len = shape.config_len;
	memcpy(s->config_initial, config, sizeof(config));
	memcpy(s->config, config, sizeof(config));
	for (i = 0; i < 256; i++)
		s->config_writable[i] = config_writable[i / 8] & 1 << i % 8;
}

static void change_config(struct subject *m, struct spec *s)
{
	uint32_t at = (uint32_t)pick(256);
	uint32_t len = (uint32_t)pick(9);
	core_u8 bytes[8];
	uint32_t i;

	/* What is not in force, or not config, is not read; a backend that dies in a change leaves it so. */
	region_config_recover(m->region);
	if (at + len > s->config_len) {
		for (i = s->config_len; i < REGION_CONFIG_MAX; i++)
			m->region->config[pick(2)][i] = (core_u8)test_random();
		for (i = 0; i < s->config_len; i++) {
			if (!s->config_writable[i])
				m->region->config[(s->generation + 1) & 1][i] = (core_u8)test_random();
		}
		return;
	}
	for (i = 0; i < len; i++) {
		/* what the driver may write is not for the backend to change */
		bytes[i] = s->config_writable[at + i] ? s->config[at + i] : (core_u8)test_random();
		s->config[at + i] = bytes[i];
	}
	s->generation++;
	region_config_update(m->region, at, bytes, len);
}

/*
 * A backend writes where the model shows it things, which must not matter to the model. Until the next attach the
 * comparison leaves out what is shown. The doorbell and the numbers that the second model follows are left alone.
 */
static void scribble_shown(struct subject *m)
{
	uint32_t n = (uint32_t)pick(40);
	uint8_t *at;

	while (n-- > 0) {
		switch (pick(3)) {
		case 0:
			at = (uint8_t *)&m->region->head + pick(sizeof(m->region->head));
			break;
		case 1:
			at = (uint8_t *)&m->region->driver + pick(sizeof(m->region->driver));
			break;
		default:
			at = (uint8_t *)&m->region->device + 12 + pick(sizeof(m->region->device) - 12);
			break;
		}
		*at = (uint8_t)test_random();
	}
}

/* What the backend is shown is what the driver did. */
static void compare_shown(const struct subject *m, const struct spec *s)
{
	const struct region_driver *shown = &m->region->driver;
	const struct region_queue *queue;
	const uint32_t *word;
	uint64_t features = (uint64_t)s->accepted[1] << 32 | s->accepted[0];
	bool ready;
	uint32_t q;

	CHECK_INT(shown->status, s->resetting ? 0 : spec_status(s) & ~64u);
	CHECK_INT(shown->features, s->features_ok && !s->resetting ? features : 0);
	CHECK_INT(shown->quiesce_seq, s->asked);
	for (q = 0; q < REGION_QUEUES_MAX; q++) {
		queue = &shown->queue[q];
		word = s->queue[q].word;
		ready = s->queue[q].ready && !s->queue[q].stopping && !s->resetting;
		CHECK_INT(queue->ready, ready);
		if (!ready)
			continue;
		CHECK_INT(queue->num, word[0]);
		CHECK_INT(queue->desc, (uint64_t)word[2] << 32 | word[1]);
		CHECK_INT(queue->driver, (uint64_t)word[4] << 32 | word[3]);
		CHECK_INT(queue->device, (uint64_t)word[6] << 32 | word[5]);
		CHECK_INT(queue->epoch, s->queue[q].lives);
		seen.published++;
	}
}

static void compare_reads(struct subject *m, const struct spec *s)
{
	core_u64 value;
	uint32_t at;

	for (at = 0; at < 0x110; at += 4) {
		vmmio_read(&m->dev, at, 4, &value);
		if (value != spec_read(s, at, 4))
			TEST_FAIL("register 0x%x reads 0x%llx, not 0x%llx", at, (unsigned long long)value,
				  (unsigned long long)spec_read(s, at, 4));
	}
	CHECK_INT(vmmio_is_quiet(&m->dev), spec_is_quiet(s));
	CHECK_INT(m->region->irq.interrupt_status, s->interrupts);
	CHECK_INT(vmmio_status(&m->dev), spec_status(s));
}

static void count_step(const struct spec *s, const struct step *step, uint32_t effects, bool was_resetting)
{
	seen.accesses += step->kind <= STEP_WRITE;
	seen.kicks += (effects & VMMIO_KICK) != 0;
	seen.interrupts += (effects & VMMIO_INTERRUPT) != 0;
	seen.holds += (effects & VMMIO_HOLD) != 0;
	seen.joined += was_resetting && (effects & VMMIO_HOLD);
	seen.resets += !was_resetting && s->resetting;
	seen.notified += step->kind == STEP_WRITE && s->notifies;
	seen.attaches += step->kind == STEP_ATTACH;
	seen.bad_queues += s->bad_queue;
	seen.ring_resets += s->holds && step->offset == 0xc0;
	seen.writes_of_config += step->kind == STEP_WRITE && (s->rings & 2);
	seen.running += s->driver_ok;
}

/* Does the step to both. What has effects must have the same. */
static void step_both(struct subject *m, struct spec *s, const struct step *step)
{
	struct queue_region *region = m->region;
	bool was_resetting = s->resetting;
	bool slept = region->doorbell.sleeping == 1;
	uint32_t effects = 0;
	uint32_t cpus;
	core_u64 value;

	region->doorbell.queues = 0;
	region->doorbell.events = 0;
	s->rings = 0;
	s->notifies = 0;
	s->rang = s->holds = s->interrupts_now = false;
	switch (step->kind) {
	case STEP_READ:
		effects = vmmio_read(&m->dev, step->offset, step->size, &value);
		CHECK_INT(value, spec_read(s, step->offset, step->size));
		break;
	case STEP_WRITE:
		effects = vmmio_write(&m->dev, step->offset, step->size, step->value, step->cpu);
		spec_write(s, step->offset, step->size, step->value, step->cpu);
		break;
	case STEP_ATTACH:
		vmmio_attach(&m->dev);
		spec_attach(s);
		s->rang = false; /* nobody sleeps yet whom it would be for */
		CHECK_INT(region->doorbell.sleeping, 0);
		CHECK_INT(region->head.magic, REGION_MAGIC);
		CHECK_INT(region->head.size, region_size(&shape));
		CHECK_INT(region->device.quiesce_ack, region->driver.quiesce_seq);
		break;
	case STEP_DETACH:
		vmmio_detach(&m->dev);
		spec_detach(s);
		break;
	case STEP_ACKNOWLEDGE:
		/* or of something else */
		if (step->value % 4 == 0 && spec_waits(s) && s->attached) {
			region->device.quiesce_ack = m->dev.quiesce_seq + 1 + (uint32_t)pick(0xfffffffe);
			s->backend_let_go = false;
		} else {
			acknowledge(m);
			s->backend_let_go = true;
		}
		break;
	case STEP_QUIESCED:
		cpus = vmmio_quiesced(&m->dev);
		CHECK_INT(cpus, spec_quiesced(s));
		seen.released += cpus != 0;
		break;
	case STEP_FAIL:
		effects = vmmio_fail(&m->dev);
		spec_fail(s);
		break;
	case STEP_REPAIR:
		vmmio_repair(&m->dev);
		s->no_backend_comes = false;
		break;
	case STEP_ZONE_RESET:
		effects = vmmio_reset(&m->dev);
		spec_reset(s);
		break;
	case STEP_NEEDS_RESET:
		region->device.needs_reset = (uint32_t)step->value;
		s->backend_gave_up = (uint32_t)step->value != 0;
		break;
	case STEP_INTERRUPT:
		region->irq.interrupt_status |= (uint32_t)step->value;
		s->interrupts |= (uint32_t)step->value;
		break;
	case STEP_CONFIG:
		change_config(m, s);
		break;
	case STEP_SLEEP:
		region->doorbell.sleeping = (uint32_t)pick(3);
		break;
	case STEP_SCRIBBLE:
		scribble_shown(m);
		break;
	}
	CHECK_INT(effects, (s->rang && slept ? VMMIO_KICK : 0) | (s->holds ? VMMIO_HOLD : 0) |
				   (s->interrupts_now ? VMMIO_INTERRUPT : 0));
	CHECK_INT(region->doorbell.events, s->rings);
	CHECK_INT(region->doorbell.queues, s->notifies);
	CHECK_INT(region->irq.interrupt_status, s->interrupts);
	count_step(s, step, effects, was_resetting);
}

static void tell(const struct step *step, uint32_t n)
{
	static const char *const names[] = {"read",      "write",  "attach", "detach",     "acknowledge",
					    "quiesced",  "fail",   "repair", "zone reset", "needs_reset",
					    "interrupt", "config", "sleep",  "scribble"};

	if (getenv("TEST_TRACE"))
		fprintf(stderr, "%5u %s 0x%llx size %u value 0x%llx cpu %u\n", n, names[step->kind],
			(unsigned long long)step->offset, step->size, (unsigned long long)step->value, step->cpu);
}

static void compare_episode(void)
{
	struct subject m;
	struct spec s;
	struct step step;
	bool shown = true;
	uint32_t n;

	random_shape();
	subject_init(&m);
	spec_init(&s);
	for (n = 0; n < STEPS; n++) {
		step = next_step(&m.dev, s.waiting);
		tell(&step, n);
		step_both(&m, &s, &step);
		if (step.kind == STEP_SCRIBBLE)
			shown = false;
		if (step.kind == STEP_ATTACH)
			shown = true;
		if (shown && chance(4))
			compare_shown(&m, &s);
		if (chance(16))
			compare_reads(&m, &s);
	}
	/* at the end nobody waits for ever */
	vmmio_detach(&m.dev);
	spec_detach(&s);
	CHECK_INT(vmmio_quiesced(&m.dev), spec_quiesced(&s));
	CHECK_INT(m.dev.held_cpus, 0);
	compare_reads(&m, &s);
	subject_finish(&m);
}

static void test_does_what_the_specification_says(void)
{
	uint32_t i;

	for (i = 0; i < EPISODES; i++)
		compare_episode();
	/* and that was not for lack of anything happening */
	CHECK(seen.accesses >= 1000000);
	CHECK(seen.running > seen.accesses / 20);
	CHECK(seen.kicks > 1000);
	CHECK(seen.notified > 1000);
	CHECK(seen.interrupts > 100);
	CHECK(seen.holds > 1000);
	CHECK(seen.released > 1000);
	CHECK(seen.resets > 1000);
	CHECK(seen.joined > 100);
	CHECK(seen.bad_queues > 1000);
	CHECK(seen.ring_resets > 100);
	CHECK(seen.attaches > 1000);
	CHECK(seen.writes_of_config > 1000);
	CHECK(seen.published > 10000);
}

/* Properties 2 and 3 */

static void scribble(struct queue_region *region)
{
	uint8_t *bytes = (uint8_t *)region;
	uint32_t n = chance(50) ? REGION_JOURNALS : (uint32_t)pick(200);

	while (n-- > 0)
		bytes[pick(REGION_JOURNALS)] = (uint8_t)(chance(2) ? test_random() : pick(3));
}

/* Does a step to a model alone. What a CPU waits for is taken out of waiting when it is answered. */
static uint32_t step_one(struct subject *m, const struct step *step, uint32_t *waiting, core_u64 *value)
{
	uint32_t effects = 0;
	uint32_t cpus;

	*value = 0;
	switch (step->kind) {
	case STEP_READ:
		effects = vmmio_read(&m->dev, step->offset, step->size, value);
		CHECK_INT(effects, 0);
		break;
	case STEP_WRITE:
		effects = vmmio_write(&m->dev, step->offset, step->size, step->value, step->cpu);
		if (effects & VMMIO_HOLD) {
			CHECK_INT(*waiting >> step->cpu & 1, 0);
			*waiting |= 1u << step->cpu;
		}
		break;
	case STEP_ATTACH:
		vmmio_attach(&m->dev);
		break;
	case STEP_DETACH:
		vmmio_detach(&m->dev);
		break;
	case STEP_ACKNOWLEDGE:
		acknowledge(m);
		break;
	case STEP_QUIESCED:
		cpus = vmmio_quiesced(&m->dev);
		CHECK(cpus == 0 || cpus == *waiting);
		*waiting &= ~cpus;
		break;
	case STEP_FAIL:
		effects = vmmio_fail(&m->dev);
		break;
	case STEP_REPAIR:
		vmmio_repair(&m->dev);
		break;
	case STEP_ZONE_RESET:
		effects = vmmio_reset(&m->dev);
		break;
	case STEP_NEEDS_RESET:
		m->region->device.needs_reset = (uint32_t)step->value;
		break;
	default:
		break;
	}
	return effects;
}

/* Reads that may tell what the backend says: interrupt status, generation, config. */
static bool is_backends(const struct step *step)
{
	return step->kind == STEP_READ && (step->offset >= 0xfc || step->offset == 0x60);
}

static void independence_episode(void)
{
	struct subject clean, dirty;
	uint32_t clean_waiting = 0, dirty_waiting = 0;
	core_u64 clean_value, dirty_value;
	uint32_t a, b, n;
	struct step step;

	random_shape();
	subject_init(&clean);
	subject_init(&dirty);
	for (n = 0; n < STEPS; n++) {
		step = next_step(&clean.dev, clean_waiting);
		tell(&step, n);
		if (chance(3)) {
			scribble(dirty.region);
			dirty.region->device.quiesce_ack = clean.region->device.quiesce_ack;
			dirty.region->device.needs_reset = clean.region->device.needs_reset;
		}
		a = step_one(&clean, &step, &clean_waiting, &clean_value);
		b = step_one(&dirty, &step, &dirty_waiting, &dirty_value);
		CHECK_INT(a & ~VMMIO_KICK, b & ~VMMIO_KICK);
		CHECK_INT(clean_waiting, dirty_waiting);
		if (!is_backends(&step))
			CHECK_INT(dirty_value, clean_value);
		if (step.kind == STEP_ATTACH)
			CHECK_MEM(&dirty.region->driver, &clean.region->driver, sizeof(clean.region->driver));
		dirty.dev.region = clean.region;
		if (memcmp(&dirty.dev, &clean.dev, sizeof(clean.dev)) != 0)
			CHECK_MEM(&dirty.dev, &clean.dev, sizeof(clean.dev));
		dirty.dev.region = dirty.region;
	}
	subject_finish(&clean);
	subject_finish(&dirty);
}

static void test_own_state_is_its_own(void)
{
	uint32_t i;

	for (i = 0; i < EPISODES / 4; i++)
		independence_episode();
}

static void is_sane(const struct vmmio_dev *dev)
{
	static const struct vmmio_queue none;
	const struct vmmio_queue *queue;
	uint32_t q;

	CHECK_INT(dev->status & ~(1u | 2 | 4 | 8 | 128), 0);
	if (dev->status & 8) {
		CHECK_INT(dev->driver_features & ~shape.device_features, 0);
		CHECK(dev->driver_features & VMMIO_F_VERSION_1);
	} else {
		CHECK_INT(dev->status & 4, 0);
	}
	CHECK_MEM(&dev->shape, &shape, sizeof(shape));
	CHECK_INT(memcmp(dev->config_initial, config, shape.config_len), 0);
	for (q = 0; q < shape.nqueues; q++) {
		queue = &dev->queue[q];
		CHECK(queue->ready <= 1);
		if (!queue->ready) {
			CHECK_INT(queue->quiesce, 0);
			continue;
		}
		CHECK(queue->num >= 1 && queue->num <= shape.queue_size_max);
		CHECK_INT(queue->num & (queue->num - 1), 0);
		CHECK_INT(queue->desc % 16, 0);
		CHECK_INT(queue->driver % 2, 0);
		CHECK_INT(queue->device % 4, 0);
		CHECK(queue->epoch != 0);
		CHECK(dev->status & 8);
		CHECK(!queue->quiesce || dev->attached);
	}
	CHECK(!dev->reset_pending || dev->attached);
	if (shape.nqueues < REGION_QUEUES_MAX)
		CHECK_INT(memcmp(&dev->queue[shape.nqueues], &none, sizeof(none)), 0);
}

static void safety_episode(void)
{
	uint32_t waiting = 0;
	uint32_t effects, n;
	bool was_ok, was_attached;
	struct subject m;
	struct step step;
	core_u64 value;

	random_shape();
	subject_init(&m);
	for (n = 0; n < STEPS; n++) {
		step = next_step(&m.dev, waiting);
		tell(&step, n);
		if (chance(2))
			scribble(m.region);
		was_ok = (m.dev.status & 4) && !m.dev.reset_pending;
		was_attached = m.dev.attached;
		effects = step_one(&m, &step, &waiting, &value);
		/* each effect only where it can come from */
		CHECK_INT(effects & ~(VMMIO_KICK | VMMIO_HOLD | VMMIO_INTERRUPT), 0);
		if (effects & VMMIO_INTERRUPT)
			CHECK(was_ok && (step.kind == STEP_FAIL || (step.kind == STEP_WRITE && step.offset == 0x44)));
		if (effects & VMMIO_HOLD)
			CHECK(was_attached && step.kind == STEP_WRITE && step.size == 4 &&
			      (((core_u32)step.value == 0 && (step.offset == 0x70 || step.offset == 0x44)) ||
			       ((core_u32)step.value == 1 && step.offset == 0xc0)));
		CHECK_INT(m.dev.held_cpus, waiting);
		is_sane(&m.dev);
	}
	/* whatever the backend wrote, its end answers all, once */
	vmmio_detach(&m.dev);
	is_sane(&m.dev);
	CHECK_INT(vmmio_quiesced(&m.dev), waiting);
	CHECK_INT(vmmio_quiesced(&m.dev), 0);
	subject_finish(&m);
}

static void test_bounds_hold_over_any_region(void)
{
	uint32_t i;

	for (i = 0; i < EPISODES / 4; i++)
		safety_episode();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"vmmio_does_what_the_specification_says", test_does_what_the_specification_says, 120},
		{"vmmio_own_state_is_its_own", test_own_state_is_its_own, 120},
		{"vmmio_bounds_hold_over_any_region", test_bounds_hold_over_any_region, 120},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
