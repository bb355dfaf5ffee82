/* SPDX-License-Identifier: MIT */
/*
 * An entropy device: requests of all sizes. An answer has at least a byte and no more than there is room for, nothing
 * behind it is touched, none is like one before, and in the end about half of all bits are set.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/core_os.h"
#include "tests/soak/soak.h"
#include "tests/test.h"

#define BUFFERS 8u
#define SIZE_MIN 16u
#define SIZE_MAX_BYTES 4096u
#define CANARY 0xcc
#define SEEN 4096u /* answers whose first bytes are kept */
#define FINISH_MS 60000

struct source {
	struct guest_dev dev;
	struct guest_vq vq;
	uint64_t area_gpa;
	uint8_t *area;
	uint32_t size[BUFFERS];
	bool busy[BUFFERS];
	uint64_t given;
	uint64_t taken;
	uint64_t ones;
	uint64_t seen[SEEN];
};

static void source_init(struct soak_device *device)
{
	struct source *source = calloc(1, sizeof(*source));

	CHECK(source);
	device->own = source;
	device->flow[0] = (struct soak_flow){&source->given, &source->taken};
}

static void source_open(struct soak_device *device)
{
	struct source *source = device->own;
	uint32_t cpu = device->index;

	CHECK_INT(guest_dev_probe(&source->dev, device->guest, rig_base(device->index), rig_irq(device->index), cpu),
		  0);
	CHECK_INT(guest_dev_negotiate(&source->dev, cpu, ~0ull), 0);
	CHECK_INT(guest_vq_open(&source->vq, &source->dev, cpu, 0, 0, 0), 0);
	source->area_gpa = guest_alloc(device->guest, BUFFERS * SIZE_MAX_BYTES);
	source->area = guest_at(device->guest, source->area_gpa, BUFFERS * SIZE_MAX_BYTES);
	CHECK(source->area);
	CHECK_INT(guest_dev_start(&source->dev, cpu), 0);
}

static void source_close(struct soak_device *device)
{
	struct source *source = device->own;

	guest_dev_reset(&source->dev, device->index);
	guest_vq_close(&source->vq);
	guest_free(device->guest, source->area_gpa, BUFFERS * SIZE_MAX_BYTES);
	memset(source->busy, 0, sizeof(source->busy));
	core_store_release(&source->taken, source->given);
}

static void ask(struct soak_device *device)
{
	struct source *source = device->own;
	struct guest_buffer buffer = {.device_writes = true};
	uint8_t *bytes;
	uint32_t i;

	for (i = 0; i < BUFFERS; i++) {
		if (source->busy[i])
			continue;
		bytes = source->area + i * SIZE_MAX_BYTES;
		memset(bytes, CANARY, SIZE_MAX_BYTES);
		source->size[i] = SIZE_MIN + (uint32_t)(test_random_of(&device->random) % (SIZE_MAX_BYTES - SIZE_MIN));
		buffer.gpa = source->area_gpa + i * SIZE_MAX_BYTES;
		buffer.len = source->size[i];
		CHECK(guest_vq_add(&source->vq, &buffer, 1, bytes) >= 0);
		source->busy[i] = true;
		core_store_release(&source->given, source->given + 1);
	}
	guest_vq_kick(&source->vq, device->index);
}

static void take_answer(struct soak_device *device, const uint8_t *bytes, uint32_t len)
{
	struct source *source = device->own;
	uint32_t n = (uint32_t)((bytes - source->area) / SIZE_MAX_BYTES);
	uint64_t first;
	uint32_t i;

	if (len < 1 || len > source->size[n])
		TEST_FAIL("%s: an answer of %u bytes to a request for %u", device->name, len, source->size[n]);
	for (i = 0; i < len; i++)
		source->ones += (uint32_t)__builtin_popcount(bytes[i]);
	for (i = len; i < SIZE_MAX_BYTES; i++) {
		if (bytes[i] != CANARY)
			TEST_FAIL("%s: byte %u of an answer of %u was written", device->name, i, len);
	}
	if (len >= sizeof(first)) {
		memcpy(&first, bytes, sizeof(first));
		if (source->seen[first % SEEN] == first)
			TEST_FAIL("%s: an answer comes again", device->name);
		source->seen[first % SEEN] = first;
	}
	source->busy[n] = false;
	device->figures.checked += len;
	core_store_release(&source->taken, source->taken + 1);
}

static bool take_answers(struct soak_device *device)
{
	struct source *source = device->own;
	bool moved = false;
	uint32_t len;
	uint8_t *bytes;

	guest_dev_interrupt(&source->dev, device->index);
	while ((bytes = guest_vq_get(&source->vq, &len))) {
		take_answer(device, bytes, len);
		moved = true;
	}
	return moved;
}

static void source_turn(struct soak_device *device)
{
	ask(device);
	if (!take_answers(device))
		poll(NULL, 0, 1);
}

static int source_is_done(void *arg)
{
	struct soak_device *device = arg;
	const struct source *source = device->own;

	take_answers(device);
	return source->taken == source->given;
}

static void source_finish(struct soak_device *device)
{
	const struct source *source = device->own;
	double bits, off;

	if (!test_wait(source_is_done, device, FINISH_MS))
		TEST_FAIL("%s: %llu of %llu requests were answered", device->name, (unsigned long long)source->taken,
			  (unsigned long long)source->given);
	/* The square of six standard deviations: once in 500 million soaks by chance. */
	bits = (double)device->figures.checked * 8;
	off = 2 * (double)source->ones - bits;
	if (off * off > 36 * bits)
		TEST_FAIL("%s: %llu of %.0f bits are set", device->name, (unsigned long long)source->ones, bits);
}

static void source_check(struct soak_device *device)
{
	free(device->own);
}

const struct soak_load soak_rng = {
	.unit = "bytes",
	.type = "rng",
	.flows = 1,
	.init = source_init,
	.open = source_open,
	.close = source_close,
	.turn = source_turn,
	.finish = source_finish,
	.check = source_check,
};
