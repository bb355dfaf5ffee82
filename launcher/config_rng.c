/* SPDX-License-Identifier: MIT */
/* The keys of rng devices. */
#include "common/rng.h"
#include "config_reader.h"

static const struct config_key keys[] = {
	{.name = "rate",
	 .must = "0 (no limit) or a number of bytes per second up to 1000000000",
	 .read = config_read_u64,
	 .offset = offsetof(struct config_entry, device.rng.rate),
	 .max = RNG_RATE_MAX},
};

const struct config_keys config_rng_keys = CONFIG_KEYS(keys);
