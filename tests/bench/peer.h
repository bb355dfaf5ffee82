/* SPDX-License-Identifier: MIT */
/* The peer: qemu-storage-daemon, which exports the image as a vhost-user-blk device that our driver code drives. */
#ifndef HVISOR_BENCH_PEER_H
#define HVISOR_BENCH_PEER_H

#include <sys/types.h>

#include "disk.h"
#include "vhost_front.h"

/* How the daemon does its I/O: a word for people, and what it is told. */
struct peer_engine {
	const char *name;
	const char *blockdev; /* options of --blockdev driver=file */
};

extern const struct peer_engine peer_engine[];
extern const unsigned int peer_engines;

struct peer {
	const struct peer_engine *engine;
	pid_t pid;
	struct vhost_front front;
	struct guest guest; /* over front.mem */
	struct guest_vq vq;
	struct disk disk;
};

/*
 * Starts a daemon over the image, pinned with all its threads to cpu, with its socket in folder, and connects the
 * driver. Returns 0, or -1 after a line on standard error, with nothing left over.
 */
int peer_start(struct peer *peer, const struct peer_engine *engine, const char *image, const char *folder, int cpu);
void peer_stop(struct peer *peer);

#endif
