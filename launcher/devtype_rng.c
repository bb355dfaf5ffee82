/* SPDX-License-Identifier: MIT */
/* Entropy devices: what their guests find. */
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "common/rng.h"
#include "devtype.h"

/* virtio 1.2, 5.4.3 and 5.4.4: it has neither features nor a configuration space of its own. */
static int rng_describe(const struct config_device *device, struct hvisor_device_add *out, struct errors *errors)
{
	(void)device;
	(void)errors;
	out->device_id = VIRTIO_ID_RNG;
	out->nqueues = 1;
	out->queue_size_max = RNG_QUEUE_SIZE;
	out->features = (1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX) |
			(1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_F_RING_RESET);
	out->config_len = 0;
	memset(out->config, 0, sizeof(out->config));
	memset(out->config_writable, 0, sizeof(out->config_writable));
	return 0;
}

static int rng_open(const struct config_device *device, struct devtype_start *out, struct errors *errors)
{
	devtype_start_init(out);
	if (devtype_start_arg(out, "rate=%llu", (unsigned long long)device->rng.rate) == 0)
		return 0;
	return devtype_complain(device, errors, "no memory for its backend's arguments");
}

const struct devtype devtype_rng = {
	.type = CONFIG_RNG,
	.program = "hvisor-rng",
	.policy = "hvisor-rng.policy",
	.describe = rng_describe,
	.open = rng_open,
};
