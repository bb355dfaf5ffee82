/* SPDX-License-Identifier: MIT */
/*
 * The launcher's way to the device side of hvisor: the kernel module (--hv /dev/hvisor) or the simulator
 * (--hv sim:PATH), which take the same calls (kmod/hvisor_uapi.h).
 */
#ifndef HVISOR_HV_H
#define HVISOR_HV_H

#include "kmod/hvisor_uapi.h"

struct hv {
	int fd;
	int event_fd; /* eventfd, readable when hv_event() has something; owned by hv */
	int simulated;
	char name[HVISOR_NAME_MAX]; /* who answers */
};

/*
 * Opens where ("/dev/hvisor" or "sim:PATH") and checks the ABI version. Returns 0, or -errno: -EPROTO for another
 * version, -EPERM without CAP_SYS_ADMIN, else what open() or connect() said.
 */
int hv_open(struct hv *hv, const char *where);
/* What an error of hv_open() means and what to do, in words. */
const char *hv_open_why(int error);

void hv_close(struct hv *hv);

/*
 * One call: cmd and argument as in hvisor_uapi.h. Returns 0 or -errno. Descriptors in the argument that are "in" stay
 * the caller's, "out" ones become the caller's (close-on-exec).
 */
int hv_call(struct hv *hv, unsigned long cmd, void *argument);

/* The next event: 1, 0 if there is none, -errno. */
int hv_event(struct hv *hv, struct hvisor_event_next *event);

#endif
