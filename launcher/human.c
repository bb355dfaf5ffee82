/* SPDX-License-Identifier: MIT */
#include "human.h"

#include <stdio.h>

const char *human_size(char buffer[HUMAN_MAX], uint64_t bytes)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	uint64_t tenths;
	unsigned int shift = 0;

	while (bytes >> shift >= 1024)
		shift += 10;
	tenths = shift ? (bytes >> (shift - 10)) % 1024 * 10 / 1024 : 0;
	if (tenths && bytes >> shift < 100)
		snprintf(buffer, HUMAN_MAX, "%u.%u %s", (unsigned int)(bytes >> shift), (unsigned int)tenths,
			 unit[shift / 10]);
	else
		snprintf(buffer, HUMAN_MAX, "%u %s", (unsigned int)(bytes >> shift), unit[shift / 10]);
	return buffer;
}

const char *human_time(char buffer[HUMAN_MAX], double seconds)
{
	if (!(seconds > 0))
		snprintf(buffer, HUMAN_MAX, "0 s");
	else if (seconds < 10)
		snprintf(buffer, HUMAN_MAX, "%.1f s", seconds);
	else if (seconds < 120)
		snprintf(buffer, HUMAN_MAX, "%.0f s", seconds);
	else if (seconds < 2 * 3600.0)
		snprintf(buffer, HUMAN_MAX, "%.0f min", seconds / 60);
	else if (seconds < 2 * 86400.0)
		snprintf(buffer, HUMAN_MAX, "%.0f h", seconds / 3600);
	else
		snprintf(buffer, HUMAN_MAX, "%.0f d", seconds / 86400);
	return buffer;
}
