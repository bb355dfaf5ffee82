/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "report.h"

int bench_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "bench: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return -1;
}

/* A number of the environment in [min, max], or the default without one. */
static int setting(const char *name, double min, double max, double *value)
{
	const char *text = getenv(name);
	char *end;

	if (!text || !*text)
		return 0;
	*value = strtod(text, &end);
	if (*end || !(*value >= min && *value <= max))
		return bench_fail("%s=%s: not a number from %g to %g", name, text, min, max);
	return 0;
}

int bench_settings_init(struct bench_settings *settings)
{
	const char *smoke = getenv("BENCH_SMOKE");
	bool quick = smoke && *smoke && strcmp(smoke, "0") != 0;
	double rounds = quick ? 1 : 7;

	settings->seconds = quick ? 0.05 : 0.5;
	settings->rest_seconds = quick ? 0.5 : 10;
	settings->restarts = quick ? 3 : 25;
	if (setting("ROUNDS", 1, REPORT_ROUNDS_MAX, &rounds) < 0 ||
	    setting("BENCH_SECONDS", 0.001, 60, &settings->seconds) < 0)
		return -1;
	settings->rounds = (unsigned int)rounds;
	if (cpu_choose(&settings->driver_cpu, &settings->server_cpu) < 0)
		return bench_fail("this needs two CPUs: one for the driver, one for what serves it");
	return 0;
}
