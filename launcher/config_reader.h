/* SPDX-License-Identifier: MIT */
/* What the files config*.c share: the file while it is read. Nobody else includes this. */
#ifndef HVISOR_CONFIG_READER_H
#define HVISOR_CONFIG_READER_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

#define CONFIG_FILE_MAX (1u << 20)
#define CONFIG_ERRORS_MAX 1000u /* further ones are only counted */
#define CONFIG_PLACE_MAX 64
#define CONFIG_WORD_MAX 80 /* bytes of a word of the file in a message, cut and escaped */
#define CONFIG_PAGE 4096u
#define CONFIG_WINDOW_MIN 0x200u /* registers up to 0xff and the config space behind them */
#define CONFIG_BASE_NONE UINT64_MAX

/* A device of the file, also one that is disabled or not served. */
struct config_entry {
	struct config_device device; /* base CONFIG_BASE_NONE, size 0, irq 0: not given or wrong */
	bool named; /* by the key "name" */
	bool type_known;
	bool enabled;
	uint32_t zone_index;
};

struct config_zone_entry {
	struct config_zone zone; /* id 0: not given or wrong */
	char place[CONFIG_PLACE_MAX];
	uint32_t index[HVISOR_MEMORY_MAX]; /* of each memory in the file's array */
};

struct config_reader {
	const char *path; /* as the person gave it */
	char *folder; /* the working directory */
	struct config *config;
	struct errors *errors;
	size_t dropped; /* errors that are only counted */
	struct config_zone_entry zone[HVISOR_ZONES_MAX];
	uint32_t nzones;
	struct config_entry entry[HVISOR_DEVICES_MAX];
	uint32_t nentries;
};

/* Adds "PATH: PLACE.KEY: text"; place may be "", key NULL. Words in it that come from the file go by config_word(). */
void config_complain(struct config_reader *reader, const char *place, const char *key, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Copies word for a message: cut, and without characters that a terminal would obey. Returns buffer. */
const char *config_word(char buffer[CONFIG_WORD_MAX], const char *word);

struct config_key;

/* The keys of an object, and where their values go. */
typedef void config_read_key(struct config_reader *reader, const char *place, const struct config_key *key,
			     const cJSON *value, void *out);

struct config_key {
	const char *name;
	const char *must; /* what it must be, for messages: "a zone number from 1 to 31" */
	config_read_key *read; /* gets the object's out + offset; after a complaint it leaves out alone */
	size_t offset;
	uint64_t min; /* of numbers and of the bytes of strings */
	uint64_t max;
	const char *const *choice; /* the words it can be, up to a NULL: out is their index, a uint32_t */
	bool required;
};

struct config_keys {
	const struct config_key *key;
	size_t n;
};

#define CONFIG_KEYS(array)                                                                                             \
	{                                                                                                              \
		(array), sizeof(array) / sizeof((array)[0])                                                            \
	}

/*
 * Reads the object value at place: each key that one of the tables has, into out. Complains about a value that is no
 * object (and returns false), keys given twice and unknown ones ("is not a key of WHAT").
 */
bool config_read_object(struct config_reader *reader, const char *place, const char *what, const cJSON *value,
			const struct config_keys *tables, size_t ntables, void *out);

/* Complains about the keys of table that are required and missing in the object. */
void config_require_keys(struct config_reader *reader, const char *place, const cJSON *object,
			 const struct config_keys *table);

config_read_key config_read_u32;
config_read_key config_read_u64;
config_read_key config_read_power_of_two; /* into a uint32_t */
config_read_key config_read_page; /* into a uint64_t: a multiple of CONFIG_PAGE */
config_read_key config_read_bool;
config_read_key config_read_choice;
config_read_key config_read_string; /* into a char *, which is freed before */
config_read_key config_read_ignore; /* read elsewhere */

/* "is VALUE; must be MUST". */
void config_complain_value(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value);

/* A number from min to max, of a JSON number or of a string; false if it is none, nothing is said. */
bool config_number(const cJSON *value, uint64_t min, uint64_t max, uint64_t *out);

/*
 * How many elements of the array value to read: up to max. Complains, and returns 0, about what is no array, or an
 * empty one if key->min is not 0; complains about more than max, and returns max.
 */
uint32_t config_array_size(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value, uint32_t max);

/* The place of an element: "OUTER.KEY[INDEX]". */
void config_place_of(char place[CONFIG_PLACE_MAX], const char *outer, const char *key, uint32_t index);

#define CONFIG_RANGE_MAX 48

/* Do two ranges overlap that both have a size and do not wrap? */
bool config_overlap(uint64_t a, uint64_t asize, uint64_t b, uint64_t bsize);

/* "0x1000-0x1fff". Returns buffer. */
const char *config_range(char buffer[CONFIG_RANGE_MAX], uint64_t base, uint64_t size);

/* All of reader->path, *len bytes up to CONFIG_FILE_MAX, to be freed; NULL after a complaint. */
char *config_load(struct config_reader *reader, size_t *len);

/* Parses text strictly. Returns what cJSON_Delete() takes, or NULL after a complaint with line and column. */
cJSON *config_parse(struct config_reader *reader, const char *text, size_t len);

/* Checks text strictly by RFC 8259. Returns NULL, or what is wrong (constant, or in buffer) and at which byte. */
const char *config_syntax(const char *text, size_t len, char buffer[CONFIG_WORD_MAX * 2], size_t *at);

/* Reads one device into the next entry, of which there is one left. */
void config_read_device(struct config_reader *reader, uint32_t zone_index, const char *place, const cJSON *value);

/* What concerns more than one key: names, windows, interrupts, memory. */
void config_check_all(struct config_reader *reader);

/* The keys of blk devices, and the images of all those that are enabled. */
extern const struct config_keys config_blk_keys;
void config_blk_init(struct config_blk *blk);
void config_blk_finish(struct config_blk *blk);
void config_blk_check(struct config_reader *reader);

extern const struct config_keys config_rng_keys;
/* The keys of net devices, and the interfaces and addresses of all those that are enabled. */
extern const struct config_keys config_net_keys;
void config_net_init(struct config_net *net);
void config_net_check(struct config_reader *reader);
/* config_console.c */
extern const struct config_keys config_console_keys;
void config_console_init(struct config_console *console);
void config_console_check(struct config_reader *reader);

#endif
