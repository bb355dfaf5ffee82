/* SPDX-License-Identifier: MIT */
/*
 * The descriptors that a backend is started with: always the same numbers, so that its seccomp policy can name them.
 * policy/ knows them by the names in the comments. Every other descriptor is closed before the backend runs.
 */
#ifndef HVISOR_BACKEND_FDS_H
#define HVISOR_BACKEND_FDS_H

enum backend_fd {
	BACKEND_FD_LOG = 2, /* LOG: pipe, non-blocking: one "<level>text" a line */
	BACKEND_FD_KICK = 3, /* KICK: eventfd */
	BACKEND_FD_CALL = 4, /* CALL: eventfd */
	BACKEND_FD_ATTACHMENT = 5, /* ATTACHMENT: only held */
	BACKEND_FD_REGION = 6, /* REGION: the queue region, mapped at start, then closed */
	BACKEND_FD_MEMORY = 7, /* MEMORY: the zone's memory, mapped at start, then closed */
	BACKEND_FD_READY = 8, /* READY: pipe; one byte is written and it is closed when the device is served */
	BACKEND_FD_POLICY = 9, /* POLICY: memfd with the seccomp program, closed when that is loaded */
	BACKEND_FD_DEVICE = 10, /* DEVICE to DEVICE19: the backing: image, tap, terminal */
	BACKEND_FD_RING = 30, /* RING: io_uring, made by the backend itself */
	BACKEND_FD_END = 32,
};

#endif
