/* SPDX-License-Identifier: MIT */
/*
 * Is a bench.json whole? Every row that there has to be, once, with every field that its readers use, of the right
 * type. It says nothing about whether the numbers are good.
 *
 * usage: bench_check JSON
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_BYTES_MAX (1u << 20)

/* What must be a number in a row, not null. */
enum check_fields {
	CHECK_OURS = 0,
	CHECK_PEER = 1,
	CHECK_LIMIT = 2,
	CHECK_RATIO = 4, /* to the peer */
};

static const struct {
	const char *name;
	const char *unit;
	unsigned int fields;
} check_row[] = {
	{"randread-4k-qd1", "IOPS", CHECK_PEER | CHECK_LIMIT | CHECK_RATIO},
	{"randread-4k-qd32", "IOPS", CHECK_PEER | CHECK_LIMIT | CHECK_RATIO},
	{"randwrite-4k-qd1", "IOPS", CHECK_PEER | CHECK_LIMIT | CHECK_RATIO},
	{"randwrite-4k-qd32", "IOPS", CHECK_PEER | CHECK_LIMIT | CHECK_RATIO},
	{"seqread-1m-qd1", "MB/s", CHECK_PEER | CHECK_LIMIT | CHECK_RATIO},
	{"seqread-1m-qd32", "MB/s", CHECK_PEER | CHECK_LIMIT | CHECK_RATIO},
	{"seqwrite-1m-qd1", "MB/s", CHECK_PEER | CHECK_LIMIT | CHECK_RATIO},
	{"seqwrite-1m-qd32", "MB/s", CHECK_PEER | CHECK_LIMIT | CHECK_RATIO},
	{"wakeups-at-rest", "count", CHECK_PEER},
	{"pss-at-rest", "KiB", CHECK_PEER},
	{"sigkill-to-next-request", "ms", CHECK_OURS},
	{"restart-longest-pause", "ms", CHECK_OURS},
	{"net-wakeups-at-rest", "count", CHECK_OURS},
	{"net-pss-at-rest", "KiB", CHECK_OURS},
	{"net-tx-64", "pps", CHECK_LIMIT},
	{"net-rx-64", "pps", CHECK_LIMIT},
	{"net-tx-1514", "pps", CHECK_LIMIT},
	{"net-rx-1514", "pps", CHECK_LIMIT},
	{"net-tx-tso-60k", "MB/s", CHECK_LIMIT},
	{"net-rx-tso-60k", "MB/s", CHECK_LIMIT},
	{"console-wakeups-at-rest", "count", CHECK_OURS},
	{"console-pss-at-rest", "KiB", CHECK_OURS},
	{"console-pty-out", "MB/s", CHECK_LIMIT},
	{"console-pty-in", "MB/s", CHECK_LIMIT},
	{"console-socket-out", "MB/s", CHECK_LIMIT},
	{"console-socket-in", "MB/s", CHECK_LIMIT},
	{"blk0-flood-other-cpu-rest-p50", "us", CHECK_PEER | CHECK_RATIO},
	{"blk0-flood-other-cpu-rest-p99", "us", CHECK_PEER | CHECK_RATIO},
	{"blk0-flood-other-cpu-rest-mean", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-other-cpu-rest-p50", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-other-cpu-rest-p99", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-other-cpu-rest-mean", "us", CHECK_PEER | CHECK_RATIO},
	{"blk0-flood-other-cpu-busy-p50", "us", CHECK_PEER | CHECK_RATIO},
	{"blk0-flood-other-cpu-busy-p99", "us", CHECK_PEER | CHECK_RATIO},
	{"blk0-flood-other-cpu-busy-mean", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-other-cpu-busy-p50", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-other-cpu-busy-p99", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-other-cpu-busy-mean", "us", CHECK_PEER | CHECK_RATIO},
	{"blk0-flood-same-cpu-busy-p50", "us", CHECK_PEER | CHECK_RATIO},
	{"blk0-flood-same-cpu-busy-p99", "us", CHECK_PEER | CHECK_RATIO},
	{"blk0-flood-same-cpu-busy-mean", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-same-cpu-busy-p50", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-same-cpu-busy-p99", "us", CHECK_PEER | CHECK_RATIO},
	{"blk1-flood-same-cpu-busy-mean", "us", CHECK_PEER | CHECK_RATIO},
	{"net0-flood-other-cpu-share", "%", CHECK_PEER},
	{"net0-flood-same-cpu-share", "%", CHECK_PEER},
	{"net0-flood-other-cpu-frames", "pps", CHECK_OURS},
	{"net0-flood-same-cpu-frames", "pps", CHECK_OURS},
};
#define CHECK_ROWS (sizeof(check_row) / sizeof(check_row[0]))

static unsigned int check_errors;

static void check_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void check_complain(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "bench_check: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	check_errors++;
}

static cJSON *check_read(const char *path)
{
	char *text = calloc(1, CHECK_BYTES_MAX + 1);
	FILE *file = fopen(path, "re");
	cJSON *list = NULL;

	if (!text || !file)
		check_complain("%s: %s", path, strerror(errno));
	else if (fread(text, 1, CHECK_BYTES_MAX, file) == 0 || !(list = cJSON_Parse(text)) || !cJSON_IsArray(list))
		check_complain("%s: not a JSON list", path);
	if (file)
		fclose(file);
	free(text);
	return list;
}

/* A number that is not negative, or null where that is allowed. */
static void check_number(const cJSON *row, const char *name, const char *key, bool needed)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(row, key);

	if (cJSON_IsNull(value) && !needed)
		return;
	if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0))
		check_complain("%s: %s is not a number of 0 or more%s", name, key, needed ? "" : ", nor null");
}

static const cJSON *check_find(const cJSON *list, const char *name)
{
	const cJSON *found = NULL;
	const cJSON *row;

	cJSON_ArrayForEach(row, list)
	{
		const char *is = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "name"));

		if (!is || strcmp(is, name) != 0)
			continue;
		if (found)
			check_complain("%s is there twice", name);
		found = row;
	}
	return found;
}

static void check_one(const cJSON *list, const char *name, const char *unit, unsigned int fields)
{
	const cJSON *row = check_find(list, name);
	const char *is;

	if (!row) {
		check_complain("%s is missing", name);
		return;
	}
	is = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "unit"));
	if (!is || strcmp(is, unit) != 0)
		check_complain("%s: unit is not \"%s\"", name, unit);
	check_number(row, name, "ours", true);
	check_number(row, name, "rounds", true);
	check_number(row, name, "peer", fields & CHECK_PEER);
	check_number(row, name, "limit", fields & CHECK_LIMIT);
	check_number(row, name, "ours_over_peer", fields & CHECK_RATIO);
	check_number(row, name, "ours_over_limit", fields & CHECK_LIMIT);
	if ((fields & CHECK_PEER) && !cJSON_IsString(cJSON_GetObjectItemCaseSensitive(row, "peer_engine")))
		check_complain("%s: peer_engine is not a string", name);
	if (fields & CHECK_LIMIT) {
		check_number(row, name, "limit_preadv", true);
		check_number(row, name, "limit_io_uring", fields & CHECK_PEER);
	}
}

int main(int argc, char **argv)
{
	cJSON *list;
	size_t i;

	if (argc != 2) {
		fprintf(stderr, "usage: bench_check JSON\n");
		return 2;
	}
	list = check_read(argv[1]);
	for (i = 0; list && i < CHECK_ROWS; i++)
		check_one(list, check_row[i].name, check_row[i].unit, check_row[i].fields);
	if (list && cJSON_GetArraySize(list) != (int)CHECK_ROWS)
		check_complain("%d rows, not %zu", cJSON_GetArraySize(list), CHECK_ROWS);
	cJSON_Delete(list);
	return check_errors > 0;
}
