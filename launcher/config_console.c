/* SPDX-License-Identifier: MIT */
/* The keys of console devices. */
#include <string.h>

#include "config_reader.h"
#include "rundir.h"

#define AT(field) offsetof(struct config_entry, device.console.field)

static const struct config_key keys[] = {
	{.name = "columns",
	 .must = "a number from 1 to 1000",
	 .read = config_read_u32,
	 .offset = AT(cols),
	 .min = 1,
	 .max = 1000},
	{.name = "rows",
	 .must = "a number from 1 to 1000",
	 .read = config_read_u32,
	 .offset = AT(rows),
	 .min = 1,
	 .max = 1000},
};

const struct config_keys config_console_keys = CONFIG_KEYS(keys);

void config_console_init(struct config_console *console)
{
	*console = (struct config_console){.cols = 80, .rows = 24};
}

/* The link to its terminal has the console's name, and lies in the run folder. */
void config_console_check(struct config_reader *reader)
{
	uint32_t i;

	for (i = 0; i < reader->nentries; i++) {
		const struct config_device *device = &reader->entry[i].device;

		if (reader->entry[i].type_known && device->type == CONFIG_CONSOLE &&
		    strcmp(device->name, RUNDIR_LOCK) == 0)
			config_complain(reader, device->place, "name",
					"is \"" RUNDIR_LOCK "\", which the run folder has a file of; a console needs "
					"another one");
	}
}
