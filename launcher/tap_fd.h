/* SPDX-License-Identifier: MIT */
/* Descriptors of /dev/net/tun. */
#ifndef HVISOR_TAP_FD_H
#define HVISOR_TAP_FD_H

#include <linux/if_tun.h>
#include <stdbool.h>

#define TAP_PATH "/dev/net/tun"
#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) /* of a tap that hvisor-net serves */

/* Not attached to anything yet, non-blocking, close-on-exec. A descriptor, or -errno. */
int tap_fd_open(void);

/* Attaches fd to the interface name, which is made if it is not there and gone with fd then. 0 or -errno. */
int tap_fd_attach(int fd, const char *name, int flags);

#define TAP_USER_MAX 64

/* "process 1234 (qemu)", which has attached a descriptor to the interface; "another process" if that is not seen. */
const char *tap_fd_user(const char *name, char buffer[TAP_USER_MAX]);

/* Can taps of this kernel cut UDP datagrams into segments (TUN_F_USO4, TUN_F_USO6)? Tried out where nobody sees it. */
bool tap_fd_has_uso(void);

#endif
