/* SPDX-License-Identifier: MIT */
/* Text from elsewhere: is it UTF-8, and may a terminal see it? */
#ifndef HVISOR_UTF8_H
#define HVISOR_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* How many of the len bytes at text, at least 1, the first character has; 0 if they do not begin with one. */
size_t utf8_length(const char *text, size_t len);

/* Is the first character of text one that a terminal shows and does not obey? Its length is as above, not 0. */
bool utf8_harmless(const char *text);

/* Replaces in place each byte of text which is no harmless character by '?', tabs and newlines apart. Returns text. */
char *utf8_clean(char *text);

#endif
