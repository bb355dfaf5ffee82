/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share: the fuzzer's bytes taken apart, as operations with operands or as a file, and a check
 * that ends the run. Past the end every number is 0 and every block is empty.
 */
#ifndef HVISOR_TESTS_INPUT_H
#define HVISOR_TESTS_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input {
	const uint8_t *at;
	size_t left;
};

/* The next bytes, little endian. */
uint8_t input_u8(struct input *input);
uint16_t input_u16(struct input *input);
uint32_t input_u32(struct input *input);
uint64_t input_u64(struct input *input);

/* The next len bytes, or as many as there are: *got. They belong to the fuzzer. */
const uint8_t *input_block(struct input *input, size_t len, size_t *got);

/* A path under which the bytes can be read until the next call; there is one such file. */
const char *input_file(const void *bytes, size_t len);

/* What must be true whatever the input is: else says so and aborts, which the fuzzer takes for a finding. */
#define INPUT_CHECK(cond) ((cond) ? (void)0 : input_fail(__FILE__, __LINE__, #cond))
void input_fail(const char *file, int line, const char *what) __attribute__((noreturn));

/* What libFuzzer calls once, if it is there, and with each input: both return 0. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
