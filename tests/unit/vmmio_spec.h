/* SPDX-License-Identifier: MIT */
/*
 * A second model of a virtio-mmio device, for the property test: as simple as it can be, written from the tables and
 * requirements of virtio 1.2 (2.1, 2.2, 2.4 to 2.6, 4.2.2) and the contract in common/vmmio.h, with the numbers of the
 * specification and without a look at common/vmmio.c. It keeps each register as the word that the driver wrote, and
 * each fact about the device as a truth of its own.
 */
#ifndef HVISOR_TESTS_VMMIO_SPEC_H
#define HVISOR_TESTS_VMMIO_SPEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The seven words by which a driver sets a queue up, by their offsets: QueueNum, then low and high of each address. */
#define SPEC_WORDS 7
static const uint32_t spec_word_at[SPEC_WORDS] = {0x38, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4};

struct spec_queue {
	uint32_t word[SPEC_WORDS];
	bool ready;
	bool stopping; /* the driver took it back, the backend has yet to let go */
	bool resetting; /* by QueueReset */
	uint32_t lives; /* how often it became ready */
};

struct spec {
	/* what the device is */
	uint32_t device_id;
	uint32_t nqueues;
	uint32_t num_max;
	uint32_t offered[2];
	uint32_t config_len;
	uint8_t config_initial[256];
	bool config_writable[256];

	/* what the driver did */
	bool acknowledge, driver, features_ok, driver_ok, failed;
	uint32_t accepted[2];
	uint32_t device_sel, driver_sel, queue_sel;
	struct spec_queue queue[64];
	uint8_t config[256];
	bool config_touched;

	/* what the device and its surroundings did */
	uint32_t interrupts;
	uint32_t generation;
	bool bad_queue; /* the driver enabled a queue that cannot be */
	bool backend_gave_up; /* needs_reset */
	bool no_backend_comes; /* vmmio_fail() */
	bool attached;
	bool resetting;
	bool backend_let_go; /* it has acknowledged the newest request to let go */
	uint32_t waiting; /* CPUs */

	/* what the access or event at hand does beside its answer */
	uint32_t rings; /* events 1 status, 2 config, 4 control */
	uint64_t notifies; /* queues */
	bool rang;
	bool holds;
	bool interrupts_now;
	uint32_t asked; /* how often a backend was asked to let go, since the beginning */
};

static inline void spec_ring(struct spec *s, uint32_t events)
{
	s->rings |= events;
	s->rang = true;
}

static inline uint32_t spec_status(const struct spec *s)
{
	uint32_t status = 0;

	status += s->acknowledge ? 1 : 0;
	status += s->driver ? 2 : 0;
	status += s->driver_ok ? 4 : 0;
	status += s->features_ok ? 8 : 0;
	status += s->bad_queue || s->backend_gave_up || s->no_backend_comes ? 64 : 0;
	status += s->failed ? 128 : 0;
	return status;
}

/* 2.4.2: the device forgets what the driver did. The lives of its queues go on, and what the surroundings said. */
static inline void spec_power_on(struct spec *s)
{
	uint32_t q, w;

	s->acknowledge = s->driver = s->features_ok = s->driver_ok = s->failed = false;
	s->accepted[0] = s->accepted[1] = 0;
	s->device_sel = s->driver_sel = s->queue_sel = 0;
	for (q = 0; q < 64; q++) {
		for (w = 0; w < SPEC_WORDS; w++)
			s->queue[q].word[w] = 0;
		s->queue[q].ready = s->queue[q].stopping = s->queue[q].resetting = false;
	}
	s->interrupts = 0;
	s->bad_queue = false;
	s->backend_gave_up = false;
	s->resetting = false;
}

/* Whatever was asked of the backend is true now. */
static inline void spec_settle(struct spec *s)
{
	uint32_t q, w;

	if (s->resetting)
		spec_power_on(s);
	for (q = 0; q < 64; q++) {
		struct spec_queue *queue = &s->queue[q];

		if (!queue->stopping)
			continue;
		for (w = 0; w < SPEC_WORDS && queue->resetting; w++)
			queue->word[w] = 0;
		queue->ready = queue->stopping = queue->resetting = false;
	}
}

static inline bool spec_waits(const struct spec *s)
{
	uint32_t q;

	for (q = 0; q < 64; q++) {
		if (s->queue[q].stopping)
			return true;
	}
	return s->resetting;
}

static inline void spec_ask_to_let_go(struct spec *s)
{
	s->asked++;
	s->backend_let_go = false;
	spec_ring(s, 1);
	if (!s->attached)
		spec_settle(s);
}

/* The device is reset, by its driver or with its zone. */
static inline void spec_reset(struct spec *s)
{
	uint32_t i;

	if (s->resetting)
		return;
	for (i = 0; i < s->config_len; i++) {
		if (s->config_writable[i])
			s->config[i] = s->config_initial[i];
	}
	if (s->config_touched)
		spec_ring(s, 2);
	s->config_touched = false;
	if (!s->acknowledge && !s->driver && !s->features_ok && !s->driver_ok && !s->failed && !s->backend_gave_up) {
		spec_power_on(s);
		return;
	}
	s->resetting = true;
	spec_ask_to_let_go(s);
}

static inline void spec_wait(struct spec *s, uint32_t cpu)
{
	s->holds = true;
	s->waiting |= 1u << cpu;
}

static inline void spec_write_status(struct spec *s, uint32_t v, uint32_t cpu)
{
	uint32_t before = spec_status(s);

	if (v == 0) {
		spec_reset(s);
		if (s->resetting)
			spec_wait(s, cpu);
		return;
	}
	/* 2.1.1: bits are only ever added. 2.2.2: FEATURES_OK is the device's to refuse. */
	if (v & 1)
		s->acknowledge = true;
	if (v & 2)
		s->driver = true;
	if (v & 128)
		s->failed = true;
	if ((v & 8) && !s->features_ok)
		s->features_ok = (s->accepted[0] & s->offered[0]) == s->accepted[0] &&
				 (s->accepted[1] & s->offered[1]) == s->accepted[1] && s->accepted[1] % 2 == 1;
	/* 3.1.1: only after FEATURES_OK */
	if ((v & 4) && s->features_ok)
		s->driver_ok = true;
	if (spec_status(s) != before)
		spec_ring(s, 1);
}

static inline void spec_stop_queue(struct spec *s, struct spec_queue *queue, bool reset, uint32_t cpu)
{
	queue->stopping = true;
	queue->resetting = reset;
	if (s->attached)
		spec_wait(s, cpu);
	spec_ask_to_let_go(s);
}

/* 2.7: sizes and alignments. */
static inline bool spec_queue_can_be(const struct spec *s, const struct spec_queue *queue)
{
	uint32_t num;
	bool power = false;

	for (num = 1; num != 0 && num <= s->num_max; num *= 2)
		power |= queue->word[0] == num;
	return power && (queue->word[1] & 15) == 0 && (queue->word[3] & 1) == 0 && (queue->word[5] & 3) == 0;
}

static inline void spec_write_queue_ready(struct spec *s, struct spec_queue *queue, uint32_t v, uint32_t cpu)
{
	if (v == 0 && queue->ready)
		spec_stop_queue(s, queue, false, cpu);
	if (v != 1 || queue->ready || !s->features_ok)
		return;
	if (spec_queue_can_be(s, queue)) {
		queue->ready = true;
		queue->lives++;
		spec_ring(s, 1);
	} else if (!s->bad_queue) {
		/* 2.1.2: a driver that runs is told with a configuration change */
		s->bad_queue = true;
		s->interrupts_now = s->driver_ok;
		s->interrupts |= s->driver_ok ? 2 : 0;
	}
}

static inline void spec_write_queue_reset(struct spec *s, struct spec_queue *queue, uint32_t v, uint32_t cpu)
{
	/* VIRTIO_F_RING_RESET is bit 40 */
	if (v != 1 || !s->features_ok || !(s->accepted[1] & 1u << (40 - 32)))
		return;
	if (queue->ready)
		spec_stop_queue(s, queue, true, cpu);
	else
		memset(queue->word, 0, sizeof(queue->word));
}

static inline void spec_write_config(struct spec *s, uint64_t at, uint32_t size, uint64_t v)
{
	uint32_t i;

	for (i = 0; i < size; i++) {
		if (at + i >= s->config_len || !s->config_writable[at + i])
			continue;
		s->config[at + i] = (uint8_t)(v >> 8 * i);
		s->config_touched = true;
		spec_ring(s, 2);
	}
}

static inline void spec_write(struct spec *s, uint64_t at, uint32_t size, uint64_t value, uint32_t cpu)
{
	struct spec_queue *queue = s->queue_sel < s->nqueues ? &s->queue[s->queue_sel] : NULL;
	uint32_t v = (uint32_t)value;
	uint32_t w;

	if (size != 1 && size != 2 && size != 4 && size != 8)
		return;
	if (at < 0x100 && (size != 4 || at % 4 != 0))
		return;
	if (s->resetting && !(at == 0x70 && v == 0))
		return;
	if (at >= 0x100)
		spec_write_config(s, at - 0x100, size, value);
	if (at == 0x14)
		s->device_sel = v;
	if (at == 0x20 && !s->features_ok && s->driver_sel < 2)
		s->accepted[s->driver_sel] = v;
	if (at == 0x24)
		s->driver_sel = v;
	if (at == 0x50 && v < s->nqueues && s->driver_ok && s->queue[v].ready && !s->queue[v].stopping) {
		s->notifies |= 1ull << v;
		s->rang = true;
	}
	if (at == 0x64)
		s->interrupts &= ~(v & 3);
	if (at == 0x70)
		spec_write_status(s, v, cpu);
	if (queue && !queue->stopping) {
		for (w = 0; w < SPEC_WORDS; w++) {
			if (at == spec_word_at[w] && !queue->ready)
				queue->word[w] = v;
		}
		if (at == 0x44)
			spec_write_queue_ready(s, queue, v, cpu);
		if (at == 0xc0)
			spec_write_queue_reset(s, queue, v, cpu);
	}
	if (at == 0x30)
		s->queue_sel = v;
}

static inline uint64_t spec_read(const struct spec *s, uint64_t at, uint32_t size)
{
	const struct spec_queue *queue = s->queue_sel < s->nqueues ? &s->queue[s->queue_sel] : NULL;
	uint64_t v = 0;
	uint32_t i;

	if (size != 1 && size != 2 && size != 4 && size != 8)
		return 0;
	if (at >= 0x100) {
		for (i = size; i-- > 0;)
			v = v << 8 | (at - 0x100 + i < s->config_len ? s->config[at - 0x100 + i] : 0);
		return v;
	}
	if (size != 4)
		return 0;
	switch (at) {
	case 0x00:
		return 'v' | 'i' << 8 | 'r' << 16 | 't' << 24;
	case 0x04:
		return 2;
	case 0x08:
		return s->device_id;
	case 0x0c:
		return 'R' | 'S' << 8 | 'V' << 16 | 'h' << 24;
	case 0x10:
		return s->device_sel < 2 ? s->offered[s->device_sel] : 0;
	case 0x34:
		return queue ? s->num_max : 0;
	case 0x44:
		return queue && queue->ready;
	case 0x60:
		return s->interrupts & 3;
	case 0x70:
		return spec_status(s);
	case 0xb0:
	case 0xb4:
	case 0xb8:
	case 0xbc:
		return 0xffffffff;
	case 0xc0:
		return queue && queue->resetting;
	case 0xfc:
		return s->generation;
	default:
		return 0;
	}
}

/* Which of the waiting CPUs are answered now. */
static inline uint32_t spec_quiesced(struct spec *s)
{
	uint32_t cpus = s->waiting;

	if (spec_waits(s) && !s->backend_let_go)
		return 0;
	spec_settle(s);
	s->waiting = 0;
	return cpus;
}

static inline bool spec_is_quiet(const struct spec *s)
{
	uint32_t q;

	if (!s->attached)
		return true;
	if (s->resetting)
		return s->backend_let_go;
	for (q = 0; q < 64; q++) {
		if (s->queue[q].ready && !(s->queue[q].stopping && s->backend_let_go))
			return false;
	}
	return true;
}

static inline void spec_attach(struct spec *s)
{
	uint32_t q;

	spec_settle(s);
	for (q = 0; q < 64; q++)
		s->notifies |= s->queue[q].ready ? 1ull << q : 0;
	spec_ring(s, 1 | 2 | 4);
	s->attached = true;
	s->backend_let_go = true;
}

static inline void spec_detach(struct spec *s)
{
	s->attached = false;
	spec_settle(s);
	s->backend_let_go = true;
}

static inline void spec_fail(struct spec *s)
{
	if (!s->no_backend_comes && s->driver_ok && !s->resetting) {
		s->interrupts_now = true;
		s->interrupts |= 2;
	}
	s->no_backend_comes = true;
}

#endif
