/* SPDX-License-Identifier: MIT */
/* Objects and values of the file, and complaints about them. */
#include "config_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* A JSON number is a double: above this, two of them cannot be told apart. */
#define NUMBER_JSON_MAX 9007199254740991.0

#define MEMBERS_MAX 256u /* of an object */

const char *config_word(char buffer[CONFIG_WORD_MAX], const char *word)
{
	size_t left = strlen(word);
	size_t at = 0;

	while (left) {
		size_t n = utf8_length(word, left);

		if (at > CONFIG_WORD_MAX - 8) {
			memcpy(buffer + at, "...", 4);
			return buffer;
		}
		if (n && utf8_harmless(word)) {
			memcpy(buffer + at, word, n);
			at += n;
		} else {
			n = 1;
			at += (size_t)sprintf(buffer + at, "\\x%02x", (unsigned char)*word);
		}
		word += n;
		left -= n;
	}
	buffer[at] = 0;
	return buffer;
}

void config_complain(struct config_reader *reader, const char *place, const char *key, const char *format, ...)
{
	const char *dot = key && place[0] ? "." : "";
	const char *colon = key || place[0] ? ": " : "";
	char *text = NULL;
	va_list args;

	if (reader->errors->count >= CONFIG_ERRORS_MAX) {
		reader->dropped++;
		return;
	}
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	errors_add(reader->errors, "%s: %s%s%s%s%s", reader->path, place, dot, key ? key : "", colon,
		   text ? text : "no memory");
	free(text);
}

/* A value in a few words, for "is ...". */
static const char *describe(char buffer[CONFIG_WORD_MAX + 16], const cJSON *value)
{
	char word[CONFIG_WORD_MAX];

	switch (value->type & 0xff) {
	case cJSON_False:
		return "false";
	case cJSON_True:
		return "true";
	case cJSON_NULL:
		return "null";
	case cJSON_Number:
		if (value->valuedouble > NUMBER_JSON_MAX)
			return "more than a JSON number can hold exactly (put it in quotes)";
		snprintf(buffer, CONFIG_WORD_MAX, "%.16g", value->valuedouble);
		return buffer;
	case cJSON_String:
		snprintf(buffer, CONFIG_WORD_MAX + 16, "\"%s\"", config_word(word, value->valuestring));
		return buffer;
	case cJSON_Array:
		return value->child ? "an array" : "an empty array";
	default:
		return "an object";
	}
}

void config_complain_value(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value)
{
	char buffer[CONFIG_WORD_MAX + 16];

	config_complain(reader, place, key->name, "is %s; must be %s", describe(buffer, value), key->must);
}

/* All of text as a number: decimal, or hexadecimal behind 0x. */
static bool number_of_text(const char *text, uint64_t *out)
{
	unsigned int base = 10;
	uint64_t value = 0;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	} else if (text[0] == '0' && text[1]) {
		return false; /* octal to some, decimal to others */
	}
	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned int c = (unsigned char)*text;
		unsigned int digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;

		if (digit >= base || (c > '9' && (c | 0x20) < 'a'))
			return false;
		if (value > (UINT64_MAX - digit) / base)
			return false;
		value = value * base + digit;
	}
	*out = value;
	return true;
}

bool config_number(const cJSON *value, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t number;

	if (cJSON_IsNumber(value)) {
		double d = value->valuedouble;

		if (!(d >= 0 && d <= NUMBER_JSON_MAX) || d != (double)(uint64_t)d)
			return false;
		number = (uint64_t)d;
	} else if (!cJSON_IsString(value) || !number_of_text(value->valuestring, &number)) {
		return false;
	}
	if (number < min || number > max)
		return false;
	*out = number;
	return true;
}

void config_read_u64(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		     void *out)
{
	if (!config_number(value, key->min, key->max, out))
		config_complain_value(reader, place, key, value);
}

void config_read_page(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	uint64_t number;

	if (config_number(value, key->min, key->max, &number) && number % CONFIG_PAGE == 0)
		*(uint64_t *)out = number;
	else
		config_complain_value(reader, place, key, value);
}

void config_read_u32(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		     void *out)
{
	uint64_t number;

	if (config_number(value, key->min, key->max, &number))
		*(uint32_t *)out = (uint32_t)number;
	else
		config_complain_value(reader, place, key, value);
}

void config_read_power_of_two(struct config_reader *reader, const char *place, const struct config_key *key,
			      const cJSON *value, void *out)
{
	uint64_t number;

	if (config_number(value, key->min, key->max, &number) && (number & (number - 1)) == 0)
		*(uint32_t *)out = (uint32_t)number;
	else
		config_complain_value(reader, place, key, value);
}

void config_read_bool(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	if (cJSON_IsBool(value))
		*(bool *)out = cJSON_IsTrue(value);
	else
		config_complain_value(reader, place, key, value);
}

void config_read_choice(struct config_reader *reader, const char *place, const struct config_key *key,
			const cJSON *value, void *out)
{
	char buffer[CONFIG_WORD_MAX + 16];
	const char *near;
	uint32_t n;

	for (n = 0; key->choice[n]; n++) {
		if (cJSON_IsString(value) && strcmp(value->valuestring, key->choice[n]) == 0) {
			*(uint32_t *)out = n;
			return;
		}
	}
	near = cJSON_IsString(value) ? config_nearest(value->valuestring, key->choice, n) : NULL;
	config_complain(reader, place, key->name, "is %s; must be %s%s%s%s", describe(buffer, value), key->must,
			near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

void config_read_string(struct config_reader *reader, const char *place, const struct config_key *key,
			const cJSON *value, void *out)
{
	char **string = out;
	char *copy;
	size_t len;

	len = cJSON_IsString(value) ? strlen(value->valuestring) : 0;
	if (!cJSON_IsString(value) || len < key->min || len > key->max) {
		config_complain_value(reader, place, key, value);
		return;
	}
	copy = strdup(value->valuestring);
	if (!copy) {
		config_complain(reader, place, key->name, "no memory");
		return;
	}
	free(*string);
	*string = copy;
}

void config_read_ignore(struct config_reader *reader, const char *place, const struct config_key *key,
			const cJSON *value, void *out)
{
	(void)reader;
	(void)place;
	(void)key;
	(void)value;
	(void)out;
}

uint32_t config_array_size(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value, uint32_t max)
{
	int n = cJSON_IsArray(value) ? cJSON_GetArraySize(value) : -1;

	if (n < 0 || (n == 0 && key->min)) {
		config_complain_value(reader, place, key, value);
		return 0;
	}
	if ((uint32_t)n <= max)
		return (uint32_t)n;
	config_complain(reader, place, key->name, "has %d elements; must be %s", n, key->must);
	return max;
}

void config_place_of(char place[CONFIG_PLACE_MAX], const char *outer, const char *key, uint32_t index)
{
	snprintf(place, CONFIG_PLACE_MAX, "%.20s%s%.20s[%u]", outer, outer[0] ? "." : "", key, index);
}

static const struct config_key *find_key(const struct config_keys *tables, size_t ntables, const char *name)
{
	size_t t;
	size_t k;

	for (t = 0; t < ntables; t++) {
		for (k = 0; k < tables[t].n; k++) {
			if (strcmp(tables[t].key[k].name, name) == 0)
				return &tables[t].key[k];
		}
	}
	return NULL;
}

static void complain_unknown(struct config_reader *reader, const char *place, const char *what, const char *name,
			     const struct config_keys *tables, size_t ntables)
{
	const char *known[64];
	char list[1024] = "";
	char word[CONFIG_WORD_MAX];
	const char *near;
	size_t n = 0;
	size_t at = 0;
	size_t t;
	size_t k;

	for (t = 0; t < ntables; t++) {
		for (k = 0; k < tables[t].n && n < sizeof(known) / sizeof(known[0]); k++) {
			/* Some types share a key. */
			if (find_key(tables, t, tables[t].key[k].name) == NULL)
				known[n++] = tables[t].key[k].name;
		}
	}
	config_word(word, name);
	near = config_nearest(name, known, n);
	if (near) {
		config_complain(reader, place, word, "is not a key of %s; did you mean \"%s\"?", what, near);
		return;
	}
	for (k = 0; k < n && at < sizeof(list); k++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", k ? ", " : "", known[k]);
	config_complain(reader, place, word, "is not a key of %s; the keys are %s", what, list);
}

/* Is the key of member given before it in the object too? */
static bool given_before(const cJSON *object, const cJSON *member)
{
	const cJSON *other;

	for (other = object->child; other != member; other = other->next) {
		if (strcmp(other->string, member->string) == 0)
			return true;
	}
	return false;
}

bool config_read_object(struct config_reader *reader, const char *place, const char *what, const cJSON *value,
			const struct config_keys *tables, size_t ntables, void *out)
{
	char buffer[CONFIG_WORD_MAX + 16];
	char word[CONFIG_WORD_MAX];
	const struct config_key *key;
	const cJSON *member;
	size_t members = 0;

	if (!cJSON_IsObject(value)) {
		config_complain(reader, place, NULL, "is %s; must be an object with the keys of %s",
				describe(buffer, value), what);
		return false;
	}
	cJSON_ArrayForEach(member, value)
	{
		if (++members > MEMBERS_MAX) {
			config_complain(reader, place, NULL, "has more than %u keys; the rest is not looked at",
					MEMBERS_MAX);
			break;
		}
		key = find_key(tables, ntables, member->string);
		if (given_before(value, member))
			config_complain(reader, place, config_word(word, member->string),
					"is given twice; keep one of the two");
		else if (!key)
			complain_unknown(reader, place, what, member->string, tables, ntables);
		else
			key->read(reader, place, key, member, (char *)out + key->offset);
	}
	return true;
}

void config_require_keys(struct config_reader *reader, const char *place, const cJSON *object,
			 const struct config_keys *table)
{
	size_t k;

	for (k = 0; k < table->n; k++) {
		const struct config_key *key = &table->key[k];

		if (key->required && !cJSON_GetObjectItemCaseSensitive(object, key->name))
			config_complain(reader, place, key->name, "is missing; must be %s", key->must);
	}
}
