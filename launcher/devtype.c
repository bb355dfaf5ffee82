/* SPDX-License-Identifier: MIT */
#include "devtype.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct devtype *const devtypes[] = {
	&devtype_blk,
	&devtype_net,
	&devtype_rng,
	&devtype_console,
};

const struct devtype *devtype_find(enum config_type type)
{
	size_t i;

	for (i = 0; i < sizeof(devtypes) / sizeof(devtypes[0]); i++) {
		if (devtypes[i]->type == type)
			return devtypes[i];
	}
	return NULL;
}

const struct devtype *devtype_number(size_t i)
{
	return i < sizeof(devtypes) / sizeof(devtypes[0]) ? devtypes[i] : NULL;
}

int devtype_complain(const struct config_device *device, struct errors *errors, const char *format, ...)
{
	const char *name = device->name;
	const char *place = device->place;
	char *made = NULL;
	const char *text;
	va_list args;

	va_start(args, format);
	text = vasprintf(&made, format, args) < 0 ? "no memory to say what" : made;
	va_end(args);
	if (device->type == CONFIG_BLK)
		errors_add(errors, "%s (%s): image %s: %s", name, place, device->blk.img, text);
	else if (device->type == CONFIG_NET)
		errors_add(errors, "%s (%s): tap %s: %s", name, place, device->net.tap, text);
	else
		errors_add(errors, "%s (%s): %s", name, place, text);
	if (text == made)
		free(made);
	return -1;
}

void devtype_start_init(struct devtype_start *start)
{
	memset(start, 0, sizeof(*start));
}

void devtype_start_finish(struct devtype_start *start)
{
	uint32_t i;

	for (i = 0; i < start->nfiles; i++) {
		if (start->file[i] >= 0)
			close(start->file[i]);
	}
	for (i = 0; i < start->nargs; i++)
		free(start->arg[i]);
	devtype_start_init(start);
}

int devtype_start_arg(struct devtype_start *start, const char *format, ...)
{
	va_list args;
	int n;

	if (start->nargs == DEVTYPE_ARGS_MAX)
		return -E2BIG;
	va_start(args, format);
	n = vasprintf(&start->arg[start->nargs], format, args);
	va_end(args);
	if (n < 0)
		return -ENOMEM;
	start->nargs++;
	return 0;
}
