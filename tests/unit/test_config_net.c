/* SPDX-License-Identifier: MIT */
/* The keys of net devices: what they mean, and every complaint about them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/config.h"
#include "tests/test.h"
#include "tests/unit/launcher_run.h"

#define PLACE "c.json: zones[0].devices[0]"
#define NAME_MUST "; must be the name of a network interface, such as \"tap0\", of up to 15 characters without blanks "
#define MAC_MUST "; must be an array of six bytes, such as [\"0x02\", 0, 0, 0, 1, 1]\n"
#define RATE_MUST "; must be 0 (no limit) or a number of bytes per second from 1000 to 1000000000000"

/* Reads zone 1 with two net devices, each with its keys, ' for "; the second may be NULL. The complaints, a line each.
 */
static char *read_pair(struct config *config, const char *first, const char *second)
{
	char json[2048];
	char *text = NULL;
	size_t len = 0;
	struct errors errors;
	FILE *file = open_memstream(&text, &len);
	char *quote;

	CHECK(file);
	snprintf(json, sizeof(json),
		 "{'zones': [{'id': 1, 'memory_region': [{'zone0_ipa': '0x50000000', 'zonex_ipa': '0x50000000', 'size':"
		 "'0x30000000'}], 'devices': [{'type': 'net', 'addr': '0xa003600', 'len': 512, 'irq': 75%s%s}"
		 "%s%s%s]}]}",
		 first[0] ? ", " : "", first,
		 second ? ", {'type': 'net', 'addr': '0xa003800', 'len': 512, 'irq': 76, " : "", second ? second : "",
		 second ? "}" : "");
	while ((quote = strchr(json, '\'')))
		*quote = '"';
	launcher_write("c.json", json);
	errors_init(&errors);
	if (config_read(config, "c.json", &errors) == 0)
		CHECK_INT(errors.count, 0);
	errors_print(&errors, file, "");
	errors_finish(&errors);
	fclose(file);
	return text;
}

static void read_good(struct config *config, const char *first, const char *second)
{
	char *text = read_pair(config, first, second);

	CHECK_STR(text, "");
	free(text);
	CHECK_INT(config->ndevices, second ? 2 : 1);
}

static void refused_pair(const char *first, const char *second, const char *lines)
{
	struct config config;
	char *text = read_pair(&config, first, second);

	CHECK_STR(text, lines);
	free(text);
}

static void refused(const char *keys, const char *lines)
{
	refused_pair(keys, NULL, lines);
}

static void test_defaults(void)
{
	static const uint8_t none[6];
	struct config config;
	struct config again;
	const struct config_net *net;

	launcher_enter_folder();
	read_good(&config, "'tap': 'tap0'", "'tap': 'tap1'");
	net = &config.device[0].net;
	CHECK_STR(config.device[0].name, "net0");
	CHECK_INT(config.device[0].type, CONFIG_NET);
	CHECK_STR(net->tap, "tap0");
	CHECK_STR(net->bridge, "");
	CHECK_INT(net->mtu, 0);
	CHECK_INT(net->queues, 1);
	CHECK_INT(net->queue_size, 256);
	CHECK(net->create);
	CHECK_INT(net->rate_rx, 0);
	CHECK_INT(net->rate_tx, 0);
	/* Addresses that are made up: local, each its own, and the same the next time. */
	CHECK_INT(net->mac[0], 2);
	CHECK(memcmp(net->mac, none, 6) != 0 && memcmp(net->mac, config.device[1].net.mac, 6) != 0);
	read_good(&again, "'tap': 'other'", NULL);
	CHECK_MEM(again.device[0].net.mac, net->mac, 6);
	config_finish(&again);
	config_finish(&config);
}

static void test_all_keys(void)
{
	static const uint8_t mac[] = {0, 0x16, 0x3e, 0x10, 0x10, 0xff};
	const struct config_net *net;
	struct config config;
	char text[CONFIG_MAC_MAX];

	launcher_enter_folder();
	read_good(
		&config,
		"'tap': 'a.b-c_d12345678', 'mac': ['0x00', '0x16', '0x3e', 16, '16', 255], 'bridge': 'br0', 'mtu': "
		"'9000', 'queues': 8, 'queue_size': 1024, 'create': false, 'rate': {'rx': 1000, 'tx': '0xe8d4a51000'}",
		NULL);
	net = &config.device[0].net;
	CHECK_STR(net->tap, "a.b-c_d12345678");
	CHECK_MEM(net->mac, mac, 6);
	CHECK_STR(config_mac_text(text, net->mac), "00:16:3e:10:10:ff");
	CHECK_STR(net->bridge, "br0");
	CHECK_INT(net->mtu, 9000);
	CHECK_INT(net->queues, 8);
	CHECK_INT(net->queue_size, 1024);
	CHECK(!net->create);
	CHECK_INT(net->rate_rx, 1000);
	CHECK_INT(net->rate_tx, 1000000000000);
	config_finish(&config);
	read_good(&config, "'tap': 't', 'mtu': 68, 'queue_size': 4, 'rate': 5000", NULL);
	CHECK_INT(config.device[0].net.mtu, 68);
	CHECK_INT(config.device[0].net.rate_rx, 5000);
	CHECK_INT(config.device[0].net.rate_tx, 5000);
	config_finish(&config);
	read_good(&config, "'tap': 't', 'mtu': 65521, 'rate': {'tx': 5000}", NULL);
	CHECK_INT(config.device[0].net.mtu, 65521);
	CHECK_INT(config.device[0].net.rate_rx, 0);
	CHECK_INT(config.device[0].net.rate_tx, 5000);
	config_finish(&config);
}

static void test_names(void)
{
	static const char *const bad[] = {"",   "a b",   "a/b",     "a:b",      "tap%d",           ".",
					  "..", "a\\tb", "\\u00e4", "a\\u007f", "1234567890123456"};
	struct config config;
	char keys[64];
	size_t i;
	char *text;

	launcher_enter_folder();
	refused("'tap': 'a/b'", PLACE ".tap: is \"a/b\"" NAME_MUST "and / : %\n");
	refused("'tap': 7", PLACE ".tap: is 7" NAME_MUST "and / : %\n");
	refused("", PLACE ".tap: is missing" NAME_MUST "and / : %\n");
	refused("'tap': 't', 'bridge': 'b b'", PLACE
		".bridge: is \"b b\"; must be the name of a bridge, such as \"br0\", of up to 15 characters without "
		"blanks and / : %\n");
	refused("'tap': 't', 'bridge': 't'", PLACE ".bridge: is the tap itself; name the bridge it is to join\n");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(keys, sizeof(keys), "'tap': '%s'", bad[i]);
		text = read_pair(&config, keys, NULL);
		CHECK_HAS(text, NAME_MUST);
		free(text);
	}
}

static void test_macs(void)
{
	launcher_enter_folder();
	refused("'tap': 't', 'mac': '02:00:00:00:01:01'", PLACE ".mac: is \"02:00:00:00:01:01\"" MAC_MUST);
	refused("'tap': 't', 'mac': [0, 1, 2]", PLACE ".mac: has 3 bytes" MAC_MUST);
	refused("'tap': 't', 'mac': [0, 1, 2, 3, 4, 5, 6]", PLACE ".mac: has 7 bytes" MAC_MUST);
	refused("'tap': 't', 'mac': [0, 1, 2, 3, 4, '0x100']",
		PLACE ".mac[5]: is \"0x100\"; must be a byte, from 0 to 255 or \"0x00\" to \"0xff\"\n");
	refused("'tap': 't', 'mac': [1, 0, 0, 0, 0, 0]",
		PLACE ".mac: is a multicast address; the first byte must be even\n");
	refused("'tap': 't', 'mac': [0, 0, 0, 0, 0, 0]",
		PLACE ".mac: is all zeroes, which is no address; leave the key out for one that is made up\n");
}

static void test_numbers(void)
{
	launcher_enter_folder();
	refused("'tap': 't', 'mtu': 67", PLACE ".mtu: is 67; must be a number of bytes from 68 to 65521\n");
	refused("'tap': 't', 'mtu': 65522", PLACE ".mtu: is 65522; must be a number of bytes from 68 to 65521\n");
	refused("'tap': 't', 'queues': 0", PLACE ".queues: is 0; must be a number of queue pairs from 1 to 8\n");
	refused("'tap': 't', 'queues': 9", PLACE ".queues: is 9; must be a number of queue pairs from 1 to 8\n");
	refused("'tap': 't', 'queue_size': 96", PLACE ".queue_size: is 96; must be a power of two from 4 to 1024\n");
	refused("'tap': 't', 'create': 1", PLACE ".create: is 1; must be true or false\n");
	refused("'tap': 't', 'rate': 999",
		PLACE ".rate: is 999" RATE_MUST ", or an object of two such with the keys rx and tx\n");
	refused("'tap': 't', 'rate': 'fast'",
		PLACE ".rate: is \"fast\"" RATE_MUST ", or an object of two such with the keys rx and tx\n");
	refused("'tap': 't', 'rate': {'rx': 1000000000001, 'tx': -1}",
		PLACE ".rate.rx: is 1000000000001" RATE_MUST "\n" PLACE ".rate.tx: is -1" RATE_MUST "\n");
	refused("'tap': 't', 'rate': {'up': 1}", PLACE ".rate.up: is not a key of rates; the keys are rx, tx\n");
	refused("'tap': 't', 'img': 'a'",
		PLACE ".img: is not a key of net devices; the keys are type, addr, len, irq, status, name, poll_us, "
		      "log_level, restart_limit, restart_window_s, restart_delay_ms, restart_delay_max_ms, watchdog_s, "
		      "watchdog_action, cpu_weight, cpu_max_percent, memory_max, tap, mac, "
		      "bridge, mtu, queues, queue_size, create, rate\n");
}

static void test_pairs(void)
{
	struct config config;

	launcher_enter_folder();
	refused_pair("'tap': 't'", "'tap': 't'",
		     "c.json: zones[0].devices[1].tap: t is the tap of net0 (zones[0].devices[0]) too; give each its "
		     "own\n");
	refused_pair("'tap': 't', 'mac': [2, 0, 0, 0, 0, 1]", "'tap': 'u', 'mac': ['0x2', 0, 0, 0, 0, 1]",
		     "c.json: zones[0].devices[1].mac: 02:00:00:00:00:01 is the address of net0 (zones[0].devices[0]) "
		     "too; give each its own\n");
	/* A disabled device has neither. */
	read_good(&config, "'tap': 't', 'mac': [2, 0, 0, 0, 0, 1]", "'tap': 'u'");
	config_finish(&config);
	free(read_pair(&config, "'tap': 't', 'mac': [2, 0, 0, 0, 0, 1]",
		       "'tap': 't', 'mac': [2, 0, 0, 0, 0, 1], 'status': 'disable'"));
	CHECK_INT(config.ndevices, 1);
	config_finish(&config);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"config_net_defaults", test_defaults, 0}, {"config_net_all_keys", test_all_keys, 0},
		{"config_net_names", test_names, 0},       {"config_net_macs", test_macs, 0},
		{"config_net_numbers", test_numbers, 0},   {"config_net_pairs", test_pairs, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
