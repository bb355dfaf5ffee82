/* SPDX-License-Identifier: MIT */
#include "errors.h"

#include <stdarg.h>
#include <stdlib.h>

void errors_init(struct errors *errors)
{
	errors->line = NULL;
	errors->count = 0;
}

static void errors_free_lines(struct errors *errors)
{
	size_t i;

	for (i = 0; errors->line && i < errors->count; i++)
		free(errors->line[i]);
	free(errors->line);
	errors->line = NULL;
}

void errors_finish(struct errors *errors)
{
	errors_free_lines(errors);
	errors->count = 0;
}

/* One more place at the end. A list that could not grow loses its lines, and from then on is only counted. */
static char **errors_grow(struct errors *errors)
{
	char **line = NULL;

	if (errors->line || !errors->count)
		line = reallocarray(errors->line, errors->count + 1, sizeof(*errors->line));
	if (!line)
		errors_free_lines(errors);
	errors->line = line;
	errors->count++;
	return line ? &line[errors->count - 1] : NULL;
}

void errors_add(struct errors *errors, const char *format, ...)
{
	char **line = errors_grow(errors);
	va_list args;

	if (!line)
		return;
	va_start(args, format);
	if (vasprintf(line, format, args) < 0)
		*line = NULL;
	va_end(args);
}

void errors_print(const struct errors *errors, FILE *file, const char *prefix)
{
	size_t i;

	for (i = 0; i < errors->count; i++)
		fprintf(file, "%s%s\n", prefix,
			errors->line && errors->line[i] ? errors->line[i] : "no memory for the text of this error");
}
