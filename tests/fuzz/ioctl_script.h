/* SPDX-License-Identifier: MIT */
/*
 * The fuzzer's bytes as calls of kmod/hvisor_uapi.h: for the simulator, and in the virtual machine for the module.
 */
#ifndef HVISOR_TESTS_IOCTL_SCRIPT_H
#define HVISOR_TESTS_IOCTL_SCRIPT_H

#include "kmod/hvisor_uapi.h"
#include "tests/fuzz/input.h"

#define IOCTL_SCRIPT_ZONES 2u
#define IOCTL_SCRIPT_BOARD 0x50000000u /* near which addresses are */

/* Of any call; some are the module's only. */
union ioctl_argument {
	struct hvisor_info info;
	struct hvisor_zone_set zone_set;
	struct hvisor_device_add add;
	struct hvisor_device_get get;
	struct hvisor_device_attach attach;
	struct hvisor_device_owner owner;
	struct hvisor_device_view view;
	struct hvisor_device_kick kick;
	struct hvisor_device_fail fail;
	struct hvisor_device_del del;
	struct hvisor_event_next event;
	struct hvisor_config_version version;
	struct hvisor_zone_load load;
	struct hvisor_memory_check check;
	struct hvisor_zone_start start;
	struct hvisor_zone_shutdown shutdown;
	struct hvisor_zone_list list;
	uint8_t bytes[4096];
};

/* The call that a byte stands for. */
unsigned long ioctl_script_number(uint8_t which);

/* Its argument, from the next bytes. */
void ioctl_script_argument(unsigned long cmd, union ioctl_argument *argument, struct input *input);

#endif
