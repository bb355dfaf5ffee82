/* SPDX-License-Identifier: MIT */
/* The keys of consoles and their ports: what they are read as, and every complaint about them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/config.h"
#include "tests/test.h"

#define DEVICE "c.json: zones[0].devices[0]"

static char folder[64];

/* Writes c.json: consoles with these keys, a ' for each ". */
static void write_consoles(const char *const *keys, uint32_t n)
{
	FILE *file = fopen("c.json", "we");
	const char *at;
	uint32_t i;

	CHECK(file);
	fprintf(file, "{\"zones\": [{\"id\": 1, \"memory_region\": [{\"zone0_ipa\": 4096, \"zonex_ipa\": 4096, "
		      "\"size\": 4096}], \"devices\": [");
	for (i = 0; i < n; i++) {
		fprintf(file, "%s{\"type\": \"console\", \"addr\": %u, \"len\": 512, \"irq\": %u", i ? ", " : "",
			0x100000 + 4096 * i, 70 + i);
		if (keys[i][0])
			fprintf(file, ", ");
		for (at = keys[i]; *at; at++)
			fputc(*at == '\'' ? '"' : *at, file);
		fputc('}', file);
	}
	fprintf(file, "]}]}\n");
	CHECK_INT(fclose(file), 0);
}

static void read_two(struct config *config, const char *one, const char *two)
{
	const char *const keys[] = {one, two};
	struct errors errors;

	errors_init(&errors);
	write_consoles(keys, two ? 2 : 1);
	if (config_read(config, "c.json", &errors) < 0) {
		errors_print(&errors, stderr, "");
		TEST_FAIL("%s is refused", one);
	}
	errors_finish(&errors);
}

/* All complaints, each with a newline. */
static void is_refused(const char *one, const char *two, const char *want)
{
	const char *const keys[] = {one, two};
	char got[4096] = "";
	struct config config;
	struct errors errors;
	size_t i;

	errors_init(&errors);
	write_consoles(keys, two ? 2 : 1);
	CHECK_INT(config_read(&config, "c.json", &errors), -1);
	for (i = 0; i < errors.count; i++) {
		strcat(got, errors.line[i]);
		strcat(got, "\n");
	}
	CHECK_STR(got, want);
	errors_finish(&errors);
}

static void enter_folder(void)
{
	strcpy(folder, "/tmp/test_config_console.XXXXXX");
	CHECK(mkdtemp(folder));
	CHECK_INT(chdir(folder), 0);
}

static void leave_folder(void)
{
	unlink("c.json");
	CHECK_INT(rmdir(folder), 0);
}

static void test_single(void)
{
	struct config config;
	char path[128];

	enter_folder();
	read_two(&config, "", "'backend': 'socket', 'output_log': true, 'columns': 132, 'rows': '0x32'");
	CHECK_INT(config.device[0].console.nports, 1);
	CHECK_INT(config.device[0].console.listed, false);
	CHECK_INT(config.device[0].console.port[0].endpoint, CONFIG_ENDPOINT_PTY);
	CHECK_INT(config.device[0].console.port[0].console, true);
	CHECK_INT(config.device[1].console.port[0].endpoint, CONFIG_ENDPOINT_SOCKET);
	CHECK_STR(config.device[1].console.port[0].path, "");
	CHECK_INT(config.device[1].console.port[0].output_log, true);
	CHECK_INT(config.device[1].console.cols, 132);
	CHECK_INT(config.device[1].console.rows, 50);
	config_finish(&config);
	read_two(&config, "'backend': 'file', 'path': 'out.txt'", "'backend': 'stdio'");
	snprintf(path, sizeof(path), "%s/out.txt", folder);
	CHECK_STR(config.device[0].console.port[0].path, path);
	CHECK_INT(config.device[0].console.port[0].endpoint, CONFIG_ENDPOINT_FILE);
	CHECK_INT(config.device[1].console.port[0].endpoint, CONFIG_ENDPOINT_STDIO);
	config_finish(&config);
	leave_folder();
}

static void test_ports(void)
{
	struct config config;
	const struct config_console *console;

	enter_folder();
	read_two(&config,
		 "'ports': [{}, {'name': 'org.qemu.guest_agent.0', 'backend': 'socket', 'path': '/run/agent'}, "
		 "{'console': true, 'output_log': true}]",
		 "'ports': [{'console': false}]");
	console = &config.device[0].console;
	CHECK_INT(console->nports, 3);
	CHECK_INT(console->listed, true);
	CHECK_INT(console->port[0].console, true);
	CHECK_STR(console->port[0].name, "");
	CHECK_STR(console->port[1].name, "org.qemu.guest_agent.0");
	CHECK_STR(console->port[1].path, "/run/agent");
	CHECK_INT(console->port[1].console, false);
	CHECK_INT(console->port[2].console, true);
	CHECK_INT(console->port[2].output_log, true);
	CHECK_INT(config.device[1].console.nports, 1);
	CHECK_INT(config.device[1].console.listed, true);
	CHECK_INT(config.device[1].console.port[0].console, false);
	config_finish(&config);
	leave_folder();
}

static void test_complaints(void)
{
	char path[700];
	char keys[800];
	char want[1024];

	enter_folder();
	is_refused(
		"'backend': 'ptty'", NULL,
		DEVICE
		".backend: is \"ptty\"; must be \"pty\", \"socket\", \"file\" or \"stdio\"; did you mean \"pty\"?\n");
	is_refused("'output_log': 'yes'", NULL, DEVICE ".output_log: is \"yes\"; must be true or false\n");
	is_refused("'backend': 'file'", NULL, DEVICE ".path: is missing; must be that of the file to write\n");
	is_refused("'backend': 'file', 'path': ''", NULL,
		   DEVICE ".path: is \"\"; must be the path of a socket or a file\n" DEVICE
			  ".path: is missing; must be that of the file to write\n");
	is_refused("'path': '/x'", NULL,
		   DEVICE ".path: is of no use with the backend \"pty\"; a socket or a file has one\n");
	is_refused("'backend': 'stdio', 'path': '/x'", "'backend': 'stdio'",
		   DEVICE
		   ".path: is of no use with the backend \"stdio\"; a socket or a file has one\n"
		   "c.json: zones[0].devices[1].backend: is \"stdio\", as one of console0 (zones[0].devices[0]) is; "
		   "the launcher has one terminal\n");
	is_refused("'backend': 'socket', 'path': '/x'", "'ports': [{}, {'backend': 'file', 'path': '/x'}]",
		   "c.json: zones[0].devices[1].ports[1].path: is one of console0 (zones[0].devices[0]) too; give each "
		   "its "
		   "own\n");
	is_refused("'columns': 0, 'rows': 1001", NULL,
		   DEVICE ".columns: is 0; must be a number from 1 to 1000\n" DEVICE
			  ".rows: is 1001; must be a number from 1 to 1000\n");
	is_refused("'ports': []", NULL, DEVICE ".ports: is an empty array; must be an array of 1 to 8 ports\n");
	is_refused("'ports': [{}, {}, {}, {}, {}, {}, {}, {}, {}]", NULL,
		   DEVICE ".ports: has 9 elements; must be an array of 1 to 8 ports\n");
	is_refused("'ports': [{'name': 'a/b'}, {'names': 'x'}, {'console': 1}]", NULL,
		   DEVICE
		   ".ports[0].name: is \"a/b\"; must be a name of up to 63 printable ASCII characters without blanks "
		   "and /\n" DEVICE ".ports[1].names: is not a key of ports; did you mean \"name\"?\n" DEVICE
		   ".ports[2].console: is 1; must be true or false\n");
	is_refused("'ports': [{}], 'backend': 'socket'", NULL,
		   DEVICE
		   ".ports: is given beside keys of a single port; put backend, path and output_log into the port "
		   "that they are of\n");
	is_refused("'name': 'lock'", NULL,
		   DEVICE ".name: is \"lock\", which the run folder has a file of; a console needs another one\n");
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[108] = 0;
	snprintf(keys, sizeof(keys), "'backend': 'socket', 'path': '%s'", path);
	is_refused(keys, NULL, DEVICE ".path: has 108 bytes from / on; that of a socket has at most 107\n");
	path[108] = 'x';
	path[600] = 0;
	snprintf(keys, sizeof(keys), "'backend': 'file', 'path': '%s'", path);
	snprintf(want, sizeof(want), DEVICE ".path: has 600 bytes from / on; must have at most 511\n");
	is_refused(keys, NULL, want);
	leave_folder();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"config_console_single", test_single, 0},
		{"config_console_ports", test_ports, 0},
		{"config_console_complaints", test_complaints, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
