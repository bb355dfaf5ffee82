/* SPDX-License-Identifier: MIT */
/*
 * Are the bytes of a file random, as far as can be told? At most one of their blocks fails the tests of FIPS 140-2, and
 * no 16 bytes at a multiple of 16 are there twice, as they would be if a buffer had been given out twice.
 * usage: random FILE      of which as much as BYTES_MAX is read
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/fips.h"

#define UNIT 16u
#define BYTES_MAX (1u << 20)

static int unit_compare(const void *a, const void *b)
{
	return memcmp(a, b, UNIT);
}

int main(int argc, char **argv)
{
	static uint8_t bytes[BYTES_MAX];
	const char *test;
	size_t size, at;
	unsigned int failed = 0;
	FILE *file;

	if (argc != 2)
		return 2;
	file = fopen(argv[1], "r");
	if (!file) {
		perror(argv[1]);
		return 1;
	}
	size = fread(bytes, 1, sizeof(bytes), file);
	if (size < FIPS_BLOCK) {
		printf("random: only %zu bytes\n", size);
		return 1;
	}
	for (at = 0; at + FIPS_BLOCK <= size; at += FIPS_BLOCK) {
		test = fips_test(bytes + at);
		if (test) {
			printf("random: the block at %zu fails %s\n", at, test);
			failed++;
		}
	}
	qsort(bytes, size / UNIT, UNIT, unit_compare);
	for (at = UNIT; at + UNIT <= size; at += UNIT) {
		if (unit_compare(bytes + at - UNIT, bytes + at) == 0) {
			printf("random: bytes that are there twice\n");
			return 1;
		}
	}
	printf("random: %zu bytes, %u blocks are suspicious\n", size, failed);
	return failed > 1;
}
