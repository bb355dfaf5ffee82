/* SPDX-License-Identifier: MIT */
/* Numbers and words as people read them. */
#ifndef HVISOR_HUMAN_H
#define HVISOR_HUMAN_H

#include <stdint.h>

#define HUMAN_MAX 24

/* "0 B", "512 B", "1.5 KiB", "64 MiB": rounded down to what three digits show. Returns buffer. */
const char *human_size(char buffer[HUMAN_MAX], uint64_t bytes);

/* "3.2 s", "5 min", "7 h", "12 d". Returns buffer. */
const char *human_time(char buffer[HUMAN_MAX], double seconds);

#endif
