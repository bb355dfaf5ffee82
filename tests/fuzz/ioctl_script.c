/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/ioctl_script.h"

#include <string.h>

#include "common/vmmio.h"

static const unsigned long calls[] = {
	HVISOR_INFO,          HVISOR_ZONE_SET,     HVISOR_DEVICE_ADD,    HVISOR_DEVICE_GET,
	HVISOR_DEVICE_ATTACH, HVISOR_DEVICE_OWNER, HVISOR_DEVICE_VIEW,   HVISOR_DEVICE_KICK,
	HVISOR_DEVICE_FAIL,   HVISOR_DEVICE_DEL,   HVISOR_EVENT_NEXT,    HVISOR_DEVICE_ADD,
	HVISOR_DEVICE_ADD,    HVISOR_ZONE_SET,     HVISOR_DEVICE_ATTACH, HVISOR_ZONE_START,
};

unsigned long ioctl_script_number(uint8_t which)
{
	return calls[which % (sizeof(calls) / sizeof(calls[0]))];
}

/* An address of the board, or a number that has nothing to do with it. */
static uint64_t address(struct input *input)
{
	uint8_t kind = input_u8(input);

	if (kind >= 0xf0)
		return input_u64(input);
	return IOCTL_SCRIPT_BOARD + (kind & 63u) * 0x1000u + (kind & 64 ? 0x200 : 0);
}

static void zone_set_make(struct hvisor_zone_set *set, struct input *input)
{
	uint32_t i;

	set->zone = input_u8(input) % (IOCTL_SCRIPT_ZONES + 2);
	set->nmemory = input_u8(input) % (HVISOR_MEMORY_MAX + 2);
	for (i = 0; i < set->nmemory && i < HVISOR_MEMORY_MAX; i++) {
		set->memory[i].zone0_ipa = address(input);
		set->memory[i].zonex_ipa = address(input);
		set->memory[i].size = input_u8(input) & 1 ? input_u64(input) : 0x1000u * (1 + input_u8(input) % 8);
	}
}

static void add_make(struct hvisor_device_add *add, struct input *input)
{
	uint8_t kind = input_u8(input);

	add->zone = 1 + (kind & 1);
	add->irq = input_u8(input) % 8;
	add->base = kind & 2 ? address(input) : 0xa003000 + input_u8(input) % 8 * 0x200u;
	add->size = kind & 4 ? input_u64(input) : 0x200;
	add->device_id = 1 + input_u8(input) % 4;
	add->nqueues = kind & 8 ? input_u32(input) : 1u + input_u8(input) % 4;
	add->queue_size_max = kind & 16 ? input_u32(input) : 16;
	add->config_len = kind & 32 ? input_u32(input) : input_u8(input);
	add->features = kind & 64 ? input_u64(input) : VMMIO_F_VERSION_1;
	memcpy(add->name, "blk0", 5);
	if (kind & 128)
		memset(add->name, 'x', sizeof(add->name));
}

void ioctl_script_argument(unsigned long cmd, union ioctl_argument *argument, struct input *input)
{
	const uint8_t *bytes;
	size_t got;

	memset(argument, 0, sizeof(*argument));
	switch (cmd) {
	case HVISOR_ZONE_SET:
		zone_set_make(&argument->zone_set, input);
		break;
	case HVISOR_DEVICE_ADD:
		add_make(&argument->add, input);
		break;
	default:
		/* An id is the first number of all others. */
		argument->get.id = input_u8(input) % 8;
		bytes = input_block(input, input_u8(input) % 16, &got);
		memcpy(argument->bytes + sizeof(argument->get.id), bytes, got);
		break;
	}
	/* Whoever is named may be killed: nobody is. */
	if (cmd == HVISOR_DEVICE_OWNER && argument->owner.pid > 0)
		argument->owner.pid = INT32_MAX;
}
