/* SPDX-License-Identifier: MIT */
#include "launcher/link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <stdio.h>
#include <string.h>

const char *link_open(struct nl_sock **sock)
{
	int error;

	*sock = nl_socket_alloc();
	if (!*sock)
		return nl_geterror(-NLE_NOMEM);
	error = nl_connect(*sock, NETLINK_ROUTE);
	if (error == 0)
		return NULL;
	nl_socket_free(*sock);
	*sock = NULL;
	return nl_geterror(error);
}

/* libnl knows no attributes of a tap, so they are taken from the kernel's message. */
static void parse_tun(struct link *link, struct nlattr *data)
{
	static struct nla_policy policy[IFLA_TUN_MAX + 1] = {
		[IFLA_TUN_TYPE] = {.type = NLA_U8},        [IFLA_TUN_PI] = {.type = NLA_U8},
		[IFLA_TUN_VNET_HDR] = {.type = NLA_U8},    [IFLA_TUN_MULTI_QUEUE] = {.type = NLA_U8},
		[IFLA_TUN_NUM_QUEUES] = {.type = NLA_U32}, [IFLA_TUN_NUM_DISABLED_QUEUES] = {.type = NLA_U32},
	};
	struct nlattr *tun[IFLA_TUN_MAX + 1];

	if (nla_parse_nested(tun, IFLA_TUN_MAX, data, policy) < 0)
		return;
	link->tap = tun[IFLA_TUN_TYPE] && nla_get_u8(tun[IFLA_TUN_TYPE]) == IFF_TAP;
	link->packet_info = tun[IFLA_TUN_PI] && nla_get_u8(tun[IFLA_TUN_PI]);
	link->vnet_hdr = tun[IFLA_TUN_VNET_HDR] && nla_get_u8(tun[IFLA_TUN_VNET_HDR]);
	link->multi_queue = tun[IFLA_TUN_MULTI_QUEUE] && nla_get_u8(tun[IFLA_TUN_MULTI_QUEUE]);
	if (tun[IFLA_TUN_NUM_QUEUES])
		link->queues += nla_get_u32(tun[IFLA_TUN_NUM_QUEUES]);
	if (tun[IFLA_TUN_NUM_DISABLED_QUEUES])
		link->queues += nla_get_u32(tun[IFLA_TUN_NUM_DISABLED_QUEUES]);
}

static void parse_kind(struct link *link, struct nlattr *attribute)
{
	static struct nla_policy policy[IFLA_INFO_MAX + 1] = {
		[IFLA_INFO_KIND] = {.type = NLA_STRING},
		[IFLA_INFO_DATA] = {.type = NLA_NESTED},
	};
	struct nlattr *info[IFLA_INFO_MAX + 1];

	if (nla_parse_nested(info, IFLA_INFO_MAX, attribute, policy) < 0 || !info[IFLA_INFO_KIND])
		return;
	snprintf(link->kind, sizeof(link->kind), "%s", nla_get_string(info[IFLA_INFO_KIND]));
	if (info[IFLA_INFO_DATA] && strcmp(link->kind, "tun") == 0)
		parse_tun(link, info[IFLA_INFO_DATA]);
}

static int parse_link(struct nl_msg *message, void *arg)
{
	static struct nla_policy policy[IFLA_MAX + 1] = {
		[IFLA_MTU] = {.type = NLA_U32},
		[IFLA_MASTER] = {.type = NLA_U32},
		[IFLA_LINKINFO] = {.type = NLA_NESTED},
	};
	struct nlmsghdr *header = nlmsg_hdr(message);
	struct nlattr *attribute[IFLA_MAX + 1];
	const struct ifinfomsg *info;
	struct link *link = arg;

	if (header->nlmsg_type != RTM_NEWLINK || nlmsg_parse(header, sizeof(*info), attribute, IFLA_MAX, policy) < 0)
		return NL_SKIP;
	info = nlmsg_data(header);
	link->index = info->ifi_index;
	link->up = info->ifi_flags & IFF_UP;
	if (attribute[IFLA_MTU])
		link->mtu = nla_get_u32(attribute[IFLA_MTU]);
	if (attribute[IFLA_MASTER])
		link->master = (int)nla_get_u32(attribute[IFLA_MASTER]);
	if (attribute[IFLA_LINKINFO])
		parse_kind(link, attribute[IFLA_LINKINFO]);
	return NL_OK;
}

const char *link_look(struct nl_sock *sock, const char *name, struct link *link)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct nl_msg *message = nlmsg_alloc_simple(RTM_GETLINK, 0);
	int error = -NLE_NOMEM;

	memset(link, 0, sizeof(*link));
	if (message && nlmsg_append(message, &info, sizeof(info), NLMSG_ALIGNTO) == 0 &&
	    nla_put_string(message, IFLA_IFNAME, name) == 0)
		error = nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, parse_link, link);
	if (error == 0)
		error = nl_send_auto(sock, message);
	nlmsg_free(message);
	if (error >= 0)
		error = nl_recvmsgs_default(sock);
	if (error == 0)
		error = nl_wait_for_ack(sock);
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
	return error < 0 && error != -NLE_NODEV ? nl_geterror(error) : NULL;
}

/* Makes what is set in change true of the interface, and lets go of change, which is NULL without memory. */
static const char *link_change(struct nl_sock *sock, int index, struct rtnl_link *change)
{
	struct rtnl_link *link = rtnl_link_alloc();
	int error = -NLE_NOMEM;

	if (link && change) {
		rtnl_link_set_ifindex(link, index);
		error = rtnl_link_change(sock, link, change, 0);
	}
	rtnl_link_put(link);
	rtnl_link_put(change);
	return error < 0 ? nl_geterror(error) : NULL;
}

const char *link_set_up(struct nl_sock *sock, int index, bool up)
{
	struct rtnl_link *change = rtnl_link_alloc();

	if (change && up)
		rtnl_link_set_flags(change, IFF_UP);
	else if (change)
		rtnl_link_unset_flags(change, IFF_UP);
	return link_change(sock, index, change);
}

const char *link_set_mtu(struct nl_sock *sock, int index, uint32_t mtu)
{
	struct rtnl_link *change = rtnl_link_alloc();

	if (change)
		rtnl_link_set_mtu(change, mtu);
	return link_change(sock, index, change);
}

const char *link_set_address(struct nl_sock *sock, int index, const uint8_t mac[6])
{
	struct rtnl_link *change = rtnl_link_alloc();
	struct nl_addr *address = nl_addr_build(AF_LLC, mac, 6);

	if (change && address)
		rtnl_link_set_addr(change, address);
	nl_addr_put(address);
	return link_change(sock, index, change);
}

const char *link_set_master(struct nl_sock *sock, int index, int master)
{
	int error = rtnl_link_enslave_ifindex(sock, master, index);

	return error < 0 ? nl_geterror(error) : NULL;
}

const char *link_delete(struct nl_sock *sock, int index)
{
	struct rtnl_link *link = rtnl_link_alloc();
	int error = -NLE_NOMEM;

	if (link) {
		rtnl_link_set_ifindex(link, index);
		error = rtnl_link_delete(sock, link);
	}
	rtnl_link_put(link);
	return error < 0 ? nl_geterror(error) : NULL;
}
