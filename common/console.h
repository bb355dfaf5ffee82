/* SPDX-License-Identifier: MIT */
/*
 * What hvisor-console, the launcher and "hvisor-launch --console" share: the console's file in the run folder,
 * NAME.console. It outlives backend and launcher, and holds the recent output, what is on its way in either direction,
 * and by which positions that is known. A position is a count of bytes since the file was made; byte p is at p modulo
 * the size of its buffer.
 *
 * Output: the driver's bytes are copied into output[], and only then, by one store of out_end, have they left the
 * driver; out_start is where the chain in hand began, so a successor knows how much of it is there. Input: what was
 * read is in input[] as soon as in_end says so; in_next is where in_taken goes once the driver has the chain that is in
 * hand. Nothing of this is lost or doubled by a kill. But the terminal is the kernel's: a backend that is killed within
 * a write to it cannot say what was written, and its successor writes that piece once more; within a read, that piece
 * is lost. An orderly end (SIGTERM, as of --restart) comes between them.
 *
 * The backend alone writes the file. Whoever else reads it does not trust it.
 */
#ifndef HVISOR_CONSOLE_H
#define HVISOR_CONSOLE_H

#include <stdint.h>

#include "backend_fds.h"

#define CONSOLE_FD_TERMINAL (BACKEND_FD_DEVICE) /* master of the pseudoterminal, non-blocking */
#define CONSOLE_FD_OPENED (BACKEND_FD_DEVICE + 1) /* inotify, non-blocking: its other side is opened or closed */
#define CONSOLE_FD_FILE (BACKEND_FD_DEVICE + 2) /* the console's file */

#define CONSOLE_MAGIC 0x4e435648u /* "HVCN" */
#define CONSOLE_VERSION 1u
#define CONSOLE_OUTPUT_SIZE (64u << 10)
#define CONSOLE_INPUT_SIZE (16u << 10)

#define CONSOLE_QUEUE_RX 0 /* virtio 1.2, 5.3.2: port 0 */
#define CONSOLE_QUEUE_TX 1

struct console_file {
	uint32_t magic; /* stored last when the file is made */
	uint32_t version;
	uint64_t out_start;
	uint64_t out_end;
	uint64_t out_sent; /* up to here the terminal has it, or nobody was there to have it */
	uint64_t in_end;
	uint64_t in_taken; /* up to here the driver has it */
	uint64_t in_next;
	uint64_t attached_at; /* out_sent when the terminal was opened last */
	uint32_t attached; /* somebody has the terminal open */
	uint32_t pad[15];
	uint8_t output[CONSOLE_OUTPUT_SIZE];
	uint8_t input[CONSOLE_INPUT_SIZE];
};

#endif
