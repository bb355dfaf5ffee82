/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share: the fuzzer's bytes as a file, and a check that ends the run. */
#ifndef HVISOR_TESTS_INPUT_H
#define HVISOR_TESTS_INPUT_H

#include <stddef.h>
#include <stdint.h>

/* A path under which the bytes can be read until the next call; there is one such file. */
const char *input_file(const void *bytes, size_t len);

/* What must be true whatever the input is: else says so and aborts, which the fuzzer takes for a finding. */
#define INPUT_CHECK(cond) ((cond) ? (void)0 : input_fail(__FILE__, __LINE__, #cond))
void input_fail(const char *file, int line, const char *what) __attribute__((noreturn));

/* What libFuzzer calls with each input: returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
