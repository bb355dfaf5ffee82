/* SPDX-License-Identifier: MIT */
/* What the launcher, which describes an entropy device to its guest, and hvisor-rng, which serves it, agree upon. */
#ifndef HVISOR_RNG_H
#define HVISOR_RNG_H

#include <stdint.h>

#define RNG_QUEUE_SIZE 64u
#define RNG_RATE_MAX 1000000000u /* bytes a second; 0 is no limit */

/*
 * With a limit, what was not used is saved up to a tenth of a second's bytes, but not to less than this, which is about
 * as much as a driver asks for at once: a smaller answer would cost it further requests.
 */
#define RNG_BURST_MIN 64u

/* struct region_device.own of an entropy device. */
enum rng_own {
	RNG_OWN_LIMITED, /* how often a request had to wait for the rate */
};

#endif
