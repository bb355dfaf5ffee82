/* SPDX-License-Identifier: MIT */
/*
 * JSON by the letter of RFC 8259, before cJSON makes a tree of it: cJSON says of an error only about where it is, and
 * lets pass what would surprise later (NUL bytes, text that is no UTF-8, "01").
 */
#include <stdio.h>
#include <string.h>

#include "config_reader.h"
#include "utf8.h"

#define SYNTAX_DEPTH_MAX 32
#define SYNTAX_NUMBER_MAX 60 /* characters; cJSON cuts at 63 */

struct syntax {
	const unsigned char *text;
	size_t len;
	size_t at;
	char *buffer;
	const char *error;
};

static int syntax_peek(const struct syntax *s)
{
	return s->at < s->len ? s->text[s->at] : -1;
}

static bool syntax_fail(struct syntax *s, const char *error)
{
	s->error = error;
	return false;
}

/* "WANTED is missing before FOUND", for what stands where something else must. */
static bool syntax_expected(struct syntax *s, const char *wanted)
{
	char found[CONFIG_WORD_MAX];
	char word[CONFIG_WORD_MAX];
	size_t n = 0;

	if (s->at >= s->len) {
		snprintf(s->buffer, CONFIG_WORD_MAX * 2, "the file ends here; %s is missing", wanted);
		return syntax_fail(s, s->buffer);
	}
	if (s->text[s->at] == 0)
		return syntax_fail(s, "there is a NUL byte here; this is no text file");
	if (s->text[s->at] == '#' ||
	    (s->text[s->at] == '/' && s->at + 1 < s->len && (s->text[s->at + 1] == '/' || s->text[s->at + 1] == '*')))
		return syntax_fail(s, "JSON has no comments; take this one out");
	while (n < 20 && s->at + n < s->len && s->text[s->at + n] > ' ') {
		if (n && strchr(",:]}\"", s->text[s->at + n]))
			break;
		word[n] = (char)s->text[s->at + n];
		n++;
	}
	word[n] = 0;
	snprintf(s->buffer, CONFIG_WORD_MAX * 2, "%s is missing before %s", wanted, config_word(found, word));
	return syntax_fail(s, s->buffer);
}

static void syntax_space(struct syntax *s)
{
	while (s->at < s->len && strchr(" \t\r\n", s->text[s->at]) && s->text[s->at])
		s->at++;
}

static bool syntax_hex4(struct syntax *s, unsigned int *out)
{
	unsigned int value = 0;
	int i;

	for (i = 0; i < 4; i++, s->at++) {
		int c = syntax_peek(s);

		if (c >= '0' && c <= '9')
			value = value * 16 + (unsigned int)(c - '0');
		else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
			value = value * 16 + (unsigned int)((c | 0x20) - 'a' + 10);
		else
			return syntax_fail(s, "\\u needs four hexadecimal digits");
	}
	*out = value;
	return true;
}

/* Behind a backslash. */
static bool syntax_escape(struct syntax *s)
{
	unsigned int low = 0;
	unsigned int unit;
	int c = syntax_peek(s);

	if (c <= 0 || !strchr("\"\\/bfnrtu", c))
		return syntax_fail(s, "a backslash stands only before one of \" \\ / b f n r t u");
	s->at++;
	if (c != 'u')
		return true;
	if (!syntax_hex4(s, &unit))
		return false;
	if (unit == 0)
		return syntax_fail(s, "\\u0000 cannot be part of a text here");
	if (unit < 0xd800 || unit > 0xdfff)
		return true;
	if (unit > 0xdbff || s->len - s->at < 6 || memcmp(s->text + s->at, "\\u", 2) != 0)
		return syntax_fail(s, "this is half of a surrogate pair");
	s->at += 2;
	if (!syntax_hex4(s, &low))
		return false;
	return (low >= 0xdc00 && low <= 0xdfff) || syntax_fail(s, "this is half of a surrogate pair");
}

static bool syntax_string(struct syntax *s)
{
	size_t begin = s->at++;

	for (;;) {
		int c = syntax_peek(s);

		if (c == '"') {
			s->at++;
			return true;
		}
		if (c < 0 || c == '\n') {
			s->at = begin;
			return syntax_fail(s, "this text has no closing quote");
		}
		if (c < 0x20)
			return syntax_fail(s, "a control character stands in a text; write it as \\t or \\u00..");
		if (c >= 0x80) {
			size_t n = utf8_length((const char *)s->text + s->at, s->len - s->at);

			if (!n)
				return syntax_fail(s, "this is not UTF-8");
			s->at += n;
			continue;
		}
		s->at++;
		if (c == '\\' && !syntax_escape(s))
			return false;
	}
}

static size_t syntax_digits(struct syntax *s)
{
	size_t begin = s->at;

	while (syntax_peek(s) >= '0' && syntax_peek(s) <= '9')
		s->at++;
	return s->at - begin;
}

static bool syntax_number(struct syntax *s)
{
	size_t begin = s->at;
	size_t first;

	if (syntax_peek(s) == '-')
		s->at++;
	first = s->at;
	if (!syntax_digits(s))
		return syntax_expected(s, "a digit");
	if (s->text[first] == '0' && s->at > first + 1) {
		s->at = begin;
		return syntax_fail(s, "a number does not begin with 0");
	}
	if (s->text[first] == '0' && (syntax_peek(s) | 0x20) == 'x') {
		s->at = begin;
		return syntax_fail(s, "JSON has no hexadecimal numbers; put it in quotes: \"0x...\"");
	}
	if (syntax_peek(s) == '.') {
		s->at++;
		if (!syntax_digits(s))
			return syntax_expected(s, "a digit");
	}
	if (syntax_peek(s) == 'e' || syntax_peek(s) == 'E') {
		s->at++;
		if (syntax_peek(s) == '+' || syntax_peek(s) == '-')
			s->at++;
		if (!syntax_digits(s))
			return syntax_expected(s, "a digit");
	}
	if (s->at - begin > SYNTAX_NUMBER_MAX) {
		s->at = begin;
		return syntax_fail(s, "this number has too many digits");
	}
	return true;
}

static bool syntax_literal(struct syntax *s)
{
	static const char *const literal[] = {"true", "false", "null"};
	size_t i;

	for (i = 0; i < 3; i++) {
		size_t n = strlen(literal[i]);

		if (s->len - s->at >= n && memcmp(s->text + s->at, literal[i], n) == 0) {
			s->at += n;
			return true;
		}
	}
	if (syntax_peek(s) == '\'')
		return syntax_fail(s, "JSON has only double quotes");
	return syntax_expected(s, "a value (text in quotes, a number, true, false, null, [ or {)");
}

static bool syntax_value(struct syntax *s, unsigned int depth);

/* Behind { or [, up to the closing bracket. */
static bool syntax_members(struct syntax *s, unsigned int depth, bool object)
{
	int closing = object ? '}' : ']';

	if (depth > SYNTAX_DEPTH_MAX)
		return syntax_fail(s, "there are too many brackets in each other here");
	s->at++;
	syntax_space(s);
	if (syntax_peek(s) == closing) {
		s->at++;
		return true;
	}
	for (;;) {
		syntax_space(s);
		if (syntax_peek(s) == closing)
			return syntax_fail(s, "the comma before this bracket is one too many");
		if (object) {
			if (syntax_peek(s) != '"')
				return syntax_expected(s, "a key in double quotes");
			if (!syntax_string(s))
				return false;
			syntax_space(s);
			if (syntax_peek(s) != ':')
				return syntax_expected(s, "a colon");
			s->at++;
		}
		if (!syntax_value(s, depth))
			return false;
		syntax_space(s);
		if (syntax_peek(s) == closing) {
			s->at++;
			return true;
		}
		if (syntax_peek(s) != ',')
			return syntax_expected(s, object ? "a comma or }" : "a comma or ]");
		s->at++;
	}
}

static bool syntax_value(struct syntax *s, unsigned int depth)
{
	int c;

	syntax_space(s);
	c = syntax_peek(s);
	if (c == '{' || c == '[')
		return syntax_members(s, depth + 1, c == '{');
	if (c == '"')
		return syntax_string(s);
	if (c == '-' || (c >= '0' && c <= '9'))
		return syntax_number(s);
	return syntax_literal(s);
}

const char *config_syntax(const char *text, size_t len, char buffer[CONFIG_WORD_MAX * 2], size_t *at)
{
	struct syntax s = {.text = (const unsigned char *)text, .len = len, .buffer = buffer};

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		s.at = 3;
	if (syntax_value(&s, 0)) {
		syntax_space(&s);
		if (s.at == len)
			return NULL;
		syntax_fail(&s, s.text[s.at] ? "the JSON text is complete before this; nothing may follow"
					     : "there is a NUL byte here; this is no text file");
	}
	*at = s.at;
	return s.error;
}
