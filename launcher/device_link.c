/* SPDX-License-Identifier: MIT */
/* The link of a net device: what it is set to, and what its guest sees. */
#include <endian.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>

#include "launcher/device.h"

int device_set_link(struct device *device, bool up, struct errors *errors)
{
	if (device->config->type != CONFIG_NET) {
		errors_add(errors, "%s: a %s device has no link; net devices have one", device->config->name,
			   config_type_name(device->config->type));
		return -1;
	}
	if (device_check_made(device, errors) < 0)
		return -1;
	core_store(&device->view->control.link_down, !up);
	return device_tell(device, errors);
}

bool device_link_up(const struct device *device)
{
	return !device->view || !core_load(&device->view->control.link_down);
}

bool device_link_seen(const struct device *device)
{
	core_u32 gen = core_load_acquire(&device->view->device.config_gen);
	uint16_t status;

	memcpy(&status, device->view->config[gen & 1] + offsetof(struct virtio_net_config, status), sizeof(status));
	return device_link_up(device) == ((le16toh(status) & VIRTIO_NET_S_LINK_UP) != 0);
}
