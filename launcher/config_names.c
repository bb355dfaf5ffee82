/* SPDX-License-Identifier: MIT */
/* Words for people, and the word that somebody may have meant. */
#include <stdio.h>
#include <string.h>

#include "config.h"

#define NEAREST_WORD_MAX 40

const char *config_type_name(enum config_type type)
{
	switch (type) {
	case CONFIG_BLK:
		return "blk";
	case CONFIG_NET:
		return "net";
	case CONFIG_CONSOLE:
		return "console";
	case CONFIG_RNG:
		return "rng";
	case CONFIG_GPU:
		return "gpu";
	case CONFIG_SCMI:
		return "scmi";
	}
	return "unknown";
}

const char *config_cache_name(enum config_cache cache)
{
	switch (cache) {
	case CONFIG_CACHE_WRITEBACK:
		return "writeback";
	case CONFIG_CACHE_WRITETHROUGH:
		return "writethrough";
	case CONFIG_CACHE_NONE:
		return "none";
	}
	return "unknown";
}

const char *config_engine_name(enum config_engine engine)
{
	switch (engine) {
	case CONFIG_ENGINE_AUTO:
		return "auto";
	case CONFIG_ENGINE_IO_URING:
		return "io_uring";
	case CONFIG_ENGINE_PREADV:
		return "preadv";
	}
	return "unknown";
}

const char *config_endpoint_name(uint32_t endpoint)
{
	switch ((enum config_endpoint)endpoint) {
	case CONFIG_ENDPOINT_PTY:
		return "pty";
	case CONFIG_ENDPOINT_SOCKET:
		return "socket";
	case CONFIG_ENDPOINT_FILE:
		return "file";
	case CONFIG_ENDPOINT_STDIO:
		return "stdio";
	}
	return "unknown";
}

const char *config_mac_text(char buffer[CONFIG_MAC_MAX], const uint8_t mac[6])
{
	snprintf(buffer, CONFIG_MAC_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
		 mac[5]);
	return buffer;
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/*
 * How many characters are to be inserted, deleted, changed or swapped with their neighbour to make b of a (optimal
 * string alignment); both are at most NEAREST_WORD_MAX long.
 */
static size_t distance(const char *a, const char *b)
{
	size_t row[3][NEAREST_WORD_MAX + 1];
	size_t alen = strlen(a);
	size_t blen = strlen(b);
	size_t i;
	size_t j;

	for (j = 0; j <= blen; j++)
		row[0][j] = j;
	for (i = 1; i <= alen; i++) {
		size_t *now = row[i % 3];
		const size_t *before = row[(i - 1) % 3];
		const size_t *before2 = row[(i + 1) % 3];

		now[0] = i;
		for (j = 1; j <= blen; j++) {
			now[j] = min3(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before2[j - 2] + 1 < now[j])
				now[j] = before2[j - 2] + 1;
		}
	}
	return row[alen % 3][blen];
}

const char *config_nearest(const char *word, const char *const *list, size_t n)
{
	const char *nearest = NULL;
	size_t len = strlen(word);
	size_t best;
	size_t i;

	if (len > NEAREST_WORD_MAX)
		return NULL;
	/* One wrong character of a short word, one in three of a longer one. */
	best = (len < 3 ? 1 : len / 3) + 1;
	for (i = 0; i < n; i++) {
		size_t d = strlen(list[i]) > NEAREST_WORD_MAX ? best : distance(word, list[i]);

		if (d < best && d < strlen(list[i])) {
			best = d;
			nearest = list[i];
		}
	}
	return nearest;
}
