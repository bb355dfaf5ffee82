/* SPDX-License-Identifier: MIT */
/*
 * A list of complaints, so that a person sees everything that is wrong at once. Each line says what failed, on what,
 * why and what would be right.
 */
#ifndef HVISOR_ERRORS_H
#define HVISOR_ERRORS_H

#include <stdio.h>

struct errors {
	char **line;
	size_t count;
};

void errors_init(struct errors *errors);
void errors_finish(struct errors *errors);

/* Adds a line; the text is copied. When memory is out the count still grows and the line says so. */
void errors_add(struct errors *errors, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line each, behind prefix. */
void errors_print(const struct errors *errors, FILE *file, const char *prefix);

#endif
