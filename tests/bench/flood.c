/* SPDX-License-Identifier: MIT */
#include "flood.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/net.h"
#include "common/vmmio.h"
#include "cpu.h"
#include "tests/test.h"

#define BEGIN_MS 10000

/* In the process, where the simulator is only a copy: what it does with a notification in the end. */
static void flood_notify(struct guest_vq *vq, uint32_t cpu)
{
	struct sim_device *device = vq->notify_arg;

	if (vmmio_write(&device->vmmio, VMMIO_QUEUE_NOTIFY, sizeof(uint32_t), vq->index, cpu) & VMMIO_KICK)
		eventfd_write(device->kick_fd, 1);
}

/* From one byte to the next, which is answered with the error. */
static void flood_run(struct flood *flood) __attribute__((noreturn));

static void flood_run(struct flood *flood)
{
	struct guest_net_pair *pair = &flood->net->pair[0];
	uint8_t error;
	uint8_t byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	cpu_pin(0, flood->cpu);
	pair->rx.notify = flood_notify;
	pair->rx.notify_arg = flood->device;
	pair->tx.notify = flood_notify;
	pair->tx.notify_arg = flood->device;
	while (recv(flood->control, &byte, 1, 0) == 1) {
		net_load_tx_begin(flood->net, flood->from_guest);
		while (recv(flood->control, &byte, 1, MSG_DONTWAIT) < 0) {
			tap_send(flood->sender, flood->from_host);
			net_load_rx(flood->net);
			net_load_tx(flood->net, flood->from_guest->len);
		}
		error = (uint8_t)-net_load_tx_end(flood->net);
		net_load_rx_end(flood->net);
		if (send(flood->control, &error, 1, 0) != 1)
			break;
	}
	_exit(1);
}

static struct sim_device *flood_find(struct sim *sim, const char *name)
{
	struct sim_device *device;

	pthread_mutex_lock(&sim->lock);
	for (device = sim->devices; device && strcmp(device->add.name, name) != 0; device = device->next)
		;
	pthread_mutex_unlock(&sim->lock);
	return device;
}

int flood_init(struct flood *flood)
{
	int pair[2];
	int err;

	flood->device = flood_find(&flood->rig->sim, flood->name);
	if (!flood->device)
		return -ENODEV;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	fflush(NULL);
	flood->pid = fork();
	if (flood->pid == 0) {
		close(pair[0]);
		flood->control = pair[1];
		flood_run(flood);
	}
	err = -errno;
	close(pair[1]);
	flood->control = pair[0];
	if (flood->pid > 0)
		return 0;
	close(pair[0]);
	return err;
}

void flood_finish(struct flood *flood)
{
	close(flood->control);
	kill(flood->pid, SIGKILL);
	waitpid(flood->pid, NULL, 0);
}

struct flood_wait {
	struct flood *flood;
	struct region_device before;
};

static int flood_goes(void *arg)
{
	struct flood_wait *wait = arg;
	struct region_device now;

	rig_counters(wait->flood->rig, wait->flood->name, &now);
	return now.own[NET_OWN_RX_FRAMES] > wait->before.own[NET_OWN_RX_FRAMES] &&
	       now.own[NET_OWN_TX_FRAMES] > wait->before.own[NET_OWN_TX_FRAMES];
}

int flood_begin(struct flood *flood)
{
	struct flood_wait wait = {.flood = flood};
	uint8_t byte = 0;

	rig_counters(flood->rig, flood->name, &wait.before);
	if (send(flood->control, &byte, 1, 0) != 1)
		return -errno;
	return test_wait(flood_goes, &wait, BEGIN_MS) ? 0 : -ETIMEDOUT;
}

int flood_end(struct flood *flood)
{
	uint8_t byte = 0;

	if (send(flood->control, &byte, 1, 0) != 1)
		return -errno;
	return recv(flood->control, &byte, 1, 0) == 1 ? -byte : -ESRCH;
}

uint64_t flood_frames(struct flood *flood)
{
	struct region_device now;

	rig_counters(flood->rig, flood->name, &now);
	return now.own[NET_OWN_RX_FRAMES] + now.own[NET_OWN_TX_FRAMES];
}
