/* SPDX-License-Identifier: MIT */
/* Attacks by what a device type's requests say: sectors and types, frames and commands, ports, entropy. */
#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>

#include "common/vmmio.h"
#include "tests/sim/attack.h"

/* Disks */

#define DISK_SEGMENTS 200u /* seg_max is 126 */

/* A request with this header and this payload. The device has been started. */
static enum attack_outcome disk_request(struct attack *attack, uint32_t type, uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr *header = attack_at(attack, ATTACK_FRONT);

	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), len);
	*header = (struct virtio_blk_outhdr){.type = htole32(type), .sector = htole64(sector)};
	return attack_try(attack);
}

static enum attack_outcome disk_types(struct attack *attack)
{
	static const uint32_t type[] = {2, 3, 5, 6, 7, 9, 10, 12, 14, 16, 18, 20, 0x80000000u, 0xffffffffu};
	enum attack_outcome outcome = ATTACK_ERROR;
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < sizeof(type) / sizeof(type[0]) && outcome == ATTACK_ERROR; i++)
		outcome = disk_request(attack, type[i], 0, 512);
	return outcome;
}

static uint64_t disk_capacity(struct attack *attack)
{
	return attack->guest->read(attack->guest->arg, 0, VMMIO_CONFIG, 4) |
	       attack->guest->read(attack->guest->arg, 0, VMMIO_CONFIG + 4, 4) << 32;
}

static enum attack_outcome disk_sectors(struct attack *attack)
{
	const uint64_t capacity = disk_capacity(attack);
	const uint64_t sector[] = {capacity,   capacity - 1, capacity + 1,   1ull << 32, 1ull << 54,
				   1ull << 55, 1ull << 63,   UINT64_MAX - 1, UINT64_MAX};
	enum attack_outcome outcome = ATTACK_ERROR;
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < sizeof(sector) / sizeof(sector[0]) && outcome == ATTACK_ERROR; i++)
		outcome = disk_request(attack, attack->queue->type, sector[i], 1024);
	return outcome;
}

static enum attack_outcome disk_lengths(struct attack *attack)
{
	static const uint32_t len[] = {1, 511, 513, 1023, 4097, 65537};
	enum attack_outcome outcome = ATTACK_ERROR;
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < sizeof(len) / sizeof(len[0]) && outcome == ATTACK_ERROR; i++)
		outcome = disk_request(attack, attack->queue->type, 0, len[i]);
	return outcome;
}

static enum attack_outcome disk_short_header(struct attack *attack)
{
	enum attack_outcome outcome = ATTACK_RESET;
	uint32_t len;

	for (len = 0; len < sizeof(struct virtio_blk_outhdr) && outcome == ATTACK_RESET; len += 5) {
		attack_start(attack);
		attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 0);
		attack->desc[0].len = htole32(len);
		outcome = attack_try(attack);
	}
	return outcome;
}

/* The header is where the device writes. */
static enum attack_outcome disk_written_header(struct attack *attack)
{
	attack_start(attack);
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 512);
	attack->desc[0].flags |= htole16(VRING_DESC_F_WRITE);
	attack->desc[1].flags |= htole16(VRING_DESC_F_WRITE);
	return attack_try(attack);
}

static enum attack_outcome disk_no_status(struct attack *attack)
{
	attack_start(attack);
	attack_desc(&attack->desc[0], attack_gpa(attack, ATTACK_FRONT), sizeof(struct virtio_blk_outhdr), 0, 0);
	return attack_try(attack);
}

/* The header in single bytes is allowed, though no driver does so. */
static enum attack_outcome disk_header_in_bytes(struct attack *attack)
{
	struct vring_desc *table = attack_at(attack, ATTACK_TABLE);
	uint32_t bytes = sizeof(struct virtio_blk_outhdr);
	uint32_t i;

	attack_start(attack);
	attack_chain(attack, table, bytes - 1, attack_gpa(attack, ATTACK_DATA), 512);
	for (i = 0; i < bytes; i++)
		attack_desc(&table[i], attack_gpa(attack, ATTACK_FRONT) + i, 1, VRING_DESC_F_NEXT, i + 1);
	attack_indirect(attack, 0, (bytes + 2) * 16);
	return attack_try(attack);
}

static enum attack_outcome disk_segments(struct attack *attack)
{
	struct vring_desc *table = attack_at(attack, ATTACK_TABLE);
	struct vring_desc status;
	struct vring_desc payload;
	uint32_t i;

	attack_start(attack);
	attack_chain(attack, table, 0, attack_gpa(attack, ATTACK_DATA), 512);
	payload = table[1];
	status = table[2];
	for (i = 0; i < DISK_SEGMENTS; i++) {
		table[1 + i] = payload;
		/* Not one after the other: those may be taken for one. */
		table[1 + i].addr = htole64(attack_gpa(attack, ATTACK_DATA) + 1024 * (i % 2));
		table[1 + i].next = htole16((uint16_t)(2 + i));
	}
	table[1 + i] = status;
	attack_indirect(attack, 0, (DISK_SEGMENTS + 2) * 16);
	return attack_try(attack);
}

/* Discard and write zeroes: lists that are none, and ranges that are not on the disk. */
static enum attack_outcome disk_ranges(struct attack *attack)
{
	static const uint32_t len[] = {0, 1, 15, 17, 65 * 16, 0x10000};
	const uint64_t capacity = disk_capacity(attack);
	const struct virtio_blk_discard_write_zeroes bad[] = {
		{htole64(capacity), htole32(1), 0},   {htole64(capacity - 1), htole32(2), 0},
		{htole64(UINT64_MAX), htole32(2), 0}, {htole64(1ull << 55), htole32(8), 0},
		{0, htole32(UINT32_MAX), 0},          {0, htole32(1), htole32(UINT32_MAX)},
	};
	struct virtio_blk_discard_write_zeroes *range = attack_at(attack, ATTACK_DATA);
	enum attack_outcome outcome = ATTACK_ERROR;
	uint32_t type;
	uint32_t i;

	attack_start(attack);
	for (type = VIRTIO_BLK_T_DISCARD; type <= VIRTIO_BLK_T_WRITE_ZEROES; type += 2) {
		memset(range, 0, 0x10000);
		for (i = 0; i < sizeof(len) / sizeof(len[0]) && outcome == ATTACK_ERROR; i++)
			outcome = disk_request(attack, type, 0, len[i]);
		for (i = 0; i < sizeof(bad) / sizeof(bad[0]) && outcome == ATTACK_ERROR; i++) {
			range[1] = bad[i];
			outcome = disk_request(attack, type, 0, 32);
		}
	}
	return outcome;
}

/* Frames */

static enum attack_outcome frames_of(struct attack *attack, const uint32_t *len, uint32_t n)
{
	enum attack_outcome outcome = ATTACK_DONE;
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < n && outcome == ATTACK_DONE; i++) {
		attack_desc(&attack->desc[0], attack_gpa(attack, ATTACK_DATA), len[i], 0, 0);
		outcome = attack_try(attack);
	}
	return outcome;
}

static enum attack_outcome frames_short(struct attack *attack)
{
	static const uint32_t len[] = {1, 4, 11, 12, 13, 24, 25, 26, 30};

	return frames_of(attack, len, sizeof(len) / sizeof(len[0]));
}

static enum attack_outcome frames_huge(struct attack *attack)
{
	static const uint32_t len[] = {65535, 65549, 65550, 65567, 65568, 100000, ATTACK_DATA_BYTES};

	return frames_of(attack, len, sizeof(len) / sizeof(len[0]));
}

/* Headers of offloads that do not fit the frame. */
static enum attack_outcome frames_of_bad_headers(struct attack *attack)
{
	uint8_t *header = attack_at(attack, ATTACK_DATA);
	enum attack_outcome outcome = ATTACK_DONE;
	uint32_t i, at;

	attack_start(attack);
	for (i = 0; i < attack->guest->accesses && outcome == ATTACK_DONE; i++) {
		for (at = 0; at < sizeof(struct virtio_net_hdr_v1); at++)
			header[at] = (uint8_t)attack_random(attack);
		memset(header + at, 0xff, 6);
		attack_desc(&attack->desc[0], attack_gpa(attack, ATTACK_DATA),
			    (uint32_t)(sizeof(struct virtio_net_hdr_v1) + 14 + attack_random(attack) % 1600), 0, 0);
		outcome = attack_try(attack);
	}
	return outcome;
}

/* Commands */

struct net_command {
	uint8_t class;
	uint8_t command;
	uint32_t len;
	uint8_t data[8];
};

static enum attack_outcome net_commands(struct attack *attack)
{
	static const struct net_command bad[] = {
		{5, 200, 4, {0}},
		{255, 0, 1, {0}},
		{VIRTIO_NET_CTRL_RX, 77, 1, {0}},
		{VIRTIO_NET_CTRL_RX, 0, 0, {0}},
		{VIRTIO_NET_CTRL_RX, 0, 3, {0}},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 8, {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 8, {0xab, 0xaa, 0xaa, 0x2a, 0, 0, 0, 0}},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 8, {1, 0, 0, 0, 0, 0, 0, 0}},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 3, {0}},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 5, {0}},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 8, {0}},
		{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 2, {0x00, 0x10}},
		{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 2, {0xff, 0xff}},
		{VIRTIO_NET_CTRL_VLAN, 9, 2, {0}},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, {0}},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, {0xff, 0xff}},
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 7, {0}},
	};
	struct virtio_net_ctrl_hdr *header = attack_at(attack, ATTACK_FRONT);
	enum attack_outcome outcome = ATTACK_ERROR;
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]) && outcome == ATTACK_ERROR; i++) {
		attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), bad[i].len);
		*header = (struct virtio_net_ctrl_hdr){bad[i].class, bad[i].command};
		memcpy(attack_at(attack, ATTACK_DATA), bad[i].data, sizeof(bad[i].data));
		outcome = attack_try(attack);
	}
	return outcome;
}

/* A list of addresses as long as memory allows, which is more than any device keeps; and no room for the answer. */
static enum attack_outcome net_command_huge(struct attack *attack)
{
	struct virtio_net_ctrl_hdr *header = attack_at(attack, ATTACK_FRONT);
	uint32_t entries = htole32((ATTACK_DATA_BYTES - 8) / 6);

	attack_start(attack);
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 8 + (ATTACK_DATA_BYTES - 8) / 6 * 6);
	*header = (struct virtio_net_ctrl_hdr){VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET};
	memset(attack_at(attack, ATTACK_DATA), 0, ATTACK_DATA_BYTES);
	memcpy(attack_at(attack, ATTACK_DATA), &entries, 4);
	return attack_try(attack);
}

static enum attack_outcome net_command_without_answer(struct attack *attack)
{
	attack_start(attack);
	attack_desc(&attack->desc[0], attack_gpa(attack, ATTACK_FRONT), 2, 0, 0);
	return attack_try(attack);
}

/* Consoles */

static enum attack_outcome console_messages(struct attack *attack)
{
	static const uint32_t id[] = {0, 1, 2, 31, 64, 255, 0x7fffffffu, 0x80000000u, 0xffffffffu};
	struct virtio_console_control *message = attack_at(attack, ATTACK_DATA);
	enum attack_outcome outcome = ATTACK_DONE;
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < attack->guest->accesses && outcome == ATTACK_DONE; i++) {
		*message = (struct virtio_console_control){
			.id = htole32(id[attack_random(attack) % (sizeof(id) / sizeof(id[0]))]),
			.event = htole16((uint16_t)(i % 8 ? i % 12 : attack_random(attack))),
			.value = htole16((uint16_t)(i % 5 ? i % 2 : 0xffff)),
		};
		attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), i % 16);
		outcome = attack_try(attack);
	}
	return outcome;
}

/* The device has more to say than there is room for in the buffers that it is given. */
static enum attack_outcome console_small_buffers(struct attack *attack)
{
	const struct virtio_console_control ready = {.event = htole16(VIRTIO_CONSOLE_DEVICE_READY),
						     .value = htole16(1)};
	struct vring_avail *avail = attack_at(attack, ATTACK_OTHER + 0x800);

	attack_greet(attack);
	attack_accept(attack, attack->offered);
	memset(attack_at(attack, 0), 0, ATTACK_OTHER);
	attack_set_other(attack, 2, 4, ATTACK_OTHER);
	attack_set_queue(attack, ATTACK_NUM, attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
			 attack_gpa(attack, ATTACK_USED));
	attack_desc(attack_at(attack, ATTACK_OTHER), attack_gpa(attack, ATTACK_DATA) + 0x1000, 7, VRING_DESC_F_WRITE,
		    0);
	avail->idx = htole16(1);
	attack_driver_ok(attack);
	memcpy(attack_at(attack, ATTACK_DATA), &ready, sizeof(ready));
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), sizeof(ready));
	attack_offer(attack, 0);
	while (attack_await(attack) == ATTACK_DONE)
		;
	return attack_needs_reset(attack) ? ATTACK_RESET : ATTACK_SILENT;
}

static enum attack_outcome console_emergency(struct attack *attack)
{
	uint32_t i;

	attack_start(attack);
	for (i = 0; i < attack->guest->accesses * 2; i++)
		attack_write(attack, VMMIO_CONFIG + offsetof(struct virtio_console_config, emerg_wr),
			     (uint32_t)attack_random(attack));
	return attack_honest(attack);
}

/* Entropy */

static enum attack_outcome rng_readable(struct attack *attack)
{
	attack_start(attack);
	attack_desc(&attack->desc[0], attack_gpa(attack, ATTACK_DATA), 64, 0, 0);
	return attack_try(attack);
}

/* Bytes into its own rings: it does to itself what it likes. */
static enum attack_outcome rng_into_rings(struct attack *attack)
{
	enum attack_outcome outcome = attack_with_payload(attack, attack_gpa(attack, ATTACK_DESC), ATTACK_OTHER);

	attack_notify(attack);
	return outcome;
}

const struct attack_entry attack_type_list[] = {
	{"disk-unknown-types", "blk-in", false, ATTACK_ERROR, disk_types},
	{"disk-read-beyond", "blk-in", false, ATTACK_ERROR, disk_sectors},
	{"disk-write-beyond", "blk-out", false, ATTACK_ERROR, disk_sectors},
	{"disk-read-odd-lengths", "blk-in", false, ATTACK_ERROR, disk_lengths},
	{"disk-write-odd-lengths", "blk-out", false, ATTACK_ERROR, disk_lengths},
	{"disk-short-header", "blk-out", false, ATTACK_RESET, disk_short_header},
	{"disk-writable-header", "blk-out", false, ATTACK_RESET, disk_written_header},
	{"disk-no-status", "blk-in", false, ATTACK_RESET, disk_no_status},
	{"disk-header-in-bytes", "blk-in", false, ATTACK_DONE, disk_header_in_bytes},
	{"disk-read-too-many-segments", "blk-in", false, ATTACK_ERROR, disk_segments},
	{"disk-write-too-many-segments", "blk-out", false, ATTACK_ERROR, disk_segments},
	{"disk-bad-ranges", "blk-out", false, ATTACK_ERROR, disk_ranges},
	{"frames-short", "net-send", false, ATTACK_DONE, frames_short},
	{"frames-huge", "net-send", false, ATTACK_DONE, frames_huge},
	{"frames-of-bad-headers", "net-send", false, ATTACK_DONE, frames_of_bad_headers},
	{"net-bad-commands", "net-control", false, ATTACK_ERROR, net_commands},
	{"net-huge-command", "net-control", false, ATTACK_DONE | ATTACK_ERROR, net_command_huge},
	{"net-command-without-answer", "net-control", false, ATTACK_RESET | ATTACK_DONE | ATTACK_ERROR,
	 net_command_without_answer},
	{"console-bad-messages", "console-control", false, ATTACK_DONE, console_messages},
	{"console-small-buffers", "console-control", false, ATTACK_RESET, console_small_buffers},
	{"console-emergency-storm", "console-send", false, ATTACK_DONE, console_emergency},
	{"rng-readable-buffer", "rng", false, ATTACK_RESET, rng_readable},
	{"rng-into-its-own-rings", "rng", false, ATTACK_RESET | ATTACK_DONE, rng_into_rings},
	{0},
};
