/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "net.h"

static void state_defaults(struct net *net)
{
	struct net_state *state = &net->state;
	uint8_t first[ETH_ALEN];

	memcpy(first, state->mac_first, sizeof(first));
	*state = (struct net_state){
		.version = NET_STATE_VERSION,
		.resets = core_load(&net->backend->region->driver.resets),
		.pairs = 1,
		/* A driver that never sets a filter gets everything. */
		.rx_mode = NET_RX_MODE(VIRTIO_NET_CTRL_RX_PROMISC),
		.offloads = net->features,
	};
	memcpy(state->mac_first, first, sizeof(first));
	memcpy(state->mac, first, sizeof(first));
}

/* The bytes may be anything: only what could do harm is looked at. */
static bool state_usable(const struct net *net)
{
	const struct net_state *state = &net->state;

	return state->resets == core_load(&net->backend->region->driver.resets) && state->pairs >= 1 &&
	       state->pairs <= net->pairs_max && state->nuni + state->nmulti <= NET_MACS_MAX;
}

bool net_state_load(struct net *net)
{
	struct queue_region *region = net->backend->region;
	const struct virtio_net_config *config;

	region_state_read(region, &net->state, sizeof(net->state));
	if (net->state.version == NET_STATE_VERSION && state_usable(net)) {
		net->state.offloads &= net->features;
		return true;
	}
	if (net->state.version != NET_STATE_VERSION) {
		config = (const void *)backend_config(net->backend);
		memcpy(net->state.mac_first, config->mac, ETH_ALEN);
	}
	state_defaults(net);
	return false;
}

void net_state_save(struct net *net)
{
	region_state_update(net->backend->region, &net->state, sizeof(net->state));
}

static bool macs_have(const struct net_state *state, uint32_t first, uint32_t n, const uint8_t *mac)
{
	uint32_t i;

	for (i = first; i < first + n; i++) {
		if (memcmp(state->macs[i], mac, ETH_ALEN) == 0)
			return true;
	}
	return false;
}

/* virtio 1.2, 5.1.6.5.1 and 5.1.6.5.2. */
static bool address_accepted(const struct net_state *state, const uint8_t *to)
{
	static const uint8_t broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint32_t mode = state->rx_mode;

	if (memcmp(to, broadcast, ETH_ALEN) == 0)
		return !(mode & NET_RX_MODE(VIRTIO_NET_CTRL_RX_NOBCAST));
	if (to[0] & 1) {
		if (mode & NET_RX_MODE(VIRTIO_NET_CTRL_RX_NOMULTI))
			return false;
		return (mode & NET_RX_MODE(VIRTIO_NET_CTRL_RX_ALLMULTI)) || state->multi_overflow ||
		       macs_have(state, state->nuni, state->nmulti, to);
	}
	if (mode & NET_RX_MODE(VIRTIO_NET_CTRL_RX_NOUNI))
		return false;
	return (mode & NET_RX_MODE(VIRTIO_NET_CTRL_RX_ALLUNI)) || memcmp(to, state->mac, ETH_ALEN) == 0 ||
	       state->uni_overflow || macs_have(state, 0, state->nuni, to);
}

bool net_state_accepts(const struct net *net, const uint8_t head[ETH_HLEN + 4])
{
	const struct net_state *state = &net->state;
	uint32_t vlan;

	if (state->rx_mode & NET_RX_MODE(VIRTIO_NET_CTRL_RX_PROMISC))
		return true;
	if ((net->features & (1ull << VIRTIO_NET_F_CTRL_VLAN)) && head[12] == ETH_P_8021Q >> 8 &&
	    head[13] == (ETH_P_8021Q & 0xff)) {
		vlan = (uint32_t)(head[14] & 0xf) << 8 | head[15];
		if (!(state->vlans[vlan / 8] & 1u << vlan % 8))
			return false;
	}
	return address_accepted(state, head);
}
