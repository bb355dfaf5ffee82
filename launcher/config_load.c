/* SPDX-License-Identifier: MIT */
/* A file of ours into memory, and the JSON in it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_reader.h"

#define LOAD_STEP 16384u

/* Reads all of fd, up to one byte more than CONFIG_FILE_MAX. Returns it, to be freed, or NULL with errno. */
static char *read_all(int fd, size_t *len)
{
	size_t size = 0;
	char *text = NULL;
	ssize_t n = 1;

	*len = 0;
	while (n != 0 && *len <= CONFIG_FILE_MAX) {
		if (*len == size) {
			char *more = realloc(text, size + LOAD_STEP);

			if (!more)
				break;
			text = more;
			size += LOAD_STEP;
		}
		n = read(fd, text + *len, size - *len);
		if (n < 0 && errno != EINTR)
			break;
		*len += n > 0 ? (size_t)n : 0;
	}
	if (n == 0 || *len > CONFIG_FILE_MAX)
		return text;
	free(text);
	return NULL;
}

char *config_load(struct config_reader *reader, size_t *len)
{
	int fd = open(reader->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char *text = fd >= 0 ? read_all(fd, len) : NULL;

	if (text && *len > 0 && *len <= CONFIG_FILE_MAX) {
		close(fd);
		return text;
	}
	if (!text)
		config_complain(reader, "", NULL, "cannot be read: %s", strerror(errno));
	else if (*len == 0)
		config_complain(reader, "", NULL, "is empty");
	else
		config_complain(reader, "", NULL, "has more than 1 MiB; this is no configuration");
	free(text);
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* Counts lines from 1 and characters from 1 within the line. */
static void complain_syntax(struct config_reader *reader, const char *text, size_t at, const char *why)
{
	size_t line = 1;
	size_t column = 1;
	size_t i;

	for (i = 0; i < at; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if ((text[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	errors_add(reader->errors, "%s:%zu:%zu: %s", reader->path, line, column, why);
}

cJSON *config_parse(struct config_reader *reader, const char *text, size_t len)
{
	char buffer[CONFIG_WORD_MAX * 2];
	size_t at = 0;
	const char *why = config_syntax(text, len, buffer, &at);
	cJSON *root;

	if (why) {
		complain_syntax(reader, text, at, why);
		return NULL;
	}
	root = cJSON_ParseWithLength(text, len);
	if (!root)
		config_complain(reader, "", NULL, "cannot be parsed; no memory");
	return root;
}
