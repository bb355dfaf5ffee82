/* SPDX-License-Identifier: MIT */
/* hvisor-launch --status, for people. */
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "control.h"
#include "human.h"

#define CELL_MAX 40

enum column {
	COLUMN_NAME,
	COLUMN_TYPE,
	COLUMN_ZONE,
	COLUMN_STATE,
	COLUMN_PID,
	COLUMN_RESTARTS,
	COLUMN_UPTIME,
	COLUMN_REQUESTS,
	COLUMN_READ,
	COLUMN_WRITTEN,
	COLUMN_ERRORS,
	COLUMNS,
};

static const struct {
	const char *title;
	bool right; /* where numbers stand */
} columns[COLUMNS] = {
	[COLUMN_NAME] = {"NAME", false},    [COLUMN_TYPE] = {"TYPE", false},
	[COLUMN_ZONE] = {"ZONE", true},     [COLUMN_STATE] = {"STATE", false},
	[COLUMN_PID] = {"PID", true},       [COLUMN_RESTARTS] = {"RESTARTS", true},
	[COLUMN_UPTIME] = {"UPTIME", true}, [COLUMN_REQUESTS] = {"REQUESTS", true},
	[COLUMN_READ] = {"READ", true},     [COLUMN_WRITTEN] = {"WRITTEN", true},
	[COLUMN_ERRORS] = {"ERRORS", true},
};

struct row {
	char cell[COLUMNS][CELL_MAX];
};

static const char *text_of(const cJSON *object, const char *key)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

	return text ? text : "-";
}

/* Never below 0; 0 for what is not there. */
static double number_of(const cJSON *object, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsNumber(item) && item->valuedouble > 0 ? item->valuedouble : 0;
}

static uint64_t bytes_of(const cJSON *object, const char *key)
{
	double number = number_of(object, key);

	return number < 1e18 ? (uint64_t)number : 1000000000000000000u;
}

static void fill_row(struct row *row, const cJSON *device)
{
	char buffer[HUMAN_MAX];
	double pid = number_of(device, "pid");

	snprintf(row->cell[COLUMN_NAME], CELL_MAX, "%s", text_of(device, "name"));
	snprintf(row->cell[COLUMN_TYPE], CELL_MAX, "%s", text_of(device, "type"));
	snprintf(row->cell[COLUMN_ZONE], CELL_MAX, "%.0f", number_of(device, "zone"));
	snprintf(row->cell[COLUMN_STATE], CELL_MAX, "%s", text_of(device, "state"));
	snprintf(row->cell[COLUMN_RESTARTS], CELL_MAX, "%.0f", number_of(device, "restarts"));
	snprintf(row->cell[COLUMN_REQUESTS], CELL_MAX, "%.0f", number_of(device, "requests"));
	snprintf(row->cell[COLUMN_READ], CELL_MAX, "%s", human_size(buffer, bytes_of(device, "bytes_read")));
	snprintf(row->cell[COLUMN_WRITTEN], CELL_MAX, "%s", human_size(buffer, bytes_of(device, "bytes_written")));
	snprintf(row->cell[COLUMN_ERRORS], CELL_MAX, "%.0f", number_of(device, "errors"));
	snprintf(row->cell[COLUMN_PID], CELL_MAX, "-");
	snprintf(row->cell[COLUMN_UPTIME], CELL_MAX, "-");
	if (pid > 0) {
		snprintf(row->cell[COLUMN_PID], CELL_MAX, "%.0f", pid);
		snprintf(row->cell[COLUMN_UPTIME], CELL_MAX, "%s", human_time(buffer, number_of(device, "uptime_s")));
	}
}

static void print_rows(const struct row *row, size_t n, FILE *file)
{
	int width[COLUMNS];
	size_t i;
	int c;

	for (c = 0; c < COLUMNS; c++) {
		width[c] = 0;
		for (i = 0; i < n; i++) {
			if ((int)strlen(row[i].cell[c]) > width[c])
				width[c] = (int)strlen(row[i].cell[c]);
		}
	}
	for (i = 0; i < n; i++) {
		for (c = 0; c < COLUMNS; c++)
			fprintf(file, "%s%*s", c ? "  " : "", columns[c].right ? width[c] : -width[c], row[i].cell[c]);
		fputc('\n', file);
	}
}

static void print_table(const cJSON *devices, FILE *file)
{
	int ndevices = cJSON_GetArraySize(devices);
	struct row *row = calloc((size_t)ndevices + 1, sizeof(*row));
	const cJSON *device;
	size_t n = 1;
	int c;

	if (!row) {
		fprintf(file, "no memory for the table of %d devices\n", ndevices);
		return;
	}
	for (c = 0; c < COLUMNS; c++)
		snprintf(row[0].cell[c], CELL_MAX, "%s", columns[c].title);
	cJSON_ArrayForEach(device, devices)
	{
		fill_row(&row[n++], device);
	}
	print_rows(row, n, file);
	free(row);
}

static void print_reasons(const cJSON *devices, FILE *file)
{
	const cJSON *device;

	cJSON_ArrayForEach(device, devices)
	{
		const cJSON *reason = cJSON_GetObjectItemCaseSensitive(device, "failed_reason");

		if (cJSON_IsString(reason))
			fprintf(file, "%s failed: %s; see hvisor-launch --logs %s\n", text_of(device, "name"),
				reason->valuestring, text_of(device, "name"));
	}
}

static void print_hangs(const cJSON *devices, FILE *file)
{
	const cJSON *device;

	cJSON_ArrayForEach(device, devices)
	{
		double still_s = number_of(device, "stands_still_s");

		if (still_s > 0)
			fprintf(file, "%s stands still for %.0f s; see hvisor-launch --logs launcher\n",
				text_of(device, "name"), still_s);
	}
}

/* A network device that runs and yet passes nothing is no riddle then. */
static void print_links(const cJSON *devices, FILE *file)
{
	const cJSON *device;

	cJSON_ArrayForEach(device, devices)
	{
		if (strcmp(text_of(device, "link"), CONTROL_LINK_DOWN) == 0)
			fprintf(file, "%s: its link was taken down; hvisor-launch --link %s=up\n",
				text_of(device, "name"), text_of(device, "name"));
	}
}

/* Where the consoles are to be found. */
static void print_ports(const cJSON *device, FILE *file)
{
	const cJSON *port;

	cJSON_ArrayForEach(port, cJSON_GetObjectItemCaseSensitive(device, "ports"))
	{
		fprintf(file, "%-18s %s %s%s%s", text_of(port, "label"), text_of(port, "backend"),
			text_of(port, "path"),
			cJSON_IsString(cJSON_GetObjectItemCaseSensitive(port, "name")) ? ", named " : "",
			cJSON_IsString(cJSON_GetObjectItemCaseSensitive(port, "name")) ? text_of(port, "name") : "");
		if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(port, "output_log")))
			fprintf(file, ", logged in %s", text_of(port, "output_log"));
		fputc('\n', file);
	}
}

static void print_list(const cJSON *array, const char *prefix, const char *separator, FILE *file)
{
	const cJSON *item;
	bool first = true;

	cJSON_ArrayForEach(item, array)
	{
		if (cJSON_IsString(item))
			fprintf(file, "%s%s", first ? prefix : separator, item->valuestring);
		first = false;
	}
	if (!first)
		fputc('\n', file);
}

static void print_launcher(const cJSON *launcher, FILE *file)
{
	char buffer[HUMAN_MAX];

	fprintf(file, "hvisor-launch %s, pid %.0f, up %s, %s (%s)\n", text_of(launcher, "version"),
		number_of(launcher, "pid"), human_time(buffer, number_of(launcher, "uptime_s")),
		text_of(launcher, "hv"), text_of(launcher, "hv_name"));
	fprintf(file, "%s\n", text_of(launcher, "config"));
}

/* The virtio status as the driver reads it, with the names of virtio 1.2, section 2.1. */
static void print_virtio_status(unsigned int status, FILE *file)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} bits[] = {
		{VIRTIO_CONFIG_S_ACKNOWLEDGE, "ACKNOWLEDGE"},        {VIRTIO_CONFIG_S_DRIVER, "DRIVER"},
		{VIRTIO_CONFIG_S_FEATURES_OK, "FEATURES_OK"},        {VIRTIO_CONFIG_S_DRIVER_OK, "DRIVER_OK"},
		{VIRTIO_CONFIG_S_NEEDS_RESET, "DEVICE_NEEDS_RESET"}, {VIRTIO_CONFIG_S_FAILED, "FAILED"},
	};
	size_t i;

	fprintf(file, "%-18s 0x%02x", "status", status);
	for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		if (status & bits[i].bit)
			fprintf(file, " %s", bits[i].name);
	}
	fputc('\n', file);
}

/* Every field of the device as it came, for who looks closer. */
static void print_detail(const cJSON *device, FILE *file)
{
	const cJSON *field;

	cJSON_ArrayForEach(field, device)
	{
		if (cJSON_IsString(field))
			fprintf(file, "%-18s %s\n", field->string, field->valuestring);
		else if (cJSON_IsNumber(field) && strcmp(field->string, "status") == 0)
			print_virtio_status((unsigned int)field->valueint, file);
		else if (cJSON_IsNumber(field))
			fprintf(file, "%-18s %.15g\n", field->string, field->valuedouble);
		else if (cJSON_IsNull(field))
			fprintf(file, "%-18s -\n", field->string);
	}
	print_ports(device, file);
}

void client_print_status(const cJSON *reply, bool detail, FILE *file)
{
	const cJSON *launcher = cJSON_GetObjectItemCaseSensitive(reply, "launcher");
	const cJSON *devices = cJSON_GetObjectItemCaseSensitive(reply, "devices");
	const char *seccomp = text_of(launcher, "seccomp");
	const cJSON *device;

	if (detail) {
		print_detail(cJSON_GetArrayItem(devices, 0), file);
		return;
	}
	print_launcher(launcher, file);
	print_table(devices, file);
	print_reasons(devices, file);
	print_hangs(devices, file);
	print_links(devices, file);
	cJSON_ArrayForEach(device, devices)
	{
		print_ports(device, file);
	}
	print_list(cJSON_GetObjectItemCaseSensitive(launcher, "skipped"), "left out: ", "\nleft out: ", file);
	print_list(cJSON_GetObjectItemCaseSensitive(launcher, "sandbox_missing"), "sandbox: this kernel lacks ", ", ",
		   file);
	if (strcmp(seccomp, "log") == 0)
		fprintf(file, "sandbox: seccomp only logs (--seccomp=log)\n");
}
