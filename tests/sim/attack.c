/* SPDX-License-Identifier: MIT */
#include "tests/sim/attack.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/core_os.h"
#include "common/vmmio.h"

#define STATUS_NONE 0xee /* no status of any device */
#define SLOW_NS 1000000000u
#define LOOKS 64u /* at the used ring for each at the registers */

#define NET_WITHOUT (1ull << VIRTIO_NET_F_MQ)
#define CONSOLE_WITHOUT (1ull << VIRTIO_CONSOLE_F_MULTIPORT)

/* The control queues are where they are with one pair and with the ports of multiport. */
const struct attack_queue attack_queues[] = {
	{"blk-in", VIRTIO_ID_BLOCK, 0, true, sizeof(struct virtio_blk_outhdr), VIRTIO_BLK_T_IN, true, false, 0},
	{"blk-out", VIRTIO_ID_BLOCK, 0, false, sizeof(struct virtio_blk_outhdr), VIRTIO_BLK_T_OUT, true, false, 0},
	{"net-receive", VIRTIO_ID_NET, 0, true, 0, 0, false, true, NET_WITHOUT},
	{"net-send", VIRTIO_ID_NET, 1, false, sizeof(struct virtio_net_hdr_v1), 0, false, false, NET_WITHOUT},
	/* VIRTIO_NET_CTRL_RX, of which the payload is the byte. */
	{"net-control", VIRTIO_ID_NET, 2, false, sizeof(struct virtio_net_ctrl_hdr), 0, true, false, NET_WITHOUT},
	{"console-receive", VIRTIO_ID_CONSOLE, 0, true, 0, 0, false, true, CONSOLE_WITHOUT},
	{"console-send", VIRTIO_ID_CONSOLE, 1, false, 0, 0, false, false, CONSOLE_WITHOUT},
	{"console-control", VIRTIO_ID_CONSOLE, 3, false, 0, 0, false, false, 0},
	{"rng", VIRTIO_ID_RNG, 0, true, 0, 0, false, false, 0},
	{0},
};

const struct attack_entry *const attack_lists[] = {
	attack_chain_list, attack_ring_list, attack_register_list, attack_type_list, NULL,
};

static const char *outcome_name(enum attack_outcome outcome)
{
	switch (outcome) {
	case ATTACK_RESET:
		return "it needs a reset";
	case ATTACK_ERROR:
		return "an error";
	case ATTACK_DONE:
		return "done";
	case ATTACK_REFUSED:
		return "refused";
	case ATTACK_BORNE:
		return "borne";
	case ATTACK_TAKEN:
		return "taken";
	case ATTACK_SILENT:
		return "no answer";
	}
	return "?";
}

uint64_t attack_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* xorshift64 */
uint64_t attack_random(struct attack *attack)
{
	attack->random ^= attack->random << 13;
	attack->random ^= attack->random >> 7;
	attack->random ^= attack->random << 17;
	return attack->random;
}

void *attack_at(const struct attack *attack, uint32_t place)
{
	return attack->guest->area + place;
}

uint64_t attack_gpa(const struct attack *attack, uint32_t place)
{
	return attack->guest->area_gpa + place;
}

uint32_t attack_read(struct attack *attack, uint32_t offset)
{
	return (uint32_t)attack->guest->read(attack->guest->arg, 0, offset, 4);
}

void attack_write(struct attack *attack, uint32_t offset, uint32_t value)
{
	attack->guest->write(attack->guest->arg, 0, offset, 4, value);
}

void attack_write_address(struct attack *attack, uint32_t low, uint64_t address)
{
	attack_write(attack, low, (uint32_t)address);
	attack_write(attack, low + 4, (uint32_t)(address >> 32));
}

bool attack_needs_reset(struct attack *attack)
{
	return attack_read(attack, VMMIO_STATUS) & VMMIO_S_NEEDS_RESET;
}

/* Setting the device up */

void attack_greet(struct attack *attack)
{
	attack_write(attack, VMMIO_STATUS, 0);
	attack_write(attack, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE);
	attack_write(attack, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER);
	attack_write(attack, VMMIO_DEVICE_FEATURES_SEL, 1);
	attack->offered = (uint64_t)attack_read(attack, VMMIO_DEVICE_FEATURES) << 32;
	attack_write(attack, VMMIO_DEVICE_FEATURES_SEL, 0);
	attack->offered |= attack_read(attack, VMMIO_DEVICE_FEATURES);
}

bool attack_accept(struct attack *attack, uint64_t features)
{
	attack_write(attack, VMMIO_DRIVER_FEATURES_SEL, 1);
	attack_write(attack, VMMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	attack_write(attack, VMMIO_DRIVER_FEATURES_SEL, 0);
	attack_write(attack, VMMIO_DRIVER_FEATURES, (uint32_t)features);
	attack_write(attack, VMMIO_STATUS, VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FEATURES_OK);
	return attack_read(attack, VMMIO_STATUS) & VMMIO_S_FEATURES_OK;
}

static void queue_set(struct attack *attack, uint32_t index, uint32_t num, const uint64_t address[3])
{
	attack_write(attack, VMMIO_QUEUE_SEL, index);
	attack_write(attack, VMMIO_QUEUE_NUM, num);
	attack_write_address(attack, VMMIO_QUEUE_DESC_LOW, address[0]);
	attack_write_address(attack, VMMIO_QUEUE_DRIVER_LOW, address[1]);
	attack_write_address(attack, VMMIO_QUEUE_DEVICE_LOW, address[2]);
	attack_write(attack, VMMIO_QUEUE_READY, 1);
}

/* Where the attack has it; NULL if not all of it is in its area. */
static void *ring_at(const struct attack *attack, uint64_t gpa, uint64_t bytes)
{
	uint64_t offset = gpa - attack->guest->area_gpa;

	return offset < ATTACK_AREA && bytes <= ATTACK_AREA - offset ? attack->guest->area + offset : NULL;
}

void attack_set_queue(struct attack *attack, uint32_t num, uint64_t desc, uint64_t avail, uint64_t used)
{
	attack->num = num;
	attack->desc = ring_at(attack, desc, 16ull * num);
	attack->avail = ring_at(attack, avail, 6 + 2ull * num);
	attack->used = ring_at(attack, used, 6 + 8ull * num);
	attack->avail_idx = 0;
	attack->used_idx = 0;
	queue_set(attack, attack->queue->index, num, (uint64_t[]){desc, avail, used});
}

void attack_set_other(struct attack *attack, uint32_t index, uint32_t num, uint32_t place)
{
	uint64_t gpa = attack_gpa(attack, place);

	memset(attack_at(attack, place), 0, 0x1000);
	queue_set(attack, index, num, (uint64_t[]){gpa, gpa + 0x800, gpa + 0xc00});
}

void attack_driver_ok(struct attack *attack)
{
	attack_write(attack, VMMIO_STATUS,
		     VMMIO_S_ACKNOWLEDGE | VMMIO_S_DRIVER | VMMIO_S_FEATURES_OK | VMMIO_S_DRIVER_OK);
}

void attack_start(struct attack *attack)
{
	attack_greet(attack);
	attack_accept(attack, attack->offered & ~attack->queue->without);
	memset(attack_at(attack, 0), 0, ATTACK_OTHER);
	attack_set_queue(attack, ATTACK_NUM, attack_gpa(attack, ATTACK_DESC), attack_gpa(attack, ATTACK_AVAIL),
			 attack_gpa(attack, ATTACK_USED));
	attack_driver_ok(attack);
}

/* Chains */

void attack_desc(struct vring_desc *desc, uint64_t gpa, uint32_t len, uint32_t flags, uint32_t next)
{
	desc->addr = htole64(gpa);
	desc->len = htole32(len);
	desc->flags = htole16((uint16_t)flags);
	desc->next = htole16((uint16_t)next);
}

uint32_t attack_chain(struct attack *attack, struct vring_desc *table, uint32_t first, uint64_t gpa, uint32_t len)
{
	const struct attack_queue *queue = attack->queue;
	uint32_t at = first;
	uint32_t type = htole32(queue->type);

	memset(attack_at(attack, ATTACK_FRONT), 0, 64);
	if (queue->front) {
		memcpy(attack_at(attack, ATTACK_FRONT), &type, queue->front < 4 ? queue->front : 4);
		attack_desc(&table[at], attack_gpa(attack, ATTACK_FRONT), queue->front, VRING_DESC_F_NEXT, at + 1);
		at++;
	}
	attack_desc(&table[at], gpa, len,
		    (queue->device_writes ? VRING_DESC_F_WRITE : 0) | (queue->status ? VRING_DESC_F_NEXT : 0),
		    queue->status ? at + 1 : 0);
	at++;
	if (queue->status)
		attack_desc(&table[at++], attack_gpa(attack, ATTACK_STATUS), 1, VRING_DESC_F_WRITE, 0);
	return at - first;
}

struct vring_desc *attack_payload(struct attack *attack, struct vring_desc *table, uint32_t first)
{
	return &table[first + (attack->queue->front ? 1 : 0)];
}

void attack_indirect(struct attack *attack, uint32_t entry, uint32_t bytes)
{
	attack_desc(&attack->desc[entry], attack_gpa(attack, ATTACK_TABLE), bytes, VRING_DESC_F_INDIRECT, 0);
}

/* Offering them */

void attack_notify(struct attack *attack)
{
	attack_write(attack, VMMIO_QUEUE_NOTIFY, attack->queue->index);
}

void attack_offer(struct attack *attack, uint16_t head)
{
	*(uint8_t *)attack_at(attack, ATTACK_STATUS) = STATUS_NONE;
	attack->avail->ring[attack->avail_idx % attack->num] = htole16(head);
	attack->avail_idx++;
	core_store_release(&attack->avail->idx, htole16(attack->avail_idx));
	attack_notify(attack);
}

/* What has become of it by now. */
static enum attack_outcome look(struct attack *attack)
{
	uint32_t i;

	for (i = 0; attack->used && i < LOOKS; i++) {
		uint16_t idx = le16toh(core_load_acquire(&attack->used->idx));

		if (idx == attack->used_idx)
			continue;
		attack->used_idx = idx;
		if (attack->queue->status && *(volatile uint8_t *)attack_at(attack, ATTACK_STATUS) != 0)
			return ATTACK_ERROR;
		return ATTACK_DONE;
	}
	return attack_needs_reset(attack) ? ATTACK_RESET : ATTACK_SILENT;
}

enum attack_outcome attack_await_ms(struct attack *attack, int ms)
{
	uint64_t end = attack_now_ns() + (uint64_t)ms * 1000000u;
	const struct timespec nap = {0, 50000};
	enum attack_outcome outcome;

	for (;;) {
		outcome = look(attack);
		if (outcome != ATTACK_SILENT || attack_now_ns() > end)
			return outcome;
		if (attack->guest->feed)
			attack->guest->feed(attack->guest->arg);
		nanosleep(&nap, NULL);
	}
}

enum attack_outcome attack_await(struct attack *attack)
{
	return attack_await_ms(attack, attack->guest->timeout_ms);
}

enum attack_outcome attack_try(struct attack *attack)
{
	attack_offer(attack, 0);
	return attack_await(attack);
}

enum attack_outcome attack_with_payload(struct attack *attack, uint64_t gpa, uint32_t len)
{
	attack_start(attack);
	attack_chain(attack, attack->desc, 0, gpa, len);
	return attack_try(attack);
}

/* What goes well for each kind of queue: a sector, a frame, a control command's byte. */
static uint32_t honest_len(const struct attack *attack)
{
	const struct attack_queue *queue = attack->queue;

	switch (queue->device_id) {
	case VIRTIO_ID_BLOCK:
		return 512;
	case VIRTIO_ID_NET:
		if (queue->device_writes)
			return ATTACK_DATA_BYTES;
		return queue->status ? 1 : 60;
	default:
		return queue->device_writes ? 64 : sizeof(struct virtio_console_control);
	}
}

enum attack_outcome attack_honest(struct attack *attack)
{
	/* A broadcast address; a command that is obeyed. */
	memset(attack_at(attack, ATTACK_DATA), attack->queue->status ? 0 : 0xff, 64);
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), honest_len(attack));
	return attack_try(attack);
}

static const struct attack_queue *queue_named(const char *name)
{
	const struct attack_queue *queue;

	for (queue = attack_queues; queue->name && strcmp(queue->name, name) != 0; queue++)
		;
	return queue;
}

/* A sector that is written comes back. */
static const char *disk_keeps(struct attack *attack)
{
	uint64_t *data = attack_at(attack, ATTACK_DATA);
	uint64_t written[512 / sizeof(uint64_t)];
	uint32_t i;

	for (i = 0; i < 512 / sizeof(uint64_t); i++)
		written[i] = attack_random(attack);
	memcpy(data, written, 512);
	attack->queue = queue_named("blk-out");
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 512);
	if (attack_try(attack) != ATTACK_DONE)
		return "a sector cannot be written";
	memset(data, 0, 512);
	attack->queue = queue_named("blk-in");
	attack_chain(attack, attack->desc, 0, attack_gpa(attack, ATTACK_DATA), 512);
	if (attack_try(attack) != ATTACK_DONE)
		return "a sector cannot be read";
	return memcmp(data, written, 512) == 0 ? NULL : "a sector is not what was written";
}

/* An honest driver: resets the device, and has a request of the queue's kind done. Returns NULL, or what went wrong. */
static const char *serves(struct attack *attack)
{
	const char *wrong = NULL;

	attack_write(attack, VMMIO_STATUS, 0);
	if (attack_read(attack, VMMIO_STATUS) != 0)
		return "its status is not 0 after a reset";
	attack_start(attack);
	if (attack_needs_reset(attack))
		return "it needs a reset after one";
	if (attack_honest(attack) != ATTACK_DONE)
		return "a good request is not done";
	if (attack->queue->device_writes && attack->used->ring[0].len == 0)
		return "a good request brought nothing";
	if (attack->queue->device_id == VIRTIO_ID_BLOCK)
		wrong = disk_keeps(attack);
	attack_write(attack, VMMIO_STATUS, 0);
	return wrong;
}

/* Is the attack one on that queue, and possible for the guest? */
static bool fits(const struct attack_guest *guest, const struct attack_queue *queue, const struct attack_entry *entry)
{
	return (!entry->queue || strcmp(entry->queue, queue->name) == 0) && (guest->edge || !entry->edge) &&
	       (guest->feed || !queue->fed);
}

/* False: something was touched. */
static bool attack_once(const struct attack_guest *guest, const struct attack_queue *queue,
			const struct attack_entry *entry, struct attack_count *count)
{
	struct attack attack = {.guest = guest, .queue = queue, .random = 0x9e3779b97f4a7c15u};
	uint64_t begin_ns = attack_now_ns();
	enum attack_outcome outcome;
	const char *wrong;
	const char *touched;

	if (guest->begin)
		guest->begin(guest->arg, entry->name, queue->name);
	outcome = entry->run(&attack);
	attack.queue = queue;
	wrong = serves(&attack);
	touched = guest->trespass(guest->arg);
	count->made++;
	if (attack_now_ns() - begin_ns > SLOW_NS)
		printf("# %s on %s took %llu ms\n", entry->name, queue->name,
		       (unsigned long long)(attack_now_ns() - begin_ns) / 1000000);
	if ((outcome & entry->allowed) && !wrong && !touched)
		return true;
	count->wrong++;
	printf("# %s on %s: %s%s%s%s%s\n", entry->name, queue->name, outcome_name(outcome),
	       wrong ? "; afterwards " : "", wrong ? wrong : "", touched ? "; " : "", touched ? touched : "");
	return !touched;
}

struct attack_count attack_all(const struct attack_guest *guest)
{
	uint32_t device_id = (uint32_t)guest->read(guest->arg, 0, VMMIO_DEVICE_ID, 4);
	struct attack_count count = {0};
	const struct attack_queue *queue;
	const struct attack_entry *entry;
	uint32_t i;

	for (queue = attack_queues; queue->name; queue++) {
		for (i = 0; queue->device_id == device_id && attack_lists[i]; i++) {
			for (entry = attack_lists[i]; entry->name; entry++) {
				if (fits(guest, queue, entry) && !attack_once(guest, queue, entry, &count))
					return count;
			}
		}
	}
	return count;
}
