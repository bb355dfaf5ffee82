/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>

static int report_compare(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

struct report_row *report_row_init(struct report_row *row, const char *name, const char *unit, unsigned int rounds)
{
	*row = (struct report_row){
		.unit = unit,
		.rounds = rounds,
		.ours = REPORT_NONE,
		.peer = REPORT_NONE,
		.limit = REPORT_NONE,
		.ours_over_peer = REPORT_NONE,
		.ours_over_limit = REPORT_NONE,
		.limit_preadv = REPORT_NONE,
		.limit_io_uring = REPORT_NONE,
	};
	snprintf(row->name, sizeof(row->name), "%s", name);
	return row;
}

double report_median(double *value, unsigned int n)
{
	qsort(value, n, sizeof(*value), report_compare);
	return n % 2 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
}

double report_quantile(const double *sorted, unsigned int n, double q)
{
	return sorted[(unsigned int)(q * n)];
}

double report_ratio(const double *a, const double *b, unsigned int n)
{
	double ratio[REPORT_ROUNDS_MAX];
	unsigned int i;

	if (n == 0 || n > REPORT_ROUNDS_MAX)
		return REPORT_NONE;
	for (i = 0; i < n; i++)
		ratio[i] = a[i] / b[i];
	return report_median(ratio, n);
}

/* Large numbers whole, small ones with their fractions. */
static void report_number(FILE *file, int width, double value)
{
	if (value < 0)
		fprintf(file, " %*s", width, "-");
	else
		fprintf(file, " %*.*f", width, value < 100 ? 2 : 0, value);
}

void report_table(FILE *file, const struct report_row *row, unsigned int n)
{
	unsigned int i;

	fprintf(file, "%-32s %-6s %9s %9s %-9s %9s %9s %9s %10s %6s\n", "", "unit", "ours", "peer", "its way", "preadv",
		"io_uring", "ours/peer", "ours/limit", "rounds");
	for (i = 0; i < n; i++) {
		fprintf(file, "%-32s %-6s", row[i].name, row[i].unit);
		report_number(file, 9, row[i].ours);
		report_number(file, 9, row[i].peer);
		fprintf(file, " %-9s", row[i].peer_engine ? row[i].peer_engine : "");
		report_number(file, 9, row[i].limit_preadv);
		report_number(file, 9, row[i].limit_io_uring);
		report_number(file, 9, row[i].ours_over_peer);
		report_number(file, 10, row[i].ours_over_limit);
		fprintf(file, " %6u\n", row[i].rounds);
	}
}

static int report_add(cJSON *object, const char *key, double value)
{
	return value < 0 ? cJSON_AddNullToObject(object, key) != NULL
			 : cJSON_AddNumberToObject(object, key, value) != NULL;
}

static cJSON *report_object(const struct report_row *row)
{
	cJSON *object = cJSON_CreateObject();
	int good = cJSON_AddStringToObject(object, "name", row->name) != NULL;

	good = good && cJSON_AddStringToObject(object, "unit", row->unit);
	good = good && report_add(object, "ours", row->ours);
	good = good && report_add(object, "peer", row->peer);
	good = good && report_add(object, "limit", row->limit);
	good = good && report_add(object, "ours_over_peer", row->ours_over_peer);
	good = good && report_add(object, "ours_over_limit", row->ours_over_limit);
	good = good && report_add(object, "rounds", row->rounds);
	if (row->peer_engine)
		good = good && cJSON_AddStringToObject(object, "peer_engine", row->peer_engine);
	if (row->limit >= 0) {
		good = good && report_add(object, "limit_preadv", row->limit_preadv);
		good = good && report_add(object, "limit_io_uring", row->limit_io_uring);
	}
	if (!good) {
		cJSON_Delete(object);
		object = NULL;
	}
	return object;
}

/* The list that is there, or an empty one. */
static cJSON *report_list(const char *path)
{
	FILE *file = fopen(path, "re");
	cJSON *list = NULL;
	char *text = NULL;
	size_t room = 0;

	if (file && getdelim(&text, &room, 0, file) > 0)
		list = cJSON_Parse(text);
	if (file)
		fclose(file);
	free(text);
	return list ? list : cJSON_CreateArray();
}

int report_json(const char *path, const struct report_row *row, unsigned int n)
{
	cJSON *list = report_list(path);
	char *text = NULL;
	int err = -ENOMEM;
	FILE *file;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!cJSON_AddItemToArray(list, report_object(&row[i])))
			goto out;
	}
	text = cJSON_Print(list);
	if (!text)
		goto out;
	file = fopen(path, "we");
	if (!file) {
		err = -errno;
		goto out;
	}
	err = fprintf(file, "%s\n", text) < 0 ? -EIO : 0;
	if (fclose(file) != 0 && !err)
		err = -errno;
out:
	free(text);
	cJSON_Delete(list);
	return err;
}
