/* SPDX-License-Identifier: MIT */
/* Network interfaces of root, over rtnetlink. */
#ifndef HVISOR_LINK_H
#define HVISOR_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

struct nl_sock;

/* What is known of an interface. */
struct link {
	int index;
	char kind[16]; /* "tun", "bridge"; "" for hardware and the like */
	bool up;
	uint32_t mtu;
	int master; /* index of the bridge that it has joined; 0 none */
	/* Of kind "tun" only. */
	bool tap; /* frames, not packets */
	bool multi_queue;
	bool vnet_hdr;
	bool packet_info;
	uint32_t queues; /* descriptors that are attached; of a multi-queue tap only, of others 0 */
};

/*
 * Where a call fails it returns why, in words that last; else NULL. Indices are those of the network namespace that the
 * process is in.
 */

/* *sock goes to nl_socket_free(). */
const char *link_open(struct nl_sock **sock);

/* link->index is 0 if there is no interface of that name. */
const char *link_look(struct nl_sock *sock, const char *name, struct link *link);

const char *link_set_up(struct nl_sock *sock, int index, bool up);
const char *link_set_mtu(struct nl_sock *sock, int index, uint32_t mtu);
const char *link_set_address(struct nl_sock *sock, int index, const uint8_t mac[6]);
/* 0: none any more. */
const char *link_set_master(struct nl_sock *sock, int index, int master);
const char *link_delete(struct nl_sock *sock, int index);

#endif
