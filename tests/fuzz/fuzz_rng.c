/* SPDX-License-Identifier: MIT */
/* hvisor-rng over a whole life (life.h): the input begins with its rate. */
#define main rng_main
int rng_main(int argc, char **argv);
#include "backends/rng.c"
#undef main

#include <stdio.h>

#include "tests/fuzz/life.h"

static uint32_t rate;

static void rng_make(struct life *life, uint8_t *config, uint8_t *writable)
{
	static const uint32_t rates[] = {0, 0, 1, 1000, 1000000, RNG_RATE_MAX};

	(void)config;
	(void)writable;
	rate = rates[input_u8(&life->input) % (sizeof(rates) / sizeof(rates[0]))];
	life->shape.nqueues = 1;
	life->shape.device_features =
		VMMIO_F_INDIRECT_DESC | VMMIO_F_EVENT_IDX | VMMIO_F_VERSION_1 | VMMIO_F_RING_RESET;
}

static void rng_begin(struct life *life)
{
	char value[16];

	memset(&device, 0, sizeof(device));
	backend.device = &device;
	snprintf(value, sizeof(value), "%u", rate);
	INPUT_CHECK(life->type->ops->option(&backend, "rate", value) == 0);
}

static void rng_gone(struct life *life)
{
	(void)life;
}

static void rng_request(struct life *life, uint32_t q)
{
	uint8_t kind = input_u8(&life->input);

	life_chain_begin(life);
	life_chain_add(life, true, kind & 64 ? input_u16(&life->input) : 1 + (kind & 63u), NULL, 0);
	life_chain_send(life, q);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	life_init_process();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct life_type type = {
		.backend = &backend,
		.ops = &rng_ops,
		.make = rng_make,
		.begin = rng_begin,
		.gone = rng_gone,
		.request = rng_request,
		.answers = true,
	};
	static struct life life;

	life_run(&life, &type, data, size);
	return 0;
}
