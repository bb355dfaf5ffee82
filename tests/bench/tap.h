/* SPDX-License-Identifier: MIT */
/* The limits of a network device: the same frames through a tap of the same kind, by a loop that does nothing else. */
#ifndef HVISOR_BENCH_TAP_H
#define HVISOR_BENCH_TAP_H

#include <stdint.h>

#define TAP_FRAME_MAX (65536u + 64u)
#define TAP_BATCH_BYTES (256u << 10) /* sent at a time, ... */
#define TAP_BATCH_MAX 32u /* ... of so many frames at most */
#define TAP_BUFFERS 64u /* that a loop writes from in turn, as the driver does */
#define TAP_READ_BYTES (512u << 10) /* that it reads to in turn, as much as the driver has buffers for */

/* What is sent over and over: a header of virtio-net, and the frame. */
struct tap_frame {
	uint32_t len; /* without the header */
	uint8_t bytes[12 + TAP_FRAME_MAX];
};

/*
 * A frame of len bytes to an address; of more than 1514 bytes it is a TCP segment that somebody else is to cut and to
 * checksum.
 */
void tap_frame_make(struct tap_frame *frame, uint32_t len, const uint8_t *to, const uint8_t *from);

/* A tap with that name in this network namespace, up, with all offloads. Its descriptor, or -1 after a line on standard
 * error. */
int tap_make(const char *name);

/* A socket that sends frames out of an interface, to whoever reads its tap. -1 as above. */
int tap_sender_open(const char *name);
/* Gives it a batch of the frame; what does not fit into the tap's queue is lost. */
void tap_send(int sender, const struct tap_frame *frame);

/* Frames a second that writev() puts into the tap, on CPU cpu. -1 after a line on standard error. */
double tap_write_loop(int fd, const struct tap_frame *frame, double seconds, int cpu);

/* Frames a second that readv() gets from the tap on CPU cpu, while the caller sends them. -1 as above. */
double tap_read_loop(int fd, int sender, const struct tap_frame *frame, double seconds, int cpu);

#endif
