/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"
#include "tests/test.h"

#define PEER_PROGRAM "qemu-storage-daemon"
#define PEER_START_MS 10000

/* aio=native needs O_DIRECT, which tmpfs takes since Linux 6.6. */
const struct peer_engine peer_engine[] = {
	{"threads", "aio=threads,cache.direct=off"},
	{"io_uring", "aio=io_uring,cache.direct=off"},
	{"native", "aio=native,cache.direct=on"},
};
const unsigned int peer_engines = sizeof(peer_engine) / sizeof(peer_engine[0]);

static void peer_notify(struct guest_vq *vq, uint32_t cpu)
{
	(void)cpu;
	vhost_front_kick(vq->notify_arg, vq->index);
}

/* The child: never returns. */
static void peer_exec(const struct peer_engine *engine, const char *image, const char *socket, int cpu)
{
	char blockdev[512];
	char export[512];

	snprintf(blockdev, sizeof(blockdev), "driver=file,node-name=disk,locking=off,%s,filename=%s", engine->blockdev,
		 image);
	snprintf(export, sizeof(export),
		 "type=vhost-user-blk,id=export,node-name=disk,writable=on,iothread=io,addr.type=unix,addr.path=%s",
		 socket);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cpu_pin(0, cpu) == 0)
		execlp(PEER_PROGRAM, PEER_PROGRAM, "--object", "iothread,id=io", "--blockdev", blockdev, "--export",
		       export, NULL);
	fprintf(stderr, "bench: starting " PEER_PROGRAM ": %m\n");
	_exit(127);
}

struct peer_wait {
	pid_t pid;
	const char *socket;
};

static int peer_listens(void *arg)
{
	struct peer_wait *w = arg;

	if (waitpid(w->pid, NULL, WNOHANG) != 0)
		return -1;
	return access(w->socket, F_OK) == 0;
}

/* The driver's side. 0, or -1 with peer->front.why. */
static int peer_connect(struct peer *peer, const char *path)
{
	struct guest_vq *vq = &peer->vq;

	if (vhost_front_open(&peer->front, path, DISK_FEATURES, DISK_MEMORY) < 0)
		return -1;
	snprintf(peer->front.why, sizeof(peer->front.why), "no memory for the driver");
	if (guest_init_memory(&peer->guest, &peer->front.mem) < 0)
		return -1;
	if (guest_vq_make(vq, &peer->guest, peer->front.features, DISK_RING_SIZE, DISK_INDIRECT_MAX) < 0)
		return -1;
	vq->notify = peer_notify;
	vq->notify_arg = &peer->front;
	if (disk_init(&peer->disk, &peer->guest, vq, 0, peer->front.config.capacity * 512) < 0)
		return -1;
	return vhost_front_start_queue(&peer->front, 0, vq->num, vq->desc_gpa, vq->avail_gpa, vq->used_gpa);
}

int peer_start(struct peer *peer, const struct peer_engine *engine, const char *image, const char *folder, int cpu)
{
	struct peer_wait w;
	char path[128];
	int result;

	*peer = (struct peer){.engine = engine};
	snprintf(path, sizeof(path), "%s/peer-%s.sock", folder, engine->name);
	fflush(NULL);
	peer->pid = fork();
	if (peer->pid < 0) {
		fprintf(stderr, "bench: fork: %m\n");
		return -1;
	}
	if (peer->pid == 0)
		peer_exec(engine, image, path, cpu);
	w = (struct peer_wait){peer->pid, path};
	result = test_wait(peer_listens, &w, PEER_START_MS);
	if (result < 0)
		peer->pid = 0;
	if (result != 1) {
		fprintf(stderr, "bench: " PEER_PROGRAM " with %s %s\n", engine->blockdev,
			result < 0 ? "ended at its start" : "does not listen after 10 s");
	} else if (peer_connect(peer, path) < 0) {
		fprintf(stderr, "bench: " PEER_PROGRAM " with %s: %s\n", engine->blockdev, peer->front.why);
		result = -1;
	}
	if (result == 1)
		return 0;
	peer_stop(peer);
	return -1;
}

void peer_stop(struct peer *peer)
{
	if (peer->vq.gpa)
		guest_vq_close(&peer->vq);
	if (peer->guest.mem)
		guest_finish(&peer->guest);
	if (peer->front.mem.nspans)
		vhost_front_close(&peer->front);
	if (peer->pid > 0) {
		kill(peer->pid, SIGKILL);
		waitpid(peer->pid, NULL, 0);
	}
	*peer = (struct peer){.engine = peer->engine};
}
