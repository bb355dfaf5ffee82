/* SPDX-License-Identifier: MIT */
/* The keys of console devices and of their ports. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_reader.h"
#include "rundir.h"

#define SOCKET_PATH_MAX 107u /* sun_path without its terminator: unix(7) */

static const char *const endpoints[] = {
	[CONFIG_ENDPOINT_PTY] = "pty",
	[CONFIG_ENDPOINT_SOCKET] = "socket",
	[CONFIG_ENDPOINT_FILE] = "file",
	[CONFIG_ENDPOINT_STDIO] = "stdio",
	NULL,
};

/* As the launcher will use it: a relative one counts from the folder that it was started in. */
static void read_path(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	char *path = NULL;
	int n;

	config_read_string(reader, place, key, value, &path);
	if (!path)
		return;
	n = snprintf(out, CONFIG_PATH_MAX, "%s%s%s", path[0] == '/' ? "" : reader->folder, path[0] == '/' ? "" : "/",
		     path);
	if (n >= (int)CONFIG_PATH_MAX)
		config_complain(reader, place, key->name, "has %d bytes from / on; must have at most %u", n,
				CONFIG_PATH_MAX - 1);
	free(path);
}

/* It becomes the name of a file in the guest. */
static void read_port_name(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value, void *out)
{
	const char *text = cJSON_IsString(value) ? value->valuestring : "";
	size_t n = 0;

	while (text[n] > ' ' && text[n] <= '~' && text[n] != '/')
		n++;
	if (n == 0 || text[n] || n >= CONSOLE_PORT_NAME_MAX)
		config_complain_value(reader, place, key, value);
	else
		strcpy(out, text);
}

#define PORT_AT(field) offsetof(struct config_port, field)

#define BACKEND_MUST "\"pty\", \"socket\", \"file\" or \"stdio\""

static const struct config_key port_keys[] = {
	{.name = "name",
	 .must = "a name of up to 63 printable ASCII characters without blanks and /",
	 .read = read_port_name,
	 .offset = PORT_AT(name)},
	{.name = "backend",
	 .must = BACKEND_MUST,
	 .read = config_read_choice,
	 .offset = PORT_AT(endpoint),
	 .choice = endpoints},
	{.name = "path",
	 .must = "the path of a socket or a file",
	 .read = read_path,
	 .offset = PORT_AT(path),
	 .min = 1,
	 .max = 4095},
	{.name = "console", .must = "true or false", .read = config_read_bool, .offset = PORT_AT(console)},
	{.name = "output_log", .must = "true or false", .read = config_read_bool, .offset = PORT_AT(output_log)},
};

static void read_ports(struct config_reader *reader, const char *place, const struct config_key *key,
		       const cJSON *value, void *out)
{
	static const struct config_keys table = CONFIG_KEYS(port_keys);
	uint32_t n = config_array_size(reader, place, key, value, CONSOLE_PORTS_MAX);
	struct config_console *console = out;
	char inner[CONFIG_PLACE_MAX + 32];
	uint32_t i;

	console->listed = true;
	console->nports = n;
	value = n ? value->child : NULL;
	for (i = 0; i < n; i++, value = value->next) {
		snprintf(inner, sizeof(inner), "%s.%s[%u]", place, key->name, i);
		console->port[i].console = i == 0;
		config_read_object(reader, inner, "ports", value, &table, 1, &console->port[i]);
	}
}

#define AT(field) offsetof(struct config_entry, device.console.field)

static const struct config_key keys[] = {
	{.name = "backend",
	 .must = BACKEND_MUST,
	 .read = config_read_choice,
	 .offset = AT(only.endpoint),
	 .choice = endpoints},
	{.name = "path",
	 .must = "the path of a socket or a file",
	 .read = read_path,
	 .offset = AT(only.path),
	 .min = 1,
	 .max = 4095},
	{.name = "output_log", .must = "true or false", .read = config_read_bool, .offset = AT(only.output_log)},
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
	{.name = "ports",
	 .must = "an array of 1 to 8 ports",
	 .read = read_ports,
	 .offset = offsetof(struct config_entry, device.console),
	 .min = 1},
};

const struct config_keys config_console_keys = CONFIG_KEYS(keys);

void config_console_init(struct config_console *console)
{
	*console = (struct config_console){.cols = 80, .rows = 24, .only.console = true};
}

static bool is_console(const struct config_entry *entry)
{
	return entry->enabled && entry->type_known && entry->device.type == CONFIG_CONSOLE;
}

static void settle_ports(struct config_reader *reader, struct config_device *device)
{
	struct config_console *console = &device->console;
	const struct config_port *only = &console->only;

	if (!console->listed) {
		console->port[0] = *only;
		console->nports = 1;
	} else if (only->endpoint != CONFIG_ENDPOINT_PTY || only->path[0] || only->output_log) {
		config_complain(reader, device->place, "ports",
				"is given beside keys of a single port; put backend, path and output_log into the port "
				"that they are of");
	}
}

/* Where to complain about a port: its place in "ports", if there is that. */
static const char *port_place(char place[CONFIG_PLACE_MAX + 32], const struct config_device *device, uint32_t number)
{
	if (device->console.listed)
		snprintf(place, CONFIG_PLACE_MAX + 32, "%s.ports[%u]", device->place, number);
	else
		snprintf(place, CONFIG_PLACE_MAX + 32, "%s", device->place);
	return place;
}

static void check_path(struct config_reader *reader, const struct config_port *port, const char *place)
{
	bool has_path = port->endpoint == CONFIG_ENDPOINT_SOCKET || port->endpoint == CONFIG_ENDPOINT_FILE;

	if (port->path[0] && !has_path)
		config_complain(reader, place, "path",
				"is of no use with the backend \"%s\"; a socket or a file has one",
				config_endpoint_name(port->endpoint));
	if (!port->path[0] && port->endpoint == CONFIG_ENDPOINT_FILE)
		config_complain(reader, place, "path", "is missing; must be that of the file to write");
	if (port->endpoint == CONFIG_ENDPOINT_SOCKET && strlen(port->path) > SOCKET_PATH_MAX)
		config_complain(reader, place, "path", "has %zu bytes from / on; that of a socket has at most %u",
				strlen(port->path), SOCKET_PATH_MAX);
}

/* One port against one before it. */
static void check_pair(struct config_reader *reader, const char *place, const struct config_port *port,
		       const struct config_device *other, const struct config_port *before)
{
	if (port->path[0] && strcmp(port->path, before->path) == 0)
		config_complain(reader, place, "path", "is one of %s (%s) too; give each its own", other->name,
				other->place);
	if (port->endpoint == CONFIG_ENDPOINT_STDIO && before->endpoint == CONFIG_ENDPOINT_STDIO)
		config_complain(reader, place, "backend",
				"is \"stdio\", as one of %s (%s) is; the launcher has one terminal", other->name,
				other->place);
}

static void check_port(struct config_reader *reader, uint32_t entry, uint32_t number)
{
	const struct config_device *device = &reader->entry[entry].device;
	const struct config_port *port = &device->console.port[number];
	char place[CONFIG_PLACE_MAX + 32];
	uint32_t i, k;

	check_path(reader, port, port_place(place, device, number));
	for (i = 0; i <= entry; i++) {
		const struct config_device *other = &reader->entry[i].device;
		uint32_t end = i == entry ? number : other->console.nports;

		for (k = 0; k < end && is_console(&reader->entry[i]); k++)
			check_pair(reader, place, port, other, &other->console.port[k]);
	}
}

void config_console_check(struct config_reader *reader)
{
	uint32_t i, k;

	for (i = 0; i < reader->nentries; i++) {
		struct config_device *device = &reader->entry[i].device;

		if (!is_console(&reader->entry[i]))
			continue;
		/* The link to its terminal has the console's name, and lies in the run folder. */
		if (strcmp(device->name, RUNDIR_LOCK) == 0)
			config_complain(reader, device->place, "name",
					"is \"" RUNDIR_LOCK "\", which the run folder has a file of; a console needs "
					"another one");
		settle_ports(reader, device);
		for (k = 0; k < device->console.nports; k++)
			check_port(reader, i, k);
	}
}
