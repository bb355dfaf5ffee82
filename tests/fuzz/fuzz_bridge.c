/* SPDX-License-Identifier: MIT */
/*
 * The bridge's drain and the register model behind it: the input is what guests, hvisor's page and a hostile backend do
 * in turn. The page and the regions are blocks of their own, so that a byte beyond is a finding; of the CPUs that are
 * held back none is answered twice, and what the model says to do is something that its caller knows.
 */
#include <stdlib.h>
#include <string.h>

#include "common/bridge.h"
#include "tests/fuzz/input.h"

#define NDEVICES 2u
#define WINDOW_BASE 0xa003000u
#define BUDGET 40u

struct machine {
	struct bridge bridge;
	struct bridge_page *page;
	struct bridge_map map;
	struct bridge_window window[NDEVICES];
	struct vmmio_dev dev[NDEVICES];
	uint32_t region_size[NDEVICES];
	int locked;
};

static void window_lock(const struct bridge_window *window)
{
	struct machine *m = window->owner;

	INPUT_CHECK(m->locked++ == 0);
}

static void window_unlock(const struct bridge_window *window)
{
	struct machine *m = window->owner;

	INPUT_CHECK(--m->locked == 0);
}

static void window_effects(const struct bridge_window *window, core_u32 effects)
{
	struct machine *m = window->owner;

	INPUT_CHECK(m->locked == 0);
	INPUT_CHECK((effects & ~(VMMIO_KICK | VMMIO_INTERRUPT | VMMIO_HOLD)) == 0);
	INPUT_CHECK(!(effects & VMMIO_HOLD) || window->dev->held_cpus != 0);
}

static const struct bridge_ops ops = {
	.lock = window_lock,
	.unlock = window_unlock,
	.effects = window_effects,
};

static void device_init(struct machine *m, uint32_t n, struct input *input)
{
	struct region_shape shape = {.device_id = 1};
	core_u8 config[REGION_CONFIG_MAX] = {0};
	core_u8 writable[REGION_CONFIG_MAX / 8];
	struct queue_region *region;
	size_t got;

	shape.nqueues = 1 + input_u8(input) % REGION_QUEUES_MAX;
	shape.queue_size_max = 2u << input_u8(input) % 8;
	shape.config_len = input_u8(input) % (REGION_CONFIG_MAX + 1);
	shape.device_features = input_u64(input);
	INPUT_CHECK(region_shape_valid(&shape));
	memset(writable, input_u8(input), sizeof(writable));
	memcpy(config, input_block(input, shape.config_len, &got), got);
	m->region_size[n] = region_size(&shape);
	region = calloc(1, m->region_size[n]);
	INPUT_CHECK(region != NULL);
	region_init(region, &shape, config);
	vmmio_init(&m->dev[n], region, &shape, config, writable);
	m->window[n] = (struct bridge_window){.zone = 1,
					      .base = WINDOW_BASE + n * VMMIO_WINDOW_MIN,
					      .size = VMMIO_WINDOW_MIN,
					      .dev = &m->dev[n],
					      .owner = m};
}

/* A request in the ring, mostly one that a guest's access makes. */
static void guest_access(struct machine *m, struct input *input)
{
	struct bridge_request *request;
	uint8_t kind = input_u8(input);
	uint32_t at = m->page->req_rear;

	if (at >= BRIDGE_SLOTS || (at + 1) % BRIDGE_SLOTS == m->bridge.req_front)
		return;
	request = &m->page->req[at];
	*request = (struct bridge_request){.size = 4, .src_zone = 1, .is_write = kind & 1};
	request->src_cpu = input_u8(input) % 4;
	request->address = WINDOW_BASE + input_u16(input) % (NDEVICES * VMMIO_WINDOW_MIN);
	request->value = input_u8(input);
	if (kind & 2)
		request->value = input_u64(input);
	if (kind & 4)
		request->size = input_u64(input);
	if (kind & 8)
		request->address = input_u64(input);
	if (kind & 16)
		request->src_cpu = input_u64(input);
	if (kind & 32)
		request->src_zone = input_u8(input);
	if (kind & 64)
		request->need_interrupt = input_u8(input);
	if (kind & 128)
		request->address &= ~3ull;
	m->page->req_rear = (at + 1) % BRIDGE_SLOTS;
}

/* Anything anywhere. */
static void scribble(struct input *input, void *block, size_t size)
{
	size_t at = input_u16(input) % size;
	size_t got;
	const uint8_t *bytes = input_block(input, input_u8(input), &got);

	memcpy((uint8_t *)block + at, bytes, got < size - at ? got : size - at);
}

static void quiesced(struct machine *m, struct vmmio_dev *dev)
{
	core_u32 held = dev->held_cpus;
	core_u32 cpus = vmmio_quiesced(dev);

	INPUT_CHECK((cpus & ~held) == 0 && (dev->held_cpus & cpus) == 0);
	bridge_answer_mask(&m->bridge, cpus);
}

static void drain(struct machine *m)
{
	INPUT_CHECK(bridge_drain(&m->bridge, &m->map, &ops, BUDGET) <= BUDGET);
	INPUT_CHECK(m->bridge.req_front < BRIDGE_SLOTS && m->bridge.res_rear < BRIDGE_SLOTS && m->locked == 0);
}

/* The backend is gone: whatever it left in its region, nothing is held back any more. */
static void device_settle(struct machine *m, struct vmmio_dev *dev)
{
	vmmio_detach(dev);
	quiesced(m, dev);
	INPUT_CHECK(dev->held_cpus == 0 && vmmio_is_quiet(dev));
}

static void step(struct machine *m, struct input *input)
{
	uint32_t n = input_u8(input) % NDEVICES;
	struct vmmio_dev *dev = &m->dev[n];

	switch (input_u8(input) % 14) {
	case 0:
	case 1:
	case 2:
		guest_access(m, input);
		break;
	case 3:
	case 4:
		drain(m);
		break;
	case 5:
		scribble(input, m->page, sizeof(*m->page));
		break;
	case 6:
		scribble(input, dev->region, m->region_size[n]);
		break;
	case 7:
		vmmio_attach(dev);
		break;
	case 8:
		dev->region->device.quiesce_ack = dev->region->driver.quiesce_seq;
		quiesced(m, dev);
		break;
	case 9:
		device_settle(m, dev);
		break;
	case 10:
		vmmio_reset(dev);
		break;
	case 11:
		if (input_u8(input) & 1)
			vmmio_fail(dev);
		else
			vmmio_repair(dev);
		break;
	case 12:
		bridge_push(&m->bridge, input_u32(input), input_u32(input));
		break;
	default:
		vmmio_ring(dev->region, input_u32(input));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.at = data, .left = size};
	static struct machine m;
	uint32_t n;

	memset(&m, 0, sizeof(m));
	m.page = calloc(1, sizeof(*m.page));
	INPUT_CHECK(m.page != NULL);
	bridge_init(&m.bridge, m.page);
	m.map = (struct bridge_map){m.window, NDEVICES};
	for (n = 0; n < NDEVICES; n++)
		device_init(&m, n, &input);
	while (input.left > 0)
		step(&m, &input);
	drain(&m);
	for (n = 0; n < NDEVICES; n++) {
		device_settle(&m, &m.dev[n]);
		free(m.dev[n].region);
	}
	free(m.page);
	return 0;
}
