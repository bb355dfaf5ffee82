/* SPDX-License-Identifier: MIT */
/* The keys of net devices, their interfaces and addresses. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/net.h"
#include "config_reader.h"

#define MTU_MIN 68u /* virtio 1.2, 5.1.4.1: what IPv4 asks of every link */
#define MTU_MAX 65521u /* of a tap in Linux: 65535 less the Ethernet header */
#define RATE_MIN 1000u
#define RATE_MAX 1000000000000u

#define MACHINE_ID "/etc/machine-id"

/* As the kernel has them (dev_valid_name()), without % which stands for a number there, and without what no terminal
 * shows. */
static bool interface_valid(const char *name)
{
	size_t i;

	for (i = 0; name[i]; i++) {
		if (name[i] <= ' ' || name[i] > '~' || strchr("/:%", name[i]))
			return false;
	}
	return i > 0 && i < CONFIG_INTERFACE_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void read_interface(struct config_reader *reader, const char *place, const struct config_key *key,
			   const cJSON *value, void *out)
{
	if (cJSON_IsString(value) && interface_valid(value->valuestring))
		strcpy(out, value->valuestring);
	else
		config_complain_value(reader, place, key, value);
}

static void read_mac(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		     void *out)
{
	static const uint8_t zero[6];
	struct config_key element = {.must = "a byte, from 0 to 255 or \"0x00\" to \"0xff\""};
	const cJSON *item;
	uint8_t mac[6];
	uint64_t byte;
	char name[16];
	int n = 0;

	if (!cJSON_IsArray(value)) {
		config_complain_value(reader, place, key, value);
		return;
	}
	if (cJSON_GetArraySize(value) != sizeof(mac)) {
		config_complain(reader, place, key->name, "has %d bytes; must be %s", cJSON_GetArraySize(value),
				key->must);
		return;
	}
	cJSON_ArrayForEach(item, value)
	{
		if (!config_number(item, 0, 0xff, &byte)) {
			snprintf(name, sizeof(name), "%s[%d]", key->name, n);
			element.name = name;
			config_complain_value(reader, place, &element, item);
			return;
		}
		mac[n++] = (uint8_t)byte;
	}
	if (mac[0] & 1)
		config_complain(reader, place, key->name, "is a multicast address; the first byte must be even");
	else if (memcmp(mac, zero, sizeof(mac)) == 0)
		config_complain(reader, place, key->name,
				"is all zeroes, which is no address; leave the key out for one that is made up");
	else
		memcpy(out, mac, sizeof(mac));
}

struct rate {
	uint64_t rx;
	uint64_t tx;
};

static void read_rate(struct config_reader *reader, const char *place, const struct config_key *key, const cJSON *value,
		      void *out)
{
	uint64_t number;

	if (config_number(value, 0, key->max, &number) && (number == 0 || number >= key->min))
		*(uint64_t *)out = number;
	else
		config_complain_value(reader, place, key, value);
}

#define RATE_MUST "0 (no limit) or a number of bytes per second from 1000 to 1000000000000"

static const struct config_key rate_keys[] = {
	{.name = "rx",
	 .must = RATE_MUST,
	 .read = read_rate,
	 .offset = offsetof(struct rate, rx),
	 .min = RATE_MIN,
	 .max = RATE_MAX},
	{.name = "tx",
	 .must = RATE_MUST,
	 .read = read_rate,
	 .offset = offsetof(struct rate, tx),
	 .min = RATE_MIN,
	 .max = RATE_MAX},
};

/* One number for both directions, or an object of two. */
static void read_rates(struct config_reader *reader, const char *place, const struct config_key *key,
		       const cJSON *value, void *out)
{
	static const struct config_keys keys = CONFIG_KEYS(rate_keys);
	struct config_net *net = out;
	struct rate rate = {0};
	char inner[CONFIG_PLACE_MAX + 8];

	if (cJSON_IsObject(value)) {
		snprintf(inner, sizeof(inner), "%s.%s", place, key->name);
		config_read_object(reader, inner, "rates", value, &keys, 1, &rate);
	} else {
		read_rate(reader, place, key, value, &rate.rx);
		rate.tx = rate.rx;
	}
	net->rate_rx = rate.rx;
	net->rate_tx = rate.tx;
}

#define AT(field) offsetof(struct config_entry, device.net.field)

static const struct config_key keys[] = {
	{.name = "tap",
	 .must = "the name of a network interface, such as \"tap0\", of up to 15 characters without blanks and / : %",
	 .read = read_interface,
	 .offset = AT(tap),
	 .required = true},
	{.name = "mac",
	 .must = "an array of six bytes, such as [\"0x02\", 0, 0, 0, 1, 1]",
	 .read = read_mac,
	 .offset = AT(mac)},
	{.name = "bridge",
	 .must = "the name of a bridge, such as \"br0\", of up to 15 characters without blanks and / : %",
	 .read = read_interface,
	 .offset = AT(bridge)},
	{.name = "mtu",
	 .must = "a number of bytes from 68 to 65521",
	 .read = config_read_u32,
	 .offset = AT(mtu),
	 .min = MTU_MIN,
	 .max = MTU_MAX},
	{.name = "queues",
	 .must = "a number of queue pairs from 1 to 8",
	 .read = config_read_u32,
	 .offset = AT(queues),
	 .min = 1,
	 .max = NET_QUEUE_PAIRS_MAX},
	{.name = "queue_size",
	 .must = "a power of two from 4 to 1024",
	 .read = config_read_power_of_two,
	 .offset = AT(queue_size),
	 .min = 4,
	 .max = 1024},
	{.name = "create", .must = "true or false", .read = config_read_bool, .offset = AT(create)},
	{.name = "rate",
	 .must = RATE_MUST ", or an object of two such with the keys rx and tx",
	 .read = read_rates,
	 .offset = offsetof(struct config_entry, device.net),
	 .min = RATE_MIN,
	 .max = RATE_MAX},
};

const struct config_keys config_net_keys = CONFIG_KEYS(keys);

void config_net_init(struct config_net *net)
{
	*net = (struct config_net){.queues = 1, .queue_size = 256, .create = true};
}

/* FNV-1a, whose constants these are. */
static uint64_t hash(uint64_t sum, const void *bytes, size_t len)
{
	const uint8_t *byte = bytes;
	size_t i;

	for (i = 0; i < len; i++)
		sum = (sum ^ byte[i]) * 0x100000001b3;
	return sum;
}

static uint64_t hash_of_machine(void)
{
	int fd = open(MACHINE_ID, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	char id[64];

	if (fd >= 0) {
		n = read(fd, id, sizeof(id));
		close(fd);
	}
	return hash(0xcbf29ce484222325, id, n > 0 ? (size_t)n : 0);
}

/* A locally administered address that a device keeps as long as it is where it is, and that no other machine has. */
static void make_mac(uint8_t mac[6], uint64_t sum, uint32_t zone, uint64_t base)
{
	size_t i;

	sum = hash(sum, &zone, sizeof(zone));
	sum = hash(sum, &base, sizeof(base));
	mac[0] = 0x02;
	for (i = 1; i < 6; i++)
		mac[i] = (uint8_t)(sum >> 8 * i);
}

static bool is_net(const struct config_entry *entry)
{
	return entry->enabled && entry->type_known && entry->device.type == CONFIG_NET;
}

static bool mac_given(const struct config_net *net)
{
	static const uint8_t none[6];

	return memcmp(net->mac, none, sizeof(none)) != 0;
}

static void make_macs(struct config_reader *reader)
{
	uint64_t sum = hash_of_machine();
	uint32_t i;

	for (i = 0; i < reader->nentries; i++) {
		struct config_device *device = &reader->entry[i].device;

		if (is_net(&reader->entry[i]) && !mac_given(&device->net))
			make_mac(device->net.mac, sum, reader->zone[reader->entry[i].zone_index].zone.id, device->base);
	}
}

/* One device against one before it. */
static void check_pair(struct config_reader *reader, const struct config_device *device,
		       const struct config_device *other)
{
	const struct config_net *net = &device->net;
	char mac[CONFIG_MAC_MAX];

	if (net->tap[0] && strcmp(net->tap, other->net.tap) == 0)
		config_complain(reader, device->place, "tap", "%s is the tap of %s (%s) too; give each its own",
				net->tap, other->name, other->place);
	if (mac_given(net) && memcmp(net->mac, other->net.mac, sizeof(net->mac)) == 0)
		config_complain(reader, device->place, "mac", "%s is the address of %s (%s) too; give each its own",
				config_mac_text(mac, net->mac), other->name, other->place);
}

void config_net_check(struct config_reader *reader)
{
	uint32_t i;
	uint32_t k;

	for (i = 0; i < reader->nentries; i++) {
		const struct config_device *device = &reader->entry[i].device;

		if (!is_net(&reader->entry[i]))
			continue;
		if (device->net.tap[0] && strcmp(device->net.tap, device->net.bridge) == 0)
			config_complain(reader, device->place, "bridge",
					"is the tap itself; name the bridge it is to join");
		for (k = 0; k < i; k++) {
			if (is_net(&reader->entry[k]))
				check_pair(reader, device, &reader->entry[k].device);
		}
	}
	make_macs(reader);
}
