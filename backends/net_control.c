/* SPDX-License-Identifier: MIT */
/* The control queue: virtio 1.2, 5.1.6.5. A command is in effect, and remembered, before it is completed. */
#include <endian.h>
#include <string.h>

#include "net.h"

#define COMMANDS_MAX 16u /* in one turn */

/* A command as the driver sent it; data is read from its buffers as it is needed. */
struct command {
	struct virtio_net_ctrl_hdr header;
	const struct virtq_chain *chain;
	uint64_t len; /* of the data */
};

static bool accepted(const struct net *net, uint32_t feature)
{
	return net->features & (1ull << feature);
}

/* Copies len bytes of the data at offset; false if there are not so many. */
static bool data_read(const struct command *command, uint64_t offset, void *bytes, uint64_t len)
{
	if (offset > command->len || len > command->len - offset)
		return false;
	return net_iov_read(command->chain->iov, command->chain->nread, sizeof(command->header) + offset, bytes, len) ==
	       len;
}

/* The whole of the data, which has to be so long. */
static bool data_is(const struct command *command, void *bytes, uint64_t len)
{
	return command->len == len && data_read(command, 0, bytes, len);
}

static bool command_rx(struct net *net, const struct command *command)
{
	uint32_t feature =
		command->header.cmd <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA;
	uint8_t on;

	if (command->header.cmd > VIRTIO_NET_CTRL_RX_NOBCAST || !accepted(net, feature) ||
	    !data_is(command, &on, sizeof(on)) || on > 1)
		return false;
	net->state.rx_mode &= ~NET_RX_MODE(command->header.cmd);
	if (on)
		net->state.rx_mode |= NET_RX_MODE(command->header.cmd);
	return true;
}

/* Reads one of the two tables behind the addresses that are there. *offset goes behind it. */
static bool macs_read(struct net_state *state, const struct command *command, uint64_t *offset, uint16_t *n,
		      uint8_t *overflow)
{
	uint32_t have = (uint32_t)state->nuni + state->nmulti;
	uint32_t entries;
	uint64_t bytes;

	if (!data_read(command, *offset, &entries, sizeof(entries)))
		return false;
	*offset += sizeof(entries);
	entries = le32toh(entries);
	bytes = (uint64_t)entries * ETH_ALEN;
	if (bytes > command->len - *offset)
		return false;
	*overflow = entries > NET_MACS_MAX - have;
	if (!*overflow) {
		if (!data_read(command, *offset, state->macs[have], bytes))
			return false;
		*n = (uint16_t)entries;
	}
	*offset += bytes;
	return true;
}

static bool command_mac_table(struct net *net, const struct command *command)
{
	struct net_state state = net->state;
	uint64_t offset = 0;

	state.nuni = 0;
	state.nmulti = 0;
	if (!macs_read(&state, command, &offset, &state.nuni, &state.uni_overflow) ||
	    !macs_read(&state, command, &offset, &state.nmulti, &state.multi_overflow) || offset != command->len)
		return false;
	net->state = state;
	return true;
}

static bool command_mac(struct net *net, const struct command *command)
{
	if (command->header.cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return accepted(net, VIRTIO_NET_F_CTRL_RX) && command_mac_table(net, command);
	if (command->header.cmd == VIRTIO_NET_CTRL_MAC_ADDR_SET)
		return accepted(net, VIRTIO_NET_F_CTRL_MAC_ADDR) && data_is(command, net->state.mac, ETH_ALEN);
	return false;
}

static bool command_vlan(struct net *net, const struct command *command)
{
	uint16_t vlan;
	uint8_t *byte;
	uint8_t bit;

	if (!accepted(net, VIRTIO_NET_F_CTRL_VLAN) || !data_is(command, &vlan, sizeof(vlan)))
		return false;
	vlan = le16toh(vlan);
	if (vlan >= NET_VLANS)
		return false;
	byte = &net->state.vlans[vlan / 8];
	bit = (uint8_t)(1u << vlan % 8);
	if (command->header.cmd == VIRTIO_NET_CTRL_VLAN_ADD)
		*byte |= bit;
	else if (command->header.cmd == VIRTIO_NET_CTRL_VLAN_DEL)
		*byte &= (uint8_t)~bit;
	else
		return false;
	return true;
}

static bool command_announce(struct net *net, const struct command *command)
{
	if (command->header.cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !accepted(net, VIRTIO_NET_F_GUEST_ANNOUNCE) ||
	    command->len != 0)
		return false;
	net->state.announce = 0;
	return true;
}

static bool command_mq(struct net *net, const struct command *command)
{
	uint16_t pairs;

	if (command->header.cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !accepted(net, VIRTIO_NET_F_MQ) ||
	    !data_is(command, &pairs, sizeof(pairs)))
		return false;
	pairs = le16toh(pairs);
	if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > net->pairs_max || net_tap_pairs(net, pairs) < 0)
		return false;
	net->state.pairs = pairs;
	return true;
}

static bool command_offloads(struct net *net, const struct command *command)
{
	uint64_t all = 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
		       1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN |
		       1ull << VIRTIO_NET_F_GUEST_USO4 | 1ull << VIRTIO_NET_F_GUEST_USO6;
	uint64_t offloads;

	if (command->header.cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !accepted(net, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || !data_is(command, &offloads, sizeof(offloads)))
		return false;
	offloads = le64toh(offloads);
	if ((offloads & ~(net->features & all)) || net_tap_offloads(net, offloads) < 0)
		return false;
	net->state.offloads = offloads;
	return true;
}

static bool command_do(struct net *net, const struct command *command)
{
	switch (command->header.class) {
	case VIRTIO_NET_CTRL_RX:
		return command_rx(net, command);
	case VIRTIO_NET_CTRL_MAC:
		return command_mac(net, command);
	case VIRTIO_NET_CTRL_VLAN:
		return command_vlan(net, command);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return command_announce(net, command);
	case VIRTIO_NET_CTRL_MQ:
		return command_mq(net, command);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return command_offloads(net, command);
	}
	return false;
}

static void chain_do(struct net *net, const struct virtq_chain *chain)
{
	struct backend *b = net->backend;
	struct command command = {.chain = chain};
	uint8_t ack = VIRTIO_NET_ERR;
	uint32_t written;

	if (chain->read_len >= sizeof(command.header)) {
		net_iov_read(chain->iov, chain->nread, 0, &command.header, sizeof(command.header));
		command.len = chain->read_len - sizeof(command.header);
		if (command_do(net, &command))
			ack = VIRTIO_NET_OK;
	}
	if (ack == VIRTIO_NET_OK) {
		net_state_save(net);
		net_show_status(net);
	}
	written = (uint32_t)net_iov_write(chain->iov + chain->nread, chain->nwrite, 0, &ack, sizeof(ack));
	net_count_own(net, ack == VIRTIO_NET_OK ? NET_OWN_CTRL : NET_OWN_CTRL_ERRORS);
	backend_count(&b->region->device.requests, 1);
	if (ack != VIRTIO_NET_OK)
		backend_count(&b->region->device.errors, 1);
	virtq_push(&b->vq[net->ctrl], chain->head, written);
	net->dirty_queues |= 1ull << net->ctrl;
}

bool net_control_run(struct net *net)
{
	struct backend *b = net->backend;
	uint32_t n;
	int got;

	for (n = 0; n < COMMANDS_MAX; n++) {
		got = virtq_pop(&b->vq[net->ctrl], &net->chain);
		if (got < 0)
			backend_break(b, net->ctrl, b->vq[net->ctrl].why);
		if (got <= 0)
			break;
		chain_do(net, &net->chain);
	}
	return n > 0;
}
