/* SPDX-License-Identifier: MIT */
/* Network devices: what their guests find, and the tap that their backends are given. */
#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>

#include "common/net.h"
#include "devtype.h"
#include "tap.h"
#include "tap_fd.h"

/* Up to the MTU: none of the features that the fields behind it belong to is offered. */
#define CONFIG_LEN offsetof(struct virtio_net_config, speed)

_Static_assert(NET_QUEUE_PAIRS_MAX <= DEVTYPE_FILES_MAX, "a descriptor for each queue pair");

static uint64_t describe_features(const struct config_net *net)
{
	uint64_t features = NET_FEATURES;

	if (net->mtu)
		features |= 1ull << VIRTIO_NET_F_MTU;
	if (net->queues > 1)
		features |= 1ull << VIRTIO_NET_F_MQ;
	if (tap_fd_has_uso())
		features |= NET_FEATURES_USO;
	return features;
}

static int net_describe(const struct config_device *device, struct hvisor_device_add *out, struct errors *errors)
{
	const struct config_net *net = &device->net;
	struct virtio_net_config config = {
		.status = htole16(VIRTIO_NET_S_LINK_UP),
		.max_virtqueue_pairs = htole16((uint16_t)net->queues),
		.mtu = htole16((uint16_t)net->mtu),
	};

	(void)errors;
	memcpy(config.mac, net->mac, sizeof(config.mac));
	out->device_id = VIRTIO_ID_NET;
	out->nqueues = NET_NQUEUES(net->queues);
	out->queue_size_max = net->queue_size;
	out->features = describe_features(net);
	out->config_len = CONFIG_LEN;
	memset(out->config, 0, sizeof(out->config));
	memcpy(out->config, &config, CONFIG_LEN);
	memset(out->config_writable, 0, sizeof(out->config_writable));
	return 0;
}

static int start_args(const struct config_net *net, struct devtype_start *out)
{
	if (devtype_start_arg(out, "queues=%u", net->queues) ||
	    devtype_start_arg(out, "rate_rx=%llu", (unsigned long long)net->rate_rx) ||
	    devtype_start_arg(out, "rate_tx=%llu", (unsigned long long)net->rate_tx))
		return -1;
	return 0;
}

static int net_open(const struct config_device *device, struct devtype_start *out, struct errors *errors)
{
	devtype_start_init(out);
	if (tap_attach(device, out->file, errors) < 0)
		return -1;
	out->nfiles = device->net.queues;
	if (start_args(&device->net, out) == 0)
		return 0;
	devtype_complain(device, errors, "no memory for its backend's arguments");
	devtype_start_finish(out);
	return -1;
}

const struct devtype devtype_net = {
	.type = CONFIG_NET,
	.program = "hvisor-net",
	.policy = "hvisor-net.policy",
	.describe = net_describe,
	.check = tap_check,
	.prepare = tap_prepare,
	.open = net_open,
	.release = tap_release,
};
