/* SPDX-License-Identifier: MIT */
#include "utf8.h"

#include <string.h>

/* RFC 3629, section 4: by the first byte, the range of the second, and how many follow; those are 0x80 to 0xbf. */
static const struct form {
	unsigned char first, last, second_first, second_last, more;
} forms[] = {
	{0x00, 0x7f, 0x00, 0x00, 0}, {0xc2, 0xdf, 0x80, 0xbf, 1}, {0xe0, 0xe0, 0xa0, 0xbf, 2},
	{0xe1, 0xec, 0x80, 0xbf, 2}, {0xed, 0xed, 0x80, 0x9f, 2}, {0xee, 0xef, 0x80, 0xbf, 2},
	{0xf0, 0xf0, 0x90, 0xbf, 3}, {0xf1, 0xf3, 0x80, 0xbf, 3}, {0xf4, 0xf4, 0x80, 0x8f, 3},
};

size_t utf8_length(const char *text, size_t len)
{
	const unsigned char *c = (const unsigned char *)text;
	const struct form *form = forms;
	const struct form *end = forms + sizeof(forms) / sizeof(forms[0]);
	size_t i;

	while (form < end && (c[0] < form->first || c[0] > form->last))
		form++;
	if (form == end || len <= form->more)
		return 0;
	if (form->more && (c[1] < form->second_first || c[1] > form->second_last))
		return 0;
	for (i = 2; i <= form->more; i++) {
		if (c[i] < 0x80 || c[i] > 0xbf)
			return 0;
	}
	return 1u + form->more;
}

bool utf8_harmless(const char *text)
{
	const unsigned char *c = (const unsigned char *)text;

	/* C0 and DEL; C1, which is 0xc2 0x80 to 0xc2 0x9f. */
	return c[0] >= 0x20 && c[0] != 0x7f && (c[0] != 0xc2 || c[1] >= 0xa0);
}

char *utf8_clean(char *text)
{
	size_t left = strlen(text);
	char *c = text;

	while (left) {
		size_t n = utf8_length(c, left);

		if (*c != '\n' && *c != '\t' && (!n || !utf8_harmless(c))) {
			n = n ? n : 1;
			memset(c, '?', n);
		}
		c += n;
		left -= n;
	}
	return text;
}
