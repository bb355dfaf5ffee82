/* SPDX-License-Identifier: MIT */
/*
 * The statistical tests of random bits that FIPS 140-2 (change notice 1, section 4.9.1) asks for, each over one block
 * of 20000 bits. Good bytes fail one of them about 8 times in 10000 blocks.
 */
#ifndef HVISOR_FIPS_H
#define HVISOR_FIPS_H

#include <stdint.h>

#define FIPS_BLOCK 2500u /* bytes */

/* The name of the first test that the block fails ("monobit", "poker", "runs", "long run"), or NULL. */
const char *fips_test(const uint8_t block[FIPS_BLOCK]);

#endif
