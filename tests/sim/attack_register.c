/* SPDX-License-Identifier: MIT */
/* Attacks by register accesses: what was not offered, out of order, of any width, anywhere, and too many. */
#include <pthread.h>
#include <string.h>

#include "common/vmmio.h"
#include "tests/sim/attack.h"

#define VALUES 4u
#define CONFIG_BYTES (ATTACK_WINDOW - VMMIO_CONFIG)

static uint64_t read_any(struct attack *attack, uint32_t offset, uint32_t size)
{
	return attack->guest->read(attack->guest->arg, 0, offset, size);
}

static void write_any(struct attack *attack, uint32_t offset, uint32_t size, uint64_t value)
{
	attack->guest->write(attack->guest->arg, 0, offset, size, value);
}

static bool has_status(struct attack *attack, uint32_t bits)
{
	return attack_read(attack, VMMIO_STATUS) & bits;
}

/* Each feature that was not offered, alone with what was; and the selectors beyond the two words. */
static enum attack_outcome features_never_offered(struct attack *attack)
{
	uint32_t bit;

	for (bit = 0; bit < 64; bit++) {
		attack_greet(attack);
		if (attack->offered & (1ull << bit))
			continue;
		if (attack_accept(attack, attack->offered | 1ull << bit))
			return ATTACK_TAKEN;
		attack_driver_ok(attack);
		if (has_status(attack, VMMIO_S_FEATURES_OK | VMMIO_S_DRIVER_OK))
			return ATTACK_TAKEN;
	}
	for (bit = 2; bit < 32; bit++) {
		attack_write(attack, VMMIO_DEVICE_FEATURES_SEL, 1u << bit);
		attack_write(attack, VMMIO_DRIVER_FEATURES_SEL, 1u << bit);
		attack_write(attack, VMMIO_DRIVER_FEATURES, 0xffffffffu);
		if (attack_read(attack, VMMIO_DEVICE_FEATURES) != 0)
			return ATTACK_TAKEN;
	}
	return ATTACK_REFUSED;
}

static enum attack_outcome features_of_no_version(struct attack *attack)
{
	attack_greet(attack);
	return attack_accept(attack, attack->offered & ~VMMIO_F_VERSION_1) ? ATTACK_TAKEN : ATTACK_REFUSED;
}

/* Those that were agreed upon hold: an indirect table is still none. */
static enum attack_outcome features_afterwards(struct attack *attack)
{
	attack_greet(attack);
	attack_accept(attack, (attack->offered & ~attack->queue->without) & ~VMMIO_F_INDIRECT_DESC);
	attack_write(attack, VMMIO_DRIVER_FEATURES_SEL, 0);
	attack_write(attack, VMMIO_DRIVER_FEATURES, 0xffffffffu);
	memset(attack_at(attack, 0), 0, ATTACK_OTHER);
	attack_set_queue(attack, ATTACK_NUM, attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
			 attack_gpa(attack, ATTACK_USED));
	attack_driver_ok(attack);
	attack_write(attack, VMMIO_DRIVER_FEATURES, 0xffffffffu);
	attack_chain(attack, attack_at(attack, ATTACK_TABLE), 0, attack_gpa(attack, ATTACK_DATA), 512);
	attack_indirect(attack, 0, 3 * 16);
	return attack_try(attack);
}

/* Neither a queue nor the driver is ready without FEATURES_OK. */
static enum attack_outcome features_ok_skipped(struct attack *attack)
{
	attack_greet(attack);
	attack_set_queue(attack, ATTACK_NUM, attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
			 attack_gpa(attack, ATTACK_USED));
	if (attack_read(attack, VMMIO_QUEUE_READY) != 0)
		return ATTACK_TAKEN;
	attack_write(attack, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_DRIVER_OK);
	attack_notify(attack);
	return has_status(attack, VMMIO_S_DRIVER_OK) ? ATTACK_TAKEN : ATTACK_REFUSED;
}

/* All bits alone and together from the first on; DEVICE_NEEDS_RESET is not the driver's to set. */
static enum attack_outcome status_out_of_order(struct attack *attack)
{
	static const uint32_t value[] = {4, 8, 12, 64, 128, 16, 32, 0xff, 0x100, 0xffffff00u, 0xffffffffu};
	uint32_t i;

	attack_write(attack, VMMIO_STATUS, 0);
	for (i = 0; i < sizeof(value) / sizeof(value[0]); i++) {
		attack_write(attack, VMMIO_STATUS, value[i]);
		if (has_status(attack, VMMIO_S_NEEDS_RESET | VMMIO_S_FEATURES_OK | VMMIO_S_DRIVER_OK))
			return ATTACK_TAKEN;
	}
	return ATTACK_REFUSED;
}

/* A status bit goes by a reset alone, and what is ready goes on. */
static enum attack_outcome status_taken_back(struct attack *attack)
{
	static const uint32_t value[] = {1, 2, 4, 8, 128, 0x80000000u};
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < sizeof(value) / sizeof(value[0]); i++)
		attack_write(attack, VMMIO_STATUS, value[i]);
	if (!has_status(attack, VMMIO_S_DRIVER_OK))
		return ATTACK_TAKEN;
	return attack_honest(attack);
}

/* Nothing is done before DRIVER_OK, and then it is. */
static enum attack_outcome notified_too_early(struct attack *attack)
{
	uint32_t i;

	attack_greet(attack);
	attack_accept(attack, attack->offered & ~attack->queue->without);
	memset(attack_at(attack, 0), 0, ATTACK_OTHER);
	attack_set_queue(attack, ATTACK_NUM, attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
			 attack_gpa(attack, ATTACK_USED));
	for (i = 0; i < attack->guest->accesses; i++)
		attack_notify(attack);
	if (attack->used->idx != 0)
		return ATTACK_TAKEN;
	attack_driver_ok(attack);
	return attack_honest(attack);
}

/* The registers of a queue that is not there. */
static enum attack_outcome queues_that_are_none(struct attack *attack)
{
	static const uint32_t queue[] = {64, 63, 65, 255, 256, 0x10000, 0x7fffffffu, 0x80000000u, 0xffffffffu};
	uint32_t i;
	uint32_t offset;

	attack_start(attack);
	for (i = 0; i < sizeof(queue) / sizeof(queue[0]); i++) {
		attack_write(attack, VMMIO_QUEUE_SEL, queue[i]);
		for (offset = VMMIO_QUEUE_NUM; offset < VMMIO_CONFIG; offset += 4) {
			if (offset != VMMIO_QUEUE_SEL && offset != VMMIO_STATUS && offset != VMMIO_INTERRUPT_ACK)
				attack_write(attack, offset, 1);
		}
		if (attack_read(attack, VMMIO_QUEUE_NUM_MAX) != 0 || attack_read(attack, VMMIO_QUEUE_READY) != 0)
			return ATTACK_TAKEN;
	}
	return attack_honest(attack);
}

/* Of queues that are there and not, known and absurd. */
static enum attack_outcome notify_storm(struct attack *attack)
{
	static const uint32_t queue[] = {0, 1, 2, 3, 31, 32, 63, 64, 65, 127, 0x10000, 0x80000000u, 0xffffffffu};
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < attack->guest->accesses * 4; i++)
		attack_write(attack, VMMIO_QUEUE_NOTIFY, queue[i % (sizeof(queue) / sizeof(queue[0]))]);
	return attack_honest(attack);
}

static enum attack_outcome acknowledge_storm(struct attack *attack)
{
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < attack->guest->accesses; i++)
		attack_write(attack, VMMIO_INTERRUPT_ACK, i % 3 ? 0xffffffffu : 0);
	return attack_honest(attack);
}

/* Each offset with each width, read and written. */
static enum attack_outcome sweep(struct attack *attack, uint32_t first)
{
	static const uint64_t value[VALUES] = {0, 1, UINT64_MAX, 0x5000000050000000u};
	const struct attack_guest *guest = attack->guest;
	uint32_t offset;
	uint32_t size;
	uint32_t i;

	for (size = 1; size <= 8; size *= 2) {
		for (offset = first; offset + size <= ATTACK_WINDOW; offset += guest->unaligned ? 1 : size) {
			read_any(attack, offset, size);
			if (guest->quick)
				write_any(attack, offset, size, value[offset / size % VALUES]);
			for (i = 0; i < VALUES && !guest->quick; i++)
				write_any(attack, offset, size, value[i]);
		}
	}
	return ATTACK_BORNE;
}

static enum attack_outcome register_sweep(struct attack *attack)
{
	attack_start(attack);
	return sweep(attack, 0);
}

/* A width that a register has not changes nothing. */
static enum attack_outcome narrow_reset(struct attack *attack)
{
	static const uint32_t size[] = {1, 2, 8};
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < 3; i++) {
		write_any(attack, VMMIO_STATUS, size[i], 0);
		if (read_any(attack, VMMIO_STATUS, size[i]) != 0)
			return ATTACK_TAKEN;
	}
	return has_status(attack, VMMIO_S_DRIVER_OK) ? attack_honest(attack) : ATTACK_TAKEN;
}

/*
 * Behind the configuration there is nothing to be read, even by an access that begins in it; and its first fields are
 * nobody's to write: capacity, address, size.
 */
static enum attack_outcome config_sweep(struct attack *attack)
{
	uint64_t before;
	uint32_t offset;

	attack_start(attack);
	before = read_any(attack, VMMIO_CONFIG, 8);
	sweep(attack, VMMIO_CONFIG);
	if (read_any(attack, VMMIO_CONFIG, 8) != before)
		return ATTACK_TAKEN;
	/* No device here has so much. */
	for (offset = VMMIO_CONFIG + CONFIG_BYTES / 2; offset < ATTACK_WINDOW; offset++) {
		if (read_any(attack, offset, 1) != 0)
			return ATTACK_TAKEN;
	}
	return attack_honest(attack);
}

/* Reads and writes that begin in the window and end behind it. */
static enum attack_outcome window_crossed(struct attack *attack)
{
	uint32_t offset;

	attack_start(attack);
	if (!attack->guest->unaligned)
		return attack_honest(attack);
	for (offset = ATTACK_WINDOW - 7; offset < ATTACK_WINDOW; offset++) {
		write_any(attack, offset, 8, UINT64_MAX);
		if (read_any(attack, offset, 8) != 0)
			return ATTACK_TAKEN;
	}
	return attack_honest(attack);
}

/* What a driver writes, in no order at all, from two CPUs */

struct storm {
	struct attack attack;
	uint32_t cpu;
};

static void *storm_from(void *arg)
{
	static const uint16_t registers[] = {
		VMMIO_DEVICE_FEATURES_SEL,
		VMMIO_DRIVER_FEATURES,
		VMMIO_DRIVER_FEATURES_SEL,
		VMMIO_QUEUE_SEL,
		VMMIO_QUEUE_NUM,
		VMMIO_QUEUE_READY,
		VMMIO_QUEUE_READY,
		VMMIO_QUEUE_NOTIFY,
		VMMIO_INTERRUPT_ACK,
		VMMIO_STATUS,
		VMMIO_STATUS,
		VMMIO_STATUS,
		VMMIO_QUEUE_DESC_LOW,
		VMMIO_QUEUE_DRIVER_LOW,
		VMMIO_QUEUE_DEVICE_LOW,
		VMMIO_QUEUE_RESET,
		VMMIO_QUEUE_DESC_HIGH,
		VMMIO_QUEUE_DRIVER_HIGH,
		VMMIO_QUEUE_DEVICE_HIGH,
		VMMIO_CONFIG,
	};
	struct storm *storm = arg;
	struct attack *attack = &storm->attack;
	const struct attack_guest *guest = attack->guest;
	uint64_t dice;
	uint64_t value;
	uint32_t i;

	for (i = 0; i < guest->accesses; i++) {
		dice = attack_random(attack);
		switch (dice >> 32 & 3) {
		case 0:
			value = dice >> 40 & 15;
			break;
		case 1:
			value = 1ull << (dice >> 40 & 31);
			break;
		case 2:
			value = guest->area_gpa + (dice >> 40 & 15) * 0x1000;
			break;
		default:
			value = attack->offered & UINT32_MAX;
			break;
		}
		guest->write(guest->arg, storm->cpu, registers[dice % (sizeof(registers) / sizeof(registers[0]))], 4,
			     value);
	}
	return NULL;
}

static enum attack_outcome register_storm(struct attack *attack)
{
	struct storm storm[2];
	pthread_t thread;
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < 2; i++) {
		storm[i] = (struct storm){*attack, i};
		storm[i].attack.random += i;
	}
	if (pthread_create(&thread, NULL, storm_from, &storm[1]) != 0)
		return ATTACK_SILENT;
	storm_from(&storm[0]);
	pthread_join(thread, NULL);
	return ATTACK_BORNE;
}

const struct attack_entry attack_register_list[] = {
	{"features-never-offered", NULL, false, ATTACK_REFUSED, features_never_offered},
	{"features-of-no-version", NULL, false, ATTACK_REFUSED, features_of_no_version},
	{"features-after-features-ok", NULL, false, ATTACK_RESET, features_afterwards},
	{"features-ok-skipped", NULL, false, ATTACK_REFUSED, features_ok_skipped},
	{"status-out-of-order", NULL, false, ATTACK_REFUSED, status_out_of_order},
	{"status-taken-back", NULL, false, ATTACK_DONE, status_taken_back},
	{"status-narrow-reset", NULL, false, ATTACK_DONE, narrow_reset},
	{"notified-before-driver-ok", NULL, false, ATTACK_DONE, notified_too_early},
	{"notify-storm", NULL, false, ATTACK_DONE, notify_storm},
	{"acknowledge-storm", NULL, false, ATTACK_DONE, acknowledge_storm},
	{"queues-that-are-none", NULL, false, ATTACK_DONE, queues_that_are_none},
	{"register-sweep", NULL, false, ATTACK_BORNE, register_sweep},
	{"register-storm", NULL, false, ATTACK_BORNE, register_storm},
	{"config-sweep", NULL, false, ATTACK_DONE | ATTACK_ERROR, config_sweep},
	{"window-crossed", NULL, false, ATTACK_DONE, window_crossed},
	{0},
};
