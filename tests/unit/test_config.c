/* SPDX-License-Identifier: MIT */
/* Every error of a configuration is reported with its place and what would be right, and nothing can make it crash. */
#include <cjson/cJSON.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "launcher/config.h"
#include "launcher/watchdog.h"
#include "tests/test.h"

static char folder[] = "/tmp/test_config.XXXXXX";

static void remove_folder(void)
{
	static const char *const file[] = {"c.json", "a.img", "b.img", "link.img", "empty.img", "fifo", "dir"};
	size_t i;

	if (chdir(folder) != 0)
		return;
	for (i = 0; i < sizeof(file) / sizeof(file[0]); i++)
		remove(file[i]);
	rmdir(folder);
}

static void write_file(const char *name, const void *bytes, size_t len)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, bytes, len), len);
	close(fd);
}

/* A folder of its own with two images of 1 MiB, in which the test runs. */
static void enter_folder(void)
{
	CHECK(mkdtemp(folder));
	atexit(remove_folder);
	CHECK_INT(chdir(folder), 0);
	write_file("a.img", "", 0);
	write_file("b.img", "", 0);
	write_file("empty.img", "", 0);
	CHECK_INT(truncate("a.img", 1 << 20), 0);
	CHECK_INT(truncate("b.img", 1 << 20), 0);
	CHECK_INT(symlink("a.img", "link.img"), 0);
	CHECK_INT(mkdir("dir", 0700), 0);
	CHECK_INT(mkfifo("fifo", 0600), 0);
}

/* Text with ' in the place of " as the file c.json. */
static void write_json(const char *text)
{
	char *copy = strdup(text);
	char *quote;

	CHECK(copy);
	while ((quote = strchr(copy, '\'')))
		*quote = '"';
	write_file("c.json", copy, strlen(copy));
	free(copy);
}

static void read_good(struct config *config)
{
	struct errors errors;

	errors_init(&errors);
	if (config_read(config, "c.json", &errors) != 0) {
		errors_print(&errors, stderr, "");
		TEST_FAIL("the file was refused");
	}
	CHECK_INT(errors.count, 0);
	errors_finish(&errors);
}

/* The complaints about c.json, a line each; freed by the caller. */
static char *complaints(void)
{
	struct config config;
	struct errors errors;
	char *text = NULL;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);

	CHECK(file);
	errors_init(&errors);
	if (config_read(&config, "c.json", &errors) == 0) {
		CHECK_INT(errors.count, 0);
		config_finish(&config);
	} else {
		CHECK(errors.count > 0);
	}
	errors_print(&errors, file, "");
	errors_finish(&errors);
	fclose(file);
	return text;
}

static void is_refused(const char *json, const char *lines)
{
	char *text;

	write_json(json);
	text = complaints();
	if (strcmp(text, lines) != 0)
		TEST_FAIL("of\n%s\nthe complaints are\n%s, not\n%s", json, text, lines);
	free(text);
}

#define MEMORY "'memory_region': [{'zone0_ipa': '0x50000000', 'zonex_ipa': '0x50000000', 'size': '0x30000000'}]"
#define WINDOW "'addr': '0xa003c00', 'len': '0x200', 'irq': 78"
#define BLK "'type': 'blk', " WINDOW ", 'img': 'a.img'"
#define ZONE(devices) "{'zones': [{'id': 1, " MEMORY ", 'devices': [" devices "]}]}"
#define DEVICE "c.json: zones[0].devices[0]"

/* One blk device with further keys. */
static void device_is_refused(const char *keys, const char *lines)
{
	char json[1024];

	snprintf(json, sizeof(json), ZONE("{" BLK ", %s}"), keys);
	is_refused(json, lines);
}

static void test_defaults(void)
{
	struct config config;
	const struct config_device *d;

	enter_folder();
	write_json(ZONE("{" BLK "}"));
	read_good(&config);
	CHECK_INT(config.path[0], '/');
	CHECK_HAS(config.path, "/c.json");
	CHECK(!config.sandbox_required);
	CHECK_INT(config.log_size, 1 << 20);
	CHECK_INT(config.log_files, 3);
	CHECK_INT(config.nzones, 1);
	CHECK_INT(config.zone[0].id, 1);
	CHECK_INT(config.zone[0].nmemory, 1);
	CHECK_INT(config.zone[0].memory[0].zone0_ipa, 0x50000000);
	CHECK_INT(config.zone[0].memory[0].size, 0x30000000);
	CHECK_INT(config.ndevices, 1);
	CHECK_INT(config.nskipped, 0);
	d = &config.device[0];
	CHECK_STR(d->name, "blk0");
	CHECK_STR(d->place, "zones[0].devices[0]");
	CHECK_INT(d->type, CONFIG_BLK);
	CHECK_INT(d->zone, 1);
	CHECK_INT(d->base, 0xa003c00);
	CHECK_INT(d->size, 0x200);
	CHECK_INT(d->irq, 78);
	CHECK_INT(d->poll_us, CONFIG_POLL_ADAPTIVE);
	CHECK_INT(d->log_level, LOG_INFO);
	CHECK_INT(d->restart.limit, 10);
	CHECK_INT(d->restart.window_s, 60);
	CHECK_INT(d->restart.delay_ms, 100);
	CHECK_INT(d->restart.delay_max_ms, 10000);
	CHECK_INT(d->blk.img[0], '/');
	CHECK_HAS(d->blk.img, "/a.img");
	CHECK(!d->blk.readonly);
	CHECK_STR(d->blk.serial, "");
	CHECK_INT(d->blk.cache, CONFIG_CACHE_WRITEBACK);
	CHECK(d->blk.discard);
	CHECK_INT(d->blk.queues, 1);
	CHECK_INT(d->blk.queue_size, 256);
	CHECK_INT(d->blk.logical_block_size, 512);
	CHECK_INT(d->blk.engine, CONFIG_ENGINE_AUTO);
	config_finish(&config);
}

#define ALL_KEYS                                                                                                       \
	"{'sandbox': 'required', 'log_size': '0x10000', 'log_files': 0, 'zones': [{'id': '2', " MEMORY                 \
	", 'devices': [{" BLK ", 'status': 'enable', 'name': 'root_fs-1', 'poll_us': 50, 'log_level': 'debug',"        \
	"'restart_limit': 0, 'restart_window_s': 5, 'restart_delay_ms': '7', 'restart_delay_max_ms': '0x10',"          \
	"'watchdog_s': 86400, 'watchdog_action': 'report', 'cpu_weight': 10000, 'cpu_max_percent': '5',"               \
	"'memory_max': '0x400000',"                                                                                    \
	"'readonly': true, 'serial': '12345678901234567890', 'cache': 'none', 'discard': false, 'queues': 16,"         \
	"'queue_size': 10.24e2, 'logical_block_size': 4096, 'engine': 'preadv'}]}]}"

static void test_all_keys(void)
{
	struct config config;
	const struct config_device *d;

	enter_folder();
	write_json(ALL_KEYS);
	read_good(&config);
	CHECK(config.sandbox_required);
	CHECK_INT(config.log_size, 65536);
	CHECK_INT(config.log_files, 0);
	CHECK_INT(config.zone[0].id, 2);
	d = &config.device[0];
	CHECK_STR(d->name, "root_fs-1");
	CHECK_INT(d->zone, 2);
	CHECK_INT(d->poll_us, 50);
	CHECK_INT(d->log_level, LOG_DEBUG);
	CHECK_INT(d->restart.limit, 0);
	CHECK_INT(d->restart.window_s, 5);
	CHECK_INT(d->restart.delay_ms, 7);
	CHECK_INT(d->restart.delay_max_ms, 16);
	CHECK_INT(d->watchdog.limit_s, 86400);
	CHECK_INT(d->watchdog.action, WATCHDOG_REPORT);
	CHECK_INT(d->limits.cpu_weight, 10000);
	CHECK_INT(d->limits.cpu_max_percent, 5);
	CHECK_INT(d->limits.memory_max, 4194304);
	CHECK(d->blk.readonly);
	CHECK_STR(d->blk.serial, "12345678901234567890");
	CHECK_INT(d->blk.cache, CONFIG_CACHE_NONE);
	CHECK(!d->blk.discard);
	CHECK_INT(d->blk.queues, 16);
	CHECK_INT(d->blk.queue_size, 1024);
	CHECK_INT(d->blk.logical_block_size, 4096);
	CHECK_INT(d->blk.engine, CONFIG_ENGINE_PREADV);
	config_finish(&config);
}

static void test_words(void)
{
	struct config config;

	enter_folder();
	write_json(
		ZONE("{" BLK ", 'cache': 'writethrough', 'engine': 'io_uring', 'log_level': 'error', 'poll_us': 0}"));
	read_good(&config);
	CHECK_STR(config_cache_name(config.device[0].blk.cache), "writethrough");
	CHECK_STR(config_engine_name(config.device[0].blk.engine), "io_uring");
	CHECK_INT(config.device[0].log_level, LOG_ERROR);
	CHECK_INT(config.device[0].poll_us, 0);
	config_finish(&config);
	write_json(ZONE("{" BLK
			", 'cache': 'writeback', 'engine': 'auto', 'log_level': 'warning', 'poll_us': 'adaptive'}"));
	read_good(&config);
	CHECK_STR(config_cache_name(config.device[0].blk.cache), "writeback");
	CHECK_STR(config_engine_name(config.device[0].blk.engine), "auto");
	CHECK_INT(config.device[0].log_level, LOG_WARNING);
	CHECK_INT(config.device[0].poll_us, CONFIG_POLL_ADAPTIVE);
	config_finish(&config);
}

#define RNG(keys) ZONE("{'type': 'rng', " WINDOW keys "}")
#define RATE_MUST "; must be 0 (no limit) or a number of bytes per second up to 1000000000\n"

static void test_rng(void)
{
	struct config config;

	enter_folder();
	write_json(RNG(""));
	read_good(&config);
	CHECK_INT(config.ndevices, 1);
	CHECK_INT(config.nskipped, 0);
	CHECK_STR(config.device[0].name, "rng0");
	CHECK_INT(config.device[0].type, CONFIG_RNG);
	CHECK_INT(config.device[0].rng.rate, 0);
	config_finish(&config);
	write_json(RNG(", 'rate': '0x3b9aca00'"));
	read_good(&config);
	CHECK_INT(config.device[0].rng.rate, 1000000000);
	config_finish(&config);
	write_json(RNG(", 'rate': 0"));
	read_good(&config);
	CHECK_INT(config.device[0].rng.rate, 0);
	config_finish(&config);
	is_refused(RNG(", 'rate': 1000000001"), DEVICE ".rate: is 1000000001" RATE_MUST);
	is_refused(RNG(", 'rate': -1"), DEVICE ".rate: is -1" RATE_MUST);
	is_refused(RNG(", 'rate': 'fast'"), DEVICE ".rate: is \"fast\"" RATE_MUST);
	is_refused(RNG(", 'img': 'a.img'"), DEVICE
		   ".img: is not a key of rng devices; the keys are type, addr, len, irq, status, name, poll_us, "
		   "log_level, restart_limit, restart_window_s, restart_delay_ms, restart_delay_max_ms, watchdog_s, "
		   "watchdog_action, cpu_weight, cpu_max_percent, memory_max, rate\n");
	device_is_refused("'rate': 1",
			  DEVICE ".rate: is not a key of blk devices; the keys are type, addr, len, irq, "
				 "status, name, poll_us, log_level, restart_limit, restart_window_s, "
				 "restart_delay_ms, restart_delay_max_ms, watchdog_s, watchdog_action, cpu_weight, "
				 "cpu_max_percent, memory_max, img, readonly, serial, cache, "
				 "discard, queues, queue_size, logical_block_size, engine\n");
}

/* The shape of upstream's files: all numbers as strings or not, types that are not served, disabled devices. */
#define UPSTREAM_DEVICES                                                                                               \
	"{'type': 'scmi', 'addr': '0xff9c0000', 'len': '0x200', 'irq': '0x44', 'status': 'enable',"                    \
	" 'clock_ids': [0, 1, 2], 'reset_ids': [0, '1'], 'power_ids': []},"                                            \
	"{'type': 'blk', 'addr': '0xff9d0000', 'len': '0x200', 'irq': '0x41', 'img': 'a.img', 'status': 'enable'},"    \
	"{'type': 'console', 'addr': '0xff9e0000', 'len': '0x200', 'irq': 66, 'status': 'enable'},"                    \
	"{'type': 'net', 'addr': '0xffa00000', 'len': '0x200', 'irq': '0x45', 'tap': 'tap0',"                          \
	" 'mac': ['0x00', '0x16', '0x3e', '0x10', '0x10', 16], 'status': 'disable'},"                                  \
	"{'type': 'gpu', 'addr': '0xffb00000', 'len': '0x200', 'irq': 70, 'width': 1280, 'height': 800,"               \
	" 'status': 'enable'}"
#define UPSTREAM_MEMORY                                                                                                \
	"'memory_region': [{'zone0_ipa': '0x30000000', 'zonex_ipa': '0x30000000', 'size': '0x10000000'},"              \
	"{'zone0_ipa': '0x100000000', 'zonex_ipa': '0x100000000', 'size': '0x1fc000000'}]"

static void check_upstream(const struct config *config)
{
	CHECK_INT(config->nzones, 1);
	CHECK_INT(config->zone[0].id, 1);
	CHECK_INT(config->zone[0].nmemory, 2);
	CHECK(config->zone[0].memory[1].size == 0x1fc000000);
	CHECK_INT(config->ndevices, 2);
	CHECK_STR(config->device[0].name, "blk0");
	CHECK_INT(config->device[0].irq, 0x41);
	CHECK_STR(config->device[1].name, "console0");
	CHECK_INT(config->device[1].console.cols, 80);
	CHECK_INT(config->device[1].console.rows, 24);
	CHECK_INT(config->device[1].console.nports, 1);
	CHECK_INT(config->device[1].console.port[0].endpoint, CONFIG_ENDPOINT_PTY);
	CHECK(!config->device[1].console.port[0].output_log);
	CHECK_INT(config->nskipped, config->skipped.count);
}

static void test_upstream_form(void)
{
	struct config config;

	enter_folder();
	write_json("{'zones': [{'id': 1, " UPSTREAM_MEMORY ", 'devices': [" UPSTREAM_DEVICES "]}]}");
	read_good(&config);
	check_upstream(&config);
	CHECK_INT(config.nskipped, 2);
	CHECK_STR(config.skipped.line[0], "scmi0 (zones[0].devices[0]): devices of type scmi are not served yet");
	CHECK_STR(config.skipped.line[1], "gpu0 (zones[0].devices[4]): devices of type gpu are not served yet");
	config_finish(&config);
	/* A single zone may be the whole file, and be named by zone_id. */
	write_json("{'zone_id': 1, " UPSTREAM_MEMORY ", 'devices': [" UPSTREAM_DEVICES "], 'log_files': 1}");
	read_good(&config);
	check_upstream(&config);
	CHECK_INT(config.log_files, 1);
	CHECK_STR(config.device[0].place, "devices[1]");
	config_finish(&config);
}

/* Upstream's own files, where they lie beside the checkout: of the device files only images may be missing. */
static void check_upstream_file(const char *path)
{
	struct config config;
	struct errors errors;
	size_t i;

	errors_init(&errors);
	if (config_read(&config, path, &errors) == 0)
		config_finish(&config);
	for (i = 0; i < errors.count; i++) {
		if (!strstr(errors.line[i], ".img: ") && !strstr(errors.line[i], "this is a zone file"))
			TEST_FAIL("%s", errors.line[i]);
	}
	errors_finish(&errors);
}

static void test_upstream_files(void)
{
	DIR *dir = opendir("../shared/upstream-examples");
	struct dirent *entry;
	unsigned int n = 0;

	while (dir && (entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');
		char path[512];

		if (!dot || strcmp(dot, ".json") != 0)
			continue;
		snprintf(path, sizeof(path), "../shared/upstream-examples/%s", entry->d_name);
		check_upstream_file(path);
		n++;
	}
	CHECK(n > 0);
	closedir(dir);
}

static void test_names(void)
{
	struct config config;

	enter_folder();
	/* The number counts all devices of the type, so that enabling or naming one does not rename another. */
	write_json("{'zones': [{'id': 1, " MEMORY ", 'devices': ["
		   "{" BLK ", 'status': 'disable'},"
		   "{'type': 'blk', 'addr': 0, 'len': 512, 'irq': 1, 'img': 'a.img', 'name': 'root'}]},"
		   "{'id': 2, 'memory_region': [{'zone0_ipa': 0, 'zonex_ipa': 0, 'size': 4096}], 'devices': ["
		   "{'type': 'blk', 'addr': 4096, 'len': 512, 'irq': 1, 'img': 'b.img'}]}]}");
	read_good(&config);
	CHECK_INT(config.ndevices, 2);
	CHECK_STR(config.device[0].name, "root");
	CHECK_STR(config.device[1].name, "blk2");
	CHECK_INT(config.device[1].zone, 2);
	config_finish(&config);
#define NAME_MUST "a name of up to 31 characters a-z 0-9 _ - that does not begin with -, nor \"all\" or \"launcher\"\n"
	device_is_refused("'name': 'all'", DEVICE ".name: is \"all\"; must be " NAME_MUST);
	device_is_refused("'name': 'launcher'", DEVICE ".name: is \"launcher\"; must be " NAME_MUST);
	device_is_refused("'name': ''", DEVICE ".name: is \"\"; must be " NAME_MUST);
	device_is_refused("'name': 'Blk'", DEVICE ".name: is \"Blk\"; must be " NAME_MUST);
	device_is_refused("'name': '../x'", DEVICE ".name: is \"../x\"; must be " NAME_MUST);
	device_is_refused("'name': '-x'", DEVICE ".name: is \"-x\"; must be " NAME_MUST);
	device_is_refused("'name': '12345678901234567890123456789012'",
			  DEVICE ".name: is \"12345678901234567890123456789012\"; must be " NAME_MUST);
	is_refused(
		ZONE("{" BLK ", 'name': 'x'}, {'type': 'blk', 'addr': 0, 'len': 512, 'irq': 1, 'img': 'b.img',"
		     "'name': 'x', 'status': 'disable'}"),
		"c.json: zones[0].devices[1].name: x is zones[0].devices[0] too, by its name; give it another name\n");
	is_refused(ZONE("{" BLK ", 'name': 'blk1'}, {'type': 'blk', 'addr': 0, 'len': 512, 'irq': 1, 'img': 'b.img'}"),
		   "c.json: zones[0].devices[1].name: blk1 is zones[0].devices[0] too, and this one by its type and "
		   "order; "
		   "give it another name\n");
}

static void test_syntax(void)
{
	enter_folder();
	is_refused("", "c.json: is empty\n");
	is_refused(" \n",
		   "c.json:2:1: the file ends here; a value (text in quotes, a number, true, false, null, [ or {) is "
		   "missing\n");
	is_refused("{\n\t'a': 1,\n\t'b' 2\n}", "c.json:3:6: a colon is missing before 2\n");
	is_refused("{'a': 1 'b': 2}", "c.json:1:9: a comma or } is missing before \"b\n");
	is_refused("{'a': [1 2]}", "c.json:1:10: a comma or ] is missing before 2\n");
	is_refused("{'a': 1,}", "c.json:1:9: the comma before this bracket is one too many\n");
	is_refused("{'a': [1,]}", "c.json:1:10: the comma before this bracket is one too many\n");
	is_refused("{'a': 1", "c.json:1:8: the file ends here; a comma or } is missing\n");
	is_refused("{'a", "c.json:1:2: this text has no closing quote\n");
	is_refused("{'\xc3\xa9': x}",
		   "c.json:1:7: a value (text in quotes, a number, true, false, null, [ or {) is missing "
		   "before x\n");
	is_refused("{a: 1}", "c.json:1:2: a key in double quotes is missing before a\n");
	is_refused("{} {}", "c.json:1:4: the JSON text is complete before this; nothing may follow\n");
	is_refused("{// why\n}", "c.json:1:2: JSON has no comments; take this one out\n");
	is_refused("{# why\n}", "c.json:1:2: JSON has no comments; take this one out\n");
	is_refused("{'a': 0x10}", "c.json:1:7: JSON has no hexadecimal numbers; put it in quotes: \"0x...\"\n");
	is_refused("{'a': 010}", "c.json:1:7: a number does not begin with 0\n");
	is_refused("{'a': 1.}", "c.json:1:9: a digit is missing before }\n");
	is_refused("{'a': NaN}",
		   "c.json:1:7: a value (text in quotes, a number, true, false, null, [ or {) is missing before "
		   "NaN\n");
	is_refused("{'a': 'x\ty'}", "c.json:1:9: a control character stands in a text; write it as \\t or \\u00..\n");
	is_refused("{'a': '\\x'}", "c.json:1:9: a backslash stands only before one of \" \\ / b f n r t u\n");
	is_refused("{'a': '\\u00g0'}", "c.json:1:12: \\u needs four hexadecimal digits\n");
	is_refused("{'a': '\\u0000'}", "c.json:1:14: \\u0000 cannot be part of a text here\n");
	is_refused("{'a': '\\ud800'}", "c.json:1:14: this is half of a surrogate pair\n");
	is_refused("{'a': '\\udc00\\udc00'}", "c.json:1:14: this is half of a surrogate pair\n");
	is_refused("{'a': '\x80'}", "c.json:1:8: this is not UTF-8\n");
	is_refused("{'a': '\xed\xa0\x80'}", "c.json:1:8: this is not UTF-8\n");
	is_refused("{'a': '\xf0\x9f\x98'}", "c.json:1:8: this is not UTF-8\n");
	is_refused("{'a': 1111111111111111111111111111111111111111111111111111111111111}",
		   "c.json:1:7: this number has too many digits\n");
}

/* Files which are no text with a sensible length. */
static void test_hostile_files(void)
{
	static const char nul[] = "{\"zones\":\0 []}";
	char *big = malloc(2 << 20);
	char *text;
	size_t i;

	enter_folder();
	CHECK(big);
	write_file("c.json", nul, sizeof(nul) - 1);
	text = complaints();
	CHECK_STR(text, "c.json:1:10: there is a NUL byte here; this is no text file\n");
	free(text);

	memset(big, '[', 1 << 20);
	write_file("c.json", big, 1 << 20);
	text = complaints();
	CHECK_STR(text, "c.json:1:33: there are too many brackets in each other here\n");
	free(text);

	memset(big, ' ', 2 << 20);
	write_file("c.json", big, (1 << 20) + 1);
	text = complaints();
	CHECK_STR(text, "c.json: has more than 1 MiB; this is no configuration\n");
	free(text);

	/* An object of very many keys, and an array of very many things that are wrong. */
	i = (size_t)sprintf(big, "{\"zones\":[{\"id\":1");
	while (i < 1000000)
		i += (size_t)sprintf(big + i, ",\"k%zu\":1", i);
	i += (size_t)sprintf(big + i, "}]}");
	write_file("c.json", big, i);
	text = complaints();
	CHECK_HAS(text, "c.json: zones[0]: has more than 256 keys; the rest is not looked at\n");
	free(text);

	i = (size_t)sprintf(big, "{\"zones\":[{\"id\":1,\"memory_region\":[],\"devices\":[");
	while (i < 500000)
		i += (size_t)sprintf(big + i, "{\"a\":1,\"b\":2,\"cc\":3,\"dd\":4,\"irq\":0},");
	i += (size_t)sprintf(big + i, "{}]}]}");
	write_file("c.json", big, i);
	text = complaints();
	CHECK_HAS(text, "c.json: zones[0].devices: has 13889 elements; must be an array of up to 256 devices\n");
	CHECK_HAS(text, "more errors\n");
	free(text);
	free(big);
	CHECK_INT(unlink("c.json"), 0);
	text = complaints();
	CHECK_STR(text, "c.json: cannot be read: No such file or directory\n");
	free(text);
	CHECK_INT(mkdir("c.json", 0700), 0);
	text = complaints();
	CHECK_STR(text, "c.json: cannot be read: Is a directory\n");
	free(text);
}

static void test_wrong_shape(void)
{
	enter_folder();
	is_refused("[]", "c.json: holds no object; it must begin with { \"zones\": [\n");
	is_refused("3", "c.json: holds no object; it must begin with { \"zones\": [\n");
	is_refused("{}", "c.json: zones: is missing; must be an array of 1 to 31 zones\n");
	is_refused("{'zonse': []}", "c.json: zonse: is not a key of the file; did you mean \"zones\"?\n"
				    "c.json: zones: is missing; must be an array of 1 to 31 zones\n");
	is_refused("{'zones': []}", "c.json: zones: is an empty array; must be an array of 1 to 31 zones\n");
	is_refused("{'zones': {}}", "c.json: zones: is an object; must be an array of 1 to 31 zones\n");
	is_refused("{'zones': [null]}", "c.json: zones[0]: is null; must be an object with the keys of zones\n");
	is_refused("{'zones': [{}]}",
		   "c.json: zones[0].memory_region: is missing; must be an array of 1 to 16 memory regions\n"
		   "c.json: zones[0].devices: is missing; must be an array of up to 256 devices\n"
		   "c.json: zones[0].id: is missing; must be a zone number from 1 to 31\n");
	is_refused("{'zones': [{'id': 1, 'memory_region': [[]], 'devices': ['x']}]}",
		   "c.json: zones[0].memory_region[0]: is an empty array; must be an object with the keys of memory "
		   "regions\n"
		   "c.json: zones[0].devices[0]: is \"x\"; must be an object with the keys of devices\n");
	is_refused("{'zone_id': 1, 'cpus': [2, 3], 'memory_regions': [], 'kernel_filepath': './Image'}",
		   "c.json: this is a zone file, which says how a zone is started (\"hvisor zone start\"); "
		   "hvisor-launch takes "
		   "the file of its devices, virtio_cfg.json\n");
	is_refused("{'zones': [{'id': 1, 'zone_id': 1, " MEMORY ", 'devices': []}]}",
		   "c.json: zones[0].zone_id: is given as \"id\" and as \"zone_id\"; keep one of the two\n");
	is_refused("{'zones': [{'id': 1, " MEMORY ", 'devices': [], 'device': []}]}",
		   "c.json: zones[0].device: is not a key of zones; did you mean \"devices\"?\n");
	is_refused("{'zones': [{'id': 1, " MEMORY ", 'devices': [], 'id': 2}]}",
		   "c.json: zones[0].id: is given twice; keep one of the two\n");
	is_refused("{'sandbox': 'on', 'log_size': 100, 'log_files': 1.5, 'zones': [{'id': 32, " MEMORY
		   ", 'devices': []}]}",
		   "c.json: sandbox: is \"on\"; must be \"auto\" or \"required\"\n"
		   "c.json: log_size: is 100; must be a number of bytes from 4096 to 1073741824\n"
		   "c.json: log_files: is 1.5; must be a number from 0 to 100\n"
		   "c.json: zones[0].id: is 32; must be a zone number from 1 to 31\n");
}

static void test_device_keys(void)
{
	enter_folder();
	is_refused(ZONE("{}"), DEVICE
		   ".type: is missing; must be \"blk\", \"net\", \"console\", \"rng\", \"gpu\" or \"scmi\"\n" DEVICE
		   ".addr: is missing; must be the address of the virtio-mmio window, a multiple of 4 such as "
		   "\"0xa003c00\"\n" DEVICE
		   ".len: is missing; must be the length of the window, a multiple of 4 from 0x200 to 0x10000\n" DEVICE
		   ".irq: is missing; must be an interrupt number from 1 to 1023, such as 78 or \"0x4e\"\n");
	is_refused(ZONE("{'type': 'blk', " WINDOW "}"),
		   DEVICE ".img: is missing; must be the path of an image file or a block device, such as "
			  "\"rootfs.ext4\"\n");
	is_refused(ZONE("{'type': 'blkk', " WINDOW ", 'imgg': 1}"), DEVICE
		   ".type: is \"blkk\"; must be \"blk\", \"net\", \"console\", \"rng\", \"gpu\" or \"scmi\"; did you "
		   "mean \"blk\"?\n" DEVICE ".imgg: is not a key of devices; did you mean \"img\"?\n");
	is_refused(ZONE("{'type': 'console', " WINDOW ", 'img': 'a.img'}"), DEVICE
		   ".img: is not a key of console devices; the keys are type, addr, len, irq, status, name, poll_us, "
		   "log_level, restart_limit, restart_window_s, restart_delay_ms, restart_delay_max_ms, watchdog_s, "
		   "watchdog_action, cpu_weight, cpu_max_percent, memory_max, backend, path, "
		   "output_log, columns, rows, ports\n");
	is_refused(ZONE("{'type': 'console', " WINDOW ", 'columns': 0, 'rows': 1001}"),
		   DEVICE ".columns: is 0; must be a number from 1 to 1000\n" DEVICE
			  ".rows: is 1001; must be a number from 1 to 1000\n");
	is_refused(ZONE("{'type': 'console', " WINDOW ", 'name': 'lock'}"),
		   DEVICE ".name: is \"lock\", which the run folder has a file of; a console needs another one\n");
	device_is_refused("'readonly': 'true'", DEVICE ".readonly: is \"true\"; must be true or false\n");
	device_is_refused("'readonyl': true",
			  DEVICE ".readonyl: is not a key of blk devices; did you mean \"readonly\"?\n");
	device_is_refused("'irq': 78", DEVICE ".irq: is given twice; keep one of the two\n");
	device_is_refused("'status': 'enabled'", DEVICE
			  ".status: is \"enabled\"; must be \"enable\" or \"disable\"; did you mean \"enable\"?\n");
	device_is_refused("'status': true", DEVICE ".status: is true; must be \"enable\" or \"disable\"\n");
	device_is_refused("'poll_us': 1001", DEVICE
			  ".poll_us: is 1001; must be \"adaptive\" or a number of microseconds from 0 to 1000\n");
	device_is_refused("'log_level': 'trace'",
			  DEVICE ".log_level: is \"trace\"; must be \"error\", \"warning\", \"info\" or \"debug\"\n");
	device_is_refused("'restart_limit': -1",
			  DEVICE ".restart_limit: is -1; must be a number from 0 (without limit) to 1000\n");
	device_is_refused("'restart_window_s': 0",
			  DEVICE ".restart_window_s: is 0; must be a number of seconds from 1 to 86400\n");
	device_is_refused("'restart_delay_ms': 0",
			  DEVICE ".restart_delay_ms: is 0; must be a number of milliseconds from 1 to 60000\n");
	device_is_refused("'restart_delay_max_ms': 1e400", DEVICE
			  ".restart_delay_max_ms: is more than a JSON number can hold exactly (put it in quotes); must "
			  "be a number of milliseconds from 1 to 3600000\n");
	device_is_refused("'restart_delay_ms': 500, 'restart_delay_max_ms': 499",
			  DEVICE ".restart_delay_max_ms: is 499, less than restart_delay_ms, which is 500\n");
	device_is_refused("'watchdog_s': 86401",
			  DEVICE ".watchdog_s: is 86401; must be a number of seconds from 0 (no watchdog) to 86400\n");
	device_is_refused("'watchdog_action': 'reset'",
			  DEVICE ".watchdog_action: is \"reset\"; must be \"restart\" or \"report\"\n");
	device_is_refused("'cpu_weight': 0", DEVICE ".cpu_weight: is 0; must be a number from 1 to 10000\n");
	device_is_refused("'cpu_max_percent': 4", DEVICE
			  ".cpu_max_percent: is 4; must be a number of percents of one processor from 5 to 10000\n");
	device_is_refused("'memory_max': 4194303",
			  DEVICE ".memory_max: is 4194303; must be a number of bytes from 4194304\n");
	/* A disabled device is checked for its form all the same. */
	device_is_refused("'status': 'disable', 'queues': 0", DEVICE ".queues: is 0; must be a number from 1 to 16\n");
}

static void test_blk_keys(void)
{
	enter_folder();
	is_refused(ZONE("{'type': 'blk', " WINDOW ", 'img': ''}"), DEVICE
		   ".img: is \"\"; must be the path of an image file or a block device, such as \"rootfs.ext4\"\n");
	device_is_refused("'serial': '123456789012345678901'", DEVICE
			  ".serial: is \"123456789012345678901\"; must be up to 20 printable ASCII characters\n");
	device_is_refused("'serial': '\\u001b[2J'",
			  DEVICE ".serial: is \"\\x1b[2J\"; must be up to 20 printable ASCII characters\n");
	device_is_refused("'serial': 12", DEVICE ".serial: is 12; must be up to 20 printable ASCII characters\n");
	device_is_refused("'cache': 'writethru'", DEVICE
			  ".cache: is \"writethru\"; must be \"writeback\", \"writethrough\" or \"none\"; did you mean "
			  "\"writethrough\"?\n");
	device_is_refused("'discard': 1", DEVICE ".discard: is 1; must be true or false\n");
	device_is_refused("'queues': 17", DEVICE ".queues: is 17; must be a number from 1 to 16\n");
	device_is_refused("'queue_size': 100", DEVICE ".queue_size: is 100; must be a power of two from 4 to 1024\n");
	device_is_refused("'queue_size': 2048", DEVICE ".queue_size: is 2048; must be a power of two from 4 to 1024\n");
	device_is_refused("'queue_size': 2", DEVICE ".queue_size: is 2; must be a power of two from 4 to 1024\n");
	device_is_refused("'logical_block_size': 513",
			  DEVICE ".logical_block_size: is 513; must be 512, 1024, 2048 or 4096\n");
	device_is_refused("'engine': 'uring'",
			  DEVICE ".engine: is \"uring\"; must be \"auto\", \"io_uring\" or \"preadv\"\n");
}

static void test_other_types(void)
{
	enter_folder();
	is_refused(ZONE("{'type': 'gpu', " WINDOW ", 'width': 0, 'height': 'high'}"),
		   DEVICE ".width: is 0; must be a number of pixels from 1 to 16384\n" DEVICE
			  ".height: is \"high\"; must be a number of pixels from 1 to 16384\n");
	is_refused(ZONE("{'type': 'scmi', " WINDOW ", 'clock_ids': 1, 'reset_ids': [0, true]}"),
		   DEVICE ".clock_ids: is 1; must be an array of numbers, such as [0, 1]\n" DEVICE
			  ".reset_ids[1]: is true; must be a number from 0\n");
}

static void number_is(const char *number, long long want)
{
	struct config config;
	char json[512];

	snprintf(json, sizeof(json), ZONE("{'type': 'blk', 'addr': %s, 'len': 512, 'irq': 1, 'img': 'a.img'}"), number);
	write_json(json);
	if (want >= 0) {
		read_good(&config);
		CHECK_INT(config.device[0].base, want);
		config_finish(&config);
	} else {
		char *text = complaints();

		CHECK_HAS(text, DEVICE ".addr: is ");
		free(text);
	}
}

static void test_numbers(void)
{
	enter_folder();
	number_is("0", 0);
	number_is("4096", 4096);
	number_is("4.096e3", 4096);
	number_is("'4096'", 4096);
	number_is("'0x1000'", 4096);
	number_is("'0X1aBc'", 0x1abc);
	number_is("9007199254740988", 9007199254740988);
	number_is("'0x7ffffffffffff000'", 0x7ffffffffffff000);
	number_is("2", -1);
	number_is("9007199254740992", -1);
	number_is("'18446744073709551616'", -1);
	number_is("'0x10000000000000000'", -1);
	number_is("'0xfffffffffffffffc'", -1); /* no room for a window behind it */
	number_is("-4096", -1);
	number_is("0.5", -1);
	number_is("''", -1);
	number_is("'0x'", -1);
	number_is("' 4096'", -1);
	number_is("'4096 '", -1);
	number_is("'+4096'", -1);
	number_is("'010'", -1);
	number_is("'0x1g'", -1);
	number_is("'1f'", -1);
	number_is("'\\u0660'", -1);
	number_is("[4096]", -1);
	number_is("null", -1);
}

static void test_windows(void)
{
	struct config config;

	enter_folder();
	is_refused(ZONE("{" BLK "}, {'type': 'console', 'addr': '0xa003b00', 'len': '0x104', 'irq': 79}"),
		   "c.json: zones[0].devices[1].len: is \"0x104\"; must be the length of the window, a multiple of 4 "
		   "from 0x200 "
		   "to 0x10000\n");
	is_refused(ZONE("{" BLK "}, {'type': 'console', 'addr': '0xa003b00', 'len': '0x200', 'irq': 78}"),
		   "c.json: zones[0].devices[1].addr: the window 0xa003b00-0xa003cff overlaps that of "
		   "zones[0].devices[0], "
		   "0xa003c00-0xa003dff; each device of a zone has its own\n"
		   "c.json: zones[0].devices[1].irq: 78 is the interrupt of zones[0].devices[0] too; each device of a "
		   "zone has "
		   "its own\n");
	is_refused(ZONE("{'type': 'rng', 'addr': '0x4ffffffc', 'len': '0x200', 'irq': 78}"),
		   DEVICE ".addr: the window 0x4ffffffc-0x500001fb lies in the zone's memory 0x50000000-0x7fffffff "
			  "(zones[0].memory_region[0]); a window is where there is no memory\n");
	/* Side by side, disabled, or in another zone they do not meet. */
	write_json("{'zones': [{'id': 1, " MEMORY ", 'devices': [{" BLK "},"
		   "{'type': 'rng', 'addr': '0xa003a00', 'len': '0x200', 'irq': 77},"
		   "{'type': 'rng', 'addr': '0x4ffffe00', 'len': '0x200', 'irq': 76},"
		   "{'type': 'rng', " WINDOW ", 'status': 'disable'}]},"
		   "{'id': 2, 'memory_region': [{'zone0_ipa': 0, 'zonex_ipa': '0x50000000', 'size': 4096}],"
		   "'devices': [{'type': 'rng', " WINDOW "}]}]}");
	read_good(&config);
	CHECK_INT(config.ndevices, 4);
	config_finish(&config);
}

#define MEMORY_IS(regions) "{'zones': [{'id': 1, 'memory_region': [" regions "], 'devices': []}]}"
#define REGION(zone0, zonex, size) "{'zone0_ipa': '" zone0 "', 'zonex_ipa': '" zonex "', 'size': '" size "'}"

static void test_memory(void)
{
	struct config config;

	enter_folder();
	is_refused(MEMORY_IS(""),
		   "c.json: zones[0].memory_region: is an empty array; must be an array of 1 to 16 memory regions\n");
	is_refused(MEMORY_IS(REGION("0x1000", "0x0", "0")), "c.json: zones[0].memory_region[0].size: is \"0\"; must be "
							    "the size of the memory in bytes, above 0 and a "
							    "multiple of 4096, such as \"0x30000000\"\n");
	is_refused(MEMORY_IS(REGION("0x1001", "0x800", "0x1200")),
		   "c.json: zones[0].memory_region[0].zone0_ipa: is \"0x1001\"; must be the address where root sees "
		   "the memory, "
		   "a multiple of 4096 such as \"0x50000000\"\n"
		   "c.json: zones[0].memory_region[0].zonex_ipa: is \"0x800\"; must be the address where the zone sees "
		   "the "
		   "memory, a multiple of 4096 such as \"0x50000000\"\n"
		   "c.json: zones[0].memory_region[0].size: is \"0x1200\"; must be the size of the memory in bytes, "
		   "above 0 and "
		   "a multiple of 4096, such as \"0x30000000\"\n");
	is_refused(MEMORY_IS(REGION("0x0", "0xfffffffffffff000", "0x2000")),
		   "c.json: zones[0].memory_region[0].size: is 0x2000, which goes past the end of all addresses\n");
	is_refused(MEMORY_IS(REGION("0x0", "0x0", "0x2000") "," REGION("0x1000", "0x10000", "0x1000")),
		   "c.json: zones[0].memory_region[1].zone0_ipa: 0x1000-0x1fff overlaps 0x0-0x1fff of "
		   "zones[0].memory_region[0]; memory of root belongs to one zone, once\n");
	is_refused(MEMORY_IS(REGION("0x0", "0x0", "0x2000") "," REGION("0x10000", "0x1000", "0x1000")),
		   "c.json: zones[0].memory_region[1].zonex_ipa: 0x1000-0x1fff overlaps 0x0-0x1fff of "
		   "zones[0].memory_region[0]; an address of the zone has one meaning\n");
	is_refused(
		"{'zones': [{'id': 1, " MEMORY ", 'devices': []}, {'id': 1, 'memory_region': ["
		"{'zone0_ipa': 0, 'zonex_ipa': 0, 'size': 4096}," REGION("0x5ffff000", "0x50000000",
									 "0x1000") "],"
										   "'devices': []}]}",
		"c.json: zones[1].id: 1 is the id of zones[0] too; put the devices of a zone together\n"
		"c.json: zones[1].memory_region[1].zone0_ipa: 0x5ffff000-0x5fffffff overlaps 0x50000000-0x7fffffff of "
		"zones[0].memory_region[0]; memory of root belongs to one zone, once\n");
	/* Adjoining regions, and the last page of all. */
	write_json(MEMORY_IS(REGION("0x0", "0x0", "0x2000") "," REGION("0x2000", "0x2000", "0x1000") "," REGION(
		"0xfffffffffffff000", "0xfffffffffffff000", "0x1000")));
	read_good(&config);
	CHECK_INT(config.zone[0].nmemory, 3);
	config_finish(&config);
}

static void test_images(void)
{
	char want[512];
	char *here = getcwd(NULL, 0);
	struct config config;

	free(here);
	enter_folder();
	here = realpath(".", NULL);
	CHECK(here);
#define IMAGE(name, keys) ZONE("{'type': 'blk', " WINDOW ", 'img': '" name "'" keys "}")
	snprintf(want, sizeof(want),
		 DEVICE
		 ".img: %s/none.img: No such file or directory; make the image, or start hvisor-launch in the folder "
		 "that it is in\n",
		 here);
	is_refused(IMAGE("none.img", ""), want);
	snprintf(want, sizeof(want), DEVICE ".img: %s/dir: is a directory; must be an image file or a block device\n",
		 here);
	is_refused(IMAGE("dir", ""), want);
	snprintf(want, sizeof(want),
		 DEVICE ".img: %s/fifo: is a pipe or a socket; must be an image file or a block device\n", here);
	is_refused(IMAGE("fifo", ""), want);
	is_refused(IMAGE("/dev/null", ""),
		   DEVICE ".img: /dev/null: is a character device; must be an image file or a block device\n");
	snprintf(want, sizeof(want), DEVICE ".img: %s/a.img/x: Not a directory\n", here);
	is_refused(IMAGE("a.img/x", ""), want);
	snprintf(want, sizeof(want),
		 DEVICE ".img: %s/empty.img: has 0 bytes; an image has at least one block of 512 bytes\n", here);
	is_refused(IMAGE("empty.img", ""), want);
	CHECK_INT(truncate("empty.img", 4095), 0);
	snprintf(want, sizeof(want),
		 DEVICE ".img: %s/empty.img: has 4095 bytes; an image has at least one block of 4096 bytes\n", here);
	is_refused(IMAGE("empty.img", ", 'logical_block_size': 4096"), want);
	free(here);
	/* Nobody looks for the image of a device that is disabled. */
	write_json(IMAGE("none.img", ", 'status': 'disable'"));
	read_good(&config);
	CHECK_INT(config.ndevices, 0);
	config_finish(&config);
}

/* As nobody: root may read and write everything. */
static void test_image_rights(void)
{
	char *text;

	enter_folder();
	write_json(IMAGE("a.img", ""));
	CHECK_INT(chmod(".", 0755), 0);
	CHECK_INT(chmod("c.json", 0644), 0);
	CHECK_INT(chmod("a.img", 0444), 0);
	if (getuid() == 0)
		CHECK_INT(seteuid(65534), 0);
	text = complaints();
	CHECK_HAS(text,
		  "a.img: Permission denied; it must be readable and writable, or the device \"readonly\": true\n");
	free(text);
	if (getuid() == 0)
		CHECK_INT(seteuid(0), 0);
	CHECK_INT(chmod("a.img", 0), 0);
	write_json(IMAGE("a.img", ", 'readonly': true"));
	if (getuid() == 0)
		CHECK_INT(seteuid(65534), 0);
	text = complaints();
	CHECK_HAS(text, "a.img: Permission denied; it must be readable\n");
	free(text);
	if (getuid() == 0)
		CHECK_INT(seteuid(0), 0);
}

#define TWO(one, two)                                                                                                  \
	ZONE("{'type': 'blk', 'addr': 0, 'len': 512, 'irq': 1, 'img': " one "},"                                       \
	     "{'type': 'blk', 'addr': 512, 'len': 512, 'irq': 2, 'img': " two "}")

static void test_shared_images(void)
{
	struct config config;

	enter_folder();
#define SHARED                                                                                                         \
	"c.json: zones[0].devices[1].img: is the image of blk0 (zones[0].devices[0]) too; an image that is written "   \
	"to has "                                                                                                      \
	"one device, give each its own or make both \"readonly\": true\n"
	is_refused(TWO("'a.img'", "'./a.img'"), SHARED);
	is_refused(TWO("'a.img'", "'link.img'"), SHARED);
	is_refused(TWO("'a.img', 'readonly': true", "'link.img'"), SHARED);
	is_refused(TWO("'a.img'", "'a.img', 'readonly': true"), SHARED);
	write_json(TWO("'a.img', 'readonly': true", "'link.img', 'readonly': true"));
	read_good(&config);
	CHECK_INT(config.ndevices, 2);
	config_finish(&config);
	write_json(TWO("'a.img'", "'a.img', 'status': 'disable'"));
	read_good(&config);
	CHECK_INT(config.ndevices, 1);
	config_finish(&config);
}

static void test_limits(void)
{
	char *json = malloc(1 << 20);
	struct config config;
	char *text;
	size_t at;
	int z;
	int i;

	enter_folder();
	CHECK(json);
	/* 31 zones with 256 devices in all, then one device more. */
	at = (size_t)sprintf(json, "{\"zones\":[");
	for (z = 1; z <= 31; z++) {
		at += (size_t)sprintf(
			json + at,
			"%s{\"id\":%d,\"memory_region\":[{\"zone0_ipa\":%d,\"zonex_ipa\":0,\"size\":4096}],"
			"\"devices\":[",
			z > 1 ? "," : "", z, z * 4096);
		for (i = 0; i < (z == 1 ? 256 - 30 * 8 : 8); i++)
			at += (size_t)sprintf(json + at, "%s{\"type\":\"rng\",\"addr\":%d,\"len\":512,\"irq\":%d}",
					      i ? "," : "", 4096 + i * 512, i + 1);
		at += (size_t)sprintf(json + at, "]}");
	}
	sprintf(json + at, "]}");
	write_json(json);
	read_good(&config);
	CHECK_INT(config.nzones, 31);
	CHECK_INT(config.ndevices, 256);
	config_finish(&config);
	at -= 2; /* "]}" of the last zone */
	sprintf(json + at, ",{\"type\":\"rng\",\"addr\":65536,\"len\":512,\"irq\":100}]}]}");
	write_json(json);
	text = complaints();
	CHECK_STR(text, "c.json: zones[30].devices[8]: is one device too many; there can be 256 in all\n");
	free(text);
	/* 32 zones; 17 memory regions. */
	at = (size_t)sprintf(json, "{\"zones\":[");
	for (z = 0; z < 32; z++)
		at += (size_t)sprintf(
			json + at,
			"%s{\"id\":%d,\"memory_region\":[{\"zone0_ipa\":%d,\"zonex_ipa\":0,\"size\":4096}],"
			"\"devices\":[]}",
			z ? "," : "", z + 1, z * 4096);
	sprintf(json + at, "]}");
	is_refused(json, "c.json: zones: has 32 elements; must be an array of 1 to 31 zones\n");
	at = (size_t)sprintf(json, "{\"zones\":[{\"id\":1,\"devices\":[],\"memory_region\":[");
	for (i = 0; i < 17; i++)
		at += (size_t)sprintf(json + at, "%s{\"zone0_ipa\":%d,\"zonex_ipa\":%d,\"size\":4096}", i ? "," : "",
				      i * 4096, i * 4096);
	sprintf(json + at, "]}]}");
	is_refused(json,
		   "c.json: zones[0].memory_region: has 17 elements; must be an array of 1 to 16 memory regions\n");
	free(json);
}

static void test_nearest(void)
{
	static const char *const words[] = {"readonly", "img", "queues", "queue_size"};

	CHECK_STR(config_nearest("readonyl", words, 4), "readonly");
	CHECK_STR(config_nearest("read_only", words, 4), "readonly");
	CHECK_STR(config_nearest("image", words, 4) ? config_nearest("image", words, 4) : "none", "none");
	CHECK_STR(config_nearest("queue", words, 4), "queues");
	CHECK_STR(config_nearest("queuesize", words, 4), "queue_size");
	CHECK_STR(config_nearest("im", words, 4), "img");
	CHECK(!config_nearest("", words, 4));
	CHECK(!config_nearest("zzzzzz", words, 4));
	CHECK(!config_nearest("readonlyreadonlyreadonlyreadonlyreadonlyreadonly", words, 4));
	CHECK(!config_nearest("img", words, 0));
}

/* Each key that a complaint lists is in the manual page, which is found from the folder that the tests are run in. */
static void test_manual(void)
{
	static char manual[65536];
	int fd = open("docs/virtio_cfg.json.5", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, manual, sizeof(manual) - 1) : -1;
	unsigned int nkeys = 0;
	char *text;
	char *list;
	char *rest;

	CHECK(n > 0);
	close(fd);
	enter_folder();
	write_json("{'zones': [{'id': 1, 'qqqqqqqqqqqq': 1, 'memory_region': [{'qqqqqqqqqqqq': 1}],"
		   "'devices': [{'type': 'x', 'qqqqqqqqqqqq': 1}]}], 'qqqqqqqqqqqq': 1}");
	text = complaints();
	for (list = strstr(text, "the keys are "); list; list = strstr(rest, "the keys are ")) {
		char *end = strchr(list, '\n');
		char *key;
		char *save;

		CHECK(end);
		*end = 0;
		rest = end + 1;
		for (key = strtok_r(list + strlen("the keys are "), ", ", &save); key;
		     key = strtok_r(NULL, ", ", &save)) {
			char macro[64];

			/* The second of a pair stands behind a comma. */
			snprintf(macro, sizeof(macro), "Cm %s", key);
			if (!strstr(manual, macro)) {
				snprintf(macro, sizeof(macro), ", %s", key);
				CHECK_HAS(manual, macro);
			}
			nkeys++;
		}
	}
	CHECK_INT(nkeys, 4 + 4 + 3 + 43);
	free(text);
}

/* Bytes changed, cut, doubled and swapped for words that matter: an answer each time, no crash, nothing left behind. */
static size_t mutate(char *text, size_t len, size_t size)
{
	static const char *const word[] = {"{",
					   "}",
					   "[",
					   "]",
					   ",",
					   ":",
					   "\"",
					   "\\u0000",
					   "1e400",
					   "-1",
					   "null",
					   "\"0x\"",
					   "18446744073709551615",
					   "\"id\":",
					   "\xff",
					   "\xc2\x9b",
					   "{\"type\":\"blk\"}"};
	unsigned int n = (unsigned int)test_random_below(4) + 1;

	while (n--) {
		size_t at = test_random_below(len + 1);
		size_t count = test_random_below(len - at + 1);
		const char *w = word[test_random_below(sizeof(word) / sizeof(word[0]))];

		switch (test_random_below(5)) {
		case 0:
			if (at < len)
				text[at] = (char)test_random();
			break;
		case 1:
			memmove(text + at, text + at + count, len - at - count);
			len -= count;
			break;
		case 2:
			if (len + count <= size) {
				memmove(text + at + count, text + at, len - at);
				len += count;
			}
			break;
		default:
			if (len + strlen(w) <= size) {
				memmove(text + at + strlen(w), text + at, len - at);
				memcpy(text + at, w, strlen(w));
				len += strlen(w);
			}
			break;
		}
	}
	return len;
}

static void test_mutations(void)
{
	static const char *const seeds[] = {
		ALL_KEYS,
		"{'zones': [{'id': 1, " UPSTREAM_MEMORY ", 'devices': [" UPSTREAM_DEVICES "]}]}",
		TWO("'a.img'", "'b.img'"),
	};
	char text[8192];
	char path[64];
	unsigned int accepted = 0;
	unsigned int i;
	int fd = memfd_create("c.json", MFD_CLOEXEC); /* much quicker than a file that a disk is behind */

	CHECK(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	enter_folder();
	for (i = 0; i < 100000; i++) {
		const char *seed = seeds[i % 3];
		size_t len = strlen(seed);
		struct config config;
		struct errors errors;
		size_t k;

		for (k = 0; k < len; k++)
			text[k] = seed[k] == '\'' ? '"' : seed[k];
		len = mutate(text, len, sizeof(text));
		CHECK_INT(ftruncate(fd, 0), 0);
		CHECK_INT(pwrite(fd, text, len, 0), len);
		errors_init(&errors);
		if (config_read(&config, path, &errors) == 0) {
			CHECK_INT(errors.count, 0);
			config_finish(&config);
			accepted++;
		} else {
			CHECK(errors.count > 0);
			CHECK_HAS(errors.line[0], path);
		}
		errors_finish(&errors);
	}
	/* Some change nothing that matters; were it none, the seeds would be wrong. */
	CHECK(accepted > 0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"config_defaults", test_defaults, 0},
		{"config_all_keys", test_all_keys, 0},
		{"config_words", test_words, 0},
		{"config_rng", test_rng, 0},
		{"config_upstream_form", test_upstream_form, 0},
		{"config_names", test_names, 0},
		{"config_syntax", test_syntax, 0},
		{"config_hostile_files", test_hostile_files, 0},
		{"config_wrong_shape", test_wrong_shape, 0},
		{"config_device_keys", test_device_keys, 0},
		{"config_blk_keys", test_blk_keys, 0},
		{"config_other_types", test_other_types, 0},
		{"config_numbers", test_numbers, 0},
		{"config_windows", test_windows, 0},
		{"config_memory", test_memory, 0},
		{"config_images", test_images, 0},
		{"config_image_rights", test_image_rights, 0},
		{"config_shared_images", test_shared_images, 0},
		{"config_limits", test_limits, 0},
		{"config_nearest", test_nearest, 0},
		{"config_manual", test_manual, 0},
		{"config_mutations", test_mutations, 0},
		/* Only where the files are: this line is left out of the table elsewhere. */
		{"config_upstream_files", test_upstream_files, 0},
	};
	size_t n = sizeof(tests) / sizeof(tests[0]);

	return test_main(argc, argv, tests, access("../shared/upstream-examples", R_OK) == 0 ? n : n - 1);
}
